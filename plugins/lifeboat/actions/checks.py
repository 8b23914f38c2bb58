"""The settings' checks of an application, run on what was restored of it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shlex
import socket
import stat
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lifeboat.catalog.proof import PassedCheck
from lifeboat.databases import Access, Engine, EngineName, Server
from lifeboat.decide import checks
from lifeboat.errors import CheckError, LifeboatError, RestoreError
from lifeboat.settings.config import LONGEST_FILE, Check, SqlCheck, settings_path
from lifeboat.support.logs import logger
from lifeboat.support.processes import environment
from lifeboat.support.sandbox import CannotStartError, TimeOverError, sandbox
from lifeboat.text import listed, plural

log = logger(__name__)
_numbers = itertools.count(1)

FILES = "files"  # folder of a scratch directory
LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 30
LINES_KEPT = 20  # of the output of a command, for the report
LAST_LINES = "; its last lines:\n"
LINES_LOGGED = 1000
LONGEST_SHOWN = 500  # characters of a line
KEPT = ("LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TZ")  # of the worker's environment
PLACEHOLDER = re.compile(r"\$\{(LIFEBOAT_\w+)\}")
LARAVEL = {
    "HOST": "DB_HOST",
    "PORT": "DB_PORT",
    "NAME": "DB_DATABASE",
    "USER": "DB_USERNAME",
    "PASSWORD_FILE": "DB_PASSWORD_FILE",
}
HINT = "Look at the check under applications in the settings, and at what it tries; the data is as it was captured."


@dataclass
class Outcomes:
    """The results of checks.

    :param failed: why, by name.
    :param not_run: why, by name.
    :param notes: what a reader should know.
    """

    passed: list[PassedCheck] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, name: str, check: Check, run: Callable[[], bool | None]) -> None:
        """Run a check, and note its result.

        :param run: returns whether it was isolated, if it is a command.
        """
        started = time.monotonic()
        try:
            isolated = run()
        except CheckError as error:
            self.failed[name] = error.message
            log.error("Check %s failed: %s.", name, error.message.partition(LAST_LINES)[0])
        except LifeboatError as error:
            self.not_run[name] = str(error)
            log.error("Check %s could not run: %s", name, error)
        else:
            self.passed.append(
                PassedCheck(
                    name=name,
                    kind=check.kind,
                    sha256=_digest(check),
                    seconds=round(time.monotonic() - started, 3),
                    isolated=isolated,
                )
            )
            log.info("Check passed: %s.", self.passed[-1])

    def note_missing(self, wanted: Mapping[str, Check], databases: Collection[str]) -> None:
        """Note the queries of databases that were not restored.

        :param wanted: all checks, by name.
        """
        for name, check in wanted.items():
            if check.sql and check.sql.database not in databases:
                self.not_run[name] = f"the archive holds no database {check.sql.database!r}."

    def require(self, what: str, hint: str = HINT) -> None:
        """Make sure that all checks passed.

        :param what: was checked.
        :raises CheckError: some failed.
        :raises RestoreError: some could not run.
        """
        said = [f"{name}: {why}" for name, why in self.failed.items()]
        said += [f"{name} could not run: {why}" for name, why in self.not_run.items()]
        if said:
            number = plural(len(said), "check", "checks")
            error = CheckError if self.failed else RestoreError
            raise error(f"{number} of {what} did not pass: {'; '.join(said)}.", hint)


def run_queries(engine: Engine, place: str, database: str, wanted: Mapping[str, Check], outcomes: Outcomes) -> None:
    """Run the queries that check one database.

    :param place: where it was restored.
    :param wanted: all checks, by name.
    """
    for name, check in wanted.items():
        if check.sql and check.sql.database == database:
            outcomes.note(name, check, partial(_query, engine, place, check.sql, check.seconds))


def _query(engine: Engine, place: str, check: SqlCheck, seconds: float) -> None:
    rows = engine.value(place, check.query, seconds)
    if failure := checks.failure(checks.expectation(check.expect), rows):
        raise CheckError(failure)


@dataclass(frozen=True)
class Held:
    """A database that a drill restored, and still holds.

    :param name: in the settings.
    """

    name: str
    engine: Engine
    kind: EngineName
    place: str


def run_commands(held: Sequence[Held], scratch: Path, wanted: Mapping[str, Check], outcomes: Outcomes) -> None:
    """Run the commands that check an application, one after the other.

    :param scratch: a directory for them alone; the restored files, if there are any, are in its folder ``files``.
    """
    tree = scratch / FILES
    tree.mkdir(exist_ok=True)
    secrets = checks.secrets_in(_text_of(tree, ".env"))
    for name, check in wanted.items():
        if check.command:
            outcomes.note(name, check, partial(_command, held, scratch, name, check, secrets, outcomes.notes))


def _command(held: Sequence[Held], scratch: Path, name: str, check: Check, secrets: set[str], notes: list[str]) -> bool:
    """Run a command; return whether it was isolated.

    :param secrets: that its output may hold; takes those that are found.
    :raises CheckError: it fails.
    :raises RestoreError: it could not run.
    """
    if alike := checks.alike([each.name for each in held]):
        raise RestoreError(
            f"The names of {listed(alike)} differ in signs or case only, so that no variables of a command could tell"
            " them apart.",
            "Back one of them up in another application.",
        )
    last: deque[str] = deque(maxlen=LINES_KEPT)
    hear = _Hearing(last, secrets)
    command = list(check.command or ())
    with contextlib.ExitStack() as opened:
        lent = [(each, opened.enter_context(each.engine.lend(each.place))) for each in held]
        servers = [access.server for _, access in lent if access.server]
        secrets |= {server.password for server in servers}
        try:
            place = opened.enter_context(sandbox([partial(_connect, server) for server in servers], [scratch]))
            variables = _variables(lent, place.ports, scratch)
            _replace_files(scratch / FILES, check.files, variables, secrets)
            shown = {key: value for key, value in variables.items() if not key.endswith("_PASSWORD")}
            if place.open_to:
                log.warning(
                    "Check %s is not isolated, because this machine does not allow it: %s.", name, place.open_to
                )
            log.info("Check %s runs: %s", name, shlex.join(command))
            status = place.run(command, scratch / FILES, _environment(scratch) | shown, check.seconds, hear)
        except CannotStartError as error:
            raise RestoreError(f"{command[0]} cannot be run: {error}.") from error
        except TimeOverError as error:
            raise CheckError(f"it took longer than its {check.seconds:g} s, and was ended{_said(last)}") from error
    if place.open_to:
        notes.append(f"check {name} was not isolated from production, because this machine does not allow it")
    if status:
        raise CheckError(f"it ended with status {status}{_said(last)}")
    return not place.open_to


def _said(last: Sequence[str]) -> str:
    return LAST_LINES + "\n".join(last) + "\n" if last else ""


class _Hearing:
    """Takes the lines of a command: all go to the log up to a limit, and the last ones are kept; none with a secret."""

    def __init__(self, last: deque[str], secrets: set[str]) -> None:
        self._last, self._secrets, self._count = last, secrets, 0

    def __call__(self, line: str) -> None:
        line = checks.freed_of_secrets(line, self._secrets)[:LONGEST_SHOWN]  # cut afterwards: half a secret is one, too
        self._last.append(line)
        self._count += 1
        if self._count <= LINES_LOGGED:
            log.info("  %s", line)
        elif self._count == LINES_LOGGED + 1:
            log.info("  ... further lines are not logged.")


def _connect(server: Server) -> socket.socket:
    if not server.socket:
        return socket.create_connection((server.host, server.port), CONNECT_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    path = Path(server.socket)
    try:
        # PostgreSQL's is named by its folder.
        connection.connect(str(path / f".s.PGSQL.{server.port}" if path.is_dir() else path))
    except OSError:
        connection.close()
        raise
    return connection


def _variables(lent: Sequence[tuple[Held, Access]], ports: Sequence[int], scratch: Path) -> dict[str, str]:
    """Return what names the restored databases; the passwords, too, for files that replace others."""
    variables: dict[str, str] = {}
    free = iter(ports)
    for held, access in lent:
        facts = {"ENGINE": held.kind, "NAME": access.name}
        if access.server:
            file = scratch / f"password_{next(_numbers)}"
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(access.server.password)
            facts |= {"HOST": LOOPBACK, "PORT": str(next(free)), "USER": access.server.user}
            facts |= {"PASSWORD": access.server.password, "PASSWORD_FILE": str(file)}
        variables |= {f"{checks.variable(held.name)}_{fact}": value for fact, value in facts.items()}
        if len(lent) == 1:  # as a Laravel application knows them, whose .env yields to variables
            variables |= {LARAVEL[fact]: value for fact, value in facts.items() if fact in LARAVEL}
    return variables


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment of commands, without what leads to the files and proxies of the worker's user."""
    home, temporary = scratch / "home", scratch / "tmp"
    for folder in (home, temporary):
        folder.mkdir(mode=0o700, exist_ok=True)
    kept = {name: value for name, value in environment().items() if name in KEPT or name.startswith("LC_")}
    return kept | {"HOME": str(home), "TMPDIR": str(temporary)}


def _replace_files(
    tree: Path, files: Mapping[str, str | None], variables: Mapping[str, str], secrets: set[str]
) -> None:
    """Put files of the settings in the place of files of a tree.

    :param secrets: takes those of the files that are replaced.
    :raises RestoreError: a file cannot be read, names an unknown variable, or its place leads out of the tree.
    """
    for target, source in files.items():
        content = None if source is None else _filled(source, variables)
        secrets |= checks.secrets_in(_text_of(tree, target))
        try:
            with _folder_of(tree, target, make=True) as (folder, name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                if content is not None:
                    options = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                    with os.fdopen(os.open(name, options, 0o600, dir_fd=folder), "w") as stream:
                        stream.write(content)
        except OSError as error:
            raise RestoreError(
                f"{target} of the restored tree cannot be replaced: {error.strerror}.",
                "It must be a file, and no folder above it may be a link.",
            ) from error


def _filled(source: str, variables: Mapping[str, str]) -> str:
    """Return the text of a file of the settings, with variables in the place of their names."""
    path = settings_path().parent / source
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RestoreError(f"{path}, which files of a check names, cannot be read: {reason}.") from error
    if unknown := {name for name in PLACEHOLDER.findall(text) if name not in variables}:
        raise RestoreError(
            f"{path} names {min(unknown)}, which is not known.",
            f"Known are {', '.join(sorted(name for name in variables if name.startswith('LIFEBOAT_')))}.",
        )
    return PLACEHOLDER.sub(lambda found: variables[found[1]], text)


@contextlib.contextmanager
def _folder_of(tree: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """Open the folder of a file below a tree, through no link; yield it with the file's name."""
    *above, name = path.split("/")
    options = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    folder = os.open(tree, options)
    try:
        for part in above:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
            inner = os.open(part, options, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def _text_of(tree: Path, path: str) -> str:
    """Return the text of a regular file of a tree; empty where there is none."""
    with contextlib.suppress(OSError), _folder_of(tree, path, make=False) as (folder, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return stream.read(LONGEST_FILE).decode("utf-8", "replace")
    return ""


def _digest(check: Check) -> str:
    return hashlib.sha256(json.dumps(check.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
