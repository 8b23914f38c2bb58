"""Properties of a PostgreSQL database apart from its contents: owner, locale, settings, and rights.

No dump holds it. The catalog is read when a dump is taken, and again after a restore. This module is pure: rows of the
catalog go in, SQL and words come out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from lifeboat.databases import Property
from lifeboat.databases.sql.quoting import literal, quoted
from lifeboat.errors import RestoreError

HAS_PROVIDERS = 150_000  # since this version, a database may take its locale from another library than the server does
HAS_RULES = 160_000  # and its own rules
HAS_BUILTIN = 170_000
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
OLDEST = {"icu": HAS_PROVIDERS, "builtin": HAS_BUILTIN}

# How texts are stored, sorted and classified: fixed when a database is created.
LOCALE = ("encoding", "collation", "ctype", "locale provider", "locale", "ICU rules")
RIGHTS = ("right of the owner", "right")
USE = ("setting", "right")  # applied before the load, in which functions may read settings
LAST = (
    "right of the owner",
    "connection limit",
    "template",
    "comment",
)  # applied after it, because they would be in its way
ORDER = (*LOCALE, "tablespace", "owner", *USE, *LAST)
PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")
LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")
GRANTED, WITH_OPTION = "granted", "granted with grant option"

# One row for each property. Through JSON, every version can be asked for columns that only some have.
QUERY = """
WITH d AS (SELECT to_jsonb(p) AS j, p.* FROM pg_database p WHERE datname = %(database)s),
acl AS (SELECT r.*, datdba FROM d, aclexplode(coalesce(datacl, acldefault('d', datdba))) r)
SELECT 'owner', '', '', pg_get_userbyid(datdba) FROM d
UNION ALL SELECT 'encoding', '', '', pg_encoding_to_char(encoding) FROM d
UNION ALL SELECT 'collation', '', '', datcollate FROM d
UNION ALL SELECT 'ctype', '', '', datctype FROM d
UNION ALL SELECT 'locale provider', '', '', coalesce(j->>'datlocprovider', 'c') FROM d
UNION ALL SELECT 'locale', '', '', coalesce(j->>'datlocale', j->>'daticulocale') FROM d
UNION ALL SELECT 'ICU rules', '', '', j->>'daticurules' FROM d
UNION ALL SELECT 'tablespace', '', '', spcname FROM d JOIN pg_tablespace s ON s.oid = dattablespace
UNION ALL SELECT 'connection limit', '', '', datconnlimit::text FROM d
UNION ALL SELECT 'template', '', '', 'yes' FROM d WHERE datistemplate
UNION ALL SELECT 'comment', '', '', shobj_description(oid, 'pg_database') FROM d
UNION ALL SELECT 'setting', split_part(s, '=', 1), coalesce(rolname, ''), substr(s, strpos(s, '=') + 1)
FROM d JOIN pg_db_role_setting ON setdatabase = d.oid LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) s
UNION ALL SELECT CASE grantee WHEN datdba THEN 'right of the owner' ELSE 'right' END, privilege_type,
CASE grantee WHEN datdba THEN '' ELSE coalesce(rolname, '') END,
CASE WHEN grantee <> datdba AND bool_or(is_grantable) THEN 'granted with grant option' ELSE 'granted' END
FROM acl LEFT JOIN pg_roles r ON r.oid = grantee
WHERE grantee = 0 OR (rolname IS NOT NULL AND NOT starts_with(rolname, %(ours)s))
GROUP BY grantee, datdba, privilege_type, rolname
"""

Properties = frozenset[Property]


@dataclass(frozen=True)
class Change:
    """A change that gives a database a property that it should have, or removes one that it should not have.

    :param sql: empty where nothing changes the property of a database that exists.
    :param text: how it differs; without values that may be secret.
    :param printed: the SQL for people, without such values.
    """

    what: Property
    sql: str
    text: str
    printed: str


def read(rows: Iterable[tuple[str, str, str, str | None]]) -> Properties:
    """Return the properties in the rows of `QUERY`."""
    found = [Property(kind, value, name, role) for kind, name, role, value in rows if value is not None]
    return frozenset(
        replace(each, value=PROVIDERS.get(each.value, each.value)) if each.kind == "locale provider" else each
        for each in found
    )


def check(properties: Iterable[Property]) -> None:
    """Refuse what can be no property of a database, for some of it becomes SQL that cannot be quoted.

    :raises RestoreError: naming it.
    """
    for each in properties:
        wrong = (
            (each.kind == "connection limit" and not re.fullmatch(r"-?[0-9]+", each.value))
            or (each.kind == "locale provider" and each.value not in PROVIDERS.values())
            or (each.kind in RIGHTS and each.name not in PRIVILEGES)
        )
        if wrong:
            raise RestoreError(f"the manifest has a {each.kind} {each.name or each.value!r}, which no database has.")


def value_of(properties: Iterable[Property], kind: str) -> str:
    """Return the value of a property that a database has one of; empty where it is not known."""
    return next((each.value for each in properties if each.kind == kind), "")


def without(properties: Iterable[Property], *kinds: str) -> Properties:
    """Return the properties of other kinds."""
    return frozenset(each for each in properties if each.kind not in kinds)


def locale_text(properties: Iterable[Property]) -> str:
    """Return the encoding and locale of a database as text."""
    known = sorted((each for each in properties if each.kind in LOCALE), key=lambda each: LOCALE.index(each.kind))
    return ", ".join(f"{each.kind} {each.value}" for each in known)


def roles(properties: Iterable[Property]) -> set[str]:
    """Return the roles that properties name."""
    return {each.value if each.kind == "owner" else each.role for each in properties} - {""}


def creation(database: str, wanted: Iterable[Property], version: int, owner: str = "") -> str:
    """Return the statement that creates an empty database with the encoding, locale and tablespace of another.

    :param version: of the server, as in 150004.
    :param owner: of a database to work with at once; without one, it allows no connections yet.
    :raises RestoreError: no server of this version can have such a database.
    """
    known = {each.kind: each.value for each in wanted}
    provider = known.get("locale provider", "")
    needed = max(OLDEST.get(provider, 0), HAS_RULES if "ICU rules" in known else 0)
    if version < needed:
        raise RestoreError(
            f"this server is older than PostgreSQL {needed // 10_000}, and cannot have a database with"
            f" {locale_text(wanted)}.",
            f"Restore to PostgreSQL {needed // 10_000} or later.",
        )
    names = {"LOCALE_PROVIDER": provider if version >= HAS_PROVIDERS else "", "TABLESPACE": known.get("tablespace", "")}
    texts = {
        "ENCODING": known.get("encoding", ""),
        "LC_COLLATE": known.get("collation", ""),
        "LC_CTYPE": known.get("ctype", ""),
        f"{provider.upper()}_LOCALE": known.get("locale", ""),
        "ICU_RULES": known.get("ICU rules", ""),
    }
    options = [f"{option} {quoted(name)}" for option, name in names.items() if name]
    options += [f"{option} {literal(text)}" for option, text in texts.items() if text]
    use = f"OWNER {quoted(owner)}" if owner else "ALLOW_CONNECTIONS false"
    return " ".join([f"CREATE DATABASE {quoted(database)} TEMPLATE template0 {use}", *options])


def changes(database: str, wanted: Properties, actual: Properties, kinds: Collection[str] = ()) -> list[Change]:
    """Return what makes a database like another, in the order in which it can be done.

    :param database: name of the one to change.
    :param wanted: properties that it should have; without an owner, those that are known.
    :param actual: properties that it has.
    :param kinds: only properties of these; all when empty.
    """
    owner = value_of(wanted, "owner") or value_of(actual, "owner")
    if not value_of(wanted, "owner"):  # of an old archive, in which little is known
        actual = frozenset(each for each in actual if each.kind in {known.kind for known in wanted})
    before = {_key(each): each for each in actual}
    after = {_key(each): each for each in wanted}
    # What only has another value is changed at once; a grant option is taken with its right, which is granted again.
    surplus = [each for each in actual - wanted if _key(each) not in after or each.value == WITH_OPTION]
    missing = [each for each in wanted - actual if not _means_the_same(each, before.get(_key(each)))]
    found = [
        Change(each, _undo(database, each, owner), _difference(each, each, after.get(_key(each))), "")
        for each in surplus
    ] + [
        Change(each, _do(database, each, owner), _difference(each, before.get(_key(each)), each), "")
        for each in missing
    ]
    printed = [replace(each, printed=_shown(each)) for each in found if not kinds or each.what.kind in kinds]
    return sorted(printed, key=lambda each: (_rank(each.what), each.what not in actual, _key(each.what)))


def _rank(each: Property) -> int:
    return ORDER.index(each.kind) if each.kind in ORDER else len(ORDER)  # of a later version of this program


def _key(each: Property) -> tuple[str, str, str]:
    return each.kind, each.name, each.role


def _means_the_same(one: Property, other: Property | None) -> bool:
    """Return whether two names of an ICU locale mean the same: since 16, servers rewrite them as language tags."""
    return other is not None and one.kind == "locale" and _tag(one.value) == _tag(other.value)


def _tag(locale: str) -> str:
    return locale.lower().replace("_", "-").replace("-true", "")


def _do(database: str, each: Property, owner: str) -> str:
    """Return the statement that gives a database a property; empty where none does."""
    name, value = quoted(database), each.value
    options = {
        "tablespace": f"SET TABLESPACE {quoted(value)}",
        "owner": f"OWNER TO {quoted(value)}",
        "connection limit": f"CONNECTION LIMIT {value}",
        "template": "IS_TEMPLATE true",
    }
    if each.kind == "setting":
        return f"{_subject(name, each)} SET {quoted(each.name)} TO {setting_value(each)}"
    if each.kind in RIGHTS:
        option = " WITH GRANT OPTION" if value == WITH_OPTION else ""
        return f"GRANT {each.name} ON DATABASE {name} TO {_grantee(each, owner)}{option}"
    if each.kind == "comment":
        return f"COMMENT ON DATABASE {name} IS {literal(value)}"
    return f"ALTER DATABASE {name} {options[each.kind]}" if each.kind in options else ""


def _undo(database: str, each: Property, owner: str) -> str:
    """Return the statement that takes a property from a database; empty where none does."""
    name = quoted(database)
    if each.kind == "setting":
        return f"{_subject(name, each)} RESET {quoted(each.name)}"
    if each.kind in RIGHTS:
        return f"REVOKE {each.name} ON DATABASE {name} FROM {_grantee(each, owner)} CASCADE"
    if each.kind == "template":
        return f"ALTER DATABASE {name} IS_TEMPLATE false"
    return f"COMMENT ON DATABASE {name} IS NULL" if each.kind == "comment" else ""


def _subject(database: str, each: Property) -> str:
    return f"ALTER ROLE {quoted(each.role)} IN DATABASE {database}" if each.role else f"ALTER DATABASE {database}"


def setting_value(each: Property) -> str:
    """Return the value of a setting as SQL takes it: lists of names item by item, for a comma separates them."""
    if each.name not in LISTS:
        return literal(each.value)
    items = re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^",\s][^,]*?))\s*(?:,|\Z)', each.value)
    return ", ".join(literal(spelled.replace('""', '"') or bare) for spelled, bare in items) or "''"


def _grantee(each: Property, owner: str) -> str:
    if each.kind == "right of the owner":
        return quoted(owner)
    return quoted(each.role) if each.role else "PUBLIC"


def _difference(each: Property, before: Property | None, after: Property | None) -> str:
    """Return as text what a property is, and what it should be."""
    name = f" {each.name}" if each.name else ""
    role = f" of role {each.role}" if each.role else " of everybody" if each.kind == "right" else ""
    what = f"{each.kind}{name}{role}"
    if may_be_secret(each) or each.kind == "comment":
        return f"{what} differs"
    none = "not granted" if each.kind.startswith("right") else "not set"
    return f"{what} is {before.value if before else none} instead of {after.value if after else none}"


def may_be_secret(each: Property) -> bool:
    """Return whether a setting is one that an application made up, which some keep their keys in."""
    return each.kind == "setting" and "." in each.name


def _shown(change: Change) -> str:
    if may_be_secret(change.what) and change.sql.endswith(literal(change.what.value)):
        return f"{change.sql.removesuffix(literal(change.what.value))}'...'"
    return change.sql
