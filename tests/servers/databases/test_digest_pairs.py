"""Digests on real servers: the same whatever client printed a database, and after it was loaded and dumped again."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator

import pytest
from lifeboat.databases import Server
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import events as mysql_events
from lifeboat.databases.mysql.definitions import with_collations_only
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.sql.reader import Statement
from lifeboat.support.processes import secret_file

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL, _MySQLFamily

SCHEMAS = ("digest_one", "digest_two")


@pytest.fixture(scope="module")
def servers(mariadb: MariaDB, mariadb_118: MariaDB118, mysql: MySQL) -> Iterator[dict[str, _MySQLFamily]]:
    found: dict[str, _MySQLFamily] = {"MariaDB 10.11": mariadb, "MariaDB 11.8": mariadb_118, "MySQL": mysql}
    mysql.run("SET GLOBAL log_bin_trust_function_creators = 1")
    yield found
    for server in found.values():
        for schema in SCHEMAS:
            server.run(f"DROP DATABASE IF EXISTS {schema}")


def dump(server: _MySQLFamily, client: str, database: str, *options: str) -> bytes:
    """Dump a database as Lifeboat does, by a client that need not be the server's."""
    found = mysql.installed([client])
    assert found
    login = Server("", 0, server.user, server.password, str(server.socket), {"ssl-mode": "DISABLED"})
    with secret_file(mysql.option_file_text(login, found)) as (descriptor, path):
        *command, end, name = mysql.dump_command(found, path, database)
        command = [*command, *options, end, name]
        return subprocess.run(command, pass_fds=[descriptor], check=True, capture_output=True).stdout


def client_of(server: _MySQLFamily) -> str:
    """Return the path of a server's own dump client."""
    name = "mysqldump" if isinstance(server, MySQL) else "mariadb-dump"
    return str(server.path / name) if server.path else name


def held(text: bytes, schema: str = "") -> DumpDigest:
    parser = DumpParser(schema=schema)
    parser.feed(text)
    digest = parser.finish()
    assert digest.complete
    return digest


def create(server: _MySQLFamily, database: str, options: str = "") -> None:
    server.run(f"DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} {options}")


def reloaded(server: _MySQLFamily, text: bytes, options: str = "") -> bytes:
    """Load a dump by the stock client into another database and return a dump of that."""
    create(server, SCHEMAS[1], options)
    server.run(text, SCHEMAS[1])
    return dump(server, client_of(server), SCHEMAS[1])


COLUMNS = """
CREATE TABLE plain (id INT PRIMARY KEY, a VARCHAR(10), e ENUM('x', 'CHARACTER SET y') NOT NULL, t TEXT, j JSON,
  g VARCHAR(30) AS (CONCAT(a, ' CHARACTER SET x COLLATE y')), d VARCHAR(60) DEFAULT ' COLLATE utf8mb4_bin',
  `c CHARACTER SET x` CHAR(3) COMMENT ' COLLATE utf8mb4_bin', CHECK (a <> ' COLLATE x'), n CHAR(3) CHARACTER SET binary)
  COMMENT ' DEFAULT CHARSET=latin1 COLLATE=latin1_bin';
CREATE TABLE named (id INT PRIMARY KEY, a VARCHAR(10) CHARACTER SET latin1, b VARCHAR(10) CHARACTER SET utf8mb4,
  c VARCHAR(10) CHARACTER SET utf8mb3, d VARCHAR(10) COLLATE utf8mb4_bin, e VARCHAR(9) CHARACTER SET cp1251,
  f VARCHAR(10) CHARACTER SET latin1 COLLATE latin1_german1_ci, g VARCHAR(10) COLLATE utf8mb4_bin AS (a));
CREATE TABLE old (a VARCHAR(9), b VARCHAR(9) CHARACTER SET utf8mb4, c VARCHAR(9)) DEFAULT CHARSET latin1;
CREATE TABLE altered (a VARCHAR(9)); ALTER TABLE altered DEFAULT CHARSET latin1; ALTER TABLE altered ADD b VARCHAR(9);
SET NAMES latin1; CREATE TABLE copied AS SELECT CONCAT('a') AS a;
CREATE TABLE copied_to_latin1 DEFAULT CHARSET latin1 AS SELECT CONVERT('x' USING utf8mb4) a, CAST('x' AS CHAR(3)) b;
CREATE TABLE like_copied LIKE copied;
"""
COLLATIONS = ["utf8mb4_unicode_ci", "utf8mb4_general_ci", "utf8mb4_bin", "utf8mb3_unicode_ci", "latin1_german1_ci"]
DEFAULTS = {"MySQL": "utf8mb4_0900_ai_ci", "MariaDB 11.8": "utf8mb4_uca1400_ai_ci"}
PLACES = [
    *((name, collation) for name in ("MySQL", "MariaDB 10.11", "MariaDB 11.8") for collation in COLLATIONS),
    *DEFAULTS.items(),
]


@pytest.mark.parametrize(("name", "collation"), PLACES)
@pytest.mark.parametrize("target", ["", "COLLATE utf8mb4_bin"])
def test_a_reload_does_not_change_how_collations_count(
    servers: dict[str, _MySQLFamily], name: str, collation: str, target: str
) -> None:
    server = servers[name]
    create(server, SCHEMAS[0], f"COLLATE {collation}")
    server.run(COLUMNS, SCHEMAS[0])
    text = dump(server, client_of(server), SCHEMAS[0])
    again = reloaded(server, text, target or f"COLLATE {collation}")
    assert held(again).tables == held(text).tables


@pytest.mark.parametrize("name", ["MySQL", "MariaDB 10.11"])
def test_a_character_set_alone_means_its_default_collation(servers: dict[str, _MySQLFamily], name: str) -> None:
    defaults = "SELECT character_set_name, default_collate_name FROM information_schema.character_sets"
    for line in servers[name].run(defaults).splitlines():
        charset, collation = line.split("\t")
        if charset in ("utf8mb4", "binary"):
            continue  # MySQL never prints utf8mb4 alone, and nobody prints binary
        column = b"CREATE TABLE `t` (\n  `a` char(1) CHARACTER SET %b%b\n) ENGINE=InnoDB;\n"
        one, other = (
            with_collations_only(Statement("table", "t", column % (charset.encode(), named))).sql
            for named in (b"", b" COLLATE " + collation.encode())
        )
        assert one == other


EVERYTHING = r"""
CREATE TABLE rows_of_all (id INT PRIMARY KEY, z BIT(9), y BINARY(3), x GEOMETRY, d DOUBLE, b BLOB, t TEXT,
  h INT INVISIBLE, e ENUM('a)','b,('), i TIME(3), j JSON, KEY (d));
INSERT INTO rows_of_all (id, z, y, x, d, b, t, h, e, i, j) VALUES
  (1, b'101', 'a', ST_GeomFromText('POINT(1 2)'), 1e100, '', '),(\\''\n\r\t\0"', 7, 'a)',
   '-11:22:33.123', '{"a": "\\n"}'),
  (2, NULL, NULL, NULL, 0.1, x'00275c0a', 'Zoë 🦊', NULL, NULL, NULL, NULL);
CREATE TABLE computed (id INT, a VARCHAR(9), g VARCHAR(20) AS (CONCAT(a, ',(')) STORED, b INT,
  v INT AS (id * 2) VIRTUAL);
INSERT INTO computed (id, a, b) VALUES (1, '),(', 2), (2, '\\', 3), (2, '\\', 3), (3, '''', NULL);
CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, a INT COMMENT ' AUTO_INCREMENT=7 /*!50100 x */',
  CHECK (a > 0));
INSERT INTO counted (a) VALUES (5), (6);
CREATE TABLE parted (id INT PRIMARY KEY, a INT) PARTITION BY HASH (id) PARTITIONS 2;
CREATE VIEW plain AS SELECT id, 'a; /* */ */' AS s FROM computed;
CREATE SQL SECURITY INVOKER VIEW checked AS SELECT * FROM computed WHERE id > 0 WITH CHECK OPTION;
CREATE ALGORITHM=MERGE VIEW merged AS SELECT 1 AS `x  y`;
DELIMITER ;;
CREATE FUNCTION plus(a VARCHAR(9)) RETURNS VARCHAR(9) CHARSET latin1 DETERMINISTIC RETURN a   ;;
CREATE TRIGGER one BEFORE INSERT ON computed FOR EACH ROW BEGIN SET @a = 'x */ y';  SET @b = 1; END;;
CREATE TRIGGER `t  w */ o` BEFORE INSERT ON computed FOR EACH ROW FOLLOWS one SET @a = 2  ;;
CREATE PROCEDURE tidy(IN a INT) SQL SECURITY INVOKER COMMENT 'c' BEGIN
  SELECT 1; SELECT 'a  b';
END;;
CREATE EVENT daily ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' COMMENT 'x' DO BEGIN SELECT 1; END;;
CREATE EVENT once ON SCHEDULE AT '2036-01-01' ON COMPLETION PRESERVE DISABLE DO SET @a = 1 ;;
DELIMITER ;
"""
# The servers' clients leave remarks out when they load, and MySQL's stumbles over them; drivers do not.
REMARKED = (
    "CREATE EVENT noted ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT 1 -- it's `",
    "CREATE EVENT hashed ON SCHEDULE /* at */ EVERY 1 DAY -- when\nSTARTS '2036-01-01' DO SELECT 1 # it's",
    "CREATE TRIGGER remarked BEFORE UPDATE ON computed FOR EACH ROW SET @a = 1 -- it's",
    "CREATE PROCEDURE remarked() # it's\nCOMMENT 'c' SELECT 1 /* one */",
    "CREATE FUNCTION remarked() RETURNS INT DETERMINISTIC RETURN 1 #",
    "CREATE VIEW remarked AS SELECT 1 AS n -- it's",
)
OF_MYSQL = """
CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(2)); INSERT INTO vectors VALUES (1, TO_VECTOR('[1,2]'));
CREATE TABLE hidden (id INT PRIMARY KEY, a INT, CHECK (a > 0) NOT ENFORCED, KEY (a) INVISIBLE);
"""
OF_MARIADB = """
CREATE TABLE kept (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING;
INSERT INTO kept VALUES (1, 1), (2, 2); UPDATE kept SET a = 3 WHERE id = 1; DELETE FROM kept WHERE id = 2;
CREATE TABLE dated (id INT, g INT AS (id + 1) STORED, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START,
  e TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;
INSERT INTO dated (id) VALUES (1), (2); UPDATE dated SET id = 3 WHERE id = 1;
CREATE SEQUENCE numbers START WITH 7;
CREATE DEFINER = gone@nowhere VIEW orphan AS
  SELECT c.id, plus(c.a) AS a FROM computed c WHERE c.a <> '`digest_one`.`c`';
DELIMITER ;;
SET sql_mode = ORACLE;;
CREATE PACKAGE pk AS PROCEDURE x(); FUNCTION y RETURN INT; END;;
CREATE PACKAGE BODY pk AS PROCEDURE x() AS BEGIN NULL; END; FUNCTION y RETURN INT AS BEGIN RETURN 1; END; END;;
DELIMITER ;
"""
NEVER_RELOADED = """
CREATE TABLE zeros (id INT PRIMARY KEY, d DOUBLE); INSERT INTO zeros SELECT 1, ROUND(-0.3e0);
CREATE TABLE all_computed (g INT AS (1 + 1) VIRTUAL, h INT AS (2) STORED);
INSERT INTO all_computed () VALUES (), (), ();
"""


def everything(server: _MySQLFamily) -> None:
    create(server, SCHEMAS[0], "COLLATE utf8mb4_unicode_ci")
    server.run(EVERYTHING + (OF_MYSQL if isinstance(server, MySQL) else OF_MARIADB), SCHEMAS[0])


def make_remarked(server: _MySQLFamily) -> None:
    with contextlib.closing(server.connect(database=SCHEMAS[0])) as connection:
        for sql in REMARKED:
            connection.cursor().execute(sql)


@pytest.mark.parametrize(
    ("name", "another", "options"),
    [
        ("MySQL", "MariaDB 10.11", ()),
        ("MySQL", "MariaDB 11.8", ()),
        ("MariaDB 10.11", "MariaDB 11.8", ()),
        ("MariaDB 11.8", "MariaDB 10.11", ()),
        ("MariaDB 10.11", "MariaDB 11.8", ("--dump-history",)),
        ("MariaDB 11.8", "MariaDB 10.11", ("--dump-history",)),
    ],
)
def test_the_client_does_not_count(
    servers: dict[str, _MySQLFamily], name: str, another: str, options: tuple[str, ...]
) -> None:
    server = servers[name]
    everything(server)
    make_remarked(server)
    server.run(NEVER_RELOADED, SCHEMAS[0])
    if (name, another) == ("MySQL", "MariaDB 10.11"):
        server.run("DROP TABLE vectors", SCHEMAS[0])  # which that client writes as nothing that a server takes
    one = held(dump(server, client_of(server), SCHEMAS[0], *options), SCHEMAS[0])
    other = held(dump(server, client_of(servers[another]), SCHEMAS[0], *options), SCHEMAS[0])
    assert other.tables == one.tables
    assert sorted(other.objects, key=str) == sorted(one.objects, key=str)
    assert {entry.kind for entry in one.objects} >= {"view", "trigger", "procedure", "function", "event"}
    rows = {table.name: table.rows for table in one.tables}
    assert [rows[table] for table in ("rows_of_all", "computed", "counted", "zeros", "all_computed")] == [2, 4, 2, 1, 3]
    if name != "MySQL":
        assert (rows["kept"], rows["dated"]) == ((3, 3) if options else (1, 2))


@pytest.mark.parametrize("name", ["MySQL", "MariaDB 10.11"])
def test_who_writes_an_event_does_not_count(servers: dict[str, _MySQLFamily], name: str) -> None:
    server = servers[name]
    everything(server)
    make_remarked(server)
    one = held(dump(server, client_of(server), SCHEMAS[0]), SCHEMAS[0])
    events = sorted(entry.name for entry in one.objects if entry.kind == "event")
    with contextlib.closing(server.connect()) as connection:
        text = mysql_events.written(mysql.Session(connection), SCHEMAS[0], events)
    other = held(text + b"-- Dump completed\n", SCHEMAS[0])
    assert {entry for entry in one.objects if entry.kind == "event"} == set(other.objects)


@pytest.mark.parametrize("name", ["MySQL", "MariaDB 10.11", "MariaDB 11.8"])
def test_a_reload_does_not_count(servers: dict[str, _MySQLFamily], name: str) -> None:
    server = servers[name]
    options = () if name == "MySQL" else ("--dump-history",)
    everything(server)
    text = dump(server, client_of(server), SCHEMAS[0], *options)
    # As a load does; the stock client would make a view of the other schema's tables.
    reloaded(server, text.replace(b"`digest_one`.`computed`", b"`computed`").replace(b"`digest_one`.`plus`", b"`plus`"))
    again = dump(server, client_of(server), SCHEMAS[1], *options)
    one, other = held(text, SCHEMAS[0]), held(again, SCHEMAS[1])
    assert other.tables == one.tables
    assert other.objects == one.objects


BOTH = ("MySQL", "MariaDB 10.11")
PRINTED_OTHERWISE = {
    "unique keys, before a column was NOT NULL": (
        BOTH,
        "CREATE TABLE t (a INT, b INT, UNIQUE i1 (b), UNIQUE i2 (a), KEY k (b)); ALTER TABLE t ADD PRIMARY KEY (a)",
    ),
    "unique keys of MyISAM": (
        BOTH,
        "CREATE TABLE t (a INT, b INT COMMENT 'UNIQUE KEY `i1` (`b`),', UNIQUE i1 (b) COMMENT '`,(', UNIQUE i2 (a))"
        " ENGINE=MyISAM; ALTER TABLE t ADD PRIMARY KEY (a)",
    ),
    "columns that have no default since a query made them": (
        ("MariaDB 10.11",),
        "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, a VARCHAR(20) DEFAULT ' DEFAULT NULL', b INT);"
        "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 1);"
        "CREATE TABLE u AS SELECT b, COUNT(DISTINCT a) AS n, MAX(id) AS m FROM t GROUP BY b ORDER BY MAX(id)",
    ),
    "options that mean nothing to the server": (
        ("MariaDB 10.11",),
        "SET sql_mode = 'IGNORE_BAD_TABLE_OPTIONS'; CREATE TABLE t (f INT x='y' COMMENT ' /* x */', g INT, KEY (g)"
        " x='y') z='two words'; CREATE TABLE u (a INT) ENGINE=MyISAM TRANSACTIONAL=1",
    ),
}


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        pytest.param(name, sql, id=f"{kind}, {name}")
        for kind, (names, sql) in PRINTED_OTHERWISE.items()
        for name in names
    ],
)
def test_what_a_reload_prints_otherwise_does_not_count(servers: dict[str, _MySQLFamily], name: str, sql: str) -> None:
    server = servers[name]
    create(server, SCHEMAS[0])
    server.run(sql, SCHEMAS[0])
    text = dump(server, client_of(server), SCHEMAS[0])
    again = reloaded(server, text)
    assert definitions_in(again) != definitions_in(text)
    assert held(again).tables == held(text).tables


def definitions_in(text: bytes) -> list[bytes]:
    return re.findall(rb"^CREATE TABLE .*?;\n", text, re.MULTILINE | re.DOTALL)


NEW_IN_MYSQL_9 = """
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(100)); INSERT INTO customers VALUES (1, 'Alice');
CREATE JSON RELATIONAL DUALITY VIEW both_ways AS SELECT JSON_DUALITY_OBJECT('_id': id, 'name': name) FROM customers;
CREATE LIBRARY plus COMMENT 'c' LANGUAGE JAVASCRIPT AS $$
export function plus(n) { return n + %d; } // ;;
$$;
"""


def test_duality_views_and_libraries_count(servers: dict[str, _MySQLFamily]) -> None:
    server = servers["MySQL"]
    create(server, SCHEMAS[0])
    server.run(NEW_IN_MYSQL_9 % 1, SCHEMAS[0])
    one = held(dump(server, client_of(server), SCHEMAS[0]), SCHEMAS[0])
    assert [(entry.kind, entry.name) for entry in one.objects] == [("library", "plus"), ("view", "both_ways")]
    create(server, SCHEMAS[1])
    server.run(NEW_IN_MYSQL_9 % 2, SCHEMAS[1])
    other = held(dump(server, client_of(server), SCHEMAS[1]), SCHEMAS[1])
    assert [a == b for a, b in zip(one.objects, other.objects, strict=True)] == [False, True]
