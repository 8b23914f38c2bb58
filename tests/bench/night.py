"""A night of many applications under Airflow: whether the scheduler keeps up."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from include.demo.stand_ins import PostgreSQL
from include.demo.standalone import Standalone
from tests.bench.contest import console
from tests.conftest import PROJECT, disk_destination, where_it_is_noon

APPLICATIONS = (10, 100)
SLOTS = 4
LONGEST_NIGHT = 3600.0  # seconds
PAGE = 100  # tasks that the API gives at once
DAG = "backup_database"


@dataclass(frozen=True)
class Night:
    """A run that is over.

    :param seconds: from its trigger to its end.
    :param handed: tasks that the scheduler had handed to the executor and that were not over, on average: as long as
        they are no fewer than the slots, nothing waits for the scheduler.
    :param pause: seconds between two beginnings of tasks, at most.
    """

    tasks: int
    seconds: float
    handed: float
    pause: float


def main(scratch: Path) -> None:
    """Time the database backups of few applications and of many."""
    for applications in APPLICATIONS:
        folder = scratch / str(applications)
        folder.mkdir()
        with (
            PostgreSQL() as postgresql,
            Standalone(site(folder, applications, postgresql.airflow_database()), folder / "airflow.log") as airflow,
        ):
            night = backup(airflow)
        console.print(
            f"A night of {applications} applications, {SLOTS} slots: {night.tasks} tasks in {night.seconds:.0f} s,"
            f" {night.seconds / night.tasks:.2f} s each; {night.handed:.1f} with the executor at a time;"
            f" longest pause between two beginnings {night.pause:.1f} s."
        )


def site(folder: Path, applications: int, airflow_database: str) -> dict[str, str]:
    """Make applications of one small database each; return the variables of an Airflow that backs them up."""
    variables = {
        "LIFEBOAT_CONFIG": str(folder / "backup.yaml"),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_database,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
    }
    described = {}
    for number in range(applications):
        path = folder / f"app_{number}.sqlite"
        with sqlite3.connect(path) as database:
            database.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1);")
        database.close()
        connection = f"app_{number}"
        variables[f"AIRFLOW_CONN_{connection.upper()}"] = json.dumps({"conn_type": "sqlite", "host": str(path)})
        databases = [{"name": connection, "engine": "sqlite", "connection": connection}]
        described[f"App {number}"] = {"databases": databases}
    disk_destination("disk", folder / "kept")
    settings = {
        "timezone": where_it_is_noon(),
        "staging": str(folder / "staging"),
        "encryption": "none",
        "destinations": {"disk": {"type": "disk", "path": str(folder / "kept")}},
        "applications": described,
    }
    (folder / "backup.yaml").write_text(json.dumps(settings))
    return variables


def backup(airflow: Standalone) -> Night:
    """Back everything up once.

    :raises RuntimeError: it did not succeed.
    """
    wait_for(lambda: any(dag["dag_id"] == DAG for dag in airflow.api("GET", "dags")["dags"]))
    started = time.monotonic()
    run = quote(airflow.api("POST", f"dags/{DAG}/dagRuns", logical_date=None, conf={})["dag_run_id"])
    airflow.api("PATCH", f"dags/{DAG}", is_paused=False)
    wait_for(lambda: airflow.api("GET", f"dags/{DAG}/dagRuns/{run}")["state"] in ("success", "failed"))
    seconds = time.monotonic() - started
    tasks = tasks_of(airflow, run)
    if failed := [task["task_id"] for task in tasks if task["state"] != "success"]:
        raise RuntimeError(f"Not all succeeded: {failed}")
    beginnings = sorted(moment(task, "start_date") for task in tasks)
    pauses = [after - before for before, after in itertools.pairwise(beginnings)]
    handed = sum(moment(task, "end_date") - moment(task, "queued_when") for task in tasks)
    return Night(len(tasks), seconds, handed / seconds, max(pauses))


def moment(task: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(task[name]).timestamp()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + LONGEST_NIGHT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("Waited in vain.")
        time.sleep(5)  # asking costs the same processors


def tasks_of(airflow: Standalone, run: str) -> list[dict[str, Any]]:
    """Return all tasks of a run."""
    found: list[dict[str, Any]] = []
    while True:
        page = airflow.api("GET", f"dags/{DAG}/dagRuns/{run}/taskInstances?limit={PAGE}&offset={len(found)}")
        found += page["task_instances"]
        if not page["task_instances"]:
            return found
