"""Checks of shipped logs: their age, their gaps, and whether servers keep them long enough. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from lifeboat.catalog.archives import Archive, Catalog, LogWindow, number_of
from lifeboat.decide.health import SKEW, Finding, Verdict
from lifeboat.text import age_text, plural, size_text

if TYPE_CHECKING:  # a command starts without what reads SQL
    from lifeboat.databases.mysql.logs import LogServer

TOLD_FOR = timedelta(days=1)  # after a new chain began
TOO_SHORT, SHORT = timedelta(days=1), timedelta(days=3)  # for which servers keep their logs


def check(
    application: str, destination: str, found: Catalog, databases: int, longest_age: timedelta | None, now: datetime
) -> Iterator[Finding]:
    """Look at the archives of an application's logs at a destination.

    :param databases: of the application, that have a binary log.
    :param longest_age: None for no limit.
    """
    finding = partial(Finding, application, destination)
    if why := found.unplaced.get(application):
        yield finding("log position", "unhealthy", f"the newest backup has no position in the binary log: {why}")
    logs, window = found.logs_of(application), found.windows.get(application)
    if not logs or not window:
        text = "there is no archive of binary logs yet: the first follows a database backup with a position in the log"
        yield finding("log age", "degraded", text)
        return
    if window.error:
        yield finding("log markers", "unhealthy", window.error)
    yield finding("log age", *_age(window, longest_age, now))
    unbroken = without_gap(logs)
    if gap := _gap(logs, unbroken, window):
        yield finding("log gap", "unhealthy", gap)
    if is_told(window, now):
        text = f"a new chain of binary logs began at {_time(window.since)}: {window.reason or 'the archive says why'}"
        yield finding("new log chain", "degraded", f"{text}. No moment between it and the chain before can be reached")
    if lacks := _lacks_anchor(window, databases):
        yield finding("log anchor", *lacks)
    times = f"from {_time(window.since)} to {_time(window.until)}"
    size = size_text(sum(archive.size for archive in logs))
    text = f"{plural(len(unbroken), 'archive')} of binary logs without a gap, {times}; {size} stored in all"
    yield finding("logs", "healthy", text)


def is_told(window: LogWindow, now: datetime) -> bool:
    """Return whether checks tell that a new chain began."""
    return window.is_new and now - window.since < TOLD_FOR


def without_gap(logs: Sequence[Archive]) -> list[Archive]:
    """Return the newest archives of logs that are a chain without a gap, newest first.

    Where destinations were away in turn, a chain may have two archives of a number: those after it continue the newer.

    :param logs: newest first.
    """
    unbroken = [*logs[:1]]
    for archive in logs[1:]:
        number, next_number = number_of(archive.key), number_of(unbroken[-1].key)
        if next_number == 1 or number < next_number - 1:
            break
        if number == next_number - 1:
            unbroken.append(archive)
    return unbroken


def runs(logs: Sequence[Archive]) -> Iterator[list[Archive]]:
    """Yield the archives of logs between gaps, the newest first, and so within each.

    :param logs: newest first.
    """
    rest = list(logs)
    while rest:
        unbroken = without_gap(rest)
        yield unbroken
        rest = rest[rest.index(unbroken[-1]) + 1 :]


def check_proof(
    application: str, destination: str, found: Catalog, longest_age: timedelta | None, now: datetime
) -> Iterator[Finding]:
    """Look at the newest proof that an application's logs lead from one archive of databases to the next.

    :param longest_age: None for no limit.
    """
    window, proof = found.windows.get(application), found.newest_chain_proofs.get(application)
    finding = partial(Finding, application, destination, "chain proof")
    cure = "'lifeboat drill --chain' and restore_drill prove one"
    if proof is None:
        if window:
            is_late = longest_age is not None and window.until - window.since > longest_age
            text = f"nothing proves yet that the binary logs lead from one database archive to the next: {cure}"
            yield finding("degraded" if is_late else "healthy", text)
        return
    if proof.error:
        yield finding("unhealthy", proof.error)
        return
    age = max(now - proof.proven_at, timedelta())
    text = f"the newest proof that binary logs lead to a database archive, {proof.key}, is {age_text(age)} old"
    if longest_age is not None and age > longest_age:
        yield finding("degraded", f"{text}, more than {age_text(longest_age)}: {cure}")
    else:
        yield finding("healthy", text)


def _age(window: LogWindow, longest: timedelta | None, now: datetime) -> tuple[Verdict, str]:
    if window.until > now + SKEW:
        text = f"the binary logs reach to {_time(window.until)}, which is in the future"
        return "unhealthy", f"{text}: set the clocks of the server and the workers"
    age = max(now - window.until, timedelta())
    text = f"the binary logs reach up to {age_text(age)} ago"
    if longest and age > longest:
        return "unhealthy", f"{text}, more than {age_text(longest)}"
    return "healthy", text


def _gap(logs: Sequence[Archive], unbroken: Sequence[Archive], window: LogWindow) -> str:
    """Return what is missing from the newest chain; empty where nothing is, or only what a clean-up deletes.

    A clean-up deletes the oldest: where something older is left, so should be the begin of the chain.
    """
    first = unbroken[-1]
    if not window.is_one_chain:
        return f"the begin of the chain of {unbroken[0].key} is missing: {first.key} is of another one"
    older = logs[logs.index(first) + 1 :]
    if number_of(first.key) == 1 or not older:
        return ""
    return f"binary logs between {older[0].key} and {first.key} are missing: no moment there can be reached"


def _lacks_anchor(window: LogWindow, databases: int) -> tuple[Verdict, str] | None:
    """Return what no database backup continues into the logs; None where one does, as far as anybody knows."""
    if window.anchor is None:
        text = f"no database backup since {_time(window.since)} has a position in the binary log, so the logs from then"
        return "unhealthy", f"{text} on continue nothing, and restore nothing: back the databases up"
    if window.positions is not None and window.positions < databases:
        text = f"{window.anchor.key} has positions for {window.positions} of {plural(databases, 'database')}"
        return "degraded", f"the binary logs restore no other database: {text}"
    return None


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def of_server(application: str, database: str, server: LogServer, *, can_decompress: bool) -> Iterator[Finding]:
    """Look at how the server of a database writes and keeps its logs.

    :param can_decompress: whether compressed transactions can be replayed here.
    """
    kept = timedelta(seconds=server.keeps)
    if server.keeps and kept < SHORT:
        verdict: Verdict = "unhealthy" if kept < TOO_SHORT else "degraded"
        text = f"the server of {database} keeps its binary logs for {age_text(kept)}; a longer outage loses some"
        cure = "set binlog_expire_logs_seconds to 3 days or more"
        yield Finding(application, "", "server log retention", verdict, f"{text}: {cure}")
    if server.log_format == "STATEMENT":
        text = f"the server of {database} logs statements, which may do something else when they are replayed"
        yield Finding(application, "", "log format", "unhealthy", f"{text}: set binlog_format to ROW")
    if server.compresses and not can_decompress:
        text = f"the server of {database} compresses transactions, and nothing here can replay them"
        cure = "install the library zstandard: pip install 'airflow-lifeboat[zstd]'"
        yield Finding(application, "", "log format", "unhealthy", f"{text}: {cure}")
