"""Disk usage of folders, and the quota of a server."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from dp3d_core.errors import Dp3dError

_BLOCK_BYTES = 4096
"""Size of a block of the disk, bytes; a file takes whole blocks."""
_CHECK_EVERY_S = 0.5
"""Least seconds between two checks of the quota."""


def on_disk(size: int) -> int:
    """Bytes on disk of a file of ``size`` bytes: whole blocks of 4096."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def bytes_under(folder: Path) -> int:
    """Bytes on disk of all files below a folder; a file with several hard links counts once.

    Entries that cannot be read or are removed meanwhile count as 0.
    """
    total, folders, linked = 0, [os.fspath(folder)], set[tuple[int, int]]()
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in linked:
                            continue
                        linked.add((status.st_dev, status.st_ino))
                    total += on_disk(status.st_size)
    return total


def over_quota(limit: int) -> Dp3dError:
    """The error ``storage.quota`` of a server with a quota of ``limit`` bytes."""
    return Dp3dError(
        "storage.quota",
        f"What this server keeps fills its quota of {limit / 2**30:.2f} GiB.",
        "Delete jobs that are not needed (DELETE /v1/jobs/{id}?purge=true), or start the server "
        "with a larger --quota-gib; jobs that wait then go on by themselves.",
    )


class QuotaWatch:
    """Checks the quota at intervals while a job runs.

    Args:
        data: data folder of the server.
        limit: the quota, bytes.

    """

    def __init__(self, data: Path, limit: int) -> None:
        self._data, self._limit, self._check_at = data, limit, 0.0

    def check(self) -> None:
        """Check the quota if a check is due; raises ``storage.quota``."""
        started = time.monotonic()
        if started < self._check_at:
            return
        used = bytes_under(self._data)
        took = time.monotonic() - started
        if used > self._limit:
            raise over_quota(self._limit)
        self._check_at = started + max(_CHECK_EVERY_S, 50 * took)
