"""What a PostgreSQL dump holds, read from its own stream while it passes.

The rules, which a manifest of format 1 promises:

* Rows are the lines of COPY. No table has an order: the digest is the sum of the SHA-256 of each row, modulo 2^256.
* The definition of a table, or of any other object, is the sum of the SHA-256 of each statement about it, without casts
  and parentheses (see `postgresql_statements.canonical`); values of sequences and large objects count.
* Owners, rights, publications and comments on extensions belong to the server, and do not count.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from lifeboat.databases import ObjectDigest, TableDigest
from lifeboat.databases.digest import DumpDigest, UnorderedRows
from lifeboat.databases.postgresql_statements import OPTIONAL, Statement, Trailer, canonical, read

UNCOUNTED = OPTIONAL | {"rows", "setting", "skipped", "refresh"}


def digest(sql: Iterable[bytes]) -> DumpDigest:
    """Read a whole dump.

    :raises RestoreError: it is none of pg_dump.
    """
    rows: dict[str, UnorderedRows] = {}
    sums: Counter[tuple[str, str]] = Counter()
    filled, large_object, place, complete = UnorderedRows(b"\n"), "", 0, False
    for piece in read(sql):
        if isinstance(piece, bytes):
            filled.feed(piece)
            continue
        complete = isinstance(piece, Trailer)
        if not isinstance(piece, Statement):
            continue
        if piece.kind == "rows" or (piece.kind == "table" and piece.sql.startswith(b"CREATE")):
            filled = rows.setdefault(piece.name, UnorderedRows(b"\n"))
        text = canonical(piece)
        if piece.kind == "large object":
            # Their pieces have an order, and all but the first lack the name.
            large_object, place = (piece.name, 0) if piece.name else (large_object, place + 1)
            text = b"%d %b" % (place, text)
        if piece.kind not in UNCOUNTED:
            sums[piece.kind, piece.name or large_object] += int.from_bytes(hashlib.sha256(text).digest(), "big")
    return DumpDigest(
        tables=tuple(
            TableDigest(name, count, "none", sha256, _hex(sums.pop(("table", name), 0)))
            for name, kept in rows.items()
            for count, sha256 in [kept.digest()]
        ),
        objects=tuple(ObjectDigest(kind, name, _hex(total)) for (kind, name), total in sums.items()),
        complete=complete,
    )


def _hex(total: int) -> str:
    return f"{total % (1 << 256):064x}"
