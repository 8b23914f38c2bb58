"""An entry of an archive: its header, and its content deflated and encrypted.

Everything here is pure computation, made to run on several threads at once.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isal import isal_zlib
from pyzipper import ZIP_DEFLATED, ZIP_STORED
from pyzipper.zipfile_aes import AESZipInfo

from lifeboat.archive import CHUNK
from lifeboat.archive.encryption import Encrypter

DEFLATE_LEVEL = 1  # ISA-L's best per second: level 0 is not faster, level 2 saves under 1 %
WORTH_IT = 1 - 1 / 32  # deflate what shrinks to less than this; the rest is compressed already
ENCRYPTED = 0x1
UTF8_NAME = 0x800
UNIX = 3
FOLDER = 0x10  # what DOS called a directory; some tools look at nothing else
UNIX_TIME = 0x5455  # Info-ZIP's extra field for UTC; the classic field has neither a zone nor odd seconds
LATEST_UNIX_TIME = (1 << 31) - 1
EARLIEST = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())  # of the classic field
LATEST = int(datetime(2107, 12, 31, tzinfo=UTC).timestamp())


class EntryInfo(AESZipInfo):  # type: ignore[misc]  # pyzipper carries no types
    """The header of an entry, whose name may be any bytes that a file system allows.

    :param name: bytes that are not UTF-8 are surrogates, as ``surrogateescape`` makes them.
    :param mode: type and permissions, as ``st_mode`` has them.
    :param modified_ns: nanoseconds since 1970, UTC.
    """

    def __init__(self, name: str, mode: int, modified_ns: int) -> None:
        seconds = modified_ns // 10**9
        when = datetime.fromtimestamp(min(max(seconds, EARLIEST), LATEST), UTC)
        super().__init__(name, when.timetuple()[:6])
        self.create_system = UNIX
        self.external_attr = (mode & 0xFFFF) << 16 | (FOLDER if name.endswith("/") else 0)
        if 0 <= seconds <= LATEST_UNIX_TIME:
            self.extra = struct.pack("<HHBi", UNIX_TIME, 5, 1, seconds)
        self.file_size = self.compress_size = self.CRC = 0

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        try:
            name: bytes = self.filename.encode()
        except UnicodeEncodeError:
            return self.filename.encode("utf-8", "surrogateescape"), self.flag_bits
        return name, self.flag_bits if name.isascii() else self.flag_bits | UTF8_NAME

    def encode_local_header(self, *, extra: bytes, **fields: Any) -> bytes:
        header: bytes = super().encode_local_header(extra=extra + self.extra, **fields)  # pyzipper drops `extra`
        return header

    def encode_central_directory(self, *, extra_data: bytes, **fields: Any) -> Any:
        return super().encode_central_directory(extra_data=extra_data + self.extra, **fields)

    def encrypt_with(self, encrypter: Encrypter) -> None:
        """Say in the header that the content is encrypted."""
        self.flag_bits |= ENCRYPTED
        encrypter.update_zipinfo(self)


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A small entry, ready to be written.

    :param payload: deflated or stored, encrypted, with the cipher's header and HMAC.
    """

    info: EntryInfo
    payload: bytes


def is_worth_deflating(block: bytes) -> bool:
    """Tell by trial whether a first block shrinks; pictures and archives do not, whatever they are called."""
    return len(isal_zlib.compress(block[:CHUNK], DEFLATE_LEVEL, -zlib.MAX_WBITS)) < len(block[:CHUNK]) * WORTH_IT


def pack(info: EntryInfo, content: bytes, encrypter: Encrypter | None) -> PackedEntry:
    """Deflate and encrypt a small content.

    :param encrypter: None for an empty content, too: there is nothing to hide.
    """
    info.file_size, info.CRC = len(content), isal_zlib.crc32(content)
    payload, info.compress_type = content, ZIP_STORED
    if len(content) <= CHUNK or is_worth_deflating(content):
        deflated = isal_zlib.compress(content, DEFLATE_LEVEL, -zlib.MAX_WBITS)
        if len(deflated) < len(content) * WORTH_IT:
            payload, info.compress_type = deflated, ZIP_DEFLATED
    if encrypter:
        info.encrypt_with(encrypter)
        payload = encrypter.encrypt_whole(payload)
    info.compress_size = len(payload)
    return PackedEntry(info, payload)


class Payload:
    """The content of a large entry on its way: hashed, deflated and encrypted piece by piece.

    :param first: the first piece, which decides whether the content is deflated; it is not taken yet.
    """

    def __init__(self, info: EntryInfo, first: bytes, password: bytes | None, *, is_manifest: bool = False) -> None:
        self.info = info
        self._sha256 = hashlib.sha256()
        self._deflate = None
        if is_worth_deflating(first):
            self._deflate = isal_zlib.compressobj(DEFLATE_LEVEL, isal_zlib.DEFLATED, -zlib.MAX_WBITS)
        info.compress_type = ZIP_DEFLATED if self._deflate else ZIP_STORED
        self._encrypter = None
        if password is not None:
            self._encrypter = Encrypter.of(password, is_manifest=is_manifest)
            info.encrypt_with(self._encrypter)
        self.head: bytes = self._encrypter.encryption_header() if self._encrypter else b""

    def take(self, piece: bytes) -> bytes:
        """Take at most `CHUNK` bytes of content, and return what they become."""
        self._sha256.update(piece)
        self.info.CRC = isal_zlib.crc32(piece, self.info.CRC)
        self.info.file_size += len(piece)
        return self._encrypted(self._deflate.compress(piece) if self._deflate else piece)

    def end(self) -> bytes:
        """Return what is left once the whole content was taken."""
        tail = self._encrypted(self._deflate.flush()) if self._deflate else b""
        return tail + (self._encrypter.flush() if self._encrypter else b"")

    @property
    def sha256(self) -> str:
        """Of the content that was taken, in hex."""
        return self._sha256.hexdigest()

    def _encrypted(self, data: bytes) -> bytes:
        return data if self._encrypter is None else bytes(self._encrypter.encrypt(data))
