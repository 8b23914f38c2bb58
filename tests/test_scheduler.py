"""A real scheduler: `airflow standalone` runs the DAGs, and the sinks count what is sent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lifeboat import config

from include.demo.stand_ins import MailSink, MariaDB, SlackSink
from include.demo.standalone import Standalone
from tests.conftest import Configure, staging_directory, where_it_is_noon
from tests.test_dags import stored

pytestmark = pytest.mark.timeout(1800)


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return value


def finished(airflow: Standalone, run_id: str) -> str:
    def state() -> str | None:
        found = airflow.api("GET", f"dags/backup_database/dagRuns/{run_id}")["state"]
        return found if found in ("success", "failed") else None

    return str(wait_for(state))


def dumps(mariadb: MariaDB) -> list[str]:
    """Return the connections of dump clients that the server is serving."""
    processes = mariadb.run("SELECT info FROM information_schema.processlist WHERE info LIKE '%SQL_NO_CACHE%orders%'")
    return [line for line in processes.splitlines() if "processlist" not in line]


def marked_failed_ends_the_dump(airflow: Standalone, trigger: Callable[..., str], mariadb: MariaDB) -> None:
    """Mark a dump failed that waits for a table: its client dies, and its lock with it."""
    blocker = mariadb.connect(database="shop")
    blocker.cursor().execute("LOCK TABLES orders WRITE")
    try:
        run_id = trigger(application="Shop")
        wait_for(lambda: dumps(mariadb))
        task = f"dags/backup_database/dagRuns/{quote(run_id)}/taskInstances/Shop.dump/0"
        airflow.api("PATCH", task, new_state="failed")
        wait_for(lambda: not dumps(mariadb))
    finally:
        blocker.close()
    assert finished(airflow, run_id) == "failed"
    assert mariadb.run("SELECT IS_FREE_LOCK('lifeboat:shop')").strip() == "1"


def restores_and_drills_are_told(
    airflow: Standalone, key: str, mariadb: MariaDB, slack: SlackSink, mail: MailSink
) -> None:
    """What a restore and a drill bring is told once, with its figures."""

    def told(dag_id: str, **conf: object) -> str:
        before = len(slack.messages())
        airflow.api("POST", f"dags/{dag_id}/dagRuns", logical_date=None, conf=conf)
        wait_for(lambda: len(slack.messages()) == len(mail.messages()) == before + 1)
        return str(slack.messages()[-1])

    restored = told("restore_database", application="Shop", into="shop_copy")
    assert "restore_database succeeded" in restored
    assert "Restored database shop into shop_copy: 3505 rows of 4 tables" in restored
    assert "4 tables compared, all as captured" in restored
    mariadb.run("DROP DATABASE shop_copy")
    drilled = told("restore_drill", application="Shop")
    assert "restore_drill: 2 archives proven" in drilled
    assert f"Proven: {key} at disk; recovered in" in drilled
    assert "Shop at offsite: 1 of 1 database archives are proven" in drilled


def settings_that_cannot_be_read_are_told(airflow: Standalone, slack: SlackSink, mail: MailSink) -> None:
    """A file that is no YAML names no channel; those that were used last are told."""
    path = config.settings_path()
    good, before = path.read_text(), len(slack.messages())
    path.write_text(good + "}")
    airflow.api("POST", "dags/settings_watch/dagRuns", logical_date=None)
    told = f"{path} is not valid YAML: line 1"
    # Without its time zone, a schedule may be due at once, and its run tells the same.
    wait_for(lambda: told in str(slack.messages()[before:]) and len(mail.messages()) > before)
    path.write_text(good)


def a_backfill_takes_no_backup_while_the_newest_is_fresh(airflow: Standalone) -> None:
    command = [
        *(str(Path(sys.executable).parent / "airflow"), "backfill", "create", "--dag-id", "backup_database"),
        *("--from-date", "2026-01-01", "--to-date", "2026-01-04", "--dag-run-conf", '{"application": "Shop"}'),
    ]
    subprocess.run(command, capture_output=True, check=True)

    def backfilled() -> list[Any]:
        runs: list[Any] = airflow.api("GET", "dags/backup_database/dagRuns?run_type=backfill")["dag_runs"]
        return runs if len(runs) == 3 and all(run["state"] in ("success", "failed") for run in runs) else []

    for run in wait_for(backfilled):
        assert run["state"] == "success"
        tasks = f"dags/backup_database/dagRuns/{quote(run['dag_run_id'])}/taskInstances"
        states = {task["task_id"]: task["state"] for task in airflow.api("GET", tasks)["task_instances"]}
        assert states["Shop.prepare_staging"] == states["Shop.dump"] == states["Shop.upload"] == "skipped"


def test_backups_under_a_real_scheduler(
    project: Configure,
    mariadb: MariaDB,
    shop: str,
    mail: MailSink,
    slack: SlackSink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    airflow_database: dict[str, str],
) -> None:
    project(
        timezone=where_it_is_noon(),
        applications={
            "Shop": {"databases": [{"name": "shop", "connection": "shop_db"}]},
            "Broken": {"databases": [{"name": name, "connection": "not_there"} for name in ("one", "two<b>")]},
        },
        alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}},
        drill={"production": True},
    )
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    for name, value in airflow_database.items():  # commands need it, too
        monkeypatch.setenv(name, value)
    with Standalone({}, tmp_path / "airflow.log") as airflow:

        def parsed() -> bool:
            return any(dag["dag_id"] == "backup_database" for dag in airflow.api("GET", "dags")["dags"])

        def trigger(**conf: object) -> str:
            run = airflow.api("POST", "dags/backup_database/dagRuns", logical_date=None, conf=conf)
            return str(run["dag_run_id"])

        wait_for(parsed)
        assert airflow.api("GET", "importErrors")["total_entries"] == 0

        good = trigger(application="Shop")
        assert finished(airflow, good) == "success"
        (key,) = stored("Shop")["disk"]
        assert stored("Shop") == {"disk": [key], "offsite": [key]}
        assert slack.messages() == []

        # One message each for a run in which two tasks failed, with the reason of each.
        bad = trigger(application="Broken")
        assert finished(airflow, bad) == "failed"
        wait_for(lambda: slack.messages() and mail.messages())
        time.sleep(5)
        (message,), (letter,) = slack.messages(), mail.messages()
        for name in ("one", "two&lt;b&gt;"):
            assert f"There is no Airflow connection 'not_there', which database '{name}' needs." in str(message)
        html = letter.get_body(("html",))
        assert html is not None
        assert "two&lt;b&gt;" in html.get_content()
        assert f"/dags/backup_database/runs/{quote(bad)}" in str(message)

        # Clearing one upload stores again what its destination has lost, without a dump.
        (tmp_path / "disk" / key).unlink()
        before = {path.name for path in (tmp_path / "disk" / "Shop" / "database").iterdir()}
        airflow.api(
            "POST",
            "dags/backup_database/clearTaskInstances",
            dry_run=False,
            dag_run_id=good,
            task_ids=[["Shop.upload", 0]],
            only_failed=False,
        )
        wait_for((tmp_path / "disk" / key).is_file)
        assert finished(airflow, good) == "success"
        assert {path.name for path in (tmp_path / "disk" / "Shop" / "database").iterdir()} == before | {Path(key).name}

        staged = staging_directory(config.load()).rglob("*")
        left = [path for path in staged if path.is_file() and "Broken" not in str(path)]
        assert left == []
        assert len(slack.messages()) == len(mail.messages()) == 1

        marked_failed_ends_the_dump(airflow, trigger, mariadb)
        wait_for(lambda: len(slack.messages()) == len(mail.messages()) == 2)

        restores_and_drills_are_told(airflow, key, mariadb, slack, mail)

        # An unhealthy check carries its findings.
        airflow.api("POST", "dags/backup_check/dagRuns", logical_date=None, conf={"application": "Broken"})
        wait_for(lambda: len(slack.messages()) == len(mail.messages()) == 5)
        told = str(slack.messages()[-1])
        assert "Broken at disk: there is no database archive yet" in told
        assert "Last good backup of Broken: none was found" in told

        a_backfill_takes_no_backup_while_the_newest_is_fresh(airflow)
        settings_that_cannot_be_read_are_told(airflow, slack, mail)
