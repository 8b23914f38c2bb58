"""The DAG that restores databases, to a moment that shipped binary logs reach, on a real MySQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.demo.stand_ins import MySQL
from tests.airflow.test_dags import LoadDag, load_dag, run, states  # noqa: F401  # a fixture
from tests.airflow.test_log_dag import SHOP, runs_of, server, ship  # noqa: F401  # fixtures
from tests.conftest import Configure


@pytest.fixture(autouse=True)
def no_copies(server: MySQL) -> Iterator[None]:  # noqa: F811
    yield
    for name in server.run("SHOW DATABASES").splitlines():
        if name.startswith("logged"):
            server.run(f"DROP DATABASE `{name}`")


def left(done: Any, task: str, key: str = "return_value", index: int = -1) -> Any:
    (ti,) = (ti for ti in done.get_task_instances() if ti.task_id == task and ti.map_index in (-1, index))
    return ti.xcom_pull(task_ids=task, key=key, map_indexes=ti.map_index)


def test_the_form_takes_a_moment_and_the_plan_says_it(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Any,  # noqa: F811
    server: MySQL,  # noqa: F811
) -> None:
    project(applications={"Shop": SHOP})
    assert run(load_dag()).state == "success"
    server.run("INSERT INTO logged.t VALUES (1), (2)")
    last = server.run("SELECT @@gtid_executed").strip().rpartition(":")
    server.run("DELETE FROM logged.t")
    assert states(ship()) == {"ship": ["success"]}
    until = f"{last[0]}:{last[2].rpartition('-')[2]}"
    done = run(load_dag("restore_database"), application="Shop", until=until, into="logged_copy")
    assert states(done)["restore"] == ["success"]
    assert server.run("SELECT id FROM logged_copy.t").split() == ["1", "2"]
    assert server.run("SELECT count(*) FROM logged.t") == "0\n"
    plan = left(done, "select", "plan")["facts"]
    assert plan["recovery"]["point"]["gtid"] == until
    assert left(done, "restore", index=0)["replayed"]["last_gtid"] == until


def test_a_restore_in_place_starts_the_backup_that_later_moments_begin_with(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Any,  # noqa: F811
    server: MySQL,  # noqa: F811
) -> None:
    other = {"name": "logged_too", "connection": "logged_db"}
    project(applications={"Shop": SHOP | {"databases": [*SHOP["databases"], other]}})
    server.run("CREATE DATABASE logged_too; CREATE TABLE logged_too.u (id INT PRIMARY KEY)")
    assert run(load_dag()).state == "success"
    server.run("INSERT INTO logged.t VALUES (1), (2); INSERT INTO logged_too.u VALUES (3)")
    assert states(ship()) == {"ship": ["success"]}
    done = run(load_dag("restore_database"), application="Shop", until="latest", overwrite=["logged", "logged_too"])
    assert states(done)["restore"] == ["success", "success"]
    assert states(done)["safety_backup"] == states(done)["back_up"] == ["success"]
    assert server.run("SELECT id FROM logged.t; SELECT id FROM logged_too.u").split() == ["1", "2", "3"]
    assert f"restored__{done.run_id}" in runs_of("backup_database")


def test_a_moment_that_cannot_be_reached_fails_before_anything_changes(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    ship: Any,  # noqa: F811
    server: MySQL,  # noqa: F811
) -> None:
    project(applications={"Shop": SHOP})
    assert run(load_dag()).state == "success"
    assert states(ship()) == {"ship": ["success"]}
    done = run(load_dag("restore_database"), application="Shop", until="2020-01-01", overwrite=["logged"])
    assert states(done)["select"] == ["failed"]
    assert "the first moment that can be is" in left(done, "select", "failure")["reason"]
