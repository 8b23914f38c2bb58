"""Airflow's simple auth manager with rights by DAG, which it does not have: each user reads the DAGs of one team."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

READS = {"user": {"backup_database__shopware"}, "viewer": {"backup_database"}}  # of other users, all


class TeamAuthManager(SimpleAuthManager):
    """Lets users read the DAGs in `READS` only."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        """Return whether the role allows it, and the DAG is one of the user's."""
        dag_id = details.id if details else None
        is_own = user.username not in READS or dag_id is None or dag_id in READS[user.username]
        return is_own and super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
