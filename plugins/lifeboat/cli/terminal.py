"""Shared parts of the commands: output and errors, options, settings, scratch space."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from lifeboat.errors import SettingsError
from lifeboat.text import one_line, printable

if TYPE_CHECKING:
    from lifeboat.settings.config import Destination
    from lifeboat.site import Site
    from lifeboat.staging import Staging, StagingDirectory

PIPELINE = "cli"  # folder of the command's runs in staging
RUN_TIME = "%Y-%m-%d-%H-%M-%S"
LONGEST_COMMAND = timedelta(days=2)
LOG_TIME = "%H:%M:%S"
FINDING, WRONG_USE = 1, 2

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DestinationNames = Annotated[
    list[str] | None, typer.Option("--destination", "-d", help="Name of a destination; repeatable. Default: all.")
]
DatabaseNames = Annotated[
    list[str] | None, typer.Option("--database", help="Name of a database; repeatable. Default: all.")
]
ApplicationName = Annotated[
    str | None, typer.Argument(help="Name of an application. Default: all.", show_default=False)
]

output = Console(highlight=False)


def keep_for_answers() -> None:
    """Keep standard output for the answer: what libraries print or log goes to standard error."""
    output.file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def load_site() -> Site:
    """Read the settings, for a command that will need connections."""
    from lifeboat.airflow.site import site_of
    from lifeboat.settings import config

    settings = config.load()
    begin()
    return site_of(settings)


def begin() -> None:
    """Log to standard error; Airflow, which configures logging where it is imported, logs its errors only."""
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    logging.getLogger().setLevel(logging.WARNING)
    own = logging.getLogger("lifeboat")
    own.setLevel(logging.INFO)
    own.propagate = False
    own.addHandler(_log_handler())


@functools.cache
def errors() -> Console:
    """Return standard error as a console, which knows from its beginning whether that is a terminal."""
    return Console(stderr=True)


def _log_handler() -> logging.Handler:
    if errors().is_terminal:
        from rich.logging import RichHandler

        return RichHandler(console=errors(), show_path=False, log_time_format=LOG_TIME)
    handler = logging.StreamHandler()  # a line for each record: rich would break keys in two
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(message)s", LOG_TIME))
    return handler


def applications_and_destinations(
    site: Site, application: str | None, chosen: tuple[str, ...]
) -> tuple[list[str], dict[str, Destination]]:
    """Return the names of the wanted applications, and the wanted destinations that keep archives of one of them."""
    names = [application] if application is not None else list(site.settings.applications)
    known = {name: kept for each in names for name, kept in site.settings.destinations_of(each).items()}
    if unknown := sorted(set(chosen) - set(known)):
        raise SettingsError(
            f"There is no destination {unknown[0]!r} here.", f"Did you mean one of: {', '.join(known)}?"
        )
    return names, {name: kept for name, kept in known.items() if not chosen or name in chosen}


@contextlib.contextmanager
def scratch(site: Site, application: str) -> Iterator[Staging]:
    """Open staging for one backup, and remove it and what killed commands left.

    In a directory, a lock that dies with its process tells a living command's staging from a dead one's; in a bucket,
    its age does.
    """
    from lifeboat import staging
    from lifeboat.staging import StagingDirectory

    root = site.staging()
    run = f"{site.now():{RUN_TIME}}-{os.getpid()}-{staging.machine()}"
    scratch = root.of(PIPELINE, run, application)
    with contextlib.ExitStack() as stack:
        if isinstance(root, StagingDirectory):
            stack.enter_context(_held(root, run))
        else:
            staging.sweep(root, PIPELINE, functools.partial(_is_old, now=site.now()))
        stack.callback(staging.sweep, root, PIPELINE, lambda old: old == run)
        scratch.create()
        yield scratch


@contextlib.contextmanager
def _held(root: StagingDirectory, run: str) -> Iterator[None]:
    """Sweep what dead commands left, and hold a lock as long as the block lasts."""
    from lifeboat import staging

    folder = root.below(PIPELINE)
    folder.create()
    own = folder.below(run)
    with staging.translated(own.path), contextlib.ExitStack() as stack:
        with (folder.path / ".lock").open("w") as everybody:
            fcntl.flock(
                everybody, fcntl.LOCK_EX
            )  # until our own lock is held, so that no other command sweeps us before
            staging.sweep(root, PIPELINE, lambda old: not _is_alive(folder.below(old).path))
            own.create()
            lock = stack.enter_context((own.path / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_old(run: str, now: datetime) -> bool:
    """Return whether a command, which may run on another machine, must be dead, judging by its name."""
    with contextlib.suppress(ValueError):
        return now - datetime.strptime(f"{run[:19]}Z", f"{RUN_TIME}%z") > LONGEST_COMMAND
    return False


def _is_alive(run: Path) -> bool:
    try:
        with (run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write(text: str, end: str = "\n") -> None:
    """Write an answer as it stands: rich would wrap it."""
    print(printable(text), end=end, file=output.file)


def print_lines(lines: Iterable[str]) -> None:
    """Write an answer, one line for each text, whatever is in it."""
    for line in lines:
        write(one_line(line))


def print_json(value: object) -> None:
    """Write an answer for programs."""
    write(json.dumps(value, ensure_ascii=False, indent=1))


def plain(name: str) -> str:
    """Return a name that rich shows as it is."""
    return escape(one_line(name))


def complain(text: str) -> None:
    """Print on standard error what is wrong."""
    typer.secho(printable(text), fg="red", err=True)
