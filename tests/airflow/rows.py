"""DAGs that end in every way in which a run can end, with the options that all of Lifeboat's DAGs have."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Context, TaskGroup
from lifeboat.airflow.operators.base import LifeboatOperator
from lifeboat.airflow.task_groups import dag_options
from lifeboat.errors import DumpError


class Row(LifeboatOperator):
    """Ends in a certain way.

    :param how: the way.
    """

    template_fields = ("how",)

    def __init__(self, *, how: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how = how

    def step(self, context: Context) -> None:
        """End."""
        match self.how:
            case "error":
                raise DumpError("the <b>server</b> & its password canary-secret-5 went away")
            case "once" if context["ti"].try_number == 1:
                raise DumpError("only once")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "lost":
                os.kill(os.getppid(), signal.SIGKILL)  # the task's supervisor: nobody reports for it any more
                time.sleep(600)
            case "hangs":
                time.sleep(600)


ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "row_error": ("error", {}, {}),
    "row_killed": ("killed", {}, {}),
    "row_lost": ("lost", {}, {}),
    "row_too_long": ("hangs", {"execution_timeout": timedelta(seconds=3)}, {}),
    "row_run_too_long": ("hangs", {}, {"dagrun_timeout": timedelta(seconds=10)}),
    "row_marked": ("hangs", {}, {}),
    "row_once": ("once", {"retries": 1, "retry_delay": timedelta(seconds=1)}, {}),
    "row_good": ("well", {}, {}),
}

for dag_id, (how, task, dag) in ROWS.items():
    with DAG(dag_id=dag_id, schedule=None, **dag_options("row") | dag) as made, TaskGroup(group_id="Shop"):
        Row(task_id="end", how=how, **{"retries": 0} | task)
    globals()[dag_id] = made

with DAG(dag_id="row_mapped", schedule=None, **dag_options("row")), TaskGroup(group_id="Shop"):
    Row.partial(task_id="end", retries=0).expand(how=["error"] * 3)
