"""Loggers that escape control characters, so that no name forges a line of the log or colours a terminal."""

from __future__ import annotations

import logging

from lifeboat.text import one_line, printable


def logger(name: str) -> logging.Logger:
    """Return the logger of a module, which escapes control characters in the arguments of its records.

    Names of tables and files may hold anything, and logs are read in terminals.
    """
    found = logging.getLogger(name)
    found.addFilter(_without_control_characters)
    return found


def _without_control_characters(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_shown, record.args))
    return True


def _shown(value: object) -> object:
    if isinstance(value, int | float):
        return value
    # What an error quotes may have several lines; none of them begins as a record does.
    return printable(str(value)).replace("\n", "\n  ") if isinstance(value, Exception) else one_line(str(value))
