"""Values of the settings, each with what it must be and the message where it is not."""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field

from lifeboat.decide import checks

AFTER_BACKUP = "after backup"
LINE_ENDS = "\u2028\u2029"
LONGEST_NAME = 200  # bytes; with its suffixes it must fit into the 255 of a file name


def _one_path_segment(name: str) -> str:
    """Names become a folder of every destination, so they must be exactly one segment of a path."""
    if not name or len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"must have 1 to {LONGEST_NAME} bytes in UTF-8")
    if name.startswith(".") or name != name.strip():
        raise ValueError("must not start with a dot, nor start or end with a space")
    if any(char in "/\\" or unicodedata.category(char)[0] == "C" or char in LINE_ENDS for char in name):
        raise ValueError("must not contain slashes, backslashes or control characters")
    return name


def absolute(path: Path) -> Path:
    """Refuse a path that depends on the directory in which a worker starts.

    :raises ValueError: with the fix.
    """
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path: workers start in different directories ('{path}' is relative)")
    if ".." in path.parts:
        raise ValueError(f"must not contain '..': write the directory that '{path}' resolves to")
    return path


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: a directory such as Europe
        close = difflib.get_close_matches(name, available_timezones(), n=1)
        raise ValueError(f"no such time zone{f'; did you mean {close[0]!r}?' if close else ''}") from None
    return name


def _below_the_root(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        raise ValueError(f"must be relative to the root and stay below it ('{pattern}' does not)")
    if pattern.startswith("!"):
        raise ValueError(f"must not start with '!' ('{pattern}'): exclusions belong under exclude")
    return "/".join(parts) or "**"


def _a_command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a valid command: {str(error).lower()}") from error
    if not words:
        raise ValueError("must not be empty")
    return text


def _an_expectation(text: str) -> str:
    checks.expectation(text)
    return text


def _a_query(text: str) -> str:
    query = text.strip().rstrip(";").rstrip()
    if not query or "\0" in query:
        raise ValueError("must be one query, for example SELECT count(*) FROM orders")
    return query


def _a_file_of_the_tree(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"must be the path of a file, relative to the root and below it ('{path}' is not)")
    return "/".join(parts)


def _a_schedule(text: str) -> str:
    return text if text == AFTER_BACKUP else _a_cron(text, f", or '{AFTER_BACKUP}'")


def _a_cron(text: str, other: str = "") -> str:
    """:param other: what it may be instead, for the message."""
    fields = text.split()
    if len(fields) != 5 or not all(re.fullmatch(r"[\w*/,\-#?]+", field) for field in fields):
        raise ValueError(f"must be a cron expression of five fields{other}")
    from croniter import croniter  # what Airflow asks; it has imported it where it matters

    try:
        croniter(text).get_next()  # the 30th of February stops a scheduler
    except ValueError as error:
        reason = str(error).removeprefix(f"[{text}] ")
        raise ValueError(f"this cron expression never matches a date: {reason}; fix its fields") from error
    return text


def _a_connection(text: str) -> str:
    """Refuse a value that is not an id, without repeating it: a pasted URL may contain a password."""
    if "://" in text or not re.fullmatch(r"[\w#!().:/\\-]{1,250}", text):
        raise ValueError(
            "must be the id of an Airflow connection, of letters, digits and '_'; addresses and passwords belong in"
            " the connection"
        )
    return text


def _a_pool(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,100}", text, re.ASCII):
        raise ValueError("must have 1 to 100 letters, digits, '_' and '-'")
    if text == "default_pool":
        raise ValueError("is Airflow's own pool, in which everything else runs; choose another name")
    return text


def _a_bucket(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{3,63}", text, re.ASCII):
        raise ValueError(
            "must be only a bucket's name, of 3 to 63 letters, digits, '-' and '.'; use prefix for a path below it"
        )
    return text


def _a_storage_class(text: str) -> str:
    if text in ("GLACIER", "DEEP_ARCHIVE"):
        raise ValueError(
            "must be a class with immediate access, such as GLACIER_IR, because checks and drills read archives"
        )
    if not re.fullmatch(r"[\w-]{1,64}", text, re.ASCII):
        raise ValueError("must be the name of a storage class, for example STANDARD_IA")
    return text


def _an_address(text: str) -> str:
    if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", text):
        raise ValueError("must be one address, for example ops@example.com")
    return text


def _a_day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValueError("must be an existing date, for example 2027-03-01") from error
    if type(value) is not date:  # a datetime is a date, too
        raise ValueError("must be a date, for example 2027-03-01")
    return value


Name = Annotated[str, AfterValidator(_one_path_segment)]
Schedule = Annotated[str, AfterValidator(_a_schedule)]
Cron = Annotated[str, AfterValidator(_a_cron)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]
Command = Annotated[str, AfterValidator(_a_command)]
Expectation = Annotated[str, AfterValidator(_an_expectation)]
Query = Annotated[str, AfterValidator(_a_query)]
FileOfTree = Annotated[str, AfterValidator(_a_file_of_the_tree)]
AbsolutePath = Annotated[Path, AfterValidator(absolute)]
Day = Annotated[date, BeforeValidator(_a_day)]
Days = Annotated[float, Field(gt=0, le=36_500, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Pattern = Annotated[str, AfterValidator(_below_the_root)]
ConnectionId = Annotated[str, AfterValidator(_a_connection), Field(description="id of an Airflow connection")]
PoolName = Annotated[str, AfterValidator(_a_pool)]
BucketName = Annotated[str, AfterValidator(_a_bucket)]
StorageClass = Annotated[str, AfterValidator(_a_storage_class)]
DatabasePattern = Annotated[str, Field(min_length=1)]
Address = Annotated[str, AfterValidator(_an_address)]
Label = Annotated[str, Field(min_length=1, max_length=100)]
