"""Threads that share the work on many entries."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

SMALL = 1 << 20  # bytes; what is larger travels in pieces
BATCH_BYTES = 1 << 20
BATCH_FILES = 64
SWITCH_SECONDS = 0.0002

Item = TypeVar("Item")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def short_switch_interval() -> Iterator[None]:
    """Make Python switch between threads more often than it does by default.

    Deriving a key takes less than a millisecond without Python's lock; waiting 5 ms to get the lock back would leave
    one core idle.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def batches(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Group items into batches worth handing to a worker; an item larger than `SMALL` is a batch by itself.

    :param size_of: returns the bytes of an item.
    """
    batch: list[Item] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and (size > SMALL or total + size > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
        if size > SMALL:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
