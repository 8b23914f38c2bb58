"""The digest of a dump depends on its data alone: not on chunks, statements, clients or the order of rows."""

from __future__ import annotations

import hashlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from lifeboat.databases import digest
from lifeboat.databases.digest import DumpDigest, DumpParser

KEYED = b"CREATE TABLE `t``s` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB%s;\n"
UNKEYED = b"CREATE TABLE `t``s` (\n  `id` int\n);\n"
END = b"UNLOCK TABLES;\n-- Dump completed on 2026-11-23  1:00:00\n"
NAMED = b"INSERT INTO `t``s` (`id`, `a)b`) VALUES"

texts = st.text(st.sampled_from("ab'\\\n;,()`-/*é🦊 "), max_size=12)
rows_of_texts = st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=12)


def quoted(text: str) -> bytes:
    """Write a string as dump clients do."""
    return b"'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").encode() + b"'"


def literal(row: list[str]) -> bytes:
    return b"(" + b",".join(map(quoted, row)) + b",NULL,0x00FF)"


def mariadb(rows: list[bytes], per_statement: int, insert: bytes = b"INSERT INTO `t``s` VALUES") -> bytes:
    groups = [rows[start : start + per_statement] for start in range(0, len(rows), per_statement)]
    return b"".join(insert + b"\n" + b",\n".join(group) + b";\n" for group in groups)


def mysql(rows: list[bytes], per_statement: int) -> bytes:
    groups = [rows[start : start + per_statement] for start in range(0, len(rows), per_statement)]
    return b"".join(b"INSERT INTO `t``s` VALUES " + b",".join(group) + b";\n" for group in groups)


def parse(dump: bytes, size: int = 1 << 20) -> DumpDigest:
    parser = DumpParser()
    for start in range(0, len(dump), size):
        parser.feed(dump[start : start + size])
    return parser.finish()


@given(rows_of_texts, st.integers(1, 5), st.integers(1, 40))
def test_clients_statements_and_chunks_do_not_count(rows: list[list[str]], per_statement: int, size: int) -> None:
    literals = [literal(row) for row in rows]
    head = KEYED % b""
    (expected,) = parse(head + mariadb(literals, 1000) + END).tables
    assert expected.rows == len(rows)
    assert expected.sha256 == hashlib.sha256(b"".join(row + b",\n" for row in literals)).hexdigest()
    for body in (mariadb(literals, per_statement), mysql(literals, per_statement), mariadb(literals, 2, NAMED)):
        assert parse(head + body + END, size).tables == (expected,)


@given(rows_of_texts, st.randoms(use_true_random=False), st.integers(1, 40))
def test_without_a_primary_key_order_does_not_count(rows: list[list[str]], random: Random, size: int) -> None:
    literals = [literal(row) for row in rows]
    shuffled = list(literals)
    random.shuffle(shuffled)
    (one,) = parse(UNKEYED + mariadb(literals, 3) + END, size).tables
    (other,) = parse(UNKEYED + mysql(shuffled, 2) + END).tables
    assert one == other
    assert one.order == "none"
    (fewer,) = parse(UNKEYED + mariadb([*literals, literals[0]], 3) + END).tables
    assert fewer.sha256 != one.sha256


def test_with_a_primary_key_order_counts() -> None:
    rows = [b"(1,'a')", b"(2,'b')"]
    (one,) = parse(KEYED % b"" + mariadb(rows, 9) + END).tables
    (other,) = parse(KEYED % b"" + mariadb(rows[::-1], 9) + END).tables
    assert one.order == "primary key"
    assert one.sha256 != other.sha256


def test_counters_and_definers_do_not_count() -> None:
    procedure = b"DELIMITER ;;\nCREATE DEFINER=%s PROCEDURE `p`(n INT)\nBEGIN\n  SELECT 1;\nEND ;;\nDELIMITER ;\n"
    one = parse(KEYED % b" AUTO_INCREMENT=7" + procedure % b"`a`@`%`" + END)
    other = parse(KEYED % b"" + procedure % b"`bob`@`localhost`" + END)
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


def test_a_row_larger_than_any_buffer_is_one_row() -> None:
    huge = b"('" + b"x;),(" * (digest.LONGEST_STATEMENT // 4) + b"')"
    expected = hashlib.sha256(huge + b",\n").hexdigest()
    for body in (mysql([huge], 1), mariadb([huge], 1)):
        (table,) = parse(KEYED % b"" + body + END).tables
        assert (table.rows, table.sha256) == (1, expected)


def test_statements_inside_a_routine_are_not_rows() -> None:
    body = b"DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN\nINSERT INTO `t``s` VALUES\n(1);\nEND ;;\nDELIMITER ;\n"
    found = parse(KEYED % b"" + body + END)
    assert [table.rows for table in found.tables] == [0]


def test_only_a_trailer_at_the_end_says_complete() -> None:
    assert parse(KEYED % b"" + END).complete
    assert not parse(KEYED % b"" + mariadb([b"('-- Dump completed')"], 1)).complete
    assert not parse(END + KEYED % b"").complete
    assert not parse(b"").complete
