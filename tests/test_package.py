"""Lifeboat in an Airflow that has nothing of it yet: installed as a package, and copied as files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

SOURCES = ("pyproject.toml", "README.md", "requirements.txt", ".env.example", "dags", "plugins", "include")
LEFT_OUT = shutil.ignore_patterns("*.egg-info", "__pycache__")
DAGS = sorted(path.stem for path in (PROJECT / "dags").glob("*.py"))
FINDS = """
import json
from pathlib import Path
from airflow import plugins_manager
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag
(bundle,) = DagBundlesManager().get_all_dag_bundles()
bag = DagBag(dag_folder=str(bundle.path), bundle_name=bundle.name)
plugins, errors = plugins_manager._get_plugins()
import lifeboat
print(json.dumps({
    "where": str(Path(lifeboat.__file__).parents[1]),
    "dags": sorted(bag.dag_ids),
    "pages": sum(plugin.name == "lifeboat" for plugin in plugins),
    "errors": [bag.import_errors, errors],
}))
"""
BUNDLES = [{"name": "lifeboat", "classpath": "lifeboat.bundle.LifeboatBundle", "kwargs": {}}]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the project's files and no others."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(PROJECT / name, folder)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=True)
    return folder / done.stdout.splitlines()[-1]


def test_the_package_has_every_file_of_ours(wheel: Path) -> None:
    ours = {
        path.relative_to(PROJECT / "plugins").as_posix()
        for path in (PROJECT / "plugins").rglob("*")
        if path.is_file() and not {"__pycache__", ".airflowignore"} & set(path.parts) and "egg-info" not in str(path)
    }
    shared = {f"share/lifeboat/dags/{path.name}" for path in (PROJECT / "dags").glob("*.py")}
    shared |= {"share/lifeboat/.env.example", "share/lifeboat/backup.yaml"}
    with zipfile.ZipFile(wheel) as package:
        names = set(package.namelist())
    assert ours <= names
    assert shared == {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}


def airflow_packages(site: Path) -> Path:
    """Make a folder of packages: what this environment has, but for Lifeboat itself."""
    site.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "lifeboat" not in package.name:
            (site / package.name).symlink_to(package)
    return site


def what_airflow_finds(home: Path, site: Path, **variables: str) -> dict[str, Any]:
    """Return where Lifeboat is, its DAGs, pages and errors, as a new process of Airflow's with a home sees them."""
    home_only = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "LIFEBOAT"))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", FINDS],
        env=home_only
        | {"PYTHONPATH": str(site), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        | variables,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("also_in_the_plugins_folder", [False, True])
def test_an_installed_package_brings_its_dags_and_its_page_once(
    wheel: Path, tmp_path: Path, also_in_the_plugins_folder: bool
) -> None:
    site = airflow_packages(tmp_path / "site")
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*uv, "--target", site, wheel], check=True)
    (tmp_path / "plugins").mkdir()
    if also_in_the_plugins_folder:
        shutil.copy(PROJECT / "plugins" / "lifeboat_plugin.py", tmp_path / "plugins")
    found = what_airflow_finds(
        tmp_path,
        site,
        LIFEBOAT_CONFIG=str(site / "share" / "lifeboat" / "backup.yaml"),
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(BUNDLES),
    )
    assert found == {"where": str(site), "dags": DAGS, "pages": 1, "errors": [{}, {}]}


def test_copied_files_are_a_whole_project(tmp_path: Path) -> None:
    home = tmp_path / "project"
    for name in ("dags", "plugins", "include"):
        shutil.copytree(PROJECT / name, home / name, ignore=LEFT_OUT)
    found = what_airflow_finds(home, airflow_packages(tmp_path / "site"))
    assert found == {"where": str(home / "plugins"), "dags": DAGS, "pages": 1, "errors": [{}, {}]}
