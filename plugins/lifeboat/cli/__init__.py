"""The `lifeboat` command: the same verbs as the DAGs, without a running Airflow."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lifeboat import __version__
from lifeboat.cli import archives, backup, check, cleanup, contents, destinations, logs, restore, terminal
from lifeboat.cli.terminal import FINDING, WRONG_USE
from lifeboat.errors import LifeboatError, SettingsError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
for group in (destinations, backup, archives, contents, logs, cleanup, check, restore):
    app.add_typer(group.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lifeboat {__version__}")
        raise typer.Exit


@app.callback()
def options(
    settings: Annotated[
        Path | None, typer.Option("--config", help="The settings file. Default: $LIFEBOAT_CONFIG.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep standard output for the answer."""
    terminal.keep_for_answers()
    if settings is not None:
        from lifeboat.settings.config import CONFIG_VARIABLE

        os.environ[CONFIG_VARIABLE] = str(settings)  # for the processes that the command starts, too


def main() -> NoReturn:
    """Run the command; exit 0 when all is well, 1 on a finding or a failure, 2 on wrong use or wrong settings."""
    # Airflow serves connections of its database, too, to processes that say they are not tasks.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    gc.set_threshold(100_000)  # a listing of 100 000 archives should not be scanned for garbage again and again
    try:
        app()
    except SettingsError as error:
        terminal.complain(str(error))
        sys.exit(WRONG_USE)
    except LifeboatError as error:
        terminal.complain(str(error))
        sys.exit(FINDING)
    sys.exit(0)
