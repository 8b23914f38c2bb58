"""The fields of the trigger forms: labels, help and choices, for Airflow's own form and for the page's.

Airflow's form takes an empty field that must not be null for a missing one, so whatever may stay empty may be null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from lifeboat.airflow.operators.base import ALL, ALL_DESTINATIONS
from lifeboat.airflow.operators.restore import ANY_DESTINATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifeboat.settings.config import Settings

DANGER = "Replace what is there"  # section of the fields that cost what exists; the page shows it in red


def backup_params(settings: Settings, applications: Sequence[str]) -> dict[str, Param]:
    """Return the fields of a backup's trigger form.

    :param applications: what the DAG backs up.
    """
    own = {name: list(settings.destinations_of(name)) for name in applications}
    return {
        "application": _choice("Application", "What to back up.", [ALL, *applications]),
        "databases": _databases(settings, applications, "Only these. None chosen: all of the application."),
        "destinations": _choices(
            "Destinations", "Only to these. None chosen: to all of the application.", list(settings.destinations), own
        ),
        "note": Param(
            None,
            type=["null", "string"],
            title="Note",
            maxLength=500,
            description="Kept in the manifest and shown with the archive. It is not encrypted.",
        ),
    }


def logs_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of the trigger form that ships binary logs."""
    applications = [ALL, *settings.applications_with_logs]
    return {"application": _choice("Application", "Whose binary logs to ship.", applications)}


def cleanup_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of a clean-up's trigger form."""
    return {
        "dry_run": _switch("Dry run", "Print the plan and delete nothing.", on=False),
        **_subject(settings, "clean up"),
    }


def verify_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of the trigger form that reads archives back."""
    return _subject(settings, "read back")


def init_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of the trigger form that prepares a destination."""
    disks = [name for name, kept in settings.destinations.items() if kept.type == "disk"]
    names = list(settings.destinations)
    return {"destination": _required("Destination", "What to prepare. Mount its disk first.", names, disks)}


def check_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of a check's trigger form."""
    return {
        **_subject(settings, "check"),
        "deep": _switch("Deep check", "Read the newest archives back and compare their SHA-256.", on=False),
    }


def drill_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of a drill's trigger form."""
    return {
        **_subject(settings, "test-restore"),
        "archive": _text("Archive", "Its key. Empty: the newest, then those that were proven longest ago."),
    }


def restore_params(settings: Settings, *, files: bool) -> dict[str, Param]:
    """Return the fields of a restore's trigger form.

    :param files: whether the application's files are restored, too.
    """
    applications = settings.applications_of("application" if files else "database") or list(settings.applications)
    params = {
        "application": _required("Application", "What to restore.", applications, applications),
        "archive": Param(
            "latest",
            type="string",
            title="Archive",
            minLength=1,
            description="'latest', a key, or a time as in 2026-11-23T12:00"
            f" ({settings.timezone}): the newest archive captured at or before that time.",
        ),
        "destination": _choice(
            "Read from", "Where to take the archive from.", [ANY_DESTINATION, *settings.destinations]
        ),
        "databases": _databases(settings, applications, "Only these. None chosen: all that the archive holds."),
    }
    return params | (_files_params() if files else _database_params(settings))


def _database_params(settings: Settings) -> dict[str, Param]:
    return {
        "until": _text(
            "Until",
            f"Replay binary logs up to a moment: a time as in 2026-11-23T14:31:07 ({settings.timezone}), a GTID as the"
            " last transaction, before:GTID, or 'latest'. Empty: as the archive was captured.",
        ),
        "table": _text("Table", "Only this table, into a new schema."),
        "into": _text(
            "New schema",
            "Name for one database that is restored next to the original. Empty: <database>_restored_<time>.",
        ),
        **_comparison(),
        "overwrite": _replaced(
            "Databases to replace",
            "To replace a database, type its name; for several, a line each.",
            type=["null", "array"],
            items={"type": "string"},
        ),
    }


def _files_params() -> dict[str, Param]:
    return {
        "path": _text("File or folder", "Only this one of the application's files."),
        "into": _text("New directory", "Path for the files. Empty: <root>_restored_<time>, next to the original."),
        **_comparison(),
        "after_restore": _switch("Run commands afterwards", "Those of after_restore in the settings.", on=True),
        "overwrite": _replaced(
            "Application to replace",
            "To replace the application, databases and files, type its name.",
            type=["null", "string"],
        ),
    }


def _replaced(title: str, description: str, **shape: Any) -> Param:
    """Return the field that names what a restore replaces."""
    consequences = "A safety backup is taken first. Empty: nothing that exists is touched."
    return Param(
        None, title=title, description=f"{description} {consequences}", section=DANGER, dangerous=True, **shape
    )


def _comparison() -> dict[str, Param]:
    return {
        "compare": _switch(
            "Compare afterwards", "Dump what was restored and compare it with what was captured.", on=True
        ),
    }


def _subject(settings: Settings, verb: str) -> dict[str, Param]:
    applications, destinations = [ALL, *settings.applications], [ALL_DESTINATIONS, *settings.destinations]
    return {
        "application": _choice("Application", f"What to {verb}.", applications),
        "destination": _choice("Destination", f"Where to {verb}.", destinations),
    }


def _choice(title: str, description: str, names: list[str]) -> Param:
    """Return a field that takes one of some names, at first the first."""
    return Param(names[0], type="string", enum=names, title=title, description=description)


def _required(title: str, description: str, names: list[str], likely: list[str]) -> Param:
    """Return a field where somebody has to choose, unless only one name is likely."""
    alone: dict[str, Any] = {"default": likely[0]} if len(likely) == 1 else {}
    return Param(type="string", enum=names, title=title, description=description, **alone)


def _databases(settings: Settings, applications: Sequence[str], description: str) -> Param:
    if any(settings.application(name).servers for name in applications):  # nobody knows all names
        return Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Databases",
            description=f"Their names, a line each. {description}",
        )
    own = {name: [database.name for database in settings.databases_of(name)] for name in applications}
    return _choices("Databases", description, sorted({name for names in own.values() for name in names}), own)


def _choices(title: str, description: str, names: list[str], own: dict[str, list[str]]) -> Param:
    """Return a field that takes any of some names.

    :param own: those of each application; the page offers no others once one is chosen.
    """
    return Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        examples=names,  # Airflow's form makes a multi-select of them
        by_application=own,
        title=title,
        description=description,
    )


def _switch(title: str, description: str, *, on: bool) -> Param:
    return Param(on, type="boolean", title=title, description=description)


def _text(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], title=title, description=description)
