"""A PostgreSQL database that an administrator made for a restore: empty but for extensions, and never dropped.

The restore then needs no superuser: the administrator made the extensions along with the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.databases import Extension
from lifeboat.databases.postgresql.role import NOBODY, PREFIX
from lifeboat.databases.postgresql.session import groups, refusal
from lifeboat.databases.sql.quoting import quoted

if TYPE_CHECKING:
    from psycopg import Connection

NO_SCHEMA_TO_MAKE = ("public", "pg_catalog")
# Parts of other things do not count (the type of a table's rows), nor schemas of sessions' temporary tables.
_HELD = """
WITH made AS (
  SELECT tableoid AS class, oid FROM pg_class WHERE relkind NOT IN ('i', 'I', 't')
  UNION ALL SELECT tableoid, oid FROM pg_proc UNION ALL SELECT tableoid, oid FROM pg_type
  UNION ALL SELECT tableoid, oid FROM pg_operator UNION ALL SELECT tableoid, oid FROM pg_opclass
  UNION ALL SELECT tableoid, oid FROM pg_opfamily UNION ALL SELECT tableoid, oid FROM pg_am
  UNION ALL SELECT tableoid, oid FROM pg_cast UNION ALL SELECT tableoid, oid FROM pg_transform
  UNION ALL SELECT tableoid, oid FROM pg_language UNION ALL SELECT tableoid, oid FROM pg_collation
  UNION ALL SELECT tableoid, oid FROM pg_conversion UNION ALL SELECT tableoid, oid FROM pg_statistic_ext
  UNION ALL SELECT tableoid, oid FROM pg_ts_config UNION ALL SELECT tableoid, oid FROM pg_ts_dict
  UNION ALL SELECT tableoid, oid FROM pg_ts_parser UNION ALL SELECT tableoid, oid FROM pg_ts_template
  UNION ALL SELECT tableoid, oid FROM pg_event_trigger UNION ALL SELECT tableoid, oid FROM pg_publication
  UNION ALL SELECT tableoid, oid FROM pg_foreign_data_wrapper UNION ALL SELECT tableoid, oid FROM pg_foreign_server
  UNION ALL SELECT tableoid, oid FROM pg_default_acl
  UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
  UNION ALL SELECT tableoid, oid FROM pg_namespace
  WHERE nspname !~ '^pg_' AND oid NOT IN (SELECT extnamespace FROM pg_extension)
)
SELECT pg_describe_object(class, oid, 0) FROM made
WHERE (oid >= 16384 OR class = 'pg_largeobject'::regclass)  -- the server's own are below
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = made.oid AND deptype IN ('e', 'i'))
{but}ORDER BY class <> 'pg_class'::regclass, oid LIMIT 1
"""
# Casts and transforms have no owner, and depend on what has one.
_OF_OTHERS = """AND class NOT IN ('pg_cast'::regclass, 'pg_transform'::regclass) AND NOT EXISTS (
    SELECT FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
    WHERE d.datname = current_database() AND s.classid = class AND s.objid = made.oid AND s.deptype = 'o'
    AND starts_with(r.rolname, %s))
"""
_LOADERS = """
SELECT DISTINCT rolname FROM pg_shdepend JOIN pg_database d ON d.oid = dbid JOIN pg_roles r ON r.oid = refobjid
WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND starts_with(rolname, %s)
"""
_STAYING_SCHEMAS = """
SELECT format('ALTER SCHEMA %%I OWNER TO %%I', nspname, %(nobody)s::text) FROM pg_namespace n
WHERE nspowner = %(role)s::regrole AND (nspname = 'public' OR EXISTS (
    SELECT FROM pg_extension WHERE extnamespace = n.oid AND extowner <> %(role)s::regrole))
"""
# One by one, for a transaction holds a lock of each.
_MADE = """
SELECT format('DROP %%s IF EXISTS %%s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass)
FROM pg_class WHERE relowner = %(role)s::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
    AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i'))
UNION ALL SELECT format('SELECT pg_catalog.lo_unlink(%%s)', oid) FROM pg_largeobject_metadata
WHERE lomowner = %(role)s::regrole
"""


def held(session: Connection[Any]) -> str:
    """Return what a database holds besides extensions, one thing for all; empty where there is nothing."""
    return next((str(what) for (what,) in session.execute(_HELD.format(but="").encode()).fetchall()), "")


def held_by_others(session: Connection[Any]) -> str:
    """The same of what belongs to no role of a load: no restore that is under way, or was killed, made that."""
    found = session.execute(_HELD.format(but=_OF_OTHERS).encode(), [PREFIX]).fetchall()
    return next((str(what) for (what,) in found), "")


def take_back(session: Connection[Any]) -> None:
    """Drop what roles of loads made in a database, as far as this user may.

    :param session: of the restore login, to that database, which no load fills.
    """
    for (role,) in session.execute(_LOADERS, [PREFIX]).fetchall():
        asked = {"role": role, "nobody": NOBODY}
        for (sql,) in session.execute(_STAYING_SCHEMAS, asked).fetchall():
            refusal(session, [sql.encode()])
        for group in groups(sql.encode() for (sql,) in session.execute(_MADE, asked).fetchall()):
            refusal(session, group)
        refusal(session, [f"DROP OWNED BY {quoted(role)}".encode()])


def lines(login: str, extensions: Sequence[Extension]) -> Iterator[str]:
    """Yield what an administrator runs in a database, so that it can take a dump with extensions.

    :param login: that restores.
    """
    for schema in dict.fromkeys(extension.schema for extension in extensions):
        if schema not in NO_SCHEMA_TO_MAKE:
            yield f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)} AUTHORIZATION {quoted(login)};"
    for extension in extensions:
        yield f"CREATE EXTENSION {quoted(extension.name)} SCHEMA {quoted(extension.schema)};"
