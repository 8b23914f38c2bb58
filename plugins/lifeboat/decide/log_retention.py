"""Retention of logs: which no restore needs any more. Pure.

Logs are kept for a number of days, and with them the newest archive of databases from before that time: the anchor,
which they continue. While they do not reach back so far, it is the archive with which they begin: once it is deleted,
none grows old enough where dumps are kept for fewer days. What was shipped before the anchor is deleted, oldest first,
so that what is left has no gap. Where no such archive has a position in the log, what is older than the number of days
continues nothing, and is deleted, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from lifeboat.catalog.archives import Archive
from lifeboat.decide.health import SKEW
from lifeboat.decide.retention import Decision
from lifeboat.text import plural


def candidates(
    archives: Iterable[Archive], logs: Sequence[Archive], now: datetime, keep_days: int
) -> tuple[list[Archive], list[Archive]]:
    """Return what the kept logs may continue, the best first: the first that has all positions does.

    :param archives: of databases of one application, newest first.
    :param logs: of the same, newest first.
    :returns: those from before the kept logs, which are better, and later ones.
    """
    since = now - timedelta(days=keep_days)
    if logs:
        since = max(since, logs[-1].captured_at)
    before, later = list[Archive](), list[Archive]()
    for archive in archives:
        (before if archive.captured_at <= since else later).append(archive)
    return before, later[::-1]


def deletions(logs: Sequence[Archive], anchor: Archive | None, now: datetime, keep_days: int) -> list[Decision]:
    """Return which archives of logs are deleted, oldest first.

    :param logs: of one application, newest first.
    :param anchor: that the kept ones continue.
    """
    if not logs:
        return []
    newest, until = logs[0], now - timedelta(days=keep_days)
    if anchor:
        until = min(until, anchor.captured_at - SKEW)  # before the anchor's dump began, whatever clocks say
        reason, by = f"older than {anchor.key}, which the kept logs continue", anchor.key
    else:
        reason, by = (
            f"older than {plural(keep_days, 'day')}, and no archive of databases from before is left",
            newest.key,
        )
    old = (archive for archive in reversed(logs[1:]) if archive.captured_at < until)
    return [Decision(archive, "delete", "logs", reason, by) for archive in old]
