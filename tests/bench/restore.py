"""A dump's way back into a server: the stock client, and the loader over one and several connections.

All load the same file into the same server. What the loader proves besides (every foreign key) is in its time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lifeboat.databases import mysql, mysql_load, mysql_stock

from include.demo import marketplace
from include.demo.stand_ins import MariaDB
from tests.bench.contest import console, hold, peak_megabytes, shell

ROWS = int(os.environ.get("BENCH_ROWS", "6_000_000"))
CHUNK = 1 << 18
COPY = "restored"

LOADER = """
import sys, MySQLdb
from lifeboat.databases import Server, mysql_load
from tests.bench.restore import chunks
port, password, path = sys.argv[1:]
server = Server("127.0.0.1", int(port), "root", password)
connect = lambda: MySQLdb.connect(host=server.host, port=server.port, user=server.user, password=server.password)
mysql_load.load(connect, server, "restored", chunks(path))
"""


def chunks(path: Path | str) -> Iterator[bytes]:
    """Yield a file as an archive's reader would."""
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


class Bench:
    """The contestants, around one server and the dumps of two databases."""

    def __init__(self, mariadb: MariaDB, scratch: Path) -> None:
        self.mariadb = mariadb
        self.dumps: dict[int, Path] = {}
        for rows in (ROWS, ROWS // 10):
            marketplace.load(mariadb, "source", rows)
            self.dumps[rows] = scratch / f"{rows}.sql"
            with self.dumps[rows].open("wb") as file:
                mysql.dump(mariadb.connect, mariadb.server, "source", (), file.write)
        mariadb.run("DROP DATABASE source")
        client = mysql.Client("mariadb", "MariaDB", frozenset())
        self._options = scratch / "options"
        self._options.touch(mode=0o600)
        self._options.write_text(mysql.option_file_text(mariadb.server, client), encoding="utf-8")

    def contestants(self) -> dict[str, Callable[[], object]]:
        """Return what is timed, by name; the stock client first."""
        dump = self.dumps[ROWS]
        server, connect = self.mariadb.server, self.mariadb.connect
        stock = f"mariadb --defaults-file={self._options} --max-allowed-packet=1G {COPY} < {dump}"
        loaders: dict[str, Callable[[], object]] = {
            f"Lifeboat, {count} connection{'s' * (count > 1)}": partial(
                lambda count: mysql_load.load(connect, server, COPY, chunks(dump), connections=count), count
            )
            for count in (1, 2, 4)
        }
        contestants: dict[str, Callable[[], object]] = {
            "the stock client": lambda: shell(stock),
            **loaders,
            "Lifeboat through the stock client": lambda: mysql_stock.load_sequentially(
                connect, server, COPY, chunks(dump)
            ),
        }
        return {name: partial(self._anew, contestant) for name, contestant in contestants.items()}

    def _anew(self, contestant: Callable[[], object]) -> None:
        self.empty()
        contestant()

    def empty(self) -> None:
        """Make the schema to load into."""
        self.mariadb.run(f"DROP DATABASE IF EXISTS {COPY}; CREATE DATABASE {COPY} CHARACTER SET utf8mb4")

    def peak(self, rows: int) -> float:
        """Return the largest resident memory of a loading process, in MiB."""
        self.empty()
        arguments = [str(self.mariadb.port), self.mariadb.password, str(self.dumps[rows])]
        return peak_megabytes([sys.executable, "-c", LOADER, *arguments], {"PYTHONPATH": os.pathsep.join(sys.path)})


def main(scratch: Path) -> None:
    """Make the dumps, hold the contest, measure the memory."""
    with MariaDB(scratch / "mariadb") as mariadb:
        with console.status(f"Dumping a marketplace of {ROWS} rows"):
            bench = Bench(mariadb, scratch)
        size = bench.dumps[ROWS].stat().st_size
        hold(f"{size / 1e6:.0f} MB of SQL into a server", "times the stock client", bench.contestants())
        for rows in (ROWS // 10, ROWS):
            console.print(f"Peak memory of a load of {rows} rows: {bench.peak(rows):.0f} MiB.")
