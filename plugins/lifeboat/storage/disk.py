"""A destination that is a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shlex
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO

from lifeboat.directories import NOT_A_DIRECTORY, sync_names
from lifeboat.errors import AlreadyStoredError, AlteredError, StorageError
from lifeboat.progress import Progress
from lifeboat.storage import StoredObject
from lifeboat.streams import Source

BLOCK = 1 << 20
LOST_AND_FOUND = "lost+found"  # at the root of every ext4 disk, for root only
PARTIAL = ".partial"  # suffix of what is being stored; never part of a listing's archives
DESTINATION_MARKER = ".lifeboat-destination"  # at the root: whoever sees it sees the disk, and not an empty mount point
LONGEST_MARKER = 1 << 16  # bytes


class Directory:
    """Keeps objects as files below a directory, whatever is mounted there.

    :param name: for messages.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root

    def __str__(self) -> str:
        return f"destination {self.name!r} ({self._root})"

    def init(self) -> str:
        return "needs no preparing"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated("list"):
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
            if key in (LOST_AND_FOUND, DESTINATION_MARKER):
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

    def source(self, key: str) -> Source:
        return self._path(key)

    def store(self, source: Source, key: str, sha256: str) -> None:
        with self._translated(f"store {key} at"), self._partial(key) as partial:
            with source.open("rb") as file:
                progress = Progress(f"Storing {key} at {self}", file.seek(0, os.SEEK_END))
                file.seek(0)
                sent = hashlib.sha256()
                while block := file.read(BLOCK):
                    sent.update(block)
                    partial.write(block)
                    progress.advance(len(block))
            if sent.hexdigest() != sha256:
                raise AlteredError(f"{source} is not the {key} that was packed: its SHA-256 differs.")
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
            raise StorageError(f"{key!r} is not a key of {self}.")
        return self._root / key

    def _make(self, folder: Path) -> None:
        """Make a folder below the root, its name and those above it durable."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for above in folder.relative_to(self._root).parents:
                sync_names(self._root / above)

    @contextlib.contextmanager
    def _partial(self, key: str) -> Iterator[BufferedRandom]:
        """Open the partial file of a key, alone: a lock that dies with its holder, so that no crash blocks the next."""
        path = self._path(key)
        self._make(path.parent)
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
                errno.EEXIST: NOT_A_DIRECTORY,
                errno.ENOTDIR: NOT_A_DIRECTORY,
            }.get(error.errno or 0, "")
            named = error.filename if isinstance(error.filename, str) else ""
            below = f" ({named})" if named and named != str(self._root) else ""
            raise StorageError(f"Cannot {doing} {self}: {error.strerror or error}{below}.", hint) from error


class DiskDestination(Directory):
    """A directory, usually of another disk, that a marker at its root tells from an empty mount point.

    Nothing is read from it or stored in it while the marker is missing: a disk that is not mounted must neither look
    like a destination without backups nor receive some.

    :param name: the destination's name in the settings.
    :param root: the directory; `init` creates it.
    """

    def init(self) -> str:
        mounted = self._mounted_at()
        file_system = f"on the file system that is mounted at {mounted}"
        if mounted == mounted.parent:
            marker = self._root / DESTINATION_MARKER
            file_system += f"; if a disk should be there, mount it, delete {marker} and prepare it again"
        with super()._translated("prepare"):
            if self._marked_as() is not None:
                self._require_marker()
                return f"was prepared before, {file_system}"
            self._root.mkdir(parents=True, exist_ok=True)
            sync_names(self._root.parent)
            facts = {"destination": self.name, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
            content = json.dumps(facts, ensure_ascii=False).encode()
            with self._partial(DESTINATION_MARKER) as partial:
                partial.write(content)
                self._publish(partial, DESTINATION_MARKER, hashlib.sha256(content).hexdigest())
        return f"is prepared, {file_system}"

    def _mounted_at(self) -> Path:
        real = self._root.resolve()
        return next(path for path in (real, *real.parents) if path.is_mount())

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        yield from super().list(prefix)
        with super()._translated("list"):
            self._require_marker()  # what vanished meanwhile may have been the disk: such a listing is not whole

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with super()._translated(doing):
            self._require_marker()
            yield

    def _require_marker(self) -> None:
        """:raises StorageError: there is none, or it is another destination's."""
        found = self._marked_as()
        init = f"lifeboat init {shlex.quote(self.name)}"
        if found is None:
            raise StorageError(
                f"{self} holds no {DESTINATION_MARKER}: its disk is not mounted, or it was never prepared.",
                f"Mount the disk. A new destination is prepared once, by '{init}' or the DAG init_destination.",
            )
        if found != self.name:
            raise StorageError(
                f"{self} is marked as destination {found!r}: another disk is mounted there, or it was renamed.",
                f"Mount the right one; after a renaming, delete {self._root / DESTINATION_MARKER} and run '{init}'.",
            )

    def _marked_as(self) -> str | None:
        """Return the name of the destination that the marker names; None where there is no marker."""
        marker = self._root / DESTINATION_MARKER
        again = f"run 'lifeboat init {shlex.quote(self.name)}' or the DAG init_destination"
        if marker.is_symlink() and not marker.exists():
            raise StorageError(
                f"{marker} is a link to {marker.readlink()}, where nothing is.",
                f"Bring back what it leads to; or delete the link, and {again}.",
            )
        try:
            if not stat.S_ISREG(marker.stat().st_mode):  # to open a pipe would take for ever
                raise StorageError(
                    f"{marker} is not a file, as the marker of a destination is.", f"Move it away, and {again}."
                )
            with marker.open("rb") as file:
                facts = json.loads(file.read(LONGEST_MARKER))
            if not isinstance(facts["destination"], str):
                raise ValueError("no name")
            return facts["destination"]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(f"{marker} is not the marker of a destination.", f"Delete it, and {again}.") from error


def _partial_of(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
