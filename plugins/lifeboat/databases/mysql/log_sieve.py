"""Omits events of other schemas from a binary log on its way into an archive; the rest is a valid log.

Omitted are rows of statements that change tables of other schemas alone, and statements that certainly change nothing
of the wanted ones: definitions elsewhere, users and grants. Every transaction stays, with its GTID and its end, so gaps
are within transactions only, and as long as the bytes that are counted here. Whatever is not exactly as servers write
it stays: the wanted schemas come first.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lifeboat.databases.mysql.binlog import (
    ANONYMOUS,
    COMPRESSED_QUERY,
    CRC_BYTES,
    FIRST,
    FORMAT,
    GTID,
    HEAD,
    MARIADB_GTID,
    PAYLOAD,
    QUERY,
    TAGGED,
    Event,
    UnreadableLogError,
    is_standalone,
    opens_transaction,
)
from lifeboat.databases.mysql.log_events import (
    COMPRESSED_ROWS,
    END_OF_STATEMENT,
    INTVAR,
    RAND,
    ROWS,
    ROWS_QUERY,
    TABLE_MAP,
    USER_VAR,
    Query,
    check_format,
    encoded,
    read_query,
    read_table,
)
from lifeboat.databases.mysql.log_statements import Aim, concerns

LONGEST = 256 << 10  # bytes of an event that is looked at whole
MOST_HELD = 4 << 20  # bytes of events that wait for what follows
ANNOTATE = 160
_LOADS = frozenset({9, 11, 17, 18})  # what LOAD DATA reads, where it is logged as a statement

_OPENING = frozenset({GTID, ANONYMOUS, TAGGED, MARIADB_GTID})
_REMARKS = frozenset({ROWS_QUERY, ANNOTATE})  # the text of the statement whose rows follow
_VARIABLES = frozenset({INTVAR, RAND, USER_VAR})
_ROWS = ROWS | COMPRESSED_ROWS.keys()
_STATEMENTS = frozenset({QUERY, COMPRESSED_QUERY})
_WHOLE = _OPENING | _REMARKS | _VARIABLES | _STATEMENTS | {FORMAT, TABLE_MAP}
_ROWS_HEAD = struct.Struct("<IHH")  # 48 bits of a table's number, and flags
_CONTROL = re.compile(rb"\s*(?:BEGIN|START TRANSACTION|COMMIT|ROLLBACK|SAVEPOINT|RELEASE SAVEPOINT|XA)\b")
# Triggers, views and functions may change other schemas than these name.
_ROW_CHANGE = re.compile(rb"\s*(?:INSERT|REPLACE|UPDATE|DELETE|SELECT|DO|WITH|CALL|LOAD)\b", re.IGNORECASE)
_COMMIT = struct.pack("<IIBHHx", 0, 0, 0, 0, 0) + b"COMMIT"


@dataclass
class Tally:
    """Events of a log, and their bytes."""

    events: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count an event."""
        self.events += 1
        self.bytes += size


class Sieve:
    """Takes the bytes of a piece of a log, and returns those that stay.

    :param schemas: whose events stay.
    :param collations: returns the character set and the name of a collation by its number.
    """

    def __init__(self, file: str, schemas: Collection[str], collations: Callable[[int], tuple[str, str]]) -> None:
        self._file, self._collations = file, collations
        self._aims = [Aim(schema, schema, folds=True) for schema in schemas]
        self.left_out = Tally()
        """Events of others; where a transaction is one such statement, a COMMIT takes its place."""
        self.untold = Tally()
        """Events of others that stay, and those of which nothing says whose they are."""
        self._rest = b""
        self._left = FIRST  # bytes of what passes or does not: the magic number passes
        self._passes = True
        self._is_blind = False  # the log is of a form that is not known
        self._is_mariadb = False
        self._crc_bytes = CRC_BYTES  # the format event always has one
        self._is_first = False  # no statement of the transaction has come
        self._is_alone = False  # the transaction is one statement of MariaDB
        self._held: list[bytes] = []  # what belongs to what follows
        self._held_bytes = 0
        self._has_remark = False
        self._tables: dict[int, bool] = {}  # of the statement by number: whether their rows stay
        self._keeps: bool | None = None  # what becomes of the statement's rows; None before they begin
        self._out: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, whose checksums are right; return what stays of them.

        :raises UnreadableLogError: a statement names a table only behind rows that are gone.
        """
        data, at = self._rest + chunk, 0
        while True:
            taken = min(self._left, len(data) - at)
            if taken and self._passes:
                self._out.append(data[at : at + taken])
            at += taken
            self._left -= taken
            if self._left or len(data) - at < HEAD.size:
                break
            time, kind, server, size, end, _ = HEAD.unpack_from(data, at)
            needed = self._needed(kind, size)
            if len(data) - at < needed:
                break
            raw = data[at : at + needed]
            body = raw[HEAD.size : needed - self._crc_bytes] if needed == size else raw[HEAD.size :]
            self._left = size
            self._passes = self._is_blind or self._stays(Event(kind, time, server, 0, 0, end, body), raw, size)
        self._rest = data[at:]
        return self._passed()

    def end(self) -> bytes:
        """Return what still waits for events that did not come: no server writes that, so it stays."""
        self._settle(stays=True)
        return self._passed()

    def _passed(self) -> bytes:
        stays, self._out = b"".join(self._out), []
        return stays

    @staticmethod
    def _needed(kind: int, size: int) -> int:
        """Return how many bytes of an event say what becomes of it."""
        if kind in _WHOLE and size <= LONGEST:
            return size
        return HEAD.size + (_ROWS_HEAD.size if kind in _ROWS else 0)

    def _stays(self, event: Event, raw: bytes, size: int) -> bool:
        """Return whether an event passes at once.

        :param raw: its bytes, as far as they are needed.
        """
        kind, is_whole = event.kind, len(raw) == size
        if kind in _ROWS:
            return self._rows_stay(event, size)
        if kind == TABLE_MAP and is_whole:
            return self._table_stays(event, raw)
        if kind in _REMARKS:
            self._has_remark = True
            return self._holds(raw, size) if is_whole else self._counted(size, stays=False)
        if kind in _VARIABLES and is_whole and self._keeps is None:
            return self._holds(raw, size)
        if kind in _STATEMENTS:
            return self._statement_stays(event, size, is_whole=is_whole)
        self._settle(stays=any(self._tables.values()) or not (self._tables or self._has_remark))
        if kind == FORMAT:
            self._begin_file(event.body)
        elif kind in _OPENING:
            self._is_first, self._is_alone = True, kind == MARIADB_GTID and is_standalone(event.body)
            self._end_statement()
        elif kind == PAYLOAD or kind in _LOADS:
            self.untold.add(size)
        return True

    def _begin_file(self, body: bytes) -> None:
        self._is_mariadb = b"MariaDB" in body[2:52]
        self._crc_bytes = CRC_BYTES if body[-1:] == b"\x01" else 0
        try:
            check_format(body)
        except ValueError:
            self._is_blind = True

    def _counted(self, size: int, *, stays: bool) -> bool:
        if not stays:
            self.left_out.add(size)
        return stays

    def _holds(self, raw: bytes, size: int) -> bool:
        """Hold an event until what follows says what becomes of it, unless that is known."""
        if self._keeps is not None:
            return self._counted(size, stays=self._keeps)
        self._held.append(raw)
        self._held_bytes += size
        if self._held_bytes > MOST_HELD:
            self._keeps = True
            self._settle(stays=True)
        return False

    def _settle(self, *, stays: bool) -> None:
        """Pass on or drop what was held."""
        if stays:
            self._out += self._held
        else:
            for raw in self._held:
                self.left_out.add(len(raw))
        self._held, self._held_bytes, self._has_remark = [], 0, False

    # Rows.

    def _table_stays(self, event: Event, raw: bytes) -> bool:
        try:
            table = read_table(event.body)
            number, stays = table.number, self._is_ours(table.schema.decode())
        except (ValueError, IndexError):
            number, stays = -1, True
        self._tables[number] = stays or self._tables.get(number, False)
        if stays and self._keeps is False:
            raise UnreadableLogError(
                f"Binary log {self._file} cannot be read at position {event.end}: tables are named between rows."
            )
        return self._holds(raw, len(raw))

    def _rows_stay(self, event: Event, size: int) -> bool:
        low, high, flags = _ROWS_HEAD.unpack(event.body)
        is_ours = self._tables.get(low | high << 32, True)
        if self._keeps is None:
            self._keeps = is_ours or any(self._tables.values())
            self._settle(stays=self._keeps)
        stays = self._counted(size, stays=self._keeps)
        if stays and not is_ours:
            self.untold.add(size)
        if flags & END_OF_STATEMENT:
            self._end_statement()
        return stays

    def _end_statement(self) -> None:
        self._tables, self._keeps = {}, None

    def _is_ours(self, schema: str) -> bool:
        """Return whether a schema is, or may be, one of those that stay: servers fold letters in their own way."""
        if any(aim.is_source(schema) for aim in self._aims):
            return True
        return not schema.isascii() and not all(aim.source.isascii() for aim in self._aims)

    # Statements.

    def _statement_stays(self, event: Event, size: int, *, is_whole: bool) -> bool:
        first, self._is_first = self._is_first, False
        try:
            query = read_query(event, of_mariadb=self._is_mariadb) if is_whole else None
            is_ours = self._is_of_ours(query) if query else None
        except (ValueError, IndexError, struct.error):
            query = is_ours = None
        commit = b""
        if query and (self._is_alone if self._is_mariadb else first and not opens_transaction(query.text, query.text)):
            commit = encoded(event._replace(kind=QUERY, body=b""), _COMMIT, with_crc=bool(self._crc_bytes))
        if is_ours is False and len(commit) <= size:
            self._settle(stays=any(self._tables.values()))
            self._out.append(commit)
            self.left_out.add(size - len(commit))
            return False
        self._settle(stays=True)
        if is_ours is None:
            self.untold.add(size)
        return True

    def _is_of_ours(self, query: Query) -> bool | None:
        """Return whether a statement is about the schemas that stay; None where nothing says so for certain."""
        default, settings = query.schema.decode("utf-8", "surrogateescape"), query.settings
        if _CONTROL.match(query.text):
            return True
        if _ROW_CHANGE.match(query.text):
            return True if self._is_ours(default) else None
        if not (query.text.isascii() and default.isascii()) and not all(aim.source.isascii() for aim in self._aims):
            return None
        updated = [name.decode("utf-8", "surrogateescape") for name in settings.updated or ()]
        sets = settings.character_sets
        lexis = settings.lexis(self._collations(sets[0])[0]) if sets else settings.lexis()
        return concerns(query.text, lexis, default, updated, self._aims)
