"""Placement of an archive's entries below a new directory: judged by their names, before anything is written."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lifeboat.archive.listing import Entry
from lifeboat.errors import ArchiveError, RestoreError
from lifeboat.text import plural

LONGEST_TARGET = 4095  # bytes; Linux makes no link to more
NAMED = 5  # how many examples a message names
CLOSE = 3


@dataclass(frozen=True)
class Layout:
    """The path of each entry, relative to the new directory, and in bytes, as file systems have them.

    :param contents: files and links, in the order of the archive.
    :param directories: each after the one that it is in; None for those that the archive does not describe.
    """

    contents: dict[bytes, Entry]
    directories: dict[bytes, Entry | None]
    warnings: tuple[str, ...]


def lay_out(where: str, entries: Sequence[Entry], *, root: str = "", only: str = "") -> Layout:
    """Decide where entries go.

    :param where: how messages call the archive.
    :param root: what the paths of entries may begin with; it is taken away. Others keep their whole path.
    :param only: the path of one file or directory; it is taken with all that is in it, and nothing else.
    :raises ArchiveError: a name leads out of the directory or is none, two collide, or one is of a device.
    :raises RestoreError: there is nothing to restore, or nothing of that path.
    """
    if not entries:
        raise RestoreError(f"{where} holds no files.", "Only archives of kind application do.")
    located, warnings = below_root(entries, root)
    top = next((entry for path, entry in located if root and not path and entry.kind == "directory"), None)
    members = _members(where, [(path, entry) for path, entry in located if entry is not top])
    chosen = _chosen(where, members, only)
    contents = {path: entry for path, entry in chosen.items() if entry.kind != "directory"}
    folders = {b"", *_above(chosen), *(chosen.keys() - contents.keys())}
    return Layout(contents, {path: members.get(path) if path else top for path in sorted(folders)}, warnings)


def leads_out(link: bytes, target: bytes) -> bool:
    """Return whether a link leads out of the directory that its path is relative to, as far as names tell."""
    end = os.path.normpath(os.path.join(os.path.dirname(link), target))  # noqa: PTH118, PTH120  # bytes
    return end.startswith(b"/") or end.split(b"/")[0] == b".."


def examples(paths: Sequence[str]) -> str:
    """Name the first of some paths."""
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(repr(path) for path in paths[:NAMED]) + more


def below_root(entries: Sequence[Entry], root: str) -> tuple[list[tuple[str, Entry]], tuple[str, ...]]:
    """Return entries with their paths below a root, and warnings about those that are not."""
    prefix = f"{root.strip('/')}/"
    whole = [(entry.path, entry) for entry in entries]
    if prefix == "/":
        return whole, ()
    if not any(f"{path}/".startswith(prefix) for path, _ in whole):
        return whole, (f"No entry is below {root}: all are restored under their paths in the archive.",)
    found, outside = [], []
    for path, entry in whole:
        if f"{path}/".startswith(prefix):
            found.append((path[len(prefix) :], entry))
        elif not prefix.startswith(f"{path}/"):
            found.append((path, entry))
            outside.append(path)
    if not outside:
        return found, ()
    count = plural(len(outside), "entry", "entries")
    return found, (f"{count} not below {root}, restored under the whole path: {examples(outside)}.",)


def _members(where: str, located: Iterable[tuple[str, Entry]]) -> dict[bytes, Entry]:
    """Return entries by their paths, once each of them and all together make sense."""
    members: dict[bytes, Entry] = {}
    for path, entry in located:
        if problem := _problem(path, entry):
            raise ArchiveError(f"{where}: {entry.name!r} {problem}.", "Nothing was restored.")
        location = path.encode("utf-8", "surrogateescape")
        if location in members:
            raise ArchiveError(f"{where}: {members[location].name!r} and {entry.name!r} have the same path.")
        members[location] = entry
    for folder in _above(members):
        if folder in members and members[folder].kind != "directory":
            raise ArchiveError(f"{where}: {members[folder].name!r} is not a directory, but other entries are in it.")
    return members


def _problem(path: str, entry: Entry) -> str:
    """Say why an entry cannot be restored, or nothing."""
    parts = path.split("/")
    problems = {
        "is a device, a FIFO or a socket, which no archive should hold": entry.kind == "special",
        "is an absolute path": path.startswith("/"),
        "leads out of the directory": ".." in parts,
        "is not the path of a file": "" in parts or "." in parts or "\0" in path,
        "is a directory and has content": entry.kind == "directory" and entry.size > 0,
        "is a symbolic link with an invalid target": entry.kind == "link" and not 0 < entry.size <= LONGEST_TARGET,
    }
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "is not a valid file name"
    return next((problem for problem, found in problems.items() if found), "")


def _above(paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the directories that paths are in, each once."""
    seen = {b""}
    for path in paths:
        above = path.rpartition(b"/")[0]
        while above not in seen:
            seen.add(above)
            yield above
            above = above.rpartition(b"/")[0]


def _chosen(where: str, members: dict[bytes, Entry], only: str) -> dict[bytes, Entry]:
    path = str(PurePosixPath("/", only)).strip("/")
    if not path:
        return members
    chosen = {each: entry for each, entry in members.items() if f"{os.fsdecode(each)}/".startswith(f"{path}/")}
    if chosen:
        return chosen
    close = _close(path, [os.fsdecode(each) for each in (*members, *_above(members))])
    hint = f"It holds {', '.join(repr(each) for each in close)}." if close else ""
    raise RestoreError(f"{where} holds no {path!r}.", hint or "Paths are relative to the root of the application.")


def _close(path: str, there: Sequence[str]) -> list[str]:
    """Return paths that somebody may have meant: of that name elsewhere, or of nearly that name there."""
    name = path.rpartition("/")[2]
    above = path
    folders = {each.rpartition("/")[0] for each in there}
    while above not in folders:
        above = above.rpartition("/")[0]
    beside = [each for each in there if each.rpartition("/")[0] == above]
    elsewhere = [each for each in there if each.rpartition("/")[2] == name]
    return list(dict.fromkeys((*difflib.get_close_matches(path, beside, CLOSE), *elsewhere)))[:CLOSE]
