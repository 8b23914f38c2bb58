"""Chains of logs: where to continue, when a new chain must begin, and what a destination lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.catalog.archives import Archive, number_of
from lifeboat.catalog.logs import LogPiece, LogPlace
from lifeboat.catalog.manifest import ManifestHead
from lifeboat.databases.mysql.binlog import FIRST
from lifeboat.decide.health import SKEW

if TYPE_CHECKING:  # a command starts without what reads SQL
    from lifeboat.databases.mysql.gtids import Gtids
    from lifeboat.databases.mysql.logs import Executed, LogServer

OTHER_SERVER = "the databases are on another server than before"
IDLE = 3  # times the interval, where no age is a fault: so long nothing is said of a server without anything new
ON_TIME = timedelta(seconds=30)  # by which a scheduled run may begin early


@dataclass(frozen=True)
class Resume:
    """The place from which on the logs of a server are shipped.

    :param gtids: of all transactions before it; None where they are not known.
    :param created: when the server began the file, in seconds since 1970; None where it is not known.
    :param follows: the end of the piece before it; None where a chain begins.
    :param state: of MariaDB, the last GTID of each domain and server among `gtids`; None where that is not known.
    :param executed: GTIDs of all transactions in a dump that was taken at the place; empty where none was.
    """

    file: str
    start: int
    gtids: str | None
    created: int | None = None
    follows: LogPlace | None = None
    state: str | None = None
    executed: str = ""


def after(piece: LogPiece) -> Resume:
    """Return where to continue after a piece."""
    place = LogPlace(piece.file, piece.end)
    return Resume(piece.file, piece.end, piece.gtids_after, piece.created, place, piece.gtid_state)


def ends_of(manifest: ManifestHead) -> dict[str, Resume]:
    """Return where to continue after an archive, by server."""
    return {piece.server.uid: after(piece) for piece in manifest.logs}  # of each server, the last piece counts


def why_broken(resumes: Mapping[str, Resume], servers: Iterable[LogServer]) -> str:
    """Return why logs cannot continue from some places, as far as lists of files tell; empty if they can."""
    found = {server.uid: server for server in servers}
    if found.keys() != resumes.keys():
        return OTHER_SERVER
    for uid, resume in resumes.items():
        size = found[uid].files.get(resume.file)
        if size is None:
            return f"the server no longer has {resume.file}: it was purged, or all logs were reset"
        if size < resume.start:
            return f"{resume.file} is shorter than what was known of it: all logs were reset"
    return ""


def succeeded(
    resume: Resume, before: str, executed: Executed, heads: Iterable[tuple[str, Gtids | None]]
) -> Resume | str:
    """Return where the logs of a server continue those of another one, or why they do not.

    They do if it has executed all that was shipped, and its own logs hold everything else. Of what was shipped, they
    may hold some again: replays skip that.

    :param resume: the place up to which the logs of the server before it are shipped.
    :param before: uid of that server.
    :param heads: files of the new server, newest first, each with all transactions before it.
    """
    family = type(executed.logged)
    try:
        ended = family.of_text(resume.gtids or "")
        shipped = family.of_text(resume.state or resume.gtids or "")
    except ValueError:
        return f"{OTHER_SERVER}, of the other kind, MySQL or MariaDB"
    if not resume.gtids or not resume.follows:
        return OTHER_SERVER
    if lacking := executed.logged.misses(ended):
        return f"{OTHER_SERVER}, whose log does not have transaction {lacking}, which was shipped"
    lost = shipped.misses(executed.purged)
    follows = replace(resume.follows, server=before)
    for file, head in heads if not lost else ():
        if head is None:
            return f"{OTHER_SERVER}, and {file} does not say which transactions are before it"
        lost = shipped.misses(head)
        if not lost:
            gtids = str(head.joined(executed.purged))
            return Resume(file, FIRST, gtids, follows=follows, state=head.state())
    return f"{OTHER_SERVER}, whose logs no longer hold transaction {lost}, which was not shipped"


def beyond_purge(resume: Resume, oldest: str, before: Gtids | None) -> Resume:
    """Return where to continue if the file of a place was purged: where the oldest file begins, if nothing is between.

    :param oldest: of the files that the server still has.
    :param before: all transactions before it; None where they are not known.
    """
    if before is None or resume.gtids is None or _order(oldest) <= _order(resume.file):
        return resume
    shipped = type(before).of_text(resume.gtids)
    if shipped.lacks(before) or before.lacks(shipped):
        return resume
    return replace(resume, file=oldest, start=FIRST, created=None)


def is_new(resume: Resume, server: LogServer) -> bool:
    """Return whether a server has written to its logs beyond a place."""
    return (server.file, server.position) != (resume.file, resume.start)


def may_wait(until: datetime, now: datetime, every: timedelta, longest_age: timedelta | None) -> bool:
    """Return whether logs reach up to so short a time ago that an archive without transactions would say nothing.

    It would from half the age on that is a fault: the next run may come late.

    :param until: time up to which everything is shipped.
    """
    return _is_younger(until, now, longest_age / 2 if longest_age else IDLE * every)


def is_due(newest: Archive | None, now: datetime, every: timedelta) -> bool:
    """Return whether it is time for the next archive of a schedule."""
    return newest is None or not _is_younger(newest.captured_at, now, every - ON_TIME)


def _is_younger(time: datetime, now: datetime, age: timedelta) -> bool:
    """Return whether a time is less than some age ago; one in the future, which some clock got wrong, never is."""
    return now - age < time <= now + SKEW


def of_database_archive(manifest: ManifestHead, servers: Iterable[LogServer]) -> dict[str, Resume] | None:
    """Return where a first chain begins so that it continues an archive of databases.

    :returns: by server; None where the archive does not have an exact position for each.
    """
    begins: dict[str, Resume] = {}
    for server in servers:
        positions = [dump.position for dump in manifest.databases if dump.position]
        own = [position for position in positions if position.server == server.uid]
        if not own:
            return None
        first = min(own, key=lambda position: (_order(position.file), position.offset))
        begins[server.uid] = Resume(first.file, first.offset, None, executed=first.gtids)
    return begins


def now_of(server: LogServer) -> Resume:
    """Return the present end of a server's logs, from which on a new chain goes."""
    return Resume(server.file, server.position, None)


def files_from(resume: Resume, server: LogServer) -> list[str]:
    """Return the files that a server has from a place on, without those that end there."""
    names = list(server.files)
    names = names[names.index(resume.file) :]
    ended = resume.start >= server.files[resume.file] and len(names) > 1
    return names[1:] if ended else names


def lacking(held: Mapping[str, Sequence[Archive]]) -> dict[str, list[Archive]]:
    """Return what each destination lacks of the archives of an application's logs, oldest first.

    What a destination deleted is older than all that it has; one that has none needs the newest chain.

    :param held: newest first, by destination.
    """
    all_of = sorted({archive.key: archive for archives in held.values() for archive in archives}.values(), key=_age)
    lack: dict[str, list[Archive]] = {}
    for destination, archives in held.items():
        keys = {archive.key for archive in archives}
        since = archives[-1].captured_at if archives else _begin(all_of)
        lack[destination] = [each for each in all_of if each.key not in keys and since and each.captured_at >= since]
    return lack


def _begin(archives: Sequence[Archive]) -> datetime | None:
    """:param archives: oldest first."""
    firsts = [archive.captured_at for archive in archives if number_of(archive.key) == 1]
    return firsts[-1] if firsts else (archives[0].captured_at if archives else None)


def _age(archive: Archive) -> tuple[datetime, str]:
    return archive.captured_at, archive.key


def _order(file: str) -> int:
    return int(file.rpartition(".")[2])
