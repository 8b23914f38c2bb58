"""Base classes of the operators: settings, staging, choices of the trigger form, reports of failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from lifeboat.airflow.compat import AirflowException, AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.site import Site
    from lifeboat.staging import Staging
    from lifeboat.storage import Destination

FAILURE = "failure"  # XCom key under which a failed task leaves its reason for the alert
PARTS = "parts"  # in what it leaves there: the reason of each application that it concerns, where these are several
PROGRESS = "progress"  # XCom key under which a running task leaves how far it has come, for the page
WAIT = "wait_for_turn"  # task before that, where the settings spread backups
PREPARE = "prepare_staging"  # task that opens the staging of an application
ALL = "all applications"
ALL_DESTINATIONS = "all destinations"
ACTIVE = ["queued", "running"]
LONGEST_REASON = 20_000  # characters


class LifeboatOperator(BaseOperator):
    """A step of a pipeline."""

    ui_color = "#e3f2ef"

    def execute(self, context: Context) -> Any:
        """Do the step; leave how far it is, and the reason of a failure, its secrets masked, for page and alert."""
        from lifeboat.errors import LifeboatError
        from lifeboat.support.progress import reported

        try:
            with reported(lambda reached: context["ti"].xcom_push(key=PROGRESS, value=reached._asdict())):
                return self.step(context)
        except AirflowSkipException:
            raise
        except LifeboatError as error:
            ends = AirflowFailException if error.lasting else AirflowException  # the first is not retried
            raise ends(leave_reason(context, self.subject, error)) from None
        except BaseException as error:  # execution timeouts are not Exceptions
            leave_reason(context, self.subject, error)
            raise

    def step(self, context: Context) -> Any:
        """Do the step itself."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """The subject of the step, as an alert names it."""
        return ""

    def tell_missing_alerts(self, site: Site) -> None:
        """Say which channels are off; for one task at the start of a run."""
        for channel in ("slack", "email"):
            if getattr(site.settings.alerts, channel) is None:
                self.log.warning("No %s alerts: the settings name none under alerts.%s.", channel, channel)

    def tell(self, lines: Iterable[str], bad: Iterable[tuple[str, str]]) -> None:
        """Log a report.

        :param bad: its bad lines, each with the application that it concerns; empty where that is none.
        :raises UnhealthyError: with its bad lines, if there are any.
        """
        from lifeboat.errors import UnhealthyError

        for line in lines:
            self.log.info("%s", line)
        lines_of: dict[str, list[str]] = {}
        if told := list(bad):
            for application, line in told:
                lines_of.setdefault(application, []).append(line)
            parts = {application: "\n".join(of) for application, of in lines_of.items()}
            raise UnhealthyError("\n".join(line for _, line in told), parts=parts)

    def site(self) -> Site:
        """Read the settings again, as they may have changed since the DAG was parsed."""
        from lifeboat.airflow.site import load_site

        return load_site()


def leave_reason(context: Context, subject: str, error: BaseException) -> str:
    """Leave the reason of a failure, its secrets masked, where the alert finds it; return it."""
    from lifeboat.errors import UnhealthyError

    reason = _readable(str(error) or type(error).__name__)
    left: dict[str, object] = {"subject": subject, "reason": reason[:LONGEST_REASON]}
    if isinstance(error, UnhealthyError) and error.parts:
        left[PARTS] = {name: _readable(part)[:LONGEST_REASON] for name, part in error.parts.items()}
    context["ti"].xcom_push(key=FAILURE, value=left)
    return reason


def _readable(text: str) -> str:
    """Return a text with its secrets masked; names of files may not be UTF-8."""
    from lifeboat.airflow.compat import redact

    return str(redact(text)).encode("utf-8", "backslashreplace").decode()


class ApplicationOperator(LifeboatOperator):
    """A step for one application.

    :param application: name of the application in the settings.
    """

    template_fields: Sequence[str] = ("application",)

    def __init__(self, *, application: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.application = application

    @property
    def subject(self) -> str:
        return self.application

    def staging(self, context: Context, opened_on: str = "") -> Staging:
        """Return the staging of this application in this run.

        :param opened_on: name of the machine that opened it.
        """
        run = context["dag_run"]
        return self.site().staging().of(run.dag_id, run.run_id, self.application, opened_on)

    def opened_staging(self, context: Context) -> Staging:
        """Return the same, for a step that can tell where it was opened when it does not find it."""
        group = f"{self.task_group.group_id}." if self.task_group and self.task_group.group_id else ""
        return self.staging(context, context["ti"].xcom_pull(task_ids=group + PREPARE) or "")

    def sweep(self, context: Context, site: Site) -> list[str]:
        """Remove the staging of runs that have ended; return the runs that have not."""
        from lifeboat import staging

        run = context["dag_run"]
        alive: list[str] = []

        def is_over(run_id: str) -> bool:
            if run_id == run.run_id:
                return False
            # Counting, because asking for the state of a run that somebody deleted is an error.
            over = context["ti"].get_dr_count(run.dag_id, run_ids=[run_id], states=ACTIVE) == 0
            if not over:
                alive.append(run_id)
            return over

        for run_id in staging.sweep(site.staging(), run.dag_id, is_over):
            self.log.info("Removed the staging that run %s left.", run_id)
        return alive


class DestinationOperator(LifeboatOperator):
    """A step for one destination, for the applications that the trigger form chose.

    :param destination: name of the destination in the settings.
    """

    template_fields: Sequence[str] = ("destination",)

    def __init__(self, *, destination: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.destination = destination

    @property
    def subject(self) -> str:
        return f"destination {self.destination}"

    def begin(self, site: Site) -> None:
        """Report once per run what concerns all of it."""
        if self.destination == next(iter(site.settings.destinations)):
            self.tell_missing_alerts(site)

    def applications(self, context: Context, site: Site) -> list[str]:
        """Return the chosen applications that keep archives at this destination; skip where there is none."""
        wanted = context["params"].get("destination", ALL_DESTINATIONS)
        if wanted not in (ALL_DESTINATIONS, self.destination):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        application = context["params"].get("application", ALL)
        names = list(site.settings.applications) if application == ALL else [application]
        here = [name for name in names if self.destination in site.settings.destinations_of(name)]
        if not here:
            raise AirflowSkipException(f"{application} keeps no archives at {self.destination}.")
        return here

    def target(self, site: Site) -> Destination:
        """Return the destination, ready for what deletes."""
        return site.destination(self.destination, deleting=True)


def chosen(context: Context, param: str) -> tuple[str, ...]:
    """Return the names that the trigger form chose; empty when it left the choice open."""
    return tuple(context["params"].get(param) or ())
