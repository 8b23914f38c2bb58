"""Comparison of a restored database with the captured one: pure functions of two dumps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lifeboat.databases import OTHER_SCHEMA, Dump
from lifeboat.errors import MismatchError
from lifeboat.text import plural

NAMED = 20  # differences that a message names
OTHER_DEFINITION = "has a different definition"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was captured.

    :param kind: of the object: ``table``, ``view``, ``trigger`` ...
    :param what: how it differs, as text.
    :param fatal: False where another server version may merely print the same definition in other words.
    """

    kind: str
    name: str
    what: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} {self.what}"


def refuse(what: str, differences: Iterable[Difference], hint: str) -> None:
    """Refuse what differs, naming the first differences.

    :param what: what is not as it was captured.
    :raises MismatchError: there are differences that nothing excuses.
    """
    fatal = [str(difference) for difference in differences if difference.fatal]
    if fatal:
        more = f" and {len(fatal) - NAMED} more" if len(fatal) > NAMED else ""
        raise MismatchError(f"{what}: {'; '.join(fatal[:NAMED])}{more}.", hint)


def differences(
    captured: Dump, restored: Dump, tables: Collection[str] = (), left_out: Collection[tuple[str, str]] = ()
) -> list[Difference]:
    """Compare a database with its restored copy: every table's rows and definition, every other object's definition.

    :param captured: what the archive's manifest says.
    :param restored: what a fresh dump of the copy says.
    :param tables: compare only these; the whole database when empty.
    :param left_out: kinds and names of what could not be restored; views are forgiven where they may read excluded
        tables, or the backup reported that no restore makes them. Of kind ``rows``: tables and sequences that
        extensions made.
    """
    same_server = _family(captured) == _family(restored)
    found = list(_of_tables(captured, restored, tables, same_server=same_server))
    if not tables:
        found += _of_objects(captured, restored, same_server=same_server)
    reported = {("view", limit.name) for limit in captured.limits if limit.kind == OTHER_SCHEMA}
    forgiven = [
        (*each, "is missing") for each in left_out if each[0] != "view" or captured.excluded_tables or each in reported
    ]
    unfilled = {name for kind, name in left_out if kind == "rows"}
    return [
        each
        for each in found
        if (each.kind, each.name, each.what) not in forgiven
        and not (each.kind in ("table", "sequence") and each.name in unfilled)
    ]


def _of_tables(captured: Dump, restored: Dump, only: Collection[str], *, same_server: bool) -> Iterable[Difference]:
    before = {table.name: table for table in captured.tables if not only or table.name in only}
    after = {table.name: table for table in restored.tables}
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            yield Difference("table", name, "is missing")
            continue
        if was.rows != now.rows:
            yield Difference("table", name, f"has {plural(now.rows, 'row')}, and had {was.rows}")
        elif was.order == now.order and was.sha256 != now.sha256:
            yield Difference("table", name, f"holds other data in its {plural(now.rows, 'row')}")
        if was.definition_sha256 != now.definition_sha256:
            # By itself, a table comes without foreign keys to others.
            yield Difference("table", name, OTHER_DEFINITION, fatal=same_server and not only)
    for name in after.keys() - before.keys() if not only else ():
        yield Difference("table", name, "was not captured")


def _of_objects(captured: Dump, restored: Dump, *, same_server: bool) -> Iterable[Difference]:
    before, after = _definitions(captured), _definitions(restored)
    for (kind, name), definition in before.items():
        if (kind, name) not in after:
            yield Difference(kind, name, "is missing")
        elif after[kind, name] != definition:
            yield Difference(kind, name, OTHER_DEFINITION, fatal=same_server)
    for kind, name in after.keys() - before.keys():
        yield Difference(kind, name, "was not captured")


def _definitions(dump: Dump) -> Mapping[tuple[str, str], str]:
    return {(entry.kind, entry.name): entry.definition_sha256 for entry in dump.objects}


def _family(dump: Dump) -> Any:
    """Return what two servers must share for the same definition to be printed in the same words."""
    told = {"mysql": 2, "postgresql": 1, "sqlite": 0}[dump.engine]  # SQLite keeps definitions as they were typed
    return dump.engine, re.findall(r"\d+", dump.server)[:told], "MariaDB" in dump.server
