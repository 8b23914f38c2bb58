"""Connections from environment variables, read without Airflow: its import takes most of a command's time."""

from __future__ import annotations

import configparser
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

VARIABLE = "AIRFLOW_CONN_{}"
SECRETS = "secrets"  # section of Airflow's configuration
BACKEND = "backend"  # what the options begin with that name a secrets backend there, which Airflow asks first
PLAIN_TYPES = ("generic", "postgres", "sqlite")  # all others need hooks of Airflow's providers anyway


@dataclass
class Connection:
    """A connection as Airflow's own class describes it."""

    conn_id: str
    conn_type: str
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    port: int | str | None = None
    extra: str | None = None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extra, of which the caller knows that it is an object."""
        found: dict[str, Any] = json.loads(self.extra or "{}")
        return found


KNOWN = {field.name for field in fields(Connection)} - {"conn_id"}


def connection(connection_id: str) -> Connection | None:
    """Return what an environment variable says of a connection in JSON, or None where Airflow must be asked."""
    try:
        facts = json.loads(os.environ.get(VARIABLE.format(connection_id.upper()), ""))
    except ValueError:
        return None
    if not isinstance(facts, dict) or facts.get("conn_type") not in PLAIN_TYPES or not facts.keys() <= KNOWN:
        return None
    if _has_secrets_backend():
        return None
    extra = facts.pop("extra", None)
    return Connection(connection_id, **facts, extra=json.dumps(extra) if isinstance(extra, dict) else extra)


def _has_secrets_backend() -> bool:
    """Return whether Airflow may have a secrets backend, which it asks before the environment."""
    if any(value and name.startswith("AIRFLOW__SECRETS__BACKEND") for name, value in os.environ.items()):
        return True
    path = os.environ.get("AIRFLOW_CONFIG") or os.environ.get("AIRFLOW_HOME", "~/airflow") + "/airflow.cfg"
    settings = configparser.RawConfigParser(strict=False)
    try:
        settings.read(Path(os.path.expandvars(path)).expanduser(), encoding="utf-8")
    except (OSError, ValueError, configparser.Error):
        return True
    return settings.has_section(SECRETS) and any(
        value for name, value in settings.items(SECRETS) if name.startswith(BACKEND)
    )
