"""Databases in other encodings than UTF-8, and in none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.errors import DumpError

from include.demo.stand_ins import PostgreSQL
from tests.conftest import Configure
from tests.servers.databases.test_postgresql import SHOP, archive_keys, rehearse, take
from tests.servers.test_restore import back_up, plan, restored

BESIDE = "template1"  # where nothing depends on the database postgres
FOREIGN = "E'b\\xe4r \\xff\\x80'"  # bytes that are no UTF-8


@pytest.fixture
def server(postgresql: PostgreSQL, project: Configure, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", postgresql.connection())
    project(applications={"Shop": SHOP}, drill={"production": True})
    yield postgresql
    for name in ("shop", "copy"):
        postgresql.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", BESIDE)


def make(server: PostgreSQL, encoding: str) -> None:
    server.run(f"CREATE DATABASE shop OWNER {server.user} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0", BESIDE)


def rows(server: PostgreSQL, database: str) -> str:
    return server.run("SELECT encode(a::bytea, 'hex') FROM t ORDER BY a", database)


def recovered(server: PostgreSQL) -> Any:
    back_up()
    (done,) = restored(plan(into="copy"))
    assert done.compared == done.tables
    assert rows(server, "copy") == rows(server, "shop") != ""
    (key,) = archive_keys()
    assert rehearse(key, "disk").result == "proven"
    return done


def test_text_without_an_encoding_comes_back_byte_by_byte(server: PostgreSQL) -> None:
    make(server, "SQL_ASCII")
    server.run(
        f"SET client_encoding TO 'SQL_ASCII'; CREATE TABLE t (a text); INSERT INTO t VALUES ({FOREIGN}), ('plain');"
        f"DO $$ BEGIN EXECUTE 'CREATE TABLE ' || quote_ident({FOREIGN}) || ' (a int)';"
        f"EXECUTE 'COMMENT ON TABLE t IS ' || quote_literal({FOREIGN}); END $$",
        "shop",
        server.user,
    )
    assert recovered(server).tables == 2
    encoding = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'copy'"
    assert server.run(encoding) == "SQL_ASCII\n"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("LATIN1", "Bär"),
        ("EUC_JP", "日本語"),
        ("KOI8R", "Пётр"),
        pytest.param("WIN1251", "Пётр", marks=pytest.mark.matrix),
    ],
)
def test_text_of_other_encodings_comes_back(server: PostgreSQL, encoding: str, text: str) -> None:
    make(server, encoding)
    known = "SET client_encoding TO 'UTF8'; "
    server.run(f"{known} CREATE TABLE t (a text); INSERT INTO t VALUES ('{text}')", "shop", server.user)
    server.run(f'{known} CREATE TABLE "{text}" ()', "shop", server.user)
    recovered(server)


@pytest.mark.parametrize(
    ("encoding", "text", "hint"),
    [("WIN1252", "E'\\x81z'", "Correct the text"), ("MULE_INTERNAL", "'z'", "Move the database to another encoding")],
)
def test_text_that_is_none_in_unicode_fails_the_dump_and_says_so(
    server: PostgreSQL, encoding: str, text: str, hint: str
) -> None:
    make(server, encoding)
    server.run(f"SET client_encoding TO '{encoding}'; CREATE TABLE t AS SELECT {text} AS a", "shop", server.user)
    with pytest.raises(DumpError, match="shop") as refused:
        take()
    assert hint in refused.value.hint


def test_a_server_without_an_encoding_has_databases_with_one(server: PostgreSQL, tmp_path: Path) -> None:
    """As `initdb` makes it where the locale is C."""
    make(server, "UTF8")
    server.run("CREATE TABLE t (a text); INSERT INTO t VALUES ('Zoë')", "shop", server.user)
    server.run("DROP DATABASE postgres", BESIDE)
    server.run("CREATE DATABASE postgres ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0", BESIDE)
    try:
        recovered(server)
    finally:
        server.run("DROP DATABASE postgres", BESIDE)
        server.run("CREATE DATABASE postgres", BESIDE)
