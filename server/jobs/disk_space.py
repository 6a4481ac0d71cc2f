"""No room for what a job writes: it waits, and the database has a little set aside.

The disk may be full or read-only, or the server stores as much as it may.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_NO_ROOM = ("storage.full", "storage.quota")
_DISK_CODES = (*_NO_ROOM, "output.not_writable", "nerf.child_failed", "internal")
"""Failures that a full or read-only disk leads to, or a quota that is used up."""
_FULL_BYTES = 32 * 2**20
_FULL_PART = 0.05
"""A disk with less free space than either is full."""
_RETRY_S = 60.0
"""Seconds after which a job is tried again although the disk has no more space than before."""
_MOST_WAITS = 60
"""Times that a job which could not write is tried again."""
_RESERVE_BYTES = 2**20


class Reserve:
    """A file that is given up on a full disk, so that the database can still say so."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Make the file when it is absent and the disk is not full."""
        if self._path.is_file() or _is_full(self._path.parent):
            return
        try:
            self._path.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            self.release()

    def release(self) -> bool:
        """Give the space up; whether there was any."""
        existed = self._path.is_file()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return existed


class DiskGate:
    """Keeps jobs waiting that could not write; others go before them."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._waits: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._free_then: dict[str, list[int]] = {}

    def close_for(self, job_id: str, error: dict[str, Any]) -> bool:
        """Let a job wait if its failure comes of a lack of room and it is worth another try.

        Args:
            job_id: the job that failed.
            error: what it failed with.

        Returns:
            whether the job should wait.

        """
        if error.get("code") not in _DISK_CODES:
            return False
        if error["code"] not in _NO_ROOM and all(map(_takes_files, self._folders)):
            return False
        self._waits[job_id] = self._waits.get(job_id, 0) + 1
        if self._waits[job_id] > _MOST_WAITS:
            return False
        self._free_then[job_id] = [_free_bytes(folder) for folder in self._folders]
        self._retry_at[job_id] = time.monotonic() + _RETRY_S
        return True

    def forget(self, job_id: str) -> None:
        """Forget a job that has ended."""
        for known in (self._waits, self._retry_at, self._free_then):
            known.pop(job_id, None)

    def waiting(self) -> list[str]:
        """Jobs that still wait: no space has come free on the disk, nor has a minute passed."""
        takes_files = bool(self._retry_at) and all(map(_takes_files, self._folders))
        now = time.monotonic()
        for job_id, retry_at in list(self._retry_at.items()):
            if now >= retry_at or (takes_files and self._has_more(job_id)):
                del self._retry_at[job_id]
        return list(self._retry_at)

    def _has_more(self, job_id: str) -> bool:
        return any(
            before == 0 or _free_bytes(folder) > before + _FULL_BYTES // 8
            for folder, before in zip(self._folders, self._free_then[job_id], strict=True)
        )


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _is_full(folder: Path) -> bool:
    """Whether the disk of a folder is as good as full."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return False
    return usage.free < min(_FULL_BYTES, _FULL_PART * usage.total)


def _takes_files(folder: Path) -> bool:
    """Whether files can be written in a folder, on a disk that is not full."""
    if _is_full(folder):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
