"""A disk that is not there is neither read nor written, whatever stands in its place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import connections
from lifeboat.errors import StorageError
from lifeboat.settings import config
from lifeboat.storage import StoredObject
from lifeboat.storage.disk import DiskDestination
from lifeboat.support import clock

from tests.command import answer, lifeboat
from tests.conftest import Configure, as_root, disk_destination

KEY = "Shop/database/2026-11-23-01-00-00.zip"
USES: dict[str, Callable[[DiskDestination, Path], object]] = {
    "list": lambda disk, _: list(disk.list()),
    "find": lambda disk, _: disk.find(KEY),
    "open": lambda disk, _: disk.open(KEY),
    "store": lambda disk, staged: disk.store(staged, KEY, "0" * 64),
    "write": lambda disk, _: disk.write(KEY, b"x"),
    "delete": lambda disk, _: disk.delete(KEY),
}


@pytest.fixture
def mount(tiny_disk: Path) -> Path:
    """A disk with a destination; its mount point is a directory of the disk below."""
    disk_destination("usb", tiny_disk).write(KEY, b"archive")
    return tiny_disk


@pytest.mark.parametrize("use", USES)
def test_a_disk_that_is_not_mounted_is_not_used(mount: Path, tmp_path: Path, use: str) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(b"x")
    destination = DiskDestination("usb", mount)
    assert [stored.key for stored in destination.list()] == [KEY]
    as_root("umount", "-l", str(mount))
    with pytest.raises(StorageError, match=r"disk is not mounted, or it was never prepared.*'lifeboat init usb'"):
        USES[use](destination, staged)
    assert list(mount.iterdir()) == []
    as_root("mount", "-t", "tmpfs", "tmpfs", str(mount))  # another disk in its place
    with pytest.raises(StorageError, match="disk is not mounted"):
        USES[use](destination, staged)
    assert list(mount.iterdir()) == []


def test_a_disk_that_goes_while_it_is_listed_gives_no_listing(mount: Path) -> None:
    disk_destination("usb", mount).write(KEY + ".json", b"{}")
    listing = DiskDestination("usb", mount).list()
    assert isinstance(next(listing), StoredObject)
    as_root("umount", "-l", str(mount))
    as_root("mount", "-t", "tmpfs", "tmpfs", str(mount))
    with pytest.raises(StorageError, match="disk is not mounted"):
        list(listing)


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_what_is_not_a_directory_becomes_no_destination(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("something else")
    with pytest.raises(StorageError, match="Cannot prepare destination 'disk'") as error:
        DiskDestination("disk", tmp_path / root).init(clock.now())
    assert error.value.hint.startswith("The path exists and is not a directory: move it away")


def test_archives_that_were_there_before_are_adopted(tmp_path: Path) -> None:
    path = tmp_path / "disk" / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(b"archive")
    destination = DiskDestination("disk", tmp_path / "disk")
    with pytest.raises(StorageError, match="lifeboat init disk"):
        list(destination.list())
    assert destination.init(clock.now()).startswith("is prepared, on the file system that is mounted at /")
    assert [stored.key for stored in destination.list()] == [KEY]
    facts = json.loads((tmp_path / "disk/.lifeboat-destination").read_text())
    assert facts["destination"] == "disk"
    assert destination.init(clock.now()).startswith("was prepared before")
    assert json.loads((tmp_path / "disk/.lifeboat-destination").read_text()) == facts


def test_the_disk_of_another_destination_is_refused(tmp_path: Path) -> None:
    disk_destination("first", tmp_path)
    second = DiskDestination("second disk", tmp_path)
    for use in (lambda: second.init(clock.now()), lambda: list(second.list())):
        with pytest.raises(StorageError, match=r"marked as destination 'first'.*'lifeboat init 'second disk''"):
            use()


@pytest.mark.parametrize("content", ["[]", "", "{}", '{"destination": {"id": "first"}}', '{"destination": null}'])
def test_a_marker_that_says_nothing_is_refused(tmp_path: Path, content: str) -> None:
    second = DiskDestination("second", tmp_path)
    (tmp_path / ".lifeboat-destination").write_text(content)
    with pytest.raises(StorageError, match=r"is not the marker of a destination.*'lifeboat init second'"):
        second.init(clock.now())


def _dangling(marker: Path) -> None:
    marker.symlink_to("nowhere")


def _circular(marker: Path) -> None:
    marker.symlink_to(marker.name)


def _to_another(marker: Path) -> None:
    other = marker.with_name("other")
    other.write_text('{"destination": "disk"}')
    marker.symlink_to(other)


def _device(marker: Path) -> None:
    marker.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (_dangling, "is not a file, as the marker of a destination is", "Move it away"),
        (_circular, "is not a file, as the marker of a destination is", "Move it away"),
        (_to_another, "is not a file, as the marker of a destination is", "Move it away"),
        (_device, "is not a file, as the marker of a destination is", "Move it away"),
        (Path.mkdir, "is not a file, as the marker of a destination is", "Move it away"),
        (os.mkfifo, "is not a file, as the marker of a destination is", "Move it away"),
    ],
)
def test_a_marker_that_is_no_file_is_told_and_what_to_do_helps(
    tmp_path: Path, make: Callable[[Path], None], said: str, hint: str
) -> None:
    destination, marker = DiskDestination("disk", tmp_path), tmp_path / ".lifeboat-destination"
    make(marker)
    prepare = partial(destination.init, clock.now())
    for use in (prepare, lambda: list(destination.list()), lambda: destination.find("a.zip")):
        with pytest.raises(StorageError) as error:
            use()
        assert said in error.value.message
        assert error.value.hint.startswith(hint)
        assert error.value.hint.endswith("run 'lifeboat init disk' or the DAG init_destination.")
    marker.rename(tmp_path / "away")
    assert destination.init(clock.now()).startswith("is prepared")


def test_every_command_refuses_a_disk_that_was_not_prepared(project: Configure, shop: str, tmp_path: Path) -> None:
    project(prepared=False, drill={"production": True})
    (backup,) = answer("backup", "database", status=1)
    assert backup["published"] == ["offsite"]
    assert "lifeboat init disk" in backup["failed"]["disk"]
    assert not (tmp_path / "disk").exists()
    checked = answer("check", status=1)
    assert checked["verdict"] == "unhealthy"
    assert [each["destination"] for each in checked["findings"] if each["verdict"] == "unhealthy"] == ["disk"]
    verbs = (["list"], ["cleanup"], ["restore", "database", "--destination", "disk"], ["drill", "-d", "disk"])
    with ThreadPoolExecutor() as pool:
        for verb, done in zip(verbs, pool.map(lambda verb: lifeboat(*verb), verbs), strict=True):
            assert done.returncode == 1, verb
            assert "is not mounted" in " ".join(done.stderr.split()), verb
            assert "Traceback" not in done.stderr


def test_destinations_are_prepared_by_a_command(project: Configure, tmp_path: Path) -> None:
    project(prepared=False)
    shown = lifeboat("init")
    assert shown.returncode == 0, shown.stderr
    assert f"destination 'disk' ({tmp_path / 'disk'}) is prepared, on the file system" in shown.stdout
    assert "a bucket needs no preparing" in shown.stdout
    for name in ("disk", "offsite"):
        assert f"well     destination '{name}': a test object was stored, listed, read and deleted" in shown.stdout
    told = answer("init", "disk")
    assert told["prepared"][0]["done"].startswith("was prepared before")
    assert [finding["verdict"] for finding in told["findings"]] == ["well", "well"]
    assert list(connections.destination("disk", config.load().destinations["disk"]).list()) == []
    assert lifeboat("init", "elsewhere").returncode == 2
    (tmp_path / "file").touch()
    project(prepared=False, destinations={"bad": {"type": "disk", "path": str(tmp_path / "file")}})
    assert "Cannot prepare destination 'bad'" in answer("init", status=1)["failed"]["bad"]


def test_names_are_durable_up_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a power cut may take the folder of a first archive away again, and the archive with it."""
    destination = disk_destination("disk", tmp_path / "root")
    synced: list[Any] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    destination.write("Shop/database/a.zip", b"x")
    root = tmp_path / "root"
    assert {root, root / "Shop", root / "Shop/database"} <= set(synced)
