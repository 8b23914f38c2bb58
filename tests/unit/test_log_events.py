"""Events of binary logs mean here what they mean to a server, or are refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.mysql.binlog import HEAD, Event
from lifeboat.databases.mysql.log_events import (
    NO_FOREIGN_KEYS,
    USER_VAR,
    Settings,
    check_format,
    encoded,
    events_within,
    inflated,
    payload_of,
    read_gtid,
    read_query,
    read_rows,
    read_table,
    read_variables,
    without_compression,
)
from lifeboat.databases.mysql.log_rows import PIECE, RowStatements
from lifeboat.databases.mysql.log_statements import Aim

TABLE = b"\5\0\0\0\0\0\1\0" + b"\4shop\0" + b"\1t\0" + bytes([2, 3, 252, 1, 2, 2])
ROWS = b"\5\0\0\0\0\0\1\0" + b"\2\0" + bytes([2, 3]) + b"row"
AIM = Aim("shop", "copy", frozenset({"logs"}))


def event(kind: int, body: bytes) -> Event:
    return Event(kind, 1_700_000_000, 7, 0, 4, 4 + 19 + len(body), body)


def compressed(data: bytes, size: int | None = None) -> bytes:
    return b"\x84" + struct.pack(">I", len(data) if size is None else size) + zlib.compress(data)


def settings(data: bytes, *, of_mariadb: bool) -> Settings:
    head = struct.pack("<IIBHH", 9, 0, 4, 0, len(data))
    return read_query(event(2, head + data + b"shop\0DROP TABLE t"), of_mariadb=of_mariadb).settings


def test_settings_of_a_statement() -> None:
    both = b"\0\0\0\0\4" + b"\1" + bytes(8) + b"\6\3std" + b"\4" + struct.pack("<HHH", 255, 255, 8) + b"\5\3UTC"
    found = settings(both + b"\x0c\2shop\0other\0" + b"\x0d\1\0\0" + b"\x11" + bytes(8) + b"\x13\1", of_mariadb=False)
    assert (found.flags, found.mode, found.time_zone, found.microseconds) == (1 << 26, 0, b"UTC", 1)
    assert (found.character_sets, found.updated) == ((255, 255, 8), (b"shop", b"other"))
    maria = settings(both + b"\x80\2\0\0" + b"\x82\4" + bytes(8) + b"\x83\1\x2d\0\0\x09", of_mariadb=True)
    assert (maria.microseconds, maria.collations) == (2, (0x900,))
    for unknown in (b"\x4d\0", b"\x80\2\0\0", b"\5\x09UTC"):
        with pytest.raises(ValueError, match=r"cut short|not known"):
            settings(unknown, of_mariadb=False)


@given(st.binary(max_size=80), st.booleans())
def test_whatever_an_event_holds_is_read_or_malformed(data: bytes, of_mariadb: bool) -> None:
    readers = (
        lambda: read_query(event(2, data), of_mariadb=of_mariadb),
        lambda: read_query(event(165, data), of_mariadb=of_mariadb),
        lambda: read_table(data),
        lambda: read_rows(30, data),
        lambda: without_compression(event(166, data)),
        lambda: read_gtid(event(33, data)),
        lambda: payload_of(data),
        lambda: list(events_within([data], event(40, b""))),
        lambda: read_variables(event(USER_VAR, data), lambda number: ("utf8mb4", "utf8mb4_bin")),
        lambda: check_format(data),
    )
    for read in readers:
        try:
            read()
        except (ValueError, struct.error):
            continue


@pytest.mark.parametrize("length", range(len(TABLE)))
def test_a_table_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_table(TABLE[:length])


@pytest.mark.parametrize(
    "names",
    [
        b"\4shop\0\1t",
        b"\5shop\0\1t\0",
        b"\0\0\1t\0",
        b"\4sh\0p\0\1t\0",
        b"\4shop\0\x0a#mysql50#t\0",
        b"\2\xff\xff\0\1t\0",
        b"\4\xf0\x9f\x9b\x9f\0\1t\0",
    ],
    ids=["no end", "longer", "empty", "zero byte", "file", "not UTF-8", "beyond the BMP"],
)
def test_names_that_none_can_be_are_refused(names: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_table(TABLE[:8] + names + bytes([2, 3, 252, 1, 2, 2]))


def test_a_table_says_the_same_of_another_schema() -> None:
    assert read_table(TABLE).body(b"shop") == TABLE
    moved = read_table(read_table(TABLE).body(b"copy of it"))
    assert (moved.schema, moved.name, moved.rest) == (b"copy of it", b"t", TABLE[-6:])


@given(st.binary(max_size=300))
def test_what_was_compressed_comes_back(data: bytes) -> None:
    assert inflated(compressed(data)) == data
    packed = event(169, ROWS[:12] + compressed(data))
    assert without_compression(packed)[:1] + without_compression(packed)[6:7] == (30, ROWS[:12] + data)
    for size in (len(data) + 1, max(0, len(data) - 1) if data else 1, (1 << 32) - 1):
        with pytest.raises(ValueError, match=r"longer|another length"):
            inflated(compressed(data, size))


def test_a_bomb_is_not_opened() -> None:
    with pytest.raises(ValueError, match=r"another length"):
        inflated(compressed(bytes(50_000_000), 10))


@pytest.mark.parametrize(
    ("value", "text"),
    [("0e04810dfb38d204d2", b"1234567890.1234"), ("0e047ef204c72dfb2d", b"-1234567890.1234"), ("020180 00", b"0.0")],
    ids=["positive", "negative", "zero"],
)
def test_decimals_come_back(value: str, text: bytes) -> None:
    number = bytes.fromhex(value)
    body = struct.pack("<I", 1) + b"d" + b"\0\4" + struct.pack("<II", 8, len(number)) + number
    assert read_variables(event(USER_VAR, body), lambda _: ("binary", "binary")) == [(b"@`d`", text)]


def rows_of(events: list[tuple[int, bytes]], aim: Aim = AIM, *, cascades: bool = False) -> list[bytes]:
    found = RowStatements(aim, with_crc=True, cascades=lambda _: cascades, spreads=lambda _: False)
    changes = []
    for kind, body in events:
        if kind == 19:
            found.name_table(event(kind, body))
        else:
            changes += [change.events for change in found.add(event(kind, body))]
    return changes


def test_rows_of_others_are_left_out_and_the_last_of_ours_ends_the_statement() -> None:
    other = TABLE.replace(b"\5\0", b"\6\0", 1).replace(b"shop", b"vict")
    open_ = ROWS.replace(b"\1\0", b"\0\0", 1)
    (changes,) = rows_of([(19, TABLE), (19, other), (30, open_), (30, b"\6" + ROWS[1:])])
    mapped = encoded(event(19, TABLE), read_table(TABLE).body(b"copy"), with_crc=True)
    assert changes == mapped + encoded(event(30, ROWS), ROWS, with_crc=True)
    assert rows_of([(19, other), (30, b"\6" + ROWS[1:])]) == []
    assert rows_of([(19, TABLE), (30, ROWS)], Aim("shop", "copy", frozenset({"t"}))) == []


def test_a_large_statement_comes_in_pieces_that_stand_alone() -> None:
    large = ROWS.replace(b"\1\0", b"\0\0", 1) + bytes(PIECE // 2)
    changes = rows_of([(19, TABLE), *[(30, large)] * 5, (30, ROWS)])
    assert len(changes) == 5
    for change in changes:
        assert change.count(b"\4copy\0\1t\0") == 1
        assert len(change) < PIECE


def checked(events: list[tuple[int, bytes]], **options: bool) -> list[list[bool]]:
    """Return whether the server checks foreign keys, for each event of rows in each statement that it is given."""
    made = rows_of(events, replace(AIM, unchecked=frozenset({"t.key"})), **options)
    found = []
    for change in made:
        flags, at = [], 0
        while at < len(change):
            _, kind, _, size, _, _ = HEAD.unpack_from(change, at)
            flags += [not change[at + HEAD.size + 6] & NO_FOREIGN_KEYS] if kind != 19 else []
            at += size
        found.append(flags)
    return found


def test_what_the_server_passes_on_is_checked_though_parents_are_missing() -> None:
    both = ROWS[:-4] + ROWS[-4:-3] + b"\3" + ROWS[-3:]  # columns before and after
    write, update, delete = ((kind, body) for kind, body in ((30, ROWS), (31, both), (32, ROWS)))
    assert checked([(19, TABLE), write]) == checked([(19, TABLE), update]) == [[False]]
    assert checked([(19, TABLE), update], cascades=True) == checked([(19, TABLE), delete]) == [[True]]
    opens = [(kind, body.replace(b"\1\0", b"\0\0", 1)) for kind, body in (delete, write)]
    assert checked([(19, TABLE), *opens, write], cascades=True) == [[True], [False, False]]
