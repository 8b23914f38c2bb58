"""``lifeboat plan`` and ``cleanup``: the decisions of retention."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, ApplicationName, AsJson, DestinationNames
from lifeboat.errors import SettingsError, StorageError
from lifeboat.support import clock
from lifeboat.text import plural

if TYPE_CHECKING:
    from lifeboat.decide.retention import Decision
    from lifeboat.site import Site
    from lifeboat.storage import Destination

LONG_LIST = 1000

app = typer.Typer()


@app.command("plan")
def plan_retention(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    inventory: Annotated[
        Path | None,
        typer.Option(
            help='Plan for the listing in this file: [{"key": ..., "size": ...}, ...]; "-" is standard input.'
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="With --inventory: plan for this time, ISO 8601. Default: now.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="With --inventory: time zone of the calendar and of --at. Default: UTC.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="With --inventory: retention settings, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what retention keeps and deletes, and why; delete nothing."""
    if inventory is not None:
        if application is not None or destination:
            raise SettingsError("--inventory plans for a listing; it takes no application and no destination.")
        from lifeboat.actions import cleanup, trial

        gc.disable()  # a plan makes no cycles, and to look for some among 100 000 archives takes a sixth of the time
        plan, others = trial.plan(inventory, at, timezone or "UTC", policy or None, clock.now())
        if as_json:
            _print_decisions(plan.decisions)
        else:
            terminal.print_lines(cleanup.plan_lines(plan))
        if others:
            objects = plural(others, "object")
            typer.echo(f"Ignored {objects} of the listing: not archives, or not published.", err=True)
        return
    if at or timezone or policy:
        raise SettingsError("--at, --timezone and --policy try a policy on a listing; name it with --inventory.")
    _clean_up_all(application, tuple(destination or ()), as_json=as_json, dry_run=True)


@app.command("cleanup")
def clean_up(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and delete nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the archives that retention no longer keeps, and the remains of uploads that never finished."""
    _clean_up_all(application, tuple(destination or ()), as_json=as_json, dry_run=dry_run)


def _clean_up_all(application: str | None, chosen: tuple[str, ...], *, as_json: bool, dry_run: bool) -> None:
    site = terminal.load_site()
    names, wanted = terminal.applications_and_destinations(site, application, chosen)
    destinations, failures = site.ready_destinations(wanted, deleting=True)
    results: list[dict[str, object]] = []
    for target in destinations:
        here = [name for name in names if target.name in site.settings.destinations_of(name)]
        try:
            results.append(_clean_up(site, target, here, as_json=as_json, dry_run=dry_run))
        except StorageError as error:  # one destination that fails does not stop the others
            failures[target.name] = str(error)
    if as_json:
        terminal.print_json({"destinations": results, "failed": failures})
    for failure in failures.values():
        terminal.complain(failure)
    if failures:
        raise typer.Exit(FINDING)


def _clean_up(
    site: Site, target: Destination, applications: list[str], *, as_json: bool, dry_run: bool
) -> dict[str, object]:
    from lifeboat.actions import cleanup

    now = site.now()
    evaluation = cleanup.evaluate(target, site, applications, now)
    if not as_json:
        terminal.output.print(f"[bold]{terminal.plain(str(target))}[/]", soft_wrap=True)
        terminal.print_lines(cleanup.lines(evaluation))
    result: dict[str, object] = {
        "destination": target.name,
        "held": dict(evaluation.plan.held),
        "archives": [_decision(decision) for decision in evaluation.plan.decisions],
        "unfinished": [stored.key for stored in (*evaluation.unfinished, *evaluation.uploads)],
    }
    if not dry_run:
        result |= asdict(cleanup.clean(target, site, applications, now, evaluation.order))
    return result


def _decision(decision: Decision) -> dict[str, object]:
    archive, action, rule, reason, superseded_by, _ = decision
    return {
        "key": archive.key,
        "action": action,
        "reason": reason,
        "rule": rule,
        "superseded_by": superseded_by or None,
        "size": archive.size,
    }


def _print_decisions(decisions: Sequence[Decision]) -> None:
    """Print decisions as JSON: indented where they are few, else part by part, which takes half as long."""
    if len(decisions) <= LONG_LIST:
        terminal.print_json([_decision(decision) for decision in decisions])
        return
    for start in range(0, len(decisions), LONG_LIST):
        part = [_decision(decision) for decision in decisions[start : start + LONG_LIST]]
        terminal.write((",\n" if start else "[") + json.dumps(part, ensure_ascii=False)[1:-1], end="")
    terminal.write("]")
