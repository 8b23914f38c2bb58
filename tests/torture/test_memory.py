"""The largest resident memory of commands does not grow with what they back up."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from include.demo.stand_ins import S3
from tests.bench.contest import peak_megabytes
from tests.conftest import disk_destination

pytestmark = pytest.mark.torture

MOST = 200  # MiB, of which Airflow takes 150
MOST_OF_FILES = 190  # MiB, which are 200 MB
COMMAND = [str(Path(sys.executable).parent / "lifeboat")]


def site(folder: Path, root: Path, **destinations: dict[str, str]) -> dict[str, str]:
    """Make settings of one application's files; return the variables of a command."""
    disk_destination("disk", folder / "disk")
    disk = {"disk": {"type": "disk", "path": str(folder / "disk")}}
    settings = {
        "staging": str(folder / "staging"),
        "encryption": "none",
        "destinations": disk | destinations,
        "applications": {"Shop": {"files": {"root": str(root)}}},
    }
    (folder / "backup.yaml").write_text(json.dumps(settings))
    return {"LIFEBOAT_CONFIG": str(folder / "backup.yaml"), "AIRFLOW_HOME": str(folder / "airflow")}


def test_an_upload_takes_the_same_memory_whatever_its_size(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    peaks = []
    with S3(tmp_path / "s3") as s3:
        s3.create_bucket("shop")
        bucket = {"type": "s3", "connection": "s3", "bucket": "shop"}
        variables = site(tmp_path, root, s3=bucket) | {"AIRFLOW_CONN_S3": s3.connection()}
        for megabytes in (40, 240):
            (root / "film").write_bytes(os.urandom(megabytes << 20))
            peaks.append(peak_megabytes([*COMMAND, "backup", "application"], variables))
    assert max(peaks) < MOST, peaks
    assert peaks[1] - peaks[0] < 30, peaks


def test_an_archive_of_many_files_takes_little_memory(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(200_000):
        path = root / f"{number % 200:03}" / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    variables = site(tmp_path, root)
    peaks = {"backup": peak_megabytes([*COMMAND, "backup", "application"], variables)}
    (archive,) = (tmp_path / "disk").rglob("*.zip")
    peaks["verify"] = peak_megabytes([*COMMAND, "verify", str(archive.relative_to(tmp_path / "disk"))], variables)
    assert max(peaks.values()) < MOST_OF_FILES, peaks
