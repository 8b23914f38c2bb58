"""Each pair of a server and a client, ready to be backed up."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.databases.mysql import dump

from include.demo.server_roots import Root
from include.demo.stand_ins import MariaDB118, PostgreSQL, PostgreSQL17, PostgreSQL18
from tests.matrix.subjects import InMySQL, InPostgreSQL, InSQLite, Pair, Subject, clients_first

OF_POSTGRESQL = {"postgresql_17": PostgreSQL17, "postgresql_18": PostgreSQL18}


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Pair:
    """The pair of a test; tests are parametrized over pairs."""
    found: Pair = request.param
    return found


@pytest.fixture
def subject(
    pair: Pair,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Iterator[Subject]:
    """The pair's server, with the pair's client first in PATH."""
    found = subject_of(pair, request, tmp_path, monkeypatch)
    for name, value in zip(("server", "client"), versions(found), strict=True):
        record_property(name, value)
    yield found
    for name in found.databases():
        drop(found, name)


def subject_of(pair: Pair, request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Start a pair's server."""
    if pair.server == "sqlite":
        return InSQLite(folder / "sqlite")
    server: Any = request.getfixturevalue(pair.server)
    if isinstance(server, PostgreSQL):
        if kind := OF_POSTGRESQL.get(pair.client or pair.server):
            monkeypatch.setenv("PATH", f"{kind.link(folder / pair.server / 'clients')}:{os.environ['PATH']}")
        return InPostgreSQL(server)
    if pair.client == "mariadb_118":
        clients = Root(MariaDB118.suite).link(MariaDB118.clients, folder / "clients")
        monkeypatch.setenv("PATH", clients_first(folder / "first", clients))
    elif not pair.client and server.path:
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    old = pair == Pair("mysql", "mariadb")
    return InMySQL(
        server, "SET sql_mode = ''; ALTER TABLE every_type DROP COLUMN embedding" if old else ""
    )  # a VECTOR, told as a limit


def versions(subject: Subject) -> tuple[str, str]:
    """Return the server and the client, each with its version, as the README's table has them."""
    if isinstance(subject, InSQLite):
        return f"SQLite {sqlite3.sqlite_version}", "Lifeboat"
    if isinstance(subject, InPostgreSQL):
        said = subprocess.run(["pg_dump", "--version"], capture_output=True, text=True, check=True).stdout
        server, client = subject.server.run("SHOW server_version"), said.removeprefix("pg_dump (PostgreSQL) ")
        return f"PostgreSQL {server.split()[0]}", f"pg_dump {client.split()[0]}"
    assert isinstance(subject, InMySQL)
    version = subject.server.run("SELECT version()")
    dumps = dump.find_client(for_mariadb="MariaDB" in version)
    family, program = ("MariaDB", "mariadb-dump") if dumps.is_mariadb else ("MySQL", "mysqldump")
    (client,) = re.findall(rf"(\d+\.\d+\.\d+)(?:-{family})?", dumps.version)[:1]
    kind = "MariaDB" if "MariaDB" in version else "MySQL"
    return f"{kind} {re.findall(r'[0-9.]+', version)[0]}", f"{program} {client}"


def drop(subject: Subject, name: str) -> None:
    """Drop a database that a test has made."""
    if isinstance(subject, InPostgreSQL):
        subject.server.run(f'DROP DATABASE "{name}" WITH (FORCE)')
    elif isinstance(subject, InMySQL):
        subject.server.run(f"DROP DATABASE `{name}`")
