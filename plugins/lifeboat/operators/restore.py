"""The steps of a restore: select, verify, safety backup, databases, files, what comes after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifeboat.operators.base import ApplicationOperator, LifeboatOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.recovery import RestorePlan

PLAN = "plan"  # XCom keys of `select`
SUMMARY = "summary"
ANY_DESTINATION = "any destination"


class SelectArchiveOperator(LifeboatOperator):
    """Find the archive that the trigger form asks for, and decide where everything goes.

    :param files: whether the application's files are restored, too.
    """

    template_fields: Sequence[str] = ("files",)

    def __init__(self, *, files: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.files = files

    def step(self, context: Context) -> list[dict[str, Any]]:
        """Select; leave the plan and a summary for whoever approves, and return the databases to restore."""
        from lifeboat import restore
        from lifeboat.recovery import LATEST, RestoreRequest

        settings = self.settings()
        self.tell_missing_alerts(settings)
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
        )
        # The run's own time names what is new, so that a task that is tried again makes no second copy.
        plan = restore.select(settings, request, context["dag_run"].run_after or datetime.now(UTC))
        push = context["ti"].xcom_push
        facts = plan.to_json()
        push(key=PLAN, value=facts)
        push(key=SUMMARY, value="\n".join(f"* {line}" for line in plan.lines()))
        return list(facts["databases"])


def _names(typed: str | Sequence[str] | None) -> tuple[str, ...]:
    return (typed,) if isinstance(typed, str) and typed else tuple(typed or ())


class RestoreStepOperator(ApplicationOperator):
    """A step of a restore that was planned.

    :param plan: what `SelectArchiveOperator` left.
    """

    template_fields: Sequence[str] = ("plan",)

    def __init__(self, *, plan: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(application="", **kwargs)
        self.plan = plan

    @property
    def subject(self) -> str:
        return f"{self.plan['application']}, {self.plan['key']}"

    @property
    def planned(self) -> RestorePlan:
        """The plan itself."""
        from lifeboat.recovery import RestorePlan

        return RestorePlan.from_json(self.plan)


class VerifyArchiveOperator(RestoreStepOperator):
    """Read the whole archive before anything is changed."""

    def step(self, context: Context) -> None:
        """Verify."""
        from lifeboat import restore

        restore.verify(self.settings(), self.planned)


class SafetyBackupOperator(RestoreStepOperator):
    """Back up what the restore is about to replace."""

    def step(self, context: Context) -> str:
        """Take and publish the backup; return its key. Skipped where nothing is replaced."""
        from lifeboat import connections, restore

        settings, plan = self.settings(), self.planned
        run = context["dag_run"]
        scratch = connections.staging(settings.staging).of(run.dag_id, run.run_id, plan.application)
        self.sweep(context, settings)
        scratch.create()
        try:
            taken = restore.safety_backup(settings, plan, scratch)
        finally:
            scratch.remove()
        if taken is None:
            raise AirflowSkipException("Nothing that exists is replaced.")
        return taken.packed.key


class RestoreDatabaseOperator(RestoreStepOperator):
    """Load one database from the archive and compare it with what was captured.

    :param database: one of the plan's databases.
    """

    template_fields: Sequence[str] = (*RestoreStepOperator.template_fields, "database")

    def __init__(self, *, database: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    @property
    def subject(self) -> str:
        return f"{self.plan['application']}, database {self.database['schema']}"

    def step(self, context: Context) -> dict[str, Any]:
        """Restore; return the facts for the report."""
        from lifeboat import restore
        from lifeboat.recovery import DatabaseStep

        params = context["params"]
        restored = restore.restore_database(
            self.settings(),
            self.planned,
            DatabaseStep(**self.database),
            sequential=bool(params.get("sequential")),
            compare=bool(params.get("compare", True)),
        )
        return restored.to_json()


class RestoreFilesOperator(RestoreStepOperator):
    """Bring the files out of the archive, and swap them in where they replace something."""

    def step(self, context: Context) -> dict[str, Any]:
        """Restore; return the facts for the report."""
        from lifeboat import restore

        return restore.restore_files(self.settings(), self.planned).to_json()


class AfterRestoreOperator(RestoreStepOperator):
    """Run the commands that the settings name for a restored application."""

    def step(self, context: Context) -> list[str]:
        """Run; return the commands. Skipped where there are none."""
        from lifeboat import after_restore

        if not context["params"].get("after_restore", True):
            raise AirflowSkipException("The run was asked to run no commands.")
        commands = after_restore.run_commands(self.settings(), self.planned)
        if not commands:
            raise AirflowSkipException("The settings name no commands under after_restore, or only a part is restored.")
        return commands
