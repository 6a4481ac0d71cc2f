"""The film that closes the mouth of the bust in place of its cavity.

A photo does not show how deep teeth and tongue lie; projected onto a cavity, its pixels would be
torn apart in the next view.  The film spans the lips with rings of vertices, each the mean of its
neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from dp3d_core.arrays import Array, Indices, Indices32, Mask
from dp3d_core.cameras.trajectories import orbit_pose
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster

_TONGUE = np.array([0.0, -42.0, 70.0])
"""Point inside the average head's mouth, millimetres."""
_RINGS = 6
"""Rings of triangles between the lips and the film's centre."""
_LIFT = 0.002
"""Offset of ray origins from the surface, head units; without it rays hit their own triangle."""


@dataclass(frozen=True, eq=False)
class Film:
    """A surface that spans the lips.

    Attributes:
        kept: (m,) bool, triangles of the head outside the mouth's cavity.
        rim: (r,) head vertices around the film, in order.
        weights: (k, r) film vertices = weights @ rim vertices; rows sum to 1.
        faces: (f, 3) triangles; indices below r are rim vertices, the film's follow.

    """

    kept: Mask
    rim: Indices
    weights: Array
    faces: Indices32


def mouth_film(rest: Array, faces: Indices32) -> Film:
    """The film of a head with a cavity.

    Args:
        rest: (n, 3) vertices of the average head, lips closed, millimetres.
        faces: (m, 3) triangles.

    """
    cavity = _cavity(rest, faces)
    lining = np.asarray(cavity[faces].any(1))
    rim = _longest_loop(faces[lining])
    count = len(rim)
    ring = np.arange(count)
    film_faces = []
    for level in range(_RINGS):
        a, b = level * count + ring, level * count + np.roll(ring, -1)
        c, d = b + count, a + count
        if level == _RINGS - 1:
            centre = np.full(count, _RINGS * count)
            film_faces.append(np.stack([a, b, centre], -1))
        else:
            film_faces += [np.stack([a, b, c], -1), np.stack([a, c, d], -1)]
    triangles = np.concatenate(film_faces).astype(np.int32)
    return Film(
        np.logical_not(lining), rim, _harmonic(triangles, count, _RINGS * count + 1), triangles
    )


def _cavity(rest: Array, faces: Indices32) -> Mask:
    """(n,) vertices of the mouth's cavity: the hidden piece of surface nearest to the tongue."""
    hidden = hidden_vertices(rest, faces)
    inside = faces[hidden[faces].all(1)]
    edges = np.concatenate([inside[:, [0, 1]], inside[:, [1, 2]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(rest),) * 2)
    _, piece = connected_components(graph, directed=False)
    used = np.unique(inside)
    nearest = used[np.linalg.norm(rest[used] - _TONGUE, axis=1).argmin()]
    return np.asarray(hidden & (piece == piece[nearest]))


def _longest_loop(faces: Indices32) -> Indices:
    """Vertices, in order, of the longest border loop of triangles (m, 3)."""
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops: list[list[int]] = []
    while following:
        start = next(iter(following))
        loop, vertex = [start], following.pop(start)
        while vertex != start and vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return np.array(max(loops, key=len), np.int64)


def _harmonic(faces: Indices32, border: int, count: int) -> Array:
    """(count - border, border) harmonic weights of the border's vertices for the inner ones."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(len(edges))
    links = sparse.coo_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    links = (links + links.T).tocsr()
    links.data[:] = 1.0  # an edge of two faces was counted twice
    links = links[border:]
    degree = sparse.diags(np.asarray(links.sum(1)).ravel())
    system = (degree - links[:, border:]).tocsc()
    return np.asarray(splu(system).solve(links[:, :border].toarray()))


def hidden_vertices(rest: Array, faces: Indices32) -> Mask:
    """(n,) vertices of a head (n, 3), millimetres, that no camera around it sees."""
    mesh = Mesh.of(rest * MM, faces, np.zeros(len(rest), np.uint8))
    caster = RayCaster(mesh)
    hidden = np.ones(len(rest), bool)
    for pitch in (-30, 0, 30):
        for yaw in range(0, 360, 20):
            towards = orbit_pose(yaw, pitch)[:3, 3] - mesh.vertices
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            facing = hidden & (np.einsum("ni,ni->n", towards, mesh.normals) > 0.05)
            index = np.flatnonzero(facing)
            start = mesh.vertices[index] + _LIFT * mesh.normals[index]
            hidden[index[~caster.blocked(start, towards[index])]] = False
    return hidden
