"""The fitted head as a textured mesh: the bust with its atlas, hair with the panorama's.

A view shows colours that depend on the point alone, so that a texture holds them all: every texel
looks up the head's colour at its place.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.heads.atlas import bust_atlas
from dp3d_core.heads.bust import bust
from dp3d_core.mesh import Mesh
from dp3d_core.preview.brims import AROUND, RINGS
from dp3d_core.preview.engine import PreviewHead
from dp3d_core.preview.hair_marks import GRID, SHELL
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

FORMATS = (".glb", ".obj")
_BAND = 1_000_000
"""Texels that are coloured at a time."""


@dataclass(frozen=True, eq=False)
class TexturedPart:
    """A part of a head.

    Attributes:
        name: ``head``, ``hair`` or ``brim``.
        vertices, normals: (n, 3) head space.
        faces: (m, 3).
        uv: (n, 2) 0 to 1, v up.
        texture: (s, s, 3) sRGB.

    """

    name: str
    vertices: Array
    normals: Array
    faces: NDArray[np.int32]
    uv: Array
    texture: Pixels


def textured_parts(head: PreviewHead, side: int = 2048) -> list[TexturedPart]:
    """The bust of a fitted head and, where it has them, its hair and the brim of its hat.

    Args:
        head: made with ``repeat_photo`` or without; textures never repeat the photo.
        side: of the bust's texture, texels.

    """
    parts = [_bust_part(head, side)]
    if len(head.mesh.vertices) > len(bust().rest):
        parts.append(_hair_part(head, side // 2))
    if len(head.mesh.vertices) > len(bust().rest) + SHELL:
        parts.append(_brim_part(head, side // 4))
    return parts


def _bust_part(head: PreviewHead, side: int) -> TexturedPart:
    shape, atlas = bust(), bust_atlas()
    # the head left triangles out where the bust's cut pressed them flat
    wanted, present = _keys(shape.faces), _keys(head.mesh.faces)
    kept = np.flatnonzero(np.isin(wanted, present))
    order = np.argsort(present)
    own = order[np.searchsorted(present, wanted[kept], sorter=order)]
    return _part(head, "head", atlas.source, atlas.faces[kept], atlas.uv, own, side)


def _hair_part(head: PreviewHead, side: int) -> TexturedPart:
    first = len(bust().rest)
    corner = head.mesh.faces[:, 0]
    own = np.flatnonzero((corner >= first) & (corner < first + SHELL))
    faces = head.mesh.faces[own] - first
    crown = GRID.rows * GRID.columns
    row, column = (v.astype(float) for v in np.divmod(faces, GRID.columns))
    tip = faces == crown
    # triangles over the seam at the back go on beyond the last column
    half = GRID.columns // 2
    wide = (np.where(tip, 0, column).max(1) - np.where(tip, crown, column).min(1)) > half
    column = np.where((column < half) & wide[:, None], column + GRID.columns, column)
    others = np.where(tip, 0, column).sum(1, keepdims=True) / (~tip).sum(1, keepdims=True)
    column = np.where(tip, others, column)
    row = np.where(tip, -0.5, row)
    u = (column + 0.5) / (GRID.columns + 1)
    v = 1 - (row + 0.5) / GRID.rows
    corners = np.stack([faces.ravel(), np.rint(u.ravel() * 1e6), np.rint(v.ravel() * 1e6)], -1)
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    source = first + unique[:, 0].astype(np.int64)
    uv = unique[:, 1:] / 1e6
    return _part(head, "hair", source, inverse.reshape(-1, 3).astype(np.int32), uv, own, side)


def _brim_part(head: PreviewHead, side: int) -> TexturedPart:
    first = len(bust().rest) + SHELL
    own = np.flatnonzero(head.mesh.faces[:, 0] >= first)
    ring, step = np.divmod(head.mesh.faces[own] - first, AROUND)
    # triangles over the seam in front go on beyond the last vertex of their rings
    wide = np.ptp(step, axis=1) > AROUND // 2
    step = np.where((step < AROUND // 2) & wide[:, None], step + AROUND, step)
    faces = (ring * (AROUND + 1) + step).astype(np.int32)
    rings, steps = np.divmod(np.arange(RINGS * (AROUND + 1)), AROUND + 1)
    source = first + rings * AROUND + steps % AROUND
    uv = np.stack([steps / AROUND, rings / (RINGS - 1)], -1)
    return _part(head, "brim", source.astype(np.int64), faces, uv, own, side)


def _part(
    head: PreviewHead,
    name: str,
    source: NDArray[np.int64],
    faces: NDArray[np.int32],
    uv: Array,
    own: NDArray[np.int64],
    side: int,
) -> TexturedPart:
    """A part of a head whose triangles ``faces`` of the atlas are ``own`` of the head's mesh."""
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
    )


def _keys(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """(m,) a number for each triangle by its corners."""
    a, b, c = faces.T.astype(np.int64)
    return np.asarray((a << 42) | (b << 21) | c)


def _bake(
    head: PreviewHead, faces: NDArray[np.int32], uv: Array, own: NDArray[np.int64], side: int
) -> Pixels:
    """(side, side, 3) colours of the head at the texels; those of no triangle repeat others."""
    flat = np.column_stack([uv, np.zeros(len(uv))])
    caster = RayCaster(Mesh.of(flat, faces, np.zeros(len(flat), np.uint8)))
    texture = np.zeros((side * side, 3), np.uint8)
    filled = np.zeros(side * side, bool)
    rows = max(1, _BAND // side)
    for start in range(0, side, rows):
        v, u = np.mgrid[start : min(start + rows, side), 0:side] + 0.5
        places = np.stack([u.ravel() / side, 1 - v.ravel() / side, np.ones(u.size)], -1)
        down = np.broadcast_to([0.0, 0.0, -1.0], places.shape)
        texels = caster.cast(places, down)
        index = texels.ray + start * side
        texture[index] = np.rint(head.surface_colours(own[texels.face], texels.weights) * 255)
        filled[index] = True
    return _grown(texture.reshape(side, side, 3), filled.reshape(side, side))


def _grown(texture: Pixels, filled: NDArray[np.bool_]) -> Pixels:
    """A texture whose empty texels repeat the nearest: filters read across the charts' edges."""
    empty = (~filled).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(labels.max() + 1, np.int64)
    nearest[labels[filled]] = np.flatnonzero(filled)
    return np.asarray(texture.reshape(-1, 3)[nearest[labels]])


def check_format(out: Path) -> None:
    """Refuse a file name that says no format (``mesh.bad_format``)."""
    ending = out.suffix.lower()
    if ending not in FORMATS:
        raise Dp3dError(
            "mesh.bad_format",
            f"A head cannot be written as {ending or 'a file without an ending'}.",
            f"Give a name that ends in {' or '.join(FORMATS)}.",
        )


def write_asset(parts: list[TexturedPart], out: Path) -> list[Path]:
    """Write parts as GLB, or as OBJ with its material and textures beside it.

    Args:
        parts: of :func:`textured_parts`.
        out: file whose ending is one of :data:`FORMATS`.

    Returns:
        The files, the mesh first.

    Raises:
        Dp3dError: ``mesh.bad_format`` for another ending.

    """
    check_format(out)
    files = _glb(parts, out.name) if out.suffix.lower() == ".glb" else _obj(parts, out.stem)
    for name, data in files.items():
        write_atomic(out.with_name(name), data)
    return [out, *(out.with_name(name) for name in files if name != out.name)]


def _glb(parts: list[TexturedPart], name: str) -> dict[str, bytes]:
    import trimesh

    scene = trimesh.Scene()
    for part in parts:
        material = trimesh.visual.material.PBRMaterial(  # type: ignore[no-untyped-call]
            name=part.name,
            baseColorTexture=Image.fromarray(part.texture),
            metallicFactor=0.0,
            roughnessFactor=0.9,
        )
        visual = trimesh.visual.TextureVisuals(uv=part.uv, material=material)  # type: ignore[no-untyped-call]
        mesh = trimesh.Trimesh(
            part.vertices, part.faces, vertex_normals=part.normals, visual=visual, process=False
        )
        scene.add_geometry(mesh, node_name=part.name, geom_name=part.name)
    data: Any = scene.export(file_type="glb", include_normals=True)  # type: ignore[no-untyped-call]
    return {name: data}


def _obj(parts: list[TexturedPart], stem: str) -> dict[str, bytes]:
    """OBJ text, its material file and a PNG for each part; indices run on from part to part."""
    lines, materials = [f"mtllib {stem}.mtl"], []
    files: dict[str, bytes] = {}
    first = 1
    for part in parts:
        picture = f"{stem}_{part.name}.png"
        buffer = io.BytesIO()
        Image.fromarray(part.texture).save(buffer, "PNG")
        files[picture] = buffer.getvalue()
        materials.append(f"newmtl {part.name}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Kd {picture}\n")
        lines += [f"o {part.name}", f"usemtl {part.name}"]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in part.vertices]
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in part.uv]
        lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in part.normals]
        lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in corner) for corner in part.faces + first]
        first += len(part.vertices)
    files[f"{stem}.mtl"] = "\n".join(materials).encode()
    return {f"{stem}.obj": ("\n".join(lines) + "\n").encode(), **files}
