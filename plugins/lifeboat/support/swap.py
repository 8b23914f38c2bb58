"""Put a restored tree or file in the place of the old one, by rename; the old one is kept under another name."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from lifeboat.errors import RestoreError
from lifeboat.support.directories import (
    NO_SUCH_RENAME,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    folder_of,
    rename_in_one_step,
    sync_names,
)
from lifeboat.support.logs import logger
from lifeboat.support.unfinished import translated

log = logger(__name__)


def kept_name(target: Path, stamp: str) -> Path:
    """Return the name under which `target` is kept, next to it, or next to what it points to if it is a link.

    A name that is taken is not reused: a restore that was killed may have used it.

    :param stamp: distinguishes the name from those of other restores.
    """
    place = Path(os.path.realpath(target))
    name = f"{place.name}_before_{stamp}"
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(path for name in names if not os.path.lexists(path := place.with_name(name)))


def take_owners(old: Path, new: Path) -> None:
    """Give what was restored the owners that it had: archives do not know them, but what is replaced does.

    What the old tree lacks gets the owner of the folder that it is in. What a link there leads to is not of the tree.
    Only root may give files away; for anybody else everything is theirs already.

    :raises RestoreError: the file system refuses.
    """
    if os.geteuid() != 0:
        return
    root = os.fsencode(new)
    with translated(new), _opened(os.path.realpath(old)) as source:
        _take_owner(os.fstat(source), root)
        if new.is_dir() and not new.is_symlink():
            new.chmod(stat.S_IMODE(os.fstat(source).st_mode))
        for folder, folders, names in os.walk(root):
            for name in (*folders, *names):
                path = os.path.join(folder, name)  # noqa: PTH118
                _take_owner(_status(source, path[len(root) + 1 :]) or os.lstat(folder), path)


def take_owner_of_folder(folder: Path, new: Path) -> None:
    """Give what was restored, and all that is in it, the owner of the folder that it comes into.

    :raises RestoreError: the file system refuses.
    """
    if os.geteuid() != 0:
        return
    with translated(new):
        owner = folder.stat()
        _take_owner(owner, os.fsencode(new))
        for above, folders, names in os.walk(os.fsencode(new)):
            for name in (*folders, *names):
                _take_owner(owner, os.path.join(above, name))  # noqa: PTH118


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _status(root: int, path: bytes) -> os.stat_result | None:
    """Return what is known of a path below an open folder; None where it is not there, or behind a link."""
    try:
        with folder_of(root, path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _take_owner(owner: os.stat_result, path: bytes) -> None:
    os.lchown(path, owner.st_uid, owner.st_gid)


def replace(target: Path, restored: Path, kept: Path) -> Path:
    """Put `restored` in the place of `target`, which is kept at `kept`, and make that durable.

    A target that is a link stays one, and what it points to is replaced, as backups follow it; only what was itself
    restored as a link takes the place of a link. Programs that have something of the old one open keep that: restart
    them.

    Killed at any instant, this leaves the old or the new one under the name of the target, whole. A file system that
    cannot exchange two names, as NFS, has neither for a moment between two renames.

    :param kept: does not exist; on the file system of the target, as is `restored`.
    :returns: the path of what was replaced: `target`, or what it points to.
    :raises RestoreError: it cannot be done; everything is where it was.
    """
    place = target.absolute() if restored.is_symlink() else Path(os.path.realpath(target))
    restored, kept = (path.parent.resolve() / path.name for path in (restored, kept))
    try:
        _check(target, place, restored, kept)
        _swap(place, restored, kept)
    except OSError as error:
        raise RestoreError(
            f"Cannot put {restored} in the place of {place}: {error.strerror}. Nothing has changed."
        ) from error
    for directory in {place.parent, restored.parent, kept.parent}:
        with translated(directory):
            sync_names(directory)
    log.info("%s is restored; what was there before is %s.", place, kept)
    return place


def put_back(place: Path, restored: Path) -> None:
    """Give `restored` the name of what was deleted, and make that durable.

    :raises RestoreError: something has the name again, or the file system refuses.
    """
    with translated(place):
        try:
            rename_in_one_step(restored, place, RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in NO_SUCH_RENAME:
                raise
            if os.path.lexists(place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            restored.rename(place)
        for directory in {place.parent, restored.parent}:
            sync_names(directory)
    log.info("%s is restored; nothing was there.", place)


def _check(target: Path, place: Path, restored: Path, kept: Path) -> None:
    """Refuse what cannot go well, before anything changes."""
    if not os.path.lexists(place):
        raise RestoreError(f"There is no {target} to replace.", f"Rename {restored} to it.")
    if not os.path.lexists(restored):
        raise RestoreError(f"There is no {restored} to put in the place of {target}.")
    if os.path.lexists(kept):
        raise RestoreError(f"{kept} exists already; nothing is overwritten.", "Name another, or remove it.")
    if place in (restored, *restored.parents, *kept.parents) or restored in (*place.parents, *kept.parents):
        raise RestoreError(f"{place}, {restored} and {kept} lie in each other.", "Restore next to what is replaced.")
    if mounted := [mount for mount in _mounts() if mount.is_relative_to(place)]:
        what = "is a mount point" if place in mounted else f"holds the mount point {mounted[0]}"
        raise RestoreError(f"{place} {what}, which a rename would not replace.", "Restore what is in it by `only`.")
    if len({path.parent.stat().st_dev for path in (place, restored, kept)}) > 1:
        raise RestoreError(
            f"{place}, {restored} and {kept} are on different disks.", "Restore next to what is replaced."
        )
    for path in (place, restored, kept):
        if not _may_rename(path):
            raise RestoreError(
                f"This user is not allowed to rename {path}.",
                f"Give it the right to write in {path.parent}, or run as its owner.",
            )


def _may_rename(path: Path) -> bool:
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        return False
    above = path.parent.stat()
    if not above.st_mode & stat.S_ISVTX or not os.path.lexists(path):
        return True
    return os.geteuid() in (0, above.st_uid, path.lstat().st_uid)


def _mounts() -> list[Path]:
    """Return all mount points; also those of directories of the same disk, which os.path.ismount misses."""
    with contextlib.suppress(OSError):  # /proc may be hidden; the kernel refuses to rename a mount point itself anyway
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        escaped = [line.split(b" ")[4] for line in lines]
        paths = [re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), path) for path in escaped]
        return [Path(os.fsdecode(path)) for path in paths]
    return []


def _swap(place: Path, restored: Path, kept: Path) -> None:
    # Exchanged with the new one under the name of the old one, and not the other way round: what is cut between the
    # two steps then has changed nothing, and nobody who tidies up names of restores throws the old one away.
    restored.rename(kept)
    try:
        rename_in_one_step(place, kept, RENAME_EXCHANGE)
    except OSError as error:
        _move_back(kept, restored)
        if error.errno not in NO_SUCH_RENAME:
            raise
        _swap_in_two_steps(place, restored, kept)


def _swap_in_two_steps(place: Path, restored: Path, kept: Path) -> None:
    place.rename(kept)
    try:
        restored.rename(place)
    except BaseException:
        _move_back(kept, place)
        raise


def _move_back(now: Path, before: Path) -> None:
    try:
        now.rename(before)
    except OSError as error:
        raise RestoreError(f"{before} is {now} now, and cannot be renamed back: {error.strerror}.") from error
