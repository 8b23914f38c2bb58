"""A `lifeboat` command in a process of its own, which dies at a chosen step.

A step is what changes something or asks somebody: a file opened to be written, a name given or taken, a program
started, a statement to the database server, a request to S3. Steps are counted over all threads, so the n-th of a
command is the same in every run of it, but for the order of what runs side by side.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import airflow.sdk  # noqa: F401  # here and below: a process that is forked need not import them again
import boto3  # noqa: F401
import MySQLdb  # noqa: F401
from airflow.providers.amazon.aws.hooks import s3  # noqa: F401
from airflow.providers.mysql.hooks import mysql  # noqa: F401
from lifeboat import cli
from lifeboat.actions import logs, restore  # noqa: F401
from lifeboat.airflow import connections  # noqa: F401
from lifeboat.databases.mysql import engine, replay  # noqa: F401
from lifeboat.databases.mysql.dump import Session
from lifeboat.storage import disk
from lifeboat.support import swap, unfinished

CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown"}
SETTING = re.compile(rb"(/\*!\d* )?(SET|USE) ")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Death:
    """How a process dies.

    :param step: before which step, from 1; none that comes: not at all.
    :param named: or before the first step in whose name this is.
    :param signal: by which signal.
    :param group: with its whole process group.
    :param delay: seconds from the step's beginning; dies while the step is under way.
    :param instead: a process that dies in its place: a server, say.
    """

    step: int = 0
    signal: int = signal.SIGKILL
    group: bool = False
    delay: float = 0
    instead: int = 0
    named: str = ""

    def __str__(self) -> str:
        when = " during a step" if self.delay else ""
        return f"{signal.Signals(self.signal).name}{' to the group' if self.group else ''}{when}"


class Counter:
    """Counts steps, writes their names to a file, and dies in time."""

    def __init__(self, names: Path, root: str, death: Death) -> None:
        self._names = os.open(names, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._root, self._death, self._count, self._dying = root, death, 0, False
        self._lock = threading.RLock()
        self._inside = threading.local()

    def step(self, name: str) -> None:
        if getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            with self._lock:
                self._count += 1
                os.write(self._names, name.replace("\n", " ")[:200].encode("utf-8", "replace") + b"\n")
                named = self._death.named and self._death.named in name
                if not self._dying and (named or self._count == self._death.step):
                    self._dying = True
                    self._die()
        finally:
            self._inside.busy = False

    def _die(self) -> None:
        kill = os.killpg if self._death.group else os.kill
        if self._death.delay:
            threading.Timer(self._death.delay, kill, (os.getpid(), self._death.signal)).start()
            return
        kill(self._death.instead or os.getpid(), self._death.signal)
        time.sleep(0.5)  # a signal that is handled is handled here

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event of the interpreter."""
        if event in CHANGES:
            self.step(f"{event} {arguments[0]!r}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            if str(arguments[0]).startswith(self._root) or str(arguments[0]).endswith(disk.PARTIAL):
                self.step(f"open {arguments[0]}")
        elif event == "subprocess.Popen":
            self.step(f"start {os.fspath(arguments[0])}")
        elif event == "http.client.send":
            self.step(f"send {arguments[1][:60]!r}")

    def wrap(self, owner: object, name: str) -> None:
        """Count the calls of a function, but for settings of a session with the database server."""
        function = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            what = next((a for a in arguments if isinstance(a, bytes)), b"")
            if not SETTING.match(what):
                self.step(f"{name} {what[:100]!r}")
            return function(*arguments, **named)

        setattr(owner, name, counted)


def run(arguments: list[str], variables: Mapping[str, str], folder: Path, root: Path, death: Death) -> None:
    """Run a command, for `multiprocessing`; its output goes to files of the folder, the names of its steps as well.

    :param root: files below it count.
    """
    os.setpgid(0, 0)
    os.environ.update(variables)
    for descriptor, name in ((1, "answer"), (2, "errors")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    sys.argv = ["lifeboat", *arguments]
    counter = Counter(folder / "steps", str(root), death)
    for owner in (disk, swap, unfinished):
        counter.wrap(owner, "sync_names")
    counter.wrap(unfinished, "sync_file_system")
    counter.wrap(swap, "rename_in_one_step")
    counter.wrap(Session, "execute")
    sys.addaudithook(counter.hear)
    main: Callable[[], object] = cli.main
    main()
