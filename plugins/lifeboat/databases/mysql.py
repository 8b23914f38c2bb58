"""MySQL and MariaDB, dumped through whichever client is installed.

All that differs between the two families of clients stands here: the options they know, how they want TLS, and what
their errors mean. Options are probed from the client's own ``--help``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lifeboat.databases import Dump, Server
from lifeboat.databases.digest import RULES, DumpDigest, DumpParser
from lifeboat.errors import DumpError, LifeboatError
from lifeboat.logs import logger
from lifeboat.processes import child, environment, secret_file
from lifeboat.progress import Progress

log = logger(__name__)

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<schema>`(?:[^`]|``)+`|\*)\.(?P<table>`(?:[^`]|``)+`|\*) TO ")
UNFINISHED = "_lifeboat_restore_unfinished"  # table in a schema that a restore is filling, or left half-way
LOCK_PATIENCE = 3600  # seconds to wait for another dump or restore of the same database
LOCK_POLL = 15
LONGEST_LOCK_NAME = 64
IDLE_SECONDS = 31_536_000  # the lock's session is idle while the dump runs; servers allow up to a year

CONNECTION_HINTS = {
    1045: "Check login and password of the Airflow connection; a user who must use TLS needs ssl_mode in its extras.",
    2002: "Check host, port and socket of the Airflow connection, and that the server runs.",
    2003: "Check host, port and socket of the Airflow connection, and that the server runs.",
    2005: "Check the host of the Airflow connection.",
    2006: "The server went away; look at its log. The next try starts anew.",
    2013: "The server went away; look at its log. The next try starts anew.",
    2026: "Check ssl and ssl_mode in the extras of the Airflow connection; if the line broke midway, the server's log.",
    2059: "The client does not know the user's authentication plugin; install the server's own client.",
    2061: "caching_sha2_password wants TLS: set ssl_mode in the extras of the Airflow connection.",
}
HINTS = CONNECTION_HINTS | {
    1044: "Grant the connection's user SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES on that database.",
    1049: "Check the database's name in the settings, and the connection's host.",
    1142: "Grant the connection's user SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES on that database.",
    1146: "A table vanished while it was dumped; the next try takes a new snapshot.",
    1356: "A view refers to something that is gone; repair or drop the view, or list it in exclude_tables.",
    1412: "A table was altered while it was dumped; the next try takes a new snapshot.",
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
        """Whether the client is MariaDB's, whatever it is called."""
        return "MariaDB" in self.version

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
    """Find a dump client, the server's own family first.

    :raises DumpError: none is installed, or it does not run.
    """
    names = ("mariadb-dump", "mysqldump") if for_mariadb else ("mysqldump", "mariadb-dump")
    if client := installed(names):
        return client
    raise DumpError(
        "No dump client on this worker: neither mariadb-dump nor mysqldump is on the PATH.",
        "Install mariadb-client or mysql-client.",
    )


def installed(names: Sequence[str]) -> Client | None:
    """Return the first of some clients that is installed and runs."""
    for path in filter(None, map(shutil.which, names)):
        command = [path, "--no-defaults", "--help"]
        probe = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            return parse_help(path, probe.stdout)
        log.warning("%s does not run: %s", path, probe.stderr.strip())
    return None


def dump_command(client: Client, option_file: str, database: str, excluded: Sequence[str]) -> list[str]:
    """Return the command that writes one consistent, complete dump to its standard output."""
    wanted = {
        "single-transaction": "",
        "quick": "",
        "routines": "",
        "events": "",
        "triggers": "",
        "hex-blob": "",  # bytes survive whatever the character sets on the way
        "order-by-primary": "",  # gives the digests of tables an order
        "no-tablespaces": "",  # tablespaces need the PROCESS privilege and mean nothing elsewhere
        "set-gtid-purged": "=OFF",  # the history of the source does not belong into a copy
        "column-statistics": "=0",  # MySQL 8's client asks for a table that other servers lack
        "default-character-set": "=utf8mb4",
        "max-allowed-packet": "=1G",
    }
    ignored = [f"--ignore-table={database}.{table}" for table in excluded]
    return [*client.arguments(option_file, wanted), *ignored, "--", database]


def option_file_text(server: Server, client: Client) -> str:
    """Return the text of the client's option file: login, address and TLS, so that none of it is in argv."""
    options = {"user": server.user, "password": server.password}
    if server.socket:
        options["socket"] = server.socket
    else:
        options |= {"host": server.host, "port": str(server.port), "protocol": "tcp"}
    options |= _tls_options(server.tls, client)
    return "[client]\n" + "".join(f"{name}={_quoted(value)}\n" for name, value in options.items())


def _tls_options(tls: dict[str, str], client: Client) -> dict[str, str]:
    files = {name: value for name, value in tls.items() if name != "ssl-mode"}
    mode = tls.get("ssl-mode", "").upper()
    if not mode or mode == "PREFERRED":
        # Clients of MariaDB from 11.4 on refuse servers without TLS unless they are told not to verify.
        return files or ({"ssl-verify-server-cert": "0"} if client.is_mariadb else {})
    if "ssl-mode" in client.options:
        # Without TLS, a password for caching_sha2_password is sent encrypted with the server's own key.
        key = {"get-server-public-key": "1"} if mode == "DISABLED" else {}
        return files | {"ssl-mode": mode} | {name: value for name, value in key.items() if name in client.options}
    if mode == "DISABLED":
        return {"ssl": "0"}
    # Said either way: clients from 11.4 on verify unless they are told not to.
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
            raise DumpError(f"The server has no database {database!r} that this user may see.", HINTS[1049])
        return rows[0]

    def unprotected_tables(self, database: str) -> list[str]:
        """Return the tables that a snapshot does not protect from being written while they are read."""
        rows = self.query(
            "SELECT t.table_name FROM information_schema.tables t"
            " LEFT JOIN information_schema.engines e ON e.engine = t.engine"
            " WHERE t.table_schema = %s AND t.table_type = 'BASE TABLE' AND COALESCE(e.transactions, 'NO') <> 'YES'"
            " ORDER BY t.table_name",
            database,
        )
        return [name for (name,) in rows]

    def check_grants(self, database: str) -> list[str]:
        """Make sure that the user sees triggers and routines: a client leaves out silently what it may not see.

        :returns: warnings, where roles make it impossible to tell.
        :raises DumpError: a grant is missing.
        """
        grants = [row[0] for row in self.query("SHOW GRANTS")]
        missing = missing_grants(grants, database)
        if not missing:
            return []
        what = f"The user lacks {' and '.join(missing)}, without which triggers or routines are left out silently."
        if has_roles(grants):
            log.warning("%s A role may grant it.", what)
            return [f"{database}: {what}"]
        raise DumpError(what, "Grant it, as README.md shows.")

    def check_finished(self, database: str) -> None:
        """Make sure that no restore left the database half-way: half a database is not a backup.

        :raises DumpError: one did.
        """
        if self.query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", database, UNFINISHED
        ):
            raise DumpError(
                "A restore is filling the database, or left it half-way.",
                "Run that restore again; if the database is whole all the same, drop the table " + UNFINISHED + ".",
            )

    def check_excluded(self, database: str, excluded: Sequence[str], warnings: list[str]) -> list[str]:
        """Return the excluded tables that exist, and add a warning for each that does not.

        :raises DumpError: clients ignore tables whatever their case, so another table would be left out, too.
        """
        rows = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", database)
        tables = {name for (name,) in rows}
        for table in excluded:
            others = sorted(name for name in tables if name != table and name.lower() == table.lower())
            if others:
                raise DumpError(
                    f"Excluding {table!r} would exclude {others[0]!r}, too: clients compare without case.",
                    "Fix exclude_tables in the settings, or rename the table.",
                )
            if table not in tables:
                log.warning("exclude_tables names %r, which %s does not have.", table, database)
                warnings.append(f"{database}: exclude_tables names {table!r}, which is not there")
        return [table for table in excluded if table in tables]

    @contextlib.contextmanager
    def lock(self, database: str, patience: float = LOCK_PATIENCE) -> Iterator[None]:
        """Keep other dumps and restores of the same database away; the lock dies with this connection.

        :param patience: seconds to wait for the holder.
        :raises DumpError: somebody else still holds it then.
        """
        name = _lock_name(database)
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


def missing_grants(grants: Sequence[str], database: str) -> list[str]:
    """Return what a dump needs and ``SHOW GRANTS`` does not show: the right to see triggers, and routines."""
    here: set[str] = set()
    sees_all_routines = False
    for grant in grants:
        match = _GRANT.match(grant)
        if match is None:
            continue
        privileges = {name.strip().upper() for name in re.sub(r"\([^)]*\)", "", match["what"]).split(",")}
        schema = match["schema"].strip("`")
        everything = privileges & {"ALL PRIVILEGES", "ALL"}
        if schema == "*":
            sees_all_routines |= bool(everything or privileges & {"SELECT", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"})
        if schema == "mysql" and match["table"].strip("`") in ("*", "proc"):
            sees_all_routines |= bool(everything or "SELECT" in privileges)
        if schema == "*" or _like(schema, database):
            here |= privileges
    if here & {"ALL PRIVILEGES", "ALL"}:
        return []
    routines = sees_all_routines or here & {"SHOW CREATE ROUTINE", "EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE"}
    return [
        *(["TRIGGER"] if "TRIGGER" not in here else []),
        *(["SELECT ON mysql.proc (MariaDB) or SHOW_ROUTINE (MySQL)"] if not routines else []),
    ]


def has_roles(grants: Sequence[str]) -> bool:
    """Whether ``SHOW GRANTS`` names roles, whose own grants it may not show."""
    return any(grant.startswith("GRANT ") and " ON " not in grant for grant in grants)


def _like(pattern: str, name: str) -> bool:
    """Match a schema as grants do: ``%`` and ``_`` are wildcards, a backslash makes them letters."""
    parts = re.findall(r"\\.|.", pattern.replace("``", "`"))
    wildcards = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(wildcards.get(part) or re.escape(part[-1]) for part in parts), name, re.DOTALL))


def dump(
    connect: Callable[[], Any],
    server: Server,
    database: str,
    excluded: Sequence[str],
    write: Callable[[bytes], object],
) -> Dump:
    """Dump one database as SQL in one consistent snapshot, without locking writers out.

    :param connect: opens a DB-API connection to `server`.
    :param excluded: tables to leave out.
    :param write: takes the SQL in chunks; what it raises ends the dump.
    :raises DumpError: nothing that was written counts then.
    """
    where = f"Dump of database {database!r} on {server.address} failed: "
    with translated(where, DumpError, HINTS), contextlib.closing(connect()) as connection:
        session = Session(connection)
        version = session.version()
        character_set, collation = session.character_set(database)
        warnings = session.check_grants(database)
        excluded = session.check_excluded(database, excluded, warnings)
        unprotected = [table for table in session.unprotected_tables(database) if table not in excluded]
        if unprotected:
            log.warning(
                "A snapshot does not protect %s of %s: their engine has no transactions, so they may change while"
                " they are read. ALTER TABLE ... ENGINE=InnoDB protects them.",
                ", ".join(unprotected),
                database,
            )
        client = find_client(for_mariadb="MariaDB" in version)
        filling = UNFINISHED in excluded  # it is ours, marked and locked
        with contextlib.nullcontext() if filling else session.lock(database):
            if not filling:
                session.check_finished(database)
            captured_at = datetime.now(UTC)
            with secret_file(option_file_text(server, client)) as (descriptor, path):
                command = dump_command(client, path, database, excluded)
                log.info("Dumping %s from %s (%s) with %s.", database, server.address, version, client.version)
                digest, sql_bytes, sha256 = _pump(database, command, descriptor, write)
    return Dump(
        database=database,
        engine="mysql",
        server=version,
        client=client.version,
        character_set=character_set,
        collation=collation,
        captured_at=captured_at,
        sql_bytes=sql_bytes,
        sha256=sha256,
        tables=digest.tables,
        objects=digest.objects,
        excluded_tables=tuple(excluded),
        warnings=tuple(warnings),
        unprotected_tables=tuple(unprotected),
        digest_rules=RULES,
    )


def _pump(
    database: str, command: Sequence[str], secret: int, write: Callable[[bytes], object]
) -> tuple[DumpDigest, int, str]:
    """Run the client and pass its output on; return what it held, its length and its SHA-256."""
    parser, sha256, sql_bytes = DumpParser(schema=database), hashlib.sha256(), 0
    progress = Progress(f"Dumping {database}")
    with child(command, [secret]) as client:
        for chunk in client.chunks():
            write(chunk)
            sha256.update(chunk)
            parser.feed(chunk)
            sql_bytes += len(chunk)
            progress.advance(len(chunk))
        status = client.wait()
        if status < 0:
            raise DumpError(f"{client.name} was killed by {signal.Signals(-status).name}.", "Was the memory used up?")
        if status > 0:
            raise DumpError(
                f"{client.name} ended with status {status}: {client.errors}.", hint_for(client.errors, HINTS)
            )
    digest = parser.finish()
    if not digest.complete:
        raise DumpError(
            f"{client.name} ended with status 0 but without its completion line: the dump is cut short.",
            "Look at the server's log; the next try starts anew.",
        )
    return digest, sql_bytes, sha256.hexdigest()


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
    """Whether an error is one of the drivers that Airflow knows; the first of its arguments is then its number."""
    return type(error).__module__.startswith(("MySQLdb", "mysql.connector"))


def hint_for(text: str, hints: Mapping[int, str]) -> str:
    """Return what to do about the first known error number in a text."""
    return next((hints[code] for code in map(int, re.findall(r"\b(\d{4})\b", text)) if code in hints), "")


def _lock_name(database: str) -> str:
    name = f"lifeboat:{database}"
    return name if len(name) <= LONGEST_LOCK_NAME else f"lifeboat:{hashlib.sha256(database.encode()).hexdigest()[:48]}"
