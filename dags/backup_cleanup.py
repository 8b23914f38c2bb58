"""
### Delete the archives that the policy no longer keeps

Daily at 03:00. For each destination: **evaluate_retention** reads one listing and prints what is kept and what is
deleted, each with its reason; **delete_archives** deletes exactly that, as far as a fresh listing still says so.

**What is never deleted**: the newest archive of a kind; the newest one with a proof; anything at a destination whose
newest archive is too old (the plan says *held*); what is locked; what is not ours.

**By hand**: *Trigger* opens a form: a dry run, one application, one destination. On a worker's shell: `lifeboat plan`
says what would be deleted and why, `lifeboat cleanup` does it.

**When it fails**, one Slack message and one email say which destination and why; the others were cleaned all the same.
What was deleted before the failure had been named by the plan. Failed tasks try again three times by themselves; then:

| failed | usually | what to do |
|---|---|---|
| `evaluate_retention` | destination down, credentials, no right to list | fix it; clear the task |
| `delete_archives` | no right to delete, destination went down | fix it; clear **both** tasks, which plan anew |

**Backfills** are harmless: a plan is always made for now.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.compat import CronTriggerTimetable
from lifeboat.airflow.params import cleanup_params
from lifeboat.airflow.task_groups import cleanup_groups, compose, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_cleanup",
    description="What retention no longer keeps, at every destination",
    schedule=CronTriggerTimetable("0 3 * * *", timezone=settings.timezone),
    doc_md=__doc__,
    **dag_options("cleanup"),
) as dag:
    compose(dag, settings, cleanup_groups, cleanup_params)
