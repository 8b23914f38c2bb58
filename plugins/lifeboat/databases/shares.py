"""Which of several clients dumps which tables; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

WORTH = 32 << 20  # bytes of tables that are worth a second client
OF_TABLE = 64 << 10  # bytes that the dump of any table costs as much time as
MOST_NAMED = 256 << 10  # bytes of names, which are arguments of programs


def shares(sizes: Mapping[str, int], clients: int, others: int = 0) -> list[list[str]]:
    """Deal tables out to clients, about as many bytes to each.

    The first client dumps all that no other does, what nobody knows yet included; it gets a table in any case.

    :param sizes: of the tables, in bytes.
    :param clients: how many there may be at most.
    :param others: bytes of what only the first can dump.
    :returns: the tables of each client but the first; none where one client does as well.
    """
    folded = Counter(name.lower() for name in sizes)
    named = {name: size for name, size in sizes.items() if folded[name.lower()] == 1}  # clients ignore case
    if sum(sizes.values()) + others < WORTH or clients < 2:
        return []
    dealt: list[list[str]] = [[] for _ in range(min(clients, len(sizes)))]
    own = others + sum(size + OF_TABLE for name, size in sizes.items() if name not in named)
    loads = [own, *(0 for _ in dealt[1:])]
    room = MOST_NAMED
    for name, size in sorted(named.items(), key=lambda table: (-table[1], table[0])):
        lightest = loads.index(min(loads)) if room > 0 else 0
        dealt[lightest].append(name)
        loads[lightest] += size + OF_TABLE
        room -= 2 * len(name.encode()) if lightest else 0
    return [sorted(tables) for tables in dealt[1:] if tables]
