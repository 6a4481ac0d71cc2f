"""How well views of one head agree with each other; no truth is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from dp3d_core.cameras import Camera
from dp3d_core.raycast import RayCaster

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]

_SAME_PLACE = 0.01
"""Head units: a point is seen where the first surface on its ray is no nearer than this."""
_FACING = 0.35
"""Cosine: surfaces that a camera sees more grazingly do not count, their pixels are smears."""


def neighbour_differences(frames: Sequence[Pixels], closed: bool = False) -> Array:
    """Mean absolute difference of each frame to the next, 0 to 1.

    Args:
        frames: (h, w, 3) uint8 of one size, in the order of the path.
        closed: whether the first follows the last.

    """
    pairs = list(pairwise(frames))
    if closed:
        pairs.append((frames[-1], frames[0]))
    return np.array([np.abs(a.astype(np.int16) - b).mean() / 255 for a, b in pairs])


def block_edges(count: int, window: int, closed: bool = False) -> tuple[int, ...]:
    """Edges of blocks of so many views from the first on, as the published code samples them."""
    inner = range(window - 1, count - 1, window)
    return (*inner, count - 1) if closed else tuple(inner)


def seam_ratio(frames: Sequence[Pixels], edges: Sequence[int], closed: bool = False) -> float:
    """Difference of neighbours across the edges of windows over that inside windows.

    1: nobody can tell where windows meet; for evenly spaced cameras.

    Args:
        frames: see :func:`neighbour_differences`.
        edges: each i where a window ends between view i and the next, see :func:`block_edges`;
            a view set tells its own (``pipelines.windows.window_edges``).
        closed: whether the first follows the last.

    Returns:
        nan when there is no edge, or nothing inside.

    """
    found = neighbour_differences(frames, closed)
    boundary = np.isin(np.arange(len(found)), edges)
    if not boundary.any() or boundary.all():
        return float("nan")
    return float(found[boundary].mean() / max(float(found[~boundary].mean()), 1e-9))


@dataclass(frozen=True)
class Reprojection:
    """Agreement of neighbouring views about the surface that both see."""

    psnr: float
    """dB, over all points of all pairs; nan when no point is seen twice."""
    seen: float
    """Part of the head's pixels that the neighbour sees, too."""


def reprojection(
    frames: Sequence[Pixels],
    cameras: Sequence[Camera],
    caster: RayCaster,
    closed: bool = False,
) -> Reprojection:
    """Carry each view's colours over a surface into the next view and compare.

    Args:
        frames: (h, w, 3) uint8, each of its camera's size.
        cameras: of the frames, head space.
        caster: of the head's surface: a fit's mesh, the preview engine's head, the truth.
        closed: whether the first follows the last.

    """
    pairs = [(i, i + 1) for i in range(len(frames) - 1)]
    if closed:
        pairs.append((len(frames) - 1, 0))
    errors, asked, seen = 0.0, 0, 0
    for i, j in pairs:
        camera, other = cameras[i], cameras[j]
        directions = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = caster.cast(camera.position, directions)
        asked += len(hits.ray)
        towards = other.position - hits.points
        distance = np.linalg.norm(towards, axis=1)
        facing = np.einsum("ni,ni->n", towards, hits.normals) > _FACING * distance
        facing &= -np.einsum("ni,ni->n", hits.directions, hits.normals) > _FACING
        uv, depth = other.project(hits.points)
        inside = (uv >= 0.5).all(1) & (uv[:, 0] <= other.width - 0.5)
        inside &= (uv[:, 1] <= other.height - 0.5) & (depth > 0)
        candidates = np.flatnonzero(facing & inside)
        rays = -towards[candidates] / distance[candidates, None]
        first = caster.cast(other.position, rays)
        reached = np.full(len(candidates), np.inf)
        reached[first.ray] = first.distance
        shown = candidates[reached > distance[candidates] - _SAME_PLACE]
        seen += len(shown)
        here = frames[i].reshape(-1, 3)[hits.ray[shown]] / 255.0
        at = uv[shown, ::-1].T - 0.5
        there = np.stack(
            [map_coordinates(frames[j][..., c] / 255.0, at, order=1) for c in range(3)], -1
        )
        errors += float(((here - there) ** 2).sum())
    if not seen:
        return Reprojection(float("nan"), 0.0)
    mean = errors / (3 * seen)
    return Reprojection(float(-10 * np.log10(max(mean, 1e-10))), seen / max(1, asked))
