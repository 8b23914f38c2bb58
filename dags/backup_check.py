"""
### Check that the backups are healthy

Daily at 04:00, or as `schedules` says in the settings. For each destination
**check** reads one listing and reports, for every application: the age of the
newest archive of each kind, whether its size is usual, how much is stored, and unfinished uploads. **compare** reports
destinations that lag behind or lack archives of the others, and whether Airflow runs the DAGs that take and watch the
backups. All findings are in the logs; bad ones are the error of the failed task, and so part of the alert.

**Manually**: *Trigger* opens a form: one application, one destination, a deep check (reads the newest archives back and
compares their SHA-256). On a worker's shell: `lifeboat check`.

**Backfills** check the current state.

**When it fails**, one Slack message and one email carry the findings. It is not retried; the next run checks again.

| finding | usually | what to do |
|---|---|---|
| newest archive too old or missing | `backup_database` or `backup_application` failed, or is paused | its last run |
| size unusual | tables or files were lost, or added | look at what changed; `lifeboat verify` |
| too much stored | retention keeps more than the limit | `lifeboat plan`; change `retention` or `health` |
| upload never finished | a worker died | nothing, if the next run succeeded: `backup_cleanup` deletes it |
| a database without backups | somebody created it | name it under `applications`, or `ignore_databases` |
| a database vanished from a whole server | somebody dropped or renamed it | restore it, or name it under `exclude` |
| a destination lags | it was down during the last upload | clear that `upload` task |
| an archive vanished | somebody, or a lifecycle rule, deleted it | the destination's access log; its other copy |
| an archive is missing at one destination | an upload failed and was not repeated | clear that `upload` task |
| disk full within days | archives grow, or the disk is shared | a larger disk; keep less: `lifeboat plan` |
| a DAG is paused, missing or overdue | somebody paused it; its file is gone; a run hangs | Airflow's list of DAGs |
| not reachable | destination down, credentials | fix it; clear the task |
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import check_params
from lifeboat.airflow.task_groups import check_groups, compose, cron_schedule, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_check",
    description="Check that every destination holds what it should",
    schedule=cron_schedule(settings, settings.schedules.check),
    doc_md=documented(__doc__, "check", "compare"),
    **dag_options("check"),
) as dag:
    compose(dag, settings, check_groups, check_params)
