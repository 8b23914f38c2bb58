"""The rows of INSERTs in one spelling, whatever client wrote them: read in chunks of any size, in bounded memory.

MariaDB's client writes ``),\\n(`` between rows, MySQL's ``),(``, which may stand in strings as well. Strings hold no
raw newline, and escape quotes by a backslash, so quotes say what is in a string: an odd number of them before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from operator import xor

from lifeboat.errors import DumpError
from lifeboat.support.native import native

SEPARATOR = b",\n"
_BETWEEN = b"),("
_VALUE = rb"[^',()]*+(?>'[^'\\]*+(?>\\.[^'\\]*+)*+'[^',()]*+)*+"
_NO_MARKS = bytes(set(range(256)) - set(b"'("))
_NO_MARKS_OR_ESCAPES = bytes(set(range(256)) - set(b"'(\\\"nr0Z"))  # clients escape by these letters only
_LONGEST_BETWEEN = 3  # bytes of ``),\n(`` and ``;\n`` that may be the last of a chunk


def whole_tokens(text: bytes, start: int, stop: int) -> int:
    """Return up to where a part of a text can be read by itself: no escape or separator is cut in two."""
    tail = text[max(start, stop - _LONGEST_BETWEEN) : stop]
    end = stop - len(tail) + len(tail.rstrip(b"),;\n"))
    backslashes = end - start - len(text[start:end].rstrip(b"\\"))
    return end - backslashes % 2


def one_row_a_line(text: bytes, inside: int) -> tuple[bytes, int]:
    """Return rows with a newline after each ``),`` between them.

    :param inside: 1 where the text begins in a string, else 0.
    :returns: the text, and the same flag for its end.
    """
    odd = [piece.count(b"'") & 1 for piece in _without_escapes(text).split(_BETWEEN)]
    odd[0] ^= inside
    if 1 not in odd[:-1]:
        return text.replace(_BETWEEN, b"),\n("), odd[-1]
    pieces, ends = text.split(_BETWEEN), list(accumulate(odd, xor))
    joined = [part for piece, end in zip(pieces, ends, strict=True) for part in (piece, b"),(" if end else b"),\n(")]
    return b"".join(joined[:-1]), ends[-1]


def count_rows(text: bytes, inside: int) -> tuple[int, int]:
    """Return the number of rows that begin in a text, by its parentheses outside of strings.

    :param inside: 1 where the text begins in a string, else 0.
    :returns: the number, and the same flag for its end.
    """
    if native:
        return native.count_rows(text, inside)
    # What is neither a quote nor a parenthesis is dropped, and then strings without either: for most rows, only the
    # parentheses remain.
    if b"\\" in text:
        escapes = text.translate(None, _NO_MARKS_OR_ESCAPES)
        text = escapes.replace(b"\\\\", b"").replace(b"\\'", b"")
    marks = text.translate(None, _NO_MARKS)
    pieces = (b"'" * inside + marks).replace(b"''", b"").split(b"'")
    return sum(map(len, pieces[::2])), 1 - len(pieces) % 2


def _without_escapes(text: bytes) -> bytes:
    """Return a text of the same length without escaped backslashes and quotes."""
    return text.replace(b"\\\\", b"__").replace(b"\\'", b"__") if b"\\" in text else text


class FirstRow:
    """Counts the values of the first row of a table, so that a table that was altered meanwhile is noticed."""

    def __init__(self, table: str, columns: int) -> None:
        self._table, self._columns = table, columns
        self._commas = self._inside = 0
        self.is_counted = False

    def feed(self, text: bytes) -> None:
        """Take canonical text.

        :raises DumpError: the row has more or less values than the table has columns.
        """
        row, end, _ = text.partition(SEPARATOR)
        pieces = _without_escapes(row).split(b"'")
        self._commas += sum(piece.count(b",") for piece in pieces[self._inside :: 2])
        self._inside ^= (len(pieces) - 1) & 1
        self.is_counted = bool(end)
        if end and self._commas + 1 != self._columns:
            raise altered(self._table)


class StoredValues:
    """Removes the values that the server computes from canonical rows.

    :param stored: for each value of a row, whether it is stored.
    :param feed: takes the rows with only their stored values.
    """

    def __init__(self, table: str, stored: Sequence[bool], feed: Callable[[bytes], None]) -> None:
        self._table, self._feed = table, feed
        runs = [(kept, len(list(run))) for kept, run in groupby(stored)]
        values = [_VALUE + rb"(?:,%b){%d}" % (_VALUE, count - 1) for _, count in runs]
        captured = [b"(%b)" % run if kept else run for (kept, _), run in zip(runs, values, strict=True)]
        self._stored = bytes(stored)
        self._row = re.compile(rb"\(%b\)" % b",".join(captured), re.DOTALL)
        self._instead = b"(%b)" % b",".join(b"\\%d" % (n + 1) for n in range(sum(kept for kept, _ in runs)))
        self._open: list[bytes] = []

    def feed(self, text: bytes) -> None:
        """Take canonical text, and pass on the rows that are whole.

        :raises DumpError: a row has other values than the table has columns.
        """
        head, newline, rest = text.rpartition(b"\n")
        if newline:
            whole = b"".join((*self._open, head, newline))
            rows = native.kept_values(whole, self._stored) if native else self._kept_values(whole)
            if rows is None:
                raise altered(self._table)
            self._feed(rows)
            self._open = []
        self._open.append(rest)

    def _kept_values(self, whole: bytes) -> bytes | None:
        rows, count = self._row.subn(self._instead, whole)
        return rows if count == whole.count(b"\n") else None


def altered(table: str) -> DumpError:
    """Return the error of a table whose rows do not fit its definition."""
    return DumpError(
        f"The rows of table {table!r} do not have the columns of its definition: it was altered during the dump.",
        "The next try takes a new snapshot; alter tables at another time.",
    )
