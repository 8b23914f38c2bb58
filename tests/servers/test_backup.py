"""The steps of a backup when something died, or was altered, between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import backup
from lifeboat.actions.backup import StagedArchive
from lifeboat.catalog import archives
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.errors import AlreadyStoredError, DumpError, StagingError
from lifeboat.settings.config import Database
from lifeboat.staging import Staged, Staging, StagingBucket, StagingDirectory
from lifeboat.storage import Destination
from lifeboat.storage.bucket import Bucket, Object
from lifeboat.storage.s3 import S3Destination
from lifeboat.storage.upload import put
from lifeboat.support import clock

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import disk_destination

SHOP = Database(name="shop", connection="shop_db")


@pytest.fixture(params=["directory", "bucket"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Staging:
    scratch: Staging = StagingDirectory(tmp_path / "staging")
    if request.param == "bucket":
        server: S3 = request.getfixturevalue("s3")
        scratch = StagingBucket(Bucket("staging", server.client(), "backups", f"staging-{tmp_path.name}"))
    scratch.create()
    return scratch


def rewritten(staged: Staged, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a staged file behind Lifeboat's back; its facts stay."""
    source = staged.source()
    with source.open("rb") as file:
        content = change(file.read())
    if isinstance(source, Object):
        put(source.bucket, source.key, content, only_new=False)
    else:
        Path(str(source)).write_bytes(content)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def fail(*_: Any) -> Any:
    raise DumpError("the server went away")


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_a_staged_archive_that_was_altered_is_never_published(
    scratch: Staging, mariadb: MariaDB, shop: str, s3: S3, tmp_path: Path, kind: str
) -> None:
    backup.dump_database(scratch, SHOP, MySQL(mariadb.server, mariadb.connect, clock.now))
    packed = backup.pack_archive(scratch, "Altered", "database", ["shop"], "password", now=clock.now())
    rewritten(scratch.archive, flipped)
    destination: Destination = disk_destination("here", tmp_path / "disk")
    if kind == "s3":
        destination = S3Destination("here", s3.client(), "backups", prefix=tmp_path.name)
    with pytest.raises(StagingError, match=r"The archive in .* is no longer Altered/.*.*Clear the run's first"):
        backup.store_archive(scratch, packed, destination)
    assert list(destination.list("Altered/")) == []


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_two_runs_of_one_second_never_mix(
    scratch: Staging, mariadb: MariaDB, shop: str, s3: S3, tmp_path: Path, kind: str
) -> None:
    """The other has stored its archive and not yet its marker: neither may be replaced."""
    backup.dump_database(scratch, SHOP, MySQL(mariadb.server, mariadb.connect, clock.now))
    other = backup.pack_archive(scratch, "Twice", "database", ["shop"], "password", now=clock.now())
    destination: Destination = disk_destination("here", tmp_path / "disk")
    if kind == "s3":
        # Of this test alone: the one before it may have stored the same second.
        destination = S3Destination("here", s3.client(), "backups", prefix=tmp_path.name)
    destination.store(scratch.archive.source(), other.key, other.sha256)
    ours = backup.pack_archive(scratch, "Twice", "database", ["shop"], "password", now=clock.now())
    assert ours.key == other.key
    assert ours.sha256 != other.sha256
    with pytest.raises(AlreadyStoredError, match="nothing is overwritten"):
        backup.store_archive(scratch, ours, destination)
    with destination.open(other.key) as file:
        assert hashlib.sha256(file.read()).hexdigest() == other.sha256
    assert destination.find(f"{other.key}.json") is None


def test_an_upload_that_did_not_come_to_its_marker_gets_it(
    scratch: Staging, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    backup.dump_database(scratch, SHOP, MySQL(mariadb.server, mariadb.connect, clock.now))
    packed = backup.pack_archive(scratch, "Shop", "database", ["shop"], "password", now=clock.now())
    destination = disk_destination("here", tmp_path / "disk")
    destination.store(scratch.archive.source(), packed.key, packed.sha256)
    backup.store_archive(scratch, packed, destination)
    assert archives.read(destination.list()).archives[0].key == packed.key


def test_a_repeated_dump_that_fails_leaves_nothing_that_counts(scratch: Staging, mariadb: MariaDB, shop: str) -> None:
    """Cleared after it had succeeded, killed half-way: the facts of the first must not vouch for the half second."""
    backup.dump_database(scratch, SHOP, MySQL(mariadb.server, mariadb.connect, clock.now))
    with pytest.raises(DumpError):
        backup.dump_database(scratch, SHOP, MySQL(mariadb.server, fail, clock.now))
    with pytest.raises(StagingError, match="is not in staging"):
        backup.pack_archive(scratch, "Shop", "database", ["shop"], "password", now=clock.now())


def test_a_repeated_packing_that_fails_leaves_nothing_that_counts(
    scratch: Staging, mariadb: MariaDB, shop: str
) -> None:
    backup.dump_database(scratch, SHOP, MySQL(mariadb.server, mariadb.connect, clock.now))
    backup.pack_archive(scratch, "Shop", "database", ["shop"], "password", now=clock.now())
    rewritten(scratch.dump("shop"), lambda content: b"x" * 4 + content[4:])
    with pytest.raises(Exception, match="is not a gzip file"):
        backup.pack_archive(scratch, "Shop", "database", ["shop"], "password", now=clock.now())
    with pytest.raises(StagingError, match="is not in staging"):
        scratch.archive.facts(StagedArchive)
