"""Let the applications of one schedule take turns."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

SCHEDULED = "scheduled"  # type of a run; nobody waits for the others' sake


class WaitForTurn(BaseSensorOperator):
    """Wait in scheduled runs until it is the application's turn. No worker is held meanwhile.

    :param delay: time between the time of the schedule and the application's turn.
    """

    ui_color = "#e3f2ef"

    def __init__(self, *, delay: timedelta, **kwargs: Any) -> None:
        # After the first look, the second is in time.
        super().__init__(mode="reschedule", poke_interval=delay.total_seconds(), **kwargs)
        self.delay = delay

    def poke(self, context: Context) -> bool:
        """Return whether the time has come."""
        from lifeboat.support import clock

        run = context["dag_run"]
        return run.run_type != SCHEDULED or clock.now() >= run.run_after + self.delay
