"""Archives: AES-256 ZIP files that any AES-capable zip tool opens.

Belongs here: entries, their encryption, writing and reading them, how a manifest lies among them. Not here: what a
manifest says (`catalog`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lifeboat.databases import EngineName

MANIFEST_NAME = "manifest.json"
DUMPS = "db-dumps"
LOGS = "binary-logs"
_UNSAFE = re.compile(r"[%/\\\x00-\x1f\x7f]")  # would make another folder of a name, or is not printable
_DUMP = re.compile(rf"{DUMPS}/[a-z]+-([^/]+)\.sql")
_ENGINE = re.compile(rf"(?:.*/)?{DUMPS}/([a-z]+)-[^/]+")
_ENGINES: dict[str, EngineName] = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "sqlite": "sqlite",
}
GZIP_WINDOW = 31  # the window of 32 KiB, plus 16 for the framing of gzip, as zlib asks for them
CHUNK = 256 << 10  # larger blocks cost a page fault per page at every allocation


def dump_entry_name(engine: str, database: str) -> str:
    """Return the name of a dump inside its archive, as laravel-backup names it: ``db-dumps/mysql-shop.sql``.

    What would make another folder of the name, or is not printable, becomes ``%XX``.
    """
    return f"{DUMPS}/{engine}-{_safe(database)}.sql"


def log_entry_name(server: str, file: str, start: int) -> str:
    """Return the name of a piece of a binary log inside its archive: ``binary-logs/<server>/binlog.000007@1234``.

    :param server: its own identifier.
    :param start: position in the file from which on it is there.
    """
    return f"{LOGS}/{_safe(server)}/{file}@{start}"


def _safe(name: str) -> str:
    return _UNSAFE.sub(lambda char: f"%{ord(char[0]):02X}", name)


def database_of_entry(name: str) -> str | None:
    """Return the database of a dump's entry, or None where an entry is not a dump of ours."""
    match = _DUMP.fullmatch(name)
    return re.sub(r"%([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), match[1]) if match else None


def engine_of_entry(name: str) -> EngineName | None:
    """Return the engine that reads a dump's entry, or None where none does."""
    match = _ENGINE.fullmatch(name)
    return _ENGINES.get(match[1]) if match else None
