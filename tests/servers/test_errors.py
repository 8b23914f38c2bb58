"""Errors: what no second try mends ends a task at once, and what may mend is tried again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from lifeboat.airflow import connections
from lifeboat.airflow.operators.base import LifeboatOperator
from lifeboat.databases.mysql import dump
from lifeboat.errors import DumpError, Lasting, LifeboatError, RestoreError, SettingsError, StorageError
from lifeboat.settings import config
from lifeboat.support import clock

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import Configure


@pytest.mark.parametrize(
    ("database", "changes", "lasting"),
    [
        pytest.param("shop", {"password": "wrong"}, True, id="password"),
        pytest.param("nowhere", {}, True, id="unknown-database"),
        pytest.param("shop", {"port": 1}, False, id="server-down"),
    ],
)
def test_which_dumps_are_tried_again(
    mariadb: MariaDB, shop: str, database: str, changes: dict[str, Any], lasting: bool
) -> None:
    server = replace(mariadb.server, **changes)
    login = {"user": server.user, "password": server.password, "port": server.port}
    with pytest.raises(DumpError) as error:
        dump.dump(lambda: mariadb.connect(**login), server, clock.now, database, (), lambda _: None)
    assert error.value.lasting is lasting


def test_no_dump_is_tried_again_without_a_client(mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DumpError, match="No dump client on this worker") as error:
        dump.dump(mariadb.connect, mariadb.server, clock.now, "shop", (), lambda _: None)
    assert error.value.lasting


def test_a_refused_key_is_not_tried_again(project: Configure, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(project())
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong"))
    with pytest.raises(StorageError, match="SignatureDoesNotMatch") as error:
        list(connections.destination("offsite", settings.destinations["offsite"]).list())
    assert error.value.lasting


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (SettingsError("There is no such application."), AirflowFailException),
        (DumpError("No client.", Lasting("Install one.")), AirflowFailException),
        (RestoreError("The server is down.", "Start it."), AirflowException),
    ],
)
def test_a_task_is_tried_again_where_that_may_help(error: LifeboatError, ends: type[Exception]) -> None:
    class Step(LifeboatOperator):
        def step(self, context: Any) -> None:
            raise error

    with pytest.raises(AirflowException) as raised:
        Step(task_id="step").execute({"ti": SimpleNamespace(xcom_push=lambda **_: None)})  # type: ignore[typeddict-item]
    assert type(raised.value) is ends
    assert str(raised.value) == str(error)
