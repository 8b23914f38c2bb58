"""A progress bar on the terminal, with the speed of a long step."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from lifeboat.cli import terminal
from lifeboat.support.progress import Progress as Step
from lifeboat.support.progress import Reached
from lifeboat.text import one_line, size_text


class Bar(Progress):
    """Shows the progress of the step that counted last, each time it is drawn.

    :param console: of the terminal; what is logged there appears above the bar.
    """

    def __init__(self, console: Console) -> None:
        self._step: TaskID | None = None  # Rich asks what to draw before it takes a task
        whole = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
        )
        super().__init__(*columns, console=console, transient=True, expand=True)
        self._step = self.add_task("", total=None, visible=False, text="")

    def get_renderables(self) -> Iterable[RenderableType]:
        if Step.latest is not None and self._step is not None:
            reached = Step.latest.reached
            self.update(
                self._step,
                description=one_line(reached.doing),
                completed=reached.done,
                total=reached.total,
                text=text_of(reached),
                visible=True,
            )
        yield from super().get_renderables()


def text_of(reached: Reached) -> str:
    """Return how much was done, how fast, and how long the rest takes at that speed."""
    done, total, seconds = reached.done, reached.total, reached.seconds
    if not done or not seconds:
        return size_text(done)
    speed = done / seconds
    minutes, rest = divmod(round(max((total or 0) - done, 0) / speed), 60)
    left = f", {minutes}:{rest:02} left" if total else ""
    return f"{size_text(done)}, {size_text(speed)}/s{left}"


def _is_watched(*, as_json: bool) -> bool:
    """Return whether people look at a terminal; programs and logs get no bar."""
    return not as_json and sys.stderr.isatty() and terminal.output.file.isatty()


@contextlib.contextmanager
def reading(what: str, *, as_json: bool) -> Iterator[None]:
    """Name what is awaited while the block runs, because a destination that does not answer is waited for minutes."""
    if not _is_watched(as_json=as_json):
        yield
        return
    with terminal.errors().status(Text(f"Reading {one_line(what)}")):
        yield


@contextlib.contextmanager
def bar(*, as_json: bool) -> Iterator[None]:
    """Show a bar while the block runs, if people look at a terminal; programs and logs get none."""
    if not _is_watched(as_json=as_json):
        yield
        return
    with Bar(terminal.errors()):
        yield
