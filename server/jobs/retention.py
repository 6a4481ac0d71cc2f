"""What is kept and what is removed: quota, references, collection of artifacts, old jobs.

An artifact is *in use* when a kept job names it, in its parameters, its result or among the
pictures it announced, or when a tree that is in use names it.  Everything else may go after a
while: an upload that no job followed, the results of a deleted job.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.jobs.model import JobState
from server.jobs.store import JobStore
from server.settings import Settings
from server.storage.artifacts import (
    MAX_TREE_BYTES,
    ArtifactStore,
    ask_for_space,
    check_sha256,
    parse_tree,
)
from server.storage.disk_usage import bytes_under, on_disk, over_quota

log = logging.getLogger(__name__)

UNUSED_UNDER_PRESSURE_S = 3600.0
"""Seconds after which an unused artifact is removed when the quota is used up."""
_JUST_USED_S = 10.0
"""Seconds in which a request that asked for an artifact has become a job."""
_CLOCKS_DIFFER_S = 2.0
"""Most seconds by which the times that a file system notes are behind."""
_COUNT_EVERY_S = 30.0
_COLLECT_EVERY_S = 60.0


@dataclass(frozen=True)
class _Stored:
    path: Path
    size: int
    mtime: float

    @property
    def sha256(self) -> str:
        return self.path.name


class Retention:
    """Counts, keeps and removes for one server; safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        artifacts: ArtifactStore,
        stopping: threading.Event | None = None,
    ) -> None:
        self._settings, self._store, self._artifacts = settings, store, artifacts
        self._stopping = stopping or threading.Event()
        self._removing = threading.Lock()
        self._counting = threading.Lock()
        """Held for a moment, also by the event loop."""
        self._scanning = threading.Lock()
        self._used, self._count_after, self._reserved = 0, 0.0, 0
        self._collect_after = 0.0
        self._references: dict[str, frozenset[str]] = {}
        """Of ended jobs, which do not change."""
        self._trees: dict[str, tuple[str, ...]] = {}
        """Files of the trees in use; empty for what is no tree."""

    # -- quota -----------------------------------------------------------------------------

    def used(self) -> int:
        """Bytes that the data folder takes of the disk: artifacts, work in progress, database.

        Counted anew at most every half a minute.
        """
        with self._scanning:
            began = time.monotonic()
            if began >= self._count_after:
                used = bytes_under(self._settings.data)
                with self._counting:
                    self._used = used
                took = time.monotonic() - began
                self._count_after = began + max(_COUNT_EVERY_S, 50 * took)
        return self._used

    def check_room(self, size: int = 0) -> None:
        """Refuse what the quota or the disk has no room for.

        Args:
            size: bytes that are about to be stored.

        Raises:
            Dp3dError: ``storage.quota`` or ``storage.full``.

        """
        limit = self._settings.limits.stored
        ask_for_space(self._artifacts.root, size)
        self.relieve(size)
        if self.used() + self._reserved + size > limit:
            raise over_quota(limit)

    def relieve(self, size: int = 0) -> None:
        """Remove what nobody needs if the quota has no room for ``size`` bytes, now and then."""
        if self.used() + self._reserved + size <= self._settings.limits.stored:
            return
        if time.monotonic() >= self._collect_after:
            self._collect_after = time.monotonic() + _COLLECT_EVERY_S
            self.collect(UNUSED_UNDER_PRESSURE_S)

    def reserve(self, size: int) -> None:
        """Keep room for what is being received; raises as :meth:`check_room`."""
        self.check_room(size)
        with self._counting:
            self._reserved += size

    def release(self, size: int) -> None:
        """Give back what :meth:`reserve` kept."""
        with self._counting:
            self._reserved -= size

    def note_stored(self, size: int) -> None:
        """Count a file that was stored just now."""
        self._note(on_disk(size))

    def _note(self, change: int) -> None:
        with self._counting:
            self._used += change

    def check_queue(self) -> None:
        """Refuse a job when too many wait; raises ``job.queue_full``."""
        limit = self._settings.limits.queued_jobs
        if queries.count_jobs(self._store.engine, [JobState.QUEUED]) >= limit:
            raise Dp3dError(
                "job.queue_full",
                f"{limit} jobs wait already.",
                "Wait until some are done, or cancel some (DELETE /v1/jobs/{id}).",
            )

    # -- deletion --------------------------------------------------------------------------

    def delete_job(self, job_id: str) -> None:
        """Forget an ended job, its events and what it left half done.

        Raises:
            Dp3dError: ``job.not_found``, ``job.not_ended``.

        """
        self._store.get(job_id)
        with self._removing:
            if not self._store.delete(job_id):
                raise Dp3dError(
                    "job.not_ended",
                    "The job has not ended.",
                    "Cancel it first (DELETE /v1/jobs/{id}) and delete it when it has stopped.",
                )
            self._references.pop(job_id, None)
        shutil.rmtree(self._settings.work / job_id, ignore_errors=True)
        with self._scanning:  # the next look counts anew
            self._count_after = 0.0

    def purge_job(self, job_id: str) -> None:
        """:meth:`delete_job`, and at once what it made, unless somebody else refers to it.

        What was stored or asked for just now may be about to be named by another job; it goes
        when it is collected.

        Raises:
            Dp3dError: ``job.not_found``, ``job.not_ended``.

        """
        made = queries.result_references(self._store.engine, job_id)
        for sha256 in list(made):
            made.update(self._files_of(sha256) or ())
        self.delete_job(job_id)
        with self._removing:
            oldest = min(time.time() - _JUST_USED_S, self._running_since())
            for sha256 in made - self.in_use():
                with suppress(OSError):  # it is not there any more
                    path = self._artifacts.path(sha256)
                    status = path.stat()
                    stored = _Stored(path, status.st_size, status.st_mtime)
                    if stored.mtime < oldest and self._remove(stored):
                        self._note(-on_disk(stored.size))

    def delete_artifact(self, sha256: str) -> None:
        """Remove a stored file that no job needs.

        Raises:
            Dp3dError: ``artifact.not_found``, ``artifact.in_use``.

        """
        path = self._artifacts.find(sha256)
        with self._removing:
            if check_sha256(sha256) in self.in_use():
                raise Dp3dError(
                    "artifact.in_use",
                    "A job of this server refers to the artifact.",
                    "Delete the job first (DELETE /v1/jobs/{id}?purge=true).",
                )
            with suppress(OSError):  # it is gone
                if path.stat().st_mtime >= self._running_since():
                    raise Dp3dError(
                        "artifact.in_use",
                        "A job is running that may have stored the artifact.",
                        "Delete it when no job runs.",
                    )
            size = path.stat().st_size if path.is_file() else 0
            path.unlink(missing_ok=True)
        self._note(-on_disk(size))

    def _running_since(self) -> float:
        """Time from which on a stored file may be of a running job, whose row does not name it yet.

        Also when the clock was set forward meanwhile, and the file looks old.
        """
        return queries.running_since(self._store.engine) - _CLOCKS_DIFFER_S

    def collect(self, unused_s: float | None = None) -> int:
        """Delete jobs beyond the number that is kept, then artifacts that nobody refers to.

        Args:
            unused_s: least seconds since an artifact was stored or asked for; that of the
                settings when None.

        Returns:
            bytes that were freed.

        """
        born = queries.birth(self._store.engine)
        oldest = time.time() - (self._settings.limits.unused_s if unused_s is None else unused_s)
        for job_id in queries.oldest_ended(self._store.engine, self._settings.limits.kept_jobs):
            if self._stopping.is_set():
                return 0
            with suppress(Dp3dError):  # deleted by a client meanwhile
                self.delete_job(job_id)
        with self._removing:
            oldest = min(oldest, self._running_since())
            needed, unused = self.in_use(), []
            for stored in self._scan():
                if stored.sha256 in needed or stored.mtime < born:
                    continue
                if stored.mtime >= oldest:  # a tree that was sent just now keeps its files
                    needed.update(self._files_of(stored.sha256) or ())
                else:
                    unused.append(stored)
            freed = sum(
                on_disk(stored.size)
                for stored in unused
                if stored.sha256 not in needed
                and not self._stopping.is_set()
                and self._remove(stored)
            )
        if freed:
            log.info("removed artifacts of %.1f MiB that no job refers to", freed / 2**20)
            self._note(-freed)
        return freed

    def in_use(self) -> set[str]:
        """Hashes of the artifacts that kept jobs refer to, files of trees included."""
        needed: set[str] = set()
        references: dict[str, frozenset[str]] = {}
        for job_id, ended, hashes in queries.artifact_references(
            self._store.engine, self._references
        ):
            of_job = self._references.get(job_id) or frozenset(hashes)
            needed |= of_job
            if ended:
                references[job_id] = of_job
        self._references = references
        files = {sha256: self._files_of(sha256) for sha256 in needed}
        # What is not there may be sent again, and be a tree then.
        self._trees = {sha256: names for sha256, names in files.items() if names is not None}
        return needed.union(*self._trees.values())

    # -- helpers ---------------------------------------------------------------------------

    def _files_of(self, sha256: str) -> tuple[str, ...] | None:
        """Hashes of the files of a tree; none for what is no tree, None for what is not there."""
        if (known := self._trees.get(sha256)) is not None:
            return known
        try:
            path = self._artifacts.path(sha256)
            with path.open("rb") as file:
                is_object = file.read(1) == b"{" and path.stat().st_size <= MAX_TREE_BYTES
            files = parse_tree(path.read_bytes()) if is_object else {}
        except Dp3dError:
            return ()
        except OSError:
            return None
        return tuple({artifact.sha256 for artifact in files.values()})

    def _scan(self) -> Iterator[_Stored]:
        for folder in self._artifacts.root.iterdir():
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):  # removed meanwhile
                        if len(entry.name) == 64 and entry.is_file(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            yield _Stored(Path(entry.path), status.st_size, status.st_mtime)

    def _remove(self, stored: _Stored) -> bool:
        """Remove a file unless somebody asked for it meanwhile.

        It is moved aside before its time is looked at again: whoever noted it as used before
        that is seen here, whoever comes later finds that it is gone and sends it again.
        """
        aside = self._artifacts.incoming / f"{stored.sha256}.unused"
        try:
            stored.path.rename(aside)
            if aside.stat().st_mtime != stored.mtime:
                aside.replace(stored.path)
                return False
            aside.unlink()
        except OSError:
            return False
        return True


class Reservation:
    """Room of the quota for one upload, until :meth:`release`."""

    def __init__(self, retention: Retention) -> None:
        self._retention, self._size = retention, 0

    def grow(self, total: int) -> None:
        """Have room for ``total`` bytes; raises ``storage.quota`` or ``storage.full``."""
        missing = on_disk(total) - self._size
        if missing > 0:
            self._retention.reserve(missing)
            self._size += missing

    def release(self) -> None:
        """Give the room back: the file is stored, or was refused."""
        self._retention.release(self._size)
        self._size = 0
