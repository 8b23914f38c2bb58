"""A database's way into an encrypted archive.

Every contestant reads the same database through the same dump client with the same options.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from lifeboat.actions import backup
from lifeboat.databases.mysql import dump
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.settings.config import Database
from lifeboat.staging import Staging, StagingDirectory
from lifeboat.storage.s3 import S3Destination
from lifeboat.support import clock

from include.demo.stand_ins import S3, MariaDB, MySQL
from tests.bench.contest import PASSWORD, Report, Repositories, console, fill, hold, own_clients, peak_megabytes, shell
from tests.conftest import disk_destination

ROWS = int(os.environ.get("BENCH_ROWS", "2_000_000"))
BUCKET = "bench"
BARE, ZSTD, RESTIC, BORG = "bare dump to /dev/null", "dump, zstd, openssl", "dump, restic", "dump, borg"
TASKS = "Lifeboat's tasks, to disk and S3, compared and read back"


class Bench:
    """The contestants, around one server and one scratch directory."""

    def __init__(
        self, server: MariaDB | MySQL, s3: S3, scratch: Path, repositories: Repositories, database: str
    ) -> None:
        self.scratch, self.database = scratch, database
        self.server, self.connect, self.s3 = server.server, server.connect, s3
        client = dump.find_client(for_mariadb=isinstance(server, MariaDB))
        options = scratch / "options"
        options.touch(mode=0o600)
        options.write_text(dump.option_file_text(server.server, client), encoding="utf-8")
        self.dump = shlex.join(dump.dump_command(client, str(options), database))
        settings = scratch / f"{database}.yaml"
        settings.write_text(
            json.dumps(
                {
                    "staging": str(scratch / "staging"),
                    "encryption": {"connection": "archive"},
                    "destinations": {
                        "disk": {"type": "disk", "path": str(scratch / "disk")},
                        "s3": {"type": "s3", "connection": "s3", "bucket": BUCKET},
                    },
                    "applications": {"Bench": {"databases": [{"name": database, "connection": "db"}]}},
                }
            )
        )
        self.variables = {
            "LIFEBOAT_CONFIG": str(settings),
            "AIRFLOW_HOME": str(scratch / "airflow"),
            "AIRFLOW_CONN_DB": server.connection(),
            "AIRFLOW_CONN_S3": s3.connection(),
            "AIRFLOW_CONN_ARCHIVE": json.dumps({"conn_type": "generic", "password": PASSWORD}),
            "PW": PASSWORD,
            **repositories.variables,
        }
        self.repositories = repositories
        disk_destination("disk", scratch / "disk")
        self.lifeboat = [str(Path(sys.executable).parent / "lifeboat"), "backup", "database"]

    def contestants(self) -> dict[str, Callable[[], object]]:
        """Return what is timed, by name; the bare dump first."""
        out = shlex.quote(str(self.scratch / "out"))
        openssl = f"openssl enc -aes-256-ctr -pbkdf2 -pass env:PW > {out}"
        take, restic, borg = self.repositories.take, self.repositories.restic, self.repositories.borg
        return {
            BARE: lambda: self._shell(f"{self.dump} > /dev/null"),
            "Lifeboat's dump alone, digests included": self.step,
            TASKS: lambda: self.tasks(StagingDirectory(self.scratch / "tasks")),
            "Lifeboat's command, to disk and S3": self.command,
            "dump, gzip -6, openssl": lambda: self._shell(f"{self.dump} | gzip -6 | {openssl}"),
            ZSTD: lambda: self._shell(f"{self.dump} | zstd -q | {openssl}"),
            RESTIC: lambda: self._shell(f"{take}; {self.dump} | {restic} backup --stdin"),
            BORG: lambda: self._shell(f"{take}; {self.dump} | borg create {borg}::x -"),
        }

    def step(self) -> None:
        """Dump as the first task of a DAG does, to nowhere."""
        dump.dump(self.connect, self.server, clock.now, self.database, (), lambda _: None)

    def tasks(self, scratch: Staging) -> None:
        """Dump, pack and store as the tasks of a DAG do, in a process that has Airflow imported already."""
        scratch.create()
        backup.dump_database(
            scratch, Database(name=self.database, connection="db"), Engine(self.server, self.connect, clock.now)
        )
        packed = backup.pack_archive(scratch, "Bench", "database", [self.database], PASSWORD, now=clock.now())
        targets = [disk_destination("disk", self.scratch / "disk"), S3Destination("s3", self.s3.client(), BUCKET)]
        with ThreadPoolExecutor(len(targets)) as pool:
            list(pool.map(lambda target: backup.store_archive(scratch, packed, target), targets))
        scratch.remove()
        shutil.rmtree(self.scratch / "disk" / "Bench")

    def command(self) -> None:
        """Run the command."""
        subprocess.run(self.lifeboat, env=os.environ | self.variables, check=True, capture_output=True)
        shutil.rmtree(self.scratch / "disk" / "Bench")

    def _shell(self, command: str) -> None:
        shell(command, **self.variables)
        self.repositories.forget()


def main(scratch: Path) -> Report:
    """Fill a database, hold the contest, measure the memory: on MariaDB, then on MySQL."""
    repositories = Repositories(scratch)
    report = Report()
    with MariaDB(scratch / "mariadb") as mariadb, S3(scratch / "s3") as s3:
        s3.create_bucket(BUCKET)
        for server in (mariadb, MySQL(scratch / "mysql")):
            with nullcontext() if server is mariadb else server, own_clients(server):
                report |= hold_on(server, mariadb, s3, scratch, repositories)
    return report


def hold_on(server: MariaDB | MySQL, mariadb: MariaDB, s3: S3, scratch: Path, repositories: Repositories) -> Report:
    """Hold the contest on one server.

    :param mariadb: makes the data.
    """
    kind = type(server).__name__
    console.print(f"Filling a marketplace of {ROWS} rows on {kind}")
    fill(mariadb, server, "bench", ROWS)
    fill(mariadb, server, "tenth", ROWS // 10)
    bench = Bench(server, s3, scratch, repositories, "bench")
    size = int(subprocess.check_output(["/bin/bash", "-c", f"{bench.dump} | wc -c"]))
    title = f"{size / 1e6:.0f} MB of SQL from {kind}"
    report = Report({f"backup {kind}": hold(title, BARE, bench.contestants(), servers=(server.pid, s3.pid))})
    for database, rows in (("tenth", ROWS // 10), ("bench", ROWS)):
        measured = Bench(server, s3, scratch, repositories, database)
        peak = peak_megabytes(measured.lifeboat, measured.variables)
        report.peaks[f"`lifeboat backup database`, {kind}, {rows:,} rows"] = peak
    return report
