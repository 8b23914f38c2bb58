"""The text of a dump while it passes: its digest, its limits, its longest line."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lifeboat.databases import Limit
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.limits import Choice, Definitions, Line
from lifeboat.databases.mysql.position import Finder
from lifeboat.errors import DumpError
from lifeboat.support.processes import Child

TABLE = b"-- Table structure for table "
BEHIND_TABLES = tuple(
    b"-- " + what
    for what in (
        b"Dumping events for database ",
        b"Dumping routines for database ",
        b"Events of database ",
        b"Final view structure for view ",
    )
)
_TITLE = b"--\n"  # the line above those
END = b"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */"


@dataclass(frozen=True)
class Passed:
    """Facts of the dump noted as it arrives from its clients.

    :param longest_line: as far as it is longer than what is read at once.
    """

    digest: DumpDigest
    limits: tuple[Limit, ...]
    sql_bytes: int
    sha256: str
    longest_line: Line


class Reader:
    """Reads the text of one client.

    :param definitions: reads those that it writes.
    :param finder: of the position of the dump.
    """

    def __init__(self, definitions: Definitions, finder: Finder) -> None:
        self._definitions, self._finder = definitions, finder
        self.parser = DumpParser(self.see, schema=definitions.schema, remark=self.remark)
        self._lines = _Lines()

    def see(self, sql: bytes) -> None:
        """Take a statement that holds no rows."""
        self._finder.see(sql)
        self._definitions.see(sql)

    def remark(self, line: bytes) -> None:
        """Take a line that is in no statement."""
        self._finder.remark(line)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises DumpError: rows of it would be in no digest, or do not fit their table.
        """
        self._lines.see(chunk, self.parser.table)
        self.parser.feed(chunk)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Limits from its definitions."""
        return tuple(self._definitions.limits.values())

    @property
    def longest_line(self) -> Line:
        """The longest line, as far as it is longer than what is read at once."""
        return self._lines.longest

    def finish(self, client: Child) -> DumpDigest:
        """Return what the client wrote, which ended well.

        :raises DumpError: its text is cut short.
        """
        digest = self.parser.finish()
        if not digest.complete:
            raise DumpError(
                f"{client.name} ended with status 0 but without its completion line: the dump is cut short.",
                "Look at the server's log; the next try starts over.",
            )
        return digest


class Regions(Reader):
    """Reads the text of one client, and divides it where its lines say so.

    :param ends: of each region but the last, how the statement behind it may begin, or the line below its title.
    """

    def __init__(self, definitions: Definitions, finder: Finder, ends: Sequence[tuple[bytes, ...]]) -> None:
        super().__init__(definitions, finder)
        self._ends = list(ends)
        self._cuts: list[int] = []
        self._held, self._given = b"", 0

    def see(self, sql: bytes) -> None:
        super().see(sql)
        self._look(sql, self.parser.reached)

    def remark(self, line: bytes) -> None:
        super().remark(line)
        self._look(line, self.parser.reached - len(_TITLE))

    def _look(self, text: bytes, start: int) -> None:
        if self._ends and text.startswith(self._ends[0]):
            del self._ends[0]
            self._cuts.append(start)

    def pieces(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Take the next bytes; yield what is known by now, each piece with the number of its region."""
        self.feed(chunk)
        yield from self._known(self._held + chunk, self.parser.reached - len(_TITLE))

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yield what is left at the end."""
        yield from self._known(self._held, self._given + len(self._held))

    def _known(self, text: bytes, until: int) -> Iterator[tuple[int, bytes]]:
        start = self._given
        for region, end in enumerate((*self._cuts, until)):
            if (end := min(end, until)) > self._given:
                yield region, text[self._given - start : end - start]
                self._given = end
        self._held = text[self._given - start :]

    def is_divided(self) -> bool:
        """Return whether the text had all lines that divide it."""
        return not self._ends


def with_text(reader: Regions, chunks: Iterable[bytes], text: bytes) -> Iterator[bytes]:
    """Pass the text of a client on, with more text behind its tables, where the first region ends."""
    pieces = itertools.chain.from_iterable(map(reader.pieces, chunks))
    for region, piece in itertools.chain(pieces, _deferred(reader.rest)):
        if region:
            yield text
            text = b""
        yield piece


def _deferred(pieces: Callable[[], Iterator[tuple[int, bytes]]]) -> Iterator[tuple[int, bytes]]:
    """Ask for pieces only when all before them are taken."""
    yield from pieces()


def check_ended(client: Child, choice: Choice) -> None:
    """Wait for the end of a client.

    :param choice: of what it was asked for.
    :raises DumpError: it failed.
    """
    from lifeboat.databases.mysql.dump import HINTS, hint_for

    status = client.wait()
    if status < 0:
        raise DumpError(
            f"{client.name} was killed by {signal.Signals(-status).name}.", "Check the kernel log for the OOM killer."
        )
    if status > 0 and not choice.allows(client.errors.splitlines()):
        raise DumpError(f"{client.name} ended with status {status}: {client.errors}.", hint_for(client.errors, HINTS))


class _Lines:
    """Measures the lines of a dump; those within a chunk are shorter than any server's limit."""

    def __init__(self) -> None:
        self.longest = Line()
        self._open = 0

    def see(self, chunk: bytes, table: str) -> None:
        """Take the next bytes.

        :param table: whose rows were passing when they came.
        """
        end = chunk.find(b"\n")
        size = self._open + (len(chunk) if end < 0 else end)
        if size > self.longest.size:
            self.longest = Line(size, table)
        self._open = size if end < 0 else len(chunk) - chunk.rfind(b"\n")
