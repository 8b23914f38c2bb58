"""Archives of some databases only, and damaged ones, count neither for the check nor for a gate."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import check
from lifeboat.airflow.operators.fresh import RequireFreshBackup
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives as catalog
from lifeboat.settings import config

from tests.conftest import Configure
from tests.records import marker_facts

TWO = {"databases": [{"name": name, "connection": "shop_db"} for name in ("shop", "blog")], "destinations": ["disk"]}


def publish(root: Path, hours: float, databases: Any) -> Path:
    """Put an archive of so many hours of age, whose marker counts so many databases, into a directory."""
    time = datetime.now(UTC) - timedelta(hours=hours)
    path = root / catalog.archive_key("Shop", "database", time)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    facts = marker_facts(path.relative_to(root).as_posix())
    facts["totals"]["databases"] = databases
    path.with_name(f"{path.name}.json").write_text(json.dumps(facts))
    return path


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({}, ""),
        ({1: 2}, ""),
        ({1: 1, 20: 2}, ""),  # somebody backed up one database since
        ({1: "many"}, ""),
        ({1: 1, 2: 0}, "1 database of the settings missing"),
        ({1: 0, 40: 2}, "2 databases of the settings missing"),  # the whole one is too old
        ({40: 1}, ""),  # which its age says
    ],
)
def test_databases_that_no_young_archive_holds_are_a_finding(
    project: Configure, tmp_path: Path, held: dict[float, Any], told: str
) -> None:
    settings = config.load(project(applications={"Shop": TWO}))
    for hours, databases in held.items():
        publish(tmp_path / "disk", hours, databases)
    findings = check.examine("disk", site_of(settings), ["Shop"], datetime.now(UTC)).findings
    found = [(each.verdict, each.text) for each in findings if each.check == "database databases"]
    assert [verdict for verdict, _ in found] == ["degraded"] * bool(told)
    assert all(told in text for _, text in found)


def poke() -> bool:
    return RequireFreshBackup(task_id="fresh", application="Shop", max_age=timedelta(hours=6)).poke({})


def test_a_gate_counts_no_archive_of_some_databases_only(project: Configure, tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    config.load(project(applications={"Shop": TWO}))
    publish(tmp_path / "disk", 1, 1)
    with pytest.raises(AirflowFailException, match=r"No database archive of Shop is at most .* old; there is none"):
        poke()
    old = publish(tmp_path / "disk", 7, 2)
    with pytest.raises(AirflowFailException, match=f"the newest is Shop/database/{old.name}, 7.0 hours old"):
        poke()
    publish(tmp_path / "disk", 5, 2)
    assert poke()


@pytest.mark.parametrize("suffix", [".damaged.json", ".json"])
def test_a_gate_counts_no_archive_that_no_restore_would_take(project: Configure, tmp_path: Path, suffix: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    config.load(project(applications={"Shop": TWO}))
    path = publish(tmp_path / "disk", 1, 2)
    assert poke()
    path.with_name(path.name + suffix).write_text("{}")
    with pytest.raises(AirflowFailException, match="there is none"):
        poke()
