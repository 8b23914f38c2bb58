"""
### Prepare a destination for its first use

By hand only, once for each new destination: **init** creates the directory of a disk destination and marks it with
`.lifeboat-destination`. A disk that is not mounted lacks the marker, and is therefore never taken for a destination
without backups, nor written to. For a bucket, it says whether it can be reached. A second time changes nothing, and
archives that are there already stay. On a worker's shell: `lifeboat init NAME`.

**Mount the disk first**: what is marked is what stands there now. The log says which file system that is. Where workers
have mounts of their own, each of them must have it.

**When it fails**, the reason says what stands in the way: rights, a read-only disk, the marker of another destination.
What to do: fix it, then trigger it anew; it does not try again by itself.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.params import init_params
from lifeboat.airflow.task_groups import compose, dag_options, init_step
from lifeboat.settings import unreadable

with DAG(
    dag_id="init_destination",
    description="Mark a disk as ours, once, before its first backup",
    schedule=None,
    doc_md=__doc__,
    **dag_options("destinations"),
) as dag:
    compose(dag, unreadable.read(), init_step, init_params)
