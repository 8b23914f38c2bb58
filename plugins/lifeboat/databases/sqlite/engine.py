"""SQLite as an engine: the files of one directory that end alike. A restore fills a new file, and renames it.

The name of a database is that of its file without suffix; Airflow's connection names one of the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from lifeboat.databases import (
    LONGEST_CHECKED,
    Access,
    Aside,
    Clock,
    Dump,
    Dumpable,
    Load,
    Loaded,
    Missed,
    Place,
    Target,
    exclusion,
    names,
)
from lifeboat.databases.sql.reader import Statement
from lifeboat.databases.sqlite import lacks as sqlite_lacks
from lifeboat.databases.sqlite import text as sqlite_text
from lifeboat.databases.sqlite.lacks import Lack
from lifeboat.errors import CheckError, DumpError, LifeboatError, MismatchError, RestoreError, SettingsError
from lifeboat.support import swap
from lifeboat.support.directories import locked, sync_names
from lifeboat.support.logs import logger
from lifeboat.support.os_errors import hint_of
from lifeboat.support.progress import Progress
from lifeboat.support.scratch import scratch_directory
from lifeboat.text import size_text

log = logger(__name__)

MAY_READ = "Let the worker's user read the file; in WAL mode, run the worker as the application's user."
NEWER = (
    f"A newer SQLite than this worker's {sqlite3.sqlite_version} may have written it: install that version"
    " on the worker."
)
BROUGHT = "The application or a newer SQLite provides it: load the dump manually, as docs/RECOVERY.md shows."
HINTS = {
    "READONLY_ROLLBACK": "Its last writer was killed during a transaction, and a backup must not change the file: open "
    "it once with the application, or with sqlite3 as its user, to roll that back.",
    "locked": "Stop the application, then try again.",
    "unable to open": MAY_READ,
    "readonly database": MAY_READ,
    "disk is full": "Free some space there.",
    "unsupported file format": NEWER,
    "malformed database schema": NEWER,
    "file is not a database": "Is it encrypted by the application? Such files are backed up as files.",
    "no such function": BROUGHT,
    "no such module": BROUGHT,
}
_OF_INDEX = re.compile(r"row \d+ missing from index|wrong # of entries in index|non-unique entry in index")
WAL = b"\x02\x02"  # bytes 18 and 19 of a file whose journal is one
PATIENCE = 60.0  # seconds to wait for a lock of the application's
CHECK_INSTRUCTIONS = 10_000  # between, the time limit of a check can end it
INSTRUCTIONS = 1_000_000  # of SQLite's machine: some milliseconds; between, a time limit can end a statement
LONGEST_VALUE = 1_000_000_000  # bytes; SQLite's own limit
SMALL_VALUE = 16 << 20  # bytes that a value may have, whatever the dump's size: indexes of texts have long ones
VALUE_GROWTH = 8  # and how many for each byte of the dump
SMALL_FILE = 256 << 20  # bytes that a file may have, and
FILE_GROWTH = 64  # how many for each byte of the dump: short rows may have many indexes
MOST_PAGES = (1 << 32) - 2
STEP = 4096  # pages copied at once; between two steps, a time limit can end it
# What a dump itself may ask for; the full-text index asks for the last ones.
PRAGMAS = frozenset((*sqlite_text.PRAGMAS, *sqlite_text.LAYOUT, "encoding", "data_version", "table_info"))
REFUSED = frozenset(
    (
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
    )
)
REFUSED_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))


class SQLite:
    """The databases of one directory.

    :param path: of one of them.
    :param scratch: where copies are made.
    :param clock: the site's.
    """

    def __init__(self, path: Path, scratch: Path, clock: Clock) -> None:
        self._folder, self._suffix = path.resolve().parent, path.suffix
        self._scratch, self._clock = scratch / "sqlite", clock

    @property
    def address(self) -> str:
        return str(self._folder)

    def databases(self, asked: Collection[str] = ()) -> Mapping[str, bool]:
        with _translated(f"Listing of {str(self._folder)!r} failed: ", RestoreError):
            found = self._folder.iterdir() if self._folder.is_dir() else ()
            files = [path.name for path in found if path.name.endswith(self._suffix) and path.is_file()]
        return {name.removesuffix(self._suffix): True for name in files}

    def lacks_to_see_all(self) -> str:
        return ""

    def client_name(self, database: str) -> str:
        return str(self._path(database))

    def dump(
        self,
        database: str,
        excluded: Sequence[str],
        write: Callable[[bytes], object],
        *,
        without_rows: Sequence[str] = (),
        position: bool = False,
        aside: Aside | None = None,
    ) -> Dump:
        return self._dump(self._path(database), database, write, partial(_find_excluded, excluded, without_rows))

    def _dump(
        self,
        path: Path,
        database: str,
        write: Callable[[bytes], object],
        find_excluded: Callable[[sqlite3.Connection], _Excluded],
    ) -> Dump:
        with _translated(f"Dump of {str(path)!r} failed: ", DumpError):
            _check_file(path)
            with (
                scratch_directory(self._scratch, "copy_") as folder,
                _copied(path, folder / "copy", database) as (copy, is_wal),
            ):
                return _dump(copy, database, self._clock(), find_excluded(copy), write, is_wal=is_wal)

    def check_dump(self, database: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dumpable:
        path = self._path(database)
        with _translated(f"Trial dump of {str(path)!r} failed: ", DumpError):
            _check_file(path)
            _refuse_locking_out(path)
            with scratch_directory(self._scratch, "copy_") as folder:
                needed, free = path.stat().st_size, shutil.disk_usage(folder).free
            if needed > free:
                raise DumpError(
                    f"its copy needs {size_text(needed)}, and {self._scratch} has {size_text(free)} free.",
                    "Free some space there.",
                )
            with closing(_open(path, "ro", PATIENCE)) as source:
                source.text_factory = partial(str, encoding="utf-8", errors="replace")
                _read_schema(source)
                lacks = sqlite_lacks.lacks(sqlite_text.objects(source))
                found = _find_excluded(excluded, without_rows, source)
            _refuse_unreadable(lacks)
        own = f"SQLite {sqlite3.sqlite_version}"
        limits = (limit.text for limit in sqlite_lacks.limits(lacks))
        return Dumpable(own, own, lacks=(*(f"{database}: {warning}" for warning in found.warnings), *limits))

    def read_back(self, place: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dump:
        found = _Excluded((*excluded, *without_rows), ())
        return self._dump(Path(place), place, lambda chunk: None, lambda _: found)

    @contextlib.contextmanager
    def target(self, target: Target) -> Iterator[Place]:
        path = self._path(target.database)
        kept = swap.kept_name(path, f"{self._clock():%Y%m%d_%H%M%S}") if target.exists else None
        with _translated(f"Restore of {str(path)!r} failed: ", RestoreError), locked(path.parent):
            if os.path.lexists(path) != target.exists:
                what = "is gone" if target.exists else "was created"
                raise RestoreError(
                    f"it {what} since this restore was planned; nothing has changed.",
                    "Select the archive again, with another target name.",
                )
            place = path.with_name(f".{path.name}.unfinished")
            _remove(place)
            try:
                yield Place(str(place), str(kept or ""))
                _put_in_place(place, path, kept)
            except MismatchError:
                raise
            except BaseException:
                _remove(place)
                raise

    @contextlib.contextmanager
    def scratch(
        self, key: str, captured: Dump, *, production: bool = False, beside: Collection[str] = ()
    ) -> Iterator[str]:
        with (
            _translated(f"Drill of database {captured.database!r} of {key} failed: ", RestoreError),
            scratch_directory(self._scratch, names.PREFIX) as folder,
        ):
            needed, free = captured.sql_bytes * names.INDEXES, shutil.disk_usage(folder).free
            if needed > free:
                raise RestoreError(
                    f"it may need {size_text(needed)}, and {self._scratch} has {size_text(free)} free.",
                    "Free some space there.",
                )
            yield str(folder / "scratch.sqlite")

    def load(self, place: str, sql: Iterable[bytes], load: Load) -> Loaded:
        with _translated(f"Restore of {place!r} failed: ", RestoreError):
            return _load(place, sql, load.table)

    def value(self, place: str, query: str, seconds: float) -> Sequence[str | None]:
        with _translated(f"A check of {place!r} failed: ", RestoreError), closing(_open(Path(place), "ro")) as database:
            return _value(database, query, seconds)

    @contextlib.contextmanager
    def lend(self, place: str) -> Iterator[Access]:
        with _translated(f"A check of {place!r} failed: ", RestoreError):
            with closing(_open(Path(place), "rw")) as database:  # a reader could not make a journal's files there
                database.execute("PRAGMA journal_mode = DELETE").fetchone()
            Path(place).chmod(0o400)
        yield Access(place)

    def check_load(self, database: str) -> None:
        """A file has no accounts."""

    def rehearse(self, place: str) -> Sequence[Missed]:
        return ()

    def describe_failure(self, target: Target) -> str:
        return "Nothing has changed; what was loaded so far is removed."

    def _path(self, name: str) -> Path:
        """Return the file of a database."""
        if "/" in name or name.startswith("."):
            raise SettingsError(
                f"{name!r} is not a valid database name: files must be directly in {str(self._folder)!r}.",
                "Give the file's name without folder and suffix; the folder comes from the connection.",
            )
        return self._folder / f"{name}{self._suffix}"


def _check_file(path: Path) -> None:
    """:raises DumpError: there is no file; nothing else is opened, for a pipe would never end."""
    if not path.is_file():
        said = "it is not a regular file." if os.path.lexists(path) else "there is no such file."
        raise DumpError(said, "The database's name is its file's name without suffix.")


@contextlib.contextmanager
def _translated(where: str, ours: type[LifeboatError]) -> Iterator[None]:
    """Begin messages with `where`, and turn the errors of SQLite and of the file system into `ours`."""
    try:
        yield
    except ours as error:
        if " failed: " in error.message:
            raise
        raise ours(where + error.message, error.hint) from error
    except (sqlite3.Error, sqlite3.Warning) as error:
        said = f"{error} {getattr(error, 'sqlite_errorname', '')}"
        hint = next((hint for sign, hint in HINTS.items() if sign in said), "")
        raise ours(f"{where}{error}.", hint) from error
    except OSError as error:
        raise ours(f"{where}{error.strerror or error}.", hint_of(error)) from error


def _open(path: Path, mode: Literal["ro", "rw"], patience: float = 1) -> sqlite3.Connection:
    """Open a file that is there; a plain connect would make one.

    :param patience: seconds to wait for a lock.
    """
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=patience, isolation_level=None)


@contextlib.contextmanager
def _copied(path: Path, target: Path, database: str) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Copy a database as it is at one moment, and open the copy.

    :yields: the copy, and whether the original's journal is a WAL.
    :raises DumpError: it is damaged, or the copy would lock its application out.
    """
    _refuse_locking_out(path)
    progress, started = Progress(f"Copying {database}"), time.monotonic()
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        with closing(_open(path, "ro", PATIENCE)) as source:
            source.execute("BEGIN")
            _read_schema(source)  # from here on, nothing changes for us
            (mode,) = source.execute("PRAGMA journal_mode").fetchone()
            (size,) = source.execute("PRAGMA page_size").fetchone()
            source.backup(copy, pages=STEP, progress=lambda *_: progress.advance(STEP * size))
        if mode != "wal":
            seconds = time.monotonic() - started
            log.info(
                "%s was copied in %.1f s. It is not in WAL mode: writers had to wait meanwhile.", database, seconds
            )
        copy.text_factory = partial(str, encoding="utf-8", errors="replace")
        _read_schema(copy)
        copy.execute("PRAGMA journal_mode = OFF")
        known: set[str] = set()
        for (sql,) in copy.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall():
            sqlite_lacks.stand_in(copy, sql, known)
        yield copy, mode == "wal"


def _read_schema(database: sqlite3.Connection) -> None:
    """Let a connection read what a database holds, but for what this SQLite does not understand of it."""
    try:
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if "malformed database schema" not in str(error):
            raise
        database.execute("PRAGMA writable_schema = ON")
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _check_whole(copy: sqlite3.Connection, lacks: Iterable[Lack]) -> None:
    """:raises DumpError: a database is damaged."""
    functions = [lack.what for lack in lacks if lack.kind == "function"]
    for name in functions:
        copy.create_function(name, -1, lambda *_: None, deterministic=True)
        copy.execute("PRAGMA ignore_check_constraints = ON")
    found = [text for (text,) in copy.execute("PRAGMA quick_check").fetchall()]
    if found != ["ok"]:
        # Of a primary key without a rowid, quick_check takes columns for others, up to 3.40 at least.
        thorough = [text for (text,) in copy.execute("PRAGMA integrity_check").fetchall()]
        found = [text for text in thorough if not _OF_INDEX.match(text)]  # which stand-ins for collations bring about
    # What is computed by functions that are not there says nothing.
    damage = next((text for text in found if not (functions and " value in " in text)), "ok")
    if damage != "ok":
        raise DumpError(f"it is damaged: {damage}.", "Restore it from an archive, or recover it by 'sqlite3 .recover'.")


def _refuse_locking_out(path: Path) -> None:
    """Refuse a database at rest if SQLite would create a WAL next to it that only this user could write.

    Reading such a database creates missing ``-wal`` and ``-shm`` files, which belong to the reader, with the mode of
    the database. If the reader cannot remove them, the application of another user can no longer write.
    """
    if not os.access(path, os.R_OK):
        return  # as SQLite will say
    with path.open("rb") as file:
        is_wal = file.read(20)[18:] == WAL
    user = os.geteuid()  # root gives both files to the owner of the database
    if not is_wal or user in (0, (status := path.stat()).st_uid) or path.with_name(f"{path.name}-shm").exists():
        return
    folder = path.parent.stat()
    group = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    shared = stat.S_IWOTH | (stat.S_IWGRP if group == status.st_gid else 0)
    if os.access(path.parent, os.W_OK) and not status.st_mode & shared:
        raise DumpError(
            "it is in WAL mode, and the -wal and -shm files that a reader creates would keep its owner from writing.",
            "Run the worker as the application's user; or give file and folder to a group of both users, "
            "group-writable, with the setgid bit on the folder.",
        )


class _Excluded(NamedTuple):
    """Tables whose rows a dump skips, as `exclude_tables` and `exclude_rows` say.

    :param warnings: about entries that mean no table.
    """

    tables: Sequence[str]
    rows: Sequence[str]
    warnings: Sequence[str] = ()


def _find_excluded(excluded: Sequence[str], without_rows: Sequence[str], database: sqlite3.Connection) -> _Excluded:
    """Find the tables whose rows to skip, by names and patterns."""
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")]
    plain = {
        name: (name,)
        for schema, name, kind, *_ in database.execute("PRAGMA table_list")
        if schema == "main" and kind == "table" and not name.startswith("sqlite_")
    }
    views = {name: "view" for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    of_tables = exclusion.find("exclude_tables", excluded, names, plain, _lower, views)
    of_rows = exclusion.find("exclude_rows", without_rows, names, plain, _lower, views)
    rows = [name for name in of_rows.tables if name not in of_tables.tables]
    return _Excluded(of_tables.tables, rows, [*of_tables.warnings, *of_rows.warnings])


def _lower(name: str) -> str:
    """Return a name as SQLite compares it: in lower case, but only its letters of ASCII."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), name)


def _dump(
    copy: sqlite3.Connection,
    database: str,
    captured_at: datetime,
    excluded: _Excluded,
    write: Callable[[bytes], object],
    *,
    is_wal: bool,
) -> Dump:
    sha256, sql_bytes = hashlib.sha256(), 0

    def passing(chunk: bytes) -> None:
        nonlocal sql_bytes
        write(chunk)
        sha256.update(chunk)
        sql_bytes += len(chunk)

    (encoding,) = copy.execute("PRAGMA encoding").fetchone()
    for warning in excluded.warnings:
        log.warning("%s: %s.", database, warning)
    lacks = sqlite_lacks.lacks(sqlite_text.objects(copy))
    _refuse_unreadable(lacks)
    _check_whole(copy, lacks)
    unmade = {lack.of.name for lack in lacks if lack.of.kind == "virtual"}
    held = sqlite_text.write(copy, {*excluded.tables, *excluded.rows}, passing, is_wal=is_wal, unmade=unmade)
    return Dump(
        database=database,
        engine="sqlite",
        server=f"SQLite {sqlite3.sqlite_version}",
        client=f"Lifeboat with SQLite {sqlite3.sqlite_version}",
        character_set=encoding,
        collation="",
        captured_at=captured_at,
        sql_bytes=sql_bytes,
        sha256=sha256.hexdigest(),
        tables=held.tables,
        objects=held.objects,
        excluded_tables=tuple(excluded.tables),
        excluded_rows=tuple(excluded.rows),
        unprotected_tables=(),
        warnings=(
            *(f"{database}: {warning}" for warning in excluded.warnings),
            *(f"{database}: {warning}" for warning in sqlite_lacks.warnings(lacks)),
        ),
        limits=tuple(sqlite_lacks.limits(lacks)),
    )


def _refuse_unreadable(lacks: Iterable[Lack]) -> None:
    """:raises DumpError: SQLite does not understand a table, so that its rows cannot be read."""
    for lack in lacks:
        if lack.of.kind == "table" and not lack.kind:
            raise DumpError(f"table {lack.of.name!r} cannot be read: {lack.what}.", NEWER)


def _load(place: str, sql: Iterable[bytes], only: str) -> Loaded:
    """Load a dump into a new file, in one transaction.

    :param only: fill this table only; the others are made and stay empty.
    """
    started, rows, tables = time.monotonic(), 0, 0
    os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")  # a file that is not whole counts for nothing
        # Not trusted_schema = OFF: it refuses JSON's functions in checks and indexes. The authorizer says which run.
        database.set_authorizer(_authorize)
        database.set_progress_handler(lambda: 0, INSTRUCTIONS)
        collations: set[str] = set()
        begun = is_wal = False
        read = bounded = 0
        for statement in sqlite_text.read(sql):
            read += len(statement.sql)
            if read > bounded:
                bounded = 2 * read  # seldom: it takes as long as a small statement
                _bound(database, bounded)
            is_wal = is_wal or statement.kind == "journal"
            begun = begun or _begins(database, statement)
            if statement.kind in ("skipped", "journal") or (
                statement.kind == "rows" and only not in ("", statement.name)
            ):
                continue
            text = sqlite_text.text_of(statement)
            if statement.kind in ("table", "index"):
                sqlite_lacks.stand_in(database, text, collations)
            count = database.execute(text).rowcount
            tables += statement.kind == "table"
            rows += count if statement.sql[:6].upper() == b"INSERT" and statement.name != "sqlite_sequence" else 0
        database.set_authorizer(None)
        if database.in_transaction:
            database.execute("COMMIT")
        if is_wal:
            database.execute("PRAGMA journal_mode = WAL").fetchone()
    return Loaded(place, rows, tables, time.monotonic() - started)


def _bound(database: sqlite3.Connection, read: int) -> None:
    """Bound values and the file by what was read of the dump: functions make much of little.

    :param read: bytes of SQL.
    """
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(LONGEST_VALUE, SMALL_VALUE + VALUE_GROWTH * read))
    (page,) = database.execute("PRAGMA page_size").fetchone()
    pages = min((SMALL_FILE + FILE_GROWTH * read) // page, MOST_PAGES)
    database.set_authorizer(None)
    database.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    database.set_authorizer(_authorize)


def _begins(database: sqlite3.Connection, statement: Statement) -> bool:
    """Begin the transaction before the first statement that makes something: the encoding is set before."""
    if statement.kind in ("pragma", "journal", "skipped"):
        return False
    database.set_authorizer(None)
    database.execute("BEGIN")
    database.set_authorizer(_authorize)
    return True


def _value(database: sqlite3.Connection, query: str, seconds: float) -> list[str | None]:
    """Return the one column of a query, as `Engine.value` does."""
    deadline = time.monotonic() + seconds
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SMALL_VALUE)
    database.execute("PRAGMA query_only = ON")
    database.text_factory = partial(str, encoding="utf-8", errors="replace")
    database.set_authorizer(_authorize_reading)
    database.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_INSTRUCTIONS)
    try:
        rows = database.execute(
            f"WITH lifeboat_check (v) AS (\n{query}\n)"  # noqa: S608  # of the settings
            f" SELECT substr(CAST(v AS TEXT), 1, {LONGEST_CHECKED + 1}) FROM lifeboat_check LIMIT 2"
        ).fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if time.monotonic() > deadline:
            raise CheckError(f"the query took longer than its {seconds:g} s, and was ended") from error
        raise CheckError(f"SQLite refused the query: {error}") from error
    return [value for (value,) in rows]


def _authorize_reading(
    action: int, first: str | None, second: str | None, database: str | None, source: str | None
) -> int:
    """Let a check do nothing but read."""
    is_reading = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE) or (
        action == sqlite3.SQLITE_FUNCTION and second not in REFUSED_FUNCTIONS
    )
    return sqlite3.SQLITE_OK if is_reading else sqlite3.SQLITE_DENY


def _authorize(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    """Let a dump do what stays in its own file."""
    is_refused = (
        action in REFUSED
        or database not in (None, "main")
        or (action == sqlite3.SQLITE_PRAGMA and first not in PRAGMAS)
        or (action == sqlite3.SQLITE_FUNCTION and second in REFUSED_FUNCTIONS)
    )
    return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK


def _put_in_place(place: Path, path: Path, kept: Path | None) -> None:
    """Give what was filled its name.

    :param kept: the name that what is replaced gets; None where nothing is.
    """
    mode = _settle(path) if kept else ""
    with closing(_open(place, "rw")) as database:  # the last to close it removes the files next to it
        if mode == "wal":
            database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if kept:
        place.chmod(path.stat().st_mode & 0o777)
        swap.take_owners(path, place)
    with place.open("rb") as file:
        os.fsync(file.fileno())
    if kept:
        swap.replace(path, place, kept)
    else:
        path.hardlink_to(place)  # unlike a rename, this overwrites nothing
        place.unlink()
        sync_names(path.parent)


def _settle(path: Path) -> str:
    """Bring all of a database into its file, and return the mode of its journal.

    Another file under its name must find no journal: it would be taken for its own.

    :raises sqlite3.OperationalError: somebody uses it.
    """
    with closing(_open(path, "rw")) as database:
        (mode,) = database.execute("PRAGMA journal_mode").fetchone()
        database.execute("PRAGMA journal_mode = DELETE").fetchone()
        database.execute("BEGIN EXCLUSIVE")
        database.execute("ROLLBACK")
    return str(mode)


def _remove(place: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        place.with_name(place.name + suffix).unlink(missing_ok=True)
