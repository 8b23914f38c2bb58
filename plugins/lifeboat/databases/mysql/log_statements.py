"""Statements of a binary log: their effect, and how they run in another schema; pure functions of their text.

A statement names what it changes at its beginning, in one of a few forms; any other form is refused. It runs if that
is in the schema to be restored, whatever schema was the default; it is omitted if that is elsewhere. Names of the
schema become names of the one that is filled. What a statement reads, and what an expression in it reaches, is for
the rights of the account that runs it: it has none on other schemas.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lifeboat.databases.mysql.grammar import ENGINES, MERGING
from lifeboat.databases.mysql.lexis import PLAIN_CHARACTER_SETS, Lexis, Token, is_ambiguous, readings, tokens
from lifeboat.databases.mysql.statements import in_character_set
from lifeboat.databases.sql.quoting import backquoted_bytes, name_of

# Why a statement is omitted, where that is within the reach of the schema.
USER, SERVER, UPKEEP, ELSEWHERE = "user or grant", "server object", "upkeep", "change of another schema"
EXCLUDED, DATABASE, SWITCH = "change of an excluded table", "database", "event switched on or off"
SPREADING = "change of an excluded table that may have changed others, too, by foreign keys or triggers"

STORED = frozenset(("TRIGGER", "EVENT", "PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY", "LIBRARY"))
CODE = STORED | {"VIEW"}
_OF_SERVER = frozenset(("SERVER", "TABLESPACE", "UNDO", "LOGFILE", "RESOURCE", "INSTANCE", "MASKING", "REFERENCE"))
_UPKEEP = frozenset(("FLUSH", "RESET", "PURGE", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM", "CACHE"))
CHANGES = frozenset(("INSERT", "REPLACE", "UPDATE", "DELETE"))
_DEFINES = frozenset(("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"))
_SCHEMAS = frozenset(("DATABASE", "SCHEMA"))
_INDEX = frozenset(("INDEX", "KEY"))
_MODIFY = frozenset(  # what a definition is of, before its kind
    [
        "UNIQUE",
        "FULLTEXT",
        "SPATIAL",
        "VECTOR",
        "ONLINE",
        "OFFLINE",
        "IGNORE",
        "AGGREGATE",
        "JSON",
        "RELATIONAL",
        "DUALITY",
    ]
)
_MODIFIERS = frozenset(("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK", "IGNORE"))
_BEFORE_NAMES = frozenset(
    [
        "TABLE",
        "TABLES",
        "INTO",
        "FROM",
        "JOIN",
        "UPDATE",
        "REFERENCES",
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "SEQUENCE",
        "TO",
    ]
)
_NO_WORDS = frozenset(("name", "quoted", "string", "number", "\0"))
_OPTIONS_OF_SCHEMA = frozenset(["DEFAULT", "CHARACTER", "CHARSET", "SET", "COLLATE", "COMMENT", "="])
_OF_SEQUENCE = frozenset(("SETVAL", "NEXTVAL"))
# What servers log as rows, unless binlog_format is STATEMENT: nobody can run it again and get the same.
_UNSAFE = frozenset(
    [
        "UUID",
        "UUID_SHORT",
        "SYSDATE",
        "LOAD_FILE",
        "ROW_COUNT",
        "FOUND_ROWS",
        "GET_LOCK",
        "RELEASE_LOCK",
        "IS_FREE_LOCK",
        "IS_USED_LOCK",
        "SLEEP",
        "USER",
        "SESSION_USER",
        "SYSTEM_USER",
        "VERSION",
        "CONNECTION_ID",
        "ENCRYPT",
        "LASTVAL",
        "MASTER_GTID_WAIT",
        "MASTER_POS_WAIT",
        "RELEASE_ALL_LOCKS",
        "SOURCE_POS_WAIT",
        "SYS_GUID",
        "UUID_V4",
        "UUID_V7",
        "RANDOM_BYTES",
    ]
)
_UNSAFE_WORDS = frozenset(("CURRENT_USER", "CURRENT_ROLE"))  # with or without parentheses
# Of the session, as the log holds them.
_LOGGED_VARIABLES = frozenset(
    [
        "AUTO_INCREMENT_INCREMENT",
        "AUTO_INCREMENT_OFFSET",
        "CHARACTER_SET_CLIENT",
        "CHARACTER_SET_CONNECTION",
        "COLLATION_CONNECTION",
        "FOREIGN_KEY_CHECKS",
        "IDENTITY",
        "LAST_INSERT_ID",
        "LC_TIME_NAMES",
        "SQL_AUTO_IS_NULL",
        "SQL_MODE",
        "TIMESTAMP",
        "TIME_ZONE",
        "UNIQUE_CHECKS",
    ]
)
_WRITING_ROWS = {"CREATE": frozenset({"SELECT"}), "ALTER": frozenset({"ADD", "DEFAULT"})}  # what definitions have then
_SCOPES = frozenset(("SESSION", "LOCAL"))
_NEAR = ENGINES | MERGING
_FAR = frozenset(("FEDERATED", "CONNECT", "SPIDER", "S3", "OQGRAPH", "SPHINX", "MYSQL_SE"))
_RENAMED_IN_TABLE = frozenset(("COLUMN", "INDEX", "KEY"))
_TOO_MANY_AND = "a change of another schema as well"

Edit = tuple[int, int, bytes]  # what replaces the text between two places


class RefusedStatementError(ValueError):
    """A statement that cannot run in another schema, or of which nothing is known; says nothing of its text."""


class Name(NamedTuple):
    """The name of something in a schema.

    :param schema: None where it is not said.
    :param start: where it begins in the statement.
    :param own: where its last part begins.
    :param end: where it ends.
    """

    schema: str | None
    name: str
    start: int
    own: int
    end: int


@dataclass(frozen=True, slots=True)
class Aim:
    """The schema that is replayed, and its target.

    :param source: the schema in the log.
    :param target: the one that is filled.
    :param excluded: tables that are not there.
    :param folds: whether names of schemas and tables are the same in upper and lower case.
    :param unchecked: foreign keys, each behind its table, whose parents are not there, or have no rows.
    """

    source: str
    target: str
    excluded: frozenset[str] = frozenset()
    folds: bool = False
    unchecked: frozenset[str] = frozenset()

    def is_source(self, schema: str) -> bool:
        """Return whether a schema is the one to be replayed."""
        return self._folded(schema) == self._folded(self.source)

    def is_target(self, schema: str) -> bool:
        """Return whether a schema of the log has the name of the one that is filled, and is another."""
        return self._folded(schema) == self._folded(self.target) and not self.is_source(schema)

    def is_excluded(self, table: str) -> bool:
        """Return whether a table of the schema is not there."""
        return self._folded(table) in set(map(self._folded, self.excluded))

    def lacks_parents(self, table: str) -> bool:
        """Return whether rows of a table may refer to some that are not there."""
        return any(self._folded(key).startswith(f"{self._folded(table)}.") for key in self.unchecked)

    def _folded(self, name: str) -> str:
        return name.lower() if self.folds else name


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision about a statement.

    :param kind: its first words, never a name or a value.
    :param runs: whether it does.
    :param sql: as it runs.
    :param left_out: why it does not, where that is within the reach of the schema; empty where it is elsewhere.
    :param within: whether it runs in the schema; no schema is the default one otherwise.
    :param commits: whether it ends a transaction, as definitions do.
    :param code: what it makes that runs with somebody's rights; empty for anything else.
    :param temporary: whether it makes or drops temporary tables.
    :param tables: that it changes, or would.
    :param renamed: kind, old and new name of what it may be, in the order in which that happens.
    """

    kind: str
    runs: bool = False
    sql: bytes = b""
    left_out: str = ""
    within: bool = True
    commits: bool = False
    code: str = ""
    temporary: bool = False
    tables: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str, str], ...] = ()


def judge(sql: bytes, lexis: Lexis, default: str, updated: Sequence[str], aim: Aim) -> Judged:
    """Say what is done with a statement.

    :param default: schema when it ran; empty for none.
    :param updated: schemas that it changes, as the server said; empty where it did not.
    :raises RefusedStatementError: it cannot be replayed.
    """
    if lexis.may_split(sql):
        raise RefusedStatementError(f"bytes that are not characters of the character set {lexis.character_set}")
    if lexis.character_set not in PLAIN_CHARACTER_SETS and not "".join((aim.source, *aim.excluded)).isascii():
        raise RefusedStatementError(f"names in the character set {lexis.character_set}, which are not compared")
    if is_ambiguous(sql, lexis):
        raise RefusedStatementError("a comment for some versions whose end depends on the version")
    found = [_Reading(sql, some, lexis, default, aim) for some in readings(list(tokens(sql, lexis)))]
    judged, *others = [reading.judged() for reading in found]
    if any(other != judged for other in others):
        raise RefusedStatementError("a comment that makes it depend on the server's version")
    if judged.runs:
        if updated and not all(map(aim.is_source, updated)):
            raise RefusedStatementError(_TOO_MANY_AND)
        return replace(judged, sql=_edited(sql, {edit for reading in found for edit in reading.edits}))
    # Of a change of rows, the server also names the schemas that are only read.
    is_unnamed = not judged.left_out or (judged.left_out == ELSEWHERE and judged.kind not in CHANGES)
    if is_unnamed and any(map(aim.is_source, updated)):
        raise RefusedStatementError("a change that its text does not name")
    return judged


def concerns(sql: bytes, lexis: Lexis, default: str, updated: Sequence[str], aims: Iterable[Aim]) -> bool | None:
    """Return whether a statement is about some schemas; None where nothing says so for certain.

    It is about none of them if it is about users, or if it defines something elsewhere and runs nobody's code:
    triggers, views and functions may change rows of other schemas than a statement names. Of code that names one of
    them, nothing is said.

    :param default: schema when it ran; empty for none.
    :param updated: schemas that it changes, as the server said; empty where it did not.
    """
    try:
        judged = [judge(sql, lexis, default, updated, aim) for aim in aims]
    except RefusedStatementError:
        return None
    if any(each.runs for each in judged):
        return True
    if any(each.left_out not in ("", USER, ELSEWHERE) for each in judged):
        return None
    may_be_code = all(each.left_out != ELSEWHERE for each in judged)
    found = [[token.shape for token in some] for some in readings(list(tokens(sql, lexis)))]
    return False if all(_is_definition(shapes, may_be_code=may_be_code) for shapes in found) else None


def _is_definition(shapes: Sequence[str], *, may_be_code: bool) -> bool:
    """Return whether a statement defines something, or is about users, and runs no query.

    :param may_be_code: whether that may be a view, a trigger or the like.
    """
    verb, *words = shapes or [""]
    if verb == "SET":
        return words[:1] in (["PASSWORD"], ["DEFAULT"], ["ROLE"])
    if verb not in _DEFINES:
        return verb in ("GRANT", "REVOKE")
    things = [word for word in words if word in _THINGS]
    if not may_be_code and not CODE.isdisjoint(things):
        return False
    queries = "SELECT" in words or things.count("TABLE") > 1 or "VALUES" in words
    return not (verb == "CREATE" and things[:1] == ["TABLE"] and queries)


def kind_of(sql: bytes, lexis: Lexis) -> str:
    """Return the kind of a statement: its first words, never a name or a value."""
    words = [token.shape for token, _ in zip(tokens(sql, lexis), range(30), strict=False)]
    verb = words[0] if words and words[0] in _VERBS else ""
    thing = next((word for word in words[1:] if word in _THINGS), "") if verb in _DEFINES else ""
    return f"{verb} {thing}".strip() or "of an unknown kind"


_VERBS = (
    _DEFINES
    | CHANGES
    | _UPKEEP
    | frozenset(
        [
            "GRANT",
            "REVOKE",
            "ANALYZE",
            "SELECT",
            "DO",
            "WITH",
            "CALL",
            "LOAD",
            "SAVEPOINT",
            "RELEASE",
            "ROLLBACK",
            "BEGIN",
            "COMMIT",
            "XA",
            "USE",
            "KILL",
            "SET",
            "START",
            "INSTALL",
            "UNINSTALL",
        ]
    )
)
_THINGS = CODE | _OF_SERVER | _SCHEMAS | _INDEX | {"TABLE", "TABLES", "SEQUENCE", "USER", "ROLE"}


def runs_events(code: bytes, lexis: Lexis) -> bool:
    """Return whether code runs events of a binary log: MariaDB lets it change any row then, whatever it runs as."""
    found = itertools.pairwise(tokens(code, lexis))
    return any(word.shape == "BINLOG" and next_.shape in ("string", "quoted", "@") for word, next_ in found)


def _edited(sql: bytes, edits: Iterable[Edit]) -> bytes:
    for start, end, text in sorted(edits, reverse=True):
        sql = sql[:start] + text + sql[end:]
    return sql


class _Reading:
    """A statement as servers of one version read it."""

    def __init__(self, sql: bytes, found: Sequence[Token], lexis: Lexis, default: str, aim: Aim) -> None:
        self._sql, self._found, self._lexis, self._default, self._aim = sql, found, lexis, default, aim
        self._at = 0
        self._verb = ""
        self._definer: tuple[int, int] | None = None
        self._is_default = aim.is_source(default)
        self.edits: list[Edit] = []

    def judged(self) -> Judged:
        if not self._is_default and not any(map(self._names_source, range(len(self._found)))):
            return Judged("")
        self._verb = verb = self._next()
        if verb in ("GRANT", "REVOKE") or (verb == "SET" and self._shape() in ("PASSWORD", "ROLE", "DEFAULT")):
            return self._left(USER)
        if verb in ("INSTALL", "UNINSTALL"):
            return self._left(SERVER)
        if verb in _UPKEEP or (verb == "ANALYZE" and "HISTOGRAM" not in self._shapes()):
            return self._left(UPKEEP)
        if verb in CHANGES:
            return self._change()
        read = {
            "CREATE": self._create,
            "ALTER": self._alter,
            "DROP": self._drop,
            "RENAME": self._rename,
            "TRUNCATE": self._on_tables,
            "ANALYZE": self._on_tables,
            "SELECT": self._call,
            "DO": self._call,
        }.get(verb)
        if read is None:
            raise RefusedStatementError("a statement of a kind that is not known")
        return read()

    # The forms in which statements name what they change.

    def _create(self) -> Judged:
        again = self._passed("OR") and self._passed("REPLACE")
        thing, temporary = self._thing()
        if thing in _SCHEMAS:
            unless = self._condition()
            return self._database(self._name(), ends=again or not unless)
        if elsewhere := self._of_server(thing):
            return elsewhere
        self._condition()
        if thing in _INDEX:
            self._name()
            return self._ran([self._name_after("ON")], thing)
        name = self._name()
        if thing == "FUNCTION" and self._shape() not in ("(", "RETURN"):
            return self._left(SERVER)  # a function of a library
        if thing == "TRIGGER":
            return self._ran([name, self._name_after("ON")], thing)
        if thing not in CODE and thing not in ("TABLE", "SEQUENCE"):
            raise RefusedStatementError("a definition of a kind that is not known")
        return self._ran([name], thing, temporary=temporary)

    def _alter(self) -> Judged:
        thing, _ = self._thing()
        if thing in _SCHEMAS:
            return self._alter_database()
        if elsewhere := self._of_server(thing):
            return elsewhere
        self._condition()
        name = self._name()
        if thing == "TABLE":
            return self._ran([name, *self._further_tables()], thing)
        if thing == "EVENT":
            return self._alter_event(name)
        if thing not in CODE and thing != "SEQUENCE":
            raise RefusedStatementError("a change of a kind that is not known")
        return self._ran([name], thing)

    def _drop(self) -> Judged:
        thing, temporary = self._thing()
        if thing in _SCHEMAS:
            self._condition()
            return self._database(self._name(), ends=True)
        if elsewhere := self._of_server(thing):
            return elsewhere
        self._condition()
        if thing in _INDEX:
            self._name()
            return self._ran([self._name_after("ON")], thing)
        if thing not in CODE and thing not in ("TABLE", "SEQUENCE"):
            raise RefusedStatementError("a removal of a kind that is not known")
        return self._ran(self._names(), thing, temporary=temporary)

    def _rename(self) -> Judged:
        thing = self._next()
        if thing == "USER":
            return self._left(USER)
        if thing not in ("TABLE", "TABLES"):
            raise RefusedStatementError("a renaming of a kind that is not known")
        self._condition()
        names = [self._name()]
        while self._at < len(self._found):
            if self._next() in (",", "TO"):
                names.append(self._name())
        called = [name.name for name in names]
        if len(called) % 2:
            raise RefusedStatementError("no name where one is expected")
        renamed = tuple(("VIEW", *pair) for pair in zip(called[::2], called[1::2], strict=True))
        return replace(self._ran(names, "TABLE"), renamed=renamed)

    def _on_tables(self) -> Judged:
        self._passed("LOCAL", "NO_WRITE_TO_BINLOG")
        self._passed("TABLE", "TABLES")
        return self._ran(self._names(), "TABLE")

    def _change(self) -> Judged:
        while self._passed(*_MODIFIERS):
            pass
        if self._verb in ("INSERT", "REPLACE"):
            self._passed("INTO")
            names = [self._name()]
        else:
            names = self._tables_of_change()
        judged = self._ran(names, "", commits=False)
        if judged.runs:
            self._check_values(names)
            self._refuse_excluded()
        return judged

    def _tables_of_change(self) -> list[Name]:
        """Return all tables of an UPDATE or DELETE, also those that it only reads to find rows."""
        if self._verb == "DELETE":
            if self._passed("FROM"):
                listed = self._names()
                if not self._passed("USING"):
                    return listed
            else:
                self._pass("FROM")
        names, ends = [], ("SET", "WHERE", "ORDER", "LIMIT", "RETURNING")
        expected = True
        while self._at < len(self._found) and (shape := self._shape()) not in ends:
            if expected and self._is_name(self._at):
                names.append(self._name())
                expected = False
            else:
                expected = shape in (",", "JOIN", "STRAIGHT_JOIN", "(") or (expected and shape == "LATERAL")
                self._at += 1
        if not names:
            raise RefusedStatementError("a change of no table")
        return names

    def _call(self) -> Judged:
        start = self._at
        name = self._name()
        if self._shape() != "(" or (name.schema is None and name.name.upper() not in _OF_SEQUENCE):
            raise RefusedStatementError("a query that is no call")
        if name.schema is None:
            self._at = start + 2
            name = self._name()
        self._check_values([name])
        return self._ran([name], "", commits=False)

    def _further_tables(self) -> Iterator[Name]:
        """Yield the other tables that an ALTER TABLE changes: its new name, and one that becomes a partition."""
        for place, shape, depth in self._with_depth(self._at):
            behind = place + 1
            if depth or shape not in ("RENAME", "TABLE") or self._shape_at(behind) in _RENAMED_IN_TABLE:
                continue
            if self._shape_at(behind) in ("TO", "AS", "="):
                behind += 1
            if name := self._name_at(behind):
                yield name

    # What becomes of them.

    def _left(self, why: str) -> Judged:
        return Judged(self._verb, left_out=why)

    def _of_server(self, thing: str) -> Judged | None:
        if thing in ("USER", "ROLE"):
            return self._left(USER)
        return self._left(SERVER) if thing in _OF_SERVER else None

    def _database(self, name: Name, *, ends: bool) -> Judged:
        if name.schema is None and not self._aim.is_source(name.name):
            return Judged(self._verb)
        if ends:
            raise RefusedStatementError("the whole schema is dropped or made there; restore to a moment before")
        return self._left(DATABASE)

    def _alter_database(self) -> Judged:
        name = None if self._shape() in _OPTIONS_OF_SCHEMA else self._name()
        if name and not self._aim.is_source(name.name):
            return Judged(self._verb)
        if not name and not self._is_default:
            return Judged(self._verb)
        if not {"CHARACTER", "CHARSET", "COLLATE", "COMMENT"} & set(self._shapes()[self._at : self._at + 2]):
            raise RefusedStatementError("a change of the schema of a kind that is not known")
        if name:
            self.edits.append((name.start, name.end, self._quoted_target()))
        return Judged("ALTER DATABASE", runs=True, commits=True, within=True)

    def _alter_event(self, name: Name) -> Judged:
        """Read an ALTER EVENT; the event stays disabled, whatever it says."""
        start, end = self._at, len(self._found)
        head = next((place for place in range(start, end) if self._shape_at(place) in ("COMMENT", "DO")), end)
        renamed = [place + 2 for place in range(start, head) if self._shape_at(place) == "RENAME"]
        others = [*filter(None, map(self._name_at, renamed))]
        judged = self._ran([name, *others], "EVENT")
        if not judged.runs:
            return judged
        judged = replace(judged, renamed=tuple(("EVENT", name.name, other.name) for other in others))
        switches = [
            (place, place + 3 if self._shape_at(place + 1) == "ON" else place + 1)
            for place in range(start, head)
            if self._shape_at(place) in ("ENABLE", "DISABLE")
        ]
        if switches == [(start, end)]:
            return Judged(judged.kind, left_out=SWITCH)
        for first, behind in switches:
            self.edits.append((self._found[first].start, self._found[behind - 1].end, b""))
        if self._definer:
            self.edits.append((*self._definer, b""))
        at = self._found[head].start if head < end else len(self._sql)
        self.edits.append((at, at, b" DISABLE "))
        return judged

    def _ran(self, names: Sequence[Name], thing: str, *, temporary: bool = False, commits: bool = True) -> Judged:
        """Judge a statement by what it changes, and have its names moved if it runs."""
        kind = f"{self._verb} {thing}".strip()
        ours = [name for name in names if self._is_ours(name)]
        if not ours:
            return Judged(kind, left_out=ELSEWHERE)
        if len(ours) < len(names):
            raise RefusedStatementError(_TOO_MANY_AND)
        tables = [] if thing in STORED else list(names)
        if (self._verb, thing) == ("CREATE", "TRIGGER"):
            tables = [names[-1]]
        kept = [name for name in tables if not self._aim.is_excluded(name.name)]
        if tables and not kept:
            return Judged(kind, left_out=EXCLUDED, tables=tuple(name.name for name in tables))
        if len(kept) == len(tables):
            self._move(names, thing)
        elif self._verb == "DROP":
            listed = (self._quoted_target() + b"." + self._sql[name.own : name.end] for name in kept)
            self.edits.append((names[0].start, names[-1].end, b", ".join(listed)))
        else:
            raise RefusedStatementError("a change of a table that the backup excludes, and of others")
        if thing in ("TABLE", "SEQUENCE"):
            self._check_table(names)
        if thing in STORED and runs_events(self._sql, self._lexis):
            raise RefusedStatementError("code that runs events of a binary log")
        code = thing if thing in CODE and self._verb == "CREATE" else ""
        if (self._verb, thing) == ("ALTER", "VIEW"):
            self.edits.append((self._found[0].start, self._found[0].end, b"CREATE OR REPLACE"))
            code = thing
        return Judged(
            kind,
            runs=True,
            within=self._is_default or thing in STORED,
            commits=commits and not temporary,
            code=code,
            temporary=temporary,
            tables=tuple(name.name for name in kept),
        )

    def _check_values(self, names: Collection[Name]) -> None:
        """Make sure that a replay computes the values that were computed when the statement was logged.

        :param names: of what it changes.
        :raises RefusedStatementError: it may compute others.
        """
        heads = {name.own for name in names}
        is_renamed = not self._is_default or self._aim.source != self._aim.target
        for place, token in enumerate(self._found):
            if token.start in heads or (place and self._shape_at(place - 1) == "."):
                continue
            calls = self._shape_at(place + 1) == "("
            if (calls and token.shape in _UNSAFE) or token.shape in _UNSAFE_WORDS:
                raise RefusedStatementError(
                    "a function whose value another server does not have (binlog_format=STATEMENT)"
                )
            if calls and token.shape in _SCHEMAS and is_renamed:
                raise RefusedStatementError("the name of the default schema, which is another one in a replay")
            if token.shape == self._shape_at(place + 1) == "@" and not self._is_logged(place + 2):
                raise RefusedStatementError("a variable of the server whose value the log does not hold")

    def _is_logged(self, place: int) -> bool:
        """Return whether the log holds the value of a variable that is named at some place."""
        if self._shape_at(place) in _SCOPES and self._shape_at(place + 1) == ".":
            place += 2
        return place < len(self._found) and self._text(place).upper() in _LOGGED_VARIABLES

    def _refuse_excluded(self) -> None:
        """:raises RefusedStatementError: what it writes may come from rows that are not there."""
        if any(self._is_name(place) and self._excludes(place) for place in range(len(self._found))):
            raise RefusedStatementError("the name of a table that the backup excludes")

    def _check_table(self, names: Collection[Name]) -> None:
        """Make sure that a table's definition reaches no other schema, server or file, nor writes other values.

        :param names: of tables that it changes.
        :raises RefusedStatementError: it may.
        """
        if (words := _WRITING_ROWS.get(self._verb)) and words <= set(self._shapes()):
            self._check_values(names)
        if self._verb == "CREATE" and "SELECT" in self._shapes():
            self._refuse_excluded()
        for place, shape, depth in self._with_depth(0):
            says = self._shape_at(place + 1) == "="
            value = place + (2 if says else 1)
            is_text = self._shape_at(value) in ("string", "quoted")
            engine = self._text(value).upper() if value < len(self._found) else ""
            if shape == "REFERENCES" and (parent := self._name_at(place + 1)) and not self._is_ours(parent):
                raise RefusedStatementError("a foreign key to another schema")
            if is_text and (shape == "DIRECTORY" or (shape == "CONNECTION" and not depth)):
                raise RefusedStatementError("a place outside of the schema")
            if shape in ("ENGINE", "TYPE") and (engine in _FAR or (says and not depth and engine not in _NEAR)):
                raise RefusedStatementError("a storage engine that may reach other servers, or is not known")
            if shape == "TABLESPACE" and self._shape_at(place - 1) in ("IMPORT", "DISCARD"):
                raise RefusedStatementError("a tablespace that the log does not hold")

    def _with_depth(self, start: int) -> Iterator[tuple[int, str, int]]:
        """Yield places from one on, with their shapes and the number of open parentheses."""
        depth = 0
        for place in range(start, len(self._found)):
            shape = self._shape_at(place)
            depth += {"(": 1, ")": -1}.get(shape, 0)
            yield place, shape, depth

    # Names.

    def _move(self, names: Sequence[Name], thing: str) -> None:
        """Have the names of the schema become names of the one that is filled.

        :raises RefusedStatementError: the statement names another one that is called so.
        """
        quoted = b"" if thing in STORED else self._quoted_target() + b"."
        for name in names:
            if name.schema is not None:
                self.edits.append((name.start, name.own, quoted))
        if thing in STORED:
            return  # bodies stay as they are
        heads = {name.start for name in names}
        chains = list(self._chains())
        for start, length in chains:
            schema = self._text(start)
            if self._found[start].start in heads:
                continue
            if self._aim.is_target(schema) and self._is_schema(start, length, chains):
                raise RefusedStatementError("another schema, which has the name of the one to be filled")
            if self._aim.is_source(schema) and self._is_schema(start, length, chains):
                self.edits.append((self._found[start].start, self._found[start].end, self._quoted_target()))

    def _is_schema(self, start: int, length: int, chains: Collection[tuple[int, int]]) -> bool:
        """Return whether the first of some names is that of a schema, not of a table or an alias."""
        behind = start + 2 * length - 1
        if length > 2 or (behind < len(self._found) and self._found[behind].shape == "("):
            return True
        if start and self._found[start - 1].shape in _BEFORE_NAMES:
            return True
        schema = self._text(start)
        within = {place for at, long in chains for place in range(at, at + 2 * long - 2)}
        return not any(
            self._is_name(place) and place not in within and self._text(place) == schema
            for place in range(len(self._found))
        )

    def _chains(self) -> Iterator[tuple[int, int]]:
        """Yield where names are joined by dots, and how many."""
        place = 0
        while place < len(self._found):
            length = 1
            if self._is_name(place) and not self._is_variable(place):
                while self._shape_at(place + 2 * length - 1) == "." and (
                    self._is_name(place + 2 * length) or self._shape_at(place + 2 * length) == "*"
                ):
                    length += 1
                if length > 1:
                    yield place, length
            place += 2 * length - 1

    def _is_variable(self, place: int) -> bool:
        return place > 0 and self._shape_at(place - 1) == "@"

    def _is_ours(self, name: Name) -> bool:
        return self._aim.is_source(self._default if name.schema is None else name.schema)

    def _excludes(self, place: int) -> bool:
        return self._aim.is_excluded(self._text(place))

    def _names_source(self, place: int) -> bool:
        token = self._found[place]
        return token.shape not in ("number", "\0") and self._aim.is_source(self._text(place))

    def _is_name(self, place: int) -> bool:
        if place >= len(self._found):
            return False
        shape = self._found[place].shape
        return shape == "name" or (shape == "quoted" and self._lexis.ansi_quotes) or self._is_word(shape)

    @staticmethod
    def _is_word(shape: str) -> bool:
        return shape not in _NO_WORDS and (len(shape) > 1 or shape.isalnum() or shape in "_$")

    def _text(self, place: int) -> str:
        token = self._found[place]
        return name_of(self._sql[token.start : token.end])

    def _quoted_target(self) -> bytes:
        return in_character_set(backquoted_bytes(self._aim.target), self._lexis.character_set)

    # The next tokens.

    def _shapes(self) -> list[str]:
        return [token.shape for token in self._found]

    def _shape_at(self, place: int) -> str:
        return self._found[place].shape if place < len(self._found) else ""

    def _shape(self) -> str:
        return self._shape_at(self._at)

    def _next(self) -> str:
        shape = self._shape()
        self._at += 1
        return shape

    def _passed(self, *shapes: str) -> bool:
        if self._shape() in shapes:
            self._at += 1
            return True
        return False

    def _condition(self) -> bool:
        """Pass IF EXISTS or IF NOT EXISTS; return whether it is there."""
        if not self._passed("IF"):
            return False
        self._passed("NOT")
        return self._passed("EXISTS")

    def _thing(self) -> tuple[str, bool]:
        """Return what a definition is of, and whether it is temporary, behind all that may stand before."""
        temporary = False
        while True:
            shape = self._next()
            if shape == "TEMPORARY":
                temporary = True
            elif shape in ("ALGORITHM", "DEFINER"):
                start = self._found[self._at - 1].start
                self._passed("=")
                self._account()
                if shape == "DEFINER" and self._at < len(self._found):
                    self._definer = start, self._found[self._at].start
            elif shape == "SQL":
                self._at += 2
            elif shape == "PACKAGE" and self._passed("BODY"):
                return "PACKAGE BODY", temporary
            elif shape not in _MODIFY:
                return ("TABLE" if shape == "TABLES" else shape), temporary

    def _account(self) -> None:
        """Pass the name of an account, or another value."""
        self._at += 1
        if self._passed("@", "("):
            self._at += 1

    def _name(self) -> Name:
        name = self._name_at(self._at)
        if name is None:
            raise RefusedStatementError("no name where one is expected")
        self._at += 1 if name.schema is None else 3
        return name

    def _names(self) -> list[Name]:
        names = [self._name()]
        while self._passed(","):
            names.append(self._name())
        return names

    def _name_at(self, place: int) -> Name | None:
        if not self._is_name(place):
            return None
        first = self._found[place]
        if self._shape_at(place + 1) != ".":
            return Name(None, self._text(place), first.start, first.start, first.end)
        if not self._is_name(place + 2) or self._shape_at(place + 3) == ".":
            raise RefusedStatementError("a name of an unknown form")
        own = self._found[place + 2]
        return Name(self._text(place), self._text(place + 2), first.start, own.start, own.end)

    def _name_after(self, shape: str) -> Name:
        self._pass(shape)
        return self._name()

    def _pass(self, shape: str) -> None:
        """Pass everything up to the next token of some shape, and that.

        :raises RefusedStatementError: there is none.
        """
        while self._at < len(self._found):
            if self._next() == shape:
                return
        raise RefusedStatementError("no table where one is expected")
