"""Dialects of SQL: where texts, names and comments begin and end, so that nothing inside them counts.

A `Dialect` is facts. Expressions are made of them, and what an engine looks for is made of these expressions:

* `Dialect.text`, `Dialect.name`, `Dialect.quoted`: what stands in quotes, with them;
* `Dialect.comment`: what a server skips;
* `Dialect.begun`: the beginning of either, whose end is not there yet;
* `Dialect.scanner`: all of them, with the tokens that an engine adds, to cut a dump into statements.

What is not SQL text is handled elsewhere: MySQL's DELIMITER is a command of its client (`mysql.statements`), rows after
a COPY are lines (`Reader.lines_until`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quotes:
    """Marks around a text or a name; inside, the closing mark is doubled.

    :param opening: mark.
    :param closing: mark, if it is another.
    :param escapes: whether a backslash takes the meaning from what follows it.
    :param prefix: an expression of what stands right before the opening mark, and belongs to the text.
    """

    opening: bytes
    closing: bytes = b""
    escapes: bool = False
    prefix: bytes = b""

    def whole(self, letter: bytes = b"") -> bytes:
        """Return an expression of what stands between such marks, with them.

        :param letter: as of a dialect.
        """
        opening, closing = re.escape(self.opening), re.escape(self.closing or self.opening)
        others = b"[^%b%b]" % (closing, rb"\\" if self.escapes else b"")
        plain = others + b"*+" if letter == b"" else b"(?>%b|%b)*+" % (letter, others)
        escapes = rb"(?>\\.%b)*+" % plain if self.escapes else b""
        # Cut off behind a doubled mark, a text with a prefix would be read by the rules of one without.
        end = b"(?!%b)" % opening if self.prefix else b""
        return b"%b(?>%b%b%b%b)++%b" % (self.prefix, opening, plain, escapes, closing, end)

    @property
    def to_end(self) -> bytes:
        """An expression of the same, or of all that follows an opening mark whose closing one is missing.

        In hostile text, searching for a missing end behind each letter would never finish.
        """
        closing = re.escape(self.closing or self.opening)
        inside = rb"(?>[^%b\\]|\\.?)" % closing if self.escapes else b"[^%b]" % closing
        return rb"%b%b*+(?:%b|\Z)" % (re.escape(self.opening), inside, closing)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The lexical rules of an engine.

    Expressions of what it does not have are empty.

    :param texts: quotes of texts; those with a prefix first.
    :param names: quotes of names.
    :param lines: expressions of what begins a comment that ends with its line.
    :param block: an expression of what begins a comment that ends with ``*/``.
    :param code: an expression of what begins the same, but is run by some versions of the server.
    :param dollars: an expression of what begins a text that ends where the same comes again.
    :param letter: an expression of a letter of several bytes, the last of which may look like a mark.
    """

    texts: tuple[Quotes, ...]
    names: tuple[Quotes, ...]
    lines: tuple[bytes, ...]
    block: bytes = b""
    code: bytes = b""
    dollars: bytes = b""
    letter: bytes = b""

    @property
    def text(self) -> bytes:
        """An expression of a text in quotes."""
        return b"|".join(quotes.whole(self.letter) for quotes in self.texts)

    @property
    def name(self) -> bytes:
        """An expression of a name in quotes."""
        return b"|".join(quotes.whole(self.letter) for quotes in self.names)

    @property
    def quoted(self) -> bytes:
        """An expression of a text or a name in quotes."""
        return self.text + b"|" + self.name

    @property
    def dollar_quoted(self) -> bytes:
        """An expression of a text between dollars; its group is ``tag``."""
        return b"(?P<tag>%b).*?(?P=tag)" % self.dollars if self.dollars else b""

    @property
    def comment(self) -> bytes:
        """An expression of a comment, without the end of its line."""
        blocks = [self.block + rb".*?\*/"] if self.block else []
        return b"|".join([*(line + rb"[^\n]*+" for line in self.lines), *blocks])

    @property
    def begun(self) -> bytes:
        """An expression of the beginning of a text, a name or a comment."""
        both = (*self.texts, *self.names)
        marks = b"".join(re.escape(quotes.opening) for quotes in both)
        prefixes = (quotes.prefix + re.escape(quotes.opening) for quotes in both if quotes.prefix)
        return any_of(*prefixes, b"[%b]" % marks, self.block, self.dollars)

    def scanner(self, first: bytes, last: bytes = b"") -> re.Pattern[bytes]:
        """Return the tokens of a dump; in its group ``open`` is what begins and has not ended yet.

        :param first: tokens that come before all others, as most are of them: no text or comment begins like these.
        :param last: tokens that come after all others.
        """
        quoted = any_of(self.quoted, self.dollar_quoted)
        groups = (b"(?P<comment>%b)" % self.comment, b"(?P<quoted>%b)" % quoted, b"(?P<open>%b)" % self.begun)
        return re.compile(any_of(first, *groups, self.letter, last), re.DOTALL)


def any_of(*expressions: bytes) -> bytes:
    """Return an expression that matches what one of some does; empty ones are none."""
    return b"|".join(filter(None, expressions))


MYSQL = Dialect(  # and MariaDB, as a session begins: sql_mode and the character set change it
    texts=(Quotes(b"'", escapes=True), Quotes(b'"', escapes=True)),
    names=(Quotes(b"`"),),
    lines=(rb"--(?=[\s\x00-\x1f\x7f]|\Z)", rb"\#"),
    block=rb"/\*(?!!|M!|\+)",
    code=rb"/\*M?!\d*+",
    dollars=rb"(?<=\bAS )\$\w*\$",  # around JavaScript, as MySQL 9 prints it
)
POSTGRESQL = Dialect(  # with standard_conforming_strings, which a load turns on
    texts=(Quotes(b"'", escapes=True, prefix=rb"[eE]"), Quotes(b"'")),
    names=(Quotes(b'"'),),
    lines=(rb"--",),  # pg_dump writes no others
    dollars=rb"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$",
)
SQLITE = Dialect(
    texts=(Quotes(b"'"),),
    names=(Quotes(b'"'), Quotes(b"`"), Quotes(b"[", b"]")),
    lines=(rb"--",),
    block=rb"/\*",
)
