"""Staging: scratch space that the tasks of one run share."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from lifeboat.errors import StagingError


class Staging:
    """The scratch directory of one application in one run.

    :param path: ``<staging>/<pipeline>/<run>/<application>``, each name quoted to one path segment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, root: Path, pipeline: str, run: str, application: str) -> Staging:
        """Return the staging of an application in a run of a pipeline."""
        return cls(root / _segment(pipeline) / _segment(run) / _segment(application))

    def create(self) -> None:
        """Make the directory, for this user only: dumps are not encrypted here.

        :raises StagingError: it cannot be made.
        """
        with translated(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def remove(self) -> None:
        """Remove the directory, and its run's when that was the last; harmless when a writer is still dying in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def dump(self, database: str) -> Path:
        """Return where the dump of a database is staged."""
        return self.path / f"{_segment(database)}.sql.gz"

    @property
    def archive(self) -> Path:
        """Where the archive is staged."""
        return self.path / "archive.zip"


def facts_of(staged: Path) -> dict[str, Any]:
    """Return the facts that `finish` put beside a staged file.

    :raises StagingError: the file was never finished, or is gone.
    """
    try:
        facts: dict[str, Any] = json.loads(_facts_path(staged).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StagingError(
            f"{staged} is not staged: an earlier step did not finish, ran on another worker, or was cleaned up.",
            "Workers must share the staging directory. If they do, clear the run's first task.",
        ) from error
    return facts


def begin(staged: Path) -> None:
    """Withdraw the facts of an earlier attempt before the file is written again: they must not vouch for half of it."""
    with translated(staged):
        _facts_path(staged).unlink(missing_ok=True)


def finish(staged: Path, facts: dict[str, Any]) -> None:
    """Mark a staged file as whole by writing its facts beside it, last."""
    path = _facts_path(staged)
    partial = path.with_suffix(".partial")
    with translated(path):
        partial.write_text(json.dumps(facts), encoding="utf-8")
        partial.rename(path)


def sweep(root: Path, pipeline: str, is_over: Callable[[str], bool]) -> list[str]:
    """Remove what earlier runs of a pipeline left.

    :param is_over: whether the run of that id has ended.
    :returns: the ids of the runs whose staging was removed.
    """
    folder = root / _segment(pipeline)
    runs = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    over = [path for path in runs if is_over(unquote(path.name))]
    for path in over:
        shutil.rmtree(path, ignore_errors=True)
    return [unquote(path.name) for path in over]


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the file system says about staging into a sentence."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.ENOSPC: "Free some space there; a run needs the compressed dumps plus the archive.",
            errno.EACCES: "Give the worker's user the right to write there.",
        }.get(error.errno or 0, "")
        raise StagingError(f"Cannot write to staging {path}: {error.strerror or error}.", hint) from error


def _segment(name: str) -> str:
    """Quote a name to one segment of a path that is neither empty, hidden nor a way out.

    Letters of any script stay as they are: quoted, they would be three times as long.
    """
    return re.sub(r"^\.|[^\w .@+=,-]", lambda char: quote(char[0], safe="").replace(".", "%2E"), name)


def _facts_path(staged: Path) -> Path:
    return staged.with_name(staged.name + ".json")
