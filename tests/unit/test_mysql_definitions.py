"""What a load takes out of a dump's definitions, and what it changes in them."""

from __future__ import annotations

import pytest
from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.statements import StatementReader, recognise
from lifeboat.databases.sql.reader import Statement

from tests.conftest import PROJECT

TEXTS = PROJECT / "tests" / "servers" / "databases" / "reconstructed"


def statement(sql: bytes) -> Statement:
    found = recognise(sql)
    assert found
    return found


def table(*clauses: bytes, options: bytes = b"ENGINE=InnoDB AUTO_INCREMENT=4") -> definitions.Table:
    return definitions.read_table(statement(b"CREATE TABLE `t` (\n  %b\n) %b" % (b",\n  ".join(clauses), options)))


ID = b"`id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'KEY `x` (`y`),\\n); \\' '"
PRIMARY = b"PRIMARY KEY (`id`)"
KEY = b"KEY `k, (` (`a`,`b`(10)) COMMENT ')'"
UNIQUE = b"UNIQUE KEY `u` (`a` DESC)"
TEXT = b"FULLTEXT KEY `f` (`t`)"
FOREIGN = b"CONSTRAINT `c` FOREIGN KEY (`a`, `b`) REFERENCES `p` (`x`, `y`) ON DELETE CASCADE"
CHECK = b"CONSTRAINT `k` CHECK (`a` <> 'KEY `z` (`a`)')"


def test_views_that_read_others_come_first() -> None:
    views = {b"`%b`" % name: b"CREATE VIEW `%b` AS select `a`.`b` AS `c` from %b" % (name, of) for name, of in READS}
    assert [name[1:-1] for name in definitions.readers_first(views)] == [b"z", b"y", b"x", b"a"]


READS = ((b"a", b"`t`"), (b"x", b"`a`"), (b"y", b"`x` join `a`"), (b"z", b"`y`"))


def test_keys_wait_for_the_rows_and_foreign_keys_for_all_tables() -> None:
    found = table(ID, b"`a` int", b"`t` text", PRIMARY, UNIQUE, KEY, TEXT, b"FULLTEXT KEY `g` (`t`)", FOREIGN, CHECK)
    assert found.spreads
    bare = b"CREATE TABLE `t` (\n  %b,\n  `a` int,\n  `t` text,\n  %b,\n  %b\n) ENGINE=InnoDB AUTO_INCREMENT=4"
    assert found.before == (bare % (ID, PRIMARY, CHECK),)
    # InnoDB builds one FULLTEXT key at a time.
    assert found.after == (
        b"ALTER TABLE `t` ADD %b, ADD %b, ADD %b" % (UNIQUE, KEY, TEXT),
        b"ALTER TABLE `t` ADD FULLTEXT KEY `g` (`t`)",
    )
    assert KEY in found.whole
    assert FOREIGN not in found.whole
    (key,) = found.foreign_keys
    assert definitions.add_foreign_keys(found, [key]) == b"ALTER TABLE `t` ADD " + FOREIGN
    assert key.orphans == (
        b"SELECT COUNT(*) FROM `t` AS child "
        b"LEFT JOIN `p` AS parent ON parent.`x` = child.`a` AND parent.`y` = child.`b` "
        b"WHERE parent.`x` IS NULL AND child.`a` IS NOT NULL AND child.`b` IS NOT NULL"
    )


@pytest.mark.parametrize(
    "clauses",
    [
        [b"`id` int NOT NULL", b"UNIQUE KEY `u` (`id`)", KEY],
        [b"`id` int NOT NULL AUTO_INCREMENT", b"`p` int", b"PRIMARY KEY (`p`)", b"KEY `id` (`id`)"],
        [b"`id` int NOT NULL AUTO_INCREMENT", b"KEY `id` (`id`)"],
        [ID, PRIMARY, b"UNIQUE KEY `t` (`t`) USING HASH"],
        [ID, PRIMARY, b"UNIQUE KEY `t` (`a`,`p` WITHOUT OVERLAPS)"],
        [ID, b"`FTS_DOC_ID` bigint unsigned NOT NULL", PRIMARY, b"UNIQUE KEY `FTS_DOC_ID_INDEX` (`FTS_DOC_ID`)", TEXT],
        [ID, PRIMARY, b"VECTOR KEY `v` (`v`)"],
    ],
)
def test_a_table_for_which_any_key_must_stay_keeps_all(clauses: list[bytes]) -> None:
    found = table(*clauses)
    assert not found.spreads
    assert found.before == (found.whole,)
    assert found.after == ()
    assert all(clause in found.whole for clause in clauses)


def test_other_engines_keep_their_keys() -> None:
    for engine in (b"MyISAM", b"Aria"):
        found = table(ID, PRIMARY, KEY, options=b"ENGINE=" + engine)
        assert not found.spreads
        assert found.before == (found.whole, b"ALTER TABLE `t` DISABLE KEYS")
        assert found.after == (b"ALTER TABLE `t` ENABLE KEYS",)
    for options in (b"ENGINE=MEMORY", b"DEFAULT CHARSET=utf8mb4 COMMENT='ENGINE=InnoDB'"):
        found = table(ID, PRIMARY, KEY, options=options)
        assert (found.spreads, found.before, found.after) == (False, (found.whole,), ())


def test_system_versioned_tables_wait_but_for_fulltext_keys() -> None:
    options = b"ENGINE=InnoDB WITH SYSTEM VERSIONING"
    assert table(ID, PRIMARY, KEY, options=options).spreads
    assert not table(ID, PRIMARY, KEY, TEXT, options=options).spreads


@pytest.mark.parametrize("version", ["8.0", "8.4", "9"])
def test_tables_of_oracles_client_are_taken_apart(version: str) -> None:
    sql = (TEXTS / f"mysql-{version}.dump.sql").read_bytes()
    found = {
        made.name: definitions.read_table(made) for made in StatementReader([sql], 1 << 20) if made.kind == "table"
    }
    lines = found["order_lines"]
    assert lines.after == (b"ALTER TABLE `order_lines` ADD KEY `user_id` (`user_id`)",)
    assert [key.title for key in lines.foreign_keys] == ["foreign key 'order_lines_ibfk_1' of table 'order_lines'"]
    assert b"CONSTRAINT `order_lines_chk_1` CHECK ((`qty` > 0))\n) ENGINE=InnoDB" in lines.before[0]
    assert found["audit_log"].before == (found["audit_log"].whole,)


@pytest.mark.parametrize(
    ("head", "account", "clause", "rest"),
    [
        (
            b"/*!50003 CREATE*/ /*!50017 ",
            ("a`b", "%"),
            b"DEFINER=`a``b`@`%`",
            b"*/ /*!50003 TRIGGER t1 AFTER INSERT ON t",
        ),
        (b"CREATE ", ("a", "h"), b'DEFINER="a"@"h" ', b'PROCEDURE "p"()\n'),
        (b"CREATE ", ("role", ""), b"DEFINER=`role`@`` ", b"AGGREGATE FUNCTION `f`(x int) RETURNS int"),
        (
            b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 ",
            ("a", "h"),
            b"DEFINER=`a`@`h` ",
            b"SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS",
        ),
        (b"CREATE ", None, b"", b"TRIGGER `t1` BEFORE INSERT ON `t` FOR EACH ROW"),
    ],
)
def test_definers_go_from_the_head_alone(
    head: bytes, account: tuple[str, str] | None, clause: bytes, rest: bytes
) -> None:
    body = b" SELECT 'CREATE DEFINER=`x`@`y` '"
    found = statement(head + clause + rest + body)
    assert definitions.definer_of(found) == account
    if account:
        assert definitions.without_definer(found).sql == head + rest + body


@pytest.mark.parametrize("status", [b"ENABLE", b"DISABLE", b"DISABLE ON SLAVE", b"DISABLE ON REPLICA"])
def test_an_event_is_put_to_sleep(status: bytes) -> None:
    sql = b"/*!50106 CREATE*/ /*!50106 EVENT `ENABLE DO` ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 02:00:00'"
    sql += b" ON COMPLETION NOT PRESERVE %b COMMENT ' ON COMPLETION PRESERVE ENABLE' DO SELECT 'ENABLE' */"
    event = statement(sql % status)
    assert (definitions.status_of(event) == "ENABLE") == (status == b"ENABLE")
    assert definitions.disabled(event).sql == sql.replace(b" ON COMPLETION NOT PRESERVE", b"") % b"DISABLE"


@pytest.mark.parametrize(
    ("body", "reaches"),
    [
        (b"DELETE FROM `shop`.`orders`", True),
        (b"DELETE FROM shop.orders", True),
        (b"SELECT `shop`.`twice`(1)", True),
        (b'DELETE FROM "shop" . "orders"', True),
        (b"DELETE FROM orders WHERE x = 'shop.orders'", False),
        (b"DELETE FROM myshop.orders", False),
        (b"-- shop.orders\nDELETE FROM orders /* shop.orders */", False),
        (b"SELECT shop FROM x.shop.y", False),
    ],
)
def test_names_of_the_original_schema_are_seen(body: bytes, reaches: bool) -> None:
    procedure = statement(b"CREATE PROCEDURE `p`()\nBEGIN " + body + b"; END")
    assert definitions.names_schema(procedure, "shop") == reaches


def test_collations_are_read_from_definitions_not_from_texts() -> None:
    column = b"`a` text COLLATE utf8mb4_0900_ai_ci COMMENT 'COLLATE nothing'"
    made = statement(b"CREATE TABLE `t` (\n  %b\n) ENGINE=InnoDB COLLATE=utf8mb4_bin" % column)
    assert definitions.collations(made) == {"utf8mb4_0900_ai_ci", "utf8mb4_bin"}
    setting = Statement("setting", "", b"/*!50003 SET collation_connection  = utf8mb4_0900_ai_ci */")
    assert definitions.collations(setting) == {"utf8mb4_0900_ai_ci"}
    restoring = Statement("setting", "", b"/*!50003 SET collation_connection  = @saved_col_connection */")
    assert definitions.collations(restoring) == set()


@pytest.mark.parametrize(
    ("sql", "feature"),
    [
        (b"CREATE SEQUENCE `s` start with 1", "a sequence"),
        (b"CREATE DEFINER=`a`@`b` PACKAGE BODY `p` AS END", "a package body"),
        (b"CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB WITH SYSTEM VERSIONING", "system versioning"),
        (b"CREATE TABLE `t` (\n  `a` uuid NOT NULL\n) ENGINE=InnoDB", "the type UUID or INET"),
        (b"CREATE TABLE `uuid` (\n  `uuid` char(36) COMMENT 'ENGINE=Aria'\n) ENGINE=InnoDB", ""),
    ],
)
def test_what_only_mariadb_has_is_named(sql: bytes, feature: str) -> None:
    assert definitions.mariadb_only(statement(sql)) == feature


def test_columns_and_which_the_server_computes() -> None:
    sql = b"""CREATE TABLE `t` (
  `id` double(9,2) COMMENT ' GENERATED ALWAYS AS (1)',
  `a``b` json DEFAULT (json_array(1,',')),
  `c` varchar(9) COLLATE utf8mb4_bin GENERATED ALWAYS AS (concat(`id`,',')) STORED,
  PRIMARY KEY (`id`),
  CONSTRAINT `k` CHECK (`id` > 0)
) ENGINE=InnoDB"""
    assert definitions.read_table(statement(sql)).columns == (
        definitions.Column(b"`id`", is_computed=False, is_floating=True, has_default=False),
        definitions.Column(b"`a``b`", is_computed=False, is_floating=False),
        definitions.Column(b"`c`", is_computed=True, is_floating=False),
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"select `d`.`t`.`a` AS `a` from `t`", b"select `t`.`a` AS `a` from `t`"),
        (b"select `d`.`a` AS `a` from `t` `d`", b"select `d`.`a` AS `a` from `t` `d`"),
        (b"select `d`.`f`(`a`) AS `a` from (`d`.`t`)", b"select `f`(`a`) AS `a` from (`t`)"),
        (b"select nextval(`d`.`s`) AS `a`", b"select nextval(`s`) AS `a`"),
        (b"select 1 from (`t` join `d`.`u` on(1))", b"select 1 from (`t` join `u` on(1))"),
        (b"select '`d`.`t`.`a`\\'`d`.`t`.`b`' AS `a`", b"select '`d`.`t`.`a`\\'`d`.`t`.`b`' AS `a`"),
        (b"select `e`.`d`.`a` AS `d` from `e`.`d`", b"select `e`.`d`.`a` AS `d` from `e`.`d`"),
        (b"select `x``d`.`t`.`a` from `d``x`.`t`", b"select `x``d`.`t`.`a` from `d``x`.`t`"),
    ],
)
def test_a_view_loses_its_own_schema_and_no_other(before: bytes, after: bytes) -> None:
    view = b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50001 VIEW `v` AS %b */"
    assert definitions.within_schema(statement(view % before), "d").sql == view % after


def test_a_routine_finds_its_libraries_where_it_is() -> None:
    routine = b"CREATE FUNCTION `f`() RETURNS int\n    LANGUAGE JAVASCRIPT\n    USING (%b)\nAS $$ `d`.`x` $$"
    before = statement(routine % b"`d`.`a` AS `b`, `d`.`d`, `e`.`d`")
    assert definitions.within_schema(before, "d").sql == routine % b"`a` AS `b`, `d`, `e`.`d`"


UNICODE = b"DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
LATIN1 = b"DEFAULT CHARSET=latin1"


@pytest.mark.parametrize(
    ("options", "spellings"),
    [
        pytest.param(
            UNICODE,
            [
                b"`a` varchar(9) DEFAULT NULL",
                b"`a` varchar(9) COLLATE utf8mb4_unicode_ci DEFAULT NULL",
                b"`a` varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci DEFAULT NULL",
            ],
            id="the table's own",
        ),
        pytest.param(
            UNICODE,
            [
                b"`a` enum('b',' COLLATE c','d'')') CHARACTER SET latin1 NOT NULL",
                b"`a` enum('b',' COLLATE c','d'')') COLLATE latin1_swedish_ci NOT NULL",
                b"`a` enum('b',' COLLATE c','d'')') CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL",
            ],
            id="another character set's default",
        ),
        pytest.param(
            LATIN1,
            [
                b"`a` text",
                b"`a` text CHARACTER SET latin1",
                b"`a` text COLLATE latin1_swedish_ci",
            ],
            id="of a table that names no collation",
        ),
        pytest.param(
            UNICODE,
            [
                b"`a` varchar(9) CHARACTER SET utf8 COLLATE utf8_unicode_ci",
                b"`a` varchar(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
                b"`a` varchar(9) COLLATE utf8mb3_unicode_ci",
            ],
            id="the older name of utf8mb3",
        ),
        pytest.param(
            UNICODE,
            [
                b"`a` varchar(9) /*!100301 COMPRESSED*/ CHARACTER SET latin1 DEFAULT NULL",
                b"`a` varchar(9) /*!100301 COMPRESSED*/ COLLATE latin1_swedish_ci DEFAULT NULL",
            ],
            id="compressed",
        ),
    ],
)
def test_spellings_of_one_collation_are_one(options: bytes, spellings: list[bytes]) -> None:
    sql = (
        b"CREATE TABLE `t` (\n  `id` int,\n  %b,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB %b COMMENT=' DEFAULT CHARSET=x'"
    )
    found = {definitions.with_collations_only(statement(sql % (text, options))).sql for text in spellings}
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"COLLATE utf8mb4_unicode_ci", b"COLLATE utf8mb4_bin"),
        (b"CHARACTER SET latin1", b"CHARACTER SET latin1 COLLATE latin1_bin"),
        (b"CHARACTER SET latin1", b"CHARACTER SET latin2"),
        (b"", b"COLLATE utf8mb4_0900_ai_ci"),
        (b"DEFAULT ' COLLATE a'", b"DEFAULT ' COLLATE b'"),
        (b"COMMENT ' CHARACTER SET a'", b"COMMENT ' CHARACTER SET b'"),
        (
            b"GENERATED ALWAYS AS (cast(`b` as char(9) charset latin1))",
            b"GENERATED ALWAYS AS (cast(`b` as char(9) charset utf8mb4))",
        ),
        (b"DEFAULT (_utf8mb4'a' COLLATE utf8mb4_bin)", b"DEFAULT (_utf8mb4'a' COLLATE utf8mb4_general_ci)"),
    ],
)
def test_what_is_not_one_collation_stays_two(one: bytes, other: bytes) -> None:
    found = {
        definitions.with_collations_only(
            statement(b"CREATE TABLE `t` (\n  `a` varchar(9) %b,\n  `b` char(9)\n) %b" % (rest, UNICODE))
        ).sql
        for rest in (one, other)
    }
    assert len(found) == 2


def test_the_collation_of_a_table_counts() -> None:
    options = (UNICODE, LATIN1, b"DEFAULT CHARSET=latin1 COLLATE=latin1_bin", b"")
    sql = b"CREATE TABLE `t` (\n  `a` varchar(9) CHARACTER SET latin2\n) ENGINE=InnoDB %b"
    assert len({definitions.with_collations_only(statement(sql % option)).sql for option in options}) == len(options)


def canonical(*clauses: bytes, options: bytes = b"") -> bytes:
    sql = b"CREATE TABLE `t` (\n  %b\n) ENGINE=InnoDB%b" % (b",\n  ".join(clauses), options)
    return definitions.canonical(statement(sql), "")


def test_the_order_of_keys_does_not_count() -> None:
    keys = [KEY, UNIQUE, TEXT, b"KEY `z` (`a`) /*!80000 INVISIBLE */"]
    assert canonical(ID, PRIMARY, *keys, FOREIGN, CHECK) == canonical(ID, PRIMARY, *reversed(keys), FOREIGN, CHECK)


def test_comments_do_not_count() -> None:
    bare = canonical(ID, b"`a` int DEFAULT NULL", PRIMARY, KEY)
    commented = (b"`a` int DEFAULT NULL /* `x`='),(' */", PRIMARY, KEY + b" /* `x`='y' */")
    assert canonical(ID, *commented, options=b" /* TRANSACTIONAL=1 */") == bare


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([b"`a` int", b"`b` int"], [b"`b` int", b"`a` int"]),
        ([b"`a` int", b"KEY `k` (`a`,`b`)"], [b"`a` int", b"KEY `k` (`b`,`a`)"]),
        ([b"`a` int", b"KEY `k` (`a`)"], [b"`a` int", b"UNIQUE KEY `k` (`a`)"]),
        ([b"`a` int", b"KEY `k` (`a`)"], [b"`a` int", b"KEY `k` (`a`) /*!80000 INVISIBLE */"]),
        ([b"`a` int", b"KEY `k` (`a`)"], [b"`a` int", b"KEY `k` (`a`) /*M!100600 IGNORED */"]),
        ([b"`a` int COMMENT '/* x */'"], [b"`a` int COMMENT '/* y */'"]),
        ([b"`a/* x */` int"], [b"`a/* y */` int"]),
    ],
    ids=repr,
)
def test_other_definitions_count(one: list[bytes], other: list[bytes]) -> None:
    assert canonical(*one) != canonical(*other)


@pytest.mark.parametrize(
    ("printed", "made"),
    [
        (b"exists(select ')' from (`t`)) is true", b"exists(select ')' from (`t`))"),
        (b"(exists(select 1 where exists(select 2) is true) is true)", b"(exists(select 1 where exists(select 2)))"),
        (b"((not exists(select (1))) is false or `a`)", b"((not exists(select (1))) or `a`)"),
        (b"(`a` in (select 1)) is true", b"(`a` in (select 1)) is true"),
        (b"`a` in (select 1) is false", b"`a` in (select 1) is false"),
        (b"`exists`(1) is true", b"`exists`(1) is true"),
        (b"exists(select 1) is false", b"exists(select 1) is false"),
        (b"'exists() is true'", b"'exists() is true'"),
    ],
    ids=repr,
)
def test_a_view_says_once_that_rows_are_there(printed: bytes, made: bytes) -> None:
    view = b"/*!50001 CREATE ALGORITHM=MERGE */\n/*!50001 VIEW `v` AS select 1 AS `1` where %b */"
    assert definitions.within_schema(Statement("view", "v", view % printed), "s").sql == view % made


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (b"`a` int(11)", b"`a` int(11) DEFAULT NULL", True),
        (b"`a` timestamp NULL COMMENT 'x'", b"`a` timestamp NULL DEFAULT NULL COMMENT 'x'", True),
        (b"`a` int(11)", b"`a` int(11) DEFAULT 0", False),
        (b"`a` int(11)", b"`a` int(11) NOT NULL", False),
        (b"`a` int(11) COMMENT ' DEFAULT NULL'", b"`a` int(11) COMMENT ''", False),
        (b"`a DEFAULT NULL` int(11)", b"`a` int(11)", False),
    ],
    ids=repr,
)
def test_mariadb_has_null_by_default_and_mysql_may_have_no_default(one: bytes, other: bytes, alike: bool) -> None:
    sql = b"CREATE TABLE `t` (\n  %b\n) ENGINE=InnoDB"
    texts = [statement(sql % column) for column in (one, other)]
    assert len({definitions.canonical(text, "", of_mariadb=True) for text in texts}) == (1 if alike else 2)
    assert len({definitions.canonical(text, "") for text in texts}) == 2


@pytest.mark.parametrize("kind", ["FUNCTION `f`() RETURNS int", "PROCEDURE `p`()", "TRIGGER `t` BEFORE INSERT ON `a`"])
@pytest.mark.parametrize("end", [b";", b" ;\n", b";;"], ids=["one", "spaces", "two"])
def test_code_is_the_same_however_the_call_went_on_that_made_it(kind: str, end: bytes) -> None:
    """Servers keep a semicolon behind code if a further statement followed in the same call."""
    made = b"CREATE %s SET @a = ';'" % kind.encode()
    alone, followed = (definitions.canonical(statement(sql), "") for sql in (made, made + end))
    assert alone == followed
    assert alone != definitions.canonical(statement(made + b"; SET @b = 1"), "")
