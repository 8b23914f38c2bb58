"""A drill of a chain: an archive of databases restored, the logs behind it replayed, compared with the next archive.

Nothing else tells that logs can be replayed, and lead to what the server had: a replay that went well may have applied
nothing. The next archive was captured at a known place in the same logs, so every table is compared with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from lifeboat.actions import checks, drill, recovery, stored_archive, survey, verify
from lifeboat.actions.drill import HINT, Choice, Rehearsal
from lifeboat.archive import dump_entry_name
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import marker as markers
from lifeboat.catalog import proof
from lifeboat.catalog.archives import CHAIN_PROOF, OWN_KINDS, Archive, Catalog
from lifeboat.catalog.manifest import Manifest
from lifeboat.catalog.proof import ChainDurations, ChainProof, Compared, ProvenArchive, ProvenLogs
from lifeboat.databases import Load, LogPosition
from lifeboat.databases.mysql.replay import Replay, Replayed, ReplayError, Stop
from lifeboat.databases.names import scratch_name
from lifeboat.decide import chain_drill, comparison
from lifeboat.decide.chain_drill import Span, Subject
from lifeboat.errors import ArchiveError, LifeboatError, MismatchError, PasswordError, SettingsError
from lifeboat.settings.config import Check
from lifeboat.storage import Destination
from lifeboat.support.logs import logger
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.site import Site

log = logger(__name__)

NO_PAIR = "there are no two archives of its databases with exact positions in the logs yet"


def choices(site: Site, application: str, chosen: tuple[str, ...], archive: str, now: datetime) -> list[Choice]:
    """Return the places of chains to prove, as `drill.choices` does for archives: each destination has its own.

    :param archive: key of the later archive; empty for the newest.
    """
    return [Choice(destination.name, archive) for destination in site.destinations(application, chosen)]


@dataclass
class _Replayed:
    """The results of all databases.

    :param redefined: number of tables whose definition is another one.
    """

    results: list[Replayed] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    redefined: int = 0

    def notes(self, databases: int) -> tuple[str, ...]:
        """Return what the reader of the proof should know.

        :param databases: that the later archive holds.
        """
        left_out: Counter[str] = Counter()
        for done in self.results:
            left_out.update(done.left_out)
        return tuple(chain_drill.notes(self.subjects, databases - len(self.subjects), left_out, self.redefined))


def rehearse(
    site: Site, application: str, destination: Destination, key: str, by: str, now: datetime
) -> ChainProof | str:
    """Restore an archive to scratch, replay the logs up to the next one, compare, and record the proof; return it.

    A proof that the later archive had is withdrawn if the logs turn out not to lead to it.

    :param key: of the later archive; empty for the newest that the logs reach.
    :param by: who asks for it.
    :param now: of the proof.
    :returns: why there is nothing to prove, where nothing is wrong.
    :raises ArchiveError: an archive is damaged, or missing.
    :raises MismatchError: what was replayed is not what was captured.
    :raises LifeboatError: the drill could not run.
    """
    settings = site.settings.logs_of(application)
    if settings is None:
        raise SettingsError(
            f"The settings do not ask for the binary logs of {application!r}, so there is no chain to prove.",
            f"Set applications.{application}.logs: true.",
        )
    found = survey.read(destination, site)
    manifest = recovery.manifests(site, destination)
    for end, archives in _candidates(found, application, key):
        with _withdrawing(destination, end.key):
            span = chain_drill.pair(end, archives, manifest)
            if span is None:
                continue
            kept_since = _kept_since(found, application, now - timedelta(days=settings.keep_days))
            joined = chain_drill.joined(span, found.logs_of(application), manifest, kept_since)
            if isinstance(joined, Span):
                return _rehearse(site, application, destination, joined, by, now)
            if joined:
                return joined
    return NO_PAIR


def _candidates(found: Catalog, application: str, key: str) -> Iterator[tuple[Archive, Sequence[Archive]]]:
    """Yield the archives that a chain may lead to, newest first, each with all that it may begin with."""
    damaged = {name for name, last in found.readings.items() if not last.whole}
    archives = [each for each in found.of(application) if each.kind in OWN_KINDS and each.key not in damaged]
    return ((end, archives) for end in archives if key in ("", end.key))


def _kept_since(found: Catalog, application: str, window: datetime) -> datetime:
    anchor = found.anchors.get(application)
    return min(window, anchor.captured_at) if anchor else window


@contextlib.contextmanager
def _withdrawing(destination: Destination, key: str) -> Iterator[None]:
    """Withdraw the proof that logs lead to an archive where they turn out not to."""
    try:
        yield
    except PasswordError:  # which says nothing of the archives
        raise
    except (ArchiveError, MismatchError, ReplayError):
        try:
            proof.withdraw(destination, key, CHAIN_PROOF)
        except LifeboatError as failure:  # what failed first is what to tell
            log.error("%s", failure)
        raise


def _rehearse(site: Site, application: str, destination: Destination, span: Span, by: str, now: datetime) -> ChainProof:
    """Verify all archives, then replay and compare each database; record the proof."""
    log.info("Drill of %s of logs, from %s to %s.", plural(len(span.logs), "archive"), span.begin.key, span.end.key)
    rehearsal, replayed = Rehearsal(), _Replayed()
    for database in span.databases:
        scratch = drill.scratch_server(site.settings, application, "mysql", database)
        cast("MySQL", site.engine(scratch)).check_replay(scratch_name("mysql", database, now))
    with rehearsal.phase("verify"):
        files = [_verified(site, destination, archive) for archive in (span.begin, *span.logs, span.end)]
    with (
        stored_archive.opened(site, destination, application, span.begin.key) as begin,
        stored_archive.opened(site, destination, application, span.end.key) as end,
    ):
        for database in span.databases:
            _rehearse_database(site, destination, span, database, begin, end, rehearsal, replayed)
        databases = len(cast(Manifest, end.manifest()).databases)
    rehearsal.checks.require(f"what {span.begin.key} and the logs behind it lead to")
    made = _proof(destination, span, files, rehearsal, replayed, by, now)
    notes = (*replayed.notes(databases), *_checks_notes(_checks(site, span), rehearsal))
    made = made.model_copy(update={"notes": notes}).signed(site.passwords(application)[0])
    proof.record(destination, made)
    log.info("Proven: %s.", made)
    return made


def _checks(site: Site, span: Span) -> Mapping[str, Check]:
    return site.settings.application(span.end.application).checks_of(span.end.kind)


def _checks_notes(wanted: Mapping[str, Check], rehearsal: Rehearsal) -> Iterator[str]:
    """Yield which checks of the application passed on what was replayed, and how many were not run."""
    passed = [check.name for check in rehearsal.checks.passed]
    if passed:
        yield f"checks passed: {listed(passed)}"
    if others := len(wanted) - len(passed):
        yield f"not run: {plural(others, 'check')} by commands, or of other databases; a drill of an archive runs them"


def _verified(site: Site, destination: Destination, archive: Archive) -> ProvenArchive:
    """Read an archive whole; of logs, walk all events.

    :raises ArchiveError: it is not what was published, which is recorded next to it.
    """
    key = archive.key
    marker = markers.read(destination, key)
    if marker is None:
        raise ArchiveError(f"{key} is not published at {destination} any more.", chain_drill.CURE)
    try:
        with stored_archive.opened(site, destination, archive.application, key) as reader:
            verified = stored_archive.verify_as(reader, key, marker)
            recovery.walk(reader, cast(Manifest, reader.manifest()))
    except ArchiveError as error:
        verify.note_failure(site, destination, archive.application, key, error)
        raise
    verify.note_whole(site, destination, archive.application, key)
    return ProvenArchive(key=key, size=verified.size, sha256=verified.sha256)


def _rehearse_database(
    site: Site,
    destination: Destination,
    span: Span,
    database: str,
    begin: ArchiveReader,
    end: ArchiveReader,
    rehearsal: Rehearsal,
    replayed: _Replayed,
) -> None:
    """Restore a database, replay onto it, and compare it with the later archive."""
    first, last = (stored_archive.captured_database(reader, database) for reader in (begin, end))
    if first is None or last is None or first.position is None:
        raise ArchiveError(f"{span.begin.key} has changed while it was read.", "Run the drill again.")
    subject = Subject(first, last)
    scratch = drill.scratch_server(site.settings, span.begin.application, "mysql", database)
    engine = cast("MySQL", site.engine(scratch))
    in_production = not site.settings.drill.connection_of("mysql")
    with engine.scratch(span.begin.key, first, production=in_production) as place:
        with rehearsal.phase("restore"):
            sql = stored_archive.sql_to_load(begin, dump_entry_name("mysql", database), place)
            loaded = engine.load(place, sql, Load(database, unchecked=first.unchecked))
        with rehearsal.phase("replay"):
            done = _replay(site, destination, span, engine, place, subject)
        checks.run_queries(engine, place, database, _checks(site, span), rehearsal.checks)
        with rehearsal.phase("compare"):
            restored = engine.read_back(place, *subject.skipped)
            captured = stored_archive.comparable(end, last)
    found = chain_drill.differences(subject, captured, restored, loaded.left_out)
    what = f"{span.begin.key} and the logs behind it do not lead to database {database!r} of {span.end.key}"
    comparison.refuse(what, found, HINT)
    for difference in found:
        log.warning("%s: %s.", database, difference)
    for name, why in subject.uncompared.items():
        log.warning("%s: table %r was not compared: %s.", database, name, why)
    rehearsal.count(captured, restored)
    replayed.results.append(done)
    replayed.subjects.append(subject)
    replayed.redefined += len(found)


def _replay(site: Site, destination: Destination, span: Span, engine: MySQL, place: str, subject: Subject) -> Replayed:
    begin, end = cast(LogPosition, subject.begin.position), cast(LogPosition, subject.end.position)
    asked = Replay(subject.begin.database, begin, Stop(position=end), subject.left_out, subject.begin.unchecked)
    keys = [archive.key for archive in span.logs]
    application, database = span.begin.application, subject.begin.database
    with recovery.read_by(site, destination, application, keys, begin.server, database) as pieces:
        done = engine.replay(place, pieces, asked)
    log.info("Replayed onto %s: %s in %.1f s.", place, plural(done.transactions, "transaction"), done.seconds)
    return done


def _proof(
    destination: Destination,
    span: Span,
    files: Sequence[ProvenArchive],
    rehearsal: Rehearsal,
    replayed: _Replayed,
    by: str,
    now: datetime,
) -> ChainProof:
    """Return the proof of a chain, without notes and signature."""
    begin, *logs, end = files
    lines = "".join(f"{each.sha256}  {each.key}\n" for each in logs)
    return ChainProof(
        format=proof.FORMAT,
        result="proven",
        key=span.end.key,
        destination=destination.name,
        application=span.end.application,
        since=span.begin.captured_at,
        captured_at=span.end.captured_at,
        begin=begin,
        end=end,
        logs=ProvenLogs(
            archives=len(logs),
            bytes=sum(each.size for each in logs),
            first=logs[0].key,
            last=logs[-1].key,
            sha256=hashlib.sha256(lines.encode()).hexdigest(),
        ),
        transactions=sum(done.transactions for done in replayed.results),
        others=sum(done.others for done in replayed.results),
        statements=sum(done.statements for done in replayed.results),
        proven_at=now.replace(microsecond=0),
        by=by,
        host=socket.gethostname(),
        compared=Compared(**rehearsal.compared),
        uncompared=sum(len(subject.uncompared) for subject in replayed.subjects),
        digest=rehearsal.digest,
        durations=ChainDurations(**rehearsal.rounded(ChainDurations.model_fields)),
        versions=rehearsal.versions,
        notes=(),
    )
