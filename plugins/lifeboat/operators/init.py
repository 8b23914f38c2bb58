"""Prepare a destination, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.operators.base import DestinationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class InitDestinationOperator(DestinationOperator):
    """Prepare a destination for its first use; a second time changes nothing."""

    def step(self, context: Context) -> None:
        """Prepare it, and say in the log what came of it."""
        from lifeboat import connections

        destination = connections.destination(self.destination, self.settings().destinations[self.destination])
        self.log.info("%s %s.", destination, destination.init())
