"""The statements of a PostgreSQL dump, read from its stream: what each makes, and whether a restore runs it.

Only what pg_dump writes of one database is known; anything else is refused, for a restore must not leave the database
that it fills. Commands of psql, one of which runs a shell, are not SQL and reach no server.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from lifeboat.databases.sql.dialect import POSTGRESQL
from lifeboat.databases.sql.reader import Kind, Reader, Statement
from lifeboat.errors import RestoreError

END_OF_ROWS = b"\\.\n"
TRAILER = b"-- PostgreSQL database dump complete"
LONGEST_WORD = 16  # bytes of a statement in which its first word ends
TRUST = "If you trust it, load it manually with psql, as docs/RECOVERY.md shows."
CREATED = (
    *("SCHEMA", "TYPE", "DOMAIN", "TABLE", "SEQUENCE", "VIEW", "MATERIALIZED VIEW", "INDEX", "FUNCTION"),
    *("PROCEDURE", "AGGREGATE", "OPERATOR CLASS", "OPERATOR FAMILY", "OPERATOR", "CAST", "COLLATION", "CONVERSION"),
    *("TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE"),
    *("TRIGGER", "RULE", "POLICY", "STATISTICS", "TRANSFORM", "PUBLICATION", "EVENT TRIGGER"),
)
CODE = frozenset(("function", "procedure", "aggregate"))  # kept as somebody typed them
FIRING = frozenset(("trigger", "rule", "event trigger"))  # what runs code of the dump on rows that come later
# Other roles, and objects of all databases: what a server lacks, or its user may not do, is reported and harmless.
OPTIONAL = frozenset(("right", "default right", "owner", "publication", "event trigger", "optional comment"))

_WORD = r"[A-Za-z_\x80-\xff][\w$\x80-\xff]*"
_NAME = rf'(?: "(?:[^"]|"")+" | {_WORD} )'
_QUALIFIED = rf"(?: {_NAME} (?: \. {_NAME} )? )"
_TYPE = (
    r"(?: character\ varying | bit\ varying | double\ precision"
    rf" | (?:timestamp|time) (?:\(\d\))? \ with (?:out)? \ time\ zone | {_QUALIFIED} ) (?:\(\d+(?:,\d+)?\))? (?:\[\])*"
)
_STRING = b"|".join((POSTGRESQL.quoted, POSTGRESQL.dollar_quoted)).decode()
_COMMENT = POSTGRESQL.comment.decode()
# Nothing but what tells one object from others: the restore login runs this.
_SIGNATURE = rf"\( (?> {_NAME} | [\ ,.\[\]*\d] )*+ \)"
_OPERATOR = rf"(?: {_NAME} \. )? [-+*/<>=~!@\#%^&|`?]+ \ {_SIGNATURE}"
_OWNED = rf"(?: {_QUALIFIED} (?: {_SIGNATURE} | \ USING\ {_NAME} )? | {_OPERATOR} | \d+ )"
# Read to its end, for a comment in it could hide what it is a right to: the restore login runs some of these.
_RIGHT = rf"[A-Z]+ (?:\ [A-Z]+)* (?:\( {_NAME} (?:,\ ?{_NAME})* \))?"
_CREATED = "|".join(CREATED).replace(" ", r"\ ")
_MADE = rf"\ (?:IF\ NOT\ EXISTS\ |IF\ EXISTS\ )? (?P<name> {_QUALIFIED} (?![\w.]) | \S+ )"


def _pattern(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("latin-1"), re.DOTALL | re.VERBOSE)


_TOKENS = POSTGRESQL.scanner(
    # The E of a text is not a word, even if the rest of it has not arrived yet.
    rb"[bB](?P<block>(?<![.\w$].)(?i:EGIN\s+ATOMIC)(?![\w$]))|(?P<word>(?![eE]')%b)|(?P<mark>[();])" % _WORD.encode(),
    rb"(?P<strange>\\|/\*)",
)
# Up to the first semicolon, with quotes in which nothing else could be meant, and no other beginning of a string.
_PLAIN = _pattern(r"""(?> [^'"$\\/;-]++ | -(?!-) | '[^'\\()]*+' | "[^"\\()]*+" )*+ ;""")
# Options of a column, an index or a table. The server sets those that begin with pg_ by itself.
_OPTION = rf"(?: {_NAME} = (?: [eE]?'(?:[^']|'')*' | [^\s',()]+ ) )"
_EACH_OPTION = _pattern(_OPTION)
_OPTIONS = _pattern(
    rf"(?P<keep> {_COMMENT} | {_STRING} )"
    rf"| (?P<before> [ \n]* (?: SET | WITH )\ \( ) (?P<options> {_OPTION} (?: ,\ {_OPTION} )* ) \)"
)
_OWN_OPTION = re.compile(rb"[( ]pg_\w+=")
_CAST = rf":: \s* {_TYPE}"
_INSIGNIFICANT = _pattern(rf"(?P<keep> {_COMMENT} | {_STRING} | {_WORD} ) | {_CAST} | [\s()]+")
_CASTS = _pattern(_CAST)
_MANY_QUOTES = re.compile(rb'["$\\]|--')
_TEXTS = re.compile(rb"('[^']*+')")  # where no other quotes are
_BLANKS = b" \t\n\r\f\v()"
_REMARK = rb"--(?!%b)" % TRAILER[2:]
_BLANK = re.compile(rb"(?>[ \t\r\n]++|%b[^\n]*+\n)*+(?P<open>%b)?" % (_REMARK, _REMARK))
_RESTRICT = re.compile(rb"\\(un)?restrict ([A-Za-z0-9]+)\n")
EXTENSION = _pattern(
    rf"CREATE\ EXTENSION\ IF\ NOT\ EXISTS\ (?P<name> {_NAME} )\ WITH\ SCHEMA\ (?P<schema> {_NAME} );\Z"
)

# In the order in which they are tried, of those that begin with a statement's first word; the first two are followed by
# rows, or hold them.
_KINDS: tuple[tuple[str, str, re.Pattern[bytes]], ...] = (
    (
        "COPY",
        "rows",
        _pattern(rf"COPY\ (?P<name> {_QUALIFIED} ) \ (?:\( {_NAME} (?:,\ {_NAME})* \))? \ FROM\ stdin;\Z"),
    ),
    ("INSERT", "rows", _pattern(rf"INSERT\ INTO\ (?P<name> {_QUALIFIED} )\ ")),
    # What a load has set already, and what belongs to the server that was dumped.
    (
        "BEGIN COMMIT SET RESET",
        "skipped",
        _pattern(
            rf"""(?: BEGIN | COMMIT
            # Around rights that somebody else than the owner granted: here, the owner does.
            | SET\ SESSION\ AUTHORIZATION\ {_NAME} | RESET\ SESSION\ AUTHORIZATION
            | SET\ (?: \w+_timeout | client_min_messages | default_with_oids | default_tablespace )\ =\ [^;]*
            | SET\ standard_conforming_strings\ =\ on );\Z"""
        ),
    ),
    ("ALTER", "owner", _pattern(rf"ALTER\ (?:{_CREATED}|LARGE\ OBJECT)\ {_OWNED} \ OWNER\ TO\ (?P<name> {_NAME} );\Z")),
    # Nothing is left of it: all that it set is the server's own.
    ("ALTER", "skipped", _pattern(rf"ALTER\ TABLE\ (?:ONLY\ )? {_QUALIFIED} \ ALTER\ COLUMN\ {_NAME};\Z")),
    # Of the other encodings, some have bytes that look like quotes.
    (
        "SET",
        "setting",
        _pattern(r"SET\ client_encoding\ =\ '(?:UTF8|SQL_ASCII|LATIN\d+|WIN\d+|ISO_8859_\d|EUC_\w+)';\Z"),
    ),
    (
        "SET",
        "setting",
        _pattern(r"SET\ (?:check_function_bodies|xmloption|row_security|default_table_access_method)\ =\ \w+;\Z"),
    ),
    ("SELECT", "setting", _pattern(r"SELECT\ pg_catalog\.set_config\('search_path',\ '[^']*',\ false\);\Z")),
    (
        "SELECT",
        "sequence",
        _pattern(r"SELECT\ pg_catalog\.setval\('(?P<name> (?:[^']|'')+ )',\ -?\d+,\ (?:true|false)\);\Z"),
    ),
    (
        "SELECT",
        "large object",
        _pattern(r"SELECT\ pg_catalog\.(?:lo_create|lo_open)\('(?P<name> \d+ )'(?:,\ \d+)?\);\Z"),
    ),
    ("SELECT", "large object", _pattern(r"SELECT\ pg_catalog\.(?:lowrite\(0,\ '\\x[0-9a-f]*'\) | lo_close\(0\));\Z")),
    (
        "GRANT REVOKE",
        "right",
        _pattern(
            rf"""(?:GRANT|REVOKE)\ {_RIGHT} (?:,\ ?{_RIGHT})* \ ON
            \ (?:TABLE|SEQUENCE|SCHEMA|FUNCTION|PROCEDURE|TYPE|LARGE\ OBJECT|LANGUAGE|FOREIGN\ DATA\ WRAPPER
            | FOREIGN\ SERVER)\b"""
        ),
    ),
    (
        "ALTER",
        "default right",
        _pattern(
            rf"""ALTER\ DEFAULT\ PRIVILEGES\ FOR\ ROLE\ (?P<name> {_NAME} ) (?:\ IN\ SCHEMA\ {_NAME})?
            \ (?:GRANT|REVOKE)\ [A-Z,\ ]+ \ ON\ (?:TABLES|SEQUENCES|FUNCTIONS|TYPES|SCHEMAS|LARGE\ OBJECTS)
            \ +(?:TO|FROM)\ {_NAME} (?:\ WITH\ GRANT\ OPTION)?;\Z"""
        ),
    ),
    ("ALTER", "right", _pattern(r"ALTER\ DEFAULT\ PRIVILEGES\b")),
    (
        "SECURITY",
        "right",
        _pattern(rf"SECURITY\ LABEL\ (?:FOR\ {_NAME}\ )? ON\ (?!DATABASE\b|ROLE\b|TABLESPACE\b) [A-Z]"),
    ),
    (
        "COMMENT",
        "optional comment",
        _pattern(r"COMMENT\ ON\ (?:EXTENSION|PUBLICATION|SUBSCRIPTION|EVENT\ TRIGGER|(?:PROCEDURAL\ )?LANGUAGE)\b"),
    ),
    ("CREATE", "extension", EXTENSION),
    ("COMMENT", "comment", _pattern(r"COMMENT\ ON\ (?P<name> (?!DATABASE\b|ROLE\b|TABLESPACE\b) [A-Z] .*? )\ IS\ ")),
    ("REFRESH", "refresh", _pattern(rf"REFRESH\ MATERIALIZED\ VIEW\ (?P<name> {_QUALIFIED} );\Z")),
    (
        "CREATE",
        "",
        _pattern(
            r"CREATE\ (?:OR\ REPLACE\ )? (?:(?:UNLOGGED|UNIQUE|RECURSIVE|CONSTRAINT|DEFAULT)\ )*"
            rf"(?P<kind> {_CREATED} ) {_MADE}"
        ),
    ),
    ("ALTER", "", _pattern(rf"ALTER\ (?P<kind> {_CREATED} ) (?:\ ONLY)? {_MADE}")),
)
_BY_WORD = {
    word: [
        (kind, pattern.match, "name" in pattern.groupindex)
        for words, kind, pattern in _KINDS
        if word in words.encode().split()
    ]
    for word in {word for words, *_ in _KINDS for word in words.encode().split()}
}
_FOREIGN_KEY = _pattern(
    rf"ALTER\ TABLE\ (?:ONLY\ )?{_QUALIFIED}\s+ADD\ CONSTRAINT\ (?P<name> {_NAME} )\ FOREIGN\ KEY\ "
)
_NOT_VALID = b" NOT VALID"
_FORCED = b" FORCE ROW LEVEL SECURITY;"
_HEIR = _pattern(rf"\n\)\nINHERITS\ \((?P<parents> {_QUALIFIED} (?:,\ {_QUALIFIED})* )\) (?:\nWITH\ \([^\n]*\))?;\Z")
_PARTITION = _pattern(
    rf"""ALTER\ TABLE\ (?:ONLY\ )? (?P<parent> {_QUALIFIED} )\ ATTACH\ PARTITION\ (?P<child> {_QUALIFIED} )\s
    | CREATE\ (?:UNLOGGED\ )?TABLE\ (?P<made> {_QUALIFIED} )\ PARTITION\ OF\ (?P<of> {_QUALIFIED} )\s"""
)
_QUALIFIED_NAME = _pattern(_QUALIFIED)
_NAMES = _pattern(_NAME)
_COPIED = _pattern(rf"COPY\ {_QUALIFIED}\ \((?P<columns> .* )\)\ FROM\ stdin;\Z")
_ITEM = _pattern(rf"(?P<string> {_STRING} ) | (?P<mark> [(),] )")
# What reaches beyond its database, or runs code outside of it.
_ELSEWHERE = _pattern(
    rf"""(?:CREATE\ (?:OR\ REPLACE\ )? | ALTER\ ) (?:TRUSTED\ )?
    (?P<kind> SERVER | FOREIGN\ TABLE | FOREIGN\ DATA\ WRAPPER | ACCESS\ METHOD | (?:PROCEDURAL\ )?LANGUAGE
    | USER\ MAPPING\ FOR\ {_NAME}\ SERVER ) \ (?:ONLY\ )?(?P<name> {_QUALIFIED} )"""
)
_KEY = _pattern(
    rf"""CREATE\ (?:UNIQUE\ )?INDEX\b
    | ALTER\ TABLE\ ONLY\ {_QUALIFIED} \s+ ADD\ CONSTRAINT\ {_NAME} \ (?:PRIMARY\ KEY|UNIQUE|EXCLUDE)\b"""
)
_COMPUTES = re.compile(rb"\b(?:CHECK|GENERATED ALWAYS AS) \(")
_CALL = _pattern(rf"\. {_NAME} \(")


class RefusedStatementError(RestoreError):
    """A statement that no restore runs.

    :param name: of what it makes, or how it begins.
    """

    def __init__(self, name: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.name = name


@dataclass(frozen=True, slots=True)
class Trailer:
    """The line that ends a dump which is complete."""


class _Ends:
    """Finds the end of a statement: a semicolon outside of parentheses and of a BEGIN ATOMIC.

    BEGIN alone is a name that the server does not quote; CASE and END are none, but behind a BEGIN ATOMIC.
    """

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._depth = self._blocks = 0

    def __call__(self, token: re.Match[bytes], /) -> bool:
        if token["strange"]:
            raise RestoreError(
                "The dump holds a psql command, or a comment that pg_dump does not write.",
                TRUST,
            )
        if token["block"]:
            self._blocks += self._makes_code() and self._depth == 0 and not self._blocks
        elif word := token["word"]:
            self._word(word.lower())
        elif mark := token["mark"]:
            self._depth += {b"(": 1, b")": -1}.get(mark, 0)
            return bool(mark == b";" and self._depth <= 0 and not self._blocks)
        return False

    def _word(self, word: bytes) -> None:
        if len(self._words) < 4:
            self._words.append(word)
        if self._blocks and self._depth == 0:
            self._blocks += {b"case": 1, b"end": -1}.get(word, 0)

    def _makes_code(self) -> bool:
        made = self._words[3:4] if self._words[1:3] == [b"or", b"replace"] else self._words[1:2]
        return self._words[:1] == [b"create"] and made in ([b"function"], [b"procedure"])


def plain(text: bytes, start: int) -> bytes | None:
    """Return a statement, if its first semicolon ends it: most do, and reading word by word takes time."""
    found = _PLAIN.match(text, start)
    if found is None or b"atomic" in (statement := found[0]).lower() or statement.count(b"(") > statement.count(b")"):
        return None
    return statement


def read(
    sql: Iterable[bytes] | Reader, refused: Callable[[RefusedStatementError], object] | None = None
) -> Iterator[Statement | Trailer | bytes]:
    """Yield the statements of a dump in its order; those of kind ``rows`` are followed by their rows, many at once.

    Their kinds are the keyword of what they make, in lower case, or one of ``rows``, ``setting``, ``owner``, ``right``
    ...; names stand as the dump quotes them, without the schema ``public``.

    :param refused: takes each statement that no restore runs, and the next one is read; by default they are raised.
    :raises RestoreError: a statement is none that pg_dump writes for one database, or stands where pg_dump writes none;
        or the text ends in its middle.
    """
    text = sql if isinstance(sql, Reader) else Reader(sql)
    fires = False
    while text.skip(_BLANK):
        if text.starts_with(TRAILER):
            text.line()
            yield Trailer()
            continue
        try:
            statement = _next(text)
        except RefusedStatementError as error:
            if refused is None:
                raise
            refused(error)
            continue
        if statement is None:
            continue
        fires |= statement.kind in FIRING
        if fires and statement.kind == "rows":
            raise RestoreError(
                f"The dump has rows of table {statement.name!r} behind triggers or rules, which would run on them:"
                " pg_dump writes rows first.",
                TRUST,
            )
        yield statement
        if statement.kind == "rows" and statement.sql.startswith(b"COPY"):
            text.line()
            yield from text.lines_until(END_OF_ROWS)


def _next(text: Reader) -> Statement | None:
    if text.starts_with(b"\\"):
        _check_command(text.line())
        return None
    return recognise(text.statement(_TOKENS, _Ends, plain))


def _check_command(line: bytes) -> None:
    """:raises RefusedStatementError: a line is a command of psql, not the one by which pg_dump locks out all others."""
    if not _RESTRICT.fullmatch(line):
        raise RefusedStatementError(
            "psql", "The dump holds a psql command, which pg_dump does not write: psql would run it.", TRUST
        )


def recognise(sql: bytes) -> Statement:
    """Say what a statement is.

    :raises RefusedStatementError: it is none that pg_dump writes for one database.
    """
    if b"pg_" in sql and _OWN_OPTION.search(sql):
        sql = _without_own_options(sql)
    word = sql[:LONGEST_WORD].partition(b" ")[0].removesuffix(b";")
    for kind, match, is_named in _BY_WORD.get(word, ()):
        if found := match(sql):
            name = found["name"] if is_named else None
            return Statement(cast(Kind, kind or found["kind"].decode().lower()), _name(name or b""), sql)
    if elsewhere := _ELSEWHERE.match(sql):
        kind, name = elsewhere["kind"].decode("utf-8", "replace").lower(), _name(elsewhere["name"])
        raise RefusedStatementError(name, f"The dump makes {kind} {name}, which reaches beyond its database.", TRUST)
    words = re.match(rb"[\w ]{,40}", sql)
    beginning = (words[0] if words else b"").decode("latin-1").strip()
    raise RefusedStatementError(
        beginning,
        f"The dump holds a statement that leaves its database, or that pg_dump does not write: {beginning} ...",
        TRUST,
    )


def _without_own_options(sql: bytes) -> bytes:
    """Return a statement without what a server keeps for itself, and a client that does not know of it prints."""

    def others(found: re.Match[bytes]) -> bytes:
        if found["keep"]:
            return found[0]
        kept = [option for option in _EACH_OPTION.findall(found["options"]) if not option.startswith(b"pg_")]
        return found["before"] + b", ".join(kept) + b")" if kept else b""

    return _OPTIONS.sub(others, sql)


def _name(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace").removeprefix("public.")


def canonical(statement: Statement) -> bytes:
    """Return a definition without what the server words otherwise once it has read it: casts, parentheses, blanks.

    ``status IN ('a', 'b')``, for one, is printed with a cast of the list first, and with one of each item later.
    """
    if statement.kind in CODE:
        return statement.sql
    sql = _with_sorted_items(statement.sql) if is_heir(statement) else statement.sql
    if is_foreign_key(statement):
        sql = sql.removesuffix(b";").removesuffix(_NOT_VALID) + b";"  # where a load adds it, it says so
    if _MANY_QUOTES.search(sql):
        return _INSIGNIFICANT.sub(lambda found: found["keep"] or b"", sql)
    if b"'" not in sql and b"::" not in sql:  # as most are
        return sql.translate(None, _BLANKS)
    parts = _TEXTS.split(sql)
    parts[::2] = [(_CASTS.sub(b"", part) if b"::" in part else part).translate(None, _BLANKS) for part in parts[::2]]
    return b"".join(parts)


def _with_sorted_items(sql: bytes) -> bytes:
    """Sort the columns and constraints of a CREATE TABLE."""
    depth, begin, head, items = 0, 0, b"", []
    for token in _ITEM.finditer(sql):
        mark = token["mark"]
        depth += {b"(": 1, b")": -1}.get(mark, 0)
        if mark == b"(" and depth == 1:
            head, begin = sql[: token.end()], token.end()
        elif (mark == b"," and depth == 1) or (mark == b")" and depth == 0):
            items.append(sql[begin : token.start()].strip())
            begin = token.end()
            if depth == 0:
                return head + b",".join(sorted(items)) + sql[token.start() :]
    return sql


def is_foreign_key(statement: Statement) -> bool:
    """Return whether a statement makes a table depend on the rows of another."""
    return bool(foreign_key(statement))


def foreign_key(statement: Statement) -> str:
    """Return the name of the foreign key that a statement makes, behind its table's; empty where it makes none."""
    found = _FOREIGN_KEY.match(statement.sql) if statement.kind == "table" else None
    return f"{statement.name}.{found['name'].decode('utf-8', 'surrogateescape')}" if found else ""


def unvalidated(statement: Statement) -> Statement:
    """Return a foreign key that the server does not check for the rows that are there."""
    return statement.with_sql(statement.sql.removesuffix(b";").removesuffix(_NOT_VALID) + _NOT_VALID + b";")


def forces_row_security(statement: Statement) -> bool:
    """Return whether a statement hides rows of a table from its owner, too."""
    return statement.kind == "table" and statement.sql.endswith(_FORCED)


def is_heir(statement: Statement) -> bool:
    """Return whether a statement makes a table that inherits: a reload puts its parents' columns first."""
    return statement.kind == "table" and statement.sql.startswith(b"CREATE") and bool(_HEIR.search(statement.sql))


def copied_columns(statement: Statement) -> list[bytes]:
    """Return the names of the columns whose values stand in the rows behind a COPY."""
    listed = _COPIED.match(statement.sql)
    return _NAMES.findall(listed["columns"]) if listed else []


class Lineage:
    """A table and all below it, its partitions and its heirs, as the statements of a dump put them there."""

    def __init__(self, table: str) -> None:
        self.names = {table}
        self._children: defaultdict[str, list[str]] = defaultdict(list)

    def see(self, statement: Statement) -> None:
        """Take note of what a statement puts below what."""
        if statement.kind != "table":
            return
        for parent, child in _put_below(statement):
            self._children[parent].append(child)
            if parent in self.names:
                self._add(child)

    def _add(self, table: str) -> None:
        if table not in self.names:
            self.names.add(table)
            for child in self._children[table]:
                self._add(child)


def _put_below(statement: Statement) -> Iterator[tuple[str, str]]:
    """Yield pairs of a table and one that a statement puts below it."""
    if partition := _PARTITION.match(statement.sql):
        yield _name(partition["parent"] or partition["of"]), _name(partition["child"] or partition["made"])
    elif is_heir(statement) and (heir := _HEIR.search(statement.sql)):
        for parent in _QUALIFIED_NAME.findall(heir["parents"]):
            yield _name(parent), statement.name


def is_key(statement: Statement) -> bool:
    """Return whether a statement builds an index of one table, and depends on nothing but its rows."""
    return statement.kind in ("table", "index") and bool(_KEY.match(statement.sql))


def calls_functions(statement: Statement) -> bool:
    """Return whether functions of the dump check the values of a table or a domain: they may read other tables."""
    return (
        statement.kind in ("table", "domain")
        and bool(_COMPUTES.search(statement.sql))
        and bool(_CALL.search(statement.sql))
    )
