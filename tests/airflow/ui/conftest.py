"""Airflow's API server in this process, with real logins, and what stands at a destination without a backup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from fastapi.testclient import TestClient
from lifeboat.catalog import archives
from lifeboat.catalog.archives import Archive, Kind, LogWindow, Proven
from lifeboat.storage import StoredObject
from lifeboat.ui.app import backups_app
from lifeboat.ui.readings import Reading
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from include.demo.browser import chromium
from tests.conftest import ARCHIVE_PASSWORD, HOME
from tests.records import marker_facts, signed_proof

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
USERS = {"admin": "admin", "user": "user", "viewer": "viewer"}


def objects(
    *ages: float, application: str = "Shop", kind: Kind = "database", size: int = 1000, now: datetime = NOW
) -> list[StoredObject]:
    """Return what a listing has of archives of so many days of age."""
    keys = [archives.archive_key(application, kind, now - timedelta(days=age)) for age in ages]
    return [StoredObject(key + suffix, size, now) for key in keys for suffix in ("", ".json")]


def reading(destination: str, *listing: StoredObject, proofs: dict[tuple[str, Kind], Proven] | None = None) -> Reading:
    """Return the reading of a destination that holds these."""
    return Reading(destination, replace(archives.read(listing), newest_proofs=proofs or {}))


def window(now: datetime, since: float, until: float) -> LogWindow:
    """Return the time of logs that begin with a backup.

    :param since: days ago.
    :param until: days ago.
    """
    begin = (now - timedelta(days=since)).replace(microsecond=0)
    key = archives.archive_key("Shop", "database", begin)
    first = Archive(key, "Shop", "database", begin, 1000, proven=False)
    return LogWindow(
        begin, (now - timedelta(days=until)).replace(microsecond=0), anchor=first, positions=1, first=first
    )


def with_windows(read: Reading, *windows: LogWindow) -> Reading:
    """Return a reading with the times of logs of Shop, oldest first."""
    if not windows or read.found is None:
        return read
    *earlier, newest = windows
    found = replace(read.found, windows={"Shop": newest}, earlier={"Shop": tuple(reversed(earlier))})
    return replace(read, found=found)


def publish(root: Path, *ages: float, application: str = "Shop", kind: Kind = "database", **marker: Any) -> list[str]:
    """Put archives of so many days of age into a directory; keyword arguments go into their markers."""
    keys = []
    for age in ages:
        key = archives.archive_key(application, kind, datetime.now(UTC) - timedelta(days=age))
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an archive")
        facts = marker_facts(key) | marker
        facts["totals"] = marker_facts(key)["totals"] | facts["totals"]
        path.with_name(f"{path.name}.json").write_text(json.dumps(facts))
        keys.append(key)
    return keys


def prove(root: Path, key: str, proven_at: datetime, seconds: float) -> None:
    """Put a signed proof beside an archive in a directory."""
    made = signed_proof(
        key,
        ARCHIVE_PASSWORD,
        proven_at=proven_at.isoformat(),
        archive={"size": (root / key).stat().st_size, "sha256": ""},
        durations={"verify": 0.0, "restore": seconds, "compare": 1.0},
    )
    (root / f"{key}.proof.json").write_bytes(made.to_bytes())


@pytest.fixture(scope="session")
def airflow(airflow_db: None) -> Iterator[FastAPI]:
    """Airflow's API server, with every plugin loaded as Airflow loads them."""
    from airflow.api_fastapi.app import create_app

    passwords = HOME / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    with pytest.MonkeyPatch.context() as patch:
        roles = ",".join(f"{name}:{role}" for name, role in USERS.items())
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", roles)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        yield create_app()


@pytest.fixture(scope="module")  # a session's would run an event loop beside all other tests
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


def violations(page: Page | Frame) -> list[tuple[str, list[str]]]:
    """Return what axe finds that keeps people from using what they see, and where."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


class Login(Protocol):
    """Logs in to the page."""

    def __call__(self, user: str = "viewer") -> TestClient:
        """Return a client: logged in as a user, or nobody where the name is empty."""


@pytest.fixture
def login(airflow: FastAPI) -> Login:
    """Return a client of the page: logged in as a user, or nobody where the name is empty."""
    backups_app.cache_clear()  # and with it what earlier tests have read
    tokens = TestClient(airflow)

    def client(user: str = "viewer") -> TestClient:
        headers = {}
        if user:
            answer = tokens.post("/auth/token", json={"username": user, "password": user})
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return TestClient(airflow, "http://testserver/lifeboat/", headers=headers)

    return client
