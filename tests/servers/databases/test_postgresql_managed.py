"""Roles as managed services make them: no superuser, CREATEROLE, and ADMIN of what they make without SET or INHERIT."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL17

MASTER, OWNER = "master", "app owner"


@pytest.fixture
def server(postgresql_17: PostgreSQL17, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL17]:
    monkeypatch.setenv("PATH", f"{postgresql_17.path}:/usr/bin:/bin")
    password = postgresql_17.password.replace("'", "''")
    postgresql_17.run(f"CREATE ROLE {MASTER} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
    postgresql_17.run(f'CREATE ROLE "{OWNER}"', user=MASTER)
    postgresql_17.run(f'CREATE DATABASE managed OWNER "{OWNER}"')
    postgresql_17.run(f'SET ROLE "{OWNER}"; CREATE TABLE t (a int); INSERT INTO t VALUES (7)', "managed")
    yield postgresql_17
    for name in postgresql_17.run("SELECT datname FROM pg_database WHERE datname ^@ 'managed'").splitlines():
        postgresql_17.run(f"DROP DATABASE {name} WITH (FORCE)")
    postgresql_17.run(f'DROP ROLE "{OWNER}"; DROP ROLE {MASTER}')


def engine(server: PostgreSQL17, user: str) -> Engine:
    return Engine(Server(server.host, server.port, user, server.password), clock.now)


def test_a_drill_fails_where_a_restore_in_place_would_and_both_say_what_to_grant(server: PostgreSQL17) -> None:
    chunks: list[bytes] = []
    dump = engine(server, "postgres").dump("managed", (), chunks.append)
    restoring = engine(server, MASTER)
    target = Target("managed", "a key", dump, exists=True, in_place=True)
    said = "master may not act as the role that owns database 'managed'"
    with pytest.raises(RestoreError, match=said) as refused, restoring.target(target):
        pass
    with pytest.raises(RestoreError, match=said), restoring.scratch("a key", dump, production=True):
        pass
    grant = f'GRANT "{OWNER}" TO "{MASTER}" WITH SET TRUE, INHERIT TRUE'
    assert f"{grant};" in refused.value.hint
    asking = Engine(Server(server.host, server.port, "postgres", server.password), clock.now, ask_taker=restoring.taker)
    (limit,) = asking.dump("managed", (), len).limits
    assert limit.text.startswith(f"{MASTER} cannot act as role '{OWNER}' on 127.0.0.1:")
    assert f"replaces no database that it owns ({grant})" in limit.text
    server.run(grant, user=MASTER)
    assert asking.dump("managed", (), len).limits == ()
    rehearsed = drilled(restoring, dump, chunks)
    assert (rehearsed.tables, rehearsed.objects) == (dump.tables, dump.objects)
    with restoring.target(target) as place:
        restoring.load(place.name, chunks, Load("managed"))
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'managed'"
    assert server.run(
        f"{owner}; SELECT tableowner FROM pg_tables WHERE tablename = 't'; SELECT a FROM t", "managed"
    ) == (f"{OWNER}\n{OWNER}\n7\n")
    server.run(f'CREATE DATABASE managed_prepared OWNER "{OWNER}"')
    server.run(f"ALTER ROLE {MASTER} NOCREATEDB")
    with pytest.raises(
        RestoreError, match="is not allowed to create databases, so it loads only into one prepared by an administrator"
    ):
        restoring.check_load("managed")
    prepared = Target("managed_prepared", "a key", dump)
    with pytest.raises(RestoreError, match="what fails"), restoring.target(prepared) as place:
        restoring.load(place.name, chunks, Load("managed"))
        raise RestoreError("what fails")
    with restoring.target(prepared) as place:
        restoring.load(place.name, chunks, Load("managed"))
    assert (place.missed, server.run("SELECT a FROM t", "managed_prepared", MASTER)) == ([], "7\n")


def drilled(restoring: Engine, dump: Dump, chunks: list[bytes]) -> Dump:
    with restoring.scratch("a key", dump, production=True) as place:
        restoring.load(place, chunks, Load("managed"))
        return restoring.read_back(place, ())
