"""Lifeboat installed as a package into an Airflow that has no folder of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SOURCES = ("pyproject.toml", "README.md", "requirements.txt", ".env.example", "dags", "plugins", "include")
BUNDLES = [{"name": "lifeboat", "classpath": "lifeboat.bundle.LifeboatBundle", "kwargs": {}}]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the project's files and no others."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            left_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
            shutil.copytree(PROJECT / name, folder / name, ignore=left_out)
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


def airflow_with(wheel: Path, site: Path) -> Path:
    """Make a folder of packages: what this environment has but for Lifeboat itself, and the wheel."""
    site.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "lifeboat" not in package.name:
            (site / package.name).symlink_to(package)
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*uv, "--target", site, wheel], check=True)
    return site


@pytest.mark.parametrize("also_in_the_plugins_folder", [False, True])
def test_an_installed_package_brings_its_dags_and_its_page_once(
    wheel: Path, tmp_path: Path, also_in_the_plugins_folder: bool
) -> None:
    site = airflow_with(wheel, tmp_path / "site")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    if also_in_the_plugins_folder:
        shutil.copy(PROJECT / "plugins" / "lifeboat_plugin.py", plugins)
    (tmp_path / "backup.yaml").write_text((PROJECT / "include" / "backup.yaml").read_text())
    script = (
        "import json, lifeboat\n"
        "from airflow import plugins_manager\n"
        "from airflow.dag_processing.bundles.manager import DagBundlesManager\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bundle = DagBundlesManager().get_bundle('lifeboat')\n"
        "bag = DagBag(dag_folder=str(bundle.path), bundle_name='lifeboat')\n"
        "plugins, errors = plugins_manager._get_plugins()\n"
        "print(json.dumps([lifeboat.__file__, sorted(bag.dag_ids), bag.import_errors,"
        " [plugin.name for plugin in plugins if plugin.name == 'lifeboat'], errors]))\n"
    )
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "LIFEBOAT_CONFIG": str(tmp_path / "backup.yaml"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where, dags, import_errors, pages, plugin_errors = json.loads(done.stdout.splitlines()[-1])
    assert Path(where).is_relative_to(site)
    assert dags == sorted(path.stem for path in (PROJECT / "dags").glob("*.py"))
    assert (import_errors, pages, plugin_errors) == ({}, ["lifeboat"], {})
