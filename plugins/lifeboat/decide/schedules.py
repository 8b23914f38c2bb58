"""Checks that Airflow will run the DAGs that protect the applications: pure functions of their state and a clock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.decide.health import EVERYTHING, Finding

if TYPE_CHECKING:
    from lifeboat.settings.config import BackupKind, Settings

OVERDUE = timedelta(hours=1)  # after the time of its schedule, a run has begun

MISSED: Mapping[str, str] = {
    "backup_database": "no database is backed up",
    "backup_application": "no files are backed up",
    "backup_logs": "no binary logs are shipped",
    "backup_cleanup": "nothing is deleted, so storage fills up",
    "backup_check": "unhealthy backups are not reported",
    "backup_verify": "no archive is read back, so nobody notices a damaged one",
    "restore_drill": "no backup is proven to restore",
    "settings_watch": "broken settings are not reported",
}
OWN_MISSED: Mapping[BackupKind, str] = {  # by the DAG of one application, which the finding names
    "database": "no database of it is backed up",
    "application": "no files of it are backed up",
}


def dag_id_of(kind: BackupKind, application: str | None = None) -> str:
    """Return the id of the DAG that takes backups of a kind.

    :param application: one that has its own DAG; default: the DAG of all others.
    """
    return f"backup_{kind}__{_slug(application)}" if application else f"backup_{kind}"


def _slug(name: str) -> str:
    """Return a name in the characters of an id; a hash stands for letters that these lack."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if name.isascii() and plain:
        return plain
    return "_".join(filter(None, (plain, hashlib.sha256(name.encode()).hexdigest()[:8])))


@dataclass(frozen=True)
class Watched:
    """A DAG that must run by itself.

    :param missed: what it means when it does not.
    :param application: the one that it backs up, if it is one.
    """

    missed: str
    application: str = EVERYTHING


@dataclass(frozen=True)
class Schedule:
    """The state of a DAG in Airflow.

    :param next_run: when its next run is due; None where no time says.
    """

    is_paused: bool
    next_run: datetime | None = None


def watched(settings: Settings) -> dict[str, Watched]:
    """Return the DAGs that must run by themselves, by their ids."""
    needless = set() if settings.applications_with_logs else {"backup_logs"}
    own: dict[str, Watched] = {}
    for kind, missed in OWN_MISSED.items():
        common, *others = settings.backup_dags(kind).items()
        needless |= set() if common[1] else {common[0]}
        own |= {dag_id: Watched(missed, name) for dag_id, names in others for name in names}
    return {dag_id: Watched(missed) for dag_id, missed in MISSED.items() if dag_id not in needless} | own


def check(dags: Mapping[str, Watched], states: Mapping[str, Schedule | None], now: datetime) -> Iterator[Finding]:
    """Yield what keeps DAGs from running.

    :param dags: those that must run by themselves, by id.
    :param states: of those that were looked at; None for those that Airflow does not know.
    """
    for dag_id, schedule in states.items():
        if trouble := _trouble(dag_id, schedule, now):
            dag = dags[dag_id]
            yield Finding(dag.application, "", "schedule", "unhealthy", f"{trouble}: {dag.missed}")


def _trouble(dag_id: str, schedule: Schedule | None, now: datetime) -> str:
    if schedule is None:
        return f"Airflow has no DAG {dag_id}; install its file"
    if schedule.is_paused:
        return f"{dag_id} is paused; unpause it in Airflow"
    if schedule.next_run is not None and now - schedule.next_run > OVERDUE:
        due = f"{schedule.next_run:%Y-%m-%d %H:%M} UTC"
        return f"{dag_id} was due at {due} and has not begun; look at its last run, and whether its file is still there"
    return ""
