"""GTIDs: which transactions a log has seen. MySQL keeps sets of them, MariaDB the last of each domain."""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from functools import lru_cache
from typing import Self
from uuid import UUID

_INTERVAL = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_SID = struct.Struct("<16sQ")  # of a Previous_gtids event: a source, and its number of intervals
_PAIR = struct.Struct("<QQ")  # an interval, its end excluded
_LAST = struct.Struct("<IIQ")  # of a Gtid_list event: domain, server, number
_UNTAGGED = 1 << 56  # from here on, the count of sources says that they have tags
_LIST_COUNT = (1 << 28) - 1  # the upper bits of a list's count are flags


class Gtids(ABC):
    """The transactions up to some place in a log."""

    @classmethod
    @abstractmethod
    def of_text(cls, text: str) -> Self:
        """Read what `str` returned, or what a server calls so.

        :raises ValueError: it is something else.
        """

    @classmethod
    @abstractmethod
    def of_event(cls, body: bytes) -> Self | None:
        """Read the event at the head of a log file; None where it is of a form that is not known.

        :raises ValueError: it is cut short.
        """

    @abstractmethod
    def lacks(self, other: Self) -> str:
        """Return the first transaction of others that is not among these; empty if none is."""

    def misses(self, other: Self) -> str:
        """Return the same, of each server by itself, as far as its transactions are known."""
        return self.lacks(other)

    def has(self, gtid: str) -> bool:
        """Return whether a transaction is among these; one without a GTID never is."""
        return bool(gtid) and not self.misses(self.of_text(gtid))

    def joined(self, other: Self) -> Self:
        """Return these and others."""
        return self.of_text(",".join(filter(None, (str(self), str(other)))))

    def state(self) -> str | None:
        """Return the last transaction of each domain and server; None where `str` says all."""
        return None

    def learn(self, other: Gtids) -> None:  # noqa: B027  # sets know all of themselves
        """Learn the last transactions of servers from what is known to come before these."""


@lru_cache(maxsize=64)
def uuid_of(source: bytes) -> str:
    """Return the bytes of a UUID as text."""
    return str(UUID(bytes=source))


class MySQLGtids(Gtids):
    """A set of GTIDs: intervals of numbers for each source, which may have a tag."""

    def __init__(self) -> None:
        self._intervals: dict[str, list[tuple[int, int]]] = {}  # ends excluded, in order, apart

    @classmethod
    def of_text(cls, text: str) -> Self:
        found = cls()
        for member in filter(None, re.split(r"[\s,]+", text)):
            source, *parts = member.lower().split(":")
            tag = ""
            for part in parts:
                if match := _INTERVAL.fullmatch(part):
                    first = int(match[1])
                    found._add(f"{UUID(source)}{tag}", first, int(match[2] or first) + 1)
                else:
                    tag = f":{part}"
        return found

    @classmethod
    def of_event(cls, body: bytes) -> Self | None:
        found = cls()
        try:
            (sources,) = struct.unpack_from("<Q", body)
            if sources >= _UNTAGGED:
                return None
            at = 8
            for _ in range(sources):
                source, count = _SID.unpack_from(body, at)
                at += _SID.size
                for _ in range(count):
                    found._add(uuid_of(source), *_PAIR.unpack_from(body, at))
                    at += _PAIR.size
        except struct.error as error:
            raise ValueError("cut short") from error
        return found

    def add(self, source: bytes, number: int) -> bool:
        """Add a transaction; return whether it was there already."""
        if self.holds(source, number):
            return True
        self._add(uuid_of(source), number, number + 1)
        return False

    def holds(self, source: bytes, number: int) -> bool:
        """Return whether a transaction is among these."""
        return self._holds(uuid_of(source), number, number + 1)

    def lacks(self, other: Self) -> str:
        for source, intervals in other._intervals.items():
            for first, end in intervals:
                if not self._holds(source, first, end):
                    return f"{source}:{first}-{end - 1}"
        return ""

    def _holds(self, source: str, first: int, end: int) -> bool:
        intervals = self._intervals.get(source, [])
        at = bisect_right(intervals, first, key=lambda interval: interval[0]) - 1
        return at >= 0 and end <= intervals[at][1]

    def _add(self, source: str, first: int, end: int) -> None:
        if not 0 < first < end:
            raise ValueError("an empty interval")
        intervals = self._intervals.setdefault(source, [])
        at = bisect_right(intervals, first, key=lambda interval: interval[0])
        if at and intervals[at - 1][1] >= first:  # nearly always: it continues the last one
            at -= 1
            first = intervals[at][0]
        until = at
        while until < len(intervals) and intervals[until][0] <= end:
            end = max(end, intervals[until][1])
            until += 1
        intervals[at:until] = [(first, end)]

    def __str__(self) -> str:
        return ",".join(
            ":".join((source, *(f"{first}-{end - 1}" if end - first > 1 else str(first) for first, end in intervals)))
            for source, intervals in sorted(self._intervals.items())
        )


class MariaDBGtids(Gtids):
    """The last GTID of each domain."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}  # server and number, by domain
        self._numbers: dict[tuple[int, int], int] = {}  # the last one by domain and server, as far as it is known
        self._learnt: dict[tuple[int, int], int] = {}  # the same, from elsewhere

    @classmethod
    def of_text(cls, text: str) -> Self:
        found = cls()
        for member in filter(None, re.split(r"[\s,]+", text)):
            domain, server, number = map(int, member.split("-"))
            found.add(domain, server, number)
        return found

    @classmethod
    def of_event(cls, body: bytes) -> Self | None:
        found = cls()
        try:
            (count,) = struct.unpack_from("<I", body)
            for index in range(count & _LIST_COUNT):
                domain, server, number = _LAST.unpack_from(body, 4 + index * _LAST.size)
                found.add(domain, server, number)  # of a domain's servers, that of the last transaction is last
        except struct.error as error:
            raise ValueError("cut short") from error
        return found

    def add(self, domain: int, server: int, number: int) -> bool:
        """Add a transaction; return whether one of its server was there already with that number or a later one."""
        known = self.holds(domain, server, number)
        self._last[domain] = server, number
        self._numbers[domain, server] = number
        return known

    def holds(self, domain: int, server: int, number: int) -> bool:
        """Return whether a transaction, or a later one of its server, is among these."""
        # Only of its server: where several write to a domain, their numbers need not be in order.
        return number <= self._numbers.get((domain, server), 0)

    def lacks(self, other: Self) -> str:
        for domain, (server, number) in other._last.items():
            if number > self._last.get(domain, (0, 0))[1]:
                return f"{domain}-{server}-{number}"
        return ""

    def misses(self, other: Self) -> str:
        known = self._all()
        for (domain, server), number in other._all().items():
            if number > known.get((domain, server), 0):
                return f"{domain}-{server}-{number}"
        return ""

    def state(self) -> str:
        last = {(domain, server) for domain, (server, _) in self._last.items()}
        # The last one of a domain comes last, so that `of_text` finds it.
        of_servers = sorted(self._all().items(), key=lambda each: (each[0][0], each[0] in last, each[0][1]))
        return ",".join(f"{domain}-{server}-{number}" for (domain, server), number in of_servers)

    def learn(self, other: Gtids) -> None:
        known = other._all() if isinstance(other, MariaDBGtids) else {}
        for place, number in known.items():
            self._learnt[place] = max(number, self._learnt.get(place, 0))

    def _all(self) -> dict[tuple[int, int], int]:
        places = self._learnt.keys() | self._numbers.keys()
        return {place: max(self._learnt.get(place, 0), self._numbers.get(place, 0)) for place in places}

    def __str__(self) -> str:
        return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self._last.items()))


def gtids_of(text: str) -> MySQLGtids | MariaDBGtids:
    """Read GTIDs of either family."""
    return MySQLGtids.of_text(text) if ":" in text else MariaDBGtids.of_text(text)
