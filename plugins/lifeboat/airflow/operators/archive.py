"""Pack what is staged into one archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.operators.base import ApplicationOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.catalog.archives import OwnKind


class PackArchiveOperator(ApplicationOperator):
    """Pack the staged dumps of an application into one encrypted archive.

    :param kind: kind of the archive.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "kind")

    def __init__(self, *, kind: OwnKind, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def step(self, context: Context) -> Sealed:
        """Pack; return key, size in bytes and SHA-256 of the archive, sealed."""
        from lifeboat.actions import backup, servers
        from lifeboat.airflow.operators.sealed import seal
        from lifeboat.files import selection as files

        site, note = self.site(), note_of(context)
        only = chosen(context, "databases")
        staging = self.opened_staging(context)
        listing = servers.of_run(site, self.application, staging)
        names = listing.databases if listing else [each.name for each in site.settings.databases_of(self.application)]
        databases = [name for name in names if not only or name in only]
        password = site.passwords(self.application)[0]
        selection = files.selection_of(site.settings, self.application) if self.kind == "application" else None
        packed = backup.pack_archive(
            staging, self.application, self.kind, databases, password, note, selection, now=site.now()
        )
        return seal(context, site, archive_of(self.application), packed)


def note_of(context: Context) -> str:
    """Return the note of the trigger form.

    :raises SettingsError: it is like that of safety backups, which are never restored as the latest.
    """
    from lifeboat.actions.restore import SAFETY_NOTE
    from lifeboat.errors import SettingsError

    note = str(context["params"].get("note") or "")
    if note.startswith(SAFETY_NOTE):
        raise SettingsError(
            f"A note that begins with {SAFETY_NOTE!r} marks what a restore backed up.", "Write another note."
        )
    return note


def archive_of(application: str) -> str:
    """Return the label under which the archive of an application is sealed."""
    return f"packed archive of {application}"
