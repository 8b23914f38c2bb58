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
from pydantic import BaseModel, TypeAdapter, ValidationError

from lifeboat.errors import SettingsError
from lifeboat.settings import config, strict_yaml
from lifeboat.settings.config import (
    Alerts,
    Application,
    BackupKind,
    Bucket,
    Channels,
    Destination,
    Drill,
    OwnAlerts,
    OwnSchedules,
    Place,
    Schedules,
    Settings,
    Team,
)
from lifeboat.support.logs import logger

log = logger(__name__)

MEMORY = "lifeboat-alerts.json"  # in Airflow's home: names of connections and addresses, no secret


@dataclass(frozen=True)
class Unreadable:
    """Settings that cannot be used.

    :param reason: why, naming the file, the key and the fix.
    :param timezone: of the schedules, as far as the file still says it; so is the next.
    :param drill_schedule: when drills run.
    :param schedules: when the other DAGs run.
    :param teams: by application, whose it is, and when it is backed up.
    :param alerts: channels to notify: those that the file still names, or those used last.
    :param staging: where the file still says it; so are the next, one by one.
    """

    reason: str
    timezone: str
    drill_schedule: str
    schedules: Schedules
    teams: Mapping[str, Team]
    alerts: Alerts
    staging: Path | Bucket | None = None
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    applications: Mapping[str, Application] = field(default_factory=dict)

    def own_schedules(self, kind: BackupKind) -> dict[str, str]:
        """Return the cron expressions of the applications that have their own DAG for a kind."""
        return config.own_schedules(self.teams, kind)

    def channels_of(self, application: str) -> tuple[Channels, ...]:
        """Return the channels that hear of an application; of what concerns none, where the name is empty."""
        return config.channels_of(self.teams, self.alerts, application)

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
        used = recall() or Used()
        named = content.get("applications")
        applications = named if isinstance(named, dict) else {}
        teams = {name: _team(each) for name, each in applications.items() if isinstance(name, str)}
        schedules: Schedules = _kept(Schedules, content.get("schedules"))
        drill: Drill = _part(Drill, content.get("drill")) or Drill()
        return Unreadable(
            str(error),
            str(zone) if known else "UTC",
            schedules.drill or drill.schedule,
            schedules,
            teams or used.teams,
            alerts if alerts.slack or alerts.email else used.alerts,
            _part(Place, content.get("staging")),
            _parts(Destination, content.get("destinations")),
            _parts(Application, content.get("applications")),
        )


class Used(BaseModel):
    """The settings that were used last.

    :param alerts: the common channels.
    :param teams: by application, its channels and its own schedules.
    """

    alerts: Alerts = Alerts()
    teams: dict[str, Team] = {}


def remember(settings: Settings) -> None:
    """Keep the alert channels and the schedules of teams, in case the settings cannot be read later."""
    own = {name: each.model_dump(include=set(Team.model_fields)) for name, each in settings.applications.items()}
    used = Used(alerts=settings.alerts, teams={name: Team.model_validate(team) for name, team in own.items()})
    path, text = _memory(), used.model_dump_json()
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


def recall() -> Used | None:
    """Return what the settings said last, or None."""
    with contextlib.suppress(OSError, ValidationError, UnicodeDecodeError):
        return Used.model_validate_json(_memory().read_text(encoding="utf-8"))
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
    alerts: Alerts = _kept(Alerts, content)
    return alerts


def _team(content: Any) -> Team:
    """Return whose an application is, as far as that is not wrong."""
    parts = content if isinstance(content, dict) else {}
    alerts = _part(OwnAlerts, parts.get("alerts"))
    if alerts is None and (right := _kept(OwnAlerts, parts.get("alerts"))):
        alerts = right.model_copy(update={"common": True})  # for whom the wrong part names
    own = {"alerts": alerts, "schedules": _kept(OwnSchedules, parts.get("schedules"))}
    team: Team = _kept(Team, {**parts, **own})
    return team


def _kept(model: type[BaseModel], content: Any) -> Any:
    """Return a part of the settings without those of its keys that are wrong; None where that leaves too little."""
    named = content if isinstance(content, dict) else {}
    right = {key: named[key] for key in named if _part(model, {key: named[key]})}
    return _part(model, content) or _part(model, right)


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
