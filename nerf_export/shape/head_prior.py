"""A head-like first guess, for captures whose silhouettes say little about depth.

Views from the front alone leave a visual hull that is a wedge: a ridge before the face and a
long tail behind.  A fit finds the face only if it starts near one, and behind, where nobody looks,
it keeps what it starts with.  Where points of the face are known, the guess passes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.distance import cdist

from dp3d_core.arrays import Array, Float
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Camera
from nerf_export.shape.hull import Hull, camera_spread, grid_points

_CHUNK = 50_000
_FRONT_ONLY_DEG = 150.0
"""Angle between the outermost cameras below which the hull is no guess of a head."""
_SOLIDS = (
    ((0.0, 0.05, 0.0), (0.20, 0.28, 0.25)),  # skull, with the nose before it
    ((0.0, -0.08, 0.10), (0.17, 0.20, 0.17)),  # jaw
    ((0.0, -0.35, -0.03), (0.13, 0.35, 0.13)),  # neck
    ((0.0, -0.75, -0.03), (0.60, 0.35, 0.25)),  # shoulders
)
"""Centres and radii of ellipsoids, head space: a head of canonical size, about."""
_WIDTHS = (0.08, 0.04, 0.02)
"""How far a known point moves what is around it, standard deviations in head units: broadly first,
then what is left."""
_BACK = 0.28
"""Where the rough head ends behind, y in world N, with some room."""


def room_behind(cameras: Sequence[Camera]) -> float | None:
    """How far back the hull of a capture of the front has to reach; None where all is seen.

    Args:
        cameras: of the views, in canonical head space.

    """
    # about the head's own middle: there is no hull yet
    return _BACK if camera_spread(cameras, np.zeros(3)) < _FRONT_ONLY_DEG else None


def with_head_like_start(
    hull: Hull, cameras: Sequence[Camera], face: Float[Array, "n 3"] | None = None
) -> Hull:
    """The hull with a start that is its common part with a rough head, where it needs one.

    The hull itself stays the limit: the surface may grow again to its border.

    Args:
        hull: of the views.
        cameras: of the views, in canonical head space.
        face: (n, 3) points of the face's surface, head space; None: none known.

    """
    if camera_spread(cameras, hull.middle) >= _FRONT_ONLY_DEG:
        return hull
    points = grid_points(hull.low, hull.cell, hull.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    guess = head_distances(points)
    if face is not None:
        guess = _through(face, points, guess)
    start = np.maximum(hull.distance, guess.reshape(hull.distance.shape))
    # Another world's head may lie elsewhere: then there is nothing left to start from.
    if (start < 0).sum() < 0.1 * (hull.distance < 0).sum():
        return hull
    return replace(hull, start=start.astype(np.float32))


def _through(
    face: Float[Array, "m 3"], points: Float[Array, "n 3"], distance: Float[Array, " n"]
) -> Float[Array, " n"]:
    """(n,) distances at (n, 3) points, changed so that they are zero at the face's points."""
    reach = 3 * _WIDTHS[0]
    inside = (points > face.min(0) - reach) & (points < face.max(0) + reach)
    near = np.flatnonzero(inside.all(1))
    distance, at_face = distance.copy(), head_distances(face)
    for width in _WIDTHS:
        change = _spread(face, at_face, np.concatenate([points[near], face]), width)
        distance[near] -= change[: len(near)]
        at_face -= change[len(near) :]
    return distance


def _spread(
    sources: Float[Array, "m 3"],
    values: Float[Array, " m"],
    points: Float[Array, "n 3"],
    width: float,
) -> Float[Array, " n"]:
    """(n,) mean of the values around (n, 3) points, towards zero away from the sources."""
    out = np.empty(len(points))
    for begin in range(0, len(points), _CHUNK):
        apart = cdist(points[begin : begin + _CHUNK], sources, "sqeuclidean")
        weight = np.exp(-apart / (2 * width**2))
        mean = weight @ values / weight.sum(1).clip(1e-12)
        out[begin : begin + _CHUNK] = mean * weight.max(1)
    return out


def head_distances(points: Float[Array, "n 3"]) -> Float[Array, " n"]:
    """(n,) about the distance, negative inside, of (n, 3) points in head space to a rough head."""
    found = []
    for centre, radii in _SOLIDS:
        depth = np.linalg.norm((points - np.array(centre)) / radii, axis=1) - 1
        found.append(depth * min(radii))
    nearest: Array = np.min(found, axis=0)
    return nearest
