"""Distance grids from rendered depth, the ways meshes usually come out of radiance fields.

For comparison with the field's own distances (``dp3d bench nerf --compare``): depth is a mean
along rays, so edges between near and far smear, and what no view renders must be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

from dp3d_core.arrays import Array, Array32, Float
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD, Camera
from nerf_export.shape.hull import grid_points
from nerf_export.shape.surface import DistanceGrid

_TRUNCATION = 4
"""Cells on both sides of a depth that it says something about."""
_SPLAT_BLUR = 1.0
"""Blur of the points' normals, cells."""
_STEEP = 4.0
"""Cells between the depths of neighbouring pixels from which they lie on two surfaces."""


def tsdf_grid(
    cameras: Sequence[Camera], depths: Sequence[Float[Array32, "_h _w"]], like: DistanceGrid
) -> DistanceGrid:
    """Truncated signed distances averaged over depth pictures (Curless and Levoy 1996).

    What no picture looks into counts as inside.

    Args:
        cameras: cameras in head space.
        depths: (h, w) depth along the optical axis, head units; inf where there is nothing.
        like: grid whose corners are used.

    """
    reach = _TRUNCATION * like.cell
    points = grid_points(like.low, like.cell, like.distance.shape) @ HEAD_FROM_Z_UP[:3, :3].T
    total, count = np.zeros(len(points)), np.zeros(len(points))
    for camera, depth in zip(cameras, depths, strict=True):
        uv, along = camera.project(points)
        column, row = np.nan_to_num(np.floor(uv), nan=-1).astype(np.int64).T
        seen = (along > 0) & (column >= 0) & (column < camera.width)
        seen &= (row >= 0) & (row < camera.height)
        index = np.flatnonzero(seen)
        before = np.minimum(depth[row[index], column[index]] - along[index], reach)
        keep = before > -reach
        total[index[keep]] += before[keep]
        count[index[keep]] += 1
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
    found = [
        _oriented_points(c, d, _STEEP * like.cell) for c, d in zip(cameras, depths, strict=True)
    ]
    rotation = Z_UP_FROM_HEAD[:3, :3]
    places = (np.concatenate([p for p, _ in found]) @ rotation.T - like.low) / like.cell
    normals = np.concatenate([n for _, n in found]) @ rotation.T
    shape = np.array(like.distance.shape)
    nearest = np.rint(places).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < shape)).all(1)
    flat = np.ravel_multi_index(tuple(nearest[inside].T), tuple(shape))
    cells = int(shape.prod())
    weight = np.bincount(flat, minlength=cells).reshape(shape).astype(np.float64)
    thickness = ndimage.gaussian_filter((weight > 0).astype(np.float64), _SPLAT_BLUR)
    fields = []
    for axis in range(3):
        total = np.bincount(flat, normals[inside, axis], minlength=cells).reshape(shape)
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        fields.append(ndimage.gaussian_filter(mean, _SPLAT_BLUR))
    chi = _integrate(fields)
    at = places[inside].T
    level = float(np.mean(ndimage.map_coordinates(chi, at, order=1)))
    # about a distance near the surface: the gradient there is how thick the normals lie
    slope = max(float(np.median(ndimage.map_coordinates(thickness, at, order=1))), 1e-6)
    distance = (chi - level) / slope * like.cell
    return DistanceGrid(distance.astype(np.float32), like.low, like.cell)


def _integrate(fields: Sequence[Float[Array, "x y z"]]) -> Float[Array, "x y z"]:
    """The grid whose gradient is nearest to three components, periodic, by Fourier transform."""
    shape = fields[0].shape
    waves = np.meshgrid(
        *[2 * np.pi * fft.fftfreq(n) for n in shape[:2]],
        2 * np.pi * fft.rfftfreq(shape[2]),
        indexing="ij",
        sparse=True,
    )
    divergence = sum(1j * wave * fft.rfftn(part) for wave, part in zip(waves, fields, strict=True))
    square = sum(wave**2 for wave in waves)
    square = np.where(square == 0, 1, square)
    solved: Array = fft.irfftn(-divergence / square, s=shape)
    return solved


def _oriented_points(
    camera: Camera, depth: Float[Array32, "h w"], steep: float
) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"]]:
    """(n, 3) points of a depth picture in head space and their unit normals, to the camera."""
    solid = np.isfinite(depth)
    along = np.where(solid, depth, 0.0).astype(np.float64)
    rays = camera.directions(camera.pixel_centres())
    points = camera.position + rays * (along / (rays @ camera.c2w[:3, 2]))[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normals = np.cross(down, right)
    length = np.linalg.norm(normals, axis=-1)
    whole = ndimage.binary_erosion(solid)[1:-1, 1:-1] & (length > 0)
    for step in (right, down):  # over two pixels
        whole &= np.linalg.norm(step, axis=-1) < 2 * steep
    normals = normals[whole] / length[whole][:, None]
    return points[1:-1, 1:-1][whole], normals
