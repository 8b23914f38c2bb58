"""A tree of files on its way into an encrypted archive: many small ones, and few large ones."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyzipper
from lifeboat.actions import backup
from lifeboat.archive import encryption, signature
from lifeboat.archive.read import ArchiveReader
from lifeboat.files.extract import extract
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from tests.bench.contest import PASSWORD, Repositories, console, hold, peak_megabytes, shell

SMALL_FILES = int(os.environ.get("BENCH_FILES", "15_000"))
LARGE_BYTES = int(os.environ.get("BENCH_LARGE_BYTES", str(100 << 20)))

PHP_ZIP = """
$zip = new ZipArchive();
$zip->open($argv[2], ZipArchive::CREATE | ZipArchive::OVERWRITE);
$files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($argv[1], FilesystemIterator::SKIP_DOTS));
foreach ($files as $file) {
    $zip->addFile($file, $file);
    $zip->setEncryptionName($file, ZipArchive::EM_AES_256, $argv[3]);
}
$zip->close();
"""


def small_files(root: Path) -> None:
    """Make a tree like a PHP application's: most files of a few kilobytes of text."""
    choice = random.Random(1)
    words = [
        bytes(choice.choices(b"abcdefghijklmnopqrstuvwxyz_$(){};\n ", k=choice.randint(2, 9))) for _ in range(3000)
    ]
    for number in range(SMALL_FILES):
        folder = root / f"module{number % 40}" / f"part{number % 300}"
        folder.mkdir(parents=True, exist_ok=True)
        size = int(choice.lognormvariate(8, 1.3))
        (folder / f"File{number}.php").write_bytes(b" ".join(choice.choices(words, k=size // 7 + 1))[:size])


def large_files(root: Path) -> None:
    """Make two logs and two videos: text that shrinks, and noise that does not."""
    root.mkdir()
    choice = random.Random(2)
    line = b'2026-11-%02d 10:%02d:%02d production.INFO: order %d of customer %d accepted {"total": %d}\n'
    for name in ("a.log", "b.log"):
        with (root / name).open("wb") as file:
            while file.tell() < LARGE_BYTES:
                numbers = (choice.randrange(28), choice.randrange(60), choice.randrange(60))
                ids = (choice.randrange(10**6), choice.randrange(10**5), choice.randrange(10**4))
                file.write(line % (*numbers, *ids) * 2)
    for name in ("a.mp4", "b.mp4"):
        with (root / name).open("wb") as file:
            for _ in range(LARGE_BYTES >> 20):
                file.write(choice.randbytes(1 << 20))


def staged(scratch: Path, tree: Path) -> StagingDirectory:
    """Pack a tree as a DAG's task does, with digests of every file and the manifest."""
    staging = StagingDirectory(scratch / "staging")
    staging.create()
    backup.pack_archive(
        staging, "Bench", "application", [], PASSWORD, "", Selection(tree, ("**",), ()), now=clock.now()
    )
    return staging


def pack(scratch: Path, tree: Path) -> None:
    """Pack a tree and forget it."""
    staged(scratch, tree).remove()


def unpack(archive: Path, target: Path) -> None:
    """Extract an archive as a restore does: every SHA-256 compared, everything durable."""
    with archive.open("rb") as file:
        extract(ArchiveReader(file, str(archive), PASSWORD), target)


class Bench:
    """The contestants, around one tree."""

    def __init__(self, scratch: Path, repositories: Repositories, tree: Path) -> None:
        self.scratch, self.tree = scratch, tree
        self.variables = {
            "PW": PASSWORD,
            **repositories.variables,
        }
        self.repositories = repositories

    def contestants(self) -> dict[str, Callable[[], object]]:
        """Return what is timed, by name; ours first."""
        tree, out = self.tree, self.scratch / "out.zip"
        take, restic, borg = self.repositories.take, self.repositories.restic, self.repositories.borg
        (self.scratch / "zip.php").write_text(f"<?php {PHP_ZIP}")
        return {
            "Lifeboat's archive task": lambda: pack(self.scratch, self.tree),
            "7-Zip -mx=1 -mmt=2, AES-256": lambda: self._shell(
                f'7z a -bd -tzip -mem=AES256 -mx=1 -mmt=2 "-p$PW" {out} {tree}'
            ),
            "zip -e, which is no AES": lambda: self._shell(f'zip -qry -P "$PW" {out} {tree}'),
            "PHP ZipArchive, AES-256": lambda: self._shell(f'php {self.scratch / "zip.php"} {tree} {out} "$PW"'),
            "pyzipper as it comes": self.pyzipper,
            "restic": lambda: self._shell(f"{take}; {restic} backup {tree}"),
            "borg": lambda: self._shell(f"{take}; borg create {borg}::x {tree}"),
        }

    def pyzipper(self) -> None:
        """Write the tree as pyzipper's documentation shows."""
        with pyzipper.AESZipFile(
            self.scratch / "out.zip", "w", compression=pyzipper.ZIP_DEFLATED, encryption=pyzipper.WZ_AES
        ) as archive:
            archive.setpassword(PASSWORD.encode())
            for path in sorted(self.tree.rglob("*")):
                archive.write(path, path.relative_to(self.tree))
        (self.scratch / "out.zip").unlink()

    def _shell(self, command: str) -> None:
        shell(command, **self.variables)
        (self.scratch / "out.zip").unlink(missing_ok=True)
        self.repositories.forget()


def hold_extraction(scratch: Path, tree: Path, title: str) -> None:
    """Hold the way back, from an archive of Lifeboat's."""
    staging, target = staged(scratch, tree), scratch / "restored"
    archive = staging.path / "archive.zip"
    variables = {"PW": PASSWORD}
    hold(
        f"{title}, out of the archive",
        "times Lifeboat",
        {
            "Lifeboat's extraction": lambda: unpack(archive, target),
            "7z x": lambda: shell(f'7z x -bd "-p$PW" -o{target} {archive}', **variables),
            "7z x, then sync": lambda: shell(f'7z x -bd "-p$PW" -o{target} {archive}; sync -f {target}', **variables),
        },
        tidy_up=lambda: shutil.rmtree(target),
    )
    print_peak("unpack", archive, target)
    shutil.rmtree(target)
    staging.remove()


def print_peak(function: str, *paths: Path) -> None:
    """Print the memory that a function of this module takes."""
    arguments = ", ".join(f"Path({str(path)!r})" for path in paths)
    script = f"from pathlib import Path\nfrom tests.bench import trees\ntrees.{function}({arguments})"
    console.print(f"Peak memory: {peak_megabytes([sys.executable, '-c', script], {}):.0f} MiB.")


def main(scratch: Path) -> None:
    """Hold the contests on both trees; print the floor that key derivation sets."""
    repositories = Repositories(scratch)
    for make in (small_files, large_files):
        tree = scratch / make.__name__
        make(tree)
        sizes = [path.stat().st_size for path in tree.rglob("*") if path.is_file()]
        bench = Bench(scratch, repositories, tree)
        title = f"{len(sizes)} files, {sum(sizes) / 1e6:.0f} MB"
        hold(title, "times Lifeboat", bench.contestants())
        started = time.perf_counter()
        salts = [os.urandom(signature.SALT_BYTES) for _ in range(1000)]
        encryption.derive_many(PASSWORD.encode(), salts)
        floor = (time.perf_counter() - started) / len(salts) * len(sizes) / len(os.sched_getaffinity(0))
        console.print(
            f"The floor: deriving {len(sizes)} keys takes {floor:.1f} s on all cores, by {encryption.derives_by()}."
        )
        print_peak("pack", scratch, tree)
        hold_extraction(scratch, tree, title)
