"""Binary logs of real servers, replayed on top of a dump: equal with a later dump, and nothing else touched."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from lifeboat.databases.mysql.replay import Stop

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL
from tests.servers.databases.replaying import SOURCE, Server, different, replayed, take

SERVERS: dict[str, type[MySQL | MariaDB | MariaDB118]] = {
    "mysql": MySQL,
    "mariadb": MariaDB,
    "mariadb_118": MariaDB118,
}
OPTIONS = ("--log-bin=log", "--server-id=7", "--binlog-format=ROW")


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(name), *([pytest.mark.matrix] if name == "mariadb_118" else [])]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=_marks(name)) for name in SERVERS])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, whose logs are reset."""
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param), *OPTIONS) as server:
        yield server


@pytest.fixture
def server(started: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server with its clients in PATH, an empty log and a filled schema."""
    if started.path:
        monkeypatch.setenv("PATH", f"{started.path}:{os.environ['PATH']}")
    started.run(f"DROP DATABASE IF EXISTS {SOURCE}; CREATE DATABASE {SOURCE}")
    started.run("RESET BINARY LOGS AND GTIDS" if isinstance(started, MySQL) else "RESET MASTER")
    started.run(TABLES, SOURCE)
    return started


TABLES = """
CREATE TABLE accounts (id INT PRIMARY KEY, balance DECIMAL(12,2), note VARCHAR(200), changed TIMESTAMP(6) NULL);
CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, account INT, amount DECIMAL(12,2), doc JSON,
    KEY (account), FOREIGN KEY (account) REFERENCES accounts (id) ON DELETE CASCADE);
INSERT INTO accounts (id, balance, note) VALUES (1, 100, 'a'), (2, 100, 'b'), (3, 100, 'c'), (4, 100, 'd');
CREATE TABLE audit (what TEXT);
CREATE TRIGGER paid AFTER INSERT ON ledger FOR EACH ROW INSERT INTO audit VALUES (CONCAT('paid ', NEW.amount));
"""


def write_once(connection: Any, chance: random.Random) -> None:
    """Run a small transaction, which is sometimes rolled back."""
    cursor = connection.cursor()
    account, amount = chance.randint(1, 4), chance.randint(1, 500) / 100
    cursor.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (amount, account))
    cursor.execute("INSERT INTO ledger (account, amount, doc) VALUES (%s, %s, '{}')", (account, amount))
    if chance.random() < 0.1:
        cursor.execute("DELETE FROM ledger WHERE account = %s ORDER BY id LIMIT 1", (account,))
    if chance.random() < 0.1:
        connection.rollback()
    connection.commit()


@contextlib.contextmanager
def writers(server: Server, count: int = 3) -> Iterator[None]:
    """Write over several connections at once, in small transactions."""
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with contextlib.closing(server.connect(database=SOURCE, autocommit=False)) as connection:
            while not stop.is_set():
                with contextlib.suppress(MySQLdb.OperationalError):  # a deadlock, which rolls back
                    write_once(connection, chance)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


DEFINITIONS = """
CREATE TABLE extra (id INT PRIMARY KEY, note TEXT)
INSERT INTO extra VALUES (1, 'x'), (2, 'y')
ALTER TABLE extra ADD COLUMN flag BIT(4) DEFAULT b'0101'
ALTER TABLE shop.extra ADD INDEX by_note (note(10))
CREATE TABLE alike LIKE extra
RENAME TABLE alike TO other_name
CREATE TABLE chosen SELECT id, note FROM extra
CREATE VIEW shop.seen AS SELECT shop.extra.id FROM shop.extra
CREATE PROCEDURE p() SELECT COUNT(*) FROM shop.extra
CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 42
CREATE TRIGGER told BEFORE INSERT ON extra FOR EACH ROW SET NEW.note = CONCAT(NEW.note, '!')
INSERT INTO extra (id, note) VALUES (3, 'z')
CREATE EVENT e ON SCHEDULE EVERY 1 DAY ENABLE DO DELETE FROM shop.extra
ALTER EVENT e ON SCHEDULE EVERY 2 DAY
ALTER EVENT e DISABLE
TRUNCATE TABLE audit
DROP TABLE other_name
CREATE TEMPORARY TABLE passing (id INT)
INSERT INTO passing VALUES (1)
INSERT INTO extra (id) SELECT id + 100 FROM passing
DROP TEMPORARY TABLE passing
UPDATE extra SET note = 'größer' WHERE id = 1
ALTER TABLE extra DROP COLUMN flag
DROP PROCEDURE p
CREATE OR REPLACE VIEW seen AS SELECT note FROM extra
"""


def define(server: Server) -> None:
    """Run definitions, from within the schema."""
    with contextlib.closing(server.connect(database=SOURCE)) as connection:
        for sql in DEFINITIONS.strip().splitlines():
            connection.cursor().execute(sql)


def test_a_replay_up_to_a_later_dump_is_that_dump(server: Server) -> None:
    with writers(server):
        first = take(server)
        define(server)
        second = take(server)
    done = replayed(server, first, Stop(position=second.dump.position))
    assert different(server, second.dump) == []
    assert done.transactions > 20
    assert done.statements > 15
