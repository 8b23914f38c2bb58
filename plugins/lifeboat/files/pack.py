"""Pack files into an archive: read, hashed, deflated and encrypted by workers, written by one, in stable order.

Memory is bounded: small files travel in batches, of which a few are under way at once; a large file travels in pieces
through a short queue. A file that changes while it is read is read once more, and then kept as it was read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Literal, cast

from lifeboat.archive.encryption import Encrypter
from lifeboat.archive.entry import EntryInfo, PackedEntry, Payload, pack
from lifeboat.archive.workers import SMALL, batches, cores, short_switch_interval
from lifeboat.archive.write import ArchiveWriter
from lifeboat.files.selection import Member, OpenFile
from lifeboat.support.progress import Progress

QUEUED_PIECES = 8
WAIT_SECONDS = 0.1

State = Literal["whole", "changed", "missing"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of packing a member.

    :param state: ``changed`` is in the archive as it was read; ``missing`` is not.
    :param reason: how it changed, or why it is missing.
    :param size: of what the archive holds, in bytes.
    :param sha256: of what the archive holds, in hex.
    """

    name: str
    member: Member
    state: State
    reason: str = ""
    mode: int = 0
    modified_ns: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""


def pack_members(
    archive: ArchiveWriter, members: Iterable[tuple[str, Member]], workers: int | None = None
) -> Iterator[Outcome]:
    """Add members to an archive in their order, and yield what became of each.

    :param members: each with its name in the archive.
    :param workers: threads; default: one per core.
    """
    workers = workers or cores()
    with short_switch_interval(), _Workers(workers, archive.password) as pool:
        under_way: deque[_Batch | _Stream] = deque()
        for batch in batches(members, _content_bytes):
            under_way.append(pool.start(batch))
            if len(under_way) > 2 * workers:
                yield from under_way.popleft().write(archive)
        while under_way:
            yield from under_way.popleft().write(archive)


def _content_bytes(member: tuple[str, Member]) -> int:
    return member[1].size if member[1].kind == "file" else 0


class _Workers:
    """A pool that can be left at any time: what its threads wait for ends with it."""

    def __init__(self, workers: int, password: bytes | None) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pack")
        self._password = password
        self._stop = Event()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, batch: list[tuple[str, Member]]) -> _Batch | _Stream:
        name, member = batch[0]
        if member.kind == "file" and member.size > SMALL:
            stream = _Stream(name, member, self._password, self._stop)
            self._pool.submit(stream.run)
            return stream
        return _Batch(self._pool.submit(_pack_batch, batch, self._password))


@dataclass(frozen=True)
class _Batch:
    packed: Future[list[tuple[Outcome, PackedEntry | None]]]

    def write(self, archive: ArchiveWriter) -> Iterator[Outcome]:
        for outcome, entry in self.packed.result():
            if entry is not None:
                archive.add(entry)
                yield outcome
            elif outcome.state == "changed":  # it has become too large to be held in memory
                yield _write_again(archive, outcome.name, outcome.member)
            else:
                yield outcome


def _pack_batch(batch: list[tuple[str, Member]], password: bytes | None) -> list[tuple[Outcome, PackedEntry | None]]:
    """Read and pack directories, links and small files, whose keys are derived at once."""
    outcomes = [_read_member(name, member) for name, member in batch]
    filled = sum(bool(content) for _, content in outcomes)
    encrypters = iter(Encrypter.several(password, filled) if password is not None else ())
    return [
        (outcome, _packed(outcome, content, next(encrypters, None) if content else None))
        for outcome, content in outcomes
    ]


def _packed(outcome: Outcome, content: bytes | None, encrypter: Encrypter | None) -> PackedEntry | None:
    if content is None:
        return None
    return pack(EntryInfo(outcome.name, outcome.mode, outcome.modified_ns), content, encrypter)


def _read_member(name: str, member: Member) -> tuple[Outcome, bytes | None]:
    """Read a directory, a link or a small file.

    :returns: no content of what is missing, and of a file that has become large.
    """
    change, mode, modified_ns, target = "", member.mode, member.modified_ns, ""
    try:
        if member.kind == "file":
            read = _read_small(member)
            if read is None:
                return Outcome(name, member, "changed", "it grew"), None
            content, change, mode, modified_ns = read
        else:
            content = os.readlink(member.location) if member.kind == "link" else b""  # noqa: PTH115  # bytes
            target = content.decode("utf-8", "surrogateescape")
    except OSError as error:
        return Outcome(name, member, "missing", _reason(error)), None
    state: State = "changed" if change else "whole"
    sha256 = hashlib.sha256(content).hexdigest()
    return Outcome(name, member, state, change, mode, modified_ns, len(content), sha256, target), content


def _read_small(member: Member) -> tuple[bytes, str, int, int] | None:
    """Read a file, and once more where it changed or failed meanwhile.

    :returns: its content, how it changed, its mode and time of modification; None if it has become large.
    """
    read = None
    for last in (False, True):
        try:
            with OpenFile(member) as file:
                if file.size > 2 * SMALL:
                    return None
                content = b"".join(iter(file.read, b""))
                read = content, file.change(), file.mode, file.modified_ns
        except OSError:
            if last and read is None:
                raise
            continue
        if not read[1]:
            break
    return read


class _UnreadableError(Exception):
    """A file cannot be read, or not to its end."""


class _ChangedError(Exception):
    """A file changed while it was read for the first time."""


@dataclass(frozen=True, slots=True)
class _Start:
    """Opens a stream of pieces.

    :param size: of the content in bytes, at most.
    """

    info: EntryInfo
    size: int


def _pieces(name: str, member: Member, password: bytes | None, *, last: bool) -> Iterator[_Start | bytes | Outcome]:
    """Read a large file: yield its header, what its content becomes, and at the end its outcome.

    :param last: keep the file as it is read, even when it changes meanwhile.
    :raises _ChangedError: it changed.
    :raises _UnreadableError: it is missing.
    """
    try:
        with OpenFile(member) as file:
            piece = file.read()
            payload = Payload(EntryInfo(name, file.mode, file.modified_ns), piece, password)
            yield _Start(payload.info, file.size)
            yield payload.head
            while piece:
                yield payload.take(piece)
                piece = file.read()
            yield payload.end()
            change = file.change()
    except OSError as error:
        raise _UnreadableError(_reason(error)) from error
    if change and not last:
        raise _ChangedError(change)
    state: State = "changed" if change else "whole"
    facts = (file.mode, file.modified_ns, payload.info.file_size, payload.sha256)
    yield Outcome(name, member, state, change, *facts)


class _Stream:
    """A large file on its way from a worker to the archive."""

    def __init__(self, name: str, member: Member, password: bytes | None, stop: Event) -> None:
        self._name, self._member = name, member
        self._password = password
        self._stop = stop
        self._pieces: queue.Queue[_Start | bytes | Outcome | BaseException] = queue.Queue(QUEUED_PIECES)

    def run(self) -> None:
        """Read the file and put what it becomes into the queue; for a worker."""
        try:
            for piece in _pieces(self._name, self._member, self._password, last=False):
                if not self._put(piece):
                    return
        except BaseException as error:  # noqa: BLE001  # raised again where the archive is written
            self._put(error)

    def _put(self, piece: _Start | bytes | Outcome | BaseException) -> bool:
        """Wait for room in the queue; false when the archive is not written any more."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=WAIT_SECONDS)
                return True
        return False

    def _got(self) -> Iterator[_Start | bytes | Outcome]:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def write(self, archive: ArchiveWriter) -> Iterator[Outcome]:
        """Write what the worker made of the file; where that failed, read it here once more."""
        try:
            yield _write(archive, self._got())
        except (_ChangedError, _UnreadableError):
            yield _write_again(archive, self._name, self._member)


def _write_again(archive: ArchiveWriter, name: str, member: Member) -> Outcome:
    try:
        return _write(archive, _pieces(name, member, archive.password, last=True))
    except _UnreadableError as error:
        return Outcome(name, member, "missing", str(error))


def _write(archive: ArchiveWriter, pieces: Iterator[_Start | bytes | Outcome]) -> Outcome:
    start = cast(_Start, next(pieces))
    progress = Progress(f"Packing {start.info.filename}")  # of unknown length: what counts is deflated
    with archive.entry(start.info, start.size) as entry:
        piece = next(pieces)
        while not isinstance(piece, Outcome):
            entry.write(cast(bytes, piece))
            progress.advance(len(cast(bytes, piece)))
            piece = next(pieces)
        return piece


def _reason(error: OSError) -> str:
    """Say why a file cannot be read, without the path that the manifest names anyway."""
    words = {errno.ENOENT: "it vanished", errno.ELOOP: "it became a symbolic link"}
    return words.get(error.errno or 0) or error.strerror or str(error)
