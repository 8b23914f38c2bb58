"""Plan what retention deletes at one destination, and delete exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifeboat.operators.base import ALL, LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.config import Settings
    from lifeboat.storage import Destination

ALL_DESTINATIONS = "all destinations"


class DestinationOperator(LifeboatOperator):
    """A step for one destination, for the applications that the trigger form chose.

    :param destination: name of the destination in the settings.
    """

    template_fields: Sequence[str] = ("destination",)

    def __init__(self, *, destination: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.destination = destination

    @property
    def subject(self) -> str:
        return f"destination {self.destination}"

    def begin(self, settings: Settings) -> None:
        """Tell once in a run what concerns all of it."""
        if self.destination == next(iter(settings.destinations)):
            self.tell_missing_alerts(settings)

    def applications(self, context: Context, settings: Settings) -> list[str]:
        """Return the chosen applications that keep archives at this destination; skip where there is none."""
        wanted = context["params"].get("destination", ALL_DESTINATIONS)
        if wanted not in (ALL_DESTINATIONS, self.destination):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        application = context["params"].get("application", ALL)
        names = list(settings.applications) if application == ALL else [application]
        here = [name for name in names if self.destination in settings.destinations_of(name)]
        if not here:
            raise AirflowSkipException(f"{application} keeps no archives at {self.destination}.")
        return here

    def target(self, settings: Settings) -> Destination:
        """Return the destination, ready for what deletes."""
        from lifeboat import connections

        return connections.destination(self.destination, settings.destinations[self.destination].for_cleanup)


class EvaluateRetentionOperator(DestinationOperator):
    """Decide about every archive of a destination, and print the plan.

    Plans are made for now, also in backfilled runs.
    """

    def step(self, context: Context) -> dict[str, Any]:
        """Plan; return what is to be deleted, and for when that was decided."""
        from lifeboat import cleanup

        settings = self.settings()
        self.begin(settings)
        now = datetime.now(UTC)
        evaluation = cleanup.evaluate(self.target(settings), settings, self.applications(context, settings), now)
        for line in cleanup.lines(evaluation):
            self.log.info("%s", line)
        return {"now": now.isoformat(), **evaluation.order.to_json()}


class DeleteArchivesOperator(DestinationOperator):
    """Delete what the plan named, as far as a fresh listing still says so.

    :param order: what `EvaluateRetentionOperator` returned.
    """

    template_fields: Sequence[str] = (*DestinationOperator.template_fields, "order")

    def __init__(self, *, order: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order = order

    def step(self, context: Context) -> dict[str, Any]:
        """Delete; return the totals."""
        from lifeboat import cleanup
        from lifeboat.cleanup import Order

        if context["params"].get("dry_run"):
            raise AirflowSkipException("A dry run deletes nothing.")
        settings = self.settings()
        facts = dict(self.order)
        now = datetime.fromisoformat(facts.pop("now"))
        cleaned = cleanup.clean(
            self.target(settings),
            settings,
            self.applications(context, settings),
            now,
            Order.from_json(facts),
            datetime.now(UTC),
        )
        return {"deleted": len(cleaned.deleted), "left": len(cleaned.left), "freed": cleaned.freed}
