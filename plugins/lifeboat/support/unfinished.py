"""A new directory that has its name only once it is whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lifeboat.errors import LifeboatError, RestoreError
from lifeboat.support.directories import LIST, empty, sync_file_system, sync_names
from lifeboat.support.logs import logger
from lifeboat.support.os_errors import hint_of

NO_SUCH_NAME = "The file system there cannot hold such a name: use another directory."
OF_COPIES = {  # hints
    errno.EEXIST: "Two names may be the same there, for example if it ignores case: use another directory.",
    errno.EILSEQ: NO_SUCH_NAME,
    errno.EINVAL: NO_SUCH_NAME,
}

log = logger(__name__)


def unfinished_name(target: Path) -> Path:
    """Return where a directory is filled: next to its final place, so that a rename moves it there."""
    return target.with_name(f".{target.name}.unfinished")


@contextlib.contextmanager
def new_directory(target: Path, publish: Callable[[Path], object] | None = None) -> Iterator[int]:
    """Fill a new directory: the block gets a descriptor of it, and it gets its name when the block ends well.

    Until then it has the name `unfinished_name`, is open to this user only, and locked as long as this process lives.
    Leftovers of a dead process are removed. When the block fails, only what it wrote stays there.

    :param target: does not exist, or is an empty directory.
    :param publish: takes the path of the whole and durable directory and brings it to its place, when that is not just
        the name of the target, which may exist then.
    :raises RestoreError: it is something else, another process fills it, or the file system refuses.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  # resolve() would follow links
    place = unfinished_name(target)
    with translated(target):
        if publish is None:
            _refuse_taken(target)
        folder = _claim(place)
    try:
        yield folder
        with translated(target):
            sync_file_system(folder)
            if publish is None:
                place.rename(target)
                sync_names(target.parent)
        if publish is not None:
            publish(place)
    except LifeboatError as error:
        left = _left(place)
        if not left:
            raise
        raise type(error)(error.message, f"{error.hint} {left}".lstrip()) from error
    finally:
        os.close(folder)


@contextlib.contextmanager
def translated(path: object) -> Iterator[None]:
    """Turn what the file system says into a sentence.

    :param path: what is being written.
    """
    try:
        yield
    except OSError as error:
        said = f"Cannot write {path}: {error.strerror or error}."
        raise RestoreError(said, hint_of(error, OF_COPIES)) from error


def sweep(folder: Path, pattern: str) -> None:
    """Remove what dead processes left in a folder; a lock that dies with its process tells that from a living one's."""
    for left in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # gone, or not ours
            _remove_if_dead(left)


def _remove_if_dead(left: Path) -> None:
    descriptor = os.open(left, LIST | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        empty(descriptor)
        left.rmdir()
        log.warning("Removed %s, left behind by a killed process.", left)
    except BlockingIOError:
        log.info("%s is in use by another process.", left)
    finally:
        os.close(descriptor)


def _refuse_taken(target: Path) -> None:
    choose = "Name a directory that does not exist yet."
    if target.is_symlink():
        raise RestoreError(f"{target} is a symbolic link.", choose)
    if not target.exists():
        if not target.parent.is_dir():
            raise RestoreError(f"There is no directory {target.parent} to make {target.name!r} in.", "Make it first.")
        return
    if not target.is_dir():
        raise RestoreError(f"{target} exists already and is not a directory.", choose)
    if target.is_mount():
        raise RestoreError(f"{target} is a mount point.", "Name a new directory inside it.")
    if any(target.iterdir()):
        raise RestoreError(f"{target} is not empty; nothing is overwritten.", choose)


def _claim(place: Path) -> int:
    """Make a directory, or take over what a dead process left, and return a locked descriptor of it, empty."""
    while True:
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
            place.chmod(0o700)  # whatever the umask is
        try:
            folder = os.open(place, LIST | os.O_NOFOLLOW)
        except FileNotFoundError:  # the process that filled it has just ended
            continue
        try:
            if _is_ours(folder, place):
                os.fchmod(folder, 0o700)
                empty(folder)
                return folder
        except BaseException:
            os.close(folder)
            raise
        os.close(folder)


def _is_ours(folder: int, place: Path) -> bool:
    """Lock a directory; false where it lost its name meanwhile.

    :raises RestoreError: another process has it, or another user.
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RestoreError(f"Another process is filling {place}.", "Wait for it, or name another directory.") from error
    status = os.fstat(folder)
    if status.st_uid != os.geteuid():
        raise RestoreError(f"{place} is in the way, and belongs to another user.", "Look at it, and remove it.")
    try:
        now = place.lstat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _left(place: Path) -> str:
    """Remove what is empty; else say what is left, and what to do."""
    try:
        place.rmdir()
    except FileNotFoundError:
        return ""
    except OSError:
        return f"What was written so far is in {place}: remove it, or try again, which starts over."
    return ""
