"""Canary secrets for every credential, looked for wherever a run leaves anything: nowhere, in no encoding.

Command lines and environments of all children are read all the time; logs, Airflow's database with XComs and rendered
templates, alerts, manifests, markers, proofs, staging and the page afterwards.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote, quote_plus

import psutil
import pytest
from lifeboat.archive.read import ArchiveReader

from include.demo.stand_ins import S3, MailSink, MariaDB, PostgreSQL, SlackSink
from include.demo.standalone import Standalone
from tests.airflow.test_dags import LoadDag, load_dag, run
from tests.airflow.test_scheduler import wait_for
from tests.airflow.ui.conftest import Login, airflow, login
from tests.conftest import HOME, Configure, where_it_is_noon
from tests.endpoint import Endpoint
from tests.torture.conftest import Faults

__all__ = ["airflow", "load_dag", "login"]

CANARIES = {
    "database password": "db-c@nary/&'\"+ 1",
    "PostgreSQL password": " pg-c@nary:%s\\/&'\"ñ+ 1 ",
    "archive password": "archive-c@nary/&'\"+ 2",
    "previous archive password": "old-c@nary/&'\"+ 3",
    "mail password": "mail-c@nary/&'\"+ 4",
    "metrics token": "metrics-c@nary/&'+ 5",
    "S3 secret key": S3.secret_key,
    "Slack webhook": "stand-in-webhook-token",
    "dead man's URL": "webhook-canary",
}
EVERY = 0.01  # seconds
OURS = ("lifeboat", "airflow", "python", "pytest")  # processes that hold the secrets themselves


def encodings(secret: str) -> Iterator[bytes]:
    """Yield a secret in every form in which it may hide in a text."""
    for text in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)):
        yield text.encode()
    yield json.dumps(secret)[1:-1].encode()
    for shift in range(3):  # in Base64, where a text begins decides about all of its letters
        whole = base64.b64encode(b"x" * shift + secret.encode())
        yield whole[4 if shift else 0 : len(whole) // 4 * 4 - 4]


NEEDLES = {needle: name for name, secret in CANARIES.items() for needle in encodings(secret)}


def leaks(content: bytes) -> set[str]:
    """Return the names of the secrets that are in a text."""
    return {name for needle, name in NEEDLES.items() if needle in content}


def leaks_below(*folders: Path) -> dict[str, set[str]]:
    """Return what is in files, by their paths."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if secrets := leaks(path.read_bytes()):
            found[str(path)] = secrets
    return found


class Watch:
    """Reads command lines and environments of all descendants as fast as it can, as long as the block lasts.

    :ivar seen: processes that were read, by the names of their programs.
    :ivar found: what was leaked, by program.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.found: dict[str, set[str]] = {}
        self._over = Event()
        self._thread = Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            for child in psutil.Process().children(recursive=True):
                process = Path("/proc") / str(child.pid)
                try:
                    command = (process / "cmdline").read_bytes()
                    # Until a child has become another program, it has its parent's command and environment.
                    program = Path(command.split(b"\0")[0].decode(errors="replace")).name
                    ours = any(name in command.decode(errors="replace") for name in OURS)
                    environment = b"" if ours else (process / "environ").read_bytes()
                except OSError:
                    continue  # over, or of somebody else
                self.seen.add(program)
                if secrets := leaks(command) | leaks(environment):
                    self.found.setdefault(program, set()).update(secrets)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def stock(postgresql: PostgreSQL) -> Iterator[dict[str, str]]:
    """The connection to a database of PostgreSQL whose password is a canary."""
    secret = CANARIES["PostgreSQL password"]
    text = secret.replace("'", "''")
    postgresql.run(f"CREATE ROLE canary LOGIN CREATEDB CREATEROLE PASSWORD '{text}'")
    postgresql.run("CREATE DATABASE stock OWNER canary")
    postgresql.run("CREATE TABLE parts (id int PRIMARY KEY); ALTER TABLE parts OWNER TO canary", "stock")
    yield json.loads(postgresql.connection(login="canary", password=secret))
    for name in postgresql.run("SELECT datname FROM pg_database WHERE datdba = 'canary'::regrole").splitlines():
        postgresql.run(f'DROP DATABASE "{name}"')
    postgresql.run("DROP ROLE canary")


@pytest.fixture
def canaries(
    project: Configure,
    mariadb: MariaDB,
    shop: str,
    stock: dict[str, str],
    slack: SlackSink,
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[..., Path]]:
    """Configure a project whose every secret is a canary, with a command that tells its environment."""
    user = "CREATE OR REPLACE USER canary@'%' IDENTIFIED BY '{}'; GRANT ALL ON *.* TO canary@'%' WITH GRANT OPTION"
    mariadb.run(user.format(CANARIES["database password"].replace("'", "''")))
    server = json.loads(mariadb.connection()) | {"login": "canary", "password": CANARIES["database password"]}
    encryption = {"password": CANARIES["archive password"]}
    extra = {"previous_passwords": [CANARIES["previous archive password"]]}
    smtp = json.loads(mail.connection()) | {"login": "canary", "password": CANARIES["mail password"]}
    root = tmp_path / "app"
    root.mkdir()
    (root / "index.php").write_text("<?php")
    with closing(sqlite3.connect(tmp_path / "notes.sqlite", isolation_level=None)) as notes:
        notes.execute("CREATE TABLE notes (note TEXT)")
    with Endpoint() as dead_man:
        for name, connection in {
            "SHOP_DB": server,
            "STOCK_DB": stock,
            "NOTES_DB": {"conn_type": "sqlite", "host": str(tmp_path / "notes.sqlite")},
            "LIFEBOAT_ARCHIVE": {"conn_type": "generic", "extra": extra} | encryption,
            "SMTP": smtp,
            "SLACK": json.loads(slack.connection()),
            "DEAD_MAN": {"conn_type": "http", "password": dead_man.url},
            "METRICS": {"conn_type": "generic", "password": CANARIES["metrics token"]},
        }.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARIES["S3 secret key"])

        def configure(**changes: Any) -> Path:
            shop_app = {
                "databases": [{"name": "shop", "connection": "shop_db"}],
                "files": {"root": str(root)},
                "after_restore": ["sh -c 'env > environment'"],
            }
            warehouse = {
                "databases": [
                    {"name": "stock", "engine": "postgresql", "connection": "stock_db"},
                    {"name": "notes", "engine": "sqlite", "connection": "notes_db"},
                ],
            }
            channels = {
                "slack": {"connection": "slack"},
                "email": {"connection": "smtp", "to": ["ops@example.com"]},
                "dead_man": "dead_man",
            }
            return project(
                **{
                    "applications": {"Shop": shop_app, "Warehouse": warehouse},
                    "alerts": channels,
                    "metrics": {"connection": "metrics"},
                    "drill": {"production": True},
                }
                | changes
            )

        yield configure
    mariadb.run("DROP USER canary@'%'")


RUNS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("backup_application", {"note": "canary"}, "success"),
    ("backup_database", {}, "success"),
    ("backup_cleanup", {}, "success"),
    ("restore_drill", {}, "success"),
    ("backup_check", {"deep": True}, "success"),
    ("restore_database", {"application": "Warehouse"}, "success"),
)
BROKEN: dict[str, dict[str, Any]] = {
    "AIRFLOW_CONN_SHOP_DB": {"port": 1},
    "AIRFLOW_CONN_STOCK_DB": {"login": "nobody"},
    "AIRFLOW_CONN_NOTES_DB": {"host": "/nowhere/notes.sqlite"},
}


def contents(path: Path) -> bytes:
    """Return all that an archive holds, decrypted."""
    with path.open("rb") as file:
        reader = ArchiveReader(file, "it", CANARIES["archive password"])
        return b"".join(piece for name in reader.names() for piece in reader.chunks(name))


def test_no_run_tells_a_secret(
    canaries: Callable[..., Path],
    load_dag: LoadDag,
    login: Login,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    faults: Faults,
) -> None:
    canaries(timezone=where_it_is_noon())
    copy = {"application": "Shop", "into": str(tmp_path / "copy")}
    with faults.one("secrets: runs of Airflow, pages"), Watch() as watch:
        for dag_id, conf, state in (
            *RUNS,
            ("restore_application", copy, "success"),
            ("restore_application", copy, "failed"),
        ):
            assert run(load_dag(dag_id), **conf).state == state, dag_id
        for name, change in BROKEN.items():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(name, json.dumps(json.loads(os.environ[name]) | change))
                assert run(load_dag("backup_database")).state == "failed", name
                assert name != "AIRFLOW_CONN_STOCK_DB" or run(load_dag("doctor")).state == "failed"
        command = [str(Path(sys.executable).parent / "lifeboat"), "verify", "Shop/database/2026-01-01-00-00-00.zip"]
        listed = subprocess.run(command, capture_output=True, check=False)
        pages = [login().get(piece).content for piece in ("", "answers", "archives", "recovery")]
        token = CANARIES["metrics token"]
        pages.append(login("").get("metrics", headers={"Authorization": f"Bearer {token}"}).content)
    assert b"lifeboat_archives" in pages[-1]
    assert {"mariadb-dump", "pg_dump", "sh"} & watch.seen, "the watch was too slow to see anything"
    assert watch.found == {}
    environment = (tmp_path / "copy/environment").read_text().splitlines()
    assert any("DB_DATABASE=shop_restored" in line for line in environment)
    assert not {line.partition("=")[0] for line in environment} & {"AIRFLOW_HOME", "AWS_SECRET_ACCESS_KEY"}
    shown = capfd.readouterr()
    told = b"".join((shown.out.encode(), shown.err.encode(), listed.stdout, listed.stderr, *pages))
    assert leaks(told) == set()
    assert leaks_below(tmp_path, HOME / "airflow") == {}
    assert any((HOME / "airflow").glob("*.db")), "XComs and rendered templates were looked at"
    for path in (tmp_path / "disk").rglob("*.zip"):
        assert leaks(contents(path)) == set()


def test_a_canary_would_be_found(tmp_path: Path) -> None:
    for name, secret in CANARIES.items():
        for shift in range(3):
            assert name in leaks(base64.b64encode(b"k" * shift + secret.encode() + b" and more"))
        assert name in leaks(json.dumps({"password": secret}).encode())
        assert name in leaks(f"mysql://user:{quote_plus(secret)}@host".encode())
    secret = CANARIES["database password"]
    with Watch() as watch, subprocess.Popen(["sleep", "30"], env={"SECRET": secret}) as child:
        wait_for(lambda: watch.found, 10)
        child.kill()
    assert watch.found == {"sleep": {"database password"}}


@pytest.mark.torture
def test_no_run_under_a_scheduler_tells_a_secret(
    canaries: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    canaries(timezone=where_it_is_noon())
    home = tmp_path / "airflow"
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    with (
        faults.one("secrets: runs under a scheduler"),
        Watch() as watch,
        Standalone({"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}, tmp_path / "airflow.log") as standalone,
    ):

        def ask(path: str) -> Any:
            with contextlib.suppress(OSError):  # a slow answer on a busy machine
                return standalone.api("GET", path)
            return {}

        def is_over(path: str) -> bool:
            return ask(path).get("state") in ("success", "failed")

        wait_for(lambda: ask("dags").get("total_entries", 0) >= 7)
        for dag_id, conf in (
            ("backup_application", {}),
            ("restore_drill", {}),
            ("restore_application", {"application": "Shop", "into": str(tmp_path / "copy")}),
            ("restore_application", {"application": "Shop", "into": str(tmp_path / "copy")}),
        ):
            made = standalone.api("POST", f"dags/{dag_id}/dagRuns", logical_date=None, conf=conf)
            wait_for(partial(is_over, f"dags/{dag_id}/dagRuns/{quote(made['dag_run_id'])}"), 240)
        time.sleep(5)  # for the alerts of the last
    assert watch.found == {}
    assert leaks_below(tmp_path) == {}
