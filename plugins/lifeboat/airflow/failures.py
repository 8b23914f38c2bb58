"""Advice on failed tasks: one table, which alerts and the docs of DAGs quote. Errors have their own hints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NO_REASON = "It left no reason: it was killed, timed out, or marked failed. See the task's log."
OF_POOL = "__"  # joins a step and a pool in a task's id, where several pools share the step
GENERAL = "Fix what the reason names, then clear the task."
_FINDINGS = "Each finding says what is wrong; the findings in the DAG's docs say what to do about it."
_LEFT = "The reason says what it left. Clear the task; if it was approved, trigger it again."


class Known(NamedTuple):
    """Facts about the failures of a task.

    :param usually: what causes it.
    :param advice: what to do about it.
    """

    usually: str
    advice: str


FAILURES: Mapping[str, Known] = {
    "prepare_staging": Known("wrong settings, or staging is not writable", GENERAL),
    "list_databases": Known("login, server down, patterns that leave no database, two databases of one name", GENERAL),
    "dump": Known(
        "login, grants, server down, table altered meanwhile",
        f"{GENERAL} Its log ends with a hint. If the database is gone that list_databases found, clear that.",
    ),
    "archive": Known("no archive password, missing root, a pattern without matches, full staging", GENERAL),
    "upload": Known(
        "destination down or full, credentials",
        "When the destination is back, clear only this task: it stores again without a new dump.",
    ),
    "ship": Known(
        "a missing grant, log_bin is off, logs were purged or reset, server or destination down",
        "Fix what the reason names; the next run ships what is missing. If logs were purged, let the server keep them"
        " longer.",
    ),
    "check": Known("a finding, or the destination is down", _FINDINGS),
    "compare": Known("a finding", _FINDINGS),
    "read_back": Known(
        "a disk, a bucket or somebody changed an archive; its rights; a changed password",
        "Replace a damaged archive by a good copy; give the rights; add the old password to previous_passwords of its"
        " connection. Then: lifeboat verify KEY.",
    ),
    "evaluate_retention": Known(
        "destination down, credentials, no right to list",
        "Nothing was deleted there. Fix the destination, then clear the task.",
    ),
    "delete_archives": Known(
        "no right to delete, destination went down",
        "Fix the destination, then clear this task and evaluate_retention: a new plan is made.",
    ),
    "select": Known(
        "no archive fits, or something exists already and was not confirmed",
        "Nothing was changed. Fix what the reason names, then trigger the restore again.",
    ),
    "verify": Known(
        "wrong archive password, damaged archive",
        "Nothing was changed. Restore another archive, or take this one from another destination.",
    ),
    "approve": Known(
        "nobody else approved",
        "Nothing was changed. Trigger the restore again and ask somebody else to approve it.",
    ),
    "safety_backup": Known(
        "the existing data cannot be backed up",
        f"Nothing was replaced. {GENERAL} Or restore next to what exists.",
    ),
    "restore": Known("privileges, space, another server", _LEFT),
    "restore_database": Known("privileges, space, another server", _LEFT),
    "back_up": Known("the restore was cleared", "Everything is restored. Trigger backup_database."),
    "restore_files": Known("space, permissions", f"Existing files are unchanged. {GENERAL}"),
    "after_restore": Known("a command failed", "Everything is restored. Run the commands manually, or clear the task."),
    "choose_archives": Known("destination down", "No restore was tested. Fix the destination, then clear the task."),
    "drill": Known(
        "no scratch server, no space, no rights; or an archive that is damaged or not as captured",
        f"{GENERAL} If the archive is damaged or not as captured, its proof is withdrawn: verify the other copies now.",
    ),
    "drill_chain": Known(
        "no scratch server, no space, no rights; or logs that are damaged, missing, or do not lead to the next archive",
        f"{GENERAL} If the logs are not what they should be, no moment between the two archives that the reason names"
        " can be trusted: look at the other copies, and back the databases up now.",
    ),
    "init": Known(
        "permissions, a read-only disk, the marker of another destination",
        "Fix what the reason names, then trigger the DAG again.",
    ),
    "look": Known("something is broken", "Do what each line says, then trigger the DAG again."),
    "send": Known(
        "a channel, or the service behind it",
        "Fix the connection of the channel that the reason names, then send another test.",
    ),
    "settings": Known(
        "a mistake in backup.yaml",
        "Fix the settings: within a minute, every DAG has its tasks again. Then trigger this one.",
    ),
}


def advice_on(task_id: str) -> str:
    """Return what to do about a failed task.

    :param task_id: with its groups, and the index of a mapped one in brackets.
    """
    step = task_id.rpartition(".")[2].partition("[")[0].partition(OF_POOL)[0]
    failure = FAILURES.get(step)
    return failure.advice if failure else GENERAL


def documented(text: str | None, *tasks: str) -> str:
    """Return the docs of a DAG: a text, and the table of what to do about its failed tasks."""
    rows = (f"| `{task}` | {FAILURES[task].usually} | {FAILURES[task].advice} |" for task in tasks)
    return "\n".join((text or "", "| failed | usually | what to do |", "|---|---|---|", *rows))
