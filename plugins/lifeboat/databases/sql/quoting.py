"""Names and texts in quotes, as SQL takes them, whatever is in them; and names without their quotes."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Return a name as PostgreSQL and SQLite take it."""
    return _enclosed(name, '"')


def backquoted(name: str) -> str:
    """Return a name as MySQL takes it, in any sql_mode."""
    return _enclosed(name, "`")


def backquoted_bytes(name: str) -> bytes:
    """Return a name as it stands in a dump of MySQL, in which it need not be UTF-8."""
    return backquoted(name).encode("utf-8", "surrogateescape")


def unquoted(name: str, marks: str = '"') -> str:
    """Return a name without its quotes.

    :param marks: of quotes; a name in others, or in none, stays as it is.
    """
    mark = name[:1]
    return name[1:-1].replace(mark * 2, mark) if mark and mark in marks else name


def name_of(text: bytes) -> str:
    """Return a name of a dump of MySQL without its quotes."""
    return unquoted(text.decode("utf-8", "surrogateescape"), "`\"'")


def literal(text: str) -> str:
    """Return a text as PostgreSQL takes it, however the server reads backslashes."""
    if text.isprintable() and "\\" not in text:
        return _enclosed(text, "'")
    return "E" + _enclosed(text, "'").replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _enclosed(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark * 2) + mark
