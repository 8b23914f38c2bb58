"""Choose archives, and test their restore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException, user_of
from lifeboat.airflow.operators.base import ALL, ALL_DESTINATIONS, ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed


class ChooseArchivesOperator(ApplicationOperator):
    """Choose the archives of an application to test: at each destination the newest, then by coverage debt."""

    def step(self, context: Context) -> list[Sealed]:
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
        return [seal(context, site, _choice(self.application, index), choice) for index, choice in enumerate(choices)]


class DrillOperator(ApplicationOperator):
    """Restore an archive to scratch, compare it with what was captured, and sign its proof.

    :param choice: destination and key of the archive, as `ChooseArchivesOperator` sealed them.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "choice")

    def __init__(self, *, choice: Sealed, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choice = choice
        self.chosen = ""

    @property
    def subject(self) -> str:
        return self.chosen or self.application

    def step(self, context: Context) -> object:
        """Test the restore; return the facts for the report, and update the asset of proofs."""
        from lifeboat.actions import drill
        from lifeboat.actions.drill import Choice, Report
        from lifeboat.airflow.operators.sealed import unseal

        site = self.site()
        what = _choice(self.application, context["ti"].map_index)
        choice = unseal(context, site, what, self.choice, Choice)
        self.chosen = f"{choice.key or self.application} at {choice.destination}"
        (destination,) = site.destinations(self.application, (choice.destination,), deleting=True)
        run = context["dag_run"]
        by = user_of(run) or f"{run.dag_id} ({run.run_type})"
        made = drill.rehearse(site, self.application, destination, choice.key, by, site.now())
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {**choice.to_json(), "proven_at": made.proven_at.isoformat()}
        seconds = made.durations.recovery
        report = Report(
            *(choice.destination, choice.key, made.proven_at, seconds, made.compared, made.notes, made.checks)
        )
        return report.to_json()


class DrillChainOperator(ApplicationOperator):
    """Replay logs from one archive of databases to the next, compare, and sign the proof; skip if there is none yet.

    :param destination: name in the settings.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "destination")

    def __init__(self, *, destination: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.destination = destination

    @property
    def subject(self) -> str:
        return f"{self.application} at {self.destination}"

    def step(self, context: Context) -> object:
        """Test the chain; return the proof for the report."""
        from lifeboat.actions import chain_drill

        params = context["params"]
        for name, all_of, own in (
            ("application", ALL, self.application),
            ("destination", ALL_DESTINATIONS, self.destination),
        ):
            if (wanted := params.get(name, all_of)) not in (all_of, own):
                raise AirflowSkipException(f"The run was asked for {wanted} only.")
        key = params.get("archive") or ""
        if key and key.partition("/")[0] != self.application:
            raise AirflowSkipException(f"The run was asked for {key} only.")
        site, run = self.site(), context["dag_run"]
        (destination,) = site.destinations(self.application, (self.destination,), deleting=True)
        by = user_of(run) or f"{run.dag_id} ({run.run_type})"
        made = chain_drill.rehearse(site, self.application, destination, key, by, site.now())
        if isinstance(made, str):
            raise AirflowSkipException(f"Nothing to prove of {self.subject}: {made}.")
        return json.loads(made.to_bytes())  # XComs would not keep tuples


def _choice(application: str, index: int | None) -> str:
    return f"choice {index} of what to rehearse of {application}"
