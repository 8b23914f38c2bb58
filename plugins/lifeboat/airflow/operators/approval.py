"""Ask a second person before a restore changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from lifeboat.airflow.compat import AirflowFailException, started_by
from lifeboat.airflow.operators.base import leave_reason
from lifeboat.airflow.operators.restore import LONGEST_PLAN, VERIFY, leave_receipt, planned, require_receipts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.decide.restore_plan import RestorePlan


# Airflow takes an answer given within a second of the question for the end of the task, and tries it again: ask soon.
ASK_AGAIN = timedelta(seconds=5)
QUESTION = "question"  # XCom key: the plan that was shown


class SecondPersonOperator(ApprovalOperator):
    """Wait in Airflow's UI until somebody approves who did not start the run; a rejection skips what follows.

    :param plan: what `SelectArchiveOperator` left.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "plan")
    ui_color = "#e3f2ef"

    def __init__(self, *, plan: Sealed, **kwargs: Any) -> None:
        super().__init__(defaults=self.REJECT, ignore_downstream_trigger_rules=True, retry_delay=ASK_AGAIN, **kwargs)
        self.plan = plan

    def execute(self, context: Context) -> Any:
        """Show the plan, and ask.

        :raises AirflowFailException: the plan is not what `select` left, or the archive was not verified.
        """
        from lifeboat.airflow.operators.sealed import seal
        from lifeboat.airflow.site import load_site
        from lifeboat.decide.restore_plan import Receipt
        from lifeboat.errors import LifeboatError

        try:
            site = load_site()
            plan = planned(context, site, self.plan)
            require_receipts(context, site, self.plan, VERIFY)
            self.body = "\n".join(f"* {line}" for line in _lines(context, plan))
            shown = seal(context, site, _question(context), Receipt(self.plan["hmac_sha256"]))
        except LifeboatError as error:
            raise AirflowFailException(leave_reason(context, "", error)) from None
        context["ti"].xcom_push(key=QUESTION, value=shown)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer; sign an approval.

        :raises AirflowFailException: the one who started the run approved it, or the plan is not the one that was
            shown.
        """
        from lifeboat.errors import LifeboatError

        answer = super().execute_complete(context, event)
        if self.APPROVE in event["chosen_options"]:
            try:
                self._approve(context, (event.get("responded_by_user") or {}).get("name"))
            except LifeboatError as error:
                raise AirflowFailException(leave_reason(context, "", error)) from None
        return answer

    def _approve(self, context: Context, by: str | None) -> None:
        from lifeboat.airflow.operators.sealed import HINT, unseal
        from lifeboat.airflow.site import load_site
        from lifeboat.decide.restore_plan import Receipt
        from lifeboat.errors import SettingsError, UntrustedError

        site = load_site()
        if not by:
            raise SettingsError("Airflow does not say who approved this restore.", HINT)
        if by == started_by(context["dag_run"]):
            raise SettingsError(f"{by} started this restore and cannot approve it: ask somebody else.")
        planned(context, site, self.plan)
        question = context["ti"].xcom_pull(task_ids=self.task_id, key=QUESTION)
        shown = unseal(context, site, _question(context), question, Receipt, LONGEST_PLAN)
        if shown.plan != self.plan["hmac_sha256"]:
            raise UntrustedError("The plan is not the one that was shown for approval.", HINT)
        leave_receipt(context, site, self.plan)
        self.log.info("Approved by %s.", by)


def _question(context: Context) -> str:
    """Return the label under which the question of this try is sealed."""
    return f"question {context['ti'].id}"


def _lines(context: Context, plan: RestorePlan) -> Iterator[str]:
    """Yield what the approver should know."""
    params = context["params"]
    yield f"{started_by(context['dag_run'])} asks for this restore."
    yield from plan.lines()
    if not params.get("compare", True):
        yield "The restored data is NOT compared with what was captured."
    if plan.files and params.get("after_restore", True):
        yield "Afterwards, the commands under after_restore in the settings are run."
