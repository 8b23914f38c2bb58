"""Code of a dump runs while it is loaded, and reaches nothing but the database that is filled."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.postgresql import PostgreSQL as Engine
from lifeboat.errors import RestoreError

from include.demo.stand_ins import PostgreSQL
from tests.crash import die, killed
from tests.databases.test_postgresql import HEAD, TAIL, everything

__all__ = ["everything"]

ROLES = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'lifeboat\\_load%' ORDER BY 1"
BEYOND = (
    "SELECT datname, datdba::regrole, datacl FROM pg_database WHERE datname !~ '^lifeboat_' ORDER BY 1;"
    " SELECT rolname, rolpassword, rolsuper, rolcreaterole FROM pg_authid WHERE rolname !~ '^lifeboat_load' ORDER BY 1;"
    " SELECT member::regrole, roleid::regrole FROM pg_auth_members WHERE roleid::regrole::text !~ 'lifeboat_load';"
    " SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting"
)
DENIED = r"error (42501|25001|28000|0LP01|22012)\b"


@pytest.fixture(scope="module")
def server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server, with a database that nothing may reach, of the login that restores."""
    postgresql.run(f"CREATE DATABASE victim OWNER {postgresql.user}")
    yield postgresql
    assert postgresql.run(ROLES) == ""
    postgresql.run("DROP DATABASE victim")


def engine(server: PostgreSQL, user: str = "", password: str = "") -> Engine:
    return Engine(Server(server.host, server.port, user or server.user, password or server.password))


@pytest.fixture(scope="module")
def drilled(server: PostgreSQL, everything: tuple[Dump, bytes]) -> Iterator[tuple[Engine, str]]:
    """A drill that is under way on a server of production."""
    drilling = engine(server)
    with drilling.scratch("a key", everything[0], production=True) as place:
        yield drilling, place


def function(result: str, does: str, returns: str) -> bytes:
    """Return a function that may stand everywhere, for it claims to change nothing, and another that it calls."""
    made = "CREATE FUNCTION public.{}() RETURNS {} LANGUAGE plpgsql {} AS $_$ BEGIN {}; RETURN {}; END $_$;\n"
    attack = made.format("attack", "integer", "VOLATILE", f"EXECUTE $x$ {does} $x$", "1")
    return (attack + made.format("f", result, "IMMUTABLE", "PERFORM public.attack()", returns)).encode()


TABLE = b"CREATE TABLE public.t (a integer);\n"
ROWS = b"COPY public.t (a) FROM stdin;\n1\n\\.\n"
WAYS = {
    "trigger": (
        "trigger",
        "NEW",
        TABLE + b"CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();\n" + ROWS,
    ),
    "check": ("boolean", "true", b"CREATE TABLE public.t (a integer, CHECK (public.f()));\n" + ROWS),
    "default": ("integer", "1", b"CREATE TABLE public.t (a integer, b integer DEFAULT public.f());\n" + ROWS),
    "generated": (
        "integer",
        "1",
        b"CREATE TABLE public.t (a integer, b integer GENERATED ALWAYS AS (public.f()) STORED);\n" + ROWS,
    ),
    "index": ("integer", "1", TABLE + ROWS + b"CREATE INDEX i ON public.t USING btree (a, public.f());\n"),
    "domain": (
        "boolean",
        "true",
        b"CREATE DOMAIN public.d AS integer CONSTRAINT c CHECK (public.f());\nCREATE TABLE public.t (a public.d);\n"
        + ROWS,
    ),
    "materialized view": (
        "integer",
        "1",
        b"CREATE MATERIALIZED VIEW public.m AS SELECT public.f() AS a WITH NO DATA;\n"
        b"REFRESH MATERIALIZED VIEW public.m;\n",
    ),
    "constraint": (
        "boolean",
        "true",
        TABLE + ROWS + b"ALTER TABLE ONLY public.t ADD CONSTRAINT c CHECK (public.f());\n",
    ),
    "statistics behind an owner": (
        "boolean",
        "true",
        TABLE + ROWS + b"ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.f()), OWNER TO lifeboat;\n",
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_whatever_runs_code_runs_it_as_a_role_of_its_own(
    server: PostgreSQL, drilled: tuple[Engine, str], way: tuple[str, str, bytes]
) -> None:
    drilling, place = drilled
    result, returns, text = way
    before = server.run(BEYOND)
    sql = HEAD + function(result, "ALTER DATABASE victim RENAME TO gone", returns) + text + TAIL
    with pytest.raises(RestoreError, match=DENIED):
        drilling.load(place, [sql], Load("x"))
    assert server.run(BEYOND) == before


ATTACKS = [
    "ALTER DATABASE victim OWNER TO CURRENT_USER",
    "DROP DATABASE victim",
    "CREATE DATABASE evil",
    "ALTER ROLE lifeboat PASSWORD 'evil'",
    "ALTER ROLE lifeboat SET search_path TO evil",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "CREATE ROLE evil SUPERUSER",
    "GRANT lifeboat TO CURRENT_USER",
    "GRANT pg_execute_server_program TO CURRENT_USER",
    "SET ROLE lifeboat",
    "SET SESSION AUTHORIZATION lifeboat",
    "RESET SESSION AUTHORIZATION; SET ROLE lifeboat",
    "ALTER SYSTEM SET work_mem TO '7MB'",
    "COPY t TO PROGRAM 'true'",
    "COPY t FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_export(lo_create(0), '/tmp/lifeboat-attack')",
    "SELECT 1 / (SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'lifeboat' AND pg_terminate_backend(pid))",
    "CREATE EXTENSION dblink",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RENAME TO gone', current_database()); END $$",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO evil', current_database()); END $$",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_of_a_dump_reaches_nothing_else(server: PostgreSQL, drilled: tuple[Engine, str], attack: str) -> None:
    drilling, place = drilled
    before = server.run(BEYOND)
    result, returns, text = WAYS["trigger"]
    with pytest.raises(RestoreError, match=DENIED):
        drilling.load(place, [HEAD + function(result, attack, returns) + text + TAIL], Load("x"))
    assert server.run(BEYOND) == before
    assert place in server.run("SELECT datname FROM pg_database")


def test_a_role_may_change_its_own_password_and_nobody_elses(server: PostgreSQL) -> None:
    before, roles = server.run(BEYOND), set(server.run(ROLES).split())
    loading = engine(server)
    result, returns, text = WAYS["trigger"]
    with loading.target(Target("copy", "a key")) as place:
        (role,) = set(server.run(ROLES).split()) - roles
        assert re.fullmatch(r"lifeboat_load_[0-9a-f]{18}", role)
        rights = "rolinherit, rolcreatedb, rolcreaterole, rolsuper, rolconnlimit, rolvaliduntil IS NOT NULL"
        assert server.run(f"SELECT {rights} FROM pg_roles WHERE rolname = '{role}'") == "f\tf\tf\tf\t4\tt\n"
        code = function(result, "ALTER ROLE CURRENT_USER PASSWORD 'evil'", returns)
        loading.load(place.name, [HEAD + code + text + TAIL], Load("x"))
    server.run("DROP DATABASE copy")
    assert server.run(BEYOND) == before
    assert role not in server.run(ROLES)


def test_nothing_is_left_to_the_role_and_all_has_an_owner(server: PostgreSQL, everything: tuple[Dump, bytes]) -> None:
    loading = engine(server)
    with loading.target(Target("copy", "a key", everything[0])) as place:
        loading.load(place.name, [everything[1]], Load("everything"))
        before = loading.read_back(place.name, ())
    owners = (
        "SELECT DISTINCT relowner::regrole FROM pg_class UNION SELECT proowner::regrole FROM pg_proc"
        " UNION SELECT nspowner::regrole FROM pg_namespace UNION SELECT typowner::regrole FROM pg_type"
        " UNION SELECT lomowner::regrole FROM pg_largeobject_metadata ORDER BY 1"
    )
    assert server.run(owners, "copy") == server.run(owners, "everything")
    rights = "SELECT relname, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    assert server.run(rights, "copy") == server.run(rights, "everything")
    assert server.run("SELECT defaclrole::regrole, defaclacl FROM pg_default_acl", "copy") == server.run(
        "SELECT defaclrole::regrole, defaclacl FROM pg_default_acl", "everything"
    )
    again = loading.dump("copy", (), lambda chunk: None)
    assert (again.tables, again.objects) == (before.tables, before.objects)
    server.run("DROP DATABASE copy")


def test_what_a_killed_load_left_goes_with_the_next_one(server: PostgreSQL) -> None:
    def load() -> None:
        loading = engine(server)
        with loading.target(Target("copy", "a key")) as place:
            loading.load(place.name, [HEAD + TABLE + ROWS + TAIL], Load("x"))
            die()

    before = set(server.run(ROLES).split())
    killed(load)
    (left,) = set(server.run(ROLES).split()) - before
    server.run("CREATE ROLE lifeboat_load_somebody")
    with engine(server).target(Target("one", "a key")), engine(server).target(Target("two", "a key")):
        found = set(server.run(ROLES).split()) - before
        assert left not in found
        assert len(found) == 3
        assert "lifeboat_load_somebody" in found
    server.run("DROP ROLE lifeboat_load_somebody")
    server.run("DROP DATABASE one")
    server.run("DROP DATABASE two")


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("ALTER DATABASE victim OWNER TO limited", "ALTER DATABASE victim OWNER TO lifeboat"),
        ("GRANT CONNECT ON DATABASE victim TO limited", "REVOKE CONNECT ON DATABASE victim FROM limited"),
        ("GRANT lifeboat TO limited", "REVOKE lifeboat FROM limited"),
        ("GRANT limited TO lifeboat", "REVOKE limited FROM lifeboat"),
    ],
    ids=["owner", "right", "member", "has a member"],
)
def test_who_may_make_no_role_must_have_nothing_else(server: PostgreSQL, more: str, less: str) -> None:
    server.run("CREATE ROLE limited LOGIN CREATEDB PASSWORD 'pw'")
    loading = engine(server, "limited", "pw")
    with loading.target(Target("copy", "a key")) as place:
        assert loading.load(place.name, [HEAD + TABLE + ROWS + TAIL], Load("x")).tables == 1
    server.run("DROP DATABASE copy")
    server.run(more)
    with pytest.raises(RestoreError, match="limited may not make a role for the load, and code in a dump") as refused:
        loading.target(Target("copy", "a key")).__enter__()
    assert "CREATEROLE" in refused.value.hint
    server.run(less)
    server.run("DROP ROLE limited")
