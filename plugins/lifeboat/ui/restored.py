"""Restored data: where it is now, how to use it, and how to drop it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.settings.config import Settings
from lifeboat.text import plural
from lifeboat.ui.recipes import Recipe, restored_recipes
from lifeboat.ui.runs import RESULT, Run

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
        result = task.left.get(RESULT)
        facts = result if isinstance(result, Mapping) else {}
        if task.state != "success":
            continue
        if task.task_id in DATABASE_TASKS and 0 <= task.map_index < len(plan.databases):
            found.append(_database(settings, plan, plan.databases[task.map_index], facts))
        elif task.task_id == FILES_TASK and plan.files:
            found.append(_files(plan.files, facts))
    return found


def _database(settings: Settings, plan: RestorePlan, step: DatabaseStep, facts: Mapping[str, object]) -> Restored:
    what = f"Table {step.table} of database {step.database}" if step.table else f"Database {step.database}"
    rows = facts.get("rows")
    counted = f", with {plural(rows, 'row')}" if type(rows) is int else ""
    compared = "compared with what was captured" if type(facts.get("compared")) is int else "not compared"
    if step.in_place:
        return Restored(f"{what} is back in {step.schema}{counted}, {compared}.", _notes(facts))
    known = settings.applications[plan.application].databases if plan.application in settings.applications else ()
    engines = [database.engine for database in known if database.name == step.database]
    recipes = restored_recipes(engines[0], step.schema) if engines else ()
    return Restored(f"{what} is in the new schema {step.schema}{counted}, {compared}.", _notes(facts), recipes)


def _files(step: FilesStep, facts: Mapping[str, object]) -> Restored:
    what = f"{step.path} of the files" if step.path else "The files"
    if step.in_place:
        return Restored(f"{what} are back in {step.target}.", _notes(facts))
    text = f"{what} are in the new {step.target}. Copy what you need from there, and remove it when you are done."
    return Restored(text, _notes(facts))


def _notes(facts: Mapping[str, object]) -> tuple[str, ...]:
    warnings = facts.get("warnings")
    return tuple(map(str, warnings[:MOST_NOTES])) if isinstance(warnings, list) else ()
