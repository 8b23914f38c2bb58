"""The native module computes what hashlib does, on each processor that it was written for, and nothing needs it."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.archive import encryption
from lifeboat.databases import digest
from lifeboat.databases.digest import UnorderedRows
from lifeboat.databases.mysql import digest_rows
from lifeboat.databases.mysql.digest_rows import whole_tokens
from lifeboat.errors import DumpError

from tests.native import build

PASSWORD = "pâss 'word\" \\ 🦊".encode()
WIDEST = 16  # lanes
MORE_ENTRIES_THAN_LANES = WIDEST + 2


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(tmp_path_factory.mktemp("native"))


def key(password: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password, salt, 1000, 66)


def salts(count: int) -> list[bytes]:
    return [hashlib.md5(b"%d" % number).digest() for number in range(count)]


def sum_of(rows: list[bytes]) -> bytes:
    total = sum(int.from_bytes(hashlib.sha256(row).digest(), "big") for row in rows)
    return (total % (1 << 256)).to_bytes(32, "big")


def test_this_processor_has_a_way_to_derive_keys_and_one_to_hash_rows(native: Any) -> None:
    assert native.KEY_WAYS[-1] == "basic vectors"
    assert native.ROW_WAYS[-1] == "plain C"


def test_keys_are_those_of_hashlib_for_any_number_of_entries(native: Any) -> None:
    keys = [key(PASSWORD, salt) for salt in salts(MORE_ENTRIES_THAN_LANES)]
    for way in range(len(native.KEY_WAYS)):
        for count in range(MORE_ENTRIES_THAN_LANES + 1):
            assert native.derive_many(PASSWORD, b"".join(salts(count)), way) == b"".join(keys[:count]), (way, count)


def test_keys_are_those_of_hashlib_for_passwords_of_any_length(native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "native", native)
    for length in range(201):
        password = (PASSWORD * 9)[:length]
        assert encryption.derive_many(password, salts(1)) == [key(password, salts(1)[0])], length
        for way in range(len(native.KEY_WAYS) if length <= 64 else 0):
            assert native.derive_many(password, salts(1)[0], way) == key(password, salts(1)[0]), (way, length)


@pytest.mark.parametrize("without", [encryption._nettle(), encryption._openssl], ids=["Nettle", "OpenSSL"])
def test_keys_are_the_same_without_the_module(
    native: Any, without: encryption.Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "native", native)
    fast = encryption.derive_many(PASSWORD, salts(5))
    assert encryption.derives_by() == native.KEY_WAYS[0]
    monkeypatch.setattr(encryption, "native", None)
    monkeypatch.setattr(encryption, "_derive_one", without)
    assert encryption.derive_many(PASSWORD, salts(5)) == fast
    assert encryption.derives_by() in ("Nettle", "OpenSSL")


def test_rows_of_every_length_have_the_sum_of_their_hashes(native: Any) -> None:
    rows = [bytes(range(256))[32 : 32 + length] for length in range(200)]
    for way in range(len(native.ROW_WAYS)):
        for row in rows:
            assert native.sum_rows(row, b"\n", way) == (1, sum_of([row])), (way, len(row))
        assert native.sum_rows(b"\n".join(rows), b"\n", way) == (len(rows), sum_of(rows))
        long = bytes(range(11, 256)) * 5000
        assert native.sum_rows(long, b"\n", way) == (1, sum_of([long]))


texts = st.lists(st.sampled_from([b"a", b",", b"\n", b",\n", b"a" * 60, b"\0\xff"])).map(b"".join)


@given(text=texts, separator=st.sampled_from([b"\n", b",", b",\n", b"aa", b"a\n,a"]))
def test_rows_are_what_is_between_separators(native: Any, text: bytes, separator: bytes) -> None:
    rows = text.split(separator)
    for way in range(len(native.ROW_WAYS)):
        assert native.sum_rows(text, separator, way) == (len(rows), sum_of(rows))


@given(text=texts, cuts=st.lists(st.integers(0, 1000)))
def test_the_sum_depends_on_no_cut_and_not_on_the_module(native: Any, text: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    rows = text.split(b"\n")[:-1]  # a row that has not ended does not count yet
    for module in (native, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(digest, "native", module)
            summed = UnorderedRows(b"\n")
            for start, end in pairwise(ends):
                summed.feed(text[start:end])
        assert summed.digest() == (len(rows), sum_of(rows).hex())


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("derive_many", (b"x" * 65, b"")),
        ("derive_many", (b"x", b"too short")),
        ("derive_many", (b"x", b"", -1)),
        ("derive_many", (b"x", b"", 9)),
        ("sum_rows", (b"text", b"")),
        ("sum_rows", (b"text", b"\n", 9)),
    ],
)
def test_what_it_was_not_made_for_is_refused(native: Any, function: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="and a way that there is"):
        getattr(native, function)(*arguments)


strings = st.lists(st.sampled_from([b"a", b"(", b"),(", b"),\n(", b"'", b"\\", b"\n", b","])).map(b"".join)
escaped = strings.map(lambda text: text.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\n", b"\\n"))
quoted = escaped.map(lambda text: b"'%b'" % text)
written = st.one_of(st.sampled_from([b"NULL", b"-1.5e3", b"0x00FF", b"_binary 'x'", b"''"]), quoted)
rows_of_three = st.lists(st.tuples(written, written, written), min_size=1)


@given(rows=rows_of_three, cuts=st.lists(st.integers(0, 1000)))
def test_rows_that_begin_are_counted_alike_without_the_module(
    native: Any, rows: list[tuple[bytes, ...]], cuts: list[int]
) -> None:
    text = b",".join(b"(%b)" % b",".join(row) for row in rows)
    ends = [0, *sorted(whole_tokens(text, 0, cut % (len(text) + 1)) for cut in cuts), len(text)]
    for module in (native, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(digest_rows, "native", module)
            begun = inside = 0
            for start, end in pairwise(ends):
                more, inside = digest_rows.count_rows(text[start:end], inside)
                begun += more
        assert (begun, inside) == (len(rows), 0)


@given(rows=rows_of_three, kept=st.tuples(st.booleans(), st.booleans(), st.booleans()), cuts=st.lists(st.integers(0)))
def test_values_are_left_out_alike_without_the_module(
    native: Any, rows: list[tuple[bytes, ...]], kept: tuple[bool, ...], cuts: list[int]
) -> None:
    text = b"".join(b"(%b),\n" % b",".join(row) for row in rows)
    only = [b",".join(value for value, keep in zip(row, kept, strict=True) if keep) for row in rows]
    ends = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for module in (native, None):
        taken: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(digest_rows, "native", module)
            stored = digest_rows.StoredValues("orders", kept, taken.append)
            for start, end in pairwise(ends):
                stored.feed(text[start:end])
        assert b"".join(taken) == b"".join(b"(%b),\n" % row for row in only)


@pytest.mark.parametrize(
    "text",
    [
        b"(1,2),\n",
        b"(1,2,3,4),\n",
        b"(1,2,3),(4,5,6),\n",
        b"1,2,3),\n",
        b"(1,2,(3)),\n",
        b"(1,2,'3),\n",
        b"(1,2,'3\\'),\n",
        b"(1,2,3),\n\n",
        b"(1,2,3\n",
        b"\n",
    ],
)
def test_rows_of_another_form_are_refused_alike_without_the_module(
    native: Any, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (native, None):
        monkeypatch.setattr(digest_rows, "native", module)
        with pytest.raises(DumpError, match="'orders' do not have the columns of its definition"):
            digest_rows.StoredValues("orders", [True, False, True], lambda rows: None).feed(text)
