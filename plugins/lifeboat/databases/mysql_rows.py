"""What a load changes in rows so that a server takes them as they were dumped: pure functions of an INSERT's text.

Values in strings are never touched. Rows are read as dump clients write them: strings in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from lifeboat.databases.mysql_definitions import Column
from lifeboat.databases.mysql_statements import INSERT

_STRING = rb"'[^'\\]*+(?:\\.[^'\\]*+)*+'"
_VALUE = rb"[^'(),]*+(?:%b[^'(),]*+)*+" % _STRING
_NAMES = re.compile(rb"`(?:[^`]|``)++`|\"(?:[^\"]|\"\")++\"")
_MINUS_ZERO = re.compile(rb"%b|(?<=[(,])-0(?:\.0+)?(?=[,)])" % _STRING, re.DOTALL)


def loadable(insert: bytes, columns: Sequence[Column]) -> bytes:
    """Return an INSERT as MySQL takes it.

    MariaDB's client writes the values that the server computes, which MySQL refuses. Where all values are computed,
    MySQL's client writes invalid rows.

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
    computed = tuple(column.is_computed for column in named)
    rows = _with_defaults(insert, head.end(), computed) if any(computed) else insert
    return _with_signs(rows, head.end()) if any(column.is_floating for column in named) else rows


def _with_signs(insert: bytes, start: int) -> bytes:
    """Return rows in which ``-0``, which MySQL reads as a whole number without a sign, is a floating one."""
    if b"-0" not in insert:
        return insert
    rows = _MINUS_ZERO.sub(lambda found: found[0] + b"e0" if found[0][:1] == b"-" else found[0], insert[start:])
    return insert[:start] + rows


def _with_defaults(insert: bytes, start: int, computed: tuple[bool, ...]) -> bytes:
    """Return rows with DEFAULT for the values that the server computes; as they are if they have other columns."""
    row, pieces, position = _row(computed), [insert[:start]], start
    while found := row.match(insert, position):
        pieces.append(b"DEFAULT".join(found.groups()))
        position = found.end()
    return b"".join(pieces) if position == len(insert) else insert


@cache
def _row(computed: tuple[bool, ...]) -> re.Pattern[bytes]:
    """Return what a row and the comma behind it look like, in groups of what stays."""
    values = b",".join(b")%b(" % _VALUE if skipped else _VALUE for skipped in computed)
    return re.compile(rb"(\(%b\)(?:,\s*+|\s*+\Z))" % values, re.DOTALL)
