"""Positions of dumps in the server's binary log: a recovery to a later moment continues from there.

MariaDB tells a session the position of the snapshot that it reads, and the client writes it into the dump. MySQL does
not, so the tables are locked against writes until its client has its snapshot: what was written before is in the dump
and before the position, everything later is in neither. No backup fails for want of a position.

LOCK TABLES takes one table after the other, and keeps writers of those that it has waiting while it waits for the next.
So each table is waited for alone first, which holds up nobody, and all are locked once no open transaction has written
any. The locks end after `HELD` seconds at the latest, even if this machine or the network fails. MySQL ends a
transaction as a deadlock if LOCK TABLES waits for it and it writes a table that is locked already: so nothing is locked
unless somebody asks for logs. FLUSH TABLES WITH READ LOCK is never used: behind a long query it stops readers and
writers.

Long transactions that overlap never let the tables be locked, and not every user may lock them. Where the log ends at
the same place before and after a client takes its snapshot, that is the position. Otherwise the client starts again.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lifeboat.databases import LogPosition
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql.locks import failure, stop
from lifeboat.databases.mysql.source import BinaryLog, LogEnd, Source
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.text import listed

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Client, Session

PATIENCE = 10  # seconds to wait for open transactions, while nothing is locked
LOCK_SECONDS = 1  # to wait for a table while others are locked; no server takes less
HELD = 3  # seconds that locks last at most
SNAPSHOTS = 10  # that are taken at most until nobody writes meanwhile
VISIBLE_SECONDS = 1  # to wait until snapshots see what the log holds
POLL = 0.01

_FILE = re.compile(rb"-- CHANGE MASTER TO MASTER_LOG_FILE='([^']+)', MASTER_LOG_POS=(\d+);")
_GTIDS = re.compile(rb"-- SET GLOBAL gtid_slave_pos='([^']*)';")
NOT_ASKED_FOR = "tables of MySQL are locked for it only if `logs` of the application is set"
DENIED = "the user is not allowed to ask for it: GRANT REPLICATION CLIENT ON *.* TO that user"


class Nowhere:
    """Finds no position for a dump.

    :cvar options: that the dump's client needs, each with what follows its name.
    :param why: the reason.
    """

    options: ClassVar[Mapping[str, str]] = {}

    def __init__(self, why: str) -> None:
        self._why = why
        self.may_repeat = False
        """True while a snapshot may turn out to be of no use, so that nothing of its dump counts yet."""

    def begin(self) -> None:
        """Take note that a client is about to start."""

    def see(self, sql: bytes) -> None:
        """Take a statement of the passing dump that holds no rows.

        :raises MovedError: the client must start again.
        """

    def remark(self, line: bytes) -> None:
        """Take a line of a comment between statements of the passing dump."""

    def found(self) -> LogPosition | str:
        """Return the position of the dump, whose last byte has passed, or why there is none."""
        return self._why


class Told(Nowhere):
    """Knows the position from where the log ended while the tables were locked for several clients of MySQL."""

    def __init__(self, log: BinaryLog, end: LogEnd | None) -> None:
        super().__init__(DENIED)
        self._log, self._end = log, end

    def found(self) -> LogPosition | str:
        return _position(self._log, self._end, "table locks") if self._end else super().found()


class InSnapshot(Nowhere):
    """Reads the position that MariaDB's client asks for inside its snapshot, and writes into the dump."""

    options: ClassVar[Mapping[str, str]] = {"master-data": "=2"}  # as a comment

    def __init__(self, log: BinaryLog) -> None:
        super().__init__("the client wrote none into the dump")
        self._log = log
        self._end: LogEnd | None = None

    def remark(self, line: bytes) -> None:
        if (told := _FILE.match(line)) and not self._end:
            self._end = LogEnd(told[1].decode(), int(told[2]), "")
        if (told := _GTIDS.match(line)) and self._end:  # behind the rows
            self._end = self._end._replace(gtids=told[1].decode())

    def found(self) -> LogPosition | str:
        return _position(self._log, self._end, "snapshot") if self._end else super().found()


class UnderLocks(Nowhere):
    """Keeps the tables of MySQL locked against writes until the dump shows that its client has its snapshot.

    :param end: of the log while they are locked.
    :param locker: the session that has locked them.
    :param ending: ends that session when it takes too long.
    """

    def __init__(self, log: BinaryLog, end: LogEnd, locker: Session, ending: Timer) -> None:
        super().__init__(f"the dump did not begin within the {HELD} seconds for which its tables may be locked")
        self._position = _position(log, end, "table locks")
        self._locker, self._ending = locker, ending
        self._is_exact: bool | None = None  # None while they are locked

    def see(self, sql: bytes) -> None:
        if b"CREATE TABLE" in sql:
            self._release()

    def found(self) -> LogPosition | str:
        self._release()
        return self._position if self._is_exact else super().found()

    def _release(self) -> None:
        if self._is_exact is None:
            stop(self._ending)
            # A session that was ended lost its locks, maybe before the snapshot.
            self._is_exact = failure(self._locker, b"UNLOCK TABLES") is None


class BetweenWrites(Nowhere):
    """Compares the ends of MySQL's log before and after its client takes its snapshot.

    :param session: that nobody else uses meanwhile.
    :param why: the tables are not locked.
    """

    def __init__(self, session: Session, log: BinaryLog, why: str) -> None:
        super().__init__(f"{why}, and something was written during each of {SNAPSHOTS} snapshots")
        self._session, self._log = session, log
        self._left = SNAPSHOTS
        self._before: LogEnd | None = None
        self._position: LogPosition | None = None

    def begin(self) -> None:
        self._left -= 1
        self.may_repeat = True
        self._before = _if_answered(_visible_end, self._session)

    def see(self, sql: bytes) -> None:
        if not self.may_repeat or b"CREATE TABLE" not in sql:
            return
        self.may_repeat = False
        if self._before and _if_answered(mysql_source.log_end, self._session) == self._before:
            self._position = _position(self._log, self._before, "quiet interval")
        elif self._left:
            raise MovedError

    def found(self) -> LogPosition | str:
        return self._position or super().found()


class MovedError(Exception):
    """Something was written while a client took its snapshot."""


Finder = Nowhere | Told | InSnapshot | UnderLocks | BetweenWrites
Passed = TypeVar("Passed")


def taken(finder: Finder, take: Callable[[], Passed]) -> Passed:
    """Take a dump, again whenever its finder says so."""
    while True:
        finder.begin()
        try:
            return take()
        except MovedError:
            continue


def by_client(log: BinaryLog, source: Source, client: Client) -> Finder | None:
    """Return what finds the position without locking anything, or knows that there is none; None if locks must."""
    if not log.is_on:
        return Nowhere("the server writes no binary log (log_bin is off)")
    return _of_mariadb(log, client) if source.is_mariadb else None


@contextlib.contextmanager
def finding(
    session: Session,
    connect: Callable[[], Any],
    source: Source,
    client: Client,
    excluded: Collection[str],
    *,
    may_lock: bool,
) -> Iterator[Finder]:
    """Find the position of the dump that is taken in this block.

    :param session: that nobody else uses until the dump has begun.
    :param connect: opens another connection.
    :param excluded: tables that the dump does not hold.
    :param may_lock: lock tables for it.
    """
    log = mysql_source.binary_log(session)
    if finder := by_client(log, source, client):
        yield finder
    elif not may_lock:
        yield Nowhere(NOT_ASKED_FOR)
    elif mysql_source.log_end(session) is None:
        yield Nowhere(DENIED)
    else:
        # No snapshot protects the other tables, so no position could.
        written = [table.name for table in source.tables if table.transactions == "YES" and table.name not in excluded]
        with contextlib.ExitStack() as locked:
            yield _under_locks(
                locked, session, connect, log, [f"{backquoted(source.schema)}.{backquoted(name)}" for name in written]
            )


def position_of(finder: Finder, source: Source, tables: Iterable[str]) -> LogPosition | str:
    """Return the position of a dump whose last byte has passed, or why there is none.

    :param source: what the database held before.
    :param tables: that the dump holds.
    """
    found = finder.found()
    created = sorted(set(tables) - {table.name for table in source.tables})
    return f"tables were created while the dump began: {listed(created)}" if created else found


def _of_mariadb(log: BinaryLog, client: Client) -> Finder:
    if not client.is_mariadb:
        return Nowhere(f"{client.version} does not ask for it: install MariaDB's client (package mariadb-client)")
    if not log.tells_snapshot:  # the client would lock all tables of the server
        return Nowhere("the server does not know the position of a snapshot")
    return InSnapshot(log)


def _under_locks(
    locked: contextlib.ExitStack, session: Session, connect: Callable[[], Any], log: BinaryLog, tables: Sequence[str]
) -> Finder:
    """Lock tables against writes, unless others use them for too long.

    :param locked: ends the locks when it is closed.
    """
    from lifeboat.databases.mysql.dump import is_of_driver

    try:
        locker = type(session)(connect())
        locked.callback(locker.close)
        # The server ends it if nobody else can any more; names are in UTF-8, whatever the connection is.
        locker.execute(b"SET SESSION wait_timeout = %d, character_set_client = utf8mb4" % HELD)
        _wait_for_each(locker, tables)
        ending = _end_in_time(session, locker)
        locked.callback(stop, ending)
        _be_patient(locker, LOCK_SECONDS)
        _lock(locker, tables)
        end = mysql_source.log_end(locker)
    except Exception as error:
        locked.close()
        if not is_of_driver(error):
            raise
        if error.args[0] == mysql_source.LOCKED:
            why = f"its tables could not be locked: transactions on them stayed open for {PATIENCE} seconds"
            return BetweenWrites(session, log, why)
        if error.args[0] in mysql_source.MAY_NOT_LOCK:
            return BetweenWrites(session, log, "its tables could not be locked: the user lacks the right LOCK TABLES")
        return Nowhere(f"its tables could not be locked: {': '.join(map(str, error.args))}")
    return UnderLocks(log, end, locker, ending) if end else Nowhere(DENIED)


def _wait_for_each(locker: Session, tables: Sequence[str]) -> None:
    """Wait until each table was without open transactions; nothing else is locked meanwhile."""
    deadline, seconds = time.monotonic() + PATIENCE, 0
    for table in tables:
        left = max(1, round(deadline - time.monotonic()))
        if left != seconds:
            seconds = left
            _be_patient(locker, seconds)
        _lock(locker, [table])


def _visible_end(session: Session) -> LogEnd | None:
    """Return the end of the log once snapshots see everything up to there; None where nothing tells, or not in time.

    A transaction is written to the log first, snapshots see it next, and it gives its GTID back last.
    """
    deadline = time.monotonic() + VISIBLE_SECONDS
    while time.monotonic() < deadline:
        end = mysql_source.log_end(session)
        ((mode, owned),) = session.query("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.gtid_owned")
        if mode != "ON":
            return None
        if not owned:
            return end
        time.sleep(POLL)
    return None


def _if_answered(ask: Callable[[Session], LogEnd | None], session: Session) -> LogEnd | None:
    """Return what a server answers; None where it does not, as no dump fails for that."""
    from lifeboat.databases.mysql.dump import is_of_driver

    try:
        return ask(session)
    except Exception as error:
        if not is_of_driver(error):
            raise
        return None


def _be_patient(locker: Session, seconds: int) -> None:
    locker.execute(b"SET SESSION lock_wait_timeout = %d" % seconds)


def _lock(locker: Session, tables: Sequence[str]) -> None:
    """Lock tables against writes in place of those that the session has locked before."""
    if tables:
        locker.execute(f"LOCK TABLES {', '.join(f'{table} READ' for table in tables)}".encode())


def _end_in_time(session: Session, locker: Session) -> Timer:
    """Return what ends a session after `HELD` seconds, whatever it is doing."""
    ending = Timer(HELD, partial(failure, session, b"KILL %d" % locker.id()))
    ending.daemon = True
    ending.start()
    return ending


def _position(log: BinaryLog, end: LogEnd, how: str) -> LogPosition:
    return LogPosition(log.server, log.server_id, end.file, end.offset, end.gtids, how)
