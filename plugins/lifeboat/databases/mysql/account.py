"""The account that loads a dump into MySQL or MariaDB: made for one schema, without rights elsewhere, gone afterwards.

The reader of dumps is one wall, rights are the other: whatever a statement of a dump does, the server lets it do that
to the schema being filled only. A restore connection that may not make accounts loads by itself, if the server says
that it may reach nothing else either.

An account is ours by the form of its name. The session that made it holds a lock of that name, so that the next restore
or drill on the server can tell what a killed one left, and drops it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lifeboat.databases import Server
from lifeboat.databases.mysql import code as mysql_code
from lifeboat.databases.mysql import schema as mysql_schema
from lifeboat.databases.mysql.code import Code
from lifeboat.databases.mysql.dump import Session, is_of_driver
from lifeboat.databases.mysql.target import UNLIMITED, allow
from lifeboat.databases.sql.quoting import backquoted
from lifeboat.errors import DumpError, RestoreError
from lifeboat.support.logs import logger
from lifeboat.text import listed

log = logger(__name__)

PREFIX = "lifeboat_load_"
ROLE = "_r"  # behind the name of an account, that of the role in which its sessions are set up
LONGEST_PATTERN = 64  # characters by which a grant names a schema
CONNECTIONS = 20  # at a time: more than a load opens, whatever the server allows others
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # one to a driver that takes the socket, another to a client by TCP
OPEN_TO_ALL = frozenset(("information_schema", "performance_schema"))
LOGIN_REFUSED = 1045
OWNS_CODE = 4006
TLS_REQUIRED = frozenset(("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"))
PREVENTED = 1290  # by an option of the server: without grants at all, or without passwords that it did not see itself
DENIED = frozenset((1044, 1142, 1143, 1227, 1410, PREVENTED))
GRANTS = (
    "docs/RECOVERY.md lists the grants that a restore user needs: CREATE USER, and all privileges on the schemas"
    " WITH GRANT OPTION."
)
EVERYBODY = (
    "Revoke that from all users: it comes from mandatory_roles, from PUBLIC, or from an anonymous account."
    " mariadb-secure-installation removes what a new MariaDB server grants."
)

_OURS = re.compile(PREFIX + r"[0-9a-f]{16}")
_ROLE = r"`(?:[^`]|``)+`@`(?:[^`]|``)*`"
_ROLES = re.compile(rf"GRANT ({_ROLE}(?:,{_ROLE})*) TO {_ROLE}")  # as MySQL prints them, without ADMIN OPTION
# Rights on a schema that is not there do no harm; those that are there can be seen.
_HARMLESS = re.compile(r"GRANT (?:USAGE ON \*|[A-Z ,]+ ON `(?:[^`]|``)+`)\.\* TO ")


@dataclass(frozen=True)
class Account:
    """The account that loads a dump.

    :param connect: opens a DB-API connection to `server` as this account.
    :param code: remembers whose the code is that the account makes.
    """

    server: Server
    connect: Callable[..., Any]
    code: Code


@contextlib.contextmanager
def confined(
    session: Session, schema: str, server: Server, connect: Callable[..., Any], *, in_place: bool, required: bool
) -> Iterator[Account]:
    """Make an account with rights on one schema, for the length of the block.

    It goes with what belongs to it, unless that is code of a schema that is whole: such an account stays, locked.

    :param session: of the restore connection, to `server`, which `connect` opens.
    :param in_place: the schema takes the place of the dumped one.
    :param required: the restore connection itself will not do, whatever its rights.
    :raises RestoreError: the restore connection may not make one, and reaches beyond the schema.
    """
    code = Code(session, connect, in_place=in_place)
    login = replace(server, user=PREFIX + secrets.token_hex(8), password=_password())
    with session.lock(login.user):
        if (denied := _made(session, login, schema)) is None:
            account = Account(login, lambda: connect(user=login.user, password=login.password), code)
            try:
                _check_rights(account, schema)
                yield _allow_settings(session, account)
            except BaseException:
                with contextlib.suppress(Exception):  # what failed first is what to tell; the next restore drops it
                    _retire(session, login.user)
                raise
            _retire(session, login.user)
        elif required:
            raise RestoreError(
                f"{server.user} is not allowed to create an account for the load (error {denied}); without one,"
                " no drill runs on a production server.",
                f"{GRANTS} Or name a scratch server under drill.connection.",
            )
        else:
            log.info(
                "%s is not allowed to create an account for the load (error %d), so it loads the dump itself.",
                server.user,
                denied,
            )
            account = Account(server, connect, code)
            _check_rights(account, schema, f"{server.user} is not allowed to create an account for the load, and ")
            yield account


@contextlib.contextmanager
def replaying(session: Session, account: Account) -> Iterator[str]:
    """Let an account that was made for a load replay binary logs, too, for the length of the block.

    MySQL checks the account's rights for each row. MariaDB lets it change any row of the server: there, the right is
    one of a role, which the account takes for events of the log only, so that no statement and no code runs with it.

    :param session: of the restore connection.
    :returns: the role; empty where there is none.
    :raises RestoreError: the restore connection may not give that right, or makes no accounts.
    """
    name = account.server.user
    is_mariadb = "MariaDB" in session.version()
    right, role = ("BINLOG REPLAY", f"{name}{ROLE}") if is_mariadb else ("REPLICATION_APPLIER", "")
    if not _OURS.fullmatch(name):  # such a right reaches beyond the schema, so that nothing is loaded with it
        raise RestoreError(
            "The restore connection is not allowed to create an account, and without one, no logs are replayed.",
            _to_grant(session, "CREATE USER ON *.*", f"{right} ON *.*"),
        )
    hosts = [host for (host,) in session.query("SELECT Host FROM mysql.user WHERE User = %s", name)]
    accounts = ", ".join(_spelled(name, hosts))
    account.code.before()  # a role of this name may be left
    given = [f"GRANT {right} ON *.* TO {accounts}"]
    if role:
        given = [f"CREATE ROLE '{role}'", f"GRANT {right} ON *.* TO '{role}'", f"GRANT '{role}' TO {accounts}"]
    with contextlib.ExitStack() as undone:
        if role:
            undone.callback(_drop_role, session, name)
        _give(session, given, right)
        if not role:
            undone.callback(session.execute, f"REVOKE {right} ON *.* FROM {accounts}".encode())
        yield role


def _give(session: Session, grants: Collection[str], right: str) -> None:
    """Give an account the right to replay.

    :raises RestoreError: the restore connection may not.
    """
    try:
        for sql in grants:
            session.execute(sql.encode())
    except Exception as error:
        if not is_of_driver(error) or error.args[0] not in DENIED | {LOGIN_REFUSED}:
            raise
        raise RestoreError(
            f"The restore connection may not let an account replay binary logs (error {error.args[0]}).",
            _to_grant(session, f"{right} ON *.*"),
        ) from error


def _to_grant(session: Session, *rights: str) -> str:
    """Return a hint with the statements that give the restore connection some rights.

    :param rights: the last one is to be given on.
    """
    ((account,),) = session.query("SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    (to,) = _spelled(user, [host])
    statements = [f"GRANT {right} TO {to}" for right in rights]
    return f"Run as an administrator: {'; '.join(statements)} WITH GRANT OPTION."


def _made(session: Session, login: Server, schema: str) -> int | None:
    """Make an account; return the number of the server's error where the restore connection may not."""
    try:
        _sweep(session)
        _create(session, login, schema)
    except Exception as error:
        with contextlib.suppress(Exception):
            _drop(session, login.user)
        if not is_of_driver(error) or error.args[0] not in DENIED:
            raise
        return int(error.args[0])
    return None


def _allow_settings(session: Session, account: Account) -> Account:
    """Let sessions of an account be set up as dumps need them, which MySQL allows few users.

    They do it in a role that the account loses before the first statement of a dump runs.
    """
    if "MariaDB" in session.version():
        return account  # it asks for no such right
    name = account.server.user
    role = f"{name}{ROLE}"
    hosts = [host for (host,) in session.query("SELECT Host FROM mysql.user WHERE User = %s", name)]
    try:
        session.execute(f"CREATE ROLE '{role}'".encode())
        session.execute(f"GRANT SESSION_VARIABLES_ADMIN ON *.* TO '{role}'".encode())
        session.execute(f"GRANT '{role}' TO {', '.join(_spelled(name, hosts))}".encode())
    except Exception as error:
        if not is_of_driver(error):
            raise
        _drop_role(session, name)
        return account  # a restore connection may not give that right

    def connect() -> Any:
        connection = account.connect()
        set_up = Session(connection)
        try:
            set_up.execute(f"SET ROLE '{role}'".encode())
        except Exception as error:
            if not is_of_driver(error):
                raise
            return connection  # the role is gone
        allow(set_up)
        set_up.execute(b"SET ROLE NONE")
        return connection

    account.code.before = lambda: _drop_role(session, name)
    return replace(account, connect=connect)


def _password() -> str:
    """Return a password with characters of each class, for servers that look for them."""
    return f"{secrets.token_urlsafe(24)}-aA0"


def _create(session: Session, login: Server, schema: str) -> None:
    """Make an account that may do anything to one schema, and nothing else, from where the server sees this worker."""
    ((seen,),) = session.query("SELECT USER()")
    host = seen.rpartition("@")[2]
    accounts = _spelled(login.user, LOOPBACK if host in LOOPBACK else (host,))
    options = f"{_requirement(session, login)} WITH MAX_USER_CONNECTIONS {CONNECTIONS}"
    plain = f"IDENTIFIED BY '{login.password}'"  # which MySQL keeps out of its logs, and MariaDB does not
    hashed = f"IDENTIFIED BY PASSWORD '{_hash(login.password)}'"
    try:
        _create_all(session, accounts, hashed if "MariaDB" in session.version() else plain, options)
    except Exception as error:
        if not is_of_driver(error) or error.args[0] != PREVENTED:
            raise
        _create_all(session, accounts, plain, options)
    named = schema if _takes_names_as_they_are(session) else pattern_of(schema)
    for account in accounts:
        session.execute(f"GRANT ALL ON {backquoted(named)}.* TO {account}".encode())


def pattern_of(schema: str) -> str:
    """Return what grants name a schema by, where an underscore stands for any character unless it is escaped.

    As many are as grants have room for; that an account reaches no other schema is asked of the server afterwards.
    """
    literal = re.sub(r"([\\%])", r"\\\1", schema)
    return re.sub("_", r"\\_", literal, count=room) if (room := LONGEST_PATTERN - len(literal)) > 0 else literal


def _takes_names_as_they_are(session: Session) -> bool:
    """Return whether a schema's name in a grant is not a pattern, as on MySQL with partial_revokes."""
    return ("partial_revokes", "ON") in session.query("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'")


def _spelled(name: str, hosts: Collection[str]) -> list[str]:
    return [f"{backquoted(name)}@{backquoted(host)}" for host in hosts]  # hosts, too, are any text that somebody typed


def _create_all(session: Session, accounts: Collection[str], secret: str, options: str) -> None:
    users = ", ".join(f"{account} {secret}" for account in accounts)
    session.execute(f"CREATE USER {users}{options}".encode())


def _requirement(session: Session, login: Server) -> str:
    """Return what demands TLS of an account, where the connection demands it and has it."""
    ((_, cipher),) = session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    return " REQUIRE SSL" if cipher and login.tls.get("ssl-mode", "").upper() in TLS_REQUIRED else ""


def _hash(password: str) -> str:
    """Return what a server keeps of a password for ``mysql_native_password``."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324


def _retire(session: Session, name: str) -> bool:
    """Drop an account, or lock it where code of a schema that is whole is its own; return whether it is gone."""
    whole = {schema for _, schema, _ in mysql_code.belonging(session, name, "")} - mysql_schema.unfinished(session)
    if not whole:
        _drop(session, name)
        return True
    _drop_role(session, name)
    hosts = [host for (host,) in session.query("SELECT Host FROM mysql.user WHERE User = %s", name)]
    session.execute(f"ALTER USER {', '.join(_spelled(name, hosts))} ACCOUNT LOCK".encode())
    return False


def _drop(session: Session, name: str) -> None:
    """Drop an account, with what belongs to it where that keeps MySQL from dropping it."""
    _drop_role(session, name)
    hosts = [host for (host,) in session.query("SELECT Host FROM mysql.user WHERE User = %s", name)]
    if not hosts:
        return
    sql = f"DROP USER {', '.join(_spelled(name, hosts))}".encode()
    try:
        session.execute(sql)
    except Exception as error:
        if not is_of_driver(error) or error.args[0] != OWNS_CODE:
            raise
        mysql_code.drop(session, name)
        session.execute(sql)


def _drop_role(session: Session, name: str) -> None:
    """Drop the role of an account, if there is one."""
    session.execute(f"DROP ROLE IF EXISTS '{name}{ROLE}'".encode())


def _sweep(session: Session) -> None:
    """Drop the accounts of loads that were killed, and those whose code is gone; a load under way holds its lock."""
    users = {user for (user,) in session.query("SELECT User FROM mysql.user")}
    for name in sorted(filter(_OURS.fullmatch, users)):
        try:
            with session.lock(name, patience=0):
                is_gone = _retire(session, name)
        except DumpError:
            continue
        except Exception as error:
            if not is_of_driver(error):
                raise
            log.warning("%s was left behind by a killed load, and cannot be dropped: error %s.", name, error.args[0])
        else:
            if is_gone:
                log.warning("Dropped account %s: a killed load left it behind, or its code no longer exists.", name)


def _check_rights(account: Account, schema: str, why: str = "") -> None:
    """Make sure, by asking the server, that an account reaches nothing but one schema.

    :param why: it loads; begins the message.
    :raises RestoreError: it reaches more, or something that nobody knows here.
    """
    hint = GRANTS if why else EVERYBODY  # an account that was made for this has no rights but everybody's
    try:
        connection = account.connect()
    except Exception as error:
        if not is_of_driver(error) or error.args[0] != LOGIN_REFUSED:
            raise
        raise RestoreError(
            "The server let the restore connection create an account for the load, but refuses that account's login.",
            "Connect to the server directly and from one address, not through a proxy with users of its own.",
        ) from error
    with contextlib.closing(connection):
        session = Session(connection)
        for sql in (UNLIMITED, b"SET SESSION sql_mode = ''"):  # which has names in backticks
            session.execute(sql)
        grants = _grants(session)
        # Where case tells schemas apart, it does so here.
        folded = "SELECT IF(@@lower_case_table_names, LOWER(schema_name), schema_name) FROM information_schema.schemata"
        schemas = [name for (name,) in session.query(folded)]
        ((schema,),) = session.query("SELECT IF(@@lower_case_table_names, LOWER(%s), %s)", schema, schema)
    if beyond := reach(grants, schemas, schema):
        raise RestoreError(
            f"{why}the server lets {account.server.user} reach beyond {schema!r}, so code in a dump could, "
            f"too: {listed(beyond)}.",
            hint,
        )


def _grants(session: Session) -> list[str]:
    """Return all rights of an account, also those of roles that everybody has, whatever roles are in force."""
    grants = [grant for (grant,) in session.query("SHOW GRANTS")]
    roles = {grant: found[1] for grant in grants if (found := _ROLES.fullmatch(grant))}
    if not roles:
        return grants
    using = f"SHOW GRANTS FOR CURRENT_USER() USING {', '.join(roles.values())}"
    return [grant for (grant,) in session.query(using) if grant not in roles]


def reach(grants: Collection[str], schemas: Collection[str], schema: str) -> list[str]:
    """Return what lets an account reach beyond one schema; empty if nothing does.

    :param grants: as ``SHOW GRANTS`` prints them; each counts unless it is known to be harmless.
    :param schemas: that it may see for any reason, be it an account without a name or everybody's rights.
    """
    others = sorted(name for name in schemas if name != schema and name.lower() not in OPEN_TO_ALL)
    return [
        *(_shown(grant) for grant in grants if " GRANT OPTION" in grant or not _HARMLESS.match(grant)),
        *(f"schema {name!r}" for name in others),
    ]


def _shown(grant: str) -> str:
    """Return a grant without whom it is to, and with what password."""
    return grant.partition(" TO ")[0]
