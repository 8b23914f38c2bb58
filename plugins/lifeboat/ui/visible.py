"""Hide applications from users: show those whose DAGs Airflow lets them read, and what destinations hold of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lifeboat.settings.config import BACKUP_KINDS, Settings
from lifeboat.ui.readings import FRESH_SECONDS, Reading, Readings


@dataclass(frozen=True)
class Seen:
    """The settings and the readings, as far as a user may see them.

    Users allowed to see all applications also see what belongs to none: archives of applications that the settings no
    longer name, and databases that nobody backs up.

    :param settings: without the applications that are hidden.
    :param whole: with them, for what reads a destination or a signature.
    """

    settings: Settings
    whole: Settings
    readings: Readings

    @property
    def is_all(self) -> bool:
        """True if nothing is hidden."""
        return len(self.settings.applications) == len(self.whole.applications)

    def all(self, patience: float, max_age: float = FRESH_SECONDS) -> dict[str, Reading]:
        """Return the readings of all destinations, as `Readings.all` does."""
        found = self.readings.all(self.whole, patience, max_age)
        return {name: self._shown(reading) for name, reading in found.items()}

    def of(self, name: str, patience: float) -> Reading:
        """Return the reading of a destination, as `Readings.of` does."""
        return self._shown(self.readings.of(self.whole, name, patience))

    def _shown(self, reading: Reading) -> Reading:
        if self.is_all:
            return reading
        found = reading.found.only(self.settings.applications) if reading.found else None
        return replace(reading, found=found, last=self._shown(reading.last) if reading.last else None)


def seen(whole: Settings, readings: Readings, may_read: Callable[[str], bool]) -> Seen:
    """Return what a user may see.

    :param may_read: whether Airflow lets the user read a DAG, by its id.
    """
    dags: dict[str, set[str]] = {}
    for kind in BACKUP_KINDS:
        for dag_id, names in whole.backup_dags(kind).items():
            for name in names:
                dags.setdefault(name, set()).add(dag_id)
    readable = {dag_id for dag_id in set().union(*dags.values()) if may_read(dag_id)}
    shown = {name: each for name, each in whole.applications.items() if dags[name] <= readable}
    return Seen(whole.model_copy(update={"applications": shown}), whole, readings)
