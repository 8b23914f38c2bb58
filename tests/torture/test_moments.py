"""Restores to many moments in the middle of a log, each compared with what stock clients make of the log up to there.

They replay it onto a second server, from one moment to the next, as a replica would that stops at each.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from lifeboat.airflow.site import load_site
from lifeboat.databases import Server as Address
from lifeboat.databases.mysql import dump as mysql_dump
from lifeboat.databases.mysql.logs import find_client
from lifeboat.databases.mysql.replay import Stop
from lifeboat.databases.mysql.transactions import Transaction, transactions
from lifeboat.site import Site
from lifeboat.support import clock

from include.demo.stand_ins import MySQL
from tests.conftest import Configure
from tests.servers.databases import test_mysql_replay
from tests.servers.databases.replaying import COPY, SOURCE, Server, Taken, different, logs_of, replayed, take
from tests.servers.databases.test_mysql_logs import back_up, folder_of, ship
from tests.servers.databases.test_mysql_replay import write_once, writers
from tests.servers.databases.test_mysql_until import gtid, restored
from tests.torture.conftest import Faults

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]
started = test_mysql_replay.started
server = test_mysql_replay.server

ROUNDS = 10
DEFINITIONS = """
CREATE TABLE extra_{0} (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT, f DOUBLE)
INSERT INTO extra_{0} (note, f) SELECT note, balance / 3 FROM accounts
ALTER TABLE extra_{0} ADD flag BIT(4) DEFAULT b'0101', ADD INDEX by_note (note(10))
ALTER TABLE ledger ADD column_{0} VARCHAR(9) DEFAULT 'new'
CREATE TABLE chosen_{0} AS SELECT id, note FROM extra_{0}
CREATE VIEW seen_{0} AS SELECT id FROM extra_{0}
CREATE TRIGGER told_{0} BEFORE INSERT ON extra_{0} FOR EACH ROW SET NEW.note = CONCAT(NEW.note, '!')
INSERT INTO other.noise VALUES ({0}), ({0} + 1)
CREATE TABLE other.noise_{0} (id INT)
INSERT INTO extra_{0} (note) VALUES ('after the trigger')
RENAME TABLE chosen_{0} TO renamed_{0}
CREATE PROCEDURE more_{0}() INSERT INTO extra_{0} (note) VALUES ('called')
CALL more_{0}()
TRUNCATE TABLE audit
UPDATE ledger SET doc = '{{"round": {0}}}' WHERE id % 3 = 0
DROP TABLE renamed_{0}
CREATE EVENT later_{0} ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO DELETE FROM shop.audit
DELETE FROM accounts WHERE id > 4
INSERT INTO accounts (id, note) VALUES (1{0}, 'größer')
FLUSH LOGS
"""


@pytest.fixture
def site(server: Server, project: Configure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", server.connection())
    databases = [{"name": SOURCE, "connection": "logged_db"}]
    project(applications={"Shop": {"databases": databases, "logs": True, "destinations": ["disk"]}})
    server.run("CREATE DATABASE other; CREATE TABLE other.noise (id INT)")
    yield load_site()
    server.run(f"DROP DATABASE IF EXISTS other; DROP DATABASE IF EXISTS {COPY}")


class Replica:
    """A second server, which follows the log of the first one by the stock clients.

    :ivar server: the second one.
    """

    def __init__(self, server: Server, replica: Server) -> None:
        self._server, self.server = server, replica
        self._file, self._position = logs_of(server)[0][0].file, 4
        replica.run(f"CREATE DATABASE {SOURCE}")  # what the log has no more

    def follow(self, transaction: Transaction) -> None:
        """Replay everything up to the end of a transaction."""
        is_mysql = isinstance(self._server, MySQL)
        files = [folder_of(self._server) / piece.file for piece, _ in logs_of(self._server)]
        wanted = [str(file) for file in files if self._file <= file.name <= transaction.file]
        places = [f"--start-position={self._position}", f"--stop-position={transaction.end}"]
        command = [find_client(for_mariadb=not is_mysql).path, "--no-defaults", *places]
        command += ["--skip-gtids"] if is_mysql else []
        text = subprocess.run([*command, *wanted], check=True, capture_output=True).stdout
        self.server.run(text, program=self.server._own_client)
        self._file, self._position = transaction.file, transaction.end


@pytest.fixture
def replica(server: Server, tmp_path: Path) -> Iterator[Replica]:
    options = ("--skip-log-bin", "--server-id=8", "--event-scheduler=OFF")
    with type(server)(tmp_path / "replica", *options) as second:
        yield Replica(server, second)


def work(server: Server, site: Site) -> str:
    """Write over several connections, and define things meanwhile; return the last GTID before all that matters."""
    with writers(server, pause=0.05):  # every restore repeats what they wrote
        back_up(site)
        begin = gtid(server)
        for number in range(ROUNDS):
            for sql in filter(None, DEFINITIONS.format(number).splitlines()):
                server.run(sql, SOURCE)
            ship(site)
    ship(site)
    return begin


def chosen(server: Server, begin: str, count: int) -> list[Transaction]:
    """Choose transactions at random, in the order of the log."""
    found = list(itertools.dropwhile(lambda each: each.gtid != begin, transactions(logs_of(server))))
    return sorted(random.Random().sample(found, count), key=found.index)


@pytest.mark.parametrize("count", [pytest.param(5, id="few"), pytest.param(50, id="all")])
def test_any_transaction_is_reached_as_by_a_replica(
    server: Server, site: Site, replica: Replica, count: int, faults: Faults
) -> None:
    begin = work(server, site)
    for transaction in chosen(server, begin, count):
        with faults.one(f"restore to a random GTID, {type(server).__name__}"):
            replica.follow(transaction)
            done = restored("--until", transaction.gtid, "--into", COPY)
            assert done["replayed"]["last_gtid"] == transaction.gtid
            assert different(server, take(replica.server).dump, COPY) == [], transaction
        server.run(f"DROP DATABASE {COPY}")


@contextlib.contextmanager
def bursts(server: Server) -> Iterator[None]:
    """Write small transactions in bursts, with pauses between them as long as a snapshot takes on a busy machine."""
    stop, chance = threading.Event(), random.Random()

    def write() -> None:
        with contextlib.closing(server.connect(database=SOURCE, autocommit=False)) as connection:
            while not stop.wait(chance.uniform(0, 5)):
                for _ in range(chance.randint(1, 50)):
                    write_once(connection, chance)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("count", [pytest.param(3, id="few"), pytest.param(20, id="all")])
@pytest.mark.parametrize("started", [pytest.param("mysql", marks=pytest.mark.needs("mysql"))], indirect=True)
def test_positions_between_writes_are_exact(server: MySQL, count: int, faults: Faults) -> None:
    user = (
        "CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'pw'; GRANT SHOW_ROUTINE, REPLICATION CLIENT ON *.* TO reader"
    )
    server.run(f"{user}; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON {SOURCE}.* TO reader")
    address = Address(server.host, server.port, "reader", "pw", tls={"ssl-mode": "REQUIRED"})
    connect = partial(server.connect, user="reader", password="pw")
    found: list[Taken] = []
    with bursts(server):
        for _ in range(count + 1):
            chunks: list[bytes] = []
            dump = mysql_dump.dump(connect, address, clock.now, SOURCE, (), chunks.append, may_lock=True)
            found.append(Taken(dump, b"".join(chunks)))
    placed = [taken for taken in found if taken.dump.position and taken.dump.position.how == "quiet interval"]
    assert len(placed) > count // 2, [taken.dump.position or taken.dump.no_position for taken in found]
    pieces, (first, *later) = logs_of(server), placed
    for taken in later:
        with faults.one("position between two writes, taken under load"):
            replayed(server, first, Stop(position=taken.dump.position), pieces)
            assert different(server, taken.dump) == []
