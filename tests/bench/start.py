"""The start of a command, which is most of a short one, beside that of Python and of Airflow."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

from tests.bench.contest import PASSWORD, Report, console, least_cpu
from tests.conftest import disk_destination

RUNS = 3
COMMANDS = ("--version", "--help", "backup database", "list", "check", "show Shop", "verify", "drill")
PYTHON = {"`python -c pass`": "pass", "importing Airflow": "import airflow.sdk"}


def site(scratch: Path) -> dict[str, str]:
    """Make an application of one small database at one disk; return the variables that say so."""
    with sqlite3.connect(scratch / "shop.db") as database:
        database.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1);")
    database.close()
    disk_destination("disk", scratch / "disk")
    settings = {
        "staging": str(scratch / "staging"),
        "encryption": {"connection": "archive"},
        "destinations": {"disk": {"type": "disk", "path": str(scratch / "disk")}},
        "applications": {"Shop": {"databases": [{"name": "shop", "engine": "sqlite", "connection": "db"}]}},
    }
    (scratch / "backup.yaml").write_text(json.dumps(settings))
    return {
        "LIFEBOAT_CONFIG": str(scratch / "backup.yaml"),
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW_CONN_ARCHIVE": json.dumps({"conn_type": "generic", "password": PASSWORD}),
        "AIRFLOW_CONN_DB": json.dumps({"conn_type": "sqlite", "host": str(scratch / "shop.db")}),
    }


def main(scratch: Path) -> Report:
    """Time each command."""
    variables = site(scratch)
    program = str(Path(sys.executable).parent / "lifeboat")
    report = Report()
    for name, script in PYTHON.items():
        report.short[name] = least_cpu([sys.executable, "-c", script], variables, RUNS)
    for command in COMMANDS:
        console.print(f"Starting lifeboat {command}")
        report.short[f"`lifeboat {command}`"] = least_cpu([program, *command.split()], variables, RUNS)
    return report
