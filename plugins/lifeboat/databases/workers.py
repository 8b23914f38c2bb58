"""A pool of threads, each with its own connection to the server.

Queries run in these threads only, because an exception of Airflow's (a time limit, a mark in the UI) does not reach a
thread that is in a query; the calling thread waits where one does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

READ_AHEAD = 8 << 20  # bytes of statements that wait for a connection

S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[S]):
    """Something to do on one connection.

    :param run: does it.
    :param size: bytes that the job holds until it is done.
    :param lane: jobs of one lane run one after the other, those without a lane at any time.
    """

    run: Callable[[S], object]
    size: int = 0
    lane: str | None = None


class Workers(Generic[S]):
    """Runs jobs on several connections; the first failure ends the work of all.

    :param serial: the connection for the jobs of `run`, which follow one another.
    :param parallel: the connections for the jobs of `submit`, which run at the same time.
    :param stop: ends what all connections are doing; asked when the block fails.
    """

    def __init__(self, serial: S, parallel: Sequence[S], stop: Callable[[], object]) -> None:
        self._stop = stop
        self._changed = Condition()
        self._serial_jobs: deque[Job[S]] = deque()
        self._parallel_jobs: deque[Job[S]] = deque()
        self._waiting = 0  # bytes of the parallel jobs that have not begun
        self._running: list[Job[S]] = []
        self._failure: Exception | None = None
        self._stopping = False
        queues = [(serial, self._serial_jobs), *((session, self._parallel_jobs) for session in parallel)]
        self._threads = [Thread(target=self._work, args=queue, daemon=True) for queue in queues]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if kind:
            self._stop()
        for thread in self._threads:
            thread.join()

    def run(self, job: Job[S]) -> None:
        """Run a job on the serial connection and wait for its end.

        :raises Exception: what this job, or any other, failed with.
        """
        self._put(job, self._serial_jobs, lambda: job not in self._serial_jobs and job not in self._running)

    def submit(self, job: Job[S]) -> None:
        """Queue a job for any of the parallel connections; wait while more than `READ_AHEAD` bytes are queued already.

        :raises Exception: what any job failed with.
        """
        self._put(job, self._parallel_jobs, lambda: self._waiting <= READ_AHEAD)

    def wait(self) -> None:
        """Wait until nothing is left to do.

        :raises Exception: what any job failed with.
        """
        with self._changed:
            self._await(lambda: not (self._serial_jobs or self._parallel_jobs or self._running))

    def _put(self, job: Job[S], queue: deque[Job[S]], enough: Callable[[], bool]) -> None:
        with self._changed:
            queue.append(job)
            self._waiting += job.size
            self._changed.notify_all()
            self._await(enough)

    def _await(self, condition: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._failure or condition())
        if self._failure:
            raise self._failure

    def _work(self, session: S, queue: deque[Job[S]]) -> None:
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

    def _next(self, queue: deque[Job[S]]) -> Job[S] | None:
        """Return a job to do, or None after the last."""
        with self._changed:
            while not self._stopping and not self._failure:
                taken = {job.lane for job in self._running if job.lane}
                if job := next((job for job in queue if job.lane not in taken), None):
                    queue.remove(job)
                    self._waiting -= job.size
                    self._running.append(job)
                    self._changed.notify_all()
                    return job
                self._changed.wait()
        return None
