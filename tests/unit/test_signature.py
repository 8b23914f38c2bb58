"""Nobody without the password makes another archive of the parts of one: entries moved, dropped, added or mixed."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import backup, stored_archive
from lifeboat.archive import MANIFEST_NAME, directory, signature
from lifeboat.archive import read as archive_read
from lifeboat.archive.encryption import Encrypter
from lifeboat.archive.read import ArchiveReader
from lifeboat.archive.write import ArchiveWriter
from lifeboat.catalog.manifest import Manifest
from lifeboat.catalog.proof import Proof
from lifeboat.errors import ArchiveError
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock, signing
from lifeboat.support.signing import SIGNATURE

from tests.forgery import Stored, archive_of, clear, entries_of, names_of, renamed
from tests.records import manifest_facts

PASSWORD = "pâss 'word\" \\ 🦊"
CAPTURED = "2026-11-28T01:00:00+00:00"
KEY = "Shop/application/2026-11-28-01-00-00.zip"
EVIL = b"DROP DATABASE shop;"
DUMP = "db-dumps/mysql-shop.sql"


def promise(contents: dict[str, bytes], **changes: Any) -> bytes:
    """Return a manifest as an attacker writes it, who may have his files backed up."""
    entries = {
        name: {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "type": "file",
            "mode": "0644",
            "mtime_ns": 0,
        }
        for name, content in contents.items()
    }
    return json.dumps(manifest_facts(entries, **changes)).encode()


class Archives:
    """Archives of an application in which somebody keeps uploads.

    :param key: of the archive.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(
        self, name: str = "one", uploads: dict[str, bytes] | None = None, *, password: str | None = PASSWORD
    ) -> tuple[str, bytes]:
        """Pack an archive; return its key and content."""
        root = self._folder / name
        root.mkdir()
        files = {"index.php": b"<?php", "b.txt": b"of the same length", "c.txt": b"with the same name"} | (
            uploads or {}
        )
        for path, content in files.items():
            (root / path).write_bytes(content)
        scratch = StagingDirectory(self._folder / f"{name} staging")
        scratch.create()
        selection = Selection(root, ("**",), ())
        packed = backup.pack_archive(scratch, "Shop", "application", [], password, "", selection, now=clock.now())
        return packed.key, (scratch.path / "archive.zip").read_bytes()


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    return Archives(tmp_path)


def read(content: bytes, key: str, password: str | None = PASSWORD) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(content), "the archive", password, key=key)


def refused(content: bytes, key: str, said: str) -> None:
    """Expect every way of reading to refuse an archive."""
    for use in (
        lambda: read(content, key).verify(),
        lambda: stored_archive.verify_as(read(content, ""), key, None),
        lambda: read(content, key).files(),
        lambda: read(content, key).manifest(),
    ):
        with pytest.raises(ArchiveError, match=said):
            use()


def test_a_manifest_is_signed_and_any_tool_opens_it(archives: Archives, tmp_path: Path) -> None:
    key, content = archives.make()
    manifest = read(content, key).manifest()
    assert manifest is not None
    read(content, key).verify()
    (tmp_path / "a.zip").write_bytes(content)
    command = ["7z", "x", f"-p{PASSWORD}", f"-o{tmp_path / 'out'}", str(tmp_path / "a.zip")]
    subprocess.run(command, check=True, capture_output=True)
    facts = json.loads((tmp_path / "out" / MANIFEST_NAME).read_text())
    assert list(facts)[-1] == SIGNATURE
    assert len(facts[SIGNATURE]) == 64
    assert Manifest.from_json(facts) == manifest


def test_without_a_password_nothing_is_signed(archives: Archives) -> None:
    key, content = archives.make(password=None)
    reader = read(content, key, None)
    assert SIGNATURE not in (reader.manifest() or {})
    reader.verify()


def test_archives_made_before_there_were_signatures_are_read(tmp_path: Path) -> None:
    contents = {"a.txt": b"content"}
    captured = "2026-11-23T01:00:00+00:00"
    with ArchiveWriter(tmp_path / "a.zip", PASSWORD) as archive:
        modified = datetime.fromisoformat(captured)
        for name, content in contents.items():
            archive.add_pieces(name, [content], size=100, modified=modified)
        archive.add_pieces(MANIFEST_NAME, [promise(contents, captured_at=captured)], size=10_000, modified=modified)
    content = (tmp_path / "a.zip").read_bytes()
    key = "Shop/application/2026-11-23-01-00-00.zip"
    assert read(content, key).verify().has_manifest
    refused(content, key.replace("23", "24"), "holds the manifest of another archive")


Forge = Callable[[dict[str, Stored], dict[str, Stored]], list[Stored]]


def _uploaded(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    """An upload that was written as a manifest, and uploads that it promises."""
    evil = renamed(entries["evil.sql"], DUMP)
    return [evil, renamed(entries["manifest.txt"], MANIFEST_NAME)]


def _swapped(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    b, c = entries["b.txt"], entries["c.txt"]
    return [*(e for n, e in entries.items() if n not in ("b.txt", "c.txt")), renamed(b, "c.txt"), renamed(c, "b.txt")]


def _dropped(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [entry for name, entry in entries.items() if name != "b.txt"]


def _added(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*entries.values(), renamed(entries["evil.sql"], DUMP)]


def _made_a_link(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    link = entries["b.txt"]._replace(attributes=0o120777 << 16)
    return [*(each for name, each in entries.items() if name != "b.txt"), link]


def _doubled(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*entries.values(), renamed(entries["evil.sql"], "index.php")]


def _second_manifest(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*entries.values(), renamed(entries["manifest.txt"], MANIFEST_NAME)]


def _added_in_the_clear(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*entries.values(), clear(DUMP, EVIL)]


def _replaced_in_the_clear(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*(each for name, each in entries.items() if name != "index.php"), clear("index.php", b"<?php")]


def _manifest_in_the_clear(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [clear(DUMP, EVIL), clear(MANIFEST_NAME, promise({DUMP: EVIL}))]


def _empty_manifest(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [*(each for name, each in entries.items() if name != MANIFEST_NAME), clear(MANIFEST_NAME, b"")]


def _without_manifest(entries: dict[str, Stored], _: dict[str, Stored]) -> list[Stored]:
    return [renamed(entries["evil.sql"], MANIFEST_NAME)]


def _of_another(entries: dict[str, Stored], other: dict[str, Stored]) -> list[Stored]:
    return list(other.values())


def _manifest_of_another(entries: dict[str, Stored], other: dict[str, Stored]) -> list[Stored]:
    return [*(each for name, each in entries.items() if name != MANIFEST_NAME), other[MANIFEST_NAME]]


def _file_of_another(entries: dict[str, Stored], other: dict[str, Stored]) -> list[Stored]:
    return [*(each for name, each in entries.items() if name != "b.txt"), other["b.txt"]]


FORGERIES: dict[str, tuple[Forge, str]] = {
    "an upload as the manifest": (_uploaded, "its manifest is another entry that was renamed to it"),
    "a manifest twice": (_second_manifest, "its manifest is another entry|holds two entries with the same name"),
    "a file as the manifest": (_without_manifest, "its manifest is another entry"),
    "a manifest in the clear": (_manifest_in_the_clear, "'manifest.json' is not encrypted"),
    "an empty manifest": (_empty_manifest, "its manifest does not describe an archive"),
    "another archive": (_of_another, "holds the manifest of another archive"),
    "the manifest of another": (
        _manifest_of_another,
        "holds the manifest of another archive|which its manifest does not list",
    ),
}
SEEN_WHOLE: dict[str, tuple[Forge, str]] = {
    "names swapped": (_swapped, "does not match its manifest"),
    "an entry dropped": (_dropped, "lacks 'b.txt', which its manifest lists"),
    "an entry added": (_added, "which its manifest does not list"),
    "a file made a link": (_made_a_link, "'b.txt' does not match its manifest"),
    "an entry twice": (_doubled, "holds two entries with the same name"),
    "an entry added in the clear": (_added_in_the_clear, "which its manifest does not list"),
    "an entry in the clear": (_replaced_in_the_clear, "'index.php' is not encrypted"),
    "a file of another archive": (_file_of_another, "does not match its manifest"),
}


@pytest.fixture
def parts(archives: Archives) -> tuple[str, dict[str, Stored], dict[str, Stored]]:
    """The key of an archive, its entries, and those of another one."""
    uploads = {"evil.sql": EVIL, "manifest.txt": promise({DUMP: EVIL}, captured_at=CAPTURED)}
    key, content = archives.make("one", uploads)
    _, other = archives.make("other", {"b.txt": b"OF THE SAME LENGTH"})
    return key, entries_of(content), entries_of(other)


def test_the_forger_forges_nothing_when_he_changes_nothing(parts: tuple[str, dict[str, Stored], Any]) -> None:
    key, entries, _ = parts
    read(archive_of(entries.values()), key).verify()
    assert names_of(archive_of(entries.values())) == list(entries)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_is_refused(parts: tuple[str, dict[str, Stored], dict[str, Stored]], name: str) -> None:
    _, entries, other = parts
    forge, said = FORGERIES[name]
    refused(archive_of(forge(entries, other)), KEY, said)


@pytest.mark.parametrize("name", SEEN_WHOLE)
def test_moved_entries_are_seen_when_all_is_read(
    parts: tuple[str, dict[str, Stored], dict[str, Stored]], name: str
) -> None:
    key, entries, other = parts
    forge, said = SEEN_WHOLE[name]
    with pytest.raises(ArchiveError, match=said):
        read(archive_of(forge(entries, other)), key).verify()


@pytest.mark.parametrize("name", ["index.php", "c.txt"])
def test_one_entry_is_compared_before_it_is_used(parts: tuple[str, dict[str, Stored], Any], name: str) -> None:
    key, entries, _ = parts
    read(archive_of(entries.values()), key).verify_entry(name)
    moved = archive_of({**entries, name: renamed(entries["evil.sql"], name)}.values())
    with pytest.raises(ArchiveError, match="does not match its manifest"):
        read(moved, key).verify_entry(name)


def test_a_signature_binds_the_whole_text() -> None:
    signer = signature.Signer(PASSWORD.encode())
    signer.update(b'{"a": 1')
    text = b'{"a": 1' + signer.tail()
    assert json.loads(text)["a"] == 1
    assert signature.is_authentic(text, PASSWORD.encode())
    assert not signature.is_authentic(text, b"another")
    for position in range(len(text)):
        changed = text[:position] + bytes([text[position] ^ 1]) + text[position + 1 :]
        assert not signature.is_authentic(changed, PASSWORD.encode())
    assert not signature.is_signed(b'{"a": 1}')


@pytest.mark.parametrize("said", ["was not signed with the archive password"])
def test_a_changed_signature_is_refused(tmp_path: Path, said: str) -> None:
    text = promise({}, captured_at=CAPTURED)[:-1] + b',\n "hmac_sha256": "' + b"0" * 64 + b'"\n}'
    with ArchiveWriter(tmp_path / "a.zip", PASSWORD) as archive:
        archive.add_pieces(MANIFEST_NAME, [text], size=10_000, modified=datetime.fromisoformat(CAPTURED))
    refused((tmp_path / "a.zip").read_bytes(), KEY, said)


def test_salts_are_marked_and_differ() -> None:
    password = PASSWORD.encode()
    salts = [each.salt for each in Encrypter.several(password, 1000)]
    assert len({salt[:12] for salt in salts}) == 1000
    assert all(signature.is_marked(salt, password) for salt in salts)
    assert not any(signature.is_marked(salt, b"another") for salt in salts)
    assert not signature.is_marked(Encrypter.of(password, is_manifest=True).salt, password)
    assert not signature.is_marked(b"", password)


def test_proofs_made_before_are_authentic() -> None:
    made = {"key": KEY, "hmac_sha256": "b65d3f11c1ce0a2207b276837fee700edb8d5a6590c1075072839a546e612af4"}
    assert signing.is_authentic(made, "secret", Proof.purpose)


def test_legacy_dumps_are_encrypted_even_when_they_are_empty(tmp_path: Path) -> None:
    for name, content, is_refused in ((DUMP, b"", True), (DUMP, EVIL, True), ("a/.gitkeep", b"", False)):
        reader = ArchiveReader(io.BytesIO(archive_of([clear(name, content)])), "the archive", PASSWORD, foreign=True)
        if is_refused:
            with pytest.raises(ArchiveError, match="is not encrypted, so anyone could have written it"):
                reader.verify()
        else:
            reader.verify()


def test_the_old_encryption_of_zip_authenticates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(EVIL * 9)
    command = ["7z", "a", "-tzip", "-psecret", "-mem=ZipCrypto", str(tmp_path / "a.zip"), "a.sql"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with (tmp_path / "a.zip").open("rb") as file, pytest.raises(ArchiveError, match="is not encrypted"):
        ArchiveReader(file, "the archive", "secret", foreign=True).verify()


@pytest.mark.parametrize(("kind", "count"), [("legacy", 30_000), ("ours", 300_000), ("ours in the clear", 30_000)])
def test_a_long_directory_is_refused_before_memory_is_spent_on_it(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million entries took 758 MB; nobody without the password makes a manifest that lists them."""
    for module in (directory, archive_read):
        monkeypatch.setattr(module, "MOST_ENTRIES", min(directory.MOST_ENTRIES, count - 1))
    manifest = [] if kind == "legacy" else [clear(MANIFEST_NAME, promise({}, captured_at=CAPTURED))]
    content = archive_of([*manifest, *(clear(f"{number:07}", b"") for number in range(count))])
    password = None if kind == "ours in the clear" else PASSWORD
    said = {"legacy": f"lists {count} entries in 1", "ours": "'manifest.json' is not encrypted"}
    tracemalloc.start()
    with pytest.raises(ArchiveError, match=said.get(kind, f"has {count + 1} entries, but its manifest lists 0")):
        ArchiveReader(io.BytesIO(content), "the archive", password, foreign=kind == "legacy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(content) + (50 << 20) * count // 300_000


def test_long_names_are_refused_before_memory_is_spent_on_them() -> None:
    content = archive_of(clear(f"{number:05}" * 10_000, b"") for number in range(1400))
    with pytest.raises(ArchiveError, match="lists 1400 entries in 70"):
        ArchiveReader(io.BytesIO(content), "the archive", None, foreign=True)


def test_an_archive_of_many_files_is_read_when_its_manifest_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_ENTRIES", 1)
    monkeypatch.setattr(directory, "LONGEST", 100)
    key, content = Archives(tmp_path).make()
    assert read(content, key).verify().entries == 4
    reader = ArchiveReader(io.BytesIO(content), "the archive", "new", [PASSWORD], key=key)
    assert reader.verify().entries == 4
    with pytest.raises(ArchiveError, match="does not open with this password"):
        read(content, key, "wrong")
