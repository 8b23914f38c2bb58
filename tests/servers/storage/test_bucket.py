"""What streams into a bucket: parts, going back, copies by the server, and what a killed upload leaves."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lifeboat.errors import AlreadyStoredError, AlteredError, StorageError
from lifeboat.storage import upload as upload_module
from lifeboat.storage.bucket import Bucket, Object
from lifeboat.storage.s3 import S3Destination
from lifeboat.storage.upload import Upload, put

from include.demo.stand_ins import S3

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "PART", 5 * MIB)


@pytest.fixture
def bucket(s3: S3, request: pytest.FixtureRequest) -> Bucket:
    return Bucket("staging", s3.client(), "backups", f"bucket-{abs(hash(request.node.nodeid)) % 10**12}")


@pytest.fixture
def destination(s3: S3, bucket: Bucket) -> S3Destination:
    return S3Destination("off", s3.client(), "backups", f"{bucket.prefix}kept")


def upload(bucket: Bucket, key: str, content: bytes) -> Upload:
    with Upload(bucket, key, only_new=False) as out:
        out.write(content)
        out.complete()
    return out


def content_of(bucket: Bucket, key: str) -> bytes:
    with bucket.open(key) as file:
        return file.read()


def sent_by(bucket: Bucket) -> list[str]:
    """Return a list that names every request of a bucket's client from now on."""
    sent: list[str] = []
    bucket.client.meta.events.register("before-call.s3", lambda model, **_: sent.append(model.name))
    return sent


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 36 * MIB])
def test_parts_become_one_object_with_s3s_checksum(bucket: Bucket, size: int) -> None:
    content = os.urandom(size)
    done = upload(bucket, "a", content)
    assert content_of(bucket, "a") == content
    digests = [hashlib.sha256(content[at : at + 5 * MIB]).digest() for at in range(0, max(size, 1), 5 * MIB)]
    composite = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert done.composite == f"{composite}-{len(digests)}"


@pytest.mark.parametrize("kept", [0, 3 * MIB, 7 * MIB])
@pytest.mark.parametrize("dropped", [1, 4 * MIB, 24 * MIB])
def test_what_was_written_since_a_mark_can_be_taken_back(bucket: Bucket, kept: int, dropped: int) -> None:
    head, tail = os.urandom(kept), os.urandom(9 * MIB)
    with Upload(bucket, "a", only_new=False) as out:
        out.write(head)
        out.mark()
        for _ in range(2):
            out.write(os.urandom(dropped))
            out.roll_back()
        out.write(tail)
        out.complete()
    assert content_of(bucket, "a") == head + tail


def test_parts_of_an_unknown_size_grow_so_that_all_fit_into_one_upload() -> None:
    sizes = [upload_module.growing_part(number) for number in range(1, upload_module.MOST_PARTS + 1)]
    assert sizes[0] == sizes[4999] == upload_module.PART
    assert sizes == sorted(sizes)
    assert max(sizes) == 16 * upload_module.PART
    assert sum(sizes) == 55_000 * upload_module.PART  # 461 GB at its real size


@pytest.mark.parametrize(
    ("parts", "times"), [(0, 1), (1, 1), (10_000, 1), (10_000.1, 2), (20_000, 2), (327_680, 33)], ids=str
)
def test_parts_of_a_known_size_are_equal_and_all_fit_into_one_upload(parts: float, times: int) -> None:
    assert upload_module.equal_part(int(parts * upload_module.PART)) == times * upload_module.PART


def test_a_block_that_fails_leaves_nothing(bucket: Bucket) -> None:
    with pytest.raises(KeyboardInterrupt), Upload(bucket, "a", only_new=False) as out:
        out.write(os.urandom(12 * MIB))
        raise KeyboardInterrupt
    assert list(bucket.list()) == list(bucket.uploads()) == []


def test_an_upload_that_somebody_aborts_says_so(bucket: Bucket) -> None:
    with pytest.raises(StorageError, match="upload") as error, Upload(bucket, "a", only_new=True) as out:
        out.write(os.urandom(5 * MIB))
        bucket.abort("a")
        out.write(os.urandom(30 * MIB))
        out.complete()
    assert not isinstance(error.value, AlreadyStoredError)
    assert "has aborted this upload" in error.value.hint


@pytest.mark.parametrize("size", [3, 12 * MIB])
def test_the_server_copies_what_it_holds_itself(bucket: Bucket, destination: S3Destination, size: int) -> None:
    content = os.urandom(size)
    source = Object(bucket, "a", upload(bucket, "a", content).composite)
    sent = sent_by(destination)
    destination.store(source, "b", hashlib.sha256(content).hexdigest())
    assert content_of(destination, "b") == content
    assert "UploadPartCopy" in sent
    assert not {"UploadPart", "PutObject"} & set(sent)


def test_a_copy_of_something_else_is_taken_back(bucket: Bucket, destination: S3Destination) -> None:
    source = Object(bucket, "a", upload(bucket, "a", b"as packed").composite)
    put(bucket, "a", b"no more", only_new=False)
    with pytest.raises(AlteredError, match="holds other bytes for b than were sent"):
        destination.store(source, "b", hashlib.sha256(b"as packed").hexdigest())
    assert list(destination.list()) == list(destination.uploads()) == []


def test_a_key_that_may_not_read_the_source_is_sent_the_bytes(bucket: Bucket, destination: S3Destination) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "UploadPartCopy")

    destination.client.meta.events.register("before-call.s3.UploadPartCopy", refuse)
    upload(bucket, "a", b"content")
    destination.store(Object(bucket, "a"), "b", hashlib.sha256(b"content").hexdigest())
    assert content_of(destination, "b") == b"content"
    assert list(destination.uploads()) == []


def test_between_two_servers_the_bytes_are_sent(
    bucket: Bucket, faulty_s3: tuple[Any, Callable[..., None]], destination: S3Destination
) -> None:
    client, _ = faulty_s3
    content = os.urandom(12 * MIB)
    upload(bucket, "a", content)
    elsewhere = S3Destination("elsewhere", client, "backups", destination.prefix.rstrip("/"))
    sent = sent_by(elsewhere)
    elsewhere.store(Object(bucket, "a"), "b", hashlib.sha256(content).hexdigest())
    assert content_of(destination, "b") == content
    assert sent.count("UploadPart") == 3


def test_a_copy_that_fails_leaves_nothing(s3: S3, bucket: Bucket, destination: S3Destination) -> None:
    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalError", "Message": "no"}}, "UploadPartCopy")

    destination.client.meta.events.register("before-call.s3.UploadPartCopy", fail)
    upload(bucket, "a", b"content")
    with pytest.raises(StorageError, match=r"Cannot store b at destination 'off'.*InternalError"):
        destination.store(Object(bucket, "a"), "b", hashlib.sha256(b"content").hexdigest())
    assert list(destination.list()) == list(destination.uploads()) == []


def test_what_is_open_is_one_object_though_somebody_replaces_it(bucket: Bucket) -> None:
    upload(bucket, "a", b"verified" + bytes(MIB))
    with bucket.open("a") as file:
        assert file.read(8) == b"verified"
        upload(bucket, "a", b"replaced" + bytes(MIB))
        file.seek(0)
        with pytest.raises(StorageError, match=r"Somebody replaced a at .* while it was read"):
            file.read(8)
    assert content_of(bucket, "a").startswith(b"replaced")
