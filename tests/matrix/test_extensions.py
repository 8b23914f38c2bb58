"""PostGIS, pgvector and pg_partman as Debian has them: their types, their tables, and rows that users keep there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.airflow import connections
from lifeboat.databases import Dump, Engine, Load, Loaded, Target
from lifeboat.databases.postgresql.extensions import ROWS
from lifeboat.decide import comparison
from lifeboat.settings.config import Database

from include.demo.stand_ins import PostgreSQL17

pytestmark = pytest.mark.matrix

SRID = "INSERT INTO spatial_ref_sys VALUES (990001, 'mine', 1, 'x', 'y'), (990002, 'mine', 2, 'x', 'y')"
PLACES = (
    "CREATE TABLE places (id integer PRIMARY KEY, at geometry(Point, 4326), near vector(3));"
    " INSERT INTO places SELECT i, ST_SetSRID(ST_MakePoint(i, i), 4326), ARRAY[i, 0, 1]::vector"
    " FROM generate_series(1, 99) i;"
    " CREATE INDEX ON places USING gist (at); CREATE INDEX ON places USING hnsw (near vector_l2_ops)"
)
MEASURED = (
    "CREATE TABLE measured (at timestamptz NOT NULL, value integer) PARTITION BY RANGE (at);"
    " SELECT partman.create_parent('public.measured', 'at', '1 month', p_start_partition => '2026-01-01')"
)
OWNERS = (
    "SELECT relname, relowner::regrole FROM pg_class"
    " WHERE relnamespace = 'partman'::regnamespace AND relkind = 'r' ORDER BY 1"
)


@pytest.fixture
def shop(postgresql_17: PostgreSQL17, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL17]:
    """An empty database of an application, whose role the restore login may act as."""
    server = postgresql_17
    monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", server.connection())
    monkeypatch.setenv("AIRFLOW_CONN_EXTENDER", server.connection(login="postgres"))
    server.run(f"CREATE ROLE app; GRANT app, pg_read_all_data TO {server.user}; CREATE DATABASE shop OWNER app")
    yield server
    server.run("DROP DATABASE IF EXISTS copy")
    server.run("DROP DATABASE shop")
    server.run("DROP ROLE app")


def engine(extender: str | None = "extender") -> Engine:
    shop = Database(name="shop", engine="postgresql", connection="shop_pg", extensions_connection=extender)
    return connections.engine(shop, Path("/unused"))


def restored() -> tuple[Dump, Loaded]:
    """Back up the database, restore it as ``copy``, and compare the two."""
    chunks: list[bytes] = []
    captured = engine().dump("shop", (), chunks.append)
    filling = engine()
    with filling.target(Target("copy", "a key", captured, extensions=captured.extensions or ())) as place:
        loaded = filling.load(place.name, chunks, Load("shop"))
        again = filling.read_back(place.name, ())
    assert comparison.differences(captured, again, left_out=loaded.left_out) == []
    return captured, loaded


def names(dump: Dump) -> dict[str, int]:
    return {table.name: table.rows for table in dump.tables}


def test_geometries_and_vectors_come_back(shop: PostgreSQL17) -> None:
    shop.run("CREATE EXTENSION postgis; CREATE EXTENSION postgis_topology; CREATE EXTENSION vector", "shop")
    shop.run(f"SET ROLE app; {PLACES}", "shop")
    told = engine(None).dump("shop", (), lambda chunk: None)
    assert {limit.name for limit in told.limits} == {"postgis", "postgis_topology", "vector"}
    captured, loaded = restored()
    assert captured.limits == ()
    assert [warning for warning in loaded.warnings if "owners and rights" not in warning] == []
    assert loaded.left_out == ()
    rows = "SELECT id, ST_AsText(at), near FROM places ORDER BY near <-> '[7,0,1]', id"
    assert shop.run(rows, "copy") == shop.run(rows, "shop")


def test_rows_in_a_table_of_a_superusers_extension_are_told_and_left_out(shop: PostgreSQL17) -> None:
    shop.run(f"CREATE EXTENSION postgis; {SRID}", "shop")
    captured, loaded = restored()
    ((kind, name, text),) = [(limit.kind, limit.name, limit.text) for limit in captured.limits]
    assert (kind, name) == (ROWS, "spatial_ref_sys")
    assert "2 rows of table 'spatial_ref_sys', which a superuser makes with extension 'postgis'" in text
    assert "2 rows of 'spatial_ref_sys'" in loaded.warnings[0]
    assert loaded.left_out == (("rows", "spatial_ref_sys"),)


def test_tables_of_an_extension_belong_to_who_had_them_and_have_their_rows(shop: PostgreSQL17) -> None:
    shop.run("SET ROLE app; CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman", "shop")
    shop.run(f"SET ROLE app; {MEASURED}", "shop")
    captured, loaded = restored()
    assert names(captured)["partman.part_config"] == 1
    assert (captured.limits, loaded.warnings, loaded.left_out) == ((), (), ())
    assert shop.run(OWNERS, "copy") == shop.run(OWNERS, "shop")
    assert shop.run("SELECT count(*) FROM pg_class WHERE relacl::text ~ 'lifeboat_load'", "copy") == "0\n"
    rows = "SELECT * FROM partman.part_config"
    assert shop.run(rows, "copy") == shop.run(rows, "shop")


def test_rows_come_back_where_it_takes_no_superuser_to_make_their_table(shop: PostgreSQL17) -> None:
    shop.run("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman", "shop")
    shop.run(f"ALTER SCHEMA partman OWNER TO app; {MEASURED}", "shop")
    captured, loaded = restored()
    assert [limit.name for limit in captured.limits] == ["postgres"], "who owns the table that it partitions"
    assert loaded.left_out == ()
    assert "extension 'pg_partman' belongs to 'lifeboat', not 'postgres'" in loaded.warnings
    assert shop.run("SELECT count(*) FROM partman.part_config", "copy") == "1\n"
