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
from scipy import ndimage

from dp3d_core.arrays import Array, Array32, Bool, Float, Mask, Pixels, UInt8
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Z_UP_FROM_HEAD, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import write_atomic

_COARSE = 56
"""Corners per axis of the grid that only finds the bounds."""
_CHUNK = 200_000
_LARGEST = 1e3
"""Distances are cut off here: head units, or sizes of what is asked for where that is larger."""
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
_ROOM_BEHIND = 6.0
"""Room behind what the cameras look at, at most, half frames."""
_HALF_FRAMES = (1e-3, 1e6)
"""Half frames, head units, of a world that single precision and the field's file can hold."""
_FARTHEST = 3e4
"""Distance of what is seen from the origin, half frames, up to which single precision resolves a
cell."""
_ONE_PLACE = 1e-6
"""Distance between cameras, over that from the origin, up to which they stand in one place."""
_TOWARDS = 0.5
"""Cosine between a camera's axis and a place from which it looks towards that place."""
_UNCERTAIN = 0.02
"""Part of the views' weight along a direction below which they do not tell where they look."""


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

    low: Float[Array, " 3"]
    cell: float
    distance: Float[Array32, "nx ny nz"]
    reach: float
    start: Float[Array32, "nx ny nz"] | None = None

    @property
    def middle(self) -> Float[Array, " 3"]:
        """(3,) position of the grid's middle."""
        return (self.low + self.high) / 2

    @property
    def high(self) -> Float[Array, " 3"]:
        """(3,) position of the last corner."""
        return self.low + self.cell * (np.array(self.distance.shape) - 1)

    def at(self, points: Float[Array, "n 3"]) -> Float[Array32, " n"]:
        """(n,) distances at (n, 3) points in world N; beyond the grid they are far outside."""
        places = (points - self.low).T / self.cell
        far = _LARGEST * max(1.0, float((self.high - self.low).max()))
        values: Array32 = ndimage.map_coordinates(
            self.distance, places, order=1, mode="constant", cval=far
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

    edge: Float[Array32, "h w"]
    border: Float[Array32, "h w"] | None = None

    @classmethod
    def of(cls, mask: UInt8[Pixels, "h w"], known: Bool[Mask, "h w"] | None = None) -> Silhouette:
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
    masks: Sequence[UInt8[Pixels, "_h _w"]],
    corners: int,
    known: Sequence[Bool[Mask, "_h _w"] | None] | None = None,
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
        Dp3dError: ``viewset.invalid`` if the cameras look at no common place, or if the
            silhouettes have no common volume.

    """
    centre, half = _seen_sphere(cameras)
    _check_sphere(cameras, centre, half)
    silhouettes = [
        Silhouette.of(mask, part)
        for mask, part in zip(masks, known or [None] * len(masks), strict=True)
    ]
    if all(silhouette.edge.max() < 0 for silhouette in silhouettes):
        return _ball(centre, half, corners)
    half *= _CUBE
    low, high, cell = centre - half, centre + half, 2 * half / (_COARSE - 1)
    if back is not None:
        high[1] = max(high[1], min(back, high[1] + _ROOM_BEHIND * half))
    room = [int(n) + 1 for n in np.ceil((high - low) / cell - 1e-6)]
    coarse = hull_distances(cameras, silhouettes, grid_points(low, cell, room)).reshape(room)
    if coarse.min() >= 0:
        raise _invalid(
            "its masks and cameras have no volume in common",
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


def _ball(centre: Float[Array, " 3"], half: float, corners: int) -> Hull:
    """A first guess where no silhouette tells anything: a ball in the middle of the frames."""
    size = 1.2 * half
    cell = 2 * size / (corners - 1 - 2 * _MARGIN)
    low = centre - size - _MARGIN * cell
    shape = (corners,) * 3
    distance = np.linalg.norm(grid_points(low, cell, shape) - centre, axis=-1) - _BALL * half
    return Hull(low, cell, distance.astype(np.float32).reshape(shape), (1.15 - _BALL) * half)


def _signed_pixels(inside: Bool[Mask, "h w"]) -> Float[Array32, "h w"]:
    """(h, w) distance to the edge of a region in pixels, negative inside."""
    if inside.all():
        return np.full(inside.shape, -1e6, np.float32)
    if not inside.any():
        return np.full(inside.shape, 1e6, np.float32)
    out = ndimage.distance_transform_edt(~inside) - 0.5
    depth = ndimage.distance_transform_edt(inside) - 0.5
    signed: Array32 = np.where(inside, -depth, out).astype(np.float32)
    return signed


def _seen_sphere(cameras: Sequence[Camera]) -> tuple[Float[Array, " 3"], float]:
    """Centre (world N) and radius of what the cameras look at.

    The point nearest to all central rays; along a direction that they do not decide, as when all
    cameras look the same way, it is pulled to the head centre.
    """
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        axis = _axis(camera)
        away = np.eye(3) - np.outer(axis, axis)
        matrix += away
        right += away @ camera.position
    stiffness, directions = np.linalg.eigh(matrix)
    pull = np.where(stiffness < _UNCERTAIN * len(cameras), 1e-3, 0.0)
    focus = directions @ ((directions.T @ right) / (stiffness + pull))
    reach = [
        np.linalg.norm(camera.position - focus)
        * max(camera.width / camera.K[0, 0], camera.height / camera.K[1, 1])
        / 2
        for camera in cameras
    ]
    return Z_UP_FROM_HEAD[:3, :3] @ focus, float(np.max(reach))


def _axis(camera: Camera) -> Float[Array, " 3"]:
    """(3,) unit direction through the middle of a camera's frame, head space."""
    return camera.directions([camera.width / 2, camera.height / 2])


def _check_sphere(cameras: Sequence[Camera], centre: Float[Array, " 3"], half: float) -> None:
    """Refuse cameras that look at no common place, or at one that no field can hold.

    Args:
        cameras: cameras in head space.
        centre: (3,) world N, nearest to the central rays.
        half: half a frame there, head units.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    places = np.array([camera.position for camera in cameras])
    apart = np.linalg.norm(places - places[0], axis=1).max()
    if apart <= _ONE_PLACE * np.abs(places).max():
        raise _invalid(
            "all its cameras look from one place, which shows no depth",
            "Give views from several sides; 32 around the head are a good number.",
        )
    to_centre = HEAD_FROM_Z_UP[:3, :3] @ centre - places
    along = np.einsum("ij,ij->i", to_centre, np.array([_axis(camera) for camera in cameras]))
    seeing = int((along > _TOWARDS * np.linalg.norm(to_centre, axis=1)).sum())
    if seeing < max(2, _FRAMES_PART * len(cameras)):
        raise _invalid(
            f"only {seeing} of {len(cameras)} cameras look towards the place that is nearest to "
            "all their axes: the others stand inside what they should see or look away from it, "
            "or one of them lies far off",
            "Check that the poses are camera-to-world with the axes that cameras.json names, and "
            "that the cameras stand around the head and look at it.",
        )
    if not _HALF_FRAMES[0] <= half <= _HALF_FRAMES[1]:
        raise _invalid(
            f"its cameras show about {2 * half:.1g} head units from side to side",
            "Scale the positions of the cameras: a head is about half a unit high.",
        )
    if np.linalg.norm(centre) > _FARTHEST * half:
        raise _invalid(
            f"what its cameras look at lies {np.linalg.norm(centre):.1g} head units from the "
            f"origin and is only about {2 * half:.1g} wide, which single precision cannot resolve",
            "Move the cameras so that the head lies near the origin.",
        )


def _invalid(why: str, remedy: str) -> Dp3dError:
    return Dp3dError("viewset.invalid", f"The view set cannot be used: {why}.", remedy)


def carving_views(views: Sequence[int]) -> list[int]:
    """At most 72 of the views, spread over all, for hulls."""
    if len(views) <= _MOST_VIEWS:
        return list(views)
    places = np.linspace(0, len(views) - 1, _MOST_VIEWS).round().astype(int)
    return [views[place] for place in places]


def hull_distances(
    cameras: Sequence[Camera], silhouettes: Sequence[Silhouette], points: Float[Array, "n 3"]
) -> Float[Array32, " n"]:
    """(n,) signed distance to the hull; pixel distances become lengths at each depth.

    Args:
        cameras: cameras in head space.
        silhouettes: of each camera.
        points: (n, 3) world N.

    """
    drop = 1 if len(cameras) >= 8 else 0
    rank = len(cameras) - 1 - drop
    out = np.empty(len(points), np.float32)
    extent = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    largest = _LARGEST * max(1.0, extent)
    # finite: between two infinite numbers the quantile is none
    unseen = np.float32(1e12 * largest)
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
            beyond_frame[i] = np.where(depth > 0, frame * unit, unseen)
            sampled = ndimage.map_coordinates(silhouette.edge, places, order=1)
            beyond_edge[i] = np.where((depth > 0) & (frame < 0), sampled * unit, -np.inf)
        worst = np.partition(beyond_edge, rank, axis=0)[rank]
        nearest = np.maximum(worst, np.quantile(beyond_frame, _FRAMES_PART, axis=0))
        out[begin : begin + _CHUNK] = np.clip(nearest, -largest, largest)
    return out


def camera_spread(cameras: Sequence[Camera], centre: Float[Array, " 3"]) -> float:
    """Largest angle between two cameras, seen from a point in world N, degrees."""
    away = np.array([c.position for c in cameras]) @ Z_UP_FROM_HEAD[:3, :3].T - centre
    # a camera at the very point is refused later, by name
    away /= np.linalg.norm(away, axis=1, keepdims=True).clip(1e-9)
    return float(np.degrees(np.arccos(np.clip(away @ away.T, -1, 1)).max()))


def grid_points(low: Float[Array, " 3"], cell: float, shape: Sequence[int]) -> Float[Array, "n 3"]:
    """(nx * ny * nz, 3) positions of a grid's corners, x slowest."""
    index = np.indices(tuple(int(n) for n in shape), np.int32).reshape(3, -1).T
    return low + cell * index
