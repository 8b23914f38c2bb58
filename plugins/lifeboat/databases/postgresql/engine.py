"""PostgreSQL as an engine: dumped by pg_dump, loaded over several connections.

A database is filled under a temporary name, with a comment that says what it is, and is renamed when it is complete:
renames are transactional, so what a restore replaces is exchanged at once, and kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lifeboat.databases import (
    LONGEST_CHECKED,
    Access,
    Aside,
    Clock,
    Dump,
    Dumpable,
    Extension,
    Limit,
    Load,
    Loaded,
    Missed,
    Place,
    Property,
    Server,
    Target,
    exclusion,
    limit_texts,
    names,
)
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.postgresql import database as postgresql_database
from lifeboat.databases.postgresql import extensions as postgresql_extensions
from lifeboat.databases.postgresql import limits as postgresql_limits
from lifeboat.databases.postgresql import load as postgresql_load
from lifeboat.databases.postgresql import prepared, settings, together
from lifeboat.databases.postgresql import role as postgresql_role
from lifeboat.databases.postgresql.database import LAST, LOCALE, USE, Properties, changes, value_of, without
from lifeboat.databases.postgresql.digest import RULES, digest
from lifeboat.databases.postgresql.extensions import Available, Maker
from lifeboat.databases.postgresql.limits import Meant
from lifeboat.databases.postgresql.load import HINTS
from lifeboat.databases.postgresql.role import POLL, Role, lock, try_lock, unlock
from lifeboat.databases.postgresql.statements import TRAILER
from lifeboat.databases.postgresql.together import LONGEST_END, Shared
from lifeboat.databases.sql.quoting import literal, quoted
from lifeboat.databases.watch import Doing, Watch
from lifeboat.errors import CheckError, DumpError, Lasting, LifeboatError, MismatchError, RestoreError, SettingsError
from lifeboat.support.logs import logger
from lifeboat.support.processes import Child, child, secret_file
from lifeboat.text import listed, plural

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection

log = logger(__name__)

MAINTENANCE = "postgres"  # the database that every server has, to make others from
DRILL = f"{names.FILLING}drill"  # where drills begin, one after the other
MARK = "A restore of Lifeboat is filling this database, or left it half-way: "
MISMATCHED = "A restore of Lifeboat loaded this, and it is not what was captured: "
SWAP_PATIENCE = 30  # seconds to wait for users of what is to be replaced
OWNER = ("owner",)
OF_OBJECTS = "owners and rights of objects"
LOCALE_HINT = (
    "Install that locale where the server runs (Debian: dpkg-reconfigure locales) and restart the server, or restore to"
    " a server that has it. docs/RECOVERY.md shows how to load a dump with another locale manually."
)
PER_ARGUMENT = 9  # bytes that a system needs besides those of an argument
LEFT_FREE = 32 << 10  # bytes of a command's room for its environment
OLDEST = 14  # major version of the oldest server that is known to work
_EXCLUDED = """
WITH RECURSIVE named AS (
  SELECT c.oid, nspname, relname,
         CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p')
), below AS (
  SELECT oid FROM named WHERE name = ANY(%s) UNION SELECT inhrelid FROM below JOIN pg_inherits ON inhparent = oid
)
SELECT name, nspname, relname FROM named JOIN below USING (oid)
"""
# Relations, and what patterns match: tables, but neither those of the server itself nor of extensions.
_RELATIONS = """
SELECT CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname),
       nspname, relname,
       nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT EXISTS (
         SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'),
       CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                    WHEN 'f' THEN 'foreign table' ELSE '' END
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 2, 3
"""
_FACTS = (
    "SELECT current_setting('server_version'), pg_encoding_to_char(encoding), clock_timestamp()"
    " FROM pg_database WHERE datname = current_database()"
)
# What pg_dump may not read, which it notices only at the rows. Separate rights to large objects are not checked.
_UNREADABLE = """
SELECT reason, name FROM (
  SELECT CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname) AS name,
         CASE WHEN NOT CASE relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                                    ELSE has_table_privilege(c.oid, 'SELECT') END THEN 'permission denied for'
              WHEN relkind = 'r' AND row_security_active(c.oid) THEN 'row-level security hides rows of' END AS reason
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'S') AND relpersistence <> 't' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
) relation WHERE reason IS NOT NULL
UNION ALL SELECT 'permission denied for large object', oid::text FROM pg_largeobject_metadata
WHERE lomacl IS NULL AND NOT pg_has_role(lomowner, 'USAGE') ORDER BY 1, 2
"""
CHECK = (
    "WITH lifeboat_check (v) AS ((\n{}\n) UNION ALL SELECT NULL WHERE false)"  # noqa: S608  # of the settings
    f" SELECT pg_catalog.left(v::pg_catalog.text, {LONGEST_CHECKED + 1}) FROM lifeboat_check LIMIT 2"
)
CANCELED = "57014"
TOLD = ("42", "25", "0A")  # classes of errors whose text names only what the query names
OWN_SESSIONS_ENDED = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = %s AND (usename = current_user OR starts_with(usename, %s)) AND pid <> pg_backend_pid()"
)


class Taker(NamedTuple):
    """The ability of a server to take a database.

    :param version: as in 150004.
    :param extensions: that it could make.
    :param limits: what it lacks besides.
    """

    address: str
    version: int
    extensions: Mapping[str, Available]
    limits: Sequence[Limit] = ()


@dataclass
class _Wish:
    """Properties that a database being filled should get.

    :param wanted: its properties.
    :param owner: who owns it where its owner cannot; the restore login when empty.
    :param before: what it was, where an administrator prepared it: its owner stays, and nothing is taken from it.
    :param refused: properties that it cannot have on this server, with the server's words.
    """

    wanted: Properties
    owner: str = ""
    before: Properties | None = None
    refused: dict[Property, str] = field(default_factory=dict)


class PostgreSQL:
    """The databases of one server.

    :param clock: the site's.
    :param elevated: returns the server with the login by which extensions are made that only superusers make.
    :param ask_taker: asks the server of the restore connection, where the settings name another, what it could make of
        a database with such properties, whose contents name this.
    """

    def __init__(
        self,
        server: Server,
        clock: Clock,
        elevated: Callable[[], Server] | None = None,
        ask_taker: Callable[[Properties, Meant], Taker] | None = None,
    ) -> None:
        self._server, self._clock, self._elevated, self._ask_taker = server, clock, elevated, ask_taker
        self._roles: dict[str, Role] = {}  # who fills what is being filled
        self._warnings: dict[str, Sequence[str]] = {}  # what is not as it was, of what was made for these
        self._wishes: dict[str, _Wish] = {}  # what it should become

    @property
    def address(self) -> str:
        return self._server.address

    def databases(self, asked: Collection[str] = ()) -> Mapping[str, bool]:
        with self._session(MAINTENANCE, "Listing of databases", RestoreError) as session:
            unfinished = _unfinished(session)
            found = {name: name not in unfinished for name in _names(session)}
        return found | {name: not self._is_vacant(name, name in unfinished) for name in asked if name in found}

    def _is_vacant(self, database: str, is_marked: bool) -> bool:
        """Return whether a database holds nothing to lose, as far as this login may look.

        A mark is a comment, which every owner of a database may make: what is there must be that of a load as well.
        """
        held = prepared.held_by_others if is_marked else prepared.held
        try:
            with self._session(database, "Inspecting it", RestoreError) as session:
                return not held(session)
        except RestoreError:
            return False

    def lacks_to_see_all(self) -> str:
        return ""

    def client_name(self, database: str) -> str:
        return database

    def dump(
        self,
        database: str,
        excluded: Sequence[str],
        write: Callable[[bytes], object],
        *,
        without_rows: Sequence[str] = (),
        position: bool = False,
        aside: Aside | None = None,
    ) -> Dump:
        doing = f"Dump of database {database!r}"
        with self._session(database, doing, DumpError) as session:
            _check_finished(session, database)
            extensions = postgresql_extensions.captured(session)
            configured = postgresql_extensions.configured(session, session.info.user)
            known = postgresql_extensions.available(session) if extensions else {}
            limits = self._limits(session, database, extensions, known)
            found = _find_excluded(session, database, excluded, without_rows)
        dump = self._dump(self._server, database, found, write, aside=aside)
        limits += postgresql_extensions.limits_of_rows(dump.tables, configured, known)
        with self._session(database, doing, DumpError) as session:
            limits += postgresql_limits.of_catalog(session, dump.without_rows)
        for limit in limits:
            log.warning("%s: %s.", database, limit.text)
        return replace(dump, extensions=extensions, limits=(*dump.limits, *limits))

    def check_dump(self, database: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dumpable:
        doing = f"Trial dump of database {database!r}"
        with (
            self._session(database, doing, DumpError) as session,
            _login(self._server, database) as (secret, conninfo),
        ):
            _check_finished(session, database)
            found = _find_excluded(session, database, excluded, without_rows)
            _check_readable(session, found.names)
            version, encoding, now = session.execute(_FACTS).fetchone() or ("", "", self._clock())
            ahead = now - self._clock()
            extensions, known = postgresql_extensions.captured(session), postgresql_extensions.available(session)
            limits = self._limits(session, database, extensions, known)
            command = dump_command(conninfo, encoding, found.patterns, rows=False)
            passed = _pump(command, secret, {}, lambda chunk: None, _watch(session, database))
        lacks = (*found.warnings, *limit_texts([*limits, *passed.limits]))
        return Dumpable(f"PostgreSQL {version}", _client_version(command[0]), ahead, lacks)

    def taker(self, wanted: Properties, meant: Meant) -> Taker:
        """Return what the server could make of a database with such properties, whose contents name this."""
        where = self._server.address
        with self._session(MAINTENANCE, "Querying server limits", RestoreError) as session:
            limits = tuple(postgresql_limits.of_server(session, where, wanted, meant))
            version = session.info.server_version
            return Taker(where, version, postgresql_extensions.available(session), limits)

    def _limits(
        self, session: Connection[Any], database: str, extensions: Sequence[Extension], known: Mapping[str, Available]
    ) -> list[Limit]:
        """Return what of a database's extensions, and of the database itself, a restore could not make.

        :param known: what its own server could make.
        """
        where, wanted, meant = self._server.address, _properties(session, database), postgresql_limits.meant_by(session)
        taker = Taker(where, session.info.server_version, known)
        try:
            if self._ask_taker:
                taker = self._ask_taker(wanted, meant)
            elif postgresql_limits.may_restore(session):
                limits = tuple(postgresql_limits.of_server(session, where, wanted, meant))
                taker = taker._replace(limits=limits)
        except LifeboatError as error:
            return [postgresql_limits.unasked(error.message)]
        may = self._elevated is not None
        older = postgresql_limits.of_older(taker.address, taker.version, session.info.server_version)
        made = postgresql_extensions.limits(extensions, taker.extensions, taker.address, may=may)
        return [*older, *taker.limits, *made]

    def _dump(
        self,
        server: Server,
        database: str,
        excluded: _Excluded,
        write: Callable[[bytes], object],
        patterns: Sequence[str] = (),
        forced: Sequence[str] = (),
        aside: Aside | None = None,
    ) -> Dump:
        doing = f"Dump of database {database!r}"
        with (
            self._session(database, doing, DumpError, server) as session,
            _login(server, database) as (secret, conninfo),
        ):
            facts = session.execute(
                "SELECT current_setting('server_version'), pg_encoding_to_char(encoding), datcollate"
                " FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            version, encoding, collation = facts or ("", "", "")
            properties = _properties(session, database)
            captured_at = self._clock()
            hidden = [*excluded.patterns, *patterns]
            command = dump_command(conninfo, encoding, hidden)
            # The zone of times is the session's: the same data must be printed alike on every server.
            variables = {"PGTZ": "UTC", "PGOPTIONS": settings.options(session)}
            log.info("Dumping %s from %s (%s).", database, self._server.address, version)
            watch = _watch(session, database)
            with self._shared(server, database, aside, hidden) as shared:
                if shared and aside:
                    commands = _shared_commands(conninfo, encoding, hidden, shared)
                    log.info("%s clients dump %s.", len(commands), database)
                    passed = _pump_shared(commands, shared, secret, variables, write, aside, watch)
                else:
                    passed = _pump(command, secret, variables, write, watch, forced)
        return Dump(
            database=database,
            engine="postgresql",
            server=f"PostgreSQL {version}",
            client=_client_version(command[0]),
            character_set=encoding,
            collation=collation,
            captured_at=captured_at,
            sql_bytes=passed.sql_bytes,
            sha256=passed.sha256,
            tables=passed.digest.tables,
            objects=passed.digest.objects,
            excluded_tables=tuple(excluded.tables),
            unprotected_tables=(),
            warnings=tuple(excluded.warnings),
            digest_rules=RULES,
            limits=passed.limits,
            properties=tuple(sorted(properties)),
            excluded_rows=tuple(excluded.rows),
        )

    @contextlib.contextmanager
    def _shared(
        self, server: Server, database: str, aside: Aside | None, excluded: Sequence[str]
    ) -> Iterator[Shared | None]:
        """Yield what several clients dump in one snapshot; None where one client dumps it all."""
        if not aside or aside.clients < 2:
            yield None
            return
        import psycopg

        with self._session(database, f"Dump of database {database!r}", DumpError, server) as session:
            shared = None
            try:
                shared = together.share(session, aside.clients, excluded)
            except psycopg.Error as error:
                if session.closed:
                    raise
                said = error.diag.message_primary or type(error).__name__
                log.warning("One client dumps %s: the server gave no snapshot for several (%s).", database, said)
            if not shared:
                session.execute("ROLLBACK")  # nothing of the server waits for this session while one client dumps
            yield shared

    def read_back(self, place: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dump:
        doing, server = f"Dump of database {place!r}", self._roles[place].server
        with self._session(place, doing, DumpError, server) as session:
            configured = postgresql_extensions.configured(session, server.user)
            forced = _forced(session)
            found = _with_below(session, (*excluded, *without_rows), ())
            _force(session, forced, "NO FORCE")
        hidden = [each.pattern for each in configured if not each.is_readable]
        try:
            return self._dump(server, place, found, lambda chunk: None, hidden, forced)
        finally:
            with self._session(place, doing, DumpError, server) as session:
                _force(session, forced, "FORCE")

    @contextlib.contextmanager
    def target(self, target: Target) -> Iterator[Place]:
        name = target.database
        place = names.FILLING + hashlib.sha256(name.encode()).hexdigest()[:16]
        stamp = f"_before_{self._clock():%Y%m%d_%H%M%S}"
        kept = names.with_suffix("postgresql", name, stamp) if target.exists else ""
        doing = f"Restore of database {name!r}"
        with (
            self._session(MAINTENANCE, doing, RestoreError) as session,
            lock(session, place),
        ):
            is_prepared = _check_target(session, target)
            _sweep(session)
            if is_prepared:
                place, wish = name, self._take_over(session, target, doing)
            else:
                wish = _create(session, place, target, MARK + target.key)
            made = Place(place, kept)
            by_hand = partial(_by_hand, session, target, wish)
            required = postgresql_role.IN_PREPARED if is_prepared else None
            with self._filled_by(session, place, doing, wish, target.extensions, required, by_hand) as role:
                try:
                    yield made
                    self._finish(session, place, role, wish)
                except MismatchError:
                    self._finish(session, place, role, wish)
                    _comment(session, place, MISMATCHED + target.key)  # it is whole, and stays until its name is needed
                    raise
                except BaseException:
                    self._undo(session, place, wish)
                    raise
            if kept:
                made.replaced.extend(_replaced(session, name, wish))
            _put_in_place(session, place, name, kept, wish)
            made.missed.extend([*_missed(session, name, wish), *_ungiven(role)])

    def _take_over(self, session: Connection[Any], target: Target, doing: str) -> _Wish:
        """Mark a database that an administrator prepared; return what it should become.

        :raises RestoreError: it is not empty, or this user may not act as its owner.
        """
        name = target.database
        _check_powers(session)
        _check_owner(session, name)
        wish = _wish(session, target)
        postgresql_database.check(wish.wanted)
        with self._session(name, doing, RestoreError) as own:
            prepared.take_back(own)  # what a killed restore left
            needed = {extension.name for extension in target.extensions}
            others = [each.name for each in postgresql_extensions.captured(own) if each.name not in needed]
            if found := prepared.held(own) or next((f"extension {each}" for each in others), ""):
                whose = ", left behind by a killed restore" if name in _unfinished(session) else ""
                raise RestoreError(
                    f"Database {name!r} already exists and holds {found}{whose}; it was not changed.",
                    "Drop it and prepare an empty one with only the dump's extensions, or restore into a new name.",
                )
        before = _properties(session, name)
        if value_of(before, "comment").startswith(MARK):
            before = without(before, "comment")
        _comment(session, name, MARK + target.key)
        return replace(wish, before=before)

    def _undo(self, session: Connection[Any], place: str, wish: _Wish) -> None:
        """Leave nothing of a restore that failed, if that works: what failed first is what to tell."""
        if wish.before is None:
            _drop_after_failure(session, place)
            return
        with contextlib.suppress(Exception):
            with self._session(place, f"Clearing of database {place!r}", RestoreError) as own:
                prepared.take_back(own)
                found = prepared.held(own)
            if found:
                log.warning("%s still holds %s from this restore: drop it, and prepare it again.", place, found)
            else:
                _comment(session, place, value_of(wish.before, "comment"))

    @contextlib.contextmanager
    def scratch(
        self, key: str, captured: Dump, *, production: bool = False, beside: Collection[str] = ()
    ) -> Iterator[str]:
        doing = f"Drill of database {captured.database!r} of {key}"
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(self._session(MAINTENANCE, doing, RestoreError))
            if set(_names(session)).isdisjoint(beside):  # otherwise, this drill holds the server's lock
                opened.enter_context(lock(session, DRILL))
                _sweep(session)
                for left in names.leftovers(_names(session), _unfinished(session)):
                    log.warning("Dropping %s, left behind by a killed drill.", left)
                    _drop(session, left)
            place = names.scratch_name("postgresql", captured.database, self._clock())
            # Under this name only once it is marked: a crash in between must not leave what stops later drills.
            wish = _create(session, DRILL, Target(captured.database, key, captured), MARK + key)
            session.execute(f"ALTER DATABASE {quoted(DRILL)} RENAME TO {quoted(place)}".encode())
            required = postgresql_role.ON_PRODUCTION if production else None
            with self._filled_by(session, place, doing, wish, captured.extensions or (), required):
                try:
                    if production:
                        _check_owner(session, captured.database)
                    yield place
                except BaseException:
                    _drop_after_failure(session, place)
                    raise
                _drop(session, place)

    def load(self, place: str, sql: Iterable[bytes], load: Load) -> Loaded:
        role = self._roles[place]
        connect = partial(self._loading_session, place, f"Restore of database {load.source!r}")
        loaded = postgresql_load.load(connect, place, sql, load, role)
        told = postgresql_extensions.told(role, loaded)
        return replace(told, warnings=(*self._warnings[place], *told.warnings))

    def check_load(self, database: str) -> None:
        with self._session(MAINTENANCE, f"A load of {database!r}", RestoreError) as session:
            _check_powers(session)
            postgresql_role.check(session)

    @contextlib.contextmanager
    def _loading_session(self, place: str, doing: str) -> Iterator[Connection[Any]]:
        with self._session(place, doing, RestoreError, self._roles[place].server) as session:
            _borrow_settings(session, self._wishes[place])
            yield session

    def value(self, place: str, query: str, seconds: float) -> Sequence[str | None]:
        import psycopg

        with self._session(place, "A check", RestoreError, self._roles[place].server) as session:
            session.execute("RESET search_path")  # what the application has, as this role can do nothing elsewhere
            session.execute("BEGIN READ ONLY")  # no statement in it can end that
            session.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}".encode())
            try:
                # In the binary form, the server takes one statement only. UNION takes one column only.
                rows = session.execute(CHECK.format(query).encode(), binary=True).fetchall()
            except psycopg.Error as error:
                raise CheckError(_refused_check(error, seconds)) from error
        return [value for (value,) in rows]

    @contextlib.contextmanager
    def lend(self, place: str) -> Iterator[Access]:
        role = self._roles[place]
        if role.is_own:
            raise RestoreError(
                f"{role.own} loaded the database itself, as it may create no role there, and its own password is given"
                " to no command.",
                postgresql_role.GRANTS,
            )
        yield Access(place, role.server)  # what is connected then is ended before the database is dropped

    def rehearse(self, place: str) -> Sequence[Missed]:
        role, wish = self._roles[place], self._wishes[place]
        with self._session(place, f"Drill of database {place!r}", RestoreError) as session:
            with session.transaction(force_rollback=True):
                for kinds in (OWNER, USE, LAST):
                    _apply(session, place, wish, kinds)
                missed = _missed(session, place, wish)
            postgresql_role.rehearse(session, role, value_of(wish.wanted, "owner"))
        return [*missed, *_ungiven(role)]

    def describe_failure(self, target: Target) -> str:
        return "Nothing has changed; what was loaded so far is dropped, now or by the next restore."

    @contextlib.contextmanager
    def _filled_by(
        self,
        session: Connection[Any],
        place: str,
        doing: str,
        wish: _Wish,
        extensions: Sequence[Extension],
        required: tuple[str, str] | None,
        by_hand: Callable[[Sequence[Extension]], str] | None = None,
    ) -> Iterator[Role]:
        with contextlib.ExitStack() as made:
            try:
                with self._session(place, doing, RestoreError) as own:
                    maker = Maker(own, self._elevated and (lambda: self._elevated_session(place, doing)), by_hand)
                    maker.make(extensions)
                _apply(session, place, wish, USE)  # now: no setting of a manifest is for who makes extensions
                role = made.enter_context(postgresql_role.confined(session, place, self._server, required=required))
                with self._session(place, doing, RestoreError) as own:
                    postgresql_role.take_in(own, role)
                    postgresql_extensions.give_in(own, role, maker.schemas)
            except BaseException:
                self._undo(session, place, wish)
                raise
            self._roles[place], self._wishes[place], self._warnings[place] = role, wish, maker.warnings
            yield role
            del self._roles[place], self._wishes[place], self._warnings[place]

    def _elevated_session(self, place: str, doing: str) -> AbstractContextManager[Connection[Any]]:
        return self._session(place, doing, RestoreError, self._elevated() if self._elevated else None)

    def _finish(self, session: Connection[Any], place: str, role: Role, wish: _Wish) -> None:
        """Give the database, and what was loaded, to their owners."""
        _apply(session, place, wish, OWNER)
        if wish.owner and any(each.kind == "owner" for each in wish.refused):
            _apply(session, place, _Wish(frozenset({Property("owner", wish.owner)})), OWNER)
        _apply(session, place, wish, USE)  # the old owner's rights went to the new one
        with self._session(place, f"Restore of database {place!r}", RestoreError) as own:
            postgresql_role.hand_over(own, role)

    @contextlib.contextmanager
    def _session(
        self, database: str, doing: str, ours: type[LifeboatError], server: Server | None = None
    ) -> Iterator[Connection[Any]]:
        """Open a connection for the length of the block; its errors, and the driver's, name the server.

        :param server: with another login than the engine's own.
        """
        import psycopg

        where = f"{doing} on {self._server.address} failed: "
        try:
            with _login(server or self._server, database) as (_, conninfo), _without_variables():
                connection = psycopg.connect(conninfo, autocommit=True, client_encoding="UTF8")
            with connection as session:
                if session.info.server_version < OLDEST * 10_000:
                    raise ours(f"the server is older than PostgreSQL {OLDEST}.")
                session.execute("SET search_path = pg_catalog")  # nothing in a database passes for the server's own
                session.execute("SET role = none")  # nor a role that a database sets for this login
                settings.settle(session)
                yield session
        except ours as error:
            if error.message.startswith(where):
                raise
            raise ours(where + error.message, error.hint) from error
        except psycopg.Error as error:
            said = error.diag.message_primary or next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ours(f"{where}{said}.", hint_for(error.sqlstate or said)) from error


def _refused_check(error: psycopg.Error, seconds: float) -> str:
    """Return why a server refused a query, without what it may quote of a row."""
    state = error.sqlstate or ""
    if state == CANCELED:
        return f"the query took longer than its {seconds:g} s, and was ended"
    said = f": {error.diag.message_primary}" if state.startswith(TOLD) else ""
    return f"the server refused the query (error {state or type(error).__name__}{said})"


def _conninfo(server: Server, database: str) -> dict[str, str]:
    return {
        "host": server.socket or server.host,
        "port": str(server.port),
        "user": server.user,
        "dbname": database,
        **settings.KEEPALIVES,
        **server.tls,
    }


@contextlib.contextmanager
def _login(server: Server, database: str) -> Iterator[tuple[int, str]]:
    """Yield how to connect, for the driver and for the client alike: it names a password file, and no password.

    :yields: the descriptor of that file, which a child must inherit, and the connection string.
    """
    from psycopg.conninfo import make_conninfo

    with secret_file(f"*:*:*:*:{_escaped(server.password)}\n") as (secret, path):
        yield secret, make_conninfo(**_conninfo(server, database), passfile=path)


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    """Take from the environment what the driver would read there, and the client, a child, does not see."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def hint_for(text: str) -> str:
    """Return what to do about an error, known by its number or its words."""
    return next((hint for sign, hint in HINTS.items() if sign in text), "")


def dump_command(
    conninfo: str, encoding: str, excluded: Sequence[str], *, rows: bool = True, more: Sequence[str] = ()
) -> list[str]:
    """Return the command that writes one consistent, complete dump to its standard output.

    :param conninfo: names a password file, and no password.
    :param encoding: of the database.
    :param excluded: patterns of tables whose rows are skipped.
    :param rows: without them, it holds definitions only.
    :param more: options, for one of several clients.
    :raises DumpError: there is no client, or more tables than its command can name.
    """
    client = shutil.which("pg_dump")
    if not client:
        raise DumpError("pg_dump is not on the PATH of this worker.", Lasting("Install postgresql-client."))
    command = [
        client,
        "--format=plain",
        # Where the server does not know what its bytes mean, nothing can be translated.
        f"--encoding={encoding if encoding == settings.UNKNOWN else 'UTF8'}",
        "--no-password",
        "--no-tablespaces",  # mean nothing elsewhere
        "--no-subscriptions",  # a copy must not take part in replication
        *(() if rows else ("--schema-only",)),
        *(f"--exclude-table-data={pattern}" for pattern in excluded),
        *more,
        f"--dbname={conninfo}",
    ]
    if sum(len(argument.encode()) + PER_ARGUMENT for argument in command) > os.sysconf("SC_ARG_MAX") - LEFT_FREE:
        raise DumpError(
            f"pg_dump cannot leave out the rows of {plural(len(excluded), 'table')}: a command of this"
            " system cannot name so many.",
            Lasting(
                "Exclude fewer, or raise the limit of the worker's stack (ulimit -s): a command may have a quarter."
            ),
        )
    return command


def _shared_commands(conninfo: str, encoding: str, excluded: Sequence[str], shared: Shared) -> list[list[str]]:
    """Return a command for each client; the first dumps what no other does."""
    snapshot = f"--snapshot={shared.snapshot}"
    elsewhere = [table for tables in shared.dealt for table in tables]
    return [
        dump_command(conninfo, encoding, [*excluded, *elsewhere], more=[snapshot]),
        *(
            dump_command(
                conninfo, encoding, (), more=[snapshot, "--section=data", *(f"--table={table}" for table in tables)]
            )
            for tables in shared.dealt
        ),
    ]


def _watch(session: Connection[Any], database: str) -> Watch:
    def ask() -> list[Doing]:
        rows = session.execute(
            "SELECT state, wait_event_type, wait_event FROM pg_stat_activity WHERE datname = %s"
            " AND usename = session_user AND application_name = 'pg_dump' AND backend_start >"
            " (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())",
            (database,),
        )
        return [
            Doing(f"{state}, waiting for {kind}: {event}" if kind else str(state), kind in ("Client", "Lock"))
            for state, kind, event in rows
        ]

    return Watch(database, ask, "pg_stat_activity and pg_blocking_pids")


@dataclass(frozen=True)
class _Passed:
    """Facts of the dump noted as it arrives from the client."""

    digest: DumpDigest
    limits: tuple[Limit, ...]
    sql_bytes: int
    sha256: str


def _pump(
    command: Sequence[str],
    secret: int,
    variables: Mapping[str, str],
    write: Callable[[bytes], object],
    watch: Watch,
    forced: Sequence[str] = (),
) -> _Passed:
    """Run the client and pass its output on; return what it held.

    If the client says that the dump is complete, it counts even if no restore could load all of it.

    :param forced: tables with FORCE ROW LEVEL SECURITY that the client does not see.
    """
    sha256, sql_bytes, end = hashlib.sha256(), 0, b""
    refused: list[RestoreError] = []

    def passing() -> Iterator[bytes]:
        nonlocal sql_bytes, end
        for chunk in watch.passing(client):
            write(chunk)
            sha256.update(chunk)
            sql_bytes += len(chunk)
            end = (end + chunk[-LONGEST_END:])[-LONGEST_END:]
            yield chunk
        _check_ended(client)

    with child(command, [secret], variables=variables) as client:
        chunks = passing()
        hidden = (f"ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY;\n".encode() for table in forced)
        held = digest(itertools.chain(hidden, chunks), refused.append)
        for _ in chunks:  # behind what could not be read
            pass
    _check_complete(client.name, held, refused, end)
    return _Passed(held, tuple(postgresql_limits.of_refused(refused)), sql_bytes, sha256.hexdigest())


def _pump_shared(
    commands: Sequence[Sequence[str]],
    shared: Shared,
    secret: int,
    variables: Mapping[str, str],
    write: Callable[[bytes], object],
    aside: Aside,
    watch: Watch,
) -> _Passed:
    """Run several clients and pass their output on as one text; return what it held."""
    with contextlib.ExitStack() as running:
        clients = [running.enter_context(child(command, [secret], variables=variables)) for command in commands]
        passed = together.pump(clients, shared.dealt, write, aside, watch, _check_ended)
    _check_complete(clients[0].name, passed.digest, passed.refused, passed.end)
    limits = tuple(postgresql_limits.of_refused(passed.refused))
    return _Passed(passed.digest, limits, passed.size, passed.sha256)


def _check_ended(client: Child) -> None:
    if status := client.wait():
        raise _failure(client.name, status, client.errors)


def _check_complete(client: str, held: DumpDigest, refused: Sequence[RestoreError], end: bytes) -> None:
    """:raises DumpError: a dump is cut short.

    :param end: the last bytes of it.
    """
    if not (held.complete or (refused and b"\n" + TRAILER + b"\n" in end)):
        raise DumpError(
            f"{client} ended with status 0 but without its completion line: the dump is cut short.",
            "Look at the server's log; the next try starts over.",
        )


def _failure(name: str, status: int, errors: str) -> DumpError:
    if status < 0:
        return DumpError(
            f"{name} was killed by {signal.Signals(-status).name}.", "Check the kernel log for the OOM killer."
        )
    return DumpError(f"{name} ended with status {status}: {errors or 'it gave no reason'}.", hint_for(errors))


def _client_version(path: str) -> str:
    with child([path, "--version"]) as client:
        version = b"".join(client.chunks())
        if status := client.wait():
            raise _failure(client.name, status, client.errors)
    return version.decode("utf-8", "replace").strip()


def _escaped(password: str) -> str:
    """Escape a password for a password file.

    :raises SettingsError: no line of such a file can hold it.
    """
    if re.search(r"[\r\n\0]", password):
        raise SettingsError("The password of PostgreSQL's connection holds a line break.", "Set one without.")
    return re.sub(r"([\\:])", r"\\\1", password)


class _Excluded(NamedTuple):
    """Tables whose rows a dump skips, as `exclude_tables` and `exclude_rows` say, with all below them.

    :param patterns: by which pg_dump knows all of them.
    :param warnings: about entries that mean no table.
    """

    tables: Sequence[str]
    rows: Sequence[str]
    patterns: Sequence[str]
    warnings: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.tables, *self.rows]


def _find_excluded(
    session: Connection[Any], database: str, excluded: Sequence[str], without_rows: Sequence[str]
) -> _Excluded:
    """Find the tables whose rows to skip, by names and patterns."""
    settings.take_any_bytes(session)
    rows = session.execute(_RELATIONS).fetchall()
    names = [name for name, _, _, _, rowless in rows if not rowless]
    parts = {name: (schema, table) for name, schema, table, is_own, rowless in rows if is_own and not rowless}
    rowless = {name: kind for name, *_, kind in rows if kind}
    of_tables, of_rows = (
        exclusion.find(setting, _unqualified(entries, names), names, parts, rowless=rowless)
        for setting, entries in (("exclude_tables", excluded), ("exclude_rows", without_rows))
    )
    found = _with_below(session, of_tables.tables, of_rows.tables)
    meant = {*of_tables.tables, *of_rows.tables}
    if below := [name for name in found.names if name not in meant]:
        log.info("Also excluded, as partitions or children of excluded tables: %s.", listed(below))
    warnings = [f"{database}: {warning}" for warning in (*of_tables.warnings, *of_rows.warnings)]
    for warning in warnings:
        log.warning("%s.", warning)
    return found._replace(warnings=warnings)


def _unqualified(entries: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return entries without the schema of names that a dump prints without it."""
    short = {f"{exclusion.PUBLIC}.{name}": name for name in names}
    return [entry if entry in names else short.get(entry, entry) for entry in entries]


def _with_below(session: Connection[Any], excluded: Sequence[str], without_rows: Sequence[str]) -> _Excluded:
    """Return tables with what is below them: partitions, and what inherits from them."""
    patterns: dict[str, str] = {}

    def below(names: Sequence[str]) -> list[str]:
        found = {
            table: f"{quoted(schema)}.{quoted(name)}"
            for table, schema, name in session.execute(_EXCLUDED, [list(names)]).fetchall()
            if table not in patterns
        }
        patterns.update(found)
        return [*(name for name in names if name in found), *sorted(found.keys() - set(names))]

    return _Excluded(below(excluded), below(without_rows), list(patterns.values()))


def _check_finished(session: Connection[Any], database: str) -> None:
    """:raises DumpError: a restore left the database unfinished: half a database is not a backup."""
    if database in _unfinished(session):
        raise DumpError(
            "a restore is filling the database, or was interrupted.",
            "Run that restore again; if the database is complete anyway, remove the mark"
            f" (COMMENT ON DATABASE {quoted(database)} IS NULL).",
        )


def _check_readable(session: Connection[Any], excluded: Sequence[str]) -> None:
    """:raises DumpError: there are rows that this user may not read, or not all of them."""
    found = [row for row in session.execute(_UNREADABLE).fetchall() if row[1] not in excluded]
    if found:
        reason = found[0][0]
        raise DumpError(f"{reason} {listed([name for why, name in found if why == reason])}.", hint_for(reason))


def _forced(session: Connection[Any]) -> list[str]:
    """Return the tables whose owner may not read all their rows, as a dump names them."""
    query = (
        "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relforcerowsecurity"
    )
    return [table for (table,) in session.execute(query).fetchall()]


def _force(session: Connection[Any], tables: Iterable[str], how: str) -> None:
    for table in tables:
        session.execute(f"ALTER TABLE ONLY {table} {how} ROW LEVEL SECURITY".encode())


def _names(session: Connection[Any]) -> set[str]:
    return {name for (name,) in session.execute("SELECT datname FROM pg_database").fetchall()}


def _unfinished(session: Connection[Any]) -> set[str]:
    """Return the databases that restores and drills are filling or left unfinished, as their marks say.

    Until it has its mark, nobody can have put anything into one: it allows no connections.
    """
    query = (
        "SELECT datname FROM pg_database WHERE starts_with(shobj_description(oid, 'pg_database'), %s)"
        " OR (NOT datallowconn AND starts_with(datname, %s))"
    )
    return {name for (name,) in session.execute(query, [MARK, names.FILLING]).fetchall()}


def _sweep(session: Connection[Any]) -> None:
    """Drop what killed restores left; those that are under way hold the locks of their places."""
    import psycopg

    for name in sorted(_unfinished(session)):
        if not name.startswith(names.FILLING) or not try_lock(session, name):
            continue
        try:
            if name in _unfinished(session):  # still: its restore may have ended meanwhile
                _drop(session, name)
                log.warning("Dropped %s, left behind by a killed restore.", name)
        except psycopg.Error as error:
            said = error.diag.message_primary or type(error).__name__
            log.warning(
                "%s was left behind by a killed restore, and this user cannot drop it: %s. Run as its owner: %s.",
                *(name, said, f"DROP DATABASE {quoted(name)}"),
            )
        finally:
            unlock(session, name)


def _create(session: Connection[Any], place: str, target: Target, mark: str) -> _Wish:
    """Make an empty database, marked; one of that name is dropped.

    :returns: what it should become.
    :raises RestoreError: the user's rights reach beyond databases; or the server cannot have a database like that.
    """
    _check_powers(session)
    wish = _wish(session, target)
    postgresql_database.check(wish.wanted)
    _drop(session, place)
    _make(session, place, wish, exactly=bool(target.captured and target.captured.properties))
    _comment(session, place, mark)
    session.execute(f"ALTER DATABASE {quoted(place)} ALLOW_CONNECTIONS true".encode())
    return wish


def _wish(session: Connection[Any], target: Target) -> _Wish:
    """Return what a database should become: what was captured of it, or what the server has of its name."""
    captured = target.captured
    like = _properties(session, target.database if target.exists or not captured else captured.database)
    wanted = like
    if captured and captured.properties:
        wanted = frozenset(captured.properties)
    elif captured and (captured.character_set, captured.collation) != (
        value_of(like, "encoding"),
        value_of(like, "collation"),
    ):
        facts = {"encoding": captured.character_set, "collation": captured.collation, "ctype": captured.collation}
        wanted = without(like, *LOCALE) | {Property(kind, value) for kind, value in facts.items()}
    # Nobody can drop a template, so copies are none.
    return _Wish(wanted if target.in_place else without(wanted, "template"), value_of(like, "owner"))


def _by_hand(session: Connection[Any], target: Target, wish: _Wish, extensions: Sequence[Extension]) -> str:
    """Say how an administrator prepares a database with extensions that this user may not make."""
    user, version = session.info.user, session.info.server_version
    name = target.database if not target.exists else names.with_suffix("postgresql", target.database, "_restored")
    owner = value_of(wish.wanted, "owner")
    may = session.execute("SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
    create = postgresql_database.creation(name, wish.wanted, version, owner if may == (True,) else user)
    first = "" if wish.before is not None else f"run {create}; then "
    lines = " ".join(prepared.lines(user, extensions))
    return f" Or let an administrator {first}run in {name!r}: {lines} Then restore into it."


def _make(session: Connection[Any], place: str, wish: _Wish, *, exactly: bool) -> None:
    """Make a database in its tablespace, if this user may, and with its locale.

    :param exactly: with its locale or not at all; otherwise with the server's, where the server lacks it.
    """
    import psycopg

    may = session.execute(
        "SELECT has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace WHERE spcname = %s",
        [value_of(wish.wanted, "tablespace")],
    ).fetchone()
    wanted = wish.wanted if may == (True,) else without(wish.wanted, "tablespace")
    create = postgresql_database.creation(place, wanted, session.info.server_version)
    try:
        session.execute(create.encode())
    except psycopg.Error as error:
        if error.sqlstate not in postgresql_limits.UNKNOWN_LOCALE:
            raise
        if exactly:
            raise RestoreError(
                f"the server cannot create a database with {postgresql_database.locale_text(wanted)}:"
                f" {error.diag.message_primary}.",
                LOCALE_HINT,
            ) from error
        log.warning(
            "The server does not know the locale %r; text is sorted by the server's own instead.",
            value_of(wanted, "collation"),
        )
        wanted = without(wanted, *LOCALE[1:])
        session.execute(postgresql_database.creation(place, wanted, session.info.server_version).encode())


def _properties(session: Connection[Any], database: str) -> Properties:
    asked = {"database": database, "ours": postgresql_role.PREFIX}
    return postgresql_database.read(session.execute(postgresql_database.QUERY, asked).fetchall())


def _apply(session: Connection[Any], database: str, wish: _Wish, kinds: Collection[str]) -> None:
    """Give a database properties of some kinds, as far as this user may and the server can."""
    import psycopg

    for change in changes(database, wish.wanted, _properties(session, database), kinds):
        if wish.before is not None and (change.what.kind == "owner" or change.what not in wish.wanted):
            continue
        if change.what.kind == "owner" and not _may_act_as(session, change.what.value):
            wish.refused[change.what] = f"{session.info.user} would not inherit its rights: GRANT ... WITH INHERIT TRUE"
            continue
        try:
            with session.transaction():
                session.execute(change.sql.encode())
        except psycopg.Error as error:
            if session.closed:
                raise
            reason = error.diag.message_primary or type(error).__name__
            quotes = postgresql_database.may_be_secret(change.what) and change.what.value in reason
            wish.refused[change.what] = "" if quotes else reason


def _may_act_as(session: Connection[Any], owner: str) -> bool:
    """Return whether this user could still rename and drop what it gives to a role; servers refuse unknown roles."""
    query = "SELECT pg_has_role(oid, 'USAGE') OR NOT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s"
    return session.execute(query, [owner]).fetchone() != (False,)


def _borrow_settings(session: Connection[Any], wish: _Wish) -> None:
    """Set what functions of an application may read, where only a superuser can set it for the database."""
    for each in wish.refused:
        if each.kind == "setting" and "." in each.name and not each.role:
            session.execute("SELECT set_config(%s, %s, false)", [each.name, each.value])


def _missed(session: Connection[Any], database: str, wish: _Wish) -> list[Missed]:
    """Return what a database does not have of what it should."""
    found = changes(database, wish.wanted, _properties(session, database))
    known = {name for (name,) in session.execute("SELECT rolname FROM pg_roles").fetchall()}
    lacking = sorted(postgresql_database.roles(change.what for change in found) - known)
    return [
        *(Missed("role", f"the server has no role {name}", f"CREATE ROLE {quoted(name)}") for name in lacking),
        *(
            Missed(each.what.kind, f"{each.text}{f' ({reason})' if reason else ''}", each.printed)
            for each in found
            for reason in [wish.refused.get(each.what, "")]
        ),
    ]


def _replaced(session: Connection[Any], database: str, wish: _Wish) -> list[Missed]:
    """Return what a database that will be replaced has, and the captured one did not."""
    found = changes(database, _properties(session, database), wish.wanted)
    return [Missed(each.what.kind, each.text, each.printed) for each in found]


def _ungiven(role: Role) -> list[Missed]:
    """Return which objects have another owner or other rights than those that were dumped, or are not there."""
    return [
        Missed(
            OF_OBJECTS,
            f"{plural(count, 'statement')} for owners, rights or optional objects skipped: {reason}",
        )
        for reason, count in role.refused.most_common()
    ]


def _check_powers(session: Connection[Any]) -> None:
    """:raises RestoreError: the user's rights reach beyond databases."""
    roles = ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"]
    rights = session.execute(
        "SELECT rolsuper OR EXISTS (SELECT 1 FROM unnest(%s::text[]) r WHERE pg_has_role(current_user, r, 'MEMBER'))"
        " FROM pg_roles WHERE rolname = current_user",
        [roles],
    ).fetchone()
    if rights == (True,):
        raise RestoreError(
            f"{session.info.user} is allowed to run programs on the server, so code in a dump could, too.",
            "Restore as a role that can only log in and create databases: restore_connection in the settings.",
        )


def _comment(session: Connection[Any], name: str, text: str) -> None:
    session.execute(f"COMMENT ON DATABASE {quoted(name)} IS {literal(text) if text else 'NULL'}".encode())


def _drop(session: Connection[Any], name: str) -> None:
    # Not WITH (FORCE): that wants the right to end autovacuum's workers, which a plain drop ends by itself.
    session.execute(OWN_SESSIONS_ENDED, (name, postgresql_role.PREFIX))
    session.execute(f"DROP DATABASE IF EXISTS {quoted(name)}".encode())


def _drop_after_failure(session: Connection[Any], name: str) -> None:
    """Drop a database if that works: what failed first is what to tell, and the next restore or drill drops it."""
    with contextlib.suppress(Exception):
        _drop(session, name)


def _check_target(session: Connection[Any], target: Target) -> bool:
    """Refuse early what would fail at the end.

    :returns: whether there is a database of that name that is not to be replaced.
    :raises RestoreError: somebody uses the one to be replaced, or this user may not replace it.
    """
    name = target.database
    if name not in _names(session):
        return False
    if not target.exists:
        return True
    _check_owner(session, name)
    users = session.execute(
        "SELECT DISTINCT coalesce(nullif(application_name, ''), 'a client') || ' of ' || usename"
        " FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'",  # the server's own, autovacuum, make room for a change of the name
        [name],
    ).fetchall()
    if users:
        who = ", ".join(str(user) for (user,) in users)
        raise RestoreError(f"Database {name!r} is in use by {who}.", "Stop the application, then restore again.")
    return False


def _check_owner(session: Connection[Any], name: str) -> None:
    """Refuse what only the owner of a database may do: to give it another name, and another database its owner.

    :raises RestoreError: this user cannot act as the owner of the database, if there is one of that name.
    """
    has_set = session.info.server_version >= postgresql_role.SET_IS_A_RIGHT
    row = session.execute(
        "SELECT pg_get_userbyid(datdba), pg_has_role(datdba, 'MEMBER'), pg_has_role(datdba, 'USAGE')"
        " AND pg_has_role(datdba, %s) FROM pg_database WHERE datname = %s",
        ["SET" if has_set else "MEMBER", name],
    ).fetchone()
    owner, is_member, may_act = row or ("", True, True)
    if may_act:
        return
    user = session.info.user
    options = " WITH SET TRUE, INHERIT TRUE" if has_set else ""
    inherit = "" if has_set or not is_member else f" And: ALTER ROLE {quoted(user)} INHERIT;"
    how = "may not act as" if is_member else "is not a member of"
    raise RestoreError(
        f"{user} {how} the role that owns database {name!r}.",
        "Grant it that role, so that the restored database keeps its owner: "
        f"GRANT {quoted(owner)} TO {quoted(user)}{options};{inherit}",
    )


def _put_in_place(session: Connection[Any], place: str, name: str, kept: str, wish: _Wish) -> None:
    """Give what was filled its name, and what would have been in the way of filling it.

    :param kept: the name that what is replaced gets; empty where nothing is.
    :raises RestoreError: somebody uses it.
    """
    from psycopg import errors

    deadline = time.monotonic() + SWAP_PATIENCE
    while True:
        try:
            with session.transaction():
                if kept:
                    session.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(kept)}".encode())
                if place != name:
                    session.execute(f"ALTER DATABASE {quoted(place)} RENAME TO {quoted(name)}".encode())
                _comment(session, name, value_of(wish.before or (), "comment"))
                _apply(session, name, wish, LAST)
            return
        except errors.ObjectInUse:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL)
