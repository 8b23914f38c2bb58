"""The steps of one backup: dump, pack, store. Each can be repeated alone, and none undoes what is published."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast

from isal import isal_zlib

from lifeboat import catalog, connections, files, staging
from lifeboat.archive import MANIFEST_NAME, dump_entry_name
from lifeboat.archive.entry import DEFLATE_LEVEL
from lifeboat.archive.manifest import EntryList
from lifeboat.archive.write import ArchiveWriter
from lifeboat.capture import capture
from lifeboat.catalog import Kind
from lifeboat.config import BackupKind, Database, Settings
from lifeboat.databases import Dump, Engine
from lifeboat.errors import AlreadyStoredError, LifeboatError, SettingsError, StagingError, StorageError
from lifeboat.files import Selection
from lifeboat.logs import logger
from lifeboat.staging import Staging
from lifeboat.storage import Destination

log = logger(__name__)

GZIP_WINDOW = 31  # 32 KiB window, gzip framing
COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class PackedArchive:
    """A staged archive, ready to be stored; small enough to travel between tasks.

    :param size: of the archive file in bytes.
    :param sha256: of the archive file, in hex.
    """

    key: str
    size: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the facts as values that JSON knows."""
        return asdict(self)


@dataclass(frozen=True)
class Taken:
    """A backup that was taken.

    :param totals: of the public manifest.
    :param published: names of the destinations that have it.
    :param failed: why the others have not, by name.
    """

    packed: PackedArchive
    totals: dict[str, Any]
    published: tuple[str, ...]
    failed: dict[str, str]


def take(
    settings: Settings,
    application: str,
    kind: BackupKind,
    databases: Sequence[Database],
    chosen: tuple[str, ...],
    note: str,
    scratch: Staging,
) -> Taken:
    """Take a whole backup in one go: dump, pack, store at every destination side by side.

    :param chosen: only these destinations; all when empty.
    :raises LifeboatError: there is no archive; what goes wrong at a destination is in the result.
    """
    selection = files.selection_of(settings, application) if kind == "application" else None
    whole = selection is not None and settings.files_of(application).on_error == "fail"
    if not databases and selection is None:
        raise SettingsError(f"Application {application!r} has no databases in the settings.")
    password = connections.archive_password(settings.encryption_of(application))
    destinations, failed = connections.ready_destinations(settings.destinations_of(application, chosen))
    if not destinations:
        raise SettingsError("; ".join(failed.values()))
    for database in databases:
        dump_database(scratch, database, connections.engine(database, settings.staging))
    names = [database.name for database in databases]
    packed = pack_archive(scratch, application, kind, names, password, note, selection, whole_files=whole)
    totals = staging.facts_of(scratch.archive)["marker"]["totals"]

    def store(destination: Destination) -> str | None:
        try:
            store_archive(scratch, packed, destination)
        except LifeboatError as error:  # one destination that fails does not stop the others
            return str(error)
        return None

    with ThreadPoolExecutor(len(destinations)) as pool:
        stored = dict(zip((d.name for d in destinations), pool.map(store, destinations), strict=True))
    failed |= {name: error for name, error in stored.items() if error is not None}
    return Taken(packed, totals, tuple(name for name, error in stored.items() if error is None), failed)


def dump_database(scratch: Staging, database: Database, engine: Engine) -> Dump:
    """Dump a database into staging, compressed.

    :raises DumpError: the dump is not whole.
    :raises StagingError: there is no space for it.
    """
    target = scratch.dump(database.name)
    staging.begin(target)
    deflate = isal_zlib.compressobj(DEFLATE_LEVEL, isal_zlib.DEFLATED, GZIP_WINDOW)
    with staging.translated(target), target.open("wb") as file:
        dump = engine.dump(database.name, database.exclude_tables, lambda chunk: file.write(deflate.compress(chunk)))
        file.write(deflate.flush())
    staging.finish(target, dump.to_json())
    log.info(
        "Dumped %s: %s rows of %s tables, %s bytes of SQL, %s compressed.",
        *(database.name, dump.rows, len(dump.tables), dump.sql_bytes, target.stat().st_size),
    )
    return dump


def pack_archive(
    scratch: Staging,
    application: str,
    kind: Kind,
    databases: Sequence[str],
    password: str | None,
    note: str = "",
    selection: Selection | None = None,
    *,
    whole_files: bool = False,
) -> PackedArchive:
    """Pack the staged dumps, and an application's files, into one staged archive.

    :param databases: names of the databases whose dumps belong into it.
    :param password: encrypts the archive; None leaves it open.
    :param selection: which files belong into it.
    :param whole_files: fail when a file is missing or changed while it was read.
    :raises StagingError: a dump is not there, or there is no space.
    :raises FilesError: the files cannot be captured.
    """
    target = scratch.archive
    staging.begin(target)
    dumps = [Dump.from_json(staging.facts_of(scratch.dump(name))) for name in databases]
    captured_at = min((dump.captured_at for dump in dumps), default=datetime.now(UTC))
    with staging.translated(target):
        with ArchiveWriter(target, password) as archive, EntryList(scratch.path) as entries:
            for dump in dumps:
                name = dump_entry_name(dump.engine, dump.database)
                source = scratch.dump(dump.database)
                archive.add_gzip(name, source, size=dump.sql_bytes, modified=dump.captured_at)
                entries.add(name, {"size": dump.sql_bytes, "sha256": dump.sha256})
            captured = capture(archive, selection, entries, whole=whole_files) if selection else None
            warnings = captured.warnings() if captured else []
            totals = captured.to_json() if captured else None
            manifest = catalog.manifest(application, kind, note, captured_at, dumps, totals, warnings)
            size = entries.size + len(json.dumps(manifest))
            archive.add_pieces(MANIFEST_NAME, entries.complete(manifest), size=size, modified=captured_at)
        size, sha256 = _measure(target)
    key = catalog.archive_key(application, kind, captured_at)
    public = catalog.public_manifest(
        manifest, entries=entries.count, size=size, sha256=sha256, encrypted=password is not None
    )
    staging.finish(target, {"key": key, "marker": public})
    log.info("Packed %s: %s entries, %s bytes, SHA-256 %s.", key, entries.count + 1, size, sha256)
    return PackedArchive(key, size, sha256)


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
    published = catalog.read_marker(destination, packed.key)
    stored = destination.find(packed.key)
    if published and published["archive"]["sha256"] != packed.sha256:
        raise AlreadyStoredError(
            f"{destination} already holds another archive {packed.key}; nothing is overwritten.",
            "It holds the same capture, packed by an earlier try. Trigger a new run to store a new one everywhere.",
        )
    if published and stored and stored.size == packed.size:
        log.info("%s is published at %s already.", packed.key, destination)
        return
    marker = _staged_marker(scratch, packed, others)
    if stored and _sha256_at(destination, packed.key) == packed.sha256:
        log.info("%s is stored at %s already; an earlier try did not come to its marker.", packed.key, destination)
    else:
        destination.store(scratch.archive, packed.key, packed.sha256)
    if not published:
        # Last, so that a crash before this line leaves an upload that nothing counts as a backup.
        destination.write(packed.key + catalog.MARKER, json.dumps(marker, ensure_ascii=False, indent=1).encode())
    log.info("Published %s at %s: %s bytes.", packed.key, destination, packed.size)


def _sha256_at(destination: Destination, key: str) -> str:
    with destination.open(key) as file:
        return hashlib.file_digest(cast(io.RawIOBase, file), "sha256").hexdigest()


def _staged_marker(scratch: Staging, packed: PackedArchive, others: Iterable[Destination]) -> dict[str, Any]:
    """Return the marker of the staged archive, fetching the archive first where staging has lost it."""
    try:
        staged = staging.facts_of(scratch.archive)
        if staged["key"] == packed.key and staged["marker"]["archive"]["sha256"] == packed.sha256:
            return dict(staged["marker"])
        gone = StagingError(f"{scratch.archive} is not {packed.key} any more.", "Clear the run's first task.")
    except StagingError as error:
        gone = error
    for other in others:
        try:
            marker = catalog.read_marker(other, packed.key)
            if marker and marker["archive"]["sha256"] == packed.sha256:
                log.info("Staging is gone; fetching %s from %s.", packed.key, other)
                _fetch(other, packed, scratch)
                staging.finish(scratch.archive, {"key": packed.key, "marker": marker})
                return marker
        except LifeboatError as error:
            log.warning("Cannot fetch %s: %s", packed.key, error)
    raise gone


def _fetch(source: Destination, packed: PackedArchive, scratch: Staging) -> None:
    scratch.create()
    # Several uploads may fetch at once; each writes its own file, and the last name wins with the same bytes.
    with (
        staging.translated(scratch.path),
        NamedTemporaryFile(dir=scratch.path, suffix=".zip", delete=False) as target,
        source.open(packed.key) as file,
    ):
        shutil.copyfileobj(file, target, COPY_BYTES)
    fetched = Path(target.name)
    if _measure(fetched) != (packed.size, packed.sha256):
        raise StorageError(f"{packed.key} at {source} is not what was published there.")
    fetched.rename(scratch.archive)


def _measure(path: Path) -> tuple[int, str]:
    """Return the size of a file in bytes and its SHA-256."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256
