"""Retention of many archives: the plan, and reading a destination by one listing instead of a call per object."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifeboat.catalog import archives
from lifeboat.storage.s3 import S3Destination

from include.demo.stand_ins import S3
from tests.bench.contest import console, hold

ARCHIVES = int(os.environ.get("BENCH_ARCHIVES", "100_000"))
STORED = ARCHIVES // 50
RUNS = 7  # of the command, which is short
BUCKET = "bench"
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


def keys(count: int) -> list[str]:
    """Return keys of ten applications, a quarter of an hour apart, in no order."""
    made = [
        archives.archive_key(
            f"App {number % 10}", "database" if number % 7 else "application", NOW - timedelta(minutes=15 * number)
        )
        for number in range(count)
    ]
    random.Random(3).shuffle(made)
    return made


def planning(scratch: Path, count: int) -> float:
    """Return the seconds that the command takes for a plan, its start included; the median of some runs."""
    inventory = scratch / "inventory.json"
    inventory.write_text(json.dumps([{"key": key, "size": 10**6} for key in keys(count)]))
    program = str(Path(sys.executable).parent / "lifeboat")
    command = [program, "plan", "--json", "--inventory", str(inventory), "--at", NOW.isoformat()]
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main(scratch: Path) -> None:
    """Time the plan as a command; then both ways of reading a bucket."""
    plan, start = planning(scratch, ARCHIVES), planning(scratch, 0)
    console.print(f"A plan for {ARCHIVES} archives: {plan:.2f} s, median of {RUNS}; for none, {start:.2f} s.")
    with S3(scratch / "s3") as s3:
        s3.create_bucket(BUCKET)
        destination = S3Destination("s3", s3.client(), BUCKET)
        stored = keys(STORED)
        for key in stored:
            destination.write(key, b"archive")

        def call_per_object() -> None:
            for key in stored:
                destination.find(key)

        hold(
            f"{STORED} archives in a bucket",
            "times the listing",
            {"one listing": lambda: list(destination.list()), "a call per object": call_per_object},
        )
