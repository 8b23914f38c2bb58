"""Destinations: where archives are kept. One small interface, and what every kind of storage promises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol

from lifeboat.support.streams import Source


class StoredObject(NamedTuple):
    """One object of a listing; a tuple, because listings may have 100 000 of them.

    :param key: path below the destination's root, with slashes.
    :param size: in bytes.
    :param modified: when it was stored, in UTC, by the destination's clock.
    """

    key: str
    size: int
    modified: datetime


class Destination(Protocol):
    """A place that keeps objects under keys. Every method raises StorageError naming the destination."""

    name: str

    def init(self, now: datetime) -> str:
        """Prepare the place for its first use, and return the outcome as text; a second time changes nothing."""

    def free(self) -> int | None:
        """Return how many more bytes the place has room for; None where nobody knows."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix, in no order, from one listing."""

    def find(self, key: str) -> StoredObject | None:
        """Return what is stored under a key, or None."""

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; the reader seeks without fetching what it skips."""

    def source(self, key: str) -> Source:
        """Return an object as something that another destination can store."""

    def store(self, source: Source, key: str, sha256: str) -> None:
        """Store something so that it appears under its key whole or not at all.

        Returns when every byte is stored, and the destination has confirmed size and checksum. What an earlier
        attempt at the same key left unfinished is removed.

        :param sha256: of the source, in hex.
        :raises AlreadyStoredError: the key is taken; nothing is overwritten.
        :raises AlteredError: the source has another SHA-256.
        """

    def write(self, key: str, content: bytes) -> None:
        """Store a small object, whole or not at all.

        :raises AlreadyStoredError: the key is taken; nothing is overwritten.
        """

    def delete(self, key: str) -> None:
        """Delete an object; deleting one that does not exist is not an error."""

    def lock_description(self, key: str, now: datetime) -> str:
        """Return why an object cannot be deleted, such as a lock and its end; '' if it can."""

    def uploads(self) -> Iterator[StoredObject]:
        """Yield uploads under way or abandoned, which no listing shows; `modified` is when they began."""

    def abort(self, key: str) -> None:
        """Abort the uploads of a key; what is stored under it stays."""
