"""Modules that Airflow's processes in tests import before they fork, so that no task has to import them again.

Airflow imports a module of this name wherever it is in PYTHONPATH.
"""

import importlib

for _name in (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.mysql.hooks.mysql",
    "lifeboat.actions.drill",
    "lifeboat.airflow.connections",
    "lifeboat.airflow.failures",
    "lifeboat.airflow.params",
    "lifeboat.airflow.task_groups",
    "lifeboat.databases.mysql.engine",
):
    importlib.import_module(_name)
