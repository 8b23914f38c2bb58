"""Two of everything at once, and a clock that is set back: what must hold, holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lifeboat.actions import backup, check, cleanup, restore
from lifeboat.actions.backup import Taken
from lifeboat.airflow import connections
from lifeboat.airflow.site import site_of
from lifeboat.catalog import proof
from lifeboat.catalog.archives import PROOF
from lifeboat.decide.restore_plan import RestoreRequest
from lifeboat.settings import config
from lifeboat.site import Site
from lifeboat.staging import StagingDirectory

from tests.conftest import staging_directory
from tests.torture.conftest import Faults
from tests.torture.test_killed import CLEANUP, RESTORES, age, only_what_the_policy_keeps
from tests.torture.world import DATABASES, Ended, World

BACKUP = ("backup", "application", "Shop")
DATABASE_BACKUP = ("backup", "database", "Shop")
IN_PLACE = RESTORES[3]
ROUNDS = 5
PAUSES = [each / ROUNDS for each in range(ROUNDS)]  # seconds


def statuses(ended: list[Ended]) -> list[int]:
    for each in ended:
        assert each.status in (0, 1), each.errors[-800:]
    return sorted(each.status for each in ended)


def two_backups(world: World, pause: float) -> None:
    """Each is published where it says so. Two of one second have one name, and the second of them fails."""
    ended = world.together(DATABASE_BACKUP, DATABASE_BACKUP, pause=pause)
    count = statuses(ended).count(0)
    for destination in world.baseline:
        assert count <= len(world.new(destination)) <= 2
        assert world.new(destination)


def two_clean_ups(world: World, pause: float) -> None:
    age(world)
    assert statuses(world.together(CLEANUP.arguments, CLEANUP.arguments, pause=pause)) == [0, 0]
    only_what_the_policy_keeps(world)


def a_clean_up_during_a_backup(world: World, pause: float) -> None:
    age(world)
    assert statuses(world.together(BACKUP, CLEANUP.arguments, pause=pause)) == [0, 0]
    assert all(world.new(destination) for destination in world.baseline)
    only_what_the_policy_keeps(world)


def two_restores_to_one_name(world: World, pause: float) -> None:
    """One makes it, and the other leaves it as it is."""
    restore = ("restore", "database", "Shop", "--database", "shop", "--into", "copy")
    ended = world.together(restore, restore, pause=pause)
    assert sorted(each.status for each in ended) in ([0, 1], [0, 2])
    assert world.data("copy") == world.states["shop"][0]


def two_restores_in_place(world: World, pause: float) -> None:
    """They follow one another, or the second is told that somebody is at it."""
    world.change()
    ended = world.together(IN_PLACE.arguments, IN_PLACE.arguments, pause=pause)
    assert 0 in statuses(ended)
    IN_PLACE.check_done(world)


def two_drills(world: World, pause: float) -> None:
    drill = ("drill", "Shop", "-d", "disk")
    assert statuses(world.together(drill, drill, pause=pause)) == [0, 0]
    assert world.schemas() == set(DATABASES)
    settings = config.load()
    (disk,) = site_of(settings).destinations("Shop", ("disk",))
    for key in world.baseline["disk"]:
        assert disk.find(key + PROOF)
        proof.read(disk, key, site_of(settings).passwords("Shop")[0])


def a_restore_during_a_backup(world: World, pause: float) -> None:
    """The backup has the old state or the new one of each database, and restores to it.

    Where the safety backup would need the name that the backup has, of the same second, nothing is restored.
    """
    world.change()
    overwrite = ("restore", "database", "Shop", "--overwrite", "shop", "--archive", max(world.baseline["disk"]))
    backup, restore = world.together(DATABASE_BACKUP, overwrite, pause=pause)
    for each in (backup, restore):
        assert each.status == 0 or "already" in each.errors, each.errors[-800:]
    assert world.data("shop") == world.states["shop"][restore.status]
    for number, key in enumerate(sorted(world.new("disk"))):
        copy = f"copy_{number}"
        world.succeed("restore", "database", "Shop", "--database", "shop", "--into", copy, "--archive", key)
        assert world.data(copy) in world.states["shop"]


CASES = (
    two_backups,
    two_clean_ups,
    a_clean_up_during_a_backup,
    two_restores_to_one_name,
    two_restores_in_place,
    two_drills,
    a_restore_during_a_backup,
)


@pytest.mark.parametrize("case", [two_clean_ups, two_restores_to_one_name], ids=lambda case: case.__name__)
def test_what_runs_at_once_in_short(world: World, case: Callable[[World, float], None], faults: Faults) -> None:
    world.reset()
    with faults.one(case.__name__.replace("_", " ")):
        case(world, 0)
        world.check()


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_runs_at_once(world: World, case: Callable[[World, float], None], faults: Faults) -> None:
    for pause in PAUSES:
        world.reset()
        with faults.one(case.__name__.replace("_", " ")):
            case(world, pause)
            world.check()


def test_a_clock_that_is_set_back_an_hour(world: World, faults: Faults) -> None:
    """What was dated ahead stays, is told, and stands in the way of nothing; its hour comes a second time."""
    settings = config.load()
    ahead = datetime.now(UTC) + timedelta(hours=1)

    def back_up(site: Site) -> Taken:
        scratch = StagingDirectory(staging_directory(settings) / "clock")
        scratch.create()
        return backup.take(site, "Shop", "database", settings.databases_of("Shop"), (), "", scratch)

    here = site_of(settings)
    early_site = replace(here, clock=lambda: ahead)
    world.reset()
    with faults.one("clock set back an hour"):
        early, late = back_up(early_site), back_up(here)
        now = datetime.now(UTC)
        for name, destination in settings.destinations.items():
            place = connections.destination(name, destination)
            assert not cleanup.evaluate(place, site_of(settings), ["Shop"], now).plan.deletions
            told = {
                finding.check: finding.verdict
                for finding in check.examine(name, site_of(settings), ["Shop"], now).findings
            }
            assert told["clock"] == "degraded"
            assert told["database age"] == "healthy"
        assert restore.select(site_of(settings), RestoreRequest("Shop"), now).key == late.packed.key
        again = back_up(early_site)
        assert not again.published
        assert set(again.failed) == {"disk", "offsite"}
        assert all("nothing is overwritten" in reason for reason in again.failed.values())
        assert {early.packed.key, late.packed.key} == world.new("disk") == world.new("offsite")
        world.check_published()
