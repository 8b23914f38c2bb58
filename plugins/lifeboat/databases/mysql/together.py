"""One dump by several stock clients, each with its share of the tables, in one snapshot.

Their texts become the text that one client would write, but for the order of its tables: the header of the first client
and its tables, the tables of the others, then its routines, events and views, and the end of its text.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from lifeboat.databases import Aside, Part
from lifeboat.databases.digest import DumpDigest
from lifeboat.databases.mysql import events as mysql_events
from lifeboat.databases.mysql import locks as mysql_locks
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql.limits import Choice, Definitions
from lifeboat.databases.mysql.passing import BEHIND_TABLES, END, TABLE, Passed, Regions, check_ended
from lifeboat.databases.mysql.position import Finder, Nowhere
from lifeboat.databases.mysql.source import LogEnd
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.databases.together import Hashed, Share
from lifeboat.databases.watch import SILENCE
from lifeboat.errors import DumpError
from lifeboat.support.processes import Child, child

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Task

_CREATED = re.compile(rb"^(?:/\*M?!\d+ )?CREATE ", re.MULTILINE)  # clients write it in their snapshot


class Started(NamedTuple):
    """Clients in one snapshot.

    :param clients: the first dumps what no other does.
    :param begun: what each has written so far.
    :param end: of the binary log at the snapshot; None where this user may not know it.
    """

    clients: Sequence[Child]
    begun: Sequence[list[bytes]]
    end: LogEnd | None


@contextlib.contextmanager
def started(
    task: Task, commands: Sequence[Sequence[str]], secrets: Sequence[int], tables: Sequence[str]
) -> Iterator[Started | str]:
    """Start clients in one snapshot; yield why that is not possible if it is not.

    :param secrets: descriptors of the option files.
    :param tables: all that no client may see half of.
    """
    from lifeboat.databases.mysql.dump import is_of_driver

    with contextlib.ExitStack() as running:
        # They are there, and wait, before anything is locked.
        clients = [running.enter_context(child(command, secrets, waits=True)) for command in commands]
        try:
            found = _started(task, clients, tables)
        except Exception as error:
            if not is_of_driver(error):
                raise
            found = ": ".join(map(str, error.args))
        if isinstance(found, str):
            running.close()
        yield found


def _started(task: Task, clients: Sequence[Child], tables: Sequence[str]) -> Started | str:
    session, schema = task.begun.session, backquoted(task.begun.database)
    with (
        contextlib.closing(type(session)(task.connect())) as locker,
        mysql_locks.locking(session, locker, [f"{schema}.{backquoted(name)}" for name in tables]) as locks,
    ):
        if locks is None:
            return "its tables could not be locked for a moment, because others were writing them"
        end = mysql_source.log_end(locker)
        for client in clients:
            client.go()
        begun = [_until_created(client) for client in clients]
        if not locks.release():
            return f"they had no snapshot within the {mysql_locks.HELD_SECONDS} seconds for which tables are locked"
        return Started(clients, begun, end)


def _until_created(client: Child) -> list[bytes]:
    """Return what a client writes until it shows that it has its snapshot, or ends."""
    begun: list[bytes] = []
    for chunk in client.chunks(silence=mysql_locks.HELD_SECONDS):
        if not chunk:
            break
        begun.append(chunk)
        if _CREATED.search(b"".join(begun)):
            break
    return begun


class _Share(Share):
    """A client whose tables go into a part of the dump.

    :param tables: that it must hold.
    """

    def __init__(
        self,
        definitions: Definitions,
        client: Child,
        begun: Sequence[bytes],
        tables: Sequence[str],
        part: Part,
        fail: Callable[[], object],
    ) -> None:
        super().__init__(fail)
        self.reader = Regions(definitions, Nowhere(""), [(TABLE,), (END,)])
        self.part = part
        self._client, self._begun, self._tables = client, begun, tables

    def pass_on(self) -> None:
        for chunk in itertools.chain(self._begun, self._client.chunks()):
            self._take(self.reader.pieces(chunk))
            self.passed += len(chunk)
        self._take(self.reader.rest())

    def _take(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        for region, piece in pieces:
            if region == 1:
                self.part.write(piece)

    def finish(self) -> DumpDigest:
        """Return what the client wrote.

        :raises Exception: what its thread failed with; or the client did.
        """
        if self.failure:
            raise self.failure
        check_ended(self._client, Choice())
        digest = self.reader.finish(self._client)
        if sorted(table.name for table in digest.tables) != sorted(self._tables) or not self.reader.is_divided():
            raise DumpError(
                f"{self._client.name} wrote other tables than those that it was asked for.",
                "Set dump_connections of the database to 1, and report this.",
            )
        return digest


def pump(
    task: Task,
    group: Started,
    dealt: Sequence[Sequence[str]],
    write: Callable[[bytes], object],
    aside: Aside,
    finder: Finder,
    structure: bytes,
) -> Passed:
    """Pass the output of all clients on as one text; return what it held.

    :param dealt: the tables of each client but the first.
    :param aside: takes parts of the text.
    :param structure: of tables without rows, as SQL, which goes behind the others.
    """

    def fail() -> None:
        for client in group.clients:
            client.stop()

    others = zip(group.clients[1:], group.begun[1:], dealt, strict=True)
    shares = [_Share(task.definitions(), *other, aside.part(), fail) for other in others]
    reader, tail = Regions(task.definitions(), finder, [(*BEHIND_TABLES, END)]), aside.part()
    text = Hashed(write)
    try:
        for share in shares:
            share.start()
        _pass_first(task, group, reader, [text.write, tail.write])
        for share in shares:
            share.wait(task.watch)
        if failure := next((share.failure for share in shares if share.failure), None):
            raise failure
        check_ended(group.clients[0], task.choice)
        digests = [reader.finish(group.clients[0]), *(share.finish() for share in shares)]
        behind = aside.part()
        behind.write(structure)
        for part in (*(share.part for share in shares), behind, tail):
            aside.append(part, text.see)
    finally:
        fail()
        for share in filter(Thread.is_alive, shares):
            share.join()
    readers = [reader, *(share.reader for share in shares)]
    return Passed(
        DumpDigest(
            tuple(table for digest in digests for table in digest.tables),
            tuple(each for digest in digests for each in digest.objects),
            complete=True,
        ),
        tuple(dict.fromkeys(limit for each in readers for limit in each.limits)),
        text.size,
        text.sha256.hexdigest(),
        max((each.longest_line for each in readers), key=lambda line: line.size),
    )


def _pass_first(task: Task, group: Started, reader: Regions, takers: Sequence[Callable[[bytes], object]]) -> None:
    """Pass the output of the first client on.

    :param takers: take the text up to its last table, and the rest.
    """
    chunks = itertools.chain(group.begun[0], group.clients[0].chunks(silence=SILENCE))
    for chunk in mysql_events.before_trailer(filter(task.watch.hears, chunks), task.events):
        for region, piece in reader.pieces(chunk):
            takers[region](piece)
    for region, piece in reader.rest():
        takers[region](piece)
