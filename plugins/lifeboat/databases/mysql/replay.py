"""Replays binary logs of MySQL and MariaDB into a schema that a dump was loaded into, up to a moment.

Transactions are collected whole before anything of them runs, as only their end says what becomes of them: they are
committed, rolled back, or prepared for somebody who commits them later (XA). Only a very large one is given to the
server as it comes, in a separate transaction.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from lifeboat.databases import LogPosition, Server
from lifeboat.databases.mysql.applier import Applier, Ask, Change, RefusedError, check_code
from lifeboat.databases.mysql.binlog import (
    ANONYMOUS,
    COMPRESSED_QUERY,
    FORMAT,
    GTID,
    GTID_LIST,
    INCIDENT,
    MARIADB_GTID,
    PAYLOAD,
    PREVIOUS_GTIDS,
    QUERY,
    ROTATE,
    XA_PREPARE,
    XID,
    Event,
    Walk,
)
from lifeboat.databases.mysql.code import Code
from lifeboat.databases.mysql.dump import CONNECTION_HINTS, UNFINISHED, translated
from lifeboat.databases.mysql.gtids import MariaDBGtids, MySQLGtids
from lifeboat.databases.mysql.log_events import (
    INTVAR,
    RAND,
    ROLLBACK_ALTER,
    ROWS,
    ROWS_QUERY,
    START_ALTER,
    TABLE_MAP,
    USER_VAR,
    Gtid,
    Query,
    Variable,
    check_format,
    encoded_format,
    events_within,
    payload_of,
    read_gtid,
    read_mariadb_gtid,
    read_query,
    read_variables,
    without_compression,
)
from lifeboat.databases.mysql.log_readers import names_one
from lifeboat.databases.mysql.log_rows import RowStatements
from lifeboat.databases.mysql.log_statements import (
    CHANGES,
    EXCLUDED,
    SPREADING,
    Aim,
    Judged,
    RefusedStatementError,
    judge,
    kind_of,
)
from lifeboat.databases.mysql.target import TRUST, session_in
from lifeboat.errors import LogError, RestoreError

LACKING = "view or code that lacks something"
MARK = "mark of an unfinished restore"
HELD = 8 << 20  # bytes of a transaction from which on it runs before its end is known
HELD_XA = 64 << 20  # bytes of all transactions that wait for somebody to commit them
CHUNK = 1 << 20

STOP, CHECKPOINT, START_ENCRYPTION, ANNOTATE, CONTEXT, VIEW_CHANGE = 3, 161, 164, 160, 36, 37
BEGIN_LOAD, APPEND_LOAD, DELETE_LOAD, EXECUTE_LOAD = 17, 9, 11, 18
THREAD_SPECIFIC = 4  # flag of an event
_BETWEEN = frozenset({PREVIOUS_GTIDS, GTID_LIST, ROTATE, STOP, CHECKPOINT, START_ENCRYPTION})
_REMARKS = frozenset({ROWS_QUERY, ANNOTATE, CONTEXT, VIEW_CHANGE, BEGIN_LOAD, APPEND_LOAD, DELETE_LOAD, CHECKPOINT})
_OPENING = frozenset({GTID, ANONYMOUS, MARIADB_GTID})
_XA = re.compile(rb"XA (START|END|COMMIT|ROLLBACK) (X'[0-9A-Fa-f]*',X'[0-9A-Fa-f]*',\d+)( ONE PHASE)?")
_SAVEPOINT = re.compile(
    rb"(?:SAVEPOINT|ROLLBACK TO(?: SAVEPOINT)?|RELEASE SAVEPOINT) (?:`(?:[^`]|``)+`|[A-Za-z0-9_$]+)"
)
_COPYING = re.compile(rb"[^(]*(?:\(\s*)?\bLIKE\b|.*\bSELECT\b", re.DOTALL | re.IGNORECASE)
_OF_SEVERAL = re.compile(  # a DELETE with a list of tables
    rb"\s*DELETE\b(?:(?:\s+(?:LOW_PRIORITY|QUICK|IGNORE)\b)*+\s++(?!FROM\b)|.*\bUSING\b)", re.DOTALL | re.IGNORECASE
)
_PREPARED = struct.Struct("<BIII")
_VERSION = re.compile(rb"..(\d+)\.(\d+)", re.DOTALL)  # in a format event
_CREATED = struct.Struct("<52xI")  # there, when a server that has just started began the file
_LOGS_CASCADES = (9, 6)  # from this version on, MySQL logs what foreign keys change
_ZSTD, _PLAIN = 0, 255
_ROWS_SAY = "binlog_format=ROW logs what it changed"
_EPOCH = datetime.fromtimestamp(0, UTC)

_EARLIER = "Restore to a moment before it; a drill of the chain shows whether the logs lead on from the backup."
_HINTS = CONNECTION_HINTS | {
    1032: f"A row that it changes is not there, as with FLOAT columns and no primary key. {_EARLIER}",
    1062: f"It writes a key that is there already. {_EARLIER}",
    1114: "The server's disk or memory is full.",
    1142: "It reaches another schema, which a replay may not. Restore to a moment before that place.",
    1146: "It needs a table that the backup excludes, or that lies in another schema. Restore to a moment before that"
    " place.",
    1153: "Raise max_allowed_packet on the server; 1G is the most.",
    1205: "That schema is in use. Stop the application; SHOW PROCESSLIST shows other users.",
    1227: "It needs a right that no replay has. Restore to a moment before that place.",
    1231: "It sets a value that this server does not know: replay on a server of the same kind and version.",
    1273: "It names a collation that this server does not know: replay on a server of the same kind and version.",
    1286: "It needs a storage engine that this server does not have.",
    1290: "The server is read-only; restore to the primary.",
    1305: "It calls a routine that the backup does not hold. Restore to a moment before that place.",
    1418: TRUST,
    1419: TRUST,
    1452: "It writes a row whose parent is not there. If the backup excludes the parent's rows, let the server log rows"
    f" from now on (binlog_format=ROW). {_EARLIER}",
    4085: "MariaDB cannot replay sequences that were logged with binlog_row_image=MINIMAL.",
}


class ReplayError(RestoreError):
    """A replay stopped at a place in the logs; nothing that was replayed counts then."""


@dataclass(frozen=True)
class Stop:
    """The end of a replay: the first that is reached counts; without any, the end of the logs.

    :param time: every transaction up to the first one that committed later. MariaDB logs whole seconds.
    :param gtid: this transaction is the last one ...
    :param before: ... or the first one that is not in.
    :param position: exactly there, where a later dump was taken.
    """

    time: datetime | None = None
    gtid: str = ""
    before: bool = False
    position: LogPosition | None = None


@dataclass(frozen=True)
class Replay:
    """The part of the logs to replay.

    :param source: the database as the logs name it.
    :param begin: position of the dump that was loaded; what is before it is skipped.
    :param excluded: tables whose rows the dump does not hold.
    :param unchecked: foreign keys, each behind its table, that refer to those.
    """

    source: str
    begin: LogPosition
    stop: Stop = field(default_factory=Stop)
    excluded: frozenset[str] = frozenset()
    unchecked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Replayed:
    """The facts of a replay.

    :param transactions: of the database, applied.
    :param others: of other databases alone.
    :param last_gtid: of the last transaction, of any database, that is in; empty where it has none.
    :param last_commit: when that committed; None where nothing was replayed.
    :param statements: definitions that ran.
    :param left_out: what was not replayed within the reach of the database: how many of each kind.
    """

    transactions: int
    others: int
    last_gtid: str
    last_commit: datetime | None
    statements: int
    left_out: Mapping[str, int]
    seconds: float


class Events(Protocol):
    """Events of a log, counted."""

    @property
    def bytes(self) -> int:
        """Their length."""


class Piece(Protocol):
    """A piece of a log file: the facts of it that a replay needs."""

    @property
    def file(self) -> str:
        """Name of the file."""

    @property
    def start(self) -> int:
        """Position of its first event behind the format event."""

    @property
    def server(self) -> str:
        """Identity of the server that wrote it."""

    @property
    def left_out(self) -> Events:
        """Events that its transactions lack."""

    @property
    def skips(self) -> str:
        """GTIDs of what the server before it has logged; empty where no other server was before it."""


def replay(
    connect: Callable[..., Any],
    server: Server,
    schema: str,
    pieces: Iterable[tuple[Piece, Iterable[bytes]]],
    replay: Replay,
    *,
    code: Code | None = None,
    role: str = "",
) -> Replayed:
    """Replay logs into a schema.

    :param connect: opens a DB-API connection to `server`, as an account that has rights on the schema only.
    :param pieces: in the order of the server's log, each with its bytes.
    :param code: remembers whose the code is that statements make.
    :param role: in which the account may run events of a log; it does nothing else in it.
    :raises ReplayError: it stopped at a place in the logs, which the message names.
    """
    started = time.monotonic()
    where = f"Restore of database {schema!r} on {server.address} failed: "
    with translated(where, ReplayError, _HINTS), session_in(connect, schema) as session:
        code = code or Code()
        is_mariadb = "MariaDB" in session.version()
        check_code(session, schema)
        folds = session.stored("A") == "a"
        excluded = replay.excluded | {UNFINISHED}  # earlier restores have logged theirs; the mark of this one must stay
        aim = Aim(replay.source, schema, excluded, folds, replay.unchecked)
        running = _Replaying(
            Applier(session, schema, code, role, is_mariadb=is_mariadb), aim, replay, is_mariadb=is_mariadb
        )
        running.read(pieces)
    return Replayed(
        transactions=running.transactions,
        others=running.others,
        last_gtid=running.last_gtid,
        last_commit=running.last_commit,
        statements=running.statements,
        left_out=dict(running.left_out),
        seconds=time.monotonic() - started,
    )


def events_of(piece: Piece, chunks: Iterable[bytes]) -> Generator[Event]:
    """Yield the events of a piece of a log.

    :raises LogError: it is none, is damaged, or ends within a transaction.
    """
    found: deque[Event] = deque()
    walk = Walk(piece.file, piece.start, None, found.append, left_out=piece.left_out.bytes)
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            walk.feed(chunk[start : start + CHUNK])
            while found:
                yield found.popleft()
    walk.end()
    if walk.whole != walk.position:
        raise LogError(f"Binary log {piece.file} ends at position {walk.position} within a transaction.")


@dataclass
class _Group:
    """A transaction as its events come.

    :param file: and the position at which it begins.
    :param is_before: it is in the dump already.
    :param is_doubtful: the position of the dump and its GTIDs disagree on that.
    :param changes: what is to run.
    :param size: of them in bytes.
    :param xid: of an XA transaction.
    :param variables: for its next statement.
    :param is_running: its changes run as they come.
    :param has_run: some of them have.
    :param rolls_back: it ends with that.
    :param is_prepared: it waits for somebody to commit it.
    """

    gtid: Gtid
    file: str
    start: int
    committed: datetime
    is_before: bool
    is_doubtful: bool
    rows: RowStatements
    changes: list[Change] = field(default_factory=list)
    size: int = 0
    xid: bytes = b""
    variables: list[Variable] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    is_running: bool = False
    has_run: bool = False
    rolls_back: bool = False
    is_prepared: bool = False

    @property
    def is_read(self) -> bool:
        """Return whether its changes matter."""
        return not self.is_before or self.is_doubtful or bool(self.xid)


class _Reached(Exception):  # noqa: N818  # no error
    """The place where the replay ends."""


class _Replaying:
    """One replay, event by event."""

    def __init__(self, applier: Applier, aim: Aim, replay: Replay, *, is_mariadb: bool) -> None:
        self._applier, self._aim, self._replay, self._is_mariadb = applier, aim, replay, is_mariadb
        self._base, self._number = _file(replay.begin.file)
        family = MariaDBGtids if is_mariadb else MySQLGtids
        self._in_dump = family.of_text(replay.begin.gtids)
        self._skips: MySQLGtids | MariaDBGtids | None = None  # what servers before this one have logged
        self._at = (0, 0)  # number of the file, and the position that was reached in it
        self._file = self._server = ""
        self._event = 0  # position
        self._group: _Group | None = None
        self._with_crc = True
        self._impossible: frozenset[int] = frozenset()  # kinds of events
        self._logs_cascades = False
        self._prepared: dict[bytes, list[Change]] = {}
        self._prepared_size = 0
        self._temporary: dict[str, int] = {}  # tables, with the connection that made each
        self._is_last = False  # the transaction that has begun
        self._takes: Mapping[int, Callable[[_Group, Event], None]] = {
            **dict.fromkeys((QUERY, COMPRESSED_QUERY), self._read_query),
            **dict.fromkeys((INTVAR, RAND, USER_VAR), self._read_variables),
            **dict.fromkeys(ROWS, self._read_rows),
            TABLE_MAP: self._name_table,
            EXECUTE_LOAD: self._read_load,
            XA_PREPARE: self._read_prepare,
            INCIDENT: self._refuse_incident,
        }
        self.transactions = self.others = self.statements = 0
        self.last_gtid = ""
        self.last_commit: datetime | None = None
        self.left_out: Counter[str] = Counter()

    def read(self, pieces: Iterable[tuple[Piece, Iterable[bytes]]]) -> None:
        """Read logs until the end is reached.

        :raises ReplayError: something in them cannot be replayed.
        """
        try:
            for piece, chunks in pieces:
                self._begin_piece(piece)
                with contextlib.closing(events_of(piece, chunks)) as events:
                    for event in events:
                        self._take(event)
            self._check_reached()
        except _Reached:
            pass
        except LogError as error:
            raise ReplayError(error.message, error.hint) from error
        self._do(self._applier.commit)
        if self._applier.lacking:
            self.left_out[LACKING] += self._applier.lacking

    def _begin_piece(self, piece: Piece) -> None:
        base, number = _file(piece.file)
        self._skips = type(self._in_dump).of_text(piece.skips) if piece.skips else None
        if base != self._base and not self._skips:
            raise ReplayError(f"The logs are called {base!r}, those of the dump {self._base!r}.")
        if self._at == (0, 0) and (number, piece.start) > (self._number, self._replay.begin.offset):
            raise ReplayError(
                f"The logs begin at {piece.file}:{piece.start}, behind the dump, which ends at"
                f" {self._replay.begin.file}:{self._replay.begin.offset}."
            )
        self._file, self._server, self._at = piece.file, piece.server, (number, piece.start)

    def _check_reached(self) -> None:
        """Make sure that the logs held the place where the replay should have ended.

        :raises ReplayError: they did not.
        """
        stop = self._replay.stop
        if stop.gtid and not self._is_last:
            raise ReplayError(f"The logs hold no transaction {stop.gtid} behind the dump.")
        if stop.position and not self._is_behind(stop.position, self._at[1]):
            raise ReplayError(
                f"The logs end at {self._file}:{self._at[1]}, before {stop.position.file}:{stop.position.offset}."
            )

    def _take(self, event: Event) -> None:
        self._event = event.start
        try:
            if event.kind == FORMAT:
                self._begin_file(event)
            elif event.opens and event.kind in _OPENING:
                self._open(event)
            elif self._group:
                self._within(self._group, event)
            elif event.kind not in _BETWEEN:
                raise ValueError("it is not known")
        except (ValueError, struct.error) as error:
            raise self._refusal(f"an event of kind {event.kind}", error) from None
        self._at = self._at[0], event.end

    def _begin_file(self, event: Event) -> None:
        self._impossible = check_format(event.body)
        if (b"MariaDB" in event.body[2:52]) != self._is_mariadb:
            raise ValueError("it is of a server of the other kind, MySQL or MariaDB")
        self._with_crc = event.body[-1] == 1
        if version := _VERSION.match(event.body):
            self._logs_cascades = not self._is_mariadb and (int(version[1]), int(version[2])) >= _LOGS_CASCADES
        if _CREATED.unpack_from(event.body)[0] and not self._skips:
            self._do(lambda: self._applier.drop_temporary(self._temporary))
            self._temporary.clear()
        self._do(lambda: self._applier.begin_file(encoded_format(event)))

    def _open(self, event: Event) -> None:
        gtid = read_mariadb_gtid(event) if self._is_mariadb else read_gtid(event)
        at = timedelta(microseconds=gtid.committed) if gtid.committed else timedelta(seconds=event.time)
        committed = _EPOCH + at
        if self._skips:
            is_before = _has(self._skips, gtid)
        else:
            is_before = (self._at[0], event.start) < (self._number, self._replay.begin.offset)
        self._check_stop(gtid, committed, event.start, is_again=is_before and self._skips is not None)
        is_doubtful = self._is_doubtful(gtid, is_before=is_before)
        rows = RowStatements(self._aim, with_crc=self._with_crc, cascades=self._applier.cascades, spreads=self._spreads)
        xid = gtid.xid if gtid.is_prepared else b""
        self._group = _Group(gtid, self._file, event.start, committed, is_before, is_doubtful, rows, xid=xid)

    def _check_stop(self, gtid: Gtid, committed: datetime, start: int, *, is_again: bool) -> None:
        """:param is_again: the server before this one has logged the transaction, too."""
        stop = self._replay.stop
        if self._is_last or (stop.position and self._is_behind(stop.position, start)):
            raise _Reached
        if is_again:  # its time is that of this server
            return
        if (stop.time and committed > stop.time) or (stop.gtid and stop.gtid == gtid.text and stop.before):
            raise _Reached
        self._is_last = bool(stop.gtid) and stop.gtid == gtid.text

    def _is_behind(self, place: LogPosition, offset: int) -> bool:
        """Return whether an offset in the file that is read is at a place or behind it."""
        return self._server == place.server and (self._at[0], offset) >= (_file(place.file)[1], place.offset)

    def _is_doubtful(self, gtid: Gtid, *, is_before: bool) -> bool:
        """Return whether the dump's GTIDs say of a transaction what its position does not.

        After a reset, names, positions and GTIDs repeat. Only transactions of other databases may be under way while a
        position is taken. MariaDB's GTIDs name the last transaction of each domain, which says little of others' past.
        """
        held = _has(self._in_dump, gtid)
        if isinstance(self._in_dump, MariaDBGtids) or self._skips:
            return not is_before and held
        return bool(gtid.text) and held != is_before

    # Within a transaction.

    def _within(self, group: _Group, event: Event) -> None:
        if event.kind == PAYLOAD:
            for inner in events_within(opened_payload(event), event):
                self._within(group, inner)
            return
        event = without_compression(event)
        take = None if event.kind in self._impossible else self._takes.get(event.kind)
        if take:
            take(group, event)
        elif event.kind not in _REMARKS and event.kind != XID:
            raise ValueError("it is not known")
        if event.ends:
            self._close(group)

    @staticmethod
    def _name_table(group: _Group, event: Event) -> None:
        if group.is_read:
            group.rows.name_table(event)

    def _read_rows(self, group: _Group, event: Event) -> None:
        if group.is_read:
            for change in group.rows.add(event):
                self._check_temporary(change.tables)
                self._hold(group, change, len(change.events))

    def _read_variables(self, group: _Group, event: Event) -> None:
        group.variables += read_variables(event, self._applier.collations)

    @staticmethod
    def _read_prepare(group: _Group, event: Event) -> None:
        group.is_prepared = not _PREPARED.unpack_from(event.body)[0]  # unless it commits at once

    @staticmethod
    def _refuse_incident(group: _Group, event: Event) -> None:
        raise ValueError("the server noted there that it may have lost transactions")

    def _read_query(self, group: _Group, event: Event) -> None:
        query = read_query(event, of_mariadb=self._is_mariadb)
        if self._is_control(group, query) or not group.is_read:
            return
        judged = self._judge(query)
        variables, group.variables = tuple(group.variables), []
        if group.gtid.further & (START_ALTER | ROLLBACK_ALTER):
            return
        if judged.left_out:
            group.left_out[self._why_left_out(judged)] += 1
        with self._naming(judged.kind):
            self._refuse_depending(query, judged)
        if not judged.runs:
            return
        with self._naming(judged.kind):
            self._note_temporary(query, judged, is_of_thread=bool(event.flags & THREAD_SPECIFIC))
        self._hold(group, Ask(query, judged, variables), len(judged.sql))
        self.statements += judged.commits

    def _is_control(self, group: _Group, query: Query) -> bool:
        """Take what begins, divides or ends a transaction; return whether it is that."""
        text = query.text.strip()
        if text in (b"BEGIN", b"START TRANSACTION", b"COMMIT"):
            return True
        if text == b"ROLLBACK":
            group.rolls_back = True
            return True
        if xa := _XA.fullmatch(text):
            self._read_xa(group, xa[1], xa[2])
            return True
        if _SAVEPOINT.fullmatch(text):
            if group.changes or group.is_running:
                self._hold(group, Ask(query, Judged("SAVEPOINT", runs=True, sql=text)), len(text))
            return True
        return False

    def _read_xa(self, group: _Group, word: bytes, xid: bytes) -> None:
        if word == b"START":
            group.xid = xid
        elif word in (b"COMMIT", b"ROLLBACK"):
            if xid not in self._prepared:
                if not group.is_before:
                    raise ValueError("a transaction ends there that was prepared before the logs begin")
                return
            changes = self._prepared.pop(xid)
            self._prepared_size -= sum(map(_size, changes))
            if word == b"COMMIT" and not group.is_before:
                group.changes = changes

    def _judge(self, query: Query) -> Judged:
        lexis = self._applier.lexis(query.settings)
        updated = [name.decode("utf-8", "surrogateescape") for name in query.settings.updated or ()]
        default = query.schema.decode("utf-8", "surrogateescape")
        with self._naming(kind_of(query.text, lexis)):
            return judge(query.text, lexis, default, updated, self._aim)

    def _why_left_out(self, judged: Judged) -> str:
        """Return why a statement is omitted; of a change of rows, also whether others may have changed with them."""
        if judged.left_out == EXCLUDED and {*judged.tables} == {UNFINISHED}:
            return MARK
        if judged.left_out == EXCLUDED and judged.kind in CHANGES and self._applier.may_spread(judged.tables):
            return SPREADING
        return judged.left_out

    def _spreads(self, table: str) -> bool:
        """Return whether rows of other tables changed with those of a table without being logged."""
        return not self._logs_cascades and self._applier.spreads(table)

    def _refuse_depending(self, query: Query, judged: Judged) -> None:
        """Refuse a statement that would write other values, or none, without rows that the backup excludes.

        :raises ValueError: by a view, by code or by a trigger, it may.
        """
        if not self._replay.excluded:
            return
        changes = judged.kind in CHANGES | {"SELECT", "DO"} or (judged.kind == "CREATE TABLE" and _copies(query))
        if changes and judged.left_out == EXCLUDED and self._applier.fires(judged.tables):
            raise ValueError(f"triggers of a table whose rows the backup excludes may change others; {_ROWS_SAY}")
        if changes and judged.runs and names_one(query.text, self._applier.reading(self._replay.excluded)):
            raise ValueError(f"a view, code or a trigger in it reads a table that the backup excludes; {_ROWS_SAY}")

    def _read_load(self, group: _Group, event: Event) -> None:
        """Refuse LOAD DATA that is logged as a statement, if it is of the schema."""
        body = event.body[:13] + event.body[26:]  # without what is said of the file
        query = read_query(event._replace(kind=QUERY, body=body), of_mariadb=self._is_mariadb)
        if self._aim.is_source(query.schema.decode("utf-8", "surrogateescape")) and not group.is_before:
            raise ValueError("LOAD DATA was logged as a statement: binlog_format=ROW logs rows")

    def _note_temporary(self, query: Query, judged: Judged, *, is_of_thread: bool) -> None:
        """Keep account of temporary tables: those of other connections would hide tables of this one.

        :param is_of_thread: it used what its connection alone had.
        :raises ValueError: they do; or it used one that was made before, and would find a table of its name instead.
        """
        named = {
            name: thread == query.thread
            for name, thread in self._temporary.items()
            if re.search(rb"(?<![\w$])%b(?![\w$])" % re.escape(name.encode()), query.text)
        }
        if not all(named.values()):
            raise ValueError("a temporary table of another connection has the name of a table in it")
        is_whole = judged.kind == "DROP TABLE" or (judged.kind == "CREATE TABLE" and not _copies(query))
        # MariaDB calls every DELETE of several tables such a statement.
        if is_of_thread and not (judged.temporary or named or is_whole or _OF_SEVERAL.match(query.text)):
            raise ValueError("it uses a temporary table that was made before the backup")
        if judged.temporary and judged.kind.startswith("CREATE"):
            self._temporary |= dict.fromkeys(judged.tables, query.thread)
        elif judged.temporary:
            for name in judged.tables:
                self._temporary.pop(name, None)

    def _check_temporary(self, tables: Iterable[str]) -> None:
        if not self._temporary.keys().isdisjoint(tables):
            raise ValueError("a temporary table has the name of a table whose rows change")

    # What becomes of a transaction.

    def _hold(self, group: _Group, change: Change, size: int) -> None:
        """Keep a change until the transaction ends; run all of them if they become too many."""
        if group.is_doubtful:
            raise ValueError("by its position, it is not where the backup's GTIDs say: the server was reset in between")
        group.changes.append(change)
        group.size += size
        if group.xid:
            if self._prepared_size + group.size > HELD_XA:
                raise ValueError(
                    "transactions that are prepared and not yet committed (XA) are larger than memory allows"
                )
        elif group.size > HELD:
            if not group.is_running:
                self._do(self._applier.commit)
                group.is_running = True
            self._run(group)

    def _run(self, group: _Group) -> None:
        changes, group.changes = group.changes, []
        group.has_run = group.has_run or bool(changes)
        plain = not self._is_mariadb and any(self._applier.is_plain(_tables(change)) for change in changes)
        self._do(lambda: (self._applier.apply_alone if plain else self._applier.apply)(changes))

    def _close(self, group: _Group) -> None:
        if group.rows.is_open:
            raise ValueError("a transaction ends within a statement")
        self._group = None
        if group.is_prepared and group.xid:
            self._prepared[group.xid] = group.changes
            self._prepared_size += group.size
            group.changes = []
        elif group.changes or group.is_running:
            self._finish(group)
        if not group.is_before:
            self._count(group)

    def _finish(self, group: _Group) -> None:
        if group.rolls_back and not group.is_running:
            self._do(self._applier.commit)
        self._run(group)
        if group.rolls_back:
            self._do(self._applier.roll_back)
        elif group.is_running:
            self._do(self._applier.commit)
        else:
            self._do(self._applier.end)

    def _count(self, group: _Group) -> None:
        group.left_out += group.rows.left_out
        self.left_out += group.left_out
        self.transactions += group.has_run
        self.others += not group.has_run and not group.left_out
        self.last_gtid, self.last_commit = group.gtid.text, group.committed

    def _do(self, step: Callable[[], object]) -> None:
        """Have the server do something.

        :raises ReplayError: it refuses.
        """
        try:
            step()
        except RefusedError as refused:
            hint = _HINTS.get(refused.number, "")
            raise ReplayError(f"{self._place()}: the server refuses it with error {refused.number}.", hint) from None

    @contextlib.contextmanager
    def _naming(self, kind: str) -> Iterator[None]:
        """Name the place of what cannot be replayed, and its kind; nothing of its contents."""
        try:
            yield
        except (ValueError, struct.error) as error:
            raise self._refusal(kind, error) from None

    def _refusal(self, kind: str, error: Exception) -> ReplayError:
        if isinstance(error, RefusedStatementError):
            return ReplayError(f"{self._place()}: a statement ({kind}) cannot be replayed: {error}.")
        why = "it is malformed" if isinstance(error, UnicodeError | struct.error) else str(error)
        return ReplayError(f"{self._place()}: {kind} cannot be replayed: {why}.")

    def _place(self) -> str:
        return f"At {self._file}:{self._event}"


def _has(gtids: MySQLGtids | MariaDBGtids, gtid: Gtid) -> bool:
    """Return whether a transaction is among some."""
    if isinstance(gtids, MariaDBGtids):
        return gtids.holds(gtid.domain, int(gtid.text.split("-")[1]), gtid.number)
    return bool(gtid.text) and gtids.holds(gtid.source, gtid.number)


def _copies(query: Query) -> bool:
    """Return whether a CREATE TABLE takes columns or rows from other tables."""
    return bool(_COPYING.match(query.text))


def _file(name: str) -> tuple[str, int]:
    """Return the name of a server's logs, and the number of one of them."""
    base, _, number = name.rpartition(".")
    return base, int(number)


def _tables(change: Change) -> Collection[str]:
    return change.judged.tables if isinstance(change, Ask) else change.tables


def _size(change: Change) -> int:
    return len(change.judged.sql if isinstance(change, Ask) else change.events)


def opened_payload(event: Event) -> Iterator[bytes]:
    """Yield the events of a transaction that MySQL compressed.

    :raises ReplayError: nothing here can open it.
    """
    how, payload = payload_of(event.body)
    if how == _PLAIN:
        yield payload
        return
    if how != _ZSTD:
        raise ValueError("it is compressed in a way that is not known")
    try:
        import zstandard
    except ImportError:
        raise ReplayError(
            "The log has compressed transactions (binlog_transaction_compression), which take the library zstandard.",
            "Install it where Lifeboat runs: pip install 'airflow-lifeboat[zstd]'.",
        ) from None
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
        try:
            while chunk := reader.read(CHUNK):
                yield chunk
        except zstandard.ZstdError as error:
            raise ValueError("not what was compressed") from error
