"""Staging: scratch space that the tasks of one run share, in a directory or in a bucket.

A staged file counts once its facts are next to it; they are written last, and withdrawn before it is written again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, TypeVar
from urllib.parse import quote, unquote

from lifeboat.errors import StagingError, StorageError
from lifeboat.storage.bucket import Bucket, Object
from lifeboat.storage.upload import Upload, put
from lifeboat.support.directories import NOT_A_DIRECTORY
from lifeboat.support.formats import Format
from lifeboat.support.os_errors import hint_of
from lifeboat.support.streams import FileOutput, Output, Source

FACTS = ".json"
OF_STAGING = {  # hints
    errno.ENOSPC: "Free some space there; a run needs the compressed dumps plus the archive.",
    errno.EEXIST: NOT_A_DIRECTORY,
    errno.ENOTDIR: NOT_A_DIRECTORY,
}

F = TypeVar("F", bound=Format)


class Writing(Output, Protocol):
    """A file that is being staged."""

    facts: Format | None
    """Facts to write next to it once it is complete; set before the block ends."""


class Staged(Protocol):
    """A file in staging: a dump, or the archive."""

    def writing(self) -> AbstractContextManager[Writing]:
        """Write it again; when the block fails, or sets no facts, nothing is staged.

        :raises StagingError: there is no space, or no right to write there.
        """

    def facts(self, kind: type[F]) -> F:
        """Return what was written next to it.

        :raises StagingError: the file was never finished, or is gone, or the facts are of another format.
        """

    def source(self) -> Source:
        """Return it as something to read."""


class Staging(ABC):
    """A folder of staging, for one application in one run, or above that."""

    opened_on = ""
    """Name of the machine that opened it, where that is known."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """A directory of this machine, for small files without a name."""

    @abstractmethod
    def below(self, name: str) -> Self:
        """Return the folder of a name, which may be any text."""

    @abstractmethod
    def children(self) -> list[str]:
        """Return the names of the folders in it."""

    @abstractmethod
    def create(self) -> None:
        """Make it, for this user only: dumps are not encrypted here.

        :raises StagingError: it cannot be made.
        """

    @abstractmethod
    def require(self) -> None:
        """Make sure that this machine sees it before work is put into it.

        :raises StagingError: it does not.
        """

    @abstractmethod
    def remove(self) -> None:
        """Remove it, and the folder of its run when that is empty then; a writer that is not dead yet does no harm."""

    @abstractmethod
    def file(self, name: str) -> Staged:
        """Return the file of a name."""

    def of(self, pipeline: str, run: str, application: str, opened_on: str = "") -> Self:
        """Return the staging of an application in a run of a pipeline.

        :param opened_on: name of the machine that opened it.
        """
        staging = reduce(lambda folder, name: folder.below(name), (pipeline, run, application), self)
        staging.opened_on = opened_on
        return staging

    def dump(self, database: str) -> Staged:
        """Return where the dump of a database is staged."""
        return self.file(f"{_segment(database)}.sql.gz")

    @property
    def archive(self) -> Staged:
        """The place where the archive is staged."""
        return self.file("archive.zip")

    def _missing(self, what: object) -> StagingError:
        return StagingError(
            f"{what} is not in staging: an earlier step did not finish, or it was cleaned up.",
            "Clear the run's first task.",
        )


def machine() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def sweep(root: Staging, pipeline: str, is_over: Callable[[str], bool]) -> list[str]:
    """Remove what earlier runs of a pipeline left.

    :param is_over: whether the run of that id has ended.
    :returns: the ids of the runs whose staging was removed.
    """
    folder = root.below(pipeline)
    over = [run for run in folder.children() if is_over(run)]
    for run in over:
        folder.below(run).remove()
    return over


class StagingDirectory(Staging):
    """Staging in a directory, which all workers share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path:
        return self.path

    def below(self, name: str) -> Self:
        return type(self)(self.path / _segment(name))

    def children(self) -> list[str]:
        return [unquote(path.name) for path in self.path.iterdir() if path.is_dir()] if self.path.is_dir() else []

    def create(self) -> None:
        with translated(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def require(self) -> None:
        if not self.path.is_dir():
            raise self._missing(self.path)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def file(self, name: str) -> StagedFile:
        return StagedFile(self.path / name, self._missing)

    def _missing(self, what: object) -> StagingError:
        here = machine()
        if self.opened_on in ("", here):
            return super()._missing(what)
        return StagingError(
            f"{what} is not on {here}, where this step runs: staging was opened on {self.opened_on}.",
            "Let all workers share that directory, or set staging to s3://CONNECTION@BUCKET/PREFIX.",
        )


class StagedFile:
    """A staged file in a directory.

    :param missing: makes the error that says that it is not there.
    """

    def __init__(self, path: Path, missing: Callable[[object], StagingError]) -> None:
        self.path = path
        self._facts = path.with_name(path.name + FACTS)
        self._missing = missing

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        with translated(self.path):
            self._facts.unlink(missing_ok=True)
            with self.path.open("wb") as file:
                writing = _FileWriting(file)
                yield writing
            if writing.facts is not None:
                partial = self._facts.with_suffix(".partial")
                partial.write_text(json.dumps(writing.facts.to_json()), encoding="utf-8")
                partial.rename(self._facts)

    def facts(self, kind: type[F]) -> F:
        try:
            return kind.from_json(json.loads(self._facts.read_bytes()))
        except (FileNotFoundError, ValueError) as error:
            raise self._missing(self.path) from error

    def source(self) -> Path:
        return self.path


class _FileWriting(FileOutput):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.facts: Format | None = None


class StagingBucket(Staging):
    """Staging in a bucket: workers share nothing else.

    :param prefix: of the folder's keys, empty or with a slash at its end.
    """

    def __init__(self, bucket: Bucket, prefix: str = "") -> None:
        self._bucket, self._prefix = bucket, prefix

    def __str__(self) -> str:
        return f"s3://{self._bucket.bucket}/{self._bucket.prefix}{self._prefix}"

    @property
    def folder(self) -> Path:
        return Path(tempfile.gettempdir())

    def below(self, name: str) -> Self:
        return type(self)(self._bucket, f"{self._prefix}{_segment(name)}/")

    def children(self) -> list[str]:
        with _translated_storage():
            objects = (*self._bucket.list(self._prefix), *self._bucket.uploads(self._prefix))
        names = (stored.key.removeprefix(self._prefix).partition("/") for stored in objects)
        return list(dict.fromkeys(unquote(name) for name, slash, _ in names if slash))

    def create(self) -> None:
        """Do nothing: a bucket has no folders."""

    def require(self) -> None:
        """Do nothing: what the bucket refuses, it says when it is asked."""

    def remove(self) -> None:
        with _translated_storage():
            for upload in self._bucket.uploads(self._prefix):
                self._bucket.abort(upload.key)
            for stored in self._bucket.list(self._prefix):
                self._bucket.delete(stored.key)

    def file(self, name: str) -> StagedObject:
        return StagedObject(self._bucket, self._prefix + name, self._missing)


class StagedObject:
    """A staged file in a bucket.

    :param missing: makes the error that says that it is not there.
    """

    def __init__(self, bucket: Bucket, key: str, missing: Callable[[object], StagingError]) -> None:
        self._bucket, self._key = bucket, key
        self._missing = missing

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        with _translated_storage():
            self._bucket.delete(self._key + FACTS)
            self._bucket.abort(self._key)  # also what a try sends that only seems to be dead
            with _ObjectWriting(self._bucket, self._key, only_new=False) as upload:
                yield upload
                upload.complete()
            if upload.facts is not None:
                beside = _Beside(upload.facts.to_json(), upload.composite)
                put(self._bucket, self._key + FACTS, json.dumps(beside.to_json()).encode(), only_new=False)

    def facts(self, kind: type[F]) -> F:
        beside = self._beside()
        with self._readable():
            return kind.from_json(beside.facts)

    def source(self) -> Object:
        return Object(self._bucket, self._key, self._beside().composite)

    def _beside(self) -> _Beside:
        with _translated_storage(), self._readable():
            if self._bucket.find(self._key + FACTS) is None:
                raise ValueError("there are no facts")
            with self._bucket.open(self._key + FACTS) as file:
                return _Beside.from_json(json.loads(file.read()))

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise self._missing(f"{self._key} in {self._bucket}") from error


@dataclass(frozen=True)
class _Beside(Format):
    """The text next to a staged object."""

    facts: Any
    composite: str


class _ObjectWriting(Upload):
    facts: Format | None = None


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the file system says about staging into a sentence."""
    try:
        yield
    except OSError as error:
        said = f"Cannot write to staging {path}: {error.strerror or error}."
        raise StagingError(said, hint_of(error, OF_STAGING)) from error


@contextlib.contextmanager
def _translated_storage() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise StagingError(error.message, error.hint) from error


def _segment(name: str) -> str:
    """Quote a name to one segment of a path that is neither empty, hidden nor a way out.

    Letters of any script stay as they are: quoted, they would be three times as long.
    """
    return re.sub(r"^\.|[^\w .@+=,-]", lambda char: quote(char[0], safe="").replace(".", "%2E"), name)
