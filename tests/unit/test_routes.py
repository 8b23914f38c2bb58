"""Who hears of what: each channel once, with what concerns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from lifeboat.airflow.alerts.message import Failure, Line, Told
from lifeboat.airflow.alerts.routes import Subjects, hearers
from lifeboat.settings.config import Alerts, Channels, EmailAlerts, OwnAlerts, SlackAlerts, Team, channels_of

COMMON: dict[str, Any] = {"slack": {"connection": "ops"}, "email": {"connection": "smtp", "to": ["ops@x.org"]}}
OWN: dict[str, dict[str, Any]] = {
    "Shop": {"slack": {"connection": "shop"}, "email": {"connection": "smtp", "to": ["a@x.org", "b@x.org"]}},
    "Web": {"slack": {"connection": "shop"}, "email": {"connection": "smtp", "to": ["b@x.org", "c@x.org"]}},
    "Both": {"slack": {"connection": "both"}, "common": True},
}
TEAMS = {name: Team(alerts=OwnAlerts.model_validate(alerts)) for name, alerts in OWN.items()} | {"Plain": Team()}


def heard(applications: Sequence[str], common: dict[str, Any] = COMMON) -> dict[str, set[str]]:
    """Return what each channel and address hears of, each of which is there once."""

    def own(application: str) -> tuple[Channels, ...]:
        return channels_of(TEAMS, Alerts.model_validate(common), application)

    found: dict[str, set[str]] = {}
    for channel, of in hearers(applications, own):
        names = [channel.connection] if isinstance(channel, SlackAlerts) else channel.to
        assert not set(names) & found.keys(), "twice"
        found |= {name: set(of) for name in names}
    return found


@pytest.mark.parametrize(
    ("applications", "expected"),
    [
        (["Plain"], {"ops": {"Plain"}, "ops@x.org": {"Plain"}}),
        (["Shop"], {"shop": {"Shop"}, "a@x.org": {"Shop"}, "b@x.org": {"Shop"}}),
        (
            ["Shop", "Web", "Plain"],
            {
                "shop": {"Shop", "Web"},
                "ops": {"Plain"},
                "a@x.org": {"Shop"},
                "b@x.org": {"Shop", "Web"},
                "c@x.org": {"Web"},
                "ops@x.org": {"Plain"},
            },
        ),
        (["Both", ""], {"both": {"Both"}, "ops": {"Both", ""}, "ops@x.org": {"Both", ""}}),
        (["Gone"], {"ops": {"Gone"}, "ops@x.org": {"Gone"}}),
    ],
    ids=["common", "own", "several", "beside", "unknown"],
)
def test_each_channel_hears_once_of_its_applications(applications: list[str], expected: dict[str, set[str]]) -> None:
    assert heard(applications) == expected


def test_what_concerns_nobody_reaches_everybody_where_there_is_no_common_channel() -> None:
    everybody = {name: {""} for name in ("shop", "both", "a@x.org", "b@x.org", "c@x.org")}
    assert heard([""], {}) == everybody
    assert heard(["Plain"], {}) == {}


def test_addresses_that_hear_of_the_same_get_one_letter() -> None:
    letters = [channel for channel, _ in hearers(["Shop"], lambda name: channels_of(TEAMS, Alerts(), name))]
    assert letters == [
        SlackAlerts(connection="shop"),
        EmailAlerts(connection="smtp", to=("a@x.org", "b@x.org")),
    ]


OWN_DAGS = {"backup_database__shop": "Shop"}
NAMES = ["Shop", "Web 2", "Plain"]


@pytest.mark.parametrize(
    ("dag_id", "chosen", "task", "index", "expected"),
    [
        ("backup_database__shop", "", "settings", -1, "Shop"),
        ("backup_database", "", "Web_2.dump", 1, "Web 2"),
        ("backup_database", "", "settings", -1, ""),
        ("backup_check", "", "Shop.check", -1, ""),  # the group is a destination
        ("backup_check", "Shop", "disk.check", -1, "Shop"),
        ("backup_logs", "", "ship", 1, "Plain"),
        ("backup_logs", "", "ship", 7, ""),
        ("restore_database", "Plain", "select", -1, "Plain"),
        ("restore_database", "Gone", "select", -1, ""),
        ("doctor", "", "look", -1, ""),
    ],
)
def test_a_task_concerns_an_application(dag_id: str, chosen: str, task: str, index: int, expected: str) -> None:
    assert Subjects(dag_id, NAMES, OWN_DAGS, ["Shop", "Plain"], chosen).of_task(task, index) == expected


@pytest.mark.parametrize(
    ("dag_id", "chosen", "states", "expected"),
    [
        ("backup_database", "", {"Shop.dump_0": "success", "Web_2.dump_0": "skipped", "Plain.upload": None}, NAMES[1:]),
        ("backup_database", "Plain", {"Shop.dump_0": "skipped"}, ["Plain"]),
        ("backup_database__shop", "", {}, ["Shop"]),
        ("doctor", "", {"look": "skipped"}, [""]),
    ],
)
def test_a_run_that_was_ended_concerns_what_it_had_not_done(
    dag_id: str, chosen: str, states: dict[str, str | None], expected: list[str]
) -> None:
    assert Subjects(dag_id, NAMES, OWN_DAGS, (), chosen).unfinished(states) == expected


def test_a_message_holds_what_concerns_its_applications() -> None:
    failures = (Failure("Shop.dump", "Shop", "no login", "Shop"), Failure("Web.dump", "Web", "no server", "Web"))
    good = (Line("Shop", "good Shop"), Line("Web", "good Web"), Line("", "disk is silent"))
    told = Told("failed", "run", failures, (Line("Web", "a line"),), good, "a note")
    assert told.applications == {"Shop", "Web"}
    text = told.about({"Shop"}).text()
    assert [part in text for part in ("no login", "good Shop", "disk is silent", "a note")] == [True] * 4
    assert "Web" not in text
    assert "no server" not in text
    assert "a line" not in text


def test_a_title_counts_what_its_reader_hears_of() -> None:
    lines = (Line("Shop", "a"), Line("Shop", "b"), Line("Web", "c"))
    told = Told("restore_drill", lines=lines, counted=lambda number: f"{number} proven")
    titles = [told.about(names).title for names in (["Shop"], ["Web"], ["Shop", "Web"])]
    assert titles == ["restore_drill: 2 proven", "restore_drill: 1 proven", "restore_drill: 3 proven"]
