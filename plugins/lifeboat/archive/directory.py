"""The directory at the end of a ZIP file, read in pieces: nobody vouches for it, and it may list millions of files."""

from __future__ import annotations

import io
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from pyzipper import BadZipFile
from pyzipper.zipfile import MAX_EXTRACT_VERSION, _EndRecData
from pyzipper.zipfile_aes import AESZipInfo

from lifeboat.archive import CHUNK
from lifeboat.archive.entry import UTF8_NAME

RECORD = struct.Struct("<4s24xHHH12x")  # signature, lengths of name, extra fields and comment
WHOLE_RECORD = struct.Struct("<4x4B4HL2L5H2L")  # all of it but the signature
SIGNATURE = b"PK\x01\x02"
OF_END = (5, 6, 9)  # where pyzipper puts the directory's size and offset, and the place of its end
END64_BYTES = 76  # of the records of ZIP64 before the end
MOST_ENTRIES = 250_000  # take 40 MB of memory
LONGEST = 64 << 20  # bytes
SIGNATURE64 = b"PK\x06\x06"


class Directory(NamedTuple):
    """The position of a directory, and what was read of it.

    :param start: its place in the file.
    :param size: in bytes.
    :param shift: what is added to the offsets that it tells: bytes before the archive.
    :param entries: how many it lists.
    :param record: of the last entry of the name that was looked for; empty where there is none.
    :param content: all of it, unless it is long.
    """

    start: int
    size: int
    shift: int
    entries: int
    record: bytes
    content: bytes

    @property
    def is_long(self) -> bool:
        """Return whether it takes more memory than nobody's word is worth."""
        return self.entries > MOST_ENTRIES or self.size > LONGEST


class Entries:
    """The entries that a directory lists. Each is parsed whenever it is asked for: that takes time, not memory.

    :param records: the directory.
    :param shift: added to the offsets in it.
    :raises BadZipFile: a record is damaged; others of `read.DAMAGE`, too.
    """

    def __init__(self, records: bytes, shift: int) -> None:
        self._records, self._shift = records, shift
        self._starts, self._offsets, self._stored = array("Q"), array("Q"), array("Q")
        hashes = array("q")
        self.content_bytes = start = 0
        while start < len(records):
            self._starts.append(start)
            info = self._info(start)
            self._offsets.append(info.header_offset)
            self._stored.append(info.compress_size)
            self.content_bytes += info.file_size
            hashes.append(hash(info.filename))
            start += RECORD.size + sum(RECORD.unpack_from(records, start)[1:])
        self._by_offset = array("L", sorted(range(len(self)), key=self._offsets.__getitem__))
        self._by_hash = array("L", sorted(range(len(self)), key=hashes.__getitem__))
        self._hashes = array("q", map(hashes.__getitem__, self._by_hash))

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Any]:
        """Yield them as the directory lists them."""
        return map(self._info, self._starts)

    def names(self) -> Iterator[str]:
        """Yield the names as the directory lists them."""
        return map(self._name, self._starts)

    def in_order(self) -> Iterator[Any]:
        """Yield them as the file holds them."""
        return (self._info(self._starts[number]) for number in self._by_offset)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __getitem__(self, name: str) -> Any:
        """Return an entry, the last one of its name.

        :raises KeyError: there is none.
        """
        start = self._find(name)
        if start is None:
            raise KeyError(name)
        return self._info(start)

    @property
    def has_twins(self) -> bool:
        """Return whether two entries have the same name."""
        return any(
            self._find(self._name(start)) != start
            for place, start in enumerate(self._starts[number] for number in self._by_hash)
            if place + 1 < len(self) and self._hashes[place] == self._hashes[place + 1]
        )

    @property
    def overlapping(self) -> str | None:
        """Return the name of the first entry that shares its bytes with another; None where there is none."""
        ends = 0
        for number in self._by_offset:
            if self._offsets[number] < ends:
                return self._name(self._starts[number])
            ends = self._offsets[number] + self._stored[number]
        return None

    def _find(self, name: str) -> int | None:
        """Return where the record of an entry begins, the last one of that name."""
        wanted = hash(name)
        place = bisect_right(self._hashes, wanted) - 1
        while place >= 0 and self._hashes[place] == wanted:
            start = self._starts[self._by_hash[place]]
            if self._name(start) == name:
                return start
            place -= 1
        return None

    def _name(self, start: int) -> str:
        """Return the name in a record; bytes without the UTF-8 mark stay as they were, not letters of an old PC."""
        fields = WHOLE_RECORD.unpack_from(self._records, start)
        begin = start + RECORD.size
        name = self._records[begin : begin + fields[11]]
        return name.decode() if fields[4] & UTF8_NAME else name.decode("utf-8", "surrogateescape")

    def _info(self, start: int) -> Any:
        """Return what a record says, as pyzipper would."""
        if self._records[start : start + len(SIGNATURE)] != SIGNATURE:
            raise BadZipFile("Bad magic number for central directory")
        fields = WHOLE_RECORD.unpack_from(self._records, start)
        length, extra = fields[11:13]
        begin = start + RECORD.size + length
        info = AESZipInfo()
        info.filename = self._name(start)
        # As pyzipper compares it with the name at the content; as its own `filename`, it would end at a NUL.
        info.orig_filename = self._records[begin - length : begin].decode("utf-8" if fields[4] & UTF8_NAME else "cp437")
        info.extra = self._records[begin : begin + extra]
        info.create_version, info.create_system, info.extract_version, info.reserved = fields[:4]
        info.flag_bits, info.compress_type, time, day, info.CRC, info.compress_size, info.file_size = fields[4:11]
        info.external_attr, info.header_offset = fields[16:]
        if info.extract_version > MAX_EXTRACT_VERSION:
            raise NotImplementedError(f"zip file version {info.extract_version / 10:.1f}")
        info._raw_time = time
        info.date_time = ((day >> 9) + 1980, day >> 5 & 15, day & 31, time >> 11, time >> 5 & 63, (time & 31) * 2)
        info._decodeExtra()
        info.header_offset += self._shift
        return info


def scan(file: BinaryIO, name: bytes) -> Directory:
    """Read a directory once, in pieces, and keep one record of it.

    :raises BadZipFile: there is none, or it is damaged.
    """
    end = _EndRecData(file)
    if not end:
        raise BadZipFile("File is not a zip file")
    size, offset, place = (end[each] for each in OF_END)
    shift = place - size - offset - (END64_BYTES if end[0] == SIGNATURE64 else 0)
    if shift + offset < 0:
        raise BadZipFile("its directory begins before the file does")
    file.seek(shift + offset)
    kept = io.BytesIO()
    count, found, waiting, left = 0, b"", b"", size
    while left or waiting:
        piece = file.read(min(left, CHUNK))
        left -= len(piece)
        waiting += piece
        if size <= LONGEST:
            kept.write(piece)
        start = 0
        while (record := _record(waiting, start)) is not None:
            if waiting.startswith(name, start + RECORD.size) and waiting[start + 28 : start + 30] == _length(name):
                found = record
            start += len(record)
            count += 1
        waiting = waiting[start:]
        if not piece and waiting:
            raise BadZipFile("Truncated central directory")
    return Directory(shift + offset, size, shift, count, found, kept.getvalue())


def _length(name: bytes) -> bytes:
    return struct.pack("<H", len(name))


def _record(data: bytes, start: int) -> bytes | None:
    """Return the record that begins there; None where it does not end in these bytes."""
    if len(data) < start + RECORD.size:
        return None
    signature, *lengths = RECORD.unpack_from(data, start)
    if signature != SIGNATURE:
        raise BadZipFile("Bad magic number for central directory")
    end = start + RECORD.size + sum(lengths)
    return data[start:end] if len(data) >= end else None
