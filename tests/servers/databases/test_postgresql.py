"""PostgreSQL from dump to proof, on a real server; and every dump that must not be loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from lifeboat.actions import drill, restore
from lifeboat.airflow import connections
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.catalog.proof import Proof
from lifeboat.databases import Dump, Engine, Load, Loaded, Server, Target, names, watch
from lifeboat.databases.names import FILLING
from lifeboat.databases.postgresql import engine as postgresql
from lifeboat.databases.postgresql import load as postgresql_load
from lifeboat.databases.postgresql.digest import digest
from lifeboat.databases.postgresql.engine import MARK
from lifeboat.databases.postgresql.engine import PostgreSQL as PostgreSQLEngine
from lifeboat.databases.postgresql.statements import read
from lifeboat.databases.sql.reader import Statement
from lifeboat.decide import comparison
from lifeboat.errors import DumpError, MismatchError, RestoreError, SettingsError
from lifeboat.settings.config import Database
from lifeboat.support import clock
from lifeboat.support.processes import child
from psycopg.conninfo import make_conninfo

from include.demo.stand_ins import MariaDB, PostgreSQL
from tests.conftest import Configure
from tests.crash import die, killed
from tests.servers.test_restore import back_up, legacy, plan, repack, restored
from tests.servers.test_runbook import blocks, follow, runbook_variables

EVERYTHING = (Path(__file__).parent / "everything.postgresql.sql").read_text(encoding="utf-8")
SHOP: dict[str, Any] = {"databases": [{"name": "shop", "engine": "postgresql", "connection": "shop_pg"}]}
DATABASES = "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND NOT datistemplate ORDER BY 1"


def make_everything(server: PostgreSQL) -> None:
    if "everything" not in server.run("SELECT datname FROM pg_database"):
        server.run(f"CREATE DATABASE everything OWNER {server.user} IS_TEMPLATE true")
        server.run(EVERYTHING, "everything", server.user)


@pytest.fixture
def pg(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """The server, with a database of everything that a dump must carry, and nothing else."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", postgresql.connection())
    make_everything(postgresql)
    postgresql.run(f"CREATE DATABASE shop OWNER {postgresql.user} TEMPLATE everything")
    yield postgresql
    for name in databases(postgresql):
        postgresql.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def databases(pg: PostgreSQL) -> list[str]:
    return pg.run(DATABASES).splitlines()


def engine(connection: str = "shop_pg") -> Engine:
    return connections.engine(Database(name="shop", engine="postgresql", connection=connection), Path("/unused"))


def take(database: str = "shop") -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine().dump(database, (), chunks.append)
    return dump, b"".join(chunks)


@pytest.fixture(scope="module")
def everything(postgresql: PostgreSQL) -> tuple[Dump, bytes]:
    """A dump of everything that a dump must carry."""
    make_everything(postgresql)
    server = Server(postgresql.host, postgresql.port, postgresql.user, postgresql.password)
    chunks: list[bytes] = []
    return PostgreSQLEngine(server, clock.now).dump("everything", (), chunks.append), b"".join(chunks)


@pytest.fixture
def shop(pg: PostgreSQL, project: Configure) -> PostgreSQL:
    project(applications={"Shop": SHOP}, drill={"production": True}, legacy_until="2099-12-31")
    return pg


def rehearse(key: str, destination: str) -> Proof:
    (place,) = load_site().destinations("Shop", (destination,))
    return drill.rehearse(load_site(), "Shop", place, key, "a test", datetime.now(UTC))


def rows(pg: PostgreSQL, database: str) -> str:
    return pg.run("SELECT * FROM orders ORDER BY id; SELECT * FROM users ORDER BY id", database)


@pytest.mark.parametrize("destination", ["disk", "offsite"])
def test_a_database_is_restored_beside_the_original_and_proven(shop: PostgreSQL, destination: str) -> None:
    key = back_up().packed.key
    before = rows(shop, "shop")
    shop.run("DELETE FROM page_views", "shop")
    made = plan(destination=destination)
    (done,) = restored(made)
    assert (done.rows, done.tables, done.compared, done.warnings) == (3515, 8, 8, ())
    assert made.databases[0].entry == "db-dumps/postgresql-shop.sql"
    assert databases(shop) == ["shop", done.schema]
    assert rows(shop, done.schema) == before
    assert shop.run("SELECT count(*) FROM page_views", "shop") == "0\n"
    assert shop.run("SELECT twice(4), twice('x'), lo_get(4711)", done.schema) == "8\txx\t\\xdeadbeef00\n"
    assert shop.run("SELECT nextval('invoice_numbers'), nextval('users_id_seq')", done.schema) == "8\t4\n"
    proven = rehearse(key, destination)
    assert (proven.compared.tables, proven.compared.rows, proven.compared.objects) == (8, 3515, 22)
    assert proven.versions.servers[0].startswith("PostgreSQL ")
    assert databases(shop) == ["shop", done.schema]


def test_a_typed_name_replaces_the_original_at_once_and_keeps_it(shop: PostgreSQL) -> None:
    back_up()
    shop.run("CREATE ROLE reader; COMMENT ON DATABASE shop IS 'precious'; ALTER DATABASE shop SET work_mem TO '7MB'")
    shop.run("REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO reader")
    shop.run("UPDATE orders SET note = 'changed'", "shop")
    time.sleep(1)
    (done,) = restored(plan(overwrite=("shop",)))
    (before,) = [name for name in databases(shop) if name.startswith("shop_before_")]
    assert databases(shop) == ["shop", before]
    assert shop.run("SELECT count(*) FROM orders WHERE note = 'changed'", "shop") == "0\n"
    assert shop.run("SELECT count(*) FROM orders WHERE note = 'changed'", before) == "3000\n"
    assert before in done.warnings[-1]
    assert shop.run("SHOW work_mem", "shop") == "4MB\n", "as captured"
    assert [warning.rpartition("; to undo: ")[2] for warning in done.warnings[:-1]] == [
        """ALTER DATABASE "shop" SET "work_mem" TO '7MB'""",
        'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC CASCADE',
        'REVOKE TEMPORARY ON DATABASE "shop" FROM PUBLIC CASCADE',
        'GRANT CONNECT ON DATABASE "shop" TO "reader"',
        """COMMENT ON DATABASE "shop" IS 'precious'""",
    ]
    assert [step.schema for step in plan(archive=archive_keys()[0], overwrite=("shop",)).databases] == ["shop"]
    shop.run(f"DROP DATABASE {before}; DROP DATABASE shop; DROP ROLE reader")


def test_what_somebody_else_restores_belongs_to_its_owner(
    shop: PostgreSQL, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run("CREATE ROLE operator LOGIN CREATEDB CREATEROLE PASSWORD 'pw'")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_ADMIN", shop.connection(login="operator", password="pw"))
    project(applications={"Shop": {"databases": [SHOP["databases"][0] | {"restore_connection": "shop_admin"}]}})
    back_up()
    made = plan(overwrite=("shop",))
    with pytest.raises(RestoreError, match="operator is not a member of the role that owns database 'shop'"):
        restore.restore_database(load_site(), made, made.databases[0])
    shop.run(f"GRANT {shop.user} TO operator")
    done = restore.restore_database(load_site(), made, made.databases[0])
    (kept,) = done.warnings
    assert "is kept as shop_before_" in kept
    owners = "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert shop.run(f"{owners} UNION SELECT datdba::regrole FROM pg_database WHERE datname = 'shop'", "shop") == (
        f"{shop.user}\n"
    )
    shop.run("DROP DATABASE shop; DROP OWNED BY operator; DROP ROLE operator")


def test_a_server_that_lacks_the_locale_sorts_by_its_own(pg: PostgreSQL, everything: tuple[Dump, bytes]) -> None:
    elsewhere = dataclasses.replace(everything[0], collation="xx_XX.utf8", properties=())  # of an old archive
    with engine().scratch("a key", elsewhere) as place:
        assert pg.run("SELECT datcollate FROM pg_database WHERE datname = current_database()", place) == "C.UTF-8\n"


def archive_keys() -> list[str]:
    (disk, _) = load_site().destinations("Shop")
    return [archive.key for archive in archives.read(disk.list()).archives]


def test_a_database_in_use_is_not_replaced(shop: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg
    from psycopg.conninfo import make_conninfo

    back_up()
    time.sleep(1)  # keys are told apart by the second
    made = plan(overwrite=("shop",))
    login = make_conninfo(host=shop.host, port=shop.port, user=shop.user, password=shop.password, dbname="shop")
    with (
        psycopg.connect(login, application_name="web"),
        pytest.raises(RestoreError, match="in use by web of lifeboat"),
    ):
        restored(made)
    monkeypatch.setattr(postgresql, "SWAP_PATIENCE", 0)
    with contextlib.ExitStack() as stack:

        def and_connect(*arguments: Any) -> Any:
            stack.enter_context(psycopg.connect(login))
            return load(*arguments)

        load = postgresql_load.load
        monkeypatch.setattr(postgresql_load, "load", and_connect)
        with pytest.raises(RestoreError, match="is being accessed by other users"):
            restore.restore_database(load_site(), made, made.databases[0])
    assert shop.run("SELECT count(*) FROM orders", "shop") == "3000\n"


def test_one_table_comes_with_its_rows_and_the_others_empty(shop: PostgreSQL) -> None:
    back_up()
    (done,) = restored(plan(table="orders", into="rescue"))
    assert (done.rows, done.compared) == (3000, 1)
    assert shop.run("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM users)", "rescue") == "3000\t0\n"
    with pytest.raises(RestoreError, match="no table 'order' of 'shop'"):
        restored(plan(table="order", into="rescue2"))


def test_excluded_tables_come_back_empty(shop: PostgreSQL, project: Configure) -> None:
    excluding = SHOP["databases"][0] | {"exclude_tables": ["page_views", "sales.parts_2025", "gone"]}
    project(applications={"Shop": {"databases": [excluding]}})
    back_up()
    (done,) = restored(plan())
    assert done.compared == 8
    assert (
        shop.run("SELECT (SELECT count(*) FROM page_views), (SELECT count(*) FROM sales.parts)", done.schema)
        == "0\t0\n"
    )


def test_what_does_not_restore_to_what_was_captured_is_neither_proven_nor_put_in_place(
    shop: PostgreSQL, tmp_path: Path
) -> None:
    def change(contents: dict[str, bytes], manifest: Any) -> None:
        contents["db-dumps/postgresql-shop.sql"] = contents["db-dumps/postgresql-shop.sql"].replace(b"O'H", b"O'h")

    key = back_up().packed.key
    repack(tmp_path / "disk" / key, change)
    said = "table 'users' holds other data in its 3 rows"
    with pytest.raises(MismatchError, match=said):
        rehearse(key, "disk")
    assert databases(shop) == ["shop"]
    made = plan(archive=key, destination="disk", overwrite=("shop",))
    with pytest.raises(MismatchError, match=said):
        restore.restore_database(load_site(), made, made.databases[0])
    assert shop.run("SELECT count(*) FROM users WHERE name = 'O''Hara'", "shop") == "1\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"\n7\t2\t", b"\n7\t3\t", "table 'orders' holds other data in its 3000 rows"),
        (b"'old'::character varying", b"'odd'::character varying", "table 'users' has a different definition"),
        (b"WHERE (total > ", b"WHERE (total < ", "index 'orders_user' has a different definition"),
        (b"FOR EACH ROW", b"FOR EACH STATEMENT", "trigger 'no_negative' has a different definition"),
        (b"SELECT n || n", b"SELECT n", "function 'twice' has a different definition"),
        (
            b"'public.invoice_numbers', 7,",
            b"'public.invoice_numbers', 8,",
            "sequence 'invoice_numbers' has a different definition",
        ),
        (b"deadbeef00", b"deadbeef01", "large object '4711' has a different definition"),
        (b"people; all", b"people; some", "comment 'TABLE public.users' has a different definition"),
        (b"CREATE POLICY mine", b"CREATE POLICY yours", "policy 'mine' is missing"),
    ],
)
def test_every_change_of_a_dump_changes_its_digests(
    everything: tuple[Dump, bytes], old: bytes, new: bytes, said: str
) -> None:
    dump, sql = everything
    assert old in sql
    held = digest([sql.replace(old, new, 1)])
    found = comparison.differences(dump, dataclasses.replace(dump, tables=held.tables, objects=held.objects))
    assert said in "; ".join(map(str, found))


def test_what_the_server_only_words_otherwise_changes_no_digest(everything: tuple[Dump, bytes]) -> None:
    dump, sql = everything
    once = b"ANY ((ARRAY['new'::character varying, 'old'::character varying])::text[])"
    again = b"ANY (ARRAY[('new'::character varying)::text, ('old'::character varying)::text])"
    assert once in sql or again in sql
    for words in (once, again):
        held = digest([sql.replace(once, words).replace(again, words)])
        assert (held.tables, held.objects) == (dump.tables, dump.objects)


@pytest.mark.parametrize(
    ("printed", "meant"),
    [
        (b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=540218232);\n", b""),
        (
            b'ALTER TABLE ONLY public.t ALTER COLUMN "a (b" SET (pg_attver=7, n_distinct=5);\n',
            b'ALTER TABLE ONLY public.t ALTER COLUMN "a (b" SET (n_distinct=5);\n',
        ),
        (
            b"CREATE TABLE public.t (\n    a text DEFAULT 'WITH (pg_x=1)'::text\n)\nWITH (fillfactor=7, pg_x='1,2');\n",
            b"CREATE TABLE public.t (\n    a text DEFAULT 'WITH (pg_x=1)'::text\n)\nWITH (fillfactor=7);\n",
        ),
        (
            b"CREATE INDEX i ON public.t USING btree (a) WITH (pg_x=1) WHERE (pg_a=1);\n",
            b"CREATE INDEX i ON public.t USING btree (a) WHERE (pg_a=1);\n",
        ),
    ],
)
def test_what_a_server_keeps_for_itself_is_in_no_digest_and_no_load(printed: bytes, meant: bytes) -> None:
    """Newer minor releases of a server keep such options, which the clients of another major release print."""
    assert digest([HEAD + printed + TAIL]) == digest([HEAD + meant + TAIL])
    loaded = [piece.sql for piece in read([HEAD + printed + TAIL]) if isinstance(piece, Statement)]
    assert b"".join(sql + b"\n" for sql in loaded[1:] if b"ALTER COLUMN a;" not in sql) == meant


HEAD = b"--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET client_encoding = 'UTF8';\n"
TAIL = b"--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n"


def load_into_new(sql: bytes, *, size: int = 1 << 20) -> Loaded:
    filling = engine()
    with filling.target(Target("copy", "a key")) as place:
        return filling.load(place.name, [sql[i : i + size] for i in range(0, len(sql), size)], Load("shop"))


@pytest.mark.parametrize(
    "hostile",
    [
        b"\\! touch FILE\n",
        b"SELECT 1 \\! touch FILE\n;\n",
        b"CREATE TABLE t (a int); \\o FILE\n",
        b"\\connect postgres\n",
        b"COPY t TO PROGRAM 'touch FILE';\n",
        b"COPY t FROM PROGRAM 'touch FILE';\n",
        b"COPY t TO 'FILE';\n",
        b"DO $$ BEGIN CREATE ROLE evil; END $$;\n",
        b"CREATE ROLE evil SUPERUSER;\n",
        b"CREATE DATABASE evil;\n",
        b"DROP DATABASE shop;\n",
        b"ALTER DATABASE shop RENAME TO gone;\n",
        b"ALTER DATABASE shop OWNER TO lifeboat;\n",
        b"ALTER TABLESPACE pg_default OWNER TO lifeboat;\n",
        b'GRANT CREATE ON DATABASE "x ON TABLE t" TO PUBLIC;\n',
        b"GRANT CREATE ON DATABASE shop TO PUBLIC;\n",
        b"GRANT CREATE ON DATABASE shop -- ON TABLE t\n TO PUBLIC;\n",
        b"GRANT CREATE -- ON TABLE t\n ON DATABASE shop TO PUBLIC;\n",
        b"GRANT lifeboat TO evil -- ON TABLE t\n;\n",
        b"SECURITY LABEL FOR x ON ROLE lifeboat IS 'y';\n",
        b"SECURITY LABEL ON -- TABLE t\n DATABASE shop IS 'y';\n",
        b"ALTER SYSTEM SET archive_command = 'touch FILE';\n",
        b"ALTER ROLE lifeboat SUPERUSER;\n",
        b"GRANT pg_execute_server_program TO lifeboat;\n",
        b"SET SESSION AUTHORIZATION postgres; DROP DATABASE shop;\n",
        b"SET ROLE postgres;\n",
        b"SET standard_conforming_strings = off;\n",
        b"SET client_encoding = 'SJIS';\n",
        b"SELECT lo_export(1, 'FILE');\n",
        b"SELECT pg_catalog.setval('s', 1, true), pg_read_file('FILE');\n",
        b"COMMIT AND CHAIN;\n",
        b"COMMENT ON DATABASE shop IS 'gone';\n",
        b"COMMENT ON -- TABLE t\n DATABASE shop IS 'gone';\n",
        b"CREATE SERVER s FOREIGN DATA WRAPPER w;\n",
        b"CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p;\n",
        b"CREATE TABLE t (a text /* '; */);\n",
        b"CREATE TABLE t (a int) ; DROP DATABASE shop ; --\n",
    ],
)
def test_a_hostile_dump_is_refused(hostile: bytes) -> None:
    with pytest.raises(RestoreError):
        list(read([HEAD + hostile + TAIL]))


def test_what_a_hostile_dump_made_before_it_was_noticed_is_gone(pg: PostgreSQL, tmp_path: Path) -> None:
    file = tmp_path / "touched"
    with pytest.raises(RestoreError, match="a psql command"):
        load_into_new(HEAD + b"CREATE TABLE public.t (a int);\n\\! touch %b\n" % bytes(file) + TAIL)
    assert databases(pg) == ["shop"]
    assert not file.exists()


def test_default_privileges_of_every_kind_are_known() -> None:
    for what in ("TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS", "LARGE OBJECTS"):
        sql = f"ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON {what} TO reader;\n"
        assert [each.kind for each in read([sql.encode()]) if isinstance(each, Statement)] == ["default right"]


def test_the_server_takes_one_statement_at_a_time(pg: PostgreSQL) -> None:
    """Whatever a dump makes of the reader's idea of where a statement ends."""
    two = Statement("table", "t", b"CREATE TABLE t (a int); CREATE TABLE u (a int);")
    reached = engine()
    assert isinstance(reached, PostgreSQLEngine)
    with (
        reached._session("shop", "x", RestoreError) as session,
        pytest.raises(RestoreError, match="cannot insert multiple commands"),
    ):
        postgresql_load._run(session, two)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sql: sql[: len(sql) // 2], "middle of a table's rows|middle of a statement"),
        (lambda sql: sql.replace(b"-- PostgreSQL database dump complete", b"--"), "lacks its completion line"),
        (lambda sql: sql.replace(b"\n7\t", b"\nseven secret\t"), "rows of table 'orders' failed with error 22P02"),
        (
            lambda sql: sql.replace(b"REFERENCES public.users(id)", b"REFERENCES public.gone(id)"),
            "gone.* does not exist",
        ),
    ],
)
def test_a_damaged_dump_leaves_nothing(pg: PostgreSQL, everything: tuple[Dump, bytes], change: Any, said: str) -> None:
    with pytest.raises(RestoreError, match=said) as error:
        load_into_new(change(everything[1]))
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None or "secret" not in str(error.value.__cause__)
    assert databases(pg) == ["shop"]


def test_chunks_of_any_size_hold_the_same(everything: tuple[Dump, bytes]) -> None:
    dump, sql = everything
    for size in (3, 17, 4096):
        held = digest(sql[i : i + size] for i in range(0, len(sql), size))
        assert (held.tables, held.objects, held.complete) == (dump.tables, dump.objects, True)


def test_rows_have_no_order_and_count_twice() -> None:
    def of(rows: bytes) -> Any:
        return digest([b"COPY public.t (a) FROM stdin;\n" + rows + b"\\.\n" + TAIL]).tables

    assert of(b"1\n2\n2\n") == of(b"2\n1\n2\n") != of(b"1\n1\n2\n")


def test_owners_and_rights_that_a_server_lacks_are_told(pg: PostgreSQL) -> None:
    pg.run(
        "CREATE ROLE clerk; ALTER TABLE page_views OWNER TO clerk; GRANT SELECT ON users TO clerk;"
        f"GRANT clerk TO {pg.user}",
        "shop",
    )
    sql = take()[1]
    pg.run("DROP OWNED BY clerk; REVOKE ALL ON users FROM clerk; DROP ROLE clerk", "shop")
    restoring = engine()
    with restoring.target(Target("copy", "a key")) as place:
        restoring.load(place.name, [sql], Load("shop"))
    assert [each.text for each in place.missed] == [
        '2 statements for owners, rights or optional objects skipped: role "clerk" does not exist',
    ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (b"GRANT SELECT ON TABLE public.gone TO PUBLIC;\n", "right failed with error 42P01"),
        (b"ALTER TABLE public.gone OWNER TO clerk;\n", 'relation "public.gone" does not exist'),
    ],
)
def test_owners_and_rights_fail_for_no_other_reason(pg: PostgreSQL, statement: bytes, said: str) -> None:
    pg.run(f"CREATE ROLE clerk; GRANT clerk TO {pg.user}")
    with pytest.raises(RestoreError, match=said):
        load_into_new(HEAD + statement + TAIL)
    pg.run("DROP ROLE clerk")
    assert databases(pg) == ["shop"]


def test_a_user_of_the_servers_programs_restores_nothing(pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg.connection(login="postgres"))
    with pytest.raises(
        RestoreError, match="postgres is allowed to run programs on the server, so code in a dump could, too"
    ):
        load_into_new(HEAD + TAIL)
    assert databases(pg) == ["shop"]


def test_a_drill_on_production_needs_a_role_of_its_own(
    pg: PostgreSQL, everything: tuple[Dump, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pg.run("CREATE ROLE limited LOGIN CREATEDB PASSWORD 'pw'")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg.connection(login="limited", password="pw"))
    with pytest.raises(RestoreError, match="without one, no drill runs on a production server") as refused:
        engine().scratch("a key", everything[0], production=True).__enter__()
    assert "drill.connection" in refused.value.hint
    pg.run("DROP ROLE limited")


def test_a_dump_that_waits_for_a_lock_says_so_and_ends(pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.2)
    monkeypatch.setattr(watch, "STALLED", 4)
    pg.run("CREATE TABLE busy ()", "shop", pg.user)
    conninfo = make_conninfo(host=pg.host, port=pg.port, user=pg.user, password=pg.password, dbname="shop")
    with psycopg.connect(conninfo) as blocker:
        blocker.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DumpError, match=r"has written nothing for .*waiting for Lock: relation.*pg_blocking_pids"):
            take()


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        ({"password": "wrong"}, "password authentication failed", "Check login and password"),
        ({"port": 1}, "Connection refused", "Check host and port"),
        ({"login": "nobody"}, "password authentication failed", "Check login and password"),
    ],
)
def test_why_a_dump_failed(
    pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str, hint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg.connection(**changes))
    with pytest.raises(DumpError, match=said) as error:
        take()
    assert error.value.message.startswith("Dump of database 'shop' on 127.0.0.1:")
    assert hint in error.value.hint


def test_a_password_that_no_password_file_can_hold_is_refused() -> None:
    for password in ("two\nlines", "two\r", "nul\0"):
        with pytest.raises(SettingsError, match="holds a line break") as error:
            postgresql._escaped(password)
        assert password not in str(error.value)


def test_what_a_user_may_not_read_is_no_dump(pg: PostgreSQL) -> None:
    with pytest.raises(DumpError, match='database "nowhere" does not exist'):
        take("nowhere")
    pg.run("CREATE TABLE secret (a int)", "shop")
    with pytest.raises(DumpError, match="permission denied for table secret") as error:
        take()
    assert "pg_read_all_data" in error.value.hint


def test_no_password_is_in_the_command_of_a_dump(pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def and_look(command: list[str], *arguments: Any, variables: dict[str, str] | None = None) -> Any:
        seen.append(f"{command} {variables}")
        return child(command, *arguments, variables=variables)

    monkeypatch.setattr(postgresql, "child", and_look)
    take()
    assert len(seen) == 2
    assert repr(pg.password)[1:-1] not in "".join(seen)
    assert "passfile=/dev/fd/" in seen[0]


def test_a_client_that_is_asked_for_its_version_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "pg_dump"
    asked.write_text("#!/bin/sh\nenv\n")
    asked.chmod(0o755)
    monkeypatch.setenv("AIRFLOW_CONN_CANARY", "canary")
    said = postgresql._client_version(str(asked))
    assert "PATH=" in said
    assert "canary" not in said


def test_times_are_the_same_in_every_zone(pg: PostgreSQL) -> None:
    before, _ = take()
    pg.run("ALTER DATABASE shop SET timezone TO 'Asia/Tokyo'; ALTER DATABASE shop SET datestyle TO 'German'")
    assert take()[0].tables == before.tables


def test_a_killed_restore_is_begun_anew(shop: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    key = back_up().packed.key
    made = plan(overwrite=("shop",))
    with monkeypatch.context() as patch:
        patch.setattr(postgresql, "_put_in_place", die)
        killed(lambda: restore.restore_database(load_site(), made, made.databases[0]))
    left = [name for name in databases(shop) if name.startswith(FILLING)]
    assert len(left) == 1
    assert shop.run("SELECT count(*) FROM orders", "shop") == "3000\n"
    made = plan(archive=key, overwrite=("shop",))
    restore.restore_database(load_site(), made, made.databases[0])
    assert not [name for name in databases(shop) if name.startswith(FILLING)]


def test_a_drill_tells_what_failed_first_when_the_server_ends_its_session(
    pg: PostgreSQL, everything: tuple[Dump, bytes]
) -> None:
    with pytest.raises(RestoreError, match="what failed first") as error, engine().scratch("a key", everything[0]):
        pg.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{pg.user}'")
        raise RestoreError("what failed first", "its hint")
    assert error.value.hint == "its hint"
    with engine().scratch("a key", everything[0]) as place:
        assert databases(pg) == [place, "shop"]


def test_what_a_killed_restore_left_is_no_database_and_the_next_restore_or_drill_drops_it(
    shop: PostgreSQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    back_up()
    time.sleep(1)
    made = plan(overwrite=("shop",))

    def leave() -> str:
        with monkeypatch.context() as patch:
            patch.setattr(postgresql, "_put_in_place", die)
            killed(lambda: restore.restore_database(load_site(), made, made.databases[0]))
        (left,) = [name for name in databases(shop) if name.startswith(FILLING)]
        return left

    left = leave()
    assert shop.run("SELECT count(*) FROM orders", left) == "3000\n", "a backup would take it for whole"
    assert engine().databases()[left] is False
    with pytest.raises(DumpError, match="a restore is filling the database, or was interrupted") as error:
        take(left)
    assert f'COMMENT ON DATABASE "{left}" IS NULL' in error.value.hint
    with engine().target(Target("elsewhere", "a key")) as place:
        assert left not in databases(shop), "while another restore goes on"
        assert engine().databases()[place.name] is False
    assert "left behind by a killed restore" in caplog.text
    left = leave()
    with engine().scratch("a key", take()[0]):
        assert left not in databases(shop)
    left = leave()
    shop.run(f"ALTER DATABASE {left} OWNER TO postgres")
    with engine().target(Target("elsewhere too", "a key")):
        pass
    assert left in databases(shop)
    assert f'Run as its owner: DROP DATABASE "{left}".' in caplog.text


def test_what_was_being_made_when_its_restore_was_killed_is_dropped(
    pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(postgresql, "_comment", die)
        killed(lambda: engine().target(Target("one", "a key")).__enter__())
    (left,) = [name for name in databases(pg) if name.startswith(FILLING)]
    assert engine().databases()[left] is False
    with engine().target(Target("two", "a key")):
        assert left not in databases(pg)


def test_no_restore_drops_what_another_one_fills_or_found_to_be_different(
    pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine().target(Target("one", "a key")) as first, engine().target(Target("two", "a key")) as second:
        assert {first.name, second.name} <= set(databases(pg))
    with pytest.raises(MismatchError, match="not it"), engine().target(Target("three", "a key")) as place:
        raise MismatchError("not it")
    with engine().target(Target("four", "a key")):
        assert place.name in databases(pg), "it stays to be looked at"
    assert engine().databases()[place.name] is True
    entered: list[str] = []

    def create(*arguments: Any) -> Any:
        wish = made(*arguments)
        if not entered:
            entered.append("a drill has made its database, and not renamed it yet")
            with engine().target(Target("five", "a key")):
                pass
        return wish

    made = postgresql._create
    monkeypatch.setattr(postgresql, "_create", create)
    with engine().scratch("a key", take()[0]) as scratch:
        assert scratch in databases(pg)


def test_a_failed_restore_says_what_failed_first(pg: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = postgresql._drop

    def fail(session: Any, name: str) -> None:
        drop(session, name)
        if entered:
            session.close()
            drop(session, name)

    entered: list[str] = []
    monkeypatch.setattr(postgresql, "_drop", fail)
    with pytest.raises(RestoreError, match="the rows are bad"), engine().target(Target("one", "a key")) as place:
        entered.append(place.name)
        raise RestoreError("the rows are bad")


def test_the_worker_s_environment_reaches_neither_the_driver_nor_the_client(
    pg: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the connection's settings, and nothing else: what one of them sees, the other must see."""
    before, _ = take()
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    passwords.write_text("*:*:*:*:wrong\n")
    hostile = {
        "PGHOST": "nowhere.example",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGPASSWORD": "wrong",
        "PGPASSFILE": str(passwords),
        "PGSERVICE": "unknown",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c search_path=pg_catalog -c default_transaction_read_only=on -c role=postgres",
        "PGCLIENTENCODING": "LATIN1",
        "PGTZ": "Asia/Tokyo",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCONNECT_TIMEOUT": "not a number",
    }
    with monkeypatch.context() as patch:
        for name, value in hostile.items():
            patch.setenv(name, value)
        dump, sql = take()
        assert load_into_new(sql).rows == dump.rows
        assert {name: os.environ[name] for name in hostile} == hostile
    assert (dump.tables, dump.objects) == (before.tables, before.objects)


def test_a_connection_without_a_password_takes_none_from_the_worker_s_home(
    pg: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / ".pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{postgresql._escaped(pg.password)}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg.connection(password=""))
    with pytest.raises(DumpError, match="no password supplied"):
        take()


def test_what_killed_drills_left_is_dropped_and_nothing_else(pg: PostgreSQL) -> None:
    dump, _ = take()
    pg.run(f"CREATE DATABASE {names.PREFIX}dead; COMMENT ON DATABASE {names.PREFIX}dead IS '{MARK}x'")
    pg.run(f"ALTER DATABASE {names.PREFIX}dead OWNER TO {pg.user}")
    with engine().scratch("a key", dump) as place:
        assert databases(pg) == [place, "shop"]
    pg.run(f"CREATE DATABASE {names.PREFIX}precious")
    with (
        pytest.raises(RestoreError, match="that no drill created: it lacks a drill's mark"),
        engine().scratch("k", dump),
    ):
        pass
    assert databases(pg) == [f"{names.PREFIX}precious", "shop"]


def test_a_dump_of_another_engine_is_refused(
    shop: PostgreSQL, project: Configure, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up()
    made = plan()
    project(applications={"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}]}})
    with pytest.raises(SettingsError, match=r"is a dump of postgresql, and would go to mysql by 'shop_db'"):
        restore.restore_database(load_site(), made, made.databases[0])
    with pytest.raises(SettingsError, match="has the type 'mysql', not 'postgres'"):
        engine("shop_db")


@pytest.mark.parametrize("inserts", [False, True])
def test_an_archive_of_laravel_backup_is_restored(shop: PostgreSQL, tmp_path: Path, inserts: bool) -> None:
    command = ["pg_dump", "-h", shop.host, "-p", str(shop.port), "-U", shop.user, "-d", "shop"]
    done = subprocess.run(
        [*command, *(["--inserts"] if inserts else [])],
        env=os.environ | {"PGPASSWORD": shop.password},
        capture_output=True,
        check=True,
    )
    key = "Shop/2026-11-20-01-00-00.zip"
    legacy(tmp_path / "disk" / key, {"db-dumps/postgresql-shop.sql": done.stdout}, encrypted=True)
    before = rows(shop, "shop")
    (copy,) = restored(plan(archive=key))
    assert (copy.rows, copy.compared) == (3515, None)
    assert rows(shop, copy.schema) == before


def test_every_command_of_the_runbook(shop: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")  # through Debian's wrapper, as people call them
    back_up()
    shop.run("DELETE FROM orders WHERE id > 2000", "shop")
    passwords = tmp_path / ".pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{postgresql._escaped(shop.password)}\n")
    variables = runbook_variables(tmp_path) | {"PGHOST": shop.host, "PGPORT": str(shop.port), "PGUSER": shop.user}
    for commands in [text for tag, text in blocks() if tag == "postgresql"]:
        follow(commands, variables | {"PGPASSFILE": str(passwords)})
    assert shop.run("SELECT count(*) FROM orders", "shop") == "3000\n"
    assert shop.run("SELECT count(*) FROM orders", "shop_by_hand") == "3000\n"
