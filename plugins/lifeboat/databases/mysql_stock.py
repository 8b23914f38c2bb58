"""Loads a dump through the stock client: over one connection, and all as the dump has it.

The client is given the statements that `mysql_statements` knows, so this way, too, nothing leaves the schema.
"""

from __future__ import annotations

import re
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator

from lifeboat.databases import Loaded, Server
from lifeboat.databases import mysql_definitions as definitions
from lifeboat.databases.mysql import Client, installed, option_file_text
from lifeboat.databases.mysql_statements import Statement, StatementReader, count_rows
from lifeboat.databases.mysql_target import HINTS
from lifeboat.errors import RestoreError
from lifeboat.processes import Child, child, secret_file
from lifeboat.progress import Progress

LONGEST_PACKET = 1 << 30
REMEMBERED = 50_000  # statements: more than fit into the pipe and the client's buffer
_ERROR = re.compile(r"ERROR (\d+) \([^)]*\)(?: at line (\d+))?: (.*)")


def load_sequentially(server: Server, schema: str, sql: Iterable[bytes], *, in_place: bool = False) -> Loaded:
    """Load a dump into an empty schema.

    :param in_place: the schema replaces the dumped one, so its events are to run; in a copy they are disabled.
    :raises RestoreError: nothing that was loaded counts then.
    """
    started = time.monotonic()
    stopped: list[str] = []
    where = f"Restore of database {schema!r} on {server.address} failed: "
    client = installed(("mariadb", "mysql"))
    if not client:
        raise RestoreError(
            f"{where}neither mariadb nor mysql is on the PATH.", "Install mariadb-client or mysql-client."
        )
    try:
        with (
            secret_file(option_file_text(server, client)) as (secret, path),
            child(command(client, path, schema), [secret], with_input=True) as process,
        ):
            statements: Iterable[Statement] = StatementReader(sql, LONGEST_PACKET)
            if not in_place:
                statements = _without_running_events(statements, stopped)
            rows, tables = _feed(process, schema, statements)
    except RestoreError as error:
        raise RestoreError(where + error.message, error.hint) from error
    told = f"events are disabled here, for they run in the original: {', '.join(stopped)}"
    return Loaded(schema, rows, tables, time.monotonic() - started, (told,) if stopped else ())


def _without_running_events(statements: Iterable[Statement], stopped: list[str]) -> Iterator[Statement]:
    """Yield statements, their events disabled: they run in the original, and a copy must not act as well.

    :param stopped: takes the names of events that would have run.
    """
    for statement in statements:
        if statement.kind != "event":
            yield statement
            continue
        if definitions.is_enabled(statement):
            stopped.append(statement.name)
        yield definitions.disabled(statement)


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


def _feed(process: Child, schema: str, statements: Iterable[Statement]) -> tuple[int, int]:
    """Write all statements to the client; return how many rows and tables they held."""
    rows, tables, line = 0, 0, 1
    written: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
    progress = Progress(f"Restoring {schema}")
    try:
        for statement in statements:
            rows += count_rows(statement)
            tables += statement.kind == "table"
            text = _text(statement, schema)
            written.append((line, f"{statement.kind} {statement.name!r}"))
            line += text.count(b"\n")
            process.write(text)
            progress.advance(len(text))
        process.end_input()
    except BrokenPipeError:
        pass  # its last words say why
    if status := process.wait():
        raise _failure(process, status, written)
    return rows, tables


def _text(statement: Statement, schema: str) -> bytes:
    """Return a statement as the client reads it."""
    if statement.kind == "schema collation":
        statement = definitions.of_schema(statement, schema)
    if statement.kind in definitions.CODE:
        return b"DELIMITER ;;\n%b\n;;\nDELIMITER ;\n" % statement.sql
    return statement.sql + b";\n"


def _failure(process: Child, status: int, written: Iterable[tuple[int, str]]) -> RestoreError:
    """Say why the client ended; not in the server's words, which may hold values of rows.

    :param written: lines on which statements began, and what they were.
    """
    if status < 0:
        return RestoreError(f"{process.name} was killed by {signal.Signals(-status).name}.", "Was the memory used up?")
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
