"""``lifeboat logs``: the transactions in shipped binary logs, to choose a moment to restore to."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lifeboat.cli import terminal
from lifeboat.cli.terminal import AsJson

if TYPE_CHECKING:
    from lifeboat.databases.mysql.transactions import Transaction

app = typer.Typer()


@app.command("logs")
def list_transactions(
    application: Annotated[str, typer.Argument(help="Name of an application that ships its binary logs.")],
    since: Annotated[
        str, typer.Option("--from", help="Only transactions committed since this time. Default: for a day.")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Only transactions committed up to this time.")] = "",
    table: Annotated[str, typer.Option(help="Only those that touch this table, as in orders or shop.orders.")] = "",
    as_json: AsJson = False,
) -> None:
    """List transactions of the binary logs, the destructive ones first, to choose a moment for 'restore --until'.

    Statements that drop, empty or delete come first, other definitions and statements next, then what deletes most; at
    most 100 are listed. What is counted are events of the log, each of one or more rows.
    """
    from lifeboat.actions import recovery
    from lifeboat.cli.bar import bar
    from lifeboat.decide import log_list
    from lifeboat.decide.log_list import Wanted
    from lifeboat.decide.recovery import time_of

    site = terminal.load_site()
    zone, now = site.settings.zone, site.now()
    databases = recovery.databases_of(site, application, ())
    end = time_of(until, zone) if until else now
    begin = time_of(since, zone) if since else min(end, now) - log_list.BACK
    with bar(as_json=as_json):
        destination, listed = recovery.list_transactions(site, application, Wanted(databases, table, begin, end))
    if as_json:
        found = [_facts(each) for each in listed.shown]
        terminal.print_json({"destination": destination, "count": listed.count, "transactions": found})
        return
    terminal.print_lines(log_list.line(each, zone) for each in listed.shown)
    terminal.print_lines(filter(None, [log_list.rest_text(listed)]))
    if not listed.shown:
        terminal.print_lines([f"No such transactions in the binary logs of {application} at {destination}."])


def _facts(transaction: Transaction) -> dict[str, object]:
    return {
        "time": transaction.time.isoformat(),
        "gtid": transaction.gtid,
        "file": transaction.file,
        "position": transaction.position,
        "bytes": transaction.bytes,
        "changes": {table: asdict(counts) for table, counts in transaction.changes.items()},
        "statement": transaction.statement,
    }
