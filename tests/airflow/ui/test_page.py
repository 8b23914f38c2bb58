"""The page as Airflow's API server serves it: who may see it, and what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import timeit
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.ui import app
from lifeboat.ui.app import STATIC, backups_app
from lifeboat.ui.readings import Reading, Readings, read_destination
from markupsafe import escape
from starlette.routing import Route

from include.demo import pictures
from tests.airflow.ui.conftest import Login, prove, publish
from tests.conftest import Configure

FRAGMENTS = ["", "answers", "runs", "destinations/disk", "archives", "plans/disk", "recovery"]
HOSTILE = """<script>alert("x")</script> & 'y'"""


def paths() -> list[str]:
    """Return a path for every route of the page."""
    values = {"{name}": "disk"}
    routes = [route.path for route in backups_app().routes if isinstance(route, Route)]
    return [path.replace(name, value).lstrip("/") for path in routes for name, value in values.items()]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy, a bucket answers late."""
    monkeypatch.setattr(app, "PATIENCE_SECONDS", 20)


def served(client: TestClient, path: str, **query: Any) -> str:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    text: str = answer.text
    return text


def test_airflow_knows_the_page(airflow: FastAPI, login: Login) -> None:
    token = login("viewer").headers["Authorization"]
    answer = TestClient(airflow, headers={"Authorization": token}).get("/api/v2/plugins")
    (plugin,) = [plugin for plugin in answer.json()["plugins"] if plugin["name"] == "lifeboat"]
    assert [view["url_route"] for view in plugin["external_views"]] == ["backups"]
    assert [app["url_prefix"] for app in plugin["fastapi_apps"]] == ["/lifeboat"]


def test_nobody_reads_anything_without_a_login(project: Configure, login: Login) -> None:
    project()
    found = paths()
    assert len(found) >= 9
    for path in [*found, *(f"static/{name}" for name in STATIC)]:
        assert login("").get(path).status_code == 401, path


def test_settings_that_are_wrong_are_not_told_to_strangers(project: Configure, login: Login) -> None:
    project(destinations={})
    for path in paths():
        assert login("").get(path).status_code == 401, path


def test_a_viewer_reads_everything(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    (key,) = publish(tmp_path / "disk", 0.1)
    client = login("viewer")
    for path in [*FRAGMENTS, "metrics", f"contents?key={quote(key)}", *(f"static/{name}" for name in STATIC)]:
        assert client.get(path).status_code == 200, path


def test_whoever_may_not_see_plugins_may_not_see_the_page(
    project: Configure, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    project()
    client = login("viewer")
    monkeypatch.setattr(SimpleAuthManager, "is_authorized_view", lambda *_, **__: False)
    for path in paths():
        assert client.get(path).status_code == 403, path


@pytest.mark.parametrize(("user", "may"), [("viewer", False), ("user", True), ("admin", True)])
def test_the_page_knows_what_airflow_lets_a_user_trigger(
    project: Configure, login: Login, user: str, may: bool
) -> None:
    project()
    (dags,) = re.findall(r'data-may="(.*?)"', served(login(user), ""))
    assert ("restore_database" in dags.split()) is may
    assert ("backup_database" in dags.split()) is may


def test_no_answer_needs_an_exception_from_the_content_security_policy(
    project: Configure, login: Login, tmp_path: Path
) -> None:
    project()
    (key,) = publish(tmp_path / "disk", 0.1)
    client = login()
    for path in [*FRAGMENTS, f"contents?key={quote(key)}"]:
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?://", answer.text), path


def test_names_and_notes_are_text(project: Configure, login: Login, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "|")
    project(applications={name: {"databases": [{"name": HOSTILE, "connection": "shop_db"}]}})
    (key,) = publish(tmp_path / "disk", 0.1, application=name, note=HOSTILE)
    client = login("admin")
    pages = [served(client, path) for path in FRAGMENTS] + [served(client, "contents", key=key)]
    assert "alert" in pages[-1]
    assert not any("<script>" in page for page in pages)
    isolated = f"<bdi>{escape(name)}</bdi>"  # a name from elsewhere may turn the direction of writing
    assert [p for p in FRAGMENTS if p not in ("", "plans/disk") and isolated not in pages[FRAGMENTS.index(p)]] == []
    (conf, *_) = re.findall(r'data-conf="(\{&#34;application.*?)"', served(client, "recovery"))
    assert json.loads(conf.replace("&#34;", '"'))["application"] == name


def test_an_unknown_name_is_not_found(project: Configure, login: Login) -> None:
    project()
    client = login()
    for path in ("destinations/else", "plans/else", "static/app.py", "static/..%2fapp.py", "contents?key=x", "else"):
        assert client.get(path).status_code == 404, path


def test_healthy_backups_are_called_so(project: Configure, login: Login, tmp_path: Path) -> None:
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    publish(tmp_path / "disk", 0.1, 1.1)
    client = login()
    assert "Yes" in served(client, "answers")
    assert "2 archives" in served(client, "answers")
    card = served(client, "destinations/disk")
    assert "2 hours old" in card
    assert "Never proven" in card


def test_a_pool_that_airflow_lacks_is_told(project: Configure, login: Login) -> None:
    shop = {"name": "shop", "connection": "shop_db", "pool": "not_made"}
    project(applications={"Shop": {"databases": [shop]}}, pools={"not_made": 1})
    assert "Airflow has no pool &#39;not_made&#39;, so tasks in it never begin" in served(login(), "answers")


def test_a_finding_stands_where_it_is_seen_first(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    publish(tmp_path / "disk", 1.5)
    answers = served(login(), "answers")
    assert '<p class="headline">No</p>' in answers
    assert "the newest database archive is 36.0 hours old, more than 30.0 hours" in answers
    assert "there is no database archive yet" in answers


def test_a_newcomer_is_told_what_to_do_first(project: Configure, login: Login, tmp_path: Path) -> None:
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    answers = served(login("admin"), "answers")
    assert "There is no archive at any destination" in answers
    assert "First steps" in answers
    assert "there is no database archive yet" in answers


def test_first_steps_go_on_until_every_kind_has_arrived(project: Configure, login: Login, tmp_path: Path) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(tmp_path / "app")}}
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}}, applications={"Shop": shop})
    publish(tmp_path / "disk", 0.1)
    half = served(login("admin"), "answers")
    assert '<p class="headline">No</p>' in half
    assert 'data-dag="backup_application"' in half
    assert 'data-dag="backup_database"' not in half, "that is done"
    publish(tmp_path / "disk", 0.1, kind="application")
    backups_app().state.readings = Readings()
    whole = served(login("admin"), "answers")
    assert '<p class="headline">Yes</p>' in whole
    assert "First steps" not in whole
    assert 'data-dag="backup_application"' in served(login("admin"), ""), "and there is a button for the next one"


def test_a_proof_tells_how_long_a_restore_took(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    old, new = publish(tmp_path / "disk", 3, 0.1)
    proven_at = datetime.now(UTC) - timedelta(days=9)
    prove(tmp_path / "disk", old, proven_at, 75.2)
    client = login()
    assert "In 1 min 15 s" in served(client, "answers")
    assert "Proven 9 days ago, recovered in 1 min 15 s" in served(client, "destinations/disk")
    assert served(client, "archives", proven="yes").count("<tr data-keep") == 1
    assert old in served(client, "archives", proven="yes")
    assert new not in served(client, "archives", proven="yes")


def test_the_plan_names_what_stays_beside_a_damaged_archive(project: Configure, login: Login, tmp_path: Path) -> None:
    project(retention={"keep_all_for_days": 0})
    _, bad = publish(tmp_path / "disk", 3000, 0.1)
    (tmp_path / "disk" / f"{bad}.damaged.json").write_text("{}")
    shown = served(login(), "plans/disk")
    assert f"newest whole database archive: {bad} is damaged" in shown
    assert "Deletes <strong>nothing</strong>" in shown


def test_a_broken_destination_says_so_and_the_others_stay(project: Configure, login: Login, tmp_path: Path) -> None:
    project(
        destinations={
            "good": {"type": "disk", "path": str(tmp_path / "good")},
            "bad": {"type": "disk", "path": str(tmp_path / "bad")},
        }
    )
    publish(tmp_path / "good", 0.1)
    (tmp_path / "bad").rename(tmp_path / "unmounted")
    client = login()
    assert "healthy" in served(client, "destinations/good")
    card = served(client, "destinations/bad")
    assert "its disk is not mounted" in card
    assert "Nothing is deleted where nothing can be read" in served(client, "plans/bad")
    assert "Without <bdi>bad</bdi>" in served(client, "archives")
    assert "its disk is not mounted" in served(client, "answers")


def test_a_silent_destination_holds_nothing_up(
    project: Configure, login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setattr(app, "PATIENCE_SECONDS", 1)
    publish(tmp_path / "disk", 0.1)
    client = login()

    def look(name: str, settings: Settings) -> Reading:
        if name == "offsite":
            time.sleep(20)
        return read_destination(name, settings)

    backups_app().state.readings = Readings(look)
    started = time.monotonic()
    answers = client.get("answers")
    assert time.monotonic() - started < 3
    assert answers.headers["Retry-After"]
    assert "offsite has not answered so far" in answers.text
    assert pictures.READING.removeprefix("text=") in answers.text
    assert "healthy" in served(client, "destinations/disk")
    silent = client.get("destinations/offsite")
    assert "no answer" in silent.text
    assert silent.headers["Retry-After"]
    started = time.monotonic()
    assert "not answered" in client.get("plans/offsite").text
    assert time.monotonic() - started < 1, "whoever asks later does not wait again"


def test_a_page_lists_every_destination_once(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    publish(tmp_path / "disk", 0.1)
    looks: Counter[str] = Counter()

    def look(name: str, settings: Settings) -> Reading:
        looks[name] += 1
        return read_destination(name, settings)

    client = login()
    backups_app().state.readings = Readings(look)
    for path in [*FRAGMENTS, "plans/offsite", "destinations/offsite", "metrics"]:
        served(client, path)
    assert looks == {"disk": 1, "offsite": 1}
    time.sleep(1.1)
    served(client, "answers", fresh=True)
    assert looks == {"disk": 2, "offsite": 2}


def test_the_plan_can_be_tried_with_another_policy(project: Configure, login: Login, tmp_path: Path) -> None:
    path = project()
    before = path.read_bytes()
    publish(tmp_path / "disk", 0.1, 1.1, 2.1, 3.1)
    client = login()
    assert "Deletes <strong>nothing</strong>" in served(client, "plans/disk")
    numbers = {
        "keep_all_for_days": 1,
        "keep_daily_for_days": 0,
        "keep_weekly_for_weeks": 0,
        "keep_monthly_for_months": 0,
        "keep_yearly_for_years": 0,
        "delete_oldest_above_megabytes": "",
    }
    tried = served(client, "plans/disk", **numbers)
    assert "Deletes <strong>3 archives</strong>" in tried
    assert "3 more, 0 fewer" in tried
    assert "older than every window" in tried
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"keep_all_for_days": "seven"}, "keep_all_for_days: must be a whole number"),
        ({"keep_all_for_days": ""}, "keep_all_for_days: must be a whole number"),
        ({"keep_all_for_days": "-1"}, "keep_all_for_days: must be at least 0"),
        (
            {"delete_oldest_above_megabytes": "0"},
            "delete_oldest_above_megabytes: must be at least 1",
        ),
        (
            {f"keep_{name}": "0" for name in ("all_for_days", "daily_for_days", "weekly_for_weeks")}
            | {"keep_monthly_for_months": "0", "keep_yearly_for_years": "0"},
            "keeps only the newest",
        ),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_in_words(
    project: Configure, login: Login, numbers: dict[str, str], told: str
) -> None:
    project()
    answer = login().get("plans/disk", params=numbers)
    assert answer.status_code == 422
    assert told in answer.text


def test_the_plan_is_made_for_the_time_of_the_clean_up(project: Configure, login: Login, tmp_path: Path) -> None:
    project(
        retention={
            "keep_all_for_days": 2,
            "keep_daily_for_days": 0,
            "keep_weekly_for_weeks": 0,
            "keep_monthly_for_months": 0,
            "keep_yearly_for_years": 0,
        }
    )
    publish(tmp_path / "disk", 0.1, 1.9)
    client = login()
    tonight = datetime.now(UTC) + timedelta(hours=6)
    assert "Deletes <strong>nothing</strong>" in served(client, "plans/disk")
    assert "Deletes <strong>1 archive</strong>" in served(client, "plans/disk", at=tonight.isoformat())
    assert "Frees " in served(client, "answers", at=tonight.isoformat())
    assert "No clean-up is due." in served(client, "answers")
    for senseless in ("2000-01-01T00:00:00Z", "9999-01-01T00:00:00Z", tonight.replace(tzinfo=None).isoformat()):
        assert "Deletes <strong>nothing</strong>" in served(client, "plans/disk", at=senseless)


def test_contents_are_totals_and_a_note(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    totals = {"databases": 1, "tables": 12, "rows": 1234567, "sql_bytes": 5 << 20, "warnings": 0}
    (key,) = publish(tmp_path / "disk", 0.1, note="before the move", totals=totals)
    contents = served(login(), "contents", key=key)
    for text in ("before the move", "1,234,567", "5.0 MiB", "AES-256", f"lifeboat verify {key}", "7z x -orestored"):
        assert text in contents


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_keys_and_markers_that_make_no_sense_break_no_page(
    project: Configure, login: Login, tmp_path: Path, zone: str
) -> None:
    project(timezone=zone)
    (key,) = publish(tmp_path / "disk", 0.1, totals={"rows": None, "tables": "all"})
    marker = (tmp_path / "disk" / f"{key}.json").read_bytes()
    for day in ("0001-01-01-00-00-00", "9999-12-31-23-59-59"):
        archive = tmp_path / "disk" / "Shop" / "database" / f"{day}.zip"
        archive.write_bytes(b"an archive")
        archive.with_name(f"{archive.name}.json").write_bytes(marker)
    client = login()
    for path in FRAGMENTS:
        served(client, path)
    assert "in the future" in served(client, "archives")
    assert "9999" not in served(client, "recovery")
    assert "its marker cannot be read at disk" in served(client, "contents", key=key)
    assert "lifeboat_archives{" in served(client, "metrics")


def test_what_is_not_in_the_settings_cannot_be_restored_from_here(
    project: Configure, login: Login, tmp_path: Path
) -> None:
    project()
    publish(tmp_path / "disk", 0.1)
    publish(tmp_path / "disk", 0.2, application="Gone")
    client = login()
    assert "data-obstacle" not in served(client, "archives", application="Shop")
    listed = served(client, "archives", application="Gone")
    assert "not in the settings</span>" in listed
    assert listed.count('data-obstacle="Gone is not in the settings') == 1


def test_settings_that_are_wrong_are_told_in_words(project: Configure, login: Login) -> None:
    project(retension={})
    client = login()
    page = served(client, "")
    assert "retension: unknown key, did you mean &#39;retention&#39;?" in page
    fragment = client.get("answers")
    assert fragment.status_code == 422
    assert "retension" in fragment.text


def test_settings_are_read_anew_when_the_file_changes(project: Configure, login: Login, tmp_path: Path) -> None:
    project()
    client = login()
    assert "destinations/other" not in served(client, "")
    time.sleep(0.01)
    project(destinations={"other": {"type": "disk", "path": str(tmp_path / "disk")}})
    assert "destinations/other" in served(client, "")


def test_the_first_paint_is_little_more_than_the_listings(project: Configure, login: Login, tmp_path: Path) -> None:
    names = [f"disk{number}" for number in range(10)]
    project(destinations={name: {"type": "disk", "path": str(tmp_path / name)} for name in names})
    publish(tmp_path / names[0], *(number / 4 for number in range(1000)))
    for name in names[1:]:
        shutil.copytree(tmp_path / names[0] / "Shop", tmp_path / name / "Shop", copy_function=os.link)
    client, settings = login(), config.load()

    def listings() -> None:
        read = Readings().all(settings, patience=60)
        assert all(reading.found and len(reading.found.archives) == 1000 for reading in read.values())

    def paint() -> None:
        backups_app().state.readings = Readings()
        for path in ("", "answers", *(f"destinations/{name}" for name in names)):
            served(client, path)

    paint()  # loads the templates
    # The processor's time: what else the machine does makes both slower, and not alike.
    took = {work: min(timeit.repeat(work, timer=time.process_time, number=1, repeat=3)) for work in (listings, paint)}
    assert took[paint] < 3 * took[listings], took
