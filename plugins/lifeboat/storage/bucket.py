"""A part of a bucket of S3, or of a server that speaks its protocol: listed, read, and freed of what is not wanted."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from lifeboat.errors import AlreadyStoredError, DeniedError, StorageError
from lifeboat.storage import StoredObject
from lifeboat.storage.abilities import CHECKSUMS, Abilities, Answer
from lifeboat.storage.answers import DENIED, HINTS, OTHER_REGION, TAKEN, UNNAMED, error_code, http_status
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logger(__name__)

READ_TRIES = 5
READ_ON = 256 << 10  # bytes; to skip fewer takes less time than a new request
BLOCK = 1 << 20


class Bucket:
    """A part of a bucket: what destinations and staging have in common. Every method raises StorageError.

    :param what: what it is to users, in messages.
    :param client: a boto3 client of S3.
    :param prefix: key prefix of the part, without a slash at its end.
    """

    def __init__(self, what: str, client: S3Client, bucket: str, prefix: str = "") -> None:
        self._what = what
        self.client = client
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.abilities = Abilities(str(self), client)

    def __str__(self) -> str:
        return f"{self._what} (s3://{self.bucket}/{self.prefix})"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix, from one listing; their keys are relative to this part."""
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
            raise StorageError(f"{self} returned a truncated listing without a continuation token.")

    def find(self, key: str) -> StoredObject | None:
        """Return what is stored under a key, or None."""
        head = self._head(key)
        return StoredObject(key, head["ContentLength"], head["LastModified"]) if head else None

    def require_free(self, key: str) -> None:
        """Make sure that nothing is stored under a key.

        :raises AlreadyStoredError: it is taken.
        """
        if self.find(key):
            raise AlreadyStoredError(f"{self} already holds {key}; nothing is overwritten.")

    def head(self, key: str, **arguments: Any) -> Mapping[str, Any]:
        """Return the headers of an object; raises boto's errors."""
        at: Any = {"Bucket": self.bucket, "Key": self.prefix + key}

        def get() -> None:
            self.client.get_object(**at, Range="bytes=0-0")["Body"].close()

        return self._headed(lambda: self.client.head_object(**at, **arguments), get)

    def head_bucket(self) -> None:
        """Look whether the bucket is there; raises boto's errors."""
        self._headed(
            lambda: self.client.head_bucket(Bucket=self.bucket),
            lambda: self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1),
        )

    def _headed(self, head: Callable[[], Answer], get: Callable[[], object]) -> Answer:
        """Ask by HEAD; if that is refused, ask by GET for the reason: an answer to HEAD has no body to name it."""
        try:
            return head()
        except self.client.exceptions.ClientError as error:
            if http_status(error) not in UNNAMED:
                raise
            try:
                get()
            except self.client.exceptions.ClientError as named:
                if http_status(named) == http_status(error):
                    raise
            raise

    def _head(self, key: str) -> Mapping[str, Any] | None:
        with self.translated(f"look for {key} in"):
            try:
                return self.head(key)
            except self.client.exceptions.ClientError as error:
                if error_code(error) != "404":
                    raise
                self.head_bucket()  # a missing bucket is not a missing object
                return None

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; the reader seeks without fetching what it skips, and reads no other object."""
        head = self._head(key)
        if head is None:
            raise StorageError(f"There is no {key} at {self}.")
        return cast(BinaryIO, _Reader(self, key, head["ContentLength"], _identity(head)))

    def delete(self, key: str) -> None:
        """Delete an object; deleting one that does not exist is not an error."""
        with self.translated(f"delete {key} from"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def uploads(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the unfinished uploads below a prefix; `modified` is when they began."""
        with self.translated("look for unfinished uploads at"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    yield StoredObject(upload["Key"].removeprefix(self.prefix), 0, upload["Initiated"])

    def abort(self, key: str) -> None:
        """Abort the unfinished uploads of a key."""
        with self.translated(f"abort unfinished uploads of {key} at"):
            uploads = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix + key)
            for upload in uploads.get("Uploads", []):
                if upload["Key"] == self.prefix + key:
                    log.warning("Aborting an unfinished upload of %s at %s.", key, self)
                    with contextlib.suppress(self.client.exceptions.NoSuchUpload):  # its own worker was quicker
                        self.client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )

    def read_from(self, key: str, start: int, identity: object) -> Any:
        """Return the body of an object from a byte on, as a stream.

        :param identity: of the object that is meant.
        """
        with self.translated(f"read {key} from"):
            answer = self.abilities.adapted(
                lambda: self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, Range=f"bytes={start}-"),
                CHECKSUMS,
            )
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StorageError(f"{self} did not return the requested bytes of {key}.")
        if _identity(answer) != identity:
            answer["Body"].close()
            raise StorageError(f"Somebody replaced {key} at {self} while it was read.", "Verify it, then try again.")
        return answer["Body"]

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn botocore's errors into StorageErrors.

        :param doing: the operation, as the message continues after "Cannot".
        :raises AlreadyStoredError: the key is taken.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, RecursionError) as error:
            if _is_endless(error):
                raise StorageError(
                    f"Cannot {doing} {self}: the server redirects without naming a target.", OTHER_REGION
                ) from None
            code = error_code(error)
            if code in TAKEN:
                raise AlreadyStoredError(
                    f"{self} already holds it; nothing is overwritten. Cannot {doing} it."
                ) from error
            text = str(error).rstrip(".")
            refusal = DeniedError if code in DENIED else StorageError
            raise refusal(f"Cannot {doing} {self}: {text}.", HINTS.get(code, "")) from error


def _is_endless(error: Exception) -> bool:
    """Return whether botocore followed redirects until its stack was full, wherever that was."""
    return isinstance(error, RecursionError) or isinstance(getattr(error, "kwargs", {}).get("error"), RecursionError)


def _identity(answer: Mapping[str, Any]) -> object:
    """Return what of an answer is the same as long as nobody replaces the object."""
    return answer.get("ETag"), answer.get("LastModified")


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


class _Reader(io.RawIOBase):
    """Reads an object by ranges: one request for sequential reads, a new one after a seek or a lost connection."""

    def __init__(self, bucket: Bucket, key: str, size: int, identity: object) -> None:
        self._bucket, self._key, self._size, self._identity = bucket, key, size, identity
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
            self._body = self._bucket.read_from(self._key, self._position, self._identity)
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
