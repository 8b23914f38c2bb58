"""Facts from the catalog: of a database that is about to be dumped, and of the server that is to take it.

Queries only; `mysql_limits` decides what the answers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lifeboat.databases.sql.quoting import backquoted

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Session

STORED = ("BASE TABLE", "SYSTEM VERSIONED")  # kinds of tables that store rows
STORES_LOWER = 1  # of lower_case_table_names, as on Windows and Azure
NO_DEFINER = 1449
VIEW_UNUSABLE = (1356, NO_DEFINER)  # what it names is gone, or its definer may not read it; the definer is gone
UNREADABLE = 1064  # what the server itself wrote
LOCKED = 1205
MAY_NOT_LOCK = (1044, 1142)  # the tables of a schema, and a table
DENIED = (1142, 1143)  # a table, or a column of it
CONNECTION_LOST = (2006, 2013)
UNKNOWN_COLLATION = 1273
# Every character of these survives the conversion to UTF-8 and back, so there is nothing to search for.
UNICODE = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "binary"})

WRITTEN_IN_JSON = "'OBJECT', 'ARRAY', 'STRING', 'INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL', 'BOOLEAN', 'NULL'"


class Column(NamedTuple):
    """A column of a table or view, as information_schema.columns has it."""

    table: str
    name: str
    position: int
    type: str
    data_type: str
    scale: int | None
    character_set: str | None
    collation: str | None
    key: str
    extra: str
    expression: str | None
    default: str | None
    nullable: str

    @property
    def is_generated(self) -> bool:
        """Return whether the server computes its values."""
        return bool(self.expression)


class Table(NamedTuple):
    """A table, view or sequence.

    :param kind: ``BASE TABLE``, ``SYSTEM VERSIONED``, ``VIEW``, ``SEQUENCE``.
    :param transactions: whether its engine has them, ``YES`` or ``NO``.
    """

    name: str
    kind: str
    engine: str | None
    collation: str | None
    transactions: str


class View(NamedTuple):
    """A view; its definition is empty where this user may not see it."""

    name: str
    definition: str
    definer: str


class Code(NamedTuple):
    """A trigger, routine or event.

    :param text: of an event, what is in it and its comment; None where this user may not see it.
    :param is_over: whether it is an event whose time has passed, and that no server would make again.
    """

    kind: str
    name: str
    definer: str
    text: str | None
    is_over: int | None


class ForeignKey(NamedTuple):
    """A foreign key, and the table that it refers to."""

    name: str
    table: str
    parent_schema: str
    parent: str


@dataclass(frozen=True)
class Source:
    """Contents of a database.

    :param duality: names of JSON duality views, each with a table that it reads.
    :param histograms: tables with column statistics.
    :param accounts: of the server; empty where this user may not see them.
    :param connections: collations of the connections that made its code.
    """

    schema: str
    version: str
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    views: tuple[View, ...]
    code: tuple[Code, ...]
    foreign_keys: tuple[ForeignKey, ...]
    duality: tuple[tuple[str, str], ...] = ()
    histograms: tuple[str, ...] = ()
    accounts: frozenset[str] = frozenset()
    connections: frozenset[str] = frozenset()

    @property
    def is_mariadb(self) -> bool:
        """Return whether the server is MariaDB's."""
        return "MariaDB" in self.version

    @property
    def collations(self) -> set[str]:
        """The collations of its tables, columns, and code."""
        named = (*(table.collation for table in self.tables), *(column.collation for column in self.columns))
        return {name for name in (*named, *self.connections) if name}


class BinaryLog(NamedTuple):
    """The binary log of a server.

    :param is_on: whether it writes one.
    :param server: its identity; empty where it has none.
    :param tells_snapshot: whether a session can ask for the position of the snapshot that it reads.
    """

    is_on: bool
    server: str
    server_id: int
    tells_snapshot: bool


class LogEnd(NamedTuple):
    """The present end of a server's binary log, and the transactions that it has executed."""

    file: str
    offset: int
    gtids: str


@dataclass(frozen=True)
class Taker:
    """The server of a restore connection, and what its user may do there.

    :param unknown_collations: those of the dumped database that it does not know.
    :param accounts: ``user@host`` of those in whose name definitions can be made.
    :param makes_functions: whether triggers and functions can be made although the server writes a binary log.
    :param needs_primary_keys: whether it refuses tables without one.
    :param folds_names: whether names of tables that differ in case only are the same to it.
    :param lowers_names: whether it stores them in lower case.
    :param longest: bytes of the longest statement that it takes.
    """

    address: str
    version: str
    unknown_collations: frozenset[str]
    engines: frozenset[str]
    accounts: frozenset[str]
    makes_functions: bool
    needs_primary_keys: bool
    folds_names: bool
    lowers_names: bool
    read_only: bool
    longest: int

    @property
    def is_mariadb(self) -> bool:
        """Return whether the server is MariaDB's."""
        return "MariaDB" in self.version


def read(session: Session, schema: str, version: str) -> Source:
    """Ask the server what a database holds."""
    return Source(
        schema,
        version,
        columns(session, schema),
        tuple(
            Table(*row)
            for row in session.query(
                "SELECT t.table_name, t.table_type, t.engine, t.table_collation, COALESCE(e.transactions, 'NO')"
                " FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine"
                " WHERE t.table_schema = %s ORDER BY t.table_name",
                schema,
            )
        ),
        tuple(
            View(name, _read_text(definition), definer)
            for name, definition, definer in session.query(
                "SELECT table_name, CAST(COALESCE(view_definition, '') AS BINARY), definer"
                " FROM information_schema.views WHERE table_schema = %s ORDER BY table_name",
                schema,
            )
        ),
        tuple(
            Code(kind, name, definer, None if text is None else _read_text(text), is_over)
            for kind, name, definer, text, is_over in session.query(_CODE, schema, schema, schema)
        ),
        tuple(
            ForeignKey(*row)
            for row in session.query(
                "SELECT constraint_name, table_name, unique_constraint_schema, referenced_table_name"
                " FROM information_schema.referential_constraints WHERE constraint_schema = %s"
                " ORDER BY table_name, constraint_name",
                schema,
            )
        ),
        tuple(
            _if_there(
                session,
                "SELECT DISTINCT table_name, referenced_table_name FROM information_schema.json_duality_view_tables"
                " WHERE table_schema = %s",
                schema,
            )
        ),
        tuple(
            name
            for (name,) in _if_there(
                session,
                "SELECT DISTINCT table_name FROM information_schema.column_statistics WHERE schema_name = %s"
                " ORDER BY table_name",
                schema,
            )
        ),
        _accounts(session),
        frozenset(name for (name,) in session.query(_CONNECTIONS, schema, schema, schema, schema)),
    )


def _read_text(definition: bytes) -> str:
    """Return a definition as text: what was typed in the character set ``binary`` need not be UTF-8."""
    return definition.decode(errors="replace")


_CODE = (
    "SELECT 'trigger', trigger_name, definer, CAST('' AS BINARY), 0"
    " FROM information_schema.triggers WHERE trigger_schema = %s"
    " UNION ALL SELECT LOWER(routine_type), routine_name, definer, CAST(routine_definition AS BINARY), 0"
    " FROM information_schema.routines WHERE routine_schema = %s"
    " UNION ALL SELECT 'event', event_name, definer, CAST(CONCAT(event_definition, event_comment) AS BINARY),"
    " on_completion = 'NOT PRESERVE' AND COALESCE(execute_at, ends) < NOW()"
    " FROM information_schema.events WHERE event_schema = %s ORDER BY 1, 2"
)


_CONNECTIONS = (
    "SELECT collation_connection FROM information_schema.triggers WHERE trigger_schema = %s"
    " UNION SELECT collation_connection FROM information_schema.routines WHERE routine_schema = %s"
    " UNION SELECT collation_connection FROM information_schema.events WHERE event_schema = %s"
    " UNION SELECT collation_connection FROM information_schema.views WHERE table_schema = %s"
)


def binary_log(session: Session) -> BinaryLog:
    """Ask the server whether it writes a binary log."""
    ((is_on, number),) = session.query("SELECT @@log_bin, @@server_id")
    uids = _if_there(session, "SELECT @@server_uuid") or _if_there(session, "SELECT @@server_uid") or [("",)]
    files = dict(session.query("SHOW STATUS LIKE 'binlog_snapshot_file'"))
    return BinaryLog(bool(is_on), uids[0][0], number, any(files.values()))


def log_end(session: Session) -> LogEnd | None:
    """Ask the server for the end of its binary log; MariaDB tells no GTIDs with it.

    While others write, MySQL's GTIDs need not be those up to there.

    :returns: None where this user is not allowed to know it.
    """
    # Until 8.1, and of MariaDB, by the second name alone, since 8.4 by the first.
    rows = _if_there(session, "SHOW BINARY LOG STATUS") or _if_there(session, "SHOW MASTER STATUS")
    ends = (LogEnd(file, int(offset), "".join(gtids).replace("\n", "")) for file, offset, _, _, *gtids in rows)
    return next(ends, None)


def columns(session: Session, schema: str) -> tuple[Column, ...]:
    """Ask the server for the columns of a database."""
    rows = session.query(
        "SELECT table_name, column_name, ordinal_position, column_type, data_type, numeric_scale,"
        " character_set_name, collation_name, column_key, extra, generation_expression, column_default, is_nullable"
        " FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position",
        schema,
    )
    return tuple(Column(*row) for row in rows)


def sizes(session: Session, schema: str) -> dict[str, int]:
    """Ask the server for the bytes of the tables of a database; some servers know them from yesterday."""
    rows = session.query(
        "SELECT table_name, COALESCE(data_length, 0) FROM information_schema.tables"
        " WHERE table_schema = %s AND table_type = 'BASE TABLE' ORDER BY table_name",
        schema,
    )
    return {name: int(size) for name, size in rows}


def unusable_views(session: Session, schema: str, names: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield the views that cannot be read, each with whether that is because its definer does not exist."""
    for name in names:
        # Only prepared: where it is run, MariaDB draws a number for a view that says NEXTVAL, even for no row.
        read = f"SELECT 1 FROM {backquoted(schema)}.{backquoted(name)}"  # noqa: S608  # quoted
        _, number = _asked(session, "PREPARE reading FROM %s", read)
        if number in VIEW_UNUSABLE:
            yield name, number == NO_DEFINER
        if number == LOCKED:
            return  # the views that read what is locked would each be waited for


def unwritable_views(session: Session, schema: str, names: Iterable[str]) -> Iterator[str]:
    """Yield the views that the server does not show: asked for those, clients end."""
    for name in names:
        view = f"{backquoted(schema)}.{backquoted(name)}"
        numbers = {_asked(session, f"SHOW {what} {view}")[1] for what in ("FIELDS FROM", "CREATE VIEW")}
        if numbers & {*VIEW_UNUSABLE, UNREADABLE}:
            yield name
        if LOCKED in numbers:
            return  # the views that read what is locked would each be waited for


def denied_tables(session: Session, schema: str, names: Iterable[str]) -> Iterator[str]:
    """Yield the tables whose rows this user may not read."""
    for name in names:
        if _asked(session, f"SELECT * FROM {backquoted(schema)}.{backquoted(name)} LIMIT 0")[1] in DENIED:  # noqa: S608  # quoted
            yield name


def lost_characters(
    session: Session, source: Source, table: str, columns: Sequence[Column], seconds: float
) -> list[int] | None:
    """Count the rows of a table whose values do not survive the way through SQL in UTF-8, for each of some columns.

    :returns: None where it takes longer than so many seconds, or this user may not read the table.
    """
    sums = ", ".join(f"COALESCE(SUM({_is_lost(column)}), 0)" for column in columns)
    limit = (
        f"SET STATEMENT max_statement_time = {seconds:.3f} FOR SELECT"
        if source.is_mariadb
        else f"SELECT /*+ MAX_EXECUTION_TIME({seconds * 1000:.0f}) */"
    )
    rows, _ = _asked(session, f"{limit} {sums} FROM {backquoted(source.schema)}.{backquoted(table)}")
    return [int(count) for count in rows[0]] if rows else None


def _is_lost(column: Column) -> str:
    """Return the condition under which a value of a column comes back as another."""
    name = backquoted(column.name)
    if column.data_type == "json":
        text = f"CAST({name} AS CHAR)"
        return f"{text} <> CAST(CAST({text} AS JSON) AS CHAR) OR JSON_TYPE({name}) NOT IN ({WRITTEN_IN_JSON})"
    again = f"CONVERT(CONVERT({name} USING utf8mb4) USING {column.character_set})"
    return f"CAST({name} AS BINARY) <> CAST({again} AS BINARY)"


def read_taker(session: Session, address: str, collations: Iterable[str]) -> Taker:
    """Ask the server of a restore connection what it would take.

    :param collations: that the dumped database uses.
    """
    version = session.version()
    ((account, longest, folds, read_only, logs, trusts),) = session.query(
        "SELECT CURRENT_USER(), @@max_allowed_packet, @@lower_case_table_names, @@global.read_only, @@log_bin,"
        " @@log_bin_trust_function_creators"
    )
    grants = [grant for (grant,) in session.query("SHOW GRANTS")]
    everywhere = [grant.split(" ON ")[0] for grant in grants if " ON *.* " in grant]
    may = {name.strip() for grant in everywhere for name in grant.removeprefix("GRANT ").split(",")}
    accounts = {account}
    if may & {"ALL PRIVILEGES", "SUPER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER"}:
        accounts |= _accounts(session)
    engines = session.query("SELECT LOWER(engine) FROM information_schema.engines WHERE support IN ('YES', 'DEFAULT')")
    return Taker(
        address,
        version,
        frozenset(name for name in collations if not _knows(session, name)),
        frozenset(name for (name,) in engines),
        frozenset(accounts),
        not logs or bool(trusts) or bool(may & {"ALL PRIVILEGES", "SUPER", "SYSTEM_VARIABLES_ADMIN"}),
        _needs_primary_keys(session),
        bool(folds),
        int(folds) == STORES_LOWER,
        str(read_only).upper() not in ("0", "OFF"),
        longest,
    )


def _accounts(session: Session) -> frozenset[str]:
    rows = _if_there(session, "SELECT CONCAT(User, '@', Host) FROM mysql.user")
    return frozenset(name.removesuffix("@") for (name,) in rows)  # roles have no host


def _knows(session: Session, collation: str) -> bool:
    """Return whether the server knows a collation; no table of MariaDB's lists all by their full names."""
    return _asked(session, f"SELECT _utf8mb4'' COLLATE {collation}")[1] != UNKNOWN_COLLATION


def _needs_primary_keys(session: Session) -> bool:
    """Return whether the server demands them, and the user may not change that for a session."""
    if not any(value for (value,) in _if_there(session, "SELECT @@sql_require_primary_key")):
        return False
    return bool(_asked(session, "SET SESSION sql_require_primary_key = 0")[1])


def _if_there(session: Session, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query on what not every server has, or not for every user: none where it is not there."""
    return _asked(session, sql, *values)[0]


def _asked(session: Session, sql: str, *values: object) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows of a query, and the number of the server's error: 0 where it answered."""
    from lifeboat.databases.mysql.dump import is_of_driver

    try:
        return session.query(sql, *values), 0
    except Exception as error:
        number = error.args[0] if is_of_driver(error) and error.args else None
        if not isinstance(number, int) or number in CONNECTION_LOST:
            raise
        return [], number
