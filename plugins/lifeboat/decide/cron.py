"""Distances between the runs of a cron expression, by the clock on the wall: no change to summer time counts."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

BEGIN = datetime(2024, 1, 1)  # noqa: DTZ001  # of a leap year; a clock on the wall has no time zone
DAY = timedelta(days=1)
TWO_WEEKS = timedelta(days=15)  # every distance between days of the week is among them
YEARS = timedelta(days=5 * 366)
MOST_DAYS = 400  # more than a year of days
LEAST_SLACK, MOST_SLACK = timedelta(hours=1), DAY


@functools.lru_cache(maxsize=256)
def gaps(cron: str) -> tuple[timedelta, timedelta]:
    """Return the shortest and the longest time between two runs.

    :param cron: an expression of five fields that matches some date.
    """
    minute, hour, *day = cron.split()
    times = list(_until(f"{minute} {hour} * * *", DAY))
    days = list(_days(*day))
    within = [later - earlier for earlier, later in pairwise(times)]
    across = [later - earlier - (times[-1] - times[0]) for earlier, later in pairwise(days)]
    return min((*within, *across)), max((*within, *across))


def longest_age(cron: str) -> timedelta:
    """Return how old the newest backup of a schedule may be: its longest interval, and a quarter of it.

    The quarter is at least an hour and at most a day, so these are 30 hours of a daily backup, 8 days of a weekly one.
    """
    _, longest = gaps(cron)
    return longest + min(max(longest / 4, LEAST_SLACK), MOST_SLACK)


def turn(name: str, spread: timedelta, cron: str) -> timedelta:
    """Return how long after the time of its schedule an application is backed up: always as long, in whole minutes.

    :param spread: longest such delay; it is at most half of the schedule's shortest interval, too.
    """
    shortest, _ = gaps(cron)
    minutes = int(min(spread, shortest / 2) / timedelta(minutes=1))
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(minutes=number % (minutes + 1))


def _days(day: str, month: str, weekday: str) -> Iterator[datetime]:
    """Yield days with runs, in turn, until all distances between two of them are among these."""
    by_weekday = day == month == "*" and "#" not in weekday
    yield from _until(f"0 0 {day} {month} {weekday}", TWO_WEEKS if by_weekday else YEARS)


def _until(cron: str, length: timedelta) -> Iterator[datetime]:
    """Yield the runs within so much time, or else the first two; no more than `MOST_DAYS` of days."""
    from croniter import croniter  # what Airflow asks

    runs = croniter(cron, BEGIN - timedelta(seconds=1))
    count = 0
    while (run := runs.get_next(datetime)) - BEGIN < length or (count < 2 and length > DAY):
        yield run
        count += 1
        if count == MOST_DAYS and length > DAY:
            return
