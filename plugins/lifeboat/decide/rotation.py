"""Selection of the archives to read back next, and a check that each is read in the promised time.

Pure functions of a listing, a clock and limits. Archives take turns by when they were last known to be whole: when they
were read back, or else when they were captured, since nothing is published before the destination has confirmed it. One
is due again after half the promised time; the other half is for nights on which more are due than the budget allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil

from lifeboat.catalog.archives import OWN_KINDS, Archive, Catalog, LastRead
from lifeboat.decide.health import SKEW, Finding, Verdict
from lifeboat.text import MEGABYTE, age_text, plural, size_text

DAY = timedelta(days=1)
IN_PROGRESS = timedelta(days=2)  # a rotation that has read something since continues
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rotation:
    """Limits of reading back at a destination.

    :param budget: bytes a night; 0 reads nothing.
    :param within: time in which each archive is read.
    :param logs_within: the same of archives of binary logs that were never read, by application: they do not stay long.
    """

    budget: int
    within: timedelta
    logs_within: Mapping[str, timedelta] = field(default_factory=dict)

    def promised(self, archive: Archive, readings: Mapping[str, LastRead]) -> timedelta:
        """Return the time in which an archive is read."""
        if archive.kind == "log" and archive.key not in readings:
            return min(self.within, self.logs_within.get(archive.application, self.within))
        return self.within


def own(found: Catalog, applications: Iterable[str]) -> list[Archive]:
    """Return the archives that can be read back: of laravel-backup's, nothing says what they should hold."""
    names = set(applications)
    dumps = (archive for archive in found.archives if archive.kind in OWN_KINDS)
    return [archive for archive in (*dumps, *found.logs) if archive.application in names]


def due(
    archives: Iterable[Archive],
    readings: Mapping[str, LastRead],
    rotation: Rotation,
    now: datetime,
    spent: int = 0,
) -> list[Archive]:
    """Return what to read tonight, in that order: what has been due for longest, first.

    At least one is read each night, however large; all others fit into the budget.

    :param spent: bytes that were read tonight already.
    """

    def since(archive: Archive) -> datetime:
        return known_whole(archive, readings, now) + rotation.promised(archive, readings) / 2

    waiting = sorted((since(archive), archive.key, archive) for archive in archives)
    chosen: list[Archive] = []
    for is_due, _, archive in waiting if rotation.budget else ():
        if now < is_due or (spent and spent + archive.size > rotation.budget):
            break
        spent += archive.size
        chosen.append(archive)
    return chosen


def known_whole(archive: Archive, readings: Mapping[str, LastRead], now: datetime) -> datetime:
    """Return when an archive was last read back, or was stored; a time in the future says nothing."""
    latest = now + SKEW
    read = readings.get(archive.key)
    if read and read.at <= latest:
        return read.at
    return archive.captured_at if archive.captured_at <= latest else NEVER


def nights(archives: Iterable[Archive], budget: int) -> int:
    """Return how many nights it takes to read archives once."""
    count = left = 0
    for archive in archives:
        if archive.size > left:
            count, left = count + 1, budget
        left -= archive.size
    return count


def enough(archives: Sequence[Archive], within: timedelta) -> int:
    """Return a budget by which archives are read within a time, in whole megabytes."""
    days = max(1, within // DAY)
    megabytes = max(1, ceil(sum(archive.size for archive in archives) / days / MEGABYTE))
    while nights(archives, megabytes * MEGABYTE) > days:
        megabytes += ceil(megabytes / 10)
    return megabytes * MEGABYTE


def check(
    application: str, destination: str, found: Catalog, applications: Iterable[str], rotation: Rotation, now: datetime
) -> Iterator[Finding]:
    """Yield whether the archives of an application at a destination are read back as promised, and which failed.

    :param applications: all that share the destination's budget.
    """
    all_there = own(found, applications)
    archives = [archive for archive in all_there if archive.application == application]
    for archive in archives:
        last = found.readings.get(archive.key)
        if last is not None and not last.whole:
            text = (
                f"{archive.key} failed when it was read back on {last.at:%Y-%m-%d %H:%M} UTC;"
                f" 'lifeboat verify {archive.key}' says why, and clears this where it succeeds"
            )
            yield Finding(application, destination, "damaged", "unhealthy", text)
    if archives:
        yield Finding(application, destination, "read back in turn", *_turns(archives, all_there, found, rotation, now))


def _turns(
    archives: Sequence[Archive], all_there: Sequence[Archive], found: Catalog, rotation: Rotation, now: datetime
) -> tuple[Verdict, str]:
    if not rotation.budget:
        return "healthy", "archives are not read back in turn: read_back.megabytes_per_night is 0"
    within, budget = age_text(rotation.within), size_text(rotation.budget)
    taken = nights(all_there, rotation.budget)
    if taken * DAY > rotation.within:
        return "degraded", (
            f"reading back all {size_text(sum(each.size for each in all_there))} here takes {taken} nights at {budget}"
            f" each, longer than the promised {within}; {size_text(enough(all_there, rotation.within))} would do:"
            " raise read_back.megabytes_per_night or read_back.within_days"
        )
    since = {archive.key: known_whole(archive, found.readings, now) for archive in archives}
    promised = {archive.key: rotation.promised(archive, found.readings) for archive in archives}
    late = [archive for archive in archives if now - since[archive.key] > promised[archive.key]]
    if not late:
        longest = max(now - time for time in since.values())
        return "healthy", f"no archive is unread for longer than {age_text(longest)}, of {within} promised"
    within = age_text(min(promised[archive.key] for archive in late))
    unread = f"{plural(len(late), 'archive is', 'archives are')} unread for longer than the promised {within}"
    if not found.readings:
        return "degraded", f"{unread}: backup_verify has read none so far, so start it, and unpause it"
    if any(now - last.at < IN_PROGRESS for last in found.readings.values()):
        return "degraded", f"{unread}; their turn comes within {plural(taken, 'night')}"
    oldest = min(late, key=lambda archive: since[archive.key]).key
    return "degraded", f"{unread}, first {oldest}: look at the last runs of backup_verify"
