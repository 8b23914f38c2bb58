"""Buckets of S3, or of a server that speaks its protocol; and a destination that is one."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Self, cast

from lifeboat.errors import AlreadyStoredError, AlteredError, StorageError
from lifeboat.logs import logger
from lifeboat.progress import Progress
from lifeboat.storage import StoredObject
from lifeboat.streams import Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

log = logger(__name__)

PART = 16 << 20  # bytes; parts in flight bound the memory of an upload
PARALLEL_PARTS = 4
MOST_PARTS = 10_000
PARTS_OF_ONE_SIZE = 2500  # then they grow: what is on its way may have 400 GB, and nobody knows beforehand
FORBIDDEN = ("AccessDenied", "403")
READ_TRIES = 5
READ_ON = 256 << 10  # bytes; to skip fewer takes less time than a new request
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
    "NoCredentialsError": "Set the connection's login and password: access key and secret. Or give the worker a role.",
    "403": "Check the connection's access key and its secret, and the key's rights to list, read and write.",
}


@dataclass(frozen=True)
class Lock:
    """How a bucket is asked to lock what is stored.

    :param until: when the lock of a key ends; None for what is not locked.
    """

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    until: Callable[[str], datetime | None]


class Bucket:
    """A part of a bucket: what destinations and staging have in common.

    :param what: what it is to users, in messages.
    :param client: a boto3 client of S3.
    """

    def __init__(self, what: str, client: S3Client, bucket: str, prefix: str = "") -> None:
        self._what = what
        self.client = client
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return f"{self._what} (s3://{self.bucket}/{self.prefix})"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self.translated("list"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            goes_on = False
            for page in pages:
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"].removeprefix(self.prefix), entry["Size"], entry["LastModified"])
                goes_on = page.get("IsTruncated", False)
        if goes_on:
            raise StorageError(f"{self} broke its listing off: it says that there is more, and not where.")

    def find(self, key: str) -> StoredObject | None:
        with self.translated(f"look for {key} in"):
            try:
                head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except self.client.exceptions.ClientError as error:
                if _code(error) != "404":
                    raise
                self.client.head_bucket(Bucket=self.bucket)  # a missing bucket is not a missing object
                return None
            return StoredObject(key, head["ContentLength"], head["LastModified"])

    def open(self, key: str) -> BinaryIO:
        found = self.find(key)
        if found is None:
            raise StorageError(f"There is no {key} at {self}.")
        return cast(BinaryIO, _Reader(self, key, found.size))

    def delete(self, key: str) -> None:
        with self.translated(f"delete {key} from"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def uploads(self, prefix: str = "") -> Iterator[StoredObject]:
        with self.translated("look for unfinished uploads at"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    yield StoredObject(upload["Key"].removeprefix(self.prefix), 0, upload["Initiated"])

    def abort(self, key: str) -> None:
        with self.translated(f"abort unfinished uploads of {key} at"):
            uploads = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix + key)
            for upload in uploads.get("Uploads", []):
                if upload["Key"] == self.prefix + key:
                    log.warning("Aborting an unfinished upload of %s at %s.", key, self)
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def put(self, key: str, content: bytes, *, only_new: bool, **lock: Any) -> None:
        """Store a small object, whole or not at all.

        :param only_new: never replace an object of that key.
        :param lock: arguments by which S3 locks it.
        """
        with Upload(self, key, only_new=only_new, **lock) as upload:
            upload.write(content)
            upload.complete()

    def read_from(self, key: str, start: int) -> Any:
        """Return the body of an object from a byte on, as a stream."""
        with self.translated(f"read {key} from"):
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, Range=f"bytes={start}-")
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StorageError(f"{self} does not answer with the bytes of {key} that it was asked for.")
        return answer["Body"]

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn what the server says into a sentence."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            code = _code(error)
            if code in TAKEN:
                raise AlreadyStoredError(
                    f"{self} already holds it; nothing is overwritten. Cannot {doing} it."
                ) from error
            text = str(error).rstrip(".")
            raise StorageError(f"Cannot {doing} {self}: {text}.", HINTS.get(code, "")) from error


class Object:
    """An object as a source.

    :param composite: SHA-256 of the SHA-256s of its parts, as S3 tells it; empty where nobody has computed it.
    """

    def __init__(self, bucket: Bucket, key: str, composite: str = "") -> None:
        self.bucket, self.key, self.composite = bucket, key, composite

    def __str__(self) -> str:
        return f"{self.key} at {self.bucket}"

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        return self.bucket.open(self.key)


class Upload:
    """An object on its way into a bucket: written once, forward, in parts that are sent while the next one fills.

    A part that was rolled back is sent again under its number, which replaces it. When the block fails, nothing is
    left; the object appears by `complete`.

    :param only_new: never replace an object of that key.
    :param lock: arguments by which S3 locks the object.
    """

    def __init__(self, bucket: Bucket, key: str, *, only_new: bool, **lock: Any) -> None:
        self._bucket = bucket
        self._lock = lock
        self._object: dict[str, Any] = {"Bucket": bucket.bucket, "Key": bucket.prefix + key}
        self._doing = f"store {key} at"
        self._condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
        self._upload_id = ""
        self._parts: list[Future[_Part]] = []
        self._buffer = bytearray()
        self._marked = (0, 0)
        self._marked_part = bytearray()
        self._pool = ThreadPoolExecutor(PARALLEL_PARTS, thread_name_prefix="upload")
        self._digests: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._upload_id:
            with contextlib.suppress(StorageError), self._bucket.translated(self._doing):
                self._bucket.client.abort_multipart_upload(**self._object, UploadId=self._upload_id)

    def write(self, data: bytes | memoryview, /) -> None:
        """Append; in memory are the part that fills, those on their way, and the one that holds the mark."""
        rest = memoryview(data)
        while rest:
            size = part_size(len(self._parts) + 1)
            room = size - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == size:
                self._send()

    def mark(self) -> None:
        """Remember this place; the part that it is in stays in memory."""
        self._marked = len(self._parts), len(self._buffer)
        self._marked_part = self._buffer

    def roll_back(self) -> None:
        """Forget what was written since the mark."""
        parts, length = self._marked
        wait(self._parts[parts:])  # of two parts with one number, the one that arrives last counts
        del self._parts[parts:]
        self._buffer = self._marked_part
        del self._buffer[length:]

    def copy(self, source: Object, size: int) -> None:
        """Let the server copy an object of its own, instead of `write`."""
        origin: CopySourceTypeDef = {"Bucket": source.bucket.bucket, "Key": source.bucket.prefix + source.key}
        progress = Progress(f"Copying {source} to {self._bucket}", size)

        def copy_part(number: int, start: int, end: int) -> _Part:
            with self._bucket.translated(self._doing):
                answer = self._bucket.client.upload_part_copy(
                    **self._of_part(number), CopySource=origin, CopySourceRange=f"bytes={start}-{end - 1}"
                )
            progress.advance(end - start)
            return _Part(number, answer["CopyPartResult"])

        start = 0
        self._begin()
        while start < size:
            number = len(self._parts) + 1
            end = min(size, start + part_size(number))
            self._parts.append(self._pool.submit(copy_part, number, start, end))
            start = end

    def complete(self) -> None:
        """Make the object appear, every byte stored.

        :raises AlreadyStoredError: the key was taken meanwhile, and nothing may be replaced.
        """
        if not self._parts:  # too small for parts
            self._digests = [hashlib.sha256(self._buffer).digest()]
            with self._bucket.translated(self._doing):
                self._bucket.client.put_object(
                    **self._object,
                    **self._condition,
                    **self._lock,
                    Body=bytes(self._buffer),
                    ChecksumSHA256=_base64(self._digests[0]),
                )
            return
        if self._buffer:
            self._send()
        parts = [part.result() for part in self._parts]
        self._digests = [part.digest for part in parts]
        with self._bucket.translated(self._doing):
            self._bucket.client.complete_multipart_upload(
                **self._object,
                **self._condition,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": [part.named() for part in parts]},
            )
        self._upload_id = ""

    @property
    def composite(self) -> str:
        """SHA-256 of the SHA-256s of what was written, by parts, as S3 tells it; once it is complete."""
        return f"{_base64(hashlib.sha256(b''.join(self._digests)).digest())}-{len(self._digests)}"

    def _begin(self) -> None:
        with self._bucket.translated(self._doing):
            answer = self._bucket.client.create_multipart_upload(
                **self._object, **self._lock, ChecksumAlgorithm="SHA256"
            )
        self._upload_id = answer["UploadId"]

    def _send(self) -> None:
        if not self._upload_id:
            self._begin()
        number = len(self._parts) + 1
        if number > MOST_PARTS:
            raise StorageError(f"Cannot {self._doing} {self._bucket}: an upload has {MOST_PARTS} parts at most.")
        self._parts.append(self._pool.submit(self._send_part, number, self._buffer))
        self._buffer = bytearray()
        if number > PARALLEL_PARTS:
            self._parts[-1 - PARALLEL_PARTS].result()

    def _send_part(self, number: int, content: bytearray) -> _Part:
        digest = hashlib.sha256(content).digest()
        with self._bucket.translated(self._doing):
            # The server refuses a part whose SHA-256 differs from the one sent with it.
            answer = self._bucket.client.upload_part(
                **self._of_part(number), Body=cast(bytes, content), ChecksumSHA256=_base64(digest)
            )
        return _Part(number, answer, digest)

    def _of_part(self, number: int) -> dict[str, Any]:
        return self._object | {"UploadId": self._upload_id, "PartNumber": number}


class _Part(NamedTuple):
    """A part that is stored."""

    number: int
    answer: Mapping[str, Any]
    digest: bytes = b""

    def named(self) -> CompletedPartTypeDef:
        """Return what names it when the upload is completed."""
        named: Any = {"PartNumber": self.number, "ETag": self.answer["ETag"]}
        checksum = self.answer.get("ChecksumSHA256")
        return cast("CompletedPartTypeDef", named | ({"ChecksumSHA256": checksum} if checksum else {}))


class _Stored(NamedTuple):
    """What a bucket was asked to store.

    :param composite: SHA-256 of the SHA-256s of its parts, as it may tell it; empty where nobody has computed it.
    :param refusal: it says that the key is taken.
    :param copied: by the server, so that nobody has seen the bytes.
    """

    composite: str
    refusal: AlreadyStoredError | None
    copied: bool


class S3Destination(Bucket):
    """Keeps archives in a bucket. Nothing is ever overwritten: every write carries ``If-None-Match: *``.

    :param name: the destination's name in the settings.
    :param client: a boto3 client of S3.
    """

    def __init__(self, name: str, client: S3Client, bucket: str, prefix: str = "", lock: Lock | None = None) -> None:
        super().__init__(f"destination {name!r}", client, bucket, prefix)
        self.name = name
        self._lock = lock

    def init(self) -> str:
        with self.translated("reach"):
            self.client.head_bucket(Bucket=self.bucket)
        return "is there; a bucket needs no preparing"

    def source(self, key: str) -> Source:
        return Object(self, key)

    def store(self, source: Source, key: str, sha256: str) -> None:
        if self.find(key):
            raise AlreadyStoredError(f"{self} already holds {key}; nothing is overwritten.")
        self.abort(key)  # what a killed upload left: its parts cost money
        with source.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            stored = self._copy(source, key, size) or self._send(source, file, key, sha256)
        if self._holds(key, size, sha256, stored.composite):
            return
        if stored.refusal:
            raise stored.refusal
        self.delete(key)  # made a moment ago by ourselves, and without a marker nothing that counts
        wrong = AlteredError if stored.copied else StorageError
        raise wrong(f"{self} holds other bytes for {key} than were sent.", "Clear the upload to try again.")

    def _copy(self, source: Source, key: str, size: int) -> _Stored | None:
        """Let the server copy what it holds itself; None where it does not, or must not."""
        if not isinstance(source, Object) or source.bucket.client.meta.endpoint_url != self.client.meta.endpoint_url:
            return None
        try:
            with Upload(self, key, only_new=True, **self._lock_arguments(key)) as upload:
                upload.copy(source, size)
                return _Stored(source.composite, _completed(upload), copied=True)
        except StorageError as error:
            if _code(error.__cause__) not in FORBIDDEN:
                raise
            log.info("The key of %s may not read %s; sending it.", self, source)
            return None

    def _send(self, source: Source, file: BinaryIO, key: str, sha256: str) -> _Stored:
        progress = Progress(f"Storing {key} at {self}", file.seek(0, os.SEEK_END))
        file.seek(0)
        sent = hashlib.sha256()
        with Upload(self, key, only_new=True, **self._lock_arguments(key)) as upload:
            while block := file.read(BLOCK):
                sent.update(block)
                upload.write(block)
                progress.advance(len(block))
            if sent.hexdigest() != sha256:
                raise AlteredError(f"{source} is not the {key} that was packed: its SHA-256 differs.")
            refusal = _completed(upload)
        return _Stored(upload.composite, refusal, copied=False)

    def write(self, key: str, content: bytes) -> None:
        try:
            self.put(key, content, only_new=True, **self._lock_arguments(key))
        except AlreadyStoredError:
            with self.open(key) as file:  # the answer to a first request may have been lost: what is there may be ours
                if file.read(len(content) + 1) != content:
                    raise

    def _lock_arguments(self, key: str) -> dict[str, Any]:
        if self._lock is None or (until := self._lock.until(key)) is None:
            return {}
        if until < datetime.now(UTC) + PROBE_LASTS:
            return {}  # a lock that is over already would be refused
        return {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}

    def lock_of(self, key: str) -> str:
        with self.translated(f"look for locks of {key} at"):
            try:
                head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except self.client.exceptions.ClientError as error:
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
        at: dict[str, Any] = {"Bucket": self.bucket, "Key": self.prefix + PROBE}
        with self.translated("ask for the Object Lock of"):
            self.client.get_object_lock_configuration(Bucket=self.bucket)
        until = (datetime.now(UTC) + PROBE_LASTS).replace(microsecond=0)
        with self.translated("store a locked test object at"):
            made = self.client.put_object(
                **at,
                Body=b"A test object: whoever finds it may delete it as soon as its lock is over.\n",
                ChecksumAlgorithm="SHA256",
                ObjectLockMode=self._lock.mode,
                ObjectLockRetainUntilDate=until,
            )
        if "VersionId" not in made:
            raise StorageError(f"{self} keeps no versions of objects, so it cannot lock them.")
        at["VersionId"] = made["VersionId"]
        with self.translated("ask for the lock of a test object at"):
            told = self.client.get_object_retention(**at)["Retention"]
        # A key without the right to delete versions is refused whether or not anything is locked.
        mode, locked_until = told["Mode"], told["RetainUntilDate"]
        if mode != self._lock.mode or locked_until < until:
            raise StorageError(
                f"{self} locked a test object otherwise than asked: {mode} until {locked_until.isoformat()}.",
                "Object Lock does not work there as it should.",
            )
        deleter.try_to_delete(at, bypass=self._lock.mode == "GOVERNANCE")
        try:
            with self.translated("look for a locked test object at"):
                self.client.head_object(**at)
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
        with self.translated("try to delete a locked test object at"):
            try:
                self.client.delete_object(**version, BypassGovernanceRetention=bypass)
            except self.client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in REFUSED:
                    raise

    def _holds(self, key: str, size: int, sha256: str, composite: str) -> bool:
        """Whether the bucket says that it holds what it should; read back where it reports nothing to compare."""
        with self.translated(f"confirm {key} at"):
            head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key, ChecksumMode="ENABLED")
        if head["ContentLength"] != size:
            return False
        reported = head.get("ChecksumSHA256")
        if reported and (composite or "-" not in reported):
            return reported in (_base64(bytes.fromhex(sha256)), composite)
        log.info("%s reports no checksum to compare; reading %s back.", self, key)
        with self.open(key) as file:
            return hashlib.file_digest(cast(io.RawIOBase, file), "sha256").hexdigest() == sha256


def _completed(upload: Upload) -> AlreadyStoredError | None:
    """Complete an upload; return what says that the key was taken, maybe by ourselves.

    Where the answer is lost on its way, the client asks again, and finds what it has just stored.
    """
    try:
        upload.complete()
    except AlreadyStoredError as error:
        return error
    return None


def part_size(number: int) -> int:
    """Return the bytes of a part, the first of which is 1; the last may have fewer."""
    return PART * (1 + (number - 1) // PARTS_OF_ONE_SIZE)


class _Reader(io.RawIOBase):
    """Reads an object by ranges: one request as long as reading goes on, a new one after a leap or a cut line."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
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
                        f"{self._bucket} broke off {READ_TRIES} times while {self._key} was read."
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
            self._body = self._bucket.read_from(self._key, self._position)
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


def _code(error: BaseException | None) -> str:
    answer = getattr(error, "response", None) or {}  # errors of the line have none
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
