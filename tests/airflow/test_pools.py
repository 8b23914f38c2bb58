"""Which pool each task of a backup has, and who makes and misses pools; test_scheduler.py shows that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import doctor, pools
from lifeboat.settings import config

from tests.airflow.test_dags import LoadDag, load_dag, run, states, stored
from tests.conftest import Configure

__all__ = ["load_dag"]

POOLS = {"lifeboat_db": 1, "lifeboat_nas": 2}


def of(name: str, pool: str | None = None) -> dict[str, Any]:
    return {"name": name, "connection": "shop_db", **({"pool": pool} if pool else {})}


def disk(path: Path, pool: str | None = None) -> dict[str, Any]:
    return {"type": "disk", "path": str(path), **({"pool": pool} if pool else {})}


def pools_of(dag: Any) -> dict[str, str]:
    """Return the pools of the tasks that are not in Airflow's own."""
    return {task.task_id: task.pool for task in dag.tasks if task.pool != "default_pool"}


@pytest.fixture
def unmade(load_dag: LoadDag) -> None:
    """Airflow without the pools of these tests."""
    from airflow.models.pool import Pool

    for name in POOLS.keys() & pools.made().keys():
        Pool.delete_pool(name)


def test_each_task_is_in_the_pool_of_what_it_works_on(project: Configure, load_dag: LoadDag, tmp_path: Path) -> None:
    applications = {
        "One": {"databases": [of("a", "lifeboat_db"), of("b", "lifeboat_db")]},
        "Two": {"databases": [of("a", "lifeboat_db"), of("b")], "destinations": ["here"]},
        "All": {"databases": [{"server": "shop_db", "pool": "lifeboat_db"}], "destinations": ["nas"]},
        "None": {"databases": [of("a")], "destinations": ["here"]},
    }
    destinations = {"here": disk(tmp_path / "here"), "nas": disk(tmp_path / "nas", "lifeboat_nas")}
    project(applications=applications, destinations=destinations, pools=POOLS)
    assert pools_of(load_dag()) == {
        "One.dump": "lifeboat_db",
        "One.upload__lifeboat_nas": "lifeboat_nas",
        "Two.dump__lifeboat_db": "lifeboat_db",
        "All.dump": "lifeboat_db",
        "All.upload": "lifeboat_nas",
    }


def test_a_backup_in_several_pools_is_whole(
    project: Configure, load_dag: LoadDag, shop: str, tmp_path: Path, unmade: None
) -> None:
    """Airflow's test runs of one process know no pools: they show that the tasks fit together."""
    destinations = {"here": disk(tmp_path / "here"), "nas": disk(tmp_path / "nas", "lifeboat_nas")}
    databases = [of("shop", "lifeboat_db"), of("mysql")]
    project(applications={"Shop": {"databases": databases}}, destinations=destinations, pools=POOLS)
    done = run(load_dag(), databases=["shop"])
    assert done.state == "success"
    found = states(done)
    assert (found["Shop.dump__lifeboat_db"], found["Shop.dump"]) == (["success"], ["skipped"])
    assert [len(keys) for keys in stored().values()] == [1, 1]


def test_doctor_makes_pools_and_checks_miss_them(
    project: Configure, load_dag: LoadDag, tmp_path: Path, unmade: None
) -> None:
    from airflow.models.pool import Pool

    project(destinations={"disk": disk(tmp_path / "disk", "lifeboat_nas")}, pools=POOLS)
    assert [finding.verdict for finding in pools.check(POOLS)] == ["unhealthy"] * 2

    def told() -> list[str]:
        return [finding.text for finding in doctor.examine() if finding.what == "pools"]

    assert told() == [
        "'lifeboat_db' has 1 slot; it was missing, and is made",
        "'lifeboat_nas' has 2 slots; it was missing, and is made",
    ]
    assert told() == ["'lifeboat_db' has 1 slot", "'lifeboat_nas' has 2 slots"]
    assert pools.check(config.load().pools) == []
    Pool.create_or_update_pool("lifeboat_nas", 7, "", include_deferred=True)
    assert [finding.verdict for finding in pools.check(POOLS)] == ["degraded"]
    assert told() == ["'lifeboat_db' has 1 slot", "'lifeboat_nas' has 2 slots, and had 7 before"]
