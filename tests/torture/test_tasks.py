"""A task's process and its worker killed under a real scheduler: the next try succeeds by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from lifeboat.settings import config

from include.demo.stand_ins import MariaDB
from include.demo.standalone import Standalone
from tests.airflow.test_dags import stored
from tests.airflow.test_scheduler import dumps, wait_for
from tests.conftest import Configure, staging_directory, where_it_is_noon
from tests.torture.conftest import Faults

PATIENCE = 900  # seconds; a task waits two minutes before it is tried again


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def dump_clients() -> list[int]:
    """Return the dump clients that descend from this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            found += [process.pid] if process.name().startswith("mariadb-dump") else []
    return found


def task(client: int) -> int:
    return parent(client)


def worker(client: int) -> int:
    return parent(parent(client))


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_task_and_its_worker_are_killed(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    project(timezone=where_it_is_noon())
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    monkeypatch.setenv("AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "30")
    with Standalone({}, tmp_path / "airflow.log") as airflow:
        wait_for(lambda: any(dag["dag_id"] == "backup_database" for dag in airflow.api("GET", "dags")["dags"]))

        def kill_dump(victim: Callable[[int], int]) -> None:
            blocker = mariadb.connect(database="shop")
            blocker.cursor().execute("LOCK TABLES orders WRITE")
            run = airflow.api("POST", "dags/backup_database/dagRuns", logical_date=None, conf={})["dag_run_id"]
            (client,) = wait_for(lambda: dumps(mariadb) and dump_clients(), PATIENCE)
            os.kill(victim(client), signal.SIGKILL)
            wait_for(lambda: client not in dump_clients())
            blocker.close()

            def state() -> str:
                time.sleep(2)
                found = str(airflow.api("GET", f"dags/backup_database/dagRuns/{run}")["state"])
                return found if found in ("success", "failed") else ""

            assert wait_for(state, PATIENCE) == "success"

        for number, victim in enumerate((task, worker), 1):
            with faults.one(f"Airflow's {victim.__name__} killed in a dump"):
                kill_dump(victim)
                assert [len(keys) for keys in stored().values()] == [number, number]
                assert not [path for path in staging_directory(config.load()).rglob("*") if path.is_file()]
                assert mariadb.run("SELECT IS_FREE_LOCK('lifeboat:shop')").strip() == "1"
