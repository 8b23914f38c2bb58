"""Prepare a destination, once, and try it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.operators.base import DestinationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class InitDestinationOperator(DestinationOperator):
    """Prepare a destination for its first use, and try it; a second time changes nothing."""

    def step(self, context: Context) -> None:
        """Prepare it, and say in the log what came of it."""
        from lifeboat.airflow import doctor

        site = self.site()
        destination = site.destination(self.destination)
        self.log.info("%s %s.", destination, destination.init(site.now()))
        findings = doctor.examine_destination(self.destination, site.settings.destinations[self.destination])
        self.tell(doctor.report(findings), (("", line) for line in doctor.report(findings, only_broken=True)))
