# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a process of dp3d on this computer and reads its output.  No bpy here.

A thread follows each process; the panels read the attributes that the thread sets.
"""

from __future__ import annotations

import json
import subprocess
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import IO, Any

from . import programs
from .errors import AddonError
from .programs import Program

TAIL_LINES = 8
"""Last lines of a process that are kept for the panels."""
POLL_S = 0.2
LINE_LIMIT = 200
"""Letters of a line that are kept."""


class WatchedProcess:
    """Attributes that the panels read: written by the thread, each replaced as a whole."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.lines: tuple[str, ...] = ()
        """Last lines the process printed."""
        self.code = self.problem = self.remedy = ""
        self.changes = 0
        """Grows with every change, so that a timer knows when to redraw."""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> None:
        """Stay until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def raise_failure(self) -> None:
        """Raise the failure, if there is one, as an ``AddonError``."""
        if self.code:
            raise AddonError(self.code, self.problem, self.remedy)

    def _changed(self) -> None:
        self.changes += 1

    def _add_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.strip():
                self._tail.append(line.rstrip()[:LINE_LIMIT])
        self.lines = tuple(self._tail)
        self._changed()

    def _fail(self, error: AddonError) -> None:
        self.problem, self.remedy, self.code = error.problem, error.remedy, error.code
        self._changed()

    def _begin(self, body: Any, name: str) -> None:
        self.code = self.problem = self.remedy = ""
        self._tail.clear()
        self.lines = ()
        self._changed()
        self._thread = threading.Thread(target=body, name=name, daemon=True)
        self._thread.start()


def unexpected(error: Exception) -> AddonError:
    """A defect of the add-on as a failure that the panels can show; prints its traceback."""
    traceback.print_exc()
    return AddonError(
        "internal",
        f"The add-on failed unexpectedly ({type(error).__name__}: {error}).",
        "Report this with the text in Blender's system console.",
    )


def start_process(
    command: list[str], environment: Mapping[str, str], stdin: int, stderr: Any
) -> subprocess.Popen[bytes]:
    """Start a program with pipes.

    Args:
        command: the program and its arguments.
        environment: of the process.
        stdin: as in ``subprocess.Popen``.
        stderr: as in ``subprocess.Popen``.

    Raises:
        AddonError: ``addon.program_broken``.

    """
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            **programs.process_options(environment),
        )
    except (OSError, ValueError) as error:
        raise AddonError(
            "addon.program_broken",
            f"{command[0]} cannot be started ({getattr(error, 'strerror', None) or error}).",
            "Choose another dp3d in the add-on's preferences.",
        ) from error


def pump(stream: IO[bytes], take: Any) -> None:
    """Call ``take`` with each line of a stream until its end, and close it."""
    with suppress(OSError, ValueError), stream:
        for line in stream:
            take(line)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None where it holds none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def failure_in(answer: dict[str, Any] | None) -> AddonError | None:
    """The failure in an answer of dp3d's command line."""
    if answer is None or answer.get("ok") or not isinstance(answer.get("error"), dict):
        return None
    error = answer["error"]
    return AddonError(
        str(error.get("code") or "internal"),
        str(error.get("problem") or "dp3d failed."),
        str(error.get("remedy") or "Its last lines say more."),
    )
