"""Markers: public copies of manifests. Storing one next to its archive is the last step, and publishes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lifeboat.catalog.archives import MARKER, StoredKind
from lifeboat.catalog.logs import Chain, Covers, LogPiece
from lifeboat.catalog.manifest import ManifestHead
from lifeboat.databases import BY_HAND
from lifeboat.errors import StorageError
from lifeboat.storage import Destination
from lifeboat.support.formats import Moment, Text
from lifeboat.support.stored import Count, Flag, Stored

LONGEST_MARKER = 1 << 20  # bytes; a marker holds totals only
FILE_TOTALS = ("count", "bytes", "changed", "missing", "special")


class ArchiveFile(Stored):
    """The archive as a file.

    :param size: in bytes.
    :param sha256: in hex.
    """

    size: Count
    sha256: Text
    encrypted: Flag


class Totals(Stored):
    """Totals of the contents; markers of databases state none of files.

    :param entries: in the archive, without the manifest itself.
    :param limits: how much a restore will not bring back, or not exactly; older versions counted none.
    :param by_hand: databases that no restore loads.
    :param listed: databases that there were, of which somebody may have chosen some; 0 where no whole server is named.
    :param positions: databases whose position in the binary log is known; older versions counted none.
    :param transactions: in binary logs; only markers of these state them, and what follows.
    :param left_out_bytes: of events of other schemas, users and grants.
    :param untold_bytes: of events that may be of other schemas and are there, as nothing says whose they are.
    """

    entries: Count
    databases: Count
    tables: Count
    rows: Count
    objects: Count
    sql_bytes: Count
    file_count: Count = 0
    file_bytes: Count = 0
    file_changed: Count = 0
    file_missing: Count = 0
    file_special: Count = 0
    warnings: Count
    limits: Count = 0
    by_hand: Count = 0
    listed: Count = 0
    positions: Count = 0
    transactions: Count = 0
    left_out_bytes: Count = 0
    untold_bytes: Count = 0


class Marker(Stored):
    """The public copy of a manifest: totals only, no name of a file or a table."""

    format: Count
    application: Text
    kind: StoredKind
    captured_at: Moment
    note: Text
    tools: dict[str, str]
    archive: ArchiveFile
    totals: Totals
    chain: Chain | None = None
    covers: Covers | None = None

    def contradictions(self, truth: Marker) -> list[str]:
        """Return the names of the facts that contradict what the archive itself says.

        Markers are not signed; but a marker is the public copy of what the archive's own manifest says.
        """
        names = [name for name in Marker.model_fields if name != "totals"]
        wrong = [name for name in names if getattr(self, name) != getattr(truth, name)]
        # Another version may have counted other things.
        counted = self.totals.model_fields_set & truth.totals.model_fields_set
        if any(getattr(self.totals, name) != getattr(truth.totals, name) for name in counted):
            wrong.append("totals")
        return wrong


NEW_CHAIN = "another chain ended"  # the reason in markers, which are public: reasons name hosts and transactions


def marker_of(manifest: ManifestHead, *, entries: int, archive: ArchiveFile) -> Marker:
    """Return the marker of an archive.

    :param entries: number of entries, without the manifest itself.
    """
    databases, files = manifest.databases, manifest.files
    common = {name: getattr(manifest, name) for name in manifest.model_fields_set & Marker.model_fields.keys()}
    if manifest.chain and manifest.chain.reason:
        common["chain"] = replace(manifest.chain, reason=NEW_CHAIN)
    return Marker(
        **common,
        archive=archive,
        totals=Totals(
            entries=entries,
            databases=len(databases),
            tables=sum(len(database.tables) for database in databases),
            rows=sum(database.rows for database in databases),
            objects=sum(len(database.objects) for database in databases),
            sql_bytes=sum(database.sql_bytes for database in databases),
            **{f"file_{name}": getattr(files, name) for name in FILE_TOTALS if files},
            warnings=len(manifest.warnings),
            limits=sum(len(database.limits) for database in databases) + len(files.links_out if files else ()),
            by_hand=sum(any(limit.kind == BY_HAND for limit in database.limits) for database in databases),
            **({"listed": len(manifest.listing.databases)} if manifest.listing else {}),
            positions=sum(database.position is not None for database in databases),
            **_totals_of_logs(manifest.logs),
        ),
    )


def _totals_of_logs(logs: Sequence[LogPiece]) -> dict[str, int]:
    if not logs:
        return {}
    return {
        "transactions": sum(piece.transactions for piece in logs),
        "left_out_bytes": sum(piece.left_out.bytes for piece in logs),
        "untold_bytes": sum(piece.untold.bytes for piece in logs),
    }


def read(destination: Destination, key: str) -> Marker | None:
    """Return the marker of an archive, or None where the archive is not published.

    :raises StorageError: the destination fails, or holds something else there.
    """
    if destination.find(key + MARKER) is None:
        return None
    with destination.open(key + MARKER) as file:
        content = file.read(LONGEST_MARKER + 1)
    try:
        return Marker.from_bytes(content)
    except ValueError as error:
        raise StorageError(
            f"{key + MARKER} at {destination} is not the marker of an archive.",
            "Copy it from another destination that holds the archive; or move it away, and back up again.",
        ) from error
