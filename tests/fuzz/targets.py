"""What reads bytes that others may have written: each target may refuse them in a sentence, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

from lifeboat.actions import stored_archive, survey
from lifeboat.archive import MANIFEST_NAME, database_of_entry
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import archives, proof
from lifeboat.catalog import marker as markers
from lifeboat.catalog.proof import Proof
from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.binlog import CRC_BYTES, FIRST, HEAD, MAGIC, Walk
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.log_sieve import Sieve
from lifeboat.databases.mysql.rows import loadable
from lifeboat.databases.mysql.statements import StatementReader
from lifeboat.databases.mysql.transactions import transactions
from lifeboat.databases.postgresql import digest
from lifeboat.databases.sqlite import text as sqlite_text
from lifeboat.decide import restore_plan
from lifeboat.errors import LifeboatError
from lifeboat.files import layout
from lifeboat.settings import config
from lifeboat.storage import StoredObject
from lifeboat.support import signing

from tests.records import marker_of

KEY = "Shop/database/2026-11-23-01-00-00.zip"
WHEN = datetime(2026, 11, 23, 1, tzinfo=UTC)
PASSWORD = "fuzz"
MARKER = marker_of(KEY)
LONGEST_STATEMENT = 1 << 20
ENTRIES = {"db-dumps/mysql-shop.sql": b"SELECT 1;\n", "a/b.txt": b"hello", "a/": b"", "link": b"a/b.txt"}


class OneObject:
    """A destination that holds the same bytes under every key."""

    name = "here"

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __str__(self) -> str:
        return "destination 'here'"

    def find(self, key: str) -> StoredObject:
        return StoredObject(key, len(self._content), WHEN)

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self._content)


def archive(data: bytes) -> None:
    """A whole archive, from its directory to its last byte."""
    for password in (None, PASSWORD):
        with contextlib.suppress(LifeboatError):
            _read_whole(ArchiveReader(io.BytesIO(data), "the archive", password))
    with contextlib.suppress(LifeboatError):
        _read_whole(ArchiveReader(io.BytesIO(data), "the archive", None, foreign=True))


def _read_whole(reader: ArchiveReader) -> None:
    entries = reader.files()
    with contextlib.suppress(LifeboatError):
        layout.lay_out(reader.where, entries)
    restore_plan.content_of(reader.names(), "application", ["shop"])
    for entry in entries[:3]:
        stored = reader.stored(entry.name)
        list(reader.chunks(entry.name, stored, reader.keys([entry.name], [stored])))
    reader.verify()


def manifest(data: bytes) -> None:
    """The manifest of an archive that is whole otherwise."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name, text in (ENTRIES | {MANIFEST_NAME: data}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = {"a/": 0o40755, "link": 0o120777}.get(name, 0o100644) << 16
            written.writestr(info, text)
    reader = ArchiveReader(content, "the archive", None)
    for read in (
        lambda: layout.lay_out(reader.where, reader.files()),
        reader.verify,
        lambda: stored_archive.verify_as(reader, KEY, MARKER),
        lambda: stored_archive.captured_database(reader, "shop"),
    ):
        with contextlib.suppress(LifeboatError):
            read()


def key(data: bytes) -> None:
    """The names of a listing."""
    names = data.decode("utf-8", "surrogateescape").split("\n")
    objects = [StoredObject(name, 1, WHEN) for name in names]
    found = archives.read(objects)
    assert len(found.archives) + len(found.unfinished) <= len(objects)
    for name in names:
        archives.kind_of(name)
        database_of_entry(name)


def settings(data: bytes) -> None:
    """The settings file."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".yaml") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(LifeboatError):
            config.load(Path(file.name))


def statements(data: bytes) -> None:
    """The text of a dump, in chunks of a size that its first byte says."""
    size = data[0] * 7 + 1 if data else 1
    with contextlib.suppress(LifeboatError):
        for statement in StatementReader(_chunks(data[1:], size), LONGEST_STATEMENT):
            if statement.kind == "rows":
                loadable(statement.sql, ())
            if statement.kind == "event":
                definitions.disabled(statement)
    with contextlib.suppress(LifeboatError):
        parser = DumpParser(schema="shop")
        for chunk in _chunks(data[1:], size):
            parser.feed(chunk)
        parser.finish()


def postgresql(data: bytes) -> None:
    """The text of a dump of PostgreSQL."""
    with contextlib.suppress(LifeboatError):
        digest.digest(_chunks(data[1:], data[0] * 7 + 1 if data else 1))


def sqlite(data: bytes) -> None:
    """The text of a dump of SQLite."""
    with contextlib.suppress(LifeboatError):
        for statement in sqlite_text.read(_chunks(data[1:], data[0] * 7 + 1 if data else 1)):
            sqlite_text.text_of(statement)


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def marker(data: bytes) -> None:
    """What stands beside a published archive."""
    with contextlib.suppress(LifeboatError):
        markers.read(OneObject(data), KEY)  # type: ignore[arg-type]  # what a marker is read by


def proofs(data: bytes) -> None:
    """A proof, of which somebody says that it is signed: anybody can where archives have no password."""
    with contextlib.suppress(LifeboatError):
        proof.read(OneObject(data), KEY, PASSWORD)  # type: ignore[arg-type]
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(facts := json.loads(data), dict):
            data = json.dumps(signing.signed(facts | {"key": KEY, "result": "proven"}, None, Proof.purpose)).encode()
    with contextlib.suppress(LifeboatError):
        survey.read_proof(OneObject(data), archives.Archive(KEY, "Shop", "database", WHEN, 1, True), WHEN, None)  # type: ignore[arg-type]


def logs(data: bytes) -> None:
    """A binary log: as it is, and as if a server had written it so, with lengths, places and checksums that are right.

    What is left of it without other schemas is a log of the same transactions.
    """
    for log in (data, _framed(data)):
        with contextlib.suppress(LifeboatError):
            walk = Walk("log.000001", FIRST, "")
            walk.feed(log)
            sieve = Sieve("log.000001", ["shop"], lambda number: ("utf8mb4", f"collation_{number}"))
            stays = b"".join(map(sieve.feed, _chunks(log[: walk.whole_bytes], 1 + len(log) % 50))) + sieve.end()
            left = Walk("log.000001", FIRST, "", left_out=sieve.left_out.bytes)
            left.feed(stays)
            left.end()
            assert left.transactions == walk.transactions
            assert walk.whole_bytes == len(stays) + sieve.left_out.bytes
            facts = {"file": "log.000001", "start": FIRST, "server": "", "skips": "", "left_out": sieve.left_out}
            assert len(list(transactions([(SimpleNamespace(**facts), [stays])]))) == walk.transactions.number


def _framed(data: bytes) -> bytes:
    """Return events with lengths, places and checksums that are right."""
    made, at = MAGIC, FIRST
    while len(data) - at >= HEAD.size + CRC_BYTES:
        time, kind, server, size, _, _ = HEAD.unpack_from(data, at)
        size = min(max(size, HEAD.size + CRC_BYTES), len(data) - at)
        event = HEAD.pack(time, kind, server, size, len(made) + size, 0) + data[at + HEAD.size : at + size - CRC_BYTES]
        made += event + zlib.crc32(event).to_bytes(CRC_BYTES, "little")
        at += size
    return made


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (archive, manifest, key, settings, statements, postgresql, sqlite, marker, proofs, logs)
}
