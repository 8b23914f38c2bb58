"""Loads a dump into an empty schema of MySQL or MariaDB, over several connections at once.

Tables and rows come first, then what waits for the rows: keys, foreign keys, and the proof that no row lacks a parent,
for the dump turns those checks off. Views, triggers, routines and events come last, in the order of the dump and with
the settings that it makes for each.

One connection defines, the others insert. The rows of a table are spread over them; whichever inserts the last ones
builds the keys, while the others start the next table. The caller holds the lock of the database, and makes and
drops the schema.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

from lifeboat.databases import WHOLE, Load, Loaded, Server
from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.code import Code
from lifeboat.databases.mysql.definitions import ForeignKey, Table
from lifeboat.databases.mysql.dump import Session, translated
from lifeboat.databases.mysql.rows import loadable
from lifeboat.databases.mysql.statements import Origin, StatementReader
from lifeboat.databases.mysql.target import (
    AS_READ,
    DENIED,
    HINTS,
    INVALID_DATES,
    READABLE,
    Compatibility,
    LeftOut,
    RefusedError,
    Target,
    differences,
    in_passes,
    left_out,
    make_step,
    passed_events,
    query,
    reaches_back,
    read_target,
    run,
    session_in,
    steps_of,
    subtracting_signed,
)
from lifeboat.databases.mysql.workers import stopping
from lifeboat.databases.sql.quoting import name_of
from lifeboat.databases.sql.reader import Kind, Statement
from lifeboat.databases.workers import Job, Workers
from lifeboat.errors import RestoreError
from lifeboat.text import listed, plural

CONNECTIONS = range(2, 5)  # that insert: as many as the server has cores, or the most if it does not say
LARGE = 500_000  # bytes of rows from which on keys wait for them; below, defining a table twice takes longer
CHECKED_AHEAD = 8 << 20  # bytes at the dump's beginning that must be in order before anything is made
COMPUTED_ANYWAY = 1906  # the server's warning when an INSERT has a value for a generated column


def load(
    connect: Callable[..., Any],
    server: Server,
    schema: str,
    sql: Iterable[bytes],
    load: Load = WHOLE,
    *,
    code: Code | None = None,
    connections: int = 0,
) -> Loaded:
    """Load a dump into an empty schema.

    :param connect: opens a DB-API connection to `server`.
    :param load: of one table, its triggers come, too.
    :param code: remembers whose the code is that the dump makes.
    :param connections: that insert, by default as many as suit the server; two more define and supervise.
    :raises RestoreError: nothing that was loaded counts then.
    """
    started = time.monotonic()
    with (
        translated(f"Restore of database {schema!r} on {server.address} failed: ", RestoreError, HINTS),
        contextlib.ExitStack() as opened,
    ):
        control = opened.enter_context(session_in(connect, schema))
        target = read_target(control)
        serial, *inserters = (
            opened.enter_context(session_in(connect, schema))
            for _ in range(1 + (connections or _connections(target.cores)))
        )
        code = code or Code()
        code.before()
        reader = StatementReader(sql, target.longest, load.source)
        origin = reader.origin
        load = replace(load, source=load.source or origin.schema)
        chosen = _without(_chosen(reader, load.table), load.staying)
        statements = _checked(chosen, Compatibility(target, control).check)
        with (
            stopping((serial, *inserters), control) as stop,
            Workers(serial, inserters, stop) as workers,
        ):
            loading = _Loading(workers, inserters, target, schema, load, origin, code)
            for statement in statements:
                loading.take(statement)
            loading.finish()
    return Loaded(
        schema,
        loading.rows,
        len(loading.tables),
        time.monotonic() - started,
        (*differences(origin, target), *loading.warnings),
        tuple(loading.orphans),
        tuple(loading.left_out),
    )


def _connections(cores: int | None) -> int:
    most = CONNECTIONS[-1]
    return max(CONNECTIONS[0], min(most, cores or most))


def _chosen(statements: Iterable[Statement], table: str) -> Iterator[Statement]:
    """Yield all statements, or those of one table.

    :raises RestoreError: at the end, if there was no such table.
    """
    names: dict[Kind, list[str]] = {"table": [], "view": []}
    for statement in statements:
        if table and statement.kind == "table" and statement.name == table and definitions.merges_others(statement):
            raise RestoreError(
                f"{table!r} is a MERGE table, which has no rows of its own.",
                f"Restore the tables whose rows it shows: {listed(definitions.members(statement))}.",
            )
        if statement.kind in names:
            names[statement.kind].append(statement.name)
        owner = statement.table or (statement.name if statement.kind in ("table", "rows", "histogram") else "")
        if not table or statement.kind == "setting" or owner == table:
            yield statement
    if table and table in names["view"]:
        raise RestoreError(f"{table!r} is a view, which has no rows of its own.", "Restore the tables that it reads.")
    if table and table not in names["table"]:
        raise RestoreError(f"The dump has no table {table!r}; it has {listed(names['table'])}.")


def _without(statements: Iterable[Statement], staying: Collection[str]) -> Iterator[Statement]:
    """Yield all statements but those that would make or fill tables that are there, and stay."""
    for statement in statements:
        if statement.name not in staying or statement.kind not in ("table", "rows", "histogram"):
            yield statement


def _checked(statements: Iterable[Statement], check: Callable[[Statement], None]) -> Iterator[Statement]:
    """Yield statements that are in order; the first ones only when all of them are."""
    remaining = iter(statements)
    held: deque[Statement] = deque()
    size = 0
    for statement in remaining:
        check(statement)
        held.append(statement)
        size += len(statement.sql)
        if size > CHECKED_AHEAD:
            break
    while held:
        yield held.popleft()
    for statement in remaining:
        check(statement)
        yield statement


@dataclass
class _Filling:
    """A table while its rows come.

    :param lane: set where only one connection at a time may insert.
    :param after: what to run once all rows are in.
    :param harmless: numbers of warnings that its rows are known for.
    :param waiting: INSERTs that have not ended.
    :param closed: whether all of its rows have been read.
    """

    name: str
    lane: str | None
    after: tuple[bytes, ...] = ()
    harmless: frozenset[int] = frozenset()
    waiting: int = 0
    closed: bool = False


class _Loading:
    """One load, statement by statement."""

    def __init__(
        self,
        workers: Workers[Session],
        inserters: Sequence[Session],
        target: Target,
        schema: str,
        load: Load,
        origin: Origin,
        code: Code,
    ) -> None:
        self._workers, self._inserters, self._target, self._code = workers, inserters, target, code
        self._schema, self._source, self._table, self._origin = schema, load.source, load.table, origin
        self._unchecked = load.unchecked
        self._head: list[bytes] = []  # settings before the first rows
        self._before_code: int | None = None  # how many of them stand before the first view or other code
        self._prepared = False  # the inserters have them
        self._owed: list[Statement] = []  # settings that the next definition needs
        self._pending: list[Statement] = []  # a table that is not made yet, and the settings behind it
        self._filling: _Filling | None = None
        self._deferred: list[Statement] = []
        self._merging: dict[str, Statement] = {}  # tables that cannot be opened before those whose rows they show
        self._lock = Lock()  # around what the inserters change
        self.tables: dict[str, Table] = {}
        self.rows = 0
        self.warnings: dict[str, None] = {}
        self.orphans: list[str] = []
        self.left_out: dict[LeftOut, str] = {}  # each with a warning

    def take(self, statement: Statement) -> None:
        """Run a statement, or keep it until its time has come."""
        if statement.kind == "rows":
            if statement.name not in self._merging:  # its rows are those of others
                self._insert(statement)
        elif statement.kind == "setting":
            self._set(statement if self._target.is_mariadb else definitions.as_mysql_sets(statement))
        else:
            self._close_table()
            if statement.kind == "table" and definitions.merges_others(statement):
                self._merging[statement.name] = statement
            elif statement.kind == "table":
                self._begin_table(definitions.without_counter(statement))
            elif statement.kind in ("sequence", "sequence value"):  # tables draw their defaults from them
                self._define(statement, statement.sql)
            else:
                self._before_code = len(self._head) if self._before_code is None else self._before_code
                if statement.kind != "view placeholder":  # views that others need are made in another pass
                    self._deferred.append(statement)

    def finish(self) -> None:
        """Make what waited for the rows.

        :raises RestoreError: it failed.
        """
        self._prepare_inserters(self._before_code)  # code has its own settings, often thousands
        self._close_table()
        self._workers.wait()
        self._check_foreign_keys(self._add_foreign_keys())
        self._owed = [Statement("setting", "", sql) for sql in AS_READ]  # the dump's own follow, each before its code
        for statement in self._merging.values():
            self._begin_table(statement)
            self._close_table()
        steps, last = steps_of(self._deferred)
        with self._code.making():
            _, refused = in_passes(steps, self._define_deferred)
        make_step(last, self._define_deferred)
        self._pay()
        events = [statement.name for statement in self._deferred if statement.kind == "event"]
        self.left_out = left_out(refused) | passed_events(self._inserters[0], events)
        for warning in (*self.left_out.values(), *self._code.warnings()):
            self._warn(warning)

    def _warn(self, warning: str) -> None:
        with self._lock:
            self.warnings[warning] = None

    def _define(self, statement: Statement, *definition: bytes) -> None:
        self._pay()
        doing, table = f"Making {statement.kind} {statement.name!r}", self.tables.get(statement.name)
        for sql in definition:
            self._workers.run(Job(partial(_run_on, table=table, sql=sql, doing=doing)))

    def _pay(self) -> None:
        """Run the settings that are owed."""
        owed, self._owed = self._owed, []
        if owed:
            self._workers.run(Job(partial(_set_all, settings=owed)))

    def _attempt(self, statement: Statement) -> RefusedError | None:
        """Make something, with the settings that it needs; return why the server refused."""
        refusals: list[RefusedError] = []
        owed, self._owed = self._owed, []

        def make(session: Session) -> None:
            _set_all(session, owed)
            try:
                run(session, statement.sql, f"Making {statement.kind} {statement.name!r}")
            except RefusedError as refusal:
                refusals.append(refusal)

        self._workers.run(Job(make))
        return next(iter(refusals), None)

    def _set(self, statement: Statement) -> None:
        self._deferred.append(statement)
        if not self._prepared:
            self._head.append(statement.sql)
        if self._pending:
            self._pending.append(statement)
        else:
            self._owe([statement])

    def _owe(self, settings: Iterable[Statement]) -> None:
        """Keep settings for the next table; the rows of any may have dates that its mode does not allow."""
        for setting in settings:
            self._owed.append(setting)
            if b"sql_mode" in setting.sql.lower():
                self._owed.append(setting.with_sql(INVALID_DATES))

    def _begin_table(self, statement: Statement) -> None:
        self.tables[statement.name] = definitions.read_table(statement)
        self._pending = [statement]
        self._warn_of_references(statement)

    def _prepare_inserters(self, count: int | None = None) -> None:
        """Give the dump's settings to the connections that insert.

        :param count: of the settings; default: all.
        """
        if self._prepared:
            return
        self._prepared = True
        for session in self._inserters:
            for sql in self._head[:count]:
                run(session, sql, "A setting of the dump")
            # Keys are proven by being built, or by every row: unchecked, InnoDB takes rows that break them.
            run(session, b"SET foreign_key_checks = 0, unique_checks = 1, autocommit = 1", "Preparing a connection")
            for sql in (INVALID_DATES, READABLE):
                run(session, sql, "Preparing a connection")

    def _make_table(self, *, large: bool) -> None:
        """Make the pending table; a large one without the keys that may wait for its rows."""
        statement, *settings = self._pending
        self._pending = []
        table = self.tables[statement.name]
        self._define(statement, *(table.before if large else (table.whole,)))
        if self._origin.is_of_mysql and not self._target.is_mariadb:
            self._define(statement, *definitions.without_defaults(table))
        self._owe(settings)
        self._filling = _Filling(
            table.name,
            lane=None if large and table.spreads else table.name,
            after=table.after if large else (),
            # Clients of MariaDB print generated columns, too; only when a row began is nothing that can be computed.
            harmless=frozenset() if b" AS ROW START" in table.whole else frozenset((COMPUTED_ANYWAY,)),
        )

    def _insert(self, statement: Statement) -> None:
        self._prepare_inserters()
        if self._pending:
            self._make_table(large=len(statement.sql) >= LARGE)
        if not self._filling or self._filling.name != statement.name:
            self._close_table()
            self._filling = _Filling(statement.name, statement.name)
        filling = self._filling
        with self._lock:
            filling.waiting += 1
        run_it = partial(self._insert_rows, filling=filling, sql=statement.sql)
        self._workers.submit(Job(run_it, len(statement.sql), filling.lane))

    def _insert_rows(self, session: Session, filling: _Filling, sql: bytes) -> None:
        table = self.tables.get(filling.name)
        # MariaDB takes values for computed columns, with a warning, and reads -0 as a floating number.
        sql = loadable(sql, table.columns if table and not self._target.is_mariadb else ())
        with subtracting_signed(session, table):
            rows = run(session, sql, f"Inserting rows of table {filling.name!r}", private=True)
            # Asked for at once: MySQL forgets them with the next query, even one for their number.
            found = {number for level, number, _ in session.query("SHOW WARNINGS") if level != "Note"}
        for number in sorted(found - filling.harmless):
            self._warn(f"table {filling.name!r}: the server changed values while storing them (warning {number})")
        with self._lock:
            self.rows += rows
            filling.waiting -= 1
            ready = filling.closed and not filling.waiting
        if ready:
            self._complete(session, filling)

    def _complete(self, session: Session, filling: _Filling) -> None:
        with subtracting_signed(session, self.tables.get(filling.name)):
            for sql in filling.after:
                run(session, sql, f"Building keys of table {filling.name!r}", private=True)

    def _close_table(self) -> None:
        """Close the current table: it gets no further rows."""
        if self._pending:
            self._make_table(large=False)
        filling, self._filling = self._filling, None
        if filling:
            with self._lock:
                filling.closed = True
                ready = not filling.waiting
            if ready and filling.after:
                self._workers.submit(Job(partial(self._complete, filling=filling)))

    def _add_foreign_keys(self) -> list[ForeignKey]:
        """Add them to their tables; return those whose parents are there."""
        provable: list[ForeignKey] = []
        for table in self.tables.values():
            kept = []
            for key in table.foreign_keys:
                if key.schema:
                    add_it = partial(self._add_key_beyond, table=table, key=key, provable=provable)
                    self._workers.submit(Job(add_it, lane="foreign keys"))
                    continue
                parent = name_of(key.parent)
                if f"{table.name}.{name_of(key.constraint)}" in self._unchecked and not self._table:
                    self._warn(f"{key.title} was not checked: the backup left out table {parent!r} or its rows")
                    kept.append(key)
                elif parent in self.tables:
                    provable.append(key)
                    kept.append(key)
                elif self._table:
                    self._warn(f"{key.title} was left out: table {parent!r} does not exist")
                else:
                    self._warn(f"{key.title} was not checked: table {parent!r} does not exist")
                    kept.append(key)
            if kept:
                sql = definitions.add_foreign_keys(table, kept)
                doing = f"Adding foreign keys to table {table.name!r}"
                add = partial(_run_on, table=table, sql=sql, doing=doing, private=True)
                self._workers.submit(Job(add, lane="foreign keys"))
        self._workers.wait()
        return provable

    def _add_key_beyond(self, session: Session, table: Table, key: ForeignKey, provable: list[ForeignKey]) -> None:
        """Add a foreign key to a table of another schema, if who loads may reach it."""
        try:
            run(session, definitions.add_foreign_keys(table, [key]), f"Adding {key.title}", private=True)
        except RefusedError as refusal:
            if refusal.number not in DENIED:
                raise
            self._warn(f"{key.title} was left out: it refers to schema {name_of(key.schema)!r}")
        else:
            provable.append(key)

    def _check_foreign_keys(self, foreign_keys: Sequence[ForeignKey]) -> None:
        """Count the rows that lack a parent: rows that the dumped database accepted are loaded and reported."""
        for key in foreign_keys:
            self._workers.submit(Job(partial(self._count_orphans, key=key)))
        self._workers.wait()
        self.orphans.sort()
        for orphans in self.orphans:
            self._warn(f"rows lack the parents that {orphans}")

    def _count_orphans(self, session: Session, key: ForeignKey) -> None:
        ((count,),) = query(session, key.orphans, f"Checking {key.title}")
        if count:
            self.orphans.append(f"{key.title} names: {plural(count, 'row')}")

    def _define_deferred(self, statement: Statement) -> RefusedError | None:
        """Make what stands on tables, as this server and this schema can have it; return why the server refused."""
        if statement.kind == "setting":
            self._owed.append(statement)
            return None
        if statement.kind == "schema collation":
            statement = definitions.of_schema(statement, self._schema)
        if statement.kind in definitions.CODE:
            statement = definitions.within_schema(statement, self._source)
            if statement.kind != "view":  # there, what is left is an alias of that name
                self._warn_of_references(statement)
            statement = self._code.as_made(statement)
        return self._attempt(statement)

    def _warn_of_references(self, statement: Statement) -> None:
        """Tell what in a copy still means the original."""
        if warning := reaches_back(statement, self._source, self._schema):
            self._warn(warning)


def _run_on(session: Session, table: Table | None, sql: bytes, doing: str, *, private: bool = False) -> None:
    with subtracting_signed(session, table):
        run(session, sql, doing, private=private)


def _set_all(session: Session, settings: Sequence[Statement]) -> None:
    for setting in settings:
        run(session, setting.sql, "A setting of the dump")
    if settings:
        run(session, READABLE, "Preparing a connection")
