"""Distance field of the average bust, in millimetres: the base of hair, hats and clothes.

The field has no ears, so that whatever is worn over them follows the skull.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Mask, smoothstep
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster

_LOW = np.array([-8.0, -236.0, -212.0])
"""Lower corner of the grid, which holds the half with positive x, millimetres."""
_HIGH = np.array([260.0, 216.0, 188.0])
"""Upper corner of the grid, millimetres."""
_STEP = 4.0
"""Spacing of the grid, millimetres."""
_SPACING = 2.5
"""Spacing of the surface points, millimetres."""
_PLANES = (3.0, 9.0)
"""Distances between which the field changes from distance to tangent planes to distance to points,
millimetres."""
_EAR_BOX = np.array([73.0, -40.0, -55.0]), np.array([50.0, 14.0])
"""Region of an ear, millimetres: least abs(x), y and z; greatest y and z."""
_VOTES = 60
"""Number of nearest points whose normals decide the sign of the distance."""
_DRAPE = 12.0
"""Standard deviation of the smoothing of the draped field, millimetres."""


def bare_body(p: Array) -> Array:
    """(n,) distance of points (n, 3) to the average bust, millimetres, negative inside."""
    return _look_up(_grid(), p)


def draped_body(p: Array) -> Array:
    """(n,) distance to the smoothed bust, for cloth that spans hollows, as below the chin."""
    return _look_up(_smooth_grid(), p)


def _look_up(grid: Array32, p: Array) -> Array:
    """(n,) trilinear samples of a distance grid, extended beyond its border."""
    # below the cut the chest continues straight down
    q = np.stack([np.abs(p[:, 0]), np.maximum(p[:, 1], BUST_CUT_MM + 6), p[:, 2]])
    cells = (q - _LOW[:, None]) / _STEP
    beyond = np.clip(_LOW[:, None] - q, 0, None) + np.clip(q - _HIGH[:, None], 0, None)
    values = map_coordinates(grid, cells, order=1, mode="nearest")
    return np.asarray(values + np.sqrt((beyond**2).sum(0)), np.float64)


@lru_cache(maxsize=1)
def _smooth_grid() -> Array32:
    """Smoothed distances at the points of the grid."""
    return np.asarray(gaussian_filter(_grid(), _DRAPE / _STEP), np.float32)


@lru_cache(maxsize=1)
def _grid() -> Array32:
    """Signed distances at the points of the grid."""
    points, normals = outer_surface()
    shape = tuple(np.ceil((_HIGH - _LOW) / _STEP).astype(int) + 1)
    cell = np.rint((points - _LOW) / _STEP).astype(int)
    in_grid = ((cell >= 0) & (cell < shape)).all(1)
    owner = np.full(shape, -1)
    owner[tuple(cell[in_grid].T)] = np.flatnonzero(in_grid)
    nearest_cell = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    nearest = owner[tuple(nearest_cell)].ravel()
    grid = np.indices(shape).reshape(3, -1).T * _STEP + _LOW
    offset = grid - points[nearest]
    distance = np.sqrt(np.einsum("ni,ni->n", offset, offset))
    # the mean normal of many points is more reliable than one for the sign
    tree = cKDTree(points)
    mean_normals = normals[tree.query(points, k=_VOTES)[1]].mean(1)
    sign = np.where(np.einsum("ni,ni->n", offset, mean_normals[nearest]) < 0, -1.0, 1.0)
    # keep the largest inside component: missing ears leave stray pockets beside the head
    components, _ = label((sign < 0).reshape(shape))
    interior = components == np.bincount(components[components > 0]).argmax()
    values = np.where(interior.ravel(), -distance, distance)
    # near the surface, tangent planes are more accurate than points
    close = np.flatnonzero(distance < _PLANES[1] + _STEP)
    distances, neighbours = map(np.asarray, tree.query(grid[close], k=3))
    planes = np.einsum(
        "nkx,nkx->nk", grid[close][:, None] - points[neighbours], normals[neighbours]
    )
    weights = 1 / (distances + 0.5)
    plane = (planes * weights).sum(1) / weights.sum(1)
    values[close] = plane + (values[close] - plane) * smoothstep(distances[:, 0], *_PLANES)
    return np.asarray(values.reshape(shape), np.float32)


@lru_cache(maxsize=1)
def outer_surface() -> tuple[Array, Array]:
    """Points (n, 3), millimetres, and unit normals (n, 3) of the average bust's visible surface."""
    topology = bust()
    mesh = Mesh.of(topology.rest * MM, topology.faces, np.zeros(len(topology.rest), np.uint8))
    caster = RayCaster(mesh)
    points, normals = [], []
    for pitch in (-35, 0, 30, 70):
        for yaw in range(0, 360, 30):
            camera = canonical_camera(float(yaw), float(pitch), 200, focal=0.8 * WHOLE_HEAD_FOCAL)
            rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
            hits = caster.cast(camera.position, rays)
            corner = mesh.faces[hits.face, hits.weights.argmax(1)]
            front = -(hits.normals * hits.directions).sum(1) > 0.2
            kept = front & (topology.region[corner] != BustRegion.EAR)
            kept &= ~_beside_ear(hits.points / MM)
            kept &= hits.points[:, 1] > (BUST_CUT_MM + 1) * MM
            points.append(hits.points[kept] / MM)
            normals.append(hits.normals[kept])
    half = np.concatenate(points)
    mirrored = np.concatenate([half, half * [-1, 1, 1]])
    mirrored_normals = np.concatenate([*normals, *(n * [-1, 1, 1] for n in normals)])
    cells = np.round(mirrored / _SPACING).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return mirrored[first], mirrored_normals[first]


def _beside_ear(p: Array) -> Mask:
    """(n,) whether points (n, 3) lie in the region of an ear: its back and root."""
    low, high = _EAR_BOX
    return np.asarray(
        (np.abs(p[:, 0]) > low[0]) & (p[:, 1:] > low[1:]).all(1) & (p[:, 1:] < high).all(1)
    )
