"""The parametric head as the preview engine uses it: three kinds of surface, the mouth closed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.anatomy import MM, MOUTH_HALF, lip_line
from dp3d_core.heads.labels import Label, vertex_labels
from dp3d_core.heads.model import HeadSpec, Surface, build_head, piece
from dp3d_core.heads.shape import basis, coefficients
from dp3d_core.mesh import Mesh

Array = NDArray[np.float64]


class Part(IntEnum):
    """Kinds of surface whose unseen sides are continued each from its own."""

    SKIN = 0
    HAIR = 1
    """Hair, or what else covers the skull."""
    BODY = 2
    """Clothes."""


def as_parts(spec: HeadSpec) -> Mesh:
    """The mesh of a head with :class:`Part` for parts, its mouth closed by a sheet.

    What a photo shows between open lips lies at an unknown depth: on teeth that are not the
    person's it would be torn apart in the next view.
    """
    head = build_head(spec)
    parts = np.full(len(head.mesh.parts), int(Part.SKIN), np.uint8)
    parts[head.mesh.parts == Surface.HAIR] = Part.HAIR
    parts[head.mesh.parts == Surface.CLOTHES] = Part.BODY
    parts[vertex_labels(head) == Label.SHOULDERS] = Part.BODY
    corners = head.mesh.parts[head.mesh.faces[:, 0]]
    kept = head.mesh.faces[(corners != Surface.TEETH) & (corners != Surface.TONGUE)]
    sheet, triangles = _between_the_lips(coefficients(spec.shape))
    vertices = np.concatenate([head.mesh.vertices, sheet * MM])
    faces = np.concatenate([kept, triangles + len(head.mesh.vertices)])
    return Mesh.of(vertices, faces, np.append(parts, np.full(len(sheet), Part.SKIN, np.uint8)))


def _between_the_lips(values: Array) -> tuple[Array, NDArray[np.int32]]:
    """A sheet from the upper to the lower lip, some millimetres behind them."""
    rows, columns = 9, 25
    x = np.linspace(-1, 1, columns) * (MOUTH_HALF - 1.5)
    skin = piece("skin").vertices
    rims = []
    for side in (1.0, -1.0):
        y = lip_line(np.abs(x)) + side * np.array([[3.0], [0.4]])
        near = np.abs(skin[None, :, 0] - x[:, None]) + np.abs(skin[None, :, 1] - y[1][:, None])
        front = np.where(near < 4.5, skin[None, :, 2], -1e9).max(1)
        rim = np.stack([np.broadcast_to(x, y.shape), y, np.broadcast_to(front - 7, y.shape)], -1)
        flat = rim.reshape(-1, 3)
        rims.append((flat + np.tensordot(values, basis(flat), 1)).reshape(rim.shape))
    upper, lower = rims[0], rims[1][::-1]
    t = np.linspace(0, 1, rows)[:, None, None]
    grid = np.concatenate([upper[:1], upper[1] * (1 - t) + lower[0] * t, lower[1:]])
    index = np.arange(len(grid) * columns, dtype=np.int32).reshape(len(grid), columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate(
        [np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)]
    )
    return grid.reshape(-1, 3), triangles
