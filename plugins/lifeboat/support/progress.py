"""Progress of a long step: logged from time to time, shown on terminals, reported to the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import NamedTuple

from lifeboat.support.logs import logger
from lifeboat.text import size_text

log = logger(__name__)

SECONDS = 15.0  # between two lines of one step
REPORT_SECONDS = 10.0  # between two reports of one task


class Reached(NamedTuple):
    """The progress of a step.

    :param doing: name of the step.
    :param done: bytes so far.
    :param total: bytes in all; None if unknown.
    :param seconds: from its start until the last of these bytes were counted.
    """

    doing: str
    done: int
    total: int | None
    seconds: float


class Progress:
    """Counts bytes and logs the count, at most every `SECONDS`; a step shorter than that logs nothing.

    :param doing: name of the step; begins the line.
    :param total: bytes in all, if known.
    """

    latest: Progress | None = None  # of this process: the one that counted last

    def __init__(self, doing: str, total: int | None = None) -> None:
        self._doing, self._total = doing, total
        self._done = 0
        self._began = self._counted = time.monotonic()
        self._next = self._began + SECONDS
        self._lock = Lock()  # uploads count from several threads

    @property
    def reached(self) -> Reached:
        """The latest progress of the step."""
        return Reached(self._doing, self._done, self._total, round(self._counted - self._began, 1))

    def advance(self, count: int) -> None:
        """Count some more bytes."""
        Progress.latest = self
        with self._lock:
            self._done += count
            self._counted = time.monotonic()
            if self._counted < self._next:
                return
            self._next = self._counted + SECONDS
        of = f" of {size_text(self._total)}" if self._total else ""
        log.info("%s: %s%s so far.", self._doing, size_text(self._done), of)


@contextmanager
def reported(report: Callable[[Reached], object]) -> Iterator[None]:
    """Report the progress of the steps inside every `REPORT_SECONDS`, if it changed.

    A separate thread reports, because a report may hang and a dump must not wait for it. The last report holds the
    length of a step whose length was unknown before, so that the next run can estimate its progress.
    """
    Progress.latest = None
    done = Event()
    Thread(target=_report_now_and_then, args=(report, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
    if Progress.latest is not None and Progress.latest.reached.total is None:
        _try(report, Progress.latest.reached)


def _report_now_and_then(report: Callable[[Reached], object], done: Event) -> None:
    told = None
    while not done.wait(REPORT_SECONDS):
        if Progress.latest is not None and Progress.latest.reached != told:
            told = Progress.latest.reached
            _try(report, told)


def _try(report: Callable[[Reached], object], reached: Reached) -> None:
    try:
        report(reached)
    except Exception as error:  # noqa: BLE001  # no backup fails because nobody hears how far it is
        log.debug("Could not report the step's progress: %s.", error)
