"""How a server reads the text of statements: tokens, and what a dump changes about their reading as it goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

# Character sets in which no byte of a letter looks like a quote, a backslash or a blank.
PLAIN_CHARACTER_SETS = frozenset(("utf8mb4", "utf8mb3", "utf8", "ascii", "binary"))
# Those whose letters may end in a backslash or a backtick: where a string ends depends on them.
_TREACHEROUS = frozenset(("big5", "cp932", "gb18030", "gbk", "sjis"))
_SPLIT_LETTER = re.compile(rb"[\x81-\xfe][\\`]")


class Lexis(NamedTuple):
    """How a server reads the text of statements.

    :param backslash_escapes: whether a backslash takes the meaning from what follows it.
    :param ansi_quotes: whether double quotes enclose names, in which a backslash means nothing.
    :param character_set: of the connection.
    """

    backslash_escapes: bool = True
    ansi_quotes: bool = False
    character_set: str = "utf8mb4"

    @property
    def literals(self) -> bytes:
        """An expression for what stands between single or double quotes.

        A quote in it is doubled, or stands behind a backslash.
        """
        single = rb"(?:'[^'\\]*+(?:\\.[^'\\]*+)*+')++" if self.backslash_escapes else rb"(?:'[^']*+')++"
        escaped = self.backslash_escapes and not self.ansi_quotes
        return single + (rb'|(?:"[^"\\]*+(?:\\.[^"\\]*+)*+")++' if escaped else rb'|(?:"[^"]*+")++')

    @property
    def strings(self) -> bytes:
        """An expression for what stands in quotes of any kind."""
        return self.literals + rb"|(?:`[^`]*+`)++"

    def may_split(self, sql: bytes) -> bool:
        """Whether a letter of the character set may hide a quote or a backslash of a statement."""
        return self.character_set in _TREACHEROUS and bool(_SPLIT_LETTER.search(sql))


PLAIN = Lexis()  # as a session begins

COMMENTS = rb"--(?=[\s\x00-\x1f\x7f]|\Z)[^\n]*+|\#[^\n]*+|/\*(?!!|M!|\+).*?\*/"


@cache
def _tokens(lexis: Lexis) -> re.Pattern[bytes]:
    return re.compile(
        rb"(?P<blank>\s++|%b)|(?P<open>/\*M?!\d*+)|(?P<close>\*/)|(?P<quotes>%b)"
        rb"|(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w$])|0x[0-9A-Fa-f]++(?![\w$]))"
        rb"|(?P<word>[\w$\x80-\xff]++)|(?P<mark>.)" % (COMMENTS, lexis.strings),
        re.DOTALL,
    )


_QUOTES = {b"`": "name", b'"': "quoted", b"'": "string"}
_RUN_BY_ALL = re.compile(rb"/\*!(?:(?:[0-4]\d|50)[0-6]\d\d)?")  # since MySQL 5.7 and MariaDB 10


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement that means something.

    :param shape: as shapes have it.
    :param start: where it begins in the statement.
    :param end: where it ends.
    """

    shape: str
    start: int
    end: int


def tokens(sql: bytes, lexis: Lexis, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of a statement; white space and comments are none, and what some versions pass over is there."""
    for found in _tokens(lexis).finditer(sql, start):
        kind, text = found.lastgroup, found[0]
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
        yield Token(str(shape), found.start(), found.end())


def is_ambiguous(sql: bytes, lexis: Lexis) -> bool:
    """Whether a comment for some versions ends elsewhere for a server that passes over it.

    That one takes the next ``*/`` for its end; one that runs it has read a string or another comment by then.
    """
    inside = False
    for found in _tokens(lexis).finditer(sql):
        if found.lastgroup in ("open", "close"):
            inside = found.lastgroup == "open" and not _RUN_BY_ALL.fullmatch(found[0])
        elif inside and b"*/" in found[0]:
            return True
    return False


# Modes that include ANSI_QUOTES, in one version of MySQL or MariaDB at least.
_ANSI_MODES = frozenset((b"ANSI_QUOTES", b"ANSI", b"DB2", b"MAXDB", b"MSSQL", b"ORACLE", b"POSTGRESQL"))
_LITERAL_MODE = b"NO_BACKSLASH_ESCAPES"
_MODES = re.compile(rb"(?!DEFAULT\Z)(?:[A-Z][A-Z_0-9]*(?:,[A-Z][A-Z_0-9]*)*)?")


# What MySQL's client restores without having saved it: a load saves it at first.
SAVED = (b"@SAVED_CS_CLIENT", b"@SAVED_CS_RESULTS", b"@SAVED_COL_CONNECTION", b"@SAVED_SQL_MODE", b"@SAVED_TIME_ZONE")


class Session:
    """Follows the settings of a dump, as far as the reading of what comes after them depends on them.

    :ivar lexis: how the next statement is read.
    """

    def __init__(self) -> None:
        self.lexis = PLAIN
        self._variables: dict[bytes, Lexis | bytes] = dict.fromkeys(SAVED, PLAIN)

    def run(self, setting: bytes) -> None:
        """Follow a SET statement that `mysql_grammar` allows.

        :raises ValueError: it leaves open how the server will read what follows.
        """
        for variable, value in _assignments(setting, self.lexis):
            if variable.startswith(b"@") and not variable.startswith(b"@@"):
                self._variables[variable] = self._value(value)
            elif variable.endswith(b"SQL_MODE"):
                self.lexis = self._with_mode(self._value(value))
            elif variable.endswith((b"CHARACTER_SET_CLIENT", b"NAMES")):
                self.lexis = self._with_character_set(self._value(value))

    def _value(self, text: bytes) -> Lexis | bytes:
        """Return what a value says: for a system variable, how the session reads now."""
        if text.startswith(b"@@"):
            return self.lexis
        if text.startswith(b"@"):
            if text not in self._variables:
                raise ValueError(f"{text.decode('ascii', 'replace')} has no value")
            return self._variables[text]
        return text.strip(b"'\"")

    def _with_mode(self, value: Lexis | bytes) -> Lexis:
        if isinstance(value, Lexis):
            return self.lexis._replace(backslash_escapes=value.backslash_escapes, ansi_quotes=value.ansi_quotes)
        if not _MODES.fullmatch(value):
            raise ValueError("sql_mode is not a list of modes")
        modes = set(value.split(b","))
        return self.lexis._replace(backslash_escapes=_LITERAL_MODE not in modes, ansi_quotes=bool(modes & _ANSI_MODES))

    def _with_character_set(self, value: Lexis | bytes) -> Lexis:
        if isinstance(value, Lexis):
            return self.lexis._replace(character_set=value.character_set)
        if not _MODES.fullmatch(value):
            raise ValueError("the character set is not a name")
        return self.lexis._replace(character_set=value.decode("ascii").lower())


def _assignments(setting: bytes, lexis: Lexis) -> Iterator[tuple[bytes, bytes]]:
    """Yield the variables and values of a SET statement, in capitals and without white space."""
    parts: list[list[bytes]] = [[]]
    for token in list(tokens(setting, lexis))[1:]:
        if token.shape == ",":
            parts.append([])
        else:
            parts[-1].append(setting[token.start : token.end].upper())
    for part in parts:
        if part[0] == b"NAMES":
            yield part[0], part[1]
        else:
            at = part.index(b"=")
            yield b"".join(part[:at]), b"".join(part[at + 1 :])


# Values as clients print them, in long runs; and anything that is a value, one by one.
_PLAIN_VALUES = rb"[0-9.,+ ]++|-(?!-)|NULL|(?<=[,(]0)x[0-9A-F]++|(?<=[0-9.])e|(?:%b)"
_NUMBER_LITERAL = rb"0x[0-9A-Fa-f]++|0b[01]++|[+-]?\s*(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_STRING_LITERAL = rb"(?:_\w+\s*|[NnXxBb])?(?:%b)"
_LITERAL = rb"\s*(?:%b|NULL|DEFAULT|TRUE|FALSE|%b)\s*"


@cache
def _plain_rows(lexis: Lexis) -> re.Pattern[bytes]:
    row = rb"\((?:%b)*+\)" % (_PLAIN_VALUES % lexis.literals.partition(b"|")[0])
    return re.compile(rb"%b(?:,(?:\r?\n)?%b)*+" % (row, row), re.DOTALL)


@cache
def _rows_of_literals(lexis: Lexis) -> re.Pattern[bytes]:
    literal = _LITERAL % (_NUMBER_LITERAL, _STRING_LITERAL % lexis.literals)
    row = rb"\s*\((?>%b(?:,%b)*+)?\s*\)\s*" % (literal, literal)
    return re.compile(rb"%b(?:,%b)*+" % (row, row), re.DOTALL | re.IGNORECASE)


def are_literals(rows: bytes, lexis: Lexis) -> bool:
    """Whether the rows of an INSERT are lists of literals: no names, no functions, no queries, no comments."""
    if not rows.strip(b"),"):
        return True  # as MySQL's client writes rows of computed columns only
    if lexis.may_split(rows):
        return False
    return bool(_plain_rows(lexis).fullmatch(rows) or _rows_of_literals(lexis).fullmatch(rows))
