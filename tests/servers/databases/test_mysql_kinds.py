"""What is hard to restore, on every server that there is: dumped, loaded, compared."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from lifeboat.databases import Dump, Load, Loaded, Target
from lifeboat.databases.mysql import load as mysql_load
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.decide import comparison
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL

SOURCE, COPY = "kinds", "kinds of `copies`"
CREATED = "CREATE DATABASE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
EVERYWHERE = ("MySQL", "MySQL by mariadb-dump", "MariaDB 10.11", "MariaDB 11.8")
MYSQL = EVERYWHERE[:2]
MYSQL_ITSELF = EVERYWHERE[:1]
MARIADB = EVERYWHERE[2:]


def again(way: str, ways: tuple[str, ...]) -> list[pytest.MarkDecorator]:
    """Return the mark of a way that repeats another one: the newer MariaDB does what the older does."""
    return [pytest.mark.matrix] if way == MARIADB[1] and MARIADB[0] in ways else []


def over(ways: tuple[str, ...]) -> pytest.MarkDecorator:
    """Run a test in each way, in `make matrix` only with those that repeat others."""
    return pytest.mark.parametrize("way", [pytest.param(way, marks=again(way, ways)) for way in ways], indirect=True)


@dataclass(frozen=True)
class Way:
    """A server, and what is first in PATH."""

    server: MySQL | MariaDB | MariaDB118
    engine: Engine

    def dump(self, schema: str) -> tuple[Dump, bytes]:
        chunks: list[bytes] = []
        return self.engine.dump(schema, (), chunks.append), b"".join(chunks)

    def load(self, sql: bytes) -> Loaded:
        """Load a dump into a new schema."""
        self.server.run(f"DROP DATABASE IF EXISTS {backquoted(COPY)}; {CREATED.format(backquoted(COPY))}")
        with self.engine.target(Target(COPY, "a key", exists=True)) as place:
            return self.engine.load(place.name, [sql], Load(SOURCE))

    def fetch(self, sql: str, schema: str = COPY) -> list[Any]:
        with contextlib.closing(self.server.connect(database=schema)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    fixture = {"MySQL": "mysql", "MySQL by mariadb-dump": "mysql", "MariaDB 10.11": "mariadb"}
    server = request.getfixturevalue(fixture.get(request.param, "mariadb_118"))
    if server.path and request.param != "MySQL by mariadb-dump":
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    server.run(f"DROP DATABASE IF EXISTS {SOURCE}; {CREATED.format(SOURCE)}")
    yield Way(server, Engine(server.server, server.connect, clock.now))
    server.run(f"DROP DATABASE IF EXISTS {SOURCE}; DROP DATABASE IF EXISTS {backquoted(COPY)}")


T = "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1,1);"
LIBRARY = "CREATE LIBRARY lib LANGUAGE JAVASCRIPT AS $$ for(;;){} // it's $$;"
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "a computed column": (
        EVERYWHERE,
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(50), b VARCHAR(60) AS (concat('-', a)) STORED,"
        " c INT AS (id * 2) VIRTUAL, d INT, KEY (b), KEY (c));"
        r"INSERT INTO t (id, a, d) VALUES (1, 'it''s),(', 3), (2, NULL, NULL), (3, '\\', 0), (4, '\'', -1)",
    ),
    "computed columns around others": (
        EVERYWHERE,
        "CREATE TABLE t (g INT AS (a + 1) VIRTUAL, a INT, h VARCHAR(9) AS (a) STORED, `b``,(` VARCHAR(9) AS ('(,'));"
        "INSERT INTO t (a) VALUES (1), (NULL), (1)",
    ),
    "computed columns only": (
        EVERYWHERE,
        "CREATE TABLE t (g INT AS (1 + 1) VIRTUAL); INSERT INTO t () VALUES (), (), ();"
        "CREATE TABLE u (g INT AS (1 + 1) VIRTUAL, h INT AS (3) STORED); INSERT INTO u () VALUES ();"
        "CREATE TABLE v (g INT AS (1) VIRTUAL)",
    ),
    "an invisible computed column": (
        EVERYWHERE,
        "CREATE TABLE t (a INT, b INT AS (a * 2) STORED INVISIBLE, c INT); INSERT INTO t (a, c) VALUES (1, 2)",
    ),
    "a negative zero": (
        EVERYWHERE,
        "CREATE TABLE t (id INT PRIMARY KEY, d DOUBLE, f FLOAT NOT NULL, s VARCHAR(9));"
        "INSERT INTO t VALUES (1, -0e0, -0e0, '(-0,'), (2, 0, 0, '-0'), (3, NULL, -1e-9, ',-0)')",
    ),
    "dates that are none": (
        EVERYWHERE,
        "SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE t (id INT PRIMARY KEY, d DATE DEFAULT '2008-02-31',"
        " e DATETIME DEFAULT '0000-00-00 00:00:00'); INSERT INTO t VALUES (1, '2020-02-31', '2021-04-31 01:02:03'),"
        " (2, '0000-00-00', '2020-00-00 00:00:00')",
    ),
    "rows longer than strict InnoDB takes": (
        EVERYWHERE,
        "SET SESSION innodb_strict_mode = OFF; CREATE TABLE t (id INT PRIMARY KEY"
        + "".join(f", c{number} VARCHAR(255) CHARACTER SET latin1" for number in range(197))
        + ") ROW_FORMAT=COMPACT; INSERT INTO t (id, c1) VALUES (1, 'x')",
    ),
    "a foreign key to what is not unique": (
        MYSQL,
        "SET restrict_fk_on_non_standard_key = OFF; CREATE TABLE z (id INT PRIMARY KEY, n INT, KEY (n));"
        "CREATE TABLE c (id INT PRIMARY KEY, n INT, FOREIGN KEY (n) REFERENCES z (n));"
        "INSERT INTO z VALUES (1, 5), (2, 5); INSERT INTO c VALUES (1, 5)",
    ),
    "a column without a default": (
        EVERYWHERE,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT, c VARCHAR(9) DEFAULT 'DEFAULT', d JSON, KEY (a));"
        "ALTER TABLE t ALTER a DROP DEFAULT; ALTER TABLE t ALTER d DROP DEFAULT;"
        "INSERT INTO t VALUES (1, 1, 1, 1, '1')",
    ),
    "an archive with a counter": (
        MYSQL,
        "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a VARCHAR(60) DEFAULT ' AUTO_INCREMENT=7')"
        " ENGINE=ARCHIVE; INSERT INTO t VALUES (2, ''), (5, NULL)",
    ),
    "a view checked by one that comes later": (
        EVERYWHERE,
        f"{T} CREATE VIEW z1 AS SELECT * FROM t; CREATE VIEW m AS SELECT * FROM z1 WITH CHECK OPTION;"
        "CREATE VIEW a AS SELECT * FROM m WITH LOCAL CHECK OPTION",
    ),
    "views over views in the order of the alphabet and against it": (
        EVERYWHERE,
        f"{T} CREATE VIEW z AS SELECT * FROM t; CREATE VIEW y AS SELECT id, a + 1 AS z FROM z;"
        "CREATE VIEW b AS SELECT y.z FROM y JOIN z ON z.id = y.id; CREATE VIEW c AS SELECT * FROM b",
    ),
    "a view of as many columns as there may be": (
        EVERYWHERE,
        f"CREATE VIEW v ({', '.join(f'c{number}' for number in range(4096))}) AS SELECT {'1, ' * 4095} 1",
    ),
    "code that holds a command of the client": (
        EVERYWHERE,
        "CREATE PROCEDURE p() SELECT '\nDELIMITER ;\n', 'CREATE TABLE'",
    ),
    "a trigger of many columns": (
        MARIADB[1:],
        f"CREATE TABLE t ({', '.join(f'c{number} INT' for number in range(900))}); CREATE TRIGGER r BEFORE UPDATE OF "
        f"{', '.join(f'c{number}' for number in range(900))} ON t FOR EACH ROW SET @a = 1",
    ),
    "a duality view": (
        MYSQL,
        f"{T} CREATE TABLE u (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id));"
        "INSERT INTO u VALUES (7, 1); CREATE JSON RELATIONAL DUALITY VIEW a AS SELECT JSON_DUALITY_OBJECT("
        "'_id': id, 'a': a, 'u': (SELECT JSON_ARRAYAGG(JSON_DUALITY_OBJECT('id': id, 't': t)) FROM u"
        " WHERE u.t = t.id)) FROM t",
    ),
    "a library": (MYSQL_ITSELF, f"{T} {LIBRARY} CREATE LIBRARY lib2 COMMENT 'c' LANGUAGE JAVASCRIPT AS $x$ ;; $x$"),
    "a library that a routine uses": (
        MYSQL_ITSELF,
        f"{LIBRARY} CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC LANGUAGE JAVASCRIPT USING (lib AS l)"
        " AS $$ return l.f(n) $$",
    ),
    "code of modes in which a backslash is a letter, and NOT binds first": (
        EVERYWHERE,
        f"{T} SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE';"
        "CREATE PROCEDURE p(IN a VARCHAR(9)) COMMENT 'it''s c\\' SELECT 'a\\';"
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC SQL SECURITY INVOKER COMMENT '\\n\nx' RETURN 1;"
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DISABLE COMMENT 'x\\' DO SELECT '\\'",
    ),
    "code that ends in a remark": (
        EVERYWHERE,
        f"{T}\nDELIMITER //\nCREATE PROCEDURE p() SELECT 1 -- end\n//\n"
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC BEGIN # begin\nRETURN 1; END # it's the `end`\n//\n"
        "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1 # end\n//\n"
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DISABLE DO SET @a = '-- x' -- end /* of it\n//",
    ),
}

MERGED = (
    "CREATE TABLE t1 (id INT NOT NULL, a INT, KEY (id)) ENGINE=MyISAM; CREATE TABLE `t``(2` LIKE t1;"
    "CREATE TABLE m (id INT NOT NULL, a INT, KEY (id)) ENGINE=MERGE UNION=(t1, `t``(2`) INSERT_METHOD=LAST;"
    "CREATE TABLE a (b TEXT) ENGINE=MERGE; INSERT INTO t1 VALUES (1, 2); INSERT INTO m VALUES (3, 4);"
    "CREATE VIEW v AS SELECT a FROM m"
)


@over(EVERYWHERE)
def test_tables_of_merged_rows_are_made_behind_those_that_they_name(way: Way) -> None:
    way.server.run(MERGED, SOURCE)
    captured, dump = way.dump(SOURCE)
    way.load(dump)
    assert way.fetch("SELECT id, a FROM m ORDER BY id") == [(1, 2), (3, 4)]
    way.server.run("INSERT INTO m VALUES (5, 6)", COPY)
    assert way.fetch("SELECT * FROM `t``(2`") == [(3, 4), (5, 6)]
    way.server.run("DELETE FROM m WHERE id = 5", COPY)
    assert comparison.differences(captured, way.dump(COPY)[0]) == []


# MySQL reads no virtual column of that kind for its client.
UNSIGNED = (
    "CREATE TABLE {0} (id INT PRIMARY KEY, a BIGINT UNSIGNED, c {1} AS (a - 3) {2}); INSERT INTO {0} (id, a) VALUES "
)
SUBTRACTED = {
    "MySQL": ("STORED", "STORED, KEY (c)"),
    "MySQL by mariadb-dump": ("STORED",),
    "MariaDB 10.11": ("VIRTUAL", "STORED", "VIRTUAL, KEY (c)", "VIRTUAL, CHECK (c < 5)"),
    "MariaDB 11.8": ("VIRTUAL", "STORED", "VIRTUAL, KEY (c)", "VIRTUAL, CHECK (c < 5)"),
}


@pytest.mark.parametrize(
    ("way", "kinds"),
    [pytest.param(way, kinds, marks=again(way, EVERYWHERE)) for way, kinds in SUBTRACTED.items()],
    indirect=["way"],
    ids=list(SUBTRACTED),
)
def test_columns_that_are_computed_below_zero_come_back(way: Way, kinds: tuple[str, ...]) -> None:
    made = [UNSIGNED.format(f"t{number}", "BIGINT", kind) + "(1, 1), (2, 5)" for number, kind in enumerate(kinds)]
    huge = UNSIGNED.format("huge", "BIGINT UNSIGNED", "VIRTUAL") + "(1, 18446744073709551615)"
    way.server.run(f"SET sql_mode = 'NO_UNSIGNED_SUBTRACTION'; {'; '.join(made)}; SET sql_mode = ''; {huge}", SOURCE)
    way.server.run("FLUSH TABLES")
    captured, dump = way.dump(SOURCE)
    loaded = way.load(dump)
    assert not loaded.warnings
    assert comparison.differences(captured, way.dump(COPY)[0]) == []
    for number in range(len(kinds)):
        assert way.fetch(f"SELECT c FROM t{number} ORDER BY id") == [(-2,), (2,)]
    assert way.fetch("SELECT c FROM huge") == [(18446744073709551612,)]


@over(MARIADB)
def test_rows_that_came_in_unchecked_come_back(way: Way) -> None:
    rows = "SET check_constraint_checks = 0; INSERT INTO t VALUES (1, 7), (2, -7)"
    way.server.run(f"CREATE TABLE t (id INT PRIMARY KEY, a INT CHECK (a > 0)); {rows}", SOURCE)
    captured, dump = way.dump(SOURCE)
    assert not way.load(dump).warnings
    assert comparison.differences(captured, way.dump(COPY)[0]) == []


@over(MYSQL_ITSELF + MARIADB)
def test_owners_whose_names_hold_an_at_sign_get_their_code(way: Way) -> None:
    owners = ("`we@ird`@localhost", "`a``@'b`@`%`")
    for number, owner in enumerate(owners):
        event = f"EVENT e{number} ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DISABLE DO SELECT 1"
        made = "; ".join(f"CREATE DEFINER={owner} {what}" for what in (event, f"PROCEDURE p{number}() SELECT 1"))
        way.server.run(f"DROP USER IF EXISTS {owner}; CREATE USER {owner}; {made}", SOURCE)
    _, dump = way.dump(SOURCE)
    assert not way.load(dump).warnings
    found = way.fetch(
        "SELECT definer FROM information_schema.events WHERE event_schema = DATABASE()"
        " UNION ALL SELECT definer FROM information_schema.routines WHERE routine_schema = DATABASE()"
    )
    assert sorted(definer for (definer,) in found) == 2 * ["a`@'b@%"] + 2 * ["we@ird@localhost"]
    way.server.run(f"DROP USER {', '.join(owners)}")


EVENT = b"CREATE EVENT `%b` ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00' COMMENT '%b' DO SET @a = '%b'"
OF_OLD_CLIENTS = (
    (b"gbk", b"CREATE VIEW a AS SELECT id AS `\xb0\xfc` FROM t"),  # a letter before a backtick
    (b"gbk", b"CREATE VIEW b AS SELECT id AS `\xd5\\` FROM t"),  # one that ends like a backslash
    (b"gbk", b"CREATE VIEW z AS SELECT '\xd5\\' AS b"),  # which MySQL itself cannot read again
    (b"gbk", b"CREATE VIEW c AS SELECT id AS `\x81\x60` FROM t"),  # one that ends like a backtick
    (b"gbk", b"CREATE PROCEDURE d() SELECT id AS \x81\x60, '\xd5\\' FROM t"),
    (b"cp932", b"CREATE PROCEDURE e() SELECT id AS `\x95\x5c`, '\x83\x5c' FROM t"),
    (b"latin1", b"CREATE PROCEDURE `p\xe9`() SELECT '\xe9' FROM t"),
    (b"latin1", b"CREATE FUNCTION `f\xe9`() RETURNS INT DETERMINISTIC RETURN LENGTH('\xe9')"),
    (b"latin1", b"CREATE TRIGGER `r\xe9` BEFORE INSERT ON t FOR EACH ROW SET @a = '\xe9'"),
    (b"latin1", b"CREATE VIEW `v\xe9` AS SELECT '\xe9' AS `\xe9`"),
    (b"latin1", EVENT % (b"\xe9", b"it''s \xe9", b"\xe9")),
    # Typed as UTF-8 by a client that had not said so:
    (b"latin1", b"CREATE PROCEDURE `P\xc3\xa9`() COMMENT '\xc3\xa9' SELECT '\xc3\xa9'"),
    (b"latin1", b"CREATE FUNCTION `F\xc3\xa9`() RETURNS INT DETERMINISTIC RETURN LENGTH('\xc3\xa9')"),
    (b"latin1", b"CREATE TRIGGER `R\xc3\xa9` BEFORE INSERT ON t FOR EACH ROW SET @a = '\xc3\xa9'"),
    (b"latin1", EVENT % (b"E\xc3\xa9", b"\xc3\xa9", b"\xc3\xa9")),
    (b"utf8mb4", b"SET sql_mode = 'NO_BACKSLASH_ESCAPES'"),
    (b"utf8mb4", EVENT % (b"n", b"a\\b '' \n \\n", b"c\\d")),
)


@over(EVERYWHERE)
def test_code_of_clients_that_write_otherwise_comes_back_as_it_was(way: Way) -> None:
    way.server.run(T, SOURCE)
    with contextlib.closing(way.server.connect(database=SOURCE)) as connection, connection.cursor() as cursor:
        for character_set, sql in OF_OLD_CLIENTS:
            cursor.execute(b"SET NAMES " + character_set)
            cursor.execute(sql)
    captured, dump = way.dump(SOURCE)
    assert not [limit for limit in captured.limits if "refuse" in limit.kind]
    assert ("z" in [limit.name for limit in captured.limits]) == isinstance(way.server, MySQL)
    way.load(dump)
    assert comparison.differences(captured, way.dump(COPY)[0]) == []
    for what in ("routine", "trigger", "event"):
        facts = f"SELECT {what}_name, {'event_comment' if what == 'event' else 1} FROM information_schema.{what}s"
        here, there = (way.fetch(f"{facts} WHERE {what}_schema = DATABASE() ORDER BY 1", s) for s in (COPY, SOURCE))
        assert here == there


@over(EVERYWHERE)
def test_code_of_bytes_that_are_no_text_comes_back_as_it_was(way: Way) -> None:
    way.server.run(T, SOURCE)
    with contextlib.closing(way.server.connect(database=SOURCE)) as connection, connection.cursor() as cursor:
        cursor.execute(b"SET NAMES binary")
        event = b"EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO"
        for head in (b"PROCEDURE p()", b"TRIGGER r BEFORE INSERT ON t FOR EACH ROW", event):
            cursor.execute(b"CREATE " + head + b" SET @a = '\xff\\\\'")
    captured, dump = way.dump(SOURCE)
    assert not [limit for limit in captured.limits if "refuse" in limit.kind]
    way.load(dump)
    assert comparison.differences(captured, way.dump(COPY)[0]) == []


@over(MARIADB)
def test_a_backup_draws_no_numbers_from_a_sequence(way: Way) -> None:
    way.server.run("CREATE SEQUENCE s NOCACHE; CREATE VIEW v AS SELECT NEXTVAL(s) AS n", SOURCE)
    captured, dump = way.dump(SOURCE)
    assert way.fetch("SELECT next_not_cached_value FROM s", SOURCE) == [(1,)]
    way.load(dump)
    assert comparison.differences(captured, way.dump(COPY)[0]) == []


def test_a_table_of_merged_rows_has_none_by_itself(mariadb: MariaDB) -> None:
    with pytest.raises(RestoreError, match=r"'m' is a MERGE table.*Restore the tables whose rows it shows: t1, t`\(2"):
        mariadb.run(f"DROP DATABASE IF EXISTS {SOURCE}; {CREATED.format(SOURCE)}")
        mariadb.run(MERGED, SOURCE)
        _, dump = Way(mariadb, Engine(mariadb.server, mariadb.connect, clock.now)).dump(SOURCE)
        mysql_load.load(mariadb.connect, mariadb.server, SOURCE, [dump], Load(SOURCE, table="m"))
    mariadb.run(f"DROP DATABASE {SOURCE}")


@pytest.mark.parametrize(
    ("way", "sql"),
    [
        pytest.param(way, sql, id=f"{kind}, {way}", marks=again(way, ways))
        for kind, (ways, sql) in KINDS.items()
        for way in ways
    ],
    indirect=["way"],
)
def test_it_is_restored_as_it_was(way: Way, sql: str) -> None:
    way.server.run(sql, SOURCE)
    captured, dump = way.dump(SOURCE)
    loaded = way.load(dump)
    assert not loaded.warnings
    restored, _ = way.dump(COPY)
    assert [str(difference) for difference in comparison.differences(captured, restored)] == []
    rows = 0
    for name, kind in way.fetch("SHOW FULL TABLES"):
        # What it says and what it holds, without the help of a digest.
        assert way.fetch(f"SELECT * FROM {backquoted(name)}") == way.fetch(f"SELECT * FROM {backquoted(name)}", SOURCE)
        if kind == "BASE TABLE":
            rows += way.fetch(f"SELECT COUNT(*) FROM {backquoted(name)}")[0][0]
            (here,), (there,) = (way.fetch(f"SHOW CREATE TABLE {name}", schema) for schema in (COPY, SOURCE))
            assert here[1].replace("CHARACTER SET utf8mb4 ", "") == there[1].replace("CHARACTER SET utf8mb4 ", "")
    assert loaded.rows == rows


DEFINED = (
    "CREATE USER IF NOT EXISTS appuser@'%' IDENTIFIED BY 'x'; GRANT SELECT ON kinds.* TO appuser@'%';"
    f"{T} CREATE TABLE u LIKE t;"
    "CREATE DEFINER=gone@'%' VIEW a AS SELECT id, 'kinds.t.id' AS s FROM t;"
    "CREATE DEFINER=appuser@'%' VIEW v AS SELECT id, a FROM t;"
    "CREATE DEFINER=appuser@'%' VIEW w AS SELECT t.id, v.a FROM t JOIN v ON v.id = t.id WHERE t.a > 0;"
    "CREATE DEFINER=gone@'%' VIEW x AS SELECT kinds.id FROM t AS kinds WHERE kinds.id NOT IN (SELECT id FROM u);"
    "CREATE DEFINER=gone@'%' VIEW y AS SELECT id FROM t WHERE EXISTS (SELECT ')' FROM u WHERE u.id = t.id);"
    "CREATE DEFINER=gone@'%' VIEW z AS SELECT id FROM t WHERE NOT EXISTS (SELECT ')' FROM u WHERE u.id = t.id);"
    "REVOKE SELECT ON kinds.* FROM appuser@'%'"
)


@over(EVERYWHERE)
def test_views_whose_definers_have_gone_or_lost_their_rights(way: Way) -> None:
    way.server.run(DEFINED, SOURCE)
    _, dump = way.dump(SOURCE)
    loaded = way.load(dump)
    assert [warning for warning in loaded.warnings if "definer" in warning] == [
        "definer gone@% was dropped: the server has no such account; its code has rights on this database only"
    ]
    assert not [warning for warning in loaded.warnings if "names schema" in warning]
    assert way.fetch("SELECT * FROM a") == [(1, "kinds.t.id")]
    assert way.fetch("SELECT * FROM x") == way.fetch("SELECT * FROM z") == [(1,)]
    assert way.fetch("SELECT * FROM y") == []
    way.server.run(f"GRANT SELECT ON {backquoted(COPY)}.* TO appuser@'%'")
    assert way.fetch("SELECT * FROM w") == [(1, 1)]
    definers = "SELECT table_name, definer FROM information_schema.views WHERE table_schema = DATABASE()"
    (left,) = {definer for _, definer in way.fetch(definers)} - {"appuser@%"}
    assert dict(way.fetch(definers)) == {**dict.fromkeys("vw", "appuser@%"), **dict.fromkeys("axyz", left)}
    assert left.startswith("lifeboat_load_")


ORPHANS = (
    "CREATE TABLE p (id INT PRIMARY KEY, UNIQUE KEY (id)); CREATE TABLE c (id INT PRIMARY KEY, p INT, q INT,"
    " CONSTRAINT one FOREIGN KEY (p) REFERENCES p (id), CONSTRAINT two FOREIGN KEY (q) REFERENCES c (id));"
    "SET foreign_key_checks = 0; INSERT INTO c VALUES (1, 99, 1), (2, 98, 55), (3, NULL, 1)"
)


@over(EVERYWHERE)
def test_rows_without_parents_are_restored_and_named(way: Way) -> None:
    way.server.run(ORPHANS, SOURCE)
    captured, dump = way.dump(SOURCE)
    loaded = way.load(dump)
    assert loaded.orphans == (
        "foreign key 'one' of table 'c' names: 2 rows",
        "foreign key 'two' of table 'c' names: 1 row",
    )
    assert loaded.warnings == tuple(f"rows lack the parents that {orphans}" for orphans in loaded.orphans)
    assert comparison.differences(captured, way.dump(COPY)[0]) == []
    target = Target(SOURCE, "a key", captured, exists=True, in_place=True)
    with way.engine.target(target) as place:
        again = way.engine.load(place.name, [dump], Load(SOURCE))
    assert again.orphans == loaded.orphans
    assert comparison.differences(captured, way.dump(SOURCE)[0]) == []


@over(EVERYWHERE)
def test_a_view_over_an_excluded_table_is_left_out_and_told(way: Way) -> None:
    way.server.run(f"{T} CREATE TABLE cache (id INT); CREATE VIEW v AS SELECT t.a FROM t JOIN cache USING (id);"
                   "CREATE VIEW a AS SELECT * FROM v; CREATE VIEW w AS SELECT * FROM t", SOURCE)  # fmt: skip
    # Lifeboat's dumps leave such views out themselves; others do not.
    whole, dump = way.dump(SOURCE)
    tables = tuple(table for table in whole.tables if table.name != "cache")
    captured = replace(whole, tables=tables, excluded_tables=("cache",))
    without = re.sub(rb"CREATE TABLE `cache` .*?;\n", b"", dump, flags=re.DOTALL)
    loaded = way.load(without)
    assert sorted(loaded.left_out) == [("view", "a"), ("view", "v")]
    told = [
        warning for warning in loaded.warnings if "was left out: it reads something that is not in the dump" in warning
    ]
    assert sorted(warning.partition(" was")[0] for warning in told) == ["view 'a'", "view 'v'"]
    restored, _ = way.dump(COPY)
    assert comparison.differences(captured, restored, left_out=loaded.left_out) == []
    assert [each.name for each in comparison.differences(captured, restored)] == ["a", "v"]


LEFT_OUT = {
    "a trigger that does not fit its table": (
        "CREATE TABLE t (a INT, b INT); CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1;"
        "CREATE TRIGGER z BEFORE INSERT ON t FOR EACH ROW SET NEW.b = 1; ALTER TABLE t DROP a",
        ("trigger", "r"),
        "trigger 'r' was left out: it names a column that table 't' does not have (error 1054)",
    ),
    "an event whose time has passed": (
        "CREATE EVENT e ON SCHEDULE AT NOW() + INTERVAL 1 SECOND DISABLE DO SELECT 1;"
        "CREATE EVENT f ON SCHEDULE AT NOW() + INTERVAL 1 DAY DISABLE DO SELECT 1; SELECT SLEEP(2)",
        ("event", "e"),
        "event 'e' was left out: its time has passed",
    ),
}


@over(EVERYWHERE)
@pytest.mark.parametrize(("sql", "name", "warning"), LEFT_OUT.values(), ids=list(LEFT_OUT))
def test_what_no_server_can_have_is_left_out_and_told(way: Way, sql: str, name: tuple[str, str], warning: str) -> None:
    way.server.run(sql, SOURCE)
    captured, dump = way.dump(SOURCE)
    assert [limit.name for limit in captured.limits if limit.name == name[1]]
    loaded = way.load(dump)
    assert loaded.left_out == (name,)
    assert warning in loaded.warnings
    restored, _ = way.dump(COPY)
    assert comparison.differences(captured, restored, left_out=loaded.left_out) == []
    assert [(each.kind, each.name) for each in comparison.differences(captured, restored)] == [name]


LIMITS = {
    "max_join_size": "1",
    "sql_select_limit": "1",
    "innodb_strict_mode": "ON",
    "lock_wait_timeout": "1",
    "net_read_timeout": "1",
    "completion_type": "'RELEASE'",
    "max_error_count": "0",
    "sql_mode": "'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE'",
}
OF_MYSQL = {
    "max_execution_time": "1",
    "sql_require_primary_key": "ON",
    "sql_generate_invisible_primary_key": "ON",
    "restrict_fk_on_non_standard_key": "ON",
}
OF_MARIADB = {"max_statement_time": "0.001", "idle_transaction_timeout": "1"}


@contextlib.contextmanager
def limited(way: Way) -> Iterator[None]:
    """Give a server's new sessions low limits."""
    limits = LIMITS | (OF_MYSQL if way.server.package == "mysql" else OF_MARIADB)
    with contextlib.closing(way.server.connect()) as connection, connection.cursor() as cursor:
        before = {}
        for name, value in limits.items():
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            ((before[name],),) = cursor.fetchall()
            cursor.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))


@over(MYSQL_ITSELF + MARIADB)
def test_the_limits_of_the_server_are_not_those_of_a_restore(way: Way) -> None:
    numbers = ", ".join(f"({number}, repeat('x', 400))" for number in range(4000))
    way.server.run("CREATE TABLE no_key (a INT, b VARCHAR(500));"
                   f"INSERT INTO no_key VALUES {numbers};"
                   "CREATE TABLE t (id INT PRIMARY KEY, a INT, KEY (a)); INSERT INTO t SELECT a, a FROM no_key;"
                   "CREATE TABLE u (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES t (id));"
                   "INSERT INTO u SELECT * FROM t", SOURCE)  # fmt: skip
    captured, dump = way.dump(SOURCE)
    way.server.run(f"DROP DATABASE IF EXISTS {backquoted(COPY)}; {CREATED.format(backquoted(COPY))}")
    with limited(way), way.engine.target(Target(COPY, "a key", exists=True)) as place:
        loaded = way.engine.load(place.name, [dump], Load(SOURCE))
    assert (loaded.rows, loaded.orphans, loaded.warnings) == (captured.rows, (), ())
    assert comparison.differences(captured, way.dump(COPY)[0]) == []


@over(EVERYWHERE)
def test_values_that_the_server_changes_are_told(way: Way) -> None:
    dump = b"SET SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\nCREATE TABLE `t` (`id` tinyint, `d` date) ENGINE=InnoDB;\n"
    loaded = way.load(dump + b"INSERT INTO `t` VALUES (1,NULL),(300,NULL);\n")
    assert loaded.warnings == ("table 't': the server changed values while storing them (warning 1264)",)


@over(EVERYWHERE)
def test_a_mode_that_mysql_knows_no_more_stays_behind(way: Way) -> None:
    mode = "STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION"
    dump = f"SET sql_mode = '{mode}';\nDELIMITER ;;\nCREATE PROCEDURE `p`() SELECT 1 ;;\nDELIMITER ;\n".encode()
    way.load(dump)
    ((recorded,),) = way.fetch("SELECT sql_mode FROM information_schema.routines WHERE routine_schema = DATABASE()")
    assert recorded == (mode if way.server.package != "mysql" else mode.replace("NO_AUTO_CREATE_USER,", ""))


FROM_MYSQL = {
    "a library": (LIBRARY, "library 'lib' needs a library"),
    "JavaScript": (
        "CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC LANGUAGE JAVASCRIPT AS $$ return n $$",
        "function 'f' needs JavaScript",
    ),
    "a duality view": (
        f"{T} CREATE JSON RELATIONAL DUALITY VIEW v AS SELECT JSON_DUALITY_OBJECT('_id': id, 'a': a) FROM t",
        "view 'v' needs JSON duality",
    ),
    "a key of an expression": (
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9), KEY f (id, (lower(a))))",
        "table 't' needs a key of an expression",
    ),
    "a check that is off": (
        "CREATE TABLE t (a INT, CHECK (a > 0) NOT ENFORCED); INSERT INTO t VALUES (0)",
        "table 't' needs a CHECK that is not enforced",
    ),
}


@over(MYSQL_ITSELF)
@pytest.mark.parametrize(("sql", "said"), FROM_MYSQL.values(), ids=list(FROM_MYSQL))
def test_what_mariadb_cannot_have_is_refused_before_anything_is_made(
    way: Way, mariadb_118: MariaDB118, sql: str, said: str
) -> None:
    way.server.run(f"CREATE TABLE first (a INT); {sql}", SOURCE)
    _, dump = way.dump(SOURCE)
    to = Way(mariadb_118, Engine(mariadb_118.server, mariadb_118.connect, clock.now))
    with pytest.raises(
        RestoreError, match=f"The dump's {said}, which MariaDB does not have.*Restore to a MySQL server"
    ):
        to.load(dump)
    assert to.fetch("SHOW TABLES") == [("_lifeboat_restore_unfinished",)]
    to.server.run(f"DROP DATABASE {backquoted(COPY)}")


@over(MYSQL_ITSELF)
def test_what_mariadb_can_have_goes_there(way: Way, mariadb_118: MariaDB118) -> None:
    way.server.run("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, j JSON,"
                   "g INT AS (id) STORED, b VARCHAR(36) DEFAULT (uuid()),"
        "c VARCHAR(9) CHARACTER SET latin1, KEY (a), FULLTEXT KEY (b));"
        "CREATE TABLE u (g INT AS (1) VIRTUAL); INSERT INTO u () VALUES (), ();"
                   "INSERT INTO t (id, a, j, b, c) VALUES (1, 'é', '{}', 'x', 'y'); CREATE VIEW v AS SELECT a FROM t;"
                   "CREATE PROCEDURE p() SELECT 1; CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
                   SOURCE)  # fmt: skip
    _, dump = way.dump(SOURCE)
    to = Way(mariadb_118, Engine(mariadb_118.server, mariadb_118.connect, clock.now))
    loaded = to.load(dump)
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].endswith("definitions may come out differently")
    assert to.fetch("SELECT * FROM t") == way.fetch("SELECT * FROM t", SOURCE)
    assert to.fetch("SELECT * FROM u") == [(1,), (1,)]
    assert to.fetch("SELECT collation_name FROM information_schema.columns WHERE table_schema = DATABASE()"
                    " AND table_name = 't' AND column_name = 'c'") == [("latin1_swedish_ci",)]  # fmt: skip
    to.server.run(f"DROP DATABASE {backquoted(COPY)}")


LONG = ",".join(f"`c{number}` char(200)" for number in range(60))
TRIGGER = "DELIMITER ;;\nCREATE TRIGGER `r` BEFORE INSERT ON `t` FOR EACH ROW SET @a = 1 ;;\nDELIMITER ;"
REFUSED_BY_MYSQL = {
    "a table without a key": (
        "sql_require_primary_key = ON",
        "CREATE TABLE `t` (`a` int);",
        3750,
        "sql_require_primary_key = OFF",
    ),
    "a row too long": (
        "innodb_strict_mode = ON",
        f"CREATE TABLE `t` ({LONG}) CHARSET=latin1 ROW_FORMAT=COMPACT;",
        1118,
        "innodb_strict_mode = OFF",
    ),
    "a trigger": (
        "log_bin_trust_function_creators = OFF",
        f"CREATE TABLE `t` (`a` int);\n{TRIGGER}",
        1419,
        "log_bin_trust_function_creators = 1",
    ),
    "a row that breaks a check": (
        "log_bin_trust_function_creators = OFF",
        "CREATE TABLE `t` (`a` int, CHECK (`a` > 0));\nINSERT INTO `t` VALUES (0);",
        3819,
        "breaks a CHECK",
    ),
}


@over(MYSQL_ITSELF)
@pytest.mark.parametrize(("setting", "sql", "number", "hint"), REFUSED_BY_MYSQL.values(), ids=list(REFUSED_BY_MYSQL))
def test_what_a_user_of_one_schema_is_refused_comes_with_what_to_do(
    way: Way, setting: str, sql: str, number: int, hint: str
) -> None:
    name = setting.partition(" ")[0]
    before = way.fetch(f"SELECT @@GLOBAL.{name}", SOURCE)[0][0]
    way.server.run("DROP USER IF EXISTS restorer@localhost; CREATE USER restorer@localhost IDENTIFIED BY 'pw';"
                   f"GRANT ALL ON {backquoted(COPY)}.* TO restorer@localhost;"
                   f"CREATE DATABASE {backquoted(COPY)}; SET GLOBAL {setting}")  # fmt: skip
    restorer = replace(way.server.server, user="restorer", password="pw")
    engine = Engine(
        restorer, lambda **login: way.server.connect(**{"user": "restorer", "password": "pw"} | login), clock.now
    )
    target = engine.target(Target(COPY, "a key", exists=True))
    try:
        with pytest.raises(RestoreError, match=rf"error {number}\b.*Hint: .*{hint}"), target as place:
            engine.load(place.name, [sql.encode() + b"\n"], Load(SOURCE))
    finally:
        way.server.run(f"SET GLOBAL {name} = {before}")
