"""Drills of chains: which logs lead from one archive of databases to the next, and what is compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from lifeboat.catalog.archives import Archive
from lifeboat.catalog.logs import LogPiece
from lifeboat.catalog.manifest import ManifestHead
from lifeboat.databases import OTHER_SCHEMA, Dump, LogPosition
from lifeboat.databases.mysql.limits import FLOAT
from lifeboat.decide import comparison, recovery
from lifeboat.decide.comparison import Difference
from lifeboat.errors import ArchiveError
from lifeboat.text import plural

FETCHING = timedelta(hours=1)  # within which shipping ends that began before a dump
CURE = "Look for who deleted it; 'lifeboat list' shows what there is."

Manifests = Callable[[Archive], ManifestHead]  # reads the signed manifest of an archive


@dataclass(frozen=True)
class Span:
    """Two archives of databases, and the logs that lead from one to the other.

    :param databases: that have an exact position in both, on servers that continue each other's logs.
    :param logs: oldest first.
    """

    begin: Archive
    end: Archive
    databases: tuple[str, ...]
    logs: tuple[Archive, ...] = ()


class Subject(NamedTuple):
    """A database of a span, as both archives hold it."""

    begin: Dump
    end: Dump

    @property
    def left_out(self) -> frozenset[str]:
        """Tables that no replay can follow: those that the first dump lacks, and of FLOAT columns without a key.

        Dumps keep six digits of FLOAT, so a row without a key is not found by the values in the log.
        """
        return frozenset({*self.begin.without_rows, *_without_key(self.begin), *_without_key(self.end)})

    @property
    def skipped(self) -> tuple[list[str], list[str]]:
        """Tables to skip where the copy is compared, and those that have no rows, whose views and triggers count."""
        bare = {*self.begin.structure_only, *self.end.structure_only} - {*self.begin.excluded_tables}
        return sorted({*self.end.excluded_tables, *self.left_out} - bare), sorted(bare)

    @property
    def uncompared(self) -> Mapping[str, str]:
        """Why tables cannot be compared, by name."""
        unprotected = dict.fromkeys((*self.begin.unprotected_tables, *self.end.unprotected_tables), "without snapshots")
        floats = dict.fromkeys((*_without_key(self.begin), *_without_key(self.end)), "of FLOAT columns without a key")
        bare = dict.fromkeys((*self.begin.structure_only, *self.end.structure_only), "without rows")
        excluded = dict.fromkeys((*self.begin.excluded_tables, *self.end.excluded_tables), "excluded")
        return unprotected | floats | bare | excluded


def _without_key(dump: Dump) -> Iterator[str]:
    floats = [limit.name for limit in dump.limits if limit.kind == FLOAT]
    for table in dump.tables:
        if table.order == "none" and any(name.startswith(f"{table.name}.") for name in floats):
            yield table.name


def positions_of(manifest: ManifestHead) -> dict[str, LogPosition]:
    """Return the exact positions of an archive, by database."""
    return {dump.database: dump.position for dump in manifest.databases if dump.position}


def pair(end: Archive, archives: Iterable[Archive], manifest: Manifests) -> Span | None:
    """Return an archive and the newest one before it that has an exact position of a database, too; None without."""
    ends = positions_of(manifest(end))
    for begin in archives if ends else ():
        if begin.captured_at < end.captured_at:
            begins = positions_of(manifest(begin))
            if names := [name for name in ends if name in begins]:
                return Span(begin, end, tuple(names))
    return None


def joined(span: Span, logs: Sequence[Archive], manifest: Manifests, kept_since: datetime) -> Span | str:
    """Return a span with its logs; or why they do not lead from one archive to the other, where nothing is wrong.

    :param logs: newest first.
    :param kept_since: what is older, a clean-up may have deleted.
    :returns: empty if logs do not reach the later archive yet.
    :raises ArchiveError: logs between them are missing, or do not continue each other.
    """
    ends, begins = (_places(manifest(archive), span.databases) for archive in (span.end, span.begin))
    if any(_is_another_log(*places) for places in zip(begins, ends, strict=True)):
        return f"the logs were reset after {span.begin.key}"
    last = next((log for log in _until(logs, span.end) if any(_holds(manifest(log), end) for end in ends)), None)
    if last is None:
        return ""
    trail, by_key = [last], {log.key: log for log in logs}
    while begins := [begin for begin in begins if not _holds(manifest(trail[-1]), begin)]:
        chain = manifest(trail[-1]).chain
        if chain is None or not chain.previous:
            return f"a new chain of binary logs began after {span.begin.key}"
        before = by_key.pop(chain.previous, None)
        if before is None:
            if span.begin.captured_at < kept_since:
                return f"a clean-up deleted the logs behind {span.begin.key}"
            raise ArchiveError(f"{chain.previous}, which {trail[-1].key} continues, is missing.", CURE)
        trail.append(before)
    trail.reverse()
    _refuse_gaps(trail, manifest)
    return _why_apart(span, ends, trail, manifest) or replace(span, logs=tuple(trail))


def _why_apart(span: Span, ends: Sequence[LogPosition], trail: Sequence[Archive], manifest: Manifests) -> str:
    """Return why logs do not lead from one archive to the other, where nothing is wrong; empty if they do."""
    begins = _places(manifest(span.begin), span.databases)
    wanted: Mapping[str, Collection[str]] = recovery.by_server(dict(zip(span.databases, begins, strict=True)))
    known: dict[str, LogPiece] = {}
    for archive in trail:
        wanted = recovery.with_successors(wanted, manifest(archive))
        if lost := recovery.why_lost(manifest(archive), wanted) or _why_early(span, ends, known, manifest(archive)):
            return lost
        known |= recovery.ends_of(manifest(archive))
    for begin, end in zip(begins, ends, strict=True):
        if begin.server != end.server and wanted.get(begin.server) != wanted.get(end.server):
            return f"the databases of {span.end.key} are on another server, whose logs do not continue those before"
    return ""


def _why_early(span: Span, ends: Iterable[LogPosition], known: Mapping[str, LogPiece], manifest: ManifestHead) -> str:
    """Return why the later archive is of a time before its server had all that was shipped; empty if it is not."""
    for piece in manifest.logs:
        before = known.get(piece.follows.server) if piece.follows else None
        for end in ends:
            if before and piece.server.uid == end.server and recovery.missing(end.gtids, before.gtids_after or ""):
                return f"{span.end.key} was taken before its server had all that the one before it had shipped"
    return ""


def _refuse_gaps(trail: Sequence[Archive], manifest: Manifests) -> None:
    """:raises ArchiveError: an archive of logs does not continue the one before it."""
    ends: dict[str, LogPiece] = {}
    for before, after in pairwise(trail):
        ends |= recovery.ends_of(manifest(before))
        if why := recovery.why_not_next(manifest(before), ends, manifest(after)):
            raise ArchiveError(f"{after.key} does not continue {before.key}: {why}.")


def _until(logs: Iterable[Archive], dump: Archive) -> Iterator[Archive]:
    """Yield the logs that may hold the position of a dump, newest first."""
    return (log for log in logs if log.captured_at > dump.captured_at - FETCHING)


def _places(manifest: ManifestHead, databases: Collection[str]) -> list[LogPosition]:
    positions = positions_of(manifest)
    return [positions[name] for name in databases]


def _is_another_log(begin: LogPosition, end: LogPosition) -> bool:
    """Return whether logs were reset between two positions: names and numbers repeat then, and GTIDs begin again."""
    return begin.server == end.server and bool(recovery.missing(end.gtids, begin.gtids))


def _holds(manifest: ManifestHead, position: LogPosition) -> bool:
    # What MySQL executed may be less than what is before the position: the last transactions are still committing.
    return any(
        recovery.covers_position(piece, position) and not recovery.missing(piece.gtids_after, position.gtids)
        for piece in manifest.logs
    )


def differences(
    subject: Subject, captured: Dump, restored: Dump, left_out: Collection[tuple[str, str]]
) -> list[Difference]:
    """Compare what a replay led to with the later archive: only the definition of a table may differ.

    :param captured: what the later archive says, by the rules of today.
    :param left_out: kinds and names of what the load of the earlier one could not restore.
    """
    after = {table.name: table.order for table in restored.tables}
    uncompared = subject.uncompared
    # Of what was made since, the replay says how much it could not make, not what: these views no restore makes.
    elsewhere = [("view", limit.name) for limit in captured.limits if limit.kind == OTHER_SCHEMA]
    found = [
        # CREATE TABLE ... SELECT makes a table that its own definition, which the load runs, does not word alike.
        replace(each, fatal=each.fatal and (each.kind, each.what) != ("table", comparison.OTHER_DEFINITION))
        for each in comparison.differences(captured, restored, left_out=[*left_out, *elsewhere])
    ]
    found += [
        Difference("table", table.name, "has a primary key in one of both only, so that its rows cannot be compared")
        for table in captured.tables
        if after.get(table.name, table.order) != table.order
    ]
    triggers = {*subject.begin.unreplayed_triggers, *subject.end.unreplayed_triggers}
    unknown = {("trigger", name) for name in triggers} | {("table", name) for name in uncompared}
    return [each for each in found if (each.kind, each.name) not in unknown]


def notes(subjects: Sequence[Subject], others: int, left_out: Mapping[str, int], redefined: int) -> Iterator[str]:
    """Yield what the reader of a proof should know, without the name of a table.

    :param others: number of databases without positions.
    :param left_out: of the replay, how often, by kind.
    :param redefined: number of tables whose definition is another one.
    """
    if others:
        databases = plural(others, "database was", "databases were")
        yield f"{databases} not compared: no exact position in both archives"
    reasons = [reason for subject in subjects for reason in subject.uncompared.values()]
    for reason in dict.fromkeys(reasons):
        yield f"not compared: {plural(reasons.count(reason), 'table')} {reason}"
    for kind, count in left_out.items():
        yield f"left out of the replay: {kind}: {count}"
    if redefined:
        yield f"not equal: the definition of {plural(redefined, 'table')}"
