# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command of dp3d on this computer, such as ``doctor``, in a thread.  No bpy here."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from . import programs
from .dp3d_process import (
    LINE_LIMIT,
    POLL_S,
    WatchedProcess,
    failure_in,
    parse_line,
    pump,
    start_process,
    unexpected,
)
from .errors import AddonError


class Command(WatchedProcess):
    """A command of dp3d that runs once: ``doctor``, ``setup nerf``, ``models install`` ..."""

    grace_s = 10.0
    """Seconds that a cancelled command may take to stop by itself."""

    def __init__(self, arguments: tuple[str, ...], title: str = "") -> None:
        super().__init__()
        self.arguments, self.title = arguments, title or " ".join(arguments)
        self.state = "new"
        """new, running, cancelling, succeeded, failed or cancelled."""
        self.step, self.of, self.message = 0, 0, ""
        """Progress: ``of`` is 0 as long as there is none."""
        self.result: Any = None
        """``result`` of the command's JSON answer."""
        self._cancel = threading.Event()

    @property
    def fraction(self) -> float:
        """Part that is done, 0 to 1."""
        return min(1.0, max(0.0, self.step / self.of)) if self.of > 0 else 0.0

    def start(self, chosen: str, host: tuple[str, ...] = ()) -> None:
        """Begin.

        Args:
            chosen: path of the preferences to dp3d (see :func:`programs.find`).
            host: folders of Blender, for :func:`programs.clean_environment`.

        """
        self.state = "running"
        self._begin(lambda: self._run(chosen, host), "dp3d-command")

    def cancel(self) -> None:
        """Stop it; returns at once."""
        if self.busy:
            self.state = "cancelling"
            self._cancel.set()
            self._changed()

    def _run(self, chosen: str, host: tuple[str, ...]) -> None:
        try:
            environment = programs.clean_environment(os.environ, host)
            self.program = programs.find(chosen, environment)
            answer, code = self._follow(
                [*self.program.command, *self.arguments, "--json"], environment
            )
            error = failure_in(answer)
            if self._cancel.is_set() and (error is not None or answer is None):
                state = "cancelled"
            elif error is not None:
                raise error
            elif answer is None:
                raise AddonError(
                    "addon.command_failed",
                    f"'dp3d {' '.join(self.arguments)}' ended without a result (exit code {code}).",
                    "Its last lines say more; the same command can be run in a terminal.",
                )
            else:
                self.result, state = answer.get("result"), "succeeded"
        except AddonError as error:
            self._fail(error)
            state = "failed"
        except Exception as error:
            self._fail(unexpected(error))
            state = "failed"
        self.state = state
        self._changed()

    def _follow(
        self, command: list[str], environment: Mapping[str, str]
    ) -> tuple[dict[str, Any] | None, int]:
        """Run it; its answer, if there was one, and its exit code."""
        if self._cancel.is_set():
            return None, 0
        process = start_process(command, environment, subprocess.DEVNULL, subprocess.PIPE)
        answers: list[dict[str, Any]] = []
        readers = [
            threading.Thread(target=pump, args=pair, name="dp3d-command-out", daemon=True)
            for pair in (
                (process.stdout, lambda line: answers.append(parse_line(line) or {})),
                (process.stderr, self._printed),
            )
        ]
        for reader in readers:
            reader.start()
        deadline = None
        while process.poll() is None:
            if self._cancel.wait(POLL_S):
                if deadline is None:
                    deadline = time.monotonic() + self.grace_s
                    programs.ask_to_end(process)
                elif time.monotonic() > deadline:
                    programs.end(process)
                time.sleep(POLL_S)
        for reader in readers:
            reader.join(2.0)
        return next((a for a in reversed(answers) if "ok" in a), None), process.returncode

    def _printed(self, line: bytes) -> None:
        event = parse_line(line)
        if event is None or "stage" not in event:
            self._add_lines([line.decode("utf-8", "replace")])
            return
        with suppress(TypeError, ValueError):
            self.step, self.of = int(event.get("step") or 0), int(event.get("of") or 0)
        message = str(event.get("message") or "")
        if message != self.message:
            self.message = message[:LINE_LIMIT]
            self._add_lines([message])
        self._changed()
