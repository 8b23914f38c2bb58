"""Which of an application's files belong in an archive, and how one is read while it may change."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wcmatch import glob

from lifeboat.archive import CHUNK
from lifeboat.config import Settings
from lifeboat.errors import FilesError

GLOB = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX
SPECIAL = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "FIFO",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
# Without O_NONBLOCK, a FIFO that took a file's place would be waited for without end.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

Kind = Literal["file", "directory", "link"]
Cause = Literal["excluded", "not included", "our own", "special", "unreadable"]


@dataclass(frozen=True)
class Selection:
    """What to archive below a root.

    :param include: patterns; each must match something.
    :param exclude: patterns.
    :param own: directories of Lifeboat, which are left out wherever they are.
    :param follow_links: archive what symbolic links point to.
    """

    root: Path
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    own: tuple[Path, ...] = ()
    follow_links: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Something that goes into an archive.

    :param path: relative to the root, with slashes; bytes that are no UTF-8 are surrogates.
    :param location: where it is, as the file system names it.
    :param mode: type and permissions.
    :param size: in bytes, when it was listed.
    """

    path: str
    location: bytes
    kind: Kind
    mode: int
    size: int
    modified_ns: int
    follow: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that does not.

    :param reason: why not, in words.
    :param what: for special files, what they are.
    """

    path: str
    location: bytes
    cause: Cause
    reason: str
    what: str = ""


def selection_of(settings: Settings, application: str) -> Selection:
    """Return what the settings say of an application's files.

    :raises SettingsError: they name none.
    """
    files = settings.files_of(application)
    return Selection(files.root, files.include, files.exclude, settings.own_directories, files.follow_links)


def select(selection: Selection) -> Iterator[Member | LeftOut]:
    """Walk the root and yield what belongs in an archive and what is left out, sorted within each directory.

    Of what is left out, a directory is yielded without what is below it.

    :raises FilesError: the root cannot be read, or an include matches nothing.
    """
    try:
        root = Path(os.path.realpath(selection.root))
        status = root.stat()
        os.scandir(root).close()
    except OSError as error:
        raise FilesError(
            f"Cannot read the root {selection.root}: {error.strerror}.", "Check files.root, and the worker's rights."
        ) from error
    walk = _Walk(selection, root)
    yield from walk.directory(os.fsencode(root), "", False, ((status.st_dev, status.st_ino),))
    if walk.unmatched:
        names = ", ".join(repr(pattern) for pattern in selection.include if pattern in walk.unmatched)
        raise FilesError(f"files.include {names} matches nothing below {selection.root}.", walk.hint())


def tree_size(location: bytes) -> int:
    """Return the bytes of all regular files of a path, as far as they can be listed."""
    try:
        status = os.lstat(location)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size if stat.S_ISREG(status.st_mode) else 0
        return sum(tree_size(os.path.join(location, name)) for name in os.listdir(location))  # noqa: PTH118, PTH208
    except OSError:
        return 0


class _Walk:
    def __init__(self, selection: Selection, root: Path) -> None:
        self._selection = selection
        self._includes = {pattern: _expression([pattern]) for pattern in selection.include}
        self._parts = [pattern.split("/") for pattern in selection.include]
        self._included = _expression(selection.include)
        self._excludes = {pattern: _expression([pattern]) for pattern in selection.exclude}
        self._excluded = _expression(selection.exclude) if selection.exclude else None
        self._own = {os.fsencode(os.path.realpath(path)) for path in selection.own}
        self._links_passed: list[str] = []
        self._root = root
        self.unmatched = set(selection.include)

    def hint(self) -> str:
        """Say what may be behind a pattern that matched nothing."""
        if self._links_passed:
            return f"{self._links_passed[0]!r} is a symbolic link; files.follow_links: true follows it."
        return "Mend the pattern, or remove it: a backup must not be smaller than somebody believes."

    def directory(
        self, location: bytes, path: str, included: bool, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[Member | LeftOut]:
        """Yield what is below a directory."""
        try:
            names = sorted(os.listdir(location))  # noqa: PTH208  # bytes: names may be in any encoding
        except OSError as error:
            yield LeftOut(path, location, "unreadable", f"cannot be listed: {error.strerror}")
            return
        for name in names:
            text = name.decode("utf-8", "surrogateescape")
            child = f"{path}/{text}" if path else text
            yield from self._entry(os.path.join(location, name), child, included, ancestors)  # noqa: PTH118

    def _entry(
        self, location: bytes, path: str, inherited: bool, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[Member | LeftOut]:
        try:
            status = os.lstat(location)
        except FileNotFoundError:
            return  # it left between the listing and now: it was never there
        except OSError as error:
            yield LeftOut(path, location, "unreadable", f"cannot be read: {error.strerror}")
            return
        included = self._is_included(path, inherited)
        follow = False
        if self._selection.follow_links and stat.S_ISLNK(status.st_mode):
            status, follow = self._target(location, status, ancestors)
        is_directory = stat.S_ISDIR(status.st_mode)
        if left := self._left_out(location, path, included, is_directory, status):
            if left.cause == "not included" and stat.S_ISLNK(status.st_mode) and self._may_hold(path):
                self._links_passed.append(path)
            yield left
            return
        if included:
            kind: Kind = "directory" if is_directory else "link" if stat.S_ISLNK(status.st_mode) else "file"
            yield Member(path, location, kind, status.st_mode, status.st_size, status.st_mtime_ns, follow)
        if is_directory:
            inode = (status.st_dev, status.st_ino)
            yield from self.directory(location, path, included, (*ancestors, inode))

    def _is_included(self, path: str, inherited: bool) -> bool:
        for pattern in [pattern for pattern in self.unmatched if self._includes[pattern].fullmatch(path)]:
            self.unmatched.discard(pattern)
        return inherited or bool(self._included.fullmatch(path))

    def _left_out(
        self, location: bytes, path: str, included: bool, is_directory: bool, status: os.stat_result
    ) -> LeftOut | None:
        if self._excluded and self._excluded.fullmatch(path):
            pattern = next(pattern for pattern, expression in self._excludes.items() if expression.fullmatch(path))
            return LeftOut(path, location, "excluded", f"excluded by {pattern!r}")
        if is_directory and self._own and os.path.realpath(location) in self._own:
            return LeftOut(path, location, "our own", "Lifeboat keeps its archives or its staging there")
        if not included and not (is_directory and self._may_hold(path)):
            return LeftOut(path, location, "not included", "no include matches it")
        if what := SPECIAL.get(stat.S_IFMT(status.st_mode)):
            return LeftOut(path, location, "special", f"a {what} has no content to keep", what)
        return None

    def _may_hold(self, path: str) -> bool:
        """Whether an include may match something below a directory that none matches itself."""
        parts = path.split("/")
        return any(_may_hold(pattern, parts) for pattern in self._parts)

    @staticmethod
    def _target(
        location: bytes, status: os.stat_result, ancestors: Sequence[tuple[int, int]]
    ) -> tuple[os.stat_result, bool]:
        """Return the status of a link's target, or of the link where it leads nowhere or back to where we are."""
        try:
            target = os.stat(location)  # noqa: PTH116
        except OSError:
            return status, False
        return (status, False) if (target.st_dev, target.st_ino) in ancestors else (target, True)


def _expression(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return what matches a whole path that any of the patterns matches."""
    translated, _ = glob.translate(list(patterns), flags=GLOB)
    return re.compile("|".join(f"(?:{expression})" for expression in translated))


def _may_hold(pattern: Sequence[str], path: Sequence[str]) -> bool:
    for wanted, part in zip(pattern, path, strict=False):
        if wanted == "**":
            return True
        if not glob.globmatch(part, wanted, flags=GLOB):
            return False
    return len(pattern) > len(path)


class OpenFile:
    """A file being read, never further than it was long when it was opened, so that one that grows for ever ends.

    :raises OSError: it cannot be opened, or is no regular file any more.
    """

    def __init__(self, member: Member) -> None:
        self._descriptor = os.open(member.location, READ | (0 if member.follow else os.O_NOFOLLOW))
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            self.close()
            raise OSError("it is no regular file any more")
        self.size = self._before.st_size
        self.mode, self.modified_ns = self._before.st_mode, self._before.st_mtime_ns
        self._left = self.size

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read(self, size: int = CHUNK) -> bytes:
        """Return the next bytes; none at the end.

        :raises OSError: the disk, or the network behind it, fails.
        """
        data = os.read(self._descriptor, min(size, self._left))
        self._left -= len(data)
        return data

    def change(self) -> str:
        """Say how the file changed since it was opened, or nothing."""
        after = os.fstat(self._descriptor)
        if after.st_size != self.size:
            how = "grew" if after.st_size > self.size else "shrank"
            return f"{how} from {self.size} to {after.st_size} bytes while it was read"
        if (after.st_mtime_ns, after.st_ctime_ns) != (self._before.st_mtime_ns, self._before.st_ctime_ns):
            return "changed while it was read"
        return ""
