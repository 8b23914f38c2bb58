"""Route reports: find the applications that a run concerns, and the channels for them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lifeboat.airflow.operators.base import ALL
from lifeboat.decide.schedules import dag_id_of
from lifeboat.settings.config import BACKUP_KINDS, EmailAlerts, SlackAlerts
from lifeboat.settings.unreadable import Unreadable
from lifeboat.text import group_id

if TYPE_CHECKING:
    from lifeboat.settings.config import Channels, Settings

NOBODY = ""  # in the place of an application, of what concerns none of them, or all
OF_DESTINATIONS = ("backup_cleanup", "backup_check", "backup_verify")  # DAGs whose task groups are destinations

Channel = SlackAlerts | EmailAlerts


def hearers(
    applications: Iterable[str], channels_of: Callable[[str], Sequence[Channels]]
) -> list[tuple[Channel, frozenset[str]]]:
    """Return the channels that hear of applications, each once, and of which ones each does.

    Of a mail server, each address gets one letter; those that hear of the same get the same one.

    :param applications: those that a run concerns; `NOBODY` may be among them.
    :param channels_of: the channels of an application.
    """
    slacks: dict[str, set[str]] = {}
    addresses: dict[tuple[str, str], set[str]] = {}
    for application in applications:
        for channels in channels_of(application):
            if channels.slack:
                slacks.setdefault(channels.slack.connection, set()).add(application)
            for address in channels.email.to if channels.email else ():
                server = cast(EmailAlerts, channels.email).connection
                addresses.setdefault((server, address), set()).add(application)
    letters: dict[tuple[str, frozenset[str]], list[str]] = {}
    for (server, address), heard in addresses.items():
        letters.setdefault((server, frozenset(heard)), []).append(address)
    return [
        *((SlackAlerts(connection=connection), frozenset(heard)) for connection, heard in slacks.items()),
        *((EmailAlerts(connection=server, to=tuple(to)), heard) for (server, heard), to in letters.items()),
    ]


@dataclass(frozen=True)
class Subjects:
    """Facts that tell the application of a task.

    :param dag_id: of its DAG.
    :param names: of all applications, in the order of the settings.
    :param own_dags: the application of each DAG that is one's own.
    :param shipped: the applications over which the task of `backup_logs` is mapped.
    :param chosen: the application that the run was asked for; empty where it was asked for all.
    """

    dag_id: str
    names: Sequence[str]
    own_dags: Mapping[str, str]
    shipped: Sequence[str] = ()
    chosen: str = ""

    def of_run(self) -> str:
        """Return the only application that a run concerns; `NOBODY` where there is no such one."""
        return self.own_dags.get(self.dag_id) or (self.chosen if self.chosen in self.names else NOBODY)

    def of_task(self, task_id: str, map_index: int) -> str:
        """Return the application of a task; `NOBODY` where it has none."""
        if alone := self.of_run():
            return alone
        if self.dag_id == "backup_logs":
            return self.shipped[map_index] if 0 <= map_index < len(self.shipped) else NOBODY
        return self._groups().get(task_id.rpartition(".")[0], NOBODY)

    def unfinished(self, states: Mapping[str, str | None]) -> list[str]:
        """Return the applications whose tasks did not all succeed; `NOBODY` where that is not known.

        :param states: of the tasks of a run that was ended, by their ids.
        """
        if alone := self.of_run():
            return [alone]
        groups = self._groups()
        left = {task.rpartition(".")[0] for task, state in states.items() if state != "success"}
        return [name for group, name in groups.items() if group in left] or [NOBODY]

    def _groups(self) -> dict[str, str]:
        if self.dag_id in OF_DESTINATIONS:
            return {}
        return {group_id(name, self.names): name for name in self.names}


def subjects_of(settings: Settings | Unreadable, dag_id: str, chosen: object) -> Subjects:
    """Return what tells the application of a task of a run.

    :param chosen: what its trigger form has under ``application``.
    """
    own = {dag_id_of(kind, name): name for kind in BACKUP_KINDS for name in settings.own_schedules(kind)}
    shipped: Collection[str] = () if isinstance(settings, Unreadable) else settings.applications_with_logs
    named = chosen if isinstance(chosen, str) and chosen != ALL else ""
    return Subjects(dag_id, list(settings.teams), own, list(shipped), named)
