"""The settings: what to back up, where to store it, whom to notify. One YAML file without secrets."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from lifeboat.catalog.archives import KINDS, OWN_KINDS, Kind
from lifeboat.databases import SERVERLESS, EngineName, names
from lifeboat.databases.names import LONGEST_NAMES, fits
from lifeboat.decide import cron
from lifeboat.decide.checks import CheckKind, alike
from lifeboat.decide.health import Limits
from lifeboat.decide.retention import Policy
from lifeboat.decide.rotation import Rotation
from lifeboat.decide.schedules import dag_id_of
from lifeboat.errors import SettingsError
from lifeboat.settings import mistakes, strict_yaml
from lifeboat.settings.values import (
    AbsolutePath,
    Address,
    BucketName,
    Command,
    ConnectionId,
    Cron,
    DatabasePattern,
    Day,
    Days,
    Expectation,
    FileOfTree,
    Label,
    Name,
    Pattern,
    PoolName,
    Query,
    Schedule,
    StorageClass,
    Switch,
    TimeZone,
    absolute,
)
from lifeboat.text import MEGABYTE

CONFIG_VARIABLE = "LIFEBOAT_CONFIG"
PROJECT = Path(__file__).resolve().parents[3]
LONGEST_FILE = 1 << 20  # bytes


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


DumpConnections = Annotated[int, Field(ge=1, le=16, strict=True)]
_Reached = TypeVar("_Reached", "Database", "DatabaseServer")


def _extensions_of_postgresql(entry: _Reached) -> _Reached:
    if entry.extensions_connection and entry.engine != "postgresql":
        raise ValueError(f"extensions_connection: {entry.engine} has no extensions; remove it, or name the engine")
    return entry


class Database(_Model):
    """One database to dump.

    :param name: name of the database on its server, or of its file without extension; also the name of its dump.
    :param engine: kind of database. Not derived from the connection's type, because secrets backends are queried
        only at run time, and names of dumps and of copies are known before.
    :param connection: Airflow connection of type ``mysql``, ``postgres`` or ``sqlite``.
    :param restore_connection: connection for restores, whose user must be allowed to create schemas and accounts;
        default: `connection`.
    :param extensions_connection: PostgreSQL only: connection of a user who can create extensions that need a superuser,
        such as PostGIS. Only CREATE EXTENSION runs as that user, in a database that is still empty.
    :param exclude_tables: tables to omit, structure and rows; in PostgreSQL and SQLite the rows only, because there a
        restore replaces the whole database. In PostgreSQL this includes partitions and inheriting tables. Names, or
        patterns with ``*`` and ``?``, which are matched at each dump; see docs/BACKUP.md.
    :param exclude_rows: tables of which only the structure is dumped, by names or patterns, too.
    :param dump_connections: number of clients that dump the database at the same time, at most the number of cores. In
        MySQL and MariaDB, its tables are locked against writes for a moment, so that all clients see the same; 1 locks
        nothing. A SQLite database has one.
    :param pool: one of the file's ``pools``, in which it is dumped.
    """

    name: str = Field(min_length=1)
    engine: EngineName = "mysql"
    connection: ConnectionId
    restore_connection: ConnectionId | None = None
    extensions_connection: ConnectionId | None = None
    exclude_tables: tuple[str, ...] = ()
    exclude_rows: tuple[str, ...] = ()
    dump_connections: DumpConnections = 2
    pool: PoolName | None = None

    @model_validator(mode="after")
    def _fitting_name(self) -> Database:
        if "\0" in self.name:
            raise ValueError("name: contains a NUL, which no engine allows")
        if not fits(self.engine, self.name):
            raise ValueError(f"name: is longer than the {LONGEST_NAMES[self.engine]} that {self.engine} allows")
        return self

    _extensions_of_postgresql = model_validator(mode="after")(_extensions_of_postgresql)

    @property
    def sample(self) -> Database:
        """The database, as of a whole server."""
        return self

    @property
    def for_restore(self) -> Database:
        """The database as restores reach it."""
        return self.model_copy(update={"connection": self.restore_connection or self.connection})


class DatabaseServer(_Model):
    """All databases of a server, as they are when a backup begins.

    Patterns are names, in which ``*`` and ``?`` match any characters and ``[abc]`` one of some. A pattern that is a
    name itself means it, too. No pattern matches the server's own schemas, nor what drills and restores made.

    :param server: Airflow connection of type ``mysql`` or ``postgres``. What its login may not see is not backed up.
    :param engine: kind of server.
    :param include: patterns of the databases to dump; at least one must exist. The full names ``postgres`` or of a
        copy that a restore made include these, too.
    :param exclude: patterns of databases to omit, which need no other backup either.
    :param restore_connection: as of a single database; so are the next.
    :param extensions_connection: PostgreSQL only.
    :param exclude_tables: tables to omit from every database.
    :param exclude_rows: tables of which only the structure is dumped, in every database.
    :param dump_connections: number of clients that dump each database at the same time, as of a single database.
    :param pool: one of the file's ``pools``, in which its databases are dumped: the same as of all other databases of
        the application, as the databases of each server are known only when the backup runs.
    """

    server: ConnectionId
    engine: Literal["mysql", "postgresql"] = "mysql"
    include: tuple[DatabasePattern, ...] = Field(("*",), min_length=1)
    exclude: tuple[DatabasePattern, ...] = ()
    restore_connection: ConnectionId | None = None
    extensions_connection: ConnectionId | None = None
    exclude_tables: tuple[str, ...] = ()
    exclude_rows: tuple[str, ...] = ()
    dump_connections: DumpConnections = 2
    pool: PoolName | None = None

    _extensions_of_postgresql = model_validator(mode="after")(_extensions_of_postgresql)

    @property
    def sample(self) -> Database:
        """A database that stands for all, by which the server is reached."""
        names = (name for name in self.include if self.covers(name) and not set(name) & set("*?["))
        return self.database(next(names, "*"))

    def covers(self, name: str) -> bool:
        """Return whether a database of the server, of that name, is to be backed up."""
        if not name or "\0" in name or not fits(self.engine, name):
            return False
        if names.matches(name, self.exclude) or not names.matches(name, self.include):
            return False
        if names.is_system(self.engine, name):
            return name in self.include and name not in names.UNREADABLE
        return not names.is_reserved(name) and (name in self.include or not names.is_copy(name))

    def database(self, name: str) -> Database:
        """Return a database of the server as if the settings named it."""
        shared = Database.model_fields.keys() & DatabaseServer.model_fields.keys()
        return Database(name=name, connection=self.server, **{field: getattr(self, field) for field in shared})


def _names_a_server(entry: object) -> str:
    return "server" if isinstance(entry, DatabaseServer) or (isinstance(entry, dict) and "server" in entry) else "name"


DatabaseEntry = Annotated[
    Annotated[Database, Tag("name")] | Annotated[DatabaseServer, Tag("server")], Discriminator(_names_a_server)
]


class Encryption(_Model):
    """Location of the archive password.

    :param connection: Airflow connection whose password encrypts the archives.
    """

    connection: ConnectionId


class Periods(_Model):
    """Overrides of retention periods; omitted ones stay unchanged.

    :param keep_all_for_days: number of days for which every archive is kept.
    :param keep_daily_for_days: number of days after that for which the newest of each day is kept.
    :param keep_weekly_for_weeks: number of weeks after that for which the newest of each ISO week is kept.
    :param keep_monthly_for_months: number of months after that for which the newest of each month is kept.
    :param keep_yearly_for_years: number of years after that for which the newest of each year is kept; older archives
        are deleted.
    """

    keep_all_for_days: Annotated[int, Field(ge=0, le=100_000, strict=True)] = 0
    keep_daily_for_days: Annotated[int, Field(ge=0, le=100_000, strict=True)] = 0
    keep_weekly_for_weeks: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 0
    keep_monthly_for_months: Annotated[int, Field(ge=0, le=2_400, strict=True)] = 0
    keep_yearly_for_years: Annotated[int, Field(ge=0, le=200, strict=True)] = 0

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that are given."""
        return {name: getattr(self, name) for name in self.model_fields_set if name in Periods.model_fields}


class Retention(Periods):
    """Retention of archives. Destinations and applications can override each number, and kinds the periods.

    :param delete_oldest_above_megabytes: cap of an application's archives at a destination, in units of 1024 * 1024
        bytes; null: none.
    :param keep_until_proven: delete an archive only after a drill has proven a newer one of its kind.
    :param database: overrides for archives of kind ``database``.
    :param application: overrides for archives of kind ``application``.
    :param legacy: overrides for laravel-backup's archives.
    """

    delete_oldest_above_megabytes: Annotated[int, Field(ge=1, strict=True)] | None = None
    keep_until_proven: Switch = False
    database: Periods = Periods()
    application: Periods = Periods()
    legacy: Periods = Periods()

    @property
    def of_all_kinds(self) -> dict[str, Any]:
        """The settings that apply to all kinds together."""
        given = self.model_fields_set & {"delete_oldest_above_megabytes", "keep_until_proven"}
        return {name: getattr(self, name) for name in given}


class Health(_Model):
    """Limits beyond which backups are unhealthy. An application can override each number.

    :param database_max_days: maximum age of the newest archive of kind ``database``; default: the longest interval of
        the schedule and a quarter of it, at least an hour and at most a day, so 1.25 for a daily backup.
    :param application_max_days: the same of kind ``application``; default: 8 for a weekly backup.
    :param max_storage_megabytes: maximum size of all archives of an application at a destination, in units of 1024 *
        1024 bytes; null: no limit.
    :param size_factor: factor by which the newest archive may be smaller or larger than usual; null: no limit.
    :param known_limits: accepted number of limits that the backup reported in the newest archive (FLOAT columns, for
        example); more are a finding.
    :param rpo_hours: recovery point objective; null: none.
    :param rto_hours: recovery time objective, which drills measure; null: none.
    :param proof_max_days: maximum age of the newest proof; null: no limit.
    :param log_max_minutes: maximum age of the newest archive of binary logs, where the settings ask for logs; null: no
        limit.
    :param chain_proof_max_days: maximum age of the newest proof that logs lead from one database archive to the next,
        where the settings ask for logs; null: no limit.
    """

    database_max_days: Days | None = None
    application_max_days: Days | None = None
    max_storage_megabytes: Annotated[int, Field(ge=1, strict=True)] | None = 5000
    size_factor: Annotated[float, Field(gt=1, strict=True)] | None = 5
    known_limits: Annotated[int, Field(ge=0, strict=True)] = 0
    rpo_hours: Annotated[float, Field(gt=0, le=876_000, strict=True)] | None = None
    rto_hours: Annotated[float, Field(gt=0, le=876_000, strict=True)] | None = None
    proof_max_days: Days | None = None
    log_max_minutes: Annotated[int, Field(ge=1, le=525_600, strict=True)] | None = 20
    chain_proof_max_days: Days | None = None


class ReadBack(_Model):
    """Nightly rotation that reads archives back. A destination can override each number.

    :param megabytes_per_night: budget at each destination, in units of 1024 * 1024 bytes; a larger archive is read
        alone. 0: nothing is read. Default: 20480 at a disk and 1024 at a bucket, whose provider may charge for reads.
    :param within_days: time in which every archive is read; a budget too small for it is a finding. Default: 30 at a
        disk and 90 at a bucket.
    """

    megabytes_per_night: Annotated[int, Field(ge=0, strict=True)] | None = None
    within_days: Annotated[int, Field(ge=1, le=36_500, strict=True)] | None = None


class DiskDestination(_Model):
    """A directory, usually on another disk.

    :param type: kind of destination.
    :param path: absolute path of the directory; `lifeboat init` creates and marks it, once.
    :param retention: overrides of the file's ``retention`` for archives here.
    :param read_back: overrides of the file's ``read_back``.
    :param pool: one of the file's ``pools``, in which archives are stored here.
    """

    type: Literal["disk"]
    path: AbsolutePath
    retention: Retention = Retention()
    read_back: ReadBack = ReadBack()
    pool: PoolName | None = None

    @property
    def for_cleanup(self) -> DiskDestination:
        """The destination as clean-ups and drills reach it."""
        return self

    @property
    def object_lock(self) -> None:
        """A disk locks nothing."""


class ObjectLock(_Model):
    """Lock of archives in a bucket against deletion and replacement; see docs/IMMUTABILITY.md.

    :param mode: ``governance``: users with s3:BypassGovernanceRetention can remove a lock; ``compliance``: nobody can.
    :param days: duration of the lock, from the capture; clean-ups keep an archive until it expires.
    """

    mode: Literal["governance", "compliance"]
    days: Annotated[int, Field(ge=1, le=36_500, strict=True)]


class S3Destination(_Model):
    """A bucket of S3 or of a server that speaks its protocol.

    :param type: kind of destination.
    :param connection: Airflow connection of type ``aws``; endpoint and path style are its extras.
    :param cleanup_connection: connection for deletions, by clean-ups and drills; default: `connection`.
    :param bucket: name of the bucket, which must exist.
    :param prefix: key prefix inside the bucket, without leading and trailing slashes.
    :param object_lock: lock for new archives; the bucket must have Object Lock enabled.
    :param server_side_encryption: encryption requested for every stored object; default: the bucket's own.
    :param kms_key: id or ARN of the key for ``aws:kms``; default: the provider's own.
    :param storage_class: class of every stored object, for example ``STANDARD_IA``; it must be readable without a
        restore request.
    :param retention: overrides of the file's ``retention`` for archives here.
    :param read_back: overrides of the file's ``read_back``.
    :param pool: one of the file's ``pools``, in which archives are stored here.
    """

    type: Literal["s3"]
    connection: ConnectionId
    cleanup_connection: ConnectionId | None = None
    bucket: BucketName
    prefix: Annotated[str, AfterValidator(lambda prefix: prefix.strip("/"))] = ""
    object_lock: ObjectLock | None = None
    server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key: Annotated[str, Field(min_length=1)] | None = None
    storage_class: StorageClass | None = None
    retention: Retention = Retention()
    read_back: ReadBack = ReadBack()
    pool: PoolName | None = None

    @model_validator(mode="after")
    def _key_of_kms(self) -> S3Destination:
        if self.kms_key and self.server_side_encryption != "aws:kms":
            raise ValueError("kms_key needs server_side_encryption: aws:kms")
        return self

    @property
    def for_cleanup(self) -> S3Destination:
        """The destination as clean-ups and drills reach it."""
        return self.model_copy(update={"connection": self.cleanup_connection or self.connection})


READ_BACK_DEFAULTS = {
    "disk": {"megabytes_per_night": 20_480, "within_days": 30},
    "s3": {"megabytes_per_night": 1024, "within_days": 90},  # reading may be charged
}
TWO_NIGHTS = 2  # days; what is stored after one night is read in the next
BackupKind = Literal["database", "application"]
BACKUP_KINDS: tuple[BackupKind, ...] = ("database", "application")
Destination = Annotated[DiskDestination | S3Destination, Field(discriminator="type")]


class Files(_Model):
    """Selection of an application's files.

    Patterns are paths or globs relative to the root: ``*`` and ``?`` stay within one folder, ``**`` crosses folders,
    and a pattern that matches a folder includes everything below it. Exclusion wins over inclusion.

    :param root: directory of the application.
    :param include: patterns to include; default: everything.
    :param exclude: patterns to exclude; replaces the defaults, which suit a Laravel application.
    :param follow_links: archive the targets of symbolic links instead of the links. Without it, a link out of the
        root is a finding of the check, because its target is not archived.
    :param on_error: effect on the backup of a file that cannot be read completely.
    :param queue: queue of the workers that have the files; default: Airflow's default queue.
    """

    root: AbsolutePath
    include: tuple[Pattern, ...] = Field(("**",), min_length=1)
    exclude: tuple[Pattern, ...] = ("vendor", "node_modules", "storage/framework", "storage/app/backup-temp")
    follow_links: Switch = False
    on_error: Literal["warn", "fail"] = "warn"
    queue: Annotated[str, Field(min_length=1)] | None = None


class Logs(_Model):
    """Shipping of binary logs between two dumps.

    :param every_minutes: time between two archives of logs.
    :param keep_days: number of days for which logs are kept, and with them the database archive that they continue.
    """

    every_minutes: Annotated[int, Field(ge=1, le=60, strict=True)] = 5
    keep_days: Annotated[int, Field(ge=1, le=36_500, strict=True)] = 7


class SqlCheck(_Model):
    """A query on a restored database, and what its one value must be.

    :param database: name of one of the application's databases.
    :param query: one query of one column and one row; it runs in a read-only transaction.
    :param expect: ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``, and a number or a text, which may be in quotes.
    """

    database: str = Field(min_length=1)
    query: Query
    expect: Expectation


class Check(_Model):
    """A check of the restored application: either a query or a command. docs/DRILL.md explains both.

    :param name: what reports, proofs and metrics call it, which is public; default: ``sql`` or ``command``, and its
        number in the list.
    :param sql: the query.
    :param command: program and arguments, run without a shell in the restored tree, or in an empty directory where no
        files were restored. The exit status 0 is a pass.
    :param files: files of the restored tree, each with the file that takes its place before the command runs: an
        absolute path, or one relative to the folder of the settings; null removes the file.
    :param seconds: time limit.
    :param kinds: kinds of archives whose drills and restores run it; default: both.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    sql: SqlCheck | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    files: dict[FileOfTree, Annotated[str, Field(min_length=1)] | None] = {}
    seconds: Annotated[float, Field(ge=1, le=86_400, strict=True)] = 60
    kinds: tuple[BackupKind, ...] = Field(("database", "application"), min_length=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Check:
        if (self.sql is None) == (self.command is None):
            raise ValueError("must have either sql or command")
        if self.files and self.command is None:
            raise ValueError("files: only a command has files; remove it")
        if any("\0" in word for word in self.command or ()):
            raise ValueError("command: contains a NUL, which no program takes")
        return self

    @property
    def kind(self) -> CheckKind:
        """The kind of what it runs."""
        return "sql" if self.sql else "command"


class SlackAlerts(_Model):
    """:param connection: Airflow connection of type ``slackwebhook``."""

    connection: ConnectionId


class EmailAlerts(_Model):
    """:param connection: Airflow connection of type ``smtp``, with ``from_email`` in its extra.
    :param to: addresses that get every alert.
    """

    connection: ConnectionId
    to: tuple[Address, ...] = Field(min_length=1)


DagId = Literal["backup_database", "backup_application", "backup_cleanup", "backup_check"]


class Channels(_Model):
    """Notification channels; omitted ones are off.

    :param slack: Slack channel.
    :param email: email recipients.
    """

    slack: SlackAlerts | None = None
    email: EmailAlerts | None = None


class Alerts(Channels):
    """Notification channels for failed runs; omitted channels are off.

    :param on_success: DAGs that also report successful runs.
    :param dead_man: Airflow connection of type ``http`` whose password is the heartbeat URL, pinged after every healthy
        check. Let a monitoring service alert when pings stop, which happens when Airflow itself is down.
    """

    on_success: tuple[DagId, ...] = ()
    dead_man: ConnectionId | None = None


class OwnAlerts(Channels):
    """Notification channels of one application: what concerns it goes there instead of to the file's ``alerts``.

    :param common: send it to the file's ``alerts``, too.
    """

    common: Switch = False

    @model_validator(mode="after")
    def _some_channel(self) -> OwnAlerts:
        if self.slack is None and self.email is None:
            raise ValueError("names no channel; add slack or email, or remove it to use the file's alerts")
        return self


class OwnSchedules(_Model):
    """Schedules of one application, which then has its own DAGs.

    :param database: cron expression for its databases, in the DAG ``backup_database__NAME``; default: with the others.
    :param application: the same for databases and files, in the DAG ``backup_application__NAME``.
    """

    database: Cron | None = None
    application: Cron | None = None


class Team(_Model):
    """Owner and schedules of an application.

    :param owner: owner of its tasks in Airflow; default: ``data-platform``.
    :param tags: further tags of its DAGs.
    :param alerts: its own notification channels, instead of the file's ``alerts`` or in addition.
    :param schedules: its own schedules.
    :param access_control: roles of Airflow and what each may do with its own DAGs, as in ``{shop: [can_read,
        can_edit]}``. Airflow's FAB auth manager enforces it.
    """

    owner: Label | None = None
    tags: tuple[Label, ...] = ()
    alerts: OwnAlerts | None = None
    schedules: OwnSchedules = OwnSchedules()
    access_control: dict[Label, tuple[Literal["can_read", "can_edit", "can_delete"], ...]] = {}


class Application(Team):
    """One application: its databases and files, and the destinations of its archives.

    :param databases: databases, or whole servers of them, dumped together into one archive.
    :param files: files for the archives of kind ``application``, next to the databases.
    :param logs: binary logs of the MySQL and MariaDB servers of its databases: ``true`` or how they are shipped.
    :param destinations: names from the file's ``destinations``; default: all of them.
    :param encryption: override of the file's ``encryption``.
    :param after_restore: commands to run in a restored folder, one after the other, without a shell.
    :param checks: queries and commands that try what a drill restored; all must pass.
    :param retention: overrides of the file's and the destination's; a cap here counts this application alone.
    :param health: overrides of the file's ``health``.
    :param legacy_until: override of the file's ``legacy_until``.
    """

    databases: tuple[DatabaseEntry, ...] = ()
    files: Files | None = None
    logs: Logs | Switch = False
    destinations: tuple[str, ...] = ()
    encryption: Encryption | Literal["none"] | None = None
    after_restore: tuple[Command, ...] = ()
    checks: tuple[Check, ...] = ()
    retention: Retention = Retention()
    health: Health = Health()
    legacy_until: Day | None = None

    @property
    def named(self) -> tuple[Database, ...]:
        """The databases that the settings name."""
        return tuple(entry for entry in self.databases if isinstance(entry, Database))

    @property
    def servers(self) -> tuple[DatabaseServer, ...]:
        """The servers that are backed up as a whole."""
        return tuple(entry for entry in self.databases if isinstance(entry, DatabaseServer))

    @property
    def engines(self) -> frozenset[EngineName]:
        """The kinds of its databases."""
        return frozenset(entry.engine for entry in self.databases)

    def database(self, name: str, engine: EngineName | None = None) -> Database | None:
        """Return the database of a name as the settings reach it; None where they say nothing of it.

        :param engine: of the database, where that is known.
        """
        if named := next((database for database in self.named if database.name == name), None):
            return named
        covering = (each for each in self.servers if each.covers(name) and engine in (None, each.engine))
        server = next(covering, None)
        return server.database(name) if server else None

    def stray(self, name: str, engine: EngineName | None) -> Database:
        """Return a database that the settings do not know, as if it were on one of the application's servers.

        :param engine: as of `database`.
        """
        whole = next((server for server in self.servers if engine in (None, server.engine)), None)
        if whole:
            return whole.database(name)
        first = self.databases[0]
        return first.database(name) if isinstance(first, DatabaseServer) else first.model_copy(update={"name": name})

    def count(self, listed: int) -> int:
        """Return how many databases there are.

        :param listed: how many there were when its servers were asked; 0 where nobody did.
        """
        return (listed if self.servers else 0) or len(self.named)

    def count_with_logs(self, listed: int) -> int:
        """Return how many databases have a binary log, at least.

        :param listed: as of `count`.
        """
        named = sum(database.engine == "mysql" for database in self.named)
        if listed and self.servers and all(server.engine == "mysql" for server in self.servers):
            return listed - len(self.named) + named
        return named + sum(server.engine == "mysql" for server in self.servers)

    @model_validator(mode="after")
    def _one_dump_per_name(self) -> Application:
        names = [database.name for database in self.named]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"databases named twice: {', '.join(twice)}; an archive holds one dump per name")
        engines = [server.engine for server in self.servers]
        if len(set(engines)) < len(engines):
            raise ValueError(
                f"databases: names two servers of {engines[0]}, so a restore could not tell whose a database was; make"
                " an application of each"
            )
        if not self.databases and self.files is None:
            raise ValueError("has neither databases nor files; add one of them")
        return self

    @model_validator(mode="after")
    def _one_pool_of_servers(self) -> Application:
        pools = sorted({entry.pool or "none" for entry in self.databases})
        if self.servers and len(pools) > 1:
            raise ValueError(
                f"databases: their pools are {' and '.join(pools)}, but an application with a whole server has one for"
                " all: name the same everywhere, or make an application of each server"
            )
        return self

    @model_validator(mode="after")
    def _checks_of_its_own(self) -> Application:
        names = {database.name for database in self.named}
        for index, check in enumerate(self.checks):
            if check.sql and self.database(check.sql.database) is None:
                raise ValueError(
                    f"checks.{index}.sql.database: is not one of the application's databases: {', '.join(names)}"
                )
        if len(self.checks_of()) < len(self.checks):
            raise ValueError("checks: two have the same name; rename one")
        if any(check.command for check in self.checks) and alike(names):
            raise ValueError(
                "checks: the names of two databases differ in signs or case only, so that no variables of a command"
                " could tell them apart"
            )
        return self

    def checks_of(self, kind: str = "") -> dict[str, Check]:
        """Return the checks by name.

        :param kind: of the archive that they try; any when empty.
        """
        named = {each.name or f"{each.kind} {number}": each for number, each in enumerate(self.checks, 1)}
        return {name: each for name, each in named.items() if not kind or kind in each.kinds}

    @model_validator(mode="after")
    def _logs_of_mysql(self) -> Application:
        if self.logs and "mysql" not in self.engines:
            raise ValueError("logs: only MySQL and MariaDB have binary logs, and none of its databases is theirs")
        return self

    @model_validator(mode="after")
    def _something_to_schedule(self) -> Application:
        if self.schedules.database and not self.databases:
            raise ValueError("schedules.database: it has no databases; remove the schedule, or add one")
        if self.schedules.application and not self.files:
            raise ValueError("schedules.application: it has no files; remove the schedule, or add them")
        return self

    @model_validator(mode="after")
    def _dags_to_control(self) -> Application:
        given = [name for name in ("access_control", "tags") if getattr(self, name)]
        if given and self.schedules == OwnSchedules():
            raise ValueError(f"{given[0]}: applies to DAGs of its own, and it has none; give it schedules of its own")
        return self


class Bucket(_Model):
    """A part of a bucket, written as ``s3://CONNECTION@BUCKET/PREFIX``.

    :param connection: Airflow connection of type ``aws``.
    :param bucket: name of the bucket, which must exist.
    :param prefix: key prefix inside the bucket, without slashes at its ends.
    """

    connection: ConnectionId
    bucket: BucketName
    prefix: str


def _path_or_bucket(text: object) -> Path | Bucket:
    form = "must be an absolute path, or a bucket in the form s3://CONNECTION@BUCKET/PREFIX"
    if not isinstance(text, str):
        raise ValueError(form)  # pydantic takes no TypeError for an answer
    if "://" not in text:
        return absolute(Path(text))
    match = re.fullmatch(r"s3://([^@/]+)@([^@/]{3,63})(?:/(.*))?", text)
    if match is None:
        raise ValueError(form)
    connection, bucket, prefix = match.groups(default="")
    return Bucket(connection=connection, bucket=bucket, prefix=prefix.strip("/"))


Place = Annotated[Path | Bucket, BeforeValidator(_path_or_bucket)]


class Restore(_Model):
    """:param require_approval: a second person must approve a restore in Airflow's UI before it changes anything.
    :param checks: run the applications' queries under ``checks`` on each restored database; one that fails fails the
        restore, and leaves the database to be looked at. Commands run in drills only: after a restore they could change
        production's database, and the files have its passwords.
    :param directory: directory below which files can be restored to any new directory, also from the command line;
        default: next to the application's root only.
    """

    require_approval: Switch = False
    checks: Switch = False
    directory: AbsolutePath | None = None


class Drill(_Model):
    """Drills: regular tests of restores.

    :param connection: Airflow connection of a server for scratch databases: of MySQL, or a mapping of engines to
        connections.
    :param extensions_connection: connection to PostgreSQL's scratch server of a user who can create extensions that
        need a superuser.
    :param production: explicit permission to use each database's own server instead.
    :param directory: directory for the files while they are compared; default: a folder of staging.
    :param archives: number of archives tested per kind and destination: the newest, then those unproven for longest.
    :param schedule: cron expression, or ``after backup``.
    """

    connection: ConnectionId | dict[EngineName, ConnectionId] | None = None
    extensions_connection: ConnectionId | None = None
    production: Switch = False
    directory: AbsolutePath | None = None
    archives: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    schedule: Schedule = "0 5 1 1,4,7,10 *"

    def connection_of(self, engine: EngineName) -> str | None:
        """Return the connection of the scratch server of an engine; None where the settings name none."""
        by_engine = {"mysql": self.connection} if isinstance(self.connection, str) else self.connection or {}
        return by_engine.get(engine)

    @model_validator(mode="after")
    def _one_server(self) -> Drill:
        if self.connection and self.production:
            raise ValueError("names a connection of a scratch server and permits production; keep one of them")
        if self.extensions_connection and not self.connection_of("postgresql"):
            raise ValueError("extensions_connection: names a login, and connection no scratch server of PostgreSQL")
        return self


class Schedules(_Model):
    """When the DAGs run: cron expressions in the file's time zone.

    :param database: of ``backup_database``.
    :param application: of ``backup_application``.
    :param cleanup: of ``backup_cleanup``.
    :param check: of ``backup_check``.
    :param drill: of ``restore_drill``, or ``after backup``; default: ``drill.schedule``.
    :param spread_minutes: scheduled backups begin up to so many minutes later, each application always at the same one,
        so that those on one server do not begin at once; at most half of the time between two backups.
    """

    database: Cron = "0 1 * * *"
    application: Cron = "0 2 * * 0"
    cleanup: Cron = "0 3 * * *"
    check: Cron = "0 4 * * *"
    drill: Schedule | None = None
    spread_minutes: Annotated[int, Field(ge=0, le=1440, strict=True)] = 0


class Metrics(_Model):
    """:param connection: Airflow connection whose password lets Prometheus read the Backups page's metrics."""

    connection: ConnectionId


class Settings(_Model):
    """The whole settings file.

    :param timezone: IANA name of the time zone of the schedules. Archive names are always in UTC.
    :param staging: scratch space shared by all workers, for the compressed dumps and the archive of a run: a directory,
        or ``s3://CONNECTION@BUCKET/PREFIX``.
    :param encryption: default for all applications; ``none`` stores archives unencrypted.
    :param destinations: places to store archives, by name.
    :param applications: applications to back up, by name; the name is the first part of every archive's key.
    :param schedules: when the DAGs run. An application can have its own schedules, and then has its own DAGs.
    :param pools: Airflow's pools for databases and destinations that name one, each with its number of slots: so many
        dumps and uploads run there at the same time. `lifeboat doctor` makes them; see docs/TEAMS.md.
    :param alerts: notification channels for failed runs.
    :param retention: how long archives are kept.
    :param health: limits beyond which backups are unhealthy.
    :param read_back: how archives are read back in turn.
    :param restore: rules for restores.
    :param drill: how restores are tested.
    :param metrics: access to the metrics without a login.
    :param ignore_databases: names of databases on the servers of ``applications`` that need no backup; ``*`` and ``?``
        match any characters. Other databases that no application backs up are a finding of the check.
    :param legacy_timezone: time zone of the names of laravel-backup's archives; default: `timezone`.
    :param legacy_until: last day on which laravel-backup's archives, which are not signed, are verified and restored;
        default: never. They are always listed and retained.
    """

    timezone: TimeZone = "UTC"
    staging: Place
    encryption: Encryption | Literal["none"]
    destinations: dict[Name, Destination] = Field(min_length=1)
    applications: dict[Name, Application] = Field(min_length=1)
    schedules: Schedules = Schedules()
    pools: dict[PoolName, Annotated[int, Field(ge=1, le=1000, strict=True)]] = {}
    alerts: Alerts = Alerts()
    retention: Retention = Retention()
    health: Health = Health()
    read_back: ReadBack = ReadBack()
    restore: Restore = Restore()
    drill: Drill = Drill()
    metrics: Metrics | None = None
    ignore_databases: tuple[DatabasePattern, ...] = ()
    legacy_timezone: TimeZone | None = None
    legacy_until: Day | None = None

    @model_validator(mode="after")
    def _known_destinations(self) -> Settings:
        for name, application in self.applications.items():
            for unknown in set(application.destinations) - set(self.destinations):
                known = ", ".join(self.destinations)
                raise ValueError(f"applications.{name}.destinations: no destination {unknown!r}; known: {known}")
        return self

    @model_validator(mode="after")
    def _known_pools(self) -> Settings:
        named = {
            f"applications.{name}.databases.{index}": entry.pool
            for name, application in self.applications.items()
            for index, entry in enumerate(application.databases)
        } | {f"destinations.{name}": kept.pool for name, kept in self.destinations.items()}
        for where, pool in named.items():
            if pool and pool not in self.pools:
                known = ", ".join(self.pools) or "none"
                raise ValueError(f"{where}.pool: no pool {pool!r} under pools; known: {known}")
        return self

    @model_validator(mode="after")
    def _something_is_kept(self) -> Settings:
        for destination in self.destinations:
            for application in self.applications:
                for kind in KINDS:
                    if _keeps_nothing(self.policy_of(destination, application, kind)):
                        raise ValueError(
                            f"retention of {application}, kind {kind}, at {destination}: keeps only the newest;"
                            " set one of its periods above 0"
                        )
        return self

    @model_validator(mode="after")
    def _locks_outlast_what_is_all_kept(self) -> Settings:
        for destination, kept in self.destinations.items():
            lock = kept.object_lock
            for application in self.applications if lock else ():
                for kind in OWN_KINDS:
                    days = self.policy_of(destination, application, kind).keep_all_for_days
                    if lock and destination in self.destinations_of(application) and lock.days < days:
                        raise ValueError(
                            f"destinations.{destination}.object_lock.days: {lock.days} are fewer than the {days} days"
                            f" for which retention keeps all of {application}, kind {kind}; lock for {days} or more"
                        )
        return self

    @model_validator(mode="after")
    def _commands_stay_away_from_production(self) -> Settings:
        """A command that reaches the server can log in there with the passwords that it finds in the restored tree."""
        for name, application in self.applications.items():
            on_server = not application.engines <= SERVERLESS
            if self.drill.production and on_server and any(check.command for check in application.checks):
                raise ValueError(
                    f"applications.{name}.checks: a command could log in to production with the application's own"
                    " password, because drill.production lets it reach that server; name a scratch server under"
                    " drill.connection instead"
                )
        return self

    @model_validator(mode="after")
    def _logs_are_shipped_in_time(self) -> Settings:
        """Two intervals fit into the age that is a fault: a server may be at rest for one, and a run may be late."""
        for name in self.applications_with_logs:
            every, longest = cast(Logs, self.logs_of(name)).every_minutes, self.longest_log_age_of(name)
            if longest and 2 * timedelta(minutes=every) > longest:
                raise ValueError(
                    f"applications.{name}.logs.every_minutes: {every} is more than half of health.log_max_minutes, so"
                    f" logs that are shipped in time would be too old; set log_max_minutes to {2 * every} or more"
                )
        return self

    @model_validator(mode="after")
    def _one_dag_per_application(self) -> Settings:
        for kind in BACKUP_KINDS:
            owners: dict[str, str] = {}
            for name in self.own_schedules(kind):
                dag_id = dag_id_of(kind, name)
                if dag_id in owners:
                    raise ValueError(
                        f"applications.{name}.schedules.{kind}: its DAG would be {dag_id}, as that of"
                        f" applications.{owners[dag_id]}; leave one of the two without a schedule of its own"
                    )
                owners[dag_id] = name
        return self

    @model_validator(mode="after")
    def _one_schedule_of_drills(self) -> Settings:
        if self.schedules.drill and "schedule" in self.drill.model_fields_set:
            raise ValueError("schedules.drill: drill.schedule says when drills run, too; remove one of them")
        return self

    @model_validator(mode="after")
    def _one_name_per_place(self) -> Settings:
        places: dict[tuple[str, ...], str] = {}
        for name, kept in self.destinations.items():
            place = (
                (str(kept.path),) if isinstance(kept, DiskDestination) else (kept.connection, kept.bucket, kept.prefix)
            )
            if place in places:
                raise ValueError(f"destinations.{name}: is the same place as destinations.{places[place]}; remove one")
            places[place] = name
        return self

    @model_validator(mode="after")
    def _staging_of_its_own(self) -> Settings:
        """Staging is swept, so archives must not be stored where they could be taken for leftovers of a dead run."""
        for name, kept in self.destinations.items():
            if all(one == other for one, other in zip(_parts(self.staging), _parts(kept), strict=False)):
                raise ValueError(f"staging: is inside destinations.{name}, or contains it; use separate places")
        return self

    @model_validator(mode="after")
    def _files_are_not_our_own(self) -> Settings:
        for name, application in self.applications.items():
            for own in self.own_directories:
                if application.files and application.files.root.is_relative_to(own):
                    raise ValueError(
                        f"applications.{name}.files.root: is inside '{own}', where archives or staging are, so nothing"
                        " of it would be archived; name the application's own directory"
                    )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the schedules."""
        return ZoneInfo(self.timezone)

    @property
    def legacy_zone(self) -> ZoneInfo:
        """The time zone of laravel-backup's archives."""
        return ZoneInfo(self.legacy_timezone or self.timezone)

    def refuse_legacy(self, application: str | None, now: datetime) -> None:
        """Refuse laravel-backup's archives of an application, unless the settings accept them at that time.

        :raises SettingsError: they do not, or no longer.
        """
        own = self.applications[application].legacy_until if application in self.applications else None
        until = own or self.legacy_until
        if until is not None and now.astimezone(self.zone).date() <= until:
            return
        accepted = f"were accepted until {until}" if until else "are not accepted"
        raise SettingsError(
            f"laravel-backup's archives {accepted}: they are not signed, so anyone who can write to a destination"
            " can forge them.",
            "To read one that you trust, set the last day on which they are accepted, for example"
            " 'legacy_until: 2027-03-01'.",
        )

    def policy_of(self, destination: str, application: str, kind: Kind) -> Policy:
        """Return how long archives are kept: the file's numbers, then the destination's, then the application's."""
        levels = (
            self.retention,
            self.destinations[destination].retention,
            self.application(application).retention,
        )
        lock = self.destinations[destination].object_lock
        return replace(_policy(levels, kind), locked_for_days=lock.days if lock and kind in OWN_KINDS else 0)

    def rotation_of(self, destination: str) -> Rotation:
        """Return how archives are read back: the default of the storage, the file's numbers, then the destination's."""
        kept = self.destinations[destination]
        numbers = dict(READ_BACK_DEFAULTS[kept.type])
        for level in (self.read_back, kept.read_back):
            numbers |= {name: number for name in level.model_fields_set if (number := getattr(level, name)) is not None}
        logs = {
            name: timedelta(days=max(cast(Logs, self.logs_of(name)).keep_days, TWO_NIGHTS))
            for name in self.applications_with_logs
        }
        return Rotation(numbers["megabytes_per_night"] * MEGABYTE, timedelta(days=numbers["within_days"]), logs)

    def limits_of(self, application: str) -> Limits:
        """Return when the backups of an application are unhealthy: the file's numbers, then the application's."""
        numbers = self._health_of(application)
        days = {"database": numbers.database_max_days, "application": numbers.application_max_days}
        return Limits(
            longest_ages={
                kind: timedelta(days=limit)
                if (limit := days[kind])
                else cron.longest_age(self.cron_of(application, kind))
                for kind in BACKUP_KINDS
                if application in self.applications_of(kind)
            },
            max_storage_megabytes=numbers.max_storage_megabytes,
            size_factor=numbers.size_factor,
            known_limits=numbers.known_limits,
            longest_proof_age=timedelta(days=numbers.proof_max_days) if numbers.proof_max_days else None,
            recovery_point=timedelta(hours=numbers.rpo_hours) if numbers.rpo_hours else None,
            recovery_time=timedelta(hours=numbers.rto_hours) if numbers.rto_hours else None,
            longest_log_age=self.longest_log_age_of(application),
            longest_chain_proof_age=timedelta(days=numbers.chain_proof_max_days or 0) or None,
        )

    def _health_of(self, application: str) -> Health:
        own = self.application(application).health
        return self.health.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    def longest_log_age_of(self, application: str) -> timedelta | None:
        """Return how old the newest archive of an application's binary logs may be; None for no limit."""
        return timedelta(minutes=self._health_of(application).log_max_minutes or 0) or None

    @property
    def teams(self) -> Mapping[str, Team]:
        """Owners and schedules, by application."""
        return self.applications

    def own_schedules(self, kind: BackupKind) -> dict[str, str]:
        """Return the cron expressions of the applications that have their own DAG for a kind."""
        return own_schedules(self.applications, kind)

    def cron_of(self, application: str, kind: BackupKind) -> str:
        """Return when an application is backed up, as a cron expression."""
        common: str = getattr(self.schedules, kind)
        return self.own_schedules(kind).get(application, common)

    def dag_of(self, application: str, kind: BackupKind) -> str:
        """Return the id of the DAG that backs an application up."""
        return dag_id_of(kind, application if application in self.own_schedules(kind) else None)

    def backup_dags(self, kind: BackupKind) -> dict[str, list[str]]:
        """Return the applications that each DAG backs up, by its id: the common one first, however few it has."""
        own = self.own_schedules(kind)
        common = [name for name in self.applications_of(kind) if name not in own]
        return {dag_id_of(kind): common} | {dag_id_of(kind, name): [name] for name in own}

    def turn_of(self, application: str, kind: BackupKind) -> timedelta:
        """Return how long after the time of its schedule an application is backed up."""
        spread = timedelta(minutes=self.schedules.spread_minutes)
        return cron.turn(application, spread, self.cron_of(application, kind)) if spread else spread

    @property
    def drill_schedule(self) -> str:
        """When drills run: a cron expression, or `AFTER_BACKUP`."""
        return self.schedules.drill or self.drill.schedule

    def channels_of(self, application: str) -> tuple[Channels, ...]:
        """Return the channels that hear of an application; of what concerns none, where the name is empty."""
        return channels_of(self.applications, self.alerts, application)

    def application(self, name: str) -> Application:
        """Return the application of that name.

        :raises SettingsError: there is none.
        """
        if name not in self.applications:
            raise SettingsError(
                f"There is no application {name!r} in the settings.",
                f"Did you mean one of: {', '.join(self.applications)}?",
            )
        return self.applications[name]

    def databases_of(self, application: str, chosen: tuple[str, ...] = ()) -> list[Database]:
        """Return the databases that an application names, or the chosen ones, also of a server that it names.

        The databases of a server are not known here: `lifeboat.actions.servers` asks it.

        :raises SettingsError: a chosen name is not one of them.
        """
        found = self.application(application)
        databases = {database.name: database for database in found.named}
        covered = {name: other for name in chosen if name not in databases and (other := found.database(name))}
        _refuse_unknown("database", chosen, databases | covered, application)
        named = [database for name, database in databases.items() if not chosen or name in chosen]
        return [*named, *covered.values()]

    def destinations_of(self, application: str, chosen: tuple[str, ...] = ()) -> dict[str, Destination]:
        """Return an application's destinations by name, or the chosen ones.

        :raises SettingsError: a chosen name is not one of them.
        """
        names = self.application(application).destinations or tuple(self.destinations)
        _refuse_unknown("destination", chosen, names, application)
        return {name: self.destinations[name] for name in names if not chosen or name in chosen}

    def applications_of(self, kind: BackupKind) -> list[str]:
        """Return the names of the applications that have archives of a kind: databases, or files."""
        return [
            name
            for name, application in self.applications.items()
            if (application.databases if kind == "database" else application.files)
        ]

    def logs_of(self, application: str) -> Logs | None:
        """Return how the binary logs of an application are shipped; None where they are not."""
        logs = self.application(application).logs
        return (Logs() if logs is True else logs) or None

    @property
    def applications_with_logs(self) -> list[str]:
        """The names of the applications whose binary logs are shipped."""
        return [name for name in self.applications if self.logs_of(name)]

    def files_of(self, application: str) -> Files:
        """Return which files of an application are archived.

        :raises SettingsError: the settings name no files for it.
        """
        files = self.application(application).files
        if files is None:
            raise SettingsError(
                f"Application {application!r} has no files in the settings.",
                f"Name their root under applications.{application}.files.",
            )
        return files

    def queue_of(self, applications: Iterable[str]) -> str | None:
        """Return the queue of the workers that have the files of all of these applications, if it is one."""
        queues = {self.files_of(name).queue for name in applications if self.application(name).files}
        return queues.pop() if len(queues) == 1 else None

    @property
    def scratch(self) -> Path:
        """A directory of this machine, for what an engine needs for a while."""
        return self.staging if isinstance(self.staging, Path) else Path(tempfile.gettempdir())

    @property
    def own_directories(self) -> tuple[Path, ...]:
        """Staging and local destinations: they belong in no archive."""
        own = (self.staging, *(getattr(kept, "path", None) for kept in self.destinations.values()))
        return tuple(path for path in own if isinstance(path, Path))

    def encryption_of(self, application: str | None) -> Encryption | None:
        """Return how the archives of an application, or of any, are encrypted; None when the settings say ``none``."""
        encryption = (application and self.application(application).encryption) or self.encryption
        return None if encryption == "none" else encryption


def own_schedules(teams: Mapping[str, Team], kind: BackupKind) -> dict[str, str]:
    """Return the cron expressions of the applications that have their own DAG for a kind.

    :param teams: by application.
    """
    return {name: own for name, team in teams.items() if (own := getattr(team.schedules, kind))}


def channels_of(teams: Mapping[str, Team], common: Alerts, application: str) -> tuple[Channels, ...]:
    """Return the channels that hear of an application.

    :param teams: by application.
    :param application: empty for what concerns none: the common channels hear of it, or all, where there is none.
    """
    own = team.alerts if (team := teams.get(application)) else None
    if own:
        return (own, common) if own.common else (own,)
    if application or common.slack or common.email:
        return (common,)
    return tuple(team.alerts for team in teams.values() if team.alerts)


def _parts(place: Path | Bucket | DiskDestination | S3Destination) -> tuple[str, ...]:
    """Return a place as its folders from the root on; of a bucket, whatever connection reaches it."""
    match place:
        case Path():
            return place.parts
        case DiskDestination():
            return place.path.parts
        case _:
            return ("s3:", place.bucket, *filter(None, place.prefix.split("/")))


def _refuse_unknown(what: str, chosen: Any, known: Any, application: str) -> None:
    if unknown := sorted(set(chosen) - set(known)):
        raise SettingsError(
            f"Application {application!r} has no {what} {', '.join(map(repr, unknown))}.",
            f"Did you mean one of: {', '.join(known)}?",
        )


def policies_of(numbers: Any, where: str) -> dict[Kind, Policy]:
    """Return the policy of each kind from retention's numbers; omitted ones have their defaults.

    :param where: what holds the numbers, for messages.
    :raises SettingsError: naming the number and the fix.
    """
    try:
        retention = Retention.model_validate(numbers)
    except ValidationError as error:
        raise SettingsError(f"{where}: {mistakes.in_settings(error, _KEYS)}.") from None  # pydantic's text has values
    policies = {kind: _policy([retention], kind) for kind in KINDS}
    if any(_keeps_nothing(policy) for policy in policies.values()):
        raise SettingsError(f"{where}: keeps only the newest.", "Set one of its periods above 0.")
    return policies


def _policy(levels: Iterable[Retention], kind: Kind) -> Policy:
    """Return the policy that several levels make, the most particular last."""
    numbers: dict[str, Any] = {}
    for level in levels:
        numbers |= level.numbers | getattr(level, kind).numbers | level.of_all_kinds
    return Policy(**numbers)


def _keeps_nothing(policy: Policy) -> bool:
    return not any(getattr(policy, name) for name in Periods.model_fields)


def settings_path() -> Path:
    """Return the path of the settings file: ``LIFEBOAT_CONFIG``, else ``include/backup.yaml`` of the project."""
    return Path(os.environ.get(CONFIG_VARIABLE) or PROJECT / "include" / "backup.yaml")


def load(path: Path | None = None) -> Settings:
    """Read and validate the settings.

    :param path: the file; default: `settings_path`.
    :raises SettingsError: naming the file, the key and the fix.
    """
    path = path or settings_path()
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1).decode()
        if len(text) > LONGEST_FILE:
            raise SettingsError(f"{path} is longer than {LONGEST_FILE} bytes: this is not a settings file.")
        content = strict_yaml.load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(
            f"Cannot read the settings {path}: {reason}.",
            f"Set {CONFIG_VARIABLE}, or --config of a command, to the path of your backup.yaml, in UTF-8.",
        ) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {mistakes.in_yaml(error, text)}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must contain keys and values; it is empty, text or a list.")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{path}: {mistakes.in_settings(error, _KEYS)}.") from None  # pydantic's text has values


def _all_keys(model: type[_Model] = _Model) -> set[str]:
    return set(model.model_fields).union(*map(_all_keys, model.__subclasses__()))


_KEYS = sorted(_all_keys())
