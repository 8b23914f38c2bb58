"""The page in a browser, inside Airflow's own UI, with real logins and a real scheduler."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Locator, Page, Route, expect

from include.demo.stand_ins import MariaDB
from include.demo.standalone import Standalone
from tests import command
from tests.airflow.test_scheduler import wait_for
from tests.airflow.ui.conftest import USERS, publish, violations
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, disk_destination, where_it_is_noon

pytestmark = pytest.mark.timeout(600)

DAY_AGES = [number + 0.1 for number in range(5)]
SQL = "CREATE TABLE customers (id INT PRIMARY KEY, name TEXT); INSERT INTO customers VALUES (1, 'Zoë'), (2, 'Ada');"


@dataclass(frozen=True)
class Site:
    """Airflow with the page, and the two directories of its destinations."""

    airflow: Standalone
    local: Path
    second: Path


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, airflow_database: dict[str, str]
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    mariadb.run("CREATE DATABASE page_shop")
    mariadb.run(SQL, "page_shop")
    local, second = home / "local", home / "second"
    for root in (local, second):
        disk_destination(root.name, root)
        publish(root, *DAY_AGES, note="from the past")
    settings = {
        "timezone": where_it_is_noon(),
        "staging": str(home / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {root.name: {"type": "disk", "path": str(root)} for root in (local, second)},
        "applications": {"Shop": {"databases": [{"name": "page_shop", "connection": "shop_db"}]}},
        "health": {"size_factor": None},
        "restore": {"require_approval": True},
    }
    (home / "backup.yaml").write_text(json.dumps(settings))
    (home / "airflow").mkdir()
    variables = airflow_database | {
        "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW_CONN_SHOP_DB": mariadb.connection(),
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
    }
    with Standalone(variables, home / "airflow.log", users=USERS) as airflow:
        yield Site(airflow, local, second)


@dataclass
class Visit:
    """A user's visit to the page inside Airflow's UI, and whatever the browser complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def frame(self) -> Frame:
        """The page itself."""
        (frame,) = self.page.main_frame.child_frames
        return frame


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def cookies() -> dict[str, Any]:
    """What browsers keep of users who have logged in."""
    return {}


@pytest.fixture
def visit(site: Site, browser: Browser, cookies: dict[str, Any]) -> Iterator[Open]:
    """Log a user in once, as people do, and open the page; in the end, the browser must have nothing to complain about.

    Each visit is a browser of its own that has nothing but the login.
    """
    visits: list[tuple[BrowserContext, Visit]] = []

    def open_as(user: str, **options: Any) -> Visit:
        context = browser.new_context(base_url=site.airflow.base, **options)
        page = context.new_page()
        made = Visit(page)
        visits.append((context, made))
        if user not in cookies:
            log_in(page, user)
            cookies[user] = context.cookies()
        context.add_cookies(cookies[user])
        page.on("console", lambda told: made.complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.on("request", lambda asked: _only_our_own(site, asked.url, made.complaints))
        page.goto("/plugin/backups")
        page.frame_locator("iframe").get_by_role("heading", name="Backups").wait_for()
        return made

    yield open_as
    for context, made in visits:
        context.close()
        assert made.complaints == []


def log_in(page: Page, user: str) -> None:
    page.goto("/auth/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(user)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "/auth/login" not in address)


def _only_our_own(site: Site, address: str, complaints: list[str]) -> None:
    if not address.startswith((site.airflow.base, "data:", "blob:")):
        complaints.append(f"asked {address}")


def nothing_for_axe(visited: Visit) -> None:
    """Expect that everybody can use what is shown, in both of Airflow's themes."""
    for theme in ("dark", "light"):
        visited.page.evaluate("theme => { document.documentElement.className = theme }", theme)
        expect(visited.frame.locator("html")).to_have_attribute("data-theme", theme)
        assert violations(visited.frame) == [], theme


def answer(frame: Frame, question: str) -> Any:
    return frame.locator(".answer", has_text=question).locator(".headline")


def archives(frame: Frame) -> Any:
    return frame.locator("table.archives caption")


def test_the_page_answers_inside_airflow(visit: Open) -> None:
    visited = visit("admin")
    visited.page.get_by_role("link", name="Backups").first.wait_for()
    frame = visited.frame
    expect(answer(frame, "Are we safe?")).to_have_text("No")  # nothing but this:
    expect(frame.locator(".attention li")).to_have_count(6)
    expect(frame.locator(".attention")).to_contain_text("backup_database is paused; unpause it in Airflow")
    expect(answer(frame, "What do we have?")).to_have_text("5 archives")
    expect(answer(frame, "What will tonight delete?")).to_have_text("Nothing")
    expect(answer(frame, "How do I get it back?")).to_have_text("Unproven")
    expect(frame.get_by_role("article", name="local").first).to_contain_text("2 hours old of 30 hours")
    expect(frame.locator("[data-next=backup_database]")).to_contain_text("paused")
    expect(frame.locator("[data-next=restore_drill]")).to_contain_text("paused")


def test_the_page_follows_airflows_theme(visit: Open) -> None:
    visited = visit("viewer", color_scheme="light")
    whole = visited.frame.locator("html")
    expect(whole).to_have_css("background-color", "rgb(255, 255, 255)")
    visited.page.evaluate("document.documentElement.className = 'dark'")
    expect(whole).not_to_have_css("background-color", "rgb(255, 255, 255)")
    visited.page.evaluate("document.documentElement.className = 'light'")
    expect(whole).to_have_css("background-color", "rgb(255, 255, 255)")


def test_a_page_of_its_own_follows_the_browser(visit: Open) -> None:
    visited = visit("viewer", color_scheme="dark")
    visited.page.goto("/lifeboat/")
    assert visited.page.evaluate("document.documentElement.dataset.theme") is None
    dark = visited.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    visited.page.emulate_media(color_scheme="light")
    assert visited.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark


def test_nothing_is_wider_than_the_screen(visit: Open) -> None:
    visited = visit("viewer", viewport={"width": 360, "height": 800})
    frame = visited.frame
    archives(frame).wait_for(state="attached")
    frame.get_by_role("button", name="Contents").first.click()
    frame.get_by_text("from the past").wait_for()
    wider = "element => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.scroll, thead')"
    too_wide = f"[...document.body.querySelectorAll('*')].filter({wider}).map(each => each.outerHTML)"
    for width in (360, 768, 1400, 2500):
        visited.page.set_viewport_size({"width": width, "height": 800})
        visited.page.wait_for_function(f"innerWidth === {width}")
        assert frame.evaluate(too_wide) == [], width
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_another_policy_changes_the_plan_and_nothing_else(site: Site, visit: Open) -> None:
    visited = visit("viewer")
    frame = visited.frame
    plan = frame.locator("#tonight article[aria-label=local]")
    expect(plan).to_contain_text("Deletes nothing")
    frame.get_by_text("Try a different policy").click()
    frame.get_by_label("All, for days").fill("1")
    for label in ("Then daily, for days", "Then weekly, for weeks", "Then monthly, for months"):
        frame.get_by_label(label).fill("0")
    expect(plan).to_contain_text("Deletes 3 archives")
    expect(plan).to_contain_text("3 more, 0 fewer")
    frame.get_by_label("All, for days").fill("a few")
    expect(frame.get_by_role("alert")).to_contain_text("keep_all_for_days: must be a whole number")
    assert frame.get_by_label("All, for days").get_attribute("aria-invalid") == "true"
    frame.get_by_role("button", name="Back to the settings").click()
    expect(plan).to_contain_text("Deletes nothing")
    expect(frame.locator("#what-if-error")).to_be_hidden()
    assert all("422" in complaint for complaint in visited.complaints)
    visited.complaints.clear()
    assert len(list(site.local.rglob("*.zip"))) == len(DAY_AGES)


def test_filters_choose_what_is_listed(visit: Open) -> None:
    frame = visit("viewer").frame
    expect(archives(frame)).to_have_text("5 archives, newest first")
    frame.get_by_label("Proven to restore").select_option("Proven")
    expect(frame.get_by_text("No matching archives.")).to_be_visible()
    frame.get_by_label("Proven to restore").select_option("All")
    expect(archives(frame)).to_have_text("5 archives, newest first")


def test_restore_leads_to_a_form_that_is_filled_with_the_archive(site: Site, visit: Open) -> None:
    frame = visit("admin").frame
    key = sorted(path.relative_to(site.local).as_posix() for path in site.local.rglob("*.zip"))[-2]
    frame.locator("table.archives").get_by_role("button", name="Restore…").nth(1).click()
    form = frame.get_by_role("dialog", name="Restore")
    expect(form).to_contain_text("This triggers restore_database. This DAG is paused")
    expect(form.get_by_label("application")).to_have_value("Shop")
    expect(form.locator("[name=archive]")).to_have_value(key)
    expect(form.get_by_label("Compare afterwards")).to_be_checked()
    form.get_by_role("group", name="Databases").get_by_label("page_shop").check()
    apart = form.get_by_role("group", name="Replace what is there")
    expect(apart.get_by_role("checkbox")).to_be_hidden()
    apart.get_by_label("Databases to replace").fill("page_shop\n  \n")
    form.get_by_role("button", name="Start").click()
    expect(form).to_be_visible()  # nobody has confirmed
    apart.get_by_label("Yes, replace page_shop.").check()
    form.get_by_role("button", name="Start").click()
    run = frame.locator("table.archives tr[data-keep]").nth(1).locator("+ tr.attached")
    expect(run).to_contain_text("restore_database")
    expect(run.locator(".badge")).to_have_text("failed", timeout=120_000)  # the past of this site is made up
    expect(run).to_contain_text("cannot be restored as asked")
    expect(run.get_by_role("link", name="Log of select")).to_be_visible()
    expect(frame.locator("#now .strips")).to_contain_text("0 of 1 run succeeded")
    (run,) = site.airflow.api("GET", "dags/restore_database/dagRuns")["dag_runs"]
    assert run["triggering_user_name"] == "admin"
    assert run["conf"] == {
        "application": "Shop",
        "archive": key,
        "destination": "local",
        "databases": ["page_shop"],
        "into": None,
        "overwrite": ["page_shop"],
        "compare": True,
        "table": None,
        "until": None,
    }


def open_action(frame: Frame, name: str) -> Locator:
    """Open the form behind a button at the top of the page."""
    frame.get_by_role("group", name="Actions").get_by_role("button", name=name).click()
    return frame.get_by_role("dialog")


def test_what_airflow_refuses_is_told_in_the_form_and_sets_no_schedule_going(site: Site, visit: Open) -> None:
    site.airflow.api("PATCH", "dags/restore_database", is_paused=True)
    visited = visit("admin")
    frame = visited.frame
    form = open_action(frame, "Restore…")
    form.locator("form").evaluate("form => { form.noValidate = true }")
    archive = form.locator("[name=archive]")
    expect(archive).to_have_value("latest")
    archive.fill("")
    form.get_by_role("button", name="Start").click()
    expect(form.get_by_role("alert")).to_contain_text("Invalid input for param archive")
    visited.page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(frame.get_by_role("group", name="Actions").get_by_role("button", name="Restore…")).to_be_focused()
    assert site.airflow.api("GET", "dags/restore_database")["is_paused"]
    assert all("400" in complaint for complaint in visited.complaints)
    visited.complaints.clear()


def test_what_was_read_last_stays_while_airflow_does_not_answer(visit: Open) -> None:
    visited = visit("viewer")
    recovery = visited.frame.locator("#recovery [data-src]")
    expect(recovery).to_contain_text("lifeboat restore")
    visited.page.route("**/lifeboat/recovery*", lambda route: route.abort())
    visited.frame.get_by_role("button", name="Refresh").click()
    expect(recovery.locator(".as-of")).to_contain_text("Airflow does not answer. This is as of ")
    expect(recovery).to_contain_text("lifeboat restore")
    visited.page.unroute("**/lifeboat/recovery*")
    visited.frame.get_by_role("button", name="Refresh").click()
    expect(recovery.locator(".as-of")).to_have_count(0)
    assert all("ERR_FAILED" in complaint for complaint in visited.complaints)
    visited.complaints.clear()


def test_a_run_that_waits_for_its_dag_says_so(site: Site, visit: Open) -> None:
    visited = visit("admin")
    visited.page.route("**/api/v2/dags/alert_test", lambda route: route.fulfill(status=403, json={"detail": "No."}))
    form = open_action(visited.frame, "Send a test alert")
    form.get_by_role("button", name="Start").click()
    expect(visited.frame.locator("#runs")).to_contain_text("the run waits until somebody unpauses it")
    (run,) = site.airflow.api("GET", "dags/alert_test/dagRuns")["dag_runs"]
    assert run["state"] == "queued"
    assert all("403" in complaint for complaint in visited.complaints)
    visited.complaints.clear()


def test_the_installation_is_tried_by_a_button(site: Site, visit: Open) -> None:
    frame = visit("admin").frame
    form = open_action(frame, "Check the installation")
    expect(form).to_contain_text("This triggers doctor.")
    form.get_by_role("button", name="Start").click()
    expect(frame.locator("#runs .badge")).to_have_text("success", timeout=180_000)
    (run,) = site.airflow.api("GET", "dags/doctor/dagRuns")["dag_runs"]
    assert run["triggering_user_name"] == "admin"


def test_the_form_keeps_the_rules_of_the_parameters(visit: Open) -> None:
    visited = visit("admin")

    def several_applications(route: Route) -> None:
        answer = route.fetch()
        dag = answer.json()
        dag["params"]["application"] |= {"value": None}
        dag["params"]["application"]["schema"]["enum"] = ["Books", "Shop"]
        dag["params"]["archive"]["schema"] |= {"pattern": "^[a-z]", "maxLength": 8}
        own = {"Books": ["books"], "Shop": ["shop", "stock"]}
        dag["params"]["databases"]["schema"] |= {"examples": ["books", "shop", "stock"], "by_application": own}
        route.fulfill(response=answer, json=dag)

    visited.page.route("**/dags/restore_database/details", several_applications)
    form = open_action(visited.frame, "Restore…")
    application, archive = form.get_by_label("application"), form.locator("[name=archive]")
    expect(application).to_have_value("")
    valid = "element => element.validity.valid"
    assert not application.evaluate(valid), "nobody restores what only happens to come first"
    form.get_by_role("button", name="Start").click()
    expect(form).to_be_visible()
    databases = form.get_by_role("group", name="Databases").get_by_role("checkbox")
    expect(databases).to_have_count(3)
    application.select_option("Books")
    databases.check()
    application.select_option("Shop")
    assert application.evaluate(valid)
    expect(databases).to_have_count(2)
    expect(databases.and_(form.locator(":checked"))).to_have_count(0)
    for text, fits in (("", False), ("Latest", False), ("latest", True)):
        archive.fill(text)
        assert archive.evaluate(valid) is fits, text
    archive.press_sequentially("est")
    expect(archive).to_have_value("latestes")


def test_airflows_own_form_asks_for_nothing_that_may_stay_empty(visit: Open) -> None:
    page = visit("admin").page
    page.goto("/dags/backup_database")
    page.get_by_role("button", name="Trigger").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("Kept in the manifest")
    expect(form.get_by_role("button", name="Trigger")).to_be_enabled()


def test_what_is_open_and_has_the_focus_stays_so_while_the_page_asks_again(visit: Open) -> None:
    visited = visit("viewer")
    page, frame = visited.page, visited.frame
    asked: list[float] = []

    def still_reading(route: Route) -> None:
        """Answer as where a destination hangs; and every answer is another one."""
        asked.append(time.monotonic())
        answer = route.fetch()
        body = f"<p>Answer {len(asked)}</p>{answer.text()}"
        route.fulfill(response=answer, body=body, headers=answer.headers | {"Retry-After": "1"})

    frame.get_by_role("button", name="Contents").nth(1).focus()
    page.keyboard.press("Enter")
    expect(frame.locator("tr.contents")).to_contain_text("from the past")
    passed = frame.locator("#safe article[aria-label=local] details")
    passed.evaluate("details => { details.open = true; details.kept = true }")
    page.route("**/lifeboat/archives?*", still_reading)
    frame.evaluate("load(document.querySelector('[data-src=archives]')); loadTheRest()")
    expect(frame.get_by_text("Answer 3")).to_be_visible()
    expect(frame.locator("tr.contents")).to_contain_text("from the past")
    button = frame.get_by_role("button", name="Contents").nth(1)
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "true")
    assert passed.evaluate("details => details.open && details.kept"), "what is the same is not even touched"
    *_, first, second, third = asked
    assert third - second > 1.5 * (second - first)


def test_an_open_page_reads_anew_by_itself_but_not_under_a_selection(site: Site, visit: Open) -> None:
    visited = visit("viewer")
    page = visited.page
    page.clock.install()
    page.reload()
    frame = page.frame_locator("iframe")
    caption = frame.locator("table.archives caption")
    expect(caption).to_have_text("5 archives, newest first")
    frame.locator("h1").evaluate("heading => getSelection().selectAllChildren(heading)")
    (key,) = publish(site.local, DAY_AGES[-1] + 1)
    try:
        page.clock.fast_forward("01:05")
        time.sleep(2)
        expect(caption).to_have_text("5 archives, newest first")
        visited.frame.evaluate("getSelection().empty()")
        page.clock.fast_forward("00:05")
        expect(caption).to_have_text("6 archives, newest first")
    finally:
        for path in (site.local / key).parent.glob(f"{Path(key).name}*"):
            path.unlink()
    time.sleep(2)  # a reading of the last second counts as fresh
    page.clock.fast_forward("01:05")
    expect(caption).to_have_text("5 archives, newest first")


def test_a_backup_is_triggered_and_appears(site: Site, visit: Open) -> None:
    visited = visit("user")
    frame = visited.frame
    before = int(archives(frame).inner_text().split()[0])
    button = frame.get_by_role("group", name="Actions").get_by_role("button", name="Back up now")
    expect(button).to_be_enabled()
    button.focus()
    visited.page.keyboard.press("Enter")
    form = frame.get_by_role("dialog", name="Back up now")
    form.get_by_label("note").fill("by hand <b>now</b>")
    visited.page.keyboard.press("Enter")
    expect(frame.locator(".run").first).to_be_visible()
    nothing_for_axe(visited)
    expect(frame.locator("#runs .badge")).to_have_text("success", timeout=180_000)
    expect(archives(frame)).to_have_text(f"{before + 1} archives, newest first", timeout=15_000)
    visited.page.reload()
    last = visited.page.frame_locator("iframe").locator("#now table.last")
    expect(last).to_contain_text("succeeded")
    nothing_for_axe(visited)
    frame = visited.frame
    frame.get_by_role("button", name="Contents").first.click()
    expect(frame.locator("tr.contents")).to_contain_text("by hand <b>now</b>")
    expect(frame.locator("tr.contents")).to_contain_text("Rows2")
    (run,) = site.airflow.api("GET", "dags/backup_database/dagRuns?run_type=manual")["dag_runs"]
    assert run["triggering_user_name"] == "user"
    path = f"dags/backup_database/dagRuns/{quote(run['dag_run_id'])}/taskInstances/Shop.dump/xcomEntries/progress"
    left = site.airflow.api("GET", f"{path}?map_index=0")["value"]
    assert "Dumping page_shop" in str(left), "the next dump is measured by this one"
    frame.get_by_role("link", name="Open the run: Shop, database").click()
    visited.page.wait_for_url("**/dags/backup_database/runs/**")


def test_a_viewer_sees_everything_and_triggers_nothing(site: Site, visit: Open) -> None:
    visited = visit("viewer")
    frame = visited.frame
    expect(archives(frame)).to_be_visible()
    expect(frame.get_by_text("You can look at everything here.")).to_be_visible()
    buttons = frame.locator("[data-dag]")
    assert buttons.count() > 5
    for button in buttons.all():
        expect(button).to_be_disabled()
        assert button.get_attribute("title") == "You may not trigger this DAG."
    post = "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"logical_date\": null}'}"
    assert (
        frame.evaluate(f"fetch('../api/v2/dags/backup_database/dagRuns', {post}).then(answer => answer.status)") == 403
    )
    assert all("403" in complaint for complaint in visited.complaints)
    visited.complaints.clear()


def test_a_link_into_airflow_leaves_the_frame(visit: Open) -> None:
    visited = visit("viewer")
    visited.frame.get_by_role("link", name="backup_cleanup").click()
    visited.page.wait_for_url("**/dags/backup_cleanup")


def test_a_destination_that_breaks_is_seen_and_the_rest_stays(site: Site, visit: Open) -> None:
    frame = visit("viewer").frame
    expect(frame.locator(".attention")).not_to_contain_text("second")
    away = site.second.with_name("away")
    site.second.rename(away)
    site.second.write_text("a file where the directory should be")
    try:
        frame.wait_for_timeout(1500)
        frame.get_by_role("button", name="Refresh").click()
        expect(frame.locator(".attention")).to_contain_text("Everything at second")
        broken = frame.locator("#safe article[aria-label=second]")
        expect(broken).to_contain_text("holds no .lifeboat-destination: its disk is not mounted")
        expect(frame.locator("#safe article[aria-label=local]")).to_contain_text("healthy")
        expect(frame.locator("#tonight article[aria-label=second]")).to_contain_text("Nothing is deleted")
    finally:
        site.second.unlink()
        away.rename(site.second)


def test_what_is_not_in_the_settings_is_listed_and_not_offered(site: Site, visit: Open) -> None:
    publish(site.local, 0.01, application="Gone")
    frame = visit("admin").frame
    frame.wait_for_timeout(1500)
    frame.get_by_role("button", name="Refresh").click()
    restore = frame.get_by_role("button", name="Restore… Database archive of Gone")
    expect(restore).to_be_disabled()
    expect(restore).to_have_attribute("title", "Gone is not in the settings: nobody knows where to restore it to.")
    expect(frame.get_by_role("button", name="Restore… Database archive of Shop").first).to_be_enabled()


def test_a_restore_waits_for_a_second_person(site: Site, mariadb: MariaDB) -> None:
    site.airflow.api("PATCH", "dags/restore_database", is_paused=False)
    site.airflow.api("PATCH", "dags/backup_database", is_paused=False)
    backed_up = site.airflow.api("POST", "dags/backup_database/dagRuns", logical_date=None, conf={})["dag_run_id"]
    runs = f"dags/backup_database/dagRuns/{quote(backed_up)}"
    assert wait_for(lambda: ended(site.airflow.api("GET", runs)["state"])) == "success"

    def restore(into: str, approver: str, answer: str = "Approve") -> str:
        run = site.airflow.api("POST", "dags/restore_database/dagRuns", logical_date=None, conf={"into": into})
        path = f"dags/restore_database/dagRuns/{quote(run['dag_run_id'])}"
        assert f"Database page_shop goes into schema {into}" in asked(site, path)
        assert into not in mariadb.run("SHOW DATABASES").split(), "nothing is changed before somebody approves"
        return answered(site, path, approver, answer)

    assert restore("page_self", "admin") == "failed"
    assert "page_self" not in mariadb.run("SHOW DATABASES").split()
    assert restore("page_refused", "user", "Reject") == "success"
    assert "page_refused" not in mariadb.run("SHOW DATABASES").split()


def approved(site: Site, path: str, key: str) -> None:
    """Approve the restore of a table that another has started, which names what it does."""
    body = asked(site, path)
    assert f"From {key} at local" in body
    assert "Table customers of database page_shop goes into schema page_rescue" in body
    assert answered(site, path, "admin") == "success", "who started it was another"


def test_contents_are_opened_and_one_table_of_them_is_restored(
    site: Site, visit: Open, mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = with_files(site, mariadb, tmp_path, monkeypatch)
    visited = visit("user")
    frame = visited.frame
    frame.wait_for_timeout(1500)
    frame.get_by_role("button", name="Refresh").click()
    frame.locator(f'tr[data-keep="{key}"]').get_by_role("button", name="Contents").click()
    inside = frame.locator("tr.contents")
    expect(inside).to_contain_text("from a shell")
    expect(inside).not_to_contain_text("customers")
    inside.get_by_role("button", name="Tables and files").click()
    expect(inside).to_contain_text("customers 2 rows")
    expect(inside).not_to_contain_text("2026.pdf")
    inside.get_by_role("button", name="invoices/").click()
    inside.get_by_role("button", name="Restore… 2026.pdf").click()
    form = frame.get_by_role("dialog", name="Restore")
    expect(form).to_contain_text("This triggers restore_application.")
    expect(form.locator("[name=path]")).to_have_value("invoices/2026.pdf")
    visited.page.keyboard.press("Escape")
    inside.get_by_role("button", name="invoices/").click()
    expect(inside).not_to_contain_text("2026.pdf")
    nothing_for_axe(visited)
    inside.get_by_role("button", name="Restore… table customers").click()
    expect(form.get_by_role("group", name="Databases").get_by_label("page_shop")).to_be_checked()
    expect(form.locator("[name=table]")).to_have_value("customers")
    form.locator("[name=into]").fill("page_rescue")
    with visited.page.expect_response("**/dags/restore_database/dagRuns") as started:
        form.get_by_role("button", name="Start").click()
    approved(site, f"dags/restore_database/dagRuns/{quote(started.value.json()['dag_run_id'])}", key)
    assert mariadb.run("SELECT count(*) FROM customers", "page_rescue") == "2\n"
    assert mariadb.run("SHOW TABLES", "page_rescue") == "customers\n"
    run = frame.locator("tr.contents + tr.attached")
    told = "Table customers of database page_shop is in the new schema page_rescue"
    expect(run).to_contain_text(told, timeout=30_000)
    expect(run).to_contain_text("DROP DATABASE `page_rescue`")
    nothing_for_axe(visited)
    mariadb.run("DROP DATABASE page_rescue")


def with_files(site: Site, mariadb: MariaDB, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Back the application up with files from a shell, whose settings name some; return the key."""
    (folder / "app" / "invoices").mkdir(parents=True)
    (folder / "app" / "invoices" / "2026.pdf").write_text("paid")
    settings = json.loads((site.local.parent / "backup.yaml").read_text())
    settings["applications"]["Shop"]["files"] = {"root": str(folder / "app")}
    (folder / "backup.yaml").write_text(json.dumps(settings))
    monkeypatch.setenv("LIFEBOAT_CONFIG", str(folder / "backup.yaml"))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", mariadb.connection())
    password = {"conn_type": "generic", "password": ARCHIVE_PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps(password))
    (made,) = command.answer("backup", "application", "Shop", "-d", "local", "--note", "from a shell")
    return str(made["key"])


def asked(site: Site, path: str) -> str:
    """Wait until a run asks for an approval; return what it says it will do."""
    details = wait_for(lambda: site.airflow.api("GET", f"{path}/hitlDetails")["hitl_details"])
    return str(details[0]["body"])


def answered(site: Site, path: str, approver: str, answer: str = "Approve") -> str:
    """Answer as often as a run asks, for Airflow asks again when an answer comes at once; return how it ended."""

    def state() -> str:
        approve = f"{path}/taskInstances/approve"
        if site.airflow.api("GET", approve)["state"] == "awaiting_input":
            time.sleep(3)  # as long as a person takes at least
            site.airflow.api("PATCH", f"{approve}/-1/hitlDetails", user=approver, chosen_options=[answer])
        return ended(site.airflow.api("GET", path)["state"])

    return str(wait_for(state))


def ended(state: str) -> str:
    return state if state in ("success", "failed") else ""
