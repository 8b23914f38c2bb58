"""The steps of one backup: dump, pack, store. Each can be repeated alone, and none undoes what is published."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, cast

from lifeboat.actions import servers
from lifeboat.archive import MANIFEST_NAME, dump_entry_name
from lifeboat.archive.deflated import DeflatedText
from lifeboat.archive.manifest import EntryList
from lifeboat.archive.write import ArchiveWriter
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import OwnKind
from lifeboat.catalog.manifest import Listing, manifest_of
from lifeboat.catalog.marker import ArchiveFile, Marker, Totals, marker_of
from lifeboat.databases import Aside, Dump, Engine, Limit, log_position_text
from lifeboat.errors import AlreadyStoredError, AlteredError, LifeboatError, SettingsError, StagingError
from lifeboat.files import selection as files
from lifeboat.files.capture import capture, warnings_of
from lifeboat.files.selection import Selection
from lifeboat.settings.config import BackupKind, Database
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.support.formats import Format
from lifeboat.support.logs import logger
from lifeboat.support.streams import Source
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.site import Site

log = logger(__name__)

NAMED = 20  # limits that the log names


@dataclass(frozen=True)
class PackedArchive(Format):
    """A staged archive, ready to be stored; small enough to travel between tasks.

    :param size: of the archive file in bytes.
    :param sha256: of the archive file, in hex.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class StagedArchive(Format):
    """Facts written next to a staged archive.

    :param marker: publishes it.
    """

    key: str
    marker: Marker


@dataclass(frozen=True)
class Taken:
    """A backup that was taken.

    :param totals: of the marker.
    :param limits: what a restore will not bring back, or not exactly, by database.
    :param new: databases that no archive before held, of a server that the settings name as a whole.
    :param published: names of the destinations that have it.
    :param failed: why the others have not, by name.
    :param name_taken: whether a destination already has another archive of that name, from a backup of the same second.
    """

    packed: PackedArchive
    totals: Totals
    published: tuple[str, ...]
    failed: dict[str, str]
    limits: dict[str, tuple[Limit, ...]] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    name_taken: bool = False


def take(
    site: Site,
    application: str,
    kind: BackupKind,
    databases: Sequence[Database],
    chosen: tuple[str, ...],
    note: str,
    scratch: Staging,
    listing: Listing | None = None,
) -> Taken:
    """Take a whole backup in one go: dump, pack, store at every destination side by side.

    :param listing: all databases that there were, where servers were asked for them.
    :param chosen: only these destinations; all when empty.
    :raises LifeboatError: there is no archive; what goes wrong at a destination is in the result.
    """
    selection = files.selection_of(site.settings, application) if kind == "application" else None
    if not databases and selection is None:
        raise SettingsError(f"Application {application!r} has no databases in the settings.")
    password = site.passwords(application)[0]
    destinations, failed = site.ready_destinations(site.settings.destinations_of(application, chosen))
    if not destinations:
        raise SettingsError("; ".join(failed.values()))
    ships_logs = site.settings.logs_of(application) is not None
    dumps = [
        dump_database(scratch, database, *restorable(site, database), position=ships_logs) for database in databases
    ]
    names = [database.name for database in databases]
    if listing:
        servers.stage(scratch, listing)
    packed = pack_archive(scratch, application, kind, names, password, note, selection, now=site.now())
    totals = scratch.archive.facts(StagedArchive).marker.totals

    def store(destination: Destination) -> LifeboatError | None:
        try:
            store_archive(scratch, packed, destination)
        except LifeboatError as error:  # one destination that fails does not stop the others
            return error
        return None

    with ThreadPoolExecutor(len(destinations)) as pool:
        stored = dict(zip((d.name for d in destinations), pool.map(store, destinations), strict=True))
    name_taken = any(isinstance(error, AlreadyStoredError) for error in stored.values())
    failed |= {name: str(error) for name, error in stored.items() if error is not None}
    limits = {dump.database: dump.limits for dump in dumps if dump.limits}
    published = tuple(name for name, error in stored.items() if error is None)
    return Taken(packed, totals, published, failed, limits, listing.new if listing else (), name_taken)


def restorable(site: Site, database: Database) -> tuple[Engine, str]:
    """Return what dumps a database, and why the restore connection would load it in no restore; empty if it would."""
    is_named = database.restore_connection not in (None, database.connection)
    refusal = site.refusal_to_load(database) if is_named else None
    return site.engine(database), f"{refusal.text} {refusal.advice}" if refusal else ""


def dump_database(
    scratch: Staging, database: Database, engine: Engine, refusal: str = "", *, position: bool = False
) -> Dump:
    """Dump a database into staging, compressed.

    :param refusal: why no restore would load the dump.
    :param position: as of `Engine.dump`.
    :raises DumpError: the dump is not whole.
    :raises StagingError: there is no space for it.
    """
    scratch.require()
    with (
        scratch.dump(database.name).writing() as staged,
        contextlib.closing(DeflatedText(staged, scratch.folder)) as text,
    ):
        clients = min(database.dump_connections, len(os.sched_getaffinity(0)))
        aside = Aside(clients, text.part, text.append)
        dump = engine.dump(
            database.name,
            database.exclude_tables,
            text.write,
            without_rows=database.exclude_rows,
            position=position,
            aside=aside,
        )
        text.end()
        if refusal:
            log.warning("%s", refusal)
            dump = replace(dump, warnings=(*dump.warnings, refusal))
        staged.facts = dump
    _log_limits(dump)
    log.info(
        "Dumped %s: %s of %s, %s of SQL, %s compressed.",
        *(database.name, plural(dump.rows, "row"), plural(len(dump.tables), "table")),
        *(size_text(dump.sql_bytes), size_text(text.stored)),
    )
    if place := log_position_text(dump.position, dump.no_position):
        log.info("%s: %s.", dump.database, place)
    return dump


def _log_limits(dump: Dump) -> None:
    notices = dump.notices[: len(dump.notices) - len(dump.warnings)]  # the warnings are in the log already
    for notice in notices[:NAMED]:
        log.warning("%s.", notice)
    if (more := len(notices) - NAMED) > 0:
        log.warning("... and %s more; the manifest names them all.", more)
    if dump.by_hand:
        log.warning("%s comes back BY HAND ONLY: no restore loads this dump.", dump.database)


def pack_archive(
    scratch: Staging,
    application: str,
    kind: OwnKind,
    databases: Sequence[str],
    password: str | None,
    note: str = "",
    selection: Selection | None = None,
    *,
    now: datetime,
) -> PackedArchive:
    """Pack the staged dumps, and an application's files, into one staged archive, with what was listed for the run.

    :param databases: names of the databases whose dumps belong in it.
    :param password: encrypts the archive; None: not encrypted.
    :param selection: which files belong in it.
    :param now: when it is captured if it has no dumps.
    :raises StagingError: a dump is not there, or there is no space.
    :raises FilesError: the files cannot be captured.
    """
    scratch.require()
    dumps = [scratch.dump(name).facts(Dump) for name in databases]
    captured_at = min((dump.captured_at for dump in dumps), default=now)
    key = archives.archive_key(application, kind, captured_at)
    with scratch.archive.writing() as staged, EntryList(scratch.folder) as entries:
        with ArchiveWriter(staged, password, scratch.folder) as archive:
            for dump in dumps:
                name = dump_entry_name(dump.engine, dump.database)
                source = scratch.dump(dump.database).source()
                archive.add_gzip(name, source, size=dump.sql_bytes, modified=dump.captured_at)
                entries.add(name, {"size": dump.sql_bytes, "sha256": dump.sha256})
            captured = capture(archive, selection, entries) if selection else None
            warnings = warnings_of(captured) if captured else []
            listing = servers.staged(scratch)
            kept = servers.packed(listing, databases) if listing else None
            manifest = manifest_of(application, kind, note, captured_at, dumps, captured, warnings, kept)
            size = entries.size + len(json.dumps(manifest.to_json()))
            text = entries.complete(manifest, archive.password)
            archive.add_pieces(MANIFEST_NAME, text, size=size, modified=captured_at)
        packed = PackedArchive(key, archive.size, archive.sha256)
        file = ArchiveFile(size=archive.size, sha256=archive.sha256, encrypted=password is not None)
        staged.facts = StagedArchive(key, marker_of(manifest, entries=entries.count, archive=file))
    packed_entries = plural(entries.count + 1, "entry", "entries")
    log.info("Packed %s: %s, %s, SHA-256 %s.", key, packed_entries, size_text(packed.size), packed.sha256)
    return packed


def store_archive(
    scratch: Staging, packed: PackedArchive, destination: Destination, others: Iterable[Destination] = ()
) -> None:
    """Store an archive at a destination and publish it there.

    Storing it again is safe: what is whole stays, and what lacks its marker gets it if its bytes are ours; if not, it
    belongs to another run of the same second, and is left alone. When staging has been cleaned up, the archive comes
    from another destination, so that no repeated upload ever needs a new dump.

    :param others: destinations that may hold the archive already.
    :raises StorageError: the destination failed, or holds another archive of that name.
    :raises StagingError: the archive is neither staged nor at any other destination.
    """
    published = markers.read(destination, packed.key)
    stored = destination.find(packed.key)
    if published and published.archive.sha256 != packed.sha256:
        raise AlreadyStoredError(
            f"{destination} already holds another archive {packed.key}; nothing is overwritten.",
            "It holds the same capture, packed by an earlier attempt. Trigger a new run to store a new one everywhere.",
        )
    if published and stored and stored.size == packed.size:
        log.info("%s is published at %s already.", packed.key, destination)
        return
    copies = _copies(scratch, packed, others)
    if stored and _sha256_at(destination, packed.key) == packed.sha256:
        log.info("%s is stored at %s already; an earlier attempt did not store its marker.", packed.key, destination)
        marker, _ = next(copies)
    else:
        marker = _store_one_of(copies, packed, destination)
    if not published:
        # Last, so that a crash before this line leaves an upload that nothing counts as a backup.
        destination.write(packed.key + archives.MARKER, marker.to_bytes())
    log.info("Published %s at %s: %s.", packed.key, destination, size_text(packed.size))


def _sha256_at(destination: Destination, key: str) -> str:
    with destination.open(key) as file:
        return hashlib.file_digest(cast(io.RawIOBase, file), "sha256").hexdigest()


def _store_one_of(copies: Iterator[tuple[Marker, Source]], packed: PackedArchive, destination: Destination) -> Marker:
    """Store the first copy that is whole, and return its marker."""
    while True:
        marker, source = next(copies)
        try:
            destination.store(source, packed.key, packed.sha256)
        except AlteredError as error:
            log.warning("%s", error)
        else:
            return marker


def _copies(scratch: Staging, packed: PackedArchive, others: Iterable[Destination]) -> Iterator[tuple[Marker, Source]]:
    """Yield where an archive is, each with its marker: in staging, then at the destinations that have it.

    :raises StagingError: no place has it.
    """
    gone = StagingError(f"The archive in {scratch} is no longer {packed.key}.", "Clear the run's first task.")
    try:
        staged = scratch.archive.facts(StagedArchive)
    except StagingError as error:
        gone = error
    else:
        if staged.key == packed.key and staged.marker.archive.sha256 == packed.sha256:
            yield staged.marker, scratch.archive.source()
    for other in others:
        try:
            marker = markers.read(other, packed.key)
        except LifeboatError as error:
            log.warning("Cannot take %s from there: %s", packed.key, error)
            continue
        if marker and marker.archive.sha256 == packed.sha256:
            log.info("Taking %s from %s: no longer in staging.", packed.key, other)
            yield marker, other.source(packed.key)
    raise gone
