"""Airflow's pools. Its database holds them, which no task may ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from lifeboat.decide import pools
from lifeboat.errors import SettingsError
from lifeboat.support.logs import logger

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from lifeboat.decide.health import Finding

log = logger(__name__)

DESCRIPTION = "Of Lifeboat's settings, which lifeboat doctor follows"


def made() -> dict[str, int]:
    """Return the pools that Airflow has, and the number of slots of each; -1 stands for any number.

    :raises SettingsError: its database cannot be asked from here.
    """
    with _session() as session:
        from lifeboat.airflow.compat import Pool

        return {pool: slots for pool, slots in session.execute(select(Pool.pool, Pool.slots)) if pool}


def check(wanted: Mapping[str, int]) -> list[Finding]:
    """Return what is wrong with the pools of the settings; nothing, with a warning in the log, where none can tell.

    :param wanted: slots by pool.
    """
    try:
        return list(pools.check(wanted, made())) if wanted else []
    except SettingsError as error:
        log.warning("%s", error)
        return []


def make(pool: str, slots: int) -> None:
    """Make a pool, or set its number of slots.

    :raises SettingsError: Airflow's database cannot be asked from here.
    """
    with _session() as session:
        from lifeboat.airflow.compat import Pool

        Pool.create_or_update_pool(pool, slots, DESCRIPTION, include_deferred=False, session=session)


@contextmanager
def _session() -> Iterator[Session]:
    try:
        from lifeboat.airflow.compat import create_session  # which already fails in some tasks

        with create_session() as session:
            yield session
    except (SQLAlchemyError, ImportError, AttributeError, RuntimeError) as error:  # all but the first: in tasks
        raise SettingsError(
            "Airflow's pools cannot be looked at from here: its database does not answer, or this is a task, and no"
            " task may ask it.",
            "Run this on a shell that reaches Airflow's database, such as the scheduler's.",
        ) from error
