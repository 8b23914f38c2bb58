"""How far a long step has come, told in its log now and then."""

from __future__ import annotations

import time
from threading import Lock

from lifeboat.logs import logger
from lifeboat.text import size_text

log = logger(__name__)

SECONDS = 15.0  # between two lines of one step


class Progress:
    """Counts bytes and logs the count, at most every `SECONDS`; a step shorter than that logs nothing.

    :param doing: what is going on, as the line begins.
    :param total: bytes in all, where that is known.
    """

    def __init__(self, doing: str, total: int | None = None) -> None:
        self._doing, self._total = doing, total
        self._done = 0
        self._next = time.monotonic() + SECONDS
        self._lock = Lock()  # uploads count from several threads

    def advance(self, count: int) -> None:
        """Count some more bytes."""
        with self._lock:
            self._done += count
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + SECONDS
        of = f" of {size_text(self._total)}" if self._total else ""
        log.info("%s: %s%s so far.", self._doing, size_text(self._done), of)
