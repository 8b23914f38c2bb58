"""``lifeboat init``: prepare destinations, once, and test them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, AsJson
from lifeboat.errors import LifeboatError, SettingsError

if TYPE_CHECKING:
    from lifeboat.site import Site

app = typer.Typer()


@app.command("init")
def init(
    destination: Annotated[
        str | None, typer.Argument(help="Name of a destination. Default: all.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prepare a destination, once, and test it. Mount its disk first: the marker tells it from an empty mount point."""
    from lifeboat.airflow import doctor

    site = terminal.load_site()
    wanted = site.settings.destinations
    if destination is not None:
        if destination not in wanted:
            raise SettingsError(
                f"There is no destination {destination!r}.", f"Did you mean one of: {', '.join(wanted)}?"
            )
        wanted = {destination: wanted[destination]}
    ready, failures = site.ready_destinations(wanted)
    prepared: list[dict[str, str]] = []
    for found in ready:
        try:
            prepared.append({"destination": found.name, "done": (done := found.init(site.now()))})
        except LifeboatError as error:  # one destination that fails does not stop the others
            failures[found.name] = str(error)
        else:
            if not as_json:
                terminal.output.print(f"{escape(str(found))} {escape(done)}.", soft_wrap=True)
    names = [each["destination"] for each in prepared]
    caps = list(_cap_notices(site, names))
    findings = [finding for name in names for finding in doctor.examine_destination(name, wanted[name])]
    if as_json:
        tried = [asdict(finding) for finding in findings]
        terminal.print_json({"prepared": prepared, "failed": failures, "findings": tried, "caps": caps})
    else:
        terminal.print_lines([*doctor.report(findings), *(f"cap      {notice}" for notice in caps)])
    for failure in failures.values():
        terminal.complain(failure)
    if failures or doctor.verdict(findings) == "broken":
        raise typer.Exit(FINDING)


def _cap_notices(site: Site, names: Iterable[str]) -> Iterator[str]:
    """Yield where a cap is too small for backups of the size that is known, there or at another destination."""
    from lifeboat.actions import cleanup

    for name in names:
        for application in site.settings.applications:
            places = site.settings.destinations_of(application)
            if name in places:
                here_first = {name: places[name], **places}
                holding, _ = site.ready_destinations(here_first)
                if notice := cleanup.cap_notice(name, site.settings, application, holding, site.now()):
                    yield notice
