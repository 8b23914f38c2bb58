"""Airflow's own database as a real schema with data: backed up, proven, lost and restored, as docs/RECOVERY.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.conftest import Configure
from tests.matrix.conftest import drop
from tests.matrix.pairs import over
from tests.matrix.subjects import FURTHER_MYSQL, ORDINARY, InMySQL, InPostgreSQL, Pair, Subject
from tests.servers.test_runbook import blocks, follow, runbook_variables

NAME = "airflow"
LOGIN = "airflow:pw"
DAG = """
from datetime import datetime
from airflow.sdk import DAG, task

with DAG("nightly", schedule=None, start_date=datetime(2026, 1, 1)):
    @task
    def count():
        return {"rows": 7}
    count()
"""
# What a real one holds: secrets, under the Fernet key, and a run with its task's result.
FILL = """
import enum
from MySQLdb.connections import Connection as Driver
from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models import Connection, Variable
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session

# Airflow 3.3 hands over members of enumerations, and mysqlclient 2.3 writes their names instead of their values.
literal = Driver.literal
Driver.literal = lambda self, value: literal(self, value.value if isinstance(value, enum.Enum) else value)

with create_session() as session:
    session.add(Connection("shop", conn_type="http", password="s3cret; 'of' ñ 🦊", extra='{"a": "b"}'))
    session.merge(DagBundleModel(name="testing"))
Variable.set("api_key", "encrypted, too")
bag = DagBag(dag_folder=conf.get("core", "dags_folder"), bundle_name="testing")
sync_bag_to_db(bag, "testing", None)
assert bag.get_dag("nightly").test().state == "success"
"""
READ = """
from airflow.models import Connection, DagRun, Variable
from airflow.utils.session import create_session
from sqlalchemy import select

with create_session() as session:
    (shop,) = session.scalars(select(Connection).where(Connection.conn_id == "shop"))
    (run,) = session.scalars(select(DagRun).where(DagRun.dag_id == "nightly"))
    assert shop.password == "s3cret; 'of' ñ 🦊"
    assert run.state == "success"
assert Variable.get("api_key") == "encrypted, too"
"""

FURTHER = (ORDINARY[1], FURTHER_MYSQL[2], Pair("postgresql_17"), Pair("postgresql_18"))

pytestmark = [over(ORDINARY[:1], FURTHER), pytest.mark.timeout(900)]


def python(script: str, variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def make_database(subject: InMySQL | InPostgreSQL) -> str:
    """Make the database and who owns it; return how its address begins."""
    if isinstance(subject, InPostgreSQL):
        subject.server.run("CREATE ROLE airflow LOGIN PASSWORD 'pw'; CREATE DATABASE airflow OWNER airflow")
        subject.server.run(f"GRANT airflow TO {subject.server.user}")
        return "postgresql+psycopg2"
    subject.server.run(
        f"CREATE DATABASE {NAME} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;"
        f"CREATE USER airflow@'%' IDENTIFIED BY 'pw'; GRANT ALL ON {NAME}.* TO airflow@'%'"
    )
    return "mysql+mysqldb"


@pytest.fixture
def airflow(subject: InMySQL | InPostgreSQL, tmp_path: Path, project: Configure) -> Iterator[dict[str, str]]:
    """The variables of an Airflow whose database is on the server, and filled."""
    scheme = make_database(subject)
    server = subject.server
    variables = runbook_variables(tmp_path) | {
        "DB": NAME,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"{scheme}://{LOGIN}@{server.host}:{server.port}/{NAME}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "home" / "dags"),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW_CONN_AIRFLOW_DB": server.connection(),
    }
    project(
        destinations={"disk": {"type": "disk", "path": variables["ARCHIVES"]}},
        applications={"Airflow": {"databases": [{"name": NAME, "engine": subject.engine, "connection": "airflow_db"}]}},
        drill={"production": True},
    )
    folder = tmp_path / "home" / "dags"
    folder.mkdir(parents=True)
    (folder / "nightly.py").write_text(DAG, encoding="utf-8")
    follow("airflow db migrate", variables)
    python(FILL, variables)
    yield variables
    if isinstance(subject, InMySQL):
        subject.server.run("DROP USER airflow@'%'")
    else:
        for name in subject.databases():  # what the restore replaced is kept
            drop(subject, name)
        subject.server.run("DROP ROLE airflow")


def test_airflow_comes_back_with_its_secrets_and_its_history(subject: Subject, airflow: dict[str, str]) -> None:
    subject.run("UPDATE task_instance SET duration = 1.5", NAME)  # a FLOAT, of which dumps keep six digits
    before = subject.fingerprint(NAME)
    secure, restore = [commands for tag, commands in blocks() if tag == "airflow"]
    follow(secure, airflow)
    subject.run("DELETE FROM connection; DELETE FROM variable", NAME)
    follow(restore, airflow)
    now = subject.fingerprint(NAME)
    differing = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    assert differing <= {"rows of log", "public.log", "sequences"}, "to which Airflow's commands add themselves"
    python(READ, airflow)
