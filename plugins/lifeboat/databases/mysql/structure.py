"""Tables that a dump holds without their rows: their definitions and triggers, as the stock client writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lifeboat.databases import Limit
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql.limits import Choice
from lifeboat.databases.mysql.passing import END, TABLE, Regions, check_ended
from lifeboat.databases.mysql.position import Nowhere
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


def written(task: Task) -> Structure:
    """Return the tables of a dump that it holds without their rows.

    :raises DumpError: the client failed, or wrote other tables.
    """
    from lifeboat.databases.mysql.dump import dump_command, option_file_text

    if not task.without_rows:
        return Structure()
    client, choice = task.begun.client, Choice()
    reader = Regions(task.definitions(), Nowhere(""), [(TABLE,), (END,)])
    with secret_file(option_file_text(task.server, client)) as (secret, path):
        command = dump_command(client, path, task.begun.database, (), choice, rows=False, only=task.without_rows)
        with child(command, [secret]) as running:
            pieces = [piece for chunk in task.watch.passing(running) for piece in reader.pieces(chunk)]
            pieces += reader.rest()
            check_ended(running, choice)
            digest = reader.finish(running)
    if {table.name for table in digest.tables} != set(task.without_rows) or digest.rows or not reader.is_divided():
        raise DumpError(
            f"{client.version} wrote something else than the structure of the tables under exclude_rows.",
            "Take them out of exclude_rows, and report this.",
        )
    return Structure(b"".join(piece for region, piece in pieces if region == 1), digest, reader.limits)
