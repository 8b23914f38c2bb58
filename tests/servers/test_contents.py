"""What an archive holds is listed without reading the archive, however many files there are."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from lifeboat.actions import contents
from lifeboat.actions.contents import Contents, HeldFile, Node
from lifeboat.airflow import connections
from lifeboat.airflow.site import site_of
from lifeboat.settings import config

from tests.command import answer, lifeboat
from tests.conftest import Configure

MANY = [HeldFile(f"storage/{number % 100:02}/{number:06}.jpg", "file", 10) for number in range(200_000)]


def application(root: Path) -> dict[str, Any]:
    """Return the settings of an application with files of some shapes."""
    (root / "storage" / "a" / "deep").mkdir(parents=True)
    (root / "storage" / "a-b").write_text("beside a/")
    (root / "storage" / "a" / "deep" / "photo.jpg").write_bytes(os.urandom(3 << 20))
    for number in range(120):
        (root / "storage" / f"{number:03}.txt").write_text("x")
    (root / "current").symlink_to("storage")
    (root / os.fsdecode(b"latin-\xe9")).touch()
    return {"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(root)}}}


@pytest.fixture
def key(project: Configure, shop: str, tmp_path: Path) -> str:
    project(applications=application(tmp_path / "app"))
    (made,) = answer("backup", "application", "Shop", "--note", "by hand")
    return str(made["key"])


def test_an_archive_is_shown_as_tables_and_a_tree_and_to_programs(key: str) -> None:
    shown = lifeboat("show", "Shop").stdout.splitlines()  # the newest of the application
    assert shown[0].startswith(f"{key} at disk, captured ")
    assert shown[1] == "note: by hand"
    (database,) = (line for line in shown if line.startswith("Database shop: "))
    assert "4 tables" in database
    no_position = "the server writes no binary log (log_bin is off)"
    assert f"                no binary log position: {no_position}" in shown
    assert "         3,000  orders" in shown
    tree = [line.split(maxsplit=3) for line in shown[shown.index("          size      files  path") + 1 : -1]]
    assert ["3.0", "MiB", "122", "storage/"] in tree
    assert ["3.0", "MiB", "1", "a/"] in tree
    assert any("... and 22 more" in line for line in shown)
    assert not any("photo.jpg" in line for line in shown), "three levels down"
    assert any(line.endswith("current (link)") for line in shown)
    assert shown[-1] == f"Restore a file or folder: lifeboat restore application Shop --archive {key} --path PATH"
    deep = lifeboat("show", key, "-d", "offsite", "--path", "storage/a/", "--depth", "3").stdout
    assert "Files in storage/a: 1 file, 3.0 MiB" in deep
    assert "    photo.jpg" in deep
    assert "a-b" not in deep
    alone = lifeboat("show", key, "--path", "storage/a-b").stdout.splitlines()
    assert [line.split() for line in alone[4:-1]] == [["9", "B", "a-b"]]
    told = answer("show", key, "--path", "storage")
    (database,) = told["databases"]
    assert {"name": "orders", "rows": 3000} in database["tables"]
    assert sum(table["rows"] for table in database["tables"]) == 3505
    assert (database["position"], database["no_position"]) == (None, no_position)
    assert len([file for file in told["files"] if file["type"] == "file"]) == 122
    assert all(file["path"].split("/")[0] == "storage" for file in told["files"])
    assert "latin-\udce9" in [file["path"] for file in answer("show", key)["files"]]


class Counted(io.RawIOBase):
    """A file that counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.taken = file, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.taken += len(data)
        return data


def test_only_the_list_and_the_manifest_are_read_and_what_is_wrong_is_one_sentence(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load()
    destination = connections.destination("offsite", settings.destinations["offsite"])
    counted = Counted(destination.open(key))
    monkeypatch.setattr(destination, "open", lambda _: counted)
    held = contents.read(site_of(settings), destination, "Shop", key)
    assert sum(file.size for file in held.files) > 3 << 20
    assert 0 < counted.taken < 1 << 20
    unknown = key[:-6] + "00.zip" if not key.endswith("00.zip") else key[:-6] + "01.zip"
    wrong = json.dumps({"conn_type": "generic", "password": "no-word-of-a-message"})
    for arguments, status, said in (
        ([unknown], 1, f"{unknown} is not published at disk, offsite."),
        (["Shopp"], 2, "There is no application 'Shopp' in the settings."),
        ([key, "--path", "storage/b"], 1, f"{key} holds no 'storage/b'."),
        ([key, "-d", "moon"], 2, "has no destination 'moon'"),
        ([key], 1, "does not open with this password."),
    ):
        if arguments == [key]:
            monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", wrong)
        done = lifeboat("show", *arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_among_very_many_files() -> None:
    held = Contents((), sorted(MANY))
    assert held.children("") == [Node("storage", "directory", 200_000, 2_000_000)]
    assert len(held.children("storage")) == 100
    assert held.children("storage/07")[0] == Node("storage/07/000007.jpg", "file", 1, 10)
    assert held.children("storage/07/000007.jpg") == held.children("storage/07")[:1]
    assert held.children("storage/0") == held.children("moon") == []
    assert len(held.below("storage/07")) == 2000


def test_what_is_beside_a_folder_is_not_in_it() -> None:
    files = [HeldFile("a", "directory", 0), *(HeldFile(path, "file", 1) for path in ("a-b", "a/x", "a0", "é/ö"))]
    held = Contents((), sorted(files))
    assert [(node.path, node.files) for node in held.children("")] == [("a", 1), ("é", 1), ("a-b", 1), ("a0", 1)]
    assert [file.path for file in held.below("a")] == ["a", "a/x"]
    assert [node.path for node in held.children("a")] == ["a/x"]
