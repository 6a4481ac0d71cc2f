"""Entry of the worker process: ``python -m server.worker --data DIR --quota BYTES``.

Reads commands as JSON lines from standard input and writes events as JSON lines to the original
standard output.  Output of libraries goes to standard error, which is the log.  When the input
ends, the server is gone: this process and its children are killed at once, so that they cannot
write at the same time as the next worker.  Files are written atomically, so nothing is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, NoReturn

from dp3d_core.storage.locks import try_lock
from server.jobs.worker_messages import CancelJob, RunJob, parse_command
from server.jobs.worker_process import CRASHED
from server.worker.run import Worker


def main() -> NoReturn:
    """Run jobs until the input ends."""
    parser = argparse.ArgumentParser(description="The dp3d worker; started by 'dp3d serve'.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quota", type=int, required=True)
    arguments = parser.parse_args()
    data: Path = arguments.data

    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    # The server decides when to stop: ignore a Ctrl-C in its terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    # A daemon thread: it is in a blocking read when the process ends.
    commands: queue.SimpleQueue[RunJob] = queue.SimpleQueue()
    cancelled: set[str] = set()
    threading.Thread(
        target=_read_commands, args=(sys.stdin.buffer, commands, cancelled), daemon=True
    ).start()

    lock = None  # keeps the lock object alive: its end would free the lock
    while lock is None:
        lock = try_lock(data / "worker.lock", timeout_s=60)
        if lock is None:
            print("waiting for the worker of an earlier server to end", file=sys.stderr, flush=True)

    worker = Worker(data, arguments.quota, events, cancelled)
    worker.announce()
    while True:
        worker.run(commands.get())


def _read_commands(
    source: IO[bytes], commands: queue.SimpleQueue[RunJob], cancelled: set[str]
) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in source:
            command = parse_command(line)
            if isinstance(command, CancelJob):
                cancelled.add(command.job)
            else:
                commands.put(command)
    _kill_process_tree()


def _kill_process_tree() -> NoReturn:
    """Kill this process and its children.

    A NeRF process has its own group: it writes a checkpoint and ends by itself.
    """
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/PID", str(os.getpid()), "/T", "/F"], capture_output=True, check=False
        )
    elif os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    finally:
        # os._exit: the interpreter's normal exit would fail in the thread that reads the input.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(CRASHED)
