"""MySQL and MariaDB as an engine. What is being filled is marked, under its own name: schemas cannot be renamed."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lifeboat.databases import Access, Aside, Clock, Dump, Dumpable, Load, Loaded, Missed, Place, Server, Target, names
from lifeboat.databases.mysql import account as mysql_account
from lifeboat.databases.mysql import checks as mysql_checks
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import load as mysql_load
from lifeboat.databases.mysql import replay as mysql_replay
from lifeboat.databases.mysql import schema as mysql_schema
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql.account import Account
from lifeboat.databases.mysql.dump import IDLE_SECONDS, UNFINISHED, Session
from lifeboat.databases.mysql.logs import Logs
from lifeboat.databases.mysql.replay import Piece, Replay, Replayed
from lifeboat.databases.mysql.source import Taker
from lifeboat.databases.mysql.target import HINTS, UNLIMITED
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.errors import MismatchError, RestoreError
from lifeboat.support.logs import logger
from lifeboat.text import size_text

log = logger(__name__)


class Names(dict[str, bool]):
    """Names of schemas that the server stores in lower case, however they are asked for."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def __missing__(self, name: str) -> bool:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name."""
        return super().get(name.lower(), default)


class MySQL:
    """The schemas of one server.

    :param connect: opens a DB-API connection to `server`.
    :param clock: the site's.
    :param ask_taker: asks the server of the restore connection, where the settings name another.
    """

    def __init__(
        self,
        server: Server,
        connect: Callable[..., Any],
        clock: Clock,
        ask_taker: Callable[[Iterable[str]], Taker] | None = None,
    ) -> None:
        self._server, self._connect, self._clock, self._ask_taker = server, connect, clock, ask_taker
        self._accounts: dict[str, Account] = {}  # who fills what is being filled

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def logs(self) -> Logs:
        """The binary logs of the server."""
        return Logs(self._server, self._connect)

    def databases(self, asked: Collection[str] = ()) -> Mapping[str, bool]:
        with self._session("Listing of databases") as session:
            vacant = mysql_schema.vacant(session)
            found = {name: name not in vacant for name in mysql_schema.names(session)}
            return Names(found) if session.stored("A") == "a" else found

    def lacks_to_see_all(self) -> str:
        with self._session("Listing of grants") as session:
            return "" if mysql_schema.sees_all(session) else mysql_schema.SHOW_DATABASES

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
        return mysql.dump(
            self._connect,
            self._server,
            self._clock,
            database,
            excluded,
            write,
            self._ask_taker,
            without_rows=without_rows,
            may_lock=position,
            aside=aside,
        )

    def check_dump(self, database: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dumpable:
        return mysql.check_dump(
            self._connect, self._server, self._clock, database, excluded, self._ask_taker, without_rows
        )

    def taker(self, collations: Iterable[str]) -> Taker:
        """Return what the server would take of a dump.

        :param collations: that the dump uses.
        :raises RestoreError: the server does not answer.
        """
        with self._session("Querying server limits") as session:
            return mysql_source.read_taker(session, self._server.address, collations)

    def read_back(self, place: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dump:
        account = self._accounts[place]
        excluded = (*excluded, UNFINISHED)
        return mysql.dump(
            account.connect, account.server, self._clock, place, excluded, lambda chunk: None, without_rows=without_rows
        )

    @contextlib.contextmanager
    def target(self, target: Target) -> Iterator[Place]:
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(self._session(f"Restore of database {target.database!r}"))
            schema = session.stored(target.database)
            opened.enter_context(session.lock(schema))
            account = opened.enter_context(self._filled_by(session, schema, in_place=target.in_place, production=False))
            account.code.note_events(schema)
            place = Place(schema, staying=_begin(session, replace(target, database=schema)))
            try:
                yield place
            except MismatchError:
                self._finish(session, schema, account)  # it is whole, though not what was captured
                raise
            place.warnings.extend(self._finish(session, schema, account))

    @contextlib.contextmanager
    def scratch(
        self, key: str, captured: Dump, *, production: bool = False, beside: Collection[str] = ()
    ) -> Iterator[str]:
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(self._session(f"Drill of database {captured.database!r} of {key}"))
            schema = session.stored(names.scratch_name("mysql", captured.database, self._clock()))
            is_ours = not mysql_schema.names(session).isdisjoint(beside)  # this drill holds the server's lock
            if not is_ours:
                opened.enter_context(session.lock(names.PREFIX))
            opened.enter_context(self._filled_by(session, schema, in_place=False, production=production))
            if not is_ours:
                for left in names.leftovers(mysql_schema.names(session), mysql_schema.vacant(session)):
                    log.warning("Dropping %s, left behind by a killed drill.", left)
                    mysql_schema.drop(session, left)
            _check_space(session, captured)
            mysql_schema.create(session, schema, captured.character_set, captured.collation)
            mysql_schema.begin(session, schema, key, captured.character_set, captured.collation, ())
            try:
                yield schema
            except BaseException:
                with contextlib.suppress(Exception):  # what failed first is what to tell; the next drill drops it
                    mysql_schema.drop(session, schema)
                raise
            mysql_schema.drop(session, schema)

    def load(self, place: str, sql: Iterable[bytes], load: Load) -> Loaded:
        account = self._accounts[place]
        with self._session(f"Restore of database {place!r}") as session:
            load = replace(load, source=session.stored(load.source))
        return mysql_load.load(account.connect, account.server, place, sql, load, code=account.code)

    def replay(self, place: str, pieces: Iterable[tuple[Piece, Iterable[bytes]]], replay: Replay) -> Replayed:
        """Replay binary logs into a place of this engine that a dump was loaded into, as who loaded it.

        :param pieces: in the order of the server's log, each with its bytes.
        :raises RestoreError: nothing that was loaded or replayed counts then.
        """
        account = self._accounts[place]
        with (
            self._session(f"Restore of database {place!r}") as session,
            mysql_account.replaying(session, account) as role,
        ):
            replay = replace(replay, source=session.stored(replay.source))
            return mysql_replay.replay(
                account.connect, account.server, place, pieces, replay, code=account.code, role=role
            )

    @contextlib.contextmanager
    def _filled_by(self, session: Session, schema: str, *, in_place: bool, production: bool) -> Iterator[Account]:
        with mysql_account.confined(
            session, schema, self._server, self._connect, in_place=in_place, required=production
        ) as account:
            self._accounts[schema] = account
            yield account
            del self._accounts[schema]

    def _finish(self, session: Session, schema: str, account: Account) -> list[str]:
        """Give what was loaded to its owners, and take the mark away; return warnings."""
        with contextlib.closing(account.connect()) as connection:
            warnings = account.code.hand_over(Session(connection), schema, account.server.user)
        mysql_schema.finish(session, schema)
        return warnings

    def check_load(self, database: str) -> None:
        with (
            self._session(f"A load of {database!r}") as session,
            mysql_account.confined(session, database, self._server, self._connect, in_place=True, required=False),
        ):
            pass  # an account was made, and is dropped

    def check_replay(self, database: str) -> None:
        """Make sure that this connection may replay logs, as far as it makes an account for it; nothing is touched.

        :raises RestoreError: a replay would be refused once the dump is loaded.
        """
        with (
            self._session(f"A replay onto {database!r}") as session,
            mysql_account.confined(
                session, database, self._server, self._connect, in_place=True, required=False
            ) as account,
            mysql_account.replaying(session, account),
        ):
            pass

    def value(self, place: str, query: str, seconds: float) -> Sequence[str | None]:
        with mysql.translated(f"A check on {self._server.address} failed: ", RestoreError, HINTS):
            return mysql_checks.value(self._accounts[place].connect, place, query, seconds)

    @contextlib.contextmanager
    def lend(self, place: str) -> Iterator[Access]:
        account = self._accounts[place]
        if account.server.user == self._server.user:
            raise RestoreError(
                f"{self._server.user} loaded the database itself, as it may create no account there, and its own"
                " password is given to no command.",
                mysql_account.GRANTS,
            )
        try:
            yield Access(place, account.server)
        finally:
            with mysql.translated(f"A check on {self._server.address} failed: ", RestoreError, HINTS):
                mysql_checks.end_connections(account.connect)

    def rehearse(self, place: str) -> Sequence[Missed]:
        return ()

    def describe_failure(self, target: Target) -> str:
        name, key = target.database, target.key
        if target.in_place:
            return (
                f"Database {name!r} is partially restored and marked unfinished: restore {key} over it again,"
                " which starts over."
            )
        return (
            f"Schema {name!r} is partially restored and marked unfinished: restore {key} again, then drop it"
            f" (DROP DATABASE {backquoted(name)})."
        )

    @contextlib.contextmanager
    def _session(self, doing: str) -> Iterator[Session]:
        where = f"{doing} on {self._server.address} failed: "
        with mysql.translated(where, RestoreError, HINTS), contextlib.closing(self._connect()) as connection:
            session = Session(connection)
            session.execute(UNLIMITED)
            session.execute(b"SET SESSION wait_timeout = %d" % IDLE_SECONDS)  # it rests while others work
            yield session


def _begin(session: Session, target: Target) -> frozenset[str]:
    """Make the schema ready, unless somebody made one of that name since it was planned.

    :returns: the tables that stay in it as they are, as the dump spells them.
    """
    schema, captured = target.database, target.captured
    existing = mysql_schema.names(session)
    if schema in existing - mysql_schema.vacant(session) and not target.exists:
        raise RestoreError(
            f"Database {schema!r} was created after this restore was planned; it was not changed.",
            "Select the archive again, with another target name.",
        )
    charset = (captured.character_set, captured.collation) if captured else ("", "")
    if schema not in existing:
        mysql_schema.create(session, schema, *charset)
    staying = mysql_schema.staying(session, schema, captured) if captured else {}
    mysql_schema.begin(session, schema, target.key, *charset, staying.values())
    defined = captured.structure_only if captured else ()
    mysql_schema.drop_triggers(session, schema, [own for name, own in staying.items() if name in defined])
    return frozenset(staying)


def _check_space(session: Session, captured: Dump) -> None:
    """Make sure that a scratch server on this machine has room; of another one, nobody but itself knows.

    :raises RestoreError: it has not.
    """
    ((directory, host),) = session.query("SELECT @@datadir, @@hostname")
    if host != socket.gethostname() or not Path(directory).is_dir():
        return
    needed, free = captured.sql_bytes * names.INDEXES, shutil.disk_usage(directory).free
    if needed > free:
        raise RestoreError(
            f"The scratch server has {size_text(free)} free in {directory}, and may need {size_text(needed)}.",
            "Free some space there, or name another server under drill.connection.",
        )
