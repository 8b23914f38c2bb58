"""``make image-check``: the image built and docker-compose.yaml run, without an engine, on a bare Debian root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.image.root import Root

APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]


def main() -> None:
    """Build the image, then run what Compose would run from it."""
    if "INSIDE" not in os.environ:  # mounts and processes end with it, whatever ends it
        with tempfile.TemporaryDirectory(prefix="lifeboat-image-") as folder:
            command = [*APART, sys.executable, "-m", "tests.image"]
            done = subprocess.run(command, env=os.environ | {"INSIDE": folder}, check=False)
        raise SystemExit(done.returncode)
    root = Root(Path(os.environ["INSIDE"]) / "root")
    root.make_base()
    root.build()


main()
