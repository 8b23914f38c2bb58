"""Logs of real servers are shipped without the rows of other schemas, and are still logs that lead to the next dump."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lifeboat.actions import recovery
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.proof import ChainProof
from lifeboat.databases.mysql.logs import find_client
from lifeboat.decide.recovery import Point
from lifeboat.errors import RestoreError
from lifeboat.site import Site

from include.demo.stand_ins import MySQL
from tests.command import answer
from tests.conftest import Configure
from tests.servers.databases import test_mysql_chain_drill
from tests.servers.databases.test_mysql_chain_drill import SHOP, Server, rehearse, ship
from tests.servers.databases.test_mysql_logs import back_up, pieces

started = test_mysql_chain_drill.started
server = test_mysql_chain_drill.server
site = test_mysql_chain_drill.site

FOREIGN, SHARED, PASSWORD = "not-of-the-shop", "of-both", "An0ther-secret"
WORKLOAD = f"""
CREATE TABLE other.people (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT) COMMENT '{FOREIGN}';
CREATE TABLE other.noted (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT);
CREATE TRIGGER other.both AFTER INSERT ON other.noted FOR EACH ROW INSERT INTO shop.orders (note) VALUES (NEW.note);
INSERT INTO other.people (note) VALUES ('{FOREIGN} 1'), ('{FOREIGN} 2');
BEGIN;
INSERT INTO orders (note) VALUES ('own 1');
UPDATE other.people SET note = '{FOREIGN} 3';
INSERT INTO orders (note) VALUES ('own 2');
COMMIT;
INSERT INTO other.noted (note) VALUES ('{SHARED}');
CREATE USER sieved IDENTIFIED BY '{PASSWORD}';
USE other;
CREATE TABLE copied AS SELECT * FROM people;
TRUNCATE TABLE people;
INSERT INTO shop.orders (note) VALUES ('own 3');
DROP TABLE copied, people, noted;
DROP USER sieved;
"""


def written(server: Server, content: bytes, folder: Path) -> str:
    """Return what the stock client makes of a piece of a log, its rows as comments."""
    log = folder / "log.000001"
    log.write_bytes(content)
    client = find_client(for_mariadb=not isinstance(server, MySQL))
    command = [client.path, "--no-defaults", "--verify-binlog-checksum", "--verbose", str(log)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_rows_of_other_schemas_are_left_out_and_the_rest_leads_to_the_next_backup(
    server: Server, site: Site, tmp_path: Path
) -> None:
    back_up(site)
    ship(site)
    server.run(WORKLOAD, "shop")
    back_up(site)
    ((piece, content),) = pieces(site, ship(site))
    assert not {text for text in (FOREIGN, PASSWORD, "IDENTIFIED", "sieved") if text.encode() in content}
    assert all(text.encode() in content for text in ("own 1", "own 2", "own 3"))
    assert content.count(SHARED.encode()) in (2, 3)  # rows of both, and the statement's text where it is logged
    head = {"mysql": 127, "mariadb": 256}[piece.server.family]
    assert piece.left_out.bytes == piece.end - piece.start - (len(content) - head)
    assert piece.left_out.events >= 12
    assert piece.untold.events == 2  # the row of `noted`, and the trigger that names the shop
    text = written(server, content, tmp_path)
    assert (text.count("INSERT INTO `shop`.`orders`"), text.count("`people`")) == (4, 0)
    (window,) = answer("list", "--json")["log_windows"]
    assert (window["left_out_bytes"], window["untold_bytes"]) == (piece.left_out.bytes, piece.untold.bytes)
    proof = rehearse(site)
    assert isinstance(proof, ChainProof), proof
    assert proof.transactions >= 3


def test_logs_lead_to_no_moment_of_a_database_that_was_added_later(
    server: Server, site: Site, project: Configure
) -> None:
    server.run("DROP DATABASE IF EXISTS later; CREATE DATABASE later; CREATE TABLE later.t (id INT PRIMARY KEY)")
    databases = [*SHOP["databases"], {"name": "later", "connection": "logged_db"}]
    project(applications={"Shop": SHOP | {"databases": databases, "logs": True}}, drill={"production": True})
    both = load_site()
    back_up(both)
    ship(both)
    server.run("INSERT INTO later.t VALUES (1)")
    ship(site)  # with settings that do not name it
    back_up(both)
    ship(both)
    assert "leaves out the changes of later" in str(rehearse(both))
    (disk,) = both.destinations("Shop", ("disk",))
    found = {disk: catalog.read(disk.list())}
    with pytest.raises(RestoreError, match="leaves out the changes of later"):
        recovery.find(both, "Shop", ["shop", "later"], Point(), found)
    assert recovery.find(both, "Shop", ["shop"], Point(), found)
