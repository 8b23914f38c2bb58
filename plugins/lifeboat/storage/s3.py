"""A destination that is a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from lifeboat.errors import AlreadyStoredError, StorageError
from lifeboat.logs import logger
from lifeboat.progress import Progress
from lifeboat.storage import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logger(__name__)

PART = 16 << 20  # bytes; four parts in flight bound the memory of an upload
PARALLEL_PARTS = 4
READ_TRIES = 5
READ_ON = 256 << 10  # bytes; to skip fewer takes less time than a new request
REPACK = "Clear the archive task: staging was changed after it."
BLOCK = 1 << 20
PROBE = ".lifeboat-lock-probe"  # the test object's name; every probe adds a version of it
PROBE_LASTS = timedelta(minutes=15)  # longer than clocks differ, so that it is surely locked when it is tried
TAKEN = ("PreconditionFailed", "412", "NoSuchUpload")  # the last where an upload that is complete is completed again
REFUSED = (400, 403, 405, 409)  # what servers answer to who deletes what is locked

HINTS = {
    "NoSuchBucket": "Create the bucket, or mend its name in the settings.",
    "404": "Create the bucket, or mend its name in the settings.",
    "InvalidAccessKeyId": "Check login and password of the connection: they are the access key and its secret.",
    "SignatureDoesNotMatch": "Check login and password of the connection: they are the access key and its secret.",
    "AccessDenied": "Give the key the rights to list, read, write and abort uploads in the bucket; clean-ups delete.",
    "ObjectLockConfigurationNotFoundError": "Enable Object Lock on the bucket: docs/IMMUTABILITY.md says how.",
    "403": "Check the connection's access key and its secret, and the key's rights to list, read and write.",
}


@dataclass(frozen=True)
class Lock:
    """How a bucket is asked to lock what is stored.

    :param until: when the lock of a key ends; None for what is not locked.
    """

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    until: Callable[[str], datetime | None]


class S3Destination:
    """Keeps objects in a bucket. Nothing is ever overwritten: every write carries ``If-None-Match: *``.

    :param name: the destination's name in the settings.
    :param client: a boto3 client of S3, used by this destination alone.
    """

    def __init__(self, name: str, client: S3Client, bucket: str, prefix: str = "", lock: Lock | None = None) -> None:
        self.name = name
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._lock = lock
        # The transfer manager lets no caller pass the header, so it is added to the requests that create objects.
        for operation in ("PutObject", "CompleteMultipartUpload"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", cast(Any, _never_overwrite))

    def __str__(self) -> str:
        return f"destination {self.name!r} (s3://{self._bucket}/{self._prefix})"

    def init(self) -> str:
        with self._translated("reach"):
            self._client.head_bucket(Bucket=self._bucket)
        return "is there; a bucket needs no preparing"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            goes_on = False
            for page in pages:
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])
                goes_on = page.get("IsTruncated", False)
        if goes_on:
            raise StorageError(f"{self} broke its listing off: it says that there is more, and not where.")

    def find(self, key: str) -> StoredObject | None:
        with self._translated(f"look for {key} in"):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.ClientError as error:
                if _code(error) != "404":
                    raise
                self._client.head_bucket(Bucket=self._bucket)  # a missing bucket is not a missing object
                return None
            return StoredObject(key, head["ContentLength"], head["LastModified"])

    def open(self, key: str) -> BinaryIO:
        found = self.find(key)
        if found is None:
            raise StorageError(f"There is no {key} at {self}.")
        return cast(BinaryIO, _Reader(self, key, found.size))

    def store(self, source: Path, key: str, sha256: str) -> None:
        from boto3.s3.transfer import TransferConfig

        if self.find(key):
            raise AlreadyStoredError(f"{self} already holds {key}; nothing is overwritten.")
        size, whole, composite = _s3_sha256(source)
        if base64.b64decode(whole).hex() != sha256:
            raise StorageError(f"{source} is not the {key} that was packed: its SHA-256 differs.", REPACK)
        self.abort(key)  # what a killed upload left: its parts cost money
        try:
            with self._translated(f"store {key} at"):
                self._client.upload_file(
                    str(source),
                    self._bucket,
                    self._prefix + key,
                    # The server refuses a part whose SHA-256 differs from the one sent with it.
                    ExtraArgs={"ChecksumAlgorithm": "SHA256", **self._lock_arguments(key)},
                    Callback=Progress(f"Storing {key} at {self}", size).advance,
                    Config=TransferConfig(PART, max_concurrency=PARALLEL_PARTS, multipart_chunksize=PART),
                )
        except AlreadyStoredError:
            # Where the answer is lost on its way, the client asks again, and finds what it has just stored.
            if not self._holds(key, size, sha256, {whole, composite}):
                raise
        else:
            if not self._holds(key, size, sha256, {whole, composite}):
                raise StorageError(
                    f"{self} holds other bytes for {key} than were sent.", "Clear the upload to try again."
                )

    def write(self, key: str, content: bytes) -> None:
        try:
            with self._translated(f"store {key} at"):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=content,
                    ChecksumAlgorithm="SHA256",
                    **self._lock_arguments(key),
                )
        except AlreadyStoredError:
            with self.open(key) as file:  # as above, what is there may be ours
                if file.read(len(content) + 1) != content:
                    raise

    def _lock_arguments(self, key: str) -> dict[str, Any]:
        if self._lock is None or (until := self._lock.until(key)) is None:
            return {}
        if until < datetime.now(UTC) + PROBE_LASTS:
            return {}  # a lock that is over already would be refused
        return {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}

    def delete(self, key: str) -> None:
        with self._translated(f"delete {key} from"):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def lock_of(self, key: str) -> str:
        with self._translated(f"look for locks of {key} at"):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.ClientError as error:
                if _code(error) == "404":
                    return ""  # gone already
                raise
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return "a legal hold"
        until = head.get("ObjectLockRetainUntilDate")
        return f"object lock until {until:%Y-%m-%d %H:%M} UTC" if until and until > datetime.now(UTC) else ""

    def prove_lock(self, deleter: S3Destination) -> None:
        """Store a test object that is locked as archives are, for minutes only, and try to delete it.

        :param deleter: the same destination, as whoever deletes reaches it.
        :raises StorageError: the lock did not hold, or nobody can say.
        """
        if self._lock is None:
            raise StorageError(f"{self} locks nothing.")
        at: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + PROBE}
        with self._translated("ask for the Object Lock of"):
            self._client.get_object_lock_configuration(Bucket=self._bucket)
        with self._translated("store a locked test object at"):
            made = self._client.put_object(
                **at,
                Body=b"A test object: whoever finds it may delete it as soon as its lock is over.\n",
                ChecksumAlgorithm="SHA256",
                ObjectLockMode=self._lock.mode,
                ObjectLockRetainUntilDate=datetime.now(UTC) + PROBE_LASTS,
            )
        if "VersionId" not in made:
            raise StorageError(f"{self} keeps no versions of objects, so it cannot lock them.")
        at["VersionId"] = made["VersionId"]
        with self._translated("ask for the lock of a test object at"):
            self._client.get_object_retention(**at)
        deleter.try_to_delete(at, bypass=self._lock.mode == "GOVERNANCE")
        try:
            with self._translated("look for a locked test object at"):
                self._client.head_object(**at)
        except StorageError as error:
            if _code(error.__cause__) not in ("404", "NoSuchVersion"):
                raise
            raise StorageError(
                f"{self} let a locked test object be deleted.",
                "Take s3:BypassGovernanceRetention from the key, or set the mode to compliance."
                if self._lock.mode == "GOVERNANCE"
                else "Object Lock does not work there.",
            ) from None

    def try_to_delete(self, version: Mapping[str, Any], *, bypass: bool) -> None:
        """Delete a version of an object unless the bucket refuses.

        :param bypass: lift its lock, as only some may.
        """
        with self._translated("try to delete a locked test object at"):
            try:
                self._client.delete_object(**version, BypassGovernanceRetention=bypass)
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in REFUSED:
                    raise

    def uploads(self) -> Iterator[StoredObject]:
        with self._translated("look for unfinished uploads at"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    yield StoredObject(upload["Key"].removeprefix(self._prefix), 0, upload["Initiated"])

    def abort(self, key: str) -> None:
        with self._translated(f"abort unfinished uploads of {key} at"):
            uploads = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix + key)
            for upload in uploads.get("Uploads", []):
                if upload["Key"] == self._prefix + key:
                    log.warning("Aborting an unfinished upload of %s at %s.", key, self)
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def read_from(self, key: str, start: int) -> Any:
        """Return the body of an object from a byte on, as a stream."""
        with self._translated(f"read {key} from"):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-")
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StorageError(f"{self} does not answer with the bytes of {key} that it was asked for.")
        return answer["Body"]

    def _holds(self, key: str, size: int, sha256: str, checksums: set[str]) -> bool:
        """Whether the bucket says that it holds what was sent.

        :param checksums: the forms in which S3 may report the SHA-256.
        """
        with self._translated(f"confirm {key} at"):
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key, ChecksumMode="ENABLED")
        stored = head.get("ChecksumSHA256")
        if stored is None:
            log.info("%s reports no checksum; reading %s back.", self, key)
            with self.open(key) as file:
                matches = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        else:
            matches = stored in checksums
        return bool(head["ContentLength"] == size and matches)

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
            code = _code(cause)
            if code in TAKEN:
                raise AlreadyStoredError(
                    f"{self} already holds it; nothing is overwritten. Cannot {doing} it."
                ) from error
            text = str(cause).rstrip(".")
            raise StorageError(f"Cannot {doing} {self}: {text}.", HINTS.get(code, "")) from error


class _Reader(io.RawIOBase):
    """Reads an object by ranges: one request as long as reading goes on, a new one after a leap or a cut line."""

    def __init__(self, destination: S3Destination, key: str, size: int) -> None:
        self._destination, self._key, self._size = destination, key, size
        self._position = 0
        self._body: Any = None
        self._body_position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the start of the object")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        wanted = max(0, self._size - self._position)
        wanted = wanted if size is None or size < 0 else min(size, wanted)
        pieces = []
        failures = 0
        while wanted:
            try:
                piece = self._read_some(min(wanted, BLOCK))
            except _cut_lines() as error:
                self._drop()
                failures += 1
                if failures == READ_TRIES:
                    raise StorageError(
                        f"{self._destination} broke off {READ_TRIES} times while {self._key} was read."
                    ) from error
                continue
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_some(self, size: int) -> bytes:
        if not 0 <= self._position - self._body_position <= READ_ON:
            self._drop()
        if self._body is None:
            self._body = self._destination.read_from(self._key, self._position)
            self._body_position = self._position
        while skipped := self._position - self._body_position:
            self._next(skipped)
        piece = self._next(size)
        self._position = self._body_position
        return piece

    def _next(self, size: int) -> bytes:
        piece: bytes = self._body.read(size)
        if not piece:
            raise ConnectionError("the body ended early")
        self._body_position += len(piece)
        return piece

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop()
        super().close()


def _cut_lines() -> tuple[type[Exception], ...]:
    from botocore.exceptions import HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    return OSError, HTTPClientError, IncompleteReadError, HTTPError


def _never_overwrite(params: dict[str, Any], **_: object) -> dict[str, Any]:
    return params if params["Key"].rpartition("/")[2] == PROBE else params | {"IfNoneMatch": "*"}


def _code(error: BaseException | None) -> str:
    answer = getattr(error, "response", None) or {}  # errors of the line have none
    return str(answer.get("Error", {}).get("Code", ""))


def _s3_sha256(source: Path) -> tuple[int, str, str]:
    """Read a file once and return its size in bytes and its SHA-256 in both of S3's forms.

    :returns: size; of the whole, in base64; of the SHA-256s of its parts, in base64 with their number.
    """
    from s3transfer.utils import ChunksizeAdjuster

    part_size = ChunksizeAdjuster().adjust_chunksize(PART, source.stat().st_size)
    whole, parts, size = hashlib.sha256(), [], 0
    with source.open("rb") as file:
        while part := file.read(part_size):
            whole.update(part)
            parts.append(hashlib.sha256(part).digest())
            size += len(part)
    composite = base64.b64encode(hashlib.sha256(b"".join(parts)).digest()).decode()
    return size, base64.b64encode(whole.digest()).decode(), f"{composite}-{len(parts)}"
