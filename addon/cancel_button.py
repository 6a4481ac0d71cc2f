# SPDX-License-Identifier: GPL-3.0-or-later
"""Protects a run from a double click on its start button.

Cancel is drawn where the start button was, so the second click would cancel the run.
"""

from __future__ import annotations

import time

SECOND_CLICK_S = 0.7
"""Seconds after a button appeared within which a click counts as part of a double click."""


class CancelButton:
    """Time since the Cancel button of one run was first drawn.

    Time counts from the first drawing, not from the start of the run: in a slow window the button
    may appear seconds later.
    """

    def __init__(self) -> None:
        self._drawn_at = 0.0

    def reset(self) -> None:
        """Start over for the next run."""
        self._drawn_at = 0.0

    def drawn(self) -> None:
        """Record that the button is on the screen; called each time it is drawn."""
        self._drawn_at = self._drawn_at or time.monotonic()

    def is_second_click(self) -> bool:
        """Whether a click now belongs to a double click; False before the button was drawn."""
        return bool(self._drawn_at) and time.monotonic() - self._drawn_at < SECOND_CLICK_S
