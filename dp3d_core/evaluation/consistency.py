"""Consistency of the views of one head with each other, without ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from dp3d_core.arrays import Array, Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.viewsets.psnr import psnr

Pair = tuple[int, int]
"""Indices of two views."""
ValidMask = Mask | None
"""(h, w) pixels of a view that count; None for all."""

_DEPTH_TOLERANCE = 0.01
"""Distance in front of a point, head units, within which a surface does not occlude it."""
_MIN_FACING = 0.35
"""Least cosine between normal and view direction: pixels of grazing surfaces are smeared."""


def neighbour_differences(
    frames: Sequence[Pixels], pairs: Sequence[Pair], valid: Sequence[ValidMask] | None = None
) -> Array:
    """Mean absolute difference of the frames of each pair, 0 to 1.

    Args:
        frames: (h, w, 3) uint8 each, of one size.
        pairs: neighbours along the path (``trajectories.neighbours``).
        valid: valid mask of each frame; None if all pixels count.

    Returns:
        (pairs,) differences; nan where no pixel is valid in both frames.

    """
    differences = []
    for i, j in pairs:
        difference = np.abs(frames[i].astype(np.int16) - frames[j]).mean(-1) / 255
        both = np.ones(difference.shape, bool)
        for index in (i, j):
            if valid is not None and (mask := valid[index]) is not None:
                both &= mask
        differences.append(difference[both].mean() if both.any() else np.nan)
    return np.array(differences)


def block_edges(pairs: Sequence[Pair], window: int) -> list[Pair]:
    """Pairs across the edges of consecutive blocks of ``window`` views (the published code's)."""
    return [(i, j) for i, j in pairs if i // window != j // window]


def seam_ratio(
    frames: Sequence[Pixels],
    pairs: Sequence[Pair],
    edges: Sequence[Pair],
    valid: Sequence[ValidMask] | None = None,
) -> float:
    """Mean difference of neighbours across window edges over that inside windows.

    For evenly spaced cameras, 1 means that window edges are invisible.

    Args:
        frames: (h, w, 3) uint8 each, of one size.
        pairs: neighbours along the path (``trajectories.neighbours``).
        edges: pairs across window edges: of :func:`block_edges`, or those that a view set records
            (``pipelines.windows.window_edges``).
        valid: valid mask of each frame; None if all pixels count.

    Returns:
        The ratio; nan without pairs of either kind.

    """
    differences = neighbour_differences(frames, pairs, valid)
    across = {tuple(sorted(edge)) for edge in edges}
    boundary = np.array([tuple(sorted(pair)) in across for pair in pairs], bool)
    is_finite = np.isfinite(differences)
    boundary, inside = boundary & is_finite, ~boundary & is_finite
    if not boundary.any() or not inside.any():
        return float("nan")
    return float(differences[boundary].mean() / max(float(differences[inside].mean()), 1e-9))


@dataclass(frozen=True)
class Reprojection:
    """Agreement of neighbouring views on the surface that both see."""

    psnr: float
    """PSNR over all points of all pairs, dB; nan if no point is visible in both."""
    overlap: float
    """Fraction of the head's pixels that are visible in the neighbouring view."""


def reprojection(
    frames: Sequence[Pixels],
    cameras: Sequence[Camera],
    caster: RayCaster,
    pairs: Sequence[Pair],
    valid: Sequence[ValidMask] | None = None,
) -> Reprojection:
    """Colours of each surface point in two neighbouring views, compared by PSNR.

    The pixels of a frame are cast onto the surface, projected into the neighbouring view and
    sampled there bilinearly; points that either view sees at a grazing angle, and points that are
    occluded in the neighbour, do not count.

    Args:
        frames: (h, w, 3) uint8, each of its camera's size.
        cameras: cameras of the frames, head space.
        caster: ray caster of the head's surface: mesh of a fit, preview head, or true head.
        pairs: neighbours along the path (``trajectories.neighbours``).
        valid: (h, w) bool valid mask of each frame; None if all pixels count.

    Returns:
        PSNR over all pairs in dB, and the fraction of the head's pixels that were compared.

    """
    errors, total, visible_count = 0.0, 0, 0
    for i, j in pairs:
        camera, other = cameras[i], cameras[j]
        directions = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        if valid is not None and (own_valid := valid[i]) is not None:
            directions = directions[own_valid.ravel()]
            pixels = frames[i][own_valid]
        else:
            pixels = frames[i].reshape(-1, 3)
        hits = caster.cast(camera.position, directions)
        total += len(hits.ray)
        to_other = other.position - hits.points
        distance = np.linalg.norm(to_other, axis=1)
        facing = np.einsum("ni,ni->n", to_other, hits.normals) > _MIN_FACING * distance
        facing &= -np.einsum("ni,ni->n", hits.directions, hits.normals) > _MIN_FACING
        uv, depth = other.project(hits.points)
        inside = (uv >= 0.5).all(1) & (uv[:, 0] <= other.width - 0.5)
        inside &= (uv[:, 1] <= other.height - 0.5) & (depth > 0)
        if valid is not None and (other_valid := valid[j]) is not None:
            # all four pixels of the bilinear sample must be valid
            positions = np.nan_to_num(uv[:, ::-1].T - 0.5)
            is_valid = map_coordinates(other_valid.astype(np.float32), positions, order=1)
            inside &= is_valid > 0.999
        candidates = np.flatnonzero(facing & inside)
        rays = -to_other[candidates] / distance[candidates, None]
        first = caster.cast(other.position, rays)
        first_distance = np.full(len(candidates), np.inf)
        first_distance[first.ray] = first.distance
        visible = candidates[first_distance > distance[candidates] - _DEPTH_TOLERANCE]
        visible_count += len(visible)
        own_colours = pixels[hits.ray[visible]] / 255.0
        positions_visible = uv[visible, ::-1].T - 0.5
        other_colours = np.stack(
            [
                map_coordinates(frames[j][..., c] / 255.0, positions_visible, order=1)
                for c in range(3)
            ],
            -1,
        )
        errors += float(((own_colours - other_colours) ** 2).sum())
    if not visible_count:
        return Reprojection(float("nan"), 0.0)
    return Reprojection(psnr(errors / (3 * visible_count)), visible_count / max(1, total))
