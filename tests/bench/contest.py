"""Contestants in rounds, and the table of what they took.

Timings of one machine vary by the minute, so each round runs all contestants in turn, and ratios are taken within a
round.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from lifeboat.databases.mysql import dump, load
from lifeboat.support import clock
from rich.console import Console

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


@dataclass
class Result:
    """The outcome of a contest.

    :param base: the contestant to which ratios are taken.
    :param seconds: of each round, by contestant.
    :param cpu_seconds: of clients, servers and Lifeboat, in the same way.
    """

    title: str
    base: str
    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]

    def ratio(self, name: str) -> float:
        """Return how many times the base's time a contestant took: the median of the rounds' own ratios."""
        pairs = zip(self.seconds[name], self.seconds[self.base], strict=True)
        return statistics.median(its / base for its, base in pairs)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row for each contestant, the fastest first."""
        for name in sorted(self.seconds, key=self.ratio):
            median, cpu = (statistics.median(each[name]) for each in (self.seconds, self.cpu_seconds))
            shown = f"**{name}**" if name.startswith("Lifeboat") else name
            yield shown, f"{self.ratio(name):.2f}", f"{median:.1f}", f"{cpu:.1f}"


@dataclass
class Report:
    """What contests have measured.

    :param contests: by the name that the page calls them.
    :param peaks: memory in MiB, by what needed it.
    :param short: CPU seconds of what takes few, the least of some runs, by what it is.
    """

    contests: dict[str, Result] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    short: dict[str, float] = field(default_factory=dict)

    def __or__(self, other: Report) -> Report:
        return Report(self.contests | other.contests, self.peaks | other.peaks, self.short | other.short)


def hold(
    title: str,
    base: str,
    contestants: dict[str, Callable[[], object]],
    tidy_up: Callable[[], object] = lambda: None,
    servers: Sequence[int] = (),
    rounds: int = ROUNDS,
) -> Result:
    """Run all rounds.

    :param base: the contestant to which ratios are taken.
    :param tidy_up: runs after each contestant, off the clock.
    :param servers: processes whose CPU seconds, and those of all below them, count as well.
    """
    result = Result(title, base, {name: [] for name in contestants}, {name: [] for name in contestants})
    for number in range(rounds):
        for name, contestant in contestants.items():
            console.print(f"{title}, round {number + 1} of {rounds}: {name}")
            began, started = cpu_seconds(servers), time.perf_counter()
            contestant()
            result.seconds[name].append(time.perf_counter() - started)
            result.cpu_seconds[name].append(cpu_seconds(servers) - began)
            tidy_up()
    return result


def least_cpu(command: Sequence[str], variables: Mapping[str, str], runs: int) -> float:
    """Return the CPU seconds of a command: those of its best run, which other work disturbs least."""
    seconds = []
    for _ in range(runs):
        before = cpu_seconds()
        subprocess.run(command, env=os.environ | variables, check=True, capture_output=True)
        seconds.append(cpu_seconds() - before)
    return min(seconds)


def cpu_seconds(servers: Sequence[int] = ()) -> float:
    """Return the CPU seconds of this process, of its children that have ended, and of servers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(each.ru_utime + each.ru_stime for each in used)
    for server in servers:
        parent = psutil.Process(server)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
    return total
