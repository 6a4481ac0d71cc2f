"""A head-like first guess, for captures whose silhouettes say little about depth.

Views from the front alone leave a visual hull that is a wedge: a ridge before the face and a
long tail behind.  A fit finds the face only if it starts near one, and behind, where nobody looks,
it keeps what it starts with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import HEAD_FROM_Z_UP, Camera
from nerf_export.hull import Hull, camera_spread, grid_points

Floats = NDArray[np.float64]

_FRONT_ONLY_DEG = 150.0
"""Angle between the outermost cameras below which the hull is no guess of a head."""
_SOLIDS = (
    ((0.0, 0.05, 0.0), (0.20, 0.28, 0.25)),  # skull, with the nose before it
    ((0.0, -0.08, 0.10), (0.17, 0.20, 0.17)),  # jaw
    ((0.0, -0.35, -0.03), (0.13, 0.35, 0.13)),  # neck
    ((0.0, -0.75, -0.03), (0.60, 0.35, 0.25)),  # shoulders
)
"""Centres and radii of ellipsoids, head space: a head of canonical size, about."""


def with_head_like_start(hull: Hull, cameras: Sequence[Camera]) -> Hull:
    """The hull with a start that is its common part with a rough head, where it needs one.

    The hull itself stays the limit: the surface may grow again to its border.

    Args:
        hull: of the views.
        cameras: of the views, in canonical head space.

    """
    if camera_spread(hull, cameras) >= _FRONT_ONLY_DEG:
        return hull
    points = grid_points(hull.low, hull.cell, hull.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    start = np.maximum(hull.distance, head_distances(points).reshape(hull.distance.shape))
    # Another world's head may lie elsewhere: then there is nothing left to start from.
    if (start < 0).sum() < 0.1 * (hull.distance < 0).sum():
        return hull
    return replace(hull, start=start.astype(np.float32))


def head_distances(points: Floats) -> Floats:
    """(n,) about the distance, negative inside, of (n, 3) points in head space to a rough head."""
    found = []
    for centre, radii in _SOLIDS:
        depth = np.linalg.norm((points - np.array(centre)) / radii, axis=1) - 1
        found.append(depth * min(radii))
    nearest: Floats = np.min(found, axis=0)
    return nearest
