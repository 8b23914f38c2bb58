"""Retention of logs: which no restore needs any more. Pure.

Logs are kept for a number of days, and with them the newest archive of databases from before that time: the anchor,
which they continue. What was shipped before the anchor is deleted, oldest first, so that what is left has no gap. Where
no such archive has a position in the log, what is older than the number of days continues nothing, and is deleted, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from lifeboat.catalog.archives import Archive
from lifeboat.decide.health import SKEW
from lifeboat.decide.retention import Decision
from lifeboat.text import plural


def candidates(archives: Iterable[Archive], now: datetime, keep_days: int) -> Iterator[Archive]:
    """Yield what the kept logs may continue, the best first: the first that has all positions does.

    :param archives: of one application, newest first.
    """
    since = now - timedelta(days=keep_days)
    return (archive for archive in archives if archive.captured_at <= since)


def deletions(logs: Sequence[Archive], anchor: Archive | None, now: datetime, keep_days: int) -> list[Decision]:
    """Return which archives of logs are deleted, oldest first.

    :param logs: of one application, newest first.
    :param anchor: that the kept ones continue.
    """
    if not logs:
        return []
    newest = logs[0]
    if anchor:
        until = anchor.captured_at - SKEW  # what was shipped before the anchor's dump began, whatever clocks say
        reason, by = f"older than {anchor.key}, which the kept logs continue", anchor.key
    else:
        until = now - timedelta(days=keep_days)
        reason, by = (
            f"older than {plural(keep_days, 'day')}, and no archive of databases from before is left",
            newest.key,
        )
    old = (archive for archive in reversed(logs[1:]) if archive.captured_at < until)
    return [Decision(archive, "delete", "logs", reason, by) for archive in old]
