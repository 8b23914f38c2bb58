"""Retention: the plan for a listing, by example, by property, over simulated years, and beside laravel-backup's."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lifeboat.catalog.archives import Archive, Kind, archive_key
from lifeboat.decide import retention
from lifeboat.decide.retention import Decision, Plan, Policy
from lifeboat.text import MEGABYTE

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")
NO_CAP = Policy(delete_oldest_above_megabytes=None)


def archive(
    when: datetime, kind: Kind = "database", size: int = 1, application: str = "Shop", *, proven: bool = False
) -> Archive:
    when = when.astimezone(UTC)
    key = f"{application}/{when:%Y-%m-%d-%H-%M-%S}.zip" if kind == "legacy" else archive_key(application, kind, when)
    return Archive(key, application, kind, when, size, proven)


def plan(
    archives: Iterable[Archive],
    policy: Policy = NO_CAP,
    now: datetime = NOW,
    zone: ZoneInfo = UTC_ZONE,
    damaged: Collection[str] = (),
) -> Plan:
    return retention.plan(archives, now, zone, lambda application, kind: policy, damaged=damaged)


def by_key(found: Plan) -> dict[str, Decision]:
    return {decision.archive.key: decision for decision in found.decisions}


def kept(found: Plan) -> list[Archive]:
    return [decision.archive for decision in found.decisions if decision.action == "keep"]


def rules(
    archives: Sequence[Archive], policy: Policy = NO_CAP, now: datetime = NOW, zone: ZoneInfo = UTC_ZONE
) -> list[str]:
    """Return rule and action of each archive, in the order in which they are given."""
    found = by_key(plan(archives, policy, now, zone))
    return [f"{found[a.key].action} {found[a.key].rule}" for a in archives]


def days(count: float) -> datetime:
    return NOW - timedelta(days=count)


def test_each_window_keeps_the_newest_of_its_groups() -> None:
    archives = [
        archive(when)
        for when in (
            *(days(0.1), days(1), days(6.9)),  # all
            *(days(8), days(8.05), days(9)),  # daily
            *(datetime(2026, 10, 28, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)),  # one week
            *(datetime(2026, 8, 30, tzinfo=UTC), datetime(2026, 8, 2, tzinfo=UTC)),  # one month
            *(datetime(2025, 12, 30, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)),  # one year
            datetime(2023, 1, 1, tzinfo=UTC),
        )
    ]
    assert rules(archives) == [
        *("keep newest", "keep all", "keep all"),
        *("keep daily", "delete daily", "keep daily"),
        *("keep weekly", "delete weekly", "keep monthly", "delete monthly", "keep yearly", "delete yearly"),
        "delete too old",
    ]


def test_a_deletion_names_what_supersedes_it() -> None:
    newest, day, earlier, ancient = (archive(when) for when in (days(0), days(8), days(8.05), days(2000)))
    found = by_key(plan([ancient, earlier, day, newest]))
    assert found[earlier.key].superseded_by == day.key
    assert found[ancient.key].superseded_by == newest.key


def test_the_newest_represents_no_group() -> None:
    """After an outage, the newest is alone in its window, and the second newest of its month stays, too."""
    newest, second, third = (archive(days(count)) for count in (60.0, 60.1, 60.2))
    assert rules([newest, second, third]) == ["keep newest", "keep weekly", "delete weekly"]


@pytest.mark.parametrize(
    ("count", "rule"), [(7, "daily"), (23, "weekly"), (79, "monthly"), (7 - 1e-6, "all"), (7 + 1e-6, "daily")]
)
def test_what_is_exactly_on_a_boundary_belongs_to_the_older_window(count: float, rule: str) -> None:
    assert rules([archive(days(0)), archive(days(count))])[1] == f"keep {rule}"


def test_what_is_exactly_on_the_last_boundary_is_deleted() -> None:
    last = datetime(2024, 5, 5, 3, 0, tzinfo=UTC)  # 23 November less 23 days, 8 weeks, 4 months and 2 years
    assert rules([archive(days(0)), archive(last), archive(last + timedelta(seconds=1))]) == [
        *("keep newest", "delete too old", "keep yearly")
    ]


def test_months_clamp() -> None:
    policy = Policy(0, 0, 0, 6, 0, None)
    now = datetime(2026, 8, 31, 3, 0, tzinfo=UTC)
    boundary = datetime(2026, 2, 28, 3, 0, tzinfo=UTC)
    archives = [archive(now), archive(boundary + timedelta(seconds=1)), archive(boundary)]
    assert rules(archives, policy=policy, now=now) == ["keep newest", "keep monthly", "delete too old"]


def test_boundaries_are_wall_clock_times() -> None:
    """Seven days before 03:00 on the Monday after the clocks went back is 03:00, which is an hour earlier in UTC."""
    now = datetime(2026, 10, 26, 3, 0, tzinfo=BERLIN)
    boundary = datetime(2026, 10, 19, 3, 0, tzinfo=BERLIN)
    assert now - boundary == timedelta(days=7)  # on the wall clock; 7 days and an hour have passed
    archives = [archive(now), archive(boundary + timedelta(seconds=1)), archive(boundary)]
    assert rules(archives, now=now.astimezone(UTC), zone=BERLIN) == ["keep newest", "keep all", "keep daily"]


def test_weeks_are_those_of_iso_8601() -> None:
    """Monday 28 December 2015 to Sunday 3 January 2016 is one week, 2015-W53."""
    now = datetime(2016, 2, 10, tzinfo=UTC)
    archives = [archive(datetime(2016, 2, 9, tzinfo=UTC))]
    archives += [archive(datetime(2016, 1, 3, 12, tzinfo=UTC) - timedelta(days=number)) for number in range(8)]
    assert rules(archives, now=now)[1:] == ["keep weekly", *["delete weekly"] * 6, "keep weekly"]


def test_kinds_are_planned_apart() -> None:
    found = [archive(days(8), "database"), archive(days(8.01), "application"), archive(days(8.02), "legacy")]
    assert rules(found) == ["keep newest"] * 3


def test_the_cap_drops_the_oldest_of_any_kind_but_no_newest() -> None:
    policy = Policy(delete_oldest_above_megabytes=3)
    archives = [
        archive(days(0), size=MEGABYTE),
        archive(days(1), size=MEGABYTE),
        archive(days(2), "application", size=MEGABYTE),
        archive(days(3), "application", size=1),
        archive(days(5), "legacy", size=MEGABYTE),
    ]
    assert rules(archives, policy=policy) == ["keep newest", "delete cap", "keep newest", "delete cap", "keep newest"]
    assert by_key(plan(archives, policy))[archives[1].key].superseded_by == archives[0].key
    exact = [archive(days(0), size=MEGABYTE), archive(days(1), size=2 * MEGABYTE)]
    assert rules(exact, policy=policy) == ["keep newest", "keep all"]  # the cap is strict


def test_what_superseded_and_falls_to_the_cap_is_named_no_more() -> None:
    policy = Policy(delete_oldest_above_megabytes=1)
    newest, keeper, other = archive(days(0), size=MEGABYTE), archive(days(8), size=1), archive(days(8.01))
    found = by_key(plan([newest, keeper, other], policy))
    assert found[keeper.key].rule == "cap"
    assert found[other.key].superseded_by == newest.key


def test_each_application_has_a_cap_of_its_own() -> None:
    caps = {"A": 2, "B": 1, "C": 3}
    archives = [archive(days(n), size=MEGABYTE, application=name) for name in caps for n in (0, 1, 2)]
    found = retention.plan(
        archives, NOW, UTC_ZONE, lambda name, _: Policy(delete_oldest_above_megabytes=caps[name]), {"B": "stale"}
    )
    assert Counter(decision.archive.application for decision in found.deletions) == {"A": 1}


def test_the_newest_proven_archive_stays() -> None:
    policy = Policy(delete_oldest_above_megabytes=1)
    archives = [
        archive(days(0), size=MEGABYTE),
        archive(days(8), size=MEGABYTE),
        archive(days(900), proven=True, size=MEGABYTE),
        archive(days(950), proven=True),
    ]
    assert rules(archives, policy=policy) == ["keep newest", "delete cap", "keep newest proven", "delete too old"]


def test_nothing_goes_before_a_newer_one_is_proven_where_the_policy_says_so() -> None:
    policy = Policy(keep_until_proven=True, delete_oldest_above_megabytes=1)
    large = partial(archive, size=MEGABYTE)
    unproven = [large(days(age)) for age in (0, 8, 3000)]
    assert rules(unproven, policy=policy) == ["keep newest", "keep daily", "keep unproven"]
    proven = [
        large(days(0)),
        large(days(8), proven=True),
        archive(days(3000)),
        archive(days(3050)),
    ]
    assert rules(proven, policy=policy) == ["keep newest", "keep newest proven", "delete too old", "delete too old"]
    newer = [archive(days(-1), proven=True), *unproven]
    assert rules(newer, policy=policy) == ["keep future", "keep newest", "keep daily", "keep unproven"]
    legacy = [large(days(age), kind="legacy") for age in (0, 3000)]
    assert rules(legacy, policy=policy) == ["keep newest", "delete too old"], "nobody can prove these"


@pytest.mark.parametrize(("age", "rule"), [(9.9, "keep locked"), (10 - 1e-5, "keep locked"), (10, "delete too old")])
def test_what_the_destination_locks_is_kept(age: float, rule: str) -> None:
    policy = Policy(1, 0, 0, 0, 0, None, locked_for_days=10)
    assert rules([archive(days(0)), archive(days(age))], policy=policy) == ["keep newest", rule]


def test_locked_archives_do_not_fall_to_the_cap() -> None:
    policy = Policy(delete_oldest_above_megabytes=1, locked_for_days=10)
    archives = [archive(days(age), size=MEGABYTE) for age in (0, 8, 12)]
    assert rules(archives, policy=policy) == ["keep newest", "keep daily", "delete cap"]
    (_, locked, _) = plan([archives[0], archive(days(8.2)), archive(days(8.5))], Policy(locked_for_days=10)).decisions
    assert locked.rule == "daily"
    (_, _, locked) = plan([archives[0], archive(days(8.2)), archive(days(8.3))], Policy(locked_for_days=10)).decisions
    assert locked.reason == "locked until 2026-11-24 19:48:00 UTC"


def test_future_archives_are_kept_and_shield_nothing() -> None:
    archives = [archive(NOW + timedelta(days=300)), archive(days(3000)), archive(days(3001))]
    assert rules(archives) == ["keep future", "keep newest", "delete too old"]


def test_what_is_held_is_not_deleted_and_says_why() -> None:
    archives = [
        archive(days(5)),
        archive(days(3000)),
        archive(days(3000), application="Blog"),
        archive(days(3001), application="Blog"),
    ]
    found = retention.plan(archives, NOW, UTC_ZONE, lambda *_: NO_CAP, {"Shop": "the newest is 5 days old"})
    decisions = by_key(found)
    assert decisions[archives[1].key].rule == "held"
    assert "5 days old" in decisions[archives[1].key].reason
    assert [decision.archive.application for decision in found.deletions] == ["Blog"]


def test_what_is_kept_anyway_is_not_said_to_be_held() -> None:
    archives = [archive(NOW + timedelta(days=1)), archive(days(5)), archive(days(8)), archive(days(3000), proven=True)]
    found = by_key(retention.plan(archives, NOW, UTC_ZONE, lambda *_: NO_CAP, {"Shop": "the newest is 5 days old"}))
    assert [found[each.key].rule for each in archives] == ["future", "newest", "daily", "newest proven"]


def test_what_is_held_does_not_count_for_the_cap_of_others() -> None:
    policy = Policy(delete_oldest_above_megabytes=2)
    others = [archive(days(n), size=MEGABYTE, application="Blog") for n in (0, 1, 2)]
    held = [archive(days(100), size=50 * MEGABYTE)]
    found = retention.plan([*others, *held], NOW, UTC_ZONE, lambda *_: policy, {"Shop": "it is stale"})
    assert [decision.archive for decision in found.deletions] == [others[2]]


def test_two_archives_of_one_time() -> None:
    archives = [archive(days(9), "legacy"), archive(days(9), "legacy", application="Blog"), archive(days(9))]
    assert rules(archives) == ["keep newest"] * 3


@pytest.mark.parametrize(("count", "outcome"), [(3, "keep all"), (9, "delete daily"), (3000, "delete too old")])
def test_two_archives_of_one_time_and_kind(count: float, outcome: str) -> None:
    """Names in local time may mean the same moment, where the clocks go forward: 02:30 and 03:30."""
    one = archive(days(count), "legacy")._replace(key="Shop/2026-03-29-03-30-00.zip")
    other = one._replace(key="Shop/2026-03-29-02-30-00.zip")
    newest = archive(days(0), "legacy")
    assert rules([newest, other, one])[1] == outcome
    assert rules([one, newest, other])[2] == outcome


def test_a_day_that_the_clock_enters_twice_keeps_rather_too_much() -> None:
    """In St. John's, a minute after midnight became a minute after 23:00 of the day before."""
    zone = ZoneInfo("America/St_Johns")
    midnight = datetime(2010, 11, 7, 2, 30, tzinfo=UTC)  # on the summer's clock, and an hour later on the winter's
    archives = [archive(midnight + timedelta(seconds=seconds)) for seconds in (7200, 3000, 1800, 30, -1800, -3600)]
    now = midnight + timedelta(days=10)
    assert rules([archive(now), *archives], now=now, zone=zone)[1:] == [
        *("keep daily", "keep daily", "delete daily", "keep daily", "keep daily", "delete daily")
    ]


MOMENTS = st.integers(0, 5 * 366 * 86400).map(lambda seconds: NOW + timedelta(days=180, seconds=-seconds))
LISTINGS = st.lists(
    st.builds(
        lambda when, kind, size, application, proven: archive(when, kind, size, application, proven=proven),
        MOMENTS,
        st.sampled_from(["database", "application", "legacy"]),
        st.integers(0, 3 * MEGABYTE),
        st.sampled_from(["Shop", "Blog"]),
        st.booleans(),
    ),
    max_size=60,
    unique_by=lambda found: found.key,
)
POLICIES = st.builds(
    Policy,
    *(st.integers(0, limit) for limit in (10, 20, 10, 6, 3)),
    st.one_of(st.none(), st.integers(1, 50)),
)
ZONES = st.sampled_from([ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia")])


@given(LISTINGS, POLICIES, ZONES, st.randoms())
def test_laws(archives: list[Archive], policy: Policy, zone: ZoneInfo, chance: random.Random) -> None:
    found = plan(archives, policy, zone=zone)
    shuffled = list(archives)
    chance.shuffle(shuffled)
    assert plan(shuffled, policy, zone=zone) == found  # order of the listing does not count
    assert sorted(decision.archive.key for decision in found.decisions) == sorted(a.key for a in archives)
    again = plan(kept(found), policy, zone=zone)
    assert again.deletions == []  # a second clean-up of the same moment deletes nothing
    decisions = by_key(found)
    for decision in found.deletions:
        by = decisions[decision.superseded_by]
        assert by.action == "keep"
        assert by.archive.captured_at >= decision.archive.captured_at
        assert (by.archive.application, by.archive.kind) == (decision.archive.application, decision.archive.kind)
    for key in {(a.application, a.kind) for a in archives if a.captured_at <= NOW}:
        members = [a for a in archives if (a.application, a.kind) == key and a.captured_at <= NOW]
        newest = max(members, key=lambda a: a.captured_at)
        assert decisions[newest.key].action == "keep"
        proven = [a for a in members if a.proven]
        if proven:
            assert decisions[max(proven, key=lambda a: a.captured_at).key].action == "keep"
    total = sum(a.size for a in kept(found))
    cap = policy.delete_oldest_above_megabytes
    if cap is not None and total > cap * MEGABYTE:
        assert {decisions[a.key].rule for a in kept(found)} <= set(retention.UNTOUCHABLE)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Cairo"])
def test_three_years_of_daily_backups_and_cleanups(name: str) -> None:
    """What is promised is there: 7 days, 16 dailies, 8 weeklies, 4 monthlies, 2 yearlies, give or take an edge."""
    zone = ZoneInfo(name)
    archives: list[Archive] = []
    start = datetime(2023, 1, 1, tzinfo=zone)
    for number in range(3 * 366):
        day = start + timedelta(days=number)  # on the wall clock
        archives.append(archive(day.replace(hour=1)))
        found = plan(archives, NO_CAP, day.replace(hour=3).astimezone(UTC), zone)
        archives = kept(found)
        if number > 3 * 360:
            count = Counter(decision.rule for decision in found.decisions if decision.action == "keep")
            assert count["newest"] == 1
            assert count["all"] in (6, 7)
            assert count["daily"] in (15, 16, 17)
            assert count["weekly"] in (8, 9)
            assert count["monthly"] in (4, 5)
            assert count["yearly"] in (2, 3)
            assert 36 <= len(archives) <= 41


def laravel(archives: Sequence[Archive], now: datetime) -> set[str]:
    """Return the keys that laravel-backup's default strategy keeps, quirks included, without its cap."""
    from dateutil.relativedelta import relativedelta

    _newest, *others = sorted(archives, key=lambda a: a.captured_at, reverse=True)
    d0 = now - timedelta(days=7)
    d1 = d0 - timedelta(days=16)
    w1 = d1 - timedelta(weeks=8)
    m1 = w1 - relativedelta(months=4)
    y1 = m1 - relativedelta(years=2)
    gone: set[str] = set()
    for low, high, form in ((d1, d0, "%Y%m%d"), (w1, d1, "%Y%V"), (m1, w1, "%Y%m"), (y1, m1, "%Y")):
        groups: dict[str, list[Archive]] = {}
        for found in others:
            if low <= found.captured_at <= high:
                groups.setdefault(found.captured_at.strftime(form), []).append(found)
        gone |= {member.key for members in groups.values() for member in members[1:]}
    gone |= {found.key for found in others if found.captured_at < y1}
    return {found.key for found in archives} - gone


def test_beside_laravel_backup_only_the_documented_differences() -> None:
    """Two years of a backup a day at odd times: the same archives stay, but for the ISO year of a week.

    Days around New Year belong to one ISO week, which laravel-backup's key ("calendar year and ISO week") cuts in two.
    """
    chance = random.Random(7)
    differences = set()
    for _ in range(60):
        now = datetime(2025, 1, 1, 3, tzinfo=UTC) + timedelta(days=chance.randrange(700))
        archives = [archive(now - timedelta(days=number, minutes=chance.randrange(1, 600))) for number in range(900)]
        ours = {found.key for found in kept(plan(archives, NO_CAP, now))}
        theirs = laravel(archives, now)
        differences |= {key.rsplit("/", 1)[1][5:10] for key in ours ^ theirs}
    assert differences <= {f"12-{day}" for day in range(22, 32)} | {f"01-0{day}" for day in range(1, 8)}


def test_beside_laravel_backup_on_an_edge() -> None:
    """On a boundary, laravel-backup counts an archive in both windows, so that a week may lose its only one."""
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    boundary = now - timedelta(days=23)
    archives = [
        archive(now),
        archive(boundary + timedelta(hours=2)),
        archive(boundary),
        archive(boundary - timedelta(hours=1)),
    ]
    assert archives[2].key not in laravel(archives, now)
    assert archives[3].key not in laravel(archives, now)
    assert archives[2].key in {found.key for found in kept(plan(archives, now=now))}


def test_a_damaged_archive_stands_for_no_period_that_has_a_whole_one() -> None:
    newest, bad, worse, whole, spare = (archive(days(age)) for age in (0.1, 8, 8.01, 8.02, 8.03))
    damaged = {bad.key, worse.key}
    found = by_key(plan([newest, bad, worse, whole, spare], damaged=damaged))
    assert [found[a.key].action for a in (bad, worse, whole, spare)] == ["keep", "delete", "keep", "delete"]
    assert found[worse.key].superseded_by == found[spare.key].superseded_by == whole.key
    assert found[bad.key].reason == f"newest of its day; damaged, so {whole.key} is kept, too"
    assert found[whole.key].reason == f"newest whole one of its day: {bad.key} is damaged"
    assert found[worse.key].reason == "damaged, and a whole one of the same day is kept"
    alone = by_key(plan([newest, bad, worse], damaged=damaged))
    assert alone[bad.key].reason == "newest of its day"
    assert alone[worse.key].superseded_by == bad.key


def test_the_newest_whole_archive_stays_where_the_newest_is_damaged() -> None:
    bad, whole, old = (archive(days(age), size=MEGABYTE) for age in (0.1, 1, 2))
    strict = Policy(0, 0, 0, 0, 0, delete_oldest_above_megabytes=1)
    found = by_key(plan([bad, whole, old], strict, damaged={bad.key}))
    assert [found[a.key].action for a in (bad, whole, old)] == ["keep", "keep", "delete"]
    assert found[whole.key].rule == "newest whole"
    assert found[old.key].superseded_by == whole.key
    assert by_key(plan([bad, whole, old], strict))[whole.key].action == "delete"


@given(
    st.lists(st.tuples(st.integers(0, 24 * 900), st.integers(1, 9), st.booleans(), st.booleans()), max_size=60),
    st.integers(0, 200),
    st.booleans(),
)
@example([(0, 1, False, True), (1, 4, False, True), (2, 2, False, False)], 5, False)  # the cap reaches the whole one
def test_damage_never_costs_an_archive(
    drawn: list[tuple[int, int, bool, bool]], cap: int, keep_until_proven: bool
) -> None:
    made = {
        age: (archive(days(age / 24), size=size * MEGABYTE, proven=proven), bad) for age, size, proven, bad in drawn
    }
    archives = [each for each, _ in made.values()]
    damaged = {each.key for each, bad in made.values() if bad}
    policy = Policy(delete_oldest_above_megabytes=cap, keep_until_proven=keep_until_proven)
    before, after = kept(plan(archives, policy)), kept(plan(archives, policy, damaged=damaged))
    assert set(before) <= set(after)
    whole = [each for each in archives if each.key not in damaged]
    assert not whole or any(each in after for each in whole)
