"""Retention of many archives: the plan, and reading a destination by one listing instead of a call per object."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifeboat.catalog import archives
from lifeboat.storage.s3 import S3Destination

from include.demo.stand_ins import S3
from tests.bench.contest import Report, hold, least_cpu

ARCHIVES = int(os.environ.get("BENCH_ARCHIVES", "100_000"))
STORED = ARCHIVES // 50
RUNS = 3
ONE = "one listing, as Lifeboat reads it"
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
    """Return the CPU seconds that the command takes for a plan, its start included."""
    inventory = scratch / "inventory.json"
    inventory.write_text(json.dumps([{"key": key, "size": 10**6} for key in keys(count)]))
    program = str(Path(sys.executable).parent / "lifeboat")
    return least_cpu([program, "plan", "--json", "--inventory", str(inventory), "--at", NOW.isoformat()], {}, RUNS)


def main(scratch: Path) -> Report:
    """Time the plan as a command; then both ways of reading a bucket."""
    report = Report(
        short={f"`lifeboat plan` of {count:,} archives": planning(scratch, count) for count in (0, ARCHIVES)}
    )
    with S3(scratch / "s3") as s3:
        s3.create_bucket(BUCKET)
        destination = S3Destination("s3", s3.client(), BUCKET)
        stored = keys(STORED)
        for key in stored:
            destination.write(key, b"archive")
        contestants: dict[str, Callable[[], object]] = {
            ONE: lambda: list(destination.list()),
            "a call per object": lambda: [destination.find(key) for key in stored],
        }
        report.contests["listing"] = hold(f"{STORED:,} archives in a bucket", ONE, contestants, servers=(s3.pid,))
    return report
