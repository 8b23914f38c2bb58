"""The demo begins healthy and ends whole: nothing that it started outlives its terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from lifeboat.actions import check
from lifeboat.airflow.site import site_of
from lifeboat.settings import config

from include.demo import history
from tests.airflow.test_scheduler import wait_for
from tests.conftest import PROJECT, Configure

# Airflow, as it is at its worst: parts that heed no signal but the one that kills.
AIRFLOW = f"""#!{sys.executable}
import http.server, os, signal, subprocess
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(each, signal.SIG_IGN)
print(os.getpid(), subprocess.Popen(["sleep", "600"]).pid, flush=True)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{{}}")
http.server.HTTPServer(("127.0.0.1", int(os.environ["AIRFLOW__API__PORT"])), Healthy).serve_forever()
"""
UP = """
import pathlib, sys
from include.demo import __main__ as demo, standalone
sys.executable = sys.argv[1]
demo.site = lambda: standalone.Standalone({}, pathlib.Path(sys.argv[2]))
demo.end_once()
demo.up()
"""


@pytest.mark.parametrize("again", [signal.SIGHUP, signal.SIGINT])
def test_a_terminal_that_closes_leaves_no_process(tmp_path: Path, again: signal.Signals) -> None:
    (tmp_path / "airflow").write_text(AIRFLOW)
    (tmp_path / "airflow").chmod(0o700)
    log = tmp_path / "log"
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", UP, str(tmp_path / "python"), str(log)]
    demo = subprocess.Popen(
        *(command, -1, None, end, end, end),
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        start_new_session=True,
        cwd=PROJECT,
    )
    os.close(end)
    shown = b""
    while b"Airflow is up" not in shown:
        shown += os.read(terminal, 1000)
    parts = [psutil.Process(int(pid)) for pid in log.read_text().splitlines()[0].split()]
    os.close(terminal)
    wait_for(lambda: demo.poll() is not None or not _heeds(demo.pid), 5)
    demo.send_signal(again)  # as a shell passes a hangup on
    demo.wait(20)
    assert len(parts) == 2
    _, alive = psutil.wait_procs(parts, 5)
    assert not [part for part in alive if part.status() != psutil.STATUS_ZOMBIE]


def test_the_past_is_healthy(project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BYTES", 1000)
    monkeypatch.setattr(history, "YEARS", 0.15)  # longer than archives on a disk may stay unread
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "index.php").touch()
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(tmp_path / "app")}}
    settings = config.load(project(applications={"Shop": shop}))
    now = datetime.now(UTC)
    assert history.write(settings, "Shop", now)
    for name in settings.destinations:
        findings = check.examine(name, site_of(settings), ["Shop"], now).findings
        assert [each.text for each in findings if each.verdict != "healthy"] == []


def _heeds(pid: int) -> bool:
    """Whether a process would heed a hangup."""
    (ignored,) = re.findall(r"SigIgn:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return not int(ignored, 16) >> (signal.SIGHUP - 1) & 1
