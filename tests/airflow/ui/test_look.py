"""The page in a browser without Airflow around it: many applications, narrow screens, destinations that are away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient
from lifeboat.airflow import params
from lifeboat.catalog.archives import LogWindow
from lifeboat.settings.config import Settings
from lifeboat.ui import airflow_runs, app
from lifeboat.ui.readings import Reading, Readings
from lifeboat.ui.runs import Known
from playwright.sync_api import Browser, Page, Route, expect

from tests.airflow.ui.conftest import objects, reading, violations, window, with_windows
from tests.airflow.ui.test_runs import MIB, dumping, run, task

ORIGIN = "http://airflow.test"
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
NAMES = [LONG, *(f"Application {number:02}" for number in range(1, 30))]
OLD = NAMES[17]  # its backup is late


class Look:
    """Reads destinations that hold an archive of each application, unless they are away.

    :param windows: of the logs of Shop, oldest first.
    """

    def __init__(self, windows: Sequence[LogWindow] = ()) -> None:
        self.away: set[str] = set()
        self.windows = windows
        self.now = datetime.now(UTC)

    def __call__(self, name: str, settings: Settings) -> Reading:
        if name in self.away:
            return Reading(name, trouble="It is down.")
        ages = {application: 2.5 if application == OLD else 0.1 for application in settings.applications}
        read = reading(
            name,
            *(stored for each, age in ages.items() for stored in objects(age, age + 1, application=each, now=self.now)),
        )
        return with_windows(read, *self.windows)


Show = Callable[..., tuple[Page, Look]]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> Iterator[Show]:
    """Open the page of some applications; the browser must have nothing to complain about."""
    complaints: list[str] = []
    monkeypatch.setattr(app, "_may_see", lambda *_: True)
    monkeypatch.setattr(app, "_may_trigger", lambda *_: True)
    monkeypatch.setattr(airflow_runs, "may_read", lambda *_: False)
    monkeypatch.setattr(app, "REFRESH_SECONDS", 0)
    monkeypatch.setenv("LIFEBOAT_CONFIG", str(tmp_path / "backup.yaml"))

    def open_page(*names: str, width: int = 1200, windows: Sequence[LogWindow] = ()) -> tuple[Page, Look]:
        database = {"databases": [{"name": "shop", "connection": "shop_db"}], "logs": bool(windows)}
        settings = {
            "timezone": "Asia/Tokyo",
            "staging": str(tmp_path / "staging"),
            "encryption": "none",
            "destinations": {each: {"type": "disk", "path": str(tmp_path / each)} for each in ("disk", "offsite")},
            "applications": dict.fromkeys(names, database),
        }
        (tmp_path / "backup.yaml").write_text(json.dumps(settings))
        look = Look(windows)
        served = app.create_app()
        served.state.readings = Readings(look)
        (guard,) = (each.dependency for each in app.page.dependencies)
        assert guard
        served.dependency_overrides = {guard: lambda: None, get_user: lambda: None}
        client = TestClient(served, ORIGIN)

        def answer(route: Route) -> None:
            address = urlsplit(route.request.url)
            if address.path.startswith("/lifeboat/"):
                told = client.get(f"{address.path.removeprefix('/lifeboat')}?{address.query}")
                route.fulfill(status=told.status_code, headers=dict(told.headers), body=told.content)
            else:
                route.fulfill(json=dags(app.settings(), address.path))

        page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**/*", answer)
        page.goto(f"{ORIGIN}/lifeboat/")
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        return page, look

    yield open_page
    for context in browser.contexts:
        context.close()
    assert complaints == []


def dags(settings: Settings, path: str) -> dict[str, Any]:
    """Answer as Airflow's API does: with all DAGs, or one in detail."""
    if not path.endswith("/details"):
        return {"dags": [{"dag_id": dag_id, "is_paused": False} for dag_id in app.ACTIONS]}
    fields = params.restore_params(settings, files=False)
    return {"dag_id": "restore_database", "params": {name: field.dump() for name, field in fields.items()}}


@pytest.mark.parametrize("width", [390, 1200])
def test_thirty_applications_fit_and_trouble_comes_first(show: Show, width: int) -> None:
    page, _ = show(*NAMES, width=width)
    card = page.locator("#safe article").first
    expect(card.locator(".safety").first).to_contain_text(OLD)
    expect(card.locator("section.safety")).to_have_count(1)
    folded = card.locator("details.safety")
    expect(folded).to_have_count(29)
    lines = folded.evaluate_all("all => all.map(each => each.getBoundingClientRect().height)")
    assert sorted(lines)[-2] < 40, "all but the long name take a line"
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("Find an application").fill("application 2")
    expect(card.locator(".safety:visible")).to_have_count(10)
    expect(page.locator("#recovery article:visible")).to_have_count(10)
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    expect(page.locator("#recovery article:visible")).to_have_count(10)


def test_every_time_is_one_of_the_zone_that_the_page_names(show: Show) -> None:
    page, _ = show("Shop")
    expect(page.get_by_text("Times are in Asia/Tokyo")).to_be_visible()
    captured = page.locator("table.archives time").first
    moment = datetime.fromisoformat(captured.get_attribute("datetime") or "")
    expect(captured).to_have_text(f"{moment + timedelta(hours=9):%Y-%m-%d %H:%M}")
    assert "UTC" not in page.locator("main").inner_text()


def test_a_destination_that_is_away_keeps_what_it_told_last(show: Show) -> None:
    page, look = show("Shop")
    for names, count in (({"offsite"}, 1), ({"offsite", "disk"}, 2)):
        look.away = names
        page.get_by_role("button", name="Refresh").click()
        expect(page.locator("#safe article", has_text="It is down. What follows is as of")).to_have_count(count)
    safety = page.locator("#safe article[aria-label=offsite] .safety")
    expect(safety).to_contain_text("2 hours old")
    expect(safety.locator("h4")).to_have_css("filter", "grayscale(1)")
    expect(page.locator("table.archives tr.stale")).to_have_count(2)
    expect(page.locator("#recovery")).to_contain_text("offsite does not answer: what it holds is as of")
    expect(page.locator("#recovery pre").first).to_contain_text("lifeboat restore")
    look.away = set()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("as of")).to_have_count(0)


def test_moments_that_can_be_restored_are_drawn_with_their_gaps(show: Show) -> None:
    now = datetime.now(UTC)
    (oldest, *_, newest) = moments = [window(now, 5, 3), window(now, 2, 0.01)]
    page, _ = show("Shop", windows=moments)
    told = page.locator("#recovery article .moments")
    expect(told).to_have_count(1)
    expect(told).to_contain_text("at disk, offsite; up to 14 minutes ago")
    times = [each.get_attribute("datetime") for each in told.locator("time").all()]
    assert times == [each.isoformat() for each in (oldest.since, oldest.until, newest.since, newest.until)]
    drawn = [each.bounding_box() for each in told.locator("svg .fill").all()]
    assert all(drawn)
    first, second = (each for each in drawn if each)
    assert first["x"] + first["width"] + 20 < second["x"]
    told.get_by_role("button", name="Restore to a moment…").click()
    expect(page.get_by_label("Until")).to_have_value("latest")
    assert violations(page) == []


def test_a_running_dump_shows_how_far_it_is(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    page, _ = show("Shop")
    active = run("running", dumping(total=400 * MIB), task("Shop.archive", ""))
    monkeypatch.setattr(airflow_runs, "may_read", lambda _request, _user, dag_id: dag_id == active.dag_id)
    monkeypatch.setattr(airflow_runs, "read", lambda *_: Known({active.dag_id: [active]}))
    page.get_by_role("button", name="Refresh").click()
    step = page.locator("#now .steps li")
    expect(step).to_contain_text("Dumping shop: 300.0 MiB of 400.0 MiB (75 %), 30.0 MiB/s, about 3.3 s left")
    expect(step.locator("svg.gauge")).to_be_visible()
    expect(step.get_by_role("link", name="Log of Shop: dump shop")).to_be_visible()
    assert violations(page) == []


def test_what_replaces_something_is_red_and_asks_again(show: Show) -> None:
    page, _ = show("Shop")
    page.get_by_role("group", name="Actions").get_by_role("button", name="Restore…").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_label("Application")).to_have_value("Shop")
    described = "all => all.every(each => document.getElementById(each.getAttribute('aria-describedby'))?.textContent)"
    assert page.locator("#what-if [name], dialog [name]").evaluate_all(described)
    apart = form.get_by_role("group", name=params.DANGER)
    normal = form.get_by_role("group", name="Databases").first.evaluate("each => getComputedStyle(each).borderColor")
    expect(apart).not_to_have_css("border-color", normal)
    apart.get_by_label("Databases to replace").fill("shop\nstock")
    sure = apart.get_by_label("Yes, replace shop, stock.")
    sure.check()
    apart.get_by_label("Databases to replace").fill("shop")
    expect(apart.get_by_label("Yes, replace shop.")).not_to_be_checked()
    assert not form.locator("form").evaluate("form => form.checkValidity()")
    apart.get_by_label("Databases to replace").fill("")
    assert form.locator("form").evaluate("form => form.checkValidity()")


def restore_form(page: Page, _: Look) -> None:
    page.get_by_role("group", name="Actions").get_by_role("button", name="Restore…").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def everything_opened(page: Page, _: Look) -> None:
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")


def destinations_away(page: Page, look: Look) -> None:
    look.away = {"disk", "offsite"}
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#safe article", has_text="as of")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("names", "width", "state"),
    [(NAMES[:3], 390, everything_opened), (["Shop"], 1200, restore_form), (["Shop"], 390, destinations_away)],
    ids=["opened", "form", "away"],
)
def test_axe_finds_nothing(
    show: Show, names: list[str], width: int, state: Callable[[Page, Look], None], scheme: Literal["light", "dark"]
) -> None:
    page, look = show(*names, width=width)
    page.emulate_media(color_scheme=scheme)
    state(page, look)
    assert violations(page) == []
