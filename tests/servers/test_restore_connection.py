"""A restore connection by which no restore would load is told when a backup is taken, and by every check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from lifeboat.actions import check
from lifeboat.airflow.site import load_site

from include.demo.stand_ins import PostgreSQL
from tests.conftest import Configure
from tests.servers.test_restore import back_up

NARROW = {  # may make what it restores, and no account; and reaches something else
    "mysql": (
        "CREATE USER narrow IDENTIFIED BY 'pw'; GRANT ALL ON shop.* TO narrow; GRANT SELECT ON other.* TO narrow",
        "GRANT CREATE USER ON *.* TO narrow; GRANT ALL ON shop.* TO narrow WITH GRANT OPTION;"
        " GRANT SELECT ON mysql.user TO narrow",
        "narrow is not allowed to create an account for the load",
    ),
    "postgresql": (
        "CREATE ROLE narrow LOGIN CREATEDB PASSWORD 'pw'; GRANT CONNECT ON DATABASE other TO narrow",
        "ALTER ROLE narrow CREATEROLE",
        "narrow is not allowed to create a role for the load",
    ),
}


@pytest.fixture(params=["mariadb", "mysql", "postgresql"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server with a database, and another."""
    found = request.getfixturevalue(request.param)
    if path := getattr(found, "path", None):
        monkeypatch.setenv("PATH", str(path), prepend=":")
    for name in ("shop", "other"):
        found.run(f"DROP DATABASE IF EXISTS {name}")
        found.run(f"CREATE DATABASE {name}")
    yield found
    for name in ("shop", "other"):
        found.run(f"DROP DATABASE {name}")
    found.run("DROP ROLE narrow" if isinstance(found, PostgreSQL) else "DROP USER narrow")


def test_it_is_told(
    server: Any, project: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = "postgresql" if isinstance(server, PostgreSQL) else "mysql"
    made, mended, said = NARROW[engine]
    server.run(made)
    connection = json.loads(server.connection())
    who_reads = {"login": "postgres"} if isinstance(server, PostgreSQL) else {}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_THERE", json.dumps(connection | who_reads))
    monkeypatch.setenv("AIRFLOW_CONN_NARROW", json.dumps(connection | {"login": "narrow", "password": "pw"}))
    database = {"name": "shop", "engine": engine, "connection": "shop_there", "restore_connection": "narrow"}
    project(applications={"Shop": {"databases": [database]}})
    back_up()
    words = f"no restore of shop would load by Airflow connection 'narrow': .*{said}"
    assert re.search(words, caplog.text)
    (finding,) = check.loads(load_site(), ["Shop"])
    assert (finding.application, finding.check, finding.verdict) == ("Shop", "restore connection", "degraded")
    assert re.match(words, finding.text)
    project(applications={"Shop": {"databases": [database | {"connection": "narrow", "restore_connection": None}]}})
    (finding,) = check.loads(load_site(), ["Shop"])
    assert (finding.check, finding.verdict) == ("restore connection", "healthy")
    assert finding.text.endswith("Or name another connection as restore_connection.")
    assert re.match(words, finding.text)
    server.run(mended)
    assert list(check.loads(load_site(), ["Shop"])) == []
