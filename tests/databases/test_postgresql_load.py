"""Loads that no single transaction could hold, what is spread over connections, and what ends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from lifeboat.databases import Load, Server, Target
from lifeboat.databases.postgresql import PostgreSQL as Engine

from include.demo.stand_ins import PostgreSQL
from tests.databases.test_postgresql import HEAD, TAIL

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
    return Engine(Server(server.host, server.port, server.user, server.password))


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
