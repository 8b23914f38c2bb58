"""The grammar of what dump clients write for one schema: a statement is understood to its end, or it is not run.

A statement becomes tokens, and tokens become a *shape*: words in capitals, and ``name``, ``quoted``, ``string`` or
``number`` in place of what is one. A statement is allowed if the expression of its kind matches its whole shape. Making
code (a view, trigger, routine, event) does not run it, so of code the head must match.

What a server reads depends on its version where a comment says so, ``/*!80016 ... */``: shapes include what such
comments hold, and `is_ambiguous` finds those that hide where they end. It also depends on sql_mode and on the character
set of the connection, which a dump changes as it goes: that is a `Lexis`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from lifeboat.databases.mysql.lexis import Lexis, Token, is_ambiguous, readings, tokens

_NAME = r"(?:name|quoted|(?!(?:AS|ON|DO|SELECT)\b)[A-Z0-9_$\ufffd]+)"
_NAMES = rf"{_NAME}(?: , {_NAME})*"
_ACCOUNT = rf"(?:CURRENT_USER(?: \( \))?|(?:{_NAME}|string)(?: @ (?:{_NAME}|string))?)"
_CREATE = (
    r"CREATE (?:OR REPLACE )?(?:ALGORITHM = (?:UNDEFINED|MERGE|TEMPTABLE) )?"
    rf"(?:DEFINER = {_ACCOUNT} )?(?:SQL SECURITY (?:DEFINER|INVOKER) )?"
)
_UNLESS_THERE = r"(?:IF NOT EXISTS )?"
_INTEGER = r"(?:- )?number"
_WORD = r"[A-Z0-9_]+"
_END = r"(?= |\Z)"  # of a token

# What a session may set: how text and values are read, and which checks wait.
_VARIABLE = (
    r"(?:CHARACTER_SET_(?:CLIENT|RESULTS|CONNECTION)|COLLATION_CONNECTION|TIME_ZONE|SQL_MODE|SQL_NOTES|NOTE_VERBOSITY"
    r"|UNIQUE_CHECKS|FOREIGN_KEY_CHECKS|CHECK_CONSTRAINT_CHECKS|SYSTEM_VERSIONING_INSERT_HISTORY"
    r"|DEFAULT_STORAGE_ENGINE|EXPLICIT_DEFAULTS_FOR_TIMESTAMP|INNODB_STRICT_MODE)"
)
_SYSTEM = r"@ @ (?:(?:SESSION|LOCAL) \. )?"
_VALUE = rf"(?:string|{_INTEGER}|ON|OFF|DEFAULT|@ {_WORD}|{_SYSTEM}{_WORD}|{_WORD})"
_NAMES_ARE = rf"NAMES (?:{_WORD}|string)(?: COLLATE (?:{_WORD}|string))?"
_ASSIGNMENT = rf"(?:{_NAMES_ARE}|(?:@ {_WORD}|(?:{_SYSTEM})?{_VARIABLE}) = {_VALUE})"

_SCHEDULE = (
    rf"(?:AT string|EVERY (?:{_INTEGER}|string) {_WORD}(?: STARTS string)?(?: ENDS string)?)"
    r"(?: ON COMPLETION (?:NOT )?PRESERVE)?"
)
_STATUS = r"(?:ENABLE|DISABLE(?: ON (?:SLAVE|REPLICA))?)"

# The whole of a statement.
_WHOLE: Mapping[str, str] = {
    "view placeholder": rf"DROP (?:TABLE|VIEW) IF EXISTS {_NAME}"
    rf"|CREATE VIEW {_NAME} AS SELECT (?:number|NULL) AS {_NAME}(?: , (?:number|NULL) AS {_NAME})*"
    rf"|CREATE TABLE {_NAME} \( {_NAME} {_WORD}(?: NOT NULL)?(?: , {_NAME} {_WORD}(?: NOT NULL)?)* \) ENGINE = MYISAM",
    "sequence": rf"CREATE (?:OR REPLACE )?SEQUENCE {_UNLESS_THERE}{_NAME}(?: AS {_WORD}(?: UNSIGNED)?)?"
    rf"(?: (?:START(?: WITH)?|INCREMENT(?: BY)?|MINVALUE|MAXVALUE|CACHE)(?: =)? {_INTEGER}"
    r"| NOCACHE| CYCLE| NOCYCLE| NOMINVALUE| NOMAXVALUE| (?:ENGINE|COMMENT|CHARSET|COLLATE) = (?:string|[A-Z0-9_]+))*",
    "sequence value": rf"(?:DO|SELECT) SETVAL \( {_NAME} (?:, {_INTEGER} ?)+\)",
    "histogram": rf"ANALYZE TABLE {_NAME} UPDATE HISTOGRAM ON {_NAMES}(?: WITH number BUCKETS)?"
    r"(?: (?:AUTO|MANUAL) UPDATE)?(?: USING DATA string)?",
    "schema collation": rf"ALTER DATABASE {_NAME} CHARACTER SET {_WORD} COLLATE {_WORD}",
    "setting": rf"SET {_ASSIGNMENT}(?: , {_ASSIGNMENT})*",
}
# The head of code, up to what runs later.
_HEAD: Mapping[str, str] = {
    "view": rf"{_CREATE}(?:JSON RELATIONAL DUALITY )?VIEW {_UNLESS_THERE}{_NAME} (?:\( {_NAMES} \) )?"
    rf"AS (?:SELECT|WITH|VALUES|TABLE|\(){_END}",
    "trigger": rf"{_CREATE}TRIGGER {_UNLESS_THERE}{_NAME} (?:BEFORE|AFTER) "
    rf"(?:INSERT|DELETE|UPDATE(?: OF {_NAMES})?)(?: OR (?:INSERT|DELETE|UPDATE(?: OF {_NAMES})?))* ON {_NAME}"
    rf" FOR{_END}",
    "event": rf"{_CREATE}EVENT {_UNLESS_THERE}{_NAME} ON SCHEDULE {_SCHEDULE}(?: {_STATUS})?(?: COMMENT string)?"
    rf" DO{_END}",
    "procedure": rf"{_CREATE}PROCEDURE {_UNLESS_THERE}{_NAME} (?!\.)",
    "function": rf"{_CREATE}(?:AGGREGATE )?FUNCTION {_UNLESS_THERE}{_NAME} (?:\(|RETURN){_END}",
    "library": rf"{_CREATE}LIBRARY {_UNLESS_THERE}{_NAME} (?!\.)",
    "package": rf"{_CREATE}PACKAGE {_UNLESS_THERE}{_NAME} (?!\.)",
    "package body": rf"{_CREATE}PACKAGE BODY {_UNLESS_THERE}{_NAME} (?!\.)",
}
_WHOLES = {kind: re.compile(shape) for kind, shape in _WHOLE.items()}
_HEADS = {kind: re.compile(shape) for kind, shape in _HEAD.items()}
# The word up to which the head of a kind is what decides what is made.
_DECIDED = {kind: (kind.split()[-1].upper(),) for kind in _HEAD} | {"event": ("COMMENT", "DO")}
HEAD_TOKENS = 10_000  # a view, or a trigger, names up to 4096 columns with a comma behind each

# What a table keeps itself. The other engines reach other servers, other files, or other tables.
ENGINES = frozenset(
    (
        "ARCHIVE",
        "ARIA",
        "BLACKHOLE",
        "COLUMNSTORE",
        "CSV",
        "HEAP",
        "INNODB",
        "MEMORY",
        "MYISAM",
        "NDB",
        "ROCKSDB",
        "TOKUDB",
    )
)
MERGING = frozenset(("MERGE", "MRG_MYISAM"))  # they show the rows of tables that their UNION names
_TABLE = re.compile(rf"CREATE (?:OR REPLACE )?TABLE {_UNLESS_THERE}{_NAME} \( ")
_UNION = r"UNION = \( name(?: , name)* \)"  # of tables of the same schema
_OPTION = (
    r"(?:(?:DEFAULT )?(?:CHARSET|CHARACTER SET|COLLATE)(?: =)? (?:[A-Z0-9_]+|string)"
    r"|(?:ENGINE|TYPE) = (?P<engine>[A-Z_]+)"
    r"|(?:AUTO_INCREMENT|AUTOEXTEND_SIZE|AVG_ROW_LENGTH|CHECKSUM|COMMENT|COMPRESSION|DELAY_KEY_WRITE|ENCRYPTION"
    r"|(?:SECONDARY_)?ENGINE_ATTRIBUTE|KEY_BLOCK_SIZE|MAX_ROWS|MIN_ROWS|PACK_KEYS|PAGE_CHECKSUM|ROW_FORMAT|SEQUENCE"
    r"|STATS_AUTO_RECALC|STATS_PERSISTENT|STATS_SAMPLE_PAGES|TABLE_CHECKSUM|TRANSACTIONAL|WITH_ROWID_ORDER)"
    r"(?: =)? (?:[A-Z0-9_]+|string|number)"
    r"|(?:name|quoted) = (?:[A-Z0-9_]+|string|number)"  # an engine's own, as MariaDB prints it
    r"|TABLESPACE name(?: STORAGE (?:DISK|MEMORY))?|STORAGE (?:DISK|MEMORY)"
    rf"|WITH SYSTEM VERSIONING|INSERT_METHOD = (?:NO|FIRST|LAST)|{_UNION})"
)
_OPTIONS = re.compile(rf"(?>{_OPTION}(?: ,)?(?: |$))*+".replace("(?P<engine>", "("))
_ENGINE = re.compile(r"(?<!\S)(?:ENGINE|TYPE)(?= )(?: =)?(?: (\S+))?")
# Inside a definition: what would read or write elsewhere. Expressions of columns are free otherwise.
_BEYOND = re.compile(r"(?<!\S)(?:SELECT|TABLE|UNION|INTO|(?:(?:DATA|INDEX) )?DIRECTORY|CONNECTION)(?!\S)")
_PARENT = re.compile(rf"REFERENCES {_NAME} \. {_NAME}")
_PARTITIONS_BEYOND = re.compile(r"(?<!\S)(?:AS|LIKE|IGNORE|REPLACE|WITH|VALUES ROW)(?!\S)")


def refusal(kind: str, sql: bytes, lexis: Lexis) -> str:
    """Say what is wrong with a statement; '' if it is one that dump clients write for one schema.

    :param kind: of the statement, as `mysql_statements` recognised it.
    """
    if lexis.may_split(sql):
        return f"bytes that are not characters of the character set {lexis.character_set}"
    if kind in _HEADS:
        return _head_refusal(kind, sql, lexis)
    if b"\\" in sql and kind != "setting" and (lexis.ansi_quotes or not lexis.backslash_escapes):
        return "a backslash where sql_mode gives it another meaning"
    if kind == "table":
        return _table_refusal(sql, lexis)
    found = list(tokens(sql, lexis))
    if not _WHOLES[kind].fullmatch(shape_of(found)):
        return "more than dump clients write there"
    return _VERSIONS if any(token.only for token in found) and not _is_whole_or_not_read(sql, found, lexis) else ""


_VERSIONS = "a comment that makes the statement depend on the server's version"


def _is_whole_or_not_read(sql: bytes, found: Sequence[Token], lexis: Lexis) -> bool:
    return len({token.only for token in found}) == 1 and not is_ambiguous(sql, lexis)


def _head_refusal(kind: str, sql: bytes, lexis: Lexis) -> str:
    head = list(itertools.islice(tokens(sql, lexis), HEAD_TOKENS))
    matched = _HEADS[kind].match(shape_of(head))
    if not matched:
        return "a beginning that no dump client writes"
    # With the token behind it, which may be what it must not be.
    read_by_some = any(token.only for token in head[: len(matched[0].split()) + 1])
    if read_by_some and not _is_whole_or_not_read(sql, list(tokens(sql, lexis)), lexis):
        return _VERSIONS
    # What decides what is made reads alike in every sql_mode.
    decided = next(token.end for token in head if token.shape in _DECIDED[kind])
    return "a backslash in its beginning" if b"\\" in sql[:decided] else ""


def without_own_schema(sql: bytes, schema: bytes, lexis: Lexis) -> bytes:
    """Return a table's definition without the name of its schema before sequences, which MariaDB puts there.

    :param schema: as it is quoted.
    """
    found = list(tokens(sql, lexis))
    for function, opened, own, dot in reversed(list(zip(found, found[1:], found[2:], found[3:], strict=False))):
        called = function.shape in ("NEXTVAL", "LASTVAL", "SETVAL") and opened.shape == "("
        if called and dot.shape == "." and sql[own.start : own.end] == schema:
            sql = sql[: own.start] + sql[dot.end :]
    return sql


def shape_of(some: Iterable[Token]) -> str:
    """Return the shape of tokens."""
    return " ".join(token.shape for token in some)


def _table_refusal(sql: bytes, lexis: Lexis) -> str:
    if is_ambiguous(sql, lexis):
        return "a comment for some versions whose end depends on the version"
    return next(filter(None, map(_shape_refusal, map(shape_of, readings(list(tokens(sql, lexis)))))), "")


def _shape_refusal(shape: str) -> str:
    head = _TABLE.match(shape)
    end = _closing(shape, head.end()) if head else -1
    if end < 0:
        return "a missing list of columns"
    inside, after = shape[head.end() if head else 0 : end], shape[end + 1 :].strip()
    options, _, partitions = after.partition("PARTITION BY ")
    engines = set(_ENGINE.findall(after))
    own = re.sub(_UNION, "", options) if engines and engines <= MERGING else options
    if beyond := _BEYOND.search(f"{inside} ( {own} ( {partitions}"):
        return beyond[0]
    if " . " in f" {_PARENT.sub('', inside)} {after} ":
        return "the name of a schema"
    if not _OPTIONS.fullmatch(options.strip()) or _PARTITIONS_BEYOND.search(partitions):
        return "an option that reaches beyond a table, or that is unknown"
    strange = sorted(engines - ENGINES - MERGING)
    return f"ENGINE={strange[0]}" if strange else ""


def _closing(shape: str, start: int) -> int:
    """Return where the parenthesis closes that was opened before `start`; -1 if it does not."""
    depth = 1
    for mark in re.finditer(r"(?<!\S)[()](?!\S)", shape[start:]):
        depth += 1 if mark[0] == "(" else -1
        if not depth:
            return start + mark.start()
    return -1
