# SPDX-License-Identifier: GPL-3.0-or-later
"""Layout of a strip of frames: which frames it shows, in how many columns.  No bpy here."""

from __future__ import annotations

MAX_STRIP = 12
"""Frames of a strip; of more, an even choice is shown."""


def chosen_indices(count: int, most: int = MAX_STRIP) -> list[int]:
    """Indices of at most ``most`` of ``count`` frames: evenly spaced, with the first and the last.

    While frames are added one by one, the choice mostly stays as it is.
    """
    if count <= most:
        return list(range(count))
    step = -(-(count - 1) // (most - 1))
    chosen = list(range(0, count - 1, step))
    return [*chosen, count - 1]


def columns_for(count: int, units: float) -> int:
    """Columns of a strip of ``count`` pictures in a sidebar so many heights of a button wide."""
    if count <= 1:
        return 1
    return 2 if count <= 4 or units < 9 else 3 if count <= 9 or units < 14 else 4
