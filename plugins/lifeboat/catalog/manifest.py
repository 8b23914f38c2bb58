"""Manifests: lists of contents inside archives, where nobody can change them without the password."""

from __future__ import annotations

import contextlib
import platform
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, PlainSerializer, SkipValidation
from typing_extensions import TypedDict

from lifeboat import __version__
from lifeboat.catalog.archives import OwnKind, StoredKind, archive_key, log_key
from lifeboat.catalog.logs import Chain, Covers, LogPiece
from lifeboat.databases import Dump, EngineName
from lifeboat.support.formats import Format, Moment, Text
from lifeboat.support.stored import Count, Stored

FORMAT = 1
_OF_FILE = {"size", "sha256", "type", "mode", "mtime_ns"}
_PACKED = struct.Struct("<Qq32s")


class EntryFacts(TypedDict):
    """Facts of one entry; those of dumps end with the digest.

    :param size: of the content in bytes.
    :param sha256: of the content, in hex.
    :param type: ``file``, ``directory`` or ``link``.
    :param mode: in octal.
    :param changed: why a file is kept that changed while it was read.
    :param path: of a file that is not stored under its own name.
    """

    size: int
    sha256: str
    type: NotRequired[str]
    mode: NotRequired[str]
    mtime_ns: NotRequired[int]
    target: NotRequired[str]
    changed: NotRequired[str]
    path: NotRequired[str]


class Entries(Mapping[str, EntryFacts]):
    """Facts of the entries in a manifest, by name.

    :param entries: as JSON, the facts of most of them packed.
    :raises ValueError: it is something else.
    """

    def __init__(self, entries: object) -> None:
        if not isinstance(entries, dict) or not all(isinstance(facts, dict | bytes) for facts in entries.values()):
            raise ValueError("no entries")
        self._entries: dict[str, EntryFacts | bytes] = entries

    def __getitem__(self, name: str) -> EntryFacts:
        facts = self._entries[name]
        return _unpacked(facts) if isinstance(facts, bytes) else facts

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def packed(facts: dict[str, Any]) -> dict[str, Any] | bytes:
    """Return the facts of a file in a quarter of the memory, and any others as they are: a hook for JSON."""
    if facts.keys() == _OF_FILE:
        with contextlib.suppress(TypeError, ValueError, struct.error):  # wrong facts are found when they are used
            found = _PACKED.pack(facts["size"], facts["mtime_ns"], bytes.fromhex(facts["sha256"]))
            found += f"{facts['mode']} {facts['type']}".encode()
            if _unpacked(found) == facts:
                return found
    return facts


def _unpacked(facts: bytes) -> EntryFacts:
    size, modified_ns, sha256 = _PACKED.unpack_from(facts)
    mode, _, type_ = facts[_PACKED.size :].decode().partition(" ")
    return {"size": size, "sha256": sha256.hex(), "type": type_, "mode": mode, "mtime_ns": modified_ns}


@dataclass
class CapturedFiles:
    """The captured files of an application.

    :param count: files, directories and links in the archive.
    :param bytes: of their content.
    :param changed: files that changed while they were read, twice; they are kept as they were read.
    :param missing: files that could not be read.
    :param special: sockets, FIFOs and devices, which have no content to keep; `skipped` counts each kind.
    :param problems: reason by path, of those that changed or are missing.
    :param links_out: paths of the links to what is outside of the root, which is not in the archive.
    """

    root: Text
    count: int = 0
    bytes: int = 0
    changed: int = 0
    missing: int = 0
    special: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    problems: dict[Text, Text] = field(default_factory=dict)
    links_out: list[Text] = field(default_factory=list)


@dataclass(frozen=True)
class Listing(Format):
    """The databases of an application whose settings name a whole server, when a backup began.

    :param databases: the kind of each, by name: those that the settings name, and those that the server had.
    :param earlier: of databases that the archive lacks and another one holds, the key of the last that does.
    :param new: databases that no archive before held.
    :param after: key of the archive before; empty where there was none.
    """

    databases: dict[Text, EngineName]
    earlier: dict[Text, Text] = field(default_factory=dict)
    new: tuple[Text, ...] = ()
    after: Text = ""


class ManifestHead(Stored):
    """The facts of an archive, without those of its entries.

    :param tools: versions of what made it, by name.
    :param files: of the application; None where the archive has only databases.
    :param warnings: what a reader should know first.
    :param listing: which databases there were; only archives of whole servers have one.
    :param logs: pieces of binary logs, of each server in the order in which it wrote them.
    :param chain: only archives of logs have one, and `covers`.
    """

    format: Count
    application: Text
    kind: StoredKind
    captured_at: Moment
    note: Text
    tools: dict[str, str]
    databases: tuple[Dump, ...]
    files: CapturedFiles | None = None
    warnings: tuple[Text, ...]
    listing: Listing | None = None
    logs: tuple[LogPiece, ...] = ()
    chain: Chain | None = None
    covers: Covers | None = None

    @property
    def key(self) -> str:
        """The key of the archive."""
        if self.chain:
            return log_key(self.application, self.captured_at, self.chain.number)
        return archive_key(self.application, self.kind, self.captured_at)


class Manifest(ManifestHead):
    """All facts of an archive.

    :param entries: facts by name. There may be millions, so each is looked at when it is read.
    :param hmac_sha256: signature of the text before it; archives without a password, and older ones, have none.
    """

    entries: Annotated[Mapping[str, EntryFacts], SkipValidation, BeforeValidator(Entries), PlainSerializer(dict)]
    hmac_sha256: str | None = None


def manifest_of(
    application: str,
    kind: OwnKind,
    note: str,
    captured_at: datetime,
    dumps: Sequence[Dump],
    files: CapturedFiles | None,
    warnings: Sequence[str],
    listing: Listing | None = None,
) -> ManifestHead:
    """Return the manifest that goes inside an archive, but for its entries."""
    optional: dict[str, Any] = {"files": files, "listing": listing}
    return ManifestHead(
        format=FORMAT,
        application=application,
        kind=kind,
        captured_at=captured_at,
        note=note,
        tools=_tools(),
        databases=tuple(dumps),
        **{name: fact for name, fact in optional.items() if fact},
        warnings=(*(notice for dump in dumps for notice in dump.notices), *warnings),
    )


def manifest_of_logs(
    application: str, captured_at: datetime, logs: Sequence[LogPiece], chain: Chain, covers: Covers
) -> ManifestHead:
    """Return the manifest that goes inside an archive of logs, but for its entries."""
    return ManifestHead(
        format=FORMAT,
        application=application,
        kind="log",
        captured_at=captured_at,
        note="",
        tools=_tools(),
        databases=(),
        warnings=(),
        logs=tuple(logs),
        chain=chain,
        covers=covers,
    )


def _tools() -> dict[str, str]:
    from importlib.metadata import version

    own = {"lifeboat": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in ("isal", "pyzipper")}
