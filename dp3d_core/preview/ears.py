"""Ears that no hair covers: hair of usual length grows around them, not over them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import MM
from dp3d_core.mesh import unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.panorama import Panorama
from dp3d_core.preview.parsing import Kind, Parsing
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]

_FACING = 0.15
"""Cosine above which a place of an ear is seen."""
_LEAST = 12
"""Vertices of an ear of which fewer say nothing."""
_COVERED, _TUCKED, _PLAIN = 0.55, 0.15, 0.3
"""Share of hair on a seen ear above which it is covered, above which it is where hair hangs, and
below which it surely is free."""
_STANDS = 3.0
"""Millimetres by which an ear stands off the skull where hair leaves it free."""
_TIP, _HAIR_ABOVE, _NO_EDGE = 0.3, 0.8, np.inf
"""Least part of an ear, from its tip, that hair covers where it covers any, chance of hair on it
and of skin below it from which on it does, and height of its edge where it does not."""
_LIFT = 0.004
_OUTER, _MOST_MM = 0.6, 9.0
"""Part of an ear's way out from which on it belongs to its rim, and the farthest that it is moved,
millimetres."""


def free_ears(
    portrait: Portrait,
    parsing: Parsing,
    bald: RayCaster,
    hangs: NDArray[np.bool_],
    skull: Array,
    grid: Panorama,
) -> Array:
    """(rows, columns) 1 on ears that stand free, 0 elsewhere.

    Args:
        portrait: with a pose.
        parsing: of the portrait.
        bald: the head without hair, its vertices those of ``heads.bust``.
        hangs: (2,) whether hair hangs beside the neck on -x and +x.
        skull: (rows, columns) radius of the head without ears, head units.
        grid: of the result.

    """
    covered = _hair_over_ears(portrait, parsing, bald)
    # of an ear that is not seen the other one tells; of neither, the length of the hair
    sides = [
        next((c for c in (own, other) if c is not None), (float(long), _NO_EDGE))
        for own, other, long in zip(covered, covered[::-1], hangs, strict=True)
    ]
    hits = bald.cast(*grid.inward())
    corner = bald.mesh.faces[hits.face, hits.weights.argmax(1)]
    levels = np.full(grid.rows * grid.columns, -np.inf)
    levels[hits.ray] = hits.points[:, 1]
    height = levels.reshape(grid.rows, grid.columns)
    stands = grid.radius(hits.points) > skull.ravel()[hits.ray] + _STANDS * MM
    ear = hits.ray[(bust().region[corner] == BustRegion.EAR) & stands]
    flat = np.zeros(grid.rows * grid.columns, np.float32)
    flat[ear] = 1.0
    mask = np.asarray(flat.reshape(grid.rows, grid.columns))
    limits = np.where(hangs, _TUCKED, _COVERED)
    if not hangs.any() and min(share for share, _ in sides) < _PLAIN:
        limits = np.ones(2)  # short hair that leaves one ear free leaves the other free
    half = grid.columns // 2
    free = np.zeros_like(mask)
    for columns, (share, edge), limit in zip(
        (slice(0, half), slice(half, None)), sides, limits, strict=True
    ):
        if share < limit:
            free[:, columns] = _filled(mask[:, columns]) * (height[:, columns] < edge)
    soft = cv2.GaussianBlur(free, (0, 0), 0.8)
    return np.clip(np.asarray(soft, np.float64) * 1.4, 0, 1)


def even_ears(before: Array, after: Array) -> Array:
    """(n, 3) vertices of a bare head whose ears were moved as wholes, from their roots.

    An outline moves the rims of ears, each vertex by itself: it would pull tips out of them.

    Args:
        before: (n, 3) head units, before the outline was met.
        after: (n, 3) head units, after.

    """
    even = after.copy()
    ear = bust().region == BustRegion.EAR
    for side in (-1, 1):
        own = np.flatnonzero(ear & (before[:, 0] * side > 0))
        aside = before[own, 0] * side
        root, tip = np.quantile(aside, [0.1, 0.95])
        share = np.clip((aside - root) / max(tip - root, 1e-6), 0, 1.2)
        # what stands out moves as the outline asks, the rest along with it
        outer = share > _OUTER
        move = np.median((after - before)[own][outer], axis=0)
        move *= min(1.0, _MOST_MM * MM / max(float(np.linalg.norm(move)), 1e-9))
        even[own] = before[own] + move * share[:, None]
    return even


def _filled(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """A mask (r, c) with its convex hull filled: the bowl of an ear belongs to it."""
    rows, columns = np.nonzero(mask)
    filled = np.zeros(mask.shape, np.uint8)
    if len(rows) > 2:
        hull = cv2.convexHull(np.stack([columns, rows], -1).astype(np.int32))
        cv2.fillConvexPoly(filled, hull, 1)
    return filled.astype(np.float32)


def _hair_over_ears(
    portrait: Portrait, parsing: Parsing, bald: RayCaster
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Of the ears on -x and +x the share that is hair, and the height where hair ends; None where
    an ear is not seen.
    """
    mesh, camera = bald.mesh, portrait.camera
    own = np.flatnonzero(bust().region == BustRegion.EAR)
    points, normals = mesh.vertices[own], mesh.normals[own]
    towards = unit(camera.position - points)
    seen = np.einsum("ni,ni->n", towards, normals) > _FACING
    seen &= ~bald.blocked(points + _LIFT * normals, towards)
    uv, _ = camera.project(points)
    seen &= portrait.shows(uv)
    chances = parsing.at(uv, camera.width)
    seen &= chances[:, Kind.BACKGROUND] < 0.5
    hair = chances[:, Kind.HAIR] / np.maximum(1 - chances[:, Kind.BACKGROUND], 0.15)
    shares = []
    for side in (-1, 1):
        mine = seen & (points[:, 0] * side > 0)
        answer = None
        if mine.sum() >= _LEAST:
            answer = float(np.median(hair[mine])), _end_of_hair(points[mine, 1], hair[mine])
        shares.append(answer)
    return shares[0], shares[1]


def _end_of_hair(height: Array, hair: Array) -> float:
    """Height above which an ear is hair: hair often covers its upper half."""
    order = np.argsort(height)
    high, covered = height[order], hair[order]
    # hair below an edge and skin above it are both wrong
    below = np.concatenate([[0.0], np.cumsum(covered)])
    above = np.concatenate([np.cumsum((1 - covered)[::-1])[::-1], [0.0]])
    edge = int(np.argmin(below + above))
    if not _TIP * len(high) < len(high) - edge < len(high):
        return _NO_EDGE
    clear = covered[edge:].mean() > _HAIR_ABOVE and covered[:edge].mean() < 1 - _HAIR_ABOVE
    return float(high[edge]) if clear else _NO_EDGE
