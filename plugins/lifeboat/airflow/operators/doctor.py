"""Try the whole installation, and say what is not well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lifeboat.airflow.operators.base import LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.doctor import Finding


class DoctorOperator(LifeboatOperator):
    """Look at everything that backups and restores will need; fail where something is broken."""

    def step(self, context: Context) -> None:
        """Look, as this worker sees it."""
        from lifeboat.airflow import doctor

        findings = doctor.examine()
        tell(self, findings)
        self.log.info("%s", doctor.summary(findings))


def tell(operator: LifeboatOperator, findings: Sequence[Finding]) -> None:
    """Log what was found.

    :raises UnhealthyError: something is broken; with what is.
    """
    from lifeboat.airflow import doctor
    from lifeboat.errors import UnhealthyError

    for line in doctor.report(findings):
        operator.log.info("%s", line)
    if broken := [finding for finding in findings if finding.verdict == "broken"]:
        raise UnhealthyError("\n".join(doctor.report(broken)))
