"""Visual hull of silhouettes, as a signed distance grid in world N (Z up).

The visual hull is the largest shape that agrees with all silhouettes.  It bounds the field's box,
initialises its distances, and limits it: no surface can appear outside.  Computed on the host
with numpy and scipy.
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

_COARSE_CORNERS = 56
"""Corners per axis of the coarse grid that finds the bounds of the hull."""
_CHUNK = 200_000
"""Points whose distances are computed at once."""
_LARGEST_DISTANCE = 1e3
"""Distances are clipped at this many head units, or extents of the points where these are
larger."""
_REACH_CELLS = 2.0
"""Distance outside the hull, cells, at which a fit may still place the surface."""
_BALL_RADIUS = 0.6
"""Radius of the initial ball of views without masks, half frames."""
_LEAST_FRAMES_PART = 1 / 3
"""Part of the views in whose frame a point of the head must lie."""
_SEARCH_HALF_SIDE = 1.25
"""Half side of the cube that is searched, half frames: near parts reach beyond a frame."""
_MOST_VIEWS = 72
"""Most silhouettes that carve a hull: more hardly change it, and each costs time and memory."""
_MARGIN_CELLS = 4
"""Cells kept free around the hull."""
_MOST_ROOM_BEHIND = 6.0
"""Most room behind the searched cube, half sides of the cube."""
_HALF_FRAME_LIMITS = (1e-3, 1e6)
"""Least and largest half frame, head units, that single precision and the field's file can hold."""
_FARTHEST_FOCUS = 3e4
"""Distance of the cameras' focus from the origin, half frames, up to which single precision
resolves a cell."""
_COINCIDENT_CAMERAS = 1e-6
"""Largest distance between two cameras, relative to their largest coordinate, up to which all
cameras count as standing in one place."""
_FACING_COSINE = 0.5
"""Cosine between a camera's central ray and a direction above which it looks that way."""
_UNDECIDED_STIFFNESS = 0.02
"""Eigenvalue per view of the normal equations below which the cameras do not decide their focus
along that direction."""


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
        """(n,) distances at (n, 3) points in world N; points beyond the grid get a large one."""
        indices = (points - self.low).T / self.cell
        outside_value = _LARGEST_DISTANCE * max(1.0, float((self.high - self.low).max()))
        values: Array32 = ndimage.map_coordinates(
            self.distance, indices, order=1, mode="constant", cval=outside_value
        )
        return values

    def save(self, path: Path) -> None:
        """Write an npz file."""
        optional = {} if self.start is None else {"start": self.start}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            distance=self.distance,
            low=self.low,
            cell=self.cell,
            reach=self.reach,
            **optional,
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
    """Silhouette of one view as signed distances in its picture.

    Attributes:
        edge: (h, w) float32, distance to the outline in pixels, negative inside.
        border: (h, w) float32, distance to the border of the valid mask in pixels, negative where
            pixels are valid; None: the whole frame is valid.

    """

    edge: Float[Array32, "h w"]
    border: Float[Array32, "h w"] | None = None

    @classmethod
    def of(cls, mask: UInt8[Pixels, "h w"], valid: Bool[Mask, "h w"] | None = None) -> Silhouette:
        """Silhouette of an alpha mask.

        The borders of picture and valid mask are no outline: a head that they cut continues
        beyond them.

        Args:
            mask: (h, w) uint8.
            valid: (h, w) valid mask; None: all pixels are valid.

        """
        inside = mask >= 128
        if valid is None or valid.all():
            return cls(_signed_pixels(inside))
        if not valid.any():
            nothing = np.full(mask.shape, 1e6, np.float32)
            return cls(-nothing, nothing)
        row, column = ndimage.distance_transform_edt(
            ~valid, return_distances=False, return_indices=True
        )
        return cls(_signed_pixels(inside[row, column]), _signed_pixels(valid))


def visual_hull(
    cameras: Sequence[Camera],
    masks: Sequence[UInt8[Pixels, "_h _w"]],
    corners: int,
    valid: Sequence[Bool[Mask, "_h _w"] | None] | None = None,
    back: float | None = None,
) -> Hull:
    """Hull of masks on a grid with ``corners`` corners along its longest axis.

    A point is inside when it lies inside the silhouettes of the views that see it and in the
    frame of at least a third of them (so a bust cut by the frame ends there).  From eight views
    on, one silhouette may disagree: one bad matte does not cut a hole through the head.

    Where every mask is full, as of views without masks, a ball stands in for the hull.

    Args:
        cameras: cameras in head space.
        masks: (h, w) uint8 alpha of each.
        corners: corners along the longest axis of the grid.
        valid: (h, w) valid mask of each; None: all pixels are valid.
        back: y in world N up to which the hull may extend, for a head whose back lies behind the
            searched cube; None: not beyond the cube.

    Raises:
        Dp3dError: ``viewset.invalid`` if the cameras look at no common place, or if the
            silhouettes have no common volume.

    """
    centre, half = _seen_sphere(cameras)
    _check_focus(cameras, centre, half)
    silhouettes = [
        Silhouette.of(mask, view_valid)
        for mask, view_valid in zip(masks, valid or [None] * len(masks), strict=True)
    ]
    if all(silhouette.edge.max() < 0 for silhouette in silhouettes):
        return _ball_hull(centre, half, corners)
    half *= _SEARCH_HALF_SIDE
    low, high, cell = centre - half, centre + half, 2 * half / (_COARSE_CORNERS - 1)
    if back is not None:
        high[1] = max(high[1], min(back, high[1] + _MOST_ROOM_BEHIND * half))
    coarse_shape = [int(n) + 1 for n in np.ceil((high - low) / cell - 1e-6)]
    coarse = hull_distances(cameras, silhouettes, grid_points(low, cell, coarse_shape)).reshape(
        coarse_shape
    )
    if coarse.min() >= 0:
        raise _invalid(
            "its masks and cameras have no volume in common",
            "Check that the cameras belong to these frames, or generate the views again.",
        )
    # A rim is included, as thin parts may pass between two corners; other components are not.
    labels, _ = ndimage.label(coarse < cell / 2)
    inside = np.argwhere(labels == labels.flat[coarse.argmin()])
    first_corner, last_corner = inside.min(0) - 1, inside.max(0) + 1
    extent = (last_corner - first_corner) * cell
    fine_cell = float(extent.max()) / max(1, corners - 1 - 2 * _MARGIN_CELLS)
    shape = np.ceil(extent / fine_cell).astype(int) + 1 + 2 * _MARGIN_CELLS
    start = low + first_corner * cell - _MARGIN_CELLS * fine_cell
    # Exact near the surface; elsewhere interpolated from the coarse grid.
    points = grid_points(start, fine_cell, shape)
    distance = ndimage.map_coordinates(coarse, (points - low).T / cell, order=1, mode="nearest")
    near_surface = np.abs(distance) < 2 * cell
    distance[near_surface] = hull_distances(cameras, silhouettes, points[near_surface])
    # Beyond the searched room the hull is unknown, and rays must enter the box through free space.
    distance = np.maximum(distance, np.maximum(low - points, points - high).max(-1))
    return Hull(
        start, fine_cell, distance.astype(np.float32).reshape(shape), _REACH_CELLS * fine_cell
    )


def _ball_hull(centre: Float[Array, " 3"], half: float, corners: int) -> Hull:
    """A ball at the cameras' focus, in place of the hull of views without silhouettes."""
    size = 1.2 * half
    cell = 2 * size / (corners - 1 - 2 * _MARGIN_CELLS)
    low = centre - size - _MARGIN_CELLS * cell
    shape = (corners,) * 3
    distance = np.linalg.norm(grid_points(low, cell, shape) - centre, axis=-1) - _BALL_RADIUS * half
    return Hull(low, cell, distance.astype(np.float32).reshape(shape), (1.15 - _BALL_RADIUS) * half)


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
    """(3,) focus of the cameras in world N, and the largest half frame there, head units.

    The focus is the point nearest to all central rays.  Along directions that the rays do not
    decide, as when all cameras look the same way, it is pulled to the origin.
    """
    matrix, right_side = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        ray = _central_ray(camera)
        projection = np.eye(3) - np.outer(ray, ray)
        matrix += projection
        right_side += projection @ camera.position
    stiffness, directions = np.linalg.eigh(matrix)
    regularisation = np.where(stiffness < _UNDECIDED_STIFFNESS * len(cameras), 1e-3, 0.0)
    focus = directions @ ((directions.T @ right_side) / (stiffness + regularisation))
    radii = [
        np.linalg.norm(camera.position - focus)
        * max(camera.width / camera.K[0, 0], camera.height / camera.K[1, 1])
        / 2
        for camera in cameras
    ]
    return Z_UP_FROM_HEAD[:3, :3] @ focus, float(np.max(radii))


def _central_ray(camera: Camera) -> Float[Array, " 3"]:
    """(3,) unit direction through the middle of a camera's frame, head space."""
    return camera.directions([camera.width / 2, camera.height / 2])


def _check_focus(cameras: Sequence[Camera], centre: Float[Array, " 3"], half: float) -> None:
    """Refuse cameras without a common focus, or with one that no field can hold.

    Args:
        cameras: cameras in head space.
        centre: (3,) focus, world N.
        half: half a frame at the focus, head units.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    positions = np.array([camera.position for camera in cameras])
    baseline = np.linalg.norm(positions - positions[0], axis=1).max()
    if baseline <= _COINCIDENT_CAMERAS * np.abs(positions).max():
        raise _invalid(
            "all its cameras look from one place, which shows no depth",
            "Give views from several sides; 32 around the head are a good number.",
        )
    to_centre = HEAD_FROM_Z_UP[:3, :3] @ centre - positions
    along = np.einsum("ij,ij->i", to_centre, np.array([_central_ray(camera) for camera in cameras]))
    facing = int((along > _FACING_COSINE * np.linalg.norm(to_centre, axis=1)).sum())
    if facing < max(2, _LEAST_FRAMES_PART * len(cameras)):
        raise _invalid(
            f"only {facing} of {len(cameras)} cameras look towards the place that is nearest to "
            "all their axes: the others stand inside what they should see or look away from it, "
            "or one of them lies far off",
            "Check that the poses are camera-to-world with the axes that cameras.json names, and "
            "that the cameras stand around the head and look at it.",
        )
    if not _HALF_FRAME_LIMITS[0] <= half <= _HALF_FRAME_LIMITS[1]:
        raise _invalid(
            f"its cameras show about {2 * half:.1g} head units from side to side",
            "Scale the positions of the cameras: a head is about half a unit high.",
        )
    if np.linalg.norm(centre) > _FARTHEST_FOCUS * half:
        raise _invalid(
            f"what its cameras look at lies {np.linalg.norm(centre):.1g} head units from the "
            f"origin and is only about {2 * half:.1g} wide, which single precision cannot resolve",
            "Move the cameras so that the head lies near the origin.",
        )


def _invalid(why: str, remedy: str) -> Dp3dError:
    return Dp3dError("viewset.invalid", f"The view set cannot be used: {why}.", remedy)


def carving_views(views: Sequence[int]) -> list[int]:
    """At most 72 views, spread evenly over all, that carve a hull."""
    if len(views) <= _MOST_VIEWS:
        return list(views)
    indices = np.linspace(0, len(views) - 1, _MOST_VIEWS).round().astype(int)
    return [views[index] for index in indices]


def hull_distances(
    cameras: Sequence[Camera], silhouettes: Sequence[Silhouette], points: Float[Array, "n 3"]
) -> Float[Array32, " n"]:
    """(n,) signed distances to the hull, head units: pixel distances scaled by depth.

    Args:
        cameras: cameras in head space.
        silhouettes: one for each camera.
        points: (n, 3) world N.

    """
    outliers = 1 if len(cameras) >= 8 else 0
    rank = len(cameras) - 1 - outliers
    distances = np.empty(len(points), np.float32)
    extent = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    largest = _LARGEST_DISTANCE * max(1.0, extent)
    # finite, since a quantile between two infinite numbers is NaN
    unseen = np.float32(1e12 * largest)
    for begin in range(0, len(points), _CHUNK):
        chunk = points[begin : begin + _CHUNK] @ HEAD_FROM_Z_UP[:3, :3].T
        beyond_edge = np.empty((len(cameras), len(chunk)), np.float32)
        beyond_frame = np.empty((len(cameras), len(chunk)), np.float32)
        for i, (camera, silhouette) in enumerate(zip(cameras, silhouettes, strict=True)):
            uv, depth = camera.project(chunk)
            uv = np.nan_to_num(uv, nan=-1e6)
            size = np.array([camera.width, camera.height])
            units_per_pixel = depth / camera.K[0, 0]
            frame = np.max(np.maximum(-uv, uv - size), -1)
            pixels = np.clip(uv - 0.5, 0, size - 1).T[::-1]
            if silhouette.border is not None:
                border = ndimage.map_coordinates(silhouette.border, pixels, order=1)
                frame = np.where(frame < 0, border, frame + np.maximum(border, 0))
            beyond_frame[i] = np.where(depth > 0, frame * units_per_pixel, unseen)
            sampled = ndimage.map_coordinates(silhouette.edge, pixels, order=1)
            beyond_edge[i] = np.where((depth > 0) & (frame < 0), sampled * units_per_pixel, -np.inf)
        worst = np.partition(beyond_edge, rank, axis=0)[rank]
        nearest = np.maximum(worst, np.quantile(beyond_frame, _LEAST_FRAMES_PART, axis=0))
        distances[begin : begin + _CHUNK] = np.clip(nearest, -largest, largest)
    return distances


def camera_spread(cameras: Sequence[Camera], centre: Float[Array, " 3"]) -> float:
    """Largest angle between two cameras, seen from a point in world N, degrees."""
    directions = (
        np.array([camera.position for camera in cameras]) @ Z_UP_FROM_HEAD[:3, :3].T - centre
    )
    # a camera at the centre itself is refused later (consistency.check_cameras)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-9)
    return float(np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1)).max()))


def grid_points(low: Float[Array, " 3"], cell: float, shape: Sequence[int]) -> Float[Array, "n 3"]:
    """(nx * ny * nz, 3) positions of a grid's corners, x slowest."""
    index = np.indices(tuple(int(n) for n in shape), np.int32).reshape(3, -1).T
    return low + cell * index
