"""The image without an engine: a bare Debian made into its base, and the Dockerfile's steps carried out in it.

The base is made here after the description of Airflow's own image (user 50000, a virtual environment in ``~/.local``);
it is not that image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.image.dockerfile import Stage, copied

DEBIAN = "bookworm"  # Airflow's image is made from it
HOME = "/home/airflow"
AIRFLOW_HOME = "/opt/airflow"
BASE_EXTRAS = "celery,postgres,redis"
BASE_PACKAGES = "ca-certificates,curl,python3,python3-pip,python3-venv"
# How this machine reaches its package registries; files of the same names are copied.
REGISTRIES = re.compile("PIP_.*|SSL_CERT_FILE|.*_proxy|.*_PROXY")
REGISTRY_FILES = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


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

    def make_base(self, name: str) -> None:
        """Make the image that a stage begins with.

        :raises ValueError: nobody has taught this how.
        """
        match re.split("[:-]", name):
            case ["debian", suite, "slim"]:
                self._make_debian(suite)
            case ["apache/airflow", version, _]:
                self._make_debian(DEBIAN, f"--include={BASE_PACKAGES}")
                self._install_airflow(version)
            case _:
                raise ValueError(f"{name} cannot be made here")

    def _make_debian(self, suite: str, *options: str) -> None:
        subprocess.run(["debootstrap", "--variant=minbase", *options, suite, self.path], check=True)
        for name in REGISTRY_FILES:
            if Path("/", name).exists():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path("/", name), self.path / name)
        # A mirror may lag behind the date until which its lists are valid.
        (self.path / "etc/apt/apt.conf.d/lagging").write_text('Acquire::Check-Valid-Until "false";\n')
        self.mount()

    def _install_airflow(self, version: str) -> None:
        self.run(f"useradd --uid 50000 --gid 0 --create-home --home-dir {HOME} airflow")
        self.run(f"install -d -o airflow -g root -m 0775 {AIRFLOW_HOME} {AIRFLOW_HOME}/logs")
        self._user = "airflow"
        self.run(f"python3 -m venv {HOME}/.local")
        self.run(
            f"pip install -q uv && uv pip install -q --python {HOME}/.local/bin/python"
            f" 'apache-airflow[{BASE_EXTRAS}]=={version}'"
        )

    def copy_of(self, base: Root) -> None:
        """Begin as a copy of another tree, without what is mounted there."""
        subprocess.run(["cp", "-ax", "--reflink=auto", base.path, self.path], check=True)
        self.mount()

    def megabytes(self) -> int:
        """Return the size of the tree, without what is mounted there."""
        told = subprocess.run(["du", "-sxm", self.path], capture_output=True, text=True, check=True).stdout
        return int(told.split()[0])

    def mount(self) -> None:
        """Show the tree devices and processes, and packages that this machine keeps."""
        subprocess.run(["mount", "-t", "proc", "proc", self.path / "proc"], check=True)
        for device in ("/dev", *os.environ.get("PIP_FIND_LINKS", "").split()):
            (self.path / device.lstrip("/")).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--rbind", device, self.path / device.lstrip("/")], check=True)

    def build(self, stage: Stage, made: Mapping[str, Root]) -> None:
        """Carry out the steps of a stage.

        :param made: the stages before it, by their names.
        """
        for step in stage.steps:
            print(f"\n--- {step.word} {step.rest}", flush=True)  # noqa: T201
            match step.word:
                case "USER":
                    self._user = step.rest
                case "SHELL":
                    self._shell = json.loads(step.rest)
                case "ENV":
                    name, _, value = step.rest.partition("=")
                    self.environment[name] = value
                case "COPY":
                    self._copy(step.rest, made)
                case "RUN":
                    self.run(step.rest)

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

    def _copy(self, rest: str, made: Mapping[str, Root]) -> None:
        words = shlex.split(rest)
        options = dict(word[2:].split("=") for word in words if word.startswith("--"))
        *sources, target = [word for word in words if not word.startswith("--")]
        for source in sources:
            if "from" in options:
                folder = self.path / target.lstrip("/")
                folder.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", made[options["from"]].path / source.lstrip("/"), folder], check=True)
                continue
            for path, place in copied(source, target):
                inside = self.path / place.lstrip("/")
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, inside)
        if "chown" in options:
            subprocess.run(["chroot", self.path, "chown", "-R", options["chown"], target], check=True)
