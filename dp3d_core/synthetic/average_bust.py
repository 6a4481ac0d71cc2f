"""The average bust as a distance field in millimetres: what hair, hats and clothes lie on.

The field has no ears: what is worn over them follows the skull.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.mesh import Mesh
from dp3d_core.raycast import RayCaster
from dp3d_core.smoothstep import ramp
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera

Array = NDArray[np.float64]

_LOW, _HIGH = np.array([-8.0, -236.0, -212.0]), np.array([260.0, 216.0, 188.0])
"""Corners of the grid; the other half is mirrored."""
_STEP = 4.0
_SPACING = 2.5
"""Millimetres between the points of the surface."""
_PLANES = (3.0, 9.0)
"""Distances up to which the surface counts as flat around its nearest point, and from which as a
point."""
_EAR_BOX = np.array([73.0, -40.0, -55.0]), np.array([50.0, 14.0])
"""Least abs(x), y and z of what belongs to an ear, and greatest y and z, millimetres."""
_VOTES = 60
"""Points whose normals decide what is inside."""
_DRAPE = 12.0
"""Width of the smoothing of the field that cloth hangs over."""


def bare_body(p: Array) -> Array:
    """(n,) distance of points (n, 3) to the average bust, negative inside."""
    return _look_up(_grid(), p)


def draped_body(p: Array) -> Array:
    """(n,) like :func:`bare_body`, for what spans the hollows, such as that under the chin."""
    return _look_up(_smooth_grid(), p)


def _look_up(grid: NDArray[np.float32], p: Array) -> Array:
    # below the cut the chest goes straight down
    q = np.stack([np.abs(p[:, 0]), np.maximum(p[:, 1], BUST_CUT_MM + 6), p[:, 2]])
    places = (q - _LOW[:, None]) / _STEP
    outside = np.clip(_LOW[:, None] - q, 0, None) + np.clip(q - _HIGH[:, None], 0, None)
    values = map_coordinates(grid, places, order=1, mode="nearest")
    return np.asarray(values + np.sqrt((outside**2).sum(0)), np.float64)


@lru_cache(maxsize=1)
def _smooth_grid() -> NDArray[np.float32]:
    return np.asarray(gaussian_filter(_grid(), _DRAPE / _STEP), np.float32)


@lru_cache(maxsize=1)
def _grid() -> NDArray[np.float32]:
    """Distances at the grid's points."""
    points, normals = outer_surface()
    shape = tuple(np.ceil((_HIGH - _LOW) / _STEP).astype(int) + 1)
    cell = np.rint((points - _LOW) / _STEP).astype(int)
    within = ((cell >= 0) & (cell < shape)).all(1)
    owner = np.full(shape, -1)
    owner[tuple(cell[within].T)] = np.flatnonzero(within)
    nearest_cell = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    nearest = owner[tuple(nearest_cell)].ravel()
    grid = np.indices(shape).reshape(3, -1).T * _STEP + _LOW
    apart = grid - points[nearest]
    distance = np.sqrt(np.einsum("ni,ni->n", apart, apart))
    # the normals around a point say more surely than its own which side is outside
    tree = cKDTree(points)
    broad = normals[tree.query(points, k=_VOTES)[1]].mean(1)
    side = np.where(np.einsum("ni,ni->n", apart, broad[nearest]) < 0, -1.0, 1.0)
    # where an ear was, stray pockets beside the head count as inside: they are cut off from it
    pieces, _ = label((side < 0).reshape(shape))
    inner = pieces == np.bincount(pieces[pieces > 0]).argmax()
    values = np.where(inner.ravel(), -distance, distance)
    # near the surface its points' planes are more exact than the points
    close = np.flatnonzero(distance < _PLANES[1] + _STEP)
    distances, beside = tree.query(grid[close], k=3)
    planes = np.einsum("nkx,nkx->nk", grid[close][:, None] - points[beside], normals[beside])
    share = 1 / (distances + 0.5)
    plane = (planes * share).sum(1) / share.sum(1)
    values[close] = plane + (values[close] - plane) * ramp(distances[:, 0], *_PLANES)
    return np.asarray(values.reshape(shape), np.float32)


@lru_cache(maxsize=1)
def outer_surface() -> tuple[Array, Array]:
    """Points (n, 3), millimetres, and unit normals of what is seen of the average bust."""
    shape = bust()
    mesh = Mesh.of(shape.rest * MM, shape.faces, np.zeros(len(shape.rest), np.uint8))
    caster = RayCaster(mesh)
    points, normals = [], []
    for pitch in (-35, 0, 30, 70):
        for yaw in range(0, 360, 30):
            camera = canonical_camera(float(yaw), float(pitch), 200, focal=0.8 * WHOLE_HEAD_FOCAL)
            rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
            hits = caster.cast(camera.position, rays)
            corner = mesh.faces[hits.face, hits.weights.argmax(1)]
            front = -(hits.normals * hits.directions).sum(1) > 0.2
            kept = front & (shape.region[corner] != BustRegion.EAR)
            kept &= ~_beside_ear(hits.points / MM)
            kept &= hits.points[:, 1] > (BUST_CUT_MM + 1) * MM
            points.append(hits.points[kept] / MM)
            normals.append(hits.normals[kept])
    everywhere = np.concatenate(points)
    both = np.concatenate([everywhere, everywhere * [-1, 1, 1]])
    turned = np.concatenate([*normals, *(n * [-1, 1, 1] for n in normals)])
    cells = np.round(both / _SPACING).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return both[first], turned[first]


def _beside_ear(p: Array) -> NDArray[np.bool_]:
    """(n,) points that stand off the skull where ears do: their backs and roots."""
    low, high = _EAR_BOX
    return np.asarray(
        (np.abs(p[:, 0]) > low[0]) & (p[:, 1:] > low[1:]).all(1) & (p[:, 1:] < high).all(1)
    )
