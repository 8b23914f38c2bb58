"""Loads hostile dumps into a real server, and watches what a load must never touch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lifeboat.databases import mysql, mysql_load
from lifeboat.databases.mysql_statements import StatementReader
from lifeboat.errors import LifeboatError

from include.demo.stand_ins import MariaDB, MySQL
from tests.fuzz.splices import hostile_dump, statements_of

HERE = Path(__file__).parent
SCHEMA = "spliced"
LONGEST = 16 << 20
MADE = Path("/tmp/made_by_a_dump")
SMALL = b"""CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(30) DEFAULT 'it''s', KEY (v)) COMMENT 'x';
INSERT INTO a VALUES (1, 'one'), (2, 'tw\\'o');
CREATE TABLE b (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id));
INSERT INTO b VALUES (1, 1);
CREATE TABLE c (n INT) PARTITION BY HASH (n) PARTITIONS 2;
CREATE VIEW v AS SELECT id FROM a;
CREATE TRIGGER tr BEFORE INSERT ON b FOR EACH ROW SET NEW.a = NEW.a;
CREATE PROCEDURE p() SELECT 1;
CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO DELETE FROM b;
"""
WATCHED = (
    f"SELECT schema_name, default_collation_name FROM information_schema.schemata WHERE schema_name <> '{SCHEMA}'",
    "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'victim'",
    "SELECT * FROM victim.t",
    "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = 'victim'",
    "SELECT event_name FROM information_schema.events WHERE event_schema = 'victim' OR status = 'ENABLED'",
    "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'victim'",
    "SELECT user, host, authentication_string FROM mysql.user WHERE user NOT LIKE 'lifeboat\\_load\\_%'",
    "SELECT @@general_log_file, @@global.sql_mode, @@event_scheduler, @@global.general_log",
)


@dataclass
class Tried:
    """How many dumps the reader refused, how many the server did not take, and how many were loaded."""

    refused: int = 0
    failed: int = 0
    loaded: int = 0


def _watched(server: MariaDB | MySQL) -> tuple[object, ...]:
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        seen: list[object] = []
        for query in WATCHED:
            cursor.execute(query)
            seen.append(sorted(map(str, cursor.fetchall())))
    return (*seen, MADE.exists())


@contextlib.contextmanager
def victims(server: MariaDB | MySQL) -> Iterator[list[bytes]]:
    """Make the schema that is watched, and yield the statements of a dump."""
    server.run("DROP DATABASE IF EXISTS victim; CREATE DATABASE victim; CREATE TABLE victim.t (a INT)")
    server.run("INSERT INTO victim.t VALUES (1), (2); CREATE PROCEDURE victim.tidy() DELETE FROM t")
    server.run(f"DROP DATABASE IF EXISTS {SCHEMA}; CREATE DATABASE {SCHEMA}; DROP DATABASE IF EXISTS source")
    server.run("CREATE DATABASE source")
    server.run(SMALL, "source")
    chunks: list[bytes] = []
    mysql.dump(server.connect, server.server, "source", (), chunks.append)
    server.run("DROP DATABASE source")
    yield statements_of(b"".join(chunks))
    server.run(f"DROP DATABASE victim; DROP DATABASE {SCHEMA}")


def try_splices(server: MariaDB | MySQL, dump: list[bytes], seconds: float, first_seed: int) -> Tried:
    """Load hostile dumps for a while.

    :raises AssertionError: something was touched; it names the seed.
    """
    tried, before = Tried(), _watched(server)
    deadline, seed = time.monotonic() + seconds, first_seed
    while time.monotonic() < deadline:
        seed += 1
        sql = hostile_dump(dump, seed)
        try:
            list(StatementReader([sql], LONGEST, "source"))
        except LifeboatError:
            tried.refused += 1  # so nothing of it is run: a load reads as much ahead
            continue
        try:
            mysql_load.load(server.connect, server.server, SCHEMA, [sql], source="source", connections=1)
            tried.loaded += 1
        except LifeboatError:
            tried.failed += 1
        after = _watched(server)
        assert after == before, (
            f"seed {seed}: {[pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]}"
        )
        server.run(f"DROP DATABASE {SCHEMA}; CREATE DATABASE {SCHEMA}")
    return tried
