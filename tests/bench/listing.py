"""Retention of many archives: the plan, and reading a destination by one listing instead of a call per object."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifeboat import catalog, trial
from lifeboat.storage.s3 import S3Destination

from include.demo.stand_ins import S3
from tests.bench.contest import console, hold

ARCHIVES = int(os.environ.get("BENCH_ARCHIVES", "100_000"))
STORED = ARCHIVES // 50
BUCKET = "bench"
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


def keys(count: int) -> list[str]:
    """Return keys of ten applications, a quarter of an hour apart, in no order."""
    made = [
        catalog.archive_key(
            f"App {number % 10}", "database" if number % 7 else "application", NOW - timedelta(minutes=15 * number)
        )
        for number in range(count)
    ]
    random.Random(3).shuffle(made)
    return made


def main(scratch: Path) -> None:
    """Time the plan, as a command and by itself; then both ways of reading a bucket."""
    inventory = scratch / "inventory.json"
    inventory.write_text(json.dumps([{"key": key, "size": 10**6} for key in keys(ARCHIVES)]))
    at = NOW.isoformat()
    lifeboat = str(Path(sys.executable).parent / "lifeboat")
    command = [lifeboat, "plan", "--inventory", str(inventory), "--at", at, "--json"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - started
    started = time.perf_counter()
    trial.plan(inventory, at, "Europe/Berlin", "{}")
    alone = time.perf_counter() - started
    console.print(f"A plan for {ARCHIVES} archives: {alone:.2f} s; as a command, {whole:.2f} s.")
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
