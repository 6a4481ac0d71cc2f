"""The bust as a mesh: the base mesh's quads, subdivided once, with regions and rest positions.

Subdivision follows Catmull and Clark (1978) with their boundary rule; for one topology it is a
constant sparse matrix, so that a head is one product away from its control vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from dp3d_core.heads.mouth import mouth_film
from dp3d_core.heads.people import head_data, prior
from dp3d_core.heads.space import BUST_CUT_MM, MM

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class BustPart(IntEnum):
    """What a vertex belongs to."""

    SKIN = 0
    EYE_LEFT = 1
    EYE_RIGHT = 2
    UPPER_TEETH = 3
    LOWER_TEETH = 4
    TONGUE = 5


class BustRegion(IntEnum):
    """Regions of the skin."""

    FACE = 0
    FOREHEAD = 1
    SCALP = 2
    EAR = 3
    NECK = 4
    TORSO = 5


_SHOWN = (BustPart.SKIN, BustPart.EYE_LEFT, BustPart.EYE_RIGHT)
"""Parts of a head with its mouth closed."""
_ARMS_END_MM = -150.0
"""Height below which the skin's border belongs to the cut."""
_INWARDS, _DEEPEST_MM = 0.5, 5.0
"""How far the film between the lips is drawn in, parts of the distance from them, and at most."""
_EAR_MOVE = 0.03
"""Decimetres by which the targets of the ear's size move its vertices."""
_NECK_WEIGHT = 0.45
_HAIRLINE_DEG = np.array([0, 20, 35, 50, 62, 72, 82, 90, 100, 112, 128, 145, 180.0])
_HAIRLINE_MM = np.array([78, 77, 72, 60, 40, 16, 6, 24, 26, 0, -22, -40, -46.0])
"""Height above the head's centre where hair usually begins, by the angle around the head."""
_FOREHEAD_MM = 56.0


@dataclass(frozen=True, eq=False)
class Bust:
    """Topology of the subdivided bust.

    Attributes:
        refine: (n, controls) sparse, vertices from control vertices.
        faces: (m, 3) int32 triangles.
        part: (n,) uint8 :class:`BustPart`.
        region: (n,) int8 :class:`BustRegion`.
        rest: (n, 3) millimetres, vertices of the average head.
        rim: (n,) bool, vertices that lie in the plane of the cut in every head.
        lips: (l,) vertices around the film between the lips.
        film: (k,) vertices of the film; none where the mouth has a cavity.

    """

    refine: sparse.csr_matrix
    faces: NDArray[np.int32]
    part: NDArray[np.uint8]
    region: NDArray[np.int8]
    rest: Array
    rim: NDArray[np.bool_]
    lips: NDArray[np.int64]
    film: NDArray[np.int64]

    def level(self, vertices: Array) -> None:
        """Bring vertices, head units, the bust's first, to an end in the plane of the cut."""
        vertices[:, 1] = np.maximum(vertices[:, 1], BUST_CUT_MM * MM)
        vertices[: len(self.rim)][self.rim, 1] = BUST_CUT_MM * MM

    def vertices(self, controls: Array) -> Array:
        """(n, 3) vertices, head units, for control vertices (controls, 3)."""
        vertices = np.asarray(self.refine @ controls)
        self.level(vertices)
        if len(self.film):  # teeth stand behind the lips
            behind, _ = cKDTree(vertices[self.lips]).query(vertices[self.film])
            vertices[self.film, 2] -= np.minimum(_INWARDS * behind, _DEEPEST_MM * MM)
        return vertices


@lru_cache(maxsize=2)
def bust(inner: bool = False) -> Bust:
    """The bust: skin down to the cut and eyeballs.

    Args:
        inner: with the mouth's cavity, teeth and tongue; without, a film lies between the lips
            (``heads.mouth``).

    """
    data = head_data()
    mean = prior().mean / MM
    shown = tuple(BustPart) if inner else _SHOWN
    kept = np.isin(data.quad_part, shown)
    kept &= (mean[data.quads][..., 1] > BUST_CUT_MM).any(1)
    quads, parts = data.quads[kept], data.quad_part[kept]
    refine, fine = catmull_clark(quads, len(mean))
    faces = np.concatenate([fine[:, [0, 1, 2]], fine[:, [0, 2, 3]]])
    part = np.zeros(refine.shape[0], np.uint8)
    face_part = np.tile(parts, 8)
    for number in shown:
        part[np.unique(faces[face_part == number])] = number
    lips = film = np.zeros(0, np.int64)
    if not inner:
        refine, faces, part, lips, film = _with_film(refine, faces, part, refine @ mean)
    used, corners = np.unique(faces, return_inverse=True)
    refine, faces, part = refine[used], corners.reshape(-1, 3).astype(np.int32), part[used]
    lips, film = np.searchsorted(used, lips), np.searchsorted(used, film)
    rest = np.asarray(refine @ mean)
    rim = rest[:, 1] < BUST_CUT_MM
    # the arms' ends lie a little higher: shoulders that are raised would leave a slit there
    rim[_border(faces)] |= rest[_border(faces), 1] < _ARMS_END_MM
    rest[rim, 1] = BUST_CUT_MM
    return Bust(refine, faces, part, _regions(refine, part, rest), rest, rim, lips, film)


def _border(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Vertices of edges that belong to one triangle alone."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(edge[count == 1]).astype(np.int64)


def _with_film(
    refine: sparse.csr_matrix, faces: NDArray[np.int32], part: NDArray[np.uint8], rest: Array
) -> tuple[sparse.csr_matrix, NDArray[np.int32], NDArray[np.uint8], Indices, Indices]:
    """The bust's matrix, triangles and parts with a film in place of the mouth's cavity, and the
    vertices of the lips around it and of the film.
    """
    count = len(rest)
    film = mouth_film(rest, faces)
    number = np.concatenate([film.rim, count + np.arange(len(film.weights))])
    refine = sparse.vstack([refine, sparse.csr_matrix(film.weights) @ refine[film.rim]]).tocsr()
    faces = np.concatenate([faces[film.kept], number[film.faces].astype(np.int32)])
    part = np.concatenate([part, np.full(len(film.weights), int(BustPart.SKIN), np.uint8)])
    return refine, faces, part, film.rim, number[len(film.rim) :]


def _regions(refine: sparse.csr_matrix, part: NDArray[np.uint8], rest: Array) -> NDArray[np.int8]:
    data = head_data()
    ear = np.zeros(len(data.vertices))
    for name in data.names:
        if name.startswith("ears/") and "-scale" in name:
            moved, offsets = data.target(name)
            far = np.linalg.norm(offsets, axis=1) > _EAR_MOVE
            ear[moved[far]] = 1.0
    neck = refine @ data.weights[:3].sum(0)
    region = np.full(len(rest), BustRegion.FACE, np.int8)
    x, y, z = rest.T
    angle = np.degrees(np.arctan2(np.abs(x), z + 15))
    line = np.interp(angle, _HAIRLINE_DEG, _HAIRLINE_MM)
    region[y > _FOREHEAD_MM] = BustRegion.FOREHEAD
    region[y > line] = BustRegion.SCALP
    # an ear stands off the skull, and its targets move some of the skull along
    stands = (np.abs(x) > 72) & (z < 8) & (z > -45) & (y > -32) & (y < 45)
    region[stands & (refine @ ear > 0.5)] = BustRegion.EAR
    low = (y < -60) & ((neck > _NECK_WEIGHT) | (z < 40) | (y < -112))
    region[low & (y >= -112) & (region != BustRegion.SCALP)] = BustRegion.NECK
    nape = (region == BustRegion.FACE) & (z < -15) & (y < -20)
    region[nape] = BustRegion.NECK
    wide = np.hypot(x, z + 20) > 78
    region[(y < -100) & (wide | (y < -135))] = BustRegion.TORSO
    region[(y < -112) & (region != BustRegion.TORSO)] = BustRegion.NECK
    region[part != BustPart.SKIN] = BustRegion.FACE
    return region


def catmull_clark(
    quads: NDArray[np.int32], count: int
) -> tuple[sparse.csr_matrix, NDArray[np.int32]]:
    """One step of subdivision of a quad mesh.

    Args:
        quads: (m, 4) corners.
        count: number of vertices; those that no quad uses stay where they are.

    Returns:
        (n, count) matrix from old to new vertices (old ones first, then one for each edge, then
        one for each quad) and the (4 m, 4) new quads, four blocks of m, one for each corner.

    """
    m = len(quads)
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    inverse = inverse.reshape(m, 4)
    e = len(unique)
    uses = np.bincount(inverse.ravel(), minlength=e)
    face_points = sparse.csr_matrix(
        (np.full(4 * m, 0.25), (np.repeat(np.arange(m), 4), quads.ravel())), (m, count)
    )
    ends = sparse.csr_matrix(
        (np.full(2 * e, 0.5), (np.repeat(np.arange(e), 2), unique.ravel())), (e, count)
    )
    beside = sparse.csr_matrix(
        (np.ones(4 * m), (inverse.ravel(), np.repeat(np.arange(m), 4))), (e, m)
    )
    inner = (uses == 2).astype(float)
    half = sparse.diags(0.5 * inner)
    around = sparse.diags(0.25 * inner) @ beside @ face_points
    edge_points = (sparse.identity(e) - half) @ ends + around

    degree = np.bincount(unique.ravel(), minlength=count)
    at_edge = sparse.csr_matrix(
        (np.ones(2 * e), (unique.ravel(), np.repeat(np.arange(e), 2))), (count, e)
    )
    at_quad = sparse.csr_matrix(
        (np.ones(4 * m), (quads.ravel(), np.repeat(np.arange(m), 4))), (count, m)
    )
    rim_edge = uses == 1
    rim = np.zeros(count, bool)
    rim[unique[rim_edge].ravel()] = True
    free = (degree > 0) & ~rim
    n = np.maximum(degree, 1).astype(float)
    quads_at = np.maximum(np.asarray(at_quad.sum(1)).ravel(), 1)
    smooth = (
        sparse.diags(free / (n * quads_at)) @ at_quad @ face_points
        + sparse.diags(2 * free / (n * n)) @ at_edge @ ends
        + sparse.diags(free * (n - 3) / n)
    )
    along = sparse.diags(rim * 0.25) @ at_edge @ sparse.diags(rim_edge.astype(float)) @ ends
    border = along + sparse.diags(rim * 0.5)
    unused = sparse.diags((degree == 0).astype(float))
    old = smooth + border + unused
    corner, edge, face = quads, count + inverse, count + e + np.arange(m)[:, None]
    blocks = [
        np.column_stack([corner[:, i], edge[:, i], face[:, 0], edge[:, i - 1]]) for i in range(4)
    ]
    fine = np.concatenate(blocks).astype(np.int32)
    return sparse.vstack([old, edge_points, face_points]).tocsr(), fine
