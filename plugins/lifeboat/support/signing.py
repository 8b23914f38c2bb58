"""Signatures of facts that pass through hands that are not trusted: proofs at destinations, XComs between tasks."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

SIGNATURE = "hmac_sha256"
ROUNDS = 200_000


def signed(facts: Mapping[str, Any], secret: str, purpose: bytes) -> dict[str, Any]:
    """Return facts with their signature.

    :param purpose: keeps signatures of different kinds apart, although they come from one secret.
    """
    return {**facts, SIGNATURE: _signature(facts, secret, purpose)}


def is_authentic(document: Mapping[str, Any], secret: str, purpose: bytes) -> bool:
    """Return whether a document was signed with the secret, and is unchanged since."""
    facts = {name: value for name, value in document.items() if name != SIGNATURE}
    given = document.get(SIGNATURE)
    # JSON may name halves of characters, which have no bytes of their own.
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), _signature(facts, secret, purpose).encode()
    )


def canonical(facts: Any) -> bytes:
    """Return the one text that equal facts have, whatever order their names stand in."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _signature(facts: Mapping[str, Any], secret: str, purpose: bytes) -> str:
    return hmac.new(key(secret, purpose), canonical(facts), "sha256").hexdigest()


@functools.lru_cache(maxsize=16)
def key(secret: str, purpose: bytes) -> bytes:
    """Derive the key for one purpose from a secret: slowly, for people choose passwords."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), purpose, ROUNDS)
