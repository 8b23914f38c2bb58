"""Transactions of binary logs to choose a moment from, the destructive ones first. Pure."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from lifeboat.catalog.archives import Archive
from lifeboat.decide.health import SKEW
from lifeboat.decide.recovery import both_times
from lifeboat.text import one_line, plural

if TYPE_CHECKING:
    from lifeboat.databases.mysql.transactions import Counts, Transaction

MOST = 100  # transactions that are listed
BACK = timedelta(days=1)  # which time is listed if nobody says since when
LONGEST = 500  # characters of a statement
DEFINING = ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE")  # statements that are shown with their text
REMOVING = ("DROP", "TRUNCATE", "DELETE")  # statements that come before all others
ADDING = ("INSERT", "LOAD DATA")  # statements that do no harm


class Wanted(NamedTuple):
    """The transactions that are asked for.

    :param databases: those that touch one of them; and all definitions, whatever they are about.
    :param table: with or without its database; any when empty. Statements that change rows come with all of them.
    """

    databases: Collection[str]
    table: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Listed:
    """Transactions to choose from.

    :param shown: the most destructive ones, those first.
    :param count: of all that were asked for.
    """

    shown: list[Transaction]
    count: int


def archives_of(logs: Iterable[Archive], wanted: Wanted) -> Iterator[Archive]:
    """Yield the archives that may hold transactions of a time, oldest first.

    :param logs: of an application, newest first.
    """
    for archive in sorted(logs, key=lambda archive: (archive.captured_at, archive.key)):
        if archive.captured_at >= wanted.since - SKEW:
            yield archive
        if archive.captured_at > wanted.until + SKEW:  # all later ones begin after it
            return


def choose(transactions: Iterable[Transaction], wanted: Wanted) -> Listed:
    """Choose what to list: first what statements remove, then other statements, then what deletes most."""
    count = 0

    def asked_for() -> Iterator[Transaction]:
        nonlocal count
        for transaction in transactions:
            if wanted.since <= transaction.time <= wanted.until and _is_wanted(transaction, wanted):
                count += 1
                yield transaction

    shown = heapq.nsmallest(MOST, asked_for(), key=_rank)
    return Listed(shown, count)


def _rank(transaction: Transaction) -> tuple[bool, bool, int, int, datetime]:
    statement = transaction.statement.upper()
    is_harmless = not statement or statement.startswith(ADDING)
    deletions = sum(each.delete_events for each in transaction.changes.values())
    size = transaction.bytes if deletions else 0
    return not statement.startswith(REMOVING), is_harmless, -deletions, -size, transaction.time


def _is_wanted(transaction: Transaction, wanted: Wanted) -> bool:
    touched = [tuple(name.split(".", 1)) for name in transaction.changes]
    if not wanted.table:
        return bool(transaction.statement) or any(schema in wanted.databases for schema, _ in touched)
    if transaction.statement and not transaction.statement.startswith(DEFINING):
        return True  # nothing says which table it changes
    schema, _, table = wanted.table.rpartition(".")
    schemas = {schema} if schema else wanted.databases
    says = re.search(rf"(?<!\w){re.escape(table)}(?!\w)", transaction.statement, re.IGNORECASE)
    return bool(says) or any(of in schemas and name == table for of, name in touched)


def line(transaction: Transaction, zone: ZoneInfo) -> str:
    """Return a transaction as a line."""
    changes = [
        f"{table}: {', '.join(filter(None, map(_counted, _events(each), ('insert', 'update', 'delete'))))}"
        for table, each in transaction.changes.items()
    ]
    what = "; ".join(filter(None, (one_line(transaction.statement[:LONGEST]), *changes)))
    return f"{both_times(transaction.time, zone)}  {transaction.gtid or 'no GTID'}  {what}"


def _events(counts: Counts) -> tuple[int, int, int]:
    return counts.insert_events, counts.update_events, counts.delete_events


def _counted(number: int, kind: str) -> str:
    return plural(number, f"{kind} event") if number else ""


def rest_text(listed: Listed) -> str:
    """Say how much is not shown; empty where all is."""
    more = listed.count - len(listed.shown)
    return f"{plural(more, 'further transaction')}, which delete less, are not shown." if more else ""
