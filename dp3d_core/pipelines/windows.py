"""Windows: views that are denoised together.

The networks were trained on windows of eight views.  The published code cuts the views into
independent blocks.  Here windows may overlap, and close around an orbit: at every step, the
predictions of the windows that contain a view are averaged, with weights that fall smoothly
towards the ends of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import WINDOW_MODES


@dataclass(frozen=True)
class Window:
    """Views that attend to each other, in their order along the path."""

    views: tuple[int, ...]
    """Indices of the views."""
    weights: tuple[float, ...]
    """Weight of the window's prediction for each view; sums to 1 over all windows."""

    def moved(self, by: int) -> Window:
        """The window shifted by ``by`` views along the path."""
        return Window(tuple(i + by for i in self.views), self.weights)


def plan_windows(
    count: int, size: int, *, mode: str = "overlap", overlap: int = 1, closed: bool = False
) -> list[Window]:
    """Windows that cover ``count`` views.

    Args:
        count: number of views, at least 1.
        size: views of a window.
        mode: ``overlap``, or ``blocks`` as in the published code, which drops the views of an
            incomplete last block; here that block is shorter.
        overlap: smallest number of views that neighbouring windows share, below ``size``.
        closed: whether the last view is next to the first.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    if mode not in WINDOW_MODES:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no way {mode!r} to divide views into windows.",
            f"Choose one of: {', '.join(WINDOW_MODES)}.",
        )
    if count < 1 or size < 1 or not 0 <= overlap < max(size, 1):
        raise Dp3dError(
            "engine.bad_option",
            f"{count} views cannot be divided into windows of {size} that share {overlap}.",
            "Give at least one view, and an overlap smaller than the window.",
        )
    if count <= size:
        return [Window(tuple(range(count)), (1.0,) * count)]
    if mode == "blocks":
        starts = range(0, count, size)
        return [
            Window(views, (1.0,) * len(views))
            for views in (tuple(range(a, min(a + size, count))) for a in starts)
        ]
    step = size - overlap
    if closed:
        number = math.ceil(count / step)
        first = np.round(np.arange(number) * count / number).astype(int)
    else:
        number = math.ceil((count - size) / step) + 1
        first = np.round(np.linspace(0, count - size, number)).astype(int)
    members = (first[:, None] + np.arange(size)) % count
    hat = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    total: Array = np.zeros(count)
    np.add.at(total, members, np.broadcast_to(hat, members.shape))
    return [
        Window(tuple(int(i) for i in row), tuple(float(w) for w in hat / total[row]))
        for row in members
    ]


def window_edges(
    windows: Sequence[Window], pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pairs of neighbouring views whose windows of largest weight differ.

    Args:
        windows: that cover the views.
        pairs: indices of neighbouring views.
    """
    count = 1 + max(max(window.views) for window in windows)
    weight: Array = np.zeros((len(windows), count))
    for row, window in enumerate(windows):
        weight[row, list(window.views)] = window.weights
    leading = weight.argmax(0)
    return [(i, j) for i, j in pairs if leading[i] != leading[j]]


def check_windows(windows: Sequence[Window], count: int) -> None:
    """Refuse windows that omit a view or whose weights for a view do not sum to 1.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    total: Array = np.zeros(count)
    fits = all(_is_valid(window, count) for window in windows)
    if fits:
        for window in windows:
            np.add.at(total, list(window.views), window.weights)
    if not fits or not np.allclose(total, 1):
        raise Dp3dError(
            "engine.bad_option",
            f"The windows do not cover {count} views.",
            "Give windows whose weights sum to one for every view.",
        )


def _is_valid(window: Window, count: int) -> bool:
    """Whether a window's views exist, occur once, and have weights of at least 0."""
    views, weights = window.views, window.weights
    return (
        0 < len(views) == len(set(views)) == len(weights)
        and min(views) >= 0
        and max(views) < count
        and min(weights) >= 0
    )
