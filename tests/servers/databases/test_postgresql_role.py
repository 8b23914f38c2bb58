"""Code of a dump runs while it is loaded, and reaches nothing but the database that is filled."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.errors import DumpError, RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL
from tests.crash import die, killed
from tests.servers.databases.test_postgresql import HEAD, TAIL, make_everything

NEWER = ("postgresql_17", "postgresql_18")  # where members of a role need not be able to act as it
ROLES = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'lifeboat\\_load%' ORDER BY 1"
BEYOND = (
    "SELECT datname, datdba::regrole, datacl FROM pg_database WHERE datname !~ '^lifeboat_' ORDER BY 1;"
    " SELECT rolname, rolpassword, rolsuper, rolcreaterole FROM pg_authid WHERE rolname !~ '^lifeboat_load' ORDER BY 1;"
    " SELECT member::regrole, roleid::regrole FROM pg_auth_members WHERE roleid::regrole::text !~ 'lifeboat_load';"
    " SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting"
)
DENIED = r"error (42501|25001|28000|0LP01|22012)\b"


@pytest.fixture(
    scope="module", params=["postgresql", *(pytest.param(name, marks=pytest.mark.matrix) for name in NEWER)]
)
def server(request: pytest.FixtureRequest) -> Iterator[PostgreSQL]:
    """The server, with a database that nothing may reach, of the login that restores."""
    found: PostgreSQL = request.getfixturevalue(request.param)
    found.run(f"CREATE DATABASE victim OWNER {found.user}")
    with pytest.MonkeyPatch.context() as patch:
        if found.path:
            patch.setenv("PATH", str(found.path), prepend=":")
        yield found
    assert found.run(ROLES) == ""
    found.run("DROP DATABASE victim")


@pytest.fixture(scope="module")
def everything(server: PostgreSQL) -> tuple[Dump, bytes]:
    """A dump of everything that a dump must carry."""
    make_everything(server)
    chunks: list[bytes] = []
    return engine(server).dump("everything", (), chunks.append), b"".join(chunks)


def engine(server: PostgreSQL, user: str = "", password: str = "") -> Engine:
    return Engine(Server(server.host, server.port, user or server.user, password or server.password), clock.now)


@pytest.fixture(scope="module")
def scratch(server: PostgreSQL, everything: tuple[Dump, bytes]) -> Iterator[tuple[Engine, str]]:
    """A drill that is under way on a server of production."""
    drilling = engine(server)
    with drilling.scratch("a key", everything[0], production=True) as place:
        yield drilling, place


@pytest.fixture
def drilled(server: PostgreSQL, scratch: tuple[Engine, str]) -> Iterator[tuple[Engine, str]]:
    """The same, empty again after each test: a load that fails leaves what it made until its place is dropped."""
    owner = server.run("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'", scratch[1]).strip()
    yield scratch
    server.run(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {owner}", scratch[1])


def function(result: str, does: str, returns: str) -> bytes:
    """Return a function that may stand everywhere, for it claims to change nothing, and another that it calls."""
    made = "CREATE FUNCTION public.{}() RETURNS {} LANGUAGE plpgsql {} AS $_$ BEGIN {}; RETURN {}; END $_$;\n"
    attack = made.format("attack", "integer", "VOLATILE", f"EXECUTE $x$ {does} $x$", "1")
    return (attack + made.format("f", result, "IMMUTABLE", "PERFORM public.attack()", returns)).encode()


TABLE = b"CREATE TABLE public.t (a integer);\n"
ROWS = b"COPY public.t (a) FROM stdin;\n1\n\\.\n"
CALLED = "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.attack(); RETURN 1; END $$;\n"
WAYS = {
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
    "cast": (
        "integer",
        "1",
        b"CREATE TYPE public.e AS ENUM ('a');\n"
        b"CREATE FUNCTION public.c(public.e) RETURNS integer "
        + CALLED.encode()
        + b"CREATE CAST (public.e AS integer) WITH FUNCTION public.c(public.e) AS ASSIGNMENT;\n"
        b"CREATE TABLE public.t (a integer, b integer DEFAULT 'a'::public.e);\n" + ROWS,
    ),
    "operator": (
        "integer",
        "1",
        b"CREATE FUNCTION public.o(integer, integer) RETURNS integer "
        + CALLED.encode()
        + b"CREATE OPERATOR public.=== (FUNCTION = public.o, LEFTARG = integer, RIGHTARG = integer);\n"
        b"CREATE TABLE public.t (a integer, CHECK ((a OPERATOR(public.===) 1) = 1));\n" + ROWS,
    ),
    "range type": (
        "integer",
        "1",
        b"CREATE FUNCTION public.d(double precision, double precision) RETURNS double precision "
        + CALLED.encode()
        + b"CREATE TYPE public.r AS RANGE (subtype = double precision, subtype_diff = public.d);\n"
        b"CREATE TABLE public.t (a public.r);\nCOPY public.t (a) FROM stdin;\n"
        + b"".join(b"[%d,%d)\n" % (n, n + 2) for n in range(900))
        + b"\\.\nCREATE INDEX i ON public.t USING gist (a);\n",
    ),
    "row-level security": (
        "boolean",
        "true",
        TABLE + b"CREATE POLICY p ON public.t WITH CHECK (public.f());\n"
        b"ALTER TABLE public.t FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY;\n"
        b"INSERT INTO public.t VALUES (1);\n",
    ),
    "new type": ("integer", "1", TABLE + ROWS + b"ALTER TABLE public.t ALTER COLUMN a TYPE bigint USING public.f();\n"),
    "partition": (
        "integer",
        "1",
        b"CREATE TABLE public.t (a integer) PARTITION BY RANGE (((a + public.f())));\n"
        b"CREATE TABLE public.p PARTITION OF public.t DEFAULT;\n" + ROWS,
    ),
    "values": ("integer", "1", TABLE + b"INSERT INTO public.t VALUES (public.f());\n"),
    "table of a query": ("integer", "1", b"CREATE TABLE public.t AS SELECT public.f();\n"),
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


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f()",
        "CREATE CONSTRAINT TRIGGER g AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f()",
        "CREATE RULE g AS ON INSERT TO public.t DO ALSO SELECT public.f()",
        "CREATE EVENT TRIGGER g ON ddl_command_end EXECUTE FUNCTION public.f()",
    ],
)
@pytest.mark.parametrize("rows", [ROWS, b"INSERT INTO public.t VALUES (1);\n"])
def test_nothing_fires_on_rows(server: PostgreSQL, drilled: tuple[Engine, str], made: str, rows: bytes) -> None:
    drilling, place = drilled
    code = function("trigger", "SELECT 1", "NEW")
    with pytest.raises(RestoreError, match="rows of table 't' behind triggers or rules"):
        drilling.load(place, [HEAD + code + TABLE + made.encode() + b";\n" + rows + TAIL], Load("x"))


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
    # CASE, for a plan that asks for the name last would end the session of this code itself.
    "SELECT 1 / count(CASE usename WHEN 'lifeboat' THEN pg_terminate_backend(pid) END) FROM pg_stat_activity",
    "CREATE EXTENSION dblink",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RENAME TO gone', current_database()); END $$",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO evil', current_database()); END $$",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_of_a_dump_reaches_nothing_else(server: PostgreSQL, drilled: tuple[Engine, str], attack: str) -> None:
    drilling, place = drilled
    before = server.run(BEYOND)
    result, returns, text = WAYS["check"]
    with pytest.raises(RestoreError, match=DENIED):
        drilling.load(place, [HEAD + function(result, attack, returns) + text + TAIL], Load("x"))
    assert server.run(BEYOND) == before
    assert place in server.run("SELECT datname FROM pg_database")


def test_a_role_may_change_its_own_password_and_nobody_elses(server: PostgreSQL) -> None:
    before, roles = server.run(BEYOND), set(server.run(ROLES).split())
    loading = engine(server)
    result, returns, text = WAYS["check"]
    with loading.target(Target("copy", "a key")) as place:
        (role,) = set(server.run(ROLES).split()) - roles
        assert re.fullmatch(r"lifeboat_load_[0-9a-f]{18}", role)
        rights = "rolinherit, rolcreatedb, rolcreaterole, rolsuper, rolconnlimit, rolvaliduntil IS NOT NULL"
        assert server.run(f"SELECT {rights} FROM pg_roles WHERE rolname = '{role}'") == "f\tf\tf\tf\t8\tt\n"
        code = function(result, "ALTER ROLE CURRENT_USER PASSWORD 'evil'", returns)
        loading.load(place.name, [HEAD + code + text + TAIL], Load("x"))
    server.run("DROP DATABASE copy")
    assert server.run(BEYOND) == before
    assert role not in server.run(ROLES)


def test_nothing_is_left_to_the_role_and_all_has_an_owner(server: PostgreSQL, everything: tuple[Dump, bytes]) -> None:
    server.run("CREATE ROLE operator LOGIN CREATEDB CREATEROLE PASSWORD 'pw' IN ROLE lifeboat")
    loading = engine(server, "operator", "pw")
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
    server.run("DROP ROLE operator")


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


def test_who_loads_by_itself_keeps_its_password(server: PostgreSQL) -> None:
    server.run("CREATE ROLE limited LOGIN CREATEDB PASSWORD 'pw'")
    attack = "ALTER ROLE CURRENT_USER PASSWORD ''evil''; ALTER ROLE CURRENT_USER SET search_path TO evil"
    code = f"CREATE FUNCTION public.f() RETURNS boolean LANGUAGE sql AS '{attack}; SELECT true';\n".encode()
    table = b"CREATE TABLE public.t (a integer, CHECK (public.f()));\n"
    loading = engine(server, "limited", "pw")
    with pytest.raises(DumpError, match="password"), loading.target(Target("copy", "a key")) as place:
        loading.load(place.name, [HEAD + code + table + ROWS + TAIL], Load("x"))
        loading.read_back(place.name, ())
    assert "copy" not in loading.databases()
    assert server.run("SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'limited'::regrole") == ""
    server.run("DROP ROLE limited")


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
    with pytest.raises(
        RestoreError, match="limited is not allowed to create a role for the load, and code in a dump"
    ) as refused:
        loading.target(Target("copy", "a key")).__enter__()
    assert "CREATEROLE" in refused.value.hint
    server.run(less)
    server.run("DROP ROLE limited")


CODE = b"""
CREATE FUNCTION public.who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
CREATE FUNCTION public.told() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
 'BEGIN NEW.a = current_user; RETURN NEW; END';
CREATE TABLE public.found (a text);
CREATE FUNCTION public.note() RETURNS void LANGUAGE sql AS 'INSERT INTO public.found VALUES (current_user)';
CREATE FUNCTION public.seen(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
 'BEGIN PERFORM public.note(); RETURN $1; END';
CREATE TABLE public.t (a text);
COPY public.t (a) FROM stdin;
1
\\.
CREATE STATISTICS public.s ON public.seen(a) FROM public.t;
CREATE TRIGGER told BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.told();
"""
NAMED = {"nobody": "", "who is missing": "gone", "who restores": "restorer", "a superuser": "postgres", "dba": "dba"}


@pytest.fixture
def restorer(server: PostgreSQL) -> Iterator[Engine]:
    """A login that restores, and that is a member of a superuser, of one of its members, and of an application."""
    server.run("CREATE ROLE dba; GRANT postgres TO dba; CREATE ROLE app; DROP DATABASE IF EXISTS copy")
    server.run("CREATE ROLE restorer LOGIN CREATEDB CREATEROLE PASSWORD 'pw'; GRANT postgres, dba, app TO restorer")
    yield engine(server, "restorer", "pw")
    server.run("DROP DATABASE IF EXISTS copy")
    server.run("DROP ROLE dba, app, restorer")


@pytest.mark.parametrize("owner", NAMED.values(), ids=NAMED)
def test_no_code_has_the_rights_of_who_restores_or_of_a_superuser(
    server: PostgreSQL, restorer: Engine, caplog: pytest.LogCaptureFixture, owner: str
) -> None:
    owned = f"""ALTER FUNCTION public.who() OWNER TO {owner};
ALTER FUNCTION public.told() OWNER TO {owner};
ALTER TABLE public.t OWNER TO {owner};
""".encode()
    with restorer.target(Target("copy", "a key")) as place:
        restorer.load(place.name, [HEAD, CODE, owned if owner else b"", TAIL], Load("x"))
    server.run("INSERT INTO t VALUES (''); ANALYZE t", "copy")  # by a superuser, as the server itself does
    ran_as = "SELECT who() UNION SELECT a FROM t WHERE a <> '1' UNION SELECT a FROM found"
    assert server.run(ran_as, "copy") == "pg_database_owner\n"
    assert re.search(r" of lifeboat_\w+ could not be given to the owner .*: pg_database_owner owns it", caplog.text)
    assert [reason in str(place.missed) for reason in ("does not exist", "rights of a superuser")] == [
        owner == "gone",
        owner in ("postgres", "dba"),
    ]
    server.run("ALTER DATABASE copy OWNER TO app")
    server.run("SET ROLE app; ALTER TABLE t ADD b integer; DELETE FROM t; DROP FUNCTION who()", "copy")


@pytest.mark.parametrize("owner", ["app", "restorer"])
def test_without_code_all_has_the_owner_that_it_had(
    server: PostgreSQL, restorer: Engine, caplog: pytest.LogCaptureFixture, owner: str
) -> None:
    owned = f"GRANT CREATE ON SCHEMA public TO app;\nALTER TABLE public.t OWNER TO {owner};\n".encode()
    with restorer.target(Target("copy", "a key")) as place:
        restorer.load(place.name, [HEAD, TABLE, ROWS, owned, TAIL], Load("x"))
    assert server.run("SELECT relowner::regrole FROM pg_class WHERE relname = 't'", "copy") == f"{owner}\n"
    assert "pg_database_owner" not in caplog.text


def test_no_right_to_another_database_is_hidden_behind_a_comment(server: PostgreSQL, restorer: Engine) -> None:
    server.run("CREATE DATABASE other OWNER restorer; GRANT CONNECT ON DATABASE other TO app")
    rights = "SELECT datacl FROM pg_database WHERE datname = 'other'"
    before = server.run(rights)
    taken = b"ALTER TABLE public.t OWNER TO app;\nREVOKE ALL ON DATABASE other -- ON TABLE x\n FROM app;\n"
    with pytest.raises(RestoreError, match="leaves its database"), restorer.target(Target("copy", "a key")) as place:
        restorer.load(place.name, [HEAD, TABLE, taken, TAIL], Load("x"))
    after = server.run(rights)
    server.run("DROP DATABASE other")
    assert after == before


def test_code_without_an_owner_comes_into_schemas_that_have_one(
    server: PostgreSQL, restorer: Engine, everything: tuple[Dump, bytes]
) -> None:
    server.run("CREATE DATABASE x OWNER app")
    sql = (
        b"CREATE SCHEMA s;\nCREATE FUNCTION s.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
        b"CREATE TABLE s.t (a integer PRIMARY KEY);\nCREATE TABLE s.u (a integer REFERENCES s.t);\n"
        b'CREATE TEXT SEARCH CONFIGURATION s.c (PARSER = pg_catalog."default");\n'
        b"CREATE PUBLICATION p FOR TABLE s.t;\nSELECT pg_catalog.lo_create('7');\nALTER SCHEMA s OWNER TO app;\n"
    )
    dump = dataclasses.replace(everything[0], database="x")
    with restorer.target(Target("copy", "a key", dump)) as place:
        restorer.load(place.name, [HEAD, sql, TAIL], Load("x"))
    server.run("SET ROLE app; INSERT INTO s.t VALUES (1); INSERT INTO s.u VALUES (s.f())", "copy")
    assert server.run("SELECT datdba::regrole FROM pg_database WHERE datname = 'copy'") == "app\n"
    server.run("DROP DATABASE x")


def test_schemas_of_superusers_stay_as_they_are(server: PostgreSQL) -> None:
    loading = engine(server)
    with loading.target(Target("copy", "a key")) as place:
        loading.load(place.name, [HEAD, CODE, TAIL], Load("x"))
        server.run("CREATE SCHEMA s", place.name)  # as an extension makes one
    assert server.run("SELECT who(), nspacl IS NULL FROM pg_namespace WHERE nspname = 's'", "copy") == (
        "pg_database_owner\tt\n"
    )
    server.run("DROP DATABASE copy")
