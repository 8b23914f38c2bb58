"""Schedules and alert channels that still apply when the settings cannot be read.

A settings file with one wrong word must not silence what watches over the backups. So DAG files always parse, and
alerts go out by the channels that the file still names, or else by those that were used last.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import yaml
from pydantic import TypeAdapter, ValidationError

from lifeboat.errors import SettingsError
from lifeboat.settings import config, strict_yaml
from lifeboat.settings.config import Alerts, Application, Bucket, Destination, Drill, Place, Settings
from lifeboat.support.logs import logger

log = logger(__name__)

MEMORY = "lifeboat-alerts.json"  # in Airflow's home: names of connections and addresses, no secret


@dataclass(frozen=True)
class Unreadable:
    """Settings that cannot be used.

    :param reason: why, naming the file, the key and the fix.
    :param timezone: of the schedules, as far as the file still says it; so is the next.
    :param drill: when drills run.
    :param alerts: channels to notify: those that the file still names, or those used last.
    :param staging: where the file still says it; so are the next, one by one.
    """

    reason: str
    timezone: str
    drill: Drill
    alerts: Alerts
    staging: Path | Bucket | None = None
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    applications: Mapping[str, Application] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """A directory of this machine, for what an engine needs for a while."""
        return self.staging if isinstance(self.staging, Path) else Path(tempfile.gettempdir())


def read(path: Path | None = None) -> Settings | Unreadable:
    """Read the settings, or what still holds when they cannot be read; never fails.

    :param path: the file; default: `config.settings_path`.
    """
    path = path or config.settings_path()
    try:
        return config.load(path)
    except SettingsError as error:
        content = _content(path)
        zone = content.get("timezone")
        known = isinstance(zone, str) and zone in available_timezones()
        alerts = _alerts(content.get("alerts"))
        return Unreadable(
            str(error),
            str(zone) if known else "UTC",
            _part(Drill, content.get("drill")) or Drill(),
            alerts if alerts.slack or alerts.email else recall() or alerts,
            _part(Place, content.get("staging")),
            _parts(Destination, content.get("destinations")),
            _parts(Application, content.get("applications")),
        )


def remember(alerts: Alerts) -> None:
    """Keep the alert channels, in case the settings cannot be read later."""
    path, text = _memory(), alerts.model_dump_json()
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(partial).replace(path)
    except OSError as error:
        log.warning("%s cannot be written, so a broken settings file may silence alerts: %s.", path, error.strerror)


def recall() -> Alerts | None:
    """Return the alert channels used last, or None."""
    with contextlib.suppress(OSError, ValidationError, UnicodeDecodeError):
        return Alerts.model_validate_json(_memory().read_text(encoding="utf-8"))
    return None


def _memory() -> Path:
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / MEMORY


def _content(path: Path) -> dict[Any, Any]:
    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        with path.open("rb") as file:
            content = strict_yaml.load(file.read(config.LONGEST_FILE).decode())
        return content if isinstance(content, dict) else {}
    return {}


def _alerts(content: Any) -> Alerts:
    """Return the alerts of the settings, or of each channel what is not wrong."""
    whole: Alerts | None = _part(Alerts, content)
    if whole:
        return whole
    parts = content if isinstance(content, dict) else {}
    channels = (_part(Alerts, {name: parts[name]}) for name in ("slack", "email") if name in parts)
    given = {name: getattr(found, name) for found in channels if found for name in found.model_fields_set}
    return Alerts.model_validate(given)


def _parts(model: Any, content: Any) -> dict[str, Any]:
    """Return of named parts those that are not wrong."""
    named = content.items() if isinstance(content, dict) else ()
    parts = {name: _part(model, each) for name, each in named if isinstance(name, str)}
    return {name: part for name, part in parts.items() if part is not None}


def _part(model: Any, content: Any) -> Any:
    """Return a part of the settings; None where it is wrong."""
    with contextlib.suppress(ValidationError):
        return TypeAdapter(model).validate_python(content)
    return None
