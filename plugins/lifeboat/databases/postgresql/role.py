"""The role that loads a dump into PostgreSQL: made for one database, owner of nothing else, gone afterwards.

Code in a dump runs while it is loaded, in a CHECK or a trigger, and the reader cannot know what it does. So it runs as
a role that may do nothing elsewhere, and is taken apart before anybody uses the database: what it made is given to its
owners by the restore login, which runs no code of the dump. A login that may not make roles loads by itself, if the
server says that it has nothing else either.

Code runs as its owner later, too: functions of SECURITY DEFINER when anybody calls them, functions in an index when the
server analyzes the table. So nothing is given to a superuser, and nothing to the restore login where the dump has
functions. What is given to nobody belongs to ``pg_database_owner``: the owner of the database has all rights to it, and
it has none itself.

A role is ours by the form of its name. The session that made it holds a lock of that name, so that the next restore or
drill on the server can tell what a killed one left, and drops it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from lifeboat.databases import Server
from lifeboat.databases.postgresql import settings
from lifeboat.databases.postgresql.session import FORGIVEN, groups, refusal
from lifeboat.databases.sql.quoting import quoted, unquoted
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError
from lifeboat.support.logs import logger
from lifeboat.text import listed

if TYPE_CHECKING:
    from psycopg import Connection

log = logger(__name__)

PREFIX = "lifeboat_load_"
CONNECTIONS = 3  # that load rows and keys at the same time
CONNECTION_LIMIT = 8  # a load has one more, a dump two; the server may take a moment to let go of those that closed
LIFETIME = timedelta(days=7)  # of the password, in case nobody ever comes to drop the role
ITERATIONS = 4096  # the server's own number
LOCK_PATIENCE = 3600  # seconds to wait for another restore of the same database
POLL = 1.0
PUBLIC_IS_OURS = 150_000  # since this version, the owner of a database owns its schema public
SET_IS_A_RIGHT = 160_000  # and since this one, members of a role need not be able to act as it
NOBODY = "pg_database_owner"  # owns what has no other owner
ON_PRODUCTION = ("no drill runs on a production server", "Or name a scratch server under drill.connection.")
IN_PREPARED = (
    "a failed load could not be removed from a prepared database",
    "Or restore into a database that does not exist yet.",
)
GRANTS = "docs/RECOVERY.md lists what a restore login needs: CREATEDB, CREATEROLE, and membership in the owners' roles."

_OURS = re.compile(PREFIX + r"[0-9a-f]{18}")
# What the login has besides what it fills: objects and rights, members, and roles that it is a member of.
_BEYOND = """
WITH me AS (SELECT oid FROM pg_roles WHERE rolname = current_user),
place AS (SELECT max(oid) AS oid FROM pg_database WHERE datname = %(place)s)
SELECT 'objects or rights in ' || coalesce(quote_ident(datname), 'the whole server')
FROM me, place, pg_shdepend LEFT JOIN pg_database other ON other.oid = dbid
WHERE refclassid = 'pg_authid'::regclass AND refobjid = me.oid AND dbid IS DISTINCT FROM place.oid
AND NOT (classid = 'pg_database'::regclass AND objid IS NOT DISTINCT FROM place.oid)
UNION SELECT 'the rights of ' || quote_ident(pg_get_userbyid(roleid)) FROM me, pg_auth_members WHERE member = me.oid
UNION SELECT 'a member ' || quote_ident(pg_get_userbyid(member)) FROM me, pg_auth_members WHERE roleid = me.oid
"""

# Whether the restore login can give something to a role, and still reach it then; and whether that could become a
# superuser. What is in a schema is given after the schema.
_OWNERS = """
SELECT rolname, pg_has_role(oid, %s), pg_has_role(oid, 'USAGE'),
  EXISTS (SELECT FROM pg_roles power WHERE rolsuper AND pg_has_role(role.oid, power.oid, 'MEMBER'))
FROM pg_roles role
"""
# What a role owns in this database; extensions have no owner in a dump.
_OWNED = """
SELECT count(*) FILTER (WHERE classid <> 'pg_extension'::regclass),
  count(*) FILTER (WHERE classid = 'pg_proc'::regclass) FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s::regrole AND deptype = 'o'
AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# An owner must be allowed to make the object in its schema, and the owner of a publication to change the database.
_ROOM = """
SELECT format('ALTER SCHEMA %%I OWNER TO %%I', nspname, %(nobody)s::text) FROM pg_namespace
WHERE nspowner = %(role)s::regrole
UNION ALL SELECT format('GRANT USAGE, CREATE ON SCHEMA %%I TO %%I', nspname, %(nobody)s::text) FROM pg_namespace
WHERE nspowner <> %(role)s::regrole AND nspname !~ '^pg_' AND nspname <> 'information_schema'
AND NOT has_schema_privilege(%(nobody)s, oid, 'CREATE')
UNION ALL SELECT format('ALTER PUBLICATION %%I OWNER TO CURRENT_USER', pubname) FROM pg_publication
WHERE pubowner = %(role)s::regrole
"""

# One by one, for a transaction holds a lock of each; sequences of columns go with their tables.
_RELATIONS = """
SELECT format('ALTER TABLE %%s OWNER TO %%I', relation.oid::regclass, %(nobody)s::text) FROM pg_class relation
WHERE relowner = %(role)s::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT (relkind = 'S' AND EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relation.oid
    AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')))
"""
# Of the rights that an owner has to what it owns, what it took from itself: until it owns it, there is nothing to take.
_RIGHT_OF = re.compile(
    rb'(?:GRANT [A-Z,]+|(?P<takes>REVOKE ALL)) ON (?P<what>.+) (?:TO|FROM) (?P<name>"(?:[^"]|"")+"|\w+)'
    rb"(?: WITH GRANT OPTION)?;\Z",
    re.DOTALL,
)
_GIVEN = re.compile(rb'ALTER [A-Z ]+ (?P<schema>"(?:[^"]|"")+"|\w+)\..* OWNER TO (?P<owner>.+);\Z', re.DOTALL)
DENIED = "42501"
NOT_GIVEN = FORGIVEN | {"0A000"}  # which is a column's sequence, whose table could not be given


@dataclass
class Role:
    """The role that loads a dump.

    :param server: with its login.
    :param own: the restore login.
    :param owners: roles of the server, each with why it is given nothing; empty where it can be.
    :param noted: statements that give something to an owner, or say what is granted of what an owner makes later.
    :param for_own: those of them that give something to the restore login.
    :param refused: what can be given to nobody, counted by the reason.
    :param schemas: that are there already, for its extensions.
    :param closed: tables and sequences of extensions that it may not fill, as dumps name them, each with its owner.
    :param hidden: those of them that it may not even read.
    :param left_out: rows of these that the dump held, by table.
    """

    server: Server
    own: str
    owners: Mapping[str, str]
    noted: list[bytes] = field(default_factory=list)
    for_own: list[bytes] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    schemas: frozenset[str] = frozenset()
    closed: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    left_out: Counter[str] = field(default_factory=Counter)
    _owning: set[str] = field(default_factory=set)
    _taken: set[tuple[bytes, bytes]] = field(default_factory=set)

    @property
    def is_own(self) -> bool:
        """Return whether the restore login loads by itself."""
        return self.server.user == self.own

    def keeps(self, statement: Statement) -> bool:
        """Remember what can only be run in the end; whether that is all that there is to do with a statement."""
        if statement.kind == "right":
            self._note_right(statement)
        elif statement.kind in ("owner", "default right"):
            self._note(statement)
            return True
        return False

    def _note(self, statement: Statement) -> None:
        """Remember a statement that only who owns something can run, if that can be somebody's of this server."""
        name = unquoted(statement.name)
        if name == self.own and statement.kind == "owner":
            self.for_own.append(statement.sql)
        elif why := self.owners.get(name, f'role "{name}" does not exist'):
            self.refused[why] += 1
        else:
            self.noted.append(statement.sql)
            self._owning.add(name)

    def _note_right(self, statement: Statement) -> None:
        """Remember what an owner took from itself, and what it left itself, for it has all rights until then."""
        found = _RIGHT_OF.match(statement.sql)
        if not found or unquoted(found["name"].decode("utf-8", "replace")) not in self._owning:
            return
        taken = (found["what"], found["name"])
        if found["takes"]:
            self._taken.add(taken)
        if taken in self._taken:
            self.noted.append(statement.sql)

    def does_without(self, statement: Statement) -> bool:
        """Return whether a statement makes what exists, or fills what the role may not; such rows are counted."""
        if statement.kind == "schema":
            return statement.sql.startswith(b"CREATE") and unquoted(statement.name) in self.schemas
        if statement.kind in ("rows", "sequence") and statement.name in self.closed:
            is_empty = statement.sql.startswith(b"COPY") or statement.sql.endswith(b", 1, false);")  # rows may follow
            self.left_out[statement.name] += not is_empty
            return True
        return False


@contextlib.contextmanager
def confined(
    session: Connection[Any], place: str, server: Server, *, required: tuple[str, str] | None
) -> Iterator[Role]:
    """Make a role with rights on one database, for the length of the block; at its end, nothing may be the role's.

    :param session: of the restore login, to another database.
    :param required: why the restore login itself will not do, whatever its rights, and what else helps.
    :raises RestoreError: the restore login may not make one, and has more than the database.
    """
    own = server.user
    if not _may_make_roles(session):
        if required:
            raise RestoreError(
                f"{own} is not allowed to create a role for the load; without one, {required[0]}.",
                f"{GRANTS} {required[1]}",
            )
        _check_rights(session, place)
        try:
            yield Role(server, own, _owners(session))
        finally:
            _keep_login(session, server)
        return
    _sweep(session)
    login = replace(server, user=PREFIX + secrets.token_hex(9), password=secrets.token_urlsafe(24))
    name = quoted(login.user)
    with lock(session, login.user):
        session.execute(
            f"CREATE ROLE {name} LOGIN NOINHERIT NOCREATEDB NOCREATEROLE CONNECTION LIMIT {CONNECTION_LIMIT}"
            f" PASSWORD '{_verifier(login.password)}' VALID UNTIL '{_until(session)}'".encode()
        )
        try:
            session.execute(f"GRANT {name} TO CURRENT_USER".encode())
            session.execute(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {quoted(place)} TO {name}".encode())
            yield Role(login, own, _owners(session))
        except BaseException:
            with contextlib.suppress(Exception):  # what failed first is what to tell; the next restore drops it
                _drop(session, login.user)
            raise
        _drop(session, login.user)


def check(session: Connection[Any]) -> None:
    """Make sure that a load could be confined.

    :raises RestoreError: the restore login may not make databases; or no role, and has something already.
    """
    if session.execute("SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
        only = ", so it loads only into one prepared by an administrator" if _may_make_roles(session) else ""
        raise RestoreError(f"{session.info.user} is not allowed to create databases{only}.", GRANTS)
    if not _may_make_roles(session):
        _check_rights(session, "")


def _may_make_roles(session: Connection[Any]) -> bool:
    return session.execute("SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone() == (True,)


def _owners(session: Connection[Any]) -> dict[str, str]:
    right = "SET" if session.info.server_version >= SET_IS_A_RIGHT else "MEMBER"
    return {
        name: _why_not(name, may_be_given=may_be_given, is_inherited=is_inherited, is_power=is_power)
        for name, may_be_given, is_inherited, is_power in session.execute(_OWNERS, [right]).fetchall()
    }


def _why_not(name: str, *, may_be_given: bool, is_inherited: bool, is_power: bool) -> str:
    if not may_be_given:
        return f'must be member of role "{name}"'
    if not is_inherited:
        return f'must inherit the rights of role "{name}"'
    return f'role "{name}" has the rights of a superuser, and code in the dump would have them, too' if is_power else ""


def _check_rights(session: Connection[Any], place: str) -> None:
    """:raises RestoreError: the restore login has something besides the database that it fills."""
    beyond = [reason for (reason,) in session.execute(_BEYOND, {"place": place}).fetchall()]
    if beyond:
        raise RestoreError(
            f"{session.info.user} is not allowed to create a role for the load, and code in a dump could use what it "
            f"has itself: {listed(sorted(beyond))}.",
            GRANTS,
        )


def _keep_login(session: Connection[Any], server: Server) -> None:
    """Take back what code of a dump may have changed of the restore login: its password, and its settings."""
    with contextlib.suppress(Exception):  # what failed first is what to tell
        if server.password:
            session.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{_verifier(server.password)}'".encode())
        session.execute(b"ALTER ROLE CURRENT_USER RESET ALL")


def _verifier(password: str) -> str:
    """Return what the server keeps of a password, so that the password itself is in no log of statements."""
    salt = secrets.token_bytes(16)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client, server = (hmac.digest(key, use, "sha256") for use in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    salted, first, second = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{salted}${first}:{second}"


def _until(session: Connection[Any]) -> str:
    """Return when a password expires, by the server's clock."""
    ((until,),) = session.execute("SELECT (now() + %s)::text", [LIFETIME]).fetchall()
    return str(until)


def take_in(session: Connection[Any], role: Role) -> None:
    """Let a role make what a dump holds, also in the schema that is there already.

    :param session: of the restore login, to the database that is filled.
    """
    if not role.is_own and session.info.server_version >= PUBLIC_IS_OURS:
        session.execute(f"ALTER SCHEMA public OWNER TO {quoted(role.server.user)}".encode())


def hand_over(session: Connection[Any], role: Role) -> None:
    """Give what a role made to its owners, and the rest to nobody.

    :param session: of the restore login, to the database that was filled.
    """
    settings.take_any_bytes(session)
    name = quoted(role.server.user)
    session.execute(b"SET synchronous_commit = off")  # what gives the database its name waits for the disk
    if not role.is_own and session.info.server_version >= PUBLIC_IS_OURS:
        session.execute(f"ALTER SCHEMA public OWNER TO {NOBODY}".encode())
    role.refused.update(_give(session, _givable(session, role)))
    if not role.is_own:
        ((left, _),) = session.execute(_OWNED, [name]).fetchall()
        for (sql,) in session.execute(_ROOM, {"role": name, "nobody": NOBODY}).fetchall() if left else ():
            refusal(session, [sql.encode()])  # schemas of others are of extensions, and hold nothing of the dump
        relations = session.execute(_RELATIONS, {"role": name, "nobody": NOBODY}).fetchall() if left else []
        for group in groups(sql.encode() for (sql,) in relations):
            refusal(session, group)  # what this cannot give, the next statement gives
        session.execute(f"REASSIGN OWNED BY {name} TO {NOBODY}".encode())
        session.execute(f"DROP OWNED BY {name}".encode())
        why = f"code in the dump would have the rights of {role.own}" if role.for_own else "the owner is unknown here"
        if left:
            log.warning(
                "%s of %s could not be given to the owner (%s): %s owns it, and through that the owner of the"
                " database.",
                *(left, session.info.dbname, why, NOBODY),
            )


def _give(session: Connection[Any], statements: Iterable[bytes]) -> Counter[str]:
    """Run what gives something to its owner; return what this user may not give, counted by the reason.

    :raises psycopg.Error: the server refused one for another reason.
    """
    refused: Counter[str] = Counter()
    for sql in chain.from_iterable(group for group in groups(statements) if refusal(session, group)):
        error = refusal(session, [sql])
        if error and error.sqlstate == DENIED:
            error = refusal(session, _with_room(sql)) and error
        if error and error.sqlstate in NOT_GIVEN:
            refused[error.diag.message_primary or error.sqlstate] += 1
        elif error:
            raise error
    return refused


def _with_room(sql: bytes) -> list[bytes]:
    """Return how to give something to an owner without the right to create in its schema, which the server demands."""
    found = _GIVEN.match(sql)
    if not found:
        return [sql]
    may = b"CREATE ON SCHEMA " + found["schema"]
    return [b"GRANT %b TO %b" % (may, found["owner"]), sql, b"REVOKE %b FROM %b" % (may, found["owner"])]


def _givable(session: Connection[Any], role: Role) -> list[bytes]:
    """Return the statements that give something to its owner, but for what the restore login must not own."""
    ((_, functions),) = session.execute(_OWNED, [quoted(role.server.user)]).fetchall() if not role.is_own else ((0, 0),)
    if not functions:
        return [*role.noted, *role.for_own]
    owned = session.execute(
        "SELECT datdba = %s::regrole FROM pg_database WHERE datname = current_database()", [quoted(role.own)]
    )
    if role.for_own and owned.fetchone() != (True,):
        role.refused[f"code in the dump would have the rights of {role.own}"] += len(role.for_own)
    return role.noted


def rehearse(session: Connection[Any], role: Role, owner: str) -> None:
    """Try what `hand_over` does, and undo it: in a drill, nothing that code can run as gets an owner.

    :param owner: of the database.
    """
    settings.take_any_bytes(session)
    givable = _givable(session, role)
    schemas = [sql for sql in givable if sql.startswith(b"ALTER SCHEMA ")]
    others = [sql for sql in givable if not sql.startswith(b"ALTER SCHEMA ")]
    start = [f"ALTER DATABASE {quoted(session.info.dbname)} OWNER TO {quoted(owner)}"]
    if role.owners.get(owner) != "":
        start = []
    if not role.is_own and session.info.server_version >= PUBLIC_IS_OURS:
        start.append(f"ALTER SCHEMA public OWNER TO {NOBODY}")
    with session.transaction(force_rollback=True):
        for sql in start:
            session.execute(sql.encode())
        role.refused.update(_tried(session, schemas))
    for group in groups(others):  # each keeps its locks until it is undone
        with session.transaction(force_rollback=True):
            for sql in start:
                session.execute(sql.encode())
            _tried(session, schemas)
            role.refused.update(_tried(session, group))


def _tried(session: Connection[Any], statements: Sequence[bytes]) -> Counter[str]:
    """Do what `_give` does, in the open transaction."""
    import psycopg

    refused: Counter[str] = Counter()
    with contextlib.suppress(psycopg.Error):
        with session.transaction(), session.pipeline():
            for sql in statements:
                session.execute(sql, binary=True)
        return refused
    for sql in statements:
        try:
            with session.transaction():
                session.execute(sql, binary=True)
        except psycopg.Error as error:
            if error.sqlstate not in NOT_GIVEN:
                raise
            if error.sqlstate != DENIED or not _runs(session, _with_room(sql)):
                refused[error.diag.message_primary or error.sqlstate] += 1
    return refused


def _runs(session: Connection[Any], statements: Iterable[bytes]) -> bool:
    """Run statements in the open transaction; return whether the server accepted all of them."""
    import psycopg

    try:
        with session.transaction():
            for sql in statements:
                session.execute(sql, binary=True)
    except psycopg.Error:
        return False
    return True


def _drop(session: Connection[Any], name: str) -> None:
    session.execute(f"DROP ROLE IF EXISTS {quoted(name)}".encode())


def _sweep(session: Connection[Any]) -> None:
    """Drop the roles of loads that were killed; those of loads under way are locked."""
    import psycopg

    names = [name for (name,) in session.execute("SELECT rolname FROM pg_roles").fetchall()]
    for name in sorted(filter(_OURS.fullmatch, names)):
        if not try_lock(session, name):
            continue
        try:
            _drop(session, name)
            log.warning("Dropped role %s, left behind by a killed load.", name)
        except psycopg.Error as error:
            log.warning("%s was left behind by a killed load: %s.", name, error.diag.message_primary)
        finally:
            unlock(session, name)


@contextlib.contextmanager
def lock(session: Connection[Any], name: str) -> Iterator[None]:
    """Keep others away from a name on this server; the lock dies with the connection.

    :raises RestoreError: somebody still holds it after `LOCK_PATIENCE`.
    """
    deadline = time.monotonic() + LOCK_PATIENCE
    while not try_lock(session, name):
        if time.monotonic() >= deadline:
            raise RestoreError("another restore or drill is running there.", "Wait for it to end.")
        time.sleep(POLL)
    yield
    unlock(session, name)


def try_lock(session: Connection[Any], name: str) -> bool:
    """Keep others away from a name, if nobody does already."""
    return session.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone() == (True,)


def unlock(session: Connection[Any], name: str) -> None:
    """Let others have a name."""
    session.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
