"""docker-compose.yaml run without an engine: each service a process in the image's root, with a host name of its own.

Not run are Mailpit, which no registry here has, and the entrypoints of the images of PostgreSQL, MariaDB and SeaweedFS;
Debian's servers of the same versions, and the SeaweedFS of the tests, take their places.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console

from tests import compose
from tests.conftest import PROJECT
from tests.image.root import Root

SERVERS = ["mariadb-server", "postgresql", "redis-server", "wget"]
NOT_HERE = {"mailpit"}
OTHER_CHECK = {  # for the one that is a script of an image
    "marketplace-db": "test -e /var/lib/mysql/of-compose/filled && MYSQL_PWD=$MARIADB_PASSWORD"
    " mariadb --no-defaults --host=marketplace-db --user=backup --execute='SELECT 1'"
}
USERS = {"postgres": "postgres", "marketplace-db": "mysql", "redis": "redis", "s3": "root"}
PATIENCE = 300  # seconds until everything is healthy, and for a backup
POSTGRES = """
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
if [ ! -e $data/PG_VERSION ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/postgres-password
    $bin/initdb -D $data --username="$POSTGRES_USER" --pwfile=/tmp/postgres-password --auth=scram-sha-256 >/dev/null
    echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | $bin/postgres --single -D $data postgres >/dev/null
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
fi
exec $bin/postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
"""
MARIADB = """
data=/var/lib/mysql/of-compose
serve() { mariadbd --no-defaults --datadir=$data --socket=/tmp/mysql.sock "$@"; }
docker_process_sql() { mariadb --no-defaults --socket=/tmp/mysql.sock --user=root "$@"; }
if [ ! -e $data/filled ]; then
    mariadb-install-db --no-defaults --datadir=$data --skip-test-db --auth-root-authentication-method=normal >/dev/null
    serve --skip-networking "$@" &
    until docker_process_sql --execute='SELECT 1' >/dev/null 2>&1; do sleep 0.2; done
    docker_process_sql <<SQL
        CREATE DATABASE \\`$MARIADB_DATABASE\\`;
        CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';
        GRANT ALL ON \\`$MARIADB_DATABASE\\`.* TO '$MARIADB_USER'@'%';
SQL
    . /docker-entrypoint-initdb.d/marketplace.sh
    docker_process_sql --execute=SHUTDOWN
    wait
    touch $data/filled
fi
exec mariadbd --no-defaults --datadir=$data --socket=/tmp/mysql.sock "$@"
"""

console = Console(highlight=False)


class Site:
    """The services of docker-compose.yaml for one environment.

    :param environment: the variables of .env.
    :param folder: holds what ``make env`` wrote.
    """

    def __init__(self, root: Root, environment: Mapping[str, str], folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._environment = environment
        self._services = {
            name: service for name, service in compose.services(environment).items() if name not in NOT_HERE
        }

    def prepare(self) -> None:
        """Lay out host names and mounted files."""
        names = enumerate(compose.services({**self._environment, "COMPOSE_PROFILES": "demo,celery"}), start=11)
        hosts = "".join(f"127.0.0.{number} {name}\n" for number, name in names)
        (self._root.path / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        for service in self._services.values():
            for volume in service.get("volumes", []):
                source, target = volume.split(":")[:2]
                inside = self._root.path / target.lstrip("/")
                if (PROJECT / source).is_file():
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(PROJECT / source, inside)
                    inside.chmod(0o644)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service; its output goes to a file of its name."""
        service = self._services[name]
        words = service.get("command", [])
        words = shlex.split(words) if isinstance(words, str) else words
        if "build" in service:
            words = words if words[0] in ("bash", "python") else ["airflow", *words]
        elif name == "postgres":
            words = ["bash", "-euc", POSTGRES]
        elif name == "marketplace-db":
            words = ["bash", "-euc", MARIADB, "mariadbd", *words]
        words = [*service.get("entrypoint", []), *words]
        with (self._root.path.parent / f"{name}.log").open("ab") as log:
            return subprocess.Popen(self._inside(name, words), env=self._variables(name), stdout=log, stderr=log)

    def is_healthy(self, name: str) -> bool:
        """Run the health check of a service."""
        kind, *words = self._services[name]["healthcheck"]["test"]
        if name in OTHER_CHECK:
            kind, words = "CMD-SHELL", [OTHER_CHECK[name]]
        words = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(
            self._inside(name, words), env=self._variables(name), capture_output=True, text=True, check=False
        )
        return done.returncode == 0

    def _variables(self, name: str) -> dict[str, str]:
        service = self._services[name]
        # The parts that serve logs share one network here.
        ports = {"AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(8800 + list(self._services).index(name))}
        return self._root.environment | ports | compose.given(service, self._folder) | {"HOSTNAME": name}

    def _inside(self, name: str, words: list[str]) -> list[str]:
        user = "airflow" if "build" in self._services[name] else USERS[name]
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
        return [*named, *self._root.command(words, user)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything in the order of its dependencies; end it when done.

        :raises RuntimeError: a service ended, or did not become healthy.
        """
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for name in ("postgres", "setup", *self._services):
                if name in running:
                    continue
                started = time.monotonic()
                running[name] = self.start(name)
                if self._services[name]["restart"] == "no":
                    if running[name].wait(PATIENCE):
                        raise RuntimeError(f"{name} failed:\n{self.tail(name)}")
                    console.print(f"{name}: done after {time.monotonic() - started:.0f} s")
                elif name == "postgres":
                    self._await(running, [name])
            self._await(running, [name for name, service in self._services.items() if "healthcheck" in service])
            yield
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()

    def _await(self, running: Mapping[str, subprocess.Popen[bytes]], names: list[str]) -> None:
        started = time.monotonic()
        waiting = list(names)
        while waiting:
            name = waiting[0]
            if self.is_healthy(name):
                console.print(f"{name}: healthy after {time.monotonic() - started:.0f} s")
                waiting.pop(0)
            elif running[name].poll() is not None or time.monotonic() > started + PATIENCE:
                raise RuntimeError(f"{name} is not healthy:\n{self.tail(name)}")
            else:
                time.sleep(2)

    def tail(self, name: str) -> str:
        """Return the last lines of what a service printed."""
        return "\n".join((self._root.path.parent / f"{name}.log").read_text(errors="replace").splitlines()[-30:])


def call(method: str, path: str, token: str = "", **body: Any) -> bytes:
    """Call Airflow as a browser on this machine would."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if method == "POST" else None
    with urlopen(Request(f"http://localhost:8080/{path}", data, headers, method=method), timeout=30) as answer:
        content: bytes = answer.read()
    return content


def back_up(password: str) -> None:
    """Log in as the admin of .env, look at the page, run a backup and see that the page shows it."""
    token = json.loads(call("POST", "auth/token", username="admin", password=password))["access_token"]
    deadline = time.monotonic() + PATIENCE
    for dag in ("backup_database", "backup_application", "restore_drill"):
        while True:  # until the DAG processor has been at its file
            with contextlib.suppress(URLError):
                run = json.loads(call("POST", f"api/v2/dags/{dag}/dagRuns", token, logical_date=None))["dag_run_id"]
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{dag} cannot be triggered")
            time.sleep(2)
        state = ""
        while state not in ("success", "failed") and time.monotonic() < deadline:
            state = json.loads(call("GET", f"api/v2/dags/{dag}/dagRuns/{run}", token))["state"]
            time.sleep(2)
        console.print(f"{dag}: {state}")
        if state != "success":
            raise RuntimeError(f"{dag}: {state}")
    assert b"Backups" in call("GET", "lifeboat/", token)
    assert b"lifeboat_last_proof_timestamp_seconds{" in call("GET", "lifeboat/metrics", token)
    console.print("The Backups page answers, and its metrics have a proof.")


def main() -> None:
    """Run the file with the LocalExecutor, then with Celery's workers."""
    folder = Path(os.environ["INSIDE"])
    root = Root(folder / "root")
    root.environment["LIFEBOAT_CONFIG"] = "/opt/airflow/include/backup.yaml"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    environment = compose.variables(folder / ".env")
    for changes in ({}, {"COMPOSE_PROFILES": "demo,celery", "AIRFLOW_EXECUTOR": "CeleryExecutor"}):
        chosen = environment | changes
        console.rule(f"COMPOSE_PROFILES={chosen['COMPOSE_PROFILES']} AIRFLOW_EXECUTOR={chosen['AIRFLOW_EXECUTOR']}")
        site = Site(root, chosen, folder)
        site.prepare()
        with site.running():
            back_up(chosen["ADMIN_PASSWORD"])


if __name__ == "__main__":
    main()
