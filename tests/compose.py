"""docker-compose.yaml as Compose reads it: variables put in, services chosen by profile."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT

FILE = PROJECT / "docker-compose.yaml"
EXAMPLE = PROJECT / ".env.example"
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<rest>[^}]*))?\})")


def variables(path: Path) -> dict[str, str]:
    """Read a file like .env: names and values, unquoted."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def asked_for() -> dict[str, str]:
    """Return the variables of the file, each with the sign behind it: ``-`` has a default, ``?`` must be set."""
    return {found["name"]: found["sign"] or "" for found in VARIABLE.finditer(FILE.read_text()) if found["name"]}


def services(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the services that the environment's profiles start.

    :raises KeyError: a variable that must be set is not.
    """
    profiles = set(environment.get("COMPOSE_PROFILES", "").split(","))
    wanted: dict[str, Any] = document(environment)["services"]
    return {name: service for name, service in wanted.items() if profiles & set(service.get("profiles", profiles))}


def document(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the whole file with its variables put in."""

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["sign"] == "-":
            return environment.get(found["name"]) or found["rest"]
        return environment[found["name"]]

    def fill(node: Any) -> Any:
        if isinstance(node, str):
            return VARIABLE.sub(value, node)
        if isinstance(node, list):
            return [fill(item) for item in node]
        return {key: fill(item) for key, item in node.items()} if isinstance(node, dict) else node

    filled: dict[str, Any] = fill(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    return filled


def given(service: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the variables that a service's container gets.

    :param folder: holds what ``make env`` wrote.
    """
    named = service.get("env_file", [])
    files = [named] if isinstance(named, str) else named
    return {name: value for file in files for name, value in variables(folder / file).items()} | dict(
        service.get("environment", {})
    )
