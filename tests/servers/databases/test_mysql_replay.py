"""Binary logs of real servers, replayed on top of a dump: equal with a later dump, and nothing else touched."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import MySQLdb
import pytest
from lifeboat.databases import Dump, LogPosition
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql import replay as mysql_replay
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.databases.mysql.log_statements import EXCLUDED
from lifeboat.databases.mysql.replay import LACKING, ReplayError, Stop
from lifeboat.databases.mysql.transactions import Counts, transactions
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL
from tests.servers.databases.replaying import COPY, PASSWORD, SOURCE, Piece, Server, different, logs_of, replayed, take

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
    monkeypatch.setattr(positions, "HELD", 20)  # seconds: the machine may be busy
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
def writers(server: Server, count: int = 3, pause: float = 0.005) -> Iterator[None]:
    """Write over several connections at once, in small transactions.

    :param pause: seconds between two of a connection: dumps must find a moment in which they can lock the tables.
    """
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with contextlib.closing(server.connect(database=SOURCE, autocommit=False)) as connection:
            while not stop.wait(pause):
                with contextlib.suppress(MySQLdb.OperationalError):  # a deadlock, which rolls back
                    write_once(connection, chance)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def test_a_replay_in_place_gives_code_to_its_owners(server: Server) -> None:
    first = take(server)
    define(server)
    second = take(server)
    pieces = logs_of(server)
    server.run("DELETE FROM ledger; DROP TABLE extra", SOURCE)
    replayed(server, first, Stop(position=second.dump.position), pieces, SOURCE)
    assert different(server, second.dump, SOURCE) == []
    owners = "SELECT definer FROM information_schema.{0}s WHERE {1}_schema = 'shop'"
    kinds = [("routine", "routine"), ("trigger", "trigger"), ("event", "event"), ("view", "table")]
    assert server.run(";".join(owners.format(*kind) for kind in kinds)) == "root@localhost\n" * 6
    assert server.run("SELECT status FROM information_schema.events WHERE event_schema = 'shop'") == "DISABLED\n"


def test_a_large_transaction_runs_as_it_comes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_replay, "HELD", 10_000)
    server.run("CREATE TABLE kept (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT) ENGINE=MyISAM", SOURCE)
    first = take(server)
    rows = "INSERT INTO {0} (note) VALUES (REPEAT('x', 9000)), (REPEAT('y', 9000));"
    server.run("CREATE TABLE large (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT)", SOURCE)
    server.run(f"BEGIN; {rows.format('large') * 3} COMMIT; BEGIN; {rows.format('large')} ROLLBACK", SOURCE)
    if not isinstance(server, MySQL):  # which refuses such transactions
        server.run(f"BEGIN; {rows.format('large')} {rows.format('kept')} ROLLBACK", SOURCE)
    second = take(server)
    replayed(server, first, Stop())
    assert different(server, second.dump) == []


def last_gtid(dump: Dump) -> str:
    """Return the GTID of the last transaction before a dump."""
    assert dump.position
    source, _, number = dump.position.gtids.rpartition(":")
    return f"{source}:{number.rpartition('-')[2]}" if source else number


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.matrix)])
@pytest.mark.timeout(900)
def test_a_replay_up_to_any_transaction_is_the_dump_behind_it(server: Server, count: int) -> None:
    chance = random.Random(count)
    with writers(server):
        first, later = take(server), []
        for _ in range(count):
            time.sleep(chance.random())  # so that the moments are anywhere
            later.append(take(server))
    pieces = logs_of(server)
    for taken in later:
        done = replayed(server, first, Stop(gtid=last_gtid(taken.dump)), pieces)
        assert different(server, taken.dump) == []
        assert done.last_gtid == last_gtid(taken.dump)


def test_moments_are_times_too(server: Server) -> None:
    first = take(server)
    for number in (50, 51, 52):
        server.run(f"SET timestamp = {1_800_000_000 + number}; INSERT INTO accounts (id) VALUES ({number})", SOURCE)
    found = [each for each in transactions(logs_of(server)) if "shop.accounts" in each.changes][-3:]
    assert [each.changes["shop.accounts"] for each in found] == [Counts(insert_events=1)] * 3
    for until, ids in ((found[1].time, "50\n51\n"), (found[1].time - timedelta(microseconds=1), "50\n")):
        done = replayed(server, first, Stop(time=until))
        assert server.run("SELECT id FROM accounts WHERE id >= 50", COPY) == ids
        assert done.last_commit == found[ids.count("\n") - 1].time
    replayed(server, first, Stop(gtid=found[1].gtid, before=True))
    assert server.run("SELECT id FROM accounts WHERE id >= 50", COPY) == "50\n"


def test_transactions_show_no_values(server: Server) -> None:
    server.run("CREATE USER IF NOT EXISTS someone IDENTIFIED BY 'S3cret-and-long'; DROP USER someone")
    server.run("CREATE TABLE secrets (pin INT DEFAULT 1, note VARCHAR(99) DEFAULT 'S3cret')", SOURCE)
    server.run("INSERT INTO secrets (note) VALUES ('S3cret'); DELETE FROM secrets", SOURCE)
    found = list(transactions(logs_of(server)))
    assert "S3cret" not in str(found)
    shown = [each.statement for each in found if each.statement][-3:]
    assert shown[:2] == ["CREATE USER", "DROP USER"]
    assert shown[2].startswith("CREATE TABLE secrets (pin INT DEFAULT 1, note VARCHAR(99) DEFAULT '...'")
    assert [each.changes for each in found[-2:]] == [
        {"shop.secrets": Counts(insert_events=1)},
        {"shop.secrets": Counts(delete_events=1)},
    ]


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        pytest.param(Stop(gtid="9-9-9"), "hold no transaction 9-9-9", id="GTID"),
        pytest.param(Stop(position=LogPosition("", 0, "log.000009", 4, "", "")), "end at log", id="position"),
    ],
)
def test_an_end_that_the_logs_do_not_reach_is_refused(server: Server, stop: Stop, why: str) -> None:
    with pytest.raises(ReplayError, match=why):
        replayed(server, take(server), stop)


def test_logs_that_begin_behind_the_dump_are_refused(server: Server) -> None:
    first = take(server)
    server.run("FLUSH LOGS")
    with pytest.raises(ReplayError, match="behind the dump"):
        replayed(server, first, Stop(), logs_of(server)[1:])


def test_a_log_that_began_again_is_not_taken_for_that_of_the_dump(server: Server) -> None:
    first = take(server)
    server.run("RESET BINARY LOGS AND GTIDS" if isinstance(server, MySQL) else "RESET MASTER")
    server.run("INSERT INTO audit VALUES (REPEAT('x', 60000))", SOURCE)  # behind the position, by one transaction
    server.run("INSERT INTO audit VALUES ('lost')", SOURCE)
    with pytest.raises(ReplayError, match="not where the backup's GTIDs say: the server was reset in between"):
        replayed(server, first, Stop())


def test_excluded_tables_stay_as_they_are(server: Server) -> None:
    server.run("CREATE TABLE skipped (id INT PRIMARY KEY)", SOURCE)
    first = take(server, excluded=("skipped",))
    server.run("INSERT INTO skipped VALUES (1); INSERT INTO accounts (id) VALUES (90)", SOURCE)
    server.run("CREATE VIEW above AS SELECT * FROM skipped; DROP VIEW above", SOURCE)
    server.run("CREATE TABLE further (id INT); ALTER TABLE skipped ADD a INT; DROP TABLE further, skipped", SOURCE)
    second = take(server)
    done = replayed(server, first, Stop())
    assert different(server, second.dump) == []
    assert done.left_out == {EXCLUDED: 2, LACKING: 2}


def test_a_server_that_dies_ends_the_replay_with_an_error(server: Server) -> None:
    first = take(server)
    server.run("INSERT INTO accounts (id) VALUES (95)", SOURCE)

    def pieces() -> Iterator[tuple[Piece, list[bytes]]]:
        yield from logs_of(server)
        for number in server.run("SELECT id FROM information_schema.processlist WHERE user LIKE 'lifeboat%'").split():
            server.run(f"KILL {number}")

    with pytest.raises(RestoreError, match="shop_copy"):
        replayed(server, first, Stop(), pieces())


def test_a_replay_outlives_the_time_that_a_server_lets_connections_rest(server: Server) -> None:
    first = take(server)
    before = server.run("SELECT @@GLOBAL.wait_timeout").strip()

    def pieces() -> Iterator[tuple[Piece, list[bytes]]]:
        server.run("SELECT SLEEP(2)")
        yield from logs_of(server)

    server.run("SET GLOBAL wait_timeout = 1")
    try:
        replayed(server, first, Stop(), pieces())
    finally:
        server.run(f"SET GLOBAL wait_timeout = {before}")


def test_a_user_who_may_not_give_the_right_is_told_which(server: Server) -> None:
    server.run("DROP TRIGGER paid", SOURCE)  # whose making takes another right
    first = take(server)
    server.run("DROP USER IF EXISTS limited@localhost; CREATE USER limited@localhost IDENTIFIED BY 'Str0ng-and-long'")
    server.run("GRANT CREATE USER ON *.* TO limited@localhost; GRANT SELECT ON mysql.* TO limited@localhost")
    server.run(f"GRANT ALL ON {COPY}.* TO limited@localhost WITH GRANT OPTION")
    with pytest.raises(RestoreError, match=r"may not let an account replay binary logs") as refused:
        replayed(server, first, Stop(), login="limited")
    right = "REPLICATION_APPLIER" if isinstance(server, MySQL) else "BINLOG REPLAY"
    assert f"GRANT {right} ON *.* TO `limited`@`localhost` WITH GRANT OPTION." in refused.value.hint
    server.run("REVOKE CREATE USER ON *.* FROM limited@localhost; REVOKE SELECT ON mysql.* FROM limited@localhost")
    server.run(f"REVOKE GRANT OPTION ON {COPY}.* FROM limited@localhost")
    with pytest.raises(RestoreError, match=r"not allowed to create an account, .* no logs are replayed") as alone:
        limited_engine(server).check_replay(COPY)
    assert alone.value.hint.startswith("Run as an administrator: GRANT CREATE USER ON *.* TO `limited`@`localhost`; ")
    server.run("DROP USER limited@localhost")


def limited_engine(server: Server) -> Engine:
    """Return the server as a restore connection that makes no accounts."""
    address = replace(server.server, user="limited", password=PASSWORD)
    return Engine(address, partial(server.connect, user="limited", password=PASSWORD), clock.now)


DEFINITIONS = """
CREATE TABLE extra (id INT PRIMARY KEY, note TEXT)
INSERT INTO extra VALUES (1, 'x'), (2, 'y')
ALTER TABLE extra ADD COLUMN flag BIT(4) DEFAULT b'0101'
ALTER TABLE shop.extra ADD INDEX by_note (note(10))
CREATE TABLE alike LIKE extra
RENAME TABLE alike TO other_name
CREATE TABLE chosen SELECT id, note FROM extra
CREATE VIEW shop.seen AS SELECT shop.extra.id FROM shop.extra
CREATE VIEW early AS SELECT id FROM extra
RENAME TABLE early TO late
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


FAMILY = """
CREATE TABLE parent (id INT PRIMARY KEY, n INT);
CREATE TABLE child (id INT PRIMARY KEY, parent INT,
    FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE grandchild (id INT PRIMARY KEY, child INT,
    FOREIGN KEY (child) REFERENCES child (id) ON DELETE SET NULL);
INSERT INTO parent VALUES (1, 1), (2, 2), (3, 3), (4, 4);
INSERT INTO child VALUES (1, 1), (2, 1), (3, 2), (4, 3), (5, 4);
INSERT INTO grandchild VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5);
"""
CHANGES = """
DELETE FROM parent WHERE id = 1;
UPDATE parent SET id = 20 WHERE id = 2;
BEGIN; DELETE FROM parent WHERE id = 3; INSERT INTO parent VALUES (3, 33); INSERT INTO child VALUES (4, 3); COMMIT;
REPLACE INTO parent VALUES (4, 44);
SET foreign_key_checks = 0; INSERT INTO child VALUES (9, 9); DELETE FROM parent WHERE id = 3;
"""


def test_foreign_keys_change_what_they_changed_there(server: Server) -> None:
    server.run(FAMILY, SOURCE)
    first = take(server)
    server.run(CHANGES, SOURCE)
    second = take(server)
    replayed(server, first, Stop(position=second.dump.position))
    assert different(server, second.dump) == []
    server.run("DROP TABLE grandchild, child, parent", SOURCE)


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
    "zstd": "binlog_transaction_compression = ON",
}
OF_MYSQL = ("PARTIAL_JSON", "zstd")
COMMON = ("ROW", "MIXED")
CASES = [
    pytest.param(
        name, mode, id=f"{name}-{mode}", marks=[*_marks(name), *([] if mode in COMMON else [pytest.mark.matrix])]
    )
    for name in SERVERS
    for mode in MODES
    if mode not in (("compressed",) if name == "mysql" else OF_MYSQL)
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
