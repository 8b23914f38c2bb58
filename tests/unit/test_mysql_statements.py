"""The statements of a dump: read alike in any chunks, in bounded memory, and none that leaves the schema."""

from __future__ import annotations

import itertools
import re
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.mysql import statements as mysql_statements
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.statements import Origin, StatementReader, recognise
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError

from tests.conftest import PROJECT

TEXTS = PROJECT / "tests" / "servers" / "databases" / "reconstructed"
LONGEST = 16 << 20

texts = st.text(st.sampled_from("ab'\\\n\r;,()`-/*#\"é🦊 \0"), max_size=12)
rows_of_texts = st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=12)


def chunks(sql: bytes, size: int) -> Iterator[bytes]:
    return (sql[start : start + size] for start in range(0, len(sql), size))


def read(sql: bytes, size: int = 1 << 20, longest: int = LONGEST) -> list[Statement]:
    return list(StatementReader(chunks(sql, size), longest))


def literal(row: list[str]) -> bytes:
    """Write a row as dump clients do."""
    escapes = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0"}
    strings = ["'" + "".join(escapes.get(char, char) for char in text) + "'" for text in row]
    return b"(" + ",".join(strings).encode() + b",NULL,0x3B0A,-1.5e-7)"


def insert(rows: list[bytes], *, row_a_line: bool, newline: bytes = b"\n") -> bytes:
    after, between = (newline, b"," + newline) if row_a_line else (b" ", b",")
    return b"INSERT INTO `t``s` VALUES" + after + between.join(rows) + b";" + newline


def rows_in(statements: Iterable[Statement]) -> list[bytes]:
    """Return the rows of INSERTs; the expression is not the reader's."""
    row = re.compile(rb"\((?:[^'()]|'(?:\\.|[^'\\])*')*\)", re.DOTALL)
    return [found for statement in statements for found in row.findall(statement.sql.partition(b"VALUES")[2])]


@given(rows_of_texts, st.integers(1, 4), st.integers(1, 40), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_rows_are_the_same_in_whatever_statements_and_chunks(
    rows: list[list[str]], per_statement: int, size: int, row_a_line: bool, newline: bytes
) -> None:
    literals = [literal(row) for row in rows]
    groups = [literals[start : start + per_statement] for start in range(0, len(literals), per_statement)]
    sql = b"-- comment" + newline
    sql += b"".join(insert(group, row_a_line=row_a_line, newline=newline) for group in groups)
    for piece in (1, 60, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mysql_statements, "PIECE", piece)
            statements = read(sql + b"UNLOCK TABLES;" + newline, size)
        assert {(statement.kind, statement.name) for statement in statements} == {("rows", "t`s")}
        assert rows_in(statements) == literals
        assert all(statement.sql.endswith(b")") for statement in statements)
    assert len(statements) == 1


def test_one_row_per_statement_becomes_few_statements() -> None:
    sql = b"".join(b"INSERT INTO `t` VALUES (%d,'%s');\n" % (number, b"x" * 90) for number in range(50_000))
    statements = read(sql)
    assert len(statements) < 10
    assert len(rows_in(statements)) == 50_000


def test_rows_are_passed_on_while_more_of_them_come() -> None:
    """Chunks that end with a statement leave open whether it was the table's last."""
    insert = b"INSERT INTO `t` VALUES (1,'%s');\n" % (b"x" * 50_000)
    statements = iter(StatementReader(itertools.repeat(insert), LONGEST))
    assert len(rows_in(itertools.islice(statements, 10))) > 100


def test_tables_and_forms_of_insert_do_not_mix() -> None:
    sql = b"INSERT INTO `a` VALUES (1);\nINSERT INTO `b` VALUES (2);\nINSERT INTO `b` (`x`) VALUES (3);\n"
    sql += b"INSERT  IGNORE INTO `b` VALUES (4);\nREPLACE INTO `b` VALUES (5);\n"
    assert [(statement.name, statement.sql) for statement in read(sql)] == [
        ("a", b"INSERT INTO `a` VALUES (1)"),
        ("b", b"INSERT INTO `b` VALUES (2)"),
        ("b", b"INSERT INTO `b` (`x`) VALUES (3)"),
        ("b", b"INSERT  IGNORE INTO `b` VALUES (4)"),
        ("b", b"REPLACE INTO `b` VALUES (5)"),
    ]


@pytest.mark.parametrize("row_a_line", [True, False])
def test_memory_does_not_grow_with_one_statement(row_a_line: bool) -> None:
    def dump() -> Iterator[bytes]:
        yield b"INSERT INTO `t` VALUES" + (b"\n" if row_a_line else b" ")
        between = b",\n" if row_a_line else b","
        batch = between.join([b"(1,'%s')" % (b"some text, 'quoted'".replace(b"'", b"\\'") * 5)] * 3000)
        for number in range(100):
            yield (between if number else b"") + batch
        yield b";\n"

    tracemalloc.start()
    rows = sum(len(rows_in([statement])) for statement in StatementReader(dump(), 4 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 300_000  # of 37 MB
    assert peak < 20 << 20


def test_a_row_that_the_server_cannot_take_is_refused_before_it_is_read_whole() -> None:
    taken = 0

    def dump() -> Iterator[bytes]:
        nonlocal taken
        yield b"INSERT INTO `t` VALUES (1,0x"
        while taken < 1000:
            taken += 1
            yield b"AB" * 50_000

    with pytest.raises(RestoreError, match=r"A row of table 't' is longer than the 4.0 MiB .*max_allowed_packet"):
        list(StatementReader(dump(), 4 << 20))
    assert taken < 150


def test_a_row_as_large_as_the_server_takes_is_one_statement() -> None:
    row = b"(1,'" + b"x;),(" * 1_000_000 + b"')"
    for row_a_line in (True, False):
        sql = insert([b"(0)", row, b"(2)"], row_a_line=row_a_line)
        assert rows_in(read(sql, longest=len(row) + 100)) == [b"(0)", row, b"(2)"]


BODY = rb"""DELIMITER ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
BEGIN
  -- it's ;; a comment
  # another ;; one'
  /* and ;; a '
     third */
  SELECT ';;', "a;;\"b", `;;`, 'it''s \' ;;';
INSERT INTO `t` VALUES
(1);
END ;;
DELIMITER ;
"""


@given(st.integers(1, 50))
def test_delimiters_inside_quotes_and_comments_end_nothing(size: int) -> None:
    (procedure,) = read(BODY, size)
    assert (procedure.kind, procedure.name) == ("procedure", "p")
    assert procedure.sql.startswith(b"CREATE DEFINER")
    assert procedure.sql.endswith(b"(1);\nEND")


def test_backslashes_mean_what_the_settings_say() -> None:
    mode = b"SET @saved_sql_mode = @@sql_mode;\n"
    mode += b"/*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\n"
    body = b"CREATE PROCEDURE `p`() SELECT 'C:\\' ;;\nDELIMITER ;\n/*!50003 SET sql_mode = @saved_sql_mode */ ;\n"
    after = b"CREATE TABLE `t` (`a` text DEFAULT 'it\\'s;') ENGINE=InnoDB;\nSET @x = 1;\n"
    kinds = [statement.kind for statement in read(mode + body + after)]
    assert kinds == ["setting", "setting", "procedure", "setting", "table", "setting"]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("version", ["8.0", "8.4", "9"])
def test_dumps_of_oracles_client_are_understood(version: str, size: int) -> None:
    statements = read((TEXTS / f"mysql-{version}.dump.sql").read_bytes(), size)
    made = [(statement.kind, statement.name) for statement in statements if statement.kind != "setting"]
    assert made[:3] == [("table", "audit_log"), ("rows", "audit_log"), ("table", "empty_one")]
    expected = {("trigger", "users_ai"), ("event", "nightly"), ("view", "spent"), ("view placeholder", "spent")}
    assert expected | {("function", "greeting"), ("procedure", "tidy")} <= set(made)
    parser = DumpParser()
    parser.feed((TEXTS / f"mysql-{version}.dump.sql").read_bytes())
    assert len(rows_in(each for each in statements if each.kind == "rows")) == parser.finish().rows >= 12


def test_the_first_lines_say_where_a_dump_is_from() -> None:
    sql = (TEXTS / "mysql-8.4.dump.sql").read_bytes()
    client = "MySQL dump 10.13  Distrib 8.4.7, for Linux (x86_64)"
    assert StatementReader([sql], LONGEST).origin == Origin("shop", "8.4.7", client)
    assert StatementReader([b"SET NAMES utf8mb4;\n"], LONGEST).origin == Origin()


def test_what_is_not_for_the_new_schema_is_left_out() -> None:
    sql = rb"""-- MariaDB dump 10.19
SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;
SET @@SESSION.SQL_LOG_BIN= 0;
SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a-b:1-5';
/*!50717 SELECT COUNT(*) INTO @rocksdb_has_p_s_session_variables FROM INFORMATION_SCHEMA.TABLES */;
/*!50717 PREPARE s FROM @rocksdb_get_is_supported */;
/*!50717 EXECUTE s */;
/*!50717 DEALLOCATE PREPARE s */;
DROP TABLE IF EXISTS `t`;
LOCK TABLES `t` WRITE;
/*!40000 ALTER TABLE `t` DISABLE KEYS */;
SET @OLD_AUTOCOMMIT=@@AUTOCOMMIT, @@AUTOCOMMIT=0;
SET AUTOCOMMIT=@OLD_AUTOCOMMIT;
set autocommit=0;
commit;
UNLOCK TABLES;
SET @@SESSION.SQL_LOG_BIN = @MYSQLDUMP_TEMP_LOG_BIN;
/*!50003 DROP PROCEDURE IF EXISTS `p` */;
"""
    assert read(b"/*M!999999\\- enable the sandbox mode */ \n" + sql) == []


REFUSED = {
    b"USE `shop`;\n": r"The dump says USE: it was made with --databases .*Remove its lines CREATE DATABASE and USE",
    b"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;\n": "made with --databases",
    b"/*!40000 DROP DATABASE IF EXISTS `shop`*/;\n": "made with --databases",
    b"GRANT ALL ON *.* TO `x`@`%`;\n": "The dump says GRANT ALL, which reaches beyond its schema",
    b"SET GLOBAL general_log = 1;\n": "The dump says SET GLOBAL",
    b"SET @a = 1, GLOBAL general_log = 1;\n": "The dump says SET",
    b"SET PERSIST general_log = 1;\n": "The dump says SET PERSIST",
    b"SET PASSWORD = 'x';\n": "The dump says SET PASSWORD",
    b"DELIMITER ;;\nSET @a = 1; DROP TABLE x ;;\n": "The dump says SET",
    b"\\! rm -rf /\n;\n": r"The dump says \\!",
    b"system ls\n;\n": "The dump says system",
    b"source /etc/passwd\n;\n": "The dump says source",
    b"LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t;\n": "The dump says LOAD DATA",
    b"UPDATE users SET password = 'secret';\n": "The dump says UPDATE",
    b"INSERT INTO t SELECT 1;\n": "The dump says INSERT INTO",
    b"CREATE FUNCTION f RETURNS STRING SONAME 'lib.so';\n": "The dump says CREATE FUNCTION",
    b"CREATE TABLE `other`.`t` (`a` int);\n": "The dump makes table 't' in schema 'other'",
    b"CREATE TABLE t SELECT 1;\n": "The dump says CREATE TABLE",
    b"ALTER TABLE `t` ADD COLUMN x INT;\n": "The dump says ALTER TABLE",
    b"DROP TABLE `t`;\n": "The dump says DROP TABLE",
    b"DO SETVAL(`s`, sleep(9));\n": "The dump says DO SETVAL",
    b"CREATE TABLE `t` (\n  `a` int": "ends in the middle of a statement: it is cut short",
    b"INSERT INTO `t` VALUES\n(1),\n(2)": "ends in the middle of a statement: it is cut short",
    b"SET @a = 'open;\n": "ends in the middle of a statement: it is cut short",
}


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: sql[:30].decode())
def test_what_no_dump_of_one_schema_says_is_refused(sql: bytes) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(RestoreError, match=REFUSED[sql]) as refused:
            read(b"SET NAMES utf8mb4;\n" + sql, size)
        assert "secret" not in str(refused.value)


def test_a_trigger_belongs_to_the_schema_that_it_is_loaded_into() -> None:
    typed = (
        b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 trigger shop . one\n before insert /* x */ on `shop`.t "
    )
    trigger = recognise(typed + b"for each row set @a = 1 */")
    assert trigger
    assert (trigger.kind, trigger.name, trigger.table) == ("trigger", "one", "t")
    assert b"shop" not in trigger.sql
    assert trigger.sql.startswith(b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 trigger one\n before insert")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (b"CREATE TABLE `t` (\n  `id` int\n) ENGINE=MRG_MyISAM INSERT_METHOD=LAST UNION=(`blog`.`t`);\n", "says UNION"),
        (b"CREATE TABLE `t` (\n  `id` int\n) DATA DIRECTORY='/tmp/x/';\n", "says DATA DIRECTORY"),
        (b"CREATE TABLE `t` (\n  `id` int\n) ENGINE=FEDERATED CONNECTION='mysql://x';\n", "says CONNECTION"),
        (b"CREATE TABLE `t` (\n  `id` int\n) SELECT * FROM other.users;\n", "says SELECT"),
        (b"SET @x = (SELECT password FROM other.users);\n", "The dump says SET"),
        # What one reader takes for a string, and another for code between two comments, or two strings:
        (b"SET @x = 1 /* ' */, GLOBAL general_log = 1 /* ' */;\n", "The dump says SET"),
        (b"SET @x = 1 /*!99999 ' */, GLOBAL general_log = 1 /*!99999 ' */;\n", "The dump says SET"),
        (b"SET SQL_MODE='NO_BACKSLASH_ESCAPES';\nSET @x='\\', GLOBAL general_log='1';\n", "The dump says SET"),
        (b"CREATE TABLE `t` (`id` int /* ' */) DATA DIRECTORY='/tmp/' /* ' */;\n", "says DATA DIRECTORY"),
        (b"CREATE TABLE `t` (`id` int /*!99999 ' */) DATA DIRECTORY='/tmp/' /*!99999 ' */;\n", "for some versions"),
        (b"CREATE TABLE `t` (`id` int /*!501000 ' */) DATA DIRECTORY='/tmp/' /*!501000 ' */;\n", "for some versions"),
        (b"CREATE TABLE `t` (`id` int /*!80016 ' */) DATA DIRECTORY='/tmp/' /*!80016 ' */;\n", "for some versions"),
        (b"CREATE TABLE `t` (`id` int /*M!50100 ' */) DATA DIRECTORY='/tmp/' /*M!50100 ' */;\n", "for some versions"),
        (b"CREATE TABLE `t` (`id` int /*M!999999 -- */) DATA DIRECTORY='/tmp/'\n*/;\n", "for some versions"),
        (
            b"SET SQL_MODE='NO_BACKSLASH_ESCAPES';\nCREATE TABLE `t` (`a` int COMMENT '\\') DATA DIRECTORY='/tmp/';\n",
            "says a backslash where sql_mode",
        ),
    ],
)
def test_what_reaches_beyond_the_schema_is_refused(sql: bytes, said: str) -> None:
    with pytest.raises(RestoreError, match=said):
        list(StatementReader([sql], 1 << 20))
    harmless = b"CREATE TABLE `select` (\n  `union` int COMMENT 'UNION=(x) SELECT'\n);\n"
    assert [statement.kind for statement in StatementReader([harmless], 1 << 20)] == ["table"]


def test_what_dump_clients_write_in_comments_for_some_versions_is_no_reason_to_refuse() -> None:
    sql = rb"""CREATE TABLE `a/*!b` (
  `id` int NOT NULL /*!80023 INVISIBLE */ COMMENT 'x */ y /* z',
  `c` varchar(9) /*!50606 STORAGE DISK */ GENERATED ALWAYS AS (concat(`id`,_utf8mb4'*/')) VIRTUAL /*!80023 INVISIBLE */,
  `g` geometry NOT NULL /*!80003 SRID 4326 */,
  CONSTRAINT `k` CHECK ((`c` <> _utf8mb4'*/ /*!80016')) /*!80016 NOT ENFORCED */,
  FULLTEXT KEY `f` (`c`) /*!50100 WITH PARSER `ngram` */ /*!80000 INVISIBLE */
) /*!50100 TABLESPACE `ts*/` */ ENGINE=InnoDB /*!80016 ENCRYPTION='Y' */ COMMENT='it\'s */ /* b'
/*!50500 PARTITION BY LIST  COLUMNS(id)
(PARTITION p0 VALUES IN ('a*/b') COMMENT = 'c*/d' ENGINE = InnoDB) */;
"""
    for size in (1, 1 << 20):
        assert [statement.name for statement in read(sql, size)] == ["a/*!b"]


def test_what_only_mysql_9_has() -> None:
    view = b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50001 JSON RELATIONAL DUALITY VIEW `v` AS select 1 */"
    library = b"CREATE LIBRARY `l`\n    LANGUAGE JAVASCRIPT\nAS $JS$ for(;;){} // it's $$\n $JS$"
    sql = b"DROP LIBRARY IF EXISTS `l`;\nDELIMITER ;;\n" + library + b" ;;\nDELIMITER ;\n" + view + b";\n"
    for size in (1, 7, 1 << 20):
        assert read(sql, size) == [Statement("library", "l", library), Statement("view", "v", view)]


def test_rows_of_a_table_without_columns_of_its_own() -> None:
    """MySQL's client writes one more parenthesis for each of them."""
    assert read(b"INSERT INTO `t` () VALUES ),));\n") == [Statement("rows", "t", b"INSERT INTO `t` () VALUES ),))")]
