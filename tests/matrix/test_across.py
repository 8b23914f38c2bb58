"""Restores across servers: dumped by one, restored and proven by another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.demo import marketplace
from tests.conftest import Configure
from tests.matrix.conftest import drop, subject_of, versions
from tests.matrix.pairs import across_mysql, across_postgresql
from tests.matrix.subjects import NAME, InMySQL, InPostgreSQL, Pair
from tests.matrix.test_conformance import differing, rehearse
from tests.servers.test_restore import back_up, plan, restored

ROWS = 2000


def load_marketplace(subject: InMySQL) -> None:
    """Load the demo's marketplace, whose numbers come from a storage engine that only MariaDB has, from a table."""
    name = marketplace.DATABASE
    values = ", ".join(f"({number})" for number in range(1, ROWS + 1))
    subject.server.run(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4")
    subject.server.run(f"CREATE TABLE numbers (seq INT PRIMARY KEY); INSERT INTO numbers VALUES {values}", name)
    text = Path(marketplace.__file__).with_name("marketplace.sql").read_text(encoding="utf-8")
    subject.server.run(f"SET @rows = {ROWS};\n{text.replace('seq_1_to_100000000', 'numbers')}", name)


def rows_of(subject: InMySQL, database: str) -> dict[str, str]:
    """Return what a database holds but for definitions, which servers of two kinds word differently."""
    return {name: text for name, text in subject.fingerprint(database).items() if name.startswith("rows of ")}


@across_mysql
def test_a_database_is_restored_and_proven_on_another_server(
    pair: Pair,
    request: pytest.FixtureRequest,
    project: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """A pair means here: dumped by the first server's own client, restored to the second."""
    with monkeypatch.context() as patch:
        target = subject_of(Pair(pair.client), request, tmp_path / "target", patch)
        restored_to, _ = versions(target)
    source = subject_of(Pair(pair.server), request, tmp_path / "source", monkeypatch)
    assert isinstance(source, InMySQL)
    assert isinstance(target, InMySQL)
    server, client = versions(source)
    for name, value in {"server": server, "client": client, "restored to": restored_to}.items():
        record_property(name, value)
    load_marketplace(source)
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE_DB", source.connection())
    monkeypatch.setenv("AIRFLOW_CONN_TARGET_DB", target.connection())
    database: dict[str, Any] = {"name": marketplace.DATABASE, "connection": "source_db"}
    project(
        destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
        applications={"Shop": {"databases": [database | {"restore_connection": "target_db"}]}},
        drill={"connection": {"mysql": "target_db"}},
    )
    key = back_up().packed.key
    (done,) = restored(plan(into="moved"))
    assert done.compared == done.tables > 0
    assert rows_of(target, "moved") == rows_of(source, marketplace.DATABASE)
    views = "SELECT count(*) FROM information_schema.views WHERE table_schema = "
    assert target.run(f"{views}'moved'", "moved") == source.run(f"{views}database()", marketplace.DATABASE)
    assert rehearse(key).result == "proven"
    target.server.run("DROP DATABASE moved")
    source.server.run(f"DROP DATABASE {marketplace.DATABASE}")


@across_postgresql
def test_a_database_is_restored_and_proven_on_a_newer_postgresql(
    pair: Pair,
    request: pytest.FixtureRequest,
    project: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Each server has its own client: no client reads a server newer than itself."""
    with monkeypatch.context() as patch:
        source = subject_of(Pair(pair.server), request, tmp_path, patch)
        server, client = versions(source)
        source.make()
        patch.setenv("AIRFLOW_CONN_SUBJECT_DB", source.connection())
        database: dict[str, Any] = {"name": NAME, "engine": "postgresql", "connection": "subject_db"}
        project(
            destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
            applications={"Shop": {"databases": [database]}},
            drill={"production": True},
        )
        key = back_up().packed.key
    target = subject_of(Pair(pair.client), request, tmp_path, monkeypatch)
    assert isinstance(target, InPostgreSQL)
    for name in target.databases():
        target.server.run(f'DROP DATABASE "{name}" WITH (FORCE)')
    restored_to, _ = versions(target)
    for name, value in {"server": server, "client": client, "restored to": restored_to}.items():
        record_property(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_SUBJECT_DB", target.connection())
    (done,) = restored(plan(into="moved"))
    assert done.compared == done.tables > 0
    assert set(differing(target.fingerprint("moved"), source.fingerprint(NAME))) <= {"views"}, "worded otherwise"
    assert rehearse(key).result == "proven"
    for subject in (source, target):
        for name in subject.databases():
            drop(subject, name)
