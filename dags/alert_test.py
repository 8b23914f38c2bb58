"""
### Send a test alert

Manual only: **send** sends one message through every channel that the settings name under `alerts`. The *Backups* page
has a button for it; on a worker's shell: `lifeboat alert-test`.

**When it fails**, the reason names the channel, and the channels that work report the failure. What to do: fix the
connection or the service behind it, then trigger the DAG again; it does not retry by itself.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from lifeboat.airflow.operators.alert import SendTestAlertOperator
from lifeboat.airflow.task_groups import dag_options

with DAG(
    dag_id="alert_test",
    description="Send a test message through every alert channel",
    schedule=None,
    doc_md=__doc__,
    **dag_options("alerts"),
):
    SendTestAlertOperator(task_id="send", retries=0, execution_timeout=timedelta(minutes=5))
