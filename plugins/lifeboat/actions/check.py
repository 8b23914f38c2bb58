"""Check that every destination holds the archives that it should."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from lifeboat.actions import cleanup, survey
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import Archive, Catalog, Kind
from lifeboat.databases import SERVERLESS
from lifeboat.decide import capacity, health, log_health, rotation
from lifeboat.decide.health import Finding, Verdict
from lifeboat.errors import LifeboatError, StorageError
from lifeboat.settings.config import Database, Settings
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination
from lifeboat.support.formats import Format, Moment
from lifeboat.support.logs import logger
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.site import Site

log = logger(__name__)

FULL_SOON = 3  # days


@dataclass(frozen=True)
class Examined:
    """Findings at one destination.

    :param held: by application, when the newest archives of each kind were captured; empty if the destination
        could not be read.
    """

    destination: str
    findings: tuple[Finding, ...]
    held: Mapping[str, health.Times]


@dataclass(frozen=True)
class Checked(Format):
    """Facts from the check of one destination for the comparison of all of them.

    :param held: as `Examined` has it.
    :param unhealthy: applications with findings that are not healthy; an empty name for all of them.
    """

    healthy: bool
    held: Mapping[str, Mapping[Kind, Sequence[Moment]]]
    unhealthy: Sequence[str] = ()


def examine(name: str, site: Site, applications: Sequence[str], now: datetime, *, deep: bool = False) -> Examined:
    """Read a destination with one listing and check some applications there. Whatever goes wrong is a finding.

    :param name: of the destination in the settings.
    :param deep: read the newest archives back and compare their SHA-256.
    """
    try:
        destination = site.destination(name)
        found = survey.examine(destination, site)
    except LifeboatError as error:
        return Examined(name, tuple(health.unreachable(each, name, str(error)) for each in applications), {})
    examined = judge(name, found, site.settings, applications, now)
    if site.settings.destinations[name].object_lock:
        lock = _try_lock(name, site)
        of_lock = (Finding(each, name, "object lock", *lock) for each in applications)
        examined = replace(examined, findings=(*examined.findings, *of_lock))
    if not deep:
        return examined
    try:
        destination = site.destination(name, deleting=True)  # records are replaced
    except LifeboatError as error:
        failed = tuple(health.unreachable(each, name, str(error)) for each in applications)
        return replace(examined, findings=(*examined.findings, *failed))
    read_back = [finding for each in applications for finding in _read_back(site, each, destination, found, now)]
    cut = [finding for each in applications for finding in _cut_logs(each, destination, found)]
    return replace(examined, findings=(*examined.findings, *read_back, *cut))


def _try_lock(name: str, site: Site) -> tuple[health.Verdict, str]:
    """Return whether the Object Lock of a destination works."""
    try:
        prove_lock(site.destination(name), site.destination(name, deleting=True))
    except LifeboatError as error:
        return "unhealthy", str(error)
    return "healthy", "a locked test object could not be deleted"


def prove_lock(destination: Destination, deleter: Destination) -> None:
    """Store a locked test object at a destination, and try to delete it.

    :param deleter: the same destination, as clean-ups reach it.
    :raises LifeboatError: the lock did not hold, or nobody can say.
    """
    cast(S3Destination, destination).prove_lock(cast(S3Destination, deleter))


def judge(name: str, found: Catalog, settings: Settings, applications: Sequence[str], now: datetime) -> Examined:
    """Check some applications in what a destination was found to hold.

    :param name: of the destination in the settings.
    """
    findings: list[Finding] = []
    held = {}
    here = [application for application in settings.applications if name in settings.destinations_of(application)]
    for application in applications:
        findings += health.check(application, name, found, settings.limits_of(application), now)
        if short := cleanup.cut_short(name, found, settings, application, now):
            findings.append(Finding(application, name, "cap", "degraded", str(short)))
        if settings.logs_of(application):
            marks = [marked for (of, _), marked in found.newest_marked.items() if of == application]
            listed = max((marked.listed for marked in marks), default=0)
            databases = settings.application(application).count_with_logs(listed)
            longest = settings.limits_of(application).longest_log_age
            findings += log_health.check(application, name, found, databases, longest, now)
            longest = settings.limits_of(application).longest_chain_proof_age
            findings += log_health.check_proof(application, name, found, longest, now)
        findings += rotation.check(application, name, found, here, settings.rotation_of(name), now)
        held[application] = health.newest_times(found.of(application), now)
    findings += _room(name, found, settings, now)
    return Examined(name, tuple(findings), held)


def _room(name: str, found: Catalog, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield when a destination will be full, where that is soon."""
    if found.free is None:
        return
    stored = [
        (health.dated_until(now, found.of(application)), functools.partial(settings.policy_of, name, application))
        for application in settings.applications
        if name in settings.destinations_of(application)
    ]
    days = capacity.days_until_full(stored, found.free, now, settings.zone)
    if days is not None:
        verdict: health.Verdict = "unhealthy" if days <= FULL_SOON else "degraded"
        text = f"{size_text(found.free)} free, which at the rate of the last backups lasts {plural(days, 'day')}"
        yield Finding(health.EVERYTHING, name, "room", verdict, f"{text} at most: free some space, or keep less")


def compare(
    settings: Settings,
    applications: Iterable[str],
    held: Mapping[str, Mapping[str, health.Times]],
    now: datetime,
) -> list[Finding]:
    """Compare what the destinations hold, and ask whether restores could load it.

    :param held: by destination, what `Examined.held` said there.
    """
    findings = []
    for application in applications:
        times = {name: found[application] for name, found in held.items() if application in found}
        all_kept = _all_kept(settings, application)
        findings += health.compare(application, times, settings.limits_of(application), now, all_kept)
    return findings


def _all_kept(settings: Settings, application: str) -> timedelta:
    """Return for how long every destination of an application keeps all of its archives."""
    policies = (
        settings.policy_of(name, application, kind)
        for name in settings.destinations_of(application)
        for kind in archives.OWN_KINDS
    )
    return timedelta(days=min(policy.keep_all_for_days for policy in policies))


def loads(site: Site, applications: Iterable[str]) -> Iterator[Finding]:
    """Ask the servers whether restores could load; yield a finding for each database that none would load.

    It makes and drops an account there, so the page does not ask, which only reads.
    """
    for application, database in _reached(site, applications):
        if database.engine not in SERVERLESS and (refusal := site.refusal_to_load(database)):
            # A login that can only dump is not a fault of the backups, and is reported anyway.
            verdict: Verdict = "degraded" if database.restore_connection else "healthy"
            yield Finding(application, "", "restore connection", verdict, f"{refusal.text} {refusal.advice}")


def _reached(site: Site, applications: Iterable[str]) -> Iterator[tuple[str, Database]]:
    """Yield the databases that the settings name, and of each whole server one that stands for all."""
    for application in applications:
        for entry in site.settings.application(application).databases:
            yield application, entry.sample


def log_servers(site: Site, applications: Iterable[str]) -> Iterator[Finding]:
    """Ask the servers whose binary logs are shipped how they write and keep them; the page does not ask."""
    for application in applications:
        for _, database in _reached(site, [application]) if site.settings.logs_of(application) else ():
            if database.engine == "mysql":
                try:
                    yield from _of_log_server(application, database.name, cast("MySQL", site.engine(database)))
                except LifeboatError as error:
                    yield Finding(application, "", "binary logs", "unhealthy", str(error))


def _of_log_server(application: str, database: str, engine: MySQL) -> Iterable[Finding]:
    from lifeboat.databases.mysql.logs import can_decompress  # not before it is asked for: it takes long to import

    with engine.logs.session() as session:
        found = engine.logs.read(session)
    return log_health.of_server(application, database, found, can_decompress=can_decompress())


def report(findings: Iterable[Finding], *, only_bad: bool = False) -> Iterator[str]:
    """Yield findings as lines for people."""
    for finding in findings:
        if not only_bad or finding.verdict != "healthy":
            where = f"{finding.application} at {finding.destination}" if finding.destination else finding.application
            yield f"{finding.verdict:9}  {where}: {finding.text}"


def bad_lines(findings: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Yield what is not healthy as lines for people, each with its application; empty for what concerns all."""
    for finding in findings:
        name = "" if finding.application == health.EVERYTHING else finding.application
        yield from ((name, line) for line in report([finding], only_bad=True))


def newest_archive(
    site: Site, application: str, kind: Kind, now: datetime, max_age: timedelta, *, proven: bool
) -> Archive | None:
    """Return an application's newest archive of a kind at any destination that can be read, or None.

    Archives that failed when they were read back do not count, nor do those of some databases only.

    :param now: archives dated later are ignored: with clock skew, their date says nothing about their age.
    :param max_age: older archives are not asked how many databases they hold.
    :param proven: only archives with an authentic proof.
    :raises StorageError: no destination can be read.
    """
    ready, errors = site.ready_destinations(site.settings.destinations_of(application))
    newest: list[Archive] = []
    for destination in ready:
        try:
            found = survey.read(destination, site)
        except StorageError as error:  # another destination may have it
            log.warning("%s", error)
            errors[destination.name] = str(error)
            continue
        counting = (
            archive
            for archive in health.dated_until(now, found.of(application))
            if archive.kind == kind
            and (not proven or found.proof_of(archive) == "proven")
            and (archive.key not in found.readings or found.readings[archive.key].whole)
            and (now - archive.captured_at > max_age or survey.is_whole(destination, site, archive))
        )
        newest += itertools.islice(counting, 1)
    if len(errors) == len(site.settings.destinations_of(application)):
        raise StorageError(next(iter(errors.values())))
    return max(newest, key=lambda archive: archive.captured_at, default=None)


def _read_back(
    site: Site, application: str, destination: Destination, found: Catalog, now: datetime
) -> Iterator[Finding]:
    present = health.dated_until(now, found.of(application))
    for kind in archives.OWN_KINDS:
        newest = next((archive for archive in present if archive.kind == kind), None)
        if newest is not None:
            error = _differs(site, destination, newest)
            text = error or f"{newest.key} was read back, and is what was published"
            verdict: health.Verdict = "unhealthy" if error else "healthy"
            yield Finding(application, destination.name, "read back", verdict, text)


def _cut_logs(application: str, destination: Destination, found: Catalog) -> Iterator[Finding]:
    """Yield the archives of logs whose size is not what their markers say."""
    for archive in found.logs_of(application):
        try:
            marker = markers.read(destination, archive.key)
        except StorageError as error:
            yield Finding(application, destination.name, "log size", "unhealthy", str(error))
            continue
        if marker and marker.archive.size != archive.size:
            text = f"{archive.key} has {plural(archive.size, 'byte')}, and was published with {marker.archive.size}"
            yield Finding(application, destination.name, "log size", "unhealthy", text)


def _differs(site: Site, destination: Destination, archive: archives.Archive) -> str:
    """Verify an archive whole and return what is wrong with it: its marker alone proves nothing."""
    from lifeboat.actions import verify

    try:
        verify.read_back(site, destination, archive.application, archive.key)
    except LifeboatError as error:
        return str(error)
    return ""
