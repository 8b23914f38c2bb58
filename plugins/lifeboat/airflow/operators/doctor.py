"""Try the whole installation, and say what is not well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.operators.base import LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class DoctorOperator(LifeboatOperator):
    """Look at everything that backups and restores will need; fail where something is broken."""

    def step(self, context: Context) -> None:
        """Look, as this worker sees it."""
        from lifeboat.airflow import doctor

        findings = doctor.examine()
        self.tell(doctor.report(findings), (("", line) for line in doctor.report(findings, only_broken=True)))
        self.log.info("%s", doctor.summary(findings))
