"""The text of a dump while it passes: its digest, its limits, its longest line."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from lifeboat.databases import Limit
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.limits import Choice, Definitions, Line
from lifeboat.databases.mysql.position import Finder
from lifeboat.errors import DumpError
from lifeboat.support.processes import Child


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
