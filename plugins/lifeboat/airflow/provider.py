"""The entry of an installed package in Airflow's list of providers."""

from __future__ import annotations

from typing import Any

DESCRIPTION = (
    "Backups of MySQL, MariaDB, PostgreSQL, SQLite and files that prove they can be restored. "
    "Connections: types mysql, postgres and sqlite for databases, aws for buckets, slackwebhook and smtp for alerts; "
    "the password of one of any type encrypts archives. "
    "`Documentation <https://github.com/OWNER/airflow-lifeboat/tree/main/docs>`__"
)


def get_provider_info() -> dict[str, Any]:
    """Return the information for the entry point ``apache_airflow_provider``."""
    return {"package-name": "airflow-lifeboat", "name": "Lifeboat", "description": DESCRIPTION}
