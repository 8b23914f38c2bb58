"""Names of databases: their longest length, and the names of databases that drills and restores fill.

The latter have their own prefixes, so that leftovers of a killed run are recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase

from lifeboat.databases import EngineName
from lifeboat.errors import RestoreError

PREFIX = "lifeboat_drill_"
FILLING = "lifeboat_filling_"  # of PostgreSQL, until a restore is whole
INDEXES = 2  # a restored database takes about this many times the size of its SQL, at most
SYSTEM: Mapping[EngineName, frozenset[str]] = {
    "mysql": frozenset({"mysql", "sys", "information_schema", "performance_schema", "ndbinfo"}),
    "postgresql": frozenset(
        {"postgres", "template0", "template1", "rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys"}
    ),
    "sqlite": frozenset(),
}
UNREADABLE = frozenset({"template0", *SYSTEM["mysql"]})  # no dump brings these back
LONGEST_NAMES: Mapping[EngineName, int] = {"mysql": 64, "postgresql": 63, "sqlite": 200}


def fits(engine: EngineName, name: str) -> bool:
    """Return whether a name is short enough: MySQL counts characters, the others bytes."""
    return len(name if engine == "mysql" else name.encode()) <= LONGEST_NAMES[engine]


def is_reserved(name: str) -> bool:
    """Return whether a name is one that drills and restores give, and drop, in whatever case somebody types it."""
    return name.casefold().startswith((PREFIX, FILLING))


def is_system(engine: EngineName, name: str) -> bool:
    """Return whether a database belongs to the server itself; MySQL does not tell upper from lower case everywhere."""
    return name.casefold() in SYSTEM[engine]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name is one of some patterns, or matches one: some names are patterns themselves."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def is_copy(name: str) -> bool:
    """Return whether a restore gave a database its name: a copy, or the original that it replaced."""
    return re.search(r"_(restored|before)_\d{8}_\d{6}$", name) is not None


def with_suffix(engine: EngineName, name: str, suffix: str) -> str:
    """Return a name with a suffix, shortened until it fits."""
    while not fits(engine, name + suffix):
        name = name[:-1]
    return name + suffix


def scratch_name(engine: EngineName, database: str, now: datetime) -> str:
    """Return the name of a new scratch database."""
    return with_suffix(engine, f"{PREFIX}{now:%Y%m%d_%H%M%S}_{database}", "")


def leftovers(names: Iterable[str], marked: Iterable[str]) -> list[str]:
    """Return what killed drills left.

    :param marked: names of databases that say that they are unfinished, or hold nothing.
    :raises RestoreError: something has our prefix and is not ours.
    """
    found = sorted(name for name in names if name.startswith(PREFIX))
    if strange := set(found) - set(marked):
        raise RestoreError(
            f"The scratch server has a database {min(strange)!r} that no drill created: it lacks a drill's mark.",
            f"Rename or drop it: the prefix {PREFIX!r} is reserved for drills.",
        )
    return found
