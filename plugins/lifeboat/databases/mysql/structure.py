"""Tables that a dump holds without their rows: their definitions and triggers, as the stock client writes them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lifeboat.databases import Limit
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql.limits import Choice
from lifeboat.databases.mysql.passing import END, TABLE, Regions, check_ended
from lifeboat.databases.mysql.position import Nowhere
from lifeboat.databases.shares import MOST_NAMED
from lifeboat.errors import DumpError
from lifeboat.support.processes import child, secret_file

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Task


class Structure(NamedTuple):
    """Definitions of tables, as part of a dump.

    :param sql: goes behind the other tables.
    """

    sql: bytes = b""
    digest: DumpDigest = DumpDigest((), (), complete=True)
    limits: tuple[Limit, ...] = ()

    def with_more(self, more: Structure) -> Structure:
        """Return these definitions, and more behind them."""
        tables, objects = (*self.digest.tables, *more.digest.tables), (*self.digest.objects, *more.digest.objects)
        return Structure(self.sql + more.sql, DumpDigest(tables, objects, complete=True), (*self.limits, *more.limits))


def written(task: Task) -> Structure:
    """Return the tables of a dump that it holds without their rows.

    :raises DumpError: the client failed, or wrote other tables.
    """
    return functools.reduce(
        Structure.with_more, (_written(task, some) for some in _some(task.without_rows)), Structure()
    )


def _some(tables: Iterable[str]) -> Iterator[list[str]]:
    """Yield tables, as many at a time as the arguments of a program can name."""
    some, room = list[str](), MOST_NAMED
    for table in tables:
        some.append(table)
        room -= len(table.encode())
        if room < 0:
            yield some
            some, room = [], MOST_NAMED
    if some:
        yield some


def _written(task: Task, tables: Sequence[str]) -> Structure:
    from lifeboat.databases.mysql.dump import dump_command, option_file_text

    client, choice = task.begun.client, Choice()
    reader = Regions(task.definitions(), Nowhere(""), [(TABLE,), (END,)])
    with secret_file(option_file_text(task.server, client)) as (secret, path):
        command = dump_command(client, path, task.begun.database, choice, rows=False, only=tables)
        with child(command, [secret]) as running:
            pieces = [piece for chunk in task.watch.passing(running) for piece in reader.pieces(chunk)]
            pieces += reader.rest()
            check_ended(running, choice)
            digest = reader.finish(running)
    if {table.name for table in digest.tables} != set(tables) or digest.rows or not reader.is_divided():
        raise DumpError(
            f"{client.version} wrote something else than the structure of the tables under exclude_rows.",
            "Take them out of exclude_rows, and report this.",
        )
    return Structure(b"".join(piece for region, piece in pieces if region == 1), digest, reader.limits)
