"""Rigged heads as OBJ: quads with the photo's expression, a material and a texture each.

OBJ holds neither blend shapes nor bones: it is the mesh for sculpting and retopology.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dp3d_core.meshes.files import side_names
from dp3d_core.meshes.mesh import vertex_normals
from dp3d_core.rigged.rig import METRES, PHOTO_EXPRESSION, Detail, RiggedHead, RiggedPart
from dp3d_core.storage.results import MADE_BY
from dp3d_core.viewsets.viewset import encode_png

MATERIALS = ("skin", "eyes", "teeth", "tongue", "lashes", "hair", "headwear", "brim", "clothes")
"""Materials that a head may have, for the names of its side files."""


def to_obj(
    head: RiggedHead, out: Path, detail: Detail = "full", delit: bool = False
) -> dict[str, bytes]:
    """Contents of an OBJ, its material file and a PNG for each material, by name.

    Args:
        head: the head.
        out: path of the OBJ, which names the side files.
        detail: level of detail.
        delit: colours under even light instead of those of the photo.

    """
    names = side_names(out, [name for name in MATERIALS if name in head.materials])
    pictures = dict(zip([n for n in MATERIALS if n in head.materials], names, strict=False))
    materials = [f"# {MADE_BY}"]
    files: dict[str, bytes] = {}
    for name, picture in pictures.items():
        material = head.materials[name]
        files[picture] = encode_png(material.delit if delit else material.photographed)
        # white, as readers multiply the texture by Kd
        materials += [f"newmtl {name}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"]
        materials += [f"Pr {material.roughness:.2f}", f"map_Kd {picture}"]
        materials += [f"map_d {picture}", ""] if material.alpha else [""]
    lines = [
        f"# {MADE_BY}",
        f"# {json.dumps(dict(head.provenance), sort_keys=True)}",
        f"mtllib {names[-1]}",
    ]
    first = np.ones(3, np.int64)
    for part in head.parts:
        own, first = _part_lines(part, detail, first)
        lines += own
    files[names[-1]] = ("\n".join(materials) + "\n").encode()
    return {**files, out.name: ("\n".join(lines) + "\n").encode()}


def _part_lines(
    part: RiggedPart, detail: Detail, first: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Lines of a part, and the first numbers of vertex, coordinate and normal after it."""
    faces = part.faces[detail]
    used, corners = np.unique(faces.quads, return_inverse=True)
    used_uv, uv_corners = np.unique(faces.quad_uv, return_inverse=True)
    vertices = part.posed({PHOTO_EXPRESSION: 1.0})
    normals = vertex_normals(vertices, part.faces["full"].triangles()[0])
    lines = [f"o {part.name}", f"usemtl {part.material}", "s 1"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in (vertices[used] * METRES).tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in part.uv[used_uv].tolist()]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in normals[used].tolist()]
    quads = corners.reshape(-1, 4) + first[0]
    coordinates = uv_corners.reshape(-1, 4) + first[1]
    shift = int(first[2] - first[0])
    for at, uv in zip(quads.tolist(), coordinates.tolist(), strict=True):
        count = 3 if at[2] == at[3] else 4
        lines.append(
            "f " + " ".join(f"{v}/{t}/{v + shift}" for v, t in zip(at[:count], uv, strict=False))
        )
    return lines, first + np.array([len(used), len(used_uv), len(used)])
