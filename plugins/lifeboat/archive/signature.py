"""Proofs that the author of an archive knew its password: signatures, and marks of entries.

WinZip's AES authenticates the content of an entry, not its name. So a manifest ends with a signature of all of it,
which binds names, sizes and SHA-256 of all entries to the archive's key; and the salt of every other entry is marked,
so that none of them passes as a manifest, not even as one of the time before there were signatures.
"""

from __future__ import annotations

import hmac
import json
import os
import re

from lifeboat.support import signing
from lifeboat.support.signing import SIGNATURE

MANIFEST = b"lifeboat manifest"
ENTRY = b"lifeboat entry"
SALT_BYTES = 16
MARK_BYTES = 4  # of a salt; the others are random, and enough

_SIGNED = re.compile(rb'(?P<head>.*),\n "' + SIGNATURE.encode() + rb'": "(?P<signature>[0-9a-f]{64})"\n}', re.DOTALL)


class Signer:
    """Signs the text of a manifest while it passes."""

    def __init__(self, password: bytes) -> None:
        self._hmac = hmac.new(signing.key(password.decode(), MANIFEST), digestmod="sha256")

    def update(self, piece: bytes) -> None:
        """Take a piece of the text."""
        self._hmac.update(piece)

    def tail(self) -> bytes:
        """Return what is appended to the text, which lacks its last line only."""
        return f",\n {json.dumps(SIGNATURE)}: {json.dumps(self._hmac.hexdigest())}\n}}".encode()


def is_signed(text: bytes) -> bool:
    """Return whether a manifest has a signature, true or false."""
    return _SIGNED.fullmatch(text) is not None


def is_authentic(text: bytes, password: bytes) -> bool:
    """Return whether a manifest was signed with the password and is unchanged since."""
    signed = _SIGNED.fullmatch(text)
    if signed is None:
        return False
    made = hmac.new(
        signing.key(password.decode(), MANIFEST), memoryview(text)[: signed.end("head")], "sha256"
    ).hexdigest()
    return hmac.compare_digest(made.encode(), signed["signature"])


def marked_salt(password: bytes) -> bytes:
    """Return a new salt for an entry that is not a manifest."""
    random = os.urandom(SALT_BYTES - MARK_BYTES)
    return random + _mark(random, password)


def is_marked(salt: bytes, password: bytes) -> bool:
    """Return whether a salt is that of an entry that is not a manifest."""
    random = salt[:-MARK_BYTES]
    return len(salt) == SALT_BYTES and hmac.compare_digest(salt[-MARK_BYTES:], _mark(random, password))


def _mark(random: bytes, password: bytes) -> bytes:
    return hmac.digest(signing.key(password.decode(), ENTRY), random, "sha256")[:MARK_BYTES]
