"""Binary logs as frames: where each transaction ends, and that every byte is as the server wrote it.

A log file is a magic number and events. Each event has a head of 19 bytes, with its length, and usually a CRC at its
end. Nothing here looks at rows, and of statements only at the words that begin and end a transaction. What is refused
is named by its position and kind, never by its contents.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from isal import isal_zlib

from lifeboat.databases.mysql.gtids import Gtids, MariaDBGtids, MySQLGtids
from lifeboat.errors import LogError

MAGIC = b"\xfebin"
FIRST = len(MAGIC)  # position of the first event
CRC_BYTES = 4
LONGEST_EVENT = (1 << 30) + (1 << 20)  # a packet of the server's largest size, and what is around it
LAST_POSITION = 1 << 32  # positions have 32 bits

QUERY, ROTATE, FORMAT, XID, INCIDENT = 2, 4, 15, 16, 26
GTID, ANONYMOUS, PREVIOUS_GTIDS, XA_PREPARE, PAYLOAD, TAGGED = 33, 34, 35, 38, 40, 42  # of MySQL
MARIADB_GTID, GTID_LIST, COMPRESSED_QUERY = 162, 163, 165

HEAD = struct.Struct("<IBIIIH")
_FLAGS = 17  # where a head's flags are
_IN_USE = 0x01  # a flag of the format event, without which its CRC is made
_FORMAT = struct.Struct("<H50sIB")
_QUERY = struct.Struct("<8xBxxH")
_GTID = struct.Struct("<B16sQ17x")  # flags, source, number; type and clocks of a replica's threads
_MARIADB_GTID = struct.Struct("<QIB")
_STANDALONE = 0x01  # a flag of MariaDB's GTID event: one statement, without COMMIT
_MICROSECONDS = (1 << 55) - 1
_NO_CRC, _CRC32 = 0, 1
_OPENING = frozenset({GTID, ANONYMOUS, TAGGED, MARIADB_GTID})
_KEPT = frozenset({FORMAT, QUERY, GTID, PREVIOUS_GTIDS, MARIADB_GTID, GTID_LIST})  # whose bodies are looked at
_MOST_KEPT = 4 << 20  # bytes of a body; longer lists of GTIDs are not known
_TAIL = 32  # bytes at the end of a statement


class UnreadableLogError(LogError):
    """A log of a form that is not known here, or damaged on the server: fetched again, it is the same."""


class Transactions(NamedTuple):
    """The transactions that a log holds, as far as they are whole.

    :param number: of them.
    :param first_commit: of the first one, in the order of the log; None where there is none.
    """

    number: int = 0
    first_commit: datetime | None = None
    last_commit: datetime | None = None


class _Head(NamedTuple):
    """The head of an event.

    :param time: in seconds since 1970.
    :param size: of the whole event in bytes.
    :param end: position after it; 0 where it says none.
    """

    time: int
    kind: int
    server: int
    size: int
    end: int
    flags: int


class Event(NamedTuple):
    """A whole event of a log, whose checksum is right.

    :param time: in seconds since 1970.
    :param server: number of the server that wrote it.
    :param start: its position.
    :param end: position behind it.
    :param body: without head and checksum.
    :param opens: whether it is the first of a transaction.
    :param ends: whether it is the last of one.
    """

    kind: int
    time: int
    server: int
    flags: int
    start: int
    end: int
    body: bytes
    opens: bool = False
    ends: bool = False


class Walk:
    """Walks the events of a piece of a log file as its bytes come.

    A piece is what the stock client fetches: the magic number, the file's format event, then events from a position on.

    :param file: its name, for messages.
    :param start: the position from which on it was fetched.
    :param gtids: of all transactions before `start`, as text; None where they are not known.
    :param state: the last of each domain and server among them, as far as it is known.
    :param see: takes each event whole; without it, most bodies are never in memory.
    :param left_out: bytes of events that its transactions lack.
    """

    def __init__(
        self,
        file: str,
        start: int,
        gtids: str | None,
        see: Callable[[Event], object] | None = None,
        *,
        left_out: int = 0,
        state: str | None = None,
    ) -> None:
        self.file = file
        self._see = see
        self._left_out = left_out  # bytes that are still to come to light
        self.position = start
        self.whole = start
        """Position at which the last whole transaction ends."""
        self.whole_bytes = 0
        """Bytes of the piece before that."""
        self.transactions = Transactions()
        self.created = 0
        """When the file was begun, in seconds since 1970: a file of the same name that another began differs."""
        self.broken = ""
        """Why this does not continue what was before it; empty where nothing says so."""
        self.gtids: Gtids | None = None
        self.before: Gtids | None = None
        """All transactions before the file, as its head says; None where it does not."""
        self._text, self._state = gtids, state
        self._start = start
        self._rest = b""
        self._passed = 0  # bytes
        self._crc_bytes = CRC_BYTES  # the format event always has one
        self._is_mariadb = False
        self._seen_format = False
        self._open = False  # whether a transaction is
        self._alone = False  # whether it is one statement
        self._begun = False  # whether its first statement has passed
        self._add: Callable[[], bool] | None = None  # adds its GTID: the server gives it again if this is cut short
        self._committed = 0  # microseconds since 1970, as its GTID event says
        self._event = _Head(0, 0, 0, 0, 0, 0)
        self._within = False  # an event
        self._left = 0  # bytes of the body
        self._crc = 0
        self._body = bytearray()
        self._tail = b""
        self._trailer = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises LogError: they are not a binary log, or not as the server wrote them.
        """
        view = memoryview(self._rest + chunk)
        at = 0
        if not self._passed and len(view) >= FIRST:
            if view[:FIRST] != MAGIC:
                raise self._refusal("this is not a binary log")
            at = self._passed = FIRST
        while self._passed:
            if not self._within:
                if len(view) - at < HEAD.size:
                    break
                self._begin(bytes(view[at : at + HEAD.size]))
                at += HEAD.size
            taken = min(self._left, len(view) - at)
            self._take(view[at : at + taken])
            at += taken
            if self._left:
                break
            self._finish()
        self._rest = bytes(view[at:])

    def end(self) -> None:
        """Take the end of the piece.

        :raises LogError: it ends within an event, or before the first one ends.
        """
        if self._rest or self._within or not self._seen_format:
            raise LogError(self._refused("the log is cut short within an event"))  # maybe on its way
        if self._left_out:
            raise self._refusal(f"{self._left_out} bytes of events are said to be left out, and are not")

    def _begin(self, head: bytes) -> None:
        self._event = _Head(*HEAD.unpack(head))
        kind, size = self._event.kind, self._event.size
        if not HEAD.size + self._crc_bytes <= size <= LONGEST_EVENT:
            raise self._refusal(f"an event of kind {kind} cannot be {size} bytes long")
        if (kind == FORMAT) == self._seen_format:
            raise self._refusal("a log begins with its format event" if kind != FORMAT else "a second format event")
        if kind == FORMAT:
            head = head[:_FLAGS] + struct.pack("<H", self._event.flags & ~_IN_USE)
        self._within = True
        self._left = size - HEAD.size
        self._crc = isal_zlib.crc32(head)
        self._body.clear()
        self._tail = self._trailer = b""

    def _take(self, piece: memoryview) -> None:
        data = piece[: max(0, self._left - self._crc_bytes)]
        self._crc = isal_zlib.crc32(data, self._crc)
        if self._see:
            self._body += data
        elif self._event.kind in _KEPT:
            self._body += data[: _MOST_KEPT - len(self._body)]
        if self._event.kind in _KEPT:
            self._tail = (self._tail + bytes(data[-_TAIL:]))[-_TAIL:]
        self._trailer += bytes(piece[len(data) :])
        self._left -= len(piece)

    def _finish(self) -> None:
        kind, size = self._event.kind, self._event.size
        if kind == FORMAT:
            self._read_format()
        if self._crc_bytes and int.from_bytes(self._trailer, "little") != self._crc:
            raise self._refusal(f"an event of kind {kind} has a wrong checksum")
        was_open, body = self._open, bytes(self._body)
        try:
            self._look(kind, body)
        except (struct.error, ValueError) as error:
            raise self._refusal(f"an event of kind {kind} is malformed") from error
        self._within = False
        self._passed += size
        if kind != FORMAT or self._start == FIRST:  # of a later piece, it is the copy of another place
            self.position += size
            if was_open:
                self._pass_gap()
            # Some servers leave the position of an event within a transaction open.
            if self._event.end not in (0, self.position % LAST_POSITION):
                raise self._refusal(f"an event of kind {kind} says that it is elsewhere")
            if self.position >= LAST_POSITION:
                raise self._refusal("the file is longer than positions can say: set max_binlog_size lower")
        if not self._open:
            self.whole, self.whole_bytes = self.position, self._passed
        if self._see:
            opens, ends = self._open and not was_open, was_open and not self._open
            head = self._event
            start = self.position - size if self.position > self._start else self._start
            self._see(Event(kind, head.time, head.server, head.flags, start, self.position, body, opens, ends))

    def _pass_gap(self) -> None:
        """Pass the place of events that its transaction lacks before this one."""
        gap = self._event.end - self.position
        if self._event.end and 0 < gap <= self._left_out:
            self.position += gap
            self._left_out -= gap

    def _look(self, kind: int, body: bytes) -> None:
        """Look at what an event says of transactions."""
        if kind in _OPENING:
            self._open_transaction(kind, body)
        elif kind in (PREVIOUS_GTIDS, GTID_LIST):
            self._compare(body)
        elif self._open and self._ends(kind, body):
            self._close_transaction()
        if kind == INCIDENT:
            self.broken = self.broken or f"the server noted in {self.file} that it may have lost transactions"

    def _read_format(self) -> None:
        body = bytes(self._body)
        if len(body) <= _FORMAT.size:
            raise self._refusal("its format event is malformed")
        version, server, _, head = _FORMAT.unpack_from(body)
        if (version, head) != (4, HEAD.size):
            raise self._refusal(f"a log of version {version} is not known")
        self._is_mariadb = b"MariaDB" in server
        if body[-1] not in (_NO_CRC, _CRC32):
            raise self._refusal(f"checksums of kind {body[-1]} are not known")
        self._crc_bytes = CRC_BYTES if body[-1] == _CRC32 else 0
        self._seen_format = True
        self.created = self._event.time
        family = MariaDBGtids if self._is_mariadb else MySQLGtids
        self.gtids = None if self._text is None else family.of_text(self._text)
        if self.gtids is not None and self._state:
            self.gtids.learn(family.of_text(self._state))

    def _compare(self, body: bytes) -> None:
        """Compare what the server had executed when it began the file with what is known to come before it."""
        family = MariaDBGtids if self._is_mariadb else MySQLGtids
        known = self._event.size - HEAD.size - self._crc_bytes == len(body)
        self.before = family.of_event(body) if known else None
        if self.gtids is not None and self.before is not None and (missing := self.gtids.lacks(self.before)):
            self.broken = self.broken or f"transactions up to {missing} are missing before {self.file}"
        if self.gtids is None and self.before is not None:
            self.gtids = family.of_event(body)  # which what follows is added to
        elif self.gtids is not None and self.before is not None:
            self.gtids.learn(self.before)

    def _open_transaction(self, kind: int, body: bytes) -> None:
        if self._open:
            raise ValueError("a transaction in another")
        self._add, self._committed, self._alone = None, 0, False
        if kind == MARIADB_GTID:
            number, domain, flags = _MARIADB_GTID.unpack_from(body)
            self._alone = bool(flags & _STANDALONE)
            if isinstance(self.gtids, MariaDBGtids):
                self._add = partial(self.gtids.add, domain, self._event.server, number)
        elif kind == GTID:
            _, source, number = _GTID.unpack_from(body)
            self._committed = int.from_bytes(body[_GTID.size : _GTID.size + 7], "little") & _MICROSECONDS
            if isinstance(self.gtids, MySQLGtids):
                self._add = partial(self.gtids.add, source, number)
        elif kind == TAGGED:
            self.gtids = None  # until the next file tells
        self._open, self._begun = True, False

    def _ends(self, kind: int, body: bytes) -> bool:
        """Return whether an event is the last one of its transaction."""
        if kind in (XID, XA_PREPARE, PAYLOAD, INCIDENT):
            return True
        if kind not in (QUERY, COMPRESSED_QUERY):
            return False
        first, self._begun = not self._begun, True
        if kind == COMPRESSED_QUERY:
            return self._alone
        database, variables = _QUERY.unpack_from(body)
        text = body[_QUERY.size + variables + database + 1 :]
        if text in (b"COMMIT", b"ROLLBACK") or text.startswith((b"XA COMMIT", b"XA ROLLBACK")):
            return True
        if self._is_mariadb:
            return self._alone
        return first and not opens_transaction(text, self._tail)

    def _close_transaction(self) -> None:
        self._open = False
        if self._add and self._add():
            self.broken = self.broken or f"a transaction in {self.file} has the GTID of an earlier one"
        since = timedelta(microseconds=self._committed) if self._committed else timedelta(seconds=self._event.time)
        at = datetime.fromtimestamp(0, UTC) + since
        number, first, _ = self.transactions
        self.transactions = Transactions(number + 1, first or at, at)

    def _refusal(self, reason: str) -> UnreadableLogError:
        return UnreadableLogError(self._refused(reason))

    def _refused(self, reason: str) -> str:
        return f"Binary log {self.file} cannot be read at position {self.position}: {reason}."


def opens_transaction(text: bytes, tail: bytes) -> bool:
    """Return whether more events of its transaction follow a first statement of MySQL.

    :param text: its begin.
    :param tail: its end.
    """
    text = text.strip()
    if text in (b"BEGIN", b"START TRANSACTION") or text.startswith(b"XA START"):
        return True
    # CREATE TABLE ... SELECT is a statement that rows and a commit follow.
    return text.startswith(b"CREATE TABLE") and tail.endswith(b"START TRANSACTION")


def is_standalone(body: bytes) -> bool:
    """Return whether a GTID event of MariaDB opens a transaction of one statement."""
    return bool(_MARIADB_GTID.unpack_from(body)[2] & _STANDALONE)


def gtids_before(chunks: Iterable[bytes], file: str) -> Gtids | None:
    """Return what a server had executed when it began a file, as its head says; None if it does not.

    :param chunks: the file from its begin on; only what is needed is taken.
    :raises LogError: it cannot be fetched.
    """
    walk = Walk(file, FIRST, None)
    with contextlib.suppress(UnreadableLogError):
        for chunk in chunks:
            walk.feed(chunk)
            if walk.before is not None or walk.transactions.number:
                break
    return walk.before


def gtids_at(chunks: Iterable[bytes], file: str, position: int) -> Gtids | None:
    """Return the GTIDs of all transactions before a position in a log, as the log itself says; None if it does not.

    What a server says of the end of its log and of its GTIDs need not belong together while others write.

    :param chunks: the file from its begin on; only what is needed is taken.
    :raises LogError: it is cut short.
    """
    walk, left = Walk(file, FIRST, None), position
    try:
        for chunk in chunks:
            walk.feed(chunk[:left])
            left -= len(chunk[:left])
            if not left:
                break
    except UnreadableLogError:
        return None
    walk.end()
    return None if left else walk.gtids
