"""The plugin costs those nothing who do not serve the page, and an installed package has all of its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import PROJECT


def test_the_plugin_imports_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "import lifeboat_plugin\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(PROJECT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['lifeboat_plugin']"


def test_an_installed_package_has_every_file_of_the_page(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "requirements.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(
        PROJECT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True)
    page = PROJECT / "plugins" / "lifeboat" / "ui"
    ours = {
        path.relative_to(PROJECT / "plugins").as_posix()
        for folder in ("templates", "static")
        for path in (page / folder).iterdir()
    }
    assert len(ours) > 10
    with zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]) as wheel:
        assert ours <= set(wheel.namelist())
