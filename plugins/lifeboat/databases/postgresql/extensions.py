"""Extensions of a PostgreSQL database: captured with it, and made again before anything of a dump is loaded.

CREATE EXTENSION runs code of the extension, often with the rights of a superuser. So it is never taken from a dump: it
is built here, from names that the server knows, and runs while the database is empty, so that this code cannot find
objects of a dump. The login that can make what needs a superuser is used for this one statement.

The former owner of an extension makes it, if the restore login may act as that role: its maker owns its tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lifeboat.databases import EXTENSION, Extension, Limit, Loaded, TableDigest
from lifeboat.databases.postgresql import prepared
from lifeboat.databases.postgresql.role import PUBLIC_IS_OURS, SET_IS_A_RIGHT, Role
from lifeboat.databases.postgresql.statements import EXTENSION as STATEMENT
from lifeboat.databases.postgresql.statements import read
from lifeboat.databases.sql.quoting import quoted, unquoted
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError
from lifeboat.text import plural

if TYPE_CHECKING:
    from psycopg import Connection

ROWS = "tables of extensions whose rows do not come back"  # a kind of limit
BEFORE = frozenset(  # what a dump holds before, and between, its extensions
    ("extension", "setting", "skipped", "schema", "collation", "owner", "right", "comment", "optional comment")
)
DENIED = "42501"
SYSTEM = ("pg_", "information_schema")  # how schemas begin that are the server's own
NAME_A_LOGIN = (
    "Set extensions_connection to the connection of a superuser, for the database or under drill for a scratch server: "
    "it only runs CREATE EXTENSION."
)

_INSTALLED = """
SELECT extname, nspname, extversion, pg_get_userbyid(extowner), e.oid >= 16384
FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace ORDER BY e.oid
"""
_AVAILABLE = """
SELECT name, superuser AND NOT trusted, coalesce(schema::text, ''), coalesce(requires, '{}')::text[]
FROM pg_available_extensions JOIN pg_available_extension_versions v USING (name) WHERE default_version = v.version
"""
# Tables and sequences whose rows a dump of the database holds; and what its role may do there.
_CONFIGURED = """
SELECT extname, CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname),
       nspname, relname, relkind = 'S', rolname, pg_has_role(relowner, 'USAGE'),
       has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_table_privilege(%(role)s, c.oid, 'SELECT'),
       has_schema_privilege(%(role)s, n.oid, 'USAGE') AND CASE relkind
           WHEN 'S' THEN has_sequence_privilege(%(role)s, c.oid, 'UPDATE')
           ELSE has_table_privilege(%(role)s, c.oid, 'INSERT') END
FROM pg_extension CROSS JOIN unnest(extconfig) AS configured
JOIN pg_class c ON c.oid = configured JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_roles r ON r.oid = relowner
"""


class Available(NamedTuple):
    """An extension that a server could make.

    :param is_privileged: only a superuser may.
    :param schema: the only one that it can be in; any when empty.
    :param requires: other extensions.
    """

    name: str
    is_privileged: bool
    schema: str
    requires: Sequence[str]


class Configured(NamedTuple):
    """A table or sequence of an extension whose rows are the user's.

    :param table: as dumps name it.
    :param is_ours: the asking login has the rights of its owner.
    :param is_readable: by a role.
    :param is_open: the role may fill it.
    """

    extension: str
    table: str
    schema: str
    name: str
    is_sequence: bool
    owner: str
    is_ours: bool
    is_readable: bool
    is_open: bool

    @property
    def pattern(self) -> str:
        """The table as the dump client excludes it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def captured(session: Connection[Any]) -> tuple[Extension, ...]:
    """Return the extensions of a database that somebody installed, in the order in which that was done."""
    return tuple(Extension(*facts) for *facts, is_users in session.execute(_INSTALLED).fetchall() if is_users)


def of_dump(sql: Iterable[bytes]) -> Iterator[Extension]:
    """Yield the extensions that a dump begins with; not more than its beginning is read."""
    for piece in read(sql):
        if not isinstance(piece, Statement) or piece.kind not in BEFORE:
            return
        if found := STATEMENT.match(piece.sql):
            yield Extension(*(unquoted(found[part].decode("utf-8", "replace")) for part in ("name", "schema")))


def available(session: Connection[Any]) -> Mapping[str, Available]:
    """Return what a server could make, by name."""
    return {row[0]: Available(*row) for row in session.execute(_AVAILABLE).fetchall()}


def limits(
    extensions: Iterable[Extension], known: Mapping[str, Available], where: str, *, may: bool
) -> Iterator[Limit]:
    """Yield what a restore could not make.

    :param known: what the server of the restore could make.
    :param where: that server, for the message.
    :param may: the settings name a login for what only superusers make.
    """
    for extension in extensions:
        found = known.get(extension.name)
        if found is None:
            text = f"{where} does not have extension {extension.name!r}: a restore there stops; install its package"
        elif not _fits(extension, found):
            text = f"extension {extension.name!r} is in schema {extension.schema!r}, where no restore puts one: move it"
        elif found.is_privileged and not may:
            text = (
                f"only a superuser makes extension {extension.name!r} on {where}, and the settings name none:"
                " a restore stops; set extensions_connection, or let one prepare the database (docs/RECOVERY.md)"
            )
        else:
            continue
        yield Limit(EXTENSION, extension.name, text)


def limits_of_rows(
    tables: Iterable[TableDigest], configured: Iterable[Configured], known: Mapping[str, Available]
) -> Iterator[Limit]:
    """Yield the tables whose rows a restore would skip: a superuser makes their extension, and owns them."""
    rows = {table.name: table.rows for table in tables}
    for each in configured:
        if each.extension in known and known[each.extension].is_privileged and rows.get(each.table):
            count = plural(rows[each.table], "row")
            text = f"{count} of table {each.table!r}, which a superuser makes with extension {each.extension!r}"
            yield Limit(ROWS, each.table, f"{text}, must be loaded manually")


def configured(session: Connection[Any], role: str) -> list[Configured]:
    """Return the tables of extensions whose rows are the user's, with what a role may do there."""
    return [Configured(*row) for row in session.execute(_CONFIGURED, {"role": role}).fetchall()]


def _fits(extension: Extension, known: Available) -> bool:
    """Return whether an extension may be put into its schema: into the server's own, only what belongs nowhere else."""
    return extension.schema == known.schema if known.schema else not extension.schema.startswith(SYSTEM)


class Maker:
    """Makes extensions in a database that is still empty.

    :param session: of the restore login, which owns the database.
    :param elevated: opens one of a user who can make what needs a superuser; None if the settings name no such user.
    :param by_hand: says how an administrator makes extensions instead; None if nobody can.
    """

    def __init__(
        self,
        session: Connection[Any],
        elevated: Callable[[], AbstractContextManager[Connection[Any]]] | None,
        by_hand: Callable[[Sequence[Extension]], str] | None = None,
    ) -> None:
        self._session, self._elevated, self._by_hand = session, elevated, by_hand
        self.schemas: set[str] = set()
        self.warnings: list[str] = []

    def make(self, wanted: Sequence[Extension]) -> None:
        """Make what is not there yet.

        :raises RestoreError: the database is not empty, or the server cannot make one, or nobody here may.
        """
        if not wanted:
            return
        if found := prepared.held(self._session):
            raise RestoreError(
                f"The database already holds objects apart from its extensions ({found}): nothing is loaded into it."
            )
        known = available(self._session)
        present = self._present()
        missing = [extension for extension in _ordered(wanted, known) if extension.name not in present]
        for extension in _ordered(wanted, known):
            present = self._present()
            if extension.name not in present:
                self._make(extension, known, missing)
            elif present[extension.name] != extension.schema:
                raise RestoreError(
                    f"Extension {extension.name!r} is already in schema {present[extension.name]!r}, but was in "
                    f"{extension.schema!r}.",
                )
            elif extension.schema not in prepared.NO_SCHEMA_TO_MAKE:
                self.schemas.add(extension.schema)
        self._compare(wanted)

    def _present(self) -> dict[str, str]:
        return {name: schema for name, schema, *_ in self._session.execute(_INSTALLED).fetchall()}

    def _make(self, extension: Extension, known: Mapping[str, Available], missing: Sequence[Extension]) -> None:
        found = known.get(extension.name)
        if found is None:
            raise RestoreError(
                f"The server does not have extension {extension.name!r}.",
                "Install its package there, then restore again.",
            )
        if not _fits(extension, found):
            raise RestoreError(f"Extension {extension.name!r} cannot be installed in schema {extension.schema!r}.")
        self._make_schema(extension.schema)
        with contextlib.ExitStack() as opened:
            session = self._session
            if found.is_privileged and self._elevated:
                session = opened.enter_context(self._elevated())
            self._create(session, extension, found, missing)

    def _make_schema(self, name: str) -> None:
        query = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = %s)"
        if self._session.execute(query, [name]).fetchone() != (True,):
            self._session.execute(f"CREATE SCHEMA {quoted(name)}".encode())
            self.schemas.add(name)

    def _create(
        self, session: Connection[Any], extension: Extension, found: Available, missing: Sequence[Extension]
    ) -> None:
        import psycopg

        owner = _owner(session, extension, found)
        try:
            with self._permitted(extension.schema, owner or session.info.user), session.transaction():
                if owner:
                    session.execute(f"SET LOCAL ROLE {quoted(owner)}".encode())
                session.execute(f"CREATE EXTENSION {quoted(extension.name)} SCHEMA {quoted(extension.schema)}".encode())
        except psycopg.Error as error:
            said = error.diag.message_primary or type(error).__name__
            if error.sqlstate == DENIED and self._elevated:
                hint = (
                    f"{session.info.user}, the user of extensions_connection, is not allowed to; this needs a"
                    " superuser."
                )
            elif error.sqlstate == DENIED:
                instead = self._by_hand(missing) if self._by_hand else ""
                hint = f"This needs a superuser. {NAME_A_LOGIN}{instead}"
            else:
                hint = ""
            raise RestoreError(f"Cannot create extension {extension.name!r}: {said}.", hint) from error

    @contextlib.contextmanager
    def _permitted(self, schema: str, role: str) -> Iterator[None]:
        """Let a role make something in the database, for the length of the block."""
        rights = [f"CREATE ON DATABASE {quoted(self._session.info.dbname)}"]
        if not schema.startswith(SYSTEM) and (
            schema != "public" or self._session.info.server_version >= PUBLIC_IS_OURS  # everybody makes things there
        ):
            rights.append(f"USAGE, CREATE ON SCHEMA {quoted(schema)}")
        if role == self._session.info.user:
            rights.clear()
        for right in rights:
            self._session.execute(f"GRANT {right} TO {quoted(role)}".encode())
        yield
        for right in rights:
            self._session.execute(f"REVOKE {right} FROM {quoted(role)}".encode())

    def _compare(self, wanted: Iterable[Extension]) -> None:
        """Note what is not as it was captured, where that is known."""
        rows = self._session.execute(_INSTALLED).fetchall()
        made = {name: Extension(name, *facts) for name, *facts, _ in rows}
        for was in wanted:
            now = made[was.name]
            if was.version and now.version != was.version:
                self.warnings.append(f"extension {was.name!r} has version {now.version}, not {was.version}")
            if was.owner and now.owner != was.owner:
                self.warnings.append(f"extension {was.name!r} belongs to {now.owner!r}, not {was.owner!r}")


def _ordered(wanted: Sequence[Extension], known: Mapping[str, Available]) -> Iterator[Extension]:
    """Yield extensions in their order, but each behind those that it requires."""
    waiting = {extension.name: extension for extension in wanted}

    def take(name: str) -> Iterator[Extension]:
        if extension := waiting.pop(name, None):
            for other in known[name].requires if name in known else ():
                yield from take(other)
            yield extension

    for extension in wanted:
        yield from take(extension.name)


def _owner(session: Connection[Any], extension: Extension, found: Available) -> str:
    """Return as whom a session makes an extension: as its captured owner where it may; empty: as itself."""
    right = "SET" if session.info.server_version >= SET_IS_A_RIGHT else "MEMBER"
    query = (
        "SELECT rolname FROM pg_roles WHERE rolname = %s AND rolname <> current_user AND pg_has_role(oid, %s)"
        " AND (rolsuper OR NOT %s)"
    )
    ((owner,),) = session.execute(query, [extension.owner, right, found.is_privileged]).fetchall() or [("",)]
    return str(owner)


def give_in(session: Connection[Any], role: Role, schemas: Iterable[str]) -> None:
    """Let the role that loads a dump use what was made for it.

    :param session: of the restore login, to the database.
    :param schemas: of extensions; the dump may put other things there, where they are this login's.
    """
    name = quoted(role.server.user)
    role.schemas = frozenset(schemas)
    if not role.is_own:
        ours = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s) AND pg_has_role(nspowner, 'USAGE')"
        for (schema,) in session.execute(ours, [list(schemas)]).fetchall():
            session.execute(f"ALTER SCHEMA {quoted(schema)} OWNER TO {name}".encode())
        for each in configured(session, role.server.user):
            if each.is_ours:
                rights = "SELECT, UPDATE ON SEQUENCE" if each.is_sequence else "SELECT, INSERT ON TABLE"
                session.execute(f"GRANT {rights} {each.pattern} TO {name}".encode())
    found = configured(session, role.server.user)
    role.hidden = frozenset(each.table for each in found if not each.is_readable)
    role.closed = {each.table: each.owner for each in found if not each.is_open or each.table in role.hidden}


def told(role: Role, loaded: Loaded) -> Loaded:
    """Return the facts of a load with the rows of extensions that were skipped or could not be compared."""
    warnings = [
        f"{plural(count, 'row')} of {table!r}, an extension's table owned by {role.closed[table]!r}, must be"
        " loaded manually"
        for table, count in (+role.left_out).items()
    ]
    unequal = [("rows", table) for table in sorted({*+role.left_out, *role.hidden})]
    return replace(loaded, warnings=(*warnings, *loaded.warnings), left_out=(*loaded.left_out, *unequal))
