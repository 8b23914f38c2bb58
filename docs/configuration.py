"""``make docs``: writes CONFIGURATION.md from the model of the settings, so that it cannot say anything else."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from lifeboat.decide.retention import Policy
from lifeboat.settings import config
from pydantic import BaseModel

PAGE = Path(__file__).with_name("CONFIGURATION.md")
HEAD = """# Every key of the settings

<!-- `make docs` writes this page from plugins/lifeboat/settings/config.py; a test compares them. -->

One YAML file: `include/backup.yaml` of the project, or what `LIFEBOAT_CONFIG` names. A mistake in it stops
no DAG: each keeps its schedule, and its one task fails with the file, the key and the fix; `settings_watch` tells of it
within a quarter of an hour, by the channels that the file still names, or else by those that were used last.
`lifeboat plan-files` and `lifeboat check` say it on a shell. The file
holds no secret: a *connection* is the id of an Airflow connection. Unknown keys are refused, and keys that stand twice.

"""
PLACES: dict[type[BaseModel], str] = {  # where a model stands in the file, in the order of the page
    config.Settings: "The file",
    config.DiskDestination: "destinations.NAME, with `type: disk`",
    config.S3Destination: "destinations.NAME, with `type: s3`",
    config.ObjectLock: "destinations.NAME.object_lock",
    config.Application: "applications.NAME",
    config.Database: "applications.NAME.databases",
    config.Files: "applications.NAME.files",
    config.Encryption: "encryption",
    config.Retention: "retention",
    config.Periods: "retention.database, .application, .legacy",
    config.Health: "health",
    config.ReadBack: "read_back",
    config.Restore: "restore",
    config.Drill: "drill",
    config.Alerts: "alerts",
    config.SlackAlerts: "alerts.slack",
    config.EmailAlerts: "alerts.email",
    config.Metrics: "metrics",
}
NAMES = {"integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))


def page() -> str:
    """Return the whole page."""
    return HEAD + "\n".join(line for model, place in PLACES.items() for line in section(model, place))


def section(model: type[BaseModel], place: str) -> Iterator[str]:
    """Yield the lines that describe one model."""
    summary, meanings = documented(model)
    yield f"## {place}\n"
    if summary:
        yield f"{summary}\n"
    yield "| key | takes | when left out | is |"
    yield "|---|---|---|---|"
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        takes = kind(schema["properties"][name])
        value = field.get_default(call_default_factory=True)
        left_out = "must be there" if field.is_required() else default(model, name, value)
        cells = [f"`{name}`", takes, left_out, meanings[name]]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


def documented(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Return what a model's docstring says of it, and of each of its fields; those of its parents are its own, too."""
    meanings: dict[str, str] = {}
    summary = ""
    for one in reversed([parent for parent in model.__mro__ if issubclass(parent, BaseModel) and parent in PLACES]):
        summary, *params = re.split(r"^:param ", inspect.getdoc(one) or "", flags=re.MULTILINE)
        for name, _, text in (param.partition(":") for param in params):
            meanings[name] = readable(text)
    return readable(summary), meanings


def readable(text: str) -> str:
    """Return the text of a docstring as Markdown on one line."""
    return " ".join(text.split()).replace("``", "`")


def kind(schema: dict[str, Any]) -> str:
    """Say in words what a key takes."""
    match schema:
        case {"anyOf": alternatives}:
            text = " or ".join(dict.fromkeys(map(kind, alternatives)))
        case {"enum": values}:
            text = ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            text = f"`{value}`"
        case {"type": "array", "items": items}:
            text = f"list of {kind(items)}"
        case {"type": "object"}:
            text = "names, each with keys of its own"
        case {"$ref": "#/$defs/Bucket"}:
            text = "bucket"
        case {"$ref": _} | {"oneOf": _}:
            text = "keys of its own"
        case {"description": _}:
            text = "connection"
        case {"format": "path"}:
            text = "absolute path"
        case _:
            bounds = [f"{words} {schema[bound]}" for bound, words in BOUNDS if schema.get(bound)]
            text = ", ".join([NAMES.get(schema.get("type", ""), "text"), *bounds])
    return text


def default(model: type[BaseModel], name: str, value: Any) -> str:
    """Say in words what holds when a key is left out."""
    if model is config.Periods:
        return "as for all kinds"
    policy = {field.name: field.default for field in fields(Policy)}
    value = policy.get(name, value)
    if isinstance(value, BaseModel) or value in (None, (), ""):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
