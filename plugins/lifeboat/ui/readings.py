"""Contents of the destinations: one listing each, shared by all requests for a while, and a limit to the waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

from lifeboat.actions import survey
from lifeboat.airflow.site import site_of
from lifeboat.catalog import marker
from lifeboat.catalog.archives import Catalog, Kind, Proven
from lifeboat.catalog.marker import Marker
from lifeboat.errors import LifeboatError
from lifeboat.settings.config import Settings
from lifeboat.storage import Destination
from lifeboat.support import clock
from lifeboat.support.logs import logger

log = logger(__name__)

FRESH_SECONDS = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """The contents of a destination, or why they are unknown.

    :param found: None where the destination could not be read, or has not answered.
    :param trouble: why it could not be read.
    :param endpoint: address of its S3 server.
    :param read_at: when it answered.
    :param last: what it held when it last answered, where it does not now.
    """

    destination: str
    found: Catalog | None = None
    trouble: str = ""
    endpoint: str = ""
    read_at: datetime | None = None
    last: Reading | None = None

    @property
    def known(self) -> Reading:
        """The known state of the destination: what it holds, or else what it held when it last answered."""
        return self.last or self

    @property
    def as_of(self) -> datetime | None:
        """When it last answered, where it does not now."""
        return self.last.read_at if self.last else None

    @property
    def proofs(self) -> Mapping[tuple[str, Kind], Proven]:
        """Of each application and kind, the newest proof that is known, where that is one."""
        proofs = found.newest_proofs if (found := self.known.found) else {}
        return {subject: proof for subject, proof in proofs.items() if not proof.error}

    @property
    def silent(self) -> bool:
        """True if the destination has not answered so far."""
        return self.found is None and not self.trouble


class BackgroundCall(Thread, Generic[T]):
    """A call in a separate thread: if it hangs, it blocks nothing, not even the end of the process.

    :param subject: everything that the result depends on.
    """

    def __init__(self, work: Callable[[], T], subject: object = None) -> None:
        super().__init__(daemon=True)
        self.subject = subject
        self._work = work
        self._result: T | None = None
        self._began = monotonic()
        self._ended: float | None = None
        self.start()

    def run(self) -> None:
        """Do the work."""
        try:
            self._result = self._work()
        finally:
            self._ended = monotonic()

    def result(self, patience: float) -> T | None:
        """Return the result, or None where there is none within so many seconds of the beginning."""
        self.join(max(0.0, self._began + patience - monotonic()))
        return self._result

    @property
    def age(self) -> float:
        """Seconds since the work ended; 0 while it is under way."""
        return 0.0 if self._ended is None else monotonic() - self._ended


class Readings:
    """Readings of this process, each kept for a while, and the last successful one of each destination.

    :param read: reads a destination by its name in the settings.
    """

    def __init__(self, read: Callable[[str, Settings], Reading] | None = None) -> None:
        self._read = read or read_destination
        self._calls: dict[str, BackgroundCall[Reading]] = {}
        self._last: dict[str, tuple[object, Reading]] = {}
        self._lock = Lock()

    def all(self, settings: Settings, patience: float, max_age: float = FRESH_SECONDS) -> dict[str, Reading]:
        """Return the readings of all destinations, read side by side."""
        calls = {name: self._call(settings, name, max_age) for name in settings.destinations}
        return {name: self._result(call, name, patience) for name, call in calls.items()}

    def of(self, settings: Settings, name: str, patience: float, max_age: float = FRESH_SECONDS) -> Reading:
        """Return the reading of a destination.

        However many ask, one listing is under way. What hangs is waited for once: who asks later gets the answer
        that there is none at once.

        :param patience: seconds from the beginning of the listing.
        :param max_age: seconds; an older reading is repeated.
        """
        return self._result(self._call(settings, name, max_age), name, patience)

    def _result(self, call: BackgroundCall[Reading], name: str, patience: float) -> Reading:
        reading = call.result(patience) or Reading(name)
        subject, last = self._last.get(name, (None, None))
        return replace(reading, last=last) if reading.found is None and subject == call.subject else reading

    def _call(self, settings: Settings, name: str, max_age: float) -> BackgroundCall[Reading]:
        subject = (settings.destinations[name], settings.legacy_zone)
        with self._lock:
            call = self._calls.get(name)
            if call is None or call.age > max_age or call.subject != subject:
                call = self._calls[name] = BackgroundCall(lambda: self._keep(subject, name, settings), subject)
            return call

    def _keep(self, subject: object, name: str, settings: Settings) -> Reading:
        reading = replace(self._read(name, settings), read_at=clock.now())
        if reading.found is not None:
            self._last[name] = subject, reading
        return reading


def read_destination(name: str, settings: Settings) -> Reading:
    """Read a destination: one listing, the newest proofs and markers. Errors are returned as text."""
    endpoint = ""
    try:
        destination = site_of(settings).destination(name)
        endpoint = _endpoint(destination)
        return Reading(name, survey.examine(destination, site_of(settings)), endpoint=endpoint)
    except LifeboatError as error:
        return Reading(name, trouble=str(error), endpoint=endpoint)
    except Exception as error:
        log.exception("Destination %r cannot be read.", name)
        trouble = f"It cannot be read: {type(error).__name__}; the API server's log tells more."
        return Reading(name, trouble=trouble, endpoint=endpoint)


def _endpoint(destination: Destination) -> str:
    from lifeboat.storage.s3 import S3Destination

    return str(destination.client.meta.endpoint_url) if isinstance(destination, S3Destination) else ""


def endpoints(readings: Iterable[Reading]) -> dict[str, str]:
    """Return the addresses of the S3 servers that are known, by destination."""
    return {reading.destination: reading.known.endpoint for reading in readings if reading.known.endpoint}


def read_marker(settings: Settings, name: str, key: str) -> Marker | None:
    """Return what the marker of an archive says, or None where it has none or cannot be read."""
    try:
        return marker.read(site_of(settings).destination(name), key)
    except LifeboatError as error:
        log.warning("The marker of %s cannot be read: %s", key, error)
        return None
