"""
### Prepare a destination for its first use

Manual only, once for each new destination: **init** creates the directory of a disk destination and marks it with
`.lifeboat-destination`. An unmounted disk lacks the marker, so it is never mistaken for an empty destination nor
written to. For a bucket, it reports whether it can be reached. Running it again changes nothing, and existing archives
are kept. On a worker's shell: `lifeboat init NAME`.

**Mount the disk first**: the marker is written to the file system that is mounted now; the log names it. If workers
mount disks separately, mount it on each of them.

**When it fails**, the reason names the cause. It is not retried.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import init_params
from lifeboat.airflow.task_groups import compose, dag_options, init_step
from lifeboat.settings import unreadable

with DAG(
    dag_id="init_destination",
    description="Prepare a destination, once, before its first backup",
    schedule=None,
    doc_md=documented(__doc__, "init"),
    **dag_options("destinations"),
) as dag:
    compose(dag, unreadable.read(), init_step, init_params)
