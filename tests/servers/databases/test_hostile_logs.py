"""Hostile binary logs: whatever they say, nothing but the schema that is filled changes."""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Callable, Iterator

import pytest
from lifeboat.databases.mysql import log_statements
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql.replay import ReplayError, Stop, events_of
from lifeboat.errors import RestoreError

from include.demo.stand_ins import MariaDB, MySQL
from tests.servers.databases.forging import (
    GBK,
    Event,
    character_set,
    forged,
    frame,
    gtid,
    mode,
    query,
    rows,
    statement,
    table,
    transaction,
    uncompressed,
    updated,
    variable,
)
from tests.servers.databases.replaying import COPY, SOURCE, Taken, logs_of, replayed, take

Server = MariaDB | MySQL
OPTIONS = ("--log-bin=log", "--server-id=7", "--binlog-format=ROW")
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, secret TEXT); INSERT INTO t VALUES (1, 'secret')"


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.needs(kind.__name__.lower())) for kind in (MySQL, MariaDB)],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a schema that nothing may reach."""
    with request.param(tmp_path_factory.mktemp("server"), *OPTIONS) as server, pytest.MonkeyPatch.context() as patch:
        if server.path:
            patch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
        patch.setattr(positions, "HELD", 20)  # seconds: the machine may be busy
        for schema in ("victim", SOURCE):
            server.run(f"CREATE DATABASE {schema}")
            server.run(TABLE, schema)
        yield server


@pytest.fixture(scope="module")
def taken(server: Server) -> Taken:
    """A dump of the schema."""
    return take(server)


@pytest.fixture
def mariadb(server: Server) -> bool:
    """Whether the server is MariaDB's."""
    return isinstance(server, MariaDB)


def all_there_is(server: Server) -> str:
    """Return what a log could have reached."""
    return server.run(
        "SELECT * FROM victim.t; SHOW TABLES FROM victim; SHOW TABLES FROM shop; SELECT * FROM shop.t;"
        " SELECT user, host FROM mysql.user ORDER BY 1, 2; SHOW DATABASES LIKE 'v%';"
        " SELECT trigger_schema, trigger_name FROM information_schema.triggers WHERE trigger_schema = 'victim';"
        " SHOW GLOBAL VARIABLES WHERE Variable_name IN ('sql_mode', 'read_only', 'foreign_key_checks', 'time_zone')"
    )


def replay_of(server: Server, taken: Taken, events: list[Event], change: bytes = b"") -> None:
    """Replay a forged log; whatever becomes of it, make sure that nothing beyond the copy changed."""
    before = all_there_is(server)
    log = logs_of(server)[0][1][0]
    try:
        replayed(server, taken, Stop(), forged(log, taken, events, change))
    finally:
        assert all_there_is(server) == before


def test_a_forged_log_is_replayed_where_it_stays_in_its_schema(server: Server, taken: Taken, mariadb: bool) -> None:
    events = transaction(table(SOURCE), rows(2, mariadb=mariadb), mariadb=mariadb)
    events += statement("CREATE TABLE u (id INT)", mariadb=mariadb)
    events += transaction(query("INSERT INTO shop.u VALUES (5)"), mariadb=mariadb)
    replay_of(server, taken, events)
    assert server.run(f"SELECT * FROM {COPY}.t; SELECT * FROM {COPY}.u") == "1\tsecret\n2\tforged\n5\n"
    assert {event.server for piece in logs_of(server) for event in events_of(*piece)} == {7}
    gtids = server.run("SELECT @@gtid_binlog_state" if mariadb else "SELECT @@gtid_executed")
    assert re.fullmatch(r"0-7-\d+\n" if mariadb else rf"{server.run('SELECT @@server_uuid').strip()}:1-\d+\n", gtids)


Hostile = Callable[[bool], list[Event]]
LEFT_OUT: dict[str, Hostile] = {
    "rows": lambda m: transaction(table("victim"), rows(2, mariadb=m), mariadb=m),
    "rows among others": lambda m: transaction(
        table("victim", number=6), table(SOURCE), rows(2, mariadb=m, flags=0), rows(2, mariadb=m, number=6), mariadb=m
    ),
    "default schema": lambda m: transaction(query("DELETE FROM t", "victim"), mariadb=m),
    "qualified": lambda m: transaction(query("DELETE FROM victim.t"), mariadb=m),
    "definition": lambda m: statement("DROP TABLE victim.t", mariadb=m),
    "user": lambda m: statement("CREATE USER forged IDENTIFIED BY 'x'", mariadb=m),
    "grant": lambda m: statement("GRANT ALL ON *.* TO forged", mariadb=m),
    "schema": lambda m: statement("DROP DATABASE victim", mariadb=m),
    "role": lambda m: statement("CREATE ROLE forged", mariadb=m),
}


@pytest.mark.parametrize("hostile", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_others_own_is_left_out(server: Server, taken: Taken, mariadb: bool, hostile: Hostile) -> None:
    replay_of(server, taken, hostile(mariadb))


ONCE = "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW "
FIRES = query("INSERT INTO t VALUES (9, '')")
REFUSED: dict[str, Hostile] = {
    "unnamed table": lambda m: transaction(rows(2, mariadb=m), mariadb=m),
    "table of an earlier statement": lambda m: transaction(
        table(SOURCE), rows(2, mariadb=m), rows(3, mariadb=m), mariadb=m
    ),
    "two tables of a number": lambda m: transaction(table(SOURCE), table("victim"), rows(2, mariadb=m), mariadb=m),
    "two others of a number": lambda m: transaction(table("victim"), table(SOURCE), rows(2, mariadb=m), mariadb=m),
    "long name": lambda m: transaction(table(SOURCE, length=250), rows(2, mariadb=m), mariadb=m),
    "short name": lambda m: transaction(table("shopvictim", length=4), rows(2, mariadb=m), mariadb=m),
    "zero byte": lambda m: transaction(table("victim\0"), rows(2, mariadb=m), mariadb=m),
    "file": lambda m: transaction(table(SOURCE, "#mysql50#../victim/t"), rows(2, mariadb=m), mariadb=m),
    "statement without an end": lambda m: transaction(table(SOURCE), rows(2, mariadb=m, flags=0), mariadb=m),
    "two tables": lambda m: statement("DROP TABLE t, victim.t", mariadb=m),
    "versioned": lambda m: statement("DROP TABLE /*!99999 t, */ victim.t", mariadb=m),
    "commented": lambda m: statement("RENAME TABLE t TO /* shop. */ victim.u", mariadb=m),
    "read": lambda m: transaction(query("INSERT INTO t SELECT id + 10, secret FROM victim.t"), mariadb=m),
    "function": lambda m: transaction(query("INSERT INTO t SELECT 10, (SELECT secret FROM victim.t)"), mariadb=m),
    "variable": lambda m: statement("SET GLOBAL read_only = 1", mariadb=m),
    "trigger": lambda m: [
        *statement(ONCE + "UPDATE victim.t SET secret = 'forged'", mariadb=m),
        *transaction(FIRES, mariadb=m),
    ],
    "events in code": lambda m: [
        *statement(ONCE + "/*! BINLOG */ 'x'", mariadb=m),
        *transaction(FIRES, mariadb=m),
    ],
    "variable in code": lambda m: [
        *statement(ONCE + "SET SESSION server_id = 99", mariadb=m),
        *transaction(FIRES, mariadb=m),
    ],
    "foreign key": lambda m: statement("CREATE TABLE u (p INT, FOREIGN KEY (p) REFERENCES victim.t (id))", mariadb=m),
    "engine": lambda m: statement("CREATE TABLE u (id INT) ENGINE=MERGE UNION=(victim.t)", mariadb=m),
    "place": lambda m: statement('CREATE TABLE u (id INT) DATA DIRECTORY="/tmp"', mariadb=m),
    "name of a variable": lambda m: [
        *transaction(query("DELETE FROM t", variables=character_set(GBK)), mariadb=m),
        gtid(mariadb=m, alone=True),
        variable(b"\x81` = 1, @@SESSION.gtid_seq_no = 777777 #" if m else b"\x81` = 1, @@SESSION.big_tables = 1 #"),
        query("CREATE TABLE u (id INT)"),
    ],
    "number without digits": lambda m: transaction(variable(b"v", 4, bytes([2, 1])), mariadb=m),
    "character set of another statement": lambda m: [
        *transaction(query("DELETE FROM t", variables=character_set(GBK)), mariadb=m),
        *statement(ONCE + "BEGIN SET @x = '\udc81\\'; BINLOG \"x\"; SET @x = ' \\' '; END", mariadb=m),
    ],
    "mode of modes": lambda m: statement(
        ONCE + 'BEGIN DECLARE "\\" INT; BINLOG \'x\'; SET @x = 1; -- "\nEND', variables=mode(1 << 18), mariadb=m
    ),
    "compressed twice": lambda m: [gtid(mariadb=m), uncompressed(uncompressed(query("BEGIN")))],
    "two statements": lambda m: transaction(query("DELETE FROM t; DELETE FROM victim.t"), mariadb=m),
    "the whole schema": lambda m: statement("DROP DATABASE shop", mariadb=m),
    "incident": lambda m: [gtid(mariadb=m), (26, bytes(3))],
    "unknown": lambda m: [gtid(mariadb=m), query("BEGIN"), (99, bytes(30))],
    "unknown setting": lambda m: statement("DROP TABLE t", variables=bytes([77, 0]), mariadb=m),
}


@pytest.mark.parametrize("hostile", REFUSED.values(), ids=REFUSED)
def test_what_may_reach_beyond_ends_the_replay(server: Server, taken: Taken, mariadb: bool, hostile: Hostile) -> None:
    with pytest.raises(ReplayError, match=r"log\.\d{6}:\d+|within a transaction") as refused:
        replay_of(server, taken, hostile(mariadb))
    assert "secret" not in str(refused.value)


def test_code_has_no_right_to_run_events(
    server: Server, taken: Taken, mariadb: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_statements, "runs_events", lambda *_: False)
    log = logs_of(server)[0][1][0]
    named, added = table("victim"), rows(2, mariadb=mariadb)
    events = log[4 : 4 + struct.unpack_from("<I", log, 13)[0]] + frame(*named, 4) + frame(*added, 4)
    code = f"{ONCE} BINLOG '{base64.b64encode(events).decode()}'"
    hostile = [*statement(code, mariadb=mariadb), *transaction(FIRES, mariadb=mariadb)]
    with pytest.raises(ReplayError, match=r"refuses it with error \d+"):
        replay_of(server, taken, hostile)


@pytest.mark.parametrize("kind", ["checksum", "length", "end"])
def test_damaged_events_end_the_replay(server: Server, taken: Taken, mariadb: bool, kind: str) -> None:
    assert taken.dump.position
    whole = frame(*gtid(mariadb=mariadb), taken.dump.position.offset)
    change = {"checksum": whole[:-1] + bytes([whole[-1] ^ 1]), "length": frame(19, b"x", 0, 1 << 31), "end": whole[:-5]}
    with pytest.raises(ReplayError, match=r"cannot be read at position \d+"):
        replay_of(server, taken, [], change[kind])


def test_schemas_that_the_server_names_must_be_those_of_the_text(server: Server, taken: Taken, mariadb: bool) -> None:
    events = statement("DROP TABLE t", variables=updated(SOURCE, "victim"), mariadb=mariadb)
    with pytest.raises(ReplayError, match=r"DROP TABLE|a setting of kind 12"):
        replay_of(server, taken, events)


@pytest.mark.parametrize("code", ["PROCEDURE p() ", "TRIGGER r BEFORE INSERT ON t FOR EACH ROW "])
def test_code_of_the_dump_runs_no_events(server: Server, code: str) -> None:
    server.run(f"CREATE {code} BINLOG 'x'", SOURCE)
    try:
        with pytest.raises(RestoreError, match="may run events of a binary log"):
            replay_of(server, take(server), [])
    finally:
        server.run(f"DROP {code.split(maxsplit=1)[0]} {code.split()[1].removesuffix('()')}", SOURCE)
