"""Distance grids fused from rendered depth, as meshes of radiance fields are usually made.

They are the baseline for the field's own distances (``dp3d bench nerf --compare``).  Rendered depth
is a mean along rays, which smears depth edges, and surfaces that no view renders must be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

from dp3d_core.arrays import Array, Array32, Float
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD, Camera
from nerf_export.shape.hull import grid_points
from nerf_export.shape.surface import DistanceGrid

_TRUNCATION_CELLS = 4
"""Truncation distance on both sides of a depth, cells."""
_NORMAL_BLUR_CELLS = 1.0
"""Standard deviation of the blur of the points' normals, cells."""
_DEPTH_EDGE_CELLS = 4.0
"""Distance between the points of neighbouring pixels, cells, above which they lie on two
surfaces."""


def tsdf_grid(
    cameras: Sequence[Camera], depths: Sequence[Float[Array32, "_h _w"]], like: DistanceGrid
) -> DistanceGrid:
    """Truncated signed distances averaged over depth pictures (Curless and Levoy 1996).

    Corners that no picture observes count as inside.

    Args:
        cameras: cameras in head space.
        depths: (h, w) depth along the optical axis, head units; inf where there is nothing.
        like: grid whose corners are used.

    """
    reach = _TRUNCATION_CELLS * like.cell
    points = grid_points(like.low, like.cell, like.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    total, count = np.zeros(len(points)), np.zeros(len(points))
    for camera, depth in zip(cameras, depths, strict=True):
        uv, point_depth = camera.project(points)
        column, row = np.nan_to_num(np.floor(uv), nan=-1).astype(np.int64).T
        seen = (point_depth > 0) & (column >= 0) & (column < camera.width)
        seen &= (row >= 0) & (row < camera.height)
        index = np.flatnonzero(seen)
        signed_distance = np.minimum(depth[row[index], column[index]] - point_depth[index], reach)
        near = signed_distance > -reach
        total[index[near]] += signed_distance[near]
        count[index[near]] += 1
    distance = np.where(count > 0, total / np.maximum(count, 1), -reach)
    return DistanceGrid(
        distance.reshape(like.distance.shape).astype(np.float32), like.low, like.cell
    )


def poisson_grid(
    cameras: Sequence[Camera], depths: Sequence[Float[Array32, "_h _w"]], like: DistanceGrid
) -> DistanceGrid:
    """Distances whose gradient follows the normals of the depth pictures' points.

    Poisson reconstruction (Kazhdan et al. 2006) on the regular grid: the normals, blurred,
    are the gradient of an indicator that a fast Fourier transform solves for.

    Args:
        cameras: cameras in head space.
        depths: as for :func:`tsdf_grid`.
        like: grid whose corners are used.

    """
    clouds = [
        _oriented_points(c, d, _DEPTH_EDGE_CELLS * like.cell)
        for c, d in zip(cameras, depths, strict=True)
    ]
    rotation = Z_UP_FROM_HEAD[:3, :3]
    grid_positions = (np.concatenate([p for p, _ in clouds]) @ rotation.T - like.low) / like.cell
    normals = np.concatenate([n for _, n in clouds]) @ rotation.T
    shape = np.array(like.distance.shape)
    nearest = np.rint(grid_positions).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < shape)).all(1)
    flat = np.ravel_multi_index(tuple(nearest[inside].T), tuple(shape))
    cells = int(shape.prod())
    weight = np.bincount(flat, minlength=cells).reshape(shape).astype(np.float64)
    thickness = ndimage.gaussian_filter((weight > 0).astype(np.float64), _NORMAL_BLUR_CELLS)
    fields = []
    for axis in range(3):
        total = np.bincount(flat, normals[inside, axis], minlength=cells).reshape(shape)
        mean_normal = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        fields.append(ndimage.gaussian_filter(mean_normal, _NORMAL_BLUR_CELLS))
    indicator = _integrate(fields)
    inside_positions = grid_positions[inside].T
    level = float(np.mean(ndimage.map_coordinates(indicator, inside_positions, order=1)))
    # scaled to distances near the surface, where the gradient is the density of the normals
    slope = max(
        float(np.median(ndimage.map_coordinates(thickness, inside_positions, order=1))), 1e-6
    )
    distance = (indicator - level) / slope * like.cell
    return DistanceGrid(distance.astype(np.float32), like.low, like.cell)


def _integrate(fields: Sequence[Float[Array, "x y z"]]) -> Float[Array, "x y z"]:
    """Periodic grid with the gradient nearest to three components (Poisson equation, by FFT)."""
    shape = fields[0].shape
    waves = np.meshgrid(
        *[2 * np.pi * fft.fftfreq(n) for n in shape[:2]],
        2 * np.pi * fft.rfftfreq(shape[2]),
        indexing="ij",
        sparse=True,
    )
    divergence = sum(1j * wave * fft.rfftn(part) for wave, part in zip(waves, fields, strict=True))
    squared_frequency = sum(wave**2 for wave in waves)
    squared_frequency = np.where(squared_frequency == 0, 1, squared_frequency)
    potential: Array = fft.irfftn(-divergence / squared_frequency, s=shape)
    return potential


def _oriented_points(
    camera: Camera, depth: Float[Array32, "h w"], depth_edge: float
) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"]]:
    """(n, 3) points of a depth picture in head space, and (n, 3) unit normals to the camera."""
    solid = np.isfinite(depth)
    z_depth = np.where(solid, depth, 0.0).astype(np.float64)
    rays = camera.directions(camera.pixel_centres())
    points = camera.position + rays * (z_depth / (rays @ camera.c2w[:3, 2]))[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normals = np.cross(down, right)
    length = np.linalg.norm(normals, axis=-1)
    valid = ndimage.binary_erosion(solid)[1:-1, 1:-1] & (length > 0)
    for step in (right, down):  # differences over two pixels
        valid &= np.linalg.norm(step, axis=-1) < 2 * depth_edge
    normals = normals[valid] / length[valid][:, None]
    return points[1:-1, 1:-1][valid], normals
