"""Capture an application's files into an archive, and account for every one of them."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from lifeboat.archive import DUMPS, MANIFEST_NAME
from lifeboat.archive.manifest import EntryList
from lifeboat.archive.write import ArchiveWriter
from lifeboat.catalog.manifest import CapturedFiles, EntryFacts
from lifeboat.errors import FilesError
from lifeboat.files.pack import Outcome, pack_members
from lifeboat.files.selection import Member, Selection, links_out_text, select
from lifeboat.support.logs import logger
from lifeboat.support.progress import Progress
from lifeboat.text import size_text

log = logger(__name__)

PROBLEMS_LOGGED = 20


def warnings_of(captured: CapturedFiles) -> list[str]:
    """Return what a reader of the manifest should know first."""
    counts = (
        (captured.changed, "changed while being read"),
        (captured.missing, "missing from the archive"),
        (captured.special, "skipped: sockets, FIFOs or devices"),
    )
    texts = [f"{count} {what}" for count, what in counts if count]
    if links := links_out_text(captured.root, captured.links_out):
        texts.append(links)
    return [f"files: {text}" for text in texts]


def capture(archive: ArchiveWriter, selection: Selection, entries: EntryList) -> CapturedFiles:
    """Pack the selected files into an archive.

    :param entries: takes a record of each.
    :raises FilesError: the root cannot be read, an include matches nothing, nothing is left, or a file is not whole
        where the selection asks for that.
    """
    captured = CapturedFiles(str(selection.root))
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


def _members(selection: Selection, captured: CapturedFiles) -> Iterator[tuple[str, Member]]:
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


def _note(captured: CapturedFiles, selection: Selection, path: str, state: str, reason: str) -> None:
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


def _record(outcome: Outcome) -> EntryFacts:
    member = outcome.member
    facts: EntryFacts = {
        "size": outcome.size,
        "sha256": outcome.sha256,
        "type": member.kind,
        "mode": f"{stat.S_IMODE(outcome.mode):04o}",
        "mtime_ns": outcome.modified_ns,
    }
    if member.kind == "link":
        facts["target"] = outcome.target
    if outcome.state == "changed":
        facts["changed"] = outcome.reason
    if outcome.name.rstrip("/") != member.path:
        facts["path"] = member.path
    return facts
