"""Look at everything that backups and restores will need, and say what to do about what is not well.

Each thing is looked at by itself and within its time, and whatever goes wrong there is a finding, so one broken
connection hides no other. Something small is stored, read and deleted in staging and at each destination, accounts for
loads are made and dropped again, Airflow's pools become what the settings say, and a test alert is sent; rows are not
read.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from lifeboat import staging
from lifeboat.actions import check, drill, servers
from lifeboat.airflow import connections
from lifeboat.airflow.site import site_of
from lifeboat.archive.encryption import derives_by
from lifeboat.databases import SERVERLESS
from lifeboat.databases.digest import hashes_by
from lifeboat.databases.names import scratch_name
from lifeboat.errors import FilesError, LifeboatError, SettingsError, StagingError, StorageError
from lifeboat.files import selection
from lifeboat.settings import config, unreadable
from lifeboat.settings.config import DatabaseServer, Settings
from lifeboat.settings.unreadable import Unreadable
from lifeboat.site import refusal_to_load
from lifeboat.support import clock, transport
from lifeboat.support.formats import Format
from lifeboat.support.native import native
from lifeboat.text import age_text, listed, plural, size_text

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.settings.config import Bucket, Database, Encryption
    from lifeboat.settings.config import Destination as DestinationSettings

Verdict = Literal["well", "warning", "broken"]
VERDICTS: tuple[Verdict, ...] = ("well", "warning", "broken")  # from good to bad

LONGEST_LOOK = 60  # seconds
AT_ONCE = 8  # looks side by side
LARGEST_SKEW = timedelta(minutes=5)  # beyond it, S3 servers soon refuse requests
MOST_TRIED = 20  # databases of a whole server, which share the time of one look
LEAST_FREE = 1 << 30  # bytes of staging
PROBE = ".lifeboat-probe-"  # how the test objects' keys begin, which nothing takes for an archive
PIPELINE = "doctor"  # folder of the test file in staging
PROBE_BYTES = 1 << 16


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :param verdict: ``warning``: backups run, but not quite as expected; ``broken``: a backup, a restore or
        an alert would fail.
    :param advice: what to do; empty if the text says it, or there is nothing to do.
    """

    what: str
    verdict: Verdict
    text: str
    advice: str = ""


class Told(NamedTuple):
    """The result of a look at one subject."""

    verdict: Verdict
    text: str
    advice: str = ""


class Probe(NamedTuple):
    """Something to look at.

    :param look: reports on it; what it raises is reported, too.
    """

    what: str
    look: Callable[[], Iterator[Told]]


def examine() -> list[Finding]:
    """Look at everything that the settings name; where they cannot be read, at what they still name."""
    settings = unreadable.read()
    # Pools first and alone: asking Airflow's database imports modules that two threads cannot import at once.
    return [_of_settings(settings), _of_native(), *_look(_of_pools(settings)), *_look(_probes(settings))]


def examine_destination(name: str, kept: DestinationSettings) -> list[Finding]:
    """Look at one destination.

    :param name: in the settings.
    """
    return _look([_of_destination(name, kept)])


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="well")


def report(findings: Iterable[Finding], *, only_broken: bool = False) -> Iterator[str]:
    """Yield findings as lines for people."""
    for finding in findings:
        if only_broken and finding.verdict != "broken":
            continue
        yield f"{finding.verdict:7}  {finding.what}: {finding.text}"
        if finding.advice:
            yield f"{'':7}  To do: {finding.advice}"


def summary(findings: Sequence[Finding]) -> str:
    """Return the end of a report for people."""
    counts = Counter(finding.verdict for finding in findings)
    counted = ", ".join(f"{counts[each]} {each}" for each in VERDICTS if counts[each])
    return f"Overall: {verdict(findings)} ({counted}), looked at from {staging.machine()}."


def _of_settings(settings: Settings | Unreadable) -> Finding:
    if isinstance(settings, Unreadable):
        return Finding("settings", "broken", settings.reason)
    named = f"{plural(len(settings.applications), 'application')}, {plural(len(settings.destinations), 'destination')}"
    return Finding("settings", "well", f"{config.settings_path()} names {named}")


def _of_native() -> Finding:
    how = f"{derives_by()} derives the keys of entries, {hashes_by()} hashes rows of tables without an order"
    if native:
        return Finding("native module", "well", f"there is one: {how}")
    slower = "many small files and many rows take longer; installing the package builds it, given a compiler"
    return Finding("native module", "well", f"there is none: {how}; {slower}")


def _look(probes: Sequence[Probe]) -> list[Finding]:
    findings: list[Finding] = []
    for first in range(0, len(probes), AT_ONCE):
        looks = [_Look(probe) for probe in probes[first : first + AT_ONCE]]
        for look in looks:
            look.start()
        deadline = time.monotonic() + LONGEST_LOOK
        for look in looks:
            findings += look.found(deadline)
    return findings


class _Look(Thread):
    """A look at one thing; one that hangs is left behind, and ends with the process."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(daemon=True)
        self._probe = probe
        self._told: list[Told] = []

    def run(self) -> None:
        """Look."""
        with transport.collected() as exposed:
            try:
                self._told.extend(self._probe.look())
            except LifeboatError as error:
                self._told.append(Told("broken", error.message, error.hint))
            except Exception as error:  # noqa: BLE001  # whatever a provider or a secrets backend raises
                # Not its text: nobody knows what libraries put into it.
                said = error.strerror if isinstance(error, OSError) else None
                self._told.append(Told("broken", f"failed with an unexpected error: {said or type(error).__name__}"))
        self._told.extend(Told("warning", text) for text in dict.fromkeys(exposed))

    def found(self, deadline: float) -> list[Finding]:
        """Wait for the end of the look, and return what it found.

        :param deadline: by the monotonic clock.
        """
        self.join(max(deadline - time.monotonic(), 0))
        findings = [Finding(self._probe.what, *told) for told in tuple(self._told)]
        if self.is_alive():
            text = f"no answer within {plural(LONGEST_LOOK, 'second')}"
            findings.append(
                Finding(self._probe.what, "broken", text, "Check the host, the port, and firewalls between.")
            )
        return findings


def _of_pools(settings: Settings | Unreadable) -> list[Probe]:
    wanted = {} if isinstance(settings, Unreadable) else settings.pools
    return [Probe("pools", partial(_pools, wanted))] if wanted else []


def _probes(settings: Settings | Unreadable) -> list[Probe]:
    databases = [(name, each) for name, found in settings.applications.items() for each in found.named]
    whole = [(name, each) for name, found in settings.applications.items() for each in found.servers]
    scratch = settings.scratch
    return [
        *([Probe("staging", partial(_staging, place))] if (place := settings.staging) else []),
        *(_of_destination(name, kept) for name, kept in settings.destinations.items()),
        *(probe for name, database in databases for probe in _of_database(name, database, scratch)),
        *(Probe(f"{_called(each)} ({name})", partial(_whole, each, scratch)) for name, each in whole),
        *(_of_readable(settings, [*databases, *whole]) if isinstance(settings, Settings) else []),
        Probe("alerts", partial(_alerts, settings)),
        Probe("heartbeat", partial(_heartbeat, settings.alerts.dead_man)),
    ]


def _called(entry: Database | DatabaseServer) -> str:
    return f"databases of {entry.server}" if isinstance(entry, DatabaseServer) else entry.name


def _of_readable(settings: Settings, entries: Sequence[tuple[str, Database | DatabaseServer]]) -> Iterator[Probe]:
    """Yield what to look at only where the settings as a whole can be read."""
    encrypted: dict[Encryption | None, list[str]] = {}
    for name in settings.applications:
        encrypted.setdefault(settings.encryption_of(name), []).append(name)
    for encryption, names in encrypted.items():
        yield Probe(f"encryption of {', '.join(names)}", partial(_encryption, encryption))
    yield Probe("signatures of runs", partial(_signing, settings))
    for name, application in settings.applications.items():
        if application.files:
            yield Probe(f"files of {name}", partial(_files, settings, name))
        if application.servers and len(application.databases) > 1:
            yield Probe(f"names of databases ({name})", partial(_names, settings, name))
    yield from _of_restores(settings, entries)
    if settings.metrics:
        yield Probe("metrics", partial(_metrics, settings.metrics.connection))


def _of_restores(settings: Settings, entries: Sequence[tuple[str, Database | DatabaseServer]]) -> Iterator[Probe]:
    for name, entry in entries:
        if _has_logs(settings, name, entry):
            called = f"restore of {_called(entry)} ({name}) to a moment"
            yield Probe(called, partial(_replay, entry.sample, settings.scratch))
    tried = {  # of a scratch server, one database stands for all: one with logs, if any has
        settings.drill.connection_of(entry.engine) or f"{name}/{_called(entry)}": (name, entry)
        for name, entry in sorted(entries, key=lambda each: _has_logs(settings, *each))
        if entry.engine not in SERVERLESS
    }
    for name, entry in tried.values():
        yield Probe(f"drills of {_called(entry)} ({name})", partial(_drill, settings, name, entry.sample))


def _has_logs(settings: Settings, application: str, database: Database | DatabaseServer) -> bool:
    return database.engine == "mysql" and settings.logs_of(application) is not None


def _of_destination(name: str, kept: DestinationSettings) -> Probe:
    return Probe(f"destination {name!r}", partial(_destination, name, kept))


def _of_database(application: str, database: Database, scratch: Path) -> Iterator[Probe]:
    called = f"{database.name} ({application})"
    yield Probe(f"backup of {called}", partial(_dump, database, scratch))
    if database.engine not in SERVERLESS:
        yield Probe(f"restore of {called}", partial(_load, database, scratch))
    if database.extensions_connection:
        yield Probe(f"extensions of {called}", partial(_extensions, database, scratch))


@dataclass(frozen=True)
class NoFacts(Format):
    """Empty facts, written next to the staged file of a probe."""


def _staging(place: Path | Bucket) -> Iterator[Told]:
    root = connections.staging(place)
    scratch = root.of(PIPELINE, secrets.token_hex(8), "probe")
    content = secrets.token_bytes(PROBE_BYTES)
    try:
        scratch.create()
        staged = scratch.file("probe")
        with staged.writing() as writing:
            writing.write(content)
            writing.facts = NoFacts()
        with staged.source().open("rb") as file:
            if file.read() != content:
                raise StagingError(f"Staging {root} returns other bytes than were written there.", "Check the disk.")
    finally:
        with contextlib.suppress(LifeboatError):
            scratch.remove()
    if not isinstance(place, Path):
        yield Told("well", f"{root} was written and read")
        return
    free = shutil.disk_usage(place).free
    text = f"{place} was written and read, and has {size_text(free)} left"
    if free < LEAST_FREE:
        yield Told(
            "warning", text, "A run needs space for its compressed dumps plus the archive: free some space there."
        )
    else:
        yield Told("well", text)


def _destination(name: str, kept: DestinationSettings) -> Iterator[Told]:
    destination = connections.destination(name, kept)
    deleter = connections.destination(name, kept.for_cleanup)
    key = f"{PROBE}{secrets.token_hex(8)}"
    content = b"A test object of Lifeboat: anyone may delete it.\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe"
        source.write_bytes(content)
        before = clock.now()
        destination.store(source, key, hashlib.sha256(content).hexdigest())
    try:
        stored = next(destination.list(key), None)
        with destination.open(key) as file:
            read = file.read(len(content) + 1)
    except LifeboatError:
        with contextlib.suppress(LifeboatError):  # the first failure is the one to report
            deleter.delete(key)
        raise
    deleter.delete(key)
    if stored is None or read != content:
        raise StorageError(f"{destination} does not return what was stored there.", "Check the server or the disk.")
    if destination.find(key):
        raise StorageError(f"{destination} still has {key}, which was deleted.", "Clean-ups would free nothing there.")
    yield Told("well", "a test object was stored, listed, read and deleted")
    yield from _clock(stored.modified - before)
    if kept.object_lock:
        check.prove_lock(destination, deleter)
        yield Told("well", "a locked test object could not be deleted")


def _dump(database: Database, scratch: Path) -> Iterator[Told]:
    engine = connections.engine(database, scratch)
    found = engine.check_dump(database.name, database.exclude_tables, database.exclude_rows)
    yield Told("well", f"all definitions were dumped, without rows, from {found.server} by {found.client}")
    for lack in found.lacks:
        yield Told("warning", lack)
    if found.ahead is not None:
        yield from _clock(found.ahead)


def _whole(server: DatabaseServer, scratch: Path) -> Iterator[Told]:
    engine = connections.engine(server.sample, scratch)
    covered = sorted(name for name in engine.databases() if server.covers(name))
    if not covered:
        raise SettingsError(
            "There is no database to back up, or none that its user may see.",
            "Look at include and exclude, and at its grants.",
        )
    yield Told("well", f"{plural(len(covered), 'database is', 'databases are')} backed up: {listed(covered)}")
    if lacking := engine.lacks_to_see_all():
        yield Told(
            "warning",
            f"its user lacks {lacking}, so databases on which it has no right are not seen, and not backed up",
            f"Grant it {lacking} on *.*, and what a dump of each database needs.",
        )
    for name in covered[:MOST_TRIED]:
        for told in _dump(server.database(name), scratch):
            if told.verdict != "well":
                yield told._replace(text=f"{name}: {told.text}")
    tried = "" if len(covered) <= MOST_TRIED else f" of the first {MOST_TRIED}"
    yield Told("well", f"all definitions{tried} were dumped, without rows")
    yield from _load(server.database(covered[0]), scratch)


def _names(settings: Settings, application: str) -> Iterator[Told]:
    listing = servers.list_databases(site_of(settings), application)
    yield Told("well", f"an archive can hold all {len(listing.databases)} together")


def _load(database: Database, scratch: Path) -> Iterator[Told]:
    if refusal := refusal_to_load(connections, database, scratch, clock.now):
        yield Told("broken" if database.restore_connection else "warning", refusal.text, refusal.advice)
    else:
        yield Told("well", f"restores can load with Airflow connection {database.for_restore.connection!r}")


def _replay(database: Database, scratch: Path) -> Iterator[Told]:
    login = database.for_restore
    cast("MySQL", connections.engine(login, scratch)).check_replay(login.name)
    yield Told("well", f"restores can replay binary logs with Airflow connection {login.connection!r}")


def _extensions(database: Database, scratch: Path) -> Iterator[Told]:
    login = database.model_copy(update={"connection": database.extensions_connection})
    connections.engine(login, scratch).databases()
    yield Told("well", f"Airflow connection {database.extensions_connection!r} can log in; its rights were not tried")


def _drill(settings: Settings, application: str, database: Database) -> Iterator[Told]:
    try:
        server = drill.scratch_server(settings, application, database.engine, database.name)
    except SettingsError as error:
        yield Told("warning", f"no restore is tested: {error.message}", error.hint)
        return
    place = scratch_name(database.engine, database.name, clock.now())
    connections.engine(server, settings.scratch).check_load(place)
    yield Told("well", f"drills can load with Airflow connection {server.connection!r}")
    if _has_logs(settings, application, database):
        cast("MySQL", connections.engine(server, settings.scratch)).check_replay(place)
        yield Told("well", f"drills can replay binary logs with Airflow connection {server.connection!r}")
    if server.extensions_connection:
        yield from _extensions(server, settings.scratch)


def _files(settings: Settings, application: str) -> Iterator[Told]:
    kept = settings.files_of(application)
    try:
        next(selection.select(selection.selection_of(settings, application)), None)
    except FilesError as error:
        if kept.queue is None:
            raise
        advice = f"Run 'lifeboat doctor' on a worker of the queue {kept.queue!r}, which must have them."
        yield Told("warning", error.message, advice)
    else:
        yield Told("well", f"{kept.root} can be listed")


def _encryption(encryption: Encryption | None) -> Iterator[Told]:
    if encryption is None:
        yield Told("well", "archives are stored unencrypted, as the settings say")
        return
    connections.archive_passwords(encryption)
    yield Told("well", f"Airflow connection {encryption.connection!r} has a password")


def _pools(wanted: Mapping[str, int]) -> Iterator[Told]:
    from lifeboat.airflow import pools

    try:
        made = pools.made()
    except SettingsError as error:
        yield Told("warning", f"{error.message} Tasks in a pool that is missing never begin", error.hint)
        return
    for pool, slots in wanted.items():
        text = f"{pool!r} has {plural(slots, 'slot')}"
        if made.get(pool) != slots:
            pools.make(pool, slots)
            text += f", and had {made[pool]} before" if pool in made else "; it was missing, and is made"
        yield Told("well", text)


def _signing(settings: Settings) -> Iterator[Told]:
    connections.signing_secret(settings)
    yield Told("well", "there is a secret to sign with")


def _metrics(connection_id: str) -> Iterator[Told]:
    if not connections.get(connection_id, "the metrics").password:
        raise SettingsError(f"Airflow connection {connection_id!r} has no password.", "Set it to Prometheus's token.")
    yield Told("well", f"Airflow connection {connection_id!r} has a token for Prometheus")


def _alerts(settings: Settings | Unreadable) -> Iterator[Told]:
    from lifeboat.airflow.alerts import channels

    if not any(each.slack or each.email for each in settings.channels_of("")):
        yield Told(
            "warning",
            "no channel is configured, so nobody is notified of failed runs",
            "Name slack or email under alerts.",
        )
        return
    for channel, failure in channels.send_test(settings).items():
        text, _, advice = failure.partition(" Hint: ")
        if failure:
            yield Told("broken", f"the test alert by {channel} failed: {text}", advice)
        else:
            yield Told("well", f"a test alert was sent by {channel}; check that it arrived")


def _heartbeat(connection_id: str | None) -> Iterator[Told]:
    if connection_id is None:
        yield Told(
            "warning",
            "no heartbeat URL is set, so nobody notices when Airflow itself is down",
            "Get one from a monitoring service, and name its connection as alerts.dead_man.",
        )
        return
    from lifeboat.airflow.alerts import heartbeat

    heartbeat.url_of(connection_id)
    yield Told("well", f"Airflow connection {connection_id!r} has a URL; only a healthy check requests it")


def _clock(ahead: timedelta) -> Iterator[Told]:
    """Report how far a clock is ahead of this machine's."""
    if abs(ahead) <= LARGEST_SKEW:
        yield Told("well", "its clock agrees with this machine's")
        return
    how = "ahead of" if ahead > timedelta(0) else "behind"
    text = f"its clock is {age_text(abs(ahead))} {how} this machine's"
    yield Told("warning", text, "Let NTP set both: ages of archives, locks and logins depend on them.")
