"""Code of a dump for MySQL and MariaDB: views, triggers, routines and events, which run with the rights of an account.

While a dump is loaded, all of it belongs to the account that loads, and no event runs. When everything is there and
was compared, the restore connection gives it to the accounts that owned it: from what the server prints, not from the
text of the dump, so that nothing of a dump runs with the rights of the restore connection.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lifeboat.databases import mysql_definitions as definitions
from lifeboat.databases import mysql_schema
from lifeboat.databases.mysql import Session, has_roles, is_of_driver
from lifeboat.databases.mysql_schema import drop_code, quoted
from lifeboat.databases.mysql_statements import Statement
from lifeboat.databases.mysql_target import UNLIMITED
from lifeboat.errors import RestoreError
from lifeboat.logs import logger
from lifeboat.text import listed

log = logger(__name__)

DENIED = 1227
STATUSES = frozenset(("ENABLE", "DISABLE", "DISABLE ON SLAVE", "DISABLE ON REPLICA"))
_NAMES_OTHERS = re.compile(r"\b(?:SUPER|SET USER|SET_USER_ID|SET_ANY_DEFINER|ALL PRIVILEGES)\b.* ON \*\.\* ")
PLAIN = b"SET SESSION sql_mode = '', character_set_client = utf8mb4, character_set_results = utf8mb4"
HIDDEN = b"None"  # from who may not see it
TRUST = "log_bin_trust_function_creators"
Owner = tuple[str, str]  # user and host

# Of all code but libraries: kind, schema, name, owner. Views come before the routines that they call: an owner of these
# may have no rights on a copy. Packages come before their bodies, triggers in the order in which they fire.
_CODE = (
    "SELECT 'VIEW', table_schema, table_name, definer FROM information_schema.views WHERE table_schema LIKE %s",
    "SELECT routine_type, routine_schema, routine_name, definer FROM information_schema.routines"
    " WHERE routine_schema LIKE %s ORDER BY routine_type, routine_name",
    "SELECT 'TRIGGER', trigger_schema, trigger_name, definer FROM information_schema.triggers"
    " WHERE trigger_schema LIKE %s ORDER BY event_object_table, action_timing, event_manipulation, action_order",
    "SELECT 'EVENT', event_schema, event_name, definer FROM information_schema.events WHERE event_schema LIKE %s",
)
_NAMED = rb"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")"
_HEAD = re.compile(rb"CREATE (?:OR REPLACE )?((?:ALGORITHM=\w+ )?)DEFINER=%b@%b " % (_NAMED, _NAMED))


@dataclass(frozen=True)
class _Made:
    """Code as the server prints it.

    :param settings: makes a session like the one in which it was made.
    :param collation: of its schema at that time; empty for views.
    """

    kind: str
    name: str
    sql: bytes
    settings: bytes
    collation: str

    @property
    def body(self) -> tuple[bytes, bytes]:
        """Its definition, without what is said of its owner: what stands before, and behind.

        :raises RestoreError: the server prints it in another form.
        """
        if self.kind == "LIBRARY":  # which belongs to whoever makes it
            return b"", self.sql
        head = _HEAD.match(self.sql)
        if not head:
            raise RestoreError(f"The server prints {self.kind.lower()} {self.name!r} in a form that nobody knows here.")
        return head[1], self.sql[head.end() :]

    @property
    def facts(self) -> tuple[object, ...]:
        """All that is not its owner."""
        return self.body, self.settings, self.collation

    def owned_by(self, owner: Owner, status: str) -> bytes:
        """Return the statement that gives it to another account.

        :param status: of an event: whether it runs. The rest of it stays as it is.
        """
        if self.kind == "EVENT":
            return b"ALTER DEFINER=%b EVENT %b %b" % (_account(owner), quoted(self.name).encode(), status.encode())
        if self.kind == "LIBRARY":
            return self.sql
        algorithm, rest = self.body
        create = b"CREATE OR REPLACE " if self.kind == "VIEW" else b"CREATE "
        return create + algorithm + b"DEFINER=" + _account(owner) + b" " + rest


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
            return "this user cannot define in that account's name"
        return ""


def _owners(session: Session) -> _Owners:
    ((account,),) = session.query("SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    grants = [grant for (grant,) in session.query("SHOW GRANTS")]
    names_others = has_roles(grants) or any(_NAMES_OTHERS.search(grant) for grant in grants)
    try:
        accounts = frozenset((name, at) for name, at in session.query("SELECT User, Host FROM mysql.user"))
    except Exception as error:
        if not is_of_driver(error):
            raise
        accounts = None
    return _Owners((user, host), accounts, names_others)


class Code:
    """Remembers of a dump's code what it lacks while it is loaded: its owner, and whether an event runs.

    :param session: of the restore connection; without one, the code stays with who loads.
    :param in_place: the schema takes the place of the dumped one, so its events are to run.
    """

    def __init__(self, session: Session | None = None, *, in_place: bool = False) -> None:
        self._session, self._in_place = session, in_place
        self._owners = _owners(session) if session else _Owners(("", ""), None, names_others=True)
        self._remembered: dict[tuple[str, str], tuple[Owner | None, str]] = {}
        self._lost: dict[Owner, str] = {}
        self._asleep: list[str] = []
        self._ownerless: list[str] = []
        self.before: Callable[[], object] = lambda: None  # to be called before the first statement of a dump runs
        self.set_up: tuple[bytes, ...] = ()  # makes a session one that takes what other servers took, until then

    def as_made(self, statement: Statement) -> Statement:
        """Return a definition that belongs to whoever runs it; no event runs."""
        owner, status = definitions.definer_of(statement), ""
        if owner and (reason := self._owners.lack(owner)):
            self._lost[owner] = reason
            owner = None
        if statement.kind == "event":
            status = definitions.status_of(statement)
            if status == "ENABLE" and not (self._in_place and owner):
                (self._ownerless if self._in_place else self._asleep).append(statement.name)
            statement = definitions.disabled(statement)
        self._remembered[statement.kind.upper(), statement.name] = (owner, status)
        return definitions.without_definer(statement)

    def warnings(self) -> Iterator[str]:
        """Tell what will belong to somebody else, and which events will not run."""
        for owner, reason in self._lost.items():
            yield f"definer {'@'.join(owner)} was dropped: {reason}"
        if self._asleep:
            yield f"events are disabled here, for they run in the original: {listed(self._asleep)}"
        if self._ownerless:
            yield f"events are disabled, for they would run as the user who restores: {listed(self._ownerless)}"

    def making(self) -> contextlib.AbstractContextManager[None]:
        """Let code be made, as far as the restore connection may say so."""
        return trusted(self._session) if self._session else contextlib.nullcontext()

    def hand_over(self, reader: Session, schema: str, user: str) -> None:
        """Give the code in a schema to its owners, and let those events run that are to.

        :param reader: of the account that loaded, whose name is `user`: what belongs to it, it can see.
        :raises RestoreError: something does not become what it was.
        """
        session = self._session
        if session is None:
            return
        for each in (session, reader):
            each.one_statement_at_a_time()
            for sql in (UNLIMITED, PLAIN, b"USE " + quoted(schema).encode()):
                each.execute(sql)
        found = [_read(reader, kind, name) for kind, _, name in _belonging(session, user, schema)]
        reader.execute(b"COMMIT")  # a library is locked for who has read it
        views = _readers_first([code for code in found if code.kind == "VIEW"])
        made = [*views, *(code for code in found if code.kind != "VIEW")]
        with trusted(session):
            for code in made:
                self._make(session, schema, code)
        for code in made:
            _check(session, code)

    def _make(self, session: Session, schema: str, code: _Made) -> None:
        """Make something again as another account's; triggers, one after the other, keep their order.

        An event that its own account cannot have would run with the rights of the restore connection: it does not run.
        """
        owner, status = self._remembered.get((code.kind, code.name), (None, ""))
        if code.kind not in ("VIEW", "EVENT"):
            drop_code(session, code.kind, schema, code.name)
        runs = status if self._in_place and owner and status in STATUSES else "DISABLE"
        with _collated(session, schema, code.collation):
            session.execute(code.settings)
            try:
                session.execute(code.owned_by(owner or self._owners.own, runs))
            except Exception as error:
                if not is_of_driver(error) or owner in (None, self._owners.own):
                    raise
                # A view of a copy, say, whose owner has no rights on the copy.
                log.warning(
                    "%s %r cannot be given to %s (error %s); it belongs to the restore connection%s.",
                    *(code.kind.capitalize(), code.name, "@".join(owner), error.args[0]),
                    ", and is disabled" if code.kind == "EVENT" else "",
                )
                session.execute(code.owned_by(self._owners.own, "DISABLE"))
            session.execute(PLAIN)


def _readers_first(views: Sequence[_Made]) -> Iterator[_Made]:
    """Yield views that read others before those: a view whose owner lacks rights is none for who reads it."""
    remaining = list(views)
    while remaining:
        names = [quoted(view.name).encode() for view in remaining]
        read = {name for view in remaining for name in names if name in view.sql.partition(b" AS ")[2]}
        first = [view for view, name in zip(remaining, names, strict=True) if name not in read] or remaining
        yield from first
        remaining = [view for view in remaining if view not in first]


def _account(owner: Owner) -> bytes:
    return "@".join(map(quoted, owner)).encode()


def _read(session: Session, kind: str, name: str) -> _Made:
    """Ask the server how something was made, in the bytes in which it was."""
    session.execute(b"SET SESSION character_set_results = binary")
    ((_, *row),) = session.query(f"SHOW CREATE {kind} {quoted(name)}")
    session.execute(PLAIN)
    fields = [bytes(field) if isinstance(field, bytes | bytearray) else str(field).encode() for field in row]
    mode = b"" if kind == "VIEW" else fields.pop(0)
    zone = b", time_zone = '%b'" % fields.pop(0) if kind == "EVENT" else b""
    if kind == "LIBRARY":
        return _Made(kind, name, fields[0], b"SET SESSION sql_mode = '%b'" % mode, "")
    sql, client, connection, *schema = fields
    settings = b"SET SESSION sql_mode = '%b', character_set_client = '%b', collation_connection = '%b'%b" % (
        mode,
        client,
        connection,
        zone,
    )
    return _Made(kind, name, sql, settings, schema[0].decode() if schema else "")


def _check(session: Session, code: _Made) -> None:
    """Make sure that something became what it was, where the restore connection may see that.

    :raises RestoreError: it did not.
    """
    if code.kind in ("EVENT", "VIEW"):
        return  # altered, on purpose; and printed by MariaDB as its owner has rights or has none
    again = _read(session, code.kind, code.name)
    if again.sql != HIDDEN and again.facts != code.facts:
        raise RestoreError(f"{code.kind.capitalize()} {code.name!r} is not what it was once it has its owner.")


@contextlib.contextmanager
def _collated(session: Session, schema: str, collation: str) -> Iterator[None]:
    """Give a schema the collation under which something was made there."""
    ((now,),) = session.query("SELECT @@collation_database")
    if not collation or collation == now:
        yield
        return
    alter = f"ALTER DATABASE {quoted(schema)} COLLATE "
    session.execute((alter + collation).encode())
    yield
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
    for kind, schema, name in _belonging(session, user, ""):
        drop_code(session, kind, schema, name)


def _belonging(session: Session, user: str, schema: str) -> list[tuple[str, str, str]]:
    """Return kind, schema and name of what belongs to an account, in a schema or, without one, anywhere."""
    pattern = re.sub(r"([\\_%])", r"\\\1", schema) or "%"
    libraries = [
        ("LIBRARY", *library) for library in mysql_schema.libraries(session) if library[0] == schema or not schema
    ]
    found = [*libraries, *(row for query in _CODE for row in session.query(query, pattern))]
    return [(kind, place, name) for kind, place, name, definer in found if definer.rpartition("@")[0] == user]
