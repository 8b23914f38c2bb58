"""Lifeboat in an Airflow that has nothing of it yet: installed as a package, and copied as files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from lifeboat import __version__
from lifeboat.airflow import bundle
from packaging.requirements import Requirement

from tests.conftest import PROJECT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", ".env.example", "dags", "plugins", "include")
LEFT_OUT = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
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
from airflow.providers_manager import ProvidersManager
import lifeboat
from lifeboat.support.native import native
provider = ProvidersManager().providers.get("airflow-lifeboat")
print(json.dumps({
    "provider": provider and [provider.data["name"], provider.version],
    "where": str(Path(lifeboat.__file__).parents[1]),
    "dags": sorted(bag.dag_ids),
    "pages": sum(plugin.name == "lifeboat" for plugin in plugins),
    "native": native is not None,
    "errors": [bag.import_errors, errors],
}))
"""
COMPLETE = {"dags": DAGS, "pages": 1, "errors": [{}, {}]}
BUNDLES = [{"name": "lifeboat", "classpath": "lifeboat.airflow.bundle.LifeboatBundle", "kwargs": {}}]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the project's files and no others."""
    return built("wheel", sources(tmp_path_factory.mktemp("wheel")))


def sources(folder: Path) -> Path:
    """Copy the project's files, and no others, into a folder."""
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(PROJECT / name, folder)
    return folder


def names_in(wheel: Path) -> set[str]:
    """Return the names of the files of a wheel."""
    with zipfile.ZipFile(wheel) as package:
        return set(package.namelist())


def built(kind: str, folder: Path, **variables: str) -> Path:
    """Build a distribution of the project in a folder there."""
    build = f"from setuptools import build_meta; print(build_meta.build_{kind}('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What a package index reads of the wheel."""
    with zipfile.ZipFile(wheel) as package:
        (name,) = (name for name in package.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(package.read(name))


def test_the_package_has_every_file_of_ours(wheel: Path) -> None:
    ours = {
        path.relative_to(PROJECT / "plugins").as_posix()
        for path in (PROJECT / "plugins").rglob("*")
        if path.is_file() and not {"__pycache__", ".airflowignore"} & set(path.parts)
        if "egg-info" not in str(path) and path.suffix != ".so"
    }
    shared = {f"share/lifeboat/dags/{path.name}" for path in (PROJECT / "dags").glob("*.py")}
    shared |= {f"share/lifeboat/{name}" for name in (".env.example", "backup.yaml", "settings.schema.json")}
    names = names_in(wheel)
    assert ours <= names
    assert [name for name in names if name.endswith(".so")] == ["lifeboat/support/_native.abi3.so"]
    assert re.search(r"-cp311-abi3-linux_\w+\.whl$", wheel.name), "one for every Python"
    assert shared == {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}


def test_without_a_compiler_the_package_lacks_the_native_module_alone(wheel: Path, tmp_path: Path) -> None:
    bare = built("wheel", sources(tmp_path), CC="false")
    assert names_in(wheel) - names_in(bare) == {"lifeboat/support/_native.abi3.so"}


def test_the_source_distribution_is_the_whole_project(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    names = {name for name in tracked.stdout.split("\0") if name and (PROJECT / name).exists()}
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    with tarfile.open(built("sdist", tmp_path)) as package:
        assert names <= {name.partition("/")[2] for name in package.getnames()}


def test_the_bundle_of_an_editable_installation_is_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "files", lambda _: [])
    assert bundle.dags_folder() == PROJECT / "dags"


def test_requirements_are_those_of_the_package_with_its_engines_and_channels(metadata: Message) -> None:
    of_package = set()
    for found in map(Requirement, metadata.get_all("Requires-Dist", [])):
        if found.name != "airflow-lifeboat" and "celery" not in str(found.marker):
            found.marker = None
            of_package.add(str(found))
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    assert {str(Requirement(line)) for line in lines if not line.startswith("#")} == of_package
    (everything,) = (each for each in metadata.get_all("Requires-Dist", []) if each.startswith("airflow-lifeboat["))
    assert Requirement(everything).extras == set(metadata.get_all("Provides-Extra", [])) - {"all"}


def test_versions_are_pinned_with_hashes_in_the_lock_and_nowhere_else() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        assert not re.search(r"==\d", (PROJECT / name).read_text()), name
    entries = re.split(r"\n(?=\w)", (PROJECT / "requirements.lock").read_text())[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_an_index_shows_the_readme_with_links_that_lead_to_this_version(metadata: Message) -> None:
    page = metadata.get_payload()
    assert isinstance(page, str)
    targets = re.findall(r"\]\(([^)\s]+)\)", page) + re.findall(r'(?:src|srcset)="([^"]+)"', page)
    ours = [target for target in targets if f"/airflow-lifeboat/blob/v{__version__}/" in target]
    assert len(ours) > 10
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert f"/airflow-lifeboat/raw/v{__version__}/docs/images/backups-light.png" in page
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "Apache-2.0"


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
    listed = ["Lifeboat", __version__]
    assert found == {"where": str(site), "native": True, "provider": listed} | COMPLETE


def test_copied_files_are_a_whole_project(tmp_path: Path) -> None:
    home = tmp_path / "project"
    for name in ("dags", "plugins", "include"):
        shutil.copytree(PROJECT / name, home / name, ignore=LEFT_OUT)
    found = what_airflow_finds(home, airflow_packages(tmp_path / "site"))
    assert found == {"where": str(home / "plugins"), "native": False, "provider": None} | COMPLETE
