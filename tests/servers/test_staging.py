"""Staging in a bucket: workers that share nothing else, and what becomes of runs that died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lifeboat import staging
from lifeboat.actions import backup
from lifeboat.actions.backup import PackedArchive
from lifeboat.airflow import connections
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.databases import Dump
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.errors import StagingError
from lifeboat.settings import config
from lifeboat.settings.config import Database
from lifeboat.staging import StagingBucket, StagingDirectory
from lifeboat.storage.bucket import Bucket
from lifeboat.support import clock

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import PROJECT, Configure

WORKERS = """
import os, resource, sys, tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from lifeboat.actions import backup
from lifeboat.airflow.site import load_site
from lifeboat.storage import upload
upload.PART = 5 << 20
site = load_site()

def scratch():
    return site.staging().of("backup", "run", "Shop")

def dump():
    (database,) = site.settings.databases_of("Shop")
    backup.dump_database(scratch(), database, site.engine(database))

def pack():
    return backup.pack_archive(scratch(), "Shop", "database", ["shop"], "password", now=site.now())

def store(packed):
    (destination,) = site.destinations("Shop", ("offsite",))
    backup.store_archive(scratch(), packed, destination)

def settle():
    tempfile.tempdir = tempfile.mkdtemp(dir=sys.argv[1])
    os.chdir(tempfile.tempdir)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # the kernel refuses to write longer files

def elsewhere(step, *values):
    with ProcessPoolExecutor(1, get_context("fork"), settle) as pool:
        return pool.submit(step, *values).result()
"""


@pytest.fixture
def area(s3: S3, tmp_path: Path) -> StagingBucket:
    return StagingBucket(Bucket("staging", s3.client(), "backups", f"area-{tmp_path.name}"))


def work(script: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start a script that has steps of a backup, and `elsewhere`, which does one in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{WORKERS}\n{script}", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{PROJECT}/plugins"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def in_a_bucket(project: Configure, s3: S3, tmp_path: Path) -> str:
    project()
    bucket = f"staging-{abs(hash(tmp_path.name)) % 10**12}"
    s3.create_bucket(bucket)
    project(staging=f"s3://backups_s3@{bucket}/scratch")
    return bucket


def test_each_step_on_a_worker_of_its_own(
    project: Configure, s3: S3, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    bucket = in_a_bucket(project, s3, tmp_path)
    mariadb.run("CREATE TABLE noise (id INT PRIMARY KEY, bytes LONGBLOB)", shop)
    mariadb.run("INSERT INTO noise SELECT seq, RANDOM_BYTES(1000) FROM seq_1_to_4000", shop)
    workers = work("elsewhere(dump); elsewhere(store, elsewhere(pack))", tmp_path)
    printed, _ = workers.communicate()
    assert workers.returncode == 0, printed.decode()
    (destination,) = load_site().destinations("Shop", ("offsite",))
    (archive,) = archives.read(destination.list()).archives
    assert archive.size > 4 << 20  # more than one file of theirs may have
    connections.staging(config.load().staging).of("backup", "run", "Shop").remove()
    assert "Contents" not in s3.client().list_objects_v2(Bucket=bucket)


def test_a_killed_dump_leaves_no_facts_and_the_next_try_succeeds(
    project: Configure, s3: S3, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    bucket = in_a_bucket(project, s3, tmp_path)
    mariadb.run("CREATE TABLE zz (id INT PRIMARY KEY, bytes LONGBLOB)", shop)
    mariadb.run("INSERT INTO zz SELECT seq, RANDOM_BYTES(1000) FROM seq_1_to_60000", shop)
    scratch = connections.staging(config.load().staging).of("backup", "run", "Shop")
    assert isinstance(scratch, StagingBucket)
    victim = work("dump()", tmp_path)
    client = s3.client()
    deadline = time.monotonic() + 60
    while not client.list_multipart_uploads(Bucket=bucket).get("Uploads"):
        assert time.monotonic() < deadline
        assert victim.poll() is None, victim.communicate()
        time.sleep(0.05)
    victim.kill()
    victim.communicate()
    with pytest.raises(StagingError, match="an earlier step did not finish"):
        scratch.dump("shop").facts(Dump)
    shop_db = Database(name=shop, connection="shop_db")
    backup.dump_database(scratch, shop_db, MySQL(mariadb.server, mariadb.connect, clock.now))
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert scratch.dump("shop").facts(Dump).database == "shop"


def test_what_dead_runs_left_in_a_bucket_is_swept(area: StagingBucket, s3: S3) -> None:
    for run in ("dead/one", "alive"):
        with area.of("backup", run, "Shop é").archive.writing() as staged:
            staged.write(b"x")
            staged.facts = PackedArchive("", 0, "")
    killed = f"{area}backup/killed/Shop/archive.zip".removeprefix("s3://backups/")
    s3.client().create_multipart_upload(Bucket="backups", Key=killed)
    assert sorted(staging.sweep(area, "backup", lambda run: run != "alive")) == ["dead/one", "killed"]
    assert area.below("backup").children() == ["alive"]
    area.below("backup").below("alive").remove()
    assert area.below("backup").children() == []


def test_what_a_block_did_not_finish_is_not_staged(area: StagingBucket) -> None:
    staged = area.of("backup", "run", "Shop").archive
    with staged.writing() as file:
        file.write(b"x")
        file.facts = PackedArchive("a", 1, "")
    assert staged.facts(PackedArchive) == PackedArchive("a", 1, "")
    with pytest.raises(KeyboardInterrupt), staged.writing() as file:
        file.facts = PackedArchive("b", 1, "")
        raise KeyboardInterrupt
    with pytest.raises(StagingError, match=r"archive.zip in staging \(s3://backups/.* is not in staging: an earlier"):
        staged.facts(PackedArchive)


def test_a_directory_that_another_worker_opened_is_missed_before_the_work_begins(
    mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    there = StagingDirectory(tmp_path / "there").of("backup", "run", "Shop")
    there.create()
    here = StagingDirectory(tmp_path / "here").of("backup", "run", "Shop", opened_on="worker-1")
    shop_db = Database(name=shop, connection="shop_db")
    with pytest.raises(StagingError) as caught:
        backup.dump_database(here, shop_db, MySQL(mariadb.server, mariadb.connect, clock.now))
    assert str(caught.value).startswith(
        f"{here} is not on {socket.gethostname()}, where this step runs: staging was opened on worker-1."
    )
    assert "or set staging to s3://CONNECTION@BUCKET/PREFIX" in caught.value.hint


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_staging_that_is_not_a_directory_says_what_to_do(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("something else")
    with pytest.raises(StagingError, match="Cannot write to staging") as error:
        StagingDirectory(tmp_path / root).create()
    assert error.value.hint.startswith("The path exists and is not a directory: move it away")
