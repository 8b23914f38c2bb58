"""What the start of a command must not import: it is most of the time of a short one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from lifeboat.airflow import environment
from lifeboat.cli.terminal import FINDING

from tests.conftest import disk_destination

AIRFLOW = ("airflow", "sqlalchemy", "boto3", "libcst")
READERS = ("isal", "pyzipper", "lifeboat.archive", "lifeboat.databases.mysql", "lifeboat.databases.postgresql")
VARIABLE = "AIRFLOW_CONN_ARCHIVE"
CONNECTION = {"conn_type": "generic", "password": "of the archives"}
SCRIPT = """
import sys
from lifeboat.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of a SQLite file and a disk, of which environment variables say everything."""
    sqlite3.connect(tmp_path / "shop.db").execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)").connection.close()
    settings = {
        "staging": str(tmp_path / "staging"),
        "encryption": {"connection": "archive"},
        "destinations": {"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
        "applications": {"Shop": {"databases": [{"name": "shop", "engine": "sqlite", "connection": "db"}]}},
    }
    (tmp_path / "backup.yaml").write_text(json.dumps(settings))
    disk_destination("disk", tmp_path / "disk")
    monkeypatch.setenv("LIFEBOAT_CONFIG", str(tmp_path / "backup.yaml"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    monkeypatch.setenv(VARIABLE, json.dumps(CONNECTION))
    monkeypatch.setenv("AIRFLOW_CONN_DB", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "shop.db")}))


def imported_by(*arguments: str) -> set[str]:
    """Return the names of the modules that a command has imported at its end."""
    script = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode in (0, FINDING), done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (["--version"], (*AIRFLOW, *READERS, "pydantic", "yaml", "lifeboat.settings")),
        (["list"], (*AIRFLOW, *READERS)),
        (["plan"], (*AIRFLOW, *READERS)),
        (["check"], (*AIRFLOW, *READERS)),
        (["verify"], (*AIRFLOW, *READERS[3:])),
        (["backup", "database"], (*AIRFLOW, *READERS[3:])),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], without: tuple[str, ...]) -> None:
    assert imported_by(*arguments).isdisjoint(without)


@pytest.mark.parametrize(
    "more",
    [
        {"password": "of the archives", "extra": {"previous_passwords": ["before"]}},
        {"host": "db.internal", "port": "5432", "login": "backup", "schema": "shop", "conn_type": "postgres"},
        {"host": "/srv/shop.db", "conn_type": "sqlite", "extra": '{"a": 1}', "description": None},
    ],
    ids=["password", "server", "file"],
)
def test_a_variable_says_what_airflow_would(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text := json.dumps({"conn_type": "generic"} | more))
    found, asked = environment.connection("archive"), Connection.from_json(text, conn_id="archive")
    assert found is not None
    for name in environment.KNOWN - {"port"}:
        assert getattr(found, name) == getattr(asked, name), name
    assert (int(found.port or 0), found.extra_dejson) == (asked.port or 0, asked.extra_dejson)


@pytest.mark.parametrize(
    ("value", "configuration", "variables"),
    [
        ("", "", {}),
        ("generic://:secret@", "", {}),
        ('["generic"]', "", {}),
        (json.dumps({"conn_type": "mysql", "host": "db"}), "", {}),
        (json.dumps(CONNECTION | {"team": "a"}), "", {}),
        (json.dumps(CONNECTION), "[secrets]\nbackend = a.Vault\n", {}),
        (json.dumps(CONNECTION), "not a configuration", {}),
        (json.dumps(CONNECTION), "", {"AIRFLOW__SECRETS__BACKEND_CMD": "echo a.Vault"}),
    ],
    ids=["none", "uri", "list", "needs-a-hook", "unknown-field", "backend", "unreadable", "backend-by-variable"],
)
def test_airflow_is_asked_where_a_variable_may_not_say_all(
    value: str, configuration: str, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "airflow.cfg").write_text(configuration)
    monkeypatch.setenv(VARIABLE, value)
    for name, content in variables.items():
        monkeypatch.setenv(name, content)
    assert environment.connection("archive") is None
