"""How SQL is cut into statements, by the same rules as each server, and how names are quoted."""

from __future__ import annotations

import re

import pytest
from lifeboat.databases.sql import reader
from lifeboat.databases.sql.dialect import MYSQL, POSTGRESQL, SQLITE, Dialect
from lifeboat.databases.sql.quoting import backquoted, backquoted_bytes, name_of, quoted, unquoted
from lifeboat.databases.sql.reader import Reader
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


@pytest.mark.parametrize("name", ["a", "", "a`b", 'a"b', "it's", '"', "`", "[x]", "\udcff", "ä"])
def test_a_name_in_quotes_is_the_same_name_without(name: str) -> None:
    assert unquoted(quoted(name)) == name
    assert unquoted(backquoted(name), "`") == name
    assert name_of(backquoted_bytes(name)) == name


@pytest.mark.parametrize("name", ["a", "", "'a'", "`a`"])
def test_what_is_in_other_quotes_or_in_none_stays(name: str) -> None:
    assert unquoted(name) == name
