"""Whoever writes to a disk reaches nothing beyond it: links, pipes, devices and other files stay as they are."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifeboat.catalog import marker
from lifeboat.errors import StorageError
from lifeboat.storage import disk
from lifeboat.storage.disk import DiskDestination
from lifeboat.support import clock, directories

from tests.conftest import disk_destination

KEY = "Shop/database/2026-11-23-01-00-00.zip"
CANARY = "what must stay as it is"
RANDOM = "0123456789abcdef"

Make = Callable[[Path, Path], object]


def _link(place: Path, canary: Path) -> None:
    place.symlink_to(canary)


def _hard_link(place: Path, canary: Path) -> None:
    place.hardlink_to(canary)


def _new_link(place: Path, canary: Path) -> None:
    place.symlink_to(canary.with_name("made by nobody"))


def _pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def _device(place: Path, _: Path) -> None:
    place.symlink_to("/dev/zero")


def _folder(place: Path, _: Path) -> None:
    place.mkdir()


THINGS: dict[str, Make] = {
    "link": _link,
    "hard link": _hard_link,
    "link to nothing": _new_link,
    "pipe": _pipe,
    "device": _device,
    "folder": _folder,
}
ODD = [name for name in THINGS if name != "hard link"]  # a copy by hard links is a copy that people make


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "canary"
    path.parent.mkdir()
    path.write_text(CANARY)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    disk_destination("usb", tmp_path / "disk")
    (tmp_path / "disk" / KEY).parent.mkdir(parents=True)
    return tmp_path / "disk"


@pytest.fixture(params=["hard link", "rename", "neither"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems with hard links, those without (exFAT), and those that cannot even rename without replacing."""

    link = os.link

    def refused(*paths: Any, **named: Any) -> None:
        if named:  # not the test's own
            raise PermissionError(errno.EPERM, "Operation not permitted")
        link(*paths)

    if request.param != "hard link":
        monkeypatch.setattr(os, "link", refused)
    if request.param == "neither":
        monkeypatch.setattr(directories, "_libc", object())
    return str(request.param)


def untouched(canary: Path) -> bool:
    return [path.name for path in canary.parent.iterdir()] == ["canary"] and canary.read_text() == CANARY


def in_time(use: Callable[[], object]) -> BaseException | None:
    """Return what a use raises; fail where it waits, as for the other end of a pipe."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            use()
        except BaseException as error:  # noqa: BLE001  # handed over
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for ever"
    return next(iter(raised), None)


def put(root: Path, key: str) -> None:
    """Store an archive, or write a small object."""
    content = b"an archive"
    staged = root.parent / "staged"
    staged.write_bytes(content)
    if key.endswith(".zip"):
        DiskDestination("usb", root).store(staged, key, hashlib.sha256(content).hexdigest())
    else:
        DiskDestination("usb", root).write(key, content)


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("key", [KEY, KEY + ".json", KEY + ".proof.json"])
@pytest.mark.parametrize("suffix", [".partial", f".{RANDOM}.partial"])
def test_what_stands_under_the_name_of_a_partial_file_is_not_written(
    root: Path, canary: Path, thing: str, key: str, suffix: str
) -> None:
    THINGS[thing](root / f"{key}{suffix}", canary)
    error = in_time(lambda: put(root, key))
    assert untouched(canary)
    if thing == "folder":
        assert isinstance(error, StorageError)
    else:
        assert error is None
        assert (root / key).read_bytes() == b"an archive"
        assert not list(root.rglob("*.partial"))


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("key", [KEY, KEY + ".json", KEY + ".proof.json"])
@pytest.mark.usefixtures("way")
def test_what_stands_under_the_name_itself_is_not_written(root: Path, canary: Path, thing: str, key: str) -> None:
    THINGS[thing](root / key, canary)
    error = in_time(lambda: put(root, key))
    assert untouched(canary)
    assert "nothing is overwritten" in str(error)
    assert not list(root.rglob("*.partial"))


def test_a_disk_without_hard_links_is_stored_to(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "new"
    destination = disk_destination("usb", root)
    put(root, KEY)
    put(root, KEY + ".json")
    assert [stored.key for stored in destination.list()] == [KEY, KEY + ".json"]
    assert (root / KEY).read_bytes() == b"an archive"
    assert not list(root.rglob("*.partial"))
    if way == "neither":  # and what fails there leaves no empty file under the name
        monkeypatch.setattr(os, "rename", os.link)  # which is refused
        with pytest.raises(StorageError, match="Operation not permitted"):
            put(root, KEY + ".proof.json")
        assert [stored.key for stored in destination.list()] == [KEY, KEY + ".json"]


@pytest.mark.parametrize("thing", ODD)
def test_only_regular_files_are_read(root: Path, canary: Path, thing: str) -> None:
    destination = DiskDestination("usb", root)
    for key in (KEY, KEY + ".json", KEY + ".proof.json"):
        THINGS[thing](root / key, canary)
        error = in_time(lambda key=key: destination.open(key).read(1))  # type: ignore[misc]
        assert "is not a regular file, so it is not read" in str(error)
        assert destination.find(key) is None
    assert list(destination.list()) == []
    assert marker.read(destination, KEY) is None


@pytest.mark.parametrize("thing", ODD)
def test_what_takes_the_place_of_a_file_before_it_is_opened_is_not_read(
    root: Path, canary: Path, thing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / KEY).write_bytes(b"x")
    stat = os.stat

    def swapped(path: Any, **named: Any) -> os.stat_result:
        status = stat(path, **named)
        if path == Path(KEY).name:
            (root / KEY).unlink()
            THINGS[thing](root / KEY, canary)
        return status

    destination = DiskDestination("usb", root)
    monkeypatch.setattr(os, "stat", swapped)
    assert isinstance(in_time(lambda: destination.open(KEY).read(1)), StorageError)


@pytest.mark.parametrize("folder", ["Shop", "Shop/database"])
@pytest.mark.parametrize("there", [True, False], ids=["to a folder", "to nothing"])
def test_a_folder_that_became_a_link_is_not_followed(root: Path, canary: Path, folder: str, there: bool) -> None:
    (root / KEY).parent.rmdir()
    if folder == "Shop":
        (root / "Shop").rmdir()
    outside = canary.parent / ("" if there else "made by nobody")
    (root / folder).symlink_to(outside)
    if there:
        archive = outside / Path(KEY).relative_to(folder)
        archive.parent.mkdir(exist_ok=True)
        archive.write_bytes(b"a secret")
    before = sorted(canary.parent.rglob("*"))
    destination = DiskDestination("usb", root)
    uses: list[Callable[[], object]] = [
        lambda: put(root, KEY),
        lambda: put(root, KEY + ".json"),
        lambda: destination.open(KEY),
        lambda: destination.find(KEY),
        lambda: destination.delete(KEY),
        lambda: destination.source(KEY).open("rb"),
    ]
    for use in uses:
        error = in_time(use)
        assert isinstance(error, StorageError)
        assert "mount the link's target in its place" in error.hint
    assert list(destination.list()) == []
    assert sorted(canary.parent.rglob("*")) == before
    assert canary.read_text() == CANARY


def test_links_are_named_once_in_a_listing(root: Path, canary: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / KEY).write_bytes(b"x")
    for number in range(50):
        (root / f"Shop/{number:02}").symlink_to(canary.parent)
    assert [stored.key for stored in DiskDestination("usb", root).list()] == [KEY]
    (told,) = caplog.messages
    assert told.startswith("Shop/00 at destination 'usb'")
    assert "one of 50" in told


def test_a_destination_whose_own_root_is_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "link").symlink_to("mounted")
    destination = disk_destination("usb", tmp_path / "link")
    destination.write(KEY, b"x")
    assert [stored.key for stored in destination.list()] == [KEY]
    assert (tmp_path / "mounted" / KEY).read_bytes() == b"x"


@pytest.mark.parametrize("thing", ["link", "hard link", "link to nothing", "pipe"])
@pytest.mark.parametrize("suffix", [".partial", f".{RANDOM}.partial"])
def test_preparing_a_destination_writes_nothing_else(tmp_path: Path, canary: Path, thing: str, suffix: str) -> None:
    root = tmp_path / "new"
    root.mkdir()
    THINGS[thing](root / f"{disk.DESTINATION_MARKER}{suffix}", canary)
    assert in_time(lambda: DiskDestination("usb", root).init(clock.now())) is None
    assert untouched(canary)
    assert [path.name for path in root.iterdir()] == [disk.DESTINATION_MARKER]


def test_names_of_partial_files_cannot_be_guessed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    link = os.link

    def noted(name: str, *rest: Any, **named: Any) -> None:
        names.append(name)
        link(name, *rest, **named)

    monkeypatch.setattr(os, "link", noted)
    put(root, KEY)
    put(root, KEY + ".json")
    assert all(re.search(r"\.[0-9a-f]{16}\.partial$", name) for name in names)
    assert len({name[-24:] for name in names}) == 2


def test_a_file_that_takes_the_place_of_a_partial_one_is_not_published_in_silence(
    root: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def swapped(name: str, *rest: Any, **named: Any) -> None:
        (root / KEY).with_name(name).unlink()
        (root / KEY).with_name(name).symlink_to(canary)
        link(name, *rest, **named)

    monkeypatch.setattr(os, "link", swapped)
    with pytest.raises(StorageError, match="is not the file that was written there"):
        put(root, KEY)
    assert untouched(canary)


def test_two_processes_do_not_store_one_key_at_once(root: Path) -> None:
    with (root / f"{KEY}.{RANDOM}.partial").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="Another process is storing"):
            put(root, KEY)
    put(root, KEY)  # it has died
    assert not list(root.rglob("*.partial"))


def test_what_only_begins_like_a_key_is_not_removed(root: Path) -> None:
    other = root / f"{KEY}.json.{RANDOM}.partial"
    other.write_bytes(b"of the marker")
    put(root, KEY)
    assert other.exists()


def test_a_huge_sparse_file_costs_no_memory(root: Path) -> None:
    (root / KEY).write_bytes(b"x")
    with (root / f"{KEY}.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match="is not the marker of an archive"):
        marker.read(DiskDestination("usb", root), KEY)


def test_folders_in_folders_end_no_listing(root: Path) -> None:
    (root / KEY).write_bytes(b"x")
    here = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert [stored.key for stored in DiskDestination("usb", root).list()] == [KEY]
    subprocess.run(["rm", "-rf", str(root / "d")], check=True)
