"""Loads a dump through the stock client: over one connection, and all as the dump has it.

The client is given the statements that `mysql_statements` knows, so this way, too, nothing leaves the schema.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lifeboat.databases import WHOLE, Load, Loaded, Server
from lifeboat.databases.mysql import definitions, foreign_keys
from lifeboat.databases.mysql.code import Code
from lifeboat.databases.mysql.definitions import Table
from lifeboat.databases.mysql.dump import Client, Session, installed, option_file_text, translated
from lifeboat.databases.mysql.rows import loadable
from lifeboat.databases.mysql.statements import StatementReader, count_rows, delimiter_beyond
from lifeboat.databases.mysql.target import (
    AS_READ,
    HINTS,
    INVALID_DATES,
    RefusedError,
    allow,
    differences,
    in_passes,
    left_out,
    make_step,
    passed_events,
    reaches_back,
    read_target,
    run,
    session_in,
    steps_of,
)
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError
from lifeboat.support.processes import Child, child, secret_file

LONGEST_PACKET = 1 << 30
SET_UP_SECONDS, SET_UP_POLL = 60, 0.02
REMEMBERED = 50_000  # statements: more than fit into the pipe and the client's buffer
_ERROR = re.compile(r"ERROR (\d+) \([^)]*\)(?: at line (\d+))?: (.*)")


def load_sequentially(
    connect: Callable[..., Any],
    server: Server,
    schema: str,
    sql: Iterable[bytes],
    load: Load = WHOLE,
    *,
    code: Code | None = None,
) -> Loaded:
    """Load a dump into an empty schema.

    :param connect: opens a DB-API connection to `server`, by which views are made that lack another one at first.
    :param code: remembers whose the code is that the dump makes.
    :raises RestoreError: nothing that was loaded counts then.
    """
    started, code = time.monotonic(), code or Code()
    where = f"Restore of database {schema!r} on {server.address} failed: "
    with translated(where, RestoreError, HINTS), session_in(connect, schema) as session:
        is_mariadb = "MariaDB" in session.version()
        client, warnings = _client(is_mariadb=is_mariadb)
        with contextlib.closing(connect()) as another:
            settings = [*AS_READ, *allow(Session(another))]
        reader = StatementReader(sql, LONGEST_PACKET, load.source)
        fed = _Fed(drop_defaults=reader.origin.is_of_mysql and not is_mariadb)
        warnings += differences(reader.origin, read_target(session))
        adapt = partial(_adapted, schema=schema, source=load.source or reader.origin.schema, code=code, fed=fed)
        statements: Iterable[Statement] = map(adapt, reader)
        if not is_mariadb:
            statements = (definitions.as_mysql_sets(it) if it.kind == "setting" else it for it in statements)
        with (
            secret_file(option_file_text(server, client)) as (secret, path),
            child(command(client, path, schema), [secret], with_input=True) as process,
            code.making(),
        ):
            _set_up(process, session, code)
            _feed(process, schema, settings, statements, fed)
        orphans = list(_check_foreign_keys(session, fed))
        steps, last = steps_of(fed.views)
        _, refused = in_passes(steps, partial(_make, session))
        make_step(last, partial(_make, session))
        without = left_out(refused) | passed_events(session, fed.events)
    warnings += [*fed.warnings, *map(foreign_keys.warning_of, orphans), *without.values(), *code.warnings()]
    seconds = time.monotonic() - started
    return Loaded(schema, fed.rows, len(fed.tables), seconds, tuple(warnings), tuple(orphans), tuple(without))


def _client(*, is_mariadb: bool) -> tuple[Client, list[str]]:
    """Find a client, the server's own family first; with a warning where only the other one is there.

    :raises RestoreError: none is installed.
    """
    names = ("mariadb", "mysql") if is_mariadb else ("mysql", "mariadb")
    client = installed(names)
    if not client:
        raise RestoreError("Neither mariadb nor mysql is on the PATH.", "Install mariadb-client or mysql-client.")
    family, other = ("MariaDB", "MySQL") if is_mariadb else ("MySQL", "MariaDB")
    warning = f"the server is {family}'s and the client {other}'s: {client.version}; install {family}'s own"
    return client, [warning] if client.is_mariadb != is_mariadb else []


def _set_up(process: Child, session: Session, code: Code) -> None:
    """Let the client's session take what other servers took, and wait until it can change nothing of that any more."""
    if code.set_up:
        ready = f"lifeboat:{secrets.token_hex(8)}"
        for sql in (*code.set_up, f"DO GET_LOCK('{ready}', 0)".encode()):
            process.write(sql + b";\n")
        deadline = time.monotonic() + SET_UP_SECONDS
        while not process.has_ended and session.query("SELECT IS_USED_LOCK(%s)", ready) == [(None,)]:
            if time.monotonic() > deadline:
                raise RestoreError(f"{process.name} does not log in.", "Look at the server's log.")
            time.sleep(SET_UP_POLL)
    code.before()


def _adapted(statement: Statement, schema: str, source: str, code: Code, fed: _Fed) -> Statement:
    """Return a statement of the dumped schema as one of the schema that is filled."""
    if statement.kind == "schema collation":
        return definitions.of_schema(statement, schema)
    within = definitions.within_schema(statement, source)
    # In views, what is left is an alias of that name.
    if statement.kind == "table" or statement.kind in definitions.CODE - {"view"}:
        fed.warnings += filter(None, [reaches_back(within, source, schema)])
    if statement.kind == "table":
        return definitions.without_counter(within)
    return code.as_made(within) if statement.kind in definitions.CODE else within


def _make(session: Session, statement: Statement) -> RefusedError | None:
    try:
        run(session, statement.sql, f"Making {statement.kind} {statement.name!r}")
    except RefusedError as refusal:
        return refusal
    return None


def command(client: Client, option_file: str, schema: str) -> list[str]:
    """Return the command that runs the statements of its standard input in a schema."""
    wanted = {
        "batch": "",
        "binary-mode": "",  # no commands of the client's own, and line ends as they are
        "comments": "",  # those in the bodies of routines are part of them
        "sandbox": "",
        "local-infile": "=0",
        "default-character-set": "=utf8mb4",
        "max-allowed-packet": "=1G",
    }
    return [*client.arguments(option_file, wanted), "--", schema]


@dataclass
class _Fed:
    """The input that a client was given.

    :param drop_defaults: the dump and the server are MySQL's, which tells no default from DEFAULT NULL.
    :param views: what waits for its end, and the settings that they are made with.
    :param tables: by name; the client gets them without foreign keys to other schemas.
    :param merging: tables whose rows are those of others.
    """

    drop_defaults: bool
    rows: int = 0
    views: list[Statement] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    merging: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def texts(self, statement: Statement) -> list[bytes]:
        """Return what the client reads of a statement."""
        if statement.kind in ("setting", "view"):
            self.views.append(statement)
        if statement.kind in ("view", "view placeholder"):
            return []
        if statement.kind == "event":
            self.events.append(statement.name)
        if statement.kind == "rows" and statement.name in self.merging:
            return []
        if statement.kind == "rows":
            table = self.tables.get(statement.name)
            rows = statement.with_sql(loadable(statement.sql, table.columns if table else ()))
            self.rows += count_rows(rows)
            return [_text(rows)]
        if statement.kind == "table":
            table = self.tables[statement.name] = definitions.read_table(statement)
            statement = definitions.without_foreign_keys(statement, (key for key in table.foreign_keys if key.schema))
            if definitions.merges_others(statement):
                self.merging.add(statement.name)
            dropped = definitions.without_defaults(table) if self.drop_defaults else ()
            return [_text(statement), *(sql + b";\n" for sql in dropped)]
        return [_text(statement)]


def _feed(process: Child, schema: str, settings: Iterable[bytes], statements: Iterable[Statement], fed: _Fed) -> None:
    """Write all statements but views to the client.

    :param fed: takes what it was given.
    """
    line = 1
    written: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)

    def write(text: bytes, what: str) -> None:
        nonlocal line
        written.append((line, what))
        line += text.count(b"\n")
        process.write(text)

    try:
        for sql in settings:
            write(sql + b";\n", "a setting")
        for statement in statements:
            for text in fed.texts(statement):
                write(text, f"{statement.kind} {statement.name!r}")
        process.end_input()
    except BrokenPipeError:
        pass  # its last words say why
    if status := process.wait():
        raise _failure(process, status, written)


def _check_foreign_keys(session: Session, fed: _Fed) -> Iterator[str]:
    """Add what the client was not given, and yield the keys whose rows lack parents, as loads over several connections.

    :param fed: takes warnings of keys that could not be added, or checked.
    """
    run(session, b"SET foreign_key_checks = 0", "Preparing a connection")
    provable = []
    for table in fed.tables.values():
        for key in table.foreign_keys:
            if key.schema:
                warning = foreign_keys.add_beyond(session, table, key)
            else:
                warning = foreign_keys.without_parent(key, fed.tables, done="not checked")
            if warning:
                fed.warnings.append(warning)
            else:
                provable.append(key)
    yield from sorted(filter(None, (foreign_keys.orphans(session, key) for key in provable)))


def _text(statement: Statement) -> bytes:
    """Return a statement as the client reads it."""
    if statement.kind in definitions.CODE:
        delimiter = _delimiter(statement)
        return b"DELIMITER %b\n%b\n%b\nDELIMITER ;\n" % (delimiter, statement.sql, delimiter)
    if statement.kind == "setting" and b"@OLD_SQL_MODE=" in statement.sql:  # that of tables; routines have their own
        return statement.sql + b";\n" + INVALID_DATES + b";\n"
    return statement.sql + b";\n"


def _delimiter(statement: Statement) -> bytes:
    """Return a delimiter that a definition does not hold.

    :raises RestoreError: it holds all that the client knows.
    """
    if delimiter := delimiter_beyond(statement.sql):
        return delimiter
    raise RestoreError(
        f"{statement.kind} {statement.name!r} has no clear end before the next statement.",
        "Restore without the stock client.",
    )


def _failure(process: Child, status: int, written: Iterable[tuple[int, str]]) -> RestoreError:
    """Say why the client ended; not in the server's words, which may hold values of rows.

    :param written: lines on which statements began, and what they were.
    """
    if status < 0:
        return RestoreError(
            f"{process.name} was killed by {signal.Signals(-status).name}.", "Check the kernel log for the OOM killer."
        )
    error = _ERROR.search(process.errors)
    if not error:
        return RestoreError(f"{process.name} ended with status {status}.")
    number, line, text = int(error[1]), error[2], error[3]
    if line:
        at = [what for began, what in written if began <= int(line)]
        said = f" at {at[-1]}" if at else ""
    else:
        said = f": {text}"  # it is about the connection
    return RestoreError(f"{process.name} ended with error {number}{said}.", HINTS.get(number, ""))
