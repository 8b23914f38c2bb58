"""Write an archive: what was compressed once is only encrypted here, never inflated again."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pyzipper import WZ_AES, ZIP_DEFLATED
from pyzipper.zipfile import _ZipWriteFile
from pyzipper.zipfile_aes import AESZipEncrypter, AESZipFile, AESZipInfo

from lifeboat.archive import CHUNK
from lifeboat.errors import ArchiveError

GZIP_HEADER = 10  # bytes; our own dumps carry no name and no comment
GZIP_TRAILER = 8
FILE_MODE = 0o100600


class _Encrypter(AESZipEncrypter):  # type: ignore[misc]  # pyzipper carries no types
    """Encrypts into one buffer for all blocks: a new block each time costs more than the cipher does."""

    def __init__(self, pwd: bytes) -> None:
        super().__init__(pwd, nbits=256)
        self._buffer = memoryview(bytearray(CHUNK))

    def encrypt(self, data: bytes) -> memoryview | bytes:
        if not data:  # what pyzipper's close() asks for, to append the HMAC to
            return b""
        block = self._buffer[: len(data)]
        self.encrypter.encrypt(data, output=block)
        self.hmac.update(block)
        return block


class _DeflatedEntry(_ZipWriteFile):  # type: ignore[misc]
    """An entry whose content comes deflated, with its size and CRC known."""

    def __init__(self, zf: _Zip, zinfo: Any, zip64: bool, encrypter: _Encrypter | None = None) -> None:
        super().__init__(zf, zinfo, zip64, encrypter)
        self._compressor = None

    def write(self, deflated: bytes) -> int:
        data = self._encrypter.encrypt(deflated) if self._encrypter else deflated
        self._compress_size += len(data)
        self._fileobj.write(data)
        return len(deflated)

    def write_bytes(self, content: bytes) -> None:
        """Write a small content whole, deflating it here."""
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        for start in range(0, len(content), CHUNK):
            self._write_blocks(compressor.compress(content[start : start + CHUNK]))
        self._write_blocks(compressor.flush())
        self.declare(len(content), zlib.crc32(content))

    def _write_blocks(self, deflated: bytes) -> None:
        for start in range(0, len(deflated), CHUNK):
            self.write(deflated[start : start + CHUNK])

    def declare(self, size: int, crc: int) -> None:
        """Say what the deflated data inflates to."""
        self._file_size, self._crc = size, crc

    def abandon(self) -> None:
        """Close without finishing: otherwise the garbage collector would finish the entry, in a closed file."""
        io.BufferedIOBase.close(self)


class _Zip(AESZipFile):  # type: ignore[misc]
    zipwritefile_cls = _DeflatedEntry

    def get_encrypter(self) -> _Encrypter:
        return _Encrypter(self.pwd)


class ArchiveWriter:
    """A new archive; entries appear in the order in which they are added.

    :param path: file to write; an earlier one of that name is replaced.
    :param password: encrypts every entry; None writes a plain ZIP.
    """

    def __init__(self, path: Path, password: str | None) -> None:
        self._zip = _Zip(path, "w", encryption=WZ_AES if password is not None else None)
        if password is not None:
            if not password:
                raise ArchiveError("The archive password is empty.")
            self._zip.setpassword(password.encode())

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._zip.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Close the file without a directory: what failed midway must not look like an archive."""
        file, self._zip.fp = self._zip.fp, None
        if file:
            file.close()

    def add_gzip(self, name: str, source: Path, *, size: int, modified: datetime) -> None:
        """Move the deflate stream of a gzip file into a new entry as it is.

        :param source: a gzip file of one member, as a dump is staged.
        :param size: length of the inflated content in bytes.
        :raises ArchiveError: `source` is not such a file.
        """
        with source.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - GZIP_HEADER - GZIP_TRAILER
            if left <= 0 or file.read(GZIP_HEADER)[:4] != b"\x1f\x8b\x08\x00":
                raise ArchiveError(f"{source} is not a gzip file as dumps are staged.")
            with self._entry(name, modified, size) as entry:
                while left > 0:
                    block = file.read(min(left, CHUNK))
                    if not block:
                        raise ArchiveError(f"{source} became shorter while it was read.")
                    left -= len(block)
                    entry.write(block)
                crc, size_modulo = struct.unpack("<II", file.read(GZIP_TRAILER))
                if size_modulo != size & 0xFFFFFFFF:
                    raise ArchiveError(f"{source} holds {size_modulo} bytes modulo 2^32, not the {size} it should.")
                entry.declare(size, crc)

    def add_bytes(self, name: str, content: bytes, *, modified: datetime) -> None:
        """Add a small content."""
        with self._entry(name, modified, len(content)) as entry:
            entry.write_bytes(content)

    @contextlib.contextmanager
    def _entry(self, name: str, modified: datetime, size: int) -> Iterator[_DeflatedEntry]:
        info = AESZipInfo(name, date_time=modified.timetuple()[:6])
        info.compress_type = ZIP_DEFLATED
        info.external_attr = FILE_MODE << 16
        info.create_system = 3  # Unix, so that the mode counts
        info.file_size = size
        entry = cast(_DeflatedEntry, self._zip.open(info, "w"))
        try:
            yield entry
        except BaseException:
            entry.abandon()
            raise
        entry.close()
