"""The statements of a dump, read from its stream as it passes: what each makes, and whether it stays in its schema.

Only what dump clients write is known; anything else is refused, for a restore must not leave the schema that it was
asked to fill. Rows come as INSERTs of about `PIECE` bytes, whatever the dump's own were: longer ones are cut between
rows, those of a dump that writes one per row are joined. Memory is bounded by the longest statement that the server
takes.

Of rows, the reader relies on what dump clients guarantee: strings hold no raw newline (it is written ``\\n``), so a
line that ends with ``;`` ends its INSERT. Everything else is read as the stock client reads it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from lifeboat.databases.mysql import grammar
from lifeboat.databases.mysql.lexis import (
    LONGEST_REPEATED,
    PLAIN,
    REPEATED,
    Lexis,
    Session,
    are_literals,
    tokens,
)
from lifeboat.databases.sql.dialect import any_of
from lifeboat.databases.sql.quoting import backquoted_bytes, name_of
from lifeboat.databases.sql.reader import Kind, Reader, Statement
from lifeboat.errors import RestoreError

PIECE = 1_000_000  # just below what dump clients write at once, so that theirs are passed on uncut
LONGEST_HEAD = 1 << 20  # of an INSERT, up to VALUES: 4096 columns may be named there
LONGEST_DELIMITER = 15  # that stock clients know
ORIGIN_BYTES = 4096

# Atomic groups throughout: without them, backtracking on hostile text would never end.
NAME = r"""(?> `(?>[^`]|``)++` | "(?>[^"]|"")++" | [^\s`"'.,;()*/@=]++ )"""
QUALIFIED = rf"(?: (?P<schema> {NAME} ) \s*\.\s* )? (?P<name> {NAME} )"
_ACCOUNT = r"""(?> `(?>[^`]|``)*+` | "(?>[^"]|"")*+" | '(?>[^']|'')*+' | [^\s@*`"']++ )"""
_COMMENT = r"(?: /\*M?!\d* \s* )?"  # opens around what only newer servers understand
_BETWEEN = r"[\s*/!M\d]*+"  # such a comment ends and the next one begins
_SPACE = r"(?> \s | /\*(?!!|M!) .*? \*/ )++"
_UNLESS_THERE = rf"(?: IF {_SPACE} NOT {_SPACE} EXISTS {_SPACE} )?"
_CREATE = rf"""
    {_COMMENT} CREATE\b (?: \s+ OR \s+ REPLACE\b )? {_BETWEEN}
    (?: ALGORITHM \s*=\s* \w+ {_BETWEEN} )?
    (?P<definer> \bDEFINER \s*=\s* (?P<user> {_ACCOUNT} ) (?: @ (?P<host> {_ACCOUNT} ) )? \s? )? {_BETWEEN}
"""


def pattern(text: str) -> re.Pattern[bytes]:
    """Compile an expression in which blanks mean nothing, for SQL in either case."""
    return re.compile(text.encode(), re.IGNORECASE | re.DOTALL | re.VERBOSE)


def _created(keyword: str, after: str = "") -> re.Pattern[bytes]:
    return pattern(f"{_CREATE} {keyword} {_SPACE} {_UNLESS_THERE} {QUALIFIED} {after}")


_KINDS: dict[Kind, re.Pattern[bytes]] = {
    "view placeholder": pattern(
        rf"/\*!50001\s (?: CREATE\s(?:TABLE|VIEW) | DROP\s(?:TABLE|VIEW)\sIF\sEXISTS ) \s {QUALIFIED}"
    ),
    "table": pattern(rf"CREATE\s+ (?:OR\s+REPLACE\s+)? TABLE\s+ {_UNLESS_THERE} {QUALIFIED} \s*\("),
    "sequence": pattern(rf"CREATE\s+ (?:OR\s+REPLACE\s+)? SEQUENCE\s+ {_UNLESS_THERE} {QUALIFIED}"),
    "sequence value": pattern(rf"(?:DO|SELECT)\s+ SETVAL\s*\(\s* {QUALIFIED} \s*, [\s\d,+-]* \)\s*$"),
    "view": _created(rf"(?: SQL\s+SECURITY\s+\w+ )? {_BETWEEN} (?: \bJSON\s+RELATIONAL\s+DUALITY\s+ )? \bVIEW"),
    "trigger": _created(
        r"\bTRIGGER",
        rf"""{_SPACE} (?:BEFORE|AFTER)\b (?> {_SPACE} | , | /\*M?!\d* | \*/ | (?!ON\b) {NAME} )*+ \bON {_SPACE}
        (?: (?P<schema_of_table> {NAME} ) \s*\.\s* )? (?P<table> {NAME} )""",
    ),
    "event": _created(r"\bEVENT"),
    "procedure": _created(r"\bPROCEDURE"),
    "function": _created(r"(?: \bAGGREGATE\s+ )? \bFUNCTION", r"\s* (?: \( | RETURN\b )"),
    "package body": _created(r"\bPACKAGE\s+BODY"),
    "package": _created(r"\bPACKAGE"),
    "library": _created(r"\bLIBRARY"),
    "histogram": pattern(rf"{_COMMENT} ANALYZE\s+TABLE\s+ {QUALIFIED} \s+UPDATE\s+HISTOGRAM\b"),
    # Clients name the dumped schema here; the one that is filled takes its place.
    "schema collation": pattern(rf"{_COMMENT} ALTER\s+DATABASE\s+ (?P<name> {NAME} ) \s+CHARACTER\s+SET\b"),
}
_NAMED_IN_UTF8: frozenset[Kind] = frozenset(("trigger", "event", "procedure", "function"))
# What a load does in its own way, and what belongs to the server that was dumped.
_SKIPPED = pattern(
    rf"""{_COMMENT} (?:
        (?:LOCK|UNLOCK)\s+TABLES\b
        | ALTER\s+TABLE\s+ {NAME} \s+(?:DISABLE|ENABLE)\s+KEYS\b
        | START\s+TRANSACTION\b | BEGIN\s*$ | COMMIT\b | SET\b [^']* \bAUTOCOMMIT\s*=
        | SET\s+@@GLOBAL\.GTID_PURGED\b | SET\s+(?:@@SESSION\.|SESSION\s+)?SQL_LOG_BIN\b
        | SET\s+@MYSQLDUMP_TEMP_LOG_BIN\b
        | DROP\s+(?:TABLE|VIEW|SEQUENCE|TRIGGER|EVENT|PROCEDURE|FUNCTION|PACKAGE(?:\s+BODY)?|LIBRARY)\s+IF\s+EXISTS\b
    )
    # Percona's client asks whether the server has RocksDB:
    | /\*!50717\s (?: SELECT\sCOUNT\(\*\)\sINTO\s@rocksdb | SET\s@rocksdb | PREPARE\ss\sFROM\s@rocksdb | EXECUTE\ss
        | DEALLOCATE )"""
)
_SETTING = pattern(rf"{_COMMENT} SET\b")
_SCHEMA = pattern(rf"{_COMMENT} (?: CREATE\s+(?:DATABASE|SCHEMA) | DROP\s+(?:DATABASE|SCHEMA) | USE )\b")
_FIRST_WORDS = re.compile(rb"\\[!-~]|[A-Za-z]+(?: [A-Z]+)?")
_BEHIND_CODE = rb"(?:DELIMITER\ ;|/\*!50003\ SET\ )"  # the next line
_REMARK = rb"(?:--(?=[\s\x00-\x1f\x7f])|\#)[^\n]*?"


@cache
def _hiding(lexis: Lexis) -> re.Pattern[bytes]:
    # What has no end is the last match: searching again behind each of its letters would never end.
    dialect = lexis.dialect
    string, comment = b"(?P<string>%b)" % dialect.quoted, rb"(?P<comment>%b|/\*\+.*?\*/)" % dialect.comment
    begun = rb"(?P<open>(?:['\"`]|/\*(?!!|M!)).*)"
    return re.compile(any_of(string, comment, dialect.letter, begun), re.DOTALL)


INSERT = pattern(
    rf"""(?:INSERT|REPLACE)\s+ (?:IGNORE\s+)? INTO\s ({NAME})
    (?: \s\( (?P<columns> (?: {NAME} (?> ,\s? {NAME} )*+ )? ) \) )? \sVALUES\s+"""
)
ROW = re.compile(rb"\([^'()]*+(?>'[^'\\]*+(?>\\.[^'\\]*+)*+'[^'()]*+)*+\)", re.DOTALL)
_DELIMITER = re.compile(rb"DELIMITER[ \t]+(\S+)[^\n]*\n", re.IGNORECASE)
_LINE_REMARK = rb"\#|/\*M?!999999\\- "  # newer clients of MariaDB begin with the latter; older ones stumble over it
_BLOCK_REMARK = rb"/\*(?!!|M!|\+)"
_BLANK = re.compile(
    rb"(?>\s|--(?:[ \t\r][^\n]*)?\n|(?:%b)[^\n]*\n|%b.*?\*/)*+" % (_LINE_REMARK, _BLOCK_REMARK)
    + rb"(?P<open>--[ \t\r]|%b|%b)?" % (_LINE_REMARK, _BLOCK_REMARK),
    re.DOTALL,
)
_ORIGIN = {
    "schema": re.compile(rb"^-- Host: .* {4}Database: (.+?)\r?$", re.MULTILINE),
    "server": re.compile(rb"^-- Server version\t(.+?)\r?$", re.MULTILINE),
    "client": re.compile(rb"^-- ((?:MySQL|MariaDB) dump .+?)\r?$", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a dump, from its first lines; empty if they do not say.

    :param server: version of the dumped server.
    :param client: name and version of the dump client.
    """

    schema: str = ""
    server: str = ""
    client: str = ""

    @property
    def is_of_mariadb(self) -> bool:
        """Return whether the dump says that it is of a MariaDB server."""
        return "MariaDB" in self.server

    @property
    def is_of_mysql(self) -> bool:
        """Return whether the dump says that it is of a MySQL server."""
        return bool(self.server) and not self.is_of_mariadb


def delimiter_beyond(sql: bytes) -> bytes:
    """Return a delimiter of stock clients that a definition does not hold; empty where it holds all of them."""
    marks = (b";" * length for length in range(2, LONGEST_DELIMITER + 1))
    return next((delimiter for delimiter in marks if delimiter not in sql), b"")


def without_strings(sql: bytes, lexis: Lexis = PLAIN) -> bytes:
    """Return SQL with nothing between its quotes, and without comments; names lose theirs, too."""
    instead = {"string": b"''", "comment": b" "}
    return _hiding(lexis).sub(lambda found: instead.get(found.lastgroup or "", found[0]), sql)


def recognise(sql: bytes) -> Statement | None:
    """Say what a statement makes; None when it makes nothing."""
    kind, head = next(((kind, match) for kind, head in _KINDS.items() if (match := head.match(sql))), (None, None))
    if not kind or not head:
        return None
    if kind != "trigger":
        return Statement(kind, name_of(head["name"]), sql)
    # Clients print what was typed, schemas included; a trigger's schema is always that of its table.
    for schema, what in (("schema_of_table", "table"), ("schema", "name")):
        if head[schema]:
            sql = sql[: head.start(schema)] + sql[head.start(what) :]
    return Statement(kind, name_of(head["name"]), sql, name_of(head["table"]))


def with_table_of(statement: Statement, tables: Collection[str]) -> Statement:
    """Return a trigger with its table spelled as that table's definition has it; anything else as it is.

    A server that ignores the case of names prints the name as it was typed, and one that does not finds no such table.
    """
    if not statement.table or statement.table in tables:
        return statement
    alike = [name for name in tables if name.lower() == statement.table.lower()]
    if len(alike) != 1:
        return statement
    start, end = created(statement).span("table")
    sql = statement.sql[:start] + backquoted_bytes(alike[0]) + statement.sql[end:]
    return statement._replace(sql=sql, table=alike[0])


# Servers print names and comments of code as UTF-8, whatever else is in the character set of its client.
_CODECS = {
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "euckr": "euc_kr",
    "sjis": "shift_jis",
    **{name: name for name in ("big5", "cp932", "gb2312", "gbk", "gb18030", "tis620")},
    **{name: name for name in ("cp850", "cp852", "cp866", "cp1250", "cp1251", "cp1256", "cp1257")},
}
_ESCAPES = {rb"\0": b"\0", rb"\n": b"\n", rb"\r": b"\r", rb"\\": b"\\"}  # as servers print them in any sql_mode
_ESCAPE = re.compile(rb"\\[0nr\\]")
# Behind the parameters of a routine, what servers print of it has a line each.
_COMMENT_OF_ROUTINE = re.compile(
    rb"[^\n]*(?:\n    (?!COMMENT )[^\n]+)*\n    COMMENT (?P<comment>'(?>[^'\\]|\\.|'')*+')", re.DOTALL
)


def as_client_wrote(code: Statement, lexis: Lexis, *, of_mariadb: bool) -> Statement:
    """Return code, as a server printed it, as one reads it: its name, and its comment, as all else.

    :param lexis: how it is read.
    :param of_mariadb: printed by MariaDB, which leaves names in the character set in which they were typed, except
        those of events. Typed in the wrong one, they may happen to be UTF-8.
    """
    sql, head = code.sql, created(code)
    names = ("name", "table") if code.kind == "event" or not of_mariadb else ()
    spans = [head.span(group) for group in names if head.groupdict().get(group)]
    if comment := _comment_of(code, head.end("name")):
        spans.append(comment)
    for start, end in sorted(spans, reverse=True):
        text = sql[start:end]
        if not lexis.backslash_escapes and text.startswith(b"'"):
            text = _ESCAPE.sub(lambda found: _ESCAPES[found[0]], text)
        sql = sql[:start] + in_character_set(text, lexis.character_set) + sql[end:]
    return code.with_sql(sql)


def _comment_of(code: Statement, start: int) -> tuple[int, int] | None:
    """Return where the comment of some code stands, whose name ends at `start`; None where it has none."""
    if code.kind == "event":
        return _comment_of_event(code.sql, start)
    return _comment_of_routine(code.sql, start) if code.kind in ("procedure", "function") else None


def _comment_of_event(event: bytes, start: int) -> tuple[int, int] | None:
    found = list(itertools.islice(tokens(event, PLAIN, start), grammar.HEAD_TOKENS))
    for word, text in itertools.pairwise(found):
        if word.shape == "DO":
            return None
        if word.shape == "COMMENT" and text.shape == "string":
            return text.start, text.end
    return None


def _comment_of_routine(routine: bytes, start: int) -> tuple[int, int] | None:
    depth, end = 0, start
    for token in tokens(routine, PLAIN, start):
        depth += {"(": 1, ")": -1}.get(token.shape, 0)
        if not depth:
            end = token.end
            break
    found = _COMMENT_OF_ROUTINE.match(routine, end)
    return found.span("comment") if found else None


def in_character_set(text: bytes, character_set: str) -> bytes:
    """Return UTF-8 in a character set; as it is where it is none, or has letters that are not in there."""
    try:
        return text.decode().encode(_CODECS.get(character_set, "utf-8"))
    except UnicodeError:
        return text


def created(statement: Statement) -> re.Match[bytes]:
    """Return the head of a definition; its groups are ``name`` and, for code, ``definer``, ``user`` and ``host``.

    :raises ValueError: the statement defines nothing.
    """
    head = _KINDS.get(statement.kind)
    if match := head and head.match(statement.sql):
        return match
    raise ValueError(f"a statement of kind {statement.kind!r} defines nothing")


class StatementReader(Reader):
    """Reads a dump that comes in chunks of any size.

    :param longest: bytes of the longest statement that the server takes.
    :param schema: that was dumped; as the dump's first lines say when empty.
    """

    def __init__(self, sql: Iterable[bytes], longest: int, schema: str = "") -> None:
        super().__init__(sql, longest, "Raise max_allowed_packet on the server; 1G is the most.")
        self._longest_line = longest
        self._piece = min(PIECE, longest)
        self._delimiter = b";"
        self._session = Session()
        self._tables: set[str] = set()
        self._rows_lexis: Lexis | None = None  # as at the first rows: connections that insert are set up then
        self._more()
        head = self._text[:ORIGIN_BYTES]
        self._newline = b"\r\n" if b"\r\n" in head.partition(b"\n")[0] + b"\n" else b"\n"
        found = {field: line.search(head) for field, line in _ORIGIN.items()}
        self.origin = Origin(**{field: match[1].decode("utf-8", "replace") for field, match in found.items() if match})
        self._schema = schema or self.origin.schema

    def __iter__(self) -> Iterator[Statement]:
        """Yield what a restore runs, in the order of the dump.

        :raises RestoreError: a statement is none that dump clients write for one schema, a row is too long for the
            server, or the text ends in the middle of a statement.
        """
        while self.skip(_BLANK):
            if self._delimiter == b";" and (insert := self._match(INSERT, (b"INSERT", b"REPLACE"))):
                yield from self._rows(insert[0], name_of(insert[1]))
            elif delimiter := self._match(_DELIMITER, (b"DELIMITER", b"delimiter")):
                self._delimiter = delimiter[1]
                self._position = delimiter.end()
            elif statement := classify(
                self._statement(), self._session.lexis, self._schema, of_mariadb=self.origin.is_of_mariadb
            ):
                if statement.kind == "setting":
                    follow(self._session, statement)
                elif statement.kind == "table":
                    self._tables.add(statement.name)
                yield with_table_of(statement, self._tables)

    def _match(self, expected: re.Pattern[bytes], beginnings: tuple[bytes, ...]) -> re.Match[bytes] | None:
        """Match the text at this position, once enough of it is available."""
        if not self._text.startswith(beginnings, self._position):
            return None
        while True:
            match = expected.match(self._text, self._position)
            if match and match.end() < len(self._text):
                return match
            if (not match and self._held() > LONGEST_HEAD) or not self._more():
                return match

    def _statement(self) -> bytes:
        """Return the statement at this position and pass its delimiter."""
        end = self._end(statement_ends(self._delimiter, self._session.lexis), lambda: _is_end)
        behind_remark = end.end("remark") - self._position if end["remark"] else 0
        statement = self._take(end.end())[: -len(self._delimiter)]
        if behind_remark:
            statement = statement[:behind_remark] + b"\n" + statement[behind_remark:]
        return statement.rstrip()

    def _rows(self, head: bytes, table: str) -> Iterator[Statement]:
        """Yield the rows at this position, of this INSERT and of those with the same head that follow.

        :param head: the INSERT up to its first row.
        """
        border, literal = b";" + self._newline + head, re.escape(head)
        end = re.compile(b";" + self._newline + b"(?!" + literal + b")")
        separator = re.compile(rb"(?<=\))," + self._newline + rb"(?=\()|;" + self._newline + literal)
        self._position += len(head)
        self._longest_line = self._longest
        while True:
            closing = end.search(self._text, self._position)
            # Where the text ends before it could, the next INSERT may still have the same head.
            is_last = closing and (self._ended or closing.end() + len(head) <= len(self._text))
            if cut := self._cut(separator, closing.start() if closing else len(self._text)):
                yield self._take_rows(head, table, border, *cut)
            elif closing and is_last:
                yield self._take_rows(head, table, border, *closing.span())
                return
            else:
                self._read_on(f"A row of table {table!r}")

    def _take_rows(self, head: bytes, table: str, border: bytes, stop: int, after: int) -> Statement:
        sql = head + self._text[self._position : stop].replace(border, b",")
        self._position = after
        if len(sql) > self._longest:
            raise self._too_long(f"A row of table {table!r}")
        self._rows_lexis = self._rows_lexis or self._session.lexis
        if self._rows_lexis != self._session.lexis:
            raise RestoreError(
                f"The dump changes how the server reads text before the rows of table {table!r}.",
                "Move its SET statements in front of the first rows.",
            )
        if not are_literals(sql[len(head) :], self._session.lexis):
            raise RestoreError(
                f"The dump's rows of table {table!r} hold more than literal values, which may reach beyond its schema.",
                "Restore another archive, and find out who wrote this one.",
            )
        return Statement("rows", table, sql)

    def _cut(self, separator: re.Pattern[bytes], stop: int) -> tuple[int, int] | None:
        """Return where a first piece of the rows ends and the next one begins; None when they are one piece."""
        near = self._position + self._piece
        if stop <= near:
            return None
        if found := separator.search(self._text, near, stop):
            return found.span()
        if stop - self._position <= self._longest_line:
            return None
        self._longest_line = self._piece  # from here on, nothing is gained by waiting for its end
        return self._cut_line(near, stop)

    def _cut_line(self, near: int, stop: int) -> tuple[int, int] | None:
        """The same for a line of rows, which is one statement and is cut only if it must be."""
        end, row = 0, ROW.match(self._text, self._position)
        while row and (not end or row.end() <= near):
            end = row.end()
            row = ROW.match(self._text, end + 1)
        return (end, end + 1) if end and end < stop else None


def follow(session: Session, setting: Statement) -> None:
    """Follow a setting of a dump.

    :raises RestoreError: it leaves open how a server reads what comes next.
    """
    try:
        session.run(setting.sql)
    except ValueError as error:
        raise RestoreError(
            f"A setting of the dump makes it ambiguous how the server reads what follows: {error}.",
            "Write the value of sql_mode, or of the character set, into that SET statement.",
        ) from error


@cache
def statement_ends(delimiter: bytes, lexis: Lexis) -> re.Pattern[bytes]:
    """Return what a statement is read by: its ``end``, what may hide one, and what may but is ``open`` as yet.

    MySQL's client writes the end of code behind a ``remark`` in its last line, which hides it from the server.
    """
    end = re.escape(delimiter)
    behind_remark = rb"(?P<remark>%b)\ ?(?:\*/\ ?)?%b(?=\r?\n%b)" % (_REMARK, end, _BEHIND_CODE)
    of_code = behind_remark if delimiter != b";" else b"(?P<remark>(?!))"
    return lexis.dialect.scanner(b"(?P<end>%b|%b)" % (end, of_code))


def _is_end(token: re.Match[bytes]) -> bool:
    return token.lastgroup == "end"


def classify(sql: bytes, lexis: Lexis = PLAIN, schema: str = "", *, of_mariadb: bool = False) -> Statement | None:
    """Say what a statement does; None when a restore leaves it out.

    :param lexis: how the server reads it.
    :param schema: that was dumped.
    :param of_mariadb: from a MariaDB server.
    :raises RestoreError: it reaches beyond the schema, or is none that dump clients write.
    """
    if len(sql) <= LONGEST_REPEATED and _SETTING.match(sql):
        return _setting(sql, lexis)
    return _classify(sql, lexis, schema, of_mariadb=of_mariadb)


@lru_cache(REPEATED)
def _setting(sql: bytes, lexis: Lexis) -> Statement | None:
    return _classify(sql, lexis, "", of_mariadb=False)


def _classify(sql: bytes, lexis: Lexis, schema: str, *, of_mariadb: bool) -> Statement | None:
    statement = recognise(sql)
    if not statement:
        if _SKIPPED.match(sql):
            return None
        if not _SETTING.match(sql):
            raise _refusal(sql)
        statement = Statement("setting", "", sql)
    if other := statement.kind != "setting" and created(statement).groupdict().get("schema"):
        raise RestoreError(
            f"The dump makes {statement.kind} {statement.name!r} in schema {name_of(other)!r}, wherever it is loaded.",
            "Remove the schema's name from that statement of the dump.",
        )
    if statement.kind in _NAMED_IN_UTF8:
        statement = as_client_wrote(statement, lexis, of_mariadb=of_mariadb)
    if statement.kind == "table" and schema:
        statement = statement.with_sql(grammar.without_own_schema(sql, backquoted_bytes(schema), lexis))
    if beyond := grammar.refusal(statement.kind, statement.sql, lexis):
        if statement.kind == "setting":
            raise _refusal(sql)
        raise RestoreError(
            f"The dump's {statement.kind} {statement.name!r} says {beyond}, which may reach beyond its schema.",
            "Remove that from its definition, or restore it manually with the server's own client.",
        )
    return statement


def _refusal(sql: bytes) -> RestoreError:
    words = _FIRST_WORDS.match(sql)
    said = words[0].decode() if words else "a statement"
    if _SCHEMA.match(sql):
        return RestoreError(
            f"The dump says {said}: it was made with --databases and would be loaded into the schema that it names.",
            "Remove its lines CREATE DATABASE and USE, or dump without --databases.",
        )
    return RestoreError(
        f"The dump says {said}, which reaches beyond its schema, or is not written by dump clients.",
        "Remove that statement from the dump.",
    )
