"""What another thread gets ahead arrives in its order, with its failure at its place, and not when nobody wants it."""

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest
from lifeboat.support.ahead import AHEAD, ahead


def threads() -> int:
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_items_arrive_in_order_from_another_thread() -> None:
    getting = (threading.current_thread() for _ in range(3 * AHEAD))
    assert threading.main_thread() not in set(ahead(getting))
    assert list(ahead(range(3 * AHEAD))) == list(range(3 * AHEAD))
    assert list(ahead([])) == []


def test_a_failure_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("the third")

    got: list[int] = []
    with pytest.raises(ValueError, match="the third"):
        got.extend(ahead(items()))
    assert got == [1, 2]


def test_few_items_are_got_ahead_and_none_after_the_end() -> None:
    got: list[int] = []
    items = ahead(number for number in count() if not got.append(number))  # type: ignore[func-returns-value]
    assert list(islice(items, 2)) == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert 2 <= len(got) <= 3 + AHEAD
    assert threads() == 0
