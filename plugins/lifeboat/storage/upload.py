"""Objects on their way into a bucket, in parts of which a few are sent at once."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from lifeboat.errors import AlreadyStoredError, StorageError
from lifeboat.storage.abilities import CHECKSUMS, CONDITIONS
from lifeboat.storage.answers import error_code
from lifeboat.storage.bucket import Bucket, Object
from lifeboat.support.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

PART = 8 << 20  # bytes; parts in flight bound the memory of an upload
PARALLEL_PARTS = 4
MOST_PARTS = 10_000
PARTS_OF_ONE_SIZE = 5000  # then they grow, if nobody knows beforehand how long the object will be,
PARTS_OF_LARGER_SIZES = 1250  # and again after so many
GROWTH = 4
M_MMAP_THRESHOLD = -3  # as malloc.h has it


def _free_parts_at_once() -> None:
    """Have memory go back to the system when it is free; glibc keeps more and more of it by default."""
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # other C libraries do not have that option
        library.mallopt(M_MMAP_THRESHOLD, PART // 8)
        library.malloc_trim(0)


class Upload:
    """An object on its way into a bucket: written once, forward, in parts that are sent while the next one fills.

    A part that was rolled back is sent again under its number, which replaces it. When the block fails, nothing is
    left; the object appears by `complete`.

    :param only_new: never replace an object of that key.
    :param size: of the object in bytes, so that all its parts but the last are of one size, as some servers demand
        (Cloudflare R2); None where nobody knows it yet.
    :param kept_as: arguments that say how S3 is to keep the object: locked, encrypted, of a storage class.
    """

    def __init__(self, bucket: Bucket, key: str, *, only_new: bool, size: int | None = None, **kept_as: Any) -> None:
        self._bucket = bucket
        self._equal = None if size is None else equal_part(size)
        self._kept_as = kept_as
        self._object: dict[str, Any] = {"Bucket": bucket.bucket, "Key": bucket.prefix + key}
        self._key = key
        self._doing = f"store {key} at"
        self._only_new = only_new
        self._upload_id = ""
        self._parts: list[Future[_Part]] = []
        self._buffer = bytearray()
        self._marked = (0, 0)
        self._marked_part = bytearray()
        _free_parts_at_once()
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
            size = self._part_size(len(self._parts) + 1)
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
        """Let the server copy an object that it already has, instead of `write`."""
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
            end = min(size, start + self._part_size(number))
            self._parts.append(self._pool.submit(copy_part, number, start, end))
            start = end

    def complete(self) -> None:
        """Make the object appear, every byte stored.

        :raises AlreadyStoredError: the key was taken meanwhile, maybe by this upload, and nothing may be replaced.
        """
        if not self._parts:  # too small for parts
            self._digests = [hashlib.sha256(self._buffer).digest()]
            with self._bucket.translated(self._doing):
                self._bucket.abilities.adapted(self._put, CONDITIONS, CHECKSUMS)
            return
        if self._buffer:
            self._send()
        parts = [part.result() for part in self._parts]
        self._digests = [part.digest for part in parts]

        def complete_parts() -> None:
            self._bucket.client.complete_multipart_upload(
                **self._object,
                **self._condition(),
                UploadId=self._upload_id,
                MultipartUpload={"Parts": [part.named() for part in parts]},
            )

        try:
            with self._bucket.translated(self._doing):
                self._bucket.abilities.adapted(complete_parts, CONDITIONS)
        except StorageError as error:
            if error_code(error.__cause__) != "NoSuchUpload":
                raise
            # Complete already, as it seems: the answer to a first request was lost.
            raise AlreadyStoredError(error.message, error.hint) from error.__cause__
        self._upload_id = ""

    @property
    def composite(self) -> str:
        """SHA-256 of the SHA-256s of what was written, by parts, as S3 tells it; once it is complete."""
        return f"{base64_text(hashlib.sha256(b''.join(self._digests)).digest())}-{len(self._digests)}"

    def _part_size(self, number: int) -> int:
        return self._equal or growing_part(number)

    def _condition(self) -> dict[str, Any]:
        if not self._only_new:
            return {}
        if self._bucket.abilities.conditions:
            return {"IfNoneMatch": "*"}
        self._bucket.require_free(self._key)
        return {}

    def _put(self) -> None:
        content = bytes(self._buffer)
        self._bucket.client.put_object(
            **self._object,
            **self._condition(),
            **self._kept_as,
            Body=content,
            **checksum(self._bucket, content, self._digests[0]),
        )

    def _begin(self) -> None:
        def create() -> str:
            algorithm: Any = {"ChecksumAlgorithm": "SHA256"} if self._bucket.abilities.sends_checksums else {}
            answer = self._bucket.client.create_multipart_upload(**self._object, **self._kept_as, **algorithm)
            return answer["UploadId"]

        with self._bucket.translated(self._doing):
            self._upload_id = self._bucket.abilities.adapted(create, CHECKSUMS)

    def _send(self) -> None:
        if not self._upload_id:
            self._begin()
        number = len(self._parts) + 1
        if number > MOST_PARTS:
            raise StorageError(f"Cannot {self._doing} {self._bucket}: an upload can have at most {MOST_PARTS} parts.")
        self._parts.append(self._pool.submit(self._send_part, number, self._buffer))
        self._buffer = bytearray()
        if number > PARALLEL_PARTS:
            self._parts[-1 - PARALLEL_PARTS].result()

    def _send_part(self, number: int, content: bytearray) -> _Part:
        digest = hashlib.sha256(content).digest()

        def send() -> Mapping[str, Any]:
            return self._bucket.client.upload_part(
                **self._of_part(number), Body=cast(bytes, content), **checksum(self._bucket, content, digest)
            )

        with self._bucket.translated(self._doing):
            return _Part(number, self._bucket.abilities.adapted(send, CHECKSUMS), digest)

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


def equal_part(size: int) -> int:
    """Return the bytes of each part of an object of that size; the last part may have fewer."""
    return PART * max(1, -(-size // (PART * MOST_PARTS)))


def growing_part(number: int) -> int:
    """Return the bytes of a part of an object of unknown size; the first is number 1, the last may have fewer."""
    if number <= PARTS_OF_ONE_SIZE:
        return PART
    return PART * GROWTH * (1 + (number - 1 - PARTS_OF_ONE_SIZE) // PARTS_OF_LARGER_SIZES)


def put(bucket: Bucket, key: str, content: bytes, *, only_new: bool, **kept_as: Any) -> None:
    """Store a small object, whole or not at all.

    :param only_new: never replace an object of that key.
    :param kept_as: arguments that say how S3 is to keep it.
    :raises AlreadyStoredError: the key is taken, and nothing may be replaced.
    """
    with Upload(bucket, key, only_new=only_new, size=len(content), **kept_as) as upload:
        upload.write(content)
        upload.complete()


def checksum(bucket: Bucket, content: bytes | bytearray, sha256: bytes) -> dict[str, Any]:
    """Return the arguments by which a server refuses content that was damaged on its way.

    MD5, which every server knows, is enough for that where SHA-256 is not taken; what is stored is read back then.
    """
    if bucket.abilities.sends_checksums:
        return {"ChecksumSHA256": base64_text(sha256)}
    return {"ContentMD5": base64_text(hashlib.md5(content, usedforsecurity=False).digest())}


def base64_text(digest: bytes) -> str:
    """Return a digest as S3 writes it."""
    return base64.b64encode(digest).decode()
