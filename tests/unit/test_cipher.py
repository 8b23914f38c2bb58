"""Our counter mode is the library's own, byte by byte, whatever the pieces are."""

import itertools
import random
from collections.abc import Iterable

import pytest
from Cryptodome.Cipher import AES
from Cryptodome.Util import Counter
from lifeboat.archive.cipher import BLOCK, PAGE, Cipher

KEY = bytes(range(32))
FIRST_OF_PAGE_256 = 256 * PAGE - BLOCK  # in the stream: the first counter is not used


def by_the_library(data: bytes, position: int = 0) -> bytes:
    counter = Counter.new(128, little_endian=True, initial_value=1 + position // BLOCK)
    return bytes(AES.new(KEY, AES.MODE_CTR, counter=counter).encrypt(data))


def in_pieces(cipher: Cipher, data: bytes, sizes: Iterable[int]) -> bytes:
    done, position = b"", 0
    for size in sizes:
        done += cipher.encrypt(data[position : position + size])
        position += size
    return done


@pytest.mark.parametrize(
    "sizes",
    [(0,), (1,), (15, 1, 17), (PAGE - BLOCK, 1), (PAGE - BLOCK - 1, 2), (3 * PAGE,), (PAGE,) * 3, (100_001,) * 30],
    ids=str,
)
def test_every_piece_is_encrypted_as_the_library_does(sizes: tuple[int, ...]) -> None:
    data = random.Random(1).randbytes(sum(sizes))
    assert in_pieces(Cipher(KEY), data, sizes) == by_the_library(data)
    assert Cipher(KEY).decrypt(by_the_library(data)) == data


def test_counters_carry_into_the_fourth_byte() -> None:
    cipher, data = Cipher(KEY), bytes(PAGE)
    for page in (254, 255):
        cipher._position = page * PAGE
        assert cipher.encrypt(data) == by_the_library(data, page * PAGE - BLOCK)
    assert cipher.encrypt(data) == by_the_library(data, FIRST_OF_PAGE_256)


def test_streams_do_not_share_their_counters() -> None:
    far, data = Cipher(KEY), bytes(2 * PAGE)
    in_pieces(far, data, itertools.repeat(PAGE, 2))
    assert Cipher(KEY).encrypt(data[:100]) == by_the_library(data[:100])
