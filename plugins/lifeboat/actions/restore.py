"""The steps of one restore: select, verify, safety backup, databases, files.

Nothing is changed before the whole archive has been read and found whole. Each step can be repeated: what a dead one
interrupted is marked as unfinished; the next attempt starts over.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lifeboat.actions import backup, checks, recovery, servers, stored_archive
from lifeboat.actions.backup import Taken
from lifeboat.actions.checks import Outcomes
from lifeboat.archive import engine_of_entry
from lifeboat.archive.read import ArchiveReader, Verified
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import Archive, Catalog
from lifeboat.databases import CLIENTS, Dump, Engine, EngineName, Load, Loaded, Place, Target
from lifeboat.decide import comparison, restore_plan
from lifeboat.decide.recovery import point_of
from lifeboat.decide.restore_plan import LATEST, Content, DatabaseStep, RestorePlan, RestoreRequest, Surroundings
from lifeboat.decide.restored import ReplayedLogs, RestoredDatabase, RestoredFiles, database_text
from lifeboat.errors import LifeboatError, RestoreError, SettingsError, StorageError
from lifeboat.files import extract
from lifeboat.files import selection as files
from lifeboat.files.selection import LeftOut, Selection
from lifeboat.settings import config
from lifeboat.settings.config import Database, Settings
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.support import swap
from lifeboat.support.logs import logger
from lifeboat.support.processes import die_with_parent, environment
from lifeboat.support.unfinished import sweep
from lifeboat.text import listed, plural, size_text

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.site import Site

log = logger(__name__)

SAFETY_NOTE = "safety backup before "
SAFETY_ONLY_BY_KEY = "it is a safety backup, which holds what somebody wanted to undo; only its key brings it back"


def select(site: Site, request: RestoreRequest, now: datetime) -> RestorePlan:
    """Find the newest archive that fits and holds what is asked for, and decide where everything goes.

    :raises SettingsError: the wishes do not fit the settings, each other, or what exists.
    :raises RestoreError: no archive fits.
    :raises StorageError: no destination could be read.
    """
    if request.until:
        return _select_moment(site, request, now)
    application = site.settings.application(request.application)
    databases = [database.name for database in application.named]
    reasons: dict[str, str] = {}
    damaged: set[str] = set()
    for destination, archive in candidates(site, request, now):
        try:
            content, sha256, is_safety = _content(site, destination, archive, databases)
        except LifeboatError as error:
            log.warning("%s at %s cannot be used: %s", archive.key, destination.name, error)
            reasons[archive.key] = str(error)
            damaged.add(archive.key)
            continue
        is_typed = request.archive == archive.key
        lack = SAFETY_ONLY_BY_KEY if is_safety and not is_typed else restore_plan.lacks(content, request)
        if not lack:
            around = _surroundings(site, request, content)
            plan = restore_plan.plan(request, content, (destination.name, archive), sha256, around, now)
            newer = sorted(damaged - {archive.key})
            if newer and plan.overwrites:
                raise RestoreError(
                    f"{newer[-1]} cannot be used: {reasons[newer[-1]].rstrip('.')}.",
                    f"The next is {archive.key}; type its key to overwrite what exists with older data.",
                )
            return _told(site, destination, plan)
        reasons.setdefault(archive.key, lack)
    newest, reason = next(iter(reasons.items()))
    more = f" ({plural(len(reasons) - 1, 'older one was', 'older ones were')} tried, too)" if len(reasons) > 1 else ""
    raise RestoreError(f"{newest} cannot be restored as asked{more}: {reason.rstrip('.')}.")


def _select_moment(site: Site, request: RestoreRequest, now: datetime) -> RestorePlan:
    """Find the archives that lead to a moment, and decide where everything goes.

    :raises SettingsError: the wishes do not fit the settings, each other, or what exists.
    :raises RestoreError: no archives lead there.
    :raises StorageError: no destination could be read.
    """
    restore_plan.refuse_until(request)
    point = point_of(request.until, site.settings.zone)
    wanted = recovery.databases_of(site, request.application, request.databases)
    destinations = _destinations(site, request)
    found = {destinations[name]: catalog for name, catalog in _catalogs(site, destinations).items()}
    key = "" if request.archive == LATEST else request.archive
    destination, archive, steps = recovery.find(site, request.application, wanted, point, found, key)
    content, sha256, _ = _content(site, destination, archive, wanted)
    request = replace(request, databases=wanted)
    around = _surroundings(site, request, content)
    plan = restore_plan.plan(request, content, (destination.name, archive), sha256, around, now)
    return _told(site, destination, replace(plan, recovery=steps))


def _told(site: Site, destination: Destination, plan: RestorePlan) -> RestorePlan:
    """Log a plan, and return it with the tables whose rows the archive lacks, if it replaces databases."""
    if any(step.exists for step in plan.databases):
        try:
            with stored_archive.opened(site, destination, plan.application, plan.key) as reader:
                steps = [replace(step, without_rows=_lacking(reader, step)) for step in plan.databases]
            plan = replace(plan, databases=tuple(steps))
        except LifeboatError as error:  # before anything is replaced, all of the archive is read
            log.warning("It is not known which rows %s lacks: %s", plan.key, error)
    for line in plan.lines():
        log.info("%s", line)
    return plan


def _lacking(reader: ArchiveReader, step: DatabaseStep) -> str:
    captured = stored_archive.captured_database(reader, step.database) if step.exists and not step.table else None
    return listed(captured.without_rows) if captured and captured.without_rows else ""


def candidates(site: Site, request: RestoreRequest, now: datetime) -> list[tuple[Destination, Archive]]:
    """Return the archives that may be meant, the best first, each with a destination that has it.

    :raises SettingsError: the archive asked for is neither a key nor a time.
    :raises RestoreError: no archive fits.
    :raises StorageError: no destination could be read.
    """
    destinations = _destinations(site, request)
    found = restore_plan.candidates(_catalogs(site, destinations), request, now, site.settings.zone)
    return [(destinations[name], archive) for name, archive in found]


def _destinations(site: Site, request: RestoreRequest) -> dict[str, Destination]:
    chosen = (request.destination,) if request.destination else ()
    ready = {}
    failures = []
    for name in site.settings.destinations_of(request.application, chosen):
        try:
            ready[name] = site.destination(name)
        except SettingsError as error:  # on a bare host, some connections may not be there yet
            log.warning("%s", error)
            failures.append(error)
    if not ready:
        raise failures[0]
    return ready


def _catalogs(site: Site, destinations: dict[str, Destination]) -> dict[str, Catalog]:
    found, failures = {}, []
    for name, destination in destinations.items():
        try:
            found[name] = archives.read(destination.list(), site.settings.legacy_zone)
        except StorageError as error:  # another destination may have it
            log.warning("%s", error)
            failures.append(error)
    if not found:
        raise failures[0]
    return found


def _content(
    site: Site, destination: Destination, archive: Archive, databases: Sequence[str]
) -> tuple[Content, str, bool]:
    """Return what an archive holds, the SHA-256 that was published of it, and whether it is a safety backup."""
    marker = markers.read(destination, archive.key) if archive.kind != "legacy" else None
    with stored_archive.opened(site, destination, archive.application, archive.key) as reader:
        content = restore_plan.content_of(reader.names(), archive.kind, databases)
    if marker is None:
        return content, "", False
    return content, marker.archive.sha256, marker.note.startswith(SAFETY_NOTE)


def _surroundings(site: Site, request: RestoreRequest, content: Content) -> Surroundings:
    application = site.settings.application(request.application)
    found: dict[str, bool] = {}
    named = [name for name in (*content.dumps, request.into) if application.database(name)]
    named += [database.name for database in application.named if database.name not in named]
    if not request.path or request.databases:
        chosen = request.databases or tuple(content.dumps)
        engines = {name: engine_of_entry(entry) for name, entry in content.dumps.items()}
        for database in known_databases(
            site.settings, request.application, {name: engines.get(name) for name in chosen}
        ):
            wanted = {database.name, *filter(None, [request.into])}
            there = site.engine(database).databases(wanted)
            found |= there
            for name in filter(None, (database.name, request.into)):
                if name in there:  # however the server spells it
                    found[name] = there[name]
            if database.name in named and _is_spelling(request.into, database.name, there):
                named.append(request.into)
    return replace(
        _places(site, request.application),
        databases=named,
        schemas=set(found),
        vacant={name for name, whole in found.items() if not whole},
        metadata_database=site.connections.metadata_database(),
    )


def _is_spelling(typed: str, name: str, there: Mapping[str, bool]) -> bool:
    """Return whether an existing name is another spelling of a database's, on a server that ignores case in names."""
    alike = typed.lower() == name.lower() and typed in there and name in there
    return alike and not {typed, name} <= set(there)


def _places(site: Site, application: str) -> Surroundings:
    """Return where files of an application may go, and where they may not."""
    files = site.settings.application(application).files
    return Surroundings(
        root=files.root if files else None,
        follows_links=bool(files and files.follow_links),
        own_directories=site.settings.own_directories,
        code_directories=(*site.connections.code_directories(), config.settings_path()),
        directory=site.settings.restore.directory,
    )


def known_databases(settings: Settings, application: str, engines: Mapping[str, EngineName | None]) -> list[Database]:
    """Return databases as restores reach them.

    One that the settings do not know goes to the server of its kind that they name as a whole, or else where the first
    one is.

    :param engines: kind of each, by name; None where that is not known.
    :raises SettingsError: the application has no database at all, so that there is no server to restore to.
    """
    found = settings.application(application)
    if engines and not found.databases:
        raise SettingsError(
            f"Application {application!r} has no databases in the settings, so there is no server to restore to.",
            f"Name one under applications.{application}.databases.",
        )
    return [(found.database(name, engine) or found.stray(name, engine)).for_restore for name, engine in engines.items()]


def _engines(*steps: DatabaseStep) -> dict[str, EngineName | None]:
    return {step.database: engine_of_entry(step.entry) for step in steps}


def verify(site: Site, plan: RestorePlan) -> Verified:
    """Read the whole archive, and those of logs that are replayed, and check every HMAC and every SHA-256.

    :raises ArchiveError: one is not whole, or not what was published.
    :raises RestoreError: a dump of it is loaded by hand only, or the logs do not lead to the moment.
    """
    destination = _destination(site, plan)
    marker = markers.read(destination, plan.key) if plan.sha256 else None
    with stored_archive.opened(site, destination, plan.application, plan.key) as reader:
        verified = stored_archive.verify_as(reader, plan.key, marker, plan.sha256)
        captured = [stored_archive.captured_database(reader, step.database) for step in plan.databases]
        for dump in captured:
            refuse_by_hand(dump)
        if warning := stored_archive.unsigned(reader):
            log.warning("%s: %s.", plan.key, warning)
    log.info(
        "%s at %s is whole: %s, %s.",
        *(plan.key, destination, plural(verified.entries, "entry", "entries"), size_text(verified.content_bytes)),
    )
    if plan.recovery:
        recovery.verify(site, destination, plan, captured)
        for database in known_databases(site.settings, plan.application, _engines(*plan.databases)):
            cast("MySQL", site.engine(database)).check_replay(database.name)
    return verified


def _destination(site: Site, plan: RestorePlan) -> Destination:
    return site.destination(plan.destination)


def safety_backup(site: Site, plan: RestorePlan, scratch: Staging) -> Taken | None:
    """Back up what a restore is about to replace; return None if it replaces nothing.

    Databases that are missing, empty or left by an interrupted restore are skipped: they hold nothing to lose.

    :raises LifeboatError: it could not be taken, or is published nowhere; nothing was replaced then.
    """
    if not plan.overwrites:
        log.info("Nothing that exists is replaced, so no safety backup is taken.")
        return None
    # As restores reach them: what is replaced is backed up, wherever the nightly backup looks.
    # Whole, too: what backups exclude may be dropped as well.
    wanted = servers.replaced(site, plan.application, [step.schema for step in plan.databases if step.exists])
    databases = [
        database.for_restore.model_copy(update={"exclude_tables": (), "exclude_rows": ()})
        for database in wanted.databases
    ]
    with_files = bool(plan.files and plan.files.in_place)
    note = f"{SAFETY_NOTE}{plan.key} was restored"
    taken = backup.take(
        site,
        plan.application,
        "application" if with_files else "database",
        [database for database in databases if _is_whole(site, database)],
        (),
        note,
        scratch,
        wanted.listing,
    )
    if not taken.published:
        raise RestoreError(f"The safety backup is published nowhere: {'; '.join(taken.failed.values())}")
    log.info("Safety backup %s is published at %s.", taken.packed.key, ", ".join(taken.published))
    return taken


def _is_whole(site: Site, database: Database) -> bool:
    return site.engine(database).databases((database.name,)).get(database.name, False)


def restore_database(site: Site, plan: RestorePlan, step: DatabaseStep, *, compare: bool = True) -> RestoredDatabase:
    """Load one database from the archive, and compare it with what was captured.

    :param compare: dump the restored schema once more and compare every digest with the manifest.
    :raises RestoreError: it went wrong; the message says what state it left.
    :raises MismatchError: the restored database is not the captured one, or a check of the application fails on it.
    """
    started = time.monotonic()
    (database,) = known_databases(site.settings, plan.application, _engines(step))
    engine = site.engine(database)
    compared, replayed, outcomes = None, None, Outcomes()
    with stored_archive.opened(site, _destination(site, plan), plan.application, plan.key) as reader:
        captured = stored_archive.captured_database(reader, step.database)
        reader.verify_entry(step.entry)  # once more: what runs now must be what was verified
        unsigned = stored_archive.unsigned(reader)
        refuse_by_hand(captured)
        _check_table(step, captured)
        _check_engine(step, database)
        extensions = stored_archive.extensions_of(reader, step.entry, captured)
        target = Target(step.schema, plan.key, captured, step.exists, step.in_place, extensions)
        with engine.target(target) as place:
            unchecked = captured.unchecked if captured else frozenset()
            load = Load(step.database, step.table, unchecked, place.staying)
            dumped = stored_archive.sql_to_load(reader, step.entry, step.schema)
            loaded = _load(engine, target, place.name, dumped, load)
            warnings = list(loaded.warnings)
            warnings += _without_rows(step, captured, loaded, place) if captured else []
            if captured is not None and compare:
                comparable = stored_archive.comparable(reader, captured)
                compared = _compare(engine, step, comparable, loaded, place, warnings)
            seconds = time.monotonic() - started
            if plan.recovery:
                replayed = _replay(site, plan, engine, target, place.name)
            if site.settings.restore.checks and not step.table:
                wanted = site.settings.application(plan.application).checks_of(archives.kind_of(plan.key) or "")
                checks.run_queries(engine, place.name, step.database, wanted, outcomes)
                outcomes.require(f"{step.schema!r}", "It stays for you to look at, and holds what was captured.")
    if unsigned:
        warnings.append(unsigned)
    warnings += _not_as_before(place)
    warnings += [f"not brought back exactly: {limit.text}" for limit in captured.inexact] if captured else []
    warnings += place.warnings
    if place.kept:
        warnings.append(f"what was there before is kept as {place.kept}; drop it when all is well")
    if plan.recovery and step.in_place:
        warnings.append(
            f"back {step.database} up now, by 'lifeboat backup database {plan.application}', unless a DAG restored it,"
            " which does so: a restore to a later moment begins with that backup"
        )
    limits = len(captured.inexact) if captured else 0
    restored = RestoredDatabase(
        *(step.database, step.schema, loaded.rows, loaded.tables, compared, seconds),
        *(tuple(warnings), limits, tuple(place.missed), replayed, tuple(outcomes.passed)),
    )
    log.info("%s", database_text(step, restored))
    for note in restored.notes:
        log.warning("%s: %s", step.schema, note)
    return restored


def _not_as_before(place: Place) -> list[str]:
    """Return what is not as it was captured, and what is unlike the database that was replaced."""
    return [
        *(f"not as captured: {each.text}" for each in place.missed),
        *(
            f"as captured, unlike the replaced database: {each.text}" + (f"; to undo: {each.sql}" if each.sql else "")
            for each in place.replaced
        ),
    ]


def refuse_by_hand(captured: Dump | None) -> None:
    """:raises RestoreError: the backup said of a dump that no restore loads it."""
    if captured and captured.by_hand:
        raise RestoreError(
            f"The dump of {captured.database!r} is loaded by hand only: {listed(captured.by_hand)}.",
            f"'By hand only' in docs/RECOVERY.md has the lines by which {CLIENTS[captured.engine]} loads it.",
        )


def _check_engine(step: DatabaseStep, database: Database) -> None:
    if (engine := engine_of_entry(step.entry)) != database.engine:
        raise SettingsError(
            f"{step.entry} is a dump of {engine}, and would go to {database.engine} by {database.connection!r}.",
            f"Name the database {step.database!r} with its engine in the settings.",
        )


def _check_table(step: DatabaseStep, captured: Dump | None) -> None:
    names = [table.name for table in captured.tables] if captured else []
    if step.table and captured and step.table in captured.without_rows:
        raise RestoreError(
            f"The archive has no rows of table {step.table!r} of {step.database!r}: the backup left them out.",
            "exclude_tables or exclude_rows in the settings named it, or a table above it.",
        )
    if step.table and captured and step.table not in names:
        raise RestoreError(
            f"The archive has no table {step.table!r} of {step.database!r}.",
            restore_plan.close_to(step.table, names) or f"It has {', '.join(names[:20])}.",
        )


def _load(engine: Engine, target: Target, place: str, sql: Iterable[bytes], load: Load) -> Loaded:
    with _described(engine, target):
        return engine.load(place, sql, load)


def _replay(site: Site, plan: RestorePlan, engine: Engine, target: Target, place: str) -> ReplayedLogs:
    with _described(engine, target):
        return recovery.replay(site, _destination(site, plan), plan, cast("MySQL", engine), place, target.captured)


@contextlib.contextmanager
def _described(engine: Engine, target: Target) -> Iterator[None]:
    """Let a failure say what state it leaves."""
    try:
        yield
    except LifeboatError as error:
        raise type(error)(f"{error.message} {engine.describe_failure(target)}", error.hint) from error


def _without_rows(step: DatabaseStep, captured: Dump, loaded: Loaded, place: Place) -> list[str]:
    """Return what became of the tables whose rows the archive lacks."""
    only = set(captured.structure_only) & (set(loaded.below) if step.table else set(captured.structure_only))
    empty, staying = sorted(only - place.staying), sorted(place.staying)
    return [
        *([f"tables came back empty, because the backup left their rows out: {listed(empty)}"] if empty else []),
        *([f"tables stay as they are, because the archive lacks their rows: {listed(staying)}"] if staying else []),
    ]


def _compare(
    engine: Engine, step: DatabaseStep, captured: Dump, loaded: Loaded, place: Place, warnings: list[str]
) -> int:
    """Dump what was restored to nowhere and compare every digest; return the number of tables that are equal.

    :param warnings: takes differences that another server version explains, and those of tables that stayed.
    :raises MismatchError: naming what differs.
    """
    defined = place.staying & set(captured.structure_only)
    restored = engine.read_back(loaded.schema, sorted(place.staying - defined), sorted(defined))
    tables = (step.table, *loaded.below) if step.table else ()
    found = comparison.differences(captured, restored, tables, loaded.left_out)
    stayed = [each for each in found if each.kind == "table" and each.name in defined]
    warnings += [f"{each}, and stays as it is: the archive lacks its rows" for each in stayed]
    found = [each for each in found if each not in stayed]
    comparison.refuse(
        f"What was restored into {loaded.schema!r} is not what was captured of {step.database!r}",
        found,
        "It stays for you to look at. Restore another archive, and look for what changed this one.",
    )
    warnings += [f"{difference} on a server of version {restored.server}" for difference in found]
    return len(tables or captured.tables) - len(defined)


def restore_files(site: Site, plan: RestorePlan) -> RestoredFiles:
    """Bring the files out of the archive, and where they replace something, swap them in by rename.

    The tree that is replaced is kept next to the new one. What the settings exclude from archives (``vendor``, say) is
    copied over from it, since no archive holds it.

    :raises RestoreError: it went wrong; what was there before is untouched.
    """
    step = plan.files
    if step is None:
        raise RestoreError(f"No files of {plan.key} were to be restored.")
    started = time.monotonic()
    target = Path(step.target)
    known = site.settings.application(plan.application).files
    root = str(known.root) if known else ""
    if known:
        sweep(known.root.parent, f".{glob.escape(known.root.name)}_restored_*.unfinished")
    kept = swap.kept_name(target, step.stamp)
    around = _places(site, plan.application)  # links may have changed since the plan
    deleted = not step.in_place and bool(root) and target == Path(root, step.path)
    if step.in_place or deleted:
        restore_plan.refuse_links(target, around)
    else:
        restore_plan.refuse_place(target, around)
    if step.in_place:
        place = Path(os.path.realpath(target))  # what a link points to is replaced
    else:
        place = _highest_missing(target, Path(root)) if deleted else target

    def put_in_place(fresh: Path) -> None:
        carried = _carry_over(files.selection_of(site.settings, plan.application), step.path, fresh)
        log.info(
            "Copied from %s what no archive holds: %s.", target, plural(carried, "file or folder", "files and folders")
        )
        swap.take_owners(target, fresh / step.path)
        if Path(os.path.realpath(target)) != place:
            raise RestoreError(f"{target} no longer leads to {place}; nothing was replaced.", "Restore again.")
        swap.replace(target, fresh / step.path, kept)
        if step.path:
            shutil.rmtree(fresh)  # the empty folders that led to it

    def put_back(fresh: Path) -> None:
        restored = fresh / place.relative_to(root)
        swap.take_owner_of_folder(place.parent, restored)
        restore_plan.refuse_links(place, around)
        swap.put_back(place, restored)
        if restored != fresh:
            shutil.rmtree(fresh)

    publish = put_in_place if step.in_place else put_back if deleted else None
    with stored_archive.opened(site, _destination(site, plan), plan.application, plan.key) as reader:
        extracted = extract.extract(reader, place, only=step.path, root=root, publish=publish)
        warnings = (*extracted.warnings, *filter(None, [stored_archive.unsigned(reader)]))
    return RestoredFiles(
        *(str(target), extracted.files, extracted.bytes, time.monotonic() - started),
        *(str(kept) if step.in_place else "", warnings),
    )


def _highest_missing(path: Path, root: Path) -> Path:
    """Return the highest folder that is missing on the way from an application's root to a path."""
    while path != root and not os.path.lexists(path.parent):
        path = path.parent
    return path


def _carry_over(selection: Selection, path: str, fresh: Path) -> int:
    """Copy what the settings exclude from archives from the old tree to the new one; return how much it was.

    :param path: only what is below it is replaced; all when empty.
    :param fresh: the new tree.
    :raises RestoreError: something could not be copied.
    """
    carried = 0
    parent = os.getpid()
    for found in files.select(selection):
        inside = not path or found.path.startswith(f"{path}/")
        if not isinstance(found, LeftOut) or found.cause not in ("excluded", "not included") or not inside:
            continue
        target = fresh / found.path
        if os.path.lexists(target) or _leads_through_a_link(fresh, Path(found.path)):
            log.warning("%s is not copied from the old tree: the archive has something else there.", found.path)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not shutil, which forgets owners and fills disks that could share blocks.
        copy: list[str | bytes | Path] = [
            "cp",
            "--archive",
            "--reflink=auto",
            "--no-target-directory",
            "--",
            found.location,
            target,
        ]
        done = subprocess.run(
            copy,
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=lambda: die_with_parent(parent),
        )
        if done.returncode:
            raise RestoreError(f"{found.path} could not be copied to the restored tree: {done.stderr.strip()}")
        carried += 1
    return carried


def _leads_through_a_link(tree: Path, path: Path) -> bool:
    return any((tree / above).is_symlink() for above in path.parents)
