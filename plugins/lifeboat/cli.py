"""The `lifeboat` command: the same verbs as the DAGs, without a running Airflow."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from lifeboat import (
    __version__,
    backup,
    catalog,
    checkup,
    cleanup,
    config,
    connections,
    files,
    health,
    staging,
    trial,
)
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import Catalog
from lifeboat.checkup import Examined
from lifeboat.config import BackupKind, Settings
from lifeboat.config import Destination as DestinationSettings
from lifeboat.errors import ArchiveError, FilesError, LifeboatError, SettingsError, StorageError
from lifeboat.files import Member
from lifeboat.retention import Decision
from lifeboat.staging import Staging
from lifeboat.storage import Destination
from lifeboat.storage.disk import DiskDestination
from lifeboat.text import size_text

PIPELINE = "cli"  # folder of the command's runs in staging
FINDING, WRONG_USE = 1, 2
LONG_LIST = 1000

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
backup_app = typer.Typer(no_args_is_help=True, help="Take a backup now.")
app.add_typer(backup_app, name="backup")


def _utf8(text: str) -> str:
    """Refuse what the shell passed on in another encoding: a manifest is UTF-8."""
    if not text.isascii() and text != text.encode("utf-8", "replace").decode():
        raise typer.BadParameter("it is not UTF-8 text")
    return text


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

Note = Annotated[str, typer.Option(help="Kept in the manifest.", callback=_utf8)]

output = Console(highlight=False)


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


def _back_up_all(
    kind: BackupKind,
    application: str | None,
    databases: tuple[str, ...],
    destinations: tuple[str, ...],
    note: str,
    as_json: bool,
) -> None:
    settings = _settings()
    names = [application] if application is not None else settings.applications_of(kind)
    if databases and application is None:
        having = [name for name in names if {found.name for found in settings.databases_of(name)} & set(databases)]
        names = having or names  # a name that no application has is a mistake, and is told as one
    if not names:
        raise SettingsError(
            f"No application in the settings has {'files' if kind == 'application' else 'databases'}.",
            "Add some under applications.",
        )
    results: list[dict[str, Any]] = []
    failures: dict[str, LifeboatError] = {}
    for name in names:
        try:
            with _scratch(settings, name) as scratch:
                results.append(_back_up(settings, name, kind, databases, destinations, note, scratch))
        except LifeboatError as error:  # one application that fails does not stop the others
            failures[name] = error
    if as_json:
        _print_json(results + [{"application": name, "error": str(error)} for name, error in failures.items()])
    else:
        for result in results:
            _print_backup(result)
    for name, failure in failures.items():
        _complain(f"{name}: {failure}")
    if not results and all(isinstance(error, SettingsError) for error in failures.values()):
        raise typer.Exit(WRONG_USE)
    if failures or any(result["failed"] for result in results):
        raise typer.Exit(FINDING)


def _back_up(
    settings: Settings,
    application: str,
    kind: BackupKind,
    databases: tuple[str, ...],
    chosen: tuple[str, ...],
    note: str,
    scratch: Staging,
) -> dict[str, Any]:
    wanted = settings.databases_of(application, databases)
    selection = files.selection_of(settings, application) if kind == "application" else None
    whole = selection is not None and settings.files_of(application).on_error == "fail"
    if not wanted and selection is None:
        raise SettingsError(f"Application {application!r} has no databases in the settings.")
    password = connections.archive_password(settings.encryption_of(application))
    destinations, outcomes = _destinations(settings.destinations_of(application, chosen))
    if not destinations:
        raise SettingsError("; ".join(outcomes.values()))
    for database in wanted:
        backup.dump_database(scratch, database, *connections.mysql(database))
    names = [database.name for database in wanted]
    packed = backup.pack_archive(scratch, application, kind, names, password, note, selection, whole_files=whole)
    totals = staging.facts_of(scratch.archive)["marker"]["totals"]

    def store(destination: Destination) -> str | None:
        try:
            backup.store_archive(scratch, packed, destination)
        except LifeboatError as error:  # one destination that fails does not stop the others
            return str(error)
        return None

    with ThreadPoolExecutor(len(destinations)) as pool:
        stored = dict(zip((d.name for d in destinations), pool.map(store, destinations), strict=True))
    return {
        "application": application,
        **packed.to_json(),
        "totals": totals,
        "published": [name for name, error in stored.items() if error is None],
        "failed": outcomes | {name: error for name, error in stored.items() if error is not None},
    }


def _destinations(wanted: dict[str, DestinationSettings]) -> tuple[list[Destination], dict[str, str]]:
    """Return the destinations that are ready, and why the others are not, by name."""
    ready, failures = [], {}
    for name, kind in wanted.items():
        try:
            ready.append(connections.destination(name, kind))
        except LifeboatError as error:  # one destination that fails does not stop the others
            failures[name] = str(error)
    return ready, failures


@contextlib.contextmanager
def _scratch(settings: Settings, application: str) -> Iterator[Staging]:
    """Open staging for one backup, and remove it and what killed commands left.

    A lock that dies with its process tells a living command's staging from a dead one's.
    """
    run = f"{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}-{os.getpid()}"
    scratch = Staging.of(settings.staging, PIPELINE, run, application)
    Staging(settings.staging / PIPELINE).create()
    with staging.translated(scratch.path), contextlib.ExitStack() as stack:
        with (settings.staging / PIPELINE / ".lock").open("w") as everybody:
            fcntl.flock(everybody, fcntl.LOCK_EX)  # until our own lock is held: nobody may take us for dead before
            staging.sweep(settings.staging, PIPELINE, lambda old: not _is_alive(settings.staging / PIPELINE / old))
            scratch.create()
            own = stack.enter_context((scratch.path.parent / "lock").open("w"))
            fcntl.flock(own, fcntl.LOCK_EX)
        try:
            yield scratch
        finally:
            staging.sweep(settings.staging, PIPELINE, lambda old: old == run)


def _is_alive(run: Path) -> bool:
    try:
        with (run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@app.command("list")
def list_archives(
    application: ApplicationName = None, destination: DestinationNames = None, as_json: AsJson = False
) -> None:
    """List the archives at the destinations, newest first."""
    settings = _settings()
    if application is not None:
        settings.application(application)
    names = destination or list(settings.destinations)
    if unknown := set(names) - set(settings.destinations):
        raise SettingsError(f"There is no destination {unknown.pop()!r} in the settings.")
    catalogs = {}
    destinations, failures = _destinations({name: settings.destinations[name] for name in names})
    for found in destinations:
        try:
            catalogs[found.name] = catalog.read(found.list(), settings.legacy_zone)
        except StorageError as error:
            failures[found.name] = str(error)
    if as_json:
        _print_json(
            {
                "archives": [row for name, found in catalogs.items() for row in _rows(name, found, application)],
                "unfinished": {name: [o.key for o in found.unfinished] for name, found in catalogs.items()},
                "failed": failures,
            }
        )
    else:
        _print_catalogs(catalogs, application)
        for failure in failures.values():
            _complain(failure)
    if failures:
        raise typer.Exit(FINDING)


def _rows(destination: str, found: Catalog, application: str | None) -> list[dict[str, Any]]:
    return [
        {
            "destination": destination,
            "key": archive.key,
            "application": archive.application,
            "kind": archive.kind,
            "captured_at": archive.captured_at.isoformat(),
            "size": archive.size,
            "proven": archive.proven,
        }
        for archive in found.archives
        if application in (None, archive.application)
    ]


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
        str | None, typer.Option(help="With --inventory: of the calendar, and of --at. Default: UTC.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="With --inventory: numbers of retention, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what retention keeps and deletes, and why; delete nothing."""
    if inventory is not None:
        if application is not None or destination:
            raise SettingsError("--inventory plans for a listing; it takes no application and no destination.")
        plan, others = trial.plan(inventory, at, timezone or "UTC", policy or "{}")
        if as_json:
            _print_json([_decision(decision) for decision in plan.decisions])
        else:
            _print_lines(cleanup.plan_lines(plan))
        if others:
            typer.echo(f"{others} objects of the listing are no archives, or are not published.", err=True)
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
    settings = _settings()
    names = [application] if application is not None else list(settings.applications)
    wanted = {name: kept for each in names for name, kept in settings.destinations_of(each).items()}
    if unknown := sorted(set(chosen) - set(wanted)):
        raise SettingsError(f"There is no destination {unknown[0]!r} here.", f"Known: {', '.join(wanted)}.")
    destinations, failures = _destinations(
        {name: kept for name, kept in wanted.items() if not chosen or name in chosen}
    )
    results: list[dict[str, Any]] = []
    for target in destinations:
        here = [name for name in names if target.name in settings.destinations_of(name)]
        try:
            results.append(_clean_up(settings, target, here, as_json=as_json, dry_run=dry_run))
        except StorageError as error:  # one destination that fails does not stop the others
            failures[target.name] = str(error)
    if as_json:
        _print_json({"destinations": results, "failed": failures})
    for failure in failures.values():
        _complain(failure)
    if failures:
        raise typer.Exit(FINDING)


def _applications_and_destinations(
    settings: Settings, application: str | None, chosen: tuple[str, ...]
) -> tuple[list[str], dict[str, DestinationSettings]]:
    """Return the names of the wanted applications, and the wanted destinations that keep archives of one of them."""
    names = [application] if application is not None else list(settings.applications)
    known = {name: kept for each in names for name, kept in settings.destinations_of(each).items()}
    if unknown := sorted(set(chosen) - set(known)):
        raise SettingsError(f"There is no destination {unknown[0]!r} here.", f"Known: {', '.join(known)}.")
    return names, {name: kept for name, kept in known.items() if not chosen or name in chosen}


def _clean_up(
    settings: Settings, target: Destination, applications: list[str], *, as_json: bool, dry_run: bool
) -> dict[str, Any]:
    now = datetime.now(UTC)
    evaluation = cleanup.evaluate(target, settings, applications, now)
    if not as_json:
        output.print(f"[bold]{escape(str(target))}[/]", soft_wrap=True)
        _print_lines(cleanup.lines(evaluation))
    result: dict[str, Any] = {
        "destination": target.name,
        "held": dict(evaluation.plan.held),
        "archives": [_decision(decision) for decision in evaluation.plan.decisions],
        "unfinished": [stored.key for stored in (*evaluation.unfinished, *evaluation.uploads)],
    }
    if not dry_run:
        result |= asdict(cleanup.clean(target, settings, applications, now, evaluation.order))
    return result


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "key": decision.archive.key,
        "action": decision.action,
        "reason": decision.reason,
        "rule": decision.rule,
        "superseded_by": decision.superseded_by or None,
        "size": decision.archive.size,
    }


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line.encode("utf-8", "backslashreplace").decode(), file=output.file)


@app.command("check")
def check_health(
    application: ApplicationName = None,
    destination: DestinationNames = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read the newest archives back, compare their SHA-256.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether the backups are healthy: age, size, storage, unfinished uploads, lagging destinations."""
    settings = _settings()
    names, wanted = _applications_and_destinations(settings, application, tuple(destination or ()))
    now = datetime.now(UTC)

    def examine(name: str) -> Examined:
        here = [each for each in names if name in settings.destinations_of(each)]
        return checkup.examine(name, settings, here, now, deep=deep)

    with ThreadPoolExecutor(len(wanted)) as pool:
        examined = list(pool.map(examine, wanted))
    findings = [finding for each in examined for finding in each.findings]
    findings += checkup.compare(settings, names, {each.destination: each.newest for each in examined}, now)
    verdict = health.verdict(findings)
    if as_json:
        _print_json({"verdict": verdict, "findings": [asdict(finding) for finding in findings]})
    else:
        _print_lines([*checkup.report(findings), f"All in all: {verdict}."])
    if verdict != "healthy":
        raise typer.Exit(FINDING)


@app.command("alert-test")
def alert_test() -> None:
    """Send a test message through every channel of the settings."""
    settings = _settings()
    from lifeboat import alerts

    outcomes = alerts.send_test(settings.alerts)
    for channel, error in outcomes.items():
        if error:
            _complain(f"{channel}: {error}")
        else:
            output.print(f"[green]sent[/] by {channel}")
    if any(outcomes.values()):
        raise typer.Exit(FINDING)


@app.command("plan-files")
def plan_files(
    application: Annotated[str, typer.Argument(help="Name of an application.")],
    as_json: AsJson = False,
) -> None:
    """List which files of an application would go into its archive, and why the rest would not."""
    settings = _settings()
    selection = files.selection_of(settings, application)
    going, staying = {"count": 0, "bytes": 0}, {"count": 0, "bytes": 0}
    rows = []
    for found in files.select(selection):
        goes = isinstance(found, Member)
        size = found.size if isinstance(found, Member) and found.kind == "file" else 0
        size = size if goes else files.tree_size(found.location)
        total = going if goes else staying
        total["count"] += 1
        total["bytes"] += size
        reason = "" if isinstance(found, Member) else found.reason
        row = {"path": found.path, "goes_in": goes, "size": size, "reason": reason}
        if as_json:
            rows.append(row)
        else:
            _print_file(row)
    if as_json:
        _print_json({"root": str(selection.root), "goes_in": going, "left_out": staying, "files": rows})
    else:
        output.print(
            f"[bold]{going['count']}[/] files, directories and links go in, {size_text(going['bytes'])};"
            f" [bold]{staying['count']}[/] are left out, {size_text(staying['bytes'])}.",
            soft_wrap=True,
        )
    if not going["count"]:
        raise FilesError(f"No file of {selection.root} is left to archive.", "Look at files.include and files.exclude.")


def _print_file(row: dict[str, Any]) -> None:
    path = row["path"].encode("utf-8", "backslashreplace").decode()
    path = path if path.isprintable() else repr(path)
    mark, reason = ("+", "") if row["goes_in"] else ("-", f"  ({row['reason']})")
    print(f"{mark} {size_text(row['size']):>10}  {path}{reason}", file=output.file)


@app.command()
def verify(
    archive: Annotated[str, typer.Argument(help="Path of an archive file, or key of an archive at a destination.")],
    destination: DestinationNames = None,
    as_json: AsJson = False,
) -> None:
    """Read a whole archive: decrypt every entry, check every HMAC, and every SHA-256 of the manifest.

    A key is verified at every destination that should hold it.
    """
    settings = _settings()
    path = Path(archive)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise SettingsError(f"{archive[:100]!r}... is no path: {error.strerror}.") from error
    checks = [_check_file(settings, path)] if is_file else _check_key(settings, archive, tuple(destination or ()))
    if as_json:
        _print_json(checks)
    else:
        for check in checks:
            if check["ok"]:
                output.print(
                    f"[green]whole[/] {escape(check['where'])}: {check['entries']} entries, "
                    f"{size_text(check['content_bytes'])}, SHA-256 {check['sha256']}",
                    soft_wrap=True,
                )
            else:
                _complain(check["error"])
    if not all(check["ok"] for check in checks):
        raise typer.Exit(FINDING)


def _check_file(settings: Settings, path: Path) -> dict[str, Any]:
    beside = DiskDestination("file", path.absolute().parent)
    application = next((part for part in reversed(path.absolute().parts) if part in settings.applications), None)
    password = connections.archive_password(settings.encryption_of(application))

    def expected() -> str | None:
        marker = catalog.read_marker(beside, path.name)
        return marker["archive"]["sha256"] if marker else None

    return _check(str(path), lambda: path.open("rb"), password, expected)


def _check_key(settings: Settings, key: str, chosen: tuple[str, ...]) -> list[dict[str, Any]]:
    application = key.partition("/")[0]
    kind = catalog.kind_of(key)
    if kind is None:
        raise SettingsError(f"{key!r} is neither a file nor the key of an archive.", "'lifeboat list' shows the keys.")
    settings.application(application)
    password = connections.archive_password(settings.encryption_of(application))

    def check(destination: Destination) -> dict[str, Any]:
        def expected() -> str | None:
            marker = catalog.read_marker(destination, key)
            if marker is None and kind != "legacy":
                raise ArchiveError(f"{key} is not published at {destination}.", "'lifeboat list' shows what is.")
            return marker["archive"]["sha256"] if marker else None

        return _check(f"{key} at {destination}", lambda: destination.open(key), password, expected)

    return [check(destination) for destination in connections.destinations(settings, application, chosen)]


def _check(
    where: str, open_archive: Callable[[], Any], password: str | None, expected: Callable[[], str | None]
) -> dict[str, Any]:
    try:
        sha256 = expected()
        with open_archive() as file:
            verified = ArchiveReader(file, where, password).verify(sha256)
    except (ArchiveError, StorageError) as error:
        return {"where": where, "ok": False, "error": str(error)}
    return {"where": where, "ok": True, **vars(verified)}


def _print_backup(result: dict[str, Any]) -> None:
    output.print(
        f"[bold]{escape(result['key'])}[/]: {_contents(result['totals'])}; {size_text(result['size'])} stored",
        soft_wrap=True,
    )
    if warnings := result["totals"]["warnings"]:
        output.print(f"  [yellow]{warnings} warnings[/], in the log above and in the manifest")
    for name in result["published"]:
        output.print(f"  [green]published[/] at {escape(name)}")
    for name, error in result["failed"].items():
        _complain(f"  not published at {name}: {error}")


def _contents(totals: dict[str, Any]) -> str:
    parts = []
    if totals["databases"]:
        parts.append(f"{totals['rows']} rows, {size_text(totals['sql_bytes'])} of SQL")
    if "file_count" in totals:
        parts.append(f"{totals['file_count']} files, {size_text(totals['file_bytes'])}")
    return "; ".join(parts)


def _print_catalogs(catalogs: dict[str, Catalog], application: str | None) -> None:
    rows = [row for name, found in catalogs.items() for row in _rows(name, found, application)]
    if not rows:
        output.print("No archives yet. Take one: lifeboat backup database")
    width = max((len(row["destination"]) for row in rows), default=0)
    for row in rows:
        captured = row["captured_at"][:19].replace("T", " ")
        proven = "proven" if row["proven"] else "unproven"
        line = f"{row['destination']:{width}}  {captured} UTC  {size_text(row['size']):>10}  {proven:8}  {row['key']}"
        output.print(line, soft_wrap=True, markup=False)
    for name, found in catalogs.items():
        for stored in found.unfinished:
            output.print(
                f"[yellow]unfinished[/] at {escape(name)}: {escape(stored.key)}, {size_text(stored.size)}",
                soft_wrap=True,
            )


def _print_json(value: object) -> None:
    indent = None if isinstance(value, list) and len(value) > LONG_LIST else 1  # which is ten times as slow
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    print(text.encode("utf-8", "backslashreplace").decode(), file=output.file)  # rich would wrap it


def _complain(text: str) -> None:
    typer.secho(text, fg="red", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lifeboat {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Keep standard output for the answer: what libraries print or log goes to standard error."""
    output.file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _settings() -> Settings:
    """Load the settings, for a command that will need Airflow's connections."""
    settings = config.load()
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    import airflow.sdk  # noqa: F401  # configures logging when it is imported, so it comes before our own

    logging.getLogger().setLevel(logging.WARNING)
    own = logging.getLogger("lifeboat")
    own.setLevel(logging.INFO)
    own.propagate = False
    own.addHandler(RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S"))
    return settings


def main() -> NoReturn:
    """Run the command; exit 0 when all is well, 1 on a finding or a failure, 2 on wrong use or wrong settings."""
    # Airflow serves connections of its database, too, to processes that say they are not tasks.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    gc.set_threshold(100_000)  # a listing of 100 000 archives is no garbage to look through again and again
    try:
        app()
    except SettingsError as error:
        _complain(str(error))
        sys.exit(WRONG_USE)
    except LifeboatError as error:
        _complain(str(error))
        sys.exit(FINDING)
    sys.exit(0)


if __name__ == "__main__":
    main()
