"""Modules that Airflow's processes in tests import before they fork, so that no task has to import them again.

Airflow imports a module of this name wherever it is in PYTHONPATH, in every process: also in those that fork none.
"""

import importlib
import sys

if {"scheduler", "dag-processor"} & set(sys.argv):
    for _name in (
        "shared_loader",
        "airflow.providers.amazon.aws.hooks.s3",
        "airflow.providers.mysql.hooks.mysql",
        "airflow.sdk.execution_time.supervisor",
        "lifeboat.actions.drill",
        "lifeboat.airflow.connections",
        "lifeboat.airflow.failures",
        "lifeboat.airflow.params",
        "lifeboat.airflow.task_groups",
        "lifeboat.databases.mysql.engine",
    ):
        importlib.import_module(_name)
