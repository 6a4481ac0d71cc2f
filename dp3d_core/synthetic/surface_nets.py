"""Surface nets (Gibson 1998): triangle mesh of the zero surface of a distance field.

Each cell that the surface crosses has one vertex, which avoids the slivers of marching cubes.  The
field is evaluated only near the surface.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dp3d_core.arrays import Array, Indices, Indices32

Field = Callable[[Array], Array]

_BLOCK = 4
"""Side of the blocks of the sparse evaluation, cells."""


def surface_nets(
    field: Field, axes: tuple[Array, Array, Array], steps: int = 2
) -> tuple[Array, Indices32]:
    """Extract the zero surface of a field on a rectilinear grid.

    Args:
        field: maps points (n, 3) to distances (n,), negative inside.
        axes: grid lines along x, y and z; the surface must not touch the border.
        steps: rounds of smoothing and projection back onto the surface.

    Returns:
        Vertices (n, 3) and triangles (m, 3), counter-clockwise seen from outside.

    """
    vertices, quads = _nets(_sparse_values(field, axes), axes)
    finest = min(float(np.diff(axis).min()) for axis in axes)
    for _ in range(steps):
        vertices = _project(field, _smoothed(vertices, quads), finest)
    return vertices, _split(vertices, quads)


def _sparse_values(field: Field, axes: tuple[Array, Array, Array]) -> Array:
    """Field at all grid points; far from the surface only its sign is correct."""
    shape = tuple(len(axis) for axis in axes)
    blocks = tuple(-(-n // _BLOCK) for n in shape)
    centres, halves = [], []
    for axis, count in zip(axes, blocks, strict=True):
        lows = axis[np.arange(count) * _BLOCK]
        highs = axis[np.minimum(np.arange(1, count + 1) * _BLOCK, len(axis) - 1)]
        centres.append((lows + highs) / 2)
        halves.append((highs - lows) / 2)
    block_centres = np.stack(np.meshgrid(*centres, indexing="ij"), -1).reshape(-1, 3)
    half_diagonals = np.linalg.norm(
        np.stack(np.meshgrid(*halves, indexing="ij"), -1).reshape(-1, 3), axis=1
    )
    coarse = field(block_centres)
    near = (np.abs(coarse) < 1.6 * half_diagonals + 1.0).reshape(blocks)
    coarse_grid = np.repeat(
        np.repeat(np.repeat(coarse.reshape(blocks), _BLOCK, 0), _BLOCK, 1), _BLOCK, 2
    )
    values = np.ascontiguousarray(coarse_grid[: shape[0], : shape[1], : shape[2]])
    is_near = np.repeat(np.repeat(np.repeat(near, _BLOCK, 0), _BLOCK, 1), _BLOCK, 2)
    index = np.argwhere(is_near[: shape[0], : shape[1], : shape[2]])
    points = np.stack([axes[i][index[:, i]] for i in range(3)], -1)
    values[tuple(index.T)] = field(points)
    return _resolve_ambiguities(values)


def _resolve_ambiguities(values: Array) -> Array:
    """Resolve faces of cells whose corners alternate in sign, in place.

    With one vertex per cell they would give edges with four triangles.  They are filled, so that
    the solid grows there by less than a cell.
    """
    just_inside = -1e-3
    for _ in range(20):
        changed = False
        for u, v in ((0, 1), (1, 2), (0, 2)):

            def corner(du: int, dv: int, u: int = u, v: int = v) -> Array:
                index = [slice(None)] * 3
                index[u] = slice(du, values.shape[u] - 1 + du)
                index[v] = slice(dv, values.shape[v] - 1 + dv)
                return np.asarray(values[tuple(index)])

            a, b, c, d = corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)
            first = (a < 0) & (c < 0) & (b >= 0) & (d >= 0)
            second = (a >= 0) & (c >= 0) & (b < 0) & (d < 0)
            # b and a are views: this writes to the grid
            b[first] = just_inside
            a[second] = just_inside
            changed = changed or bool(first.any() or second.any())
        if not changed:
            break
    return values


def _nets(values: Array, axes: tuple[Array, Array, Array]) -> tuple[Array, Indices]:
    """Vertices (n, 3), one per crossed cell, and quads (m, 4), one per crossed grid edge."""
    inside = values < 0
    cells = tuple(n - 1 for n in values.shape)
    sums = np.zeros((*cells, 3))
    count = np.zeros(cells, np.int32)
    crossings = []
    for axis in range(3):
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        a, b = values[tuple(lower)], values[tuple(upper)]
        index = np.argwhere(inside[tuple(lower)] != inside[tuple(upper)])
        edge = tuple(index.T)
        t = a[edge] / (a[edge] - b[edge])
        point = np.stack([axes[i][index[:, i]] for i in range(3)], -1)
        step = np.diff(axes[axis])[index[:, axis]]
        point[:, axis] += t * step
        crossings.append((axis, index, inside[tuple(lower)][edge]))
        u, v = [i for i in range(3) if i != axis]
        for du in (0, 1):
            for dv in (0, 1):
                cell = index.copy()
                cell[:, u] -= du
                cell[:, v] -= dv
                in_grid = ((cell >= 0) & (cell < cells)).all(1)
                flat = tuple(cell[in_grid].T)
                np.add.at(sums, flat, point[in_grid])
                np.add.at(count, flat, 1)
    used = count > 0
    vertex_of_cell = np.full(cells, -1, np.int64)
    vertex_of_cell[used] = np.arange(used.sum())
    vertices = sums[used] / count[used][:, None]
    quads = []
    for axis, index, starts_inside in crossings:
        u, v = [i for i in range(3) if i != axis]
        if axis == 1:
            u, v = v, u  # keep (axis, u, v) right-handed
        corners = []
        for du, dv in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = index.copy()
            cell[:, u] -= du
            cell[:, v] -= dv
            in_grid = ((cell >= 0) & (cell < cells)).all(1)
            corners.append(
                np.where(
                    in_grid, vertex_of_cell[tuple(np.clip(cell, 0, np.array(cells) - 1).T)], -1
                )
            )
        quad = np.stack(corners, -1)
        quad = np.where(starts_inside[:, None], quad, quad[:, ::-1])
        quads.append(quad[(quad >= 0).all(1)])
    return vertices, np.concatenate(quads)


def _smoothed(vertices: Array, quads: Indices) -> Array:
    """Vertices moved halfway to the mean of their neighbours (Laplacian smoothing)."""
    edges = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    count = np.bincount(edges.ravel(), minlength=len(vertices))
    mean = (
        np.stack(
            [
                np.bincount(edges[:, 0], vertices[edges[:, 1], i], minlength=len(vertices))
                + np.bincount(edges[:, 1], vertices[edges[:, 0], i], minlength=len(vertices))
                for i in range(3)
            ],
            -1,
        )
        / np.maximum(count, 1)[:, None]
    )
    return np.asarray(0.5 * vertices + 0.5 * mean)


def _project(field: Field, vertices: Array, finest: float) -> Array:
    """One Newton step along the gradient, with the distance clipped to the finest cell."""
    h = finest * 0.2
    # value and gradient from four samples at the corners of a tetrahedron
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * h
    values = np.stack([field(vertices + corner) for corner in corners])
    value = values.mean(0)
    gradient = values.T @ corners / (4 * h * h)
    length2 = np.maximum((gradient**2).sum(1), 0.05)
    step = gradient * (np.clip(value, -finest, finest) / length2)[:, None]
    return np.asarray(vertices - step)


def _split(vertices: Array, quads: Indices) -> Indices32:
    """(2 m, 3) triangles of quads (m, 4), split along their shorter diagonal."""
    first = np.linalg.norm(vertices[quads[:, 0]] - vertices[quads[:, 2]], axis=1)
    second = np.linalg.norm(vertices[quads[:, 1]] - vertices[quads[:, 3]], axis=1)
    short = (first <= second)[:, None]
    a = np.where(short, quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    b = np.where(short, quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.ascontiguousarray(np.concatenate([a, b]), np.int32)
