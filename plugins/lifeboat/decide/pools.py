"""Checks that Airflow has the pools of the settings: a task whose pool is missing never begins, and never fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lifeboat.decide.health import EVERYTHING, Finding
from lifeboat.text import plural

POOL = "pool"  # what the check is called
MAKE = "run 'lifeboat doctor' on a shell that reaches Airflow's database, or set it in Airflow under Admin, Pools"


def check(wanted: Mapping[str, int], made: Mapping[str, int]) -> Iterator[Finding]:
    """Yield which pools are missing, or have another number of slots than the settings say.

    :param wanted: slots by pool; so is the next.
    :param made: in Airflow, where -1 stands for any number.
    """
    for pool, slots in wanted.items():
        if not made.get(pool):
            lacks = f"pool {pool!r} in Airflow has no slots" if pool in made else f"Airflow has no pool {pool!r}"
            text = f"{lacks}, so tasks in it never begin, and never fail: {MAKE}"
            yield Finding(EVERYTHING, "", POOL, "unhealthy", text)
        elif made[pool] != slots:
            has = plural(made[pool], "slot") if made[pool] > 0 else "slots without a limit"
            text = f"pool {pool!r} in Airflow has {has}, and {slots} in the settings: {MAKE}"
            yield Finding(EVERYTHING, "", POOL, "degraded", text)


def waiting(wanted: Mapping[str, int], tasks: int) -> Iterator[Finding]:
    """Yield that tasks of backups wait, and none runs.

    :param tasks: how many wait.
    """
    if tasks:
        waits = plural(tasks, "task of backups waits", "tasks of backups wait")
        text = f"{waits}, and none runs, as if a pool were missing; the settings name {', '.join(wanted)}: {MAKE}"
        yield Finding(EVERYTHING, "", POOL, "unhealthy", text)
