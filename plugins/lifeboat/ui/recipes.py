"""Commands to copy: restore an archive with Lifeboat, or manually with only 7-Zip and the stock client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from urllib.parse import urlsplit

from lifeboat.archive import dump_entry_name
from lifeboat.catalog.archives import Archive
from lifeboat.databases import EngineName
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.settings.config import DiskDestination, Settings

AMAZON = re.compile(r"s3[\w.-]*\.amazonaws\.com(\.cn)?")  # hosts that the aws command finds by itself


@dataclass(frozen=True)
class Recipe:
    """Commands for one purpose, a line each."""

    title: str
    hint: str
    lines: tuple[str, ...]


def restore_dag(archive: Archive) -> str:
    """Return the id of the DAG that restores an archive."""
    return "restore_application" if archive.kind == "application" else "restore_database"


def recipes(
    settings: Settings, archive: Archive, places: Sequence[str], endpoints: Mapping[str, str]
) -> tuple[Recipe, ...]:
    """Return how to get an archive back; manually only where its application is not in the settings.

    :param places: names of destinations that hold it.
    :param endpoints: addresses of S3 servers, by destination.
    """
    by_hand = Recipe(
        "Manually",
        f"{_credentials(settings, places[0])}7-Zip asks for the archive password."
        " HOST and USER are those of the database server.",
        (
            _fetch(settings, archive, places[0], endpoints.get(places[0], "")),
            "7z x -orestored archive.zip",
            *_load(settings, archive),
        ),
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


def _credentials(settings: Settings, place: str) -> str:
    kept = settings.destinations[place]
    return "" if isinstance(kept, DiskDestination) else f"aws needs the keys of the connection {kept.connection}. "


def _fetch(settings: Settings, archive: Archive, place: str, endpoint: str) -> str:
    kept = settings.destinations[place]
    if isinstance(kept, DiskDestination):
        return f"cp {quote(str(kept.path / archive.key))} archive.zip"
    path = "/".join(filter(None, [kept.bucket, kept.prefix, archive.key]))
    amazons = AMAZON.fullmatch(urlsplit(endpoint).hostname or "s3.amazonaws.com")
    server = "" if amazons else f"--endpoint-url {quote(endpoint)} "
    return f"aws s3 cp {server}{quote(f's3://{path}')} archive.zip"


def _load(settings: Settings, archive: Archive) -> Iterable[str]:
    application = settings.applications.get(archive.application)
    if application is None:
        return
    for database in (*application.named, *(server.database("DATABASE") for server in application.servers)):
        restored = f"{database.name}_restored"
        yield from _BY_HAND[database.engine](
            restored, quote(f"restored/{dump_entry_name(database.engine, database.name)}")
        )


def _mysql(name: str, dump: str) -> Iterable[str]:
    create = f"CREATE DATABASE {backquoted(name)}"
    yield f"mysql -h HOST -u USER -p -e {quote(create)}"
    yield f"mysql -h HOST -u USER -p {quote(name)} < {dump}"


def _postgresql(name: str, dump: str) -> Iterable[str]:
    yield f"createdb -h HOST -U USER {quote(name)}"
    yield f"psql -h HOST -U USER -d {quote(name)} < {dump}"


def _sqlite(name: str, dump: str) -> Iterable[str]:
    yield f"sqlite3 {quote(f'{name}.sqlite')} < {dump}"


def restored_recipes(engine: EngineName, name: str) -> tuple[Recipe, ...]:
    """Return how to use a database restored next to its original, and how to drop it.

    :param name: of the new schema.
    """
    use, drop = _RESTORED[engine](name)
    return (
        Recipe("Use it", "Copy what you need from there, or let the application connect to it.", (use,)),
        Recipe("Drop it", "When you are done. Nobody else drops it, and the original stays as it is.", (drop,)),
    )


def _mysql_restored(name: str) -> tuple[str, str]:
    drop = f"DROP DATABASE {backquoted(name)}"
    return f"mysql -h HOST -u USER -p {quote(name)}", f"mysql -h HOST -u USER -p -e {quote(drop)}"


def _postgresql_restored(name: str) -> tuple[str, str]:
    return f"psql -h HOST -U USER -d {quote(name)}", f"dropdb -h HOST -U USER {quote(name)}"


def _sqlite_restored(name: str) -> tuple[str, str]:
    file = quote(f"{name}.sqlite")
    return f"sqlite3 FOLDER/{file}", f"rm FOLDER/{file}"


_RESTORED: Mapping[EngineName, Callable[[str], tuple[str, str]]] = {
    "mysql": _mysql_restored,
    "postgresql": _postgresql_restored,
    "sqlite": _sqlite_restored,
}

_BY_HAND: Mapping[EngineName, Callable[[str, str], Iterable[str]]] = {
    "mysql": _mysql,
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}
