"""Archives of binary logs: their names, their chains, what is kept of them, and what checks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.catalog import archives
from lifeboat.catalog.archives import Archive, Catalog, archive_key, log_key
from lifeboat.catalog.logs import LogPlace
from lifeboat.databases.mysql.logs import LogServer
from lifeboat.decide import log_chains, log_health, log_retention, retention
from lifeboat.decide.log_chains import Resume
from lifeboat.decide.retention import Policy
from lifeboat.storage import StoredObject

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FIVE = timedelta(minutes=5)


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
        "files": {"log.000002": 500, "log.000003": 900},
        "file": "log.000003",
        "position": 900,
        "gtids": "",
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
    anchor = next(log_retention.candidates(dumps, NOW, keep), None)
    gone = [decision.archive for decision in log_retention.deletions(shipped, anchor, NOW, keep)]
    assert gone == shipped[::-1][: len(gone)]
    assert all(archive.captured_at < NOW - keep * DAY for archive in gone)
    assert shipped[0] not in gone
    if anchor:
        assert all(archive.captured_at < anchor.captured_at for archive in gone)


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


def findings(shipped: list[Archive], longest: timedelta | None = timedelta(minutes=20)) -> dict[str, tuple[str, str]]:
    found = log_health.check("Shop", "disk", shipped, longest, NOW)
    return {finding.check: (finding.verdict, finding.text) for finding in found}


def test_checks_tell_how_old_logs_are_and_from_when_they_reach() -> None:
    assert findings([])["log age"][0] == "degraded"
    assert findings(logs([3, 2, 1])) == {
        "log age": ("healthy", "the newest archive of binary logs is 0 seconds old"),
        "logs": (
            "healthy",
            "3 archives of binary logs without a gap, from 2026-11-30 11:50:00 UTC to 2026-11-30 12:00:00 UTC",
        ),
    }
    old = logs([3], NOW - timedelta(hours=1))
    assert findings(old)["log age"][0] == "unhealthy"
    assert findings(old, None)["log age"][0] == "healthy"


def test_checks_name_a_gap_within_the_newest_chain() -> None:
    shipped = logs([5, 4, 2, 1])
    text = f"binary logs between {shipped[2].key} and {shipped[1].key} are missing: no moment there can be reached"
    assert findings(shipped)["log gap"] == ("unhealthy", text)
    assert findings(shipped)["logs"][1].startswith("2 archives")
    assert "log gap" not in findings(logs([2, 1, 9, 7]))  # of a chain that ended


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, {}),
        ({"keeps": 3600}, {"server log retention": "unhealthy"}),
        ({"keeps": 2 * 86_400, "log_format": "MIXED"}, {"server log retention": "degraded"}),
        ({"keeps": 30 * 86_400, "log_format": "STATEMENT"}, {"log format": "unhealthy"}),
    ],
)
def test_checks_tell_what_a_server_does_with_its_logs(changes: dict[str, object], verdicts: dict[str, str]) -> None:
    found = log_health.of_server("Shop", "shop", server(**changes))
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
