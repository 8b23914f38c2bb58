"""Stops the statements of a load on the server: it would keep running them after their client is gone."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence, Set

from lifeboat.databases.mysql.dump import Session

UNDO_SECONDS = 30.0  # to wait for the server after everything was stopped


@contextlib.contextmanager
def stopping(sessions: Sequence[Session], control: Session) -> Iterator[Callable[[], None]]:
    """Yield what ends some connections; when the block fails, wait until the server has undone what they did.

    :param control: the connection that ends the others.
    """
    sockets = {session.id(): session.duplicate_socket() for session in sessions}

    def stop() -> None:
        for number, duplicate in sockets.items():
            _stop(control, number, duplicate)

    try:
        yield stop
    except BaseException:
        _await_server(control, sockets.keys())
        raise
    finally:
        for duplicate in filter(None, sockets.values()):
            duplicate.close()


def _stop(control: Session, number: int, duplicate: socket.socket | None) -> None:
    """End a connection, and what it does."""
    try:
        control.execute(b"KILL %d" % number)
    except Exception:  # noqa: BLE001  # the control connection may be gone as well, however its driver says so
        if duplicate:
            with contextlib.suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)


def _await_server(control: Session, numbers: Set[int]) -> None:
    """Wait while the server undoes what was stopped: until then it holds locks on the schema."""
    deadline = time.monotonic() + UNDO_SECONDS
    with contextlib.suppress(Exception):
        while time.monotonic() < deadline:
            if numbers.isdisjoint(row[0] for row in control.query("SHOW PROCESSLIST")):
                return
            time.sleep(0.05)
