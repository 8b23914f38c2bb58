"""Records of archives that were read back whole: public and signed as proofs are, next to each archive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lifeboat.catalog.archives import DAMAGED, READ, LastRead
from lifeboat.errors import UntrustedError
from lifeboat.storage import Destination
from lifeboat.support.formats import Moment, Text
from lifeboat.support.signing import Signed
from lifeboat.support.stored import Count

FORMAT = 1
LONGEST_RECORD = 1 << 16  # bytes


class ReadBack(Signed):
    """The result of reading an archive back."""

    purpose = b"lifeboat reading"

    format: Count
    result: Literal["whole", "damaged"]
    key: Text
    destination: Text
    read_at: Moment
    hmac_sha256: str | None = None


def record(destination: Destination, reading: ReadBack) -> None:
    """Store a record next to its archive, replacing older ones.

    :raises StorageError: the destination refuses.
    """
    # A crash in between leaves no record, so that the archive is read again.
    for suffix in (READ, DAMAGED):
        if destination.find(reading.key + suffix) is not None:
            destination.delete(reading.key + suffix)
    suffix = READ if reading.result == "whole" else DAMAGED
    destination.write(reading.key + suffix, reading.to_bytes())


def read(destination: Destination, name: str, key: str, passwords: Iterable[str | None]) -> LastRead:
    """Return what the record of an archive says.

    :param name: of the record.
    :raises ValueError: it is none, is another archive's, or was not signed with one of the passwords.
    :raises StorageError: the destination fails.
    """
    with destination.open(name) as file:
        content = file.read(LONGEST_RECORD + 1)
    try:
        reading = ReadBack.from_bytes_signed(content, passwords)
    except UntrustedError as error:
        raise ValueError("it is not signed") from error
    if (reading.key, reading.destination) != (key, destination.name):
        raise ValueError("it is another archive's")
    return LastRead(reading.read_at, reading.result == "whole")
