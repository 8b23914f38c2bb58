"""What a server itself says of a schema, without any part of Lifeboat: to be compared before and after a restore."""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import Any

MOST_ROWS = 50_000  # of a table whose rows are read here


def query(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def quoted(name: str) -> str:
    """Quote a name for MySQL and MariaDB."""
    return "`" + name.replace("`", "``") + "`"


def fingerprint(connection: Any, schema: str) -> dict[str, str]:
    """Return definitions, rows at full precision, and code of a schema of MySQL or MariaDB."""
    import MySQLdb

    found: dict[str, str] = {}
    of_mariadb = "MariaDB" in query(connection, "SELECT version()")[0][0]
    for name, kind in query(
        connection,
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s"
        " AND table_name <> '_lifeboat_restore_unfinished'",
        schema,
    ):
        what = {"VIEW": "VIEW", "SEQUENCE": "SEQUENCE"}.get(kind, "TABLE")
        try:
            ((_, definition, *_),) = query(connection, f"SHOW CREATE {what} {quoted(schema)}.{quoted(name)}")
            if what == "VIEW":  # may name its own schema before a function, and calls the one beside it in either case
                definition = re.sub(rf"{re.escape(quoted(schema))}\.(?=`[^`]+`\()", "", definition)
            found[f"{what.lower()} {name}"] = _plain(definition, of_mariadb=of_mariadb) + _collations(
                connection, schema, name
            )
            if what == "TABLE":
                found[f"rows of {name}"] = _rows(connection, schema, name)
        except MySQLdb.Error as error:  # a MERGE table over others, for example
            found[f"{what.lower()} {name}"] = f"error {error.args[0]}"
    for kind, name in query(
        connection,
        "SELECT 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s"
        " UNION ALL SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s"
        " UNION ALL SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = %s",
        *[schema] * 3,
    ):
        row = query(connection, f"SHOW CREATE {kind} {quoted(schema)}.{quoted(name)}")[0]
        text = next(part for part in row[2:] if isinstance(part, str) and "CREATE" in part)
        text = text.rstrip("; \n")  # servers keep these only if another statement followed in the same call
        found[f"{kind.lower()} {name}"] = _plain(text, of_mariadb=of_mariadb) + str(row[1])
    return found


def _plain(definition: str, *, of_mariadb: bool) -> str:
    """Return a definition without what servers spell in several ways, or drop when they read it again."""
    plain = re.sub(
        r" AUTO_INCREMENT=\d+| DEFINER=`[^`]*`@`[^`]*`| CHARACTER SET \w+| COLLATE[ =]\w+| DEFAULT CHARSET=\w+",
        "",
        definition,
    )
    if plain.startswith("CREATE TRIGGER"):  # printed as it was typed, and always in the schema of its table
        return re.sub(r"^(CREATE TRIGGER )(?:`?\w+`?\.)?(.*?\sON\s+)(?:`?\w+`?\.)?", r"\1\2", plain, flags=re.DOTALL)
    if not plain.startswith("CREATE TABLE"):
        return plain
    plain = re.sub(r" /\*(?!M?!).*?\*/", "", plain)
    if of_mariadb:  # for which this is the default of whatever may be NULL
        plain = plain.replace(" DEFAULT NULL", "")
    keys = re.compile(r"^  (?!PRIMARY)(?:\w+ )?KEY .*?,?$", re.MULTILINE)
    return keys.sub("", plain) + "\n".join(sorted(key.rstrip(",") for key in keys.findall(plain)))


def _collations(connection: Any, schema: str, table: str) -> str:
    here = "table_schema = %s AND table_name = %s"
    sql = (
        f"SELECT column_name, collation_name FROM information_schema.columns WHERE {here}"
        f" UNION ALL SELECT '', table_collation FROM information_schema.tables WHERE {here}"
    )
    return repr(sorted(map(repr, query(connection, sql, schema, table, schema, table))))


def _rows(connection: Any, schema: str, table: str) -> str:
    columns = query(
        connection,
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position",
        schema,
        table,
    )
    exact = ", ".join(_exact(quoted(name), kind.lower()) for name, kind in columns)
    ((versioned,),) = query(
        connection,
        "SELECT count(*) FROM information_schema.tables WHERE table_type = 'SYSTEM VERSIONED' AND table_schema = %s"
        " AND table_name = %s",
        schema,
        table,
    )
    history = " FOR SYSTEM_TIME ALL" if versioned else ""
    place = f"{quoted(schema)}.{quoted(table)}{history}"
    ((count,),) = query(connection, f"SELECT count(*) FROM {place}")
    rows = sorted(map(repr, query(connection, f"SELECT {exact} FROM {place}"))) if count <= MOST_ROWS else []
    return f"{count} rows, {hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"


def _exact(column: str, kind: str) -> str:
    if kind == "float":
        return f"{column} + 0e0"  # as a DOUBLE, for a FLOAT is printed with six digits
    if kind == "double":
        return f"CAST({column} AS CHAR)"
    return f"HEX(CAST({column} AS BINARY))" if kind not in ("geometry", "point") else f"HEX({column})"
