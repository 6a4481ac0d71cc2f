"""A textured surface as Gaussian splats, in the PLY that viewers and Blender's add-ons read.

Each texel on the surface becomes one flat Gaussian, about as wide as the distance between texels
(surfels, Pfister et al. 2000), in the layout of 3D Gaussian Splatting (Kerbl et al. 2023).  This
needs neither training nor a GPU.  Colours do not depend on the view.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dp3d_core.arrays import Array
from dp3d_core.meshes.mesh import unit
from nerf_export.mesh.bake import PaintedMesh

_WIDTH = 0.5
"""Standard deviation of a splat in distances between texels: wide enough to close the surface."""
_THICKNESS = 0.1
"""Thickness of a splat in parts of its width."""
_OPACITY = 0.99
"""Opacity of a splat, 0 to 1."""
_SH_CONSTANT = 0.28209479177387814
"""Spherical harmonic of degree 0; a colour is 0.5 plus this times its coefficient."""
_FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *("f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)
"""Properties of a splat in the PLY, in their order."""


def to_splats(painted: PaintedMesh, name: str = "head.ply") -> dict[str, bytes]:
    """PLY of splats, Y up: one for each texel on the surface.

    Args:
        painted: the textured mesh.
        name: of the file.

    Returns:
        Contents of the file by its name.

    """
    texels = painted.texels
    corner = painted.faces[texels.face]
    points = np.einsum("nk,nkc->nc", texels.weights, painted.vertices[corner])
    normals = np.einsum("nk,nkc->nc", texels.weights, painted.normals[corner])
    # the normals of a folded triangle's corners may cancel each other
    folded = np.linalg.norm(normals, axis=1, keepdims=True) < 1e-6
    normals = np.where(folded, [0.0, 0.0, 1.0], unit(normals))
    width = _WIDTH * _spacing(painted)[texels.face]
    colours = painted.texture[texels.row, texels.column] / 255
    rows = np.empty(len(points), [(name, "<f4") for name in _FIELDS])
    columns = (
        points,
        normals,
        (colours - 0.5) / _SH_CONSTANT,
        np.full((len(points), 1), np.log(_OPACITY / (1 - _OPACITY))),
        np.log(np.stack([width, width, _THICKNESS * width], -1)),
        _normal_rotations(normals),
    )
    for field, column in zip(_FIELDS, np.concatenate(columns, 1).T, strict=True):
        rows[field] = column
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"),
        *(f"property float {field}" for field in _FIELDS),
        "end_header\n",
    ]
    return {name: "\n".join(header).encode("ascii") + rows.tobytes()}


def _spacing(painted: PaintedMesh) -> Array:
    """(m,) distance between texels on each triangle, head units."""
    p, q = painted.vertices[painted.faces], painted.uv[painted.faces] * len(painted.texture)
    area = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
    d1, d2 = q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    texels = np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0])
    # where the atlas squeezes a triangle, the spacing is bounded by that of the other triangles
    spacing = np.sqrt(area / texels.clip(1e-9))
    spacing = np.minimum(spacing, 4 * np.median(spacing)).clip(1e-9)
    return np.asarray(spacing, np.float64)


def _normal_rotations(normals: Array) -> Array:
    """(n, 4) quaternions, real part first, of rotations that map the z axis to the normals."""
    aside = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = unit(np.cross(aside, normals))
    frames = np.stack([first, np.cross(normals, first), normals], -1)
    real_last: Array = Rotation.from_matrix(frames).as_quat()
    return real_last[:, [3, 0, 1, 2]]
