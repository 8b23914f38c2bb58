"""Files out of an archive: as they were, all of them, and nowhere but where they belong."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
import pyzipper
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.actions import backup
from lifeboat.archive import MANIFEST_NAME
from lifeboat.archive.entry import EntryInfo, pack
from lifeboat.archive.read import ArchiveReader
from lifeboat.archive.workers import SMALL
from lifeboat.archive.write import ArchiveWriter
from lifeboat.errors import ArchiveError, LifeboatError, RestoreError, StorageError
from lifeboat.files import extract
from lifeboat.files.extract import Extracted
from lifeboat.files.layout import leads_out
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.storage.s3 import S3Destination
from lifeboat.support import clock
from lifeboat.support import unfinished as filling

from include.demo.stand_ins import S3
from tests.conftest import as_root
from tests.records import manifest_facts
from tests.trees import NAMES, PHP, as_nobody, facts, make

PASSWORD = "pâss 'word'"
WHEN = datetime(2026, 11, 23, 1, 2, 4, tzinfo=UTC)
WHEN_NS = int(WHEN.timestamp()) * 10**9
FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    return root


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where to restore to, beside a tree that must stay as it is."""
    shelf = tmp_path / "shelf"
    make(shelf, "canary/evil", "canary/sub/evil", content=b"alive")
    before = facts(shelf / "canary")
    yield shelf / "restored"
    assert facts(shelf / "canary") == before
    assert {path.name for path in shelf.iterdir()} <= {"canary", "restored", ".restored.unfinished"}
    assert not (tmp_path / "evil").exists()


def packed(root: Path, password: str | None = PASSWORD) -> Path:
    scratch = StagingDirectory(root.parent / "staging")
    scratch.create()
    backup.pack_archive(scratch, "Shop", "application", [], password, "", Selection(root, ("**",), ()), now=clock.now())
    return scratch.path / "archive.zip"


def extracted(
    archive: Path,
    target: Path,
    password: str | None = PASSWORD,
    *,
    only: str = "",
    root: str = "",
    setuid: bool = False,
) -> Extracted:
    with archive.open("rb") as file:
        reader = ArchiveReader(file, "the archive", password)
        return extract.extract(reader, target, only=only, root=root, setuid=setuid)


def unfinished(target: Path) -> Path:
    return target.with_name(f".{target.name}.unfinished")


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def varied(root: Path) -> None:
    """Make one of everything that a backup can hold."""
    make(root, *NAMES, "run.sh", "old", "sub/inner", "shared/x")
    make(root, "empty", "sub/also empty", content=b"")
    make(root, "photo.jpg", content=os.urandom(300_000))
    make(root, "large.bin", content=os.urandom(2 * SMALL) + b"x" * 2 * SMALL)
    make(root, "zeros", content=bytes(5 * SMALL))
    (root / "nothing in it").mkdir(mode=0o750)
    for path, mode in {"run.sh": 0o4751, "old": 0o400, "sub": 0o2775, "shared": 0o1777, "sub/inner": 0o666}.items():
        (root / path).chmod(mode)
    os.utime(root / "old", ns=(0, 1_000_000_001_123_456_789))
    os.utime(root / "photo.jpg", (-1, -1))
    for name, leads_to in {
        "link": "sub/inner",
        "folder": "sub",
        "broken": "nowhere",
        "é": b"\xff".decode("latin-1"),
    }.items():
        (root / name).symlink_to(leads_to)
    (root / "to bytes").symlink_to(os.fsdecode(b"latin-\xe9"))
    os.utime(root / "link", (0, 1_200_000_001), follow_symlinks=False)
    os.utime(root / "nothing in it", (0, 1_200_000_001))
    os.utime(root / "sub", ns=(0, 1_100_000_001_000_000_001))


@pytest.mark.parametrize(("password", "mask"), [(PASSWORD, 0o077), (None, 0)])
def test_what_comes_out_is_what_went_in(root: Path, target: Path, password: str | None, mask: int) -> None:
    varied(root)
    archive = packed(root, password)
    with umask(mask):
        done = extracted(archive, target, password, setuid=True)
    assert facts(target) == facts(root)
    found = [path.lstat() for path in root.rglob("*")]
    files = [status for status in found if stat.S_ISREG(status.st_mode)]
    assert done == Extracted(
        len(files),
        sum(stat.S_ISDIR(status.st_mode) for status in found),
        sum(stat.S_ISLNK(status.st_mode) for status in found),
        sum(status.st_size for status in files),
        ("1 file had the setuid or setgid bit, which no restore sets, for archives know no owners: 'run.sh'.",),
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert not unfinished(target).exists()


def test_nobody_gets_the_rights_of_who_restores(root: Path, target: Path) -> None:
    make(root, "user", "group", "sub/inner")
    for path, mode in {"user": 0o4755, "group": 0o2755, "sub": 0o2775}.items():
        (root / path).chmod(mode)
    extracted(packed(root), target)
    modes = {path: oct(stat.S_IMODE((target / path).stat().st_mode)) for path in ("user", "group", "sub")}
    assert modes == {"user": "0o755", "group": "0o755", "sub": "0o2775"}


def test_root_is_not_needed_whatever_the_modes(target: Path, tmp_path: Path) -> None:
    entries: Forged = [
        ("closed/", b"", stat.S_IFDIR),
        ("closed/deep/", b"", stat.S_IFDIR | 0o500),
        ("closed/deep/file", b"x", FILE),
        ("secret", b"x", stat.S_IFREG),
    ]
    archive = forged(tmp_path / "a.zip", entries, {})

    def run() -> None:
        with umask(0o777):
            extracted(archive, target, None)

    as_nobody(run, tmp_path)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {"closed": 0, "secret": 0}
    as_root("chmod", "-R", "u+rwX", str(target))
    assert (target / "closed" / "deep" / "file").read_bytes() == b"x"


def test_deeply_nested_folders(root: Path, target: Path) -> None:
    folder = root
    for _ in range(300):
        folder /= "d"
        folder.mkdir()
    make(folder, "file")
    done = extracted(packed(root), target)
    assert (target / folder.relative_to(root) / "file").read_bytes() == PHP
    assert (done.files, done.directories) == (1, 300)


def test_an_empty_directory_may_be_filled(root: Path, target: Path) -> None:
    make(root, "a")
    target.mkdir()
    extracted(packed(root), target)
    assert facts(target) == facts(root)


def test_links_that_lead_out_are_restored_and_told(root: Path, target: Path) -> None:
    make(root, "a/b/file")
    inside = {"a/up": "..", "a/b/over": "../../a/b/file", "self": "."}
    outside = {"a/out": "../..", "absolute": "/etc/passwd", "a/b/round": "../../../app/a"}
    for link, leads_to in (inside | outside).items():
        (root / link).symlink_to(leads_to)
    done = extracted(packed(root), target)
    assert facts(target) == facts(root)
    assert done.warnings == ("3 links lead out of what was restored: 'a/b/round', 'a/out', 'absolute'.",)


@pytest.mark.parametrize(
    ("link", "leads_to", "out"),
    [
        (b"a", b"b", False),
        (b"a", b"..", True),
        (b"d/a", b"..", False),
        (b"d/a", b"../../x", True),
        (b"d/a", b"x/../../..", True),
        (b"a", b"..b", False),
        (b"a", b"//etc", True),
        (b"a", b"/", True),
    ],
)
def test_where_links_lead(link: bytes, leads_to: bytes, out: bool) -> None:
    assert leads_out(link, leads_to) == out


@pytest.mark.parametrize(
    ("only", "expected", "counts"),
    [
        ("storage/app", ["storage/app", "storage/app/a", "storage/app/sub", "storage/app/sub/b"], (2, 3, 0)),
        ("/storage//app/", ["storage/app", "storage/app/a", "storage/app/sub", "storage/app/sub/b"], (2, 3, 0)),
        ("./storage/app/sub/b", ["storage/app", "storage/app/sub", "storage/app/sub/b"], (1, 3, 0)),
        ("storage/link", ["storage/link"], (0, 1, 1)),
        ("manifest.json", ["manifest.json"], (1, 0, 0)),
        ("db-dumps", ["db-dumps", "db-dumps/mysql-shop.sql"], (1, 1, 0)),
    ],
)
def test_only_one_file_or_folder(
    root: Path, target: Path, only: str, expected: list[str], counts: tuple[int, int, int]
) -> None:
    make(root, "storage/app/a", "storage/app/sub/b", "storage/apple", "public/app", "manifest.json")
    make(root, "db-dumps/mysql-shop.sql")
    (root / "storage" / "link").symlink_to("app")
    (root / "storage").chmod(0o2750)
    done = extracted(packed(root), target, only=only)
    known = facts(root)
    assert facts(target) == {path: known[path] for path in (*expected, *(["storage"] if "storage" in only else []))}
    assert (done.files, done.directories, done.links) == counts


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("storage/ap", r"holds no 'storage/ap'. Hint: It holds 'storage/app'"),
        ("logs", r"holds no 'logs'. Hint: It holds 'storage/logs'"),
        ("storage/app/config/databse.php", r"It holds 'storage/app/config/database.php'"),
        ("../app/storage", r"holds no '../app/storage'. Hint: It holds 'storage'"),
        ("\ud800", r"holds no '.ud800'. Hint: Paths are"),
        ("xyz", r"holds no 'xyz'. Hint: Paths are relative to the root of the application"),
    ],
)
def test_a_path_that_is_not_there_is_told_with_what_is(root: Path, target: Path, only: str, said: str) -> None:
    make(root, "storage/app/config/database.php", "storage/logs/x")
    with pytest.raises(RestoreError, match=said):
        extracted(packed(root), target, only=only)


def test_an_archive_of_databases_holds_no_files(target: Path, tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.zip", None) as archive:
        archive.add_pieces("db-dumps/mysql-shop.sql", [b"x"], size=1, modified=WHEN)
    with pytest.raises(RestoreError, match=r"the archive holds no files. Hint: Only archives of kind application do"):
        extracted(tmp_path / "a.zip", target, None)


# Archives of other tools


def foreign(path: Path, names: dict[str, bytes | int], password: str | None) -> Path:
    """Write an archive as PHP's ZipArchive does: everybody may write everything, times are local.

    :param names: content by name; or the mode of a folder, whose name ends with a slash.
    """
    encryption = {"encryption": pyzipper.WZ_AES} if password else {}
    with pyzipper.AESZipFile(path, "w", compression=pyzipper.ZIP_DEFLATED, **encryption) as archive:
        if password:
            archive.setpassword(password.encode())
        for name, content in names.items():
            info = archive.zipinfo_cls(name, time.localtime(WHEN_NS // 10**9)[:6])
            info.create_system = 3
            info.compress_type = pyzipper.ZIP_DEFLATED
            mode = content if isinstance(content, int) else stat.S_IFREG | 0o666
            info.external_attr = mode << 16 | (0x10 if name.endswith("/") else 0)
            archive.writestr(info, b"" if isinstance(content, int) else content)
    return path


PHP_FOLDER = stat.S_IFDIR | 0o777


@pytest.mark.parametrize("password", [PASSWORD, None])
@pytest.mark.parametrize("root", ["/var/www/shop", "/var/www/shop/"])
def test_an_archive_of_laravel_backup_with_whole_paths(
    target: Path, tmp_path: Path, password: str | None, root: str
) -> None:
    archive = foreign(
        tmp_path / "a.zip",
        {
            "db-dumps/mysql-shop.sql": b"SELECT 1",
            "var/www/": PHP_FOLDER,
            "var/www/shop/": PHP_FOLDER,
            "var/www/shop/index.php": PHP,
            "var/www/shop/db-dumps/own.sql": PHP,
            "var/www/shop/storage/empty/": PHP_FOLDER,
            "var/www/shopping/cart": PHP,
            "srv/media/a.jpg": os.urandom(5000),
        },
        password,
    )
    with umask(0):
        done = extracted(archive, target, password, root=root)
    found = facts(target)
    assert found["index.php"] == ("-rw-r--r--", WHEN_NS, PHP)
    assert found["storage/empty"][:2] == ("drwxr-xr-x", WHEN_NS)
    assert {"db-dumps/own.sql", "var/www/shopping/cart", "srv/media/a.jpg"} < found.keys()
    assert "db-dumps/mysql-shop.sql" not in found
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert (done.files, done.directories) == (4, 2)
    assert done.warnings[0].startswith("The archive has no manifest")
    said = f"2 entries not below {root}, restored under the whole path: 'var/www/shopping/cart', 'srv/media/a.jpg'."
    assert done.warnings[1:] == (said,)


def test_an_archive_of_laravel_backup_with_relative_paths(target: Path, tmp_path: Path) -> None:
    archive = foreign(tmp_path / "a.zip", {"app/": PHP_FOLDER, "app/x.php": PHP, ".env": b"KEY=1"}, PASSWORD)
    done = extracted(archive, target, root="/var/www/shop")
    assert facts(target).keys() == {"app", "app/x.php", ".env"}
    assert done.warnings[1:] == ("No entry is below /var/www/shop: all are restored under their paths in the archive.",)
    assert extracted(archive, target / "again").warnings[1:] == ()


def test_only_is_relative_to_the_root_of_whole_paths(target: Path, tmp_path: Path) -> None:
    archive = foreign(tmp_path / "a.zip", {"var/www/shop/app/x.php": PHP, "var/www/shop/y": PHP}, None)
    extracted(archive, target, None, root="/var/www/shop", only="app")
    assert facts(target).keys() == {"app", "app/x.php"}


@pytest.mark.parametrize("encryption", [["-psecret", "-mem=AES256"], ["-psecret", "-mem=AES128"], []])
def test_an_archive_of_seven_zip(root: Path, target: Path, tmp_path: Path, encryption: list[str]) -> None:
    make(root, "sub/a", "é🦊", content=PHP * 99)
    make(root, "run.sh")
    (root / "run.sh").chmod(0o755)
    (root / "empty").mkdir()
    (root / "link").symlink_to("sub/a")
    command = ["7z", "a", "-tzip", "-snl", *encryption, str(tmp_path / "a.zip"), "."]
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    extracted(tmp_path / "a.zip", target, "secret")
    assert {path: (mode, what) for path, (mode, _, what) in facts(target).items()} == {
        path: (mode, what) for path, (mode, _, what) in facts(root).items()
    }
    assert abs(facts(target)["run.sh"][1] - facts(root)["run.sh"][1]) <= 2 * 10**9


# Archives that mean harm

Forged = list[tuple[str, bytes, int]]


def forged(path: Path, entries: Forged, changes: dict[str, Any] | None = None) -> Path:
    """Write entries of any names and modes.

    :param changes: to what the manifest says, by entry; there is no manifest without it.
    """
    listed: dict[str, Any] = {}
    with ArchiveWriter(path, None) as archive:
        for name, content, mode in entries:
            info = EntryInfo(name, mode, WHEN_NS)
            info.filename = name  # pyzipper has cut it at a NUL
            entry = pack(info, content, None)
            archive.add(entry)
            kind = "directory" if name.endswith("/") else "link" if stat.S_ISLNK(mode) else "file"
            listed[name] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "type": kind,
                "mode": f"{stat.S_IMODE(mode):04o}",
                "mtime_ns": WHEN_NS,
            }
        if changes is not None:
            for name, facts_of in changes.items():
                listed[name] = listed.get(name, {}) | facts_of
            manifest = json.dumps(manifest_facts(listed)).encode()
            archive.add_pieces(MANIFEST_NAME, [manifest], size=len(manifest), modified=WHEN)
    return path


HARMFUL: dict[str, tuple[Forged, str]] = {
    "above": ([("../evil", b"x", FILE)], "leads out of the directory"),
    "above from below": ([("a/../../evil", b"x", FILE)], "leads out of the directory"),
    "above at the end": ([("a/..", b"x", FILE)], "leads out of the directory"),
    "a folder above": ([("../canary/new/", b"", FOLDER)], "leads out of the directory"),
    "absolute": ([("/evil", b"x", FILE)], "is an absolute path"),
    "absolute twice": ([("//evil", b"x", FILE)], "is an absolute path"),
    "a NUL": ([("a\0b", b"x", FILE)], "is not the path of a file"),
    "a NUL in a name of UTF-8": ([("é\0b", b"x", FILE)], "is not the path of a file"),
    "an empty part": ([("a//b", b"x", FILE)], "is not the path of a file"),
    "a dot": ([("./a", b"x", FILE)], "is not the path of a file"),
    "no name": ([("", b"x", FILE)], "is not the path of a file"),
    "only a slash": ([("/", b"", FOLDER)], "is not the path of a file"),
    "through a link": ([("l", b"../canary", LINK), ("l/evil", b"x", FILE)], "'l' is not a directory, but"),
    "through a later link": ([("l/evil", b"x", FILE), ("l", b"../canary", LINK)], "'l' is not a directory, but other"),
    "a link that is a folder": ([("l", b"../canary", LINK), ("l/", b"", FOLDER)], "'l' and 'l/' have the same path"),
    "a link that is a file": ([("l", b"../canary/evil", LINK), ("l", b"x", FILE)], "holds two entries with the"
    " same name"),
    "a file in a file": ([("a", b"x", FILE), ("a/b", b"x", FILE)], "'a' is not a directory, but other entries"),
    "a file twice": ([("a", b"x", FILE), ("a", b"y", FILE)], "holds two entries with the same name"),
    "a folder twice": ([("a", b"x", FILE), ("a/", b"", FOLDER)], "'a' and 'a/' have the same path"),
    "a FIFO": ([("p", b"", stat.S_IFIFO | 0o644)], "'p' is a device, a FIFO or a socket"),
    "a device": ([("sda", b"", stat.S_IFBLK | 0o644)], "'sda' is a device, a FIFO or a socket"),
    "a terminal": ([("tty", b"", stat.S_IFCHR | 0o644)], "'tty' is a device, a FIFO or a socket"),
    "a socket": ([("sock", b"", stat.S_IFSOCK | 0o644)], "'sock' is a device, a FIFO or a socket"),
    "a folder with content": ([("d/", b"x", FOLDER)], "is a directory and has content"),
    "a link to nothing": ([("l", b"", LINK)], "is a symbolic link with an invalid target"),
    "a link to too much": ([("l", b"x" * 4096, LINK)], "is a symbolic link with an invalid target"),
}  # fmt: skip


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("harm", HARMFUL)
def test_an_archive_that_means_harm_is_refused_before_anything_is_written(
    target: Path, tmp_path: Path, harm: str, with_manifest: bool
) -> None:
    entries, said = HARMFUL[harm]
    if with_manifest and "a device" in said:
        said = "does not match its manifest"
    innocent: Forged = [("index.php", PHP, FILE)]
    archive = forged(tmp_path / "a.zip", [*innocent, *entries], {} if with_manifest else None)
    with pytest.raises(ArchiveError, match=said) as caught:
        extracted(archive, target, None)
    assert "the archive" in str(caught.value)
    assert [path.name for path in target.parent.iterdir()] == ["canary"]


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "\ud800", "", "b", "x/y"])
def test_a_manifest_that_gives_an_entry_another_place_is_judged_like_names(
    target: Path, tmp_path: Path, path: str
) -> None:
    entries: Forged = [("a", b"x", FILE), ("b", b"x", FILE), ("x", b"x", FILE)]
    with pytest.raises(ArchiveError):
        extracted(forged(tmp_path / "a.zip", entries, {"a": {"path": path}}), target, None)
    assert [path.name for path in target.parent.iterdir()] == ["canary"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gone": {"size": 0}}, "lacks 'gone', which its manifest lists"),
        ({"a": {"size": 2}}, "'a' does not match its manifest"),
        ({"a": {"type": "link"}}, "'a' does not match its manifest"),
        ({"a": {"mode": "99"}}, "description of 'a' is malformed"),
        ({"a": {"mtime_ns": 10**40}}, "description of 'a' is malformed"),
        ({"a": {"sha256": None}}, "description of 'a' is malformed"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error(
    target: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArchiveError, match=said):
        extracted(forged(tmp_path / "a.zip", [("a", b"x", FILE)], changes), target, None)
    assert [path.name for path in target.parent.iterdir()] == ["canary"]


def test_an_entry_that_the_manifest_does_not_know_is_refused(target: Path, tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.zip", None) as archive:
        archive.add(pack(EntryInfo("stowaway", FILE, WHEN_NS), b"x", None))
        archive.add_pieces(MANIFEST_NAME, [json.dumps(manifest_facts({})).encode()], size=999, modified=WHEN)
    with pytest.raises(ArchiveError, match="holds 'stowaway', which its manifest does not list"):
        extracted(tmp_path / "a.zip", target, None)


@pytest.mark.parametrize("size", [5, 3 * SMALL])
@pytest.mark.parametrize("kind", [FILE, LINK])
def test_content_that_the_manifest_does_not_promise_is_never_whole(
    target: Path, tmp_path: Path, size: int, kind: int
) -> None:
    entries: Forged = [("a", os.urandom(size if kind == FILE else 5).replace(b"\0", b"x"), kind)]
    archive = forged(tmp_path / "a.zip", entries, {"a": {"sha256": "0" * 64}})
    with pytest.raises(ArchiveError, match="'a' does not match its manifest"):
        extracted(archive, target, None)
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["..\\..\\evil", "C:\\evil", "C:evil", "\\\\server\\evil", "a\\..\\evil", "~", "-rf", "con"]
)
def test_what_is_a_path_elsewhere_is_a_name_here(target: Path, tmp_path: Path, name: str) -> None:
    extracted(forged(tmp_path / "a.zip", [(name, b"x", FILE)]), target, None)
    assert [path.name for path in target.iterdir()] == [name]


def test_bytes_of_names_are_kept(target: Path, tmp_path: Path) -> None:
    name = b"\xff\xfe\xc3(\x80".decode("utf-8", "surrogateescape")
    extracted(forged(tmp_path / "a.zip", [(name, b"x", FILE)]), target, None)
    assert [os.fsencode(path.name) for path in target.iterdir()] == [b"\xff\xfe\xc3(\x80"]


def test_one_name_in_two_encodings_is_noticed(target: Path, tmp_path: Path) -> None:
    entries: Forged = [("a", b"x", FILE), ("é", b"x", FILE)]
    archive = forged(tmp_path / "a.zip", entries, {"a": {"path": "\udcc3\udca9"}})
    with pytest.raises(ArchiveError, match="'a' and 'é' have the same path"):
        extracted(archive, target, None)


@pytest.mark.parametrize(("name", "said"), [("n" * 256, "names of 255 bytes"), ("d/" * 2100 + "f", "too long")])
def test_names_that_are_too_long_are_told_before_anything_is_written(
    target: Path, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(RestoreError, match=said):
        extracted(forged(tmp_path / "a.zip", [("a", b"x", FILE), (name, b"x", FILE)]), target, None)
    assert [path.name for path in target.parent.iterdir()] == ["canary"]


def ignoring_case(real: Callable[..., Any]) -> Callable[..., Any]:
    def function(path: Any, *args: Any, **kwargs: Any) -> Any:
        return real(path.lower() if "dir_fd" in kwargs else path, *args, **kwargs)

    return function


@pytest.mark.parametrize(
    "entries", [[("Readme", b"1", FILE), ("README", b"2", FILE)], [("Docs/", b"", FOLDER), ("docs/", b"", FOLDER)]]
)
def test_names_that_are_one_where_case_is_ignored(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Forged
) -> None:
    for function in ("open", "mkdir", "chmod"):
        monkeypatch.setattr(os, function, ignoring_case(getattr(os, function)))
    with pytest.raises(RestoreError, match=r"Cannot write '(README|docs)' below .*File exists.*if it ignores case"):
        extracted(forged(tmp_path / "a.zip", entries), target, None)
    assert not target.exists()


def test_a_link_to_a_nul_is_refused(target: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="'l' is a symbolic link with an invalid target"):
        extracted(forged(tmp_path / "a.zip", [("l", b"a\0b", LINK)]), target, None)
    assert not target.exists()


@pytest.mark.parametrize("name", ["m", "m/sub", "m/sub/new"])
def test_a_link_that_somebody_puts_in_the_way_is_not_written_through(target: Path, tmp_path: Path, name: str) -> None:
    archive = forged(tmp_path / "a.zip", [("m/sub/", b"", FOLDER), ("m/sub/new", b"x", FILE)])

    class Disturbed(ArchiveReader):
        def stored(self, entry: str) -> bytes:
            place = unfinished(target) / name
            if place.exists():
                place.rename(tmp_path / "moved")
            place.symlink_to(target.parent / name.replace("m", "canary"))
            return super().stored(entry)

    with archive.open("rb") as file, pytest.raises(RestoreError, match="Cannot write 'm/sub/new' below"):
        extract.extract(Disturbed(file, "the archive", None), target)


@given(st.lists(st.text("ab./\\\0é\udce9", max_size=6), min_size=1, max_size=5, unique=True))
def test_no_name_leads_anywhere_else(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    shelf = tmp_path_factory.mktemp("shelf")
    with contextlib.suppress(LifeboatError):
        extracted(forged(shelf / "a.zip", [(name, b"x", FILE) for name in names]), shelf / "b" / "c", None)
        (shelf / "b").mkdir()
        extracted(shelf / "a.zip", shelf / "b" / "c", None)
    assert {path.name for path in shelf.iterdir()} <= {"a.zip", "b"}


# Trouble on the way


@pytest.mark.parametrize("size", [10, 3 * SMALL])
@pytest.mark.parametrize(("by", "said"), [(-5, "longer than its declared"), (5, "not its declared")])
def test_a_content_that_is_not_as_long_as_it_says_is_never_whole(
    target: Path, tmp_path: Path, size: int, by: int, said: str
) -> None:
    with ArchiveWriter(tmp_path / "a.zip", None) as archive:
        entry = pack(EntryInfo("bomb", FILE, WHEN_NS), bytes(size), None)
        entry.info.file_size += by
        archive.add(entry)
    with pytest.raises(ArchiveError, match=rf"'bomb' .*{said}.*What was written so far is in .*unfinished: remove it"):
        extracted(tmp_path / "a.zip", target, None)
    assert not target.exists()
    assert (unfinished(target) / "bomb").stat().st_size <= size + by
    extracted(forged(tmp_path / "a.zip", [("good", b"x", FILE)]), target, None)
    assert [path.name for path in target.iterdir()] == ["good"]
    assert not unfinished(target).exists()


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_a_damaged_archive_leaves_what_is_recognisably_unfinished(root: Path, target: Path, position: float) -> None:
    make(root, *(f"{number:03}" for number in range(300)), content=os.urandom(3000))
    content = bytearray(packed(root).read_bytes())
    content[int(len(content) * position)] ^= 1
    with pytest.raises(ArchiveError, match=r"is damaged.*What was written so far is in"):
        extract.extract(ArchiveReader(cast(BinaryIO, io.BytesIO(content)), "the archive", PASSWORD), target)
    assert not target.exists()
    assert unfinished(target).is_dir()


def test_a_wrong_password_leaves_nothing_but_the_sentence(root: Path, target: Path) -> None:
    make(root, "a")
    with pytest.raises(ArchiveError, match="does not open with this password"):
        extracted(packed(root), target, "wrong")
    assert [path.name for path in target.parent.iterdir()] == ["canary"]


def test_an_archive_that_does_not_fit_is_refused_before_it_is_written(root: Path, tiny_disk: Path) -> None:
    make(root, *(f"{number:03}" for number in range(300)), content=b"a block each")
    with pytest.raises(RestoreError, match=r"would take 1.2 MiB, and 10\d\d.* KiB are free there|1.0 MiB are free"):
        extracted(packed(root), tiny_disk / "out")
    assert list(tiny_disk.iterdir()) == []


def test_a_lack_of_inodes_is_told_before_anything_is_written(root: Path, tiny_disk: Path) -> None:
    make(root, *(f"{number}" for number in range(30)), content=b"")
    as_root("mount", "-o", "remount,nr_inodes=20", str(tiny_disk))
    with pytest.raises(RestoreError, match=r"would take 31 inodes, and 1\d are free there"):
        extracted(packed(root), tiny_disk / "out")
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize("size", [200_000, 3 * SMALL])
def test_a_disk_that_fills_meanwhile(root: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for number in range(8):
        make(root, f"{number}", content=os.urandom(size))
    archive = packed(root)
    monkeypatch.setattr(extract, "_check_space", lambda *_: None)
    with pytest.raises(RestoreError, match=r"Cannot write '\d' below .*No space left.*Free some.*written so far is in"):
        extracted(archive, tiny_disk / "out")
    assert not (tiny_disk / "out").exists()
    monkeypatch.undo()
    with pytest.raises(RestoreError, match="would take"):  # what was left does not count, nor stay
        extracted(archive, tiny_disk / "out")
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: make(path, "x"), "is not empty; nothing is overwritten"),
        (lambda path: path.write_bytes(b""), "exists already and is not a directory"),
        (lambda path: path.symlink_to("canary"), "is a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
        (lambda path: unfinished(path).write_bytes(b""), "Cannot write .*Not a directory"),
        (lambda path: unfinished(path).symlink_to("canary"), "Cannot write .*Not a directory"),
    ],
)
def test_a_target_that_is_taken_is_refused(
    root: Path, target: Path, prepare: Callable[[Path], object], said: str
) -> None:
    make(root, "a")
    archive = packed(root)
    prepare(target)
    before = facts(target.parent)
    with pytest.raises(RestoreError, match=said):
        extracted(archive, target)
    assert facts(target.parent) == before


def test_a_target_in_a_directory_that_is_not_there_is_refused(root: Path, target: Path) -> None:
    make(root, "a")
    with pytest.raises(RestoreError, match=r"There is no directory .*nowhere to make 'out' in. Hint: Make it first"):
        extracted(packed(root), target.parent / "nowhere" / "out")


def test_a_mount_point_is_refused(root: Path, tiny_disk: Path) -> None:
    make(root, "a")
    with pytest.raises(RestoreError, match=r"is a mount point. Hint: Name a new directory inside it"):
        extracted(packed(root), tiny_disk)


def test_missing_rights_are_told(root: Path, tmp_path: Path) -> None:
    make(root, "a")
    archive = packed(root)
    shelf = tmp_path / "shelf"
    shelf.mkdir()

    def try_it() -> None:
        shelf.chmod(0o555)
        with pytest.raises(RestoreError, match=r"Permission denied. Hint: Give the user that runs this the rights"):
            extracted(archive, shelf / "out")

    as_nobody(try_it, tmp_path)


def test_what_another_user_left_in_the_way_is_refused(root: Path, tmp_path: Path) -> None:
    make(root, "a")
    place = unfinished(tmp_path / "out")
    as_root("mkdir", str(place))
    as_root("chown", "nobody", str(place))
    with pytest.raises(RestoreError, match="is in the way, and belongs to another user"):
        extracted(packed(root), tmp_path / "out")
    assert place.exists()


@pytest.mark.parametrize("next_one", [False, True])
def test_a_directory_that_got_its_name_meanwhile_is_left_alone(
    root: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, next_one: bool
) -> None:
    """As one does whose filling has just come to an end."""
    make(root, "a")
    make(unfinished(target), "whole")
    lock = fcntl.flock

    def finish(folder: int, operation: int) -> None:
        lock(folder, operation)
        monkeypatch.undo()
        unfinished(target).rename(tmp_path / "finished")
        if next_one:
            unfinished(target).mkdir()

    archive = packed(root)
    monkeypatch.setattr(fcntl, "flock", finish)
    extracted(archive, target)
    assert (tmp_path / "finished" / "whole").exists()
    assert facts(target) == facts(root)


def test_a_disk_that_cannot_make_it_durable_gives_it_no_name(
    root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    make(root, "a")
    monkeypatch.setattr(filling, "sync_file_system", failing)
    with pytest.raises(
        RestoreError, match=r"Cannot write .*restored: Input/output error.*What was written so far is in"
    ):
        extracted(packed(root), target)
    assert not target.exists()


class Stuck(io.FileIO):
    """An archive whose reading never comes to an end once its entries are read.

    :param tell: called when that happens.
    """

    def __init__(self, path: Path, after: int, tell: Callable[[], object]) -> None:
        super().__init__(path)
        self._left, self._tell = after, tell

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left == 0:
            self._tell()
            time.sleep(60)
        return super().read(size) or b""


def killed_while_stuck(archive: Path, target: Path, reads: int, meanwhile: Callable[[], object]) -> None:
    """Extract in a child that hangs after some reads, do something, and kill the child."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), Stuck(archive, reads, lambda: os.write(told, b"!")) as file:
            extract.extract(ArchiveReader(cast(BinaryIO, file), "the archive", PASSWORD), target)
        os._exit(1)
    try:
        assert os.read(heard, 1) == b"!"
        meanwhile()
    finally:
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        os.close(heard)
        os.close(told)


@pytest.mark.parametrize("reads", [300, 900])
def test_a_killed_extraction_is_unfinished_and_the_next_one_takes_its_place(
    root: Path, target: Path, reads: int
) -> None:
    make(root, *(f"{number % 7}/{number:03}" for number in range(500)))
    archive = packed(root)

    def try_as_well() -> None:
        with pytest.raises(RestoreError, match=r"Another process is filling .*\.restored\.unfinished"):
            extracted(archive, target)

    killed_while_stuck(archive, target, reads, try_as_well)
    assert not target.exists()
    assert len(list(unfinished(target).rglob("*"))) > 7
    extracted(archive, target)
    assert facts(target) == facts(root)
    assert not unfinished(target).exists()


def test_killed_at_any_instant_it_is_whole_or_not_there(root: Path, target: Path) -> None:
    varied(root)
    archive = packed(root)
    started = time.monotonic()
    extracted(archive, target, setuid=True)
    takes = time.monotonic() - started
    expected = facts(root)
    for number in range(12):
        subprocess.run(["rm", "-rf", target], check=True)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                extracted(archive, target, setuid=True)
            os._exit(1)
        time.sleep(takes * (number + 1) / 10)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if target.exists():
            assert facts(target) == expected
            assert not unfinished(target).exists()
    if not target.exists():
        extracted(archive, target, setuid=True)
    assert facts(target) == expected


def test_what_a_killed_one_left_goes_whatever_its_modes(root: Path, target: Path, tmp_path: Path) -> None:
    make(root, "a")
    archive = packed(root)

    def leave_and_extract() -> None:
        make(unfinished(target), "closed/deep/file", "x")
        (unfinished(target) / "link").symlink_to("../canary")
        for path in ("closed/deep", "closed"):
            (unfinished(target) / path).chmod(0)
        extracted(archive, target)

    as_nobody(leave_and_extract, tmp_path)
    assert [path.name for path in target.iterdir()] == ["a"]
    assert not unfinished(target).exists()


# From a bucket


def in_bucket(s3: S3, archive: Path, key: str) -> None:
    s3.client().upload_file(str(archive), "backups", key)


def counted(client: Any) -> list[str]:
    """Return a list that grows by a request at a time."""
    requests: list[str] = []
    client.meta.events.register(
        "before-send.s3", lambda request, **_: requests.append(request.headers.get("Range", b""))
    )
    return requests


def extracted_from(client: Any, key: str, target: Path, *, only: str = "") -> Extracted:
    with S3Destination("off", client, "backups").open(key) as file:
        return extract.extract(ArchiveReader(file, "the archive", PASSWORD), target, only=only)


def test_many_small_files_take_few_requests(s3: S3, root: Path, target: Path) -> None:
    make(root, *(f"{number % 30}/{number}" for number in range(2000)))
    in_bucket(s3, packed(root), "Extract/many.zip")
    client = s3.client()
    requests = counted(client)
    extracted_from(client, "Extract/many.zip", target)
    assert facts(target) == facts(root)
    assert len(requests) <= 6  # size, end, directory, manifest, and all entries at once


def test_one_file_of_a_large_archive_takes_few_requests(s3: S3, root: Path, target: Path) -> None:
    for name in "abc":
        make(root, name, content=os.urandom(20 << 20))
    make(root, "b2", content=b"wanted")
    in_bucket(s3, packed(root), "Extract/large.zip")
    client = s3.client()
    requests = counted(client)
    extracted_from(client, "Extract/large.zip", target, only="b2")
    assert facts(target) == {"b2": facts(root)["b2"]}
    assert len(requests) <= 6


@pytest.mark.parametrize("size", [3000, 3 * SMALL])
def test_a_line_that_is_cut_is_taken_up_again(s3: S3, faulty_s3: Any, root: Path, target: Path, size: int) -> None:
    client, fail = faulty_s3
    make(root, *(f"{number}" for number in range(4)), content=os.urandom(size))
    in_bucket(s3, packed(root), f"Extract/cut-{size}.zip")
    with S3Destination("off", client, "backups").open(f"Extract/cut-{size}.zip") as file:
        reader = ArchiveReader(file, "the archive", PASSWORD)
        fail(*["cut"] * 4)
        extract.extract(reader, target)
    assert facts(target) == facts(root)


@pytest.mark.parametrize("size", [3000, 3 * SMALL])
def test_a_bucket_that_fails_midway_ends_it(s3: S3, faulty_s3: Any, root: Path, target: Path, size: int) -> None:
    client, fail = faulty_s3
    make(root, *(f"{number}" for number in range(300 if size == 3000 else 3)), content=os.urandom(size))
    archive = packed(root)
    in_bucket(s3, archive, f"Extract/failing-{size}.zip")

    class Failing(ArchiveReader):
        def stored(self, name: str) -> bytes:
            if name == "250":
                fail(*["500"] * 20)
                self._file.seek(0)
                self._file.read(1)
            return super().stored(name)

        def chunks(self, name: str, *stored: Any) -> Iterator[bytes]:
            for number, chunk in enumerate(super().chunks(name, *stored)):
                yield chunk
                if (name, number) == ("1", 2):
                    fail(*["500"] * 20)
                    self._file.seek(0)
                    self._file.read(1)

    said = r"Cannot read .*'off'.*What was written so far is in"
    with (
        S3Destination("off", client, "backups").open(f"Extract/failing-{size}.zip") as file,
        pytest.raises(StorageError, match=said),
    ):
        extract.extract(Failing(file, "the archive", PASSWORD), target)
    assert not target.exists()
    fail()
    extracted_from(client, f"Extract/failing-{size}.zip", target)
    assert facts(target) == facts(root)
