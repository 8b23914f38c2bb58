"""A pool of threads, each with a connection to the server of its own.

Queries run in these threads only, because an exception of Airflow's (a time limit, a mark in the UI) does not reach a
thread that is in a query; the calling thread waits where one does. Whatever ends the block kills the statements that
are running, on the server as well: it would go on with them though their client is gone.
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

    :param run: does it.
    :param size: bytes that the job holds until it is done.
    :param lane: jobs of one lane run one after the other, those without a lane at any time.
    """

    run: Callable[[Session], object]
    size: int = 0
    lane: str | None = None


class Workers:
    """Runs jobs on several connections; the first failure ends the work of all.

    :param serial: the connection for the jobs of `run`, which follow one another.
    :param parallel: the connections for the jobs of `submit`, which run at the same time.
    :param control: the connection that stops the others.
    """

    def __init__(self, serial: Session, parallel: Sequence[Session], control: Session) -> None:
        self._control = control
        sessions = [serial, *parallel]
        self._sockets = {session.id(): session.duplicate_socket() for session in sessions}
        self._changed = Condition()
        self._serial_jobs: deque[Job] = deque()
        self._parallel_jobs: deque[Job] = deque()
        self._running: list[Job] = []
        self._failure: Exception | None = None
        self._stopping = False
        self._threads = [
            Thread(
                target=self._work,
                args=(session, self._serial_jobs if session is serial else self._parallel_jobs),
                daemon=True,
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
            for number, duplicate in self._sockets.items():
                self._stop(number, duplicate)
        for thread in self._threads:
            thread.join()
        for duplicate in filter(None, self._sockets.values()):
            duplicate.close()
        if kind:
            self._await_server()

    def _stop(self, number: int, duplicate: socket.socket | None) -> None:
        """End a connection, and what it does."""
        try:
            self._control.execute(b"KILL %d" % number)
        except Exception:  # noqa: BLE001  # the control connection may be gone as well, however its driver says so
            if duplicate:
                with contextlib.suppress(OSError):
                    duplicate.shutdown(socket.SHUT_RDWR)

    def _await_server(self) -> None:
        """Wait while the server undoes what was stopped: until then it holds locks on the schema."""
        deadline = time.monotonic() + UNDO_SECONDS
        with contextlib.suppress(Exception):
            while time.monotonic() < deadline:
                if {row[0] for row in self._control.query("SHOW PROCESSLIST")}.isdisjoint(self._sockets):
                    return
                time.sleep(0.05)

    def run(self, job: Job) -> None:
        """Run a job on the serial connection and wait for its end.

        :raises Exception: what this job, or any other, failed with.
        """
        self._put(job, self._serial_jobs, lambda: job not in self._serial_jobs and job not in self._running)

    def submit(self, job: Job) -> None:
        """Queue a job for any of the parallel connections; wait while more than `READ_AHEAD` bytes are queued already.

        :raises Exception: what any job failed with.
        """
        self._put(job, self._parallel_jobs, lambda: sum(waiting.size for waiting in self._parallel_jobs) <= READ_AHEAD)

    def wait(self) -> None:
        """Wait until nothing is left to do.

        :raises Exception: what any job failed with.
        """
        with self._changed:
            self._await(lambda: not (self._serial_jobs or self._parallel_jobs or self._running))

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
