"""The local executor: one spawned worker process on this machine, that outlives its jobs.

The worker is ``python -m server.worker`` with JSON lines on its standard input and output: a
job goes in, typed events come out, and closing its input ends it.  A supervisor thread here
owns the process, starts a new one when it dies, and is the only one to write what happens to
a running job.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from dp3d_core.errors import Dp3dError
from server.jobs.executor import WorkerState
from server.jobs.model import Job, JobState, utc_time
from server.jobs.store import JobStore
from server.settings import Settings

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 60.0
"""A worker that does not answer a cancel for so long is ended by force."""
_LOG_LIMIT = 10 * 1024 * 1024
"""Bytes; a longer log is set aside when the next worker starts."""
_KEEP_WORK = timedelta(days=7)
"""So long a job that failed or was cancelled can be looked at or taken up again."""
_RESPAWN_PAUSE_S = (0.0, 1.0, 5.0, 30.0)


class LocalExecutor:
    """Runs the jobs of a store one after the other in one worker process."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings, self._store = settings, store
        self._inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._supervise, name="executor", daemon=True)
        self._worker: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._engines: list[dict[str, Any]] | None = None
        self._running: str | None = None
        self._cancel_deadline: float | None = None
        self._early_deaths = 0
        self._spawn_at = 0.0

    # -- what the web process calls, from any thread --

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a running job goes back to the queue and keeps its attempt."""
        self._inbox.put(("stop", None))
        self._thread.join(timeout=15)

    def wake(self) -> None:
        """Look at the queue now."""
        self._inbox.put(("wake", None))

    def cancel(self, job_id: str) -> None:
        """Ask the worker to stop that job within one step."""
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
        try:
            self._tidy_work()
        except OSError:
            log.exception("old work folders could not be removed")
        while True:
            try:
                if not self._step():
                    return
            except Exception:  # the supervisor must outlive any one job or database hiccup
                log.exception("the executor met an unexpected error")
                time.sleep(0.5)

    def _step(self) -> bool:
        self._keep_worker()
        try:
            kind, value = self._inbox.get(timeout=0.5)
        except queue.Empty:
            kind, value = "wake", None
        if kind == "stop":
            self._stop_worker()
            return False
        if kind == "cancel":
            self._send_cancel(value)
        elif kind == "message":
            self._handle(*value)
        elif kind == "eof":
            self._worker_gone(value)
        self._check_cancel_deadline()
        self._give_work()
        return True

    def _keep_worker(self) -> None:
        if self._worker is not None or time.monotonic() < self._spawn_at:
            return
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        # A group of its own: Ctrl-C in the terminal is the server's business, and the group
        # can be ended together with whatever the worker started.
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        log_path = self._settings.logs / "worker.log"
        if log_path.is_file() and log_path.stat().st_size > _LOG_LIMIT:
            log_path.replace(log_path.with_name("worker.log.1"))
        with log_path.open("ab") as worker_log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "server.worker", "--data", str(self._settings.data)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=worker_log,
                **own_group,
            )
        self._worker, self._ready = worker, False
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()

    def _listen(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            try:
                message = json.loads(line)
            except ValueError:  # cut off in the middle when the worker was killed
                log.warning("the worker sent half a line")
                continue
            self._inbox.put(("message", (worker, message)))
        self._inbox.put(("eof", worker))

    def _handle(self, worker: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        if worker is not self._worker:
            return
        kind, job_id = message["type"], message.get("job")
        if kind == "ready":
            self._ready, self._engines, self._early_deaths = True, message["engines"], 0
            log.info("worker %d is ready", worker.pid)
            return
        if kind == "engines":
            self._engines = message["engines"]
            return
        if job_id != self._running or job_id is None:
            log.warning("the worker spoke of job %s, which is not running", job_id)
            return
        if kind == "progress":
            self._store.add_progress(job_id, message["data"])
        elif kind == "artifact":
            self._store.add_artifact(job_id, message["data"])
        elif kind == "ended":
            state = JobState(message["state"])
            self._running, self._cancel_deadline = None, None
            _insist(
                lambda: self._store.finish(
                    job_id, state, result=message.get("result"), error=message.get("error")
                )
            )
            log.info("job %s %s", job_id, state.value)
            if state is JobState.SUCCEEDED:  # its results are artifacts now
                shutil.rmtree(self._settings.work / job_id, ignore_errors=True)

    def _give_work(self) -> None:
        if self._worker is None or not self._ready or self._running is not None:
            return
        job = self._store.claim_next()
        if job is None:
            return
        self._running = job.id
        self._adopt_work(job)
        log.info("job %s (%s) starts, attempt %d", job.id, job.kind, job.attempt)
        self._send({"type": "run", "job": job.id, "kind": job.kind, "params": job.params})

    def _adopt_work(self, job: Job) -> None:
        """Let a job go on from what the same job left when it was stopped from outside."""
        work = self._settings.work
        if (work / job.id).exists():
            return
        for other in self._store.abandoned_like(job):
            if (work / other.id).is_dir():
                (work / other.id).rename(work / job.id)
                log.info("job %s goes on from the work of job %s", job.id, other.id)
                return

    def _tidy_work(self) -> None:
        """Remove the folders of jobs that succeeded, ended long ago or are not known."""
        self._settings.work.mkdir(parents=True, exist_ok=True)
        oldest = utc_time(datetime.now(UTC) - _KEEP_WORK)
        for folder in self._settings.work.iterdir():
            try:
                job = self._store.get(folder.name)
                needed = job.state != JobState.SUCCEEDED and (
                    job.finished_at is None or job.finished_at > oldest
                )
            except Dp3dError:
                needed = False
            if not needed:
                shutil.rmtree(folder, ignore_errors=True)

    def _send_cancel(self, job_id: str) -> None:
        if job_id == self._running and self._cancel_deadline is None:
            self._cancel_deadline = time.monotonic() + CANCEL_GRACE_S
            self._send({"type": "cancel", "job": job_id})

    def _check_cancel_deadline(self) -> None:
        if self._cancel_deadline is not None and time.monotonic() > self._cancel_deadline:
            log.warning("job %s did not stop in time: ending its worker", self._running)
            self._cancel_deadline = None
            if self._worker is not None:
                kill_group(self._worker)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._worker is not None
        assert self._worker.stdin is not None
        with contextlib.suppress(OSError):  # a dead worker is noticed by its closed output
            self._worker.stdin.write(json.dumps(message).encode() + b"\n")
            self._worker.stdin.flush()

    def _worker_gone(self, worker: subprocess.Popen[bytes]) -> None:
        if worker is not self._worker:
            return
        kill_group(worker)  # what it started must not go on writing
        status = worker.wait()
        log.error("worker %d ended with status %s", worker.pid, status)
        was_ready, self._worker, self._ready = self._ready, None, False
        self._early_deaths = 0 if was_ready else self._early_deaths + 1
        pause = _RESPAWN_PAUSE_S[min(self._early_deaths, len(_RESPAWN_PAUSE_S) - 1)]
        self._spawn_at = time.monotonic() + pause
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        job_id, self._running, self._cancel_deadline = self._running, None, None
        if job_id is not None:
            _insist(lambda: self._store.give_back(job_id))

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            if worker.stdin is not None:
                with contextlib.suppress(OSError):
                    worker.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(timeout=5)
            kill_group(worker)
            worker.wait()
        if self._running is not None:
            self._store.give_back(self._running, count_attempt=False)
            self._running = None


def _insist(write: Callable[[], object]) -> None:
    """Write to the store, again if it cannot just now: a job must not stay 'running' for ever."""
    for pause in (0.2, 1.0, 5.0):
        try:
            write()
            return
        except SQLAlchemyError:
            log.exception("the job database could not be written; trying again")
            time.sleep(pause)
    write()


def kill_group(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and everything it started, at once."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/PID", str(worker.pid), "/T", "/F"], capture_output=True, check=False
        )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
