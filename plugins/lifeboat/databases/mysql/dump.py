"""MySQL and MariaDB, dumped through whichever client is installed.

All that differs between the two families of clients is in this module: their options, TLS settings and errors.
Options are probed from the client's own ``--help``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from functools import partial
from typing import Any, NamedTuple

from lifeboat.databases import (
    UNPROTECTED,
    Aside,
    Clock,
    Dump,
    Dumpable,
    Limit,
    LogPosition,
    Server,
    exclusion,
    limit_texts,
)
from lifeboat.databases.mysql import events as mysql_events
from lifeboat.databases.mysql import limits as mysql_limits
from lifeboat.databases.mysql import position as mysql_position
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql import structure as mysql_structure
from lifeboat.databases.mysql import together as mysql_together
from lifeboat.databases.mysql.digest import RULES
from lifeboat.databases.mysql.limits import Choice, Definitions, Line
from lifeboat.databases.mysql.passing import BEHIND_TABLES, END, Passed, Reader, Regions, check_ended, with_text
from lifeboat.databases.mysql.position import Finder, Nowhere
from lifeboat.databases.mysql.source import Source, Taker
from lifeboat.databases.mysql.structure import Structure
from lifeboat.databases.shares import shares
from lifeboat.databases.sql.quoting import unquoted
from lifeboat.databases.watch import Doing, Watch
from lifeboat.errors import DumpError, Lasting, LifeboatError
from lifeboat.support.logs import logger
from lifeboat.support.processes import child, environment, secret_file
from lifeboat.text import listed

log = logger(__name__)

_NAME = r"""`(?:[^`]|``)+`|"(?:[^"]|"")+"|\*"""  # in double quotes where sql_mode has ANSI_QUOTES
_MARKS = '`"'
_GRANT = re.compile(rf"GRANT (?P<what>.+?) ON (?P<schema>{_NAME})\.(?P<table>{_NAME}) TO ")
UNFINISHED = "_lifeboat_restore_unfinished"  # view in a schema that a restore is filling, or left unfinished
LOCK_PATIENCE = 3600  # seconds to wait for another dump or restore of the same database
LOCK_POLL = 15
NAMED = 20  # tables or routines that a message names
SEARCH_SECONDS = 60  # for characters without a unique Unicode form, in all tables of a database
MULTI_STATEMENTS_OFF = 1  # an option of the protocol
LONGEST_LOCK_NAME = 64
UNLIMITED = (1 << 64) - 1
FEWEST_UNLIMITED = (1 << 32) - 1  # what servers of 32 bits call unlimited
# Whatever the server's own are: nothing may cut the rows short. Comments of versions keep each server's own apart.
SETTINGS = (
    f"SET SESSION sql_select_limit = {UNLIMITED}, max_join_size = {UNLIMITED}, sql_big_selects = 1"
    " /*!80000 , max_execution_time = 0 */ /*M!100100 , max_statement_time = 0 */"
)
IDLE_SECONDS = 31_536_000  # the lock's session is idle while the dump runs; servers allow up to a year

CONNECTION_HINTS = {
    1045: Lasting(
        "Check login and password of the Airflow connection; a user who must use TLS needs ssl_mode in its extras."
    ),
    2002: "Check host, port and socket of the Airflow connection, and that the server runs.",
    2003: "Check host, port and socket of the Airflow connection, and that the server runs.",
    2005: "Check the host of the Airflow connection.",
    2006: "The server went away; look at its log. The next try starts over.",
    2013: "The server went away; look at its log. The next try starts over.",
    2026: "Check ssl and ssl_mode in the extras of the Airflow connection; if the connection broke during the"
    " dump, check the server's log.",
    2059: Lasting("The client does not know the user's authentication plugin; install the server's own client."),
    2061: Lasting("caching_sha2_password requires TLS: set ssl_mode in the extras of the Airflow connection."),
}
HINTS = CONNECTION_HINTS | {
    1044: Lasting("Grant the connection's user SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES on that database."),
    1049: Lasting("Check the database's name in the settings, and the connection's host."),
    1104: Lasting(
        "The server's sql_big_selects is off, which this client cannot change: SET GLOBAL sql_big_selects = 1."
    ),
    1142: Lasting("Grant the connection's user SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES on that database."),
    1146: "A table vanished while it was dumped; the next try takes a new snapshot.",
    1168: Lasting(
        "A MERGE table lists a table that is missing or is not a MyISAM table; repair or drop it, or list it in"
        " exclude_tables."
    ),
    1356: Lasting(
        "A view refers to something that no longer exists; repair or drop the view, or list it in exclude_tables."
    ),
    1370: Lasting("Grant the connection's user EXECUTE on that database: its views call functions."),
    1412: "A table was altered while it was dumped; the next try takes a new snapshot.",
    1690: Lasting(
        "A generated column relies on sql_mode NO_UNSIGNED_SUBTRACTION, which dump clients do not set: add"
        " CAST(... AS SIGNED)"
        " to its expression, or list its table in exclude_tables."
    ),
    1814: Lasting(
        "A table has no tablespace; import it (ALTER TABLE ... IMPORT TABLESPACE), or list it in exclude_tables."
    ),
}


@dataclass(frozen=True)
class Client:
    """An installed client of a server.

    :param version: the first line of its help.
    :param options: the long options that it knows, without dashes.
    """

    path: str
    version: str
    options: frozenset[str]

    @property
    def is_mariadb(self) -> bool:
        """Return whether the client is MariaDB's, whatever it is called."""
        return "MariaDB" in self.version

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers of its version; zeros where its help names none."""
        # Some print the version of the client and that of the distribution.
        found = re.search(r"\b(?:Distrib|from) (\d+)\.(\d+)", self.version) or re.search(
            r"\bVer (\d+)\.(\d+)", self.version
        )
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def arguments(self, option_file: str, wanted: Mapping[str, str]) -> list[str]:
        """Return how a command begins: the client, its option file, and those of the wanted options that it knows.

        :param wanted: each with what follows its name: ``=`` and a value, or nothing.
        """
        known = [f"--{option}{value}" for option, value in wanted.items() if option in self.options]
        return [self.path, f"--defaults-file={option_file}", *known]


def parse_help(path: str, text: str) -> Client:
    """Read what a client says of itself."""
    # Two spaces exactly: deeper lines are descriptions, which name options too.
    options = re.findall(r"^  (?:-\w, )?--([a-z][a-z0-9-]+)", text, re.MULTILINE)
    return Client(path, text.partition("\n")[0].strip(), frozenset(options))


def find_client(*, for_mariadb: bool) -> Client:
    """Find a dump client: one of the server's own family, whatever it is called, or else the newest of any.

    :raises DumpError: none is installed, or it does not run.
    """
    names = ("mariadb-dump", "mysqldump") if for_mariadb else ("mysqldump", "mariadb-dump")
    others = []
    for client in all_installed(names):
        if client.is_mariadb == for_mariadb:
            return client
        others.append(client)
    if others:
        return max(others, key=lambda client: client.release)
    raise DumpError(
        "No dump client on this worker: neither mariadb-dump nor mysqldump is on the PATH.",
        Lasting("Install mariadb-client or mysql-client."),
    )


def installed(names: Sequence[str]) -> Client | None:
    """Return the first of some clients that is installed and runs."""
    return next(all_installed(names), None)


def all_installed(names: Sequence[str]) -> Iterator[Client]:
    """Yield all clients of some names that are installed and run: wherever in PATH, the first name first."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for path in filter(None, (shutil.which(name, path=folder) for name in names for folder in folders)):
        command = [path, "--no-defaults", "--help"]
        probe = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            yield parse_help(path, probe.stdout)
        else:
            log.warning("%s cannot be run: %s", path, probe.stderr.strip())


def dump_command(
    client: Client,
    option_file: str,
    database: str,
    choice: Choice | None = None,
    *,
    rows: bool = True,
    only: Sequence[str] = (),
    further: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the command that writes one consistent, complete dump to its standard output.

    :param option_file: names what to skip, too.
    :param rows: without them, it holds definitions only.
    :param only: dump these tables, and neither routines nor events; all when empty.
    :param further: options, each with what follows its name.
    """
    choice = choice or Choice()
    wanted = {
        **({} if rows else {"no-data": ""}),
        "single-transaction": "",
        "quick": "",
        **({} if only else {"routines": ""}),
        **({"events": ""} if choice.events and not only else {}),
        **({"dump-history": ""} if choice.history else {}),
        **({"force": ""} if choice.refused else {}),  # or it ends at the first table whose history it refuses
        "triggers": "",
        "hex-blob": "",  # bytes survive whatever the character sets on the way
        "order-by-primary": "",  # gives the digests of tables an order
        "no-tablespaces": "",  # tablespaces need the PROCESS privilege and mean nothing elsewhere
        "set-gtid-purged": "=OFF",  # the history of the source does not belong in a copy
        # MySQL 8's client asks for a table that other servers lack.
        "column-statistics": "=1" if choice.histograms else "=0",
        "masking-policies": "=0",  # nobody but administrators may read them, nor make them
        "init-command": f"={SETTINGS}",
        "default-character-set": "=utf8mb4",
        "max-allowed-packet": "=1G",
        **(further or {}),
    }
    return [*client.arguments(option_file, wanted), "--", database, *only]


def option_file_text(server: Server, client: Client, database: str = "", excluded: Iterable[str] = ()) -> str:
    """Return the text of the client's option file: login, address and TLS, so that none of it is in argv.

    :param excluded: tables and views of the database that a dump skips: more than a command could name.
    """
    options = {"user": server.user, "password": server.password}
    if server.socket:
        options["socket"] = server.socket
    else:
        options |= {"host": server.host, "port": str(server.port), "protocol": "tcp"}
    options |= _tls_options(server.tls, client)
    lines = ["[client]", *(f"{name}={_quoted(value)}" for name, value in options.items())]
    if ignored := [f"ignore-table={_quoted(f'{database}.{table}')}" for table in excluded]:
        lines += ["[mysqldump]", *ignored]
    return "\n".join(lines) + "\n"


def _tls_options(tls: dict[str, str], client: Client) -> dict[str, str]:
    files = {name: value for name, value in tls.items() if name != "ssl-mode"}
    mode = tls.get("ssl-mode", "").upper()
    if not mode or mode == "PREFERRED":
        # Clients of MariaDB from 11.4 on refuse servers without TLS unless verification is off.
        return files or ({"ssl-verify-server-cert": "0"} if client.is_mariadb else {})
    if "ssl-mode" in client.options:
        # Without TLS, a password for caching_sha2_password is sent encrypted with the server's own key.
        key = {"get-server-public-key": "1"} if mode == "DISABLED" else {}
        return files | {"ssl-mode": mode} | {name: value for name, value in key.items() if name in client.options}
    if mode == "DISABLED":
        return {"ssl": "0"}
    # Always explicit: clients from 11.4 on verify by default.
    return files | {"ssl": "1", "ssl-verify-server-cert": "1" if mode.startswith("VERIFY") else "0"}


def _quoted(value: str) -> str:
    """Quote a value for an option file, where ``#``, spaces, quotes and backslashes have meanings."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}
    return '"' + "".join(escapes.get(char, char) for char in value) + '"'


class Session:
    """A connection to the server: for queries, and for the lock of a database.

    :param connection: an open DB-API connection of the server (`mysqlclient` or `mysql-connector-python`).
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, sql: str | bytes, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        :raises DumpError: the server refuses it.
        """
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, values or None)  # without values, a percent sign means nothing
            # The connection may ask for dictionaries instead of rows; they keep the order of the columns.
            return [tuple(row.values()) if isinstance(row, dict) else row for row in cursor.fetchall()]

    def execute(self, sql: bytes) -> int:
        """Run a statement as it stands and return the number of rows that it changed."""
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
            count: int = cursor.rowcount
            if cursor.description:
                cursor.fetchall()
            return count

    def one_statement_at_a_time(self) -> None:
        """Make sure that the server takes what is one statement here as one."""
        if set_option := getattr(self._connection, "set_server_option", None):
            set_option(MULTI_STATEMENTS_OFF)

    def id(self) -> int:
        """Return the number by which the server knows the connection."""
        return int(self.query("SELECT CONNECTION_ID()")[0][0])

    def duplicate_socket(self) -> socket.socket | None:
        """Return a duplicate of the connection's socket, to shut it down while another thread waits for an answer.

        :returns: None where the driver does not tell which socket it is.
        """
        descriptor = getattr(self._connection, "fileno", None)
        return socket.socket(fileno=os.dup(descriptor())) if descriptor else None

    def close(self) -> None:
        """Close the connection, which may be gone."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def version(self) -> str:
        """Return the server's version, with ``MariaDB`` in it where it is one."""
        version: str = self.query("SELECT VERSION()")[0][0]
        return version if "MariaDB" in version else f"{version}-MySQL"

    def ahead(self, clock: Clock) -> timedelta:
        """Return how far the server's clock is ahead of this machine's."""
        ((now,),) = self.query("SELECT UTC_TIMESTAMP(6)")
        return now.replace(tzinfo=UTC) - clock()  # type: ignore[no-any-return]

    def stored(self, name: str) -> str:
        """Return the name of a database or table as the server stores it: some keep all in lower case."""
        ((folds,),) = self.query("SELECT @@lower_case_table_names")
        return name.lower() if int(folds) == mysql_source.STORES_LOWER else name

    def character_set(self, database: str) -> tuple[str, str]:
        """Return the default character set and collation of a database.

        :raises DumpError: the database is not there, or not for this user.
        """
        rows = self.query(
            "SELECT default_character_set_name, default_collation_name"
            " FROM information_schema.schemata WHERE schema_name = %s",
            database,
        )
        if not rows:
            raise DumpError(
                f"The server has no database {database!r}, or this user is not allowed to see it.", HINTS[1049]
            )
        return rows[0]

    def prepare(self) -> int:
        """Make the session independent of the server's settings; return how many rows these allow in a result."""
        ((limit,),) = self.query("SELECT @@sql_select_limit")
        self.execute(SETTINGS.encode())
        # Grants then quote names with backticks, and no query waits long for a lock.
        self.execute(b"SET SESSION sql_mode = '', lock_wait_timeout = 1")
        return int(limit)

    def longest(self) -> int:
        """Return how many bytes the longest statement may have that the server takes."""
        ((longest,),) = self.query("SELECT @@max_allowed_packet")
        return int(longest)

    def doing(self, database: str) -> list[Doing]:
        """Return what the server is doing for those of this user who came later and use the database."""
        ((me, user),) = self.query("SELECT CONNECTION_ID(), SUBSTRING_INDEX(USER(), '@', 1)")
        rows = (row[:7] for row in self.query("SHOW PROCESSLIST"))
        return [
            Doing(f"{command}, {state}" if state else command, _waits(command, state or ""))
            for number, name, _, schema, command, _, state in rows
            if number > me and name == user and schema == database
        ]

    def check_grants(self, database: str) -> list[str]:
        """Make sure that the user sees triggers and routines: a client silently skips what it may not see.

        :returns: warnings, if roles make it impossible to tell.
        :raises DumpError: a grant is missing.
        """
        grants = [row[0] for row in self.query("SHOW GRANTS")]
        missing = missing_grants(grants, database, is_mariadb="MariaDB" in self.version())
        if not missing:
            return []
        what = f"The user lacks {' and '.join(missing)}, without which triggers or routines are silently left out."
        if has_roles(grants):
            log.warning("%s A role may grant it.", what)
            return [f"{database}: {what}"]
        raise DumpError(what, "Grant it, as docs/BACKUP.md shows.")

    def check_finished(self, database: str) -> None:
        """Make sure that no restore left the database unfinished: half a database is not a backup.

        :raises DumpError: one did.
        """
        if self.query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", database, UNFINISHED
        ):
            raise DumpError(
                "A restore is filling the database, or was interrupted.",
                f"Run that restore again; if the database is complete anyway, drop {UNFINISHED}, a view or a table.",
            )

    def existing(self, database: str, tables: Iterable[str]) -> list[str]:
        """Return those of some tables that a database has, as the server stores their names."""
        rows = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", database)
        there = {name for (name,) in rows}
        return [stored for stored in map(self.stored, tables) if stored in there]

    def find_excluded(
        self, database: str, excluded: Sequence[str], without_rows: Sequence[str], warnings: list[str]
    ) -> tuple[list[str], list[str]]:
        """Return the tables and views to exclude, and the tables to dump without rows, and add warnings.

        :param excluded: names and patterns, as is `without_rows`.
        :raises DumpError: clients match names regardless of case, so another table would be skipped, too.
        """
        ((folds,),) = self.query("SELECT @@lower_case_table_names")
        fold = str.lower if int(folds) else str
        kinds = dict(
            self.query("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", database)
        )
        tables = [name for name, kind in kinds.items() if kind in mysql_source.STORED]
        rowless = {name: kind.lower() for name, kind in kinds.items() if kind not in mysql_source.STORED}
        left_out = exclusion.find("exclude_tables", excluded, list(kinds), {name: (name,) for name in kinds}, fold)
        emptied = exclusion.find(
            "exclude_rows", without_rows, tables, {name: (name,) for name in tables}, fold, rowless
        )
        gone = set(left_out.tables)
        without = [name for name in emptied.tables if name not in gone]
        _refuse_twins("exclude_tables", gone, kinds)
        _refuse_twins("exclude_rows", set(without), kinds)
        for warning in (*left_out.warnings, *emptied.warnings):
            log.warning("%s: %s.", database, warning)
            warnings.append(f"{database}: {warning}")
        return left_out.tables, without

    @contextlib.contextmanager
    def lock(self, database: str, patience: float = LOCK_PATIENCE) -> Iterator[None]:
        """Keep other dumps and restores of the same database away; the lock dies with this connection.

        :param patience: seconds to wait for the holder.
        :raises DumpError: somebody else still holds it then.
        """
        name = lock_name(database)
        self.query(f"SET SESSION wait_timeout = {IDLE_SECONDS}")
        deadline = time.monotonic() + patience
        while self.query("SELECT GET_LOCK(%s, %s)", name, min(LOCK_POLL, max(patience, 0)))[0][0] != 1:
            (holder,) = self.query("SELECT IS_USED_LOCK(%s)", name)[0]
            if time.monotonic() >= deadline:
                raise DumpError(
                    f"Database {database!r} is being dumped or restored by connection {holder} of the same server.",
                    "Wait for it to end, or look for it in SHOW PROCESSLIST.",
                )
            log.info("Waiting: connection %s is dumping or restoring %s.", holder, database)
        yield
        self.query("SELECT RELEASE_LOCK(%s)", name)


def _refuse_twins(setting: str, chosen: Collection[str], names: Iterable[str]) -> None:
    """:raises DumpError: a table that is not chosen has the name of one that is, but for the case of letters."""
    folded = {name.lower(): name for name in chosen}
    for name in sorted(names):
        if name not in chosen and name.lower() in folded:
            raise DumpError(
                f"Excluding {folded[name.lower()]!r} would also exclude {name!r}: clients compare names without case.",
                f"Fix {setting} in the settings, or rename the table.",
            )


def missing_grants(grants: Sequence[str], database: str, *, is_mariadb: bool = True) -> list[str]:
    """Return what a dump needs and ``SHOW GRANTS`` does not show: the right to see triggers, and names of routines."""
    here: set[str] = set()
    sees_all_routines = False
    for grant in grants:
        match = _GRANT.match(grant)
        if match is None:
            continue
        privileges = {name.strip().upper() for name in re.sub(r"\([^)]*\)", "", match["what"]).split(",")}
        schema, table = (unquoted(match[part], _MARKS) for part in ("schema", "table"))
        everything = privileges & {"ALL PRIVILEGES", "ALL"}
        if schema == "*":
            sees_all_routines |= bool(everything or privileges & {"SELECT", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"})
        if is_mariadb and schema == "mysql" and table in ("*", "proc"):  # MySQL keeps routines elsewhere
            sees_all_routines |= bool(everything or "SELECT" in privileges)
        if table == "*" and (schema == "*" or _like(schema, database)):
            here |= privileges
    if here & {"ALL PRIVILEGES", "ALL"}:
        return []
    # By the last three, routines have names only: `check_routines` looks whether there are any.
    routines = sees_all_routines or here & {"SHOW CREATE ROUTINE", "EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE"}
    return [
        *(["TRIGGER"] if "TRIGGER" not in here else []),
        *(["SELECT ON mysql.proc (MariaDB) or SHOW_ROUTINE (MySQL)"] if not routines else []),
    ]


def reaches_only(grants: Sequence[str], schema: str) -> bool:
    """Return whether ``SHOW GRANTS`` shows rights on one schema, and nothing else but a login."""
    return all("GRANT OPTION" not in grant and _is_of(schema, grant) for grant in grants)


def _is_of(schema: str, grant: str) -> bool:
    match = _GRANT.match(grant)
    if match is None:
        return False
    pattern = unquoted(match["schema"], _MARKS)
    wild = "%" in re.sub(r"\\.", "", pattern)
    return match["what"] == "USAGE" or (not wild and _like(pattern, schema))


def check_routines(source: Source) -> None:
    """Make sure that the user may read all routines that it sees.

    :raises DumpError: it may not.
    """
    hidden = [repr(code.name) for code in source.code if code.text is None]
    if hidden:
        raise DumpError(
            f"The user is not allowed to read {', '.join(hidden[:NAMED])}: it can run routines, but not show"
            " their code.",
            "Grant it SELECT ON mysql.proc (MariaDB) or SHOW_ROUTINE (MySQL), as docs/BACKUP.md shows.",
        )


def check_limit(limit: int, client: Client) -> None:
    """Make sure that nothing cuts the rows of the dump short without a word.

    :param limit: of rows in a result, as a session of this user begins with it.
    :raises DumpError: the server would.
    """
    if limit < FEWEST_UNLIMITED and "init-command" not in client.options:
        raise DumpError(
            f"The server's sql_select_limit would cut each table off after {limit} rows, and {client.version} cannot"
            " change it.",
            "SET GLOBAL sql_select_limit = DEFAULT, and remove it from init_connect and the server's option file.",
        )


def has_roles(grants: Sequence[str]) -> bool:
    """Return whether ``SHOW GRANTS`` names roles, whose own grants it may not show."""
    return any(grant.startswith("GRANT ") and " ON " not in grant for grant in grants)


def _like(pattern: str, name: str) -> bool:
    """Match a schema as grants do: ``%`` and ``_`` are wildcards, a backslash makes them letters."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wildcards = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(wildcards.get(part) or re.escape(part[-1]) for part in parts), name, re.DOTALL))


def dump(  # noqa: PLR0913  # all that an engine knows of one
    connect: Callable[[], Any],
    server: Server,
    clock: Clock,
    database: str,
    excluded: Sequence[str],
    write: Callable[[bytes], object],
    ask_taker: Callable[[Iterable[str]], Taker] | None = None,
    *,
    without_rows: Sequence[str] = (),
    may_lock: bool = False,
    aside: Aside | None = None,
) -> Dump:
    """Dump one database as SQL in one consistent snapshot.

    :param connect: opens a DB-API connection to `server`.
    :param clock: the site's.
    :param excluded: names and patterns of tables to skip.
    :param write: takes the SQL in chunks; what it raises ends the dump.
    :param without_rows: names and patterns of tables to dump without their rows.
    :param ask_taker: asks the server of the restore connection, if the settings name one, about some collations.
    :param may_lock: let writers wait for seconds, if there is no other way to find the position (see `mysql.position`).
    :param aside: lets several clients dump it, while tables are locked for a moment (see `mysql.together`).
    :raises DumpError: discard what was written.
    """
    where = f"Dump of database {database!r} on {server.address} failed: "
    with translated(where, DumpError, HINTS), contextlib.closing(connect()) as connection:
        begun = _begin(connection, database, excluded, without_rows)
        session, version, client = begun.session, begun.version, begun.client
        called, database, excluded = database, begun.database, begun.excluded
        filling = UNFINISHED in excluded  # it is ours, marked and locked
        with contextlib.nullcontext() if filling else session.lock(database):
            if not filling:
                session.check_finished(database)
            source, left_out, broken = _source(begun)
            limits = [] if filling else _limits(session, source, begun, left_out, broken)
            excluded = [*excluded, *left_out, *broken]
            captured_at = clock()
            choice = mysql_limits.choose(source, client, [*excluded, *begun.without_rows])
            events = b"" if choice.events else _events(session, source, client)
            task = Task(begun, server, connect, source, excluded, choice, events)
            structure = mysql_structure.written(task)
            passed, found = (aside and not filling and _by_several(task, structure, write, aside)) or _by_one(
                task, structure, write, find=not filling, may_lock=may_lock
            )
            _check_unaltered(session, source)
            longest = session.longest()
    if not filling:
        limits += dict.fromkeys((*passed.limits, *structure.limits))
        if ask_taker:
            limits += _of_taker(ask_taker, source, excluded, passed.longest_line)
        else:
            limits += mysql_limits.of_longest(passed.longest_line, longest)
    return Dump(
        database=called,
        engine="mysql",
        server=version,
        client=client.version,
        character_set=begun.character_set,
        collation=begun.collation,
        captured_at=captured_at,
        sql_bytes=passed.sql_bytes,
        sha256=passed.sha256,
        tables=(*passed.digest.tables, *structure.digest.tables),
        objects=(*passed.digest.objects, *structure.digest.objects),
        excluded_tables=tuple(excluded),
        excluded_rows=tuple(begun.without_rows),
        unreplayed_triggers=tuple(each.name for each in structure.digest.objects),
        warnings=begun.warnings,
        digest_rules=RULES,
        unprotected_tables=tuple(limit.name for limit in limits if limit.kind == UNPROTECTED),
        limits=tuple(limits),
        position=found if isinstance(found, LogPosition) else None,
        no_position=found if isinstance(found, str) else "",
    )


class Task(NamedTuple):
    """A dump that is about to be written.

    :param connect: opens a DB-API connection to `server`.
    :param source: what the database holds.
    :param excluded: tables and views that are not dumped.
    :param choice: of what the client is asked for.
    :param events: that no client writes, as SQL.
    """

    begun: _Begun
    server: Server
    connect: Callable[[], Any]
    source: Source
    excluded: Sequence[str]
    choice: Choice
    events: bytes

    @property
    def without_rows(self) -> Sequence[str]:
        """Tables that are dumped without their rows."""
        return self.begun.without_rows

    @property
    def skipped(self) -> Sequence[str]:
        """Tables and views of which the clients that write rows write nothing."""
        return (*self.excluded, *self.without_rows)

    @property
    def watch(self) -> Watch:
        """The watch over it."""
        database = self.begun.database
        return Watch(database, partial(self.begun.session.doing, database), "SHOW PROCESSLIST")

    def definitions(self) -> Definitions:
        """Return what reads the definitions of its text."""
        return Definitions(self.begun.database, self.excluded)

    def log(self, clients: str) -> None:
        """Log who writes it."""
        log.info(
            "Dumping %s from %s (%s) with %s.", self.begun.database, self.server.address, self.begun.version, clients
        )


def _by_one(
    task: Task, structure: Structure, write: Callable[[bytes], object], *, find: bool, may_lock: bool
) -> tuple[Passed, LogPosition | str]:
    """Let one client write a dump; return what it held, and its position in the binary log or why there is none.

    :param structure: of tables without rows, which are part of it.
    :param find: look for the position.
    """
    begun, source = task.begun, task.source
    finding = (
        mysql_position.finding(begun.session, task.connect, source, begun.client, task.skipped, may_lock=may_lock)
        if find
        else contextlib.nullcontext(Nowhere(""))
    )
    options = option_file_text(task.server, begun.client, begun.database, task.skipped)
    with secret_file(options) as (descriptor, path), finding as finder:
        command = dump_command(begun.client, path, begun.database, task.choice, further=finder.options)
        task.log(begun.client.version)
        passed = mysql_position.taken(
            finder,
            lambda: _pump(task, command, descriptor, write, finder, structure.sql),
        )
        return passed, mysql_position.position_of(finder, source, [table.name for table in passed.digest.tables])


def _by_several(
    task: Task, structure: Structure, write: Callable[[bytes], object], aside: Aside
) -> tuple[Passed, LogPosition | str] | None:
    """Let several clients write a dump, as `_by_one` does; None where one must, or does as well."""
    begun, source = task.begun, task.source
    client, database = begun.client, begun.database
    known = mysql_source.sizes(begun.session, database) if aside.clients > 1 else {}
    skipped = set(task.skipped)
    plain = [table.name for table in source.tables if table.transactions == "YES" and table.name not in skipped]
    dealt = shares({name: known[name] for name in plain if name in known}, aside.clients)
    if not dealt:
        return None
    binary_log = mysql_source.binary_log(begun.session)
    finder = mysql_position.by_client(binary_log, source, client)
    ignored = [*task.skipped, *(name for names in dealt for name in names)]
    with (
        secret_file(option_file_text(task.server, client, database, ignored)) as (of_first, first),
        secret_file(option_file_text(task.server, client)) as (of_others, path),
    ):
        further = finder.options if finder else {}
        simple = replace(task.choice, refused=frozenset())
        commands = [
            dump_command(client, first, database, task.choice, further=further),
            *(dump_command(client, path, database, simple, only=names) for names in dealt),
        ]
        with mysql_together.started(task, commands, (of_first, of_others), plain) as group:
            if isinstance(group, str):
                log.warning("One client dumps %s instead of %s: %s.", database, len(commands), group)
                return None
            task.log(f"{len(commands)} of {client.version}")
            finder = finder or mysql_position.Told(binary_log, group.end)
            passed = mysql_together.pump(task, group, dealt, write, aside, finder, structure.sql)
            return passed, mysql_position.position_of(finder, source, [table.name for table in passed.digest.tables])


def check_dump(
    connect: Callable[[], Any],
    server: Server,
    clock: Clock,
    database: str,
    excluded: Sequence[str],
    ask_taker: Callable[[Iterable[str]], Taker] | None = None,
    without_rows: Sequence[str] = (),
) -> Dumpable:
    """Run all steps of a dump without its rows.

    :param connect: opens a DB-API connection to `server`.
    :param clock: the site's.
    :param excluded: names and patterns of tables to skip.
    :param ask_taker: as for `dump`.
    :param without_rows: as for `dump`.
    :raises DumpError: a dump would fail, or would silently lack something.
    """
    where = f"Trial dump of database {database!r} on {server.address} failed: "
    with translated(where, DumpError, HINTS), contextlib.closing(connect()) as connection:
        begun = _begin(connection, database, excluded, without_rows)
        session, version, client = begun.session, begun.version, begun.client
        ahead = session.ahead(clock)
        session.check_finished(begun.database)
        source, left_out, broken = _source(begun)
        excluded = [*begun.excluded, *left_out, *broken]
        skipped = [*excluded, *begun.without_rows]
        tables = [table.name for table in source.tables if table.kind != "VIEW" and table.name not in skipped]
        if denied := list(mysql_source.denied_tables(session, begun.database, tables)):
            raise DumpError(f"the user is not allowed to read the rows of {listed(denied)}.", HINTS[1142])
        with secret_file(option_file_text(server, client, begun.database, excluded)) as (descriptor, path):
            choice = mysql_limits.choose(source, client, skipped)
            command = dump_command(client, path, begun.database, choice, rows=False)
            events = b"" if choice.events else _events(session, source, client)
            task = Task(begun, server, connect, source, excluded, choice, events)
            passed = _pump(task, command, descriptor, lambda chunk: None, Nowhere(""))
    limits = [*mysql_limits.of_client(source, client, skipped), *passed.limits]
    if ask_taker:
        limits += _of_taker(ask_taker, source, excluded, Line())
    return Dumpable(version, client.version, ahead, (*begun.warnings, *limit_texts(limits), *_older(client, version)))


def _older(client: Client, version: str) -> Iterator[str]:
    """Yield a warning where a client is older than the server of its family.

    :param version: of the server.
    """
    release = re.match(r"(\d+)\.(\d+)", version)
    if release is None or client.is_mariadb != ("MariaDB" in version):
        return
    if client.release < (int(release[1]), int(release[2])):
        yield (
            f"{client.version} is older than the server, {version}, and may leave out what is new there: install the"
            " client of the server's version"
        )


class _Begun(NamedTuple):
    """A session that is about to dump a database.

    :param database: as the server stores its name; so are the excluded tables.
    :param without_rows: tables that are dumped without their rows.
    :param warnings: what a reader of the dump should know.
    """

    session: Session
    version: str
    database: str
    character_set: str
    collation: str
    excluded: list[str]
    without_rows: list[str]
    client: Client
    warnings: tuple[str, ...]


def _begin(connection: Any, database: str, excluded: Sequence[str], without_rows: Sequence[str]) -> _Begun:
    """Make a session ready to dump a database, and find the client for it.

    :raises DumpError: the user lacks rights, or there is no client that would write all rows.
    """
    session = Session(connection)
    limit = session.prepare()
    version = session.version()
    database = session.stored(database)
    character_set, collation = session.character_set(database)
    warnings = session.check_grants(database)
    if UNFINISHED in excluded:  # what was restored is read back, and all are names
        found = list(map(session.stored, excluded)), session.existing(database, without_rows)
    else:
        found = session.find_excluded(database, excluded, without_rows, warnings)
    client = find_client(for_mariadb="MariaDB" in version)
    check_limit(limit, client)
    return _Begun(session, version, database, character_set, collation, *found, client, tuple(warnings))


def _source(begun: _Begun) -> tuple[Source, list[str], list[str]]:
    """Return what the catalog says of a database, and its views that cannot be dumped: over excluded tables, broken.

    :raises DumpError: the user may not read all routines.
    """
    source = mysql_source.read(begun.session, begun.database, begun.version)
    check_routines(source)
    left_out = mysql_limits.over_excluded(source, begun.excluded)
    views = [view.name for view in source.views if view.name not in {*begun.excluded, *left_out}]
    return source, left_out, list(mysql_source.unwritable_views(begun.session, begun.database, views))


def _events(session: Session, source: Source, client: Client) -> bytes:
    """Return the events as SQL, for a client that would never end on them."""
    log.info("%s never ends on an event with ';;': Lifeboat writes the events of %s.", client.version, source.schema)
    return mysql_events.written(session, source.schema, mysql_limits.writable_events(source))


def _limits(
    session: Session,
    source: Source,
    begun: _Begun,
    left_out: Sequence[str],
    broken: Sequence[str],
) -> list[Limit]:
    """Return what a restore will not bring back, or not exactly, from the catalog and the rows."""
    excluded, skipped = begun.excluded, [*begun.excluded, *begun.without_rows]
    views = [view.name for view in source.views if view.name not in {*excluded, *left_out, *broken}]
    unusable = dict(mysql_source.unusable_views(session, source.schema, views))
    limits = [
        *mysql_limits.of_catalog(source, {*excluded, *left_out, *broken}, left_out, unusable, set(begun.without_rows)),
        *mysql_limits.of_broken_views(broken),
        *mysql_limits.of_client(source, begun.client, skipped),
    ]
    deadline = time.monotonic() + SEARCH_SECONDS
    for table, columns in mysql_limits.searched_columns(source, skipped).items():
        remaining = deadline - time.monotonic()
        counts = mysql_source.lost_characters(session, source, table, columns, remaining) if remaining > 0 else None
        limits += mysql_limits.of_characters(columns, counts)
    return limits


def _of_taker(
    ask_taker: Callable[[Iterable[str]], Taker], source: Source, excluded: Sequence[str], longest_line: Line
) -> list[Limit]:
    """Return what the server of the restore connection would not take; that never fails a backup."""
    try:
        taker = ask_taker(source.collations)
    except LifeboatError as error:
        return [mysql_limits.unasked(error.message)]
    return list(mysql_limits.of_taker(source, excluded, taker, longest_line))


def _check_unaltered(session: Session, source: Source) -> None:
    """Make sure that no definition changed under the client, which reads it before the rows.

    :raises DumpError: one did. Some servers alter tables at once without ending the snapshot.
    """
    if altered := mysql_limits.altered(source.columns, mysql_source.columns(session, source.schema)):
        raise DumpError(
            f"Tables were altered while they were dumped: {', '.join(altered[:NAMED])}.",
            "The next try takes a new snapshot.",
        )


def _pump(
    task: Task,
    command: Sequence[str],
    secret: int,
    write: Callable[[bytes], object],
    finder: Finder,
    structure: bytes = b"",
) -> Passed:
    """Run the client and pass its output on; return what it held.

    :param finder: of the position of the dump.
    :param structure: of tables without rows, as SQL, which goes behind the others.
    """

    reader = Regions(task.definitions(), finder, [(*BEHIND_TABLES, END)] if structure else [])
    sha256, sql_bytes = hashlib.sha256(), 0
    held: list[bytes] = []  # up to the first table, while the client may have to start again
    with child(command, [secret]) as client:
        chunks = mysql_events.before_trailer(task.watch.passing(client), task.events)
        for chunk in with_text(reader, chunks, structure) if structure else _fed(reader, chunks):
            sha256.update(chunk)
            sql_bytes += len(chunk)
            held.append(chunk)
            if not finder.may_repeat:
                _write(held, write)
        _write(held, write)
        check_ended(client, task.choice)
    digest = reader.finish(client)
    if not reader.is_divided():
        raise DumpError(
            f"{client.name} wrote no end of its tables, behind which the structure of others would go.",
            "Remove exclude_rows from the settings, and report this.",
        )
    return Passed(digest, reader.limits, sql_bytes, sha256.hexdigest(), reader.longest_line)


def _fed(reader: Reader, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks that a reader has seen."""
    for chunk in chunks:
        reader.feed(chunk)
        yield chunk


def _write(held: list[bytes], write: Callable[[bytes], object]) -> None:
    """Write chunks, and forget them."""
    for chunk in held:
        write(chunk)
    held.clear()


def _waits(command: str, state: str) -> bool:
    """Return whether a connection waits: for its client, or for a lock."""
    return command == "Sleep" or state.startswith(
        ("Waiting", "Writing to net", "Sending to client", "Reading from net")
    )


@contextlib.contextmanager
def translated(where: str, ours: type[LifeboatError], hints: Mapping[int, str]) -> Iterator[None]:
    """Begin messages with `where`, and turn the driver's errors into `ours`."""
    try:
        yield
    except ours as error:
        if error.message.startswith(where):
            raise
        raise ours(where + error.message, error.hint) from error
    except LifeboatError:
        raise
    except Exception as error:
        if not is_of_driver(error):
            raise
        text = ": ".join(map(str, error.args))
        raise ours(f"{where}{text}.", hint_for(text, hints)) from error


def is_of_driver(error: BaseException) -> bool:
    """Return whether an error is from a driver that Airflow knows; its first argument is then its number."""
    return type(error).__module__.startswith(("MySQLdb", "mysql.connector"))


def hint_for(text: str, hints: Mapping[int, str]) -> str:
    """Return what to do about the first known error number in a text."""
    return next((hints[code] for code in map(int, re.findall(r"\b(\d{4})\b", text)) if code in hints), "")


def lock_name(database: str) -> str:
    """Return the name of the lock that runs of Lifeboat exclude each other by."""
    name = f"lifeboat:{database}"
    return name if len(name) <= LONGEST_LOCK_NAME else f"lifeboat:{hashlib.sha256(database.encode()).hexdigest()[:48]}"
