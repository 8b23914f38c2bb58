"""Database servers of other Debian suites than this machine's; `scripts/server-roots` makes and caches them.

A program of a root runs on this machine through the root's own loader and libraries, without a change of root: so it
needs no administrator, sees the same paths as everything else, and dies with the process that started it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

CACHE = "LIFEBOAT_SERVER_ROOTS"
WITHOUT = "LIFEBOAT_WITHOUT_SERVERS"
PROGRAM_FOLDERS = ("usr/sbin", "usr/bin")


def cache() -> Path:
    """Return the folder that holds the roots."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE) or home / "lifeboat" / "server-roots")


def left_out() -> frozenset[str]:
    """Return the names of the servers that this run does without, because somebody said so."""
    return frozenset(filter(None, os.environ.get(WITHOUT, "").split(",")))


class Root:
    """The root of a Debian suite.

    :param suite: ``sid``, ``trixie`` ...
    """

    def __init__(self, suite: str) -> None:
        self.path = cache() / suite

    def command(self, program: str) -> list[str]:
        """Return the command that begins a program of this root.

        :raises RuntimeError: the root does not have it.
        """
        return self._loading(program, self._find(program))

    def link(self, programs: tuple[str, ...], folder: Path) -> Path:
        """Write a script for each program into a folder, which then stands in PATH for the suite's packages.

        :returns: the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for program in programs:
            script = folder / program
            script.write_text(f'#!/bin/sh\nexec {shlex.join(self.command(program))} "$@"\n', encoding="utf-8")
            script.chmod(0o755)
        return folder

    def link_postgresql(self, version: str, folder: Path) -> Path:
        """Write a script for each program of a PostgreSQL into a folder tree, in which they find each other and files.

        :returns: the folder of the scripts, which then stands in PATH for the suite's packages.
        """
        own = self.path / "usr/lib/postgresql" / version
        scripts = folder / "lib/postgresql" / version / "bin"
        scripts.mkdir(parents=True)
        (scripts.parent / "lib").symlink_to(own / "lib")
        (folder / "share").symlink_to(self.path / "usr/share")
        # Its own places of locales and of PROJ's data, which PostGIS reads, are this machine's.
        places = f"LOCPATH={self.path / 'usr/lib/locale'} PROJ_DATA={self.path / 'usr/share/proj'}"
        for program in (own / "bin").glob("*"):
            script = scripts / program.name
            command = shlex.join(self._loading(str(script), program))
            script.write_text(f'#!/bin/sh\n{places} exec {command} "$@"\n', encoding="utf-8")
            script.chmod(0o755)
        return scripts

    def _find(self, program: str) -> Path:
        for folder in PROGRAM_FOLDERS:
            if (found := self.path / folder / program).exists():
                return found
        raise RuntimeError(f"{self.path} has no {program}; run scripts/server-roots (make test does).")

    def _loading(self, name: str, path: Path) -> list[str]:
        (triplet,) = {found.parent for found in self.path.glob("usr/lib/*/libc.so.6")}
        (loader,) = self.path.glob("usr/lib*/ld-linux-*.so.?")
        folders = [triplet, self.path / "usr/lib/mysql/private", triplet / "blas", triplet / "lapack"]
        return [str(loader), "--argv0", name, "--library-path", ":".join(map(str, folders)), str(path)]
