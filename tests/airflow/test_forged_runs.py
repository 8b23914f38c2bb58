"""Airflow's own API as a weapon: a user who may trigger DAGs changes XComs and states of tasks of running DAGs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from include.demo.stand_ins import MariaDB, SlackSink
from include.demo.standalone import BUSY, PAUSES, Standalone
from tests.airflow.test_scheduler import wait_for
from tests.airflow.ui.conftest import publish
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, disk_destination, where_it_is_noon

pytestmark = pytest.mark.timeout(900)

USERS = {"admin": "admin", "op": "op", "user": "user"}
PRODUCTION = "forged_shop"
AGES = (400, 300, 200, 100, 2)


def post(airflow: Standalone, path: str, **body: object) -> Any:
    """Send a request as the user who may trigger DAGs; again where SQLite refuses, since two write at once."""
    for pause in PAUSES:
        try:
            return airflow.api("POST", path, user="user", **body)
        except HTTPError as error:
            if error.code != BUSY:
                raise
        time.sleep(pause)
    return airflow.api("POST", path, user="user", **body)


@dataclass
class Run:
    """A run of a DAG, as the user who may trigger it reaches it."""

    airflow: Standalone
    dag_id: str
    id: str

    @property
    def path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{quote(self.id)}"

    def xcom(self, task: str, key: str = "return_value", map_index: int = -1) -> Any:
        path = f"{self.path}/taskInstances/{task}/xcomEntries/{key}?deserialize=true&map_index={map_index}"
        return self.airflow.api("GET", path, user="user")["value"]

    def patch_xcom(self, task: str, value: Any, key: str = "return_value", map_index: int = -1) -> None:
        path = f"{self.path}/taskInstances/{task}/xcomEntries/{key}"
        self.airflow.api("PATCH", path, user="user", value=value, map_index=map_index)

    def post_xcom(self, task: str, value: Any, key: str) -> None:
        path = f"{self.path}/taskInstances/{task}/xcomEntries"
        post(self.airflow, path, key=key, value=value)

    def mark_success(self, *tasks: str) -> None:
        for task in tasks:
            self.airflow.api("PATCH", f"{self.path}/taskInstances/{task}", user="user", new_state="success")

    def clear(self, *tasks: object, only_failed: bool = False, reset: bool = True) -> None:
        chosen = {"task_ids": list(tasks)} if tasks else {}
        body = {"dry_run": False, "dag_run_id": self.id, "only_failed": only_failed} | chosen
        path = f"dags/{self.dag_id}/clearTaskInstances"
        post(self.airflow, path, **body, include_downstream=True, reset_dag_runs=reset)

    def waits(self) -> None:
        """Wait until the run waits for a second person."""
        approve = f"{self.path}/taskInstances/approve"
        wait_for(lambda: self.airflow.api("GET", approve)["state"] == "awaiting_input")

    def approve(self, by: str) -> None:
        """Approve as often as it is asked: Airflow asks again when an answer comes at once."""
        approve = f"{self.path}/taskInstances/approve"

        def answered() -> bool:
            state = self.airflow.api("GET", approve)["state"]
            if state == "awaiting_input":
                time.sleep(3)
                self.airflow.api("PATCH", f"{approve}/-1/hitlDetails", user=by, chosen_options=["Approve"])
            return state in ("success", "failed")

        wait_for(answered)

    def ended(self) -> str:
        def state() -> str:
            found = self.airflow.api("GET", self.path)["state"]
            return found if found in ("success", "failed") else ""

        return str(wait_for(state, 240))

    def states(self) -> dict[str, str]:
        tasks = self.airflow.api("GET", f"{self.path}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}


@dataclass
class Site:
    """Airflow with logins, a destination on a disk, and production."""

    airflow: Standalone
    disk: Path
    offsite: Path
    mariadb: MariaDB
    slack: SlackSink

    def trigger(self, dag_id: str, **conf: object) -> Run:
        run = post(self.airflow, f"dags/{dag_id}/dagRuns", logical_date=None, conf=conf)
        return Run(self.airflow, dag_id, run["dag_run_id"])

    def refused(self, run: Run, reason: str) -> None:
        """Expect that a run fails, changes nothing in production, and says why in an alert."""
        assert run.ended() == "failed"
        assert self.rows() == "3\n", "production was replaced"
        try:
            wait_for(lambda: any(run.dag_id in told and reason in told for told in map(str, self.slack.messages())))
        except AssertionError:
            told = [message for message in map(str, self.slack.messages()) if run.id in message]
            raise AssertionError(f"no alert says {reason!r}: {run.states()}, {told}") from None

    def rows(self) -> str:
        return self.mariadb.run("SELECT count(*) FROM customers", PRODUCTION)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, airflow_database: dict[str, str]
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("forged")
    mariadb.run(f"DROP DATABASE IF EXISTS {PRODUCTION}; CREATE DATABASE {PRODUCTION}")
    mariadb.run("CREATE TABLE customers (id INT PRIMARY KEY); INSERT INTO customers VALUES (1), (2)", PRODUCTION)
    disk, offsite = home / "disk", home / "offsite"
    for root in (disk, offsite):
        disk_destination(root.name, root)
    settings = {
        "timezone": where_it_is_noon(),
        "staging": str(home / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {root.name: {"type": "disk", "path": str(root)} for root in (disk, offsite)},
        "applications": {
            "Shop": {"databases": [{"name": PRODUCTION, "connection": "shop_db"}]},
            "Old": {"databases": [{"name": PRODUCTION, "connection": "shop_db"}]},
        },
        "alerts": {"slack": {"connection": "slack"}},
        "drill": {"production": True},
        "restore": {"require_approval": True},
    }
    (home / "backup.yaml").write_text(json.dumps(settings))
    (home / "airflow").mkdir()
    with SlackSink(home / "slack") as slack:
        variables = airflow_database | {
            "LIFEBOAT_CONFIG": str(home / "backup.yaml"),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW_CONN_SHOP_DB": mariadb.connection(),
            "AIRFLOW_CONN_SLACK": slack.connection(),
            "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
        }
        with Standalone(variables, home / "airflow.log", users=USERS) as airflow:
            wait_for(lambda: airflow.api("GET", "dags?limit=50")["total_entries"] >= 8)
            made = Site(airflow, disk, offsite, mariadb, slack)
            assert made.trigger("backup_database", application="Shop").ended() == "success"
            mariadb.run("INSERT INTO customers VALUES (3)", PRODUCTION)  # a restore would take it back
            yield made
    mariadb.run(f"DROP DATABASE IF EXISTS {PRODUCTION}")


def over_the_original(document: Any) -> Any:
    """Return a plan that replaces production, made of one that does not."""
    plan = document.get("facts", document)
    steps = [{**step, "schema": PRODUCTION, "in_place": True, "exists": True} for step in plan["databases"]]
    return {**document, "facts": {**plan, "databases": steps}} if "facts" in document else {**plan, "databases": steps}


def test_a_restore_that_nobody_approved_replaces_nothing(site: Site) -> None:
    run = site.trigger("restore_database", application="Shop", overwrite=[PRODUCTION])
    run.waits()
    run.mark_success("approve")
    site.refused(run, "There is no receipt of approve: the step that leaves it did not run")
    run.clear(only_failed=True)
    site.refused(run, "There is no receipt of approve")
    # Nor with the receipt of another step, nor with the state of all steps before the one that replaces.
    run.post_xcom("approve", run.xcom("verify", "receipt"), "receipt")
    run.clear("safety_backup")
    site.refused(run, "The receipt of approve was signed for another run or step")
    run.mark_success("safety_backup")
    run.clear("restore")
    site.refused(run, "The receipt of approve was signed for another run or step")


def test_a_plan_that_was_changed_replaces_nothing(site: Site) -> None:
    run = site.trigger("restore_database", application="Shop", into="forged_copy")
    run.waits()
    plan = over_the_original(run.xcom("select", "plan"))
    run.patch_xcom("select", plan, "plan")
    run.patch_xcom("select", plan.get("facts", plan)["databases"])
    run.approve("op")  # who was shown a harmless plan
    site.refused(run, "The restore plan was not signed by a step of this run")
    assert "forged_copy" not in site.mariadb.run("SHOW DATABASES").split()


def test_an_approval_is_of_one_run_and_good_once(site: Site) -> None:
    conf = {"application": "Shop", "databases": [PRODUCTION], "into": "approved_copy"}
    run = site.trigger("restore_database", **conf)
    run.approve("op")
    assert run.ended() == "success"
    assert site.mariadb.run("SELECT count(*) FROM customers", "approved_copy") == "2\n"
    site.mariadb.run("DROP DATABASE approved_copy")
    for reset in (True, False):
        run.clear("restore", reset=reset)
        if not reset:
            site.airflow.api("PATCH", run.path, user="user", state="queued")
        site.refused(run, "The approval was used")
        assert "approved_copy" not in site.mariadb.run("SHOW DATABASES").split()

    replayed = site.trigger("restore_database", **conf)
    replayed.waits()
    for task, key in (("select", "plan"), ("verify", "receipt")):
        replayed.patch_xcom(task, run.xcom(task, key), key)
    for task in ("approve", "safety_backup"):
        replayed.post_xcom(task, run.xcom(task, "receipt"), "receipt")
    replayed.mark_success("safety_backup", "approve")
    site.refused(replayed, "The restore plan was signed for another run or step")
    assert "approved_copy" not in site.mariadb.run("SHOW DATABASES").split()

    run.clear("select")
    site.refused(run, "This run was cleared, possibly by another user than the one who started it")


def test_a_cleanup_deletes_what_its_own_plan_named(site: Site) -> None:
    keys = publish(site.disk, *AGES, application="Old")
    run = site.trigger("backup_cleanup", application="Old", destination="disk", dry_run=False)
    assert run.ended() == "success"
    kept = [key for key in keys if (site.disk / key).exists()]
    plan = run.xcom("disk.evaluate_retention")
    forged = {"now": "2100-01-01T00:00:00+00:00", "archives": dict.fromkeys(kept, 10), "unfinished": {}, "uploads": []}
    run.patch_xcom("disk.evaluate_retention", {**plan, "facts": forged} if "facts" in plan else forged)
    run.clear("disk.delete_archives")
    site.refused(run, "The clean-up plan of disk was not signed by a step of this run")
    assert [key for key in keys if (site.disk / key).exists()] == kept
    assert len(kept) > 1


def test_an_upload_publishes_what_its_run_packed(site: Site) -> None:
    run = site.trigger("backup_database", application="Shop", databases=[PRODUCTION])
    assert run.ended() == "success"
    (other,) = publish(site.offsite, 50)
    packed = run.xcom("Shop.archive")
    forged = {"key": other, "size": 10, "sha256": "ab" * 32}
    run.patch_xcom("Shop.archive", {**packed, "facts": forged} if "facts" in packed else forged)
    run.clear(["Shop.upload", 0])
    site.refused(run, "The packed archive of Shop was not signed by a step of this run")
    assert not (site.disk / other).exists()


def test_a_drill_rehearses_what_its_run_chose(site: Site) -> None:
    (unproven,) = publish(site.disk, 60, application="Old")
    proof = site.disk / f"{unproven}.proof.json"
    proof.write_text("a proof of another application")
    run = site.trigger("restore_drill", application="Shop", destination="disk")
    assert run.ended() == "success"
    choices = run.xcom("Shop.choose_archives")
    forged = {"destination": "disk", "key": unproven}
    run.patch_xcom("Shop.choose_archives", [{**each, "facts": forged, **forged} for each in choices])
    run.clear("Shop.drill")
    site.refused(run, "of what to rehearse of Shop was not signed by a step of this run")
    assert proof.exists(), "a drill that fails withdraws a proof, which was another application's"


def test_a_check_that_was_not_healthy_stays_so(site: Site) -> None:
    run = site.trigger("backup_check", application="Old", destination="offsite")
    assert run.ended() == "failed"
    run.mark_success("offsite.check")
    run.clear("compare")
    site.refused(run, "Not healthy: offsite. The check of each says why.")
    checked = run.xcom("offsite.check", "checked")
    run.patch_xcom("offsite.check", {**checked, "facts": {"healthy": True, "newest": {}}}, "checked")
    run.clear("compare")
    site.refused(run, "The check of offsite was not signed by a step of this run")


@pytest.mark.parametrize(
    "conf",
    [
        pytest.param({"application": "Nobody"}, id="no-such-application"),
        pytest.param({"application": "Shop", "overwrite": PRODUCTION}, id="text-for-a-list"),
        pytest.param({"application": "Shop", "databases": [{"name": "x"}]}, id="object-for-a-name"),
        pytest.param({"application": "Shop", "archive": ""}, id="too-short"),
        pytest.param({"application": "Shop", "destination": "nowhere"}, id="no-such-destination"),
        pytest.param({"application": "Shop", "compare": "no"}, id="text-for-a-switch"),
    ],
)
def test_what_the_form_does_not_allow_the_api_refuses(site: Site, conf: dict[str, object]) -> None:
    with pytest.raises(HTTPError, match="400"):
        site.trigger("restore_database", **conf)


def test_jinja_and_unknown_keys_in_a_runs_conf_do_nothing(site: Site) -> None:
    template = "{{ conn.lifeboat_archive.password }}{{ 7 * 191 }}"
    run = site.trigger("restore_database", application="Shop", into=template, plan={"key": template}, unknown=template)
    run.waits()
    (asked,) = site.airflow.api("GET", f"{run.path}/hitlDetails")["hitl_details"]
    assert f"goes into schema {template}" in asked["body"]
    assert ARCHIVE_PASSWORD not in json.dumps(asked)
    assert "1337" not in asked["body"]
    run.airflow.api("PATCH", run.path, user="user", state="failed")


def test_a_runs_conf_cannot_be_changed_and_a_connections_password_not_be_read(site: Site) -> None:
    run = site.trigger("init_destination", destination="disk")
    with pytest.raises(HTTPError, match="422"):
        site.airflow.api("PATCH", run.path, user="user", conf={"destination": "offsite"})
    # A connection in Airflow's database, which hides more than one of the environment.
    made = {"connection_id": "as_archives", "conn_type": "generic", "password": "so secret", "extra": "{}"}
    extra = json.dumps({"previous_passwords": ["older secret"]})
    site.airflow.api("POST", "connections", **made | {"extra": extra})
    with pytest.raises(HTTPError, match="403"):
        site.airflow.api("GET", "connections/as_archives", user="user")
    for reader in ("op", "admin"):
        told = json.dumps(site.airflow.api("GET", "connections/as_archives", user=reader))
        assert "so secret" not in told
        assert "older secret" not in told
