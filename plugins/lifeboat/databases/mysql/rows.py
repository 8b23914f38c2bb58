"""Changes to rows so that a server stores them as they were dumped: pure functions of an INSERT's text.

Values in strings are never touched. Rows are read as dump clients write them: strings in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from lifeboat.databases.mysql.definitions import Column
from lifeboat.databases.mysql.statements import INSERT

_STRING = rb"'[^'\\]*+(?>\\.[^'\\]*+)*+'"
_VALUE = rb"[^'(),]*+(?>%b[^'(),]*+)*+" % _STRING
_DEFAULT, _BINARY = b"DEFAULT", b"_binary "
_NAMES = re.compile(rb"`(?>[^`]|``)++`|\"(?>[^\"]|\"\")++\"")
_MINUS_ZERO = re.compile(rb"%b|(?<=[(,])-0(?:\.0+)?(?=[,)])" % _STRING, re.DOTALL)


def loadable(insert: bytes, columns: Sequence[Column]) -> bytes:
    """Return an INSERT as MySQL takes it.

    MariaDB's client writes the values that the server computes, which MySQL refuses, and vectors as texts. Where all
    values are computed, MySQL's client writes invalid rows.

    :param columns: of the table, in their order.
    """
    head = INSERT.match(insert)
    if not head:
        return insert
    listed = head["columns"]
    if listed == b"":
        return head[0] + b",".join([b"()"] * (insert.count(b",", head.end()) + 1))
    known = {column.name: column for column in columns}
    named = [known[name] for name in _NAMES.findall(listed) if name in known] if listed else columns
    instead = tuple(_DEFAULT if column.is_computed else _BINARY if column.is_vector else None for column in named)
    rows = _with_others(insert, head.end(), instead) if any(instead) else insert
    return _with_signs(rows, head.end()) if any(column.is_floating for column in named) else rows


def _with_signs(insert: bytes, start: int) -> bytes:
    """Return rows in which ``-0``, which MySQL reads as a whole number without a sign, is a floating one."""
    if b"-0" not in insert:
        return insert
    rows = _MINUS_ZERO.sub(lambda found: found[0] + b"e0" if found[0][:1] == b"-" else found[0], insert[start:])
    return insert[:start] + rows


def _with_others(insert: bytes, start: int, instead: tuple[bytes | None, ...]) -> bytes:
    """Return rows with DEFAULT for the values that the server computes, and texts that are bytes marked as such.

    They stay as they are if they have other columns.

    :param instead: of each column, what replaces its values or stands before them.
    """
    row, pieces, position = _row(instead), [insert[:start]], start
    marks = [mark for mark in instead if mark]
    while found := row.match(insert, position):
        first, *others = found.groups()
        pieces.append(first)
        for mark, part in zip(marks, others, strict=True):
            pieces += [b"" if mark == _BINARY and part[:1] != b"'" else mark, part]
        position = found.end()
    return b"".join(pieces) if position == len(insert) else insert


@cache
def _row(instead: tuple[bytes | None, ...]) -> re.Pattern[bytes]:
    """Return what a row and the comma behind it look like, in groups of what stays."""
    shapes = {None: _VALUE, _DEFAULT: b")%b(" % _VALUE, _BINARY: b")(%b" % _VALUE}
    values = b",".join(shapes[mark] for mark in instead)
    return re.compile(rb"(\(%b\)(?:,\s*+|\s*+\Z))" % values, re.DOTALL)
