"""The binary logs of a server: what it has, and how the stock client fetches them: nothing is locked."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifeboat.databases import LOG_FILE, Server
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql.binlog import UnreadableLogError
from lifeboat.databases.mysql.dump import CONNECTION_HINTS, Client, Session, hint_for, option_file_text
from lifeboat.databases.mysql.gtids import Gtids, MariaDBGtids, MySQLGtids
from lifeboat.errors import Lasting, LogError
from lifeboat.support.processes import Child, child, secret_file

GRANTS = Lasting(
    "Grant the connection's user ON *.* REPLICATION SLAVE, and REPLICATION CLIENT (MySQL) or BINLOG MONITOR (MariaDB):"
    " docs/POINT_IN_TIME.md shows how."
)
HINTS = CONNECTION_HINTS | {
    1227: GRANTS,
    1381: Lasting("The server writes no binary log: set log_bin in its option file, and restart it."),
}
NO_GTIDS = Lasting(
    "Set gtid_mode=ON and enforce_gtid_consistency=ON in the server's option file, and restart it:"
    " docs/POINT_IN_TIME.md says more."
)
ANONYMOUS = "Cannot replicate anonymous transaction"  # written before gtid_mode=ON, and never sent since
TRUNCATED = "binlog truncated in the middle of event"  # says MariaDB of a file that a crash ended
OLD_CLIENT = "unrecognized MariaDB version"  # of the server, says a client of an earlier one
CHUNK = 256 << 10
PATIENCE = 3  # seconds to wait for another run: a server ends a session some time after who closed it
_CLIENTS = {True: ("mariadb-binlog", "mysqlbinlog"), False: ("mysqlbinlog",)}
_OF_MYSQL = frozenset({"read-from-remote-source", "read-from-remote-master"})  # options that only its client has
_FILE = re.compile(LOG_FILE)


class TruncatedLogError(LogError):
    """A file of a server ends within an event."""


@dataclass(frozen=True)
class LogServer:
    """A server and its binary logs, at one moment.

    :param uid: which it made for itself, and keeps as long as its data.
    :param log_format: ``ROW``, ``MIXED`` or ``STATEMENT``.
    :param compresses: whether it compresses transactions.
    :param files: sizes by name, oldest first.
    :param file: the one that is being written.
    :param position: up to which that was written.
    :param keeps: seconds for which the server keeps its logs; 0: indefinitely.
    :param now: the server's time, read before all else.
    """

    is_mariadb: bool
    version: str
    uid: str
    server_id: int
    log_format: str
    row_image: str
    compresses: bool
    files: Mapping[str, int]
    file: str
    position: int
    keeps: int
    now: datetime


@dataclass(frozen=True)
class Executed:
    """The transactions of a server.

    :param logged: MySQL: all that it has executed; MariaDB: the last of each domain and server in its log.
    :param purged: that it has executed, and its logs do not hold; MariaDB does not tell.
    """

    logged: Gtids
    purged: Gtids


class Logs:
    """The binary logs of a server.

    :param connect: opens a DB-API connection to `server`.
    """

    def __init__(self, server: Server, connect: Callable[[], Any]) -> None:
        self._server, self._connect = server, connect

    @property
    def address(self) -> str:
        """The server as messages name it."""
        return self._server.address

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Open a connection.

        :raises LogError: the server refuses it.
        """
        with self._asking():
            connection = self._connect()
        with contextlib.closing(connection):
            yield Session(connection)

    def read(self, session: Session) -> LogServer:
        """Return what the server says of its binary logs.

        :raises LogError: it writes none, or none that can be replayed exactly; or it does not answer.
        """
        with self._asking():
            return read(session)

    def executed(self, session: Session, *, is_mariadb: bool) -> Executed:
        """Return what a server has executed.

        :raises LogError: it does not answer.
        """
        with self._asking():
            if is_mariadb:
                ((state,),) = session.query("SELECT @@GLOBAL.gtid_binlog_state")
                return Executed(MariaDBGtids.of_text(state), MariaDBGtids())
            # Purged first: what is purged meanwhile was executed before.
            ((purged, executed),) = session.query("SELECT @@GLOBAL.gtid_purged, @@GLOBAL.gtid_executed")
            return Executed(MySQLGtids.of_text(executed), MySQLGtids.of_text(purged))

    def keep_others_away(self, session: Session, application: str) -> None:
        """Let no other run ship the logs of an application as long as the session lasts.

        :raises LogError: one does, or the server does not answer.
        """
        with self._asking():
            session.query(f"SET SESSION wait_timeout = {mysql.IDLE_SECONDS}")
            ((locked,),) = session.query("SELECT GET_LOCK(%s, %s)", mysql.lock_name(f"logs:{application}"), PATIENCE)
        if locked != 1:
            raise LogError(f"Another run is shipping the binary logs of {application}.", "Wait for it to end.")

    def _asking(self) -> contextlib.AbstractContextManager[None]:
        """Name the server in errors of what is asked of it in this block, and of nothing else."""
        return mysql.translated(f"Reading the binary logs of {self.address} failed: ", LogError, HINTS)

    def fetch(self, client: Client, file: str, start: int, folder: Path) -> Generator[bytes]:
        """Yield a log file as the server wrote it: the magic number, its format event, and all events from `start` on.

        The client writes to a pipe, so nothing of it is on a disk.

        :param folder: that holds the pipe meanwhile.
        :raises UnreadableLogError: the server refuses to send what is in the file.
        :raises TruncatedLogError: the file ends within an event, before which all was yielded.
        :raises LogError: the client fails.
        """
        with (
            _pipe(folder, file) as pipe,
            secret_file(option_file_text(self._server, client)) as (descriptor, options),
        ):
            command = [client.path, f"--defaults-file={options}", "--read-from-remote-server", "--raw"]
            command += [f"--result-file={pipe.parent}/", f"--start-position={start}", "--", file]
            # Not blocking: the client may end before it opens its end.
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            try:
                with child(command, [descriptor]) as running:
                    yield from _chunks(reader, running)
                    status = running.wait()
                    if status:
                        raise self._failure(file, running, status)
            finally:
                os.close(reader)

    def _failure(self, file: str, client: Child, status: int) -> LogError:
        hint = hint_for(client.errors, HINTS)
        if OLD_CLIENT in client.errors:
            hint = Lasting("Install the mariadb-client of the server's version, or of a newer one, on the workers.")
        reason = f"{client.name} ended with status {status}: {client.errors}"
        kinds = {ANONYMOUS: UnreadableLogError, TRUNCATED: TruncatedLogError}
        kind = next((kind for text, kind in kinds.items() if text in client.errors), LogError)
        return kind(f"Fetching binary log {file} of {self.address} failed: {reason}.", hint)


def read(session: Session) -> LogServer:
    """Return what a server says of its binary logs.

    :raises LogError: it writes none, or none that can be replayed exactly.
    """
    ((now, version),) = session.query("SELECT UTC_TIMESTAMP(6), VERSION()")
    # Not as @@name: no server has all of them.
    variables = {name.lower(): str(value) for name, value in session.query("SHOW GLOBAL VARIABLES")}
    if variables["log_bin"] != "ON":
        raise LogError("The server writes no binary log.", HINTS[1381])
    is_mariadb = "MariaDB" in version
    mode = variables.get("gtid_mode", "OFF")
    if not is_mariadb and mode != "ON":
        raise LogError(
            f"Its transactions need not have GTIDs (gtid_mode={mode}), so a recovery could not skip what a backup has.",
            NO_GTIDS,
        )
    # The files first: what is written meanwhile is then beyond what is known of them, never before.
    files = {str(name): int(size) for name, size, *_ in session.query("SHOW BINARY LOGS")}
    if wrong := [name for name in files if not _FILE.fullmatch(name)]:
        raise LogError(f"The server has a binary log of an unexpected name, {wrong[0]!r}.")
    end = mysql_source.log_end(session)
    if end is None:
        raise LogError("The server does not tell the end of its binary log.", GRANTS)
    return LogServer(
        is_mariadb=is_mariadb,
        version=version,
        uid=variables["server_uid" if is_mariadb else "server_uuid"],
        server_id=int(variables["server_id"]),
        log_format=variables["binlog_format"],
        row_image=variables["binlog_row_image"],
        compresses=variables.get("binlog_transaction_compression") == "ON",
        files=files,
        file=end.file,
        position=end.offset,
        keeps=_keeps(variables),
        now=now.replace(tzinfo=UTC),
    )


def _keeps(variables: Mapping[str, str]) -> int:
    """Return the seconds for which a server keeps its logs, by the names that its release has for them."""
    if variables.get("binlog_expire_logs_auto_purge") == "OFF":
        return 0
    seconds = int(variables.get("binlog_expire_logs_seconds", "0"))
    return seconds or int(float(variables.get("expire_logs_days", "0")) * 24 * 3600)


def can_decompress() -> bool:
    """Return whether the library is installed that opens transactions which MySQL compressed."""
    return importlib.util.find_spec("zstandard") is not None


def find_client(*, for_mariadb: bool) -> Client:
    """Find the client that fetches logs: only a server's own family reads them.

    :raises LogError: none is installed.
    """
    names = _CLIENTS[for_mariadb]
    for client in mysql.all_installed(names):
        if for_mariadb == (not client.options & _OF_MYSQL):
            # MariaDB's does not say in its first line whose it is.
            return replace(client, version=f"{client.version} of MariaDB") if for_mariadb else client
    package = "mariadb-client" if for_mariadb else "mysql-client"
    raise LogError(
        f"No client for binary logs on this worker: {names[0]} is not on the PATH.", Lasting(f"Install {package}.")
    )


@contextlib.contextmanager
def _pipe(folder: Path, file: str) -> Iterator[Path]:
    """Make a pipe of a name, in a new directory: the client puts that name behind a path of ours.

    :raises LogError: the file system has no pipes.
    """
    with tempfile.TemporaryDirectory(prefix="pipe_", dir=folder) as directory:
        pipe = Path(directory, file)
        try:
            os.mkfifo(pipe, 0o600)
        except OSError as error:
            raise LogError(
                f"Cannot make a pipe in {folder}: {error.strerror}.", "Let staging be on a file system that has pipes."
            ) from error
        yield pipe


def _chunks(reader: int, running: Child) -> Iterator[bytes]:
    """Yield what a client writes to a pipe, until it closes it or ends without having opened it."""
    events = select.poll()
    events.register(reader, select.POLLIN)
    ended = running.output.fileno()  # nothing is written there: it closes when the client ends
    events.register(ended, select.POLLIN)
    while True:
        ready = dict(events.poll())
        if reader in ready:
            if not (chunk := os.read(reader, CHUNK)):
                return
            yield chunk
        elif ended in ready and not os.read(ended, CHUNK):
            events.unregister(ended)
            os.set_blocking(reader, False)
            try:
                while chunk := os.read(reader, CHUNK):
                    yield chunk
            except BlockingIOError:
                pass
            return
