"""Events of other schemas are left out of logs; whatever may be of the wanted ones stays."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.mysql.binlog import FORMAT, HEAD, MAGIC, QUERY, XID, UnreadableLogError, Walk
from lifeboat.databases.mysql.log_sieve import Sieve

from tests.unit.test_binlog import event, gtid

Event = tuple[int, bytes]

TABLE_MAP, WRITE, INTVAR, REMARK, PAYLOAD = 19, 30, 5, 29, 40
HEADS = bytearray(41)  # lengths of the heads of events, by kind
for _kind, _length in {2: 13, 19: 8, 23: 8, 24: 8, 25: 8, 30: 10, 31: 10, 32: 10, 39: 10}.items():
    HEADS[_kind - 1] = _length
FORMAT_BODY = struct.pack("<H50sIB", 4, b"9.7.4", 0, 19) + HEADS + b"\x01"


def log_of(events: Iterable[Event]) -> bytes:
    log = MAGIC + event(FORMAT, FORMAT_BODY, 4)
    for kind, body in events:
        log += event(kind, body, len(log))
    return log


def query(text: str, schema: str = "other") -> Event:
    name = schema.encode()
    return QUERY, struct.pack("<IIBHH", 1, 0, len(name), 0, 0) + name + b"\0" + text.encode()


def table(number: int, schema: str) -> Event:
    name = schema.encode()
    return TABLE_MAP, number.to_bytes(6, "little") + b"\1\0" + bytes([len(name)]) + name + b"\0\1t\0\1\3\0\0"


def rows(number: int, *, last: bool = True) -> Event:
    return WRITE, number.to_bytes(6, "little") + struct.pack("<HH", last, 2) + b"\1\1\0\7\0\0\0"


BEGIN, END = query("BEGIN"), (XID, bytes(8))
OWN, OTHER = [table(1, "shop"), rows(1)], [table(2, "other"), rows(2)]
GROUP = [table(1, "shop"), table(2, "other"), rows(2, last=False), rows(1)]
REMARKED = [(REMARK, b"\1INSERT INTO other.t"), *OTHER]


def sifted(log: bytes, cuts: Iterable[int] = (), schema: str = "shop") -> tuple[bytes, Sieve]:
    sieve = Sieve("log.000001", [schema], lambda number: ("utf8mb4", "utf8mb4_bin"))
    places = [0, *cuts, len(log)]
    return b"".join(sieve.feed(log[start:end]) for start, end in pairwise(places)), sieve


def walked(log: bytes, left_out: int) -> Walk:
    walk = Walk("log.000001", 4, None, left_out=left_out)
    walk.feed(log)
    walk.end()
    return walk


def within(*events: Event) -> list[Event]:
    return [gtid(1), BEGIN, *events, END]


@pytest.mark.parametrize(
    ("events", "left_out", "untold"),
    [
        pytest.param(within(*OWN, *OTHER), 2, 0, id="rows"),
        pytest.param(within(*OTHER, *OWN, *OTHER), 4, 0, id="rows around"),
        pytest.param(within(*REMARKED), 3, 0, id="the text of a statement"),
        pytest.param(within((REMARK, bytes(300_000)), *OWN), 1, 0, id="a text too long to be looked at"),
        pytest.param(within(*GROUP), 0, 1, id="rows of both"),
        pytest.param(within(table(2, "SHOP"), rows(2)), 0, 0, id="the name in capitals"),
        pytest.param(within(rows(2)), 0, 0, id="rows of no table"),
        pytest.param([gtid(1), query("CREATE TABLE t (i INT)")], 1, 0, id="definition"),
        pytest.param([gtid(1), query("CREATE USER a IDENTIFIED BY 'b'", "shop")], 1, 0, id="user"),
        pytest.param([gtid(1), query("SET PASSWORD FOR a = 'b'", "")], 1, 0, id="password"),
        pytest.param([gtid(1), query("GRANT ALL ON shop.* TO a")], 1, 0, id="grant"),
        pytest.param([gtid(1), query("DROP TABLE `Shop`.t")], 0, 0, id="definition elsewhere"),
        pytest.param([gtid(1), query("RENAME TABLE shop.a TO other.b")], 0, 1, id="out of the schema"),
        pytest.param([gtid(1), query("CREATE TABLE t AS SELECT f()")], 0, 1, id="definition that runs code"),
        pytest.param([gtid(1), query("CREATE VIEW v AS SELECT * FROM shop.t")], 0, 1, id="view of the schema"),
        pytest.param([gtid(1), query("/*!99999 CREATE */ INSERT INTO t VALUES (1)")], 0, 1, id="by version"),
        pytest.param(within((INTVAR, b"\2" + bytes(8)), query("INSERT INTO t VALUES (1)")), 0, 1, id="statement"),
        pytest.param(within((INTVAR, b"\2" + bytes(8)), query("INSERT INTO t VALUES (1)", "shop")), 0, 0, id="own"),
        pytest.param([gtid(1), (PAYLOAD, b"compressed")], 0, 1, id="compressed"),
    ],
)
def test_what_is_certainly_of_others_is_left_out(events: list[Event], left_out: int, untold: int) -> None:
    log = log_of(events)
    stays, sieve = sifted(log)
    assert (sieve.left_out.events, sieve.untold.events) == (left_out, untold)
    assert sieve.left_out.bytes == len(log) - len(stays)
    walk = walked(stays, sieve.left_out.bytes)
    assert (walk.whole, walk.transactions.number) == (len(log), 1)


MIXED = log_of([*within(*OWN, *REMARKED), gtid(2), query("DROP TABLE t"), *within(*GROUP, *OTHER)])


@given(st.lists(st.integers(0, len(MIXED)), max_size=20).map(sorted))
def test_a_log_is_sifted_alike_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    stays, sieve = sifted(MIXED, cuts)
    assert (stays, sieve.left_out) == (sifted(MIXED)[0], sifted(MIXED)[1].left_out)
    assert walked(stays, sieve.left_out.bytes).transactions.number == 3


def test_a_table_that_is_named_behind_rows_that_are_gone_ends_the_log() -> None:
    with pytest.raises(UnreadableLogError, match="tables are named between rows"):
        sifted(log_of(within(table(2, "other"), rows(2, last=False), table(1, "shop"), rows(1))))


def test_names_beyond_ascii_are_not_told_apart() -> None:
    assert sifted(log_of(within(table(2, "LÄDEN"), rows(2))), schema="läden")[1].left_out.events == 0


@pytest.mark.parametrize("said", [-1, 1])
def test_a_gap_of_another_length_than_was_left_out_is_refused(said: int) -> None:
    stays, sieve = sifted(MIXED)
    with pytest.raises(UnreadableLogError, match=r"says that it is elsewhere|left out, and are not"):
        walked(stays, sieve.left_out.bytes + said)


def test_a_gap_between_transactions_is_refused() -> None:
    lacking = log_of(within(*OWN))
    second = log_of([*within(*OWN), *within(*OTHER), gtid(3), BEGIN, END])
    third = second[len(log_of([*within(*OWN), *within(*OTHER)])) :]
    with pytest.raises(UnreadableLogError, match="says that it is elsewhere"):
        walked(lacking + third, len(second) - len(lacking) - len(third))


PIECES: list[Event] = [
    *(table(number, schema) for number in (1, 2) for schema in ("shop", "Shop", "other")),
    *(rows(number, last=last) for number in (1, 2, 3) for last in (True, False)),
    *((kind, b"\2" + bytes(8)) for kind in (INTVAR, REMARK, PAYLOAD, 99)),
    *(query(text, schema) for schema in ("shop", "other") for text in ("INSERT INTO t VALUES (1)", "DROP TABLE t")),
    *(query(text) for text in ("DROP TABLE shop.t", "RENAME TABLE shop.a TO b", "GRANT ALL ON shop.* TO a", "COMMIT")),
    *(query(text, "shop") for text in ("CREATE USER a", "DROP TABLE other.t", "SAVEPOINT a")),
    (TABLE_MAP, b"\1\0"),
    *(BEGIN, END, gtid(1)),
]


def own(events: list[Event]) -> list[Event]:
    """Return the events that certainly are of the schema, by a reading that is as plain as can be."""
    found: set[int] = set()
    numbers: set[bytes] = set()
    variables: set[int] = set()
    for at, (kind, body) in enumerate(events):
        if kind == TABLE_MAP and body[9:13].lower() == b"shop":
            numbers.add(body[:6])
            found.add(at)
        if kind == WRITE and body[:6] in numbers:
            found.add(at)
        if kind == QUERY:
            is_named = b"shop.t" in body or b"shop.a" in body or (b"shop\0" in body and b"other" not in body)
            found |= {*variables, at} if is_named and b"GRANT" not in body and b"USER" not in body else set()
        variables = {*variables, at} if kind == INTVAR else set()
        if (kind == WRITE and body[6] & 1) or kind == gtid(1)[0]:
            numbers = set()
    return [events[at] for at in sorted(found)]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_nothing_of_the_schema_is_left_out_whatever_comes_in_whatever_order(events: list[Event]) -> None:
    log = log_of([*events, END])
    try:
        stays, sieve = sifted(log)
    except UnreadableLogError:
        return
    kept = iter(events_of(stays))
    assert all(each in kept for each in own(events)), "in this order"
    assert len(log) - len(stays) == sieve.left_out.bytes


def events_of(log: bytes) -> Iterable[Event]:
    at = len(MAGIC)
    while at < len(log):
        _, kind, _, size, _, _ = HEAD.unpack_from(log, at)
        yield kind, log[at + HEAD.size : at + size - 4]
        at += size
