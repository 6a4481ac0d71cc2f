"""Progress and cancel: how long work talks to whoever waits for it.

Every long function in the house takes two callables.  ``progress`` is called with a
:class:`Progress`; ``cancel`` is polled and answers True once the work shall stop.  The same
``Progress`` goes, as one JSON line, from a child process to its parent (``nerf_export``),
from the worker to the web process and over SSE to Blender (``server``).

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
    """What is being done, a short stable word: ``portrait``, ``views``, ``fit``, ``mesh`` ..."""
    step: int
    """Steps finished in this stage, 0 <= step <= of."""
    of: int
    """Steps in this stage, at least 1."""
    message: str = ""
    """A sentence for a person."""
    eta_s: float | None = None
    """Seconds this stage still needs, when known."""
    values: dict[str, Any] = field(default_factory=dict)
    """Measured numbers (loss, psnr ...) and names of results (``file``)."""


ProgressCallback = Callable[[Progress], None]
StepCallback = Callable[[str], None]
"""Called with a sentence when a step begins; may raise ``Cancelled``."""
CancelCheck = Callable[[], bool]


def no_progress(event: Progress) -> None:
    """The callback of a caller who does not listen."""


def no_step(message: str) -> None:
    """The step callback of a caller who does not listen."""


def never_cancel() -> bool:
    """The check of a caller who never cancels."""
    return False


def check_cancel(cancel: CancelCheck, what: str = "The job") -> None:
    """Raise :class:`~dp3d_core.errors.Cancelled` if ``cancel`` says so."""
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
        """Report the step that begins now, and the one begun before as done.

        For steps that take long: the message says what is going on.  Raises ``Cancelled`` on
        request; usable as a ``StepCallback``.
        """
        self.advance(message, int(self._begun))
        self._begun = True

    def end(self, message: str = "") -> None:
        """Report all steps as done; raises ``Cancelled`` on request."""
        self.advance(message, self.of - self.step)
