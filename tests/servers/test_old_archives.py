"""Archives made before the digest rules had versions still list, verify, restore and prove."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import drill, restore, stored_archive
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives, proof
from lifeboat.catalog import marker as markers
from lifeboat.decide.restore_plan import RestoreRequest
from lifeboat.storage.disk import DiskDestination

from include.demo.stand_ins import MariaDB, MySQL, PostgreSQL
from tests.conftest import Configure

ARCHIVES = Path(__file__).parent / "old_archives"
PASSWORD = "an old password; 'x' ñ"

MARIADB: dict[str, Any] = {"databases": [{"name": "shop", "connection": "old_mariadb"}]}
APPLICATIONS: dict[str, dict[str, Any]] = {
    "MariaDB": MARIADB,
    "Files": MARIADB | {"files": {"root": "/nowhere"}},
    "MySQL": {"databases": [{"name": "shop", "connection": "old_mysql"}]},
    "MySQL by mariadb-dump": {"databases": [{"name": "bare", "connection": "old_mysql"}]},
    "PostgreSQL": {"databases": [{"name": "shop", "engine": "postgresql", "connection": "old_postgresql"}]},
    "SQLite": {"databases": [{"name": "shop", "engine": "sqlite", "connection": "old_sqlite"}]},
}
HELD = {  # tables, rows, other objects
    "MariaDB": (5, 12, 7),
    "Files": (5, 12, 7),
    "MySQL": (6, 13, 6),
    "MySQL by mariadb-dump": (4, 10, 6),
    "PostgreSQL": (2, 6, 6),
    "SQLite": (2, 5, 5),
}
applications = pytest.mark.parametrize("application", APPLICATIONS)


@pytest.fixture
def place(
    project: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb: MariaDB,
    mysql: MySQL,
    postgresql: PostgreSQL,
) -> Iterator[DiskDestination]:
    """A destination that holds the archives, beside empty servers of the kinds that they are of."""
    for name, connection in {
        "OLD_MARIADB": mariadb.connection(),
        "OLD_MYSQL": mysql.connection(),
        "OLD_POSTGRESQL": postgresql.connection(),
        "OLD_SQLITE": json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "app" / "shop.sqlite")}),
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", connection)
    (tmp_path / "app").mkdir()
    shutil.copytree(ARCHIVES, tmp_path / "disk")
    project(
        prepared=False,
        destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
        applications=APPLICATIONS,
        drill={"production": True},
    )
    password = {"conn_type": "generic", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps(password))
    yield DiskDestination("disk", tmp_path / "disk")
    for server in (mariadb, mysql):
        for name in server.run("SHOW DATABASES").split():
            if name.startswith(("shop", "bare")):
                server.run(f"DROP DATABASE `{name}`")
    for name in postgresql.run("SELECT datname FROM pg_database").split():
        if name.startswith("shop"):
            postgresql.run(f'DROP DATABASE "{name}"')


@pytest.fixture
def key(application: str, place: DiskDestination, monkeypatch: pytest.MonkeyPatch, mysql: MySQL) -> str:
    """The archive of an application, with the server's own client in PATH that dumped it."""
    if application == "MySQL":
        monkeypatch.setenv("PATH", f"{mysql.path}:{os.environ['PATH']}")
    (archive,) = [found for found in archives.read(place.list()).archives if found.application == application]
    return archive.key


@applications
def test_an_old_archive_is_listed_and_verified(key: str, application: str, place: DiskDestination) -> None:
    marker = markers.read(place, key)
    assert marker
    with stored_archive.opened(load_site(), place, application, key) as reader:
        assert stored_archive.verify_as(reader, key, marker).sha256 == marker.archive.sha256
        manifest = reader.manifest()
        assert manifest
        (captured,) = manifest.databases
        assert captured.digest_rules == 1
        held = stored_archive.comparable(reader, captured)
    assert (len(held.tables), held.rows, len(held.objects)) == HELD[application]
    assert [table.name for table in held.tables] == [table.name for table in captured.tables]


@applications
def test_an_old_archive_is_restored_as_captured(key: str, application: str, place: DiskDestination) -> None:
    made = restore.select(load_site(), RestoreRequest(application), datetime.now(UTC))
    assert made.key == key
    restore.verify(load_site(), made)
    done = [restore.restore_database(load_site(), made, step) for step in made.databases]
    assert [each.compared for each in done] == [HELD[application][0]]


@applications
def test_an_old_archive_is_proven(key: str, application: str, place: DiskDestination) -> None:
    made = drill.rehearse(load_site(), application, place, key, "a test", datetime.now(UTC))
    assert (made.compared.tables, made.compared.rows, made.compared.objects) == HELD[application]
    assert made.notes == ()


def test_an_old_proof_is_believed(place: DiskDestination) -> None:
    (found,) = archives.read(place.list()).proofs
    assert proof.read(place, found, PASSWORD).result == "proven"
