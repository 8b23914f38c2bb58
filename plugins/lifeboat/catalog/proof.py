"""Proofs: the signed results of drills, kept next to the archives that they prove.

A proof is public: it holds totals, digests, times and the names of checks, but none of tables or files. It is
authenticated with a key derived from the archive password, so that nobody without the password can forge one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, TypeVar

from lifeboat.catalog.archives import CHAIN_PROOF, PROOF, OwnKind
from lifeboat.errors import ArchiveError, UntrustedError
from lifeboat.storage import Destination
from lifeboat.support.formats import Moment, Text
from lifeboat.support.signing import Signed
from lifeboat.support.stored import Count, Flag, Seconds, Stored
from lifeboat.text import plural

FORMAT = 1
LONGEST_PROOF = 1 << 20  # bytes; a proof holds totals only
LONGEST_TREND = 100


class ProvenFile(Stored):
    """The archive that was proven, as a file."""

    size: Count
    sha256: Text


class Compared(Stored):
    """Totals of what a drill compared.

    :param bytes: of files and SQL.
    """

    databases: Count
    tables: Count
    rows: Count
    objects: Count
    files: Count
    bytes: Count

    def __str__(self) -> str:
        files = f", {plural(self.files, 'file')}" if self.files else ""
        return (
            f"{plural(self.tables, 'table')}, {plural(self.rows, 'row')}, {plural(self.objects, 'other object')}{files}"
        )


class PassedCheck(Stored):
    """A check of the application that passed on what was restored.

    :param name: in the settings, or its kind and number there.
    :param kind: ``sql`` or ``command``; later versions may know more.
    :param sha256: of what the settings say of it.
    :param isolated: whether its command could reach nothing but the scratch server and its own files; None of a query.
    """

    name: Text
    kind: Text
    sha256: Text
    seconds: Seconds
    isolated: Flag | None = None

    def __str__(self) -> str:
        alone = {True: ", isolated", False: ", not isolated", None: ""}[self.isolated]
        return f"{self.name} ({self.seconds:.1f} s{alone})"


class Durations(Stored):
    """Seconds of each phase of a drill."""

    verify: Seconds
    restore: Seconds
    compare: Seconds

    @property
    def recovery(self) -> float:
        """Duration of the recovery: reading all of the archive, and restoring it."""
        return self.verify + self.restore


class ChainDurations(Durations):
    """Seconds of each phase of a drill of a chain."""

    replay: Seconds

    @property
    def recovery(self) -> float:
        return super().recovery + self.replay


class Versions(Stored):
    """Versions of what made a proof."""

    lifeboat: str
    python: str
    servers: tuple[str, ...]


class Point(Stored):
    """Duration of one recovery."""

    proven_at: Moment
    key: Text
    seconds: Seconds


class Proof(Signed):
    """The result of a drill, signed: public, so without the name of a table or file.

    :param by: who asked for the drill.
    :param digest: of everything that was compared.
    :param notes: what its reader should know.
    :param limits: how much the dumps did not carry exactly; older versions counted none.
    :param missed: how much that server's restore would not make as it was captured, apart from contents.
    :param checks: of the application, that passed; empty where the settings had none, and in older proofs.
    :param trend: how long recoveries took, oldest first.
    """

    purpose = b"lifeboat proof"
    suffix: ClassVar[str] = PROOF

    format: Count
    result: Literal["proven"]
    key: Text
    destination: Text
    application: Text
    kind: OwnKind
    captured_at: Moment
    archive: ProvenFile
    proven_at: Moment
    by: Text
    host: Text
    compared: Compared
    digest: str
    durations: Durations
    versions: Versions
    notes: tuple[Text, ...]
    limits: Count = 0
    missed: Count = 0
    checks: tuple[PassedCheck, ...] = ()
    trend: tuple[Point, ...]
    hmac_sha256: str | None = None


class ProvenArchive(ProvenFile):
    """An archive of a chain, as a file."""

    key: Text


class ProvenLogs(Stored):
    """The archives of binary logs of a chain.

    :param first: key of the oldest one.
    :param sha256: of the lines ``<SHA-256>  <key>``, oldest first.
    """

    archives: Count
    bytes: Count
    first: Text
    last: Text
    sha256: Text


class ChainProof(Signed):
    """The result of a drill of a chain, signed: a replay of logs leads from one archive of databases to the next.

    It is public, so without the name of a table, and next to the later archive.

    :param key: of the later archive.
    :param since: when the earlier one was captured, whose databases were restored; `captured_at`: the later one.
    :param transactions: that were replayed; `others`: those of other databases, which were not.
    :param statements: of definitions among them.
    :param uncompared: how many tables could not be compared.
    :param by: who asked for the drill.
    :param digest: of everything that was compared.
    :param notes: what its reader should know.
    """

    purpose = b"lifeboat chain proof"
    suffix: ClassVar[str] = CHAIN_PROOF

    format: Count
    result: Literal["proven"]
    key: Text
    destination: Text
    application: Text
    since: Moment
    captured_at: Moment
    begin: ProvenArchive
    end: ProvenArchive
    logs: ProvenLogs
    transactions: Count
    others: Count
    statements: Count
    proven_at: Moment
    by: Text
    host: Text
    compared: Compared
    uncompared: Count
    digest: str
    durations: ChainDurations
    versions: Versions
    notes: tuple[Text, ...]
    hmac_sha256: str | None = None

    def __str__(self) -> str:
        logs, transactions = plural(self.logs.archives, "archive"), plural(self.transactions, "transaction")
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return (
            f"{self.key} at {self.destination} is what {self.begin.key} and {logs} of binary logs lead to:"
            f" {transactions} replayed, {self.compared} equal{notes}; recovered in {self.durations.recovery:.1f} s"
        )


AnyProof = TypeVar("AnyProof", Proof, ChainProof)


def read(destination: Destination, key: str, password: str | None, previous: Sequence[str] = ()) -> Proof:
    """Return the proof of an archive.

    :param previous: passwords that may have signed it, too.
    :raises ArchiveError: it is none, is of another archive, or was not signed by somebody who knows the password.
    :raises StorageError: the destination fails, or holds none.
    """
    return _read(Proof, destination, key, (password, *previous))


def read_chain(destination: Destination, key: str, password: str | None, previous: Sequence[str] = ()) -> ChainProof:
    """Return the proof that logs lead to an archive, as `read` does."""
    return _read(ChainProof, destination, key, (password, *previous))


def _read(kind: type[AnyProof], destination: Destination, key: str, passwords: Sequence[str | None]) -> AnyProof:
    where = f"{key + kind.suffix} at {destination}"
    with destination.open(key + kind.suffix) as file:
        content = file.read(LONGEST_PROOF + 1)
    try:
        proof = kind.from_bytes_signed(content, passwords)
        if proof.key != key:
            raise ValueError("it is another archive's")
    except UntrustedError as error:
        raise ArchiveError(
            f"{where} was not signed with the archive password: it is forged, or older than the password.",
            "Find out who wrote it; then delete it, and run a drill.",
        ) from error
    except ValueError as error:
        raise ArchiveError(f"{where} is not the proof of that archive.", "Delete it, and run a drill.") from error
    return proof


def record(destination: Destination, proof: Proof | ChainProof) -> None:
    """Store a proof next to its archive; an older one is replaced."""
    # A crash in between leaves no proof, which is better than half of one.
    withdraw(destination, proof.key, proof.suffix)
    destination.write(proof.key + proof.suffix, proof.to_bytes())


def withdraw(destination: Destination, key: str, suffix: str = PROOF) -> None:
    """Delete a proof of an archive, if it has one: it does not hold any more."""
    if destination.find(key + suffix) is not None:
        destination.delete(key + suffix)


def same_text(limits: int, missed: int = 0) -> str:
    """Say of what was compared that it is the same, and the same as what.

    :param limits: how much a dump did not carry exactly, so that nobody could compare it with what was there.
    :param missed: how much the database does not have as it was captured, apart from its contents.
    """
    if missed:
        others = plural(missed, "owner, right or setting is", "owners, rights or settings are")
        return f"equal to the dump, but {others} not"
    return "equal to the dump" if limits else "as captured"


def checks_text(passed: Sequence[PassedCheck], before: str = " Checks passed: ", behind: str = ".") -> str:
    """Name the checks that passed; '' if there were none."""
    return f"{before}{', '.join(map(str, passed))}{behind}" if passed else ""


def trend(earlier: Iterable[Point], latest: Point) -> tuple[Point, ...]:
    """Return how long recoveries took, oldest first: what an earlier proof kept of it, and the latest."""
    points = {point.proven_at: point for point in (*earlier, latest)}
    return tuple(points[time] for time in sorted(points))[-LONGEST_TREND:]
