"""Sizes and the like, as people read them."""

from __future__ import annotations


def size_text(size: float) -> str:
    """Return a number of bytes for people, in steps of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
