"""Contents of a dump, and digests of rows, as every engine has them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.support.native import native

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


def hashes_by() -> str:
    """Return what hashes rows without an order here."""
    return native.ROW_WAYS[0] if native else "Python"


def sum_rows(text: bytes, separator: bytes) -> tuple[int, int]:
    """Return the number of rows in a text, and the sum of their SHA-256, which may be reduced modulo 2^256.

    :param separator: stands between rows.
    """
    if native:
        count, total = native.sum_rows(text, separator)
        return count, int.from_bytes(total, "big")
    rows = text.split(separator)
    hashed, number = hashlib.sha256, int.from_bytes  # looked up once: this runs for every row
    return len(rows), sum([number(hashed(row).digest(), "big") for row in rows])


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
        """Take text in which no separator is cut in two."""
        end, separator, others = text.partition(self._separator)
        self._open.update(end)
        if not separator:
            return
        self._add(1, int.from_bytes(self._open.digest(), "big"))
        whole, separator, last = others.rpartition(self._separator)
        if separator:
            self._add(*sum_rows(whole, self._separator))
        self._open = hashlib.sha256(last)

    def _add(self, rows: int, total: int) -> None:
        self._rows += rows
        self._sum += total

    def digest(self) -> tuple[int, str]:
        return self._rows, f"{self._sum % (1 << 256):064x}"
