"""Which archives lead to a moment: decisions, without a server."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lifeboat.catalog.archives import Archive, archive_key, log_key
from lifeboat.catalog.logs import Chain, Covers, LogPiece, LogPlace, LogServer
from lifeboat.catalog.manifest import ManifestHead
from lifeboat.databases import Dump, LogPosition
from lifeboat.databases.mysql.transactions import Counts, Transaction
from lifeboat.decide import log_list, recovery
from lifeboat.decide.log_list import Wanted
from lifeboat.decide.recovery import LogArchive, Point, Recovery, Shelf
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.errors import ArchiveError, RestoreError, SettingsError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
UUID = "01234567-89ab-cdef-0123-456789abcdef"
FILE = "log.000007"

Held = tuple[Archive, ManifestHead]


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def head(kind: Any, captured_at: datetime, **facts: Any) -> ManifestHead:
    common = {"format": 1, "application": "Shop", "note": "", "tools": {}, "databases": (), "warnings": ()}
    return ManifestHead.model_validate(common | {"kind": kind, "captured_at": captured_at} | facts)


def dump(minutes: float, offset: int | None, *, names: tuple[str, ...] = ("shop",), mariadb: bool = False) -> Held:
    """Return an archive of databases; a log has a transaction in each ten bytes."""
    time = at(minutes)
    position = None if offset is None else LogPosition("here", 7, FILE, offset, gtids(offset, mariadb), "snapshot")
    facts: dict[str, Any] = {"engine": "mysql", "server": "", "client": "", "character_set": "", "collation": ""}
    facts |= {"captured_at": time, "sql_bytes": 5, "sha256": "", "tables": (), "objects": ()}
    facts |= {"excluded_tables": (), "unprotected_tables": (), "position": position}
    facts |= {"no_position": "" if position else "log_bin is off"}
    manifest = head("database", time, databases=tuple(Dump(database=name, **facts) for name in names))
    return Archive(archive_key("Shop", "database", time), "Shop", "database", time, 5, False), manifest


def gtids(offset: int, mariadb: bool) -> str:
    return f"0-7-{offset // 10}" if mariadb else f"{UUID}:1-{offset // 10}"


def chain(
    name: str, begin: int, offset: int, count: int, *, file: str = FILE, mariadb: bool = False, since: int = 0
) -> list[Held]:
    """Return a chain of logs, oldest first, each of five minutes and 100 bytes.

    :param begin: minute of its begin.
    :param since: bytes that the log had before a reset.
    """
    server = LogServer("mariadb" if mariadb else "mysql", "9", "here", 7, "ROW", "FULL")
    made: list[Held] = []
    for number in range(1, count + 1):
        start, end = offset + 100 * (number - 1), offset + 100 * number
        covers = Covers(at(begin + 5 * (number - 1)), at(begin + 5 * number))
        key = log_key("Shop", covers.until, number)
        follows = LogPlace(file, start) if made else None
        piece = LogPiece(
            *(f"{file}@{start}", server, file, 1, start, end, gtids(start - since, mariadb)),
            *(gtids(end - since, mariadb), 10, covers.since, covers.until, follows),
        )
        link = Chain(name, number, made[-1][0].key if made else "")
        manifest = head("log", covers.until, logs=(piece,), chain=link, covers=covers)
        made.append((Archive(key, "Shop", "log", covers.until, 5, False), manifest))
    return made


D0, D12, D31 = dump(0, 1000), dump(12, 1240), dump(31, 2050)
FIRST, SECOND = chain("a", 0, 1000, 4), chain("b", 30, 2000, 2)


def shelf(
    dumps: Collection[Held] = (D0, D12, D31),
    logs: Collection[Held] = (*FIRST, *SECOND),
    name: str = "disk",
    unreadable: Collection[str] = (),
) -> Shelf:
    manifests = {archive.key: manifest for archive, manifest in (*dumps, *logs)}

    def read(archive: Archive) -> ManifestHead:
        if archive.key in unreadable:
            raise ArchiveError(f"{archive.key} is damaged.")
        return manifests[archive.key]

    return Shelf(name, newest_first(dumps), newest_first(logs), read)


def newest_first(held: Collection[Held]) -> list[Archive]:
    return sorted((archive for archive, _ in held), key=lambda archive: archive.captured_at, reverse=True)


def reached(text: str, *shelves: Shelf) -> tuple[str, int, list[str]]:
    """Return from where, the minute of the archive of databases, and the logs by the minutes of their ends."""
    found = recovery.reach(shelves or [shelf()], ["shop"], recovery.point_of(text, ZONE), ZONE)
    minutes = [str(round((log.captured_at - NOON).total_seconds() / 60)) for log in found.logs]
    return found.destination, round((found.anchor.captured_at - NOON).total_seconds() / 60), minutes


def refused(text: str, *shelves: Shelf) -> RestoreError:
    with pytest.raises(RestoreError) as error:
        reached(text, *shelves)
    return error.value


def minute(minutes: float) -> str:
    return at(minutes).isoformat()


@pytest.mark.parametrize(
    ("text", "anchor", "logs"),
    [
        pytest.param(minute(0), 0, ["5"], id="the-first-moment"),
        pytest.param(minute(3), 0, ["5"], id="within-the-first-archive"),
        pytest.param(minute(11.9), 0, ["5", "10", "15"], id="right-before-a-backup"),
        pytest.param(minute(12), 12, ["15"], id="at-a-backup"),
        pytest.param("2026-11-23T13:17", 12, ["15", "20"], id="on-the-clock-of-the-settings"),
        pytest.param(minute(20), 12, ["15", "20"], id="the-end-of-a-chain"),
        pytest.param(minute(33), 31, ["35"], id="in-the-next-chain"),
        pytest.param("latest", 31, ["35", "40"], id="latest"),
        pytest.param(f"{UUID}:105", 0, ["5"], id="gtid"),
        pytest.param(f"{UUID.upper()}:110", 0, ["5"], id="the-last-gtid-of-an-archive"),
        pytest.param(f"{UUID}:111", 0, ["5", "10"], id="the-first-gtid-of-the-next"),
        pytest.param(f"{UUID}:124", 0, ["5", "10", "15"], id="the-last-gtid-that-a-backup-holds"),
        pytest.param(f"before:{UUID}:125", 12, ["15"], id="before-the-first-gtid-that-it-does-not-hold"),
    ],
)
def test_the_newest_backup_before_a_moment_and_the_logs_from_there_on(text: str, anchor: int, logs: list[str]) -> None:
    assert reached(text) == ("disk", anchor, logs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            minute(-1),
            "2026-11-23 11:59:00 UTC (2026-11-23 12:59:00 CET) cannot be reached at disk: the first moment"
            " that can be is 2026-11-23 12:00:00 UTC (2026-11-23 13:00:00 CET).",
            id="before-the-first-backup",
        ),
        pytest.param(
            minute(25),
            "2026-11-23 12:25:00 UTC (2026-11-23 13:25:00 CET) cannot be reached at disk: the last moment before it"
            " that can be is 2026-11-23 12:20:00 UTC (2026-11-23 13:20:00 CET), and the first one after it is"
            " 2026-11-23 12:31:00 UTC (2026-11-23 13:31:00 CET).",
            id="in-a-gap",
        ),
        pytest.param(
            minute(41),
            "2026-11-23 12:41:00 UTC (2026-11-23 13:41:00 CET) cannot be reached at disk: the last moment before it"
            " that can be is 2026-11-23 12:40:00 UTC (2026-11-23 13:40:00 CET).",
            id="after-the-last-log",
        ),
    ],
)
def test_a_time_that_cannot_be_reached_is_told_with_those_next_to_it(text: str, said: str) -> None:
    assert refused(text).message == said


@pytest.mark.parametrize(
    "gtid",
    [
        pytest.param(f"{UUID}:50", id="before-the-first-backup"),
        pytest.param(f"{UUID}:150", id="in-a-gap"),
        pytest.param(f"{UUID}:204", id="before-the-backup-of-a-new-chain"),
        pytest.param(f"{UUID}:999", id="not-shipped-yet"),
        pytest.param("fedcba98-7654-3210-fedc-ba9876543210:1", id="of-nobody"),
        pytest.param("0-1-105", id="of-another-family"),
    ],
)
def test_an_unknown_gtid_is_told_with_all_times_that_can_be_reached(gtid: str) -> None:
    said = refused(gtid)
    assert said.message == (
        f"No logs at disk lead to transaction {gtid}: every moment can be reached from 2026-11-23 12:00:00 UTC"
        " (2026-11-23 13:00:00 CET) to 2026-11-23 12:20:00 UTC (2026-11-23 13:20:00 CET), and from 2026-11-23"
        " 12:31:00 UTC (2026-11-23 13:31:00 CET) to 2026-11-23 12:40:00 UTC (2026-11-23 13:40:00 CET)."
    )
    assert "lifeboat logs" in said.hint


def changed(held: Held, **facts: Any) -> Held:
    return held[0], held[1].model_copy(update=facts)


def with_piece(held: Held, **facts: Any) -> Held:
    return changed(held, logs=(replace(held[1].logs[0], **facts),))


@pytest.mark.parametrize(
    "third",
    [
        pytest.param(None, id="missing"),
        pytest.param(changed(FIRST[2], chain=Chain("x", 3, FIRST[1][0].key)), id="of-another-chain"),
        pytest.param(changed(FIRST[2], chain=Chain("a", 3, FIRST[0][0].key)), id="behind-another-one"),
        pytest.param(changed(FIRST[2], chain=Chain("a", 4, FIRST[1][0].key)), id="of-another-number"),
        pytest.param(with_piece(FIRST[2], start=1210), id="beginning-elsewhere"),
        pytest.param(with_piece(FIRST[2], created=2), id="of-another-file-of-that-name"),
        pytest.param(with_piece(FIRST[2], follows=None), id="following-nothing"),
        pytest.param(with_piece(FIRST[2], follows=LogPlace("log.000006", 1200)), id="following-another-file"),
        pytest.param(with_piece(FIRST[2], gtids_before=f"{UUID}:1-119"), id="behind-other-transactions"),
    ],
)
def test_no_moment_behind_a_gap_is_reached_from_before_it(third: Held | None) -> None:
    logs = [*FIRST[:2], *([third] if third else []), FIRST[3]]
    assert reached(minute(9), shelf([D0], logs)) == ("disk", 0, ["5", "10"])
    assert "cannot be reached" in refused(minute(11), shelf([D0], logs)).message
    assert reached(minute(11), shelf([D0], logs), shelf([D0], FIRST, "s3")) == ("s3", 0, ["5", "10", "15"])


def test_no_moment_is_offered_while_the_settings_did_not_name_the_database() -> None:
    there = shelf([D0, D12], [FIRST[0], with_piece(FIRST[1], schemas=("stock",)), *FIRST[2:]])
    assert list(recovery.windows(there, ["shop"])) == [recovery.Window(at(0), at(5)), recovery.Window(at(12), at(20))]
    assert list(recovery.windows(there, ["stock"])) == []
    for minutes in (7, 11):  # the logs hold the latter, but nothing leads to them
        said = refused(minute(minutes), there)
        assert "the last moment before it that can be is 2026-11-23 12:05:00 UTC" in said.message
        assert "and the first one after it is 2026-11-23 12:12:00 UTC" in said.message
        assert said.hint.endswith("leaves out the changes of shop, which the settings did not name then.")
    assert "12:05:00 UTC (2026-11-23 13:05:00 CET), and from 2026-11-23 12:12:00 UTC" in refused("0-1-1", there).message


def test_only_logs_next_to_a_time_that_cannot_be_reached_are_read() -> None:
    there, read = shelf([D0, dump(19, 1380)], FIRST), list[str]()

    def counted(archive: Archive) -> ManifestHead:
        read.append(archive.key)
        return there.manifest(archive)

    said = refused(minute(-1), there._replace(manifest=counted))
    assert "the first moment that can be is 2026-11-23 12:00:00 UTC" in said.message
    assert FIRST[0][0].key in read
    assert FIRST[3][0].key not in read


def test_a_window_within_a_second_is_told_by_its_fractions() -> None:
    begin = dump(0.01, 1010)
    cut = changed(FIRST[0], covers=Covers(at(0), at(0.015)))
    said = refused("0-1-1", shelf([begin], [cut])).message
    assert "from 2026-11-23 12:00:00.6 UTC (2026-11-23 13:00:00.6 CET) to 2026-11-23 12:00:00.9 UTC" in said


def test_what_cannot_be_read_is_told_and_another_destination_serves() -> None:
    damaged = FIRST[1][0].key
    here = shelf([D0], FIRST, unreadable=[damaged])
    assert refused(minute(7), here).hint == f"{damaged} is damaged."
    assert refused("latest", here).hint == f"{damaged} is damaged."
    assert reached(minute(7), here, shelf([D0], FIRST, "s3")) == ("s3", 0, ["5", "10"])
    assert reached(minute(13), shelf(unreadable=[D12[0].key])) == ("disk", 0, ["5", "10", "15"])


def test_the_latest_moment_is_that_of_the_destination_that_reaches_furthest() -> None:
    assert reached("latest", shelf([D0], FIRST[:2]), shelf([D0], FIRST[:3], "s3")) == ("s3", 0, ["5", "10", "15"])


def test_the_latest_moment_is_never_one_before_the_newest_backup() -> None:
    newest = dump(22, 1410)
    said = refused("latest", shelf([D0, newest], FIRST))
    assert said.hint.startswith(f"No logs behind {newest[0].key} are there yet: 'lifeboat backup logs' ships")


def test_a_cut_is_told_where_the_latest_moment_lies_before_it() -> None:
    found = recovery.reach([shelf([D0, dump(32, None)])], ["shop"], Point(), ZONE)
    assert (found.reaches, found.is_cut) == (at(20), True)


def test_a_backup_without_a_position_continues_into_no_logs() -> None:
    assert reached(minute(13), shelf([D0, dump(12, None)])) == ("disk", 0, ["5", "10", "15"])
    said = refused(minute(13), shelf([dump(0, None)], FIRST))
    assert said.message.startswith("No moment can be reached at disk: no backup of shop there has a position")
    assert said.hint.endswith("has no position in the binary log for shop: log_bin is off.")


def test_every_database_needs_a_position() -> None:
    both, one = dump(0, 1000, names=("shop", "stock")), dump(12, 1240)
    found = recovery.reach([shelf([both, one], FIRST)], ["shop", "stock"], Point(time=at(13)), ZONE)
    assert found.anchor == both[0]


def test_logs_after_a_reset_are_not_taken_for_those_before_it() -> None:
    again = chain("b", 3, 900, 3, since=900)
    assert refused(minute(9), shelf([D0], again)).message.startswith("No moment can be reached at disk")


def test_mariadb_counts_whole_seconds() -> None:
    begin, logs = dump(0, 1000, mariadb=True), chain("a", 0, 1000, 2, mariadb=True)
    there = shelf([begin], logs)
    assert reached(at(5).replace(microsecond=0).isoformat(), there) == ("disk", 0, ["5", "10"])
    assert reached((at(5) - timedelta(seconds=1)).isoformat(), there) == ("disk", 0, ["5"])
    assert "12:09:59 UTC" in refused(minute(10), there).message
    assert reached("0-7-111", there) == ("disk", 0, ["5", "10"])


def test_a_plan_tells_what_is_replayed_and_travels_between_tasks() -> None:
    logs = (LogArchive("Shop/log/1.zip", 5, "ab"), LogArchive("Shop/log/2.zip", 5, "cd"))
    steps = Recovery(Point(time=at(3.5)), logs, at(10), is_cut=False, zone="Europe/Berlin")
    plan = RestorePlan("Shop", "disk", D0[0].key, 5, "ef", minute(0), recovery=steps)
    assert list(plan.lines())[1:] == [
        "Replayed onto it, up to 2026-11-23 12:03:30 UTC (2026-11-23 13:03:30 CET): 2 archives of binary logs, from"
        " Shop/log/1.zip to Shop/log/2.zip.",
        "These logs hold every transaction up to 2026-11-23 12:10:00 UTC (2026-11-23 13:10:00 CET).",
    ]
    assert RestorePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("latest", Point()),
        ("2026-11-23", Point(time=datetime(2026, 11, 22, 23, tzinfo=UTC))),
        ("2026-11-23 14:31:07.5+00:00", Point(time=datetime(2026, 11, 23, 14, 31, 7, 500_000, tzinfo=UTC))),
        ("0-1-4711", Point(gtid="0-1-4711")),
        ("before:2026-11-23", Point(gtid="2026-11-23", before=True)),
        (f"before:{UUID.upper()}:9", Point(gtid=f"{UUID}:9", before=True)),
    ],
)
def test_a_moment_is_a_time_or_a_transaction(text: str, point: Point) -> None:
    assert recovery.point_of(text, ZONE) == point


@pytest.mark.parametrize(
    "text", ["", "yesterday", "before:", "before:latest", f"{UUID}:0", f"{UUID}:1-5", "1-2", "0001-01-01T00:00+23:00"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(SettingsError, match="is no moment"):
        recovery.point_of(text, ZONE)


@pytest.mark.parametrize("text", ["2026-10-25T02:30", "2026-03-29T02:30"])
def test_a_time_that_the_clocks_showed_twice_or_never_needs_its_offset(text: str) -> None:
    with pytest.raises(SettingsError, match="is not one moment in Europe/Berlin"):
        recovery.point_of(text, ZONE)
    assert recovery.point_of(f"{text}+01:00", ZONE).time


def transaction(minutes: float, deleted: int = 0, statement: str = "", table: str = "shop.orders") -> Transaction:
    changes = {} if statement else {table: Counts(delete_events=deleted, insert_events=1)}
    return Transaction(f"0-7-{minutes}", at(minutes), FILE, 4, 99, 95, changes, statement)


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        pytest.param("", [5, 4, 3, 2, 1, 0], id="statements-then-what-deletes-most"),
        pytest.param("orders", [5, 4, 3, 1, 0], id="a-table-or-a-statement-that-names-it"),
        pytest.param("shop.orders", [5, 4, 3, 1, 0], id="with-its-database"),
        pytest.param("stock.orders", [5, 4, 0], id="of-another-database"),
    ],
)
def test_the_destructive_transactions_come_first(table: str, shown: list[int]) -> None:
    held = [
        transaction(1, 1),
        transaction(2, 3, table="shop.lines"),
        transaction(3, 5),
        transaction(4, 9, table="other.orders"),
        transaction(4, statement="ALTER TABLE `orders` ADD i INT"),
        transaction(5, statement="DROP TABLE `orders`"),
        transaction(6, 99),
        transaction(0, statement="INSERT"),
    ]
    listed = log_list.choose(held, Wanted(["shop"], table, at(0), at(5)))
    assert [int(each.gtid.rpartition("-")[2]) for each in listed.shown] == shown
    assert listed.count == len(shown)


def test_a_long_list_is_cut_and_says_so() -> None:
    wanted = Wanted(["shop"], "", at(0), at(10))
    listed = log_list.choose((transaction(1, deleted) for deleted in range(150)), wanted)
    assert [each.changes["shop.orders"].delete_events for each in listed.shown] == list(range(149, 49, -1))
    assert log_list.rest_text(listed) == "50 further transactions, which delete less, are not shown."


def test_a_transaction_is_a_line() -> None:
    assert log_list.line(transaction(3, 5), ZONE) == (
        "2026-11-23 12:03:00 UTC (2026-11-23 13:03:00 CET)  0-7-3  shop.orders: 1 insert event, 5 delete events"
    )
    assert log_list.line(transaction(3, statement="DROP\nTABLE x"), ZONE).endswith("  0-7-3  DROP\\u000aTABLE x")


def test_only_archives_that_may_hold_a_time_are_read() -> None:
    logs = [archive for archive, _ in reversed(FIRST + SECOND)]
    found = log_list.archives_of(logs, Wanted([], "", at(11), at(12)))
    assert [archive.key for archive in found] == [FIRST[1][0].key, FIRST[2][0].key, FIRST[3][0].key]
