"""Capture an application's files into an archive, and account for every one of them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from lifeboat.archive import DUMPS, MANIFEST_NAME
from lifeboat.archive.manifest import EntryList
from lifeboat.archive.write import ArchiveWriter
from lifeboat.errors import FilesError
from lifeboat.files.pack import Outcome, pack_members
from lifeboat.files.selection import Member, Selection, links_out_text, select
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress
from lifeboat.text import size_text

log = logger(__name__)

PROBLEMS_LOGGED = 20


@dataclass
class Captured:
    """The captured files of an application.

    :param count: files, directories and links in the archive.
    :param bytes: of their content.
    :param changed: files that changed while they were read, twice; they are kept as they were read.
    :param missing: files that could not be read.
    :param special: sockets, FIFOs and devices, which have no content to keep; `skipped` counts each kind.
    :param problems: reason by path, of those that changed or are missing.
    :param links_out: paths of the links to what is outside of the root, which is not in the archive.
    """

    root: str
    count: int = 0
    bytes: int = 0
    changed: int = 0
    missing: int = 0
    special: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    links_out: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as values that JSON knows."""
        return asdict(self)

    def warnings(self) -> list[str]:
        """Return what a reader of the manifest should know first."""
        counts = (
            (self.changed, "changed while being read"),
            (self.missing, "missing from the archive"),
            (self.special, "skipped: sockets, FIFOs or devices"),
        )
        texts = [f"{count} {what}" for count, what in counts if count]
        if links := links_out_text(self.root, self.links_out):
            texts.append(links)
        return [f"files: {text}" for text in texts]


def capture(archive: ArchiveWriter, selection: Selection, entries: EntryList) -> Captured:
    """Pack the selected files into an archive.

    :param entries: takes a record of each.
    :raises FilesError: the root cannot be read, an include matches nothing, nothing is left, or a file is not whole
        where the selection asks for that.
    """
    captured = Captured(str(selection.root))
    progress = Progress(f"Packing the files of {selection.root}")
    for outcome in pack_members(archive, _members(selection, captured)):
        if outcome.state != "whole":
            _note(captured, selection, outcome.member.path, outcome.state, outcome.reason)
        if outcome.state != "missing":
            entries.add(outcome.name, _record(outcome))
            captured.count += 1
            captured.bytes += outcome.size
            progress.advance(outcome.size)
    if not captured.count:
        raise FilesError(
            f"No file of {selection.root} is left to archive: everything is excluded or missing.",
            "Look at files.exclude; 'lifeboat plan-files' says why each was left out.",
        )
    if len(captured.problems) > PROBLEMS_LOGGED:
        log.warning("... and %s more; the manifest names them all.", len(captured.problems) - PROBLEMS_LOGGED)
    if links := links_out_text(selection.root, captured.links_out):
        log.warning("%s.", links)
    log.info(
        "Captured %s files, directories and links of %s: %s. Changed meanwhile: %s, missing: %s, special: %s.",
        *(captured.count, selection.root, size_text(captured.bytes)),
        *(captured.changed, captured.missing, captured.special),
    )
    return captured


def _members(selection: Selection, captured: Captured) -> Iterator[tuple[str, Member]]:
    for found in select(selection):
        if isinstance(found, Member):
            if found.leads_out:
                captured.links_out.append(found.path)
            yield _entry_name(found), found
        elif found.cause == "unreadable":
            _note(captured, selection, found.path, "missing", found.reason)
        elif found.cause == "special":
            captured.special += 1
            captured.skipped[found.what] = captured.skipped.get(found.what, 0) + 1


def _entry_name(member: Member) -> str:
    """Return the name of a member in the archive: its path, unless that is where dumps and the manifest stand.

    The first letter becomes ``%XX`` then, and so does every first ``%``, so that no two paths have one name.
    """
    path = member.path
    reserved = path.partition("/")[0] in (DUMPS, MANIFEST_NAME) or path.startswith("%")
    name = f"%{ord(path[0]):02X}{path[1:]}" if reserved else path
    return f"{name}/" if member.kind == "directory" else name


def _note(captured: Captured, selection: Selection, path: str, state: str, reason: str) -> None:
    if selection.whole:
        raise FilesError(
            f"{path!r} of {captured.root} is {state}: {reason}.",
            "files.on_error: warn takes the backup anyway and warns about it.",
        )
    captured.problems[path] = f"{state}: {reason}"
    if state == "changed":
        captured.changed += 1
    else:
        captured.missing += 1
    if len(captured.problems) <= PROBLEMS_LOGGED:
        log.warning("%r is %s: %s.", path, state, reason)


def _record(outcome: Outcome) -> dict[str, Any]:
    member = outcome.member
    return {
        "size": outcome.size,
        "sha256": outcome.sha256,
        "type": member.kind,
        "mode": f"{stat.S_IMODE(outcome.mode):04o}",
        "mtime_ns": outcome.modified_ns,
        **({"target": outcome.target} if member.kind == "link" else {}),
        **({"changed": outcome.reason} if outcome.state == "changed" else {}),
        **({"path": member.path} if outcome.name.rstrip("/") != member.path else {}),
    }
