"""Lexical rules of a server for statements: tokens, and how a dump changes these rules as it goes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple

from lifeboat.databases.sql.dialect import MYSQL, Dialect, Quotes, any_of

# Character sets in which no byte of a letter looks like a quote, a backslash or a blank.
PLAIN_CHARACTER_SETS = frozenset(("utf8mb4", "utf8mb3", "utf8", "ascii", "binary"))
# The bytes that begin a letter, and those that end it, in character sets in which the latter may look like a backslash
# or a backtick: where a string ends depends on them.
_LETTERS = {
    "big5": (rb"\xa1-\xf9", rb"[\x40-\x7e\xa1-\xfe]"),
    "cp932": (rb"\x81-\x9f\xe0-\xfc", rb"[\x40-\x7e\x80-\xfc]"),
    "gb18030": (rb"\x81-\xfe", rb"(?:[\x40-\x7e\x80-\xfe]|[0-9][\x81-\xfe][0-9])"),
    "gbk": (rb"\x81-\xfe", rb"[\x40-\x7e\x80-\xfe]"),
    "sjis": (rb"\x81-\x9f\xe0-\xfc", rb"[\x40-\x7e\x80-\xfc]"),
}


class Lexis(NamedTuple):
    """Lexical rules by which a server reads statements.

    :param backslash_escapes: whether a backslash takes the meaning from what follows it.
    :param ansi_quotes: whether double quotes enclose names, in which a backslash means nothing.
    :param character_set: of the connection.
    """

    backslash_escapes: bool = True
    ansi_quotes: bool = False
    character_set: str = "utf8mb4"

    @property
    def dialect(self) -> Dialect:
        """The dialect of statements that are read like this.

        Double quotes are those of texts in any mode: where they end is all that differs.
        """
        single = Quotes(b"'", escapes=self.backslash_escapes)
        double = Quotes(b'"', escapes=self.backslash_escapes and not self.ansi_quotes)
        first, last = _LETTERS.get(self.character_set, (b"", b""))
        return replace(MYSQL, texts=(single, double), letter=rb"[%b]%b" % (first, last) if first else b"")

    def may_split(self, sql: bytes) -> bool:
        """Return whether it is unclear where a character of a statement ends, so it may hide a quote or a backslash."""
        return self.character_set in _LETTERS and not _whole_letters(self).fullmatch(sql)


@cache
def _whole_letters(lexis: Lexis) -> re.Pattern[bytes]:
    first, _ = _LETTERS[lexis.character_set]
    return re.compile(rb"(?>%b|[^%b\\]|\\(?![%b]))*+" % (lexis.dialect.letter, first, first), re.DOTALL)


PLAIN = Lexis()  # as a session begins


@cache
def _tokens(lexis: Lexis) -> re.Pattern[bytes]:
    dialect = lexis.dialect
    return re.compile(
        rb"(?P<blank>\s++|%b)|(?P<open>%b)|(?P<close>\*/)|(?P<quotes>%b)"
        rb"|(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w$])|0x[0-9A-Fa-f]++(?![\w$]))"
        rb"|(?P<word>(?>%b)++)|(?P<mark>.)"
        % (dialect.comment, dialect.code, dialect.quoted, any_of(dialect.letter, rb"[\w$\x80-\xff]")),
        re.DOTALL,
    )


_QUOTES = {b"`": "name", b'"': "quoted", b"'": "string"}
_RUN_BY_ALL = re.compile(rb"/\*!(?:(?:[0-4]\d|50)[0-6]\d\d)?")  # since MySQL 5.7 and MariaDB 10
_OPENS = re.compile(rb"/\*M?!(?:\d{5,6})?")  # of other digits, servers take some for the statement's
MOST_VERSIONS = 4  # that one statement tells apart
REPEATED = 256  # settings that are read once: clients write the same around each piece of code
LONGEST_REPEATED = 1000  # bytes of one


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement that means something.

    :param shape: as shapes have it.
    :param start: where it begins in the statement.
    :param end: where it ends.
    :param only: what opens the comment for some versions that it stands in; empty if all servers read it.
    """

    shape: str
    start: int
    end: int
    only: bytes = b""


def tokens(sql: bytes, lexis: Lexis, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of a statement; white space and comments are none, and what some versions pass over is there."""
    only = b""
    for found in _tokens(lexis).finditer(sql, start):
        kind, text = found.lastgroup, found[0]
        if kind in ("open", "close"):
            only = b"" if kind == "close" or _RUN_BY_ALL.fullmatch(text) else text
        if kind in ("blank", "open", "close"):
            continue
        if kind == "quotes":
            shape = _QUOTES[text[:1]]
        elif kind == "word":
            # Where letters beyond ASCII may be blanks to the server, no expression knows such a word.
            plain = text.isascii() or lexis.character_set in PLAIN_CHARACTER_SETS
            shape = text.decode("ascii", "replace").upper() if plain else "\0"
        else:
            shape = kind if kind == "number" else text.decode("latin-1")
        yield Token(str(shape), found.start(), found.end(), only)


def readings(some: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield tokens as each server may read them: with and without what comments for some versions hold."""
    versions = sorted({token.only for token in some} - {b""})
    for passed_over in itertools.product((False, True), repeat=len(versions)):
        without = set(itertools.compress(versions, passed_over))
        yield [token for token in some if token.only not in without]


def is_ambiguous(sql: bytes, lexis: Lexis) -> bool:
    """Return whether a comment for some versions begins or ends elsewhere for another server, or there are too many.

    One that passes over it takes the next ``*/`` for its end; one that runs it has read a string or another comment
    by then.
    """
    inside, versions = False, set()
    for found in _tokens(lexis).finditer(sql):
        if found.lastgroup in ("open", "close"):
            if found.lastgroup == "open" and (inside or not _OPENS.fullmatch(found[0])):
                return True
            inside = found.lastgroup == "open" and not _RUN_BY_ALL.fullmatch(found[0])
            if inside:
                versions.add(found[0])
        elif inside and b"*/" in found[0]:
            return True
    return len(versions) > MOST_VERSIONS


# Modes that include ANSI_QUOTES, in one version of MySQL or MariaDB at least.
_ANSI_MODES = frozenset((b"ANSI_QUOTES", b"ANSI", b"DB2", b"MAXDB", b"MSSQL", b"ORACLE", b"POSTGRESQL"))
_LITERAL_MODE = b"NO_BACKSLASH_ESCAPES"
_MODES = re.compile(rb"(?!DEFAULT\Z)(?:[A-Z][A-Z_0-9]*(?:,[A-Z][A-Z_0-9]*)*)?")


_MODE, _CHARACTER_SET = b"SQL_MODE", b"CHARACTER_SET_CLIENT"
# What MySQL's client restores without having saved it, as far as the reading depends on it: a load saves it at first.
_SAVED = {b"@SAVED_CS_CLIENT": b"UTF8MB4", b"@SAVED_SQL_MODE": b""}


class Session:
    """Follows the settings of a dump, as far as the reading of what comes after them depends on them.

    :ivar lexis: how the next statement is read.
    """

    def __init__(self) -> None:
        self.lexis = PLAIN
        self._known = {_MODE: b"", _CHARACTER_SET: b"UTF8MB4", **_SAVED}

    def run(self, setting: bytes) -> None:
        """Follow a SET statement that `mysql_grammar` allows.

        :raises ValueError: it leaves open how the server will read what follows.
        """
        read = _assignments_again if len(setting) <= LONGEST_REPEATED else _assignments
        by_all, assignments = read(setting, self.lexis)
        known, changed = dict(self._known), set()
        for target, source in assignments:
            variable = _variable(target)
            if variable not in (_MODE, _CHARACTER_SET) and not variable.startswith(b"@"):
                continue
            # Of a variable of the same statement, servers take the value of before.
            value = self._value(source) if by_all and _variable(source) not in changed else None
            changed.add(variable)
            if value is not None:
                known[variable] = value
            elif variable.startswith(b"@"):
                known.pop(variable, None)
            else:
                raise ValueError(f"the value that it gives to {variable.decode().lower()} is unknown")
        if not _MODES.fullmatch(known[_MODE]):
            raise ValueError("sql_mode is not a list of modes")
        if not _MODES.fullmatch(known[_CHARACTER_SET]):
            raise ValueError("the character set is not a name")
        modes, character_set = set(known[_MODE].split(b",")), known[_CHARACTER_SET].decode("ascii").lower()
        self.lexis = Lexis(_LITERAL_MODE not in modes, bool(modes & _ANSI_MODES), character_set)
        self._known = known

    def _value(self, text: bytes) -> bytes | None:
        """Return what a value says; None where nobody knows."""
        return self._known.get(_variable(text)) if text.startswith(b"@") else text.strip(b"'\"")


def _variable(name: bytes) -> bytes:
    """Return a variable's name without what says that it is the session's; that of NAMES is the character set."""
    plain = re.sub(rb"^@@(?:(?:SESSION|LOCAL)\.)?", b"", name)
    return _CHARACTER_SET if plain == b"NAMES" else plain


def _assignments(setting: bytes, lexis: Lexis) -> tuple[bool, list[tuple[bytes, bytes]]]:
    """Return whether all servers run a SET statement, and its variables and values, in capitals and without blanks."""
    found = list(tokens(setting, lexis))
    parts: list[list[bytes]] = [[]]
    for token in found[1:]:
        if token.shape == ",":
            parts.append([])
        else:
            parts[-1].append(setting[token.start : token.end].upper())
    return not any(token.only for token in found), list(map(_assignment, parts))


_assignments_again = lru_cache(REPEATED)(_assignments)


def _assignment(part: Sequence[bytes]) -> tuple[bytes, bytes]:
    if part[0] == b"NAMES":
        return part[0], part[1]
    at = part.index(b"=")
    return b"".join(part[:at]), b"".join(part[at + 1 :])


# Values as clients print them, in long runs; and anything that is a value, one by one.
_PLAIN_VALUES = rb"[0-9.,+ ]++|-(?!-)|NULL|(?<=[,(]0)x[0-9A-F]++|(?<=[0-9.])e|(?:%b)"
_NUMBER_LITERAL = rb"0x[0-9A-Fa-f]++|0b[01]++|[+-]?\s*(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_STRING_LITERAL = rb"(?:_\w+\s*|[NnXxBb])?(?:%b)"
_LITERAL = rb"\s*(?:%b|NULL|DEFAULT|TRUE|FALSE|%b)\s*"


@cache
def _plain_rows(lexis: Lexis) -> re.Pattern[bytes]:
    row = rb"\((?>%b)*+\)" % (_PLAIN_VALUES % lexis.dialect.texts[0].whole(lexis.dialect.letter))
    return re.compile(rb"%b(?>,(?:\r?\n)?%b)*+" % (row, row), re.DOTALL)


@cache
def _rows_of_literals(lexis: Lexis) -> re.Pattern[bytes]:
    literal = _LITERAL % (_NUMBER_LITERAL, _STRING_LITERAL % lexis.dialect.text)
    row = rb"\s*\((?>%b(?>,%b)*+)?\s*\)\s*" % (literal, literal)
    return re.compile(rb"%b(?>,%b)*+" % (row, row), re.DOTALL | re.IGNORECASE)


def are_literals(rows: bytes, lexis: Lexis) -> bool:
    """Return whether the rows of an INSERT are lists of literals: no names, no functions, no queries, no comments."""
    if not rows.strip(b"),"):
        return True  # as MySQL's client writes rows of computed columns only
    if lexis.may_split(rows):
        return False
    return bool(_plain_rows(lexis).fullmatch(rows) or _rows_of_literals(lexis).fullmatch(rows))
