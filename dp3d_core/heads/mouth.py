"""What lies between open lips: a film in place of the mouth's cavity.

A photo says nothing of how deep teeth and tongue lie; on a cavity it would be torn apart in the
next view.  The film spans the lips: rings of vertices, each the mean of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh
from dp3d_core.raycast import RayCaster
from dp3d_core.trajectories import orbit_pose

Array = NDArray[np.float64]
Faces = NDArray[np.int32]
Mask = NDArray[np.bool_]

_TONGUE = np.array([0.0, -42.0, 70.0])
"""A place within the average head's mouth, millimetres."""
_RINGS = 6
_LIFT = 0.002
"""Head units above the surface where rays begin."""


@dataclass(frozen=True, eq=False)
class Film:
    """A surface between the lips.

    Attributes:
        kept: (m,) bool, triangles of the head that do not line the cavity.
        rim: (r,) vertices of the head around the film, in order.
        weights: (k, r) by which they place its vertices; rows sum to 1.
        faces: (f, 3) triangles; vertex ``i`` of the rim is ``i``, the film's own follow.

    """

    kept: Mask
    rim: NDArray[np.int64]
    weights: Array
    faces: Faces


def mouth_film(rest: Array, faces: Faces) -> Film:
    """The film of a head.

    Args:
        rest: (n, 3) millimetres, vertices of the average head with its lips closed.
        faces: (m, 3).

    """
    inner = _cavity(rest, faces)
    lining = np.asarray(inner[faces].any(1))
    rim = _longest_loop(faces[lining])
    count = len(rim)
    ring = np.arange(count)
    film_faces = []
    for number in range(_RINGS):
        a, b = number * count + ring, number * count + np.roll(ring, -1)
        c, d = b + count, a + count
        if number == _RINGS - 1:
            centre = np.full(count, _RINGS * count)
            film_faces.append(np.stack([a, b, centre], -1))
        else:
            film_faces += [np.stack([a, b, c], -1), np.stack([a, c, d], -1)]
    triangles = np.concatenate(film_faces).astype(np.int32)
    return Film(
        np.logical_not(lining), rim, _harmonic(triangles, count, _RINGS * count + 1), triangles
    )


def _cavity(rest: Array, faces: Faces) -> Mask:
    """(n,) vertices of the surface around the tongue that nobody sees."""
    hidden = hidden_vertices(rest, faces)
    inside = faces[hidden[faces].all(1)]
    edges = np.concatenate([inside[:, [0, 1]], inside[:, [1, 2]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(rest),) * 2)
    _, piece = connected_components(graph, directed=False)
    used = np.unique(inside)
    nearest = used[np.linalg.norm(rest[used] - _TONGUE, axis=1).argmin()]
    return np.asarray(hidden & (piece == piece[nearest]))


def _longest_loop(faces: Faces) -> NDArray[np.int64]:
    """Vertices, in order, of the longest border of some triangles."""
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    known = {(int(a), int(b)) for a, b in edges}
    after = {a: b for a, b in known if (b, a) not in known}
    loops: list[list[int]] = []
    while after:
        start = next(iter(after))
        loop, at = [start], after.pop(start)
        while at != start and at in after:
            loop.append(at)
            at = after.pop(at)
        loops.append(loop)
    return np.array(max(loops, key=len), np.int64)


def _harmonic(faces: Faces, border: int, count: int) -> Array:
    """(count - border, border) weights by which a border's vertices place the inner ones."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(len(edges))
    links = sparse.coo_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    links = ((links + links.T) > 0).astype(float)[border:]
    degree = sparse.diags(np.asarray(links.sum(1)).ravel())
    system = (degree - links[:, border:]).tocsc()
    return np.asarray(splu(system).solve(links[:, :border].toarray()))


def hidden_vertices(rest: Array, faces: Faces) -> Mask:
    """(n,) vertices of a head at rest, millimetres, that no eye around it sees."""
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
