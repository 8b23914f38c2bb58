"""Three users with other rights look at the page in a browser: nothing of other teams ever reaches it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Response, expect

from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import wait_for
from tests.airflow.ui.conftest import USERS, publish
from tests.airflow.ui.team_rights import restrict
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, disk_destination

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(900)]  # each address is asked in test_visible.py, too
APPLICATIONS = ("Shopware", "Breadbin", "Intranet")
SHOWN = {"admin": set(APPLICATIONS), "user": {"Shopware"}, "viewer": {"Intranet"}}
BUTTONS = {"admin": 3, "user": 1, "viewer": 0}  # a viewer triggers nothing


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, airflow_database: dict[str, str]) -> Iterator[Standalone]:
    home = tmp_path_factory.mktemp("rights")
    disk_destination("disk", home / "disk")
    for name in APPLICATIONS:
        publish(home / "disk", 0.1, application=name)
    databases = [{"name": "bread", "engine": "sqlite", "connection": "not_there"}]
    own = {"databases": databases, "schedules": {"database": "0 * * * *"}}
    settings = {
        "staging": str(home / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {"disk": {"type": "disk", "path": str(home / "disk")}},
        "applications": {name: {"databases": databases} if name == "Intranet" else own for name in APPLICATIONS},
    }
    (home / "backup.yaml").write_text(json.dumps(settings))
    (home / "airflow").mkdir()
    call = f"from {restrict.__module__} import {restrict.__name__}\n\n{restrict.__name__}()\n"
    (home / "airflow_local_settings.py").write_text(
        call
    )  # Airflow imports it; `airflow standalone` takes no other manager
    variables = airflow_database | {
        "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
        "PYTHONPATH": f"{home}:{PROJECT}",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
    }
    with Standalone(variables, home / "airflow.log", users=USERS) as started:
        wanted = {"backup_database", "backup_database__shopware", "backup_database__breadbin"}
        wait_for(lambda: wanted <= {dag["dag_id"] for dag in started.api("GET", "dags?limit=100")["dags"]}, 600)
        yield started


@pytest.mark.parametrize("user", SHOWN)
def test_nothing_of_another_team_reaches_the_browser(airflow: Standalone, browser: Browser, user: str) -> None:
    context = browser.new_context(base_url=airflow.base)
    page = context.new_page()
    page.goto("/auth/login")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(user)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "/auth/login" not in address)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  # it takes no built-in function
    page.goto("/plugin/backups")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Backups").wait_for()
    page.wait_for_load_state("networkidle")
    (inner,) = page.main_frame.child_frames
    text = inner.locator("body").inner_text()
    assert {name for name in APPLICATIONS if name in text} == SHOWN[user]
    expect(inner.locator("[data-dag^='backup_database']:enabled")).to_have_count(BUTTONS[user])
    for answer in answers:
        if answer.url.startswith(inner.url):
            body = answer.text()
            assert not {name for name in APPLICATIONS if name.lower() in body.lower()} - SHOWN[user], answer.url
    for name in set(APPLICATIONS) - SHOWN[user]:
        asked = inner.evaluate(f"fetch('runs/backup_database__{name.lower()}/x').then((answer) => answer.status)")
        assert asked == 404, name
    context.close()
