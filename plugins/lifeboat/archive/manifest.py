"""The manifest as it is written into an archive: one JSON object, which may list millions of entries."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lifeboat.archive import CHUNK
from lifeboat.archive.signature import Signer
from lifeboat.catalog.manifest import EntryFacts, ManifestHead


class EntryList:
    """Contents of an archive, by name; kept in a file, because a million entries would not fit into memory.

    :param folder: for the file, which has no name.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by the block
        self.count = 0

    def __enter__(self) -> EntryList:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, facts: EntryFacts) -> None:
        """Add an entry: its name and what the manifest says of it."""
        # In ASCII, which can escape the bytes of a name that are not UTF-8.
        line = f"{',' if self.count else ''}\n{json.dumps(name)}: {json.dumps(facts)}"
        self._file.write(line.encode())
        self.count += 1

    @property
    def size(self) -> int:
        """Bytes of the entries as JSON."""
        return self._file.tell()

    def complete(self, manifest: ManifestHead, password: bytes | None) -> Iterator[bytes]:
        """Yield the manifest with these entries as JSON, in pieces of at most `CHUNK` bytes.

        :param password: signs it; without one nothing does.
        """
        if password is None:
            yield from self._text(manifest)
            yield b"\n}"
            return
        signer = Signer(password)
        for piece in self._text(manifest):
            signer.update(piece)
            yield piece
        yield signer.tail()

    def _text(self, manifest: ManifestHead) -> Iterator[bytes]:
        """Yield the manifest but for its last line."""
        head = json.dumps(manifest.to_json(), indent=1).removesuffix("\n}").encode() + b',\n "entries": {'
        for start in range(0, len(head), CHUNK):
            yield head[start : start + CHUNK]
        end = self._file.tell()
        self._file.seek(0)
        while piece := self._file.read(CHUNK):
            yield piece
        self._file.seek(end)
        yield b"\n }"
