"""Sizes and ages, as people read them."""

from __future__ import annotations

from datetime import timedelta


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
        return f"{age.total_seconds():.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours <= 48 else f"{hours / 24:.1f} days"
