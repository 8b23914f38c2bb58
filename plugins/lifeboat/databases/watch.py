"""Watches a dump under way: says how far it has come and what holds it up, and ends one that nothing moves any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from lifeboat.errors import DumpError
from lifeboat.support.logs import logger
from lifeboat.support.processes import Child
from lifeboat.support.progress import Progress
from lifeboat.text import age_text

log = logger(__name__)

SILENCE = 60.0  # seconds without a byte of a dump, after which the log says what the server is doing
STALLED = 30  # such silences in a row, in which the server does nothing for the dump, after which it is ended


class Doing(NamedTuple):
    """The activity of a server for one connection of a dump.

    :param text: as the server puts it, without the text of any query.
    :param waits: whether it does nothing: it waits for its client, or for a lock.
    """

    text: str
    waits: bool


class Watch:
    """Watches one dump.

    :param ask: asks the server what it does for the dump's connections.
    :param where: where to look for who holds a lock.
    """

    def __init__(self, database: str, ask: Callable[[], Sequence[Doing]], where: str) -> None:
        self._database, self._ask, self._where = database, ask, where
        self._progress = Progress(f"Dumping {database}")
        self._silences = self._idle = 0

    def passing(self, client: Child) -> Iterator[bytes]:
        """Yield what the client writes.

        :raises DumpError: it writes nothing any more.
        """
        return filter(self.hears, client.chunks(silence=SILENCE))

    def hears(self, chunk: bytes) -> bool:
        """Take what came of the dump, and say whether it was anything.

        :raises DumpError: nothing comes any more.
        """
        if chunk:
            self._silences = self._idle = 0
            self._progress.advance(len(chunk))
            return True
        self._silences += 1
        found = self._ask()
        doing = "; ".join(each.text for each in found)
        silent = age_text(timedelta(seconds=self._silences * SILENCE))
        log.warning(
            "No output from the dump of %s for %s. State of its connection on the server: %s.",
            *(self._database, silent, doing or "there is none"),
        )
        self._idle = self._idle + 1 if all(each.waits for each in found) else 0
        if self._idle >= STALLED:
            raise DumpError(
                f"The client has written nothing for {silent}, and the server is idle"
                f" ({doing or 'its connection is gone'}).",
                f"Check {self._where} for who holds a lock; if nobody does, check the client.",
            )
        return False
