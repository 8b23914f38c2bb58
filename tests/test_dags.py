"""The DAGs as Airflow runs them: parsed without errors, run task by task in one process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifeboat import catalog, config, connections

from tests.conftest import PROJECT, Configure


@pytest.fixture(scope="session")
def airflow_db() -> None:
    subprocess.run([Path(sys.executable).parent / "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def dag(project: Configure, airflow_db: None) -> Callable[..., Any]:
    """Parse the DAGs with the settings as they are, make them known to Airflow, and return one, without waiting."""

    def load(dag_id: str) -> Any:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
        from airflow.models.dagbundle import DagBundleModel
        from airflow.utils.session import create_session

        with create_session() as session:
            session.merge(DagBundleModel(name="testing"))
        bag = DagBag(dag_folder=str(PROJECT / "dags"), bundle_name="testing")
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "testing", None)
        found = bag.get_dag(dag_id)
        for task in found.tasks:
            task.retries = 0
        return found

    return load


def states(run: Any) -> dict[tuple[str, int], str]:
    return {(ti.task_id, ti.map_index): str(ti.state) for ti in run.get_task_instances()}


def keys(application: str = "Shop") -> dict[str, list[str]]:
    settings = config.load()
    return {
        destination.name: [archive.key for archive in catalog.read(destination.list()).archives]
        for destination in connections.destinations(settings, application)
    }


def test_a_run_publishes_one_archive_at_every_destination(dag: Any, project: Configure, shop: str) -> None:
    project()
    run = dag("backup_database").test(logical_date=None, run_conf={"note": "before the migration"})
    assert run.state == "success"
    stored = keys()
    assert len(stored["disk"]) == 1
    assert stored["disk"] == stored["offsite"]
    assert not list((config.load().staging / "backup_database").glob("*/*"))
