"""The contents of one archive, for users allowed to restore it: read on request, cached for minutes, by folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock

from lifeboat.actions import contents
from lifeboat.actions.contents import Contents, Node
from lifeboat.airflow.site import site_of
from lifeboat.errors import LifeboatError
from lifeboat.settings.config import Settings
from lifeboat.support.logs import logger
from lifeboat.text import one_line, plural, size_text
from lifeboat.ui.readings import BackgroundCall

log = logger(__name__)

KEPT = 2  # archives: the contents of one may take a hundred megabytes
KEPT_SECONDS = 300.0
FAILED_SECONDS = 5.0  # then a failure is tried again
PAGE = 200  # lines that are sent at once


@dataclass(frozen=True)
class Inside:
    """The contents of an archive, or why they are unknown."""

    contents: Contents | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Line:
    """A table, file or folder.

    :param wanted: what a restore calls it; empty where a form cannot carry it.
    """

    name: str
    wanted: str
    text: str
    is_folder: bool = False


Read = Callable[[Settings, str, str, str], Inside]


class Insides:
    """The contents of the archives that were asked for last.

    :param read: reads the archive of a key, of an application, at a destination.
    """

    def __init__(self, read: Read | None = None) -> None:
        self._read = read or read_inside
        self._calls: dict[tuple[str, str], BackgroundCall[Inside]] = {}
        self._lock = Lock()

    def of(self, settings: Settings, destination: str, application: str, key: str, patience: float) -> Inside | None:
        """Return what an archive holds; None where nobody knows within so many seconds of the first question."""
        with self._lock:
            call = self._calls.pop((destination, key), None)
            if call is None or call.subject is not settings or _is_stale(call):
                call = BackgroundCall(lambda: self._read(settings, destination, application, key), settings)
            self._calls[destination, key] = call
            for oldest in list(self._calls)[:-KEPT]:
                del self._calls[oldest]
        return call.result(patience)


def _is_stale(call: BackgroundCall[Inside]) -> bool:
    found = call.result(0)
    return call.age > (KEPT_SECONDS if found and found.contents else FAILED_SECONDS)


def read_inside(settings: Settings, destination: str, application: str, key: str) -> Inside:
    """Read what an archive holds."""
    try:
        place = site_of(settings).destination(destination)
        return Inside(contents.read(site_of(settings), place, application, key))
    except LifeboatError as error:
        return Inside(trouble=str(error))
    except Exception as error:
        log.exception("%s at %s cannot be read.", key, destination)
        return Inside(trouble=f"It cannot be read: {type(error).__name__}; the API server's log tells more.")


def table_lines(database: contents.HeldDatabase) -> list[Line]:
    """Return the tables of a database."""
    return [_table_line(name, rows, is_bare=name in database.structure_only) for name, rows in database.tables or ()]


def _table_line(name: str, rows: int, *, is_bare: bool) -> Line:
    if is_bare:  # of which a restore by itself is refused
        return Line(_shown(name), "", "structure only")
    return Line(_shown(name), _wanted(name), "1 row" if rows == 1 else f"{rows:,} rows")


def file_lines(nodes: Iterable[Node]) -> list[Line]:
    """Return what is in a folder."""
    return [_file_line(*node) for node in nodes]


def _file_line(path: str, kind: str, files: int, size: int) -> Line:
    is_folder = kind == "directory"
    text = f"{plural(files, 'file')}, {size_text(size)}" if is_folder else size_text(size)
    return Line(_shown(path.rpartition("/")[2]), _wanted(path), text, is_folder)


def _shown(name: str) -> str:
    return one_line(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _wanted(name: str) -> str:
    """Return a name that passes through a form unchanged; '' if it would not."""
    return name if _shown(name) == name else ""
