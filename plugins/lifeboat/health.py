"""Whether what is stored is what should be: pure functions of a listing, a clock and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from lifeboat.catalog import Archive, Kind


def staleness(archives: Iterable[Archive], limits: Mapping[Kind, timedelta], now: datetime) -> str:
    """Say which kind's newest archive is missing or too old, or nothing.

    :param archives: of one application.
    :param limits: how old the newest archive of each kind may be; kinds that are not here are not expected.
    """
    present = [archive for archive in archives if archive.captured_at <= now]
    for kind, limit in limits.items():
        newest = max((archive.captured_at for archive in present if archive.kind == kind), default=None)
        if newest is None:
            return f"there is no {kind} archive yet"
        if now - newest > limit:
            return f"the newest {kind} archive is {_days(now - newest)} old, more than {_days(limit)}"
    return ""


def _days(age: timedelta) -> str:
    days = age / timedelta(days=1)
    return f"{days:.1f} days" if days >= 2 else f"{days * 24:.1f} hours"
