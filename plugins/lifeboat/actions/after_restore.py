"""The commands of the settings that are run once an application is restored."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, cast

from lifeboat.actions.restore import known_databases
from lifeboat.archive import engine_of_entry
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.errors import RestoreError
from lifeboat.support.logs import logger
from lifeboat.support.processes import die_with_parent, environment

if TYPE_CHECKING:
    from lifeboat.site import Site

log = logger(__name__)

OUTPUT_LINES_KEPT = 20
LAST_WORDS_SECONDS = 2  # to read what a command wrote; a process it left running may keep its output open indefinitely


def run_commands(site: Site, plan: RestorePlan) -> list[str]:
    """Run the commands of the settings in the restored folder; return them.

    They find the restored database in ``DB_DATABASE``, where there is one, by its name or the path of its file, so that
    a Laravel application that was restored next to the original works on the restored copy; in a copy of an application
    with several databases, of which no variable can tell, nothing is run. Nothing else of the worker's environment but
    paths, locale and time zone is in theirs: it may hold secrets.

    :raises RestoreError: one failed; with its last lines. The others were not run.
    """
    if plan.files is None or plan.files.path:
        return []
    application = site.settings.application(plan.application)
    commands = list(application.after_restore)
    is_copy = application.files is None or Path(plan.files.target) != application.files.root
    is_alone = len(plan.databases) == len(application.named) == 1 and not application.servers
    if commands and is_copy and not is_alone:
        log.warning("after_restore is not run: in this copy, its commands could change the original's data.")
        return []
    restored = {"DB_DATABASE": _client_name(site, plan)} if commands and len(plan.databases) == 1 else {}
    for command in commands:
        log.info("Running in %s: %s", plan.files.target, command)
        _run(shlex.split(command), Path(plan.files.target), environment() | restored)
    return commands


def _client_name(site: Site, plan: RestorePlan) -> str:
    step = plan.databases[0]
    engine = engine_of_entry(step.entry)
    (database,) = known_databases(site.settings, plan.application, {step.database: engine})
    return site.engine(database).client_name(step.schema)


def _run(command: list[str], folder: Path, variables: dict[str, str]) -> None:
    """Run a command to its end, its output in the log; the command ends when this process does."""
    parent = os.getpid()
    last: deque[str] = deque(maxlen=OUTPUT_LINES_KEPT)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=lambda: die_with_parent(parent),
        )
    except OSError as error:
        raise RestoreError(
            f"{shlex.join(command)} cannot be run in {folder}: {error.strerror}.",
            "Everything is restored; fix after_restore in the settings, or run the remaining commands manually.",
        ) from error
    listener = Thread(target=_listen, args=(cast(IO[str], process.stdout), last), daemon=True)
    listener.start()
    try:
        status = process.wait()
    finally:
        process.kill()
        process.wait()
        listener.join(LAST_WORDS_SECONDS)
    if status:
        raise RestoreError(
            f"{shlex.join(command)} ended with status {status}:\n" + "\n".join(last),
            "Everything is restored; fix the error, then run this and the later commands manually, or clear the task.",
        )


def _listen(output: IO[str], last: deque[str]) -> None:
    with output:
        for line in output:
            last.append(line.rstrip())
            log.info("  %s", line.rstrip())
