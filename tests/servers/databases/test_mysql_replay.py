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


MANY = """
SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'
INSERT INTO "accounts" ("id", balance, note) VALUES (10, 1, 'back\\slash')
CREATE TABLE "quoted table" ("id" INT PRIMARY KEY, d DATE DEFAULT '2020-02-02')
SET SESSION sql_mode = ''
INSERT INTO `quoted table` VALUES (1, '0000-00-00'), (2, '2020-13-45')
SET SESSION time_zone = '+05:30', timestamp = 1700000000.25
INSERT INTO accounts (id, balance, note, changed) VALUES (11, 1, NOW(6), NOW(6))
SET SESSION time_zone = DEFAULT, timestamp = DEFAULT
SET @text = 'größer', @number = -5, @exact = 12.3400, @real = 1e-3, @nothing = NULL
INSERT INTO accounts (id, balance, note) VALUES (12, @exact, CONCAT(@text, @number, @real, COALESCE(@nothing, 'x')))
INSERT INTO accounts (id, balance, note) VALUES (13, RAND() * 100, 'chance')
INSERT INTO accounts (id, balance, note) VALUES (13, 5, 'again') ON DUPLICATE KEY UPDATE note = 'twice'
REPLACE INTO accounts (id, balance, note) VALUES (13, 6, 'replaced')
UPDATE accounts a JOIN ledger l ON l.account = a.id SET a.note = 'joined'
DELETE a FROM accounts AS a WHERE a.id = 12
SET SESSION foreign_key_checks = 0
INSERT INTO ledger (account, amount) VALUES (999, 1)
SET SESSION foreign_key_checks = 1
DELETE FROM accounts WHERE id = 2
CREATE TABLE plain (id INT AUTO_INCREMENT PRIMARY KEY, b BIT(3), s SET('a', 'b'), f DOUBLE, bin BLOB) ENGINE=MyISAM
INSERT INTO plain (b, s, f, bin) VALUES (b'101', 'a,b', 0.1, x'00ff27')
INSERT INTO plain (b) SELECT b FROM plain
CREATE TABLE parts (y INT) PARTITION BY RANGE (y) (PARTITION a VALUES LESS THAN (9), PARTITION b VALUES LESS THAN (99))
INSERT INTO parts VALUES (5), (50)
ALTER TABLE parts DROP PARTITION a
CREATE TABLE computed (a INT PRIMARY KEY, b INT GENERATED ALWAYS AS (a * 2) STORED, c INT AS (a + 1) VIRTUAL, KEY (c))
INSERT INTO computed (a) VALUES (1), (2)
UPDATE computed SET a = 5 WHERE c = 2
BEGIN
INSERT INTO accounts (id, balance, note) VALUES (20, 1, 'kept')
SAVEPOINT s
INSERT INTO accounts (id, balance, note) VALUES (21, 1, 'lost')
ROLLBACK TO s
COMMIT
XA START 'one'
INSERT INTO accounts (id, balance, note) VALUES (30, 1, 'prepared')
XA END 'one'
XA PREPARE 'one'
XA COMMIT 'one'
XA START 'two'
INSERT INTO accounts (id, balance, note) VALUES (31, 1, 'dropped')
XA END 'two'
XA PREPARE 'two'
XA ROLLBACK 'two'
XA START 'three'
INSERT INTO accounts (id, balance, note) VALUES (32, 1, 'at once')
XA END 'three'
XA COMMIT 'three' ONE PHASE
USE other
CREATE TABLE here (id INT)
INSERT INTO here VALUES (1)
CREATE TABLE shop.from_other (id INT PRIMARY KEY)
INSERT INTO shop.from_other VALUES (1), (2)
ALTER TABLE shop.from_other ADD note TEXT
UPDATE shop.from_other SET note = 'x' WHERE id = 1
INSERT INTO here SELECT id FROM shop.from_other
USE shop
INSERT INTO other.here VALUES (2)
CREATE USER IF NOT EXISTS someone IDENTIFIED BY 'Str0ng-and-long'
DROP USER someone
FLUSH TABLES
SET NAMES latin1
INSERT INTO accounts (id, balance, note) VALUES (40, 1, 'caf\xe9')
SET NAMES utf8mb4
ALTER DATABASE shop CHARACTER SET latin1
CREATE TABLE inherits (note VARCHAR(10))
"""
ONLY = {
    True: """
CREATE SEQUENCE s START WITH 5
CREATE TABLE numbered (id INT PRIMARY KEY DEFAULT nextval(shop.s))
INSERT INTO numbered VALUES (), ()
CREATE TABLE versioned (id INT PRIMARY KEY, note TEXT) WITH SYSTEM VERSIONING
INSERT INTO versioned VALUES (1, 'x')
UPDATE versioned SET note = 'y'
SET SESSION check_constraint_checks = 0
CREATE TABLE checked (id INT CHECK (id > 5))
INSERT INTO checked VALUES (1)
""",
    False: """
UPDATE ledger SET doc = JSON_SET('{"a": 1}', '$.a', 2)
UPDATE ledger SET doc = JSON_SET(doc, '$.a', 3)
SET SESSION default_table_encryption = DEFAULT
CREATE TABLE hidden (a INT, b INT INVISIBLE DEFAULT 5, KEY ((a + 1)))
INSERT INTO hidden (a) VALUES (1)
ANALYZE TABLE accounts UPDATE HISTOGRAM ON balance
""",
}
MODES = {
    "ROW": "binlog_format = ROW",
    "MINIMAL": "binlog_row_image = MINIMAL",
    "MIXED": "binlog_format = MIXED, GLOBAL log_bin_trust_function_creators = ON",
    "compressed": "log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
    "PARTIAL_JSON": "binlog_row_value_options = PARTIAL_JSON",
}
CASES = [
    pytest.param(name, mode, id=f"{name}-{mode}", marks=_marks(name))
    for name in SERVERS
    for mode in (("ROW", "MINIMAL", "PARTIAL_JSON") if name == "mysql" else ("ROW", "MINIMAL", "MIXED", "compressed"))
]


def run_all(server: Server, text: str) -> None:
    """Run statements, one a line, over one connection."""
    with contextlib.closing(server.connect(database=SOURCE)) as connection:
        for sql in filter(None, text.splitlines()):
            connection.cursor().execute(sql.encode().replace(rb"\xe9", b"\xe9"))


@pytest.fixture
def logging(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """How the server logs."""
    setting = MODES[request.param]
    server.run(f"SET GLOBAL {setting}; DROP DATABASE IF EXISTS other; CREATE DATABASE other")
    yield request.param
    for name in (part.split()[-3] for part in setting.split(",")):
        server.run(f"SET GLOBAL {name} = DEFAULT")


@pytest.mark.parametrize(("started", "logging"), CASES, indirect=True)
def test_whatever_servers_log(server: Server, logging: str) -> None:
    first = take(server)
    text = MANY + ONLY[not isinstance(server, MySQL)]
    if logging == "MINIMAL":  # MariaDB cannot replay sequences that were logged so
        text = "\n".join(line for line in text.splitlines() if "nextval" not in line and "numbered" not in line)
    run_all(server, text)
    second = take(server)
    done = replayed(server, first, Stop(position=second.dump.position))
    assert different(server, second.dump) == []
    assert done.left_out["user or grant"] == 2
