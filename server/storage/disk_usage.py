"""Bytes that files take of the disk, and the quota of a server."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from dp3d_core.errors import Dp3dError

_BLOCK = 4096
"""Bytes that a file takes of the disk at least."""
_LOOK_EVERY_S = 0.5


def on_disk(size: int) -> int:
    """Bytes that a file of ``size`` bytes takes of the disk: whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def bytes_under(folder: Path) -> int:
    """Bytes that the files of a folder and of those in it take; several names of a file count once.

    What is removed meanwhile, or cannot be looked at, counts nothing.
    """
    total, waiting, linked = 0, [os.fspath(folder)], set[tuple[int, int]]()
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in linked:
                            continue
                        linked.add((status.st_dev, status.st_ino))
                    total += on_disk(status.st_size)
    return total


def over_quota(limit: int) -> Dp3dError:
    """The error for a server that stores as much as it may."""
    return Dp3dError(
        "storage.quota",
        f"What this server keeps fills its quota of {limit / 2**30:.2f} GiB.",
        "Delete jobs that are not needed (DELETE /v1/jobs/{id}?purge=true), or start the server "
        "with a larger --quota-gib; jobs that wait then go on by themselves.",
    )


class QuotaWatch:
    """Looks now and then, while a job runs, whether the server stores more than it may.

    Args:
        data: the server's folder.
        limit: bytes that it may take.

    """

    def __init__(self, data: Path, limit: int) -> None:
        self._data, self._limit, self._next = data, limit, 0.0

    def check(self) -> None:
        """Look if it is time to; raises ``storage.quota``."""
        began = time.monotonic()
        if began < self._next:
            return
        used = bytes_under(self._data)
        took = time.monotonic() - began
        if used > self._limit:
            raise over_quota(self._limit)
        self._next = began + max(_LOOK_EVERY_S, 50 * took)
