"""Contestants in rounds, and the table of what they took.

Timings of one machine vary by the minute, so each round runs all contestants in turn, and ratios are taken within a
round.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lifeboat.databases.mysql import dump, load
from lifeboat.support import clock
from rich.console import Console
from rich.table import Table

from include.demo import marketplace
from include.demo.stand_ins import MariaDB, MySQL

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PASSWORD = "bench password"

console = Console(highlight=False)

PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def shell(command: str, **variables: str) -> None:
    """Run a pipeline of which every member must succeed."""
    subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", command],
        check=True,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def own_clients(server: MariaDB | MySQL) -> Iterator[None]:
    """Put a server's own clients first in PATH."""
    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join(filter(None, [str(server.path or ""), before]))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def fill(mariadb: MariaDB, server: MariaDB | MySQL, database: str, rows: int) -> None:
    """Make a marketplace on a server; its numbers come from a storage engine that only MariaDB has."""
    marketplace.load(mariadb, database, rows)
    if server is mariadb:
        return
    chunks: list[bytes] = []
    dump.dump(mariadb.connect, mariadb.server, clock.now, database, (), chunks.append)
    server.run(f"DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} CHARACTER SET utf8mb4")
    load.load(server.connect, server.server, database, chunks)
    mariadb.run(f"DROP DATABASE {database}")


class Repositories:
    """New repositories of restic and borg, made before the clock runs.

    :param scratch: directory for them; they must be forgotten after each backup.
    """

    def __init__(self, scratch: Path) -> None:
        self._new, self._used = scratch / "new", scratch / "used"
        self._new.mkdir()
        self.variables = {"RESTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": str(self._used)}
        self.take = f"cp -r {self._new} {self._used}"
        self.restic = f"restic -q -r {self._used}/restic --cache-dir {self._used}/cache"
        self.borg = f"{self._used}/borg"
        shell(f"{self.take}; {self.restic} init; borg init -e repokey {self.borg}", **self.variables)
        shutil.rmtree(self._new)
        self._used.rename(self._new)

    def forget(self) -> None:
        """Remove what a backup has stored."""
        shutil.rmtree(self._used, ignore_errors=True)


def peak_megabytes(command: list[str], variables: dict[str, str]) -> float:
    """Run a command and return the largest resident memory of any of its processes, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1]) / 1024


def hold(
    title: str, unit: str, contestants: dict[str, Callable[[], object]], tidy_up: Callable[[], object] = lambda: None
) -> None:
    """Run all rounds and print the table.

    :param unit: heading of the ratios, which are taken to the first contestant.
    :param tidy_up: runs after each contestant, off the clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, contestant in contestants.items():
            with console.status(f"{title}, round {number + 1} of {ROUNDS}: {name}"):
                started = time.perf_counter()
                contestant()
                seconds[name].append(time.perf_counter() - started)
                tidy_up()
    first, *_ = seconds.values()
    table = Table(title=f"{title}, {ROUNDS} rounds, {os.cpu_count()} cores")
    for heading in ("", "seconds (median)", unit):
        table.add_column(heading, justify="right" if heading else "left")
    for name, times in seconds.items():
        ratio = statistics.median(its / base for its, base in zip(times, first, strict=True))
        table.add_row(name, f"{statistics.median(times):.1f}", f"{ratio:.2f}")
    console.print(table)
