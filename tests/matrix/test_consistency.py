"""Dumps of databases that are being written: every copy holds one moment, at which no money is on its way."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from threading import Event, Thread

import pytest
from lifeboat.databases import Load, Target

from tests.matrix.pairs import every_pair
from tests.matrix.subjects import CONNECTION, Subject, engine_of

TABLES = ("savings", "current", "loans")
ACCOUNTS = 40
EACH = 1000
WRITERS = 3
DUMPS = 3
BANK = "bank"

pytestmark = every_pair


class Transfers:
    """Writers that move money between accounts of several tables, a transaction for each move.

    :ivar done: how many moves each writer has made.
    """

    def __init__(self, subject: Subject) -> None:
        self.done = [0] * WRITERS
        self._subject = subject
        self._stop = Event()
        self._threads = [Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> Transfers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        with contextlib.closing(self._subject.connect(BANK)) as connection:
            while not self._stop.is_set():
                amount = chance.randint(1, 50)
                places = [(chance.choice(TABLES), chance.randint(1, ACCOUNTS)) for _ in range(2)]
                cursor = connection.cursor()
                cursor.execute(self._subject.begin)
                # In one order for all writers, so that none waits for another that waits for it.
                for (table, account), change in sorted(zip(places, (amount, -amount), strict=True)):
                    cursor.execute(f"UPDATE {table} SET balance = balance + {change} WHERE id = {account}")
                cursor.execute("COMMIT")
                self.done[number] += 1


def test_every_copy_has_the_same_total(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", subject.connection())
    subject.make_empty(BANK)
    values = ", ".join(f"({number}, {EACH})" for number in range(1, ACCOUNTS + 1))
    for table in TABLES:
        subject.run(
            f"CREATE TABLE {table} (id INT PRIMARY KEY, balance INT); INSERT INTO {table} VALUES {values}", BANK
        )
    engine = engine_of(subject, tmp_path / "scratch")
    dumps = []
    with Transfers(subject) as transfers:
        for _ in range(DUMPS):
            before = sum(transfers.done)
            chunks: list[bytes] = []
            dumps.append((engine.dump(BANK, (), chunks.append), chunks))
            assert sum(transfers.done) > before, "a dump locks no writer out"
    assert all(transfers.done)
    assert len({dump.tables for dump, _ in dumps}) == DUMPS, "the copies are of different moments"
    total = " + ".join(f"(SELECT sum(balance) FROM {table})" for table in TABLES)
    for number, (dump, chunks) in enumerate(dumps):
        with engine.target(Target(f"copy_{number}", "a key", dump)) as place:
            engine.load(place.name, chunks, Load(BANK))
        assert subject.run(f"SELECT {total}", f"copy_{number}").strip() == str(len(TABLES) * ACCOUNTS * EACH)
