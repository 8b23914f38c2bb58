"""Row events of one schema, made ready for another: judged by the tables that they name, and by nothing else.

A server runs row events of any table for users who can run them at all. So each is passed on only if the event that
names its table was passed on for the same statement, and that one always names the schema to be filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lifeboat.databases.mysql.binlog import Event
from lifeboat.databases.mysql.log_events import (
    DELETES,
    END_OF_STATEMENT,
    UPDATES,
    Rows,
    Table,
    encoded,
    read_rows,
    read_table,
)
from lifeboat.databases.mysql.log_statements import EXCLUDED, SPREADING, Aim

PIECE = 1 << 20  # bytes of one statement that the server is given at once


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Row events of one statement, or of a part of it, that the server takes by itself.

    :param tables: that they change.
    """

    events: bytes
    tables: frozenset[str]


class RowStatements:
    """Collects the row events of a transaction, statement by statement.

    :param aim: which schema is replayed, and where.
    :param with_crc: whether the server expects checksums.
    :param cascades: returns whether the server changes other tables where a key of a table changes.
    :param spreads: returns whether changes of a table changed others, too, of which the log has nothing.
    """

    def __init__(
        self, aim: Aim, *, with_crc: bool, cascades: Callable[[str], bool], spreads: Callable[[str], bool]
    ) -> None:
        self._aim, self._with_crc, self._cascades, self._spreads = aim, with_crc, cascades, spreads
        self._target = aim.target.encode()
        self._tables: dict[int, tuple[Table, bytes]] = {}  # with the event for the server; that is empty of others'
        self._held: list[tuple[Event, Rows]] = []
        self._size = 0
        self._has_spread = False
        self.left_out = Counter[str]()
        """Statements on excluded tables, by what that means for others."""

    @property
    def is_open(self) -> bool:
        """Return whether a statement has begun and not ended."""
        return bool(self._tables or self._held)

    def name_table(self, event: Event) -> None:
        """Take an event that says which table the rows of a number are of.

        :raises ValueError: it is malformed, or another table has the number.
        """
        table = read_table(event.body)
        known = self._tables.get(table.number)
        if known and known[0][2:] != table[2:]:
            raise ValueError("two tables of one number")
        mapped = encoded(event, table.body(self._target), with_crc=self._with_crc) if self._is_ours(table) else b""
        self._tables[table.number] = table, mapped

    def add(self, event: Event) -> Iterator[RowChanges]:
        """Take rows; yield what the server can be given.

        :raises ValueError: they are malformed, or of a table that was not named.
        """
        rows = read_rows(event.kind, event.body)
        if rows.number not in self._tables:
            raise ValueError("rows of a table that was not named before")
        ends = bool(rows.flags & END_OF_STATEMENT)
        if self._tables[rows.number][1]:
            if self._held and self._size + len(event.body) > PIECE:
                yield from self._changes()
            self._held.append((event, rows))
            self._size += len(event.body)
        else:
            self._has_spread = self._has_spread or self._may_spread(event, self._tables[rows.number][0])
        if ends:
            self._count()
            if self._held:
                yield from self._changes()
            self._tables.clear()

    def _may_spread(self, event: Event, table: Table) -> bool:
        """Return whether rows of a table that is not there were deleted or changed, and others with them."""
        is_here = event.kind in DELETES | UPDATES and self._aim.is_source(_text(table.schema))
        return is_here and self._spreads(_text(table.name))

    def _count(self) -> None:
        """Count a statement at its end, if something of it is omitted."""
        if self._has_spread:
            self.left_out[SPREADING] += 1
        elif not self._held and any(self._aim.is_source(_text(table.schema)) for table, _ in self._tables.values()):
            self.left_out[EXCLUDED] += 1
        self._has_spread = False

    def _changes(self) -> Iterator[RowChanges]:
        """Yield what is held, as separate statements: the server reads once for each whether it checks foreign keys."""
        held, self._held, self._size = self._held, [], 0
        for is_checked, some in groupby(held, self._is_checked):
            yield self._statement(list(some), is_checked=is_checked)

    def _statement(self, held: Sequence[tuple[Event, Rows]], *, is_checked: bool) -> RowChanges:
        last = len(held) - 1
        changes = [
            encoded(event, rows.body(ends=place == last, is_checked=is_checked), with_crc=self._with_crc)
            for place, (event, rows) in enumerate(held)
        ]
        named = [self._tables[number] for number in dict.fromkeys(rows.number for _, rows in held)]
        return RowChanges(
            b"".join([*(mapped for _, mapped in named), *changes]),
            frozenset(_text(table.name) for table, _ in named),
        )

    def _is_checked(self, held: tuple[Event, Rows]) -> bool:
        """Return whether the server may check the foreign keys of rows; where it may not, it passes nothing on either.

        A deletion lacks no parent. A changed key is passed on, so parents that are missing end the replay there.
        """
        event, rows = held
        table = _text(self._tables[rows.number][0].name)
        if event.kind in DELETES or not self._aim.lacks_parents(table):
            return True
        return event.kind in UPDATES and self._cascades(table)

    def _is_ours(self, table: Table) -> bool:
        return self._aim.is_source(_text(table.schema)) and not self._aim.is_excluded(_text(table.name))


def _text(name: bytes) -> str:
    return name.decode()
