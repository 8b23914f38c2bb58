"""Airflow whole, on this machine: scheduler, DAG processor, API server and triggerer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lifeboat.support.processes import die_with_parent

from include.demo.stand_ins import LOCALHOST, free_port

READY_SECONDS = 600
STOP_SECONDS = 2  # Airflow takes longer than twenty, and nobody needs what it does meanwhile
BUSY = 500
PAUSES = (1, 1, 2, 4)  # seconds
HEALTH = "monitor/health"  # needs no login


class Standalone:
    """``airflow standalone``, bound to 127.0.0.1.

    :param variables: environment of Airflow, added to the current one.
    :param log: receives the output of all its parts.
    :param users: roles by user; the password of each is its name. Without users nobody needs a login.
    """

    def __init__(
        self,
        variables: dict[str, str],
        log: Path,
        port: int | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.base = f"http://{LOCALHOST}:{port or free_port()}"
        self._log = log
        self._users = users or {}
        self._tokens: dict[str, str] = {}
        self._environment = (
            os.environ
            | variables
            | {
                "AIRFLOW__API__HOST": LOCALHOST,
                "AIRFLOW__API__PORT": self.base.rpartition(":")[2],
                "AIRFLOW__API__BASE_URL": self.base,
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": str(not users),
                # On a machine that is busy, what ends at 50 s, the default, takes the alert of a run along.
                "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
                "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
                "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
                # `airflow standalone` starts its parts by name.
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
            | self._logins()
        )
        self._process: subprocess.Popen[bytes] | None = None

    def _logins(self) -> dict[str, str]:
        if not self._users:
            return {}
        passwords = self._log.with_name("passwords.json")
        passwords.write_text(json.dumps({name: name for name in self._users}))
        roles = ",".join(f"{name}:{role}" for name, role in self._users.items())
        return {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": roles,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }

    def __enter__(self) -> Self:
        parent = os.getpid()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "airflow", "standalone"],
                env=self._environment,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=lambda: die_with_parent(parent),
            )
        try:
            self._await()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _await(self) -> None:
        """Wait for every part: the banner comes before the API answers."""
        deadline = time.monotonic() + READY_SECONDS
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                health = self.api("GET", HEALTH)
                if all(part["status"] in ("healthy", None) for part in health.values()):
                    return
            time.sleep(1)
        raise RuntimeError(f"Airflow did not start; see {self._log}.")

    def wait(self) -> None:
        """Wait until Airflow ends."""
        if self._process:
            self._process.wait()

    def _stop(self) -> None:
        """Stop the whole group: on anything but Ctrl-C Airflow leaves its parts behind."""
        if self._process:
            for stop in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self._process.pid, stop)
                    self._process.wait(STOP_SECONDS)

    def api(self, method: str, path: str, user: str = "", **body: object) -> Any:
        """Call Airflow's API, as a user, or the first one.

        :raises OSError: it does not answer, or answers with an error.
        """
        return self._call(method, f"api/v2/{path}", body, self.token(user) if self._users and path != HEALTH else "")

    def token(self, user: str = "") -> str:
        """Log in as a user, or the first one, and return the token."""
        user = user or next(iter(self._users))
        if user not in self._tokens:
            login = {"username": user, "password": user}
            self._tokens[user] = self._call("POST", "auth/token", login)["access_token"]
        return self._tokens[user]

    def _call(self, method: str, path: str, body: Mapping[str, object], token: str = "") -> Any:
        data = json.dumps(body).encode() if body or method == "POST" else None
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = Request(f"{self.base}/{path}", data, headers, method=method)
        # SQLite refuses when two write at once; what only reads or sets can be asked for again.
        for pause in () if method == "POST" else PAUSES:
            try:
                return _answer(request)
            except HTTPError as error:
                if error.code != BUSY:
                    raise
            except TimeoutError:  # on a machine that is busy
                if method != "GET":
                    raise
            time.sleep(pause)
        return _answer(request)


def _answer(request: Request) -> Any:
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)
