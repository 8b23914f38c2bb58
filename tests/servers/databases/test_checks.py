"""Queries that check what was restored, on each engine: they read it, and do nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lifeboat.airflow import connections
from lifeboat.databases import Engine, EngineName, Load
from lifeboat.errors import CheckError
from lifeboat.settings.config import Database

from include.demo.stand_ins import MySQL, PostgreSQL

TABLE = "CREATE TABLE rows_of (id INT PRIMARY KEY, name VARCHAR(80)); INSERT INTO rows_of VALUES (1, 'Ada''s');"
DELETES = "CREATE FUNCTION deletes() RETURNS INT"
FUNCTIONS: dict[EngineName, str] = {
    "mysql": f"\nDELIMITER ;;\n{DELETES} DETERMINISTIC BEGIN DELETE FROM rows_of; RETURN 1; END;;",
    "postgresql": f"{DELETES} LANGUAGE sql AS 'DELETE FROM rows_of; SELECT 1'; CREATE SEQUENCE numbers;"
    " CREATE FUNCTION writable() RETURNS TEXT LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM set_config('transaction_read_only', 'off', true); RETURN deletes(); END $$;"
    " CREATE FUNCTION program() RETURNS INT LANGUAGE plpgsql AS $$ BEGIN"
    " COPY rows_of TO PROGRAM 'cat > /tmp/lifeboat-check'; RETURN 1; END $$;",
    "sqlite": "",
}
REFUSED: dict[EngineName, dict[str, str]] = {
    "mysql": {
        "SELECT deletes()": "READ ONLY",
        "SELECT 1) DELETE FROM rows_of -- ": "refused",
        "SELECT 1) SELECT v FROM lifeboat_check; DELETE FROM rows_of -- ": "refused",
        "SELECT 1, 2": "refused",
        "SELECT 1) SELECT 1 INTO OUTFILE '/tmp/lifeboat-check' /*": "refused",
        "SELECT count(*) FROM mysql.user": "denied",
        "SELECT 1 + SLEEP(60)": "longer than its 1 s",
        "SELECT UUID_TO_BIN(name) FROM rows_of": "error 1411)",
    },
    "postgresql": {
        "SELECT deletes()": "read-only transaction",
        "SELECT writable()": "read-write mode",
        "SELECT nextval('numbers')": "read-only transaction",
        "SELECT program()": "error 42501",
        "SELECT pg_read_file('/etc/passwd')": "error 42501",
        "SELECT lo_export(lo_import('/etc/passwd'), '/tmp/lifeboat-check')": "refused",
        "DELETE FROM rows_of RETURNING 1": "refused",
        "SELECT 1) SELECT 1) DELETE FROM rows_of -- ": "refused",
        "SELECT 1)) SELECT '' ; DELETE FROM rows_of -- ": "refused",
        "SELECT 1, 2": "refused",
        "SELECT pg_sleep(60)": "longer than its 1 s",
        "SELECT name::int FROM rows_of": "error 22P02)",
    },
    "sqlite": {
        "SELECT 1) DELETE FROM rows_of -- ": "refused",
        "SELECT 1) SELECT v FROM lifeboat_check; DELETE FROM rows_of -- ": "refused",
        "SELECT load_extension('x')": "refused",
        "SELECT 1, 2": "refused",
        "SELECT zeroblob(900000000)": "refused",
        "SELECT user_version FROM pragma_user_version": "refused",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n": "longer than its 1 s",
    },
}


def engine(kind: EngineName, connection: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    monkeypatch.setenv("AIRFLOW_CONN_CHECKED", connection)
    return connections.engine(Database(name="checked", engine=kind, connection="checked"), tmp_path)


@contextmanager
def of_server(server: MySQL | PostgreSQL) -> Iterator[str]:
    """Make the database; return the server's connection."""
    if isinstance(server, MySQL):
        server.run("CREATE DATABASE checked")
        server.run(TABLE + FUNCTIONS["mysql"], "checked")
    else:
        server.run(f"CREATE DATABASE checked OWNER {server.user}")
        server.run(TABLE + FUNCTIONS["postgresql"], "checked", server.user)
    yield server.connection()
    server.run("DROP DATABASE checked")


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("mysql", "postgresql")])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[EngineName, str]]:
    with of_server(request.getfixturevalue(request.param)) as connection:
        yield request.param, connection


def try_all(checked: Engine, kind: EngineName) -> None:
    sql: list[bytes] = []
    dump = checked.dump("checked", (), lambda chunk: sql.append(bytes(chunk)))
    with checked.scratch("a key", dump, production=True) as place:
        checked.load(place, sql, Load("checked"))
        before = checked.read_back(place, ()).tables
        assert checked.value(place, "SELECT count(*) FROM rows_of -- 100 %s", 60) == ["1"]
        assert checked.value(place, "WITH x AS (SELECT name FROM rows_of) SELECT name FROM x", 60) == ["Ada's"]
        assert checked.value(place, "SELECT name FROM rows_of WHERE id > 7", 60) == []
        for query, said in REFUSED[kind].items():
            with pytest.raises(CheckError) as error:
                checked.value(place, query, 1 if "longer" in said else 60)
            assert said in error.value.message, (query, error.value.message)
            assert "Ada" not in error.value.message
        with checked.scratch("a key", replace(dump, database="second"), beside=[place]) as second:
            assert second != place
        assert checked.read_back(place, ()).tables == before
        with checked.lend(place) as access:
            assert kind == "sqlite" or (access.server and access.server.user.startswith("lifeboat_load_"))
    assert not Path("/tmp/lifeboat-check").exists()


def test_a_query_only_reads(server: tuple[EngineName, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind, connection = server
    try_all(engine(kind, connection, monkeypatch, tmp_path), kind)


def test_a_query_only_reads_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "checked.sqlite")) as database:
        database.executescript(TABLE)
    connection = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "checked.sqlite")})
    try_all(engine("sqlite", connection, monkeypatch, tmp_path), "sqlite")
