"""Current and last runs and their results: pure functions of what Airflow knows, the settings and a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from lifeboat.airflow.failures import NO_REASON
from lifeboat.airflow.operators.base import FAILURE, PROGRESS, WAIT
from lifeboat.settings.config import BACKUP_KINDS, BackupKind, Settings
from lifeboat.text import group_id, plural, size_text
from lifeboat.ui.safety import Tone
from lifeboat.ui.words import ago, date_and_time, duration

RESULT = "return_value"  # XCom key of what a task returned
OVER = ("success", "failed")
DONE = ("success", "skipped", "removed")
SILENT = timedelta(minutes=1)  # without a byte, which is worth saying
LONGEST_REASON = 600  # characters
RETRIES = "It tries again by itself, within half an hour."  # as the DAGs' longest delay has it
Lengths = Mapping[tuple[str, str, str], int]
SHOWN = {
    "": "to come",
    "scheduled": "to come",
    "queued": "waits for a worker",
    "restarting": "restarting",
    "up_for_retry": "failed, and will try again",
    "up_for_reschedule": "waits",
    "deferred": "waits",
    "awaiting_input": "waits for approval",
    "upstream_failed": "did not start: a step before it failed",
}


class Task(NamedTuple):
    """A task of a run, as Airflow knows it.

    :param name: of a mapped task.
    :param left: its XComs by key.
    :param heard_at: when it last said how far it is.
    """

    task_id: str
    map_index: int = -1
    name: str = ""
    state: str = ""
    tried: int = 1
    tries: int = 1
    began: datetime | None = None
    ended: datetime | None = None
    left: Mapping[str, object] = {}
    heard_at: datetime | None = None


@dataclass(frozen=True)
class Run:
    """A run of a DAG, as Airflow knows it.

    :param user: who triggered it; empty where nobody did.
    :param tasks: as far as they were asked for.
    """

    dag_id: str
    run_id: str
    state: str
    asked_at: datetime
    began: datetime | None = None
    ended: datetime | None = None
    user: str = ""
    conf: Mapping[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    tasks: tuple[Task, ...] = ()

    @property
    def is_over(self) -> bool:
        """True if nothing of it runs any more."""
        return self.state in OVER

    @property
    def href(self) -> str:
        """The link to it in Airflow's UI, relative to the page."""
        return f"../dags/{quote(self.dag_id, safe='')}/runs/{quote(self.run_id, safe='')}"


@dataclass(frozen=True)
class Known:
    """Airflow's data on the runs that a user may see.

    :param runs: by DAG, newest first; those have their tasks that are not over, or were the last for an application.
    :param lengths: bytes that a thing had when it was done last, by DAG, task and what was being done.
    """

    runs: Mapping[str, Sequence[Run]]
    lengths: Lengths = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A step that is worth a line.

    :param text: how far it is, or why it failed.
    :param percent: how far it is; None where nobody knows.
    :param href: its log.
    """

    label: str
    state: str
    tone: Tone
    text: str
    percent: int | None
    href: str


@dataclass(frozen=True)
class RunView:
    """A run.

    :param about: who began it, and when.
    :param rest: steps that have no line.
    """

    dag_id: str
    href: str
    state: str
    tone: Tone
    is_over: bool
    about: str
    rest: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Last:
    """The last backup of one application and kind.

    :param why: it failed; empty where it did not.
    """

    application: str
    kind: BackupKind
    tone: Tone
    result: str
    when: str = ""
    took: str = ""
    size: str = ""
    why: str = ""
    href: str = ""


@dataclass(frozen=True)
class Strip:
    """The last runs of a DAG, oldest first, each as its tone and what to say of it."""

    dag_id: str
    runs: tuple[tuple[Tone, str], ...]
    text: str
    failed: Run | None


@dataclass(frozen=True)
class Runs:
    """Current and past runs.

    :param last: what failed, or is not known, first.
    """

    now: tuple[RunView, ...]
    last: tuple[Last, ...]
    strips: tuple[Strip, ...]


def runs(settings: Settings, known: Known, now: datetime) -> Runs:
    """Say what runs and what ran."""
    active = [run for of_dag in known.runs.values() for run in of_dag if not run.is_over]
    lasts = [
        _last(settings, application, kind, known.runs[dag_id], now)
        for kind in BACKUP_KINDS
        for dag_id, applications in settings.backup_dags(kind).items()
        if dag_id in known.runs
        for application in applications
    ]
    return Runs(
        tuple(view(settings, run, known.lengths, now) for run in active),
        tuple(sorted(lasts, key=lambda last: (last.tone == "healthy", last.application))),
        tuple(_strip(settings, dag_id, of_dag, now) for dag_id, of_dag in known.runs.items() if of_dag),
    )


def view(settings: Settings, run: Run, lengths: Lengths, now: datetime) -> RunView:
    """Return what is to be said of a run whose tasks are known."""
    groups = _groups(settings)
    steps = [_step(groups, run, task, lengths, now) for task in run.tasks if _is_worth_a_line(task)]
    return RunView(
        run.dag_id, run.href, run.state, _tone(run.state), run.is_over, _about(run, now), _rest(run), tuple(steps)
    )


def _groups(settings: Settings) -> dict[str, str]:
    """Return what task groups are about, by their ids."""
    names = (settings.applications, settings.destinations)
    return {group_id(name, them): name for them in reversed(names) for name in them}


def _is_worth_a_line(task: Task) -> bool:
    return task.state not in ("", "scheduled", *DONE)


def _tone(state: str) -> Tone:
    tones: dict[str, Tone] = {"success": "healthy", "failed": "unhealthy", "up_for_retry": "degraded"}
    return tones.get(state, "unknown")


def _about(run: Run, now: datetime) -> str:
    by = f"by {run.user}" if run.user else "by its schedule"
    if run.state == "queued":
        waits = "waits until somebody unpauses its DAG" if run.is_paused else "waits to start"
        return f"requested {by} {ago(now - run.asked_at)} ago; {waits}"
    began = run.began or run.asked_at
    if run.is_over and run.ended:
        return f"started {by}, ended {ago(now - run.ended)} ago, took {_took(began, run.ended)}"
    return f"started {by} {ago(now - began)} ago"


def _took(began: datetime, ended: datetime) -> str:
    return duration(max(0.0, (ended - began).total_seconds()))


def _rest(run: Run) -> str:
    """Say how many steps have no line, while there are some to come."""
    done = sum(task.state in DONE for task in run.tasks)
    to_come = sum(task.state in ("", "scheduled") for task in run.tasks)
    return "" if run.is_over or not run.tasks else f"{plural(done, 'step')} done, {to_come} to come"


def _step(groups: Mapping[str, str], run: Run, task: Task, lengths: Lengths, now: datetime) -> Step:
    mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
    href = f"{run.href}/tasks/{quote(task.task_id, safe='')}{mapped}"
    state = SHOWN.get(task.state, task.state)
    text, percent = "", None
    if task.state == "running":
        again = f"try {task.tried} of {task.tries}" if task.tried > 1 else ""
        progress, percent = _progress(run, task, lengths, now)
        text = "; ".join(filter(None, (again, progress)))
    elif task.state == "up_for_retry":
        text = f"Try {task.tried} of {task.tries} failed: {why(task)} {RETRIES}"
    elif task.state == "failed":
        text = why(task)
    return Step(_label(groups, task), state, _tone(task.state), text, percent, href)


def _label(groups: Mapping[str, str], task: Task) -> str:
    """Return the name of a step: of what, which step, and which of its copies."""
    group, _, step = task.task_id.rpartition(".")
    name = f" {task.name}" if task.name and task.map_index >= 0 else ""
    label = f"{step.replace('_', ' ')}{name}"
    return f"{groups.get(group, group)}: {label}" if group else label


def why(task: Task) -> str:
    """Return why a task failed, as it left it."""
    left = task.left.get(FAILURE)
    reason = " ".join(str(left.get("reason") or "").split()) if isinstance(left, Mapping) else ""
    return _clipped(reason) or NO_REASON


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}… The log has the rest."


def _progress(run: Run, task: Task, lengths: Lengths, now: datetime) -> tuple[str, int | None]:
    """Say how far a task is, as it last reported it, as text and in percent."""
    left = task.left.get(PROGRESS)
    if not isinstance(left, Mapping):
        return "", None
    doing, done, seconds = str(left.get("doing")), _number(left.get("done")), _number(left.get("seconds"))
    if done is None or seconds is None:
        return "", None
    about, total = "", _number(left.get("total"))
    if total is None:
        about, total = "about ", lengths.get((run.dag_id, task.task_id, doing), 0)
    parts, percent = [f"{doing}: {size_text(done)}"], None
    if total >= done > 0:
        percent = min(99, int(100 * done / total))
        parts = [f"{parts[0]} of {about}{size_text(total)} ({about}{percent} %)"]
    silent = now - task.heard_at if task.heard_at else timedelta()
    if silent >= SILENT:
        parts.append(f"nothing more for {ago(silent)}")
    elif done > 0 and seconds >= 1:
        parts.append(f"{size_text(done / seconds)}/s")
        if percent is not None:
            parts.append(f"about {duration((total - done) / done * seconds)} left")
    return ", ".join(parts), percent


def _number(value: object) -> float | None:
    """Return a number from an XCom, which users may have changed; None if it is something else."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return cast(float, value) if fits else None


def tasks_of(settings: Settings, run: Run, application: str) -> list[Task]:
    """Return the tasks of a run that back an application up; none where it was not asked for."""
    group = group_id(application, settings.applications)
    found = [task for task in run.tasks if task.task_id.rpartition(".")[0] == group]
    return [] if all(task.state in ("skipped", "removed", "") for task in found) else found


def _last(settings: Settings, application: str, kind: BackupKind, of_dag: Sequence[Run], now: datetime) -> Last:
    over = ((run, tasks_of(settings, run, application)) for run in of_dag if run.is_over)
    run, tasks = next(((run, tasks) for run, tasks in over if tasks), (None, []))
    if run is None:
        looked = plural(sum(run.is_over for run in of_dag), "run")
        return Last(application, kind, "unknown", f"not in the last {looked}" if of_dag else "has not run yet")
    worked = (task for task in tasks if task.task_id.rpartition(".")[2] != WAIT)
    times = [time for task in worked for time in (task.began, task.ended) if time]
    took = _took(min(times), max(times)) if times else ""
    when = f"{ago(now - max(times))} ago" if times else ""
    failed = [task for task in tasks if task.state in ("failed", "upstream_failed")]
    reasons = [why(task) for task in failed if task.state == "failed"]
    more = f" {plural(len(reasons) - 1, 'more step')} failed." if len(reasons) > 1 else ""
    return Last(
        application,
        kind,
        "unhealthy" if failed else "healthy",
        "failed" if failed else "succeeded",
        when,
        took,
        _size(tasks),
        (reasons or [NO_REASON])[0] + more if failed else "",
        run.href,
    )


def _size(tasks: Iterable[Task]) -> str:
    """Return how large the archive became that a run packed."""
    for task in tasks:
        sealed = task.left.get(RESULT)
        facts = sealed.get("facts") if isinstance(sealed, Mapping) else None
        size = _number(facts.get("size")) if isinstance(facts, Mapping) else None
        if task.task_id.endswith(".archive") and size is not None:
            return size_text(size)
    return ""


def _strip(settings: Settings, dag_id: str, of_dag: Sequence[Run], now: datetime) -> Strip:
    titles = [(_tone(run.state), _title(settings, run)) for run in of_dag]
    over = [run for run in of_dag if run.is_over]
    failed = [run for run in over if run.state == "failed"]
    good = len(over) - len(failed)
    text = f"{good} of {plural(len(over), 'run')} succeeded" if over else "has not ended yet"
    if failed:
        text += f"; the last that failed started {ago(now - failed[0].asked_at)} ago"
    return Strip(dag_id, tuple(reversed(titles)), text, failed[0] if failed else None)


def _title(settings: Settings, run: Run) -> str:
    state = {"success": "succeeded", "failed": "failed"}.get(run.state, run.state)
    took = f", took {_took(run.began, run.ended)}" if run.is_over and run.began and run.ended else ""
    return f"{date_and_time(run.asked_at, settings.zone)}: {state}{took}"


def wanted(over: Sequence[str], begun: Iterable[tuple[str, str]]) -> set[str]:
    """Return the runs that were the last for some application.

    :param over: ids of runs that are over, newest first.
    :param begun: runs, and task groups that were not skipped in them.
    """
    places = {run_id: place for place, run_id in enumerate(over)}
    newest: dict[str, int] = {}
    for run_id, group in begun:
        if run_id in places:
            newest[group] = min(newest.get(group, len(over)), places[run_id])
    return {over[place] for place in newest.values()}
