"""What every destination promises, tried on each of them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from lifeboat.errors import AlreadyStoredError, AlteredError, StorageError
from lifeboat.storage import Destination
from lifeboat.storage.bucket import READ_ON
from lifeboat.storage.disk import DESTINATION_MARKER
from lifeboat.storage.s3 import S3Destination
from lifeboat.storage.upload import PART

from include.demo.stand_ins import S3
from tests.conftest import disk_destination

KEY = "Shop é 🦊/database/2026-11-23-01-00-00.zip"


@pytest.fixture(params=["disk", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    if request.param == "disk":
        return disk_destination("here", tmp_path / "root")
    server: S3 = request.getfixturevalue("s3")
    bucket = f"storage-{abs(hash(request.node.nodeid)) % 10**12}"
    server.create_bucket(bucket)
    return S3Destination("here", server.client(), bucket, "some/prefix")


def staged(tmp_path: Path, content: bytes) -> tuple[Path, str]:
    path = tmp_path / "staged"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 5, PART + 1])
def test_what_is_stored_can_be_read_in_any_order(destination: Destination, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    source, sha256 = staged(tmp_path, content)
    assert destination.find(KEY) is None
    destination.store(source, KEY, sha256)
    found = destination.find(KEY)
    assert found is not None
    assert (found.key, found.size) == (KEY, size)
    with destination.open(KEY) as file:
        assert file.read() == content
        file.seek(size // 2)
        assert file.read(2) == content[size // 2 :][:2]
        file.seek(-min(size, 3), os.SEEK_END)
        assert file.read() == content[-3:]


def test_nothing_is_overwritten(destination: Destination, tmp_path: Path) -> None:
    source, sha256 = staged(tmp_path, b"first")
    destination.store(source, KEY, sha256)
    destination.write(KEY + ".json", b"{}")
    other, other_sha256 = staged(tmp_path, b"second")
    with pytest.raises(AlreadyStoredError, match="nothing is overwritten"):
        destination.store(other, KEY, other_sha256)
    with pytest.raises(AlreadyStoredError, match="nothing is overwritten"):
        destination.write(KEY + ".json", b"other")
    with destination.open(KEY) as file:
        assert file.read() == b"first"


def test_a_listing_holds_what_is_below_a_prefix(destination: Destination) -> None:
    for key in ("a/1.zip", "a/b/2.zip", "ab/3.zip"):
        destination.write(key, key.encode())
    assert {stored.key: stored.size for stored in destination.list()} == {"a/1.zip": 7, "a/b/2.zip": 9, "ab/3.zip": 8}
    assert {stored.key for stored in destination.list("a/")} == {"a/1.zip", "a/b/2.zip"}
    assert list(destination.list("none/")) == []


def test_deleting_twice_is_no_error(destination: Destination) -> None:
    destination.write("a/1.zip", b"x")
    destination.delete("a/1.zip")
    destination.delete("a/1.zip")
    destination.delete("never/there.zip")
    assert destination.find("a/1.zip") is None


def test_reading_what_is_not_there_is_told(destination: Destination) -> None:
    with pytest.raises(StorageError, match="'here'"):
        destination.open("none.zip")


def test_what_was_altered_since_it_was_packed_is_not_stored(destination: Destination, tmp_path: Path) -> None:
    source, _ = staged(tmp_path, b"content")
    with pytest.raises(AlteredError, match=r"is not the a/b\.zip that was packed"):
        destination.store(source, "a/b.zip", "0" * 64)
    assert list(destination.list()) == []


def test_a_disk_that_returns_other_bytes_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    source, sha256 = staged(tmp_path, b"content")
    destination = disk_destination("here", root)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: os.pwrite(file, b"C", 0))
    with pytest.raises(StorageError, match="returns other bytes"):
        destination.store(source, "a/b.zip", sha256)
    assert [path.name for path in root.rglob("*") if path.is_file()] == [DESTINATION_MARKER]


def test_what_belongs_to_the_file_system_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "a.zip").touch()
    disk_destination("here", tmp_path).write("a/b.zip", b"x")
    assert [stored.key for stored in disk_destination("here", tmp_path).list()] == ["a/b.zip"]


def test_disk_takes_over_what_a_killed_upload_left(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "b.zip.partial").write_bytes(b"much longer than what comes now")
    source, sha256 = staged(tmp_path, b"content")
    disk_destination("here", root).store(source, "a/b.zip", sha256)
    assert (root / "a" / "b.zip").read_bytes() == b"content"
    assert [path.name for path in (root / "a").iterdir()] == ["b.zip"]


@pytest.mark.parametrize("key", ["../out", "/etc/out", "a/../../out", ""])
def test_no_key_leaves_the_root(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match="is not a key of"):
        disk_destination("here", tmp_path / "root").write(key, b"x")


def test_a_full_disk_is_told_and_leaves_nothing(tiny_disk: Path, tmp_path: Path) -> None:
    destination = disk_destination("here", tiny_disk)
    destination.write("a/old.zip", b"published before")
    source, sha256 = staged(tmp_path, os.urandom(2 << 20))
    with pytest.raises(StorageError, match=r"Cannot store a/new.zip at .*No space left.*Free some space"):
        destination.store(source, "a/new.zip", sha256)
    assert [path.name for path in (tiny_disk / "a").iterdir()] == ["old.zip"]


def test_disk_archives_are_not_for_everybody(tmp_path: Path) -> None:
    disk_destination("here", tmp_path).write("a.zip", b"x")
    assert stat.S_IMODE((tmp_path / "a.zip").stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize(
    ("changes", "bucket", "said"),
    [
        ({}, "no-such-bucket", r"s3://no-such-bucket/.*Create the bucket"),
        ({"aws_secret_access_key": "wrong"}, "backups", r"access key and its secret|rights to list"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "backups", r"Could not connect to the endpoint"),
    ],
)
def test_s3_says_what_is_wrong(s3: S3, tmp_path: Path, changes: dict[str, str], bucket: str, said: str) -> None:
    login = {"endpoint_url": s3.endpoint, "aws_secret_access_key": s3.secret_key} | changes
    once = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=login["endpoint_url"],
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=login["aws_secret_access_key"],
        config=once,
    )
    source, sha256 = staged(tmp_path, b"content")
    with pytest.raises(StorageError, match=said):
        S3Destination("off", client, bucket).store(source, KEY, sha256)


def test_s3_says_what_to_do_where_nobody_gave_a_key(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    client = boto3.Session().client("s3", endpoint_url=s3.endpoint, region_name="us-east-1")
    with pytest.raises(StorageError, match="Unable to locate credentials") as caught:
        list(S3Destination("off", client, "backups").list())
    assert "give the worker a role" in caught.value.hint


def test_s3_aborts_what_a_killed_upload_left(s3: S3, tmp_path: Path) -> None:
    client = s3.client()
    client.create_multipart_upload(Bucket="backups", Key=KEY)
    client.create_multipart_upload(Bucket="backups", Key=KEY + "x")
    source, sha256 = staged(tmp_path, b"content")
    S3Destination("off", s3.client(), "backups").store(source, KEY, sha256)
    left = client.list_multipart_uploads(Bucket="backups").get("Uploads", [])
    assert [upload["Key"] for upload in left if upload["Key"].startswith(KEY)] == [KEY + "x"]


def test_s3_answering_500_stores_nothing(s3: S3, faulty_s3: Any, tmp_path: Path) -> None:
    client, fail = faulty_s3
    source, sha256 = staged(tmp_path, b"content")
    destination = S3Destination("off", client, "backups")
    destination.find("Faulty/a.zip")
    fail(*["500"] * 20)
    with pytest.raises(StorageError, match="'off'"):
        destination.store(source, "Faulty/a.zip", sha256)
    assert "Contents" not in s3.client().list_objects_v2(Bucket="backups", Prefix="Faulty/")


def test_s3_failing_in_the_middle_of_an_upload_leaves_nothing(s3: S3, faulty_s3: Any, tmp_path: Path) -> None:
    client, fail = faulty_s3
    source, sha256 = staged(tmp_path, os.urandom(2 * PART + 1))
    destination = S3Destination("off", client, "backups")
    fail(*["part"] * 6)
    with pytest.raises(StorageError, match=r"Cannot store Midway/a.zip at destination 'off'"):
        destination.store(source, "Midway/a.zip", sha256)
    assert s3.client().list_multipart_uploads(Bucket="backups", Prefix="Midway/").get("Uploads", []) == []
    assert destination.find("Midway/a.zip") is None
    fail()
    destination.store(source, "Midway/a.zip", sha256)


def test_a_read_that_is_cut_goes_on_where_it_broke(s3: S3, faulty_s3: Any) -> None:
    client, fail = faulty_s3
    content = os.urandom(3 << 20)
    s3.client().put_object(Bucket="backups", Key="Cut/a.zip", Body=content)
    with S3Destination("off", client, "backups").open("Cut/a.zip") as file:
        fail("cut", "cut")
        assert file.read() == content


@pytest.mark.parametrize(("gap", "requests"), [(0, 1), (1, 1), (READ_ON, 1), (READ_ON + 1, 2), (-1, 2), (1 << 20, 2)])
def test_a_reader_reads_on_over_small_gaps(s3: S3, gap: int, requests: int) -> None:
    content = os.urandom(2 << 20)
    client = s3.client()
    client.put_object(Bucket="backups", Key="Gaps/a.zip", Body=content)
    sent: list[str] = []
    client.meta.events.register("before-send.s3.GetObject", lambda request, **_: sent.append(request.url))
    with S3Destination("off", client, "backups").open("Gaps/a.zip") as file:
        file.seek(1000)
        assert file.read(100) == content[1000:1100]
        file.seek(5)  # to look somewhere and come back costs nothing
        file.seek(1100 + gap)
        assert file.read(100) == content[1100 + gap :][:100]
    assert len(sent) == requests


def test_no_reader_seeks_before_the_start(destination: Destination) -> None:
    destination.write("a.zip", b"short")
    with destination.open("a.zip") as file:
        with pytest.raises(OSError, match=r"Invalid argument|before the start"):
            file.seek(-22, os.SEEK_END)
        assert file.read() == b"short"
