"""The DAG that ships binary logs, on a real MySQL."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lifeboat.airflow.alerts import reports
from lifeboat.airflow.compat import AirflowTaskTimeout
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.catalog.archives import number_of
from lifeboat.catalog.proof import ChainProof
from lifeboat.errors import RestoreError
from lifeboat.settings import config
from lifeboat.site import Site

from include.demo.stand_ins import S3, MySQL
from tests.airflow.test_dags import LoadDag, load_dag, run, states  # noqa: F401  # a fixture
from tests.conftest import Configure
from tests.faulty_s3 import LASTING, Fault, FaultyS3, failing

DESTINATIONS = ("disk", "offsite")
SHOP: dict[str, Any] = {"databases": [{"name": "logged", "connection": "logged_db"}], "logs": True}
BEGUN = datetime.now(UTC)
_minutes = itertools.count()  # a run knows those of earlier dates, so no test may go back


@pytest.fixture
def server(mysql: MySQL, monkeypatch: pytest.MonkeyPatch) -> MySQL:
    monkeypatch.setenv("PATH", f"{mysql.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", mysql.connection())
    mysql.run("DROP DATABASE IF EXISTS logged; CREATE DATABASE logged; CREATE TABLE logged.t (id INT PRIMARY KEY)")
    return mysql


@pytest.fixture
def ship(load_dag: LoadDag) -> Callable[[], Any]:  # noqa: F811
    """Run the DAG as a schedule does, whose runs know those before them."""
    return lambda: load_dag("backup_logs").test(logical_date=BEGUN + timedelta(minutes=next(_minutes)))


def reason(done: Any) -> str:
    (ti,) = done.get_task_instances()
    return str((ti.xcom_pull(task_ids="ship", key="failure", map_indexes=0) or {}).get("reason", ""))


def runs_of(dag_id: str) -> list[str]:
    from airflow.models.dagrun import DagRun

    return [found.run_id for found in DagRun.find(dag_id=dag_id)]


def test_logs_are_shipped_and_a_failure_is_told_once(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Callable[[], Any],
    server: MySQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project(applications={"Shop": SHOP, "Plain": {"databases": SHOP["databases"]}})
    assert states(ship()) == {"ship": ["skipped"]}  # there is no backup yet
    assert run(load_dag()).state == "success"
    server.run("INSERT INTO logged.t VALUES (1)")
    assert states(ship()) == {"ship": ["success"]}
    login = json.loads(server.connection())
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", json.dumps(login | {"port": 1}))
    assert states(ship()) == {"ship": ["success"]}  # it may pass
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", json.dumps(login | {"password": "wrong"}))
    failed = ship()
    assert states(failed) == {"ship": ["failed"]}
    assert "Reading the binary logs of" in reason(failed)
    assert states(ship()) == {"ship": ["skipped"]}
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", server.connection())
    assert again(load_dag, ship()).startswith("Shop: binary logs are shipped again. They were not since ")
    assert again(load_dag, ship()) == ""


@pytest.mark.matrix
def test_a_bucket_that_is_away_for_long_is_told_once_and_the_other_destination_gets_all(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Callable[[], Any],
    server: MySQL,
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    minutes = 0
    monkeypatch.setattr(Site, "now", lambda site: site.clock() + timedelta(minutes=minutes))
    with FaultyS3(s3.endpoint) as bucket:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = bucket.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        project(applications={"Shop": SHOP})
        site = load_site()
        assert run(load_dag()).state == "success"
        found, said = [], []
        bucket.inject(Fault(failing(503, "SlowDown"), times=LASTING))
        for minutes in range(0, 45, 5):
            server.run(f"INSERT INTO logged.t VALUES ({minutes})")
            done = ship()
            found += states(done)["ship"]
            said += [reason(done)] if done.state == "failed" else []
        assert found == ["success"] * 4 + ["failed"] + ["skipped"] * 4
        assert "Binary logs are not published everywhere.\noffsite: " in said[0]
        bucket.inject()
        assert again(load_dag, ship()).startswith("Shop: binary logs are shipped again. They were not since ")
        assert again(load_dag, ship()) == ""
        there = {name: [log.key for log in archives.read(site.destination(name).list()).logs] for name in DESTINATIONS}
    assert there["disk"] == there["offsite"]
    assert [number_of(key) for key in there["disk"]] == list(range(len(there["disk"]), 0, -1))
    assert len(there["disk"]) >= 9


def test_a_drill_proves_that_logs_lead_from_one_backup_to_the_next(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Callable[[], Any],
    server: MySQL,
) -> None:
    project(applications={"Shop": SHOP}, drill={"production": True})
    assert run(load_dag()).state == "success"
    assert states(ship()) == {"ship": ["success"]}
    assert states(run(load_dag("restore_drill")))["Shop.drill_chain"] == ["skipped", "skipped"]
    server.run("INSERT INTO logged.t VALUES (1)")
    assert run(load_dag()).state == "success"
    assert states(ship()) == {"ship": ["success"]}
    done = run(load_dag("restore_drill"))
    assert states(done)["Shop.drill_chain"] == ["success", "success"]
    ti = done.get_task_instances()[0]
    made = [ti.xcom_pull(task_ids="Shop.drill_chain", map_indexes=index) for index in range(2)]
    assert [ChainProof.from_json(facts).transactions for facts in made] == [1, 1]


def test_a_drill_that_fails_is_reported_although_there_is_no_chain_to_prove(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Callable[[], Any],
    server: MySQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lifeboat.actions import drill

    def fail(*_: object) -> None:
        raise RestoreError("no scratch server")

    project(applications={"Shop": SHOP | {"destinations": ["disk"]}}, drill={"production": True})
    assert run(load_dag()).state == "success"
    assert states(ship()) == {"ship": ["success"]}
    monkeypatch.setattr(drill, "rehearse", fail)
    done = run(load_dag("restore_drill"))
    assert states(done)["Shop.drill"] == ["failed"]
    assert states(done)["Shop.drill_chain"] == ["skipped"]
    assert done.state == "failed"


def again(load_dag: LoadDag, done: Any) -> str:  # noqa: F811
    """Return what the message says that a run sends, if it sends one."""
    assert done.state == "success"
    (ti,) = done.get_task_instances()
    context: Any = {"ti": ti, "dag": load_dag("backup_logs"), "run_id": done.run_id, "dag_run": done}
    told = reports.recovered_run(context, config.load())
    return told.about(["Shop"]).note if told else ""


def test_a_new_chain_is_told_and_gets_a_database_backup(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Callable[[], Any],
    server: MySQL,
) -> None:
    project(applications={"Shop": SHOP})
    assert run(load_dag()).state == "success"
    assert states(ship()) == {"ship": ["success"]}
    purge(server, 1)
    broken = ship()
    assert states(broken) == {"ship": ["failed"]}
    assert "a new chain of binary logs begins: the server no longer has" in reason(broken)
    (triggered,) = (name for name in runs_of("backup_database") if name.startswith("new_chain__0__"))
    assert states(ship()) == {"ship": ["success"]}
    purge(server, 2)
    assert states(ship()) == {"ship": ["success"]}  # an alert told of one shortly before
    assert [name for name in runs_of("backup_database") if name.startswith("new_chain__")] == [triggered]


def purge(server: MySQL, row: int) -> None:
    """Purge what was not shipped yet."""
    server.run(f"FLUSH LOGS; INSERT INTO logged.t VALUES ({row}); FLUSH LOGS")
    newest = server.run("SHOW BINARY LOGS").splitlines()[-1].partition("\t")[0]
    server.run(f"PURGE BINARY LOGS TO '{newest}'")


def test_a_run_that_takes_too_long_is_told_once(
    project: Configure,
    ship: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lifeboat.actions import logs

    def late(*_: object, **__: object) -> None:
        raise AirflowTaskTimeout("timed out")

    project(applications={"Late": SHOP})
    monkeypatch.setattr(logs, "ship", late)
    failed = ship()
    assert states(failed) == {"ship": ["failed"]}
    assert reason(failed).startswith("Shipping the binary logs of Late takes too long: timed out.")
    assert states(ship()) == {"ship": ["skipped"]}
