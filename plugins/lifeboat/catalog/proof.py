"""Proofs: the signed-off results of drills, kept beside the archives that they prove.

A proof is public: it holds totals, digests and times, no name of a table or file. It is authenticated with a key that
is derived from the archive password, so that nobody without the password can forge one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from lifeboat.catalog.archives import PROOF
from lifeboat.errors import ArchiveError
from lifeboat.storage import Destination
from lifeboat.support import signing
from lifeboat.support.signing import SIGNATURE
from lifeboat.text import plural

FORMAT = 1
LONGEST_PROOF = 1 << 20  # bytes; a proof holds totals only
LONGEST_TREND = 100
PURPOSE = b"lifeboat proof"


def signed(facts: Mapping[str, Any], password: str | None) -> dict[str, Any]:
    """Return a proof with its signature.

    :param password: of the archives; without one nothing can be authenticated, and the signature is null.
    """
    return {**facts, SIGNATURE: None} if password is None else signing.signed(facts, password, PURPOSE)


def is_authentic(proof: Mapping[str, Any], password: str | None) -> bool:
    """Return whether a proof was signed with the archive password, and is unchanged since."""
    if password is None:
        return proof.get(SIGNATURE) is None
    return signing.is_authentic(proof, password, PURPOSE)


def read(destination: Destination, key: str, password: str | None, previous: Sequence[str] = ()) -> dict[str, Any]:
    """Return the proof of an archive.

    :param previous: passwords that may have signed it, too.
    :raises ArchiveError: it is none, is of another archive, or was not signed by somebody who knows the password.
    :raises StorageError: the destination fails, or holds none.
    """
    where = f"{key + PROOF} at {destination}"
    with destination.open(key + PROOF) as file:
        content = file.read(LONGEST_PROOF + 1)
    try:
        proof = json.loads(content)
        authentic = isinstance(proof, dict) and any(is_authentic(proof, each) for each in (password, *previous))
    except (ValueError, RecursionError):
        proof, authentic = None, False
    if not isinstance(proof, dict) or proof.get("key") != key or proof.get("result") != "proven":
        raise ArchiveError(f"{where} is not the proof of that archive.", "Delete it, and run a drill.")
    if not authentic:
        raise ArchiveError(
            f"{where} was not signed with the archive password: it is forged, or older than the password.",
            "Find out who wrote it; then delete it, and run a drill.",
        )
    return cast(dict[str, Any], proof)


def record(destination: Destination, proof: Mapping[str, Any]) -> None:
    """Store a proof beside its archive; an older one is replaced."""
    key = proof["key"]
    # A crash in between leaves no proof, which is better than half of one.
    withdraw(destination, key)
    destination.write(key + PROOF, json.dumps(proof, ensure_ascii=False, indent=1).encode())


def withdraw(destination: Destination, key: str) -> None:
    """Delete the proof of an archive, if it has one: it does not hold any more."""
    if destination.find(key + PROOF) is not None:
        destination.delete(key + PROOF)


def recovery_seconds(made: Mapping[str, Any]) -> float:
    """Return how long the recovery took that a proof measured: reading all of the archive, and restoring it."""
    durations = made["durations"]
    return float(durations["verify"]) + float(durations["restore"])


def same_text(limits: int, missed: int = 0) -> str:
    """Say of what was compared that it is the same, and the same as what.

    :param limits: how much a dump did not carry exactly, so that nobody could compare it with what was there.
    :param missed: how much the database does not have as it was captured, apart from its contents.
    """
    if missed:
        others = plural(missed, "owner, right or setting is", "owners, rights or settings are")
        return f"equal to the dump, but {others} not"
    return "equal to the dump" if limits else "as captured"


def compared_text(compared: Mapping[str, int]) -> str:
    """Return the totals of what a drill compared, for people.

    :param compared: as a proof keeps them.
    """
    files = f", {plural(compared['files'], 'file')}" if compared["files"] else ""
    return (
        f"{plural(compared['tables'], 'table')}, {plural(compared['rows'], 'row')},"
        f" {plural(compared['objects'], 'other object')}{files}"
    )


def points_of(proof: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how long recoveries took, as a proof keeps it; what is no such point is left out."""
    trend = proof.get("trend")
    kinds = {"proven_at": str, "key": str, "seconds": int | float}
    return [
        point
        for point in (trend if isinstance(trend, list) else ())
        if isinstance(point, dict) and all(isinstance(point.get(name), kind) for name, kind in kinds.items())
    ]


def trend(earlier: Iterable[Mapping[str, Any]], latest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how long recoveries took, oldest first: what an earlier proof kept of it, and the latest.

    :param earlier: points of an earlier proof; each has ``proven_at``, ``key`` and ``seconds``.
    """
    points = {point["proven_at"]: dict(point) for point in (*earlier, latest)}
    return [points[time] for time in sorted(points)][-LONGEST_TREND:]
