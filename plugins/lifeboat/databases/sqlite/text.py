"""A SQLite database as SQL: written row by row, and read again.

Rows are written by Python, which reproduces them exactly: texts with any byte, the smallest floats, the rows of a
full-text index. The digests are made on the way:

* The digest of a table is the sum of the SHA-256 of each row as it is written, modulo 2^256.
* Definitions are hashed as SQLite keeps them, which is how somebody typed them.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.sql.dialect import SQLITE
from lifeboat.databases.sql.quoting import quoted, unquoted
from lifeboat.databases.sql.reader import Kind, Reader, Statement
from lifeboat.databases.sqlite.lacks import QUOTES, Object
from lifeboat.errors import DumpError, RestoreError

BATCH = 100_000  # bytes of rows in one INSERT
PRAGMAS = ("user_version", "application_id")
LAYOUT = {"page_size": 4096, "auto_vacuum": 0}  # what a new file has; what differs is written, and counts
WAL = b"PRAGMA journal_mode=WAL;"
BLANKS = " \t\n\f\r"  # SQLite keeps those that end the definition of an index, and none of others

_TOKENS = SQLITE.scanner(rb"(?P<word>[A-Za-z_]\w*)|(?P<mark>;)")
_TEXTS = re.compile(rb"(?P<text>%b)|%b|%b" % (SQLITE.text, SQLITE.name, SQLITE.comment), re.DOTALL)
_BLANK = re.compile(rb"(?>\s++|--[^\n]*+\n)*+(?P<open>--)?")
_NAME = rb"""("(?:[^"]|"")+"|'(?:[^']|'')+'|`[^`]+`|\[[^\]]+\]|\w+)"""
_SKIPPED = re.compile(rb"(?:BEGIN(?: TRANSACTION)?|COMMIT|PRAGMA foreign_keys ?= ?\w+|ANALYZE [^;]*);", re.IGNORECASE)
_PRAGMA = re.compile(
    rb"PRAGMA (?:user_version|application_id) ?= ?-?\d+;|PRAGMA encoding ?= ?'[\w-]+';"
    rb"|PRAGMA (?:page_size|auto_vacuum)=\d+;",
    re.IGNORECASE,
)
_ROWS = re.compile(
    rb"(INSERT INTO|DELETE FROM)\s+" + _NAME + rb"""\s*(?:\((?>"[^"]*+"|[^()"])*+\)\s*)?(?:VALUES\b|;)""", re.IGNORECASE
)
_CREATE = re.compile(rb"CREATE\s+(?:UNIQUE\s+)?((?:VIRTUAL\s+)?TABLE|INDEX|TRIGGER|VIEW)\b", re.IGNORECASE)


class _Ends:
    """Finds the end of a statement: a semicolon, and of a trigger the one behind its END."""

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._last: list[bytes] = [b"", b""]

    def __call__(self, token: re.Match[bytes], /) -> bool:
        if token["comment"]:
            return False
        text = (token["word"] or token["mark"] or b"").upper()
        if token["word"] and len(self._words) < 3:
            self._words.append(text)
        within = b"TRIGGER" in self._words[1:] and self._words[0] == b"CREATE"
        ends = text == b";" and (not within or self._last == [b";", b"END"])
        self._last = [self._last[1], text]
        return ends


def read(sql: Iterable[bytes]) -> Iterator[Statement]:
    """Yield the statements of a dump in its order.

    Their kinds are ``rows``, ``pragma``, ``journal``, ``skipped``, or what they make: ``table``, ``index`` ... Those of
    rows have a name: of the table that they fill or empty.

    :raises RestoreError: a statement is none that a dump of one database holds, or the text is cut short.
    """
    text = Reader(sql)
    committed = False  # the end of a dump, ours or the stock client's
    while text.skip(_BLANK):
        statement = recognise(text.statement(_TOKENS, _Ends))
        committed = statement.sql == b"COMMIT;"
        yield statement
    if not committed:
        raise RestoreError("The dump does not end with COMMIT: it is cut short.", "Restore another archive.")


def recognise(sql: bytes) -> Statement:
    """Say what a statement is.

    :raises RestoreError: it is none that a dump of one database holds.
    """
    if _SKIPPED.fullmatch(sql):
        return Statement("skipped", "", sql)
    if _PRAGMA.fullmatch(sql):
        return Statement("pragma", "", sql)
    if sql == WAL:
        return Statement("journal", "", sql)
    if rows := _ROWS.match(sql):
        table = unquoted(rows[2].decode("utf-8", "replace"), QUOTES)
        if table.startswith("sqlite_stat"):  # from the stock client, whose ANALYZE would have made it
            return Statement("skipped", "", sql)
        if not table.lower().startswith(("sqlite_schema", "sqlite_master")):
            return Statement("rows", table, sql)
    if made := _CREATE.match(sql):
        return Statement(cast(Kind, made[1].decode().lower()), "", sql)
    words = re.match(rb"[\w ]{,40}", sql)
    raise RestoreError(
        f"The dump holds a statement that no restore runs: {(words[0] if words else b'').decode().strip()} ...",
        "If you trust it, load it manually with sqlite3.",
    )


def text_of(statement: Statement) -> str:
    """Return a statement as the library takes it: as text, whatever bytes are in the texts of its rows.

    :raises RestoreError: other bytes of it are not UTF-8.
    """

    def as_bytes(found: re.Match[bytes]) -> bytes:
        text = (found["text"] or b"")[1:-1].replace(b"''", b"'")
        return found[0] if _is_utf8(text) else b"CAST(X'%b' AS TEXT)" % text.hex().encode()

    sql = statement.sql
    if statement.kind == "rows" and not _is_utf8(sql):  # the stock client writes texts as they are
        sql = _TEXTS.sub(as_bytes, sql)
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        what = f"rows of table {statement.name!r} name" if statement.kind == "rows" else f"{statement.kind} has"
        raise RestoreError(
            f"The dump's {what} something that is not UTF-8: {sql[:40].decode('utf-8', 'replace')!r} ...",
            "Load it manually with sqlite3.",
        ) from error


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class _Table:
    name: str
    sql: str
    type: str
    without_rowid: bool


def write(
    database: sqlite3.Connection,
    excluded: Collection[str],
    write: Callable[[bytes], object],
    *,
    is_wal: bool = False,
    unmade: Collection[str] = (),
) -> DumpDigest:
    """Write a database as SQL, and return what it holds.

    :param database: a copy that nobody changes; text_factory is taken over.
    :param excluded: tables whose rows are skipped.
    :param is_wal: whether its journal is a WAL.
    :param unmade: virtual tables whose modules only the application has.
    """
    (encoding,) = _one(database, "PRAGMA encoding")
    database.text_factory = partial(_text, str(encoding))
    tables = list(_tables(database, unmade))
    objects = list(_write_layout(database, str(encoding), write, is_wal=is_wal))
    write(b"BEGIN TRANSACTION;\n")
    for pragma in PRAGMAS:
        text = f"PRAGMA {pragma}={_one(database, f'PRAGMA {pragma}')[0]};\n".encode()
        write(text)
        objects.append(ObjectDigest("pragma", pragma, _sha256(text)))
    digests = []
    for table in tables:
        if table.type == "shadow":
            # What its index made of nothing gives way to what it was.
            write(f"DELETE FROM {quoted(table.name)};\n".encode())  # noqa: S608  # quoted
        elif table.name in unmade:
            write(_as_row(table))
        elif table.sql:
            write(_statement(table.sql))
        if table.type == "virtual":
            objects.append(ObjectDigest("virtual table", table.name, _sha256(table.sql.encode())))
            continue
        rows, total = _write_rows(database, table, write) if table.name not in excluded else (0, 0)
        definition = _sha256(table.sql.encode()) if table.type == "table" else ""
        digests.append(TableDigest(table.name, rows, "none", f"{total % (1 << 256):064x}", definition))
    objects += _write_others(database, write)
    write(b"COMMIT;\n")
    return DumpDigest(tuple(digests), tuple(objects), complete=True)


def _write_layout(
    database: sqlite3.Connection, encoding: str, write: Callable[[bytes], object], *, is_wal: bool
) -> Iterator[ObjectDigest]:
    """Write what must be set before a file has a table."""
    write(b"PRAGMA foreign_keys=OFF;\n")
    if encoding != "UTF-8":
        write(f"PRAGMA encoding='{encoding}';\n".encode())
    for pragma, usual in LAYOUT.items():
        (value,) = _one(database, f"PRAGMA {pragma}")
        if value != usual:
            text = f"PRAGMA {pragma}={value};\n".encode()
            write(text)
            yield ObjectDigest("pragma", pragma, _sha256(text))
    if is_wal:
        write(WAL + b"\n")
        yield ObjectDigest("pragma", "journal_mode", _sha256(WAL))


def _as_row(table: _Table) -> bytes:
    """Return the statements by which the stock client brings back what no statement can make there."""
    name, sql = (text.replace("'", "''") for text in (table.name, table.sql))
    row = f"INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','{name}','{name}',0,'{sql}');"
    return f"PRAGMA writable_schema=ON;\n{row}\nPRAGMA writable_schema=OFF;\n".encode()


def _tables(database: sqlite3.Connection, unmade: Collection[str]) -> Iterator[_Table]:
    """Yield the tables: those with rows, then what indexes them, then the rows of these indexes."""
    kinds = {
        _plain(name): (_plain(kind), bool(without_rowid))
        for schema, name, kind, _, without_rowid, _ in database.execute("PRAGMA table_list")
        if schema == "'main'"
    }
    found = [
        _Table(_plain(name), _plain(sql), *_kind(kinds, _plain(name)))
        for name, sql in database.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " ORDER BY rowid"
        )
    ]
    belongs = tuple(f"{name}_" for name in unmade)
    for table in found:
        if table.type == "shadow" and table.name.startswith(belongs):
            yield replace(table, type="table")  # which nothing makes by itself there
        elif table.type == "table":
            yield table
    for kind in ("virtual", "shadow"):
        yield from (
            table for table in found if table.type == kind and not (kind == "shadow" and table.name.startswith(belongs))
        )


def objects(database: sqlite3.Connection) -> Iterator[Object]:
    """Yield what a database holds, in the order in which a dump makes it, but for what belongs to virtual tables."""
    kinds = {name: kind for schema, name, kind, *_ in database.execute("PRAGMA table_list") if schema == "main"}
    rows = database.execute(
        "SELECT CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual' ELSE type END, name, tbl_name, sql"
        " FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    for kind in ("table", "virtual", "index", "view", "trigger"):
        for row in rows:
            if row[0] == kind and kinds.get(row[1]) != "shadow":
                yield Object(*row)


def _kind(kinds: Mapping[str, tuple[str, bool]], table: str) -> tuple[str, bool]:
    if table not in kinds:
        raise DumpError(f"table {table!r} cannot be read: its definition is damaged, or too new.")
    return kinds[table]


def _write_rows(database: sqlite3.Connection, table: _Table, write: Callable[[bytes], object]) -> tuple[int, int]:
    """Write the rows of a table; return their number, and the sum of their digests."""
    columns = _columns(database, table)
    head = f"INSERT INTO {quoted(table.name)}({','.join(columns)}) VALUES\n".encode()
    count = total = size = 0
    batch: list[bytes] = []
    for row in database.execute(f"SELECT {','.join(columns)} FROM {quoted(table.name)}"):  # noqa: S608  # quoted
        text = f"({','.join(map(_literal, row))})".encode()
        total += int.from_bytes(hashlib.sha256(text).digest(), "big")
        count += 1
        batch.append(text)
        size += len(text)
        if size > BATCH:
            write(head + b",\n".join(batch) + b";\n")
            batch, size = [], 0
    if batch:
        write(head + b",\n".join(batch) + b";\n")
    return count, total


def _columns(database: sqlite3.Connection, table: _Table) -> list[str]:
    """Return the columns that store values, with the row number if no column is one."""
    rows = list(database.execute(f"PRAGMA table_xinfo({quoted(table.name)})"))
    names = [_plain(name) for _, name, _, _, _, _, hidden in rows if hidden == 0]
    keys = [_plain(kind).upper() for _, _, kind, _, _, key, _ in rows if key]
    numbered = table.without_rowid or keys == ["INTEGER"] or "rowid" in map(str.lower, names)
    return [*([] if numbered else ["rowid"]), *map(quoted, names)]


def _write_others(database: sqlite3.Connection, write: Callable[[bytes], object]) -> Iterator[ObjectDigest]:
    """Write counters, indexes, views and triggers."""
    if _one(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'") == (1,):
        write(b"DELETE FROM sqlite_sequence;\n")
        for name, counter in database.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name"):
            text = f"INSERT INTO sqlite_sequence VALUES({name},{_literal(counter)});\n".encode()
            write(text)
            yield ObjectDigest("sequence", _plain(name), _sha256(text))
    for kind, name, sql in database.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL"
        " ORDER BY type <> 'index', type <> 'view', rowid"
    ):
        definition = _plain(sql).rstrip(BLANKS)
        write(_statement(definition))
        yield ObjectDigest(_plain(kind), _plain(name), _sha256(definition.encode()))


def _statement(sql: str) -> bytes:
    return f"{sql}\n;\n".encode() if "--" in sql else f"{sql};\n".encode()  # a comment would swallow the end


def _text(encoding: str, value: bytes) -> str:
    """Return a text as SQL takes it, whatever bytes are in it.

    :param encoding: of the database, in which a cast reads bytes; `value` is in UTF-8 in any case.
    """
    if b"\0" not in value and _is_utf8(value):
        return "'" + value.decode().replace("'", "''") + "'"
    if encoding != "UTF-8":
        value = value.decode("utf-8", "surrogatepass").encode(encoding, "surrogatepass")
    return f"CAST(X'{value.hex()}' AS TEXT)"


def _literal(value: object) -> str:
    match value:
        case str():  # a text, as `_text` has written it
            return value
        case None:
            return "NULL"
        case bytes():
            return f"X'{value.hex()}'"
        case float():
            return repr(value).replace("inf", "9e999")
        case _:
            return str(value)


def _plain(literal: str) -> str:
    """Return the text of a literal: a name, or a definition."""
    if literal.startswith("CAST"):
        raise DumpError(
            f"the name or definition {literal} is not UTF-8.", "Recreate that table, index, view or trigger."
        )
    return unquoted(literal, "'")


def _one(database: sqlite3.Connection, query: str) -> tuple[object, ...]:
    row: tuple[object, ...] = database.execute(query).fetchone()
    return row


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
