"""What runs and what ran, as the page says it, and who may see it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import Mock
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi import FastAPI
from lifeboat.airflow.compat import create_session
from lifeboat.airflow.operators.base import FAILURE, PROGRESS
from lifeboat.airflow.operators.check import COMPARE, NEGLECTED, VANISHED
from lifeboat.airflow.operators.restore import PLAN, RESTORE_PLAN
from lifeboat.airflow.operators.sealed import seal
from lifeboat.airflow.site import site_of
from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.decide.restored import RestoredDatabase, RestoredFiles
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.ui import airflow_runs
from lifeboat.ui.restored import restored
from lifeboat.ui.runs import RESULT, Known, Run, Task, runs, view, wanted
from sqlalchemy import delete, insert
from sqlalchemy.exc import OperationalError

from tests.airflow.ui.conftest import Login
from tests.conftest import Configure

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MIB = 1 << 20


@pytest.fixture
def settings(project: Configure) -> Settings:
    database = {"name": "shop", "connection": "shop_db"}
    return config.load(project(applications={name: {"databases": [database]} for name in ("Shop", "Books")}))


def run(state: str, *tasks: Task, hours: float = 1, dag_id: str = "backup_database", **more: Any) -> Run:
    """Return a run that began so many hours ago."""
    began = NOW - hours * HOUR
    ended = began + HOUR / 12 if state in ("success", "failed") else None
    return Run(dag_id, f"run {hours}", state, began, began, ended, tasks=tasks, **more)


def task(task_id: str, state: str, *, hours: float = 1, **more: Any) -> Task:
    began = NOW - hours * HOUR
    return Task(task_id, state=state, began=began, ended=began + HOUR / 20, **more)


def dumping(**progress: Any) -> Task:
    left = {PROGRESS: {"doing": "Dumping shop", "done": 300 * MIB, "total": None, "seconds": 10.0} | progress}
    return task("Shop.dump", "running", map_index=0, name="shop", left=left)


def test_a_running_step_says_how_far_it_is(settings: Settings) -> None:
    active = run("running", dumping(), task("Shop.archive", ""), task("Books.archive", "success"), user="ada")
    lengths = {("backup_database", "Shop.dump", "Dumping shop"): 600 * MIB}
    shown = view(settings, active, lengths, NOW)
    assert (shown.about, shown.rest) == ("started by ada 60 minutes ago", "1 step done, 1 to come")
    (step,) = shown.steps
    assert (step.label, step.state, step.percent) == ("Shop: dump shop", "running", 50)
    assert step.text == "Dumping shop: 300.0 MiB of about 600.0 MiB (about 50 %), 30.0 MiB/s, about 10 s left"
    assert step.href == "../dags/backup_database/runs/run%201/tasks/Shop.dump/mapped/0"


@pytest.mark.parametrize(
    ("progress", "length", "text", "percent"),
    [
        ({"total": 400 * MIB}, 0, "300.0 MiB of 400.0 MiB (75 %), 30.0 MiB/s, about 3.3 s left", 75),
        ({}, 0, "300.0 MiB, 30.0 MiB/s", None),
        ({}, 200 * MIB, "300.0 MiB, 30.0 MiB/s", None),  # more than last time: how much more, nobody knows
        ({"seconds": 0.5}, 0, "300.0 MiB", None),
    ],
)
def test_what_is_not_known_of_a_step_is_not_said(
    settings: Settings, progress: dict[str, Any], length: int, text: str, percent: int | None
) -> None:
    lengths = {("backup_database", "Shop.dump", "Dumping shop"): length} if length else {}
    (step,) = view(settings, run("running", dumping(**progress)), lengths, NOW).steps
    assert (step.text, step.percent) == (f"Dumping shop: {text}", percent)


def test_a_step_that_has_gone_silent_says_so(settings: Settings) -> None:
    silent = dumping()._replace(heard_at=NOW - 5 * HOUR / 60)
    (step,) = view(settings, run("running", silent), {}, NOW).steps
    assert step.text == "Dumping shop: 300.0 MiB, nothing more for 5 minutes"


@pytest.mark.parametrize(
    "left", [None, "x", 7, [], {}, {"doing": 1}, {"doing": "x", "done": "y"}, {"doing": "x", "done": -1}]
)
def test_what_somebody_wrote_into_xcoms_breaks_nothing(settings: Settings, left: Any) -> None:
    tasks = [
        task("Shop.dump", state, left={PROGRESS: left, FAILURE: left, RESULT: left})
        for state in ("running", "failed", "up_for_retry")
    ]
    archive = task("Shop.archive", "success", left={RESULT: left})
    view(settings, run("running", *tasks, archive), {}, NOW)
    (last, _) = runs(settings, Known({"backup_database": [run("failed", *tasks, archive)]}), NOW).last
    assert last.size == ""


def test_a_step_that_will_try_again_says_so_and_why(settings: Settings) -> None:
    left = {FAILURE: {"subject": "Shop", "reason": "The server\nis down."}}
    waiting = task("Shop.dump", "up_for_retry", tried=1, tries=4, left=left)
    again = task("Books.dump", "running", tried=2, tries=4)
    first, second = view(settings, run("running", waiting, again), {}, NOW).steps
    assert first.state == "failed, and will try again"
    assert first.text == "Try 1 of 4 failed: The server is down. It tries again by itself, within half an hour."
    assert second.text == "try 2 of 4"


def test_a_run_that_waits_says_what_for(settings: Settings) -> None:
    queued = run("queued", user="ada", is_paused=True)
    assert view(settings, queued, {}, NOW).about.endswith("; waits until somebody unpauses its DAG")
    assert view(settings, run("queued"), {}, NOW).about == "requested by its schedule 60 minutes ago; waits to start"


def backed_up(application: str, state: str = "success", **more: Any) -> list[Task]:
    facts = {RESULT: {"facts": {"size": 5 * MIB}}} | ({FAILURE: more} if more else {})
    return [
        task(f"{application}.prepare_staging", "skipped" if state == "skipped" else "success"),
        task(f"{application}.archive", state, left=facts),
    ]


def test_the_last_backup_of_each_application_is_told(settings: Settings) -> None:
    newest = run("failed", *backed_up("Shop", "failed", reason="No space."), *backed_up("Books", "skipped"), hours=1)
    before = run("success", *backed_up("Shop"), *backed_up("Books"), hours=25)
    active = run("running", *backed_up("Books", ""), hours=0.1)
    shown = runs(settings, Known({"backup_database": [active, newest, before]}), NOW)
    assert [(last.application, last.result, last.why) for last in shown.last] == [
        ("Shop", "failed", "No space."),
        ("Books", "succeeded", ""),
    ]
    assert (shown.last[1].size, shown.last[1].took) == ("5.0 MiB", "3 min 0 s")
    (strip,) = shown.strips
    assert [tone for tone, _ in strip.runs] == ["healthy", "unhealthy", "unknown"], "oldest first"
    assert strip.runs[1][1] == "2026-11-24 11:00: failed, took 5 min 0 s"
    assert strip.text == "1 of 2 runs succeeded; the last that failed started 60 minutes ago"
    assert len(shown.now) == 1


def test_an_application_that_did_not_run_is_not_called_good(settings: Settings) -> None:
    skipped = run("success", *backed_up("Shop", "skipped"), *backed_up("Books", "skipped"))
    shown = runs(settings, Known({"backup_database": [skipped]}), NOW)
    assert {(last.tone, last.result) for last in shown.last} == {("unknown", "not in the last 1 run")}
    assert {last.result for last in runs(settings, Known({"backup_database": []}), NOW).last} == {"has not run yet"}


def test_as_few_runs_are_read_as_tell_of_every_application() -> None:
    begun = [("c", "Shop"), ("b", "Shop"), ("a", "Books"), ("b", "Books"), ("gone", "Books")]
    assert wanted(["c", "b", "a"], begun) == {"c", "b"}


PLANNED = RestorePlan(
    *("Shop", "disk", "Shop/database/2026-11-24-01-00-00.zip", 1, "", "2026-11-24T01:00:00+00:00"),
    databases=(DatabaseStep("shop", "db-dumps/mysql-shop.sql", "shop_`new`"),),
    files=FilesStep("/srv/shop_restored", "now"),
)


def restoring(**facts: Any) -> Run:
    database = RestoredDatabase("another", "another", 2, 1, 1, 3.0, ("a note",)).to_json()
    return run(
        "success",
        task("restore", "success", map_index=0, left={RESULT: database | facts}),
        task("restore_files", "success", left={RESULT: RestoredFiles("/", 1, 1, 1.0).to_json()}),
        task("restore", "failed", map_index=1),
        dag_id="restore_database",
    )


def test_a_restore_names_what_is_new_and_how_to_use_and_drop_it(settings: Settings) -> None:
    database, files = restored(settings, PLANNED, restoring())
    assert database.text == (
        "Database shop is in the new schema shop_`new`: 2 rows of 1 table in 3.0 s; 1 table compared, all as captured."
    )
    assert database.notes == ("a note.",)
    use, drop = (recipe.lines for recipe in database.recipes)
    assert use == ("mysql -h HOST -u USER -p 'shop_`new`'",)
    assert drop == ("mysql -h HOST -u USER -p -e 'DROP DATABASE `shop_``new```'",)
    assert files.text.startswith("The files are in the new /srv/shop_restored: 1 file, 1 B in 1.0 s. Copy what")


def test_what_took_the_place_of_the_original_is_not_to_be_dropped(settings: Settings) -> None:
    step = DatabaseStep("shop", "db-dumps/mysql-shop.sql", "shop", in_place=True, exists=True)
    plan = RestorePlan("Shop", "disk", "key", 1, "", "", databases=(step,))
    (found,) = restored(settings, plan, restoring(compared="many"))
    assert (found.text, found.recipes) == ("Database shop is back in shop.", ()), "figures that no step leaves"


def store(*made: Run) -> None:
    """Put runs into Airflow's database, as Airflow would."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    dags = {each.dag_id for each in made}
    limits = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
    dag_runs, tasks, xcoms = [], [], []
    for number, each in enumerate(made, start=1):
        run_key = {"dag_id": each.dag_id, "run_id": each.run_id}
        times = {"run_after": each.asked_at, "start_date": each.began, "end_date": each.ended}
        dag_runs.append(
            run_key | times | {"id": number, "state": each.state, "run_type": "manual", "conf": dict(each.conf)}
        )
        for task in each.tasks:
            key = run_key | {"task_id": task.task_id, "map_index": task.map_index}
            times = {"start_date": task.began, "end_date": task.ended}
            tries = {"try_number": task.tried, "max_tries": task.tries - 1, "pool": "default_pool"}
            shown = {"state": task.state or None, "rendered_map_index": task.name or None}
            tasks.append(key | times | tries | shown | {"id": uuid4()})
            xcoms += [
                key | {"dag_run_id": number, "key": name, "value": value, "timestamp": each.asked_at}
                for name, value in task.left.items()
            ]
    with create_session() as session:
        for model in (XComModel, TaskInstance, DagRun, DagModel, DagBundleModel):
            session.execute(delete(model))
        session.execute(insert(DagBundleModel), [{"name": "made"}])
        session.execute(insert(DagModel), [{"dag_id": dag_id, "bundle_name": "made"} | limits for dag_id in dags])
        for model, rows in ((DagRun, dag_runs), (TaskInstance, tasks), (XComModel, xcoms)):
            if rows:
                session.execute(insert(model.__table__), rows)


def test_what_airflow_knows_is_shown_to_those_who_may_read_it_there(
    settings: Settings, airflow: FastAPI, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    measured = dumping(done=600 * MIB)._replace(state="success")
    failed = run("failed", *backed_up("Books", "failed", reason="<b>No</b> space."), hours=2)
    store(run("running", dumping(), hours=1), failed, run("success", measured, *backed_up("Shop"), hours=3))
    client = login("viewer")
    answer = client.get("runs")
    assert answer.headers["Retry-After"] == "5", "it asks again while something runs"
    assert "Shop: dump shop" in answer.text
    assert "of about 600.0 MiB (about 50 %)" in answer.text
    assert "&lt;b&gt;No&lt;/b&gt; space." in answer.text
    assert "5.0 MiB" in answer.text
    path = f"runs/backup_database/{quote(failed.run_id)}"
    assert "&lt;b&gt;No&lt;/b&gt; space." in client.get(path).text
    assert "Retry-After" not in client.get(path).headers
    assert client.get("runs/backup_database/else").status_code == 404
    assert client.get(f"runs/another/{quote(failed.run_id)}").status_code == 404
    may = SimpleAuthManager.is_authorized_dag
    for entity in airflow_runs.READ:
        monkeypatch.setattr(
            SimpleAuthManager,
            "is_authorized_dag",
            lambda *args, entity=entity, **asked: asked["access_entity"] != entity and may(*args, **asked),
        )
        assert "You may not see the runs" in client.get("runs").text
        assert "space" not in client.get("runs").text
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(("left", "told"), [(["127.0.0.1:1 has 1 <database>"], True), ([], False), ({"x": 1}, False)])
def test_databases_that_nobody_backs_up_are_told_as_the_last_check_found_them(
    settings: Settings, airflow: FastAPI, login: Login, monkeypatch: pytest.MonkeyPatch, left: object, told: bool
) -> None:
    def check(hours: float, left: object) -> Run:
        return run("success", task(COMPARE, "success", left={NEGLECTED: left}), hours=hours, dag_id="backup_check")

    store(check(1, left), check(25, ["an older one"]))
    answer = login("viewer").get("answers").text
    assert ("127.0.0.1:1 has 1 &lt;database&gt;. backup_check found this" in answer) is told
    assert "an older one" not in answer
    with monkeypatch.context() as patched:
        patched.setattr(airflow_runs, "may_read", lambda *_: False)
        assert "&lt;database&gt;" not in login("viewer").get("answers").text
    monkeypatch.setattr(airflow_runs, "left_last", Mock(side_effect=OperationalError("", {}, Exception("locked"))))
    assert login("viewer").get("answers").status_code == 200


def test_databases_that_vanished_are_told_of_applications_that_are_shown(
    settings: Settings, airflow: FastAPI, login: Login
) -> None:
    left = {next(iter(settings.applications)): "1 <database> is gone", "Hidden": "a secret", "Broken": 7}
    store(run("success", task(COMPARE, "success", left={VANISHED: left}), hours=1, dag_id="backup_check"))
    answer = login("viewer").get("answers").text
    assert "1 &lt;database&gt; is gone. backup_check found this" in answer
    assert "a secret" not in answer


def test_a_restore_is_told_by_the_plan_that_its_run_signed(settings: Settings, airflow: FastAPI, login: Login) -> None:
    def shown(plan: Any) -> str:
        restore = replace(restoring(), conf={"into": "x"})
        store(replace(restore, tasks=(*restore.tasks, task("select", "success", left={PLAN: plan}))))
        return str(login("viewer").get(f"runs/restore_database/{quote(restore.run_id)}").text)

    signed = seal(
        cast(Any, {"dag_run": replace(restoring(), conf={"into": "x"})}),
        site_of(settings),
        RESTORE_PLAN,
        PLANNED,
    )
    assert "Database shop is in the new schema shop_`new`" in shown(signed)
    cast(Any, signed["facts"])["databases"][0]["schema"] = "production"
    assert "production" not in shown(signed)


def test_a_year_of_many_applications_is_read_at_once(project: Configure, airflow_db: None) -> None:
    names = [f"App{number}" for number in range(30)]
    database = {"name": "shop", "connection": "shop_db"}
    settings = config.load(project(applications={name: {"databases": [database]} for name in names}))
    nights = [
        run("success", *(each for name in names for each in backed_up(name)), hours=24 * day) for day in range(35)
    ]
    store(*nights)
    with create_session() as session:
        airflow_runs.read(session, settings, airflow_runs.dags(settings))
        began = time.perf_counter()
        known = airflow_runs.read(session, settings, airflow_runs.dags(settings))
        seconds = time.perf_counter() - began
    assert len(known.runs["backup_database"]) == airflow_runs.HISTORY
    assert all(last.result == "succeeded" for last in runs(settings, known, NOW).last)
    assert seconds < 1, f"{seconds:.2f} s"
