"""Settings that cannot be read silence nothing: DAGs keep their schedules, and whoever was to be told is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.settings import config, unreadable
from lifeboat.settings.unreadable import Unreadable

from include.demo.stand_ins import MailSink, SlackSink
from tests.airflow.test_dags import SHOP, LoadDag, load_dag, run, states  # noqa: F401  # load_dag is a fixture
from tests.conftest import PROJECT, Configure

CHANNELS = {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}}
WITH_FILES = {"Shop": SHOP | {"files": {"root": "/var/www/shop"}}}
TEAM: dict[str, Any] = {
    "owner": "shop-team",
    "alerts": {"slack": {"connection": "slack_shop"}},
    "schedules": {"database": "30 * * * *"},
    "access_control": {"Shop team": ["can_read"]},
}
WRONG: dict[str, Any] = {"destinatons": {}}
SENTENCE = "destinatons: unknown key, did you mean 'destinations'?"


@pytest.fixture(autouse=True)
def told(
    tmp_path: Path, slack: SlackSink, mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> tuple[SlackSink, MailSink]:
    """The channels, and a memory that is empty yet."""
    monkeypatch.setattr(unreadable, "MEMORY", str(tmp_path / "home" / unreadable.MEMORY))
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    return slack, mail


def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(PROJECT / "dags"), bundle_name="testing")


@pytest.mark.parametrize("text", [None, "", "a: [", "\tx: 1", "[]", "\xff"])
def test_dag_files_parse_whatever_the_settings_are(
    project: Configure, text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = project(timezone="Europe/Berlin", alerts=CHANNELS, applications=WITH_FILES)
    before = bag()
    if text is None:
        monkeypatch.setenv("LIFEBOAT_CONFIG", str(tmp_path / "nowhere.yaml"))
    else:
        good.write_bytes(text.encode("latin-1"))
    after = bag()
    assert after.import_errors == {}
    assert after.dag_ids == before.dag_ids
    for dag_id, dag in after.dags.items():
        assert (dag.schedule is None) == (before.dags[dag_id].schedule is None)
        if dag_id not in ("alert_test", "doctor", "settings_watch"):
            assert dag.task_ids == ["settings"]
            assert dag.get_task("settings").retries == 0


def test_a_wrong_word_changes_no_schedule_and_no_time_zone(project: Configure) -> None:
    drill = {"production": True, "schedule": "0 6 * * 1"}
    good: dict[str, Any] = {"timezone": "Europe/Berlin", "drill": drill, "applications": WITH_FILES}
    project(**good)
    before = {dag_id: dag.schedule for dag_id, dag in bag().dags.items()}
    project(**good, **WRONG)
    after = {dag_id: dag.schedule for dag_id, dag in bag().dags.items()}
    assert after == before
    scheduled = [schedule for name, schedule in after.items() if name.startswith("backup") and schedule]
    assert {str(schedule.timezone) for schedule in scheduled} == {"Europe/Berlin"}


def test_each_dag_fails_with_the_sentence_and_tells_it(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    told: tuple[SlackSink, MailSink],
) -> None:
    path = project(alerts=CHANNELS, **WRONG)
    slack, mail = told
    done = run(load_dag("backup_database"))
    assert (done.state, states(done)) == ("failed", {"settings": ["failed"]})
    ((posted,), (mailed,)) = slack.messages(), mail.messages()
    letter = mailed.get_body(("plain",))
    assert letter is not None
    for text in (json.dumps(posted), letter.get_content()):
        assert SENTENCE in text
        assert str(path) in text


def test_channels_that_the_file_no_longer_names_are_remembered(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    told: tuple[SlackSink, MailSink],
) -> None:
    slack, mail = told
    path = project(alerts=CHANNELS)
    watch = load_dag("settings_watch")
    assert run(watch).state == "success"
    assert not slack.messages()
    assert not mail.messages()
    path.write_text("alerts: [")
    assert run(load_dag("backup_check")).state == "failed"
    assert len(slack.messages()) == len(mail.messages()) == 1
    assert "is not valid YAML" in json.dumps(slack.messages())


def test_the_watcher_tells_once_of_each_mistake(
    project: Configure,
    load_dag: LoadDag,  # noqa: F811
    told: tuple[SlackSink, MailSink],
) -> None:
    slack, mail = told
    times = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=15 * number) for number in range(9))

    def look(**wrong: Any) -> tuple[str, int]:
        project(alerts=CHANNELS, **wrong)
        done = load_dag("settings_watch").test(logical_date=next(times))
        assert len(slack.messages()) == len(mail.messages())
        return states(done)["settings"][0], len(slack.messages())

    assert look() == ("success", 0)
    assert look(**WRONG) == ("failed", 1)
    assert look(**WRONG) == ("skipped", 1)
    assert look(staging=1) == ("failed", 2)
    assert look() == ("success", 2)
    assert look(staging=1) == ("failed", 3)


@pytest.mark.parametrize(
    ("alerts", "named"),
    [
        (CHANNELS | {"dead_man": "https://example.com/secret"}, {"slack", "email"}),
        (CHANNELS | {"email": {"to": []}}, {"slack"}),
        (CHANNELS | {"slack": 3}, {"email"}),
        (CHANNELS | {"sms": {}}, {"slack", "email"}),
        ("off", set()),
        (None, set()),
    ],
)
def test_a_channel_that_is_not_wrong_is_used(project: Configure, alerts: Any, named: set[str]) -> None:
    found = unreadable.read(project(alerts=alerts, **WRONG))
    assert isinstance(found, Unreadable)
    assert {name for name in ("slack", "email") if getattr(found.alerts, name)} == named


def test_what_is_remembered_holds_no_secret_and_may_be_lost(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unreadable.recall() is None
    settings = config.load(project(alerts=CHANNELS, applications={"Shop": SHOP | TEAM}))
    unreadable.remember(settings)
    used = unreadable.recall()
    assert used is not None
    assert (used.alerts, used.teams["Shop"].alerts) == (settings.alerts, settings.applications["Shop"].alerts)
    (kept,) = (tmp_path / "home").iterdir()
    assert "connection" in kept.read_text()
    assert "databases" not in kept.read_text()
    kept.write_text("{")
    assert unreadable.recall() is None
    monkeypatch.setattr(unreadable, "MEMORY", str(kept / "no directory"))
    unreadable.remember(settings)
    assert unreadable.recall() is None


@pytest.mark.parametrize("text", [None, "a: ["], ids=["a-wrong-word", "no-yaml"])
def test_own_schedules_and_channels_outlive_a_mistake(project: Configure, text: str | None) -> None:
    good: dict[str, Any] = {"applications": {"Shop": SHOP | TEAM}, "schedules": {"check": "0 9 * * *"}}
    unreadable.remember(config.load(project(**good)))
    before = {dag_id: dag.schedule for dag_id, dag in bag().dags.items()}
    assert before["backup_database__shop"].expression == "30 * * * *"
    path = project(**good | {"schedules": {"check": "0 9 * * *", "cleanup": "never"}})
    if text:
        path.write_text(text)
    after = bag()
    assert after.import_errors == {}
    assert {name: dag.schedule for name, dag in after.dags.items() if "__" in name} == {
        "backup_database__shop": before["backup_database__shop"]
    }
    if not text:
        assert after.dags["backup_check"].schedule == before["backup_check"]
    assert [each.slack.connection for each in unreadable.read().channels_of("Shop") if each.slack] == ["slack_shop"]


@pytest.mark.parametrize(
    ("wrong", "heard"),
    [
        ({"slack": {"connection": "slack_shop"}, "email": 3}, ["slack_shop", "slack"]),
        ({"slack": 3}, ["slack"]),
        ({"slack": {"connection": "slack_shop"}, "comon": True}, ["slack_shop", "slack"]),
    ],
    ids=["email", "all", "word"],
)
def test_a_wrong_word_in_own_alerts_reaches_the_common_ones(project: Configure, wrong: Any, heard: list[str]) -> None:
    found = unreadable.read(project(alerts=CHANNELS, applications={"Shop": SHOP | {"alerts": wrong}}))
    assert isinstance(found, Unreadable)
    assert [each.slack.connection for each in found.channels_of("Shop") if each.slack] == heard
