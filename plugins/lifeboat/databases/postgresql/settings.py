"""Settings that a server, a database or a role may have, and that must not change what Lifeboat's sessions do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.abc import Buffer
    from psycopg.adapt import Loader

UNKNOWN = "SQL_ASCII"  # the encoding of databases that take any bytes for text
TEXTS = ("text", "varchar", "bpchar", "name")

# A dump and a load take as long as they take, and one session waits while another works.
_PATIENCE = dict.fromkeys(
    (
        *("statement_timeout", "lock_timeout", "transaction_timeout"),
        *("idle_session_timeout", "idle_in_transaction_session_timeout"),
    ),
    "0",
)
OURS = _PATIENCE | {"array_nulls": "on", "default_transaction_read_only": "off"}
# How rows and names are printed, where pg_dump leaves it to the session. It ends the other timeouts by itself, and
# without options a pooler that rejects them works, too.
OF_DUMPS = {
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
# Keepalives reveal a cut connection, and keep firewalls from dropping an idle one.
KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "15", "keepalives_count": "8"}


def settle(session: Connection[Any]) -> None:
    """Give a session the settings of ours, as far as its server has them."""
    session.execute(
        "SELECT set_config(name, value, false) FROM pg_settings JOIN jsonb_each_text(%s) ON key = name",
        [json.dumps(OURS)],
    )
    loader = _any_text()
    for kind in TEXTS:
        session.adapters.register_loader(kind, loader)


def take_any_bytes(session: Connection[Any]) -> None:
    """Let a session send and get names as they are, where the server does not know what their bytes mean."""
    if session.info.parameter_status("server_encoding") == UNKNOWN:
        session.execute(f"SET client_encoding TO '{UNKNOWN}'".encode())


def _any_text() -> type[Loader]:
    """Return what reads texts of the server, of which databases without an encoding hold some that are not UTF-8."""
    from psycopg.adapt import Loader

    class AnyText(Loader):
        def load(self, data: Buffer) -> str:
            return bytes(data).decode("utf-8", "backslashreplace")

    return AnyText


def options(session: Connection[Any]) -> str:
    """Return what gives pg_dump its settings, as far as sessions of this login begin with others."""
    differing = session.execute(
        "SELECT format('-c %%s=%%s', name, value) FROM pg_settings JOIN jsonb_each_text(%s) ON key = name"
        " WHERE reset_val <> value ORDER BY name",
        [json.dumps(OF_DUMPS)],
    ).fetchall()
    return " ".join(option for (option,) in differing)
