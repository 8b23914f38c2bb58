"""Loads that no single transaction could hold, what is spread over connections, and what ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.postgresql import load
from lifeboat.databases.postgresql.digest import digest
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.databases.postgresql.statements import (
    _BLANK,
    _INSIGNIFICANT,
    _TOKENS,
    _Ends,
    canonical,
    plain,
    read,
)
from lifeboat.databases.sql import reader
from lifeboat.databases.sql.reader import Reader, Statement
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL
from tests.servers.databases.test_postgresql import HEAD, TAIL, everything
from tests.servers.databases.test_postgresql_role import ROLES

__all__ = ["everything"]

TABLES = 160
MANY = f"""
CREATE ROLE clerk; GRANT clerk TO lifeboat; CREATE DATABASE many OWNER lifeboat;
\\connect many
GRANT CREATE ON SCHEMA public TO clerk;
DO $$ BEGIN FOR i IN 1..{TABLES} LOOP
  EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, a text)', i);
  EXECUTE format('INSERT INTO t%s (a) VALUES (%s)', i, i);
  EXECUTE format('ALTER TABLE t%s OWNER TO %s', i, CASE WHEN i % 2 = 0 THEN 'clerk' ELSE 'lifeboat' END);
  COMMIT;
END LOOP; END $$;
DO $$ DECLARE made oid; BEGIN FOR i IN 1..1000 LOOP
  made := lo_from_bytea(100000 + i, i::text::bytea);
  EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %s', made, CASE WHEN i % 2 = 0 THEN 'clerk' ELSE 'lifeboat' END);
  COMMIT;
END LOOP; END $$;
"""
AT_ONCE = f"""
DO $$ BEGIN FOR i IN 1..{TABLES} LOOP EXECUTE format('ALTER TABLE t%s OWNER TO postgres', i); END LOOP; END $$
"""
OWNERS = """
SELECT relkind, relowner::regrole, count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace GROUP BY 1, 2;
SELECT lomowner::regrole, count(*) FROM pg_largeobject_metadata GROUP BY 1
"""


class SmallServer(PostgreSQL):
    """A server with room for few locks, as one of some thousand tables has too few by default."""

    def _command(self) -> Sequence[str]:
        settings = ("max_connections=20", "max_locks_per_transaction=10")
        return [*super()._command(), *(option for setting in settings for option in ("-c", setting))]


@pytest.fixture(scope="module")
def small() -> Iterator[PostgreSQL]:
    with SmallServer() as server:
        yield server


def engine(server: PostgreSQL) -> Engine:
    return Engine(Server(server.host, server.port, server.user, server.password), clock.now)


def test_no_transaction_holds_the_locks_of_all_tables(small: PostgreSQL) -> None:
    small.run(MANY)
    with pytest.raises(RuntimeError, match="out of shared memory"):
        small.run(AT_ONCE, "many")
    chunks: list[bytes] = []
    loading = engine(small)
    dump = loading.dump("many", (), chunks.append)
    with loading.target(Target("copy", "a key", dump)) as place:
        loaded = loading.load(place.name, chunks, Load("many"))
        again = loading.read_back(place.name, ())
    assert (loaded.tables, loaded.rows, loaded.warnings) == (TABLES, TABLES, ())
    assert (again.tables, again.objects) == (dump.tables, dump.objects)
    assert small.run(OWNERS, "copy") == small.run(OWNERS, "many")
    small.run("DROP DATABASE copy")


def test_what_has_no_owner_here_is_taken_without_the_locks_of_all_tables(small: PostgreSQL) -> None:
    lines = (b"CREATE TABLE public.t%d (id integer PRIMARY KEY, a text UNIQUE);\n" % i for i in range(400))
    loading = engine(small)
    with loading.target(Target("copy", "a key")) as place:
        assert loading.load(place.name, [HEAD, *lines, TAIL], Load("x")).tables == 400
    small.run("DROP DATABASE copy")


def copied(server: PostgreSQL, chunks: Sequence[bytes], **facts: Any) -> Dump:
    """Load a dump, and return what was loaded."""
    loading = engine(server)
    with loading.target(Target("copy", "a key", **facts)) as place:
        loading.load(place.name, chunks, Load("x"))
        held = loading.read_back(place.name, ())
    server.run("DROP DATABASE copy")
    return held


def test_what_is_spread_over_connections_and_groups_is_whole(
    postgresql: PostgreSQL, everything: tuple[Dump, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, sql = everything
    monkeypatch.setattr(load, "AT_ONCE", 50)  # bytes, fewer than a piece of a large object has
    monkeypatch.setattr(load, "GROUP", 2)
    monkeypatch.setattr(reader, "READ", 400)
    monkeypatch.setattr(reader, "LOOKAHEAD", 100)
    held = copied(postgresql, [sql[i : i + 100] for i in range(0, len(sql), 100)], captured=dump)
    assert (held.tables, held.objects) == (dump.tables, dump.objects)


def test_a_value_of_any_length_is_never_held(postgresql: PostgreSQL) -> None:
    value = b"'\\." * 3_000_000
    rows = b"COPY public.t (a) FROM stdin;\n1\n" + value.replace(b"\\", b"\\\\") + b"\n2\n\\.\n"
    sql = HEAD + b"CREATE TABLE public.t (a text);\n" + rows + TAIL
    chunks = [sql[i : i + (1 << 18)] for i in range(0, len(sql), 1 << 18)]
    assert max(len(piece) for piece in read(chunks) if isinstance(piece, bytes)) <= 2 * reader.READ
    (table,) = copied(postgresql, chunks).tables
    assert (table.rows, table.sha256) == (3, digest([sql]).tables[0].sha256)


def test_a_check_may_look_at_the_tables_before(postgresql: PostgreSQL) -> None:
    """It finds their rows, as in a load by psql, though other connections bring them."""
    looks = (
        b"CREATE TABLE public.a (b integer);\n"
        b"CREATE FUNCTION public.known(i integer) RETURNS boolean LANGUAGE sql AS"
        b" 'SELECT i IN (SELECT b FROM public.a)';\n"
        b"CREATE TABLE public.c (b integer, CONSTRAINT known CHECK (public.known(b)));\n"
    )
    numbers = b"".join(b"%d\n" % i for i in range(200_000)) + b"\\.\n"
    rows = b"COPY public.a (b) FROM stdin;\n" + numbers + b"COPY public.c (b) FROM stdin;\n199999\n0\n\\.\n"
    tables = copied(postgresql, [HEAD + looks + rows + TAIL]).tables
    assert [table.rows for table in tables] == [200_000, 2]


def test_whatever_ends_a_load_ends_it_on_all_connections(postgresql: PostgreSQL) -> None:
    def interrupted() -> Iterator[bytes]:
        yield HEAD + b"CREATE TABLE public.t (a integer);\nCOPY public.t (a) FROM stdin;\n"
        for _ in range(10):
            yield b"1\n" * 500_000
        raise KeyboardInterrupt

    before = postgresql.run(ROLES)
    loading = engine(postgresql)
    with pytest.raises(KeyboardInterrupt), loading.target(Target("copy", "a key")) as place:
        loading.load(place.name, interrupted(), Load("x"))
    assert postgresql.run(ROLES) == before
    assert place.name not in postgresql.run("SELECT datname FROM pg_database")


PIECES = (
    *(
        "CREATE ",
        "FUNCTION ",
        "PROCEDURE ",
        "begin  atomic ",
        "BEGIN ",
        "ATOMIC",
        "CASE ",
        "END",
        "E",
        "x",
        "_1",
        "\xe4",
    ),
    *(";", "(", ")", "'", '"', "$", "$a$", "\\", "/", "*", "/*", "-", "--", "\n", " ", ",", "''", "'a;b'", "e'\\''"),
    *(":", "::text", ":: character varying(3)[]", "::a.b(1,2)"),
)


@given(text=st.lists(st.sampled_from(PIECES), max_size=24).map("".join), canonicalised=st.booleans())
def test_what_is_read_at_once_is_read_as_token_by_token(text: str, *, canonicalised: bool) -> None:
    sql = text.encode("latin-1")
    if canonicalised:
        quick = canonical(Statement("view", "v", sql))
        assert quick == _INSIGNIFICANT.sub(lambda found: found["keep"] or b"", sql)
    else:
        assert statements(sql, plain) == statements(sql, lambda text, start: None)


def statements(sql: bytes, at_once: Callable[[bytes, int], bytes | None]) -> list[bytes | str]:
    found: list[bytes | str] = []
    with mock.patch.object(reader, "READ", 1), mock.patch.object(reader, "LOOKAHEAD", 1):
        text = Reader(sql[i : i + 9] for i in range(0, len(sql), 9))
        try:
            while text.skip(_BLANK):
                found.append(text.statement(_TOKENS, _Ends, at_once))
        except RestoreError as error:
            found.append(error.message)
    return found
