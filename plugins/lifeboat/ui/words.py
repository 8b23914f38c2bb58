"""Ages and durations, rounded as the page shows them."""

from __future__ import annotations

from datetime import timedelta

from lifeboat.text import plural

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
