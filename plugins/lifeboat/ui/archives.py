"""List of archives: every archive once, with all of its destinations and the ways to restore it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from lifeboat.catalog.archives import Archive, Catalog, Kind, LastRead
from lifeboat.catalog.marker import Marker
from lifeboat.decide import health
from lifeboat.decide.recovery import Window
from lifeboat.settings.config import Settings
from lifeboat.text import size_text
from lifeboat.ui.readings import Reading, endpoints
from lifeboat.ui.recipes import Recipe, recipes
from lifeboat.ui.safety import newest_proof, proof_text
from lifeboat.ui.words import ago

KIND_NAMES: dict[Kind, str] = {"database": "Database", "application": "Application", "legacy": "Legacy"}
TOTALS = {
    "databases": "Databases",
    "tables": "Tables",
    "rows": "Rows",
    "objects": "Views, triggers, routines",
    "sql_bytes": "SQL",
    "file_count": "Files",
    "file_bytes": "Size of files",
    "file_changed": "Changed while read",
    "file_missing": "Vanished while read",
    "warnings": "Warnings",
    "limits": "Not restored exactly",
    "by_hand": "Restored by hand only",
}


@dataclass(frozen=True)
class Row:
    """One archive.

    :param age: empty where the archive is dated in the future.
    :param places: names of the destinations that hold it.
    :param proven: whether an authentic proof was read of it anywhere.
    :param unchecked: whether it has a proof that was not read.
    :param foreign: whether it belongs to no application of the settings: nobody knows where to restore it to.
    :param stale: whether no destination that answers now holds it.
    :param last_read: how long ago it was read back whole, anywhere; empty where never.
    :param damaged: whether it failed anywhere when it was read back last.
    """

    archive: Archive
    age: str
    places: tuple[str, ...]
    proven: bool
    unchecked: bool
    foreign: bool
    stale: bool
    last_read: str
    damaged: bool


@dataclass(frozen=True)
class Filters:
    """Filters of the archives to show; an empty text chooses all.

    :param proven: ``yes`` or ``no``.
    :param limit: rows of the list.
    """

    application: str = ""
    kind: str = ""
    destination: str = ""
    proven: str = ""
    limit: int = 15

    def admit(self, row: Row) -> bool:
        """Return whether an archive is one of them."""
        return (
            self.application in ("", row.archive.application)
            and self.kind in ("", row.archive.kind)
            and (not self.destination or self.destination in row.places)
            and (not self.proven or row.proven == (self.proven == "yes"))
        )


@dataclass(frozen=True)
class Contents:
    """The contents of an archive.

    :param facts: names and values; empty where nothing is known.
    """

    note: str = ""
    facts: tuple[tuple[str, str], ...] = ()


class Span(NamedTuple):
    """Time in which every moment can be restored.

    :param x: where it begins in the whole time that is drawn, in percent.
    :param width: in percent.
    """

    since: datetime
    until: datetime
    x: float
    width: float


@dataclass(frozen=True)
class Moments:
    """The moments to which an application's databases can be restored by its logs.

    :param places: names of the destinations.
    :param spans: oldest first; what is between two is a gap.
    :param behind: how long ago the last one ends.
    """

    places: tuple[str, ...]
    spans: tuple[Span, ...]
    behind: str


@dataclass(frozen=True)
class RecoveryCard:
    """Ways to restore an application.

    :param newest: the newest archive of each kind; one that is dated in the future only where there is no other.
    :param recipes: commands for the first of them.
    :param moments: by destination; those that reach the same are one.
    :param ships_logs: whether there should be some.
    """

    application: str
    newest: tuple[Row, ...]
    proof: str
    recipes: tuple[Recipe, ...]
    moments: tuple[Moments, ...] = ()
    ships_logs: bool = False


def rows(settings: Settings, readings: Iterable[Reading], now: datetime) -> list[Row]:
    """Return every archive once, newest first; its places begin with those that answer."""
    places: dict[str, list[str]] = {}
    archives: dict[str, Archive] = {}
    known: dict[str, set[str]] = defaultdict(set)
    stale = set()
    reads: dict[str, list[LastRead]] = defaultdict(list)
    for reading in sorted(readings, key=lambda reading: reading.found is None):
        found = reading.known.found
        if found is None:
            continue
        for archive in found.archives:
            if archive.key not in archives and reading.found is None:
                stale.add(archive.key)
            places.setdefault(archive.key, []).append(reading.destination)
            archives.setdefault(archive.key, archive)
            known[archive.key].add(found.proof_of(archive))
            reads[archive.key] += [last] if (last := found.readings.get(archive.key)) else []
    dated = {archive.key for archive in health.dated_until(now, archives.values())}
    return [
        Row(
            archive,
            ago(now - archive.captured_at) if archive.key in dated else "",
            tuple(places[archive.key]),
            "proven" in known[archive.key],
            "proven" not in known[archive.key] and "unchecked" in known[archive.key],
            archive.application not in settings.applications,
            archive.key in stale,
            _last_read(reads[archive.key], now),
            any(not last.whole for last in reads[archive.key]),
        )
        for archive in sorted(archives.values(), key=lambda archive: (archive.captured_at, archive.key), reverse=True)
    ]


def _last_read(reads: Iterable[LastRead], now: datetime) -> str:
    whole = [last.at for last in reads if last.whole]
    return ago(max(now - max(whole), timedelta())) if whole else ""


def longest_ages(settings: Settings, filters: Filters) -> dict[tuple[str, Kind], timedelta]:
    """Return how old the newest archive of each application and kind may be, as far as the filters show them."""
    return {
        (application, kind): limit
        for application in settings.applications
        for kind, limit in settings.limits_of(application).longest_ages.items()
        if filters.application in ("", application) and filters.kind in ("", kind)
    }


def contents(marker: Marker | None) -> Contents:
    """Return what an archive's public marker tells, in totals."""
    if marker is None:
        return Contents()
    totals = marker.totals.to_json()
    facts = [(label, _total(name, totals[name])) for name, label in TOTALS.items() if name in totals]
    facts.append(("Encrypted", "AES-256" if marker.archive.encrypted else "no"))
    facts.append(("SHA-256", marker.archive.sha256))
    return Contents(marker.note, tuple(facts))


def _total(name: str, value: int) -> str:
    return size_text(value) if name.endswith("bytes") else f"{value:,}"


def recovery(settings: Settings, readings: Iterable[Reading], now: datetime) -> list[RecoveryCard]:
    """Say of every application how to get its newest archive back."""
    readings = list(readings)
    # Those that nobody signed and those with a wrong date come last.
    everything = sorted(rows(settings, readings, now), key=lambda row: (row.archive.kind == "legacy", not row.age))
    cards = []
    for application in settings.applications:
        newest: dict[Kind, Row] = {}
        for row in everything:
            if row.archive.application == application:
                newest.setdefault(row.archive.kind, row)
        first = next(iter(newest.values()), None)
        proof = proof_text(newest_proof(readings, application), now)
        commands = recipes(settings, first.archive, first.places, endpoints(readings)) if first else ()
        ships_logs = settings.logs_of(application) is not None
        known = tuple(moments(readings, application, now)) if ships_logs else ()
        cards.append(RecoveryCard(application, tuple(newest.values()), proof, commands, known, ships_logs))
    return cards


def moments(readings: Iterable[Reading], application: str, now: datetime) -> Iterator[Moments]:
    """Yield the moments to which an application's databases can be restored."""
    places: dict[tuple[Window, ...], list[str]] = {}
    for reading in readings:
        if found := reading.known.found:
            places.setdefault(windows(found, application), []).append(reading.destination)
    for each, names in places.items():
        if each:
            begin, end = each[0].since, max(now, each[-1].until)
            whole = max((end - begin).total_seconds(), 1)
            spans = (
                Span(
                    window.since,
                    window.until,
                    100 * (window.since - begin).total_seconds() / whole,
                    100 * (window.until - window.since).total_seconds() / whole,
                )
                for window in each
            )
            yield Moments(tuple(names), tuple(spans), ago(now - each[-1].until))


def windows(found: Catalog, application: str) -> tuple[Window, ...]:
    """Return the times in which every moment can be restored, as markers tell it, oldest first."""
    newest = found.windows.get(application)
    covered = [*reversed(found.earlier.get(application, ())), *([newest] if newest else [])]
    return tuple(
        Window(window.first.captured_at, window.until)
        for window in covered
        if window.first and window.first.captured_at <= window.until
    )
