"""A database of PostgreSQL that several stock clients dump in one snapshot: the text, its digests, and its failures."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import psycopg
import pytest
from lifeboat.archive.deflated import DeflatedText
from lifeboat.databases import Aside, Dump, Server, shares
from lifeboat.databases.postgresql import together
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.errors import DumpError
from lifeboat.support import clock
from lifeboat.support.processes import Child

from include.demo.stand_ins import PostgreSQL

SHOP = "together"
EVERYTHING = (Path(__file__).parent / "everything.postgresql.sql").read_text(encoding="utf-8")
# What the file lacks: names that are patterns or keywords, heirs, views that need a key or each other.
MORE = """
CREATE TABLE "a b" (id int); CREATE TABLE "Case" (id int); CREATE TABLE "case" (id int);
CREATE TABLE "50%_off" (t text); CREATE TABLE "all*" (id int); CREATE TABLE "all?|x" (id int);
CREATE TABLE "dot.ted" (id int); CREATE TABLE "größe$" (t text); CREATE TABLE "select" (id int);
CREATE TABLE "^(a)" (id int); CREATE TABLE "--table" (t text); INSERT INTO "Case" VALUES (1);
INSERT INTO "50%_off" VALUES (E'x\\n-- Name: y; Type: TABLE\\n\\\\.'), ('CREATE TRIGGER');
INSERT INTO "case" VALUES (2); INSERT INTO "all*" SELECT generate_series(1, 500); INSERT INTO "dot.ted" VALUES (3);
CREATE TABLE parent (b int, a int); CREATE TABLE heir (c int) INHERITS (parent); ALTER TABLE parent ADD z text;
INSERT INTO heir VALUES (1, 2, 3, 'z'); INSERT INTO parent VALUES (4, 5, 'p');
CREATE TABLE keyed (id int PRIMARY KEY, t text); CREATE VIEW by_key AS SELECT id, t FROM keyed GROUP BY id;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM by_key; CREATE MATERIALIZED VIEW kept_again AS SELECT * FROM kept;
INSERT INTO keyed VALUES (1, 'a'); REFRESH MATERIALIZED VIEW kept; REFRESH MATERIALIZED VIEW kept_again;
CREATE TABLE one (id int PRIMARY KEY, other int); CREATE TABLE two (id int PRIMARY KEY, other int REFERENCES one);
INSERT INTO one VALUES (1, 1); INSERT INTO two VALUES (1, 1); ALTER TABLE one ADD FOREIGN KEY (other) REFERENCES two;
"""


class Taken(NamedTuple):
    """A dump, and its text as it is staged."""

    dump: Dump
    sql: bytes

    @property
    def contents(self) -> tuple[Sequence[object], set[object]]:
        """Everything that its digests say."""
        return self.dump.tables, set(self.dump.objects)


@pytest.fixture(
    params=[
        "postgresql",
        pytest.param("postgresql_17", marks=pytest.mark.matrix),
        pytest.param("postgresql_18", marks=pytest.mark.matrix),
    ]
)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """A server with an empty database whose tables are all worth a client."""
    server: PostgreSQL = request.getfixturevalue(request.param)
    if server.path:
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    monkeypatch.setattr(shares, "WORTH", 0)
    monkeypatch.setattr(together, "LEAST", 0)
    make(server, SHOP)
    yield server
    server.run(f"DROP DATABASE {SHOP} WITH (FORCE)")


def make(server: PostgreSQL, name: str) -> None:
    server.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    server.run(f"CREATE DATABASE {name} OWNER {server.user} TEMPLATE template0")


def take(server: PostgreSQL, clients: int = 3, excluded: tuple[str, ...] = (), database: str = SHOP) -> Taken:
    """Dump by several clients, into a file as it is staged."""
    engine = Engine(Server(server.host, server.port, server.user, server.password), clock.now)
    file = io.BytesIO()
    with contextlib.closing(DeflatedText(file, Path(tempfile.gettempdir()))) as text:  # type: ignore[arg-type]
        dump = engine.dump(database, excluded, text.write, aside=Aside(clients, text.part, text.append))
        text.end()
    sql = gzip.decompress(file.getvalue())
    assert (dump.sql_bytes, dump.sha256) == (len(sql), hashlib.sha256(sql).hexdigest())
    return Taken(dump, sql)


def lines(sql: bytes) -> list[bytes]:
    """Return the lines of a dump that say anything, in any order, without those that differ each time."""
    return sorted(line for line in sql.splitlines() if line and not line.startswith((b"\\restrict", b"\\unrestrict")))


def test_the_text_is_what_one_client_writes_and_psql_restores_it(
    server: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    server.run(EVERYTHING + MORE, SHOP, server.user)
    one, taken = take(server, 1), take(server)
    assert f"3 clients dump {SHOP}" in caplog.text
    assert taken.contents == one.contents
    assert lines(taken.sql) == lines(one.sql)
    make(server, "together_copy")
    server.run(taken.sql.decode(), "together_copy", server.user)
    assert take(server, 1, database="together_copy").contents == one.contents
    server.run("DROP DATABASE together_copy")


def test_all_clients_see_one_moment(server: PostgreSQL) -> None:
    for table in ("giving", "taking"):
        server.run(f"CREATE TABLE {table} AS SELECT 1000000 AS euros FROM generate_series(1, 50)", SHOP, server.user)
    stop, moved = Event(), [0]

    def move() -> None:
        login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        with psycopg.connect(**login, dbname=SHOP) as connection:  # type: ignore[arg-type]
            while not stop.is_set():
                connection.execute("UPDATE giving SET euros = euros - 1")
                connection.execute("UPDATE taking SET euros = euros + 1")
                connection.commit()
                moved[0] += 1

    thread = Thread(target=move)
    thread.start()
    try:
        for _ in range(5):
            taken, before = take(server, 2), moved[0]
            values = [int(line) for line in taken.sql.split(b"\n") if line.isdigit()]
            assert (len(values), sum(values)) == (100, 100_000_000)
            while moved[0] == before:
                time.sleep(0.01)
    finally:
        stop.set()
        thread.join()


def test_excluded_tables_keep_no_rows(server: PostgreSQL) -> None:
    server.run(
        "CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS SELECT 2 AS x; CREATE TABLE c AS SELECT 3 AS x", SHOP
    )
    server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {server.user}", SHOP)
    taken = take(server, excluded=("b",))
    assert {table.name: table.rows for table in taken.dump.tables} == {"a": 1, "b": 0, "c": 1}


def test_a_locked_table_leaves_the_dump_to_one_client(
    server: PostgreSQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(together, "PATIENCE", "100ms")
    server.run("CREATE TABLE a (x int); CREATE TABLE b (x int)", SHOP, server.user)
    login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    share = together.share
    with psycopg.connect(**login, dbname=SHOP) as other:  # type: ignore[arg-type]
        other.execute("LOCK TABLE b")

        def shared(*arguments: Any) -> Any:
            try:
                return share(*arguments)
            finally:
                other.rollback()

        monkeypatch.setattr(together, "share", shared)
        assert len(take(server).dump.tables) == 2
    assert f"One client dumps {SHOP}: the server gave no snapshot for several (" in caplog.text


@pytest.mark.parametrize("killed", [0, 1], ids=["first", "other"])
def test_a_killed_client_fails_the_dump(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch, killed: int) -> None:
    for table in ("a", "b"):  # each more than its client can write before it is killed
        server.run(f"CREATE TABLE {table} AS SELECT repeat('x', 9000000) AS t", SHOP, server.user)
    pump = together.pump
    running: list[Child] = []

    def kill(clients: Sequence[Child], *others: Any) -> Any:
        running.extend(clients)
        clients[killed].stop()
        return pump(clients, *others)

    monkeypatch.setattr(together, "pump", kill)
    with pytest.raises(DumpError, match="pg_dump was killed by SIGKILL"):
        take(server, 2)
    assert len(running) == 2
    assert all(client.wait() is not None for client in running)


def test_a_client_that_fails_says_why(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    server.run("CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS SELECT 1 AS x", SHOP, server.user)
    share = together.share

    def shared(*arguments: Any) -> Any:
        found = share(*arguments)
        return found and found._replace(dealt=[['"public"."gone"']])

    monkeypatch.setattr(together, "share", shared)
    with pytest.raises(DumpError, match="no matching tables were found"):
        take(server, 2)
