"""What a restore of a PostgreSQL dump will not bring back, or not at all, as the server's catalog tells.

Restores refuse superusers, because code in a dump would run as one. So what only superusers make is loaded by hand, or
left out where the dump loads without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lifeboat.databases import BY_HAND, EXCLUDED_PARENT, Limit
from lifeboat.databases.postgresql_statements import RefusedStatementError

if TYPE_CHECKING:
    from psycopg import Connection

    from lifeboat.errors import RestoreError

LEFT_OUT = "what only superusers make, and a restore leaves out"
SUBSCRIPTION = "subscriptions, which a copy must not have"

IN_SCHEMA = 150_000  # since this version, a publication may be of all tables in a schema
UNCHECKED_IF_PARTITIONED = 180_000  # since this version, a foreign key of a partitioned table may be NOT VALID
# Functions, types and the like: the dump does not load without them.
_SUPERUSERS_ONLY = """
SELECT what, name FROM (
  SELECT p.tableoid AS class, p.oid, proname AS name, 'function ' || p.oid::regprocedure ||
         CASE WHEN lanpltrusted THEN ' is LEAKPROOF' ELSE ' is in language ' || quote_ident(lanname) END AS what
  FROM pg_proc p JOIN pg_language l ON l.oid = prolang
  WHERE (NOT lanpltrusted AND prokind <> 'a') OR proleakproof  -- aggregates have no language of their own
  UNION ALL SELECT p.tableoid, p.oid, proname, 'function ' || p.oid::regprocedure || ' sets ' || s.name
  FROM pg_proc p, unnest(proconfig) c JOIN pg_settings s ON s.name = split_part(c, '=', 1)
  WHERE context NOT IN ('user', 'backend')
  UNION ALL SELECT t.tableoid, t.oid, typname, 'type ' || t.oid::regtype || ' has functions for its values'
  FROM pg_type t
  WHERE (typtype = 'b' OR NOT typisdefined) AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
  UNION ALL SELECT tableoid, oid, opcname, 'operator class ' || quote_ident(opcname) FROM pg_opclass
  UNION ALL SELECT tableoid, oid, opfname, 'operator family ' || quote_ident(opfname) FROM pg_opfamily
  UNION ALL SELECT tableoid, oid, castsource::regtype::text,
         format('cast of %s as %s is WITHOUT FUNCTION', castsource::regtype, casttarget::regtype)
  FROM pg_cast WHERE castmethod = 'b'
  UNION ALL SELECT tableoid, oid, prsname, 'text search parser ' || quote_ident(prsname) FROM pg_ts_parser
  UNION ALL SELECT tableoid, oid, tmplname, 'text search template ' || quote_ident(tmplname) FROM pg_ts_template
) made
WHERE oid >= 16384  -- the server's own are below
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = made.class AND objid = made.oid AND deptype = 'e')
ORDER BY 1
"""
# What the dump loads without.
_LEFT_OUT = """
SELECT 'event trigger ' || quote_ident(evtname), evtname FROM pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM pg_depend WHERE classid = e.tableoid AND objid = e.oid AND deptype = 'e')
UNION ALL SELECT 'publication ' || quote_ident(pubname) || ' of all tables', pubname FROM pg_publication
WHERE puballtables
"""
_LEFT_OUT_SCHEMAS = """
SELECT DISTINCT 'publication ' || quote_ident(pubname) || ' of all tables in a schema', pubname
FROM pg_publication p JOIN pg_publication_namespace ON pnpubid = p.oid
"""
_SUBSCRIPTIONS = """
SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database() ORDER BY 1
"""
_TO_EXCLUDED = """
WITH named AS (
  SELECT c.oid, relkind,
         CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p')
)
SELECT quote_ident(conname), child.name, parent.name, child.relkind = 'p'
FROM pg_constraint JOIN named child ON child.oid = conrelid JOIN named parent ON parent.oid = confrelid
WHERE contype = 'f' AND convalidated AND conparentid = 0
AND parent.name = ANY(%(excluded)s) AND child.name <> ALL(%(excluded)s) ORDER BY 2, 1
"""


def of_catalog(session: Connection[Any], excluded: Iterable[str]) -> Iterator[Limit]:
    """Yield what the catalog tells.

    :param session: to the database.
    :param excluded: tables whose rows are left out.
    """
    for what, name in session.execute(_SUPERUSERS_ONLY).fetchall():
        yield Limit(BY_HAND, name, f"{what}: only a superuser makes it, and no restore runs as one")
    left_out = session.execute(_LEFT_OUT).fetchall()
    if session.info.server_version >= IN_SCHEMA:
        left_out += session.execute(_LEFT_OUT_SCHEMAS).fetchall()
    for what, name in left_out:
        yield Limit(LEFT_OUT, name, f"{what}: only a superuser makes it, and a restore leaves it out")
    for (name,) in session.execute(_SUBSCRIPTIONS).fetchall():
        text = f"subscription {name!r}: a restore leaves it out, for a copy must not take part in replication"
        yield Limit(SUBSCRIPTION, name, text)
    for key, table, parent, is_partitioned in session.execute(_TO_EXCLUDED, {"excluded": list(excluded)}).fetchall():
        text = f"foreign key {key} of table {table!r} refers to table {parent!r}, whose rows are excluded"
        if is_partitioned and session.info.server_version < UNCHECKED_IF_PARTITIONED:
            yield Limit(
                BY_HAND, f"{table}.{key}", f"{text}, and that of a partitioned table must be checked: leave it out"
            )
        else:
            yield Limit(EXCLUDED_PARENT, f"{table}.{key}", f"{text}: a restore cannot check it, and makes it NOT VALID")


def of_refused(refused: Iterable[RestoreError]) -> Iterator[Limit]:
    """Yield why the statements of a dump that no restore runs keep all of it from being restored, each once."""
    seen: set[str] = set()
    for error in refused:
        if error.message not in seen:
            seen.add(error.message)
            name = error.name if isinstance(error, RefusedStatementError) else ""
            yield Limit(BY_HAND, name, error.message.rstrip("."))
