"""A text on its way into a gzip file of one member; parts of it can be deflated at the same time and joined.

A deflate stream that was flushed in full ends at a byte and refers to nothing before its begin, so another one can
follow it; CRCs are combined.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from isal import isal_zlib

from lifeboat.archive import CHUNK
from lifeboat.archive.entry import DEFLATE_LEVEL
from lifeboat.support.streams import Output

# Deflated, without a name or a time; whether it was compressed well, and where, is nobody's business.
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class _Deflate:
    """Deflates a text, and counts it.

    :param write: takes what is deflated.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self._compress = write, _compressor()
        self.size = self.crc = 0

    def write(self, chunk: bytes) -> None:
        self.crc = isal_zlib.crc32(chunk, self.crc)
        self.size += len(chunk)
        self._write(self._compress.compress(chunk))

    def flush(self, mode: int) -> None:
        """Write what was held back; after a full flush, more may follow."""
        self._write(self._compress.flush(mode))
        if mode == isal_zlib.Z_FULL_FLUSH:
            self._compress = _compressor()

    def count(self, size: int, crc: int) -> None:
        """Count what others deflated."""
        self.crc = isal_zlib.crc32_combine(self.crc, crc, size)
        self.size += size


class Part:
    """A part of a text, deflated into a file without a name until it is appended."""

    def __init__(self, folder: Path) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed when it is appended, or with the text
        self._deflate = _Deflate(self.file.write)

    @property
    def size(self) -> int:
        """Bytes of its text so far."""
        return self._deflate.size

    @property
    def crc(self) -> int:
        """CRC-32 of its text so far."""
        return self._deflate.crc

    def write(self, chunk: bytes) -> None:
        """Append to the part."""
        self._deflate.write(chunk)

    def end(self) -> None:
        """Write what was held back: the part is complete."""
        self._deflate.flush(isal_zlib.Z_FULL_FLUSH)


class DeflatedText:
    """A text that is deflated into a gzip file; must be closed.

    :param folder: for the parts.
    """

    def __init__(self, out: Output, folder: Path) -> None:
        self._out, self._folder = out, folder
        self._parts: list[Part] = []
        self._deflate = _Deflate(self._store)
        self.stored = 0
        self._store(HEADER)

    def write(self, chunk: bytes) -> None:
        """Append to the text."""
        self._deflate.write(chunk)

    def part(self) -> Part:
        """Return a part to be written by another thread."""
        self._parts.append(Part(self._folder))
        return self._parts[-1]

    def append(self, part: Part, see: Callable[[bytes], object]) -> None:
        """Append a part, which ends there.

        :param see: takes its text.
        """
        part.end()
        self._deflate.flush(isal_zlib.Z_FULL_FLUSH)
        inflate = isal_zlib.decompressobj(-zlib.MAX_WBITS)
        with part.file as file:
            file.seek(0)
            while block := file.read(CHUNK):
                self._store(block)
                see(inflate.decompress(block))
        self._deflate.count(part.size, part.crc)

    def end(self) -> None:
        """End the file."""
        self._deflate.flush(isal_zlib.Z_FINISH)
        self._store(struct.pack("<II", self._deflate.crc, self._deflate.size & 0xFFFFFFFF))

    def close(self) -> None:
        """Forget the parts that were not appended."""
        for part in self._parts:
            part.file.close()

    def _store(self, data: bytes) -> None:
        self.stored += len(data)
        self._out.write(data)


def _compressor() -> isal_zlib.Compress:
    return isal_zlib.compressobj(DEFLATE_LEVEL, isal_zlib.DEFLATED, -zlib.MAX_WBITS)
