"""Contents of a PostgreSQL dump, read from its own stream while it passes.

The rules, whose version a manifest says:

* Rows are the lines of COPY. No table has an order: the digest is the sum of the SHA-256 of each row, modulo 2^256.
* Of a table that inherits, the columns have no order either, neither in the definition nor in the rows: a column that a
  parent got later follows the table's own, and precedes them after a reload. The values are in the order of their
  columns' names.
* The definition of a table, or of any other object, is the sum of the SHA-256 of each statement about it, without casts
  and parentheses (see `postgresql_statements.canonical`); values of sequences and large objects count.
* Whether the rows that are there were checked by a foreign key does not count: a load says so where it cannot.
* Owners, rights, publications, event triggers and comments on them, on extensions and on languages belong to the
  server, and do not count.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.databases.digest import AT_ONCE, DumpDigest, UnorderedRows
from lifeboat.databases.postgresql.statements import (
    OPTIONAL,
    Trailer,
    canonical,
    copied_columns,
    is_heir,
    read,
)
from lifeboat.databases.sql.reader import Reader, Statement
from lifeboat.errors import RestoreError

RULES = 2  # their version; a manifest that names none has digests by the first
UNCOUNTED = OPTIONAL | {"rows", "setting", "skipped", "refresh"}


def digest(
    sql: Iterable[bytes] | Reader,
    refused: Callable[[RestoreError], object] | None = None,
    see: Callable[[Statement | Trailer], object] = lambda statement: None,
) -> DumpDigest:
    """Read a whole dump.

    :param refused: takes why no restore would run a statement; by default it is raised. Where nothing can be read
        behind it, what was before is returned.
    :param see: takes each statement, before its rows are read.
    :raises RestoreError: it is none of pg_dump.
    """
    rows: dict[str, UnorderedRows | _InOrderOfNames] = {}
    heirs: set[str] = set()
    sums: Counter[tuple[str, str]] = Counter()
    filled: UnorderedRows | _InOrderOfNames = UnorderedRows(b"\n")
    large_object, place, complete = "", 0, False
    for piece in _readable(sql, refused):
        if isinstance(piece, bytes):
            for start in range(0, len(piece), AT_ONCE):
                filled.feed(piece[start : start + AT_ONCE])
            continue
        see(piece)
        complete = isinstance(piece, Trailer)
        if not isinstance(piece, Statement):
            continue
        if piece.kind == "rows" or (piece.kind == "table" and piece.sql.startswith(b"CREATE")):
            filled = _filled(piece, rows, heirs)
        if is_heir(piece):
            heirs.add(piece.name)
        if piece.kind in UNCOUNTED:
            continue
        text = canonical(piece)
        if piece.kind == "large object":
            # Their pieces have an order, and all but the first lack the name.
            large_object, place = (piece.name, 0) if piece.name else (large_object, place + 1)
            text = b"%d %b" % (place, text)
        sums[piece.kind, piece.name or large_object] += int.from_bytes(hashlib.sha256(text).digest(), "big")
    return DumpDigest(
        tables=tuple(
            TableDigest(name, count, "none", sha256, _hex(sums.pop(("table", name), 0)))
            for name, kept in rows.items()
            for count, sha256 in [kept.digest()]
        ),
        objects=tuple(ObjectDigest(kind, name, _hex(total)) for (kind, name), total in sums.items()),
        complete=complete,
    )


def _readable(
    sql: Iterable[bytes] | Reader, refused: Callable[[RestoreError], object] | None
) -> Iterator[Statement | Trailer | bytes]:
    try:
        yield from read(sql, refused)
    except RestoreError as error:
        if refused is None:
            raise
        refused(error)


def _filled(
    statement: Statement, rows: dict[str, UnorderedRows | _InOrderOfNames], heirs: Collection[str]
) -> UnorderedRows | _InOrderOfNames:
    """Return what takes the rows of the table that a statement makes or fills."""
    if statement.name in heirs and len(columns := copied_columns(statement)) > 1:
        rows[statement.name] = _InOrderOfNames(columns)
    elif statement.name not in rows:
        rows[statement.name] = UnorderedRows(b"\n")
    return rows[statement.name]


class _InOrderOfNames:
    """Rows of a table whose columns have no order: hashed as if they stood in the order of their names.

    :param columns: their names, as they stand.
    """

    def __init__(self, columns: Sequence[bytes]) -> None:
        self._rows = UnorderedRows(b"\n")
        self._values = itemgetter(*sorted(range(len(columns)), key=columns.__getitem__))
        self._open: list[bytes] = []  # of a row that has not ended yet

    def feed(self, text: bytes) -> None:
        head, newline, rest = text.rpartition(b"\n")
        if newline:
            rows = b"".join((*self._open, head)).split(b"\n")
            self._open = []
            try:
                self._rows.feed(b"".join(b"\t".join(self._values(row.split(b"\t"))) + b"\n" for row in rows))
            except IndexError as error:
                raise RestoreError("The dump has a row that lacks columns.", "Restore another archive.") from error
        self._open.append(rest)

    def digest(self) -> tuple[int, str]:
        return self._rows.digest()


def _hex(total: int) -> str:
    return f"{total % (1 << 256):064x}"
