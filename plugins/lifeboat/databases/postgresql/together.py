"""One dump by several clients in one snapshot, which the server exports for them.

The first client dumps everything but the rows of some tables; each other one dumps rows of these. Their texts become
the text that one client would write, but for the order of its tables: the text of the first up to the end of its rows,
the rows of the others, and what is behind rows: keys, indexes, triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lifeboat.databases import Aside, Part, TableDigest
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.postgresql.digest import digest
from lifeboat.databases.postgresql.settings import UNKNOWN
from lifeboat.databases.postgresql.statements import Trailer
from lifeboat.databases.shares import shares
from lifeboat.databases.sql.quoting import quoted
from lifeboat.databases.sql.reader import Reader, Statement
from lifeboat.databases.together import Hashed, Share
from lifeboat.databases.watch import SILENCE, Watch
from lifeboat.errors import DumpError, RestoreError
from lifeboat.support.processes import Child

if TYPE_CHECKING:
    from psycopg import Connection

HINT = "Set dump_connections of the database to 1, and report this."
LEAST = 1 << 20  # bytes of a table that is worth naming to a client
PATIENCE = "2s"  # to wait for a table that is locked
# Tables whose rows any client may dump. The first one dumps those that inherit, because only their definitions tell the
# order of their columns, and those of extensions, of which only some rows are dumped.
_SIZES = """
SELECT nspname, relname, pg_table_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
AND (relispartition OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid))
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
"""
LONGEST_END = 1024  # bytes behind the last statement of a dump, its completion line first


class Shared(NamedTuple):
    """A snapshot, and who dumps what in it.

    :param snapshot: its name, while the connection that exported it is open.
    :param dealt: patterns of the tables of each client but the first.
    """

    snapshot: str
    dealt: Sequence[Sequence[str]]


class Passed(NamedTuple):
    """Contents of the text that all clients wrote.

    :param size: in bytes.
    :param refused: why no restore would run statements of it.
    :param end: the last bytes of it.
    """

    digest: DumpDigest
    size: int
    sha256: str
    refused: Sequence[RestoreError]
    end: bytes


def share(session: Connection[Any], clients: int, excluded: Sequence[str]) -> Shared | None:
    """Export a snapshot, which lasts as long as the session, and deal tables out; None if one client does as well.

    Where a database has no encoding, names may not be text, which no option of a client could hold.

    :param excluded: patterns of tables without rows in the dump.
    :raises psycopg.Error: the server exports none, or a table is locked.
    """
    if session.info.parameter_status("server_encoding") == UNKNOWN:
        return None
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    session.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    session.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'".encode())
    found = session.execute(_SIZES).fetchall()
    sizes = {f"{quoted(schema)}.{quoted(name)}": size or 0 for schema, name, size in found}
    large = {table: size for table, size in sizes.items() if size >= LEAST and table not in excluded}
    dealt = shares(large, clients, sum(size for size in sizes.values() if size < LEAST))
    if not dealt:
        return None
    exported = session.execute("SELECT pg_export_snapshot()").fetchone()
    return Shared(exported[0], dealt) if exported else None


def pump(
    clients: Sequence[Child],
    dealt: Sequence[Sequence[str]],
    write: Callable[[bytes], object],
    aside: Aside,
    watch: Watch,
    check: Callable[[Child], object],
) -> Passed:
    """Pass the output of all clients on as one text; return what it held.

    :param dealt: the tables of each client but the first.
    :param aside: takes parts of the text.
    :param check: waits for the end of a client, and raises if it failed.
    """

    def fail() -> None:
        for client in clients:
            client.stop()

    text, tail, refused = Hashed(write), aside.part(), list[RestoreError]()
    takers = [text.write, tail.write]
    first = _First(filter(watch.hears, clients[0].chunks(silence=SILENCE)), lambda at, piece: takers[at](piece))
    others = [_Rows(client, tables, aside.part(), fail) for client, tables in zip(clients[1:], dealt, strict=True)]
    try:
        for other in others:
            other.start()
        held = first.digest(refused.append)
        _raise_failure(others)
        check(clients[0])
        for other in others:
            other.wait(watch)
        _raise_failure(others)
        if not first.cuts:
            raise DumpError("The dump could not be divided where its rows end.", HINT)
        tables = {table.name: table for other in others for table in other.finish(check)}
        for part in (*(other.part for other in others), tail):
            aside.append(part, text.see)
    finally:
        fail()
        for other in filter(Share.is_alive, others):
            other.join()
    if unknown := tables.keys() - {table.name for table in held.tables}:
        raise DumpError(f"The dump has rows of {min(unknown)!r}, and no definition.", HINT)
    whole = tuple(
        replace(table, rows=rows.rows, sha256=rows.sha256) if (rows := tables.get(table.name)) else table
        for table in held.tables
    )
    return Passed(replace(held, tables=whole), text.size, text.sha256.hexdigest(), refused, bytes(first.end))


def _raise_failure(others: Iterable[Share]) -> None:
    if failure := next((other.failure for other in others if other.failure), None):
        raise failure


class _Regions:
    """Reads the text of one client, and divides it between its statements.

    :param take: takes each piece, with the number of its region.
    :ivar cuts: where one region ends and the next one begins.
    :ivar end: the last bytes.
    """

    def __init__(self, chunks: Iterable[bytes], take: Callable[[int, bytes], object]) -> None:
        self._chunks = self._passing(chunks)
        self._reader = Reader(self._chunks)
        self._take = take
        self._held, self._given = bytearray(), 0
        self.cuts: list[int] = []
        self.end = b""

    def see(self, statement: Statement | Trailer) -> None:
        """Take a statement, and `cut` where one region ends before it."""
        raise NotImplementedError

    def cut(self) -> None:
        """Begin a region behind the statement, or the rows, before the one that was read."""
        self.cuts.append(self._reader.settled)

    def digest(self, refused: Callable[[RestoreError], object] | None = None) -> DumpDigest:
        """Read it all.

        :param refused: as of `digest.digest`.
        """
        held = digest(self._reader, refused, self.see)
        for _ in self._chunks:  # behind what could not be read
            pass
        self._give(self._given + len(self._held))
        return held

    def _passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._held += chunk
            self.end = (self.end + chunk[-LONGEST_END:])[-LONGEST_END:]
            yield chunk
            self._give(self._reader.settled)

    def _give(self, until: int) -> None:
        for region, end in enumerate((*self.cuts, until)):
            if (size := min(end, until) - self._given) > 0:
                self._take(region, bytes(self._held[:size]))
                del self._held[:size]
                self._given += size


class _First(_Regions):
    """The text of the client that dumps what no other does, divided where its rows and values end."""

    _has_begun = False

    def see(self, statement: Statement | Trailer) -> None:
        if self.cuts or (isinstance(statement, Statement) and statement.kind == "skipped"):
            return
        if _is_of_data(statement):
            self._has_begun = True
        elif self._has_begun:
            self.cut()


class _OnlyRows(_Regions):
    """The text of another client, divided before and behind its rows; there should be no third part with rows."""

    def see(self, statement: Statement | Trailer) -> None:
        is_rows = isinstance(statement, Statement) and statement.kind == "rows"
        if is_rows == (len(self.cuts) % 2 == 0):
            self.cut()


def _is_of_data(statement: Statement | Trailer) -> bool:
    """Return whether a statement fills what was made before."""
    if isinstance(statement, Trailer):
        return False
    if statement.kind == "large object":
        return b"lo_create" not in statement.sql
    return statement.kind == "rows" or (statement.kind == "sequence" and statement.sql.startswith(b"SELECT"))


class _Rows(Share):
    """A client whose rows go into a part of the dump.

    :param tables: that it must hold.
    """

    def __init__(self, client: Child, tables: Sequence[str], part: Part, fail: Callable[[], object]) -> None:
        super().__init__(fail)
        self._client, self._tables, self.part = client, tables, part
        self._text = _OnlyRows(self._passing(), self._take)
        self._held: DumpDigest | None = None

    def pass_on(self) -> None:
        try:
            self._held = self._text.digest()
        except RestoreError as error:
            raise DumpError(f"{self._client.name}: {error.message}", HINT) from error

    def _passing(self) -> Iterator[bytes]:
        for chunk in self._client.chunks():
            yield chunk
            self.passed += len(chunk)

    def _take(self, region: int, piece: bytes) -> None:
        if region == 1:
            self.part.write(piece)

    def finish(self, check: Callable[[Child], object]) -> Sequence[TableDigest]:
        """Return the tables that it wrote.

        :raises DumpError: the client failed, or wrote something else.
        """
        check(self._client)
        held = self._held
        if not held or not held.complete or len(held.tables) != len(self._tables) or len(self._text.cuts) != 2:
            raise DumpError(f"{self._client.name} wrote other rows than those that it was asked for.", HINT)
        return held.tables
