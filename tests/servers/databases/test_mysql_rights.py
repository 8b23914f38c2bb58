"""Whatever a dump says, a drill reaches nothing but its scratch schema: the server does not let it."""

from __future__ import annotations

import pytest
from lifeboat.databases import Load
from lifeboat.databases.mysql import account
from lifeboat.databases.mysql.dump import Session
from lifeboat.errors import RestoreError

from tests.servers.databases.test_mysql_account import CAPTURED, Database, all_there_is, engine, fooled, server

__all__ = ["fooled", "server"]

ATTACKS = {
    "drop in a list": b"/*!50001 DROP TABLE IF EXISTS `x`, `victim`.`t`*/",
    "drop": b"DROP TABLE victim.t",
    "drop schema": b"DROP DATABASE victim",
    "new schema": b"CREATE DATABASE evil",
    "rename": b"RENAME TABLE victim.t TO t",
    "insert": b"INSERT INTO victim.t VALUES (2, 'x')",
    "copy": b"CREATE TABLE stolen AS SELECT * FROM victim.t",
    "row of a query": b"INSERT INTO mine VALUES ((SELECT secret FROM victim.t))",
    "row of passwords": b"INSERT INTO mine VALUES ((SELECT authentication_string FROM mysql.user LIMIT 1))",
    "merge": b"CREATE TABLE m (id INT NOT NULL, KEY (id)) ENGINE=MERGE UNION=(victim.t)",
    "foreign key": b"CREATE TABLE k (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES victim.t (id))",
    "view there": b"CREATE VIEW victim/**/.v AS SELECT 1",
    "view of it": b"CREATE VIEW v AS SELECT * FROM victim.t",
    "procedure there": b"CREATE PROCEDURE victim/**/.p() SELECT 1",
    "event there": b"CREATE EVENT victim.e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    "trigger there": b"CREATE TRIGGER victim.g BEFORE INSERT ON victim.t FOR EACH ROW SET @a = 1",
    "code of root's": b"CREATE DEFINER=`root`@`localhost` PROCEDURE p() DELETE FROM victim.t",
    "call": b"DO victim.f()",
    "file": b"SELECT 1 INTO OUTFILE 'lifeboat-attack'",
    "load": b"LOAD DATA INFILE '/etc/passwd' INTO TABLE mine",
    "user": b"CREATE USER evil IDENTIFIED BY 'Evil-aA0-evil'",
    "password": b"ALTER USER root@localhost IDENTIFIED BY 'Evil-aA0-evil'",
    "grant": b"GRANT ALL ON *.* TO root@localhost",
    "role": b"CREATE ROLE evil",
    "global": b"SET GLOBAL max_connections = 7",
    "scheduler": b"SET GLOBAL event_scheduler = OFF",
    "plugin": b"INSTALL PLUGIN evil SONAME 'evil.so'",
    "code of a library": b"CREATE FUNCTION evil RETURNS INTEGER SONAME 'evil.so'",
    "log": b"SET SESSION sql_log_bin = 0",
    "lock": b"FLUSH TABLES WITH READ LOCK",
    "shutdown": b"SHUTDOWN",
}
DENIED = r"error (1044|1045|1142|1143|1227|1290|1370|1410|1419|1698|3619)\b"


def drill(server: Database, dump: list[bytes]) -> None:
    """Load a dump in a drill on a server of production: an error of rights ends it."""
    drilling = engine(server)
    with (
        drilling.scratch("a key", CAPTURED, production=True) as place,
        pytest.raises(RestoreError, match=DENIED),
    ):
        drilling.load(place, dump, Load("x"))


@pytest.mark.usefixtures("fooled")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_no_statement_of_a_dump_reaches_beyond_its_schema(server: Database, attack: bytes) -> None:
    account._sweep(Session(server.connect()))  # what other tests left, every load removes
    before = all_there_is(server)
    drill(server, [b"CREATE TABLE mine (t TEXT)", attack])
    assert all_there_is(server) == before


CODE = {
    "trigger": [
        b"CREATE TABLE a (id INT)",
        b"CREATE TRIGGER g BEFORE INSERT ON a FOR EACH ROW DELETE FROM victim.t",
        b"INSERT INTO a VALUES (1)",
    ],
    "procedure": [b"CREATE PROCEDURE p() DELETE FROM victim.t", b"CALL p()"],
    "procedure of whoever calls": [b"CREATE PROCEDURE q() SQL SECURITY INVOKER DELETE FROM victim.t", b"CALL q()"],
    "prepared": [b"SET @s = 'DROP TABLE victim.t'", b"PREPARE s FROM @s", b"EXECUTE s"],
}


@pytest.mark.usefixtures("fooled")
@pytest.mark.parametrize("code", CODE.values(), ids=list(CODE))
def test_no_code_of_a_dump_reaches_beyond_its_schema(server: Database, code: list[bytes]) -> None:
    victim = "CHECKSUM TABLE victim.t"
    before = server.run(victim)
    trust = "SET GLOBAL log_bin_trust_function_creators = {}"
    server.run(trust.format("ON"))
    drill(server, code)
    server.run(trust.format("OFF"))
    assert server.run(victim) == before
