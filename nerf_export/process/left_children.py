"""Orphaned NeRF processes and the working folders of killed commands.

A child ends when its parent dies, unless it is stopped or stuck: then it keeps its memory and the
lock of its fit.  The next command that needs its folder continues it and, after a grace time,
kills it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dp3d_core.storage.files import read_json, write_json
from dp3d_core.storage.locks import try_lock

_RECORD = "child.json"
"""File with process ids and start times of the child in a folder and of its parent."""
_LOCK = "parent.lock"
"""File that the parent holds locked as long as it lives."""
_PREFIX = "dp3d-nerf-"
"""Start of the names of working folders."""
_UNLOCKED_GRACE_S = 3600.0
"""Age, seconds, below which a folder without a lock file may belong to a command that is about to
lock it."""
_POLL_S = 0.25
"""Seconds between looks at a child that is to end."""


def record_child(work: Path, pid: int) -> None:
    """Write child and parent of a folder into it, for :func:`end_left_child` of a later command."""
    processes = {"child": pid, "parent": os.getpid()}
    start_times = {name: _start_time(number) for name, number in processes.items()}
    write_json(work / _RECORD, {**processes, "began": start_times})


def end_left_child(work: Path, grace_s: float, on_wait: Callable[[], None]) -> None:
    """End the orphaned child that still works in a folder.

    The child is continued, in case it is stopped, and has ``grace_s`` seconds to write its
    checkpoint; then its process group is killed.  A child whose parent lives is not touched.

    Args:
        work: folder that was given to ``run_child``.
        grace_s: seconds.
        on_wait: called four times a second; may raise to give up.

    """
    child = _left_child(work)
    if child is None:
        return
    deadline = time.monotonic() + grace_s
    _signal(child, signal.SIGCONT)
    while _left_child(work) == child:
        if time.monotonic() > deadline:
            _signal(child, signal.SIGKILL)
            grace_s, deadline = 1.0, time.monotonic() + 1.0
        on_wait()
        time.sleep(_POLL_S)


def _left_child(work: Path) -> int | None:
    """Process id of the orphaned child that works in a folder; None: there is none."""
    try:
        record = read_json(work / _RECORD)
        child, parent, start_times = int(record["child"]), int(record["parent"]), record["began"]
        is_ours = _start_time(child) == start_times["child"] is not None
        parent_lives = _start_time(parent) == start_times["parent"] is not None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_ours or parent_lives or str(work) not in _command(child):
        return None
    return child


def _signal(child: int, number: int) -> None:
    """Send a signal to the group that a child leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(child) == child:
            os.killpg(child, number)


def _start_time(pid: int) -> str | None:
    """Start time of a process in the system's own format; None if it is gone, and on Windows.

    Process ids are reused, so only id and start time together identify a process.
    """
    if sys.platform == "win32":  # a child ends with its parent's job there
        return None
    with contextlib.suppress(OSError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2]
        state, *others = after_name.split()
        return None if state in "ZX" else others[18]
    return None if Path("/proc/self/stat").exists() else _ps(pid, "lstart")


def _command(pid: int) -> str:
    """Command line of a process."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    return _ps(pid, "command") or ""


def _ps(pid: int, column: str) -> str | None:
    command = ["ps", "-ww", "-o", f"{column}=", "-p", str(pid)]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.strip() or None


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a private folder for a short command, and delete it afterwards.

    Folders of killed commands are deleted when the next command begins.
    """
    _remove_left_folders()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = try_lock(folder / _LOCK)
        # another command may have deleted the folder before it was locked
        if lock is not None:
            if (folder / _LOCK).is_file():
                break
            lock.release()
    try:
        yield folder
    finally:
        lock.release()  # Windows removes no file that is open
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_folders() -> None:
    """Delete this user's working folders whose commands are gone, and kill their children."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if not _is_abandoned(folder):
                continue
            lock = try_lock(folder / _LOCK)
            if lock is None:
                continue
            if (child := _left_child(folder)) is not None:
                _signal(child, signal.SIGKILL)  # short commands have no checkpoint to write
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder is this user's working folder, and abandoned if its lock is free."""
    status = folder.lstat()
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if folder.is_symlink() or not folder.is_dir() or not mine:
        return False
    return (folder / _LOCK).is_file() or time.time() - status.st_mtime > _UNLOCKED_GRACE_S
