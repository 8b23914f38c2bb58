"""Contents of a destination, read once: one listing, uploads that no listing shows, and the newest proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import OWN_KINDS, Archive, Catalog, Kind, Marked, Proven
from lifeboat.decide import log_retention
from lifeboat.errors import ArchiveError, StorageError
from lifeboat.storage import Destination
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from lifeboat.site import Site

log = logger(__name__)


def read(destination: Destination, site: Site) -> Catalog:
    """Read a destination. Archives count as proven only when the proofs that matter are authentic.

    Nothing is called per object: of each application and kind, the newest proof is read, and that of the newest proven
    archive; others only where these are forged. One that cannot be read is not believed, and yet keeps retention from
    deleting the archive that it may prove.

    :raises StorageError: the destination fails.
    :raises SettingsError: there are proofs, and no password to authenticate them with.
    """
    found = catalog.read(destination.list(), site.settings.legacy_zone)
    uploads = tuple(upload for upload in destination.uploads() if catalog.kind_of(upload.key) in (*OWN_KINDS, "log"))
    proven: dict[tuple[str, Kind], list[Archive]] = {}
    for archive in found.archives:
        if archive.proven and archive.application in site.settings.applications:
            proven.setdefault((archive.application, archive.kind), []).append(archive)
    newest: dict[tuple[str, Kind], Proven] = {}
    forged: set[str] = set()
    authentic: set[str] = set()
    for subject, archives in proven.items():
        latest = max(archives, key=lambda archive: found.proofs[archive.key])
        newest[subject] = _proof_of(destination, site, found, latest)
        for archive in archives:
            proof = newest[subject] if archive is latest else _proof_of(destination, site, found, archive)
            if not proof.error:
                authentic.add(archive.key)
                break  # this is the one that protects
            if proof.unread:
                break  # and so may this
            forged.add(archive.key)
        if not newest[subject].unread:
            (forged if newest[subject].error else authentic).add(latest.key)
    archives_found = (a._replace(proven=False) if a.key in forged else a for a in found.archives)
    return replace(
        found,
        archives=tuple(archives_found),
        uploads=uploads,
        newest_proofs=newest,
        unchecked=frozenset(found.proofs) - authentic,
        anchors=_anchors(destination, site, found),
    )


def _anchors(destination: Destination, site: Site, found: Catalog) -> dict[str, Archive]:
    """Return which archives the kept logs continue. Of each application, the marker of one is read, if that says so.

    One whose marker cannot be read is one: what it may be must not be deleted.
    """
    anchors = {}
    damaged = {key for key, last in found.readings.items() if not last.whole}
    for application in {archive.application for archive in found.logs} & site.settings.applications.keys():
        if logs := site.settings.logs_of(application):
            needed = sum(database.engine == "mysql" for database in site.settings.databases_of(application))
            whole = (each for each in found.of(application) if each.key not in damaged)
            for archive in log_retention.candidates(whole, site.now(), logs.keep_days):
                marked = _marked(destination, archive.key)
                if marked.error or marked.positions >= needed:
                    anchors[application] = archive
                    break
    return anchors


def examine(destination: Destination, site: Site) -> Catalog:
    """Read a destination, the markers of the newest archives of each application and kind, and how much room is left.

    :raises StorageError: the destination fails.
    :raises SettingsError: there are proofs, and no password to authenticate them with.
    """
    found = read(destination, site)
    archives: dict[tuple[str, Kind], list[Archive]] = {}
    for archive in found.archives:
        if archive.kind in OWN_KINDS and archive.application in site.settings.applications:
            archives.setdefault((archive.application, archive.kind), []).append(archive)
    marked = {subject: _marked(destination, newest.key) for subject, (newest, *_) in archives.items()}
    lacking = {subject: _lacking(destination, site, archives[subject], newest) for subject, newest in marked.items()}
    return replace(found, newest_marked=marked, lacking=lacking, free=destination.free())


def is_whole(destination: Destination, site: Site, archive: Archive) -> bool:
    """Return whether an archive holds all databases of its application, by what its marker says."""
    marked = _marked(destination, archive.key)
    named = len(site.settings.databases_of(archive.application))
    return not marked.error and (marked.databases is None or marked.databases >= named)


def _lacking(destination: Destination, site: Site, archives: Sequence[Archive], newest: Marked) -> int:
    """Return how many databases are in none of an application's archives of a kind that are young enough.

    Only the newest archive's marker is read where that holds all databases.

    :param archives: newest first.
    """
    application, kind = archives[0].application, archives[0].kind
    longest = site.settings.limits_of(application).longest_ages.get(kind, timedelta())
    named = len(site.settings.databases_of(application))
    lacking = 0
    for archive in archives:
        if site.now() - archive.captured_at > longest:
            break
        held = (newest if archive is archives[0] else _marked(destination, archive.key)).databases
        if held is None or held >= named:
            return 0
        lacking = min(lacking or named, named - held)
    return lacking


def _marked(destination: Destination, key: str) -> Marked:
    from lifeboat.catalog import marker as markers

    try:
        marker = markers.read(destination, key)
    except StorageError as error:
        return Marked(error=str(error))
    if marker is None:
        return Marked()
    totals = marker.totals
    return Marked(totals.limits, totals.by_hand, databases=totals.databases, positions=totals.positions)


def _proof_of(destination: Destination, site: Site, found: Catalog, archive: Archive) -> Proven:

    passwords = site.passwords(archive.application)
    return read_proof(destination, archive, found.proofs[archive.key], *passwords)


def read_proof(
    destination: Destination,
    archive: Archive,
    stored_at: datetime,
    password: str | None,
    previous: Sequence[str] = (),
) -> Proven:
    """Return what the proof of an archive says, or why it is not valid.

    :param stored_at: when it was stored: used as the proof's time if it is not valid.
    """
    from lifeboat.catalog import proof

    key = archive.key
    try:
        facts = proof.read(destination, key, password, previous)
        if facts.destination != destination.name:
            raise ArchiveError(f"{key + catalog.PROOF} at {destination} is the proof of a copy elsewhere.")
        if facts.archive.size != archive.size:
            raise ArchiveError(f"{key} at {destination} is not the archive that was proven: its size differs.")
    except (ArchiveError, StorageError) as error:
        log.warning("%s", error)
        return Proven(key, stored_at, timedelta(), str(error), unread=isinstance(error, StorageError))
    return Proven(key, facts.proven_at, timedelta(seconds=facts.durations.recovery), missed=facts.missed)
