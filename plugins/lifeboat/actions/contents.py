"""The contents of an archive, from which a user picks what to restore: its tables, and its files by folder."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from lifeboat.actions import stored_archive
from lifeboat.archive.listing import Entry, Kind
from lifeboat.archive.read import ArchiveReader
from lifeboat.databases import Dump, LogPosition, log_position_text
from lifeboat.decide import restore_plan
from lifeboat.files import layout
from lifeboat.settings.config import Settings
from lifeboat.storage import Destination

if TYPE_CHECKING:
    from lifeboat.site import Site

PATH = itemgetter(0)
BEHIND_SLASH = "0"  # the character after "/": what begins with "a/" ends before "a0"


class Table(NamedTuple):
    """A table of a dump."""

    name: str
    rows: int


@dataclass(frozen=True)
class HeldDatabase:
    """A database in an archive.

    :param tables: None where no manifest describes them.
    :param objects: how many views, triggers and so on, by kind.
    :param sql_bytes: None if unknown.
    :param position: in the server's binary log; None where it is not known.
    :param no_position: the reason, if there is one.
    :param structure_only: tables that the backup holds without their rows.
    :param left_out: tables and views that it does not hold.
    """

    name: str
    tables: tuple[Table, ...] | None = None
    objects: Mapping[str, int] | None = None
    sql_bytes: int | None = None
    position: LogPosition | None = None
    no_position: str = ""
    structure_only: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def log_position(self) -> str:
        """The position in the binary log as text, or why there is none; empty where nothing is known of it."""
        return log_position_text(self.position, self.no_position)


class HeldFile(NamedTuple):
    """A file, folder or link in an archive.

    :param path: as a restore takes it.
    """

    path: str
    kind: Kind
    size: int


class Node(NamedTuple):
    """An item of a folder: a file or link, or a folder with all that is below it.

    :param files: files and links, itself included.
    """

    path: str
    kind: Kind
    files: int
    size: int


@dataclass(frozen=True)
class Contents:
    """The contents of an archive.

    :param files: sorted by path.
    :param warnings: of the backup.
    """

    databases: tuple[HeldDatabase, ...]
    files: Sequence[HeldFile]
    note: str = ""
    warnings: tuple[str, ...] = ()

    def below(self, path: str) -> Sequence[HeldFile]:
        """Return what is at a path and below it; everything when it is empty."""
        return [*self._at(path), *self._inside(path)] if path else self.files

    def children(self, path: str) -> list[Node]:
        """Return what is directly in a folder, folders first, or a file itself.

        :param path: of the root when empty.
        """
        if alone := [file for file in self._at(path) if file.kind != "directory"]:
            return [Node(*alone[0][:2], 1, alone[0].size)]
        start = len(path) + 1 if path else 0
        kinds: dict[str, Kind] = {}
        files: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for inside, kind, size in self._inside(path):
            end = inside.find("/", start)
            child = inside if end < 0 else inside[:end]
            kinds[child] = "directory" if end >= 0 else kind
            files[child] += kind != "directory"
            sizes[child] += size
        nodes = [Node(child, kind, files[child], sizes[child]) for child, kind in kinds.items()]
        return sorted(nodes, key=lambda node: (node.kind != "directory", node.path))

    def _at(self, path: str) -> Sequence[HeldFile]:
        found = bisect_left(self.files, path, key=PATH)
        return [file for file in self.files[found : found + 1] if file.path == path]

    def _inside(self, folder: str) -> Sequence[HeldFile]:
        if not folder:
            return self.files
        begin = bisect_left(self.files, f"{folder}/", key=PATH)
        return self.files[begin : bisect_left(self.files, folder + BEHIND_SLASH, lo=begin, key=PATH)]


def read(site: Site, destination: Destination, application: str, key: str) -> Contents:
    """Read what an archive holds, by its list of names and its manifest: nothing else of it is fetched.

    :raises LifeboatError: it cannot be read, or is not what it seems to be.
    """
    with stored_archive.opened(site, destination, application, key) as reader:
        held, root = _described(site.settings, reader, application)
        located: Iterable[tuple[str, Entry]] = ((entry.path, entry) for entry in reader.each_file())
        if root:
            located, _ = layout.below_root(reader.files(), root)
        return replace(held, files=sorted(HeldFile(path, entry.kind, entry.size) for path, entry in located if path))


def _described(settings: Settings, reader: ArchiveReader, application: str) -> tuple[Contents, str]:
    """Return what is known without the list of files, and what their paths may begin with."""
    manifest = reader.manifest()
    if manifest is None:
        return Contents(_foreign_databases(settings, reader, application), ()), _root(settings, application)
    return Contents(tuple(map(_held, manifest.databases)), (), manifest.note, manifest.warnings), ""


def _held(dump: Dump) -> HeldDatabase:
    tables = tuple(Table(table.name, table.rows) for table in dump.tables)
    objects = dict(Counter(each.kind for each in dump.objects))
    bare = dump.structure_only
    left_out = tuple(name for name in dump.without_rows if name not in bare)
    return HeldDatabase(
        *(dump.database, tables, objects, dump.sql_bytes, dump.position, dump.no_position), bare, left_out
    )


def _foreign_databases(settings: Settings, reader: ArchiveReader, application: str) -> tuple[HeldDatabase, ...]:
    known = [database.name for database in settings.application(application).named]
    return tuple(map(HeldDatabase, restore_plan.content_of(reader.names(), "legacy", known).dumps))


def _root(settings: Settings, application: str) -> str:
    """Return what the paths in an archive of laravel-backup may begin with."""
    files = settings.application(application).files
    return str(files.root) if files else ""
