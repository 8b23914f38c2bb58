"""The schemas that MySQL's and MariaDB's own test files make: dumped, restored and compared, each by itself.

The files come from the packages of their vendors (`scripts/server-roots mysql-tests mariadb-tests`). Statements run as
a user who may do everything in the schema ``test`` and nothing elsewhere, so the server, and not this program, keeps
them there. Nothing is dropped: what a file would make twice is renamed or replaced, so that most of it is still there
at the end.

    python -m tests.matrix.vendor mysql|mariadb LOG [FILE ...]    # goes on where LOG ends; FILE: names without .test
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lifeboat.databases import Dump, Load, Target
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.decide import comparison
from lifeboat.errors import DumpError, LifeboatError
from lifeboat.support import clock

from include.demo.server_roots import cache
from include.demo.stand_ins import MariaDB118, MySQL
from tests.matrix.independent import fingerprint, query, quoted

SCHEMA = "test"  # as the vendors' files call it
USER, PASSWORD = "vendor", "vendor-password"
STATEMENT_SECONDS = 5
FILE_SECONDS = 30
FILES = {"mysql": "sid/usr/lib/mysql-test/t", "mariadb": "trixie/usr/share/mariadb/mariadb-test/main"}
COLLATIONS = ("utf8mb4_unicode_ci", "utf8mb4_general_ci", "utf8mb4_bin", "utf8mb3_unicode_ci", "latin1_swedish_ci")

# Or the vendor's user could make no function; and events would change rows between two looks at them.
OPTIONS = ("--log-bin-trust-function-creators=ON", "--event-scheduler=OFF")

Server = MySQL | MariaDB118
Verdict = Literal["equal", "told", "failed"]

# Commands of the program that runs these files, which are no SQL; and XA, whose transactions outlive their connection.
_COMMANDS = r"""
    let eval if while source connect connection disconnect send\w* reap error echo inc dec exit skip sleep real_sleep
    perl
    exec\w* system \w+_files? dis?able_\w+ enable_\w+ replace_\w+ sorted_result partially_sorted\w* save_\w+ sync_\w+
    query_\w+ character_set vertical_results horizontal_results result_format require ping die end output expr mkdir
    rmdir force-\w+ start_timer end_timer dirty_close change_user reset_connection shutdown_server lowercase_result
    assert
    remove_\w+ list_\w+ copy_\w+ move_\w+ chmod xa
"""
_COMMAND = re.compile(f"(?i)(?:{'|'.join(_COMMANDS.split())})\\b".encode())
_QUOTED = rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|/\*.*?\*/|\#[^\n]*\n|--[ \t][^\n]*\n"
_DROP = re.compile(rb"(?i)\s*DROP\s+(?!INDEX)")
_EXISTS = {1050: "table", 1304: "routine", 1359: "trigger", 1537: "event"}
_CREATED = re.compile(
    r"(?is)\bCREATE\b.*?\b(TABLE|VIEW|PROCEDURE|FUNCTION|TRIGGER|EVENT|SEQUENCE)\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?(?:`?test`?\.)?(`[^`]+`|[\w$]+)"
)


@dataclass(frozen=True)
class Outcome:
    """What became of the schema of one file.

    :param why: what was told, or what failed.
    """

    file: str
    verdict: Verdict
    why: tuple[str, ...]
    tables: int
    rows: int

    def __str__(self) -> str:
        return f"{self.file}: {self.verdict}: {'; '.join(self.why)}"


def files(vendor: str) -> list[Path]:
    """Return a vendor's test files, in an order in which any part of them is a fair sample."""
    found = (cache() / FILES[vendor]).glob("*.test")
    return sorted(found, key=lambda path: hashlib.sha256(path.name.encode()).digest())


def statements(text: bytes) -> Iterator[bytes]:
    """Yield the plain SQL statements of a test file."""
    delimiter, position = b";", 0
    text = text.replace(b"\r\n", b"\n")
    while position < len(text):
        if line := re.compile(rb"\s*(?:(?:#|--)[^\n]*|(?i:if|while)\s*\([^\n]*\)\s*\{?|[{}])[ \t]*(?:\n|$)").match(
            text, position
        ):
            if changed := re.match(rb"(?i)\s*--\s*delimiter\s+(\S+)", line[0]):
                delimiter = changed[1]
            position = line.end()
            continue
        mark = re.compile(rb"(?:" + _QUOTED + rb"|(?P<end>" + re.escape(delimiter) + rb")|.)", re.DOTALL)
        end = next((found for found in mark.finditer(text, position) if found["end"]), None)
        statement = text[position : end.start() if end else len(text)].strip()
        position = end.end() if end else len(text)
        if changed := re.match(rb"(?i)delimiter\s*(\S+)", statement):
            delimiter = changed[1]
        elif block := re.match(rb"(?i)(?:perl|write_file|append_file)\b[^\n]*?(\w*)$", statement):
            ended = text.find(b"\n" + (block[1] if block[1].isupper() else b"EOF"), position)
            position = text.find(b"\n", ended + 1) if ended >= 0 else position
        elif statement and not _COMMAND.match(statement) and b"$" not in statement:
            yield statement


def feed(server: Server, sql: Iterable[bytes]) -> None:
    """Run statements as the vendor's user, whatever becomes of each."""
    import MySQLdb

    deadline = time.monotonic() + FILE_SECONDS
    connection = _connect(server)
    kept = 0
    for statement in sql:
        if time.monotonic() > deadline:
            break
        if _DROP.match(statement):
            continue
        try:
            _execute(connection, statement)
        except MySQLdb.Error as error:
            number = error.args[0]
            if number in (2006, 2013):
                connection = _connect(server)
            elif number in _EXISTS and (made := _CREATED.search(statement.decode("utf-8", "replace"))):
                kept += 1
                with contextlib.suppress(MySQLdb.Error):
                    _execute(connection, _away(made[1].upper(), made[2].strip("`"), kept).encode())
                    _execute(connection, statement)
    with contextlib.suppress(MySQLdb.Error):
        connection.close()


def _connect(server: Server) -> Any:
    connection = server.connect(user=USER, password=PASSWORD, database=SCHEMA, read_timeout=STATEMENT_SECONDS)
    _execute(connection, b"SET default_storage_engine = InnoDB")
    return connection


def _execute(connection: Any, statement: bytes) -> None:
    connection.query(statement)  # below cursors, which decode what comes back, whatever its character set is called
    connection.store_result()
    while connection.next_result() == 0:
        connection.store_result()


def end_sessions(server: Server) -> None:
    """End what still runs for the vendor's user: statements that nobody waits for any more, some of them in a loop."""
    import MySQLdb

    with contextlib.closing(server.connect()) as connection:
        sessions = "SELECT id FROM information_schema.processlist WHERE user = %s"
        while found := query(connection, sessions, USER):
            for (number,) in found:
                with contextlib.suppress(MySQLdb.Error):  # it ended by itself
                    _execute(connection, f"KILL {number}".encode())
            time.sleep(0.05)


def _away(kind: str, name: str, number: int) -> str:
    if kind == "TABLE":
        return f"RENAME TABLE `{name}` TO `{name[:50]}_{number}`"
    return f"DROP {kind} `{name}`"


def prepare(server: Server, collation: str) -> None:
    """Make the schema and its user anew."""
    charset = f" CHARACTER SET {collation.partition('_')[0]} COLLATE {collation}" if collation else ""
    server.run(
        f"DROP DATABASE IF EXISTS {SCHEMA}; CREATE DATABASE {SCHEMA}{charset};"
        f"DROP USER IF EXISTS {USER}@'%'; CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';"
        f"GRANT ALL ON {SCHEMA}.* TO {USER}@'%'"
    )


def drop_broken_views(connection: Any) -> None:
    """Drop views that cannot be read, for example because their table was renamed; nobody can dump them."""
    import MySQLdb

    views = query(connection, "SELECT table_name FROM information_schema.views WHERE table_schema = %s", SCHEMA)
    broken = True
    while broken:
        broken = False
        for (name,) in views:
            try:
                query(connection, f"SELECT * FROM {quoted(name)} LIMIT 0")
            except MySQLdb.Error as error:
                if error.args[0] != 1146 or f"{SCHEMA}.{name}'" not in str(error.args[1]):
                    _execute(connection, f"DROP VIEW {quoted(name)}".encode())
                    broken = True


def examine(server: Server, path: Path, collation: str = "") -> Outcome:
    """Feed a file's statements to the server, then dump, restore and compare what they made."""
    prepare(server, collation)
    feed(server, statements(path.read_bytes()))
    end_sessions(server)
    with contextlib.closing(server.connect(database=SCHEMA)) as connection:
        drop_broken_views(connection)
        before = fingerprint(connection, SCHEMA)
        tables = sum(name.startswith("table ") for name in before)
        engine = Engine(server.server, server.connect, clock.now)
        chunks: list[bytes] = []
        try:
            dump = engine.dump(SCHEMA, (), chunks.append)
        except DumpError as error:
            return Outcome(path.stem, "told", (f"no dump: {error}",), tables, 0)
        told = dump.notices
        failed = restore(engine, dump, chunks, told)
        if failed is None:
            after = fingerprint(connection, SCHEMA)
            names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            failed = Failure(f"different, by the server: {', '.join(names)}", names) if names else None
    verdict: Verdict = "told" if told else "equal"
    if failed and not all(_is_told(name, told) for name in failed.names):
        verdict = "failed"
    return Outcome(path.stem, verdict, (*([failed.why] if failed else []), *told), len(dump.tables), dump.rows)


@dataclass(frozen=True)
class Failure:
    """What did not come back.

    :param names: of tables and other objects; each must be told when the backup is taken, or loaded.
    """

    why: str
    names: Sequence[str]


def _is_told(name: str, told: Iterable[str]) -> bool:
    word = re.compile(rf"(?<!\w){re.escape(name.rpartition(' ')[2])}(?!\w)")
    return any(word.search(text) for text in told)


def restore(engine: Engine, dump: Dump, sql: list[bytes], told: list[str]) -> Failure | None:
    """Restore a dump over its own schema, and compare it as Lifeboat does; what the load tells is added to `told`."""
    try:
        with engine.target(Target(SCHEMA, "a key", dump, exists=True, in_place=True)) as place:
            loaded = engine.load(place.name, sql, Load(SCHEMA))
            told += loaded.warnings
            restored = engine.read_back(place.name, ())
    except LifeboatError as error:
        named = [name for name in re.findall(r"'([^']+)'", error.message) if name != SCHEMA]
        return Failure(f"no restore: {error}", named[:1] or ["nothing that has a name"])
    found = comparison.differences(dump, restored)
    return Failure(f"not as captured: {'; '.join(map(str, found))}", [each.name for each in found]) if found else None


def examine_all(vendor: str, server: Server, until: float, done: Set[str] = frozenset()) -> Iterator[Outcome]:
    """Examine a vendor's files, each with another default collation than its neighbours.

    :param until: when to stop, by the monotonic clock.
    :param done: files that need not be examined again.
    """
    for number, path in enumerate(files(vendor)):
        if path.stem not in done and time.monotonic() < until:
            yield examine(server, path, ("", *COLLATIONS)[number % (len(COLLATIONS) + 1)])


def own_clients(server: Server, set_variable: Callable[[str, str], object]) -> None:
    """Have Lifeboat find the server's own clients first."""
    set_variable("PATH", f"{server.path}:{os.environ['PATH']}")


def main() -> None:
    """Examine a vendor's files, those in the log excepted; or some of them."""
    vendor, log, *chosen = sys.argv[1:]
    known = {path.stem for path in files(vendor)}
    lines = Path(log).read_text().splitlines() if Path(log).exists() else []
    done = known - set(chosen) if chosen else {json.loads(line)["file"] for line in lines}
    kind = MySQL if vendor == "mysql" else MariaDB118
    with tempfile.TemporaryDirectory() as folder, kind(Path(folder), *OPTIONS) as server, Path(log).open("a") as file:
        own_clients(server, os.environ.__setitem__)
        for outcome in examine_all(vendor, server, float("inf"), done):
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if outcome.verdict != "equal":
                print(outcome, flush=True)  # noqa: T201  # what this program is for


if __name__ == "__main__":
    main()
