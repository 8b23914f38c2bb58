"""Send a test message, so that somebody knows that a real one would arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.operators.base import LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SendTestAlertOperator(LifeboatOperator):
    """Send a test message through every channel of the settings; fail where one of them fails."""

    def step(self, context: Context) -> None:
        """Send it."""
        from lifeboat.airflow.alerts import channels
        from lifeboat.errors import LifeboatError

        outcomes = channels.send_test(self.site().settings)
        if failures := [f"{channel}: {error}" for channel, error in outcomes.items() if error]:
            raise LifeboatError("The test alert did not arrive everywhere. " + " ".join(failures))
        self.log.info("Sent by %s.", " and ".join(outcomes))
