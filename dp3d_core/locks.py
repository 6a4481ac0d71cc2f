"""A lock on a file that the operating system gives back when its holder dies.

Uses: one command per output folder, one server per data folder, and one worker or NeRF process
at a time in its work folders, so that what a killed parent left can never write beside the next.

Standard library only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """An exclusive lock, held from :meth:`acquire` until :meth:`release` or process end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Try to take the lock for ``timeout_s`` seconds; False when another holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+b")
        deadline = time.monotonic() + timeout_s
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                file.close()
                return False
            time.sleep(0.05)
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
