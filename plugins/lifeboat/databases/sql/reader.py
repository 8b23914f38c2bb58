"""SQL that comes in chunks of any size, read statement by statement; memory is bounded by the longest one.

A reader of an engine is a loop over what may come next: blanks (`Reader.skip`), a statement (`Reader.statement`), or
text that is not a statement, such as the rows after COPY (`Reader.lines_until`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

from lifeboat.errors import RestoreError
from lifeboat.text import size_text

READ = 1 << 20
LONGEST = 1 << 30  # bytes of a statement, which are held in memory
LOOKAHEAD = 1 << 16  # bytes in which a statement says what it is, and a comment that it is one

Kind = Literal[  # of what a statement makes, or what else it does; each engine knows some
    "aggregate",
    "cast",
    "collation",
    "comment",
    "conversion",
    "default right",
    "domain",
    "event",
    "event trigger",
    "extension",
    "function",
    "histogram",
    "index",
    "journal",
    "large object",
    "library",
    "materialized view",
    "operator",
    "operator class",
    "operator family",
    "optional comment",
    "owner",
    "package",
    "package body",
    "policy",
    "pragma",
    "procedure",
    "publication",
    "refresh",
    "right",
    "rows",
    "rule",
    "schema",
    "schema collation",
    "sequence",
    "sequence value",
    "setting",
    "skipped",
    "statistics",
    "table",
    "text search configuration",
    "text search dictionary",
    "text search parser",
    "text search template",
    "transform",
    "trigger",
    "type",
    "view",
    "view placeholder",
    "virtual table",
]


class Statement(NamedTuple):
    """One statement of a dump.

    :param kind: of what it makes, or what else it does.
    :param name: of what it makes, changes or fills; empty where it is none of these.
    :param sql: as a server takes it.
    :param table: the table that a trigger is of, where the engine needs it.
    """

    kind: Kind
    name: str
    sql: bytes
    table: str = ""

    def with_sql(self, sql: bytes) -> Statement:
        """Return the same statement in other words."""
        return self._replace(sql=sql)


class Ends(Protocol):
    """Follows the tokens of one statement, and says which of them ends it."""

    def __call__(self, token: re.Match[bytes], /) -> bool: ...


class Reader:
    """The text of a dump, from a position on.

    :ivar settled: bytes of the text up to the end of the last whole statement, or of the last rows behind it.
    :param chunks: of the text.
    :param longest: bytes of the longest statement that the database takes.
    :param hint: what to do about a longer one.
    """

    def __init__(self, chunks: Iterable[bytes], longest: int = LONGEST, hint: str = "") -> None:
        self._chunks = iter(chunks)
        self._longest, self._hint = longest, hint
        self._text = b""
        self._position = self._left = 0
        self._ended = False
        self.settled = 0

    def _more(self) -> bool:
        """Read as much again as there is, so that looking again at the same text stays linear."""
        if self._ended:
            return False
        held = self._text[self._position :]
        pieces, wanted = [held], max(READ, len(held))
        for chunk in self._chunks:
            pieces.append(chunk)
            wanted -= len(chunk)
            if wanted <= 0:
                break
        else:
            self._ended = True
            pieces.append(b"\n")  # the last line may lack it
        self._left += self._position
        self._text, self._position = b"".join(pieces), 0
        return True

    def _read_on(self, reading: str) -> None:
        """Have more of what is being read.

        :raises RestoreError: it is too long, or the dump ends here.
        """
        if self._held() > self._longest:
            raise self._too_long(reading)
        if not self._more():
            raise RestoreError(
                "The dump ends in the middle of a statement: it is cut short.", "Restore another archive."
            )

    def _too_long(self, what: str) -> RestoreError:
        longest = size_text(self._longest)
        return RestoreError(f"{what} is longer than the {longest} that the database accepts at once.", self._hint)

    def _held(self) -> int:
        return len(self._text) - self._position

    def skip(self, blank: re.Pattern[bytes]) -> bool:
        """Pass blanks and comments; return whether anything follows.

        :param blank: matches them all, however few; its group ``open`` is what begins one whose end is not there yet.
        :raises RestoreError: the text ends in a comment, or that is too long.
        """
        self._settle()
        while found := blank.match(self._text, self._position):
            self._position = found.end() if found["open"] is None else found.start("open")
            if found["open"] is not None:
                self._read_on("A comment")
            elif self._held() >= LOOKAHEAD or not self._more():
                break
        return self._held() > 0

    def line(self) -> bytes:
        """Return the line that begins here and pass it."""
        while (end := self._text.find(b"\n", self._position) + 1) == 0 and self._more():
            pass
        return self._take(end or len(self._text))

    def starts_with(self, beginning: bytes) -> bool:
        """Return whether the text continues with this."""
        return self._text.startswith(beginning, self._position)

    def statement(
        self,
        tokens: re.Pattern[bytes],
        ends: Callable[[], Ends],
        plain: Callable[[bytes, int], bytes | None] = lambda text, start: None,
    ) -> bytes:
        """Return the statement that begins here, with what ends it, and pass it.

        :param tokens: as for `_end`; `ends`, too.
        :param plain: returns a statement that need not be taken apart to find its end.
        :raises RestoreError: the text ends in its middle, or it is too long.
        """
        if statement := plain(self._text, self._position):
            self._position += len(statement)
            return statement
        return self._take(self._end(tokens, ends).end())

    def _end(self, tokens: re.Pattern[bytes], ends: Callable[[], Ends]) -> re.Match[bytes]:
        """Return the token that ends the statement which begins here, once enough of the text is there.

        :param tokens: of the dialect; its group ``open`` matches what begins and has not ended yet.
        :param ends: makes what follows the tokens of a statement, from its first one.
        """
        while True:
            is_end = ends()
            for token in tokens.finditer(self._text, self._position):
                if token.lastgroup == "open":
                    break
                if is_end(token):
                    return token
            self._read_on("A statement")

    def lines_until(self, end: bytes) -> Iterator[bytes]:
        """Yield whole lines, many at once, up to a line that is `end`, and pass that.

        A line that is longer than what is read at once comes in pieces, of which only the last ends in a newline.

        :raises RestoreError: there is no such line.
        """
        begins = True  # a line, not a piece of one
        while not (begins and self.starts_with(end)):
            found = self._text.find(b"\n" + end, self._position)
            stop = (found if found >= 0 else self._text.rfind(b"\n", self._position)) + 1
            if stop <= self._position and self._held() >= READ:
                stop = len(self._text)
            if stop > self._position:
                begins = self._text.endswith(b"\n", self._position, stop)
                yield self._take(stop)
                self._settle()
            if found < 0 and not self._more():
                raise RestoreError("The dump ends in the middle of a table's rows: it is cut short.")
        self._position += len(end)

    def _settle(self) -> None:
        self.settled = self._left + self._position

    def _take(self, stop: int) -> bytes:
        """Return the text up to a position, and pass it."""
        taken = self._text[self._position : stop]
        self._position = stop
        return taken
