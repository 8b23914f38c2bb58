"""Figures for Prometheus: what they say, and who may read them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from lifeboat.catalog.archives import Proven
from lifeboat.settings import config
from lifeboat.ui import airflow_runs, metrics
from lifeboat.ui.readings import Reading
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from tests.airflow.ui.conftest import NOW, Login, objects, publish, reading, window, with_windows
from tests.airflow.ui.test_runs import run, store
from tests.conftest import Configure

LABELS = ("application", "kind", "destination", "dag")
TOKEN = "correct horse battery staple ñ"


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Return the value of every sample, by its name and the values of its labels."""
    return {
        (
            sample.name.removeprefix("lifeboat_"),
            *(sample.labels[name] for name in LABELS if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_told_per_application_kind_and_destination(project: Configure) -> None:
    settings = config.load(project())
    proven_at = datetime(2026, 11, 20, tzinfo=UTC)
    listing = [
        *objects(1, 2, 3, size=100),
        *objects(0.5, kind="application", size=7),
        *objects(1, application="Not in the settings"),
    ]
    readings = {
        "disk": reading(
            "disk",
            *listing,
            proofs={("Shop", "database"): Proven("key", proven_at, timedelta(seconds=61.5), checks=3, open_checks=1)},
        ),
        "offsite": Reading("offsite", trouble="down"),
    }
    found = figures(metrics.exposition(settings, readings, {}, NOW).decode())
    shop = ("Shop", "database", "disk")
    assert found == {
        ("destination_up", "disk"): 1,
        ("destination_up", "offsite"): 0,
        ("last_success_timestamp_seconds", *shop): NOW.timestamp() - 86400,
        ("archives", *shop): 3,
        ("newest_archive_bytes", *shop): 100,
        ("storage_bytes", *shop): 300,
        ("last_proof_timestamp_seconds", *shop): proven_at.timestamp(),
        ("recovery_seconds", *shop): 61.5,
        ("passed_checks", *shop): 3,
        ("checks_not_isolated", *shop): 1,
        ("oldest_reading_timestamp_seconds", *shop): NOW.timestamp() - 3 * 86400,  # when it was stored
        ("damaged_archives", *shop): 0,
        ("last_success_timestamp_seconds", "Shop", "application", "disk"): NOW.timestamp() - 43200,
        ("archives", "Shop", "application", "disk"): 1,
        ("newest_archive_bytes", "Shop", "application", "disk"): 7,
        ("storage_bytes", "Shop", "application", "disk"): 7,
        ("oldest_reading_timestamp_seconds", "Shop", "application", "disk"): NOW.timestamp() - 43200,
        ("damaged_archives", "Shop", "application", "disk"): 0,
    }


def test_the_time_that_logs_lead_to_is_told_per_application_and_destination(project: Configure) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "logs": True}
    settings = config.load(project(applications={"Shop": shop}))
    older, newer = window(NOW, 8, 6), window(NOW, 2, 1)
    found = figures(
        metrics.exposition(settings, {"disk": with_windows(reading("disk"), older, newer)}, {}, NOW).decode()
    )
    assert found["recoverable_until_timestamp_seconds", "Shop", "disk"] == newer.until.timestamp()


def test_what_should_be_there_and_is_not_has_a_nought(project: Configure) -> None:
    database = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    settings = config.load(project(applications={"Shop": database, "Books": database | {"destinations": ["offsite"]}}))
    emptied = {"disk": reading("disk"), "offsite": Reading("offsite", trouble="down")}
    assert figures(metrics.exposition(settings, emptied, {}, NOW).decode()) == {
        ("destination_up", "disk"): 1,
        ("destination_up", "offsite"): 0,
        ("archives", "Shop", "database", "disk"): 0,
        ("storage_bytes", "Shop", "database", "disk"): 0,
        ("damaged_archives", "Shop", "database", "disk"): 0,
    }


def test_what_is_dated_in_the_future_is_counted_and_is_no_success(project: Configure) -> None:
    settings = config.load(project())
    found = figures(metrics.exposition(settings, {"disk": reading("disk", *objects(2, -1))}, {}, NOW).decode())
    shop = ("Shop", "database", "disk")
    assert found["archives", *shop] == 2
    assert found["last_success_timestamp_seconds", *shop] == NOW.timestamp() - 2 * 86400


def test_runs_are_told_per_dag_once_they_are_over(project: Configure) -> None:
    nights = {
        "backup_database": [run(state, hours=hours) for hours, state in enumerate(["running", "failed", "failed"])]
        + [run("success", hours=3), run("failed", hours=4)],
        "backup_check": [run("success", dag_id="backup_check")],
        "restore_drill": [replace(run("failed", dag_id="restore_drill"), began=None)],  # it never began
        "doctor": [run("running", dag_id="doctor")],
        "backup_verify": [],
    }
    assert figures(metrics.exposition(config.load(project()), {}, nights, NOW).decode()) == {
        ("last_run_seconds", "backup_database"): 300,
        ("failed_runs", "backup_database"): 2,
        ("last_run_seconds", "backup_check"): 300,
        ("failed_runs", "backup_check"): 0,
        ("failed_runs", "restore_drill"): 1,
    }


def test_a_login_is_told_of_runs_that_it_may_read_and_the_token_of_all(
    project: Configure, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SCRAPE", json.dumps({"conn_type": "generic", "password": TOKEN}))
    project(metrics={"connection": "scrape"})
    store(run("failed"), run("failed", dag_id="backup_check"))
    by_token = {"headers": {b"Authorization": f"Bearer {TOKEN}".encode()}}
    told = {("failed_runs", "backup_database"): 1, ("failed_runs", "backup_check"): 1}
    assert told.items() <= figures(login("viewer").get("metrics").text).items()
    monkeypatch.setattr(airflow_runs, "may_read", lambda _request, _user, dag_id: dag_id == "backup_check")
    assert ("failed_runs", "backup_database") not in figures(login("viewer").get("metrics").text)
    assert told.items() <= figures(login("").get("metrics", **by_token).text).items()
    monkeypatch.setattr(airflow_runs, "histories", Mock(side_effect=OperationalError("", {}, Exception("locked"))))
    assert figures(login("").get("metrics", **by_token).text)["destination_up", "disk"] == 1


@pytest.mark.parametrize(("offered", "status"), [(TOKEN, 200), (f"{TOKEN}x", 403), ("", 401), ("x", 403)])
def test_a_token_of_the_settings_opens_the_metrics_and_nothing_else(
    project: Configure, login: Login, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offered: str, status: int
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SCRAPE", json.dumps({"conn_type": "generic", "password": TOKEN}))
    project(metrics={"connection": "scrape"})
    publish(tmp_path / "disk", 0.1)
    headers = {b"Authorization": f"Bearer {offered}".encode()} if offered else {}
    answer = login("").get("metrics", headers=headers)
    assert answer.status_code == status
    assert ("lifeboat_archives{" in answer.text) is (status == 200)
    assert login("").get("answers", headers=headers).status_code in (401, 403)


@pytest.mark.parametrize("connection", [None, {}, {"password": ""}])
def test_without_a_token_in_the_connection_only_a_login_opens_the_metrics(
    project: Configure, login: Login, monkeypatch: pytest.MonkeyPatch, connection: dict[str, str] | None
) -> None:
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_SCRAPE", json.dumps({"conn_type": "generic"} | connection))
    project(metrics={"connection": "scrape"})
    assert login("").get("metrics", headers={"Authorization": "Bearer "}).status_code == 401
    assert login("").get("metrics", headers={"Authorization": "Bearer None"}).status_code == 403
    answer = login("viewer").get("metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
