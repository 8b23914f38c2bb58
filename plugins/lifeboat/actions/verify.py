"""Archives read back whole at their destinations, and the records of it next to each.

A record is public and signed, as a proof is. Listings show when it was stored, which is all that checks, lists and the
page look at; the nightly reading, which touches each archive anyway, believes only what is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from lifeboat.actions import stored_archive
from lifeboat.archive.read import Verified
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import marker as markers
from lifeboat.catalog import proof, readback
from lifeboat.catalog.archives import DAMAGED, READ, Archive, LastRead
from lifeboat.catalog.readback import ReadBack
from lifeboat.decide import rotation
from lifeboat.errors import ArchiveError, DeniedError, LifeboatError, MismatchError, PasswordError, StorageError
from lifeboat.storage import Destination
from lifeboat.support.logs import logger
from lifeboat.text import size_text

if TYPE_CHECKING:
    from lifeboat.site import Site

log = logger(__name__)


@dataclass
class Night:
    """The archives read back in a night.

    :param read: keys of archives that are as they were published.
    :param failed: why others are not, or could not be read, by key.
    """

    read: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


def read_night(
    site: Site, destination: Destination, applications: Sequence[str], since: datetime, now: datetime
) -> Night:
    """Read back the archives of some applications whose turn it is, and record each.

    After a crash, only the archive that was being read is read again; the others read since the night began count.

    :param destination: with the permission to delete, because older records are replaced.
    :param since: when the night began.
    :raises StorageError: the destination cannot be listed.
    """
    limits = site.settings.rotation_of(destination.name)
    found = catalog.read(destination.list(), site.settings.legacy_zone)
    archives = rotation.own(found, applications)
    readings = {
        archive.key: last
        for archive in archives
        if archive.key in found.readings
        and (last := _authentic(site, destination, archive, found.readings[archive.key])) is not None
    }
    spent = sum(each.size for each in archives if each.key in readings and readings[each.key].at >= since)
    night = Night()
    # Archives without read access or password use none of the budget, so that they delay no other archive.
    while turns := rotation.due(archives, readings, limits, now, spent + night.bytes):
        archives = [archive for archive in archives if archive not in turns]
        if not _read_all(site, destination, turns, night):
            break
    log.info("Read back at %s: %s archives, %s.", destination, len(night.read), size_text(night.bytes))
    return night


def _read_all(site: Site, destination: Destination, archives: Iterable[Archive], night: Night) -> bool:
    """Read archives back, and return whether the destination still answers.

    :param night: takes the results.
    """
    for archive in archives:
        try:
            read_back(site, destination, archive.application, archive.key)
            night.read.append(archive.key)
        except LifeboatError as error:
            night.failed[archive.key] = str(error)
            if not _is_about_archive(error):
                continue
            if isinstance(error, StorageError) and not _answers(destination):
                return False
        night.bytes += archive.size
    return True


def read_back(site: Site, destination: Destination, application: str, key: str) -> Verified:
    """Read an archive back whole, compare it with its marker and manifest, and record the result next to it.

    :raises ArchiveError: it is damaged, which is recorded; its proof, no longer valid, is withdrawn.
    :raises StorageError: it cannot be read, which is recorded if the destination takes that, and did not deny access.
    :raises SettingsError: there is no password.
    """
    try:
        verified = verify(site, destination, application, key)
    except (ArchiveError, StorageError) as error:
        note_failure(site, destination, application, key, error)
        raise
    note_whole(site, destination, application, key)
    return verified


def verify(site: Site, destination: Destination, application: str, key: str) -> Verified:
    """Read an archive back whole and compare it with its marker and manifest.

    :raises ArchiveError: it is not what was published.
    :raises StorageError: it cannot be read.
    """
    marker = markers.read(destination, key)
    if marker is None:
        raise ArchiveError(f"{key} is not published at {destination}.", "'lifeboat list' shows what is.")
    try:
        with stored_archive.opened(site, destination, application, key) as reader:
            return stored_archive.verify_as(reader, key, marker)
    except OSError as error:
        raise StorageError(f"{key} at {destination} cannot be read: {error.strerror or error}.") from error


def note_whole(site: Site, destination: Destination, application: str, key: str) -> None:
    """Record that an archive was read back whole; a destination that refuses the record costs nothing else."""
    try:
        _record(site, destination, application, key, whole=True)
    except StorageError as failure:
        log.warning("%s at %s is whole, which could not be recorded: %s", key, destination, failure)


def note_failure(site: Site, destination: Destination, application: str, key: str, error: LifeboatError) -> None:
    """Record that an archive could not be read back, and withdraw its proof if it is not what was captured.

    Whatever fails here is logged: the error itself is the one to report.
    """
    if not _is_about_archive(error):
        return
    try:
        if not isinstance(error, MismatchError):  # that is found after reading
            _record(site, destination, application, key, whole=False)
        if not isinstance(error, StorageError):
            proof.withdraw(destination, key)
    except StorageError as failure:
        log.error("%s", failure)


def _is_about_archive(error: LifeboatError) -> bool:
    """Return whether a failure says something about the archive, not about passwords, rights or settings."""
    if isinstance(error, StorageError):
        return not (error.lasting or isinstance(error, DeniedError))
    return isinstance(error, ArchiveError | MismatchError) and not isinstance(error, PasswordError)


def _record(site: Site, destination: Destination, application: str, key: str, *, whole: bool) -> None:
    """Record next to an archive that it was read back now, replacing older records.

    :raises StorageError: the destination refuses.
    """
    reading = ReadBack(
        format=readback.FORMAT,
        result="whole" if whole else "damaged",
        key=key,
        destination=destination.name,
        read_at=site.now().replace(microsecond=0),
    )
    readback.record(destination, reading.signed(site.passwords(application)[0]))


def _authentic(site: Site, destination: Destination, archive: Archive, last: LastRead) -> LastRead | None:
    """Return what the record of an archive says, or None if it is not signed or cannot be read."""
    name = archive.key + (READ if last.whole else DAMAGED)
    try:
        password, previous = site.passwords(archive.application)
        return readback.read(destination, name, archive.key, (password, *previous))
    except (OSError, ValueError, StorageError) as error:
        log.warning("%s at %s is not trusted, so the archive is read again: %s", name, destination, error)
        return None


def _answers(destination: Destination) -> bool:
    """Return whether a destination can be listed: if so, what failed there is about one archive."""
    try:
        next(iter(destination.list()), None)
    except StorageError:
        return False
    return True
