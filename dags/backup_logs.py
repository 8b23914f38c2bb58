"""
### Ship the binary logs of MySQL and MariaDB

Every 5 minutes, or as often as `logs` says in the settings. For each application that asks for it, **ship** fetches
what its servers wrote to their binary logs since the last time, and publishes it at every destination as a small
encrypted archive. With the newest database archive, these logs reach any moment since it: docs/POINT_IN_TIME.md shows
how.

Nothing is kept in Airflow: the newest archive of logs says where to continue. After an outage the next run catches up,
as far as the server still has its logs. Until the first database backup with a position in the log, tasks are skipped.

**Manually**: *Trigger* opens a form: one application. On a worker's shell: `lifeboat backup logs`.

**When it fails**, one Slack message and one email say why. What may pass by itself, such as a server that is down, is
reported once, after `health.log_max_minutes`; later runs are skipped until logs are shipped again, which one message
tells.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.alerts import ShippingReport
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import logs_params
from lifeboat.airflow.task_groups import compose, dag_options, logs_schedule, logs_task
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_logs",
    description="Ship binary logs of MySQL and MariaDB to every destination",
    schedule=logs_schedule(settings),
    doc_md=documented(__doc__, "ship"),
    **dag_options("backup", "logs", notice=ShippingReport()),
) as dag:
    compose(dag, settings, logs_task, logs_params)
