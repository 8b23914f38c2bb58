"""Streams that steps read from and write to: a file on this machine or an object in a bucket."""

from __future__ import annotations

from typing import BinaryIO, Literal, Protocol


class Source(Protocol):
    """Something to read; a `Path` is one."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it; the reader seeks without fetching what it skips."""


class Output(Protocol):
    """Something that is written once, forward."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Append."""

    def mark(self) -> None:
        """Remember this place instead of an earlier one."""

    def roll_back(self) -> None:
        """Forget what was written since the mark."""


class FileOutput:
    """A file as an output.

    :param file: open for writing; closed by its owner.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._marked = 0

    def write(self, data: bytes | memoryview, /) -> object:
        return self._file.write(data)

    def mark(self) -> None:
        self._marked = self._file.tell()

    def roll_back(self) -> None:
        self._file.seek(self._marked)
        self._file.truncate()
