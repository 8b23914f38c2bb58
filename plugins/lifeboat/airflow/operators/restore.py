"""The steps of a restore: select, verify, approve, safety backup, databases, files, what comes after.

Each step is given the plan that `select` sealed, and leaves a receipt, sealed as well, that names that plan. A step
runs only if all steps before it left theirs: somebody may have set the task states that Airflow shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException, started_by, trigger
from lifeboat.airflow.operators.base import ApplicationOperator, LifeboatOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.decide.restore_plan import DatabaseStep, Receipt, RestorePlan
    from lifeboat.site import Site

PLAN = "plan"  # XCom key of `select`
RECEIPT = "receipt"  # XCom key of the other steps
RESTORE_PLAN = "restore plan"  # what a plan is sealed as
VERIFY, APPROVE, SAFETY_BACKUP = "verify", "approve", "safety_backup"  # task ids
LONGEST_PLAN = timedelta(hours=24)  # as long as a run; later, what a plan says of what exists may be wrong
ANY_DESTINATION = "any destination"


class SelectArchiveOperator(LifeboatOperator):
    """Find the archive that the trigger form asks for, and decide where everything goes.

    :param files: whether the application's files are restored, too.
    """

    template_fields: Sequence[str] = ("files",)

    def __init__(self, *, files: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.files = files

    def step(self, context: Context) -> list[object]:
        """Select; leave the plan, and return the databases to restore.

        :raises SettingsError: a second person is to approve, and nobody knows who the first one is.
        """
        from lifeboat.actions import restore
        from lifeboat.airflow.operators.sealed import seal
        from lifeboat.decide.restore_plan import LATEST, RestoreRequest

        site = self.site()
        self.tell_missing_alerts(site)
        if site.settings.restore.require_approval:
            _require_requester(context["dag_run"])
        params = context["params"]
        destination = params["destination"]
        request = RestoreRequest(
            application=params["application"],
            archive=params["archive"] or LATEST,
            destination="" if destination == ANY_DESTINATION else destination,
            databases=chosen(context, "databases"),
            table=params.get("table") or "",
            files=self.files,
            path=params.get("path") or "",
            into=params["into"] or "",
            overwrite=_names(params["overwrite"]),
            until=params.get("until") or "",
        )
        # The run's own time names what is new, so that a task that is tried again makes no second copy.
        plan = restore.select(site, request, context["dag_run"].run_after or site.now())
        context["ti"].xcom_push(key=PLAN, value=seal(context, site, RESTORE_PLAN, plan))
        return list(plan.to_json()["databases"])


def _require_requester(run: Any) -> None:
    """Make sure that somebody is known to ask for a restore, so that another person can approve it."""
    from lifeboat.errors import SettingsError

    hint = "Trigger the DAG again yourself: then another person can approve it."
    if run.clear_number:
        raise SettingsError("This run was cleared, possibly by another user than the one who started it.", hint)
    if not started_by(run):
        raise SettingsError("No person started this run, so nobody would be the second one.", hint)


def _names(typed: str | Sequence[str] | None) -> tuple[str, ...]:
    return (typed,) if isinstance(typed, str) and typed else tuple(typed or ())


def planned(context: Context, site: Site, sealed: object) -> RestorePlan:
    """Return the plan that `select` sealed.

    :raises UntrustedError: it did not seal this one.
    """
    from lifeboat.airflow.operators.sealed import unseal
    from lifeboat.decide.restore_plan import RestorePlan

    return unseal(context, site, RESTORE_PLAN, sealed, RestorePlan, LONGEST_PLAN)


def leave_receipt(context: Context, site: Site, sealed: Sealed) -> None:
    """Leave word that the current task has done its part of a plan.

    :param sealed: the plan, which `planned` accepted.
    """
    from lifeboat.airflow.operators.sealed import seal
    from lifeboat.decide.restore_plan import Receipt

    ti = context["ti"]
    what = _receipt_of(ti.task_id, ti.map_index)
    ti.xcom_push(key=RECEIPT, value=seal(context, site, what, Receipt(sealed["hmac_sha256"], _began(context))))


def _began(context: Context) -> str:
    """Return when the run began, which changes when it is cleared or created again."""
    return str(context["dag_run"].start_date)


def require_receipts(context: Context, site: Site, sealed: Sealed, *tasks: str | tuple[str, int]) -> None:
    """Make sure that tasks have done their part of a plan.

    :param tasks: their ids, with the index of those that are mapped.
    :raises UntrustedError: one did not, or for another plan.
    """
    from lifeboat.airflow.operators.sealed import HINT, unseal
    from lifeboat.decide.restore_plan import Receipt
    from lifeboat.errors import UntrustedError

    for each in tasks:
        task, index = each if isinstance(each, tuple) else (each, -1)
        receipt = context["ti"].xcom_pull(task_ids=task, key=RECEIPT, map_indexes=index)
        what = _receipt_of(task, index)
        left = unseal(context, site, what, receipt, Receipt, LONGEST_PLAN)
        if left.plan != sealed["hmac_sha256"]:
            raise UntrustedError(f"The {what} is of another plan.", HINT)
        if task == APPROVE:
            _require_first_time(context, left)


def _require_first_time(context: Context, approval: Receipt) -> None:
    """:raises UntrustedError: what was approved may have been done already."""
    from lifeboat.errors import UntrustedError

    ti = context["ti"]
    if approval.began != _began(context) or ti.max_tries > (ti.task.retries or 0):
        raise UntrustedError(
            "The approval was used: this step, or its run, was cleared since.",
            "Trigger the DAG again, and ask for approval again.",
        )


def _receipt_of(task: str, index: int | None) -> str:
    return f"receipt of {task}" if index in (None, -1) else f"receipt of {task}[{index}]"


class RestoreStepOperator(ApplicationOperator):
    """A step of a restore that was planned.

    :param plan: what `SelectArchiveOperator` left.
    """

    template_fields: Sequence[str] = ("plan",)

    def __init__(self, *, plan: Sealed, **kwargs: Any) -> None:
        super().__init__(application="", **kwargs)
        self.plan = plan
        self.known_plan: RestorePlan | None = None

    @property
    def subject(self) -> str:
        return f"{self.known_plan.application}, {self.known_plan.key}" if self.known_plan else ""

    def step(self, context: Context) -> Any:
        """Check the plan and what must come before this step, do the step, and leave its receipt."""
        site = self.site()
        self.known_plan = plan = planned(context, site, self.plan)
        require_receipts(context, site, self.plan, *self.before(site, plan))
        try:
            result = self.carry_out(context, site, plan)
        except AirflowSkipException:
            leave_receipt(context, site, self.plan)  # there was nothing to do
            raise
        leave_receipt(context, site, self.plan)
        return result

    def before(self, site: Site, plan: RestorePlan) -> Sequence[str | tuple[str, int]]:
        """Return the tasks whose receipts this step needs."""
        return (VERIFY, *((APPROVE,) if site.settings.restore.require_approval else ()), SAFETY_BACKUP)

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> Any:
        """Do the step itself."""
        raise NotImplementedError


class VerifyArchiveOperator(RestoreStepOperator):
    """Read the whole archive before anything is changed."""

    def before(self, site: Site, plan: RestorePlan) -> Sequence[str | tuple[str, int]]:
        return ()

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> None:
        """Verify."""
        from lifeboat.actions import restore

        restore.verify(site, plan)


class SafetyBackupOperator(RestoreStepOperator):
    """Back up what the restore is about to replace."""

    def before(self, site: Site, plan: RestorePlan) -> Sequence[str | tuple[str, int]]:
        return super().before(site, plan)[:-1]

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> str:
        """Take and publish the backup; return its key. Skipped where nothing is replaced."""
        from lifeboat.actions import restore

        run = context["dag_run"]
        scratch = site.staging().of(run.dag_id, run.run_id, plan.application)
        self.sweep(context, site)
        scratch.create()
        try:
            taken = restore.safety_backup(site, plan, scratch)
        finally:
            scratch.remove()
        if taken is None:
            raise AirflowSkipException("Nothing that exists is replaced.")
        return taken.packed.key


class RestoreDatabaseOperator(RestoreStepOperator):
    """Load one database from the archive and compare it with what was captured.

    :param database: the one of the plan's databases that has this task's index.
    """

    template_fields: Sequence[str] = (*RestoreStepOperator.template_fields, "database")

    def __init__(self, *, database: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.schema = ""

    @property
    def subject(self) -> str:
        return f"{self.known_plan.application}, database {self.schema}" if self.known_plan else ""

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> object:
        """Restore; return the facts for the report."""
        from lifeboat.actions import restore

        params = context["params"]
        database = self._database(plan, context["ti"].map_index)
        self.schema = database.schema
        compare = bool(params.get("compare", True))
        return restore.restore_database(site, plan, database, compare=compare).to_json()

    def _database(self, plan: RestorePlan, index: int | None) -> DatabaseStep:
        """Return the database of the plan that this task restores.

        :raises UntrustedError: the task was given another one.
        """
        from lifeboat.airflow.operators.sealed import HINT
        from lifeboat.errors import UntrustedError

        step = dict(enumerate(plan.databases)).get(-1 if index is None else index)
        if step is None or self.database != asdict(step):
            raise UntrustedError(f"The database that restore[{index}] was given is not the one of the plan.", HINT)
        return step


class BackUpRestoredOperator(RestoreStepOperator):
    """Start a backup of what was restored in place to a moment: restores to later moments begin with it.

    :param databases: id of the task that restores databases.
    """

    def __init__(self, *, databases: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.databases = databases

    def before(self, site: Site, plan: RestorePlan) -> Sequence[str | tuple[str, int]]:
        return (*super().before(site, plan), *((self.databases, index) for index in range(len(plan.databases))))

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> None:
        """Start it. Skipped where nothing was replaced by what logs lead to."""
        if not plan.recovery or not any(database.in_place for database in plan.databases):
            raise AirflowSkipException("No database was restored in place to a moment.")
        dag_id = site.settings.dag_of(plan.application, "database")
        try:
            trigger(dag_id, f"restored__{context['run_id']}", {"application": plan.application})
        except Exception as error:  # noqa: BLE001  # the restore has ended well, and its report asks for a backup
            self.log.warning("Trigger %s now: that failed here (%s).", dag_id, error)


class RestoreFilesOperator(RestoreStepOperator):
    """Bring the files out of the archive, and swap them in where they replace something."""

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> object:
        """Restore; return the facts for the report."""
        from lifeboat.actions import restore

        return restore.restore_files(site, plan).to_json()


class AfterRestoreOperator(RestoreStepOperator):
    """Run the commands that the settings name for a restored application.

    :param databases: id of the task that restores databases.
    :param files: id of the task that restores files.
    """

    def __init__(self, *, databases: str, files: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.databases = databases
        self.files = files

    def before(self, site: Site, plan: RestorePlan) -> Sequence[str | tuple[str, int]]:
        restored = ((self.databases, index) for index in range(len(plan.databases)))
        return (*super().before(site, plan), *restored, self.files)

    def carry_out(self, context: Context, site: Site, plan: RestorePlan) -> list[str]:
        """Run; return the commands. Skipped where there are none."""
        from lifeboat.actions import after_restore

        if not context["params"].get("after_restore", True):
            raise AirflowSkipException("The run was asked to run no commands.")
        commands = after_restore.run_commands(site, plan)
        if not commands:
            raise AirflowSkipException("The settings name no commands under after_restore, or only a part is restored.")
        return commands
