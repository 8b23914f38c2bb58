"""Schemas of MySQL and MariaDB as restores need them: new, emptied, marked as unfinished, dropped.

A schema that a restore is filling holds a view that says so, its mark. It survives a killed
restore: the next restore then starts over, and a dump refuses the incomplete schema.

A restore believes a mark only if it belongs to the restore connection's own account, because the server lets no other
account make such a view (it takes SET USER or SET_ANY_DEFINER), and if it names its schema, so that a copy elsewhere
counts for nothing. A dump is refused for any table or view of that name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from lifeboat.databases import Dump
from lifeboat.databases.mysql.dump import UNFINISHED, Session, is_of_driver
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.errors import RestoreError
from lifeboat.text import listed

DENIED = 1227
SHOW_DATABASES = "SHOW DATABASES"
TAKEN = 1050
STAYING = 2  # the column of a mark that lists the tables that its restore does not touch
PATIENCE = 30  # seconds to wait for users of what is to be replaced; servers wait for a day


def names(session: Session) -> set[str]:
    """Return the names of all schemas that this user may see."""
    return {name for (name,) in session.query("SELECT schema_name FROM information_schema.schemata")}


def sees_all(session: Session) -> bool:
    """Return whether this account sees every schema, also those on which it has no right itself."""
    globally = [grant for (grant,) in session.query("SHOW GRANTS") if " ON *.* TO " in grant]
    return any(right in grant for grant in globally for right in (SHOW_DATABASES, "ALL PRIVILEGES"))


def unfinished(session: Session) -> set[str]:
    """Return the schemas that this account's marks call unfinished."""
    ((account,),) = session.query("SELECT CURRENT_USER()")
    query = "SELECT table_schema, definer FROM information_schema.views WHERE table_name = %s"
    marks = session.query(query, UNFINISHED)
    return {schema for schema, definer in marks if definer == account and _is_marked(session, schema)}


def _is_marked(session: Session, schema: str) -> bool:
    """Return whether a view of this account has the form of a mark, and names its schema."""
    return [row[0] for row in _marks(session, schema)] == [schema]


def _marks(session: Session, schema: str) -> list[tuple[Any, ...]]:
    try:
        return session.query(f"SELECT * FROM {_mark(schema)}")  # noqa: S608  # quoted
    except Exception as error:
        if not is_of_driver(error):
            raise
        return []


def vacant(session: Session) -> set[str]:
    """Return the schemas that hold nothing to lose: left unfinished by a restore, or empty as before its first step."""
    empty = session.query(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN"
        " (SELECT table_schema FROM information_schema.tables"
        " UNION SELECT routine_schema FROM information_schema.routines"
        " UNION SELECT event_schema FROM information_schema.events)"
    )
    with_libraries = {schema for schema, _, _ in libraries(session)}
    return {name for (name,) in empty} - with_libraries | unfinished(session)


def libraries(session: Session) -> list[tuple[str, str, str]]:
    """Return schema, name and owner of each library; MySQL 9 has such."""
    if not session.query(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = 'information_schema' AND table_name = 'LIBRARIES'"
    ):
        return []
    query = "SELECT library_schema, library_name, creator FROM information_schema.libraries"
    return [(schema, name, creator) for schema, name, creator in session.query(query)]


def create(session: Session, schema: str, character_set: str, collation: str) -> None:
    """Make a schema that is not there: the server has the last word on that, whatever it makes of upper and lower case.

    :param character_set: of the schema, and its collation; the server's when empty.
    """
    charset = f" CHARACTER SET {character_set} COLLATE {collation}" if character_set else ""
    session.execute(f"CREATE DATABASE {backquoted(schema)}{charset}".encode())


def staying(session: Session, schema: str, captured: Dump) -> dict[str, str]:
    """Return the tables of a schema that a restore leaves as they are, because the dump lacks their rows.

    A table that the dump defines does so only if it has rows: nothing but its definition can be lost otherwise.

    What an unfinished restore had begun to fill does not stay, for nobody knows how many of its rows came.

    :returns: their names, by those that the dump has for them.
    """
    stayed = _stayed(session, schema)
    ((folds,),) = session.query("SELECT @@lower_case_table_names")
    rows = session.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", schema)
    there = {name.lower() if int(folds) else name: name for (name,) in rows}
    named = ((name, there.get(name.lower() if int(folds) else name)) for name in captured.without_rows)
    defined = frozenset(captured.structure_only)
    return {
        name: own
        for name, own in named
        if own and (stayed is None or own in stayed) and (name not in defined or _has_rows(session, schema, own))
    }


def _stayed(session: Session, schema: str) -> frozenset[str] | None:
    """Return the tables that the restore which left a schema unfinished did not touch; None where none left it so.

    Marks of versions before do not tell.
    """
    (mark,) = _marks(session, schema) if schema in unfinished(session) else [()]
    return frozenset(json.loads(mark[STAYING])) if len(mark) > STAYING else None


def _has_rows(session: Session, schema: str, table: str) -> bool:
    return bool(session.query(f"SELECT 1 FROM {backquoted(schema)}.{backquoted(table)} LIMIT 1"))  # noqa: S608  # quoted


def drop_triggers(session: Session, schema: str, tables: Iterable[str]) -> None:
    """Drop the triggers of some tables."""
    query = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s AND event_object_table = %s"
    for table in tables:
        for (name,) in session.query(query, schema, table):
            drop_code(session, "TRIGGER", schema, name)


def begin(session: Session, schema: str, key: str, character_set: str, collation: str, keep: Collection[str]) -> None:
    """Empty a schema, and mark it as unfinished.

    :param key: of the archive that is restored.
    :param character_set: of the schema, and its collation; the server's when empty.
    :param keep: tables that stay as they are where the schema exists: the dump does not hold their rows.
    """
    session.execute(f"SET SESSION lock_wait_timeout = {PATIENCE}".encode())
    charset = f" CHARACTER SET {character_set} COLLATE {collation}" if character_set else ""
    was_left = schema in unfinished(session)
    # Before anything is dropped: what is left by a crash from here on must not pass for a database.
    _set_mark(session, schema, key, keep, again=was_left)
    if beyond := _mightier(session, schema, _mark(schema)):
        if not was_left:
            finish(session, schema)
        raise RestoreError(
            f"Code in {schema!r} belongs to {listed(beyond)}, and the restore connection is not allowed to "
            "replace it: nothing was changed.",
            "Grant its user SYSTEM_USER on *.*, or give that code to an account without it.",
        )
    _empty(session, schema, {*keep, UNFINISHED})
    if charset:
        session.execute(f"ALTER DATABASE {backquoted(schema)}{charset}".encode())


def _set_mark(session: Session, schema: str, key: str, keep: Iterable[str], *, again: bool) -> None:
    """Mark a schema as unfinished.

    :param keep: tables that stay as they are, which the mark tells the next restore.
    :param again: this account's own mark is there.
    :raises RestoreError: somebody else's is, or what looks like one.
    """
    said = (f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)" for text in (schema, key, json.dumps(sorted(keep))))
    called = ("restored", "archive", "staying")
    columns = ", ".join(f"{text} AS {name}" for name, text in zip(called, said, strict=True))
    create = "CREATE OR REPLACE" if again else "CREATE"
    try:
        session.execute(f"{create} VIEW {_mark(schema)} AS SELECT {columns}".encode())
    except Exception as error:
        if not is_of_driver(error) or error.args[0] != TAKEN:
            raise
        raise RestoreError(
            f"Schema {schema!r} holds {UNFINISHED!r}, which the account of the restore connection did not make:"
            " nothing was changed.",
            f"Find out whether the schema is complete, then drop {UNFINISHED} there, and restore again.",
        ) from error


def _mark(schema: str) -> str:
    return f"{backquoted(schema)}.{backquoted(UNFINISHED)}"


def _mightier(session: Session, schema: str, there: str) -> list[str]:
    """Return the owners of code whose code MySQL lets only those replace who have SYSTEM_USER, as they have themselves.

    :param there: a view that is there, so that none is made: the server looks at the owner first.
    """
    owners = {
        owner
        for what, place in (("view", "table"), ("routine", "routine"), ("event", "event"))
        for (owner,) in session.query(
            f"SELECT definer FROM information_schema.{what}s WHERE {place}_schema = %s",  # noqa: S608  # of the line above
            schema,
        )
    } | {owner for of, _, owner in libraries(session) if of == schema}
    found = []
    for owner in sorted(owners):
        user, _, host = owner.rpartition("@")
        try:
            session.execute(f"CREATE DEFINER={backquoted(user)}@{backquoted(host)} VIEW {there} AS SELECT 1".encode())
        except Exception as error:
            if not is_of_driver(error):
                raise
            if error.args[0] == DENIED and "SYSTEM_USER" in str(error.args[1]):
                found.append(owner)
    return found


def finish(session: Session, schema: str) -> None:
    """Take the mark away: the schema is whole."""
    session.execute(f"DROP VIEW {_mark(schema)}".encode())


def drop(session: Session, schema: str) -> None:
    """Drop a schema with all that is in it, the mark last: a server may die in the middle."""
    _empty(session, schema, {UNFINISHED})
    session.execute(f"DROP DATABASE IF EXISTS {backquoted(schema)}".encode())


def _empty(session: Session, schema: str, keep: Collection[str]) -> None:
    """Drop everything in a schema but some tables; grants on the schema stay."""
    session.execute(b"SET SESSION foreign_key_checks = 0")
    tables = session.query(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", schema
    )
    for name, kind in tables:
        if name not in keep:
            what = kind if kind in ("VIEW", "SEQUENCE") else "TABLE"
            session.execute(f"DROP {what} IF EXISTS {backquoted(schema)}.{backquoted(name)}".encode())
    routines = session.query(
        "SELECT routine_name, routine_type FROM information_schema.routines WHERE routine_schema = %s", schema
    )
    # A package goes before its body: dropping the one drops the other.
    for name, kind in sorted(routines, key=lambda routine: routine[1]):
        drop_code(session, kind, schema, name)
    for name in [name for of, name, _ in libraries(session) if of == schema]:  # routines that use them are gone
        session.execute(f"DROP LIBRARY IF EXISTS {backquoted(schema)}.{backquoted(name)}".encode())
    for (name,) in session.query("SELECT event_name FROM information_schema.events WHERE event_schema = %s", schema):
        session.execute(f"DROP EVENT IF EXISTS {backquoted(schema)}.{backquoted(name)}".encode())


def drop_code(session: Session, kind: str, schema: str, name: str) -> None:
    """Drop a view, trigger, routine, package, library or event, if it is there."""
    is_package = kind.startswith("PACKAGE")
    if is_package:  # older servers know the statement in this mode only
        session.execute(b"SET SESSION sql_mode = 'ORACLE'")
    session.execute(f"DROP {kind} IF EXISTS {backquoted(schema)}.{backquoted(name)}".encode())
    if is_package:
        session.execute(b"SET SESSION sql_mode = DEFAULT")
