"""Commands killed at every step: what is published stays whole, and the same command then succeeds by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lifeboat.actions import cleanup
from lifeboat.airflow.site import load_site, site_of
from lifeboat.catalog import archives
from lifeboat.databases.mysql.dump import UNFINISHED
from lifeboat.settings import config

from tests.torture.conftest import Faults
from tests.torture.victim import Death
from tests.torture.world import DATABASES, World

STEPS = 12  # of a command, at most, before which it is killed
OTHER_DEATHS = (
    Death(delay=0.005),
    Death(group=True),
    Death(group=True, delay=0.02),
    Death(signal=signal.SIGTERM),
    Death(signal=signal.SIGTERM, group=True),
    Death(signal=signal.SIGINT),
)
OLD_DAYS = (30, 31, 32)  # two of them go by the default policy


@dataclass(frozen=True)
class Verb:
    """A command, and what must hold of it.

    :param prepare: before it begins.
    :param check_dead: after it was killed.
    :param check_done: after it was run again to its end.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[World], None] = lambda world: None
    check_dead: Callable[[World], None] = lambda world: None
    check_done: Callable[[World], None] = lambda world: None


def new_archives(world: World, kind: str) -> None:
    """Every destination has a new archive; what the killed one left is swept a day later."""
    for name in world.baseline:
        assert [key for key in world.new(name) if kind in key], f"nothing new at {name}"
    settings, later = config.load(), datetime.now(UTC) + timedelta(hours=25)
    for destination in site_of(settings).destinations("Shop"):
        order = cleanup.evaluate(destination, site_of(settings), ["Shop"], later, datetime.now(UTC)).order
        cleanup.clean(destination, site_of(settings), ["Shop"], later, order, datetime.now(UTC))
        assert not archives.read(destination.list()).unfinished
        assert not list(destination.uploads())


def age(world: World) -> None:
    """Put old archives beside the new one, proofs included, as years of backups would have."""
    for destination in load_site().destinations("Shop"):
        key = min(world.baseline[destination.name])
        with destination.open(key) as archive, destination.open(key + archives.MARKER) as marker:
            content, facts = archive.read(), marker.read()
        for days in OLD_DAYS:
            old = archives.archive_key("Shop", "application", datetime.now(UTC) - timedelta(days=days))
            for suffix, data in (("", content), (archives.MARKER, facts), (archives.PROOF, b"{}")):
                destination.write(old + suffix, data)
            world.copies.add(old)


def only_what_the_policy_keeps(world: World) -> None:
    for name, keys in world.published().items():
        assert keys > world.baseline[name]
    settings = config.load()
    for destination in site_of(settings).destinations("Shop"):
        evaluation = cleanup.evaluate(destination, site_of(settings), ["Shop"], datetime.now(UTC))
        assert not evaluation.plan.deletions


def databases_are_old_new_or_marked(world: World) -> None:
    for name in DATABASES:
        state = world.data(name) if name not in world.unfinished() else "marked"
        assert state in ("marked", *world.states[name]), f"{name} is neither old nor new"


def all_is_restored(world: World) -> None:
    for name in DATABASES:
        assert world.data(name) == world.states[name][0]
    assert not world.unfinished() & set(DATABASES)


def files_are_old_or_new(world: World) -> None:
    databases_are_old_new_or_marked(world)
    assert world.files() in world.trees, "files are neither old nor new"


def files_are_restored(world: World) -> None:
    all_is_restored(world)
    assert world.files() == world.trees[0]
    assert not [name for name in world.beside() if "_before_" not in name]


def originals_are_untouched(world: World) -> None:
    for name in DATABASES:
        assert world.data(name) == world.states[name][1]
    assert world.files() == world.trees[1]
    for name in world.schemas() - set(DATABASES) - world.unfinished():
        assert world.data(name) in (world.states[name.partition("_")[0]][0], EMPTY)


def a_copy_is_beside(world: World) -> None:
    originals_are_untouched(world)
    whole = [
        name for name in world.schemas() - world.unfinished() if "_restored_" in name and world.data(name) != EMPTY
    ]
    assert {name.partition("_")[0] for name in whole} == set(DATABASES)


def nothing_is_left_of_drills(world: World) -> None:
    assert world.schemas() == set(DATABASES)


EMPTY = "0\n0\n0\n0\n"  # no tables; triggers, routines, views, events
BACKUPS = (
    Verb("database backup", ("backup", "database", "Shop"), check_done=lambda world: new_archives(world, "database")),
    Verb(
        "application backup",
        ("backup", "application", "Shop"),
        check_done=lambda world: new_archives(world, "application"),
    ),
)
CLEANUP = Verb("clean-up", ("cleanup", "Shop"), age, check_done=only_what_the_policy_keeps)
RESTORES = (
    Verb(
        "restore of databases beside",
        ("restore", "database", "Shop"),
        World.change,
        originals_are_untouched,
        a_copy_is_beside,
    ),
    Verb(
        "restore of databases in place",
        ("restore", "database", "Shop", "--overwrite", "shop", "--overwrite", "stock"),
        World.change,
        databases_are_old_new_or_marked,
        all_is_restored,
    ),
    Verb(
        "restore of an application beside",
        ("restore", "application", "Shop"),
        World.change,
        originals_are_untouched,
        a_copy_is_beside,
    ),
    Verb(
        "restore of an application in place",
        ("restore", "application", "Shop", "--overwrite", "Shop"),
        World.change,
        files_are_old_or_new,
        files_are_restored,
    ),
)
DRILL = Verb("drill", ("drill", "Shop"), check_done=nothing_is_left_of_drills)
VERBS = (*BACKUPS, CLEANUP, *RESTORES, DRILL)


def attack(world: World, verb: Verb, death: Death) -> None:
    """Kill the command once, look, and run it again."""
    world.reset()
    verb.prepare(world)
    killed = world.run(*verb.arguments, death=death)
    world.check_published()
    world.check_released()
    verb.check_dead(world)
    time.sleep(1 - time.time() % 1)  # a command that is started anew takes longer than that to begin
    world.succeed(*verb.arguments)
    world.check()
    verb.check_done(world)
    assert killed.status == -death.signal or death.signal == signal.SIGINT or death.delay, killed.status


MARK = f".`{UNFINISHED}` AS SELECT"  # the view that marks a schema as unfinished, just after it was made
WORST = (
    (BACKUPS[0], Death(named=".zip.json.")),
    (BACKUPS[1], Death(named="mariadb-dump", signal=signal.SIGTERM, group=True, delay=0.02)),
    (CLEANUP, Death(named=".zip'")),
    (RESTORES[0], Death(named=MARK)),
    (RESTORES[3], Death(named="start cp")),
    (RESTORES[3], Death(named="rename_in_one_step")),
    (DRILL, Death(named=MARK)),
    (DRILL, Death(named="DROP DATABASE", signal=signal.SIGINT)),
)


def test_killed_at_the_worst_of_steps(world: World, faults: Faults) -> None:
    for verb, death in WORST:
        with faults.one(f"{death} in {verb.name}"):
            attack(world, verb, death)


def test_what_copies_files_ends_with_its_command(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "cp"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        world.reset()
        world.change()
        killed = world.run(*RESTORES[3].arguments, death=Death(named="start cp", delay=0.5))
    assert killed.status == -signal.SIGKILL
    world.succeed(*RESTORES[3].arguments)
    RESTORES[3].check_done(world)


def attack_all(world: World, verb: Verb, deaths: Iterable[Death], steps: Sequence[str], faults: Faults) -> None:
    """Kill the command in many ways, and tell of all those that were not withstood.

    :param steps: of the command when nothing kills it.
    """
    failures = []
    for death in deaths:
        try:
            with faults.one(f"{death} in {verb.name}"):
                attack(world, verb, death)
        except AssertionError as error:
            step = death.named or f"step {death.step} ({steps[min(death.step, len(steps)) - 1]})"
            failures.append(f"{death} at {step}: {error}")
    assert not failures, f"{len(failures)} of {len(steps)} steps:\n" + "\n".join(failures)


def spread(count: int, most: int) -> list[int]:
    """Return numbers from 1 to `count`, all or `most` of them at equal distances."""
    many = min(count, most)
    return [1 + index * (count - 1) // max(many - 1, 1) for index in range(many)]


def steps_of(world: World, verb: Verb) -> list[str]:
    """Run a command unharmed and return its steps."""
    world.reset()
    verb.prepare(world)
    return world.succeed(*verb.arguments).steps


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_killed_before_its_steps(world: World, verb: Verb, faults: Faults) -> None:
    steps = steps_of(world, verb)
    attack_all(world, verb, map(Death, spread(len(steps), STEPS)), steps, faults)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_ended_otherwise(world: World, verb: Verb, faults: Faults) -> None:
    steps = steps_of(world, verb)
    places = spread(len(steps), len(OTHER_DEATHS))
    deaths = [replace(death, step=step) for death, step in zip(OTHER_DEATHS, places, strict=True)]
    attack_all(world, verb, deaths, steps, faults)
