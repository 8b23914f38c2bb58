"""Limits of a dump, known when it is taken: what a restore will not bring back, or not exactly.

Pure decisions over what `mysql_source` found in the server's catalog and over the statements of the passing dump. Kinds
are public: they stand in proofs, so they name no table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifeboat.databases import EXCLUDED_PARENT, OTHER_SCHEMA, UNASKED, UNPROTECTED, Limit
from lifeboat.databases.mysql.definitions import members, read_table
from lifeboat.databases.mysql.lexis import Lexis, Session, tokens
from lifeboat.databases.mysql.source import STORED, UNICODE, Code, Column, Source, Table, Taker, View
from lifeboat.databases.mysql.statements import LONGEST_DELIMITER, classify, follow, with_table_of
from lifeboat.databases.sql.quoting import backquoted, name_of, unquoted
from lifeboat.databases.sql.reader import Statement
from lifeboat.errors import RestoreError
from lifeboat.text import listed, plural, size_text

if TYPE_CHECKING:
    from lifeboat.databases.mysql.dump import Client

FLOAT = "FLOAT columns, of whose values six digits are kept"
CHARACTER = "columns with characters that have no unique Unicode form"
UNSEARCHED = "columns not searched for characters without a unique Unicode form"
JSON = "JSON columns with values that SQL does not write exactly"
UNUSABLE_VIEW = "views that nobody can use"
EXCLUDED_VIEW = "views left out because they read excluded tables"
OTHER_PARENT = "foreign keys to other schemas, which no restore makes"
EXCLUDED_MEMBER = "MERGE tables over excluded tables"
DEFINER = "definers that do not come back"
GENERATED_ONLY = "tables that consist of generated columns"
HISTORY = "tables whose history of rows is missing"
PASSED_EVENT = "events whose time has passed"
UNFIT_TRIGGER = "triggers that do not fit their tables"
EVENT = "events that the dump client cannot write"
CLIENT = "dump clients of another family than the server"
VECTOR = "VECTOR columns that the dump client writes as texts"
HISTOGRAM = "tables whose histograms are missing"
MASKING = "masking policies, which are missing"
REFUSED = "statements that a restore refuses"
SERVER = "demands that the restore server does not meet"

_BLANK = re.compile(rb"(?:\s|--[^\n]*\n|/\*M?!999999\\- [^\n]*\n)+")
_STRING = re.compile(r"(`(?:[^`]|``)*`)|'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_MASKED = re.compile(rb"^  (`(?:[^`]|``)+`) [^\n]*\bMASKING POLICY (`(?:[^`]|``)+`)", re.MULTILINE)
_CREATE_TABLE = re.compile(rb"CREATE TABLE (`(?:[^`]|``)+`)")
_REFUSED_HISTORY = re.compile(r": Cannot use --dump-history for table (.+) with transaction-precise history$")
_WHEN = {"row_start", "row_end"}  # columns that a versioned table has without naming them
# The first releases of MariaDB's client known to write events with ;; in their text, and vectors.
SAFE_FOR_EVENTS = (11, 8)
MOST_REFUSED = 16  # lines of a client's errors that are kept, and some more
DEPRECATED = "Deprecated program name"  # as MariaDB's client says of mysqldump
SAFE_FOR_VECTORS = (11, 7)


def over_excluded(source: Source, excluded: Collection[str]) -> list[str]:
    """Return the views that read excluded tables, also through other views."""
    return sorted(_readers(source, excluded) - set(excluded))


def _readers(source: Source, names: Collection[str]) -> set[str]:
    """Return some tables or views, and all views that read them."""
    known = set(names)
    while found := {view.name for view in source.views if view.name not in known and _reads(view, source, known)}:
        known |= found
    return known


def _reads(view: View, source: Source, names: Collection[str]) -> bool:
    """Return whether a view reads one of some tables or views."""
    text = _STRING.sub(lambda found: found[1] or "''", view.definition)
    # Servers print every table with its schema, behind FROM or JOIN; what else looks like it is followed by a column.
    schema = re.escape(backquoted(source.schema))
    pattern = rf"\b(?:from|join)\s*\(*{schema}\.(`(?:[^`]|``)+`)(?!\.)"
    read = set(re.findall(pattern, text, re.IGNORECASE))
    read |= {backquoted(table) for name, table in source.duality if name == view.name}
    return any(backquoted(name) in read for name in names)


def _other_schemas(view: View, schema: str) -> list[str]:
    """Return the schemas other than its own, and than the one that everybody may read, that a view uses."""
    text = _STRING.sub(lambda found: found[1] or "''", view.definition)
    read = re.findall(r"\b(?:from|join)\s*\(*(`(?:[^`]|``)+`)\.`(?:[^`]|``)+`(?!\.)", text, re.IGNORECASE)
    read += re.findall(r"(`(?:[^`]|``)+`)\.`(?:[^`]|``)+`\(", text)  # a function
    return sorted({unquoted(name, "`") for name in read} - {schema, "information_schema"})


def of_catalog(
    source: Source,
    excluded: Collection[str],
    left_out: Iterable[str],
    unusable: Mapping[str, bool],
    without_rows: Collection[str] = (),
) -> Iterator[Limit]:
    """Yield the limits that the catalog shows.

    :param excluded: tables that the settings exclude.
    :param left_out: views that a dump skips because of them.
    :param unusable: views that cannot be read, each with whether that is because its definer does not exist.
    :param without_rows: tables that are dumped without their rows.
    """
    yield from _of_views(source, excluded, left_out, unusable)
    skipped = {*excluded, *without_rows}
    unprotected = [t.name for t in _tables(source, skipped) if t.transactions != "YES" and t.engine]
    for name in unprotected:
        yield Limit(UNPROTECTED, name, f"no snapshot protects table {name!r}: it may have changed while it was read")
    stored = {table.name for table in _tables(source, skipped)}
    for column in source.columns:
        if column.table in stored and column.data_type == "float" and column.scale is None and not column.is_generated:
            yield _of_float(column)
    yield from _of_foreign_keys(source, excluded, without_rows)
    yield from _of_passed_events(source)
    broken = {("view", name) for name in unusable}
    for kind, name, definer in _definers(source, excluded):
        if (kind, name) not in broken and source.accounts and definer.removesuffix("@") not in source.accounts:
            text = f"{kind} {name!r} belongs to {definer}, an account that does not exist"
            yield Limit(DEFINER, name, f"{text}: restored, it has rights on its database only")


def _of_views(
    source: Source, excluded: Collection[str], left_out: Iterable[str], unusable: Mapping[str, bool]
) -> Iterator[Limit]:
    for name, has_no_definer in unusable.items():
        why = "its definer does not exist" if has_no_definer else "its definer, or it, lacks what it reads"
        text = f"view {name!r} cannot be read: {why}. A restore may fail at it; repair or drop it"
        yield Limit(UNUSABLE_VIEW, name, text)
    for name in left_out:
        yield Limit(EXCLUDED_VIEW, name, f"view {name!r} is left out: it reads a table that exclude_tables names")
    others = {view.name: found for view in source.views if (found := _other_schemas(view, source.schema))}
    for name in sorted(_readers(source, others) - {*excluded, *unusable}):
        read = f"schema {listed(others[name])}" if name in others else "a view that reads another schema"
        text = f"view {name!r} reads {read}: a restore reaches no other schema and leaves it out; keep its definition"
        yield Limit(OTHER_SCHEMA, name, text)


def of_broken_views(names: Iterable[str]) -> Iterator[Limit]:
    """Yield the views that a dump skips because no client can write them."""
    for name in names:
        text = f"view {name!r} is left out: what it reads is gone, or not for it to read, so no client can write it"
        yield Limit(UNUSABLE_VIEW, name, f"{text}; repair or drop it")


def _of_foreign_keys(source: Source, excluded: Collection[str], without_rows: Collection[str]) -> Iterator[Limit]:
    for key in source.foreign_keys:
        if key.table not in excluded and key.parent_schema == source.schema and key.parent in excluded:
            text = f"foreign key {key.name!r} of table {key.table!r} refers to {key.parent!r}, which is excluded"
            yield Limit(EXCLUDED_PARENT, f"{key.table}.{key.name}", f"{text}: a restore cannot check it")
        elif key.parent_schema == source.schema and key.parent in without_rows:
            if key.table not in (*excluded, *without_rows):
                text = (
                    f"foreign key {key.name!r} of table {key.table!r} refers to {key.parent!r}, whose rows are excluded"
                )
                yield Limit(EXCLUDED_PARENT, f"{key.table}.{key.name}", f"{text}: a restore cannot check it")
        elif key.table not in excluded and key.parent_schema != source.schema:
            text = f"foreign key {key.name!r} of table {key.table!r} refers to schema {key.parent_schema!r}"
            yield Limit(
                OTHER_PARENT, f"{key.table}.{key.name}", f"{text}: a restore reaches no other and leaves it out"
            )


def _of_passed_events(source: Source) -> Iterator[Limit]:
    for name in (code.name for code in source.code if code.is_over):
        text = f"the time of event {name!r} has passed, so no server creates it again; drop it"
        yield Limit(PASSED_EVENT, name, text)


def _of_float(column: Column) -> Limit:
    name = f"{column.table}.{column.name}"
    text = f"column {name} is a FLOAT: dumps keep six digits of each value; DOUBLE or DECIMAL keeps all"
    if column.key in ("PRI", "UNI"):
        text += "; it is in a unique key, so values that differ beyond six digits cannot be restored"
    return Limit(FLOAT, name, text)


def _tables(source: Source, excluded: Collection[str]) -> list[Table]:
    return [t for t in source.tables if t.kind in STORED and t.name not in excluded]


def _definers(source: Source, excluded: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, name and definer of every definition that has one."""
    yield from (("view", view.name, view.definer) for view in source.views if view.name not in excluded)
    yield from ((code.kind, code.name, code.definer) for code in source.code)


@dataclass(frozen=True)
class Choice:
    """Options of a client for one dump, besides what it always writes.

    :param events: where it is not asked for them, `mysql_events` writes them.
    :param history: all versions of rows in tables WITH SYSTEM VERSIONING.
    :param refused: tables of which it writes the current rows only, with a line among its errors.
    :param histograms: statements that compute histograms again.
    """

    events: bool = True
    history: bool = False
    refused: frozenset[str] = frozenset()
    histograms: bool = False

    def allows(self, errors: Sequence[str]) -> bool:
        """Return whether a client that failed did nothing but refuse what it had to."""
        said = [line for line in errors if DEPRECATED not in line]
        refused = [found[1] for found in map(_REFUSED_HISTORY.search, said) if found]
        named = sorted(map(backquoted, self.refused))
        return bool(named) and sorted(refused) == named and len(said) == len(refused)


@dataclass(frozen=True)
class Line:
    """The longest line of a dump, and so its longest row at most.

    :param size: in bytes.
    :param table: whose row it is; empty where nobody looked.
    """

    size: int = 0
    table: str = ""

    @property
    def row(self) -> str:
        """The row as messages name it."""
        return f"a row of table {self.table!r}" if self.table else "a row"


def choose(source: Source, client: Client, excluded: Collection[str] = ()) -> Choice:
    """Choose what a client can write of a database without failing, and without running indefinitely.

    :param excluded: tables that it does not write.
    """
    versioned = {table.name for table in _tables(source, excluded) if table.kind == "SYSTEM VERSIONED"}
    refused = versioned & _by_transaction(source)
    history = versioned > refused and "dump-history" in client.options and len(refused) <= MOST_REFUSED
    return Choice(
        events=_writes_all_events(client) or not any(map(_has_delimiter, _events(source))),
        history=history,
        refused=frozenset(refused) if history else frozenset(),
        histograms=bool(source.histograms) and "column-statistics" in client.options,
    )


def _events(source: Source) -> list[Code]:
    return [code for code in source.code if code.kind == "event"]


def _has_delimiter(event: Code, delimiter: str = ";;") -> bool:
    """Return whether an event's definition holds a delimiter: looking for another one, some clients never end."""
    return any(delimiter in text for text in (event.name, event.definer, event.text or ""))


def writable_events(source: Source) -> list[str]:
    """Return the events that a dump can hold: some delimiter tells them from what follows."""
    return [event.name for event in _events(source) if not _has_delimiter(event, ";" * LONGEST_DELIMITER)]


def _writes_all_events(client: Client) -> bool:
    return client.is_mariadb and client.release >= SAFE_FOR_EVENTS


def _by_transaction(source: Source) -> set[str]:
    """Return the tables whose history counts transactions; clients refuse to write it."""
    return {
        column.table for column in source.columns if column.expression == "ROW START" and column.data_type == "bigint"
    }


def of_client(source: Source, client: Client, excluded: Collection[str]) -> Iterator[Limit]:
    """Yield what the client does not write, or not rightly."""
    choice, tables = choose(source, client, excluded), _tables(source, excluded)
    if client.is_mariadb != source.is_mariadb:
        yield Limit(CLIENT, client.version, _of_wrong_client(source, client))
        yield from _of_vectors(source, client, excluded)
    yield from _of_history(source, client, tables, choice)
    if not choice.events:
        yield from _of_events(source)
    if not choice.histograms:
        for name in source.histograms:
            yield Limit(
                HISTOGRAM, name, f"histograms of table {name!r} are missing: {client.version} cannot write them"
            )
    if not client.is_mariadb:
        stored = {column.table for column in source.columns if not column.is_generated}
        for name in (table.name for table in tables if table.name not in stored):
            text = f"table {name!r} consists of generated columns, for whose rows {client.version}"
            yield Limit(GENERATED_ONLY, name, f"{text} writes what only Lifeboat loads")


def _of_vectors(source: Source, client: Client, excluded: Collection[str]) -> Iterator[Limit]:
    for column in source.columns:
        if column.data_type == "vector" and client.release < SAFE_FOR_VECTORS and column.table not in excluded:
            name = f"{column.table}.{column.name}"
            yield Limit(
                VECTOR,
                name,
                f"column {name} is a VECTOR, which {client.version} writes as text, which only Lifeboat loads",
            )


def _of_history(source: Source, client: Client, tables: Iterable[Table], choice: Choice) -> Iterator[Limit]:
    by_transaction = _by_transaction(source)
    can = "dump-history" in client.options
    others = "more tables count transactions than it may refuse" if can else f"{client.version} cannot write it"
    for name in (table.name for table in tables if table.kind == "SYSTEM VERSIONED"):
        if name in by_transaction or not choice.history:
            why = "it counts transactions" if name in by_transaction else others
            yield Limit(HISTORY, name, f"table {name!r} has its current rows only, without their history: {why}")


def _of_events(source: Source) -> Iterator[Limit]:
    writable = writable_events(source)
    for name in (event.name for event in _events(source) if event.name not in writable):
        text = f"event {name!r} is left out: it has {LONGEST_DELIMITER} semicolons in a row, as long as any delimiter"
        yield Limit(EVENT, name, text)


def _of_wrong_client(source: Source, client: Client) -> str:
    if source.is_mariadb:
        return f"the server is MariaDB's, the client is {client.version}: install MariaDB's (package mariadb-client)"
    return (
        f"the server is MySQL's, the client is {client.version}: it leaves out libraries, JSON duality views and"
        " histograms, and writes values for generated columns. Install MySQL's own (package mysql-client of"
        " repo.mysql.com; default-mysql-client of Debian is MariaDB's)"
    )


class Definitions:
    """Reads the definitions of a passing dump as a restore will, and notes what that refuses.

    :param schema: that is dumped.
    :param excluded: tables that are not.
    """

    def __init__(self, schema: str, excluded: Collection[str] = ()) -> None:
        self.limits: dict[str, Limit] = {}
        self.schema, self._excluded = schema, excluded
        self._columns: dict[str, set[str]] = {}  # of each table, in lower case
        self._session = Session()  # as the server would have it: settings say how it reads what follows

    def see(self, sql: bytes) -> None:
        """Take a statement, without its delimiter."""
        if blank := _BLANK.match(sql):
            sql = sql[blank.end() :]
        try:
            statement = classify(sql, self._session.lexis, self.schema)
            if statement and statement.kind == "setting":
                follow(self._session, statement)
            if statement and statement.kind == "table":
                self._see_table(statement)
            if statement and statement.kind == "trigger":
                self._see_trigger(with_table_of(statement, self._columns))
        except (RestoreError, ValueError) as error:
            what = error.message if isinstance(error, RestoreError) else str(error)
            self._add(Limit(REFUSED, _beginning(sql), f"a restore refuses a statement: {what.rstrip('.')}"))
        if table := _CREATE_TABLE.search(sql):
            for column, policy in _MASKED.findall(sql):
                name = f"{name_of(table[1])}.{name_of(column)}"
                text = f"the masking policy {name_of(policy)} of column {name} is not in the backup"
                self._add(Limit(MASKING, name, text))

    def _see_table(self, table: Statement) -> None:
        self._columns[table.name] = {name_of(column.name).lower() for column in read_table(table).columns} | _WHEN
        for name in members(table):
            if name in self._excluded:
                text = f"table {table.name!r} shows the rows of {name!r}, which is excluded: a restore fails at it"
                self._add(Limit(EXCLUDED_MEMBER, table.name, f"{text}; exclude it, too"))

    def _see_trigger(self, trigger: Statement) -> None:
        known = self._columns.get(trigger.table)
        for name in _columns_of_row(trigger.sql, self._session.lexis) if known else ():
            if name.lower() not in (known or ()):
                text = f"trigger {trigger.name!r} names a column {name!r}, which table {trigger.table!r} does not have"
                self._add(Limit(UNFIT_TRIGGER, trigger.name, f"{text}: a restore leaves it out; drop or repair it"))

    def _add(self, limit: Limit) -> None:
        self.limits[limit.text] = limit


def _columns_of_row(trigger: bytes, lexis: Lexis) -> Iterator[str]:
    """Yield the columns of its table's rows that a trigger names."""
    found = list(tokens(trigger, lexis))
    for row, dot, column in zip(found, found[1:], found[2:], strict=False):
        if row.shape in ("NEW", "OLD") and dot.shape == ".":
            yield name_of(trigger[column.start : column.end])


def _beginning(sql: bytes) -> str:
    return sql[:60].decode("utf-8", "replace").split("\n")[0]


def of_taker(source: Source, excluded: Collection[str], taker: Taker, longest_line: Line) -> Iterator[Limit]:
    """Yield what the server of the restore connection would not take."""
    demands = (
        *_of_version(source, taker),
        *_of_tables(source, _tables(source, excluded), taker, longest_line),
        *_of_names(source, excluded, taker),
        *_of_rights(source, excluded, taker),
    )
    for name, text in demands:
        yield Limit(SERVER, name, f"the restore server {taker.address} ({taker.version}) {text}")


def _of_version(source: Source, taker: Taker) -> Iterator[tuple[str, str]]:
    if taker.is_mariadb != source.is_mariadb:
        yield "family", f"is of another family than {source.version}: definitions may come out differently"
    elif _release(taker.version) < _release(source.version):
        yield "version", f"is older than {source.version}"
    if taker.read_only:
        yield "read_only", "is read-only"


def _of_tables(source: Source, tables: Sequence[Table], taker: Taker, longest_line: Line) -> Iterator[tuple[str, str]]:
    for name in sorted(taker.unknown_collations):
        yield name, f"does not know the collation {name}"
    for engine in sorted({table.engine for table in tables if table.engine}):
        if engine.lower() not in taker.engines:
            yield engine, f"does not have the storage engine {engine}"
    if longest_line.size > taker.longest:
        limit = f"takes {size_text(taker.longest)} at once, and {longest_line.row} may have as SQL"
        yield "max_allowed_packet", f"{limit} {size_text(longest_line.size)}: raise its max_allowed_packet"
    keyed = {column.table for column in source.columns if column.key == "PRI"}
    for name in (table.name for table in tables if taker.needs_primary_keys and table.name not in keyed):
        yield name, f"demands a primary key, which table {name!r} does not have"


def _of_names(source: Source, excluded: Collection[str], taker: Taker) -> Iterator[tuple[str, str]]:
    """Yield what becomes of names on a server that does not tell upper from lower case."""
    names = {table.name for table in source.tables if taker.folds_names} - set(excluded)
    for name in sorted(name for name in names if name.lower() != name and name.lower() in names):
        yield name, f"ignores the case of names, so table {name!r} takes the place of another"
    changed = sorted(name for name in names if taker.lowers_names and name.lower() != name)
    if changed:
        lost = f"stores names in lower case, so {listed(list(map(repr, changed)))} would not come back as captured"
        yield "lower_case_table_names", f"{lost}: restore to a server that keeps them"


def _of_rights(source: Source, excluded: Collection[str], taker: Taker) -> Iterator[tuple[str, str]]:
    if not taker.makes_functions and any(code.kind in ("trigger", "function") for code in source.code):
        needed = "log_bin_trust_function_creators"
        yield needed, f"does not let this user create triggers or functions: set {needed} there"
    for account in sorted({definer.removesuffix("@") for _, _, definer in _definers(source, excluded)}):
        is_gone = source.accounts and account not in source.accounts  # a limit by itself
        if account not in taker.accounts and not is_gone:
            lacks = f"has no account {account}, or its user may not define in that name"
            yield account, f"{lacks}: restored, its code has rights on its database only"


def _release(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def of_longest(longest_line: Line, longest: int) -> Iterator[Limit]:
    """Yield that a row is too long to come back to the dumped server itself.

    :param longest: bytes of the longest statement that the server takes.
    """
    if longest_line.size > longest:
        sizes = f"{size_text(longest_line.size)} as SQL, and the server takes {size_text(longest)} at once"
        text = f"{longest_line.row} may have {sizes}"
        yield Limit(SERVER, "max_allowed_packet", f"{text}: raise its max_allowed_packet before you restore")


def unasked(reason: str) -> Limit:
    """Return the limit of a restore server that did not answer."""
    return Limit(UNASKED, "", f"could not check whether the restore server can take this: {reason.rstrip('.')}")


def of_characters(columns: Sequence[Column], counts: Sequence[int] | None) -> Iterator[Limit]:
    """Yield the columns of a table with characters, or values of JSON, that would come back as others.

    :param counts: rows of each column with such; None where they were not searched.
    """
    for column, count in zip(columns, counts or (-1,) * len(columns), strict=True):
        name = f"{column.table}.{column.name}"
        if column.data_type == "json":
            if count > 0:  # what was not searched differs in a drill, if it does
                yield _of_json(name, count)
        elif count < 0:
            text = (
                f"column {name} ({column.character_set}) was not searched for characters without a unique Unicode form"
            )
            yield Limit(UNSEARCHED, name, f"{text}: it would have taken too long")
        elif count:
            rows = plural(count, "row has", "rows have")
            text = f"{rows} characters in column {name} ({column.character_set}) that have no unique Unicode form"
            yield Limit(CHARACTER, name, f"{text}, and come back as others")


def _of_json(name: str, count: int) -> Limit:
    rows = plural(count, "row has", "rows have")
    lost = "decimals lose zeros and digits, dates and bytes become strings"
    return Limit(JSON, name, f"{rows} values in column {name} (JSON) that SQL does not write exactly: restored, {lost}")


def searched_columns(source: Source, excluded: Collection[str]) -> dict[str, list[Column]]:
    """Return the columns whose values may come back as others, by table."""
    stored = {table.name for table in _tables(source, excluded)}
    found: dict[str, list[Column]] = {}
    for column in source.columns:
        is_lossy = column.data_type == "json" or (column.character_set and column.character_set not in UNICODE)
        if column.table in stored and is_lossy:
            found.setdefault(column.table, []).append(column)
    return found


def altered(before: Iterable[Column], after: Iterable[Column]) -> list[str]:
    """Return the tables whose columns have changed, except those added or dropped meanwhile."""
    was, now = _by_table(before), _by_table(after)
    return sorted(name for name in was.keys() & now.keys() if was[name] != now[name])


def _by_table(columns: Iterable[Column]) -> dict[str, list[Column]]:
    tables: dict[str, list[Column]] = {}
    for column in columns:
        tables.setdefault(column.table, []).append(column)
    return tables
