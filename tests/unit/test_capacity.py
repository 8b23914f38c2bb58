"""What a cap deletes of what the periods promise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from lifeboat.catalog.archives import Archive, Kind, archive_key
from lifeboat.decide import capacity
from lifeboat.decide.capacity import Shortfall
from lifeboat.decide.retention import Policy
from lifeboat.text import MEGABYTE

NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)
GIGABYTE = 1024 * MEGABYTE


def archives(number: int, size: int, hours: float = 24, kind: Kind = "database") -> list[Archive]:
    times = (NOW - timedelta(hours=3 + hours * each) for each in range(number))
    return [Archive(archive_key("Shop", kind, time), "Shop", kind, time, size, False) for time in times]


def shortfall(found: list[Archive], policy: Policy | None = None) -> Shortfall | None:
    return capacity.shortfall(found, NOW, ZoneInfo("UTC"), lambda _: policy or Policy())


@pytest.mark.parametrize("number", [1, 2, 10])
def test_daily_archives_of_3_gib_leave_a_day_of_seven(number: int) -> None:
    short = shortfall(archives(number, 3 * GIGABYTE))
    assert short is not None
    # The newest, 7 days, 16 days, 8 weeks, 4 months and 2 years, less what windows share.
    assert 34 * 3 * GIGABYTE < short.needed < 40 * 3 * GIGABYTE
    assert str(short).startswith("the cap of 4.88 GiB keeps 1 of the promised 7 days; the policy needs about 1")


def test_what_fits_is_no_shortfall() -> None:
    assert shortfall(archives(10, 100 * MEGABYTE)) is None
    assert shortfall(archives(10, 3 * GIGABYTE), Policy(delete_oldest_above_megabytes=None)) is None
    assert shortfall(archives(10, 3 * GIGABYTE), Policy(1, 0, 0, 0, 0, 3 * 3 * 1024)) is None
    assert shortfall([]) is None


def test_a_cap_that_cuts_the_years_off_says_how_far_it_reaches() -> None:
    short = shortfall(archives(10, 150 * MEGABYTE))
    assert short is not None
    assert timedelta(days=7) < short.reach < short.promised
    assert timedelta(days=365) < short.promised < timedelta(days=3 * 366)
    assert f"of the promised {round(short.promised / timedelta(days=1))} days" in str(short)


def test_kinds_share_the_cap() -> None:
    small, large = archives(10, 60 * MEGABYTE), archives(4, 200 * MEGABYTE, 24 * 7, "application")
    assert shortfall(small) is None
    assert shortfall(large) is None
    short = shortfall(small + large)
    assert short is not None
    assert short.needed > 5000 * MEGABYTE


def test_backups_of_every_hour_are_counted_as_such() -> None:
    short = shortfall(archives(30, 100 * MEGABYTE, hours=1))
    assert short is not None
    assert short.needed > 24 * 7 * 100 * MEGABYTE
    assert short.reach < timedelta(days=3)


def test_some_backups_by_hand_are_no_habit() -> None:
    assert shortfall(archives(6, 20 * MEGABYTE, hours=0.01)) is None
    assert shortfall(archives(6, 20 * MEGABYTE, 0.01, "application")) is None


def test_the_shortcut_never_hides_a_shortfall(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> list[str]:
        return [
            str(shortfall(archives(10, size * MEGABYTE, hours)))
            for size in (80, 100, 110, 120, 130, 140, 150, 200)
            for hours in (6, 24, 24 * 7, 24 * 30)
        ]

    quick = answers()
    monkeypatch.setattr(capacity, "_at_most", lambda *_: float("inf"))
    assert answers() == quick
    assert "None" in quick


@pytest.mark.parametrize(
    ("free", "days"),
    [
        pytest.param(200 * GIGABYTE, None, id="room-for-all"),
        pytest.param(10 * GIGABYTE, 5, id="some-days"),
        pytest.param(2 * GIGABYTE, 1, id="tomorrow"),
    ],
)
def test_a_disk_that_fills_up_says_when(free: int, days: int | None) -> None:
    stored = [(archives(2, 3 * GIGABYTE), lambda _: Policy(delete_oldest_above_megabytes=None))]
    assert capacity.days_until_full(stored, free, NOW, ZoneInfo("UTC")) == days


def test_what_clean_ups_delete_makes_room() -> None:
    stored = [(archives(9, 3 * GIGABYTE), lambda _: Policy(7, 0, 0, 0, 0, None))]
    assert capacity.days_until_full(stored, 4 * GIGABYTE, NOW, ZoneInfo("UTC")) is None
