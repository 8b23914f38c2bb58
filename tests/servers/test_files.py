"""Which files belong in an archive, how they get there, and what becomes of those that do not hold still."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.actions import backup
from lifeboat.archive import CHUNK
from lifeboat.archive.read import ArchiveReader
from lifeboat.archive.workers import SMALL
from lifeboat.catalog.manifest import CapturedFiles, Manifest
from lifeboat.catalog.marker import ArchiveFile, marker_of
from lifeboat.errors import FilesError, StagingError
from lifeboat.files import pack
from lifeboat.files.selection import LeftOut, Member, OpenFile, Selection, select, tree_size
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from tests.trees import NAMES, PHP, as_nobody, make

PASSWORD = "pâss 'word'"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    return root


def chosen(root: Path, **changes: Any) -> list[str]:
    selection = Selection(root, **{"include": ("**",), "exclude": ()} | changes)
    return [found.path for found in select(selection) if isinstance(found, Member)]


def left_out(root: Path, **changes: Any) -> dict[str, str]:
    selection = Selection(root, **{"include": ("**",), "exclude": ()} | changes)
    return {found.path: found.reason for found in select(selection) if isinstance(found, LeftOut)}


class Captured:
    """A packed application: its manifest, and what its archive holds."""

    def __init__(self, scratch: StagingDirectory, password: str | None) -> None:
        self.path = scratch.path / "archive.zip"
        with self.path.open("rb") as file:
            reader = ArchiveReader(file, "the archive", password)
            self.verified = reader.verify()
            manifest = reader.manifest()
            assert manifest is not None
            self.manifest = manifest
            self.names = reader.names()

    @property
    def files(self) -> CapturedFiles:
        assert self.manifest.files
        return self.manifest.files

    @property
    def entries(self) -> dict[str, Any]:
        return dict(self.manifest.entries)


Capture = Callable[..., Captured]


@pytest.fixture
def capture(tmp_path: Path, root: Path) -> Capture:
    def run(password: str | None = PASSWORD, **changes: Any) -> Captured:
        scratch = StagingDirectory(tmp_path / "staging")
        scratch.create()
        selection = Selection(root, **{"include": ("**",), "exclude": ()} | changes)
        backup.pack_archive(scratch, "Shop", "application", [], password, "", selection, now=clock.now())
        return Captured(scratch, password)

    return run


def extract(captured: Captured, tmp_path: Path, tool: str, password: str = PASSWORD) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    command = {"7z": ["7z", "x", f"-p{password}", f"-o{out}"], "unzip": ["unzip", "-q", "-^", "-d", str(out)]}[tool]
    subprocess.run([*command, str(captured.path)], check=True, capture_output=True)
    return out


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("**",), ("vendor",), ["a", "a/vendor", "a/vendor/z", "a/x.log", "b.php", "é"]),
        (("**",), ("**/vendor",), ["a", "a/x.log", "b.php", "é"]),
        (("*.php",), (), ["b.php"]),
        (("**/*.log",), (), ["a/x.log"]),
        (("a",), ("a/vendor/*",), ["a", "a/vendor", "a/x.log"]),
        (("a/vendor", "b.php"), (), ["a/vendor", "a/vendor/z", "b.php"]),
        (("{b.php,a/x.*}",), (), ["a/x.log", "b.php"]),
        (("?",), (), ["a", "a/vendor", "a/vendor/z", "a/x.log", "é"]),
    ],
)
def test_patterns(root: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]) -> None:
    make(root, "a/x.log", "a/vendor/z", "b.php", "é", "vendor/lib.php")
    found = chosen(root, include=include, exclude=exclude)
    assert found == expected


def test_hidden_files_are_files(root: Path) -> None:
    make(root, ".env", ".config/x")
    assert chosen(root) == [".config", ".config/x", ".env"]


def test_what_is_left_out_says_why(root: Path, tmp_path: Path) -> None:
    make(root, "storage/backups/a.zip", "storage/app/x", "vendor/y", "readme")
    os.mkfifo(root / "storage" / "pipe")
    reasons = left_out(root, include=("storage",), exclude=("vendor",), own=(root / "storage" / "backups",))
    assert reasons == {
        "readme": "no include matches it",
        "storage/backups": "Lifeboat keeps its archives or its staging there",
        "storage/pipe": "a FIFO has no content to keep",
        "vendor": "excluded by 'vendor'",
    }


def test_links_are_kept_as_links_and_loops_survived(root: Path, tmp_path: Path) -> None:
    make(tmp_path, "outside/secret")
    make(root, "a/x")
    (root / "a" / "up").symlink_to(root)
    (root / "away").symlink_to(tmp_path / "outside")
    (root / "broken").symlink_to("nowhere")
    assert chosen(root) == ["a", "a/up", "a/x", "away", "broken"]
    followed = chosen(root, follow_links=True)
    assert followed == ["a", "a/up", "a/x", "away", "away/secret", "broken"]
    (root / "out").symlink_to("..")  # above the root, which is below it
    assert "out/app/a/x" not in chosen(root, follow_links=True)


def test_links_out_of_the_root_are_told(
    root: Path, tmp_path: Path, capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """What they lead to is not in the archive: Envoyer's and Capistrano's uploads would be in none."""
    make(tmp_path, "shared/storage/app/upload", "disk/Shop/a.zip", "app-2/x")
    make(root, "public/index.php", "x")
    for name, target in {
        "storage": "../shared/storage",
        "public/storage": "../storage/app",  # inside, and from there out
        "public/x": "../x",
        "beside": "../app-2",  # begins like the root
        "absolute": str(root / "x"),
        "broken": "../nowhere",
        "null": "/dev/null",
        "archives": "../disk",
        "excluded": "../shared",
    }.items():
        (root / name).symlink_to(target)
    options: dict[str, Any] = {"exclude": ("excluded",), "own": (tmp_path / "disk",)}
    captured = capture(**options)
    assert captured.files.links_out == ["beside", "public/storage", "storage"]
    named = "'beside', 'public/storage', 'storage'"
    said = f"3 links lead out of {root}, and what is there is not in the archive: {named}."
    assert said in caplog.text
    (warning,) = captured.manifest.warnings
    assert warning == f"files: {said} files.follow_links: true includes it; exclude links that need no backup"
    public = marker_of(captured.manifest, entries=9, archive=ArchiveFile(size=1, sha256="", encrypted=True))
    assert public.totals.limits == 3
    assert "storage" not in public.to_bytes().decode()
    followed = capture(**options, follow_links=True)
    assert "public/storage/upload" in followed.entries  # once, by the first of the two links
    assert followed.files.links_out == []


def test_meshed_links_end(root: Path) -> None:
    folders = [root / str(number) for number in range(9)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / other.name).symlink_to(other)
    assert len(chosen(root, follow_links=True)) < 200


def test_deeply_nested_folders(root: Path, capture: Capture) -> None:
    folder = root
    for _ in range(700):
        folder /= "d"
        folder.mkdir()
    make(folder, "file")
    assert len(capture().entries) == 701
    assert tree_size(os.fsencode(root)) == len(PHP)


@pytest.mark.parametrize("inside", [".", "backups", "backups/Shop"])
def test_archives_never_get_into_an_archive(root: Path, tmp_path: Path, inside: str) -> None:
    own = tmp_path / "disk" / "backups"
    make(own, "Shop/a.zip")
    (root / "link").symlink_to(own / "Shop")
    (root / "file").symlink_to(own / "Shop" / "a.zip")
    make(root, "x")
    assert chosen(root, own=(own,), follow_links=True) == ["x"]
    if inside != ".":
        with pytest.raises(FilesError, match="is staging or a destination, or lies in one"):
            chosen(tmp_path / "disk" / inside, own=(own,))


def test_a_folder_that_becomes_a_link_leads_nowhere(
    root: Path, tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "outside/passwd", content=b"secret of another")
    make(root, "dir/passwd", content=b"own")

    def open_file(member: Member) -> OpenFile:
        if member.path == "dir/passwd" and not (root / "dir").is_symlink():
            (root / "dir").rename(root / "moved")
            (root / "dir").symlink_to(tmp_path / "outside")
        return OpenFile(member)

    monkeypatch.setattr(pack, "OpenFile", open_file)
    assert list(capture().files.problems) == ["dir/passwd"]


def test_a_root_that_is_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    make(root, "x")
    (tmp_path / "current").symlink_to(root)
    assert chosen(tmp_path / "current") == ["x"]


@pytest.mark.parametrize(
    ("include", "said"),
    [
        (("nothing/here",), r"files.include 'nothing/here' matches nothing below .*app.*Fix the pattern"),
        (("x", "*.jpg"), r"files.include '\*.jpg' matches nothing"),
        (("n" * 300,), r"matches nothing below"),
        (("shared/logs",), r"'shared' is a symbolic link; files.follow_links: true follows it"),
        (("x", "vendor/mine"), r"'vendor/mine' matches nothing .* 'vendor' is excluded by 'vendor'"),
        (("x", "vendor"), r"'vendor' matches nothing .* 'vendor' is excluded by 'vendor'"),
    ],
)
def test_an_include_that_matches_nothing_is_an_error(
    root: Path, capture: Capture, include: tuple[str, ...], said: str
) -> None:
    make(root, "x", "vendor/mine")
    make(root.parent, "elsewhere/logs/y")
    (root / "shared").symlink_to(root.parent / "elsewhere")
    with pytest.raises(FilesError, match=said):
        capture(include=include, exclude=("vendor",))


def test_excluding_everything_is_an_error(root: Path, capture: Capture) -> None:
    make(root, "x")
    with pytest.raises(FilesError, match=r"No file of .* is left to archive"):
        capture(exclude=("**",))


def test_a_missing_root_is_an_error(root: Path, capture: Capture) -> None:
    root.rmdir()
    with pytest.raises(FilesError, match=r"Cannot read the root .*No such file.*Check files.root"):
        capture()


@pytest.mark.parametrize(("tool", "password"), [("7z", PASSWORD), ("unzip", None)])
def test_other_tools_restore_content_modes_times_and_links(
    root: Path, capture: Capture, tmp_path: Path, tool: str, password: str | None
) -> None:
    make(root, "run.sh", "old", "empty", "sub/inner", content=b"")
    make(root, "photo.jpg", content=os.urandom(300_000))
    make(root, "large.bin", content=os.urandom(SMALL) + b"x" * SMALL * 2)
    (root / "nothing in it").mkdir(mode=0o750)
    (root / "run.sh").chmod(0o751)
    os.utime(root / "old", ns=(0, 1_000_000_001_123_456_789))
    (root / "link").symlink_to("sub/inner")
    os.utime(root / "nothing in it", (0, 1_200_000_001))
    out = extract(capture(password), tmp_path, tool)
    for path in root.rglob("*"):
        copy = out / path.relative_to(root)
        assert copy.is_symlink() == path.is_symlink()
        if path.is_symlink():
            assert copy.readlink() == path.readlink()
            continue
        assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(path.stat().st_mode), path
        if path.is_file():
            assert copy.read_bytes() == path.read_bytes()
            assert int(copy.stat().st_mtime) == int(path.stat().st_mtime), path
    assert int((out / "nothing in it").stat().st_mtime) == 1_200_000_001


def test_names_in_any_encoding(root: Path, capture: Capture, tmp_path: Path) -> None:
    make(root, *NAMES)
    captured = capture(None)
    stored = {facts.get("path", name).rstrip("/") for name, facts in captured.entries.items()}
    expected = {name.decode("utf-8", "surrogateescape") for name in NAMES}
    assert expected <= stored
    assert captured.entries["%6Danifest.json"]["path"] == "manifest.json"
    assert captured.entries["%64b-dumps/mysql-shop.sql"]["path"] == "db-dumps/mysql-shop.sql"
    assert captured.entries["%256Danifest.json"]["path"] == "%6Danifest.json"
    out = extract(captured, tmp_path, "unzip")
    found = {os.fsencode(path.relative_to(out)) for path in out.rglob("*")}
    renamed = {b"manifest.json", b"db-dumps/mysql-shop.sql", b"%6Danifest.json", b"%41"}
    assert {name for name in NAMES if name.isascii()} - renamed <= found
    assert {b"latin-\xe9\xff.txt", "é🦊".encode()} <= found


def test_what_the_manifest_says_is_in_the_archive(root: Path, capture: Capture) -> None:
    make(root, "a.php", "b/c.php")
    make(root, "big", content=b"0123456789abcdef" * SMALL)
    (root / "l").symlink_to("a.php")
    captured = capture()
    assert list(captured.entries) == ["a.php", "b/", "b/c.php", "big", "l"]  # sorted, like any listing
    assert captured.entries["a.php"]["mode"] == "0644"
    link = captured.entries["l"]
    assert (link["size"], link["type"], link["mode"], link["target"]) == (5, "link", "0777", "a.php")
    files = captured.files
    assert (files.count, files.bytes) == (5, 16 * SMALL + 2 * len(PHP) + 5)
    assert files.changed == files.missing == files.special == 0
    assert captured.verified.entries == 6


def test_any_time_is_clamped_into_what_a_zip_can_say(capture: Capture, root: Path) -> None:
    for number, seconds in enumerate((-(10**10), 0, 2**31, 2**33, 253402400000)):
        make(root, str(number))
        os.utime(root / str(number), (seconds, seconds))
    times = [facts["mtime_ns"] for facts in capture().entries.values()]
    assert times == [(root / str(number)).stat().st_mtime_ns for number in range(5)]


def test_a_file_that_is_renamed_after_it_was_read_is_kept(
    busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As logs are when they are rotated."""
    while_read(monkeypatch, busy, 1, lambda: busy.rename(busy.with_name("m.1")))
    captured = capture()
    assert captured.files.problems == {}
    assert "m" in captured.entries


def test_special_files_are_skipped_and_counted(root: Path, capture: Capture) -> None:
    make(root, "x")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        with contextlib.chdir(root):  # the path of a socket must be short
            server.bind("sock")
        captured = capture()
    assert captured.files.skipped == {"FIFO": 1, "socket": 1}
    assert captured.manifest.warnings == ("files: 2 skipped: sockets, FIFOs or devices",)


@pytest.fixture(params=[1000, 3 * SMALL])
def busy(request: pytest.FixtureRequest, root: Path) -> Path:
    """A file that is held in memory, or one that travels in pieces."""
    make(root, "a", "z")
    make(root, "m", content=b"0123456789" * (request.param // 10))
    return root / "m"


def while_read(monkeypatch: pytest.MonkeyPatch, busy: Path, times: int, change: Callable[[], object]) -> None:
    """Make something happen to a file each time it has been opened, as often as said."""

    class Disturbed(OpenFile):
        left = times

        def __init__(self, member: Member) -> None:
            super().__init__(member)
            if member.path == busy.name and Disturbed.left:
                Disturbed.left -= 1
                time.sleep(0.02)  # the clock of file systems ticks in milliseconds
                change()

    monkeypatch.setattr(pack, "OpenFile", Disturbed)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES: dict[str, Callable[[Path], object]] = {
    "grew": append,
    "shrank": lambda path: os.truncate(path, 500),
    "changed": os.utime,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_once_is_read_again(
    busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    while_read(monkeypatch, busy, 1, lambda: CHANGES[change](busy))
    captured = capture()
    assert captured.files.problems == {}
    assert captured.entries["m"]["size"] == busy.stat().st_size
    assert "changed" not in captured.entries["m"]
    assert [name for name in captured.names if name != "manifest.json"] == ["a", "m", "z"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_never_holds_still_is_kept_as_it_was_read(
    busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    count = 0

    def disturb() -> None:
        nonlocal count
        count += 1
        if change == "shrank":
            os.truncate(busy, 500 - count)
        else:
            CHANGES[change](busy)

    while_read(monkeypatch, busy, 99, disturb)
    captured = capture()
    files = captured.files
    assert (files.changed, files.missing) == (1, 0)
    assert change in captured.entries["m"]["changed"]
    assert change in files.problems["m"]
    assert captured.manifest.warnings == ("files: 1 changed while being read",)
    with pytest.raises(FilesError, match=r"'m' of .*app is changed: .*files.on_error: warn"):
        capture(whole=True)


def test_a_file_that_grows_for_ever_ends(busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Growing(OpenFile):
        def read(self, size: int = CHUNK) -> bytes:
            append(busy)
            return super().read(size)

    monkeypatch.setattr(pack, "OpenFile", Growing)
    captured = capture()
    assert "grew" in captured.entries["m"]["changed"]


def test_a_file_that_vanishes_is_missing(busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_file(member: Member) -> OpenFile:
        if member.path == "m":
            busy.unlink(missing_ok=True)
        return OpenFile(member)

    monkeypatch.setattr(pack, "OpenFile", open_file)
    captured = capture()
    assert captured.files.problems == {"m": "missing: it vanished"}
    assert list(captured.entries) == ["a", "z"]
    assert captured.manifest.warnings == ("files: 1 missing from the archive",)


def test_a_disk_that_fails_midway_costs_one_file(busy: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(OpenFile):
        def read(self, size: int = 1 << 18) -> bytes:
            if self.size > 900 and self._left < self.size:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(pack, "OpenFile", Failing)
    captured = capture()
    assert captured.files.problems == {"m": "missing: Input/output error"}
    assert [name for name in captured.names if name != "manifest.json"] == ["a", "z"]


@pytest.mark.parametrize("size", [10, 3 * SMALL])
def test_an_unreadable_file_and_folder_are_missing(root: Path, tmp_path: Path, size: int) -> None:
    make(root, "x", "locked/inside")
    make(root, "secret", content=b"s" * size)
    (root / "secret").chmod(0)
    (root / "locked").chmod(0)
    scratch = StagingDirectory(tmp_path / "staging")
    scratch.create()
    selection = Selection(root, ("**",), ())
    as_nobody(
        lambda: backup.pack_archive(scratch, "Shop", "application", [], None, "", selection, now=clock.now()), tmp_path
    )
    assert Captured(scratch, None).files.problems == {
        "locked": "missing: cannot be listed: Permission denied",
        "secret": "missing: Permission denied",
    }


@pytest.mark.parametrize("size", [900_000, 4 * SMALL])
def test_a_disk_that_fills_midway_ends_the_backup(root: Path, tiny_disk: Path, size: int) -> None:
    for number in range(8):
        make(root, f"f{number}", content=os.urandom(size))
    scratch = StagingDirectory(tiny_disk / "staging")
    scratch.create()
    with pytest.raises(StagingError, match="No space left on device"):
        backup.pack_archive(scratch, "Shop", "application", [], "pw", "", Selection(root, ("**",), ()), now=clock.now())


def test_what_is_compressed_already_is_stored(root: Path, capture: Capture) -> None:
    make(root, "small.jpg", content=os.urandom(5000))
    make(root, "large.mp4", content=os.urandom(3 * SMALL))
    make(root, "text.jpg", content=PHP * 100)
    listing = subprocess.run(
        ["7z", "l", "-slt", f"-p{PASSWORD}", capture().path], check=True, capture_output=True, text=True
    ).stdout
    methods = dict(
        zip(
            *(
                [line.partition(" = ")[2] for line in listing.splitlines() if line.startswith(f"{key} = ")][-4:]
                for key in ("Path", "Method")
            ),
            strict=True,
        )
    )
    assert methods["small.jpg"] == methods["large.mp4"] == "AES-256 Store"
    assert methods["text.jpg"] == "AES-256 Deflate"


def test_more_than_65535_entries(root: Path, capture: Capture) -> None:
    for number in range(66_000):
        (root / f"{number:05}").touch()
    captured = capture(None)
    assert len(captured.entries) == 66_000
    tested = subprocess.run(["7z", "t", captured.path], check=True, capture_output=True, text=True).stdout
    assert "Files: 66001" in tested


@pytest.mark.torture
def test_a_file_beyond_4_gib(root: Path, capture: Capture, tmp_path: Path) -> None:
    make(root, "after")
    size = (4 << 30) + 1
    with (root / "a hole").open("wb") as file:
        file.truncate(size)
    captured = capture()
    assert captured.entries["a hole"]["size"] == size
    listing: list[str | Path] = ["7z", "l", "-slt", f"-p{PASSWORD}", captured.path]
    assert f"Size = {size}\n" in subprocess.run(listing, check=True, capture_output=True, text=True).stdout


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=8), st.integers(1, 4))
def test_order_is_stable_whatever_the_workers_do(contents: list[bytes], workers: int) -> None:
    import io
    import tempfile

    from lifeboat.archive.write import ArchiveWriter

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "app"
        for number, content in enumerate(contents):
            make(root, f"{number}", content=content * (1000 if number % 3 == 0 else 1))
        members = [(found.path, found) for found in select(Selection(root, ("**",), ())) if isinstance(found, Member)]
        path = Path(folder) / "a.zip"
        with ArchiveWriter(path, "pw") as archive:
            outcomes = list(pack.pack_members(archive, members, workers))
        assert [outcome.name for outcome in outcomes] == [name for name, _ in members]
        reader = ArchiveReader(io.BytesIO(path.read_bytes()), "it", "pw")
        assert reader.names() == [name for name, _ in members]
        for name, member in members:
            assert b"".join(reader.chunks(name)) == Path(os.fsdecode(member.location)).read_bytes()


def test_the_manifest_is_json_that_any_reader_takes(root: Path, capture: Capture) -> None:
    make(root, b"latin-\xe9", "x")
    captured = capture()
    text = subprocess.run(
        ["7z", "x", "-so", f"-p{PASSWORD}", captured.path, "manifest.json"], check=True, capture_output=True
    ).stdout
    assert Manifest.from_bytes(text) == captured.manifest
