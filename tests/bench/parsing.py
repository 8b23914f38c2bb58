"""How long Airflow parses the DAG files, for one application and for many.

Counted as its DAG processor does it: a process that has Airflow imported forks one child for each file, and the child
imports, parses and serializes. `import airflow` itself, which the processor has behind it, is printed beside. Seconds
are those of the CPU, not of the clock: all of it runs on one core, and other work on the machine counts for little.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.contest import Report
from tests.conftest import PROJECT

APPLICATIONS = (1, 100)
RUNS = 2

PARSER = """
import gc, json, os, sys, time
started = time.process_time()
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.providers.standard.operators import python
seconds = {"import airflow": time.process_time() - started}
gc.freeze()  # as the DAG processor does
for path in sys.argv[1:]:
    reading, writing = os.pipe()
    if not os.fork():
        started = time.process_time()
        bag = DagBag(dag_folder=path, bundle_name="bench")
        assert not bag.import_errors and len(bag.dags) == 1, bag.import_errors
        parsed = time.process_time() - started
        for dag in bag.dags.values():
            DagSerialization.to_dict(dag)
        os.write(writing, json.dumps([parsed, time.process_time() - started - parsed]).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    seconds[path] = json.loads(os.read(reading, 1000))
print(json.dumps(seconds))
"""


def settings(count: int, scratch: Path) -> Path:
    """Write settings of many applications, each with two databases and files, at two destinations."""
    bucket = {"type": "s3", "connection": "backups_s3", "bucket": "backups"}
    path = scratch / f"{count}.yaml"
    path.write_text(
        json.dumps(
            {
                "staging": str(scratch / "staging"),
                "encryption": "none",
                "destinations": {"local": {"type": "disk", "path": str(scratch / "kept")}, "offsite": bucket},
                "applications": {
                    f"Application {number}": {
                        "databases": [{"name": f"{name}_{number}", "connection": "db"} for name in ("shop", "log")],
                        "files": {"root": f"/var/www/{number}"},
                    }
                    for number in range(count)
                },
            }
        )
    )
    return path


def parse(path: Path) -> dict[str, float]:
    """Return the seconds of one fresh process: importing Airflow, parsing all files, serializing their DAGs."""
    files = sorted(str(file) for file in (PROJECT / "dags").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", PARSER, *files],
        env=os.environ | {"LIFEBOAT_CONFIG": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = json.loads(done.stdout.splitlines()[-1])
    return {
        "import airflow": seconds["import airflow"],
        "parsing": sum(seconds[file][0] for file in files),
        "serializing": sum(seconds[file][1] for file in files),
    }


def main(scratch: Path) -> Report:
    """Time the parsing of all DAG files for several numbers of applications."""
    compileall.compile_dir(PROJECT / "plugins", quiet=1)
    report = Report()
    for count in APPLICATIONS:
        path = settings(count, scratch)
        runs = [parse(path) for _ in range(RUNS)]
        for what in ("parsing", "serializing"):
            report.short[f"{what} all DAG files, {count} applications"] = min(run[what] for run in runs)
    return report
