"""
### Test restores, and prove them

On the first of each quarter, or as the settings say under `drill.schedule`. For each application and destination
**choose_archives** picks the newest archive of each kind, then those that are unproven or were proven longest ago;
**drill** restores each to a scratch server and a scratch directory, compares every table and every file with what was
captured, drops the scratch data and signs a proof next to the archive, `<key>.proof.json`.

Where binary logs are shipped, **drill_chain** restores the archive before the newest one that logs reach, replays them,
compares every table with what was captured in the newest, and signs `<key>.chain.json` next to that: docs/DRILL.md.

A report by Slack and email says what was proved, how long recovery took and what is still unproven. Other DAGs can wait
for the asset `lifeboat/proof/<application>`.

**Manually**: *Trigger* opens a form: one application, one destination, one archive. On a worker's shell:
`lifeboat drill APPLICATION`, and with `--chain` for logs.

**Drills are safe**: they drop only schemas with the prefix `lifeboat_drill_` that a drill created and marked. Without
`drill.connection` or `drill.production: true`, no database is touched.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.alerts import DrillReport
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import drill_params
from lifeboat.airflow.task_groups import compose, dag_options, drill_groups, drill_schedule
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="restore_drill",
    description="Restore archives to scratch databases, compare them with the capture, and sign proofs",
    schedule=drill_schedule(settings),
    doc_md=documented(__doc__, "choose_archives", "drill", "drill_chain"),
    **dag_options("restore", "drill", notice=DrillReport()),
) as dag:
    compose(dag, settings, drill_groups, drill_params)
