"""Visual hull: what the silhouettes alone say about the shape, as a signed distance grid.

The hull tells the fit where to look: its bounds are the field's box, its distances the first
guess of the surface, and nothing can appear outside it.  In the world N (Z up), like all of
the field.  numpy and scipy, on the host.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dp3d_core.cameras import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic

Floats = NDArray[np.float64]

_COARSE = 56
"""Corners per axis of the grid that only finds the bounds."""
_CHUNK = 200_000
_REACH_CELLS = 2.0
_BALL = 0.6
"""Radius of the first guess without masks, half frames."""
_FRAMES_PART = 1 / 3
"""A point belongs to the head only where this part of the frames hold it."""
_CUBE = 1.25
"""Half side of the cube searched, half frames: what is near reaches beyond its frame."""
_MOST_VIEWS = 72
"""Silhouettes that carve a hull; more of them hardly change it, and cost time and memory each."""
_MARGIN = 4
"""Cells kept free around the hull."""


@dataclass(frozen=True)
class Hull:
    """Signed distance to the visual hull on a regular grid of corners.

    Attributes:
        low: (3,) position of the first corner, world N, head units.
        cell: distance between corners, head units.
        distance: (nx, ny, nz) float32, negative inside, head units.
        reach: how far outside the hull the surface may still be, head units.
        start: (nx, ny, nz) float32, distances that a fit begins with; None: the hull's.

    """

    low: Floats
    cell: float
    distance: NDArray[np.float32]
    reach: float
    start: NDArray[np.float32] | None = None

    @property
    def middle(self) -> Floats:
        """(3,) position of the grid's middle."""
        return (self.low + self.high) / 2

    @property
    def high(self) -> Floats:
        """(3,) position of the last corner."""
        return self.low + self.cell * (np.array(self.distance.shape) - 1)

    def at(self, points: Floats) -> NDArray[np.float32]:
        """(n,) distances at (n, 3) points in world N; beyond the grid they are far outside."""
        places = (points - self.low).T / self.cell
        values: NDArray[np.float32] = ndimage.map_coordinates(
            self.distance, places, order=1, mode="constant", cval=1e3
        )
        return values

    def save(self, path: Path) -> None:
        """Write an npz."""
        more = {} if self.start is None else {"start": self.start}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            distance=self.distance,
            low=self.low,
            cell=self.cell,
            reach=self.reach,
            **more,
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Hull:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return cls(
                data["low"],
                float(data["cell"]),
                data["distance"],
                float(data["reach"]),
                data.get("start"),
            )


@dataclass(frozen=True)
class Silhouette:
    """What one view says about the outline.

    Attributes:
        edge: (h, w) float32, distance to the outline in pixels, negative inside.
        border: (h, w) float32, distance to the end of what is known in pixels, negative where
            something is known; None: the whole frame is known.

    """

    edge: NDArray[np.float32]
    border: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, mask: NDArray[np.uint8], known: NDArray[np.bool_] | None = None) -> Silhouette:
        """Silhouette of an alpha mask.

        Neither the picture's border nor that of what is known is an outline: where the head runs
        out of it, it goes on.

        Args:
            mask: (h, w) uint8.
            known: (h, w), elsewhere the mask means nothing; None: all.

        """
        inside = mask >= 128
        if known is None or known.all():
            return cls(_signed_pixels(inside))
        if not known.any():
            nothing = np.full(mask.shape, 1e6, np.float32)
            return cls(-nothing, nothing)
        row, column = ndimage.distance_transform_edt(
            ~known, return_distances=False, return_indices=True
        )
        return cls(_signed_pixels(inside[row, column]), _signed_pixels(known))


def visual_hull(
    cameras: Sequence[Camera],
    masks: Sequence[NDArray[np.uint8]],
    corners: int,
    known: Sequence[NDArray[np.bool_] | None] | None = None,
    back: float | None = None,
) -> Hull:
    """Hull of masks on a grid with ``corners`` corners along its longest axis.

    A point is inside when it lies inside the silhouettes of the views that see it and in the
    frame of at least a third of them (so a bust cut by the frame ends there).  From eight views
    on, one silhouette may disagree: one bad matte does not cut a hole through the head.

    Where every mask is full, that is where none is known, a ball stands in for the hull.

    Args:
        cameras: cameras in head space.
        masks: (h, w) uint8 alpha of each.
        corners: grid size.
        known: (h, w) pixels where each mask means something, None: all.
        back: y in world N to which the hull may at least reach, for a head whose back lies beyond
            what the cameras look at; None: no further than what is near that.

    Raises:
        Dp3dError: ``viewset.invalid`` if the silhouettes have no common volume.

    """
    centre, half = _seen_sphere(cameras)
    silhouettes = [
        Silhouette.of(mask, part)
        for mask, part in zip(masks, known or [None] * len(masks), strict=True)
    ]
    if all(silhouette.edge.max() < 0 for silhouette in silhouettes):
        return _ball(centre, half, corners)
    half *= _CUBE
    low, high, cell = centre - half, centre + half, 2 * half / (_COARSE - 1)
    if back is not None:
        high[1] = max(high[1], back)
    room = [int(n) + 1 for n in np.ceil((high - low) / cell - 1e-6)]
    coarse = hull_distances(cameras, silhouettes, grid_points(low, cell, room)).reshape(room)
    if coarse.min() >= 0:
        raise Dp3dError(
            "viewset.invalid",
            "The view set cannot be used: its masks and cameras have no volume in common.",
            "Check that the cameras belong to these frames, or generate the views again.",
        )
    # Thin parts may pass between two corners, so take a rim along; but only what hangs together.
    labels, _ = ndimage.label(coarse < cell / 2)
    inside = np.argwhere(labels == labels.flat[coarse.argmin()])
    first, last = inside.min(0) - 1, inside.max(0) + 1
    extent = (last - first) * cell
    fine = float(extent.max()) / max(1, corners - 1 - 2 * _MARGIN)
    shape = np.ceil(extent / fine).astype(int) + 1 + 2 * _MARGIN
    start = low + first * cell - _MARGIN * fine
    # Exact near the surface; elsewhere the first grid's values are good enough.
    points = grid_points(start, fine, shape)
    distance = ndimage.map_coordinates(coarse, (points - low).T / cell, order=1, mode="nearest")
    near = np.abs(distance) < 2 * cell
    distance[near] = hull_distances(cameras, silhouettes, points[near])
    # Beyond that room nothing was asked: rays must enter the box through free space.
    distance = np.maximum(distance, np.maximum(low - points, points - high).max(-1))
    return Hull(start, fine, distance.astype(np.float32).reshape(shape), _REACH_CELLS * fine)


def _ball(centre: Floats, half: float, corners: int) -> Hull:
    """A first guess where no silhouette tells anything: a ball in the middle of the frames."""
    size = 1.2 * half
    cell = 2 * size / (corners - 1 - 2 * _MARGIN)
    low = centre - size - _MARGIN * cell
    shape = (corners,) * 3
    distance = np.linalg.norm(grid_points(low, cell, shape) - centre, axis=-1) - _BALL * half
    return Hull(low, cell, distance.astype(np.float32).reshape(shape), (1.15 - _BALL) * half)


def _signed_pixels(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(h, w) distance to the edge of a region in pixels, negative inside."""
    if inside.all():
        return np.full(inside.shape, -1e6, np.float32)
    if not inside.any():
        return np.full(inside.shape, 1e6, np.float32)
    out = ndimage.distance_transform_edt(~inside) - 0.5
    depth = ndimage.distance_transform_edt(inside) - 0.5
    signed: NDArray[np.float32] = np.where(inside, -depth, out).astype(np.float32)
    return signed


def _seen_sphere(cameras: Sequence[Camera]) -> tuple[Floats, float]:
    """Centre (world N) and radius of what the cameras look at.

    The point nearest to all central rays; a weak pull to the head centre decides the depth
    when all cameras look the same way.
    """
    matrix, right = 1e-3 * np.eye(3), np.zeros(3)
    for camera in cameras:
        axis = camera.directions([camera.width / 2, camera.height / 2])
        away = np.eye(3) - np.outer(axis, axis)
        matrix += away
        right += away @ camera.position
    focus = np.linalg.solve(matrix, right)
    reach = [
        np.linalg.norm(camera.position - focus)
        * max(camera.width / camera.K[0, 0], camera.height / camera.K[1, 1])
        / 2
        for camera in cameras
    ]
    return Z_UP_FROM_HEAD[:3, :3] @ focus, float(np.max(reach))


def carving_views(views: Sequence[int]) -> list[int]:
    """At most 72 of the views, spread over all, for hulls."""
    if len(views) <= _MOST_VIEWS:
        return list(views)
    places = np.linspace(0, len(views) - 1, _MOST_VIEWS).round().astype(int)
    return [views[place] for place in places]


def hull_distances(
    cameras: Sequence[Camera], silhouettes: Sequence[Silhouette], points: Floats
) -> NDArray[np.float32]:
    """(n,) signed distance to the hull; pixel distances become lengths at each depth.

    Args:
        cameras: cameras in head space.
        silhouettes: of each camera.
        points: (n, 3) world N.

    """
    drop = 1 if len(cameras) >= 8 else 0
    rank = len(cameras) - 1 - drop
    out = np.empty(len(points), np.float32)
    for begin in range(0, len(points), _CHUNK):
        chunk = points[begin : begin + _CHUNK] @ HEAD_FROM_Z_UP[:3, :3].T
        beyond_edge = np.empty((len(cameras), len(chunk)), np.float32)
        beyond_frame = np.empty((len(cameras), len(chunk)), np.float32)
        for i, (camera, silhouette) in enumerate(zip(cameras, silhouettes, strict=True)):
            uv, depth = camera.project(chunk)
            uv = np.nan_to_num(uv, nan=-1e6)
            size = np.array([camera.width, camera.height])
            unit = depth / camera.K[0, 0]
            frame = np.max(np.maximum(-uv, uv - size), -1)
            places = np.clip(uv - 0.5, 0, size - 1).T[::-1]
            if silhouette.border is not None:
                border = ndimage.map_coordinates(silhouette.border, places, order=1)
                frame = np.where(frame < 0, border, frame + np.maximum(border, 0))
            beyond_frame[i] = np.where(depth > 0, frame * unit, np.inf)
            sampled = ndimage.map_coordinates(silhouette.edge, places, order=1)
            beyond_edge[i] = np.where((depth > 0) & (frame < 0), sampled * unit, -np.inf)
        worst = np.partition(beyond_edge, rank, axis=0)[rank]
        nearest = np.maximum(worst, np.quantile(beyond_frame, _FRAMES_PART, axis=0))
        out[begin : begin + _CHUNK] = np.clip(nearest, -1e3, 1e3)
    return out


def camera_spread(cameras: Sequence[Camera], centre: Floats) -> float:
    """Largest angle between two cameras, seen from a point in world N, degrees."""
    away = np.array([c.position for c in cameras]) @ Z_UP_FROM_HEAD[:3, :3].T - centre
    # a camera at the very point is refused later, by name
    away /= np.linalg.norm(away, axis=1, keepdims=True).clip(1e-9)
    return float(np.degrees(np.arccos(np.clip(away @ away.T, -1, 1)).max()))


def grid_points(low: Floats, cell: float, shape: Sequence[int]) -> Floats:
    """(nx * ny * nz, 3) positions of a grid's corners, x slowest."""
    index = np.indices(tuple(int(n) for n in shape), np.int32).reshape(3, -1).T
    return low + cell * index
