"""Plan what retention deletes at one destination, and delete exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import DestinationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed


class EvaluateRetentionOperator(DestinationOperator):
    """Decide about every archive of a destination, and print the plan.

    Plans are made for now, also in backfilled runs.
    """

    def step(self, context: Context) -> Sealed:
        """Plan; return what is to be deleted, and for when that was decided, sealed."""
        from lifeboat.actions import cleanup
        from lifeboat.actions.cleanup import DatedOrder
        from lifeboat.airflow.operators.sealed import seal

        site = self.site()
        self.begin(site)
        now = site.now()
        evaluation = cleanup.evaluate(self.target(site), site, self.applications(context, site), now)
        for line in cleanup.lines(evaluation):
            self.log.info("%s", line)
        return seal(context, site, _plan_of(self.destination), DatedOrder(now, evaluation.order))


class DeleteArchivesOperator(DestinationOperator):
    """Delete what the plan named, as far as a fresh listing still says so.

    :param order: what `EvaluateRetentionOperator` returned.
    """

    template_fields: Sequence[str] = (*DestinationOperator.template_fields, "order")

    def __init__(self, *, order: Sealed, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order = order

    def step(self, context: Context) -> dict[str, int]:
        """Delete; return the totals."""
        from lifeboat.actions import cleanup
        from lifeboat.actions.cleanup import DatedOrder
        from lifeboat.airflow.operators.sealed import unseal

        if context["params"].get("dry_run"):
            raise AirflowSkipException("A dry run deletes nothing.")
        site = self.site()
        plan = unseal(context, site, _plan_of(self.destination), self.order, DatedOrder)
        applications = self.applications(context, site)
        cleaned = cleanup.clean(self.target(site), site, applications, plan.now, plan.order, site.now())
        return {"deleted": len(cleaned.deleted), "left": len(cleaned.left), "freed": cleaned.freed}


def _plan_of(destination: str) -> str:
    return f"clean-up plan of {destination}"
