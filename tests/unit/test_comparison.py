"""Captured and restored: what differs is named, and what another server merely words otherwise is no failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from lifeboat.databases import Dump, ObjectDigest, TableDigest
from lifeboat.decide.comparison import differences

ORDERS = TableDigest("orders", 3, "primary key", "a1", "d1")
LOG = TableDigest("log", 2, "none", "a2", "d2")
VIEW = ObjectDigest("view", "totals", "d3")
CAPTURED = Dump(
    database="shop",
    engine="mysql",
    server="10.11.6-MariaDB-0+deb12u1",
    client="mariadb-dump",
    character_set="utf8mb4",
    collation="utf8mb4_general_ci",
    captured_at=datetime(2026, 11, 23, tzinfo=UTC),
    sql_bytes=1,
    sha256="x",
    tables=(ORDERS, LOG),
    objects=(VIEW,),
    excluded_tables=(),
    unprotected_tables=(),
)


def found(table: str = "", **changes: Any) -> list[tuple[str, bool]]:
    return [
        (str(each), each.fatal)
        for each in differences(CAPTURED, replace(CAPTURED, **changes), [table] if table else ())
    ]


def test_the_same_is_the_same() -> None:
    assert found() == []
    assert found(tables=(LOG, ORDERS), sha256="y", database="shop_restored_1", client="another") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tables": (ORDERS,)}, "table 'log' is missing"),
        ({"tables": (ORDERS, replace(LOG, rows=1))}, "table 'log' has 1 row, and had 2"),
        ({"tables": (replace(ORDERS, sha256="b"), LOG)}, "table 'orders' holds other data in its 3 rows"),
        ({"tables": (replace(ORDERS, definition_sha256="b"), LOG)}, "table 'orders' has a different definition"),
        ({"tables": (ORDERS, LOG, replace(LOG, name="new"))}, "table 'new' was not captured"),
        ({"objects": ()}, "view 'totals' is missing"),
        ({"objects": (replace(VIEW, kind="trigger"), VIEW)}, "trigger 'totals' was not captured"),
        ({"objects": (replace(VIEW, definition_sha256="b"),)}, "view 'totals' has a different definition"),
    ],
)
def test_every_difference_is_named(changes: dict[str, Any], said: str) -> None:
    assert found(**changes) == [(said, True)]


@pytest.mark.parametrize("server", ["11.4.2-MariaDB", "10.11.0-MySQL", "8.0.36-MySQL"])
def test_another_server_may_word_a_definition_otherwise_but_never_hold_other_data(server: str) -> None:
    worded = (replace(ORDERS, definition_sha256="b"), LOG)
    assert found(server=server, tables=worded) == [("table 'orders' has a different definition", False)]
    assert found(server=server, tables=(replace(ORDERS, sha256="b"), LOG))[0][1]
    assert found(server="10.11.14-MariaDB", tables=worded)[0][1]


def test_one_table_by_itself() -> None:
    assert found("orders", tables=(ORDERS,), objects=()) == []
    assert found("orders", tables=()) == [("table 'orders' is missing", True)]
