"""Binary logs that no server wrote: events with right checksums and positions, whatever they say."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from itertools import count

from lifeboat.databases.mysql.binlog import GTID, MAGIC, MARIADB_GTID, PAYLOAD, QUERY, XID
from lifeboat.databases.mysql.log_events import TABLE_MAP, USER_VAR

from tests.servers.databases.replaying import Piece, Taken

Event = tuple[int, bytes]
UUID = bytes(range(16))
ENDS = 1  # a flag of rows: their statement ends with them
TIME = 1_750_000_000
SERVER = 42  # number of another server than the one that replays
NUMBERS = count(1_000_000)
GBK, BINARY = 28, 63  # numbers of collations


def frame(kind: int, body: bytes, at: int, size: int = 0) -> bytes:
    """Return an event.

    :param at: its position.
    :param size: that it claims; default: its own.
    """
    whole = 19 + len(body) + 4
    head = struct.pack("<IBIIIH", TIME, kind, SERVER, size or whole, (at + whole) & 0xFFFFFFFF, 0)
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def forged(log: bytes, taken: Taken, events: Iterable[Event], change: bytes = b"") -> list[tuple[Piece, list[bytes]]]:
    """Return events as the piece of a server's log that follows a dump.

    :param log: of the server, for its format event.
    :param change: appended as it is.
    """
    assert taken.dump.position
    size = struct.unpack_from("<I", log, 13)[0]
    start = at = taken.dump.position.offset
    content = MAGIC + log[4 : 4 + size]
    for kind, body in events:
        content += frame(kind, body, at)
        at += 19 + len(body) + 4
    return [(Piece(taken.dump.position.file, start), [content + change])]


def gtid(*, mariadb: bool, alone: bool = False) -> Event:
    """Begin a transaction.

    :param alone: it is one statement.
    """
    number = next(NUMBERS)
    if mariadb:
        return MARIADB_GTID, struct.pack("<QIB6x", number, 9, int(alone))
    clocks = struct.pack("<BQQ", 2, 0, 0) + (TIME * 1_000_000).to_bytes(7, "little")
    return GTID, struct.pack("<B16sQ", 1, UUID, number) + clocks


def query(text: str, schema: str = "shop", variables: bytes = b"") -> Event:
    """Return a statement.

    :param text: surrogates in it are bytes that are not UTF-8.
    :param schema: the default one.
    """
    name = schema.encode()
    head = struct.pack("<IIBHH", 1, 0, len(name), 0, len(variables))
    return QUERY, head + variables + name + b"\0" + text.encode("utf-8", "surrogateescape")


def updated(*schemas: str) -> bytes:
    """Return what MySQL says of the schemas that a statement changes."""
    return struct.pack("BB", 12, len(schemas)) + b"".join(name.encode() + b"\0" for name in schemas)


def variable(name: bytes, kind: int = 2, value: bytes = bytes(8)) -> Event:
    """Set a user's variable for the next statement.

    :param kind: of the value: 2 is an integer, 4 a decimal number.
    """
    head = struct.pack("<I", len(name)) + name + b"\0"
    return USER_VAR, head + struct.pack("<BII", kind, BINARY, len(value)) + value


def mode(bits: int) -> bytes:
    """Return what a log says of sql_mode."""
    return struct.pack("<BQ", 1, bits)


def character_set(collation: int) -> bytes:
    """Return what a log says of the character sets of a connection."""
    return struct.pack("<BHHH", 4, collation, collation, collation)


def uncompressed(*events: Event) -> Event:
    """Return events of MySQL as a compressed transaction that is none."""
    data = b"".join(struct.pack("<IBIIIH", TIME, kind, 7, 19 + len(body), 0, 0) + body for kind, body in events)
    size = b"\xfd" + len(data).to_bytes(3, "little")
    return PAYLOAD, b"\1\4" + size + b"\2\3\xfc" + struct.pack("<H", 255) + b"\0" + data


def table(schema: str, name: str = "t", number: int = 5, *, length: int = 0) -> Event:
    """Name a table of an INT and a TEXT column.

    :param length: of the schema's name, as it claims; default: its own.
    """
    names = b"".join(
        struct.pack("B", size or len(text)) + text + b"\0"
        for text, size in ((schema.encode(), length), (name.encode(), 0))
    )
    return TABLE_MAP, number.to_bytes(6, "little") + struct.pack("<H", 1) + names + bytes([2, 3, 252, 1, 2, 2])


def rows(value: int, *, mariadb: bool, number: int = 5, flags: int = ENDS) -> Event:
    """Insert a row."""
    kind, extra = (23, b"") if mariadb else (30, struct.pack("<H", 2))
    row = b"\0" + struct.pack("<i", value) + struct.pack("<H", 6) + b"forged"
    return kind, number.to_bytes(6, "little") + struct.pack("<H", flags) + extra + bytes([2, 3]) + row


def transaction(*events: Event, mariadb: bool) -> list[Event]:
    """Return a transaction that commits."""
    return [gtid(mariadb=mariadb), query("BEGIN"), *events, (XID, bytes(8))]


def statement(text: str, schema: str = "shop", variables: bytes = b"", *, mariadb: bool) -> list[Event]:
    """Return a transaction of one statement, which is a definition."""
    return [gtid(mariadb=mariadb, alone=True), query(text, schema, variables)]
