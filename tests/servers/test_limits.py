"""What a restore will not bring back is told wherever an archive is looked at, in public without names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import check, drill, survey
from lifeboat.airflow import connections
from lifeboat.airflow.site import site_of
from lifeboat.catalog import marker as markers
from lifeboat.databases import Dump, Limit
from lifeboat.databases.mysql.limits import FLOAT
from lifeboat.decide import health
from lifeboat.settings import config
from lifeboat.ui import archives

from include.demo.stand_ins import MariaDB
from tests.command import lifeboat
from tests.conftest import Configure
from tests.records import marker_facts

SECRET = "secret_table"
TOLD = f"{FLOAT}: 1"


@pytest.fixture
def inexact(mariadb: MariaDB) -> Iterator[str]:
    """A database whose values a dump does not carry exactly."""
    mariadb.run("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop")
    mariadb.run(
        f"CREATE TABLE {SECRET} (id INT PRIMARY KEY, f FLOAT); INSERT INTO {SECRET} VALUES (1, 0.123456789)", "shop"
    )
    yield "shop"
    mariadb.run("DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS shop_copy")


def findings(settings: config.Settings) -> list[health.Finding]:
    found = check.examine("disk", site_of(settings), ["Shop"], datetime.now(UTC)).findings
    return [finding for finding in found if finding.check == "database limits"]


def test_limits_are_told_wherever_an_archive_is_looked_at(project: Configure, inexact: str) -> None:
    project(drill={"production": True})
    settings = config.load()
    destination = connections.destination("disk", settings.destinations["disk"])

    said = lifeboat("backup", "database", "Shop", "--destination", "disk")
    assert said.returncode == 0, said.stderr
    assert "1 thing of shop will not come back exactly" in said.stdout
    assert TOLD in said.stdout

    (archive,) = survey.read(destination, site_of(settings)).archives
    marker = markers.read(destination, archive.key)
    assert marker is not None
    assert marker.totals.limits == 1
    assert SECRET not in marker.to_bytes().decode()
    assert ("Not restored exactly", "1") in archives.contents(marker).facts

    (finding,) = findings(settings)
    assert finding.verdict == "degraded"
    assert "the newest database archive has 1 limit: a restore will not bring everything back" in finding.text
    assert "To accept them: health.known_limits: 1" in finding.text
    accepted = settings.model_copy(update={"health": settings.health.model_copy(update={"known_limits": 1})})
    assert {finding.verdict for finding in findings(accepted)} == {"healthy"}

    made = drill.rehearse(site_of(settings), "Shop", destination, archive.key, "test", datetime.now(UTC))
    assert f"not restored exactly: {TOLD}" in made.notes
    assert SECRET not in made.to_bytes().decode()

    said = lifeboat("restore", "database", "Shop", "--destination", "disk", "--into", "shop_copy")
    assert said.returncode == 0, said.stderr
    assert "1 table compared, all equal to the dump" in said.stdout


@pytest.mark.parametrize(
    ("totals", "verdict"),
    [
        ({"limits": 3}, "degraded"),
        ({"limits": 0}, ""),
        ({}, ""),
        ({"limits": "many"}, "unhealthy"),
        (None, "unhealthy"),
    ],
)
def test_the_marker_of_the_newest_archive_is_asked(
    project: Configure, tmp_path: Path, totals: dict[str, Any] | None, verdict: str
) -> None:
    project()
    settings = config.load()
    folder = tmp_path / "disk" / "Shop" / "database"
    folder.mkdir(parents=True)
    for day, content in (("01", {"limits": 9}), ("02", totals)):
        (folder / f"2026-11-{day}-01-00-00.zip").write_bytes(b"x")
        facts = marker_facts(f"Shop/database/2026-11-{day}-01-00-00.zip")
        facts["totals"] = facts["totals"] | content if isinstance(content, dict) else content
        (folder / f"2026-11-{day}-01-00-00.zip.json").write_text(json.dumps(facts))
    found = findings(settings)
    assert [finding.verdict for finding in found] == ([verdict] if verdict else [])


def test_a_marker_that_cannot_be_read_is_a_finding(project: Configure, tmp_path: Path) -> None:
    project()
    folder = tmp_path / "disk" / "Shop" / "database"
    folder.mkdir(parents=True)
    (folder / "2026-11-01-01-00-00.zip").write_bytes(b"x")
    (folder / "2026-11-01-01-00-00.zip.json").write_text("{")
    (finding,) = findings(config.load())
    assert finding.verdict == "unhealthy"
    assert "is not the marker of an archive" in finding.text


def test_dumps_of_before_have_no_limits() -> None:
    dump = Dump("d", "mysql", "s", "c", "u", "u", datetime.now(UTC), 1, "", (), (), (), ("old",))
    facts = dump.to_json()
    del facts["limits"]
    assert Dump.from_json(facts) == dump
    assert dump.notices == ["d: no snapshot protects old"]
    limited = Dump.from_json(facts | {"limits": [{"kind": FLOAT, "name": "t.f", "text": "six digits"}]})
    assert limited.limits == (Limit(FLOAT, "t.f", "six digits"),)
    assert limited.notices == ["d: no snapshot protects old", "d: six digits"]
