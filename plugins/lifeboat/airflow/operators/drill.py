"""Choose archives, and test their restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException, user_of
from lifeboat.airflow.operators.base import ALL, ALL_DESTINATIONS, ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChooseArchivesOperator(ApplicationOperator):
    """Choose the archives of an application to test: at each destination the newest, then by coverage debt."""

    def step(self, context: Context) -> list[dict[str, Any]]:
        """Choose; return destination and key of each, sealed. Skipped where the form chose other applications."""
        from lifeboat.actions import drill
        from lifeboat.airflow.operators.sealed import seal

        params = context["params"]
        wanted = params.get("application", ALL)
        if wanted not in (ALL, self.application):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        site = self.site()
        if self.application == next(iter(site.settings.applications)):
            self.tell_missing_alerts(site)
        destination = params.get("destination", ALL_DESTINATIONS)
        chosen = () if destination == ALL_DESTINATIONS else (destination,)
        choices = drill.choices(site, self.application, chosen, params.get("archive") or "", site.now())
        if not choices:
            raise AirflowSkipException(f"There is no archive of {self.application} to test yet.")
        return [
            seal(context, site, _choice(self.application, index), {"destination": name, "key": key})
            for index, (name, key) in enumerate(choices)
        ]


class DrillOperator(ApplicationOperator):
    """Restore an archive to scratch, compare it with what was captured, and sign its proof.

    :param choice: destination and key of the archive, as `ChooseArchivesOperator` sealed them.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "choice")

    def __init__(self, *, choice: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choice = choice
        self.chosen = ""

    @property
    def subject(self) -> str:
        return self.chosen or self.application

    def step(self, context: Context) -> dict[str, Any]:
        """Test the restore; return the facts for the report, and update the asset of proofs."""
        from lifeboat.actions import drill
        from lifeboat.airflow.operators.sealed import unseal
        from lifeboat.catalog import proof

        site = self.site()
        what = _choice(self.application, context["ti"].map_index)
        choice = unseal(context, site, what, self.choice)
        key = choice["key"]
        self.chosen = f"{key or self.application} at {choice['destination']}"
        chosen = (choice["destination"],)
        (destination,) = site.destinations(self.application, chosen, deleting=True)
        run = context["dag_run"]
        by = user_of(run) or f"{run.dag_id} ({run.run_type})"
        made = drill.rehearse(site, self.application, destination, key, by, site.now())
        facts = {
            **choice,
            "proven_at": made["proven_at"],
            "seconds": proof.recovery_seconds(made),
            "compared": made["compared"],
            "notes": made["notes"],
        }
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {**choice, "proven_at": made["proven_at"]}
        return facts


def _choice(application: str, index: int | None) -> str:
    return f"choice {index} of what to rehearse of {application}"
