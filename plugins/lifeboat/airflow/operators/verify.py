"""Read archives back in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.operators.base import DestinationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReadBackOperator(DestinationOperator):
    """Read back the archives of a destination whose turn it is; fail with those that are not what was published."""

    def step(self, context: Context) -> dict[str, int]:
        """Read; return the totals."""
        from lifeboat.actions import verify

        site = self.site()
        self.begin(site)
        applications = self.applications(context, site)
        now = site.now()
        night = verify.read_night(
            site,
            self.target(site),
            applications,
            context["dag_run"].start_date or now,  # a retry has what its first try left of the budget
            now,
        )
        self.tell((), ((key.partition("/")[0], failure) for key, failure in night.failed.items()))
        return {"read": len(night.read), "bytes": night.bytes}
