"""How SQL is cut into statements, by the same rules as each server, and how names are quoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

import pytest
from lifeboat.databases.mysql.statements import StatementReader
from lifeboat.databases.postgresql import statements as postgresql
from lifeboat.databases.sql import reader
from lifeboat.databases.sql.dialect import MYSQL, POSTGRESQL, SQLITE, Dialect
from lifeboat.databases.sql.quoting import backquoted, backquoted_bytes, name_of, quoted, unquoted
from lifeboat.databases.sql.reader import Kind, Reader
from lifeboat.databases.sqlite import text as sqlite
from lifeboat.errors import RestoreError

# Statements that end at their last semicolon only.
WHOLE = [
    *((dialect, rb"SELECT 'it''s; ';") for dialect in (MYSQL, POSTGRESQL, SQLITE)),
    *((dialect, rb"SELECT 1 -- ';" + b"\n;") for dialect in (MYSQL, POSTGRESQL, SQLITE)),
    *((dialect, rb'SELECT "a"";", 1;') for dialect in (MYSQL, POSTGRESQL, SQLITE)),
    *((dialect, rb"SELECT /* '; */ 1;") for dialect in (MYSQL, SQLITE)),
    *((dialect, rb"SELECT `a``;`;") for dialect in (MYSQL, SQLITE)),
    (MYSQL, rb"""SELECT 'a\';', "\\\";", 1;"""),
    (MYSQL, b"SELECT 1 # ';\n;"),
    (MYSQL, b"CREATE FUNCTION f() AS $a$ ';$$ $a$;"),
    (POSTGRESQL, rb"SELECT 'a\', E'b\';', 'c\';"),
    (POSTGRESQL, rb"SELECT E'a''b\';';"),
    (POSTGRESQL, rb"SELECT $$';$a$ $$, $a$;$$';$a$;"),
    (SQLITE, rb"SELECT 'a\', [b;'], 1;"),
]


def ends(token: re.Match[bytes], /) -> bool:
    return token.lastgroup == "end"


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("dialect", "sql"), WHOLE, ids=[sql.decode() for _, sql in WHOLE])
def test_nothing_ends_a_statement_inside_of_quotes_and_comments(
    dialect: Dialect, sql: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READ", 1)
    text = Reader(iter([(sql * 2)[start : start + size] for start in range(0, 2 * len(sql), size)]))
    tokens = dialect.scanner(rb"(?P<end>;)")
    assert [text.statement(tokens, lambda: ends) for _ in range(2)] == [sql, sql]


@pytest.mark.parametrize("begun", [b"'", b'"', b"`", b"/*", b"AS $a$"])
def test_what_has_no_end_is_cut_short(begun: bytes) -> None:
    text = Reader([b"SELECT " + begun + b" ; "])
    with pytest.raises(RestoreError, match="cut short"):
        text.statement(MYSQL.scanner(rb"(?P<end>;)"), lambda: ends)


def test_a_statement_is_not_read_without_end() -> None:
    text = Reader((b"x" * reader.READ for _ in range(9)), longest=4 * reader.READ, hint="Raise it.")
    with pytest.raises(RestoreError, match=r"longer than the 4\.0 MiB that the database accepts at once") as refused:
        text.statement(MYSQL.scanner(rb"(?P<end>;)"), lambda: ends)
    assert refused.value.hint == "Raise it."


def test_each_kind_that_a_dump_of_postgresql_names_is_one() -> None:
    named = {kind for _, kind, _ in postgresql._KINDS if kind} | {made.lower() for made in postgresql.CREATED}
    assert named - set(get_args(Kind)) == set()


def read_mysql(sql: Iterable[bytes]) -> Iterator[object]:
    yield from StatementReader(sql, 1 << 24)


def in_pieces(sql: bytes) -> Iterator[bytes]:
    return (sql[start : start + 50_000] for start in range(0, len(sql), 50_000))


LONG = 3 * reader.READ  # bytes
REMARKS = {
    "a line": b"-- " + b"x" * LONG + b"\n",
    "many lines": b"-- x\n\n" * (LONG // 6),
    "blank lines": b" \n" * LONG,
}
READERS: list[tuple[Callable[[Iterable[bytes]], Iterator[object]], bytes, bytes]] = [
    (read_mysql, b"CREATE TABLE `t` (\n  `a` int\n);\n", b"-- Dump completed\n"),
    (postgresql.read, b"CREATE TABLE public.t (\n    a integer\n);\n", postgresql.TRAILER + b"\n"),
    (sqlite.read, b"CREATE TABLE t (a);\n", b"COMMIT;\n"),
]
readers = pytest.mark.parametrize(("read", "table", "end"), READERS, ids=["mysql", "postgresql", "sqlite"])


@readers
@pytest.mark.parametrize("remark", REMARKS.values(), ids=REMARKS)
def test_remarks_between_statements_are_as_long_as_they_are(
    read: Callable[[Iterable[bytes]], Iterator[object]], table: bytes, end: bytes, remark: bytes
) -> None:
    sql = in_pieces(table + remark + table + remark + end)
    assert list(read(sql)) == list(read([table + table + end]))


@pytest.mark.parametrize("remark", [b"# " + b"x" * LONG + b"\n", b"/* " + b"x;\n" * LONG + b"*/"], ids=["#", "/*"])
def test_so_are_those_of_mysql_only(remark: bytes) -> None:
    _, table, _ = READERS[0]
    assert list(read_mysql(in_pieces(remark + table))) == list(read_mysql([table]))


def test_a_remark_that_has_no_end_is_cut_short() -> None:
    with pytest.raises(RestoreError, match="cut short"):
        list(read_mysql([b"/* ", b"x" * LONG]))


@pytest.mark.parametrize("name", ["a", "", "a`b", 'a"b', "it's", '"', "`", "[x]", "\udcff", "ä"])
def test_a_name_in_quotes_is_the_same_name_without(name: str) -> None:
    assert unquoted(quoted(name)) == name
    assert unquoted(backquoted(name), "`") == name
    assert name_of(backquoted_bytes(name)) == name


@pytest.mark.parametrize("name", ["a", "", "'a'", "`a`"])
def test_what_is_in_other_quotes_or_in_none_stays(name: str) -> None:
    assert unquoted(name) == name
