"""Changed and cut archives, markers and proofs: nothing passes, and nothing that exists is touched.

An archive is guarded by the SHA-256 in its marker, by its manifest, and by an HMAC per entry. What only the first of
them sees is listed here, field by field: an archive that is verified as a file without its marker has no other guard.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lifeboat.actions import backup, drill, restore
from lifeboat.airflow.site import site_of
from lifeboat.catalog import proof
from lifeboat.decide.restore_plan import RestorePlan, RestoreRequest
from lifeboat.errors import LifeboatError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.staging import StagingDirectory

from include.demo.stand_ins import MariaDB
from tests.conftest import ARCHIVE_PASSWORD, Configure, staging_directory
from tests.torture.conftest import Faults
from tests.unit.test_archive import read, write

EVERY_BIT = tuple(1 << bit for bit in range(8))
MIXED = (0x55,)

# Fields of the ZIP in which a changed bit is not seen without the marker's SHA-256, and why it does not matter.
UNREAD = {
    # The directory at the end says all of this, too, and it is what counts.
    **dict.fromkeys(
        [f"local {name}" for name in ("version", "flags", "method", "time", "date", "crc", "size", "length", "extra")]
    ),
    **dict.fromkeys(f"descriptor {name}" for name in ("signature", "crc", "size", "length")),
    # Times and modes come from the manifest. Archives without one are of others, who promise nothing of them.
    **dict.fromkeys([f"central {name}" for name in ("time", "date", "external", "extra")]),
    # Which tool wrote it, which version is needed, whether it is text: nobody asks.
    **dict.fromkeys([f"central {name}" for name in ("made by", "version", "internal", "disk")]),
    # Bits of the flags that say how hard deflate tried. The method of an encrypted entry is AES in any case.
    **dict.fromkeys([f"central {name}" for name in ("flags", "method")]),
    # Of the last entry, where there is nothing more to skip; the directory's own length says where it ends.
    **dict.fromkeys([f"central {name}" for name in ("extra length", "comment length")]),
    # A ZIP of several disks; how many entries there are is seen from the directory.
    **dict.fromkeys([f"end {name}" for name in ("disk", "first disk", "entries here", "entries", "comment length")]),
}
LOCAL = {
    "signature": 4,
    "version": 2,
    "flags": 2,
    "method": 2,
    "time": 2,
    "date": 2,
    "crc": 4,
    "size": 4,
    "length": 4,
    "name length": 2,
    "extra length": 2,
}
DESCRIPTOR = {"signature": 4, "crc": 4, "size": 4, "length": 4}  # behind content whose size was not known in front
HAS_DESCRIPTOR = 8  # in an entry's flags
CENTRAL = {
    "signature": 4,
    "made by": 2,
    "version": 2,
    "flags": 2,
    "method": 2,
    "time": 2,
    "date": 2,
    "crc": 4,
    "size": 4,
    "length": 4,
    "name length": 2,
    "extra length": 2,
    "comment length": 2,
    "disk": 2,
    "internal": 2,
    "external": 4,
    "offset": 4,
}
END = {
    "signature": 4,
    "disk": 2,
    "first disk": 2,
    "entries here": 2,
    "entries": 2,
    "directory size": 4,
    "directory offset": 4,
    "comment length": 2,
}


def fields(archive: bytes | bytearray) -> Iterator[str]:
    """Yield the name of the field that each byte of an archive is in."""

    def header(kind: str, sizes: dict[str, int], name: int = 0, extra: int = 0) -> Iterator[str]:
        for field, size in (sizes | {"name": name, "extra": extra}).items():
            yield from [f"{kind} {field}"] * size

    end = archive.rindex(b"PK\x05\x06")
    count, _, start = struct.unpack_from("<HII", archive, end + 10)
    directory: list[str] = []
    position = start
    for _ in range(count):
        (flags,) = struct.unpack_from("<H", archive, position + 8)
        (stored,) = struct.unpack_from("<I", archive, position + 20)
        name, extra, comment = struct.unpack_from("<HHH", archive, position + 28)
        (offset,) = struct.unpack_from("<I", archive, position + 42)
        local = struct.unpack_from("<HH", archive, offset + 26)
        yield from header("local", LOCAL, *local)
        yield from ["content"] * stored
        yield from header("descriptor", DESCRIPTOR if flags & HAS_DESCRIPTOR else {})
        directory += header("central", CENTRAL, name, extra)
        position += sum(CENTRAL.values()) + name + extra + comment
    yield from directory
    yield from header("end", END)


@pytest.mark.torture
def test_what_nothing_but_the_published_sha256_sees(tmp_path: Path, faults: Faults) -> None:
    content = bytearray(write(tmp_path / "a.zip", contents={"db-dumps/mysql-s.sql": b"SELECT 1;\n" * 9}).read_bytes())
    names = list(fields(content))
    assert len(names) == len(content)
    unseen = set()
    for position, name in enumerate(names):
        for bits in EVERY_BIT:
            content[position] ^= bits
            with faults.one("bit of an archive flipped, no marker beside it"):
                try:
                    read(bytes(content)).verify()
                    unseen.add(name)
                except LifeboatError:
                    pass
            content[position] ^= bits
    assert unseen == set(UNREAD)


class Victim:
    """A published archive of one database and some files, to be damaged.

    :ivar path: of the archive on disk; the marker and the proof stand beside it.
    """

    def __init__(self, settings: Settings, mariadb: MariaDB) -> None:
        self.settings = settings
        self._mariadb = mariadb
        (self._place,) = site_of(settings).destinations("Shop", ("disk",))
        scratch = StagingDirectory(staging_directory(settings) / "1")
        scratch.create()
        databases = settings.databases_of("Shop")
        self.key = backup.take(site_of(settings), "Shop", "application", databases, ("disk",), "", scratch).packed.key
        self.path = settings.own_directories[1] / self.key
        self.plan = self._selected()
        drill.rehearse(site_of(settings), "Shop", self._place, self.key, "the tests", datetime.now(UTC))
        self._before = self._state()

    def _selected(self) -> RestorePlan:
        target = self.settings.files_of("Shop").root.with_name("copy")
        wanted = RestoreRequest("Shop", destination="disk", files=True, into=str(target))
        return restore.select(site_of(self.settings), wanted, datetime.now(UTC))

    def _state(self) -> tuple[str, int, list[str]]:
        """Return the server's schemas, how many statements changed anything, and what is beside the files."""
        changed = "SELECT sum(variable_value) FROM information_schema.global_status WHERE variable_name IN"
        commands = "('com_create_db', 'com_create_table', 'com_drop_db', 'com_drop_table', 'com_insert', 'com_delete')"
        root = self.settings.files_of("Shop").root
        return (
            self._mariadb.run("SHOW DATABASES"),
            int(float(self._mariadb.run(f"{changed} {commands}"))),
            sorted(str(path) for path in root.parent.rglob("*") if self.path.parent not in path.parents),
        )

    def select(self) -> None:
        """Choose the archive for a restore, and verify it."""
        restore.verify(site_of(self.settings), self._selected())

    def verify(self) -> None:
        """Verify what was chosen before the damage: the first step of a restore, and the whole of `lifeboat verify`."""
        restore.verify(site_of(self.settings), self.plan)

    def rehearse(self) -> None:
        """Restore to scratch."""
        drill.rehearse(site_of(self.settings), "Shop", self._place, self.key, "the tests", datetime.now(UTC))

    def read_proof(self) -> None:
        """Read the proof."""
        proof.read(self._place, self.key, ARCHIVE_PASSWORD)

    def check_untouched(self) -> None:
        """Nothing was made, dropped, filled or emptied since the archive was whole."""
        assert self._state() == self._before


@pytest.fixture
def victim(project: Configure, mariadb: MariaDB, tmp_path: Path) -> Iterator[Victim]:
    mariadb.run("DROP DATABASE IF EXISTS tiny; CREATE DATABASE tiny")
    mariadb.run("CREATE TABLE t (id INT PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'one'), (2, 'two')", "tiny")
    root = tmp_path / "site" / "app"
    root.mkdir(parents=True)
    (root / "index.php").write_text("<?php")
    (root / "current").symlink_to("index.php")
    tiny = {"databases": [{"name": "tiny", "connection": "shop_db"}], "files": {"root": str(root)}}
    yield Victim(config.load(project(applications={"Shop": tiny}, drill={"production": True})), mariadb)
    mariadb.run("DROP DATABASE tiny")


def damage(
    path: Path, attempt: Callable[[], None], positions: range, bits: tuple[int, ...], faults: Faults, what: str
) -> set[int]:
    """Flip bits of a file, one position after the other; return where an attempt to use it succeeded all the same."""
    whole = path.read_bytes()
    content = bytearray(whole)
    unseen = set()
    for position in positions:
        for flipped in bits:
            content[position] ^= flipped
            path.write_bytes(content)
            with faults.one(what):
                try:
                    attempt()
                    unseen.add(position)
                except LifeboatError:
                    pass
            content[position] ^= flipped
    path.write_bytes(whole)
    return unseen


def cut(path: Path, attempt: Callable[[], None], lengths: range, faults: Faults, what: str) -> None:
    """Cut a file at some lengths; every attempt to use it is refused."""
    whole = path.read_bytes()
    for length in lengths:
        path.write_bytes(whole[:length])
        with faults.one(what), pytest.raises(LifeboatError):
            attempt()
    path.write_bytes(whole)


# The proof goes where a drill finds the archive damaged; here, that would take the fault away.
STEPS = {"verify": Victim.verify, "select": Victim.select, "drill": Victim.rehearse}


@pytest.mark.parametrize("step", STEPS)
def test_no_damaged_archive_is_used(victim: Victim, faults: Faults, step: str) -> None:
    """A sample of what `test_no_archive_with_a_changed_bit_is_used` does with every byte."""
    size = victim.path.stat().st_size
    assert size < 4096

    def attempt() -> None:
        STEPS[step](victim)

    assert (
        damage(victim.path, attempt, range(0, size, 41), MIXED, faults, f"byte of an archive changed: {step}") == set()
    )
    cut(victim.path, attempt, range(0, size, 79), faults, f"archive cut: {step}")
    victim.check_untouched()
    attempt()


@pytest.mark.torture
@pytest.mark.parametrize("step", STEPS)
def test_no_archive_with_a_changed_bit_is_used(victim: Victim, faults: Faults, step: str) -> None:
    size = victim.path.stat().st_size

    def attempt() -> None:
        STEPS[step](victim)

    bits = EVERY_BIT if step == "verify" else MIXED
    assert damage(victim.path, attempt, range(size), bits, faults, f"every byte of an archive changed: {step}") == set()
    cut(victim.path, attempt, range(size), faults, f"archive cut at every length: {step}")
    victim.check_untouched()
    attempt()


@pytest.mark.torture
def test_of_a_large_archive_nothing_else_is_unread(tmp_path: Path, faults: Faults) -> None:
    chance = random.Random(1)
    files = {f"{number}": chance.randbytes(chance.randrange(200_000)) for number in range(60)}
    dump = {"db-dumps/mysql-s.sql": b"INSERT INTO t VALUES (1);\n" * 500_000}
    content = bytearray(write(tmp_path / "a.zip", contents=files | dump).read_bytes())
    names = list(fields(content))
    headers = [position for position, name in enumerate(names) if name != "content"]
    for position in (*chance.sample(headers, 100), *chance.sample(range(len(content)), 100)):
        flipped = 1 << chance.randrange(8)
        content[position] ^= flipped
        with faults.one("bit of a large archive flipped, no marker beside it"):
            try:
                read(bytes(content)).verify()
                assert names[position] in UNREAD
            except LifeboatError:
                pass
        content[position] ^= flipped


def test_no_marker_with_a_changed_byte_is_believed(victim: Victim, faults: Faults) -> None:
    """Every byte of the marker; what the names of its totals say is for the page alone."""
    path = victim.path.with_name(f"{victim.path.name}.json")
    text = path.read_bytes()
    unseen = damage(path, victim.verify, range(len(text)), MIXED, faults, "byte of a marker changed")
    totals = json.loads(text)["totals"]
    names = {
        position
        for name in totals
        for start in [text.index(f'"{name}"'.encode(), text.index(b'"totals"')) + 1]
        for position in range(start, start + len(name))
    }
    assert unseen <= names
    cut(path, victim.verify, range(0, len(text), 7), faults, "marker cut")
    victim.check_untouched()


def test_no_proof_with_a_changed_byte_is_believed(victim: Victim, faults: Faults) -> None:
    path = victim.path.with_name(f"{victim.path.name}.proof.json")
    size = path.stat().st_size
    assert damage(path, victim.read_proof, range(size), MIXED, faults, "byte of a proof changed") == set()
    cut(path, victim.read_proof, range(size), faults, "proof cut")
