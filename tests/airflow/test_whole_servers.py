"""DAGs that back up a whole server: runs list its databases, and alerts name those that are new or gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lifeboat.airflow.alerts import reports
from lifeboat.settings import config

from include.demo.stand_ins import MariaDB
from tests.airflow.test_dags import LoadDag, compared, load_dag, run, states, stored
from tests.command import answer
from tests.conftest import Configure, where_it_is_noon

__all__ = ["load_dag"]

NAMES = ("wd_one", "wd {{ 7 * 7 }} `'", "wd_two")
WHOLE: dict[str, Any] = {"server": "shop_db", "include": ["wd*"], "exclude": ["wd_tmp"]}


@pytest.fixture
def databases(mariadb: MariaDB) -> Iterator[MariaDB]:
    for name in (*NAMES, "wd_tmp"):
        make(mariadb, name)
    yield mariadb
    for name in mariadb.run("SHOW DATABASES").splitlines():
        if name.startswith("wd"):
            drop(mariadb, name)


def make(mariadb: MariaDB, name: str) -> None:
    quoted = "`{}`".format(name.replace("`", "``"))
    mariadb.run(f"CREATE DATABASE {quoted}; CREATE TABLE {quoted}.t (id INT PRIMARY KEY)")


def drop(mariadb: MariaDB, name: str) -> None:
    mariadb.run("DROP DATABASE `{}`".format(name.replace("`", "``")))


def held() -> set[str]:
    (key, *_) = stored("All")["disk"]
    return {database["name"] for database in answer("show", key)["databases"]}


def news(done: Any) -> tuple[Any, ...]:
    """Return what the report of a run says; where a scheduler runs it, Airflow gives the report a task that reads."""
    (listing,) = [ti for ti in done.get_task_instances() if ti.task_id == "All.list_databases"]
    context: Any = {"dag": done.dag, "run_id": done.run_id, "ti": listing}
    return reports.new_databases(context, config.load())


def test_what_a_run_lists_it_backs_up_and_what_is_new_it_tells(
    project: Configure, load_dag: LoadDag, databases: MariaDB
) -> None:
    applications = {
        "All": {"databases": [WHOLE], "destinations": ["disk"]},
        "Shop": {"databases": [{"name": "shop", "connection": "shop_db"}], "destinations": ["disk"]},
    }
    project(timezone=where_it_is_noon(), applications=applications)
    first = run(load_dag(), application="All")
    assert first.state == "success"
    assert states(first)["All.dump"] == ["success"] * 3
    assert held() == set(NAMES)
    assert news(first) == ()
    make(databases, "wd_new")
    second = run(load_dag(), application="All")
    assert second.state == "success"
    assert held() == {*NAMES, "wd_new"}
    assert news(second) == (("All", "New databases in the backup of All: wd_new."),)
    chosen = run(load_dag(), databases=["wd_two"])
    assert states(chosen)["All.dump"] == ["success"]
    assert states(chosen)["Shop.prepare_staging"] == ["skipped"]
    assert held() == {"wd_two"}
    elsewhere = run(load_dag(), application="All", databases=["wd_tmp"])
    assert elsewhere.state == "failed"
    drop(databases, "wd_one")
    failure = compared(run(load_dag("backup_check")), "failure")
    assert "wd_one (last in " in failure["parts"]["All"]
