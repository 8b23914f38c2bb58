"""A dump loaded and its binary logs replayed onto it: Lifeboat beside the stock clients."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from lifeboat.databases.mysql.replay import Stop

from include.demo.stand_ins import MariaDB, MySQL
from tests.bench.contest import Report, console, hold, own_clients, shell
from tests.servers.databases.replaying import COPY, SOURCE, logs_of, replayed, take

TRANSACTIONS = int(os.environ.get("BENCH_TRANSACTIONS", "5_000"))
# Syncs are the servers' own choice: both write each commit to the disk, MySQL its binary log as well.
OPTIONS = ("--log-bin=log", "--server-id=7", "--binlog-format=ROW", "--innodb-flush-log-at-trx-commit=1")
ROUNDS = 2
STOCK = "the stock clients"
TABLE = "CREATE TABLE orders (id INT PRIMARY KEY, customer INT, note VARCHAR(200), KEY (customer))"


def write(server: MariaDB | MySQL) -> None:
    """Commit transactions of three rows each, as an application does."""
    connection = server.connect(db=SOURCE, autocommit=False)
    cursor = connection.cursor()
    for number in range(TRANSACTIONS):
        cursor.execute(f"INSERT INTO orders VALUES ({2 * number}, {number % 97}, 'new'), ({2 * number + 1}, 5, 'new')")
        cursor.execute(f"UPDATE orders SET note = 'paid by transfer' WHERE id = {number}")
        connection.commit()
    connection.close()


def hold_on(server: MariaDB | MySQL, scratch: Path) -> Report:
    """Hold the contest on one server."""
    kind = type(server).__name__
    client, reader = ("mysql", "mysqlbinlog") if isinstance(server, MySQL) else ("mariadb", "mariadb-binlog")
    login = f"-h 127.0.0.1 -P {server.port} -u root -p{shlex.quote(server.password)}"
    server.run(f"CREATE DATABASE {SOURCE}")
    server.run(TABLE, SOURCE)
    server.run("RESET BINARY LOGS AND GTIDS" if isinstance(server, MySQL) else "RESET MASTER")
    taken = take(server)
    console.print(f"Committing {TRANSACTIONS} transactions on {kind}")
    write(server)
    logs = logs_of(server)
    files = [scratch / f"{kind}-{piece.file}" for piece, _ in logs]
    for file, (_, chunks) in zip(files, logs, strict=True):
        file.write_bytes(b"".join(chunks))
    dump = scratch / f"{kind}.sql"
    dump.write_bytes(taken.sql)
    position = taken.dump.position
    assert position, taken.dump.no_position
    rewritten = f"--rewrite-db='{SOURCE}->{COPY}' --start-position={position.offset}"
    stock = (
        f"{client} {login} -e 'DROP DATABASE IF EXISTS {COPY}; CREATE DATABASE {COPY}';"
        f" {client} {login} {COPY} < {dump};"
        f" {reader} {rewritten} {' '.join(map(str, files))} | {client} {login} {COPY}"
    )
    contestants: dict[str, Callable[[], object]] = {
        STOCK: lambda: shell(stock),
        "Lifeboat": lambda: replayed(server, taken, Stop(), logs),
    }
    size = sum(file.stat().st_size for file in files) / 1e6
    title = f"{TRANSACTIONS:,} transactions, {size:.0f} MB of binary log, replayed on {kind}"
    return Report({f"replay {kind}": hold(title, STOCK, contestants, servers=(server.pid,), rounds=ROUNDS)})


def main(scratch: Path) -> Report:
    """Hold the contest on MariaDB, then on MySQL."""
    report = Report()
    for server in (MariaDB(scratch / "mariadb", *OPTIONS), MySQL(scratch / "mysql", *OPTIONS)):
        with server, own_clients(server):
            report |= hold_on(server, scratch)
    return report
