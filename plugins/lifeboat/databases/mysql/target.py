"""The server that a dump is loaded into: what it is, what its user may do, and what it makes of the dump."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.definitions import Table
from lifeboat.databases.mysql.dump import CONNECTION_HINTS, IDLE_SECONDS, Session, is_of_driver
from lifeboat.databases.mysql.statements import Origin
from lifeboat.databases.sql.quoting import backquoted_bytes
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError

PACKET_OVERHEAD = 64
UNKNOWN_COLLATION = 1273
UNKNOWN_ENGINE = 1286

_ALLOW = "Grant the connection's user SESSION_VARIABLES_ADMIN,"
TRUST = "Set log_bin_trust_function_creators = 1 on the server, or grant the connection's user SUPER."
HINTS = CONNECTION_HINTS | {
    1044: "Grant the connection's user all privileges on the schema to restore into.",
    1049: "Create the schema to restore into.",
    1050: "Restore into an empty schema.",
    1054: "A trigger names a column that its table does not have: drop or repair it in the source database.",
    1062: (
        "The dump holds a key twice: it is damaged, a FLOAT in the key lost digits, or the server compares text "
        "differently from its source."
    ),
    1114: "The server's disk or memory is full.",
    1142: "Grant the connection's user all privileges on the schema to restore into.",
    1146: "The dump refers to something that it does not hold, because it was excluded or lies in another schema.",
    1153: "Raise max_allowed_packet on the server; 1G is the most.",
    1067: "The server refuses a default of that table; give the connection's user the right to set sql_mode.",
    1104: "Set max_join_size on the server to its default.",
    1118: f"The server forbids rows that long. {_ALLOW} or set innodb_strict_mode = OFF there.",
    1173: "Set innodb_force_primary_key = OFF on the server while restoring.",
    1205: "That schema is in use. Stop the application; SHOW PROCESSLIST shows other users.",
    1227: (
        "Grant the connection's user SET_ANY_DEFINER (MySQL 8.2 and later), SET_USER_ID (MySQL 8.0), SET USER (MariaDB)"
        " or SUPER, or restore as an administrator."
    ),
    1231: "The dump sets a variable or value that this server does not know; restore to a server of the dumped"
    " server's kind and version.",
    1273: "Restore to a server of the dumped server's kind and version, or replace the collation's name in the dump.",
    1286: "Install the storage engine on the server, or replace its name in the dump.",
    1305: "The dump refers to a routine that it does not hold; it was dumped without routines.",
    1290: "The server is read-only; restore to the primary.",
    1368: "The view needs another one that the server could not make, or that has become read-only.",
    1418: TRUST,
    1419: TRUST,
    1449: "The definer's account is not on the server; create it, or restore as a user not allowed to set definers.",
    1792: "The server makes transactions read-only; set transaction_read_only = OFF there.",
    1969: "Set max_statement_time = 0 on the server.",
    3024: "Set max_execution_time = 0 on the server.",
    3105: (
        "The dump has values for generated columns, as MariaDB's client writes them."
        " Dump again with MySQL's own client."
    ),
    3750: f"The server demands primary keys. {_ALLOW} or set sql_require_primary_key = OFF there while restoring.",
    3819: "The dump holds a row that breaks a CHECK of its table; it is damaged.",
    3780: "The columns of a foreign key and of its parent have different types, which MySQL rejects.",
    6125: f"A foreign key's parent is not unique. {_ALLOW} or set restrict_fk_on_non_standard_key = OFF there.",
    4025: "The dump holds a row that breaks a CHECK of its table; it is damaged.",
}

T = TypeVar("T")

# What the source may have allowed must load, whatever the target's defaults are; each where the server knows it.
SETTINGS = {
    "character_set_collations": "''",  # MariaDB 11: what names a character set alone means its old default collation
    "check_constraint_checks": "OFF",  # MariaDB: rows that came in so break a CHECK, and must come back
    "completion_type": "NO_CHAIN",
    "explicit_defaults_for_timestamp": "ON",
    "idle_transaction_timeout": "0",
    "idle_write_transaction_timeout": "0",
    "innodb_ddl_buffer_size": "33554432",  # MySQL: keys of large tables are sorted in fewer passes
    "innodb_lock_wait_timeout": "50",
    "innodb_strict_mode": "OFF",
    "lock_wait_timeout": "86400",
    "max_error_count": "64",
    "net_read_timeout": "3600",
    "net_write_timeout": "3600",
    "restrict_fk_on_non_standard_key": "OFF",
    "sql_generate_invisible_primary_key": "OFF",
    "sql_if_exists": "OFF",
    "sql_require_primary_key": "OFF",
    "system_versioning_insert_history": "ON",  # MariaDB 10.11: versions of rows keep their times
    "transaction_read_only": "OFF",
    "tx_read_only": "OFF",
}
# Catalogs are read under these limits, too, and a shortened list of tables or schemas looks like a whole one. The first
# comment is for MariaDB, the second for MySQL.
UNLIMITED = (
    b"SET SESSION sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, sql_big_selects = 1"
    b" /*M!100101 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */"
)
INVALID_DATES = b"SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',ALLOW_INVALID_DATES')"
# Whatever a dump says: the driver crashes on a message of the server that is not UTF-8. Nothing else of a load changes.
READABLE = b"SET SESSION character_set_results = utf8mb4"
# How the dump is read until it says something else; the names in which MySQL's client does not always save that.
AS_READ = (
    b"SET NAMES utf8mb4",
    b"SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
    b"SET @saved_cs_client = @@character_set_client, @saved_cs_results = @@character_set_results,"
    b" @saved_col_connection = @@collation_connection, @saved_sql_mode = @@sql_mode, @saved_time_zone = @@time_zone",
)
NOT_ALLOWED = 1227
UNKNOWN_COLUMN = 1054
# A table, routine or view is missing, or one that can be written to: it may come later in the dump.
DENIED = frozenset((1142, 1143, 1370))  # what a view reads: who loads may reach no other schema
LACKS = frozenset((UNKNOWN_COLUMN, 1146, 1305, 1347, 1356, 1368, 1449)) | DENIED
INVALID_VIEW = 1356  # also: its definer lacks rights
LACKS_TABLE = frozenset((1146, INVALID_VIEW)) | DENIED


class RefusedError(RestoreError):
    """The server refused a statement.

    :param number: of its error.
    """

    def __init__(self, doing: str, number: int, said: str = "") -> None:
        super().__init__(f"{doing} failed with error {number}{said}.", HINTS.get(number, ""))
        self.number = number


Step = Sequence[Statement]
Make = Callable[[Statement], RefusedError | None]  # returns why the server refused
Refused = tuple[Step, RefusedError]
LeftOut = tuple[str, str]  # kind and name


def run(session: Session, sql: bytes, doing: str, *, private: bool = False) -> int:
    """Run a statement and return the number of rows that it changed.

    :param private: the server's message may hold values of rows, which must not be logged.
    :raises RestoreError: it failed.
    """
    return _do(lambda: session.execute(sql), doing, private=private)


@contextlib.contextmanager
def subtracting_signed(session: Session, table: Table | None) -> Iterator[None]:
    """Let what a table computes fall below zero, if its definition subtracts; no dump says under which mode it does."""
    if table is None or not table.subtracts:
        yield
        return
    ((mode,),) = session.query("SELECT @@SESSION.sql_mode")
    session.execute(f"SET SESSION sql_mode = '{mode},NO_UNSIGNED_SUBTRACTION'".encode())
    try:
        yield
    finally:
        session.execute(f"SET SESSION sql_mode = '{mode}'".encode())


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
    raise RefusedError(doing, number, said)


@contextlib.contextmanager
def session_in(connect: Callable[..., Any], schema: str) -> Iterator[Session]:
    """Open a session in a schema, in which a dump's statements are read and allowed as where they come from."""
    session = Session(connect())
    try:
        session.one_statement_at_a_time()
        waits = b"SET autocommit = 1, wait_timeout = %d" % IDLE_SECONDS
        for sql in (waits, b"USE " + backquoted_bytes(schema), *AS_READ):
            session.execute(sql)
        allow(session)
        yield session
    finally:
        session.close()


def allow(session: Session) -> None:
    """Let a session load what other servers and sessions allowed.

    What this user may not set stays: where it matters, the server's error and its hint say so.
    """
    session.execute(UNLIMITED)
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    for name, value in session.query(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})"):
        if value != SETTINGS[name]:
            try:
                session.execute(f"SET SESSION {name} = {SETTINGS[name]}".encode())
            except Exception as error:
                if not is_of_driver(error):
                    raise


def steps_of(statements: Iterable[Statement]) -> tuple[list[Step], Step]:
    """Return definitions, each behind the settings that lead to it, and the settings behind the last one."""
    steps: list[list[Statement]] = [[]]
    for statement in statements:
        steps[-1].append(statement)
        if statement.kind != "setting":
            steps.append([])
    *definitions_, last = steps
    return [*definitions_], last


def in_passes(steps: Sequence[Step], make: Make) -> tuple[list[Step], list[Refused]]:
    """Make what a dump defines, in its order, and views after those that they read.

    Whatever still lacks a dependency is tried again as long as each pass makes at least one.

    :returns: what was made, in that order, and what was refused.
    :raises RefusedError: the server refuses something that is nothing's to make up for.
    """
    made: list[Step] = []
    refused: list[Refused] = []
    steps = _views_in_order(steps)
    while steps:
        refused = []
        for step in steps:
            if refusal := make_step(step, make):
                refused.append((step, refusal))
            else:
                made.append(step)
        if len(refused) == len(steps):
            break
        steps = [step for step, _ in refused]
    return made, refused


def _views_in_order(steps: Sequence[Step]) -> list[Step]:
    """Return steps with the views behind all else, and behind the views that they read."""
    views = {backquoted_bytes(step[-1].name): step for step in steps if step[-1].kind == "view"}
    ordered = definitions.readers_first({name: step[-1].sql for name, step in views.items()})
    return [*(step for step in steps if step[-1].kind != "view"), *(views[name] for name in reversed(list(ordered)))]


def make_step(step: Step, make: Make) -> RefusedError | None:
    """Make a definition with its settings; return why the server refused, if something that comes later may help.

    :raises RefusedError: nothing will help.
    """
    for statement in step:
        if refusal := make(statement):
            if statement.kind not in definitions.CODE or refusal.number not in LACKS:
                raise refusal
            return refusal
    return None


def left_out(refused: Iterable[Refused]) -> dict[LeftOut, str]:
    """Return the views that read what the dump does not hold, and the triggers that do not fit, each with a warning.

    :raises RefusedError: something else was refused.
    """
    found: dict[LeftOut, str] = {}
    for step, refusal in refused:
        kind, name = step[-1].kind, step[-1].name
        if kind == "view" and refusal.number in LACKS_TABLE:
            why = f"it reads {'another schema' if refusal.number in DENIED else 'something that is not in the dump'}"
        elif kind == "trigger" and refusal.number == UNKNOWN_COLUMN:
            why = f"it names a column that table {step[-1].table!r} does not have"
        else:
            raise refusal
        found[kind, name] = f"{kind} {name!r} was left out: {why} (error {refusal.number})"
    return found


def passed_events(session: Session, names: Iterable[str]) -> dict[LeftOut, str]:
    """Return those of a dump's events that the server did not keep, as their time has passed, each with a warning."""
    made = session.query("SELECT event_name FROM information_schema.events WHERE event_schema = database()")
    missing = sorted(set(names) - {name for (name,) in made})
    return {("event", name): f"event {name!r} was left out: its time has passed" for name in missing}


def reaches_back(statement: Statement, source: str, schema: str) -> str:
    """Return the warning of a definition that means the original, wherever it is loaded; empty of any other.

    :param source: the schema that was dumped; empty where nobody knows.
    :param schema: that is filled.
    """
    if source in ("", schema) or not definitions.names_schema(statement, source):
        return ""
    return f"{statement.kind} {statement.name!r} names schema {source}, and still refers to it"


@dataclass(frozen=True)
class Target:
    """Facts about the server that a load needs.

    :param longest: bytes of the longest statement that it takes.
    :param cores: that it may use; None where it does not say.
    """

    version: str
    longest: int
    cores: int | None = None

    @property
    def is_mariadb(self) -> bool:
        """Return whether the server is MariaDB's."""
        return "MariaDB" in self.version


def read_target(session: Session) -> Target:
    """Ask the server."""
    ((packet,),) = session.query("SELECT @@max_allowed_packet")
    target = Target(session.version(), packet - PACKET_OVERHEAD)
    if not target.is_mariadb:  # MySQL's variable of that name does not follow the cores
        return target
    groups = session.query("SHOW GLOBAL VARIABLES LIKE 'thread_pool_size'")
    return replace(target, cores=int(groups[0][1]) if groups else None)


def differences(origin: Origin, target: Target) -> Iterator[str]:
    """Yield a warning where the server is of another kind than the dumped one, or older."""
    if not origin.server:
        return
    if ("MariaDB" in origin.server) != target.is_mariadb:
        yield f"the dump is of {origin.server}, the server is {target.version}: definitions may come out differently"
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
        if self._target.is_mariadb and (feature := definitions.mysql_only(statement)):
            raise RestoreError(
                f"The dump's {what} needs {feature}, which MariaDB does not have.", "Restore to a MySQL server."
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
