"""Schedules of applications: what their DAGs are called, and the limits that follow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from lifeboat.decide import cron
from lifeboat.decide.schedules import dag_id_of, watched
from lifeboat.errors import SettingsError
from lifeboat.settings import config

from tests.conftest import Configure

SHOP: dict[str, Any] = {"databases": [{"name": "shop", "connection": "shop_db"}]}
HOURLY: dict[str, Any] = SHOP | {"schedules": {"database": "0 * * * *"}}


@pytest.mark.parametrize(
    ("name", "dag_id"),
    [
        ("Shop", "backup_database__shop"),
        ("Bread & Butter, Ltd.", "backup_database__bread_butter_ltd"),
        ("Bäckerei", "backup_database__b_ckerei_719ef67b"),
        ("商店", "backup_database__61f96c6a"),
        ("--", "backup_database__d8156bae"),
        ("x" * 200, "backup_database__" + "x" * 200),
    ],
)
def test_a_dag_is_named_after_its_application(name: str, dag_id: str) -> None:
    assert dag_id_of("database", name) == dag_id


@pytest.mark.parametrize(
    ("expression", "shortest", "longest", "limit"),
    [
        ("0 1 * * *", 24, 24, 30),
        ("0 2 * * 0", 168, 168, 192),
        ("0 * * * *", 1, 1, 2),
        ("*/15 * * * *", 0.25, 0.25, 1.25),
        ("0 1 * * 1-5", 24, 72, 90),
        ("0 8,18 * * *", 10, 14, 17.5),
        ("0 1 1 * *", 28 * 24, 31 * 24, 32 * 24),
        ("0 0 29 2 *", 1461 * 24, 1461 * 24, 1462 * 24),
    ],
)
def test_limits_follow_the_schedule(expression: str, shortest: float, longest: float, limit: float) -> None:
    assert cron.gaps(expression) == (timedelta(hours=shortest), timedelta(hours=longest))
    assert cron.longest_age(expression) == timedelta(hours=limit)


def test_backups_are_spread_and_each_begins_always_at_the_same_minute() -> None:
    names = [f"application {number}" for number in range(200)]
    turns = {name: cron.turn(name, timedelta(minutes=59), "0 1 * * *") for name in names}
    assert len(set(turns.values())) > 50
    assert max(turns.values()) <= timedelta(minutes=59)
    assert turns == {name: cron.turn(name, timedelta(minutes=59), "0 1 * * *") for name in reversed(names)}
    assert max(cron.turn(name, timedelta(minutes=59), "*/20 * * * *") for name in names) == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("health", "own", "hours"),
    [({}, {}, 2), ({"database_max_days": 1}, {}, 24), ({"database_max_days": 1}, {"database_max_days": 2}, 48)],
    ids=["by-the-schedule", "the-file-says", "the-application-says"],
)
def test_a_limit_that_is_set_wins(project: Configure, health: Any, own: Any, hours: float) -> None:
    settings = config.load(project(applications={"Shop": HOURLY | {"health": own}, "Plain": SHOP}, health=health))
    assert settings.limits_of("Shop").longest_ages == {"database": timedelta(hours=hours)}
    assert settings.limits_of("Plain").longest_ages == {"database": timedelta(hours=24 if health else 30)}


def test_each_dag_that_must_run_is_watched_for_whom_it_backs_up(project: Configure) -> None:
    settings = config.load(project(applications={"Shop": HOURLY}))
    assert settings.backup_dags("database") == {"backup_database": [], "backup_database__shop": ["Shop"]}
    assert settings.dag_of("Shop", "database") == "backup_database__shop"
    dags = watched(settings)
    assert "backup_database" not in dags, "it has nothing to back up"
    assert (dags["backup_database__shop"].application, dags["backup_check"].application) == ("Shop", "Everything")


@pytest.mark.parametrize(
    ("applications", "changes", "told"),
    [
        (
            {"Shop": HOURLY, "shop": HOURLY},
            {},
            "applications.shop.schedules.database: its DAG would be backup_database__shop, as that of applications.Sho",
        ),
        ({"Shop": SHOP | {"schedules": {"application": "0 1 * * *"}}}, {}, "schedules.application: it has no files"),
        ({"Shop": SHOP | {"schedules": {"database": "hourly"}}}, {}, "must be a cron expression of five fields"),
        ({"Shop": SHOP | {"access_control": {"a": ["can_read"]}}}, {}, "access_control: applies to DAGs of its own"),
        ({"Shop": HOURLY | {"access_control": {"a": ["read"]}}}, {}, "must be 'can_read', 'can_edit' or 'can_delete'"),
        ({"Shop": SHOP | {"alerts": {"common": True}}}, {}, "alerts: names no channel; add slack or email"),
        (
            {"Shop": SHOP},
            {"schedules": {"drill": "0 1 * * *"}, "drill": {"schedule": "0 2 * * *"}},
            "schedules.drill: drill.schedule says when drills run, too",
        ),
    ],
    ids=["one-name", "no-files", "no-cron", "no-dags", "a-right", "no-channel", "two-schedules"],
)
def test_mistakes_are_told(project: Configure, applications: Any, changes: Any, told: str) -> None:
    with pytest.raises(SettingsError) as mistake:
        config.load(project(applications=applications, **changes))
    assert told in str(mistake.value)
