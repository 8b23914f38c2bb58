"""The plugin costs those nothing who do not serve the page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT


def test_the_plugin_imports_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "import lifeboat_plugin\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(PROJECT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['lifeboat_plugin']"
