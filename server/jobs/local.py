"""The local executor: one spawned worker process on this machine, that outlives its jobs.

The worker is ``python -m server.worker`` with JSON lines on its standard input and output: a
job goes in, typed events come out, and closing its input ends it.  A supervisor thread here
owns the process, starts a new one when it dies, and is the only one to write what happens to
a running job.

What must be written (how a job ended, that it waits again) is kept until the database takes it,
and no other job is started before: a disk that was full or a file that was locked leaves no job
"running" for ever.
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
"""A worker that does not answer a cancel for so long is ended by force: all it finished is on
disk, and the next one starts within seconds."""
SILENCE_S = 1.5
"""Seconds without news of a running job after which its last progress is sent again."""
_TICK_S = 0.5
_TIDY_EVERY_S = 2.0
_TIDY_WORK_EVERY_S = 3600.0
_BACK_UP_EVERY_S = 600.0
_REPORT_EVERY_S = 30.0
_KEPT_WORK = 20
"""Jobs that failed or were cancelled whose work can be looked at or taken up again, the latest
ones; counted, because a clock may jump."""
_RESPAWN_PAUSE_S = (0.0, 1.0, 5.0, 30.0)


class LocalExecutor:
    """Runs the jobs of a store one after the other in one worker process."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings, self._store = settings, store
        self._inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._supervise, name="executor", daemon=True)
        self._worker: WorkerProcess | None = None
        self._log: WorkerLog | None = None
        self._ready = False
        self._engines: list[dict[str, Any]] | None = None
        self._early_deaths, self._spawn_at = 0, 0.0
        self._running: _Run | None = None
        self._unwritten: deque[Callable[[], object]] = deque()
        self._reached: dict[str, set[tuple[str, int]]] = {}
        self._disk = DiskGate((settings.data, Path(tempfile.gettempdir())))
        self._reserve = Reserve(settings.data / "reserve")
        self._tidy_at = self._tidy_work_at = self._back_up_at = self._report_at = 0.0

    # -- what the web process calls, from any thread --

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a running job goes back to the queue and keeps its attempt."""
        self._inbox.put(("stop", None))
        self._thread.join(timeout=15)
        worker = self._worker
        if worker is not None:  # the supervisor hangs; its worker must not outlive the server
            worker.kill()

    def wake(self) -> None:
        """Look at the queue now."""
        self._inbox.put(("wake", None))

    def cancel(self, job_id: str) -> None:
        """Stop that job: in good order if the worker answers at once, else with its worker."""
        self._inbox.put(("cancel", job_id))

    @property
    def state(self) -> WorkerState:
        """What the worker is doing."""
        if self._worker is None:
            return "down" if self._early_deaths >= len(_RESPAWN_PAUSE_S) - 1 else "starting"
        if not self._ready:
            return "starting"
        return "busy" if self._running else "idle"

    @property
    def engines(self) -> list[dict[str, Any]] | None:
        """What the worker said about its engines; None until it did."""
        return self._engines

    # -- the supervisor thread --

    def _supervise(self) -> None:
        while True:
            try:
                self._mend()
                if not self._step():
                    return
            except Dp3dError as error:  # the database or the disk; both are tried again
                self._report(error)
                time.sleep(_TICK_S)
            except Exception:  # the supervisor must outlive any one job, and a disk that is full
                if self._may_report():
                    log.exception("the executor met an unexpected error")
                time.sleep(_TICK_S)

    def _step(self) -> bool:
        """Do what is due and one thing that somebody asked for; False after a stop."""
        self._keep_worker()
        try:
            kind, value = self._inbox.get(timeout=self._patience())
        except queue.Empty:
            kind, value = "wake", None
        if kind == "stop":
            self._stop_worker()
            return False
        if kind == "cancel":
            self._send_cancel(value)
        elif kind == "event":
            self._handle(*value)
        elif kind == "end":
            self._worker_gone(value)
        self._check_cancel_deadline()
        self._break_silence()
        self._write_pending()
        self._tidy()
        self._give_work()
        return True

    def _patience(self) -> float:
        """Seconds that the next look at the inbox may wait."""
        if self._running is None or self._running.cancel_deadline is None:
            return _TICK_S
        return min(_TICK_S, max(0.0, self._running.cancel_deadline - time.monotonic()))

    def _may_report(self) -> bool:
        """Whether what keeps failing is logged again."""
        now = time.monotonic()
        if now < self._report_at:
            return False
        self._report_at = now + _REPORT_EVERY_S
        return True

    def _report(self, error: Dp3dError) -> None:
        """Log why something is not written, now and then."""
        if self._may_report():
            log.warning("%s", error)

    def _mend(self) -> None:
        """Mend the database when anybody found it damaged."""
        if self._store.is_damaged:
            try:
                self._store.mend()
            except Exception:
                if self._may_report():
                    log.exception("the job database could not be mended; trying again")
                time.sleep(_TICK_S)

    # -- the worker --

    def _keep_worker(self) -> None:
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

    def _worker_gone(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        status = worker.kill()  # what it started must not go on writing
        log.error("worker %d ended with status %s", worker.pid, status)
        was_ready, self._worker, self._ready = self._ready, None, False
        self._early_deaths = 0 if was_ready else self._early_deaths + 1
        pause = _RESPAWN_PAUSE_S[min(self._early_deaths, len(_RESPAWN_PAUSE_S) - 1)]
        self._spawn_at = time.monotonic() + pause
        run, self._running = self._running, None
        if run is not None:
            killed = worker.was_killed(status)
            why = Interruption.WORKER_KILLED if killed else Interruption.WORKER_CRASHED
            advanced = self._has_advanced(run)
            self._write(lambda: self._store.give_back(run.job_id, why, has_advanced=advanced))

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(patience_s=5)
        run, self._running = self._running, None
        if run is not None:
            self._write(lambda: self._store.give_back(run.job_id, Interruption.SERVER_STOPPED))
        # What is left then is mended by the next server, which finds the job running.
        self._try_to_write(lambda: None)
        if self._log is not None:
            self._log.close()

    # -- news --

    def _handle(self, worker: WorkerProcess, event: Event) -> None:
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
            log.warning("the worker spoke of job %s, which is not running", event.job)
            return
        if isinstance(event, JobProgress):
            run.hear(event.progress)
            progress = asdict(event.progress)
            self._try_to_write(lambda: self._store.add_progress(run.job_id, progress))
        elif isinstance(event, JobArtifact):
            run.heard_at = time.monotonic()
            artifact = {"name": event.name, "sha256": event.sha256, "size": event.size}
            self._write(lambda: self._store.add_artifact(run.job_id, artifact))
        else:
            self._end(run, event)

    def _end(self, run: _Run, event: JobEnded) -> None:
        self._running = None
        state, error = JobState(event.state), event.error
        if state is JobState.FAILED and error and self._disk.close_for(run.job_id, error):
            self._write(lambda: self._store.wait_for_disk(run.job_id, error))
            log.warning("job %s waits for its disk: %s", run.job_id, error["problem"])
            return
        self._disk.forget(run.job_id)
        self._reached.pop(run.job_id, None)
        self._write(lambda: self._store.finish(run.job_id, state, result=event.result, error=error))
        if state is JobState.SUCCEEDED:  # its results are artifacts now
            work = self._settings.work / run.job_id
            self._write(lambda: shutil.rmtree(work, ignore_errors=True))
        log.info("job %s %s", run.job_id, state.value)

    def _break_silence(self) -> None:
        """Send the last progress again, so that who waits sees that the worker lives."""
        run = self._running
        if run is None or time.monotonic() - run.heard_at < SILENCE_S:
            return
        run.heard_at = time.monotonic()
        elapsed = {"elapsed_s": round(time.monotonic() - run.began_at, 1)}
        progress = asdict(replace(run.latest, values=elapsed))
        self._try_to_write(lambda: self._store.add_progress(run.job_id, progress))

    # -- writing --

    def _write(self, write: Callable[[], object]) -> None:
        """Have something written that must not be lost, after all that waits already."""
        self._unwritten.append(write)

    def _write_pending(self) -> None:
        """Write what waits, oldest first; what cannot be written stays.

        Raises:
            Dp3dError: why the database does not take it.

        """
        while self._unwritten:
            try:
                self._unwritten[0]()
            except Dp3dError as error:
                if error.code == "storage.full" and self._reserve.release():
                    continue
                if error.code != "job.not_found":  # its row was lost with a damaged database
                    raise
                log.warning("%s", error)
            except Exception:
                # A row that nobody can read, say: the next write must not wait for it.
                log.exception("something could not be written and is left out")
            self._unwritten.popleft()

    def _try_to_write(self, write: Callable[[], object]) -> None:
        """Write something that may be lost, after all that may not."""
        try:
            self._write_pending()
            write()
        except Dp3dError as error:
            self._report(error)

    # -- giving work --

    def _give_work(self) -> None:
        if self._worker is None or not self._ready or self._running is not None:
            return
        if self._unwritten:
            return
        job = self._store.claim_next(self._disk.waiting())
        if job is None:
            return
        self._running = _Run(job.id)
        try:
            self._adopt_work(job)
        except (OSError, Dp3dError):  # it begins anew
            log.exception("job %s cannot go on from earlier work", job.id)
        log.info("job %s (%s) starts, attempt %d", job.id, job.kind, job.attempt)
        self._worker.send(RunJob(job.id, job.kind, job.params))

    def _adopt_work(self, job: Job) -> None:
        """Let a job go on from what an identical job left when it was stopped from outside."""
        work = self._settings.work
        if (work / job.id).exists():
            return
        left = [folder.name for folder in work.iterdir() if folder.is_dir()]
        for other in self._store.abandoned_like(job.id, left)[:1]:
            (work / other).rename(work / job.id)
            log.info("job %s goes on from the work of job %s", job.id, other)

    def _has_advanced(self, run: _Run) -> bool:
        """Whether a run got to a step that no earlier one of its job had got to."""
        reached = self._reached.setdefault(run.job_id, set())
        advanced = not run.steps <= reached
        reached |= run.steps
        return advanced

    def _tidy(self) -> None:
        """Mend what an interrupted write left behind, and back the database up."""
        now = time.monotonic()
        if now >= self._back_up_at:
            self._back_up_at = now + _BACK_UP_EVERY_S
            # Reading a large file from end to end must hold up neither cancel nor progress.
            threading.Thread(target=self._store.back_up, name="backup", daemon=True).start()
        if now >= self._tidy_work_at and self._running is None:
            self._tidy_work_at = now + _TIDY_WORK_EVERY_S
            self._tidy_work()
        if now < self._tidy_at or self._unwritten:
            return
        self._tidy_at = now + _TIDY_EVERY_S
        self._reserve.keep()
        mine = None if self._running is None else self._running.job_id
        for job in self._store.recover(mine):
            log.warning("job %s was running for nobody and goes back to the queue", job.id)

    def _tidy_work(self) -> None:
        """Remove the folders of jobs that succeeded, ended long ago or are not known."""
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
        for _, folder in sorted(ended)[:-_KEPT_WORK]:
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
        log.info("job %s did not stop in time: ending its worker", run.job_id)
        if self._worker is not None:
            self._worker_gone(self._worker)


class _Run:
    """One attempt at a job, as the supervisor sees it."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.began_at = self.heard_at = time.monotonic()
        self.cancel_deadline: float | None = None
        self.steps: set[tuple[str, int]] = set()
        """Stages and steps that progress was heard of."""
        self.latest = Progress("start", 0, 1, "Starting")

    def hear(self, progress: Progress) -> None:
        """Take note of a progress event."""
        self.heard_at, self.latest = time.monotonic(), progress
        self.steps.add((progress.stage, progress.step))
