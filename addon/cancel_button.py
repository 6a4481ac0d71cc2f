# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancel stands where Start was pressed: the second click of a double click is not meant."""

from __future__ import annotations

import time

SECOND_CLICK_S = 0.7
"""Seconds in which a click on a button that just appeared is the second of a double click."""


class CancelButton:
    """One button of one run.

    Time counts from when the button was first seen, however slow the window: a click that waited
    in the queue while it was drawn comes after it.
    """

    def __init__(self) -> None:
        self._drawn_at = 0.0

    def reset(self) -> None:
        """Another run begins."""
        self._drawn_at = 0.0

    def drawn(self) -> None:
        """Note that the button is on the screen; called each time it is drawn."""
        self._drawn_at = self._drawn_at or time.monotonic()

    def is_second_click(self) -> bool:
        """Whether a click now is no wish to cancel; never before the button was drawn."""
        return bool(self._drawn_at) and time.monotonic() - self._drawn_at < SECOND_CLICK_S
