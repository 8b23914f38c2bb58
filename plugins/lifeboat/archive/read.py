"""Read an archive and check it: every HMAC, every size, every SHA-256 that its manifest promises."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, cast

from isal import isal_zlib
from pyzipper import ZIP_DEFLATED, ZIP_STORED, BadZipFile
from pyzipper.zipfile_aes import AESZipExtFile, AESZipFile

from lifeboat.archive import CHUNK, MANIFEST_NAME, engine_of_entry, signature
from lifeboat.archive.directory import LONGEST, MOST_ENTRIES, Directory, Entries, scan
from lifeboat.archive.encryption import STRENGTH, Decrypter, derive_many
from lifeboat.archive.entry import ENCRYPTED
from lifeboat.archive.listing import Entry, entry_of, is_file_name, kind_of
from lifeboat.archive.workers import SMALL, batches
from lifeboat.catalog.manifest import EntryFacts, Manifest, packed
from lifeboat.errors import ArchiveError, PasswordError
from lifeboat.support.ahead import ahead
from lifeboat.support.progress import Progress
from lifeboat.support.stored import loads

LONGEST_MANIFEST = 1 << 30  # bytes; a manifest beyond this is a bomb, not a list of files
MANIFEST_BASE = 64 << 20  # bytes that databases and tables may take in it, and
MANIFEST_PER_ENTRY = 32 << 10  # those that an entry may: its name and, of a link, its target, in escapes
# What pyzipper, the inflater and a failing disk raise while a damaged file is read.
DAMAGE: tuple[type[Exception], ...] = (
    *(BadZipFile, OSError, EOFError, LookupError, NotImplementedError, ValueError, struct.error, OverflowError),
    cast(type[Exception], isal_zlib.error),
)
CHECK_ENCRYPTION = (
    "An unencrypted archive does not prove who created it. If it is older than the password, set 'encryption: "
    "none' for its application while you read it."
)
FORGED = "Find out who wrote it, and restore another archive."
CHECK_KEY = "Check the password of the connection named under encryption in the settings."
NO_KEYS: Mapping[bytes, bytes] = MappingProxyType({})
LOCAL_HEADER = struct.Struct("<26xHH")  # its last fields: how long the name and the extra fields after it are


class _Entry(AESZipExtFile):  # type: ignore[misc]  # pyzipper carries no types
    """Reads an entry once from start to end.

    pyzipper's own reading stops where the content is complete and looks for the HMAC there, although a deflate stream
    may end a few bytes later; and it checks no stored size.

    :param keys: that were derived before, by their salts.
    """

    def __init__(self, *args: Any, keys: Mapping[bytes, bytes] = NO_KEYS) -> None:
        self._keys = keys
        super().__init__(*args)

    def setup_aeszipdecrypter(self) -> type[Decrypter]:
        super().setup_aeszipdecrypter()
        return Decrypter

    def get_decrypter_kwargs(self) -> dict[str, Any]:
        given: dict[str, Any] = super().get_decrypter_kwargs()
        return given if self._zinfo.wz_aes_version is None else given | {"keys": self._keys}

    @property
    def is_marked(self) -> bool:
        """Return whether it was made as an entry that is not a manifest."""
        return (
            self._zinfo.wz_aes_version is not None
            and self._decrypter is not None
            and signature.is_marked(self.encryption_header[: signature.SALT_BYTES], self._pwd)
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the inflated content in bounded pieces; what is wrong with the entry is raised at its end.

        :raises BadZipFile: cut, altered, or not of its declared size.
        """
        inflate = isal_zlib.decompressobj(wbits=-zlib.MAX_WBITS) if self._compress_type == ZIP_DEFLATED else None
        if inflate is None and self._compress_type != ZIP_STORED:
            raise BadZipFile(f"{self.name!r} is compressed by method {self._compress_type}, which is not supported")
        crc = size = 0
        block = self._read2(CHUNK)
        while block:
            data = inflate.decompress(block, CHUNK) if inflate else block
            crc = isal_zlib.crc32(data, crc) if self._zinfo.CRC else 0  # WinZip's newer AES goes without
            size += len(data)
            if size > self._zinfo.file_size:
                raise BadZipFile(f"{self.name!r} is longer than its declared {self._zinfo.file_size} bytes")
            if data:
                yield data
            block = (inflate.unconsumed_tail if inflate else b"") or self._read2(CHUNK)
        # All input taken, the inflater may still hold what did not fit into its last answer.
        while inflate and not inflate.eof and (data := inflate.decompress(b"", CHUNK)):
            crc = isal_zlib.crc32(data, crc) if self._zinfo.CRC else 0
            size += len(data)
            if size > self._zinfo.file_size:
                break
            yield data
        if self._decrypter is not None and self._zinfo.wz_aes_version is not None:
            self.check_wz_aes()
        if size != self._zinfo.file_size or (inflate and (not inflate.eof or inflate.unused_data)):
            raise BadZipFile(f"{self.name!r} holds {size} bytes, not its declared {self._zinfo.file_size}")
        if crc != self._zinfo.CRC:
            raise BadZipFile(f"{self.name!r} has a wrong CRC")


class _Zip(AESZipFile):  # type: ignore[misc]
    """A ZIP file to read."""

    zipextfile_cls = _Entry

    def _RealGetContents(self) -> None:  # noqa: N802
        """Do nothing: the directory was read before."""

    def open_stored(self, info: Any, stored: bytes, keys: Mapping[bytes, bytes]) -> _Entry:
        """Open an entry that was read before, header and all.

        :param keys: that were derived before, by their salts.
        """
        return _Entry(io.BytesIO(stored), "r", info, True, self.pwd, keys=keys)


class _HashedFile(io.RawIOBase):
    """Hashes a file while it is read, roughly from start to end, so that it needs to be read only once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._hashing = False
        self._hashed = 0

    def start(self) -> None:
        """Hash from here on; what was read before was the directory at the end."""
        self._hashing = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        position = self._file.tell()
        if self._hashing and position > self._hashed:
            self._hash_up_to(position)
        data = self._file.read(size)
        if self._hashing and position <= self._hashed < position + len(data):
            self._sha256.update(memoryview(data)[self._hashed - position :])
            self._hashed = position + len(data)
        return data

    def _hash_up_to(self, end: int) -> None:
        self._file.seek(self._hashed)
        while self._hashed < end and (data := self._file.read(min(CHUNK, end - self._hashed))):
            self._sha256.update(data)
            self._hashed += len(data)

    def hexdigest(self) -> str:
        """Read what is left and return the SHA-256 of the whole file."""
        self._hash_up_to(self._file.seek(0, io.SEEK_END))
        return self._sha256.hexdigest()


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    :param entries: entries decrypted and compared, the manifest among them.
    :param content_bytes: their inflated size.
    :param size: of the archive file in bytes.
    :param sha256: of the archive file, in hex.
    :param encrypted: whether an entry is, where it has content.
    :param has_manifest: False for an archive of laravel-backup: nothing says what it should hold.
    """

    entries: int
    content_bytes: int
    size: int
    sha256: str
    has_manifest: bool
    encrypted: bool


class ArchiveReader:
    """An archive to read, from a file on disk or a seekable reader of a bucket.

    :param file: seekable; closed by its owner.
    :param where: how messages call the archive.
    :param password: of the archive; with one, unencrypted entries are rejected.
    :param previous: passwords to try if that one does not fit.
    :param foreign: made by laravel-backup: a ``manifest.json`` in it is a file like any other, and whether it is
        encrypted was up to others; with a password, it must be.
    :param key: that its manifest must name; any when empty.
    :raises ArchiveError: it is not a ZIP file, or its directory is damaged.
    """

    def __init__(
        self,
        file: BinaryIO,
        where: str,
        password: str | None,
        previous: Sequence[str] = (),
        *,
        foreign: bool = False,
        key: str = "",
    ) -> None:
        self.where = where
        self._foreign = foreign
        self._key = key
        self._file = _HashedFile(file)
        passwords = [each.encode() for each in (password, *previous) if each] if password else []
        try:
            self._zip = _Zip(cast(Any, self._file))
            directory = scan(cast(BinaryIO, self._file), MANIFEST_NAME.encode())
            if directory.is_long:
                self._refuse_unless_promised(directory, passwords)
            self._entries = Entries(directory.content or self._read_directory(directory), directory.shift)
        except DAMAGE as error:
            raise ArchiveError(f"{where} is not a complete ZIP archive: {_reason(error)}.") from error
        self._choose_password(passwords)

    def _read_directory(self, directory: Directory) -> bytes:
        self._file.seek(directory.start)
        return self._file.read(directory.size)

    def _refuse_unless_promised(self, directory: Directory, passwords: Sequence[bytes]) -> None:
        """Let the manifest say that a long directory is as long as it should be, before memory is spent on it.

        :raises ArchiveError: it does not.
        """
        if self._foreign or not directory.record:
            raise ArchiveError(
                f"{self.where} lists {directory.entries} entries in {directory.size} bytes; without a manifest, at most"
                f" {MOST_ENTRIES} in {LONGEST} are read.",
                "7-Zip opens it: docs/RECOVERY.md shows how.",
            )
        self._entries = Entries(directory.record, directory.shift)
        self._choose_password(passwords)
        promised = len(self._manifest(directory.entries).entries)
        if directory.entries > promised + MOST_ENTRIES:
            raise ArchiveError(f"{self.where} has {directory.entries} entries, but its manifest lists {promised}.")

    def _choose_password(self, passwords: Sequence[bytes]) -> None:
        """Take the first password that opens the smallest entry; where none does, it is the current one."""
        if not passwords:
            return
        self._zip.setpassword(passwords[0])
        if len(passwords) == 1:
            return
        encrypted = (info for info in self._entries if info.flag_bits & ENCRYPTED)
        sample = min(encrypted, key=lambda info: info.compress_size, default=None)
        if sample is None:
            return
        for candidate in passwords:
            self._zip.setpassword(candidate)
            with contextlib.suppress(RuntimeError, *DAMAGE):  # whole, because two bytes of it fit by chance, too
                deque(self._zip.open(sample).chunks(), maxlen=0)
                return
        self._zip.setpassword(passwords[0])

    def names(self) -> list[str]:
        """Return the names of the entries in the order of the archive."""
        return list(self._entries.names())

    @property
    def has_manifest(self) -> bool:
        """Return whether the archive says itself what it should hold; laravel-backup's do not."""
        return not self._foreign and MANIFEST_NAME in self._entries

    @property
    def is_encrypted(self) -> bool:
        """Return whether a password must open it."""
        return bool(self._zip.pwd)

    def files(self) -> list[Entry]:
        """Return what the archive holds of the application's files, in the order of the file.

        :raises ArchiveError: names are there twice, missing or unknown, or the manifest contradicts the entries.
        """
        return list(self.each_file())

    def each_file(self) -> Iterator[Entry]:
        """Yield what `files` returns."""
        promised = self._promised()
        try:
            for info in self._entries.in_order():
                if is_file_name(info.filename) or (self._foreign and info.filename == MANIFEST_NAME):
                    yield entry_of(info, promised[info.filename] if promised is not None else None)
        except ArchiveError as error:
            raise ArchiveError(f"{self.where}: {error.message}") from error

    def stored(self, name: str) -> bytes:
        """Return a small entry as it is stored, header and all, for `chunks` to make content of on any thread.

        :raises ArchiveError: the archive is cut.
        """
        info = self._entries[name]
        try:
            self._file.seek(info.header_offset)
            header = self._file.read(LOCAL_HEADER.size)
            return header + self._file.read(sum(LOCAL_HEADER.unpack(header)) + info.compress_size)
        except DAMAGE as error:
            raise ArchiveError(f"{self.where}: {name!r} is damaged: {_reason(error)}.") from error

    def keys(self, names: Iterable[str], stored: Iterable[bytes]) -> dict[bytes, bytes]:
        """Derive the keys of some small entries at once, on any thread.

        :param stored: what `stored` returned of each.
        :returns: the keys by their salts, for `chunks`.
        """
        if not self._zip.pwd:
            return {}
        salts = []
        for name, content in zip(names, stored, strict=True):
            start = LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack_from(content))
            salt = content[start : start + signature.SALT_BYTES]
            if self._entries[name].wz_aes_strength == STRENGTH and len(salt) == signature.SALT_BYTES:
                salts.append(salt)
        return dict(zip(salts, derive_many(self._zip.pwd, salts), strict=True))

    def size(self, name: str) -> int:
        """Return the length of an entry's content in bytes, as the list of entries says it.

        :raises ArchiveError: there is no such entry.
        """
        try:
            return int(self._entries[name].file_size)
        except KeyError as error:
            raise ArchiveError(f"{self.where} has no {name!r}.") from error

    def chunks(self, name: str, stored: bytes | None = None, keys: Mapping[bytes, bytes] = NO_KEYS) -> Iterator[bytes]:
        """Yield an entry's content.

        :param stored: what `stored` returned of it; without it, the entry is read from the archive meanwhile.
        :param keys: what `keys` returned of it and others; a key that is missing is derived.
        :raises ArchiveError: wrong password, or the entry is damaged; raised at its end at the latest.
        """
        try:
            info = self._entries[name]
            is_manifest = self.has_manifest and name == MANIFEST_NAME
            ours = self.has_manifest or self._foreign
            if self._zip.pwd and ours and _must_be_encrypted(info) and not _is_encrypted(info):
                raise ArchiveError(
                    f"{self.where}: {name!r} is not encrypted, so anyone could have written it.", CHECK_ENCRYPTION
                )
            entry = self._zip.open(info) if stored is None else self._zip.open_stored(info, stored, keys)
            if is_manifest and entry.is_marked:
                raise ArchiveError(f"{self.where}: its manifest is another entry that was renamed to it.", FORGED)
            yield from entry.chunks()
        except DAMAGE as error:  # before RuntimeError, of which NotImplementedError is one
            raise ArchiveError(f"{self.where}: {name!r} is damaged: {_reason(error)}.") from error
        except RuntimeError as error:  # pyzipper's answer to a password that does not fit, or is missing
            missing = "requires a" in str(error) or "required for" in str(error)
            what = "is encrypted and no password was given" if missing else "does not open with this password"
            raise PasswordError(f"{self.where}: {name!r} {what}.", CHECK_KEY) from error

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None where the archive has none (laravel-backup wrote it).

        :raises ArchiveError: the manifest is damaged, of another archive, or not signed as it should be.
        """
        return self._manifest(len(self._entries)) if self.has_manifest else None

    def _manifest(self, entries: int) -> Manifest:
        """Return the manifest.

        :param entries: that the archive lists.
        """
        longest = min(LONGEST_MANIFEST, MANIFEST_BASE + MANIFEST_PER_ENTRY * entries)
        size = self._entries[MANIFEST_NAME].file_size
        if size > longest:
            raise ArchiveError(f"{self.where}: its manifest claims to be larger than {longest} bytes.")
        if size > LONGEST:
            deque(self.chunks(MANIFEST_NAME), maxlen=0)  # its HMAC stands at its end: before that, no memory is spent
        text = b"".join(self.chunks(MANIFEST_NAME))
        self._refuse_unsigned(text)
        try:
            decoded = text.decode("utf-8", "surrogatepass")  # as json does it; there may be millions of entries,
            del text  # so no copy of them is kept while they are parsed
            manifest = Manifest.from_json(loads(decoded, object_hook=packed))
        except ValueError as error:
            raise ArchiveError(f"{self.where}: its manifest does not describe an archive as manifests do.") from error
        self.refuse_another(manifest, self._key)
        return manifest

    def refuse_another(self, manifest: Manifest, key: str) -> None:
        """:raises ArchiveError: the manifest is of another archive than the key's; any will do when that is empty."""
        if key and manifest.key != key:
            raise ArchiveError(f"{self.where} holds the manifest of another archive: it was renamed.")

    def _refuse_unsigned(self, text: bytes) -> None:
        """Refuse a manifest that only seems to be one. Those of older versions have no signature, nor a mark.

        :raises ArchiveError: it is another entry under that name, or was changed.
        """
        password = self._zip.pwd
        if not password:
            return
        if signature.is_signed(text) and not signature.is_authentic(text, password):
            raise ArchiveError(f"{self.where}: its manifest was not signed with the archive password.", FORGED)

    def verify_entry(self, name: str) -> None:
        """Read one entry, and compare it with the manifest: what was verified may be another archive by now.

        :raises ArchiveError: it is not what it should be.
        """
        promised = self._promised()
        progress = Progress(f"Verifying {name} of {self.where}", self.size(name))
        self._verify_entry(name, ahead(self.chunks(name)), promised, progress)

    def verify(self, expected_sha256: str | None = None) -> Verified:
        """Read everything once, in the order of the file.

        :param expected_sha256: of the whole file, where its published marker says it.
        :raises ArchiveError: naming the first thing that is wrong.
        """
        promised = self._promised()
        self._file.start()
        content_bytes = 0
        progress = Progress(f"Verifying {self.where}", self._entries.content_bytes)
        is_encrypted = False
        for batch in batches(self._entries.in_order(), lambda info: int(info.compress_size)):
            is_encrypted = is_encrypted or any(info.flag_bits & ENCRYPTED for info in batch)
            names = [info.filename for info in batch]
            if batch[0].compress_size > SMALL:
                content_bytes += self._verify_entry(names[0], ahead(self.chunks(names[0])), promised, progress)
                continue
            read = [self.stored(name) for name in names]
            keys = self.keys(names, read)
            content_bytes += sum(
                self._verify_entry(name, self.chunks(name, stored, keys), promised, progress)
                for name, stored in zip(names, read, strict=True)
            )
        sha256, size = self._file.hexdigest(), self._file.tell()
        if expected_sha256 and sha256 != expected_sha256:
            raise ArchiveError(f"{self.where} is not the published file: its SHA-256 differs.")
        return Verified(len(self._entries), content_bytes, size, sha256, promised is not None, is_encrypted)

    def _promised(self) -> Mapping[str, EntryFacts] | None:
        """Return what the manifest says of each entry, or None where there is no manifest.

        :raises ArchiveError: it promises other entries than there are, or there are two of one name.
        """
        if self._entries.has_twins:
            raise ArchiveError(f"{self.where} holds two entries with the same name.")
        if (name := self._entries.overlapping) is not None:
            raise ArchiveError(f"{self.where}: {name!r} shares its bytes with another entry.")
        manifest = self.manifest()
        if manifest is None:
            return None
        promised = manifest.entries
        if missing := sorted(name for name in promised if name not in self._entries or name == MANIFEST_NAME):
            raise ArchiveError(f"{self.where} lacks {missing[0]!r}, which its manifest lists.")
        if unknown := sorted(name for name in self._entries.names() if name not in promised and name != MANIFEST_NAME):
            raise ArchiveError(f"{self.where} holds {unknown[0]!r}, which its manifest does not list.")
        return promised

    def _verify_entry(
        self, name: str, chunks: Iterable[bytes], promised: Mapping[str, EntryFacts] | None, progress: Progress
    ) -> int:
        """Read the content of an entry, compare it with the manifest, and return its length."""
        sha256, size = hashlib.sha256(), 0
        for chunk in chunks:
            sha256.update(chunk)
            size += len(chunk)
            progress.advance(len(chunk))
        if promised is None or name == MANIFEST_NAME:
            return size
        facts, kind = promised[name], kind_of(self._entries[name])  # by which other tools make a link of a file
        if (facts.get("size"), facts.get("sha256"), facts.get("type", kind)) != (size, sha256.hexdigest(), kind):
            raise ArchiveError(f"{self.where}: {name!r} does not match its manifest.")
        return size


def _is_encrypted(info: Any) -> bool:
    """Return whether an entry is encrypted with WinZip's AES; the old encryption of ZIP authenticates nothing."""
    return bool(info.flag_bits & ENCRYPTED) and info.wz_aes_version is not None


def _must_be_encrypted(info: Any) -> bool:
    """Return whether an entry has something to hide: a content; or it is a dump, which would empty a database."""
    return info.file_size > 0 or engine_of_entry(info.filename) is not None


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
