"""Ask a second person before a restore changes anything."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context


# Airflow takes an answer given within a second of the question for the end of the task, and tries it again: ask soon.
ASK_AGAIN = timedelta(seconds=5)


class SecondPersonOperator(ApprovalOperator):
    """Wait in Airflow's UI until somebody approves who did not start the run; a rejection skips what follows."""

    ui_color = "#e3f2ef"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(defaults=self.REJECT, ignore_downstream_trigger_rules=True, retry_delay=ASK_AGAIN, **kwargs)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer.

        :raises AirflowFailException: the one who started the run approved it.
        """
        answer = super().execute_complete(context, event)
        by = (event.get("responded_by_user") or {}).get("name")
        if self.APPROVE in event["chosen_options"] and by == context["dag_run"].triggering_user_name:
            raise AirflowFailException(f"{by} started this restore and cannot approve it: ask somebody else.")
        return answer
