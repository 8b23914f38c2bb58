"""Servers, passwords and destinations made of the Airflow connections that the settings name.

This is the one place where the engine meets Airflow, and it does so only when called.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote, urlsplit

from lifeboat.airflow import environment
from lifeboat.catalog import archives
from lifeboat.databases import Clock, Engine, EngineName, Server
from lifeboat.errors import SettingsError
from lifeboat.settings.config import Bucket, Database, Encryption, ObjectLock, S3Destination, Settings
from lifeboat.settings.config import Destination as DestinationSettings
from lifeboat.storage import Destination
from lifeboat.support import clock as real_clock
from lifeboat.support import transport

if TYPE_CHECKING:
    from lifeboat.databases.mysql.engine import MySQL
    from lifeboat.databases.mysql.source import Taker
    from lifeboat.databases.postgresql.database import Properties
    from lifeboat.databases.postgresql.engine import PostgreSQL
    from lifeboat.databases.postgresql.engine import Taker as PostgreSQLTaker
    from lifeboat.databases.postgresql.limits import Meant
    from lifeboat.staging import Staging
    from lifeboat.storage.s3 import Lock

MYSQL_PORT = 3306
TLS_FAILED = 2026  # number of an error
TLS_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")  # of MySQL
TLS_DEMANDED = TLS_MODES[2:]
PREVIOUS = "previous_passwords"  # Airflow masks what is called so
POSTGRESQL_PORT = 5432
TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")  # of PostgreSQL's client library
AIRFLOW_SECRETS = (("core", "fernet_key"), ("api_auth", "jwt_secret"), ("api", "secret_key"))
CONNECTION_TYPES: Mapping[EngineName, str] = {"mysql": "mysql", "postgresql": "postgres", "sqlite": "sqlite"}


def get(connection_id: str, used_for: str, conn_type: str = "") -> Any:
    """Return an Airflow connection; in processes of Airflow, its secrets are masked in task logs from here on.

    :param used_for: what needs it, for the message.
    :param conn_type: what its type must be; any when empty.
    :raises SettingsError: there is none of that id, or it is of another type.
    """
    # A command imports Airflow, which takes longer than most of its work, only for what Airflow alone knows.
    plain = None if "airflow" in sys.modules else environment.connection(connection_id)
    connection = plain or _ask_airflow(connection_id, used_for)
    if conn_type and connection.conn_type != conn_type:
        raise SettingsError(
            f"Airflow connection {connection_id!r} has the type {connection.conn_type!r}, not {conn_type!r}.",
            f"Name another one for {used_for}, or set its type.",
        )
    return connection


def _ask_airflow(connection_id: str, used_for: str) -> Any:
    from airflow.sdk import BaseHook

    from lifeboat.airflow.compat import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        variable = f"AIRFLOW_CONN_{connection_id.upper()}"
        if os.environ.get(variable):
            raise SettingsError(
                f"Airflow connection {connection_id!r} cannot be read from {variable}: it is neither JSON nor a URI.",
                "See .env.example for the format.",
            ) from None
        raise SettingsError(
            f"There is no Airflow connection {connection_id!r}, which {used_for} needs.",
            f"Add it in Admin > Connections, or set AIRFLOW_CONN_{connection_id.upper()}.",
        ) from error


def engine(database: Database, scratch: Path, clock: Clock = real_clock.now) -> Engine:
    """Return what dumps and restores a database.

    :param scratch: directory in which an engine may put a copy for a while.
    :raises SettingsError: the connection is missing, or of another type.
    """
    connection = get(database.connection, f"database {database.name!r}")
    wanted = CONNECTION_TYPES[database.engine]
    if connection.conn_type != wanted:
        raise SettingsError(
            f"Airflow connection {database.connection!r} has the type {connection.conn_type!r}, not {wanted!r}.",
            f"Name another one for database {database.name!r}, or its engine: {', '.join(CONNECTION_TYPES)}.",
        )
    match database.engine:
        case "mysql":
            return _mysql(database.connection, connection, clock, _taker(database, scratch, clock))
        case "postgresql":
            return _postgresql(database, connection, scratch, clock)
        case "sqlite":
            return _sqlite(database.connection, connection, scratch, clock)


def _sqlite(connection_id: str, connection: Any, scratch: Path, clock: Clock) -> Engine:
    from lifeboat.databases.sqlite.engine import SQLite

    # As JSON, the host is the path; as a URI, the part after sqlite:/// is the schema.
    path = Path(connection.host or "/") / (connection.schema or "")
    if not path.is_absolute() or not path.name:
        raise SettingsError(
            f"Airflow connection {connection_id!r} does not name the absolute path of a SQLite file.",
            "Set its host to one.",
        )
    if path.is_dir():
        raise SettingsError(
            f"Airflow connection {connection_id!r} names {str(path)!r}, which is a directory.",
            "Set its host to one of the SQLite files in it.",
        )
    return SQLite(path, scratch, clock)


def _postgresql(database: Database, connection: Any, scratch: Path, clock: Clock) -> Engine:
    from lifeboat.airflow.compat import needs_extra

    with needs_extra("postgres", f"Airflow connection {database.connection!r}"):
        import psycopg  # noqa: F401  # what the engine asks the server by

    from lifeboat.databases.postgresql.engine import PostgreSQL

    def elevated() -> Server:
        # Only now: a connection that is missing costs a restore, and no backup.
        used_for = f"the extensions of database {database.name!r}"
        return _postgresql_server(used, get(used, used_for, CONNECTION_TYPES["postgresql"]))

    def ask_taker(wanted: Properties, meant: Meant) -> PostgreSQLTaker:
        return cast("PostgreSQL", engine(database.for_restore, scratch, clock)).taker(wanted, meant)

    used = database.extensions_connection or ""
    return PostgreSQL(
        _postgresql_server(database.connection, connection),
        clock,
        elevated if used else None,
        ask_taker if database.restore_connection not in (None, database.connection) else None,
    )


def _postgresql_server(connection_id: str, connection: Any) -> Server:
    extra = _extra(connection_id, connection)
    host = connection.host or "localhost"
    mode = str(extra.get("sslmode") or "prefer")
    transport.warn_of_database(
        host,
        encrypted=mode in ("require", "verify-ca", "verify-full"),
        verified=mode.startswith("verify"),
        hint=transport.POSTGRESQL_HINT.format(connection_id),
    )
    return Server(
        host=host,
        port=int(connection.port or POSTGRESQL_PORT),
        user=_login(connection_id, connection),
        password=connection.password or "",
        socket=host if host.startswith("/") else "",
        tls={name: str(extra[name]) for name in TLS_OPTIONS if extra.get(name)},
    )


def _taker(database: Database, scratch: Path, clock: Clock) -> Callable[[Iterable[str]], Taker] | None:
    """Return what asks the server of the restore connection, if it differs from the connection for dumps."""
    if database.restore_connection in (None, database.connection):
        return None

    def ask(collations: Iterable[str]) -> Taker:
        # Only now: a connection that is missing costs a restore, and no backup.
        return cast("MySQL", engine(database.for_restore, scratch, clock)).taker(collations)

    return ask


def _mysql(connection_id: str, connection: Any, clock: Clock, taker: Callable[[Iterable[str]], Taker] | None) -> Engine:
    from lifeboat.databases.mysql.engine import MySQL

    extra = _extra(connection_id, connection)
    if (mode := extra.get("ssl_mode")) and str(mode).upper() not in TLS_MODES:
        raise SettingsError(
            f"Airflow connection {connection_id!r} has an unknown ssl_mode {str(mode)!r}.",
            f"Set it to one of {', '.join(TLS_MODES)}.",
        )
    files = _tls_files(connection_id, extra.get("ssl") or {})
    server = Server(
        host=connection.host or "localhost",
        port=int(connection.port or MYSQL_PORT),
        user=_login(connection_id, connection),
        password=connection.password or "",
        socket=extra.get("unix_socket") or "",
        tls={f"ssl-{name}": str(value) for name, value in files.items() if name in ("ca", "cert", "key", "capath")}
        | ({"ssl-mode": str(extra["ssl_mode"])} if extra.get("ssl_mode") else {}),
    )
    return MySQL(server, partial(_mysql_connect, connection_id, connection, server), clock, taker)


def _mysql_connect(connection_id: str, connection: Any, server: Server, user: str = "", password: str = "") -> Any:
    """Open a connection of the driver, over TLS wherever the server offers it.

    :param user: who logs in, with that password; the connection's own when empty.
    :raises SettingsError: TLS is required and unavailable: drivers continue without it.
    """
    from airflow.sdk.log import mask_secret

    from lifeboat.databases.mysql.dump import Session

    if user:
        mask_secret(password)
        connection = copy.copy(connection)
        connection.login, connection.password = user, password
    mode = server.tls.get("ssl-mode", "").upper()
    if not mode and server.tls and not server.socket:
        mode = "REQUIRED"  # what verifies the server is of use only where there is TLS
    if mode in ("", "PREFERRED") and not server.socket:
        try:
            opened = _mysql_driver(connection, "REQUIRED")
        except Exception as error:
            if next(iter(error.args), None) != TLS_FAILED:
                raise
            opened = _mysql_driver(connection, mode)  # it is preferred only
    else:
        opened = _mysql_driver(connection, mode)
    session = Session(opened)
    session.execute(b"SET SESSION sql_big_selects = 1")  # what follows is a join, whatever the server thinks of these
    ((_, cipher),) = session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    if not cipher and mode in TLS_DEMANDED:
        opened.close()
        raise SettingsError(
            f"Airflow connection {connection_id!r} requires TLS, which {server.address} does not offer.",
            "Configure a certificate on the server, or set ssl_mode to PREFERRED.",
        )
    verified = mode.startswith("VERIFY")
    hint = transport.MYSQL_HINT.format(connection_id)
    transport.warn_of_database(server.socket or server.host, encrypted=bool(cipher), verified=verified, hint=hint)
    return opened


def _mysql_driver(connection: Any, mode: str) -> Any:
    """Open a connection of the driver that an Airflow connection names.

    :param mode: of TLS.
    """
    from lifeboat.airflow.compat import needs_extra

    with needs_extra("mysql", f"Airflow connection {connection.conn_id!r}"):
        from airflow.providers.mysql.hooks.mysql import MySqlHook

    class Hook(MySqlHook):
        """No server gets a file of the worker by LOAD DATA LOCAL, which some drivers allow."""

        def _get_conn_config_mysql_client(self, conn: Any) -> dict[str, Any]:
            return {**super()._get_conn_config_mysql_client(conn), "local_infile": 0}

        def _get_conn_config_mysql_connector_python(self, conn: Any) -> dict[str, Any]:
            return {**super()._get_conn_config_mysql_connector_python(conn), "allow_local_infile": False}

    extra = {name: value for name, value in connection.extra_dejson.items() if name != "ssl_mode"}
    if extra.get("client") != "mysql-connector-python":
        extra |= {"ssl_mode": mode} if mode else {}
    else:  # which uses TLS where it is offered, and has other names for the rest
        files = _tls_files(connection.conn_id, extra.get("ssl") or {})
        extra |= {f"ssl_{name}": value for name, value in files.items() if name in ("ca", "cert", "key")}
        extra |= {
            "ssl_disabled": mode == "DISABLED",
            "ssl_verify_cert": mode.startswith("VERIFY"),
            "ssl_verify_identity": mode == "VERIFY_IDENTITY",
        }
    asked = copy.copy(connection)
    asked.extra = json.dumps(extra)
    # The settings name the database, and an account that loads may not reach the one that the connection names.
    asked.schema = ""
    return Hook(connection=asked).get_conn()


def _login(connection_id: str, connection: Any) -> str:
    if not connection.login:
        raise SettingsError(f"Airflow connection {connection_id!r} names no user.", "Set its login.")
    return str(connection.login)


def _extra(connection_id: str, connection: Any) -> dict[str, Any]:
    """Return a connection's extra; for invalid JSON, Airflow only logs a traceback and continues without it."""
    try:
        is_object = isinstance(json.loads(connection.extra or "{}"), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise SettingsError(
            f"The extra of Airflow connection {connection_id!r} is not a JSON object.",
            "See .env.example for the format.",
        )
    extra: dict[str, Any] = connection.extra_dejson  # which masks what is secret in it
    return extra


def _tls_files(connection_id: str, ssl: Any) -> dict[str, Any]:
    """Return the extra ``ssl``, which may be an object or its JSON."""
    try:
        files = json.loads(ssl) if isinstance(ssl, str) else ssl
    except ValueError:
        files = None
    if not isinstance(files, dict):
        raise SettingsError(
            f"The extra 'ssl' of Airflow connection {connection_id!r} is not a JSON object.",
            'Write it as {"ca": "/path/to/ca.pem"}.',
        )
    for name in ("ca", "cert", "key"):
        if files.get(name) and not Path(str(files[name])).is_file():
            raise SettingsError(
                f"The extra 'ssl' of Airflow connection {connection_id!r} names a {name} that is not a file here.",
                "Put the file on every worker, or fix its path; if TLS is only preferred, clients continue without it.",
            )
    return files


def archive_passwords(encryption: Encryption | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the password that encrypts archives, and those that encrypted older ones, which still open with them.

    :raises SettingsError: the connection is missing, its password is empty, or the previous ones are not a list.
    """
    if encryption is None:
        return None, ()
    connection = get(encryption.connection, "the encryption of archives")
    password, previous = connection.password, _extra(encryption.connection, connection).get(PREVIOUS, [])
    if not isinstance(previous, list) or not all(isinstance(each, str) and each for each in previous):
        raise SettingsError(
            f"The extra {PREVIOUS!r} of Airflow connection {encryption.connection!r} is not a list of passwords.",
            f'Write it as {{"{PREVIOUS}": ["the one before"]}}.',
        )
    if not password:
        raise SettingsError(
            f"Airflow connection {encryption.connection!r} holds no password, so archives cannot be encrypted.",
            "Set its password, or set 'encryption: none' in the settings to store archives unencrypted.",
        )
    return str(password), tuple(previous)


def signing_secret(settings: Settings) -> str:
    """Return the secret that signs what the steps of a run leave for each other.

    Workers read it and users of Airflow's API do not: it is the password of the first archives that are encrypted,
    because Airflow hands connections to every worker and masks their passwords in its API. Where no archive is
    encrypted, it is one of Airflow's own secrets.

    :raises SettingsError: the password is missing, or Airflow has no secret.
    """
    all_of_them = [settings.encryption, *(application.encryption for application in settings.applications.values())]
    if encryption := next((each for each in all_of_them if isinstance(each, Encryption)), None):
        return str(archive_passwords(encryption)[0])
    from lifeboat.airflow.compat import conf

    for section, option in AIRFLOW_SECRETS:
        if secret := conf.get(section, option, fallback=""):
            return str(secret)
    raise SettingsError(
        "Nothing can sign what steps leave for each other: no archive is encrypted, and Airflow has no secret.",
        "Set [core] fernet_key of Airflow, the same on every worker, or encryption in the settings.",
    )


def code_directories() -> tuple[Path, ...]:
    """Return the directories that Airflow reads code from."""
    from lifeboat.airflow.compat import conf

    bundles: Any = conf.getjson("dag_processor", "dag_bundle_config_list", fallback=[])
    local = [bundle.get("kwargs", {}).get("path") for bundle in bundles or ()]
    config_folder = Path(os.environ.get("AIRFLOW_HOME") or Path.home() / "airflow") / "config"
    named = [conf.get("core", option, fallback="") for option in ("dags_folder", "plugins_folder")]
    return (config_folder, *(Path(each) for each in (*named, *local) if each))


def metadata_database() -> str:
    """Return the name of Airflow's own database; empty where this process does not know it, or it is a file."""
    from lifeboat.airflow.compat import conf

    url = urlsplit(conf.get("database", "sql_alchemy_conn", fallback="") or "")
    return "" if url.scheme.startswith("sqlite") else unquote(url.path.lstrip("/"))


def destination(name: str, settings: DestinationSettings, clock: Clock = real_clock.now) -> Destination:
    """Return a destination, ready to use.

    :raises SettingsError: its connection is missing or unusable.
    """
    if isinstance(settings, S3Destination):
        from lifeboat.storage import s3

        client = _s3_client(settings.connection, f"destination {name!r}")
        kept_as = {
            "ServerSideEncryption": settings.server_side_encryption,
            "SSEKMSKeyId": settings.kms_key,
            "StorageClass": settings.storage_class,
        }
        wanted = {argument: value for argument, value in kept_as.items() if value}
        lock = _lock(settings.object_lock, clock)
        return s3.S3Destination(name, client, settings.bucket, settings.prefix, lock, wanted)
    from lifeboat.storage import disk

    return disk.DiskDestination(name, settings.path)


def _lock(settings: ObjectLock | None, clock: Clock) -> Lock | None:
    from lifeboat.storage.s3 import Lock

    if settings is None:
        return None
    mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE" if settings.mode == "governance" else "COMPLIANCE"
    return Lock(mode, partial(archives.locked_until, days=settings.days), clock)


def staging(place: Path | Bucket) -> Staging:
    """Return the root of staging.

    :raises SettingsError: its connection is missing or unusable.
    """
    from lifeboat.staging import StagingBucket, StagingDirectory

    if isinstance(place, Path):
        return StagingDirectory(place)
    from lifeboat.storage import bucket

    return StagingBucket(bucket.Bucket("staging", _s3_client(place.connection, "staging"), place.bucket, place.prefix))


def _s3_client(connection_id: str, used_for: str) -> Any:
    from lifeboat.airflow.compat import needs_extra

    with needs_extra("s3", f"Airflow connection {connection_id!r}"):
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    _extra(connection_id, get(connection_id, used_for, "aws"))
    try:
        client: Any = S3Hook(aws_conn_id=connection_id).get_conn()
    except Exception as error:  # whatever a wrong extra makes of boto3
        raise SettingsError(
            f"Airflow connection {connection_id!r} cannot be used to create an S3 client: {type(error).__name__}.",
            "Check its extras: endpoint_url begins with https://, config_kwargs is an object.",
        ) from error
    if "@" in client.meta.endpoint_url:
        raise SettingsError(
            f"The endpoint_url of Airflow connection {connection_id!r} holds a login.",
            "Put it into login and password: addresses appear in messages.",
        )
    transport.warn_of_url(
        client.meta.endpoint_url,
        "markers, names and unencrypted content",
        f"Let endpoint_url of Airflow connection {connection_id!r} begin with https://.",
    )
    return client
