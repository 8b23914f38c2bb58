"""Loads a dump into an empty PostgreSQL database: statement by statement, rows by COPY, all or nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lifeboat.databases import Loaded
from lifeboat.databases.postgresql_role import Role
from lifeboat.databases.postgresql_statements import OPTIONAL, Lineage, Statement, Trailer, is_foreign_key, read
from lifeboat.errors import RestoreError
from lifeboat.logs import logger
from lifeboat.progress import Progress

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

log = logger(__name__)

HINTS = {
    "28P01": "Check login and password of the Airflow connection.",
    "password authentication failed": "Check login and password of the Airflow connection.",
    "no password supplied": "Check the password of the Airflow connection.",
    "pg_hba.conf": "The server lets this user in from elsewhere only, or with TLS: sslmode in the connection's extras.",
    "Connection refused": "Check host and port of the Airflow connection, and that the server runs.",
    "could not translate host name": "Check the host of the Airflow connection.",
    "server version mismatch": "Install the client of the server's version, or a newer one.",
    "3D000": "Check the database's name in the settings, and the connection's host.",
    "does not exist": "Check the database's name in the settings, and the connection's host.",
    "permission denied for large object": "Make the connection's user a member of the role that owns it, or let that"
    " role GRANT SELECT ON LARGE OBJECT: pg_read_all_data reads none.",
    "permission denied for": "Grant the connection's user the role pg_read_all_data, or make it the owner.",
    "row-level security": "Grant the connection's user BYPASSRLS, or make it the owner of the tables; only BYPASSRLS"
    " helps where a table has FORCE ROW LEVEL SECURITY, which binds its owner as well.",
    "42501": "Restore as a role that may do so: restore_connection in the settings.",
    "55006": "Stop the application, then restore again; pg_stat_activity tells who uses the database.",
    "53100": "The server's disk is full.",
    "53300": "The server has no connection left: raise max_connections, or close some.",
    "0A000": "Restore to a server of the dumped one's version, with its extensions.",
    "42704": "Restore to a server of the dumped one's version, with its extensions.",
    "57P01": "The server was shut down; the next try starts anew.",
}
SETTINGS = (
    b"SET statement_timeout = 0",
    b"SET lock_timeout = 0",
    b"SET idle_in_transaction_session_timeout = 0",
    b"SET client_encoding = 'UTF8'",
    b"SET standard_conforming_strings = on",  # strings end here where they end there
    b"SET client_min_messages = error",
)
REASONS_TOLD = 3


def load(session: Connection[Any], place: str, sql: Iterable[bytes], table: str, role: Role) -> Loaded:
    """Load a dump in one transaction.

    :param session: of the role.
    :param table: the rows of this table and of those below it only, without foreign keys; the others stay empty.
    :raises RestoreError: nothing was loaded then.
    """
    started = time.monotonic()
    for setting in SETTINGS:
        session.execute(setting)
    loading = _Loading(session, table, role, Progress(f"Restoring {place}"))
    with session.transaction():
        loading.run(read(sql))
    refused = (loading.refused + role.refused).most_common(REASONS_TOLD)
    told = [f"{count} of owners and rights: {reason}" for reason, count in refused]
    warnings = [f"statements that could not be run, {'; '.join(told)}"] if told else []
    below = tuple(sorted(loading.wanted.names - {table}))
    seconds = time.monotonic() - started
    return Loaded(place, loading.rows, len(loading.tables), seconds, tuple(warnings), below=below)


class _Loading:
    """One load under way."""

    def __init__(self, session: Connection[Any], table: str, role: Role, progress: Progress) -> None:
        self._session, self._table, self._role, self._progress = session, table, role, progress
        self.wanted = Lineage(table)
        self.rows = 0
        self.tables: set[str] = set()
        self.refused: Counter[str] = Counter()

    def run(self, pieces: Iterator[Statement | Trailer | bytes]) -> None:
        """Run a whole dump."""
        complete = False
        with self._session.cursor() as cursor:
            piece = next(pieces, None)
            while piece is not None:
                complete = isinstance(piece, Trailer)
                if isinstance(piece, Statement) and piece.sql.startswith(b"COPY"):
                    piece = self._copy(cursor, piece, pieces)
                    continue
                if isinstance(piece, Statement):
                    self._statement(cursor, piece)
                piece = next(pieces, None)
        if not complete:
            raise RestoreError("The dump lacks its completion line: it is cut short.", "Restore another archive.")
        if self._table and self._table not in self.tables:
            raise RestoreError(f"The dump has no table {self._table!r}.")

    def _statement(self, cursor: Cursor[Any], statement: Statement) -> None:
        if statement.kind == "table" and statement.sql.startswith(b"CREATE"):
            self.tables.add(statement.name)
        if self._table:
            self.wanted.see(statement)
        if statement.kind == "skipped" or (self._table and self._is_left_out(statement)):
            return
        if statement.kind not in OPTIONAL:
            _run(cursor, statement)
            self.rows += statement.kind == "rows"
        elif statement.kind in ("owner", "default right"):
            self._role.note(statement)
        else:
            self._try(cursor, statement)

    def _is_left_out(self, statement: Statement) -> bool:
        """Whether a restore of one table does without: it would need, or bring, the rows of others."""
        return (
            is_foreign_key(statement)
            or statement.kind in ("refresh", "large object")
            or (statement.kind == "rows" and statement.name not in self.wanted.names)
        )

    def _try(self, cursor: Cursor[Any], statement: Statement) -> None:
        import psycopg

        try:
            with self._session.transaction():
                cursor.execute(statement.sql, binary=True)
        except psycopg.Error as error:
            if self._session.closed:
                raise
            self.refused[error.diag.message_primary or type(error).__name__] += 1

    def _copy(
        self, cursor: Cursor[Any], statement: Statement, pieces: Iterator[Statement | Trailer | bytes]
    ) -> Statement | Trailer | bytes | None:
        """Fill a table with the rows that follow; return the piece behind them."""
        import psycopg

        wanted = not self._table or statement.name in self.wanted.names
        try:
            if not wanted:
                return next((piece for piece in pieces if not isinstance(piece, bytes)), None)
            with cursor.copy(statement.sql) as copy:
                for piece in pieces:
                    if not isinstance(piece, bytes):
                        return piece
                    copy.write(piece)
                    self.rows += piece.count(b"\n")
                    self._progress.advance(len(piece))
            return None
        except psycopg.Error as error:
            number = error.sqlstate or ""
        # Raised here, it has no cause: the server's words quote values of rows.
        raise RestoreError(
            f"The rows of table {statement.name!r} failed with error {number}.", HINTS.get(number or "", "")
        )


def _run(cursor: Cursor[Any], statement: Statement) -> None:
    import psycopg

    try:
        # In the binary format, the server takes one statement at a time, whatever ours looks like to it.
        cursor.execute(statement.sql, binary=True)
    except psycopg.Error as error:
        said = "" if statement.kind in ("rows", "large object") else f": {error.diag.message_primary or error}"
        number = error.sqlstate or ""
    else:
        return
    what = f"{statement.kind} {statement.name!r}" if statement.name else statement.kind
    raise RestoreError(f"The dump's {what} failed with error {number}{said}.", HINTS.get(number, ""))


_RIGHTS = """
WITH old AS (SELECT * FROM pg_database WHERE datname = %(old)s)
SELECT format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(new)s::text) FROM old WHERE datacl IS NOT NULL
UNION ALL
SELECT format('GRANT %%s ON DATABASE %%I TO %%s', privilege_type, %(new)s::text,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM old, aclexplode(datacl)
UNION ALL
SELECT format('ALTER DATABASE %%I SET %%I TO %%s', %(new)s::text, split_part(s, '=', 1),
              CASE WHEN split_part(s, '=', 1) IN ('search_path', 'temp_tablespaces')
                   THEN substr(s, strpos(s, '=') + 1) ELSE quote_literal(substr(s, strpos(s, '=') + 1)) END)
FROM old JOIN pg_db_role_setting ON setdatabase = oid AND setrole = 0, unnest(setconfig) s
"""


def take_rights(session: Connection[Any], old: str, new: str) -> None:
    """Give a database the rights and settings of the one that it replaces, as far as this user may."""
    import psycopg

    for (statement,) in session.execute(_RIGHTS, {"old": old, "new": new}).fetchall():
        try:
            session.execute(statement.encode())
        except psycopg.Error as error:
            log.warning("%s: %s.", statement, error.diag.message_primary)
