"""A past for the demo: two years of nightly and weekly backups, as retention would have left them, and read back."""

from __future__ import annotations

import base64
import hashlib
import platform
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from isal import igzip
from lifeboat import __version__
from lifeboat.actions import backup, verify
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives, marker, proof
from lifeboat.catalog.archives import Archive, Kind, OwnKind
from lifeboat.catalog.marker import Marker
from lifeboat.catalog.proof import Compared, Durations, Point, Proof, ProvenFile, Versions
from lifeboat.databases import Dump
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.decide import retention
from lifeboat.files import selection as files
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.staging import Staging, StagingDirectory
from lifeboat.storage import Destination
from lifeboat.support import clock

YEARS = 2.2
BYTES = 1_600_000  # of the newest dump, compressed
GROWTH = timedelta(days=900)  # in which it grew from nothing
MISSED = 11  # days ago there was no backup
PROVEN = 9  # days ago a restore was tested
TABLE = "CREATE TABLE `search_log` (`words` varchar(200) NOT NULL);\n"


def times(now: datetime) -> Iterator[tuple[Kind, datetime]]:
    """Yield the kind and time of every backup that was taken, newest first."""
    for days in range(int(YEARS * 365)):
        night = (now - timedelta(days=days)).replace(hour=1, minute=0, second=7, microsecond=0)
        sunday = night.replace(hour=2)
        if night < now and days != MISSED:
            yield "database", night
        if night.weekday() == 6 and sunday < now:
            yield "application", sunday


def kept(settings: Settings, destination: str, application: str, now: datetime) -> list[Archive]:
    """Return the backups that yesterday's clean-up left, oldest first."""
    taken = [
        Archive(archives.archive_key(application, kind, time), application, kind, time, 0, False)
        for kind, time in times(now)
    ]

    def policies(application: str, kind: Kind) -> retention.Policy:
        return settings.policy_of(destination, application, kind)

    plan = retention.plan(taken, now - timedelta(days=1), settings.zone, policies)
    return [decision.archive for decision in reversed(plan.decisions) if decision.action == "keep"]


def write(settings: Settings, application: str, now: datetime) -> int:
    """Publish the past of an application at all of its destinations; return the number of archives.

    Nothing is written where there is an archive already.
    """
    destinations = site_of(settings).destinations(application)
    if any(archives.read(destination.list()).archives for destination in destinations):
        return 0
    past = kept(settings, destinations[0].name, application, now)
    for archive in past:
        with tempfile.TemporaryDirectory() as folder:
            _back_up(settings, archive, now, StagingDirectory(Path(folder)), destinations)
    proven = next(archive for archive in reversed(past) if now - archive.captured_at > timedelta(days=PROVEN))
    site = site_of(settings)
    for destination in site.destinations(application, deleting=True):
        if published := marker.read(destination, proven.key):
            made = _proof(proven, published, destination)
            proof.record(destination, made.signed(site.passwords(application)[0]))
        verify.read_night(site, destination, [application], now, now)
    return len(past)


def _back_up(
    settings: Settings, archive: Archive, now: datetime, scratch: Staging, destinations: list[Destination]
) -> None:
    names = [database.name for database in settings.databases_of(archive.application)]
    for name in names:
        _stage_dump(scratch, name, archive.captured_at, 1 - (now - archive.captured_at) / GROWTH)
    password = site_of(settings).passwords(archive.application)[0]
    kind: OwnKind = "application" if archive.kind == "application" else "database"
    selection = files.selection_of(settings, archive.application) if kind == "application" else None
    packed = backup.pack_archive(scratch, archive.application, kind, names, password, "", selection, now=clock.now())
    for destination in destinations:
        backup.store_archive(scratch, packed, destination)


def _stage_dump(scratch: Staging, database: str, captured_at: datetime, share: float) -> None:
    """Stage a dump of made-up rows.

    :param share: of the size of the newest one.
    """
    chance = random.Random(captured_at.toordinal())
    noise = base64.b85encode(chance.randbytes(int(BYTES * share * chance.uniform(0.97, 1.0)))).decode()
    rows = ",\n".join(f"('{noise[at : at + 150].replace('$', '')}')" for at in range(0, len(noise), 150))
    sql = f"{TABLE}INSERT INTO `search_log` VALUES\n{rows};\n-- Dump completed\n".encode()
    parser = DumpParser()
    parser.feed(sql)
    dump = Dump(
        database,
        "mysql",
        server="10.11-MariaDB",
        client="made up",
        character_set="utf8mb4",
        collation="utf8mb4_general_ci",
        captured_at=captured_at,
        sql_bytes=len(sql),
        sha256=hashlib.sha256(sql).hexdigest(),
        tables=parser.finish().tables,
        objects=(),
        excluded_tables=(),
        unprotected_tables=(),
    )
    with scratch.dump(database).writing() as staged:
        staged.write(igzip.compress(sql))
        staged.facts = dump


def _proof(archive: Archive, published: Marker, destination: Destination) -> Proof:
    proven_at = archive.captured_at + timedelta(hours=8)
    totals = published.totals
    return Proof(
        format=proof.FORMAT,
        result="proven",
        key=archive.key,
        destination=destination.name,
        application=published.application,
        kind=cast(OwnKind, published.kind),
        captured_at=published.captured_at,
        archive=ProvenFile(size=published.archive.size, sha256=published.archive.sha256),
        proven_at=proven_at,
        by="made up",
        host="made up",
        compared=Compared(
            databases=totals.databases,
            tables=totals.tables,
            rows=totals.rows,
            objects=totals.objects,
            files=totals.file_count or 0,
            bytes=totals.sql_bytes + (totals.file_bytes or 0),
        ),
        digest="",
        durations=Durations(verify=1.9, restore=45.4, compare=8.2),
        versions=Versions(lifeboat=__version__, python=platform.python_version(), servers=("10.11-MariaDB",)),
        notes=(),
        trend=(Point(proven_at=proven_at, key=archive.key, seconds=47.3),),
    )


if __name__ == "__main__":
    found = config.load()
    for name in found.applications:
        write(found, name, datetime.now(UTC))
