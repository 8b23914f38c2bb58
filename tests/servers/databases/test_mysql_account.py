"""Rights stop what the reader of dumps might let through: on real servers, with the reader out of the way."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from lifeboat.databases import Dump, Load, Target
from lifeboat.databases.mysql import account as mysql_account
from lifeboat.databases.mysql import load as mysql_load
from lifeboat.databases.mysql.dump import Session
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.databases.mysql.statements import Origin
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL
from tests.crash import die, killed

Database = MariaDB | MySQL
ACCOUNTS = "SELECT DISTINCT user FROM mysql.user WHERE user LIKE 'lifeboat%' AND user NOT LIKE '%\\_r' ORDER BY user"
CAPTURED = Dump(
    *("x", "mysql", "", "", "utf8mb4", "utf8mb4_general_ci", datetime(2026, 1, 1, tzinfo=UTC), 1000, ""),
    *((), (), (), ()),
)
DEFINERS = "SELECT definer FROM information_schema.routines WHERE routine_schema = '{}'"
PASSWORD = "Str0ng-and-long"


@pytest.fixture(params=["mariadb", "mysql"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Each server with its own clients, and a schema that nothing may reach."""
    found: Database = request.getfixturevalue(request.param)
    found.run("DROP DATABASE IF EXISTS victim; CREATE DATABASE victim")
    found.run("CREATE TABLE t (id INT PRIMARY KEY, secret TEXT); INSERT INTO t VALUES (1, 'secret')", "victim")
    found.run("CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1", "victim")
    with pytest.MonkeyPatch.context() as patch:
        if found.path:
            patch.setenv("PATH", str(found.path), prepend=":")
        yield found
    mysql_account._sweep(Session(found.connect()))  # as the next restore does
    assert found.run("SELECT user FROM mysql.user WHERE user LIKE 'lifeboat%'") == ""  # nor a role
    found.run("DROP DATABASE victim")


@pytest.fixture
def copy(server: Database) -> Iterator[str]:
    """The name of a schema that is not there."""
    server.run("DROP DATABASE IF EXISTS `copy_%`")
    yield "copy_%"
    server.run("DROP DATABASE IF EXISTS `copy_%`")


@pytest.fixture
def login(server: Database) -> Iterator[str]:
    """A login that may do nothing yet."""
    drop = "DROP USER IF EXISTS limited@localhost"
    server.run(f"{drop}; CREATE USER limited@localhost IDENTIFIED BY '{PASSWORD}'")
    yield "limited@localhost"
    server.run(drop)


def engine(server: Database, user: str = "") -> Engine:
    """Return the server's engine, as root or as the limited login."""
    if not user:
        return Engine(server.server, server.connect, clock.now)
    name = user.partition("@")[0]
    login = dataclasses.replace(server.server, user=name, password=PASSWORD)
    return Engine(login, lambda **other: server.connect(**{"user": name, "password": PASSWORD} | other), clock.now)


def all_there_is(server: Database) -> str:
    """Return what nothing may change: the victim, accounts, schemas, settings."""
    return server.run(
        "CHECKSUM TABLE victim.t; SHOW CREATE TABLE victim.t; SHOW GRANTS FOR root@localhost; SHOW DATABASES;"
        " SELECT user, host, authentication_string FROM mysql.user ORDER BY 1, 2;"
        " SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_schema IN ('victim', 'mysql', 'sys') UNION ALL"
        " SELECT routine_schema, routine_name FROM information_schema.routines UNION ALL"
        " SELECT event_schema, event_name FROM information_schema.events UNION ALL"
        " SELECT trigger_schema, trigger_name FROM information_schema.triggers ORDER BY 1, 2;"
        "SELECT @@global.max_connections, @@global.event_scheduler, @@global.log_bin_trust_function_creators"
    )


MARKED_BY_OTHERS = {
    "a table": "CREATE TABLE _lifeboat_restore_unfinished (restored TEXT, archive TEXT);"
    "INSERT INTO _lifeboat_restore_unfinished VALUES (database(), 'k')",
    "a view": "CREATE VIEW _lifeboat_restore_unfinished AS SELECT 'copy_%' AS restored, 'k' AS archive",
    "another schema's": "{root} VIEW _lifeboat_restore_unfinished AS SELECT 'victim' AS restored, 'k' AS archive",
    "a broken one": "{root} VIEW _lifeboat_restore_unfinished AS SELECT gone FROM x;ALTER TABLE x RENAME y",
}


@pytest.mark.parametrize("sql", MARKED_BY_OTHERS.values(), ids=MARKED_BY_OTHERS)
def test_a_mark_that_no_restore_of_this_account_made_lets_none_begin(
    server: Database, copy: str, login: str, sql: str
) -> None:
    server.run(f"CREATE DATABASE `{copy}`; GRANT ALL ON `copy\\_\\%`.* TO {login}")
    connection = server.connect() if "{root}" in sql else server.connect(user="limited", password=PASSWORD)
    with contextlib.closing(connection):
        session = Session(connection)
        for each in (f"USE `{copy}`", "CREATE TABLE x (gone INT)", *sql.format(root="CREATE").split(";")):
            session.execute(each.encode())
        before = server.run("SHOW TABLES", copy)
    assert engine(server).databases()[copy], "it holds data"
    for exists, said in (
        (False, "was created after this restore was planned"),
        (True, "did not make: nothing was changed"),
    ):
        with pytest.raises(RestoreError, match=said), engine(server).target(Target(copy, "key", exists=exists)):
            pass
    assert server.run("SHOW TABLES", copy) == before


class Fooled:
    """Reads nothing, and takes every statement for one that stays in its schema."""

    def __init__(self, sql: Iterable[bytes], longest: int, schema: str = "") -> None:
        self.origin = Origin()
        self._sql = sql

    def __iter__(self) -> Iterator[Statement]:
        return (Statement("setting", "", sql) for sql in self._sql)


@pytest.fixture
def fooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_load, "StatementReader", Fooled)


def soon(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def as_local(definers: str) -> str:
    """Return accounts as if all connections came by the socket."""
    return definers.replace("@127.0.0.1", "@localhost")


def accounts(server: Database) -> set[str]:
    return set(server.run(ACCOUNTS).split())


@contextlib.contextmanager
def filling(loading: Engine, server: Database, schema: str, **target: Any) -> Iterator[str]:
    """Fill a schema for the length of the block; yield the account that does."""
    before = accounts(server)
    with loading.target(Target(schema, "a key", **target)):
        (account,) = accounts(server) - before
        yield account


PROCEDURE = [b"CREATE TABLE `t` (`id` int);\nDELIMITER ;;\nCREATE PROCEDURE `p`()\nSELECT 1 ;;\nDELIMITER ;\n"]


def test_an_account_has_one_schema_and_goes_with_what_a_failed_load_left(server: Database, copy: str) -> None:
    loading = engine(server)
    with pytest.raises(RestoreError, match="what failed first"), filling(loading, server, copy) as account:
        assert re.fullmatch(r"lifeboat_load_[0-9a-f]{16}", account)
        loading.load(copy, PROCEDURE, Load("x"))
        rights = [line.partition(" TO ")[0] for line in server.run(f"SHOW GRANTS FOR {account}@localhost").splitlines()]
        assert rights == ["GRANT USAGE ON *.*", r"GRANT ALL PRIVILEGES ON `copy\\_\\%`.*"]
        assert server.run(DEFINERS.format(copy)).startswith(f"{account}@")
        raise RestoreError("what failed first")
    assert account not in accounts(server)


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("shop_1%", r"shop\_1\%"),
        ("a" * 63 + "_", "a" * 63 + "_"),
        ("_" * 40, r"\_" * 24 + "_" * 16),
        ("_" * 62 + "%", "_" * 62 + r"\%"),
    ],
    ids=["short", "no room", "some room", "what stands for more"],
)
def test_grants_name_long_schemas_as_exactly_as_there_is_room(
    server: Database, copy: str, schema: str, pattern: str
) -> None:
    assert mysql_account.pattern_of(schema) == pattern
    loading = engine(server)
    with filling(loading, server, schema):
        assert loading.load(schema, PROCEDURE, Load("x")).tables == 1
    server.run(f"DROP DATABASE `{schema}`")


def test_libraries_belong_to_the_restore_connection(mysql: MySQL) -> None:
    library = b"CREATE LIBRARY `l`\n    COMMENT 'it''s'\n    LANGUAGE JAVASCRIPT\nAS $$ // \xc3\xbc; $$"
    function = (
        b"CREATE DEFINER=`shopper`@`%` FUNCTION `f`() RETURNS int\n    DETERMINISTIC\n    LANGUAGE JAVASCRIPT\n"
        b"    USING (`l` AS `m`)\nAS $$ return 1 $$"
    )
    mysql.run("CREATE USER shopper")
    loading = engine(mysql)
    with filling(loading, mysql, "copy_l"):
        loading.load("copy_l", [b"DELIMITER ;;\n" + library + b" ;;\n" + function + b" ;;\n"], Load("x"))
        before = loading.read_back("copy_l", ())
    assert loading.dump("copy_l", (), lambda chunk: None).objects == before.objects
    assert [(entry.kind, entry.name) for entry in before.objects] == [("library", "l"), ("function", "f")]
    owner = "SELECT creator FROM information_schema.libraries WHERE library_schema = 'copy_l'"
    assert mysql.run(owner) == "root@localhost\n"
    mysql.run("DROP DATABASE copy_l; DROP USER shopper")


@pytest.mark.parametrize(("mode", "required"), [("", ""), ("PREFERRED", ""), ("REQUIRED", "ANY"), ("VERIFY_CA", "ANY")])
def test_an_account_must_use_tls_where_the_connection_must(mysql: MySQL, mode: str, required: str) -> None:
    tls = {"ssl-mode": mode} if mode else {}
    asked = "SELECT DISTINCT ssl_type FROM mysql.user WHERE user = '{}'"
    connect = partial(mysql.connect, ssl_mode="REQUIRED") if required else mysql.connect
    loading = Engine(dataclasses.replace(mysql.server, tls=tls), connect, clock.now)
    with filling(loading, mysql, "tls") as account:
        assert mysql.run(asked.format(account)).strip() == required
    mysql.run("DROP DATABASE tls")


def test_the_password_of_an_account_is_in_no_log(server: Database, copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_account, "_password", lambda: "Canary-aA0-canary")
    output = server.run("SELECT @@global.log_output").strip()
    server.run("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON; TRUNCATE mysql.general_log")
    with filling(engine(server), server, copy):
        pass
    server.run(f"SET GLOBAL general_log = OFF; SET GLOBAL log_output = '{output}'")
    logged = server.run("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log")
    assert "CREATE USER" in logged
    assert "Canary" not in logged


def test_what_a_killed_load_left_goes_with_the_next_one(server: Database, copy: str) -> None:
    def load() -> None:
        loading = engine(server)
        with loading.target(Target(copy, "a key")) as place:
            loading.load(place.name, PROCEDURE, Load("x"))
            die()

    before = accounts(server)
    killed(load)
    (left,) = accounts(server) - before
    others = ["lifeboat_load", "lifeboat_load_1", f"lifeboat_load_{'g' * 16}", f"Lifeboat_load_{'a' * 16}"]
    server.run("; ".join(f"CREATE USER `{name}`@localhost IDENTIFIED BY '{PASSWORD}'" for name in others))
    with filling(engine(server), server, copy) as first, filling(engine(server), server, "other_copy") as second:
        assert {first, second, *others} <= accounts(server) | set(others[3:])
        assert left not in accounts(server)
    server.run("; ".join(f"DROP USER `{name}`@localhost" for name in others))
    server.run("DROP DATABASE other_copy")


def test_a_name_that_looks_like_ours_takes_nobody_else_along(server: Database) -> None:
    """Who may make accounts names their hosts, which stand in what the next restore runs as a mightier one."""
    evil = f"`lifeboat_load_{'0' * 16}`@`x', 'bystander`"
    server.run(f"CREATE USER bystander IDENTIFIED BY '{PASSWORD}'; CREATE USER {evil} IDENTIFIED BY '{PASSWORD}'")
    mysql_account._sweep(Session(server.connect()))
    assert "bystander" in server.run("SELECT user FROM mysql.user")
    assert "lifeboat_load_0" not in server.run("SELECT user FROM mysql.user")
    server.run("DROP USER bystander")


SEES = {"MariaDB": "SELECT ON mysql.proc", "MySQL": "SHOW_ROUTINE ON *.*"}
ENOUGH = ("CREATE USER ON *.*", "SELECT (User, Host) ON mysql.user", "ALL ON `copy\\_%`.* TO {} WITH GRANT OPTION")


def grant(server: Database, login: str, *rights: str) -> None:
    for right in rights:
        server.run(f"GRANT {right.format(login)}" + ("" if "{}" in right else f" TO {login}"))


def test_what_the_readme_grants_is_enough(server: Database, copy: str, login: str) -> None:
    grant(server, login, *ENOUGH)
    loading = engine(server, login)
    with filling(loading, server, copy) as account:
        loading.load(copy, PROCEDURE, Load("x"))
        loading.read_back(copy, ())
    assert as_local(server.run(DEFINERS.format(copy))) == f"{account}@localhost\n"


BEYOND = {
    "file": ["FILE ON *.*"],
    "all": ["ALL ON *.*"],
    "another schema": ["SELECT ON victim.*"],
    "one table": ["SELECT ON victim.t"],
    "one column": ["SELECT (id) ON victim.t"],
    "one function": ["EXECUTE ON FUNCTION victim.f"],
    "all schemas": ["ALL ON `%`.*"],
    "may grant": ["ALL ON `copy\\_\\%`.* TO {} WITH GRANT OPTION"],
    "may make accounts only": ["CREATE USER ON *.*"],
    "a role": ["helper"],
}


@pytest.mark.parametrize("rights", BEYOND.values(), ids=list(BEYOND))
def test_who_may_make_no_account_must_reach_nothing_else(
    server: Database, copy: str, login: str, rights: list[str]
) -> None:
    grant(server, login, "ALL ON `copy\\_\\%`.*")
    loading = engine(server, login)
    with loading.target(Target(copy, "a key")) as place:
        assert loading.load(place.name, PROCEDURE, Load("x")).tables == 1
    said = "limited is not allowed to create an account for the load .*without one, no drill"
    with pytest.raises(RestoreError, match=said) as refused:
        loading.scratch("a key", CAPTURED, production=True).__enter__()
    assert "CREATE USER" in refused.value.hint
    server.run("CREATE ROLE helper; GRANT FILE ON *.* TO helper")
    grant(server, login, *rights)
    with pytest.raises(
        RestoreError, match=r"(?s)is not allowed to create an account.* reach beyond 'copy_%'"
    ) as refused:
        loading.target(Target(copy, "a key", exists=True)).__enter__()
    assert "CREATE USER" in refused.value.hint
    server.run("DROP ROLE helper")


@pytest.mark.parametrize(
    ("grants", "schemas", "beyond"),
    [
        (["GRANT USAGE ON *.* TO `u`@`h`", "GRANT ALL PRIVILEGES ON `s`.* TO `u`@`h`"], ["s"], []),
        (["GRANT USAGE ON *.* TO `u`@`h`"], ["s", "S"], ["schema 'S'"]),
        (["GRANT USAGE ON *.* TO `u`@`h` REQUIRE SSL WITH MAX_USER_CONNECTIONS 20"], ["information_schema"], []),
        (["GRANT SELECT, LOCK TABLES ON `o`.* TO `u`@`h`"], ["s", "o"], ["schema 'o'"]),
        (["GRANT USAGE ON *.* TO `u`@`h` WITH GRANT OPTION"], [], ["GRANT USAGE ON *.*"]),
        (["GRANT FILE ON *.* TO `u`@`h`"], [], ["GRANT FILE ON *.*"]),
        (["GRANT BACKUP_ADMIN ON *.* TO `u`@`h`"], [], ["GRANT BACKUP_ADMIN ON *.*"]),
        (["GRANT `r`@`%` TO `u`@`h`"], [], ["GRANT `r`@`%`"]),
        (["GRANT PROXY ON ``@`` TO `u`@`h`"], [], ["GRANT PROXY ON ``@``"]),
        (["GRANT EXECUTE ON FUNCTION `s`.`f` TO `u`@`h`"], [], ["GRANT EXECUTE ON FUNCTION `s`.`f`"]),
        (["GRANT SELECT (`a`) ON `s`.`t` TO `u`@`h`"], [], ["GRANT SELECT (`a`) ON `s`.`t`"]),
        (["SET DEFAULT ROLE `r` FOR `u`@`h`"], [], ["SET DEFAULT ROLE `r` FOR `u`@`h`"]),
        (["GRANT SELECT ON `o`.* TO PUBLIC"], ["s", "o", "mysql"], ["schema 'mysql'", "schema 'o'"]),
    ],
)
def test_what_nobody_knows_reaches_beyond(grants: list[str], schemas: list[str], beyond: list[str]) -> None:
    assert mysql_account.reach(grants, schemas, "s") == beyond


def test_a_schema_that_everybody_may_use_is_in_the_way_of_a_load(server: Database, copy: str) -> None:
    everybody = "INSERT INTO mysql.db (host, db, user, select_priv) VALUES ('%', 'victim', '', 'Y'); FLUSH PRIVILEGES"
    server.run(everybody)
    with pytest.raises(RestoreError, match=r"lets lifeboat_load_\w+ reach beyond 'copy_%'.*'victim'") as refused:
        engine(server).target(Target(copy, "a key")).__enter__()
    assert "an anonymous account" in refused.value.hint
    server.run("DELETE FROM mysql.db WHERE db = 'victim'; FLUSH PRIVILEGES")


def test_schemas_whose_names_differ_in_case_are_two(server: Database, copy: str, login: str) -> None:
    server.run("DROP DATABASE IF EXISTS `COPY_%`; CREATE DATABASE `COPY_%`")
    grant(server, login, "ALL ON `copy\\_\\%`.*", "ALL ON `COPY\\_\\%`.*")
    with pytest.raises(RestoreError, match=r"limited reach beyond 'copy_%'.*schema 'COPY_%'"):
        engine(server, login).target(Target(copy, "a key")).__enter__()
    server.run("DROP DATABASE `COPY_%`")


def test_a_server_that_revokes_parts_of_rights_takes_names_as_they_are(mysql: MySQL) -> None:
    mysql.run("SET GLOBAL partial_revokes = ON")
    loading = engine(mysql)
    try:
        with filling(loading, mysql, "copy_%"):
            assert loading.load("copy_%", PROCEDURE, Load("x")).tables == 1
    finally:
        mysql.run("SET GLOBAL partial_revokes = OFF; DROP DATABASE `copy_%`")


EVERYBODY = {"": "", "FILE ON *.*": "FILE ON ", "SELECT ON victim.*": "schema 'victim'", "nested": "FILE ON "}


@pytest.mark.parametrize(("rights", "beyond"), EVERYBODY.items(), ids=["none", "a file", "a schema", "in another role"])
def test_a_role_of_everybody_is_in_the_way_of_a_load_where_it_reaches_further(
    mysql: MySQL, rights: str, beyond: str
) -> None:
    """Once everybody has a role, MySQL finds rights on columns by their very names only."""
    mysql.run(f"DROP USER IF EXISTS limited@localhost; CREATE USER limited@localhost IDENTIFIED BY '{PASSWORD}'")
    mysql.run("CREATE DATABASE IF NOT EXISTS victim; CREATE ROLE everybody, nested; GRANT FILE ON *.* TO nested")
    grant(mysql, "limited@localhost", *ENOUGH)
    if rights:
        grant(mysql, "everybody", rights)
    mysql.run("SET GLOBAL mandatory_roles = 'everybody'")
    loading = engine(mysql, "limited").target(Target("copy_%", "a key"))
    try:
        if not beyond:
            with loading:
                pass
        else:
            with pytest.raises(RestoreError, match=rf"lets lifeboat_load_\w+ reach beyond .*{beyond}") as refused:
                loading.__enter__()
            assert "mandatory_roles" in refused.value.hint
    finally:
        mysql.run("SET GLOBAL mandatory_roles = ''; DROP ROLE everybody, nested; DROP USER limited@localhost")
        mysql.run("DROP DATABASE IF EXISTS `copy_%`")


OWNED = b"""CREATE TABLE `t` (`id` int);
DELIMITER ;;
/*!50003 SET sql_mode = 'ANSI_QUOTES' */ ;;
/*!50003 SET character_set_client = latin1 */ ;;
/*!50003 SET collation_connection = latin1_german1_ci */ ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`own``er`@`10.%`*/ /*!50003 TRIGGER `b` BEFORE INSERT ON `t`
FOR EACH ROW SET @a = '\xfc' */;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `a` BEFORE INSERT ON `t`
FOR EACH ROW SET @a = 2 */;;
CREATE DEFINER=`own``er`@`10.%` PROCEDURE `p`()
SELECT "id", '\xfc' FROM t ;;
CREATE DEFINER=`own``er`@`10.%` FUNCTION `f`() RETURNS int
    DETERMINISTIC
RETURN 1 ;;
CREATE DEFINER=`gone`@`%` PROCEDURE `q`()
SELECT 1 ;;
/*!50106 CREATE*/ /*!50117 DEFINER=`own``er`@`10.%`*/ /*!50106 EVENT `runs`
ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00' ON COMPLETION NOT PRESERVE ENABLE DO SET @a = 1 */;;
/*!50106 CREATE*/ /*!50117 DEFINER=`own``er`@`10.%`*/ /*!50106 EVENT `rests`
ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00' ON COMPLETION NOT PRESERVE DISABLE DO SET @a = 1 */;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=MERGE */
/*!50013 DEFINER=`own``er`@`10.%` SQL SECURITY INVOKER */
/*!50001 VIEW `v` AS select `t`.`id` AS `id`,`f`() AS `f` from `t` */;
"""


@pytest.mark.parametrize("in_place", [False, True], ids=["beside", "in place"])
def test_code_has_its_owners_again_and_is_what_it_was(server: Database, copy: str, in_place: bool) -> None:
    server.run(f"DROP USER IF EXISTS `own``er`@'10.%'; CREATE USER `own``er`@'10.%' IDENTIFIED BY '{PASSWORD}'")
    server.run(r"GRANT ALL ON `copy\_\%`.* TO `own``er`@'10.%'")
    loading = engine(server)
    with filling(loading, server, copy, in_place=in_place) as account:
        loaded = loading.load(copy, [OWNED], Load("x"))
        before = loading.read_back(copy, ())
    again = loading.dump(copy, (), lambda chunk: None)
    assert (again.tables, again.objects) == (before.tables, before.objects)
    assert len(again.objects) == 8
    of = f" WHERE {{}}_schema = '{copy}'"
    facts = [
        "SELECT trigger_name, definer, sql_mode, character_set_client, collation_connection, action_order"
        " FROM information_schema.triggers" + of.format("trigger"),
        "SELECT routine_name, definer, sql_mode, collation_connection FROM information_schema.routines"
        + of.format("routine"),
        "SELECT event_name, definer, status, sql_mode, character_set_client, collation_connection"
        " FROM information_schema.events" + of.format("event"),
        "SELECT table_name, definer, security_type FROM information_schema.views" + of.format("table"),
    ]
    latin = "ANSI_QUOTES\tlatin1\tlatin1_german1_ci"
    assert as_local(server.run(f"{' ORDER BY 1; '.join(facts)} ORDER BY 1")).splitlines() == [
        f"a\troot@localhost\t{latin}\t2",
        f"b\town`er@10.%\t{latin}\t1",
        "f\town`er@10.%\tANSI_QUOTES\tlatin1_german1_ci",
        "p\town`er@10.%\tANSI_QUOTES\tlatin1_german1_ci",
        f"q\t{account}@localhost\tANSI_QUOTES\tlatin1_german1_ci",
        f"rests\town`er@10.%\tDISABLED\t{latin}",
        f"runs\town`er@10.%\t{'ENABLED' if in_place else 'DISABLED'}\t{latin}",
        "v\town`er@10.%\tINVOKER",
    ]
    asleep = "events are disabled here, because they run in the original: runs"
    lost = "definer gone@% was dropped: the server has no such account; its code has rights on this database only"
    assert set(loaded.warnings) == {lost} | (set() if in_place else {asleep})
    server.run("DROP DATABASE `copy_%`; DROP USER `own``er`@'10.%'")


def test_code_that_cannot_be_given_away_reaches_nothing_else(mysql: MySQL) -> None:
    """MySQL lets nobody make something for root who is not as mighty."""
    mysql.run(f"DROP USER IF EXISTS limited@localhost; CREATE USER limited@localhost IDENTIFIED BY '{PASSWORD}'")
    grant(mysql, "limited@localhost", *ENOUGH, "SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.*")
    loading = engine(mysql, "limited")
    with loading.target(Target("copy_%", "a key")) as place:
        loading.load(
            "copy_%", [PROCEDURE[0].replace(b"CREATE PROC", b"CREATE DEFINER=`root`@`localhost` PROC")], Load("x")
        )
    assert re.fullmatch(r"lifeboat_load_\w+@localhost\n", as_local(mysql.run(DEFINERS.format("copy_%"))))
    assert place.warnings == [
        "procedure 'p' cannot be given to root@localhost (error 1227): it has rights on this database only"
    ]
    mysql.run("DROP DATABASE `copy_%`; DROP USER limited@localhost")


MIGHTY = {
    "a view": "CREATE VIEW v AS SELECT * FROM t",
    "a procedure": "CREATE PROCEDURE p() SELECT 1",
    "an event": "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT 1",
    "a library": "CREATE LIBRARY l LANGUAGE JAVASCRIPT AS $$ 1 $$",
}


@pytest.mark.parametrize("code", MIGHTY.values(), ids=list(MIGHTY))
def test_code_of_roots_is_replaced_by_who_is_as_mighty_and_by_nobody_else(mysql: MySQL, code: str) -> None:
    mysql.run(f"DROP USER IF EXISTS limited@localhost; CREATE USER limited@localhost IDENTIFIED BY '{PASSWORD}'")
    grant(mysql, "limited@localhost", *ENOUGH, SEES["MySQL"], "SET_ANY_DEFINER, SYSTEM_VARIABLES_ADMIN ON *.*")
    mysql.run("DROP DATABASE IF EXISTS `copy_%`; CREATE DATABASE `copy_%`")
    mysql.run(f"CREATE TABLE t (id INT); {code}", "copy_%")
    all_of_it = engine(mysql).dump("copy_%", (), lambda chunk: None)
    target = Target("copy_%", "a key", exists=True, in_place=True)
    with pytest.raises(RestoreError, match=r"belongs to root@localhost, .*nothing was changed") as refused:
        engine(mysql, "limited").target(target).__enter__()
    assert "SYSTEM_USER" in refused.value.hint
    untouched = engine(mysql).dump("copy_%", (), lambda chunk: None)
    assert (untouched.tables, untouched.objects) == (all_of_it.tables, all_of_it.objects)
    mysql.run("GRANT SYSTEM_USER ON *.* TO limited@localhost")
    loading = engine(mysql, "limited")
    with loading.target(target):
        loading.load("copy_%", PROCEDURE, Load("x"))
    mysql.run("DROP DATABASE `copy_%`; DROP USER limited@localhost")


@pytest.mark.parametrize("more", [0, 80], ids=["few", "over several connections"])
def test_views_have_their_owners_again_though_these_have_no_rights(server: Database, copy: str, more: int) -> None:
    server.run(f"DROP USER IF EXISTS poor@localhost; CREATE USER poor@localhost IDENTIFIED BY '{PASSWORD}'")
    view = b"CREATE DEFINER=`poor`@`localhost` SQL SECURITY DEFINER VIEW `%b` AS select `%b`.`id` AS `id` from `%b`;\n"
    reads = [(b"b", b"t"), (b"a", b"b"), (b"c", b"a")]
    reads += [(b"v%d" % number, b"v%d" % (number - 20) if number >= 20 else b"c") for number in range(more)]
    sql = b"CREATE TABLE `t` (`id` int);\n" + b"".join(view % (name, what, what) for name, what in reads)
    loading = engine(server)
    with filling(loading, server, copy):
        loading.load(copy, [sql], Load("x"))
    owners = f"SELECT DISTINCT definer FROM information_schema.views WHERE table_schema = '{copy}'"
    assert server.run(owners) == "poor@localhost\n"
    server.run("DROP DATABASE `copy_%`; DROP USER poor@localhost")


LOST = b"""CREATE TABLE `t` (`id` int);
INSERT INTO `t` VALUES (1);
DELIMITER ;;
CREATE DEFINER=`gone`@`%` TRIGGER `b` AFTER UPDATE ON `t` FOR EACH ROW INSERT INTO victim.t VALUES (2, 'b') ;;
CREATE DEFINER=`gone`@`%` PROCEDURE `p`() CREATE USER evil ;;
CREATE DEFINER=`gone`@`%` FUNCTION `f`() RETURNS text READS SQL DATA RETURN (SELECT secret FROM victim.t LIMIT 1) ;;
CREATE DEFINER=`gone`@`%` EVENT `evil` ON SCHEDULE EVERY 1 SECOND ENABLE DO INSERT INTO victim.t VALUES (3, 'e') ;;
CREATE DEFINER=`gone`@`%` EVENT `good` ON SCHEDULE EVERY 1 SECOND ENABLE DO INSERT INTO t VALUES (4) ;;
DELIMITER ;
/*!50001 CREATE DEFINER=`gone`@`%` VIEW `v` AS select `f`() AS `f` */;
"""


def test_code_without_its_owner_has_rights_on_its_database_only(server: Database, copy: str) -> None:
    """Also as root: nothing of a dump gets the rights of who restores."""
    untouched = all_there_is(server)
    loading = engine(server)
    with filling(loading, server, copy, in_place=True) as account:
        loading.load(copy, [LOST], Load("x"))
    for use in ("UPDATE t SET id = 5", "CALL p()", "SELECT f()", "SELECT * FROM v"):
        with pytest.raises(RuntimeError, match=r"ERROR (1142|1227|1356|1370)"):
            server.run(use, copy)
    scheduler = server.run("SELECT @@global.event_scheduler").strip()
    server.run("SET GLOBAL event_scheduler = ON")
    assert soon(lambda: server.run("SELECT COUNT(*) > 2 FROM t", copy) == "1\n")
    server.run(f"SET GLOBAL event_scheduler = {scheduler}")
    assert "ACCOUNT LOCK" in server.run(f"SHOW CREATE USER {account}@localhost")
    server.run("DROP DATABASE `copy_%`")
    with filling(loading, server, copy):
        assert account not in accounts(server)  # its code is gone
    server.run("DROP DATABASE `copy_%`")
    assert all_there_is(server) == untouched


EVENT = (
    b"CREATE DEFINER=`%b`@`localhost` EVENT `e` ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00'"
    b" ON COMPLETION PRESERVE ENABLE COMMENT 'c' DO SET @a = %b;\n"
)
STATUS = "SELECT definer, status FROM information_schema.events"


def test_an_event_whose_owner_reaches_further_runs_where_it_ran_before(server: Database, copy: str) -> None:
    loading = engine(server)

    def restore(event: bytes) -> list[str]:
        with loading.target(Target(copy, "a key", exists=True, in_place=True)) as place:
            assert loading.load(copy, [event], Load("x")).warnings == ()
        return place.warnings

    (warning,) = restore(EVENT % (b"root", b"1"))
    assert server.run(STATUS) == "root@localhost\tDISABLED\n"
    assert warning.startswith("event 'e' is disabled: it did not run here before")
    assert restore(EVENT % (b"root", b"1")) == [warning]  # what is there does not run
    server.run(warning.partition("then: ")[2])
    assert server.run(STATUS) == "root@localhost\tENABLED\n"
    assert restore(EVENT % (b"root", b"1")) == []
    assert server.run(STATUS) == "root@localhost\tENABLED\n"
    assert restore(EVENT % (b"root", b"2")) == [warning]
    assert server.run(STATUS) == "root@localhost\tDISABLED\n"


@pytest.mark.parametrize(
    ("rights", "status"),
    [
        (r"SELECT, EVENT ON `copy\_\%`.* TO {}", "ENABLED"),
        (r"ALL ON `copy%`.* TO {}", "DISABLED"),
        ("SELECT ON victim.* TO {}", "DISABLED"),
        ("SELECT (id) ON victim.t TO {}", "DISABLED"),
        ("EXECUTE ON FUNCTION victim.f TO {}", "DISABLED"),
        ("CREATE USER ON *.* TO {}", "DISABLED"),
        ("helper TO {}", "DISABLED"),
    ],
)
def test_an_event_runs_again_where_its_owner_reaches_nothing_else(
    server: Database, copy: str, login: str, rights: str, status: str
) -> None:
    server.run("DROP ROLE IF EXISTS helper; CREATE ROLE helper")
    grant(server, login, r"EVENT ON `copy\_\%`.*", rights)
    loading = engine(server)
    with loading.target(Target(copy, "a key", in_place=True)) as place:
        loading.load(copy, [EVENT % (b"limited", b"1")], Load("x"))
    assert server.run(STATUS) == f"limited@localhost\t{status}\n"
    assert bool(place.warnings) == (status == "DISABLED")
    server.run("DROP ROLE helper")


@pytest.mark.usefixtures("fooled")
def test_an_event_of_a_copy_does_not_run_whatever_its_definition_says(server: Database, copy: str) -> None:
    loading = engine(server)
    with filling(loading, server, copy) as account:
        loading.load(copy, [b"CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DO SET @a = 1"], Load("x"))
    status = f"SELECT status, definer FROM information_schema.events WHERE event_schema = '{copy}'"
    assert as_local(server.run(status)) == f"DISABLED\t{account}@localhost\n"
