"""Names that Airflow moved between 3.1 and 3.3, or keeps for itself: what an update of Airflow may break is here.

Each is imported when it is asked for, because DAG files are parsed often and most of them need few.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.metadata import version
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, cast

from lifeboat.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from smtplib import SMTP

    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
    from airflow.api_fastapi.core_api.security import (
        GetUserDep,
        bearer_scheme,
        get_user,
        requires_access_view,
    )
    from airflow.dag_processing.bundles.local import LocalDagBundle
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.sdk import CronTriggerTimetable, conf
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRuntimeError,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
    from airflow.sdk.types import DagRunProtocol
    from airflow.utils.session import create_session
    from starlette.requests import Request

__all__ = [
    "AccessView",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRuntimeError",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseUser",
    "CronTriggerTimetable",
    "DagAccessEntity",
    "DagModel",
    "DagRun",
    "GetUserDep",
    "LocalDagBundle",
    "Pool",
    "TaskInstance",
    "XComModel",
    "bearer_scheme",
    "conf",
    "create_session",
    "get_user",
    "redact",
    "requires_access_view",
]

OLDEST = (3, 1)
_RELEASE = version("apache-airflow-core")
AIRFLOW: Final = tuple(int(part) for part in _RELEASE.split(".")[:2])
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")  # since 3.2, before
_SECURITY = "airflow.api_fastapi.core_api.security"
_ACCESS = "airflow.api_fastapi.auth.managers.models"
PLACES: Mapping[str, tuple[str, ...]] = {
    "AccessView": (f"{_ACCESS}.resource_details",),
    "AirflowException": _EXCEPTIONS,
    "AirflowFailException": _EXCEPTIONS,
    "AirflowNotFoundException": _EXCEPTIONS,
    "AirflowRuntimeError": _EXCEPTIONS,
    "AirflowSkipException": _EXCEPTIONS,
    "AirflowTaskTimeout": _EXCEPTIONS,
    "BaseUser": (f"{_ACCESS}.base_user",),
    "CronTriggerTimetable": ("airflow.sdk", "airflow.timetables.trigger"),
    "DagAccessEntity": (f"{_ACCESS}.resource_details",),
    "DagModel": ("airflow.models.dag",),
    "DagRun": ("airflow.models.dagrun",),
    "GetUserDep": (_SECURITY,),
    "LocalDagBundle": ("airflow.dag_processing.bundles.local",),
    "Pool": ("airflow.models.pool",),
    "TaskInstance": ("airflow.models.taskinstance",),
    "XComModel": ("airflow.models.xcom",),
    "bearer_scheme": (_SECURITY,),
    "conf": ("airflow.sdk", "airflow.configuration"),
    "create_session": ("airflow.utils.session",),
    "get_user": (_SECURITY,),
    "redact": ("airflow.sdk._shared.secrets_masker",),
    "requires_access_view": (_SECURITY,),
}

if AIRFLOW < OLDEST:
    raise SettingsError(f"Lifeboat needs Airflow 3.1 or later, and this is {_RELEASE}.", "Upgrade Airflow.")

# Of retries: a factor since 3.2; before, whether to double. Mapped tasks that back off break the scheduler of 3.1.0.
BACKOFF: float = 2.0 if AIRFLOW >= (3, 2) else _RELEASE != "3.1.0"
TELLS_OF_DAGS = AIRFLOW >= (3, 2)  # whether a task can ask for the schedule of a DAG


if not TYPE_CHECKING:  # type checkers would take every name for one that is here

    def __getattr__(name: str) -> Any:
        """Return what this release of Airflow calls so, from where it keeps it."""
        for place in PLACES.get(name, ()):
            try:
                return getattr(import_module(place), name)
            except (ImportError, AttributeError):
                continue
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _ask_in_turn() -> None:
    """Let the threads of a task ask its supervisor one after another.

    In Airflow 3.1, each takes whatever answer comes first: the wrong connection, or none, and then waits forever.
    """
    decoder: Any = import_module("airflow.sdk.execution_time.comms").CommsDecoder
    send, turn = decoder.send, RLock()  # a handler of a signal may ask while its own thread does

    @wraps(send)
    def send_in_turn(self: Any, msg: Any) -> Any:  # so called by Airflow, which names it
        with turn:
            return send(self, msg)

    decoder.send = send_in_turn


if AIRFLOW < (3, 2):
    _ask_in_turn()


@contextmanager
def needs_extra(name: str, used_for: str) -> Iterator[None]:
    """Import what an extra of the package installs.

    :param used_for: what needs it, for the message.
    :raises SettingsError: it is not installed here.
    """
    try:
        yield
    except ImportError as error:
        raise SettingsError(
            f"{used_for} needs a library that cannot be imported here: {error}.",
            f"Run pip install 'airflow-lifeboat[{name}]' with Airflow's constraints on every worker and API server.",
        ) from error


@contextmanager
def smtp_client(hook: SmtpHook) -> Iterator[SMTP]:
    """Open the connection of a hook, and close it: its own sending hides which addresses were refused.

    The hook by itself leaves a connection open that the server lets nobody log in by.
    """
    try:
        hook.get_conn()
        yield cast("SMTP", hook._smtp_client)
    finally:
        if hook._smtp_client:
            cast("SMTP", hook._smtp_client).close()


def is_allowed(
    request: Request, user: BaseUser, method: ResourceMethod, entity: DagAccessEntity | None, dag_id: str
) -> bool:
    """Return whether Airflow's own endpoint would let a user do that to a DAG.

    :param entity: or to something of it.
    """
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import HTTPException

    # Until 3.1.7, Airflow knows the DAG from the address alone.
    address = type(request)({**request.scope, "path_params": {"dag_id": dag_id}})
    try:
        requires_access_dag(method, entity)(address, user)
    except HTTPException:
        return False
    return True


def user_of(run: DagRunProtocol) -> str | None:
    """Return the name of the user who started a run, if it was one and this release says it."""
    return getattr(run, "triggering_user_name", None)


def started_by(run: DagRunProtocol) -> str | None:
    """Return the name of the user who started a run.

    :raises SettingsError: this release does not say.
    """
    if AIRFLOW == OLDEST and not hasattr(run, "triggering_user_name"):
        raise SettingsError("Airflow 3.1.0 and 3.1.1 do not say who started a run.", "Upgrade Airflow, for approvals.")
    return run.triggering_user_name


def trigger(dag_id: str, run_id: str, conf: Mapping[str, object]) -> None:
    """Start a run of another DAG from within a task that continues, which no operator does.

    :param conf: values of the fields of its trigger form.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import TriggerDagRun

    task_runner.SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=dict(conf)))
