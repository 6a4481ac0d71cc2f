"""Starts the worker process, sends it commands, reads its events and log, and ends it.

The process is ended together with its child processes.
"""

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
"""Size at which ``worker.log`` is renamed to ``worker.log.1``."""
_MAX_LINE_BYTES = 64 * 1024
"""Length at which a line of the log is split."""
_WINDOWS_KILL_STATUS = 1
"""Exit code of a process that the task manager of Windows ended."""
_OOM_COUNTERS = (
    (Path("/proc/vmstat"), "oom_kill"),
    (Path("/sys/fs/cgroup/memory.events"), "oom_kill"),
)
"""Files of Linux, and their keys, that count processes killed for lack of memory."""


class WorkerLog:
    """Log of the worker's standard error: ``worker.log``, and ``worker.log.1`` beyond 10 MiB.

    Args:
        folder: of the log files; made when absent.

    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handler = _QuietHandler(
            folder / "worker.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True
        )

    def write(self, line: str) -> None:
        """Add a line; on a full disk it is lost."""
        record = logging.LogRecord("worker", logging.INFO, "", 0, line, None, None)
        self._handler.handle(record)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _QuietHandler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore the error: a failing log must not stop the worker."""


class WorkerProcess:
    """One process of ``python -m server.worker``, which runs many jobs.

    Args:
        data: data folder of the server.
        quota: largest size of the data folder, bytes.
        worker_log: takes the standard error of the process.
        on_event: called with the process and each of its events, from a thread.
        on_end: called with the process when its output has ended, from a thread.

    """

    def __init__(
        self,
        data: Path,
        quota: int,
        worker_log: WorkerLog,
        on_event: Callable[[WorkerProcess, Event], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        # A process group of its own: Ctrl-C in the terminal must reach the server only.
        group_options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            group_options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._oom_kills_before = _count_oom_kills()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.worker"),
                *("--data", str(data), "--quota", str(quota)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **group_options,
        )
        self._log = worker_log
        # Commands are written in a thread: a stopped worker does not read.
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._write_commands, daemon=True).start()
        for target in (self._read_events, self._copy_to_log):
            threading.Thread(target=target, args=(on_event, on_end), daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, command: Command) -> None:
        """Queue a command for writing; the end of the worker's output shows that it died."""
        self._outgoing.put(to_line(command).encode())

    def _write_commands(self) -> None:
        """Write queued commands, and close the worker's input at the end of the queue."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._process.stdin as lines:
            while (line := self._outgoing.get()) is not None:
                lines.write(line)
                lines.flush()

    def kill(self) -> int:
        """Kill the process and its child processes; returns the exit status.

        On Linux and macOS a NeRF process has its own group: it sees its input closed, writes a
        checkpoint and ends by itself.
        """
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/PID", str(self.pid), "/T", "/F"], capture_output=True, check=False
            )
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._outgoing.put(None)
        return self._process.wait()

    def stop(self, timeout_s: float) -> None:
        """Close the input of the process, and kill it if it has not ended after ``timeout_s``."""
        self._outgoing.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=timeout_s)
        self.kill()

    def was_killed(self, status: int) -> bool:
        """Whether the exit status of the worker means a kill from outside and not a crash."""
        return is_kill(status, _count_oom_kills() > self._oom_kills_before)

    def _read_events(
        self,
        on_event: Callable[[WorkerProcess, Event], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                try:
                    event = parse_event(line)
                except ValueError:  # the worker was killed while writing
                    log.warning("the worker sent an incomplete line")
                    continue
                on_event(self, event)
        on_end(self)

    def _copy_to_log(self, *_callbacks: object) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            while line := _bounded_line(errors):
                self._log.write(line)


def is_kill(status: int, out_of_memory: bool) -> bool:
    """Whether an exit status means that the process was killed from outside.

    Args:
        status: exit status, negative for a signal.
        out_of_memory: whether the system killed a process for lack of memory meanwhile; SIGKILL
            then counts as a crash.

    """
    if sys.platform == "win32":
        return status == _WINDOWS_KILL_STATUS
    kills = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT)
    return status in kills and not (out_of_memory and status == -signal.SIGKILL)


def _bounded_line(stream: IO[bytes]) -> str:
    """One line, or its next 64 KiB; empty at the end of the stream."""
    line = stream.readline(_MAX_LINE_BYTES)
    return line.decode("utf-8", "replace").rstrip("\n") or (" " if line else "")


def _count_oom_kills() -> int:
    """Number of processes that the system has killed for lack of memory; 0 where unknown."""
    total = 0
    for path, name in _OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == name:
                    total += int(value)
    return total
