"""A real scheduler: `airflow standalone` runs the DAGs, and the sinks count what is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lifeboat.settings import config

from include.demo.stand_ins import S3, MailSink, MariaDB, SlackSink
from include.demo.standalone import Standalone
from tests.airflow.test_dags import stored
from tests.conftest import ARCHIVE_PASSWORD, SCHEMA, disk_destination, staging_directory, where_it_is_noon

pytestmark = pytest.mark.timeout(1800)
DATABASE = [{"name": "shop", "connection": "shop_db"}]
POOLED = DATABASE[0] | {"pool": "shop_server"}
APPLICATIONS = {
    **{name: {"databases": DATABASE} for name in ("Shop", "Marked", "Drilled", "Filled")},  # one for each test
    **{name: {"databases": [POOLED], "schedules": {"database": "0 0 1 1 *"}} for name in ("First", "Second")},
    "Broken": {"databases": [{"name": name, "connection": "not_there"} for name in ("one", "two<b>")]},
}


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return value


@dataclass
class Scheduler:
    """An Airflow whose scheduler runs our DAGs, and the channels that it alerts.

    :param disk: one of both destinations.
    """

    airflow: Standalone
    disk: Path
    slack: SlackSink
    mail: MailSink

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Start a run, and return its id."""
        return str(self.airflow.api("POST", f"dags/{dag_id}/dagRuns", logical_date=None, conf=conf)["dag_run_id"])

    def finished(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run, and return its state."""

        def state() -> str | None:
            found = self.airflow.api("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}")["state"]
            return found if found in ("success", "failed") else None

        return str(wait_for(state))

    def back_up(self, application: str) -> tuple[str, str]:
        """Back an application up; return the run's id and the archive's key."""
        run_id = self.trigger("backup_database", application=application)
        assert self.finished("backup_database", run_id) == "success"
        (key,) = self.keys(application)["disk"]
        return run_id, key

    @staticmethod
    def keys(application: str) -> dict[str, list[str]]:
        """Return the keys of an application's archives at each destination."""
        return {
            name: [key for key in keys if key.startswith(f"{application}/")]
            for name, keys in stored(application).items()
        }

    def sent(self, of: str) -> tuple[list[str], list[str]]:
        """Return the messages and the letters that hold a text."""
        letters = [(letter, letter.get_body(("html",))) for letter in self.mail.messages()]
        texts = [f"{letter['Subject']} {body.get_content() if body else ''}" for letter, body in letters]
        return [text for text in map(str, self.slack.messages()) if of in text], [text for text in texts if of in text]

    def one_of_each(self, of: str) -> tuple[str, str]:
        """Wait for a message and a letter that hold a text; return both, which are the only ones."""
        wait_for(lambda: all(self.sent(of)))
        (message,), (letter,) = self.sent(of)
        return message, letter


@pytest.fixture(scope="module")
def scheduler(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, s3: S3, airflow_database: dict[str, str]
) -> Iterator[Scheduler]:
    home = tmp_path_factory.mktemp("scheduler")
    mariadb.run("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop")
    mariadb.run(SCHEMA, "shop")
    s3.create_bucket("scheduler")
    disk_destination("disk", home / "disk")
    settings = {
        "timezone": where_it_is_noon(),
        "staging": str(home / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {
            "disk": {"type": "disk", "path": str(home / "disk")},
            "offsite": {"type": "s3", "connection": "backups_s3", "bucket": "scheduler"},
        },
        "applications": APPLICATIONS,
        "pools": {"shop_server": 1},
        "ignore_databases": ["*"],  # all tests share a server
        "alerts": {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}},
        "drill": {"production": True},
    }
    (home / "backup.yaml").write_text(json.dumps(settings))
    with SlackSink(home / "slack") as slack, MailSink(home / "mail") as mail, pytest.MonkeyPatch.context() as patch:
        variables = airflow_database | {
            "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW_CONN_SHOP_DB": mariadb.connection("shop"),
            "AIRFLOW_CONN_BACKUPS_S3": s3.connection(),
            "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
            "AIRFLOW_CONN_SLACK": slack.connection(),
            "AIRFLOW_CONN_SMTP": mail.connection(),
        }
        for name, value in variables.items():  # the tests and their commands need them, too
            patch.setenv(name, value)
        with Standalone({}, home / "airflow.log") as airflow:
            wait_for(lambda: any(dag["dag_id"] == "backup_database" for dag in airflow.api("GET", "dags")["dags"]))
            yield Scheduler(airflow, home / "disk", slack, mail)
    mariadb.run("DROP DATABASE shop")


def dumps(mariadb: MariaDB) -> list[str]:
    """Return the connections of dump clients that the server is serving."""
    processes = mariadb.run("SELECT info FROM information_schema.processlist WHERE info LIKE '%SQL_NO_CACHE%orders%'")
    return [line for line in processes.splitlines() if "processlist" not in line]


def test_a_cleared_upload_stores_again_what_its_destination_lost(scheduler: Scheduler) -> None:
    """It needs no new dump, and a run that succeeds sends no message."""
    assert scheduler.airflow.api("GET", "importErrors")["total_entries"] == 0
    run_id, key = scheduler.back_up("Shop")
    assert scheduler.keys("Shop") == {"disk": [key], "offsite": [key]}
    folder = scheduler.disk / "Shop/database"
    (scheduler.disk / key).unlink()
    before = {path.name for path in folder.iterdir()}
    scheduler.airflow.api(
        "POST",
        "dags/backup_database/clearTaskInstances",
        dry_run=False,
        dag_run_id=run_id,
        task_ids=[["Shop.upload", 0]],
        only_failed=False,
    )
    wait_for((scheduler.disk / key).is_file)
    assert scheduler.finished("backup_database", run_id) == "success"
    assert {path.name for path in folder.iterdir()} == before | {Path(key).name}
    staged = [path for path in staging_directory(config.load()).rglob("*") if path.is_file() and "Shop" in path.parts]
    assert staged == []
    assert scheduler.sent(quote(run_id)) == ([], [])


def test_a_failed_run_sends_one_of_each_with_all_its_reasons(scheduler: Scheduler) -> None:
    run_id = scheduler.trigger("backup_database", application="Broken")
    assert scheduler.finished("backup_database", run_id) == "failed"
    path = f"/dags/backup_database/runs/{quote(run_id)}"
    message, _ = scheduler.one_of_each(path)
    time.sleep(5)  # for a second one, which must not come
    _, letter = scheduler.one_of_each(path)
    for name in ("one", "two&lt;b&gt;"):
        assert f"There is no Airflow connection 'not_there', which database '{name}' needs." in message
    assert "two&lt;b&gt;" in letter


def test_a_dump_that_is_marked_failed_ends_with_its_lock(scheduler: Scheduler, mariadb: MariaDB) -> None:
    """It waits for a table when it is marked: its client dies."""
    blocker = mariadb.connect(database="shop")
    blocker.cursor().execute("LOCK TABLES orders WRITE")
    try:
        run_id = scheduler.trigger("backup_database", application="Marked")
        wait_for(lambda: dumps(mariadb))
        task = f"dags/backup_database/dagRuns/{quote(run_id)}/taskInstances/Marked.dump/0"
        scheduler.airflow.api("PATCH", task, new_state="failed")
        wait_for(lambda: not dumps(mariadb))
    finally:
        blocker.close()
    assert scheduler.finished("backup_database", run_id) == "failed"
    assert mariadb.run("SELECT IS_FREE_LOCK('lifeboat:shop')").strip() == "1"
    scheduler.one_of_each(f"/dags/backup_database/runs/{quote(run_id)}")


def test_what_restores_and_drills_bring_is_told_with_its_figures(scheduler: Scheduler, mariadb: MariaDB) -> None:
    _, key = scheduler.back_up("Drilled")

    def told(dag_id: str, **conf: object) -> str:
        run_id = scheduler.trigger(dag_id, application="Drilled", **conf)
        return scheduler.one_of_each(f"/dags/{dag_id}/runs/{quote(run_id)}")[0]

    restored = told("restore_database", into="shop_copy")
    assert "restore_database succeeded" in restored
    assert "Database shop is in the new schema shop_copy: 3505 rows of 4 tables" in restored
    assert "4 tables compared, all as captured" in restored
    mariadb.run("DROP DATABASE shop_copy")
    drilled = told("restore_drill")
    assert "restore_drill: 2 archives proven" in drilled
    assert f"Proven: {key} at disk; recovered in" in drilled
    assert "Drilled at offsite: 1 of 1 database archives are proven" in drilled


def test_an_unhealthy_check_carries_its_findings(scheduler: Scheduler) -> None:
    run_id = scheduler.trigger("backup_check", application="Broken")
    told, _ = scheduler.one_of_each(f"/dags/backup_check/runs/{quote(run_id)}")
    assert "Broken at disk: there is no database archive yet" in told
    assert "Last good backup of Broken: none was found" in told


def test_two_applications_of_one_server_take_turns_in_its_pool(scheduler: Scheduler) -> None:
    """Until doctor has made the pool, both wait for it, which the check tells."""
    dags = ("backup_database__first", "backup_database__second")
    runs = {dag_id: scheduler.trigger(dag_id) for dag_id in dags}

    def dumped() -> list[dict[str, Any]]:
        paths = [f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances" for dag_id, run_id in runs.items()]
        found = [each for path in paths for each in scheduler.airflow.api("GET", path)["task_instances"]]
        return [each for each in found if each["task_id"].endswith(".dump")]

    wait_for(lambda: [each["state"] for each in dumped()] == ["scheduled"] * 2)
    check = scheduler.trigger("backup_check")
    told, _ = scheduler.one_of_each(f"/dags/backup_check/runs/{quote(check)}")
    assert "2 tasks of backups wait, and none runs, as if a pool were missing" in told
    doctor = scheduler.trigger("doctor")
    scheduler.finished("doctor", doctor)
    log = scheduler.airflow.api("GET", f"dags/doctor/dagRuns/{quote(doctor)}/taskInstances/look/logs/1")
    assert "or this is a task, and no task may ask it. Tasks in a pool that is missing never begin" in str(log)
    assert [each["state"] for each in dumped()] == ["scheduled"] * 2
    program = str(Path(sys.executable).parent / "lifeboat")
    subprocess.run([program, "doctor"], capture_output=True, check=False)  # what else is broken is so on purpose
    assert [scheduler.finished(dag_id, run_id) for dag_id, run_id in runs.items()] == ["success"] * 2
    first, second = sorted(dumped(), key=lambda each: str(each["start_date"]))
    assert first["pool"] == second["pool"] == "shop_server"
    assert first["end_date"] <= second["start_date"]


def test_a_backfill_takes_no_backup_while_the_newest_is_fresh(scheduler: Scheduler) -> None:
    scheduler.back_up("Filled")
    command = [
        *(str(Path(sys.executable).parent / "airflow"), "backfill", "create", "--dag-id", "backup_database"),
        # From half past: an interval that begins on the hour of either end would make a fourth run.
        *("--from-date", "2026-01-01T00:30", "--to-date", "2026-01-04T00:30"),
        *("--dag-run-conf", '{"application": "Filled"}'),
    ]
    subprocess.run(command, capture_output=True, check=True)

    def backfilled() -> list[Any]:
        runs: list[Any] = scheduler.airflow.api("GET", "dags/backup_database/dagRuns?run_type=backfill")["dag_runs"]
        return runs if len(runs) == 3 and all(run["state"] in ("success", "failed") for run in runs) else []

    for run in wait_for(backfilled):
        assert run["state"] == "success"
        tasks = f"dags/backup_database/dagRuns/{quote(run['dag_run_id'])}/taskInstances"
        states = {task["task_id"]: task["state"] for task in scheduler.airflow.api("GET", tasks)["task_instances"]}
        assert states["Filled.prepare_staging"] == states["Filled.dump"] == states["Filled.upload"] == "skipped"


def test_settings_that_cannot_be_read_are_told(scheduler: Scheduler) -> None:
    """No channel can be read from a file that is not YAML, so the channels used last get the alert."""
    wait_for(lambda: scheduler.airflow.api("GET", "dags/settings_watch")["dag_id"])
    path = config.settings_path()
    good = path.read_text()
    path.write_text(good + "}")
    try:
        scheduler.trigger("settings_watch")
        # Without its time zone, a schedule may be due at once, and its run tells the same.
        wait_for(lambda: all(scheduler.sent("is not valid YAML: line 1")))
    finally:
        path.write_text(good)
