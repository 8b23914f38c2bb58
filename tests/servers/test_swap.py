"""What was restored takes the place of what was there, which is kept; and nothing in between."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from lifeboat.errors import RestoreError
from lifeboat.support import directories, swap

from tests.conftest import PROJECT, as_root
from tests.trees import as_nobody, facts, make

STAMP = "2026-11-23-01-02-03"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A tree, and beside it what was restored."""
    shop = tmp_path / "www" / "shop"
    make(shop, "index.php", "storage/a", content=b"old")
    make(beside(shop).restored, "index.php", "storage/b", content=b"new")
    return shop


class Siblings(NamedTuple):
    restored: Path
    kept: Path


def beside(target: Path) -> Siblings:
    """Return where the tests have what is restored, and where what it replaces is kept."""
    place = target.resolve()
    return Siblings(*(place.with_name(f"{place.name}_{what}_{STAMP}") for what in ("restored", "before")))


def replace(target: Path) -> Path:
    return swap.replace(target, *beside(target))


def version(tree: Path) -> bytes:
    return (tree / "index.php").read_bytes()


@pytest.fixture(params=["exchange", "no exchange", "no function"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems and C libraries that exchange names, and such that do not."""

    class Libc:
        def renameat2(self, *_: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    if request.param != "exchange":
        monkeypatch.setattr(directories, "_libc", Libc() if request.param == "no exchange" else object())


def test_what_is_replaced_is_kept_beside_under_a_name_that_is_free(tmp_path: Path) -> None:
    kept = tmp_path / "shop_before_2026-11-23-01-02-03"
    assert swap.kept_name(tmp_path / "shop", STAMP) == kept
    kept.mkdir()
    kept.with_name(f"{kept.name}_2").symlink_to("nowhere")
    assert swap.kept_name(tmp_path / "shop", STAMP) == kept.with_name(f"{kept.name}_3")


@pytest.mark.usefixtures("way")
def test_a_tree_takes_the_place_of_another_which_is_kept(shop: Path) -> None:
    old, new = facts(shop), facts(beside(shop).restored)
    assert replace(shop) == shop
    assert facts(shop) == new
    assert facts(beside(shop).kept) == old
    assert not beside(shop).restored.exists()


@pytest.mark.usefixtures("way")
def test_so_does_a_file(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("old")
    beside(env).restored.write_text("new")
    replace(env)
    assert (env.read_text(), beside(env).kept.read_text()) == ("new", "old")


def test_what_was_a_file_may_become_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    make(beside(tmp_path / "x").restored, "index.php")
    replace(tmp_path / "x")
    assert (tmp_path / "x").is_dir()
    assert beside(tmp_path / "x").kept.read_text() == "old"


def test_what_a_link_points_to_is_replaced_and_the_link_stays(shop: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to("www/shop")
    assert swap.kept_name(current, STAMP) == beside(shop).kept
    assert replace(current) == shop
    assert current.is_symlink()
    assert (version(current), version(beside(shop).kept)) == (b"new", b"old")


def test_what_is_restored_gets_the_owners_of_the_tree_and_of_nothing_that_a_link_leads_to(
    shop: Path, tmp_path: Path
) -> None:
    restored = beside(shop).restored
    for folder in (shop, restored, tmp_path / "outside"):
        make(folder, "index.php", "bin/sh")
    make(restored, "new/sh")
    shutil.rmtree(shop / "bin")
    (shop / "bin").symlink_to(tmp_path / "outside/bin")
    as_root("chown", "-hR", "nobody", str(shop))
    as_root("chown", "-R", "root", str(tmp_path / "outside"), str(restored))
    code = "import sys, pathlib, lifeboat.support.swap as swap; swap.take_owners(*map(pathlib.Path, sys.argv[1:]))"
    as_root("env", f"PYTHONPATH={PROJECT / 'plugins'}", sys.executable, "-c", code, str(shop), str(restored))
    owners = {
        str(path.relative_to(restored)): path.owner()
        for path in restored.rglob("*")
        if path.name in ("sh", "index.php")
    }
    assert owners == dict.fromkeys(("index.php", "bin/sh", "new/sh"), "nobody")


def test_a_restored_link_takes_the_place_of_a_link(shop: Path, tmp_path: Path) -> None:
    """As public/storage of a Laravel application: what it points to is no business of it."""
    link, restored, kept = (tmp_path / name for name in ("link", "restored", "kept"))
    link.symlink_to("elsewhere")
    restored.symlink_to(shop)
    assert swap.replace(link, restored, kept) == link
    assert (link.readlink(), kept.readlink()) == (shop, Path("elsewhere"))
    assert version(shop) == b"old"


def test_names_without_a_folder_are_of_the_current_one(shop: Path) -> None:
    with contextlib.chdir(shop.parent):
        swap.replace(Path("shop"), Path(beside(shop).restored.name), Path("kept"))
        assert (version(Path("shop")), version(Path("kept"))) == (b"new", b"old")


def leave_a_broken_link(shop: Path) -> None:
    shop.rename(shop.with_name("gone"))
    shop.symlink_to("nowhere")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no target": (lambda shop: shop.rename(shop.with_name("gone")), r"There is no .*shop to replace. Hint: Rename"),
    "a broken link": (leave_a_broken_link, "There is no .*shop to replace"),
    "nothing restored": (lambda shop: beside(shop).restored.rename(shop.with_name("gone")), "There is no .*_restored_"),
    "kept is taken": (lambda shop: beside(shop).kept.mkdir(), r"_before_.* exists already; nothing is overwritten"),
    "kept is a broken link": (lambda shop: beside(shop).kept.symlink_to("nowhere"), "_before_.* exists already"),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_well_is_refused_before_anything_changes(shop: Path, case: str) -> None:
    prepare, said = REFUSED[case]
    prepare(shop)
    before = facts(shop.parent)
    with pytest.raises(RestoreError, match=said):
        replace(shop)
    assert facts(shop.parent) == before


@pytest.mark.parametrize(
    ("restored", "kept"),
    [
        ("shop/storage", "kept"),
        ("restored", "shop/kept"),
        ("restored", "restored/kept"),
        ("shop", "kept"),
        (".", "kept"),
    ],
)
def test_one_in_the_other_is_refused(shop: Path, restored: str, kept: str) -> None:
    beside(shop).restored.rename(shop.with_name("restored"))
    before = facts(shop.parent)
    with pytest.raises(RestoreError, match="lie in each other"):
        swap.replace(shop, shop.parent / restored, shop.parent / kept)
    assert facts(shop.parent) == before


@pytest.mark.parametrize(
    ("point", "said"), [("", "shop is a mount point"), ("storage", "holds the mount point .*storage, which")]
)
def test_mount_points_stay_where_they_are(shop: Path, point: str, said: str) -> None:
    """Also those of the same disk, as containers have them: a rename would take them away with the old tree."""
    shared = shop.parent / "with space"
    shared.mkdir()
    as_root("mount", "--bind", str(shared), str(shop / point))
    try:
        with pytest.raises(RestoreError, match=said):
            replace(shop)
    finally:
        as_root("umount", str(shop / point))
    assert (version(shop), version(beside(shop).restored)) == (b"old", b"new")


def test_a_mount_point_that_nobody_tells_of_is_refused_by_the_kernel(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "_mounts", list)
    as_root("mount", "--bind", str(shop), str(shop))
    try:
        with pytest.raises(RestoreError, match=r"Cannot put .* in the place of .*busy. Nothing has changed"):
            replace(shop)
    finally:
        as_root("umount", str(shop))
    assert (version(shop), version(beside(shop).restored)) == (b"old", b"new")
    assert not beside(shop).kept.exists()


def test_another_disk_is_refused(shop: Path, tiny_disk: Path) -> None:
    with pytest.raises(RestoreError, match=r"are on different disks. Hint: Restore next to"):
        swap.replace(shop, beside(shop).restored, tiny_disk / "kept")
    assert (version(shop), version(beside(shop).restored)) == (b"old", b"new")


def test_a_link_to_a_mount_point_is_no_way_around(shop: Path, tiny_disk: Path) -> None:
    (shop.parent / "link").symlink_to(tiny_disk)
    with pytest.raises(RestoreError, match=r"is a mount point"):
        swap.replace(shop.parent / "link", beside(shop).restored, shop.parent / "kept")


def test_missing_rights_are_told_before_anything_changes(shop: Path, tmp_path: Path) -> None:
    def try_it() -> None:
        shop.parent.chmod(0o555)
        with pytest.raises(
            RestoreError, match=r"This user is not allowed to rename .*shop. Hint: Give it the right to write in"
        ):
            replace(shop)
        shop.parent.chmod(0o755)
        assert (version(shop), version(beside(shop).restored)) == (b"old", b"new")

    as_nobody(try_it, tmp_path)


def test_what_belongs_to_another_in_a_shared_folder_is_told(shop: Path, tmp_path: Path) -> None:
    def try_it() -> None:
        with pytest.raises(RestoreError, match=r"This user is not allowed to rename .*shop"):
            replace(shop)

    (tmp_path / "mine").mkdir()
    as_root("chmod", "1777", str(shop.parent))
    as_root("chown", "root", str(shop.parent), str(shop))
    try:
        as_nobody(try_it, tmp_path / "mine")
    finally:
        as_root("chown", str(os.getuid()), str(shop.parent), str(shop))
    assert (version(shop), version(beside(shop).restored)) == (b"old", b"new")


def test_who_is_in_the_old_tree_stays_in_it(shop: Path) -> None:
    with contextlib.chdir(shop):
        replace(shop)
        assert version(Path()) == b"old"
    assert version(shop) == b"new"


def test_a_second_step_that_fails_is_undone(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_libc", object())
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == shop and path == beside(shop).restored:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    before = facts(shop.parent)
    with pytest.raises(RestoreError, match=r"Input/output error. Nothing has changed"):
        replace(shop)
    assert facts(shop.parent) == before


def test_what_cannot_be_undone_is_told(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_libc", object())
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == shop:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(RestoreError, match=r"shop is .*_before_.* now, and cannot be renamed back"):
        replace(shop)
    assert version(beside(shop).kept) == b"old"


def test_names_are_durable_before_anybody_hears_of_them(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(directory: Path) -> None:
        assert version(shop) == b"new"
        raise OSError(errno.EIO, f"{directory.name} is not durable")

    monkeypatch.setattr(swap, "sync_names", failing)
    with pytest.raises(RestoreError, match=r"Cannot write .*www: www is not durable"):
        replace(shop)


def test_killed_between_its_steps_nothing_has_changed_but_a_name(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "rename_in_one_step", lambda *_: os._exit(9))
    child = os.fork()
    if child == 0:
        replace(shop)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (version(shop), version(beside(shop).kept)) == (b"old", b"new")


def test_killed_at_any_instant_the_target_is_whole(shop: Path) -> None:
    """A child swaps two trees as fast as it can, until it is killed; all along, the name is never without a tree."""
    restored = beside(shop).restored
    seen = set()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            number = 0
            while True:
                kept = shop.with_name(f"kept-{os.getpid()}-{number}")
                swap.replace(shop, restored, kept)
                kept.rename(restored)
                number += 1
        ends = time.monotonic() + 0.1
        while time.monotonic() < ends:
            seen.add(version(shop))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert version(shop) in (b"old", b"new")
        others = [path for path in shop.parent.iterdir() if path != shop]
        assert [version(path) for path in others] == [{b"old": b"new", b"new": b"old"}[version(shop)]]
        others[0].rename(restored)
    assert seen == {b"old", b"new"}
