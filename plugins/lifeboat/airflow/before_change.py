"""A task group for the DAGs of others: take a fresh backup before a risky change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import TaskGroup, XComArg

from lifeboat.airflow.operators.before_change import TAKEN, ProveBackupOperator, TakeBackupOperator

if TYPE_CHECKING:
    from lifeboat.airflow.operators.base import ApplicationOperator
    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.settings.config import BackupKind

LONGEST = timedelta(hours=12)  # of each step


class FreshBackup(TaskGroup):
    """Take a backup of one application, publish it at every destination, and prove it if asked; else fail.

    Each attempt takes another backup, so no older archive ever counts. Nothing is read when the DAG is parsed.

    :param application: name of the application in the settings; a template.
    :param kind: of the archive; a template.
    :param proven: whether a drill must prove this archive at every destination.
    :param options: of `TaskGroup`, such as ``default_args``.
    """

    def __init__(
        self,
        *,
        application: str,
        kind: BackupKind = "database",
        proven: bool = False,
        group_id: str = "fresh_backup",
        **options: Any,
    ) -> None:
        super().__init__(group_id=group_id, **options)
        with self:
            take = TakeBackupOperator(task_id="back_up", application=application, kind=kind, execution_timeout=LONGEST)
            last: ApplicationOperator = take
            if proven:
                archive = cast("Sealed", XComArg(take, key=TAKEN))  # rendered to what it left
                last = ProveBackupOperator(
                    task_id="prove", application=application, archive=archive, execution_timeout=LONGEST
                )
        self._archive = XComArg(last)

    @property
    def output(self) -> Any:  # an argument of an operator has the type of what it is rendered to
        """The key of the archive; what uses it runs only after the group."""
        return self._archive
