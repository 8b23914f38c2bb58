"""DAGs that back up a whole server: runs list its databases, and alerts name those that are new or gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow.alerts import reports
from lifeboat.settings import config
from lifeboat.support import clock
from lifeboat.ui import metrics
from lifeboat.ui.readings import read_destination

from include.demo.stand_ins import MariaDB, PostgreSQL
from tests.airflow.test_dags import LoadDag, compared, load_dag, run, states, stored
from tests.command import answer
from tests.conftest import PROJECT, Configure, where_it_is_noon

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


def held(application: str = "All") -> set[str]:
    (key, *_) = stored(application)["disk"]
    return {database["name"] for database in answer("show", key)["databases"]}


def news(done: Any) -> tuple[Any, ...]:
    """Return what the report of a run says; where a scheduler runs it, Airflow gives the report a task that reads."""
    (listing,) = [ti for ti in done.get_task_instances() if ti.task_id == "All.list_databases"]
    context: Any = {"dag": done.dag, "run_id": done.run_id, "ti": listing}
    return reports.new_databases(context, config.load())


@pytest.fixture
def books(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database of another server, whose connection is ``books_db``."""
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS_DB", postgresql.connection())
    postgresql.run("CREATE DATABASE wd_books", "postgres", postgresql.user)
    postgresql.run("CREATE TABLE t (id INT PRIMARY KEY)", "wd_books", postgresql.user)
    yield
    postgresql.run("DROP DATABASE wd_books", "postgres", postgresql.user)


def test_two_kinds_of_servers_have_their_own_dag_changes_and_metrics(
    project: Configure, load_dag: LoadDag, databases: MariaDB, books: None, tmp_path: Path
) -> None:
    servers = [
        WHOLE | {"dump_connections": 4},
        {"server": "books_db", "engine": "postgresql", "include": ["wd*"], "dump_connections": 3},
    ]
    shop = {"databases": servers, "destinations": ["disk"], "schedules": {"database": "0 * * * *"}}
    settings = config.load(project(applications={"Shop": shop}, drill={"production": True}))
    done = run(load_dag("backup_database__shop"))
    assert done.state == "success"
    assert states(done)["Shop.dump"] == ["success"] * 4
    assert held("Shop") == {*NAMES, "wd_books"}
    change = load_dag("migrate_shop", PROJECT / "docs" / "examples")
    change.get_task("migrate").bash_command = f'printf %s "$ARCHIVE" > {tmp_path}/changed'
    assert run(change).state == "success"
    assert (tmp_path / "changed").read_text() == stored()["disk"][0]
    assert held("Shop") == {*NAMES, "wd_books"}
    figures = metrics.exposition(settings, {"disk": read_destination("disk", settings)}, {}, clock.now()).decode()
    subject = '{application="Shop",destination="disk",kind="database"}'
    assert f"lifeboat_archives{subject} 2.0" in figures
    assert f"lifeboat_last_proof_timestamp_seconds{subject} " in figures


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
