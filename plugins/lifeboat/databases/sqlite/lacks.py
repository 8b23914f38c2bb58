"""Parts of a SQLite database that only its application provides: collations, functions, modules.

Found by making everything that a database holds once more, in memory and without a row, as a restore would.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from lifeboat.databases import BY_HAND, Limit
from lifeboat.databases.sql.quoting import quoted, unquoted

COLLATION = "collations of the application, by which its indexes must be sorted anew"
OWN = {"BINARY", "NOCASE", "RTRIM"}  # collations of SQLite itself

QUOTES = "\"'`["  # around names
_COLLATE = re.compile(
    r"""\bCOLLATE\s*("(?:[^"]|"")+"|'(?:[^']|'')+'|`(?:[^`]|``)+`|\[[^\]]+\]|(?<=\s)[^\W\d][\w$]*)""", re.IGNORECASE
)
_LACK = re.compile(r"(?:no such|unknown) (collation sequence|function|module): (.+?)(?:\(\))?")


@dataclass(frozen=True)
class Object:
    """A table, index, view or trigger.

    :param kind: as SQLite calls it; ``virtual`` for a virtual table.
    :param table: that it is about.
    """

    kind: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True)
class Lack:
    """Something that an object needs and SQLite has not.

    :param kind: ``collation sequence``, ``function`` or ``module``; empty where `what` says why it cannot be made.
    """

    kind: str
    what: str
    of: Object


def stand_in(database: sqlite3.Connection, sql: str, known: set[str]) -> None:
    """Let a connection sort by the bytes of texts wherever a definition names a collation that SQLite has not.

    What is equal there is equal by any collation, so no text that was unique is not.

    :param known: what the connection has besides SQLite's own, in upper case; takes what it gets.
    """
    for spelled in _COLLATE.findall(sql):
        name = unquoted(spelled, QUOTES)
        if name.upper() not in known | OWN:
            known.add(name.upper())
            database.create_collation(name, _by_bytes)


def _by_bytes(first: str, second: str) -> int:
    return (first > second) - (first < second)


def lacks(objects: Iterable[Object]) -> list[Lack]:
    """Return what objects need and SQLite has not: each thing once, with the first that needs it.

    :param objects: in the order in which they can be made.
    """
    objects = list(objects)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as rehearsal:
        rehearsal.execute("PRAGMA foreign_keys = OFF")
        made = [lack for each in objects for lack in _run(rehearsal, each, each.sql)]
        used = [lack for each in objects for sql in _uses(rehearsal, each) for lack in _run(rehearsal, each, sql)]
    return [*made, *(lack for lack in used if lack.kind)]  # a view may be broken as it is


def _run(rehearsal: sqlite3.Connection, of: Object, sql: str) -> Iterator[Lack]:
    """Run a statement; what it lacks is yielded, and stands in from then on."""
    known: set[str] = set()
    while True:
        try:
            rehearsal.execute(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            found = _LACK.fullmatch(str(error))
            if not found or found[0] in known:
                yield Lack("", str(error), of)
                return
            known.add(found[0])
            yield Lack(found[1], found[2], of)
            if found[1] == "module":
                return
            if found[1] == "function":
                rehearsal.create_function(found[2], -1, lambda *_: None, deterministic=True)
            else:
                rehearsal.create_collation(found[2], _by_bytes)
        else:
            return


def _uses(rehearsal: sqlite3.Connection, of: Object) -> Iterator[str]:
    """Yield statements that reach what runs later: a view, the triggers of a table. They find no row."""
    table = quoted(of.table)
    if of.kind == "view":
        yield f"SELECT * FROM {table} LIMIT 0"  # noqa: S608  # quoted
    if of.kind == "trigger":
        try:
            rows = rehearsal.execute(f"PRAGMA table_xinfo({table})").fetchall()
        except sqlite3.Error:
            return
        columns = [quoted(name) for _, name, _, _, _, _, hidden in rows if not hidden]
        for column in columns[:1]:
            yield f"INSERT INTO {table} ({column}) SELECT {column} FROM {table} WHERE 0"  # noqa: S608  # quoted
            yield f"UPDATE {table} SET {', '.join(f'{each} = {each}' for each in columns)} WHERE 0"  # noqa: S608
            yield f"DELETE FROM {table} WHERE 0"  # noqa: S608


def limits(found: Iterable[Lack]) -> Iterator[Limit]:
    """Yield what keeps a restore from bringing everything back, or anything."""
    version = sqlite3.sqlite_version
    for lack in found:
        of, what = f"{_KINDS.get(lack.of.kind, lack.of.kind)} {lack.of.name!r}", repr(lack.what)
        if lack.kind == "collation sequence":
            text = f"collation {what} is the application's, as in {of}: a restore sorts by bytes instead"
            reindex = f"REINDEX {quoted(lack.what)}"
            yield Limit(COLLATION, lack.what, f"{text}; run {reindex} in the application before it is used")
        elif lack.of.kind in ("view", "trigger") and lack.kind:
            continue  # comes back as it was
        elif lack.kind:
            text = f"{of} needs {lack.kind} {what}, which SQLite {version} of this worker lacks"
            yield Limit(BY_HAND, lack.of.name, f"{text}: the application or a newer SQLite provides it")
        else:
            yield Limit(BY_HAND, lack.of.name, f"{of} cannot be made by SQLite {version} of this worker: {lack.what}")


def warnings(found: Iterable[Lack]) -> Iterator[str]:
    """Yield what somebody who uses the restored database must bring along."""
    for lack in found:
        if lack.of.kind in ("view", "trigger") and lack.kind in ("function", "module"):
            yield f"{lack.of.kind} {lack.of.name!r} needs {lack.kind} {lack.what!r}, which the application provides"


_KINDS = {"virtual": "virtual table"}
