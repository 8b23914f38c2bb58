"""Views and code that read tables whose rows are not there: statements that use them would write other values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_WRITING = r"\b(?:INTO|UPDATE|DELETE\s+FROM)\s+(?:`?[\w$]+`?\s*\.\s*)?`?"


def readers(definitions: Iterable[tuple[str, str]], tables: Collection[str]) -> frozenset[str]:
    """Return what reads some tables, itself or by what it uses, in lower case.

    :param definitions: names with their code; of a trigger, the name is that of its table.
    """
    known = [(name.lower(), code) for name, code in definitions]
    found, new = set[str](), {table.lower() for table in tables}
    while new:
        new = {name for name, code in known if any(_reads(code, other) for other in new)} - found
        found |= new
    return frozenset(found)


def names_one(sql: bytes, names: Iterable[str]) -> bool:
    """Return whether a statement names one of some, in upper or lower case."""
    return any(re.search(_word(name).encode(), sql, re.IGNORECASE) for name in names)


def _reads(code: str, name: str) -> bool:
    """Return whether code names something other than to write into it."""
    rest = re.sub(_WRITING + _word(name), "", code, flags=re.IGNORECASE)
    return bool(re.search(_word(name), rest, re.IGNORECASE))


def _word(name: str) -> str:
    return rf"(?<![\w$]){re.escape(name)}(?![\w$])"
