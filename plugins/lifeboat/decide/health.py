"""Checks that the stored archives are as they should be: pure functions of listings, a clock and limits."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lifeboat.catalog.archives import MARKER, Archive, Catalog, Kind
from lifeboat.text import MEGABYTE, age_text, plural, size_text

COMPARED = 5  # archives before the newest whose median size is the usual one
SKEW = timedelta(minutes=5)  # between the clocks of two workers; what is dated later is dated wrong
STILL_RUNNING = timedelta(hours=1)  # an upload younger than this may be under way
ARRIVING = timedelta(hours=2)  # an archive younger than this may still be on its way to another destination
EVERYTHING = "Everything"  # in the place of an application
COMPARED_TIMES = 50  # newest archives of a kind that destinations are compared by

Verdict = Literal["healthy", "degraded", "unhealthy"]
Times = Mapping[Kind, Sequence[datetime]]  # when the newest archives of each kind were captured, newest first


@dataclass(frozen=True)
class Limits:
    """When backups are unhealthy.

    :param longest_ages: how old the newest archive of each kind may be; kinds that are not here are not expected.
    :param max_storage_megabytes: of all archives of the application at a destination, in units of 1024 * 1024 bytes;
        None for no limit.
    :param size_factor: by how much the newest archive may be smaller or larger than usual; None for no limit.
    :param known_limits: how many things may be missing from the newest archive, or inexact in it.
    :param longest_proof_age: how old the newest proof may be; None when none is asked for.
    :param recovery_point: the stated RPO: how old the newest archive at any destination may be; None when none is.
    :param longest_chain_proof_age: how old the newest proof that logs lead from one archive to the next may be; None
        for no limit.
    :param longest_log_age: how old the newest archive of binary logs may be; None for no limit.
    :param recovery_time: the stated RTO: how long the newest proof may have taken to recover; None when none is.
    """

    longest_ages: Mapping[Kind, timedelta]
    max_storage_megabytes: int | None = 5000
    size_factor: float | None = 5.0
    known_limits: int = 0
    longest_proof_age: timedelta | None = None
    recovery_point: timedelta | None = None
    recovery_time: timedelta | None = None
    longest_log_age: timedelta | None = None
    longest_chain_proof_age: timedelta | None = None


@dataclass(frozen=True)
class Finding:
    """One fact of a check.

    :param destination: empty for what concerns all of them.
    :param verdict: what the fact makes of the application; ``healthy`` when it is as it should be.
    :param text: the fact as text.
    """

    application: str
    destination: str
    check: str
    verdict: Verdict
    text: str


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict of some findings."""
    order: tuple[Verdict, ...] = ("healthy", "degraded", "unhealthy")
    return max((finding.verdict for finding in findings), key=order.index, default="healthy")


def staleness(archives: Iterable[Archive], limits: Mapping[Kind, timedelta], now: datetime) -> str:
    """Say which kind's newest archive is missing or too old, or nothing.

    :param archives: of one application.
    """
    present = dated_until(now, archives)
    texts = (_age(present, kind, limit, now) for kind, limit in limits.items())
    return next((text for healthy, text in texts if not healthy), "")


def check(application: str, destination: str, found: Catalog, limits: Limits, now: datetime) -> list[Finding]:
    """Look at one application at one destination; return every finding, good or bad.

    :param found: what the destination holds, other applications included.
    """
    archives = found.of(application)
    present = dated_until(now, archives)
    vanished = [archive for archive in found.vanished if archive.application == application]
    unfinished = {
        stored.key: stored.modified
        for stored in (*found.unfinished, *found.uploads)
        if stored.key.startswith(f"{application}/")
    }
    since = {archive.key: unfinished.pop(archive.key + MARKER) for archive in vanished}
    # A listing that met an upload may show its marker alone.
    gone = [archive for archive in vanished if now - since[archive.key] > STILL_RUNNING]
    findings: list[tuple[str, Verdict, str]] = []
    for kind, limit in limits.longest_ages.items():
        healthy, text = _age(present, kind, limit, now, any(each.kind == kind for each in gone))
        findings.append((f"{kind} age", "healthy" if healthy else "unhealthy", text))
        of_kind = [archive for archive in present if archive.kind == kind]
        if of_kind and limits.size_factor is not None:
            findings.append(_size(of_kind, limits.size_factor))
    findings.append(_storage(archives, limits.max_storage_megabytes))
    findings.append(_unfinished(unfinished, now))
    if gone:
        findings.append(_vanished([archive.key for archive in gone]))
    if early := len(archives) - len(present):
        dated = plural(early, "archive is", "archives are")
        findings.append(("clock", "degraded", f"{dated} dated in the future (clock skew)"))
    findings += _proofs(application, present, found, limits, now)
    findings += _limits(application, found, limits.known_limits)
    return [Finding(application, destination, *finding) for finding in findings]


def compare(
    application: str, held: Mapping[str, Times], limits: Limits, now: datetime, all_kept: timedelta
) -> list[Finding]:
    """Compare the destinations of one application with each other.

    :param held: of each destination that could be read, what `newest_times` says; nothing is said where none could.
    :param all_kept: for how long every destination keeps every archive.
    """
    findings = []
    for kind in limits.longest_ages:
        times = {name: kinds.get(kind, ()) for name, kinds in held.items()}
        arrived = (time for each in times.values() for time in each if now - time >= ARRIVING)
        best = max(arrived, default=None)
        for name, here in times.items():
            if best is not None and (not here or here[0] < best):
                newest = f"from {_when(here[0])}" if here else "missing"
                text = f"its newest {kind} archive is {newest}; another destination has one from {_when(best)}"
                findings.append(Finding(application, name, "same newest", "degraded", text))
            elsewhere = {time for other in times.values() for time in other if ARRIVING <= now - time < all_kept}
            if gaps := _gaps(here, elsewhere):
                more = f", and {len(gaps) - 1} before it," if len(gaps) > 1 else ""
                text = f"the {kind} archive of {_when(gaps[0])}{more} is missing here, and another destination has it"
                findings.append(Finding(application, name, f"{kind} gaps", "degraded", text))
    if limits.recovery_point is not None and held:
        times_of_all = [each[0] for kinds in held.values() for kind, each in kinds.items() if kind != "legacy"]
        age = now - max(times_of_all) if times_of_all else None
        missed = age is None or age > limits.recovery_point
        last = "no good backup at all" if age is None else f"the last good backup is {age_text(age)} old"
        text = f"{last}; the stated RPO is {age_text(limits.recovery_point)}"
        findings.append(Finding(application, "", "recovery point", "unhealthy" if missed else "healthy", text))
    return findings


def unreachable(application: str, destination: str, error: str) -> Finding:
    """Return the finding of a destination that could not be read."""
    return Finding(application, destination, "reachable", "unhealthy", error)


def newest_times(archives: Iterable[Archive], now: datetime) -> dict[Kind, list[datetime]]:
    """Return when the newest archives of each kind were captured, newest first; at most `COMPARED_TIMES` of a kind.

    :param archives: of one application.
    """
    times: dict[Kind, list[datetime]] = {}
    for archive in sorted(dated_until(now, archives), key=lambda archive: archive.captured_at, reverse=True):
        of_kind = times.setdefault(archive.kind, [])
        if len(of_kind) < COMPARED_TIMES:
            of_kind.append(archive.captured_at)
    return times


def _gaps(here: Sequence[datetime], elsewhere: Iterable[datetime]) -> list[datetime]:
    """Return what is missing between the archives of a destination, newest first.

    Before its oldest, it was not there yet, or a cap has deleted them; after its newest, it lags.
    """
    return sorted((time for time in set(elsewhere) - set(here) if here and here[-1] < time < here[0]), reverse=True)


def dated_until(now: datetime, archives: Iterable[Archive]) -> list[Archive]:
    """Return the archives that are not dated in the future: a date that some clock got wrong says nothing of age."""
    return [archive for archive in archives if archive.captured_at <= now + SKEW]


def _age(
    present: Iterable[Archive], kind: Kind, limit: timedelta, now: datetime, had_some: bool = False
) -> tuple[bool, str]:
    """:param had_some: whether archives of that kind vanished."""
    newest = max((archive.captured_at for archive in present if archive.kind == kind), default=None)
    if newest is None:
        return False, f"no {kind} archive is left" if had_some else f"there is no {kind} archive yet"
    age = max(now - newest, timedelta())
    if age > limit:
        return False, f"the newest {kind} archive is {age_text(age)} old, more than {age_text(limit)}"
    return True, f"the newest {kind} archive is {age_text(age)} old"


def _size(archives: Sequence[Archive], factor: float) -> tuple[str, Verdict, str]:
    """:param archives: of one kind, in any order."""
    newest, *before = sorted(archives, key=lambda archive: archive.captured_at, reverse=True)
    name = f"{newest.kind} size"
    if not before:
        return name, "healthy", f"{size_text(newest.size)}, the first {newest.kind} archive"
    usual = statistics.median(archive.size for archive in before[:COMPARED])
    text = f"the newest {newest.kind} archive is {size_text(newest.size)} (usually {size_text(usual)})"
    odd = newest.size * factor < usual or newest.size > usual * factor
    return name, "degraded" if odd else "healthy", text


def _storage(archives: Iterable[Archive], limit: int | None) -> tuple[str, Verdict, str]:
    total = sum(archive.size for archive in archives)
    if limit is not None and total > limit * MEGABYTE:
        return "storage", "unhealthy", f"{size_text(total)} stored, more than {size_text(limit * MEGABYTE)}"
    return "storage", "healthy", f"{size_text(total)} stored"


def _unfinished(unfinished: Mapping[str, datetime], now: datetime) -> tuple[str, Verdict, str]:
    """:param unfinished: when what never finished was last written to, by key."""
    keys = sorted(key for key, modified in unfinished.items() if now - modified > STILL_RUNNING)
    if not keys:
        return "unfinished", "healthy", "no upload is unfinished"
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return "unfinished", "degraded", f"{keys[0]}{more} never finished; the next clean-up sweeps it after a day"


def _vanished(keys: Sequence[str]) -> tuple[str, Verdict, str]:
    """:param keys: newest first."""
    more = f" and {plural(len(keys) - 1, 'older archive')}" if len(keys) > 1 else ""
    text = f"{keys[0]}{more} vanished: the marker is left, and Lifeboat always deletes that first"
    return "vanished", "unhealthy", f"{text}. Find out who deleted it; to accept the loss, delete {keys[0]}{MARKER}"


def _limits(application: str, found: Catalog, known: int) -> Iterator[tuple[str, Verdict, str]]:
    """Yield whether a restore of the newest archives will bring everything back exactly, as far as they say.

    :param known: how many limits somebody has accepted.
    """
    for (name, kind), marked in found.newest_marked.items():
        if name != application:
            continue
        if lacking := found.lacking.get((name, kind)):
            databases = plural(lacking, "database")
            text = f"no {kind} archive that is young enough holds all databases: {databases} of the settings missing"
            yield f"{kind} databases", "degraded", f"{text}. Back up the whole application"
        if marked.by_hand:
            databases = plural(marked.by_hand, "database")
            what = f"the newest {kind} archive has {databases} that no restore loads and no drill proves"
            yield (
                f"{kind} by hand",
                "degraded",
                f"{what}; its manifest says why, docs/RECOVERY.md how to load it by hand",
            )
        if marked.error:
            yield f"{kind} limits", "unhealthy", marked.error
        elif marked.limits:
            what = f"the newest {kind} archive has {plural(marked.limits, 'limit')}"
            text = f"{what}: a restore will not bring everything back exactly; its manifest says what and why"
            accept = f". To accept them: health.known_limits: {marked.limits}"
            is_new = marked.limits > known
            yield f"{kind} limits", "degraded" if is_new else "healthy", text + (accept if is_new else "")


def _proofs(
    application: str, present: Sequence[Archive], found: Catalog, limits: Limits, now: datetime
) -> Iterator[tuple[str, Verdict, str]]:
    """Yield how old the newest proof of each kind is, how long its recovery took, and what is still unproven."""
    asked = limits.longest_proof_age
    for kind in limits.longest_ages:
        of_kind = [archive for archive in present if archive.kind == kind]
        proof = found.newest_proofs.get((application, kind))
        if proof is None:
            if of_kind:
                wanted = asked is not None or limits.recovery_time is not None
                unmeasured = "" if limits.recovery_time is None else ", so nothing measured the stated RTO: run a drill"
                text = f"no {kind} archive is proven to restore{unmeasured}"
                yield f"{kind} proof", "unhealthy" if wanted else "healthy", text
            continue
        if proof.error:
            yield f"{kind} proof", "unhealthy", proof.error
            continue
        age = now - proof.proven_at
        if age < -SKEW:
            yield f"{kind} proof", "degraded", f"the newest {kind} proof is dated in the future (clock skew)"
            continue
        age = max(age, timedelta())
        old = asked is not None and age > asked
        limit = f", more than {age_text(asked)}" if asked is not None and old else ""
        yield (
            f"{kind} proof",
            "unhealthy" if old else "healthy",
            f"the newest {kind} proof is {age_text(age)} old{limit}",
        )
        yield _recovery(kind, proof.recovery, limits.recovery_time)
        proofs = Counter(found.proof_of(archive) for archive in of_kind)
        more = f"; the proofs of {proofs['unchecked']} more were not read" if proofs["unchecked"] else ""
        text = f"{proofs['proven']} of {len(of_kind)} {kind} archives are proven{more}"
        yield f"{kind} coverage", "healthy", text


def _recovery(kind: Kind, took: timedelta, stated: timedelta | None) -> tuple[str, Verdict, str]:
    text = f"recovery of the proven {kind} archive took {age_text(took)}"
    if stated is None:
        return f"{kind} recovery time", "healthy", text
    verdict: Verdict = "unhealthy" if took > stated else "healthy"
    return f"{kind} recovery time", verdict, f"{text}; the stated RTO is {age_text(stated)}"


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
