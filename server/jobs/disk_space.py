"""Jobs that fail for lack of disk space wait for space, and the database has a reserve.

The disk may be full or read-only, or the server's quota may be used up.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_NO_SPACE_CODES = ("storage.full", "storage.quota")
"""Failures that always mean a lack of space."""
_DISK_ERROR_CODES = (*_NO_SPACE_CODES, "output.not_writable", "nerf.child_failed", "internal")
"""Failures that a full disk, a read-only disk or a used-up quota can cause."""
_FULL_BYTES = 32 * 2**20
"""Free bytes below which a disk counts as full, if also below ``_FULL_FRACTION``."""
_FULL_FRACTION = 0.05
"""Free fraction below which a disk counts as full, if also below ``_FULL_BYTES``."""
_RETRY_S = 60.0
"""Seconds until a waiting job is tried again without any gain in free space."""
_MAX_WAITS = 60
"""Waits after which a job that cannot write fails."""
_RESERVE_BYTES = 2**20
"""Size of the reserve file."""


class Reserve:
    """A file that is deleted on a full disk, so that the database can record the failure.

    Args:
        path: of the file.

    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Write the file if it is absent and the disk is not full."""
        if self._path.is_file() or _is_full(self._path.parent):
            return
        try:
            self._path.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            self.release()

    def release(self) -> bool:
        """Delete the file; returns whether it existed."""
        existed = self._path.is_file()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return existed


class DiskGate:
    """Holds back jobs that could not write until there is space; other jobs run meanwhile.

    Args:
        folders: that jobs write to.

    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._waits: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._free_bytes_before: dict[str, list[int]] = {}

    def hold(self, job_id: str, error: dict[str, Any]) -> bool:
        """Hold a failed job back if lack of space caused the failure, up to 60 times.

        Args:
            job_id: the job that failed.
            error: the job's error, with its ``code``.

        Returns:
            whether the job waits; False if it has failed for good.

        """
        if error.get("code") not in _DISK_ERROR_CODES:
            return False
        if error["code"] not in _NO_SPACE_CODES and all(map(_is_writable, self._folders)):
            return False
        self._waits[job_id] = self._waits.get(job_id, 0) + 1
        if self._waits[job_id] > _MAX_WAITS:
            return False
        self._free_bytes_before[job_id] = [_free_bytes(folder) for folder in self._folders]
        self._retry_at[job_id] = time.monotonic() + _RETRY_S
        return True

    def forget(self, job_id: str) -> None:
        """Forget a job that has ended."""
        for by_job in (self._waits, self._retry_at, self._free_bytes_before):
            by_job.pop(job_id, None)

    def waiting(self) -> list[str]:
        """Ids of jobs that still wait.

        A job waits for 60 s, or until all folders are writable and one has gained space.
        """
        is_writable = bool(self._retry_at) and all(map(_is_writable, self._folders))
        now = time.monotonic()
        for job_id, retry_at in list(self._retry_at.items()):
            if now >= retry_at or (is_writable and self._has_gained_space(job_id)):
                del self._retry_at[job_id]
        return list(self._retry_at)

    def _has_gained_space(self, job_id: str) -> bool:
        return any(
            before == 0 or _free_bytes(folder) > before + _FULL_BYTES // 8
            for folder, before in zip(self._folders, self._free_bytes_before[job_id], strict=True)
        )


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _is_full(folder: Path) -> bool:
    """Whether the disk of a folder has less free space than both thresholds."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return False
    return usage.free < min(_FULL_BYTES, _FULL_FRACTION * usage.total)


def _is_writable(folder: Path) -> bool:
    """Whether a folder takes new files and its disk is not full."""
    if _is_full(folder):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
