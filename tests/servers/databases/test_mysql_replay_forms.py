"""What MySQL alone can define and log, replayed under each way of logging it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from lifeboat.databases.mysql.replay import Stop

from tests.servers.databases.replaying import Server, different, replayed, take
from tests.servers.databases.test_mysql_replay import run_all, server, started  # noqa: F401  # fixtures

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.needs("mysql"),
    pytest.mark.parametrize("started", ["mysql"], indirect=True),
]

FORMS = {
    "keys that the server makes": """
SET SESSION sql_generate_invisible_primary_key = ON
CREATE TABLE keyless (a INT, b TEXT)
INSERT INTO keyless VALUES (1, 'x'), (2, 'y')
UPDATE keyless SET b = 'z' WHERE a = 2
SET SESSION show_gipk_in_create_table_and_information_schema = OFF
ALTER TABLE keyless ADD c INT
CREATE TABLE copied AS SELECT * FROM keyless
""",
    "foreign keys": """
SET SESSION restrict_fk_on_non_standard_key = OFF
CREATE TABLE parents (id INT PRIMARY KEY, n INT, KEY (n))
CREATE TABLE children (id INT PRIMARY KEY, n INT, FOREIGN KEY (n) REFERENCES parents (n))
INSERT INTO parents VALUES (1, 5), (2, 5)
INSERT INTO children VALUES (1, 5)
ALTER TABLE parents ADD x INT
CREATE TABLE tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE)
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)
DELETE FROM tree WHERE id = 1
SET SESSION foreign_key_checks = 0
CREATE TABLE early (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES missing (id))
INSERT INTO early VALUES (1, 9)
CREATE TABLE missing (id INT PRIMARY KEY)
SET SESSION foreign_key_checks = 1
DROP TABLE children
RENAME TABLE early TO earlier, missing TO found
""",
    "definitions": """
CREATE TABLE made (id INT PRIMARY KEY, a INT)
INSERT INTO made VALUES (1, 1)
ALTER TABLE made ADD COLUMN b INT DEFAULT 3 FIRST, ALGORITHM=INSTANT
INSERT INTO made VALUES (7, 2, 2)
ALTER TABLE made DROP COLUMN a, ALGORITHM=INSTANT
ALTER TABLE made RENAME COLUMN b TO `select`
UPDATE made SET `select` = 99 WHERE id = 1
ALTER TABLE made MODIFY `select` BIGINT UNSIGNED, ADD v INT AS (id * 2) VIRTUAL, ADD KEY ((id + 1))
INSERT INTO made (id, `select`) VALUES (50, 18446744073709551615)
CREATE TABLE parts (id INT, d DATE, PRIMARY KEY (id, d)) \
 PARTITION BY RANGE (YEAR(d)) (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)
INSERT INTO parts VALUES (1, '1999-01-01'), (2, '2020-01-01')
CREATE TABLE exchanged LIKE parts
ALTER TABLE exchanged REMOVE PARTITIONING
ALTER TABLE parts EXCHANGE PARTITION p0 WITH TABLE exchanged
ALTER TABLE parts REORGANIZE PARTITION p1 INTO \
 (PARTITION p1 VALUES LESS THAN (2010), PARTITION p2 VALUES LESS THAN MAXVALUE)
ALTER TABLE parts TRUNCATE PARTITION p2
INSERT INTO parts VALUES (3, '2021-01-01')
ALTER TABLE accounts CONVERT TO CHARACTER SET latin1
INSERT INTO accounts (id, note) VALUES (77, 'größer')
CREATE TABLE `we.ird ``name` (`a.b` INT PRIMARY KEY, `é €` VARCHAR(10))
INSERT INTO `we.ird ``name` VALUES (1, '€')
ALTER TABLE shop.`we.ird ``name` ADD `c d` INT
RENAME TABLE made TO passing, exchanged TO made, passing TO exchanged
INSERT INTO exchanged (id, `select`) VALUES (51, 1)
DROP TABLE IF EXISTS missing, made
ALTER TABLE exchanged COMMENT 'shop.orders; it''s', ADD CHECK (id > 0)
ALTER TABLE exchanged RENAME AS renamed, ADD z INT
LOCK TABLES renamed WRITE
INSERT INTO renamed (id) VALUES (52)
UNLOCK TABLES
CREATE INDEX by_z ON renamed (z) COMMENT 'x'
DROP INDEX by_z ON renamed
ALTER TABLE renamed ALTER COLUMN z SET DEFAULT (1 + 2), ADD t TEXT
ALTER TABLE renamed ADD FULLTEXT KEY words (t)
""",
    "types": """
CREATE TABLE types (id INT PRIMARY KEY, v VECTOR(3), g GEOMETRY, p POINT NOT NULL SRID 4326, SPATIAL INDEX (p), \
 j JSON, b BIT(64), e ENUM('a', 'b'), s SET('x', 'y'), y YEAR, t TIME(6), \
 dt DATETIME(3), ts TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), \
 bi BINARY(4), vb VARBINARY(10), f FLOAT, d DOUBLE, de DECIMAL(65, 30), u BINARY(16) DEFAULT (UUID_TO_BIN(UUID())))
INSERT INTO types (id, v, g, p, j, b, e, s, y, t, dt, bi, vb, f, d, de) \
 VALUES (1, STRING_TO_VECTOR('[1,2,3]'), ST_GeomFromText('POINT(1 1)'), ST_GeomFromText('POINT(10 20)', 4326), \
 '{"a": [1, 2, {"b": null}]}', b'101', 'b', 'x,y', 2024, '-837:59:59.000001', '2024-01-01 00:00:00.123', 'ab', \
 x'00ff', 1.5, 1e300, 1.000000000000000000000000000001)
UPDATE types SET j = JSON_SET(j, '$.a[2].b', 5), d = 3.1415926
SET SESSION binlog_row_image = NOBLOB
UPDATE types SET b = 7
SET SESSION binlog_row_image = MINIMAL
UPDATE types SET e = 'a'
SET SESSION binlog_row_image = FULL
CREATE TABLE lists (id INT PRIMARY KEY, j JSON, INDEX k ((CAST(j->'$.a' AS UNSIGNED ARRAY))))
INSERT INTO lists VALUES (1, '{"a": [1, 2, 3]}')
UPDATE lists SET j = JSON_ARRAY_APPEND(j, '$.a', 9)
""",
    "XA": """
XA START 'a','b',7
INSERT INTO accounts (id, balance) VALUES (60, 1)
SAVEPOINT q
INSERT INTO accounts (id, balance) VALUES (61, 1)
ROLLBACK TO q
XA END 'a','b',7
XA PREPARE 'a','b',7
XA COMMIT 'a','b',7
XA START X'00ff27'
UPDATE accounts SET balance = 9 WHERE id = 60
XA END X'00ff27'
XA PREPARE X'00ff27'
XA ROLLBACK X'00ff27'
XA START 'empty'
XA END 'empty'
XA PREPARE 'empty'
XA COMMIT 'empty'
""",
    "temporary tables": """
CREATE TEMPORARY TABLE passing (id INT) ENGINE=MEMORY
INSERT INTO passing VALUES (1)
CREATE TABLE kept AS SELECT * FROM passing
CREATE TABLE alike LIKE passing
INSERT INTO alike SELECT * FROM passing
CREATE TEMPORARY TABLE accounts (id INT)
INSERT INTO accounts VALUES (5)
DROP TEMPORARY TABLE accounts
INSERT INTO accounts (id) VALUES (501)
DROP TABLE passing, alike
""",
    "code": """
CREATE DEFINER=`nobody`@`nowhere` FUNCTION more_of(a INT) RETURNS INT DETERMINISTIC SQL SECURITY INVOKER RETURN a + 1
CREATE DEFINER=CURRENT_USER PROCEDURE more() MODIFIES SQL DATA INSERT INTO shop.accounts (id) VALUES (more_of(700))
CALL more()
ALTER PROCEDURE more COMMENT 'x'
CREATE ALGORITHM=MERGE DEFINER=`nobody`@`nowhere` SQL SECURITY INVOKER VIEW seen \
 AS SELECT id FROM accounts WITH CHECK OPTION
INSERT INTO seen VALUES (702)
ALTER VIEW seen AS SELECT id, balance FROM shop.accounts
CREATE TRIGGER told BEFORE UPDATE ON accounts FOR EACH ROW SET NEW.note = 'x'
CREATE EVENT later ON SCHEDULE AT '2037-01-01' ON COMPLETION PRESERVE DISABLE ON REPLICA \
 COMMENT 'c' DO DELETE FROM shop.accounts
ALTER EVENT later RENAME TO latest
ALTER DEFINER=`nobody`@`nowhere` EVENT latest ON SCHEDULE EVERY 1 HOUR ENABLE
DROP FUNCTION IF EXISTS missing
DROP TRIGGER IF EXISTS shop.missing
""",
    "GTIDs of others": """
SET SESSION gtid_next = '01234567-89ab-cdef-0123-456789abcdef:77'
INSERT INTO accounts (id) VALUES (801)
SET SESSION gtid_next = '01234567-89ab-cdef-0123-456789abcdef:5'
BEGIN
COMMIT
SET SESSION gtid_next = 'AUTOMATIC'
INSERT INTO accounts (id) VALUES (802)
""",
}
LOGGED = (
    "binlog_rows_query_log_events = ON",
    "binlog_row_metadata = FULL",
    "binlog_checksum = NONE",
    "binlog_transaction_compression = ON",
    "binlog_format = MIXED",
)


@pytest.fixture(params=LOGGED)
def logged(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:  # noqa: F811
    """How the server logs."""
    server.run(f"SET GLOBAL {request.param}, GLOBAL log_bin_trust_function_creators = ON")
    for mode in ("OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"):
        with contextlib.suppress(RuntimeError):  # it is on already
            server.run(f"SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = {mode}")
    yield request.param
    server.run(f"SET GLOBAL {request.param.split()[0]} = DEFAULT, GLOBAL log_bin_trust_function_creators = DEFAULT")


@pytest.mark.parametrize("forms", FORMS.values(), ids=FORMS)
@pytest.mark.usefixtures("logged")
def test_whatever_mysql_alone_can_log(server: Server, forms: str) -> None:  # noqa: F811
    first = take(server)
    run_all(server, forms)
    second = take(server)
    replayed(server, first, Stop(position=second.dump.position))
    assert different(server, second.dump) == []
