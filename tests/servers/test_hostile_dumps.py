"""A hostile dump in an archive whose password somebody has: found by a drill and by a restore, and harmless to both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow.site import load_site

from include.demo.stand_ins import MariaDB, MySQL, SlackSink
from tests.airflow.test_dags import LoadDag, load_dag, run
from tests.conftest import Configure
from tests.servers.test_restore import repack

__all__ = ["load_dag"]

pytestmark = pytest.mark.timeout(600)

COPY = "shop_forged"
DUMP = "db-dumps/mysql-shop.sql"
SCHEMA = """CREATE TABLE orders (id INT PRIMARY KEY, total INT);
INSERT INTO orders VALUES (1, 10), (2, 20);
"""
# By the rows of the threat model: each is put in front of the dump's last line.
HOSTILE = {
    "placeholder that drops another table": b"/*!50001 DROP TABLE IF EXISTS `x`, `victim`.`t`*/;\n",
    "procedure in another schema": b"DELIMITER ;;\nCREATE PROCEDURE `victim`/**/.`p`() SELECT 1 ;;\nDELIMITER ;\n",
    "table that reads another": b"CREATE TABLE `x` (`a` int) AS SELECT * FROM victim.t;\n",
    "row that reads another": b"INSERT INTO `orders` VALUES (3,(SELECT a FROM victim.t LIMIT 1));\n",
}


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MariaDB | MySQL]:
    found: MariaDB | MySQL = request.getfixturevalue(request.param)
    if found.path:
        monkeypatch.setenv("PATH", str(found.path), prepend=":")
    found.run("DROP DATABASE IF EXISTS victim; CREATE DATABASE victim; CREATE TABLE victim.t (a INT)")
    found.run("INSERT INTO victim.t VALUES (1); DROP DATABASE IF EXISTS shop; CREATE DATABASE shop")
    found.run(SCHEMA, "shop")
    yield found
    found.run(f"DROP DATABASE IF EXISTS {COPY}; DROP DATABASE shop; DROP DATABASE victim")


def state_of(server: MariaDB | MySQL) -> str:
    """Return what a hostile dump would change: all schemas, the victim's objects, and what production holds."""
    return server.run(
        f"SELECT schema_name FROM information_schema.schemata WHERE schema_name <> '{COPY}' ORDER BY 1;"
        " SHOW TABLES FROM victim; SELECT * FROM victim.t; SELECT * FROM shop.orders;"
        " SELECT routine_schema, routine_name FROM information_schema.routines WHERE routine_schema = 'victim'"
    )


def forge(tmp_path: Path, key: str, statement: bytes) -> None:
    """Put a statement into the dump of an archive, at the disk and at the bucket."""

    def change(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
        text, trailer, last = contents[DUMP].rpartition(b"-- Dump completed")
        contents[DUMP] = text + statement + trailer + last

    path = tmp_path / "disk" / key
    repack(path, change)
    (_, offsite) = load_site().destinations("Shop")
    for name in (key, f"{key}.json"):
        offsite.delete(name)
        offsite.write(name, (tmp_path / "disk" / name).read_bytes())


@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE)
def test_a_drill_and_a_restore_find_it_and_nothing_is_touched(
    server: MariaDB | MySQL,
    statement: bytes,
    project: Configure,
    load_dag: LoadDag,
    slack: SlackSink,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", server.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    project(alerts={"slack": {"connection": "slack"}}, drill={"production": True})
    assert run(load_dag()).state == "success"
    (marker,) = (tmp_path / "disk").rglob("*.zip.json")
    key = str(marker.relative_to(tmp_path / "disk")).removesuffix(".json")
    forge(tmp_path, key, statement)
    before = state_of(server)
    drilled = run(load_dag("restore_drill"))
    restored = run(load_dag("restore_database"), application="Shop", archive=key, into=COPY)
    assert (drilled.state, restored.state) == ("failed", "failed")
    assert state_of(server) == before
    assert len(slack.messages()) == 2
    for done, task in ((drilled, "Shop.drill"), (restored, "restore")):
        step = next(instance for instance in done.get_task_instances() if instance.task_id == task)
        reason = step.xcom_pull(task_ids=task, key="failure", map_indexes=step.map_index)["reason"]
        assert "which may reach beyond its schema" in reason
        assert key in reason
