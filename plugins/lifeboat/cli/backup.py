"""``lifeboat backup`` and ``plan-files``: take a backup now, and list the files it would include."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, WRONG_USE, ApplicationName, AsJson, DatabaseNames, DestinationNames
from lifeboat.errors import FilesError, LifeboatError, SettingsError
from lifeboat.text import listed, plural, size_text

if TYPE_CHECKING:
    from lifeboat.actions.backup import Taken
    from lifeboat.actions.logs import Shipped
    from lifeboat.catalog.marker import Totals
    from lifeboat.settings.config import BackupKind
    from lifeboat.site import Site
    from lifeboat.staging import Staging

app = typer.Typer()
backup_app = typer.Typer(no_args_is_help=True, help="Take a backup now.")
app.add_typer(backup_app, name="backup")


@dataclass(frozen=True)
class Result:
    """A backup that was taken of an application.

    :param caps: caps that are too small for backups of that size.
    """

    application: str
    taken: Taken
    caps: list[str]


class PlannedFile(NamedTuple):
    """A file, directory or link, and whether an archive would include it.

    :param reason: why not, or what else to know.
    """

    path: str
    goes_in: bool
    size: int
    reason: str


def _utf8(text: str) -> str:
    """Refuse what the shell passed on in another encoding: a manifest is UTF-8."""
    if not text.isascii() and text != text.encode("utf-8", "replace").decode():
        raise typer.BadParameter("it is not UTF-8 text")
    return text


Note = Annotated[str, typer.Option(help="Kept in the manifest.", callback=_utf8)]


@backup_app.command("database")
def backup_database(
    application: ApplicationName = None,
    database: DatabaseNames = None,
    destination: DestinationNames = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Dump the databases of an application into an archive, and publish it at every destination."""
    _back_up_all("database", application, tuple(database or ()), tuple(destination or ()), note, as_json)


@backup_app.command("application")
def backup_application(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Put all databases and the files of an application into an archive, and publish it at every destination."""
    _back_up_all("application", application, (), tuple(destination or ()), note, as_json)


@backup_app.command("logs")
def backup_logs(application: ApplicationName = None, as_json: AsJson = False) -> None:
    """Ship what MySQL and MariaDB servers wrote to their binary logs since the last time, to every destination."""
    from lifeboat.actions import logs

    site = terminal.load_site()
    names = [application] if application is not None else site.settings.applications_with_logs
    if not names:
        raise SettingsError(
            "The settings ask for the binary logs of no application.", "Set logs: true for one, under applications."
        )
    shipped: dict[str, Shipped] = {}
    failures: dict[str, LifeboatError] = {}
    for name in names:
        try:
            with terminal.scratch(site, name) as scratch:
                shipped[name] = logs.ship(site, name, scratch)
        except LifeboatError as error:  # one application that fails does not stop the others
            failures[name] = error
    if as_json:
        failed = [{"application": name, "error": str(error)} for name, error in failures.items()]
        terminal.print_json([*({"application": name, **each.to_json()} for name, each in shipped.items()), *failed])
    else:
        for name, each in shipped.items():
            _print_logs(name, each)
    for name, failure in failures.items():
        terminal.complain(f"{name}: {failure}")
    if failures or any(each.failed or each.new_chain for each in shipped.values()):
        raise typer.Exit(FINDING)


def _print_logs(application: str, shipped: Shipped) -> None:
    if shipped.new_chain:
        advice = f"Back the databases up now, by lifeboat backup database {application!r}: the new chain continues that"
        terminal.complain(f"{application}: a new chain of binary logs begins: {shipped.new_chain}. {advice}.")
    terminal.print_lines([f"{application}: {shipped}"])
    for name, error in shipped.failed.items():
        terminal.complain(f"  not published at {name}: {error}")


def _back_up_all(
    kind: BackupKind,
    application: str | None,
    databases: tuple[str, ...],
    destinations: tuple[str, ...],
    note: str,
    as_json: bool,
) -> None:
    from lifeboat.cli.bar import bar

    site = terminal.load_site()
    names = [application] if application is not None else site.settings.applications_of(kind)
    if databases and application is None:
        applications = site.settings.applications
        having = [name for name in names if any(map(applications[name].database, databases))]
        names = having or names  # a name that no application has is a mistake, and is reported as one
    if not names:
        raise SettingsError(
            f"No application in the settings has {'files' if kind == 'application' else 'databases'}.",
            "Add some under applications.",
        )
    results: list[Result] = []
    failures: dict[str, LifeboatError] = {}
    for name in names:
        try:
            with bar(as_json=as_json), terminal.scratch(site, name) as scratch:
                results.append(_back_up(site, name, kind, databases, destinations, note, scratch))
        except LifeboatError as error:  # one application that fails does not stop the others
            failures[name] = error
    if as_json:
        failed = [{"application": name, "error": str(error)} for name, error in failures.items()]
        terminal.print_json([*map(_facts, results), *failed])
    else:
        for result in results:
            _print_backup(result)
    for name, failure in failures.items():
        terminal.complain(f"{name}: {failure}")
    if not results and all(isinstance(error, SettingsError) for error in failures.values()):
        raise typer.Exit(WRONG_USE)
    if failures or any(result.taken.failed for result in results):
        raise typer.Exit(FINDING)


def _back_up(
    site: Site,
    application: str,
    kind: BackupKind,
    databases: tuple[str, ...],
    chosen: tuple[str, ...],
    note: str,
    scratch: Staging,
) -> Result:
    from lifeboat.actions import backup, servers

    wanted = servers.wanted(site, application, databases)
    taken = backup.take(site, application, kind, wanted.databases, chosen, note, scratch, wanted.listing)
    caps = (_cap_notice(site, application, name) for name in taken.published)
    return Result(application, taken, list(filter(None, caps)))


def _facts(result: Result) -> dict[str, object]:
    taken = result.taken
    return {
        "application": result.application,
        **taken.packed.to_json(),
        "totals": taken.totals.to_json(),
        "published": taken.published,
        "failed": taken.failed,
        "caps": result.caps,
        "new": taken.new,
        "limits": {name: [asdict(limit) for limit in limits] for name, limits in taken.limits.items()},
    }


def _cap_notice(site: Site, application: str, destination: str) -> str:
    from lifeboat.actions import cleanup

    holding = site.destinations(application, (destination,))
    return cleanup.cap_notice(destination, site.settings, application, holding, site.now())


@app.command("plan-files")
def plan_files(
    application: Annotated[str, typer.Argument(help="Name of an application.")],
    as_json: AsJson = False,
) -> None:
    """List the files of an application that its archive would include, and why the others are excluded."""
    from lifeboat.files import selection as files
    from lifeboat.files.selection import Member

    site = terminal.load_site()
    selection = files.selection_of(site.settings, application)
    going, staying = {"count": 0, "bytes": 0}, {"count": 0, "bytes": 0}
    rows = []
    links_out = []
    for found in files.select(selection):
        goes = isinstance(found, Member)
        size = found.size if isinstance(found, Member) and found.kind == "file" else 0
        size = size if goes else files.tree_size(found.location)
        total = going if goes else staying
        total["count"] += 1
        total["bytes"] += size
        reason = "" if isinstance(found, Member) else found.reason
        if isinstance(found, Member) and found.leads_out:
            links_out.append(found.path)
            reason = "a link out of the root; its target is not included"
        file = PlannedFile(found.path, goes, size, reason)
        if as_json:
            rows.append(file._asdict())
        else:
            _print_file(file)
    if as_json:
        totals = {"goes_in": going, "left_out": staying, "links_out": links_out}
        terminal.print_json({"root": str(selection.root), **totals, "files": rows})
    else:
        terminal.output.print(
            f"Files, directories and links that are included: [bold]{going['count']}[/], {size_text(going['bytes'])};"
            f" that are excluded: [bold]{staying['count']}[/], {size_text(staying['bytes'])}.",
            soft_wrap=True,
        )
        if links := files.links_out_text(selection.root, links_out):
            terminal.output.print(f"[yellow]{terminal.plain(links)}.[/]", soft_wrap=True)
    if not going["count"]:
        raise FilesError(f"No file of {selection.root} is left to archive.", "Check files.include and files.exclude.")


def _print_file(file: PlannedFile) -> None:
    path = file.path.encode("utf-8", "backslashreplace").decode()
    path = path if path.isprintable() else repr(path)
    mark = "+" if file.goes_in else "-"
    reason = f"  ({file.reason})" if file.reason else ""
    terminal.print_lines([f"{mark} {size_text(file.size):>10}  {path}{reason}"])


def _print_backup(result: Result) -> None:
    from lifeboat.databases import BY_HAND, count_limits

    taken = result.taken
    held = f"{_contents(taken.totals)}; {size_text(taken.packed.size)} stored"
    terminal.output.print(f"[bold]{terminal.plain(taken.packed.key)}[/]: {held}", soft_wrap=True)
    if taken.new:
        terminal.print_lines([f"  new, in no archive before: {listed(taken.new)}"])
    if warnings := taken.totals.warnings:
        terminal.output.print(f"  [yellow]{plural(warnings, 'warning')}[/], in the log above and in the manifest")
    for name, limits in taken.limits.items():
        things = plural(len(limits), "thing")
        terminal.output.print(
            f"  [yellow]{things} of {terminal.plain(name)} will not come back exactly[/]:", soft_wrap=True
        )
        terminal.print_lines([f"    {kind}" for kind in count_limits(limits)])
        if by_hand := [limit.text for limit in limits if limit.kind == BY_HAND]:
            terminal.output.print(
                f"  [bold yellow]{terminal.plain(name)} comes back by hand only[/], as docs/RECOVERY.md shows:",
                soft_wrap=True,
            )
            terminal.print_lines([f"    {text}" for text in by_hand])
    for name in taken.published:
        terminal.output.print(f"  [green]published[/] at {terminal.plain(name)}")
    for notice in result.caps:
        terminal.output.print(f"  [yellow]{terminal.plain(notice)}[/]", soft_wrap=True)
    for name, error in taken.failed.items():
        terminal.complain(f"  not published at {name}: {error}")


def _contents(totals: Totals) -> str:
    parts = []
    if totals.databases:
        parts.append(f"{plural(totals.rows, 'row')}, {size_text(totals.sql_bytes)} of SQL")
    if totals.file_count:
        parts.append(f"{plural(totals.file_count, 'file')}, {size_text(totals.file_bytes)}")
    return "; ".join(parts)
