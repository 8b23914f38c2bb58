"""Statements that no dump client writes for one schema: each is refused, whoever would read it otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.mysql.definitions import disabled, status_of
from lifeboat.databases.mysql.lexis import PLAIN, Lexis, are_literals
from lifeboat.databases.mysql.statements import StatementReader, recognise
from lifeboat.errors import RestoreError

LONGEST = 16 << 20
TABLE = b"CREATE TABLE `t` (\n  `a` int DEFAULT NULL\n)"


def read(sql: bytes) -> list[str]:
    return [statement.kind for statement in StatementReader([sql], LONGEST, "shop")]


BEYOND = {
    # A statement whose head is known, and whose rest is another's.
    "placeholder drops another table": b"/*!50001 DROP TABLE IF EXISTS `x`, `victim`.`t`*/;",
    "placeholder drops two views": b"/*!50001 DROP VIEW IF EXISTS `x`,`y`*/;",
    "placeholder drops what a comment hides": b"/*!50001 DROP VIEW IF EXISTS `x`/**/,`victim`.`v`*/;",
    "placeholder is a query": b"/*!50001 CREATE VIEW `x` AS SELECT 1 AS `a` FROM victim.t*/;",
    "placeholder is a table of a query": b"/*!50001 CREATE TABLE `x` (\n  `a` int\n) SELECT * FROM victim.t*/;",
    "placeholder calls a function": b"/*!50001 CREATE VIEW `x` AS SELECT f() AS `a`*/;",
    "collation and more": b"ALTER DATABASE `shop` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin READ ONLY = 1;",
    "histogram of another table": b"ANALYZE TABLE `t` UPDATE HISTOGRAM ON `a`, `victim`.`t`;",
    "histogram, then another table": b"ANALYZE TABLE `t`, `victim`.`t` UPDATE HISTOGRAM ON `a`;",
    "sequence in another engine's table": b"CREATE SEQUENCE `s` start with 1 ENGINE=InnoDB AS SELECT 1;",
    "value of a sequence, and a function": b"SELECT SETVAL(`s`, 1, 0), f();",
    # A comment between the schema and the name.
    "view": b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50001 VIEW `victim`/**/.`v` AS select 1 AS `1` */;",
    "procedure": b"DELIMITER ;;\nCREATE PROCEDURE `victim`/**/.`p`() SELECT 1 ;;",
    "procedure, a line comment": b"DELIMITER ;;\nCREATE PROCEDURE `victim`-- \n.`p`() SELECT 1 ;;",
    "function": b"DELIMITER ;;\nCREATE FUNCTION victim/* */.f() RETURNS int RETURN 1 ;;",
    "event": b"DELIMITER ;;\nCREATE EVENT `victim`#\n.`e` ON SCHEDULE EVERY 1 DAY DO DELETE FROM q ;;",
    "sequence": b"CREATE SEQUENCE `victim`/**/.`s` start with 1;",
    "package": b"DELIMITER ;;\nCREATE PACKAGE `victim`/**/.`p` AS PROCEDURE x; END ;;",
    "package body": b"DELIMITER ;;\nCREATE PACKAGE BODY `victim`/*!*/.`p` AS PROCEDURE x AS BEGIN END; END ;;",
    "library": b"DELIMITER ;;\nCREATE LIBRARY `victim`/**/.`l` LANGUAGE JAVASCRIPT AS $$ x $$ ;;",
    "table": b"CREATE TABLE `victim`/**/.`t` (`a` int);",
    "trigger": b"DELIMITER ;;\nCREATE TRIGGER x BEFORE INSERT ON victim/**/.t FOR EACH ROW SET @a = 1 ;;",
    # Tables that read, or lie, elsewhere.
    "AS SELECT": TABLE + b" AS SELECT * FROM victim.t;",
    "TABLE": TABLE + b" TABLE `victim`.`t`;",
    "VALUES ROW": TABLE + b" AS VALUES ROW(1);",
    "IGNORE SELECT": TABLE + b" ENGINE=InnoDB IGNORE SELECT 1;",
    "WITH": TABLE + b" WITH x AS (SELECT 1) SELECT * FROM x;",
    "DATA DIRECTORY": TABLE + b" DATA DIRECTORY='/tmp/';",
    "DATA DIRECTORY for all versions": TABLE + b" /*!50100 DATA DIRECTORY='/tmp/' */;",
    "DATA DIRECTORY for newer versions": TABLE + b" /*!99999 DATA DIRECTORY='/tmp/' */;",
    "DATA DIRECTORY, a comment between": TABLE + b" DATA/**/DIRECTORY='/tmp/';",
    "DATA DIRECTORY of a partition": TABLE
    + b"\n/*!50100 PARTITION BY HASH (`a`)\n(PARTITION p0 DATA DIRECTORY = '/tmp/' ENGINE = InnoDB) */;",
    "UNION without =": TABLE + b" ENGINE=MRG_MyISAM UNION (victim.t);",
    "UNION in a comment": TABLE + b" ENGINE=MRG_MyISAM /*!50100 UNION=(`victim`.`t`) */;",
    "UNION of another schema's table": TABLE + b" ENGINE=MRG_MyISAM UNION=(`victim`.`t`);",
    "UNION, another schema's table behind its own": TABLE + b" ENGINE=MRG_MyISAM UNION=(`t1`,`victim`.`t`);",
    "UNION, a comment before the dot": TABLE + b" ENGINE=MRG_MyISAM UNION=(`victim`/**/.`t`);",
    "UNION, a dot for newer versions": TABLE + b" ENGINE=MRG_MyISAM UNION=(`victim` /*!99999 .`t`*/);",
    "UNION, a schema for newer versions": TABLE + b" ENGINE=MRG_MyISAM UNION=(/*!99999 `victim`. */ `t`);",
    "UNION without quotes": TABLE + b" ENGINE=MRG_MyISAM UNION=(victim.t);",
    "two UNIONs, one of another schema": TABLE + b" ENGINE=MRG_MyISAM UNION=(`t1`) UNION=(`victim`.`t`);",
    "UNION, then a query": TABLE + b" ENGINE=MRG_MyISAM UNION=(`t1`) SELECT 1;",
    "UNION of a query": TABLE + b" ENGINE=MRG_MyISAM UNION=(SELECT 1);",
    "UNION in a definition": b"CREATE TABLE `t` (`a` int DEFAULT (1 UNION=(`t1`))) ENGINE=InnoDB;",
    "UNION of another engine": TABLE + b" ENGINE=InnoDB UNION=(`t1`);",
    "UNION of two engines": TABLE + b" ENGINE=MRG_MyISAM ENGINE=InnoDB UNION=(`t1`);",
    "UNION ALL": TABLE + b" ENGINE=MRG_MyISAM UNION ALL TABLE `t1`;",
    "CONNECTION": TABLE + b" ENGINE=FEDERATED CONNECTION 'mysql://x';",
    "engine that reaches other servers": TABLE + b" ENGINE=SPIDER COMMENT='wrapper \"mysql\"';",
    "engine that reads files": TABLE + b" ENGINE=CONNECT `FILE_NAME`='/etc/passwd';",
    "engine in capitals of another spelling": TABLE + b" engine = Federated;",
    "LIKE": b"CREATE TABLE `t` (LIKE `victim`.`t`);",
    "sequence of another schema": b"CREATE TABLE `t` (`a` int DEFAULT nextval(`victim`.`s`));",
    "query in an expression": b"CREATE TABLE `t` (`a` int DEFAULT (SELECT 1 FROM victim.t));",
    # Settings that are more, or that change how all that follows is read.
    "variable of a function": b"SET @a = f();",
    "variable of an expression": b"SET @a = 1 + 1;",
    "variable of a query": b"SET @a = (SELECT 1);",
    "global": b"SET @@GLOBAL.general_log = 1;",
    "unknown variable": b"SET general_log_file = '/tmp/x';",
    "sql_mode by number": b"SET sql_mode = 1048576;",
    "sql_mode of nobody knows what": b"SET sql_mode = @unknown;",
    "sql_mode of another variable": b"SET @a = 'NO_BACKSLASH_ESCAPES';\nSET sql_mode = @a;\n"
    b"CREATE TABLE `t` (`a` int COMMENT '\\') DATA DIRECTORY='/tmp' COMMENT '\\');",
    "sql_mode by default": b"SET sql_mode = DEFAULT;",
    "character set by number": b"SET character_set_client = 28;",
    "rows are read otherwise than the first": b"SET @a = @@sql_mode;\nINSERT INTO `t` VALUES (1);\n"
    b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\nINSERT INTO `t` VALUES (2);",
    "a letter that hides a quote": b"SET NAMES gbk;\n"
    b"CREATE TABLE `t` (`a` int COMMENT '\xbf\\') DATA DIRECTORY='/x' -- ';",
    "a definer whose end is doubtful": b"DELIMITER ;;\nCREATE DEFINER='x\\'@'' EVENT e ON SCHEDULE EVERY 1 DAY ENABLE"
    b" DO DELETE FROM q -- ' EVENT ok ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1 ;;",
    "a schedule whose end is doubtful": b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\nDELIMITER ;;\n"
    b"CREATE EVENT e ON SCHEDULE EVERY '1\\' DAY ENABLE DO DELETE FROM q -- ' DAY DO SELECT 1 ;;",
    "a comment whose end is doubtful": b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\n"
    b"CREATE TABLE `t` (`a` int COMMENT 'x\\', `b` int COMMENT '\\');",
    # Comments for some versions, of which one server reads what the other passes over.
    "schema behind a comma for some": b"CREATE TABLE `t` (`a` int DEFAULT nextval(`victim` /*!999999 , */ . `s`));",
    "DIRECTORY behind a word for some": TABLE
    + b" PARTITION BY HASH (`a`) (PARTITION p0 DATA /*!999999 x */ DIRECTORY = '/tmp/' ENGINE = InnoDB);",
    "engine of a partition, quoted": TABLE + b" PARTITION BY HASH (`a`) (PARTITION p0 ENGINE = `FEDERATED`);",
    "engine of a partition, without =": TABLE + b" PARTITION BY HASH (`a`) (PARTITION p0 ENGINE FEDERATED);",
    "engine of a partition, behind one for some": TABLE
    + b" PARTITION BY HASH (`a`) (PARTITION p0 ENGINE = /*!999999 InnoDB */ FEDERATED);",
    "ROW behind a word for some": TABLE + b" PARTITION BY HASH (`a`) VALUES /*!999999 x */ ROW(1);",
    "five versions": TABLE + b" /*!90001 CHECKSUM=1 */ /*!90002 CHECKSUM=1 */ /*!90003 CHECKSUM=1 */"
    b" /*!90004 CHECKSUM=1 */ /*!90005 CHECKSUM=1 */;",
    "a version of seven digits": TABLE + b" /*!5010011 CHECKSUM=1 */;",
    "a view for some": b"/*!50001 CREATE */ /*!999999 VIEW `v` AS SELECT */ VIEW `victim`.`v` AS SELECT 1;",
    "a view whose schema seems its name": b"CREATE VIEW `victim` /*!999999 AS SELECT 1 */ . `v` AS SELECT 1;",
    "an event whose head ends in another word": b"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DODELETE FROM victim.q;",
    "a view for some, an event for others": b"CREATE /*!999999 VIEW `v` AS SELECT 1 */ EVENT `e` ON SCHEDULE EVERY 1"
    b" SECOND DO DELETE FROM q;",
    "a procedure whose schema seems its name": b"CREATE PROCEDURE `victim` /*!999999 () */ . `p`() SELECT 1;",
    "a procedure for some, a program for others": b"CREATE /*!999999 PROCEDURE `p` () */ FUNCTION `f` () RETURNS int"
    b" SONAME 'x.so';",
    "an event that is disabled for some": b"CREATE EVENT `e` ON SCHEDULE EVERY 1 SECOND /*!999999 DISABLE */ DO DELETE"
    b" FROM q;",
    "code for some that ends in a string": b"/*!999999 CREATE VIEW `v` AS SELECT '*/ DROP TABLE victim.t -- ' */;",
    "a histogram for some, and more": b"/*!80002 ANALYZE TABLE `t` UPDATE HISTOGRAM */ ON `a`;",
    "sql_mode for some": b"/*!999999 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */;",
    "sql_mode for some, beside another": b"SET /*!999999 sql_mode = 'NO_BACKSLASH_ESCAPES', */ sql_notes = 1;",
    "character set for MariaDB": b"/*M!100100 SET NAMES gbk */;",
    "sql_mode by what some set": b"SET @a = '';\n/*!999999 SET @a = 'NO_BACKSLASH_ESCAPES' */;\nSET sql_mode = @a;",
    "sql_mode by another variable's number": b"SET sql_mode = @@innodb_sort_buffer_size;",
    "sql_mode by another variable's saved number": b"SET @a = @@innodb_sort_buffer_size;\nSET sql_mode = @a;",
    "sql_mode by what the same statement sets": b"SET @a = '';\nSET @a = 'NO_BACKSLASH_ESCAPES', sql_mode = @a;",
    "character set by that of results": b"SET @a = @@character_set_results;\nSET character_set_client = @a;",
    "a blank that is none in ASCII": b"SET NAMES latin1;\nCREATE TABLE `t` (`a` int) x\xa0SELECT\xa01;",
}


@pytest.mark.parametrize("sql", BEYOND.values(), ids=BEYOND)
def test_what_reaches_beyond_the_schema_is_refused(sql: bytes) -> None:
    with pytest.raises(RestoreError):
        read(sql + b"\n")


HARMLESS = {
    "a UNION of its own schema": TABLE
    + b" ENGINE=MRG_MyISAM DEFAULT CHARSET=latin1 INSERT_METHOD=LAST UNION=(`t1`,`a.b`,`x``.``y`);",
    "a UNION of nothing": TABLE + b" ENGINE=MRG_MyISAM;",
    "engine's own options": TABLE
    + b" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 `PAGE_COMPRESSED`='ON' COMMENT='UNION=(x)';",
    "partitions": TABLE + b" ENGINE=InnoDB\n/*!50100 PARTITION BY RANGE (`a`)\n(PARTITION p0 VALUES LESS THAN (10)"
    b" COMMENT = 'SELECT' ENGINE = InnoDB,\n PARTITION p1 VALUES LESS THAN MAXVALUE ENGINE = InnoDB) */;",
    "its own sequence": b"CREATE TABLE `t` (`a` int DEFAULT nextval(`shop`.`s`));",
    "names that look like more": b"CREATE TABLE `select` (`union` int, `data directory` int,"
    b" `a.b` int COMMENT 'x`.`y');",
    "a parent in the same schema": b"CREATE TABLE `t` (`a` int,"
    b" CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`id`));",
    "settings saved, changed and restored": b"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='ANSI_QUOTES' */;\n"
    b"/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n/*!50503 SET @saved = @@character_set_client */;\n"
    b"/*!50503 SET character_set_client = @saved */;\n/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY,"
    b" NOTE_VERBOSITY=0 */;\nCREATE TABLE `t` (`a` int COMMENT '\\'');",
    "what newer versions know": b"CREATE TABLE `t` (`a` int /*!80023 INVISIBLE */, `b` int /*M!100301 COMPRESSED*/)"
    b" ENGINE=InnoDB /*!80016 ENCRYPTION='N' */;",
    "letters of another character set": b"SET NAMES latin1;\nCREATE TABLE `\xe9` (`a` int COMMENT '\xa0');",
}


@pytest.mark.parametrize("sql", HARMLESS.values(), ids=HARMLESS)
def test_what_clients_write_is_not_refused(sql: bytes) -> None:
    assert read(sql + b"\n")[-1] == "table"


@pytest.mark.parametrize(
    "rows",
    [
        b"((SELECT s FROM victim.secret))",
        b"(1),((SELECT 1))",
        b"(LOAD_FILE('/etc/passwd'))",
        b"(@@datadir)",
        b"(@a := 1)",
        b"(CURRENT_USER)",
        b"(other_column)",
        b"(a)",
        b"(bad('x'))",
        b"(1,'x') ON DUPLICATE KEY UPDATE a = 1",
        b"(1) AS new",
        b"(1,-- '\n(SELECT 1) -- '\n)",
        b"(1,# '\n(SELECT 1) # '\n)",
        b"(1,/* ' */(SELECT 1)/* ' */)",
        b"(1,/*! (SELECT 1)*/)",
        b"('a' 'b',\"c\"(SELECT 1)\"\")",
        b"('\\\\',(SELECT 1),'\\\\')",
        b"('\\\\\\\\',(SELECT 1),'')",
        b"('x'),(`a`)",
        b"(1+f(2))",
        b"('open)",
        b"(1",
    ],
    ids=repr,
)
def test_rows_hold_values_only(rows: bytes) -> None:
    assert not are_literals(rows, PLAIN)
    with pytest.raises(RestoreError):
        read(b"INSERT INTO `t` VALUES " + rows + b";\n")


def test_where_backslashes_mean_nothing_a_string_ends_sooner() -> None:
    rows = b"('\\',(SELECT 1),'\\')"
    assert not are_literals(rows, Lexis(backslash_escapes=False))
    assert are_literals(b"('C:\\','it''s')", Lexis(backslash_escapes=False))


values = st.one_of(
    st.integers().map(lambda number: str(number).encode()),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: repr(number).encode()),
    st.binary(min_size=1).map(lambda data: b"0x" + data.hex().upper().encode()),
    st.text(st.sampled_from("ab'\\\n,;()`-/*#\"é🦊 "), max_size=12).map(
        lambda text: b"'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").encode() + b"'"
    ),
    st.sampled_from([b"NULL", b"DEFAULT", b"_binary 'x'", b"b'101'", b'"it\\"s"', b"_utf8mb4'x'"]),
)


@given(st.lists(st.lists(values, min_size=1, max_size=4), min_size=1, max_size=4), st.sampled_from([b",", b",\n"]))
def test_values_of_every_kind_are_literals(rows: list[list[bytes]], separator: bytes) -> None:
    text = separator.join(b"(" + b",".join(row) + b")" for row in rows)
    assert are_literals(text, PLAIN)


EVENT = b"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY"


@pytest.mark.parametrize(
    ("event", "enabled"),
    [
        (EVENT + b" DO DELETE FROM q", True),
        (EVENT + b" COMMENT 'DISABLE' DO DELETE FROM q", True),
        (EVENT + b" ON COMPLETION PRESERVE DO DELETE FROM q", True),
        (EVENT + b" ON COMPLETION PRESERVE/**/ENABLE DO DELETE FROM q", True),
        (EVENT + b"/*!99999 DISABLE */ DO DELETE FROM q", False),
        (EVENT + b" ON COMPLETION NOT PRESERVE ENABLE COMMENT ' DISABLE ' DO DELETE FROM q", True),
        (EVENT + b" DISABLE ON SLAVE DO DELETE FROM q", False),
    ],
    ids=repr,
)
def test_an_event_is_disabled_whatever_its_text_says(event: bytes, enabled: bool) -> None:
    made = recognise(event)
    assert made
    assert (status_of(made) == "ENABLE") is enabled
    text = disabled(made).sql
    assert text.count(b" DISABLE DO ") + text.count(b" DISABLE COMMENT ") == 1
    assert b"ENABLE" not in text.replace(b"DISABLE", b"")
    assert b"!99999" not in text
