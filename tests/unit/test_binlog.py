"""Binary logs are walked by their frames; what is not a log is refused by its position, whatever it holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lifeboat.databases.mysql.binlog import FORMAT, GTID, MAGIC, PREVIOUS_GTIDS, QUERY, XID, Event, Walk
from lifeboat.databases.mysql.gtids import MariaDBGtids, MySQLGtids
from lifeboat.errors import LogError

UUID = bytes(range(16))
SOURCE = "00010203-0405-0607-0809-0a0b0c0d0e0f"
SECRET = b"DELETE FROM accounts WHERE pin = 1234"
CHECKSUMS, IN_USE = 118, 21  # of the log below: the byte that says that events have checksums; a flag of the first


def event(kind: int, body: bytes, at: int, time: int = 1_700_000_000) -> bytes:
    size = 19 + len(body) + 4
    head = struct.pack("<IBIIIH", time, kind, 7, size, at + size, 0)
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def log_of(events: Iterable[tuple[int, bytes]]) -> bytes:
    version = struct.pack("<H50sIB", 4, b"9.7.4", 0, 19) + bytes(38) + b"\x01"
    log = MAGIC + event(FORMAT, version, 4)
    for kind, body in events:
        log += event(kind, body, len(log))
    return log


def gtid(number: int) -> tuple[int, bytes]:
    clocks = struct.pack("<BQQ", 2, 0, 0) + (1_700_000_000_000_000 + number).to_bytes(7, "little")
    return GTID, struct.pack("<B16sQ", 1, UUID, number) + clocks


def query(text: bytes) -> tuple[int, bytes]:
    return QUERY, struct.pack("<IIBHH", 1, 0, 4, 0, 0) + b"shop\0" + text


def previous(last: int) -> tuple[int, bytes]:
    return PREVIOUS_GTIDS, struct.pack("<Q16sQQQ", 1, UUID, 1, 1, last + 1)


def group(number: int, *texts: bytes) -> list[tuple[int, bytes]]:
    return [gtid(number), query(b"BEGIN"), *map(query, texts), (XID, bytes(8))]


LOG = log_of([previous(4), *group(5, SECRET), gtid(6), query(b"CREATE TABLE t (i INT)"), *group(7, SECRET, SECRET)])


def walk(chunks: Iterable[bytes], gtids: str | None = f"{SOURCE}:1-4") -> Walk:
    walked = Walk("log.000001", 4, gtids)
    for chunk in chunks:
        walked.feed(chunk)
    walked.end()
    return walked


@given(st.lists(st.integers(0, len(LOG)), max_size=20).map(sorted))
def test_a_log_is_the_same_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    walked = walk(LOG[start:end] for start, end in zip([0, *cuts], [*cuts, len(LOG)], strict=True))
    assert walked.position == walked.whole == walked.whole_bytes == len(LOG)
    assert (walked.transactions.number, str(walked.gtids), walked.broken) == (3, f"{SOURCE}:1-7", "")
    assert walked.transactions.first_commit
    assert walked.transactions.first_commit.timestamp() == pytest.approx(1_700_000_000.000005)


@given(st.integers(0, len(LOG) - 1).filter(lambda at: at not in (CHECKSUMS, IN_USE)), st.integers(1, 255))
def test_one_altered_byte_is_refused(at: int, change: int) -> None:
    altered = bytearray(LOG)
    altered[at] ^= change
    with pytest.raises(LogError, match=r"Binary log log\.000001 cannot be read at position \d+: ") as refused:
        walk([bytes(altered)])
    assert "pin" not in str(refused.value)


@given(st.integers(0, len(LOG) - 1))
def test_a_log_that_is_cut_ends_with_its_last_whole_transaction(length: int) -> None:
    walked = Walk("log.000001", 4, None)
    walked.feed(LOG[:length])
    assert walked.whole_bytes <= length
    whole = walk([LOG[: walked.whole_bytes]]) if walked.whole_bytes else walked
    assert whole.transactions == walked.transactions


@given(st.binary(max_size=300))
@example(LOG[:140] + b"\xff" * 60)
def test_whatever_is_read_is_a_log_or_refused(content: bytes) -> None:
    for text in (content, MAGIC + content, LOG + content):
        with pytest.raises(LogError):
            walk([text + b"x"])


@pytest.mark.parametrize("size", [0, 18, 22, (1 << 30) + (2 << 20), (1 << 32) - 1])
def test_a_length_that_no_event_has_is_refused_before_anything_is_kept(size: int) -> None:
    head = struct.pack("<IBIIIH", 0, QUERY, 7, size, 0, 0)
    with pytest.raises(LogError, match=f"position {len(LOG)}: an event of kind 2 cannot be {size} bytes long"):
        Walk("log.000001", 4, None).feed(LOG + head)


OPENS = [b"XA START X'61',X'',1", b"CREATE TABLE t (i INT) START TRANSACTION"]


@pytest.mark.parametrize(
    ("events", "transactions"),
    [
        pytest.param([gtid(1), query(b"BEGIN"), query(b"ROLLBACK TO x"), query(b"COMMIT")], 1, id="commit"),
        pytest.param([gtid(1), query(b"BEGIN"), query(SECRET), query(b"ROLLBACK")], 1, id="rollback"),
        pytest.param([gtid(1), query(OPENS[0]), query(b"XA END X'61'"), (38, b"")], 1, id="prepared"),
        pytest.param([gtid(1), query(b"XA COMMIT X'61',X'',1")], 1, id="XA COMMIT"),
        pytest.param([gtid(1), query(b"CREATE PROCEDURE p() START TRANSACTION")], 1, id="body of a procedure"),
        pytest.param([gtid(1), query(OPENS[1]), (30, b"rows"), (XID, bytes(8))], 1, id="create and select"),
        pytest.param([gtid(1), (40, b"compressed")], 1, id="compressed"),
        pytest.param([(42, b"tagged"), query(b"DROP TABLE t")], 1, id="tagged"),
        *(pytest.param([gtid(1), query(text)], 0, id=f"open {text[:6].decode()}") for text in (b"BEGIN", *OPENS)),
    ],
)
def test_a_transaction_ends_where_its_statements_say_so(events: list[tuple[int, bytes]], transactions: int) -> None:
    walked = walk([log_of(events)], None)
    assert walked.transactions.number == transactions
    assert (walked.whole == walked.position) == bool(transactions)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        pytest.param([previous(9)], f"transactions up to {SOURCE}:1-9 are missing before log.000001", id="missing"),
        pytest.param(group(4), "a transaction in log.000001 has the GTID of an earlier one", id="again"),
        pytest.param([(26, b"")], "the server noted in log.000001 that it may have lost transactions", id="incident"),
        pytest.param([previous(4), *group(5)], "", id="continued"),
        pytest.param([previous(3), *group(5)], "", id="less than known"),
    ],
)
def test_a_log_that_does_not_continue_what_was_before_says_so(events: list[tuple[int, bytes]], why: str) -> None:
    assert walk([log_of(events)]).broken == why


def test_events_are_seen_whole_and_say_where_transactions_begin_and_end() -> None:
    seen: list[Event] = []
    walked = Walk("log.000001", 4, None, seen.append)
    walked.feed(LOG)
    assert [LOG[each.start + 19 : each.end - 4] for each in seen] == [each.body for each in seen]
    assert (sum(each.opens for each in seen), sum(each.ends for each in seen)) == (3, 3)
    assert [each.kind for each in seen if each.opens] == [GTID] * 3


@given(st.lists(st.integers(1, 60), max_size=80))
def test_a_set_of_gtids_is_a_set_of_numbers(numbers: list[int]) -> None:
    found, known = MySQLGtids(), set[int]()
    for number in numbers:
        assert found.add(UUID, number) == (number in known)
        known.add(number)
    again = MySQLGtids.of_text(str(found))
    assert str(again) == str(found)
    for number in range(1, 61):
        assert bool(found.lacks(MySQLGtids.of_text(f"{SOURCE}:{number}"))) == (number not in known)


@pytest.mark.parametrize(
    ("family", "text", "other", "missing"),
    [
        (MySQLGtids, f"{SOURCE}:1-5:7", f"{SOURCE}:2-4,\n{SOURCE}:7", ""),
        (MySQLGtids, f"{SOURCE}:1-5", f"{SOURCE}:tag:1-2", f"{SOURCE}:tag:1-2"),
        (MySQLGtids, f"{SOURCE}:1-5:tag:1-2", f"{SOURCE}:4:tag:2", ""),
        (MariaDBGtids, "0-1-5,7-2-9", "7-3-9", ""),
        (MariaDBGtids, "0-1-5", "0-1-5,7-2-9", "7-2-9"),
    ],
)
def test_what_is_missing_is_named(family: type[MySQLGtids], text: str, other: str, missing: str) -> None:
    assert family.of_text(text).lacks(family.of_text(other)) == missing
