"""Write an archive: what was compressed once is only encrypted here, never inflated again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from pyzipper import ZIP_DEFLATED
from pyzipper.zipfile import ZIP64_LIMIT
from pyzipper.zipfile_aes import AESZipFile

from lifeboat.archive import CHUNK, MANIFEST_NAME
from lifeboat.archive.encryption import CHECK_BYTES, HMAC_BYTES, Encrypter
from lifeboat.archive.entry import EntryInfo, PackedEntry, Payload
from lifeboat.archive.signature import SALT_BYTES
from lifeboat.errors import ArchiveError, LifeboatError
from lifeboat.support.progress import Progress
from lifeboat.support.streams import FileOutput, Output, Source

GZIP_HEADER = 10  # bytes; our own dumps carry no name and no comment
GZIP_TRAILER = 8
FILE_MODE = stat.S_IFREG | 0o600
SIZES_FOLLOW = 0x8  # of an entry's flags: CRC and sizes follow its payload
ENCRYPTION_BYTES = SALT_BYTES + CHECK_BYTES + HMAC_BYTES
GROWTH = 1.05  # incompressible data grows a little when it is deflated


@dataclass(frozen=True)
class _Rendered:
    """A piece of the central directory, in the place where pyzipper expects an entry to ask for it."""

    piece: bytes
    comment: bytes = b""

    def central_directory(self) -> tuple[bytes, bytes, bytes]:
        return self.piece, b"", b""


class _Directory:
    """The entries written so far, kept in a file: a million would not fit into a worker's memory."""

    def __init__(self, folder: Path | None) -> None:
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


class _Passing:
    """Counts and hashes an archive on its way out. It cannot seek, so pyzipper does not try to."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._position = self._marked = 0
        self.sha256 = self._marked_sha256 = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._out.write(data)
        self.sha256.update(data)
        self._position += len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Do nothing: the output's owner closes it."""

    def mark(self) -> None:
        self._out.mark()
        self._marked, self._marked_sha256 = self._position, self.sha256.copy()

    def roll_back(self) -> None:
        self._position, self.sha256 = self._marked, self._marked_sha256
        self._out.roll_back()


class _Zip(AESZipFile):  # type: ignore[misc]
    """Takes entries whose content was deflated and encrypted by somebody else."""

    def __init__(self, out: _Passing, folder: Path | None) -> None:
        super().__init__(out, "w")
        self.filelist = _Directory(folder)

    def begin(self, info: EntryInfo, zip64: bool) -> None:
        """Write the header of an entry; its payload follows."""
        info.header_offset = self.fp.tell()
        self.fp.write(info.FileHeader(zip64))

    def end(self, info: EntryInfo) -> None:
        """Take an entry into the directory, its payload written."""
        self.start_dir = self.fp.tell()
        self.filelist.append(info)


class OpenEntry:
    """An entry being written."""

    def __init__(self, out: _Passing) -> None:
        self._out = out
        self.size = 0

    def write(self, payload: bytes | memoryview) -> None:
        """Append what was deflated and encrypted."""
        self._out.write(payload)
        self.size += len(payload)


class ArchiveWriter:
    """A new archive, written forward only; entries appear in the order in which they are added.

    :param target: file to write, of which an earlier one is replaced, or an output.
    :param password: encrypts every entry; None writes a plain ZIP.
    :param folder: for the list of entries, in a file without a name; default: the system's temporary one.
    """

    def __init__(self, target: Path | Output, password: str | None, folder: Path | None = None) -> None:
        if password == "":
            raise ArchiveError("The archive password is empty.")
        self.password = None if password is None else password.encode()
        self._file = target.open("wb") if isinstance(target, Path) else None
        self._out = _Passing(FileOutput(self._file) if self._file else cast(Output, target))
        self._zip = _Zip(self._out, folder)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._zip.close()
            else:
                self._zip.fp = None  # no directory: what failed midway must not look like an archive
        finally:
            self._zip.filelist.close()
            if self._file:
                self._file.close()

    @property
    def size(self) -> int:
        """Bytes written so far; once the block has ended, of the whole archive."""
        return self._out.tell()

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._out.sha256.hexdigest()

    def add(self, entry: PackedEntry) -> None:
        """Write a small entry."""
        self._zip.begin(entry.info, zip64=False)
        self._out.write(entry.payload)
        self._zip.end(entry.info)

    @contextlib.contextmanager
    def entry(self, info: EntryInfo, size: int) -> Iterator[OpenEntry]:
        """Write an entry piece by piece; when the block fails, the archive is as it was before.

        The block sets CRC and size of `info`, which follow the payload: data already sent to a bucket cannot be
        changed.

        :param size: of the content in bytes, at most.
        """
        zip64 = size * GROWTH > ZIP64_LIMIT
        info.flag_bits |= SIZES_FOLLOW
        with self._begun(info, zip64) as entry:
            yield entry
            info.compress_size = entry.size
            self._out.write(info.datadescripter(zip64))

    @contextlib.contextmanager
    def _begun(self, info: EntryInfo, zip64: bool) -> Iterator[OpenEntry]:
        self._out.mark()
        self._zip.begin(info, zip64)
        try:
            yield OpenEntry(self._out)
        except BaseException:
            with contextlib.suppress(OSError, LifeboatError):  # the failure that led here is the one to report
                self._out.roll_back()
            raise
        self._zip.end(info)

    def add_gzip(self, name: str, source: Source, *, size: int, modified: datetime) -> None:
        """Move the deflate stream of a gzip file into a new entry as it is.

        :param source: a gzip file of one member, as a dump is staged.
        :param size: length of the inflated content in bytes.
        :raises ArchiveError: `source` is not such a file.
        """
        info = EntryInfo(name, FILE_MODE, _nanoseconds(modified))
        info.compress_type = ZIP_DEFLATED
        encrypter = None if self.password is None else Encrypter.of(self.password)
        if encrypter:
            info.encrypt_with(encrypter)
        with source.open("rb") as file:
            length, info.CRC = _deflated(file, source, size)
            progress = Progress(f"Packing {name}", length)
            info.file_size = size
            info.compress_size = length + (ENCRYPTION_BYTES if encrypter else 0)
            with self._begun(info, max(size, info.compress_size) > ZIP64_LIMIT) as entry:
                entry.write(encrypter.encryption_header() if encrypter else b"")
                while length > 0:
                    block = file.read(min(length, CHUNK))
                    if not block:
                        raise ArchiveError(f"{source} shrank while it was read.")
                    length -= len(block)
                    entry.write(encrypter.encrypt(block) if encrypter else block)
                    progress.advance(len(block))
                entry.write(encrypter.flush() if encrypter else b"")

    def add_pieces(self, name: str, pieces: Iterable[bytes], *, size: int, modified: datetime) -> None:
        """Add a content that comes in pieces of at most `CHUNK` bytes.

        :param size: of the content in bytes, at most.
        """
        info = EntryInfo(name, FILE_MODE, _nanoseconds(modified))
        source = iter(pieces)
        first = next(source, b"")
        payload = Payload(info, first, self.password, is_manifest=name == MANIFEST_NAME)
        with self.entry(info, size) as entry:
            entry.write(payload.head)
            entry.write(payload.take(first))
            for piece in source:
                entry.write(payload.take(piece))
            entry.write(payload.end())


def _deflated(file: BinaryIO, source: Source, size: int) -> tuple[int, int]:
    """Return length in bytes and CRC of the deflate stream of a gzip file, and seek to where it begins.

    :param size: of the inflated content, as it should be.
    """
    length = file.seek(0, os.SEEK_END) - GZIP_HEADER - GZIP_TRAILER
    file.seek(max(0, length + GZIP_HEADER))
    trailer = file.read(GZIP_TRAILER)
    file.seek(0)
    if length <= 0 or file.read(GZIP_HEADER)[:4] != b"\x1f\x8b\x08\x00":
        raise ArchiveError(f"{source} is not a gzip file as dumps are staged.")
    crc, size_modulo = struct.unpack("<II", trailer)
    if size_modulo != size & 0xFFFFFFFF:
        raise ArchiveError(f"{source} holds {size_modulo} bytes modulo 2^32, not the {size} it should.")
    return length, crc


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp()) * 10**9
