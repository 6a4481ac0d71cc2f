"""Charts of a mesh: connected patches that look one way, laid flat and packed without overlap.

A chart is a patch of triangles seen from one of six sides: the face with the throat, each cheek
with the side of the neck, the crown, what lies inside the mouth.  Charts follow from a mesh's
rest positions, so one layout fits every shape; xatlas only packs them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dp3d_core.mesh import neighbours

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_SIDES = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0.0]])
"""What charts are seen from; the face's side is preferred."""
_PREFER = np.array([1.25, 1.0, 1.0, 1.0, 1.0, 1.0])
_SMOOTHING = 12
"""Rounds of evening out the normals, so that waves of hair do not tear charts."""
_LEAST_SLOPE = 0.12
"""Least cosine between a triangle and the side it is seen from."""
_SMALL = 60
"""Triangles; patches with fewer join a neighbour that sees them."""
_LAYERS, _FINENESS = 4, 0.8
"""Charts over each other that are told apart, and how far apart, millimetres, that is tested."""
_PADDING, _RESOLUTION = 4, 2048
"""Texels between charts, and of the atlas that they are meant for."""


def unwrap(
    rest: Array, faces: NDArray[np.int32], scale: Array | None = None
) -> tuple[Indices, NDArray[np.int32], Array]:
    """An atlas of a mesh.

    Args:
        rest: (n, 3) millimetres, vertices at rest.
        faces: (m, 3).
        scale: (m,) wish for the size of each triangle's chart, 1 by default; a chart takes the
            mean over its area.

    Returns:
        The vertex (k,) of the mesh behind each vertex of the atlas, triangles (m, 3) in the
        mesh's order, and uv (k, 2), 0 to 1, v up.

    """
    import xatlas

    chart, side = charts(rest, faces)
    # a vertex belongs to the atlas once for each chart that it is a corner of
    count = int(chart.max()) + 1
    corners = faces.ravel().astype(np.int64) * count + np.repeat(chart, 3)
    pairs, index = np.unique(corners, return_inverse=True)
    source, of_vertex = pairs // count, pairs % count
    seen_from = np.zeros(count, np.int64)
    seen_from[chart] = side
    flat = _project(rest[source], seen_from[of_vertex])
    if scale is not None:
        flat = flat * _chart_scale(rest, faces, chart, scale)[of_vertex][:, None]
    triangles = index.reshape(-1, 3)
    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(
        flat.astype(np.float32), triangles.astype(np.uint32), chart.astype(np.uint32)[:, None]
    )
    options = xatlas.PackOptions()
    options.padding, options.resolution = _PADDING, _RESOLUTION
    options.rotate_charts = options.rotate_charts_to_axis = False
    atlas.generate(xatlas.ChartOptions(), options)
    back, packed, uv = atlas[0]
    return source[back], np.ascontiguousarray(packed, np.int32), uv.astype(np.float64)


def _chart_scale(rest: Array, faces: NDArray[np.int32], chart: Indices, scale: Array) -> Array:
    """(charts,) mean of the triangles' scale, weighted by area."""
    a, b, c = (rest[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return np.bincount(chart, area * scale) / np.maximum(np.bincount(chart, area), 1e-12)


def charts(vertices: Array, faces: NDArray[np.int32]) -> tuple[Indices, Indices]:
    """(m,) the chart of each triangle, and the side (index of ``_SIDES``) it is seen from."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.maximum(area, 1e-12)
    a, b = neighbours(faces)
    smooth = normals * area
    for _ in range(_SMOOTHING):
        total = smooth.copy()
        for axis in range(3):
            total[:, axis] += np.bincount(a, smooth[b, axis], len(faces))
            total[:, axis] += np.bincount(b, smooth[a, axis], len(faces))
        smooth = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    fits = normals @ _SIDES.T > _LEAST_SLOPE
    likes = np.where(fits, smooth @ _SIDES.T * _PREFER + 2, normals @ _SIDES.T)
    side = likes.argmax(1)
    for _ in range(4):
        patch, count = _patches(side, a, b)
        small = np.bincount(patch, minlength=count)[patch] < _SMALL
        # the side of the most neighbours outside the patch, if the triangle is seen from there
        votes = np.zeros((count, len(_SIDES)))
        for here, there in ((a, b), (b, a)):
            border = patch[here] != patch[there]
            np.add.at(votes, (patch[here][border], side[there][border]), 1)
        wish = votes.argmax(1)[patch]
        change = small & fits[np.arange(len(side)), wish] & (wish != side)
        if not change.any():
            break
        side = np.where(change, wish, side)
    for layer in range(1, _LAYERS):
        hidden = _hidden(corners, _patches(side, a, b)[0], side % len(_SIDES))
        if not hidden.any():
            break
        side = np.where(hidden, side % len(_SIDES) + layer * len(_SIDES), side)
    return _patches(side, a, b)[0], side % len(_SIDES)


def _hidden(corners: Array, patch: Indices, side: Indices) -> NDArray[np.bool_]:
    """(m,) triangles that lie behind another one of their own chart."""
    flat = _project(corners.reshape(-1, 3), np.repeat(side, 3)).reshape(-1, 3, 2) / _FINENESS
    height = np.einsum("mkc,mc->m", corners, _SIDES[side])
    first = np.ceil(flat.min(1) - 0.5).astype(np.int64)
    span = np.maximum(np.floor(flat.max(1) - 0.5).astype(np.int64) - first + 1, 0)
    count = span.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    place = first[face] + np.stack([offset % span[face, 0], offset // span[face, 0]], -1)
    p = place + 0.5
    a, b, c = (flat[face, k] for k in range(3))
    turns = [_cross(b - a, p - a), _cross(c - b, p - b), _cross(a - c, p - c)]
    inside = np.min(turns, axis=0) > 1e-9
    face, place = face[inside], place[inside] - place.min(0)
    spot = (patch[face] * (place[:, 0].max() + 1) + place[:, 0]) * (place[:, 1].max() + 1)
    spot += place[:, 1]
    order = np.lexsort((-height[face], spot))
    behind = np.zeros(len(corners), bool)
    behind[face[order][1:][spot[order][1:] == spot[order][:-1]]] = True
    return behind


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _patches(side: Indices, a: Indices, b: Indices) -> tuple[Indices, int]:
    joined = side[a] == side[b]
    graph = coo_array((np.ones(int(joined.sum()), bool), (a[joined], b[joined])),
                      shape=(len(side),) * 2)  # fmt: skip
    count, patch = connected_components(graph, directed=False)
    return patch.astype(np.int64), int(count)


def _project(points: Array, side: Indices) -> Array:
    """(n, 2) places on the plane of each side, seen from outside: not mirrored."""
    x, y, z = points.T
    right = np.choose(side, [x, -x, -z, z, x, x])
    up = np.choose(side, [y, y, y, y, -z, z])
    return np.stack([right, up], -1)
