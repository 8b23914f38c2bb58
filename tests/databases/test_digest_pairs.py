"""Digests on real servers: the same whatever client printed a database, and after it was loaded and dumped again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from lifeboat.databases import mysql
from lifeboat.databases.digest import DumpDigest, DumpParser
from lifeboat.databases.mysql_definitions import with_collations_only
from lifeboat.databases.mysql_statements import Statement
from lifeboat.processes import secret_file

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


def dump(server: _MySQLFamily, client: str, database: str) -> bytes:
    """Dump a database as Lifeboat does, by a client that need not be the server's."""
    found = mysql.installed([client])
    assert found
    with secret_file(mysql.option_file_text(server.server, found)) as (descriptor, path):
        command = mysql.dump_command(found, path, database, ())
        return subprocess.run(command, pass_fds=[descriptor], check=True, capture_output=True).stdout


def client_of(server: _MySQLFamily) -> str:
    """Return the path of a server's own dump client."""
    name = "mysqldump" if isinstance(server, MySQL) else "mariadb-dump"
    return str(server.path / name) if server.path else name


def held(text: bytes) -> DumpDigest:
    parser = DumpParser()
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
