"""A Dockerfile as its stages, and the files that its build sees."""

from __future__ import annotations

import fnmatch
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PROJECT

DOCKERFILE = PROJECT / "Dockerfile"
KNOWN = {"COPY", "ENV", "HEALTHCHECK", "LABEL", "RUN", "SHELL", "USER"}  # what `Root.build` carries out, or need not


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    rest: str


@dataclass(frozen=True)
class Stage:
    """What is made from one base.

    :param name: empty for the last one, the image.
    """

    name: str
    base: str
    steps: list[Instruction] = field(default_factory=list)


def stages(text: str) -> list[Stage]:
    """Read a Dockerfile, with the defaults of its arguments.

    :raises ValueError: an instruction that nobody has taught this.
    """
    defaults: dict[str, str] = {}
    found: list[Stage] = []
    for word, rest in _instructions(text):
        if word == "ARG" and not found:
            name, _, defaults[name] = rest.partition("=")
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name, string.Template(base).substitute(defaults)))
        elif word in KNOWN:
            found[-1].steps.append(Instruction(word, rest))
        else:
            raise ValueError(f"{word} is not known here")
    return found


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield Instruction(word, rest.strip())


def context() -> list[Path]:
    """Return the files that a build sees, by ``.dockerignore``: none but what its exceptions name."""
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = [line[1:] for line in lines if line.startswith("!")]
    dropped = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    return [
        path
        for pattern in kept
        for start in PROJECT.glob(pattern)
        for path in (start.rglob("*") if start.is_dir() else [start])
        if path.is_file() and not any(fnmatch.fnmatch(part, drop) for part in path.parts for drop in dropped)
    ]


def copied(source: str, target: str) -> list[tuple[Path, str]]:
    """Return the files of the context that ``COPY source target`` copies, each with its place.

    :raises ValueError: there is none.
    """
    found = []
    for path in context():
        name = path.relative_to(PROJECT)
        if source == ".":
            found.append((path, f"{target}/{name}"))
        elif str(name) == source:
            found.append((path, f"{target}{name.name}" if target.endswith("/") else target))
        elif name.is_relative_to(source):  # a folder: its content is copied, not itself
            found.append((path, f"{target}/{name.relative_to(source)}"))
    if not found:
        raise ValueError(f"the build does not see {source}; see .dockerignore")
    return found
