"""The local executor: runs jobs in one worker process on this machine.

The worker is ``python -m server.worker``.  It reads jobs as JSON lines from standard input, writes
typed events to standard output, serves many jobs, and ends when its input closes.  A supervisor
thread owns the process and starts a new one when it dies.  Only that thread writes changes of a
running job.

Changes of state are queued until the database takes them, and no other job starts before.  A full
disk or a locked database therefore leaves no job "running" for ever.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress
from server.jobs.disk_space import DiskGate, Reserve
from server.jobs.executor import WorkerState
from server.jobs.interruption import Interruption
from server.jobs.model import Job, JobState
from server.jobs.store import JobStore
from server.jobs.worker_messages import (
    CancelJob,
    EnginesChanged,
    Event,
    JobArtifact,
    JobEnded,
    JobProgress,
    RunJob,
    WorkerReady,
)
from server.jobs.worker_process import WorkerLog, WorkerProcess
from server.settings import Settings

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 0.7
"""Seconds after a cancel until a worker that is still busy is killed.

Finished frames are on disk, and the next worker starts within seconds."""
SILENCE_S = 1.5
"""Seconds without an event of a running job after which its last progress is sent again."""
_CHECK_EVERY_S = 0.5
"""Longest wait of the supervisor for a message, seconds."""
_RECOVER_EVERY_S = 2.0
"""Seconds between checks for jobs that are marked as running but are not."""
_REMOVE_WORK_EVERY_S = 3600.0
"""Seconds between removals of old work folders."""
_BACK_UP_EVERY_S = 600.0
"""Seconds between backups of the database."""
_REPORT_EVERY_S = 30.0
"""Least seconds between two log lines about a database or disk that keeps failing."""
_MAX_KEPT_FOLDERS = 20
"""Number of newest failed or cancelled jobs whose work folders are kept for a resume.

A number and not an age, because the clock may jump."""
_RESPAWN_PAUSE_S = (0.0, 1.0, 5.0, 30.0)
"""Seconds until the next worker starts, by number of workers in a row that died before ready."""


class LocalExecutor:
    """Runs the jobs of a store one at a time in a worker process.

    Args:
        settings: of the server.
        store: queued jobs are taken from it, and events and results are written to it.

    """

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings, self._store = settings, store
        self._inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._supervise, name="executor", daemon=True)
        self._worker: WorkerProcess | None = None
        self._log: WorkerLog | None = None
        self._ready = False
        self._engines: list[dict[str, Any]] | None = None
        self._early_deaths, self._spawn_at = 0, 0.0
        self._running: _RunningJob | None = None
        self._queued_writes: deque[Callable[[], object]] = deque()
        self._reached_steps: dict[str, set[tuple[str, int]]] = {}
        self._disk = DiskGate((settings.data, Path(tempfile.gettempdir())))
        self._reserve = Reserve(settings.data / "reserve")
        self._recover_at = self._remove_work_at = self._back_up_at = self._report_at = 0.0

    # -- called by the web process, from any thread --

    def start(self) -> None:
        """Start the supervisor thread, which takes jobs."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a running job goes back to the queue, and its attempt is not counted."""
        self._inbox.put(("stop", None))
        self._thread.join(timeout=15)
        worker = self._worker
        if worker is not None:  # the supervisor hangs: the worker must not outlive the server
            worker.kill()

    def wake(self) -> None:
        """Check the queue now."""
        self._inbox.put(("wake", None))

    def cancel(self, job_id: str) -> None:
        """Cancel a running job; its worker is killed if the job has not stopped after 0.7 s."""
        self._inbox.put(("cancel", job_id))

    @property
    def state(self) -> WorkerState:
        """``idle``, ``busy``, ``starting``, or ``down`` after several failed starts."""
        if self._worker is None:
            return "down" if self._early_deaths >= len(_RESPAWN_PAUSE_S) - 1 else "starting"
        if not self._ready:
            return "starting"
        return "busy" if self._running else "idle"

    @property
    def engines(self) -> list[dict[str, Any]] | None:
        """Descriptions of the engines that the worker has; None until the worker has sent them."""
        return self._engines

    # -- the supervisor thread --

    def _supervise(self) -> None:
        while True:
            try:
                self._repair_database()
                if not self._step():
                    return
            except Dp3dError as error:  # of the database or the disk; the next round tries again
                self._report(error)
                time.sleep(_CHECK_EVERY_S)
            except Exception:  # the supervisor must survive every job and a full disk
                if self._may_report():
                    log.exception("the executor met an unexpected error")
                time.sleep(_CHECK_EVERY_S)

    def _step(self) -> bool:
        """Handle one message and all duties that are due; False after a stop."""
        self._ensure_worker()
        try:
            kind, value = self._inbox.get(timeout=self._seconds_until_next_check())
        except queue.Empty:
            kind, value = "wake", None
        if kind == "stop":
            self._stop_worker()
            return False
        if kind == "cancel":
            self._send_cancel(value)
        elif kind == "event":
            self._handle_event(*value)
        elif kind == "end":
            self._handle_worker_end(value)
        self._check_cancel_deadline()
        self._repeat_progress()
        self._write_queued()
        self._run_maintenance()
        self._dispatch()
        return True

    def _seconds_until_next_check(self) -> float:
        """Longest wait for a message: until the deadline of a cancel, at most 0.5 s."""
        if self._running is None or self._running.cancel_deadline is None:
            return _CHECK_EVERY_S
        return min(_CHECK_EVERY_S, max(0.0, self._running.cancel_deadline - time.monotonic()))

    def _may_report(self) -> bool:
        """Whether a repeated failure may be logged now; at most once every 30 s."""
        now = time.monotonic()
        if now < self._report_at:
            return False
        self._report_at = now + _REPORT_EVERY_S
        return True

    def _report(self, error: Dp3dError) -> None:
        """Log a failure, at most once every 30 s."""
        if self._may_report():
            log.warning("%s", error)

    def _repair_database(self) -> None:
        """Repair the database if a reader or writer has found damage."""
        if self._store.is_damaged:
            try:
                self._store.repair()
            except Exception:
                if self._may_report():
                    log.exception("the job database could not be repaired; trying again")
                time.sleep(_CHECK_EVERY_S)

    # -- the worker --

    def _ensure_worker(self) -> None:
        if self._worker is not None or time.monotonic() < self._spawn_at:
            return
        if self._log is None:
            self._log = WorkerLog(self._settings.logs)
        self._ready = False
        self._worker = WorkerProcess(
            self._settings.data,
            self._settings.limits.stored,
            self._log,
            lambda worker, event: self._inbox.put(("event", (worker, event))),
            lambda worker: self._inbox.put(("end", worker)),
        )

    def _handle_worker_end(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        status = worker.kill()  # its child processes must stop writing
        log.error("worker %d ended with status %s", worker.pid, status)
        was_ready, self._worker, self._ready = self._ready, None, False
        self._early_deaths = 0 if was_ready else self._early_deaths + 1
        pause = _RESPAWN_PAUSE_S[min(self._early_deaths, len(_RESPAWN_PAUSE_S) - 1)]
        self._spawn_at = time.monotonic() + pause
        run, self._running = self._running, None
        if run is not None:
            killed = worker.was_killed(status)
            reason = Interruption.WORKER_KILLED if killed else Interruption.WORKER_CRASHED
            advanced = self._has_advanced(run)
            self._queue_write(
                lambda: self._store.requeue(run.job_id, reason, has_advanced=advanced)
            )

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(timeout_s=5)
        run, self._running = self._running, None
        if run is not None:
            self._queue_write(lambda: self._store.requeue(run.job_id, Interruption.SERVER_STOPPED))
        # If this write fails, the next server finds the job running and requeues it.
        self._write_if_possible(lambda: None)
        if self._log is not None:
            self._log.close()

    # -- events of the worker --

    def _handle_event(self, worker: WorkerProcess, event: Event) -> None:
        if worker is not self._worker:
            return
        if isinstance(event, WorkerReady):
            self._ready, self._engines, self._early_deaths = True, event.engines, 0
            log.info("worker %d is ready", worker.pid)
            return
        if isinstance(event, EnginesChanged):
            self._engines = event.engines
            return
        run = self._running
        if run is None or event.job != run.job_id:
            log.warning("the worker sent an event of job %s, which is not running", event.job)
            return
        if isinstance(event, JobProgress):
            run.record(event.progress)
            progress = asdict(event.progress)
            self._write_if_possible(lambda: self._store.add_progress(run.job_id, progress))
        elif isinstance(event, JobArtifact):
            run.last_event_at = time.monotonic()
            artifact = {"name": event.name, "sha256": event.sha256, "size": event.size}
            self._queue_write(lambda: self._store.add_artifact(run.job_id, artifact))
        else:
            self._end_job(run, event)

    def _end_job(self, run: _RunningJob, event: JobEnded) -> None:
        self._running = None
        state, error = JobState(event.state), event.error
        if state is JobState.FAILED and error and self._disk.hold(run.job_id, error):
            self._queue_write(lambda: self._store.requeue_for_disk(run.job_id, error))
            log.warning("job %s waits for disk space: %s", run.job_id, error["problem"])
            return
        self._disk.forget(run.job_id)
        self._reached_steps.pop(run.job_id, None)
        self._queue_write(
            lambda: self._store.finish(run.job_id, state, result=event.result, error=error)
        )
        if state is JobState.SUCCEEDED:  # the results are artifacts now
            work = self._settings.work / run.job_id
            self._queue_write(lambda: shutil.rmtree(work, ignore_errors=True))
        log.info("job %s %s", run.job_id, state.value)

    def _repeat_progress(self) -> None:
        """Send the last progress again after 1.5 s, so that clients see that the worker lives."""
        run = self._running
        if run is None or time.monotonic() - run.last_event_at < SILENCE_S:
            return
        run.last_event_at = time.monotonic()
        elapsed = {"elapsed_s": round(time.monotonic() - run.started_at, 1)}
        progress = asdict(replace(run.latest_progress, values=elapsed))
        self._write_if_possible(lambda: self._store.add_progress(run.job_id, progress))

    # -- writing --

    def _queue_write(self, write: Callable[[], object]) -> None:
        """Queue a write that must not be lost, behind the writes queued before."""
        self._queued_writes.append(write)

    def _write_queued(self) -> None:
        """Run the queued writes, oldest first, up to the first that fails.

        Raises:
            Dp3dError: of the write that failed, which stays queued.

        """
        while self._queued_writes:
            try:
                self._queued_writes[0]()
            except Dp3dError as error:
                if error.code == "storage.full" and self._reserve.release():
                    continue
                if error.code != "job.not_found":  # the row was lost with a damaged database
                    raise
                log.warning("%s", error)
            except Exception:
                # For example an unreadable row: the next write must not wait for this one.
                log.exception("a change of a job could not be written and is left out")
            self._queued_writes.popleft()

    def _write_if_possible(self, write: Callable[[], object]) -> None:
        """Run the queued writes, then one that is dropped if the database does not take it."""
        try:
            self._write_queued()
            write()
        except Dp3dError as error:
            self._report(error)

    # -- dispatching jobs --

    def _dispatch(self) -> None:
        """Send the next queued job to an idle worker."""
        if self._worker is None or not self._ready or self._running is not None:
            return
        if self._queued_writes:
            return
        job = self._store.claim_next(self._disk.waiting())
        if job is None:
            return
        self._running = _RunningJob(job.id)
        try:
            self._take_over_work(job)
        except (OSError, Dp3dError):  # the job starts from the beginning
            log.exception("job %s cannot resume earlier work", job.id)
        log.info("job %s (%s) starts, attempt %d", job.id, job.kind, job.attempt)
        self._worker.send(RunJob(job.id, job.kind, job.params))

    def _take_over_work(self, job: Job) -> None:
        """Give a job the work folder of an identical interrupted job, which it then resumes."""
        work = self._settings.work
        if (work / job.id).exists():
            return
        candidates = [folder.name for folder in work.iterdir() if folder.is_dir()]
        for earlier_id in self._store.resumable_jobs(job.id, candidates)[:1]:
            (work / earlier_id).rename(work / job.id)
            log.info("job %s resumes the work of job %s", job.id, earlier_id)

    def _has_advanced(self, run: _RunningJob) -> bool:
        """Whether an attempt reached a step that no earlier attempt at its job reached."""
        reached = self._reached_steps.setdefault(run.job_id, set())
        advanced = not run.steps <= reached
        reached |= run.steps
        return advanced

    def _run_maintenance(self) -> None:
        """Back up the database, remove old work folders and requeue lost jobs, each when due."""
        now = time.monotonic()
        if now >= self._back_up_at:
            self._back_up_at = now + _BACK_UP_EVERY_S
            # In a thread: reading a large file must delay neither cancel nor progress.
            threading.Thread(target=self._store.back_up, name="backup", daemon=True).start()
        if now >= self._remove_work_at and self._running is None:
            self._remove_work_at = now + _REMOVE_WORK_EVERY_S
            self._remove_old_work()
        if now < self._recover_at or self._queued_writes:
            return
        self._recover_at = now + _RECOVER_EVERY_S
        self._reserve.keep()
        running_id = None if self._running is None else self._running.job_id
        for job in self._store.recover(running_id):
            log.warning("job %s had no worker and goes back to the queue", job.id)

    def _remove_old_work(self) -> None:
        """Remove work folders of succeeded, unknown, and all but the newest 20 other ended jobs."""
        self._settings.work.mkdir(parents=True, exist_ok=True)
        ended: list[tuple[int, Path]] = []
        for folder in self._settings.work.iterdir():
            try:
                job = self._store.get(folder.name)
            except Dp3dError as error:
                if error.code != "job.not_found":
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if job.state == JobState.SUCCEEDED:
                shutil.rmtree(folder, ignore_errors=True)
            elif JobState(job.state).ended:
                ended.append((job.number or 0, folder))
        for _, folder in sorted(ended)[:-_MAX_KEPT_FOLDERS]:
            shutil.rmtree(folder, ignore_errors=True)

    # -- cancelling --

    def _send_cancel(self, job_id: str) -> None:
        run = self._running
        if run is not None and job_id == run.job_id and run.cancel_deadline is None:
            run.cancel_deadline = time.monotonic() + CANCEL_GRACE_S
            assert self._worker is not None
            self._worker.send(CancelJob(job_id))

    def _check_cancel_deadline(self) -> None:
        run = self._running
        if run is None or run.cancel_deadline is None or time.monotonic() < run.cancel_deadline:
            return
        log.info("job %s did not stop in time: killing its worker", run.job_id)
        if self._worker is not None:
            self._handle_worker_end(self._worker)


class _RunningJob:
    """State of one attempt at a job, for the supervisor."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.started_at = self.last_event_at = time.monotonic()
        self.cancel_deadline: float | None = None
        self.steps: set[tuple[str, int]] = set()
        """Stages and steps with a progress event."""
        self.latest_progress = Progress("start", 0, 1, "Starting")

    def record(self, progress: Progress) -> None:
        """Record a progress event."""
        self.last_event_at, self.latest_progress = time.monotonic(), progress
        self.steps.add((progress.stage, progress.step))
