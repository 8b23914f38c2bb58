"""Retention: which archives of a destination are kept, and which one makes each of the others superfluous.

Pure: a listing, a clock and a policy give a plan. Nothing else decides what is deleted.

Per application and kind, the newest archive is set aside: it is always kept, and it represents no group. Boundaries,
counted back from now in local time of a time zone, end the windows: all, then daily, weekly, monthly, yearly. In
each window the newest archive of every day, ISO week, month or year is kept. What is exactly on a boundary belongs to
the older window; what is older than all windows is deleted. Then the oldest of an application are deleted until its
total is not above its cap. What the destination still locks stays, whatever says otherwise.

An archive that was damaged when it was read back stands for no group that has a whole one: the newest whole one is
kept, too, and so is the newest whole one of all. The damaged one stays as if it were whole, for parts of it may be.
What is kept for that reason alone does not count for the cap, so that damage never costs another archive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from lifeboat.catalog.archives import OWN_KINDS, Archive, Kind
from lifeboat.text import MEGABYTE, plural, size_text

Rule = Literal[
    "newest",
    "newest whole",
    "newest proven",
    "future",
    "unproven",
    "locked",
    "held",
    "anchor",
    "logs",
    "all",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "too old",
    "cap",
]
Guards = Mapping[Rule, Mapping[tuple[str, Kind], datetime]]  # since when no archive of a kind may be deleted, and why
UNTOUCHABLE: tuple[Rule, ...] = ("newest", "newest proven", "future")  # for the cap, damage or not


@dataclass(frozen=True)
class Policy:
    """Retention periods. They are chained: each begins where the one before it ends.

    :param delete_oldest_above_megabytes: cap of an application's total at the destination, in units of 1024 * 1024
        bytes; None for no cap.
    :param keep_until_proven: delete an archive only when a newer one of its kind is proven, whatever else says so.
    :param locked_for_days: of 24 hours since its capture, in which the destination refuses to delete an archive.
    """

    keep_all_for_days: int = 7
    keep_daily_for_days: int = 16
    keep_weekly_for_weeks: int = 8
    keep_monthly_for_months: int = 4
    keep_yearly_for_years: int = 2
    delete_oldest_above_megabytes: int | None = 5000
    keep_until_proven: bool = False
    locked_for_days: int = 0


class Decision(NamedTuple):
    """The decision on one archive, and its reason.

    :param rule: the rule that decided.
    :param reason: the same as text.
    :param superseded_by: key of the archive that makes a deleted one superfluous.
    :param stands_in: whether it is kept only because another one is damaged, so that no cap counts it.
    """

    archive: Archive
    action: Literal["keep", "delete"]
    rule: Rule
    reason: str
    superseded_by: str = ""
    stands_in: bool = False


@dataclass(frozen=True)
class Plan:
    """The decisions at one destination.

    :param decisions: one for each archive, newest first.
    :param held: why nothing of an application is deleted, by application.
    """

    decisions: tuple[Decision, ...]
    held: Mapping[str, str]

    @property
    def deletions(self) -> list[Decision]:
        """The decisions to delete, oldest first."""
        return [decision for decision in reversed(self.decisions) if decision.action == "delete"]


@dataclass(frozen=True)
class _Window:
    """
    :param end: what is older than this, or exactly as old, is another window's.
    :param group: what an archive has in common with those of which only the newest is kept.
    :param kept_as: why that one is kept.
    :param unit: what it is the newest of; empty where all are kept.
    """

    rule: Rule
    end: datetime
    group: Callable[[Archive], object]
    kept_as: str
    unit: str


def plan(
    archives: Iterable[Archive],
    now: datetime,
    zone: ZoneInfo,
    policies: Callable[[str, Kind], Policy],
    held: Mapping[str, str] | None = None,
    damaged: Collection[str] = (),
    anchors: Collection[str] = (),
) -> Plan:
    """Decide about every archive of one destination.

    :param now: aware.
    :param zone: of the boundaries and of the calendar.
    :param policies: the policy of an application's kind.
    :param held: applications of which nothing may be deleted, with the reason.
    :param damaged: keys of archives that were not whole when they were read back.
    :param anchors: keys of archives that binary logs continue, which only a cap deletes.
    """
    held = held or {}
    decisions = _by_kind(archives, now, zone, policies, damaged)
    guards: Guards = {"unproven": _guards(decisions, policies), "locked": _locks(decisions, now, policies)}
    if any(guards.values()):
        decisions = [_guarded(decision, guards, policies) for decision in decisions]
    if anchors:
        decisions = [_anchored(decision, anchors) for decision in decisions]
    kept = [decision for decision in decisions if decision.action == "keep"]
    newest = _newest_whole(kept, damaged)
    dropped: dict[str, Decision] = {}
    for application, pool in _by_application(kept).items():
        if application not in held:
            cap = policies(application, pool[0].archive.kind).delete_oldest_above_megabytes
            dropped |= _above_cap(pool, newest, cap, guards)
    if held or dropped:
        decisions = [_final(decision, dropped, newest, held) for decision in decisions]
    return Plan(tuple(decisions), held)


def _by_kind(
    archives: Iterable[Archive],
    now: datetime,
    zone: ZoneInfo,
    policies: Callable[[str, Kind], Policy],
    damaged: Collection[str],
) -> list[Decision]:
    """Decide by age about all archives; return the decisions newest first."""
    now = now.astimezone(UTC)  # times of one zone are compared many times faster
    ordered = sorted(archives, key=attrgetter("captured_at", "key"), reverse=True)
    kinds = [(archive.application, archive.kind) for archive in ordered]
    members: dict[tuple[str, Kind], list[Archive]] = {kind: [] for kind in kinds}
    for kind, archive in zip(kinds, ordered, strict=True):
        members[kind].append(archive)
    decided = {kind: _by_age(members[kind], now, zone, policies(*kind), damaged) for kind in members}
    return [next(decided[kind]) for kind in kinds]  # those of each kind come in the order of its archives


def _by_age(
    members: Sequence[Archive], now: datetime, zone: ZoneInfo, policy: Policy, damaged: Collection[str]
) -> Iterator[Decision]:
    """Decide by age about the archives of one application and kind, newest first."""
    future, present = _part(members, now)
    for archive in future:
        yield Decision(
            archive, "keep", "future", "dated in the future (clock skew): kept, but never counts as the newest"
        )
    if not present:
        return
    newest, *others = present
    yield Decision(newest, "keep", "newest", f"newest {newest.kind} archive")
    proven = None if newest.proven else next((archive for archive in others if archive.proven), None)
    whole = _first_whole(present, damaged)
    for decision in _by_window(others, whole, _windows(now, zone, policy), damaged):
        archive = decision.archive
        if archive is whole:
            reason = f"newest whole {whole.kind} archive: {newest.key} is damaged"
            if archive is proven:
                yield Decision(whole, "keep", "newest proven", reason)
            else:
                stands_in = decision.action == "delete" or decision.stands_in
                yield Decision(whole, "keep", "newest whole", reason, stands_in=stands_in)
        elif archive is proven:
            yield Decision(proven, "keep", "newest proven", f"newest {proven.kind} archive with a proof")
        else:
            yield decision


def _first_whole(members: Sequence[Archive], damaged: Collection[str]) -> Archive:
    """Return the newest whole archive, or the newest where all are damaged."""
    return next((archive for archive in members if archive.key not in damaged), members[0])


def _by_window(
    members: Sequence[Archive], newest: Archive, windows: Iterable[_Window], damaged: Collection[str]
) -> Iterator[Decision]:
    for window in windows:
        inside, members = _part(members, window.end)
        for _, group in groupby(inside, window.group):
            yield from _of_group([*group], window, damaged)
    for archive in members:
        yield Decision(archive, "delete", "too old", "older than every window", newest.key)


def _of_group(group: Sequence[Archive], window: _Window, damaged: Collection[str]) -> Iterator[Decision]:
    """Keep the newest of a group, and where that is damaged, the newest whole one as well."""
    first, *others = group
    whole = _first_whole(group, damaged)
    beside = f"; damaged, so {whole.key} is kept, too" if whole is not first else ""
    yield Decision(first, "keep", window.rule, window.kept_as + beside)
    for archive in others:
        if archive is whole:
            reason = f"newest whole one of its {window.unit}: {first.key} is damaged"
            yield Decision(archive, "keep", window.rule, reason, stands_in=True)
        elif archive.captured_at > whole.captured_at:
            reason = f"damaged, and a whole one of the same {window.unit} is kept"
            yield Decision(archive, "delete", window.rule, reason, whole.key)
        else:
            reason = f"a newer one of the same {window.unit} is kept"
            yield Decision(archive, "delete", window.rule, reason, whole.key)


def _part(members: Sequence[Archive], boundary: datetime) -> tuple[Sequence[Archive], Sequence[Archive]]:
    """Part archives, newest first, into those that are younger than a boundary and the others."""
    position = bisect_left(members, True, key=lambda archive: archive.captured_at <= boundary)
    return members[:position], members[position:]


def _windows(now: datetime, zone: ZoneInfo, policy: Policy) -> list[_Window]:
    """Return the windows, the youngest first. Arithmetic is in local time; months and years clamp."""

    def by_local(part: Callable[[datetime], object]) -> Callable[[Archive], object]:
        return lambda archive: part(archive.captured_at.astimezone(zone))

    def week(local: datetime) -> tuple[int, int]:
        return local.isocalendar()[:2]

    periods: tuple[tuple[Rule, relativedelta, str, Callable[[Archive], object]], ...] = (
        ("all", relativedelta(days=policy.keep_all_for_days), "", attrgetter("key")),  # which no two have in common
        ("daily", relativedelta(days=policy.keep_daily_for_days), "day", by_local(datetime.date)),
        ("weekly", relativedelta(weeks=policy.keep_weekly_for_weeks), "week", by_local(week)),
        (
            "monthly",
            relativedelta(months=policy.keep_monthly_for_months),
            "month",
            by_local(attrgetter("year", "month")),
        ),
        ("yearly", relativedelta(years=policy.keep_yearly_for_years), "year", by_local(attrgetter("year"))),
    )
    boundary = now.astimezone(zone).replace(tzinfo=None)
    windows = []
    for rule, period, unit, group in periods:
        boundary -= period
        end = boundary.replace(tzinfo=zone).astimezone(UTC)
        kept_as = f"newest of its {unit}" if unit else f"younger than {plural(policy.keep_all_for_days, 'day')}"
        windows.append(_Window(rule, end, group, kept_as, unit))
    return windows


def _by_application(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    grouped: dict[str, list[Decision]] = {}
    for decision in decisions:
        grouped.setdefault(decision.archive.application, []).append(decision)
    return grouped


def _newest_whole(kept: Iterable[Decision], damaged: Collection[str]) -> dict[tuple[str, Kind], str]:
    """Return the key of each kind's newest whole archive, or of its newest where all are damaged.

    :param kept: newest first.
    """
    found: dict[tuple[str, Kind], str] = {}
    for archive in (decision.archive for decision in kept if decision.rule != "future"):
        kind = (archive.application, archive.kind)
        if kind not in found or (found[kind] in damaged and archive.key not in damaged):
            found[kind] = archive.key
    return found


def _guards(decisions: Sequence[Decision], policies: Callable[[str, Kind], Policy]) -> dict[tuple[str, Kind], datetime]:
    """Return since when archives may not be deleted: for each kind kept until proven, that of its newest proven one."""
    newest = (decision.archive for decision in decisions if decision.rule == "newest")
    guards = {
        (archive.application, archive.kind): datetime.min.replace(tzinfo=UTC)
        for archive in newest
        if archive.kind in OWN_KINDS and policies(archive.application, archive.kind).keep_until_proven
    }
    proven = (decision.archive for decision in decisions if decision.archive.proven and decision.rule != "future")
    for archive in proven if guards else ():
        kind = (archive.application, archive.kind)
        if kind in guards:
            guards[kind] = max(guards[kind], archive.captured_at)
    return guards


def _locks(
    decisions: Sequence[Decision], now: datetime, policies: Callable[[str, Kind], Policy]
) -> dict[tuple[str, Kind], datetime]:
    """Return since when archives are locked, for each kind that is."""
    newest = (decision.archive for decision in decisions if decision.rule == "newest")
    days = {kind: policies(*kind).locked_for_days for kind in ((found.application, found.kind) for found in newest)}
    # When the last day is over, so is the lock.
    return {kind: now - timedelta(days=count) + timedelta.resolution for kind, count in days.items() if count}


def _guard_of(archive: Archive, guards: Guards) -> Rule | None:
    kind = (archive.application, archive.kind)
    for rule, since in guards.items():
        if kind in since and archive.captured_at >= since[kind]:
            return rule
    return None


def _guarded(decision: Decision, guards: Guards, policies: Callable[[str, Kind], Policy]) -> Decision:
    archive = decision.archive
    rule = _guard_of(archive, guards) if decision.action == "delete" else None
    if rule is None:
        return decision
    if rule == "unproven":
        return Decision(archive, "keep", rule, f"kept until a newer {archive.kind} archive is proven")
    until = archive.captured_at + timedelta(days=policies(archive.application, archive.kind).locked_for_days)
    return Decision(archive, "keep", rule, f"locked until {until:%Y-%m-%d %H:%M:%S} UTC")


def _anchored(decision: Decision, anchors: Collection[str]) -> Decision:
    if decision.action == "keep" or decision.archive.key not in anchors:
        return decision
    return Decision(decision.archive, "keep", "anchor", "the kept binary logs continue it")


def _above_cap(
    pool: Sequence[Decision],
    newest: Mapping[tuple[str, Kind], str],
    cap: int | None,
    guards: Guards,
) -> dict[str, Decision]:
    """Return the decisions that change because the total is above the cap.

    :param pool: all that is kept below the cap so far, newest first.
    """
    if cap is None:
        return {}
    total = sum(decision.archive.size for decision in pool if not decision.stands_in)
    reason = f"the total is above {size_text(cap * MEGABYTE)}, and this is the oldest that is left"
    changed = {}
    for decision in reversed(pool):
        if total <= cap * MEGABYTE:
            break
        if decision.rule not in UNTOUCHABLE and _guard_of(decision.archive, guards) is None:
            archive = decision.archive
            total -= 0 if decision.stands_in else archive.size
            if decision.rule != "newest whole":  # which damage alone keeps from here on
                by = newest[archive.application, archive.kind]
                changed[archive.key] = Decision(archive, "delete", "cap", reason, by)
    return changed


def _final(
    decision: Decision,
    dropped: Mapping[str, Decision],
    newest: Mapping[tuple[str, Kind], str],
    held: Mapping[str, str],
) -> Decision:
    """Withdraw a deletion that is held; name an archive that stays where the one that superseded is deleted itself."""
    archive = decision.archive
    if decision.action == "keep":
        return dropped.get(archive.key, decision)
    if archive.application in held:
        return Decision(archive, "keep", "held", f"held: {held[archive.application]}")
    if decision.superseded_by in dropped:
        by = newest[archive.application, archive.kind]
        return decision._replace(reason="older than what is kept below the cap", superseded_by=by)
    return decision
