"""A dump's way back into a server: the stock client, and the loader over one and several connections.

All load the same file into the same server. What the loader proves besides (every foreign key) is in its time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import load
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL
from tests.bench.contest import Report, console, fill, hold, own_clients, peak_megabytes, shell

ROWS = int(os.environ.get("BENCH_ROWS", "800_000"))
CHUNK = 1 << 18
COPY = "restored"
STOCK, LIFEBOAT = "the stock client", "Lifeboat, 4 connections"
MYLOADER = "myloader, 4 threads"
ROUNDS = 2

Filled = Callable[[MariaDB | MySQL, str, int], None]  # makes a database of that name, of so many rows

LOADER = """
import sys, MySQLdb
from lifeboat.databases import Server
from lifeboat.databases.mysql import load
from tests.bench.restore import chunks
port, password, path = sys.argv[1:]
server = Server("127.0.0.1", int(port), "root", password)
connect = lambda: MySQLdb.connect(host=server.host, port=server.port, user=server.user, password=server.password)
load.load(connect, server, "restored", chunks(path))
"""


def chunks(path: Path | str) -> Iterator[bytes]:
    """Yield a file as an archive's reader would."""
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


class Bench:
    """The contestants, around one server and the dumps of two databases."""

    def __init__(self, server: MariaDB | MySQL, scratch: Path, filled: Filled) -> None:
        self.server = server
        self._login = f"-h 127.0.0.1 -P {server.port} -u bench -p bench"  # mydumper reads no other letters
        server.run("CREATE USER IF NOT EXISTS bench@'%' IDENTIFIED BY 'bench'; GRANT ALL ON *.* TO bench@'%'")
        self._parts = scratch / f"{type(server).__name__}.parts"
        self.dumps: dict[int, Path] = {}
        for rows in (ROWS // 10, ROWS):  # mydumper takes the last
            filled(server, "source", rows)
            self.dumps[rows] = scratch / f"{type(server).__name__}-{rows}.sql"
            with self.dumps[rows].open("wb") as file:
                mysql.dump(server.connect, server.server, clock.now, "source", (), file.write)
        shell(f"mydumper {self._login} -t 4 -r 100000 -B source -o {self._parts}")
        server.run("DROP DATABASE source")
        client = mysql.Client("mariadb", "MariaDB", frozenset())
        self._options = scratch / f"{type(server).__name__}.options"
        self._options.touch(mode=0o600)
        self._options.write_text(mysql.option_file_text(server.server, client), encoding="utf-8")

    def contestants(self) -> dict[str, Callable[[], object]]:
        """Return what is timed, by name; the stock client first."""
        dump = self.dumps[ROWS]
        server, connect = self.server.server, self.server.connect
        client = "mysql" if isinstance(self.server, MySQL) else "mariadb"
        stock = f"{client} --defaults-file={self._options} --max-allowed-packet=1G {COPY} < {dump}"
        loaders: dict[str, Callable[[], object]] = {
            f"Lifeboat, {count} connection{'s' * (count > 1)}": partial(
                lambda count: load.load(connect, server, COPY, chunks(dump), connections=count), count
            )
            for count in (1, 2, 4)
        }
        contestants: dict[str, Callable[[], object]] = {
            STOCK: lambda: shell(stock),
            **loaders,
            MYLOADER: lambda: shell(f"myloader {self._login} -o -t 4 -B {COPY} -d {self._parts}"),
        }
        return {name: partial(self._anew, contestant) for name, contestant in contestants.items()}

    def _anew(self, contestant: Callable[[], object]) -> None:
        self.empty()
        contestant()

    def empty(self) -> None:
        """Make the schema to load into."""
        self.server.run(f"DROP DATABASE IF EXISTS {COPY}; CREATE DATABASE {COPY} CHARACTER SET utf8mb4")

    def peak(self, rows: int) -> float:
        """Return the largest resident memory of a loading process, in MiB."""
        self.empty()
        arguments = [str(self.server.port), self.server.password, str(self.dumps[rows])]
        return peak_megabytes([sys.executable, "-c", LOADER, *arguments], {"PYTHONPATH": os.pathsep.join(sys.path)})


def main(scratch: Path) -> Report:
    """Make the dumps, hold the contest, measure the memory: on MariaDB, then on MySQL."""
    report = Report()
    with MariaDB(scratch / "mariadb") as mariadb:
        for server in (mariadb, MySQL(scratch / "mysql")):
            with nullcontext() if server is mariadb else server, own_clients(server):
                kind = type(server).__name__
                console.print(f"Dumping a marketplace of {ROWS} rows from {kind}")
                bench = Bench(server, scratch, partial(fill, mariadb))
                title = f"{bench.dumps[ROWS].stat().st_size / 1e6:.0f} MB of SQL into {kind}"
                held = hold(title, STOCK, bench.contestants(), servers=(server.pid,), rounds=ROUNDS)
                report.contests[f"restore {kind}"] = held
                for rows in (ROWS // 10, ROWS):
                    report.peaks[f"loading {rows:,} rows into {kind}"] = bench.peak(rows)
    return report
