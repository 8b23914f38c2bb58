"""`scripts/release` cuts the changelog and tags, once for each version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

WHO = {f"GIT_{role}_{what}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with one unreleased change."""
    (tmp_path / "plugins" / "lifeboat").mkdir(parents=True)
    (tmp_path / "plugins" / "lifeboat" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n")
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts" / "release", tmp_path / "scripts")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "start")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=os.environ | WHO, capture_output=True, text=True, check=True).stdout


def release(folder: Path) -> str:
    """Cut a release; return what the script complains about."""
    script = folder / "scripts" / "release"
    return subprocess.run([script], env=os.environ | WHO, capture_output=True, text=True, check=False).stderr


def test_a_release_gives_the_changes_its_number_and_is_tagged(folder: Path) -> None:
    assert release(folder) == ""
    text = (folder / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[1\.2\.3\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing\.", text)
    assert git(folder, "log", "-1", "--format=%s", "v1.2.3") == "release: 1.2.3\n"
    assert git(folder, "status", "--porcelain") == ""


def test_nothing_is_released_twice_half_or_without_a_change(folder: Path) -> None:
    (folder / "new.txt").touch()
    assert "Commit everything first" in release(folder)
    (folder / "new.txt").unlink()
    release(folder)
    assert "raise __version__ first" in release(folder)
    (folder / "plugins" / "lifeboat" / "__init__.py").write_text('__version__ = "1.2.4"\n')
    git(folder, "commit", "-aqm", "next")
    assert "no unreleased change" in release(folder)
    assert git(folder, "tag") == "v1.2.3\n"
