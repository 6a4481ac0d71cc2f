"""Fit neck and shoulders to the width of the photo's matte, row by row."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.portraits.portrait import Portrait

_STEP = 6
"""Distance of the rows that are compared, pixels of the crop."""
_SHOULDERS = -140.0
"""Height below which the silhouette is not hair, millimetres."""
_LIMITS = np.array([0.15, 22.0, 0.30, 0.45, 30.0])
"""Greatest parameters: relative width of the neck, its length (mm), relative width of the
shoulders, their slope, their sideways offset from the head (mm)."""

_PRIOR = 0.7
"""Cost of a parameter at its limit, relative to a row with an error of 12 mm."""
_LEANS = (70.0, 160.0)
"""Distances below the eyes over which the neck leans sideways, millimetres."""
_SYMMETRIC_FROM = (-96.0, -80.0)
"""Heights between which symmetry begins to be enforced, millimetres."""
_MAX_ASYMMETRY_MM = 5.0
"""Greatest deviation of a side's move from the mean of both sides at the neck, millimetres."""
_SHRUG = 0.25
"""Increase of that limit per distance beside the neck: shoulders are shrugged and turned."""
_BESIDE = 55.0
"""Distance from the plane of symmetry at which that increase begins, millimetres."""


def neck_and_shoulders(portrait: Portrait, vertices: Array) -> Array:
    """(n, 3) vertices of a bare head with neck and shoulders fitted to the matte, head units.

    Args:
        portrait: the photo, with pose and matte.
        vertices: (n, 3) vertices of the bare head, head units.

    """
    moves = _moves(vertices / MM)
    lower = (vertices[:, 1] < -66 * MM) & (np.abs(moves).max((0, 2)) > 0)
    camera = portrait.camera
    matte = (portrait.matte > 127) & portrait.inside
    first = int(camera.project([[0.0, -78 * MM, 0.0]])[0][0][1])
    shoulders = camera.project([[0.0, _SHOULDERS * MM, 0.0]])[0][0][1]
    rows = np.arange(max(first, 0), camera.height - 4, _STEP)
    # a row counts on a side where the photo extends beyond the matte
    targets = np.full((2, len(rows)), np.nan)
    for i, row in enumerate(rows):
        columns, valid = np.flatnonzero(matte[row]), np.flatnonzero(portrait.inside[row])
        if columns.size:
            if columns[0] > valid[0] + 3:
                targets[0, i] = columns[0]
            if columns[-1] < valid[-1] - 3:
                targets[1, i] = columns[-1]
    if np.isfinite(targets).sum() < 6:
        return vertices
    pixel = camera.K[0, 0] / float(np.linalg.norm(camera.position)) * MM
    start, offsets = vertices[lower], moves[:, lower] * MM

    def residuals(theta: Array) -> Array:
        uv, _ = camera.project(start + np.tensordot(theta * _LIMITS, offsets, 1))
        row_index = np.rint((uv[:, 1] - rows[0]) / _STEP).astype(int)
        in_rows = (row_index >= 0) & (row_index < len(rows))
        left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
        np.minimum.at(left, row_index[in_rows], uv[in_rows, 0])
        np.maximum.at(right, row_index[in_rows], uv[in_rows, 0])
        errors = np.stack([left, right]) - targets
        errors = np.where(np.isfinite(errors), errors / pixel / 12, 0)
        # hair may lie beside the neck: a model that is too narrow there costs little
        errors *= np.where((errors * [[1], [-1]] > 0) & (rows < shoulders), 0.12, 1.0)
        return np.concatenate([errors.ravel(), _PRIOR * theta])

    def jacobian(theta: Array) -> Array:
        step = 0.08  # smaller steps would not change the outermost vertices
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
    """(5, n, 3) offsets of points (n, 3), millimetres, per unit of each parameter."""
    x, y, z = points.T
    zero = np.zeros(len(points))
    neck = smoothstep(-y, 62, 88) * smoothstep(y, -150, -122) * smoothstep(-z, -75, -45)
    low = smoothstep(-y, 70, 126)
    bust = smoothstep(-y, 112, 140)
    return np.stack(
        [
            np.stack([x * neck, zero, (z + 20) * neck], -1),
            np.stack([zero, -low, zero], -1),
            np.stack([x * bust, zero, zero], -1),
            np.stack([zero, -np.clip(np.abs(x) - 55, 0, None) * smoothstep(-y, 92, 115), zero], -1),
            np.stack([smoothstep(-y, *_LEANS), zero, zero], -1),
        ]
    )


def limit_asymmetry(before: Array, after: Array) -> Array:
    """(n, 3) vertices of a bare head whose bust moves nearly alike on both sides.

    From the front, a shoulder that stands out alone is an arm, hair or background.

    Args:
        before: (n, 3) vertices before the fit of the outline, head units.
        after: (n, 3) vertices after it, head units.

    """
    low = np.flatnonzero(before[:, 1] < _SYMMETRIC_FROM[1] * MM)
    rest = before[low]
    flip = np.array([-1.0, 1, 1])
    partner = cKDTree(rest).query(rest * flip)[1]
    moves = after[low] - rest
    asymmetry = (moves - moves[partner] * flip) / 2
    length = np.linalg.norm(asymmetry, axis=1, keepdims=True)
    beside = np.clip(np.abs(rest[:, :1]) / MM - _BESIDE, 0, None)
    limit = (_MAX_ASYMMETRY_MM + _SHRUG * beside) * MM
    excess = asymmetry * np.clip(1 - limit / np.maximum(length, 1e-9), 0, None)
    limited = after.copy()
    limited[low] -= (
        excess * smoothstep(-rest[:, 1] / MM, -_SYMMETRIC_FROM[1], -_SYMMETRIC_FROM[0])[:, None]
    )
    return limited
