"""What is in an archive is read for those who may restore it, and a folder at a time."""

from __future__ import annotations

import json
import os
import re
import time
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.airflow.ui.conftest import Login
from tests.command import answer
from tests.conftest import Configure

HOSTILE = """<img src=x onerror=alert(1)> & 'y'.txt"""


@pytest.fixture
def key(project: Configure, shop: str, tmp_path: Path) -> str:
    """The key of an archive with tables, many files and names of all kinds."""
    root = tmp_path / "app"
    (root / "logs" / "deep").mkdir(parents=True)
    for number in range(450):
        (root / "logs" / f"{number:03}.log").write_text("12345")
    (root / "logs" / "deep" / "last.log").touch()
    (root / HOSTILE).touch()
    (root / os.fsdecode(b"latin-\xe9")).touch()
    files = {"root": str(root)}
    project(applications={"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}], "files": files}})
    (made,) = answer("backup", "application", "Shop", "--destination", "disk")
    return str(made["key"])


def opened(client: TestClient, **query: Any) -> str:
    """Ask until the archive was read, as the page does."""
    got = client.get("inside", params=query)
    while "Retry-After" in got.headers:
        time.sleep(0.2)
        got = client.get("inside", params=query)
    assert got.status_code == 200, got.text
    text: str = got.text
    return text


def confs(text: str, dag: str) -> list[dict[str, Any]]:
    """Return what the forms of a DAG's buttons are filled with."""
    return [json.loads(unescape(conf)) for conf in re.findall(rf'data-dag="{dag}" data-conf="(.*?)"', text)]


def test_tables_and_files_are_shown_a_folder_at_a_time(login: Login, key: str) -> None:
    client = login("user")
    assert f'data-inside="{key}"' in client.get("contents", params={"key": key}).text
    root = opened(client, key=key)
    assert '<bdi>orders</bdi> <span class="quiet">3,000 rows</span>' in root
    assert "no binary log position: the server writes no binary log" in root
    archive = {"application": "Shop", "archive": key, "destination": "disk"}
    tables = [conf["table"] for conf in confs(root, "restore_database") if "table" in conf]
    assert set(tables) == {"empty_one", "orders", "page_views", "users"}
    assert archive | {"databases": ["shop"], "table": "orders"} in confs(root, "restore_database")
    assert archive | {"path": "logs"} in confs(root, "restore_application")
    assert "451 files, 2.2 KiB" in root
    assert "000.log" not in root, "not before it is opened"
    assert "<img" not in root
    assert archive | {"path": HOSTILE} in confs(root, "restore_application")
    assert "latin-\ufffd" in root
    assert root.count("data-obstacle") == 1
    first = opened(client, key=key, folder="logs")
    assert [conf["path"] for conf in confs(first, "restore_application")][:2] == ["logs/deep", "logs/000.log"]
    assert "Show 200 more of 251" in first
    last = opened(client, key=key, folder="logs", start=400)
    assert [conf["path"] for conf in confs(last, "restore_application")] == [f"logs/{n}.log" for n in range(399, 450)]
    assert "more of" not in last


def test_who_may_not_restore_reads_no_name(login: Login, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    viewer = login("viewer")
    assert "data-inside" not in viewer.get("contents", params={"key": key}).text
    for query in ({}, {"folder": "logs"}):
        assert viewer.get("inside", params={"key": key} | query).status_code == 403
    of_all = SimpleAuthManager.is_authorized_dag

    def databases_only(self: Any, **asked: Any) -> bool:
        return of_all(self, **asked) and asked["details"].id != "restore_application"

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", databases_only)
    client = login("user")
    root = opened(client, key=key)
    assert "orders" in root
    assert "logs" not in root
    assert client.get("inside", params={"key": key, "folder": "logs"}).status_code == 403


def test_an_archive_that_does_not_open_says_why(login: Login, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = json.dumps({"conn_type": "generic", "password": "another"})
    monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", wrong)
    assert "does not open with this password" in opened(login("user"), key=key)
    assert login("user").get("inside", params={"key": "Shop/database/2026-01-01-00-00-00.zip"}).status_code == 404
