"""Storage that a retention policy needs in the long run, how far a cap cuts it short, and when a disk will be full.

Pure: the archives of an application at a destination tell how often backups come and how large they are; retention
itself then plans a history of such archives that is as long as the policy promises.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import OWN_KINDS, Archive, Kind
from lifeboat.decide import retention
from lifeboat.decide.retention import Policy
from lifeboat.text import MEGABYTE, plural, size_text

COMPARED = 6  # newest archives, whose median size is the usual one
RECENT = 7  # usual distances, within which archives tell how often they come
DAY = timedelta(days=1)
HORIZONS = (1, 2, 3, 5, 7, 10, 14, 21, 30)  # days that a forecast looks at
USUAL_DISTANCE: Mapping[Kind, timedelta] = {"database": DAY, "application": timedelta(weeks=1)}


@dataclass(frozen=True)
class Shortfall:
    """Archives that a cap deletes although the periods promise to keep them.

    :param cap: in bytes; so is the next.
    :param needed: what the policy keeps in the long run.
    :param reach: age of the oldest archive that the cap leaves.
    :param promised: age of the oldest archive that the policy keeps.
    :param all_for: for how long every archive is promised.
    """

    cap: int
    needed: int
    reach: timedelta
    promised: timedelta
    all_for: timedelta

    def __str__(self) -> str:
        promised = self.all_for if self.reach < self.all_for else self.promised
        days = f"{_days(self.reach)} of the promised {plural(_days(promised), 'day')}"
        return f"the cap of {size_text(self.cap)} keeps {days}; the policy needs about {size_text(self.needed)}"


def shortfall(
    archives: Sequence[Archive], now: datetime, zone: ZoneInfo, policy_of: Callable[[Kind], Policy]
) -> Shortfall | None:
    """Say what a cap deletes within the promised periods, once there are as many backups as they keep; or nothing.

    :param archives: of one application at one destination, none dated in the future.
    :param zone: of retention's boundaries.
    """
    of_kinds = _of_kinds(archives)
    cap = min((limit for kind in of_kinds if (limit := policy_of(kind).delete_oldest_above_megabytes)), default=None)
    if cap is None or _at_most(of_kinds, policy_of) <= cap * MEGABYTE:
        return None
    history = [archive for found in of_kinds.values() for archive in _history(found, now, policy_of(found[0].kind))]

    def kept(cap_of_all: int | None) -> list[Archive]:
        def capped(kind: Kind) -> Policy:
            return replace(policy_of(kind), delete_oldest_above_megabytes=cap_of_all, keep_until_proven=False)

        return _kept(history, now, zone, capped)

    all_kept = kept(None)
    needed = _bytes(all_kept)
    if needed <= cap * MEGABYTE:
        return None
    # The newest of a rare kind stays whatever the cap says; what reaches back is the kind that comes most often.
    often = min(of_kinds, key=lambda kind: _distance(of_kinds[kind]))
    reach, promised = (
        now - min(each.captured_at for each in group if each.kind == often) for group in (kept(cap), all_kept)
    )
    return Shortfall(cap * MEGABYTE, needed, reach, promised, timedelta(days=policy_of(often).keep_all_for_days))


def days_until_full(
    stored: Sequence[tuple[Sequence[Archive], Callable[[Kind], Policy]]], free: int, now: datetime, zone: ZoneInfo
) -> int | None:
    """Say within how many days archives will not fit any more, if backups come and grow old as they did; or None.

    :param stored: the archives of each application at a place, none dated in the future, and their policy.
    :param free: bytes that the place has room for.
    """
    habits = [(archives, _of_kinds(archives), policy_of) for archives, policy_of in stored]
    daily = sum(_size(found) * (DAY / _distance(found)) for _, kinds, _ in habits for found in kinds.values())
    for days in HORIZONS:
        if daily * days <= free:
            continue  # whatever clean-ups delete
        then, grown = now + days * DAY, 0
        for archives, kinds, policy_of in habits:
            coming = [archive for found in kinds.values() for archive in _repeated(found, then, now)]
            grown += _bytes(_kept([*archives, *coming], then, zone, policy_of)) - _bytes(archives)
        if grown > free:
            return days
    return None


def _kept(
    archives: Sequence[Archive], now: datetime, zone: ZoneInfo, policy_of: Callable[[Kind], Policy]
) -> list[Archive]:
    """Return what retention keeps of an application's archives."""
    plan = retention.plan(archives, now, zone, lambda _, kind: policy_of(kind))
    return [decision.archive for decision in plan.decisions if decision.action == "keep"]


def _bytes(archives: Iterable[Archive]) -> int:
    return sum(archive.size for archive in archives)


def _of_kinds(archives: Iterable[Archive]) -> dict[Kind, list[Archive]]:
    of_kinds = {kind: [archive for archive in archives if archive.kind == kind] for kind in OWN_KINDS}
    return {kind: found for kind, found in of_kinds.items() if found}


def _repeated(found: Sequence[Archive], newest: datetime, since: datetime) -> Iterator[Archive]:
    """Yield archives as they will come, newest first."""
    distance, size, time = _distance(found), int(_size(found)), newest
    while time > since:
        key = catalog.archive_key(found[0].application, found[0].kind, time)
        yield found[0]._replace(key=key, captured_at=time, size=size, proven=False)
        time -= distance


def _at_most(of_kinds: Mapping[Kind, Sequence[Archive]], policy_of: Callable[[Kind], Policy]) -> float:
    """Return more bytes than the policy can ever keep, without planning anything."""
    total = 0.0
    for kind, found in of_kinds.items():
        policy = policy_of(kind)
        groups = policy.keep_daily_for_days + policy.keep_weekly_for_weeks + policy.keep_monthly_for_months
        edges = 2 * 4 + 2  # of each window a group that it shares at either end; the newest, and the newest proven
        every = timedelta(days=policy.keep_all_for_days) / _distance(found)
        total += (every + groups + policy.keep_yearly_for_years + edges) * _size(found)
    return total


def _history(found: Sequence[Archive], now: datetime, policy: Policy) -> Iterator[Archive]:
    """Yield archives as there will be when the policy has been followed for as long as it promises."""
    distance, size = _distance(found), int(_size(found))
    time, all_until = now, now - timedelta(days=policy.keep_all_for_days)
    last = all_until - relativedelta(
        days=policy.keep_daily_for_days,
        weeks=policy.keep_weekly_for_weeks,
        months=policy.keep_monthly_for_months,
        years=policy.keep_yearly_for_years,
    )
    newest = found[0]
    while time > last:
        key = catalog.archive_key(newest.application, newest.kind, time)
        yield newest._replace(key=key, captured_at=time, size=size, proven=False)
        time -= distance if time > all_until else max(distance, DAY)  # of a day, only the newest is kept there


def _distance(found: Sequence[Archive]) -> timedelta:
    """Return the usual interval of backups, ignoring manual ones taken soon after another."""
    usual = USUAL_DISTANCE[found[0].kind]
    newest = max(archive.captured_at for archive in found)
    recent = [archive.captured_at for archive in found if newest - archive.captured_at < RECENT * usual]
    return max(newest - min(recent), usual) / max(len(recent) - 1, 1)


def _size(found: Sequence[Archive]) -> float:
    newest = sorted(found, key=lambda archive: archive.captured_at, reverse=True)[:COMPARED]
    return statistics.median(archive.size for archive in newest)


def _days(period: timedelta) -> int:
    return max(1, round(period / DAY))
