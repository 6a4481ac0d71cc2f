"""Runs jobs in the worker process, one at a time, and sends typed events about them."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.packages import package_error
from dp3d_core.progress import Progress
from dp3d_core.storage.files import not_writable
from server.jobs.worker_messages import (
    EnginesChanged,
    Event,
    JobArtifact,
    JobEnded,
    JobProgress,
    RunJob,
    WorkerReady,
    to_line,
)
from server.storage.artifacts import ArtifactStore
from server.storage.disk_usage import QuotaWatch
from server.worker.handlers import JobContext, run_job
from server.worker.hidden_paths import without_folders

_MIN_INTERVAL_S = 0.2
"""Least seconds between two progress events within a stage."""
_ENGINES_INTERVAL_S = 3.0
"""Seconds between two checks of the available engines."""


class Worker:
    """Runs jobs and writes events.

    Args:
        data: data folder of the server.
        quota: largest size of the data folder, bytes; beyond, a job fails as ``storage.quota``.
        events: stream that events are written to.
        cancelled: ids of jobs to cancel; filled by the thread that reads commands.

    """

    def __init__(self, data: Path, quota: int, events: IO[str], cancelled: set[str]) -> None:
        self._data, self._quota = data, quota
        self._events, self._cancelled = events, cancelled
        self._artifacts = ArtifactStore(data / "artifacts")
        self._sending = threading.Lock()

    def announce(self) -> None:
        """Send the event that the worker is ready, and later one for each change of the engines."""
        engines = _engines()
        self._send(WorkerReady(engines))
        threading.Thread(target=self._watch_engines, args=(engines,), daemon=True).start()

    def _watch_engines(self, sent: list[dict[str, Any]]) -> None:
        """Send the engines again when weights or packages were installed or removed."""
        while True:
            time.sleep(_ENGINES_INTERVAL_S)
            try:
                importlib.invalidate_caches()
                engines = _engines()
            except Exception:  # for example during an installation
                traceback.print_exc()
                continue
            if engines != sent:
                sent = engines
                self._send(EnginesChanged(engines))

    def run(self, command: RunJob) -> None:
        """Run one job to its end; a failure of the job becomes an event, not an exception."""
        job_id = command.job
        reporter = _Reporter(job_id, self._send)
        quota = QuotaWatch(self._data, self._quota)

        def progress(event: Progress) -> None:
            reporter.progress(event)
            quota.check()

        context = JobContext(
            work=self._data / "work" / job_id,
            artifacts=self._artifacts,
            progress=progress,
            cancel=lambda: job_id in self._cancelled,
            announce=reporter.artifact,
        )
        try:
            quota.check()
            context.work.mkdir(parents=True, exist_ok=True)
            result = run_job(context, command.kind, command.params)
            ended = JobEnded(job_id, "succeeded", result=result)
        except Cancelled:
            ended = JobEnded(job_id, "cancelled")
        except Dp3dError as error:
            if error.code == "job.cancelled":  # from a child process
                ended = JobEnded(job_id, "cancelled")
            else:
                print(f"job {job_id} failed: {error}\n{error.detail}", file=sys.stderr, flush=True)
                ended = self._failed(job_id, error)
        except Exception as error:
            _log_failure(job_id)
            ended = self._failed(job_id, _unexpected(error))
        self._cancelled.discard(job_id)
        self._send(ended)

    def _failed(self, job_id: str, error: Dp3dError) -> JobEnded:
        """The event of a failed job, with shortened paths; the log has the full ones."""
        public_error = without_folders(error.to_dict(), self._data)
        return JobEnded(job_id, "failed", error=public_error)

    def _send(self, event: Event) -> None:
        line = to_line(event)
        with self._sending:
            self._events.write(line)
            self._events.flush()


def _engines() -> list[dict[str, Any]]:
    from dp3d_core.engines.registry import list_engines

    return [asdict(info) for info in list_engines()]


class _Reporter:
    """Sends events of a job; progress within a stage at most five times a second."""

    def __init__(self, job_id: str, send: Callable[[Event], None]) -> None:
        self._job_id, self._send = job_id, send
        self._stage, self._sent_at = "", 0.0

    def progress(self, event: Progress) -> None:
        now = time.monotonic()
        within_stage = event.stage == self._stage and event.step < event.of
        if within_stage and now - self._sent_at < _MIN_INTERVAL_S:
            return
        self._stage, self._sent_at = event.stage, now
        self._send(JobProgress(self._job_id, event))

    def artifact(self, name: str, sha256: str, size: int) -> None:
        self._send(JobArtifact(self._job_id, name, sha256, size))


def _log_failure(job_id: str) -> None:
    print(f"job {job_id} failed", file=sys.stderr)
    traceback.print_exc()
    sys.stderr.flush()


def _unexpected(error: Exception) -> Dp3dError:
    return (
        not_writable(error)
        or package_error(error)
        or Dp3dError(
            "internal",
            f"The job met an unexpected error ({type(error).__name__}).",
            "Please report it with logs/worker.log from the server's data folder.",
            detail=str(error)[:500],
        )
    )
