"""Export the fitted head as a textured mesh: bust with its atlas, hair and brim with grids.

Colours depend on the surface point alone (``colouring.appearance``), so a texture holds them
exactly: each texel samples the head's colour at its point.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Indices, Indices32, Mask, Pixels
from dp3d_core.heads.atlas import bust_atlas
from dp3d_core.heads.bust import bust
from dp3d_core.limits import DEFAULT_HEAD_TEXTURE_SIDE
from dp3d_core.meshes.files import (
    TexturedPart,
    check_mesh_path,
    side_names,
    to_obj,
    write_mesh_files,
)
from dp3d_core.meshes.glb import to_glb
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.clothing.brims import AROUND, RINGS
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.head import PreviewHead

FORMATS = (".glb", ".obj")
"""Endings of the files that can be written."""
_PARTS = ("head", "hair", "brim")
"""Names of the parts, for their material and texture files."""
_Texture = TypeVar("_Texture", Pixels, Array32)

_BAND = 1_000_000
"""Number of texels coloured at a time, to limit memory."""


def textured_parts(head: PreviewHead, side: int = DEFAULT_HEAD_TEXTURE_SIDE) -> list[TexturedPart]:
    """Textured parts of a fitted head: the bust, and hair and brim of a hat if it has them.

    Args:
        head: the head; ``repeat_photo`` has no effect on textures.
        side: side of the bust's texture, texels; hair has half of it, a brim a quarter.

    """
    parts = [_bust_part(head, side)]
    if len(head.mesh.vertices) > len(bust().rest):
        parts.append(_hair_part(head, side // 2))
    if len(head.mesh.vertices) > len(bust().rest) + SHELL:
        parts.append(_brim_part(head, side // 4))
    return parts


def _bust_part(head: PreviewHead, side: int) -> TexturedPart:
    """The bust, with the layout of ``heads.atlas``."""
    topology, atlas = bust(), bust_atlas()
    # the head lacks the triangles that its flat end removed
    all_keys, head_keys = triangle_keys(topology.faces), triangle_keys(head.mesh.faces)
    kept = np.flatnonzero(np.isin(all_keys, head_keys))
    order = np.argsort(head_keys)
    own = order[np.searchsorted(head_keys, all_keys[kept], sorter=order)]
    return _part(head, "head", atlas.source, atlas.faces[kept], atlas.uv, own, side)


def _hair_part(head: PreviewHead, side: int) -> TexturedPart:
    """The shell of hair, with the rows and columns of its grid as texture coordinates."""
    first = len(bust().rest)
    corner = head.mesh.faces[:, 0]
    own = np.flatnonzero((corner >= first) & (corner < first + SHELL))
    faces = head.mesh.faces[own] - first
    crown = GRID.rows * GRID.columns
    row, column = (v.astype(float) for v in np.divmod(faces, GRID.columns))
    tip = faces == crown
    # triangles across the seam at the back extend beyond the last column
    half = GRID.columns // 2
    across_seam = (np.where(tip, 0, column).max(1) - np.where(tip, crown, column).min(1)) > half
    column = np.where((column < half) & across_seam[:, None], column + GRID.columns, column)
    other_columns = np.where(tip, 0, column).sum(1, keepdims=True) / (~tip).sum(1, keepdims=True)
    column = np.where(tip, other_columns, column)
    row = np.where(tip, -0.5, row)
    u = (column + 0.5) / (GRID.columns + 1)
    v = 1 - (row + 0.5) / GRID.rows
    corners = np.stack([faces.ravel(), np.rint(u.ravel() * 1e6), np.rint(v.ravel() * 1e6)], -1)
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    source = first + unique[:, 0].astype(np.int64)
    uv = unique[:, 1:] / 1e6
    return _part(head, "hair", source, inverse.reshape(-1, 3).astype(np.int32), uv, own, side)


def _brim_part(head: PreviewHead, side: int) -> TexturedPart:
    """The brim, with angle and ring as texture coordinates."""
    first = len(bust().rest) + SHELL
    own = np.flatnonzero(head.mesh.faces[:, 0] >= first)
    ring, step = np.divmod(head.mesh.faces[own] - first, AROUND)
    # triangles across the seam in front extend beyond the last vertex of their ring
    across_seam = np.ptp(step, axis=1) > AROUND // 2
    step = np.where((step < AROUND // 2) & across_seam[:, None], step + AROUND, step)
    faces = (ring * (AROUND + 1) + step).astype(np.int32)
    rings, steps = np.divmod(np.arange(RINGS * (AROUND + 1)), AROUND + 1)
    source = first + rings * AROUND + steps % AROUND
    uv = np.stack([steps / AROUND, rings / (RINGS - 1)], -1)
    return _part(head, "brim", source.astype(np.int64), faces, uv, own, side)


def _part(
    head: PreviewHead,
    name: str,
    source: Indices,
    faces: Indices32,
    uv: Array,
    own: Indices,
    side: int,
) -> TexturedPart:
    """Bake the texture of a part and assemble it.

    Args:
        head: the head.
        name: one of ``_PARTS``.
        source: (k,) vertex of the head's mesh that each vertex of the layout is a copy of.
        faces: (m, 3) triangles of the layout.
        uv: (k, 2) texture coordinates, v up.
        own: (m,) triangle of the head's mesh behind each triangle of the layout.
        side: side of the texture, texels.

    """
    texture = _bake(head, faces, uv, own, side)
    used, corners = np.unique(faces, return_inverse=True)
    source = source[used]
    return TexturedPart(
        name,
        head.mesh.vertices[source],
        head.mesh.normals[source],
        corners.reshape(-1, 3).astype(np.int32),
        uv[used],
        texture,
        double_sided=name != "head",
    )


def triangle_keys(faces: Indices32) -> Indices:
    """(m,) a unique key of each triangle (m, 3), from its corners."""
    a, b, c = faces.T.astype(np.int64)
    return np.asarray((a << 42) | (b << 21) | c)


def _bake(head: PreviewHead, faces: Indices32, uv: Array, own: Indices, side: int) -> Pixels:
    """(side, side, 3) uint8 texture; texels outside all triangles repeat the nearest inside."""
    flat = np.column_stack([uv, np.zeros(len(uv))])
    caster = RayCaster(Mesh.of(flat, faces, np.zeros(len(flat), np.uint8)))
    texture = np.zeros((side * side, 3), np.uint8)
    filled = np.zeros(side * side, bool)
    rows = max(1, _BAND // side)
    for start in range(0, side, rows):
        v, u = np.mgrid[start : min(start + rows, side), 0:side] + 0.5
        positions = np.stack([u.ravel() / side, 1 - v.ravel() / side, np.ones(u.size)], -1)
        down = np.broadcast_to([0.0, 0.0, -1.0], positions.shape)
        texels = caster.cast(positions, down)
        index = texels.ray + start * side
        texture[index] = np.rint(head.surface_colours(own[texels.face], texels.weights) * 255)
        filled[index] = True
    return padded(texture.reshape(side, side, 3), filled.reshape(side, side))


def padded(texture: _Texture, filled: Mask) -> _Texture:
    """Fill empty texels with the nearest filled one: filters sample across the edges of charts.

    Args:
        texture: (s, s[, c]) of any type.
        filled: (s, s) bool, texels that are kept.

    """
    if filled.all() or not filled.any():
        return texture
    empty = (~filled).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(labels.max() + 1, np.int64)
    nearest[labels[filled]] = np.flatnonzero(filled)
    complete = texture.copy()
    complete[~filled] = texture.reshape(-1, *texture.shape[2:])[nearest[labels[~filled]]]
    return complete


def check_asset_path(out: Path) -> list[Path]:
    """Check that a head can be written to a file.

    See :func:`~dp3d_core.meshes.files.check_mesh_path`.

    Returns:
        Paths of the files that it may have, the mesh first.

    """
    return check_mesh_path(out, FORMATS, side_names(out, _PARTS))


def write_asset(parts: list[TexturedPart], out: Path) -> list[Path]:
    """Write a head as GLB, or as OBJ with material and textures beside it.

    Args:
        parts: parts of the head (:func:`textured_parts`).
        out: file, with one of the endings :data:`FORMATS`.

    Returns:
        Paths of the files, the mesh first.

    Raises:
        Dp3dError: ``mesh.bad_format`` for another ending, ``output.*``.

    """
    check_mesh_path(out, FORMATS)
    is_glb = out.suffix.lower() == ".glb"
    return write_mesh_files(out, {out.name: to_glb(parts)} if is_glb else to_obj(parts, out))
