"""WinZip's AES-256, as pyzipper does it, with faster primitives.

Every entry has its own key, derived by 1000 rounds of PBKDF2: with many small files that is most of the work. The
native module derives many at once. Where it is not there, Nettle takes about three times as long, and OpenSSL 3.0 eight
times; Debian and Ubuntu have Nettle wherever a MariaDB client is installed. None of them holds Python's lock meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyzipper.zipfile import BadZipFile
from pyzipper.zipfile_aes import WZ_AES_V2, AESZipDecrypter, AESZipEncrypter

from lifeboat.archive.cipher import Cipher
from lifeboat.archive.signature import SALT_BYTES, marked_salt
from lifeboat.support.native import native

STRENGTH = 3  # of three: AES-256
ROUNDS = 1000
KEY_BYTES = 32
CHECK_BYTES = 2  # tell a wrong password before anything is read
HMAC_BYTES = 10
MATERIAL_BYTES = 2 * KEY_BYTES + CHECK_BYTES
BLOCK_BYTES = 64  # of SHA-1

Derive = Callable[[bytes, bytes], bytes]


def _nettle() -> Derive | None:
    for name in ("libnettle.so.8", "libnettle.so.9"):
        with contextlib.suppress(OSError, AttributeError):
            function = ctypes.CDLL(name).nettle_pbkdf2_hmac_sha1
            size = ctypes.c_size_t
            function.argtypes = [size, ctypes.c_char_p, ctypes.c_uint, size, ctypes.c_char_p, size, ctypes.c_char_p]
            function.restype = None

            def derive(password: bytes, salt: bytes, function: Any = function) -> bytes:
                material = ctypes.create_string_buffer(MATERIAL_BYTES)
                function(len(password), password, ROUNDS, len(salt), salt, len(material), material)
                return material.raw

            return derive
    return None


def _openssl(password: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password, salt, ROUNDS, MATERIAL_BYTES)


_derive_one: Derive = _nettle() or _openssl


def derives_by() -> str:
    """Return what derives the keys here."""
    if native:
        return native.KEY_WAYS[0]
    return "OpenSSL" if _derive_one is _openssl else "Nettle"


def derive_many(password: bytes, salts: Sequence[bytes]) -> list[bytes]:
    """Derive the keys of some entries: of the cipher and of the HMAC, and the bytes that check the password.

    :param salts: each of `SALT_BYTES`.
    """
    if native is None:
        return [_derive_one(password, salt) for salt in salts]
    if len(password) > BLOCK_BYTES:
        password = hashlib.sha1(password, usedforsecurity=False).digest()  # as HMAC wants it
    keys = native.derive_many(password, b"".join(salts))
    return [keys[start : start + MATERIAL_BYTES] for start in range(0, len(keys), MATERIAL_BYTES)]


def derive(password: bytes, salt: bytes) -> bytes:
    """Derive the keys of one entry."""
    (material,) = derive_many(password, [salt])
    return material


class Encrypter(AESZipEncrypter):  # type: ignore[misc]  # pyzipper carries no types
    """Encrypts one entry.

    :param material: what was derived from the salt.
    """

    def __init__(self, salt: bytes, material: bytes) -> None:
        # Not pyzipper's own, which would derive the key once more; what its other methods read is set here.
        self.aes_strength = STRENGTH
        self.force_wz_aes_version = WZ_AES_V2
        self.salt = salt
        self.encpwdverify = material[2 * KEY_BYTES :]
        self.encrypter = Cipher(material[:KEY_BYTES])
        self.hmac = hmac.new(material[KEY_BYTES : 2 * KEY_BYTES], digestmod="sha1")

    @classmethod
    def of(cls, password: bytes, *, is_manifest: bool = False) -> Encrypter:
        """Return one with a new salt.

        :param is_manifest: all other entries are marked as being none.
        """
        salt = os.urandom(SALT_BYTES) if is_manifest else marked_salt(password)
        return cls(salt, derive(password, salt))

    @classmethod
    def several(cls, password: bytes, count: int) -> list[Encrypter]:
        """Return one for each of some entries, none of which is a manifest."""
        salts = [marked_salt(password) for _ in range(count)]
        return [cls(*each) for each in zip(salts, derive_many(password, salts), strict=True)]

    def encrypt(self, data: bytes) -> memoryview | bytes:
        """Encrypt the next piece; what is returned is overwritten by the next call."""
        if not data:  # what pyzipper's close() asks for, to append the HMAC to
            return b""
        encrypted = self.encrypter.encrypt(data)
        self.hmac.update(encrypted)
        return encrypted

    def encrypt_whole(self, data: bytes) -> bytes:
        """Return a small content encrypted, with header and HMAC."""
        encrypted = self.encrypt(data)
        return b"".join((self.salt, self.encpwdverify, encrypted, self.hmac.digest()[:HMAC_BYTES]))


class Decrypter(AESZipDecrypter):  # type: ignore[misc]
    """Decrypts one entry.

    :param keys: that were derived before, by their salts.
    """

    def __init__(self, zinfo: Any, pwd: bytes, encryption_header: bytes, keys: Mapping[bytes, bytes]) -> None:
        if zinfo.wz_aes_strength != STRENGTH:  # weaker keys, which others may have chosen
            super().__init__(zinfo, pwd, encryption_header)
            return
        self.filename = zinfo.filename
        if len(encryption_header) < SALT_BYTES + CHECK_BYTES:
            raise BadZipFile(f"{zinfo.filename!r} is cut short")
        salt = encryption_header[:SALT_BYTES]
        material = keys.get(salt) or derive(pwd, salt)
        if not hmac.compare_digest(material[2 * KEY_BYTES :], encryption_header[SALT_BYTES:]):
            raise RuntimeError(f"Bad password for file {zinfo.filename!r}")
        self.decypter = Cipher(material[:KEY_BYTES])
        self.hmac = hmac.new(material[KEY_BYTES : 2 * KEY_BYTES], digestmod="sha1")

    def check_hmac(self, hmac_check: bytes) -> None:
        if not hmac.compare_digest(self.hmac.digest()[:HMAC_BYTES], hmac_check):
            raise BadZipFile(f"Bad HMAC check for file {self.filename!r}")
