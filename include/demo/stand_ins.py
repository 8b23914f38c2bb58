"""Real servers on free ports of 127.0.0.1, for the demo, the tests and the bench.

Each runs in its own directory, reuses what an earlier start left there, and ends with this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, Self
from urllib.parse import quote

from lifeboat.databases import Server
from lifeboat.databases.mysql import dump
from lifeboat.support.processes import die_with_parent, environment, secret_file

from include.demo.server_roots import Root

START_SECONDS = 60
PORTS = range(10_000, 22_768)  # 10000 above, too, below those that an outgoing connection may take meanwhile
LOCALHOST = "127.0.0.1"
EMPTY_QUERY = 1065
SOCKETS = "/tmp"  # where SeaweedFS leaves its own


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses, with room for a second one 10000 above (gRPC)."""
    while True:
        with socket.socket() as probe, socket.socket() as second, contextlib.suppress(OSError):
            port = secrets.choice(PORTS)
            probe.bind((LOCALHOST, port))
            second.bind((LOCALHOST, port + 10_000))
            return port


class _Program:
    """A server program: started in a directory, awaited until it answers, stopped for sure."""

    patience = 20.0  # seconds between the request to stop and the kill
    variables: ClassVar[dict[str, str]] = {}  # of its environment, besides those that all children have

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the program and wait until it answers.

        :raises RuntimeError: it ended or stayed silent; with the last lines of its log.
        """
        parent = os.getpid()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment() | self.variables,  # no server needs the secrets of its caller
                preexec_fn=lambda: die_with_parent(parent),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(f"{type(self).__name__} in {self.directory} did not start:\n{tail}")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """The process of the program that runs; 0 when none does."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """Stop the program: ask, then kill."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.patience)
        self.kill()

    def kill(self) -> None:
        """Kill the program as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _MySQLFamily(_Program):
    """A private server whose root password tries every character that option files stumble over.

    :cvar package: what `scripts/server-roots` calls the server; empty for this machine's own.
    :cvar clients: programs that go into PATH where the own client of this server is used.
    :cvar unsynced: options that leave data to the kernel's cache: it outlives a kill, and nobody needs it after a crash
        of the machine. A sync for each definition takes longer than most tests.
    :param options: further options of the server.
    """

    user = "root"
    password = "p'a\"s\\s #wörd;%$ "
    suite = ""
    package = ""
    clients: tuple[str, ...] = ()
    unsynced: tuple[str, ...] = ()

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._options = options
        self.host, self.port = LOCALHOST, free_port()
        # Paths of sockets may have 107 bytes; those of tests are longer.
        self.socket = Path(tempfile.mkdtemp(prefix="mariadb-")) / "socket"
        self._data = directory / "data"
        self.root = Root(self.suite) if self.suite else None
        self.path = self.root.link(self.clients, directory / "clients") if self.root else None
        # Now: tests put other servers' clients into PATH later.
        self._own_client = str(self.path / self._client) if self.path else shutil.which(self._client) or self._client

    @property
    def server(self) -> Server:
        """Address and credentials of the server, as Lifeboat connects to it."""
        return Server(self.host, self.port, self.user, self.password)

    def connection(self, database: str = "") -> str:
        """Return the Airflow connection as JSON."""
        return json.dumps(
            {
                "conn_type": "mysql",
                "host": self.host,
                "port": self.port,
                "login": self.user,
                "password": self.password,
                "schema": database,
                "extra": {"charset": "utf8mb4"},
            }
        )

    def connect(self, **options: Any) -> Any:
        """Open a DB-API connection."""
        import MySQLdb

        login = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        return MySQLdb.connect(**login | {"charset": "utf8mb4", "autocommit": True} | options)

    def run(self, sql: str | bytes, database: str = "", program: str = "") -> str:
        """Run SQL and return what a client prints in batches: tab-separated, without headings.

        :param program: a client to run it through. Otherwise, a client only reads what is not plain statements: to
            start one takes longer than most statements.
        """
        if not program and isinstance(sql, str) and "DELIMITER" not in sql.upper():
            return self._ask(sql, database)
        program = program or self._own_client
        client = dump.Client(program, "", frozenset())
        options = ["--default-character-set=utf8mb4", "--batch", "--skip-column-names"]
        text = dump.option_file_text(Server("", 0, self.user, self.password, str(self.socket)), client)
        with secret_file(text) as (descriptor, path):
            done = subprocess.run(
                [program, f"--defaults-file={path}", *options, *filter(None, [database])],
                input=sql.encode() if isinstance(sql, str) else sql,
                pass_fds=[descriptor],
                capture_output=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    def _ask(self, sql: str, database: str) -> str:
        """Send statements through a connection, and return the rows as a client prints them.

        :raises RuntimeError: a statement failed; those before it ran.
        """
        import MySQLdb

        lines: list[bytes] = []
        try:
            with contextlib.closing(
                self.connect(
                    unix_socket=str(self.socket), host="localhost", database=database, conv={}, use_unicode=False
                )
            ) as connection:
                connection.query(sql)
                while True:
                    if rows := connection.store_result():
                        lines += [b"\t".join(map(_printed, row)) for row in rows.fetch_row(0)]
                    if connection.next_result() < 0:
                        break
        except MySQLdb.Error as error:
            if error.args[0] != EMPTY_QUERY:  # clients send nothing for it
                raise RuntimeError("ERROR {}: {}".format(*error.args)) from error
        return b"".join(line + b"\n" for line in lines).decode()

    def start(self) -> None:
        if not (self._data / "mysql").exists():
            new = self.directory / "data.new"
            shutil.rmtree(self._data, ignore_errors=True)
            shutil.rmtree(new, ignore_errors=True)
            variables = environment() | {"TMPDIR": str(self._scratch())}
            install = subprocess.run(
                self._installation(new), env=variables, capture_output=True, text=True, check=False
            )
            if install.returncode:
                raise RuntimeError(f"{type(self).__name__} cannot be set up:\n{install.stdout}{install.stderr}")
            # Renamed only when whole: an interrupted first start must not leave half a server behind.
            new.rename(self._data)
        super().start()

    def kill(self) -> None:
        super().kill()  # also the last step of a stop and of a failed start
        shutil.rmtree(self.socket.parent, ignore_errors=True)

    @property
    def _client(self) -> str:
        raise NotImplementedError

    def _installation(self, data: Path) -> list[str]:
        """Return the command that makes a new data directory."""
        raise NotImplementedError

    def _program(self) -> list[str]:
        """Return how the server's command begins."""
        raise NotImplementedError

    def _of_root(self, program: str, share: str) -> list[str]:
        """Return how the command of a root's server begins, which would look for its files in this machine's place."""
        assert self.root
        files, plugins = self.root.path / share, self.root.path / "usr/lib/mysql/plugin"
        places = [f"--lc-messages-dir={files}", f"--character-sets-dir={files / 'charsets'}", f"--plugin-dir={plugins}"]
        return [*self.root.command(program), "--no-defaults", *places]

    def _command(self) -> Sequence[str]:
        password = self.password.replace("\\", "\\\\").replace("'", "''")
        grants = self.directory / "login.sql"
        grants.touch(mode=0o600)
        grants.write_text(f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n", encoding="utf-8")
        self.socket.parent.mkdir(exist_ok=True)
        return [
            *self._program(),
            f"--datadir={self._data}",
            f"--tmpdir={self._scratch()}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            f"--bind-address={LOCALHOST}",
            f"--init-file={grants}",
            "--character-set-server=utf8mb4",
            "--event-scheduler=ON",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=256M",
            "--max-allowed-packet=256M",
            *self.unsynced,
            *self._as_root(),
            *self._options,
        ]

    def _scratch(self) -> Path:
        """Return a folder for temporary tables: a server that starts deletes those of all that share it."""
        scratch = self.directory / "tmp"
        scratch.mkdir(exist_ok=True)
        return scratch

    @staticmethod
    def _as_root() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def _answers(self) -> bool:
        import MySQLdb

        with contextlib.suppress(MySQLdb.Error):
            self.connect().close()
            return True
        return False


def _printed(value: bytes | None) -> bytes:
    """Return a value as clients print it in batches."""
    if value is None:
        return b"NULL"
    for byte, escape in ((b"\\", rb"\\"), (b"\0", rb"\0"), (b"\t", rb"\t"), (b"\n", rb"\n")):
        value = value.replace(byte, escape)
    return value


class MariaDB(_MySQLFamily):
    """A private MariaDB server, of the version that this machine's packages have."""

    unsynced: tuple[str, ...] = ("--debug-no-sync",)
    _client = "mariadb"

    def _installation(self, data: Path) -> list[str]:
        return [
            shutil.which("mariadb-install-db") or "/usr/bin/mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self.unsynced,
            *self._as_root(),
        ]

    def _program(self) -> list[str]:
        return [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults"]


class MariaDB118(_MySQLFamily):
    """A private MariaDB 11.8 server with its own clients."""

    suite, package = "trixie", "mariadb-11.8"
    clients = ("mariadb", "mariadb-dump", "mariadb-binlog")
    unsynced: tuple[str, ...] = ("--debug-no-sync",)
    _client = "mariadb"

    def _installation(self, data: Path) -> list[str]:
        assert self.root
        # The script looks for programs and files below one directory, and starts them by their paths.
        base = self.directory / "installation"
        self.root.link(("my_print_defaults", "resolveip"), base / "bin")
        self.root.link(("mariadbd",), base / "sbin")
        for name in ("share", "lib"):
            (base / name).unlink(missing_ok=True)
            (base / name).symlink_to(self.root.path / "usr" / name)
        return [
            "/bin/sh",
            str(self.root.path / "usr/bin/mariadb-install-db"),
            "--no-defaults",
            f"--basedir={base}",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self.unsynced,
            *self._as_root(),
        ]

    def _program(self) -> list[str]:
        return self._of_root("mariadbd", "usr/share/mariadb")


class MySQL(_MySQLFamily):
    """A private MySQL server by Oracle with its own clients."""

    suite, package = "sid", "mysql"
    clients = ("mysql", "mysqldump", "mysqlbinlog")
    unsynced: tuple[str, ...] = ("--innodb-flush-method=nosync", "--sync-binlog=0")
    _client = "mysql"

    def _installation(self, data: Path) -> list[str]:
        # What decides how names are stored counts from here on, and can never be changed.
        names = [option for option in self._options if option.startswith("--lower-case-table-names")]
        return [
            *self._program(),
            f"--datadir={data}",
            "--initialize-insecure",
            *names,
            *self.unsynced,
            *self._as_root(),
        ]

    def _program(self) -> list[str]:
        return [*self._of_root("mysqld", "usr/share/mysql"), "--mysqlx=OFF", "--secure-file-priv=NULL"]


class PostgreSQL(_Program):
    """A private PostgreSQL server in its own directory, which is removed when it stops.

    It refuses to run as root, and tests use directories that no other user can enter.

    :cvar suite: Debian's suite whose root has the server; empty for this machine's own.
    :cvar package: what `scripts/server-roots` calls the server.
    """

    password = "p'a\"s\\s #wörd:%$ "
    user = "lifeboat"  # can only create databases and roles
    suite = ""
    package = ""

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="postgresql-")))
        self.host, self.port = LOCALHOST, free_port()
        self._data = self.directory / "data"
        self.path = self.link(self.directory / "programs") if self.suite else None
        self._programs = self.path or self.installed()
        self._psql = str(self.installed() / "psql")

    @staticmethod
    def installed() -> Path:
        """Return where this machine's newest programs are: without Debian's wrapper, which takes 40 ms a call."""
        newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
        return newest or Path(shutil.which("psql") or "/usr/bin/psql").parent

    @classmethod
    def link(cls, folder: Path) -> Path:
        """Write scripts for the programs of a root's server into a folder tree; return what then stands in PATH."""
        return Root(cls.suite).link_postgresql(cls.package.removeprefix("postgresql-"), folder)

    def connection(self, **changes: Any) -> str:
        """Return the Airflow connection as JSON; `changes` replace its fields."""
        login = {"conn_type": "postgres", "host": self.host, "port": self.port, "login": self.user}
        return json.dumps(login | {"password": self.password} | changes)

    def airflow_database(self, name: str = "airflow") -> str:
        """Create a database for Airflow itself, and return its address as Airflow's settings take it."""
        self.run(f"CREATE DATABASE {name} OWNER {self.user}")
        login = f"{self.user}:{quote(self.password, safe='')}"
        return f"postgresql+psycopg2://{login}@{self.host}:{self.port}/{name}"

    def run(self, sql: str, database: str = "postgres", user: str = "") -> str:
        """Run SQL through the stock client and return what it prints, tab-separated without headings.

        :param user: default: a superuser.
        """
        command = [self._psql, "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", str(self.port)]
        done = subprocess.run(
            [*command, "-U", user or "postgres", "-d", database, "-f", "-"],
            input=sql,
            env=os.environ | {"PGPASSWORD": self.password, "PGTZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def start(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.directory, "nobody", "nogroup")
        secret = self.directory / "password"
        secret.write_text(self.password, encoding="utf-8")
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        initdb = [str(self._programs / "initdb"), *options, f"--pwfile={secret}", f"--pgdata={self._data}"]
        subprocess.run([*self._as_nobody(), *initdb], check=True, capture_output=True, cwd="/")
        super().start()
        password = self.password.replace("'", "''")
        self.run(f"CREATE ROLE {self.user} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")

    def kill(self) -> None:
        super().kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _command(self) -> Sequence[str]:
        settings = {
            "fsync": "off",
            "listen_addresses": LOCALHOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [*self._as_nobody(), str(self._programs / "postgres"), "-D", str(self._data), *options]

    def _as_nobody(self) -> list[str]:
        # The change of user takes back what `die_with_parent` armed.
        change = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL"]
        if self.suite:  # whose root is in a home that nobody else may enter
            change += [f"--{kept}-caps=+dac_override" for kept in ("inh", "ambient")]
        return change if os.geteuid() == 0 else []

    def _answers(self) -> bool:
        with contextlib.suppress(RuntimeError):
            self.run("SELECT 1")
            return True
        return False


class PostgreSQL17(PostgreSQL):
    """A private PostgreSQL 17 server with its own clients."""

    suite, package = "trixie", "postgresql-17"


class PostgreSQL18(PostgreSQL):
    """A private PostgreSQL 18 server with its own clients."""

    suite, package = "sid", "postgresql-18"


class S3(_Program):
    """SeaweedFS: an S3 server in one process.

    :cvar roles: secret keys by access key, of users who are not administrators; policies of buckets restrict them.
    """

    patience = 2.0  # it waits a quarter of a minute for nobody; its files survive a kill
    variables: ClassVar = {
        "WEED_S3_SSE_KEY": "stand-in-key-of-encryption",
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # volume per bucket, instead of seven
    }
    access_key = "lifeboat"
    secret_key = "stand-in-secret-key"
    roles: ClassVar = {"backup-role": "backup-role-secret", "cleanup-role": "cleanup-role-secret"}

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._ports = {service: free_port() for service in ("master", "volume", "filer", "s3")}
        self.endpoint = f"http://{LOCALHOST}:{self._ports['s3']}"

    def connection(self, **changes: str) -> str:
        """Return the Airflow connection as JSON; `changes` replace its ``login`` or ``password``."""
        return json.dumps(
            {
                "conn_type": "aws",
                "login": self.access_key,
                "password": self.secret_key,
                "extra": {
                    "endpoint_url": self.endpoint,
                    "region_name": "us-east-1",
                    "config_kwargs": {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 2}},
                },
            }
            | changes
        )

    def client(self) -> Any:
        """Return a boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60),
        )

    def create_bucket(self, name: str) -> None:
        """Create a bucket; one that is there already is kept."""
        client = self.client()
        if name not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=name)

    def _command(self) -> Sequence[str]:
        identities = self.directory / "s3.json"
        locks = ["PutObjectRetention", "GetObjectRetention", "GetBucketObjectLockConfiguration"]
        known = [_identity(self.access_key, self.secret_key, "Admin", "Read", "List", "Tagging", "Write")]
        known += [_identity(*role, "Read", "List", "Write", *locks) for role in self.roles.items()]
        identities.touch(mode=0o600)
        identities.write_text(json.dumps({"identities": known}), encoding="utf-8")
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        return [
            str(Path(sys.executable).parent / "weed"),
            f"-logdir={self.directory}",
            "server",
            f"-dir={data}",
            f"-ip={LOCALHOST}",
            f"-ip.bind={LOCALHOST}",
            "-filer",
            "-s3",
            f"-s3.config={identities}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-master.electionTimeout=1s",
            "-volume.max=5000",  # every bucket takes one; 0 counts by the free disk and fills up
            "-volume.preStopSeconds=0",
            *(f"-{service}.port={port}" for service, port in self._ports.items()),
            *(f"-{service}.port.grpc={port + 10000}" for service, port in self._ports.items()),
        ]

    def kill(self) -> None:
        super().kill()
        for port in self._ports.values():  # sockets whose place no option changes
            for name in (f"*-{port}.sock", f"*-grpc-{port + 10000}.sock"):
                for left in Path(SOCKETS).glob(f"seaweedfs-{name}"):
                    left.unlink(missing_ok=True)

    def _answers(self) -> bool:
        # The gateway answers before a volume can take data, so only a real write says that it is up.
        client = self.client()
        try:
            self.create_bucket("stand-in")
            client.put_object(Bucket="stand-in", Key="up", Body=b"up")
            return bool(client.get_object(Bucket="stand-in", Key="up")["Body"].read() == b"up")
        except Exception:  # noqa: BLE001  # whatever a starting server answers with
            return False


def _identity(access_key: str, secret_key: str, *actions: str) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": access_key, "credentials": credentials, "actions": actions}


class SlackSink:
    """An HTTP endpoint that takes Slack's webhook messages and keeps each as ``<n>.json``.

    :param answer: returns status and body of the answer to a message; faults are injected here.
    """

    def __init__(self, directory: Path, answer: Callable[[], tuple[int, bytes]] = lambda: (200, b"ok")) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        sink = self
        self._directory = directory
        self.answer = answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                (directory / f"{time.time_ns()}.json").write_bytes(body)
                status, answer = sink.answer()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOCALHOST, 0), Handler)
        self.port = self._server.server_address[1]

    def connection(self) -> str:
        """Return the Airflow connection as JSON."""
        return json.dumps(
            {
                "conn_type": "slackwebhook",
                "password": f"http://{LOCALHOST}:{self.port}/services/stand-in-webhook-token",
                "extra": {"timeout": 5},
            }
        )

    def messages(self) -> list[dict[str, Any]]:
        """Return what arrived, oldest first."""
        return [json.loads(path.read_bytes()) for path in sorted(self._directory.glob("*.json"))]

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class MailSink:
    """An SMTP server that keeps each message as ``<n>.eml``."""

    def __init__(self, directory: Path) -> None:
        from aiosmtpd.controller import Controller

        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

        class Handler:
            async def handle_DATA(  # noqa: N802  # the library looks for this name
                self, server: object, session: object, envelope: Any
            ) -> str:
                (directory / f"{time.time_ns()}.eml").write_bytes(envelope.content)
                return "250 OK"

        self.port = free_port()
        self._controller = Controller(Handler(), hostname=LOCALHOST, port=self.port)

    def connection(self) -> str:
        """Return the Airflow connection as JSON."""
        return json.dumps(
            {
                "conn_type": "smtp",
                "host": LOCALHOST,
                "port": self.port,
                "extra": {
                    "disable_ssl": True,
                    "disable_tls": True,
                    "timeout": 5,
                    "retry_limit": 1,
                    "from_email": "lifeboat@example.com",
                },
            }
        )

    def messages(self) -> list[EmailMessage]:
        """Return what arrived, oldest first."""
        return [
            message_from_bytes(path.read_bytes(), policy=policy.default)
            for path in sorted(self._directory.glob("*.eml"))
        ]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
