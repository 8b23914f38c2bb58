"""Contents of a destination: keys, manifests and published markers, read from one listing."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from operator import attrgetter
from sys import intern
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from lifeboat import __version__
from lifeboat.databases import BY_HAND
from lifeboat.errors import StorageError
from lifeboat.storage import Destination, StoredObject

if TYPE_CHECKING:
    from lifeboat.archive.read import Verified
    from lifeboat.databases import Dump

FORMAT = 1
MARKER = ".json"
PROOF = ".proof.json"
READ = ".read.json"  # of an archive that was read back, and was whole
DAMAGED = ".damaged.json"  # of one that was not
RECORDS = (PROOF, READ, DAMAGED)  # what may stand beside an archive, apart from its marker
TIME = "%Y-%m-%d-%H-%M-%S"
FILE_TOTALS = ("count", "bytes", "changed", "missing", "special")
LONGEST_MARKER = 1 << 20  # bytes; a marker holds totals only

Kind = Literal["database", "application", "legacy"]
OWN_KINDS: tuple[Kind, ...] = ("database", "application")
KINDS: tuple[Kind, ...] = ("database", "application", "legacy")
_KIND_OF: dict[str | None, Kind] = {"database": "database", "application": "application", None: "legacy"}

_KEY = re.compile(
    r"(?P<application>[^/]+)/(?:(?P<kind>database|application)/)?"
    r"(?P<time>[0-9]{4}(?:-[0-9]{2}){5})\.zip(?P<suffix>(?:\.(?:proof|read|damaged))?(?:\.json)?(?:(?:\.[0-9a-f]{16})?\.partial)?)"
)


class Archive(NamedTuple):
    """A published archive, or one of laravel-backup, whose names carry no marker.

    :param captured_at: when its data was captured, in UTC, whole seconds.
    :param size: of the archive file in bytes.
    :param proven: whether a proof stands beside it, which is not known to be forged.
    """

    key: str
    application: str
    kind: Kind
    captured_at: datetime
    size: int
    proven: bool


@dataclass(frozen=True)
class Proof:
    """Facts of a proof.

    :param recovery: how long the recovery took that it measured.
    :param error: why it is not a proof; empty when it is one.
    :param unread: whether it could not be read, so that it may be one all the same.
    :param missed: how many owners, rights and settings of databases it does not prove.
    """

    key: str
    proven_at: datetime
    recovery: timedelta
    error: str = ""
    unread: bool = False
    missed: int = 0


class Marked(NamedTuple):
    """Facts of an archive's marker.

    :param limits: how much a restore will not bring back, or not exactly.
    :param by_hand: how many databases no restore loads.
    :param error: why the marker cannot be read; empty when it can.
    :param databases: how many the archive holds; None if that is not known.
    """

    limits: int = 0
    by_hand: int = 0
    error: str = ""
    databases: int | None = None


class LastRead(NamedTuple):
    """The time when an archive was last read back, from the record next to it, and whether it was intact."""

    at: datetime
    whole: bool


@dataclass(frozen=True)
class Catalog:
    """Lifeboat's objects at a destination.

    :param archives: newest first.
    :param unfinished: uploads that never finished, and their remains.
    :param proofs: when the proofs of archives were stored, by the archive's key.
    :param readings: when archives were read back last, by key; nobody has looked at the signatures.
    :param uploads: those that no listing shows, as far as they were asked for.
    :param newest_proofs: what the newest proof of an application and kind says, as far as proofs were read.
    :param newest_marked: the same of the newest archive's marker.
    :param lacking: how many databases of the settings are in no archive that is young enough, as far as markers say.
    :param unchecked: keys of the archives whose proofs were not read, and may be anything.
    :param vanished: archives that were published, as their markers say, and are there no more, newest first; their
        size is not known. Their markers are among the unfinished.
    :param free: bytes that the place still has room for; None where nobody knows.
    """

    archives: tuple[Archive, ...]
    unfinished: tuple[StoredObject, ...]
    proofs: Mapping[str, datetime] = field(default_factory=dict)
    readings: Mapping[str, LastRead] = field(default_factory=dict)
    uploads: tuple[StoredObject, ...] = ()
    newest_proofs: Mapping[tuple[str, Kind], Proof] = field(default_factory=dict)
    newest_marked: Mapping[tuple[str, Kind], Marked] = field(default_factory=dict)
    lacking: Mapping[tuple[str, Kind], int] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()
    vanished: tuple[Archive, ...] = ()
    free: int | None = None

    def proof_of(self, archive: Archive) -> Literal["proven", "unchecked", "unproven"]:
        """Say what is known of an archive's proof; one that was not read is unchecked."""
        if not archive.proven:
            return "unproven"
        return "unchecked" if archive.key in self.unchecked else "proven"

    def of(self, application: str) -> list[Archive]:
        """Return the archives of an application, newest first."""
        return [archive for archive in self.archives if archive.application == application]


def archive_key(application: str, kind: Kind, captured_at: datetime) -> str:
    """Return the key of an archive: ``<application>/<kind>/<time of capture in UTC>.zip``."""
    return f"{application}/{kind}/{captured_at.astimezone(UTC).strftime(TIME)}.zip"


def key_of(manifest: Mapping[str, Any]) -> str:
    """Return the key of the archive that a manifest describes; nothing where it says too little."""
    try:
        captured_at = datetime.fromisoformat(manifest["captured_at"])
        return archive_key(manifest["application"], manifest["kind"], captured_at)
    except (KeyError, TypeError, ValueError):
        return ""


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
    """Sort the objects of a listing into archives, unfinished uploads and proofs; those that are not ours are left out.

    :param objects: in any order.
    :param legacy_zone: of the times in the names of laravel-backup's archives.
    :param need_markers: whether an archive counts only with its marker beside it.
    """
    listing = list(objects)
    keys = {stored.key for stored in listing}
    proofs = {stored.key.removesuffix(PROOF): stored.modified for stored in listing if stored.key.endswith(PROOF)}
    readings = {
        stored.key.removesuffix(suffix): LastRead(stored.modified, whole)
        for suffix, whole in ((READ, True), (DAMAGED, False))  # where both are there, the bad news count
        for stored in listing
        if stored.key.endswith(suffix)
    }
    archives, unfinished, vanished = [], [], []
    for stored in listing:
        key = stored.key
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        application, kind, time, suffix = match.groups()
        if suffix and (kind is None or (suffix in (MARKER, *RECORDS) and key.removesuffix(suffix) in keys)):
            continue  # beside an archive of laravel-backup, nothing is ours
        captured_at = _time(time, UTC if kind else legacy_zone)
        if captured_at is None:
            continue
        if suffix or (kind and need_markers and key + MARKER not in keys):
            unfinished.append(stored)
            if suffix == MARKER:  # it is stored after the archive, and deleted before it
                gone = key.removesuffix(MARKER)
                vanished.append(Archive(gone, intern(application), _KIND_OF[kind], captured_at, 0, proven=False))
        else:
            # One text for all archives of a name, which is found faster than one each.
            archives.append(Archive(key, intern(application), _KIND_OF[kind], captured_at, stored.size, key in proofs))
    archives.sort(key=attrgetter("key"), reverse=True)
    archives.sort(key=attrgetter("captured_at"), reverse=True)  # stable, and twice as fast as by pairs of both
    vanished.sort(key=attrgetter("captured_at", "key"), reverse=True)
    return Catalog(
        tuple(archives),
        tuple(sorted(unfinished, key=lambda stored: stored.key)),
        proofs,
        readings,
        vanished=tuple(vanished),
    )


def _time(text: str, zone: tzinfo = UTC) -> datetime | None:
    try:
        # Not strptime, which takes ten times as long: a listing may have 100 000 of them.
        time = datetime.fromisoformat(f"{text[:10]}T{text[11:].replace('-', ':')}+00:00")
        return time if zone is UTC else time.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def manifest(
    application: str,
    kind: Kind,
    note: str,
    captured_at: datetime,
    dumps: Sequence[Dump],
    files: dict[str, Any] | None,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Return the manifest that goes inside an archive, but for its ``entries``: there may be very many.

    Each of these has, under its name, ``size`` in bytes and ``sha256`` of its content; those of files also ``type``
    (``file``, ``directory`` or ``link``), ``mode`` in octal and ``mtime_ns``, links their ``target``, files that
    changed while they were read ``changed``, and files that are not stored under their own name their ``path``.

    :param files: totals of the application's files.
    """
    from importlib.metadata import version

    return {
        "format": FORMAT,
        "application": application,
        "kind": kind,
        "captured_at": captured_at.isoformat(),
        "note": note,
        "tools": {
            "lifeboat": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("isal", "pyzipper")},
        },
        "databases": [dump.to_json() for dump in dumps],
        **({"files": files} if files is not None else {}),
        "warnings": [*(notice for dump in dumps for notice in dump.notices), *warnings],
    }


def public_manifest(
    manifest: dict[str, Any], *, entries: int, size: int, sha256: str, encrypted: bool
) -> dict[str, Any]:
    """Return the manifest's public copy: totals only, no name of a file or a table.

    :param entries: number of entries, without the manifest itself.
    :param size: of the archive file in bytes.
    :param sha256: of the archive file.
    """
    databases = manifest["databases"]
    tables = [table for database in databases for table in database["tables"]]
    return {
        **{key: manifest[key] for key in ("format", "application", "kind", "captured_at", "note", "tools")},
        "archive": {"size": size, "sha256": sha256, "encrypted": encrypted},
        "totals": {
            "entries": entries,
            "databases": len(databases),
            "tables": len(tables),
            "rows": sum(table["rows"] for table in tables),
            "objects": sum(len(database["objects"]) for database in databases),
            "sql_bytes": sum(database["sql_bytes"] for database in databases),
            **{f"file_{key}": manifest["files"][key] for key in FILE_TOTALS if "files" in manifest},
            "warnings": len(manifest["warnings"]),
            "limits": sum(len(database.get("limits", ())) for database in databases)
            + len(manifest.get("files", {}).get("links_out", ())),
            "by_hand": sum(
                any(limit["kind"] == BY_HAND for limit in database.get("limits", ())) for database in databases
            ),
        },
    }


def wrong_fields(marker: Mapping[str, Any], manifest: dict[str, Any], verified: Verified) -> list[str]:
    """Return the keys of a marker whose values contradict the archive.

    Markers are not signed; but a marker is the public copy of what the archive's own manifest says.
    """
    try:
        truth = public_manifest(
            manifest,
            entries=verified.entries - 1,
            size=verified.size,
            sha256=verified.sha256,
            encrypted=verified.encrypted,
        )
    except (AttributeError, KeyError, TypeError):
        return ["the manifest's totals"]
    said, totals = marker.get("totals"), truth.pop("totals")
    wrong = [name for name, value in truth.items() if marker.get(name) != value]
    # Another version may have counted other things.
    if not isinstance(said, dict) or any(value != totals.get(name, value) for name, value in said.items()):
        wrong.append("totals")
    return wrong


def read_marker(destination: Destination, key: str) -> dict[str, Any] | None:
    """Return the public manifest that stands beside an archive, or None where the archive is not published.

    :raises StorageError: the destination fails, or holds something else there.
    """
    if destination.find(key + MARKER) is None:
        return None
    with destination.open(key + MARKER) as file:
        content = file.read(LONGEST_MARKER + 1)
    try:
        marker = json.loads(content)
        if not isinstance(marker["archive"]["sha256"], str):
            raise TypeError("the SHA-256 is not a string")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(
            f"{key + MARKER} at {destination} is not the marker of an archive.", "Move it away; back up again."
        ) from error
    return cast(dict[str, Any], marker)
