"""Airflow's pools: what the settings may say of them, and what a check finds."""

from __future__ import annotations

from typing import Any

import pytest
from lifeboat.airflow.failures import advice_on
from lifeboat.decide import pools
from lifeboat.errors import SettingsError
from lifeboat.settings import config

from tests.conftest import Configure

POOLS = {"db": 1, "nas": 2}
NAMED = {"name": "shop", "connection": "shop_db"}


@pytest.mark.parametrize(
    ("made", "verdicts", "told"),
    [
        (POOLS, [], ""),
        ({"db": 1}, ["unhealthy"], "Airflow has no pool 'nas', so tasks in it never begin, and never fail"),
        (POOLS | {"db": 0}, ["unhealthy"], "pool 'db' in Airflow has no slots, so tasks in it never begin"),
        (POOLS | {"nas": 1}, ["degraded"], "pool 'nas' in Airflow has 1 slot, and 2 in the settings"),
        (POOLS | {"nas": -1}, ["degraded"], "pool 'nas' in Airflow has slots without a limit, and 2 in the settings"),
    ],
    ids=["as-wanted", "missing", "no-slots", "other-slots", "no-limit"],
)
def test_a_pool_that_is_not_as_the_settings_say_is_found(made: dict[str, int], verdicts: list[str], told: str) -> None:
    findings = list(pools.check(POOLS, made))
    assert [finding.verdict for finding in findings] == verdicts
    assert told in "".join(finding.text for finding in findings)


def test_tasks_that_wait_while_none_runs_are_found() -> None:
    assert list(pools.waiting(POOLS, 0)) == []
    (finding,) = pools.waiting(POOLS, 2)
    assert finding.verdict == "unhealthy"
    assert finding.text.startswith(
        "2 tasks of backups wait, and none runs, as if a pool were missing; the settings name db, nas: run"
    )


def test_a_task_of_a_pool_has_the_advice_of_its_step() -> None:
    assert advice_on("Shop.dump__db[0]") == advice_on("Shop.dump") != advice_on("Shop.upload__nas")


def test_databases_of_a_server_are_dumped_in_its_pool(project: Configure) -> None:
    application = {"databases": [{"server": "shop_db", "pool": "db"}]}
    settings = config.load(project(applications={"Shop": application}, pools=POOLS))
    (server,) = settings.applications["Shop"].servers
    assert server.database("any").pool == "db"


@pytest.mark.parametrize(
    ("databases", "named", "told"),
    [
        (
            [NAMED | {"pool": "bd"}],
            POOLS,
            "applications.Shop.databases.0.pool: no pool 'bd' under pools; known: db, nas",
        ),
        ([NAMED | {"pool": "db"}], {}, "applications.Shop.databases.0.pool: no pool 'db' under pools; known: none"),
        ([NAMED], {"default_pool": 1}, "is Airflow's own pool, in which everything else runs"),
        ([NAMED], {"a pool": 1}, "must have 1 to 100 letters, digits, '_' and '-'"),
        ([NAMED], {"db": 0}, "pools.db: must be at least 1"),
        (
            [{"server": "shop_db", "pool": "db"}, NAMED],
            POOLS,
            "databases: their pools are db and none, but an application with a whole server has one for all",
        ),
    ],
    ids=["unknown", "none", "airflow's", "a-name", "no-slots", "two-of-a-server"],
)
def test_mistakes_are_told(project: Configure, databases: Any, named: Any, told: str) -> None:
    with pytest.raises(SettingsError) as mistake:
        config.load(project(applications={"Shop": {"databases": databases}}, pools=named))
    assert told in str(mistake.value)
    destination = {"type": "disk", "path": "/nas", "pool": "db"}
    with pytest.raises(SettingsError, match=r"destinations\.disk\.pool: no pool 'db' under pools"):
        config.load(project(prepared=False, destinations={"disk": destination}))
