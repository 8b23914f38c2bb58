"""Sessions of loads on PostgreSQL: many statements in one exchange with the server, and which errors count."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from os import dup
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection, Error

GROUP = 50  # statements in one transaction: each holds the locks of a table, its indexes and its sequences
# What a server may lack, or refuse, without harm to what is restored: a right, a role, a provider of security labels.
FORGIVEN = frozenset(("42501", "42704", "22023"))


def groups(statements: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield statements in groups that a server can take at once."""
    remaining = iter(statements)
    while group := list(islice(remaining, GROUP)):
        yield group


def refusal(session: Connection[Any], statements: Iterable[bytes]) -> Error | None:
    """Run statements in one transaction, without waiting for the answer to each; return why the server refused one.

    In this protocol the server takes one statement at a time, whatever ours looks like to it.

    :returns: nothing is left of any of them then.
    """
    import psycopg

    found: list[Error] = []
    try:
        with session.pipeline():
            try:
                for sql in statements:
                    session.execute(sql, binary=True)
            except psycopg.Error as error:  # if it left the block, the driver would log what follows from it
                found.append(error)
    except psycopg.Error as error:
        found.append(error)
    return next(iter(found), None)


@contextlib.contextmanager
def stopping(sessions: Sequence[Connection[Any]]) -> Iterator[Callable[[], None]]:
    """Yield what ends some sessions though other threads wait for the server's answer there."""
    sockets = [socket.socket(fileno=dup(session.fileno())) for session in sessions]

    def stop() -> None:
        for duplicate in sockets:
            with contextlib.suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)

    try:
        yield stop
    finally:
        for duplicate in sockets:
            duplicate.close()
