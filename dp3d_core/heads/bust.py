"""The bust mesh: head, neck and shoulders, the base mesh's quads subdivided once.

Subdivision follows Catmull and Clark (1978) with their boundary rule.  For a fixed topology it is
a constant sparse matrix: vertices = ``Bust.refine`` @ control vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, Indices32, Labels, Mask, Regions
from dp3d_core.heads.mouth import mouth_film
from dp3d_core.heads.people import head_data, prior
from dp3d_core.heads.space import BUST_CUT_MM, MM


class BustPart(IntEnum):
    """Anatomical part of a vertex."""

    SKIN = 0
    EYE_LEFT = 1
    EYE_RIGHT = 2
    UPPER_TEETH = 3
    LOWER_TEETH = 4
    TONGUE = 5


class BustRegion(IntEnum):
    """Region of a skin vertex."""

    FACE = 0
    FOREHEAD = 1
    SCALP = 2
    EAR = 3
    NECK = 4
    TORSO = 5


_SHOWN = (BustPart.SKIN, BustPart.EYE_LEFT, BustPart.EYE_RIGHT)
"""Parts that are meshed without the mouth's cavity."""
_ARMS_END_MM = -150.0
"""Height, millimetres, below which border vertices of the skin are moved onto the cut."""
_FILM_INSET = 0.5
"""Depth of the mouth's film behind the lips, as a fraction of the distance to the nearest lip."""
_MAX_FILM_INSET_MM = 5.0
"""Greatest depth of the mouth's film behind the lips, millimetres."""
_EAR_OFFSET = 0.03
"""Decimetres; vertices that an ear-scale target moves farther are ear."""
_NECK_WEIGHT = 0.45
"""Skinning weight of the neck bones above which low vertices are neck."""
_HAIRLINE_DEG = np.array([0, 20, 35, 50, 62, 72, 82, 90, 100, 112, 128, 145, 180.0])
"""Angles around the head, 0 in front, at which the usual hairline is tabulated."""
_HAIRLINE_MM = np.array([78, 77, 72, 60, 40, 16, 6, 24, 26, 0, -22, -40, -46.0])
"""Height of the usual hairline above the head's centre at ``_HAIRLINE_DEG``, millimetres."""
_FOREHEAD_MM = 56.0
"""Height above the head's centre from which bare skin is forehead, millimetres."""


@dataclass(frozen=True, eq=False)
class Bust:
    """Topology of the subdivided bust.

    Attributes:
        refine: (n, controls) sparse subdivision matrix.
        faces: (m, 3) int32 triangles.
        part: (n,) uint8 :class:`BustPart`.
        region: (n,) int8 :class:`BustRegion`.
        rest: (n, 3) vertices of the average head, millimetres.
        rim: (n,) bool, vertices that lie in the plane of the cut for every head.
        lips: (l,) lip vertices around the film that closes the mouth.
        film: (k,) vertices of the film; empty if the mouth has a cavity.

    """

    refine: sparse.csr_matrix
    faces: Indices32
    part: Labels
    region: Regions
    rest: Array
    rim: Mask
    lips: Indices
    film: Indices

    def level(self, vertices: Array) -> None:
        """Clamp vertices to the plane of the shoulder cut, in place.

        Args:
            vertices: (>= n, 3) head units; the first n are the bust's own.

        """
        vertices[:, 1] = np.maximum(vertices[:, 1], BUST_CUT_MM * MM)
        vertices[: len(self.rim)][self.rim, 1] = BUST_CUT_MM * MM

    def vertices(self, controls: Array) -> Array:
        """(n, 3) vertices of control vertices (controls, 3), both in head units."""
        vertices = np.asarray(self.refine @ controls)
        self.level(vertices)
        if len(self.film):  # teeth stand behind the lips
            to_lips, _ = cKDTree(vertices[self.lips]).query(vertices[self.film])
            vertices[self.film, 2] -= np.minimum(_FILM_INSET * to_lips, _MAX_FILM_INSET_MM * MM)
        return vertices


@lru_cache(maxsize=2)
def bust(inner: bool = False) -> Bust:
    """The bust: skin down to the shoulder cut, and eyeballs.

    Args:
        inner: True adds the mouth's cavity, teeth and tongue; False closes the mouth with a film
            between the lips (``heads.mouth``).

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
    # the ends of the arms lie a little higher and would leave a slit under raised shoulders
    rim[_border(faces)] |= rest[_border(faces), 1] < _ARMS_END_MM
    rest[rim, 1] = BUST_CUT_MM
    return Bust(refine, faces, part, _regions(refine, part, rest), rest, rim, lips, film)


def _border(faces: Indices32) -> Indices:
    """Vertices on the mesh's border: ends of edges that only one triangle uses."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(edge[count == 1]).astype(np.int64)


def _with_film(
    refine: sparse.csr_matrix, faces: Indices32, part: Labels, rest: Array
) -> tuple[sparse.csr_matrix, Indices32, Labels, Indices, Indices]:
    """Replace the mouth's cavity by a film.

    Returns:
        Subdivision matrix, triangles, parts, lip vertices around the film, film vertices.

    """
    count = len(rest)
    film = mouth_film(rest, faces)
    number = np.concatenate([film.rim, count + np.arange(len(film.weights))])
    refine = sparse.vstack([refine, sparse.csr_matrix(film.weights) @ refine[film.rim]]).tocsr()
    faces = np.concatenate([faces[film.kept], number[film.faces].astype(np.int32)])
    part = np.concatenate([part, np.full(len(film.weights), int(BustPart.SKIN), np.uint8)])
    return refine, faces, part, film.rim, number[len(film.rim) :]


def _regions(refine: sparse.csr_matrix, part: Labels, rest: Array) -> Regions:
    """(n,) :class:`BustRegion` from rest positions (n, 3), millimetres, and neck weights."""
    data = head_data()
    ear = np.zeros(len(data.vertices))
    for name in data.names:
        if name.startswith("ears/") and "-scale" in name:
            moved, offsets = data.target(name)
            large = np.linalg.norm(offsets, axis=1) > _EAR_OFFSET
            ear[moved[large]] = 1.0
    neck = refine @ data.weights[:3].sum(0)
    region = np.full(len(rest), BustRegion.FACE, np.int8)
    x, y, z = rest.T
    angle = np.degrees(np.arctan2(np.abs(x), z + 15))
    hairline = np.interp(angle, _HAIRLINE_DEG, _HAIRLINE_MM)
    region[y > _FOREHEAD_MM] = BustRegion.FOREHEAD
    region[y > hairline] = BustRegion.SCALP
    # ear targets move some of the skull along, so the ear is bounded by a box off the skull too
    off_skull = (np.abs(x) > 72) & (z < 8) & (z > -45) & (y > -32) & (y < 45)
    region[off_skull & (refine @ ear > 0.5)] = BustRegion.EAR
    low = (y < -60) & ((neck > _NECK_WEIGHT) | (z < 40) | (y < -112))
    region[low & (y >= -112) & (region != BustRegion.SCALP)] = BustRegion.NECK
    nape = (region == BustRegion.FACE) & (z < -15) & (y < -20)
    region[nape] = BustRegion.NECK
    wide = np.hypot(x, z + 20) > 78
    region[(y < -100) & (wide | (y < -135))] = BustRegion.TORSO
    region[(y < -112) & (region != BustRegion.TORSO)] = BustRegion.NECK
    region[part != BustPart.SKIN] = BustRegion.FACE
    return region


def catmull_clark(quads: Indices32, count: int) -> tuple[sparse.csr_matrix, Indices32]:
    """One Catmull-Clark step on a quad mesh.

    Args:
        quads: (m, 4) vertex indices.
        count: number of vertices; vertices that no quad uses are not moved.

    Returns:
        (n, count) matrix from old to new vertices, ordered vertex points, edge points, face
        points; and (4 m, 4) new quads in four blocks of m, one block per corner.

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
    midpoints = sparse.csr_matrix(
        (np.full(2 * e, 0.5), (np.repeat(np.arange(e), 2), unique.ravel())), (e, count)
    )
    edge_to_face = sparse.csr_matrix(
        (np.ones(4 * m), (inverse.ravel(), np.repeat(np.arange(m), 4))), (e, m)
    )
    inner = (uses == 2).astype(float)
    inner_half = sparse.diags(0.5 * inner)
    face_means = sparse.diags(0.25 * inner) @ edge_to_face @ face_points
    edge_points = (sparse.identity(e) - inner_half) @ midpoints + face_means

    degree = np.bincount(unique.ravel(), minlength=count)
    vertex_to_edge = sparse.csr_matrix(
        (np.ones(2 * e), (unique.ravel(), np.repeat(np.arange(e), 2))), (count, e)
    )
    vertex_to_quad = sparse.csr_matrix(
        (np.ones(4 * m), (quads.ravel(), np.repeat(np.arange(m), 4))), (count, m)
    )
    rim_edge = uses == 1
    rim = np.zeros(count, bool)
    rim[unique[rim_edge].ravel()] = True
    free = (degree > 0) & ~rim
    n = np.maximum(degree, 1).astype(float)
    quads_at = np.maximum(np.asarray(vertex_to_quad.sum(1)).ravel(), 1)
    smooth = (
        sparse.diags(free / (n * quads_at)) @ vertex_to_quad @ face_points
        + sparse.diags(2 * free / (n * n)) @ vertex_to_edge @ midpoints
        + sparse.diags(free * (n - 3) / n)
    )
    along_rim = (
        sparse.diags(rim * 0.25) @ vertex_to_edge @ sparse.diags(rim_edge.astype(float)) @ midpoints
    )
    border = along_rim + sparse.diags(rim * 0.5)
    isolated = sparse.diags((degree == 0).astype(float))
    old = smooth + border + isolated
    corner, edge, face = quads, count + inverse, count + e + np.arange(m)[:, None]
    blocks = [
        np.column_stack([corner[:, i], edge[:, i], face[:, 0], edge[:, i - 1]]) for i in range(4)
    ]
    fine = np.concatenate(blocks).astype(np.int32)
    return sparse.vstack([old, edge_points, face_points]).tocsr(), fine
