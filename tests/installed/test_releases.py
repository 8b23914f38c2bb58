"""The wheel, installed beside each release of Airflow with what belonged to it on its day; `make matrix` runs it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.test_package import BUNDLES, DAGS, wheel

__all__ = ["wheel"]

pytestmark = pytest.mark.matrix

# A release of Airflow, a day on which it was new, a Python: the oldest and newest of each minor release.
RELEASES = [
    ("3.1.0", "2025-09-28", "3.11"),
    ("3.1.8", "2026-03-13", "3.12"),
    ("3.2.2", "2026-05-31", "3.13"),
    ("3.3.2", "2026-09-19", "3.13"),
]
SETTINGS = """
staging: {home}/staging
encryption: {{ connection: lifeboat_archive }}
destinations: {{ local: {{ type: disk, path: {home}/archives }} }}
applications:
  Shop:
    databases: [{{ name: shop, connection: shop_db, engine: sqlite }}]
    files: {{ root: {home}/app }}
drill: {{ directory: {home}/drills }}
"""


class Environment:
    """A virtual environment of its own.

    :param day: nothing that was published later is installed.
    """

    def __init__(self, folder: Path, python: str, day: str) -> None:
        self.python, self._day = folder / "bin" / "python", day
        self._uv("venv", "-q", "--python", python, str(folder))

    def install(self, *what: str) -> set[str]:
        """Install; return what is there afterwards, as `name==version`."""
        self._uv("pip", "install", "-q", "--python", str(self.python), "--exclude-newer", self._day, *what)
        return set(self._uv("pip", "freeze", "--python", str(self.python)).splitlines())

    def check(self) -> None:
        """Fail where what is installed does not go together."""
        self._uv("pip", "check", "--python", str(self.python))

    def _uv(self, *arguments: str) -> str:
        # uv finds Pythons on the path, and pyenv keeps its own off it.
        path = os.pathsep.join([os.environ["PATH"], *map(str, Path.home().glob(".pyenv/versions/*/bin"))])
        uv = [str(PROJECT / ".venv/bin/uv"), *arguments]
        done = subprocess.run(uv, env=_plain(PATH=path), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _plain(**variables: str) -> dict[str, str]:
    """Return this process's environment without what Airflow, Lifeboat and Python read."""
    ours = ("AIRFLOW_", "LIFEBOAT", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables


def _home(home: Path) -> dict[str, str]:
    """Make an application and settings in a directory; return the variables of an Airflow that protects it."""
    (home / "app").mkdir(parents=True)
    (home / "archives").mkdir()
    (home / "app" / "logo.txt").write_text("a file of the application")
    with sqlite3.connect(home / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL)")
        database.execute("INSERT INTO orders VALUES (1, 9.5)")
    (home / "backup.yaml").write_text(SETTINGS.format(home=home))
    (home / "passwords.json").write_text(json.dumps({"viewer": "viewer"}))
    return _plain(
        ARCHIVES=str(home / "archives"),
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="viewer:viewer",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(home / "passwords.json"),
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(BUNDLES),
        LIFEBOAT_CONFIG=str(home / "backup.yaml"),
        AIRFLOW_CONN_LIFEBOAT_ARCHIVE=json.dumps({"conn_type": "generic", "password": "archive password"}),
        AIRFLOW_CONN_SHOP_DB=json.dumps({"conn_type": "sqlite", "host": str(home / "shop.db")}),
    )


@pytest.mark.parametrize(("release", "day", "python"), RELEASES)
def test_the_package_goes_beside_an_airflow_and_works(
    release: str, day: str, python: str, wheel: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "venv", python, day)
    before = environment.install(f"apache-airflow=={release}")
    after = environment.install(f"airflow-lifeboat[all] @ {wheel.as_uri()}")
    assert before <= after, "it changed what Airflow brought"
    environment.check()
    inside = Path(__file__).with_name("inside.py")
    done = subprocess.run(
        [environment.python, inside],
        env=_home(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "dags": DAGS,
        "errors": {},
        "names": [],
        "public": "RequireFreshBackup",
        "provider": "Lifeboat",
        "page": [401, 200, 200, 200, 200, 200, 200],
        "archives": 2,
        "proofs": 2,
    }


def test_airflow_3_0_is_refused_by_the_installer(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", "3.11", "2025-08-31")
    environment.install("apache-airflow==3.0.6")
    with pytest.raises(AssertionError, match=r"apache-airflow>=3\.1"):
        environment.install("apache-airflow==3.0.6", wheel.as_uri())
