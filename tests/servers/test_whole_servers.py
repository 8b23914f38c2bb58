"""Whole servers: every database there is backed up, proven and restored; what comes, goes and is left out is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from lifeboat.actions import servers
from lifeboat.airflow.site import load_site
from lifeboat.databases import EngineName

from include.demo.stand_ins import MariaDB, PostgreSQL
from tests.command import answer, lifeboat
from tests.conftest import Configure

# What is a pattern, quotes, has spaces, leaves ASCII or looks like a template is a name like any other.
HOSTILE = ("ws [a]*?", "ws 'q\"`;--", "ws ñ 東 {{ 7 }}")
PLAIN = ("ws_shop", "ws_crm")
OTHERS = ("ws_tmp_1", "ws_shop_restored_20261123_120000")


@dataclass
class Server:
    """A server whose databases begin with ``ws``."""

    engine: EngineName
    host: MariaDB | PostgreSQL

    def quoted(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"' if self.engine == "postgresql" else f"`{name.replace('`', '``')}`"

    def sql(self, text: str, database: str = "") -> str:
        if isinstance(self.host, PostgreSQL):
            return self.host.run(text, database or "postgres", self.host.user)
        return self.host.run(text, database)

    def make(self, *names: str) -> None:
        for name in names:
            self.sql(f"CREATE DATABASE {self.quoted(name)}")
            self.sql("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(99))", name)
            self.sql("INSERT INTO t VALUES (1, '{}')".format(name.replace("'", "''")), name)

    def drop(self, *names: str) -> None:
        for name in names:
            self.sql(f"DROP DATABASE IF EXISTS {self.quoted(name)}")

    def rows(self, name: str) -> str:
        return self.sql("SELECT name FROM t", name).strip()

    def names(self) -> set[str]:
        query = "SELECT datname FROM pg_database" if self.engine == "postgresql" else "SHOW DATABASES"
        return set(self.sql(query).splitlines())


@pytest.fixture(params=["mariadb", "mysql", "postgresql_17"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    host = request.getfixturevalue(request.param)
    if host.path:
        monkeypatch.setenv("PATH", f"{host.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_ALL_DB", host.connection())
    found = Server("postgresql" if isinstance(host, PostgreSQL) else "mysql", host)
    yield found
    found.drop(*(name for name in found.names() if name.startswith(("ws", "lifeboat_drill_"))))


Configured = Callable[..., Path]


@pytest.fixture
def configure(project: Configure, server: Server) -> Configured:
    def write(*more: Any, exclude: tuple[str, ...] = ("ws_tmp_*",), **changes: Any) -> Path:
        whole = {"server": "all_db", "engine": server.engine, "include": ["ws*"], "exclude": list(exclude)}
        application = {"databases": [whole, *more], "destinations": ["disk"]}
        return project(**{"applications": {"All": application}, "drill": {"production": True}} | changes)

    return write


def held(key: str) -> set[str]:
    return {database["name"] for database in answer("show", key)["databases"]}


def findings(name: str) -> list[str]:
    site = load_site()
    return [f"{each.verdict}: {each.text}" for each in servers.check(site, ["All"]) if each.check == name]


def test_every_database_is_backed_up_drilled_and_restored(configure: Configured, server: Server) -> None:
    everything = {*PLAIN, *HOSTILE}
    server.make(*everything, *OTHERS)
    configure()
    (made,) = answer("backup", "database")
    assert held(made["key"]) == everything
    assert made["new"] == []  # there is no archive before it
    drilled = answer("drill", "All")
    assert made["key"] in json.dumps(drilled)
    for name in everything:
        assert server.rows(name) == name
        server.sql("DELETE FROM t", name)
    for number, name in enumerate(sorted(everything)):
        into = f"ws_back_{number}"
        lifeboat("restore", "database", "All", "--database", name, "--into", into)
        assert server.rows(into) == name
        answer("restore", "database", "All", "--database", name, "--overwrite", name)
        assert server.rows(name) == name


def test_what_comes_is_told_once_and_what_goes_until_somebody_says_so(configure: Configured, server: Server) -> None:
    server.make(*PLAIN)
    configure()
    (first,) = answer("backup", "database")
    server.make("ws_new")
    second = lifeboat("backup", "database")
    assert second.returncode == 0
    assert "ws_new" in second.stdout
    assert "ws_crm" not in second.stdout
    (third,) = answer("backup", "database")
    assert third["new"] == []
    server.drop("ws_crm")
    (vanished,) = findings(servers.VANISHED)
    assert vanished.startswith("unhealthy: ")
    assert "ws_crm" in vanished
    assert third["key"] in vanished
    (fourth,) = answer("backup", "database")  # it goes on, and goes on being told
    assert held(fourth["key"]) == {"ws_shop", "ws_new"}
    (still,) = findings(servers.VANISHED)
    assert third["key"] in still
    (partial,) = answer("backup", "database", "All", "--database", "ws_new")
    assert held(partial["key"]) == {"ws_new"}
    assert findings(servers.VANISHED) == [still]
    answer("restore", "database", "All", "--database", "ws_crm")
    assert findings(servers.VANISHED) == [still]  # a copy is not the database
    configure(exclude=("ws_tmp_*", "ws_crm"))
    assert findings(servers.VANISHED) == []
    configure()
    for key in (first["key"], second.stdout.split(":")[0].strip(), third["key"]):
        for path in config_disk(load_site()).glob(f"{key}*"):
            path.unlink()
    assert findings(servers.VANISHED) == []  # nothing holds it any more


def config_disk(site: Any) -> Path:
    return cast(Path, site.settings.destinations["disk"].path)
