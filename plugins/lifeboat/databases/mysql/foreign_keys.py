"""Foreign keys as a load makes and checks them: dumps are loaded with that check off."""

from __future__ import annotations

from collections.abc import Iterable

from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql.definitions import ForeignKey, Table
from lifeboat.databases.mysql.dump import Session
from lifeboat.databases.mysql.target import DENIED, RefusedError, query, run
from lifeboat.databases.sql.quoting import name_of
from lifeboat.text import plural


def without_parent(key: ForeignKey, tables: Iterable[str], *, done: str) -> str:
    """Return the warning of a key whose parent is none of the tables that were loaded; empty where it is one.

    :param done: with the key.
    """
    parent = name_of(key.parent)
    return "" if parent in tables else f"{key.title} was {done}: table {parent!r} does not exist"


def add_beyond(session: Session, table: Table, key: ForeignKey) -> str:
    """Add a foreign key to a table of another schema; return a warning where who loads may not reach that.

    :raises RestoreError: it failed for another reason.
    """
    try:
        run(session, definitions.add_foreign_keys(table, [key]), f"Adding {key.title}", private=True)
    except RefusedError as refusal:
        if refusal.number not in DENIED:
            raise
        return f"{key.title} was left out: it refers to schema {name_of(key.schema)!r}"
    return ""


def orphans(session: Session, key: ForeignKey) -> str:
    """Say how many rows lack their parents: the dumped database let them in; empty where none does."""
    ((count,),) = query(session, key.orphans, f"Checking {key.title}")
    return f"{key.title} names: {plural(count, 'row')}" if count else ""


def warning_of(orphans: str) -> str:
    """Return the warning of rows without parents."""
    return f"rows lack the parents that {orphans}"
