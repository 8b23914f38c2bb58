"""Restored data: where it is now, how to use it, and how to drop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from lifeboat.archive import engine_of_entry
from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.decide.restored import RestoredDatabase, RestoredFiles, database_text, files_text
from lifeboat.settings.config import Settings
from lifeboat.ui.recipes import Recipe, restored_recipes
from lifeboat.ui.runs import RESULT, Run, Task

Figures = TypeVar("Figures", RestoredDatabase, RestoredFiles)

DATABASE_TASKS, FILES_TASK = ("restore", "restore_database"), "restore_files"
MOST_NOTES = 20


@dataclass(frozen=True)
class Restored:
    """Something that is back.

    :param notes: what its task wants read.
    :param recipes: commands to use it, and to drop it; none where it took the place of the original.
    """

    text: str
    notes: tuple[str, ...] = ()
    recipes: tuple[Recipe, ...] = ()


def restored(settings: Settings, plan: RestorePlan, run: Run) -> list[Restored]:
    """Return what a run brought back so far.

    Names come from the plan, which is signed: users who can change XComs must not choose what a command drops.
    """
    found = []
    for task in run.tasks:
        if task.state != "success":
            continue
        if task.task_id in DATABASE_TASKS and 0 <= task.map_index < len(plan.databases):
            found.append(_database(settings, plan, plan.databases[task.map_index], task))
        elif task.task_id == FILES_TASK and plan.files:
            found.append(_files(plan.files, task))
    return found


def _database(settings: Settings, plan: RestorePlan, step: DatabaseStep, task: Task) -> Restored:
    facts = _figures(RestoredDatabase, task)
    application = settings.applications.get(plan.application)
    known = application.database(step.database, engine_of_entry(step.entry)) if application else None
    recipes = restored_recipes(known.engine, step.schema) if known and not step.in_place else ()
    return Restored(database_text(step, facts), facts.notes[:MOST_NOTES] if facts else (), recipes)


def _files(step: FilesStep, task: Task) -> Restored:
    facts = _figures(RestoredFiles, task)
    advice = "" if step.in_place else " Copy what you need from there, and remove it when you are done."
    return Restored(f"{files_text(step, facts)}{advice}", facts.notes[:MOST_NOTES] if facts else ())


def _figures(form: type[Figures], task: Task) -> Figures | None:
    """Return what a task left; None if somebody changed it to something else."""
    try:
        return form.from_json(task.left.get(RESULT))
    except ValueError:
        return None
