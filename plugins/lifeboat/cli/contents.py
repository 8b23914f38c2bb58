"""``lifeboat show``: the contents of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lifeboat.catalog import archives
from lifeboat.cli import terminal
from lifeboat.cli.terminal import AsJson
from lifeboat.errors import RestoreError
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.actions.contents import Contents, HeldDatabase, Node
    from lifeboat.catalog.archives import Archive

DEPTH = 2  # default number of folder levels to open
LONGEST_FOLDER = 100  # lines of one folder

app = typer.Typer()


@app.command("show")
def show_contents(
    archive: Annotated[
        str, typer.Argument(help="Key of an archive, or the name of an application: its newest archive.")
    ],
    destination: Annotated[
        str, typer.Option("--destination", "-d", help="Destination to read it from. Default: any that has the archive.")
    ] = "",
    path: Annotated[str, typer.Option(help="Only this file or folder, relative to the application's root.")] = "",
    depth: Annotated[int, typer.Option(min=1, help="How many levels of folders to open.")] = DEPTH,
    as_json: AsJson = False,
) -> None:
    """List what an archive holds: databases with their tables and rows, files as a tree.

    Fetches only the archive's list of names and its manifest.
    """
    from lifeboat.actions import contents, restore
    from lifeboat.cli.bar import reading
    from lifeboat.decide.restore_plan import LATEST, RestoreRequest

    site = terminal.load_site()
    is_key = archives.kind_of(archive) is not None
    application = archive.partition("/")[0] if is_key else archive
    request = RestoreRequest(application, archive if is_key else LATEST, destination)
    with reading(f"the archives of {application}", as_json=as_json):
        place, found = restore.candidates(site, request, site.now())[0]
    held = contents.read(site, place, application, found.key)
    path = path.strip("/")
    if path and not held.below(path):
        raise RestoreError(f"{found.key} holds no {path!r}.", "Paths are relative to the root of the application.")
    if as_json:
        terminal.print_json(_facts(found, place.name, held, path))
    else:
        terminal.print_lines(_lines(found, place.name, held, path, depth))


def _facts(found: Archive, destination: str, held: Contents, path: str) -> dict[str, object]:
    return {
        "key": found.key,
        "destination": destination,
        "captured_at": found.captured_at.isoformat(),
        "size": found.size,
        "note": held.note,
        "warnings": held.warnings,
        "databases": [
            asdict(database) | {"tables": database.tables and [table._asdict() for table in database.tables]}
            for database in held.databases
        ],
        "files": [{"path": file.path, "type": file.kind, "size": file.size} for file in held.below(path)],
    }


def _lines(found: Archive, destination: str, held: Contents, path: str, depth: int) -> Iterator[str]:
    captured = f"captured {found.captured_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"{found.key} at {destination}, {captured}, {size_text(found.size)}"
    if held.note:
        yield f"note: {held.note}"
    yield from (f"warning: {warning}" for warning in held.warnings)
    command = f"{quote(found.application)} --archive {quote(found.key)}"
    if not path:
        for database in held.databases:
            yield from _database_lines(database)
        if held.databases:
            yield f"Restore a table: lifeboat restore database {command} --database DATABASE --table TABLE"
    if held.files:
        yield from _file_lines(held, path, depth)
        yield f"Restore a file or folder: lifeboat restore application {command} --path PATH"


def _database_lines(database: HeldDatabase) -> Iterator[str]:
    size = f", {size_text(database.sql_bytes)} of SQL" if database.sql_bytes is not None else ""
    if database.tables is None:
        yield f"Database {database.name}{size}; no manifest describes its contents."
        return
    objects = "".join(f", {plural(count, kind)}" for kind, count in (database.objects or {}).items())
    yield f"Database {database.name}: {plural(len(database.tables), 'table')}{objects}{size}"
    if database.log_position:
        yield f"{'':14}  {database.log_position}"
    yield f"{'rows':>14}  table"
    for table in database.tables:
        bare = " (structure only)" if table.name in database.structure_only else ""
        yield f"{table.rows:>14,}  {table.name}{bare}"
    if database.left_out:
        yield f"{'':14}  not in the archive: {', '.join(database.left_out)}"


def _file_lines(held: Contents, path: str, depth: int) -> Iterator[str]:
    files = [file for file in held.below(path) if file.kind != "directory"]
    total = f"{plural(len(files), 'file')}, {size_text(sum(file.size for file in files))}"
    yield f"Files{f' in {path}' if path else ''}: {total}"
    yield f"{'size':>14}  {'files':>9}  path"
    yield from _tree(held, path, depth, "")


def _tree(held: Contents, folder: str, depth: int, indent: str) -> Iterator[str]:
    nodes = held.children(folder)
    for node in nodes[:LONGEST_FOLDER]:
        yield _node_line(node, indent)
        if depth > 1 and node.kind == "directory":
            yield from _tree(held, node.path, depth - 1, f"{indent}  ")
    if len(nodes) > LONGEST_FOLDER:
        yield f"{'':27}{indent}... and {len(nodes) - LONGEST_FOLDER:,} more; --json lists all"


def _node_line(node: Node, indent: str) -> str:
    is_folder = node.kind == "directory"
    name = node.path.rpartition("/")[2]
    mark = "/" if is_folder else "" if node.kind == "file" else f" ({node.kind})"
    return f"{size_text(node.size):>14}  {f'{node.files:,}' if is_folder else '':>9}  {indent}{name}{mark}"
