"""Collect the report of a run that has ended, from its tasks' XComs and from the destinations."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lifeboat.actions import check
from lifeboat.actions.check import Examined
from lifeboat.actions.drill import Report
from lifeboat.airflow.alerts import routes
from lifeboat.airflow.alerts.message import Failure, Line, Told
from lifeboat.airflow.alerts.routes import Subjects
from lifeboat.airflow.failures import NO_REASON
from lifeboat.airflow.operators.base import FAILURE, PARTS
from lifeboat.airflow.operators.listing import LIST_DATABASES, NEW
from lifeboat.airflow.operators.logs import AGAIN
from lifeboat.catalog.proof import ChainProof, checks_text
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.decide.restored import RestoredDatabase, RestoredFiles, RestoreReport
from lifeboat.settings.unreadable import Unreadable
from lifeboat.support import clock
from lifeboat.support.logs import logger
from lifeboat.text import age_text, listed, plural

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.settings.config import Settings

log = logger(__name__)

EXAMINE_SECONDS = 6  # for the last good backups, which a dead destination must not delay
TIMED_OUT = "The run took longer than its limit, and was ended."


def failed_run(context: Context, settings: Settings | Unreadable) -> Told:
    """Collect what failed in a run, and why, from what its tasks left."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    subjects = routes.subjects_of(settings, dag_id, (context.get("params") or {}).get("application"))
    ti = context.get("ti")
    failures: list[Failure] = []
    states: dict[str, str | None] = {}
    try:
        if ti is not None:
            states = ti.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
            failed = [name for name, state in states.items() if state == "failed"]
            failures = [failure for name in failed for failure in _failures(ti, name, run_id, subjects)]
    except Exception as error:  # noqa: BLE001  # an alert without details is better than none
        log.warning("The alert has no details: %s.", error)
    if not failures:
        reason = _reason(context, settings)
        failures = [Failure(dag_id, name, reason, name) for name in subjects.unfinished(states)]
    note = "Partial uploads do not count as backups; archives published earlier are unchanged."
    good = last_good(settings, {failure.application for failure in failures})
    return Told(f"{dag_id} failed", run_id, tuple(failures), (), good, note, _url(context))


def _reason(context: Context, settings: Settings | Unreadable) -> str:
    """Return why a run failed whose tasks left no reason."""
    if isinstance(settings, Unreadable):
        return settings.reason
    return TIMED_OUT if context.get("reason") == "timed_out" else NO_REASON


def new_databases(context: Context, settings: Settings | Unreadable) -> tuple[Line, ...]:
    """Return which databases a backup holds that no archive before it held."""
    subjects = routes.subjects_of(settings, context["dag"].dag_id, (context.get("params") or {}).get("application"))
    tasks = [task.task_id for task in context["dag"].tasks if task.task_id.rpartition(".")[2] == LIST_DATABASES]
    lines = []
    try:
        for task in tasks:
            for new in context["ti"].xcom_pull(task_ids=[task], key=NEW, run_id=str(context["run_id"])) or []:
                application = subjects.of_task(task, -1)
                names = [name for name in new if isinstance(name, str)] if isinstance(new, list) else []
                if names:
                    lines.append(Line(application, f"New databases in the backup of {application}: {listed(names)}."))
    except Exception as error:  # noqa: BLE001  # good news without details is better than none
        log.warning("Whether the backup holds new databases is not known: %s.", error)
    return tuple(lines)


def succeeded_run(
    context: Context, settings: Settings | Unreadable, news: tuple[Line, ...] = (), *, is_asked_for: bool = True
) -> Told:
    """Return that a run succeeded, its news, and when the last good backups were.

    :param is_asked_for: whether to report it even without news.
    """
    dag_id = context["dag"].dag_id
    application = routes.subjects_of(settings, dag_id, None).of_run()
    lines = (*([Line(application, "")] if is_asked_for else []), *news)
    good = last_good(settings, {line.application for line in lines})
    return Told(f"{dag_id} succeeded", str(context["run_id"]), lines=lines, last_good=good, url=_url(context))


def recovered_run(context: Context, settings: Settings | Unreadable) -> Told | None:
    """Return which logs are shipped again after an alert; None where there are none."""
    run_id, tasks = str(context["run_id"]), [task.task_id for task in context["dag"].tasks]
    try:
        told = [text for text in context["ti"].xcom_pull(task_ids=tasks, key=AGAIN, run_id=run_id) or [] if text]
    except Exception as error:  # noqa: BLE001  # nobody waits for good news
        log.warning("Whether something is shipped again is not known: %s.", error)
        return None
    if not told:
        return None
    named = sorted(settings.teams, key=len, reverse=True)  # "Shop: a" before "Shop"
    lines = tuple(Line(next((name for name in named if text.startswith(f"{name}: ")), ""), text) for text in told)
    return Told(f"{context['dag'].dag_id} works again", run_id, lines=lines, url=_url(context))


def restored_run(context: Context) -> Told:
    """Collect what a restore's tasks left."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    title = f"{dag_id} succeeded"
    lines: list[Line] = []
    try:
        report = _restore_report(context["ti"], run_id)
        lines = [Line(report.plan.application, line) for line in report.lines()]
        if not report.databases and not report.files:
            title = f"{dag_id} restored nothing: nobody approved it"
    except Exception as error:  # noqa: BLE001  # a report without details is better than none
        log.warning("The report has no details: %s.", error)
    return Told(title, run_id, lines=tuple(lines), url=_url(context))


def _restore_report(ti: Any, run_id: str) -> RestoreReport:
    def left(task: str, key: str = "return_value") -> list[Any]:
        return [value for value in ti.xcom_pull(task_ids=[task], key=key, run_id=run_id) or [] if value]

    (sealed,) = left("select", "plan")
    return RestoreReport(
        RestorePlan.from_json(sealed["facts"]),
        next(iter(left("safety_backup")), None),
        tuple(map(RestoredDatabase.from_json, (*left("restore"), *left("restore_database")))),
        next(map(RestoredFiles.from_json, left("restore_files")), None),
        tuple(command for commands in left("after_restore") for command in commands),
    )


def drilled_run(context: Context) -> Told:
    """Collect what a drill's tasks left, and what is still unproven."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    told = Told(f"{dag_id} succeeded", run_id, url=_url(context))
    try:
        tasks = [task.task_id for task in context["dag"].tasks if task.task_id.rpartition(".")[2] == "drill"]
        proven = filter(None, context["ti"].xcom_pull(task_ids=tasks, run_id=run_id) or [])
        lines = [_drill_line(Report.from_json(facts)) for facts in proven]
        chains = [task.task_id for task in context["dag"].tasks if task.task_id.rpartition(".")[2] == "drill_chain"]
        replayed = filter(None, context["ti"].xcom_pull(task_ids=chains, run_id=run_id) or [])
        lines += [_chain_line(ChainProof.from_json(facts)) for facts in replayed]
        told = replace(told, title=dag_id, lines=tuple(lines), counted=_proven_text)
    except Exception as error:  # noqa: BLE001  # a report without details is better than none
        log.warning("The report has no details: %s.", error)
    return replace(told, last_good=_coverage())


def _proven_text(number: int) -> str:
    return f"{plural(number, 'archive')} proven" if number else "nothing to prove yet"


def _drill_line(proven: Report) -> Line:
    notes = "".join(f" Note: {note}." for note in proven.notes)
    text = f"Proven: {proven.key} at {proven.destination}; recovered in {proven.seconds:.0f} s; compared"
    return Line(proven.key.partition("/")[0], f"{text} {proven.compared}.{checks_text(proven.checks)}{notes}")


def _chain_line(proven: ChainProof) -> Line:
    notes = "".join(f" Note: {note}." for note in proven.notes)
    return Line(proven.application, f"Proven: {proven}.{notes}")


def _coverage() -> tuple[Line, ...]:
    """Return what is proven, and what is not, as far as destinations can be read in time."""
    covered = [
        finding for each in _examined().values() for finding in each.findings if finding.check.endswith(" coverage")
    ]
    return tuple(Line(finding.application, line) for finding in covered for line in check.report([finding]))


def _url(context: Context) -> str:
    ti = context.get("ti")
    return str(ti.log_url).partition("/tasks/")[0] if ti is not None else ""


def _failures(ti: Any, name: str, run_id: str, subjects: Subjects) -> list[Failure]:
    """Return what a failed task left, for each application; mapped tasks are named ``<task id>_<map index>``."""
    task_id, _, index = name.rpartition("_")
    candidates = [(task_id, int(index)), (name, -1)] if index.isdigit() else [(name, -1)]
    for task, map_index in candidates:
        left = ti.xcom_pull(task_ids=task, key=FAILURE, map_indexes=map_index, run_id=run_id)
        if isinstance(left, dict):
            # As text, whatever somebody may have made of it: nothing may keep an alert from being sent.
            subject, reason = (str(left.get(part) or "") for part in ("subject", "reason"))
            called = task if map_index < 0 else f"{task}[{map_index}]"
            parts = left.get(PARTS)
            reasons = parts if isinstance(parts, dict) and parts else {subjects.of_task(task, map_index): reason}
            return [Failure(called, subject, str(why) or NO_REASON, str(of)) for of, why in reasons.items()]
    return [Failure(name, "", NO_REASON, next(filter(None, (subjects.of_task(*each) for each in candidates)), ""))]


def last_good(settings: Settings | Unreadable, applications: Collection[str]) -> tuple[Line, ...]:
    """Return when the newest archives of applications were captured, as far as that can be found out in time.

    :param applications: an empty name means all.
    """
    if isinstance(settings, Unreadable):
        text = "The last good backup is unknown: the settings cannot be read. No backup is taken until they can."
        return (Line("", text),)
    now = clock.now()
    try:
        examined = _examined()
    except Exception as error:  # noqa: BLE001  # an alert without it is better than none
        return (Line("", f"The last good backup is unknown: {type(error).__name__}."),)
    silent = [name for name in settings.destinations if name not in examined or not examined[name].held]
    lines = []
    for application in settings.applications:
        if "" not in applications and application not in applications:
            continue
        times = [times[0] for each in examined.values() for times in each.held.get(application, {}).values()]
        unknown = "not known" if silent else "none was found"
        when = f"{max(times):%Y-%m-%d %H:%M} UTC, {age_text(now - max(times))} ago" if times else unknown
        lines.append(Line(application, f"Last good backup of {application}: {when}"))
    return (*lines, *([Line("", f"Could not be read: {', '.join(silent)}.")] if silent else []))


def _examined() -> dict[str, Examined]:
    """Look at every destination that answers in time; return what was found, by name."""
    from lifeboat.airflow.site import load_site

    site = load_site()
    names = list(site.settings.applications)
    pool = ThreadPoolExecutor(len(site.settings.destinations))
    pending = {name: pool.submit(check.examine, name, site, names, site.now()) for name in site.settings.destinations}
    pool.shutdown(wait=False)
    done, _ = wait(pending.values(), EXAMINE_SECONDS)
    return {name: examination.result() for name, examination in pending.items() if examination in done}
