"""Real servers for all tests, started once, stopped at the end; and Airflow in a home of its own."""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import settings
from lifeboat.actions.backup import PackedArchive, StagedArchive
from lifeboat.errors import StorageError
from lifeboat.settings.config import Settings
from lifeboat.site import Site
from lifeboat.staging import Staging
from lifeboat.storage.disk import DiskDestination
from lifeboat.support import clock

import tests.airflow.preloaded.shared_loader  # noqa: F401
from tests.records import marker_of

HOME = Path(tempfile.mkdtemp(prefix="lifeboat-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
PROJECT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")  # Airflow syncs its SQLite after everything that it does


def _make_home() -> None:
    """Make the home of Airflow, in memory where there is such a place."""
    if os.access(MEMORY, os.W_OK):
        home = tempfile.mkdtemp(prefix=f"{HOME.name}-", dir=MEMORY)
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        (HOME / "airflow").symlink_to(home)


_make_home()

# Airflow reads its settings when it is imported, so they stand here and not in a fixture.
os.environ |= {
    "AIRFLOW_HOME": str(HOME / "airflow"),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),  # Airflow's own choice is shorter than PyJWT advises
    # Parsing all DAG files twice a minute takes most of a core. But an alert that comes while its file is being parsed
    # waits for the file's next turn, so that must come well before a test gives up.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    # At the first request of a task, the API server prepares itself for longer than the usual 5 s, on a machine that is
    # busy. A task that does not wait fails, and is tried again only minutes later.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
}

import airflow.sdk  # noqa: E402, F401  # configures logging, and during a test that would end what caplog hears

from include.demo import server_roots  # noqa: E402
from include.demo.stand_ins import (  # noqa: E402
    S3,
    MailSink,
    MariaDB,
    MariaDB118,
    MySQL,
    PostgreSQL,
    PostgreSQL17,
    PostgreSQL18,
    SlackSink,
)
from tests.faulty_s3 import Fault, FaultyS3, cut, failing  # noqa: E402

os.environ["PATH"] = f"{PostgreSQL.installed()}:{os.environ['PATH']}"
ARCHIVE_PASSWORD = "correct horse; battery 'staple' ñ"
BUCKET = "backups"
OF_ROOTS = {  # fixtures, and what scripts call their servers
    "mysql": MySQL.package,
    "mariadb_118": MariaDB118.package,
    "postgresql_17": PostgreSQL17.package,
    "postgresql_18": PostgreSQL18.package,
}
# A run of the tests repeats the last one, on a busy machine, too; `make torture` explores.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=3_000, deadline=None)
settings.load_profile("repeat")

_minutes = itertools.count()
_ran: dict[str, str] = {}  # servers that were started here, with their versions


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to leave out a server that there is not: a misspelled name would leave out nothing, in silence.

    Temporary directories are this run's own: the ones that pytest shares it makes private again whenever a run begins,
    also for a test of another run that has just let another user in.
    """
    if not config.option.basetemp:
        config.option.basetemp = str(HOME / "tmp")
    if unknown := server_roots.left_out() - set(OF_ROOTS.values()):
        known = ", ".join(OF_ROOTS.values())
        raise pytest.UsageError(f"{server_roots.WITHOUT} names {min(unknown)!r}, which is no server: use {known}.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of servers that the run does without; begin with those that have an Airflow of their own.

    They take longest: no worker should end alone with one.
    """
    items.sort(key=lambda item: "airflow_database" not in getattr(item, "fixturenames", ()))
    without = {fixture for fixture, server in OF_ROOTS.items() if server in server_roots.left_out()}
    left = [item for item in items if without & servers_of(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one worker run all files that have an Airflow of their own: it takes a third of a core while it waits."""
    from xdist.scheduler import LoadFileScheduling

    class OneAirflowAtATime(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "Airflow" if _has_airflow(file) else file

    return OneAirflowAtATime(config, log) if config.getvalue("dist") == "loadfile" else None


@cache
def _has_airflow(file: str) -> bool:
    return "airflow_database:" in (PROJECT / file).read_text(encoding="utf-8")


def pytest_collection_finish() -> None:
    """Let no collection of garbage look again at what stays anyway: with Airflow it takes a third of a second."""
    gc.collect()
    gc.freeze()


def servers_of(item: pytest.Item) -> set[str]:
    """Return the fixtures of all servers that a test starts."""
    needed = {name for mark in item.iter_markers("needs") for name in mark.args}
    return needed | set(getattr(item, "fixturenames", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker of xdist has started to whoever sums up."""
    if output := getattr(session.config, "workeroutput", None):
        output["servers"] = _ran


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of xdist has started."""
    _ran.update(getattr(node, "workeroutput", {}).get("servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that ran."""
    if _ran:
        terminalreporter.write_line("Servers: " + ", ".join(f"{name} {_ran[name]}" for name in sorted(_ran)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with what was left out, so that nobody takes the run for a whole one."""
    if server_roots.left_out() and not hasattr(config, "workerinput"):
        print(f"LEFT OUT, by {server_roots.WITHOUT}: {', '.join(sorted(server_roots.left_out()))}")  # noqa: T201


def as_root(*command: str) -> None:
    """Run a command that only root may, as `scripts/system-packages` does."""
    subprocess.run([*(() if os.geteuid() == 0 else ("sudo", "-n")), *command], check=True)


@pytest.fixture(autouse=True)
def own_secrets() -> None:
    """Let no test mask in its output what only another one keeps secret: some passwords are words of our messages."""
    for masker in ("airflow.sdk._shared.secrets_masker", "airflow._shared.secrets_masker"):
        if masker in sys.modules:
            sys.modules[masker].reset_secrets_masker()


@pytest.fixture(scope="session")
def airflow_db() -> None:
    subprocess.run([Path(sys.executable).parent / "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", f"size=1m,uid={os.getuid()}", "tmpfs", str(mount))
    yield mount
    as_root("umount", "-l", str(mount))


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        _ran["MariaDB"] = server.run("SELECT version()").strip()
        yield server


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQL]:
    """Oracle's server; its own client is in PATH only where a test puts `MySQL.path` there."""
    with MySQL(tmp_path_factory.mktemp("mysql")) as server:
        _ran["MySQL"] = server.run("SELECT version()").strip()
        yield server


@pytest.fixture(scope="session")
def mariadb_118(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB118]:
    with MariaDB118(tmp_path_factory.mktemp("mariadb-118")) as server:
        _ran["MariaDB of Debian trixie"] = server.run("SELECT version()").strip()
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        _ran["PostgreSQL"] = server.run("SHOW server_version").split()[0]
        yield server


@pytest.fixture(scope="module")
def airflow_database(postgresql: PostgreSQL) -> Iterator[dict[str, str]]:
    """Set Airflow's own database, as a deployment has it: on SQLite, two writers of one row can end the scheduler.

    Its processes import what tasks need before they fork.
    """
    name = f"airflow_{secrets.token_hex(4)}"
    yield {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgresql.airflow_database(name),
        "PYTHONPATH": os.pathsep.join(str(PROJECT / each) for each in ("tests/airflow/preloaded", "plugins")),
        "AIRFLOW__CORE__PARALLELISM": "4",  # processes, each of which prepares itself before its first task
    }
    postgresql.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql_17() -> Iterator[PostgreSQL17]:
    """Its own clients are in PATH only where a test puts `PostgreSQL17.path` there."""
    with PostgreSQL17() as server:
        _ran["PostgreSQL of Debian trixie"] = server.run("SHOW server_version").split()[0]
        yield server


@pytest.fixture(scope="session")
def postgresql_18() -> Iterator[PostgreSQL18]:
    with PostgreSQL18() as server:
        _ran["PostgreSQL of Debian sid"] = server.run("SHOW server_version").split()[0]
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def faulty_s3(s3: S3) -> Iterator[tuple[Any, Callable[..., None]]]:
    """A client whose answers come through a proxy that breaks some, and what sets the faults of the next answers.

    ``500`` and ``cut`` break the next answer, whatever it is for; ``part`` answers the next part with 500.
    """
    faults = {"500": (failing(500), ""), "cut": (cut, ""), "part": (failing(500), "UploadPart")}
    with FaultyS3(s3.endpoint) as proxy:
        client = boto3.client(
            "s3",
            endpoint_url=proxy.endpoint,
            region_name="us-east-1",
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )
        yield client, lambda *new: proxy.inject(*(Fault(*faults[name]) for name in new))


@pytest.fixture
def slack(tmp_path: Path) -> Iterator[SlackSink]:
    with SlackSink(tmp_path / "slack") as sink:
        yield sink


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailSink]:
    with MailSink(tmp_path / "mail") as sink:
        yield sink


SCHEMA = r"""
CREATE TABLE users (
  id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(80) NOT NULL, email VARCHAR(120) UNIQUE,
  upper_name VARCHAR(80) GENERATED ALWAYS AS (upper(name)) STORED, avatar LONGBLOB
) AUTO_INCREMENT=1000;
CREATE TABLE orders (
  id INT PRIMARY KEY, user_id INT, total DECIMAL(10,2), placed DATETIME, note TEXT,
  FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE page_views (path VARCHAR(200), seen TIMESTAMP NULL);
CREATE TABLE empty_one (id INT PRIMARY KEY);
INSERT INTO users (name, email, avatar) VALUES
  ('Zoë 🦊', 'zoe@example.com', x'00275C0A0D1A22FF'),
  ('O''Hara', NULL, NULL), ('back\\slash; DROP', 'b@example.com', ''),
  ('),(', 'p@example.com', repeat(x'00ff', 5000)), ('INSERT INTO `users` VALUES', 'i@example.com', NULL);
INSERT INTO orders SELECT seq, 1000 + seq % 5, seq * 1.25, '2026-01-01' + INTERVAL seq MINUTE,
  concat('line one\nline two; ', repeat('lorem ipsum ', seq % 20), '-- not a comment') FROM seq_1_to_3000;
INSERT INTO page_views SELECT concat('/p/', seq % 7), '2026-01-01 00:00:00' FROM seq_1_to_500;
CREATE VIEW totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id;
CREATE VIEW big_totals AS SELECT * FROM totals WHERE total > 100;
CREATE SEQUENCE invoice_numbers START WITH 7;
DELIMITER ;;
CREATE TRIGGER no_negative BEFORE INSERT ON orders FOR EACH ROW
BEGIN
  IF NEW.total < 0 THEN SET NEW.total = 0; END IF;
END;;
CREATE PROCEDURE tidy() BEGIN
  DELETE FROM page_views WHERE path = 'INSERT INTO `x` VALUES
(1);';
END;;
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO DELETE FROM page_views;;
DELIMITER ;
"""


@pytest.fixture
def shop(mariadb: MariaDB) -> Iterator[str]:
    """A small database with everything that a dump must carry."""
    name = "shop"
    mariadb.run(f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}`")
    mariadb.run(SCHEMA, name)
    yield name
    mariadb.run(f"DROP DATABASE IF EXISTS `{name}`")


def where_it_is_noon() -> str:
    """Return a time zone in which no schedule of ours is near: an unpaused DAG makes up for a tick just missed."""
    offset = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-offset:+d}"


def some_time_ago(site: Site) -> Site:
    """Return a site whose clock is behind by hours: a minute after the time that was chosen before.

    What is named by its second is so told apart, from what is made now, too.
    """
    behind = timedelta(hours=12) - timedelta(minutes=next(_minutes))
    return replace(site, clock=lambda: datetime.now(UTC) - behind)


def disk_destination(name: str, root: Path) -> DiskDestination:
    """Return a destination on disk, prepared."""
    destination = DiskDestination(name, root)
    destination.init(clock.now())
    return destination


def staging_directory(settings: Settings) -> Path:
    """Return the staging of settings that keep it in a directory."""
    assert isinstance(settings.staging, Path)
    return settings.staging


def stage(scratch: Staging, key: str, content: bytes) -> PackedArchive:
    """Stage any content as the archive of a key."""
    packed = PackedArchive(key, len(content), hashlib.sha256(content).hexdigest())
    with scratch.archive.writing() as staged:
        staged.write(content)
        file = {"size": packed.size, "sha256": packed.sha256, "encrypted": True}
        staged.facts = StagedArchive(key, marker_of(key, archive=file))
    return packed


Configure = Callable[..., Path]


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: MariaDB, s3: S3, request: pytest.FixtureRequest
) -> Configure:
    """Write a settings file, set its connections and prepare its disks; keywords replace its top-level keys."""
    bucket = f"test-{abs(hash(request.node.nodeid)) % 10**12}"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", mariadb.connection("shop"))  # many name one
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection())
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps({"conn_type": "generic", "password": ARCHIVE_PASSWORD})
    )

    def configure(*, prepared: bool = True, **changes: Any) -> Path:
        settings = {
            "staging": str(tmp_path / "staging"),
            "encryption": {"connection": "lifeboat_archive"},
            "destinations": {
                "disk": {"type": "disk", "path": str(tmp_path / "disk")},
                "offsite": {"type": "s3", "connection": "backups_s3", "bucket": bucket, "prefix": "lifeboat"},
            },
            "applications": {"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}]}},
            "ignore_databases": ["*"],  # all tests share a server
        } | changes
        for name, kept in settings["destinations"].items():
            if kept.get("bucket") == bucket:
                s3.create_bucket(bucket)
            if prepared and kept.get("type") == "disk":
                with contextlib.suppress(StorageError):  # some tests name places that cannot be
                    disk_destination(name, Path(kept["path"]))
        path = tmp_path / "backup.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML
        monkeypatch.setenv("LIFEBOAT_CONFIG", str(path))
        return path

    return configure
