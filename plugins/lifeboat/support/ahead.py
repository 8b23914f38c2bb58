"""Work that another thread does while its results are used on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AHEAD = 4  # items that wait

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items that another thread gets a little before they are asked for.

    It saves time where both threads are mostly without Python's lock: reading, decrypting, inflating, hashing, writing.

    :raises Exception: what getting an item failed with, behind the items before it.
    """
    remaining, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = deque(pool.submit(next, remaining, end) for _ in range(AHEAD))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(pool.submit(next, remaining, end))
                yield item  # type: ignore[misc]  # it is an item, not the end
        finally:
            pool.shutdown(cancel_futures=True)
