"""Binary logs whose shipping and replay are killed at any moment, or meet full disks and servers that go away."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import recovery, stored_archive
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import number_of
from lifeboat.databases.mysql.binlog import Walk
from lifeboat.databases.mysql.dump import UNFINISHED
from lifeboat.databases.mysql.transactions import transactions
from lifeboat.errors import LogError
from lifeboat.site import Site

from include.demo.stand_ins import S3
from tests.conftest import Configure
from tests.faulty_s3 import LASTING, Fault, FaultyS3, failing, lost, reset
from tests.servers.databases import test_mysql_logs
from tests.servers.databases.replaying import logs_of
from tests.servers.databases.test_mysql_logs import Server, back_up, pieces, ship, write
from tests.servers.databases.test_mysql_until import gtid, restored, state
from tests.torture.conftest import Faults
from tests.torture.victim import Death
from tests.torture.world import World

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]
started = test_mysql_logs.started
server = test_mysql_logs.server
site = test_mysql_logs.site


@pytest.fixture(autouse=True)
def large_notes(server: Server) -> None:
    server.run("ALTER TABLE orders MODIFY note LONGTEXT", "shop")


SHIP = ("backup", "logs", "Shop")
COPY = "shop_killed"
RESTORE = ("restore", "database", "Shop", "--until", "latest", "--into", COPY)
KILLS = [pytest.param(4, id="few"), pytest.param(50, id="all")]  # of shipping, and of replays
LARGE = 6_000_000  # bytes of a row, more than a small disk takes


@pytest.fixture
def lifeboat(server: Server, site: Site, tmp_path: Path) -> Iterator[World]:
    """The command, whose processes can be killed."""
    yield World(tmp_path, server)  # type: ignore[arg-type]  # of which only commands and staging are used
    server.run(f"DROP DATABASE IF EXISTS {COPY}")


def keys(site: Site, destination: str) -> list[str]:
    """Return the archives of logs that count at a destination, oldest first."""
    found = archives.read(site.destination(destination).list()).logs
    return sorted(archive.key for archive in found)


def shipped(site: Site, destination: str, known: set[str]) -> None:
    """Make sure that the archives of a destination are whole, and numbered without a gap.

    :param known: were looked at before.
    """
    found = keys(site, destination)
    assert [number_of(key) for key in found] == list(range(1, len(found) + 1))
    for key in set(found) - known:
        marker = markers.read(site.destination(destination), key)
        assert marker
        with stored_archive.opened(site, site.destination(destination), "Shop", key) as reader:
            stored_archive.verify_as(reader, key, marker, marker.archive.sha256)


def gtids_at(site: Site, destination: str) -> list[str]:
    """Return the transactions that the archives of a destination hold, in their order."""
    found = recovery.pieces(site, site.destination(destination), "Shop", keys(site, destination))
    return [transaction.gtid for transaction in transactions(found)]


def gtids_after(server: Server, begin: str) -> list[str]:
    """Return the transactions of a server behind one."""
    found = [transaction.gtid for transaction in transactions(logs_of(server))]
    return found[found.index(begin) + 1 :]


def change(server: Server, number: int) -> None:
    """Run some transactions: small, large, a definition, and a rotation now and then."""
    small = "INSERT INTO orders (note) VALUES ('0');" * 3
    large = f"INSERT INTO orders (note) VALUES (repeat('{number:09}', 200000)), ('{number}');"
    made = f"CREATE TABLE made_{number} (id INT PRIMARY KEY); UPDATE orders SET note = 'x' WHERE id % 5 = 0;"
    server.run(small + large + made + ("FLUSH LOGS" if number % 3 == 0 else ""), "shop")


def timed(run: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    begun = time.monotonic()
    run()
    return time.monotonic() - begun


@pytest.mark.parametrize("count", KILLS)
def test_whatever_moment_kills_shipping_nothing_is_lost_or_shipped_twice(
    server: Server, site: Site, lifeboat: World, count: int, faults: Faults
) -> None:
    back_up(site)
    begin, chance, known = gtid(server), random.Random(), set[str]()
    change(server, 0)
    seconds = timed(lambda: lifeboat.succeed(*SHIP))
    for number in range(1, count + 1):
        change(server, number)
        with faults.one("SIGKILL at any moment while logs are shipped"):
            lifeboat.run(*SHIP, death=Death(step=1, delay=chance.uniform(0, seconds)))
            for name in ("disk", "offsite"):
                shipped(site, name, known)
            lifeboat.succeed(*SHIP)
            lifeboat.check_staging()
            known |= {*keys(site, "disk")} & {*keys(site, "offsite")}
    for name in ("disk", "offsite"):
        shipped(site, name, set())
        assert gtids_at(site, name) == gtids_after(server, begin)


@pytest.mark.parametrize("count", KILLS)
def test_whatever_moment_kills_a_replay_it_is_repeated_from_the_begin(
    server: Server, site: Site, lifeboat: World, count: int, faults: Faults
) -> None:
    server.run("CREATE TABLE total (n INT); INSERT INTO total VALUES (0); CREATE TABLE counted (n INT)", "shop")
    back_up(site)
    server.run("INSERT INTO counted VALUES (1); UPDATE total SET n = n + 1;" * 500, "shop")
    ship(site)
    wanted, chance, amid = state(server), random.Random(), 0
    seconds = timed(lambda: lifeboat.succeed(*RESTORE))
    assert state(server, COPY) == wanted
    left = server.run("SELECT user, host FROM mysql.user ORDER BY 1, 2; SHOW DATABASES")
    for _ in range(count):
        server.run(f"DROP DATABASE {COPY}")
        with faults.one("SIGKILL at any moment while logs are replayed"):
            lifeboat.run(*RESTORE, death=Death(step=1, delay=chance.uniform(0, seconds)))
            found = server.run("SHOW DATABASES").split()
            is_unfinished = COPY in found and UNFINISHED in server.run("SHOW TABLES", COPY)
            amid += is_unfinished
            if is_unfinished or COPY not in found:
                lifeboat.succeed(*RESTORE)
            assert state(server, COPY) == wanted
            assert server.run("SELECT user, host FROM mysql.user ORDER BY 1, 2; SHOW DATABASES") == left
    assert amid > count // 10
    faults.measured.append(f"Of {count} replays, {amid} were killed within, after {seconds:.1f} s at most.")


@pytest.mark.parametrize("room", [0, 32 << 10])
def test_a_destination_that_is_full_is_caught_up_once_it_has_room(
    server: Server, project: Configure, tiny_disk: Path, tmp_path: Path, room: int
) -> None:
    (tmp_path / "disk").symlink_to(tiny_disk)
    project(applications={"Shop": {"databases": [{"name": "shop", "connection": "logged_db"}], "logs": True}})
    site = load_site()
    back_up(site)
    begin = gtid(server)
    for _ in range(2):
        filler = filling(tiny_disk, room)
        server.run(f"INSERT INTO orders (note) VALUES ('{os.urandom(100_000).hex()}')", "shop")
        done = ship(site)
        assert (list(done.failed), done.new_chain) == (["disk"], "")
        assert re.search("No space left|full", done.failed["disk"]), done.failed
        filler.unlink()
        assert ship(site).failed == {}
        assert gtids_at(site, "disk") == gtids_at(site, "offsite") == gtids_after(server, begin)
    shipped(site, "disk", set())


WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
AWAY = {
    "unreachable": [Fault(reset, times=LASTING)],
    "overloaded": [Fault(failing(503, "SlowDown"), times=LASTING)],
    "refusing-to-store": [Fault(failing(500), on=write, times=LASTING) for write in WRITES],
    "refusing-markers": [Fault(failing(500), on="PutObject", after=1, times=LASTING)],
    "losing-answers": [Fault(lost, on=write, times=LASTING) for write in WRITES],
}


@pytest.fixture
def bucket(site: Site, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The proxy in front of the destination `offsite`."""
    with FaultyS3(s3.endpoint) as proxy:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        yield proxy


@pytest.mark.parametrize("away", AWAY)
def test_a_bucket_that_goes_away_is_caught_up_once_it_is_back(
    server: Server, site: Site, bucket: FaultyS3, away: str, faults: Faults
) -> None:
    back_up(site)
    begin = gtid(server)
    for number in range(2):
        with faults.one(f"S3 {away} while logs are shipped"):
            change(server, 3 * number)
            assert ship(site).failed == {}
            for further in (1, 2):
                bucket.inject(*map(replace, AWAY[away]))
                change(server, 3 * number + further)
                done = ship(site)
                assert (done.new_chain, len(done.keys), list(done.failed)) == ("", 1, ["offsite"])
                assert keys(site, "disk")[-1] == done.keys[0]
            bucket.inject()
            assert ship(site).failed == {}
            assert keys(site, "offsite") == keys(site, "disk")
    for name in ("disk", "offsite"):
        shipped(site, name, set())
        assert gtids_at(site, name) == gtids_after(server, begin)
    restored("--until", "latest", "--destination", "offsite", "--into", COPY)
    assert state(server, COPY) == state(server)
    server.run(f"DROP DATABASE {COPY}")


def filling(folder: Path, room: int) -> Path:
    """Fill a disk with a file, but for some bytes."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        file.truncate(file.tell() - room)
    return path


@pytest.mark.parametrize("chunk", [1, 4, 20])
def test_a_server_that_dies_while_its_log_is_fetched_goes_on(
    server: Server, site: Site, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(site)
    begin = gtid(server)
    for _ in range(4):
        server.run(f"SET binlog_format = ROW; INSERT INTO orders (note) VALUES (repeat('x', {LARGE}))", "shop")
    numbers, feed = itertools.count(1), Walk.feed

    def dying(walk: Walk, content: bytes) -> None:
        if next(numbers) == chunk:
            server.kill()
        feed(walk, content)

    with monkeypatch.context() as patch:
        patch.setattr(Walk, "feed", dying)
        with pytest.raises(LogError, match="Fetching binary log"):
            ship(site)
    assert keys(site, "disk") == []
    server.start()
    write(server)
    done = ship(site)
    assert (done.new_chain, done.failed) == ("", {})
    assert gtids_at(site, "disk") == gtids_at(site, "offsite") == gtids_after(server, begin)


def test_clocks_that_are_set_back_end_no_chain(server: Server, site: Site) -> None:
    back_up(site)
    begin = gtid(server)
    write(server)
    found = list(ship(site).keys)
    for hours in (6, 0, 12):
        behind = replace(site, clock=lambda hours=hours: site.now() - timedelta(hours=hours))  # type: ignore[misc]
        server.run(f"SET timestamp = UNIX_TIMESTAMP() - {hours * 1800}; INSERT INTO orders (note) VALUES ('x')", "shop")
        done = ship(behind)
        assert (done.new_chain, done.transactions, done.failed) == ("", 1, {})
        found += done.keys
    assert found == sorted(found) == keys(site, "disk")
    shipped(site, "disk", set())
    covers = [piece for piece, _ in pieces(site, found)]
    assert [piece.transactions for piece in covers] == [1] * 4
    assert gtids_at(site, "disk") == gtids_after(server, begin)
    restored("--until", "latest", "--into", COPY)
    assert state(server, COPY) == state(server)
    server.run(f"DROP DATABASE {COPY}")
