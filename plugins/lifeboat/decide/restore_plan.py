"""Plans of restores: what, from which archive, and where to; pure functions of listings, contents and existing data.

Nothing is overwritten unless its name was typed: databases go into new schemas, files into a new directory.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from lifeboat.archive import DUMPS, MANIFEST_NAME, database_of_entry, engine_of_entry
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import OWN_KINDS, Archive, Catalog, Kind
from lifeboat.databases.names import LONGEST_NAMES, fits, is_reserved, is_system, with_suffix
from lifeboat.decide.health import SKEW
from lifeboat.decide.recovery import Recovery
from lifeboat.errors import RestoreError, SettingsError
from lifeboat.support.formats import Format, Text

LATEST = "latest"
TIME = "%Y%m%d_%H%M%S"

_LEGACY_DUMP = re.compile(rf"(?:.*/)?{DUMPS}/[a-z]+-(?P<database>[^/]+?)\.(?:sql|archive)(?P<suffix>\.\w+)?")


@dataclass(frozen=True)
class RestoreRequest:
    """A request for a restore.

    :param archive: ``latest``, a key, or a time in ISO 8601: the newest archive captured at or before it.
    :param destination: where to take it from; any when empty.
    :param databases: names; all that the archive holds when empty.
    :param table: only this table of the one database.
    :param files: whether files are wanted, too.
    :param path: only this file or folder, relative to the application's root.
    :param into: name of the schema, or path of the directory, to make.
    :param overwrite: names typed to confirm that what exists under them may be replaced.
    :param until: the moment to replay logs to, as typed; empty for the archive as it was captured.
    """

    application: str
    archive: str = LATEST
    destination: str = ""
    databases: tuple[str, ...] = ()
    table: str = ""
    files: bool = False
    path: str = ""
    into: str = ""
    overwrite: tuple[str, ...] = ()
    until: str = ""


@dataclass(frozen=True)
class Content:
    """The contents of an archive, according to its list of names.

    :param dumps: entry by database.
    :param others: dumps of engines that cannot be restored here.
    """

    dumps: Mapping[str, str]
    has_files: bool
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatabaseStep:
    """One database on its way back.

    :param entry: name of its dump in the archive.
    :param schema: name that it gets.
    :param in_place: whether the schema is the database's own, or was named to be replaced.
    :param exists: whether a schema of that name is there, to be replaced.
    :param table: only this table; all when empty.
    :param without_rows: tables whose rows the archive lacks, as text, where something is replaced.
    """

    database: str
    entry: str
    schema: str
    in_place: bool = False
    exists: bool = False
    table: str = ""
    without_rows: str = ""

    @property
    def warning(self) -> str:
        """The fate of rows that exist now, but not in the archive; '' if there are none."""
        if not self.without_rows:
            return ""
        lacks = f"The archive has no rows of {self.without_rows}"
        if engine_of_entry(self.entry) == "mysql":
            return f"{lacks}: where such a table has rows now, it stays as it is."
        return f"{lacks}: they come back empty; their rows of now stay in the replaced database, which is kept."

    @property
    def what(self) -> str:
        """The table or database, as text."""
        return f"Table {self.table} of database {self.database}" if self.table else f"Database {self.database}"


@dataclass(frozen=True)
class FilesStep:
    """Files on their way back.

    :param target: absolute path that they get.
    :param stamp: distinguishes files next to the target from those of other restores.
    :param in_place: whether something is there, to be replaced.
    :param path: only this file or folder, relative to the root; all when empty.
    """

    target: Text
    stamp: str
    in_place: bool = False
    path: Text = ""

    @property
    def what(self) -> str:
        """The files, as text."""
        return f"{self.path} of the files" if self.path else "The files"


@dataclass(frozen=True)
class RestorePlan(Format):
    """The plan of a restore: what, from where and where to; small enough to travel between tasks.

    :param sha256: of the archive as it was published; empty for archives of laravel-backup.
    :param captured_at: when the archive's data was captured, ISO 8601 in UTC.
    :param recovery: the logs that are replayed onto the databases; None where none are.
    """

    application: str
    destination: str
    key: str
    size: int
    sha256: str
    captured_at: str
    databases: tuple[DatabaseStep, ...] = ()
    files: FilesStep | None = None
    recovery: Recovery | None = None

    @property
    def overwrites(self) -> list[str]:
        """The names of what is replaced, as text."""
        replaced = [f"database {step.schema}" for step in self.databases if step.exists]
        return [*replaced, *([self.files.target] if self.files and self.files.in_place else [])]

    @property
    def origin(self) -> str:
        """The archive, as text."""
        return f"From {self.key} at {self.destination}, captured {self.captured_at}."

    def lines(self) -> Iterator[str]:
        """Yield what is going to happen, for people."""
        yield self.origin
        if catalog.kind_of(self.key) == "legacy":
            yield "NOBODY SIGNED IT: laravel-backup made it, or whoever could write to that destination."
        for step in self.databases:
            yield f"{step.what} goes into schema {step.schema}{', REPLACING what is there' if step.exists else ''}."
            if step.warning:
                yield step.warning
        if self.recovery:
            yield from self.recovery.lines()
        if self.files:
            replacing = ", REPLACING what is there" if self.files.in_place else ""
            yield f"{self.files.what} go to {self.files.target}{replacing}."


@dataclass(frozen=True)
class Receipt(Format):
    """Record that a step has carried out its part of a plan.

    :param plan: its signature.
    :param began: when the run did.
    """

    plan: str
    began: str = ""


@dataclass(frozen=True)
class Surroundings:
    """Existing data where a restore would go.

    :param databases: that the settings name for the application.
    :param schemas: names of schemas on the servers.
    :param vacant: those that hold nothing to lose: empty, or left by an interrupted restore.
    :param exists: whether a path exists.
    :param root: the application's files; None when the settings name none.
    :param follows_links: whether backups follow links below it.
    :param own_directories: staging and destinations on disk.
    :param code_directories: where Airflow reads code, and the settings.
    :param directory: below which files may go; None where the settings name none.
    :param metadata_database: name of Airflow's own; empty where it is not known.
    :param real: the path that a path leads to, all links followed.
    """

    databases: Collection[str] = ()
    schemas: Collection[str] = ()
    vacant: Collection[str] = ()
    exists: Callable[[Path], bool] = field(default=Path.exists)
    root: Path | None = None
    follows_links: bool = False
    own_directories: tuple[Path, ...] = ()
    code_directories: tuple[Path, ...] = ()
    directory: Path | None = None
    metadata_database: str = ""
    real: Callable[[Path], Path] = field(default=lambda path: Path(os.path.realpath(path)))


def candidates(
    found: Mapping[str, Catalog], request: RestoreRequest, now: datetime, zone: ZoneInfo
) -> list[tuple[str, Archive]]:
    """Return the archives that may be meant, the best first, each with the name of its destination.

    :param found: catalogs by destination, in the order of preference.
    :param zone: of a time that says no offset.
    :raises SettingsError: the archive asked for is neither a key nor a time.
    :raises RestoreError: no archive fits.
    """
    archives = [
        (name, archive)
        for name, catalog in found.items()
        for archive in catalog.archives
        if archive.application == request.application
    ]
    if catalog.kind_of(request.archive) is not None:
        fitting = [(name, archive) for name, archive in archives if archive.key == request.archive]
    else:
        until = now + SKEW if request.archive == LATEST else _moment(request.archive, zone)
        # Nobody signs what laravel-backup made, so it is restored only when its key is typed.
        fitting = [
            (n, archive) for n, archive in archives if archive.captured_at <= until and archive.kind in OWN_KINDS
        ]
    if not fitting:
        raise RestoreError(_nothing_fits(found, request, archives), "'lifeboat list' shows what there is.")
    return sorted(fitting, key=lambda place: place[1].captured_at, reverse=True)  # destinations stay in order


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is neither the key of an archive nor a time.",
            "Say 'latest', a key as 'lifeboat list' shows it, or a time as in 2026-11-23T12:00.",
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)


def _nothing_fits(
    found: Mapping[str, Catalog], request: RestoreRequest, archives: Sequence[tuple[str, Archive]]
) -> str:
    where = ", ".join(found)
    if not archives:
        return f"No archive of {request.application!r} is published at {where}."
    if catalog.kind_of(request.archive) == "log":
        return f"{request.archive} holds binary logs: docs/POINT_IN_TIME.md shows how to use them."
    if catalog.kind_of(request.archive) is not None:
        return f"{request.archive} is not published at {where}."
    ours = [archive.captured_at for _, archive in archives if archive.kind in OWN_KINDS]
    if not ours:
        newest = max((archive for _, archive in archives), key=lambda archive: archive.captured_at)
        return (
            f"All archives of {request.application!r} are of laravel-backup, which nobody signs: they are restored only"
            f" by their key, as in {newest.key}."
        )
    oldest = min(ours)
    until = f"captured at or before {request.archive}; the oldest is of {oldest:%Y-%m-%d %H:%M:%S} UTC"
    return f"No archive of {request.application!r} was {until}."


def content_of(names: Iterable[str], kind: Kind, databases: Sequence[str]) -> Content:
    """Return what an archive holds.

    :param names: of its entries.
    :param databases: that the settings name for the application: laravel-backup may have named a dump after its
        connection, which tells nothing when there is only one.
    """
    dumps: dict[str, str] = {}
    others: list[str] = []
    has_files = False
    for name in names:
        if kind != "legacy":
            database = database_of_entry(name)
            if database is not None:
                dumps[database] = name
            has_files = has_files or (database is None and name != MANIFEST_NAME)
        elif match := _LEGACY_DUMP.fullmatch(name):
            if engine_of_entry(name) and match["suffix"] in (None, ".gz"):
                dumps[match["database"]] = name
            else:
                others.append(name)
        else:
            has_files = has_files or not name.endswith("/")
    if kind == "legacy" and len(dumps) == len(databases) == 1:
        dumps = {databases[0]: next(iter(dumps.values()))}
    return Content(dumps, has_files, tuple(others))


def lacks(content: Content, request: RestoreRequest) -> str:
    """Say what an archive lacks of what is asked for, or nothing."""
    if missing := sorted(set(request.databases) - set(content.dumps)):
        held = ", ".join(content.dumps) or "none"
        others = f" (and {', '.join(content.others)}, which cannot be restored here)" if content.others else ""
        return f"it holds no dump of {', '.join(missing)}; its databases: {held}{others}"
    if request.files and not content.has_files:
        return "it holds no files"
    if not request.files and not content.dumps:
        return "it holds no dump of a database that can be restored here"
    return ""


def plan(
    request: RestoreRequest,
    content: Content,
    place: tuple[str, Archive],
    sha256: str,
    around: Surroundings,
    now: datetime,
) -> RestorePlan:
    """Decide where everything goes.

    :param place: the archive, and the name of its destination.
    :param now: aware; names what is new.
    :raises SettingsError: something exists and was not named to be replaced, or the wishes do not fit together.
    """
    _refuse_misfits(request, content)
    destination, archive = place
    confirmed = set(request.overwrite)
    stamp = now.astimezone(UTC).strftime(TIME)
    chosen = [name for name in content.dumps if _is_chosen(name, request)]
    steps = tuple(_database_step(name, content.dumps[name], request, around, confirmed, stamp) for name in chosen)
    files = _files_step(request, around, confirmed, stamp) if request.files else None
    used = {step.schema for step in steps if step.in_place} | ({request.application} if request.files else set())
    if strange := sorted(confirmed - used):
        known = [*([request.application] if request.files else []), *chosen, *filter(None, [request.into])]
        raise SettingsError(
            f"{strange[0]!r} was confirmed for overwriting, but this restore does not write it.",
            f"It could be: {', '.join(dict.fromkeys(known))}.",
        )
    captured = archive.captured_at.isoformat()
    return RestorePlan(request.application, destination, archive.key, archive.size, sha256, captured, steps, files)


def refuse_until(request: RestoreRequest) -> None:
    """:raises SettingsError: a restore to a moment does not go with what else is asked for."""
    if request.table:
        raise SettingsError(
            f"A single table is not restored to a moment: {request.table!r} comes with its database.",
            "Restore the database into a new schema, then copy the rows that you need (docs/RECOVERY.md shows how).",
        )
    if request.archive != LATEST and catalog.kind_of(request.archive) not in OWN_KINDS:
        raise SettingsError(
            f"The moment says which archive to begin with, so {request.archive!r} says nothing more.",
            "Leave the archive out, or name the key of an earlier backup to begin with.",
        )


def _refuse_misfits(request: RestoreRequest, content: Content) -> None:
    one = len(request.databases or content.dumps) == 1
    if request.table and not one:
        raise SettingsError("A table is restored from one database.", f"Choose one of {', '.join(content.dumps)}.")
    if request.table and request.overwrite:
        raise SettingsError(
            "A single table is only restored beside the original, never over it.",
            "Restore it into a new schema, then copy the rows that you need (docs/RECOVERY.md shows how).",
        )
    if request.into and not request.files and not one:
        raise SettingsError(
            "A new name is for one database, and several are restored.", f"Choose one of {', '.join(content.dumps)}."
        )


def _is_chosen(database: str, request: RestoreRequest) -> bool:
    if request.databases:
        return database in request.databases
    return not request.path  # somebody who wants one file back wants no databases


def _database_step(
    database: str, entry: str, request: RestoreRequest, around: Surroundings, confirmed: set[str], stamp: str
) -> DatabaseStep:
    over_all = request.files and request.application in confirmed
    in_place = over_all or database in confirmed
    engine = engine_of_entry(entry) or "mysql"
    schema = database if in_place else with_suffix(engine, database, f"_restored_{stamp}")
    typed = request.into if not request.files else ""
    if typed:
        schema, in_place = typed, in_place or typed in confirmed
    # A database has the name that it has; of one that somebody types, these are mistakes.
    if not fits(engine, schema) or typed != typed.strip() or "/" in typed or not typed.isprintable():
        raise SettingsError(
            f"{schema!r} is not a valid name for a schema: 1 to {LONGEST_NAMES[engine]} characters, without slashes."
        )
    if is_reserved(typed):
        raise SettingsError(
            f"{typed!r} begins like what drills and restores fill, and drop: it would not last.", "Name another one."
        )
    if is_system(engine, schema) or (typed and typed == around.metadata_database):
        raise SettingsError(
            f"{schema!r} is a database of the server itself, or of Airflow.", "Name another one to restore into."
        )
    exists = schema in around.schemas and schema not in around.vacant
    if exists and not in_place:
        raise SettingsError(
            f"The server has a database {schema!r} already, and nothing is overwritten by accident.",
            f"Name another one to restore into, or type {schema!r} to be overwritten.",
        )
    if exists and schema not in around.databases:
        raise SettingsError(
            f"{schema!r} is none of the application's databases, so no safety backup could be taken of it.",
            "Drop it yourself, or name another one to restore into.",
        )
    return DatabaseStep(database, entry, schema, in_place or schema == database, exists, request.table)


def _files_step(request: RestoreRequest, around: Surroundings, confirmed: set[str], stamp: str) -> FilesStep:
    path = request.path.strip("/")
    if ".." in path.split("/"):
        raise SettingsError(f"{request.path!r} leaves the application's root.", "Name it relative to the root.")
    if request.application in confirmed:
        return _over(around, path, request, stamp)
    if request.into:
        target = Path(request.into)
        if not target.is_absolute():
            raise SettingsError(f"{request.into!r} is not an absolute path.", "Workers start in different directories.")
    elif around.root is None:
        raise SettingsError(
            f"The settings name no files of {request.application!r}, so there is no place to restore beside.",
            "Name a new directory to restore into.",
        )
    else:
        target = around.root.with_name(f"{around.root.name}_restored_{stamp}")
    if around.exists(target):
        raise SettingsError(
            f"{target} exists already, and nothing is overwritten by accident.",
            f"Name a new directory, or type {request.application!r} to overwrite the application itself.",
        )
    refuse_place(target, around)
    return FilesStep(str(target), stamp, path=path)


def refuse_place(target: Path, around: Surroundings) -> None:
    """Refuse to make a directory where files of an archive would be read, run, or taken for something else.

    :raises SettingsError: it is neither next to the application's root nor below the directory of the settings.
    """
    if ".." in target.parts:
        raise SettingsError(f"{target} holds '..'.", "Write where it leads to.")
    place = around.real(target.parent) / target.name
    beside = around.root is not None and around.real(around.root.parent) == place.parent
    below = around.directory is not None and around.real(around.directory) in place.parents
    if not beside and not below:
        wished = f"a directory in {around.root.parent}" if around.root else "none, for its files have no root"
        named = f", or one below {around.directory}" if around.directory else ""
        raise SettingsError(
            f"{target} is not a place for restored files of this application; it may be {wished}{named}.",
            "To allow others, name a directory for them under restore.directory in the settings.",
        )
    _refuse_own(place, around)


def _refuse_own(place: Path, around: Surroundings) -> None:
    """:raises SettingsError: a path lies in, or holds, a directory of Lifeboat or of Airflow."""
    for own in (*around.own_directories, *around.code_directories):
        real = around.real(own)
        if real == place or real in place.parents or place in real.parents:
            raise SettingsError(
                f"{place} is, holds or lies in {own}, which Lifeboat or Airflow uses.", "Name another directory."
            )


def _over(around: Surroundings, path: str, request: RestoreRequest, stamp: str) -> FilesStep:
    if around.root is None:
        raise SettingsError(f"The settings name no files of {request.application!r} to overwrite.")
    if request.into:
        raise SettingsError(
            "A new directory was named, and the application was confirmed for overwriting.", "Drop one."
        )
    target = around.root / path if path else around.root
    for own in around.own_directories:
        if own == target or target in own.parents:
            raise SettingsError(
                f"{own} lies in {target}: replacing it would take away Lifeboat's own staging or archives.",
                "Restore into a new directory, or a folder that does not hold them; then keep archives elsewhere.",
            )
    refuse_links(target, around)
    _refuse_own(around.real(target), around)
    return FilesStep(str(target), stamp, in_place=around.exists(target), path=path)


def refuse_links(target: Path, around: Surroundings) -> None:
    """Refuse to replace what a link leads to that somebody made below the application's root.

    :raises SettingsError: a link below the root leads to the target, and backups follow none.
    """
    if around.root is None or around.follows_links:
        return
    place = around.real(target)
    if place != around.real(around.root) / target.relative_to(around.root):
        raise SettingsError(
            f"A link below {around.root} leads from {target} to {place}, which no backup followed.",
            "Look at who made that link. Move it away, or restore into a new directory.",
        )


def close_to(name: str, names: Iterable[str]) -> str:
    """Return a hint of what an unknown name may have meant; empty where nothing is close."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
