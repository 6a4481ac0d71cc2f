"""Neck and shoulders brought to the width of a photo's matte, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_STEP = 6
"""Pixels of the crop between rows that count."""
_SHOULDERS = -140.0
"""Height, millimetres, from which on no hair is taken for the outline."""
_LIMITS = np.array([0.15, 22.0, 0.30, 0.45, 30.0])
"""How far each move may go: relative width of the neck, millimetres of its length, relative
width of the shoulders, their slope, millimetres that they stand aside of the head."""

_PRIOR = 0.7
"""What a move as far as it may go costs beside a row that is off by 12 mm."""
_LEANS = (70.0, 160.0)
"""Depths below the eyes' line, millimetres, over which a neck leans aside."""
_EVEN_FROM = (-96.0, -80.0)
"""Heights, millimetres, between which a neck begins to be even."""
_ALONE_MM, _SHRUG, _BESIDE = 5.0, 0.25, 55.0
"""Millimetres by which the moves of both sides of a neck may differ from their mean, how much more
each millimetre beside it, and where that begins: shoulders are shrugged and turned."""


def neck_and_shoulders(portrait: Portrait, vertices: Array) -> Array:
    """(n, 3) vertices of a bare head, head units, with neck and shoulders as the matte has them.

    Args:
        portrait: with pose and matte.
        vertices: (n, 3) of the head where the photo has it.

    """
    moves = _moves(vertices / MM)
    lower = (vertices[:, 1] < -66 * MM) & (np.abs(moves).max((0, 2)) > 0)
    camera = portrait.camera
    matte = (portrait.matte > 127) & portrait.inside
    first = int(camera.project([[0.0, -78 * MM, 0.0]])[0][0][1])
    shoulders = camera.project([[0.0, _SHOULDERS * MM, 0.0]])[0][0][1]
    rows = np.arange(max(first, 0), camera.height - 4, _STEP)
    # a row counts on a side where the photo goes on beyond the matte
    wanted = np.full((2, len(rows)), np.nan)
    for i, row in enumerate(rows):
        columns, known = np.flatnonzero(matte[row]), np.flatnonzero(portrait.inside[row])
        if columns.size:
            if columns[0] > known[0] + 3:
                wanted[0, i] = columns[0]
            if columns[-1] < known[-1] - 3:
                wanted[1, i] = columns[-1]
    if np.isfinite(wanted).sum() < 6:
        return vertices
    pixel = camera.K[0, 0] / float(np.linalg.norm(camera.position)) * MM
    start, change = vertices[lower], moves[:, lower] * MM

    def residuals(theta: Array) -> Array:
        uv, _ = camera.project(start + np.tensordot(theta * _LIMITS, change, 1))
        at = np.rint((uv[:, 1] - rows[0]) / _STEP).astype(int)
        seen = (at >= 0) & (at < len(rows))
        left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
        np.minimum.at(left, at[seen], uv[seen, 0])
        np.maximum.at(right, at[seen], uv[seen, 0])
        apart = np.stack([left, right]) - wanted
        apart = np.where(np.isfinite(apart), apart / pixel / 12, 0)
        # beside the neck there may be hair: too narrow is hardly wrong there
        apart *= np.where((apart * [[1], [-1]] > 0) & (rows < shoulders), 0.12, 1.0)
        return np.concatenate([apart.ravel(), _PRIOR * theta])

    def jacobian(theta: Array) -> Array:
        step = 0.08  # small ones are lost between vertices
        sides = [
            residuals(theta + step * unit) - residuals(theta - step * unit)
            for unit in np.eye(len(theta))
        ]
        return np.stack(sides, -1) / (2 * step)

    zero = np.zeros(len(_LIMITS))
    fitted = least_squares(
        residuals, zero, jacobian, (zero - 1, zero + 1), loss="soft_l1", max_nfev=15
    )
    return np.asarray(vertices + np.tensordot(fitted.x * _LIMITS, moves, 1) * MM)


def _moves(points: Array) -> Array:
    """(5, n, 3) millimetres for one of each: neck's width and length, shoulders' width, slope and
    place aside.
    """
    x, y, z = points.T
    zero = np.zeros(len(points))
    neck = ramp(-y, 62, 88) * ramp(y, -150, -122) * ramp(-z, -75, -45)
    low = ramp(-y, 70, 126)
    bust = ramp(-y, 112, 140)
    return np.stack(
        [
            np.stack([x * neck, zero, (z + 20) * neck], -1),
            np.stack([zero, -low, zero], -1),
            np.stack([x * bust, zero, zero], -1),
            np.stack([zero, -np.clip(np.abs(x) - 55, 0, None) * ramp(-y, 92, 115), zero], -1),
            np.stack([ramp(-y, *_LEANS), zero, zero], -1),
        ]
    )


def even_bust(before: Array, after: Array) -> Array:
    """(n, 3) vertices of a bare head after its outline was met, its bust alike on both sides.

    Seen from the front a shoulder that stands out alone is an arm, hair or background.

    Args:
        before: (n, 3) head units, before.
        after: (n, 3) head units, after.

    """
    low = np.flatnonzero(before[:, 1] < _EVEN_FROM[1] * MM)
    rest = before[low]
    flip = np.array([-1.0, 1, 1])
    other = cKDTree(rest).query(rest * flip)[1]
    moves = after[low] - rest
    odd = (moves - moves[other] * flip) / 2
    length = np.linalg.norm(odd, axis=1, keepdims=True)
    beside = np.clip(np.abs(rest[:, :1]) / MM - _BESIDE, 0, None)
    most = (_ALONE_MM + _SHRUG * beside) * MM
    excess = odd * np.clip(1 - most / np.maximum(length, 1e-9), 0, None)
    even = after.copy()
    even[low] -= excess * ramp(-rest[:, 1] / MM, -_EVEN_FROM[1], -_EVEN_FROM[0])[:, None]
    return even
