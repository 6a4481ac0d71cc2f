"""The worker as a process: started, spoken to, listened to, ended with all that it started."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

from server.jobs.worker_messages import Command, Event, parse_event, to_line

log = logging.getLogger(__name__)

CRASHED = 70
"""Exit code of a worker that met an error outside any job (``EX_SOFTWARE``)."""
_LOG_BYTES = 10 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_KILLED_WINDOWS = 1
"""Exit code of a process that the task manager ended."""
_OOM_COUNTERS = (
    (Path("/proc/vmstat"), "oom_kill"),
    (Path("/sys/fs/cgroup/memory.events"), "oom_kill"),
)


class WorkerLog:
    """What workers print, in ``worker.log`` and, from 10 MiB on, ``worker.log.1``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handler = _QuietHandler(
            folder / "worker.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True
        )

    def write(self, line: str) -> None:
        """Add a line; a disk that is full loses it."""
        record = logging.LogRecord("worker", logging.INFO, "", 0, line, None, None)
        self._handler.handle(record)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _QuietHandler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: a log that cannot be written must not end what it is about."""


class WorkerProcess:
    """One ``python -m server.worker``, which outlives its jobs.

    Args:
        data: the server's folder.
        quota: bytes that it may take.
        worker_log: for what it prints.
        on_event: called with each of its events, from another thread.
        on_end: called when it has ended, likewise.

    """

    def __init__(
        self,
        data: Path,
        quota: int,
        worker_log: WorkerLog,
        on_event: Callable[[WorkerProcess, Event], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        # A group of its own: Ctrl-C in the terminal is the server's business.
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._out_of_memory_before = _out_of_memory_kills()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.worker"),
                *("--data", str(data), "--quota", str(quota)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **own_group,
        )
        self._log = worker_log
        # A worker that is stopped does not read, and nobody else may wait for it.
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()
        for target in (self._listen, self._keep_log):
            threading.Thread(target=target, args=(on_event, on_end), daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, command: Command) -> None:
        """Have one line written; a dead worker is noticed by its closed output."""
        self._to_send.put(to_line(command).encode())

    def _write(self) -> None:
        """Write what is to be sent, and close the input after it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._process.stdin as lines:
            while (line := self._to_send.get()) is not None:
                lines.write(line)
                lines.flush()

    def kill(self) -> int:
        """End it and everything it started, at once; the exit status.

        On Linux and macOS a NeRF process, which has a group of its own, sees its input closed,
        writes a checkpoint and ends by itself.
        """
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/PID", str(self.pid), "/T", "/F"], capture_output=True, check=False
            )
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._to_send.put(None)
        return self._process.wait()

    def stop(self, patience_s: float) -> None:
        """End it in good order by closing its input, and by force after a while."""
        self._to_send.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience_s)
        self.kill()

    def was_killed(self, status: int) -> bool:
        """Whether an exit status says that somebody ended the worker, rather than its job."""
        return is_kill(status, _out_of_memory_kills() > self._out_of_memory_before)

    def _listen(
        self,
        on_event: Callable[[WorkerProcess, Event], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                try:
                    event = parse_event(line)
                except ValueError:  # cut off in the middle when the worker was killed
                    log.warning("the worker sent half a line")
                    continue
                on_event(self, event)
        on_end(self)

    def _keep_log(self, *_callbacks: object) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            while line := _bounded_line(errors):
                self._log.write(line)


def is_kill(status: int, out_of_memory: bool) -> bool:
    """Whether a process was ended from outside.

    Args:
        status: its exit status, negative for a signal.
        out_of_memory: whether the system ended a process for want of memory while it ran; the
            system does it by the signal that people use as well.

    """
    if sys.platform == "win32":
        return status == _KILLED_WINDOWS
    kills = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT)
    return status in kills and not (out_of_memory and status == -signal.SIGKILL)


def _bounded_line(stream: IO[bytes]) -> str:
    """One line, or as much of it as one record of the log takes; empty at the end."""
    line = stream.readline(_LONGEST_LINE)
    return line.decode("utf-8", "replace").rstrip("\n") or (" " if line else "")


def _out_of_memory_kills() -> int:
    """Processes that the system has ended for want of memory so far; 0 where it does not say."""
    total = 0
    for path, name in _OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == name:
                    total += int(value)
    return total
