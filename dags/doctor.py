"""
### Try the whole installation

By hand only, after installing and after changes: **look** tries, from the worker that runs it, what backups and
restores will need: the settings, every connection, the grants for dumps, restores and drills, versions of clients and
servers, clocks, staging, each destination (a small object is stored, read and deleted), and the alert channels (a test
message is sent). Definitions are dumped to nowhere; no row is read. The *Backups* page has a button for it; on a
worker's shell: `lifeboat doctor`.

The log of **look** is the table: `well`, `warning` (backups run, and something about them may surprise) or `broken`,
with what to do. It shows one worker: others may have other clients, disks and networks.

**When it fails**, something is broken, and the reason names each thing. What to do: what stands behind *To do*, then
trigger it again; it does not try again by itself.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from lifeboat.airflow.operators.doctor import DoctorOperator
from lifeboat.airflow.task_groups import dag_options

with DAG(
    dag_id="doctor",
    description="Everything that backups and restores need, tried from a worker",
    schedule=None,
    doc_md=__doc__,
    **dag_options("check"),
):
    DoctorOperator(task_id="look", retries=0, execution_timeout=timedelta(minutes=30))
