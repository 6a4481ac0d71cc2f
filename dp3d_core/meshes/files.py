"""Textured meshes as OBJ and PLY files with side files; Y up, metres.

Files use only what all readers interpret alike: white diffuse and no specular light, one texture
per part, names of side files without spaces, triangles, unit normals, finite values.  ``glb`` makes
GLB files, which this module writes.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Indices, Pixels
from dp3d_core.errors import Dp3dError
from dp3d_core.meshes.mesh import unit, vertex_normals
from dp3d_core.storage.files import open_regular, write_together
from dp3d_core.storage.results import MADE_BY, check_output_file, is_our_text
from dp3d_core.viewsets.viewset import encode_png

_HEAD_BYTES = 1 << 16
"""Bytes at the start of an earlier file that are searched for names of side files."""
_LONGEST_STEM = 80
"""Largest length of the stem of a side file, characters."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
"""Characters that are replaced in names of side files."""


@dataclass(frozen=True, eq=False)
class TexturedPart:
    """A part of a mesh with a texture of its own.

    Attributes:
        name: a word such as ``head`` or ``hair``.
        vertices: (n, 3) metres.
        normals: (n, 3), outwards.
        faces: (m, 3) indices, counter-clockwise seen from outside.
        uv: (n, 2) 0 to 1, v up.
        texture: (s, s, 3) uint8 sRGB, first row at v = 1.
        normal_map: (s, s, 3) uint8 in glTF's tangent space, for GLB only; None: no normal map.
        tangents: (n, 4) unit vectors along u and the sign of the bitangent, with a normal map.
        double_sided: whether the back is visible, as of an open surface.

    """

    name: str
    vertices: Array
    normals: Array
    faces: NDArray[np.integer]
    uv: Array
    texture: Pixels
    normal_map: Pixels | None = None
    tangents: Array | None = None
    double_sided: bool = False

    def clean(self) -> TexturedPart:
        """The part without degenerate or non-finite triangles and without unused vertices.

        Normals and tangents have length 1, uv are in 0 to 1.
        """
        faces = np.asarray(self.faces, np.int64)
        finite = np.asarray(np.isfinite(self.vertices).all(1))
        a, b, c = faces.T
        faces = faces[(a != b) & (b != c) & (c != a) & finite[faces].all(1)]
        used, corners = np.unique(faces, return_inverse=True)
        faces = corners.reshape(-1, 3)
        vertices = np.asarray(self.vertices, np.float64)[used]
        normals = _unit_normals(np.asarray(self.normals, np.float64)[used], vertices, faces)
        tangents = None
        if self.tangents is not None:
            tangents = _unit_tangents(np.asarray(self.tangents, np.float64)[used], normals)
        uv = np.clip(np.nan_to_num(np.asarray(self.uv, np.float64)[used]), 0, 1)
        return replace(
            self, vertices=vertices, normals=normals, faces=faces, uv=uv, tangents=tangents
        )


def _unit_normals(normals: Array, vertices: Array, faces: Indices) -> Array:
    """(n, 3) unit normals; zero or non-finite ones are computed from the triangles."""
    normals = unit(np.nan_to_num(normals, posinf=0.0, neginf=0.0))
    for substitute in (
        vertex_normals(vertices, faces.astype(np.int32)),
        np.array([[0.0, 1.0, 0.0]]),
    ):
        flat = np.linalg.norm(normals, axis=1, keepdims=True) < 0.5
        normals = np.where(flat, substitute, normals)
    return normals


def _unit_tangents(tangents: Array, normals: Array) -> Array:
    """(n, 4) unit tangents with sign; zero or non-finite ones are replaced by a perpendicular."""
    directions = unit(np.nan_to_num(tangents[:, :3], posinf=0.0, neginf=0.0))
    axis = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    flat = np.linalg.norm(directions, axis=1, keepdims=True) < 0.5
    directions = np.where(flat, unit(np.cross(axis, normals)), directions)
    return np.column_stack([directions, np.where(tangents[:, 3] < 0, -1.0, 1.0)])


# -- names --


def side_stem(out: Path) -> str:
    """Stem of the side files of a mesh: plain letters, digits, ``.``, ``_`` and ``-``.

    Many readers of OBJ end a file name at a space, and some read ASCII only.  A changed name gets
    six digits of the hash of the original, so that different names stay different.
    """
    stem = unicodedata.normalize("NFC", out.stem)
    plain = _NOT_PLAIN.sub("_", stem)[:_LONGEST_STEM]
    if plain == stem:
        return plain
    digits = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{plain}-{digits}"


def side_names(out: Path, parts: Sequence[str] = ("",)) -> list[str]:
    """Names of the files beside an OBJ or PLY.

    Args:
        out: path of the mesh.
        parts: names of its parts; an empty name for a single part.

    """
    stem, ending = side_stem(out), out.suffix.lower()
    if ending == ".obj":
        textures = [f"{stem}_{part}.png" if part else f"{stem}.png" for part in parts]
        return [*textures, f"{stem}.mtl"]
    # head.obj and head.ply in one folder may be different meshes
    return [f"{stem}_ply.png"] if ending == ".ply" else []


def check_mesh_path(out: Path, endings: Collection[str], side: Sequence[str] = ()) -> list[Path]:
    """Refuse a path that a mesh cannot be written to, before the mesh is made.

    Args:
        out: path of the mesh.
        endings: accepted file name extensions, with the dot.
        side: names of possible side files.

    Returns:
        Paths of the files that the mesh may have, the mesh first.

    Raises:
        Dp3dError: ``mesh.bad_format`` for another extension, ``output.occupied`` for a folder of
            that name or side files of another origin, ``output.not_writable``.

    """
    ending = out.suffix.lower()
    if ending not in endings:
        raise Dp3dError(
            "mesh.bad_format",
            f"A mesh cannot be written as {ending or 'a file without an ending'}.",
            f"Give a name that ends in {' or '.join(endings)}.",
        )
    check_output_file(out)
    _check_side_files(out, side)
    return [out, *(out.with_name(name) for name in side)]


def _check_side_files(out: Path, side: Collection[str]) -> None:
    """Refuse side files that would replace files other than those of an earlier mesh of ours."""
    own = _own_side_files(out)
    for name in side:
        if name not in own and os.path.lexists(out.with_name(name)):
            raise Dp3dError(
                "output.occupied",
                f"{out.name} would bring a file {name}, and there is another one of that name.",
                "Choose another name for the mesh.",
            )


def _first_lines(path: Path) -> list[str]:
    """First lines of a text file; empty for an unreadable one."""
    with suppress(OSError), open_regular(path) as file:
        return file.read(_HEAD_BYTES).decode("utf-8", "replace").splitlines()
    return []


def _words_after(lines: Sequence[str], keys: Sequence[str]) -> set[str]:
    """File names that follow one of the keys at the start of a line."""
    words = {
        line.strip().removeprefix(key).strip()
        for line in lines
        for key in keys
        if line.strip().startswith(key)
    }
    return {w for w in words if w not in {"", ".", ".."} and not {"/", "\\", "\0"} & set(w)}


# -- files --


def write_mesh_files(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write a mesh with its side files, the mesh last, see ``storage.files.write_together``.

    Side files of an earlier mesh of ours at that path are removed if the new mesh has none of that
    name.

    Args:
        out: path of the mesh.
        files: contents by file name, all in the mesh's folder.

    Returns:
        Paths of the files, the mesh first.

    Raises:
        Dp3dError: ``output.occupied``, ``output.not_writable``, ``storage.full``.

    """
    side = [name for name in files if name != out.name]
    _check_side_files(out, side)
    stale = _own_side_files(out) - set(files)
    write_together({out.with_name(name): files[name] for name in [*side, out.name]})
    for name in stale:
        with suppress(OSError):
            out.with_name(name).unlink()
    return [out, *(out.with_name(name) for name in side)]


def _own_side_files(out: Path) -> set[str]:
    """Names of side files that we wrote with an earlier mesh at that path.

    Files that another program has written since are recognised by their first lines, and the files
    they name are not counted.
    """
    lines = _first_lines(out)
    if not is_our_text(lines):
        return set()
    names = _words_after(lines, ("comment TextureFile ",))
    for material in _words_after(lines, ("mtllib ",)):
        path = out.with_name(material)
        if is_our_text(materials := _first_lines(path)):
            names |= {material} | _words_after(materials, ("map_Kd ",))
        elif not os.path.lexists(path):
            names.add(material)
    stem = re.escape(side_stem(out))
    pattern = re.compile(rf"{stem}(\.mtl|(_[a-z]+)?\.png)")
    return {name for name in names if pattern.fullmatch(name)}


def to_obj(parts: Sequence[TexturedPart], out: Path) -> dict[str, bytes]:
    """Contents of an OBJ, its material file and a PNG for each part, by name; the OBJ is last.

    Vertex indices continue from part to part.
    """
    parts = [part.clean() for part in parts]
    names = side_names(out, _part_names(parts))
    lines = [f"# {MADE_BY}", f"mtllib {names[-1]}"]
    materials = [f"# {MADE_BY}"]
    files: dict[str, bytes] = {}
    first = 1
    for part, picture in zip(parts, names, strict=False):
        files[picture] = encode_png(part.texture)
        # White, as readers multiply the texture by Kd; no specular light, which the photo contains.
        materials += [f"newmtl {part.name}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"]
        materials += [f"map_Kd {picture}", ""]
        lines += [f"o {part.name}", f"usemtl {part.name}", "s 1"]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in part.vertices.tolist()]
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in part.uv.tolist()]
        lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in part.normals.tolist()]
        lines += [
            f"f {i}/{i}/{i} {j}/{j}/{j} {k}/{k}/{k}" for i, j, k in (part.faces + first).tolist()
        ]
        first += len(part.vertices)
    files[names[-1]] = "\n".join(materials).encode()
    return {**files, out.name: ("\n".join(lines) + "\n").encode()}


def _part_names(parts: Sequence[TexturedPart]) -> list[str]:
    return [part.name for part in parts] if len(parts) > 1 else [""]


def to_ply(part: TexturedPart, out: Path) -> dict[str, bytes]:
    """Contents of a binary PLY of one part and of its texture, by name; the PLY is last.

    Texture coordinates are vertex properties ``s`` and ``t``, and a comment names the texture, as
    in MeshLab.  Vertices also have colours, for readers without textures.
    """
    part = part.clean()
    (picture,) = side_names(out)
    size = np.array(part.texture.shape[1::-1])
    column, row = np.clip(part.uv * [1, -1] * size + [0, size[1]], 0, size - 1).astype(int).T
    floats = ("x", "y", "z", "nx", "ny", "nz", "s", "t")
    vertices = np.empty(
        len(part.vertices), [*((name, "<f4") for name in floats), ("rgb", "u1", (3,))]
    )
    for name, values in zip(
        floats, np.column_stack([part.vertices, part.normals, part.uv]).T, strict=True
    ):
        vertices[name] = values
    vertices["rgb"] = part.texture[row, column]
    faces = np.empty(len(part.faces), [("count", "u1"), ("corners", "<i4", (3,))])
    faces["count"], faces["corners"] = 3, part.faces
    header = [
        *("ply", "format binary_little_endian 1.0"),
        *(f"comment {MADE_BY}", f"comment TextureFile {picture}"),
        *(f"element vertex {len(vertices)}", *(f"property float {name}" for name in floats)),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        *(f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"),
    ]
    data = "\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes()
    return {picture: encode_png(part.texture), out.name: data}
