"""A tree of files on its way into an encrypted archive: many small ones, and few large ones."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lifeboat.actions import backup
from lifeboat.archive.read import ArchiveReader
from lifeboat.files.extract import extract
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from tests.bench.contest import PASSWORD, Report, Repositories, hold, peak_megabytes, shell

SMALL_FILES = int(os.environ.get("BENCH_FILES", "15_000"))
LARGE_BYTES = int(os.environ.get("BENCH_LARGE_BYTES", str(50 << 20)))
ROUNDS = 2  # deleting so many files takes longer than most of what is timed

PACKED, EXTRACTED = "Lifeboat's archive task", "Lifeboat's extraction, compared and synced"
SEVEN_ZIP, SYNCED = "7-Zip -mx=1 -mmt=2, AES-256", "7z x, then sync"


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


def verify(archive: Path) -> None:
    """Verify an archive."""
    with archive.open("rb") as file:
        ArchiveReader(file, str(archive), PASSWORD).verify()


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
        """Return what is timed, by name."""
        tree, out = self.tree, self.scratch / "out.zip"
        take, restic, borg = self.repositories.take, self.repositories.restic, self.repositories.borg
        return {
            PACKED: lambda: pack(self.scratch, self.tree),
            SEVEN_ZIP: lambda: self._shell(f'7z a -bd -tzip -mem=AES256 -mx=1 -mmt=2 "-p$PW" {out} {tree}'),
            "restic": lambda: self._shell(f"{take}; {restic} backup {tree}"),
            "borg": lambda: self._shell(f"{take}; borg create {borg}::x {tree}"),
        }

    def _shell(self, command: str) -> None:
        shell(command, **self.variables)
        (self.scratch / "out.zip").unlink(missing_ok=True)
        self.repositories.forget()


def hold_extraction(scratch: Path, repositories: Repositories, tree: Path, title: str) -> Report:
    """Hold the way back, each from an archive or repository of its own."""
    staging, target = staged(scratch, tree), scratch / "restored"
    archive = staging.path / "archive.zip"
    take, restic, borg = repositories.take, repositories.restic, repositories.borg
    variables = {"PW": PASSWORD, **repositories.variables}
    shell(f"{take}; {restic} backup {tree}; borg create {borg}::x {tree}", **variables)
    contestants: dict[str, Callable[[], object]] = {
        EXTRACTED: lambda: unpack(archive, target),
        SYNCED: lambda: shell(f'7z x -bd "-p$PW" -o{target} {archive}; sync -f {target}', **variables),
        "restic restore, then sync": lambda: shell(
            f"{restic} restore latest --target {target}; sync -f {target}", **variables
        ),
        "borg extract, then sync": lambda: shell(
            f"mkdir {target}; cd {target}; borg extract {borg}::x; sync -f {target}", **variables
        ),
    }
    held = hold(f"{title}, extracted", SYNCED, contestants, lambda: shutil.rmtree(target), rounds=ROUNDS)
    report = Report({f"extract {tree.name}": held}, {f"extracting {title}": peak("unpack", archive, target)})
    report.peaks[f"verifying {title}"] = peak("verify", archive)
    shutil.rmtree(target)
    staging.remove()
    repositories.forget()
    return report


def peak(function: str, *paths: Path) -> float:
    """Return the memory that a function of this module takes, in MiB."""
    arguments = ", ".join(f"Path({str(path)!r})" for path in paths)
    script = f"from pathlib import Path\nfrom tests.bench import trees\ntrees.{function}({arguments})"
    return peak_megabytes([sys.executable, "-c", script], {"PYTHONPATH": os.pathsep.join(sys.path)})


def main(scratch: Path) -> Report:
    """Hold the contests on both trees."""
    repositories = Repositories(scratch)
    report = Report()
    for make in (small_files, large_files):
        tree = scratch / make.__name__
        make(tree)
        sizes = [path.stat().st_size for path in tree.rglob("*") if path.is_file()]
        title = f"{len(sizes):,} files, {sum(sizes) / 1e6:.0f} MB"
        held = hold(f"{title}, packed", SEVEN_ZIP, Bench(scratch, repositories, tree).contestants(), rounds=ROUNDS)
        report |= Report({f"pack {tree.name}": held}, {f"packing {title}": peak("pack", scratch, tree)})
        report |= hold_extraction(scratch, repositories, tree, title)
    return report
