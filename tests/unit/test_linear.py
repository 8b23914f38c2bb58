"""Reading a dump takes time in proportion to its length: nobody stalls a restore by what is stored."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest
from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.binlog import HEAD, PAYLOAD, QUERY, Event
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.log_events import events_within
from lifeboat.databases.mysql.rows import loadable
from lifeboat.databases.mysql.statements import StatementReader
from lifeboat.databases.postgresql import digest
from lifeboat.databases.sqlite import text
from lifeboat.errors import LifeboatError

SMALL, TIMES = 16 << 10, 16
TOLERATED = 4  # times what is in proportion; what is quadratic takes TIMES times that
LEAST = 0.005  # seconds, below which clocks tell little
ROUNDS = 5


def mysql(sql: bytes) -> None:
    """All that is asked about a statement when it is restored."""
    for statement in StatementReader([sql], 64 << 20):
        if statement.kind == "rows":
            loadable(statement.sql, ())
        definitions.collations(statement)
        definitions.mariadb_only(statement)
        if statement.kind == "table":
            definitions.read_table(statement)
        if statement.kind in definitions.CODE:
            definitions.without_definer(statement)
            definitions.names_schema(statement, "shop")


def mysql_digest(sql: bytes) -> None:
    parser = DumpParser()
    parser.feed(sql)
    parser.finish()


def mysql_payload(data: bytes) -> None:
    """Read a compressed transaction that comes in small pieces, and whose event never ends."""
    pieces = (data[start : start + 4] for start in range(0, len(data), 4))
    with pytest.raises(ValueError, match="cut short"):
        list(events_within(pieces, Event(PAYLOAD, 0, 0, 0, 0, 0, b"")))


def postgresql(sql: bytes) -> None:
    digest.digest([sql])


def sqlite(sql: bytes) -> None:
    for _ in text.read([sql]):
        pass


def of(letters: bytes) -> Callable[[int], bytes]:
    """Return what repeats letters up to a length."""
    return lambda size: letters * (size // len(letters))


def tags(size: int) -> bytes:
    """Return beginnings of texts, each of another end."""
    return b" ".join(b"$a%d$" % number for number in range(size // 8))


def keys(size: int) -> bytes:
    """Return keys of a table, all different."""
    return b"".join(b"KEY `%d` (`b`),\n" % number for number in range(size // 16))


@pytest.mark.parametrize(
    ("read", "begin", "repeated", "end"),
    [
        (mysql, b"CREATE TABLE `a` (`b` int) ", of(b"/**/ "), b";\n"),
        (mysql, b"CREATE TABLE `a` (`b` int) ", of(b") /* "), b";\n"),
        (mysql, b"CREATE TABLE `a` (`b` int) ", of(b") /**/ "), b";\n"),
        (mysql, b"CREATE TABLE `a` (", of(b"/*!"), b";\n"),
        (mysql, b"CREATE TABLE `a` (\n", keys, b"  `b` int\n) ENGINE=InnoDB;\n"),
        (mysql, b"CREATE TABLE `a` (/*", of(b"\\'"), b"*/ `b` int);\n"),
        (mysql, b"CREATE TABLE `a` (--  ", of(b"\\'"), b"\n `b` int);\n"),
        (mysql, b"SET @a = 1 /*", of(b"\\'"), b"*/;\n"),
        (mysql, b"SET SQL_MODE='NO_BACKSLASH_ESCAPES';\nCREATE TABLE `a` (", of(b"'\\'"), b");\n"),
        (mysql, b"CREATE TRIGGER a AFTER '", of(b"ON /*"), b"' ON t FOR EACH ROW SET @a = 1;\n"),
        (mysql, b"CREATE TRIGGER a AFTER ", of(b"UPDATE, "), b" ON t FOR EACH ROW SET @a = 1;\n"),
        (mysql, b"CREATE VIEW a AS SELECT `", of(b"/* "), b"`;\n"),
        (mysql, b"INSERT INTO `a` (", of(b"`a`, "), b"`a`) VALUES (1);\n"),
        (mysql, b"INSERT INTO `a` VALUES (", of(b"'a','"), b"');\n"),
        (mysql_digest, b"CREATE VIEW a AS SELECT ", of(b"DEFINER="), b";\n"),
        (mysql_digest, b"CREATE VIEW a AS SELECT ", of(b" DEFINER=`"), b";\n"),
        (mysql_digest, b"CREATE VIEW a AS SELECT ", of(b" DEFINER=```"), b";\n"),
        (mysql_payload, HEAD.pack(0, QUERY, 7, 1 << 30, 0, 0), of(b" "), b""),
        (postgresql, b"CREATE TABLE public.a (a int -- ", tags, b"\n);\n"),
        (postgresql, b"CREATE TABLE public.a (x", lambda size: tags(size).replace(b" ", b" x"), b");\n"),
        (postgresql, b"CREATE TABLE public.a (a int -- ", of(b'::a."'), b"\n);\n"),
        (postgresql, b"CREATE VIEW a AS SELECT ", of(b"(:: "), b";\n"),
        (postgresql, b"ALTER TABLE a -- ", of(b' OWNER TO "x""'), b"\n;\n"),
        (postgresql, b"COPY a (", of(b'"a""b", '), b") FROM stdin;\n"),
        (sqlite, b"INSERT INTO a (", of(b'"a" '), b") x;\n"),
        (sqlite, b"CREATE TRIGGER a ", of(b"begin end ; "), b";\n"),
    ],
)
def test_time_grows_with_the_length(
    read: Callable[[bytes], None], begin: bytes, repeated: Callable[[int], bytes], end: bytes
) -> None:
    def seconds(size: int) -> float:
        """Return the processor's time that a reading takes."""
        sql = begin + repeated(size) + end
        re.purge()
        started = time.thread_time()
        with contextlib.suppress(LifeboatError):  # to refuse it is an answer
            read(sql)
        return time.thread_time() - started

    # In turn, because a busy machine may be slow for seconds; once in proportion is enough: noise only adds.
    ratios = (seconds(SMALL * TIMES) / max(seconds(SMALL), LEAST) for _ in range(ROUNDS))
    assert any(ratio < TOLERATED * TIMES for ratio in ratios)
