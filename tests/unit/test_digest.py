"""The digest of a dump depends on its data alone: not on chunks, statements, clients or the order of rows."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.errors import DumpError

Row = list[bytes]  # the literals of a row

KEYED = b"CREATE TABLE `t``s` (\n%b  PRIMARY KEY (`0`)\n) ENGINE=InnoDB%b;\n"
UNKEYED = b"CREATE TABLE `t``s` (\n%b  KEY `k` (`0`)\n) ENGINE=InnoDB;\n"
END = b"UNLOCK TABLES;\n-- Dump completed on 2026-11-23  1:00:00\n"
COMPUTED = b" int(11) GENERATED ALWAYS AS (1 + (2)) STORED"

PIECES = [
    "a",
    "é🦊",
    "'",
    "\\",
    "\n",
    ";",
    "),(",
    "),\n(",
    "),",
    ");\n",
    "(",
    ",",
    "`",
    "-- ",
    "/*",
    "*/",
    "\\),(",
    "','",
]
ESCAPES = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"}

texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def quoted(text: str) -> bytes:
    """Write a string as dump clients do."""
    return b"'" + "".join(ESCAPES.get(char, char) for char in text).encode() + b"'"


values = st.one_of(
    texts.map(quoted),
    texts.map(quoted),
    st.sampled_from([b"NULL", b"''", b"0x00FF", b"-1.5e10", b"_binary '\\''", b"-0"]),
)


@st.composite
def tables(draw: st.DrawFn, computed: bool = False) -> tuple[list[bool], list[Row]]:
    """Whether each column is stored, and rows."""
    stored = draw(st.lists(st.booleans() if computed else st.just(True), min_size=1, max_size=4))
    row = st.lists(values, min_size=len(stored), max_size=len(stored))
    return stored, draw(st.lists(row, min_size=1, max_size=12))


def columns(stored: list[bool]) -> bytes:
    """Write columns as CREATE TABLE has them."""
    return b"".join(b"  `%d`%b,\n" % (n, b" int" if is_stored else COMPUTED) for n, is_stored in enumerate(stored))


def literal(row: Row) -> bytes:
    return b"(" + b",".join(row) + b")"


def names(stored: list[bool]) -> bytes:
    return b" (" + b", ".join(b"`%d`" % n for n, is_stored in enumerate(stored) if is_stored) + b")"


def mariadb(rows: list[bytes], per_statement: int, named: bytes = b"") -> bytes:
    """Write rows as MariaDB's client does, where it names columns as well."""
    head = b"INSERT INTO `t``s`" + named + b" VALUES" + (b" " if named else b"\n")
    groups = [rows[start : start + per_statement] for start in range(0, len(rows), per_statement)]
    return b"".join(head + b",\n".join(group) + b";\n" for group in groups)


def mysql(rows: list[bytes], per_statement: int, named: bytes = b"", insert: bytes = b"INSERT INTO") -> bytes:
    groups = [rows[start : start + per_statement] for start in range(0, len(rows), per_statement)]
    return b"".join(insert + b" `t``s`" + named + b" VALUES " + b",".join(group) + b";\n" for group in groups)


def parse(dump: bytes, size: int = 1 << 20) -> DumpDigest:
    parser = DumpParser()
    for start in range(0, len(dump), size):
        parser.feed(dump[start : start + size])
    return parser.finish()


def expected_sha256(rows: list[bytes], *, ordered: bool) -> str:
    """Make the digest of rows by its definition."""
    if ordered:
        return hashlib.sha256(b"".join(row + b"," for row in rows)).hexdigest()
    return f"{sum(int.from_bytes(hashlib.sha256(row).digest(), 'big') for row in rows) % (1 << 256):064x}"


@pytest.mark.parametrize("create", [KEYED % (b"%b", b""), UNKEYED], ids=["ordered", "unordered"])
@given(tables(), st.integers(1, 5), st.integers(1, 40))
def test_clients_statements_and_chunks_do_not_count(
    create: bytes, table: tuple[list[bool], list[Row]], per_statement: int, size: int
) -> None:
    stored, rows = table
    literals = list(map(literal, rows))
    expected = expected_sha256(literals, ordered=b"PRIMARY" in create)
    named = names(stored)
    for body in (
        mariadb(literals, per_statement),
        mysql(literals, per_statement),
        mariadb(literals, per_statement, named),
        mysql(literals, per_statement, named),
        mysql(literals, per_statement, insert=b"INSERT  IGNORE INTO"),
        mysql(literals, per_statement, insert=b"REPLACE INTO"),
    ):
        (found,) = parse(create % columns(stored) + body + END, size).tables
        assert (found.rows, found.sha256) == (len(rows), expected)


@pytest.mark.parametrize("create", [KEYED % (b"%b", b""), UNKEYED], ids=["ordered", "unordered"])
@given(tables(computed=True), st.integers(1, 5), st.integers(1, 40))
def test_what_the_server_computes_does_not_count(
    create: bytes, table: tuple[list[bool], list[Row]], per_statement: int, size: int
) -> None:
    stored, rows = table
    every = list(map(literal, rows))
    bare = [literal([value for value, is_stored in zip(row, stored, strict=True) if is_stored]) for row in rows]
    expected = expected_sha256(bare, ordered=b"PRIMARY" in create)
    bodies = [mariadb(every, per_statement), mariadb(every, per_statement, names([True] * len(stored)))]
    if any(stored):
        bodies.append(mysql(bare, per_statement, names(stored)))
    else:  # what MySQL's client makes of rows without a value
        bodies.append(b"INSERT INTO `t``s` () VALUES %b;\n" % b",".join(b")" * n for n in range(1, len(rows) + 1)))
    for body in bodies:
        (found,) = parse(create % columns(stored) + body + END, size).tables
        assert (found.rows, found.sha256) == (len(rows), expected)


def test_without_a_primary_key_order_does_not_count() -> None:
    rows = [b"(1)", b"(2)", b"(2)"]
    head = UNKEYED % columns([True])
    (one,) = parse(head + mariadb(rows, 3) + END).tables
    (other,) = parse(head + mysql(rows[::-1], 2) + END).tables
    assert one == other
    assert one.order == "none"
    (fewer,) = parse(head + mariadb(rows[:2], 3) + END).tables
    assert fewer.sha256 != one.sha256


def test_with_a_primary_key_order_counts() -> None:
    rows = [b"(1,'a')", b"(2,'b')"]
    head = KEYED % (columns([True, True]), b"")
    (one,) = parse(head + mariadb(rows, 9) + END).tables
    (other,) = parse(head + mariadb(rows[::-1], 9) + END).tables
    assert one.order == "primary key"
    assert one.sha256 != other.sha256


def test_counters_and_definers_do_not_count() -> None:
    procedure = b"DELIMITER ;;\nCREATE DEFINER=%s PROCEDURE `p`(n INT)\nBEGIN\n  SELECT 1;\nEND ;;\nDELIMITER ;\n"
    one = parse(KEYED % (columns([True]), b" AUTO_INCREMENT=7") + procedure % b"`a`@`%`" + END)
    other = parse(KEYED % (columns([True]), b"") + procedure % b"`bob`@`localhost`" + END)
    assert (one.tables, one.objects) == (other.tables, other.objects)
    assert [(entry.kind, entry.name) for entry in one.objects] == [("procedure", "p")]


def test_whether_an_event_is_enabled_does_not_count() -> None:
    event = (
        b"/*!50106 CREATE*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE %b DO SELECT %d */;\n"
    )
    states = (b"ENABLE", b"DISABLE", b"DISABLE ON SLAVE", b"DISABLE ON REPLICA")
    assert len({parse(event % (state, 1) + END).objects for state in states}) == 1
    assert parse(event % (b"ENABLE", 2) + END).objects != parse(event % (b"ENABLE", 1) + END).objects


def test_schemas_typed_before_a_trigger_do_not_count() -> None:
    trigger = b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 %b for each row set @a = 1 */;\n"
    typed = (b"trigger one before insert on t", b"trigger shop.one before insert on `shop`.t")
    (objects,) = {parse(trigger % head + END).objects for head in typed}
    assert [(entry.kind, entry.name) for entry in objects] == [("trigger", "one")]


@pytest.mark.parametrize("stored", [[True], [True, False]], ids=["stored", "computed"])
@pytest.mark.parametrize("row", [b"x;),(" * (1 << 20), b"\\\\" * (4 << 20), b")" * (4 << 20)])
def test_a_row_larger_than_any_buffer_is_one_row(stored: list[bool], row: bytes) -> None:
    huge = b"'" + row + b"'"
    expected = expected_sha256([literal([huge])], ordered=True)
    head = KEYED % (columns(stored), b"")
    every = literal([huge] + [b"2"] * (len(stored) - 1))
    for body in (mysql([literal([huge])], 1, names(stored)), mariadb([every], 1)):
        (table,) = parse(head + body + END).tables
        assert (table.rows, table.sha256) == (1, expected)


HISTORY = (
    b"/*M!101100 SET @old_system_versioning_insert_history=@@session.system_versioning_insert_history,"
    b" @@session.system_versioning_insert_history=1 */;\n%b"
    b"/*M!101100 SET system_versioning_insert_history=@old_system_versioning_insert_history */;\n"
)
VERSIONED = (
    b"CREATE TABLE `t``s` (\n  `0` int NOT NULL,\n%b  PRIMARY KEY (`0`)\n) ENGINE=InnoDB WITH SYSTEM VERSIONING;\n"
)
PERIOD = b"  `s` timestamp(6) GENERATED ALWAYS AS ROW START,\n  `e` timestamp(6) GENERATED ALWAYS AS ROW END,\n"


def test_rows_of_the_past_count_in_any_order() -> None:
    rows = [b"(1,'2026-01-01','2026-02-01')", b"(1,'2026-02-01','2038-01-19')"]
    insert = b"INSERT INTO `t``s` (`0`, row_start, row_end) VALUES %b;\n"
    found = {
        parse(VERSIONED % b"" + HISTORY % (insert % b",\n".join(dumped)) + END).tables for dumped in (rows, rows[::-1])
    }
    ((table,),) = found
    assert (table.rows, table.order) == (2, "none")
    assert table.sha256 == expected_sha256(rows, ordered=False)


def test_since_when_a_row_is_there_counts_only_where_its_history_is_dumped() -> None:
    insert = b"INSERT INTO `t``s` VALUES\n(1,'2026-0%d-01','2038-01-19');\n"
    dumps = [
        [parse(VERSIONED % PERIOD + (how % (insert % n)) + END).tables for n in (1, 2)] for how in (b"%b", HISTORY)
    ]
    assert [one == other for one, other in dumps] == [True, False]


@pytest.mark.parametrize(
    "line",
    [
        b"INSERT INTO `t``s` SELECT 1;\n",
        b"INSERT INTO `t``s` SET `0` = 1;\n",
        b"INSERT HIGH_PRIORITY INTO `t``s` VALUES (1);\n",
        b"INSERT INTO `t``s` PARTITION (p0) VALUES (1);\n",
        b"insert into `t``s` values (1);\n",
        b"/*!40000 INSERT INTO `t``s` VALUES (1) */;\n",
        b"REPLACE `t``s` VALUES (1);\n",
        b"LOAD DATA INFILE 'x' INTO TABLE `t``s`;\n",
        b"INSERT INTO `other`.`t` VALUES (1);\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_rows_that_are_not_understood_fail_the_dump(line: bytes, size: int) -> None:
    with pytest.raises(DumpError, match="form that Lifeboat does not understand"):
        parse(KEYED % (columns([True]), b"") + line + END, size)


@pytest.mark.parametrize(
    ("stored", "body"),
    [
        ([True, True, True], b"INSERT INTO `t``s` VALUES (1,'a,b');\n"),
        ([True], b"INSERT INTO `t``s` VALUES\n(1,2),\n(2,3);\n"),
        ([True, True], b"INSERT INTO `t``s` (`0`) VALUES (1);\n"),
        ([True], b"INSERT INTO `t``s` (`0`, `1`) VALUES (1,2);\n"),
        ([True, True], b"INSERT INTO `t``s` (`1`, `0`) VALUES (1,2);\n"),
        ([True, False], b"INSERT INTO `t``s` VALUES\n(1,2),\n(2);\n"),
        ([True, True], b"INSERT INTO `t``s` (`0`, `1`) VALUES (1,2,3);\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_table_that_was_altered_during_the_dump_fails_it(stored: list[bool], body: bytes, size: int) -> None:
    with pytest.raises(DumpError, match=r"The rows of table 't`s' do not have the columns of its definition"):
        parse(KEYED % (columns(stored), b"") + body + END, size)


def test_statements_inside_a_routine_are_not_rows() -> None:
    body = b"DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN\nINSERT INTO `t``s` VALUES\n(1);\nEND ;;\nDELIMITER ;\n"
    found = parse(KEYED % (columns([True]), b"") + body + END)
    assert [table.rows for table in found.tables] == [0]


@pytest.mark.parametrize(
    "body",
    [
        b"SELECT 'a;;\n%b'",
        b"SELECT 1; -- it's ;;\n  SELECT '%b'",
        b'/* ;;\n */ SELECT "%b"',
        b"SELECT `a;;\n%b`",
        b"SELECT '\nDELIMITER ;\n%b'",
        b"/*\nDELIMITER ;\n*/ SELECT '%b'",
    ],
)
def test_a_definition_counts_beyond_a_delimiter_in_its_text(body: bytes) -> None:
    sql = b"DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN\n  " + body + b";\nEND ;;\nDELIMITER ;\n"
    one, other = (parse(sql % text + END) for text in (b"a", b"b"))
    assert [(entry.kind, entry.name) for entry in one.objects] == [("procedure", "p")]
    assert one.objects != other.objects
    assert one.complete


def test_a_backslash_means_what_the_mode_of_a_routine_says() -> None:
    mode = b"/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */ ;\n"
    routine = b"DELIMITER ;;\nCREATE PROCEDURE `%b`() SELECT 'C:\\' ;;\nDELIMITER ;\n"
    found = parse(mode + routine % b"one" + routine % b"two" + END)
    assert [entry.name for entry in found.objects] == ["one", "two"]
    assert found.complete


def test_code_that_is_not_understood_hides_nothing_behind_it() -> None:
    sql = b"DELIMITER ;;\nCREATE PROCEDURE `p`() it's odd ;;\nDELIMITER ;\n" + KEYED % (columns([True]), b"")
    found = parse(sql + END)
    assert ([entry.name for entry in found.objects], len(found.tables), found.complete) == (["p"], 1, True)


def test_only_a_trailer_at_the_end_says_complete() -> None:
    assert parse(KEYED % (columns([True]), b"") + END).complete
    assert not parse(KEYED % (columns([True]), b"") + mariadb([b"('-- Dump completed')"], 1)).complete
    assert not parse(END + KEYED % (columns([True]), b"")).complete
    assert not parse(b"").complete


def test_letters_that_look_like_backslashes_do_not_hide_the_end_of_a_dump() -> None:
    """Japanese clients of old made such code; what a restore refuses is still a whole dump."""
    parser = DumpParser()
    parser.feed(b"SET character_set_client = cp932;\n")
    parser.feed(b"/*!50001 VIEW `v` AS select '\x95\\' AS `a` */;\nSET character_set_client = utf8mb4;\n")
    parser.feed(b"-- Dump completed on 2026-11-29\n")
    assert parser.finish().complete


CODE_WITH_SETTINGS = b"""-- Server version	10.11.6-MariaDB
/*!50003 SET character_set_client  = utf8 */ ;
/*!50003 SET collation_connection  = utf8_general_ci */ ;
/*!50106 SET TIME_ZONE= 'SYSTEM' */ ;
/*!50003 SET sql_mode              = 'ANSI_QUOTES,NO_AUTO_CREATE_USER,PIPES_AS_CONCAT' */ ;
DELIMITER ;;
CREATE DEFINER=`a`@`b` PROCEDURE `p`()
SELECT 1 ;;
DELIMITER ;
"""
OTHERS = {
    "sql_mode": (b"ANSI_QUOTES,", b"", False),
    "character set": (b"= utf8 ", b"= latin1 ", False),
    "collation": (b"utf8_general_ci", b"utf8_bin", False),
    "order of modes": (b"ANSI_QUOTES,NO_AUTO_CREATE_USER,PIPES_AS_CONCAT", b"PIPES_AS_CONCAT,ANSI_QUOTES", True),
    "older name": (b"= utf8 ", b"= utf8mb3 ", True),
    "zone, where it does not count": (b"'SYSTEM'", b"'+00:00'", True),
}


@pytest.mark.parametrize(("old", "new", "same"), OTHERS.values(), ids=list(OTHERS))
def test_the_settings_of_code_count(old: bytes, new: bytes, same: bool) -> None:
    assert old in CODE_WITH_SETTINGS
    one, other = (parse(sql).objects for sql in (CODE_WITH_SETTINGS, CODE_WITH_SETTINGS.replace(old, new)))
    assert (one == other) == same


def test_the_zone_of_an_event_and_the_value_of_a_sequence_count() -> None:
    event = b"SET time_zone = '%b' ;\nCREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1;\n"
    assert parse(event % b"SYSTEM").objects != parse(event % b"+00:00").objects
    sequence = b"CREATE SEQUENCE `1` start with 1;\n%b SETVAL(`1`, %d, 0);\n"
    one, same, other = (parse(sequence % by).objects for by in ((b"DO", 5), (b"SELECT", 5), (b"DO", 6)))
    assert one == same != other
