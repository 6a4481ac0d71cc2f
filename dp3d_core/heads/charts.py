"""UV charts of a mesh: connected patches, projected along an axis and packed without overlap.

Each chart is projected along one of six directions: face with throat, each cheek with the side of
the neck, crown, inside of the mouth.  Charts are computed from rest positions, so one layout fits
every shape of a mesh; xatlas only packs them.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dp3d_core.arrays import Array, Indices, Indices32, Mask
from dp3d_core.meshes.mesh import neighbours

_SIDES = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0.0]])
"""Viewing directions of charts: front, back, left, right, top, bottom."""
_PREFERENCE = np.array([1.25, 1.0, 1.0, 1.0, 1.0, 1.0])
"""Weight of each direction when triangles choose theirs: more triangles go to the front."""
_SMOOTHING = 12
"""Rounds of smoothing of the normals, without which waves of hair would tear charts."""
_MIN_COSINE = 0.12
"""Least cosine between a triangle's normal and the direction of its chart."""
_MIN_TRIANGLES = 60
"""Patches with fewer triangles are merged into a neighbour."""
_MAX_LAYERS = 4
"""Greatest number of charts that one overlapping patch is divided into."""
_OVERLAP_CELL_MM = 0.8
"""Cell of the grid on which overlaps are searched, millimetres."""
_PADDING = 4
"""Texels between charts in an atlas of ``_RESOLUTION``."""
_RESOLUTION = 2048
"""Side of the atlas, texels, that charts are packed for."""


def unwrap(
    rest: Array, faces: Indices32, scale: Array | None = None
) -> tuple[Indices, Indices32, Array]:
    """UV atlas of a mesh.

    Args:
        rest: (n, 3) rest positions, millimetres.
        faces: (m, 3) triangles.
        scale: (m,) relative texel density of each triangle, 1 by default; a chart takes the
            mean of its triangles, weighted by area.

    Returns:
        Mesh vertex (k,) that each atlas vertex is a copy of; triangles (m, 3) of atlas vertices in
        the mesh's order; uv (k, 2), 0 to 1, v up.

    """
    import xatlas

    chart, side = charts(rest, faces)
    # a vertex has one copy for each chart that it is a corner of
    count = int(chart.max()) + 1
    corners = faces.ravel().astype(np.int64) * count + np.repeat(chart, 3)
    pairs, corner_index = np.unique(corners, return_inverse=True)
    source, of_vertex = pairs // count, pairs % count
    direction = np.zeros(count, np.int64)
    direction[chart] = side
    flat = _project(rest[source], direction[of_vertex])
    if scale is not None:
        flat = flat * _chart_scale(rest, faces, chart, scale)[of_vertex][:, None]
    triangles = corner_index.reshape(-1, 3)
    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(
        flat.astype(np.float32), triangles.astype(np.uint32), chart.astype(np.uint32)[:, None]
    )
    options = xatlas.PackOptions()
    options.padding, options.resolution = _PADDING, _RESOLUTION
    options.rotate_charts = options.rotate_charts_to_axis = False
    atlas.generate(xatlas.ChartOptions(), options)
    copied_from, packed, uv = atlas[0]
    return source[copied_from], np.ascontiguousarray(packed, np.int32), uv.astype(np.float64)


def _chart_scale(rest: Array, faces: Indices32, chart: Indices, scale: Array) -> Array:
    """(charts,) area-weighted mean of the triangles' texel density."""
    a, b, c = (rest[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return np.bincount(chart, area * scale) / np.maximum(np.bincount(chart, area), 1e-12)


def charts(vertices: Array, faces: Indices32) -> tuple[Indices, Indices]:
    """Chart (m,) of each triangle, and its direction (m,), an index of ``_SIDES``."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.maximum(area, 1e-12)
    a, b = neighbours(faces)
    smooth = normals * area
    for _ in range(_SMOOTHING):
        sums = smooth.copy()
        for axis in range(3):
            sums[:, axis] += np.bincount(a, smooth[b, axis], len(faces))
            sums[:, axis] += np.bincount(b, smooth[a, axis], len(faces))
        smooth = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    visible = normals @ _SIDES.T > _MIN_COSINE
    preference = np.where(visible, smooth @ _SIDES.T * _PREFERENCE + 2, normals @ _SIDES.T)
    side = preference.argmax(1)
    for _ in range(4):
        patch, count = _patches(side, a, b)
        small = np.bincount(patch, minlength=count)[patch] < _MIN_TRIANGLES
        # a small patch takes the direction of most of its neighbours, where that shows the triangle
        votes = np.zeros((count, len(_SIDES)))
        for own, other in ((a, b), (b, a)):
            border = patch[own] != patch[other]
            np.add.at(votes, (patch[own][border], side[other][border]), 1)
        majority = votes.argmax(1)[patch]
        change = small & visible[np.arange(len(side)), majority] & (majority != side)
        if not change.any():
            break
        side = np.where(change, majority, side)
    for layer in range(1, _MAX_LAYERS):
        hidden = _hidden(corners, _patches(side, a, b)[0], side % len(_SIDES))
        if not hidden.any():
            break
        side = np.where(hidden, side % len(_SIDES) + layer * len(_SIDES), side)
    return _patches(side, a, b)[0], side % len(_SIDES)


def _hidden(corners: Array, patch: Indices, side: Indices) -> Mask:
    """(m,) whether another triangle of the chart lies in front, along the chart's direction."""
    flat = _project(corners.reshape(-1, 3), np.repeat(side, 3)).reshape(-1, 3, 2) / _OVERLAP_CELL_MM
    height = np.einsum("mkc,mc->m", corners, _SIDES[side])
    first = np.ceil(flat.min(1) - 0.5).astype(np.int64)
    span = np.maximum(np.floor(flat.max(1) - 0.5).astype(np.int64) - first + 1, 0)
    count = span.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    cell = first[face] + np.stack([offset % span[face, 0], offset // span[face, 0]], -1)
    p = cell + 0.5
    a, b, c = (flat[face, k] for k in range(3))
    edge_signs = [_cross(b - a, p - a), _cross(c - b, p - b), _cross(a - c, p - c)]
    inside = np.min(edge_signs, axis=0) > 1e-9
    face, cell = face[inside], cell[inside] - cell.min(0)
    key = (patch[face] * (cell[:, 0].max() + 1) + cell[:, 0]) * (cell[:, 1].max() + 1)
    key += cell[:, 1]
    order = np.lexsort((-height[face], key))
    behind = np.zeros(len(corners), bool)
    behind[face[order][1:][key[order][1:] == key[order][:-1]]] = True
    return behind


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _patches(side: Indices, a: Indices, b: Indices) -> tuple[Indices, int]:
    """Connected patch (m,) of triangles with one direction, by neighbours a and b; their number."""
    joined = side[a] == side[b]
    graph = coo_array((np.ones(int(joined.sum()), bool), (a[joined], b[joined])),
                      shape=(len(side),) * 2)  # fmt: skip
    count, patch = connected_components(graph, directed=False)
    return patch.astype(np.int64), int(count)


def _project(points: Array, side: Indices) -> Array:
    """(n, 2) projection of points (n, 3) along their directions, seen from outside, unmirrored."""
    x, y, z = points.T
    right = np.choose(side, [x, -x, -z, z, x, x])
    up = np.choose(side, [y, y, y, y, -z, z])
    return np.stack([right, up], -1)
