"""Open directories: what is below them without following links, how names change, and how that becomes durable."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = os.O_PATH | os.O_DIRECTORY  # to open something below it
LIST = os.O_RDONLY | os.O_DIRECTORY
NOT_A_DIRECTORY = "The path exists and is not a directory: move it away, or name another directory."

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
NO_SUCH_RENAME = (errno.EINVAL, errno.ENOSYS)  # the answers of a file system, and of a kernel, that know none
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)

_libc = ctypes.CDLL(None, use_errno=True)


def open_within(folder: int, path: bytes, flags: int) -> int:
    """Open a path below an open folder, folder by folder without following links, and return the descriptor.

    :param path: with slashes; the empty path is the folder itself.
    :raises OSError: it cannot be opened, or a link stands in the way.
    """
    *folders, name = path.split(b"/")
    here = os.dup(folder)
    try:
        for each in folders:
            below = os.open(each, FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name or b".", flags | os.O_NOFOLLOW, dir_fd=here)
    finally:
        os.close(here)


@contextlib.contextmanager
def folder_of(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder that a path below an open one is in; yield its descriptor, and the name in it."""
    above, _, name = path.rpartition(b"/")
    folder = open_within(root, above, FOLDER)
    try:
        yield folder, name
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a lock on a folder that dies with this process; yield a descriptor of it. Others wait."""
    descriptor = os.open(folder, LIST)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def empty(root: int) -> None:
    """Remove what is in an open folder, whatever its modes. Without recursion: folders may be nested deeply."""
    folders = [b""]
    for path in folders:
        folder = open_within(root, path, LIST)
        try:
            with os.scandir(folder) as listing:
                found = [(os.fsencode(each.name), each.is_dir(follow_symlinks=False)) for each in listing]
            for name, is_folder in found:
                if is_folder:
                    os.chmod(name, 0o700, dir_fd=folder)  # relative to a descriptor
                    folders.append(os.path.join(path, name))  # noqa: PTH118
                else:
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    for path in reversed(folders[1:]):
        with folder_of(root, path) as (folder, name):
            os.rmdir(name, dir_fd=folder)


def sync_names(directory: Path, within: int | None = None) -> None:
    """Make names durable: without it a power cut may undo a rename that was already reported.

    :param within: descriptor of the open directory that a relative path starts from.
    """
    folder = os.open(directory, LIST, dir_fd=within)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sync_file_system(folder: int) -> None:
    """Make all durable that was written to the file system of an open folder: many small files at once."""
    if _libc.syncfs(folder):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rename_in_one_step(one: str | Path, other: str | Path, how: int, folder: int = AT_FDCWD) -> None:
    """Rename as `how` says, which other renames cannot: `RENAME_NOREPLACE`, or `RENAME_EXCHANGE` for two names.

    :param folder: descriptor of the open folder that relative paths start from.
    :raises OSError: as rename does; one of `NO_SUCH_RENAME` where that is not possible.
    """
    function = getattr(_libc, "renameat2", None)  # not every C library has it
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(folder, os.fsencode(one), folder, os.fsencode(other), how):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def give_free_name(folder: int, name: str, new: str) -> None:
    """Give a file of an open folder a name that nothing has; whatever has it stays as it is.

    By a hard link, which leaves `name` as well; on file systems without them (FAT, exFAT) by a rename that replaces
    nothing. Where that is unknown, too, an empty file takes the name first: who is killed right then leaves it.

    :raises FileExistsError: something has the name.
    :raises OSError: the file system refuses.
    """
    try:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
    try:
        rename_in_one_step(name, new, RENAME_NOREPLACE, folder)
        return
    except OSError as error:
        if error.errno not in NO_SUCH_RENAME:
            raise
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=folder))
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(new, dir_fd=folder)
        raise
