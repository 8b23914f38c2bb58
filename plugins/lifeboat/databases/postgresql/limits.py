"""Limits of a PostgreSQL dump, from the server's catalog: what a restore will not bring back, or not exactly.

Restores refuse superusers, because code in a dump would run as one. So what needs a superuser is loaded manually, or
skipped if the dump loads without it. And the server of the restore connection may lack what the database had: when the
dump is taken, this server is asked what a restore there would report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lifeboat.databases import BY_HAND, EXCLUDED_PARENT, LACKED, RIGHTS, UNASKED, Limit
from lifeboat.databases.postgresql.database import (
    Properties,
    creation,
    locale_text,
    may_be_secret,
    roles,
    setting_value,
    value_of,
)
from lifeboat.databases.postgresql.role import SET_IS_A_RIGHT
from lifeboat.databases.postgresql.statements import RefusedStatementError
from lifeboat.databases.sql.quoting import literal, quoted
from lifeboat.errors import RestoreError
from lifeboat.text import listed

if TYPE_CHECKING:
    from psycopg import Connection

LEFT_OUT = "what only superusers make, and a restore leaves out"
SUBSCRIPTION = "subscriptions, which a copy must not have"
TABLESPACE = "tablespaces of tables, which no dump has"
SPACES = ("default_tablespace", "temp_tablespaces")  # settings that name some; servers take any name for them

IN_SCHEMA = 150_000  # since this version, a publication may be of all tables in a schema
UNCHECKED_IF_PARTITIONED = 180_000  # since this version, a foreign key of a partitioned table may be NOT VALID
# Functions, types and the like: the dump does not load without them.
_SUPERUSERS_ONLY = """
SELECT what, name FROM (
  SELECT p.tableoid AS class, p.oid, proname AS name, 'function ' || p.oid::regprocedure ||
         CASE WHEN NOT lanpltrusted THEN ' is in language ' || quote_ident(lanname)
              WHEN proleakproof THEN ' is LEAKPROOF' ELSE ' has a SUPPORT function' END AS what
  FROM pg_proc p JOIN pg_language l ON l.oid = prolang
  WHERE (NOT lanpltrusted AND prokind <> 'a') OR proleakproof OR prosupport <> 0  -- aggregates have no language
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
-- those of extensions, and what comes with a range type
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = made.class AND objid = made.oid AND deptype IN ('e', 'i'))
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
# Tablespaces of objects that differ from that of the database.
_TABLESPACES = """
SELECT DISTINCT spcname FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace
WHERE c.oid >= 16384 AND relkind IN ('r', 'p', 'm', 'i', 'I') ORDER BY 1
"""
# Rights that somebody gave, or took, to what CREATE DATABASE or CREATE EXTENSION makes: a load owns none of it.
_RIGHTS = """
WITH thing AS (
  SELECT tableoid AS class, oid, 'F' AS type, fdwowner AS owner, fdwacl AS acl FROM pg_foreign_data_wrapper
  UNION ALL SELECT tableoid, oid, 'S', srvowner, srvacl FROM pg_foreign_server
  UNION ALL SELECT tableoid, oid, 'f', proowner, proacl FROM pg_proc
  UNION ALL SELECT tableoid, oid, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END, relowner, relacl FROM pg_class
  WHERE relnamespace <> 'information_schema'::regnamespace  -- no client dumps rights to that
  UNION ALL SELECT tableoid, oid, 'T', typowner, typacl FROM pg_type
  UNION ALL SELECT tableoid, oid, 'l', lanowner, lanacl FROM pg_language
)
SELECT pg_describe_object(class, oid, 0) FROM thing
LEFT JOIN pg_init_privs i ON objoid = oid AND classoid = class AND objsubid = 0
WHERE acl IS DISTINCT FROM initprivs
AND (oid < 16384 OR EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = oid AND deptype = 'e'))
AND (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(acl, acldefault(type::"char", owner))) a)
IS DISTINCT FROM
(SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(initprivs, acldefault(type::"char", owner))) a)
ORDER BY 1
"""
_PROVIDERS = "SELECT DISTINCT provider FROM pg_seclabel ORDER BY 1"
NO_PROVIDER = "22023"
_ROOM = """
SELECT s, has_tablespace_privilege(spcname, 'CREATE') FROM unnest(%s::text[]) s LEFT JOIN pg_tablespace ON spcname = s
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
# Owners of objects here, except of those that an extension made for its owner, which come back with the extension. The
# server does not record what its first superuser owns, so that is searched for.
_OWNERS = """
WITH of_extension AS (
  SELECT extowner, classid, objid FROM pg_extension x
  JOIN pg_depend ON refclassid = 'pg_extension'::regclass AND refobjid = x.oid AND deptype = 'e'
  UNION ALL SELECT extowner, 'pg_extension'::regclass, oid FROM pg_extension
  UNION ALL SELECT extowner, 'pg_namespace'::regclass, extnamespace FROM pg_extension
)
SELECT DISTINCT rolname FROM pg_shdepend owned JOIN pg_database d ON d.oid = dbid JOIN pg_roles r ON r.oid = refobjid
WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND deptype = 'o'
AND NOT EXISTS (
  SELECT FROM of_extension m WHERE extowner = owned.refobjid AND m.classid = owned.classid AND m.objid = owned.objid
)
UNION SELECT rolname FROM pg_roles WHERE oid = 10 AND EXISTS (
  SELECT FROM (
    SELECT tableoid, oid FROM pg_class WHERE relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL SELECT tableoid, oid FROM pg_proc WHERE proowner = 10
    UNION ALL SELECT tableoid, oid FROM pg_namespace WHERE nspowner = 10 AND nspname !~ '^pg_'
    AND oid NOT IN (SELECT extnamespace FROM pg_extension WHERE extowner = 10)
    UNION ALL SELECT tableoid, oid FROM pg_type WHERE typowner = 10 AND typtype IN ('d', 'e', 'r')
  ) made WHERE oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = made.tableoid AND objid = made.oid AND deptype IN ('e', 'i'))
) ORDER BY 1
"""
# Who has a right to something here, or is meant by a policy.
_MEANT = """
SELECT DISTINCT rolname, deptype = 'r' FROM pg_shdepend JOIN pg_database d ON d.oid = dbid
JOIN pg_roles r ON r.oid = refobjid
WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND deptype IN ('a', 'r')
"""
# A server that only follows another takes no restore.
_MAY_RESTORE = """
SELECT rolcreatedb AND NOT rolsuper AND NOT pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user
"""
_ROLES = """
SELECT rolname, pg_has_role(oid, %(right)s) AND pg_has_role(oid, 'USAGE'), rolsuper
FROM pg_roles WHERE rolname = ANY(%(names)s)
"""
DENIED = "42501"
UNKNOWN_LOCALE = ("42809", "22023", "42704", "0A000", "42P17")


class Meant(NamedTuple):
    """The roles that the contents of a database name, and what else of a server.

    :param owning: something in it.
    :param granted: a right to something.
    :param in_policies: of row-level security.
    :param providers: no roles, but modules of the server: of security labels.
    """

    owning: Collection[str] = ()
    granted: Collection[str] = ()
    in_policies: Collection[str] = ()
    providers: Sequence[str] = ()


def meant_by(session: Connection[Any]) -> Meant:
    """Return what the contents of a database name that is none of them."""
    owning = {name for (name,) in session.execute(_OWNERS).fetchall()}
    meant = session.execute(_MEANT).fetchall()
    return Meant(
        owning,
        {name for name, is_policy in meant if not is_policy},
        {name for name, is_policy in meant if is_policy},
        [name for (name,) in session.execute(_PROVIDERS).fetchall()],
    )


def may_restore(session: Connection[Any]) -> bool:
    """Return whether a login could restore to the server that it backs up, as far as a database goes."""
    return session.execute(_MAY_RESTORE).fetchone() == (True,)


def unasked(reason: str) -> Limit:
    """Return the limit of a restore server that did not answer."""
    return Limit(UNASKED, "", f"could not check whether the restore server can take this: {reason.rstrip('.')}")


def of_older(where: str, version: int, dumped: int) -> Iterator[Limit]:
    """Yield that a server is older than the one that was dumped.

    :param version: of the one that restores, as in 150004.
    """
    if version // 10_000 < dumped // 10_000:
        text = (
            f"{where} is PostgreSQL {version // 10_000}, and the database of {dumped // 10_000}: a restore there stops"
            " where the database uses what is newer"
        )
        yield Limit(LACKED, "version", text)


def of_server(session: Connection[Any], where: str, wanted: Properties, meant: Meant) -> Iterator[Limit]:
    """Yield what a server, or the login there, lacks of what a restored database would need.

    :param session: of the restore login, to any database of that server; nothing is left of what is tried.
    :param wanted: properties of the database.
    :param meant: what its contents name.
    """
    giving = {value_of(wanted, "owner"), *meant.owning} - {""}
    names = sorted({*giving, *roles(wanted), *meant.granted, *meant.in_policies})
    has_set = session.info.server_version >= SET_IS_A_RIGHT
    asked = {"right": "SET" if has_set else "MEMBER", "names": names}
    known = {name: (may, is_super) for name, may, is_super in session.execute(_ROLES, asked).fetchall()}
    user = session.info.user
    for name in names:
        grant = f"GRANT {quoted(name)} TO {quoted(user)}{' WITH SET TRUE, INHERIT TRUE' if has_set else ''}"
        if name not in known:
            how = "stops at its policy" if name in meant.in_policies else "leaves out what it has"
            text = f"{where} has no role {name!r}: a restore there {how} (CREATE ROLE {quoted(name)})"
        elif name in giving and known[name] != (True, False):
            why = "it is a superuser, and no restore acts as one" if known[name][1] else grant
            text = (
                f"{user} cannot act as role {name!r} on {where}: a restore there gives it nothing, and replaces no"
                f" database that it owns ({why})"
            )
        else:
            continue
        yield Limit(LACKED, name, text)
    for name in meant.providers:
        label = f"SECURITY LABEL FOR {quoted(name)} ON LARGE OBJECT 0 IS NULL"
        if reason := _refusal(session, label, [NO_PROVIDER]):
            yield Limit(
                LACKED, name, f"{where} gives no security labels of {name!r}: a restore there has none ({reason})"
            )
    yield from _no_room(session, where, wanted)
    if reason := _no_such_locale(session, wanted):
        text = f"{where} cannot have a database with {locale_text(wanted)}: a restore there stops ({reason})"
        yield Limit(LACKED, "locale", text)
    for each in sorted(wanted):
        role = each.role or user
        if each.kind != "setting" or (each.role and each.role not in known):
            continue
        hides = may_be_secret(each)  # and a server logs the statements that it refuses
        value = "''" if hides else setting_value(each)
        sql = f"ALTER ROLE {quoted(role)} SET {quoted(each.name)} TO {value}"
        if reason := _refusal(session, sql, [DENIED] if hides else ()):
            of = f" of role {each.role}" if each.role else ""
            yield Limit(LACKED, each.name, f"{user} cannot set {each.name}{of} for a database on {where} ({reason})")


def _no_room(session: Connection[Any], where: str, wanted: Properties) -> Iterator[Limit]:
    """Yield the tablespaces that a server, or the login there, lacks of what a database has and its settings name."""
    own = value_of(wanted, "tablespace")
    settings = [each.value for each in wanted if each.kind == "setting" and each.name in SPACES]
    named = [name.strip(' "') for value in settings for name in value.split(",")]
    for name, may in session.execute(_ROOM, [sorted({own, *named} - {"", "pg_default"})]).fetchall():
        if may is None or (name == own and not may):
            lacks = "has no" if may is None else f"lets {session.info.user} create nothing in"
            yield Limit(LACKED, name, f"{where} {lacks} tablespace {name!r}: a restore there puts all into its own")


def _no_such_locale(session: Connection[Any], wanted: Properties) -> str:
    """Return why a server cannot have a database's locale; empty where it can, or nobody knows."""
    try:
        creation("", wanted, session.info.server_version)
    except RestoreError as error:
        return error.message.rstrip(".")
    same = "SELECT pg_encoding_to_char(encoding) = %s FROM pg_database WHERE datname = current_database()"
    if session.execute(same, [value_of(wanted, "encoding")]).fetchone() != (True,):
        return ""  # locales belong to an encoding
    options = {"LC_COLLATE": value_of(wanted, "collation"), "LC_CTYPE": value_of(wanted, "ctype")}
    listed = ", ".join(f"{option} = {literal(value)}" for option, value in options.items())
    return _refusal(session, f"CREATE COLLATION pg_temp.wanted ({listed})", UNKNOWN_LOCALE)


def _refusal(session: Connection[Any], sql: str, states: Collection[str] = ()) -> str:
    """Try a statement, and undo it; return why the server refused it.

    :param states: the SQLSTATEs that count; all when empty.
    """
    import psycopg

    try:
        with session.transaction(force_rollback=True):
            session.execute(sql.encode())
    except psycopg.Error as error:
        if session.closed:
            raise
        counts = not states or (error.sqlstate or "") in states
        return (error.diag.message_primary or type(error).__name__) if counts else ""
    return ""


def of_catalog(session: Connection[Any], excluded: Iterable[str]) -> Iterator[Limit]:
    """Yield the limits that the catalog shows.

    :param session: to the database.
    :param excluded: tables whose rows are skipped.
    """
    for what, name in session.execute(_SUPERUSERS_ONLY).fetchall():
        yield Limit(BY_HAND, name, f"{what}: only a superuser makes it, and no restore runs as one")
    left_out = session.execute(_LEFT_OUT).fetchall()
    if session.info.server_version >= IN_SCHEMA:
        left_out += session.execute(_LEFT_OUT_SCHEMAS).fetchall()
    for what, name in left_out:
        yield Limit(LEFT_OUT, name, f"{what}: only a superuser makes it, and a restore leaves it out")
    for (name,) in session.execute(_TABLESPACES).fetchall():
        text = f"tables or indexes lie in tablespace {name!r}: a restore puts them where the database is"
        yield Limit(TABLESPACE, name, text)
    if things := [what for (what,) in session.execute(_RIGHTS).fetchall()]:
        text = f"rights to what belongs to the server or to extensions, which a restore leaves out: {listed(things)}"
        yield Limit(RIGHTS, things[0], text)
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
