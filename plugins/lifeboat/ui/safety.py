"""Are we safe? Every application at every destination, in findings, measures against limits, and proofs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lifeboat.actions import check
from lifeboat.actions.neglected import NEGLECTED
from lifeboat.actions.servers import VANISHED
from lifeboat.catalog.archives import Catalog, Kind, Proven
from lifeboat.decide import health
from lifeboat.decide.health import Finding, Verdict
from lifeboat.settings.config import Settings
from lifeboat.text import MEGABYTE, plural, size_text
from lifeboat.ui.readings import Reading
from lifeboat.ui.words import ago, duration

Tone = Literal["healthy", "degraded", "unhealthy", "unknown"]
WORST_FIRST: tuple[Verdict, ...] = ("unhealthy", "degraded", "healthy")
PLACES = {"disk": "Directory", "s3": "S3 bucket"}


@dataclass(frozen=True)
class Gauge:
    """A measure against its limit.

    :param percent: of the limit, at most 100; None where there is no limit.
    """

    name: str
    value: str
    limit: str
    percent: int | None
    over: bool


@dataclass(frozen=True)
class Safety:
    """Safety of an application at a destination.

    :param proof: the last proof as text.
    :param troubles: findings that are not as they should be.
    :param passed: the others.
    """

    application: str
    verdict: Verdict
    gauges: tuple[Gauge, ...]
    proof: str
    troubles: tuple[Finding, ...]
    passed: tuple[Finding, ...]


@dataclass(frozen=True)
class DestinationCard:
    """A destination, and every application that keeps archives there.

    :param place: what kind of storage it is.
    :param trouble: why it could not be read.
    :param as_of: when it last answered, where it does not now; the applications are those of that time.
    """

    name: str
    place: str
    tone: Tone
    applications: tuple[Safety, ...] = ()
    trouble: str = ""
    as_of: datetime | None = None


def destination_card(settings: Settings, reading: Reading, now: datetime) -> DestinationCard:
    """Say how safe every application is at a destination."""
    name = reading.destination
    place = PLACES[settings.destinations[name].type]
    known, as_of = reading.known, reading.as_of
    tone: Tone = "unknown" if reading.silent else "unhealthy"
    if known.found is None:
        return DestinationCard(name, place, tone, trouble=reading.trouble)
    applications, looked_at = applications_at(settings, name), as_of or now
    findings = check.judge(name, known.found, settings, applications, looked_at).findings
    safeties = [
        Safety(
            application,
            health.verdict(own := [finding for finding in findings if finding.application == application]),
            tuple(_gauges(settings, known.found, application, looked_at)),
            proof_text(newest_proof([known], application), looked_at),
            tuple(finding for finding in own if finding.verdict != "healthy"),
            tuple(finding for finding in own if finding.verdict == "healthy"),
        )
        for application in applications
    ]
    safeties.sort(key=lambda safety: WORST_FIRST.index(safety.verdict))
    verdict = tone if as_of else health.verdict(findings)
    return DestinationCard(name, place, verdict, tuple(safeties), reading.trouble, as_of)


def applications_at(settings: Settings, destination: str) -> list[str]:
    """Return the applications that keep archives at a destination."""
    return [name for name in settings.applications if destination in settings.destinations_of(name)]


def findings_of(settings: Settings, readings: Mapping[str, Reading], now: datetime) -> list[Finding]:
    """Check every application at every destination that has answered, and compare the destinations."""
    findings: list[Finding] = []
    held = {}
    for name, reading in readings.items():
        if reading.found is not None:
            examined = check.judge(name, reading.found, settings, applications_at(settings, name), now)
            findings += examined.findings
            held[name] = examined.held
        elif reading.trouble:
            findings.append(health.unreachable(health.EVERYTHING, name, reading.trouble))
    return findings + check.compare(settings, settings.applications, held, now)


def neglected(left: object, at: datetime, now: datetime) -> list[Finding]:
    """Return the databases that nobody backs up.

    :param left: what the check left in its XCom; users who can change XComs may have put anything there.
    :param at: when it did.
    """
    texts = [text for text in left if isinstance(text, str)] if isinstance(left, list) else []
    return [Finding(health.EVERYTHING, "", NEGLECTED, "degraded", f"{text}. {_found(at, now)}") for text in texts]


def vanished(left: object, applications: Collection[str], at: datetime, now: datetime) -> list[Finding]:
    """Return the databases that are gone from whole servers.

    :param left: as of `neglected`.
    :param applications: those that are shown.
    """
    texts = left if isinstance(left, dict) else {}
    return [
        Finding(name, "", VANISHED, "unhealthy", f"{text}. {_found(at, now)}")
        for name in applications
        if isinstance(text := texts.get(name), str)
    ]


def _found(at: datetime, now: datetime) -> str:
    return f"backup_check found this {ago(now - at)} ago; run it again after a change."


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are not healthy."""
    return tuple(finding for verdict in WORST_FIRST[:-1] for finding in findings if finding.verdict == verdict)


def newest_proofs(readings: Iterable[Reading]) -> dict[tuple[str, Kind], Proven]:
    """Return the newest proof of each application and kind, wherever it stands."""
    newest: dict[tuple[str, Kind], Proven] = {}
    for reading in readings:
        for subject, proof in reading.proofs.items():
            if subject not in newest or proof.proven_at > newest[subject].proven_at:
                newest[subject] = proof
    return newest


def newest_proof(readings: Iterable[Reading], application: str) -> Proven | None:
    """Return the newest proof of an application."""
    proofs = (proof for (name, _), proof in newest_proofs(readings).items() if name == application)
    return max(proofs, key=lambda proof: proof.proven_at, default=None)


def proof_text(proof: Proven | None, now: datetime) -> str:
    """Say when a restore was last proven, and how long it took."""
    if proof is None:
        return "Never proven to restore"
    missed = f"; not proven: {plural(proof.missed, 'owner, right or setting', 'owners, rights or settings')}"
    took = duration(proof.recovery.total_seconds())
    passed = f"; {plural(proof.checks, 'check')} of the application passed" if proof.checks else ""
    passed += f", {proof.open_checks} not isolated" if proof.open_checks else ""
    return f"Proven {ago(now - proof.proven_at)} ago, recovered in {took}{passed}{missed if proof.missed else ''}"


def _gauges(settings: Settings, found: Catalog, application: str, now: datetime) -> Iterator[Gauge]:
    limits = settings.limits_of(application)
    own = found.of(application)
    newest = health.newest_times(own, now)
    for kind, limit in limits.longest_ages.items():
        age = max(now - newest[kind][0], timedelta()) if kind in newest else None
        yield Gauge(
            f"Newest {kind}",
            "none yet" if age is None else f"{ago(age)} old",
            f"of {ago(limit)}",
            100 if age is None else _percent(age / limit),
            age is None or age > limit,
        )
    stored = sum(archive.size for archive in own)
    cap = (limits.max_storage_megabytes or 0) * MEGABYTE
    share = stored / cap if cap else 0
    limit_text = f"of {size_text(cap)}" if cap else "no limit"
    yield Gauge("Stored", size_text(stored), limit_text, _percent(share) if cap else None, share > 1)


def _percent(share: float) -> int:
    return min(100, round(share * 100))
