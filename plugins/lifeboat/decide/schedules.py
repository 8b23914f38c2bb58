"""Checks that Airflow will run the DAGs that protect the applications: pure functions of their state and a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.decide.health import EVERYTHING, Finding

if TYPE_CHECKING:
    from lifeboat.settings.config import Settings

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


@dataclass(frozen=True)
class Schedule:
    """The state of a DAG in Airflow.

    :param next_run: when its next run is due; None where no time says.
    """

    is_paused: bool
    next_run: datetime | None = None


def watched(settings: Settings) -> list[str]:
    """Return the ids of the DAGs that must run by themselves."""
    needless = {f"backup_{kind}" for kind in ("database", "application") if not settings.applications_of(kind)}
    needless |= set() if settings.applications_with_logs else {"backup_logs"}
    return [dag_id for dag_id in MISSED if dag_id not in needless]


def check(schedules: Mapping[str, Schedule | None], now: datetime) -> Iterator[Finding]:
    """Yield what keeps DAGs from running.

    :param schedules: by id, of DAGs that must run by themselves; None for those that Airflow does not know.
    """
    for dag_id, schedule in schedules.items():
        if trouble := _trouble(dag_id, schedule, now):
            yield Finding(EVERYTHING, "", "schedule", "unhealthy", f"{trouble}: {MISSED[dag_id]}")


def _trouble(dag_id: str, schedule: Schedule | None, now: datetime) -> str:
    if schedule is None:
        return f"Airflow has no DAG {dag_id}; install its file"
    if schedule.is_paused:
        return f"{dag_id} is paused; unpause it in Airflow"
    if schedule.next_run is not None and now - schedule.next_run > OVERDUE:
        due = f"{schedule.next_run:%Y-%m-%d %H:%M} UTC"
        return f"{dag_id} was due at {due} and has not begun; look at its last run, and whether its file is still there"
    return ""
