"""A destination that is a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shlex
import stat
from collections.abc import Iterator, MutableSequence, Sequence
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from lifeboat.errors import AlreadyStoredError, AlteredError, DeniedError, StorageError
from lifeboat.storage import StoredObject
from lifeboat.support.directories import FOLDER, LIST, NOT_A_DIRECTORY, give_free_name, sync_names
from lifeboat.support.logs import logger
from lifeboat.support.os_errors import hint_of
from lifeboat.support.progress import Progress
from lifeboat.support.streams import Source

BLOCK = 1 << 20
LOST_AND_FOUND = "lost+found"  # at the root of every ext4 disk, for root only
PARTIAL = ".partial"  # suffix of what is being stored; never part of a listing's archives
DESTINATION_MARKER = ".lifeboat-destination"  # at the root: shows that the disk is mounted, unlike an empty mount point
LONGEST_MARKER = 1 << 16  # bytes
DEEPEST = 8  # folders that a listing looks into, one in the other; our keys have two
NO_LINKS = "Lifeboat does not follow links at a destination: mount the link's target in its place (mount --bind)."
OF_DISKS = {  # hints
    errno.EEXIST: NOT_A_DIRECTORY,
    errno.ENOTDIR: f"{NOT_A_DIRECTORY} {NO_LINKS}",
    errno.ELOOP: NO_LINKS,
}

_AFTER_NAME = re.compile(r"(\.[0-9a-f]{16})?\.partial")  # after the name; older versions had no random part

log = logger(__name__)


class Directory:
    """Keeps objects as files below a directory, whatever is mounted there.

    Somebody else may write there, too. So nothing below the directory is read or written through a link, only regular
    files are opened, and what is written goes into a new file of a random name, which gets its own name once it is
    whole.

    :param name: for messages.
    :param root: the directory, which may be a link: the settings name it.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root

    def __str__(self) -> str:
        return f"destination {self.name!r} ({self._root})"

    def init(self, now: datetime) -> str:
        return "needs no preparing"

    def free(self) -> int | None:
        with self._translated("look for room in"):
            try:
                disk = os.statvfs(self._root)
            except FileNotFoundError:
                return None
            return disk.f_bavail * disk.f_frsize

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._translated("list"):
            try:
                root = os.open(self._root, LIST)
            except FileNotFoundError:
                return
            links: list[str] = []
            yield from self._walk(root, "", prefix, links)
            if links:
                log.warning("%s at %s is a link (one of %s) and was not read. %s", links[0], self, len(links), NO_LINKS)

    def _walk(self, folder: int, below: str, prefix: str, links: MutableSequence[str]) -> Iterator[StoredObject]:
        """Yield the files below an open folder, and close it.

        :param links: takes the keys that are links.
        """
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            for entry in entries:
                key = below + entry.name
                if key in (LOST_AND_FOUND, DESTINATION_MARKER):
                    continue
                try:
                    status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and key.startswith(prefix):
                        yield _stored(key, status)
                    elif stat.S_ISLNK(status.st_mode) and key.startswith(prefix):
                        links.append(key)
                    elif stat.S_ISDIR(status.st_mode) and _may_hold(key, prefix):
                        inner = os.open(entry.name, LIST | os.O_NOFOLLOW, dir_fd=folder)
                        yield from self._walk(inner, f"{key}/", prefix, links)
                except FileNotFoundError:
                    continue  # removed since it was listed
        finally:
            os.close(folder)

    def find(self, key: str) -> StoredObject | None:
        with self._translated(f"look for {key} in"):
            try:
                with self._folder_of(key) as (folder, name):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
            return _stored(key, status) if stat.S_ISREG(status.st_mode) else None

    def open(self, key: str) -> BinaryIO:
        with self._translated(f"read {key} from"), self._folder_of(key) as (folder, name):
            return self._opened(name, folder)

    def _opened(self, name: str, folder: int) -> BinaryIO:
        """Open a file of an open folder.

        :raises StorageError: it is a link or not a regular file: opening a pipe would never end.
        """
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{name!r} at {self} is not a regular file, so it is not read.", NO_LINKS)
        # The name may refer to another file by now: refuse a link, and do not wait for a pipe.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise StorageError(f"{name!r} at {self} is not a regular file, so it is not read.", NO_LINKS)
        return file

    def source(self, key: str) -> Source:
        self._folders_of(key)
        return _File(self, key)

    def store(self, source: Source, key: str, sha256: str) -> None:
        with self._translated(f"store {key} at"), self._partial(key) as partial:
            with source.open("rb") as file:
                progress = Progress(f"Storing {key} at {self}", file.seek(0, os.SEEK_END))
                file.seek(0)
                sent = hashlib.sha256()
                while block := file.read(BLOCK):
                    sent.update(block)
                    partial.file.write(block)
                    progress.advance(len(block))
            if sent.hexdigest() != sha256:
                raise AlteredError(f"{source} is not the {key} that was packed: its SHA-256 differs.")
            self._publish(partial, key, sha256)

    def write(self, key: str, content: bytes) -> None:
        with self._translated(f"store {key} at"), self._partial(key) as partial:
            partial.file.write(content)
            self._publish(partial, key, hashlib.sha256(content).hexdigest())

    def delete(self, key: str) -> None:
        with (
            self._translated(f"delete {key} from"),
            contextlib.suppress(FileNotFoundError),  # somebody else was quicker
            self._folder_of(key) as (folder, name),
        ):
            os.unlink(name, dir_fd=folder)
            sync_names(Path(), folder)

    def lock_description(self, key: str, now: datetime) -> str:
        return ""  # a file that may not be deleted says so when it is

    def uploads(self) -> Iterator[StoredObject]:
        return iter(())  # partial files are in the listing

    def abort(self, key: str) -> None:
        """Do nothing: there is none."""

    def _folders_of(self, key: str) -> tuple[Sequence[str], str]:
        """Return the folders of a key, and its name in the last of them.

        :raises StorageError: the key would leave the root.
        """
        *folders, name = key.split("/")
        if {"", ".", ".."} & {*folders, name} or "\0" in key:
            raise StorageError(f"{key!r} is not a key of {self}.")
        return folders, name

    @contextlib.contextmanager
    def _folder_of(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder of a key, folder by folder without following links; yield its descriptor and the file's name.

        :param make: folders that are missing, their names durable.
        """
        folders, name = self._folders_of(key)
        here = os.open(self._root, FOLDER)
        try:
            for each in folders:
                if make:
                    self._make(each, here)
                below = os.open(each, FOLDER | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            yield here, name
        finally:
            os.close(here)

    def _make(self, name: str, above: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
            sync_names(Path(), above)

    @contextlib.contextmanager
    def _partial(self, key: str) -> Iterator[_Partial]:
        """Make a new partial file of a key, alone: its lock dies with its holder, so that no crash blocks the next."""
        with self._folder_of(key, make=True) as (folder, name):
            self._remove_partials(key, folder, name)
            partial = f"{name}.{secrets.token_hex(8)}{PARTIAL}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(partial, flags, 0o640, dir_fd=folder), "w+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    if not os.fstat(file.fileno()).st_nlink:  # taken for a dead process's before it was locked
                        raise StorageError(f"Another process is storing {key} at {self}.")
                    yield _Partial(file, folder, partial)
                finally:
                    with contextlib.suppress(OSError):  # the failure that led here is the one to report
                        os.unlink(partial, dir_fd=folder)

    def _remove_partials(self, key: str, folder: int, name: str) -> None:
        """Remove what dead processes left of a key.

        :raises StorageError: a living one is storing it.
        """
        listing = os.open(".", LIST, dir_fd=folder)
        try:
            with os.scandir(listing) as entries:
                left = [
                    e.name for e in entries if e.name.startswith(name) and _AFTER_NAME.fullmatch(e.name[len(name) :])
                ]
        finally:
            os.close(listing)
        for each in left:
            with contextlib.suppress(FileNotFoundError):  # it has just come to its end
                if _is_locked(each, folder):
                    raise StorageError(f"Another process is storing {key} at {self}.")
                os.unlink(each, dir_fd=folder)

    def _publish(self, partial: _Partial, key: str, sha256: str) -> None:
        """Make a partial file durable, check what the disk holds, and give it its name."""
        file = partial.file
        file.flush()
        os.fsync(file.fileno())
        # Drop the cache, so that what is hashed is what the disk returns, not what memory remembers.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise StorageError(f"{self} returns other bytes for {key} than were written.", "Check the disk.")
        name, folder = key.rpartition("/")[2], partial.folder
        try:
            give_free_name(folder, partial.name, name)
        except FileExistsError as error:
            raise AlreadyStoredError(f"{self} already holds {key}; nothing is overwritten.") from error
        if not os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file.fileno())):
            raise StorageError(
                f"{key} at {self} is not the file that was written there: another program writes there.",
                "Find out which, and delete the file.",
            )
        sync_names(Path(), folder)

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            named = error.filename if isinstance(error.filename, str) else ""
            below = f" ({named})" if named and named != str(self._root) else ""
            refusal = DeniedError if isinstance(error, PermissionError) else StorageError
            said = f"Cannot {doing} {self}: {error.strerror or error}{below}."
            raise refusal(said, hint_of(error, OF_DISKS)) from error


class DiskDestination(Directory):
    """A directory, usually of another disk, that a marker at its root tells from an empty mount point.

    Nothing is read from it or stored in it while the marker is missing: a disk that is not mounted must neither look
    like a destination without backups nor receive some.

    :param name: the destination's name in the settings.
    :param root: the directory; `init` creates it.
    """

    def init(self, now: datetime) -> str:
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
            facts = {"destination": self.name, "created_at": now.isoformat(timespec="seconds")}
            content = json.dumps(facts, ensure_ascii=False).encode()
            with self._partial(DESTINATION_MARKER) as partial:
                partial.file.write(content)
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
        try:
            with self._folder_of(DESTINATION_MARKER) as (folder, name):
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise StorageError(
                        f"{marker} is not a file, as the marker of a destination is.", f"Move it away, and {again}."
                    )
                with self._opened(name, folder) as file:
                    facts = json.loads(file.read(LONGEST_MARKER))
            if not isinstance(facts["destination"], str):
                raise ValueError("no name")
            return facts["destination"]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(f"{marker} is not the marker of a destination.", f"Delete it, and {again}.") from error


class _Partial(NamedTuple):
    """A file that is being written.

    :param folder: descriptor of the open folder that it is in.
    :param name: its name there.
    """

    file: BufferedRandom
    folder: int
    name: str


class _File(NamedTuple):
    """A file of a destination, as something that another one can store."""

    directory: Directory
    key: str

    def __str__(self) -> str:
        return f"{self.key} at {self.directory}"

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        return self.directory.open(self.key)


def _may_hold(folder: str, prefix: str) -> bool:
    """Return whether a folder may hold keys of ours that begin with a prefix."""
    return (folder.startswith(prefix) or prefix.startswith(f"{folder}/")) and folder.count("/") < DEEPEST


def _is_locked(name: str, folder: int) -> bool:
    """Return whether a living process has locked a file of an open folder; what is not a regular file has no lock."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return False
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
