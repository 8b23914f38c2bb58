"""A destination that is a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO

from lifeboat.directories import sync_names
from lifeboat.errors import AlreadyStoredError, StorageError
from lifeboat.progress import Progress
from lifeboat.storage import StoredObject

BLOCK = 1 << 20
LOST_AND_FOUND = "lost+found"  # at the root of every ext4 disk, for root only
PARTIAL = ".partial"  # suffix of what is being stored; never part of a listing's archives


class DiskDestination:
    """Keeps objects as files below a directory.

    :param name: the destination's name in the settings.
    :param root: the directory; created when missing.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root

    def __str__(self) -> str:
        return f"destination {self.name!r} ({self._root})"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated("list"):
            if self._root.exists():
                yield from self._walk(self._root, "", prefix, frozenset())

    def _walk(self, directory: Path, below: str, prefix: str, above: frozenset[Path]) -> Iterator[StoredObject]:
        """Yield what is below a directory. Links are followed, as they are when a key is looked for."""
        real = directory.resolve()
        if real in above:
            return
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except FileNotFoundError:
            return  # removed since it was listed
        for entry in entries:
            key = below + entry.name
            if key == LOST_AND_FOUND:
                continue
            if entry.is_dir():
                if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(directory / entry.name, f"{key}/", prefix, above | {real})
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed, or a broken link
                    if stat.S_ISREG((status := entry.stat()).st_mode):
                        yield _stored(key, status)

    def find(self, key: str) -> StoredObject | None:
        with self._translated(f"look for {key} in"):
            try:
                return _stored(key, self._path(key).stat())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, key: str) -> BinaryIO:
        with self._translated(f"read {key} from"):
            return self._path(key).open("rb")

    def store(self, source: Path, key: str, sha256: str) -> None:
        with self._translated(f"store {key} at"), self._partial(key) as partial:
            with source.open("rb") as file:
                progress = Progress(f"Storing {key} at {self}", source.stat().st_size)
                while block := file.read(BLOCK):
                    partial.write(block)
                    progress.advance(len(block))
            self._publish(partial, key, sha256)

    def write(self, key: str, content: bytes) -> None:
        with self._translated(f"store {key} at"), self._partial(key) as partial:
            partial.write(content)
            self._publish(partial, key, hashlib.sha256(content).hexdigest())

    def delete(self, key: str) -> None:
        with self._translated(f"delete {key} from"):
            path = self._path(key)
            with contextlib.suppress(FileNotFoundError):  # somebody else was quicker
                path.unlink()
                sync_names(path.parent)

    def lock_of(self, key: str) -> str:
        return ""  # a file that may not be deleted says so when it is

    def uploads(self) -> Iterator[StoredObject]:
        return iter(())  # partial files are in the listing

    def abort(self, key: str) -> None:
        """Do nothing: there is none."""

    def _path(self, key: str) -> Path:
        """Return the file of a key.

        :raises StorageError: the key would leave the root.
        """
        if not key or key.startswith("/") or ".." in key.split("/") or "\0" in key:
            raise StorageError(f"{key!r} is no key of {self}.")
        return self._root / key

    @contextlib.contextmanager
    def _partial(self, key: str) -> Iterator[BufferedRandom]:
        """Open the partial file of a key, alone: a lock that dies with its holder, so that no crash blocks the next."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial_of(path)
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o640), "w+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError(f"Another process is storing {key} at {self}.") from error
            try:
                file.truncate(0)
                yield file
            finally:
                with contextlib.suppress(OSError):  # the failure that led here is the one to report
                    partial.unlink(missing_ok=True)

    def _publish(self, partial: BufferedRandom, key: str, sha256: str) -> None:
        """Make a partial file durable, check what the disk holds, and give it its name."""
        partial.flush()
        os.fsync(partial.fileno())
        # Drop the cache, so that what is hashed is what the disk returns, not what memory remembers.
        os.posix_fadvise(partial.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        partial.seek(0)
        if hashlib.file_digest(partial, "sha256").hexdigest() != sha256:
            raise StorageError(f"{self} returns other bytes for {key} than were written.", "Check the disk.")
        path = self._path(key)
        try:
            os.link(_partial_of(path), path)
        except FileExistsError as error:
            raise AlreadyStoredError(f"{self} already holds {key}; nothing is overwritten.") from error
        sync_names(path.parent)

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = {
                errno.ENOSPC: "Free some space there.",
                errno.EDQUOT: "Free some space there.",
                errno.EACCES: "Give the worker's user the rights to read and write there.",
                errno.EROFS: "The disk is mounted read-only.",
            }.get(error.errno or 0, "")
            named = error.filename if isinstance(error.filename, str) else ""
            below = f" ({named})" if named and named != str(self._root) else ""
            raise StorageError(f"Cannot {doing} {self}: {error.strerror or error}{below}.", hint) from error


def _partial_of(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
