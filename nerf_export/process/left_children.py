"""NeRF processes whose parent is gone, and the folders that such parents left.

A child ends by itself when its parent does, but not one that is stopped or stuck: it would keep
its memory and its fit's lock.  Who needs the same folder next wakes it and, after a grace time,
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
"""Who works in a folder: process ids, and when those processes began."""
_LOCK = "parent.lock"
"""Held by the parent as long as it lives."""
_PREFIX = "dp3d-nerf-"
_FRESH_S = 3600.0
"""Age up to which a folder without a lock may belong to a parent that is just making it."""
_POLL_S = 0.25


def record_child(work: Path, pid: int) -> None:
    """Write who works in a folder, for :func:`end_left_child` of a later command."""
    processes = {"child": pid, "parent": os.getpid()}
    began = {name: _began(number) for name, number in processes.items()}
    write_json(work / _RECORD, {**processes, "began": began})


def end_left_child(work: Path, grace_s: float, waiting: Callable[[], None]) -> None:
    """End the child that a parent, gone by now, left at work in a folder.

    It is woken, as it may only be stopped, and has ``grace_s`` seconds to write its checkpoint;
    then its group is killed.  A child whose parent lives is left alone.

    Args:
        work: folder that was given to ``run_child``.
        grace_s: seconds.
        waiting: called four times a second; may raise to give up.

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
        waiting()
        time.sleep(_POLL_S)


def _left_child(work: Path) -> int | None:
    """Process id of a child that works in a folder without its parent; None: there is none."""
    try:
        record = read_json(work / _RECORD)
        child, parent, began = int(record["child"]), int(record["parent"]), record["began"]
        is_ours = _began(child) == began["child"] is not None
        parent_lives = _began(parent) == began["parent"] is not None
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


def _began(pid: int) -> str | None:
    """When a process began, as the system writes it; None for one that is gone, or on Windows.

    With the process id it names a process for good: ids are used again.
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
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """A private folder for a short command, gone afterwards.

    Folders of commands that were killed are removed when the next one begins.
    """
    _remove_left_folders()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = try_lock(folder / _LOCK)
        # another command may have taken the unlocked folder for a left one
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
    """Remove the working folders of this user whose parents are gone, and end their children."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if not _is_left(folder):
                continue
            lock = try_lock(folder / _LOCK)
            if lock is None:
                continue
            if (child := _left_child(folder)) is not None:
                _signal(child, signal.SIGKILL)  # it has nothing to save
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _is_left(folder: Path) -> bool:
    """Whether a folder is one of ours that may be taken for left, if its lock is free."""
    status = folder.lstat()
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if folder.is_symlink() or not folder.is_dir() or not mine:
        return False
    return (folder / _LOCK).is_file() or time.time() - status.st_mtime > _FRESH_S
