"""What somebody without the password can make of archives: entries moved, dropped, doubled, and added in the clear."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import NamedTuple

CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
END = struct.Struct("<4s4H2LH")


class Stored(NamedTuple):
    """An entry as it is stored: fields of its header, extra fields, and payload."""

    name: bytes
    fields: tuple[int, ...]  # from the version to the size of the content
    attributes: int
    extra: bytes
    payload: bytes


def entries_of(archive: bytes) -> dict[str, Stored]:
    """Return the entries of an archive, by name, without reading their content."""
    *_, size, start, _ = END.unpack(archive[-END.size :])
    found = {}
    position = start
    while position < start + size:
        _, _, *fields = CENTRAL.unpack_from(archive, position)
        lengths, (attributes, offset) = fields[8:11], fields[-2:]
        position += CENTRAL.size
        name = archive[position : position + lengths[0]]
        extra = archive[position + lengths[0] : position + lengths[0] + lengths[1]]
        position += sum(lengths)
        local = LOCAL.unpack_from(archive, offset)
        begin = offset + LOCAL.size + local[-2] + local[-1]
        payload = archive[begin : begin + fields[6]]
        found[name.decode()] = Stored(name, tuple(fields[:8]), attributes, extra, payload)
    return found


def clear(name: str, content: bytes) -> Stored:
    """Return an entry in the clear."""
    fields = (20, 0x800, 0, 0, 0x21, zlib.crc32(content), len(content), len(content))
    return Stored(name.encode(), fields, 0o100644 << 16, b"", content)


def archive_of(entries: Iterable[Stored]) -> bytes:
    """Return an archive of entries."""
    body, directory, count = io.BytesIO(), io.BytesIO(), 0
    for name, fields, attributes, extra, payload in entries:
        version, flags, *rest = fields
        rest[-2] = len(payload)
        offset = body.tell()
        body.write(LOCAL.pack(b"PK\3\4", version, flags & ~8, *rest, len(name), len(extra)) + name + extra + payload)
        directory.write(
            CENTRAL.pack(
                b"PK\1\2", 3 << 8 | 20, version, flags & ~8, *rest, len(name), len(extra), 0, 0, 0, attributes, offset
            )
        )
        directory.write(name + extra)
        count += 1
    records = directory.getvalue()
    end = END.pack(b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), len(records), body.tell(), 0)
    return body.getvalue() + records + end


def renamed(entry: Stored, name: str) -> Stored:
    """Return an entry under another name."""
    return entry._replace(name=name.encode())


def names_of(archive: bytes) -> list[str]:
    """Return the names of an archive's entries, as any tool sees them."""
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()
