"""Extensions are made in an empty database by a login of their own, or told at the backup to be impossible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from lifeboat.airflow import connections
from lifeboat.databases import EXTENSION, UNASKED, Dump, Engine, Extension, Load, Loaded, Target
from lifeboat.databases.postgresql import engine as postgresql
from lifeboat.databases.postgresql import extensions as postgresql_extensions
from lifeboat.databases.postgresql import prepared
from lifeboat.databases.postgresql.engine import PostgreSQL as PostgreSQLEngine
from lifeboat.databases.postgresql.extensions import Maker
from lifeboat.databases.postgresql.statements import read
from lifeboat.errors import DumpError, RestoreError
from lifeboat.settings.config import Database
from psycopg.conninfo import make_conninfo

from include.demo.stand_ins import PostgreSQL
from tests.conftest import Configure
from tests.crash import die, killed
from tests.servers.databases.test_postgresql import HEAD, TAIL, databases, rehearse
from tests.servers.databases.test_postgresql_database import PROPERTIES
from tests.servers.test_restore import back_up, plan, repack, restored

SOURCE = "shop"
UNTRUSTED = ("postgres_fdw", "dblink", "pg_stat_statements", "file_fdw", "amcheck", "adminpack")
FILLED = "SELECT datname FROM pg_database WHERE datname LIKE 'lifeboat\\_filling%'"


@pytest.fixture(scope="module")
def server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server, with a superuser for extensions, and an application's role that the restore login may act as."""
    postgresql.run(
        f"CREATE ROLE extender LOGIN SUPERUSER PASSWORD 'pw'; CREATE ROLE app; GRANT app TO {postgresql.user}"
    )
    yield postgresql
    postgresql.run("DROP ROLE extender; DROP ROLE app")


@pytest.fixture
def pg(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", server.connection())
    monkeypatch.setenv("AIRFLOW_CONN_EXTENDER", server.connection(login="extender", password="pw"))
    server.run(f"CREATE DATABASE {SOURCE} OWNER app")
    yield server
    for name in databases(server):
        server.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def engine(*, extender: str | None = "extender", **more: Any) -> Engine:
    settings = Database(name=SOURCE, engine="postgresql", connection="shop_pg", extensions_connection=extender, **more)
    return connections.engine(settings, Path("/unused"))


def take(**more: Any) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    return engine(**more).dump(SOURCE, (), chunks.append), b"".join(chunks)


def load(sql: bytes, *extensions: Extension, extender: str | None = "extender") -> Loaded:
    """Restore a dump as database ``copy``."""
    filling = engine(extender=extender)
    with filling.target(Target("copy", "a key", extensions=extensions)) as place:
        loaded = filling.load(place.name, [sql], Load(SOURCE))
        filling.read_back(place.name, ())
    return loaded


def installed(pg: PostgreSQL, database: str) -> str:
    query = "SELECT extname, extnamespace::regnamespace, extowner::regrole FROM pg_extension ORDER BY 1"
    return pg.run(query, database)


def test_extensions_of_superusers_are_restored_and_proven(pg: PostgreSQL, project: Configure, tmp_path: Path) -> None:
    shop = {"name": SOURCE, "engine": "postgresql", "connection": "shop_pg", "extensions_connection": "extender"}
    project(applications={"Shop": {"databases": [shop]}}, drill={"production": True})
    pg.run('CREATE SCHEMA "Odd ""one" AUTHORIZATION app', SOURCE)
    pg.run('CREATE EXTENSION cube SCHEMA "Odd ""one"; CREATE EXTENSION earthdistance SCHEMA "Odd ""one"', SOURCE)
    pg.run("".join(f"CREATE EXTENSION {name};" for name in UNTRUSTED), SOURCE)
    table = "CREATE TABLE t (a hstore, b cube); INSERT INTO t VALUES ('a=>1', '(1)')"
    pg.run(
        f'SET ROLE app; SET search_path = "Odd ""one", public; CREATE EXTENSION hstore SCHEMA public; {table}', SOURCE
    )
    before = installed(pg, SOURCE)
    key = back_up().packed.key
    proven = rehearse(key, "disk")
    assert (proven.limits, proven.notes) == (0, ())
    (done,) = restored(plan())
    assert (done.compared, done.limits) == (1, 0)
    assert done.warnings == ("extension 'cube' belongs to 'lifeboat', not 'postgres'",)
    line = 'cube\t"Odd ""one"\t{}\n'
    assert installed(pg, done.schema) == before.replace(line.format("postgres"), line.format("lifeboat"))
    assert pg.run("SELECT nspowner::regrole FROM pg_namespace WHERE nspname ~ 'Odd'", done.schema) == "app\n"
    # Of an older archive, only the dump tells.
    repack(tmp_path / "disk" / key, lambda contents, manifest: manifest["databases"][0].pop("extensions"))
    (old,) = restored(plan(archive=key, destination="disk", into="old"))
    assert (old.compared, old.warnings) == (1, ())
    assert [line.split("\t")[:2] for line in installed(pg, "old").splitlines()] == [
        line.split("\t")[:2] for line in before.splitlines()
    ]
    assert rehearse(key, "disk").notes == ()


def test_what_the_restore_login_may_not_make_is_told_when_the_backup_is_taken(pg: PostgreSQL) -> None:
    pg.run("CREATE EXTENSION dblink; CREATE EXTENSION pg_trgm", SOURCE)
    dump, sql = take(extender=None)
    ((kind, name, text),) = [(limit.kind, limit.name, limit.text) for limit in dump.limits]
    assert (kind, name) == (EXTENSION, "dblink")
    assert "only a superuser makes extension 'dblink' on 127.0.0.1" in text
    assert "set extensions_connection" in text
    assert dump.notices == [f"shop: {text}"]
    assert take()[0].limits == ()
    with pytest.raises(RestoreError, match="Cannot create extension 'dblink': permission denied") as refused:
        load(sql, *(dump.extensions or ()), extender=None)
    assert "extensions_connection" in refused.value.hint
    assert databases(pg) == [SOURCE]
    assert load(sql, *(dump.extensions or ())).left_out == ()


def test_the_restore_server_is_asked_for_its_extensions(pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    pg.run("CREATE EXTENSION dblink", SOURCE)
    (limit,) = take(restore_connection="no_such")[0].limits
    assert limit.kind == UNASKED
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", pg.connection(host="localhost"))
    assert take(restore_connection="elsewhere")[0].limits == ()
    (limit,) = take(restore_connection="elsewhere", extender=None)[0].limits
    assert "on localhost:" in limit.text
    one = Extension("no_such_thing", "public")
    (limit,) = postgresql_extensions.limits([one], {}, "there", may=True)
    assert "there does not have extension 'no_such_thing': a restore there stops" in limit.text


def test_an_extension_that_the_server_lacks_stops_a_restore_before_anything_is_loaded(pg: PostgreSQL) -> None:
    with pytest.raises(RestoreError, match="The server does not have extension 'postgis_of_yesterday'") as refused:
        load(HEAD + TAIL, Extension("postgis_of_yesterday", "public"))
    assert "Install its package" in refused.value.hint
    assert databases(pg) == [SOURCE]


@pytest.mark.parametrize(
    "extension",
    [
        Extension('dblink" SCHEMA public; ALTER ROLE lifeboat SUPERUSER; --', "public"),
        Extension("dblink'; DROP DATABASE shop; --", "public"),
        Extension("../../../tmp/evil", "public"),
        Extension("dblink", "pg_catalog"),
        Extension("dblink", "information_schema"),
        Extension("dblink", "pg_temp"),
        Extension("dblink", "pg_toast"),
        Extension("adminpack", "public"),
        Extension("cube", "pg_catalog"),
    ],
    ids=lambda extension: f"{extension.name} in {extension.schema}",
)
def test_no_other_name_and_no_schema_of_the_server_is_taken(pg: PostgreSQL, extension: Extension) -> None:
    roles = pg.run("SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^lifeboat_load' ORDER BY 1")
    with pytest.raises(RestoreError, match=r"does not have extension|cannot be installed in schema"):
        load(HEAD + TAIL, extension)
    assert databases(pg) == [SOURCE]
    assert pg.run("SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^lifeboat_load' ORDER BY 1") == roles


def test_a_schema_may_be_called_anything(pg: PostgreSQL) -> None:
    schema = 'x"; ALTER ROLE lifeboat SUPERUSER; --'
    load(HEAD + TAIL, Extension("dblink", schema))
    assert pg.run("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'dblink'", "copy") == (
        '"x""; ALTER ROLE lifeboat SUPERUSER; --"\n'
    )
    assert pg.run("SELECT rolsuper FROM pg_roles WHERE rolname = 'lifeboat'") == "f\n"


MADE_FIRST = (
    b"CREATE SCHEMA evil;\nCREATE FUNCTION evil.cube(double precision) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS"
    b" $_$ BEGIN ALTER ROLE lifeboat SUPERUSER; RETURN 1; END $_$;\n"
)


@pytest.mark.parametrize("name", ["dblink", "pg_stat_statements", "earthdistance"])
def test_an_extension_that_only_the_dump_names_is_made_by_nobody_else_than_its_role(pg: PostgreSQL, name: str) -> None:
    create = f"CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA evil;\n".encode()
    with pytest.raises(RestoreError, match=f"The dump's extension '{name}' failed with error (42501|42704)"):
        load(HEAD + MADE_FIRST + create + TAIL)
    assert pg.run("SELECT rolsuper FROM pg_roles WHERE rolname = 'lifeboat'") == "f\n"


def test_extensions_are_there_before_anything_of_the_dump(pg: PostgreSQL) -> None:
    create = b"CREATE EXTENSION IF NOT EXISTS earthdistance WITH SCHEMA evil;\n"
    wanted = (Extension("earthdistance", "evil"), Extension("cube", "evil"))  # the one needs the other
    with pytest.raises(RestoreError, match=r"function 'evil\.cube' failed with error 42723"):
        load(HEAD + MADE_FIRST + create + TAIL, *wanted)
    loaded = load(HEAD + b"CREATE SCHEMA evil;\n" + create + TAIL, *wanted)
    assert loaded.warnings == ()


def test_nothing_is_made_where_something_is(pg: PostgreSQL) -> None:
    pg.run("SET ROLE app; CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'", SOURCE)
    filling = engine()
    assert isinstance(filling, PostgreSQLEngine)
    with (
        filling._session(SOURCE, "x", RestoreError) as session,
        pytest.raises(RestoreError, match="The database already holds objects apart from its extensions"),
    ):
        Maker(session, None).make([Extension("dblink", "public")])


@pytest.mark.parametrize(
    "statement",
    [
        b"CREATE EXTENSION dblink;",
        b"CREATE EXTENSION IF NOT EXISTS dblink;",
        b"CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public CASCADE;",
        b"CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public VERSION '1.0';",
        b"CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA a.b;",
        b"ALTER EXTENSION dblink UPDATE;",
        b"ALTER EXTENSION dblink ADD FUNCTION f();",
        b"ALTER EXTENSION dblink SET SCHEMA public;",
        b"DROP EXTENSION dblink;",
    ],
)
def test_a_dump_says_nothing_else_of_extensions(statement: bytes) -> None:
    with pytest.raises(RestoreError, match="that pg_dump does not write"):
        list(read([HEAD + statement + b"\n" + TAIL]))


def test_the_superuser_makes_only_what_needs_one(pg: PostgreSQL) -> None:
    """Owners that a manifest names are believed only where the restore login may act as them, too."""
    load(HEAD + TAIL, Extension("citext", "public", owner="postgres"), Extension("dblink", "public", owner="app"))
    owners = installed(pg, "copy")
    assert "citext\tpublic\tlifeboat\n" in owners
    assert "dblink\tpublic\textender\n" in owners


def test_what_differs_of_an_extension_is_told(pg: PostgreSQL) -> None:
    loaded = load(HEAD + TAIL, Extension("dblink", "public", "0.9", "gone"))
    assert loaded.warnings == (
        "extension 'dblink' has version 1.2, not 0.9",
        "extension 'dblink' belongs to 'extender', not 'gone'",
    )


def test_rights_that_were_given_to_make_an_extension_are_taken_back(pg: PostgreSQL) -> None:
    load(HEAD + TAIL, Extension("hstore", "public", owner="app"), Extension("citext", "more", owner="app"))
    assert pg.run("SELECT has_database_privilege('app', 'copy', 'CREATE')") == "f\n"
    rights = (
        "SELECT has_schema_privilege('app', nspname, 'CREATE') FROM pg_namespace WHERE nspname IN ('public', 'more')"
    )
    assert pg.run(rights, "copy") == "f\nf\n"


DATABASE = (
    "SELECT datdba::regrole, shobj_description(oid, 'pg_database'), (SELECT string_agg(s, ' ') FROM pg_db_role_setting,"
    " unnest(setconfig) s WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = 'copy'"
)
LOAD_ROLES = "SELECT count(*) FROM pg_roles WHERE rolname ^@ 'lifeboat_load'"


def test_a_database_that_an_administrator_prepared_takes_a_dump(pg: PostgreSQL, project: Configure) -> None:
    project(applications={"Shop": {"databases": [{"name": SOURCE, "engine": "postgresql", "connection": "shop_pg"}]}})
    pg.run('CREATE SCHEMA "Odd ""one" AUTHORIZATION app; CREATE EXTENSION cube SCHEMA "Odd ""one"', SOURCE)
    pg.run('CREATE EXTENSION earthdistance SCHEMA "Odd ""one"; CREATE EXTENSION dblink', SOURCE)
    pg.run('SET ROLE app; CREATE TABLE "Odd ""one".t (a serial); INSERT INTO "Odd ""one".t VALUES (7)', SOURCE)
    pg.run(f"ALTER DATABASE {SOURCE} SET work_mem TO '7MB'")
    ((limit, *_),) = back_up().limits.values()
    assert "let one prepare the database (docs/RECOVERY.md)" in limit.text
    with pytest.raises(RestoreError, match="Cannot create extension 'earthdistance'") as refused:
        restored(plan(into="copy"))
    said = re.search(r"administrator run (CREATE DATABASE .*?); then run in 'copy': (.*) Then", refused.value.hint)
    assert said
    pg.run(said[1])
    pg.run(said[2], "copy")
    pg.run("COMMENT ON DATABASE copy IS 'mine'; ALTER DATABASE copy SET lock_timeout TO '1s'")
    assert engine().databases(["copy", SOURCE]).items() >= {"copy": False, SOURCE: True}.items()
    (done,) = restored(plan(into="copy"))
    assert done.compared == 1
    assert [each.text for each in done.missed] == ["setting lock_timeout is 1s instead of not set", "comment differs"]
    assert (
        pg.run(
            'SELECT a, (SELECT nspowner::regrole FROM pg_namespace WHERE nspname ~ \'Odd\') FROM "Odd ""one".t', "copy"
        )
        == "7\tapp\n"
    )
    assert pg.run(DATABASE) == "app\tmine\tlock_timeout=1s work_mem=7MB\n"
    assert engine().databases(["copy"])["copy"] is True


def prepare(pg: PostgreSQL) -> None:
    pg.run("CREATE DATABASE copy OWNER app")
    pg.run("CREATE SCHEMA more AUTHORIZATION app; CREATE EXTENSION dblink SCHEMA more", "copy")
    pg.run("COMMENT ON DATABASE copy IS 'mine'")


TABLES = b"CREATE SCHEMA more;\nCREATE TABLE more.t (a integer);\nCREATE TABLE public.u (a integer);\n"
LOBS = b"SELECT pg_catalog.lo_create('77');\n"


def test_a_prepared_database_is_left_empty_by_a_load_that_fails_or_is_killed(
    pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(pg)
    wanted = Extension("dblink", "more")
    before = pg.run(PROPERTIES + "'copy'")
    with pytest.raises(RestoreError, match="table 'nothing' failed"):
        load(
            HEAD + TABLES + LOBS + b"ALTER TABLE nothing ADD CONSTRAINT c CHECK (true);\n" + TAIL, wanted, extender=None
        )
    assert (pg.run(PROPERTIES + "'copy'"), pg.run(LOAD_ROLES)) == (before, "0\n")
    assert engine().databases(["copy"])["copy"] is False
    with monkeypatch.context() as patch:
        patch.setattr(PostgreSQLEngine, "_finish", die)
        killed(lambda: load(HEAD + TABLES + LOBS + TAIL, wanted, extender=None))
    assert pg.run(LOAD_ROLES) == "1\n"
    assert engine().databases(["copy"])["copy"] is False
    with pytest.raises(DumpError, match="a restore is filling the database"):
        engine().dump("copy", (), len)
    load(HEAD + TABLES + TAIL, wanted, extender=None)
    assert pg.run(LOAD_ROLES) == "0\n"
    assert (
        pg.run(
            "SELECT count(*) FROM more.t, u; SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'more'", "copy"
        )
        == "0\npg_database_owner\n"
    )


def test_what_a_killed_restore_gave_to_its_owners_is_named_and_left(
    pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(pg)
    sql, wanted = HEAD + TABLES + b"ALTER TABLE public.u OWNER TO app;\n" + TAIL, Extension("dblink", "more")
    with monkeypatch.context() as patch:
        patch.setattr(postgresql, "_put_in_place", die)
        killed(lambda: load(sql, wanted, extender=None))
    owners = "SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('t', 'u') ORDER BY 1"
    assert pg.run(owners, "copy") == "t\tpg_database_owner\nu\tapp\n"
    left = r"Database 'copy' already exists and holds table \S+, left behind by a killed restore; it was not changed"
    with pytest.raises(RestoreError, match=left) as refused:
        load(sql, wanted, extender=None)
    assert "Drop it and prepare an empty one" in refused.value.hint
    with pytest.raises(DumpError, match="a restore is filling the database, or was interrupted"):
        engine().dump("copy", (), len)
    assert pg.run(owners, "copy") == "t\tpg_database_owner\nu\tapp\n"
    pg.run("DROP DATABASE copy")
    prepare(pg)
    load(sql, wanted, extender=None)
    assert (pg.run(owners, "copy"), pg.run(LOAD_ROLES)) == ("t\tpg_database_owner\nu\tapp\n", "0\n")


THINGS = {
    "CREATE TABLE u (a int)": "table public.u",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'": "function public.f()",
    "CREATE SCHEMA more": "schema more",
    "CREATE TYPE mood AS ENUM ('a')": "type public.mood",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO app": "default privileges on new relations",
    "CREATE PUBLICATION p": "publication p",
    "SELECT lo_create(7)": "large object 7",
    "CREATE EXTENSION pg_trgm; CREATE TEMP TABLE u (a int); DROP TABLE u": "",
}


def test_a_database_with_something_in_it_is_not_one_that_was_prepared(pg: PostgreSQL) -> None:
    pg.run("CREATE DATABASE copy OWNER app")
    conninfo = make_conninfo(host=pg.host, port=pg.port, user="extender", password="pw", dbname="copy")
    with psycopg.connect(conninfo, autocommit=True) as session:
        for made, named in THINGS.items():
            with session.transaction(force_rollback=True):
                session.execute("SET LOCAL search_path = public")
                session.execute(made.encode())
                session.execute("SET LOCAL search_path = pg_catalog")
                assert prepared.held(session).startswith(named or " ") is bool(named)
        session.execute("CREATE EXTENSION pg_trgm; COMMENT ON DATABASE copy IS 'mine'")
        with pytest.raises(
            RestoreError, match="Database 'copy' already exists and holds extension pg_trgm; it was not"
        ):
            load(HEAD + TAIL)
        session.execute("CREATE TABLE public.u ()")
        with pytest.raises(RestoreError, match=r"Database 'copy' already exists and holds table public\.u; it was not"):
            load(HEAD + TAIL, Extension("pg_trgm", "public"))
    assert engine().databases(["copy"])["copy"] is True
    assert pg.run(DATABASE) == "app\tmine\t\n"


def test_a_mark_that_its_owner_gave_a_database_hides_nothing_that_it_holds(pg: PostgreSQL) -> None:
    pg.run("CREATE DATABASE copy OWNER app")
    for made, named in THINGS.items():
        pg.run(f"SET ROLE app; COMMENT ON DATABASE copy IS '{postgresql.MARK}x'; RESET ROLE; {made}", "copy")
        assert engine().databases(["copy"])["copy"] is bool(named), made
        pg.run("DROP DATABASE copy")
        pg.run("CREATE DATABASE copy OWNER app")
