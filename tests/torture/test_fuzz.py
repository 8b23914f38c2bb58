"""Bytes that others may have written: what they were seen to do wrong once, what chance makes of them, and bombs."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifeboat.archive.read import MANIFEST_BASE, ArchiveReader
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.statements import StatementReader, recognise
from lifeboat.errors import ArchiveError, LifeboatError, SettingsError
from lifeboat.settings import config

from tests.fuzz.targets import TARGETS
from tests.torture.conftest import Faults

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "120"))  # of each target in `make torture`
AT_ONCE = 2.0  # seconds that nothing takes which is refused


def corpus(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_before_stays_found(target: str, faults: Faults) -> None:
    for content in corpus(target):
        started = time.monotonic()
        with faults.one(f"fuzz: {target}, corpus"):
            TARGETS[target](content)
        assert time.monotonic() - started < 10 * AT_ONCE


def changed(target: str) -> st.SearchStrategy[bytes]:
    """Return what a few changed bytes, a cut, or pure chance make of a target's corpus."""

    def change(content: bytes, edits: list[tuple[int, int]], end: int) -> bytes:
        made = bytearray(content)
        for position, value in edits:
            if made:
                made[position % len(made)] = value
        return bytes(made[: len(made) - end % 50 if end > 50 else len(made)])

    edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=5)
    return st.one_of(
        st.builds(change, st.sampled_from(corpus(target)), edits, st.integers(0, 100)), st.binary(max_size=200)
    )


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_a_sentence_comes_out(target: str, faults: Faults) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(changed(target))
    def read(content: bytes) -> None:
        with faults.one(f"fuzz: {target}, by chance"):
            TARGETS[target](content)

    read()


@pytest.mark.torture
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_a_sentence_comes_out_for_minutes(target: str, tmp_path: Path, faults: Faults) -> None:
    """Guided by coverage. What is new goes to a folder of the test; what fails is named in its output."""
    shutil.copytree(CORPUS / target, tmp_path / "corpus")
    command = [sys.executable, "-m", "tests.fuzz", target, str(SECONDS), str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed
    faults.injected[f"fuzz: {target}, guided by coverage"] += int(executed[1])
    faults.withstood[f"fuzz: {target}, guided by coverage"] += int(executed[1])


def laughs(item: str) -> str:
    """Return YAML in which nine levels of aliases become 10^9 items."""
    levels = [f"a0: &a0 {item.format('x')}"]
    levels += [f"a{n}: &a{n} {item.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, 10)]
    return "\n".join(levels)


BOMBS = {
    "values": laughs("[{}]"),
    "itself": "a: &a [*a]",
    "long": "#" * (2 << 20),
    "a long number": "a: " + "9" * 100_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_settings_that_explode_are_refused_at_once(tmp_path: Path, bomb: str, faults: Faults) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(BOMBS[bomb])
    started = time.monotonic()
    with faults.one("bomb: settings"), pytest.raises(SettingsError):
        config.load(path)
    assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize(
    "read",
    [
        lambda sql: list(StatementReader(iter([sql]), 1 << 20)),
        lambda sql: DumpParser().feed(sql),
        recognise,
    ],
)
@pytest.mark.parametrize(
    "sql",
    [
        b"INSERT INTO `t` (" + b"a" * 60 + b"\n",
        b"INSERT INTO `t` (" + b"`a`" * 60 + b"\n",
        b"CREATE" + b"/" * 3000 + b";\n",
        b"CREATE TRIGGER " + b"/* */" * 60 + b"1;\n",
        b"INSERT INTO `t` VALUES (" + b"'" * 61 + b"\n",
    ],
)
def test_no_statement_takes_for_ever(read: Callable[[bytes], object], sql: bytes, faults: Faults) -> None:
    started = time.monotonic()
    with faults.one("bomb: SQL"):
        with contextlib.suppress(LifeboatError):
            read(sql)
        assert time.monotonic() - started < AT_ONCE


def test_archives_that_explode_are_refused_at_once(faults: Faults) -> None:
    def read(content: bytes) -> None:
        ArchiveReader(io.BytesIO(content), "the archive", None).verify()

    manifest = io.BytesIO()
    with zipfile.ZipFile(manifest, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("manifest.json", "w") as entry:
        for _ in range((MANIFEST_BASE >> 20) + 1):
            entry.write(bytes(1 << 20))
    shared = io.BytesIO()
    with zipfile.ZipFile(shared, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
        archive.writestr("b", bytes(1 << 20))
        archive.filelist[1].header_offset = archive.filelist[0].header_offset
    for content, said in ((manifest, "its manifest claims to be larger"), (shared, "shares its bytes with another")):
        started = time.monotonic()
        with faults.one("bomb: archive"), pytest.raises(ArchiveError, match=said):
            read(content.getvalue())
        assert time.monotonic() - started < AT_ONCE
