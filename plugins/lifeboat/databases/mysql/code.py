"""Code of a dump for MySQL and MariaDB: views, triggers, routines and events, which run with the rights of an account.

While a dump is loaded, all of it belongs to the account that loads, and no event runs. When everything is there and
was compared, the restore connection gives it to the accounts that owned it: from what the server prints, not from the
text of the dump. What it cannot give to anybody stays with the account that loaded, which has rights on that schema
only. So nothing of a dump runs with the rights of the restore connection, unless the dump names its account.

Events run without being asked. One runs again where its owner reaches nothing beyond the schema, or where the very
same event ran in the schema that is replaced; the others stay disabled, and the restore says by what statement they
are enabled.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lifeboat.databases.mysql import definitions
from lifeboat.databases.mysql import schema as mysql_schema
from lifeboat.databases.mysql.dump import Session, has_roles, is_of_driver, reaches_only
from lifeboat.databases.mysql.lexis import Lexis
from lifeboat.databases.mysql.schema import drop_code
from lifeboat.databases.mysql.statements import as_client_wrote, in_character_set, recognise
from lifeboat.databases.mysql.target import UNLIMITED
from lifeboat.databases.mysql.workers import stopping
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.databases.sql.reader import Statement
from lifeboat.databases.workers import Job, Workers
from lifeboat.errors import RestoreError
from lifeboat.text import listed

DENIED = 1227
STATUSES = frozenset(("ENABLE", "DISABLE", "DISABLE ON SLAVE", "DISABLE ON REPLICA"))
_NAMES_OTHERS = re.compile(r"\b(?:SUPER|SET USER|SET_USER_ID|SET_ANY_DEFINER|ALL PRIVILEGES)\b.* ON \*\.\* ")
PLAIN = b"SET SESSION sql_mode = '', character_set_client = utf8mb4, character_set_results = utf8mb4"
CONNECTIONS = 4
WORTH_A_CONNECTION = 16  # views that take longer than to log in
HIDDEN = b"None"  # to users without permission
TRUST = "log_bin_trust_function_creators"
Owner = tuple[str, str]  # user and host

# Of all code but libraries: kind, schema, name, owner. Views come before the routines that they call: an owner of these
# may have no rights on a copy. Packages come before their bodies, triggers in the order in which they fire.
_CODE = (
    "SELECT 'VIEW', table_schema, table_name, definer FROM information_schema.views WHERE table_schema {test} %s",
    "SELECT routine_type, routine_schema, routine_name, definer FROM information_schema.routines"
    " WHERE routine_schema {test} %s ORDER BY routine_type, routine_name",
    "SELECT 'TRIGGER', trigger_schema, trigger_name, definer FROM information_schema.triggers"
    " WHERE trigger_schema {test} %s ORDER BY event_object_table, action_timing, event_manipulation, action_order",
    "SELECT 'EVENT', event_schema, event_name, definer FROM information_schema.events WHERE event_schema {test} %s",
)
_NAMED = rb"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")"
_HEAD = re.compile(rb"CREATE (?:OR REPLACE )?((?:ALGORITHM=\w+ )?)DEFINER=%b@%b " % (_NAMED, _NAMED))


@dataclass(frozen=True)
class _Made:
    """Code as the server prints it.

    :param settings: makes a session like the one in which it was made.
    :param character_set: in which that session reads.
    :param collation: of its schema at that time; empty for views.
    """

    kind: str
    name: str
    sql: bytes
    settings: bytes
    character_set: str
    collation: str

    @property
    def body(self) -> tuple[bytes, bytes]:
        """Its definition, without what is said of its owner: what stands before, and behind.

        :raises RestoreError: the server prints it in another form.
        """
        if self.kind == "LIBRARY":  # belongs to the user who makes it
            return b"", self.sql
        head = _HEAD.match(self.sql)
        if not head:
            raise RestoreError(
                f"The server prints {self.kind.lower()} {self.name!r} in a form that Lifeboat does not know."
            )
        return head[1], self.sql[head.end() :].rstrip(definitions.BEHIND_BODY)

    @property
    def facts(self) -> tuple[object, ...]:
        """All that is not its owner."""
        return self.body, self.settings, self.collation

    def as_run_by(self, owner: Owner) -> tuple[object, ...]:
        """All that an event is once it is another account's, but for whether it runs."""
        _, rest = self.body
        return owner, definitions.disabled(Statement("event", self.name, rest)).sql, self.settings, self.collation

    def owned_by(self, owner: Owner, status: str) -> bytes:
        """Return the statement that gives it to another account.

        :param status: of an event: whether it runs. The rest of it stays as it is.
        """
        if self.kind == "EVENT":
            name = in_character_set(backquoted(self.name).encode(), self.character_set)
            return b"ALTER DEFINER=%b EVENT %b %b" % (_account(owner), name, status.encode())
        if self.kind == "LIBRARY":
            return self.sql
        algorithm, rest = self.body
        create = b"CREATE OR REPLACE " if self.kind == "VIEW" else b"CREATE "
        made = recognise(create + algorithm + b"DEFINER=" + _account(owner) + b" " + rest)
        if made is None:
            raise RestoreError(
                f"The server prints {self.kind.lower()} {self.name!r} in a form that Lifeboat does not know."
            )
        lexis = Lexis(backslash_escapes=b"NO_BACKSLASH_ESCAPES" not in self.settings, character_set=self.character_set)
        if self.kind == "VIEW":
            return made.sql
        # MySQL prints the name in UTF-8, as it is; MariaDB in the character set.
        return as_client_wrote(made, lexis, of_mariadb=made.name != self.name).sql


@dataclass(frozen=True)
class _Owners:
    """To whom the restore connection may give code.

    :param own: its own account.
    :param accounts: all accounts of the server; None where it may not see them.
    :param names_others: whether it may name another one than its own, as far as anybody can tell.
    """

    own: Owner
    accounts: frozenset[Owner] | None
    names_others: bool

    def lack(self, owner: Owner) -> str:
        """Say why an account cannot have code; empty where it can."""
        if self.accounts is not None and owner not in self.accounts:
            return "the server has no such account"
        if owner != self.own and not self.names_others:
            return "this user may not set that account as definer"
        return ""


def _owners(session: Session) -> _Owners:
    grants = [grant for (grant,) in session.query("SHOW GRANTS")]
    names_others = has_roles(grants) or any(_NAMES_OTHERS.search(grant) for grant in grants)
    try:
        accounts = frozenset((name, at) for name, at in session.query("SELECT User, Host FROM mysql.user"))
    except Exception as error:
        if not is_of_driver(error):
            raise
        accounts = None
    return _Owners(_account_of(session), accounts, names_others)


class Code:
    """Remembers of a dump's code what it lacks while it is loaded: its owner, and whether an event runs.

    :param session: of the restore connection; without one, the code stays with who loads.
    :param connect: opens another connection like that, for what takes long one by one.
    :param in_place: the schema takes the place of the dumped one, so its events are to run.
    """

    def __init__(
        self, session: Session | None = None, connect: Callable[[], Any] | None = None, *, in_place: bool = False
    ) -> None:
        self._session, self._connect, self._in_place = session, connect, in_place
        self._owners = _owners(session) if session else _Owners(("", ""), None, names_others=True)
        self._folds = session is not None and session.stored("A") == "a"  # names, whatever their case
        self._remembered: dict[tuple[str, str], tuple[Owner | None, str]] = {}
        self._lost: dict[Owner, str] = {}
        self._asleep: list[str] = []
        self._ran: dict[str, tuple[object, ...]] = {}  # events of the schema that is replaced
        self.before: Callable[[], object] = lambda: None  # to be called before the first statement of a dump runs

    def note_events(self, schema: str) -> None:
        """Note which events run in a schema that is about to be replaced."""
        session = self._session
        if session is None or not self._in_place:
            return
        running = session.query(
            "SELECT event_name, definer FROM information_schema.events WHERE event_schema = %s AND status = 'ENABLED'",
            schema,
        )
        if running:
            session.execute(b"USE " + backquoted(schema).encode())
        for name, definer in running:
            user, _, host = definer.rpartition("@")
            self._ran[name] = _read(session, "EVENT", name).as_run_by((user, host))

    def as_made(self, statement: Statement) -> Statement:
        """Return a definition that belongs to the user who runs it; no event runs."""
        owner, status = definitions.definer_of(statement), ""
        if owner and (reason := self._owners.lack(owner)):
            self._lost[owner] = reason
            owner = None
        if statement.kind == "event":
            status = definitions.status_of(statement)
            if status == "ENABLE" and not self._in_place:
                self._asleep.append(statement.name)
            statement = definitions.disabled(statement)
        self._remembered[self._key(statement.kind.upper(), statement.name)] = (owner, status)
        return definitions.without_definer(statement)

    def rename(self, kind: str, old: str, new: str) -> None:
        """Take note that code of a name has got another one, if there is any."""
        if found := self._remembered.pop(self._key(kind, old), None):
            self._remembered[self._key(kind, new)] = found

    def _key(self, kind: str, name: str) -> tuple[str, str]:
        return kind, name.lower() if self._folds else name

    def warnings(self) -> Iterator[str]:
        """Tell what will belong to somebody else, and which events will not run."""
        for owner, reason in self._lost.items():
            yield f"definer {'@'.join(owner)} was dropped: {reason}; its code has rights on this database only"
        if self._asleep:
            yield f"events are disabled here, because they run in the original: {listed(self._asleep)}"

    def making(self) -> contextlib.AbstractContextManager[None]:
        """Let code be made, as far as the restore connection may say so."""
        return trusted(self._session) if self._session else contextlib.nullcontext()

    def hand_over(self, reader: Session, schema: str, user: str) -> list[str]:
        """Give the code in a schema to its owners, and let those events run that are to.

        :param reader: of the account that loaded, whose name is `user`: what belongs to it, it can see.
        :returns: warnings of what could not be given to its owner, and of events that do not run.
        :raises RestoreError: something does not become what it was.
        """
        session, connect = self._session, self._connect
        if session is None or connect is None:
            return []
        for each in (session, reader):
            _begin(each, schema)
        named = belonging(session, user, schema)
        with _in_bytes(reader):  # once for all: of views, some databases have thousands
            made = [_printed(reader, kind, name) for kind, _, name in named]
        reader.execute(b"COMMIT")  # a library is locked for who has read it
        views = [code for code in made if code.kind == "VIEW"]
        with trusted(session):
            warnings = list(self._give_views(connect, session, reader, schema, views))
            rest = [code for code in made if code.kind != "VIEW"]
            warnings += [warning for code in rest for warning in self._make(session, reader, schema, code)]
        for code in made:
            _check(session, code)
        return warnings

    def _give_views(
        self, connect: Callable[[], Any], session: Session, reader: Session, schema: str, views: Sequence[_Made]
    ) -> Iterator[str]:
        """Give views to their owners, over several connections if there are many; yield warnings.

        A server takes most of its time to make each durable, and makes several so at once. Views go before those that
        they read: a view whose owner lacks rights is none for who reads it.
        """
        by_name = {backquoted(view.name).encode(): view for view in views}
        waves = definitions.waves_of_readers({name: view.sql for name, view in by_name.items()})
        with contextlib.ExitStack() as opened:
            count = min(CONNECTIONS, len(views) // WORTH_A_CONNECTION)
            makers = [opened.enter_context(_another(connect, schema)) for _ in range(count)]
            stop = opened.enter_context(stopping(makers, session))
            workers = opened.enter_context(Workers(session, makers, stop))
            set_up: dict[Session, bytes] = {}
            for wave in waves:
                late = [] if makers else [by_name[name] for name in wave]
                for name in wave if makers else ():
                    workers.submit(Job(partial(self._give, view=by_name[name], set_up=set_up, late=late)))
                workers.wait()
                for view in late:
                    yield from self._make(session, reader, schema, view)

    def _give(self, session: Session, view: _Made, set_up: dict[Session, bytes], late: list[_Made]) -> None:
        """Make a view again as its owner's; note it where the server refuses, whatever the reason.

        :param set_up: what each session was set up by.
        """
        owner, _ = self._remembered.get(self._key(view.kind, view.name), (None, ""))
        if not owner:
            return
        try:
            if set_up.get(session) != view.settings:
                session.execute(view.settings)
                set_up[session] = view.settings
            session.execute(view.owned_by(owner, ""))
        except Exception as error:
            if not is_of_driver(error):
                raise
            late.append(view)

    def _make(self, session: Session, reader: Session, schema: str, code: _Made) -> Iterator[str]:
        """Make something again as its owner's; triggers, one after the other, keep their order.

        What cannot be its owner's stays with, or goes back to, the account that loaded.
        """
        owner, status = self._remembered.get(self._key(code.kind, code.name), (None, ""))
        if code.kind == "LIBRARY":
            owner = self._owners.own  # it has no rights of an owner, but keeps the server from dropping one
        if owner is None and code.kind not in ("TRIGGER", "EVENT"):
            return
        if code.kind not in ("VIEW", "EVENT"):
            drop_code(session, code.kind, schema, code.name)
        if owner:
            runs, warning = self._status(code, owner, status, schema)
            try:
                _make_as(session, schema, code, code.owned_by(owner, runs))
            except Exception as error:
                if not is_of_driver(error) or code.kind == "LIBRARY":
                    raise
                # A view of a copy, say, whose owner has no rights on the copy.
                yield (
                    f"{code.kind.lower()} {code.name!r} cannot be given to {'@'.join(owner)} (error {error.args[0]}):"
                    " it has rights on this database only"
                )
            else:
                yield from filter(None, [warning])
                return
        if code.kind != "VIEW":
            runs = status if self._in_place and status in STATUSES else "DISABLE"
            _make_as(reader, schema, code, code.owned_by(_account_of(reader), runs))

    def _status(self, code: _Made, owner: Owner, wanted: str, schema: str) -> tuple[str, str]:
        """Say whether an event is to run as its owner's, and warn where it was to and is not."""
        if code.kind != "EVENT" or not self._in_place or wanted not in STATUSES:
            return "DISABLE", ""
        ran = self._ran.get(code.name) == code.as_run_by(owner)
        if wanted != "ENABLE" or ran or (self._session and _is_confined(self._session, owner, schema)):
            return wanted, ""
        enable = f"ALTER DEFINER={_account(owner).decode()} EVENT {backquoted(schema)}.{backquoted(code.name)} ENABLE"
        return "DISABLE", (
            f"event {code.name!r} is disabled: it did not run here before in this form, and {'@'.join(owner)} "
            f"may have rights beyond this database. Review it, then: {enable}"
        )


def _make_as(session: Session, schema: str, code: _Made, sql: bytes) -> None:
    """Make something in a session like the one in which it was made."""
    with _collated(session, schema, code.collation):
        session.execute(code.settings)
        try:
            session.execute(sql)
        finally:
            session.execute(PLAIN)


def _account_of(session: Session) -> Owner:
    ((account,),) = session.query("SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    return user, host


def _is_confined(session: Session, owner: Owner, schema: str) -> bool:
    """Return whether the server says that an account has rights on one schema only."""
    try:
        grants = [grant for (grant,) in session.query(f"SHOW GRANTS FOR {_account(owner).decode()}")]
    except Exception as error:
        if not is_of_driver(error):
            raise
        return False  # this user may not look at it
    return reaches_only(grants, schema)


@contextlib.contextmanager
def _another(connect: Callable[[], Any], schema: str) -> Iterator[Session]:
    """Open another session that is ready to take code."""
    with contextlib.closing(connect()) as connection:
        session = Session(connection)
        _begin(session, schema)
        yield session


def _begin(session: Session, schema: str) -> None:
    """Make a session ready to take code as the server prints it."""
    session.one_statement_at_a_time()
    for sql in (UNLIMITED, PLAIN, b"USE " + backquoted(schema).encode()):
        session.execute(sql)


def _account(owner: Owner) -> bytes:
    return "@".join(map(backquoted, owner)).encode()


def _read(session: Session, kind: str, name: str) -> _Made:
    """Ask the server how something was made, in the bytes in which it was."""
    with _in_bytes(session):
        return _printed(session, kind, name)


@contextlib.contextmanager
def _in_bytes(session: Session) -> Iterator[None]:
    session.execute(b"SET SESSION character_set_results = binary")
    try:
        yield
    finally:
        session.execute(PLAIN)


def _printed(session: Session, kind: str, name: str) -> _Made:
    ((_, *row),) = session.query(f"SHOW CREATE {kind} {backquoted(name)}")
    fields = [bytes(field) if isinstance(field, bytes | bytearray) else str(field).encode() for field in row]
    mode = b"" if kind == "VIEW" else fields.pop(0)
    zone = b", time_zone = '%b'" % fields.pop(0) if kind == "EVENT" else b""
    if kind == "LIBRARY":
        return _Made(kind, name, fields[0], b"SET SESSION sql_mode = '%b'" % mode, "utf8mb4", "")
    sql, client, connection, *schema = fields
    settings = b"SET SESSION sql_mode = '%b', character_set_client = '%b', collation_connection = '%b'%b" % (
        mode,
        client,
        connection,
        zone,
    )
    return _Made(kind, name, sql, settings, client.decode(), schema[0].decode() if schema else "")


def _check(session: Session, code: _Made) -> None:
    """Make sure that something became what it was, where the restore connection may see that.

    :raises RestoreError: it did not.
    """
    if code.kind in ("EVENT", "VIEW"):
        return  # altered, on purpose; and printed by MariaDB as its owner has rights or has none
    again = _read(session, code.kind, code.name)
    if again.sql != HIDDEN and again.facts != code.facts:
        raise RestoreError(f"{code.kind.capitalize()} {code.name!r} changed when it was given to its owner.")


@contextlib.contextmanager
def _collated(session: Session, schema: str, collation: str) -> Iterator[None]:
    """Give a schema the collation under which something was made there."""
    now = session.query("SELECT @@collation_database")[0][0] if collation else ""
    if collation == now:
        yield
        return
    alter = f"ALTER DATABASE {backquoted(schema)} COLLATE "
    session.execute((alter + collation).encode())
    try:
        yield
    finally:
        session.execute((alter + now).encode())


@contextlib.contextmanager
def trusted(session: Session) -> Iterator[None]:
    """Let functions and triggers be made without SUPER, on a server that logs rows, where they do no harm to replicas.

    If the restore connection may not say so, the server refuses them, and the hint says what to set.
    """
    query = "SELECT @@GLOBAL.log_bin, @@GLOBAL.log_bin_trust_function_creators, @@GLOBAL.binlog_format"
    ((logs, trusts, form),) = session.query(query)
    if not logs or trusts or form != "ROW":
        yield
        return
    with session.lock(TRUST):
        try:
            session.execute(f"SET GLOBAL {TRUST} = ON".encode())
        except Exception as error:
            if not is_of_driver(error) or error.args[0] != DENIED:
                raise
            yield
            return
        try:
            yield
        finally:
            session.execute(f"SET GLOBAL {TRUST} = OFF".encode())


def drop(session: Session, user: str) -> None:
    """Drop all code that belongs to an account."""
    for kind, schema, name in belonging(session, user, ""):
        drop_code(session, kind, schema, name)


def belonging(session: Session, user: str, schema: str) -> list[tuple[str, str, str]]:
    """Return kind, schema and name of what belongs to an account, in a schema or, without one, anywhere."""
    test = "=" if schema else "<>"  # a pattern would make MariaDB open the views of all schemas
    libraries = [
        ("LIBRARY", *library) for library in mysql_schema.libraries(session) if library[0] == schema or not schema
    ]
    found = [*libraries, *(row for query in _CODE for row in session.query(query.format(test=test), schema))]
    return [(kind, place, name) for kind, place, name, definer in found if definer.rpartition("@")[0] == user]
