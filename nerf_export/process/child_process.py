"""Runs a command in the NeRF interpreter and turns its events into progress, result and errors.

The child gets a request file and writes one JSON line per event to its stdout.  What nerfstudio
prints goes to a log file, whose end is kept in ``error.detail``.  The child ends when its stdin
closes: a cancelled parent closes it and waits for the child's checkpoint, and the operating system
closes it for a parent that dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import dp3d_core
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback, check_cancel
from dp3d_core.storage.files import write_json
from nerf_export.process.environment import nerf_python, repair_hint
from nerf_export.process.left_children import end_left_child, record_child

_LAUNCHER = Path(__file__).parents[1] / "child" / "launch.py"
"""Script that the NeRF interpreter runs."""
_POLL_S = 0.25
"""Seconds between polls of the cancel check."""
_GRACE_S = 20.0
"""Seconds that a cancelled child has for writing its checkpoint."""
_LOG_TAIL = 4000
"""Bytes at the end of the log that an error quotes."""


def run_child(
    command: str,
    request: dict[str, Any],
    work: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> dict[str, Any]:
    """Run one command of ``nerf_export/child`` to its end.

    Args:
        command: a name of ``child.commands``.
        request: arguments of the command, JSON-ready.
        work: folder for the request and the log.
        progress: gets the child's progress events.
        cancel: polled four times a second.

    Returns:
        The child's result.

    Raises:
        Dp3dError: ``nerf.child_failed`` with the end of the log in its detail,
            ``nerf.child_killed``, ``nerf.environment_missing``, ``job.cancelled``, or an error
            that the child reported.

    """
    python, task = nerf_python(), "The fit" if command == "train" else "The job"
    work.mkdir(parents=True, exist_ok=True)
    request_path, log_path = work / f"{command}.json", work / f"{command}.log"

    def report_waiting() -> None:
        check_cancel(cancel, task)
        stage = "fit" if command == "train" else command
        progress(Progress(stage, 0, 1, "Waiting for the process of an earlier run to end"))

    end_left_child(work, _GRACE_S, report_waiting)
    write_json(request_path, request)
    with log_path.open("ab") as log:
        process = _start(
            [str(python), str(_LAUNCHER), command, str(request_path)], _environment(work), log
        )
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read_events, args=(process.stdout, events), daemon=True)
    reader.start()
    result, error = None, None
    try:
        record_child(work, process.pid)
        while True:
            check_cancel(cancel, task)
            try:
                event = events.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if event is None:
                break
            if event["event"] == "progress":
                progress(Progress(**event["data"]))
            elif event["event"] == "result":
                result = event["data"]
            elif event["event"] == "error":
                error = Dp3dError.from_dict(event["data"])
    finally:
        _stop_child(process)
        reader.join(timeout=5)
        process.stdout.close()
    if error is not None:
        error.detail = error.detail or log_tail(log_path)
        raise error
    if process.returncode < 0 and result is None:
        raise Dp3dError(
            "nerf.child_killed",
            f"The NeRF process was ended from outside (signal {-process.returncode}); often "
            "memory ran out.",
            "Close other programs or take a smaller preset, and start the same again: a fit goes "
            "on from its last checkpoint.",
            log_tail(log_path),
        )
    if process.returncode != 0 or result is None:
        raise Dp3dError(
            "nerf.child_failed",
            f"The NeRF process ended with code {process.returncode} while doing '{command}'.",
            _failed_remedy(command, log_path),
            log_tail(log_path),
        )
    answer: dict[str, Any] = result
    return answer


def _failed_remedy(command: str, log_path: Path) -> str:
    # the log of a short command is deleted with its folder; the error's detail has its end
    instruction = (
        f"Read the end of {log_path}" if command == "train" else "Read the error's detail (--json)"
    )
    return f"{instruction}; {repair_hint()}."


def log_tail(path: Path) -> str:
    """The end of a log file."""
    with contextlib.suppress(OSError):
        return path.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace")
    return ""


def _environment(work: Path) -> dict[str, str]:
    # The child must import its own packages only, and write its caches into its own folder.
    drop = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    env = {k: v for k, v in os.environ.items() if k not in drop}
    env.update(
        PYTHONUNBUFFERED="1",
        PYTHONIOENCODING="utf-8",
        PYTHONDONTWRITEBYTECODE="1",
        MPLBACKEND="Agg",
        # Waiting threads sleep: on a busy machine, spinning makes every step many times slower.
        OMP_WAIT_POLICY="PASSIVE",
        # glibc: keep the gradients' memory instead of mapping it anew at every step.
        MALLOC_MMAP_THRESHOLD_=str(1 << 30),
        MALLOC_TRIM_THRESHOLD_=str(1 << 31),
        DP3D_CORE_FOLDER=str(Path(dp3d_core.__file__).parent),
        TORCHINDUCTOR_CACHE_DIR=str(work / "inductor"),
    )
    return env


def _start(command: list[str], env: dict[str, str], log: IO[bytes]) -> subprocess.Popen[str]:
    group: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if sys.platform == "win32"
        else {"start_new_session": True}
    )
    try:
        return _popen(command, env, log, group)
    except OSError as error:
        raise Dp3dError(
            "nerf.environment_missing",
            f"{command[0]} cannot be started ({error.strerror}).",
            f"It should be a Python interpreter with nerfstudio; {repair_hint()}.",
        ) from error


def _popen(
    command: list[str], env: dict[str, str], log: IO[bytes], group: dict[str, Any]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=env,
        text=True,
        encoding="utf-8",
        errors="replace",
        **group,
    )


def _read_events(stream: IO[str], events: queue.Queue[dict[str, Any] | None]) -> None:
    for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.put(event)
    events.put(None)


def _stop_child(process: subprocess.Popen[str]) -> None:
    """Close the child's stdin and wait for its end; after ``_GRACE_S`` terminate and kill it."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process.send_signal(signal.SIGCONT)  # a stopped process would not see the closed pipe
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        time.sleep(1.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
