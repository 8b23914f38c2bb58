"""Dumps made hostile by chance: statements of dump clients, spliced with what reaches beyond a database.

A mutation is pure and has a seed, so that what was found can be made again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """What dumps of an engine are made of.

    :param hostile: what would be seen if it ran: each changes the database, table, account or file that an oracle
        watches.
    :param fragments: what changes the meaning of what stands behind.
    :param before: what may end the statement that stands before a hostile one.
    :param after: and what may hide the rest of it.
    :param names: of the victim.
    :param hides: pairs of what begins and what ends a text that is no statement.
    :param pieces: cuts a statement.
    """

    hostile: Sequence[bytes]
    fragments: Sequence[bytes]
    before: Sequence[bytes]
    after: Sequence[bytes]
    names: Sequence[bytes]
    hides: Sequence[tuple[bytes, bytes]]
    pieces: re.Pattern[bytes]


HOSTILE = (
    b"DROP TABLE `victim`.`t`",
    b"DROP TABLE IF EXISTS `x`, `victim`.`t`",
    b"INSERT INTO `victim`.`t` VALUES (666)",
    b"DELETE FROM victim.t",
    b"CREATE TABLE `victim`.`made` (`a` int)",
    b"CREATE VIEW `victim`.`made` AS SELECT 1 AS `a`",
    b"CREATE PROCEDURE `victim`.`made`() SELECT 1",
    b"CREATE EVENT `victim`.`made` ON SCHEDULE EVERY 1 SECOND DO DELETE FROM victim.t",
    b"CREATE TRIGGER `victim`.`made` BEFORE INSERT ON `victim`.`t` FOR EACH ROW SET NEW.a = 1",
    b"ALTER DATABASE `victim` CHARACTER SET latin1 COLLATE latin1_bin",
    b"CREATE DATABASE `made_by_a_dump`",
    b"CREATE USER made_by_a_dump",
    b"SET GLOBAL general_log_file = '/tmp/made_by_a_dump'",
    b"SET PASSWORD = 'made by a dump'",
    b"SELECT 'made by a dump' INTO OUTFILE '/tmp/made_by_a_dump'",
    b"RENAME TABLE `victim`.`t` TO `t2`",
    b"TRUNCATE `victim`.`t`",
)
FRAGMENTS = (
    *(b"`victim`.`t`", b"victim.t", b"`victim`/**/.`t`", b", `victim`.`t`", b"`victim`", b"/**/.`made`"),
    *(b" AS SELECT * FROM victim.t", b" SELECT 1 FROM victim.t", b" TABLE victim.t", b"(SELECT a FROM victim.t)"),
    *(b" DATA DIRECTORY='/tmp/'", b" UNION (victim.t)", b" UNION=(`victim`.`t`)", b" ENGINE=MRG_MyISAM"),
    *(b" CONNECTION='mysql://root@localhost/victim/t'", b" ENGINE=FEDERATED", b" LIKE victim.t", b" ENABLE"),
    *(b"f()", b"LOAD_FILE('/etc/passwd')", b"@@datadir", b"@a := 1", b" ON DUPLICATE KEY UPDATE a = 1"),
    *(b"/*", b"*/", b"/*!", b"/*!50001 ", b"/*!99999 ", b"/*M!100100 ", b"/*!501000 ", b"-- ", b"--\n", b"#", b"#\n"),
    *(b"'", b'"', b"`", b"\\", b"\\'", b"''", b"\\\\", b";", b";\n", b";;", b"\n", b"\0", b"\xbf\\", b"\xa0", b"$$"),
    *(b"DELIMITER ;;\n", b"DELIMITER ;\n", b"DELIMITER $\n"),
    *(b"SET NAMES gbk;\n", b"SET NAMES latin1;\n", b"SET sql_mode='NO_BACKSLASH_ESCAPES';\n", b"SET sql_mode=@a;\n"),
    *(b"SET sql_mode='ANSI_QUOTES';\n", b"SET @a='ANSI,NO_BACKSLASH_ESCAPES';\n", b"SET sql_mode=DEFAULT;\n"),
)
MYSQL = Language(
    HOSTILE,
    FRAGMENTS,
    before=(b"", b";", b";\n", b"*/;", b"';\n", b"`;\n", b"\n;;\n", b"*/ ;;\n", b"') ;\n"),
    after=(b"", b";\n", b" -- ", b"/*", b";;\n", b" #", b";\n/*!50001 ", b" '"),
    names=(b"`victim`.`t`", b"victim.t", b"`victim`/**/.`t`", b"`victim`"),
    hides=(
        (b"/*!50001 ", b"*/"),
        (b"/*!99999 ", b"*/"),
        (b"/*M!100100 ", b"*/"),
        (b"/* ", b"*/"),
        (b"'", b"'"),
        (b"`", b"`"),
    ),
    pieces=re.compile(rb"`[^`]*`|'[^']*'|\w+|\s+|.", re.DOTALL),
)
POSTGRESQL = Language(
    hostile=(
        b"ALTER DATABASE victim RENAME TO made_by_a_dump",
        b"ALTER DATABASE victim SET work_mem TO '7MB'",
        b"COMMENT ON DATABASE victim IS 'made by a dump'",
        b"GRANT ALL ON DATABASE victim TO PUBLIC",
        b"DROP DATABASE victim",
        b"CREATE DATABASE made_by_a_dump",
        b"CREATE ROLE made_by_a_dump",
        b"ALTER ROLE lifeboat PASSWORD 'made by a dump'",
        b"ALTER ROLE lifeboat SET work_mem TO '7MB'",
        b"ALTER ROLE CURRENT_USER CREATEROLE",
        b"COMMENT ON ROLE lifeboat IS 'made by a dump'",
        b"GRANT lifeboat TO PUBLIC",
        b"GRANT app TO reader",
        b"SET ROLE lifeboat",
        b"SET SESSION AUTHORIZATION lifeboat",
        b"REASSIGN OWNED BY lifeboat TO CURRENT_USER",
        b"DROP OWNED BY lifeboat",
        b"ALTER SYSTEM SET work_mem TO '7MB'",
        b"COPY public.a TO PROGRAM 'touch /tmp/made_by_a_dump'",
        b"COPY public.a TO '/tmp/made_by_a_dump'",
        b"SELECT lo_export(lo_create(0), '/tmp/made_by_a_dump')",
        b"SELECT public.attack()",
        b"DO $$ BEGIN PERFORM public.attack(); END $$",
        b"\\! touch /tmp/made_by_a_dump\n",
        b"\\o /tmp/made_by_a_dump\n",
        b"\\connect victim\n",
        b"\\copy public.a to '/tmp/made_by_a_dump'\n",
        b"CREATE TABLE public.evil (a boolean DEFAULT public.attack())",
        b"CREATE INDEX evil ON public.a USING btree (public.attack())",
        b"CREATE STATISTICS public.evil ON public.attack() FROM public.a",
        b"CREATE TRIGGER evil BEFORE INSERT ON public.b FOR EACH ROW EXECUTE FUNCTION public.fires()",
        b"CREATE RULE evil AS ON INSERT TO public.b DO ALSO SELECT public.attack()",
        b"ALTER TABLE public.a ADD CONSTRAINT evil CHECK (public.attack())",
        b"CREATE MATERIALIZED VIEW public.evil AS SELECT public.attack()",
        b"ALTER FUNCTION public.attack() OWNER TO lifeboat",
        b"ALTER FUNCTION public.attack() OWNER TO postgres",
        b"ALTER FUNCTION public.attack() OWNER TO CURRENT_USER",
        b"ALTER TABLE public.a OWNER TO postgres",
        b"CREATE EXTENSION dblink",
        b"CREATE LANGUAGE plpython3u",
        b"CREATE SUBSCRIPTION evil CONNECTION 'dbname=victim' PUBLICATION p",
    ),
    fragments=(
        *(b"victim", b'"victim"', b"public.attack()", b"public.a", b"lifeboat", b"postgres", b"CURRENT_USER"),
        *(b", OWNER TO lifeboat", b" OWNER TO postgres", b" AS SELECT public.attack()", b" SECURITY DEFINER"),
        *(b"'", b'"', b"E'", b"e'\\'", b"U&'", b'U&"', b"B'", b"$$", b"$_$", b"$a$", b"$1", b"\\", b"\\'", b"''"),
        *(b";", b";\n", b"\n", b"\0", b"\xbf", b"\xa0", b"(", b")", b"--", b"--\n", b"/*", b"*/", b"/* /* */", b"\\\\"),
        *(b"\\.\n", b"\n\\.\n", b"\\.", b"\\.\r\n", b"\\N\t", b"FROM stdin;\n", b"COPY public.a (id) FROM stdin;\n"),
        *(b"BEGIN ATOMIC ", b" END;", b"BEGIN;\n", b"COMMIT;\n", b"ROLLBACK;\n", b"\\;", b"\\g\n", b"\\gexec\n", b":a"),
        *(b"SET standard_conforming_strings = off;\n", b"SET client_encoding = 'GBK';\n"),
        *(b"SET client_encoding = 'LATIN1';\n", b"SET search_path = public;\n", b"SET row_security = on;\n"),
        *(b"\\restrict abc\n", b"\\unrestrict abc\n", b"-- PostgreSQL database dump complete\n"),
    ),
    before=(
        b"",
        b";",
        b";\n",
        b"';\n",
        b'";\n',
        b"$$;\n",
        b"$_$;\n",
        b"\n\\.\n",
        b"\\.\n\n",
        b");\n",
        b"\n",
        b"END;\n",
    ),
    after=(b"", b";\n", b" --", b"/*", b";", b"; SELECT '", b";\n$$", b' "', b";\nCOPY public.a (id) FROM stdin;\n"),
    names=(b"victim", b'"victim"', b"lifeboat", b"postgres", b"public.attack()", b"pg_catalog.pg_authid"),
    hides=((b"$$", b"$$"), (b"$_$", b"$_$"), (b"'", b"'"), (b'"', b'"'), (b"E'", b"'"), (b"/* ", b"*/"), (b"(", b")")),
    pieces=re.compile(rb"\"[^\"]*\"|'[^']*'|\$\w*\$|\w+|\s+|.", re.DOTALL),
)
SQLITE = Language(
    hostile=(
        b"ATTACH 'victim.sqlite' AS victim",
        b"ATTACH DATABASE 'victim.sqlite' AS victim; INSERT INTO victim.t VALUES (666)",
        b"DETACH main",
        b"INSERT INTO victim.t VALUES (666)",
        b"DELETE FROM victim.t",
        b"DROP TABLE victim.t",
        b"CREATE TABLE victim.made (a)",
        b"CREATE TEMP TABLE made (a)",
        b"VACUUM INTO '/tmp/made_by_a_dump'",
        b"VACUUM main INTO '/tmp/made_by_a_dump'",
        b"SELECT writefile('/tmp/made_by_a_dump', 'x')",
        b"SELECT load_extension('/tmp/made_by_a_dump')",
        b"INSERT INTO a VALUES (writefile('/tmp/made_by_a_dump', 'x'), 2)",
        b"INSERT INTO sqlite_schema VALUES ('table', 't', 't', 2, 'CREATE TABLE t (a)')",
        b"PRAGMA writable_schema = ON",
        b"PRAGMA temp_store_directory = '/tmp'",
        b"PRAGMA journal_mode = WAL",
        b"PRAGMA locking_mode = EXCLUSIVE",
        b"PRAGMA data_store_directory = '/tmp'",
        b".output /tmp/made_by_a_dump\n",
        b".shell touch /tmp/made_by_a_dump\n",
        b".open victim.sqlite\n",
        b".backup /tmp/made_by_a_dump\n",
        b"CREATE VIRTUAL TABLE made USING csv(filename='/etc/passwd')",
        b"CREATE VIRTUAL TABLE made USING dbstat(victim)",
        b"CREATE TRIGGER made AFTER INSERT ON a BEGIN INSERT INTO victim.t VALUES (666); END",
        b"CREATE VIEW made AS SELECT * FROM victim.t",
        b"CREATE TABLE made AS SELECT * FROM victim.t",
    ),
    fragments=(
        *(b"victim.t", b'"victim"."t"', b"main.", b"temp.", b"'victim.sqlite'", b" AS SELECT * FROM victim.t"),
        *(
            b"'",
            b'"',
            b"`",
            b"[",
            b"]",
            b"''",
            b"\\",
            b";",
            b";\n",
            b"\n",
            b"\0",
            b"\xff",
            b"--",
            b"--\n",
            b"/*",
            b"*/",
        ),
        *(b" END;", b"BEGIN;\n", b"COMMIT;\n", b"ROLLBACK;\n", b"SAVEPOINT a;\n", b"PRAGMA encoding='UTF-16le';\n"),
        *(
            b"zeroblob(9)",
            b"randomblob(9)",
            b"(SELECT 1)",
            b"X'00'",
            b"?",
            b":a",
            b"@a",
            b" RETURNING *",
            b" OR IGNORE ",
        ),
    ),
    before=(b"", b";", b";\n", b"';\n", b'";\n', b"];\n", b"`;\n", b"*/;\n", b");\n", b"END;\n", b"COMMIT;\n", b"\n"),
    after=(b"", b";\n", b" --", b"/*", b";", b" '", b' "', b";\nBEGIN;\n"),
    names=(b"victim.t", b'"victim"."t"', b"temp.a", b"sqlite_schema", b"sqlite_master"),
    hides=((b"'", b"'"), (b'"', b'"'), (b"[", b"]"), (b"`", b"`"), (b"/* ", b"*/"), (b"(", b")")),
    pieces=re.compile(rb"\"[^\"]*\"|'[^']*'|\w+|\s+|.", re.DOTALL),
)
_STATEMENTS = re.compile(rb"(?<=;)\n|(?<=;;)\n")

Mutation = Callable[[random.Random, list[bytes], Language], None]


def statements_of(dump: bytes) -> list[bytes]:
    """Cut a dump into what is about a statement each."""
    return [piece + b"\n" for piece in _STATEMENTS.split(dump) if piece.strip()]


def _insert_fragment(chance: random.Random, pieces: list[bytes], language: Language) -> None:
    pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(language.fragments))


def _insert_hostile(chance: random.Random, pieces: list[bytes], language: Language) -> None:
    before, after = chance.choice(language.before), chance.choice(language.after)
    pieces.insert(chance.randrange(len(pieces) + 1), before + chance.choice(language.hostile) + after)


def _replace_name(chance: random.Random, pieces: list[bytes], language: Language) -> None:
    names = [at for at, piece in enumerate(pieces) if piece.startswith((b"`", b'"')) or piece.isalpha()]
    if names:
        pieces[chance.choice(names)] = chance.choice(language.names)


def _remove(chance: random.Random, pieces: list[bytes], _: Language) -> None:
    if pieces:
        start = chance.randrange(len(pieces))
        del pieces[start : start + chance.randint(1, 4)]


def _move(chance: random.Random, pieces: list[bytes], _: Language) -> None:
    if len(pieces) > 1:
        piece = pieces.pop(chance.randrange(len(pieces)))
        pieces.insert(chance.randrange(len(pieces) + 1), piece)


def _hide(chance: random.Random, pieces: list[bytes], language: Language) -> None:
    start = chance.randrange(len(pieces) + 1)
    opens, closes = chance.choice(language.hides)
    pieces.insert(start, opens)
    pieces.insert(chance.randint(start + 1, len(pieces)), closes)


MUTATIONS: tuple[Mutation, ...] = (
    _insert_fragment,
    _insert_fragment,
    _insert_hostile,
    _insert_hostile,
    _replace_name,
    _remove,
    _move,
    _hide,
)


def hostile_dump(dump: Sequence[bytes], seed: int, language: Language) -> bytes:
    """Return a dump of which one to three statements were changed, and some were left out.

    :param dump: its statements.
    :param seed: of the changes.
    """
    chance = random.Random(seed)
    statements = list(dump)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(statements))
        pieces = language.pieces.findall(statements[at])
        for _ in range(chance.randint(1, 3)):
            chance.choice(MUTATIONS)(chance, pieces, language)
        statements[at] = b"".join(pieces)
        if chance.random() < 0.3:  # a statement of another place, as it is
            statements.insert(chance.randrange(len(statements) + 1), chance.choice(statements))
    return b"".join(statements)
