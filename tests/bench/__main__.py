"""Time a database's way into an encrypted archive, ours and our peers', and print one table of ratios.

Every contestant reads the same database through the same dump client with the same options. Timings of one machine
vary by the minute, so each round runs all contestants in turn and the ratio to the bare dump is taken within a round.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lifeboat import backup
from lifeboat.config import Database
from lifeboat.databases import mysql
from lifeboat.staging import Staging
from lifeboat.storage.disk import DiskDestination
from lifeboat.storage.s3 import S3Destination
from rich.console import Console
from rich.table import Table

from include.demo import marketplace
from include.demo.stand_ins import S3, MariaDB

ROWS = int(os.environ.get("BENCH_ROWS", "6_000_000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PASSWORD = "bench password"
BUCKET = "bench"
OURS = "lifeboat backup database, on disk and S3"
STEPS = "Lifeboat's tasks, on disk and S3"

PHP_ZIP = """
$zip = new ZipArchive();
$zip->open($argv[2], ZipArchive::CREATE | ZipArchive::OVERWRITE);
$zip->addFile($argv[1], 'dump.sql');
$zip->setEncryptionName('dump.sql', ZipArchive::EM_AES_256, $argv[3]);
$zip->close();
"""

console = Console(highlight=False)


def shell(command: str, **variables: str) -> None:
    """Run a pipeline of which every member must succeed."""
    subprocess.run(["/bin/bash", "-euo", "pipefail", "-c", command], check=True, env=os.environ | variables)


def peak_megabytes(command: list[str], variables: dict[str, str]) -> float:
    """Run a command and return the largest resident memory of any of its processes, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1]) / 1024


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Bench:
    """The contestants, around one server and one scratch directory."""

    def __init__(self, mariadb: MariaDB, s3: S3, scratch: Path, database: str) -> None:
        self.scratch, self.database = scratch, database
        self.server, self.connect, self.s3 = mariadb.server, mariadb.connect, s3
        client = mysql.find_client(for_mariadb=True)
        options = scratch / "options"
        options.touch(mode=0o600)
        options.write_text(mysql.option_file_text(mariadb.server, client), encoding="utf-8")
        self.dump = shlex.join(mysql.dump_command(client, str(options), database, []))
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
            "AIRFLOW_CONN_DB": mariadb.connection(),
            "AIRFLOW_CONN_S3": s3.connection(),
            "AIRFLOW_CONN_ARCHIVE": json.dumps({"conn_type": "generic", "password": PASSWORD}),
            "RESTIC_PASSWORD": PASSWORD,
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(scratch / "borg-home"),
            "PW": PASSWORD,
        }
        self.lifeboat = [str(Path(sys.executable).parent / "lifeboat"), "backup", "database"]

    def contestants(self) -> dict[str, Callable[[], None]]:
        """Return what is timed, by name; the bare dump first."""
        out = shlex.quote(str(self.scratch / "out"))
        openssl = f"openssl enc -aes-256-ctr -pbkdf2 -pass env:PW > {out}"
        restic = f"restic -q -r {self.scratch / 'restic'} --cache-dir {self.scratch / 'restic-cache'}"
        borg = f"borg create {self.scratch / 'borg'}::{{now:%f}} -"
        php = f'php -r {shlex.quote(PHP_ZIP)} {out}.sql {out}.zip "$PW"'
        return {
            "bare dump to /dev/null": lambda: self._shell(f"{self.dump} > /dev/null"),
            STEPS: self._steps,
            OURS: lambda: self._run(self.lifeboat),
            "dump | gzip -6 | openssl": lambda: self._shell(f"{self.dump} | gzip -6 | {openssl}"),
            "dump | zstd | openssl": lambda: self._shell(f"{self.dump} | zstd -q | {openssl}"),
            "dump, PHP ZipArchive AES-256": lambda: self._shell(
                f"{self.dump} > {out}.sql; {php}; rm {out}.sql {out}.zip"
            ),
            "dump | restic --stdin": lambda: self._shell(f"{restic} init; {self.dump} | {restic} backup --stdin"),
            "dump | borg": lambda: self._shell(f"borg init -e repokey {self.scratch / 'borg'}; {self.dump} | {borg}"),
        }

    def _steps(self) -> None:
        """Dump, pack and store as the tasks of a DAG do, in a process that has Airflow imported already."""
        scratch = Staging(self.scratch / "steps")
        scratch.create()
        backup.dump_database(scratch, Database(name=self.database, connection="db"), self.server, self.connect)
        packed = backup.pack_archive(scratch, "Bench", "database", [self.database], PASSWORD)
        targets = [DiskDestination("disk", self.scratch / "disk"), S3Destination("s3", self.s3.client(), BUCKET)]
        with ThreadPoolExecutor(len(targets)) as pool:
            list(pool.map(lambda target: backup.store_archive(scratch, packed, target), targets))
        scratch.remove()
        shutil.rmtree(self.scratch / "disk")

    def _shell(self, command: str) -> None:
        shell(command, **self.variables)
        for left in ("restic", "restic-cache", "borg", "borg-home"):
            shutil.rmtree(self.scratch / left, ignore_errors=True)

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, env=os.environ | self.variables, check=True, capture_output=True)
        shutil.rmtree(self.scratch / "disk", ignore_errors=True)


def main() -> None:
    """Fill a database, run all rounds, print the table."""
    with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder:
        scratch = Path(folder)
        with MariaDB(scratch / "mariadb") as mariadb, S3(scratch / "s3") as s3:
            s3.create_bucket(BUCKET)
            with console.status(f"Filling a marketplace of {ROWS} rows"):
                marketplace.load(mariadb, "bench", ROWS)
                marketplace.load(mariadb, "tenth", ROWS // 10)
                mariadb.run("CREATE DATABASE nothing")
            idle = Bench(mariadb, s3, scratch, "nothing")
            bench = Bench(mariadb, s3, scratch, "bench")
            contestants = bench.contestants() | {"lifeboat backup database, of an empty one": idle.contestants()[OURS]}
            size = int(subprocess.check_output(["/bin/bash", "-c", f"{bench.dump} | wc -c"]))
            seconds: dict[str, list[float]] = {name: [] for name in contestants}
            for number in range(ROUNDS):
                for name, contestant in contestants.items():
                    with console.status(f"Round {number + 1} of {ROUNDS}: {name}"):
                        started = time.perf_counter()
                        contestant()
                        seconds[name].append(time.perf_counter() - started)
            memory = {}
            for database, rows in (("tenth", ROWS // 10), ("bench", ROWS)):
                measured = Bench(mariadb, s3, scratch, database)
                memory[rows] = peak_megabytes(measured.lifeboat, measured.variables)
    bare = seconds["bare dump to /dev/null"]
    table = Table(title=f"{size / 1e6:.0f} MB of SQL, {ROUNDS} rounds, {os.cpu_count()} cores")
    for heading in ("", "seconds (median)", "times the bare dump"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, times in seconds.items():
        ratio = statistics.median(ours / base for ours, base in zip(times, bare, strict=True))
        table.add_row(name, f"{statistics.median(times):.1f}", f"{ratio:.2f}")
    console.print(table)
    peaks = ", ".join(f"{megabytes:.0f} MiB for {rows} rows" for rows, megabytes in memory.items())
    console.print(f"Peak memory of Lifeboat's command: {peaks}.")


if __name__ == "__main__":
    main()
