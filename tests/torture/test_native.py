"""The native module under sanitizers: no read or write beyond its memory, and nothing that C leaves undefined."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.torture.conftest import Faults

FLAGS = "-g -Wno-psabi -DANY_PROCESSOR -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.mark.torture
def test_it_passes_its_tests_under_sanitizers_on_any_processor(faults: Faults) -> None:
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    variables = {
        "CFLAGS": FLAGS,
        "LD_PRELOAD": library.stdout.strip(),
        "PYTHONMALLOC": "malloc",  # so that each piece of memory has its own bounds
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps things to its end
        "PYCRYPTODOME_DISABLE_DEEPBIND": "1",  # a way to load libraries that sanitizers refuse
    }
    command = [sys.executable, "-m", "pytest", "-qs", "-p", "no:cacheprovider", "tests/unit/test_native.py"]
    with faults.one("native module under sanitizers"):
        done = subprocess.run(
            command, cwd=PROJECT, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
