"""Two workers that share nothing but the network: CeleryExecutor, and a bucket for staging."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.settings import config
from lifeboat.support.processes import die_with_parent

from include.demo.stand_ins import LOCALHOST, S3, MariaDB, PostgreSQL, free_port
from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import dumps, wait_for
from tests.conftest import Configure, where_it_is_noon
from tests.torture.conftest import Faults

pytestmark = [pytest.mark.torture, pytest.mark.timeout(2400)]

STAGING = "staging"
AIRFLOW = str(Path(sys.executable).parent / "airflow")
# A machine of its own, as far as this matters: names, processes, and what is on its disks.
MACHINE = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
BOOT = 'hostname "$1" && mount -t tmpfs tmpfs "$2" && cd "$2" && shift 2 && exec "$@"'


@contextlib.contextmanager
def program(*command: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as long as the block lasts."""
    parent = os.getpid()
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=lambda: die_with_parent(parent),
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


class Cluster(Standalone):
    """Airflow with the CeleryExecutor, and two workers that can be killed as a whole.

    :param folder: for logs, and for the workers' own scratch space: the same path, of which each sees its own.
    """

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self._folder = folder
        self._running = contextlib.ExitStack()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        variables = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": f"{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"{broker}/1",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-that-all-parts-share-0123456789",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # a busy machine is no dead worker
        }
        super().__init__(variables, folder / "api-server.log")
        self._environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{self.base}/execution/"

    def __enter__(self) -> Self:
        subprocess.run([AIRFLOW, "db", "migrate"], env=self._environment, check=True, capture_output=True)
        with contextlib.ExitStack() as stack:
            for part in (["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"]):
                started = stack.enter_context(self._part(f"{part[0]}.log", AIRFLOW, *part))
                self._process = self._process or started
            for name in ("worker-1", "worker-2"):
                boot = [*MACHINE, "sh", "-c", BOOT, "boot", name, str(self.scratch)]
                celery = [AIRFLOW, "celery", "worker", "-H", f"{name}@local", "--skip-serve-logs"]
                self.workers[name] = stack.enter_context(self._part(f"{name}.log", *boot, *celery))
            self._await()
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _part(self, log: str, *command: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        variables = {str(name): str(value) for name, value in self._environment.items()}
        return program(*command, log=self._folder / log, **variables | {"TMPDIR": str(self.scratch)})


@pytest.fixture
def cluster(
    project: Configure, mariadb: MariaDB, shop: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    mariadb.run("DROP DATABASE IF EXISTS stock; CREATE DATABASE stock")
    mariadb.run("CREATE TABLE goods SELECT seq FROM seq_1_to_1000", "stock")
    s3.create_bucket(STAGING)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    settings(project, f"s3://backups_s3@{STAGING}/runs")
    port = str(free_port())
    redis = ["redis-server", "--port", port, "--bind", LOCALHOST, "--save", "", "--dir", str(tmp_path)]
    with (
        PostgreSQL() as postgresql,
        program(*redis, log=tmp_path / "redis.log"),
        Cluster(tmp_path, postgresql.airflow_database(), f"redis://{LOCALHOST}:{port}") as running,
    ):
        yield running
    mariadb.run("DROP DATABASE stock")


def settings(project: Configure, staging: str) -> None:
    databases = [{"name": name, "connection": "shop_db"} for name in ("shop", "stock")]
    offsite = config.load(project()).destinations["offsite"]
    assert isinstance(offsite, config.S3Destination)
    project(
        timezone=where_it_is_noon(),
        staging=staging,
        destinations={"offsite": {"type": "s3", "connection": "backups_s3", "bucket": offsite.bucket}},
        applications={"Shop": {"databases": databases}},
    )


class Run:
    """A run of the backup."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        started = cluster.api("POST", "dags/backup_database/dagRuns", logical_date=None, conf={})
        self.path = f"dags/backup_database/dagRuns/{quote(started['dag_run_id'])}"

    def tasks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._cluster.api("GET", f"{self.path}/taskInstances")["task_instances"]
        return found

    def dump(self, index: int) -> dict[str, Any]:
        """Return the dump of a database, by its place in the settings."""
        (task,) = [task for task in self.tasks() if (task["task_id"], task["map_index"]) == ("Shop.dump", index)]
        return task

    def end(self, seconds: float) -> str:
        def state() -> str | None:
            found: str = self._cluster.api("GET", self.path)["state"]
            return found if found in ("success", "failed") else None

        return str(wait_for(state, seconds))

    def reason(self) -> str:
        """Wait for a dump that failed, and return why."""

        def failed() -> list[int]:
            return [task["map_index"] for task in self.tasks() if task["state"] in ("failed", "up_for_retry")]

        (index, *_) = wait_for(failed, 300)
        entry = f"{self.path}/taskInstances/Shop.dump/xcomEntries/failure?map_index={index}"
        return str(self._cluster.api("GET", entry)["value"])


def test_a_run_spreads_over_workers_and_survives_the_death_of_one(
    project: Configure, cluster: Cluster, mariadb: MariaDB, s3: S3, faults: Faults
) -> None:
    wait_for(lambda: any(dag["dag_id"] == "backup_database" for dag in cluster.api("GET", "dags")["dags"]))
    spread(cluster)
    local_staging_is_told(project, cluster)
    settings(project, f"s3://backups_s3@{STAGING}/runs")
    with faults.one("worker killed in mid-dump"):
        one_dies(cluster, mariadb, faults)
    (destination,) = load_site().destinations("Shop")
    found = archives.read(destination.list())
    assert len(found.archives) == 2
    assert found.unfinished == ()
    assert list(destination.uploads()) == []
    assert "Contents" not in s3.client().list_objects_v2(Bucket=STAGING)
    assert s3.client().list_multipart_uploads(Bucket=STAGING).get("Uploads", []) == []


def spread(cluster: Cluster) -> None:
    """Two dumps at once, on workers that do one thing at a time."""
    run = Run(cluster)
    assert run.end(600) == "success"
    assert {task["hostname"] for task in run.tasks()} == {"worker-1", "worker-2"}


def local_staging_is_told(project: Configure, cluster: Cluster) -> None:
    settings(project, str(cluster.scratch / "staging"))
    run = Run(cluster)
    reason = run.reason()
    names = sorted(cluster.workers, key=reason.index)
    assert f"/Shop is not on {names[0]}, where this step runs: staging was opened on {names[1]}. Hint" in reason
    cluster.api("PATCH", run.path, state="failed")
    wait_for(lambda: not [task for task in run.tasks() if task["state"] == "running"])


def one_dies(cluster: Cluster, mariadb: MariaDB, faults: Faults) -> None:
    """Kill a worker whose dump waits for a table: the other takes over once the scheduler has noticed."""
    blocker = mariadb.connect(database="shop")
    blocker.cursor().execute("LOCK TABLES orders WRITE")
    try:
        run = Run(cluster)
        wait_for(lambda: dumps(mariadb), 300)
        victim = run.dump(0)["hostname"]
        killed = time.monotonic()
        cluster.workers[victim].kill()
        wait_for(lambda: not dumps(mariadb))
    finally:
        blocker.close()
    assert run.end(900) == "success"
    faults.measured.append(f"A backup succeeded {time.monotonic() - killed:.0f} s after the death of its worker.")
    dump = run.dump(0)
    assert dump["try_number"] == 2
    (survivor,) = set(cluster.workers) - {victim}
    assert dump["hostname"] == survivor
