"""``make demo``, ``make up``, ``make screenshots``: the whole product on this machine, on stand-ins, in ``.demo``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from lifeboat.storage.disk import DiskDestination
from lifeboat.support import clock
from lifeboat.support.processes import die_with_parent
from rich.console import Console

from include.demo import marketplace
from include.demo.stand_ins import LOCALHOST, S3, MailSink, MariaDB, SlackSink
from include.demo.standalone import Standalone

PROJECT = Path(__file__).resolve().parents[2]
HOME = PROJECT / ".demo"
BIN = Path(sys.executable).parent
BUCKET = "marketplace-backups"
RESTORED = f"{marketplace.DATABASE}_restored"
ARCHIVE_PASSWORD = "demo archive password"
UI_PORT = 8080
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CAP = 128  # MiB of archives at each destination

console = Console(highlight=False)


@contextlib.contextmanager
def stand_ins() -> Iterator[dict[str, str]]:
    """Start the stand-ins; yield the environment in which Airflow and `lifeboat` find them."""
    with contextlib.ExitStack() as stack:
        with console.status("Starting MariaDB"):
            mariadb = stack.enter_context(MariaDB(HOME / "mariadb"))
        if not marketplace.is_loaded(mariadb):
            with console.status(f"Filling the marketplace with about {marketplace.ROWS} rows"):
                marketplace.load(mariadb)
        mariadb.run(f"DROP DATABASE IF EXISTS {RESTORED}")  # what an earlier demo restored
        marketplace.write_files(HOME / "app")
        with console.status("Starting an S3 server (SeaweedFS)"):
            s3 = stack.enter_context(S3(HOME / "s3"))
            s3.create_bucket(BUCKET)
        mail = stack.enter_context(MailSink(HOME / "mail"))
        slack = stack.enter_context(SlackSink(HOME / "slack"))
        console.print(f"MariaDB on port {mariadb.port}, S3 at {s3.endpoint}, mail and Slack sinks in {HOME}.")
        yield environment(mariadb, s3, mail, slack)


def environment(mariadb: MariaDB, s3: S3, mail: MailSink, slack: SlackSink) -> dict[str, str]:
    """Write the demo's settings and return the variables of its Airflow."""
    settings = {
        "staging": str(HOME / "staging"),
        "encryption": {"connection": "lifeboat_archive"},
        "destinations": {
            "local": {"type": "disk", "path": str(HOME / "backups")},
            "offsite": {"type": "s3", "connection": "backups_s3", "bucket": BUCKET},
        },
        "applications": {
            "Aimporo Marketplace": {
                "databases": [{"name": marketplace.DATABASE, "connection": "marketplace_db"}],
                "files": {"root": str(HOME / "app")},
            }
        },
        "drill": {"production": True},
        "retention": {"delete_oldest_above_megabytes": CAP},
        "health": {"max_storage_megabytes": CAP},
        "alerts": {
            "slack": {"connection": "backups_slack"},
            "email": {"connection": "backups_smtp", "to": ["ops@example.com"]},
        },
    }
    path = HOME / "backup.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    DiskDestination("local", HOME / "backups").init(clock.now())
    return {
        "LIFEBOAT_CONFIG": str(path),
        "AIRFLOW_HOME": str(HOME / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW_CONN_MARKETPLACE_DB": mariadb.connection(marketplace.DATABASE),
        "AIRFLOW_CONN_BACKUPS_S3": s3.connection(),
        "AIRFLOW_CONN_BACKUPS_SMTP": mail.connection(),
        "AIRFLOW_CONN_BACKUPS_SLACK": slack.connection(),
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE": json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD}),
    }


def run(variables: dict[str, str], *command: str, log: Path | None = None) -> str:
    """Run a program of the virtual environment to its end and return what it prints.

    :param log: takes the output instead.
    :raises SystemExit: it failed; with its last lines.
    """
    parent = os.getpid()
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if log else None,
        text=True,
        check=False,
        preexec_fn=lambda: die_with_parent(parent),
    )
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise SystemExit(f"{shlex.join(command)} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def demo() -> None:
    """Run `backup_database` through Airflow and show what came of it."""
    with stand_ins() as variables:
        log = HOME / "backup_database.log"
        with console.status("Preparing Airflow's own database"):
            run(variables, "airflow", "db", "migrate", log=HOME / "migrate.log")
            run(variables, "airflow", "dags", "reserialize", log=HOME / "reserialize.log")
        started = time.monotonic()
        with console.status("Running the DAG backup_database through Airflow: dump, archive, upload"):
            run(variables, "airflow", "dags", "test", "backup_database", log=log)
        console.print(f"[green]backup_database succeeded[/] in {time.monotonic() - started:.0f} s; its log: {log}\n")
        show(variables)


def show(variables: dict[str, str]) -> None:
    """Show the newest archive at both destinations, its manifest, a restore, its proof, and manual commands."""
    listing = json.loads(run(variables, "lifeboat", "list", "--json"))
    newest = max(archive["key"] for archive in listing["archives"])
    console.rule("What is stored")
    console.print(run(variables, "lifeboat", "list").rstrip(), soft_wrap=True)
    console.rule("Verified at both destinations: every HMAC, every SHA-256")
    console.print(run(variables, "lifeboat", "verify", newest).rstrip(), soft_wrap=True)
    archive = HOME / "backups" / newest
    console.rule(f"The public manifest, {newest}.json")
    console.print((archive.parent / f"{archive.name}.json").read_text())
    console.rule("Restored beside the original, and compared with what was captured")
    restored = ["lifeboat", "restore", "database", "--into", RESTORED]
    console.print(f"lifeboat restore database --into {RESTORED}", style="dim")
    console.print(run(variables, *restored).rstrip(), soft_wrap=True)
    console.rule("A drill: restored to scratch, compared, and proven by a signed proof beside the archive")
    console.print(run(variables, "lifeboat", "drill", "--archive", newest).rstrip(), soft_wrap=True)
    console.rule("The same by hand, with nothing but 7-Zip and the stock client (docs/RECOVERY.md has every case)")
    console.print(
        f"7z x -p'{ARCHIVE_PASSWORD}' -orestored {shlex.quote(str(archive))}\n"
        "mysql -h HOST -u USER -p -e 'CREATE DATABASE marketplace_by_hand'\n"
        f"mysql -h HOST -u USER -p marketplace_by_hand < restored/db-dumps/mysql-{marketplace.DATABASE}.sql\n",
        soft_wrap=True,
    )
    console.print("Airflow's UI with all of this: [bold]make up[/]")


def up() -> None:
    """Run Airflow with its UI until Ctrl-C, or until the terminal closes."""
    with contextlib.suppress(KeyboardInterrupt), site() as airflow:
        console.print(f"[green]Airflow is up:[/] {airflow.base}  (no login: a demo, on this machine only)")
        console.print(f"The Backups page: {airflow.base}/plugin/backups. Ctrl-C stops everything.")
        airflow.wait()


@contextlib.contextmanager
def site() -> Iterator[Standalone]:
    """Start everything, with a past of two years and Airflow's UI."""
    with stand_ins() as variables, contextlib.ExitStack() as stack:
        with console.status("Making up a past of two years"):
            run(variables, "python", "-m", "include.demo.history", log=HOME / "history.log")
        log = HOME / "airflow.log"
        airflow = Standalone(variables, log, UI_PORT if _is_free(UI_PORT) else None)
        with console.status(f"Starting Airflow (log: {log})"):
            stack.enter_context(airflow)
        yield airflow


def screenshots() -> None:
    """Take the pictures of the Backups page that the README shows."""
    from include.demo import pictures

    with site() as airflow:
        for picture in pictures.take(airflow.base, PROJECT / "docs" / "images"):
            console.print(f"{picture}: {picture.stat().st_size >> 10} KiB")


def end_once() -> None:
    """Let Ctrl-C, SIGTERM and a terminal that closes end this process once.

    A shell passes a hangup on that the kernel has sent already: the second one would break off the stop of what runs.
    """

    def end(*_: object) -> None:
        for each in ENDS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in ENDS:
        signal.signal(each, end)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOCALHOST, port)) != 0


if __name__ == "__main__":
    HOME.mkdir(exist_ok=True)
    lock = (HOME / "lock").open("w")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("A demo is running already (make demo or make up): end it first.") from None
    verbs = {"demo": demo, "up": up, "screenshots": screenshots}
    verb = sys.argv[1] if len(sys.argv) > 1 else "demo"
    if verb not in verbs or len(sys.argv) > 2:
        raise SystemExit(f"Usage: python -m include.demo [{'|'.join(verbs)}].")
    end_once()
    verbs[verb]()
