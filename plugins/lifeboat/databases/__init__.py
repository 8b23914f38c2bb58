"""Databases: what a dump is, and what an engine must be able to do with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Protocol

from pydantic import ConfigDict, StringConstraints

from lifeboat.support.formats import Format, Moment

Clock = Callable[[], datetime]  # returns the time, with a time zone
LOG_FILE = r"[^/\x00]+\.[0-9]{6,10}"  # names of binary logs: servers number them
LogFile = Annotated[str, StringConstraints(pattern=f"^{LOG_FILE}$")]
EngineName = Literal["mysql", "postgresql", "sqlite"]  # as laravel-backup begins the names of dumps
UNPROTECTED = "tables without transactions, which no snapshot protects"  # a kind of limit
OTHER_SCHEMA = "views over other schemas, which no restore makes"  # another
EXCLUDED_PARENT = "foreign keys to excluded tables"  # another
BY_HAND = "what only the stock client loads, by hand"  # another: no restore takes the dump, and no drill proves it
CLIENTS: Mapping[EngineName, str] = {"mysql": "mysql", "postgresql": "psql", "sqlite": "sqlite3"}  # the stock clients
UNASKED = "restore servers that could not be asked"  # another
EXTENSION = "extensions that a restore could not make"  # another: what was restored had them anyway
LACKED = "roles, locales and settings that the restore server lacks"  # another, which each restore reports by itself
RIGHTS = "rights to what belongs to the server or to extensions"  # another, which each restore reports by itself
LONGEST_CHECKED = 1000  # characters of a value that a check may get
SERVERLESS: frozenset[EngineName] = frozenset({"sqlite"})  # a drill of theirs touches no server, only staging


@dataclass(frozen=True)
class Server:
    """The address of a database, and how to log in.

    :param port: TCP port; ignored where `socket` is set.
    :param tls: options by their names in the client's option file: ``ssl-ca``, ``ssl-cert``, ``ssl-key``, ``ssl-mode``;
        for PostgreSQL by those of its connection strings: ``sslmode``, ``sslrootcert``.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    socket: str = ""
    tls: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The server as messages name it."""
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TableDigest:
    """One table of a dump.

    :param order: ``primary key`` or ``none``; says how `sha256` was made (see `mysql.digest`).
    :param sha256: digest of the rows, in hex.
    :param definition_sha256: digest of CREATE TABLE, in hex.
    """

    name: str
    rows: int
    order: Literal["primary key", "none"]
    sha256: str
    definition_sha256: str


@dataclass(frozen=True)
class ObjectDigest:
    """A view, trigger, routine, event or sequence of a dump."""

    kind: str
    name: str
    definition_sha256: str


@dataclass(frozen=True)
class Limit:
    """Something that a restore of a dump will not bring back, or not exactly.

    :param kind: public, shown with a count; names no table.
    :param name: of the object.
    :param text: the fact for the owner of the database; may name tables and columns.
    """

    kind: str
    name: str
    text: str


@dataclass(frozen=True, order=True)
class Property:
    """One property of a database itself, apart from its contents: its owner, its collation, a setting, a right.

    :param name: of a setting or a right; empty where a database has one of the kind.
    :param role: whose setting or right it is; empty for everybody's.
    """

    kind: str
    value: str
    name: str = ""
    role: str = ""


@dataclass(frozen=True)
class Missed:
    """A difference of a restored database from the captured one, apart from its contents.

    :param kind: public; names nothing.
    :param text: the fact for the owner of the database; holds no secret.
    :param sql: with which an administrator of the server can make up for it; empty where nothing can.
    """

    kind: str
    text: str
    sql: str = ""


@dataclass(frozen=True)
class Extension:
    """An extension that was installed in a PostgreSQL database.

    :param schema: contains its objects.
    :param version: empty if it is known only from a dump, as is the owner.
    """

    name: str
    schema: str
    version: str = ""
    owner: str = ""


@dataclass(frozen=True)
class LogPosition:
    """The place in a server's binary log up to which a dump holds everything of its database, and nothing beyond.

    :param server: identity of the server: server_uuid of MySQL, server_uid of MariaDB; empty where it has none.
    :param file: of the log.
    :param offset: in bytes; the first transaction that the dump does not hold begins there, or later.
    :param gtids: executed until then, as the server writes a set of them; empty where it numbers no transactions.
    :param how: what makes it exact: ``snapshot``, ``table locks`` or ``quiet interval``; later versions may know
        more.
    """

    server: str
    server_id: int
    file: LogFile
    offset: int
    gtids: str
    how: str

    def __str__(self) -> str:
        gtids = f"; GTID {self.gtids}" if self.gtids else ""
        return f"{self.file}:{self.offset} (exact, by {self.how}{gtids})"


@dataclass(frozen=True)
class Dump(Format):
    """The facts of one dump, as its archive's manifest keeps them.

    :param captured_at: when the snapshot was taken, in UTC.
    :param sql_bytes: length of the SQL text.
    :param sha256: of the SQL text, in hex.
    :param warnings: what a reader of the manifest should know.
    :param unprotected_tables: tables whose engine has no snapshots; they may have changed while they were read.
    :param digest_rules: version of the rules by which the digests were made.
    :param limits: what a restore will not bring back, or not exactly.
    :param extensions: in the order in which they were made; None where nobody asked.
    :param properties: of the database itself; empty where they are not known.
    :param position: in the binary log, where a replay on top of the dump begins; None if it is not known exactly.
    :param no_position: the reason then; empty where the engine has no binary log, and in older manifests.
    :param excluded_rows: tables that are in it without their rows, because the settings say so. PostgreSQL and SQLite
        have such in `excluded_tables`, too.
    :param unreplayed_triggers: triggers of those tables, where logs are replayed on top of the dump, which leaves them
        as they are.
    """

    __pydantic_config__ = ConfigDict(extra="ignore")  # manifests are kept indefinitely, later versions add facts

    database: str
    engine: EngineName
    server: str
    client: str
    character_set: str
    collation: str
    captured_at: Moment
    sql_bytes: int
    sha256: str
    tables: tuple[TableDigest, ...]
    objects: tuple[ObjectDigest, ...]
    excluded_tables: tuple[str, ...]
    unprotected_tables: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    digest_rules: int = 1
    limits: tuple[Limit, ...] = ()
    extensions: tuple[Extension, ...] | None = None
    properties: tuple[Property, ...] = ()
    position: LogPosition | None = None
    no_position: str = ""
    excluded_rows: tuple[str, ...] = ()
    unreplayed_triggers: tuple[str, ...] = ()

    @property
    def without_rows(self) -> tuple[str, ...]:
        """The tables whose rows it lacks, with their structure or without."""
        return (*self.excluded_tables, *self.excluded_rows)

    @property
    def structure_only(self) -> tuple[str, ...]:
        """The tables that it holds without their rows."""
        held = {table.name for table in self.tables}
        return tuple(name for name in self.without_rows if name in held)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def inexact(self) -> list[Limit]:
        """The limits of what a restore brings back: tables that no snapshot protects come back as they were read."""
        return [limit for limit in self.limits if limit.kind not in (UNPROTECTED, EXTENSION, LACKED, RIGHTS)]

    @property
    def by_hand(self) -> list[str]:
        """The reason why no restore loads the dump; '' if one does."""
        return [limit.text for limit in self.limits if limit.kind == BY_HAND]

    @property
    def unchecked(self) -> frozenset[str]:
        """Foreign keys, each behind its table, whose parents the dump does not hold."""
        return frozenset(limit.name for limit in self.limits if limit.kind == EXCLUDED_PARENT)

    @property
    def notices(self) -> list[str]:
        """Sentences that a reader should see first: the limits, then the warnings."""
        unprotected = f"{self.database}: no snapshot protects {', '.join(self.unprotected_tables)}"
        limits = [f"{self.database}: {limit.text}" for limit in self.limits if limit.kind != UNPROTECTED]
        return [*([unprotected] if self.unprotected_tables else []), *limits, *self.warnings]


@dataclass(frozen=True)
class Dumpable:
    """A database that a dump could read, as far as that shows without its rows.

    :param server: product and version.
    :param client: what would dump it, with its version.
    :param ahead: how far the server's clock is ahead of this machine's; None where it is this machine's.
    :param lacks: what a dump by this client or this user may lack, and a restore by the restore connection.
    """

    server: str
    client: str
    ahead: timedelta | None = None
    lacks: tuple[str, ...] = ()


def log_position_text(position: LogPosition | None, no_position: str) -> str:
    """Return the position of a dump in the binary log as text, or why there is none; '' if nothing is known of it."""
    if position:
        return f"binary log position: {position}"
    return f"no binary log position: {no_position}" if no_position else ""


def limit_texts(limits: Iterable[Limit]) -> Iterator[str]:
    """Yield what limits say, but for those of a restore server that was not reached: `Engine.check_load` says it."""
    return (limit.text for limit in limits if limit.kind != UNASKED)


def count_limits(limits: Iterable[Limit | Missed]) -> list[str]:
    """Return the kinds of what is not exact, each with how many there are; names no table."""
    return [f"{kind}: {count}" for kind, count in Counter(limit.kind for limit in limits).items()]


@dataclass(frozen=True)
class Loaded:
    """The facts of one load.

    :param rows: how many the database took.
    :param warnings: what is not as the dump has it, or not as its reader may expect.
    :param orphans: foreign keys whose rows lack parents, with how many; the dumped database lacked them, too.
    :param left_out: what no server can have as it is, each with its kind: views that read what the dump does not hold,
        triggers that do not fit their tables, events whose time has passed. Of tables of extensions, only the rows.
    :param below: tables that came with the one that was asked for: its partitions, and what inherits from it.
    """

    schema: str
    rows: int
    tables: int
    seconds: float
    warnings: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A database that a restore makes, or puts in the place of another.

    :param key: of the archive that is restored.
    :param captured: what the manifest says of it; None where there is no manifest.
    :param exists: whether there is one of that name, to be replaced.
    :param in_place: whether it takes the place of the dumped one.
    :param extensions: that the dump needs.
    """

    database: str
    key: str
    captured: Dump | None = None
    exists: bool = False
    in_place: bool = False
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True)
class Place:
    """The place where a database is filled.

    :param kept: the name that the replaced one will have; empty where nothing is kept.
    :param staying: tables that stay in it as they are, because the dump lacks their rows.
    :param warnings: what a reader of the report should know, once it has its place.
    :param missed: filled when the place takes its name: what the database does not have as it was captured.
    :param replaced: filled then, too: what the replaced database had, and the captured one did not.
    """

    name: str
    kept: str = ""
    staying: frozenset[str] = frozenset()
    warnings: list[str] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    replaced: list[Missed] = field(default_factory=list)


@dataclass(frozen=True)
class Access:
    """The way by which a program that checks a place reaches it.

    :param name: of the database there, or the path of its file.
    :param server: with a login that has no rights elsewhere; None where a database is a file.
    """

    name: str
    server: Server | None = None


@dataclass(frozen=True)
class Load:
    """The part of a dump to load, and its purpose.

    :param source: the database that was dumped; empty to believe the dump's first lines, if they say.
    :param table: only the rows of this table, and of those below it; all when empty.
    :param unchecked: foreign keys, each behind its table, whose parents the dump does not hold.
    :param staying: tables that are there, and stay as they are.
    """

    source: str
    table: str = ""
    unchecked: frozenset[str] = frozenset()
    staying: frozenset[str] = frozenset()


WHOLE = Load("")  # all of a dump, of whatever database it says


class Part(Protocol):
    """A part of the SQL of a dump, which another thread may write."""

    def write(self, chunk: bytes) -> object:
        """Append to the part."""


@dataclass(frozen=True)
class Aside:
    """Takes parts of the SQL of a dump while the rest is written, so that several clients can write it.

    :param clients: how many there may be at most.
    :param part: begins a part.
    :param append: appends a part to what was written, which ends there, and gives its text to a function.
    """

    clients: int
    part: Callable[[], Part]
    append: Callable[[Any, Callable[[bytes], object]], object]


class Engine(Protocol):
    """The databases of one server, or of one directory: what a backup, a restore and a drill do with them.

    A database that is being filled is marked as unfinished, or has another name, until it is complete. All errors are
    LifeboatErrors that name the database and the server.
    """

    @property
    def address(self) -> str:
        """The server, or the directory, as messages name it."""
        ...

    def databases(self, asked: Collection[str] = ()) -> Mapping[str, bool]:
        """Map each existing database to whether it holds data; False where it is empty or left unfinished.

        :param asked: the databases that must be checked for data; an engine may skip that for all others.
        """
        ...

    def lacks_to_see_all(self) -> str:
        """Return the right without which the server may hide databases from this login; empty if it hides none."""
        ...

    def client_name(self, database: str) -> str:
        """Return the name that clients use for a database: its own, or the path of its file."""
        ...

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
        """Dump a database as SQL in one consistent snapshot, without locking writers out for more than a moment.

        :param excluded: names and patterns of tables to skip (see `exclusion`).
        :param without_rows: names and patterns of tables to dump without their rows.
        :param write: takes the SQL in chunks; what it raises ends the dump.
        :param position: find the position in the binary log even where writers have to wait for it, for seconds.
        :param aside: lets several clients dump it, where the engine can; writers may have to wait for half a second.
        :raises DumpError: discard what was written.
        """
        ...

    def check_dump(self, database: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dumpable:
        """Make sure that this connection may dump a database: dump and discard its definitions, and read no rows.

        :param excluded: tables that a dump skips, and those whose rows it skips, as of `dump`.
        :raises DumpError: a dump would fail, or would silently lack something.
        """
        ...

    def target(self, target: Target) -> AbstractContextManager[Place]:
        """Make an empty place; the database is there, whole, when the block ends well.

        When the block ends with a MismatchError, what was loaded stays to be looked at.

        :raises RestoreError: somebody made a database of that name meanwhile, or uses the one to be replaced; or the
            connection may do more than a dump should.
        """
        ...

    def scratch(
        self, key: str, captured: Dump, *, production: bool = False, beside: Collection[str] = ()
    ) -> AbstractContextManager[str]:
        """Make an empty place for a drill, and drop it at the end; what killed drills left is dropped before.

        :param production: applications use the server: nothing is loaded but by an account made for it.
        :param beside: places that the same drill holds, on any server.
        :raises RestoreError: the connection may do more there than a dump should.
        """
        ...

    def load(self, place: str, sql: Iterable[bytes], load: Load) -> Loaded:
        """Load a dump into an empty place of this engine, as an account without rights elsewhere.

        :raises RestoreError: nothing that was loaded counts then.
        """
        ...

    def check_load(self, database: str) -> None:
        """Make sure that this connection may load a dump of a database; nothing of the database is touched.

        :raises RestoreError: a restore would refuse it: it may do more than a dump should, and make no account.
        """
        ...

    def read_back(self, place: str, excluded: Sequence[str], without_rows: Sequence[str] = ()) -> Dump:
        """Return what a dump of a place of this engine holds, taken by who loaded it.

        :param excluded: names of tables to skip, and of those whose rows to skip; no patterns.
        """
        ...

    def value(self, place: str, query: str, seconds: float) -> Sequence[str | None]:
        """Return the one column of a query on a place of this engine: two rows at most, as text.

        It runs in a transaction that writes nothing, as who loaded the place. Of each text, no more than one character
        above `LONGEST_CHECKED` is returned.

        :raises CheckError: it is refused, returns several columns, or takes longer.
        """
        ...

    def lend(self, place: str) -> AbstractContextManager[Access]:
        """Let a program reach a place that a drill made, as who loaded it; its connections end with the block.

        :raises RestoreError: the restore connection loaded it by itself, and its own password is not lent.
        """
        ...

    def rehearse(self, place: str) -> Sequence[Missed]:
        """Try in a drill what a restore does last, and undo it: give the database and its contents to their owners.

        :returns: what a restore on this server would miss.
        """
        ...

    def describe_failure(self, target: Target) -> str:
        """Describe the state that a failed restore leaves, and how to recover."""
        ...
