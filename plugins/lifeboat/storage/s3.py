"""A destination that is a part of a bucket."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

from lifeboat.errors import AlreadyStoredError, AlteredError, DeniedError, StorageError
from lifeboat.storage.abilities import CHECKSUMS
from lifeboat.storage.answers import error_code
from lifeboat.storage.bucket import BLOCK, Bucket, Object
from lifeboat.storage.upload import Upload, base64_text, checksum, put
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress
from lifeboat.support.streams import Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logger(__name__)

PROBE = ".lifeboat-lock-probe"  # the test object's name; every probe adds a version of it
PROBE_LASTS = timedelta(minutes=15)  # longer than clocks differ, so that it is surely locked when it is tried
REFUSED = (400, 403, 405, 409)  # what servers answer to who deletes what is locked


@dataclass(frozen=True)
class Lock:
    """The lock that a bucket is asked to set on what is stored.

    :param until: when the lock of a key ends; None for what is not locked.
    :param clock: the site's.
    """

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    until: Callable[[str], datetime | None]
    clock: Callable[[], datetime]


class _Stored(NamedTuple):
    """An object that a bucket was asked to store.

    :param composite: SHA-256 of the SHA-256s of its parts, as it may tell it; empty where nobody has computed it.
    :param refusal: it says that the key is taken.
    :param copied: by the server, so that nobody has seen the bytes.
    """

    composite: str
    refusal: AlreadyStoredError | None
    copied: bool


class S3Destination(Bucket):
    """Keeps archives in a bucket. Nothing is ever overwritten: every write carries ``If-None-Match: *``.

    Where the server does not know that, Lifeboat looks for the key before it writes.

    :param name: the destination's name in the settings.
    :param client: a boto3 client of S3.
    :param kept_as: arguments that say how the server is to keep every object: encryption, storage class.
    """

    def __init__(
        self,
        name: str,
        client: S3Client,
        bucket: str,
        prefix: str = "",
        lock: Lock | None = None,
        kept_as: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"destination {name!r}", client, bucket, prefix)
        self.name = name
        self._lock = lock
        self._kept_as = kept_as

    def init(self, now: datetime) -> str:
        with self.translated("reach"):
            self.head_bucket()
        return "is there; a bucket needs no preparing"

    def free(self) -> int | None:
        return None

    def source(self, key: str) -> Source:
        return Object(self, key)

    def store(self, source: Source, key: str, sha256: str) -> None:
        self.require_free(key)
        self.abort(key)  # what a killed upload left: its parts cost money
        with source.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            stored = self._copy(source, key, size) or self._send(source, file, key, sha256)
        if self._holds(key, size, sha256, stored.composite):
            return
        if stored.refusal:
            raise stored.refusal
        if not self.abilities.conditions:
            raise StorageError(
                f"{self} holds other bytes for {key} than were sent. It has no conditional writes, so they may be "
                "another run's.",
                "Trigger a new run. If no other run has stored that archive, delete it.",
            )
        self.delete(key)  # made a moment ago by ourselves, and without a marker nothing that counts
        wrong = AlteredError if stored.copied else StorageError
        raise wrong(f"{self} holds other bytes for {key} than were sent.", "Clear the upload to try again.")

    def _copy(self, source: Source, key: str, size: int) -> _Stored | None:
        """Let the server copy what it holds itself; None where it does not, or must not."""
        if not isinstance(source, Object) or source.bucket.client.meta.endpoint_url != self.client.meta.endpoint_url:
            return None
        known = None if source.composite else size  # staged in growing parts: the copy is to have the same composite
        try:
            with Upload(self, key, only_new=True, size=known, **self._arguments(key)) as upload:
                upload.copy(source, size)
                return _Stored(source.composite, _completed(upload), copied=True)
        except DeniedError:
            log.info("The key of %s is not allowed to read %s; sending it.", self, source)
            return None

    def _send(self, source: Source, file: BinaryIO, key: str, sha256: str) -> _Stored:
        size = file.seek(0, os.SEEK_END)
        progress = Progress(f"Storing {key} at {self}", size)
        file.seek(0)
        sent = hashlib.sha256()
        with Upload(self, key, only_new=True, size=size, **self._arguments(key)) as upload:
            while block := file.read(BLOCK):
                sent.update(block)
                upload.write(block)
                progress.advance(len(block))
            if sent.hexdigest() != sha256:
                raise AlteredError(f"{source} is not the {key} that was packed: its SHA-256 differs.")
            refusal = _completed(upload)
        return _Stored(upload.composite, refusal, copied=False)

    def write(self, key: str, content: bytes) -> None:
        refusal = StorageError(f"{self} holds other bytes for {key} than were sent.", "Trigger a new run.")
        try:
            put(self, key, content, only_new=True, **self._arguments(key))
        except AlreadyStoredError as error:
            refusal = error  # the answer to a first request may have been lost: what is there may be ours
        else:
            if self.abilities.conditions and self.abilities.sends_checksums:
                return
        with self.open(key) as file:
            if file.read(len(content) + 1) != content:
                raise refusal

    def _arguments(self, key: str) -> dict[str, Any]:
        """Return the arguments that say how the server is to keep an object."""
        return {**self._kept_as, **self._lock_arguments(key)}

    def _lock_arguments(self, key: str) -> dict[str, Any]:
        if self._lock is None or (until := self._lock.until(key)) is None:
            return {}
        if until < self._lock.clock() + PROBE_LASTS:
            return {}  # a lock that is over already would be refused
        return {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}

    def lock_description(self, key: str, now: datetime) -> str:
        with self.translated(f"look for locks of {key} at"):
            try:
                head = self.head(key)
            except self.client.exceptions.ClientError as error:
                if error_code(error) == "404":
                    return ""  # gone already
                raise
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return "a legal hold"
        until = head.get("ObjectLockRetainUntilDate")
        return f"object lock until {until:%Y-%m-%d %H:%M} UTC" if until and until > now else ""

    def prove_lock(self, deleter: S3Destination) -> None:
        """Store a test object that is locked as archives are, for minutes only, and try to delete it.

        :param deleter: the same destination, with the connection that deletes.
        :raises StorageError: the lock did not hold, or that cannot be determined.
        """
        if self._lock is None:
            raise StorageError(f"{self} locks nothing.")
        at: dict[str, Any] = {"Bucket": self.bucket, "Key": self.prefix + PROBE}
        with self.translated("ask for the Object Lock of"):
            self.client.get_object_lock_configuration(Bucket=self.bucket)
        until = (self._lock.clock() + PROBE_LASTS).replace(microsecond=0)
        content = b"A test object: whoever finds it may delete it as soon as its lock is over.\n"
        locked: dict[str, Any] = {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}

        def store() -> Mapping[str, Any]:
            sent = checksum(self, content, hashlib.sha256(content).digest())
            return self.client.put_object(**at, Body=content, **sent, **locked, **self._kept_as)

        with self.translated("store a locked test object at"):
            made = self.abilities.adapted(store, CHECKSUMS)
        if "VersionId" not in made:
            raise StorageError(f"{self} keeps no versions of objects, so it cannot lock them.")
        at["VersionId"] = made["VersionId"]
        with self.translated("ask for the lock of a test object at"):
            told = self.client.get_object_retention(**at)["Retention"]
        # A key without the right to delete versions is refused whether or not anything is locked.
        mode, locked_until = told["Mode"], told["RetainUntilDate"]
        if mode != self._lock.mode or locked_until < until:
            raise StorageError(
                f"{self} did not lock a test object as requested: {mode} until {locked_until.isoformat()}.",
                "Object Lock does not work there as it should.",
            )
        deleter.try_to_delete(at, bypass=self._lock.mode == "GOVERNANCE")
        try:
            with self.translated("look for a locked test object at"):
                self.client.head_object(**at)
        except StorageError as error:
            if error_code(error.__cause__) not in ("404", "NoSuchVersion"):
                raise
            raise StorageError(
                f"{self} let a locked test object be deleted.",
                "Remove s3:BypassGovernanceRetention from the key, or set the mode to compliance."
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
        """Return whether the bucket reports the expected content; read it back if there is nothing to compare."""

        def look() -> Mapping[str, Any]:
            asking = {"ChecksumMode": "ENABLED"} if self.abilities.asks_for_checksums else {}
            return self.head(key, **asking)

        with self.translated(f"confirm {key} at"):
            head = self.abilities.adapted(look, CHECKSUMS)
        if head["ContentLength"] != size:
            return False
        reported = head.get("ChecksumSHA256")
        if reported and (composite or "-" not in reported):
            return reported in (base64_text(bytes.fromhex(sha256)), composite)
        log.info("%s reports no checksum to compare, so %s is read back.", self, key)
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
