"""
### Send a test alert

By hand only: **send** puts one message through every channel that the settings name under `alerts`. The *Backups* page
has a button for it; on a worker's shell: `lifeboat alert-test`.

**When it fails**, the reason names the channel, and whichever channel works tells of that, too. What to do: fix the
connection, or wake whoever should answer there, then trigger it anew; it does not try again by itself.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from lifeboat.airflow.operators.alert import SendTestAlertOperator
from lifeboat.airflow.task_groups import dag_options

with DAG(
    dag_id="alert_test",
    description="A test message through every channel of alerts",
    schedule=None,
    doc_md=__doc__,
    **dag_options("alerts"),
):
    SendTestAlertOperator(task_id="send", retries=0, execution_timeout=timedelta(minutes=5))
