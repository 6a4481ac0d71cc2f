"""Garbage collection of artifacts and old jobs, and the quota of the data folder.

An artifact is *in use* when a job refers to it (in its parameters, its result or an announced
artifact) or when a tree that is in use names it.  Unused artifacts are removed after a while:
uploads without a job, results of deleted jobs.
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
    check_disk_space,
    check_sha256,
    parse_tree,
)
from server.storage.disk_usage import bytes_under, on_disk, over_quota

log = logging.getLogger(__name__)

UNUSED_UNDER_PRESSURE_S = 3600.0
"""Least age of an unused artifact that is removed when the quota is used up, seconds."""
_JUST_USED_S = 10.0
"""Longest time between the use of an artifact by a request and the job's creation, seconds."""
_CLOCK_SKEW_S = 2.0
"""Most seconds by which file times may lag behind the system clock."""
_COUNT_EVERY_S = 30.0
"""Least seconds between two counts of the data folder."""
_COLLECT_EVERY_S = 60.0
"""Least seconds between two collections under a used-up quota."""


@dataclass(frozen=True)
class _StoredFile:
    path: Path
    size: int
    mtime: float

    @property
    def sha256(self) -> str:
        return self.path.name


class Retention:
    """Quota and garbage collection of one server; safe to use from several threads.

    Args:
        settings: limits and folders of the server.
        store: of the jobs, whose references keep artifacts.
        artifacts: of the files.
        stopping: set when the server stops; a collection then ends early.

    """

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
        """Held only briefly: the event loop takes it, too."""
        self._scanning = threading.Lock()
        self._used, self._count_after, self._reserved = 0, 0.0, 0
        self._collect_after = 0.0
        self._references: dict[str, frozenset[str]] = {}
        """Hashes by id of ended job; an ended job's references do not change."""
        self._trees: dict[str, tuple[str, ...]] = {}
        """Hashes of a tree's files by hash of the tree; empty for other artifacts."""

    # -- quota -----------------------------------------------------------------------------

    def used(self) -> int:
        """Bytes on disk of the data folder: artifacts, work in progress, database.

        Counted at most every 30 s; uploads and removals adjust the number between counts.
        """
        with self._scanning:
            started = time.monotonic()
            if started >= self._count_after:
                used = bytes_under(self._settings.data)
                with self._counting:
                    self._used = used
                took = time.monotonic() - started
                self._count_after = started + max(_COUNT_EVERY_S, 50 * took)
        return self._used

    def check_space(self, size: int = 0) -> None:
        """Check that the quota and the disk have space.

        Args:
            size: bytes to be stored.

        Raises:
            Dp3dError: ``storage.quota`` or ``storage.full``.

        """
        limit = self._settings.limits.stored
        check_disk_space(self._artifacts.root, size)
        self.collect_if_full(size)
        if self.used() + self._reserved + size > limit:
            raise over_quota(limit)

    def collect_if_full(self, size: int = 0) -> None:
        """Remove unused artifacts if the quota has no space for ``size`` bytes; once a minute."""
        if self.used() + self._reserved + size <= self._settings.limits.stored:
            return
        if time.monotonic() >= self._collect_after:
            self._collect_after = time.monotonic() + _COLLECT_EVERY_S
            self.collect(UNUSED_UNDER_PRESSURE_S)

    def reserve(self, size: int) -> None:
        """Reserve ``size`` bytes of the quota for an upload; raises as :meth:`check_space`."""
        self.check_space(size)
        with self._counting:
            self._reserved += size

    def release(self, size: int) -> None:
        """Free bytes that :meth:`reserve` reserved."""
        with self._counting:
            self._reserved -= size

    def note_stored(self, size: int) -> None:
        """Add a newly stored file of ``size`` bytes to the count."""
        self._add_used(on_disk(size))

    def _add_used(self, change: int) -> None:
        with self._counting:
            self._used += change

    def check_queue(self) -> None:
        """Check that the queue has space; raises ``job.queue_full``."""
        limit = self._settings.limits.queued_jobs
        if queries.count_jobs(self._store.engine, [JobState.QUEUED]) >= limit:
            raise Dp3dError(
                "job.queue_full",
                f"{limit} jobs wait already.",
                "Wait until some are done, or cancel some (DELETE /v1/jobs/{id}).",
            )

    # -- deletion --------------------------------------------------------------------------

    def delete_job(self, job_id: str) -> None:
        """Delete an ended job, its events and its work folder.

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
        with self._scanning:  # the next call of used() counts again
            self._count_after = 0.0

    def purge_job(self, job_id: str) -> None:
        """Delete an ended job together with results that no other job refers to.

        Artifacts used within the last 10 s stay for the next collection: a request may be about
        to create a job with them.

        Raises:
            Dp3dError: ``job.not_found``, ``job.not_ended``.

        """
        made = queries.result_references(self._store.engine, job_id)
        for sha256 in list(made):
            made.update(self._tree_hashes(sha256) or ())
        self.delete_job(job_id)
        with self._removing:
            oldest = min(time.time() - _JUST_USED_S, self._running_since())
            for sha256 in made - self.in_use():
                with suppress(OSError):  # removed meanwhile
                    path = self._artifacts.path(sha256)
                    status = path.stat()
                    stored = _StoredFile(path, status.st_size, status.st_mtime)
                    if stored.mtime < oldest and self._remove(stored):
                        self._add_used(-on_disk(stored.size))

    def delete_artifact(self, sha256: str) -> None:
        """Remove an artifact that no job refers to.

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
            with suppress(OSError):  # removed meanwhile
                if path.stat().st_mtime >= self._running_since():
                    raise Dp3dError(
                        "artifact.in_use",
                        "A job is running that may have stored the artifact.",
                        "Delete it when no job runs.",
                    )
            size = path.stat().st_size if path.is_file() else 0
            path.unlink(missing_ok=True)
        self._add_used(-on_disk(size))

    def _running_since(self) -> float:
        """Start of the earliest running job less 2 s, seconds since 1970.

        Younger files may be results that the row of the running job does not name yet.  Files are
        compared with this time and not with an age, because the clock may have been set forward.
        """
        return queries.running_since(self._store.engine) - _CLOCK_SKEW_S

    def collect(self, unused_s: float | None = None) -> int:
        """Delete the oldest ended jobs beyond ``kept_jobs``, then unused artifacts.

        Args:
            unused_s: least seconds since an artifact was stored or used; ``limits.unused_s`` when
                None.

        Returns:
            freed bytes.

        """
        born = queries.birth_time(self._store.engine)
        oldest = time.time() - (self._settings.limits.unused_s if unused_s is None else unused_s)
        for job_id in queries.ended_beyond(self._store.engine, self._settings.limits.kept_jobs):
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
                if stored.mtime >= oldest:  # a recent tree keeps its files
                    needed.update(self._tree_hashes(stored.sha256) or ())
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
            log.info("removed %.1f MiB of unused artifacts", freed / 2**20)
            self._add_used(-freed)
        return freed

    def in_use(self) -> set[str]:
        """Hashes of all artifacts in use, files of trees included."""
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
        files = {sha256: self._tree_hashes(sha256) for sha256 in needed}
        # Do not cache a missing artifact: it may be uploaded later, and be a tree.
        self._trees = {sha256: names for sha256, names in files.items() if names is not None}
        return needed.union(*self._trees.values())

    # -- helpers ---------------------------------------------------------------------------

    def _tree_hashes(self, sha256: str) -> tuple[str, ...] | None:
        """Hashes of a tree's files; empty for another artifact, None for a missing one."""
        if (hashes := self._trees.get(sha256)) is not None:
            return hashes
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

    def _scan(self) -> Iterator[_StoredFile]:
        for folder in self._artifacts.root.iterdir():
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):  # removed meanwhile
                        if len(entry.name) == 64 and entry.is_file(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            yield _StoredFile(Path(entry.path), status.st_size, status.st_mtime)

    def _remove(self, stored: _StoredFile) -> bool:
        """Remove a file unless it was used since the scan; returns whether it was removed.

        The file is renamed before its time is compared.  A use before the rename shows in the
        time; a later user finds the file missing and uploads it again.
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
    """Space of the quota reserved for one upload, until :meth:`release`."""

    def __init__(self, retention: Retention) -> None:
        self._retention, self._size = retention, 0

    def grow(self, total: int) -> None:
        """Grow the reservation to ``total`` bytes; raises ``storage.quota`` or ``storage.full``."""
        missing = on_disk(total) - self._size
        if missing > 0:
            self._retention.reserve(missing)
            self._size += missing

    def release(self) -> None:
        """Free the reserved space."""
        self._retention.release(self._size)
        self._size = 0
