"""Locks that keep all clients of a dump in one snapshot.

The tables are locked against writes, the clients begin, each takes its snapshot, and the tables are unlocked. `LOCK
TABLES ... READ` waits for transactions that have written and are still open, so no client sees half of one.

It takes one table after the other, and keeps writers of those that it has waiting while it waits for the next. So each
table is waited for alone first, which holds up nobody, and then all together for `GRANT_SECONDS` at most, a few times.
All locks have ended `HELD_SECONDS` after a try began: another session sees to it. If that fails because this machine or
the network does, the server ends them a second later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING

from lifeboat.databases.mysql import source as mysql_source

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Session

GRANT_SECONDS = 0.05  # to wait for a table while others are locked
HELD_SECONDS = 0.17  # from when the first table may be locked until all are free: no writer should wait for 0.2
IDLE_SECONDS = 1  # after which the server ends a session that nobody ends; no server takes less
PATIENCE = 5  # seconds to wait for open transactions, while nothing is locked
TRIES = 5  # to lock all tables together
INTERRUPTED = 1317


class Locks:
    """Tables that are locked against writes."""

    def __init__(self, locker: Session, ending: Timer) -> None:
        self._locker, self._ending = locker, ending

    def release(self) -> bool:
        """Unlock them; say whether they were locked until now."""
        stop(self._ending)
        return failure(self._locker, b"UNLOCK TABLES") is None


@contextlib.contextmanager
def locking(session: Session, locker: Session, tables: Sequence[str]) -> Iterator[Locks | None]:
    """Lock tables against writes; None if they are in use for too long.

    :param session: ends `locker` when it takes too long; nobody else uses it meanwhile.
    :param tables: names in quotes.
    :raises Exception: of the driver; the server refuses.
    """
    number = locker.id()
    locker.execute(b"SET SESSION character_set_client = utf8mb4")
    with contextlib.ExitStack() as timed:
        deadline = time.monotonic() + PATIENCE
        for _ in range(TRIES):
            if not _wait_for_each(locker, tables, deadline):
                break
            end = time.monotonic() + HELD_SECONDS
            with _limited(session, b"KILL QUERY %d" % number, GRANT_SECONDS):
                is_locked = _lock(locker, tables)
            if is_locked:
                left = max(0.0, end - time.monotonic())
                ending = timed.enter_context(_limited(session, b"KILL %d" % number, left))
                yield Locks(locker, ending)
                return
        yield None


@contextlib.contextmanager
def _limited(session: Session, sql: bytes, seconds: float) -> Iterator[Timer]:
    """Run a statement in so many seconds, unless the block has ended."""
    ending = Timer(seconds, partial(failure, session, sql))
    ending.daemon = True
    ending.start()
    try:
        yield ending
    finally:
        stop(ending)


def _wait_for_each(locker: Session, tables: Sequence[str], deadline: float) -> bool:
    """Wait until each table was without open transactions, and say whether they were in time."""
    seconds = 0
    for table in tables:
        if seconds != (seconds := max(1, round(deadline - time.monotonic()))):
            locker.execute(b"SET SESSION lock_wait_timeout = %d" % seconds)
        if not _lock(locker, [table]):
            return False
    locker.execute(b"SET SESSION lock_wait_timeout = 1, wait_timeout = %d" % IDLE_SECONDS)
    return time.monotonic() < deadline


def _lock(locker: Session, tables: Sequence[str]) -> bool:
    """Lock tables against writes in place of those that the session has locked before; False if they are in use."""
    from lifeboat.databases.mysql.dump import is_of_driver

    try:
        locker.execute(f"LOCK TABLES {', '.join(f'{table} READ' for table in tables)}".encode())
    except Exception as error:
        if not is_of_driver(error) or error.args[0] not in (mysql_source.LOCKED, INTERRUPTED):
            raise
        return False
    return True


def stop(ending: Timer) -> None:
    """Make sure that a timer does nothing any more."""
    ending.cancel()
    ending.join()  # its session is free again


def failure(session: Session, sql: bytes) -> Exception | None:
    """Run a statement; return how it failed."""
    from lifeboat.databases.mysql.dump import is_of_driver

    try:
        session.execute(sql)
    except Exception as error:
        if not is_of_driver(error):
            raise
        return error
    return None
