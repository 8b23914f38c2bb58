"""Schedules: what Airflow says of its DAGs, and what is found in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from lifeboat.decide import schedules
from lifeboat.decide.schedules import OVERDUE, Schedule, Watched

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        pytest.param(Schedule(is_paused=False, next_run=NOW + SECOND), "", id="due"),
        pytest.param(Schedule(is_paused=False), "", id="after-backups"),
        pytest.param(Schedule(is_paused=False, next_run=NOW - OVERDUE), "", id="begins"),
        pytest.param(
            Schedule(is_paused=False, next_run=NOW - OVERDUE - SECOND),
            "restore_drill was due at 2026-11-23 02:59 UTC and has not begun; look at its last run, and whether its"
            " file is still there: no backup is proven to restore",
            id="overdue",
        ),
        pytest.param(
            Schedule(is_paused=True, next_run=NOW - 2 * OVERDUE),
            "restore_drill is paused; unpause it in Airflow: no backup is proven to restore",
            id="paused",
        ),
        pytest.param(
            None, "Airflow has no DAG restore_drill; install its file: no backup is proven to restore", id="missing"
        ),
    ],
)
def test_what_keeps_a_dag_from_running_is_told(schedule: Schedule | None, told: str) -> None:
    dags = {"restore_drill": Watched(schedules.MISSED["restore_drill"])}
    findings = list(schedules.check(dags, {"restore_drill": schedule}, NOW))
    assert [(each.application, each.verdict, each.text) for each in findings] == (
        [("Everything", "unhealthy", told)] if told else []
    )
