"""Checks of a restored application: what is expected of a value, and what of an output may be shown."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from lifeboat.databases import LONGEST_CHECKED

CheckKind = Literal["sql", "command"]
HIDDEN = "***"
SHORTEST_SECRET = 4  # characters; shorter ones are parts of ordinary words
NO_SECRETS = frozenset(("null", "none", "true", "false"))

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EXPECTATION = re.compile(r"\s*(!=|<=|>=|=|<|>)\s*(?:'([^']*)'|\"([^\"]*)\"|([^=<>!'\"\s].*?))\s*", re.DOTALL)
_SECRET_NAME = r"[\w.-]*(?:PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|DSN|_URL|_URI)[\w.-]*"  # noqa: S105
_SECRET_LINE = re.compile(
    rf"^\s*(?:export\s+)?[\"']?{_SECRET_NAME}[\"']?\s*(?:=>|[=:])\s*(?P<value>.+?)[\s,;]*$",
    re.IGNORECASE | re.MULTILINE,
)
_SAID_SECRET = re.compile(rf"(?P<name>{_SECRET_NAME}[\"']?\s*(?:=>|[=:])\s*)(?:\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?P<before>://[^\s/:@]*:)[^\s/@]+(?=@)")


@dataclass(frozen=True)
class Expectation:
    """A comparison with a number, or with a text by its characters' order."""

    operator: str
    operand: Decimal | str

    def __str__(self) -> str:
        return f"{self.operator} {self.operand}"


def expectation(text: str) -> Expectation:
    """Read what is expected of a value, for example ``> 0`` or ``= 'open'``.

    :raises ValueError: it is something else.
    """
    found = _EXPECTATION.fullmatch(text)
    if not found:
        raise ValueError('must be a comparison with a number or a text, for example "> 0" or "= \'open\'"')
    sign, single, double, bare = found.groups()
    quoted = single if single is not None else double
    number = _number(bare) if quoted is None else None
    return Expectation(sign, number if number is not None else bare if quoted is None else quoted)


def failure(expected: Expectation, rows: Sequence[str | None]) -> str:
    """Return why what a query returned is not what was expected; empty if it is.

    Numbers are shown, texts are not: they may be personal.

    :param rows: of one column.
    """
    if len(rows) != 1:
        return f"the query returned {'no row' if not rows else 'several rows'}, and should return one value"
    (value,) = rows
    if value is None:
        return f"the query returned NULL, and {expected} was expected"
    if len(value) > LONGEST_CHECKED:
        return f"the query returned a text of more than {LONGEST_CHECKED} characters"
    number = _number(value)
    if isinstance(expected.operand, Decimal):
        if number is None:
            return f"the query returned something that is not a number, and {expected} was expected"
        well = _COMPARE[expected.operator](number, expected.operand)
        return "" if well else f"the query returned {number}, and {expected} was expected"
    well = _COMPARE[expected.operator](value, expected.operand)
    return "" if well else f"the query returned another text, and {expected} was expected"


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def secrets_in(text: str) -> set[str]:
    """Return the values of a file that its names call secret, such as those of a ``.env``."""
    values = {found["value"].strip("\"'") for found in _SECRET_LINE.finditer(text)}
    return {value for value in values if len(value) >= SHORTEST_SECRET and value.lower() not in NO_SECRETS}


def freed_of_secrets(text: str, known: Collection[str]) -> str:
    """Return a text without known secrets, and without what it calls a secret itself."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _IN_ADDRESS.sub(rf"\g<before>{HIDDEN}", _SAID_SECRET.sub(rf"\g<name>{HIDDEN}", text))


def alike(databases: Collection[str]) -> list[str]:
    """Return the databases whose variables are those of another one."""
    begins = [variable(name) for name in databases]
    return [name for name in databases if begins.count(variable(name)) > 1]


def variable(database: str) -> str:
    """Return how variables of a database begin."""
    return f"LIFEBOAT_{re.sub(r'[^A-Za-z0-9]', '_', database).upper()}"
