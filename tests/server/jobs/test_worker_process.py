"""The worker process: its exit status, its log, and sending to a stopped process."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from server.jobs import worker_process
from server.jobs.worker_messages import RunJob
from server.jobs.worker_process import WorkerLog, WorkerProcess, is_kill

SIGKILL = 9
"""Number of the signal, for which Windows has no name."""


@pytest.mark.skipif(sys.platform == "win32", reason="exit statuses of POSIX")
@pytest.mark.parametrize(
    ("status", "out_of_memory", "killed"),
    [
        (-SIGKILL, False, True),
        (-SIGKILL, True, False),
        (-signal.SIGTERM, True, True),
        (-signal.SIGSEGV, False, False),
        (-signal.SIGABRT, False, False),
        (worker_process.CRASHED, False, False),
        (0, False, False),
    ],
)
def test_kills_and_crashes(status, out_of_memory, killed):
    assert is_kill(status, out_of_memory) is killed


def test_a_long_log_is_rotated(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "_LOG_BYTES", 2000)
    log = WorkerLog(tmp_path / "logs")
    for n in range(100):
        log.write(f"line {n} of \N{GREEK SMALL LETTER ALPHA} and {'x' * 50}")
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert set(sizes) == {"worker.log", "worker.log.1"}
    assert max(sizes.values()) <= 2000
    assert "line 99" in (tmp_path / "logs" / "worker.log").read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
def test_sending_to_a_stopped_worker_does_not_block(tmp_path):
    log, ended = WorkerLog(tmp_path / "logs"), threading.Event()
    worker = WorkerProcess(tmp_path, 2**30, log, lambda *_: None, lambda _: ended.set())
    os.kill(worker.pid, signal.SIGSTOP)
    for _ in range(3):
        worker.send(RunJob("job", "views", {"text": "x" * 2**20}))
    worker.stop(timeout_s=0.1)
    assert ended.wait(30)
    log.close()


def test_an_unwritable_log_is_ignored(tmp_path):
    log = WorkerLog(tmp_path / "logs")
    (tmp_path / "logs" / "worker.log").mkdir()
    log.write("lost")
    log.close()
