"""An archive at its destination: opened, verified, and what its manifest says of its databases."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from isal import isal_zlib

from lifeboat.archive import CHUNK, GZIP_WINDOW, dump_entry_name, engine_of_entry
from lifeboat.archive.read import ArchiveReader, Verified
from lifeboat.catalog import archives
from lifeboat.catalog.marker import ArchiveFile, Marker, marker_of
from lifeboat.databases import Dump, Extension
from lifeboat.errors import ArchiveError, DumpError, RestoreError, SettingsError
from lifeboat.storage import Destination
from lifeboat.support.ahead import ahead
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress

if TYPE_CHECKING:
    from lifeboat.databases.digest import DumpDigest
    from lifeboat.site import Site

log = logger(__name__)

NOT_ENCRYPTED = "this archive is neither signed nor encrypted: anyone who could write to its destination could forge it"


@contextlib.contextmanager
def opened(site: Site, destination: Destination, application: str, key: str) -> Iterator[ArchiveReader]:
    """Open an archive at its destination, by range reads.

    :raises ArchiveError: it is not an archive, or is one of ours without a manifest, or of laravel-backup and the
        settings do not accept these.
    """
    foreign = archives.kind_of(key) == "legacy"
    if foreign:
        refuse_legacy(site, application, f"{key} at {destination}")
    passwords = site.passwords(application)
    with destination.open(key) as file:
        reader = ArchiveReader(file, f"{key} at {destination}", *passwords, foreign=foreign, key="" if foreign else key)
        if not foreign and not reader.has_manifest:
            raise ArchiveError(f"{reader.where} holds no manifest, so nothing says what it should restore to.")
        yield reader


def refuse_legacy(site: Site, application: str | None, where: str) -> None:
    """:raises ArchiveError: the settings do not accept archives of laravel-backup."""
    try:
        site.settings.refuse_legacy(application, site.now())
    except SettingsError as error:
        raise ArchiveError(f"{where} is not read. {error.message}", error.hint) from error


def unsigned(reader: ArchiveReader) -> str:
    """Return why an archive cannot be trusted; '' if it is signed."""
    if not reader.has_manifest:
        return "this archive of laravel-backup is not signed: anyone who could write to its destination could forge it"
    if not reader.is_encrypted:
        return NOT_ENCRYPTED
    return ""


def verify_as(reader: ArchiveReader, key: str, marker: Marker | None, sha256: str = "") -> Verified:
    """Verify that an archive is whole, and the one of that key, and that its marker tells the truth about it.

    :param key: empty for a file of any name.
    :param marker: stored next to it; None if there is none.
    :param sha256: that it must have; by default what the marker says.
    :raises ArchiveError: it is not.
    """
    verified = reader.verify(sha256 or (marker.archive.sha256 if marker else None))
    manifest = reader.manifest()
    if manifest is None:
        return verified
    reader.refuse_another(manifest, key)
    if marker is None:
        return verified
    file = ArchiveFile(size=verified.size, sha256=verified.sha256, encrypted=verified.encrypted)
    if wrong := marker.contradictions(marker_of(manifest, entries=verified.entries - 1, archive=file)):
        raise ArchiveError(
            f"{reader.where} is not as its marker says: {', '.join(wrong)} differ.",
            "Somebody changed the marker; the archive is whole. Copy the marker from another destination.",
        )
    return verified


def captured_database(reader: ArchiveReader, database: str) -> Dump | None:
    """Return what the manifest says of a database, or None where there is no manifest."""
    manifest = reader.manifest()
    if manifest is None:
        return None
    found = next((dump for dump in manifest.databases if dump.database == database), None)
    if found is None:
        raise RestoreError(f"The manifest does not know the database {database!r}.")
    return found


def comparable(reader: ArchiveReader, captured: Dump) -> Dump:
    """Return what was captured of a database with digests by the rules of today.

    Where its digests were made by other rules, they are made again from the SQL in the archive, which verification and
    the manifest vouch for.

    :raises ArchiveError: the SQL is not what the manifest promises.
    """
    from lifeboat.databases.mysql import digest as mysql
    from lifeboat.databases.postgresql import digest as postgresql

    rules = {"mysql": mysql.RULES, "postgresql": postgresql.RULES}.get(captured.engine, captured.digest_rules)
    if captured.digest_rules == rules:
        return captured
    log.info("Digests of %s were made by older rules; making them again from the archive.", captured.database)
    sha256 = hashlib.sha256()

    def passing() -> Iterator[bytes]:
        for chunk in sql_of(reader, dump_entry_name(captured.engine, captured.database)):
            sha256.update(chunk)
            yield chunk

    try:
        held = _digest_again(captured, passing())
    except (DumpError, RestoreError) as error:
        raise ArchiveError(f"{reader.where}: {error.message}", "Restore another archive.") from error
    if sha256.hexdigest() != captured.sha256:
        raise ArchiveError(f"{reader.where}: the dump of {captured.database!r} is not what the manifest promises.")
    return replace(captured, tables=held.tables, objects=held.objects, digest_rules=rules)


def _digest_again(captured: Dump, sql: Iterator[bytes]) -> DumpDigest:
    from lifeboat.databases.mysql import digest as mysql
    from lifeboat.databases.postgresql import digest as postgresql

    if captured.engine == "postgresql":
        return postgresql.digest(sql)
    parser = mysql.DumpParser(schema=captured.database)
    for chunk in sql:
        parser.feed(chunk)
    return parser.finish()


def extensions_of(reader: ArchiveReader, entry: str, captured: Dump | None) -> tuple[Extension, ...]:
    """Return the extensions that a dump needs; where no manifest tells, as the dump itself does.

    :param captured: what the manifest says of the database; None where there is no manifest.
    """
    if captured and captured.extensions is not None:
        return captured.extensions
    if engine_of_entry(entry) != "postgresql":
        return ()
    from lifeboat.databases.postgresql import extensions

    return tuple(extensions.of_dump(sql_of(reader, entry)))


def sql_to_load(reader: ArchiveReader, entry: str, place: str) -> Iterator[bytes]:
    """Yield the text of a dump for its load, and tell how far that has come.

    :param place: where it is loaded to.
    """
    progress = Progress(f"Restoring {place}", None if entry.endswith(".gz") else reader.size(entry))
    for chunk in ahead(sql_of(reader, entry)):
        yield chunk
        progress.advance(len(chunk))


def sql_of(reader: ArchiveReader, entry: str) -> Iterator[bytes]:
    """Yield the text of a dump; those of laravel-backup may be compressed once more."""
    if not entry.endswith(".gz"):
        yield from reader.chunks(entry)
        return
    inflate = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
    for chunk in reader.chunks(entry):
        waiting = chunk
        while waiting:
            try:
                yield inflate.decompress(waiting, CHUNK)
            except isal_zlib.error as error:  # type: ignore[misc]  # the library carries no types
                raise RestoreError(f"{entry} is not a gzip file.") from error
            waiting = inflate.unconsumed_tail
    if not inflate.eof:
        raise RestoreError(f"{entry} is cut short.")
