"""``make image-check``: the image built and docker-compose.yaml run, without an engine, on a bare Debian root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import compose
from tests.conftest import PROJECT
from tests.image.dockerfile import DOCKERFILE, stages
from tests.image.root import Root
from tests.image.services import SERVERS

APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]


def main() -> None:
    """Build the image, then run what Compose would run from it."""
    if os.geteuid() != 0:
        raise SystemExit(
            "make image-check mounts and changes roots: run it as root, in a container or a virtual machine."
        )
    if "INSIDE" not in os.environ:  # mounts and processes end with it, whatever ends it
        with tempfile.TemporaryDirectory(prefix="lifeboat-image-") as inside:
            command = [*APART, sys.executable, "-m", "tests.image"]
            done = subprocess.run(command, env=os.environ | {"INSIDE": inside}, check=False)
        raise SystemExit(done.returncode)
    folder = Path(os.environ["INSIDE"])
    root = build(folder)
    root.run("pg_dump --version && mysqldump --version && mariadb-dump --version && ! command -v gcc")
    root.run("python -c 'import lifeboat.support._native'")
    root.install(*SERVERS)
    shutil.copy(Path(sys.executable).parent / "weed", root.path / "usr/bin/weed")
    write_env(folder)
    # A network of its own: the ports of the file may be in use on this machine.
    subprocess.run(["unshare", "--net", sys.executable, "-m", "tests.image.services"], check=True)


def build(folder: Path) -> Root:
    """Build every stage in a folder; return the last one, the image, and print what each weighs."""
    bases: dict[str, Root] = {}
    made: dict[str, Root] = {}
    for stage in stages(DOCKERFILE.read_text(encoding="utf-8")):
        if stage.base not in bases:
            bases[stage.base] = Root(folder / f"base-{len(bases)}")
            bases[stage.base].make_base(stage.base)
        made[stage.name] = Root(folder / (stage.name or "root"))
        made[stage.name].copy_of(bases[stage.base])
        made[stage.name].build(stage, made)
        before, after = bases[stage.base].megabytes(), made[stage.name].megabytes()
        print(f"{stage.name or 'the image'}: {before} MB before, {after} MB after", flush=True)  # noqa: T201
    return made[""]


def write_env(folder: Path) -> None:
    """Let the script of ``make env`` write its files into a folder."""
    (folder / "scripts").mkdir(exist_ok=True)
    shutil.copy(PROJECT / "scripts" / "make-env", folder / "scripts")
    shutil.copy(compose.EXAMPLE, folder)
    subprocess.run([folder / "scripts" / "make-env"], check=True)


main()
