"""AES-256 in counter mode, as WinZip counts: from 1 on, the lowest byte first.

The library counts byte by byte, which takes longer than all the rest. So the counters are written here, a page at a
time; the library encrypts them, and combines them with the text.
"""

from __future__ import annotations

from functools import cache

from Cryptodome.Cipher import AES
from Cryptodome.Util.strxor import strxor

BLOCK = 16  # bytes, one of which each counter takes
COUNTERS = 1 << 16  # in a page, which differ in their two lowest bytes only
PAGE = BLOCK * COUNTERS


@cache
def _first_page() -> bytearray:
    page = bytearray(PAGE)
    page[0::BLOCK] = bytes(range(256)) * 256
    page[1::BLOCK] = b"".join(bytes([high]) * 256 for high in range(256))
    return page


class Cipher:
    """Encrypts or decrypts one stream.

    :param key: of 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._aes = AES.new(key, AES.MODE_ECB)
        self._position = BLOCK  # in the stream of counters, of which the first is not used
        self._number, self._page = 0, _first_page()
        self._stream = bytearray()

    def decrypt(self, data: bytes) -> bytes:
        """Return the next bytes of the stream decrypted."""
        return bytes(self.encrypt(data))

    def encrypt(self, data: bytes) -> memoryview:
        """Return the next bytes of the stream encrypted; the next call overwrites them."""
        skipped = self._position % BLOCK
        blocks = -(-(skipped + len(data)) // BLOCK) * BLOCK
        if len(self._stream) < blocks:
            self._stream = bytearray(blocks)
        self._encrypt_counters(memoryview(self._stream)[:blocks], self._position - skipped)
        self._position += len(data)
        result = memoryview(self._stream)[skipped : skipped + len(data)]
        strxor(data, result, output=result)  # type: ignore[arg-type]  # it takes any buffer
        return result

    def _encrypt_counters(self, stream: memoryview, position: int) -> None:
        while stream:
            number, start = divmod(position, PAGE)
            if number != self._number:
                self._turn_to(number)
            count = min(len(stream), PAGE - start)
            self._aes.encrypt(memoryview(self._page)[start : start + count], output=stream[:count])
            stream, position = stream[count:], position + count

    def _turn_to(self, number: int) -> None:
        if not self._number:
            self._page = self._page.copy()  # the first one belongs to all
        for place, (new, old) in enumerate(zip(_bytes(number), _bytes(self._number), strict=True), start=2):
            if new != old:
                self._page[place::BLOCK] = bytes([new]) * COUNTERS
        self._number = number


def _bytes(number: int) -> bytes:
    return number.to_bytes(BLOCK - 2, "little")
