"""Possessive repeats repeat what is atomic.

Python before 3.11.5, as Debian 12 has it, keeps what the last, failed turn of a possessive repeat has read, unless that
turn is an atomic group (https://github.com/python/cpython/issues/106052). A stock dump is refused by that.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from re import _parser  # type: ignore[attr-defined]  # the only way to see what an expression is made of
from typing import Any

from tests.conftest import PROJECT

# Prints each expression that is compiled to read dumps, by all lexical rules.
READ = r"""
import re
compile = re._compiler.compile
def printed(expression, flags=0):
    if isinstance(expression, (str, bytes)):
        print(repr((expression, int(flags))))
    return compile(expression, flags)
re._compiler.compile = printed

from lifeboat.databases.mysql import lexis
from lifeboat.databases.postgresql import extensions
from tests.unit import test_linear

for read in (test_linear.mysql, test_linear.mysql_digest, test_linear.postgresql, test_linear.sqlite):
    read(b"COMMIT;\n" if read is test_linear.sqlite else b"-- a\n")
for rules in (lexis.PLAIN, lexis.Lexis(False), lexis.Lexis(True, True), lexis.Lexis(character_set="big5")):
    lexis.are_literals(b"(1)", rules), list(lexis.tokens(b"a", rules)), rules.may_split(b"a")
"""
# What needs no turns of its own to be read, or reads them as one.
ATOMIC = ("ANY", "ATOMIC_GROUP", "IN", "LITERAL", "NOT_LITERAL")


def test_no_possessive_repeat_repeats_what_is_not_atomic() -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ], check=False, cwd=PROJECT, env={"PYTHONPATH": "plugins:."}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    compiled = [ast.literal_eval(line) for line in done.stdout.decode().splitlines()]
    possessive = [
        (found, expression) for expression, flags in compiled for found in repeated(_parser.parse(expression, flags))
    ]
    assert len(possessive) > 100
    assert [expression for kind, expression in possessive if kind not in ATOMIC] == []


def repeated(parsed: Sequence[Any]) -> Iterator[str]:
    """Yield what the possessive repeats of an expression repeat: the kind of it, or several things."""
    for kind, value in parsed:
        if str(kind) == "POSSESSIVE_REPEAT":
            yield " and ".join(str(one) for one, _ in value[2])
        for part in value if isinstance(value, (list, tuple)) else [value]:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, _parser.SubPattern):
                    yield from repeated(inner)
