"""A terminal shows a bar for a long step; pipes, files and programs get none."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

from lifeboat.cli.bar import Bar, text_of
from lifeboat.support.progress import Progress, Reached
from rich.console import Console

from tests.conftest import PROJECT


def test_a_bar_says_how_far_the_step_is_that_counted_last() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    dump, upload = Progress("Dumping [shop]"), Progress("Storing a.zip", 4 << 20)
    with Bar(console) as bar:
        for step, said in (dump, "Dumping [shop]"), (upload, "25%"), (dump, "2.0 MiB"):
            step.advance(1 << 20)
            with console.capture() as captured:
                console.print(bar.get_renderable())
            assert said in captured.get()


def test_speed_and_time_left_are_those_of_the_step() -> None:
    assert text_of(Reached("Storing", 1 << 20, 4 << 20, 2.0)) == "1.0 MiB, 512.0 KiB/s, 0:06 left"
    assert text_of(Reached("Dumping", 1 << 20, None, 2.0)) == "1.0 MiB, 512.0 KiB/s"
    assert text_of(Reached("Dumping", 0, None, 0.0)) == "0 B"


STEP = """
import sys, time
from lifeboat.cli import terminal
from lifeboat.cli.bar import bar, reading
from lifeboat.support.progress import Progress
terminal.keep_for_answers()
with reading("[red]offsite", as_json="--json" in sys.argv):
    time.sleep(0.2)
with bar(as_json="--json" in sys.argv):
    step = Progress("Storing a.zip", 4 << 20)
    for _ in range(4):
        step.advance(1 << 20)
        time.sleep(0.2)
terminal.write("the answer")
terminal.output.file.flush()
"""


COMMAND = [sys.executable, "-c", STEP]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT / "plugins"), "TERM": "xterm"}


def on_terminal(*arguments: str) -> str:
    """Run the step with a terminal for both outputs, and return what appeared there."""
    own, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal so
            while True:
                shown += os.read(own, 1 << 16)
    os.close(own)
    return shown.decode()


def test_a_terminal_gets_a_bar_and_nobody_else_does() -> None:
    shown = on_terminal()
    assert "Reading [red]offsite" in shown
    assert "Storing a.zip" in shown
    assert "100%" in shown
    assert shown.endswith("the answer\r\n")
    assert on_terminal("--json") == "the answer\r\n"
    piped = subprocess.run(COMMAND, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("the answer\n", "")
