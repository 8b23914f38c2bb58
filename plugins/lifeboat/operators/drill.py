"""Choose what to rehearse, and rehearse it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifeboat.operators.base import ALL, ALL_DESTINATIONS, ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChooseArchivesOperator(ApplicationOperator):
    """Choose the archives of an application to rehearse: at each destination the newest, then by coverage debt."""

    def step(self, context: Context) -> list[dict[str, str]]:
        """Choose; return destination and key of each. Skipped for applications that the form did not choose."""
        from lifeboat import drill

        params = context["params"]
        wanted = params.get("application", ALL)
        if wanted not in (ALL, self.application):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        settings = self.settings()
        if self.application == next(iter(settings.applications)):
            self.tell_missing_alerts(settings)
        destination = params.get("destination", ALL_DESTINATIONS)
        chosen = () if destination == ALL_DESTINATIONS else (destination,)
        choices = drill.choices(settings, self.application, chosen, params.get("archive") or "", datetime.now(UTC))
        if not choices:
            raise AirflowSkipException(f"There is no archive of {self.application} to rehearse yet.")
        return [{"destination": name, "key": key} for name, key in choices]


class DrillOperator(ApplicationOperator):
    """Restore an archive to scratch, compare it with what was captured, and sign its proof.

    :param choice: destination and key of the archive.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "choice")

    def __init__(self, *, choice: dict[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choice = choice

    @property
    def subject(self) -> str:
        return f"{self.choice['key'] or self.application} at {self.choice['destination']}"

    def step(self, context: Context) -> dict[str, Any]:
        """Rehearse; return the facts for the report, and tell whoever waits for a fresh proof."""
        from lifeboat import connections, drill, proof

        settings = self.settings()
        chosen = (self.choice["destination"],)
        (destination,) = connections.destinations(settings, self.application, chosen, deleting=True)
        run = context["dag_run"]
        by = run.triggering_user_name or f"{run.dag_id} ({run.run_type})"
        made = drill.rehearse(settings, self.application, destination, self.choice["key"], by, datetime.now(UTC))
        facts = {
            **self.choice,
            "proven_at": made["proven_at"],
            "seconds": proof.recovery_seconds(made),
            "compared": made["compared"],
            "notes": made["notes"],
        }
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {**self.choice, "proven_at": made["proven_at"]}
        return facts
