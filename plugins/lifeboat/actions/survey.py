"""Contents of a destination, read once: one listing, uploads that no listing shows, and the newest proofs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, cast

from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import OWN_KINDS, Archive, Catalog, Kind, LogWindow, Marked, Proven
from lifeboat.decide import log_health, log_retention
from lifeboat.errors import ArchiveError, LifeboatError, StorageError
from lifeboat.storage import Destination
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from lifeboat.catalog.manifest import ManifestHead
    from lifeboat.settings.config import Application, Logs
    from lifeboat.site import Site

log = logger(__name__)

MOST_WINDOWS = 5  # per application: reading each asks the destination for markers


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
    windows = {name: tuple(_windows(destination, site, found, name)) for name in _with_logs(site, found)}
    archives_found = (a._replace(proven=False) if a.key in forged else a for a in found.archives)
    return replace(
        found,
        archives=tuple(archives_found),
        uploads=uploads,
        newest_proofs=newest,
        unchecked=frozenset(found.proofs) - authentic,
        anchors=_anchors(destination, site, found),
        windows={name: each[0] for name, each in windows.items()},
        earlier={name: each[1:] for name, each in windows.items()},
    )


def _anchors(destination: Destination, site: Site, found: Catalog) -> dict[str, Archive]:
    """Return which archives the kept logs continue."""
    anchors = {}
    for application in _with_logs(site, found):
        keep_days = cast("Logs", site.settings.logs_of(application)).keep_days
        own, logs = _sound(found, application), found.logs_of(application)
        for candidates in log_retention.candidates(own, logs, site.now(), keep_days):
            if best := _with_most_positions(destination, candidates, site.settings.application(application)):
                anchors[application] = best[0]
                break
    return anchors


def _windows(destination: Destination, site: Site, found: Catalog, application: str) -> Iterator[LogWindow]:
    """Yield which times the logs of an application cover, the newest first, by the markers of the first and the last.

    Only a few are read: older ones are behind gaps.
    """
    settings, own = site.settings.application(application), list(_sound(found, application))
    for run in islice(log_health.runs(found.logs_of(application)), MOST_WINDOWS):
        window = _window(destination, run[-1], run[0])
        within = [each for each in own if each.captured_at >= window.since]
        own = own[len(within) :]  # what is behind a gap does not continue what is before it
        if best := _with_most_positions(destination, within, settings):
            newest, marked = best
            first = _with_most_positions(destination, reversed(within), settings)
            positions = None if marked.error else marked.positions
            window = replace(window, anchor=newest, positions=positions, first=first[0] if first else None)
        yield window


def _window(destination: Destination, first: Archive, last: Archive) -> LogWindow:
    from lifeboat.catalog import marker as markers

    by_keys = LogWindow(first.captured_at, last.captured_at)
    try:
        begin, end = (markers.read(destination, archive.key) for archive in (first, last))
    except StorageError as error:
        return replace(by_keys, error=str(error))
    if not begin or not begin.chain or not begin.covers or not end or not end.chain or not end.covers:
        return replace(by_keys, error=f"the markers of {first.key} and {last.key} do not say which time they cover")
    is_one_chain = begin.chain.id == end.chain.id
    is_new = begin.chain.number == 1 and bool(begin.chain.reason)
    window = LogWindow(begin.covers.since, end.covers.until, is_one_chain, is_new)
    return replace(window, left_out_bytes=end.totals.left_out_bytes, untold_bytes=end.totals.untold_bytes)


def _with_logs(site: Site, found: Catalog) -> list[str]:
    """Return the applications that ask for logs and have some."""
    named = {archive.application for archive in found.logs}
    return [name for name in site.settings.applications_with_logs if name in named]


def _sound(found: Catalog, application: str) -> Iterator[Archive]:
    """Yield the archives of an application that are not known to be damaged, newest first."""
    damaged = {key for key, last in found.readings.items() if not last.whole}
    return (archive for archive in found.of(application) if archive.kind in OWN_KINDS and archive.key not in damaged)


def _with_most_positions(
    destination: Destination, archives: Iterable[Archive], settings: Application
) -> tuple[Archive, Marked] | None:
    """Return the newest archive with all positions in the log, else with the most. One marker is read, if that says so.

    One whose marker cannot be read is taken: what it may be must not be deleted.
    """
    best: tuple[Archive, Marked] | None = None
    for archive in archives:
        marked = _marked(destination, archive.key)
        if marked.error or marked.positions >= settings.count_with_logs(marked.listed):
            return archive, marked
        if marked.positions > (best[1].positions if best else 0):
            best = archive, marked
    return best


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
    return replace(
        found,
        newest_marked=marked,
        lacking=lacking,
        free=destination.free(),
        windows={name: _explained(destination, site, found, name) for name in found.windows},
        unplaced=_unplaced(destination, site, found, marked),
        newest_chain_proofs=_chain_proofs(destination, site, found),
    )


def _chain_proofs(destination: Destination, site: Site, found: Catalog) -> dict[str, Proven]:
    """Return what the newest proof of a chain says, of each application with logs."""
    newest = {}
    for application in _with_logs(site, found):
        proven = [archive for archive in found.of(application) if archive.key in found.chain_proofs]
        if proven:
            latest = max(proven, key=lambda archive: found.chain_proofs[archive.key])
            newest[application] = _chain_proof_of(destination, site, found, latest)
    return newest


def _chain_proof_of(destination: Destination, site: Site, found: Catalog, archive: Archive) -> Proven:
    from lifeboat.catalog import proof

    key = archive.key
    try:
        facts = proof.read_chain(destination, key, *site.passwords(archive.application))
        if (facts.destination, facts.end.size) != (destination.name, archive.size):
            raise ArchiveError(f"{key + catalog.CHAIN_PROOF} at {destination} is not of that copy of the archive.")
    except (ArchiveError, StorageError) as error:
        log.warning("%s", error)
        return Proven(key, found.chain_proofs[key], timedelta(), str(error), unread=isinstance(error, StorageError))
    return Proven(key, facts.proven_at, timedelta(seconds=facts.durations.recovery))


def _explained(destination: Destination, site: Site, found: Catalog, application: str) -> LogWindow:
    """Return a window with the reason of a new chain, which is in the archive only, for as long as checks tell it."""
    window = found.windows[application]
    if not log_health.is_told(window, site.now()):
        return window
    first = log_health.without_gap(found.logs_of(application))[-1]
    manifest = manifest_of(destination, site, first)
    return replace(window, reason=manifest.chain.reason if manifest and manifest.chain else "")


def _unplaced(
    destination: Destination, site: Site, found: Catalog, marked: Mapping[tuple[str, Kind], Marked]
) -> dict[str, str]:
    """Return why the newest archives of all databases lack positions in the log, by application."""
    unplaced = {}
    for application in site.settings.applications_with_logs:
        newest = next(_sound(found, application), None)
        if newest is None:
            continue
        says = marked[application, newest.kind]
        settings = site.settings.application(application)
        is_of_all = (says.databases or 0) >= settings.count(says.listed)
        if is_of_all and says.positions < settings.count_with_logs(says.listed):
            manifest = manifest_of(destination, site, newest)
            dumps = manifest.databases if manifest else ()
            reasons = [f"{dump.database}: {dump.no_position}" for dump in dumps if dump.no_position]
            unplaced[application] = "; ".join(reasons) or f"the reason is in the manifest of {newest.key}"
    return unplaced


def manifest_of(destination: Destination, site: Site, archive: Archive) -> ManifestHead | None:
    """Return the manifest of an archive; None where it cannot be read, as without the password."""
    from lifeboat.actions import stored_archive

    try:
        with stored_archive.opened(site, destination, archive.application, archive.key) as reader:
            return reader.manifest()
    except LifeboatError as error:
        log.warning("%s", error)
        return None


def is_whole(destination: Destination, site: Site, archive: Archive) -> bool:
    """Return whether an archive holds all databases of its application, by what its marker says."""
    marked = _marked(destination, archive.key)
    of_all = site.settings.application(archive.application).count(marked.listed)
    return not marked.error and (marked.databases is None or marked.databases >= of_all)


def _lacking(destination: Destination, site: Site, archives: Sequence[Archive], newest: Marked) -> int:
    """Return how many databases are in none of an application's archives of a kind that are young enough.

    Only the newest archive's marker is read where that holds all databases.

    :param archives: newest first.
    """
    application, kind = archives[0].application, archives[0].kind
    longest = site.settings.limits_of(application).longest_ages.get(kind, timedelta())
    lacking = 0
    for archive in archives:
        if site.now() - archive.captured_at > longest:
            break
        marked = newest if archive is archives[0] else _marked(destination, archive.key)
        of_all = site.settings.application(application).count(marked.listed)
        if marked.databases is None or marked.databases >= of_all:
            return 0
        lacking = min(lacking or of_all, of_all - marked.databases)
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
    return Marked(totals.limits, totals.by_hand, "", totals.databases, totals.positions, totals.listed)


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
    took, not_isolated = timedelta(seconds=facts.durations.recovery), sum(c.isolated is False for c in facts.checks)
    checks = len(facts.checks)
    return Proven(key, facts.proven_at, took, missed=facts.missed, checks=checks, open_checks=not_isolated)
