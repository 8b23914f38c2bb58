"""Whole servers: the databases that they have when a backup begins, and those that came or vanished since the last."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from lifeboat.actions import survey
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import OWN_KINDS, Archive
from lifeboat.catalog.manifest import Listing
from lifeboat.databases import EngineName
from lifeboat.decide.health import Finding
from lifeboat.errors import DumpError, LifeboatError, SettingsError, StagingError, StorageError
from lifeboat.settings.config import Database, DatabaseServer
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.support.logs import logger
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    from lifeboat.catalog.manifest import ManifestHead
    from lifeboat.site import Site

log = logger(__name__)

VANISHED = "vanished databases"  # what the check is called
MOST_READ = 10  # manifests of older archives, to find one that holds a database
STAGED = "databases"  # name of the staged listing


class Wanted(NamedTuple):
    """The databases of a backup.

    :param listing: all that there were; None where the settings name every database.
    """

    databases: Sequence[Database]
    listing: Listing | None = None


class Chosen(NamedTuple):
    """Databases of those that were listed."""

    databases: Sequence[Database]
    listing: Listing


def wanted(site: Site, application: str, chosen: Sequence[str] = ()) -> Wanted:
    """Return the databases of an application to back up, and ask its servers for them where it names these as a whole.

    :param chosen: only these; all when empty.
    :raises SettingsError: a chosen one is unknown, or an archive could not hold all.
    :raises DumpError: a server has no database to back up.
    :raises LifeboatError: a server does not answer.
    """
    settings = site.settings
    if not settings.application(application).servers:
        return Wanted(settings.databases_of(application, tuple(chosen)))
    return Wanted(*choose(site, application, list_databases(site, application), chosen))


def choose(site: Site, application: str, listing: Listing, chosen: Sequence[str]) -> Chosen:
    """Return which of the listed databases to back up, and log what is new among them.

    :param chosen: only these; all when empty.
    :raises SettingsError: a chosen one is not there.
    """
    if unknown := sorted(set(chosen) - listing.databases.keys()):
        raise SettingsError(
            f"Application {application!r} has no database {', '.join(map(repr, unknown))} at present.",
            f"Did you mean one of: {listed(sorted(listing.databases))}?",
        )
    names = [name for name in listing.databases if not chosen or name in chosen]
    listing = replace(listing, new=tuple(name for name in listing.new if name in names))
    if listing.new:
        log.info("New since %s: %s.", listing.after, listed(listing.new))
    return Chosen([database_of(site, application, listing, name) for name in names], listing)


def replaced(site: Site, application: str, names: Sequence[str]) -> Wanted:
    """Return the databases to back up before a restore replaces some.

    Of a server that the settings name as a whole, these are the ones that are replaced alone.
    """
    found = site.settings.application(application)
    if not found.servers:
        return Wanted(found.named)
    listing = list_databases(site, application)
    others = [name for name in names if name in listing.databases and name not in {each.name for each in found.named}]
    databases = (*found.named, *(database_of(site, application, listing, name) for name in others))
    return Wanted(databases, listing)


def last_listed(site: Site, application: str) -> dict[str, EngineName]:
    """Return the kinds of the databases of an application, by name, as far as its settings and its last archive say.

    :raises StorageError: no destination can be read.
    """
    found = site.settings.application(application)
    named = {database.name: database.engine for database in found.named}
    return {**_Shelf(site, application).listed, **named} if found.servers else named


def database_of(site: Site, application: str, listing: Listing, name: str) -> Database:
    """Return a listed database as backups reach it.

    :raises SettingsError: it is not listed, or the settings do not cover it any more.
    """
    engine = listing.databases.get(name)
    database = site.settings.application(application).database(name, engine) if engine else None
    if database is None:
        raise SettingsError(
            f"Database {name!r} of {application} is none that this run listed, or the settings changed meanwhile.",
            "Clear the run's first task.",
        )
    return database


def stage(scratch: Staging, listing: Listing) -> None:
    """Leave what was listed for the other steps of a run."""
    with scratch.file(STAGED).writing() as staged:
        staged.facts = listing


def staged(scratch: Staging) -> Listing | None:
    """Return what was listed for the other steps of a run; None where nothing was."""
    try:
        return scratch.file(STAGED).facts(Listing)
    except StagingError:
        return None


def of_run(site: Site, application: str, scratch: Staging) -> Listing | None:
    """Return what a run listed; None where the settings name every database.

    :raises StagingError: it has not listed them.
    """
    return scratch.file(STAGED).facts(Listing) if site.settings.application(application).servers else None


def packed(listing: Listing, dumped: Iterable[str]) -> Listing:
    """Return a listing as the archive keeps it.

    :param dumped: databases that the archive holds.
    """
    held = set(dumped)
    earlier = {name: key for name, key in listing.earlier.items() if name not in held}
    return replace(listing, earlier=earlier, new=tuple(name for name in listing.new if name in held))


def check(site: Site, applications: Iterable[str]) -> Iterator[Finding]:
    """Ask the servers that are backed up as a whole what they have; yield the databases that vanished from there."""
    for application in applications:
        if not site.settings.application(application).servers:
            continue
        try:
            servers = site.settings.application(application).servers
            there = {name for server in servers for name in _covered(site, server)}
            shelf = _Shelf(site, application)
        except LifeboatError as error:
            text = f"databases that may have vanished were not looked for: {error}"
            yield Finding(application, "", VANISHED, "degraded", text)
            continue
        gone = {name: key for name, key in shelf.known.items() if name not in there}
        if gone:
            yield Finding(application, "", VANISHED, "unhealthy", _vanished(application, gone))


def _vanished(application: str, gone: Mapping[str, str]) -> str:
    told = listed([f"{name} (last in {key})" for name, key in sorted(gone.items())])
    number = plural(len(gone), "database that was", "databases that were")
    are = "is" if len(gone) == 1 else "are"
    restore = f"lifeboat restore database {shlex.quote(application)} --archive KEY --database NAME --into NAME"
    advice = f"Restore what should be there: {restore}. Name under exclude what is meant to be gone"
    return f"{number} backed up {are} gone from the server, or hidden from its login: {told}. {advice}"


def list_databases(site: Site, application: str) -> Listing:
    """Ask the servers of an application for their databases, and its last archive for those that it holds.

    :raises SettingsError: an archive could not hold all.
    :raises DumpError: a server has no database to back up.
    :raises LifeboatError: a server, or every destination, does not answer.
    """
    settings = site.settings.application(application)
    shelf = _Shelf(site, application)
    databases: dict[str, EngineName] = {database.name: database.engine for database in settings.named}
    for server in settings.servers:
        found = _covered(site, server)
        if not found:
            raise DumpError(
                f"Airflow connection {server.server!r} shows no database to back up: its server has none, or include"
                " and exclude leave none, or its user may see none.",
                "Look at the patterns, and at the grants of its user.",
            )
        empty = [name for name, holds in found.items() if not holds and name not in shelf.known]
        if empty:
            log.info("Left out, as they hold nothing yet: %s.", listed(sorted(empty)))
        names = sorted(
            name for name in found if name not in empty and not _is_named(site, settings.named, server, name)
        )
        if twice := [name for name in names if name in databases]:
            raise SettingsError(
                f"Application {application!r} has two databases called {twice[0]!r}, one of them on the server of"
                f" Airflow connection {server.server!r}; an archive holds one dump per name.",
                "Name it under exclude of that server, and back it up in another application.",
            )
        databases |= dict.fromkeys(names, server.engine)
    if gone := {name: key for name, key in shelf.known.items() if name not in databases}:
        log.warning("%s.", _vanished(application, gone))
    came = tuple(name for name in databases if name not in shelf.known) if shelf.newest else ()
    return Listing(databases, shelf.known, came, shelf.newest)


def _is_named(site: Site, named: Sequence[Database], server: DatabaseServer, name: str) -> bool:
    """Return whether the settings name a database of a server by itself, too."""
    other = next((each for each in named if each.name == name and each.engine == server.engine), None)
    if other is None or other.connection == server.server:
        return other is not None
    return site.engine(other).address == site.engine(server.database(name)).address


def _covered(site: Site, server: DatabaseServer) -> Mapping[str, bool]:
    """Return which databases of a server the settings cover, and whether they hold anything.

    :raises LifeboatError: the server does not answer.
    """
    there = dict(site.engine(server.sample).databases())
    return {name: holds for name, holds in there.items() if server.covers(name)}


@dataclass
class _Shelf:
    """The archives of an application, and which databases they hold.

    :param newest: key of the newest one that can be read; empty where there is none.
    :param listed: the kinds of the databases that there were then, by name.
    :param known: key of the last archive that holds a database, by name, of those that the settings cover.
    """

    site: Site
    application: str
    newest: str = ""
    listed: dict[str, EngineName] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    _places: dict[str, list[Destination]] = field(default_factory=dict)
    _archives: list[Archive] = field(default_factory=list)
    _is_all: bool = True
    _read: dict[str, ManifestHead | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ready, failed = self.site.ready_destinations(self.site.settings.destinations_of(self.application))
        archives: dict[str, Archive] = {}
        for destination in ready:
            try:
                found = catalog.read(destination.list(f"{self.application}/")).of(self.application)
            except StorageError as error:
                failed[destination.name] = str(error)
                continue
            for archive in found:
                if archive.kind in OWN_KINDS:
                    archives[archive.key] = archive
                    self._places.setdefault(archive.key, []).append(destination)
        if failed and not archives:
            raise StorageError("; ".join(failed.values()))
        self._is_all = not failed
        self._archives = sorted(archives.values(), key=lambda each: each.captured_at, reverse=True)
        for archive in self._archives[:MOST_READ]:
            if manifest := self._manifest(archive):
                self.newest = archive.key
                self.listed = manifest.listing.databases if manifest.listing else {}
                earlier = manifest.listing.earlier if manifest.listing else {}
                self.known = self._kept({**earlier, **{dump.database: archive.key for dump in manifest.databases}})
                break

    def _kept(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the databases that the settings cover, each with a kept archive that holds it."""
        settings = self.site.settings.application(self.application)
        covered = {name: key for name, key in known.items() if any(each.covers(name) for each in settings.servers)}
        for named in settings.named:
            covered.pop(named.name, None)
        kept = {name: self._holding(name, key) for name, key in covered.items()}
        return {name: key for name, key in kept.items() if key}

    def _holding(self, name: str, last: str) -> str:
        """Return the key of the newest archive that holds a database; empty where none is kept.

        :param last: the newest that ever did.
        """
        if last in self._places or not self._is_all:
            return last
        older = [archive for archive in self._archives if archive.key.rpartition("/")[2] < last.rpartition("/")[2]]
        for archive in older[:MOST_READ]:
            manifest = self._manifest(archive)
            if manifest and name in {dump.database for dump in manifest.databases}:
                return archive.key
        return ""

    def _manifest(self, archive: Archive) -> ManifestHead | None:
        if archive.key not in self._read:
            found = (survey.manifest_of(each, self.site, archive) for each in self._places[archive.key])
            self._read[archive.key] = next(filter(None, found), None)
        return self._read[archive.key]
