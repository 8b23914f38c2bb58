"""A site: the settings, what they name, and the time. Actions take one, so they know neither Airflow nor a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from lifeboat.databases import Clock, Engine
from lifeboat.errors import LifeboatError
from lifeboat.settings.config import Bucket, Database, Encryption, Settings
from lifeboat.settings.config import Destination as DestinationSettings
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.support import clock


class Connections(Protocol):
    """Turns names of connections into servers, destinations and passwords; `lifeboat.airflow.connections` does."""

    def engine(self, database: Database, scratch: Path, clock: Clock) -> Engine:
        """Return what dumps and restores a database.

        :param scratch: directory in which an engine may put a copy for a while.
        :raises SettingsError: the connection is missing, or of another type.
        """

    def destination(self, name: str, settings: DestinationSettings, clock: Clock) -> Destination:
        """Return a destination, ready to use.

        :raises SettingsError: its connection is missing, or makes no client.
        """

    def staging(self, place: Path | Bucket) -> Staging:
        """Return the root of staging.

        :raises SettingsError: its connection is missing, or makes no client.
        """

    def archive_passwords(self, encryption: Encryption | None) -> tuple[str | None, tuple[str, ...]]:
        """Return the password that encrypts archives, None without encryption, and those that encrypted older ones.

        :raises SettingsError: the connection is missing, its password is empty, or the previous ones are not a list.
        """

    def code_directories(self) -> tuple[Path, ...]:
        """Return the directories that hold code which runs with our rights: no restore may write there."""

    def metadata_database(self) -> str:
        """Return the name of the scheduler's own database; '' if it is not known, or a file."""


class Refusal(NamedTuple):
    """Why no restore would load a database by the login that the settings give it.

    :param advice: what to do about it.
    """

    text: str
    advice: str


def refusal_to_load(connections: Connections, database: Database, scratch: Path, clock: Clock) -> Refusal | None:
    """Return why no restore would load a database; None if one would."""
    login = database.for_restore
    try:
        connections.engine(login, scratch, clock).check_load(database.name)
    except LifeboatError as error:
        other = "" if database.restore_connection else " Or name another connection as restore_connection."
        text = f"no restore of {database.name} would load by Airflow connection {login.connection!r}: {error.message}"
        return Refusal(text, f"{error.hint}{other}".strip())
    return None


@dataclass(frozen=True)
class Site:
    """The settings, connections and clock that actions use.

    :param clock: returns the time, with a time zone.
    """

    settings: Settings
    connections: Connections
    clock: Clock = clock.now

    def now(self) -> datetime:
        """Return the time."""
        return self.clock()

    def engine(self, database: Database) -> Engine:
        """Return what dumps and restores a database.

        :raises SettingsError: the connection is missing, or of another type.
        """
        return self.connections.engine(database, self.settings.scratch, self.clock)

    def refusal_to_load(self, database: Database) -> Refusal | None:
        """Return why no restore would load a database; None if one would."""
        return refusal_to_load(self.connections, database, self.settings.scratch, self.clock)

    def staging(self) -> Staging:
        """Return the root of staging.

        :raises SettingsError: its connection is missing, or makes no client.
        """
        return self.connections.staging(self.settings.staging)

    def passwords(self, application: str | None) -> tuple[str | None, tuple[str, ...]]:
        """Return the password that encrypts an application's archives, None without encryption, and earlier ones.

        :raises SettingsError: the connection is missing, its password is empty, or the previous ones are not a list.
        """
        return self.connections.archive_passwords(self.settings.encryption_of(application))

    def destination(self, name: str, *, deleting: bool = False) -> Destination:
        """Return a destination of the settings.

        :param deleting: as clean-ups and drills reach it.
        :raises SettingsError: its connection is missing, or makes no client.
        """
        kept = self.settings.destinations[name]
        return self.connections.destination(name, kept.for_cleanup if deleting else kept, self.clock)

    def destinations(
        self, application: str, chosen: tuple[str, ...] = (), *, deleting: bool = False
    ) -> list[Destination]:
        """Return an application's destinations, or the chosen ones, as `destination` does."""
        return [
            self.destination(name, deleting=deleting) for name in self.settings.destinations_of(application, chosen)
        ]

    def ready_destinations(
        self, names: Iterable[str], *, deleting: bool = False
    ) -> tuple[list[Destination], dict[str, str]]:
        """Return the destinations that are ready, and why the others are not, by name."""
        ready, failures = [], {}
        for name in names:
            try:
                ready.append(self.destination(name, deleting=deleting))
            except LifeboatError as error:  # one destination that fails does not stop the others
                failures[name] = str(error)
        return ready, failures
