"""Drills of several PostgreSQL databases whose checks need them all at once, on newer servers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lifeboat.actions import drill
from lifeboat.airflow.site import load_site

from include.demo.stand_ins import PostgreSQL17, PostgreSQL18
from tests.conftest import Configure
from tests.servers.test_restore import back_up

BOTH = """
import os, pathlib, psycopg
for name, count in (("SHOP", 2), ("STOCK", 3)):
    of = {key: os.environ[f"LIFEBOAT_{name}_{key}"] for key in ("HOST", "PORT", "NAME", "USER", "PASSWORD_FILE")}
    with psycopg.connect(
        host=of["HOST"], port=of["PORT"], dbname=of["NAME"], user=of["USER"],
        password=pathlib.Path(of["PASSWORD_FILE"]).read_text(), sslmode="disable",
    ) as session:
        assert session.execute("SELECT count(*) FROM items").fetchone() == (count,), name
"""
PARTITIONED = """
CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1), (2);
CREATE TABLE audit (id int PRIMARY KEY); INSERT INTO audit VALUES (1);
CREATE TABLE remarks (id int, audit int CONSTRAINT of_audit REFERENCES audit) PARTITION BY RANGE (id);
CREATE TABLE remarks_1 PARTITION OF remarks FOR VALUES FROM (1) TO (9); INSERT INTO remarks VALUES (1, 1);
"""

pytestmark = pytest.mark.matrix


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("postgresql_17", marks=pytest.mark.needs("postgresql_17")),
        pytest.param("postgresql_18", marks=pytest.mark.needs("postgresql_18")),
    ],
)
def test_checks_reach_all_databases_of_a_drill(
    server: str, request: pytest.FixtureRequest, project: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: PostgreSQL17 | PostgreSQL18 = request.getfixturevalue(server)
    monkeypatch.setenv("PATH", f"{found.path}:/usr/bin:/bin")
    for name in ("SHOP_PG", "SCRATCH_PG"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", found.connection())
    # Before 18, no foreign key of a partitioned table may be left unchecked, so its rows must have parents.
    bare = ["audit"] if server == "postgresql_18" else []
    stock = "CREATE TABLE items (id int); INSERT INTO items VALUES (1), (2), (3)"
    for database, sql in (("shop", PARTITIONED), ("stock", stock)):
        found.run(f"CREATE DATABASE {database} OWNER {found.user}")
        found.run(sql, database, found.user)
    databases = [{"name": name, "engine": "postgresql", "connection": "shop_pg"} for name in ("shop", "stock")]
    query = {"database": "stock", "query": "SELECT count(*) FROM items", "expect": "= 3"}
    checks = [{"name": "items", "sql": query}, {"name": "both", "command": [sys.executable, "-c", BOTH]}]
    project(
        applications={"Shop": {"databases": [databases[0] | {"exclude_rows": bare}, databases[1]], "checks": checks}},
        drill={"connection": {"postgresql": "scratch_pg"}},
    )
    key = back_up().packed.key
    (disk,) = load_site().destinations("Shop", ("disk",))
    made = drill.rehearse(load_site(), "Shop", disk, key, "a test", datetime.now(UTC))
    assert [check.name for check in made.checks] == ["items", "both"]
    assert made.compared.databases == 2
    assert ("1 table proven without rows, which the backup left out" in made.notes) == bool(bare)
    for database in ("shop", "stock"):
        found.run(f"DROP DATABASE {database} WITH (FORCE)")
