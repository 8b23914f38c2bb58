"""A change behind `FreshBackup`, under a real scheduler: it happens only behind a proven backup of its own."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import wait_for
from tests.conftest import ARCHIVE_PASSWORD, disk_destination

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(1800)]  # each step is tried in test_before_change.py, too
DAG_FILE = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from lifeboat import FreshBackup

with DAG(dag_id="change", schedule=None, params={"kind": "database"}):
    backup = FreshBackup(application="Bread", kind="{{ params.kind }}", proven=True)
    BashOperator(
        task_id="migrate",
        bash_command='echo "$ARCHIVE" >> CHANGES',
        env={"ARCHIVE": backup.output},
        append_env=True,
        retries=0,
    )
"""
STEPS = ("fresh_backup.back_up", "fresh_backup.prove", "migrate")
OVER = ("success", "failed")


@dataclass
class Changes:
    """An Airflow with a DAG that changes something.

    :param disk: the destination.
    :param made: where each change writes the key that it was given.
    """

    airflow: Standalone
    disk: Path
    made: Path

    def trigger(self, **conf: str) -> str:
        """Start a run and return its id."""
        return str(self.airflow.api("POST", "dags/change/dagRuns", logical_date=None, conf=conf)["dag_run_id"])

    def states(self, run_id: str) -> dict[str, str]:
        """Wait for the end of a run, and return the states of its tasks."""
        path = f"dags/change/dagRuns/{quote(run_id)}"
        wait_for(lambda: self.airflow.api("GET", path)["state"] in OVER, 600)
        return {each["task_id"]: each["state"] for each in self.tasks(run_id)}

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """Return the tasks of a run."""
        found: list[dict[str, Any]] = self.airflow.api("GET", f"dags/change/dagRuns/{quote(run_id)}/taskInstances")[
            "task_instances"
        ]
        return found

    def clear(self, run_id: str, *tasks: str) -> dict[str, str]:
        """Clear tasks of a run as a user does, and wait for its end."""
        tries = {each["task_id"]: each["try_number"] for each in self.tasks(run_id)}
        self.airflow.api(
            *("POST", "dags/change/clearTaskInstances"),
            dag_run_id=run_id,
            task_ids=list(tasks),
            dry_run=False,
            only_failed=False,
            reset_dag_runs=True,
            include_downstream=True,
        )
        wait_for(
            lambda: all(
                each["try_number"] > tries[each["task_id"]] or each["state"] is None
                for each in self.tasks(run_id)
                if each["task_id"] in tasks
            )
        )
        return self.states(run_id)

    @property
    def keys(self) -> list[str]:
        """The keys that changes were given, in their order."""
        return self.made.read_text().split() if self.made.exists() else []


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory, airflow_database: dict[str, str]) -> Iterator[Changes]:
    home = tmp_path_factory.mktemp("changes")
    disk_destination("disk", home / "disk")
    (home / "bread").mkdir()
    (home / "bread" / "recipe").write_text("flour")
    with contextlib.closing(sqlite3.connect(home / "bread.sqlite")) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    settings = {
        "staging": str(home / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {"disk": {"type": "disk", "path": str(home / "disk")}},
        "applications": {
            "Bread": {
                "databases": [{"name": "bread", "engine": "sqlite", "connection": "bread_db"}],
                "files": {"root": str(home / "bread")},
            }
        },
        "drill": {"production": True, "directory": str(home / "scratch")},
    }
    (home / "scratch").mkdir()
    (home / "backup.yaml").write_text(json.dumps(settings))
    (home / "dags").mkdir()
    (home / "dags" / "change.py").write_text(DAG_FILE.replace("CHANGES", str(home / "made")))
    variables = airflow_database | {
        "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW_CONN_BREAD_DB": json.dumps({"conn_type": "sqlite", "host": str(home / "bread.sqlite")}),
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
    }
    with Standalone(variables, home / "airflow.log") as airflow:
        wait_for(lambda: [dag["dag_id"] for dag in airflow.api("GET", "dags")["dags"]] == ["change"], 600)
        yield Changes(airflow, home / "disk", home / "made")


def test_two_changes_at_once_have_a_proven_backup_each(changes: Changes) -> None:
    runs = [changes.trigger() for _ in range(2)]
    assert [changes.states(run) for run in runs] == [dict.fromkeys(STEPS, "success")] * 2
    assert len(set(changes.keys)) == len(changes.keys) == 2
    for key in changes.keys:
        assert (changes.disk / f"{key}.proof.json").exists()


def test_a_cleared_change_waits_for_another_backup(changes: Changes) -> None:
    run = changes.trigger(kind="application")
    assert changes.states(run) == dict.fromkeys(STEPS, "success")
    first = changes.keys[-1]
    assert first.startswith("Bread/application/")
    with zipfile.ZipFile(changes.disk / first) as archive:
        assert "recipe" in archive.namelist()
    assert changes.clear(run, *STEPS[:2]) == dict.fromkeys(STEPS, "success")
    *_, before, second = changes.keys
    assert before == first != second, "the group brings the change along"
    assert changes.clear(run, STEPS[2]) == dict.fromkeys(STEPS, "success")
    assert changes.keys[-1] == second, "a change that is cleared alone runs with the old key"


def test_nothing_is_changed_until_the_backup_is_everywhere_and_proven(changes: Changes) -> None:
    made = changes.keys
    away = changes.disk.rename(changes.disk.with_name("away"))
    try:
        run = changes.trigger()
        states = dict(zip(STEPS, ("failed", "upstream_failed", "upstream_failed"), strict=True))
        assert changes.states(run) == states
        assert changes.clear(run, STEPS[0]) == states
        assert changes.keys == made
    finally:
        away.rename(changes.disk)
    assert changes.clear(run, STEPS[0]) == dict.fromkeys(STEPS, "success")
    assert len(changes.keys) == len(made) + 1
