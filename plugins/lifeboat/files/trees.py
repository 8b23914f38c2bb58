"""Comparison of a restored tree of files with the captured one: read again from the disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from lifeboat.archive.listing import KINDS, Entry
from lifeboat.decide.comparison import Difference
from lifeboat.text import plural

MASK = 0o7777


def differences(tree: Path, entries: Iterable[Entry]) -> Iterator[Difference]:
    """Compare a tree with what an archive's manifest says of it; yield what differs.

    :param entries: everything that the tree should hold, and nothing else.
    :raises OSError: the tree cannot be read.
    """
    expected: set[bytes] = set()
    for entry in entries:
        path = os.fsencode(entry.path)
        expected.add(path)
        if what := _difference(os.path.join(os.fsencode(tree), path), entry):  # noqa: PTH118  # bytes
            yield Difference(entry.kind, entry.path, what)
    for path, is_folder in _walk(os.fsencode(tree)):
        # Folders that exist only because something is in them need no separate entry.
        if path not in expected and not is_folder:
            yield Difference("file", os.fsdecode(path), "was not captured")


def _difference(location: bytes, entry: Entry) -> str:
    try:
        status = os.lstat(location)
    except FileNotFoundError:
        return "is missing"
    kind = KINDS.get(stat.S_IFMT(status.st_mode), "special")
    if kind != entry.kind:
        return f"is a {kind}"
    if kind == "link":
        same = hashlib.sha256(os.readlink(location)).hexdigest() == entry.sha256  # noqa: PTH115  # bytes
        return "" if same else "leads elsewhere"
    if status.st_mode & MASK != entry.mode:
        return f"has mode {status.st_mode & MASK:04o}, and had {entry.mode:04o}"
    return _content_difference(location, entry, status.st_size) if kind == "file" else ""


def _content_difference(location: bytes, entry: Entry, size: int) -> str:
    if size != entry.size:
        return f"has {plural(size, 'byte')}, and had {entry.size}"
    with open(location, "rb") as file:  # noqa: PTH123  # bytes
        return "" if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256 else "holds other data"


def _walk(root: bytes) -> Iterator[tuple[bytes, bool]]:
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as listing:  # noqa: PTH118
            for each in listing:
                path = os.path.join(folder, each.name)  # noqa: PTH118
                is_folder = each.is_dir(follow_symlinks=False)
                yield path, is_folder
                if is_folder:
                    waiting.append(path)
