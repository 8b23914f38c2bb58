"""The users that BACKUP.md and RECOVERY.md create can back up and restore; users with less are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.databases import Dump, Load, Server, Target
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.decide import comparison
from lifeboat.errors import DumpError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {"backups": (DOCS / "BACKUP.md").read_text(), "restores": (DOCS / "RECOVERY.md").read_text()}
SHOP, COPY = "shop", "shop_copy"
SQL = """
CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 2), (2, 3);
CREATE DEFINER=shopper@'%' VIEW v AS SELECT id FROM t;
CREATE DEFINER=shopper@'%' TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1;
CREATE DEFINER=shopper@'%' PROCEDURE p() SELECT 1;
CREATE DEFINER=shopper@'%' FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
CREATE DEFINER=shopper@'%' EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO SELECT 1;
"""
NAMES = ("mysql", "mariadb", "mariadb_118")


def statements(purpose: str, family: str) -> str:
    """Return the SQL that the documentation has for a purpose."""
    page = PAGES["restores" if purpose.startswith("restores") else "backups"]
    (block,) = re.findall(rf"    -- {family}[^\n]*: {purpose}\n((?:    [^\n]+\n)+)", page)
    return "\n".join(line.strip() for line in str(block).splitlines()).replace("PASSWORD", "pw")


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQL | MariaDB | MariaDB118]:
    """A server with a shop and the documented users, whose own client is first in PATH."""
    found: MySQL | MariaDB | MariaDB118 = request.getfixturevalue(request.param)
    if found.path:
        monkeypatch.setenv("PATH", f"{found.path}:{os.environ['PATH']}")
    family = "MySQL" if request.param == "mysql" else "MariaDB"
    users = "shopper, lifeboat_backup, lifeboat_restore"
    clear = f"DROP DATABASE IF EXISTS {SHOP}; DROP DATABASE IF EXISTS {COPY}; DROP USER IF EXISTS {users};"
    found.run(clear)
    found.run(statements("backups", family) + statements("restores", family))
    found.run(f"SET GLOBAL log_bin_trust_function_creators = 1; CREATE DATABASE {SHOP}; CREATE USER shopper")
    found.run("GRANT SELECT, EXECUTE ON *.* TO shopper")
    found.run(SQL, SHOP)
    yield found
    found.run(clear)
    found.run("SET GLOBAL log_bin_trust_function_creators = 0, sql_mode = DEFAULT")


def engine(
    server: MySQL | MariaDB | MariaDB118, user: str, ask: Callable[..., Any] | None = None, password: str = "pw"
) -> Engine:
    place = Server(server.host, server.port, user, password, tls={"ssl-mode": "REQUIRED"} if is_mysql(server) else {})
    return Engine(place, lambda **login: server.connect(**{"user": user, "password": password} | login), clock.now, ask)


def is_mysql(server: MySQL | MariaDB | MariaDB118) -> bool:
    return isinstance(server, MySQL)


def back_up(
    server: MySQL | MariaDB | MariaDB118, ask: Callable[..., Any] | None = None, user: str = "lifeboat_backup"
) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    return engine(server, user, ask).dump(SHOP, (), chunks.append), b"".join(chunks)


def test_readmes_users_back_up_and_restore(server: MySQL | MariaDB | MariaDB118) -> None:
    server.run("CREATE DEFINER=shopper@'%' VIEW w AS SELECT f() AS n", SHOP)  # MariaDB asks who describes it
    restorer = engine(server, "lifeboat_restore")
    dump, sql = back_up(server, restorer.taker)
    assert {entry.kind for entry in dump.objects} == {"view", "trigger", "procedure", "function", "event"}
    assert (dump.rows, dump.limits, dump.warnings) == (2, (), ())
    tried = engine(server, "lifeboat_backup", restorer.taker).check_dump(SHOP, ())
    assert (tried.server, tried.client, tried.lacks) == (dump.server, dump.client, ())
    restorer.check_load(SHOP)
    with restorer.target(Target(COPY, "key", dump)) as place:
        loaded = restorer.load(place.name, [sql], Load(SHOP))
        restored = restorer.read_back(place.name, ())
    assert comparison.differences(dump, restored) == []
    assert not [warning for warning in loaded.warnings if "definer" in warning]
    definers = server.run(
        f"SELECT DISTINCT definer FROM information_schema.routines WHERE routine_schema = '{COPY}' UNION"
        f" SELECT DISTINCT definer FROM information_schema.views WHERE table_schema = '{COPY}'"
    )
    assert definers == "shopper@%\n"


def test_a_drill_by_readmes_user(server: MySQL | MariaDB | MariaDB118) -> None:
    restorer = engine(server, "lifeboat_restore")
    dump, sql = back_up(server)
    with restorer.scratch("key", dump) as place:
        restorer.load(place, [sql], Load(SHOP))
        assert comparison.differences(dump, restorer.read_back(place, ())) == []


def test_grants_are_read_whatever_their_quotes(server: MySQL | MariaDB | MariaDB118) -> None:
    server.run("SET GLOBAL sql_mode = 'ANSI_QUOTES'")
    assert len(back_up(server)[0].objects) == 5


@pytest.mark.parametrize("right", ["EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE"])
def test_a_right_to_run_routines_is_none_to_read_them(server: MySQL | MariaDB | MariaDB118, right: str) -> None:
    server.run("REVOKE ALL PRIVILEGES, GRANT OPTION FROM lifeboat_backup")
    server.run(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, {right} ON {SHOP}.* TO lifeboat_backup")
    with pytest.raises(
        DumpError, match=r"is not allowed to read 'f', 'p': .*Grant it SELECT ON mysql.proc .* SHOW_ROUTINE"
    ):
        back_up(server)
    server.run(f"DROP FUNCTION {SHOP}.f; DROP PROCEDURE {SHOP}.p")
    assert {entry.kind for entry in back_up(server)[0].objects} == {"view", "trigger", "event"}


def test_a_restore_user_with_less_is_a_limit_of_the_backup(server: MySQL | MariaDB | MariaDB118) -> None:
    server.run("REVOKE ALL PRIVILEGES, GRANT OPTION FROM lifeboat_restore")
    server.run("GRANT ALL ON `shop%`.* TO lifeboat_restore; SET GLOBAL log_bin_trust_function_creators = 0")
    dump, _ = back_up(server, engine(server, "lifeboat_restore").taker)
    logs = server.run("SELECT @@log_bin").strip() == "1"
    expected = {"shopper@%", *(["log_bin_trust_function_creators"] if logs else [])}
    assert {limit.name for limit in dump.limits} == expected


@pytest.mark.parametrize(
    ("grants", "is_mariadb", "missing"),
    [
        (['GRANT SELECT, TRIGGER ON "shop".* TO "u"@"%"', 'GRANT SHOW_ROUTINE ON *.* TO "u"@"%"'], False, 0),
        (['GRANT TRIGGER ON "sh""op".* TO "u"@"%"', "GRANT SELECT ON *.* TO u"], False, 1),
        (["GRANT TRIGGER ON `shop`.* TO `u`@`%`", "GRANT SELECT ON `mysql`.* TO `u`@`%`"], False, 1),
        (["GRANT TRIGGER ON `shop`.* TO `u`@`%`", "GRANT SELECT ON `mysql`.* TO `u`@`%`"], True, 0),
        (["GRANT TRIGGER ON `shop`.`t` TO `u`@`%`", "GRANT SELECT ON `mysql`.`proc` TO `u`@`%`"], True, 1),
        (["GRANT TRIGGER, SHOW CREATE ROUTINE ON `shop`.* TO `u`@`%`"], True, 0),
    ],
)
def test_grants_of_each_family(grants: list[str], is_mariadb: bool, missing: int) -> None:
    assert len(mysql.missing_grants(grants, "shop", is_mariadb=is_mariadb)) == missing
