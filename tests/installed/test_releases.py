"""The package, installed beside each release of Airflow with what belonged to it on its day; `make matrix` runs it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.test_package import BUNDLES, DAGS, wheel
from tests.conftest import PROJECT

__all__ = ["wheel"]

pytestmark = pytest.mark.matrix

UV = str(PROJECT / ".venv" / "bin" / "uv")
# uv finds Pythons on the path, and pyenv keeps its own off it.
PATH = os.pathsep.join([os.environ["PATH"], *map(str, Path.home().glob(".pyenv/versions/*/bin"))])
OLDEST = ("3.1.0", "2025-09-28", "3.11")
# A release of Airflow, a day on which it was new, a Python: the oldest and newest of each minor release.
RELEASES = [
    OLDEST,
    ("3.1.8", "2026-03-13", "3.12"),
    ("3.2.2", "2026-05-31", "3.13"),
    ("3.3.2", "2026-09-19", "3.13"),
    ("3.3.2", "2026-09-19", "3.14"),
]
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "psutil")  # of the unit tests
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
# One of everything that an extra is for; Airflow itself brings the provider of smtp.
WANTING = """
staging: {home}/staging
encryption: {{ connection: lifeboat_archive }}
destinations: {{ bucket: {{ type: s3, connection: wanted_s3, bucket: backups }} }}
applications:
  Shop:
    databases:
      - {{ name: shop, connection: wanted_mysql, engine: mysql }}
      - {{ name: stock, connection: wanted_postgres, engine: postgresql }}
alerts:
  slack: {{ connection: wanted_slack }}
"""
WANTED = {
    "mysql": "mysql://u:p@127.0.0.1/shop",
    "postgres": "postgres://u:p@127.0.0.1/stock",
    "s3": "aws://",
    "slack": "slackwebhook://:secret@",
}


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
        return _run([UV, *arguments], _plain(PATH=PATH))


def _run(command: list[str], variables: dict[str, str], folder: Path = PROJECT) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


def _can_be_had(python: str) -> bool:
    found = subprocess.run([UV, "python", "find", python], env=_plain(PATH=PATH), capture_output=True, check=False)
    return found.returncode == 0


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


def _works(environment: Environment, folder: Path) -> dict[str, Any]:
    """Back up, check, rehearse and look at the page in an environment; return what was found."""
    inside = str(Path(__file__).with_name("inside.py"))
    said = _run([str(environment.python), inside], _home(folder / "home"), folder)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


WHOLE = {
    "dags": DAGS,
    "errors": {},
    "names": [],
    "public": "RequireFreshBackup",
    "provider": "Lifeboat",
    "asked": {name: name for name in ("shop_db", "stock_db")},
    "page": [401, 200, 200, 200, 200, 200, 200],
    "archives": 2,
    "proofs": 2,
}


# No Debian before forky has Python 3.14.
@pytest.mark.parametrize(
    ("release", "day", "python"), [each for each in RELEASES if each[2] != "3.14" or _can_be_had("3.14")]
)
def test_the_package_goes_beside_an_airflow_and_works(
    release: str, day: str, python: str, wheel: Path, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    for name, value in (("airflow", release), ("python", python), ("day", day)):
        record_property(name, value)
    environment = Environment(tmp_path / "venv", python, day)
    before = environment.install(f"apache-airflow=={release}")
    after = environment.install(f"airflow-lifeboat[all] @ {wheel.as_uri()}")
    assert before <= after, "it changed what Airflow brought"
    environment.check()
    assert _works(environment, tmp_path) == WHOLE


def test_the_lowest_versions_that_are_allowed_work(wheel: Path, tmp_path: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = [f"--extra={name}" for name in project["optional-dependencies"] if name != "all"]
    _, day, python = OLDEST
    environment = Environment(tmp_path / "venv", python, day)
    environment.install("--resolution=lowest-direct", "-r", "pyproject.toml", *extras)
    environment.install(*TOOLS)
    environment.install("--no-deps", wheel.as_uri())
    environment.check()
    assert _works(environment, tmp_path) == WHOLE
    # Compose's specification is newer than that day, and files of a deployment need none of these versions; how
    # pydantic words a schema depends on its version, and the published ones are written with that of the lock.
    apart = ["--ignore=tests/unit/test_deployment.py", "-k", "not what_make_docs_writes"]
    _run([str(environment.python), "-m", "pytest", "tests/unit", *apart, "-n", "2"], _plain())


def test_the_tests_of_the_source_distribution_run_from_it(tmp_path: Path) -> None:
    _run([UV, "build", "-q", "--sdist", "--out-dir", str(tmp_path)], _plain())
    (package,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("airflow_lifeboat-*/")
    _run([str(PROJECT / ".venv/bin/python"), "-m", "pytest", "tests/unit", "-n", "2"], _plain(), folder)


def test_without_extras_the_doctor_names_each_that_is_missing(wheel: Path, tmp_path: Path) -> None:
    release, day, python = RELEASES[-2]
    environment = Environment(tmp_path / "venv", python, day)
    environment.install(f"apache-airflow=={release}", wheel.as_uri())
    variables = _home(tmp_path / "home") | {f"AIRFLOW_CONN_WANTED_{name.upper()}": uri for name, uri in WANTED.items()}
    Path(variables["LIFEBOAT_CONFIG"]).write_text(WANTING.format(home=tmp_path / "home"))
    program = str(environment.python.with_name("lifeboat"))
    said = subprocess.run([program, "doctor"], env=variables, capture_output=True, text=True, check=False)
    words = " ".join(said.stdout.split())
    assert {name for name in WANTED if f"pip install 'airflow-lifeboat[{name}]'" in words} == set(WANTED), words


def test_airflow_3_0_is_refused_by_the_installer(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", "3.11", "2025-08-31")
    environment.install("apache-airflow==3.0.6")
    with pytest.raises(AssertionError, match=r"apache-airflow>=3\.1"):
        environment.install("apache-airflow==3.0.6", wheel.as_uri())
