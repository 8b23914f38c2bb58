"""``make docs``: write CONFIGURATION.md from the models of the settings, and JSON Schemas of all that is a file."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from lifeboat.catalog.manifest import Manifest, ManifestHead
from lifeboat.catalog.marker import Marker
from lifeboat.catalog.proof import ChainProof, Proof
from lifeboat.catalog.readback import ReadBack
from lifeboat.decide.retention import Policy
from lifeboat.settings import config
from lifeboat.support.stored import Stored
from pydantic import BaseModel

PAGE = Path(__file__).with_name("CONFIGURATION.md")
SCHEMA = Path(__file__).parents[1] / "include" / "settings.schema.json"  # next to the file that names it
SCHEMAS = Path(__file__).parent / "schemas"
FORMATS: dict[str, type[Stored]] = {
    "manifest": Manifest,
    "marker": Marker,
    "proof": Proof,
    "chain": ChainProof,
    "readback": ReadBack,
}
STORED = (ManifestHead, *FORMATS.values())
HEAD = """# Configuration

<!-- `make docs` writes this page from plugins/lifeboat/settings/config.py; a test compares them. -->

The settings are one YAML file: `include/backup.yaml` of the project, or the file named by `LIFEBOAT_CONFIG`. It holds
no secrets: a *connection* is the id of an Airflow connection. Unknown and duplicate keys are errors.

Editors complete and check the file from [its JSON Schema](../include/settings.schema.json), which its first line
names: copy both.

A mistake in the file stops no DAG: each keeps its schedule, and its one task fails with the file, the key and the fix.
`settings_watch` reports the mistake within a quarter of an hour, through the channels that the file still names, or
else through those used last. In a shell, `lifeboat plan-files` and `lifeboat check` report it.

"""
PLACES: dict[type[BaseModel], str] = {  # each model and its place in the file, in the order of the page
    config.Settings: "The file",
    config.DiskDestination: "destinations.NAME, with `type: disk`",
    config.S3Destination: "destinations.NAME, with `type: s3`",
    config.ObjectLock: "destinations.NAME.object_lock",
    config.Application: "applications.NAME",
    config.OwnSchedules: "applications.NAME.schedules",
    config.OwnAlerts: "applications.NAME.alerts",
    config.Database: "applications.NAME.databases",
    config.DatabaseServer: "applications.NAME.databases, with `server`",
    config.Files: "applications.NAME.files",
    config.Logs: "applications.NAME.logs",
    config.Check: "applications.NAME.checks",
    config.SqlCheck: "applications.NAME.checks.sql",
    config.Encryption: "encryption",
    config.Retention: "retention",
    config.Periods: "retention.database, .application, .legacy",
    config.Health: "health",
    config.ReadBack: "read_back",
    config.Restore: "restore",
    config.Drill: "drill",
    config.Schedules: "schedules",
    config.Alerts: "alerts",
    config.SlackAlerts: "alerts.slack",
    config.EmailAlerts: "alerts.email",
    config.Metrics: "metrics",
}
BASES = (config.Team, config.Channels, *STORED)  # what models inherit that are places, or files
NAMES = {"integer": "integer", "number": "number", "boolean": "boolean", "null": "null"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
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
    yield "| key | type | default | description |"
    yield "|---|---|---|---|"
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        takes = kind(schema["properties"][name])
        value = field.get_default(call_default_factory=True)
        omitted = "required" if field.is_required() else default(model, name, value)
        cells = [f"`{name}`", takes, omitted, meanings[name]]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


def documented(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Return the description of a model and of each of its fields, inherited ones included, from the docstrings."""
    meanings: dict[str, str] = {}
    summary = ""
    for one in reversed([parent for parent in model.__mro__ if parent in PLACES or parent in BASES]):
        summary, own = parsed(inspect.getdoc(one) or "")
        meanings |= own
    return summary, meanings


def parsed(text: str) -> tuple[str, dict[str, str]]:
    """Return the summary of a docstring, and what it says of each name."""
    summary, *params = re.split(r"^:param ", text, flags=re.MULTILINE)
    return readable(summary), {name: readable(text) for name, _, text in (param.partition(":") for param in params)}


def readable(text: str) -> str:
    """Return the text of a docstring as Markdown on one line."""
    return " ".join(text.split()).replace("``", "`")


def kind(schema: dict[str, Any]) -> str:
    """Describe the type of a key as text."""
    match schema:
        case {"anyOf": alternatives}:
            text = " or ".join(dict.fromkeys(map(kind, alternatives)))
        case {"enum": values}:
            text = ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            text = f"`{value}`"
        case {"type": "array", "items": items}:
            text = f"list of {kind(items)}" if "enum" in items else f"list of {kind(items)}s"
        case {"type": "object"}:
            text = "mapping of names"
        case {"$ref": "#/$defs/Bucket"}:
            text = "bucket"
        case {"$ref": _} | {"oneOf": _}:
            text = "mapping"
        case {"description": _}:
            text = "connection"
        case {"format": "path"}:
            text = "absolute path"
        case _:
            bounds = [f"{words} {schema[bound]}" for bound, words in BOUNDS if schema.get(bound)]
            text = ", ".join([NAMES.get(schema.get("type", ""), "string"), *bounds])
    return text


def default(model: type[BaseModel], name: str, value: Any) -> str:
    """Describe as text what applies if a key is omitted."""
    if model is config.Periods:
        return "as for all kinds"
    value = effective(name, value)
    if isinstance(value, BaseModel) or value in (None, (), "", {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def effective(name: str, value: Any) -> Any:
    """Return the default that applies to a key: models of retention hold overrides, the policy has the numbers."""
    return {field.name: field.default for field in fields(Policy)}.get(name, value)


def schema_text() -> str:
    """Return the JSON Schema of the settings file, with a description of each key for editors."""
    schema = config.Settings.model_json_schema()
    definitions = schema["$defs"]
    definitions["Bucket"] = {"type": "string", "pattern": "^s3://[^@/]+@[^@/]{3,63}(/.*)?$"}  # written as one text
    for model in PLACES:
        describe(schema if model is config.Settings else definitions[model.__name__], model)
    schema |= {"$schema": DIALECT, "title": "Settings of Lifeboat"}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def format_text(name: str) -> str:
    """Return the JSON Schema of a stored file."""
    model = FORMATS[name]
    schema = model.model_json_schema()
    for part in schema.get("$defs", {}).values():
        explain(part, *parsed(part.get("description", "")))
    explain(schema, *documented(model))
    schema |= {"$schema": DIALECT, "title": f"{model.__name__} of Lifeboat"}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def explain(schema: dict[str, Any], summary: str, meanings: dict[str, str]) -> None:
    """Put descriptions into the schema of one part of a stored file."""
    schema["description"] = summary
    for name, key in schema["properties"].items():
        key.pop("title", None)
        if name in meanings:
            key["description"] = meanings[name]


def describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put a model's descriptions and the defaults that apply into its schema."""
    summary, meanings = documented(model)
    schema["description"] = summary
    for name, key in schema["properties"].items():
        key["description"] = meanings[name]
        key.pop("title", None)
        if isinstance(key.get("default"), dict) or model is config.Periods:
            del key["default"]  # overrides: an omitted key applies what the next wider block says
        elif "default" in key:
            key["default"] = effective(name, key["default"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    for stored in FORMATS:
        (SCHEMAS / f"{stored}.schema.json").write_text(format_text(stored), encoding="utf-8")
