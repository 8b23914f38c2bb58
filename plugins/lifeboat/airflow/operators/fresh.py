"""Require a fresh backup before something that might need one: a migration, a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from lifeboat.airflow.compat import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.settings.config import BackupKind


class RequireFreshBackup(BaseSensorOperator):
    """Succeed when an archive is young enough; else fail, or wait for one.

    Archives that were found damaged do not count, nor do those of some of the application's databases only.

    :param application: name of the application in the settings.
    :param kind: of the archive.
    :param max_age: how old its capture may be.
    :param proven: count only archives with a proof that is authentic.
    :param wait: how long to wait for one; default: fail at once.
    """

    template_fields: Sequence[str] = ("application", "kind")
    ui_color = "#e3f2ef"

    def __init__(
        self,
        *,
        application: str,
        kind: BackupKind = "database",
        max_age: timedelta,
        proven: bool = False,
        wait: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        timeout = {"timeout": wait.total_seconds()} if wait else {}
        super().__init__(**{"mode": "reschedule", **timeout, **kwargs})
        self.application = application
        self.kind = kind
        self.max_age = max_age
        self.proven = proven
        self.wait = wait

    def poke(self, context: Context) -> bool:
        """Look at every destination once.

        :raises AirflowFailException: no archive is young enough, and `wait` is not set.
        """
        from lifeboat.actions import check
        from lifeboat.airflow.site import load_site
        from lifeboat.errors import LifeboatError
        from lifeboat.text import age_text

        try:
            site = load_site()
            now = site.now()
            newest = check.newest_archive(site, self.application, self.kind, now, self.max_age, proven=self.proven)
        except LifeboatError as error:
            raise AirflowFailException(str(error)) from None
        what = f"{'proven ' if self.proven else ''}{self.kind} archive of {self.application}"
        age = max(now - newest.captured_at, timedelta()) if newest else None
        if newest and age is not None and age <= self.max_age:
            self.log.info("The newest %s is %s, %s old.", what, newest.key, age_text(age))
            return True
        found = f"the newest is {newest.key}, {age_text(age)} old" if newest and age is not None else "there is none"
        missing = f"No {what} is at most {age_text(self.max_age)} old; {found}."
        if self.wait is None:
            raise AirflowFailException(missing)
        self.log.info("%s Waiting.", missing)
        return False
