"""Queries and programs that check a restored schema: nothing of them outlives the check."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from lifeboat.databases import LONGEST_CHECKED
from lifeboat.databases.mysql.dump import Session, is_of_driver
from lifeboat.databases.mysql.target import UNLIMITED
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.errors import CheckError
from lifeboat.support.logs import logger

log = logger(__name__)

# Errors whose text names only what the query names. Others may quote a value of a row.
TOLD = frozenset((1044, 1046, 1054, 1064, 1109, 1142, 1143, 1146, 1227, 1305, 1353, 1370, 1792, 4002))


def value(connect: Callable[[], Any], place: str, query: str, seconds: float) -> list[str | None]:
    """Return the one column of a query, as `Engine.value` does.

    :param connect: as an account without rights elsewhere.
    """
    with contextlib.closing(connect()) as connection:
        session = Session(connection)
        session.one_statement_at_a_time()
        session.execute(UNLIMITED)
        # On the server as well: if this process is killed, the query must end, too.
        is_mariadb = "MariaDB" in session.version()
        limit = f"max_statement_time = {seconds}" if is_mariadb else f"max_execution_time = {int(seconds * 1000)}"
        session.execute(f"SET SESSION {limit}".encode())
        session.execute(f"USE {backquoted(place)}".encode())
        session.execute(b"START TRANSACTION READ ONLY")
        started = time.monotonic()
        try:
            with _ended_after(connect, session.id(), seconds):
                rows = session.query(
                    f"WITH lifeboat_check (v) AS (\n{query}\n)"  # noqa: S608  # of the settings
                    f" SELECT LEFT(CAST(v AS CHAR), {LONGEST_CHECKED + 1}) FROM lifeboat_check LIMIT 2"
                )
        except Exception as error:
            if not is_of_driver(error):
                raise
            _refuse_late(started, seconds)
            said = f": {error.args[1]}" if error.args[0] in TOLD else ""
            raise CheckError(f"the server refused the query (error {error.args[0]}{said})") from error
        _refuse_late(started, seconds)  # a function that is interrupted may return a value
        return [value for (value,) in rows]


def end_connections(connect: Callable[[], Any]) -> None:
    """End all other connections of an account: what they wait for would keep its schema from being dropped."""
    with contextlib.closing(connect()) as connection:
        session = Session(connection)
        for (number,) in session.query("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"):
            with contextlib.suppress(Exception):  # it has just ended
                session.execute(b"KILL %d" % number)


def _refuse_late(started: float, seconds: float) -> None:
    if time.monotonic() - started >= seconds:
        raise CheckError(f"the query took longer than its {seconds:g} s, and was ended")


@contextlib.contextmanager
def _ended_after(connect: Callable[[], Any], connection_id: int, seconds: float) -> Iterator[None]:
    """End a connection when a time is over; not every statement keeps to the server's own limit."""

    def end() -> None:
        with contextlib.suppress(Exception), contextlib.closing(connect()) as connection:
            Session(connection).execute(b"KILL %d" % connection_id)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
