"""Facts that a load needs from a dump's definitions, and its changes to them: pure functions of their text.

Digests are made of the text that `canonical` returns.

Keys and foreign keys are built after the rows, which takes half the time. Some keys are needed from the start; then
all keys of their table are built first, so that SHOW CREATE TABLE lists them in the order of the dump.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from lifeboat.databases.mysql.grammar import HEAD_TOKENS, MERGING, without_own_schema
from lifeboat.databases.mysql.lexis import PLAIN, tokens
from lifeboat.databases.mysql.statements import NAME, QUALIFIED, created, pattern, without_strings
from lifeboat.databases.sql.dialect import MYSQL
from lifeboat.databases.sql.quoting import backquoted_bytes, name_of
from lifeboat.databases.sql.reader import Kind, Statement

_NAMES = rf"(?: {NAME} (?: ,\s? {NAME} )* )"
# What has no end ends with the text.
_STRING, _DOUBLE = (quotes.to_end for quotes in MYSQL.texts)
(_QUOTED,) = (quotes.to_end for quotes in MYSQL.names)
_MARK = re.compile(rb"%b|%b|%b|/\*.*?(?:\*/|\Z)|(?P<mark>[(),])" % (_STRING, _DOUBLE, _QUOTED), re.DOTALL)
_KEY = re.compile(rb"(?:([A-Z]+) )?KEY ")
_PRIMARY_KEY = pattern(rf"PRIMARY\sKEY\s (?: USING\s\w+\s )? \( ({NAME})")
_NAME = pattern(NAME)
_FOREIGN_KEY = pattern(
    rf"""CONSTRAINT\s (?P<constraint> {NAME} ) \sFOREIGN\sKEY\s \( (?P<columns> {_NAMES} ) \)
    \sREFERENCES\s {QUALIFIED} \s \( (?P<parents> {_NAMES} ) \)"""
)
_ENGINE = re.compile(rb"\bENGINE=(\w+)")  # without spaces around, as partitions have them
# Of a column, its collation stands right behind its type, whose parentheses may hold strings.
_COLUMN = pattern(
    r"""(?P<head> \s* (?: `(?>[^`]|``)++` | "(?>[^"]|"")++" ) \s \w++ (?: \s(?:precision|varying)\b )?
        (?: \s? \( (?> [^'()]++ | '(?>[^'\\]|\\.)*+' )*+ \) )? (?: \s /\*M?!\d*+ \s COMPRESSED\b [^*]*+ \*/ )? )
    (?: \s CHARACTER\sSET \s (?P<charset> \w++ ) )? (?: \s COLLATE \s (?P<collation> \w++ ) )?"""
)
_BRACKETS = re.compile(
    rb"%b|%b" % (_STRING, _QUOTED)
    + rb"|(?P<open>\bexists\(|\(not(?= exists\()|\()|(?P<close>\))(?P<said> is (?:true|false)\b)?",
    re.DOTALL,
)
# What MySQL adds to EXISTS, alone in a condition, once the view's definer is gone; the second turns the meaning round.
_SAID_TWICE = {(b"exists(", b" is true"), (b"(not", b" is false")}
_VIEW_NAME = re.compile(rb"`(?>[^`]|``)++`")
_MARKS = r"/\*M?!\d*+ | \*/"  # of comments for some versions of the server
_KEPT = rf"(?P<kept> {_STRING.decode()} | {_QUOTED.decode()} )"
_COUNTER = pattern(rf"{_KEPT} | \sAUTO_INCREMENT=\d++")
_NULL_BY_DEFAULT = pattern(rf"{_KEPT} | \sDEFAULT\sNULL\b")
_UNION = re.compile(_STRING + rb"|\bUNION=\((?P<names>(?>`(?>[^`]|``)++`,?)++)\)", re.DOTALL)
_MEANINGLESS = pattern(
    rf"""{_KEPT} | \sAUTO_INCREMENT=\d++ | (?P<version> /\*M?!\d++ )
    | \s*+ /\*(?!M?!) .*? (?: \*/ | \Z )"""
)
_SPACES_AND_MARKS = pattern(rf"(?P<kept> {_STRING.decode()} | {NAME} ) | (?> \s | {_MARKS} )++")
BEHIND_BODY = b"; \t\r\n"  # kept if other statements followed in one call, dropped if the statement was sent alone
_MARKS_OF_VIEW = pattern(rf"{_KEPT} | \s*+ (?: {_MARKS} ) \s*+")
_TABLE_COLLATION = re.compile(
    rb"%b|%b" % (_STRING, _QUOTED) + rb"|\bDEFAULT CHARSET=(?P<charset>\w++)(?: COLLATE=(?P<collation>\w++))?",
    re.DOTALL,
)
# The default collation of a character set is <name>_general_ci but for these. Servers that print a character set alone,
# MySQL and MariaDB before 10.6, agree on all of them; of utf8mb4, MySQL 8 names the collation always.
_DEFAULT_COLLATIONS = {
    collation.partition(b"_")[0]: collation
    for collation in (
        b"big5_chinese_ci binary cp932_japanese_ci dec8_swedish_ci eucjpms_japanese_ci euckr_korean_ci"
        b" gb18030_chinese_ci gb2312_chinese_ci gbk_chinese_ci hp8_english_ci latin1_swedish_ci latin5_turkish_ci"
        b" sjis_japanese_ci swe7_swedish_ci tis620_thai_ci ujis_japanese_ci"
    ).split()
}
_COLLATION = re.compile(rb"\b(?:COLLATE|collation_connection)[ =]+([a-z]\w*)", re.IGNORECASE)
_COLUMN_HEAD = pattern(
    r"(?P<column> `(?>[^`]|``)++` | \"(?>[^\"]|\"\")++\" ) \s"
    r" (?P<floating> double\b | float\b )?(?P<vector> vector\b )?"
)
_OLD_MODE = re.compile(rb",NO_AUTO_CREATE_USER\b|\bNO_AUTO_CREATE_USER\b,?")
_LIBRARIES = re.compile(rb"\n    USING \((?>`(?>[^`]|``)*+`|[^`()])*+\)")
# Before a table or a sequence, a column with its table, or a function; not before a column of an alias.
_OWN_IN_VIEW = (
    _STRING + rb"|(?P<before>(?:from|join) \(*+|(?:nextval|lastval|setval)\()?"
    rb"(?P<own>(?(before)%b|(?<!\.)%b(?=`(?>[^`]|``)++`[.(])))"
    rb"|`(?>[^`]|``)++`"
)
# Of other columns that may be NULL, MySQL says DEFAULT NULL; it never does of these types.
_DEFAULT = pattern(
    r"""\b(?:DEFAULT|NOT\sNULL|GENERATED\sALWAYS|AUTO_INCREMENT)\b
    | ^ \s* (?:(?:tiny|medium|long)?(?:text|blob)|geom\w*+|(?:multi)?(?:point|linestring|polygon))\b"""
)
_COMPUTED = re.compile(rb"\bGENERATED ALWAYS AS \(")
_UNSIGNED = pattern(rf"{NAME} \s \w+ (?: \(\d+(?:,\d+)?\) )? \s unsigned\b")
_PERIOD = re.compile(rb"\bGENERATED ALWAYS AS ROW (?:START|END)\b")
_TEXT = re.compile(
    rb"(?P<name>`[^`]*+`|\"[^\"]*+\")|%b|--\s[^\n]*|\#[^\n]*|/\*(?!!|M!).*?(?:\*/|\Z)" % _STRING,
    re.DOTALL,
)
_MARIADB_ONLY = {
    "system versioning": re.compile(rb"\bSYSTEM VERSIONING\b|\bPERIOD FOR SYSTEM_TIME\b"),
    "an application-time period": re.compile(rb"\bPERIOD FOR ''"),
    "the type UUID or INET": re.compile(rb"'' (?:uuid|inet[46])\b"),
    "an ignored key": re.compile(rb"\) IGNORED\b"),
}
_MYSQL_ONLY = {
    "a key of an expression": re.compile(rb"\bKEY '' \((?:''(?:\(\d+\))?(?: DESC)?,)*\("),
    "a CHECK that is not enforced": re.compile(rb"\bNOT ENFORCED\b"),  # in a comment that MariaDB passes over
}
_DUALITY = re.compile(rb"\bJSON RELATIONAL DUALITY VIEW\b")
_JAVASCRIPT = re.compile(rb"\n    LANGUAGE JAVASCRIPT\n")

# Read with a separate delimiter; all but libraries run with the rights of their definers.
CODE: frozenset[Kind] = frozenset(
    ("view", "trigger", "event", "procedure", "function", "package", "package body", "library")
)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key as its table's definition states it; names are quoted as there.

    :param schema: of the parent, where it is another than the table's own.
    :param parents: the parent's columns.
    :param clause: the whole definition of the key.
    """

    table: bytes
    constraint: bytes
    columns: tuple[bytes, ...]
    schema: bytes
    parent: bytes
    parents: tuple[bytes, ...]
    clause: bytes

    @property
    def title(self) -> str:
        """The key as messages name it."""
        return f"foreign key {name_of(self.constraint)!r} of table {name_of(self.table)!r}"

    @property
    def orphans(self) -> bytes:
        """The query that counts rows without a parent; one with a NULL among its columns needs none."""
        pairs = zip(self.columns, self.parents, strict=True)
        parent = self.schema + b"." + self.parent if self.schema else self.parent
        return (
            b"SELECT COUNT(*) FROM %b AS child LEFT JOIN %b AS parent ON " % (self.table, parent)
            + b" AND ".join(b"parent.%b = child.%b" % (theirs, ours) for ours, theirs in pairs)
            + b" WHERE parent.%b IS NULL" % self.parents[0]
            + b"".join(b" AND child.%b IS NOT NULL" % column for column in self.columns)
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its table's definition states it.

    :param name: quoted as there.
    :param is_computed: the server computes its values from those of others.
    :param is_floating: its values are floating numbers.
    :param is_period: it says since when or until when a row is there.
    :param subtracts: it is computed by a subtraction, and may be below zero.
    :param is_vector: its values are bytes, which older clients of MariaDB write as text.
    :param has_default: False where MySQL's text says that there is none, not even NULL.
    """

    name: bytes
    is_computed: bool
    is_floating: bool
    is_period: bool = False
    has_default: bool = True
    is_vector: bool = False
    subtracts: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table's definition, taken apart.

    :param whole: makes the table, without foreign keys.
    :param before: the same, where keys wait for the rows.
    :param after: builds those keys.
    :param spreads: whether several connections may insert at the same time.
    """

    name: str
    quoted: bytes
    whole: bytes
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    foreign_keys: tuple[ForeignKey, ...]
    spreads: bool
    columns: tuple[Column, ...]

    @property
    def subtracts(self) -> bool:
        """Return whether what it computes may be below zero, though all that it stores is not."""
        return b" unsigned" in self.whole and any(column.subtracts for column in self.columns)


def without_counter(table: Statement) -> Statement:
    """Return the definition of an ARCHIVE table without its counter: that engine takes no key below it."""
    if engine_of(table).lower() != "archive":
        return table
    return table.with_sql(_COUNTER.sub(lambda found: found["kept"] or b"", table.sql))


def merges_others(table: Statement) -> bool:
    """Return whether a table shows the rows of others, without which it cannot be opened."""
    return engine_of(table).upper() in MERGING


def members(table: Statement) -> list[str]:
    """Return the tables whose rows a table shows."""
    end = max((end for _, end in _clauses(table.sql, created(table).end())), default=0)
    named = next((found["names"] for found in _UNION.finditer(table.sql, end) if found["names"]), b"")
    return [name_of(name) for name in _NAME.findall(named)]


def read_table(statement: Statement) -> Table:
    """Take a CREATE TABLE apart."""
    head = created(statement)
    sql, quoted = statement.sql, head["name"]
    spans = list(_clauses(sql, head.end()))
    clauses = [sql[start:end].strip() for start, end in spans]
    foreign = [match for match in map(_FOREIGN_KEY.match, clauses) if match]
    keys = {clause: kind for clause in clauses if (kind := _kind_of_key(clause)) is not None}
    engine = engine_of(statement).lower()
    whole = _without(sql, spans, {match.string for match in foreign})
    before: tuple[bytes, ...] = (whole,)
    after: tuple[bytes, ...] = ()
    spreads = engine == "innodb" and not _must_stay(sql, clauses, keys)
    if spreads:
        before = (_without(sql, spans, {*(match.string for match in foreign), *keys}),)
        after = tuple(_add(quoted, group) for group in _groups(keys))
    elif engine in ("myisam", "aria"):
        before = (whole, b"ALTER TABLE %b DISABLE KEYS" % quoted)
        after = (b"ALTER TABLE %b ENABLE KEYS" % quoted,)
    foreign_keys = tuple(_foreign_key(quoted, match) for match in foreign)
    columns = tuple(column for clause in clauses if (column := _column(clause)))
    return Table(statement.name, quoted, whole, before, after, foreign_keys, spreads, columns)


def _kind_of_key(clause: bytes) -> bytes | None:
    """Return what stands before KEY; None when the clause is another, or the primary key."""
    kind = _KEY.match(clause)
    return (kind[1] or b"") if kind and kind[1] != b"PRIMARY" else None


def _column(clause: bytes) -> Column | None:
    """Read the clause of a column; None when it is another clause."""
    match = _COLUMN_HEAD.match(clause)
    if not match:
        return None
    rest = without_strings(clause[match.end() :])
    return Column(
        match["column"],
        is_computed=bool(_COMPUTED.search(rest)),
        is_floating=bool(match["floating"]),
        is_period=bool(_PERIOD.search(rest)),
        has_default=bool(_DEFAULT.search(rest)),
        is_vector=bool(match["vector"]),
        subtracts=bool(_COMPUTED.search(rest) and b" - " in rest and not _UNSIGNED.match(clause)),
    )


def _clauses(sql: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each column, key and constraint begins and ends.

    :param start: just behind the parenthesis that opens them.
    """
    depth, begin = 1, start
    for token in _MARK.finditer(sql, start):
        mark = token["mark"]
        depth += {b"(": 1, b")": -1}.get(mark, 0)
        if depth == 0 or (depth == 1 and mark == b","):
            yield begin, token.start()
            begin = token.end()
        if depth == 0:
            return


def _without(sql: bytes, spans: Sequence[tuple[int, int]], unwanted: Set[bytes]) -> bytes:
    if not unwanted:
        return sql
    kept = [sql[start:end].rstrip() for start, end in spans if sql[start:end].strip() not in unwanted]
    return sql[: spans[0][0]] + b",".join(kept) + b"\n" + sql[spans[-1][1] :]


def _must_stay(sql: bytes, clauses: Sequence[bytes], keys: dict[bytes, bytes]) -> bool:
    """Return whether InnoDB needs one of the keys from the start, or would add one only by copying the table."""
    primary = next((match[1] for match in map(_PRIMARY_KEY.match, clauses) if match), b"")
    columns = [(match[0], clause[match.end() :]) for clause in clauses if (match := _NAME.match(clause))]
    counted = [name for name, rest in columns if b" AUTO_INCREMENT" in without_strings(rest)]
    kinds = set(keys.values())
    return (
        (not primary and b"UNIQUE" in kinds)  # InnoDB may store the rows in the order of such a key
        or any(name != primary for name in counted)
        or b"FTS_DOC_ID" in sql
        or (b"FULLTEXT" in kinds and b" SYSTEM VERSIONING" in sql)
        or any(b" USING HASH" in key or b" WITHOUT OVERLAPS" in key for key in keys)
        or not kinds <= {b"", b"UNIQUE", b"FULLTEXT", b"SPATIAL"}
    )


def _groups(keys: dict[bytes, bytes]) -> list[list[bytes]]:
    """Return the keys that one ALTER TABLE can build: InnoDB builds one FULLTEXT at a time, and lists them last."""
    others = [key for key, kind in keys.items() if kind != b"FULLTEXT"]
    texts = [key for key, kind in keys.items() if kind == b"FULLTEXT"]
    first = [*others, *texts[:1]]
    return [group for group in (first, *([text] for text in texts[1:])) if group]


def _add(table: bytes, clauses: Iterable[bytes]) -> bytes:
    return b"ALTER TABLE %b " % table + b", ".join(b"ADD " + clause for clause in clauses)


def _foreign_key(table: bytes, match: re.Match[bytes]) -> ForeignKey:
    columns, parents = (tuple(_NAME.findall(match[group])) for group in ("columns", "parents"))
    return ForeignKey(table, match["constraint"], columns, match["schema"] or b"", match["name"], parents, match.string)


def add_foreign_keys(table: Table, foreign_keys: Iterable[ForeignKey]) -> bytes:
    """Return the ALTER TABLE that adds foreign keys."""
    return _add(table.quoted, (foreign_key.clause for foreign_key in foreign_keys))


def is_versioned(table: Statement) -> bool:
    """Return whether a table keeps the history of its rows."""
    return b"WITH SYSTEM VERSIONING" in without_strings(table.sql)


def within_schema(statement: Statement, schema: str) -> Statement:
    """Return a definition without what the server added to it, such as the name of the dumped schema.

    MariaDB adds that name to the columns of a view whose definer lacks rights, and to sequences; MySQL to the
    libraries of a routine. ```schema`.`name``` alone may be a column of an alias, and stays unless it names a table or
    a function. MySQL says twice whether rows exist in a view whose definer is gone.
    """
    if statement.kind == "table":
        return statement.with_sql(without_own_schema(statement.sql, backquoted_bytes(schema), PLAIN))
    own = re.escape(backquoted_bytes(schema)) + rb"\."
    if statement.kind == "view":
        return statement.with_sql(_said_once(_unqualified(_OWN_IN_VIEW % (own, own), statement.sql)))
    if statement.kind in ("function", "procedure") and (using := _LIBRARIES.search(statement.sql)):
        start, end = using.span()
        libraries = _unqualified(rb"(?P<before>)(?P<own>(?<=[ (])%b)|`(?>[^`]|``)++`" % own, using[0])
        return statement.with_sql(statement.sql[:start] + libraries + statement.sql[end:])
    return statement


def _unqualified(own: bytes, sql: bytes) -> bytes:
    return re.sub(own, lambda found: found["before"] or b"" if found["own"] else found[0], sql, flags=re.DOTALL)


def _said_once(view: bytes) -> bytes:
    opened: list[bytes] = []

    def without_repetition(found: re.Match[bytes]) -> bytes:
        if found["open"]:
            opened.append(found["open"])
        is_repeated = found["close"] and ((opened or [b""]).pop(), found["said"]) in _SAID_TWICE
        return b")" if is_repeated else found[0]

    return _BRACKETS.sub(without_repetition, view)


def readers_first(views: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the names of views, those that read others before those.

    :param views: their definitions, by their names as definitions have them.
    """
    return itertools.chain.from_iterable(waves_of_readers(views))


def waves_of_readers(views: Mapping[bytes, bytes]) -> Iterator[list[bytes]]:
    """Yield the names of views that do not read one another; those that read others before those."""
    remaining = dict(views)
    reads = {
        name: (set(_VIEW_NAME.findall(sql.partition(b" AS ")[2])) & remaining.keys()) - {name}
        for name, sql in views.items()
    }
    readers = Counter(read for found in reads.values() for read in found)
    while remaining:
        wave = [name for name in remaining if not readers[name]]
        # Names of columns look alike, so that each of the rest may seem to have a reader.
        yield from [wave] if wave else ([name] for name in list(remaining))
        for name in wave or list(remaining):
            del remaining[name]
            readers.subtract(reads[name])


def without_defaults(table: Table) -> tuple[bytes, ...]:
    """Return the ALTER TABLE by which columns of MySQL lose the defaults that they were made without."""
    drops = [b"ALTER %b DROP DEFAULT" % column.name for column in table.columns if not column.has_default]
    return (b"ALTER TABLE %b " % table.quoted + b", ".join(drops),) if drops else ()


def definer_of(statement: Statement) -> tuple[str, str] | None:
    """Return user and host of the account that a definition belongs to."""
    head = created(statement)
    if not head["definer"]:
        return None
    owner = name_of(head["user"]), name_of(head["host"] or b"")
    if statement.kind != "event":
        return owner
    user, _, host = "@".join(owner).rpartition("@")  # MariaDB prints an event's as if no user's name had an @
    return user, host


def without_definer(statement: Statement) -> Statement:
    """Return a definition that will belong to the user who runs it."""
    start, end = created(statement).span("definer")
    return statement if start < 0 else statement.with_sql(statement.sql[:start] + statement.sql[end:])


def as_mysql_sets(setting: Statement) -> Statement:
    """Return a setting without the mode that MySQL no longer knows and that means nothing for what a dump makes."""
    return setting.with_sql(_OLD_MODE.sub(b"", setting.sql))


def disabled(event: Statement) -> Statement:
    """Return the definition of an event that does not run until somebody enables it, whatever it says itself."""
    parts = _event_parts(event.sql)
    if not parts:
        return event
    return event.with_sql(b" ".join([parts.head, *parts.schedule, b"DISABLE", parts.rest]))


def status_of(event: Statement) -> str:
    """Return what a definition says of whether an event runs: ``ENABLE``, ``DISABLE`` ...; silence enables it."""
    parts = _event_parts(event.sql)
    return (parts and parts.status) or "ENABLE"


@dataclass(frozen=True, slots=True)
class _EventParts:
    """An event's definition, taken apart.

    :param head: up to its name.
    :param schedule: the tokens of its schedule, and of what happens at its end.
    :param status: as a shape; '' if it has none.
    :param rest: from its comment on, or from DO on; in another sql_mode, these texts end elsewhere.
    """

    head: bytes
    schedule: tuple[bytes, ...]
    status: str
    rest: bytes


def _event_parts(sql: bytes) -> _EventParts | None:
    found = list(itertools.islice(tokens(sql, PLAIN), HEAD_TOKENS))
    shapes = [token.shape for token in found]
    start = shapes.index("SCHEDULE") - 1 if "SCHEDULE" in shapes else len(shapes)
    end = next((place for place in range(start, len(shapes)) if shapes[place] in ("COMMENT", "DO")), 0)
    if not end:
        return None
    status_at = end
    while shapes[status_at - 1] in ("ENABLE", "DISABLE", "SLAVE", "REPLICA") or shapes[status_at - 2] == "DISABLE":
        status_at -= 1
    # The default, which a server does not understand that reads NOT as it did once (HIGH_NOT_PRECEDENCE).
    forgets = shapes[status_at - 4 : status_at] == ["ON", "COMPLETION", "NOT", "PRESERVE"]
    schedule = found[start : status_at - 4 if forgets else status_at]
    return _EventParts(
        sql[: found[start - 1].end],
        tuple(sql[token.start : token.end] for token in schedule),
        " ".join(shapes[status_at:end]),
        sql[found[end].start :],
    )


def of_schema(collation: Statement, schema: str) -> Statement:
    """Return a statement on the dumped schema as one on another."""
    start, end = created(collation).span("name")
    return collation.with_sql(collation.sql[:start] + backquoted_bytes(schema) + collation.sql[end:])


def names_schema(statement: Statement, schema: str) -> bool:
    """Return whether a definition names a schema explicitly, in front of something in it."""
    name = re.escape(schema.encode("utf-8", "surrogateescape"))
    text = _TEXT.sub(lambda found: found["name"] or b"''", statement.sql)
    return bool(re.search(rb"(?:`%b`|\"%b\"|(?<![\w$.`\"@])%b)\s*\.\s*[\w`\"]" % (name, name, name), text))


def canonical(statement: Statement, schema: str, *, of_mariadb: bool = False) -> bytes:
    """Return the text of a definition that is the same whatever client printed it, and after a reload.

    :param schema: that was dumped; empty where nothing of it is known.
    :param of_mariadb: MariaDB printed it, for which a column that may be NULL has that default, said or not.
    """
    if statement.kind == "table":
        sql = with_collations_only(within_schema(statement, schema)).sql
        sql = _MEANINGLESS.sub(lambda found: found["kept"] or (b"/*!" if found["version"] else b""), sql)
        if of_mariadb:
            sql = _NULL_BY_DEFAULT.sub(lambda found: found["kept"] or b"", sql)
        return _with_keys_sorted(statement.with_sql(sql))
    if statement.kind not in CODE:
        return statement.sql
    code = within_schema(without_definer(statement), schema)
    if code.kind == "event":
        code = disabled(code)
    if code.kind == "view":  # the server's own text, so that all comments are those of the client
        return _MARKS_OF_VIEW.sub(_space, code.sql).strip()
    end = created(code).end()
    head, body = code.sql[:end], code.sql[end:].rstrip(BEHIND_BODY)
    marks = b"".join(found[0] for found in _SPACES_AND_MARKS.finditer(head) if not found["kept"])
    if marks.count(b"/*") > marks.count(b"*/"):
        body = body.removesuffix(b"*/").rstrip(BEHIND_BODY)
    return _SPACES_AND_MARKS.sub(_space, head).strip() + body


def _with_keys_sorted(table: Statement) -> bytes:
    """Return a table's definition with its keys in one order: servers sort them when they make a table."""
    sql = table.sql
    clauses = [(start, sql[start:end].strip()) for start, end in _clauses(sql, created(table).end())]
    keys = [(sql.index(clause, start), clause) for start, clause in clauses if _kind_of_key(clause) is not None]
    pieces, reached = [], 0
    for (start, clause), instead in zip(keys, sorted(clause for _, clause in keys), strict=True):
        pieces += [sql[reached:start], instead]
        reached = start + len(clause)
    return b"".join((*pieces, sql[reached:]))


def _space(found: re.Match[bytes]) -> bytes:
    return found["kept"] or b" "


def with_collations_only(table: Statement) -> Statement:
    """Return a table's definition with character sets and collations in one spelling, outside of strings.

    The same column is printed as ``COLLATE y`` or ``CHARACTER SET x COLLATE y``, or as ``CHARACTER SET x`` where y is
    the default collation of x, or without either where the table has the same collation: it depends on how the table
    was made, and changes by a reload. What remains is the collation, which implies the character set, and only where
    it is not the table's.
    """
    sql = table.sql
    spans = list(_clauses(sql, created(table).end()))
    end = spans[-1][1] if spans else 0
    options = next((found for found in _TABLE_COLLATION.finditer(sql, end) if found["charset"]), None)
    default = _collation_of(options) if options else b""
    pieces, reached = [], 0
    for start, stop in spans:
        if (column := _COLUMN.match(sql, start, stop)) and (column["charset"] or column["collation"]):
            collation = _collation_of(column)
            pieces += [sql[reached : column.end("head")], b" COLLATE " + collation if collation != default else b""]
            reached = column.end()
    if options:
        pieces += [sql[reached : options.start()], b"COLLATE=" + default]
        reached = options.end()
    return table.with_sql(b"".join((*pieces, sql[reached:])))


def _collation_of(found: re.Match[bytes]) -> bytes:
    """Return the collation that a character set and a collation, either of which may be missing, stand for."""
    charset = found["charset"]
    collation = found["collation"] or _DEFAULT_COLLATIONS.get(charset, charset + b"_general_ci")
    return re.sub(rb"^utf8_", b"utf8mb3_", collation)  # its older name


def engine_of(table: Statement) -> str:
    """Return the storage engine that a table's definition names; empty where it names none."""
    found = _ENGINE.search(without_strings(table.sql))
    return found[1].decode() if found else ""


def collations(statement: Statement) -> set[str]:
    """Return the collations that a table's definition or a setting names."""
    if statement.kind not in ("table", "setting", "schema collation"):
        return set()
    return {name.decode() for name in _COLLATION.findall(without_strings(statement.sql))}


def mariadb_only(statement: Statement) -> str:
    """Return what a definition asks for that only MariaDB has; empty where it asks for nothing such."""
    if statement.kind in ("sequence", "package", "package body"):
        return f"a {statement.kind}"
    if statement.kind != "table":
        return ""
    text = without_strings(statement.sql)
    return next((feature for feature, asked in _MARIADB_ONLY.items() if asked.search(text)), "")


def mysql_only(statement: Statement) -> str:
    """Return what a definition asks for that only MySQL has; empty where it asks for nothing such."""
    if statement.kind == "library":
        return "a library"
    if statement.kind == "view":
        return "JSON duality" if _DUALITY.search(statement.sql, 0, created(statement).end()) else ""
    if statement.kind in ("function", "procedure"):
        return "JavaScript" if _JAVASCRIPT.search(statement.sql) else ""
    if statement.kind != "table":
        return ""
    text = without_strings(statement.sql)
    return next((feature for feature, asked in _MYSQL_ONLY.items() if asked.search(text)), "")
