"""Dumps made hostile by chance: statements of dump clients, spliced with what reaches beyond a schema.

A mutation is pure and has a seed, so that what was found can be made again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

# What would be seen if it ran: each changes the schema, table, account or file that an oracle watches.
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
_PIECES = re.compile(rb"`[^`]*`|'[^']*'|\w+|\s+|.", re.DOTALL)
_STATEMENTS = re.compile(rb"(?<=;)\n|(?<=;;)\n")

Mutation = Callable[[random.Random, list[bytes]], None]


def statements_of(dump: bytes) -> list[bytes]:
    """Cut a dump into what is about a statement each."""
    return [piece + b"\n" for piece in _STATEMENTS.split(dump) if piece.strip()]


def _insert_fragment(chance: random.Random, pieces: list[bytes]) -> None:
    pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(FRAGMENTS))


def _insert_hostile(chance: random.Random, pieces: list[bytes]) -> None:
    before = chance.choice((b"", b";", b";\n", b"*/;", b"';\n", b"`;\n", b"\n;;\n", b"*/ ;;\n", b"') ;\n"))
    after = chance.choice((b"", b";\n", b" -- ", b"/*", b";;\n", b" #", b";\n/*!50001 ", b" '"))
    pieces.insert(chance.randrange(len(pieces) + 1), before + chance.choice(HOSTILE) + after)


def _replace_name(chance: random.Random, pieces: list[bytes]) -> None:
    names = [at for at, piece in enumerate(pieces) if piece.startswith(b"`")]
    if names:
        pieces[chance.choice(names)] = chance.choice((b"`victim`.`t`", b"victim.t", b"`victim`/**/.`t`", b"`victim`"))


def _remove(chance: random.Random, pieces: list[bytes]) -> None:
    if pieces:
        start = chance.randrange(len(pieces))
        del pieces[start : start + chance.randint(1, 4)]


def _move(chance: random.Random, pieces: list[bytes]) -> None:
    if len(pieces) > 1:
        piece = pieces.pop(chance.randrange(len(pieces)))
        pieces.insert(chance.randrange(len(pieces) + 1), piece)


def _hide(chance: random.Random, pieces: list[bytes]) -> None:
    start = chance.randrange(len(pieces) + 1)
    opens, closes = chance.choice(
        (
            (b"/*!50001 ", b"*/"),
            (b"/*!99999 ", b"*/"),
            (b"/*M!100100 ", b"*/"),
            (b"/* ", b"*/"),
            (b"'", b"'"),
            (b"`", b"`"),
        )
    )
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


def hostile_dump(dump: Sequence[bytes], seed: int) -> bytes:
    """Return a dump of which one to three statements were changed, and some were left out.

    :param dump: its statements.
    :param seed: of the changes.
    """
    chance = random.Random(seed)
    statements = list(dump)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(statements))
        pieces = _PIECES.findall(statements[at])
        for _ in range(chance.randint(1, 3)):
            chance.choice(MUTATIONS)(chance, pieces)
        statements[at] = b"".join(pieces)
        if chance.random() < 0.3:  # a statement of another place, as it is
            statements.insert(chance.randrange(len(statements) + 1), chance.choice(statements))
    return b"".join(statements)
