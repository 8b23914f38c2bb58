"""Restores to a moment: choose the archives that lead there, verify their logs, and replay them onto a database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from lifeboat.actions import servers, stored_archive
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import OWN_KINDS, Archive, Catalog
from lifeboat.catalog.logs import LogPiece
from lifeboat.catalog.manifest import Manifest
from lifeboat.databases import Dump, LogPosition
from lifeboat.decide import log_list, recovery
from lifeboat.decide.log_list import Listed, Wanted
from lifeboat.decide.recovery import (
    LISTS,
    Line,
    LogArchive,
    Part,
    Point,
    Reached,
    Recovery,
    Shelf,
    both_times,
    place_of,
)
from lifeboat.decide.restored import ReplayedLogs
from lifeboat.errors import ArchiveError, LifeboatError, LogError, RestoreError, SettingsError, StorageError
from lifeboat.storage import Destination
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress
from lifeboat.text import plural

if TYPE_CHECKING:
    from lifeboat.archive.read import ArchiveReader
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.databases.mysql.transactions import Transaction
    from lifeboat.decide.restore_plan import RestorePlan
    from lifeboat.site import Site

log = logger(__name__)

Piece = tuple[Part, Iterator[bytes]]
SEVERAL = (
    "The databases are on several servers, and a transaction is of one: choose the databases of that server, or name a"
    " time."
)


def databases_of(site: Site, application: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the databases that are restored to a moment: those that were chosen, or all.

    :raises StorageError: which there are on a whole server only a destination can say, and none can be read.
    :raises SettingsError: one has no binary log, or there is none.
    """
    known = servers.last_listed(site, application)
    names = tuple(chosen) or tuple(known)
    if without := [name for name in names if known.get(name, "mysql") != "mysql"]:
        having = [name for name, engine in known.items() if engine == "mysql"]
        raise SettingsError(
            f"Only MySQL and MariaDB have logs that lead to a moment, and {without[0]!r} is of {known[without[0]]}.",
            f"Choose of {', '.join(having)}." if having else "Restore an archive of it, without a moment.",
        )
    if not names:
        raise SettingsError(f"Application {application!r} has no databases in the settings.")
    return names


def find(
    site: Site,
    application: str,
    databases: Sequence[str],
    point: Point,
    found: Mapping[Destination, Catalog],
    anchor: str = "",
) -> tuple[Destination, Archive, Recovery]:
    """Find the archives that lead to a moment.

    :param found: what each destination holds, in the order of preference.
    :param anchor: key of the archive of databases to begin with; default: the newest from before the moment.
    :raises RestoreError: none lead there; the message names the nearest moments that can be reached.
    """
    shelves = [_shelf(site, destination, held, application, anchor) for destination, held in found.items()]
    reached = recovery.reach(shelves, databases, point, site.settings.zone)
    destination = next(destination for destination in found if destination.name == reached.destination)
    return destination, reached.anchor, _recovery(site, destination, reached, point)


def _shelf(site: Site, destination: Destination, found: Catalog, application: str, anchor: str) -> Shelf:
    archives = [
        archive
        for archive in found.of(application)
        if archive.kind in OWN_KINDS and (not anchor or archive.key == anchor)
    ]
    return Shelf(destination.name, archives, found.logs_of(application), manifests(site, destination))


def manifests(site: Site, destination: Destination) -> Callable[[Archive], Manifest]:
    """Return what reads signed manifests, each once."""
    known: dict[str, Manifest] = {}

    def read(archive: Archive) -> Manifest:
        if archive.key not in known:
            with stored_archive.opened(site, destination, archive.application, archive.key) as reader:
                known[archive.key] = cast(Manifest, reader.manifest())  # or it would not have opened
        return known[archive.key]

    return read


def _recovery(site: Site, destination: Destination, reached: Reached, point: Point) -> Recovery:
    """:raises RestoreError: an archive of logs was deleted since it was listed."""
    logs = []
    for archive in reached.logs:
        marker = markers.read(destination, archive.key)
        if marker is None:
            raise RestoreError(f"{archive.key} is no longer published at {destination}.", "Restore again.")
        logs.append(LogArchive(archive.key, marker.archive.size, marker.archive.sha256))
    return Recovery(point, tuple(logs), reached.reaches, reached.is_cut, site.settings.zone.key)


def verify(site: Site, destination: Destination, plan: RestorePlan, captured: Iterable[Dump | None]) -> None:
    """Read all logs of a plan: whole, without a gap, every event with its checksum, and the moment is among them.

    :param captured: what the verified archive says of the databases.
    :raises LifeboatError: they are not, so that they would not lead to the moment.
    """
    asked, positions = cast(Recovery, plan.recovery), [_position(dump) for dump in captured]
    before: Manifest | None = None
    ends: dict[str, LogPiece] = {}
    for archive in asked.logs:
        marker = markers.read(destination, archive.key)
        with stored_archive.opened(site, destination, plan.application, archive.key) as reader:
            stored_archive.verify_as(reader, archive.key, marker, archive.sha256)
            manifest = cast(Manifest, reader.manifest())
            if before and (why := recovery.why_not_next(before, ends, manifest)):
                raise ArchiveError(f"{archive.key} at {destination} does not continue {before.key}: {why}.")
            walk(reader, manifest)
            before, ends = manifest, ends | recovery.ends_of(manifest)
    hint = LISTS if len({position.server for position in positions}) == 1 else SEVERAL
    for position in positions:
        _refuse_missed(site, destination, plan, asked, position, hint)
    count = plural(len(asked.logs), "archive")
    log.info("The binary logs at %s are whole, and continue each other: %s.", destination, count)


def _position(captured: Dump | None) -> LogPosition:
    """:raises RestoreError: the archive has no position of a database, so that no logs can be replayed onto it."""
    if captured is None or captured.position is None:
        raise RestoreError("The archive has no position in the binary log for every database.", "Restore again.")
    return captured.position


def walk(reader: ArchiveReader, manifest: Manifest) -> None:
    """Walk all events of an archive of logs.

    :raises ArchiveError: they are not what its manifest says.
    """
    from lifeboat.databases.mysql.binlog import Walk

    for piece in manifest.logs:
        walk = Walk(piece.file, piece.start, piece.gtids_before, left_out=piece.left_out.bytes)
        try:
            for chunk in reader.chunks(piece.entry):
                walk.feed(chunk)
            walk.end()
        except LogError as error:
            raise ArchiveError(f"{reader.where}: {error.message}") from error
        gtids = None if walk.gtids is None else str(walk.gtids)
        found = (walk.whole, walk.created, walk.transactions.number, gtids)
        if walk.broken or found != (piece.end, piece.created, piece.transactions, piece.gtids_after):
            raise ArchiveError(f"{reader.where}: {piece.entry} does not hold the transactions that its manifest lists.")


def _refuse_missed(
    site: Site, destination: Destination, plan: RestorePlan, asked: Recovery, position: LogPosition, hint: str
) -> None:
    """Make sure that the moment lies behind the position of a dump.

    :param hint: where no transaction has the GTID.
    :raises RestoreError: the dump is of a later moment by the server's own clock, or no transaction has that GTID.
    """
    point, keys = asked.point, [archive.key for archive in asked.logs]
    if point.is_latest:
        return
    last_held: Transaction | None = None
    for part, transaction in _transactions(site, destination, plan.application, keys, position.server):
        is_here = place_of(transaction.file, transaction.end) <= place_of(position.file, position.offset)
        is_held = not part.skips and is_here
        if is_held:
            last_held = transaction
        elif point.time or transaction.gtid == point.gtid:
            break
    else:
        if point.gtid:
            raise RestoreError(f"No transaction {point.gtid} is in the logs behind {plan.key}.", hint)
    if point.time and last_held and last_held.time > point.time:
        held = both_times(last_held.time, site.settings.zone)
        raise RestoreError(
            f"By the server's clock, {plan.key} holds transactions up to {held}, from after that moment.",
            "Name the key of an earlier backup to begin with, and set the clocks of the server and the workers.",
        )


def _transactions(
    site: Site, destination: Destination, application: str, keys: Iterable[str], server: str
) -> Iterator[tuple[Part, Transaction]]:
    """Yield the transactions of a server, and of those that continue its log, in the order of the log."""
    from lifeboat.databases.mysql.transactions import transactions

    for part, chunks in pieces(site, destination, application, keys, server):
        for transaction in transactions([(part, chunks)]):
            yield part, transaction


def pieces(
    site: Site, destination: Destination, application: str, keys: Iterable[str], server: str = "", database: str = ""
) -> Generator[Piece]:
    """Yield the pieces of archives of logs with their bytes, each verified once more: what is read now must be whole.

    :param server: identity of the one whose pieces are wanted, with those that continue its log; all when empty.
    :param database: whose changes they must hold, if any.
    :raises RestoreError: one does not.
    """
    line = Line(server)
    for key in keys:
        with stored_archive.opened(site, destination, application, key) as reader:
            for piece in cast(Manifest, reader.manifest()).logs:
                if part := line.part(piece):
                    if database and not piece.holds(database):
                        raise RestoreError(f"{key} leaves out the changes of {database}.", "Choose a moment before it.")
                    reader.verify_entry(piece.entry)
                    yield part, reader.chunks(piece.entry)


@contextlib.contextmanager
def read_by(
    site: Site, destination: Destination, application: str, keys: Iterable[str], server: str, database: str
) -> Iterator[Iterator[Piece]]:
    """Read the pieces of archives of logs for a replay in this block; what ends it names the archive, too.

    :param server: identity of the one whose pieces are wanted, with those that continue its log.
    :param database: whose changes they must hold.
    :raises ReplayError: the replay ended with that.
    """
    from lifeboat.databases.mysql.replay import ReplayError

    reading = [""]

    def read() -> Generator[Piece]:
        def told() -> Iterator[str]:
            for key in keys:
                reading[0] = key
                yield key

        yield from pieces(site, destination, application, told(), server, database)

    try:
        with contextlib.closing(read()) as found:
            yield found
    except ReplayError as error:
        if not reading[0]:
            raise
        raise ReplayError(f"{error.message.rstrip('.')}, in {reading[0]}.", error.hint) from error


def list_transactions(site: Site, application: str, wanted: Wanted) -> tuple[str, Listed]:
    """Choose transactions to list from the logs at the first destination where they can be read.

    :returns: also the name of the destination.
    :raises LifeboatError: they can be read nowhere, or there are none.
    """
    from lifeboat.databases.mysql.transactions import transactions

    ready, failed = site.ready_destinations(site.settings.destinations_of(application))
    failures: list[LifeboatError] = [StorageError(text) for text in failed.values()]
    for destination in ready:
        try:
            logs = catalog.read(destination.list(f"{application}/log/")).logs
            if logs:
                keys = (archive.key for archive in log_list.archives_of(logs, wanted))
                found = transactions(pieces(site, destination, application, keys))
                return destination.name, log_list.choose(found, wanted)
        except LifeboatError as error:  # another destination may have them
            log.warning("%s", error)
            failures.append(error)
    if failures:
        raise failures[-1]
    raise RestoreError(f"No binary logs of {application!r} are at {', '.join(found.name for found in ready)}.")


def replay(
    site: Site, destination: Destination, plan: RestorePlan, engine: MySQL, place: str, captured: Dump | None
) -> ReplayedLogs:
    """Replay the logs of a plan onto a place that holds the dump.

    :raises RestoreError: it went wrong; the place is not what was asked for.
    """
    from lifeboat.databases.mysql.replay import Replay, Stop

    asked, position = cast(Recovery, plan.recovery), _position(captured)
    dump = cast(Dump, captured)
    stop = Stop(time=asked.point.time, gtid=asked.point.gtid, before=asked.point.before)
    wanted = Replay(dump.database, position, stop, frozenset(dump.without_rows), dump.unchecked)
    keys = [archive.key for archive in asked.logs]
    with read_by(site, destination, plan.application, keys, position.server, dump.database) as found:
        done = engine.replay(place, _counted(found, Progress(f"Replaying onto {place}")), wanted)
    return ReplayedLogs(
        *(done.transactions, done.others, done.last_gtid, done.last_commit),
        *(done.statements, dict(done.left_out), done.seconds),
    )


def _counted(found: Iterable[Piece], progress: Progress) -> Iterator[Piece]:
    """Yield pieces, and tell how far their bytes have come."""

    def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            progress.advance(len(chunk))

    return ((piece, counted(chunks)) for piece, chunks in found)
