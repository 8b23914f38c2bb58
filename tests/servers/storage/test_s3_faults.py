"""A bucket that fails, breaks off, hangs and lies: nothing half-published, nothing wrongly deleted, words for all."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lifeboat.actions import backup, check, cleanup, drill
from lifeboat.actions.backup import PackedArchive
from lifeboat.airflow import connections, doctor
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import marker as markers
from lifeboat.catalog import proof
from lifeboat.catalog.archives import MARKER
from lifeboat.errors import AlreadyStoredError, StorageError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.staging import Staging, StagingDirectory
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination
from lifeboat.storage.upload import Upload

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import Configure, stage
from tests.faulty_s3 import (
    LASTING,
    Act,
    Answer,
    Fault,
    FaultyS3,
    Forward,
    altered,
    cut,
    demanding,
    failing,
    hanging,
    lost,
    refusing,
    reset,
    slow,
    with_headers,
    without,
)
from tests.servers.test_restore import back_up, plan, restored

NOW = datetime.now(UTC).replace(microsecond=0)
BUCKET = "faults"
EMPTY = "there is no database archive yet"
PART = 5 << 20  # bytes; smaller ones no server takes
TRANSIENT: dict[str, Act] = {
    "500": failing(500),
    "reset": reset,
    "lost answer": lost,
    "cut answer": cut,
}


@pytest.fixture(scope="module")
def proxy(s3: S3) -> Iterator[FaultyS3]:
    s3.create_bucket(BUCKET)
    with FaultyS3(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy: FaultyS3, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Airflow connection through the proxy; its client waits a second, and hardly before it tries again."""
    monkeypatch.setattr("botocore.retryhandler.random", SimpleNamespace(random=lambda: 0.001))
    connection = json.loads(s3.connection())
    kwargs = {"s3": {"addressing_style": "path"}, "read_timeout": 1}
    connection["extra"] |= {"endpoint_url": proxy.endpoint, "config_kwargs": kwargs}
    return json.dumps(connection)


@pytest.fixture
def settings(
    proxy: FaultyS3, connection: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings with a place of this test's own behind the proxy."""
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", connection)
    proxy.inject()
    prefix = str(abs(hash(request.node.nodeid)))
    return Settings.model_validate(
        {
            "staging": "/nowhere",
            "encryption": "none",
            "destinations": {"offsite": {"type": "s3", "connection": "backups_s3", "bucket": BUCKET, "prefix": prefix}},
            "applications": {"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}]}},
            "health": {"database_max_days": 9},
        }
    )


@pytest.fixture
def bucket(settings: Settings) -> Destination:
    return connections.destination("offsite", settings.destinations["offsite"])


def test_an_upload_that_is_aborted_already_is_no_key_that_is_taken(proxy: FaultyS3, bucket: Destination) -> None:
    key = catalog.archive_key("Shop", "database", NOW)
    assert isinstance(bucket, S3Destination)
    bucket.client.create_multipart_upload(Bucket=BUCKET, Key=bucket.prefix + key)
    proxy.inject(Fault(lambda forward: forward() and failing(404, "NoSuchUpload")(forward), "AbortMultipartUpload"))
    bucket.abort(key)
    assert list(bucket.uploads()) == []


class Packer:
    """Stages archives, each of another second."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self._ages = itertools.count(100)

    def __call__(self, size: int = 7, age: timedelta | None = None) -> tuple[Staging, PackedArchive]:
        age = age or timedelta(seconds=next(self._ages))
        scratch = StagingDirectory(self._tmp_path / "staging" / str(age))
        scratch.create()
        return scratch, stage(scratch, catalog.archive_key("Shop", "database", NOW - age), os.urandom(size))


@pytest.fixture
def pack(tmp_path: Path) -> Packer:
    return Packer(tmp_path)


def assert_published_is_whole(bucket: Destination, packed: PackedArchive, *, published: bool) -> None:
    """Whatever counts as published is what was packed."""
    assert (packed.key in archives(bucket)) is published
    if published:
        marker = markers.read(bucket, packed.key)
        assert marker is not None
        with bucket.open(packed.key) as file:
            assert hashlib.sha256(file.read()).hexdigest() == marker.archive.sha256 == packed.sha256


def archives(bucket: Destination) -> list[str]:
    return [archive.key for archive in catalog.read(bucket.list()).archives]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_fault_of_any_request_of_an_upload_is_lived_through(
    proxy: FaultyS3, bucket: Destination, pack: Packer, fault: str
) -> None:
    backup.store_archive(*pack(), bucket)
    requests = len(proxy.operations)
    assert requests >= 8
    for number in range(requests):
        scratch, packed = pack()
        proxy.inject(Fault(TRANSIENT[fault], after=number))
        backup.store_archive(scratch, packed, bucket)
        proxy.inject()
        assert_published_is_whole(bucket, packed, published=True)


@pytest.mark.parametrize("fault", ["500", "lost answer"])
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_so_is_one_of_an_upload_in_parts(
    proxy: FaultyS3, bucket: Destination, pack: Packer, monkeypatch: pytest.MonkeyPatch, fault: str, operation: str
) -> None:
    monkeypatch.setattr("lifeboat.storage.upload.PART", PART)
    scratch, packed = pack(PART + 1)
    proxy.inject(Fault(TRANSIENT[fault], on=operation))
    backup.store_archive(scratch, packed, bucket)
    assert operation in proxy.operations
    proxy.inject()
    assert_published_is_whole(bucket, packed, published=True)


@pytest.mark.parametrize(
    ("operation", "act", "said"),
    [
        ("HeadObject", failing(403, "AccessDenied"), r"Cannot look for .* in destination 'offsite'.*403.*rights"),
        ("ListMultipartUploads", failing(403, "AccessDenied"), r"Cannot abort unfinished uploads of .*rights"),
        ("PutObject", failing(403, "AccessDenied"), r"Cannot store .* at destination 'offsite'.*rights"),
        ("PutObject", failing(503, "SlowDown"), r"Cannot store .* at destination 'offsite'.*SlowDown"),
        ("PutObject", failing(507, "QuotaExceeded"), r"Cannot store .* at destination 'offsite'.*QuotaExceeded"),
        ("PutObject", reset, r"Cannot store .* at destination 'offsite'.*Connection was closed"),
        ("PutObject", hanging(1.2), r"Cannot store .* at destination 'offsite'.*Read timeout"),
    ],
    ids=["no reading", "no listing", "no writing", "busy", "full", "reset", "hanging"],
)
def test_a_lasting_fault_is_told_and_leaves_nothing_half_published(
    proxy: FaultyS3, bucket: Destination, pack: Packer, operation: str, act: Act, said: str
) -> None:
    for after in (0, 1) if operation == "PutObject" else (0,):  # the archive itself, or its marker
        scratch, packed = pack()
        proxy.inject(Fault(act, on=operation, after=after, times=LASTING))
        with pytest.raises(StorageError, match=said):
            backup.store_archive(scratch, packed, bucket)
        proxy.inject()
        assert_published_is_whole(bucket, packed, published=False)
        backup.store_archive(scratch, packed, bucket)
        assert_published_is_whole(bucket, packed, published=True)


def flipped(answer: Answer) -> Answer:
    return answer._replace(body=bytes(byte ^ 1 for byte in answer.body))


UNCHECKED = Fault(with_headers(x_amz_checksum_sha256=""), on="HeadObject", times=LASTING)


@pytest.mark.parametrize(
    "lies",
    [
        [Fault(with_headers(x_amz_checksum_sha256="AAAA"), on="HeadObject", after=2, times=LASTING)],
        [Fault(with_headers(content_length="8"), on="HeadObject", after=2, times=LASTING)],
        [replace(UNCHECKED), Fault(altered(flipped), on="GetObject", times=LASTING)],
    ],
    ids=["checksum", "size", "content"],
)
def test_a_bucket_that_confirms_something_else_publishes_nothing(
    proxy: FaultyS3, bucket: Destination, pack: Packer, lies: list[Fault]
) -> None:
    scratch, packed = pack()
    proxy.inject(*lies)
    with pytest.raises(StorageError, match=r"holds other bytes for .* than were sent"):
        backup.store_archive(scratch, packed, bucket)
    proxy.inject()
    assert_published_is_whole(bucket, packed, published=False)
    backup.store_archive(scratch, packed, bucket)
    assert_published_is_whole(bucket, packed, published=True)


def test_a_bucket_without_checksums_is_read_back(proxy: FaultyS3, bucket: Destination, pack: Packer) -> None:
    scratch, packed = pack()
    proxy.inject(replace(UNCHECKED))
    backup.store_archive(scratch, packed, bucket)
    assert "GetObject" in proxy.operations
    assert_published_is_whole(bucket, packed, published=True)


LACKS = {"conditions": "does not support conditional writes", "checksums": "does not support SHA-256 checksums"}
HEADERS = {
    "conditions": {"if-none-match": failing(501, "NotImplemented")},
    "checksums": {"x-amz-checksum-": failing(400, "InvalidArgument"), "x-amz-sdk-": failing(400, "InvalidRequest")},
}


@pytest.mark.parametrize("lacking", [["conditions"], ["checksums"], ["conditions", "checksums"]], ids="+".join)
def test_a_server_that_cannot_do_all_of_it_gets_archives_all_the_same(
    proxy: FaultyS3,
    settings: Settings,
    bucket: Destination,
    pack: Packer,
    lacking: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("lifeboat.storage.upload.PART", PART)
    acts = {header: act for lack in lacking for header, act in HEADERS[lack].items()}
    lesser = Fault(refusing(acts), times=LASTING)
    proxy.inject(replace(lesser))
    with caplog.at_level(logging.WARNING, "lifeboat"):
        for size in (PART + 1, 7):
            scratch, packed = pack(size)
            backup.store_archive(scratch, packed, bucket)
            assert_published_is_whole(bucket, packed, published=True)
    said = [record.getMessage() for record in caplog.records]
    assert [sum(words in line for line in said) for words in LACKS.values()] == [lack in lacking for lack in LACKS]
    with pytest.raises(AlreadyStoredError, match="nothing is overwritten"):
        bucket.write(packed.key + MARKER, b"other")
    assert {told.verdict for told in doctor.examine_destination("offsite", settings.destinations["offsite"])} == {
        "well"
    }


@pytest.mark.parametrize("conditions", [True, False])
def test_what_is_read_back_otherwise_is_not_published_without_checksums(
    proxy: FaultyS3, bucket: Destination, pack: Packer, *, conditions: bool
) -> None:
    """Without conditional writes it may be another run's, and is not deleted."""
    acts = HEADERS["checksums"] | ({} if conditions else HEADERS["conditions"])

    def lying(forward: Forward) -> Answer | None:
        answer = refusing(acts)(forward)
        lies = answer and forward.operation == "GetObject" and answer.status < HTTPStatus.BAD_REQUEST
        return flipped(answer) if answer and lies else answer

    scratch, packed = pack()
    proxy.inject(Fault(lying, times=LASTING))
    with pytest.raises(StorageError, match=r"holds other bytes for .* than were sent"):
        backup.store_archive(scratch, packed, bucket)
    proxy.inject()
    assert_published_is_whole(bucket, packed, published=False)
    assert (bucket.find(packed.key) is None) is conditions


def test_botos_own_settings_of_checksums_are_honoured(
    proxy: FaultyS3, settings: Settings, pack: Packer, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = json.loads(connection)
    changed["extra"]["config_kwargs"] |= dict.fromkeys(
        ("request_checksum_calculation", "response_checksum_validation"), "when_required"
    )
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(changed))
    bucket = connections.destination("offsite", settings.destinations["offsite"])
    with_checksum: list[str] = []

    def note(forward: Forward) -> Answer:
        with_checksum.append(forward.operation)
        return forward()

    proxy.inject(Fault(refusing({"x-amz-checksum-": note}), times=LASTING))
    scratch, packed = pack()
    backup.store_archive(scratch, packed, bucket)
    assert_published_is_whole(bucket, packed, published=True)
    assert with_checksum == []


class EqualParts:
    """Answers like Cloudflare's R2: all parts of an upload but the last must be equal."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def __call__(self, forward: Forward) -> Answer | None:
        if forward.operation == "UploadPart":
            (number,) = parse_qs(urlsplit(forward.path).query)["partNumber"]
            copied = re.findall(r"\d+", forward.headers.get("x-amz-copy-source-range", ""))
            length = int(copied[1]) + 1 - int(copied[0]) if copied else int(forward.headers["Content-Length"])
            self.sizes[int(number)] = length
        if forward.operation == "CompleteMultipartUpload":
            *others, _ = (self.sizes[number] for number in sorted(self.sizes))
            if len(set(others)) > 1:
                return failing(400, "InvalidPart")(forward)
        return forward()


def test_all_parts_but_the_last_are_equal(
    proxy: FaultyS3, bucket: Destination, pack: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifeboat.storage.upload.PART", PART)
    monkeypatch.setattr("lifeboat.storage.upload.PARTS_OF_ONE_SIZE", 1)  # those of an unknown size grow at once
    monkeypatch.setattr("lifeboat.storage.upload.MOST_PARTS", 3)
    server = EqualParts()
    proxy.inject(Fault(server, times=LASTING))
    scratch, packed = pack(3 * PART + 1)
    backup.store_archive(scratch, packed, bucket)
    assert server.sizes == {1: 2 * PART, 2: PART + 1}
    assert_published_is_whole(bucket, packed, published=True)
    server.sizes.clear()
    bucket.store(bucket.source(packed.key), "copy", packed.sha256)
    assert server.sizes == {1: 2 * PART, 2: PART + 1}
    assert isinstance(bucket, S3Destination)
    with pytest.raises(StorageError, match="InvalidPart"), Upload(bucket, "streamed", only_new=True) as upload:
        upload.write(bytes(6 * PART))
        upload.complete()


def test_a_bucket_that_takes_encrypted_objects_of_a_class_only_gets_them(
    proxy: FaultyS3, settings: Settings, bucket: Destination, pack: Packer, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifeboat.storage.upload.PART", PART)
    refuse = failing(403, "AccessDenied")
    act = demanding("x-amz-server-side-encryption", demanding("x-amz-storage-class", refuse))
    policy = [Fault(act, on=operation, times=LASTING) for operation in ("PutObject", "CreateMultipartUpload")]
    scratch, packed = pack(PART + 1)
    proxy.inject(*policy)
    with pytest.raises(StorageError, match="set server_side_encryption of the destination"):
        backup.store_archive(scratch, packed, bucket)
    asked = {"server_side_encryption": "AES256", "storage_class": "STANDARD_IA"}
    encrypting = connections.destination("offsite", settings.destinations["offsite"].model_copy(update=asked))
    assert isinstance(encrypting, S3Destination)
    backup.store_archive(scratch, packed, encrypting)
    assert_published_is_whole(encrypting, packed, published=True)
    for key in (packed.key, packed.key + MARKER):
        head = s3.client().head_object(Bucket=BUCKET, Key=encrypting.prefix + key)
        assert (head["ServerSideEncryption"], head.get("StorageClass")) == ("AES256", "STANDARD_IA")


def test_a_key_of_kms_is_named_to_the_server(proxy: FaultyS3, settings: Settings) -> None:
    headers: dict[str, str] = {}

    def note(forward: Forward) -> Answer | None:
        headers.update(forward.headers)
        return failing(400, "KMS.NotFoundException")(forward)

    asked = {"server_side_encryption": "aws:kms", "kms_key": "alias/backups"}
    place = connections.destination("offsite", settings.destinations["offsite"].model_copy(update=asked))
    proxy.inject(Fault(note, on="PutObject", times=LASTING))
    with pytest.raises(StorageError, match=r"Cannot store a at destination 'offsite'.*KMS\.NotFoundException"):
        place.write("a", b"content")
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/backups"


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "RequestTimeTooSkewed", "Set this machine's clock"),
        (400, "ExpiredToken", "Renew the session token"),
        (403, "SignatureDoesNotMatch", "access key and its secret"),
        (301, "PermanentRedirect", "Set region_name"),
        (400, "AuthorizationHeaderMalformed", "Set region_name"),
    ],
)
def test_a_refusal_has_its_hint_though_head_tells_a_number_only(
    proxy: FaultyS3, bucket: Destination, status: int, code: str, hint: str
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: bucket.init(NOW),
        lambda: bucket.find("a"),
        lambda: bucket.lock_description("a", NOW),
    ]
    proxy.inject(Fault(failing(status, code, x_amz_bucket_region="eu-central-1"), times=LASTING))
    for step in steps:
        with pytest.raises(StorageError, match=code) as caught:
            step()
        assert hint in caught.value.hint


@pytest.mark.parametrize("status", [301, 307])
def test_a_server_that_sends_elsewhere_is_not_followed(
    proxy: FaultyS3, bucket: Destination, s3: S3, status: int
) -> None:
    """By an answer without a region, botocore ends in a RecursionError, or in an error about one."""
    with FaultyS3(s3.endpoint) as elsewhere:
        proxy.inject(Fault(failing(status, Location=elsewhere.endpoint), times=LASTING))
        for use in (lambda: list(bucket.list()), lambda: bucket.write("a", b"x")):
            with pytest.raises(StorageError, match="redirects without naming a target") as caught:
                use()
            assert "Set region_name" in caught.value.hint
    assert elsewhere.operations == []


def test_what_a_server_lacks_whatever_is_given_up_is_told(proxy: FaultyS3, bucket: Destination) -> None:
    proxy.inject(Fault(failing(501, "NotImplemented"), on="PutObject", times=LASTING))
    with pytest.raises(StorageError, match=r"NotImplemented.*This server lacks something"):
        bucket.write("a", b"content")
    proxy.inject()
    bucket.write("a", b"content")
    assert "GetObject" not in proxy.operations, "nothing was given up"


def test_an_archive_class_says_that_it_must_be_restored_first(proxy: FaultyS3, bucket: Destination) -> None:
    bucket.write("a", b"content")
    proxy.inject(Fault(failing(403, "InvalidObjectState"), on="GetObject", times=LASTING))
    with pytest.raises(StorageError, match=r"Cannot read a from .*restore it first") as caught:
        bucket.open("a").read()
    assert caught.value.lasting


def test_a_slow_bucket_is_waited_for_and_no_request_for_ever(
    proxy: FaultyS3, bucket: Destination, pack: Packer, s3: S3, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    scratch, packed = pack()
    proxy.inject(Fault(slow(0.1), times=LASTING))
    backup.store_archive(scratch, packed, bucket)
    assert_published_is_whole(bucket, packed, published=True)
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection())
    offsite = connections.destination("offsite", settings.destinations["offsite"])
    assert isinstance(offsite, S3Destination)
    limits: Any = offsite.client.meta.config  # its stubs know none of its settings
    assert 0 < limits.connect_timeout <= 60
    assert 0 < limits.read_timeout <= 60


@pytest.fixture
def kept(proxy: FaultyS3, bucket: Destination, pack: Packer) -> list[str]:
    """Keys of published archives, the newest first; retention keeps the first two."""
    published = [pack(age=timedelta(days=age)) for age in (0.1, 1, 3000, 3001)]
    for scratch, packed in published:
        backup.store_archive(scratch, packed, bucket)
    proxy.inject()
    return [packed.key for _, packed in published]


Order = Callable[..., cleanup.Order]
Clean = Callable[..., cleanup.Cleaned]


@pytest.fixture
def order(settings: Settings, bucket: Destination) -> Order:
    return lambda now=NOW: cleanup.evaluate(bucket, site_of(settings), ["Shop"], now).order


@pytest.fixture
def clean(settings: Settings, bucket: Destination) -> Clean:
    return lambda order, now=NOW: cleanup.clean(bucket, site_of(settings), ["Shop"], now, order)


def ends_without_a_token(answer: Answer) -> Answer:
    body = answer.body.replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>")
    assert body != answer.body
    return answer._replace(body=body)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (failing(403, "AccessDenied"), "Cannot list destination 'offsite'.*rights"),
        (failing(500), "Cannot list destination 'offsite'.*InternalError"),
        (reset, "Cannot list destination 'offsite'.*Connection was closed"),
        (cut, "Cannot list destination 'offsite'"),
        (altered(lambda answer: answer._replace(body=answer.body[: len(answer.body) // 2])), "Cannot list"),
        (altered(ends_without_a_token), "returned a truncated listing without a continuation token"),
    ],
    ids=["denied", "500", "reset", "cut", "half", "no token"],
)
def test_a_listing_that_fails_decides_nothing(
    proxy: FaultyS3,
    settings: Settings,
    bucket: Destination,
    kept: list[str],
    order: Order,
    clean: Clean,
    act: Act,
    said: str,
) -> None:
    planned = order()
    assert list(planned.archives) == [kept[3], kept[2]]
    proxy.inject(Fault(act, on="ListObjectsV2", times=LASTING))
    with pytest.raises(StorageError, match=said):
        order()
    with pytest.raises(StorageError, match=said):
        clean(planned)
    (finding,) = check.examine("offsite", site_of(settings), ["Shop"], NOW).findings
    assert (finding.check, finding.verdict) == ("reachable", "unhealthy")
    assert re.search(said, finding.text)
    proxy.inject()
    assert archives(bucket) == kept


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_stale_listing_costs_no_archive_that_is_to_stay(
    proxy: FaultyS3, bucket: Destination, kept: list[str], order: Order, clean: Clean, gone: int
) -> None:
    """Objects are missing in it: an archive, or only one of the two halves by which it counts."""
    later = NOW + timedelta(days=1.5)  # when what seems to be unfinished is old enough to be swept
    for missing in ([kept[gone], kept[gone] + MARKER], [kept[gone]], [kept[gone] + MARKER]):
        proxy.inject(Fault(without(*missing), on="ListObjectsV2", times=LASTING))
        deleted = clean(order(later), later).deleted
        assert not {kept[0], kept[1]} & set(deleted)
        proxy.inject()
        assert archives(bucket)[:2] == kept[:2]
        assert all(markers.read(bucket, key) for key in kept[:2])


def test_a_listing_with_what_is_gone_costs_nothing(
    proxy: FaultyS3, bucket: Destination, kept: list[str], order: Order, clean: Clean
) -> None:
    pages: list[bytes] = []

    def remember(answer: Answer) -> Answer:
        pages.append(answer.body)
        return answer

    proxy.inject(Fault(altered(remember), on="ListObjectsV2"))
    planned = order()
    for key in kept[:2]:  # somebody deletes them, and listings do not know
        bucket.delete(key)
        bucket.delete(key + MARKER)
    proxy.inject(Fault(altered(lambda answer: answer._replace(body=pages[0])), on="ListObjectsV2", times=LASTING))
    cleaned = clean(planned)
    assert cleaned.deleted == []
    assert cleaned.left == dict.fromkeys(kept[2:], f"{kept[0]}, which superseded it, is gone")
    proxy.inject()
    assert archives(bucket) == kept[2:]


@pytest.mark.parametrize("after", range(4))
def test_a_denied_deletion_fails_the_clean_up_and_says_what_is_left(
    proxy: FaultyS3, bucket: Destination, kept: list[str], order: Order, clean: Clean, after: int
) -> None:
    proxy.inject(Fault(failing(403, "AccessDenied"), on="DeleteObject", after=after, times=LASTING))
    left = ", ".join([kept[3], kept[2]][after // 2 :])
    with pytest.raises(StorageError, match=f"Deleted: {after // 2} of 2; left: {left}. Hint: .*clean-ups delete"):
        clean(order())
    proxy.inject()
    assert archives(bucket)[:2] == kept[:2]
    assert all(markers.read(bucket, key) for key in archives(bucket))
    clean(order())
    assert archives(bucket) == kept[:2]


@pytest.mark.parametrize("fault", ["500", "lost answer"])
def test_a_transient_fault_of_any_request_of_a_clean_up_is_lived_through(
    proxy: FaultyS3, bucket: Destination, kept: list[str], pack: Packer, order: Order, clean: Clean, fault: str
) -> None:
    clean(order())
    requests = len(proxy.operations)
    assert requests >= 10
    for number in range(0, requests, 2):
        proxy.inject()
        backup.store_archive(*pack(age=timedelta(days=3000 + number)), bucket)
        proxy.inject(Fault(TRANSIENT[fault], after=number))
        clean(order())
        proxy.inject()
        assert archives(bucket) == kept[:2]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (failing(500), "Cannot read .* from destination 'offsite'.*InternalError"),
        (reset, "Cannot read .* from destination 'offsite'|broke off 5 times"),
        (altered(lambda answer: answer._replace(sent=0)), "broke off 5 times while .* was read"),
        (with_headers(content_range=""), "did not return the requested bytes of "),
    ],
    ids=["500", "reset", "cut", "no ranges"],
)
def test_a_read_that_goes_on_failing_is_told(
    proxy: FaultyS3, bucket: Destination, kept: list[str], act: Act, said: str
) -> None:
    with bucket.open(kept[0]) as file:
        whole = file.read()
        proxy.inject(Fault(act, on="GetObject", times=LASTING))
        file.seek(3)
        with pytest.raises(StorageError, match=said):
            file.read(3)
        proxy.inject()
        file.seek(3)
        assert file.read() == whole[3:]


def test_everything_works_through_a_bucket_that_breaks_every_third_request(
    proxy: FaultyS3,
    settings: Settings,
    project: Configure,
    mariadb: MariaDB,
    shop: str,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offsite = settings.destinations["offsite"].model_dump(exclude_unset=True)
    project(destinations={"offsite": offsite}, drill={"production": True})
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", connection)
    requests, acts = itertools.count(1), itertools.cycle(TRANSIENT.values())

    def breaking(forward: Forward) -> Answer | None:
        return forward() if next(requests) % 3 else next(acts)(forward)

    proxy.inject(Fault(breaking, times=LASTING))
    key = back_up().packed.key
    flaky, now = config.load(), datetime.now(UTC)
    (place,) = site_of(flaky).destinations("Shop")
    findings = check.examine("offsite", site_of(flaky), ["Shop"], now, deep=True).findings
    assert {finding.verdict for finding in findings} == {"healthy"}
    assert (
        cleanup.clean(
            place, site_of(flaky), ["Shop"], now, cleanup.evaluate(place, site_of(flaky), ["Shop"], now).order
        ).left
        == {}
    )
    (done,) = restored(plan())
    assert mariadb.run("SELECT count(*) FROM orders", done.schema) == "3000\n"
    mariadb.run(f"DROP DATABASE {done.schema}")
    made = drill.rehearse(site_of(flaky), "Shop", place, key, "a test", now)
    proof.record(place, made)  # which replaces it
    assert [archive.proven for archive in catalog.read(place.list()).archives] == [True]
    assert next(requests) > 60


def test_a_bucket_swapped_for_an_empty_one_is_unhealthy_and_gets_backups(
    settings: Settings, bucket: Destination, kept: list[str], pack: Packer, order: Order, clean: Clean
) -> None:
    planned = order()
    for stored in list(bucket.list()):
        bucket.delete(stored.key)
    findings = check.examine("offsite", site_of(settings), ["Shop"], NOW).findings
    assert [finding.text for finding in findings if finding.verdict == "unhealthy"] == [EMPTY]
    assert cleanup.evaluate(bucket, site_of(settings), ["Shop"], NOW).plan.held == {"Shop": EMPTY}
    assert clean(planned).deleted == []
    scratch, packed = pack()
    backup.store_archive(scratch, packed, bucket)
    assert_published_is_whole(bucket, packed, published=True)
