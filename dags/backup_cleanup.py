"""
### Delete the archives that the policy no longer keeps

Daily at 03:00, or as `schedules` says in the settings. For each destination,
**evaluate_retention** reads one listing and prints which archives are kept and
deleted, each with its reason; **delete_archives** deletes those that a fresh listing confirms.

**What is never deleted**: the newest archive of a kind; the newest one with a proof; anything at a destination whose
newest archive is too old (the plan says *held*); locked archives; objects that are not Lifeboat's.

**Manually**: *Trigger* opens a form: a dry run, one application, one destination. On a worker's shell: `lifeboat plan`
says what would be deleted and why, `lifeboat cleanup` does it.

**Backfills** are harmless: plans are always made for the current time.

**When it fails**, one Slack message and one email say which destination and why; the other destinations are cleaned
anyway. Everything deleted before the failure is listed in the plan. Failed tasks are retried three times; then:
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import cleanup_params
from lifeboat.airflow.task_groups import cleanup_groups, compose, cron_schedule, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_cleanup",
    description="Delete the archives that retention no longer keeps, at every destination",
    schedule=cron_schedule(settings, settings.schedules.cleanup),
    doc_md=documented(__doc__, "evaluate_retention", "delete_archives"),
    **dag_options("cleanup"),
) as dag:
    compose(dag, settings, cleanup_groups, cleanup_params)
