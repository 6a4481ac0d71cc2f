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
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.files import not_writable
from dp3d_core.paths import dp3d_home
from dp3d_core.progress import Progress
from server.plain import plain

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_PLAIN_LINE_EVERY_S = 5.0


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


class Session:
    """Progress, cancel and output of one command."""

    def __init__(self, as_json: bool, debug: bool) -> None:
        self.as_json, self.debug = as_json, debug
        self._cancelled = threading.Event()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._stage, self._shown_at = "", 0.0

    # -- progress and cancel, handed to the work --

    def progress(self, event: Progress) -> None:
        """Show a progress event."""
        if self.as_json:
            self._to_stderr(json.dumps(plain(asdict(event))))
        elif sys.stderr.isatty():
            self._show_bar(event)
        else:
            self._show_line(event)

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
        # A log file or a build server: a line when a stage begins or ends, else every 5 s.
        now = time.monotonic()
        edge = event.stage != self._stage or event.step >= event.of
        if edge or now - self._shown_at >= _PLAIN_LINE_EVERY_S:
            self._stage, self._shown_at = event.stage, now
            eta = f", {event.eta_s:.0f} s left" if event.eta_s else ""
            text = f"{event.stage} {event.step}/{event.of}{eta} {event.message}".rstrip()
            self._to_stderr(text)

    @staticmethod
    def _to_stderr(text: str) -> None:
        with suppress(OSError):  # whoever read it went away; the work goes on
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    # -- results --

    def show(self, outcome: Outcome) -> None:
        """Print a result."""
        self.close()
        lines = outcome.lines
        if self.as_json:
            lines = [json.dumps({"ok": True, "result": plain(outcome.data)})]
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
            print(json.dumps({"ok": False, "error": plain(error.to_dict())}), flush=True)
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
    """An error of ours for a full disk, or for a defect, whose traceback is kept in a log file."""
    if (refused := not_writable(error)) is not None:
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
