"""The server that a dump is loaded into: what it is, what its user may do, and what it makes of the dump."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from lifeboat.databases import mysql_definitions as definitions
from lifeboat.databases.mysql import CONNECTION_HINTS, Session, is_of_driver
from lifeboat.databases.mysql_statements import Origin, Statement
from lifeboat.errors import RestoreError

PACKET_OVERHEAD = 64
UNKNOWN_COLLATION = 1273
UNKNOWN_ENGINE = 1286

HINTS = CONNECTION_HINTS | {
    1044: "Grant the connection's user all privileges on the schema to restore into.",
    1049: "Create the schema to restore into.",
    1050: "Restore into an empty schema.",
    1062: "The dump holds a key twice: it is damaged, or the server compares texts otherwise than its source did.",
    1114: "The server's disk or memory is full.",
    1142: "Grant the connection's user all privileges on the schema to restore into.",
    1146: "The dump refers to something that it does not hold, because it was excluded or lies in another schema.",
    1153: "Raise max_allowed_packet on the server; 1G is the most.",
    1205: "Somebody uses that schema. Stop the application; SHOW PROCESSLIST tells who else it is.",
    1227: "Grant the connection's user SUPER (on MariaDB, SET USER), or restore as an administrator.",
    1231: "The dump sets what this server does not know; restore to a server of the dumped one's kind and version.",
    1273: "Restore to a server of the dumped one's kind and version, or replace the collation's name in the dump.",
    1286: "Install the storage engine on the server, or replace its name in the dump.",
    1305: "The dump refers to a routine that it does not hold; it was dumped without routines.",
    1418: "Set log_bin_trust_function_creators on the server, or restore as an administrator.",
    1419: "Set log_bin_trust_function_creators on the server, or restore as an administrator.",
    4025: "The dump holds a row that breaks a CHECK of its table; it is damaged.",
}

T = TypeVar("T")

_SETS_DEFINERS = re.compile(r"\b(?:SUPER|SET USER|SET_USER_ID|SET_ANY_DEFINER|ALL PRIVILEGES)\b.* ON \*\.\* ")


def run(session: Session, sql: bytes, doing: str, *, private: bool = False) -> int:
    """Run a statement and return the number of rows that it changed.

    :param private: the server's message may hold values of rows, which belong into no log.
    :raises RestoreError: it failed.
    """
    return _do(lambda: session.execute(sql), doing, private=private)


def query(session: Session, sql: bytes, doing: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on restored tables; errors keep the server's message to themselves, as in `run`.

    :raises RestoreError: it failed.
    """
    return _do(lambda: session.query(sql), doing, private=True)


def _do(call: Callable[[], T], doing: str, *, private: bool) -> T:
    try:
        return call()
    except Exception as error:
        if not is_of_driver(error):
            raise
        number, text = (*error.args, 0, "")[:2]
    said = "" if private else f": {str(text)[:160].rstrip('.')}"
    # Raised here, it has no cause: that would be logged with it, values and all.
    raise RestoreError(f"{doing} failed with error {number}{said}.", HINTS.get(number, ""))


@dataclass(frozen=True)
class Target:
    """What a load must know of the server.

    :param longest: bytes of the longest statement that it takes.
    :param definers: user and host of the accounts that definitions may name as theirs.
    """

    version: str
    longest: int
    definers: frozenset[tuple[str, str]]

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB's."""
        return "MariaDB" in self.version


def read_target(session: Session) -> Target:
    """Ask the server."""
    ((packet, account),) = session.query("SELECT @@max_allowed_packet, CURRENT_USER()")
    user, _, host = account.rpartition("@")
    definers = {(user, host)}
    if any(_SETS_DEFINERS.search(grant) for (grant,) in session.query("SHOW GRANTS")):
        definers.update(_accounts(session))
    return Target(session.version(), packet - PACKET_OVERHEAD, frozenset(definers))


def _accounts(session: Session) -> list[tuple[str, str]]:
    """Return the accounts of the server; none where the user may not see them."""
    try:
        return [(user, host) for user, host in session.query("SELECT user, host FROM mysql.user")]
    except Exception as error:
        if not is_of_driver(error):
            raise
        return []


def differences(origin: Origin, target: Target) -> Iterator[str]:
    """Yield a warning where the server is of another kind than the dumped one, or older."""
    if not origin.server:
        return
    if ("MariaDB" in origin.server + origin.client) != target.is_mariadb:
        yield f"the dump is of {origin.server}, the server is {target.version}: definitions may come out otherwise"
    elif _release(target.version) < _release(origin.server):
        yield f"the server ({target.version}) is older than the dumped one ({origin.server})"


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


class Compatibility:
    """Says whether the server knows what a dump asks for.

    :param session: asks the server.
    """

    def __init__(self, target: Target, session: Session) -> None:
        self._target, self._session = target, session
        self._collations: dict[str, bool] = {}
        engines = session.query("SELECT engine FROM information_schema.engines WHERE support IN ('YES', 'DEFAULT')")
        self._engines = {engine.lower() for (engine,) in engines}

    def check(self, statement: Statement) -> None:
        """Make sure that the server can run a statement, as far as its text says.

        :raises RestoreError: it cannot.
        """
        what = f"{statement.kind} {statement.name!r}" if statement.name else "connection"
        if not self._target.is_mariadb and (feature := definitions.mariadb_only(statement)):
            raise RestoreError(
                f"The dump's {what} needs {feature}, which MySQL does not have.", "Restore to a MariaDB server."
            )
        engine = definitions.engine_of(statement) if statement.kind == "table" else ""
        if engine and engine.lower() not in self._engines:
            # The dump's settings let the server take another engine without a word.
            raise RestoreError(
                f"The dump's {what} needs the storage engine {engine}, which the server does not have.",
                HINTS[UNKNOWN_ENGINE],
            )
        for collation in definitions.collations(statement):
            if collation not in self._collations:
                self._collations[collation] = self._knows(collation)
            if not self._collations[collation]:
                raise RestoreError(
                    f"The dump's {what} needs collation {collation}, which the server ({self._target.version})"
                    " does not know.",
                    HINTS[UNKNOWN_COLLATION],
                )

    def _knows(self, collation: str) -> bool:
        try:
            self._session.query(f"SELECT _utf8mb4'' COLLATE {collation}")
        except Exception as error:
            if not is_of_driver(error):
                raise
            return bool(error.args[0] != UNKNOWN_COLLATION)  # known, but of another character set
        return True
