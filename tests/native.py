"""The native module, built from its source."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT


def build(folder: Path) -> Any:
    """Build the module as the package's build does, but take no warning; variables add flags of the compiler."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder)]
    flags = {"CFLAGS": f"-Werror {os.environ.get('CFLAGS', '')}"}
    subprocess.run(command, cwd=PROJECT, env=os.environ | flags, check=True)
    (path,) = folder.rglob("_native*.so")
    loader = ExtensionFileLoader("_native", str(path))
    spec = spec_from_file_location("_native", path, loader=loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
