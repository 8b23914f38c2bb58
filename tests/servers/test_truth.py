"""Nothing is called proven that was not looked at, and what nobody vouches for costs little."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lifeboat.actions import survey
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives
from lifeboat.databases.sqlite import engine
from lifeboat.decide import health
from lifeboat.errors import LifeboatError
from lifeboat.settings import config
from lifeboat.ui import archives as page
from lifeboat.ui import metrics
from lifeboat.ui.readings import Reading

from tests.command import answer
from tests.conftest import ARCHIVE_PASSWORD, Configure, disk_destination
from tests.records import proof_facts, signed_proof

NOW = datetime.now(UTC).replace(microsecond=0)


def put(root: Path, age: float, content: bytes | None) -> str:
    """Publish an archive, with anything as its proof; an authentic one where that is None."""
    disk = disk_destination("disk", root)
    key = archives.archive_key("Shop", "database", NOW - timedelta(hours=age))
    disk.write(key, b"x")
    disk.write(f"{key}.json", b"{}")
    made = signed_proof(key, ARCHIVE_PASSWORD, proven_at=NOW.isoformat())
    disk.write(f"{key}.proof.json", made.to_bytes() if content is None else content)
    return key


@pytest.mark.parametrize(
    "garbage", [b"", b"{}", b"garbage", b"[" * 100_000, json.dumps(proof_facts("Shop/database/x")).encode()]
)
@pytest.mark.parametrize("authentic", [True, False], ids=["beside an authentic one", "alone"])
def test_garbage_is_not_called_proven(project: Configure, tmp_path: Path, garbage: bytes, authentic: bool) -> None:
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    forged = [put(tmp_path / "disk", age, garbage) for age in (30, 20, 10)]
    true = [put(tmp_path / "disk", 5, None)] if authentic else []
    rows = {row["key"]: row for row in answer("list")["archives"]}
    assert [key for key, row in rows.items() if row["proven"]] == true
    assert {row["proof"] for key, row in rows.items() if key in forged} <= {"unchecked", "unproven"}
    settings = config.load()
    found = survey.read(disk_destination("disk", tmp_path / "disk"), site_of(settings))
    shown = page.rows(settings, [Reading("disk", found=found)], NOW)
    assert [row.archive.key for row in shown if row.proven] == true
    texts = [each.text for each in health.check("Shop", "disk", found, settings.limits_of("Shop"), NOW)]
    assert not any("4 of 4" in text or "3 of" in text for text in texts)


def test_without_the_password_no_proof_is_known(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    put(tmp_path / "disk", 5, None)
    monkeypatch.delenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE")
    (row,) = answer("list")["archives"]
    assert (row["proven"], row["proof"]) == (False, "unchecked")


def test_strangers_do_not_make_the_settings_be_read_again(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    project(metrics={"connection": "prometheus"})
    monkeypatch.setenv("AIRFLOW_CONN_PROMETHEUS", json.dumps({"conn_type": "generic", "password": "the token"}))
    monkeypatch.setattr(time, "monotonic", lambda: 1e6)
    reads: list[Path | None] = []
    load = config.load

    def counted(path: Path | None = None) -> config.Settings:
        reads.append(path)
        return load(path)

    monkeypatch.setattr(config, "load", counted)
    assert [metrics._is_token(offered) for offered in ["bogus"] * 50 + ["the token"]] == [False] * 50 + [True]
    assert len(reads) == 1


@pytest.mark.parametrize(
    "value", ["zeroblob(900000000)", "printf('%900000000d', 1)", "hex(zeroblob(400000000))", "zeroblob(20000000)"]
)
def test_a_function_of_a_dump_makes_little_of_little(tmp_path: Path, value: str) -> None:
    sql = f"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES({value});\nCOMMIT;\n"
    with contextlib.suppress(sqlite3.Error, LifeboatError):
        engine._load(str(tmp_path / "new"), [sql.encode()], "")
    assert (tmp_path / "new").stat().st_size < 1 << 20


def test_many_small_statements_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SMALL_FILE", 1 << 20)
    rows = b"INSERT INTO t VALUES(zeroblob(100000));\n" * 1000
    with pytest.raises((sqlite3.Error, LifeboatError)):
        engine._load(str(tmp_path / "new"), [b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\n", rows, b"COMMIT;\n"], "")
    assert (tmp_path / "new").stat().st_size < 20 << 20
