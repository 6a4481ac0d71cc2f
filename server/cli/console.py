"""One run of the command line: what is shown where, and how it is stopped.

Results go to standard output, progress and errors to standard error.  With ``--json`` both
are for programs: one JSON object on standard output, one JSON line per progress event on
standard error.
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

_PLAIN_LINE_EVERY_S = 2.0
_SILENCE_S = 1.8
"""Seconds without an event after which a log or a program is told that the work goes on."""


@dataclass
class Common:
    """Flags that every command takes."""

    json: bool = False
    """Print one JSON object on standard output, and progress as JSON lines on standard error."""
    debug: bool = False
    """Show the traceback of an unexpected error."""


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    data: dict[str, Any]
    """For ``--json``."""
    lines: list[str] = field(default_factory=list)
    """For people."""
    exit_code: int = 0


def count_of(number: int, what: str) -> str:
    """``1 view``, ``2 views``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


class Console:
    """Progress, cancel and output of one command."""

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

    # -- progress and cancel, handed to the work --

    def progress(self, event: Progress) -> None:
        """Show a progress event."""
        if not self.as_json and sys.stderr.isatty():
            self._show_bar(event)  # which moves by itself
            return
        with self._output:
            if self._latest is None:
                threading.Thread(target=self._break_silence, daemon=True).start()
            self._latest, self._latest_at = event, time.monotonic()
            if self.as_json:
                self._write_event(event)
            else:
                self._show_line(event)

    def _break_silence(self) -> None:
        """Say now and then that a long step goes on."""
        while not self._ended.wait(_SILENCE_S / 4):
            with self._output:
                now = time.monotonic()
                if (
                    self._latest is None
                    or self._ended.is_set()
                    or now - self._written_at < _SILENCE_S
                ):
                    continue
                spent = now - self._latest_at
                if self.as_json:
                    values = self._latest.values | {"elapsed_s": round(spent, 1)}
                    self._write_event(replace(self._latest, eta_s=None, values=values))
                elif self._latest_at > self._written_at:  # one that came too soon to be shown
                    self._write_event_line(self._latest)
                else:
                    at = f"{self._latest.stage} {self._latest.step}/{self._latest.of}"
                    self._write_line(f"{at} goes on, {spent:.0f} s")

    def _write_event(self, event: Progress) -> None:
        self._write_line(json.dumps(json_ready(asdict(event))))

    def _write_line(self, line: str) -> None:
        self._written_at = time.monotonic()
        self._to_stderr(line)

    def cancel(self) -> bool:
        """True once the user asked to stop."""
        return self._cancelled.is_set()

    def note(self, text: str) -> None:
        """A sentence for the person who watches (nothing with ``--json``)."""
        if not self.as_json:
            if self._bars is not None:
                self._bars.console.print(text, highlight=False, markup=False)
            else:
                self._to_stderr(text)

    def warn(self, warnings: Iterable[str]) -> None:
        """A line for each warning about the result."""
        for warning in warnings:
            self.note(f"note: {warning}")

    def listen_for_signals(self) -> None:
        """Turn the first Ctrl-C (or SIGTERM) into a cancel, the second into an abrupt end."""

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._cancelled.is_set():
                raise KeyboardInterrupt
            self._cancelled.set()
            self.note("Stopping after this step (Ctrl-C again to stop at once) ...")

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def _show_bar(self, event: Progress) -> None:
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.of, note="")
        note = event.message[:60]
        self._bars.update(self._tasks[event.stage], completed=event.step, total=event.of, note=note)

    def _show_line(self, event: Progress) -> None:
        # A log file or a build server: a line when a stage begins or ends, else every 2 s.
        now = time.monotonic()
        edge = event.stage != self._stage or event.step >= event.of
        if edge or now - self._shown_at >= _PLAIN_LINE_EVERY_S:
            self._stage, self._shown_at = event.stage, now
            self._write_event_line(event)

    def _write_event_line(self, event: Progress) -> None:
        eta = f", {event.eta_s:.0f} s left" if event.eta_s else ""
        self._write_line(f"{event.stage} {event.step}/{event.of}{eta} {event.message}".rstrip())

    @staticmethod
    def _to_stderr(text: str) -> None:
        with suppress(OSError):  # whoever read it went away; the work goes on
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
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
            # Whoever read the answer went away; the work is done.  Python's own flush at the
            # end must find somewhere to write.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def show_error(self, error: Dp3dError) -> None:
        """Print a failure."""
        self.close()
        if self.as_json:
            print(json.dumps({"ok": False, "error": json_ready(error.to_dict())}), flush=True)
        else:
            what = "stopped" if error.code == "job.cancelled" else "error"
            self._to_stderr(f"{what}: {error.problem}\n  {error.remedy}\n  [{error.code}]")


def _new_bars() -> Bars:
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


def unexpected(error: BaseException) -> Dp3dError:
    """An error of ours for a full disk, for a package that is missing or broken, or for a defect.

    The traceback of a defect is kept in a log file.
    """
    if (refused := not_writable(error) or package_error(error)) is not None:
        return refused
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
