"""Warnings of traffic that somebody on the network could read or change; each is given once in a process.

Nothing that works today is refused: what leaves the machine without verified encryption is logged by every backup,
restore and check that uses it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from ipaddress import ip_address
from urllib.parse import urlsplit

from lifeboat.support.logs import logger

log = logger(__name__)
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)

MYSQL_HINT = "Set ssl_mode of Airflow connection {!r} to VERIFY_IDENTITY, and the server's CA under ssl."
POSTGRESQL_HINT = "Set sslmode of Airflow connection {!r} to verify-full, and sslrootcert."


def is_local(host: str) -> bool:
    """Return whether what is sent to a host stays on this machine.

    :param host: a name, an address, or the folder of a socket.
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.startswith("/") or host.lower().rstrip(".") == "localhost"


def warn_of_database(host: str, *, encrypted: bool, verified: bool, hint: str) -> None:
    """Warn of connections to a database server that are not encrypted, or that do not verify its identity."""
    if is_local(host) or (encrypted and verified):
        return
    if encrypted:
        _tell(f"Connections to {host} are encrypted, but nothing verifies that it is the right server. {hint}")
    else:
        _tell(f"Connections to {host} may not be encrypted: rows can be read on the network. {hint}")


def warn_of_url(url: str, what: str, hint: str) -> None:
    """Warn of requests that are not encrypted.

    :param what: can be read on the network.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_local(parts.hostname or ""):
        _tell(f"Requests to {parts.hostname} are not encrypted: {what} can be read on the network. {hint}")


def warn_of_mail(host: str, connection_id: str, *, encrypted: bool) -> None:
    """Warn of mail that is not encrypted on its way to the server."""
    if not encrypted and not is_local(host):
        hint = f"Take disable_ssl or disable_tls out of the extra of Airflow connection {connection_id!r}."
        _tell(f"Mail to {host} is not encrypted: its login and alerts can be read on the network. {hint}")


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the warnings of a block, all of them, instead of logging each once."""
    warnings: list[str] = []
    token = _collected.set(warnings)
    try:
        yield warnings
    finally:
        _collected.reset(token)


def _tell(text: str) -> None:
    warnings = _collected.get()
    if warnings is None:
        _warn(text)
    else:
        warnings.append(text)


@functools.cache
def _warn(text: str) -> None:
    log.warning("%s", text)
