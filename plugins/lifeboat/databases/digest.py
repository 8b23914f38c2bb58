"""Contents of a dump, and digests of rows, as every engine has them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lifeboat.databases import ObjectDigest, TableDigest

AT_ONCE = 64 << 10  # bytes of rows that are looked at together; more do not fit into the processor's cache


@dataclass(frozen=True)
class DumpDigest:
    """Contents of a dump, and whether its client reported it complete."""

    tables: tuple[TableDigest, ...]
    objects: tuple[ObjectDigest, ...]
    complete: bool

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


class UnorderedRows:
    """Rows without an order: a sum ignores the order, and counts duplicate rows.

    :param separator: follows each row.
    """

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._open = hashlib.sha256()
        self._sum = 0
        self._rows = 0

    def feed(self, text: bytes) -> None:
        first, *others = text.split(self._separator)
        self._open.update(first)
        if not others:
            return
        *whole, last = others
        self._rows += len(others)
        self._sum += int.from_bytes(self._open.digest(), "big")
        hashed, number = hashlib.sha256, int.from_bytes  # looked up once: this runs for every row
        self._sum += sum([number(hashed(row).digest(), "big") for row in whole])
        self._open = hashed(last)

    def digest(self) -> tuple[int, str]:
        return self._rows, f"{self._sum % (1 << 256):064x}"
