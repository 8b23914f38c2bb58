"""Archives of binary logs: their names, their chains, what is kept of them, and what checks say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.catalog import archives
from lifeboat.catalog.archives import Archive, Catalog, LogWindow, Proven, archive_key, log_key
from lifeboat.catalog.logs import LogPlace
from lifeboat.databases.mysql.gtids import MySQLGtids
from lifeboat.databases.mysql.logs import LogServer
from lifeboat.decide import log_chains, log_health, log_retention, retention
from lifeboat.decide.log_chains import Resume
from lifeboat.decide.retention import Policy
from lifeboat.storage import StoredObject

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FIVE = timedelta(minutes=5)
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def logs(numbers: list[int], newest: datetime = NOW, apart: timedelta = FIVE) -> list[Archive]:
    """Return archives of logs, newest first.

    :param numbers: newest first.
    """
    times = [newest - index * apart for index in range(len(numbers))]
    keys = [log_key("Shop", time, number) for time, number in zip(times, numbers, strict=True)]
    return [Archive(key, "Shop", "log", time, 10, proven=False) for key, time in zip(keys, times, strict=True)]


def dump(days: float) -> Archive:
    time = NOW - days * DAY
    return Archive(archive_key("Shop", "database", time), "Shop", "database", time, 1000, proven=False)


def server(**changes: object) -> LogServer:
    facts: dict[str, object] = {
        "is_mariadb": False,
        "version": "9.7.4",
        "uid": "here",
        "server_id": 7,
        "log_format": "ROW",
        "row_image": "FULL",
        "compresses": False,
        "files": {"log.000002": 500, "log.000003": 900},
        "file": "log.000003",
        "position": 900,
        "keeps": 0,
        "now": NOW,
    }
    return LogServer(**facts | changes)  # type: ignore[arg-type]


def test_a_listing_keeps_logs_apart_from_dumps() -> None:
    keys = ["Shop/log/2026-11-30-12-00-00-000002.zip", "Shop/log/2026-11-30-11-55-00-000001.zip"]
    others = ["Shop/log/2026-11-30-12-00-00.zip", "Shop/database/2026-11-30-12-00-00-000001.zip", "Shop/log/x.zip"]
    listed = [f"{key}{suffix}" for key in (*keys, *others) for suffix in ("", ".json")]
    unfinished = "Shop/log/2026-11-30-12-05-00-000003.zip"
    found = archives.read([StoredObject(key, 5, NOW) for key in (*listed, unfinished, f"{keys[0]}.partial")])
    assert [archive.key for archive in found.logs] == keys
    assert found.archives == found.vanished == ()
    assert [stored.key for stored in found.unfinished] == [f"{keys[0]}.partial", unfinished]
    assert [archives.number_of(key) for key in (*keys, *others)] == [2, 1, 0, 0, 0]
    assert archives.kind_of(keys[0]) == "log"
    assert archives.locked_until(keys[0], 7) == NOW + 7 * DAY


@pytest.mark.parametrize("file", ["log", "log.x", "log.1", "/log.000001", "log.000001\n"])
def test_a_file_that_no_server_names_so_is_refused(file: str) -> None:
    assert LogPlace.from_json({"file": "log.000001", "end": 4}).file == "log.000001"
    with pytest.raises(ValueError, match="file is missing or wrong"):
        LogPlace.from_json({"file": file, "end": 4})


@pytest.mark.parametrize(
    ("resume", "changes", "why"),
    [
        (Resume("log.000003", 900, None), {}, ""),
        (Resume("log.000003", 901, None), {}, "log.000003 is shorter than what was known of it: all logs were reset"),
        (
            Resume("log.000001", 4, None),
            {},
            "the server no longer has log.000001: it was purged, or all logs were reset",
        ),
        (Resume("log.000003", 900, None), {"uid": "there"}, "the databases are on another server than before"),
    ],
)
def test_a_chain_breaks_where_the_server_has_no_longer_what_follows(
    resume: Resume, changes: dict[str, object], why: str
) -> None:
    assert log_chains.why_broken({"here": resume}, [server(**changes)]) == why


@pytest.mark.parametrize(
    ("before", "oldest", "goes_on"),
    [
        pytest.param(f"{UUID}:1-7", "log.000002", True, id="only what was shipped"),
        pytest.param(f"{UUID}:1-8", "log.000002", False, id="one more"),
        pytest.param(f"{UUID}:1-6", "log.000002", False, id="one less"),
        pytest.param("", "log.000002", False, id="reset"),
        pytest.param(f"{UUID}:1-7", "log.000001", False, id="reset and grown again"),
        pytest.param(None, "log.000002", False, id="not known"),
    ],
)
def test_a_chain_goes_on_behind_a_purge_of_nothing_but_what_was_shipped(
    before: str | None, oldest: str, *, goes_on: bool
) -> None:
    purged = Resume("log.000001", 300, f"{UUID}:1-7", 1, LogPlace("log.000001", 300))
    found = log_chains.beyond_purge(purged, oldest, None if before is None else MySQLGtids.of_text(before))
    assert found == (replace(purged, file=oldest, start=4, created=None) if goes_on else purged)


@pytest.mark.parametrize(
    ("resume", "files"),
    [
        (Resume("log.000002", 100, None), ["log.000002", "log.000003"]),
        (Resume("log.000002", 500, None), ["log.000003"]),
        (Resume("log.000003", 900, None, follows=LogPlace("log.000003", 900)), ["log.000003"]),
    ],
)
def test_what_is_at_its_end_is_not_fetched_again(resume: Resume, files: list[str]) -> None:
    assert log_chains.files_from(resume, server()) == files
    assert log_chains.is_new(resume, server()) == (resume.start != 900)


@pytest.mark.parametrize(
    ("minutes", "due"), [(-5, False), (0, False), (4, False), (4.6, True), (-6, True), (-1440, True)]
)
def test_a_schedule_trusts_no_archive_from_the_future(minutes: float, due: bool) -> None:
    newest = logs([1], NOW - timedelta(minutes=minutes))[0]
    assert log_chains.is_due(newest, NOW, FIVE) == due


@pytest.mark.parametrize(
    ("minutes", "longest", "may"),
    [(9, 20, True), (10, 20, False), (14, None, True), (15, None, False), (-5, 20, True), (-6, 20, False)],
)
def test_a_server_at_rest_is_told_of_before_its_logs_are_too_old(
    minutes: int, longest: int | None, *, may: bool
) -> None:
    longest_age = timedelta(minutes=longest) if longest else None
    assert log_chains.may_wait(NOW - timedelta(minutes=minutes), NOW, FIVE, longest_age) == may


def test_a_destination_lacks_what_others_have_and_it_has_not_deleted() -> None:
    all_of = logs([2, 1, 4, 3, 2, 1])
    held = {"whole": all_of, "gap": [all_of[0], all_of[2], all_of[4]], "behind": all_of[3:], "new": []}
    lacking = {name: [each.key for each in lacks] for name, lacks in log_chains.lacking(held).items()}
    keys = [archive.key for archive in all_of]
    assert lacking == {"whole": [], "gap": [keys[3], keys[1]], "behind": keys[2::-1], "new": keys[1::-1]}
    assert log_chains.lacking({"a": [], "b": []}) == {"a": [], "b": []}


@given(st.integers(1, 30), st.lists(st.floats(0.1, 40), max_size=12))
def test_logs_behind_the_anchor_are_never_deleted_and_what_is_left_has_no_gap(keep: int, ages: list[float]) -> None:
    shipped = logs(list(range(60, 0, -1)), apart=DAY / 2)
    dumps = sorted(map(dump, ages), key=lambda archive: archive.captured_at, reverse=True)
    before, later = log_retention.candidates(dumps, shipped, NOW, keep)
    anchor = next(iter([*before, *later]), None)
    gone = [decision.archive for decision in log_retention.deletions(shipped, anchor, NOW, keep)]
    assert gone == shipped[::-1][: len(gone)]
    assert all(archive.captured_at < NOW - keep * DAY for archive in gone)
    assert shipped[0] not in gone
    if anchor:
        assert all(archive.captured_at < anchor.captured_at for archive in gone)


@given(st.integers(1, 9), st.integers(0, 12))
def test_logs_lead_to_every_kept_moment_from_the_first_day_on(keep: int, days: int) -> None:
    """Dumps are taken daily and kept for one day, logs follow twice a day, and a clean-up runs after each."""
    few = Policy(1, 0, 0, 0, 0, delete_oldest_above_megabytes=None)
    dumps, shipped = list[Archive](), list[Archive]()
    for age in range(days, -1, -1):
        now = NOW - age * DAY
        dumps = [dump(age), *dumps]
        shipped = [*logs([2, 1], now + DAY / 2, DAY / 4), *shipped]
        before, later = log_retention.candidates(dumps, shipped, now + DAY, keep)
        anchor = [*before, *later][0]
        plan = retention.plan(dumps, now + DAY, ZoneInfo("UTC"), lambda *_: few, anchors={anchor.key})
        dumps = [decision.archive for decision in plan.decisions if decision.action == "keep"]
        gone = log_retention.deletions(shipped, anchor, now + DAY, keep)
        shipped = shipped[: len(shipped) - len(gone)]
        since = max(now + DAY - keep * DAY, NOW - days * DAY)
        assert dumps[-1].captured_at <= since
        assert shipped[-1].captured_at - dumps[-1].captured_at <= DAY


def test_the_anchor_is_kept_whatever_the_periods_are_but_not_whatever_the_cap_is() -> None:
    dumps = [dump(days) for days in (0.5, 1.5, 2.5, 7.5)]
    few = Policy(1, 0, 0, 0, 0, delete_oldest_above_megabytes=None)

    def rules(anchors: set[str]) -> list[str]:
        plan = retention.plan(dumps, NOW, ZoneInfo("UTC"), lambda *_: few, anchors=anchors)
        return [f"{decision.action} {decision.rule}" for decision in plan.decisions]

    assert rules(set()) == ["keep newest", "delete too old", "delete too old", "delete too old"]
    assert rules({dumps[3].key})[3] == "keep anchor"
    full = [archive._replace(size=2 << 20) for archive in dumps]
    capped = Policy(1, 0, 0, 0, 0, delete_oldest_above_megabytes=3)
    plan = retention.plan(full, NOW, ZoneInfo("UTC"), lambda *_: capped, anchors={dumps[3].key})
    assert [decision.rule for decision in plan.deletions] == ["cap", "too old", "too old"]


def catalog(shipped: list[Archive], unplaced: str = "", **changes: Any) -> Catalog:
    """Return what a destination holds, with the window of the newest logs, which continue a backup."""
    unbroken = log_health.without_gap(shipped)
    windows = {}
    if shipped:
        window = LogWindow(unbroken[-1].captured_at, unbroken[0].captured_at, anchor=dump(1), positions=2)
        windows["Shop"] = replace(window, **changes)
    return Catalog((), (), logs=tuple(shipped), windows=windows, unplaced={"Shop": unplaced} if unplaced else {})


def findings(found: Catalog, longest: timedelta | None = timedelta(minutes=20)) -> dict[str, tuple[str, str]]:
    told = log_health.check("Shop", "disk", found, 2, longest, NOW)
    return {finding.check: (finding.verdict, finding.text) for finding in told}


def test_checks_tell_how_old_logs_are_and_from_when_they_reach() -> None:
    assert findings(catalog([]))["log age"][0] == "degraded"
    assert findings(catalog(logs([3, 2, 1]))) == {
        "log age": ("healthy", "the binary logs reach up to 0 seconds ago"),
        "logs": (
            "healthy",
            "3 archives of binary logs without a gap, from 2026-11-30 11:50:00 UTC to 2026-11-30 12:00:00 UTC;"
            " 30 B stored in all",
        ),
    }


def test_the_age_of_logs_is_that_of_what_they_cover_and_never_in_the_future() -> None:
    shipped = logs([2, 1])
    old = catalog(shipped, until=NOW - timedelta(hours=1))
    assert findings(old)["log age"][0] == "unhealthy"
    assert findings(old)["log age"][1].endswith("ago, more than 20 minutes")
    assert findings(old, None)["log age"][0] == "healthy"
    assert findings(catalog(shipped, until=NOW + FIVE))["log age"][0] == "healthy"
    assert "which is in the future" in findings(catalog(shipped, until=NOW + DAY))["log age"][1]


def test_checks_name_a_gap_within_the_newest_chain() -> None:
    shipped = logs([5, 4, 2, 1])
    text = f"binary logs between {shipped[2].key} and {shipped[1].key} are missing: no moment there can be reached"
    assert findings(catalog(shipped))["log gap"] == ("unhealthy", text)
    assert findings(catalog(shipped))["logs"][1].startswith("2 archives")
    assert "log gap" not in findings(catalog(logs([2, 1, 9, 7])))  # of a chain that ended
    assert "log gap" not in findings(catalog(logs([9, 8, 7])))  # a clean-up deleted the begin


@pytest.mark.parametrize("numbers", [[3, 2, 9, 8], [3, 2, 2]])
def test_a_chain_whose_begin_is_lost_is_not_the_work_of_a_clean_up(numbers: list[int]) -> None:
    assert findings(catalog(logs(numbers)))["log gap"][0] == "unhealthy"
    of_another = findings(catalog(logs([2, 1]), is_one_chain=False))["log gap"]
    assert of_another[0] == "unhealthy"
    assert "the begin of the chain" in of_another[1]


@pytest.mark.parametrize(
    ("numbers", "unbroken"),
    [([3, 2, 2, 1], [0, 1, 3]), ([3, 2, 4, 3, 2, 1], [0, 1, 5]), ([2, 1, 1], [0, 1]), ([3, 1, 2], [0])],
)
def test_of_two_archives_of_a_number_the_newer_is_continued(numbers: list[int], unbroken: list[int]) -> None:
    shipped = logs(numbers)
    assert log_health.without_gap(shipped) == [shipped[index] for index in unbroken]


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "text"),
    [
        (
            {"anchor": None},
            "log anchor",
            "unhealthy",
            "no database backup since 2026-11-30 11:55:00 UTC has a position",
        ),
        ({"positions": 1}, "log anchor", "degraded", "has positions for 1 of 2 databases"),
        ({"unplaced": "shop: log_bin is off"}, "log position", "unhealthy", "binary log: shop: log_bin is off"),
        ({"is_new": True, "reason": "it was reset"}, "new log chain", "degraded", "11:55:00 UTC: it was reset. No"),
        ({"error": "no marker"}, "log markers", "unhealthy", "no marker"),
    ],
)
def test_checks_tell_what_cannot_be_recovered(changes: dict[str, Any], name: str, verdict: str, text: str) -> None:
    found = findings(catalog(logs([2, 1]), **changes))
    assert found[name][0] == verdict
    assert text in found[name][1]
    assert found.keys() == {"log age", "logs", name}


@pytest.mark.parametrize(
    ("proof", "longest", "verdict", "text"),
    [
        pytest.param(None, 8 * DAY, "healthy", "nothing proves yet", id="new"),
        pytest.param(None, FIVE / 2, "degraded", "nothing proves yet", id="none for long"),
        pytest.param(None, None, "healthy", "nothing proves yet", id="none asked for"),
        pytest.param(Proven("key", NOW - DAY, FIVE), 8 * DAY, "healthy", "key, is 24.0 hours old", id="young"),
        pytest.param(Proven("key", NOW - 9 * DAY, FIVE), 8 * DAY, "degraded", "more than 8.0 days: ", id="old"),
        pytest.param(Proven("key", NOW - 9 * DAY, FIVE), None, "healthy", "9.0 days old", id="old, no limit"),
        pytest.param(Proven("key", NOW, FIVE, "forged"), None, "unhealthy", "forged", id="forged"),
    ],
)
def test_checks_tell_how_old_the_newest_proof_of_a_chain_is(
    proof: Proven | None, longest: timedelta | None, verdict: str, text: str
) -> None:
    found = replace(catalog(logs([2, 1])), newest_chain_proofs={"Shop": proof} if proof else {})
    (said,) = log_health.check_proof("Shop", "disk", found, longest, NOW)
    assert (said.check, said.verdict) == ("chain proof", verdict)
    assert text in said.text


def test_a_new_chain_is_told_for_a_day() -> None:
    assert "new log chain" not in findings(catalog(logs([2, 1]), is_new=True, since=NOW - DAY))


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, {}),
        ({"keeps": 3600}, {"server log retention": "unhealthy"}),
        ({"keeps": 2 * 86_400, "log_format": "MIXED"}, {"server log retention": "degraded"}),
        ({"keeps": 30 * 86_400, "log_format": "STATEMENT"}, {"log format": "unhealthy"}),
        ({"compresses": True}, {"log format": "unhealthy"}),
    ],
)
def test_checks_tell_what_a_server_does_with_its_logs(changes: dict[str, object], verdicts: dict[str, str]) -> None:
    found = log_health.of_server("Shop", "shop", server(**changes), can_decompress=False)
    assert {finding.check: finding.verdict for finding in found} == verdicts


def test_logs_count_for_no_rule_of_dumps() -> None:
    shipped = logs(list(range(300, 0, -1)))
    listed = [dump(0.1), *shipped]
    found = archives.read(
        StoredObject(archive.key + suffix, archive.size, archive.captured_at)
        for archive in listed
        for suffix in ("", ".json")
    )
    assert isinstance(found, Catalog)
    assert found.of("Shop") == [listed[0]]
