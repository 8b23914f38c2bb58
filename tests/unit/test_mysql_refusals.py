"""Each refusal of a restore was reported by the backup, or concerns nothing that a stock client writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat import databases
from lifeboat.databases.mysql import grammar, target
from lifeboat.databases.mysql import limits as mysql_limits
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.dump import CONNECTION_HINTS
from lifeboat.databases.mysql.limits import (
    CLIENT,
    DEFINER,
    EXCLUDED_VIEW,
    FLOAT,
    REFUSED,
    SERVER,
    UNFIT_TRIGGER,
    UNUSABLE_VIEW,
    Line,
)
from lifeboat.databases.mysql.source import Column, Source, Table, Taker
from lifeboat.databases.mysql.statements import StatementReader
from lifeboat.errors import RestoreError

PARTS = ("definitions", "grammar", "lexis", "load", "rows", "statements", "target")
MODULES = ("sql/reader", *(f"mysql/{part}" for part in PARTS))
TABLE = "CREATE TABLE `t` (`a` int){};\n"
CODE = "DELIMITER ;;\nCREATE DEFINER=`u`@`h` {} ;;\nDELIMITER ;\n"
# What the reader says, each with a dump to which it says so: the backup reads the same, and names it as a limit.
READ = {
    "The dump says {}, which reaches beyond its schema, or is not written by dump clients.": "GRANT x TO u;\n",
    "The dump says {}: it was made with --databases and would be loaded into the schema that it names.": "USE `x`;\n",
    "The dump makes {} {} in schema {}, wherever it is loaded.": "CREATE TABLE `x`.`t` (`a` int);\n",
    "The dump's {} {} says {}, which may reach beyond its schema.": TABLE.format(" DATA DIRECTORY='/x'"),
    "A setting of the dump makes it ambiguous how the server reads what follows: {}.": "SET sql_mode = @x;\n",
    "the value that it gives to {} is unknown": "SET character_set_client = @x;\n",
    "sql_mode is not a list of modes": "SET sql_mode = '?';\n",
    "the character set is not a name": "SET character_set_client = '?';\n",
    "bytes that are not characters of the character set {}": "SET NAMES gbk;\n" + TABLE.format(" COMMENT='\udc81'"),
    "a backslash where sql_mode gives it another meaning": "SET sql_mode = 'NO_BACKSLASH_ESCAPES';\n"
    + TABLE.format(r" COMMENT='\\'"),
    "more than dump clients write there": "DO SETVAL(`s`, 1,, 2);\n",
    "a comment that makes the statement depend on the server's version": CODE.format(
        "/*!80000 VIEW `v` AS SELECT 1 */ /*!90000 VIEW `w` AS SELECT 1 */"
    ),
    "a beginning that no dump client writes": CODE.format("EVENT `e` ON SCHEDULE AT f() DO SELECT 1"),
    "a backslash in its beginning": CODE.replace("`u`", r"`u\\`").format("PROCEDURE `p`() SELECT 1"),
    "a comment for some versions whose end depends on the version": "CREATE TABLE `t` (`a` int /*!99999 x '*/' */);\n",
    "a missing list of columns": "CREATE TABLE `t` (`a` int /*!99999 ) */;\n",
    "the name of a schema": TABLE.format(" COMMENT='x' x.y"),
    "an option that reaches beyond a table, or that is unknown": TABLE.format(" FOREIGN=7"),
    "ENGINE={}": TABLE.format(" ENGINE=FEDERATED"),
}
# What a server lacks: told as a demand that the server of the restore connection does not meet, under this name.
DEMANDED = {
    "The dump's {} needs {}, which MySQL does not have.": "family",
    "The dump's {} needs {}, which MariaDB does not have.": "family",
    "The dump's {} needs the storage engine {}, which the server does not have.": "ROCKSDB",
    "The dump's {} needs collation {}, which the server ({}) does not know.": "utf8mb4_x",
    "{} is longer than the {} that the database accepts at once.": "max_allowed_packet",
}
# What no dump is refused for that a stock client completed.
OF_NO_DUMP = {
    "The dump ends in the middle of a statement: it is cut short.": "the backup looks for its last line",
    "The dump ends in the middle of a table's rows: it is cut short.": "rows of PostgreSQL",
    "The dump changes how the server reads text before the rows of table {}.": "clients set it once, before tables",
    "The dump's rows of table {} hold more than literal values, which may reach beyond its schema.": "clients"
    " write literals",
    **dict.fromkeys(
        (
            "{} is a view, which has no rows of its own.",
            "{} is a MERGE table, which has no rows of its own.",
            "The dump has no table {}; it has {}.",
        ),
        "somebody asked for one table",
    ),
    "a statement of kind {} defines nothing": "a mistake of ours",
}

# What the server says of a load, each with what told of it.
NUMBERS = {
    1054: UNFIT_TRIGGER,
    1062: FLOAT,
    1146: EXCLUDED_VIEW,
    1368: UNUSABLE_VIEW,
    1305: UNUSABLE_VIEW,
    1449: DEFINER,
    3105: CLIENT,
    **dict.fromkeys((1153, 1227, 1231, 1273, 1286, 1290, 1418, 1419, 3750), SERVER),
    **dict.fromkeys(
        (1067, 1104, 1118, 1173, 1792, 1969, 3024, 4025, 6125), "a load sets that for its session, if it may"
    ),
    **dict.fromkeys((1044, 1142), "doctor, and the check of a restore connection"),
    **dict.fromkeys((1049, 1050, 1114, 1205), "the place, not the dump"),
    **dict.fromkeys((3780, 3819), "the source does not let it in"),
}


def test_every_error_that_has_a_hint_stands_in_a_list() -> None:
    assert target.HINTS.keys() - CONNECTION_HINTS.keys() == NUMBERS.keys()


def said(node: ast.expr | None) -> Iterator[str]:
    """Yield what an expression may say, with {} for what it fills in."""
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values)
        case ast.IfExp(body=body, orelse=other):
            yield from (*said(body), *said(other))
        case ast.Name(id=name):
            yield from filter(None, [getattr(grammar, name, "")])


def sentences() -> Iterator[str]:
    """Yield all in which the reader, the grammar and the loads refuse something."""
    for module in MODULES:
        tree = ast.parse((Path(databases.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
                yield from said(node.args[0])
            elif module == "mysql/grammar" and isinstance(node, ast.FunctionDef) and node.name.endswith("refusal"):
                for found in ast.walk(node):
                    yield from said(found.value) if isinstance(found, ast.Return) else ()


def test_every_refusal_stands_in_a_list() -> None:
    assert set(sentences()) == READ.keys() | DEMANDED.keys() | OF_NO_DUMP.keys()


@pytest.mark.parametrize(("sentence", "dump"), READ.items(), ids=list(READ))
def test_what_the_reader_refuses_is_a_limit_in_the_same_words(sentence: str, dump: str) -> None:
    sql = dump.encode("utf-8", "surrogateescape")
    with pytest.raises(RestoreError) as refused:
        list(StatementReader([sql], 1 << 20))
    definitions = mysql_limits.Definitions("limits")
    parser = DumpParser(definitions.see)
    parser.feed(sql)
    texts = [limit.text for limit in definitions.limits.values() if limit.kind == REFUSED]
    assert texts == [f"a restore refuses a statement: {refused.value.message.rstrip('.')}"]
    assert all(part in refused.value.message for part in sentence.rstrip(".").split("{}"))


@pytest.mark.parametrize(("here", "there"), [("11.8.1-MariaDB", "9.7.0-MySQL"), ("9.7.0-MySQL", "11.8.1-MariaDB")])
def test_what_a_server_lacks_is_told(here: str, there: str) -> None:
    column = Column("t", "a", 1, "int", "int", None, None, None, "", "", None, None, "YES")
    table = Table("t", "BASE TABLE", "ROCKSDB", "utf8mb4_x", "YES")
    source = Source("s", here, (column,), (table,), (), (), ())
    none: frozenset[str] = frozenset()
    can = {"makes_functions": True, "needs_primary_keys": False, "folds_names": False, "lowers_names": False}
    taker = Taker("there", there, frozenset({"utf8mb4_x"}), none, none, **can, read_only=False, longest=1)
    limits = mysql_limits.of_taker(source, (), taker, Line(2, "t"))
    assert {limit.name for limit in limits if limit.kind == SERVER} == set(DEMANDED.values())
