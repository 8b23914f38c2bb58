"""Databases that no application backs up, on the servers of those that are backed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lifeboat import connections
from lifeboat.databases import SERVERLESS, EngineName, names
from lifeboat.errors import LifeboatError
from lifeboat.health import EVERYTHING, Finding
from lifeboat.logs import logger
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    from lifeboat.config import Database, Settings

NEGLECTED = "neglected databases"  # what the check is called

log = logger(__name__)


def check(settings: Settings) -> Iterator[Finding]:
    """Ask every server of the settings for its databases; yield those that nobody backs up.

    A login may see only some of them. A server that does not answer yields nothing: its backups fail by themselves.
    """
    by_connection: dict[str, list[Database]] = {}
    for application in settings.applications:
        for database in settings.databases_of(application):
            if database.engine not in SERVERLESS:
                by_connection.setdefault(database.connection, []).append(database)
    there: dict[tuple[EngineName, str], set[str]] = {}
    backed_up: dict[tuple[EngineName, str], set[str]] = {}
    for databases in by_connection.values():
        try:
            engine = connections.engine(databases[0], settings.scratch)
            server = databases[0].engine, engine.address
            there.setdefault(server, set()).update(name for name, holds in engine.databases().items() if holds)
        except LifeboatError as error:
            log.warning("Not checked for databases that nobody backs up: %s", error)
            continue
        backed_up.setdefault(server, set()).update(database.name for database in databases)
    for server, found in there.items():
        if left := neglected(server[0], found, backed_up.get(server, set()), settings.ignore_databases):
            text = (
                f"{server[1]} has {plural(len(left), 'database')} that no application backs up: {listed(left)}."
                " Add them to applications, or name them under ignore_databases"
            )
            yield Finding(EVERYTHING, "", NEGLECTED, "degraded", text)


def neglected(engine: EngineName, there: set[str], backed_up: Iterable[str], ignored: Iterable[str]) -> list[str]:
    """Return the databases of a server that should be backed up and are not.

    :param there: that hold anything.
    :param backed_up: names from the settings; a server may store them in lower case.
    :param ignored: patterns of names.
    """
    stored = {name if name in there else name.lower() for name in backed_up}
    return sorted(
        name
        for name in there - stored
        if not names.is_system(engine, name)
        and not names.is_reserved(name)
        and not names.is_copy(name)
        and not any(fnmatchcase(name, pattern) for pattern in ignored)
    )
