"""Loads a dump into an empty PostgreSQL database, over several connections at once: rows by COPY, then their keys.

No transaction spans the load, for none can hold the locks of thousands of tables: what a load leaves that fails is
dropped as a whole. Statements run in small groups, each group in one transaction and one exchange with the server;
the rows of a table are spread over the connections, and so are indexes. What the dump orders stays in order: keys wait
for all rows, and all else waits for the keys.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, cast

from lifeboat.databases import Load, Loaded
from lifeboat.databases.postgresql.role import CONNECTIONS, Role
from lifeboat.databases.postgresql.session import FORGIVEN, GROUP, refusal, stopping
from lifeboat.databases.postgresql.statements import (
    OPTIONAL,
    Lineage,
    Trailer,
    calls_functions,
    forces_row_security,
    foreign_key,
    is_foreign_key,
    is_key,
    read,
    unvalidated,
)
from lifeboat.databases.sql.reader import Statement
from lifeboat.databases.workers import Job, Workers
from lifeboat.errors import Lasting, RestoreError
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.errors import Diagnostic

log = logger(__name__)

HINTS = {
    "28P01": Lasting("Check login and password of the Airflow connection."),
    "password authentication failed": Lasting("Check login and password of the Airflow connection."),
    "no password supplied": Lasting("Check the password of the Airflow connection."),
    "pg_hba.conf": Lasting(
        "The server accepts this user only from other hosts or over TLS: check pg_hba.conf, and sslmode in the"
        " connection's extras."
    ),
    "Connection refused": "Check host and port of the Airflow connection, and that the server runs.",
    "could not translate host name": "Check the host of the Airflow connection.",
    "server version mismatch": Lasting("Install the client of the server's version, or a newer one."),
    "3D000": Lasting("Check the database's name in the settings, and the connection's host."),
    "does not exist": "Check the database's name in the settings, and the connection's host.",
    "permission denied for large object": Lasting(
        "Make the connection's user a member of the role that owns it, or let that"
        " role GRANT SELECT ON LARGE OBJECT: pg_read_all_data reads none."
    ),
    "permission denied for": Lasting("Grant the connection's user the role pg_read_all_data, or make it the owner."),
    "row-level security": Lasting(
        "Grant the connection's user BYPASSRLS, or make it the owner of the tables; only BYPASSRLS"
        " helps where a table has FORCE ROW LEVEL SECURITY, which binds its owner as well."
    ),
    "has no equivalent in encoding": Lasting(
        "Correct the text: Unicode, in which dumps are written, has no character for its bytes."
    ),
    "conversion between": Lasting("Move the database to another encoding: no client can read it in Unicode."),
    "42501": Lasting("Restore as a role that is allowed to: restore_connection in the settings."),
    "55006": "Stop the application, then restore again; pg_stat_activity shows who uses the database.",
    "53100": "The server's disk is full.",
    "53300": "The server has no free connection: raise max_connections, or close some.",
    "0A000": Lasting("Restore to a server of the dumped server's version, with its extensions."),
    "42704": Lasting("Restore to a server of the dumped server's version, with its extensions."),
    "53200": Lasting("Raise max_locks_per_transaction on the server."),
    "57P01": "The server was shut down; the next try starts over.",
}
SETTINGS = (
    b"SET client_encoding = 'UTF8'",
    b"SET standard_conforming_strings = on",  # strings end here where they end there
    b"SET client_min_messages = warning",  # it warns of rights that nobody got
    b"SET synchronous_commit = off",  # what gives the database its name waits for the disk
    # What settings of the database would change in the dump's text, and where tables go.
    b"SET transform_null_equals = off",
    b"SET intervalstyle = postgres",
    b"SET default_tablespace = ''",
)
UNGRANTED = ("01006", "01007")  # rights that were not, or not all, granted or revoked
AT_ONCE = 2 << 20  # bytes of rows, or of statements, that one connection takes at a time
TO_THE_END = Statement("large object", "", b"SELECT pg_catalog.lo_lseek64(0, 0, 2);")


def load(
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
    place: str,
    sql: Iterable[bytes],
    load: Load,
    role: Role,
    *,
    connections: int = CONNECTIONS,
) -> Loaded:
    """Load a dump into an empty database.

    :param connect: opens a session of the role.
    :param load: of one table, only its rows and those of the tables below it come, without foreign keys.
    :param connections: that load at the same time; one more takes what cannot be spread.
    :raises RestoreError: nothing that was loaded counts then.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as opened:
        serial, *parallel = sessions = [opened.enter_context(connect()) for _ in range(connections + 1)]
        for session in sessions:
            session.prepare_threshold = None
            for setting in SETTINGS:
                session.execute(setting)
        stop = opened.enter_context(stopping(sessions))
        with Workers(serial, parallel, stop) as workers:
            loading = _Loading(workers, sessions, read(sql), load, role)
            loading.run()
    role.refused.update(loading.refused)
    orphans = tuple(sorted(loading.orphans))
    warnings = tuple(f"rows lack the parents that {each}" for each in orphans)
    below = tuple(sorted(loading.wanted.names - {load.table}))
    seconds = time.monotonic() - started
    return Loaded(place, loading.rows, len(loading.tables), seconds, warnings, orphans, below=below)


class _Loading:
    """One load under way.

    Its steps follow one another: statements in the order of the dump, rows, keys. Each begins when the one before is
    done.
    """

    def __init__(
        self,
        workers: Workers[Connection[Any]],
        sessions: Sequence[Connection[Any]],
        pieces: Iterator[Statement | Trailer | bytes],
        load: Load,
        role: Role,
    ) -> None:
        self._workers, self._sessions, self._pieces = workers, sessions, pieces
        self._table, self._unchecked, self._role = load.table, load.unchecked, role
        self.wanted = Lineage(load.table)
        self.orphans: list[str] = []
        self._step: Literal["statements", "rows", "keys"] = "statements"
        self._group: list[Statement] = []
        self._last: list[Statement] = []  # what would hide rows from the refresh of a materialized view
        self._group_bytes = 0
        self._large_object: Statement | None = None  # is being written
        self._filling: Statement | None = None  # a table's COPY
        self._unfilled = ""  # a table whose rows follow, and which the role may not fill
        self._held: list[bytes] = []  # of its rows
        self._held_bytes = 0
        self._alone: set[str] = set()  # tables whose rows may look at others
        self._all_alone = False
        self.rows = 0
        self.tables: set[str] = set()
        self.refused: Counter[str] = Counter()

    def run(self) -> None:
        """Run a whole dump."""
        complete = False
        for piece in self._pieces:
            if isinstance(piece, bytes):
                self._take_rows(piece)
                continue
            self._submit_rows()
            self._filling, self._unfilled = None, ""
            complete = isinstance(piece, Trailer)
            if isinstance(piece, Statement):
                self._take(piece)
        self._begin("statements")
        for statement in self._last:
            self._take_in_order(statement)
        self._submit_group()
        self._workers.wait()
        if not complete:
            raise RestoreError("The dump lacks its completion line: it is cut short.", "Restore another archive.")
        if self._table and self._table not in self.tables:
            raise RestoreError(f"The dump has no table {self._table!r}.")

    def _begin(self, step: Literal["statements", "rows", "keys"]) -> None:
        if step != self._step:
            self._submit_group()
            self._workers.wait()
            self._step = step

    def _take(self, statement: Statement) -> None:
        if statement.kind == "table" and statement.sql.startswith(b"CREATE"):
            self.tables.add(statement.name)
        if self._table:
            self.wanted.see(statement)
        if statement.kind == "skipped" or (self._table and self._is_left_out(statement)):
            return
        if self._role.does_without(statement):
            self._unfilled = statement.name
        elif not self._role.keeps(statement):
            self._submit(statement)

    def _submit(self, statement: Statement) -> None:
        if statement.kind == "setting":
            self._set(statement)
        elif statement.kind == "rows" and statement.sql.startswith(b"COPY"):
            self._begin("rows")
            self._filling = statement
            if self._is_alone(statement.name):
                self._workers.wait()
        elif is_key(statement):
            self._begin("keys")
            lane = statement.name if statement.kind == "table" else None
            self._workers.submit(Job(partial(_run, statement=statement), len(statement.sql), lane))
        elif forces_row_security(statement):
            self._last.append(statement)
        else:
            self._begin("statements")
            self._take_in_order(unvalidated(statement) if foreign_key(statement) in self._unchecked else statement)

    def _is_left_out(self, statement: Statement) -> bool:
        """Return whether a restore of one table does without: it would need, or bring, the rows of others."""
        return (
            is_foreign_key(statement)
            or statement.kind in ("refresh", "large object")
            or (statement.kind == "rows" and statement.name not in self.wanted.names)
        )

    def _set(self, statement: Statement) -> None:
        self._submit_group()
        self._workers.wait()
        for session in self._sessions:
            _run(session, statement)

    def _take_in_order(self, statement: Statement) -> None:
        if calls_functions(statement):
            self._alone.add(statement.name)
            self._all_alone |= statement.kind == "domain"
        is_optional = statement.kind in OPTIONAL
        if self._group and is_optional != (self._group[-1].kind in OPTIONAL):
            self._submit_group()
        self._group.append(statement)
        self._group_bytes += len(statement.sql)
        self.rows += statement.kind == "rows"
        if statement.kind == "large object":
            self._large_object = statement if b".lo_open(" in statement.sql else self._large_object
            self._large_object = None if b".lo_close(" in statement.sql else self._large_object
        if len(self._group) >= GROUP or self._group_bytes >= AT_ONCE:
            self._submit_group()

    def _submit_group(self) -> None:
        """Run what has been gathered, behind what was before."""
        group, self._group = self._group, []
        if not group:
            return
        run = self._run_optional if group[0].kind in OPTIONAL else self._run_together
        self._workers.submit(Job(partial(run, group=group), self._group_bytes, lane="statements"))
        self._group_bytes = 0
        if self._large_object:  # which a server closes at the end of a transaction
            self._group = [self._large_object, TO_THE_END]

    def _run_optional(self, session: Connection[Any], group: Sequence[Statement]) -> None:
        """Run statements that a server may refuse, or take without doing what they say."""
        with _warned(session, UNGRANTED) as warnings:
            if refusal(session, [statement.sql for statement in group]):
                warnings.clear()
                for statement in group:
                    self._run_if_possible(session, statement)
        self.refused.update(warnings)

    def _run_if_possible(self, session: Connection[Any], statement: Statement) -> None:
        error = refusal(session, [statement.sql])
        if error and error.sqlstate in FORGIVEN:
            if not statement.sql.startswith(b"COMMENT ON EXTENSION"):  # it has its own
                self.refused[error.diag.message_primary or error.sqlstate] += 1
        elif error:
            raise _failure(session, statement, error)

    def _run_together(self, session: Connection[Any], group: Sequence[Statement]) -> None:
        """Run statements; if the server refuses one, find out which."""
        if refusal(session, [statement.sql for statement in group]):
            with session.transaction():
                for statement in group:
                    self._run_alone(session, statement)

    def _run_alone(self, session: Connection[Any], statement: Statement) -> None:
        """Run a statement; a foreign key whose parents the dumped database lacked, too, is not checked."""
        import psycopg

        key = foreign_key(statement)
        if not key:
            _run(session, statement)
            return
        try:
            with session.transaction():
                session.execute(statement.sql, binary=True)
        except psycopg.errors.ForeignKeyViolation:
            _run(session, unvalidated(statement))
            self.orphans.append(f"foreign key {key} asks for")
        except psycopg.Error as error:
            raise _failure(session, statement, error) from error

    def _take_rows(self, piece: bytes) -> None:
        """Gather rows: whole lines, or a part of one that is long."""
        if self._unfilled:
            self._role.left_out[self._unfilled] += piece.count(b"\n")
        if not self._filling:
            return
        self._count(piece)
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes < AT_ONCE:
            return
        if piece.endswith(b"\n"):
            self._submit_rows()
        else:
            held, self._held = self._held, []
            pieces = chain(held, self._rest_of_line())
            self._workers.run(Job(partial(_copy, statement=self._filling, pieces=pieces)))
            self._held_bytes = 0

    def _rest_of_line(self) -> Iterator[bytes]:
        for piece in cast(Iterator[bytes], self._pieces):  # the last of a table's rows ends a line
            self._count(piece)
            yield piece
            if piece.endswith(b"\n"):
                return

    def _count(self, piece: bytes) -> None:
        self.rows += piece.count(b"\n")

    def _submit_rows(self) -> None:
        if self._held and self._filling:
            lane = self._filling.name if self._is_alone(self._filling.name) else None
            copy = partial(_copy, statement=self._filling, pieces=self._held)
            self._workers.submit(Job(copy, self._held_bytes, lane))
        self._held, self._held_bytes = [], 0

    def _is_alone(self, table: str) -> bool:
        return self._all_alone or table in self._alone


@contextlib.contextmanager
def _warned(session: Connection[Any], states: Collection[str]) -> Iterator[list[str]]:
    """Yield what a server warns of, for the length of the block."""
    found: list[str] = []

    def take(said: Diagnostic) -> None:
        if said.sqlstate in states and said.message_primary:
            found.append(said.message_primary)

    session.add_notice_handler(take)
    yield found
    session.remove_notice_handler(take)


def _copy(session: Connection[Any], statement: Statement, pieces: Iterable[bytes]) -> None:
    """Fill a table with rows."""
    import psycopg

    try:
        with session.cursor() as cursor, cursor.copy(statement.sql) as copy:
            for piece in pieces:
                copy.write(piece)
        return
    except psycopg.Error as error:
        failure = _failure(session, statement, error)
    raise failure  # here, it has no cause: the server's words quote values of rows


def _run(session: Connection[Any], statement: Statement) -> None:
    if error := refusal(session, [statement.sql]):
        raise _failure(session, statement, error)


def _failure(session: Connection[Any], statement: Statement, error: Error) -> Exception:
    number = error.sqlstate
    if session.closed or not number:
        return error
    hint = HINTS.get(number, "")
    if statement.kind == "rows":  # the server's words quote values
        return RestoreError(f"The rows of table {statement.name!r} failed with error {number}.", hint)
    said = "" if statement.kind == "large object" else f": {error.diag.message_primary}"
    what = f"{statement.kind} {statement.name!r}" if statement.name else statement.kind
    return RestoreError(f"The dump's {what} failed with error {number}{said}.", hint)
