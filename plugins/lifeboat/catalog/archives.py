"""Contents of a destination: keys, and the archives and records that one listing shows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from operator import attrgetter
from sys import intern
from typing import Literal, NamedTuple, TypeVar

from lifeboat.storage import StoredObject

T = TypeVar("T")

MARKER = ".json"
PROOF = ".proof.json"
CHAIN_PROOF = ".chain.json"  # that the archive before it and the logs between them lead to this one
READ = ".read.json"  # of an archive that was read back, and was whole
DAMAGED = ".damaged.json"  # of one that was not
RECORDS = (PROOF, CHAIN_PROOF, READ, DAMAGED)  # what else may be next to an archive, besides its marker
TIME = "%Y-%m-%d-%H-%M-%S"

OwnKind = Literal["database", "application"]
StoredKind = Literal["database", "application", "log"]  # each with its manifest and marker
Kind = Literal["database", "application", "log", "legacy"]
OWN_KINDS: tuple[Kind, ...] = ("database", "application")  # what is dumped; logs only continue it
KINDS: tuple[Kind, ...] = ("database", "application", "legacy")
_KIND_OF: dict[str | None, Kind] = {
    "database": "database",
    "application": "application",
    "log": "log",
    None: "legacy",
}

_KEY = re.compile(
    r"(?P<application>[^/]+)/(?:(?P<kind>database|application|(?P<log>log))/)?"
    r"(?P<time>[0-9]{4}(?:-[0-9]{2}){5})(?(log)-(?P<number>[0-9]{6}))\.zip(?P<suffix>(?:\.(?:proof|chain|read|damaged))?(?:\.json)?(?:(?:\.[0-9a-f]{16})?\.partial)?)"
)


class Archive(NamedTuple):
    """A published archive, or one of laravel-backup, whose names carry no marker.

    :param captured_at: when its data was captured, in UTC, whole seconds.
    :param size: of the archive file in bytes.
    :param proven: whether there is a proof next to it that is not known to be forged.
    """

    key: str
    application: str
    kind: Kind
    captured_at: datetime
    size: int
    proven: bool


@dataclass(frozen=True)
class Proven:
    """Facts of the proof of an archive.

    :param recovery: measured duration of the recovery.
    :param error: why it is not a valid proof; empty if it is.
    :param unread: whether it could not be read, so that it may still be valid.
    :param missed: number of owners, rights and settings of databases that it does not prove.
    :param checks: number of the application's checks that passed.
    :param open_checks: number of those whose command was not isolated from production.
    """

    key: str
    proven_at: datetime
    recovery: timedelta
    error: str = ""
    unread: bool = False
    missed: int = 0
    checks: int = 0
    open_checks: int = 0


class Marked(NamedTuple):
    """Facts of an archive's marker.

    :param limits: how much a restore will not bring back, or not exactly.
    :param by_hand: how many databases no restore loads.
    :param error: why the marker cannot be read; empty when it can.
    :param databases: how many the archive holds; None if that is not known.
    :param listed: how many there were when whole servers were listed; 0 where none was.
    :param positions: of how many of them the position in the binary log is known.
    """

    limits: int = 0
    by_hand: int = 0
    error: str = ""
    databases: int | None = None
    positions: int = 0
    listed: int = 0


class LastRead(NamedTuple):
    """The time when an archive was last read back, from the record next to it, and whether it was intact."""

    at: datetime
    whole: bool


@dataclass(frozen=True)
class LogWindow:
    """Logs of an application that have no gap at a destination.

    :param since: time from which on they hold all transactions, by the servers' clocks.
    :param until: time up to which they do.
    :param is_one_chain: whether the first belongs to the chain of the last.
    :param is_new: whether they begin with a chain that follows another one, which ended.
    :param reason: why that ended, as far as it was read.
    :param anchor: archive of databases in this time, with the most positions in the log; None where there is none.
    :param positions: how many it has; None where that is not known.
    :param first: the oldest such archive: from when it was captured, every moment can be reached.
    :param error: why a marker cannot be read; the times are then those of the archives.
    :param left_out_bytes: of other schemas, users and grants, that the last archive does not hold.
    :param untold_bytes: that it holds, and that may be of other schemas.
    """

    since: datetime
    until: datetime
    is_one_chain: bool = True
    is_new: bool = False
    reason: str = ""
    anchor: Archive | None = None
    positions: int | None = None
    error: str = ""
    first: Archive | None = None
    left_out_bytes: int = 0
    untold_bytes: int = 0


@dataclass(frozen=True)
class Catalog:
    """Lifeboat's objects at a destination.

    :param archives: of databases and applications, newest first.
    :param unfinished: uploads that never finished, and their remains.
    :param proofs: when the proofs of archives were stored, by the archive's key.
    :param chain_proofs: the same of the proofs that logs lead to them.
    :param readings: when archives were read back last, by key; nobody has looked at the signatures.
    :param uploads: those that no listing shows, as far as they were asked for.
    :param newest_proofs: what the newest proof of an application and kind says, as far as proofs were read.
    :param newest_chain_proofs: what the newest proof of a chain says, by application.
    :param newest_marked: the same of the newest archive's marker.
    :param lacking: how many databases of the settings are in no archive that is young enough, as far as markers say.
    :param unchecked: keys of the archives whose proofs were not read, and may be anything.
    :param vanished: archives that were published, as their markers say, but no longer exist, newest first; their
        size is not known. Their markers are among the unfinished.
    :param free: bytes that the place still has room for; None where nobody knows.
    :param logs: archives of binary logs, newest first. Nothing that is true of dumps is true of them: each continues
        the one before it.
    :param anchors: by application, the archive of databases that its kept logs continue.
    :param windows: by application, which time its newest logs cover.
    :param earlier: the same of older ones, newest first, each behind a gap.
    :param unplaced: by application, why its newest archive lacks positions in the log; without those that do not.
    """

    archives: tuple[Archive, ...]
    unfinished: tuple[StoredObject, ...]
    proofs: Mapping[str, datetime] = field(default_factory=dict)
    readings: Mapping[str, LastRead] = field(default_factory=dict)
    uploads: tuple[StoredObject, ...] = ()
    newest_proofs: Mapping[tuple[str, Kind], Proven] = field(default_factory=dict)
    newest_marked: Mapping[tuple[str, Kind], Marked] = field(default_factory=dict)
    lacking: Mapping[tuple[str, Kind], int] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()
    vanished: tuple[Archive, ...] = ()
    free: int | None = None
    logs: tuple[Archive, ...] = ()
    anchors: Mapping[str, Archive] = field(default_factory=dict)
    windows: Mapping[str, LogWindow] = field(default_factory=dict)
    earlier: Mapping[str, tuple[LogWindow, ...]] = field(default_factory=dict)
    unplaced: Mapping[str, str] = field(default_factory=dict)
    chain_proofs: Mapping[str, datetime] = field(default_factory=dict)
    newest_chain_proofs: Mapping[str, Proven] = field(default_factory=dict)

    def proof_of(self, archive: Archive) -> Literal["proven", "unchecked", "unproven"]:
        """Say what is known of an archive's proof; one that was not read is unchecked."""
        if not archive.proven:
            return "unproven"
        return "unchecked" if archive.key in self.unchecked else "proven"

    def only(self, applications: Collection[str]) -> Catalog:
        """Return what belongs to some applications; how much room there is, is nobody's."""

        def own(archives: tuple[Archive, ...]) -> tuple[Archive, ...]:
            return tuple(archive for archive in archives if archive.application in applications)

        def objects(stored: tuple[StoredObject, ...]) -> tuple[StoredObject, ...]:
            return tuple(each for each in stored if each.key.partition("/")[0] in applications)

        def by_key(facts: Mapping[str, T]) -> dict[str, T]:  # an application's name alone is such a key, too
            return {key: fact for key, fact in facts.items() if key.partition("/")[0] in applications}

        def by_kind(facts: Mapping[tuple[str, Kind], T]) -> dict[tuple[str, Kind], T]:
            return {subject: fact for subject, fact in facts.items() if subject[0] in applications}

        return Catalog(
            archives=own(self.archives),
            unfinished=objects(self.unfinished),
            proofs=by_key(self.proofs),
            readings=by_key(self.readings),
            uploads=objects(self.uploads),
            newest_proofs=by_kind(self.newest_proofs),
            newest_marked=by_kind(self.newest_marked),
            lacking=by_kind(self.lacking),
            unchecked=frozenset(by_key(dict.fromkeys(self.unchecked))),
            vanished=own(self.vanished),
            logs=own(self.logs),
            anchors=by_key(self.anchors),
            windows=by_key(self.windows),
            earlier=by_key(self.earlier),
            unplaced=by_key(self.unplaced),
            chain_proofs=by_key(self.chain_proofs),
            newest_chain_proofs=by_key(self.newest_chain_proofs),
        )

    def of(self, application: str) -> list[Archive]:
        """Return the archives of an application, newest first."""
        return [archive for archive in self.archives if archive.application == application]

    def logs_of(self, application: str) -> list[Archive]:
        """Return the archives of an application's logs, newest first."""
        return [archive for archive in self.logs if archive.application == application]


def archive_key(application: str, kind: Kind, captured_at: datetime) -> str:
    """Return the key of an archive: ``<application>/<kind>/<time of capture in UTC>.zip``."""
    return f"{application}/{kind}/{captured_at.astimezone(UTC).strftime(TIME)}.zip"


def log_key(application: str, captured_at: datetime, number: int) -> str:
    """Return the key of an archive of logs: ``<application>/log/<time>-<number in its chain, six digits>.zip``."""
    return f"{archive_key(application, 'log', captured_at).removesuffix('.zip')}-{number:06}.zip"


def number_of(key: str) -> int:
    """Return the number that an archive of logs has in its chain; it counts from 1."""
    match = _KEY.fullmatch(key)
    return int(match["number"] or 0) if match else 0


def locked_until(key: str, days: int) -> datetime | None:
    """Return when the lock of an archive or of its marker ends; None for what is never locked, such as proofs.

    :param days: of 24 hours since its capture, for which an archive is locked.
    """
    match = _KEY.fullmatch(key)
    if match is None or match["suffix"] not in ("", MARKER) or not match["kind"]:
        return None
    captured_at = _time(match["time"])
    return captured_at + timedelta(days=days) if captured_at else None


def kind_of(key: str) -> Kind | None:
    """Return the kind of the archive of a key, or None where it is not the key of an archive."""
    match = _KEY.fullmatch(key)
    if match is None or match["suffix"] or _time(match["time"]) is None:
        return None
    return _KIND_OF[match["kind"]]


def read(objects: Iterable[StoredObject], legacy_zone: tzinfo = UTC, *, need_markers: bool = True) -> Catalog:
    """Sort the objects of a listing into archives, unfinished uploads and proofs; skip those that are not ours.

    :param objects: in any order.
    :param legacy_zone: of the times in the names of laravel-backup's archives.
    :param need_markers: whether an archive counts only with its marker next to it.
    """
    listing = list(objects)
    keys = {stored.key for stored in listing}
    proofs, chain_proofs = (
        {stored.key.removesuffix(suffix): stored.modified for stored in listing if stored.key.endswith(suffix)}
        for suffix in (PROOF, CHAIN_PROOF)
    )
    readings = {
        stored.key.removesuffix(suffix): LastRead(stored.modified, whole)
        for suffix, whole in ((READ, True), (DAMAGED, False))  # where both are there, the bad news count
        for stored in listing
        if stored.key.endswith(suffix)
    }
    archives: list[Archive] = []
    logs: list[Archive] = []
    unfinished, vanished = [], []
    for stored in listing:
        key = stored.key
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        application, kind, time, suffix = match.group("application", "kind", "time", "suffix")
        if suffix and (kind is None or (suffix in (MARKER, *RECORDS) and key.removesuffix(suffix) in keys)):
            continue  # next to an archive of laravel-backup, nothing is ours
        captured_at = _time(time, UTC if kind else legacy_zone)
        if captured_at is None:
            continue
        if suffix or (kind and need_markers and key + MARKER not in keys):
            unfinished.append(stored)
            if suffix == MARKER and kind != "log":  # it is stored after the archive, and deleted before it
                gone = key.removesuffix(MARKER)
                vanished.append(Archive(gone, intern(application), _KIND_OF[kind], captured_at, 0, proven=False))
        else:
            # One text for all archives of a name, which is found faster than one each.
            of_kind = logs if kind == "log" else archives
            of_kind.append(Archive(key, intern(application), _KIND_OF[kind], captured_at, stored.size, key in proofs))
    for of_kind in (archives, logs):
        of_kind.sort(key=attrgetter("key"), reverse=True)
        of_kind.sort(key=attrgetter("captured_at"), reverse=True)  # stable, and twice as fast as by pairs of both
    vanished.sort(key=attrgetter("captured_at", "key"), reverse=True)
    return Catalog(
        tuple(archives),
        tuple(sorted(unfinished, key=lambda stored: stored.key)),
        proofs,
        readings,
        vanished=tuple(vanished),
        logs=tuple(logs),
        chain_proofs=chain_proofs,
    )


def _time(text: str, zone: tzinfo = UTC) -> datetime | None:
    try:
        # Not strptime, which takes ten times as long: a listing may have 100 000 of them.
        time = datetime.fromisoformat(f"{text[:10]}T{text[11:].replace('-', ':')}+00:00")
        return time if zone is UTC else time.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
