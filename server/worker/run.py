"""Runs one job at a time inside the worker process and says what happens as typed events."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.files import not_writable
from dp3d_core.progress import Progress
from server.artifacts import ArtifactStore
from server.plain import plain
from server.worker.kinds import KINDS, JobContext

_MIN_INTERVAL_S = 0.2
_ENGINES_INTERVAL_S = 3.0
"""Seconds between two looks at which engines can run."""


class Worker:
    """Runs the jobs it is handed; ``cancelled`` is filled by the thread that reads commands."""

    def __init__(self, data: Path, events: IO[str], cancelled: set[str]) -> None:
        self._data, self._events, self._cancelled = data, events, cancelled
        self._artifacts = ArtifactStore(data / "artifacts")
        self._sending = threading.Lock()

    def announce(self) -> None:
        """Say that jobs may come, and which engines are here; then say when those change."""
        engines = _engines()
        self._send({"type": "ready", "engines": engines})
        threading.Thread(target=self._watch_engines, args=(engines,), daemon=True).start()

    def _watch_engines(self, known: list[dict[str, Any]]) -> None:
        """Send the engines again when weights or packages were installed or removed."""
        while True:
            time.sleep(_ENGINES_INTERVAL_S)
            try:
                importlib.invalidate_caches()
                engines = _engines()
            except Exception:  # an installation in progress; the job that needs it will say
                traceback.print_exc()
                continue
            if engines != known:
                known = engines
                self._send({"type": "engines", "engines": engines})

    def run(self, command: Mapping[str, Any]) -> None:
        """Run one job to its end; never raises for a failure of the job."""
        job_id = str(command["job"])
        reporter = _Reporter(job_id, self._send)
        context = JobContext(
            work=self._data / "work" / job_id,
            artifacts=self._artifacts,
            progress=reporter.progress,
            cancel=lambda: job_id in self._cancelled,
            announce=reporter.artifact,
        )
        ended: dict[str, Any] = {"type": "ended", "job": job_id}
        try:
            context.work.mkdir(parents=True, exist_ok=True)
            result = KINDS[command["kind"]](context, command["params"])
            ended |= {"state": "succeeded", "result": result}
        except Cancelled:
            ended |= {"state": "cancelled"}
        except Dp3dError as error:
            if error.code == "job.cancelled":  # came back from a child process
                ended |= {"state": "cancelled"}
            else:
                print(f"job {job_id} failed: {error}\n{error.detail}", file=sys.stderr, flush=True)
                ended |= {"state": "failed", "error": error.to_dict()}
        except Exception as error:
            _log_failure(job_id)
            ended |= {"state": "failed", "error": _unexpected(error).to_dict()}
        self._cancelled.discard(job_id)
        self._send(ended)

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(plain(message), separators=(",", ":")) + "\n"
        with self._sending:
            self._events.write(line)
            self._events.flush()


def _engines() -> list[dict[str, Any]]:
    from dp3d_core.engines import list_engines

    return [asdict(info) for info in list_engines()]


class _Reporter:
    """Passes events on, progress at most five times a second except at the ends of a stage."""

    def __init__(self, job_id: str, send: Any) -> None:
        self._job_id, self._send = job_id, send
        self._stage, self._sent_at = "", 0.0

    def progress(self, event: Progress) -> None:
        now = time.monotonic()
        within_stage = event.stage == self._stage and event.step < event.of
        if within_stage and now - self._sent_at < _MIN_INTERVAL_S:
            return
        self._stage, self._sent_at = event.stage, now
        self._send({"type": "progress", "job": self._job_id, "data": asdict(event)})

    def artifact(self, name: str, sha256: str, size: int) -> None:
        data = {"name": name, "sha256": sha256, "size": size}
        self._send({"type": "artifact", "job": self._job_id, "data": data})


def _log_failure(job_id: str) -> None:
    print(f"job {job_id} failed", file=sys.stderr)
    traceback.print_exc()
    sys.stderr.flush()


def _unexpected(error: Exception) -> Dp3dError:
    return not_writable(error) or Dp3dError(
        "internal",
        f"The job met an unexpected error ({type(error).__name__}).",
        "Please report it with logs/worker.log from the server's data folder.",
        detail=str(error)[:500],
    )
