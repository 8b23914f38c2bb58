"""The DAGs as Airflow runs them, with MySQL, or PostgreSQL, and its own client."""

from __future__ import annotations

from pathlib import Path

import pytest
from lifeboat.airflow.site import load_site

from tests.airflow.test_dags import LoadDag, load_dag, run, stored
from tests.conftest import Configure
from tests.matrix.pairs import over
from tests.matrix.subjects import BYSTANDER, CONNECTION, NAME, ORDINARY, Pair, Subject
from tests.matrix.test_conformance import configure, differing

__all__ = ["load_dag"]

pytestmark = over(ORDINARY[:1], (Pair("postgresql_17"),))


def test_a_database_is_backed_up_rehearsed_and_restored(
    subject: Subject, project: Configure, load_dag: LoadDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.make()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", subject.connection())
    configure(project, subject, tmp_path)
    assert run(load_dag("backup_database")).state == "success"
    (key,) = stored()["disk"]
    before = subject.fingerprint(NAME)
    assert run(load_dag("restore_drill")).state == "success"
    (place,) = load_site().destinations("Shop")
    assert [found.key for found in place.list() if found.key.endswith(".proof.json")] != []
    subject.run(f"DELETE FROM {subject.rows_of}", NAME)
    conf = {"application": "Shop", "archive": key, "overwrite": [NAME]}
    assert run(load_dag("restore_database"), **conf).state == "success"
    assert differing(subject.fingerprint(NAME), before) == {}
    kept = {name for name in subject.databases() if name.startswith(f"{NAME}_before_")}  # by PostgreSQL
    assert subject.databases() - kept == {NAME, BYSTANDER}
