"""
### Read archives back in turn

Daily at 05:00. For each destination **read_back** reads some archives completely, starting with those verified longest
ago: every entry is decrypted and compared with manifest and marker. The result is recorded in a signed file next to the
archive, `<key>.read.json`; `lifeboat list` and the page show its date. Drills, `lifeboat verify KEY` and deep checks
count as well.

**How much**: `read_back` in the settings. By default 20 GiB a night at a disk, so that each archive is read within 30
days, and 1 GiB at a bucket, within 90 days, because providers charge for outgoing traffic: at 0.09 USD per GB, AWS's
price outside its region, at most about 3 USD a month. A larger archive is read anyway, alone, one a night: check the
price if you have such archives, and set `megabytes_per_night: 0` to read nothing. An archive is not read again before
half of the time has passed. Archives of binary logs are read once half of `logs.keep_days` has passed, as they do not
stay longer. When the budget is too small for that time, `backup_check` says which one would suffice.

**Manually**: *Trigger* opens a form: one application, one destination. On a worker's shell: `lifeboat verify`.

**When it fails**, one Slack message and one email name the archives; `backup_check` repeats it each day. It is not
retried. Archives that a killed run did not reach are read the next night.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.compat import CronTriggerTimetable
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import verify_params
from lifeboat.airflow.task_groups import compose, dag_options, verify_groups
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_verify",
    description="Read archives back in turn and verify each",
    schedule=CronTriggerTimetable("0 5 * * *", timezone=settings.timezone),
    doc_md=documented(__doc__, "read_back"),
    **dag_options("check"),
) as dag:
    compose(dag, settings, verify_groups, verify_params)
