"""Write an archive: what was compressed once is only encrypted here, never inflated again."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pyzipper import ZIP_DEFLATED
from pyzipper.zipfile import ZIP64_LIMIT
from pyzipper.zipfile_aes import AESZipFile

from lifeboat.archive import CHUNK
from lifeboat.archive.encryption import Encrypter
from lifeboat.archive.entry import EntryInfo, PackedEntry, Payload
from lifeboat.errors import ArchiveError

GZIP_HEADER = 10  # bytes; our own dumps carry no name and no comment
GZIP_TRAILER = 8
FILE_MODE = stat.S_IFREG | 0o600
GROWTH = 1.05  # incompressible data grows a little when it is deflated


@dataclass(frozen=True)
class _Rendered:
    """A piece of the central directory, in the place where pyzipper expects an entry to ask for it."""

    piece: bytes
    comment: bytes = b""

    def central_directory(self) -> tuple[bytes, bytes, bytes]:
        return self.piece, b"", b""


class _Directory:
    """The entries written so far, kept in a file: a million of them would not fit into a worker's memory."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed with the archive
        self._count = 0

    def append(self, info: EntryInfo) -> None:
        self._file.write(b"".join(info.central_directory()))
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_Rendered]:
        self._file.seek(0)
        while piece := self._file.read(CHUNK):
            yield _Rendered(piece)

    def close(self) -> None:
        self._file.close()


class _Zip(AESZipFile):  # type: ignore[misc]
    """Takes entries whose content was deflated and encrypted by somebody else."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.filelist = _Directory(path.parent)

    def begin(self, info: EntryInfo, zip64: bool) -> None:
        """Write the header of an entry; its payload follows at the file's position."""
        info.header_offset = self.start_dir
        self._didModify = True
        self.fp.write(info.FileHeader(zip64))

    def end(self, info: EntryInfo) -> None:
        """Take an entry into the directory, its payload written."""
        self.start_dir = self.fp.tell()
        self.filelist.append(info)

    def rewrite_header(self, info: EntryInfo, zip64: bool) -> None:
        """Write the header again, once sizes and CRC are known."""
        self.start_dir = self.fp.tell()
        self.fp.seek(info.header_offset)
        self.fp.write(info.FileHeader(zip64))
        self.fp.seek(self.start_dir)

    def take_back(self, info: EntryInfo) -> None:
        """Forget an entry that was begun."""
        self.fp.seek(info.header_offset)
        self.fp.truncate()
        self.start_dir = info.header_offset


class OpenEntry:
    """An entry being written."""

    def __init__(self, archive: Any, info: EntryInfo) -> None:
        self._file, self._info = archive.fp, info

    def write(self, payload: bytes | memoryview) -> None:
        """Append what was deflated and encrypted."""
        self._file.write(payload)
        self._info.compress_size += len(payload)


class ArchiveWriter:
    """A new archive; entries appear in the order in which they are added.

    :param path: file to write; an earlier one of that name is replaced.
    :param password: encrypts every entry; None writes a plain ZIP.
    """

    def __init__(self, path: Path, password: str | None) -> None:
        if password == "":
            raise ArchiveError("The archive password is empty.")
        self.password = None if password is None else password.encode()
        self._zip = _Zip(path)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._zip.close()
            else:
                self._abandon()
        finally:
            self._zip.filelist.close()

    def _abandon(self) -> None:
        """Close the file without a directory: what failed midway must not look like an archive."""
        file, self._zip.fp = self._zip.fp, None
        if file:
            file.close()

    def add(self, entry: PackedEntry) -> None:
        """Write a small entry."""
        self._zip.begin(entry.info, zip64=False)
        self._zip.fp.write(entry.payload)
        self._zip.end(entry.info)

    @contextlib.contextmanager
    def entry(self, info: EntryInfo, size: int) -> Iterator[OpenEntry]:
        """Write an entry piece by piece; when the block fails, the archive is as it was before.

        The block sets CRC and size of `info`.

        :param size: of the content in bytes, at most.
        """
        zip64 = size * GROWTH > ZIP64_LIMIT
        self._zip.begin(info, zip64)
        try:
            yield OpenEntry(self._zip, info)
            self._zip.rewrite_header(info, zip64)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk; the failure that led here is the one to report
                self._zip.take_back(info)
            raise
        self._zip.end(info)

    def add_gzip(self, name: str, source: Path, *, size: int, modified: datetime) -> None:
        """Move the deflate stream of a gzip file into a new entry as it is.

        :param source: a gzip file of one member, as a dump is staged.
        :param size: length of the inflated content in bytes.
        :raises ArchiveError: `source` is not such a file.
        """
        info = EntryInfo(name, FILE_MODE, _nanoseconds(modified))
        info.compress_type = ZIP_DEFLATED
        encrypter = None if self.password is None else Encrypter(self.password)
        if encrypter:
            info.encrypt_with(encrypter)
        with source.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - GZIP_HEADER - GZIP_TRAILER
            if left <= 0 or file.read(GZIP_HEADER)[:4] != b"\x1f\x8b\x08\x00":
                raise ArchiveError(f"{source} is not a gzip file as dumps are staged.")
            with self.entry(info, size) as entry:
                entry.write(encrypter.encryption_header() if encrypter else b"")
                while left > 0:
                    block = file.read(min(left, CHUNK))
                    if not block:
                        raise ArchiveError(f"{source} became shorter while it was read.")
                    left -= len(block)
                    entry.write(encrypter.encrypt(block) if encrypter else block)
                entry.write(encrypter.flush() if encrypter else b"")
                info.CRC, size_modulo = struct.unpack("<II", file.read(GZIP_TRAILER))
                if size_modulo != size & 0xFFFFFFFF:
                    raise ArchiveError(f"{source} holds {size_modulo} bytes modulo 2^32, not the {size} it should.")
                info.file_size = size

    def add_pieces(self, name: str, pieces: Iterable[bytes], *, size: int, modified: datetime) -> None:
        """Add a content that comes in pieces of at most `CHUNK` bytes.

        :param size: of the content in bytes, at most.
        """
        info = EntryInfo(name, FILE_MODE, _nanoseconds(modified))
        source = iter(pieces)
        first = next(source, b"")
        payload = Payload(info, first, self.password)
        with self.entry(info, size) as entry:
            entry.write(payload.head)
            entry.write(payload.take(first))
            for piece in source:
                entry.write(payload.take(piece))
            entry.write(payload.end())


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp()) * 10**9
