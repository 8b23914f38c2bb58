"""Two teams, three schedules, one broken application, under a real scheduler: who hears what, exactly once."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from include.demo.stand_ins import SlackSink
from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import wait_for
from tests.conftest import disk_destination

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(1800)]  # what is decided is in tests/unit, too
CHANNELS = ("common", "shop", "bread")
BREAD = {"slack": {"connection": "slack_bread"}}


def of(connection: str, **more: Any) -> dict[str, Any]:
    return {"databases": [{"name": "bread", "engine": "sqlite", "connection": connection}], **more}


APPLICATIONS = {
    "Shop": of(
        "not_there", schedules={"database": "30 * * * *"}, owner="Shop", alerts={"slack": {"connection": "slack_shop"}}
    ),
    "Bread": of("bread_db", schedules={"database": "15 6 * * *"}, tags=["bread"], alerts=BREAD),
    "Press": of("not_there", alerts=BREAD),
    "Intranet": of("not_there"),
}


@dataclass
class Teams:
    """An Airflow, and the Slack of each team."""

    airflow: Standalone
    slacks: dict[str, SlackSink]

    def run(self, dag_id: str) -> tuple[str, str]:
        """Run a DAG; return the run's id and its state."""
        run_id = str(self.airflow.api("POST", f"dags/{dag_id}/dagRuns", logical_date=None, conf={})["dag_run_id"])
        over = ("success", "failed")

        def state() -> Any:
            found = self.airflow.api("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}")["state"]
            return found if found in over else None

        return run_id, str(wait_for(state, 600))

    def heard(self, run_id: str, channels: set[str]) -> dict[str, str]:
        """Wait until these channels have heard of a run, and return what; no other has, and each has once."""

        def texts() -> dict[str, list[str]]:
            sent = {name: map(json.dumps, sink.messages()) for name, sink in self.slacks.items()}
            return {name: [text for text in all_of if f"`{run_id}`" in text] for name, all_of in sent.items()}

        wait_for(lambda: {name for name, found in texts().items() if found} >= channels)
        time.sleep(3)  # for what should not come
        assert {name: len(found) for name, found in texts().items()} == {
            name: int(name in channels) for name in CHANNELS
        }
        return {name: found[0] for name, found in texts().items() if found}


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory, airflow_database: dict[str, str]) -> Iterator[Teams]:
    home = tmp_path_factory.mktemp("teams")
    disk_destination("disk", home / "disk")
    with contextlib.closing(sqlite3.connect(home / "bread.sqlite")) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    settings = {
        "staging": str(home / "staging"),
        "encryption": "none",
        "destinations": {"disk": {"type": "disk", "path": str(home / "disk")}},
        "applications": APPLICATIONS,
        "alerts": {"slack": {"connection": "slack_common"}},
    }
    (home / "backup.yaml").write_text(json.dumps(settings))
    with contextlib.ExitStack() as stack:
        slacks = {name: stack.enter_context(SlackSink(home / name)) for name in CHANNELS}
        variables = airflow_database | {
            "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW_CONN_BREAD_DB": json.dumps({"conn_type": "sqlite", "host": str(home / "bread.sqlite")}),
            **{f"AIRFLOW_CONN_SLACK_{name.upper()}": sink.connection() for name, sink in slacks.items()},
        }
        airflow = stack.enter_context(Standalone(variables, home / "airflow.log"))
        wait_for(lambda: {"backup_check", "backup_database__shop"} <= known(airflow).keys(), 900)
        yield Teams(airflow, slacks)


def known(airflow: Standalone) -> dict[str, Any]:
    return {dag["dag_id"]: dag for dag in airflow.api("GET", "dags?limit=100")["dags"]}


def test_each_schedule_has_its_dag(teams: Teams) -> None:
    dags = known(teams.airflow)
    minutes = {name: dags[name]["next_dagrun_run_after"][14:16] for name in dags if name.startswith("backup_database")}
    assert minutes == {"backup_database": "00", "backup_database__shop": "30", "backup_database__bread": "15"}
    tags = {tag["name"] for tag in dags["backup_database__bread"]["tags"]}
    assert tags == {"lifeboat", "backup", "database", "bread"}
    assert dags["backup_database__shop"]["owners"] == ["Shop"]
    tasks = teams.airflow.api("GET", "dags/backup_database/tasks")["tasks"]
    assert {task["task_id"].partition(".")[0] for task in tasks} == {"Press", "Intranet"}


def test_a_broken_application_is_heard_of_by_its_team_alone(teams: Teams) -> None:
    """Where several fail in one run, each team hears of its own; a team whose applications are well hears nothing."""
    shop, state = teams.run("backup_database__shop")
    assert state == "failed"
    assert "Shop.dump" in teams.heard(shop, {"shop"})["shop"]
    assert teams.run("backup_database__bread")[1] == "success"
    several, state = teams.run("backup_database")
    assert state == "failed"
    heard = teams.heard(several, {"bread", "common"})
    for channel, named, other in (("bread", "Press", "Intranet"), ("common", "Intranet", "Press")):
        assert f"{named}.dump" in heard[channel]
        assert other not in heard[channel]
    check, state = teams.run("backup_check")
    assert state == "failed"
    heard = teams.heard(check, set(CHANNELS))
    for channel, named in (("shop", "Shop"), ("bread", "Press"), ("common", "Intranet")):
        assert f"{named} at disk: there is no database archive yet" in heard[channel]
        assert [name for name in APPLICATIONS if f"{name} at disk" in heard[channel]] == [named]
