"""Bring an application's files out of an archive into a new directory, and nothing of it anywhere else.

All names are judged before the first is made. Files are created folder by folder without following links, and links
last, so that no file is written through one. Entries are read in the order of the archive. Small ones become files on
other threads, because deriving their keys is most of the work; a large one is decrypted and inflated while what came
before is hashed and written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lifeboat.archive.listing import FOLDER_MODE, Entry
from lifeboat.archive.read import ArchiveReader
from lifeboat.archive.workers import SMALL, batches, cores, short_switch_interval
from lifeboat.errors import ArchiveError, RestoreError
from lifeboat.files.layout import Layout, examples, lay_out, leads_out
from lifeboat.support.ahead import ahead
from lifeboat.support.directories import LIST, folder_of, open_within
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress
from lifeboat.support.unfinished import new_directory, translated, unfinished_name
from lifeboat.text import plural, size_text

log = logger(__name__)

POWERS = stat.S_ISUID | stat.S_ISGID
WRITE_BACK = 8 << 20  # bytes
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOREIGN = (
    "The archive has no manifest: nothing says which files it should hold. Modes are as its tool noted them, less the "
    "right of others to write; laravel-backup notes none, so that scripts may need chmod +x."
)


@dataclass(frozen=True)
class Extracted:
    """The extracted files.

    :param directories: those that the archive describes.
    :param bytes: of the files' content.
    :param warnings: for the user who restores.
    """

    files: int
    directories: int
    links: int
    bytes: int
    warnings: tuple[str, ...]


def extract(
    reader: ArchiveReader,
    target: Path,
    *,
    only: str = "",
    root: str = "",
    publish: Callable[[Path], object] | None = None,
    setuid: bool = False,
) -> Extracted:
    """Extract an application's files into a new directory, which has its name only when all are whole and durable.

    Owners are not restored: everything belongs to the user who runs this. So no file gets setuid or setgid bits, which
    would give everybody the rights of that user.

    :param target: does not exist, or is an empty directory, unless `publish` is given.
    :param only: one file or directory, with all that is in it, by its path in the application; it has that path below
        `target`, too.
    :param root: of the application when it was captured, for archives without a manifest, whose entries may carry it.
    :param publish: takes the path of the finished directory and moves it into place; default: rename.
    :param setuid: files get these bits anyway, because nobody else reaches `target`.
    :raises ArchiveError: the archive is damaged, not what its manifest promises, or means to write elsewhere.
    :raises RestoreError: there is no such file in it, the target is taken, or the file system refuses.
    """
    layout = lay_out(reader.where, reader.files(), root="" if reader.has_manifest else root, only=only)
    with new_directory(target, publish) as folder:
        _check_lengths(layout, folder, target)
        _check_space(layout, folder, target)
        tree = _Tree(reader, layout, folder, target, 0o7777 if setuid else ~POWERS)
        tree.make()
    warnings = (*(() if reader.has_manifest else (FOREIGN,)), *layout.warnings, *tree.warnings())
    files = [entry for entry in layout.contents.values() if entry.kind == "file"]
    directories = sum(entry is not None for entry in layout.directories.values())
    extracted = Extracted(
        len(files), directories, len(layout.contents) - len(files), sum(entry.size for entry in files), warnings
    )
    log.info(
        "Extracted %s files, %s directories and %s links of %s to %s: %s.",
        *(extracted.files, extracted.directories, extracted.links),
        *(reader.where, target, size_text(extracted.bytes)),
    )
    return extracted


def _check_lengths(layout: Layout, folder: int, target: Path) -> None:
    longest_name = os.fpathconf(folder, "PC_NAME_MAX")
    place = os.fsencode(unfinished_name(target.absolute()))
    longest_path = os.fpathconf(folder, "PC_PATH_MAX") - len(place) - len("/") - len("\0")
    for path in (*layout.contents, *layout.directories):
        if len(path) > longest_path or max(map(len, path.split(b"/"))) > longest_name:
            raise RestoreError(
                f"A name is too long for the file system of {target}: {os.fsdecode(path)!r}.",
                f"It supports names of {longest_name} bytes and paths of {longest_path} bytes below {target}.",
            )


def _check_space(layout: Layout, folder: int, target: Path) -> None:
    disk = os.fstatvfs(folder)
    blocks = len(layout.directories) + sum(-(-entry.size // disk.f_frsize) for entry in layout.contents.values())
    if blocks > disk.f_bavail:
        needed, free = (size_text(count * disk.f_frsize) for count in (blocks, disk.f_bavail))
        raise RestoreError(
            f"{target} would take {needed}, and {free} are free there.", "Free some, or use another directory."
        )
    count = len(layout.directories) + len(layout.contents)
    if disk.f_files and count > disk.f_favail:  # some file systems count none
        raise RestoreError(f"{target} would take {count} inodes, and {disk.f_favail} are free there.", "Go elsewhere.")


def _write(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write to a new file, and let the disk begin with what a sync would wait for at the end."""
    begun = 0
    for chunk in chunks:
        file.write(chunk)
        if (written := file.tell()) - begun >= WRITE_BACK:
            os.posix_fadvise(file.fileno(), begun, written - begun, os.POSIX_FADV_DONTNEED)
            begun = written


class _Tree:
    """A tree of files being written.

    :param folder: descriptor of the directory, empty.
    :param target: what messages call it.
    :param mask: of the modes of files.
    """

    def __init__(self, reader: ArchiveReader, layout: Layout, folder: int, target: Path, mask: int) -> None:
        self._reader, self._layout = reader, layout
        self._root, self._target, self._mask = folder, target, mask
        self._targets: dict[bytes, bytes] = {}
        total = sum(entry.size for entry in layout.contents.values())
        self._progress = Progress(f"Extracting {reader.where}", total)

    def make(self) -> None:
        """Make everything."""
        for path in filter(None, self._layout.directories):
            with self._translated(path), folder_of(self._root, path) as (folder, name):
                os.mkdir(name, dir_fd=folder)
                os.chmod(name, 0o700, dir_fd=folder)  # whatever the umask is
        self._make_files()
        for path, target in self._targets.items():
            self._make_link(path, target)
        for path, entry in reversed(self._layout.directories.items()):
            self._finish_directory(path, entry)

    def warnings(self) -> tuple[str, ...]:
        """Return what is to be said of what was made."""
        out = [os.fsdecode(path) for path, target in sorted(self._targets.items()) if leads_out(path, target)]
        powerful = [
            os.fsdecode(path)
            for path, entry in self._layout.contents.items()
            if entry.kind == "file" and entry.mode & POWERS
        ]
        warnings = []
        if out:
            links = plural(len(out), "link leads", "links lead")
            warnings.append(f"{links} out of what was restored: {examples(out)}.")
        if powerful:
            files = plural(len(powerful), "file")
            warnings.append(
                f"{files} had the setuid or setgid bit, which no restore sets, for archives know no owners:"
                f" {examples(powerful)}."
            )
        return tuple(warnings)

    def _make_files(self) -> None:
        under_way: deque[Future[None]] = deque()
        with short_switch_interval(), ThreadPoolExecutor(cores(), thread_name_prefix="extract") as pool:
            try:
                for batch in batches(self._layout.contents.items(), lambda item: item[1].stored):
                    if batch[0][1].stored > SMALL:
                        path, entry = batch[0]
                        self._take(path, entry, ahead(self._reader.chunks(entry.name)))
                        continue
                    stored = [self._reader.stored(entry.name) for _, entry in batch]
                    under_way.append(pool.submit(self._take_batch, batch, stored))
                    if len(under_way) > 2 * cores():
                        under_way.popleft().result()
                while under_way:
                    under_way.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _take_batch(self, batch: list[tuple[bytes, Entry]], stored: list[bytes]) -> None:
        keys = self._reader.keys((entry.name for _, entry in batch), stored)
        for (path, entry), content in zip(batch, stored, strict=True):
            self._take(path, entry, self._reader.chunks(entry.name, content, keys))

    def _take(self, path: bytes, entry: Entry, chunks: Iterable[bytes]) -> None:
        """Make a file, or remember where a link leads."""
        if entry.kind == "link":
            self._targets[path] = b"".join(self._content(entry, chunks))
            return
        with (
            self._translated(path),
            folder_of(self._root, path) as (folder, name),
            os.fdopen(os.open(name, NEW_FILE, 0o600, dir_fd=folder), "wb") as file,
        ):
            _write(file, self._content(entry, chunks))
            file.flush()
            os.utime(file.fileno(), ns=(entry.modified_ns, entry.modified_ns))
            os.fchmod(file.fileno(), entry.mode & self._mask)  # last: writing takes setuid away

    def _content(self, entry: Entry, chunks: Iterable[bytes]) -> Iterator[bytes]:
        sha256 = hashlib.sha256()
        for chunk in chunks:
            sha256.update(chunk)
            yield chunk
            self._progress.advance(len(chunk))
        if entry.sha256 and sha256.hexdigest() != entry.sha256:
            raise ArchiveError(f"{self._reader.where}: {entry.name!r} does not match its manifest.")

    def _make_link(self, path: bytes, target: bytes) -> None:
        entry = self._layout.contents[path]
        if b"\0" in target:
            raise ArchiveError(f"{self._reader.where}: {entry.name!r} is a symbolic link with an invalid target.")
        with self._translated(path), folder_of(self._root, path) as (folder, name):
            os.symlink(target, name, dir_fd=folder)
            with contextlib.suppress(OSError):  # not every file system can, and nothing depends on it
                os.utime(name, ns=(entry.modified_ns, entry.modified_ns), dir_fd=folder, follow_symlinks=False)

    def _finish_directory(self, path: bytes, entry: Entry | None) -> None:
        with self._translated(path):
            folder = open_within(self._root, path, LIST)
            try:
                if entry:
                    os.utime(folder, ns=(entry.modified_ns, entry.modified_ns))
                os.fchmod(folder, entry.mode if entry else FOLDER_MODE)
            finally:
                os.close(folder)

    def _translated(self, path: bytes) -> AbstractContextManager[None]:
        return translated(f"{os.fsdecode(path)!r} below {self._target}")
