"""What a dump holds, read from its own stream while it passes: tables with rows and digests, other objects.

The digests say whether a restored database equals the captured one, so they must not depend on how a client happens
to print the same data. The rules, whose version a manifest says:

* Rows are the text between the parentheses of INSERT, parentheses included, each followed by ``,\\n``: where one
  statement ends and the next begins does not count, nor whether the client writes a row a line (MariaDB) or a
  statement a line (MySQL).
* A table with a primary key is dumped in its order, and its digest is the SHA-256 of its rows.
* Any other table has no order, and its digest is the sum of the SHA-256 of each row, modulo 2^256.
* A definition is the text of its statement without what a restore may change: AUTO_INCREMENT counters, definers,
  whether an event is enabled, and the schema that somebody typed before the name of a trigger or of its table.

The parser relies on what dump clients guarantee: strings hold no raw newline (it is written ``\\n``), so a line that
ends with ``;`` ends its INSERT, and an INSERT longer than the client's buffer holds one single row.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Protocol

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.databases.mysql_definitions import CODE, disabled, with_collations_only
from lifeboat.databases.mysql_statements import ROW, name_of, recognise

RULES = 2  # their version; a manifest that names none has digests by the first
TRAILER = b"-- Dump completed"
SEPARATOR = b",\n"
LONGEST_STATEMENT = 4 << 20  # four times what clients put into one INSERT of several rows

_QUOTED = rb"(`(?:[^`]|``)+`)"
_INSERT = re.compile(
    rb"INSERT (?:IGNORE )?INTO " + _QUOTED + rb"(?: \(`(?:[^`]|``)++`(?:, ?`(?:[^`]|``)++`)*+\))? VALUES([ \n])"
)
_END = re.compile(rb";\n")
_PRIMARY_KEY = re.compile(rb"^  PRIMARY KEY ", re.MULTILINE)
_DELIMITER = re.compile(rb"DELIMITER (\S+)")
_DEFINER = re.compile(rb" ?DEFINER=(?:`(?:[^`]|``)*+`|[^\s@=`]++)@(?:`(?:[^`]|``)*+`|[^\s*]++)")
_COUNTER = re.compile(rb" AUTO_INCREMENT=\d+")
_DEFINITIONS = frozenset((*CODE, "table", "sequence"))


@dataclass(frozen=True)
class DumpDigest:
    """What a dump holds, and whether its client said that it was complete."""

    tables: tuple[TableDigest, ...]
    objects: tuple[ObjectDigest, ...]
    complete: bool

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


class _Rows(Protocol):
    """Takes canonical rows in pieces of any size; no piece ends inside a separator."""

    def feed(self, text: bytes) -> None: ...

    def digest(self) -> tuple[int, str]: ...


class _OrderedRows:
    """Rows in the order of a primary key."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rows = 0

    def feed(self, text: bytes) -> None:
        self._hash.update(text)
        self._rows += text.count(b"\n")

    def digest(self) -> tuple[int, str]:
        return self._rows, self._hash.hexdigest()


class UnorderedRows:
    """Rows without an order: a sum does not care for one, and counts a row that is there twice two times.

    :param separator: stands behind each row.
    """

    def __init__(self, separator: bytes = SEPARATOR) -> None:
        self._separator = separator
        self._open = hashlib.sha256()
        self._sum = 0
        self._rows = 0

    def feed(self, text: bytes) -> None:
        first, *others = text.split(self._separator)
        self._open.update(first)
        if not others:
            return
        *whole, last = others
        self._rows += len(others)
        self._sum += int.from_bytes(self._open.digest(), "big")
        self._sum += sum(int.from_bytes(hashlib.sha256(row).digest(), "big") for row in whole)
        self._open = hashlib.sha256(last)

    def digest(self) -> tuple[int, str]:
        return self._rows, f"{self._sum % (1 << 256):064x}"


@dataclass
class _Table:
    definition_sha256: str
    order: Literal["primary key", "none"]
    rows: _Rows


class DumpParser:
    """Reads a dump as it passes, in chunks of any size and in bounded memory, also when a single row is huge."""

    def __init__(self) -> None:
        self._rest = b""
        self._statement: list[bytes] = []
        self._delimiter = b";"
        self._tables: dict[str, _Table] = {}
        self._objects: list[ObjectDigest] = []
        self._rows: _Rows | None = None  # the table whose INSERT is open
        self._row_a_line = True
        self._huge_row = False
        self._complete = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the dump."""
        text = self._rest + chunk if self._rest else chunk
        position = 0
        while (reached := self._step(text, position)) > position:
            position = reached
        self._rest = text[position:]

    def finish(self) -> DumpDigest:
        """Return what the dump held, once its last byte was fed."""
        self.feed(b"\n")
        return DumpDigest(
            tables=tuple(
                TableDigest(name, rows, table.order, sha256, table.definition_sha256)
                for name, table in self._tables.items()
                for rows, sha256 in [table.rows.digest()]
            ),
            objects=tuple(self._objects),
            complete=self._complete,
        )

    def _step(self, text: bytes, position: int) -> int:
        """Read one thing that is there as a whole and return where it ends; `position` when more is needed."""
        if self._rows is None:
            return self._line(text, position)
        if self._row_a_line or self._huge_row:
            return self._rows_a_line(self._rows, text, position)
        return self._statement_a_line(self._rows, text, position)

    def _line(self, text: bytes, position: int) -> int:
        if self._delimiter == b";" and (insert := _INSERT.match(text, position)):
            self._rows = self._table(name_of(insert[1])).rows
            self._row_a_line = insert[2] == b"\n"
            return insert.end()
        end = text.find(b"\n", position) + 1
        if end:
            self._definition(text[position:end])
        return end or position

    def _rows_a_line(self, rows: _Rows, text: bytes, position: int) -> int:
        if end := _END.search(text, position):
            rows.feed(text[position : end.start()])
            self._close(rows)
            return end.end()
        reached = len(text) - text.endswith((b",", b";"))  # may be the first half of what ends a row or the INSERT
        rows.feed(text[position:reached])
        return reached

    def _statement_a_line(self, rows: _Rows, text: bytes, position: int) -> int:
        if end := _END.search(text, position):
            statement = text[position : end.start()]
            found = ROW.findall(statement)
            rows.feed(SEPARATOR.join(found))
            self._close(rows)
            return end.end()
        self._huge_row = len(text) - position > LONGEST_STATEMENT
        return position

    def _close(self, rows: _Rows) -> None:
        rows.feed(SEPARATOR)
        self._rows, self._huge_row = None, False

    def _definition(self, line: bytes) -> None:
        if not self._statement:
            if line.startswith(TRAILER):
                self._complete = True
            if delimiter := _DELIMITER.match(line):
                self._delimiter = delimiter[1]
            if delimiter or line == b"\n" or line.startswith(b"--"):
                return
            self._complete = False  # the trailer is a trailer only when nothing but comments follows
        self._statement.append(line)
        if line.rstrip().endswith(self._delimiter):
            self._define(b"".join(self._statement).rstrip().removesuffix(self._delimiter))
            self._statement.clear()

    def _define(self, statement: bytes) -> None:
        made = recognise(statement)
        if not made or made.kind not in _DEFINITIONS:
            return
        rules = {"event": disabled, "table": with_collations_only}
        text = rules[made.kind](made).sql if made.kind in rules else made.sql
        text = _COUNTER.sub(b"", _DEFINER.sub(b"", text))
        sha256 = hashlib.sha256(text).hexdigest()
        if made.kind == "table":
            self._table(made.name, sha256, ordered=bool(_PRIMARY_KEY.search(text)))
        else:
            self._objects.append(ObjectDigest(made.kind, made.name, sha256))

    def _table(self, name: str, definition_sha256: str = "", *, ordered: bool = False) -> _Table:
        if name not in self._tables:
            rows: _Rows = _OrderedRows() if ordered else UnorderedRows()
            self._tables[name] = _Table(definition_sha256, "primary key" if ordered else "none", rows)
        return self._tables[name]
