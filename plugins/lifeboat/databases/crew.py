"""Connections that work side by side, each in a thread of its own.

The calling thread only waits where an exception of Airflow's (a time limit, a mark in the UI) reaches it: a query would
hold it until its end. Whatever ends the block ends the statements that run, on the server as well, which would go on
with them though their client is gone.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from lifeboat.databases.mysql import Session

READ_AHEAD = 8 << 20  # bytes of statements that wait for a connection
UNDO_SECONDS = 30.0  # to wait for the server after everything was stopped


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Something to do on one connection.

    :param size: bytes that the job holds until it is done.
    :param lane: jobs of one lane run one after the other; those of none, at any time.
    """

    run: Callable[[Session], object]
    size: int = 0
    lane: str | None = None


class Crew:
    """Works off jobs on several connections; the first failure ends the work of all.

    :param lead: the connection for jobs that follow one another.
    :param hands: the connections for those that need not.
    :param control: a connection to stop the others by.
    """

    def __init__(self, lead: Session, hands: Sequence[Session], control: Session) -> None:
        self._control = control
        sessions = [lead, *hands]
        self._lines = {session.id(): session.line() for session in sessions}
        self._changed = Condition()
        self._lead_jobs: deque[Job] = deque()
        self._hand_jobs: deque[Job] = deque()
        self._running: list[Job] = []
        self._failure: Exception | None = None
        self._stopping = False
        self._threads = [
            Thread(
                target=self._work, args=(session, self._lead_jobs if session is lead else self._hand_jobs), daemon=True
            )
            for session in sessions
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if kind:
            for number, line in self._lines.items():
                self._stop(number, line)
        for thread in self._threads:
            thread.join()
        for line in filter(None, self._lines.values()):
            line.close()
        if kind:
            self._await_server()

    def _stop(self, number: int, line: socket.socket | None) -> None:
        """End a connection, and what it does."""
        try:
            self._control.execute(b"KILL %d" % number)
        except Exception:  # noqa: BLE001  # the control connection may be gone as well, however its driver says so
            if line:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _await_server(self) -> None:
        """Wait while the server undoes what was stopped: until then it holds locks on the schema."""
        deadline = time.monotonic() + UNDO_SECONDS
        with contextlib.suppress(Exception):
            while time.monotonic() < deadline:
                if {row[0] for row in self._control.query("SHOW PROCESSLIST")}.isdisjoint(self._lines):
                    return
                time.sleep(0.05)

    def lead(self, job: Job) -> None:
        """Run a job on the lead's connection and wait for its end.

        :raises Exception: what this job, or any other, failed with.
        """
        self._put(job, self._lead_jobs, lambda: job not in self._lead_jobs and job not in self._running)

    def put(self, job: Job) -> None:
        """Have a job done by any of the hands; wait while too much is waiting for them already.

        :raises Exception: what any job failed with.
        """
        self._put(job, self._hand_jobs, lambda: sum(waiting.size for waiting in self._hand_jobs) <= READ_AHEAD)

    def wait(self) -> None:
        """Wait until nothing is left to do.

        :raises Exception: what any job failed with.
        """
        with self._changed:
            self._await(lambda: not (self._lead_jobs or self._hand_jobs or self._running))

    def _put(self, job: Job, queue: deque[Job], enough: Callable[[], bool]) -> None:
        with self._changed:
            queue.append(job)
            self._changed.notify_all()
            self._await(enough)

    def _await(self, condition: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._failure or condition())
        if self._failure:
            raise self._failure

    def _work(self, session: Session, queue: deque[Job]) -> None:
        while job := self._next(queue):
            failure: Exception | None = None
            try:
                job.run(session)
            except Exception as error:  # noqa: BLE001  # it ends the work, in the thread that waits for it
                failure = error
            with self._changed:
                self._running.remove(job)
                self._failure = self._failure or failure
                self._changed.notify_all()

    def _next(self, queue: deque[Job]) -> Job | None:
        """Return a job to do, or None when there will be no more."""
        with self._changed:
            while not self._stopping and not self._failure:
                taken = {job.lane for job in self._running if job.lane}
                if job := next((job for job in queue if job.lane not in taken), None):
                    queue.remove(job)
                    self._running.append(job)
                    self._changed.notify_all()
                    return job
                self._changed.wait()
        return None
