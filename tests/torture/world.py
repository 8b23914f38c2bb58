"""An application with everything that can be backed up, and what must be true of it whatever was killed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from lifeboat.actions import stored_archive
from lifeboat.airflow.site import load_site, site_of
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.databases.mysql.dump import UNFINISHED
from lifeboat.settings import config
from lifeboat.storage import Destination

from include.demo.stand_ins import MariaDB
from tests.conftest import SCHEMA
from tests.torture import victim
from tests.torture.victim import Death

ALIVE = Death()
SECONDS_TO_LIVE = 120
SETTLING_SECONDS = 10  # for a server to notice that a client is gone
TAG = "LIFEBOAT_TORTURE"
DATABASES = ("shop", "stock")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.torture.victim"])


@dataclass
class Ended:
    """A command that has ended.

    :param status: of its exit; negative: the signal that killed it.
    :param steps: what it did.
    """

    status: int
    answer: str
    errors: str
    steps: list[str]


@dataclass
class World:
    """The application ``Shop``, its two databases and its files, and where its backups are.

    :param folder: holds everything: settings, staging, the destination ``disk``, the files in ``app``.
    :param baseline: keys that `reset` keeps, by destination.
    :param states: of each database: as it was backed up, as it was changed since; so are the files' trees.
    :param copies: keys under which a copy of another archive stands, for its age only.
    """

    folder: Path
    mariadb: MariaDB
    baseline: dict[str, set[str]] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    trees: list[dict[str, bytes]] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)
    _verified: set[tuple[str, str]] = field(default_factory=set)

    @property
    def root(self) -> Path:
        return self.folder / "app"

    def run(self, *arguments: str, death: Death = ALIVE) -> Ended:
        """Run a command to its end."""
        tag = uuid4().hex
        names = [name for name in os.environ if name.startswith(("AIRFLOW", "LIFEBOAT", "PATH"))]
        variables = {name: os.environ[name] for name in names} | {TAG: tag}
        place = self.folder / "processes" / tag
        place.mkdir(parents=True)
        process = _processes.Process(target=victim.run, args=(list(arguments), variables, place, self.folder, death))
        process.start()
        process.join(SECONDS_TO_LIVE)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{arguments} hangs")
        await_true(lambda: not survivors(tag), "processes outlive the command", lambda: str(survivors(tag)))
        texts = [(place / name).read_text(errors="replace") for name in ("answer", "errors", "steps")]
        return Ended(process.exitcode, texts[0], texts[1], texts[2].splitlines())

    def together(self, *commands: Sequence[str], pause: float = 0) -> list[Ended]:
        """Run commands at once.

        :param pause: seconds between the beginnings of two.
        """

        def begin(number: int) -> Ended:
            time.sleep(number * pause)
            return self.run(*commands[number])

        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(begin, range(len(commands))))

    def succeed(self, *arguments: str) -> Ended:
        """Run a command that must succeed."""
        done = self.run(*arguments)
        assert done.status == 0, f"{arguments} exits {done.status}: {done.errors[-800:]}"
        return done

    def published(self) -> dict[str, set[str]]:
        """Return the keys of all archives that count, by destination."""
        return {d.name: {a.key for a in archives.read(d.list()).archives} for d in self._destinations()}

    def _destinations(self) -> Iterator[Destination]:
        yield from load_site().destinations("Shop")

    def check_published(self) -> None:
        """Whatever counts as an archive is whole, and what was there is there."""
        settings = config.load()
        for destination in self._destinations():
            keys = {archive.key for archive in archives.read(destination.list()).archives}
            assert keys >= self.baseline.get(destination.name, set()), f"archives are gone at {destination}"
            for key in keys:
                if (destination.name, key) in self._verified:
                    continue
                marker = markers.read(destination, key)
                assert marker is not None
                if key in self.copies:  # its manifest names the original, so its bytes are compared only
                    with destination.open(key) as file:
                        assert hashlib.sha256(file.read()).hexdigest() == marker.archive.sha256
                else:
                    with stored_archive.opened(site_of(settings), destination, "Shop", key) as reader:
                        reader.verify(marker.archive.sha256)
                self._verified.add((destination.name, key))

    def check_released(self) -> None:
        """No client is connected to the server, no lock is held."""
        others = "SELECT id, info FROM information_schema.processlist WHERE user = 'root' AND id <> connection_id()"
        await_true(lambda: not self.mariadb.run(others), "connections stay", lambda: self.mariadb.run(others))
        for name in (*self.schemas(), "lifeboat_drill_"):
            assert self.mariadb.run(f"SELECT IS_FREE_LOCK('lifeboat:{name}')").strip() == "1", f"{name} is locked"

    def check_staging(self) -> None:
        """Nothing is staged."""
        staging = self.folder / "staging"
        left = [str(path) for path in staging.rglob("*") if path.name != ".lock" and not path.is_dir()]
        runs = [path for parent in ("cli", "drill") for path in (staging / parent).glob("*") if path.is_dir()]
        assert (left, runs) == ([], [])

    def schemas(self) -> set[str]:
        """Return the names of the server's schemas, but for its own."""
        own = {"information_schema", "mysql", "performance_schema", "sys"}
        return set(self.mariadb.run("SHOW DATABASES").splitlines()) - own

    def unfinished(self) -> set[str]:
        """Return the schemas that are marked as half restored."""
        sql = f"SELECT table_schema FROM information_schema.tables WHERE table_name = '{UNFINISHED}'"
        return set(self.mariadb.run(sql).splitlines())

    def data(self, schema: str) -> str:
        """Return what tells one state of a database from another."""
        tables = self.mariadb.run(f"SHOW FULL TABLES FROM `{schema}` WHERE table_type = 'BASE TABLE'").splitlines()
        names = ", ".join(f"`{schema}`.`{line.split(chr(9))[0]}`" for line in tables)
        sums = self.mariadb.run(f"CHECKSUM TABLE {names}").replace(f"{schema}.", "") if names else ""
        counts = "SELECT count(*) FROM information_schema.{} WHERE {}_schema = '{}'"
        objects = [("triggers", "trigger"), ("routines", "routine"), ("views", "table"), ("events", "event")]
        return sums + "".join(self.mariadb.run(counts.format(*names, schema)) for names in objects)

    def files(self) -> dict[str, bytes]:
        """Return the content of the application's files."""
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def new(self, destination: str) -> set[str]:
        """Return the keys of what was published since."""
        return self.published()[destination] - self.baseline[destination]

    def check(self) -> None:
        """What is published is whole, and nothing is left of what ran."""
        self.check_published()
        self.check_released()
        self.check_staging()

    def beside(self) -> list[str]:
        """Return the names of what restores of files left beside the application."""
        return sorted(path.name for path in self.folder.iterdir() if "app" in path.name and path.name != "app")

    def remember(self) -> None:
        """Keep what databases and files are like now."""
        for name in DATABASES:
            self.states.setdefault(name, []).append(self.data(name))
        self.trees.append(self.files())

    def change(self) -> None:
        """Change databases and files, as a day does after which somebody wants the old state back."""
        for name in DATABASES:
            self.mariadb.run("REPLACE INTO page_views VALUES ('/changed', '2026-01-01'); DROP VIEW big_totals", name)
        (self.root / "file 3").write_text("changed")
        (self.root / "new").write_text("new")

    def reset(self) -> None:
        """Bring everything back to what was backed up, and remove what was made since."""
        for destination in self._destinations():
            keep = self.baseline[destination.name]
            for stored in list(destination.list()):
                if not any(stored.key.startswith(key) for key in keep):
                    destination.delete(stored.key)
        for name in self.beside():
            shutil.rmtree(self.folder / name)
        is_old = self.schemas() == set(DATABASES) and all(self.data(name) == self.states[name][0] for name in DATABASES)
        if not is_old or self.files() != self.trees[0]:
            self.build()

    def build(self) -> None:
        """Make the application's databases and files, and nothing else."""
        for schema in self.schemas():
            self.mariadb.run(f"DROP DATABASE `{schema}`")
        shutil.rmtree(self.root, ignore_errors=True)
        for name in DATABASES:
            self.mariadb.run(f"CREATE DATABASE `{name}`")
            self.mariadb.run(SCHEMA, name)
        (self.root / "vendor" / "library").mkdir(parents=True)
        (self.root / "vendor" / "library" / "code").write_bytes(b"code" * 100_000)
        for number in range(12):
            (self.root / f"file {number}").write_text(f"content {number}")
        (self.root / "link").symlink_to("file 1")


def await_true(condition: Callable[[], bool], complaint: str, seen: Callable[[], str]) -> None:
    """Wait a while until a condition holds."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{complaint}: {seen()}"
        time.sleep(0.05)


def survivors(tag: str) -> list[str]:
    """Return the command lines of the processes that carry a tag in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{TAG}={tag}".encode() in (process / "environ").read_bytes():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


def settings_of(folder: Path) -> dict[str, object]:
    """Return the settings that the application needs, but for its destinations."""
    databases = [{"name": name, "connection": "shop_db"} for name in DATABASES]
    return {
        "applications": {
            "Shop": {
                "databases": databases,
                "files": {"root": str(folder / "app")},
                "after_restore": [f"touch {json.dumps(str(folder / 'after'))}"],
            }
        },
        "drill": {"production": True},
    }
