"""``lifeboat check``, ``doctor`` and ``alert-test``: the health of backups and of the installation."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, ApplicationName, AsJson, DestinationNames

if TYPE_CHECKING:
    from lifeboat.actions.check import Examined

app = typer.Typer()


@app.command("check")
def check_health(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read the newest archives back, compare their SHA-256.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that the backups are healthy: age, size, storage, unfinished uploads, lagging destinations."""
    from lifeboat.actions import check, neglected, servers
    from lifeboat.decide import health

    site = terminal.load_site()
    names, wanted = terminal.applications_and_destinations(site, application, tuple(destination or ()))
    now = site.now()

    def examine(name: str) -> Examined:
        here = [each for each in names if name in site.settings.destinations_of(each)]
        return check.examine(name, site, here, now, deep=deep)

    with ThreadPoolExecutor(len(wanted)) as pool:
        examined = list(pool.map(examine, wanted))
    findings = [finding for each in examined for finding in each.findings]
    findings += check.compare(site.settings, names, {each.destination: each.held for each in examined}, now)
    findings += [*check.loads(site, names), *check.log_servers(site, names), *servers.check(site, names)]
    if application is None and not destination:
        findings += neglected.check(site)
        if site.settings.pools:
            from lifeboat.airflow import pools

            findings += pools.check(site.settings.pools)
    verdict = health.verdict(findings)
    if as_json:
        terminal.print_json({"verdict": verdict, "findings": [asdict(finding) for finding in findings]})
    else:
        terminal.print_lines([*check.report(findings), f"Overall: {verdict}."])
    if verdict != "healthy":
        raise typer.Exit(FINDING)


@app.command("doctor")
def examine_installation(as_json: AsJson = False) -> None:
    """Check the whole installation, from connections and grants to a test alert, and say what to do.

    Reads the settings, dumps definitions without rows, tries whether restores and drills can load, compares versions
    and clocks, stores, reads and deletes a small object in staging and at each destination, makes the settings' pools
    in Airflow, and sends a test alert.
    """
    from lifeboat.airflow import doctor

    terminal.begin()
    findings = doctor.examine()
    if as_json:
        terminal.print_json(
            {"verdict": doctor.verdict(findings), "findings": [asdict(finding) for finding in findings]}
        )
    else:
        terminal.print_lines([*doctor.report(findings), doctor.summary(findings)])
    if doctor.verdict(findings) == "broken":
        raise typer.Exit(FINDING)


@app.command("alert-test")
def alert_test(as_json: AsJson = False) -> None:
    """Send a test message through every channel of the settings."""
    site = terminal.load_site()
    from lifeboat.airflow.alerts import channels

    outcomes = channels.send_test(site.settings)
    if as_json:
        terminal.print_json({channel: {"sent": not error, "error": error} for channel, error in outcomes.items()})
    else:
        _print_outcomes(outcomes)
    if any(outcomes.values()):
        raise typer.Exit(FINDING)


def _print_outcomes(outcomes: Mapping[str, str]) -> None:
    for channel, error in outcomes.items():
        if error:
            terminal.complain(f"{channel}: {error}")
        else:
            terminal.output.print(f"[green]sent[/] by {channel}")
