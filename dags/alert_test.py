"""
### Send a test alert

Manual only: **send** sends one message through every channel that the settings name under `alerts`. The *Backups* page
has a button for it; on a worker's shell: `lifeboat alert-test`.

**When it fails**, the reason names the channel, and the channels that work report the failure. It is not retried.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.operators.alert import SendTestAlertOperator
from lifeboat.airflow.task_groups import dag_options

with DAG(
    dag_id="alert_test",
    description="Send a test message through every alert channel",
    schedule=None,
    doc_md=documented(__doc__, "send"),
    **dag_options("alerts"),
):
    SendTestAlertOperator(task_id="send", retries=0, execution_timeout=timedelta(minutes=5))
