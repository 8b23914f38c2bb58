"""``lifeboat init``: prepare destinations, once."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, AsJson
from lifeboat.errors import LifeboatError, SettingsError

app = typer.Typer()


@app.command("init")
def init(
    destination: Annotated[
        str | None, typer.Argument(help="Name of a destination. Default: all.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prepare a destination for its first use: mount its disk, then mark it, so that it is known from a mount point."""
    from lifeboat import connections

    settings = terminal.load_settings()
    wanted = settings.destinations
    if destination is not None:
        if destination not in wanted:
            raise SettingsError(f"There is no destination {destination!r}.", f"Known: {', '.join(wanted)}.")
        wanted = {destination: wanted[destination]}
    ready, failures = connections.ready_destinations(wanted)
    prepared: list[dict[str, Any]] = []
    for found in ready:
        try:
            prepared.append({"destination": found.name, "done": (done := found.init())})
        except LifeboatError as error:  # one destination that fails does not stop the others
            failures[found.name] = str(error)
        else:
            if not as_json:
                terminal.output.print(f"{escape(str(found))} {escape(done)}.", soft_wrap=True)
    if as_json:
        terminal.print_json({"prepared": prepared, "failed": failures})
    for failure in failures.values():
        terminal.complain(failure)
    if failures:
        raise typer.Exit(FINDING)
