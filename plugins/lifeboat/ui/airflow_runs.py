"""Reads runs, their tasks and XComs from Airflow's database, for users whom Airflow lets read them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import Request
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from lifeboat.airflow.compat import (
    BaseUser,
    DagAccessEntity,
    DagModel,
    DagRun,
    TaskInstance,
    XComModel,
    is_allowed,
)
from lifeboat.airflow.operators.base import FAILURE, PREPARE, PROGRESS
from lifeboat.settings.config import BACKUP_KINDS, Settings
from lifeboat.ui.runs import RESULT, Known, Run, Task, wanted

HISTORY = 30  # runs of each DAG
OTHERS = (
    "backup_logs",
    "backup_cleanup",
    "backup_check",
    "backup_verify",
    "restore_drill",
    "restore_database",
    "restore_application",
    "init_destination",
    "doctor",
    "alert_test",
)
READ = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)


def backups(settings: Settings) -> list[str]:
    """Return the ids of the DAGs that take backups."""
    return [dag_id for kind in BACKUP_KINDS for dag_id in settings.backup_dags(kind)]


def dags(settings: Settings) -> list[str]:
    """Return the ids of all DAGs whose runs are shown."""
    return [*backups(settings), *OTHERS]


def may_read(request: Request, user: BaseUser, dag_id: str) -> bool:
    """Return whether Airflow's own endpoints would let the user read a DAG's runs, their tasks and what these left."""
    return all(is_allowed(request, user, "GET", entity, dag_id) for entity in READ)


def read(session: Session, settings: Settings, dag_ids: Iterable[str]) -> Known:
    """Read what runs and what ran last."""
    runs = histories(session, dag_ids)
    active = [run for of_dag in runs.values() for run in of_dag if not run.is_over]
    last = [
        run for dag_id in backups(settings) if dag_id in runs for run in _last(session, settings, dag_id, runs[dag_id])
    ]
    looked_at = with_tasks(session, [*active, *last], (FAILURE, PROGRESS, RESULT))
    whole = {(run.dag_id, run.run_id): run for run in looked_at}
    return Known(
        {dag_id: [whole.get((dag_id, run.run_id), run) for run in of_dag] for dag_id, of_dag in runs.items()},
        lengths(session, [run for run in whole.values() if not run.is_over]),
    )


def histories(session: Session, dag_ids: Iterable[str]) -> dict[str, list[Run]]:
    """Read the last runs of DAGs, newest first, without their tasks."""
    return {dag_id: _history(session, dag_id) for dag_id in dag_ids}


def one(session: Session, dag_id: str, run_id: str, keys: Collection[str]) -> Run | None:
    """Read one run with its tasks, and XComs by their keys."""
    found = session.execute(_RUNS.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return with_tasks(session, [_run(found)], keys)[0] if found else None


def left_last(session: Session, dag_id: str, task_id: str, key: str) -> tuple[Any, datetime] | None:
    """Return what a task left last under a key, and when."""
    found = session.execute(
        select(XComModel.value, XComModel.timestamp)
        .where(XComModel.dag_id == dag_id, XComModel.task_id == task_id, XComModel.key == key)
        .order_by(XComModel.timestamp.desc())
        .limit(1)
    ).first()
    return (_plain(found[0]), found[1]) if found else None


_RUNS = select(
    DagRun.dag_id,
    DagRun.run_id,
    DagRun.state,
    DagRun.run_after,
    DagRun.start_date,
    DagRun.end_date,
    DagRun.triggering_user_name,
    DagRun.conf,
    DagModel.is_paused,
).join(DagModel, DagModel.dag_id == DagRun.dag_id)

_TASK: list[Any] = [
    *(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index),
    *(TaskInstance.rendered_map_index, TaskInstance.state, TaskInstance.try_number, TaskInstance.max_tries),
    *(TaskInstance.start_date, TaskInstance.end_date),
]
_XCOM: list[Any] = [
    *(XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index),
    *(XComModel.key, XComModel.value, XComModel.timestamp),
]


def _run(row: Any) -> Run:
    dag_id, run_id, state, asked_at, began, ended, user, conf, is_paused = row
    return Run(dag_id, run_id, str(state or ""), asked_at, began, ended, user or "", conf or {}, bool(is_paused))


def _history(session: Session, dag_id: str) -> list[Run]:
    newest = _RUNS.where(DagRun.dag_id == dag_id).order_by(DagRun.run_after.desc(), DagRun.id.desc()).limit(HISTORY)
    return [_run(row) for row in session.execute(newest)]


def _last(session: Session, settings: Settings, dag_id: str, of_dag: Sequence[Run]) -> list[Run]:
    """Return the runs that were the last to back some application up."""
    over = [run.run_id for run in of_dag if run.is_over]
    begun = session.execute(
        select(TaskInstance.run_id, TaskInstance.task_id).where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id.in_(over),
            TaskInstance.task_id.like(f"%.{PREPARE}"),
            TaskInstance.state.is_not(None) & (TaskInstance.state != "skipped"),
        )
    )
    chosen = wanted(over, ((run_id, task_id.rpartition(".")[0]) for run_id, task_id in begun))
    return [run for run in of_dag if run.run_id in chosen]


def with_tasks(session: Session, runs: Sequence[Run], keys: Collection[str]) -> list[Run]:
    """Return runs with their tasks, and what these left under some keys."""
    if not runs:
        return []
    pairs = [(run.dag_id, run.run_id) for run in runs]
    left: dict[tuple[Any, ...], dict[str, object]] = {}
    heard = {}
    for *subject, key, value, at in session.execute(
        select(*_XCOM).where(tuple_(XComModel.dag_id, XComModel.run_id).in_(pairs), XComModel.key.in_(keys))
    ):
        left.setdefault(tuple(subject), {})[key] = _plain(value)
        if key == PROGRESS:
            heard[tuple(subject)] = at
    tasks: dict[tuple[str, str], list[Task]] = {}
    for dag_id, run_id, task_id, index, name, state, tried, most, began, ended in session.execute(
        select(*_TASK)
        .where(tuple_(TaskInstance.dag_id, TaskInstance.run_id).in_(pairs))
        .order_by(TaskInstance.start_date, TaskInstance.task_id, TaskInstance.map_index)
    ):
        key = (dag_id, run_id, task_id, index)
        task = Task(
            *(task_id, index, str(name or ""), str(state or ""), tried, most + 1, began, ended),
            left.get(key, {}),
            heard.get(key),
        )
        tasks.setdefault((dag_id, run_id), []).append(task)
    return [replace(run, tasks=tuple(tasks.get((run.dag_id, run.run_id), ()))) for run in runs]


def lengths(session: Session, active: Sequence[Run]) -> dict[tuple[str, str, str], int]:
    """Return how long what is being done was the last time, as the tasks left it that did it."""
    found: dict[tuple[str, str, str], int] = {}
    for run in active:
        measured = [task.task_id for task in run.tasks if PROGRESS in task.left]
        if not measured:
            continue
        rows = session.execute(
            select(XComModel.task_id, XComModel.value)
            .join(
                TaskInstance,
                (XComModel.dag_id == TaskInstance.dag_id)
                & (XComModel.run_id == TaskInstance.run_id)
                & (XComModel.task_id == TaskInstance.task_id)
                & (XComModel.map_index == TaskInstance.map_index),
            )
            .where(
                XComModel.dag_id == run.dag_id,
                XComModel.key == PROGRESS,
                XComModel.task_id.in_(measured),
                TaskInstance.state == "success",
            )
            .order_by(XComModel.timestamp.desc())
            .limit(HISTORY * len(measured))
        )
        for task_id, value in rows:
            left = _plain(value)
            if isinstance(left, dict) and isinstance(left.get("done"), int):
                found.setdefault((run.dag_id, task_id, str(left.get("doing"))), left["done"])
    return found


def _plain(value: Any) -> Any:
    """Return the value of an XCom, which is kept as JSON, or as the text of it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
