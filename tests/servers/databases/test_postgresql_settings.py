"""Settings that a server or a role has: no dump, load or digest depends on them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL, PostgreSQL17

WAIT = 0.6  # seconds, longer than any of the timeouts
TIMEOUTS = {
    "statement_timeout": "250ms",
    "lock_timeout": "250ms",
    "transaction_timeout": "500ms",
    "idle_session_timeout": "400ms",
    "idle_in_transaction_session_timeout": "400ms",
}
TABLES = r"""
CREATE TABLE slow (a int CHECK (pg_sleep(0.05) IS NOT NULL), b bytea, c text[]);
INSERT INTO slow SELECT i, '\x00ff5c27', ARRAY['NULL', NULL, 'x'] FROM generate_series(1, 12) i;
CREATE VIEW plain AS SELECT a, b FROM slow;
"""


@pytest.fixture
def server(postgresql_17: PostgreSQL17, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL17]:
    monkeypatch.setenv("PATH", f"{postgresql_17.path}:/usr/bin:/bin")
    postgresql_17.run(f"CREATE DATABASE shop OWNER {postgresql_17.user}")
    postgresql_17.run(TABLES, "shop", postgresql_17.user)
    yield postgresql_17
    settings = "; ".join(f"ALTER SYSTEM RESET {name}" for name in (*TIMEOUTS, "array_nulls"))
    for change in settings.split("; "):
        postgresql_17.run(change)
    postgresql_17.run(f"ALTER ROLE {postgresql_17.user} RESET ALL; SELECT pg_reload_conf()")
    for name in ("shop", "copy"):
        postgresql_17.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def engine(server: PostgreSQL) -> Engine:
    return Engine(Server(server.host, server.port, server.user, server.password), clock.now)


def take(server: PostgreSQL, wait: float = 0) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []

    def write(chunk: bytes) -> None:
        time.sleep(wait)
        chunks.append(chunk)

    return engine(server).dump("shop", (), write), b"".join(chunks)


def test_no_timeout_ends_a_dump_a_load_or_what_waits_for_them(server: PostgreSQL17) -> None:
    before, _ = take(server)
    for name, value in TIMEOUTS.items():
        server.run(f"ALTER SYSTEM SET {name} TO '{value}'")
    server.run("SELECT pg_reload_conf()")
    dump, sql = take(server, WAIT)
    assert (dump.tables, dump.objects) == (before.tables, before.objects)
    filling = engine(server)
    with filling.target(Target("copy", "a key", dump)) as place:
        assert filling.load(place.name, [sql], Load("shop")).rows == 12
        time.sleep(WAIT)
        restored = filling.read_back(place.name, ())
    assert (restored.tables, restored.objects) == (dump.tables, dump.objects)


def test_no_setting_changes_what_is_printed_or_how_it_is_read(server: PostgreSQL17) -> None:
    before, sql = take(server)
    server.run(
        f"ALTER ROLE {server.user} SET bytea_output TO escape; ALTER ROLE {server.user} SET quote_all_identifiers TO on"
    )
    server.run(f"ALTER ROLE {server.user} SET standard_conforming_strings TO off")
    server.run("ALTER SYSTEM SET array_nulls TO off")
    server.run("SELECT pg_reload_conf()")
    again, _ = take(server)
    assert (again.tables, again.limits) == (before.tables, ())
    filling = engine(server)
    with filling.scratch("a key", before) as place:
        filling.load(place, [sql], Load("shop"))
        assert filling.read_back(place, ()).tables == before.tables


def test_whoever_is_cut_off_is_told_why(server: PostgreSQL17) -> None:
    _, sql = take(server)
    middle = sql.index(b"\n5\t")

    def until_cut_off() -> Iterator[bytes]:
        yield sql[:middle]
        server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename ^@ 'lifeboat_load_'")
        yield sql[middle:]

    filling = engine(server)
    with pytest.raises(RestoreError) as error, filling.target(Target("copy", "a key")) as place:
        filling.load(place.name, until_cut_off(), Load("shop"))
    assert "57P01" in error.value.message or "terminat" in error.value.message or "closed" in error.value.message
