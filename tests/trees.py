"""Trees of files to back up and to restore, and a user who is not root."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

PHP = b"<?php\nreturn ['driver' => env('CACHE_DRIVER', 'file')];\n"

NAMES = [
    *(
        b"plain.php",
        b"with space ",
        b"new\nline",
        b"tab\t",
        "é🦊".encode(),
        b"latin-\xe9\xff.txt",
        b"%41",
        b"-p",
        b"a\\b",
    ),
    *(
        b"quote'\"`$(id)",
        b"n" * 255,
        b"manifest.json",
        b"%6Danifest.json",
        b"db-dumps/mysql-shop.sql",
        b"deep/" * 20 + b"file",
    ),
]


def make(root: Path, *names: str | bytes, content: bytes = PHP) -> None:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def facts(root: Path) -> dict[str, tuple[str, int, str | bytes]]:
    """Return all that is to be told apart in a tree: mode, time, and content or target, by path."""
    found: dict[str, tuple[str, int, str | bytes]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        what: str | bytes = ""
        if path.is_symlink():
            what = str(path.readlink())
        elif path.is_file():
            what = path.read_bytes()
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_mtime_ns, what)
    return found


def as_nobody(run: Callable[[], object], folder: Path) -> None:
    """Run something in a child that is not root, who may read everything, and owns `folder`."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody:nogroup", folder], check=True)
        for parent in folder.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setgid(grp.getgrnam("nogroup").gr_gid)
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            run()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
