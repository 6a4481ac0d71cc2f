"""How well views of one head agree with each other; no truth is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from dp3d_core.cameras import Camera
from dp3d_core.raycast import RayCaster

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Pair = tuple[int, int]
Known = NDArray[np.bool_] | None

_SAME_PLACE = 0.01
"""Head units: a point is seen where the first surface on its ray is no nearer than this."""
_FACING = 0.35
"""Cosine: surfaces that a camera sees more grazingly do not count, their pixels are smears."""


def neighbour_differences(
    frames: Sequence[Pixels], pairs: Sequence[Pair], known: Sequence[Known] | None = None
) -> Array:
    """Mean absolute difference of the frames of each pair, 0 to 1.

    Args:
        frames: (h, w, 3) uint8 of one size.
        pairs: of neighbours along the path, see ``trajectories.neighbours``.
        known: (h, w) bool each, pixels that count; None: all.

    Returns:
        One number a pair; nan where nothing is known of both.

    """
    found = []
    for i, j in pairs:
        away = np.abs(frames[i].astype(np.int16) - frames[j]).mean(-1) / 255
        both = np.ones(away.shape, bool)
        for index in (i, j):
            if known is not None and (part := known[index]) is not None:
                both &= part
        found.append(away[both].mean() if both.any() else np.nan)
    return np.array(found)


def block_edges(pairs: Sequence[Pair], window: int) -> list[Pair]:
    """Pairs across blocks of so many views from the first on, as the published code has them."""
    return [(i, j) for i, j in pairs if i // window != j // window]


def seam_ratio(
    frames: Sequence[Pixels],
    pairs: Sequence[Pair],
    edges: Sequence[Pair],
    known: Sequence[Known] | None = None,
) -> float:
    """Difference of neighbours across the edges of windows over that inside windows.

    1: nobody can tell where windows meet; for evenly spaced cameras.

    Args:
        frames: see :func:`neighbour_differences`.
        pairs: likewise.
        edges: those of the pairs where a window ends, see :func:`block_edges`; a view set tells
            its own (``pipelines.windows.window_edges``).
        known: see :func:`neighbour_differences`.

    Returns:
        nan when there is no edge, or nothing inside.

    """
    found = neighbour_differences(frames, pairs, known)
    across = {tuple(sorted(edge)) for edge in edges}
    boundary = np.array([tuple(sorted(pair)) in across for pair in pairs], bool)
    some = np.isfinite(found)
    boundary, inside = boundary & some, ~boundary & some
    if not boundary.any() or not inside.any():
        return float("nan")
    return float(found[boundary].mean() / max(float(found[inside].mean()), 1e-9))


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
    pairs: Sequence[Pair],
    known: Sequence[Known] | None = None,
) -> Reprojection:
    """Carry each view's colours over a surface into the next view and compare.

    Args:
        frames: (h, w, 3) uint8, each of its camera's size.
        cameras: of the frames, head space.
        caster: of the head's surface: a fit's mesh, the preview engine's head, the truth.
        pairs: of neighbours along the path.
        known: (h, w) bool each, pixels that count; None: all.

    """
    errors, asked, seen = 0.0, 0, 0
    for i, j in pairs:
        camera, other = cameras[i], cameras[j]
        directions = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        if known is not None and (here_known := known[i]) is not None:
            directions = directions[here_known.ravel()]
            pixels = frames[i][here_known]
        else:
            pixels = frames[i].reshape(-1, 3)
        hits = caster.cast(camera.position, directions)
        asked += len(hits.ray)
        towards = other.position - hits.points
        distance = np.linalg.norm(towards, axis=1)
        facing = np.einsum("ni,ni->n", towards, hits.normals) > _FACING * distance
        facing &= -np.einsum("ni,ni->n", hits.directions, hits.normals) > _FACING
        uv, depth = other.project(hits.points)
        inside = (uv >= 0.5).all(1) & (uv[:, 0] <= other.width - 0.5)
        inside &= (uv[:, 1] <= other.height - 0.5) & (depth > 0)
        if known is not None and (there_known := known[j]) is not None:
            # all four pixels that a colour is mixed from
            places = np.nan_to_num(uv[:, ::-1].T - 0.5)
            whole = map_coordinates(there_known.astype(np.float32), places, order=1)
            inside &= whole > 0.999
        candidates = np.flatnonzero(facing & inside)
        rays = -towards[candidates] / distance[candidates, None]
        first = caster.cast(other.position, rays)
        reached = np.full(len(candidates), np.inf)
        reached[first.ray] = first.distance
        shown = candidates[reached > distance[candidates] - _SAME_PLACE]
        seen += len(shown)
        here = pixels[hits.ray[shown]] / 255.0
        at = uv[shown, ::-1].T - 0.5
        there = np.stack(
            [map_coordinates(frames[j][..., c] / 255.0, at, order=1) for c in range(3)], -1
        )
        errors += float(((here - there) ** 2).sum())
    if not seen:
        return Reprojection(float("nan"), 0.0)
    mean = errors / (3 * seen)
    return Reprojection(float(-10 * np.log10(max(mean, 1e-10))), seen / max(1, asked))
