"""Disks that are full, read-only or somebody else's: words for each, nothing half-published, the next run succeeds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lifeboat.actions import backup, check, cleanup, restore
from lifeboat.actions.backup import PackedArchive
from lifeboat.airflow import connections
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives, proof
from lifeboat.databases import Dump
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.decide.restore_plan import RestoreRequest
from lifeboat.errors import LifeboatError, StagingError, StorageError
from lifeboat.settings import config
from lifeboat.settings.config import Database
from lifeboat.staging import Staging, StagingDirectory
from lifeboat.storage.disk import DESTINATION_MARKER, DiskDestination
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB
from tests.conftest import Configure, as_root, disk_destination, stage
from tests.records import signed_proof
from tests.servers.test_restore import back_up
from tests.trees import as_nobody

NOW = datetime.now(UTC).replace(microsecond=0)
PAGE = 4096  # bytes, by which a tmpfs fills
PAGES = 6  # of an archive


def pack(tmp_path: Path, age: timedelta) -> tuple[Staging, PackedArchive]:
    """Stage an archive of so many pages."""
    scratch = StagingDirectory(tmp_path / "staging" / str(age))
    scratch.create()
    return scratch, stage(scratch, archives.archive_key("Shop", "database", NOW - age), os.urandom(PAGES * PAGE))


def fill(disk: Path, but: int) -> Path:
    """Fill a disk but for some pages; return what fills it."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        status = os.statvfs(disk)
        file.write(bytes((status.f_bavail * status.f_frsize // PAGE - but) * PAGE))
    return filler


def test_a_destination_that_fills_at_any_page_publishes_nothing_half(tiny_disk: Path, tmp_path: Path) -> None:
    destination = disk_destination("usb", tiny_disk)
    stored = []
    for free in range(PAGES + 1):  # one more would do for the marker
        scratch, packed = pack(tmp_path, timedelta(seconds=free))
        filler = fill(tiny_disk, free)
        with pytest.raises(StorageError, match=r"No space left on device.* Hint: Free some space there\."):
            backup.store_archive(scratch, packed, destination)
        assert packed.key not in {archive.key for archive in archives.read(destination.list()).archives}
        assert not list(tiny_disk.rglob("*.partial"))
        stored.append(destination.find(packed.key) is not None)
        filler.unlink()
        backup.store_archive(scratch, packed, destination)
        with destination.open(packed.key) as file:
            assert hashlib.sha256(file.read()).hexdigest() == packed.sha256
    assert stored == [False] * PAGES + [True], "the last had room for the archive, and none for its marker"
    assert len(archives.read(destination.list()).archives) == PAGES + 1


@pytest.mark.parametrize("free", [0, 1, 3])
def test_a_staging_disk_that_fills_ends_a_dump_and_the_next_one_succeeds(
    mariadb: MariaDB, shop: str, tiny_disk: Path, free: int
) -> None:
    scratch = StagingDirectory(tiny_disk / "staging")
    scratch.create()
    filler = fill(tiny_disk, free)
    database = Database(name=shop, connection="shop_db")
    with pytest.raises(LifeboatError, match=r"No space left on device.*Free some space there; a run needs"):
        backup.dump_database(scratch, database, MySQL(mariadb.server, mariadb.connect, clock.now))
    with pytest.raises(StagingError, match="is not in staging"):
        scratch.dump(shop).facts(Dump)
    filler.unlink()
    backup.dump_database(scratch, database, MySQL(mariadb.server, mariadb.connect, clock.now))
    filler = fill(tiny_disk, free)
    with pytest.raises(StagingError, match="No space left on device"):
        backup.pack_archive(scratch, "Shop", "database", [shop], "password", now=clock.now())
    filler.unlink()
    assert backup.pack_archive(scratch, "Shop", "database", [shop], "password", now=clock.now()).size


def test_a_read_only_destination_is_read_and_says_why_it_takes_nothing(
    project: Configure, shop: str, tiny_disk: Path, tmp_path: Path
) -> None:
    project(destinations={"usb": {"type": "disk", "path": str(tiny_disk)}})
    key = back_up().packed.key
    settings = config.load()
    destination = DiskDestination("usb", tiny_disk)
    for days in (3000, 3001):
        backup.store_archive(*pack(tmp_path, timedelta(days=days)), destination)
    now = datetime.now(UTC)
    order = cleanup.evaluate(destination, site_of(settings), ["Shop"], now).order
    assert len(order.archives) == 2
    as_root("mount", "-o", "remount,ro", str(tiny_disk))
    scratch, packed = pack(tmp_path, timedelta())

    def abort_and_delete() -> None:
        destination.abort(key)
        destination.delete(key)

    refused: list[Callable[[], object]] = [
        lambda: backup.store_archive(scratch, packed, destination),
        lambda: proof.record(destination, signed_proof(key, None)),
        abort_and_delete,
    ]
    for each in refused:
        with pytest.raises(StorageError, match=r"Read-only file system.*The disk is mounted read-only"):
            each()
    with pytest.raises(StorageError, match=r"Deleted: 0 of 2; left: .*The disk is mounted read-only"):
        cleanup.clean(destination, site_of(settings), ["Shop"], now, order)
    assert destination.init(clock.now()).startswith("was prepared before")
    findings = check.examine("usb", site_of(settings), ["Shop"], datetime.now(UTC), deep=True).findings
    expected = ("size", "read back in turn")  # archives of 3000 days, which nothing has read yet
    assert {each.verdict for each in findings if not any(name in each.check for name in expected)} == {"healthy"}
    plan = restore.select(site_of(settings), RestoreRequest("Shop"), datetime.now(UTC))
    assert plan.key == key
    restore.verify(site_of(settings), plan)
    as_root("mount", "-o", "remount,rw", str(tiny_disk))
    assert len(cleanup.clean(destination, site_of(settings), ["Shop"], now, order).deleted) == 2
    backup.store_archive(scratch, packed, destination)


def refusals(use: Callable[[], object]) -> list[StorageError]:
    """Return what a use of a destination is refused with, if it is."""
    try:
        use()
    except StorageError as error:
        return [error]
    return []


def test_a_destination_of_somebody_else_is_told(project: Configure, tmp_path: Path) -> None:
    project()
    destination = connections.destination("disk", config.load().destinations["disk"])
    key = "Shop/database/2026-11-23-01-00-00.zip"
    destination.write(key, b"x")
    root, folder = tmp_path / "disk", tmp_path / "disk" / "Shop"
    home = tmp_path / "home"
    home.mkdir()
    uses: list[Callable[[], object]] = [
        lambda: destination.write("Shop/database/new.zip", b"x"),
        lambda: destination.write("New/database/new.zip", b"x"),
        lambda: destination.delete(key),
        lambda: list(destination.list()),
        lambda: destination.open(key),
    ]

    def use() -> None:
        said = [str(error) for each in uses for error in refusals(each)]
        (home / "said").write_text("".join(f"{line}\n" for line in said))

    def refused(mode: int, of: Path) -> int:
        """Return how many uses are refused, in words, where a folder has that mode."""
        of.chmod(mode)
        as_nobody(use, home)
        of.chmod(0o755)
        told = (home / "said").read_text().splitlines()
        assert all("Permission denied" in line and "Give the user that runs this the rights" in line for line in told)
        return len(told)

    (root / DESTINATION_MARKER).chmod(0o644)
    (root / key).chmod(0o644)
    for path in (root, folder, folder / "database"):
        path.chmod(0o555)
    assert refused(0o555, root) == 3, "it is read, and that is all"
    assert refused(0o000, folder) == 5, "a folder that cannot be read is no empty folder"
    assert refused(0o000, root) == 5
    (folder / "database").chmod(0o755)
