"""Servers of other Debian suites: a root that cannot be made fails with a sentence; only what is named is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.demo.server_roots import CACHE, WITHOUT
from tests.conftest import PROJECT

SELECTION = "tests/matrix/test_collations.py"


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "LIFEBOAT"))}
    return subprocess.run(
        command, cwd=PROJECT, env=environment | variables, capture_output=True, text=True, check=False
    )


def pytest_run(*options: str, **variables: str) -> list[str]:
    done = run(sys.executable, "-m", "pytest", SELECTION, "--collect-only", *options, **variables)
    return (done.stdout + done.stderr).strip().splitlines()


@pytest.mark.parametrize("options", [("-n", "0"), ("-n", "1")], ids=["in one process", "by xdist"])
def test_the_last_line_says_what_was_left_out(options: tuple[str, ...]) -> None:
    said = pytest_run(*options, **{WITHOUT: "mysql"})
    assert said[-1] == f"LEFT OUT, by {WITHOUT}: mysql"
    assert not [line for line in said if "[" in line and "mysql" in line]


def test_nothing_is_left_out_of_itself() -> None:
    said = pytest_run("-n", "0")
    assert not [line for line in said if "LEFT OUT" in line]
    assert [line for line in said if line.endswith("mysql]")]


def test_a_name_that_is_no_server_s_is_refused() -> None:
    said = pytest_run("-n", "0", **{WITHOUT: "mysql,oracle"})
    known = "mysql, mariadb-11.8, postgresql-17, postgresql-18"
    assert f"{WITHOUT} names 'oracle', which is no server: use {known}." in "\n".join(said)


@pytest.mark.parametrize(
    ("server", "variables", "said"),
    [
        ("oracle", {}, "unknown server 'oracle': use mysql, mysql-tests, mariadb-11.8, mariadb-tests, postgresql-17"),
        ("mysql", {"LIFEBOAT_DEBIAN_MIRROR": "http://127.0.0.1:9"}, "Debian's suite sid cannot be had"),
    ],
)
def test_a_root_that_cannot_be_made_fails_by_a_sentence(
    tmp_path: Path, server: str, variables: dict[str, str], said: str
) -> None:
    done = run("scripts/server-roots", server, **{CACHE: str(tmp_path)} | variables)
    assert done.returncode != 0
    assert said in done.stderr
    if variables:
        assert done.stderr.strip().endswith(f"set {WITHOUT}={server}.")


def test_what_is_left_out_is_not_made(tmp_path: Path) -> None:
    done = run("scripts/server-roots", "mysql", "mysql-tests", **{CACHE: str(tmp_path), WITHOUT: "mysql"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"Left out, by {WITHOUT}: mysql", f"Left out, by {WITHOUT}: mysql-tests"]
    assert not (tmp_path / "sid").exists()
