"""What the page shows, from readings and a clock; no server, no browser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import Archive, Kind, Proven
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.storage import StoredObject
from lifeboat.text import plural
from lifeboat.ui import archives, charts, plans, safety
from lifeboat.ui.archives import Filters
from lifeboat.ui.charts import Calendar
from lifeboat.ui.overview import Overview, overview
from lifeboat.ui.readings import Reading
from lifeboat.ui.recipes import recipes
from lifeboat.ui.words import ago, as_of, date_and_time, duration, in_zone

from tests.airflow.ui.conftest import NOW, objects, reading, window, with_windows
from tests.conftest import Configure
from tests.records import marker_facts, marker_of

DAY = timedelta(days=1)
DATABASE: dict[tuple[str, Kind], timedelta] = {("Shop", "database"): DAY}
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-5), "0 minutes"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=89), "89 minutes"),
        (timedelta(minutes=90), "2 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (timedelta(days=59), "59 days"),
        (timedelta(days=60), "2 months"),
        (timedelta(days=800), "2 years"),
    ],
)
def test_ages_are_said_in_one_round_number(age: timedelta, said: str) -> None:
    assert ago(age) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, "0.4 s"), (47.3, "47 s"), (75.2, "1 min 15 s"), (3599.9, "1 h 0 min"), (7260, "2 h 1 min")],
)
def test_durations_are_said_as_they_are_read(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_times_are_those_of_one_zone() -> None:
    assert date_and_time(NOW, BERLIN) == "2026-11-24 13:00"
    assert as_of(NOW, NOW + timedelta(hours=3), BERLIN) == "13:00 CET"
    assert as_of(NOW, NOW + timedelta(hours=11), BERLIN) == "2026-11-24 13:00 CET"
    assert in_zone("locked until 2026-07-01 22:30:00 UTC", BERLIN) == "locked until 2026-07-02 00:30:00 CEST"
    assert in_zone("2026-99-99 10:00 UTC is a name", BERLIN) == "2026-99-99 10:00 UTC is a name"


def test_one_thing_has_no_s() -> None:
    assert [plural(number, "archive") for number in (0, 1, 2)] == ["0 archives", "1 archive", "2 archives"]


@pytest.fixture
def settings(project: Configure) -> Settings:
    return config.load(project())


def answered(settings: Settings, *readings: Reading, tonight: datetime | None = None) -> Overview:
    return overview(settings, {each.destination: each for each in readings}, NOW, tonight)


def test_safety_is_measured_against_the_limits(project: Configure, tmp_path: Path) -> None:
    settings = config.load(
        project(
            applications={
                "Shop": {
                    "databases": [{"name": "shop", "connection": "shop_db"}],
                    "files": {"root": str(tmp_path)},
                    "health": {"max_storage_megabytes": 1},
                },
                "Elsewhere": {
                    "databases": [{"name": "x", "connection": "shop_db"}],
                    "destinations": ["offsite"],
                },
            }
        )
    )
    proof = Proven("key", NOW - 3 * DAY, timedelta(seconds=61))
    found = reading("disk", *objects(0.5, size=2 << 20), proofs={("Shop", "database"): proof})
    card = safety.destination_card(settings, found, NOW)
    assert (card.place, card.tone) == ("Directory", "unhealthy")
    (shop,) = card.applications
    assert shop.proof == "Proven 3 days ago, recovered in 1 min 1 s"
    checked = safety.proof_text(replace(proof, checks=2, open_checks=1), NOW)
    assert checked.endswith("1 min 1 s; 2 checks of the application passed, 1 not isolated")
    partly = safety.proof_text(replace(proof, missed=2), NOW)
    assert partly == "Proven 3 days ago, recovered in 1 min 1 s; not proven: 2 owners, rights or settings"
    assert [(gauge.name, gauge.value, gauge.limit, gauge.percent, gauge.over) for gauge in shop.gauges] == [
        ("Newest database", "12 hours old", "of 30 hours", 40, False),
        ("Newest application", "none yet", "of 8 days", 100, True),
        ("Stored", "2.0 MiB", "of 1.0 MiB", 100, True),
    ]
    assert [finding.check for finding in shop.troubles] == ["application age", "storage"]
    assert {finding.verdict for finding in shop.passed} == {"healthy"}


def test_no_storage_limit_makes_no_bar(project: Configure) -> None:
    settings = config.load(project(health={"max_storage_megabytes": None}))
    card = safety.destination_card(settings, reading("disk", *objects(0.5)), NOW)
    assert [gauge.percent for gauge in card.applications[0].gauges] == [40, None]


@pytest.mark.parametrize(
    ("disk", "offsite", "headline", "tone"),
    [
        (objects(0.5), objects(0.5), "Yes", "healthy"),
        (objects(0.4), objects(0.5), "Not quite", "degraded"),
        (objects(2), objects(2), "No", "unhealthy"),
        (objects(0.5), [], "No", "unhealthy"),
        ([], [], "No", "unhealthy"),
    ],
)
def test_are_we_safe(
    settings: Settings, disk: list[StoredObject], offsite: list[StoredObject], headline: str, tone: str
) -> None:
    answer = answered(settings, reading("disk", *disk), reading("offsite", *offsite)).answers[0]
    assert (answer.headline, answer.tone) == (headline, tone)


def test_nobody_is_safe_while_a_dag_is_paused(settings: Settings) -> None:
    readings = {name: reading(name, *objects(0.5)) for name in settings.destinations}
    paused = overview(settings, readings, NOW, None, ["backup_cleanup", "restore_database", "backup_application"])
    assert (paused.answers[0].headline, len(paused.troubles)) == ("No", 1)
    assert "backup_cleanup is paused; unpause it in Airflow" in paused.troubles[0].text


def test_an_answer_that_misses_a_destination_is_no_yes(settings: Settings) -> None:
    silent = answered(settings, reading("disk", *objects(0.5)), Reading("offsite"))
    assert silent.answers[0].headline == "Not known yet"
    assert silent.silent == ("offsite",)
    down = answered(settings, reading("disk", *objects(0.5)), Reading("offsite", trouble="It is down."))
    assert down.answers[0].headline == "No"
    assert [finding.text for finding in down.troubles] == ["It is down."]
    assert not answered(settings, reading("disk"), Reading("offsite", trouble="It is down.")).empty


def test_no_archive_anywhere_is_told_as_that(settings: Settings) -> None:
    emptied = answered(settings, reading("disk"), reading("offsite"))
    assert emptied.empty
    assert emptied.steps
    assert emptied.steps.backups == {"database": False}
    assert emptied.answers[0].text == "There is no archive at any destination: 2 findings, named below."


def test_the_worst_findings_come_first(settings: Settings) -> None:
    troubles = answered(settings, reading("disk", *objects(2)), reading("offsite", *objects(3))).troubles
    assert [finding.verdict for finding in troubles] == ["unhealthy", "unhealthy", "degraded"]


def test_what_do_we_have_counts_an_archive_once(settings: Settings) -> None:
    listing = objects(0.5, 1.5, size=1 << 20)
    answer = answered(settings, reading("disk", *listing), reading("offsite", *listing)).answers[1]
    assert (answer.headline, answer.text) == ("2 archives", "4.0 MiB stored; the newest is 12 hours old.")
    assert answered(settings, reading("disk"), reading("offsite")).answers[1].text == "Nothing is stored."


def test_what_is_dated_in_the_future_is_never_the_newest(settings: Settings) -> None:
    found = reading("disk", *objects(2, -1))
    gauges = safety.destination_card(settings, found, NOW).applications[0].gauges
    assert (gauges[0].value, gauges[0].over) == ("2 days old", True)
    assert "the newest is 2 days old" in answered(settings, found).answers[1].text
    assert "all are dated in the future" in answered(settings, reading("disk", *objects(-1))).answers[1].text
    (card,) = archives.recovery(settings, [found], NOW)
    assert [row.age for row in card.newest] == ["2 days"]
    (alone,) = archives.recovery(settings, [reading("disk", *objects(-1))], NOW)
    assert [row.age for row in alone.newest] == [""], "in need, it is better than nothing"
    assert [row.age for row in archives.rows(settings, [found], NOW)] == ["", "2 days"]


def test_what_is_not_known_is_not_nothing(settings: Settings) -> None:
    down = Reading("offsite", trouble="It is down.")
    have, tonight = answered(settings, reading("disk", *objects(0.5)), down, tonight=NOW + DAY).answers[1:3]
    assert (have.headline, have.text[-17:]) == ("1 archive", " Without offsite.")
    assert tonight.text == "Everything stays. Nothing at offsite, which cannot be read."
    assert answered(settings, Reading("disk"), down).answers[1].headline == "Not known"


def last(found: Reading, trouble: str = "It is down.") -> Reading:
    """Return the reading of a destination that told what it holds two hours ago, and does not now."""
    return Reading(found.destination, trouble=trouble, last=replace(found, read_at=NOW - timedelta(hours=2)))


def test_a_destination_that_does_not_answer_keeps_what_it_told_last(settings: Settings) -> None:
    proofs: dict[tuple[str, Kind], Proven] = {("Shop", "database"): Proven("key", NOW - 3 * DAY, timedelta(seconds=61))}
    down = last(replace(reading("offsite", *objects(1.2, 3), proofs=proofs), endpoint="https://s3.example.com"))
    card = safety.destination_card(settings, down, NOW)
    assert (card.tone, card.trouble, card.as_of) == ("unhealthy", "It is down.", NOW - timedelta(hours=2))
    assert card.applications[0].gauges[0].value == "27 hours old", "as it was seen"
    assert safety.destination_card(settings, last(reading("offsite"), trouble=""), NOW).tone == "unknown"
    here = reading("disk", *objects(0.5, 3))
    newest, gone, both = archives.rows(settings, [down, here], NOW)
    assert (newest.stale, gone.stale, both.stale) == (False, True, False)
    assert both.places == ("disk", "offsite"), "first who answers"
    safe, have, tonight, back = answered(settings, here, down, tonight=NOW + DAY).answers
    assert (safe.headline, have.headline) == ("No", "3 archives")
    assert have.text.endswith(" offsite as of 10:00 UTC.")
    assert tonight.text.endswith(" Nothing at offsite, which cannot be read.")
    assert (back.headline, back.text[-25:]) == ("In 1 min 1 s", " offsite as of 10:00 UTC.")
    (alone,) = archives.recovery(settings, [down], NOW)
    assert alone.newest[0].stale
    assert "--endpoint-url https://s3.example.com" in alone.recipes[1].lines[0]
    plan = plans.plan_view(settings, settings, down, NOW, NOW)
    assert plan is not None
    assert plan.kept_count == 2


def test_what_will_tonight_delete(settings: Settings) -> None:
    old = [reading("disk", *objects(0.5, 3000, size=1 << 20)), reading("offsite", *objects(0.5, 3000, size=1 << 20))]
    tonight = datetime(2026, 11, 25, 3, tzinfo=UTC)

    def told(*readings: Reading, at: datetime | None = tonight) -> tuple[str, str]:
        answer = answered(settings, *readings, tonight=at).answers[2]
        return answer.headline, answer.text

    assert told(*old) == ("1 archive", "Frees 2.0 MiB at 03:00 UTC.")
    assert told(*old, at=None) == ("Nothing", "No clean-up is due. One would delete 1 archive.")
    assert told(reading("disk", *objects(0.5))) == ("Nothing", "Everything stays.")
    held = reading("disk", *objects(2, 3000))
    told_held = "Held where the newest archive is too old: Shop."
    assert told(held) == ("Nothing", f"Everything stays. {told_held}")
    assert told(held, old[1]) == ("1 archive", f"Frees 1.0 MiB at 03:00 UTC. {told_held}")


def test_how_do_i_get_it_back(settings: Settings) -> None:
    def told(*proofs: Proven) -> tuple[str, str, str]:
        names: list[Kind] = ["database", "application"]
        proven = {("Shop", kind): proof for kind, proof in zip(names, proofs, strict=False)}
        answer = answered(settings, reading("disk", *objects(0.5), proofs=proven)).answers[3]
        return answer.headline, answer.text, answer.tone

    assert told() == ("Unproven", "No restore has been tested yet: run a drill.", "degraded")
    older, newer = (Proven("a", NOW - age * DAY, timedelta(seconds=age + 1)) for age in (9, 3))
    assert told(older) == ("In 10 s", "Slowest measured restore: Shop, 9 days ago.", "healthy")
    assert told(newer, older)[0] == "In 10 s", "the slowest counts"
    assert told(replace(newer, error="it is forged"))[::2] == ("Unproven", "unhealthy")


def test_getting_it_back_is_as_sure_as_the_least_proven_application(project: Configure) -> None:
    database = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    names = ("Shop", "Books", "Music")
    settings = config.load(
        project(applications=dict.fromkeys(names, database), health={"rto_hours": 1, "proof_max_days": 30})
    )
    listing = [stored for name in names for stored in objects(0.5, application=name)]

    def told(**proofs: tuple[float, float]) -> tuple[str, str, str]:
        """:param proofs: ages in days and recoveries in minutes, by application."""
        proven: dict[tuple[str, Kind], Proven] = {
            (name, "database"): Proven("a", NOW - age * DAY, timedelta(minutes=took))
            for name, (age, took) in proofs.items()
        }
        answer = answered(settings, reading("disk", *listing, proofs=proven), reading("offsite")).answers[3]
        return answer.headline, answer.text, answer.tone

    assert told(Shop=(1, 2), Books=(3, 7), Music=(2, 1)) == (
        "In 7 min 0 s",
        "Slowest measured restore: Books, 3 days ago.",
        "healthy",
    )
    assert told(Shop=(1, 2))[1:] == (
        "Slowest measured restore: Shop, 24 hours ago. Not fully tested: 2 of 3 applications.",
        "unhealthy",
    )
    assert told(Shop=(1, 2), Books=(3, 61), Music=(2, 1))[::2] == ("In 1 h 1 min", "unhealthy")
    assert told(Shop=(1, 2), Books=(31, 7), Music=(2, 1))[2] == "unhealthy"


def test_an_archive_is_one_row_with_all_its_places(settings: Settings) -> None:
    here = reading("disk", *objects(1, 3), StoredObject(objects(3)[0].key + ".proof.json", 9, NOW))
    there = reading("offsite", *objects(1, 2))
    rows = archives.rows(settings, [here, there, Reading("silent")], NOW)
    assert [(row.age, row.places, row.proven) for row in rows] == [
        ("24 hours", ("disk", "offsite"), False),
        ("2 days", ("offsite",), False),
        ("3 days", ("disk",), True),
    ]


def test_an_archive_of_no_application_of_the_settings_is_foreign(settings: Settings) -> None:
    found = reading("disk", *objects(1), *objects(2, application="Gone"))
    assert [row.foreign for row in archives.rows(settings, [found], NOW)] == [False, True]


@pytest.mark.parametrize(
    ("chosen", "ages"),
    [
        (Filters(), [1, 2, 3, 4]),
        (Filters(application="Shop"), [1, 2, 4]),
        (Filters(kind="application"), [4]),
        (Filters(destination="offsite"), [2]),
        (Filters(proven="yes"), [1]),
        (Filters(proven="no", application="Books"), [3]),
        (Filters(application="nobody"), []),
    ],
)
def test_filters_choose_archives(settings: Settings, chosen: Filters, ages: list[int]) -> None:
    disk = [*objects(1), *objects(3, application="Books"), *objects(4, kind="application")]
    proven = StoredObject(objects(1)[0].key + ".proof.json", 9, NOW)
    rows = archives.rows(settings, [reading("disk", *disk, proven), reading("offsite", *objects(2))], NOW)
    admitted = [row.archive.captured_at for row in rows if chosen.admit(row)]
    assert admitted == [NOW - age * DAY for age in ages]


def test_contents_name_only_what_the_marker_has() -> None:
    key = "Shop/database/2026-11-23-01-00-00.zip"
    totals = marker_facts(key)["totals"] | {"rows": 1200, "sql_bytes": 2048}
    file = {"size": 1, "sha256": "ab", "encrypted": False}
    shown = archives.contents(marker_of(key, note="n", totals=totals, archive=file))
    assert shown.note == "n"
    assert {("Rows", "1,200"), ("SQL", "2.0 KiB"), ("Encrypted", "no"), ("SHA-256", "ab")} <= set(shown.facts)
    assert not {"Files", "Size of files"} & dict(shown.facts).keys()
    assert archives.contents(None).facts == ()


def test_recovery_begins_with_the_newest_archive_of_every_kind(settings: Settings) -> None:
    found = reading("disk", *objects(1, 2), *objects(3, 9, kind="application"))
    (card,) = archives.recovery(settings, [found], NOW)
    assert [row.age for row in card.newest] == ["24 hours", "3 days"]
    assert card.newest[0].archive.key in card.recipes[0].lines[0]
    (empty,) = archives.recovery(settings, [reading("disk")], NOW)
    assert (empty.newest, empty.recipes) == ((), ())


def test_moments_are_told_by_destination_and_those_that_differ_apart(project: Configure) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "logs": True}
    settings = config.load(project(applications={"Shop": shop}))
    older, newer = window(NOW, 8, 6), window(NOW, 2, 1)
    both = [with_windows(reading(name), older, newer) for name in ("disk", "offsite")]
    (card,) = archives.recovery(settings, [*both, with_windows(reading("third"), newer)], NOW)
    assert [(each.places, each.behind) for each in card.moments] == [
        (("disk", "offsite"), "24 hours"),
        (("third",), "24 hours"),
    ]
    assert [(span.x, span.width) for span in card.moments[0].spans] == [(0, 25), (75, 12.5)]
    ahead = replace(newer, until=newer.since - timedelta(hours=1))  # the backup is newer than the logs
    (none,) = archives.recovery(settings, [with_windows(reading("disk"), ahead)], NOW)
    assert (none.moments, none.ships_logs) == ((), True)


def archive(key: str) -> Archive:
    (found,) = catalog.read([StoredObject(key, 1, NOW), StoredObject(f"{key}.json", 1, NOW)]).archives
    return found


def test_recipes_are_quoted_for_the_shell(project: Configure, tmp_path: Path) -> None:
    name = "It's `ours`"
    settings = config.load(project(applications={name: {"databases": [{"name": "a`b", "connection": "shop_db"}]}}))
    key = f"{name}/database/2026-11-20-01-00-00.zip"
    lifeboat, by_hand = recipes(settings, archive(key), ["disk"], {})
    quoted = "'It'\"'\"'s `ours`"
    assert lifeboat.lines == (
        f"lifeboat verify {quoted}/database/2026-11-20-01-00-00.zip'",
        f"lifeboat restore database {quoted}' --archive {quoted}/database/2026-11-20-01-00-00.zip'",
    )
    assert by_hand.lines[2] == "mysql -h HOST -u USER -p -e 'CREATE DATABASE `a``b_restored`'"
    assert by_hand.lines[3].endswith("'a`b_restored' < 'restored/db-dumps/mysql-a`b.sql'")


def test_recipes_of_other_engines_name_their_clients_and_dumps(project: Configure) -> None:
    databases = [
        {"name": "a'b", "engine": "postgresql", "connection": "shop_db"},
        {"name": "c", "engine": "sqlite", "connection": "shop_db"},
    ]
    settings = config.load(project(applications={"Shop": {"databases": databases}}))
    _, by_hand = recipes(settings, archive("Shop/database/2026-11-20-01-00-00.zip"), ["disk"], {})
    quoted = "'a'\"'\"'b_restored'"
    assert by_hand.lines[2:] == (
        f"createdb -h HOST -U USER {quoted}",
        f"psql -h HOST -U USER -d {quoted} < 'restored/db-dumps/postgresql-a'\"'\"'b.sql'",
        "sqlite3 c_restored.sqlite < restored/db-dumps/sqlite-c.sql",
    )


def test_recipes_fetch_from_where_the_archive_is(settings: Settings) -> None:
    key = "Shop/application/2026-11-20-01-00-00.zip"
    ours = {"offsite": "https://s3.example.com:8333"}
    lifeboat, by_hand = recipes(settings, archive(key), ["offsite", "disk"], ours)
    assert lifeboat.lines[1] == f"lifeboat restore application Shop --archive {key}"
    assert by_hand.lines[0].startswith("aws s3 cp --endpoint-url https://s3.example.com:8333 s3://test-")
    assert by_hand.hint.startswith("aws needs the keys of the connection backups_s3.")
    assert by_hand.lines[0].endswith(f"/lifeboat/{key} archive.zip")
    legacy = recipes(settings, archive("Shop/2026-11-20-01-00-00.zip"), ["disk"], {})
    assert legacy[0].lines[1].startswith("lifeboat restore database Shop")


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        ("", False),
        ("https://s3.amazonaws.com", False),
        ("https://s3.dualstack.eu-central-1.amazonaws.com", False),
        ("https://s3.cn-north-1.amazonaws.com.cn", False),
        ("https://bucket.vpce-1a2b.s3.eu-central-1.vpce.amazonaws.com", True),
        ("https://s3.amazonaws.com.example.net", True),
        ("http://127.0.0.1:9000", True),
    ],
)
def test_recipes_name_a_server_that_is_not_amazons(settings: Settings, endpoint: str, named: bool) -> None:
    found = recipes(settings, archive("Shop/database/2026-11-20-01-00-00.zip"), ["offsite"], {"offsite": endpoint})
    assert (f"--endpoint-url {endpoint} " in found[1].lines[0]) is named


def test_what_is_not_in_the_settings_is_restored_by_hand(settings: Settings) -> None:
    (by_hand,) = recipes(settings, archive("Gone/database/2026-11-20-01-00-00.zip"), ["disk"], {})
    assert [line.split()[0] for line in by_hand.lines] == ["cp", "7z"]


def what_if(settings: Settings, **numbers: str) -> Settings:
    typed = {number.name: number.value for number in plans.policy_form(settings).numbers}
    return plans.tried(settings, typed | numbers)


def test_a_policy_that_is_tried_replaces_every_other(project: Configure, tmp_path: Path) -> None:
    path = project(
        retention={"keep_all_for_days": 3},
        destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk"), "retention": {"keep_all_for_days": 30}}},
        applications={
            "Shop": {
                "databases": [{"name": "shop", "connection": "shop_db"}],
                "retention": {"delete_oldest_above_megabytes": 1, "database": {"keep_all_for_days": 90}},
            }
        },
    )
    settings = config.load(path)
    form = plans.policy_form(settings)
    assert form.mixed
    assert [number.value for number in form.numbers] == ["90", "16", "8", "4", "2", "1"]
    tried = what_if(settings, keep_all_for_days="5", delete_oldest_above_megabytes="")
    policy = tried.policy_of("disk", "Shop", "database")
    assert (policy.keep_all_for_days, policy.delete_oldest_above_megabytes) == (5, None)
    assert settings.policy_of("disk", "Shop", "database").keep_all_for_days == 90


def test_a_tried_plan_says_what_it_adds_and_what_it_spares(settings: Settings) -> None:
    found = reading("disk", *objects(0.5, 1.5, 2.1, 2.3, 3000))
    more = plans.plan_view(settings, what_if(settings, keep_all_for_days="1"), found, NOW, NOW)
    assert more is not None
    assert len(more.deletions) == 2
    assert len(more.extra) == 1
    spare = plans.plan_view(settings, what_if(settings, keep_yearly_for_years="100"), found, NOW, NOW)
    assert spare is not None
    assert (spare.deletions, spare.extra, len(spare.spared)) == ((), frozenset(), 1)
    assert (spare.kept_count, spare.kept_size, spare.freed) == (5, 5000, 0)


def test_a_plan_tells_what_it_sweeps_and_what_is_held(settings: Settings) -> None:
    unfinished = StoredObject("Shop/database/2026-11-20-01-00-00.zip", 5, NOW - 2 * DAY)
    fresh = plans.plan_view(settings, settings, reading("disk", *objects(0.5), unfinished), NOW, NOW)
    assert fresh is not None
    assert fresh.swept == (unfinished.key,)
    stale = plans.plan_view(settings, settings, reading("disk", *objects(2)), NOW, NOW)
    assert stale is not None
    assert list(stale.held) == ["Shop"]


def days(
    *ages: float,
    kind: Kind = "database",
    limits: dict[Any, timedelta] | None = None,
    kept: int = 23,
    now: datetime = NOW,
) -> Calendar:
    found = catalog.read(objects(*ages, kind=kind, now=now)).archives
    return charts.calendar(found, DATABASE if limits is None else limits, kept, now, BERLIN)


def looks(calendar: Calendar) -> dict[date, str]:
    """Return how every day looks, by its date."""
    first = NOW.astimezone(BERLIN).date() - (len(calendar.cells) - 1) * DAY
    return {first + number * DAY: cell.look for number, cell in enumerate(calendar.cells)}


def test_a_day_without_a_backup_is_a_hole() -> None:
    calendar = days(0.3, 1.3, 3.3, 4.3, 4.4)
    assert calendar.holes == (date(2026, 11, 22),)
    shown = looks(calendar)
    assert shown[date(2026, 11, 22)] == "hole"
    assert shown[date(2026, 11, 23)] == "one"
    assert shown[date(2026, 11, 20)] == "several"
    assert shown[date(2026, 11, 19)] == "before"


def test_today_is_no_hole_before_its_backup_is_overdue() -> None:
    assert days(0.9, 1.9).holes == ()
    assert looks(days(0.9, 1.9))[date(2026, 11, 24)] == "none"
    assert days(1.1, 2.1).holes == (date(2026, 11, 24),)


def test_what_retention_thinned_out_is_no_hole() -> None:
    calendar = days(*(n + 0.3 for n in range(5)), 60)
    assert len(calendar.holes) == 19
    assert days(*(n + 0.3 for n in range(5)), 60, kept=4).holes == ()
    assert looks(calendar)[date(2026, 10, 10)] == "none"


def test_a_weekly_kind_has_a_hole_when_a_week_is_missed() -> None:
    weekly: dict[Any, timedelta] = {("Shop", "application"): 8 * DAY}
    assert days(0, 7, 14, 21, kind="application", limits=weekly).holes == ()
    assert len(days(0, 14, 21, kind="application", limits=weekly).holes) == 6


def test_the_day_of_a_changing_clock_is_no_hole() -> None:
    now = datetime(
        2026, 10, 27, 12, tzinfo=UTC
    )  # clocks went back on the 25th: its first hour is 25 hours from its end
    assert days(0.5, 1.5, (now - datetime(2026, 10, 24, 22, 30, tzinfo=UTC)) / DAY, 3.5, now=now).holes == ()


def test_days_are_those_of_the_time_zone() -> None:
    found = catalog.read(objects((NOW - datetime(2026, 11, 22, 23, 30, tzinfo=UTC)) / DAY)).archives
    calendar = charts.calendar(found, {}, 23, NOW, BERLIN)
    assert looks(calendar)[date(2026, 11, 23)] == "one"


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_a_calendar_takes_the_first_and_the_last_day_of_all(zone: str) -> None:
    keys = [f"Shop/database/{day}.zip" for day in ("0001-01-01-00-00-00", "9999-12-31-23-59-59")]
    found = [archive(key) for key in keys]
    calendar = charts.calendar(found, DATABASE, 23, NOW, ZoneInfo(zone))
    assert len(calendar.holes) == 24


def test_a_calendar_ends_today() -> None:
    calendar = days()
    assert calendar.cells[-1].title.startswith("Tue 24 Nov 2026")
    assert calendar.cells[0].title.startswith("Mon ")
    assert (calendar.holes, calendar.since) == ((), None)


def test_sizes_are_drawn_between_nothing_and_the_largest() -> None:
    found = catalog.read([*objects(4, size=1000), *objects(2, size=500), *objects(0, size=250, kind="application")])
    plot = charts.plot(found.archives, NOW, BERLIN)
    weekly, daily = plot.lines
    assert [(x, y) for x, y, _ in daily.dots] == [(0, 0), (500, 100)]
    assert [(x, y) for x, y, _ in weekly.dots] == [(1000, 150)]
    assert daily.path == "M0.0 0.0L500.0 100.0"
    assert plot.sizes == ("1000 B", "500 B", "0")
    assert (plot.dates[0], plot.dates[-1]) == ("20 Nov 2026", "24 Nov 2026")
    assert charts.plot([], NOW, BERLIN).lines == ()
    (early,) = charts.plot(catalog.read(objects(-1, 1)).archives, NOW, BERLIN).lines
    assert [x for x, _, _ in early.dots] == [0, charts.WIDTH]


def test_a_long_line_is_thinned_out() -> None:
    plot = charts.plot(catalog.read(objects(*range(1000))).archives, NOW, BERLIN)
    assert 30 < len(plot.lines[0].dots) <= charts.MOST_DOTS
    assert plot.lines[0].dots[-1][0] == charts.WIDTH


def test_storage_is_drawn_against_the_cap_of_each_application(project: Configure) -> None:
    database = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    settings = config.load(
        project(
            retention={"delete_oldest_above_megabytes": 4},
            applications={
                "Shop": database,
                "Books": database,
                "Own": database | {"retention": {"delete_oldest_above_megabytes": 1}},
                "Free": database | {"retention": {"delete_oldest_above_megabytes": None}},
            },
        )
    )
    mib = 1 << 20
    listing = [
        *objects(1, size=mib),
        *objects(1, size=mib, application="Books"),
        *objects(1, size=mib, application="Books", kind="application"),
        *objects(1, size=2 * mib, application="Own"),
        *objects(1, size=mib, application="Free"),
        *objects(1, size=mib, application="Not in the settings"),
    ]
    laid = charts.bars(settings, [reading("disk", *listing), Reading("offsite", trouble="down")])
    own, books, free, shop = laid  # what is over its cap comes first
    assert (shop.application, shop.destination, shop.text, shop.over) == ("Shop", "disk", "1.0 MiB of 4.0 MiB", False)
    assert (books.application, books.destination, books.text, books.over) == (
        "Books",
        "disk",
        "2.0 MiB of 4.0 MiB",
        False,
    )
    assert books.parts == (("application", 0, 25), ("database", 25, 25))
    assert (own.application, own.destination, own.text, own.cap, own.over) == (
        "Own",
        "disk",
        "2.0 MiB of 1.0 MiB",
        50,
        True,
    )
    assert (free.application, free.destination, free.text, free.cap) == ("Free", "disk", "1.0 MiB, no cap", None)
