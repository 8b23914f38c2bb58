"""Dumps of a real server, its binary logs, and replays of the ones on top of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lifeboat.catalog.logs import LogEvents
from lifeboat.databases import Dump, Load, Target
from lifeboat.databases.mysql import dump as mysql_dump
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.databases.mysql.replay import Replay, Replayed, Stop
from lifeboat.decide.comparison import differences
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL

Server = MariaDB | MariaDB118 | MySQL
SOURCE, COPY = "shop", "shop_copy"
PASSWORD = "Str0ng-and-long"


@dataclass(frozen=True)
class Piece:
    """A whole file of a log."""

    file: str
    start: int = 4
    left_out: LogEvents = field(default_factory=LogEvents)
    server: str = ""
    skips: str = ""


@dataclass(frozen=True)
class Taken:
    """A dump and its SQL."""

    dump: Dump
    sql: bytes


def take(server: Server, schema: str = SOURCE, excluded: Sequence[str] = (), without_rows: Sequence[str] = ()) -> Taken:
    """Dump a schema, with its position in the log."""
    chunks: list[bytes] = []
    dump = mysql_dump.dump(
        server.connect,
        server.server,
        clock.now,
        schema,
        excluded,
        chunks.append,
        without_rows=without_rows,
        may_lock=True,
    )
    return Taken(dump, b"".join(chunks))


def logs_of(server: Server) -> list[tuple[Piece, list[bytes]]]:
    """Return the files of a server's log."""
    folder = Path(server.run("SELECT @@log_bin_basename").strip()).parent
    names = [line.split("\t")[0] for line in server.run("SHOW BINARY LOGS").splitlines()]
    uid = server.run(f"SELECT @@{'server_uuid' if isinstance(server, MySQL) else 'server_uid'}").strip()
    return [(Piece(name, server=uid), [(folder / name).read_bytes()]) for name in names]


def replayed(
    server: Server,
    taken: Taken,
    stop: Stop,
    pieces: Iterable[tuple[Piece, Iterable[bytes]]] | None = None,
    target: str = COPY,
    login: str = "",
) -> Replayed:
    """Load a dump into a schema of another name, and replay logs on top of it.

    :param login: of the restore connection; default: root's.
    """
    assert taken.dump.position, taken.dump.no_position
    in_place = target == SOURCE
    if not in_place:
        server.run(f"DROP DATABASE IF EXISTS {target}")
    who = {"user": login, "password": PASSWORD} if login else {}
    address = replace(server.server, user=login, password=PASSWORD) if login else server.server
    engine = Engine(address, lambda **other: server.connect(**who | other), clock.now)
    lacking, unchecked = frozenset(taken.dump.without_rows), taken.dump.unchecked
    wanted = Replay(SOURCE, taken.dump.position, stop, lacking, unchecked)
    with engine.target(Target(target, "key", taken.dump, exists=in_place, in_place=in_place)) as place:
        engine.load(place.name, [taken.sql], Load(SOURCE, unchecked=unchecked))
        return engine.replay(place.name, pieces if pieces is not None else logs_of(server), wanted)


def different(server: Server, captured: Dump, target: str = COPY) -> list[str]:
    """Return how the replayed schema differs from a dump."""
    found = take(server, target).dump
    return [str(difference) for difference in differences(captured, found)]
