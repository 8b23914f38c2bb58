"""Sizes, ages, numbers and names, as people read them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

MEGABYTE = 1024 * 1024  # bytes, as the settings count them
NAMES_LISTED = 20

_MARKS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # DEL, C1, separators, directions
_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{_MARKS}]")
_CONTROL_AND_LINES = re.compile(f"[\x00-\x1f{_MARKS}]")


def size_text(size: float) -> str:
    """Return a number of bytes for people, in steps of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def age_text(age: timedelta) -> str:
    """Return a length of time for people."""
    hours = age / timedelta(hours=1)
    if age < timedelta(minutes=2):
        return plural(round(age.total_seconds()), "second")
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours <= 48 else f"{hours / 24:.1f} days"


def plural(number: int, one: str, several: str = "") -> str:
    """Return a number with the name of what it counts: ``1 table``, ``2 tables``.

    :param several: the name of any number but 1; default: `one` with an ``s``.
    """
    return f"{number} {one if number == 1 else several or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return names behind one another, as many as a message can hold."""
    shown = ", ".join(names[:NAMES_LISTED])
    return f"{shown} and {len(names) - NAMES_LISTED} more" if len(names) > NAMES_LISTED else shown or "none"


def group_id(name: str, names: Iterable[str]) -> str:
    """Return a task group id for a name: the name itself, with a number where two of all names become one."""
    taken: dict[str, str] = {}
    for other in names:
        plain = candidate = re.sub(r"[^\w-]+", "_", other, flags=re.ASCII).strip("_") or "unnamed"
        numbers = itertools.count(2)
        while candidate in taken.values():
            candidate = f"{plain}_{next(numbers)}"
        taken[other] = candidate
    return taken[name]


def printable(text: str) -> str:
    """Return a text with control characters and marks of writing direction escaped as ``\\uXXXX``, as in JSON."""
    return _CONTROL.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return a text that is one line, and `printable`."""
    return _CONTROL_AND_LINES.sub(_escaped, text)


def _escaped(char: re.Match[str]) -> str:
    return f"\\u{ord(char[0]):04x}"
