"""Rows as MySQL takes them: computed values become DEFAULT, a negative zero keeps its sign, strings stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.mysql.definitions import Column
from lifeboat.databases.mysql.rows import loadable

ID = Column(b"`id`", is_computed=False, is_floating=False)
SUM = Column(b"`sum`", is_computed=True, is_floating=False)
RATE = Column(b"`rate`", is_computed=False, is_floating=True)
VECTOR = Column(b"`v`", is_computed=False, is_floating=False, is_vector=True)
ODD = Column(b"`a``,(`", is_computed=True, is_floating=True)


@pytest.mark.parametrize(
    ("columns", "before", "after"),
    [
        pytest.param([ID, SUM], b"VALUES (1,2),\n(3,'x')", b"VALUES (1,DEFAULT),\n(3,DEFAULT)", id="computed"),
        pytest.param([SUM, SUM], b"VALUES\n(1,2)", b"VALUES\n(DEFAULT,DEFAULT)", id="all computed"),
        pytest.param([SUM], b"VALUES (1)\n", b"VALUES (DEFAULT)\n", id="the only column"),
        pytest.param([ID, SUM], b"(`sum`, `id`) VALUES (1,2)", b"(`sum`, `id`) VALUES (DEFAULT,2)", id="named columns"),
        pytest.param([ID, ODD], b"(`a``,(`,`id`) VALUES (1,2)", b"(`a``,(`,`id`) VALUES (DEFAULT,2)", id="odd name"),
        pytest.param([ID, SUM], b"(`id`) VALUES (1),(2)", b"(`id`) VALUES (1),(2)", id="computed columns left out"),
        pytest.param([ID, SUM], b"VALUES (1,2),(3)", b"VALUES (1,2),(3)", id="other columns"),
        pytest.param(
            [SUM, ID],
            rb"VALUES ('),(\\',_binary ''),('a''b','\'),(1,2')",
            rb"VALUES (DEFAULT,_binary ''),(DEFAULT,'\'),(1,2')",
            id="strings",
        ),
        pytest.param([RATE], b"VALUES (-0),(-0.00),(0),(-0.5)", b"VALUES (-0e0),(-0.00e0),(0),(-0.5)", id="minus zero"),
        pytest.param([RATE, ID], b"VALUES (-0,'(-0,'),\n(1,-0)", b"VALUES (-0e0,'(-0,'),\n(1,-0e0)", id="in a string"),
        pytest.param([ID], b"VALUES (-0)", b"VALUES (-0)", id="no floating column"),
        pytest.param(
            [VECTOR, SUM, VECTOR],
            rb"VALUES ('\',(','x',NULL),(0x00,NULL,'')",
            rb"VALUES (_binary '\',(',DEFAULT,NULL),(0x00,DEFAULT,_binary '')",
            id="vectors",
        ),
        pytest.param([ID], b"() VALUES ),))", b"() VALUES (),()", id="MySQL's client without columns"),
        pytest.param([ID], b"() VALUES )", b"() VALUES ()", id="one row without columns"),
        pytest.param([ID], b"() VALUES (),(),()", b"() VALUES (),(),()", id="valid rows without columns"),
    ],
)
def test_rows_as_mysql_takes_them(columns: list[Column], before: bytes, after: bytes) -> None:
    head = b"INSERT INTO `it's (` "
    assert loadable(head + before, columns) == head + after


@given(st.lists(st.lists(st.binary(), min_size=2, max_size=2), min_size=1))
def test_no_string_is_changed(values: list[list[bytes]]) -> None:
    escaped = [b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'" for row in values for value in row]
    pairs = list(zip(escaped[::2], escaped[1::2], strict=True))
    head = b"INSERT INTO `t` VALUES "
    rows = b",".join(b"(%b,-0,%b)" % (first, second) for first, second in pairs)
    expected = b",".join(b"(%b,-0e0,DEFAULT)" % first for first, _ in pairs)
    assert loadable(head + rows, [ID, RATE, SUM]) == head + expected
