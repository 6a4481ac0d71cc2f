"""Locks on files: exclusive, bounded in time, freed by the system, never inherited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dp3d_core.storage.locks import try_lock

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from dp3d_core.storage.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
assert lock is not None
child = 0
if sys.argv[2] == "fork" and (child := os.fork()) == 0:
    time.sleep(60)
if sys.argv[2] == "start":
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleep, close_fds=False).pid
print(child, flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path, child: str = "no") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a lock, and the process id of its child."""
    command = [sys.executable, "-c", HOLDER, str(path), child]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_locks_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    assert try_lock(tmp_path / "b.lock") is not None
    first.release()
    second = try_lock(path)
    assert second is not None
    second.release()


@pytest.mark.skipif(sys.platform == "win32", reason="the library removes the file there")
def test_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("kept")
    lock = try_lock(path)
    assert lock is not None
    lock.release()
    assert path.read_text() == "kept"


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder(path) as (process, _):
        began = time.monotonic()
        assert try_lock(path, timeout_s=0.3) is None
        assert time.monotonic() - began >= 0.3
        process.kill()
        assert try_lock(path, timeout_s=10) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="processes of POSIX")
@pytest.mark.parametrize("child", ["fork", "start"])
def test_a_child_does_not_keep_its_dead_parents_lock(tmp_path: Path, child: str) -> None:
    path = tmp_path / "a.lock"
    with holder(path, child) as (process, pid):
        assert try_lock(path) is None
        process.kill()
        process.wait()
        try:
            os.kill(pid, 0)  # the child lives on
            assert try_lock(path, timeout_s=10) is not None
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_file_that_cannot_be_made_is_an_error_and_not_another_holder(tmp_path: Path) -> None:
    (tmp_path / "a.lock").mkdir()
    with pytest.raises(OSError, match=r"a\.lock"):
        try_lock(tmp_path / "a.lock")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_at_the_locks_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"a\.lock"):
        try_lock(tmp_path / "a.lock")
    assert not (tmp_path / "elsewhere").exists()
