"""Tables that the settings exclude from a dump, by names and patterns: pure functions of what the server has.

A pattern is an entry with ``*`` (any characters) or ``?`` (one), or with a backslash before one of them, which then
stands for itself. An entry that is the name of a table is never a pattern, so a dump never lacks a table that the
settings did not mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lifeboat.support.logs import logger
from lifeboat.text import listed, plural

log = logger(__name__)

PUBLIC = "public"  # the schema of PostgreSQL's unqualified names
_TOKEN = re.compile(r"\\(?P<escaped>[*?\\])|(?P<any>\*)+|(?P<one>\?)|(?P<plain>.)", re.DOTALL)
_TOKEN_IN_SCHEMA = re.compile(
    r'\\(?P<escaped>[*?\\])|(?P<any>\*)+|(?P<one>\?)|"(?P<quoted>(?:[^"]|"")*)"|(?P<dot>\.)|(?P<plain>.)', re.DOTALL
)

Parts = tuple[str, ...]  # the name of a table, or its schema and its name


class Found(NamedTuple):
    """Tables that entries of a setting mean.

    :param tables: in the order of the entries.
    :param warnings: what a reader of the dump should know.
    """

    tables: list[str]
    warnings: list[str]


def find(
    setting: str,
    entries: Sequence[str],
    names: Sequence[str],
    tables: Mapping[str, Parts],
    fold: Callable[[str], str] = str,
    rowless: Mapping[str, str] | None = None,
) -> Found:
    """Find the tables that entries of a setting mean, and log what patterns match.

    :param setting: in whose name warnings are given.
    :param names: that an entry may be: of tables, and of views where they can be excluded.
    :param tables: that a pattern may match, each with its parts.
    :param fold: makes names equal that the server takes for the same.
    :param rowless: what a name belongs to that the entries cannot mean: a view.
    """
    others = {fold(name): kind for name, kind in (rowless or {}).items()}
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(fold(name), []).append(name)
    found: dict[str, None] = {}
    warnings = []
    for entry in entries:
        same = [entry] if entry in known.get(fold(entry), ()) else known.get(fold(entry), [])
        matched = matching(entry, tables, fold)
        if same:
            found |= dict.fromkeys(same)
            if more := [name for name in matched or () if name not in same]:
                warnings.append(
                    f"{setting}: {entry!r} is read as the name of that table; as a pattern it would also match"
                    f" {plural(len(more), 'table')}"
                )
        elif matched:
            found |= dict.fromkeys(matched)
            log.info("%s: %r matches %s.", setting, entry, listed(matched))
        elif kind := others.get(fold(entry)):
            warnings.append(f"{setting} names {entry!r}, which is a {kind}: only tables have rows to leave out")
        elif matched is None:
            warnings.append(f"{setting} names {entry!r}, which is not there")
        else:
            warnings.append(f"{setting}: pattern {entry!r} matches no table")
    return Found(list(found), warnings)


def matching(entry: str, tables: Mapping[str, Parts], fold: Callable[[str], str] = str) -> list[str] | None:
    """Return the tables that a pattern matches; None if the entry is not a pattern.

    :param tables: each with its name, or its schema and its name, where the pattern may have both.
    """
    depth = len(next(iter(tables.values()), ("",)))
    patterns = _patterns(entry, fold, has_schema=depth > 1)
    if patterns is None:
        return None
    if len(patterns) < depth:
        patterns = [re.compile(re.escape(PUBLIC)), *patterns]
    return [
        name
        for name, parts in tables.items()
        if all(pattern.fullmatch(fold(part)) for pattern, part in zip(patterns, parts, strict=True))
    ]


def _patterns(entry: str, fold: Callable[[str], str], *, has_schema: bool) -> list[re.Pattern[str]] | None:
    """Return the patterns of a schema and a table, or of a table alone; None if the entry is not a pattern."""
    parts: list[list[str]] = [[""]]  # of each part, what is between its stars
    is_pattern = False
    for token in (_TOKEN_IN_SCHEMA if has_schema else _TOKEN).finditer(entry):
        kind, text = str(token.lastgroup), token[str(token.lastgroup)]
        is_pattern = is_pattern or kind in ("escaped", "any", "one")
        if kind == "dot" and len(parts) == 1:
            parts.append([""])
        elif kind == "any":
            parts[-1].append("")
        else:
            text = text.replace('""', '"') if kind == "quoted" else text
            parts[-1][-1] += "." if kind == "one" else re.escape(fold(text))
    return [_between_stars(part) for part in parts] if is_pattern else None


def _between_stars(pieces: Sequence[str]) -> re.Pattern[str]:
    """Return the pattern of pieces with anything between them; a long name takes no longer than it has characters."""
    first, *others = pieces
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle) + f".*{last}", re.DOTALL)
