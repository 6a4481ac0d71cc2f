"""Progress reports and cancellation of long work.

Every long function takes two callables: ``progress``, called with a :class:`Progress`, and
``cancel``, polled, which returns True once the work shall stop.  As JSON, a ``Progress`` also goes
from a child process to its parent (``nerf_export``), from the worker to the web process, and as a
server-sent event to Blender (``server``).

Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dp3d_core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One progress event."""

    stage: str
    """Stable name of the stage: ``portrait``, ``views``, ``fit``, ``mesh`` ..."""
    step: int
    """Finished steps of the stage, 0 <= step <= of."""
    of: int
    """Steps of the stage, at least 1."""
    message: str = ""
    """A sentence for the user."""
    eta_s: float | None = None
    """Estimated time to the end of the stage, seconds; None: unknown."""
    values: dict[str, Any] = field(default_factory=dict)
    """Measurements (loss, psnr ...) and names of result files (``file``)."""


ProgressCallback = Callable[[Progress], None]
StepCallback = Callable[[str], None]
"""Called with a sentence when a step begins; may raise ``Cancelled``."""
CancelCheck = Callable[[], bool]
"""Returns True once the work shall stop."""


def no_progress(event: Progress) -> None:
    """Ignore a progress report."""


def no_step(message: str) -> None:
    """Ignore the beginning of a step."""


def never_cancel() -> bool:
    """Never ask for cancellation."""
    return False


def check_cancel(cancel: CancelCheck, what: str = "The job") -> None:
    """Raise :class:`~dp3d_core.errors.Cancelled` if ``cancel`` returns True."""
    if cancel():
        raise Cancelled(what)


class Stage:
    """Counts the steps of one stage, estimates the time left, and polls ``cancel`` at each.

    >>> stage = Stage("views", 32, progress, cancel)
    >>> for i in range(32):
    ...     stage.advance(f"view {i}")
    """

    def __init__(
        self,
        name: str,
        of: int,
        progress: ProgressCallback = no_progress,
        cancel: CancelCheck = never_cancel,
        message: str = "",
        *,
        start: int = 0,
    ) -> None:
        self.name, self.of, self.step = name, max(1, of), start
        self._start_step, self._began = start, time.monotonic()
        self._progress, self._cancel, self._begun = progress, cancel, False
        check_cancel(cancel, f"Stage '{name}'")
        progress(Progress(name, start, self.of, message))

    def advance(self, message: str = "", steps: int = 1, **values: Any) -> None:
        """Report ``steps`` more as done; raises ``Cancelled`` on request."""
        self.step = min(self.of, self.step + steps)
        done = self.step - self._start_step
        spent = time.monotonic() - self._began
        eta = spent / done * (self.of - self.step) if done else None
        self._progress(Progress(self.name, self.step, self.of, message, eta, values))
        check_cancel(self._cancel, f"Stage '{self.name}'")

    def begin(self, message: str) -> None:
        """Report that a step begins and that the step before it is done.

        For long steps, whose message describes the work in progress.  Raises ``Cancelled`` on
        request; usable as a ``StepCallback``.
        """
        self.advance(message, int(self._begun))
        self._begun = True

    def end(self, message: str = "") -> None:
        """Report all steps as done; raises ``Cancelled`` on request."""
        self.advance(message, self.of - self.step)
