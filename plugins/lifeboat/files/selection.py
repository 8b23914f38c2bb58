"""Selection of an application's files for an archive, and reading of files that may change meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import bracex
from wcmatch import glob

from lifeboat.archive import CHUNK
from lifeboat.errors import FilesError
from lifeboat.settings.config import Settings
from lifeboat.support.directories import FOLDER, open_within
from lifeboat.text import plural

GLOB = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX | glob.BRACE
SPECIAL = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "FIFO",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
# Without O_NONBLOCK, a FIFO that took a file's place would be waited for without end.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

LINKS_NAMED = 5  # links that lead out, in one sentence

Kind = Literal["file", "directory", "link"]
Cause = Literal["excluded", "not included", "our own", "special", "unreadable"]


@dataclass(frozen=True)
class Selection:
    """The choice of files to archive below a root.

    :param include: patterns; each must match something.
    :param exclude: patterns.
    :param own: directories of Lifeboat, which are skipped wherever they are.
    :param follow_links: archive what symbolic links point to.
    :param whole: fail when a file is missing or changes while it is read.
    """

    root: Path
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    own: tuple[Path, ...] = ()
    follow_links: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Something that goes into an archive.

    :param path: relative to the root, with slashes; bytes that are not UTF-8 are surrogates.
    :param location: where it is, as the file system names it.
    :param mode: type and permissions.
    :param size: in bytes, when it was listed.
    :param root: the directory that it must not be led out of.
    :param follow: whether a symbolic link that is followed led to it.
    :param leads_out: whether it is a link to a file or folder outside of the root, which is not archived.
    """

    path: str
    location: bytes
    kind: Kind
    mode: int
    size: int
    modified_ns: int
    root: bytes
    follow: bool = False
    leads_out: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that does not.

    :param reason: why not, as text.
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
    return Selection(
        files.root,
        files.include,
        files.exclude,
        own=settings.own_directories,
        follow_links=files.follow_links,
        whole=files.on_error == "fail",
    )


def select(selection: Selection) -> Iterator[Member | LeftOut]:
    """Walk the root and yield what belongs in an archive and what is skipped, sorted within each directory.

    A skipped directory is yielded without its contents.

    :raises FilesError: the root cannot be read, or an include matches nothing.
    """
    try:
        root = Path(os.path.realpath(selection.root))
        os.scandir(root).close()
    except OSError as error:
        raise FilesError(
            f"Cannot read the root {selection.root}: {error.strerror}.", "Check files.root, and the worker's rights."
        ) from error
    walk = _Walk(selection, root)
    if walk.is_own(os.fsencode(root)):
        raise FilesError(f"The root {selection.root} is staging or a destination, or lies in one.", "Fix files.root.")
    yield from walk.run()
    if walk.unmatched:
        names = ", ".join(repr(pattern) for pattern in selection.include if pattern in walk.unmatched)
        raise FilesError(f"files.include {names} matches nothing below {selection.root}.", walk.hint())


def links_out_text(root: Path | str, links: Sequence[str]) -> str:
    """Say that links lead out of the root, so that the archive lacks what they lead to; empty where there are none.

    :param links: their paths.
    """
    if not links:
        return ""
    named = ", ".join(repr(path) for path in links[:LINKS_NAMED])
    more = f" and {len(links) - LINKS_NAMED} more" if len(links) > LINKS_NAMED else ""
    what = plural(len(links), "link leads", "links lead")
    return (
        f"{what} out of {root}, and what is there is not in the archive: {named}{more}."
        " files.follow_links: true includes it; exclude links that need no backup"
    )


def tree_size(location: bytes) -> int:
    """Return the bytes of all regular files of a path, as far as they can be listed."""
    size, waiting = 0, [location]
    while waiting:
        with contextlib.suppress(OSError):
            here = waiting.pop()
            status = os.lstat(here)
            if stat.S_ISDIR(status.st_mode):
                waiting += [os.path.join(here, name) for name in os.listdir(here)]  # noqa: PTH118, PTH208
            elif stat.S_ISREG(status.st_mode):
                size += status.st_size
    return size


@dataclass(frozen=True, slots=True)
class _Found:
    """Something that the walk comes to.

    :param included: whether a directory above it is.
    :param beyond: whether a followed link led here.
    """

    location: bytes
    path: str
    included: bool
    beyond: bool


class _Walk:
    def __init__(self, selection: Selection, root: Path) -> None:
        self._selection = selection
        self._includes = {pattern: _expression([pattern]) for pattern in selection.include}
        self._parts = [part for pattern in selection.include for part in _alternatives(pattern)]
        self._included = _expression(selection.include)
        self._excludes = {pattern: _expression([pattern]) for pattern in selection.exclude}
        self._excluded = _expression(selection.exclude) if selection.exclude else None
        self._own = [os.fsencode(os.path.realpath(path)) for path in selection.own]
        self._in_the_way: list[str] = []
        self._root = os.fsencode(root)
        self._seen: set[tuple[int, int]] = set()
        self.unmatched = set(selection.include) - {"**"}

    def hint(self) -> str:
        """Say what may be behind a pattern that matched nothing."""
        if self._in_the_way:
            return self._in_the_way[0]
        return "Fix the pattern, or remove it: a backup must not silently hold less than expected."

    def is_own(self, location: bytes) -> bool:
        """Return whether a path is, or lies in, a directory of Lifeboat."""
        real = os.path.realpath(location)
        return any(real == own or real.startswith(own + b"/") for own in self._own)

    def run(self) -> Iterator[Member | LeftOut]:
        """Yield everything below the root. Without recursion: folders may be nested deeper than calls."""
        status = os.stat(self._root)  # noqa: PTH116  # bytes: names may be in any encoding
        self._seen.add((status.st_dev, status.st_ino))
        root = _Found(self._root, "", False, False)
        open_directories = [self._children(root, self._names(root))]
        while open_directories:
            found = next(open_directories[-1], None)
            if found is None:
                open_directories.pop()
                continue
            result, descend, found = self._entry(found)
            if result is not None:
                yield result
            if descend:
                try:
                    open_directories.append(self._children(found, self._names(found)))
                except OSError as error:
                    yield LeftOut(found.path, found.location, "unreadable", f"cannot be listed: {error.strerror}")

    def _names(self, directory: _Found) -> list[bytes]:
        flags = os.O_RDONLY | os.O_DIRECTORY
        descriptor = open_below(self._root, directory.location, flags, follow=directory.beyond)
        try:
            return sorted(os.fsencode(name) for name in os.listdir(descriptor))  # noqa: PTH208
        finally:
            os.close(descriptor)

    @staticmethod
    def _children(directory: _Found, names: list[bytes]) -> Iterator[_Found]:
        """Yield what is in a directory, one at a time: there may be a million of them."""
        above = f"{directory.path}/" if directory.path else ""
        for name in names:
            location = os.path.join(directory.location, name)  # noqa: PTH118
            path = above + name.decode("utf-8", "surrogateescape")
            yield _Found(location, path, directory.included, directory.beyond)

    def _entry(self, found: _Found) -> tuple[Member | LeftOut | None, bool, _Found]:
        """Decide about one thing; return what it is, and whether and as what to descend into it."""
        location, path = found.location, found.path
        try:
            status = os.lstat(location)
        except FileNotFoundError:
            return None, False, found  # it left between the listing and now: it was never there
        except OSError as error:
            return LeftOut(path, location, "unreadable", f"cannot be read: {error.strerror}"), False, found
        follow = False
        if self._selection.follow_links and stat.S_ISLNK(status.st_mode):
            status, follow = self._target(location, status)
        included = self._is_included(path, found.included)
        is_directory = stat.S_ISDIR(status.st_mode)
        below = replace(found, included=included, beyond=found.beyond or follow)
        if left := self._left_out(below, is_directory, status):
            if left.cause == "not included" and stat.S_ISLNK(status.st_mode) and self._may_hold(path):
                self._in_the_way.append(f"{path!r} is a symbolic link; files.follow_links: true follows it.")
            return left, False, found
        if is_directory:
            self._seen.add((status.st_dev, status.st_ino))
        if not included:
            return None, is_directory, below
        kind: Kind = "directory" if is_directory else "link" if stat.S_ISLNK(status.st_mode) else "file"
        facts = (status.st_mode, status.st_size, status.st_mtime_ns)
        leads_out = kind == "link" and not self._selection.follow_links and self._leads_out(location)
        return Member(path, location, kind, *facts, self._root, below.beyond, leads_out), is_directory, below

    def _leads_out(self, link: bytes) -> bool:
        """Return whether a link leads out of the root, also through other links; Lifeboat's own does not count."""
        target = os.path.realpath(link)
        if target == self._root or target.startswith(self._root.rstrip(b"/") + b"/"):
            return False
        try:
            mode = os.stat(target).st_mode  # noqa: PTH116
        except OSError:
            return False
        return (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) and not self.is_own(target)

    def _is_included(self, path: str, inherited: bool) -> bool:
        if not (self._excluded and self._excluded.fullmatch(path)):  # an excluded path is not a match
            self.unmatched -= {pattern for pattern in self.unmatched if self._includes[pattern].fullmatch(path)}
        return inherited or bool(self._included.fullmatch(path))

    def _left_out(self, found: _Found, is_directory: bool, status: os.stat_result) -> LeftOut | None:
        path, location = found.path, found.location
        if self._excluded and self._excluded.fullmatch(path):
            pattern = next(pattern for pattern, expression in self._excludes.items() if expression.fullmatch(path))
            if found.included or (is_directory and self._may_hold(path)):
                self._in_the_way.append(f"{path!r} is excluded by {pattern!r}.")
            return LeftOut(path, location, "excluded", f"excluded by {pattern!r}")
        if (is_directory or found.beyond) and self.is_own(location):
            return LeftOut(path, location, "our own", "Lifeboat keeps its archives or its staging there")
        if not found.included and not (is_directory and self._may_hold(path)):
            return LeftOut(path, location, "not included", "no include matches it")
        if is_directory and found.beyond and (status.st_dev, status.st_ino) in self._seen:
            return LeftOut(path, location, "excluded", "a symbolic link leads back to it; it is archived already")
        if what := SPECIAL.get(stat.S_IFMT(status.st_mode)):
            return LeftOut(path, location, "special", f"a {what} has no content to keep", what)
        return None

    def _may_hold(self, path: str) -> bool:
        """Return whether an include may match something below a directory that none matches itself."""
        parts = path.split("/")
        return any(_may_hold(pattern, parts) for pattern in self._parts)

    def _target(self, location: bytes, status: os.stat_result) -> tuple[os.stat_result, bool]:
        """Return the status of a link's target, or of the link where it leads nowhere or to where we were."""
        try:
            target = os.stat(location)  # noqa: PTH116
        except OSError:
            return status, False
        return (status, False) if (target.st_dev, target.st_ino) in self._seen else (target, True)


def _expression(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return what matches a whole path that any of the patterns matches."""
    translated, _ = glob.translate(list(patterns), flags=GLOB)
    return re.compile("|".join(f"(?:{expression})" for expression in translated))


def _alternatives(pattern: str) -> list[list[str]]:
    """Return a pattern's parts, once for each of the ways in which its braces can be read."""
    return [each.split("/") for each in bracex.expand(pattern)]


def _may_hold(pattern: Sequence[str], path: Sequence[str]) -> bool:
    for wanted, part in zip(pattern, path, strict=False):
        if wanted == "**":
            return True
        if not glob.globmatch(part, wanted, flags=GLOB):
            return False
    return len(pattern) > len(path)


class OpenFile:
    """A file that is read up to the length it had when it was opened, so that a growing file ends.

    :raises OSError: it cannot be opened, or is no longer a regular file.
    """

    def __init__(self, member: Member) -> None:
        self._descriptor = open_below(member.root, member.location, READ, follow=member.follow)
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            self.close()
            raise OSError("it is no longer a regular file")
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
        data = os.read(self._descriptor, min(size, self._left)) if self._left else b""
        self._left -= len(data)
        return data

    def change(self) -> str:
        """Say how the file changed since it was opened, or nothing."""
        after = os.fstat(self._descriptor)
        if after.st_size != self.size:
            how = "grew" if after.st_size > self.size else "shrank"
            return f"{how} from {self.size} to {after.st_size} bytes while it was read"
        # Not ctime, which moves when a file is only renamed, as logs are.
        return "" if after.st_mtime_ns == self._before.st_mtime_ns else "changed while it was read"


def open_below(root: bytes, location: bytes, flags: int, *, follow: bool) -> int:
    """Open a path below a root and return the descriptor.

    Folder by folder without following links, unless `follow`: somebody may have put a link where a folder was.

    :raises OSError: it cannot be opened, or a link stands in the way.
    """
    if follow or location == root:
        return os.open(location, flags)
    folder = os.open(root, FOLDER)
    try:
        return open_within(folder, location[len(root) :].lstrip(b"/"), flags)
    finally:
        os.close(folder)
