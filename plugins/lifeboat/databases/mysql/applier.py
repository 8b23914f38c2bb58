"""Gives the server what a binary log holds, once it has been judged: rows of many transactions at once, and statements.

Rows go to the server as its own events, in BINLOG statements; transactions of the log become fewer and larger ones. No
event of another kind is given to it, so it counts no transaction of the log as its own.
"""

from __future__ import annotations

import binascii
import contextlib
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lifeboat.databases.mysql.code import Code
from lifeboat.databases.mysql.dump import Session, is_of_driver
from lifeboat.databases.mysql.lexis import Lexis
from lifeboat.databases.mysql.log_events import Query, Settings, Variable
from lifeboat.databases.mysql.log_readers import readers
from lifeboat.databases.mysql.log_rows import RowChanges
from lifeboat.databases.mysql.log_statements import STORED, Judged, runs_events
from lifeboat.databases.mysql.statements import recognise
from lifeboat.databases.mysql.target import LACKS_TABLE
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.errors import RestoreError

MERGED = {True: 8_000, False: 200_000}  # bytes of rows given at once: MariaDB takes ever longer for more
COMMIT_SECONDS = 0.5  # between commits of small transactions
NOWHERE = "information_schema"  # the default schema of statements that must name theirs

_AUTO_IS_NULL, _NO_FOREIGN_KEYS, _RELAXED_UNIQUE = 1 << 14, 1 << 26, 1 << 27  # of flags
_NO_CHECKS, _DEFAULT_TIMESTAMPS, _IF_EXISTS, _INSERT_HISTORY = 1 << 15, 1 << 24, 1 << 28, 1 << 30  # of MariaDB's
_CHECKS = (
    "foreign_key_checks",
    "unique_checks",
    "check_constraint_checks",
    "sql_auto_is_null",
    "system_versioning_insert_history",
)
# Set only where they differ: MySQL lets few users do it.
_RESTRICTED = (
    "auto_increment_increment",
    "auto_increment_offset",
    "default_collation_for_utf8mb4",
    "explicit_defaults_for_timestamp",
)
# A load leaves views and code that lack something out, and a replay, too: no rows depend on them.
_LACKING: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("CREATE VIEW", "ALTER VIEW"), LACKS_TABLE),
    "DROP VIEW": frozenset((1051, 4092)),
    "DROP TRIGGER": frozenset((1360,)),
    "DROP EVENT": frozenset((1539,)),
}
_TRANSACTIONAL = frozenset(("innodb", "rocksdb", "tokudb", "ndbcluster"))


class RefusedError(Exception):
    """The server refused something.

    :param number: of its error.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Ask:
    """A statement that runs.

    :param variables: values that it reads.
    """

    query: Query
    judged: Judged
    variables: tuple[Variable, ...] = ()


Change = RowChanges | Ask


class Collations:
    """The collations of a server, by their numbers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: Mapping[int, tuple[str, str]] | None = None

    def __call__(self, number: int) -> tuple[str, str]:
        """Return the character set of a collation, and its name.

        :raises ValueError: the server has none of that number.
        """
        self._found = self._found or self._read()
        if number not in self._found:
            raise ValueError(f"collation {number} is not known to this server")
        return self._found[number]

    def _read(self) -> Mapping[int, tuple[str, str]]:
        query = "SELECT id, character_set_name, {} FROM information_schema.{} WHERE id IS NOT NULL"
        try:  # of MariaDB since 10.10: its collations may have a number for each character set
            rows = self._session.query(query.format("full_collation_name", "collation_character_set_applicability"))
        except Exception as error:
            if not is_of_driver(error):
                raise
            rows = self._session.query(query.format("collation_name", "collations"))
        return {int(number): (charset, name) for number, charset, name in rows}


_CASCADING = (
    "SELECT referenced_table_name, update_rule, delete_rule FROM information_schema.referential_constraints"
    " WHERE constraint_schema = %s AND unique_constraint_schema = %s"
)
_CHANGING = frozenset(("CASCADE", "SET NULL", "SET DEFAULT"))  # rules of foreign keys
_TRIGGERS = "SELECT event_object_table, action_statement FROM information_schema.triggers WHERE trigger_schema = %s"
_DEFINITIONS = (
    _TRIGGERS,
    "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = %s",
    "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = %s",
)
_SETS_VALUES = re.compile(r"\s*SET\s+`?NEW`?\s*\.", re.IGNORECASE)
_STORED = (
    "SELECT routine_name, routine_definition, sql_mode FROM information_schema.routines WHERE routine_schema = %s",
    "SELECT trigger_name, action_statement, sql_mode FROM information_schema.triggers WHERE trigger_schema = %s",
    "SELECT event_name, event_definition, sql_mode FROM information_schema.events WHERE event_schema = %s",
)


def check_code(session: Session, schema: str) -> None:
    """Make sure that no code in a schema runs events of a binary log.

    The account that replays has the right to do it, and on MariaDB that right reaches every schema.

    :raises RestoreError: some does, or cannot be read.
    """
    for query in _STORED:
        for name, code, mode in session.query(query, schema):
            lexis = Lexis("NO_BACKSLASH_ESCAPES" not in mode, "ANSI_QUOTES" in mode)
            if code is None or runs_events(code.encode(), lexis):
                raise RestoreError(
                    f"Code of {schema!r} may run events of a binary log, which could change other schemas: {name!r}.",
                    "Restore without a replay, or to the moment of the backup.",
                )


class Applier:
    """Gives changes to the server.

    :param session: of the account that replays.
    :param schema: that is filled.
    :param code: remembers whose the code is that statements make.
    :param role: that events need; no statement runs in it.
    """

    def __init__(self, session: Session, schema: str, code: Code, role: str, *, is_mariadb: bool) -> None:
        self._session, self._schema, self._code, self._is_mariadb = session, schema, code, is_mariadb
        self.collations = Collations(session)
        variables = {name.lower(): str(value) for name, value in session.query("SHOW SESSION VARIABLES")}
        self._variables = variables.keys()
        self._waiting: list[bytes] = []  # row events
        self._size = 0
        self._is_open = False  # a transaction
        self._begun = time.monotonic()  # when the first of its changes came
        self._is_bare = False  # nothing but rows may follow until it is committed
        self._role, self._has_role = role, False
        self._in: str = schema
        self._set = {name: variables[name] for name in _RESTRICTED if name in variables}  # settings of the session
        self._engines: dict[str, str] = {}
        self._rules: Mapping[str, tuple[bool, bool]] | None = None
        self._firing: frozenset[str] | None = None
        self._reading: frozenset[str] | None = None
        self.lacking = 0
        """Definitions that lack what the dump does not hold."""

    def begin_file(self, format_event: bytes) -> None:
        """Tell the server how the events of the next file are written."""
        self.commit()
        self._run_events([format_event])
        if not self._is_mariadb:
            self._run(b"SET gtid_next = 'AUTOMATIC'")  # the event leaves it open

    def lexis(self, settings: Settings) -> Lexis:
        """Return how a server reads a statement that ran with some settings."""
        if not settings.character_sets:
            return settings.lexis()
        return settings.lexis(self.collations(settings.character_sets[0])[0])

    def apply(self, changes: Iterable[Change]) -> None:
        """Give the server the changes of a transaction, or of a part of it.

        :raises RefusedError: it refuses one.
        """
        for change in changes:
            if isinstance(change, Ask):
                self._ask(change)
            else:
                self._add(change)

    def end(self) -> None:
        """Take the end of a transaction of the log."""
        if self._is_bare or time.monotonic() - self._begun > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make all changes durable.

        :raises RefusedError: the server refuses one of them.
        """
        self.flush()
        if self._is_open:
            self._run(b"COMMIT")
        self._is_open = self._is_bare = False

    def roll_back(self) -> None:
        """Take the changes since the last commit back, as far as the tables allow that."""
        self.flush()
        if self._is_open:
            self._run(b"ROLLBACK")
        self._is_open = self._is_bare = False

    def flush(self) -> None:
        """Give the server the rows that wait."""
        if not self._waiting:
            return
        events, self._waiting, self._size = self._waiting, [], 0
        self._begin()
        self._run_events(events)

    def is_plain(self, tables: Collection[str]) -> bool:
        """Return whether one of some tables keeps changes that are rolled back."""
        return any(self._engine(table) not in _TRANSACTIONAL for table in tables)

    def cascades(self, table: str) -> bool:
        """Return whether the server changes other tables where a key of a table changes."""
        return self._of_keys(table)[0]

    def spreads(self, table: str) -> bool:
        """Return whether the server changes other tables where rows of a table are deleted or changed."""
        return any(self._of_keys(table))

    def may_spread(self, tables: Iterable[str]) -> bool:
        """Return whether others change with some tables, by foreign keys, or by triggers of which nothing is known."""
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return any(self.spreads(table) or not self._session.query(query, self._schema, table) for table in tables)

    def _of_keys(self, table: str) -> tuple[bool, bool]:
        """Return whether foreign keys to a table change rows where it is updated, and where rows are deleted."""
        if self._rules is None:
            found: dict[str, tuple[bool, bool]] = {}
            for name, *rules in self._session.query(_CASCADING, self._schema, self._schema):
                known = found.get(name, (False, False))
                found[name] = known[0] or rules[0] in _CHANGING, known[1] or rules[1] in _CHANGING
            self._rules = found
        return self._rules.get(table, (False, False))

    def fires(self, tables: Iterable[str]) -> bool:
        """Return whether triggers of some tables may change other tables: all do but those that only set values."""
        if self._firing is None:
            rows = self._session.query(_TRIGGERS, self._schema)
            self._firing = frozenset(table.lower() for table, code in rows if not _SETS_VALUES.match(code or ""))
        return not self._firing.isdisjoint(table.lower() for table in tables)

    def reading(self, excluded: Collection[str]) -> frozenset[str]:
        """Return views and code of the schema, and tables by their triggers, that read some tables; in lower case."""
        if self._reading is None:
            definitions = [row for query in _DEFINITIONS for row in self._session.query(query, self._schema)]
            self._reading = readers([(name, code or "") for name, code in definitions], excluded)
        return self._reading

    def apply_alone(self, changes: Iterable[Change]) -> None:
        """Give the server changes of tables that know no transactions, which MySQL wants each by itself."""
        self.commit()
        for change in changes:
            if isinstance(change, Ask):
                self._ask(change)
            else:
                self._run_events([change.events])

    def drop_temporary(self, tables: Iterable[str]) -> None:
        """Drop temporary tables, which a server loses when it stops."""
        self.commit()
        for table in tables:
            name = f"{backquoted(self._schema)}.{backquoted(table)}"
            self._run(f"DROP TEMPORARY TABLE IF EXISTS {name}".encode())

    def _run_events(self, events: Sequence[bytes]) -> None:
        self._take_role(wanted=True)
        self._run(b"BINLOG '" + binascii.b2a_base64(b"".join(events), newline=False) + b"'")
        for name in _CHECKS:  # row events bring their own
            self._set.pop(name, None)

    def _take_role(self, *, wanted: bool) -> None:
        if self._role and self._has_role != wanted:
            self._run(f"SET ROLE '{self._role}'".encode() if wanted else b"SET ROLE NONE")
            self._has_role = wanted

    def _engine(self, table: str) -> str:
        if table not in self._engines:
            query = "SELECT engine FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
            rows = self._session.query(query, self._schema, table)
            self._engines[table] = str(rows[0][0]).lower() if rows else "innodb"
        return self._engines[table]

    def _add(self, rows: RowChanges) -> None:
        if self._waiting and self._size + len(rows.events) > MERGED[self._is_mariadb]:
            self.flush()
        if not self._waiting and not self._is_open:
            self._begun = time.monotonic()
        self._waiting.append(rows.events)
        self._size += len(rows.events)

    def _begin(self) -> None:
        if not self._is_open:
            self._run(b"BEGIN")
            self._is_open = True

    def _ask(self, ask: Ask) -> None:
        judged = ask.judged
        if judged.commits:
            self.commit()
        else:
            self.flush()
            self._begin_with(judged)
        self._prepare(ask)
        sql = judged.sql
        begins = not self._is_mariadb and judged.commits and sql.rstrip().endswith(b"START TRANSACTION")
        self._take_role(wanted=begins)  # behind it, nothing but rows may come; it runs no code
        # MariaDB asks for trust also where a trigger is dropped.
        is_code = judged.code or judged.kind.partition(" ")[2] in STORED
        with self._code.making() if is_code else contextlib.nullcontext():
            self._run_expecting(self._as_made(judged) if judged.code else sql, ask)
        for names in judged.renamed if not ask.query.error else ():
            self._code.rename(*names)
        if judged.commits:
            self._engines.clear()
            self._rules = self._firing = self._reading = None
            self._is_open = self._is_bare = begins

    def _begin_with(self, judged: Judged) -> None:
        if not self.is_plain(judged.tables) or self._is_mariadb:
            if not self._is_open:
                self._begun = time.monotonic()
            self._begin()

    def _as_made(self, judged: Judged) -> bytes:
        """Return the definition of code without its owner, who is remembered; an event does not run."""
        statement = recognise(judged.sql)
        if statement is None or statement.kind.upper() != judged.code:
            raise ValueError("a definition of an unknown form")
        return self._code.as_made(statement).sql

    def _run_expecting(self, sql: bytes, ask: Ask) -> None:
        """Run a statement that ended with an error when it was logged, or with none."""
        error = ask.query.error
        try:
            self._run(sql)
        except RefusedError as refused:
            if refused.number in _LACKING.get(ask.judged.kind, ()):
                self.lacking += 1
            elif refused.number != error:
                raise
        else:
            if error:
                raise ValueError(f"ended with error {error} there, and with none here")

    def _prepare(self, ask: Ask) -> None:
        """Make the session like the one in which a statement ran."""
        within = self._schema if ask.judged.within else NOWHERE
        if within != self._in:
            self._run(f"USE {backquoted(within)}".encode())
            self._in = within
        wanted = self._wanted(ask.query)
        changed = {name: value for name, value in wanted.items() if self._set.get(name) != value}
        assignments = [f"@@SESSION.{name} = {value}".encode() for name, value in changed.items()]
        for name, value in ask.variables:
            assignments.append(b"%b = %b" % (name if name.startswith(b"@") else b"@@SESSION." + name, value))
        self._run(b"SET " + b", ".join(assignments))
        self._set |= changed
        del self._set["timestamp"]

    def _wanted(self, query: Query) -> dict[str, str]:
        settings = query.settings
        flags = settings.flags or 0
        increment, offset = settings.increments or (1, 1)
        wanted = {
            "timestamp": f"{query.time}.{settings.microseconds:06d}",
            "sql_mode": str(settings.mode or 0),
            "foreign_key_checks": str(int(not flags & _NO_FOREIGN_KEYS)),
            "unique_checks": str(int(not flags & _RELAXED_UNIQUE)),
            "sql_auto_is_null": str(int(bool(flags & _AUTO_IS_NULL))),
            "auto_increment_increment": str(increment),
            "auto_increment_offset": str(offset),
            "lc_time_names": str(settings.names_of_time or 0),
            "time_zone": _text(settings.time_zone or b"SYSTEM"),
            "character_set_client": "utf8mb4",  # as statements are judged where the log is silent
        }
        if settings.character_sets:
            client, connection, _ = (self.collations(number) for number in settings.character_sets)
            wanted |= {"character_set_client": client[0], "collation_connection": connection[1]}
        if self._is_mariadb:
            wanted |= {
                "check_constraint_checks": str(int(not flags & _NO_CHECKS)),
                "explicit_defaults_for_timestamp": "ON" if flags & _DEFAULT_TIMESTAMPS else "OFF",
                "sql_if_exists": str(int(bool(flags & _IF_EXISTS))),
                "system_versioning_insert_history": str(int(bool(flags & _INSERT_HISTORY))),
            }
            collations = (self.collations(number) for number in settings.collations)
            wanted["character_set_collations"] = f"'{','.join('='.join(each) for each in collations)}'"
        if settings.default_collation is not None:
            wanted["default_collation_for_utf8mb4"] = self.collations(settings.default_collation)[1]
        if settings.default_timestamps is not None:
            wanted["explicit_defaults_for_timestamp"] = "ON" if settings.default_timestamps else "OFF"
        return {name: value for name, value in wanted.items() if name in self._variables}

    def _run(self, sql: bytes) -> None:
        try:
            self._session.execute(sql)
        except Exception as error:
            if not is_of_driver(error):
                raise
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        else:
            return
        raise RefusedError(number)  # raised here, it has no cause: that holds values


def _text(value: bytes) -> str:
    if not value.isascii() or b"'" in value or b"\\" in value:
        raise ValueError("a time zone of an unknown form")
    return f"'{value.decode()}'"
