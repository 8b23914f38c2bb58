"""``lifeboat restore`` and ``drill``: restore archives, and prove that they can be restored."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, WRONG_USE, ApplicationName, AsJson, DatabaseNames, DestinationNames
from lifeboat.errors import LifeboatError, SettingsError

if TYPE_CHECKING:
    from lifeboat.catalog.proof import ChainProof, Proof
    from lifeboat.decide.restore_plan import RestoreRequest
    from lifeboat.site import Site

LATEST = "latest"  # archive

app = typer.Typer()
restore_app = typer.Typer(
    no_args_is_help=True, help="Restore from an archive, next to existing data unless --overwrite is given."
)
app.add_typer(restore_app, name="restore")

OneApplication = Annotated[
    str | None, typer.Argument(help="Name of the application. Default: the only one.", show_default=False)
]
ArchiveChoice = Annotated[
    str,
    typer.Option(
        "--archive",
        help="'latest', a key, or a time as in 2026-11-23T12:00: the newest archive captured at or before that time.",
    ),
]
OneDestination = Annotated[
    str, typer.Option("--destination", "-d", help="Destination to read it from. Default: any that has the archive.")
]
NoCompare = Annotated[
    bool, typer.Option("--no-compare", help="Do not compare what was restored with what was captured.")
]


@restore_app.command("database")
def restore_database(
    application: OneApplication = None,
    archive: ArchiveChoice = LATEST,
    destination: OneDestination = "",
    database: DatabaseNames = None,
    table: Annotated[str, typer.Option(help="Only this table, into a new schema.")] = "",
    into: Annotated[
        str, typer.Option(help="Name of a new schema, for one database. Default: <database>_restored_<time>.")
    ] = "",
    overwrite: Annotated[
        list[str] | None,
        typer.Option(help="Name of a database that may be replaced, after a safety backup; repeatable."),
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            help="Replay binary logs up to a moment: a time, a GTID as the last transaction, before:GTID, or 'latest'."
            " 'lifeboat logs' lists transactions."
        ),
    ] = "",
    no_compare: NoCompare = False,
    as_json: AsJson = False,
) -> None:
    """Restore databases of an application into new schemas, or over the existing ones."""
    from lifeboat.decide.restore_plan import RestoreRequest

    site = terminal.load_site()
    request = RestoreRequest(
        application=_only(site, application),
        archive=archive,
        destination=destination,
        databases=tuple(database or ()),
        table=table,
        into=into,
        overwrite=tuple(overwrite or ()),
        until=until,
    )
    _restore(site, request, compare=not no_compare, commands=False, as_json=as_json)


@restore_app.command("application")
def restore_application(
    application: OneApplication = None,
    archive: ArchiveChoice = LATEST,
    destination: OneDestination = "",
    database: DatabaseNames = None,
    path: Annotated[str, typer.Option(help="Only this file or folder, relative to the application's root.")] = "",
    into: Annotated[
        str, typer.Option(help="Absolute path of a new directory for the files. Default: <root>_restored_<time>.")
    ] = "",
    overwrite: Annotated[
        str,
        typer.Option(help="The application's name: its databases and files may be replaced, after a safety backup."),
    ] = "",
    no_after_restore: Annotated[
        bool, typer.Option("--no-after-restore", help="Do not run the settings' after_restore commands.")
    ] = False,
    no_compare: NoCompare = False,
    as_json: AsJson = False,
) -> None:
    """Restore the databases and files of an application next to the existing ones, or over them."""
    from lifeboat.decide.restore_plan import RestoreRequest

    site = terminal.load_site()
    request = RestoreRequest(
        application=_only(site, application),
        archive=archive,
        destination=destination,
        databases=tuple(database or ()),
        files=True,
        path=path,
        into=into,
        overwrite=(overwrite,) if overwrite else (),
    )
    commands = not no_after_restore
    _restore(site, request, compare=not no_compare, commands=commands, as_json=as_json)


@app.command("drill")
def drill_archives(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    archive: Annotated[
        str, typer.Option(help="Key of the archive to test. Default: the newest, then those proven longest ago.")
    ] = "",
    chain: Annotated[
        bool,
        typer.Option(
            "--chain", help="Replay binary logs onto a database archive, and compare the result with the next one."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore archives to scratch databases, compare them with what was captured, and sign proofs."""
    from lifeboat.actions import chain_drill, drill
    from lifeboat.cli.bar import bar

    site = terminal.load_site()
    names = _to_drill(site, application, archive, chain=chain)
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    choices = chain_drill.choices if chain else drill.choices
    rehearse: Callable[..., Proof | ChainProof | str] = chain_drill.rehearse if chain else drill.rehearse
    proofs: list[Proof | ChainProof] = []
    waiting: list[str] = []
    failures = {}
    chosen = {name: choices(site, name, tuple(destination or ()), archive, site.now()) for name in names}
    for name, choice in ((name, choice) for name, found in chosen.items() for choice in found):
        try:
            (where,) = site.destinations(name, (choice.destination,), deleting=True)
            with bar(as_json=as_json):
                made = rehearse(site, name, where, choice.key, by, site.now())
            if isinstance(made, str):
                waiting.append(f"nothing to prove of {name} at {choice.destination}: {made}")
            else:
                proofs.append(made)
        except LifeboatError as error:  # one archive that fails does not stop the others
            failures[f"{choice.key or 'everything'} at {choice.destination}"] = error
    if as_json:
        failed = {what: str(failure) for what, failure in failures.items()}
        terminal.print_json({"proofs": [made.to_json() for made in proofs], "failed": failed})
    else:
        terminal.print_lines([*map(_proof_line, proofs), *waiting])
        for what, failure in failures.items():
            terminal.complain(f"not proven: {what}: {failure}")
    missing = [name for name, found in chosen.items() if not found]
    for name in missing:
        terminal.complain(
            f"not proven: {name} has no archive to test. Take one: lifeboat backup database {quote(name)}"
        )
    if failures or missing:
        only_settings = all(isinstance(failure, SettingsError) for failure in failures.values())
        raise typer.Exit(WRONG_USE if only_settings and failures and not proofs else FINDING)


def _to_drill(site: Site, application: str | None, archive: str, *, chain: bool) -> list[str]:
    """Return the applications to test."""
    if archive:
        owner = archive.partition("/")[0]
        if application not in (None, owner):
            raise SettingsError(f"{archive!r} is not an archive of {application!r}.", f"It is one of {owner!r}.")
        return [owner]
    if application is not None:
        return [application]
    if chain and not site.settings.applications_with_logs:
        raise SettingsError("The settings ask for the binary logs of no application, so there is no chain to prove.")
    return site.settings.applications_with_logs if chain else list(site.settings.applications)


def _proof_line(made: Proof | ChainProof) -> str:
    from lifeboat.catalog.proof import ChainProof, checks_text, same_text

    if isinstance(made, ChainProof):
        return f"proven: {made}"
    return (
        f"proven: {made.key} at {made.destination}: {made.compared} {same_text(made.limits, made.missed)};"
        f" recovered in {made.durations.recovery:.1f} s{checks_text(made.checks, '; checks passed: ', '')}"
    )


def _only(site: Site, name: str | None) -> str:
    if name is not None:
        return name
    if len(site.settings.applications) > 1:
        raise SettingsError(
            "Which application? The settings have several.", f"One of {', '.join(site.settings.applications)}."
        )
    return next(iter(site.settings.applications))


def _restore(site: Site, request: RestoreRequest, *, compare: bool, commands: bool, as_json: bool) -> None:
    from lifeboat.actions import after_restore, restore
    from lifeboat.cli.bar import bar
    from lifeboat.decide.restored import RestoreReport

    plan = restore.select(site, request, site.now())
    with bar(as_json=as_json):
        restore.verify(site, plan)
        with terminal.scratch(site, plan.application) as scratch:
            taken = restore.safety_backup(site, plan, scratch)
        databases = [restore.restore_database(site, plan, step, compare=compare) for step in plan.databases]
        files = restore.restore_files(site, plan) if plan.files else None
    ran = after_restore.run_commands(site, plan) if commands else []
    report = RestoreReport(plan, taken.packed.key if taken else None, tuple(databases), files, tuple(ran))
    if as_json:
        terminal.print_json(report.to_json())
    else:
        terminal.print_lines(report.lines())
