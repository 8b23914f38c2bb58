"""Runs the `lifeboat` command in a process of its own, forked from one that has imported what the command imports.

The imports take longer than most commands. Other tests run the program itself: to install, measure or kill it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import lifeboat as package

CONTEXT = multiprocessing.get_context("forkserver")
LEVEL = "AIRFLOW__LOGGING__LOGGING_LEVEL"
IMPORTED = [
    "airflow.sdk",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.mysql.hooks.mysql",
    "tests.airflow.preloaded.shared_loader",
    "tests.command",
]
_ended: dict[str, int] = {}  # the second in which a command ended last, by its verb
NOT_IMPORTED = ("lifeboat.cli.__main__", "lifeboat.airflow.entry_point", "lifeboat.ui")


def lifeboat(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a backup not in the second of the last one, which its archive would be named by."""
    _warm_up()
    while arguments[:1] == ("backup",) and _ended.get("backup") == int(time.time()):
        time.sleep(0.05)
    environment = {name: value for name, value in os.environ.items() if name != LEVEL}
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = CONTEXT.Process(target=_run, args=(arguments, environment, Path.cwd(), streams))
        process.start()
        process.join()
        _ended[arguments[0]] = int(time.time())
        stdout, stderr = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, stdout, stderr)


def answer(*arguments: str, status: int = 0) -> Any:
    """Run a command that must end with a status, and return its answer for programs."""
    done = lifeboat(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


@cache
def _warm_up() -> None:
    """Start the process that the commands are forked from, with Airflow's logging as the command asks for it."""
    os.environ[LEVEL] = "ERROR"
    ours = [found.name for found in pkgutil.walk_packages(package.__path__, "lifeboat.")]
    CONTEXT.set_forkserver_preload(IMPORTED + [name for name in ours if not name.startswith(NOT_IMPORTED)])
    forkserver.ensure_running()
    del os.environ[LEVEL]


def _run(arguments: tuple[str, ...], environment: dict[str, str], folder: Path, streams: list[str]) -> None:
    gc.freeze()  # what was imported before stays, so no collection needs to look at it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["lifeboat", *arguments]
    for descriptor, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), descriptor)
    from lifeboat.cli import main, terminal

    try:
        main()
    finally:
        with contextlib.suppress(ValueError):
            terminal.output.file.flush()  # this process ends without what an interpreter does at its end
