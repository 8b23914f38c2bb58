"""Checks of the application: what passes is in the proof, and nothing else passes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import drill
from lifeboat.airflow.site import load_site
from lifeboat.decide.restored import database_text
from lifeboat.errors import CheckError, RestoreError
from lifeboat.support import sandbox

from include.demo.stand_ins import MariaDB, MariaDB118
from tests.conftest import Configure
from tests.servers.test_drill import key_of, proofs, scratch_left
from tests.servers.test_restore import SHOP, back_up, checksums, only_shop, plan, restored, root

__all__ = ["only_shop", "root"]

WRITES = "CREATE FUNCTION writes() RETURNS INT BEGIN DELETE FROM page_views; RETURN 1; END"
Drill = Callable[..., dict[str, Any]]


def query(text: str, expect: str = "> 0", **more: Any) -> dict[str, Any]:
    return {"sql": {"database": "shop", "query": text, "expect": expect}, **more}


@pytest.fixture
def archive(project: Configure, mariadb: MariaDB, shop: str) -> Path:
    """An archive of the application's database, on disk."""
    mariadb.run(f"DELIMITER ;;\n{WRITES};;", shop)
    project()
    return Path(load_site().settings.own_directories[1]) / back_up().packed.key


@pytest.fixture
def drilled(project: Configure, archive: Path) -> Drill:
    """Drill the archive with checks; return the proof."""

    def drilled(*checks: dict[str, Any], **changes: Any) -> dict[str, Any]:
        project(applications={"Shop": SHOP | {"checks": checks}}, drill={"production": True}, **changes)
        (place,) = load_site().destinations("Shop", ("disk",))
        made = drill.rehearse(load_site(), "Shop", place, key_of(archive), "a test", datetime.now(UTC))
        return dict(json.loads(made.to_bytes()))

    return drilled


def test_checks_that_pass_are_in_the_proof(drilled: Drill, mariadb: MariaDB) -> None:
    orders = query("SELECT count(*) FROM orders; ", "= 3000", name="all orders")
    proof = drilled(orders, query("SELECT name FROM users WHERE id = 1001 -- O'Hara", '= "O\'Hara"'))
    assert [(check["name"], check["kind"]) for check in proof["checks"]] == [("all orders", "sql"), ("sql 2", "sql")]
    assert "orders" not in json.dumps(proof).replace("all orders", "")
    assert scratch_left(mariadb) == []


FAILING = {  # queries, what is expected of each, what is said
    "too few": ("SELECT count(*) FROM empty_one", "> 0", "the query returned 0, and > 0 was expected"),
    "a text": (
        "SELECT name FROM users WHERE id = 1001",
        "= x",
        "returned another text, and = x was expected",
    ),
    "no number": ("SELECT name FROM users WHERE id = 1001", "> 0", "something that is not a number"),
    "rows": ("SELECT id FROM users", "> 0", "several rows"),
    "no row": ("SELECT id FROM empty_one", "> 0", "no row"),
    "null": ("SELECT max(id) FROM empty_one", "> 0", "NULL"),
    "columns": ("SELECT 1, 2", "> 0", "refused the query"),
    "long": ("SELECT repeat('x', 5000)", "> 'a'", "a text of more than 1000 characters"),
    "unknown": ("SELECT count(*) FROM lost", "> 0", "lost' doesn't exist"),
    "statements": ("SELECT 1) SELECT v FROM lifeboat_check; DROP TABLE orders; -- ", "> 0", "refused the query"),
    "call": ("CALL tidy()", "> 0", "refused the query"),
    "function": ("SELECT writes()", "> 0", "READ ONLY"),
    "sequence": ("SELECT NEXTVAL(invoice_numbers)", "> 0", "READ ONLY"),
    "outfile": ("SELECT 1) SELECT 1 INTO OUTFILE '/tmp/lifeboat-check' /*", "> 0", "refused the query"),
    "file": ("SELECT LOAD_FILE('/etc/passwd')", "> 'a'", "NULL"),
    "others": ("SELECT count(*) FROM mysql.user", "> 0", "denied"),
    "hangs": ("SELECT 1 + SLEEP(60)", "= 2", "longer than its 1 s"),
    "quotes": ("SELECT CAST(name AS INT) FROM users WHERE id = 1001 AND EXTRACTVALUE(1, name)", "= 1", "refused"),
}


def test_checks_that_fail_are_a_failed_drill_that_names_them(drilled: Drill, mariadb: MariaDB) -> None:
    drilled()
    limits = {"hangs": 1}
    checks = [
        query(text, expect, name=name, seconds=limits.get(name, 60)) for name, (text, expect, _) in FAILING.items()
    ]
    with pytest.raises(CheckError) as error:
        drilled(query("SELECT 1", name="well"), *checks)
    _, said = error.value.message.split("did not pass: ")
    wrong = {
        name for name, (*_, why) in FAILING.items() if not re.search(rf"(^|; ){name}: [^;]*{re.escape(why)}", said)
    }
    assert not wrong, said
    assert "well" not in said
    assert "O'Hara" not in error.value.message
    assert proofs() == []  # the one that there was is withdrawn
    assert scratch_left(mariadb) == []


def test_a_restore_is_checked_where_the_settings_want_it(project: Configure, archive: Path, mariadb: MariaDB) -> None:
    orders, none = query("SELECT count(*) FROM orders", name="orders"), query("SELECT 0", name="none")
    project(applications={"Shop": SHOP | {"checks": [orders, none]}}, restore={"checks": True})
    with pytest.raises(CheckError, match="1 check of 'looked_at' did not pass: none: the query returned 0"):
        restored(plan(into="looked_at"))
    assert checksums(mariadb, "looked_at") == checksums(mariadb, "shop")
    assert "lifeboat" not in mariadb.run("SHOW TABLES", "looked_at")
    project(applications={"Shop": SHOP | {"checks": [orders]}}, restore={"checks": True})
    made = plan(into="well")
    (done,) = restored(made)
    assert " Checks passed: orders (" in database_text(made.databases[0], done)


APPLICATION = """
import os, pathlib, socket, subprocess, sys
import MySQLdb

def login(settings):
    return MySQLdb.connect(host=settings["DB_HOST"], port=int(settings["DB_PORT"]), user=settings["DB_USERNAME"],
                           passwd=settings["DB_PASSWORD"], db=settings["DB_DATABASE"], connect_timeout=5)

def tries(what):
    try:
        what()
    except Exception as error:
        print(type(error).__name__, error.args[0])
        return 0
    return 1

env = dict(line.split("=", 1) for line in pathlib.Path(".env").read_text().splitlines())
lent = {name: value for name, value in os.environ.items() if name.startswith("DB_")}

def restored():
    return login(env | lent | {"DB_PASSWORD": pathlib.Path(lent["DB_PASSWORD_FILE"]).read_text()})

def writes(connection):
    connection.cursor().execute("DELETE FROM page_views")
    connection.commit()

match sys.argv[1]:
    case "reads":
        cursor = restored().cursor()
        cursor.execute("SELECT count(*) FROM orders")
        sys.exit(cursor.fetchone() != (3000,))
    case "production":  # by its own .env, by the server's socket, in files; and what it is lent reaches no more
        pathlib.Path("cache").write_text("may")
        writes(restored())
        sys.exit(
            tries(lambda: writes(login(env))) + tries(lambda: socket.socket(socket.AF_UNIX).connect(env["DB_SOCKET"]))
            + tries(lambda: pathlib.Path(env["FILE"]).write_text("changed"))
            + tries(lambda: restored().cursor().execute("SELECT * FROM mysql.user"))
            + tries(lambda: pathlib.Path(f"/proc/{env['WORKER']}/environ").read_bytes())
        )
    case "fails":
        print("DB_PASS" + "WORD=" + env["DB_PASSWORD"], "or", env["DB_PASSWORD"], "mysql://me:" + "hunter2" + "@host/")
        print("lent", pathlib.Path(lent["DB_PASSWORD_FILE"]).read_text())
        print("x" * 1_000_000)
        print(sorted(os.environ))
        sys.exit(3)
    case "hangs":
        cursor = restored().cursor()
        cursor.execute("SELECT SLEEP(1000) FROM page_views FOR UPDATE")
    case "leaves":
        subprocess.Popen(["sleep", "4711"], start_new_session=True)
    case "env":
        writes(login(env))
"""
DRILL_ENV = """
DB_HOST=${LIFEBOAT_SHOP_HOST}
DB_PORT=${LIFEBOAT_SHOP_PORT}
DB_DATABASE=${LIFEBOAT_SHOP_NAME}
DB_USERNAME=${LIFEBOAT_SHOP_USER}
DB_PASSWORD=${LIFEBOAT_SHOP_PASSWORD}
""".lstrip()


@pytest.fixture
def scratch_server(mariadb_118: MariaDB118, monkeypatch: pytest.MonkeyPatch) -> MariaDB118:
    """Another server than production's."""
    monkeypatch.setenv("AIRFLOW_CONN_SCRATCH_DB", mariadb_118.connection())
    return mariadb_118


@pytest.fixture
def command(project: Configure, mariadb: MariaDB, scratch_server: MariaDB118, shop: str, root: Path) -> Drill:
    """Drill a backup of an application that knows how to log in to production; return the proof."""
    (root / "app.py").write_text(APPLICATION)
    (root.parent / "drill.env").write_text(DRILL_ENV)
    (root.parent / "production").write_text("production")
    env = {"DB_HOST": mariadb.host, "DB_PORT": mariadb.port, "DB_USERNAME": mariadb.user, "DB_DATABASE": shop}
    env |= {"DB_PASSWORD": mariadb.password, "DB_SOCKET": mariadb.socket}
    env |= {"FILE": root.parent / "production", "WORKER": os.getpid()}
    (root / ".env").write_text("".join(f"{name}={value}\n" for name, value in env.items()))
    files = {"files": {"root": str(root)}}
    project(applications={"Shop": SHOP | files})
    key = back_up("application").packed.key

    def drilled(*names: str, **more: Any) -> dict[str, Any]:
        limits = {"hangs": 5}
        checks = [
            {"name": name, "seconds": limits.get(name, 120), "command": [sys.executable, "app.py", name]} | more
            for name in names
        ]
        project(applications={"Shop": SHOP | files | {"checks": checks}}, drill={"connection": "scratch_db"})
        (place,) = load_site().destinations("Shop", ("disk",))
        made = drill.rehearse(load_site(), "Shop", place, key, "a test", datetime.now(UTC))
        return dict(json.loads(made.to_bytes()))

    return drilled


def test_an_application_that_writes_to_production_does_not_reach_it(
    command: Drill, mariadb: MariaDB, scratch_server: MariaDB, root: Path
) -> None:
    proof = command("reads", "production")
    assert [(check["name"], check["isolated"]) for check in proof["checks"]] == [("reads", True), ("production", True)]
    assert mariadb.run("SELECT count(*) FROM page_views", "shop").strip() == "500"
    assert (root.parent / "production").read_text() == "production"
    assert scratch_left(scratch_server) == []


def test_a_command_that_does_not_pass_is_a_failed_drill_that_names_it(
    command: Drill, scratch_server: MariaDB118, mariadb: MariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckError) as error:
        command("fails", "hangs", "leaves")
    said = error.value.message
    assert "2 checks of Shop" in said
    assert "fails: it ended with status 3; its last lines:" in said
    assert "hangs: it took longer than its 5 s, and was ended" in said
    for secret in (mariadb.password, "hunter2", "AIRFLOW"):
        assert secret not in said + caplog.text
    assert len(said) < 10_000
    assert proofs() == scratch_left(scratch_server) == []
    assert "lifeboat_load_" not in scratch_server.run("SELECT user FROM mysql.user")
    assert not subprocess.run(["pgrep", "-f", "sleep 4711"], capture_output=True, check=False).stdout


def test_without_isolation_the_report_says_so_and_replaced_files_lead_to_the_scratch_server(
    command: Drill, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = sandbox._started

    def refused(ports: int, writable: list[Path], *, isolated: bool) -> Any:
        return started(ports, [Path("/nowhere")] if isolated else writable, isolated=isolated)

    monkeypatch.setattr(sandbox, "_started", refused)
    proof = command("env", files={".env": "drill.env"})
    assert proof["checks"][0]["isolated"] is False
    assert "check env was not isolated from production" in json.dumps(proof["notes"])
    assert mariadb.run("SELECT count(*) FROM page_views", "shop").strip() == "500"


def test_what_cannot_run_is_no_pass_and_no_link_of_the_restored_tree_leads_out(command: Drill, root: Path) -> None:
    with pytest.raises(RestoreError, match="no folder above it may be a link"):
        command("reads", files={"public/.env": "drill.env"})
    assert sorted(path.name for path in (root / "storage/app").iterdir()) == ["invoice.txt", "logo.png"]
    with pytest.raises(RestoreError, match="could not run: /nowhere cannot be run: No such file"):
        command("reads", command=["/nowhere"])
