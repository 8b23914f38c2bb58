"""Scratch directories: removed at the end of the block, or by the next one where the process was killed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lifeboat.support.directories import empty, locked
from lifeboat.support.unfinished import sweep


@contextlib.contextmanager
def scratch_directory(folder: Path, prefix: str) -> Iterator[Path]:
    """Make a directory that is removed at the end of the block; remove those that killed processes left.

    :param folder: to make it in; created when missing.
    :param prefix: of its name, which belongs to this purpose alone.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with locked(folder):  # until we hold our own lock: before, we would look dead
            sweep(folder, f"{prefix}*")
            place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
            descriptor = stack.enter_context(locked(place))
        try:
            yield place
        finally:
            empty(descriptor)
            place.rmdir()
