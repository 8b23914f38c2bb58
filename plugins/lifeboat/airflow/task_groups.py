"""The task groups that the DAG files compose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow.sdk import (
    DAG,
    Asset,
    AssetAny,
    BaseNotifier,
    BaseOperator,
    Param,
    TaskGroup,
    XComArg,
)

from lifeboat.airflow.alerts import FailureAlert, SuccessNotice
from lifeboat.airflow.compat import BACKOFF, CronTriggerTimetable
from lifeboat.airflow.failures import OF_POOL
from lifeboat.airflow.operators.archive import PackArchiveOperator
from lifeboat.airflow.operators.base import PREPARE, WAIT
from lifeboat.airflow.operators.check import COMPARE, CheckDestinationOperator, CompareDestinationsOperator
from lifeboat.airflow.operators.cleanup import DeleteArchivesOperator, EvaluateRetentionOperator
from lifeboat.airflow.operators.drill import ChooseArchivesOperator, DrillChainOperator, DrillOperator
from lifeboat.airflow.operators.dump import DumpDatabaseOperator
from lifeboat.airflow.operators.init import InitDestinationOperator
from lifeboat.airflow.operators.listing import LIST_DATABASES, ListDatabasesOperator
from lifeboat.airflow.operators.logs import ShipLogsOperator
from lifeboat.airflow.operators.restore import (
    APPROVE,
    PLAN,
    SAFETY_BACKUP,
    VERIFY,
    AfterRestoreOperator,
    BackUpRestoredOperator,
    RestoreDatabaseOperator,
    RestoreFilesOperator,
    SafetyBackupOperator,
    SelectArchiveOperator,
    VerifyArchiveOperator,
)
from lifeboat.airflow.operators.settings import UnreadableSettingsOperator, WatchSettingsOperator
from lifeboat.airflow.operators.staging import PrepareStagingOperator, RemoveStagingOperator
from lifeboat.airflow.operators.turn import WaitForTurn
from lifeboat.airflow.operators.upload import UploadArchiveOperator
from lifeboat.airflow.operators.verify import ReadBackOperator
from lifeboat.decide.schedules import dag_id_of
from lifeboat.settings.unreadable import Unreadable
from lifeboat.settings.values import AFTER_BACKUP
from lifeboat.text import group_id

if TYPE_CHECKING:
    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.settings.config import BackupKind, Settings, Team

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "retries": 3,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": BACKOFF,
    "max_retry_delay": timedelta(minutes=30),
}
LONGEST_DUMP = timedelta(hours=12)
LONGEST_RUN = timedelta(hours=24)
LONGEST_STEP = timedelta(hours=6)
LONGEST_APPROVAL = timedelta(hours=12)
LONGEST_LOOK = timedelta(minutes=5)
LONGEST_SHIPPING = timedelta(minutes=15)
HOUR = 60  # minutes


def dag_options(
    *tags: str, notice: BaseNotifier | None = None, queue: str | None = None, team: Team | None = None
) -> dict[str, Any]:
    """Return what every DAG of Lifeboat has in common, as arguments of `DAG`.

    :param notice: reports a successful run; default: only if the settings ask for it.
    :param queue: queue of the workers that run it; default: Airflow's default queue.
    :param team: whose DAG it is; default: everybody's.
    """
    own = {"access_control": {role: set(rights) for role, rights in team.access_control.items()}} if team else {}
    return {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DEFAULT_ARGS | _in_queue(queue) | _owned(team),
        "tags": ["lifeboat", *tags, *(team.tags if team else ())],
        "dagrun_timeout": LONGEST_RUN,
        "on_failure_callback": FailureAlert(),
        "on_success_callback": notice or SuccessNotice(),
        **{name: value for name, value in own.items() if value},
    }


def compose(
    dag: DAG,
    settings: Settings | Unreadable,
    tasks: Callable[[Settings], None],
    params: Callable[[Settings], dict[str, Param]],
) -> None:
    """Fill the current DAG; where the settings cannot be read, with one task that fails with the reason.

    :param tasks: adds what the settings say.
    :param params: returns the fields of the trigger form.
    """
    if isinstance(settings, Unreadable):
        UnreadableSettingsOperator(task_id="settings", retries=0, execution_timeout=LONGEST_LOOK)
        return
    tasks(settings)
    dag.params.update(params(settings))  # last: every task that is made after it carries a copy


def queue_of_files(settings: Settings | Unreadable) -> str | None:
    """Return the queue of the workers that have the files of all applications, if it is one."""
    return None if isinstance(settings, Unreadable) else settings.queue_of(settings.applications)


def watch_settings() -> None:
    """Add a look at the settings to the current DAG."""
    WatchSettingsOperator(task_id="settings", retries=0, execution_timeout=LONGEST_LOOK)


@dataclass(frozen=True)
class BackupDag:
    """A DAG that takes backups.

    :param applications: what it backs up.
    :param whose: the same, for its description.
    :param cron: in the settings' time zone; None: never.
    :param team: whose it is, if it backs up one application on its own schedule.
    """

    dag_id: str
    applications: tuple[str, ...]
    whose: str
    schedule: CronTriggerTimetable | None
    team: Team | None = None


def backup_dags(settings: Settings | Unreadable, kind: BackupKind) -> list[BackupDag]:
    """Return the DAGs that take backups of a kind: the common one, and those of applications with own schedules."""
    own, teams = settings.own_schedules(kind), settings.teams
    common = () if isinstance(settings, Unreadable) else settings.backup_dags(kind)[dag_id_of(kind)]
    cron = getattr(settings.schedules, kind) if common or isinstance(settings, Unreadable) else None
    return [
        BackupDag(dag_id_of(kind), tuple(common), "every application", cron_schedule(settings, cron)),
        *(
            BackupDag(dag_id_of(kind, name), (name,), name, cron_schedule(settings, cron), teams[name])
            for name, cron in own.items()
        ),
    ]


def cron_schedule(settings: Settings | Unreadable, cron: str | None) -> CronTriggerTimetable | None:
    """Return when a DAG runs.

    :param cron: in the settings' time zone; None: never.
    """
    return CronTriggerTimetable(cron, timezone=settings.timezone) if cron else None


def logs_schedule(settings: Settings | Unreadable) -> CronTriggerTimetable | None:
    """Return when binary logs are shipped: as often as an application asks for; never, where none does."""
    if isinstance(settings, Unreadable):
        return None
    asked = [logs.every_minutes for name in settings.applications if (logs := settings.logs_of(name))]
    if not asked:
        return None
    every = min(asked)
    return CronTriggerTimetable(f"*/{every} * * * *" if every < HOUR else "0 * * * *", timezone=settings.timezone)


def logs_task(settings: Settings) -> None:
    """Add a task to the current DAG, mapped over the applications whose binary logs are shipped."""
    ShipLogsOperator.partial(
        task_id="ship",
        retries=0,  # the next run is soon
        map_index_template="{{ task.application }}",
        execution_timeout=LONGEST_SHIPPING,
    ).expand(application=list(map(verbatim, settings.applications_with_logs)))


def backup_groups(settings: Settings, kind: BackupKind, applications: Sequence[str]) -> None:
    """Add one task group per application to the current DAG.

    :param kind: kind of the archives.
    """
    for application in applications:
        with group_of(settings, application):
            backup_group(settings, application, kind)


def group_of(settings: Settings, application: str) -> TaskGroup:
    """Return the task group of an application, whose owner its tasks have."""
    owned = _owned(settings.application(application))
    return TaskGroup(group_id=group_id(application, settings.applications), default_args=owned)  # type: ignore[arg-type]


def backup_group(settings: Settings, application: str, kind: BackupKind) -> None:
    """Add the steps of one application's backup to the current task group."""
    prepare = PrepareStagingOperator(
        task_id=PREPARE,
        application=verbatim(application),
        kind=kind,
        max_active_tis_per_dag=1,  # backfilled runs start at once; one after the other sees what the former began
        execution_timeout=LONGEST_STEP,
    ).as_setup()  # type: ignore[no-untyped-call]
    if delay := settings.turn_of(application, kind):
        WaitForTurn(task_id=WAIT, delay=delay, execution_timeout=LONGEST_LOOK) >> prepare
    found = settings.application(application)
    archive = PackArchiveOperator(
        task_id="archive",
        application=verbatim(application),
        kind=kind,
        # The trigger form may have left databases out; and what follows a setup directly has no choice.
        trigger_rule="none_failed_min_one_success" if found.databases else "all_success",
        execution_timeout=LONGEST_STEP,
        **(_in_queue(settings.queue_of([application])) if kind == "application" else {}),
    )
    uploads = [
        UploadArchiveOperator.partial(
            **options,
            application=verbatim(application),
            archive=archive.output,
            outlets=[archive_asset(application)],
            map_index_template="{{ task.destination }}",
            execution_timeout=LONGEST_STEP,
        ).expand(destination=names)
        for options, names in _by_pool(
            "upload", {name: kept.pool for name, kept in settings.destinations_of(application).items()}
        )
    ]
    remove = RemoveStagingOperator(task_id="remove_staging", application=verbatim(application)).as_teardown(
        setups=prepare
    )
    dumps: Iterable[tuple[dict[str, Any], list[str] | XComArg]]
    dumps = _by_pool("dump", {entry.sample.name: entry.pool for entry in found.databases})
    if found.servers:
        listing = ListDatabasesOperator(
            task_id=LIST_DATABASES, application=verbatim(application), execution_timeout=LONGEST_STEP
        )
        prepare >> listing
        dumps = [(options, listing.output) for options, _ in dumps]  # one, as all are in one pool
    for options, databases in dumps:
        dump = DumpDatabaseOperator.partial(
            **options,
            application=verbatim(application),
            map_index_template="{{ task.database }}",
            execution_timeout=LONGEST_DUMP,
        ).expand(database=databases)
        prepare >> dump >> archive
    if not found.databases:
        prepare >> archive
    archive >> uploads >> remove


def _by_pool(step: str, pools: Mapping[str, str | None]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield the id and the pool of each task that does a step, and for what: a task has one pool, however it is mapped.

    :param pools: by what the step is done for.
    """
    shares: dict[str | None, list[str]] = {}
    for name, pool in pools.items():
        shares.setdefault(pool, []).append(verbatim(name))
    for pool, names in shares.items():
        task_id = f"{step}{OF_POOL}{pool}" if pool and len(shares) > 1 else step
        yield {"task_id": task_id, **({"pool": pool} if pool else {})}, names


def _in_queue(queue: str | None) -> dict[str, Any]:
    return {"queue": queue} if queue else {}


def _owned(team: Team | None) -> dict[str, Any]:
    return {"owner": team.owner} if team and team.owner else {}


def init_step(_: Settings) -> None:
    """Add the task that prepares a destination to the current DAG."""
    InitDestinationOperator(
        task_id="init", destination="{{ params.destination }}", retries=0, execution_timeout=LONGEST_LOOK
    )


def cleanup_groups(settings: Settings) -> None:
    """Add one task group per destination to the current DAG: a destination that fails stops no other."""
    for destination in settings.destinations:
        with TaskGroup(group_id=group_id(destination, settings.destinations)):
            evaluate = EvaluateRetentionOperator(
                task_id="evaluate_retention", destination=verbatim(destination), execution_timeout=LONGEST_STEP
            )
            DeleteArchivesOperator(
                task_id="delete_archives",
                destination=verbatim(destination),
                order=cast("Sealed", evaluate.output),  # rendered to what it returned
                execution_timeout=LONGEST_STEP,
            )


def check_groups(settings: Settings) -> None:
    """Add a check of every destination to the current DAG, and their comparison."""
    checks = {}
    for destination in settings.destinations:
        with TaskGroup(group_id=group_id(destination, settings.destinations)):
            checks[destination] = CheckDestinationOperator(
                task_id="check", destination=verbatim(destination), execution_timeout=LONGEST_STEP
            )
    compare = CompareDestinationsOperator(
        task_id=COMPARE,
        checks={destination: check.task_id for destination, check in checks.items()},
        trigger_rule="all_done",
        execution_timeout=LONGEST_STEP,
    )
    list(checks.values()) >> compare


def verify_groups(settings: Settings) -> None:
    """Add the reading of every destination to the current DAG."""
    for destination in settings.destinations:
        with TaskGroup(group_id=group_id(destination, settings.destinations)):
            ReadBackOperator(task_id="read_back", destination=verbatim(destination), execution_timeout=LONGEST_DUMP)


def restore_steps(settings: Settings, *, files: bool) -> None:
    """Add the steps of a restore to the current DAG: nothing is changed before the whole archive was read.

    :param files: whether the application's files are restored, too.
    """
    # The user is waiting for the answer, and can ask again.
    select = SelectArchiveOperator(task_id="select", files=files, retries=0, execution_timeout=LONGEST_STEP)
    plan = cast("Sealed", XComArg(select, key=PLAN))  # rendered to what it left
    verify = VerifyArchiveOperator(task_id=VERIFY, plan=plan, execution_timeout=LONGEST_STEP)
    safety = SafetyBackupOperator(task_id=SAFETY_BACKUP, plan=plan, execution_timeout=LONGEST_DUMP)
    restore = "restore_database" if files else "restore"
    databases = RestoreDatabaseOperator.partial(
        task_id=restore,
        plan=plan,
        map_index_template="{{ task.database['schema'] }}",
        trigger_rule="none_failed",  # having nothing to back up must not stop the restore
        execution_timeout=LONGEST_DUMP,
    ).expand(database=select.output)
    select >> verify >> safety >> databases
    if settings.restore.require_approval:
        verify >> _approval(plan) >> safety
    if not files and any(map(settings.logs_of, settings.applications)):
        back_up = BackUpRestoredOperator(
            task_id="back_up",
            plan=plan,
            databases=restore,
            trigger_rule="none_failed",
            execution_timeout=LONGEST_STEP,
        )
        databases >> back_up
    if files:
        of_files = RestoreFilesOperator(
            task_id="restore_files", plan=plan, trigger_rule="none_failed", execution_timeout=LONGEST_STEP
        )
        after = AfterRestoreOperator(
            task_id="after_restore",
            plan=plan,
            databases=restore,
            files=of_files.task_id,
            trigger_rule="none_failed",
            execution_timeout=LONGEST_STEP,
        )
        safety >> of_files
        [databases, of_files] >> after


def drill_schedule(settings: Settings | Unreadable) -> Any:
    """Return the schedule of drills that the settings ask for; none after backups that are not known."""
    if settings.drill_schedule == AFTER_BACKUP:
        return (
            None
            if isinstance(settings, Unreadable)
            else AssetAny(*(archive_asset(application) for application in settings.applications))
        )
    return cron_schedule(settings, settings.drill_schedule)


def drill_groups(settings: Settings) -> None:
    """Add the drills of every application to the current DAG."""
    for application in settings.applications:
        with group_of(settings, application):
            choose = ChooseArchivesOperator(
                task_id="choose_archives", application=verbatim(application), execution_timeout=LONGEST_STEP
            )
            DrillOperator.partial(
                task_id="drill",
                application=verbatim(application),
                outlets=[proof_asset(application)],
                map_index_template="{{ task.choice['facts']['destination'] }}: {{ task.choice['facts']['key'] }}",
                max_active_tis_per_dag=1,  # they share a scratch server
                execution_timeout=LONGEST_DUMP,
            ).expand(choice=choose.output)
            if settings.logs_of(application):
                # Not behind the other: of a run, the last tasks say whether it failed.
                DrillChainOperator.partial(
                    task_id="drill_chain",
                    application=verbatim(application),
                    map_index_template="{{ task.destination }}",
                    max_active_tis_per_dag=1,
                    execution_timeout=LONGEST_DUMP,
                ).expand(destination=list(map(verbatim, settings.destinations_of(application))))


def archive_asset(application: str) -> Asset:
    """Return the asset that is updated when an archive of an application is published at a destination."""
    return Asset(f"lifeboat/archive/{quote(application)}")  # no scheme: one would load every provider at every parse


def proof_asset(application: str) -> Asset:
    """Return the asset that is updated when an archive of an application is proven to restore."""
    return Asset(f"lifeboat/proof/{quote(application)}")


def _approval(plan: Sealed) -> BaseOperator:
    from lifeboat.airflow.operators.approval import SecondPersonOperator

    return SecondPersonOperator(
        task_id=APPROVE,
        plan=plan,
        subject="A restore waits for a second person",
        response_timeout=LONGEST_APPROVAL,
    )


def verbatim(name: str) -> str:
    """Return a template that Airflow renders to a name as it is, even where Jinja would take or change a part of it."""
    return name if name.isprintable() and "{" not in name else f"{{{{ {name!a} }}}}"
