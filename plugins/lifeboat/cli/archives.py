"""``lifeboat list`` and ``verify``: the stored archives, and their integrity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from lifeboat.catalog import archives
from lifeboat.cli import terminal
from lifeboat.cli.terminal import FINDING, ApplicationName, AsJson, DestinationNames
from lifeboat.errors import ArchiveError, SettingsError, StorageError
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.archive.read import ArchiveReader, Verified
    from lifeboat.catalog.archives import Archive, Catalog, Kind
    from lifeboat.catalog.marker import Marker
    from lifeboat.site import Site
    from lifeboat.storage import Destination

AT = "destination"  # heading of a column

app = typer.Typer()


@app.command("list")
def list_archives(
    application: ApplicationName = None, destination: DestinationNames = None, as_json: AsJson = False
) -> None:
    """List the archives at the destinations, newest first."""
    from lifeboat.actions import survey
    from lifeboat.cli.bar import reading

    site = terminal.load_site()
    if application is not None:
        site.settings.application(application)
    names = destination or list(site.settings.destinations)
    if unknown := set(names) - set(site.settings.destinations):
        raise SettingsError(f"There is no destination {unknown.pop()!r} in the settings.")
    catalogs = {}
    destinations, failures = site.ready_destinations(names)
    for found in destinations:
        try:
            with reading(found.name, as_json=as_json):
                catalogs[found.name] = survey.read(found, site)
        except StorageError as error:
            failures[found.name] = str(error)
        except SettingsError as error:  # without the archive password, no proof is known to be one
            terminal.complain(str(error))
            read = archives.read(found.list(), site.settings.legacy_zone)
            catalogs[found.name] = replace(read, unchecked=frozenset(read.proofs))
    if as_json:
        terminal.print_json(
            {
                "archives": [
                    row._asdict() for name, found in catalogs.items() for row in _rows(name, found, application)
                ],
                "logs": [
                    row._asdict()
                    for name, found in catalogs.items()
                    for row in _rows(name, found, application, found.logs)
                ],
                "log_windows": [row for name, found in catalogs.items() for row in _windows(name, found, application)],
                "unfinished": {name: [o.key for o in found.unfinished] for name, found in catalogs.items()},
                "failed": failures,
            }
        )
    else:
        _print_catalogs(catalogs, application, all_read=not failures)
        for failure in failures.values():
            terminal.complain(failure)
    if failures:
        raise typer.Exit(FINDING)


class Row(NamedTuple):
    """An archive at a destination.

    :param proven: whether its proof was read, and is authentic.
    :param last_read: when it was read back last; None if never.
    :param whole: whether it was intact then.
    """

    destination: str
    key: str
    application: str
    kind: Kind
    captured_at: str
    size: int
    proven: bool
    proof: str
    last_read: str | None
    whole: bool | None


def _rows(
    destination: str, found: Catalog, application: str | None, archives: Iterable[Archive] | None = None
) -> list[Row]:
    """:param archives: default: those of databases and applications."""
    return [
        Row(
            destination,
            archive.key,
            archive.application,
            archive.kind,
            archive.captured_at.isoformat(),
            archive.size,
            found.proof_of(archive) == "proven",
            found.proof_of(archive),
            last.at.isoformat(timespec="seconds") if (last := found.readings.get(archive.key)) else None,
            last.whole if last else None,
        )
        for archive in (found.archives if archives is None else archives)
        if application in (None, archive.application)
    ]


def _windows(destination: str, found: Catalog, application: str | None) -> Iterator[dict[str, object]]:
    """Yield which time the newest logs of each application cover, and how much of other databases is in the last."""
    for name, window in found.windows.items():
        if application in (None, name):
            yield {
                "destination": destination,
                "application": name,
                "since": window.since.isoformat(),
                "until": window.until.isoformat(),
                "left_out_bytes": window.left_out_bytes,
                "untold_bytes": window.untold_bytes,
            }


def _logs(found: Catalog, application: str | None) -> Iterator[str]:
    """Yield a line for the binary logs of each application."""
    for name in dict.fromkeys(archive.application for archive in found.logs):
        if application in (None, name):
            logs = found.logs_of(name)
            text = f"{name}, {plural(len(logs), 'archive')}, {size_text(sum(archive.size for archive in logs))}"
            if window := found.windows.get(name):
                since, until = (f"{time:%Y-%m-%d %H:%M:%S} UTC" for time in (window.since, window.until))
                text += f"; without a gap from {since} to {until}"
            yield text


class Check(NamedTuple):
    """The result of verifying an archive at one place.

    :param verified: None if it is not whole.
    :param note: why not, or what its reader should know.
    """

    where: str
    verified: Verified | None
    note: str

    def to_json(self) -> dict[str, object]:
        """Return the result for programs."""
        if self.verified is None:
            return {"where": self.where, "ok": False, "error": self.note}
        return {"where": self.where, "ok": True, **vars(self.verified), "warning": self.note}


@app.command()
def verify(
    archive: Annotated[
        str | None,
        typer.Argument(help="Path of an archive file, or key of an archive at a destination. Default: those due."),
    ] = None,
    destination: DestinationNames = None,
    as_json: AsJson = False,
) -> None:
    """Read a whole archive: decrypt every entry, check every HMAC, and every SHA-256 of the manifest.

    A key is verified at every destination that should hold it, and the result is recorded next to it there. Without a
    key, the archives that are due are read, as the DAG backup_verify does each night.
    """
    from lifeboat.cli.bar import bar

    site = terminal.load_site()
    if archive is None:
        _verify_in_turn(site, tuple(destination or ()), as_json)
        return
    path = Path(archive)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise SettingsError(f"{archive[:100]!r}... is not a path: {error.strerror}.") from error
    with bar(as_json=as_json):
        checks = [_check_file(site, path)] if is_file else _check_key(site, archive, tuple(destination or ()))
    if as_json:
        terminal.print_json([check.to_json() for check in checks])
    else:
        for check in checks:
            if found := check.verified:
                held = f"{plural(found.entries, 'entry', 'entries')}, {size_text(found.content_bytes)}"
                terminal.output.print(
                    f"[green]whole[/] {terminal.plain(check.where)}: {held}, SHA-256 {found.sha256}", soft_wrap=True
                )
                if check.note:
                    terminal.complain(f"{check.where}: {check.note}.")
            else:
                terminal.complain(check.note)
    if not all(check.verified for check in checks):
        raise typer.Exit(FINDING)


def _verify_in_turn(site: Site, chosen: tuple[str, ...], as_json: bool) -> None:
    from lifeboat.actions import verify as readback

    _, wanted = terminal.applications_and_destinations(site, None, chosen)
    destinations, failures = site.ready_destinations(wanted, deleting=True)
    nights = {}
    for found in destinations:
        applications = [
            name for name in site.settings.applications if found.name in site.settings.destinations_of(name)
        ]
        try:
            now = site.now()
            nights[found.name] = readback.read_night(site, found, applications, now, now)
        except StorageError as error:
            failures[found.name] = str(error)
    if as_json:
        terminal.print_json({"destinations": {name: vars(night) for name, night in nights.items()}, "failed": failures})
    else:
        for name, night in nights.items():
            terminal.print_lines([f"whole    {key} at {name}" for key in night.read])
            read = plural(len(night.read), "archive")
            terminal.print_lines([f"{name}: {read} read back and whole, {len(night.failed)} failed."])
    for text in (*failures.values(), *(each for night in nights.values() for each in night.failed.values())):
        terminal.complain(text)
    if failures or any(night.failed for night in nights.values()):
        raise typer.Exit(FINDING)


def _check_file(site: Site, path: Path) -> Check:
    from lifeboat.catalog import marker as markers
    from lifeboat.storage.disk import Directory

    beside = Directory("file", path.absolute().parent)
    application = next((part for part in reversed(path.absolute().parts) if part in site.settings.applications), None)
    passwords = site.passwords(application)

    opened = _opened_file(site, application, path, *passwords)
    return _check(str(path), opened, lambda: markers.read(beside, path.name))


def _check_key(site: Site, key: str, chosen: tuple[str, ...]) -> list[Check]:
    from lifeboat.actions import stored_archive
    from lifeboat.actions import verify as readback
    from lifeboat.catalog import marker as markers

    application = key.partition("/")[0]
    kind = archives.kind_of(key)
    if kind is None:
        raise SettingsError(f"{key!r} is neither a file nor the key of an archive.", "'lifeboat list' shows the keys.")
    site.settings.application(application)

    def check(destination: Destination) -> Check:
        where = f"{key} at {destination}"
        if kind == "legacy":  # for which no result is recorded
            opened = stored_archive.opened(site, destination, application, key)
            return _check(where, opened, lambda: markers.read(destination, key), key)
        try:
            verified = readback.read_back(site, destination, application, key)
        except (ArchiveError, StorageError) as error:
            return Check(where, None, str(error))
        unsigned = "" if verified.encrypted else stored_archive.NOT_ENCRYPTED
        return Check(where, verified, unsigned)

    return [check(found) for found in site.destinations(application, chosen, deleting=True)]


def _check(
    where: str,
    opened: AbstractContextManager[ArchiveReader],
    read_marker: Callable[[], Marker | None],
    key: str = "",
) -> Check:
    from lifeboat.actions import stored_archive

    try:
        marker = read_marker()
        with opened as reader:
            verified = stored_archive.verify_as(reader, key, marker)
            unsigned = stored_archive.unsigned(reader)
    except (ArchiveError, StorageError) as error:
        return Check(where, None, str(error))
    return Check(where, verified, unsigned)


@contextmanager
def _opened_file(
    site: Site, application: str | None, path: Path, password: str | None, previous: tuple[str, ...]
) -> Iterator[ArchiveReader]:
    from lifeboat.actions import stored_archive
    from lifeboat.archive.read import ArchiveReader

    with path.open("rb") as file:
        reader = ArchiveReader(file, str(path), password, previous)
        if not reader.has_manifest:
            stored_archive.refuse_legacy(site, application, str(path))
            reader = ArchiveReader(file, str(path), password, previous, foreign=True)
        yield reader


def _print_catalogs(catalogs: dict[str, Catalog], application: str | None, *, all_read: bool) -> None:
    rows = [row for name, found in catalogs.items() for row in _rows(name, found, application)]
    if not rows and all_read:
        terminal.output.print("No archives yet. Take one: lifeboat backup database")
    width = max(len(name) for name in [AT, *catalogs])
    if rows:
        terminal.write(f"{AT:{width}}  {'captured at':23}  {'size':>10}  {'proof':9}  {'last read':10}  key")
    for row in rows:
        captured, size = row.captured_at[:19].replace("T", " "), size_text(row.size)
        read = "DAMAGED" if row.whole is False else (row.last_read or "never")[:10]
        line = f"{row.destination:{width}}  {captured} UTC  {size:>10}  {row.proof:9}  {read:10}  {row.key}"
        terminal.print_lines([line])
    for name, found in catalogs.items():
        terminal.print_lines(f"binary logs at {name}: {line}" for line in _logs(found, application))
        for stored in found.unfinished:
            what = f"{terminal.plain(stored.key)}, {size_text(stored.size)}"
            terminal.output.print(f"[yellow]unfinished[/] at {terminal.plain(name)}: {what}", soft_wrap=True)
