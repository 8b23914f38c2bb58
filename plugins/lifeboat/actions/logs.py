"""Ship binary logs: fetch what the servers wrote since the last archive of logs, and publish it everywhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lifeboat.actions import backup, stored_archive
from lifeboat.actions.backup import PackedArchive, StagedArchive
from lifeboat.archive import CHUNK, MANIFEST_NAME, log_entry_name
from lifeboat.archive.manifest import EntryList
from lifeboat.archive.write import ArchiveWriter
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import logs as facts
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import OWN_KINDS, Archive
from lifeboat.catalog.logs import Chain, Covers, LogEvents, LogPiece
from lifeboat.catalog.manifest import Manifest, ManifestHead, manifest_of_logs
from lifeboat.catalog.marker import ArchiveFile, marker_of
from lifeboat.databases.mysql import binlog
from lifeboat.databases.mysql import logs as mysql_logs
from lifeboat.databases.mysql.applier import Collations
from lifeboat.databases.mysql.binlog import FIRST, UnreadableLogError, Walk
from lifeboat.databases.mysql.dump import Client, Session
from lifeboat.databases.mysql.gtids import Gtids
from lifeboat.databases.mysql.log_sieve import Sieve
from lifeboat.databases.mysql.logs import Logs, LogServer, TruncatedLogError
from lifeboat.decide import log_chains
from lifeboat.decide.log_chains import Resume
from lifeboat.errors import LifeboatError, LogError, SettingsError, StorageError
from lifeboat.settings.config import Database, DatabaseServer
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.support.formats import Format, Moment, Text
from lifeboat.support.logs import logger
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.site import Site

log = logger(__name__)

MOST_AT_ONCE = 1 << 30  # bytes of logs after which an archive takes no further file
HELD = 32 << 20  # bytes of a transaction that wait for its end
GROWING = 1 << 30  # bytes by which a log may grow while it is fetched
MOST_ASKED = 10  # database archives, newest first, that are asked for a position
WAITING = "waiting for the first database backup with a position in the binary log"


class _BrokenChainError(Exception):
    """A server sends something that does not continue what was shipped of it."""


@dataclass
class Shipped(Format):
    """The result of shipping the logs of an application.

    :param keys: of the archives that it published.
    :param until: time up to which every transaction is in an archive; None where none was published.
    :param new_chain: why the chain before ended; empty where it continues.
    :param waiting: why nothing can be shipped yet; empty where it can.
    :param failed: why a destination does not have all of it, by name.
    """

    keys: list[Text] = field(default_factory=list)
    transactions: int = 0
    until: Moment | None = None
    new_chain: str = ""
    waiting: str = ""
    failed: dict[Text, Text] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.waiting:
            return self.waiting
        if not self.keys:
            return "nothing new"
        transactions, archives = plural(self.transactions, "transaction"), plural(len(self.keys), "archive")
        return f"{transactions} in {archives}, up to {self.until:%Y-%m-%d %H:%M:%S} UTC; the last is {self.keys[-1]}"


@dataclass
class _Source:
    """The logs of a server, and where to continue in them.

    :param schemas: of the application, whose changes are shipped.
    :param scratch: folder of the run.
    :param whole: the server in the settings, if they name it as a whole.
    """

    logs: Logs
    server: LogServer
    resume: Resume
    session: Session
    collations: Collations
    schemas: set[str]
    scratch: Path
    whole: DatabaseServer | None = None

    def fetch(self, file: str, start: int) -> Generator[bytes]:
        """Yield a file from a position on, as `Logs.fetch` does."""
        return self.logs.fetch(self.client, file, start, self.scratch)

    def remember(self, schemas: Iterable[str]) -> None:
        """Ship the changes of schemas that the server had earlier, too: some may have been dropped since."""
        if self.whole:
            self.schemas |= set(filter(self.whole.covers, schemas))

    @cached_property
    def client(self) -> Client:
        """The program that fetches them; looked for only when there is something to fetch."""
        return mysql_logs.find_client(for_mariadb=self.server.is_mariadb)

    def place(self) -> Resume:
        """Return where to continue; where a chain begins, with the GTIDs up to there."""
        if self.resume.follows:
            return self.resume
        file, position = self.resume.file, self.resume.start
        with contextlib.closing(self.fetch(file, FIRST)) as chunks:
            gtids = binlog.gtids_at(chunks, file, position)
        if gtids is None:
            return self.resume
        return replace(self.resume, gtids=str(self._with_unlogged(gtids, self.resume.executed)), state=gtids.state())

    def beyond_purge(self, resume: Resume) -> Resume:
        """Return where to continue if the server has purged the file of a place, but nothing that was not shipped."""
        if resume.file in self.server.files or not resume.gtids:
            return resume
        oldest = next(iter(self.server.files))
        before = self._before(oldest)
        return log_chains.beyond_purge(resume, oldest, before and self._with_unlogged(before))

    def succeeding(self, resume: Resume, uid: str) -> Resume | str:
        """Return where to continue the logs of another server, or why that is not possible.

        :param resume: where those ended.
        :param uid: of that server.
        """
        executed = self.logs.executed(self.session, is_mariadb=self.server.is_mariadb)
        heads = ((file, self._before(file)) for file in reversed(list(self.server.files)))
        return log_chains.succeeded(resume, uid, executed, heads)

    def _with_unlogged(self, gtids: Gtids, executed: str = "") -> Gtids:
        """Return the GTIDs before a place with those that MySQL executed without a log: its files do not name them.

        :param executed: before the place; where that is not known, anything before now counts.
        """
        if self.server.is_mariadb:
            return gtids
        purged = self.logs.executed(self.session, is_mariadb=False).purged
        return gtids if executed and type(purged).of_text(executed).lacks(purged) else gtids.joined(purged)

    def _before(self, file: str) -> Gtids | None:
        """Return all transactions before a file."""
        with contextlib.closing(self.fetch(file, FIRST)) as chunks:
            return binlog.gtids_before(chunks, file)


@dataclass(frozen=True)
class _Link:
    """A packed archive of a chain.

    :param is_all: whether it reaches the present end of all logs.
    """

    packed: PackedArchive
    manifest: ManifestHead
    chain: Chain
    covers: Covers
    is_all: bool


@dataclass
class _Way:
    """A chain on its way: its last archive, and what comes next.

    :param chain: of the last archive; its number is 0 where there is none.
    :param last: when that was captured.
    :param since: the time up to which everything is shipped.
    """

    chain: Chain
    last: datetime | None
    since: datetime
    sources: list[_Source]

    def begin_anew(self, reason: str) -> None:
        """Begin a new chain at the present end of the logs."""
        self.chain = _new_chain(reason)
        self.since = min(source.server.now for source in self.sources)
        for source in self.sources:
            source.resume = log_chains.now_of(source.server)

    def advance(self, link: _Link) -> None:
        """Continue after an archive that was published."""
        self.chain = replace(link.chain, previous=link.packed.key, reason="")
        self.last, self.since = link.manifest.captured_at, link.covers.until
        ends = log_chains.ends_of(link.manifest)
        for source in self.sources:
            source.resume = ends.get(source.server.uid, source.resume)

    def date(self, now: datetime) -> datetime:
        """Return the time of the next archive: whatever clocks do, later than that of the last one."""
        now = now.replace(microsecond=0)
        return now if self.last is None else max(now, self.last + timedelta(seconds=1))


def ship(site: Site, application: str, scratch: Staging, *, scheduled: bool = False) -> Shipped:
    """Ship what the servers of an application wrote to their binary logs since its last archive of logs.

    :param scheduled: do nothing while the last archive is younger than the settings ask for.
    :raises LifeboatError: not all was shipped; what goes wrong at one of several destinations is in the result.
    """
    settings = site.settings.logs_of(application)
    if settings is None:
        raise SettingsError(
            f"The settings do not ask for the binary logs of {application!r}.",
            f"Set applications.{application}.logs: true.",
        )
    every, shipped = timedelta(minutes=settings.every_minutes), Shipped()
    password = site.passwords(application)[0]
    with contextlib.ExitStack() as opened:
        sources = _sources(site, application, opened, scratch.folder)
        held = _held(site, application, shipped)
        _catch_up(scratch, held, shipped)
        newest = max((archive for archives in held.values() for archive in archives), key=_time, default=None)
        if scheduled and not log_chains.is_due(newest, site.now(), every):
            return shipped
        way = _way(site, newest, held, sources) if newest else _first_way(site, application, held, sources)
        if way is None:
            shipped.waiting = WAITING
            return shipped
        shipped.new_chain = way.chain.reason
        idle = not way.chain.reason and not any(log_chains.is_new(source.resume, source.server) for source in sources)
        longest = site.settings.limits_of(application).longest_log_age
        if newest and idle and log_chains.may_wait(way.since, site.now(), every, longest):
            return shipped
        while _goes_on(site, application, scratch, way, password, held, shipped):
            pass
    return shipped


def _goes_on(
    site: Site,
    application: str,
    scratch: Staging,
    way: _Way,
    password: str | None,
    held: Mapping[Destination, Sequence[Archive]],
    shipped: Shipped,
) -> bool:
    """Ship the next archive of a chain; return whether there is more."""
    try:
        link = _pack(scratch, application, way, password, way.date(site.now()))
    except _BrokenChainError as broken:
        if shipped.new_chain:  # a new chain begins where the log is, and cannot break
            raise LogError(f"The binary logs of {application} changed while they were read: {broken}.") from broken
        shipped.new_chain = str(broken)
        way.begin_anew(shipped.new_chain)
        return True
    _publish(scratch, link.packed, held, shipped)
    way.advance(link)
    shipped.keys.append(link.packed.key)
    shipped.transactions += sum(piece.transactions for piece in link.manifest.logs)
    shipped.until = link.covers.until
    return not link.is_all


def _sources(site: Site, application: str, opened: contextlib.ExitStack, scratch: Path) -> list[_Source]:
    """Return the servers of an application's databases, each once; no other run ships them meanwhile.

    :param opened: keeps their connections.
    :param scratch: folder of the run.
    """
    sources: dict[str, _Source] = {}
    for entry in site.settings.application(application).databases:
        if entry.engine != "mysql":
            continue
        engine = cast("MySQL", site.engine(entry.sample))
        logs = engine.logs
        session = opened.enter_context(logs.session())
        server = logs.read(session)
        if server.uid not in sources:
            logs.keep_others_away(session, application)
            resume, collations = log_chains.now_of(server), Collations(session)
            sources[server.uid] = _Source(logs, server, resume, session, collations, set(), scratch)
        source = sources[server.uid]
        if isinstance(entry, Database):
            source.schemas.add(entry.name)
        else:
            source.whole = entry
            source.remember(engine.databases())
    return list(sources.values())


def _held(site: Site, application: str, shipped: Shipped) -> dict[Destination, list[Archive]]:
    """Return the archives of an application's logs at each destination that answers, newest first.

    :raises StorageError: none does.
    """
    ready, failed = site.ready_destinations(site.settings.destinations_of(application))
    shipped.failed |= failed
    held = {}
    for destination in ready:
        try:
            held[destination] = list(catalog.read(destination.list(f"{application}/log/")).logs)
        except StorageError as error:  # one destination that fails does not stop the others
            shipped.failed[destination.name] = str(error)
    if not held:
        raise StorageError("; ".join(shipped.failed.values()))
    return held


def _catch_up(scratch: Staging, held: Mapping[Destination, Sequence[Archive]], shipped: Shipped) -> None:
    """Copy to each destination what it lacks and another one has."""
    names = {destination.name: archives for destination, archives in held.items()}
    lacking = log_chains.lacking(names)
    for destination in held:
        others = [other for other in held if other is not destination]
        try:
            for archive in lacking[destination.name]:
                packed = _packed_at(archive.key, others)
                backup.store_archive(scratch, packed, destination, others)
        except LifeboatError as error:
            shipped.failed[destination.name] = str(error)


def _packed_at(key: str, destinations: Sequence[Destination]) -> PackedArchive:
    """:raises StorageError: the archive is at none of these."""
    for destination in destinations:
        if marker := markers.read(destination, key):
            return PackedArchive(key, marker.archive.size, marker.archive.sha256)
    raise StorageError(f"{key} is at no destination any more.")


def _way(site: Site, newest: Archive, held: Mapping[Destination, Sequence[Archive]], sources: list[_Source]) -> _Way:
    """Return how logs continue after the newest archive of them."""
    manifest = _manifest_of(site, newest, held)
    if not manifest.chain or not manifest.covers:
        raise StorageError(f"{newest.key} does not say which chain of logs it belongs to.", "Move it away.")
    for source in sources:
        source.remember(schema for piece in manifest.logs for schema in piece.schemas or ())
    chain = Chain(manifest.chain.id, manifest.chain.number, newest.key)
    way = _Way(chain, newest.captured_at, manifest.covers.until, sources)
    _go_on(way, log_chains.ends_of(manifest))
    return way


def _first_way(
    site: Site, application: str, held: Mapping[Destination, Sequence[Archive]], sources: list[_Source]
) -> _Way | None:
    """Return how logs continue after the newest archive of databases with a position for each server; None without."""
    servers = [source.server for source in sources]
    found: dict[str, Archive] = {}
    places: dict[Destination, set[str]] = {}
    for destination in held:
        archives = catalog.read(destination.list(f"{application}/")).archives
        own = [archive for archive in archives if archive.kind in OWN_KINDS]
        places[destination] = {archive.key for archive in own}
        found |= {archive.key: archive for archive in own}
    for archive in sorted(found.values(), key=_time, reverse=True)[:MOST_ASKED]:
        there = {destination: [archive] for destination, keys in places.items() if archive.key in keys}
        manifest = _manifest_of(site, archive, there)
        if begins := log_chains.of_database_archive(manifest, servers):
            for source in sources:
                source.remember(dump.database for dump in manifest.databases)
            way = _Way(_new_chain(), None, archive.captured_at, sources)
            _go_on(way, begins)
            return way
    return None


def _go_on(way: _Way, resumes: Mapping[str, Resume]) -> None:
    """Continue from some places, or begin a new chain where that is not possible."""
    sources = {source.server.uid: source for source in way.sources}
    gone, come = resumes.keys() - sources.keys(), sources.keys() - resumes.keys()
    if len(gone) == len(come) == 1:
        (before,), (uid,) = gone, come
        found = sources[uid].succeeding(resumes[before], before)
        if isinstance(found, str):
            way.begin_anew(found)
            return
        log.warning("The binary logs of %s continue those of the server before.", sources[uid].logs.address)
        resumes = {uid: found} | {other: resume for other, resume in resumes.items() if other != before}
    resumes = {uid: sources[uid].beyond_purge(resume) if uid in sources else resume for uid, resume in resumes.items()}
    if broken := log_chains.why_broken(resumes, [source.server for source in way.sources]):
        way.begin_anew(broken)
        return
    for uid, source in sources.items():
        source.resume = resumes[uid]


def _manifest_of(site: Site, archive: Archive, held: Mapping[Destination, Sequence[Archive]]) -> Manifest:
    """Return the manifest of an archive, from the first destination where it can be read: unlike markers, it is signed.

    :raises LifeboatError: it can be read nowhere.
    """
    failure: LifeboatError = StorageError(f"{archive.key} is at no destination any more.")
    for destination, archives in held.items():
        if archive.key in {each.key for each in archives}:
            try:
                with stored_archive.opened(site, destination, archive.application, archive.key) as reader:
                    return cast(Manifest, reader.manifest())  # or it would not have opened
            except LifeboatError as error:
                log.warning("%s", error)
                failure = error
    raise failure


def _pack(scratch: Staging, application: str, way: _Way, password: str | None, captured_at: datetime) -> _Link:
    """Fetch the next pieces of logs into a staged archive."""
    chain = replace(way.chain, number=way.chain.number + 1)
    pieces: list[LogPiece] = []
    fetched, is_all = 0, True
    with scratch.archive.writing() as staged, EntryList(scratch.folder) as entries:
        with ArchiveWriter(staged, password, scratch.folder) as archive:
            for source in way.sources:
                resume = source.place()
                for name in log_chains.files_from(resume, source.server):
                    if fetched >= MOST_AT_ONCE:
                        is_all = False
                        break
                    piece = _Piece(source, name, resume)
                    bound = source.server.files[name] + GROWING
                    archive.add_pieces(piece.entry, piece.chunks(), size=bound, modified=captured_at)
                    entries.add(piece.entry, {"size": piece.bytes, "sha256": piece.sha256.hexdigest()})
                    pieces.append(piece.facts)
                    fetched += piece.bytes
                    resume = log_chains.after(piece.facts)
            covers = Covers(way.since, _until(way, pieces, is_all=is_all))
            manifest = manifest_of_logs(application, captured_at, pieces, chain, covers)
            size = entries.size + len(json.dumps(manifest.to_json()))
            text = entries.complete(manifest, archive.password)
            archive.add_pieces(MANIFEST_NAME, text, size=size, modified=captured_at)
        packed = PackedArchive(manifest.key, archive.size, archive.sha256)
        file = ArchiveFile(size=archive.size, sha256=archive.sha256, encrypted=password is not None)
        staged.facts = StagedArchive(packed.key, marker_of(manifest, entries=entries.count, archive=file))
    transactions = plural(sum(piece.transactions for piece in pieces), "transaction")
    log.info("Packed %s: %s, %s of logs.", packed.key, transactions, size_text(fetched))
    return _Link(packed, manifest, chain, covers, is_all)


def _until(way: _Way, pieces: Sequence[LogPiece], *, is_all: bool) -> datetime:
    """Return the time up to which every transaction is shipped."""
    if is_all:
        return max(way.since, min(source.server.now for source in way.sources))
    committed = [piece.last_commit for piece in pieces if piece.last_commit]
    return max(way.since, min(committed, default=way.since))


class _Piece:
    """A piece of a log on its way into an archive.

    :param name: of the file.
    :param resume: where to continue; in another file, from its begin.
    """

    def __init__(self, source: _Source, name: str, resume: Resume) -> None:
        self._source, self._resume = source, resume
        self._continues = name == resume.file
        self._start = resume.start if self._continues else FIRST
        self._walk = Walk(name, self._start, resume.gtids, state=resume.state)
        self._sieve = Sieve(name, source.schemas, source.collations)
        self._taken = 0  # bytes of it, of which those that stay are packed
        self.entry = log_entry_name(source.server.uid, name, self._start)
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, up to the end of the last whole transaction.

        :raises _BrokenChainError: they do not continue what came before.
        :raises LogError: they cannot be fetched, or are not a binary log.
        """
        held = bytearray()
        for chunk in self._fetched():
            self._refuse_another_log()
            held += chunk
            whole = self._walk.whole_bytes - self._taken
            ready = whole if whole > 0 else len(held) if len(held) > HELD else 0
            for start in range(0, ready, CHUNK):
                yield from self._sifted(bytes(held[start : min(start + CHUNK, ready)]))
            del held[:ready]
        self._walk.end()
        if self._taken > self._walk.whole_bytes:
            raise LogError(f"The last transaction of {self._walk.file} is not whole.", "The next run fetches it again.")
        yield from self._counted(self._sieve.end())

    def _fetched(self) -> Iterator[bytes]:
        """Yield the file as it comes, each chunk once it was walked."""
        try:
            for chunk in self._source.fetch(self._walk.file, self._start):
                self._walk.feed(chunk)
                yield chunk
        except TruncatedLogError as error:
            if self._walk.file == self._source.server.file:
                raise
            log.warning("A crash ended %s; what was committed goes on in the next file. %s", self._walk.file, error)
        except UnreadableLogError as error:  # the next run would find the same
            raise _BrokenChainError(error.message.rstrip(".")) from error

    def _sifted(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what stays of a chunk, if anything does."""
        self._taken += len(chunk)
        try:
            stays = self._sieve.feed(chunk)
        except UnreadableLogError as error:  # the next run would find the same
            raise _BrokenChainError(error.message.rstrip(".")) from error
        yield from self._counted(stays)

    def _counted(self, stays: bytes) -> Iterator[bytes]:
        if stays:
            self.bytes += len(stays)
            self.sha256.update(stays)
            yield stays

    def _refuse_another_log(self) -> None:
        if self._walk.broken:
            raise _BrokenChainError(self._walk.broken)
        known = self._resume.created if self._continues else None
        if known is not None and self._walk.created and self._walk.created != known:
            raise _BrokenChainError(f"{self._walk.file} is another file than the one of that name that was shipped")

    @property
    def facts(self) -> LogPiece:
        """Its facts, once all of it has passed."""
        walk, server = self._walk, self._source.server
        count, first, last = walk.transactions
        return LogPiece(
            entry=self.entry,
            server=facts.LogServer(
                family="mariadb" if server.is_mariadb else "mysql",
                version=server.version,
                uid=server.uid,
                server_id=server.server_id,
                log_format=server.log_format,
                row_image=server.row_image,
            ),
            file=walk.file,
            created=walk.created,
            start=self._start,
            end=walk.whole,
            gtids_before=self._resume.gtids,
            gtids_after=None if walk.gtids is None else str(walk.gtids),
            transactions=count,
            first_commit=first,
            last_commit=last,
            follows=self._resume.follows,
            schemas=tuple(sorted(self._source.schemas)),
            left_out=LogEvents(**vars(self._sieve.left_out)),
            untold=LogEvents(**vars(self._sieve.untold)),
            gtid_state=None if walk.gtids is None else walk.gtids.state(),
        )


def _publish(
    scratch: Staging, packed: PackedArchive, held: Mapping[Destination, Sequence[Archive]], shipped: Shipped
) -> None:
    """Store an archive at every destination that answers.

    :raises StorageError: none took it.
    """

    def store(destination: Destination) -> str:
        try:
            backup.store_archive(scratch, packed, destination)
        except LifeboatError as error:  # one destination that fails does not stop the others
            return str(error)
        return ""

    with ThreadPoolExecutor(len(held)) as pool:
        errors = dict(zip((destination.name for destination in held), pool.map(store, held), strict=True))
    failed = {name: error for name, error in errors.items() if error}
    shipped.failed |= failed
    if len(failed) == len(held):
        raise StorageError("; ".join(failed.values()))


def _new_chain(reason: str = "") -> Chain:
    return Chain(secrets.token_hex(8), 0, "", reason)


def _time(archive: Archive) -> tuple[datetime, str]:
    return archive.captured_at, archive.key
