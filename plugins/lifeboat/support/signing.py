"""Signatures of facts that pass through hands that are not trusted: proofs at destinations, XComs between tasks."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Self

from lifeboat.errors import UntrustedError
from lifeboat.support.stored import Stored, loads

SIGNATURE: Final = "hmac_sha256"
ROUNDS = 200_000


class Signed(Stored):
    """A stored format that ends with a signature, made with the archive password.

    Where archives have none, nothing can be authenticated, and the signature is null.
    """

    purpose: ClassVar[bytes]
    """Keeps signatures of different formats apart, although they come from one secret."""

    def signed(self, password: str | None) -> Self:
        """Return the facts with their signature."""
        return self.from_json(signed(self.to_json(), password, self.purpose))

    @classmethod
    def from_bytes_signed(cls, content: bytes, passwords: Iterable[str | None]) -> Self:
        """Read what somebody signed who knows one of these passwords.

        :raises ValueError: it is something else.
        :raises UntrustedError: nobody did.
        """
        document = loads(content)
        facts = cls.from_json(document)
        try:  # with the document, not the facts: it may hold more than this version knows
            authentic = any(is_authentic(document, password, cls.purpose) for password in passwords)
        except RecursionError as error:
            raise ValueError("it nests too deeply") from error
        if not authentic:
            raise UntrustedError("it is not signed with the archive password")
        return facts


def signed(facts: Mapping[str, object], secret: str | None, purpose: bytes) -> dict[str, object]:
    """Return facts with their signature.

    :param secret: without one nothing can be authenticated, and the signature is null.
    :param purpose: keeps signatures of different kinds apart, although they come from one secret.
    """
    plain = {name: value for name, value in facts.items() if name != SIGNATURE}
    return {**plain, SIGNATURE: None if secret is None else _signature(plain, secret, purpose)}


def is_authentic(document: object, secret: str | None, purpose: bytes) -> bool:
    """Return whether a document was signed with the secret, and is unchanged since."""
    if not isinstance(document, Mapping):
        return False
    given = document.get(SIGNATURE)
    if secret is None:
        return given is None
    facts = {name: value for name, value in document.items() if name != SIGNATURE}
    # JSON may hold lone surrogates, which UTF-8 cannot encode.
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), _signature(facts, secret, purpose).encode()
    )


def canonical(facts: Any) -> bytes:
    """Return the one text that equal facts have, whatever order their names stand in."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _signature(facts: Mapping[str, object], secret: str, purpose: bytes) -> str:
    return hmac.new(key(secret, purpose), canonical(facts), "sha256").hexdigest()


@functools.lru_cache(maxsize=16)
def key(secret: str, purpose: bytes) -> bytes:
    """Derive the key for one purpose from a secret: slowly, for people choose passwords."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), purpose, ROUNDS)
