"""Archives: what goes in comes out, any zip tool opens them, and no changed byte passes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import backup
from lifeboat.archive import MANIFEST_NAME, dump_entry_name
from lifeboat.archive.read import ArchiveReader
from lifeboat.archive.write import ArchiveWriter
from lifeboat.catalog.manifest import Entries, packed
from lifeboat.errors import ArchiveError
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from tests.records import manifest_facts

PASSWORD = "pâss 'word\" \\ 🦊"
WHEN = datetime(2026, 11, 23, 1, 2, 4, tzinfo=UTC)
CONTENTS = {
    "db-dumps/mysql-shop.sql": b"INSERT INTO t VALUES (1);\n" * 3000,
    "db-dumps/mysql-random.sql": os.urandom(700_000),
    "db-dumps/mysql-é🦊.sql": b"x",
}


def write(path: Path, password: str | None = PASSWORD, contents: dict[str, bytes] = CONTENTS) -> Path:
    entries = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    with ArchiveWriter(path, password) as archive:
        for number, (name, data) in enumerate(contents.items()):
            staged = path.with_name(f"{number}.gz")
            with staged.open("wb") as out, gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
                file.write(data)
            archive.add_gzip(name, staged, size=len(data), modified=WHEN)
        archive.add_pieces(MANIFEST_NAME, [json.dumps(manifest_facts(entries)).encode()], size=1 << 20, modified=WHEN)
    return path


def read(content: bytes, password: str | None = PASSWORD) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(content), "the archive", password)


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_seven_zip_extracts_what_went_in(tmp_path: Path, password: str | None) -> None:
    archive = write(tmp_path / "a.zip", password)
    command = ["7z", "x", f"-p{password or ''}", f"-o{tmp_path / 'out'}", str(archive)]
    subprocess.run(command, check=True, capture_output=True)
    for name, content in CONTENTS.items():
        extracted = tmp_path / "out" / name
        assert extracted.read_bytes() == content
        assert datetime.fromtimestamp(extracted.stat().st_mtime, UTC).date() == WHEN.date()
    listing = subprocess.run(["7z", "l", "-slt", str(archive)], check=True, capture_output=True, text=True).stdout
    assert ("AES-256" in listing) == (password is not None)


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_a_whole_archive_verifies(tmp_path: Path, password: str | None) -> None:
    content = write(tmp_path / "a.zip", password).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    verified = read(content, password).verify(sha256)
    assert (verified.entries, verified.sha256, verified.has_manifest) == (4, sha256, True)
    with pytest.raises(ArchiveError, match="SHA-256 differs"):
        read(content, password).verify("0" * 64)


@pytest.mark.parametrize("line", [b"x", b"2026-11-23 production.INFO: order accepted\n"])
def test_sizes_around_the_inflaters_limit(tmp_path: Path, line: bytes) -> None:
    """The inflater gives a mebibyte at most at a time; what it still holds when the input has ended counts, too."""
    sizes = (*range((1 << 20) - 2, (1 << 20) + 300, 23), (1 << 20) + 1, (2 << 20) + 1, (3 << 20) + 100)
    contents = {f"{size}": (line * (size // len(line) + 1))[:size] for size in sizes}
    read(write(tmp_path / "a.zip", contents=contents).read_bytes()).verify()


def test_no_changed_byte_passes_unseen(tmp_path: Path) -> None:
    """Every byte of a small archive, one after the other; the marker's SHA-256 sees what no entry covers."""
    content = bytearray(write(tmp_path / "a.zip", contents={"db-dumps/mysql-s.sql": b"SELECT 1;\n" * 9}).read_bytes())
    sha256 = hashlib.sha256(content).hexdigest()
    read(bytes(content)).verify(sha256)
    for position in range(len(content)):
        content[position] ^= 0x55
        with pytest.raises(ArchiveError):
            read(bytes(content)).verify(sha256)
        content[position] ^= 0x55


def test_no_cut_archive_passes(tmp_path: Path) -> None:
    content = write(tmp_path / "a.zip", contents={"db-dumps/mysql-s.sql": b"SELECT 1;\n" * 9}).read_bytes()
    for length in range(len(content)):
        with pytest.raises(ArchiveError):
            read(content[:length]).verify()


@pytest.mark.parametrize(("password", "said"), [("wrong", "does not open with this password"), (None, "no password")])
def test_a_wrong_password_is_told(tmp_path: Path, password: str | None, said: str) -> None:
    content = write(tmp_path / "a.zip").read_bytes()
    with pytest.raises(ArchiveError, match=said) as caught:
        read(content, password).verify()
    assert PASSWORD not in str(caught.value)


def test_an_entry_of_which_the_manifest_knows_nothing(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.zip", None) as archive:
        archive.add_pieces("stowaway", [b"x"], size=1 << 20, modified=WHEN)
        archive.add_pieces(MANIFEST_NAME, [json.dumps(manifest_facts({})).encode()], size=1 << 20, modified=WHEN)
    with pytest.raises(ArchiveError, match="'stowaway', which its manifest does not list"):
        read((tmp_path / "a.zip").read_bytes(), None).verify()


def test_an_entry_that_is_not_what_the_manifest_promises(tmp_path: Path) -> None:
    for promised, said in (({"a": {"size": 1, "sha256": "0"}}, "does not match"), ({"b": {}}, "lacks 'b'")):
        with ArchiveWriter(tmp_path / "a.zip", None) as archive:
            archive.add_pieces("a", [b"x"], size=1 << 20, modified=WHEN)
            text = json.dumps(manifest_facts(promised)).encode()
            archive.add_pieces(MANIFEST_NAME, [text], size=1 << 20, modified=WHEN)
        with pytest.raises(ArchiveError, match=said):
            read((tmp_path / "a.zip").read_bytes(), None).verify()


def test_a_failure_midway_leaves_nothing_that_looks_like_an_archive(tmp_path: Path) -> None:
    (tmp_path / "not.gz").write_bytes(b"not a gzip file at all, but long enough")
    path = tmp_path / "a.zip"
    with pytest.raises(ArchiveError, match="is not a gzip file"), ArchiveWriter(path, PASSWORD) as archive:
        archive.add_pieces("first", [b"x"], size=1 << 20, modified=WHEN)
        archive.add_gzip("second", tmp_path / "not.gz", size=1, modified=WHEN)
    with pytest.raises(ArchiveError, match="is not a complete ZIP archive"):
        read(path.read_bytes())


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="password is empty"):
        ArchiveWriter(tmp_path / "a.zip", "")


def test_names_of_databases_stay_in_their_folder() -> None:
    assert dump_entry_name("mysql", "shop") == "db-dumps/mysql-shop.sql"
    assert dump_entry_name("mysql", "../a\\b\n%") == "db-dumps/mysql-..%2Fa%5Cb%0A%25.sql"


def test_a_compression_that_is_not_supported_is_no_wrong_password(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"x" * 100)
    with pytest.raises(ArchiveError, match=r"'a' is damaged: .*compressed by method 12"):
        read((tmp_path / "a.zip").read_bytes(), None).verify()
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for header in (8, content.index(b"PK\x01\x02") + 10):  # the method in both headers: one that nobody knows
        content[header] = 77
    with pytest.raises(ArchiveError, match="'a' is damaged"):
        read(bytes(content), None).verify()


def peak_of_verifying(folder: Path, count: int) -> int:
    """Return the bytes that verifying an archive of so many empty files takes at most."""
    tree, staging = folder / f"tree{count}", StagingDirectory(folder / f"staging{count}")
    for path in (tree, staging.path):
        path.mkdir()
    for number in range(count):
        (tree / f"{number:020}.txt").touch()
    chosen = Selection(tree, ("**",), ())
    backup.pack_archive(staging, "Shop", "application", [], None, "", chosen, now=clock.now())
    with (staging.path / "archive.zip").open("rb") as file:
        tracemalloc.start()
        assert ArchiveReader(file, "it", None).verify().entries == count + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_each_file_of_an_archive_takes_little_memory(tmp_path: Path) -> None:
    assert (peak_of_verifying(tmp_path, 1200) - peak_of_verifying(tmp_path, 200)) / 1000 < 900  # bytes


OF_FILE = {"size": 7, "sha256": "ab" * 32, "type": "file", "mode": "0644", "mtime_ns": -(10**18) - 1}


@pytest.mark.parametrize(
    ("change", "is_packed"),
    [
        ({}, True),
        ({"type": "link", "mode": "4755", "size": 1 << 63}, True),
        ({"mode": "06 44"}, False),
        ({"mode": "\udcff"}, False),
        ({"sha256": "AB" * 32}, False),
        ({"sha256": "ab"}, False),
        ({"size": -1}, False),
        ({"size": "7"}, False),
        ({"mtime_ns": 1 << 63}, False),
        ({"mtime_ns": 1.5}, False),
        ({"path": "b"}, False),
    ],
)
def test_facts_of_files_are_packed_only_if_nothing_is_lost(change: dict[str, Any], is_packed: bool) -> None:
    facts = OF_FILE | change
    kept = packed(facts)
    assert isinstance(kept, bytes) == is_packed
    assert Entries({"a": kept})["a"] == facts
