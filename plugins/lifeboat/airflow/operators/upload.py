"""Store the staged archive at one destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import ApplicationOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed


class UploadArchiveOperator(ApplicationOperator):
    """Store the archive at one destination and publish it there.

    Cleared alone, it stores again without a new dump, if need be from another destination.

    :param archive: what `PackArchiveOperator` returned: key, size and SHA-256, sealed.
    :param destination: name of the destination in the settings.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "archive", "destination")

    def __init__(self, *, archive: Sealed, destination: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.destination = destination

    @property
    def subject(self) -> str:
        return f"{self.application}, destination {self.destination}"

    def step(self, context: Context) -> str:
        """Store and publish, unless the trigger form chose other destinations; return the key."""
        from lifeboat.actions import backup, cleanup
        from lifeboat.actions.backup import PackedArchive
        from lifeboat.airflow.operators.archive import archive_of
        from lifeboat.airflow.operators.sealed import unseal

        only = chosen(context, "destinations")
        if only and self.destination not in only:
            raise AirflowSkipException(f"The run was asked for {', '.join(only)} only.")
        site = self.site()
        packed = unseal(context, site, archive_of(self.application), self.archive, PackedArchive)
        (target,) = site.destinations(self.application, (self.destination,))
        others = (
            site.destination(name)
            for name in site.settings.destinations_of(self.application)
            if name != self.destination
        )
        backup.store_archive(self.opened_staging(context), packed, target, others)
        if notice := cleanup.cap_notice(self.destination, site.settings, self.application, [target], site.now()):
            self.log.warning("%s.", notice)
        return packed.key
