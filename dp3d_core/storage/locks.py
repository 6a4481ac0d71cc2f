"""Locks on files, by the library ``filelock`` (ADR 0022).

The operating system frees a lock when its holder dies.  Uses: one command per output folder, one
server per data folder, and one worker or NeRF process at a time in its work folders, so that what
a killed parent left can never write beside the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


def try_lock(path: Path, timeout_s: float = 0.0) -> BaseFileLock | None:
    """Lock a file exclusively, against other processes and other calls of this one.

    Args:
        path: file to lock; made with its folder when absent, and left behind on POSIX.
        timeout_s: how long to wait for another holder, seconds; 0 tries once.

    Returns:
        The lock, held until ``release`` or until the object or the process ends; None when another
        holds it.

    Raises:
        OSError: the file cannot be made or opened.

    """
    from filelock import FileLock, Timeout  # late: a tenth of a command's start

    # not of a thread: whoever has the object may release it
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:  # itself an OSError, which callers report as a folder that is not writable
        return None
    return lock
