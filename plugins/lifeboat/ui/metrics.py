"""Metrics for Prometheus, and access to them."""

from __future__ import annotations

import functools
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lifeboat.airflow import connections
from lifeboat.airflow.compat import AccessView, BaseUser, bearer_scheme, get_user, requires_access_view
from lifeboat.catalog.archives import OWN_KINDS, Archive, Kind
from lifeboat.decide import health, rotation
from lifeboat.errors import LifeboatError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.support.logs import logger
from lifeboat.ui.archives import windows
from lifeboat.ui.readings import Reading
from lifeboat.ui.runs import Run
from lifeboat.ui.safety import applications_at

__all__ = ["CONTENT_TYPE_LATEST", "exposition", "may_scrape"]

log = logger(__name__)

FRESH_TOKEN_SECONDS = 10
SUBJECT = ("application", "kind", "destination")


async def may_scrape(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
) -> BaseUser | None:
    """Admit requests with the token of the settings, and users allowed to read the page.

    :returns: the user; None with the token.
    :raises HTTPException: 401 without a login, 403 without permission.
    """
    if bearer is not None and await run_in_threadpool(_is_token, bearer.credentials):
        return None
    user = await get_user(request, None, bearer)
    await run_in_threadpool(requires_access_view(AccessView.PLUGINS), request, user)
    return user


def _is_token(offered: str) -> bool:
    path = config.settings_path()
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    token = _token(path, changed, int(time.monotonic() // FRESH_TOKEN_SECONDS))
    return bool(token) and hmac.compare_digest(offered.encode("latin-1"), token.encode())  # as headers come


@functools.lru_cache(maxsize=1)
def _token(path: Path, changed: int, period: int) -> str:
    """Return the token of the settings; empty where there is none. No stranger's request makes us read it again.

    :param changed: when the file was; with `period`, it tells when to read both again.
    """
    try:
        settings = config.load(path).metrics
        return str(connections.get(settings.connection, "the metrics").password or "") if settings else ""
    except LifeboatError as error:
        log.warning("No token opens the metrics: %s", error)
        return ""


def exposition(
    settings: Settings, readings: Mapping[str, Reading], runs: Mapping[str, Sequence[Run]], now: datetime
) -> bytes:
    """Return the figures of all destinations and DAGs as text that Prometheus reads.

    :param runs: the last ones of each DAG, newest first.
    """
    registry = CollectorRegistry()
    _add_runs(registry, runs)

    def gauge(name: str, text: str, labels: tuple[str, ...] = SUBJECT) -> Gauge:
        return Gauge(f"lifeboat_{name}", text, labels, registry=registry)

    up = gauge("destination_up", "1 where the destination could be read, 0 where not.", ("destination",))
    last = gauge("last_success_timestamp_seconds", "When the data of the newest archive was captured, as Unix time.")
    count = gauge("archives", "Number of published archives.")
    size = gauge("newest_archive_bytes", "Size of the newest archive.")
    stored = gauge("storage_bytes", "Size of all archives together.")
    proven = gauge("last_proof_timestamp_seconds", "When a restore was last proven, as Unix time.")
    recovery = gauge("recovery_seconds", "How long the restore took that was last proven: the measured RTO.")
    passed = gauge("passed_checks", "Checks of the application that passed when a restore was last proven.")
    not_isolated = gauge("checks_not_isolated", "Those of them whose command was not isolated from production.")
    oldest = gauge("oldest_reading_timestamp_seconds", "When the archive unread for longest was read back or stored.")
    damaged = gauge("damaged_archives", "Number of archives that failed when they were read back last.")
    place = ("application", "destination")
    until = gauge("recoverable_until_timestamp_seconds", "The last moment that logs lead to, as Unix time.", place)
    for name, reading in readings.items():
        for application in settings.applications_with_logs:
            for window in windows(reading.found, application)[-1:] if reading.found else ():
                until.labels(application, name).set(window.until.timestamp())
        up.labels(name).set(reading.found is not None)
        for (application, kind), archives in _by_subject(settings, reading).items():
            subject = (application, kind, name)
            count.labels(*subject).set(len(archives))
            stored.labels(*subject).set(sum(archive.size for archive in archives))
            last_reads = reading.found.readings if reading.found else {}
            damaged.labels(*subject).set(sum(not last_reads[a.key].whole for a in archives if a.key in last_reads))
            if archives and kind in OWN_KINDS:
                times = [rotation.known_whole(archive, last_reads, now) for archive in archives]
                oldest.labels(*subject).set(min(times).timestamp())
            for newest in health.dated_until(now, archives)[:1]:
                last.labels(*subject).set(newest.captured_at.timestamp())
                size.labels(*subject).set(newest.size)
        for (application, kind), proof in reading.proofs.items():
            proven.labels(application, kind, name).set(proof.proven_at.timestamp())
            recovery.labels(application, kind, name).set(proof.recovery.total_seconds())
            passed.labels(application, kind, name).set(proof.checks)
            not_isolated.labels(application, kind, name).set(proof.open_checks)
    return generate_latest(registry)


def _add_runs(registry: CollectorRegistry, runs: Mapping[str, Sequence[Run]]) -> None:
    took = Gauge("lifeboat_last_run_seconds", "How long the last finished run took.", ("dag",), registry=registry)
    failed = Gauge("lifeboat_failed_runs", "Runs that failed since one succeeded.", ("dag",), registry=registry)
    for dag_id, of_dag in runs.items():
        over = [run for run in of_dag if run.is_over]
        for last in over[:1]:
            failed.labels(dag_id).set(sum(1 for _ in takewhile(lambda run: run.state != "success", over)))
            if last.began and last.ended:
                took.labels(dag_id).set((last.ended - last.began).total_seconds())


def _by_subject(settings: Settings, reading: Reading) -> dict[tuple[str, Kind], list[Archive]]:
    """Return the archives of each application of the settings and kind, newest first; none where some should be."""
    if reading.found is None:
        return {}
    subjects: dict[tuple[str, Kind], list[Archive]] = {
        (application, kind): []
        for application in applications_at(settings, reading.destination)
        for kind in settings.limits_of(application).longest_ages
    }
    for archive in reading.found.archives:
        if archive.application in settings.applications:
            subjects.setdefault((archive.application, archive.kind), []).append(archive)
    return subjects
