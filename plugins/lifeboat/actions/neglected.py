"""Databases that no application backs up, on the servers of those that are backed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lifeboat.databases import SERVERLESS, EngineName, names
from lifeboat.decide.health import EVERYTHING, Finding
from lifeboat.errors import LifeboatError
from lifeboat.settings.config import Database, DatabaseServer
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    from lifeboat.site import Site

NEGLECTED = "neglected databases"  # what the check is called


def check(site: Site) -> Iterator[Finding]:
    """Ask every server of the settings for its databases; yield those that nobody backs up.

    A login may see only some of them. A server that does not answer is a finding, as nothing is known of it.
    """
    by_connection: dict[str, list[Database | DatabaseServer]] = {}
    for application in site.settings.applications.values():
        for entry in application.databases:
            if entry.engine not in SERVERLESS:
                by_connection.setdefault(entry.sample.connection, []).append(entry)
    there: dict[tuple[EngineName, str], set[str]] = {}
    entries: dict[tuple[EngineName, str], list[Database | DatabaseServer]] = {}
    for connection, of_connection in by_connection.items():
        sample = of_connection[0].sample
        try:
            engine = site.engine(sample)
            server = sample.engine, engine.address
            found = {name for name, holds in engine.databases().items() if holds}
        except LifeboatError as error:
            text = f"databases of Airflow connection {connection!r} that nobody backs up were not looked for: {error}"
            yield Finding(EVERYTHING, "", NEGLECTED, "degraded", text)
            continue
        there.setdefault(server, set()).update(found)
        entries.setdefault(server, []).extend(of_connection)
    for server, found in there.items():
        named = {entry.name for entry in entries[server] if isinstance(entry, Database)}
        whole = [entry for entry in entries[server] if isinstance(entry, DatabaseServer)]
        covered = {name for name in found if any(each.covers(name) for each in whole)}
        ignored = (*site.settings.ignore_databases, *(pattern for each in whole for pattern in each.exclude))
        if left := neglected(server[0], found, named | covered, ignored):
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
        and not names.matches(name, ignored)
    )
