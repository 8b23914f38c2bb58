"""Report that the settings cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

TOLD = "told"  # XCom key: why the settings could not be read, as the alert reported it; empty if they could


class UnreadableSettingsOperator(LifeboatOperator):
    """The one task of a DAG whose tasks the settings do not say: it fails with what is wrong with them."""

    @property
    def subject(self) -> str:
        return "the settings"

    def step(self, context: Context) -> None:
        """Fail.

        :raises SettingsError: always.
        """
        from lifeboat.errors import SettingsError

        self.site()
        raise SettingsError(
            "The settings could not be read when this run began, and can be now.", "Trigger the DAG again."
        )


class WatchSettingsOperator(LifeboatOperator):
    """Fail when the settings cannot be read; skip if the alert of an earlier run reported the same."""

    @property
    def subject(self) -> str:
        return "the settings"

    def step(self, context: Context) -> None:
        """Read the settings.

        :raises SettingsError: they cannot be read, which was not reported yet.
        """
        from lifeboat.errors import SettingsError

        ti = context["ti"]
        told = ti.xcom_pull(task_ids=self.task_id, key=TOLD, map_indexes=-1, include_prior_dates=True)
        try:
            self.site()
        except SettingsError as error:
            ti.xcom_push(key=TOLD, value=str(error))
            if told == str(error):
                raise AirflowSkipException(f"An earlier run reported this: {error}") from None
            raise
        ti.xcom_push(key=TOLD, value="")
