"""
### Migrate the shop

Runs a migration only behind a backup that was taken for it, published at every destination, and proven to restore.
"""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from lifeboat import FreshBackup

with DAG(dag_id="migrate_shop", schedule=None, max_active_runs=1, doc_md=__doc__, tags=["shop"]):
    backup = FreshBackup(application="Shop", proven=True)
    BashOperator(
        task_id="migrate",
        bash_command='echo "To undo: restore $ARCHIVE" && cd /srv/shop && php artisan migrate --force',
        env={"ARCHIVE": backup.output},
        append_env=True,
        retries=0,
    )
