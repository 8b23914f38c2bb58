"""Single events of a binary log: statements with their settings, tables and rows, read and written again.

Whatever is not exactly as servers write it raises ValueError: nothing of a log may mean one thing here and another to
the server that is given it.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from lifeboat.databases.mysql.binlog import COMPRESSED_QUERY, CRC_BYTES, FORMAT, HEAD, LONGEST_EVENT, PAYLOAD, Event
from lifeboat.databases.mysql.gtids import uuid_of
from lifeboat.databases.mysql.lexis import Lexis

INTVAR, RAND, USER_VAR, TABLE_MAP, ROWS_QUERY, PARTIAL_UPDATE = 5, 13, 14, 19, 29, 39
WRITES, UPDATES, DELETES = frozenset({23, 30}), frozenset({24, 31, PARTIAL_UPDATE}), frozenset({25, 32})
ROWS = WRITES | UPDATES | DELETES
COMPRESSED_ROWS = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}  # of MariaDB, and what they are without that
# Flags of rows. Since 9.6, MySQL logs what foreign keys change, too, and says so.
END_OF_STATEMENT, NO_FOREIGN_KEYS, ALL_CHANGES = 0x01, 0x02, 0x10
LONGEST_NAME = 64  # characters of a schema or a table
UNENCODED = "#mysql50#"  # before the name of a table: the server takes the rest for the name of a file

# Of sql_mode. Names for several modes at once bring the first one along: ANSI, and those of other products.
_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES = 1 << 2 | 0x1F << 8 | 1 << 18, 1 << 20
_POST_HEADS = {2: 13, TABLE_MAP: 8, 23: 8, 24: 8, 25: 8, 30: 10, 31: 10, 32: 10, PARTIAL_UPDATE: 10}
_VERSION = re.compile(rb"(?:5\.[5-9]|[6-9]|1[0-9])\.[0-9]+[\x20-\x7e]*\0*")  # of servers with events as they are today
_POST_HEADS_AT = 57  # in a format event
_MOST_COLUMNS = 4096
_OFTEN = 4096  # bytes of what says which table rows are of: of more, none is remembered
_LATER_HEADS = frozenset({30, 31, 32, PARTIAL_UPDATE})  # of rows, with room for more
_TWO_IMAGES = frozenset({24, 31, PARTIAL_UPDATE})
_WHOLE_NUMBERS = {0xFC: 2, 0xFD: 3, 0xFE: 8}  # bytes that follow


class Cursor:
    """Reads the parts of an event one after the other.

    :raises ValueError: by all methods: the event ends before its parts do.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        taken = self._data[self.at : self.at + size]
        if len(taken) != size:
            raise ValueError("cut short")
        self.at += size
        return taken

    def number(self, size: int) -> int:
        """Return a number of that many bytes."""
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """Return a number whose first byte says how long it is."""
        first = self.number(1)
        if first < 0xFB:
            return first
        return self.number(_WHOLE_NUMBERS[first]) if first in _WHOLE_NUMBERS else self._unknown()

    def text(self) -> bytes:
        """Return a text behind its length."""
        return self.take(self.number(1))

    def terminated(self) -> bytes:
        """Return a text up to a zero byte, which is passed."""
        end = self._data.index(b"\0", self.at)
        text, self.at = self._data[self.at : end], end + 1
        return text

    @property
    def rest(self) -> bytes:
        """All that follows."""
        return self._data[self.at :]

    @property
    def is_at_end(self) -> bool:
        """Return whether nothing follows."""
        return self.at == len(self._data)

    @staticmethod
    def _unknown() -> int:
        raise ValueError("a length of a form that is not known")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the session that ran a statement, as far as it depends on them; None where the log is silent.

    :param flags: bits, of checks of foreign keys and the like.
    :param mode: bits of sql_mode.
    :param increments: auto_increment_increment and auto_increment_offset.
    :param character_sets: numbers of the client's, of the connection's and of the server's collation.
    :param microseconds: behind the seconds of its time.
    :param updated: schemas that it changes; empty where there are too many.
    :param default_timestamps: explicit_defaults_for_timestamp of MySQL.
    :param default_collation: number of that of utf8mb4, of MySQL.
    :param collations: numbers of those that character sets stand for, of MariaDB.
    """

    flags: int | None = None
    mode: int | None = None
    increments: tuple[int, int] | None = None
    character_sets: tuple[int, int, int] | None = None
    time_zone: bytes | None = None
    names_of_time: int | None = None
    microseconds: int = 0
    updated: tuple[bytes, ...] | None = None
    default_timestamps: int | None = None
    default_collation: int | None = None
    collations: tuple[int, ...] = ()

    def lexis(self, character_set: str = "utf8mb4") -> Lexis:
        """Return how a server reads a statement that ran with these.

        :param character_set: of the client.
        """
        mode = self.mode or 0
        return Lexis(not mode & _NO_BACKSLASH_ESCAPES, bool(mode & _ANSI_QUOTES), character_set)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement.

    :param time: when it began, in seconds since 1970.
    :param thread: number of the connection that ran it.
    :param error: number of the error that it ended with; 0 for none.
    :param schema: the default one when it ran; empty for none.
    """

    time: int
    thread: int
    error: int
    schema: bytes
    text: bytes
    settings: Settings = field(default_factory=Settings)


_PAIR = struct.Struct("<HH")
_TRIPLE = struct.Struct("<HHH")
_SKIPPED: Mapping[int, int | str] = {
    2: "catalog",
    6: "text",
    8: 2,
    9: 8,
    10: 4,
    11: "texts",
    17: 8,
    19: 1,
    20: 1,
    129: 8,
}
_ALTER_FLAGS = 130  # of MariaDB's ALTER TABLE in two phases
_NATIVE_FOREIGN_KEYS = 21  # of statements that change rows, since MySQL 9.6
_COMMIT_ALTER, _ROLLBACK_ALTER = 4, 8
_MOST_SCHEMAS = 254  # a count that says that there are too many


@lru_cache(maxsize=64)  # most statements of a log have the same
def _settings(data: bytes, *, of_mariadb: bool) -> Settings:
    found, cursor = dict[str, Any](), Cursor(data)
    while not cursor.is_at_end:
        code = cursor.number(1)
        if code in _SKIPPED:
            _skip(cursor, _SKIPPED[code])
        elif code in _READ_BY_ALL:
            found |= _READ_BY_ALL[code](cursor)
        elif of_mariadb and code in _READ_BY_MARIADB:
            found |= _READ_BY_MARIADB[code](cursor)
        elif not of_mariadb and code in _READ_BY_MYSQL:
            found |= _READ_BY_MYSQL[code](cursor)
        elif of_mariadb and code == 255:  # the rest is padding
            break
        else:
            raise ValueError(f"a setting of kind {code} is not known")
    return Settings(**found)


def _skip(cursor: Cursor, what: int | str) -> None:
    if isinstance(what, int):
        cursor.take(what)
        return
    cursor.text()
    if what == "catalog":
        cursor.take(1)
    elif what == "texts":
        cursor.text()


def _updated(cursor: Cursor) -> tuple[bytes, ...]:
    count = cursor.number(1)
    return () if count == _MOST_SCHEMAS else tuple(cursor.terminated() for _ in range(count))


def _collations(cursor: Cursor) -> tuple[int, ...]:
    return tuple(_PAIR.unpack(cursor.take(_PAIR.size))[1] for _ in range(cursor.number(1)))


def _alter_flags(cursor: Cursor) -> dict[str, Any]:
    if cursor.number(1) & (_COMMIT_ALTER | _ROLLBACK_ALTER):
        cursor.take(8)
    return {}


def _native_foreign_keys(cursor: Cursor) -> dict[str, Any]:
    cursor.take(1)  # who cascades; that a statement run here does so is all that counts
    return {}


_Reader = Callable[[Cursor], dict[str, Any]]
_READ_BY_ALL: dict[int, _Reader] = {
    0: lambda cursor: {"flags": cursor.number(4)},
    1: lambda cursor: {"mode": cursor.number(8)},
    3: lambda cursor: {"increments": _PAIR.unpack(cursor.take(_PAIR.size))},
    4: lambda cursor: {"character_sets": _TRIPLE.unpack(cursor.take(_TRIPLE.size))},
    5: lambda cursor: {"time_zone": cursor.text()},
    7: lambda cursor: {"names_of_time": cursor.number(2)},
}
_READ_BY_MYSQL: dict[int, _Reader] = {
    12: lambda cursor: {"updated": _updated(cursor)},
    13: lambda cursor: {"microseconds": cursor.number(3)},
    16: lambda cursor: {"default_timestamps": cursor.number(1)},
    18: lambda cursor: {"default_collation": cursor.number(2)},
    _NATIVE_FOREIGN_KEYS: _native_foreign_keys,
}
_READ_BY_MARIADB: dict[int, _Reader] = {
    128: lambda cursor: {"microseconds": cursor.number(3)},
    _ALTER_FLAGS: _alter_flags,
    131: lambda cursor: {"collations": _collations(cursor)},
}


_QUERY = struct.Struct("<I4xBHH")


def read_query(event: Event, *, of_mariadb: bool) -> Query:
    """Read a statement."""
    cursor = Cursor(event.body)
    thread, length, error, size = _QUERY.unpack(cursor.take(_QUERY.size))
    settings = _settings(cursor.take(size), of_mariadb=of_mariadb)
    schema = cursor.take(length)
    if b"\0" in schema or cursor.take(1) != b"\0":
        raise ValueError("a schema without an end")
    text = inflated(cursor.rest) if event.kind == COMPRESSED_QUERY else cursor.rest
    return Query(event.time, thread, error, schema, text, settings)


def inflated(data: bytes) -> bytes:
    """Return what MariaDB compressed."""
    cursor = Cursor(data)
    head = cursor.number(1)
    width = head & 0x07
    if head & 0xF8 != 0x80 or not 1 <= width <= 4:
        raise ValueError("compressed in a way that is not known")
    size = int.from_bytes(cursor.take(width), "big")
    if size > LONGEST_EVENT:
        raise ValueError("longer than events are")
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(cursor.rest, size + 1)
    except zlib.error as error:
        raise ValueError("not what was compressed") from error
    if len(text) != size or not opened.eof or opened.unused_data:
        raise ValueError("of another length than it says")
    return text


class Table(NamedTuple):
    """A table whose rows follow.

    :param number: by which these call it.
    :param columns: their number.
    :param rest: what the event says of them.
    """

    number: int
    flags: int
    schema: bytes
    name: bytes
    columns: int
    rest: bytes

    def body(self, schema: bytes) -> bytes:
        """Return the body of an event that says the same of the table of that name in another schema."""
        names = b"".join(struct.pack("B", len(name)) + name + b"\0" for name in (schema, self.name))
        return self.number.to_bytes(6, "little") + struct.pack("<H", self.flags) + names + self.rest


def read_table(body: bytes) -> Table:
    """Read which table rows are of."""
    return _known_table(body) if len(body) <= _OFTEN else _table(body)


@lru_cache(maxsize=128)
def _known_table(body: bytes) -> Table:
    return _table(body)


def _table(body: bytes) -> Table:
    cursor = Cursor(body)
    number, flags = cursor.number(6), cursor.number(2)
    schema, name = (_name(cursor) for _ in range(2))
    rest = cursor.rest
    columns = cursor.packed()
    if not 0 < columns <= _MOST_COLUMNS:
        raise ValueError("a table of so many columns")
    cursor.take(columns)  # their types
    cursor.take(cursor.packed())  # more of them
    cursor.take((columns + 7) // 8)  # which may be NULL
    return Table(number, flags, schema, name, columns, rest)


def _name(cursor: Cursor) -> bytes:
    name = cursor.text()
    text = name.decode()  # UnicodeDecodeError is a ValueError
    if not 0 < len(text) <= LONGEST_NAME or "\0" in text or cursor.take(1) != b"\0":
        raise ValueError("a name that none can be")
    if max(text) > "\uffff":  # servers know names of the Basic Multilingual Plane alone
        raise ValueError("a name with characters that no name can have")
    if text.lower().startswith(UNENCODED):
        raise ValueError("the name of a file in place of a table's")
    return name


class Rows(NamedTuple):
    """Rows of a table.

    :param number: of the table.
    :param rest: what follows the flags.
    """

    number: int
    flags: int
    rest: bytes

    def body(self, *, ends: bool, is_checked: bool = True) -> bytes:
        """Return the body of an event of the same rows; foreign keys change nothing that the log has itself.

        :param ends: whether they are the last of their statement.
        :param is_checked: False where their parents may be missing.
        """
        flags = (self.flags & ~END_OF_STATEMENT) | (END_OF_STATEMENT if ends else 0)
        flags |= NO_FOREIGN_KEYS if self.flags & ALL_CHANGES or not is_checked else 0
        return self.number.to_bytes(6, "little") + struct.pack("<H", flags) + self.rest


def read_rows(kind: int, body: bytes) -> Rows:
    """Read whose rows an event holds, and make sure that it is as long as it says."""
    cursor = Cursor(body)
    number, flags = cursor.number(6), cursor.number(2)
    rest = cursor.rest
    if kind in _LATER_HEADS:
        extra = cursor.number(2)
        if extra < 2:
            raise ValueError("a length that none can be")
        cursor.take(extra - 2)
    columns = cursor.packed()
    if not 0 < columns <= _MOST_COLUMNS:
        raise ValueError("rows of so many columns")
    cursor.take((columns + 7) // 8 * (2 if kind in _TWO_IMAGES else 1))
    return Rows(number, flags, rest)


def without_compression(event: Event) -> Event:
    """Return an event of rows as it was before MariaDB compressed it; any other as it is."""
    kind = COMPRESSED_ROWS.get(event.kind)
    if kind is None:
        return event
    packed = len(event.body) - len(_behind_images(kind, event.body))
    return event._replace(kind=kind, body=event.body[:packed] + inflated(event.body[packed:]))


def _behind_images(kind: int, body: bytes) -> bytes:
    """Return the rows of an event without what is said of their columns."""
    cursor = Cursor(body, 8)
    if kind in _LATER_HEADS:
        cursor.take(cursor.number(2) - 2)
    columns = cursor.packed()
    cursor.take((columns + 7) // 8 * (2 if kind in _TWO_IMAGES else 1))
    return cursor.rest


def check_format(body: bytes) -> frozenset[int]:
    """Make sure that a server reads the events of a log as they are read here.

    :returns: kinds of events that the log cannot have.
    :raises ValueError: their heads have other lengths, or the log is of a server of long ago.
    """
    heads = body[_POST_HEADS_AT:-1]
    if not _VERSION.fullmatch(body[2:52]):
        raise ValueError("it is of a server that is not known")
    lengths = {kind: heads[kind - 1] if kind <= len(heads) else 0 for kind in _POST_HEADS}
    if any(length not in (0, _POST_HEADS[kind]) for kind, length in lengths.items()):
        raise ValueError("heads of events have other lengths there")
    return frozenset(kind for kind, length in lengths.items() if not length)


def encoded(event: Event, body: bytes, *, with_crc: bool) -> bytes:
    """Return the bytes of an event with another body.

    Flags in its head are about replication, and none of them is passed on.
    """
    size = HEAD.size + len(body) + (CRC_BYTES if with_crc else 0)
    whole = HEAD.pack(event.time, event.kind, event.server, size, event.end % (1 << 32), 0) + body
    return whole + struct.pack("<I", zlib.crc32(whole)) if with_crc else whole


def encoded_format(event: Event) -> bytes:
    """Return the bytes of a format event, which always has a checksum."""
    return encoded(event, event.body, with_crc=True)


def events_within(data: Iterable[bytes], outer: Event) -> Iterator[Event]:
    """Yield the events of a transaction that MySQL compressed, which have no checksums; the last one ends it.

    :param data: without compression.
    """
    parts, size_held, needed = list[bytes](), 0, HEAD.size
    before: Event | None = None
    for chunk in data:
        parts.append(chunk)
        size_held += len(chunk)
        if size_held < needed:  # so that a long event is put together once
            continue
        held, at, needed = b"".join(parts), 0, HEAD.size
        while len(held) - at >= HEAD.size:
            time, kind, server, size, _, flags = HEAD.unpack_from(held, at)
            if not HEAD.size <= size <= LONGEST_EVENT or kind in (FORMAT, PAYLOAD):
                raise ValueError("an event that is none")
            if len(held) - at < size:
                needed = size
                break
            if before:
                yield before
            body = held[at + HEAD.size : at + size]
            before = Event(kind, time, server, flags, outer.start, outer.end, body)
            at += size
        parts, size_held = [held[at:]], len(held) - at
    if size_held or not before:
        raise ValueError("cut short")
    yield before._replace(ends=True)


_SIZE, _COMPRESSION, _PLAIN_SIZE = 1, 2, 3  # fields of a compressed transaction
_ZSTD, _NONE = 0, 255


def payload_of(body: bytes) -> tuple[int, bytes]:
    """Return how a transaction of MySQL is compressed, and what it then is."""
    cursor, fields = Cursor(body), dict[int, int]()
    while field_ := cursor.packed():
        value = Cursor(cursor.take(cursor.packed()))
        fields[field_] = value.packed()
    if fields.get(_SIZE) != len(cursor.rest) or fields.keys() - {_SIZE, _COMPRESSION, _PLAIN_SIZE}:
        raise ValueError("of another length than it says")
    return fields.get(_COMPRESSION, _NONE), cursor.rest


class Gtid(NamedTuple):
    """The beginning of a transaction.

    :param text: its GTID as the server writes it; empty where it has none.
    :param committed: microseconds since 1970; 0 where it does not say.
    :param flags: of MariaDB.
    :param further: flags of MariaDB, about ALTER TABLE in two phases.
    :param xid: of an XA transaction of MariaDB, as statements name it.
    :param is_prepared: it waits for another one that commits it.
    """

    text: str
    committed: int = 0
    flags: int = 0
    further: int = 0
    source: bytes = b""
    domain: int = 0
    number: int = 0
    xid: bytes = b""
    is_prepared: bool = False


GROUP_COMMIT, PREPARED_XA, COMPLETED_XA = 2, 64, 128  # flags of MariaDB
MULTI_ENGINE, START_ALTER, COMMIT_ALTER, ROLLBACK_ALTER = 1, 2, 4, 8  # further flags
_MICROSECONDS = (1 << 55) - 1


def read_gtid(event: Event) -> Gtid:
    """Read a GTID event of MySQL, with or without a number."""
    cursor = Cursor(event.body)
    cursor.take(1)
    source, number = cursor.take(16), cursor.number(8)
    cursor.take(17)
    committed = cursor.number(7) & _MICROSECONDS
    return Gtid(f"{uuid_of(source)}:{number}" if number else "", committed, source=source, number=number)


def read_mariadb_gtid(event: Event) -> Gtid:
    """Read a GTID event of MariaDB."""
    cursor = Cursor(event.body)
    number, domain, flags = cursor.number(8), cursor.number(4), cursor.number(1)
    if flags & GROUP_COMMIT:
        cursor.take(8)
    xid, prepared = b"", bool(flags & PREPARED_XA)
    if flags & (PREPARED_XA | COMPLETED_XA):
        form, lengths = cursor.number(4), (cursor.number(1), cursor.number(1))
        xid = b",".join([*(b"X'%b'" % cursor.take(length).hex().encode() for length in lengths), b"%d" % form])
    further = 0 if cursor.is_at_end else cursor.number(1)
    text = f"{domain}-{event.server}-{number}"
    return Gtid(text, 0, flags, further, domain=domain, number=number, xid=xid, is_prepared=prepared)


class Variable(NamedTuple):
    """A value that the next statement reads: its name as SET takes it, and the value as SQL."""

    name: bytes
    value: bytes


def read_variables(event: Event, collation: Callable[[int], tuple[str, str]]) -> list[Variable]:
    """Read what an event sets for the next statement.

    :param collation: returns the character set and the name of a collation by its number.
    """
    cursor = Cursor(event.body)
    if event.kind == INTVAR:
        names = {1: b"last_insert_id", 2: b"insert_id"}
        kind, value = cursor.number(1), cursor.number(8)
        if kind not in names or not cursor.is_at_end:
            raise ValueError("a number of a kind that is not known")
        return [Variable(names[kind], b"%d" % value)]
    if event.kind == RAND:
        seeds = [cursor.number(8) for _ in range(2)]
        return [Variable(b"rand_seed%d" % place, b"%d" % seed) for place, seed in enumerate(seeds, 1)]
    name = cursor.take(cursor.number(4))
    if not name.isascii():  # to a server that reads another character set, it may end elsewhere
        raise ValueError("the name of a variable with letters beyond ASCII")
    name = b"@`" + name.replace(b"`", b"``") + b"`"
    if cursor.number(1):
        return [Variable(name, b"NULL")]
    kind, number, size = cursor.number(1), cursor.number(4), cursor.number(4)
    value_, flags = cursor.take(size), 0 if cursor.is_at_end else cursor.number(1)
    return [Variable(name, _value(kind, value_, collation(number), unsigned=bool(flags & 1)))]


_STRING, _REAL, _INTEGER, _DECIMAL = 0, 1, 2, 4


def _value(kind: int, value: bytes, collation: tuple[str, str], *, unsigned: bool) -> bytes:
    if kind == _STRING:
        return f"_{collation[0]} X'{value.hex()}' COLLATE {collation[1]}".encode()
    if kind == _REAL:
        return f"{struct.unpack('<d', value)[0]:.17e}".encode()
    if kind == _INTEGER:
        (number,) = struct.unpack("<Q" if unsigned else "<q", value)
        return b"%d" % number
    if kind == _DECIMAL:
        return _decimal(value)
    raise ValueError("a value of a kind that is not known")


_DIGITS = 9  # in four bytes
_BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def _decimal(value: bytes) -> bytes:
    """Return a decimal number as text: its precision and scale come first, then groups of nine digits."""
    cursor = Cursor(value)
    precision, scale = cursor.number(1), cursor.number(1)
    whole = precision - scale
    if whole < 0 or cursor.is_at_end:
        raise ValueError("a number without digits")
    positive = bool(value[2] & 0x80)
    packed = bytes([value[2] ^ 0x80]) + value[3:]
    if not positive:
        packed = bytes(byte ^ 0xFF for byte in packed)
    groups = [whole % _DIGITS, *itertools.repeat(_DIGITS, whole // _DIGITS)]
    fraction = [*itertools.repeat(_DIGITS, scale // _DIGITS), scale % _DIGITS]
    digits = Cursor(packed)
    before, after = (
        "".join(f"{int.from_bytes(digits.take(_BYTES_OF_DIGITS[group]), 'big'):0{group}d}" for group in some if group)
        for some in (groups, fraction)
    )
    return f"{'' if positive else '-'}{before or 0}{f'.{after}' if after else ''}".encode()
