"""Look at what every destination holds, and say whether it is what should be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import urlopen

from lifeboat import catalog, cleanup, connections, health, stored_archive, survey
from lifeboat.catalog import Archive, Catalog, Kind
from lifeboat.config import Destination as DestinationSettings
from lifeboat.config import Settings
from lifeboat.errors import LifeboatError, SettingsError, StorageError
from lifeboat.health import Finding
from lifeboat.logs import logger
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination

log = logger(__name__)

DEAD_MAN_SECONDS = 10


@dataclass(frozen=True)
class Examined:
    """What was found at one destination.

    :param newest: by application, when the newest archive of each kind was captured; nothing where the destination
        could not be read.
    """

    destination: str
    findings: tuple[Finding, ...]
    newest: Mapping[str, Mapping[Kind, datetime]]

    def newest_to_json(self) -> dict[str, Any]:
        """Return the times as values that JSON knows."""
        return {
            application: {kind: time.isoformat() for kind, time in kinds.items()}
            for application, kinds in self.newest.items()
        }


def examine(
    name: str, settings: Settings, applications: Sequence[str], now: datetime, *, deep: bool = False
) -> Examined:
    """Read a destination with one listing and check some applications there. Whatever goes wrong is a finding.

    :param name: of the destination in the settings.
    :param deep: read the newest archives back and compare their SHA-256.
    """
    try:
        destination = connections.destination(name, settings.destinations[name])
        found = survey.examine(destination, settings)
    except LifeboatError as error:
        return Examined(name, tuple(health.unreachable(each, name, str(error)) for each in applications), {})
    examined = judge(name, found, settings, applications, now)
    if settings.destinations[name].object_lock:
        lock = _try_lock(name, settings)
        of_lock = (Finding(each, name, "object lock", *lock) for each in applications)
        examined = replace(examined, findings=(*examined.findings, *of_lock))
    if not deep:
        return examined
    read_back = [finding for each in applications for finding in _read_back(settings, each, destination, found, now)]
    return replace(examined, findings=(*examined.findings, *read_back))


def _try_lock(name: str, settings: Settings) -> tuple[health.Verdict, str]:
    """Say whether the Object Lock of a destination holds."""
    try:
        prove_lock(name, settings.destinations[name])
    except LifeboatError as error:
        return "unhealthy", str(error)
    return "healthy", "a locked test object could not be deleted"


def prove_lock(name: str, kept: DestinationSettings) -> None:
    """Store a locked test object at a destination, and try to delete it.

    :param name: of the destination in the settings.
    :raises LifeboatError: the lock did not hold, or nobody can say.
    """
    destination, deleter = connections.destination(name, kept), connections.destination(name, kept.for_cleanup)
    cast(S3Destination, destination).prove_lock(cast(S3Destination, deleter))


def judge(name: str, found: Catalog, settings: Settings, applications: Sequence[str], now: datetime) -> Examined:
    """Check some applications in what a destination was found to hold.

    :param name: of the destination in the settings.
    """
    findings: list[Finding] = []
    newest = {}
    for application in applications:
        findings += health.check(application, name, found, settings.limits_of(application), now)
        if short := cleanup.cut_short(name, found, settings, application, now):
            findings.append(Finding(application, name, "cap", "degraded", str(short)))
        newest[application] = health.newest_times(found.of(application), now)
    return Examined(name, tuple(findings), newest)


def compare(
    settings: Settings,
    applications: Iterable[str],
    newest: Mapping[str, Mapping[str, Mapping[Kind, datetime]]],
    now: datetime,
) -> list[Finding]:
    """Compare what the destinations hold, and ask whether restores could load it.

    :param newest: by destination, what `Examined.newest` said there.
    """
    findings = []
    for application in applications:
        times = {name: found[application] for name, found in newest.items() if application in found}
        findings += health.compare(application, times, settings.limits_of(application), now)
        findings += _loads(settings, application)
    return findings


def _loads(settings: Settings, application: str) -> Iterator[Finding]:
    for database in settings.databases_of(application):
        if refusal := connections.refusal_to_load(database, settings.scratch):
            text = f"no restore of {database.name} would load by {database.restore_connection}: {refusal}"
            yield Finding(application, "", "restore connection", "degraded", text)


def times_from_json(facts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[Kind, datetime]]:
    """Read what `Examined.newest_to_json` returned."""
    return {
        application: {cast(Kind, kind): datetime.fromisoformat(time) for kind, time in kinds.items()}
        for application, kinds in facts.items()
    }


def report(findings: Iterable[Finding], *, only_bad: bool = False) -> Iterator[str]:
    """Yield findings as lines for people."""
    for finding in findings:
        if not only_bad or finding.verdict != "healthy":
            where = f"{finding.application} at {finding.destination}" if finding.destination else finding.application
            yield f"{finding.verdict:9}  {where}: {finding.text}"


def newest_archive(settings: Settings, application: str, kind: Kind, now: datetime, *, proven: bool) -> Archive | None:
    """Return an application's newest archive of a kind at any destination that can be read, or None.

    :param now: what is dated later is left out: some clock is wrong, so its date says nothing about its age.
    :param proven: only archives with an authentic proof.
    :raises StorageError: no destination can be read.
    """
    ready, errors = connections.ready_destinations(settings.destinations_of(application))
    newest: list[Archive] = []
    for destination in ready:
        try:
            found = survey.read(destination, settings)
        except StorageError as error:  # another destination may have it
            log.warning("%s", error)
            errors[destination.name] = str(error)
            continue
        newest += (
            archive
            for archive in health.dated_until(now, found.of(application))
            if archive.kind == kind and (not proven or found.proof_of(archive) == "proven")
        )
    if len(errors) == len(settings.destinations_of(application)):
        raise StorageError(next(iter(errors.values())))
    return max(newest, key=lambda archive: archive.captured_at, default=None)


def ping_dead_man_switch(settings: Settings) -> None:
    """Request the URL of the dead man's switch, which alarms somebody when these requests stop.

    A failure is only logged, without the URL, which is a secret: the switch notices the missing request.
    """
    if settings.alerts.dead_man is None:
        return
    try:
        url = dead_man_url(settings.alerts.dead_man)
        with urlopen(url, timeout=DEAD_MAN_SECONDS):  # noqa: S310  # the scheme was checked
            log.info("The dead man's switch was told that all is well.")
    except LifeboatError as error:
        log.error("The dead man's switch could not be told: %s", error)
    except (OSError, ValueError, HTTPException) as error:
        log.error("The dead man's switch could not be told: %s.", type(error).__name__)


def dead_man_url(connection_id: str) -> str:
    """Return the URL of the dead man's switch, which is a secret.

    :raises SettingsError: the connection is missing, or its password is not a URL.
    """
    url = str(connections.get(connection_id, "the dead man's switch").password or "")
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(
            f"The password of Airflow connection {connection_id!r} is not a URL.", "Set it to the heartbeat URL."
        )
    return url


def _read_back(
    settings: Settings, application: str, destination: Destination, found: Catalog, now: datetime
) -> Iterator[Finding]:
    present = health.dated_until(now, found.of(application))
    for kind in catalog.OWN_KINDS:
        newest = next((archive for archive in present if archive.kind == kind), None)
        if newest is not None:
            error = _differs(settings, destination, newest)
            text = error or f"{newest.key} was read back, and is what was published"
            verdict: health.Verdict = "unhealthy" if error else "healthy"
            yield Finding(application, destination.name, "read back", verdict, text)


def _differs(settings: Settings, destination: Destination, archive: catalog.Archive) -> str:
    """Verify an archive whole and say what is wrong with it: its marker alone is anybody's."""
    try:
        marker = catalog.read_marker(destination, archive.key)
        if marker is None:
            return f"{archive.key} is published no more"
        with stored_archive.opened(settings, destination, archive.application, archive.key) as reader:
            stored_archive.verify_as(reader, archive.key, marker)
    except LifeboatError as error:
        return str(error)
    except OSError as error:
        return f"{archive.key} at {destination} cannot be read: {error.strerror}"
    return ""
