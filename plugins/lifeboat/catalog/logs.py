"""Facts of archived binary logs: what each piece holds, and which chain it continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

from lifeboat.databases import LogFile
from lifeboat.support.formats import Format, Moment, Text


class _Fact(Format):
    __pydantic_config__ = ConfigDict(extra="ignore")  # manifests are kept indefinitely, later versions add facts


@dataclass(frozen=True)
class LogServer(_Fact):
    """The server that wrote a log.

    :param uid: which it made for itself, and keeps as long as its data.
    :param log_format: ``ROW``, ``MIXED`` or ``STATEMENT``.
    """

    family: Literal["mysql", "mariadb"]
    version: Text
    uid: Text
    server_id: int
    log_format: Text
    row_image: Text


@dataclass(frozen=True)
class LogPlace(_Fact):
    """A place in the logs of a server.

    :param end: position in the file.
    :param server: uid of the server that wrote it, where another one continues its log; else empty.
    """

    file: LogFile
    end: int
    server: Text = ""


@dataclass(frozen=True)
class LogEvents(_Fact):
    """Events of a log, and their bytes."""

    events: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class LogPiece(_Fact):
    """A piece of a log file: an entry of an archive, which the stock client reads as it is.

    :param entry: its name.
    :param created: when the server began the file, in seconds since 1970.
    :param start: position of its first event after the format event.
    :param end: position at which its last whole transaction ends.
    :param gtids_before: of all transactions before it; None where they are not known.
    :param gtids_after: of those and its own.
    :param first_commit: of its first transaction, in the order of the log.
    :param follows: where the piece before it ends; None for the first of a chain.
    :param schemas: whose changes it holds; None for all of the server.
    :param left_out: events of other schemas, and of users and grants, that it does not hold.
    :param untold: events of other schemas that it holds, and those of which nothing says whose they are.
    :param gtid_state: of MariaDB, the last GTID of each domain and server up to its end; None where that is not known.
    """

    entry: Text
    server: LogServer
    file: LogFile
    created: int
    start: int
    end: int
    gtids_before: Text | None
    gtids_after: Text | None
    transactions: int
    first_commit: Moment | None
    last_commit: Moment | None
    follows: LogPlace | None
    schemas: tuple[Text, ...] | None = None
    left_out: LogEvents = LogEvents()
    untold: LogEvents = LogEvents()
    gtid_state: Text | None = None

    def holds(self, schema: str) -> bool:
        """Return whether it holds all changes of a schema."""
        return self.schemas is None or schema in self.schemas


@dataclass(frozen=True)
class Chain(_Fact):
    """The place of an archive in a chain of logs without a gap.

    :param number: in the chain, from 1 on.
    :param previous: key of the one before it; empty for the first.
    :param reason: why the chain before this one ended; empty where there was none.
    """

    id: Text
    number: int
    previous: Text
    reason: Text = ""


@dataclass(frozen=True)
class Covers(_Fact):
    """The time that an archive of logs covers, by the servers' clocks: all transactions committed in it are there."""

    since: Moment
    until: Moment
