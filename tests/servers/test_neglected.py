"""Databases that nobody backs up are named, on real servers; nobody is bothered with those of the server itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lifeboat.actions import neglected
from lifeboat.airflow.site import site_of
from lifeboat.databases import EngineName
from lifeboat.settings import config

from include.demo.stand_ins import MariaDB, PostgreSQL
from tests.conftest import Configure


@pytest.mark.parametrize(
    ("engine", "there", "left"),
    [
        ("mysql", {"mysql", "sys", "performance_schema", "shop", "shop_two"}, ["shop_two"]),
        ("postgresql", {"postgres", "template0", "template1", "rdsadmin", "shop"}, []),
        ("mysql", {"lifeboat_drill_20261123_120000_shop", "lifeboat_filling_0a"}, []),
        ("mysql", {"shop_restored_20261123_120000", "shop_before_20261123_120000", "shop_before"}, ["shop_before"]),
        ("mysql", {"crm"}, []),  # CRM in the settings, on a server that stores names in lower case
        ("postgresql", {"test", "test_2", "Test_3"}, ["Test_3", "test"]),
    ],
)
def test_what_is_neglected(engine: EngineName, there: set[str], left: list[str]) -> None:
    assert neglected.neglected(engine, there, ["shop", "CRM"], ["test_?"]) == left


@pytest.fixture
def lonely(mariadb: MariaDB, postgresql: PostgreSQL) -> Iterator[None]:
    mariadb.run("CREATE DATABASE lonely_m; CREATE TABLE lonely_m.t (id INT); CREATE DATABASE lonely_empty")
    postgresql.run("CREATE DATABASE lonely_p")
    yield
    mariadb.run("DROP DATABASE lonely_m; DROP DATABASE lonely_empty")
    postgresql.run("DROP DATABASE lonely_p")


def test_every_server_is_asked(
    project: Configure,
    mariadb: MariaDB,
    postgresql: PostgreSQL,
    shop: str,
    lonely: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS_DB", postgresql.connection())
    down = json.loads(mariadb.connection("shop")) | {"port": 1}
    monkeypatch.setenv("AIRFLOW_CONN_DOWN_DB", json.dumps(down))
    databases = [
        {"name": "shop", "connection": "shop_db"},
        {"name": "books", "engine": "postgresql", "connection": "books_db"},
        {"name": "gone", "connection": "no_such_connection"},
        {"name": "away", "connection": "down_db"},
    ]

    def found(*ignored: str) -> list[str]:
        settings = config.load(project(applications={"Shop": {"databases": databases}}, ignore_databases=ignored))
        texts = [finding.text for finding in neglected.check(site_of(settings)) if finding.verdict == "degraded"]
        unknown = [text for text in texts if "that nobody backs up were not looked for" in text]
        assert ["'no_such_connection'" in unknown[0], "'down_db'" in unknown[1]] == [True, True]
        return [text for text in texts if text not in unknown]

    of_mariadb, of_postgresql = found()
    assert "lonely_m" in of_mariadb
    assert "lonely_p" in of_postgresql
    assert not {"lonely_empty", "shop", "information_schema", "postgres"} & set(of_mariadb.replace(",", "").split())
    assert found("*") == []
    assert not any("lonely" in text for text in found("lonely_?"))
