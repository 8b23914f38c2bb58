"""Restores to a moment, end to end: real servers, their own logs, shipped and replayed by the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import recovery, restore, survey
from lifeboat.actions.recovery import Piece
from lifeboat.airflow.site import load_site
from lifeboat.databases.mysql.dump import UNFINISHED
from lifeboat.decide.restore_plan import RestoreRequest
from lifeboat.site import Site
from lifeboat.support.progress import Progress

from include.demo.stand_ins import MySQL
from tests.command import answer, lifeboat
from tests.conftest import Configure
from tests.crash import die, killed
from tests.servers.databases.test_mysql_grants import statements
from tests.servers.databases.test_mysql_logs import (  # noqa: F401  # fixtures
    Server,
    back_up,
    reset,
    server,
    ship,
    site,
    started,
    wait_for_next_second,
    write,
)

HISTORY = {
    "rows": "INSERT INTO orders (note) VALUES ('a'), ('b'), ('c')",
    "changed": "ALTER TABLE orders ADD price INT DEFAULT 7; UPDATE orders SET price = id WHERE id > 1",
    "made": "CREATE TABLE further (id INT PRIMARY KEY, text TEXT); INSERT INTO further VALUES (1, 'one'), (2, 'two')",
    "emptied": "DELETE FROM orders; DROP TABLE further",
}


@pytest.fixture(autouse=True)
def no_copies(server: Server) -> Iterator[None]:  # noqa: F811
    """Drop what restores made."""
    yield
    for name in server.run("SHOW DATABASES").splitlines():
        if name.startswith(("shop_", "other")):
            server.run(f"DROP DATABASE `{name}`")


def now(server: Server) -> str:  # noqa: F811
    return server.run("SELECT UTC_TIMESTAMP()").strip().replace(" ", "T") + "Z"


def gtid(server: Server) -> str:  # noqa: F811
    """Return the GTID of the last transaction."""
    if isinstance(server, MySQL):
        source, _, numbers = server.run("SELECT @@gtid_executed").replace("\\n", "").strip().rpartition(":")
        return f"{source.rpartition(',')[2]}:{numbers.rpartition('-')[2]}"
    return server.run("SELECT @@gtid_binlog_pos").strip()


def state(server: Server, schema: str = "shop") -> str:  # noqa: F811
    """Return what a database holds: its tables, their definitions and their checksums."""
    tables = server.run("SHOW TABLES", schema).split()
    made = [server.run(f"SHOW CREATE TABLE {table}; CHECKSUM TABLE {table}", schema) for table in tables]
    return re.sub(r" AUTO_INCREMENT=\d+", "", "".join(made)).replace(f"{schema}.", "")


def restored(*arguments: str) -> dict[str, Any]:
    """Restore to a moment by the command; return the facts of the one database."""
    report = answer("restore", "database", "Shop", *arguments)
    (database,) = report["databases"]
    return dict(database)


@pytest.fixture
def history(server: Server, site: Site) -> dict[str, tuple[str, str, str]]:  # noqa: F811
    """A backup and its logs; return what the database held after each step, its time, and its last GTID."""
    back_up(site)
    held = {}
    for name, sql in HISTORY.items():
        server.run(sql, "shop")
        wait_for_next_second(server)
        held[name] = (state(server), now(server), gtid(server))
        wait_for_next_second(server)
        ship(site)
    write(server)  # what is later
    wait_for_next_second(server)
    ship(site)
    return held


def test_every_moment_comes_back_by_its_time_or_by_its_gtid(
    server: Server,  # noqa: F811
    history: dict[str, tuple[str, str, str]],
) -> None:
    original = state(server)
    for number, (held, time, last) in enumerate(history.values()):
        until = time if number % 2 else last
        done = restored("--until", until, "--into", f"shop_{number}")
        assert state(server, done["schema"]) == held, (until, done)
        assert done["replayed"]["last_gtid"] == last
        assert done["compared"] == 1
    assert state(server) == original


def test_the_transaction_that_did_the_harm_is_left_out(
    server: Server,  # noqa: F811
    history: dict[str, tuple[str, str, str]],
) -> None:
    held, _, _ = history["made"]
    listed = answer("logs", "Shop")["transactions"]
    harm = next(
        each for each in listed if each["changes"].get("shop.orders", {}).get("delete_events") or is_deletion(each)
    )
    done = restored("--until", f"before:{harm['gtid']}")
    assert state(server, done["schema"]) == held
    assert listed[0]["statement"]
    assert [each["gtid"] for each in answer("logs", "Shop", "--table", "further")["transactions"]]


def is_deletion(transaction: dict[str, Any]) -> bool:
    """Return whether it is one that is logged as a statement."""
    return str(transaction["statement"]).startswith("DELETE")


def test_the_end_of_the_logs_is_the_latest_moment(server: Server, site: Site) -> None:  # noqa: F811
    back_up(site)
    write(server, 3)
    ship(site)
    held = state(server)
    done = lifeboat("restore", "database", "Shop", "--until", "latest", "--into", "shop_latest")
    assert done.returncode == 0, done.stderr
    assert state(server, "shop_latest") == held
    assert re.search(r"3 transactions replayed in .*, the last one committed at 20.* \(GTID .*\)", done.stdout)
    assert re.search(r"^Replayed onto it, up to the end of the logs: 1 archive", done.stdout, re.MULTILINE)


def test_a_restore_in_place_keeps_a_safety_backup_and_asks_for_a_new_one(server: Server, site: Site) -> None:  # noqa: F811
    back_up(site)
    write(server, 2)
    held, until = state(server), gtid(server)
    server.run("DELETE FROM orders", "shop")
    ship(site)
    wait_for_next_second(server)
    report = answer("restore", "database", "Shop", "--until", until, "--overwrite", "shop")
    assert state(server) == held
    assert report["safety_backup"].startswith("Shop/database/")
    advice = "back shop up now, by 'lifeboat backup database Shop'"
    assert any(advice in warning for warning in report["databases"][0]["warnings"])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        pytest.param(
            ["--until", "yesterday"], 2, "'yesterday' is no moment. Hint: Say 'latest', a time", id="no-moment"
        ),
        pytest.param(
            ["--until", "2020-01-01"], 1, "2020-01-01 00:00:00 UTC .*: the first moment that can be is", id="early"
        ),
        pytest.param(["--until", "2099-01-01"], 1, "cannot be reached at .*: the last moment before it", id="late"),
        pytest.param(["--until", "9-9-9"], 1, "No logs at .* lead to transaction 9-9-9: every moment", id="unknown"),
        pytest.param(["--until", "latest", "--table", "orders"], 2, "A single table is not restored", id="table"),
        pytest.param(
            ["--until", "latest", "--archive", "2026-01-01"], 2, "The moment says which archive", id="archive"
        ),
    ],
)
def test_a_moment_that_cannot_be_is_refused_in_a_sentence(
    server: Server,  # noqa: F811
    site: Site,  # noqa: F811
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    back_up(site)
    write(server)
    ship(site)
    before = server.run("SHOW DATABASES")
    done = lifeboat("restore", "database", "Shop", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert server.run("SHOW DATABASES") == before


def test_the_grants_of_the_pages_are_enough_and_less_is_refused(
    server: Server,  # noqa: F811
    project: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = "MySQL" if isinstance(server, MySQL) else "MariaDB"
    server.run("DROP USER IF EXISTS lifeboat_restore")
    server.run(statements("restores", family))
    login = {"login": "lifeboat_restore", "password": "pw"}
    monkeypatch.setenv("AIRFLOW_CONN_RESTORER", json.dumps(json.loads(server.connection()) | login))
    shop = {"name": "shop", "connection": "logged_db", "restore_connection": "restorer"}
    project(applications={"Shop": {"databases": [shop], "logs": True, "destinations": ["disk"]}})
    own = load_site()
    back_up(own)
    write(server)
    ship(own)
    refused = lifeboat("restore", "database", "Shop", "--until", "latest", "--into", "shop_granted")
    assert refused.returncode == 1
    assert "The restore connection may not let an account replay binary logs" in refused.stderr
    assert "ON *.* TO `lifeboat_restore`@`%` WITH GRANT OPTION." in refused.stderr
    assert "shop_granted" not in server.run("SHOW DATABASES")
    server.run(statements("restores to a moment", family))
    done = restored("--until", "latest", "--into", "shop_granted")
    assert done["replayed"]["transactions"] == 1
    assert state(server, "shop_granted") == state(server)
    server.run("DROP USER lifeboat_restore")


def test_a_backup_without_logs_behind_it_is_no_way_to_the_latest_moment(server: Server, site: Site) -> None:  # noqa: F811
    back_up(site)
    ship(site)
    write(server)
    wait_for_next_second(server)
    back_up(site)
    done = lifeboat("restore", "database", "Shop", "--until", "latest")
    assert done.returncode == 1
    assert "are there yet: 'lifeboat backup logs' ships" in done.stderr


def test_a_restore_that_dies_amid_the_replay_stays_unfinished_and_can_be_repeated(
    server: Server,  # noqa: F811
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    back_up(site)
    for _ in range(2):
        write(server, 3)
        ship(site)
    plan = restore.select(site, RestoreRequest("Shop", until="latest", into="shop_killed"), site.now())
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_counted", dying_at_the_second)
        killed(lambda: restore.restore_database(site, plan, plan.databases[0]))
    assert UNFINISHED in server.run("SHOW TABLES", "shop_killed")
    again = restored("--until", "latest", "--into", "shop_killed")
    assert again["replayed"]["transactions"] == 6
    assert state(server, "shop_killed") == state(server)


def test_a_gap_is_shown_and_no_moment_in_it_is_reached(server: Server, site: Site) -> None:  # noqa: F811
    back_up(site)
    write(server)
    ship(site)
    wait_for_next_second(server)
    reset(server)
    wait_for_next_second(server)
    within = now(server)
    wait_for_next_second(server)
    ship(site)
    wait_for_next_second(server)
    back_up(site)
    write(server)
    wait_for_next_second(server)
    ship(site)
    found = survey.examine(site.destination("disk"), site)
    (older,), newer = found.earlier["Shop"], found.windows["Shop"]
    assert older.first
    assert newer.first
    assert older.first.captured_at < older.until < newer.first.captured_at < newer.until
    refused = lifeboat("restore", "database", "Shop", "--until", within)
    assert "the last moment before it that can be is" in refused.stderr
    assert "and the first one after it is" in refused.stderr


@pytest.mark.matrix
@pytest.mark.parametrize("started", [pytest.param("mysql", marks=pytest.mark.needs("mysql"))], indirect=True)
def test_what_a_server_was_given_without_a_log_is_no_gap(server: Server, site: Site) -> None:  # noqa: F811
    given = "01234567-89ab-cdef-0123-456789abcdef:1-5"
    reset(server)
    server.run(f"SET GLOBAL gtid_purged = '+{given}'")
    back_up(site)
    write(server, 2)
    ship(site)
    server.run("FLUSH LOGS; FLUSH LOGS")
    newest = server.run("SHOW BINARY LOGS").splitlines()[-1].split("\t")[0]
    server.run(f"PURGE BINARY LOGS TO '{newest}'")
    write(server)
    assert ship(site).new_chain == ""
    done = restored("--until", "latest", "--into", "shop_given")
    assert done["replayed"]["transactions"] == 3
    assert state(server, "shop_given") == state(server)


def dying_at_the_second(found: Iterable[Piece], _: Progress) -> Iterator[Piece]:
    for number, piece in enumerate(found):
        if number:
            die()
        yield piece


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def lie(path: Path) -> None:
    """Let the marker of an archive say that it reaches further."""
    marker = path.with_name(f"{path.name}.json")
    marker.write_text(marker.read_text().replace('"until": "20', '"until": "21'))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(flip, "is damaged|differs|wrong", id="damaged"),
        pytest.param(lie, "covers differ", id="forged-marker"),
    ],
)
def test_logs_are_verified_before_anything_changes(
    server: Server,  # noqa: F811
    site: Site,  # noqa: F811
    tmp_path: Path,
    harm: Callable[[Path], None],
    said: str,
) -> None:
    back_up(site)
    write(server)
    (key,) = ship(site).keys
    harm(tmp_path / "disk" / key)
    arguments = ("restore", "database", "Shop", "--until", "latest", "--into", "shop_copy")
    done = lifeboat(*arguments, "--destination", "disk")
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert "shop_copy" not in server.run("SHOW DATABASES")
    assert lifeboat(*arguments, "--destination", "offsite").returncode == 0
    assert state(server, "shop_copy") == state(server)
