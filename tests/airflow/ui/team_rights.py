"""Rights by DAG for Airflow's simple auth manager, which has none: each user reads the DAGs of one team."""

from __future__ import annotations

from typing import Any

READS = {"user": {"backup_database__shopware"}, "viewer": {"backup_database"}}  # of other users, all


def restrict() -> None:
    """Let the manager of this process ask for them, too."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    by_role = SimpleAuthManager.is_authorized_dag

    def is_authorized_dag(self: SimpleAuthManager, *, user: Any, details: Any = None, **asked: Any) -> bool:
        dag_id = details.id if details else None
        is_own = user.username not in READS or dag_id is None or dag_id in READS[user.username]
        return is_own and by_role(self, user=user, details=details, **asked)

    SimpleAuthManager.is_authorized_dag = is_authorized_dag  # type: ignore[method-assign]
