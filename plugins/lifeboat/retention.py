"""Retention: which archives of a destination are kept, and which one makes each of the others superfluous.

Pure: a listing, a clock and a policy give a plan. Nothing else decides what is deleted.

Per application and kind, the newest archive is set aside: it is always kept, and it represents no group. Walls,
counted back from now on the wall clock of a time zone, end the windows: all, then daily, weekly, monthly, yearly. In
each window the newest archive of every day, ISO week, month or year is kept. What is exactly on a wall belongs to the
older window; what is older than all windows is deleted. Then the oldest are deleted until the total is not above the
cap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Literal, NamedTuple, cast
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from lifeboat.catalog import Archive, Kind
from lifeboat.text import size_text

MEGABYTE = 1024 * 1024

Rule = Literal[
    "newest",
    "newest proven",
    "future",
    "held",
    "all",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "too old",
    "cap",
]
UNTOUCHABLE: tuple[Rule, ...] = ("newest", "newest proven", "future")  # for the cap


@dataclass(frozen=True)
class Policy:
    """How long archives are kept. The periods are chained: each begins where the one before it ends.

    :param delete_oldest_above_megabytes: cap of the total, in units of 1024 * 1024 bytes; None for no cap.
    """

    keep_all_for_days: int = 7
    keep_daily_for_days: int = 16
    keep_weekly_for_weeks: int = 8
    keep_monthly_for_months: int = 4
    keep_yearly_for_years: int = 2
    delete_oldest_above_megabytes: int | None = 5000


class Decision(NamedTuple):
    """What happens to one archive, and why.

    :param rule: the rule that decided.
    :param reason: the same in words.
    :param superseded_by: key of the archive that makes a deleted one superfluous.
    """

    archive: Archive
    action: Literal["keep", "delete"]
    rule: Rule
    reason: str
    superseded_by: str = ""


@dataclass(frozen=True)
class Plan:
    """What happens at one destination.

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
    :param group: of an archive's local time; the newest of each group is kept, and all where there is none.
    """

    rule: Rule
    end: datetime
    unit: str
    group: Callable[[datetime], tuple[int, ...]] | None


def plan(
    archives: Iterable[Archive],
    now: datetime,
    zone: ZoneInfo,
    policies: Callable[[str, Kind], Policy],
    held: Mapping[str, str] | None = None,
    own_caps: frozenset[str] = frozenset(),
) -> Plan:
    """Decide about every archive of one destination.

    :param now: aware.
    :param zone: of the walls and of the calendar.
    :param policies: the policy of an application's kind.
    :param held: applications of which nothing may be deleted, with the reason.
    :param own_caps: applications with a cap of their own; the others share the destination's.
    """
    held = held or {}
    now = now.astimezone(UTC)  # times of one zone are compared many times faster
    ordered = sorted(archives, key=attrgetter("captured_at", "key"), reverse=True)
    by_kind: dict[tuple[str, Kind], list[Archive]] = {}
    for archive in ordered:
        by_kind.setdefault((archive.application, archive.kind), []).append(archive)
    decisions: dict[str, Decision] = {}
    for (application, kind), members in by_kind.items():
        for decision in _by_age(members, now, zone, policies(application, kind)):
            decisions[decision.archive.key] = decision
    newest = {
        (decision.archive.application, decision.archive.kind): decision.archive.key
        for decision in decisions.values()
        if decision.rule == "newest"
    }
    dropped: dict[str, Decision] = {}
    # What is held does not count: others must not be dropped for the space that it takes.
    for pool in _pools((archive for archive in ordered if archive.application not in held), own_caps):
        cap = policies(pool[0].application, pool[0].kind).delete_oldest_above_megabytes
        dropped |= _above_cap([decisions[archive.key] for archive in pool], newest, cap)
    decisions |= dropped
    final = (
        _final(decision, dropped, newest, held) if decision.action == "delete" and (held or dropped) else decision
        for decision in (decisions[archive.key] for archive in ordered)
    )
    return Plan(tuple(final), held)


def _by_age(members: Sequence[Archive], now: datetime, zone: ZoneInfo, policy: Policy) -> Iterator[Decision]:
    """Decide by age about the archives of one application and kind, newest first."""
    present = [archive for archive in members if archive.captured_at <= now]
    for archive in members[: len(members) - len(present)]:
        yield Decision(archive, "keep", "future", "captured after now: some clock is wrong; it shields nothing")
    if not present:
        return
    newest, *others = present
    yield Decision(newest, "keep", "newest", f"newest {newest.kind} archive")
    proven = next((archive for archive in others if archive.proven and not newest.proven), None)
    for decision in _by_window(others, newest, now, zone, policy):
        if decision.archive is proven:
            yield Decision(proven, "keep", "newest proven", f"newest {proven.kind} archive with a proof")
        else:
            yield decision


def _by_window(
    members: Sequence[Archive], newest: Archive, now: datetime, zone: ZoneInfo, policy: Policy
) -> Iterator[Decision]:
    position = 0
    keeper = newest
    for window in _windows(now, zone, policy):
        kept_as = f"newest of its {window.unit}" if window.group else f"younger than {policy.keep_all_for_days} days"
        superseded = f"a newer one of the same {window.unit} is kept"
        group: tuple[int, ...] = ()
        while position < len(members) and members[position].captured_at > window.end:
            archive = members[position]
            position += 1
            own = window.group(archive.captured_at.astimezone(zone)) if window.group else ()
            if own and own == group:
                yield Decision(archive, "delete", window.rule, superseded, keeper.key)
            else:
                group, keeper = own, archive
                yield Decision(archive, "keep", window.rule, kept_as)
    for archive in members[position:]:
        yield Decision(archive, "delete", "too old", "older than every window", newest.key)


def _windows(now: datetime, zone: ZoneInfo, policy: Policy) -> list[_Window]:
    """Return the windows, the youngest first. Arithmetic is on the wall clock; months and years clamp."""
    wall = now.astimezone(zone).replace(tzinfo=None)
    windows = []
    for rule, period, unit, group in (
        ("all", relativedelta(days=policy.keep_all_for_days), "", None),
        ("daily", relativedelta(days=policy.keep_daily_for_days), "day", lambda when: (when.toordinal(),)),
        ("weekly", relativedelta(weeks=policy.keep_weekly_for_weeks), "week", lambda when: when.isocalendar()[:2]),
        (
            "monthly",
            relativedelta(months=policy.keep_monthly_for_months),
            "month",
            lambda when: (when.year, when.month),
        ),
        ("yearly", relativedelta(years=policy.keep_yearly_for_years), "year", lambda when: (when.year,)),
    ):
        wall -= period
        windows.append(_Window(cast(Rule, rule), wall.replace(tzinfo=zone).astimezone(UTC), unit, group))
    return windows


def _pools(archives: Iterable[Archive], own_caps: frozenset[str]) -> Iterable[list[Archive]]:
    """Group archives by the cap that they share."""
    pools: dict[str | None, list[Archive]] = {}
    for archive in archives:
        owner = archive.application if archive.application in own_caps else None
        pools.setdefault(owner, []).append(archive)
    return pools.values()


def _above_cap(
    pool: Sequence[Decision], newest: Mapping[tuple[str, Kind], str], cap: int | None
) -> dict[str, Decision]:
    """Return the decisions that change because the total is above the cap.

    :param pool: all archives that share the cap, newest first.
    """
    if cap is None:
        return {}
    kept = [decision for decision in pool if decision.action == "keep"]
    total = sum(decision.archive.size for decision in kept)
    reason = f"the total is above {size_text(cap * MEGABYTE)}, and this is the oldest that is left"
    changed = {}
    for decision in reversed(kept):
        if total <= cap * MEGABYTE:
            break
        if decision.rule not in UNTOUCHABLE:
            archive = decision.archive
            total -= archive.size
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
    if archive.application in held:
        return Decision(archive, "keep", "held", f"held: {held[archive.application]}")
    if decision.superseded_by in dropped:
        by = newest[archive.application, archive.kind]
        return decision._replace(reason="older than what is kept below the cap", superseded_by=by)
    return decision
