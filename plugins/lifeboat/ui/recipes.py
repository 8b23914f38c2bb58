"""Commands to copy: get an archive back by Lifeboat, or by hand with nothing but 7-Zip and the stock client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from shlex import quote

from lifeboat.archive import dump_entry_name
from lifeboat.catalog import Archive
from lifeboat.config import DiskDestination, Settings
from lifeboat.databases import EngineName


@dataclass(frozen=True)
class Recipe:
    """Commands for one purpose, a line each."""

    title: str
    hint: str
    lines: tuple[str, ...]


def restore_dag(archive: Archive) -> str:
    """Return the id of the DAG that restores an archive."""
    return "restore_application" if archive.kind == "application" else "restore_database"


def recipes(settings: Settings, archive: Archive, places: Iterable[str]) -> tuple[Recipe, ...]:
    """Return how to get an archive back; by hand only where its application is not in the settings.

    :param places: names of destinations that hold it.
    """
    by_hand = Recipe(
        "By hand",
        "7-Zip asks for the archive password. HOST and USER are those of the database server.",
        (*_fetch(settings, archive, places), "7z x -orestored archive.zip", *_load(settings, archive)),
    )
    if archive.application not in settings.applications:
        return (by_hand,)
    verb = restore_dag(archive).removeprefix("restore_")
    application, key = quote(archive.application), quote(archive.key)
    lifeboat = Recipe(
        "Lifeboat",
        "On a worker, without a running Airflow. A restore verifies the archive first.",
        (f"lifeboat verify {key}", f"lifeboat restore {verb} {application} --archive {key}"),
    )
    return (lifeboat, by_hand)


def _fetch(settings: Settings, archive: Archive, places: Iterable[str]) -> Iterable[str]:
    for place in places:
        kept = settings.destinations[place]
        if isinstance(kept, DiskDestination):
            yield f"cp {quote(str(kept.path / archive.key))} archive.zip"
        else:
            path = "/".join(filter(None, [kept.bucket, kept.prefix, archive.key]))
            yield f"aws s3 cp {quote(f's3://{path}')} archive.zip"
        return


def _load(settings: Settings, archive: Archive) -> Iterable[str]:
    application = settings.applications.get(archive.application)
    for database in application.databases if application else ():
        restored = f"{database.name}_restored"
        yield from _BY_HAND[database.engine](
            restored, quote(f"restored/{dump_entry_name(database.engine, database.name)}")
        )


def _mysql(name: str, dump: str) -> Iterable[str]:
    create = f"CREATE DATABASE `{name.replace('`', '``')}`"
    yield f"mysql -h HOST -u USER -p -e {quote(create)}"
    yield f"mysql -h HOST -u USER -p {quote(name)} < {dump}"


def _postgresql(name: str, dump: str) -> Iterable[str]:
    yield f"createdb -h HOST -U USER {quote(name)}"
    yield f"psql -h HOST -U USER -d {quote(name)} < {dump}"


def _sqlite(name: str, dump: str) -> Iterable[str]:
    yield f"sqlite3 {quote(f'{name}.sqlite')} < {dump}"


_BY_HAND: Mapping[EngineName, Callable[[str, str], Iterable[str]]] = {
    "mysql": _mysql,
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}
