"""Facts of an archive about the files in it: from its manifest if it has one, else from the ZIP's fields."""

from __future__ import annotations

import re
import stat
import struct
import time
from dataclasses import dataclass
from typing import Any, Literal

from lifeboat.archive import DUMPS, MANIFEST_NAME
from lifeboat.archive.entry import UNIX_TIME
from lifeboat.errors import ArchiveError

Kind = Literal["file", "directory", "link", "special"]

KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
FOREIGN_MODES = 0o755  # of other tools only these bits: PHP's gives everybody the right to write
FILE_MODE, FOLDER_MODE = 0o644, 0o755  # where nothing says more
LATEST_NS = (1 << 62) * 10**9

_MODE = re.compile("[0-7]{4}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link in an archive.

    :param name: under which the archive keeps it.
    :param path: what it is, without a slash at the end; bytes that are not UTF-8 are surrogates.
    :param size: of the content in bytes.
    :param stored: what that takes in the archive, in bytes.
    :param mode: permissions, setuid, setgid and sticky bit.
    :param modified_ns: nanoseconds since 1970, UTC.
    :param sha256: of the content, in hex; empty where there is no manifest.
    """

    name: str
    path: str
    kind: Kind
    size: int
    stored: int
    mode: int
    modified_ns: int
    sha256: str = ""


def is_file_name(name: str) -> bool:
    """Return whether an entry of that name is one of the application's files, neither a dump nor the manifest."""
    return name != MANIFEST_NAME and not name.startswith(f"{DUMPS}/")


def entry_of(info: Any, facts: Any) -> Entry:
    """Return what is known of an entry.

    :param info: its header, as pyzipper reads it.
    :param facts: what the manifest says of it; None where there is no manifest.
    :raises ArchiveError: the manifest contradicts the header, or says nothing of use.
    """
    name, kind = info.filename, kind_of(info)
    path = name.removesuffix("/")
    if facts is None:
        mode = (info.external_attr >> 16) & FOREIGN_MODES or (FOLDER_MODE if kind == "directory" else FILE_MODE)
        return Entry(name, path, kind, info.file_size, info.compress_size, mode, _modified_ns(info))
    match facts:
        case {
            "type": str(type_),
            "size": int(size),
            "mode": str(mode),
            "mtime_ns": int(time_ns),
            "sha256": str(sha256),
        }:
            if (type_, size) != (kind, info.file_size):
                raise ArchiveError(f"{name!r} does not match its manifest.")
            if _MODE.fullmatch(mode) and abs(time_ns) <= LATEST_NS:
                path = str(facts.get("path", path))
                return Entry(name, path, kind, size, info.compress_size, int(mode, 8), time_ns, sha256)
    raise ArchiveError(f"the manifest's description of {name!r} is malformed.")


def kind_of(info: Any) -> Kind:
    """Return what an entry is, as its header says."""
    if info.filename.endswith("/"):
        return "directory"
    file_type = stat.S_IFMT(info.external_attr >> 16)
    return KINDS.get(file_type, "special") if file_type else "file"


def _modified_ns(info: Any) -> int:
    """Return the time that an entry's header tells: in UTC where it has such a field, else as clocks here go."""
    extra: bytes = info.extra
    while len(extra) >= 4:
        field, size = struct.unpack_from("<HH", extra)
        if field == UNIX_TIME and size >= 5 and extra[4] & 1:
            seconds: int = struct.unpack_from("<i", extra, 5)[0]
            return seconds * 10**9
        extra = extra[4 + size :]
    return int(time.mktime((*info.date_time, 0, 0, -1))) * 10**9
