"""SQL that comes in chunks of any size, read statement by statement; memory is bounded by the longest one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from lifeboat.errors import RestoreError
from lifeboat.text import size_text

READ = 1 << 20
LONGEST = 1 << 30  # bytes of a statement, which are held in memory


class Ends(Protocol):
    """Follows the tokens of one statement, and says which of them ends it."""

    def __call__(self, token: re.Match[bytes], /) -> bool: ...


class Window:
    """The part of a dump that is being looked at: what has been read of its chunks, from a position on."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._text = b""
        self._position = 0
        self._ended = False

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
        self._text, self._position = b"".join(pieces), 0
        return True


class SqlText(Window):
    """The text of a dump, read statement by statement.

    :param tokens: of the dialect; its group ``open`` matches what begins and has not ended yet.
    :param ends: makes what follows the tokens of a statement.
    :param plain: returns the statement that begins at a position, if it need not be taken apart to find its end.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        tokens: re.Pattern[bytes],
        ends: Callable[[], Ends],
        plain: Callable[[bytes, int], bytes | None] = lambda text, start: None,
    ) -> None:
        super().__init__(chunks)
        self._tokens, self._ends, self._plain = tokens, ends, plain

    def skip(self, blank: re.Pattern[bytes]) -> bool:
        """Pass what is blank; whether anything follows.

        :param blank: matches all that is, but for a last line whose end is missing.
        """
        while True:
            if found := blank.match(self._text, self._position):
                self._position = found.end()
            if self._text.find(b"\n", self._position) >= 0 or not self._more():
                return self._position < len(self._text)

    def line(self) -> bytes:
        """Return the line that begins here and pass it."""
        while (end := self._text.find(b"\n", self._position) + 1) == 0 and self._more():
            pass
        found = self._text[self._position : end or None]
        self._position += len(found)
        return found

    def starts_with(self, beginning: bytes) -> bool:
        """Return whether the text goes on like this."""
        return self._text.startswith(beginning, self._position)

    def statement(self) -> bytes:
        """Return the statement that begins here, with what ends it, and pass it.

        :raises RestoreError: the text ends in its middle, or it is too long.
        """
        while True:
            if statement := self._plain(self._text, self._position):
                self._position += len(statement)
                return statement
            ends = self._ends()
            for token in self._tokens.finditer(self._text, self._position):
                if token.lastgroup == "open":
                    break
                if ends(token):
                    statement = self._text[self._position : token.end()]
                    self._position = token.end()
                    return statement
            if len(self._text) - self._position > LONGEST:
                raise RestoreError(f"A statement of the dump is longer than {size_text(LONGEST)}.")
            if not self._more():
                raise RestoreError("The dump ends in the middle of a statement: it is cut short.")

    def lines_until(self, end: bytes) -> Iterator[bytes]:
        """Yield whole lines, many at once, up to a line that is `end`, and pass that.

        A line that is longer than what is read at once comes in pieces, of which only the last ends in a newline.

        :raises RestoreError: there is no such line.
        """
        begins = True  # a line, not a piece of one
        while not (begins and self.starts_with(end)):
            found = self._text.find(b"\n" + end, self._position)
            stop = (found if found >= 0 else self._text.rfind(b"\n", self._position)) + 1
            if stop <= self._position and len(self._text) - self._position >= READ:
                stop = len(self._text)
            if stop > self._position:
                yield self._text[self._position : stop]
                begins = self._text.endswith(b"\n", self._position, stop)
                self._position = stop
            if found < 0 and not self._more():
                raise RestoreError("The dump ends in the middle of a table's rows: it is cut short.")
        self._position += len(end)
