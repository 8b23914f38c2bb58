"""The task group that takes a backup before a change, in the example DAG of the docs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifeboat import FreshBackup
from lifeboat.actions import backup, drill
from lifeboat.airflow.operators import before_change
from lifeboat.airflow.site import load_site
from lifeboat.catalog import proof

from tests.airflow.test_dags import LoadDag, load_dag, run, states, stored  # noqa: F401  # a fixture
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure

DRILLS = {"drill": {"production": True}}


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """Where the migration writes the key that it was given."""
    return tmp_path / "migrated"


@pytest.fixture
def example(load_dag: LoadDag, migrated: Path) -> Callable[[], Any]:  # noqa: F811
    """Load the example; its migration writes a file instead."""

    def load() -> Any:
        dag = load_dag("migrate_shop", PROJECT / "docs" / "examples")
        dag.get_task("migrate").bash_command = f'printf %s "$ARCHIVE" > {migrated}'
        return dag

    return load


def test_a_migration_runs_behind_its_own_proven_backup(
    project: Configure, example: Callable[[], Any], shop: str, migrated: Path, tmp_path: Path
) -> None:
    project(**DRILLS)
    keys = []
    for _ in range(2):
        done = run(example())
        assert done.state == "success"
        assert set(states(done)) == {"fresh_backup.back_up", "fresh_backup.prove", "migrate"}
        keys.append(migrated.read_text())
        assert set(map(tuple, stored().values())) == {tuple(sorted(keys, reverse=True))}
    assert len(set(keys)) == 2
    for destination in load_site().destinations("Shop"):
        assert {proof.read(destination, key, ARCHIVE_PASSWORD).key for key in keys} == set(keys)
    assert [path for path in (tmp_path / "staging").rglob("*") if path.is_file()] == []


def test_a_backup_that_one_destination_lacks_stops_the_migration(
    project: Configure, example: Callable[[], Any], shop: str, migrated: Path, tmp_path: Path
) -> None:
    project(**DRILLS)
    assert run(example()).state == "success"
    migrated.unlink()
    shutil.rmtree(tmp_path / "disk")
    failed = run(example())
    assert failed.state == "failed"
    assert states(failed) == {
        "fresh_backup.back_up": ["failed"],
        "fresh_backup.prove": ["upstream_failed"],
        "migrate": ["upstream_failed"],
    }
    ti = failed.get_task_instances()[0]
    reason = ti.xcom_pull(task_ids="fresh_backup.back_up", key="failure")["reason"]
    assert "is published at offsite, but must be everywhere. disk: " in reason
    assert not migrated.exists()


def test_a_backup_that_meets_another_of_the_same_second_is_taken_again(
    project: Configure,
    example: Callable[[], Any],
    shop: str,
    migrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = backup.store_archive
    met: list[str] = []
    other = tmp_path / "other"
    other.write_bytes(b"an archive of another run")

    def meeting(scratch: Any, packed: Any, destination: Any) -> None:
        if not met and destination.name == "disk":
            met.append(packed.key)
            destination.store(other, packed.key, hashlib.sha256(other.read_bytes()).hexdigest())
        store(scratch, packed, destination)

    project(**DRILLS)
    monkeypatch.setattr(backup, "store_archive", meeting)
    done = run(example())
    assert done.state == "success"
    assert met
    assert migrated.read_text() > met[0]
    assert stored() == {"disk": [migrated.read_text()], "offsite": [migrated.read_text(), *met]}
    assert (tmp_path / "disk" / met[0]).read_bytes() == other.read_bytes()
    monkeypatch.setattr(before_change, "MOST_TAKEN", 1)
    met.clear()
    failed = run(example())
    reason = failed.get_task_instances()[0].xcom_pull(task_ids="fresh_backup.back_up", key="failure")["reason"]
    assert "is published at offsite, but must be everywhere. disk: " in reason


def test_an_archive_that_was_damaged_meanwhile_stops_the_migration(
    project: Configure,
    example: Callable[[], Any],
    shop: str,
    migrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rehearse = drill.rehearse

    def damaging(site: Any, application: str, destination: Any, key: str, *others: Any) -> Any:
        path = tmp_path / "disk" / key
        path.write_bytes(path.read_bytes()[:-30])
        return rehearse(site, application, destination, key, *others)

    project(**DRILLS)
    monkeypatch.setattr(drill, "rehearse", damaging)
    failed = run(example())
    assert failed.state == "failed"
    assert states(failed)["fresh_backup.prove"] == ["failed"]
    assert states(failed)["migrate"] == ["upstream_failed"]
    assert not migrated.exists()


def test_without_a_proof_the_key_comes_from_the_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG

    monkeypatch.setenv("LIFEBOAT_CONFIG", "/nowhere/backup.yaml")  # nothing is read while a DAG is parsed
    with DAG("a_change", schedule=None) as dag:
        group = FreshBackup(application="{{ params.application }}", kind="application", group_id="first")
    assert [task.task_id for task in dag.tasks] == ["first.back_up"]
    assert list(group.output.iter_references()) == [(dag.get_task("first.back_up"), "return_value")]
