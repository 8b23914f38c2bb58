"""Manifests, markers and proofs, as backups and drills make them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lifeboat.catalog.marker import Marker
from lifeboat.catalog.proof import Proof

THEN = datetime(2026, 11, 23, 1, tzinfo=UTC).isoformat()


def manifest_facts(entries: object, **changes: Any) -> dict[str, Any]:
    """Return the facts of a manifest."""
    return {
        "format": 1,
        "application": "Shop",
        "kind": "application",
        "captured_at": THEN,
        "note": "",
        "tools": {},
        "databases": [],
        "warnings": [],
        "entries": entries,
        **changes,
    }


def totals(**changes: int) -> dict[str, int]:
    """Return the totals of a marker of one database."""
    counts = ("entries", "databases", "tables", "rows", "objects", "sql_bytes", "warnings", "limits", "by_hand")
    return dict.fromkeys(counts, 0) | {"databases": 1} | changes


def marker_facts(key: str, **changes: Any) -> dict[str, Any]:
    """Return the facts of a marker."""
    application, kind, _ = key.split("/")
    return {
        "format": 1,
        "application": application,
        "kind": kind,
        "captured_at": THEN,
        "note": "",
        "tools": {},
        "archive": {"size": 1, "sha256": "ab" * 32, "encrypted": True},
        "totals": totals(),
        **changes,
    }


def marker_of(key: str, **changes: Any) -> Marker:
    """Return the marker of an archive."""
    return Marker.from_json(marker_facts(key, **changes))


def proof_facts(key: str, **changes: Any) -> dict[str, Any]:
    """Return the facts of a proof, which nobody signed."""
    application, kind, _ = key.split("/")
    return {
        "format": 1,
        "result": "proven",
        "key": key,
        "destination": "disk",
        "application": application,
        "kind": kind,
        "captured_at": THEN,
        "archive": {"size": 1, "sha256": "ab" * 32},
        "proven_at": THEN,
        "by": "ünï",
        "host": "here",
        "compared": {"databases": 1, "tables": 1, "rows": 1, "objects": 0, "files": 0, "bytes": 1},
        "digest": "cd" * 32,
        "durations": {"verify": 1, "restore": 2, "compare": 0.5},
        "versions": {"lifeboat": "0.1.0", "python": "3.11.7", "servers": []},
        "notes": [],
        "trend": [],
        **changes,
    }


def signed_proof(key: str, password: str | None, **changes: Any) -> Proof:
    """Return the proof of an archive."""
    return Proof.from_json(proof_facts(key, **changes)).signed(password)
