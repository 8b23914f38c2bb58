"""Names and patterns of excluded tables."""

from __future__ import annotations

import time

import pytest
from lifeboat.databases.exclusion import find, matching

NAMES = ["tmp_1", "tmp_22", "Tmp_3", "a*b", "axb", "a\\b", 'q"x', "x.y", "tmp_*", "\n"]
PARTS = {name: (name,) for name in NAMES}
IN_SCHEMAS = {
    "sessions": ("public", "sessions"),
    '"Order"': ("public", "Order"),
    "sales.p_2025": ("sales", "p_2025"),
    'old."m 25"': ("old", "m 25"),
    '"my.s".t1': ("my.s", "t1"),
    '"a.b"': ("public", "a.b"),
    "tmp_s.orders": ("tmp_s", "orders"),
    '"q""x"': ("public", 'q"x'),
}


@pytest.mark.parametrize(
    ("entry", "meant", "warning"),
    [
        ("tmp_1", ["tmp_1"], ""),
        ("tmp_?", ["tmp_1", "tmp_*"], ""),
        ("tmp_**", ["tmp_1", "tmp_22", "tmp_*"], ""),
        ("T*", ["Tmp_3"], ""),
        ("a*b", ["a*b"], "s: 'a*b' is read as the name of that table; as a pattern it would also match 2 tables"),
        ("a\\*b", ["a*b"], ""),
        ("a\\b", ["a\\b"], ""),
        ("a\\\\?", ["a\\b"], ""),
        ("[at]*", [], "s: pattern '[at]*' matches no table"),
        ('q"*', ['q"x'], ""),
        ("*.y", ["x.y"], ""),
        ("?", ["\n"], ""),
        ("gone", [], "s names 'gone', which is not there"),
        ("TMP_1", [], "s names 'TMP_1', which is not there"),
    ],
)
def test_an_entry_means_the_table_of_its_name_or_what_its_pattern_matches(
    entry: str, meant: list[str], warning: str
) -> None:
    found = find("s", [entry], NAMES, PARTS)
    assert (found.tables, found.warnings) == (meant, [warning] if warning else [])


def test_a_view_has_no_rows_to_leave_out() -> None:
    found = find("s", ["Recent", "rec*"], NAMES, PARTS, str.lower, {"recent": "view"})
    expected = [
        "s names 'Recent', which is a view: only tables have rows to leave out",
        "s: pattern 'rec*' matches no table",
    ]
    assert found == ([], expected)


def test_case_counts_as_for_the_server() -> None:
    assert find("s", ["TMP_?", "AXB"], NAMES, PARTS, str.lower) == (["tmp_1", "Tmp_3", "tmp_*", "axb"], [])


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("sess*", ["sessions"]),
        ("Ord*", ['"Order"']),
        ('"Order"', ['"Order"']),
        ("Order", []),
        ("sales.*", ["sales.p_2025"]),
        ('old."m 25"', ['old."m 25"']),
        ('old."m 2"*', ['old."m 25"']),
        ('old."m*"*', []),
        ('"my.s".t*', ['"my.s".t1']),
        ('"q""x"*', ['"q""x"']),
        ("public.a.b*", ['"a.b"']),
        ("tmp_*", []),
        ("*", ["sessions", '"Order"', '"a.b"', '"q""x"']),
        ("*.*", list(IN_SCHEMAS)),
    ],
)
def test_a_pattern_without_a_schema_means_public(entry: str, meant: list[str]) -> None:
    assert find("s", [entry], list(IN_SCHEMAS), IN_SCHEMAS).tables == meant


def test_many_stars_take_no_time() -> None:
    began = time.monotonic()
    assert matching("*a" * 30 + "*b", {"a" * 64: ("a" * 64,)}) == []
    assert time.monotonic() - began < 1


def test_a_server_without_tables() -> None:
    assert find("s", ["a.*"], [], {}) == ([], ["s: pattern 'a.*' matches no table"])
