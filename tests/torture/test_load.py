"""A night of many applications on a small machine: it ends, memory stays bounded, and only what failed is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives as catalog

from include.demo.stand_ins import MailSink, MariaDB, SlackSink
from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import wait_for
from tests.conftest import Configure, where_it_is_noon
from tests.torture.conftest import Faults

APPLICATIONS = [f"Shop {number:02}" for number in range(1, 51)]
FAILING = ("Shop 17", "Shop 33")
DATABASES = 3
ROWS = 2000
LONGEST_NIGHT = 3600  # seconds
MOST_MEMORY = 400  # MiB of one process
PARENT = re.compile(r"^PPid:\s+(\d+)", re.MULTILINE)
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@pytest.fixture
def many(project: Configure, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Fifty applications of three databases each; two of them name a connection that nobody made."""
    names = [f"load_{number}" for number in range(len(APPLICATIONS) * DATABASES)]
    for name in names:
        mariadb.run(
            f"CREATE OR REPLACE DATABASE {name}; USE {name}; CREATE TABLE orders (id INT PRIMARY KEY, note TEXT);"
            f" INSERT INTO orders SELECT seq, repeat('lorem ipsum ', seq % 20) FROM seq_1_to_{ROWS}"
        )
    applications = {}
    for index, application in enumerate(APPLICATIONS):
        own = names[index * DATABASES : (index + 1) * DATABASES]
        databases = [{"name": name, "connection": "shop_db"} for name in own]
        if application in FAILING:
            databases[-1]["connection"] = "nobody_made_it"
        applications[application] = {"databases": databases}
    project(
        timezone=where_it_is_noon(),
        applications=applications,
        destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
        alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}},
    )
    yield tmp_path
    for name in names:
        mariadb.run(f"DROP DATABASE {name}")


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


class Memory:
    """The most that a process took, of those that descend from this one.

    :ivar peak: in MiB, by program.
    """

    def __init__(self, *programs: str) -> None:
        self.peak: dict[str, int] = {}
        self._programs = programs

    def _look(self) -> None:
        statuses: dict[int, str] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                statuses[int(process.name)] = (process / "status").read_text()
        parents = {pid: int(PARENT.findall(status)[0]) for pid, status in statuses.items()}
        for pid, status in statuses.items():
            if os.getpid() not in ancestors(pid, parents) or not (peak := PEAK.findall(status)):
                continue
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                program = next((program for program in self._programs if program in line), "")
                self.peak[program] = max(self.peak.get(program, 0), int(peak[0]) >> 10)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        over = Event()

        def watch() -> None:
            while not over.wait(0.2):
                self._look()

        watcher = Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def check_stored() -> None:
    """Every application but those that had to fail has its archive."""
    (disk,) = load_site().destinations(APPLICATIONS[0])
    archives = catalog.read(disk.list()).archives
    assert sorted(archive.application for archive in archives) == sorted({*APPLICATIONS} - {*FAILING})


@pytest.mark.torture
@pytest.mark.timeout(LONGEST_NIGHT)
def test_a_night_of_fifty_applications_by_the_command(many: Path, faults: Faults) -> None:
    memory = Memory("lifeboat backup")
    started = time.monotonic()
    with memory.watched():
        command: list[str | Path] = [Path(sys.executable).parent / "lifeboat", "backup", "database", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    assert done.returncode == 1, done.stderr[-1000:]
    failed = [result["application"] for result in json.loads(done.stdout) if "error" in result]
    assert failed == list(FAILING)
    check_stored()
    peak = memory.peak["lifeboat backup"]
    faults.measured.append(f"50 applications of 3 databases by the command: {seconds:.0f} s, {peak} MiB at most.")
    assert peak < MOST_MEMORY


@pytest.mark.torture
@pytest.mark.timeout(LONGEST_NIGHT)
def test_a_night_of_fifty_applications_by_airflow(
    many: Path, mail: MailSink, slack: SlackSink, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(many / "airflow"))
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "4")  # on two cores; each task takes a process of its own
    memory = Memory("airflow worker")
    with Standalone({}, many / "airflow.log") as airflow, memory.watched():
        dags = "dags/backup_database"
        wait_for(lambda: any(dag["dag_id"] == "backup_database" for dag in airflow.api("GET", "dags")["dags"]))
        started = time.monotonic()
        run = airflow.api("POST", f"{dags}/dagRuns", logical_date=None, conf={})["dag_run_id"]

        def is_over() -> bool:
            time.sleep(5)  # asking costs the same two cores
            with contextlib.suppress(OSError):  # the API server may be too busy to answer
                return airflow.api("GET", f"{dags}/dagRuns/{run}")["state"] in ("success", "failed")
            return False

        wait_for(is_over, LONGEST_NIGHT)
        seconds = time.monotonic() - started
        wait_for(lambda: slack.messages() and mail.messages())
        time.sleep(5)  # for a second one, which must not come
    check_stored()
    (message,), (_,) = slack.messages(), mail.messages()
    reasons = [str(block) for block in message["blocks"] if "nobody_made_it" in str(block)]
    assert [name for name in APPLICATIONS if any(name in reason for reason in reasons)] == [*FAILING]
    assert len(reasons) == len(FAILING)
    assert re.findall("Last good backup of (.*?): ", str(message)) == [*FAILING]
    peak = memory.peak["airflow worker"]
    faults.measured.append(f"50 applications of 3 databases by Airflow: {seconds:.0f} s, {peak} MiB of a task at most.")
    assert peak < MOST_MEMORY
