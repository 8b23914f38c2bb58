"""The transactions of binary logs, as a list to choose a moment from: nothing of a row's or a statement's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lifeboat.databases.mysql.binlog import (
    ANONYMOUS,
    COMPRESSED_QUERY,
    FORMAT,
    GTID,
    MARIADB_GTID,
    PAYLOAD,
    QUERY,
    Event,
    UnreadableLogError,
)
from lifeboat.databases.mysql.gtids import gtids_of
from lifeboat.databases.mysql.lexis import tokens
from lifeboat.databases.mysql.log_events import (
    DELETES,
    ROWS,
    TABLE_MAP,
    WRITES,
    Query,
    events_within,
    read_gtid,
    read_mariadb_gtid,
    read_query,
    read_rows,
    read_table,
    without_compression,
)
from lifeboat.databases.mysql.log_statements import kind_of
from lifeboat.databases.mysql.replay import Piece, events_of, opened_payload

LONGEST = 2000  # bytes of a statement that are shown
_OPEN = ("'", '"', "`")  # what has no end
_CONTROL = (b"BEGIN", b"COMMIT", b"ROLLBACK", b"START TRANSACTION", b"SAVEPOINT", b"RELEASE SAVEPOINT", b"XA ")
_SHOWN = ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE")
_SECRETS = frozenset(("USER", "ROLE", "SERVER", "PASSWORD"))
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Counts:
    """Events of rows that a transaction has of a table, each of up to some kilobytes of rows."""

    insert_events: int = 0
    update_events: int = 0
    delete_events: int = 0


@dataclass(frozen=True)
class Transaction:
    """One transaction of a log.

    :param gtid: empty where the server gave none.
    :param time: of its commit; MariaDB logs whole seconds.
    :param file: of the log; it begins at `position` there and ends at `end`.
    :param bytes: that it takes in the log.
    :param changes: of rows, by schema and table, with a dot between them.
    :param statement: what it says if it is a statement, without texts; the kind alone where it holds values; empty for
        rows.
    """

    gtid: str
    time: datetime
    file: str
    position: int
    end: int
    bytes: int
    changes: Mapping[str, Counts]
    statement: str


def transactions(pieces: Iterable[tuple[Piece, Iterable[bytes]]]) -> Iterator[Transaction]:
    """Yield the transactions of logs.

    :param pieces: in the order of the server's log, each with its bytes.
    :raises LogError: they are damaged, or of an unknown form.
    """
    for piece, chunks in pieces:
        reading = _Reading(piece.file)
        skips = gtids_of(piece.skips) if piece.skips else None
        for event in events_of(piece, chunks):
            try:
                found = reading.take(event)
            except (ValueError, LookupError) as error:
                raise UnreadableLogError(
                    f"Binary log {piece.file} cannot be read at position {event.start}: an event of kind {event.kind}"
                    " is malformed."
                ) from error
            if found and not (skips and skips.has(found.gtid)):
                yield found


@dataclass
class _Reading:
    """Reads one file, transaction by transaction."""

    file: str
    is_mariadb: bool = False
    gtid: str = ""
    time: datetime = _EPOCH
    start: int = 0
    tables: dict[int, str] = field(default_factory=dict)
    changes: dict[str, dict[str, int]] = field(default_factory=dict)
    statement: str = ""

    def take(self, event: Event) -> Transaction | None:
        """Take an event; return the transaction that it ends."""
        if event.kind == FORMAT:
            self.is_mariadb = b"MariaDB" in event.body[2:52]
        elif event.opens:
            self._open(event)
        elif event.kind == PAYLOAD:
            for inner in events_within(opened_payload(event), event):
                self._within(inner)
        else:
            self._within(without_compression(event))
        return self._transaction(event) if event.ends else None

    def _open(self, event: Event) -> None:
        self.gtid, committed = "", 0
        if event.kind == MARIADB_GTID:
            self.gtid = read_mariadb_gtid(event).text
        elif event.kind in (GTID, ANONYMOUS):
            self.gtid, committed, *_ = read_gtid(event)
        seconds = timedelta(microseconds=committed) if committed else timedelta(seconds=event.time)
        self.time, self.start = _EPOCH + seconds, event.start
        self.tables, self.changes, self.statement = {}, {}, ""

    def _within(self, event: Event) -> None:
        if event.kind == TABLE_MAP:
            table = read_table(event.body)
            self.tables[table.number] = ".".join(name.decode() for name in (table.schema, table.name))
        elif event.kind in ROWS:
            name = self.tables[read_rows(event.kind, event.body).number]
            kind = "insert" if event.kind in WRITES else "delete" if event.kind in DELETES else "update"
            counts = self.changes.setdefault(name, {})
            counts[f"{kind}_events"] = counts.get(f"{kind}_events", 0) + 1
        elif event.kind in (QUERY, COMPRESSED_QUERY):
            query = read_query(event, of_mariadb=self.is_mariadb)
            if not query.text.startswith(_CONTROL):
                self.statement = self.statement or _shown(query)

    def _transaction(self, event: Event) -> Transaction:
        changes = {name: Counts(**counts) for name, counts in self.changes.items()}
        size = event.end - self.start
        return Transaction(self.gtid, self.time, self.file, self.start, event.end, size, changes, self.statement)


def _shown(query: Query) -> str:
    """Return a statement as it may be shown: a definition without its texts, of any other its kind."""
    lexis = query.settings.lexis()
    kind = kind_of(query.text, lexis)
    if not kind.startswith(_SHOWN) or not _SECRETS.isdisjoint(kind.split()):
        return kind
    shown, reached = b"", 0
    for token in tokens(query.text, lexis):
        if token.shape in _OPEN or len(shown) > LONGEST:
            return f"{shown.decode('utf-8', 'replace')} ..."
        is_text = token.shape in ("string", "quoted")
        shown += b" " if shown and token.start > reached else b""
        shown += b"'...'" if is_text else query.text[token.start : token.end]
        reached = token.end
    return shown.decode("utf-8", "replace")
