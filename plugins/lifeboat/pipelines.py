"""The task groups that the DAG files compose."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Param, TaskGroup

from lifeboat.alerts import FailureAlert, SuccessNotice
from lifeboat.operators.archive import PackArchiveOperator
from lifeboat.operators.base import ALL
from lifeboat.operators.check import CheckDestinationOperator, CompareDestinationsOperator
from lifeboat.operators.cleanup import ALL_DESTINATIONS, DeleteArchivesOperator, EvaluateRetentionOperator
from lifeboat.operators.dump import DumpDatabaseOperator
from lifeboat.operators.staging import PrepareStagingOperator, RemoveStagingOperator
from lifeboat.operators.upload import UploadArchiveOperator

if TYPE_CHECKING:
    from lifeboat.config import BackupKind, Settings

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "retries": 3,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=30),
}
LONGEST_DUMP = timedelta(hours=12)
LONGEST_RUN = timedelta(hours=24)
LONGEST_STEP = timedelta(hours=6)


def dag_options(*tags: str) -> dict[str, Any]:
    """Return what every DAG of Lifeboat has in common, as arguments of `DAG`."""
    return {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DEFAULT_ARGS,
        "tags": ["lifeboat", *tags],
        "dagrun_timeout": LONGEST_RUN,
        "on_failure_callback": FailureAlert(),
        "on_success_callback": SuccessNotice(),
    }


def backup_params(settings: Settings, kind: BackupKind) -> dict[str, Param]:
    """Return the fields of a backup's trigger form."""
    applications = settings.applications_of(kind)
    databases = sorted({found.name for application in applications for found in settings.databases_of(application)})
    return {
        "application": Param(ALL, type="string", enum=[ALL, *applications], description="What to back up."),
        "databases": Param(
            [],
            type="array",
            items={"type": "string"},
            examples=databases,
            description="Only these databases. Empty: all of the application.",
        ),
        "destinations": Param(
            [],
            type="array",
            items={"type": "string"},
            examples=list(settings.destinations),
            description="Only to these destinations. Empty: to all of the application.",
        ),
        "note": Param("", type="string", maxLength=500, description="Kept in the archive's manifest."),
    }


def backup_groups(settings: Settings, kind: BackupKind, interval: timedelta) -> None:
    """Add one task group per application of the settings to the current DAG.

    :param kind: kind of the archives.
    :param interval: time between two scheduled runs.
    """
    for application in settings.applications_of(kind):
        with TaskGroup(group_id=group_id(application, settings.applications)):
            backup_group(settings, application, kind, interval)


def backup_group(settings: Settings, application: str, kind: BackupKind, interval: timedelta) -> None:
    """Add the steps of one application's backup to the current task group."""
    prepare = PrepareStagingOperator(
        task_id="prepare_staging",
        application=application,
        kind=kind,
        interval=interval,
        max_active_tis_per_dag=1,  # backfilled runs start at once; one after the other sees what the former began
        execution_timeout=LONGEST_STEP,
    ).as_setup()  # type: ignore[no-untyped-call]
    databases = [database.name for database in settings.databases_of(application)]
    archive = PackArchiveOperator(
        task_id="archive",
        application=application,
        kind=kind,
        # The trigger form may have left databases out; and what follows a setup directly has no choice.
        trigger_rule="none_failed_min_one_success" if databases else "all_success",
        execution_timeout=LONGEST_STEP,
    )
    upload = UploadArchiveOperator.partial(
        task_id="upload",
        application=application,
        archive=archive.output,
        map_index_template="{{ task.destination }}",
        execution_timeout=LONGEST_STEP,
    ).expand(destination=list(settings.destinations_of(application)))
    remove = RemoveStagingOperator(task_id="remove_staging", application=application).as_teardown(setups=prepare)
    if databases:
        dump = DumpDatabaseOperator.partial(
            task_id="dump",
            application=application,
            map_index_template="{{ task.database }}",
            execution_timeout=LONGEST_DUMP,
        ).expand(database=databases)
        prepare >> dump >> archive
    else:
        prepare >> archive
    archive >> upload >> remove


def cleanup_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of a clean-up's trigger form."""
    return {
        "dry_run": Param(False, type="boolean", description="Print the plan and delete nothing."),
        "application": Param(ALL, type="string", enum=[ALL, *settings.applications], description="What to clean up."),
        "destination": Param(
            ALL_DESTINATIONS,
            type="string",
            enum=[ALL_DESTINATIONS, *settings.destinations],
            description="Where to clean up.",
        ),
    }


def cleanup_groups(settings: Settings) -> None:
    """Add one task group per destination to the current DAG: a destination that fails stops no other."""
    for destination in settings.destinations:
        with TaskGroup(group_id=group_id(destination, settings.destinations)):
            evaluate = EvaluateRetentionOperator(
                task_id="evaluate_retention", destination=destination, execution_timeout=LONGEST_STEP
            )
            DeleteArchivesOperator(
                task_id="delete_archives",
                destination=destination,
                order=cast(dict[str, Any], evaluate.output),  # rendered to what it returned
                execution_timeout=LONGEST_STEP,
            )


def check_params(settings: Settings) -> dict[str, Param]:
    """Return the fields of a check's trigger form."""
    params = cleanup_params(settings)
    return {
        "application": params["application"],
        "destination": params["destination"],
        "deep": Param(False, type="boolean", description="Read the newest archives back and compare their SHA-256."),
    }


def check_groups(settings: Settings) -> None:
    """Add a check of every destination to the current DAG, and their comparison."""
    checks = {}
    for destination in settings.destinations:
        with TaskGroup(group_id=group_id(destination, settings.destinations)):
            checks[destination] = CheckDestinationOperator(
                task_id="check", destination=destination, execution_timeout=LONGEST_STEP
            )
    compare = CompareDestinationsOperator(
        task_id="compare",
        checks={destination: check.task_id for destination, check in checks.items()},
        trigger_rule="all_done",
        execution_timeout=LONGEST_STEP,
    )
    list(checks.values()) >> compare


def group_id(name: str, names: Iterable[str]) -> str:
    """Return a task group id for a name: the name itself, with a number where two of all names become one."""
    taken: dict[str, str] = {}
    for other in names:
        plain = candidate = re.sub(r"[^\w-]+", "_", other, flags=re.ASCII).strip("_") or "unnamed"
        numbers = itertools.count(2)
        while candidate in taken.values():
            candidate = f"{plain}_{next(numbers)}"
        taken[other] = candidate
    return taken[name]
