"""Checks of shipped logs: their age, their gaps, and whether servers keep them long enough. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from lifeboat.catalog.archives import Archive, number_of
from lifeboat.databases.mysql.logs import LogServer
from lifeboat.decide.health import Finding, Verdict, dated_until
from lifeboat.text import age_text, plural

TOO_SHORT, SHORT = timedelta(days=1), timedelta(days=3)  # for which servers keep their logs


def check(
    application: str, destination: str, logs: Sequence[Archive], longest_age: timedelta | None, now: datetime
) -> Iterator[Finding]:
    """Look at the archives of an application's logs at a destination.

    :param logs: newest first.
    :param longest_age: None for no limit.
    """
    present = dated_until(now, logs)
    if not present:
        text = "there is no archive of binary logs yet: the first follows a database backup with a position in the log"
        yield Finding(application, destination, "log age", "degraded", text)
        return
    age = max(now - present[0].captured_at, timedelta())
    old = longest_age is not None and age > longest_age
    limit = f", more than {age_text(longest_age)}" if longest_age and old else ""
    text = f"the newest archive of binary logs is {age_text(age)} old{limit}"
    yield Finding(application, destination, "log age", "unhealthy" if old else "healthy", text)
    unbroken = without_gap(present)
    if gap := _gap(present):
        yield Finding(application, destination, "log gap", "unhealthy", gap)
    times = (f"{archive.captured_at:%Y-%m-%d %H:%M:%S} UTC" for archive in (unbroken[-1], unbroken[0]))
    archives = plural(len(unbroken), "archive")
    text = f"{archives} of binary logs without a gap, from {' to '.join(times)}"
    yield Finding(application, destination, "logs", "healthy", text)


def without_gap(logs: Sequence[Archive]) -> list[Archive]:
    """Return the newest archives of logs that are a chain without a gap, newest first."""
    unbroken = [*logs[:1]]
    for newer, older in pairwise(logs):
        if number_of(newer.key) != number_of(older.key) + 1:
            break
        unbroken.append(older)
    return unbroken


def _gap(logs: Sequence[Archive]) -> str:
    """Return what is missing from the newest chain; empty where nothing is, or only what a clean-up deletes."""
    for newer, older in pairwise(logs):
        number = number_of(newer.key)
        if number == 1:
            return ""
        if number > number_of(older.key) + 1:
            return f"binary logs between {older.key} and {newer.key} are missing: no moment there can be reached"
    return ""


def of_server(application: str, database: str, server: LogServer) -> Iterator[Finding]:
    """Look at how the server of a database writes and keeps its logs."""
    kept = timedelta(seconds=server.keeps)
    if server.keeps and kept < SHORT:
        verdict: Verdict = "unhealthy" if kept < TOO_SHORT else "degraded"
        text = f"the server of {database} keeps its binary logs for {age_text(kept)}, which no longer outage may last"
        cure = "set binlog_expire_logs_seconds to 3 days or more"
        yield Finding(application, "", "server log retention", verdict, f"{text}: {cure}")
    if server.log_format == "STATEMENT":
        text = f"the server of {database} logs statements, which may do something else when they are replayed"
        yield Finding(application, "", "log format", "unhealthy", f"{text}: set binlog_format to ROW")
