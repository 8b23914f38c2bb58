"""The database server or the S3 server killed at any step of a command: once it is back, the same command succeeds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import BUCKET
from tests.torture.conftest import Faults
from tests.torture.test_killed import BACKUPS, CLEANUP, DRILL, RESTORES, Verb, spread, steps_of
from tests.torture.victim import Death
from tests.torture.world import World

STEPS = 8


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A server that may be killed."""
    with MariaDB(tmp_path_factory.mktemp("mortal-mariadb")) as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server that may be killed."""
    with S3(tmp_path_factory.mktemp("mortal-s3")) as server:
        server.create_bucket(BUCKET)
        yield server


def kill_server(world: World, verb: Verb, server: MariaDB | S3, step: int) -> None:
    """Kill a server once, look, start it, and run the command again."""
    world.reset()
    verb.prepare(world)
    ended = world.run(*verb.arguments, death=Death(step, instead=server.pid))
    assert ended.status in (0, 1), ended.status
    assert "Traceback" not in ended.errors, ended.errors[-1500:]
    server.kill()
    server.start()
    world.check_published()
    world.check_released()
    verb.check_dead(world)
    time.sleep(1 - time.time() % 1)
    world.succeed(*verb.arguments)
    world.check()
    verb.check_done(world)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        *((verb, "MariaDB") for verb in (BACKUPS[0], RESTORES[0], RESTORES[3], DRILL)),
        *((verb, "S3") for verb in (BACKUPS[1], CLEANUP, DRILL)),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_a_server_killed_at_any_step(
    world: World, verb: Verb, name: str, mariadb: MariaDB, s3: S3, faults: Faults
) -> None:
    servers: dict[str, MariaDB | S3] = {"MariaDB": mariadb, "S3": s3}
    steps = steps_of(world, verb)
    failures = []
    for step in spread(len(steps), STEPS):
        try:
            with faults.one(f"{name} killed in {verb.name}"):
                kill_server(world, verb, servers[name], step)
        except AssertionError as error:
            failures.append(f"step {step} ({steps[step - 1]}): {error}")
    assert not failures, "\n".join(failures)
