"""The page shows an application only to users who may read its DAGs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.airflow.ui.conftest import Login, publish
from tests.airflow.ui.test_page import FRAGMENTS, served
from tests.conftest import Configure

OF_TEAMS = {"Shopware": "backup_database__shopware", "Breadbin": "backup_database__breadbin"}
HIDDEN = {"admin": set(), "user": {"Breadbin", "Intranet"}, "viewer": set(OF_TEAMS)}  # from whom
READS = {
    "admin": {*OF_TEAMS.values(), "backup_database"},
    "user": {OF_TEAMS["Shopware"]},
    "viewer": {"backup_database"},
}
APPLICATIONS = ("Shopware", "Breadbin", "Intranet")


@pytest.fixture(autouse=True)
def rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own manager of this test has no rights by DAG: a team's role stands for them."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    def is_authorized(_: object, *, user: Any, details: Any = None, **__: object) -> bool:
        return not details or not details.id.startswith("backup_database") or details.id in READS[user.username]

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)
    monkeypatch.setattr("lifeboat.ui.app.PATIENCE_SECONDS", 20)


@pytest.fixture
def keys(project: Configure, tmp_path: Path) -> dict[str, str]:
    databases = [{"name": "shop", "connection": "shop_db"}]
    own = {"databases": databases, "schedules": {"database": "0 * * * *"}}
    applications = {name: own if name in OF_TEAMS else {"databases": databases} for name in APPLICATIONS}
    project(applications=applications, destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    return {name: publish(tmp_path / "disk", 0.1, application=name)[0] for name in (*APPLICATIONS, "Gone")}


@pytest.mark.parametrize("user", HIDDEN)
def test_nothing_of_a_hidden_application_is_at_any_address(keys: dict[str, str], login: Login, user: str) -> None:
    client = login(user)
    texts = {path: served(client, path) for path in [*FRAGMENTS, "metrics"]}
    for name in APPLICATIONS:
        named = {path for path, text in texts.items() if name.lower() in text.lower()}
        assert bool(named) is (name not in HIDDEN[user]), f"{name}: {named}"
        status = 404 if name in HIDDEN[user] else 200
        for path in ("contents", "inside"):
            answer = client.get(f"{path}?key={quote(keys[name])}").status_code
            assert answer == status or (path == "inside" and answer == 403), path  # a viewer may restore nothing
    assert ("Gone" in texts["archives"]) is (user == "admin"), "what belongs to none"


@pytest.mark.parametrize(("user", "may"), [("admin", 3), ("user", 1)])
def test_there_is_a_button_for_each_dag(keys: dict[str, str], login: Login, user: str, may: int) -> None:
    page = served(login(user), "")
    assert page.count('data-dag="backup_database') == may
    assert "Back up Shopware" in page
    run = login(user).get(f"runs/{OF_TEAMS['Breadbin']}/x")
    assert run.status_code == 404
    assert ("no such DAG" in run.text) is (user == "user")


def test_whoever_may_read_no_dag_sees_no_page(
    keys: dict[str, str], login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READS, "viewer", set())
    client = login("viewer")
    assert {client.get(path).status_code for path in [*FRAGMENTS, "metrics"]} == {403}
