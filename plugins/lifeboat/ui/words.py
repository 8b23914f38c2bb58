"""Ages and durations, rounded as the page shows them; times in its one zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from lifeboat.text import plural

_UTC = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)? UTC")
_MINUTE = timedelta(minutes=1)
_DAY = 1440  # minutes
_AGES = (  # up to so many minutes, in units of so many
    (90, 1, "minute"),
    (48 * 60, 60, "hour"),
    (60 * _DAY, _DAY, "day"),
    (730 * _DAY, 30.44 * _DAY, "month"),
)


def ago(age: timedelta) -> str:
    """Return an age in one round number."""
    minutes = max(age, timedelta()) / _MINUTE
    for limit, length, unit in _AGES:
        if minutes < limit:
            return plural(round(minutes / length), unit)
    return plural(round(minutes / (365.25 * _DAY)), "year")


def duration(seconds: float) -> str:
    """Return a length of time that was measured."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def local(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return a time in a zone; as it is where the calendar ends before."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def date_and_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return date and time in a zone."""
    return f"{local(moment, zone):%Y-%m-%d %H:%M}"


def as_of(moment: datetime, now: datetime, zone: ZoneInfo) -> str:
    """Return the time of something that is no longer so, with its date where that is not today's."""
    shown = local(moment, zone)
    return f"{shown:%H:%M %Z}" if shown.date() == local(now, zone).date() else f"{shown:%Y-%m-%d %H:%M %Z}"


def in_zone(text: str, zone: ZoneInfo) -> str:
    """Return a sentence of the engine, which tells times in UTC, with those of a zone."""

    def told_there(told: re.Match[str]) -> str:
        try:
            moment = datetime.fromisoformat(told[0].removesuffix(" UTC")).replace(tzinfo=UTC)
        except ValueError:  # a name may look like a time
            return told[0]
        return f"{local(moment, zone):%Y-%m-%d %H:%M:%S %Z}"

    return _UTC.sub(told_there, text)
