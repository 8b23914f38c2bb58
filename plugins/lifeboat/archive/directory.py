"""The directory at the end of a ZIP file, read in pieces: nobody vouches for it, and it may list millions of files."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

from pyzipper import BadZipFile
from pyzipper.zipfile import _EndRecData

from lifeboat.archive import CHUNK

RECORD = struct.Struct("<4s24xHHH12x")  # signature, lengths of name, extra fields and comment
SIGNATURE = b"PK\x01\x02"
END = struct.Struct("<4s4H2LH")
OF_END = (5, 6, 9)  # where pyzipper puts the directory's size and offset, and the place of its end
END64_BYTES = 76  # of the records of ZIP64 before the end
MOST_ENTRIES = 250_000  # take 190 MB of memory
LONGEST = 64 << 20  # bytes
SIGNATURE64 = b"PK\x06\x06"


class Directory(NamedTuple):
    """The position of a directory, and what was read of it.

    :param size: in bytes.
    :param shift: what is added to the offsets that it tells: bytes before the archive.
    :param entries: how many it lists.
    :param record: of the last entry of the name that was looked for; empty where there is none.
    :param content: all of it, unless it is long.
    """

    size: int
    shift: int
    entries: int
    record: bytes
    content: bytes

    @property
    def is_long(self) -> bool:
        """Return whether it takes more memory than nobody's word is worth."""
        return self.entries > MOST_ENTRIES or self.size > LONGEST


def as_file(records: bytes) -> bytes:
    """Return a ZIP file that is nothing but a directory."""
    return records + END.pack(b"PK\x05\x06", 0, 0, 0, 0, len(records), 0, 0)


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
    return Directory(size, shift, count, found, kept.getvalue())


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
