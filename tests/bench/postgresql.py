"""A PostgreSQL database's way into an archive and back, beside the server's own programs.

Three databases: many rows, many tables, many large objects. A load makes a role of its own, which is in its time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lifeboat.actions import backup
from lifeboat.databases import Load, Server, Target
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.settings.config import Database
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL
from tests.bench.contest import PASSWORD, Report, console, hold, peak_megabytes, shell
from tests.bench.restore import chunks
from tests.conftest import disk_destination

ROWS = int(os.environ.get("BENCH_ROWS", "1_500_000"))
TABLES = int(os.environ.get("BENCH_TABLES", "1_500"))
LARGE_OBJECTS = int(os.environ.get("BENCH_LARGE_OBJECTS", "4_000"))
LONG_VALUE = int(os.environ.get("BENCH_LONG_VALUE", "100_000_000"))  # bytes
COPY = "restored"
ROUNDS = 2
PG_DUMP, PSQL = "pg_dump to /dev/null", "psql"
TASKS = "Lifeboat's tasks, to disk"

EACH = "DO $$ BEGIN FOR i IN 1..{count} LOOP {do}; IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$"
TABLE = "EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, a int UNIQUE, b text)', i)"
LARGE_OBJECT = "PERFORM lo_from_bytea(100000 + i, decode(repeat(md5(i::text), 10), 'hex'))"
DATABASES = {
    f"{ROWS:,} rows": (
        "CREATE TABLE accounts (id int, branch int, balance int, filler char(84));"
        f" INSERT INTO accounts SELECT i, i / 100000, i % 7919, '' FROM generate_series(1, {ROWS}) i;"
        " ALTER TABLE accounts ADD PRIMARY KEY (id); CREATE INDEX ON accounts (branch, balance)"
    ),
    f"{TABLES:,} empty tables": EACH.format(count=TABLES, do=TABLE),
    f"{LARGE_OBJECTS:,} large objects": EACH.format(count=LARGE_OBJECTS, do=LARGE_OBJECT),
}
VALUE = (
    "CREATE TABLE documents (content bytea); ALTER TABLE documents ALTER content SET STORAGE EXTERNAL;"
    f" INSERT INTO documents SELECT decode(repeat('00ff5c27', {LONG_VALUE // 4}), 'hex')"
)
LOADER = """
import sys
from lifeboat.databases import Server
from tests.bench.postgresql import load
port, user, password, path = sys.argv[1:]
load(Server("127.0.0.1", int(port), user, password), path)
"""


def load(server: Server, path: Path | str) -> None:
    """Load a dump into a new database."""
    engine = Engine(server, clock.now)
    with engine.target(Target(COPY, "bench")) as place:
        engine.load(place.name, chunks(path), Load("bench"))


class Bench:
    """The contestants, around one database."""

    def __init__(self, server: PostgreSQL, scratch: Path, database: str, fill: str) -> None:
        self._server, self._scratch, self.database = server, scratch, database
        self._login = Server(server.host, server.port, server.user, server.password)
        self.dump = scratch / f"{database}.sql"
        server.run(f"CREATE DATABASE {database} OWNER {server.user}")
        server.run(fill, database, server.user)
        with self.dump.open("wb") as file:
            Engine(self._login, clock.now).dump(database, (), file.write)
        disk_destination("disk", scratch / "disk")

    def backups(self) -> dict[str, Callable[[], object]]:
        """Return what is timed of a backup, by name; the stock client first."""
        return {
            PG_DUMP: lambda: self._run("pg_dump -f /dev/null", self.database),
            TASKS: self._tasks,
        }

    def restores(self) -> dict[str, Callable[[], object]]:
        """Return what is timed of a restore, by name; the stock client first."""
        packed = self._scratch / f"{self.database}.dump"
        self._run(f"pg_dump -Fc -Z1 -f {packed}", self.database)
        return {
            PSQL: partial(self._anew, f"psql -Xq -v ON_ERROR_STOP=1 -f {self.dump}"),
            "pg_restore -j2": partial(self._anew, f"pg_restore -j2 {packed}"),
            "Lifeboat's load": partial(load, self._login, self.dump),
        }

    def drop(self) -> None:
        """Drop what a contestant has loaded."""
        self._server.run(f"DROP DATABASE IF EXISTS {COPY}")

    def peak(self) -> float:
        """Return the largest resident memory of a loading process, in MiB."""
        login = [str(self._login.port), self._login.user, self._login.password]
        variables = {"PYTHONPATH": os.pathsep.join(sys.path)}
        return peak_megabytes([sys.executable, "-c", LOADER, *login, str(self.dump)], variables)

    def _tasks(self) -> None:
        staging = StagingDirectory(self._scratch / "staging")
        staging.create()
        database = Database(name=self.database, engine="postgresql", connection="db")
        backup.dump_database(staging, database, Engine(self._login, clock.now))
        packed = backup.pack_archive(staging, "Bench", "database", [self.database], PASSWORD, now=clock.now())
        backup.store_archive(staging, packed, disk_destination("disk", self._scratch / "disk"))
        staging.remove()
        shell(f"rm -r {self._scratch}/disk/Bench")

    def _anew(self, command: str) -> None:
        self._server.run(f"CREATE DATABASE {COPY} OWNER {self._server.user}")
        self._run(command, COPY)

    def _run(self, command: str, database: str) -> None:
        where = {"PGHOST": self._server.host, "PGPORT": str(self._server.port), "PGUSER": self._server.user}
        shell(f"{command} -d {database}", **where, PGPASSWORD=self._server.password)


def main(scratch: Path) -> Report:
    """Hold a contest of backups and one of restores for each database; measure the memory of a long value."""
    report = Report()
    with PostgreSQL() as server:
        for number, (what, fill) in enumerate(DATABASES.items()):
            console.print(f"Making {what}")
            bench = Bench(server, scratch, f"bench{number}", fill)
            size = f"{what}, {bench.dump.stat().st_size / 1e6:.0f} MB of SQL"
            servers, name = (server.pid,), f"PostgreSQL {number + 1}"
            taken = hold(f"{size}, from PostgreSQL", PG_DUMP, bench.backups(), servers=servers, rounds=ROUNDS)
            loaded = hold(f"{size}, into PostgreSQL", PSQL, bench.restores(), bench.drop, servers, ROUNDS)
            report.contests |= {f"backup {name}": taken, f"restore {name}": loaded}
        peak = Bench(server, scratch, "long", VALUE).peak()
        report.peaks[f"loading a value of {LONG_VALUE / 1e6:.0f} MB into PostgreSQL"] = peak
    return report
