"""Head prior: an average head as the initial shape of captures of the front alone.

The visual hull of front views is a wedge: a ridge before the face and a long tail behind.  A fit
finds the face only from a start near it, and keeps its start behind, where no view looks.  The
prior is a union of ellipsoids, pulled to points of the face where these are known.
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
"""Points for which weights are computed at once."""
_FRONT_ONLY_DEG = 150.0
"""Largest angle between two cameras, degrees, below which a capture shows the front alone."""
_ELLIPSOIDS = (
    ((0.0, 0.05, 0.0), (0.20, 0.28, 0.25)),  # skull, with the nose before it
    ((0.0, -0.08, 0.10), (0.17, 0.20, 0.17)),  # jaw
    ((0.0, -0.35, -0.03), (0.13, 0.35, 0.13)),  # neck
    ((0.0, -0.75, -0.03), (0.60, 0.35, 0.25)),  # shoulders
)
"""Centres and radii, head units in head space, of the ellipsoids that make the average head."""
_PINNING_WIDTHS = (0.08, 0.04, 0.02)
"""Standard deviations, head units, of the Gaussians that pull the prior to points of the face, one
pass each, from coarse to fine."""
_HEAD_BACK_Y = 0.28
"""Back of the average head with some room, y in world N, head units."""


def room_behind(cameras: Sequence[Camera]) -> float | None:
    """How far back, y in world N, the hull of a capture of the front must reach; None for others.

    Args:
        cameras: of the views, in canonical head space.

    """
    # angles about the head's centre: the hull is not known yet
    return _HEAD_BACK_Y if camera_spread(cameras, np.zeros(3)) < _FRONT_ONLY_DEG else None


def with_head_like_start(
    hull: Hull, cameras: Sequence[Camera], face: Float[Array, "n 3"] | None = None
) -> Hull:
    """The hull with its intersection with the head prior as start, for captures of the front.

    The hull stays the limit: during the fit the surface may grow to its border again.

    Args:
        hull: of the views.
        cameras: of the views, in canonical head space.
        face: (n, 3) points of the face's surface, head space; None: unknown.

    Returns:
        The hull itself for other captures, and where the prior shares less than a tenth with it.

    """
    if camera_spread(cameras, hull.middle) >= _FRONT_ONLY_DEG:
        return hull
    points = grid_points(hull.low, hull.cell, hull.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    guess = head_distances(points)
    if face is not None:
        guess = _pinned_to_face(face, points, guess)
    start = np.maximum(hull.distance, guess.reshape(hull.distance.shape))
    # In another tool's world the head may lie outside the prior.
    if (start < 0).sum() < 0.1 * (hull.distance < 0).sum():
        return hull
    return replace(hull, start=start.astype(np.float32))


def _pinned_to_face(
    face: Float[Array, "m 3"], points: Float[Array, "n 3"], distance: Float[Array, " n"]
) -> Float[Array, " n"]:
    """(n,) distances at (n, 3) points, changed to be near zero at the (m, 3) face points."""
    reach = 3 * _PINNING_WIDTHS[0]
    inside = (points > face.min(0) - reach) & (points < face.max(0) + reach)
    near = np.flatnonzero(inside.all(1))
    distance, at_face = distance.copy(), head_distances(face)
    for width in _PINNING_WIDTHS:
        change = _gaussian_mean(face, at_face, np.concatenate([points[near], face]), width)
        distance[near] -= change[: len(near)]
        at_face -= change[len(near) :]
    return distance


def _gaussian_mean(
    sources: Float[Array, "m 3"],
    values: Float[Array, " m"],
    points: Float[Array, "n 3"],
    width: float,
) -> Float[Array, " n"]:
    """(n,) Gaussian-weighted mean at (n, 3) points of values at sources; zero far from these."""
    means = np.empty(len(points))
    for begin in range(0, len(points), _CHUNK):
        squared_distances = cdist(points[begin : begin + _CHUNK], sources, "sqeuclidean")
        weight = np.exp(-squared_distances / (2 * width**2))
        mean = weight @ values / weight.sum(1).clip(1e-12)
        means[begin : begin + _CHUNK] = mean * weight.max(1)
    return means


def head_distances(points: Float[Array, "n 3"]) -> Float[Array, " n"]:
    """(n,) approximate signed distances, head units, of (n, 3) points to the average head.

    Points are in head space; distances are negative inside.
    """
    distances = []
    for centre, radii in _ELLIPSOIDS:
        depth = np.linalg.norm((points - np.array(centre)) / radii, axis=1) - 1
        distances.append(depth * min(radii))
    nearest: Array = np.min(distances, axis=0)
    return nearest
