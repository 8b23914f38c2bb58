"""The image without an engine: a bare Debian made into its base, and the Dockerfile's steps carried out in it.

The base is made here after the description of Airflow's own image (user 50000, a virtual environment in ``~/.local``);
it is not that image.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PROJECT

DEBIAN = "bookworm"
HOME = "/home/airflow"
AIRFLOW_HOME = "/opt/airflow"
BASE_EXTRAS = "celery,postgres,redis"
BASE_PACKAGES = "ca-certificates,curl,python3,python3-pip,python3-venv"
# How this machine reaches its package registries; files of the same names are copied.
REGISTRIES = re.compile("PIP_.*|SSL_CERT_FILE|.*_proxy|.*_PROXY")
REGISTRY_FILES = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def instructions(dockerfile: Path) -> Iterator[Instruction]:
    """Read a Dockerfile."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
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


class Root:
    """A tree that commands run in, as in a container.

    :param path: of the tree; made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {name: value for name, value in os.environ.items() if REGISTRIES.fullmatch(name)} | {
            "AIRFLOW_HOME": AIRFLOW_HOME,
            "LANG": "C.UTF-8",
            "PATH": f"{HOME}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self._user = "root"
        self._shell = ["/bin/sh", "-c"]

    def make_base(self) -> None:
        """Make what the Dockerfile begins with."""
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", DEBIAN, self.path], check=True
        )
        for name in REGISTRY_FILES:
            if Path("/", name).exists():
                shutil.copy(Path("/", name), self.path / name)
        self.mount()
        (base,) = (step.rest for step in instructions(PROJECT / "Dockerfile") if step.word == "FROM")
        version = re.search(r":([\d.]+)-python", base)
        assert version
        self.run(f"useradd --uid 50000 --gid 0 --create-home --home-dir {HOME} airflow")
        self.run(f"install -d -o airflow -g root -m 0775 {AIRFLOW_HOME} {AIRFLOW_HOME}/logs")
        self._user = "airflow"
        self.run(f"python3 -m venv {HOME}/.local")
        self.run(
            f"pip install -q uv && uv pip install -q --python {HOME}/.local/bin/python"
            f" 'apache-airflow[{BASE_EXTRAS}]=={version[1]}'"
        )

    def mount(self) -> None:
        """Show the tree devices and processes, and packages that this machine keeps."""
        subprocess.run(["mount", "-t", "proc", "proc", self.path / "proc"], check=True)
        for device in ("/dev", *os.environ.get("PIP_FIND_LINKS", "").split()):
            (self.path / device.lstrip("/")).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--rbind", device, self.path / device.lstrip("/")], check=True)

    def build(self) -> None:
        """Carry out the Dockerfile's steps.

        :raises ValueError: an instruction that nobody has taught this.
        """
        for step in instructions(PROJECT / "Dockerfile"):
            print(f"\n--- {step.word} {step.rest}", flush=True)  # noqa: T201
            match step.word:
                case "FROM":
                    self._user = "root"
                case "USER":
                    self._user = step.rest
                case "SHELL":
                    self._shell = json.loads(step.rest)
                case "ENV":
                    name, _, value = step.rest.partition("=")
                    self.environment[name] = value
                case "COPY":
                    self._copy(step.rest)
                case "RUN":
                    self.run(step.rest)
                case _:
                    raise ValueError(f"{step.word} is not known here")

    def install(self, *packages: str) -> None:
        """Install Debian packages, starting none of their servers."""
        self._user = "root"
        policy = self.path / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        self.run(
            "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
            f" --no-install-recommends {shlex.join(packages)} >/dev/null"
        )

    def run(self, command: str) -> None:
        """Run a command as the current user."""
        words = [*self._shell, command]
        subprocess.run(self.command(words, self._user), env=self.environment, check=True)

    def command(self, words: list[str], user: str) -> list[str]:
        """Return the command of this machine that runs words in the tree."""
        home = f"export HOME=$(getent passwd {user} | cut -d: -f6)"
        inside = f"if [ -d {AIRFLOW_HOME} ]; then cd {AIRFLOW_HOME}; fi; {home}; exec {shlex.join(words)}"
        return [
            "chroot",
            f"--userspec={user}:root" if user == "airflow" else f"--userspec={user}",
            str(self.path),
            "/bin/sh",
            "-c",
            inside,
        ]

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        owner = "airflow" if words[0].startswith("--chown=airflow") else "root"
        *sources, target = [word for word in words if not word.startswith("--")]
        for source in sources:
            for path in context():
                name = path.relative_to(PROJECT)
                if source not in (".", str(name)) and not name.is_relative_to(source):
                    continue
                place = target.rstrip("/")
                inside = (
                    f"{place}/{name if source == '.' else name.name}"
                    if target.endswith("/") or source == "."
                    else place
                )
                copied = self.path / inside.lstrip("/")
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copied)
        if owner == "airflow":
            subprocess.run(["chroot", self.path, "chown", "-R", "airflow:root", target], check=True)
