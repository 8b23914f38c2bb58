"""
### Check the whole installation

Manual only, after installing and after changes: **look** tests, from the worker that runs it, what backups and
restores need: the settings, every connection, the grants for dumps, restores and drills, versions of clients and
servers, clocks, staging, each destination (a small object is stored, read and deleted), and the alert channels (a test
message is sent). Definitions are dumped and discarded; no rows are read. The *Backups* page has a button for it; on a
worker's shell: `lifeboat doctor`.

The log of **look** lists each check as `well`, `warning` (backups run, but not quite as expected) or `broken`, with
what to do. It covers one worker: others may have other clients, disks and networks.

**When it fails**, something is broken, and the reason names each problem. It is not retried.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.operators.doctor import DoctorOperator
from lifeboat.airflow.task_groups import dag_options

with DAG(
    dag_id="doctor",
    description="Check everything that backups and restores need, from a worker",
    schedule=None,
    doc_md=documented(__doc__, "look"),
    **dag_options("check"),
):
    DoctorOperator(task_id="look", retries=0, execution_timeout=timedelta(minutes=30))
