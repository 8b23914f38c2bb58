"""A drill: an archive restored somewhere harmless, compared with what was captured, and proven by it.

Scratch schemas begin with a prefix and hold the mark of an unfinished restore as long as they exist, which tells ours
from any other; only those are ever dropped. One drill at a time uses a server: it holds a lock there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lifeboat import __version__
from lifeboat.actions import checks, cleanup, restore, stored_archive, verify
from lifeboat.actions.checks import Held, Outcomes
from lifeboat.archive import dump_entry_name
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import marker as markers
from lifeboat.catalog import proof
from lifeboat.catalog.archives import OWN_KINDS, Archive, OwnKind
from lifeboat.catalog.manifest import Manifest
from lifeboat.catalog.marker import Marker
from lifeboat.catalog.proof import (
    ChainDurations,
    Compared,
    Durations,
    PassedCheck,
    Point,
    Proof,
    ProvenFile,
    Versions,
)
from lifeboat.databases import SERVERLESS, Dump, EngineName, Load, Loaded, Missed, count_limits
from lifeboat.databases.names import PREFIX
from lifeboat.decide import comparison
from lifeboat.errors import ArchiveError, MismatchError, SettingsError, StorageError
from lifeboat.files import extract, trees
from lifeboat.settings.config import Database, Settings
from lifeboat.storage import Destination
from lifeboat.support.formats import Format, Moment, Text
from lifeboat.support.logs import logger
from lifeboat.support.scratch import scratch_directory
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    from lifeboat.site import Site

log = logger(__name__)

HINT = "Restore another archive, and look for what changed this one."


@dataclass(frozen=True)
class Choice(Format):
    """An archive to test.

    :param key: empty where the destination could not be read.
    """

    destination: str
    key: str


@dataclass(frozen=True)
class Report(Format):
    """The part of a proof that the report of a run tells.

    :param seconds: how long the recovery took.
    """

    destination: str
    key: str
    proven_at: Moment
    seconds: float
    compared: Compared
    notes: tuple[Text, ...]
    checks: tuple[PassedCheck, ...] = ()


@dataclass
class Rehearsal:
    """A drill under way.

    :param seconds: by phase.
    :param digests: of everything that was compared; hashed into the proof.
    :param notes: what its reader should know.
    :param limits: how much the dumps did not carry exactly.
    :param missed: how much a restore on that server would not make as it was captured, apart from contents.
    :param checks: of the application.
    """

    compared: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(Compared.model_fields, 0)))
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ChainDurations.model_fields, 0.0))
    digests: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    servers: set[str] = field(default_factory=set)
    limits: int = 0
    missed: int = 0
    checks: Outcomes = field(default_factory=Outcomes)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - started

    def rounded(self, phases: Iterable[str]) -> dict[str, float]:
        """Return the seconds of some phases."""
        return {phase: round(self.seconds[phase], 3) for phase in phases}

    def count(self, captured: Dump, restored: Dump) -> None:
        """Count a database that was compared."""
        self.servers.add(restored.server)
        self.digests.append([[asdict(table) for table in restored.tables], [asdict(o) for o in restored.objects]])
        self.compared["databases"] += 1
        self.compared["tables"] += len(captured.tables)
        self.compared["rows"] += captured.rows
        self.compared["objects"] += len(captured.objects)
        self.compared["bytes"] += captured.sql_bytes

    @property
    def digest(self) -> str:
        """The digest of everything that was compared."""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()

    @property
    def versions(self) -> Versions:
        """The versions of all that took part."""
        return Versions(lifeboat=__version__, python=platform.python_version(), servers=tuple(sorted(self.servers)))


def choose(archives: Iterable[Archive], proofs: Mapping[str, datetime], count: int) -> list[Archive]:
    """Choose archives to test: of each kind the newest, then those that are unproven or were proven longest ago.

    Archives of laravel-backup are never chosen: nothing says what they should hold.

    :param archives: that retention keeps, of one application at one destination.
    :param proofs: when archives were proven, by key.
    :param count: of each kind, at most.
    """
    chosen: list[Archive] = []
    for kind in OWN_KINDS:
        newest_first = sorted((a for a in archives if a.kind == kind), key=lambda a: a.captured_at, reverse=True)
        # Of those that nobody ever proved, the oldest has been at risk for longest.
        debt = sorted(newest_first[1:], key=lambda a: (a.key in proofs, proofs.get(a.key, a.captured_at)))
        chosen += [*newest_first[:1], *debt][:count]
    return chosen


def choices(site: Site, application: str, chosen: tuple[str, ...], archive: str, now: datetime) -> list[Choice]:
    """Return the archives to test. What retention is about to delete is not chosen.

    :param chosen: only these destinations; all when empty.
    :param archive: key of the only one to test; empty for a choice by age and coverage debt.
    :raises SettingsError: `archive` is not the key of an archive that a drill can prove.
    """
    if archive and catalog.kind_of(archive) not in OWN_KINDS:
        raise SettingsError(
            f"{archive!r} is not the key of an archive that a drill can prove.", "'lifeboat list' shows the keys."
        )
    if archive and archive.partition("/")[0] != application:
        return []
    found = []
    for destination in site.destinations(application, chosen):
        if archive:
            found.append(Choice(destination.name, archive))
            continue
        try:
            evaluation = cleanup.evaluate(destination, site, [application], now)
        except StorageError as error:  # the others are tested anyway, and this one fails by itself
            log.error("%s", error)
            found.append(Choice(destination.name, ""))
            continue
        kept = [decision.archive for decision in evaluation.plan.decisions if decision.action == "keep"]
        for each in choose(kept, evaluation.proofs, site.settings.drill.archives):
            found.append(Choice(destination.name, each.key))
    return found


def rehearse(site: Site, application: str, destination: Destination, key: str, by: str, now: datetime) -> Proof:
    """Restore an archive to scratch, compare it with its manifest, and record the proof; return it.

    A proof that the archive had is withdrawn when the archive turns out to be damaged, or not to restore to what was
    captured.

    :param by: who asks for it.
    :param now: of the proof.
    :raises ArchiveError: the archive is damaged.
    :raises MismatchError: what was restored is not what was captured.
    :raises CheckError: a check of the application fails on it.
    :raises LifeboatError: the drill could not run.
    """
    if not key:
        raise StorageError(f"{destination} could not be read, so nothing there was tested.")
    rehearsal = Rehearsal()
    marker = markers.read(destination, key)
    if marker is None:
        raise ArchiveError(f"{key} is not published at {destination}.", "'lifeboat list' shows what is.")
    log.info("Drill of %s at %s.", key, destination)
    try:
        with stored_archive.opened(site, destination, application, key) as reader:
            with rehearsal.phase("verify"):
                stored_archive.verify_as(reader, key, marker)
            manifest = reader.manifest()
            if manifest is None or manifest.application != application:
                raise ArchiveError(f"{key} is not an archive of {application}.")
            _rehearse(site, application, reader, manifest, key, rehearsal)
        rehearsal.checks.require(f"{key} at {destination}")
    except (ArchiveError, MismatchError) as error:
        verify.note_failure(site, destination, application, key, error)
        raise
    verify.note_whole(site, destination, application, key)
    made = _proof(site, destination, key, marker, rehearsal, by, now)
    proof.record(destination, made)
    log.info("Proven: %s at %s, recovered in %.1f s.", key, destination, made.durations.recovery)
    return made


def _rehearse(
    site: Site, application: str, reader: ArchiveReader, manifest: Manifest, key: str, rehearsal: Rehearsal
) -> None:
    """Restore an archive to scratch, compare, and run the application's checks."""
    wanted = site.settings.application(application).checks_of(manifest.kind)
    has_commands = any(check.command for check in wanted.values())
    held: list[Held] = []
    with contextlib.ExitStack() as opened:
        for captured in manifest.databases:
            places = [each.place for each in held]
            with contextlib.ExitStack() as dropped:
                one = _rehearse_database(site, application, reader, captured, key, places, rehearsal, dropped)
                checks.run_queries(one.engine, one.place, one.name, wanted, rehearsal.checks)
                if has_commands:  # which may need all databases at once
                    held.append(one)
                    opened.push(dropped.pop_all())
        if manifest.files or has_commands:
            scratch = opened.enter_context(scratch_directory(_folder(site.settings), PREFIX))
        if manifest.files:
            _rehearse_files(reader, scratch / checks.FILES, key, rehearsal)
            if links := manifest.files.links_out:
                rehearsal.notes.append(f"not in the archive: what links out of the root lead to: {len(links)}")
        if has_commands:
            checks.run_commands(held, scratch, wanted, rehearsal.checks)
    rehearsal.checks.note_missing(wanted, {captured.database for captured in manifest.databases})
    rehearsal.notes += rehearsal.checks.notes


def _rehearse_database(
    site: Site,
    application: str,
    reader: ArchiveReader,
    captured: Dump,
    key: str,
    beside: Sequence[str],
    rehearsal: Rehearsal,
    dropped: contextlib.ExitStack,
) -> Held:
    """Restore a database to scratch, and compare it.

    :param beside: places of this drill that it still holds.
    :param dropped: drops the scratch database when it is closed.
    """
    restore.refuse_by_hand(captured)
    server = scratch_server(site.settings, application, captured.engine, captured.database)
    engine = site.engine(server)
    entry = dump_entry_name(captured.engine, captured.database)
    in_production = not site.settings.drill.connection_of(captured.engine)
    captured = replace(captured, extensions=stored_archive.extensions_of(reader, entry, captured))
    place = dropped.enter_context(engine.scratch(key, captured, production=in_production, beside=beside))
    with rehearsal.phase("restore"):
        load = Load(captured.database, unchecked=captured.unchecked)
        loaded = engine.load(place, stored_archive.sql_to_load(reader, entry, place), load)
    with rehearsal.phase("compare"):
        restored = engine.read_back(place, ())
        captured = stored_archive.comparable(reader, captured)
    with rehearsal.phase("restore"):
        missed = engine.rehearse(place)
    _note_database(captured, restored, loaded, missed, rehearsal)
    return Held(captured.database, engine, captured.engine, place)


def _note_database(
    captured: Dump, restored: Dump, loaded: Loaded, missed: Sequence[Missed], rehearsal: Rehearsal
) -> None:
    found = comparison.differences(captured, restored, left_out=loaded.left_out)
    comparison.refuse(f"Database {captured.database!r} does not restore to what was captured", found, HINT)
    if loaded.orphans:
        raise MismatchError(
            f"Database {captured.database!r} restores to what was captured, but breaks its own rules: rows lack the"
            f" parents that {'; '.join(loaded.orphans[: comparison.NAMED])}.",
            "Repair those rows where the application runs, and back up again.",
        )
    for kind, name in loaded.left_out:
        log.warning("%s: %s %r cannot be restored, and was skipped.", captured.database, kind, name)
    rehearsal.notes += _left_out(captured, loaded)
    for difference in found:
        log.warning("%s: %s, on a server of version %s.", captured.database, difference, restored.server)
    if found:
        definitions = plural(len(found), "definition differs", "definitions differ")
        rehearsal.notes.append(f"{definitions} in wording on server {restored.server}")
    rehearsal.notes += [f"not restored exactly: {kind}" for kind in count_limits(captured.inexact)]
    for each in missed:
        log.warning("%s: not proven, a restore to this server would miss it: %s.", captured.database, each.text)
    rehearsal.notes += [f"not proven, for this server lacks roles or rights: {kind}" for kind in count_limits(missed)]
    rehearsal.missed += len(missed)
    rehearsal.count(captured, restored)
    rehearsal.limits += len(captured.inexact)
    tables, rows = plural(len(captured.tables), "table"), plural(captured.rows, "row")
    same = proof.same_text(len(captured.inexact), len(missed))
    log.info("%s: %s, %s %s.", captured.database, tables, rows, same)


def _left_out(captured: Dump, loaded: Loaded) -> Iterator[str]:
    """Yield how much of a database is not in the copy, without names."""
    left_out = Counter(kind for kind, _ in loaded.left_out)
    if count := left_out["view"]:
        views = plural(count, "view reads", "views read")
        yield f"{views} excluded tables, and cannot be restored beside them"
    if bare := captured.structure_only:
        log.info("%s: proven without rows, which the backup left out: %s.", captured.database, listed(bare))
        yield f"{plural(len(bare), 'table')} proven without rows, which the backup left out"
    if count := left_out["trigger"]:
        triggers = plural(count, "trigger does not fit its table", "triggers do not fit their tables")
        yield f"{triggers}, and cannot be restored"
    if count := left_out["rows"]:
        tables = plural(count, "table of an extension is", "tables of extensions are")
        yield f"rows of {tables} not the restoring role's, and were left out"
    if count := left_out["event"]:
        yield f"the time of {plural(count, 'event')} has passed, so no server makes it"


def scratch_server(settings: Settings, application: str, engine: EngineName, name: str) -> Database:
    """Return a database by which the scratch server is reached.

    :param name: of the database that is tested.
    :raises SettingsError: the settings name none, and do not permit production.
    """
    if connection := settings.drill.connection_of(engine):
        return Database(
            name=name,
            engine=engine,
            connection=connection,
            extensions_connection=settings.drill.extensions_connection if engine == "postgresql" else None,
        )
    if not settings.drill.production and engine not in SERVERLESS:
        raise SettingsError(
            f"The settings name no server on which a drill may restore databases of {engine}.",
            "Name its connection under drill.connection, or permit production by 'drill: {production: true}'.",
        )
    (database,) = restore.known_databases(settings, application, {name: engine})
    return database


def _rehearse_files(reader: ArchiveReader, tree: Path, key: str, rehearsal: Rehearsal) -> None:
    with rehearsal.phase("restore"):
        extracted = extract.extract(reader, tree, setuid=True)
    with rehearsal.phase("compare"):
        found = list(trees.differences(tree, reader.files()))
    comparison.refuse(f"The files of {key} do not restore to what was captured", found, HINT)
    entries = reader.files()
    rehearsal.digests.append([[entry.path, entry.mode, entry.sha256] for entry in entries])
    rehearsal.compared["files"] += len(entries)
    rehearsal.compared["bytes"] += extracted.bytes
    rehearsal.notes += extracted.warnings
    log.info("Files, directories and links as captured: %s.", len(entries))


def _folder(settings: Settings) -> Path:
    if settings.drill.directory:
        return settings.drill.directory
    if isinstance(settings.staging, Path):
        return settings.staging / "drill"
    raise SettingsError(
        "Staging is a bucket, so drills have no directory for files while they are compared.",
        "Name one of the worker's under drill.directory.",
    )


def _proof(
    site: Site, destination: Destination, key: str, marker: Marker, rehearsal: Rehearsal, by: str, now: datetime
) -> Proof:
    """Return the proof of an archive, signed."""
    password, previous = site.passwords(marker.application)
    proven_at = now.replace(microsecond=0)
    durations = Durations(**rehearsal.rounded(Durations.model_fields))
    point = Point(proven_at=proven_at, key=key, seconds=round(durations.recovery, 3))
    earlier = _earlier_points(destination, marker.application, marker.kind, password, previous)
    made = Proof(
        format=proof.FORMAT,
        result="proven",
        key=key,
        destination=destination.name,
        application=marker.application,
        kind=cast(OwnKind, marker.kind),
        captured_at=marker.captured_at,
        archive=ProvenFile(size=marker.archive.size, sha256=marker.archive.sha256),
        proven_at=proven_at,
        by=by,
        host=socket.gethostname(),
        compared=Compared(**rehearsal.compared),
        digest=rehearsal.digest,
        durations=durations,
        versions=rehearsal.versions,
        notes=tuple(rehearsal.notes),
        limits=rehearsal.limits,
        missed=rehearsal.missed,
        checks=tuple(rehearsal.checks.passed),
        trend=proof.trend(earlier, point),
    )
    return made.signed(password)


def _earlier_points(
    destination: Destination, application: str, kind: str, password: str | None, previous: Sequence[str]
) -> tuple[Point, ...]:
    """Return how long earlier recoveries took, from the newest proof that is there and authentic."""
    proofs = [stored for stored in destination.list(f"{application}/{kind}/") if stored.key.endswith(catalog.PROOF)]
    for stored in sorted(proofs, key=lambda stored: stored.modified, reverse=True):
        try:
            return proof.read(destination, stored.key.removesuffix(catalog.PROOF), password, previous).trend
        except (ArchiveError, StorageError) as error:
            log.warning("%s", error)
    return ()
