"""Events as SQL, for dump clients that cannot write them: if a text holds ``;;``, some search a delimiter endlessly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lifeboat.databases.mysql.digest import TRAILER
from lifeboat.databases.mysql.statements import delimiter_beyond
from lifeboat.databases.sql.quoting import backquoted_bytes

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Session

HELD_BACK = 200  # bytes at the end of a dump, more than its last line has
# What an event keeps of the session that made it, and the variables in which clients save that meanwhile.
_SAVED = (
    (b"character_set_client", b"@saved_cs_client"),
    (b"character_set_results", b"@saved_cs_results"),
    (b"collation_connection", b"@saved_col_connection"),
    (b"sql_mode", b"@saved_sql_mode"),
    (b"time_zone", b"@saved_time_zone"),
)


def written(session: Session, schema: str, names: Iterable[str]) -> bytes:
    """Return the statements that make events of a schema, as a dump client would write them."""
    _, collation = session.character_set(schema)
    session.execute(b"SET character_set_results = binary")  # their text is in the character set of who made them
    try:
        shown = [b"SHOW CREATE EVENT %b.%b" % (backquoted_bytes(schema), backquoted_bytes(name)) for name in names]
        events = [session.query(sql)[0] for sql in shown]
    finally:
        session.execute(b"SET character_set_results = utf8mb4")
    head = [b"\n--\n-- Events of database %b, written by Lifeboat\n--" % schema.encode("utf-8", "replace")]
    saved = [_set(name, b"@@" + variable) for variable, name in _SAVED]
    restored = [_set(variable, name) for variable, name in _SAVED]
    made = [line for event in events for line in _event(schema, collation.encode(), *map(_bytes, event))]
    return b"\n".join([*head, *saved, *made, *restored, b"\n"])


def before_trailer(chunks: Iterable[bytes], text: bytes) -> Iterator[bytes]:
    """Yield a dump in chunks, with some text before the line by which its client says that it is complete."""
    held = b""
    for chunk in chunks:
        held += chunk
        if len(held) > HELD_BACK:
            yield held[:-HELD_BACK]
            held = held[-HELD_BACK:]
    before, trailer, after = held.rpartition(TRAILER)
    yield before + (text if trailer else b"") + trailer + after


def _event(
    schema: str,
    collation: bytes,
    _name: bytes,
    sql_mode: bytes,
    time_zone: bytes,
    sql: bytes,
    character_set: bytes,
    connection: bytes,
    of_schema: bytes,
) -> Iterator[bytes]:
    """Yield the lines that make an event, of what SHOW CREATE EVENT returns."""
    values = (character_set, character_set, connection, b"'%b'" % sql_mode, b"'%b'" % time_zone)
    yield from (_set(variable, value) for (variable, _), value in zip(_SAVED, values, strict=True))
    if of_schema != collation:
        yield _collate(schema, of_schema)
    delimiter = delimiter_beyond(sql)
    yield b"DELIMITER %b\n%b\n%b\nDELIMITER ;" % (delimiter, sql, delimiter)
    if of_schema != collation:
        yield _collate(schema, collation)


def _set(variable: bytes, value: bytes) -> bytes:
    return b"SET %b = %b;" % (variable, value)


def _collate(schema: str, collation: bytes) -> bytes:
    character_set = collation.partition(b"_")[0]
    return b"ALTER DATABASE %b CHARACTER SET %b COLLATE %b;" % (backquoted_bytes(schema), character_set, collation)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
