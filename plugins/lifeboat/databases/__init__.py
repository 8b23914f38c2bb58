"""Databases: what a dump is, and the engines that make one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from lifeboat.databases.digest import ObjectDigest, TableDigest


@dataclass(frozen=True)
class Server:
    """Where a database lives and how to log in.

    :param port: TCP port; ignored where `socket` is set.
    :param tls: options by their names in the client's option file: ``ssl-ca``, ``ssl-cert``, ``ssl-key``, ``ssl-mode``.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    socket: str = ""
    tls: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The server as messages name it."""
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Dump:
    """The facts of one dump, as its archive's manifest keeps them.

    :param captured_at: when the snapshot was taken, in UTC.
    :param sql_bytes: length of the SQL text.
    :param sha256: of the SQL text, in hex.
    :param warnings: what its reader should know besides.
    :param unprotected_tables: tables whose engine has no snapshots; they may have changed while they were read.
    """

    database: str
    engine: str
    server: str
    client: str
    character_set: str
    collation: str
    captured_at: datetime
    sql_bytes: int
    sha256: str
    tables: tuple[TableDigest, ...]
    objects: tuple[ObjectDigest, ...]
    excluded_tables: tuple[str, ...]
    unprotected_tables: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as values that JSON knows."""
        return asdict(self) | {"captured_at": self.captured_at.isoformat()}

    @staticmethod
    def from_json(facts: Any) -> Dump:
        """Read what `to_json` returned.

        :raises ValueError: it is something else.
        """
        return _reader().validate_python(facts)


@cache
def _reader() -> TypeAdapter[Dump]:
    return TypeAdapter(Dump)
