"""Several stock clients that dump one database at the same time: their texts become one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from threading import Thread

from lifeboat.databases.watch import SILENCE, Watch


class Share(Thread):
    """A client whose text a separate thread passes on.

    :param fail: ends all clients.
    """

    def __init__(self, fail: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._fail = fail
        self.failure: Exception | None = None
        self.passed = 0  # bytes

    def run(self) -> None:
        try:
            self.pass_on()
        except Exception as error:  # noqa: BLE001  # the thread that waits for it raises it
            self.failure = error
            self._fail()

    def pass_on(self) -> None:
        """Read the client to its end, counting what has passed."""
        raise NotImplementedError

    def wait(self, watch: Watch) -> None:
        """Wait until the client has written its text.

        :raises DumpError: it writes nothing any more.
        """
        passed = self.passed
        while self.is_alive():
            self.join(SILENCE)
            if self.is_alive():
                watch.hears(b"" if passed == self.passed else b" ")
                passed = self.passed


class Hashed:
    """Counts and hashes a text that is written in parts."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.sha256, self.size = hashlib.sha256(), 0

    def write(self, piece: bytes) -> None:
        """Append."""
        self._write(piece)
        self.see(piece)

    def see(self, piece: bytes) -> None:
        """Take note of what others append."""
        self.sha256.update(piece)
        self.size += len(piece)
