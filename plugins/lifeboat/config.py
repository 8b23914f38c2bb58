"""The settings: what to protect, where to, and who hears of it. One YAML file, no secrets in it."""

from __future__ import annotations

import difflib
import os
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lifeboat.errors import SettingsError

CONFIG_VARIABLE = "LIFEBOAT_CONFIG"
PROJECT = Path(__file__).resolve().parents[2]
LONGEST_NAME = 200  # bytes; with its suffixes it must fit into the 255 of a file name


def _one_path_segment(name: str) -> str:
    """Names become a folder of every destination, so they must be exactly one segment of a path."""
    if not name or len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"must have 1 to {LONGEST_NAME} bytes in UTF-8")
    if name.startswith(".") or name != name.strip():
        raise ValueError("must not start with a dot, nor start or end with a space")
    if any(char in "/\\" or unicodedata.category(char).startswith("C") for char in name):
        raise ValueError("must not hold slashes, backslashes or control characters")
    return name


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path: workers start in different directories ('{path}' is relative)")
    return path


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        close = difflib.get_close_matches(name, available_timezones(), n=1)
        raise ValueError(f"no such time zone{f'; did you mean {close[0]!r}?' if close else ''}")
    return name


def _below_the_root(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        raise ValueError(f"must be relative to the root and stay below it ('{pattern}' does not)")
    return "/".join(parts) or "**"


Name = Annotated[str, AfterValidator(_one_path_segment)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Pattern = Annotated[str, AfterValidator(_below_the_root)]
ConnectionId = Annotated[str, Field(min_length=1, description="id of an Airflow connection")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Model):
    """One database to dump.

    :param name: schema name on the server; also the name of its dump.
    :param connection: Airflow connection of type ``mysql``.
    :param exclude_tables: tables left out, structure and rows.
    """

    name: str = Field(min_length=1, max_length=64)
    connection: ConnectionId
    exclude_tables: tuple[str, ...] = ()


class Encryption(_Model):
    """Where the archive password is kept.

    :param connection: Airflow connection whose password encrypts the archives.
    """

    connection: ConnectionId


class DiskDestination(_Model):
    """A directory, usually of another disk.

    :param path: absolute path of the directory; created when missing.
    """

    type: Literal["disk"]
    path: AbsolutePath


class S3Destination(_Model):
    """A bucket of S3 or of a server that speaks its protocol.

    :param connection: Airflow connection of type ``aws``; endpoint and path style are its extras.
    :param bucket: name of the bucket, which must exist.
    :param prefix: key prefix inside the bucket, without slashes at its ends.
    """

    type: Literal["s3"]
    connection: ConnectionId
    bucket: str = Field(min_length=3, max_length=63)
    prefix: Annotated[str, AfterValidator(lambda prefix: prefix.strip("/"))] = ""


BackupKind = Literal["database", "application"]
Destination = Annotated[DiskDestination | S3Destination, Field(discriminator="type")]


class Files(_Model):
    """Which files of an application belong in its archives.

    Patterns are paths or globs relative to the root: ``*`` and ``?`` stay within one folder, ``**`` does not, and what
    matches a folder takes all that is below it. What is excluded stays out whatever includes it.

    :param root: directory of the application.
    :param include: what goes in; everything when left out.
    :param exclude: what stays out; replaces the defaults, which suit a Laravel application.
    :param follow_links: archive what symbolic links point to, instead of the links.
    :param on_error: what a file that cannot be read whole means for the backup.
    """

    root: AbsolutePath
    include: tuple[Pattern, ...] = Field(("**",), min_length=1)
    exclude: tuple[Pattern, ...] = ("vendor", "node_modules", "storage/framework", "storage/app/backup-temp")
    follow_links: bool = False
    on_error: Literal["warn", "fail"] = "warn"


class Application(_Model):
    """What is protected: a name, its databases and files, the destinations that keep its archives.

    :param databases: dumped together into one archive.
    :param files: go into the archives of kind ``application``, beside the databases.
    :param destinations: names from the file's ``destinations``; all of them when left out.
    :param encryption: overrides the file's ``encryption``.
    """

    databases: tuple[Database, ...] = ()
    files: Files | None = None
    destinations: tuple[str, ...] = ()
    encryption: Encryption | Literal["none"] | None = None

    @model_validator(mode="after")
    def _one_dump_per_name(self) -> Application:
        names = [database.name for database in self.databases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"databases named twice: {', '.join(twice)}; an archive holds one dump per name")
        if not self.databases and self.files is None:
            raise ValueError("has neither databases nor files; add one of them")
        return self


class SlackAlerts(_Model):
    """:param connection: Airflow connection of type ``slackwebhook``."""

    connection: ConnectionId


class EmailAlerts(_Model):
    """:param connection: Airflow connection of type ``smtp``, with ``from_email`` in its extra.
    :param to: addresses that get every alert.
    """

    connection: ConnectionId
    to: tuple[str, ...] = Field(min_length=1)


class Alerts(_Model):
    """Who hears of a failed run; a channel that is left out is off."""

    slack: SlackAlerts | None = None
    email: EmailAlerts | None = None


class Settings(_Model):
    """The whole settings file.

    :param timezone: IANA name; the schedules follow its wall clock. Archive names are in UTC all the same.
    :param staging: scratch directory that all workers share; holds the compressed dumps and the archive of a run.
    :param encryption: default for every application.
    """

    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    staging: AbsolutePath
    encryption: Encryption | Literal["none"]
    destinations: dict[Name, Destination] = Field(min_length=1)
    applications: dict[Name, Application] = Field(min_length=1)
    alerts: Alerts = Alerts()

    @model_validator(mode="after")
    def _known_destinations(self) -> Settings:
        for name, application in self.applications.items():
            for unknown in set(application.destinations) - set(self.destinations):
                known = ", ".join(self.destinations)
                raise ValueError(f"applications.{name}.destinations: no destination {unknown!r}; there are: {known}")
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

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the schedules."""
        return ZoneInfo(self.timezone)

    def application(self, name: str) -> Application:
        """Return the application of that name.

        :raises SettingsError: there is none.
        """
        if name not in self.applications:
            raise SettingsError(
                f"There is no application {name!r} in the settings.", f"Known: {', '.join(self.applications)}."
            )
        return self.applications[name]

    def databases_of(self, application: str, chosen: tuple[str, ...] = ()) -> list[Database]:
        """Return an application's databases, or the chosen ones in the settings' order.

        :raises SettingsError: a chosen name is not one of them.
        """
        databases = {database.name: database for database in self.application(application).databases}
        _refuse_unknown("database", chosen, databases, application)
        return [database for name, database in databases.items() if not chosen or name in chosen]

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

    @property
    def own_directories(self) -> tuple[Path, ...]:
        """Staging and local destinations: they belong in no archive."""
        return self.staging, *(kept.path for kept in self.destinations.values() if isinstance(kept, DiskDestination))

    def encryption_of(self, application: str | None) -> Encryption | None:
        """Return how the archives of an application, or of any, are encrypted; None when the settings say ``none``."""
        encryption = (application and self.application(application).encryption) or self.encryption
        return None if encryption == "none" else encryption


def _refuse_unknown(what: str, chosen: Any, known: Any, application: str) -> None:
    if unknown := sorted(set(chosen) - set(known)):
        raise SettingsError(
            f"Application {application!r} has no {what} {', '.join(map(repr, unknown))}.",
            f"Known: {', '.join(known)}.",
        )


def settings_path() -> Path:
    """Return the path of the settings file: ``LIFEBOAT_CONFIG``, else ``include/backup.yaml`` of the project."""
    return Path(os.environ.get(CONFIG_VARIABLE) or PROJECT / "include" / "backup.yaml")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently drop the first, and with it what it protects."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path | None = None) -> Settings:
    """Read and validate the settings.

    :param path: the file; `settings_path` when left out.
    :raises SettingsError: naming the file, the key and the fix.
    """
    path = path or settings_path()
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(
            f"Cannot read the settings {path}: {reason}.", f"Set {CONFIG_VARIABLE} to the path of your backup.yaml."
        ) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold keys and values; it is empty or a list.")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        problems = dict.fromkeys(map(_in_words, error.errors()))
        raise SettingsError(f"{path}: {'; '.join(problems)}.") from error


def _in_words(error: Any) -> str:
    """Put one of pydantic's errors as ``key: what is wrong, what to do``, without the value (it may be a secret)."""
    key = _key(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(str(error["loc"][-1]), _KEYS, n=1)
            return f"{key}: unknown key{f', did you mean {close[0]!r}?' if close else ', remove it'}"
        case "missing":
            return f"{key}: is missing, add it"
        case "union_tag_not_found" | "union_tag_invalid":
            return f"{key}.type: must be 'disk' or 's3'"
        case "model_type" | "literal_error" if key.endswith("encryption"):
            return f"{key}: must be 'none' or name a connection, as in 'connection: lifeboat_archive'"
        case _:
            return f"{key}: {error['msg'].removeprefix('Value error, ')}"


def _key(location: tuple[str | int, ...]) -> str:
    """Return the key as it stands in the file: pydantic adds the branch of a union that it tried."""
    parts = [str(part) for part in location if part not in ("Encryption", "literal['none']")]
    if len(parts) > 2 and parts[0] == "destinations":
        del parts[2]
    return ".".join(parts) or "the file"


_KEYS = sorted({field for model in _Model.__subclasses__() for field in model.model_fields})
