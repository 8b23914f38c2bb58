"""Whole servers: back up, prove and restore every database there, and report the new, vanished and omitted ones."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from lifeboat.actions import backup, check, neglected, servers
from lifeboat.airflow.operators.fresh import RequireFreshBackup
from lifeboat.airflow.site import load_site
from lifeboat.cli import terminal
from lifeboat.databases import EngineName
from lifeboat.errors import DumpError, LifeboatError, SettingsError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL, PostgreSQL
from tests.command import answer, lifeboat
from tests.conftest import PROJECT, Configure

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


def test_a_database_dropped_during_the_backup_fails_it(configure: Configured, server: Server) -> None:
    server.make(*PLAIN)
    configure()
    site = load_site()
    wanted = servers.wanted(site, "All")
    server.drop("ws_shop")
    with terminal.scratch(site, "All") as scratch, pytest.raises(LifeboatError, match="ws_shop"):
        backup.take(site, "All", "database", wanted.databases, (), "", scratch, wanted.listing)
    (again,) = answer("backup", "database")
    assert held(again["key"]) == {"ws_crm"}


def test_what_cannot_be_listed_or_told_apart_is_refused(
    configure: Configured, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    site = load_site()
    with pytest.raises(DumpError, match="'all_db' shows no database to back up"):
        servers.wanted(site, "All")
    server.make(*PLAIN)
    whole, named = ({"engine": server.engine, **entry} for entry in ({"server": "all_db"}, {"connection": "all_db"}))
    with pytest.raises(SettingsError, match="has no database 'ws_none' at present"):
        servers.wanted(site, "All", ["ws_none"])
    other = {"name": "ws_shop", "engine": "sqlite", "connection": "file_db"}
    configure(other)
    with pytest.raises(SettingsError, match="two databases called 'ws_shop'"):
        servers.wanted(load_site(), "All")
    configure(named | {"name": "ws_shop", "exclude_tables": ["t"]})  # the same database: what its own entry says holds
    names = {database.name: database.exclude_tables for database in servers.wanted(load_site(), "All").databases}
    assert names == {"ws_crm": (), "ws_shop": ("t",)}
    with pytest.raises(SettingsError, match="two servers of"):
        configure(whole)
        load_site()
    configure()
    monkeypatch.setenv("AIRFLOW_CONN_ALL_DB", json.dumps(json.loads(server.host.connection()) | {"port": 1}))
    (unknown,) = findings(servers.VANISHED)
    assert unknown.startswith("degraded: databases that may have vanished were not looked for: ")


def test_what_nobody_backs_up_is_found_and_what_is_excluded_is_not(configure: Configured, server: Server) -> None:
    server.make(*PLAIN, "ws_tmp_1", "other_ws")
    try:
        configure(ignore_databases=["[!wo]*"])
        (left,) = [each.text for each in neglected.check(load_site())]
        assert "other_ws" in left
        assert not any(name in left for name in (*PLAIN, "ws_tmp_1"))
    finally:
        server.drop("other_ws")


def test_a_gate_takes_an_archive_of_all_that_there_was(configure: Configured, server: Server) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    server.make(*PLAIN)
    configure()
    gate = RequireFreshBackup(task_id="fresh", application="All", max_age=timedelta(hours=1))
    answer("backup", "database", "All", "--database", "ws_shop")
    with pytest.raises(AirflowFailException, match="No database archive of All"):
        gate.poke({})
    found = check.examine("disk", load_site(), ["All"], clock.now()).findings
    assert any("1 database of the settings missing" in each.text for each in found)
    answer("backup", "database")
    assert gate.poke({})


def test_the_grants_of_the_docs_see_and_dump_all(
    configure: Configured, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make(*PLAIN)
    configure()
    if isinstance(server.host, PostgreSQL):
        return  # which hides no database
    kind = "MySQL" if isinstance(server.host, MySQL) else "MariaDB"
    text = (PROJECT / "docs" / "BACKUP.md").read_text()
    (grant,) = re.findall(f"-- {kind}: backups of a whole server\n    (GRANT .+);", text)
    server.sql("DROP USER IF EXISTS lifeboat_backup, narrow")
    server.sql("CREATE USER lifeboat_backup IDENTIFIED BY 'x'; CREATE USER narrow IDENTIFIED BY 'x'")
    server.sql(f"{grant}; GRANT SELECT ON ws_shop.* TO narrow")
    logins = {}
    for user in ("lifeboat_backup", "narrow"):
        login = json.loads(server.host.connection()) | {"login": user, "password": "x"}
        monkeypatch.setenv("AIRFLOW_CONN_ALL_DB", json.dumps(login))
        site = load_site()
        logins[user] = site.engine(site.settings.application("All").servers[0].database("ws")).lacks_to_see_all()
        if user == "lifeboat_backup":
            (made,) = answer("backup", "database")
            assert held(made["key"]) == set(PLAIN)
        else:
            assert [each.name for each in servers.wanted(site, "All").databases] == ["ws_shop"]
    assert logins == {"lifeboat_backup": "", "narrow": "SHOW DATABASES"}
    server.sql("DROP USER lifeboat_backup, narrow")


def config_disk(site: Any) -> Path:
    return cast(Path, site.settings.destinations["disk"].path)
