"""Topology of the rigged head: MakeHuman's quads in parts, subdivided, with texture coordinates.

Every part is subdivided once as ``heads.bust`` does; the vertices of its control quads are among
those of the subdivided ones, so a coarser level of detail is a choice of vertices with quads of its
own, and whatever belongs to a vertex (position, blend shape, weight) is taken over as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, Indices32
from dp3d_core.heads.bust import BustPart, bust, catmull_clark
from dp3d_core.heads.people import head_data, prior
from dp3d_core.heads.space import BUST_CUT_MM, MM

PARTS = ("skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue", "lashes")
"""Parts of the head, numbered as ``HeadData.quad_part``."""

_COINCIDENT = 1e-7
"""Distance of vertices of both topologies that are one, head units."""


@dataclass(frozen=True, eq=False)
class PartTopology:
    """Quads of one part, subdivided once.

    Attributes:
        name: one of :data:`PARTS`.
        refine: (n, controls) sparse matrix, vertices = refine @ control vertices.
        quads: (m, 4) counter-clockwise seen from outside.
        uv: (k, 2) MakeHuman's texture coordinates, v up.
        quad_uv: (m, 4) their indices.
        island: (m,) connected piece of the texture coordinates.
        cage: (c,) vertices that belong to a control vertex.
        cage_quads: (m / 4, 4) control quads, indices of vertices.
        cage_quad_uv: (m / 4, 4) their texture coordinates.

    """

    name: str
    refine: sparse.csr_matrix
    quads: Indices32
    uv: Array
    quad_uv: Indices32
    island: Indices
    cage: Indices
    cage_quads: Indices32
    cage_quad_uv: Indices32

    def triangles(self) -> Indices32:
        """(2 m, 3) triangles: first halves of all quads, then second halves."""
        return halves(self.quads)


def halves(quads: Indices32) -> Indices32:
    """(2 m, 3) triangles of quads (m, 4): first halves of all quads, then second halves."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


@lru_cache(maxsize=len(PARTS))
def part_topology(name: str) -> PartTopology:
    """The topology of a part, which all heads share."""
    data = head_data()
    mean = prior().mean / MM
    kept = data.quad_part == PARTS.index(name)
    kept &= (mean[data.quads][..., 1] > BUST_CUT_MM).any(1)
    quads, quad_uv = data.quads[kept], data.quad_uv[kept]
    count = len(mean)
    refine, subdivided = catmull_clark(quads, count)
    uv, fine_uv = _midpoints(data.uv.astype(np.float64), quad_uv)
    height = np.asarray(refine @ mean)[:, 1]
    fine, fine_uv = _split_at_the_cut(subdivided.astype(np.int64), fine_uv, height)
    coarse, coarse_uv = _split_at_the_cut(
        quads.astype(np.int64), quad_uv.astype(np.int64), mean[:, 1]
    )
    used, corners = np.unique(fine, return_inverse=True)
    used_uv, uv_corners = np.unique(fine_uv, return_inverse=True)
    cage = np.unique(quads)
    return PartTopology(
        name,
        refine[used],
        corners.reshape(-1, 4).astype(np.int32),
        uv[used_uv],
        uv_corners.reshape(-1, 4).astype(np.int32),
        _islands(uv_corners.reshape(-1, 4), len(used_uv)),
        np.searchsorted(used, cage),
        np.searchsorted(used, coarse).astype(np.int32),
        np.searchsorted(used_uv, coarse_uv).astype(np.int32),
    )


@lru_cache(maxsize=len(PARTS))
def rest_mm(name: str) -> Array:
    """(n, 3) vertices of one of :data:`PARTS` on the average head, millimetres."""
    return np.asarray(part_topology(name).refine @ (prior().mean / MM))


def _midpoints(uv: Array, quads: Indices32) -> tuple[Array, Indices]:
    """Texture coordinates of subdivided quads, without smoothing; ordered as ``catmull_clark``."""
    m = len(quads)
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    edge = len(uv) + inverse.reshape(m, 4)
    face = len(uv) + len(unique) + np.arange(m)
    points = np.concatenate([uv, uv[unique].mean(1), uv[quads].mean(1)])
    blocks = [np.column_stack([quads[:, i], edge[:, i], face, edge[:, i - 1]]) for i in range(4)]
    return points, np.concatenate(blocks).astype(np.int64)


def _split_at_the_cut(quads: Indices, quad_uv: Indices, height: Array) -> tuple[Indices, Indices]:
    """Let the diagonals of quads (m, 4) start at the middle one of three corners in the cut.

    The cut brings these corners onto a line.  By the other diagonal one half has hardly any area,
    and programs that split the quad by themselves show the texture of that half as a spike.

    Args:
        quads: corners.
        quad_uv: texture coordinates of the corners.
        height: (n,) height of the vertices of the average head, millimetres.

    """
    low = height[quads] < BUST_CUT_MM
    middle = low & np.roll(low, 1, 1) & np.roll(low, -1, 1) & ~np.roll(low, 2, 1)
    turned = (middle[:, 1] | middle[:, 3])[:, None]
    rolled, rolled_uv = (np.roll(of, 1, 1) for of in (quads, quad_uv))
    return np.where(turned, rolled, quads), np.where(turned, rolled_uv, quad_uv)


def _islands(quad_uv: Indices, count: int) -> Indices:
    """(m,) connected piece of each quad (m, 4), numbered by the size of the pieces."""
    edges = np.concatenate([quad_uv[:, [i, i + 1]] for i in range(3)])
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    _, piece = connected_components(graph, directed=False)
    _, number, sizes = np.unique(piece[quad_uv[:, 0]], return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[number]


@lru_cache(maxsize=1)
def skin_twins() -> Indices:
    """(n,) vertex of ``heads.bust.bust()`` that each skin vertex is; -1 in the mouth's cavity."""
    topology = bust()
    own = np.flatnonzero(topology.part == BustPart.SKIN)
    own = own[~np.isin(own, topology.film)]
    mean = prior().mean
    distance, nearest = cKDTree(np.asarray(topology.refine[own] @ mean)).query(
        part_topology("skin").refine @ mean
    )
    return np.where(distance < _COINCIDENT, own[nearest], -1)
