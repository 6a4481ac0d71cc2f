"""Output, progress and cancellation of one run of the command line.

Results go to standard output, progress and errors to standard error.  With ``--json`` the result
or error is one JSON object on standard output, and each progress event one JSON line on standard
error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.packages import package_error
from dp3d_core.progress import Progress
from dp3d_core.storage.files import not_writable
from dp3d_core.storage.paths import dp3d_home
from server.json_ready import json_ready

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_LOG_LINE_EVERY_S = 2.0
"""Least seconds between two progress lines within a stage, where there is no terminal."""
_SILENCE_S = 1.8
"""Seconds without output after which a line says that the work goes on."""


@dataclass
class Common:
    """Flags that every command takes."""

    json: bool = False
    """Print one JSON object on standard output, and progress as JSON lines on standard error."""
    debug: bool = False
    """Show the traceback of an unexpected error."""


@dataclass(frozen=True)
class Outcome:
    """Result of a command."""

    data: dict[str, Any]
    """Result for ``--json``; nothing is printed when it is empty."""
    lines: list[str] = field(default_factory=list)
    """Result for people, printed without ``--json``."""
    exit_code: int = 0
    """Exit code of the command."""


def count_of(number: int, noun: str) -> str:
    """A number with its noun: ``1 view``, ``2 views``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Console:
    """Progress, cancellation and output of one command.

    Args:
        as_json: print JSON instead of text.
        debug: show tracebacks of unexpected errors.

    """

    def __init__(self, as_json: bool, debug: bool) -> None:
        self.as_json, self.debug = as_json, debug
        self._cancelled = threading.Event()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._stage, self._shown_at = "", 0.0
        self._latest: Progress | None = None
        self._latest_at = self._written_at = 0.0
        self._output = threading.Lock()
        self._ended = threading.Event()

    # -- progress and cancel, passed to the work --

    def progress(self, event: Progress) -> None:
        """Show a progress event, as a bar, a text line or a JSON line."""
        if not self.as_json and sys.stderr.isatty():
            self._show_bar(event)  # updates its elapsed time by itself
            return
        with self._output:
            if self._latest is None:
                threading.Thread(target=self._repeat_progress, daemon=True).start()
            self._latest, self._latest_at = event, time.monotonic()
            if self.as_json:
                self._write_event(event)
            else:
                self._show_line(event)

    def _repeat_progress(self) -> None:
        """Print a line after every 1.8 s of silence during a long step."""
        while not self._ended.wait(_SILENCE_S / 4):
            with self._output:
                now = time.monotonic()
                if (
                    self._latest is None
                    or self._ended.is_set()
                    or now - self._written_at < _SILENCE_S
                ):
                    continue
                elapsed_s = now - self._latest_at
                if self.as_json:
                    values = self._latest.values | {"elapsed_s": round(elapsed_s, 1)}
                    self._write_event(replace(self._latest, eta_s=None, values=values))
                elif self._latest_at > self._written_at:  # the latest event was not shown yet
                    self._write_event_line(self._latest)
                else:
                    step = f"{self._latest.stage} {self._latest.step}/{self._latest.of}"
                    self._write_line(f"{step} goes on, {elapsed_s:.0f} s")

    def _write_event(self, event: Progress) -> None:
        self._write_line(json.dumps(json_ready(asdict(event))))

    def _write_line(self, line: str) -> None:
        self._written_at = time.monotonic()
        self._to_stderr(line)

    def cancel(self) -> bool:
        """Whether the user asked to stop."""
        return self._cancelled.is_set()

    def note(self, text: str) -> None:
        """Print a sentence on standard error; nothing with ``--json``."""
        if not self.as_json:
            if self._bars is not None:
                self._bars.console.print(text, highlight=False, markup=False)
            else:
                self._to_stderr(text)

    def warn(self, warnings: Iterable[str]) -> None:
        """Print a line for each warning; nothing with ``--json``."""
        for warning in warnings:
            self.note(f"note: {warning}")

    def listen_for_signals(self) -> None:
        """Make the first Ctrl-C or SIGTERM a cancel, and the second an immediate end."""

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._cancelled.is_set():
                raise KeyboardInterrupt
            self._cancelled.set()
            self.note("Stopping after this step (Ctrl-C again to stop at once) ...")

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def _show_bar(self, event: Progress) -> None:
        if self._bars is None:
            self._bars = _make_bars()
            self._bars.start()
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.of, note="")
        note = event.message[:60]
        self._bars.update(self._tasks[event.stage], completed=event.step, total=event.of, note=note)

    def _show_line(self, event: Progress) -> None:
        # For log files and build servers: a line at the start and end of a stage, else every 2 s.
        now = time.monotonic()
        is_start_or_end = event.stage != self._stage or event.step >= event.of
        if is_start_or_end or now - self._shown_at >= _LOG_LINE_EVERY_S:
            self._stage, self._shown_at = event.stage, now
            self._write_event_line(event)

    def _write_event_line(self, event: Progress) -> None:
        eta = f", {event.eta_s:.0f} s left" if event.eta_s else ""
        self._write_line(f"{event.stage} {event.step}/{event.of}{eta} {event.message}".rstrip())

    @staticmethod
    def _to_stderr(text: str) -> None:
        with suppress(OSError):  # the reader is gone; the work goes on
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop progress output and restore the terminal."""
        with self._output:
            self._ended.set()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    # -- results --

    def show(self, outcome: Outcome) -> None:
        """Print a result."""
        self.close()
        lines = outcome.lines
        if self.as_json:
            lines = [json.dumps({"ok": True, "result": json_ready(outcome.data)})]
        try:
            for line in lines:
                print(line, flush=True)
        except BrokenPipeError:
            # The reader is gone, and the work is done.  Python still flushes the stream at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def show_error(self, error: Dp3dError) -> None:
        """Print an error."""
        self.close()
        if self.as_json:
            print(json.dumps({"ok": False, "error": json_ready(error.to_dict())}), flush=True)
        else:
            label = "stopped" if error.code == "job.cancelled" else "error"
            self._to_stderr(f"{label}: {error.problem}\n  {error.remedy}\n  [{error.code}]")


def _make_bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    class NoteColumn(TextColumn):
        def render(self, task: Any) -> Text:
            return Text(task.fields["note"], style="dim")

    return Bars(
        TextColumn("{task.description:>10}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        NoteColumn(""),
        console=Console(stderr=True),
    )


def unexpected_error(error: BaseException) -> Dp3dError:
    """The coded error for an unexpected exception.

    A full or read-only disk and missing or broken packages have their own codes.  Any other
    exception is a defect (``internal``), whose traceback is written to a log file.
    """
    if (known_error := not_writable(error) or package_error(error)) is not None:
        return known_error
    text = "".join(traceback.format_exception(error))
    name = f"dp3d-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (dp3d_home() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(f"{' '.join(sys.argv)}\n\n{text}", "utf-8")
        except OSError:
            continue
        return Dp3dError(
            "internal",
            f"dp3d met an unexpected error ({type(error).__name__}).",
            f"Please report it with the log {path}; --debug shows it here.",
            str(error)[:500],
        )
    return Dp3dError(
        "internal",
        f"dp3d met an unexpected error ({type(error).__name__}).",
        "Please report it; --debug shows where it happened.",
        str(error)[:500],
    )
