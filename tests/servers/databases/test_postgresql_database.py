"""A database itself, apart from its contents: captured, created, applied, compared; what fails is named."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import pytest
from lifeboat.databases import LACKED, Dump, Load, Missed, Property, Server, Target
from lifeboat.databases.postgresql import limits as postgresql_limits
from lifeboat.databases.postgresql.database import Properties, changes, creation, read
from lifeboat.databases.postgresql.engine import PostgreSQL as Engine
from lifeboat.databases.postgresql.limits import Meant
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import PostgreSQL, PostgreSQL17, PostgreSQL18
from tests.conftest import Configure
from tests.servers.databases.test_postgresql import databases, rehearse
from tests.servers.test_restore import back_up, plan, restored

ROLES = ("app", "reader", "reporter", "dba")
PROPERTIES = (
    "SELECT datdba::regrole, pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d)->>'datlocprovider',"
    " to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticurules', datconnlimit,"
    " datistemplate, shobj_description(oid, 'pg_database'), (SELECT string_agg(a::text, ' ' ORDER BY a::text)"
    " FROM unnest(coalesce(datacl, acldefault('d', datdba))) a),"
    " (SELECT string_agg(setrole::regrole || s, ' ' ORDER BY setrole::regrole || s)"
    " FROM pg_db_role_setting, unnest(setconfig) s WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = "
)
OWNERS = "SELECT relowner::regrole FROM pg_class WHERE relname = 'album'"
EVERYTHING = r"""
ALTER DATABASE lost SET search_path TO "$user", "Odd, name", public;
ALTER DATABASE lost SET work_mem TO '7MB';
ALTER DATABASE lost SET intervalstyle TO 'sql_standard';
ALTER DATABASE lost SET default_transaction_read_only TO on;
ALTER DATABASE lost SET statement_timeout TO '1h';
ALTER ROLE app IN DATABASE lost SET search_path TO '';
ALTER ROLE app IN DATABASE lost SET lock_timeout TO '5s';
REVOKE ALL ON DATABASE lost FROM PUBLIC;
GRANT CONNECT ON DATABASE lost TO reader;
GRANT CONNECT, CREATE ON DATABASE lost TO reporter WITH GRANT OPTION;
REVOKE TEMPORARY ON DATABASE lost FROM app;
ALTER DATABASE lost CONNECTION LIMIT 5;
COMMENT ON DATABASE lost IS E'it\'s \\ "precious"\nand long';
"""
TABLES = """
SET search_path TO public;
CREATE SCHEMA "Odd, name";
CREATE TABLE album (a int, tags text[]);
INSERT INTO album VALUES (1, '{NULL,x}');
"""
WRITE = "SET default_transaction_read_only TO off; SET search_path TO public; "


@pytest.fixture
def server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    with prepared(postgresql):
        yield postgresql


@pytest.fixture
def server_17(postgresql_17: PostgreSQL17, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    monkeypatch.setenv("PATH", f"{postgresql_17.path}:{os.environ['PATH']}")
    with prepared(postgresql_17):
        yield postgresql_17


@pytest.fixture
def server_18(postgresql_18: PostgreSQL18, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    monkeypatch.setenv("PATH", f"{postgresql_18.path}:{os.environ['PATH']}")
    with prepared(postgresql_18):
        yield postgresql_18


@contextlib.contextmanager
def prepared(server: PostgreSQL) -> Iterator[None]:
    """Give a server the roles of an application, and a login that restores."""
    for role in (*ROLES, "restorer"):
        server.run(f"CREATE ROLE {role} LOGIN")
    password = server.password.replace("'", "''")
    server.run(f"ALTER ROLE restorer CREATEDB CREATEROLE PASSWORD '{password}'; ALTER ROLE app PASSWORD '{password}'")
    server.run("GRANT app TO restorer")
    yield
    for name in databases(server):
        server.run(f'DROP DATABASE "{name}" WITH (FORCE)')
    for role in ("restorer", *ROLES):
        server.run(f"DROP ROLE IF EXISTS {role}")


def make(server: PostgreSQL, options: str = "", settings: str = "", tables: str = TABLES, owner: str = "app") -> None:
    server.run(f"CREATE DATABASE lost OWNER {owner} TEMPLATE template0 {options}")
    server.run(tables, "lost", "app" if owner == "app" else "")
    server.run(settings)


def engine(server: PostgreSQL, user: str = "restorer") -> Engine:
    return Engine(Server(server.host, server.port, user, server.password), clock.now)


def take(server: PostgreSQL) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine(server, "postgres").dump("lost", (), chunks.append)
    return dump, b"".join(chunks)


def bring_back(server: PostgreSQL, taken: tuple[Dump, bytes], **wishes: Any) -> tuple[list[Missed], list[Missed]]:
    """Restore a dump; return what was missed, and what the replaced database had besides."""
    restoring = engine(server)
    with restoring.target(Target("lost", "a key", taken[0], in_place=True, **wishes)) as place:
        restoring.load(place.name, [taken[1]], Load("lost"))
    return place.missed, place.replaced


def drill(server: PostgreSQL, taken: tuple[Dump, bytes]) -> list[Missed]:
    restoring = engine(server)
    with restoring.scratch("a key", taken[0], production=True) as place:
        restoring.load(place, [taken[1]], Load("lost"))
        return list(restoring.rehearse(place))


def lacked(server: PostgreSQL, taken: tuple[Dump, bytes], *owners: str) -> list[str]:
    """Return what a backup reports that the server, or the login that restores, lacks."""
    limits = engine(server).taker(frozenset(taken[0].properties), Meant(owners)).limits
    assert {each.kind for each in limits} <= {LACKED}
    assert "hush" not in str(limits)
    return [each.name for each in limits]


def properties(server: PostgreSQL, database: str = "lost") -> str:
    return server.run(f"{PROPERTIES}'{database}'")


def with_values(taken: tuple[Dump, bytes], **values: str) -> tuple[Dump, bytes]:
    dump, sql = taken
    changed = tuple(dataclasses.replace(each, value=values.get(each.kind, each.value)) for each in dump.properties)
    return dataclasses.replace(dump, properties=changed), sql


def test_a_lost_server_comes_back_with_the_database_as_it_was(
    server: PostgreSQL, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(server, "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'", EVERYTHING)
    for login in ("app", "restorer"):
        monkeypatch.setenv(f"AIRFLOW_CONN_LOST_{login.upper()}", server.connection(login=login))
    database = {"name": "lost", "engine": "postgresql", "connection": "lost_app", "restore_connection": "lost_restorer"}
    project(applications={"Shop": {"databases": [database]}}, drill={"production": True})
    taken = back_up()
    assert taken.limits == {}, "the restore connection may do all of it"
    key = taken.packed.key
    before = properties(server)
    server.run("DROP DATABASE lost")
    (done,) = restored(plan(overwrite=("lost",)))
    assert (done.missed, done.warnings, done.compared) == ((), (), 1)
    assert properties(server) == before
    assert server.run(OWNERS, "lost") == "app\n"
    server.run(WRITE + "INSERT INTO album VALUES (2); CREATE TABLE more (a int)", "lost", "app")
    proven = rehearse(key, "disk")
    assert (proven.notes, proven.missed) == ((), 0)
    assert databases(server) == ["lost"]


@pytest.mark.parametrize(
    "options",
    [
        "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
        "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C'",
        "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE-u-kn-true'",
        "LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'LATIN1'",
    ],
)
@pytest.mark.parametrize("exists", [False, True], ids=["lost", "in place"])
def test_texts_sort_and_fold_as_they_did(server: PostgreSQL, options: str, exists: bool) -> None:
    column = "CREATE TABLE u (email text, low text GENERATED ALWAYS AS (lower(email)) STORED);"
    make(server, options, tables=column + "INSERT INTO u VALUES ('ÄRGER@x.de'), ('a10'), ('a9')")
    taken, rows = take(server), r"SELECT low, lower('Ö'), 'é' ~ '\w' FROM u ORDER BY email"
    before = properties(server), server.run(rows, "lost")
    if not exists:
        server.run("DROP DATABASE lost")
    assert bring_back(server, taken, exists=exists) == ([], [])
    assert (properties(server), server.run(rows, "lost")) == before
    if exists:
        assert drill(server, taken) == []


def comes_back_alike(dumped: PostgreSQL, restored_to: PostgreSQL, options: str) -> None:
    column = "CREATE TABLE u (email text, low text GENERATED ALWAYS AS (lower(email)) STORED);"
    make(dumped, options, tables=column + "INSERT INTO u VALUES ('ÄRGER@x.de'), ('a10'), ('a9'), ('Straße')")
    taken, rows = take(dumped), r"SELECT low, lower('Ö'), upper('ß'), 'é' ~ '\w' FROM u ORDER BY email"
    before = properties(dumped), dumped.run(rows, "lost")
    assert drill(restored_to, taken) == []
    dumped.run("DROP DATABASE lost")
    assert bring_back(restored_to, taken) == ([], [])
    found = properties(restored_to), restored_to.run(rows, "lost")
    assert found == before if dumped is restored_to else found[1] == before[1]


@pytest.mark.parametrize(
    "options",
    [
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
        "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C.UTF-8' ICU_RULES '&a < x'",
    ],
)
def test_locales_of_later_versions_come_back(server_17: PostgreSQL, options: str) -> None:
    comes_back_alike(server_17, server_17, options)


@pytest.mark.matrix
def test_locales_of_the_latest_version_come_back(server_18: PostgreSQL) -> None:
    comes_back_alike(server_18, server_18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LOCALE 'C'")


@pytest.mark.matrix
@pytest.mark.parametrize("options", ["ICU_LOCALE 'de-DE-u-kn-true' LOCALE_PROVIDER icu", "LC_COLLATE 'C'"])
def test_a_locale_of_an_older_server_comes_back_on_a_later_one(
    server: PostgreSQL, server_18: PostgreSQL, options: str
) -> None:
    comes_back_alike(server, server_18, options)


def test_since_16_settings_of_a_role_need_its_administrator(server_17: PostgreSQL) -> None:
    make(server_17, settings="ALTER ROLE app IN DATABASE lost SET work_mem TO '7MB'")
    taken, before = take(server_17), properties(server_17)
    (missed,), _ = bring_back(server_17, taken, exists=True)
    assert (missed.kind, missed.sql) == ("setting", """ALTER ROLE "app" IN DATABASE "lost" SET "work_mem" TO '7MB'""")
    server_17.run(missed.sql)
    assert properties(server_17) == before


def test_an_owner_whose_rights_the_login_lacks_gets_nothing(server_17: PostgreSQL) -> None:
    make(server_17, tables="CREATE TABLE album (a int); CREATE SCHEMA one; CREATE VIEW one.v AS SELECT 1 AS a")
    taken = take(server_17)
    server_17.run("DROP DATABASE lost; GRANT app TO restorer WITH INHERIT FALSE, SET TRUE")
    assert lacked(server_17, taken) == ["app"]
    rehearsed = drill(server_17, taken)
    missed, _ = bring_back(server_17, taken)
    for database, objects in (rehearsed, missed):
        assert database.text.startswith("owner is restorer instead of app (restorer would not inherit its rights")
        assert objects.text.startswith("3 statements for owners")
        assert objects.text.endswith('must inherit the rights of role "app"')
    assert server_17.run(OWNERS, "lost") == "pg_database_owner\n"


def test_what_was_captured_replaces_what_is_there_which_is_named(server: PostgreSQL) -> None:
    make(server, settings=EVERYTHING)
    taken, before = take(server), properties(server)
    server.run(
        "ALTER DATABASE lost SET work_mem TO '9MB'; ALTER DATABASE lost SET geqo TO off;"
        "ALTER DATABASE lost OWNER TO dba; GRANT dba TO restorer; GRANT TEMPORARY ON DATABASE lost TO PUBLIC;"
        "ALTER ROLE dba IN DATABASE lost SET work_mem TO '1GB'; COMMENT ON DATABASE lost IS 'newer'"
    )
    missed, replaced = bring_back(server, taken, exists=True)
    assert missed == []
    assert properties(server) == before
    assert [each.sql for each in replaced] == [
        'ALTER DATABASE "lost" OWNER TO "dba"',
        """ALTER DATABASE "lost" SET "geqo" TO 'off'""",
        """ALTER DATABASE "lost" SET "work_mem" TO '9MB'""",
        """ALTER ROLE "dba" IN DATABASE "lost" SET "work_mem" TO '1GB'""",
        'GRANT TEMPORARY ON DATABASE "lost" TO PUBLIC',
        """COMMENT ON DATABASE "lost" IS 'newer'""",
    ]
    assert replaced[0].text == "owner is app instead of dba"


def test_of_an_old_archive_the_replaced_database_keeps_what_it_has(server: PostgreSQL) -> None:
    make(server, "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'", EVERYTHING)
    dump, sql = take(server)
    before = properties(server)
    assert bring_back(server, (dataclasses.replace(dump, properties=()), sql), exists=True) == ([], [])
    assert properties(server) == before


def test_roles_that_a_server_lacks_are_named(server: PostgreSQL) -> None:
    make(server, settings=EVERYTHING, tables=TABLES + "GRANT SELECT ON album TO reader;")
    taken = take(server)
    server.run("DROP DATABASE lost; DROP ROLE app; DROP ROLE reader")
    assert lacked(server, taken, "app") == ["app", "reader"]
    for missed in (bring_back(server, taken)[0], drill(server, taken)):
        texts = [each.text for each in missed]
        assert texts[:3] == [
            "the server has no role app",
            "the server has no role reader",
            'owner is restorer instead of app (role "app" does not exist)',
        ]
        refused = "for owners, rights or optional objects skipped: role"
        assert f'2 statements {refused} "app" does not exist' in texts
        assert f'1 statement {refused} "reader" does not exist' in texts
        assert [each.sql for each in missed[:2]] == ['CREATE ROLE "app"', 'CREATE ROLE "reader"']
    server.run("CREATE ROLE app LOGIN; CREATE ROLE reader; GRANT app TO restorer; DROP DATABASE lost")
    assert bring_back(server, taken) == ([], [])
    server.run(f"ALTER ROLE app PASSWORD '{server.password.replace(chr(39), chr(39) * 2)}'")
    server.run(WRITE + "INSERT INTO album VALUES (2)", "lost", "app")


def test_rights_and_owners_come_back_though_they_could_not_be_given_like_that(server: PostgreSQL) -> None:
    """An owner took rights from itself, and another one could make nothing in the schema of what it owns."""
    taken_away = 'REVOKE INSERT, UPDATE ON album FROM app; REVOKE ALL ON SCHEMA "Odd, name" FROM app;'
    make(server, tables=TABLES + taken_away)
    of_superuser = "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC"
    audit = "CREATE TABLE public.audit (a int); ALTER TABLE public.audit OWNER TO reader"
    server.run(f"{audit}; {of_superuser}; GRANT reader TO restorer", "lost")
    rights = (
        "SELECT relname, relowner::regrole, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"
    )
    before, taken = server.run(rights, "lost"), take(server)
    drilled = drill(server, taken)
    missed, _ = bring_back(server, taken, exists=True)
    assert server.run(rights, "lost") == before
    (lost,) = {each.text for each in (*drilled, *missed)}
    assert lost.endswith('skipped: no privileges could be revoked for "pg_sleep"')


def test_what_superusers_own_is_told_when_the_backup_is_taken(server: PostgreSQL) -> None:
    make(server)
    with engine(server, "postgres")._session("lost", "A test", RestoreError) as session:
        assert postgresql_limits.meant_by(session).owning == {"app"}
        server.run("CREATE DOMAIN public.d AS int", "lost")
        meant = postgresql_limits.meant_by(session)
    assert meant.owning == {"app", "postgres"}
    (limit,) = engine(server).taker(frozenset(take(server)[0].properties), meant).limits
    assert "'postgres'" in limit.text
    assert limit.text.endswith("(it is a superuser, and no restore acts as one)")


def test_owners_of_a_thousand_tables_are_found_at_once(server: PostgreSQL) -> None:
    """It took seconds, and with twice the tables four times as many."""
    tables = "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id serial, a int UNIQUE)';"
    make(server, tables=f"{TABLES} {tables} END LOOP; END $$;")
    with engine(server, "postgres")._session("lost", "A test", RestoreError) as session:
        session.execute("SET statement_timeout = '1s'")
        assert postgresql_limits.meant_by(session).owning == {"app"}


def test_roles_that_only_have_rights_are_asked_for_at_another_server(
    server: PostgreSQL, postgresql_17: PostgreSQL17
) -> None:
    meant = "GRANT SELECT ON album TO reader; CREATE POLICY own ON album TO reporter USING (true);"
    make(server, tables=TABLES + meant)
    other = engine(postgresql_17, postgresql_17.user)
    backing_up = Server(server.host, server.port, "postgres", server.password)
    limits = Engine(backing_up, clock.now, ask_taker=other.taker).dump("lost", (), len).limits
    assert [(each.kind, each.name) for each in limits] == [(LACKED, role) for role in ("app", "reader", "reporter")]
    assert "has no role 'reader': a restore there leaves out what it has" in limits[1].text
    assert "has no role 'reporter': a restore there stops at its policy" in limits[2].text


def test_an_older_restore_server_is_told_at_the_backup(
    server_17: PostgreSQL17, postgresql: PostgreSQL, postgresql_17: PostgreSQL17
) -> None:
    make(postgresql_17, owner="lifeboat", tables="")
    older = engine(postgresql, postgresql.user)
    source = Server(postgresql_17.host, postgresql_17.port, "postgres", postgresql_17.password)
    (limit,) = Engine(source, clock.now, ask_taker=older.taker).dump("lost", (), len).limits
    assert (limit.kind, limit.name) == (LACKED, "version")
    assert "is PostgreSQL 15, and the database of 17: a restore there stops where" in limit.text


def test_what_one_login_for_all_cannot_give_is_told_at_the_backup(server: PostgreSQL) -> None:
    make(
        server,
        tables=TABLES + "GRANT SELECT ON album TO restorer; CREATE TABLE theirs (); GRANT ALL ON theirs TO restorer;",
    )
    server.run("ALTER TABLE theirs OWNER TO dba", "lost")
    server.run("GRANT pg_read_all_data TO restorer")
    taken: list[bytes] = []
    restoring = engine(server)
    (limit,) = restoring.dump("lost", (), taken.append).limits
    assert (limit.kind, limit.name) == (LACKED, "dba")
    assert "restorer cannot act as role 'dba'" in limit.text
    assert any("cannot act as role 'dba'" in each for each in restoring.check_dump("lost", ()).lacks)
    server.run("ALTER ROLE restorer NOCREATEDB")
    assert restoring.dump("lost", (), len).limits == ()  # it restores nothing at all
    server.run("ALTER ROLE restorer CREATEDB; GRANT dba TO restorer")
    assert restoring.dump("lost", (), len).limits == ()


def test_what_the_login_cannot_do_is_said_in_sql(server: PostgreSQL) -> None:
    settings = (
        "ALTER DATABASE lost SET log_statement TO 'all'; ALTER ROLE postgres IN DATABASE lost SET work_mem TO '8MB';"
    )
    grants = "ALTER TABLE album OWNER TO app; GRANT ALL ON SCHEMA public TO app"
    make(server, settings=settings, tables=TABLES + grants, owner="dba")
    before, taken = properties(server), take(server)
    server.run("DROP DATABASE lost")
    assert lacked(server, taken, "app") == ["dba", "work_mem", "log_statement"]
    missed, _ = bring_back(server, taken)
    assert [each.kind for each in missed] == ["owner", "setting", "setting", "owners and rights of objects"]
    assert server.run(OWNERS, "lost") == "app\n"
    server.run(WRITE + "INSERT INTO album VALUES (2); CREATE TABLE more (a int)", "lost", "app")
    server.run(";".join(each.sql for each in missed if each.sql))
    assert properties(server) == before


def test_secrets_of_an_application_are_captured_used_and_shown_to_nobody(
    server: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    make(
        server,
        settings=r"""ALTER DATABASE lost SET "app.jwt" TO E'hush\\it''s ours'""",
        tables="SET app.jwt = 'x'; CREATE FUNCTION tenant() RETURNS text LANGUAGE sql AS $$ SELECT"
        " current_setting('app.jwt') $$; CREATE TABLE t (a int CHECK (public.tenant() <> ''));"
        "INSERT INTO t VALUES (1)",
    )
    taken = take(server)
    server.run("ALTER DATABASE lost SET app.jwt TO 'hush, newer'")
    missed, replaced = bring_back(server, taken, exists=True)
    assert lacked(server, taken) == ["app.jwt"]
    assert server.run("SELECT count(*) FROM t", "lost") == "1\n"
    assert [each.sql for each in (*missed, *replaced)] == ["""ALTER DATABASE "lost" SET "app.jwt" TO '...'"""] * 2
    assert "hush" not in caplog.text + str(missed) + str(replaced)
    assert Property("setting", "hush\\it's ours", "app.jwt") in taken[0].properties


def test_a_locale_that_a_server_cannot_have_is_refused_before_anything_is_made(server: PostgreSQL) -> None:
    make(server)
    taken = with_values(take(server), ctype="xx_XX.utf8")
    assert lacked(server, taken) == ["locale"]
    for attempt in (lambda: bring_back(server, taken, exists=True), lambda: drill(server, taken)):
        with pytest.raises(RestoreError, match=r"cannot create a database with .* ctype xx_XX\.utf8") as refused:
            attempt()
        assert "dpkg-reconfigure locales" in refused.value.hint
        assert databases(server) == ["lost"]


def test_a_copy_beside_is_no_template_and_one_in_place_is(server: PostgreSQL) -> None:
    make(server, settings="ALTER DATABASE lost IS_TEMPLATE true")
    taken = take(server)
    restoring = engine(server)
    with restoring.target(Target("copy", "a key", taken[0])) as place:
        restoring.load(place.name, [taken[1]], Load("lost"))
    assert place.missed == []
    assert bring_back(server, taken, exists=True) == ([], [])
    templates = "SELECT datname FROM pg_database WHERE datistemplate AND datname IN ('copy', 'lost')"
    assert server.run(templates) == "lost\n"
    server.run("UPDATE pg_database SET datistemplate = false WHERE datname ~ '^lost'")


OWNED: Properties = frozenset({Property("owner", "app"), Property("connection limit", "-1")})


@pytest.mark.parametrize(
    ("name", "value", "sql"),
    [
        ("search_path", '"$user", "a, ""b""", c', """'$user', 'a, "b"', 'c'"""),
        ("search_path", '""', "''"),
        ("search_path", "x; DROP TABLE t", "'x; DROP TABLE t'"),
        ("work_mem", "1'; DROP TABLE t", "'1''; DROP TABLE t'"),
        ("timezone", "a\\\n'", r"E'a\\\n'''"),
        ('x" TO 1; --', "y", "'y'"),
    ],
)
def test_no_text_of_a_manifest_becomes_sql(name: str, value: str, sql: str) -> None:
    (change,) = changes("d", OWNED | {Property("setting", value, name)}, OWNED)
    spelled = name.replace('"', '""')
    assert change.sql == f'ALTER DATABASE "d" SET "{spelled}" TO {sql}'


@pytest.mark.parametrize(
    "wrong",
    [
        Property("right", "granted", "ALL", "x"),
        Property("connection limit", "1; DROP"),
        Property("locale provider", "icu_locale 'x'; DROP"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(server: PostgreSQL, wrong: Property) -> None:
    make(server)
    dump, sql = take(server)
    with pytest.raises(RestoreError, match="which no database has"):
        bring_back(server, (dataclasses.replace(dump, properties=(*dump.properties, wrong)), sql), exists=True)


def test_a_property_of_a_later_version_is_missed() -> None:
    (change,) = changes("d", OWNED | {Property("colour", "red")}, OWNED)
    assert (change.sql, change.text) == ("", "colour is not set instead of red")


@pytest.mark.parametrize(
    ("provider", "version", "said"),
    [("icu", 140_000, "older than PostgreSQL 15"), ("builtin", 160_000, "older than PostgreSQL 17")],
)
def test_a_provider_that_a_version_does_not_know_is_refused(provider: str, version: int, said: str) -> None:
    wanted = [Property("locale provider", provider), Property("locale", "C.UTF-8")]
    with pytest.raises(RestoreError, match=said):
        creation("d", wanted, version)
    made = creation("d", wanted, 180_000)
    assert f'LOCALE_PROVIDER "{provider}"' in made
    assert f"{provider.upper()}_LOCALE 'C.UTF-8'" in made


def test_a_language_tag_is_the_locale_that_it_was_made_of() -> None:
    def icu(locale: str) -> Properties:
        return read([("owner", "", "", "app"), ("locale", "", "", locale)])

    assert changes("d", icu("de-DE-u-kn"), icu("de-DE-u-kn-true")) == []
    assert changes("d", icu("de-DE-u-kn"), icu("de-AT-u-kn"))
