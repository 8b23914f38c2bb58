"""Databases of PostgreSQL as their users have them: what is below a table, and what a reload puts in another order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat import comparison, config, connections, restore
from lifeboat.config import Database
from lifeboat.databases import Dump, Engine, Load, Loaded
from lifeboat.databases.postgresql_digest import digest
from lifeboat.errors import RestoreError

from include.demo.stand_ins import PostgreSQL
from tests.conftest import Configure
from tests.test_restore import back_up, plan, restored

SHOP: dict[str, Any] = {"name": "shop", "engine": "postgresql", "connection": "kinds_pg"}


@pytest.fixture
def pg(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """The server, with an empty database."""
    monkeypatch.setenv("AIRFLOW_CONN_KINDS_PG", postgresql.connection())
    postgresql.run(f"CREATE DATABASE shop OWNER {postgresql.user}")
    yield postgresql
    for name in postgresql.run("SELECT datname FROM pg_database WHERE datname ~ '^(shop|lifeboat)'").splitlines():
        postgresql.run(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        postgresql.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def fill(pg: PostgreSQL, sql: str) -> None:
    pg.run(sql, "shop", pg.user)


def engine() -> Engine:
    return connections.engine(Database(**SHOP), Path("/unused"))


def take(*excluded: str) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine().dump("shop", excluded, chunks.append)
    return dump, b"".join(chunks)


def reload(dump: Dump, sql: bytes) -> tuple[Loaded, Dump]:
    """Load a dump, and return what a dump of the copy holds."""
    loading = engine()
    with loading.scratch("a key", dump) as place:
        loaded = loading.load(place, [sql], Load("shop"))
        return loaded, loading.read_back(place, ())


PARTITIONED = """
CREATE SCHEMA old; CREATE TABLE m (d date, n int) PARTITION BY RANGE (d); CREATE TABLE m_def PARTITION OF m DEFAULT;
CREATE TABLE old."m 25" PARTITION OF m FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (n);
CREATE TABLE old.a PARTITION OF old."m 25" FOR VALUES IN (1); CREATE TABLE old.b (n int, d date);
ALTER TABLE old."m 25" ATTACH PARTITION old.b FOR VALUES IN (2);
CREATE TABLE p (a int); CREATE TABLE heir (b int) INHERITS (p); CREATE TABLE grandson () INHERITS (heir);
CREATE TABLE apart (a int);
INSERT INTO m VALUES ('2027-01-01', 1), ('2025-05-05', 1), ('2025-05-05', 2);
INSERT INTO p VALUES (1); INSERT INTO heir VALUES (2, 2); INSERT INTO grandson VALUES (3, 3);
INSERT INTO apart VALUES (4);
"""
BELOW_M = ("m", "m_def", 'old."m 25"', "old.a", "old.b")


@pytest.mark.parametrize(
    ("excluded", "left_out"),
    [
        ("m", set(BELOW_M)),
        ('old."m 25"', {'old."m 25"', "old.a", "old.b"}),
        ("old.b", {"old.b"}),
        ("p", {"p", "heir", "grandson"}),
        ("heir", {"heir", "grandson"}),
    ],
)
def test_an_excluded_table_takes_all_below_it_along(pg: PostgreSQL, excluded: str, left_out: set[str]) -> None:
    fill(pg, PARTITIONED)
    dump, _ = take(excluded)
    assert dump.excluded_tables[0] == excluded
    assert set(dump.excluded_tables) == left_out
    held = {table.name for table in dump.tables if table.rows}
    assert held == {"m_def", "old.a", "old.b", "p", "heir", "grandson", "apart"} - left_out


@pytest.mark.parametrize(
    ("table", "came", "rows"),
    [("m", BELOW_M, 3), ("old.a", ("old.a",), 1), ("p", ("p", "heir", "grandson"), 3), ("apart", ("apart",), 1)],
)
def test_one_table_comes_with_all_below_it(
    pg: PostgreSQL, project: Configure, table: str, came: tuple[str, ...], rows: int
) -> None:
    fill(pg, PARTITIONED)
    project(applications={"Shop": {"databases": [SHOP]}})
    back_up()
    (done,) = restored(plan(table=table, into="shop_rescue"))
    assert (done.rows, done.compared, done.warnings) == (rows, len(came), ())
    counts = "SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM p), (SELECT count(*) FROM apart)"
    assert pg.run(counts, "shop_rescue").split() == [
        str(each) for each in (rows * (came[0] in BELOW_M), rows * (table == "p"), rows * (table == "apart"))
    ]


def test_one_table_whose_rows_are_not_there_is_refused_or_told(pg: PostgreSQL, project: Configure) -> None:
    fill(pg, PARTITIONED)
    project(applications={"Shop": {"databases": [SHOP | {"exclude_tables": ['old."m 25"']}]}})
    back_up()
    made = plan(table="old.b", into="shop_rescue")
    with pytest.raises(RestoreError, match=r"has no rows of table 'old\.b' of 'shop': the backup left them out"):
        restore.restore_database(config.load(), made, made.databases[0])
    (done,) = restored(plan(table="m", into="shop_rescue"))
    assert done.rows == 1
    assert done.warnings == tuple(
        f"{name} came back empty: the backup left its rows out" for name in sorted(('old."m 25"', "old.a", "old.b"))
    )


INHERITED = {
    "a column that the parent got later": """
        CREATE TABLE p (a int); CREATE TABLE c (b int) INHERITS (p); ALTER TABLE p ADD COLUMN d text;
        INSERT INTO c (a, b, d) VALUES (1, 2, 'x'), (3, 4, 'y');""",
    "a column that child and parent have": """
        CREATE TABLE p (a int); CREATE TABLE c (b int DEFAULT 1, d text CHECK (d <> ',(')) INHERITS (p);
        ALTER TABLE p ADD COLUMN d text; INSERT INTO c (a, b, d) VALUES (1, 2, E'x\\ty'), (3, 4, NULL);""",
    "a parent that came later": """
        CREATE TABLE p (a int, b numeric(4, 2)); CREATE TABLE c ("b" numeric(4, 2), z text DEFAULT '), (', a int);
        ALTER TABLE c INHERIT p; INSERT INTO c VALUES (2, 'z', 1);""",
    "several parents, and a dropped column": """
        CREATE TABLE p (a int, gone int); CREATE TABLE q (x int, a int); CREATE TABLE c ("c, (" int) INHERITS (q, p);
        ALTER TABLE p DROP COLUMN gone; ALTER TABLE q ADD COLUMN y int; INSERT INTO c VALUES (1, 2, 3, 4);
        CREATE TABLE d () INHERITS (c); ALTER TABLE p ADD COLUMN late text;
        INSERT INTO d VALUES (5, 6, 7, 8, 'nine');""",
    "a partition with another order": """
        CREATE TABLE m (a int, b text) PARTITION BY LIST (a); CREATE TABLE m1 (b text, gone int, a int);
        ALTER TABLE m1 DROP COLUMN gone; ALTER TABLE m ATTACH PARTITION m1 FOR VALUES IN (1);
        ALTER TABLE m ADD COLUMN c int; INSERT INTO m VALUES (1, 'b', 3);""",
    "options of a child": """
        CREATE TABLE p (a int); CREATE UNLOGGED TABLE c (b int) INHERITS (p) WITH (fillfactor = 50);
        ALTER TABLE p ADD COLUMN d text; INSERT INTO c (a, b, d) VALUES (1, 2, 'x');""",
}


@pytest.mark.parametrize("sql", INHERITED.values(), ids=INHERITED)
def test_the_order_of_inherited_columns_does_not_count(pg: PostgreSQL, sql: str) -> None:
    fill(pg, sql)
    dump, text = take()
    loaded, again = reload(dump, text)
    assert loaded.rows == dump.rows
    assert [str(each) for each in comparison.differences(dump, again)] == []


@pytest.mark.parametrize("change", [("\t2\tx", "\t3\tx"), ("b integer", "b bigint")])
def test_the_values_of_inherited_columns_count(pg: PostgreSQL, change: tuple[str, str]) -> None:
    fill(pg, INHERITED["a column that the parent got later"])
    dump, text = take()
    old, new = (each.encode() for each in change)
    assert old in text
    _, again = reload(dump, text.replace(old, new))
    (difference,) = comparison.differences(dump, again)
    assert (difference.name, difference.fatal) == ("c", True)


def test_inherited_rows_are_the_same_in_pieces_of_any_size(pg: PostgreSQL) -> None:
    fill(pg, INHERITED["a column that child and parent have"])
    dump, text = take()
    for size in (1, 7, 4096):
        held = digest(text[i : i + size] for i in range(0, len(text), size))
        assert (held.tables, held.objects) == (dump.tables, dump.objects)
