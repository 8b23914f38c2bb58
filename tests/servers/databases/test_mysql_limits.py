"""What a restore will not bring back is known when the dump is taken, on every server."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from lifeboat.airflow import connections
from lifeboat.databases import EXCLUDED_PARENT, OTHER_SCHEMA, UNASKED, Dump, Limit, Load, Target, count_limits, watch
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import limits as mysql_limits
from lifeboat.databases.mysql.dump import Session
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.databases.mysql.limits import (
    CHARACTER,
    CLIENT,
    DEFINER,
    EVENT,
    EXCLUDED_MEMBER,
    EXCLUDED_VIEW,
    FLOAT,
    HISTOGRAM,
    HISTORY,
    JSON,
    MASKING,
    OTHER_PARENT,
    PASSED_EVENT,
    REFUSED,
    SERVER,
    UNFIT_TRIGGER,
    UNSEARCHED,
    UNUSABLE_VIEW,
    VECTOR,
    Choice,
)
from lifeboat.databases.mysql.source import Column
from lifeboat.databases.watch import Watch
from lifeboat.decide import comparison
from lifeboat.errors import DumpError, RestoreError
from lifeboat.settings.config import Database
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL

SOURCE, COPY = "limits", "limits_copy"
Servers = dict[str, MySQL | MariaDB | MariaDB118]
EVERYWHERE = ("mysql", "mariadb", "mariadb_118")


def again(name: str, names: tuple[str, ...]) -> list[pytest.MarkDecorator]:
    """Return the mark of a server that repeats another one: the newer MariaDB does what the older does."""
    return [pytest.mark.matrix] if name == "mariadb_118" and "mariadb" in names else []


def over(names: tuple[str, ...]) -> pytest.MarkDecorator:
    """Run a test with each server, in `make matrix` only with those that repeat others."""
    return pytest.mark.parametrize("name", [pytest.param(name, marks=again(name, names)) for name in names])


@pytest.fixture
def servers(mysql: MySQL, mariadb: MariaDB, mariadb_118: MariaDB118) -> Iterator[Servers]:
    """All servers, without the schemas of these tests."""
    found: Servers = {"mysql": mysql, "mariadb": mariadb, "mariadb_118": mariadb_118}
    drop = f"DROP DATABASE IF EXISTS {SOURCE}; DROP DATABASE IF EXISTS {COPY}"
    for server in found.values():
        server.run(drop)
    yield found
    for server in found.values():
        server.run(drop)


@pytest.fixture
def own_clients(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Put the clients of a server first in PATH, or this machine's."""
    path = os.environ["PATH"]

    def use(server: MySQL | MariaDB | MariaDB118) -> None:
        monkeypatch.setenv("PATH", f"{server.path}:{path}" if server.path else path)

    return use


def fill(server: MySQL | MariaDB | MariaDB118, sql: str | bytes) -> None:
    server.run(f"CREATE DATABASE {SOURCE}")
    server.run(sql, SOURCE)


def engine(server: MySQL | MariaDB | MariaDB118, taker: Engine | None = None, **login: str) -> Engine:
    user, password = login.get("user", server.user), login.get("password", server.password)
    place = server.server.__class__(server.host, server.port, user, password)
    return Engine(
        place,
        lambda **login: server.connect(**{"user": user, "password": password} | login),
        clock.now,
        taker.taker if taker else None,
    )


def take(of: Engine, *excluded: str) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = of.dump(SOURCE, excluded, chunks.append)
    return dump, b"".join(chunks)


def told(dump: Dump) -> set[tuple[str, str]]:
    return {(limit.kind, limit.name) for limit in dump.limits}


def load(server: MySQL | MariaDB | MariaDB118, sql: bytes) -> None:
    loading = engine(server)
    with loading.target(Target(COPY, "a key")) as place:
        loading.load(place.name, [sql], Load(SOURCE))


TABLE = "CREATE TABLE t (id INT PRIMARY KEY);"
VIEWS = """
CREATE TABLE cache (id INT PRIMARY KEY, t INT); CREATE TABLE t (id INT PRIMARY KEY, cache INT);
CREATE TABLE child (id INT PRIMARY KEY, c INT, CONSTRAINT to_cache FOREIGN KEY (c) REFERENCES cache (id));
CREATE VIEW direct AS SELECT id FROM cache; CREATE VIEW joined AS SELECT t.id FROM t JOIN cache ON cache.t = t.id;
CREATE VIEW above AS SELECT id FROM joined; CREATE VIEW topmost AS SELECT id FROM t WHERE id IN (SELECT id FROM above);
CREATE VIEW apart AS SELECT cache, 'from `limits`.`cache`' AS text FROM t;
CREATE VIEW aliased AS SELECT limits.cache FROM t AS limits;
"""
LOST = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(5) CHARACTER SET {0}, b VARCHAR(5) CHARACTER SET {0});"
VERSIONED = """
CREATE TABLE t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1), (2); DELETE FROM t WHERE id = 1;
"""
COUNTED = """
CREATE TABLE counted (id INT PRIMARY KEY, s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,
  e BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;
"""
CASES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], set[tuple[str, str]]]] = {
    "nothing": (EVERYWHERE, TABLE, (), set()),
    "FLOAT": (
        EVERYWHERE,
        "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, g FLOAT(10) NOT NULL, u FLOAT UNSIGNED, d DOUBLE, r FLOAT(30));"
        "CREATE VIEW v AS SELECT f FROM t",
        (),
        {(FLOAT, "t.f"), (FLOAT, "t.g"), (FLOAT, "t.u")},
    ),
    "FLOAT with a scale is exact": (EVERYWHERE, "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT(7,4));", (), set()),
    "a generated FLOAT is computed again": (
        EVERYWHERE,
        "CREATE TABLE t (d DOUBLE PRIMARY KEY, v FLOAT AS (d) VIRTUAL, s FLOAT AS (d / 3) STORED);",
        (),
        set(),
    ),
    "a FLOAT that parts rows": (
        EVERYWHERE,
        "CREATE TABLE t (f FLOAT PRIMARY KEY) PARTITION BY KEY (f) PARTITIONS 2;",
        (),
        {(FLOAT, "t.f")},
    ),
    "FLOAT in an excluded table": (EVERYWHERE, "CREATE TABLE t (f FLOAT);" + "CREATE TABLE u (a INT);", ("t",), set()),
    "cp1251": (
        EVERYWHERE,
        LOST.format("cp1251") + "INSERT INTO t VALUES (1, _cp1251 0x98, 'x');",
        (),
        {(CHARACTER, "t.a")},
    ),
    "a shift of sjis": (
        EVERYWHERE,
        LOST.format("cp932") + "INSERT INTO t VALUES (1, _cp932 0xED40, _cp932 0x8260);",
        (),
        {(CHARACTER, "t.a")},
    ),
    "halves of characters, which MariaDB keeps": (
        ("mysql",),
        LOST.format("ucs2") + "INSERT INTO t VALUES (1, _ucs2 0xD800, 'x');",
        (),
        {(CHARACTER, "t.a")},
    ),
    "what JSON knows as a number or a string only": (
        ("mysql",),
        "CREATE TABLE t (id INT PRIMARY KEY, a JSON, b JSON, c JSON);"
        "INSERT INTO t VALUES (1, JSON_OBJECT('p', 1.50), CAST(CURRENT_DATE AS JSON), '[1.50, \"x\", null, -0.0]'),"
        " (2, '{}', NULL, JSON_OBJECT('p', 1.25))",
        (),
        {(JSON, "t.a"), (JSON, "t.b")},
    ),
    "characters that all survive": (
        EVERYWHERE,
        LOST.format("latin1") + "INSERT INTO t VALUES (1, _latin1 0x81, _latin1 0xFF);",
        (),
        set(),
    ),
    "a view without its definer": (
        EVERYWHERE,
        TABLE + "CREATE DEFINER=gone@'%' VIEW v AS SELECT * FROM t;",
        (),
        {(UNUSABLE_VIEW, "v")},
    ),
    "a view whose definer may not read": (
        EVERYWHERE,
        "CREATE USER IF NOT EXISTS poor@'%';" + TABLE + "CREATE DEFINER=poor@'%' VIEW v AS SELECT * FROM t;",
        (),
        {(UNUSABLE_VIEW, "v")},
    ),
    "views that read what is gone": (
        EVERYWHERE,
        TABLE + "CREATE TABLE gone (id INT); CREATE VIEW broken AS SELECT id FROM gone;"
        "CREATE VIEW whole AS SELECT id FROM t; CREATE VIEW above AS SELECT id FROM broken; DROP TABLE gone;",
        (),
        {(UNUSABLE_VIEW, "broken"), (UNUSABLE_VIEW, "above")},
    ),
    "a view that calls a function of another schema": (
        EVERYWHERE,
        f"CREATE DATABASE {COPY}; CREATE FUNCTION {COPY}.f(n INT) RETURNS INT DETERMINISTIC RETURN n; {TABLE}"
        f"CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC RETURN n; CREATE VIEW own AS SELECT f(t.id) AS n FROM t;"
        f"CREATE VIEW v AS SELECT {COPY}.f(t.id) AS n FROM t WHERE t.id IN (1)",
        (),
        {(OTHER_SCHEMA, "v")},
    ),
    "code without its definer": (
        EVERYWHERE,
        TABLE + "CREATE DEFINER=gone@'%' TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.id = 1;"
        "CREATE DEFINER=gone@'%' FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;"
        "CREATE DEFINER=gone@'%' EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT 1;"
        "CREATE DEFINER=gone@'%' SQL SECURITY INVOKER VIEW v AS SELECT * FROM t;",
        (),
        {(DEFINER, "r"), (DEFINER, "f"), (DEFINER, "e"), (DEFINER, "v")},
    ),
    "views over excluded tables": (
        EVERYWHERE,
        VIEWS,
        ("cache",),
        {
            *((EXCLUDED_VIEW, name) for name in ("direct", "joined", "above", "topmost")),
            (EXCLUDED_PARENT, "child.to_cache"),
        },
    ),
    "views over excluded views": (
        EVERYWHERE,
        VIEWS,
        ("joined",),
        {(EXCLUDED_VIEW, "above"), (EXCLUDED_VIEW, "topmost")},
    ),
    "tables without transactions": (
        EVERYWHERE,
        "CREATE TABLE t (id INT) ENGINE=MyISAM; CREATE TABLE m (id INT) ENGINE=MEMORY;",
        (),
        {("tables without transactions, which no snapshot protects", name) for name in ("t", "m")},
    ),
    "versioned tables without transactions": (
        ("mariadb", "mariadb_118"),
        "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=Aria WITH SYSTEM VERSIONING;",
        (),
        {("tables without transactions, which no snapshot protects", "t")},
    ),
    "history": (("mariadb", "mariadb_118"), VERSIONED, (), set()),
    "history that counts transactions": (
        ("mariadb", "mariadb_118"),
        VERSIONED + COUNTED,
        (),
        {(HISTORY, "counted")},
    ),
    "history that counts transactions only": (("mariadb",), COUNTED, (), {(HISTORY, "counted")}),
    "excluded history that counts transactions": (("mariadb",), VERSIONED + COUNTED, ("counted",), set()),
    "files elsewhere": (
        ("mariadb",),
        "CREATE TABLE t (id INT PRIMARY KEY) DATA DIRECTORY='/tmp';",
        (),
        {(REFUSED, "CREATE TABLE `t` (")},
    ),
    "tables over excluded tables": (
        EVERYWHERE,
        "CREATE TABLE `a``(b` (id INT) ENGINE=MyISAM; CREATE TABLE c (id INT) ENGINE=MyISAM;"
        "CREATE TABLE m (id INT) ENGINE=MRG_MyISAM UNION=(c, `a``(b`); CREATE TABLE n LIKE c;",
        ("a`(b",),
        {
            (EXCLUDED_MEMBER, "m"),
            *(("tables without transactions, which no snapshot protects", name) for name in ("c", "n")),
            ("tables without transactions, which no snapshot protects", "m"),
        },
    ),
    "triggers that do not fit their tables": (
        EVERYWHERE,
        "CREATE TABLE t (a INT, `B c` INT, d INT); CREATE TABLE u (a INT);"
        "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1, new.`b C` = NEW . `d`;"
        "CREATE TRIGGER s BEFORE UPDATE ON t FOR EACH ROW SET NEW.a = OLD . d;"
        "CREATE TRIGGER f BEFORE UPDATE ON t FOR EACH ROW SET @x = 'NEW.d', NEW.A = old.`b c` /* NEW.d */;"
        "ALTER TABLE t DROP d",
        (),
        {(UNFIT_TRIGGER, "r"), (UNFIT_TRIGGER, "s")},
    ),
    "events whose time has passed": (
        EVERYWHERE,
        "CREATE EVENT once ON SCHEDULE AT NOW() + INTERVAL 1 SECOND DISABLE DO SELECT 1;"
        "CREATE EVENT ended ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01' ENDS NOW() + INTERVAL 1 SECOND DISABLE"
        " DO SELECT 1;"
        "CREATE EVENT kept ON SCHEDULE AT NOW() + INTERVAL 1 SECOND ON COMPLETION PRESERVE DISABLE DO SELECT 1;"
        "CREATE EVENT later ON SCHEDULE AT NOW() + INTERVAL 1 DAY DISABLE DO SELECT 1;"
        "CREATE EVENT always ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01' DISABLE DO SELECT 1; SELECT SLEEP(2)",
        (),
        {(PASSED_EVENT, "once"), (PASSED_EVENT, "ended")},
    ),
    "histograms": (
        ("mysql",),
        "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 2);"
        "ANALYZE TABLE t UPDATE HISTOGRAM ON a;",
        (),
        set(),
    ),
}


@pytest.mark.parametrize(
    ("name", "sql", "excluded", "expected"),
    [
        pytest.param(name, sql, excluded, expected, id=f"{case}-{name}", marks=again(name, names))
        for case, (names, sql, excluded, expected) in CASES.items()
        for name in names
    ],
)
def test_limits_are_known_when_a_dump_is_taken(
    servers: Servers,
    own_clients: Callable[[Any], None],
    name: str,
    sql: str,
    excluded: tuple[str, ...],
    expected: set[tuple[str, str]],
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, sql)
    dump, _ = take(engine(server), *excluded)
    assert told(dump) == expected
    assert all(SOURCE in notice for notice in dump.notices)
    assert bool(dump.notices) == bool(expected)


@over(EVERYWHERE)
def test_a_dump_without_views_over_excluded_tables_restores(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, VIEWS)
    dump, sql = take(engine(server), "cache")
    assert set(dump.excluded_tables) == {"cache", "direct", "joined", "above", "topmost"}
    load(server, sql)
    found = server.run(f"SELECT table_name FROM information_schema.views WHERE table_schema = '{COPY}'")
    assert set(found.split()) == {"apart", "aliased"}


HISTOGRAMS = "SELECT table_name, column_name FROM information_schema.column_statistics WHERE schema_name = '{}'"


def test_histograms_come_back(servers: Servers, own_clients: Callable[[Any], None]) -> None:
    server = servers["mysql"]
    own_clients(server)
    fill(server, CASES["histograms"][1])
    _, sql = take(engine(server))
    load(server, sql)
    assert server.run(HISTOGRAMS.format(COPY)) == "t\ta\n"


@over(("mariadb", "mariadb_118"))
def test_the_history_of_rows_is_dumped_and_comes_back(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(
        server,
        "CREATE TABLE t (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1, 1), (2, 1);"
        "UPDATE t SET n = 2 WHERE id = 1; UPDATE t SET n = 3 WHERE id = 1; DELETE FROM t WHERE id = 2;"
        + COUNTED
        + "INSERT INTO counted (id) VALUES (1), (2); DELETE FROM counted WHERE id = 1; CREATE TABLE u LIKE t;"
        "INSERT INTO u VALUES (1, 1); UPDATE u SET n = 2;",
    )
    versions = "SELECT id, n, row_start, row_end FROM {}.t FOR SYSTEM_TIME ALL ORDER BY id, n"
    before = server.run(versions.format(SOURCE))
    assert len(before.splitlines()) == 4
    dump, sql = take(engine(server))
    assert {table.name: table.rows for table in dump.tables} == {"t": 4, "counted": 1, "u": 2}
    (told_ahead,) = engine(server).check_dump(SOURCE, ()).lacks
    assert "table 'counted' has its current rows only" in told_ahead
    loading = engine(server)
    with loading.target(Target(COPY, "a key", dump)) as place:
        loaded = loading.load(place.name, [sql], Load(SOURCE))
        assert comparison.differences(dump, loading.read_back(place.name, ())) == []
    assert [warning for warning in loaded.warnings if "counted" not in warning] == []
    assert server.run(versions.format(COPY)) == before


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        (["{}`a` {}", "{}`b``c` {}"], True),
        (["Deprecated program name. Use mariadb-dump.", "{}`b``c` {}", "{}`a` {}"], True),
        ([], False),
        (["{}`a` {}"], False),
        (["{}`a` {}", "{}`b``c` {}", "{}`d` {}"], False),
        (["{}`a` {}", "{}`b``c` {}", "mariadb-dump: Error 2013: Lost connection when dumping table `e`"], False),
    ],
)
def test_a_client_may_refuse_the_history_that_it_must_and_nothing_else(lines: list[str], allowed: bool) -> None:
    said = "mariadb-dump: Cannot use --dump-history for table", "with transaction-precise history"
    choice = Choice(history=True, refused=frozenset({"a", "b`c"}))
    assert choice.allows([line.format(said[0] + " ", said[1]) for line in lines]) == allowed
    assert not Choice().allows([])


def test_characters_that_take_too_long_are_not_called_whole(
    servers: Servers, own_clients: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "SEARCH_SECONDS", 0)
    own_clients(servers["mysql"])
    fill(servers["mysql"], LOST.format("cp1251"))
    dump, _ = take(engine(servers["mysql"]))
    assert told(dump) == {(UNSEARCHED, "t.a"), (UNSEARCHED, "t.b")}


WRONG_CLIENT = {(CLIENT, "client"), (VECTOR, "t.v"), (HISTOGRAM, "t")}


def test_a_client_of_another_family_is_a_limit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's mysqldump is MariaDB's: it leaves out and damages what only MySQL has."""
    fill(
        servers["mysql"],
        "CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(2), g INT AS (id + 1) STORED); INSERT INTO t (id) VALUES (1);"
        "ANALYZE TABLE t UPDATE HISTOGRAM ON g;",
    )
    dump, _ = take(engine(servers["mysql"]))
    assert {(kind, "client" if kind == CLIENT else name) for kind, name in told(dump)} == WRONG_CLIENT
    (text,) = (limit.text for limit in dump.limits if limit.kind == CLIENT)
    assert "Install MySQL's own (package mysql-client of repo.mysql.com" in text


@over(EVERYWHERE)
def test_the_servers_own_client_is_found_whatever_it_is_called(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """As Debian has it, mysqldump is MariaDB's; the other stands further behind in PATH, under any name."""
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
    mysqldump = servers["mysql"].path / "mysqldump"  # type: ignore[operator]
    mariadb_dump = shutil.which("mariadb-dump")
    (other / "mysqldump").symlink_to(str(mariadb_dump))
    (own / "mariadb-dump").symlink_to(mysqldump)
    monkeypatch.setenv("PATH", f"{other}:{own}:/nowhere")
    is_mariadb = name != "mysql"
    found = mysql.find_client(for_mariadb=is_mariadb)
    assert found.is_mariadb == is_mariadb
    assert found.path == str(other / "mysqldump" if is_mariadb else own / "mariadb-dump")


EVENTS = """
DELIMITER //
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT ';;', '*/' //
SET sql_mode = 'ANSI_QUOTES', time_zone = '+03:00' //
CREATE EVENT f ON SCHEDULE AT '2036-01-01' ON COMPLETION PRESERVE COMMENT 'x;;;' DO BEGIN SELECT 1; SELECT "x"; END //
SET NAMES latin1 //
CREATE EVENT g ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT 'ö' -- a remark
//
CREATE PROCEDURE p() SELECT ';;' //
"""
ENDLESS = f"CREATE EVENT h ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT '{';' * 15}'"


@over(EVERYWHERE)
def test_events_on_which_a_client_hangs_are_dumped(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, EVENTS.encode("latin1"))
    dump, sql = take(engine(server))
    objects = {(entry.kind, entry.name): entry.definition_sha256 for entry in dump.objects}
    assert {entry for entry in objects if entry[0] == "event"} == {("event", event) for event in "efg"}
    assert told(dump) == set()
    loading = engine(server)
    with loading.target(Target(COPY, "a key", dump)) as place:
        loading.load(place.name, [sql], Load(SOURCE))
        assert comparison.differences(dump, loading.read_back(place.name, ())) == []
    server.run(f"DROP DATABASE {COPY}")
    server.run(f"CREATE DATABASE {COPY}")
    server.run(sql, COPY)  # by hand
    assert server.run(f"SELECT count(*) FROM information_schema.events WHERE event_schema = '{COPY}'") == "3\n"
    server.run(ENDLESS, SOURCE)
    dump, _ = take(engine(server))
    assert told(dump) == (set() if name == "mariadb_118" else {(EVENT, "h")})
    assert len([entry for entry in dump.objects if entry.kind == "event"]) == (4 if name == "mariadb_118" else 3)


@over(EVERYWHERE)
def test_events_are_the_same_whoever_writes_them(
    servers: Servers, own_clients: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, EVENTS.replace(";;", "::").replace("-- a remark", "").encode("latin1"))
    server.run(f"ALTER DATABASE {SOURCE} COLLATE utf8mb4_bin")  # events keep that of the day on which they were made
    by_client, _ = take(engine(server))
    monkeypatch.setattr(mysql_limits, "choose", lambda *_: Choice(events=False))
    by_us, sql = take(engine(server))
    assert b"written by Lifeboat" in sql
    assert sorted(by_us.objects, key=str) == sorted(by_client.objects, key=str)


@pytest.mark.parametrize("name", ["mysql", "mariadb"])
def test_a_view_over_another_schema_is_reported_and_left_out(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    """The account that loads may read no other schema."""
    server = servers[name]
    own_clients(server)
    server.run("DROP DATABASE IF EXISTS other; CREATE DATABASE other; CREATE TABLE other.t (n INT)")
    fill(
        server,
        TABLE + "CREATE VIEW v AS SELECT n FROM other.t; CREATE VIEW w AS SELECT a.n FROM (v AS a JOIN other.t AS b);"
        "CREATE VIEW x AS SELECT id, 'from `other`.`t`' AS s FROM t; CREATE VIEW u AS SELECT n FROM v;"
        "CREATE VIEW y AS SELECT table_name FROM information_schema.tables;",
    )
    dump, sql = take(engine(server))
    assert {entry for entry in told(dump) if entry[0] == OTHER_SCHEMA} == {(OTHER_SCHEMA, name) for name in "uvw"}
    loading = engine(server)
    with loading.target(Target(COPY, "a key", dump)) as place:
        loaded = loading.load(place.name, [sql], Load(SOURCE))
        restored = loading.read_back(place.name, ())
    assert set(loaded.left_out) == {("view", name) for name in "uvw"}
    assert comparison.differences(dump, restored, left_out=loaded.left_out) == []
    server.run("DROP DATABASE other")


@pytest.mark.parametrize("name", ["mysql", "mariadb"])
def test_a_foreign_key_to_another_schema_is_reported_and_left_out(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    server = servers[name]
    own_clients(server)
    server.run("DROP DATABASE IF EXISTS other; CREATE DATABASE other; CREATE TABLE other.t (n INT PRIMARY KEY)")
    fill(
        server,
        "CREATE TABLE x (n INT PRIMARY KEY);"
        "CREATE TABLE c (n INT, CONSTRAINT k FOREIGN KEY (n) REFERENCES other.t (n),"
        " CONSTRAINT l FOREIGN KEY (n) REFERENCES x (n));",
    )
    dump, sql = take(engine(server), "x")
    assert told(dump) == {(OTHER_PARENT, "c.k"), (EXCLUDED_PARENT, "c.l")}
    loading = engine(server)
    with loading.target(Target(COPY, "a key", dump)) as place:
        loaded = loading.load(place.name, [sql], Load(SOURCE))
        restored = loading.read_back(place.name, ())
    assert [str(difference) for difference in comparison.differences(dump, restored)] == [
        "table 'c' has a different definition"
    ]
    assert "foreign key 'k' of table 'c' was left out: it refers to schema 'other'" in loaded.warnings
    assert "foreign key 'l' of table 'c' was not checked: table 'x' does not exist" in loaded.warnings
    server.run(f"DROP DATABASE {SOURCE}; DROP DATABASE {COPY}; DROP DATABASE other")


REFUSALS = {
    "the table's files lie elsewhere": (
        ("mariadb", "mariadb_118"),
        "CREATE TABLE t (id INT PRIMARY KEY) DATA DIRECTORY='{outside}';",
    ),
    "a partition's files lie elsewhere": (
        ("mariadb", "mariadb_118"),
        "CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY RANGE (id)"
        " (PARTITION p VALUES LESS THAN (9) DATA DIRECTORY='{outside}');",
    ),
    "a table over tables": (
        ("mysql", "mariadb", "mariadb_118"),
        "CREATE TABLE a (id INT) ENGINE=MyISAM; CREATE TABLE m (id INT) ENGINE=MRG_MyISAM UNION=(a);",
    ),
    "a comment for some versions that ends in a text": (
        ("mysql",),
        "CREATE TABLE t (id INT) PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (9) COMMENT = '*/');",
    ),
    "a column without a value": (("mysql",), "CREATE TABLE t (g INT AS (1 + 1) VIRTUAL); INSERT INTO t () VALUES ();"),
    "code with a schema in front": (
        ("mariadb",),
        TABLE + "CREATE TRIGGER limits.r BEFORE INSERT ON limits.t FOR EACH ROW SET NEW.id = 1;",
    ),
    "a library": (("mysql",), "CREATE LIBRARY l LANGUAGE JAVASCRIPT AS $$ export function f(n) {{ return n }} $$;"),
    "a duality view": (
        ("mysql",),
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);"
        "CREATE JSON RELATIONAL DUALITY VIEW d AS SELECT JSON_DUALITY_OBJECT('_id': id, 'n': n) FROM t;",
    ),
    "a sequence": (("mariadb",), "CREATE SEQUENCE s;"),
    "a package": (
        ("mariadb",),
        "SET sql_mode = ORACLE;\nDELIMITER //\nCREATE PACKAGE k AS FUNCTION f RETURN INT; END//",
    ),
    "a function of C": (("mariadb",), "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;"),
}


@pytest.mark.parametrize(
    ("name", "sql"),
    [pytest.param(name, sql, id=f"{case}-{name}") for case, (names, sql) in REFUSALS.items() for name in names],
)
def test_what_a_restore_refuses_was_a_limit_of_the_backup(
    servers: Servers, own_clients: Callable[[Any], None], tmp_path: Path, name: str, sql: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, sql.format(outside=tmp_path))
    dump, text = take(engine(server))
    server.run(f"DROP DATABASE {SOURCE}")  # so that nothing of it is in the way
    refused = [limit.text for limit in dump.limits if limit.kind == REFUSED]
    with pytest.raises(RestoreError) if refused else contextlib.nullcontext():
        load(server, text)  # an error here was no limit


def test_the_reader_refuses_nothing_that_is_not_a_limit() -> None:
    """Every sentence in which the reader refuses a statement passes through to the backup."""
    statements = {
        "CREATE TABLE `t` (`a` int) DATA DIRECTORY='/tmp'": "DATA DIRECTORY",
        "CREATE TABLE `t` (`a` int) UNION=(`b`)": "UNION",
        "CREATE TABLE `t` (`a` int /*!99999 COMMENT '*/' */)": "table 't'",
        "CREATE TABLE `other`.`t` (`a` int)": "in schema 'other', wherever it is loaded",
        "CREATE DATABASE `x`": "it was made with --databases",
        "USE `x`": "it was made with --databases",
        "SET GLOBAL x = 1": "is not written by dump clients",
        "CREATE USER `u`": "is not written by dump clients",
        "CREATE MASKING POLICY p(c) c": "is not written by dump clients",
        "/*M!999999\\- enable the sandbox mode */ \nGRANT ALL ON *.* TO u": "is not written by dump clients",
    }
    for sql, said in statements.items():
        definitions = mysql_limits.Definitions("limits")
        definitions.see(sql.encode())
        ((limit),) = definitions.limits.values()
        assert limit.kind == REFUSED
        assert said in limit.text


def test_definitions_that_a_restore_takes_are_no_limits() -> None:
    definitions = mysql_limits.Definitions("limits")
    for sql in (
        "/*!50003 SET sql_mode = '' */ ",
        "CREATE TABLE `t` (`a` int COMMENT '\\'')",
        "/*!40000 ALTER TABLE `t` DISABLE KEYS */",
        "LOCK TABLES `t` WRITE",
        "/*M!999999\\- enable the sandbox mode */ \n/*!40101 SET NAMES utf8mb4 */",
    ):
        definitions.see(sql.encode())
    assert definitions.limits == {}


def test_masking_policies_are_missing() -> None:
    definitions = mysql_limits.Definitions("limits")
    definitions.see(
        b"CREATE TABLE `t` (\n  `id` int,\n  `c` varchar(9) MASKING POLICY `pol` DEFAULT NULL\n) ENGINE=InnoDB"
    )
    ((limit),) = definitions.limits.values()
    assert (limit.kind, limit.name) == (MASKING, "t.c")


COLUMN = Column("t", "a", 1, "int", "int", None, None, None, "", "", None, None, "NO")


def test_tables_that_came_or_went_while_a_dump_ran_are_not_altered() -> None:
    other = COLUMN._replace(table="u")
    moved = [COLUMN._replace(position=2), COLUMN._replace(name="b")]
    assert mysql_limits.altered([COLUMN, other], [COLUMN]) == []
    assert mysql_limits.altered([COLUMN], [COLUMN, other]) == []
    assert mysql_limits.altered([COLUMN, other], [COLUMN._replace(default="1"), other]) == ["t"]
    assert mysql_limits.altered([COLUMN], moved) == ["t"]


def test_kinds_are_counted_without_names() -> None:
    limits = [Limit(FLOAT, "t.a", "x"), Limit(FLOAT, "t.b", "y"), Limit(EVENT, "e", "z")]
    assert count_limits(limits) == [f"{FLOAT}: 2", f"{EVENT}: 1"]


@over(EVERYWHERE)
def test_a_limit_of_the_server_cuts_no_dump_short(
    servers: Servers, own_clients: Callable[[Any], None], name: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, TABLE + "INSERT INTO t VALUES (1), (2), (3), (4)")
    server.run("SET GLOBAL sql_select_limit = 2")
    try:
        if name == "mysql":
            assert take(engine(server))[0].rows == 4
        else:  # MariaDB's clients cannot change it
            with pytest.raises(DumpError, match=r"sql_select_limit would cut each table off after 2 rows.*SET GLOBAL"):
                take(engine(server))
    finally:
        server.run("SET GLOBAL sql_select_limit = DEFAULT")
    assert take(engine(server))[0].rows == 4


@pytest.mark.parametrize(
    ("name", "setting", "value", "said"),
    [
        ("mysql", "max_execution_time", "1", ""),
        ("mysql", "max_join_size", "1", ""),
        ("mysql", "sql_mode", "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'", ""),
        ("mariadb", "sql_mode", "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'", ""),
        ("mariadb", "max_statement_time", "0.001", ""),
        ("mariadb", "max_join_size", "1", "1104.*SET GLOBAL sql_big_selects = 1"),
        ("mariadb_118", "max_statement_time", "0.001", ""),
        ("mariadb_118", "max_join_size", "1", "1104.*SET GLOBAL sql_big_selects = 1"),
    ],
)
def test_settings_of_the_server_do_not_change_a_dump(
    servers: Servers, own_clients: Callable[[Any], None], name: str, setting: str, value: str, said: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(
        server,
        "CREATE TABLE t (id INT PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'a\\\\b'), (2, 'x');"
        "INSERT INTO t WITH RECURSIVE n AS (SELECT 3 id UNION ALL SELECT id + 1 FROM n WHERE id < 900)"
        " SELECT id, REPEAT('y', 2000) FROM n; CREATE VIEW v AS SELECT t.id FROM t JOIN t u;",
    )
    before, _ = take(engine(server))
    (was,) = server.run(f"SELECT @@global.{setting}").split("\n")[:1]
    server.run(f"SET GLOBAL {setting} = {value}")
    try:
        if said:
            with pytest.raises(DumpError, match=said):
                take(engine(server))
        else:
            after, _ = take(engine(server))
            assert (after.tables, after.objects) == (before.tables, before.objects)
    finally:
        server.run(f"SET GLOBAL {setting} = '{was}'" if setting == "sql_mode" else f"SET GLOBAL {setting} = DEFAULT")


@pytest.mark.parametrize(
    "change", ["ADD COLUMN extra INT DEFAULT 7", "MODIFY COLUMN b INT FIRST", "RENAME COLUMN b TO c"]
)
@over(("mariadb", "mariadb_118"))
def test_a_table_that_is_altered_at_once_while_the_dump_runs_fails_it(
    servers: Servers, own_clients: Callable[[Any], None], name: str, change: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(
        server,
        "CREATE TABLE a (t LONGTEXT); INSERT INTO a WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 100) SELECT REPEAT('x', 100000) FROM n;"
        "CREATE TABLE zz (id INT PRIMARY KEY, a INT, b INT); INSERT INTO zz VALUES (1, 2, 3);",
    )
    altered = False

    def alter(_: bytes) -> None:
        nonlocal altered
        if not altered:
            altered = True
            server.run(f"ALTER TABLE zz {change}, ALGORITHM=INSTANT", SOURCE)

    with pytest.raises(DumpError, match="zz"):
        engine(server).dump(SOURCE, (), alter)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.2)
    monkeypatch.setattr(watch, "STALLED", 4)


@over(EVERYWHERE)
def test_a_dump_that_waits_for_a_lock_says_so_and_ends(
    servers: Servers,
    own_clients: Callable[[Any], None],
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, TABLE)
    blocker = server.connect(database=SOURCE)
    blocker.cursor().execute("LOCK TABLES t WRITE")
    try:
        with pytest.raises(DumpError, match=r"has written nothing for .*Waiting for table metadata lock.*PROCESSLIST"):
            take(engine(server))
    finally:
        blocker.close()
    assert "No output from the dump of limits for" in caplog.text
    assert "Waiting for table metadata lock" in caplog.text
    assert "LOCK TABLES" not in caplog.text


def test_a_client_that_never_ends_is_ended(
    servers: Servers, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(servers["mariadb"], TABLE)
    fake = tmp_path / "mariadb-dump"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --no-defaults ] && { echo "mariadb-dump MariaDB"; exit 0; }\necho x\nexec sleep 60\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DumpError, match=r"has written nothing for .*its connection is gone"):
        take(engine(servers["mariadb"]))


def test_a_query_that_takes_long_is_waited_for(
    servers: Servers, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Sorting a huge table may take longer than any silence that should end a dump."""
    server = servers["mariadb"]
    fill(server, TABLE)
    watched = Watch(SOURCE, partial(Session(server.connect()).doing, SOURCE), "SHOW PROCESSLIST")
    busy = Session(server.connect(database=SOURCE))
    number = busy.id()

    def work() -> None:
        with contextlib.suppress(Exception):  # it is killed
            busy.query("SELECT SLEEP(60)")

    worker = Thread(target=work)
    worker.start()
    control = Session(server.connect())
    while not control.query(
        "SELECT 1 FROM information_schema.processlist WHERE id = %s AND info LIKE '%%60%%'", number
    ):
        time.sleep(0.01)
    try:
        for _ in range(2 * watch.STALLED):
            assert not watched.hears(b"")
    finally:
        server.run(f"KILL {number}")
        worker.join()
    assert "Query, User sleep" in caplog.text
    assert "60" not in caplog.text.replace(str(server.port), "")  # no text of a query


@pytest.mark.parametrize(
    ("source", "taker", "sql", "expected"),
    [
        ("mysql", "mysql", TABLE, set()),
        ("mysql", "mariadb", TABLE, {"family", "utf8mb4_0900_ai_ci"}),
        (
            *("mysql", "mariadb"),
            "SET NAMES utf8mb4 COLLATE utf8mb4_0900_bin; CREATE TABLE t (id INT PRIMARY KEY) CHARSET latin1;"
            "CREATE PROCEDURE p() SELECT 1",
            {"family", "utf8mb4_0900_bin"},
        ),
        ("mariadb_118", "mariadb", TABLE, {"version"}),
        ("mariadb", "mariadb_118", TABLE, set()),
        ("mariadb", "mysql", "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=Aria;", {"family", "Aria"}),
    ],
)
def test_what_the_restore_server_lacks_is_a_limit_of_the_backup(
    servers: Servers, own_clients: Callable[[Any], None], source: str, taker: str, sql: str, expected: set[str]
) -> None:
    own_clients(servers[source])
    fill(servers[source], sql)
    dump, _ = take(engine(servers[source], engine(servers[taker])))
    assert {limit.name for limit in dump.limits if limit.kind == SERVER} == expected


def test_a_restore_server_that_takes_less_at_once(servers: Servers, own_clients: Callable[[Any], None]) -> None:
    server = servers["mysql"]
    own_clients(server)
    fill(server, "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO t VALUES (1, REPEAT('x', 3000000))")
    server.run("SET GLOBAL max_allowed_packet = 4194304, sql_require_primary_key = ON")
    try:
        dump, _ = take(engine(server, engine(server)))
    finally:
        server.run("SET GLOBAL max_allowed_packet = 268435456, sql_require_primary_key = OFF")
    assert {limit.name for limit in dump.limits if limit.kind == SERVER} == {"max_allowed_packet"}


def test_a_restore_server_that_is_gone_costs_no_backup(servers: Servers, own_clients: Callable[[Any], None]) -> None:
    server = servers["mariadb"]
    own_clients(server)
    fill(server, TABLE)
    gone = Engine(server.server, lambda: server.connect(port=1), clock.now)
    dump, _ = take(engine(server, gone))
    assert told(dump) == {(UNASKED, "")}
    assert "Can't connect" in dump.limits[0].text


def test_a_restore_connection_that_is_missing_costs_no_backup(
    servers: Servers, own_clients: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["mariadb"]
    own_clients(server)
    fill(server, TABLE)
    monkeypatch.setenv("AIRFLOW_CONN_THERE", server.connection())
    database = Database(name=SOURCE, connection="there", restore_connection="no_such")
    dump, _ = take(cast(Engine, connections.engine(database, Path("/unused"))))
    assert told(dump) == {(UNASKED, "")}
    assert "no_such" in dump.limits[0].text


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        pytest.param(
            "CREATE TABLE t (a INT) ENGINE=MyISAM; CREATE TABLE m (a INT) ENGINE=MERGE UNION=(t); DROP TABLE t",
            r"`m`.*1168.*Hint: A MERGE table lists a table that is missing.*exclude_tables",
            id="a MERGE table over one that is gone",
        ),
        pytest.param(
            "CREATE TABLE t (a INT); ALTER TABLE t DISCARD TABLESPACE",
            r"1814.*`t`.*Hint: A table has no tablespace.*exclude_tables",
            id="a table without its tablespace",
        ),
    ],
)
@pytest.mark.parametrize("name", ["mysql", "mariadb"])
def test_a_table_that_cannot_be_read_fails_the_dump_with_what_to_do(
    servers: Servers, own_clients: Callable[[Any], None], name: str, sql: str, said: str
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, sql)
    with pytest.raises(DumpError, match=f"(?s){said}"):
        take(engine(server))
    take(engine(server), "m" if "m (" in sql else "t")


@over(EVERYWHERE)
@pytest.mark.parametrize(("size", "is_told"), [(800_000, True), (400_000, False)])
def test_a_row_that_the_server_would_not_take_again_is_told(
    servers: Servers, own_clients: Callable[[Any], None], name: str, size: int, *, is_told: bool
) -> None:
    server = servers[name]
    own_clients(server)
    fill(server, f"CREATE TABLE t (b LONGBLOB); INSERT INTO t VALUES (REPEAT(0xFF, {size}))")  # two letters a byte
    server.run("SET GLOBAL max_allowed_packet = 1048576")
    try:
        dump, _ = take(engine(server))
    finally:
        server.run("SET GLOBAL max_allowed_packet = 268435456")
    assert told(dump) == ({(SERVER, "max_allowed_packet")} if is_told else set())
    assert all("a row of table 't' may have 1.5 MiB" in limit.text for limit in dump.limits)
