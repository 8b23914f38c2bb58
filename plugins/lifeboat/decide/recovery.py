"""Restores to a moment: the archive of databases to begin with, the logs to replay onto it, and where to stop. Pure.

Whatever decides is in signed manifests: keys and times of a listing only say which of them to read first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from lifeboat.catalog.archives import Archive, number_of
from lifeboat.databases.mysql.gtids import MariaDBGtids, MySQLGtids
from lifeboat.decide.health import SKEW
from lifeboat.errors import LifeboatError, RestoreError, SettingsError
from lifeboat.support.formats import Moment, Text
from lifeboat.text import plural

if TYPE_CHECKING:
    from lifeboat.catalog.logs import LogEvents, LogPiece
    from lifeboat.catalog.manifest import ManifestHead
    from lifeboat.databases import LogPosition

LATEST = "latest"
BEFORE = "before:"
FORMS = "Say 'latest', a time as in 2026-11-23T14:31:07, or a GTID, with 'before:' in front to leave it out."
LISTS = "'lifeboat logs' lists the transactions that there are."
SHIP = "'lifeboat backup logs' ships what the server has written since"

_MYSQL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[1-9][0-9]{0,18}")
_MARIADB = re.compile(r"[0-9]{1,10}-[0-9]{1,10}-[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Point:
    """A moment to restore to; the end of the logs where nothing is set.

    :param time: every transaction up to the first that was committed later.
    :param gtid: this transaction is the last one ...
    :param before: ... or the first one that is omitted.
    """

    time: Moment | None = None
    gtid: str = ""
    before: bool = False

    @property
    def is_latest(self) -> bool:
        """True if it is the end of the logs."""
        return self.time is None and not self.gtid

    def text(self, zone: ZoneInfo) -> str:
        """Return the moment for people."""
        if self.time:
            return both_times(self.time, zone)
        if self.gtid:
            return f"the {'beginning' if self.before else 'end'} of transaction {self.gtid}"
        return "the end of the logs"


@dataclass(frozen=True)
class LogArchive:
    """An archive of logs that a restore replays.

    :param sha256: of the archive as it was published.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Recovery:
    """The logs that a restore replays onto the databases of an archive.

    :param logs: oldest first, without a gap; the first holds the position of the dump.
    :param reaches: time up to which they hold every transaction, by the server's clock.
    :param is_cut: whether there are later logs, which do not continue these.
    :param zone: of the site, for people.
    """

    point: Point
    logs: tuple[LogArchive, ...]
    reaches: Moment
    is_cut: bool
    zone: Text

    def lines(self) -> Iterator[str]:
        """Yield what is replayed, for people."""
        zone = ZoneInfo(self.zone)
        count, first, last = plural(len(self.logs), "archive"), self.logs[0].key, self.logs[-1].key
        which = first if first == last else f"from {first} to {last}"
        yield f"Replayed onto it, up to {self.point.text(zone)}: {count} of binary logs, {which}."
        cut = " Later logs do not continue them." if self.is_cut else ""
        yield f"These logs hold every transaction up to {both_times(floor(self.reaches), zone)}.{cut}"


class Shelf(NamedTuple):
    """The archives of an application at a destination.

    :param archives: of databases, newest first.
    :param logs: newest first.
    :param manifest: reads the signed manifest of an archive; raises a LifeboatError where it cannot.
    """

    destination: str
    archives: Sequence[Archive]
    logs: Sequence[Archive]
    manifest: Callable[[Archive], ManifestHead]


class Reached(NamedTuple):
    """The way to a moment.

    :param anchor: the archive of databases to begin with.
    :param logs: oldest first.
    :param reaches: time up to which they hold every transaction.
    :param is_cut: whether there are later logs, which do not continue these.
    """

    destination: str
    anchor: Archive
    logs: tuple[Archive, ...]
    reaches: datetime
    is_cut: bool


class Window(NamedTuple):
    """Time in which every moment can be reached."""

    since: datetime
    until: datetime


@dataclass
class _Trail:
    """The logs that continue some positions.

    :param since: when the positions were taken.
    :param databases: that they are of, by server.
    :param logs: oldest first.
    :param last: the manifest of the last one.
    :param ends: the last piece of each server.
    :param broken: why one of them cannot be used; empty where the trail only ends.
    """

    positions: Sequence[LogPosition]
    since: datetime
    databases: Mapping[str, Collection[str]]
    logs: list[Archive] = field(default_factory=list)
    last: ManifestHead | None = None
    ends: dict[str, LogPiece] = field(default_factory=dict)
    broken: str = ""

    def is_wanted(self, archive: Archive) -> bool:
        """Return whether an archive may be the next one, as far as its key tells."""
        if archive.captured_at < self.since - SKEW:
            return False
        return not self.logs or number_of(archive.key) == number_of(self.logs[-1].key) + 1

    def begins_too_late(self, manifest: ManifestHead) -> bool:
        """Return whether no archive holds the positions: this one and all later ones are of a later time."""
        return self.last is None and not (manifest.covers and manifest.covers.since <= self.since + SKEW)

    def take(self, archive: Archive, manifest: ManifestHead) -> bool:
        """Take an archive if it is the next one; return whether it is."""
        if self.last is None:
            is_next = any(_holds(manifest, position) for position in self.positions)
        else:
            is_next = not why_not_next(self.last, self.ends, manifest)
        if is_next and (lost := why_lost(manifest, with_successors(self.databases, manifest))):
            self.broken = lost
            return False
        if is_next:
            self.logs.append(archive)
            self.last, self.ends = manifest, self.ends | ends_of(manifest)
            self.databases = with_successors(self.databases, manifest)
            self.positions = [position for position in self.positions if not _holds(manifest, position)]
        return is_next

    def lacks(self, positions: Iterable[LogPosition]) -> bool:
        """Return whether it does not lead on from all positions: after a reset, names and numbers of logs repeat."""
        ends = ((self.ends.get(position.server), position) for position in positions)
        return bool(self.positions) or any(end is None or bool(missing(end.gtids_after, at.gtids)) for end, at in ends)


def point_of(text: str, zone: ZoneInfo) -> Point:
    """Read a moment as somebody typed it.

    :param zone: of a time that says no offset.
    :raises SettingsError: it is none, or the clocks showed that time twice or never.
    """
    if text == LATEST:
        return Point()
    gtid = text.removeprefix(BEFORE).lower()
    if _MYSQL.fullmatch(gtid) or (_MARIADB.fullmatch(gtid) and (gtid != text or not _DATE.fullmatch(text))):
        return Point(gtid=gtid, before=gtid != text.lower())
    return Point(time=time_of(text, zone, FORMS))


def time_of(text: str, zone: ZoneInfo, forms: str = "Say a time as in 2026-11-23T14:31:07.") -> datetime:
    """Read a time as somebody typed it, in UTC.

    :param zone: of one that says no offset.
    :param forms: what else may be said.
    :raises SettingsError: it is none, or the clocks showed that time twice or never.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None and _is_ambiguous(time, zone):
            raise SettingsError(
                f"{text} is not one moment in {zone.key}, where the clocks were changed.", "Write its offset: +01:00."
            )
        return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{text!r} is no moment.", forms) from error


def _is_ambiguous(time: datetime, zone: ZoneInfo) -> bool:
    offsets = {time.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    return len(offsets) > 1


def reach(shelves: Iterable[Shelf], databases: Collection[str], point: Point, zone: ZoneInfo) -> Reached:
    """Find the way to a moment: the newest archive of databases from before it, and all logs from there on.

    :param shelves: in the order of preference.
    :param databases: that are restored; the archive has an exact position for each.
    :raises RestoreError: there is none; the message names the nearest moments that can be reached.
    """
    shelves, found, reasons = list(shelves), list[Reached](), list[str]()
    for shelf in shelves:
        reached = _reach_on(shelf, databases, point, reasons)
        if reached and not point.is_latest:
            return reached
        found += [reached] if reached else []
    if found:
        return max(found, key=lambda reached: reached.reaches)  # of equals, the first
    raise _refusal(shelves, databases, point, zone, reasons)


def _reach_on(shelf: Shelf, databases: Collection[str], point: Point, reasons: list[str]) -> Reached | None:
    """:param reasons: takes why an archive does not serve."""
    begin = _begin_of(shelf)
    if begin is None:
        reasons.append(f"no binary logs are at {shelf.destination}: {SHIP}")
    for anchor in shelf.archives:
        if begin is None or anchor.captured_at + SKEW < begin:
            break  # no logs continue it, nor any older one
        if point.time and anchor.captured_at > point.time:
            continue
        try:
            positions, since = positions_in(shelf.manifest(anchor), databases)
        except LifeboatError as error:
            reasons.append(error.message.rstrip("."))
            continue
        if (point.time and since > point.time) or any(_has(each.gtids, point.gtid) for each in positions):
            continue
        trail, leads_there = _follow(shelf, dict(zip(databases, positions, strict=True)), since, point)
        reasons += [trail.broken] if trail.broken else []
        if trail.last and leads_there:
            reaches, is_cut = max(since, _reach_of(trail.last)), trail.logs[-1].key != shelf.logs[0].key
            return Reached(shelf.destination, anchor, tuple(trail.logs), reaches, is_cut and point.is_latest)
        if point.is_latest:  # an older archive would not lead to anything later
            reasons += [] if trail.broken else [f"no logs behind {anchor.key} are there yet: {SHIP}"]
            return None
    return None


def _begin_of(shelf: Shelf) -> datetime | None:
    """Return the time from which on there are logs; None where there are none."""
    if not shelf.logs:
        return None
    oldest = shelf.logs[-1]
    try:
        covers = shelf.manifest(oldest).covers
    except LifeboatError:
        covers = None
    return covers.since if covers else oldest.captured_at


def positions_in(manifest: ManifestHead, databases: Collection[str]) -> tuple[list[LogPosition], datetime]:
    """Return the positions that an archive has for some databases, and when the last of these was captured.

    :raises RestoreError: it has none for one of them.
    """
    dumps = {dump.database: dump for dump in manifest.databases if dump.database in databases}
    positions = []
    for name in databases:
        dump = dumps.get(name)
        if dump is None:
            raise RestoreError(f"{manifest.key} holds no dump of {name}.")
        if dump.position is None:
            why = dump.no_position or "it is of an older version, or the database has no binary log"
            raise RestoreError(f"{manifest.key} has no position in the binary log for {name}: {why}.")
        positions.append(dump.position)
    return positions, max(dump.captured_at for dump in dumps.values())


def _follow(shelf: Shelf, begins: Mapping[str, LogPosition], since: datetime, point: Point) -> tuple[_Trail, bool]:
    """Follow the logs from some positions on, until they reach a moment or end.

    :param begins: positions by database.
    :param since: when the positions were taken.
    :returns: also whether they reach it.
    """
    positions = list(begins.values())
    trail = _Trail(positions, since, by_server(begins))
    for archive in filter(trail.is_wanted, reversed(shelf.logs)):
        try:
            manifest = shelf.manifest(archive)
        except LifeboatError as error:
            trail.broken = error.message.rstrip(".")
            break
        if trail.begins_too_late(manifest):
            break
        if trail.take(archive, manifest) and not trail.positions and _is_enough(manifest, point):
            return trail, not trail.lacks(positions)
        if trail.broken:
            break
    return trail, point.is_latest and bool(trail.logs) and not trail.broken and not trail.lacks(positions)


def _holds(manifest: ManifestHead, position: LogPosition) -> bool:
    return any(covers_position(piece, position) for piece in manifest.logs)


def covers_position(piece: LogPiece, position: LogPosition) -> bool:
    """Return whether a piece of a log holds a position, as far as names and numbers tell."""
    same = (piece.server.uid, piece.file) == (position.server, position.file)
    return same and piece.start <= position.offset <= piece.end


def place_of(file: str, offset: int) -> tuple[int, int]:
    """Return what orders places in the logs of a server."""
    return int(file.rpartition(".")[2]), offset


def ends_of(manifest: ManifestHead) -> dict[str, LogPiece]:
    """Return the last piece of each server."""
    return {piece.server.uid: piece for piece in manifest.logs}


def why_not_next(before: ManifestHead, ends: Mapping[str, LogPiece], after: ManifestHead) -> str:
    """Return why an archive of logs does not continue another one; empty if it does.

    :param ends: the last piece of each server so far.
    """
    if not before.chain or not after.chain or before.chain.id != after.chain.id:
        return "it is of another chain"
    if after.chain.previous != before.key or after.chain.number != before.chain.number + 1:
        return f"it continues {after.chain.previous or 'none'}"
    last = dict(ends)
    for piece in after.logs:
        before_it = piece.follows.server if piece.follows else ""
        if (end := last.get(before_it or piece.server.uid)) and (why := _why_apart(end, piece)):
            return why
        last[piece.server.uid] = piece
    return ""


def _why_apart(one: LogPiece, other: LogPiece) -> str:
    """Return why a piece does not continue the one before it."""
    place = other.follows
    if place is None or (place.file, place.end) != (one.file, one.end):
        return f"{other.entry} does not begin where {one.entry} ends"
    if place.server:  # its first file may hold some of the last transactions of the other server once more
        lost = other.gtids_before is None or missing(one.gtids_after, other.gtids_before)
        return f"transactions between {one.entry} and {other.entry} are missing" if lost else ""
    if one.file == other.file and (other.start, other.created) != (one.end, one.created):
        return f"{other.entry} does not begin where {one.entry} ends"
    if one.gtids_after is not None and other.gtids_before is not None and one.gtids_after != other.gtids_before:
        return f"the transactions before {other.entry} are not those up to the end of {one.entry}"
    return ""


@dataclass(frozen=True)
class Part:
    """A piece of a log as it is read: one of a server, or of those whose logs continue its log.

    :param skips: GTIDs of what the server before it has logged; empty where no other server was before it.
    """

    piece: LogPiece
    skips: str = ""

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.piece.file

    @property
    def start(self) -> int:
        """Position of its first event behind the format event."""
        return self.piece.start

    @property
    def server(self) -> str:
        """Identity of the server that wrote it."""
        return self.piece.server.uid

    @property
    def left_out(self) -> LogEvents:
        """Events that its transactions lack."""
        return self.piece.left_out


class Line:
    """Follows the logs of a server, and of those that continue them.

    :param server: its uid; all servers are wanted when empty.
    """

    def __init__(self, server: str = "") -> None:
        self._uids, self._wants_all = {server}, not server
        self._ends: dict[str, LogPiece] = {}
        self._skips: dict[str, str] = {}

    def part(self, piece: LogPiece) -> Part | None:
        """Return the next piece as a part of the line; None where it is none."""
        uid, before = piece.server.uid, piece.follows.server if piece.follows else ""
        if before and (end := self._ends.get(before)):
            self._skips[uid] = end.gtid_state or end.gtids_after or ""
            self._uids.add(uid)
        if not self._wants_all and uid not in self._uids:
            return None
        self._ends[uid] = piece
        return Part(piece, self._skips.get(uid, ""))


def by_server(begins: Mapping[str, LogPosition]) -> dict[str, set[str]]:
    """Return databases by the server of their position."""
    found: dict[str, set[str]] = {}
    for database, position in begins.items():
        found.setdefault(position.server, set()).add(database)
    return found


def with_successors(databases: Mapping[str, Collection[str]], manifest: ManifestHead) -> Mapping[str, Collection[str]]:
    """Return databases by server, also by those servers whose logs continue theirs from an archive on."""
    found = dict(databases)
    for piece in manifest.logs:
        if piece.follows and piece.follows.server in found:
            found[piece.server.uid] = found[piece.follows.server]
    return found


def why_lost(manifest: ManifestHead, databases: Mapping[str, Collection[str]]) -> str:
    """Return why an archive of logs does not hold all changes of some databases; empty if it does.

    :param databases: by server.
    """
    for piece in manifest.logs:
        for database in databases.get(piece.server.uid, ()):
            if not piece.holds(database):
                return f"{manifest.key} leaves out the changes of {database}, which the settings did not name then"
    return ""


def _is_enough(manifest: ManifestHead, point: Point) -> bool:
    if point.time:
        time = floor(point.time) if _counts_seconds(manifest) else point.time
        return time <= _reach_of(manifest)
    return any(_has(piece.gtids_after, point.gtid) for piece in manifest.logs)


def _reach_of(manifest: ManifestHead) -> datetime:
    """Return the time up to which logs hold every transaction; MariaDB's count whole seconds."""
    until = manifest.covers.until if manifest.covers else manifest.captured_at
    return floor(until) - _SECOND if _counts_seconds(manifest) else until


def _counts_seconds(manifest: ManifestHead) -> bool:
    return any(piece.server.family == "mariadb" for piece in manifest.logs)


def _has(gtids: str | None, gtid: str) -> bool:
    """Return whether a set of GTIDs has one."""
    return bool(gtid) and gtids is not None and not missing(gtids, gtid)


def missing(gtids: str | None, wanted: str) -> str:
    """Return the first of some GTIDs that a set lacks; empty where it lacks none, or is not known."""
    if gtids is None:
        return ""
    try:
        if ":" in wanted:
            return MySQLGtids.of_text(gtids).lacks(MySQLGtids.of_text(wanted))
        return MariaDBGtids.of_text(gtids).lacks(MariaDBGtids.of_text(wanted))
    except ValueError:  # of the other family
        return wanted


def windows(shelf: Shelf, databases: Collection[str]) -> Iterator[Window]:
    """Yield the times in which every moment can be reached, the oldest first. All manifests of logs are read."""
    last: Window | None = None
    for begin in reversed(list(_begins(shelf, databases))):
        window = _window(shelf, begin, Point())
        if window and last and window.since <= last.until:
            last = Window(last.since, max(last.until, window.until))
        elif window:
            if last:
                yield last
            last = window
    if last:
        yield last


def _next_to(shelf: Shelf, databases: Collection[str], time: datetime) -> Iterator[Window]:
    """Yield the windows before and after a time that cannot be reached, whose end may be a later one."""
    begins = list(_begins(shelf, databases))
    earlier = (_window(shelf, begin, Point()) for begin in begins if begin.since <= time)
    later = (_window(shelf, begin, Point(time=begin.since)) for begin in reversed(begins) if begin.since > time)
    for found in (earlier, later):
        yield from islice(filter(None, found), 1)


class _Begin(NamedTuple):
    """Positions of an archive by database, and when the last of these was captured."""

    positions: Mapping[str, LogPosition]
    since: datetime


def _begins(shelf: Shelf, databases: Collection[str]) -> Iterator[_Begin]:
    """Yield the positions of the archives that have one for each of some databases, the newest first."""
    for anchor in shelf.archives:
        try:
            positions, since = positions_in(shelf.manifest(anchor), databases)
        except LifeboatError:
            continue
        yield _Begin(dict(zip(databases, positions, strict=True)), since)


def _window(shelf: Shelf, begin: _Begin, point: Point) -> Window | None:
    """Return the time in which every moment can be reached from some positions, as far as a moment; None without."""
    trail, _ = _follow(shelf, begin.positions, begin.since, point)
    if trail.last is None or trail.lacks(list(begin.positions.values())):
        return None
    return Window(begin.since, max(begin.since, _reach_of(trail.last)))


def _refusal(
    shelves: Sequence[Shelf], databases: Collection[str], point: Point, zone: ZoneInfo, reasons: Sequence[str]
) -> RestoreError:
    """Say why a moment cannot be reached, and which ones can."""
    where = ", ".join(shelf.destination for shelf in shelves)
    found = sorted(
        {
            window
            for shelf in shelves
            for window in (_next_to(shelf, databases, point.time) if point.time else windows(shelf, databases))
        }
    )
    hint = f"{reasons[0][0].upper()}{reasons[0][1:]}." if reasons else ""
    if not found:
        return RestoreError(
            f"No moment can be reached at {where}: no backup of {', '.join(databases)} there has a position in the"
            " binary log, and logs that continue it.",
            hint or "docs/POINT_IN_TIME.md shows what it takes.",
        )
    nearest = _nearest(found, point.time, zone)
    if point.gtid:
        return RestoreError(f"No logs at {where} lead to transaction {point.gtid}: {nearest}.", hint or LISTS)
    return RestoreError(f"{point.text(zone)} cannot be reached at {where}: {nearest}.", hint)


def _nearest(found: Sequence[Window], time: datetime | None, zone: ZoneInfo) -> str:
    """Return the moments next to a time that can be reached; without one, all of them.

    :param found: oldest first.
    """
    if time is None:
        spans = [" to ".join(both_times(end, zone) for end in _ends(window)) for window in found]
        return f"every moment can be reached from {', and from '.join(spans)}"
    before = [window.until for window in found if window.until < time]
    after = [window.since for window in found if window.since > time]
    parts = []
    if before:
        parts.append(f"the last moment before it that can be is {both_times(floor(max(before)), zone)}")
    if after:
        which = "one after it" if before else "moment that can be"
        parts.append(f"the first {which} is {both_times(ceiling(min(after)), zone)}")
    return ", and ".join(parts) or "only other moments can be"


def _ends(window: Window) -> tuple[datetime, datetime]:
    """Return the first and the last moment of a window, in whole seconds if it has any."""
    since, until = ceiling(window.since), floor(window.until)
    return (since, until) if since <= until else (window.since, window.until)


def both_times(time: datetime, zone: ZoneInfo) -> str:
    """Return a time in UTC, and in a zone."""
    fraction = f".{time.microsecond:06}".rstrip("0") if time.microsecond else ""
    utc = f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}{fraction} UTC"
    try:
        there = time.astimezone(zone)
    except OverflowError:
        return utc
    return utc if there.utcoffset() == timedelta() else f"{utc} ({there:%Y-%m-%d %H:%M:%S}{fraction} {there:%Z})"


def floor(time: datetime) -> datetime:
    """Return the second in which a time lies."""
    return time.replace(microsecond=0)


def ceiling(time: datetime) -> datetime:
    """Return the first whole second at or after a time."""
    return time if time == floor(time) else floor(time) + _SECOND
