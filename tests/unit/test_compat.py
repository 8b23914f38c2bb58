"""What Lifeboat asks of Airflow's own names, and what it says where something is not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.api_fastapi.core_api import security
from airflow.sdk.execution_time.comms import CommsDecoder
from fastapi import HTTPException, Request
from lifeboat.airflow import compat, connections
from lifeboat.airflow.alerts import channels
from lifeboat.airflow.alerts.message import Message
from lifeboat.databases import EngineName
from lifeboat.errors import SettingsError
from lifeboat.settings import config

MESSAGE = Message("A test", note="A note")
URI = "AIRFLOW_CONN_WANTED"


@pytest.mark.parametrize("name", sorted(compat.PLACES))
def test_this_airflow_has_the_name(name: str) -> None:
    assert getattr(compat, name) is not None
    assert name in compat.__all__


@pytest.mark.parametrize("name", sorted(name for name, places in compat.PLACES.items() if len(places) > 1))
def test_a_name_is_found_where_another_release_keeps_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    newest, *_ = places = compat.PLACES[name]
    wanted = object()
    releases = {newest: SimpleNamespace(), places[1]: SimpleNamespace(**{name: wanted})}
    monkeypatch.setattr(compat, "import_module", releases.__getitem__)
    assert getattr(compat, name) is wanted


def test_only_one_module_knows_what_airflow_keeps_for_itself() -> None:
    plugins = Path(compat.__file__).parent
    private = (
        *("airflow.sdk._", "airflow.sdk.exceptions", "airflow.exceptions", "airflow.api_fastapi", "airflow.dag_p"),
        *("airflow.models", "airflow.utils", "airflow.timetables", "airflow.configuration"),
    )
    told = {path.name for path in plugins.rglob("*.py") if any(name in path.read_text() for name in private)}
    assert told == {"compat.py"}


@pytest.mark.parametrize(
    ("release", "backoff"), [("3.1.0", False), ("3.1.8", True), ("3.2.0", 2.0), ("3.4.0.dev0", 2.0)]
)
def test_retries_back_off_as_the_release_spells_it(
    release: str, backoff: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compat_of(release, monkeypatch).BACKOFF
    assert (found, type(found)) == (backoff, type(backoff)), "Airflow 3.1 wants a bool"


def test_airflow_3_0_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^Lifeboat needs Airflow 3\.1 or later, and this is 3\.0\.6\."):
        compat_of("3.0.6", monkeypatch)


def test_threads_ask_the_supervisor_of_airflow_3_1_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[str] = []

    def send(_: object, msg: str) -> None:
        if msg == "first":
            second.start()
            second.join(0.2)
        answered.append(msg)

    monkeypatch.setattr(CommsDecoder, "send", send)
    compat_of("3.1.8", monkeypatch)
    ask = cast("Callable[..., None]", CommsDecoder.send)
    second = Thread(target=ask, args=(None, "second"), daemon=True)
    ask(None, msg="first")  # as Airflow does
    second.join(10)
    assert answered == ["first", "second"]


def test_an_airflow_that_does_not_say_who_started_a_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compat.started_by(cast("Any", SimpleNamespace(triggering_user_name="ann"))) == "ann"
    monkeypatch.setattr(compat, "AIRFLOW", (3, 1))
    assert compat.user_of(cast("Any", SimpleNamespace())) is None
    with pytest.raises(SettingsError, match="do not say who started a run"):
        compat.started_by(cast("Any", SimpleNamespace()))


@pytest.mark.parametrize(("dag_id", "allowed"), [("backup_database", True), ("restore_database", False)])
def test_airflow_is_asked_about_the_dag_itself(dag_id: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_in_3_1_0(method: str, entity: object) -> Callable[[Request, object], None]:
        def inner(request: Request, user: object) -> None:
            if (method, entity, request.path_params["dag_id"]) != ("POST", "runs", "backup_database"):
                raise HTTPException(403)

        return inner

    monkeypatch.setattr(security, "requires_access_dag", as_in_3_1_0)
    request = Request({"type": "http", "path_params": {"name": "of another page"}})
    assert compat.is_allowed(request, cast("Any", None), "POST", cast("Any", "runs"), dag_id) == allowed
    assert request.path_params == {"name": "of another page"}


@pytest.mark.parametrize(
    ("extra", "module", "connection", "asks"),
    [
        ("mysql", "airflow.providers.mysql.hooks.mysql", "mysql://u:p@127.0.0.1/shop", lambda: engine("mysql")),
        ("postgres", "psycopg", "postgres://u:p@127.0.0.1/shop", lambda: engine("postgresql")),
        ("s3", "airflow.providers.amazon.aws.hooks.s3", "aws://", lambda: connections._s3_client("wanted", "a test")),
        (
            "slack",
            "airflow.providers.slack.hooks.slack_webhook",
            "slackwebhook://:secret@",
            lambda: channels.send_slack(config.SlackAlerts(connection="wanted"), MESSAGE),
        ),
        (
            "smtp",
            "airflow.providers.smtp.hooks.smtp",
            "smtp://127.0.0.1",
            lambda: channels.send_email(config.EmailAlerts(connection="wanted", to=("a@example.com",)), MESSAGE),
        ),
    ],
)
def test_a_missing_extra_is_named(
    extra: str, module: str, connection: str, asks: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI, connection)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"cannot be imported here: .+pip install 'airflow-lifeboat\[{extra}\]'"):
        asks()


def test_public_names_are_imported_when_they_are_asked_for() -> None:
    names = "lifeboat.RequireFreshBackup.__module__, lifeboat.FreshBackup.__module__"
    script = f"import sys, lifeboat; print('airflow' in sys.modules, {names})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "lifeboat.airflow.operators.fresh", "lifeboat.airflow.before_change"]


def engine(name: EngineName) -> None:
    """Get ready to ask a server."""
    connections.engine(config.Database(name="shop", connection="wanted", engine=name), Path()).databases()


def compat_of(release: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module as a release of Airflow gets it."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: release)
    monkeypatch.setattr(CommsDecoder, "send", CommsDecoder.send)  # which the module replaces in 3.1
    spec = importlib.util.find_spec("lifeboat.airflow.compat")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    return fresh
