"""Locks on files with the library ``filelock`` (ADR 0022).

The operating system releases a lock when its holder dies.  Locks allow one command per output
folder, one server per data folder, and one worker or NeRF process per work folder, so that a child
of a killed parent cannot write beside its successor.
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
        The lock, held until ``release`` or the end of the object or process; None if another
        holder has it.

    Raises:
        OSError: the file cannot be created or opened.

    """
    from filelock import FileLock, Timeout  # late: the import takes a tenth of a command's start-up

    # any thread may release the lock
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:  # an OSError, which callers would report as not writable
        return None
    return lock
