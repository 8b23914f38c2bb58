"""Nights by the default schedules and limits, quarter hour by quarter hour: what is red, and from when on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable
from lifeboat.actions import check, cleanup
from lifeboat.catalog import archives
from lifeboat.decide import schedules
from lifeboat.decide.health import Finding
from lifeboat.decide.schedules import Schedule
from lifeboat.settings.config import Settings
from lifeboat.storage import StoredObject

ZONE = ZoneInfo("Europe/Berlin")
QUARTER = timedelta(minutes=15)
SIZE = 1 << 20
SETTINGS = Settings.model_validate(
    {
        "timezone": ZONE.key,
        "staging": "/staging",
        "encryption": "none",
        "destinations": {
            "disk": {"type": "disk", "path": "/disk"},
            "offsite": {"type": "s3", "connection": "s3", "bucket": "backups"},
        },
        "applications": {"Shop": {"databases": [{"name": "shop", "connection": "db"}], "files": {"root": "/shop"}}},
    }
)
LONGER = {"disk": timedelta(), "offsite": timedelta(minutes=20)}  # than the backup itself, until it is published


def times_of(dag_id: str, since: datetime) -> Iterator[datetime]:
    """Yield when a DAG runs by the schedule of the settings, from a time on."""
    cron = getattr(SETTINGS.schedules, dag_id.removeprefix("backup_"))
    timetable, last = CronTriggerTimetable(cron, timezone=ZONE.key), DataInterval.exact(pendulum.instance(since))
    while True:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=TimeRestriction(None, None, catchup=True)
        )
        assert info is not None
        last = info.data_interval or last
        yield datetime.fromtimestamp(info.run_after.timestamp(), UTC)


class World:
    """An installation whose backups take so long, and whose clock moves by quarters of an hour.

    :param missing: nights on which no backup of the databases begins, as the days they would belong to.
    """

    def __init__(self, begin: datetime, lasting: timedelta, missing: tuple[str, ...] = ()) -> None:
        self.now = begin
        self._lasting = lasting
        self._missing = missing
        self._due = {dag_id: times_of(dag_id, begin) for dag_id in ("backup_database", "backup_application")}
        self._next = {dag_id: next(times) for dag_id, times in self._due.items()}
        self._cleanups = times_of("backup_cleanup", begin)
        self._next_cleanup = next(self._cleanups)
        self._missed: dict[str, datetime] = {}
        self._stored: dict[str, dict[str, datetime]] = {name: {} for name in SETTINGS.destinations}
        for kind in archives.OWN_KINDS:  # installing ends with a first backup of each
            self._back_up(kind, begin - lasting - 2 * QUARTER)

    def _back_up(self, kind: archives.Kind, begun: datetime) -> None:
        for name, stored in self._stored.items():
            stored[archives.archive_key("Shop", kind, begun)] = begun + self._lasting + LONGER[name]

    def forward(self) -> None:
        """Let a quarter of an hour pass: runs begin, archives arrive, a clean-up deletes."""
        self.now += QUARTER
        for dag_id, due in self._next.items():
            if due <= self.now:
                self._next[dag_id] = next(self._due[dag_id])
                if f"{due.astimezone(ZONE):%m-%d}" in self._missing and dag_id == "backup_database":
                    self._missed[dag_id] = due
                else:
                    self._missed.pop(dag_id, None)
                    self._back_up("database" if dag_id == "backup_database" else "application", due)
        if self._next_cleanup <= self.now:
            self._next_cleanup = next(self._cleanups)
            for name in self._stored:
                decided = cleanup.decide(name, self._found(name), SETTINGS, ["Shop"], self.now)
                for decision in decided.plan.deletions:
                    del self._stored[name][decision.archive.key]

    def _found(self, name: str) -> archives.Catalog:
        objects = []
        for key, published in self._stored[name].items():
            if published <= self.now:
                objects += [StoredObject(key, SIZE, published), StoredObject(f"{key}.json", 9, published)]
            elif published - LONGER[name] <= self.now:
                objects.append(StoredObject(key, SIZE // 2, published - LONGER[name]))
        return archives.read(objects)

    def findings(self) -> list[Finding]:
        """Return all that is not healthy now."""
        examined = [check.judge(name, self._found(name), SETTINGS, ["Shop"], self.now) for name in self._stored]
        found = [finding for each in examined for finding in each.findings]
        found += check.compare(SETTINGS, ["Shop"], {each.destination: each.held for each in examined}, self.now)
        plans = {dag_id: Schedule(False, self._missed.get(dag_id, due)) for dag_id, due in self._next.items()}
        found += schedules.check(schedules.watched(SETTINGS), plans, self.now)
        return [finding for finding in found if finding.verdict != "healthy"]

    @property
    def clock(self) -> str:
        """Return what a wall clock shows."""
        return f"{self.now.astimezone(ZONE):%m-%d %H:%M}"


@pytest.mark.parametrize("minutes", [40, 95])
@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(datetime(2026, 3, 17, 10, tzinfo=UTC), id="summer-time-begins"),
        pytest.param(datetime(2026, 10, 13, 10, tzinfo=UTC), id="summer-time-ends"),
    ],
)
def test_nothing_is_red_while_all_backups_succeed(begin: datetime, minutes: int) -> None:
    world = World(begin, timedelta(minutes=minutes))
    red = {}
    while world.now < begin + timedelta(days=20):
        at_night = "01" <= world.clock[6:] < "04:15"
        if (at_night or world.clock.endswith(("08:00", "16:00"))) and (findings := world.findings()):
            red[world.clock] = [finding.text for finding in findings]
        world.forward()
    assert red == {}


def test_a_missing_night_is_red_at_its_own_check() -> None:
    world = World(datetime(2026, 3, 26, 10, tzinfo=UTC), timedelta(minutes=40), missing=("03-27",))
    red: dict[str, set[str]] = {}
    while world.clock < "03-28 04":
        red[world.clock] = {finding.check for finding in world.findings()}
        world.forward()
    assert not any(found for clock, found in red.items() if clock <= "03-27 02:00")
    assert red["03-27 04:00"] == {"schedule"}  # Airflow knows that nothing has begun
    assert red["03-27 16:45"] == {"schedule", "database age"}  # the last is of 10:50 on the 26th
    assert red["03-28 01:30"] == {"database age"}
    assert red["03-28 02:00"] == red["03-28 03:45"] == set()
