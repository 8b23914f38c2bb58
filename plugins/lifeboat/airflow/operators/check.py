"""Check what every destination holds, compare them, and look whether Airflow runs what protects it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifeboat.airflow import compat
from lifeboat.airflow.operators.base import ALL, DestinationOperator, LifeboatOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.decide.health import Finding
    from lifeboat.decide.schedules import Schedule
    from lifeboat.site import Site

NOT_FOUND = 404  # of HTTP
CHECKED = "checked"  # XCom key: whether all was healthy, and by application, when the newest archives were captured
NEGLECTED = "neglected"  # XCom key: what says which databases nobody backs up, for the page
VANISHED = "vanished"  # XCom key: which databases are gone from whole servers, by application
COMPARE = "compare"  # task that leaves both
WAITING, RUNNING = ["scheduled"], ["queued", "running"]  # states of tasks
LOOK_AGAIN = 30  # seconds; a scheduler needs a few


class CheckDestinationOperator(DestinationOperator):
    """Check every application at one destination; fail with the report when one is not healthy."""

    def step(self, context: Context) -> None:
        """Check; leave what the comparison of destinations needs."""
        from lifeboat.actions import check
        from lifeboat.airflow.operators.sealed import seal
        from lifeboat.decide import health

        site = self.site()
        self.begin(site)
        applications = self.applications(context, site)
        deep = bool(context["params"].get("deep"))
        examined = check.examine(self.destination, site, applications, site.now(), deep=deep)
        bad = list(check.bad_lines(examined.findings))
        concerned = sorted({application for application, _ in bad})
        checked = check.Checked(health.verdict(examined.findings) == "healthy", examined.held, concerned)
        context["ti"].xcom_push(key=CHECKED, value=seal(context, site, _check_of(self.destination), checked))
        self.tell(check.report(examined.findings), bad)


class CompareDestinationsOperator(LifeboatOperator):
    """Compare the destinations with each other, and look at the DAGs; when all is well, ping the heartbeat URL.

    :param checks: ids of the tasks that checked the destinations, by destination.
    """

    template_fields: Sequence[str] = ("checks",)

    def __init__(self, *, checks: dict[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checks = checks

    def step(self, context: Context) -> None:
        """Compare."""
        from lifeboat.actions import check, neglected, servers
        from lifeboat.airflow.alerts import heartbeat
        from lifeboat.airflow.operators.sealed import unseal
        from lifeboat.errors import UnhealthyError

        site = self.site()
        ti = context["ti"]
        states = ti.get_task_states(dag_id=context["dag"].dag_id, run_ids=[context["run_id"]])[context["run_id"]]
        left = {name: ti.xcom_pull(task_ids=task, key=CHECKED) for name, task in self.checks.items()}
        found = {
            name: unseal(context, site, _check_of(name), sealed, check.Checked)
            for name, sealed in left.items()
            if sealed is not None or states.get(self.checks[name]) == "success"
        }
        wanted = context["params"].get("application", ALL)
        applications = list(site.settings.applications) if wanted == ALL else [wanted]
        held = {name: checked.held for name, checked in found.items()}
        now = site.now()
        findings = check.compare(site.settings, applications, held, now)
        findings += [*check.loads(site, applications), *check.log_servers(site, applications)]
        findings += (gone := list(servers.check(site, applications)))
        if wanted == ALL:
            alone = list(neglected.check(site))
            ti.xcom_push(key=NEGLECTED, value=[finding.text for finding in alone])
            ti.xcom_push(key=VANISHED, value={finding.application: finding.text for finding in gone})
            findings += [*_of_schedules(self, ti, site, now), *_of_pools(ti, site), *alone]
        self.tell(check.report(findings), check.bad_lines(findings))
        # This is the last task, so it decides about the run: by what checks found, whatever states somebody set since.
        unhealthy = {name for name, checked in found.items() if not checked.healthy}
        if failed := [name for name, task in self.checks.items() if states.get(task) == "failed" or name in unhealthy]:
            text = f"Not healthy: {', '.join(failed)}. The check of each says why."
            concerned = {of for name in failed for of in (found[name].unhealthy if name in found else ("",))}
            raise UnhealthyError(text, parts=dict.fromkeys(sorted(concerned), text))
        if found.keys() == self.checks.keys() and wanted == ALL:
            heartbeat.ping(site.settings)


def _of_schedules(operator: LifeboatOperator, ti: Any, site: Site, now: datetime) -> Iterable[Finding]:
    """Look whether Airflow runs what protects the applications, as far as its release tells."""
    from lifeboat.decide import schedules

    if not compat.TELLS_OF_DAGS:
        operator.log.warning(
            "Airflow 3.1 does not show DAGs to tasks: paused, missing or overdue DAGs are not detected."
        )
        return ()
    dags = schedules.watched(site.settings)
    return schedules.check(dags, {dag_id: _schedule_of(ti, dag_id) for dag_id in dags}, now)


def _of_pools(ti: Any, site: Site) -> Iterable[Finding]:
    """Look for tasks of backups that wait while none runs, in two looks: no task sees which pools Airflow has."""
    from lifeboat.decide import pools
    from lifeboat.settings.config import BACKUP_KINDS

    if not site.settings.pools:
        return ()
    dags = [dag_id for kind in BACKUP_KINDS for dag_id in site.settings.backup_dags(kind)]
    if waiting := _waiting(ti, dags):
        time.sleep(LOOK_AGAIN)
        waiting = _waiting(ti, dags)
    return pools.waiting(site.settings.pools, waiting)


def _waiting(ti: Any, dags: Iterable[str]) -> int:
    """Return how many tasks of DAGs wait to begin; 0 where one of them runs."""
    if any(ti.get_ti_count(dag_id, states=RUNNING) for dag_id in dags):
        return 0
    return sum(ti.get_ti_count(dag_id, states=WAITING) for dag_id in dags)


def _schedule_of(ti: Any, dag_id: str) -> Schedule | None:
    """Ask Airflow for the schedule of a DAG; None where it has no such DAG."""
    from lifeboat.airflow.compat import AirflowRuntimeError
    from lifeboat.decide.schedules import Schedule

    try:
        dag = ti.get_dag(dag_id)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == NOT_FOUND:
            return None
        raise
    return Schedule(dag.is_paused, dag.next_dagrun)


def _check_of(destination: str) -> str:
    return f"check of {destination}"
