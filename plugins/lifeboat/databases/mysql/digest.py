"""Contents of a dump, read from its own stream while it passes: tables with rows and digests, other objects.

The digests say whether a restored database equals the captured one, so they must not depend on how a client happens
to print the same data. The rules, whose version a manifest says:

* Rows are the text between the parentheses of INSERT, parentheses included, each followed by a comma: where one
  statement ends and the next begins does not count, nor whether the client writes a row a line (MariaDB) or a
  statement a line (MySQL). Values that the server computes are omitted: MySQL's client does not write them, and the
  definition determines them.
* A table with a primary key is dumped in its order, and its digest is the SHA-256 of its rows.
* Any other table has no order, nor has one whose history is dumped with it, and its digest is the sum of the SHA-256 of
  each row, modulo 2^256.
* A definition is what `mysql_definitions.canonical` makes of its statement. That of code is followed by the settings
  that it runs under, and that of a sequence by its value.

The parser is fed as the dump passes, and holds no row as a whole, so it is no `sql.reader`. It relies on what dump
clients guarantee: strings hold no raw newline (it is written ``\\n``), so a line that ends with ``;`` ends its INSERT;
of other statements, `statement_ends` says where they end. Rows that it does not understand fail the dump: they would be
in no digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.databases.digest import AT_ONCE, DumpDigest, UnorderedRows
from lifeboat.databases.mysql.definitions import CODE, Column, canonical, is_versioned, read_table
from lifeboat.databases.mysql.digest_rows import (
    SEPARATOR,
    FirstRow,
    StoredValues,
    altered,
    count_rows,
    one_row_a_line,
    whole_tokens,
)
from lifeboat.databases.mysql.lexis import Session
from lifeboat.databases.mysql.statements import (
    LONGEST_HEAD,
    NAME,
    classify,
    created,
    pattern,
    recognise,
    statement_ends,
    with_table_of,
)
from lifeboat.databases.sql.quoting import name_of
from lifeboat.errors import DumpError, RestoreError

RULES = 4  # their version; a manifest that names none has digests by the first
TRAILER = b"-- Dump completed"
SERVER = b"-- Server version"

_INSERT = pattern(
    rf"""(?:INSERT|REPLACE)\s+ (?:DELAYED\s+)? (?:IGNORE\s+)? INTO\s (?P<name> {NAME} )
    (?: \s\( (?P<columns> (?: {NAME} (?> ,\s? {NAME} )*+ )? ) \) )? \sVALUES(?P<space> [ \n])"""
)
_ROWS = pattern(r"(?: /\*M?!\d* \s* )? (?:INSERT|REPLACE|LOAD)\b")
_NAME = pattern(NAME)
_WHEN = (b"row_start", b"row_end")  # what clients call the columns that a versioned table has without naming them
_HISTORY = re.compile(rb"/\*M?!\d+ SET .*\bsystem_versioning_insert_history=(1|@)")
_END = re.compile(rb";\n")
# Of what clients set before each piece of code, what the code keeps; and what means the same by another name.
_KEPT = re.compile(
    rb"(?:/\*M?!\d+ )?SET (character_set_client|collation_connection|sql_mode|time_zone)\s*= *'?([^'*; ]*)",
    re.IGNORECASE,
)
_KEPT_BY: dict[str, tuple[bytes, ...]] = {
    "view": (b"character_set_client", b"collation_connection"),
    "event": (b"character_set_client", b"collation_connection", b"sql_mode", b"time_zone"),
    **dict.fromkeys(
        ("trigger", "procedure", "function", "package", "package body"),
        (b"character_set_client", b"collation_connection", b"sql_mode"),
    ),
}
_OLD_UTF8 = re.compile(rb"^utf8(?=_|$)")
_FORGOTTEN_MODE = b"NO_AUTO_CREATE_USER"  # MySQL 8 does not know it, and it means nothing for code
_SETVAL = re.compile(rb"-?\d+")
_SETTING = re.compile(rb"(?:/\*M?!\d+ )?SET ")
_USUAL_DELIMITER = b"DELIMITER ;\n"  # clients write it behind what had another
_BEHIND_EVENT = b"/*!50003 SET "  # MySQL's client continues like this
_PRIMARY_KEY = re.compile(rb"^  PRIMARY KEY ", re.MULTILINE)
_DELIMITER = re.compile(rb"DELIMITER (\S+)")
_DEFINITIONS = frozenset((*CODE, "table", "sequence"))


class _Rows(Protocol):
    """Takes rows, one a line, in pieces of any size; no piece ends inside a separator."""

    def feed(self, text: bytes) -> None: ...

    def digest(self) -> tuple[int, str]: ...


class _OrderedRows:
    """Rows in the order of a primary key."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rows = 0

    def feed(self, text: bytes) -> None:
        one_line = text.replace(b"\n", b"")
        self.add(one_line, len(text) - len(one_line))

    def add(self, text: bytes, ended: int) -> None:
        """Take rows on one line.

        :param ended: how many rows end in it.
        """
        self._hash.update(text)
        self._rows += ended

    def digest(self) -> tuple[int, str]:
        return self._rows, self._hash.hexdigest()


@dataclass
class _Table:
    """A table whose rows pass."""

    name: str
    definition_sha256: str
    order: Literal["primary key", "none"]
    rows: _Rows
    columns: tuple[Column, ...] = ()
    has_rows: bool = False


class _Insert:
    """Takes the rows of one INSERT.

    :param named: the columns that it names, in quotes; None where it names none.
    :param with_history: whether rows that were replaced or deleted are among them.
    :param a_line: whether the client gives each row a line.
    :raises DumpError: they are not the columns of the table's definition.
    """

    def __init__(self, table: _Table, named: list[bytes] | None, *, with_history: bool, a_line: bool) -> None:
        self.table = table.name
        self._a_line, self._inside = a_line, 0
        self._has_values = named != []
        stored = {column.name: with_history if column.is_period else not column.is_computed for column in table.columns}
        if named is None:
            named = list(stored)
        elif stored:
            needed = [name for name in named if stored.get(name, name not in _WHEN)]
            if needed != [name for name, is_stored in stored.items() if is_stored]:
                raise altered(table.name)
        kept = [stored.get(name, True) for name in named]
        # Rows that have an order and all of whose values count need not be taken apart.
        self._whole = table.rows if isinstance(table.rows, _OrderedRows) and all(kept) else None
        self._is_first = True
        self._take = table.rows.feed if all(kept) else StoredValues(table.name, kept, table.rows.feed).feed
        self._first_row = FirstRow(table.name, len(named)) if named and not table.has_rows else None
        table.has_rows = True

    def feed(self, text: bytes) -> None:
        """Take text in which no escape and nothing that stands between rows is cut in two.

        :raises DumpError: the rows do not have the columns of the table's definition.
        """
        if not self._has_values:  # and MySQL's client writes ``),))`` for two rows
            self._feed_rows((b"()" + SEPARATOR) * text.count(b","))
        elif self._a_line:
            self._feed_rows(text)
        elif self._whole and not self._first_row:
            begun, self._inside = count_rows(text, self._inside)
            self._whole.add(text.replace(b"\n", b"") if b"\n" in text else text, begun - self._is_first)
        else:
            lines, self._inside = one_row_a_line(text, self._inside)
            self._feed_rows(lines)
        self._is_first = False

    def close(self) -> None:
        """Take the end of the last row."""
        self._feed_rows(SEPARATOR if self._has_values else b"()" + SEPARATOR)

    def _feed_rows(self, text: bytes) -> None:
        if self._first_row:
            self._first_row.feed(text)
            if self._first_row.is_counted:
                self._first_row = None
        self._take(text)


class DumpParser:
    """Reads a dump as it passes, in chunks of any size and in bounded memory, also when a single row is huge.

    :param see: takes every statement that holds no rows.
    :param schema: that is dumped; its own name does not count in definitions.
    :param remark: takes every line that is in no statement: comments.
    """

    def __init__(
        self,
        see: Callable[[bytes], None] | None = None,
        *,
        schema: str = "",
        remark: Callable[[bytes], None] = lambda line: None,
    ) -> None:
        self._see, self._schema, self._remark = see, schema, remark
        self._rest = b""
        self._statement: list[bytes] = []
        self._delimiter = b";"
        self._tables: dict[str, _Table] = {}
        self._objects: dict[tuple[str, str], str] = {}
        self._kept: dict[bytes, bytes] = {}  # settings of the code that comes next
        self._insert: _Insert | None = None
        self._with_history = False
        self._session = Session()
        self._complete = False
        self._of_mariadb = False
        self.reached = 0
        """Bytes that were read so far; while a statement or a comment is passed on, where its last line begins."""

    @property
    def table(self) -> str:
        """The table of whose rows more will come; empty where none has begun."""
        return self._insert.table if self._insert else ""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the dump.

        :raises DumpError: rows of it would be in no digest, or do not fit their table.
        """
        text = self._rest + chunk if self._rest else chunk
        position, begun = 0, self.reached
        while (reached := self._step(text, position)) > position:
            position = reached
            self.reached = begun + position
        self._rest = text[position:]

    def finish(self) -> DumpDigest:
        """Return what the dump held, once its last byte was fed."""
        self.feed(b"\n")
        return DumpDigest(
            tables=tuple(
                TableDigest(table.name, rows, table.order, sha256, table.definition_sha256)
                for table in self._tables.values()
                for rows, sha256 in [table.rows.digest()]
            ),
            objects=tuple(ObjectDigest(kind, name, sha256) for (kind, name), sha256 in self._objects.items()),
            complete=self._complete,
        )

    def _step(self, text: bytes, position: int) -> int:
        """Read one thing that is there as a whole and return where it ends; `position` when more is needed."""
        if self._insert:
            return self._values(self._insert, text, position)
        if not self._statement and self._delimiter == b";" and text.startswith((b"INSERT", b"REPLACE"), position):
            return self._begin(text, position)
        end = text.find(b"\n", position) + 1
        if end:
            self._definition(text[position:end])
        return end or position

    def _begin(self, text: bytes, position: int) -> int:
        if head := _INSERT.match(text, position):
            named = None if head["columns"] is None else _NAME.findall(head["columns"])
            table = self._table(name_of(head["name"]))
            self._insert = _Insert(table, named, with_history=self._with_history, a_line=head["space"] == b"\n")
            return head.end()
        if len(text) - position > LONGEST_HEAD or _END.search(text, position):
            raise _not_understood(text[position : position + LONGEST_HEAD])
        return position

    def _values(self, insert: _Insert, text: bytes, position: int) -> int:
        stop = min(len(text), position + AT_ONCE)
        end = _END.search(text, position, stop)
        reached = end.start() if end else whole_tokens(text, position, stop)
        if reached > position:
            insert.feed(text[position:reached])
        if not end:
            return reached
        insert.close()
        self._insert = None
        return end.end()

    def _definition(self, line: bytes) -> None:
        if not self._tables and line.startswith(SERVER):
            self._of_mariadb = b"MariaDB" in line
        if not self._statement:
            if line.startswith(TRAILER):
                self._complete = True
            if delimiter := _DELIMITER.match(line):
                self._delimiter = delimiter[1]
            if delimiter or line == b"\n" or line.startswith(b"--"):
                self._remark(line)
                return
            self._complete = False  # the trailer is a trailer only when nothing but comments follows
        elif line.startswith(_BEHIND_EVENT) and self._has_ended(line):
            self._define_statement()
        is_over = self._delimiter != b";" and line == _USUAL_DELIMITER and self._has_its_delimiter()
        if not is_over:
            self._statement.append(line)
        if is_over or (line.rstrip().endswith(self._delimiter) and self._ends()):
            self._define_statement()
        if is_over:
            self._delimiter = b";"

    def _define_statement(self) -> None:
        self._define(b"".join(self._statement).rstrip().removesuffix(self._delimiter))
        self._statement.clear()

    def _has_its_delimiter(self) -> bool:
        """Return whether the last line of the statement ends with its delimiter, even if a string seems open."""
        return self._statement[-1].rstrip().endswith(self._delimiter)

    def _has_ended(self, line: bytes) -> bool:
        """Return whether a delimiter in a remark ended the statement, which the next line alone can tell."""
        if not self._has_its_delimiter():
            return False
        text = b"".join(self._statement)
        tokens = statement_ends(self._delimiter, self._session.lexis).finditer(text + line)
        end = next((token.end() for token in tokens if token.lastgroup in ("end", "open")), 0)
        return 0 < end <= len(text)

    def _ends(self) -> bool:
        """Return whether the delimiter ends the statement, and is not inside a string or comment."""
        text = b"".join(self._statement)
        if self._session.lexis.may_split(text):
            return True  # nobody knows here where its strings end; its line ends with a delimiter
        tokens = statement_ends(self._delimiter, self._session.lexis).finditer(text)
        return next((token.lastgroup == "end" for token in tokens if token.lastgroup in ("end", "open")), False)

    def _define(self, statement: bytes) -> None:
        if _ROWS.match(statement):
            raise _not_understood(statement)
        if _SETTING.match(statement):
            with contextlib.suppress(RestoreError, ValueError):  # what a load would refuse changes nothing here
                if setting := classify(statement, self._session.lexis, self._schema):
                    self._session.run(setting.sql)
            if kept := _KEPT.match(statement):
                self._kept[kept[1].lower()] = _plain_value(kept[2])
        if history := _HISTORY.match(statement):
            self._with_history = history[1] == b"1"
        if self._see:
            self._see(statement)
        made = recognise(statement)
        if made and made.kind == "sequence value":
            of = ("sequence", made.name)
            value = b",".join(_SETVAL.findall(made.sql, created(made).end("name")))
            self._objects[of] = hashlib.sha256(self._objects.get(of, "").encode() + value).hexdigest()
        if not made or made.kind not in _DEFINITIONS:
            return
        text = canonical(with_table_of(made, self._tables), self._schema, of_mariadb=self._of_mariadb)
        settings = (name + b"=" + self._kept.get(name, b"") for name in _KEPT_BY.get(made.kind, ()))
        sha256 = hashlib.sha256(b"\0".join((text, *settings))).hexdigest()
        if made.kind != "table":
            self._objects[made.kind, made.name] = sha256
            return
        table = self._table(made.name, sha256, ordered=bool(_PRIMARY_KEY.search(made.sql)) and not is_versioned(made))
        table.columns = read_table(made).columns

    def _table(self, name: str, definition_sha256: str = "", *, ordered: bool = False) -> _Table:
        if name not in self._tables:
            rows: _Rows = _OrderedRows() if ordered else UnorderedRows(SEPARATOR)
            self._tables[name] = _Table(name, definition_sha256, "primary key" if ordered else "none", rows)
        return self._tables[name]


def _plain_value(value: bytes) -> bytes:
    """Return the value of a setting in one spelling."""
    modes = sorted(set(value.upper().split(b",")) - {_FORGOTTEN_MODE, b""}) if value.upper() == value else [value]
    return b",".join(_OLD_UTF8.sub(b"utf8mb3", mode) for mode in modes)


def _not_understood(sql: bytes) -> DumpError:
    words = b" ".join(re.findall(rb"[A-Za-z]+", sql[:40])[:2]).decode()
    return DumpError(
        f"The dump has rows in a form that Lifeboat does not understand ({words}), so no digest would cover them.",
        "Dump with another version of the client.",
    )
