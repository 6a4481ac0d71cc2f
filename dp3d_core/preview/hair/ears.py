"""Uncovered ears: found in the photo, left out of the hair, and moved as rigid wholes."""

from __future__ import annotations

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Mask
from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.texture.panorama import Panorama, remap
from dp3d_core.preview.texture.tones import lab

_MIN_FACING = 0.15
"""Least cosine to the camera of a visible vertex."""
_MIN_VERTICES = 12
"""Least number of visible vertices from which an ear is judged."""
_COVERED = 0.55
"""Probability of hair on an ear above which it is covered."""
_TUCKED = 0.15
"""Probability of hair on an ear above which it is covered where hair hangs."""
_UNCOVERED = 0.3
"""Probability of hair on an ear below which short hair leaves the other ear uncovered as well."""
_MIN_OFFSET_MM = 3.0
"""Least distance of an uncovered ear from the skull, millimetres."""
_MIN_UPPER = 0.3
"""Least fraction of an ear, from its top, that hair covers if it covers any."""
_CLEAR = 0.8
"""Least probability of hair above, and of skin below, the edge of hair on an ear."""
_CONTRAST = 20.0
"""Least Lab distance of hair and skin for their colours alone to tell which of them is seen."""
_AROUND = 0.5
"""Margin around an ear in which its hair and skin are sampled, heights of the ear."""
_MIN_PIXELS = 30
"""Least number of pixels from which the colour of hair or skin is taken."""
_CERTAIN = 0.85
"""Probability of hair or skin from which a pixel shows its colour."""
_NO_EDGE = np.inf
"""Height of the edge of hair on an ear that has none."""
_LIFT = 0.004
"""Offset of ray origins from the surface, head units."""
_OUTER = 0.6
"""Distance from the root, relative to the tip, from which a vertex belongs to the rim."""
_MAX_MOVE_MM = 9.0
"""Greatest move of an ear, millimetres."""


def free_ears(
    portrait: Portrait,
    parsing: Parsing,
    bald: RayCaster,
    hangs: Mask,
    skull: Array,
    grid: Panorama,
) -> Array:
    """(rows, columns) 1 on uncovered ears, 0 elsewhere.

    Args:
        portrait: the photo, with its pose.
        parsing: classes of its pixels.
        bald: the head without hair, with the vertices of ``heads.bust``.
        hangs: (2,) bool, whether hair hangs beside the neck on -x and +x.
        skull: (rows, columns) radius of the head without ears, head units.
        grid: panorama of the result.

    """
    covered = _hair_over_ears(portrait, parsing, bald)
    # an invisible ear is like the other one; without either, the length of the hair decides
    sides = [
        next((c for c in (own, other) if c is not None), (float(long), _NO_EDGE))
        for own, other, long in zip(covered, covered[::-1], hangs, strict=True)
    ]
    hits = bald.cast(*grid.inward_rays())
    corner = bald.mesh.faces[hits.face, hits.weights.argmax(1)]
    flat_height = np.full(grid.rows * grid.columns, -np.inf)
    flat_height[hits.ray] = hits.points[:, 1]
    height = flat_height.reshape(grid.rows, grid.columns)
    stands_off = grid.radius(hits.points) > skull.ravel()[hits.ray] + _MIN_OFFSET_MM * MM
    ear = hits.ray[(bust().region[corner] == BustRegion.EAR) & stands_off]
    flat = np.zeros(grid.rows * grid.columns, np.float32)
    flat[ear] = 1.0
    mask = np.asarray(flat.reshape(grid.rows, grid.columns))
    limits = np.where(hangs, _TUCKED, _COVERED)
    if not hangs.any() and min(hair_share for hair_share, _ in sides) < _UNCOVERED:
        limits = np.ones(2)  # short hair leaves both ears uncovered or neither
    half = grid.columns // 2
    uncovered = np.zeros_like(mask)
    for columns, (hair_share, edge), limit in zip(
        (slice(0, half), slice(half, None)), sides, limits, strict=True
    ):
        if hair_share < limit:
            uncovered[:, columns] = _filled(mask[:, columns]) * (height[:, columns] < edge)
    soft = cv2.GaussianBlur(uncovered, (0, 0), 0.8)
    return np.clip(np.asarray(soft, np.float64) * 1.4, 0, 1)


def move_ears_as_wholes(before: Array, after: Array) -> Array:
    """(n, 3) vertices of a bare head whose ears move as wholes, pivoting at their roots.

    The fit of the outline moves each vertex of an ear's rim by itself, which would pull out tips.

    Args:
        before: (n, 3) vertices before the fit of the outline, head units.
        after: (n, 3) vertices after it, head units.

    """
    moved = after.copy()
    ear = bust().region == BustRegion.EAR
    for side in (-1, 1):
        vertices = np.flatnonzero(ear & (before[:, 0] * side > 0))
        sideways = before[vertices, 0] * side
        root, tip = np.quantile(sideways, [0.1, 0.95])
        share = np.clip((sideways - root) / max(tip - root, 1e-6), 0, 1.2)
        # the rim moves as the outline demands, the rest in proportion to its distance
        outer = share > _OUTER
        move = np.median((after - before)[vertices][outer], axis=0)
        move *= min(1.0, _MAX_MOVE_MM * MM / max(float(np.linalg.norm(move)), 1e-9))
        moved[vertices] = before[vertices] + move * share[:, None]
    return moved


def _filled(mask: Array32) -> Array32:
    """A mask (r, c) with its convex hull filled, so that it includes the bowl of an ear."""
    rows, columns = np.nonzero(mask)
    filled = np.zeros(mask.shape, np.uint8)
    if len(rows) > 2:
        hull = cv2.convexHull(np.stack([columns, rows], -1).astype(np.int32))
        cv2.fillConvexPoly(filled, hull, 1)
    return filled.astype(np.float32)


def _hair_over_ears(
    portrait: Portrait, parsing: Parsing, bald: RayCaster
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Probability of hair on the ears on -x and +x, and height of its edge; None if invisible."""
    mesh, camera = bald.mesh, portrait.camera
    ear_vertices = np.flatnonzero(bust().region == BustRegion.EAR)
    points, normals = mesh.vertices[ear_vertices], mesh.normals[ear_vertices]
    to_camera = unit(camera.position - points)
    visible = np.einsum("ni,ni->n", to_camera, normals) > _MIN_FACING
    visible &= ~bald.blocked(points + _LIFT * normals, to_camera)
    uv, _ = camera.project(points)
    visible &= portrait.shows(uv)
    probabilities = parsing.at(uv, camera.width)
    visible &= probabilities[:, Kind.BACKGROUND] < 0.5
    hair = probabilities[:, Kind.HAIR] / np.maximum(1 - probabilities[:, Kind.BACKGROUND], 0.15)
    results = []
    for side in (-1, 1):
        on_side = visible & (points[:, 0] * side > 0)
        result = None
        if on_side.sum() >= _MIN_VERTICES:
            seen = hair[on_side]
            by_colour = _hair_by_colour(portrait, parsing, uv[on_side])
            edge = _end_of_hair(points[on_side, 1], seen if by_colour is None else by_colour)
            result = float(np.median(seen)), edge
        results.append(result)
    return results[0], results[1]


def _hair_by_colour(portrait: Portrait, parsing: Parsing, uv: Array) -> Array | None:
    """(k,) likeness to the hair beside an ear rather than to the skin there, 0 to 1.

    The parsing expects skin on ears, and a hollow ear in the shade is as dark as hair; at the edge
    of hair both colours are seen close by.

    Args:
        portrait: the photo.
        parsing: classes of its pixels.
        uv: (k, 2) pixels of the ear.

    Returns:
        None if hair and skin are not both seen there, or have like colours.

    """
    scale = PARSING_SIDE / portrait.camera.width
    size = (PARSING_SIDE, PARSING_SIDE)
    small = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    colours = lab(small.reshape(-1, 3)).reshape(small.shape)
    (left, top), (right, bottom) = uv.min(0) * scale, uv.max(0) * scale
    margin = _AROUND * (bottom - top)
    rows = slice(max(int(top - margin), 0), max(int(bottom + margin), 0))
    columns = slice(max(int(left - margin), 0), max(int(right + margin), 0))
    near, probabilities = colours[rows, columns], parsing.probabilities[rows, columns]
    seen = [near[probabilities[..., kind] > _CERTAIN] for kind in (Kind.HAIR, Kind.SKIN)]
    if min(len(own) for own in seen) < _MIN_PIXELS:
        return None
    hair, skin = (np.median(own, axis=0) for own in seen)
    if np.linalg.norm(hair - skin) < _CONTRAST:
        return None
    x, y = (uv * scale - 0.5).astype(np.float32).T
    own = remap(np.ascontiguousarray(colours, np.float32), x, y, cv2.INTER_LINEAR)
    to_hair, to_skin = ((own - other) ** 2 for other in (hair, skin))
    to_hair, to_skin = to_hair.sum(-1), to_skin.sum(-1)
    return np.asarray(to_skin / np.maximum(to_skin + to_hair, 1e-6))


def _end_of_hair(height: Array, hair: Array) -> float:
    """Height above which hair covers an ear; hair often covers its upper half."""
    order = np.argsort(height)
    sorted_height, covered = height[order], hair[order]
    # the edge minimises hair below it plus skin above it
    below = np.concatenate([[0.0], np.cumsum(covered)])
    above = np.concatenate([np.cumsum((1 - covered)[::-1])[::-1], [0.0]])
    edge = int(np.argmin(below + above))
    if not _MIN_UPPER * len(sorted_height) < len(sorted_height) - edge < len(sorted_height):
        return _NO_EDGE
    is_clear = covered[edge:].mean() > _CLEAR and covered[:edge].mean() < 1 - _CLEAR
    return float(sorted_height[edge]) if is_clear else _NO_EDGE
