"""Meshes read from files: surface, texture, and renderings of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import Hits, RayCaster, Render, render
from dp3d_core.storage.files import is_file

_CLAY = np.array([0.72, 0.68, 0.64])
"""sRGB of untextured renderings."""


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh with one base colour texture.

    Attributes:
        mesh: the mesh.
        uv: (n, 2) texture coordinates of its vertices, v up.
        texture: (h, w, 3) uint8, with the first row at v = 1.
        caster: ray caster of the mesh.

    """

    mesh: Mesh
    uv: Array
    texture: Pixels
    caster: RayCaster

    @classmethod
    def open(cls, path: Path) -> TexturedMesh:
        """Read a GLB, or an OBJ with its texture.

        Raises:
            Dp3dError: ``mesh.unreadable``.

        """
        loaded = _load(path)
        try:
            uv = np.asarray(loaded.visual.uv, np.float64)
            material = loaded.visual.material
            image = getattr(material, "baseColorTexture", None) or material.image
            texture = np.asarray(image.convert("RGB"))
            mesh = _mesh(loaded)
        except (AttributeError, TypeError, ValueError) as error:
            raise _unreadable(path, f"it has no texture ({error})") from error
        return cls(mesh, uv, texture, RayCaster(mesh))

    def rotated(self, rotation: Array) -> TexturedMesh:
        """The mesh with vertices and normals rotated by ``rotation`` (3, 3)."""
        mesh = Mesh(
            self.mesh.vertices @ rotation.T,
            self.mesh.faces,
            self.mesh.normals @ rotation.T,
            self.mesh.parts,
        )
        return TexturedMesh(mesh, self.uv, self.texture, RayCaster(mesh))

    def colours(self, hits: Hits) -> Array:
        """(k, 3) texture colours of hits, 0 to 1."""
        uv = np.einsum("kc,kcx->kx", hits.weights, self.uv[self.mesh.faces[hits.face]])
        return _bilinear(self.texture, uv[:, 0], 1 - uv[:, 1])

    def render(self, camera: Camera) -> Render:
        """Render the texture's colours, unlit."""
        return render(self.caster, camera, self.colours)

    def clay(self, camera: Camera) -> Render:
        """Render the shape without texture, lit from the camera."""

        def lit(hits: Hits) -> Array:
            to_eye = np.asarray(camera.position) - hits.points
            to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
            facing = np.abs(np.einsum("kx,kx->k", hits.normals, to_eye))
            return np.asarray(_CLAY * (0.25 + 0.75 * facing[:, None]))

        return render(self.caster, camera, lit)


def open_surface(path: Path) -> Mesh:
    """Read the surface of a mesh file, with or without texture.

    Raises:
        Dp3dError: ``mesh.unreadable``.

    """
    loaded = _load(path)
    if not len(loaded.faces):
        raise _unreadable(path, "it has no triangles")
    return _mesh(loaded)


def _load(path: Path) -> Any:
    """Read a mesh file with trimesh, as one mesh."""
    if not is_file(path):
        raise _unreadable(path, "there is no file of that name")
    import trimesh

    try:
        return trimesh.load(path, force="mesh", process=False)
    except Exception as error:  # each format's reader raises errors of its own
        raise _unreadable(path, str(error)) from error


def _mesh(loaded: Any) -> Mesh:
    """Convert a mesh of trimesh."""
    return Mesh(
        np.asarray(loaded.vertices, np.float64),
        np.asarray(loaded.faces, np.int32),
        np.asarray(loaded.vertex_normals, np.float64),
        np.zeros(len(loaded.vertices), np.uint8),
    )


def _unreadable(path: Path, why: str) -> Dp3dError:
    return Dp3dError(
        "mesh.unreadable",
        f"The mesh {path.name:.80} cannot be used.",
        "Give a GLB, OBJ or PLY file in head space, as 'dp3d mesh' writes it.",
        why,
    )


def _bilinear(texture: Pixels, u: Array, v: Array) -> Array:
    """(k, 3) bilinear samples of a texture, 0 to 1, at u to the right and v down, 0 to 1."""
    height, width = texture.shape[:2]
    x = np.clip(u * width - 0.5, 0, width - 1)
    y = np.clip(v * height - 0.5, 0, height - 1)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    lower = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return np.asarray((upper * (1 - fy) + lower * fy) / 255)
